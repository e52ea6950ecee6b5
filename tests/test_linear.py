# SPDX-License-Identifier: BSD-3-Clause
"""``LinearCriterion`` and ``linear_loss`` against a linear layer and ``Criterion``; ``count``."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from torch import Tensor, nn

import lossmatrix as lm
from lossmatrix import linear

SUM = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()
LOSSES: list[lm.Loss] = [
    SUM,
    lm.Unlikelihood(),
    lm.CrossEntropy() + lm.SoftmaxMargin(),  # two kernels
    lm.EntropicRisk(),  # not linear in the truth
    lm.CrossEntropy() + lm.DecisionScore(),  # products between kernels beyond 128 classes
]
H = 7


def table(num_classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_classes)
    return 5.0 * torch.rand(num_classes, num_classes, generator=generator, dtype=torch.float64)


def problem(
    num_classes: int, dims: tuple[int, ...] = (), count: int = 13
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Input, weight and bias of a layer, and targets of which two are ignored."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        made = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return made.requires_grad_()

    target = torch.randint(num_classes, (count, *dims), generator=generator)
    target.view(-1)[[2, 5]] = -100
    return (random(count, H), random(num_classes, *dims, H), random(num_classes, *dims)), target


def whole(layer: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """All logits at once."""
    x, weight, bias = layer
    logits = F.linear(x, weight.reshape(-1, H), bias.reshape(-1))
    return logits.reshape(*x.shape[:-1], *weight.shape[:-1])


def value_and_gradients(
    call: Callable[[], Tensor], layer: tuple[Tensor, Tensor, Tensor]
) -> list[Tensor]:
    value = call()
    upstream = torch.linspace(0.5, 1.5, max(1, value.numel()), dtype=value.dtype)
    gradients = torch.autograd.grad(value, layer, upstream.reshape(value.shape))
    return [value.detach(), *gradients]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize(("num_classes", "dims"), [(5, (3,)), (70, ()), (150, ())])
def test_it_is_the_loss_of_the_logits_with_every_option(
    num_classes: int, dims: tuple[int, ...], loss: lm.Loss, reduction: str
) -> None:
    layer, target = problem(num_classes, dims)
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        return 0.1 + torch.rand(*shape, generator=generator, dtype=torch.float64)

    weights = {"weight": random(num_classes), "sample_weight": random(*target.shape)}
    shares = random(len(target), num_classes, *dims)
    cases: list[tuple[Tensor, dict[str, Any]]] = [
        (target, {}),
        (target, weights | {"label_smoothing": 0.2}),
        (target.clamp(min=0), {"ignore_index": 1}),
        (shares, weights),
    ]
    room = {"max_chunk_bytes": 4 * 8 * layer[1][..., 0].numel()}  # four rows, and one left over
    D = table(num_classes)
    for truth, options in cases:
        options["reduction"] = reduction
        ours = value_and_gradients(
            lambda t=truth, o=options: lm.linear_loss(
                layer[0], layer[1], t, loss, D, linear_bias=layer[2], **room, **o
            ),
            layer,
        )
        theirs = value_and_gradients(
            lambda t=truth, o=options: loss(whole(layer), t, D, engine="reference", **o), layer
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_module_is_a_drop_in_for_pytorchs() -> None:
    torch.manual_seed(0)
    theirs = nn.LinearCrossEntropyLoss(H, 6, out_features=(2,), bias=True, dtype=torch.float64)
    ours = lm.LinearCriterion(
        H, 6, lm.CrossEntropy(), out_features=(2,), bias=True, dtype=torch.float64
    )
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    x, target = torch.randn(9, H, dtype=torch.float64), torch.randint(6, (9, 2))
    torch.testing.assert_close(ours(x, target), theirs(x, target))
    torch.testing.assert_close(ours(x[0], target[0]), ours(x[:1], target[:1]))
    found = []
    for module in (ours, theirs):
        module(x, target).backward()
        found.append((module.linear.weight.grad, module.linear.bias.grad))
    torch.testing.assert_close(*found)


def test_decisions_are_made_in_blocks() -> None:
    torch.manual_seed(0)
    criterion = lm.LinearCriterion(H, 6, SUM, table(6), bias=True, max_chunk_bytes=6 * 4 * 2)
    x = torch.randn(9, H)
    logits = criterion.linear(x)
    plain = lm.Criterion(SUM, table(6))
    for rule in ("bayes", "argmax"):
        assert torch.equal(criterion.decide(x, rule=rule), plain.decide(logits, rule=rule))


def test_a_tied_weight_is_the_same_tensor() -> None:
    embedding = nn.Embedding(6, H)
    criterion = lm.LinearCriterion(H, 6, lm.CrossEntropy())
    criterion.linear.weight = embedding.weight
    criterion(embedding(torch.tensor([1, 2])), torch.tensor([2, 3])).backward()
    z = embedding.weight.detach().clone().requires_grad_()
    F.cross_entropy(z[[1, 2]] @ z.t(), torch.tensor([2, 3])).backward()
    torch.testing.assert_close(embedding.weight.grad, z.grad)


@pytest.mark.parametrize("costs_of", ["rows", "cubes"])
def test_costs_of_samples_follow_their_rows(costs_of: str) -> None:
    layer, target = problem(5)
    generator = torch.Generator().manual_seed(7)
    shape = (13, 5) if costs_of == "rows" else (13, 5, 5)
    table = torch.rand(*shape, generator=generator, dtype=torch.float64)
    costs = lm.PerExample(table) if costs_of == "rows" else lm.PerExample.matrices(table)
    for loss in (lm.ExpectedCost(), lm.CostSensitiveCrossEntropy()):
        ours = lm.linear_loss(
            layer[0], layer[1], target, loss, costs, linear_bias=layer[2], max_chunk_bytes=160
        )
        torch.testing.assert_close(ours, loss(whole(layer), target, costs, engine="reference"))


def test_no_more_than_a_block_of_logits_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, target = problem(70, count=64)
    made: list[int] = []
    new_empty = Tensor.new_empty

    def counted(tensor: Tensor, *size: Any, **options: Any) -> Tensor:
        found = new_empty(tensor, *size, **options)
        made.append(found.numel())
        return found

    monkeypatch.setattr(Tensor, "new_empty", counted)
    for name in ("empty", "empty_like", "zeros", "zeros_like"):
        plain = getattr(torch, name)

        def watched(*size: Any, plain: Any = plain, **options: Any) -> Tensor:
            found = plain(*size, **options)
            made.append(found.numel())
            return found

        monkeypatch.setattr(torch, name, watched)
    lm.linear_loss(
        layer[0], layer[1], target, SUM, table(70), max_chunk_bytes=8 * 70 * 8
    ).backward()
    assert 8 * 70 in made
    assert max(made) == 8 * 70  # the layer's own gradients are 64 · 7 and 70 · 7 numbers


def test_ignored_rows_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, target = problem(5)
    rows: list[int] = []
    mm = torch.mm

    def counted(a: Tensor, b: Tensor, **options: Any) -> Tensor:
        rows.append(len(a))
        return mm(a, b, **options)

    monkeypatch.setattr(torch, "mm", counted)
    with torch.no_grad():
        lm.linear_loss(layer[0], layer[1], target, lm.CrossEntropy())
    assert rows == [11]


def test_a_second_backward_makes_the_same_again_and_higher_derivatives_are_autograds() -> None:
    layer, target = problem(5)

    def loss(*tensors: Tensor) -> Tensor:
        x, weight, bias = tensors
        return lm.linear_loss(
            x, weight, target, SUM, table(5), linear_bias=bias, max_chunk_bytes=160
        )

    value = loss(*layer)
    first = torch.autograd.grad(value, layer, torch.tensor(3.0).double(), retain_graph=True)
    second = torch.autograd.grad(value, layer, torch.tensor(3.0).double())
    assert all(map(torch.equal, first, second))
    small = tuple(tensor.detach()[:4].requires_grad_() for tensor in layer[:1])

    def of_input(x: Tensor) -> Tensor:
        return lm.linear_loss(x, layer[1].detach(), target[:4], SUM, table(5), reduction="sum")

    assert torch.autograd.gradcheck(of_input, small)
    assert torch.autograd.gradgradcheck(of_input, small)


def test_a_traced_graph_holds_the_logits() -> None:
    criterion = lm.LinearCriterion(H, 5, SUM, table(5))
    x, target = torch.randn(6, H), torch.randint(5, (6,))
    traced = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(traced(x, target), criterion(x, target))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_exact_as_pytorchs(dtype: torch.dtype) -> None:
    layer, target = problem(70, count=64)
    exact = value_and_gradients(
        lambda: lm.CrossEntropy()(whole(layer), target, engine="reference"), layer
    )
    half = tuple(tensor.detach().to(dtype).requires_grad_() for tensor in layer)
    x, weight, bias = half
    ours = value_and_gradients(
        lambda: lm.linear_loss(
            x, weight, target, lm.CrossEntropy(), linear_bias=bias, max_chunk_bytes=2 * 70 * 16
        ),
        half,
    )
    theirs = value_and_gradients(lambda: F.cross_entropy(whole(half), target), half)
    for mine, its, truth in zip(ours, theirs, exact, strict=True):
        assert mine.dtype == dtype
        budget = 1.5 * (its.double() - truth).norm() + torch.finfo(dtype).eps * truth.norm()
        assert (mine.double() - truth).norm() <= budget


def test_autocast_is_that_of_a_linear_layer() -> None:
    layer, target = problem(70)
    float32 = tuple(tensor.detach().float().requires_grad_() for tensor in layer)
    x, weight, bias = float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = lm.linear_loss(x, weight, target, SUM, table(70), linear_bias=bias)
        theirs = SUM(whole(float32), target, table(70))
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert torch.autograd.grad(ours, weight)[0].dtype == torch.float32


@pytest.mark.parametrize("parts", [[3, 10], [1, 5, 7]])
def test_means_over_uneven_parts_are_those_of_the_batch(parts: list[int]) -> None:
    layer, target = problem(5)
    weight = torch.linspace(0.5, 2.0, 5, dtype=torch.float64)
    criterion = lm.Criterion(SUM, table(5), weight=weight)
    total = lm.count(target, weight=weight)
    expected = criterion(whole(layer), target)
    x, W, b = layer
    rows = zip(x.split(parts), target.split(parts), strict=True)
    pieces = [
        (
            criterion(whole((some, W, b)), y, normalizer=total),
            lm.linear_loss(
                some, W, y, SUM, table(5), linear_bias=b, weight=weight, normalizer=total
            ),
        )
        for some, y in rows
    ]
    for found in zip(*pieces, strict=True):
        torch.testing.assert_close(sum(found), expected)


def test_a_normalizer_divides_before_the_sum_is_rounded() -> None:
    logits = torch.full((70_000, 2), 0.0, dtype=torch.float16)
    target = torch.zeros(70_000, dtype=torch.int64)
    value = lm.Criterion(2.0 * lm.CrossEntropy())(logits, target, normalizer=70_000)
    torch.testing.assert_close(value, torch.tensor(2 * 0.6931, dtype=torch.float16))


def test_count_is_pytorchs_denominator() -> None:
    target = torch.tensor([[0, 2, -100], [1, 1, 7]])
    weight = torch.tensor([0.5, 2.0, 4.0])
    assert lm.count(target, ignore_index=7) == 5  # −100 is any index then
    assert lm.count(target[:, :2]) == 4
    assert lm.count(target, weight=torch.cat([weight, torch.ones(5)])) == 0.5 + 4 + 2 + 2 + 1
    assert lm.count(torch.rand(4, 3, 5)) == 20
    assert lm.count(torch.rand(3)) == 1
    many = torch.zeros(70_001, dtype=torch.int64)
    assert lm.count(many, weight=torch.ones(2, dtype=torch.float16)) == 70_001
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
            lm.count(torch.tensor([wrong]), weight=weight)


def _halves(rank: int, port: int, path: str) -> None:
    """One of two processes with uneven halves of a batch: a gradient that DDP has averaged."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    layer, target = problem(5)
    rows = slice(0, 4) if rank == 0 else slice(4, None)
    module = nn.Linear(H, 5, bias=False).double()
    module.weight.data.copy_(layer[1])
    model = nn.parallel.DistributedDataParallel(module)
    world = torch.distributed.group.WORLD
    total = lm.count(target[rows], group=world) / torch.distributed.get_world_size()
    criterion = lm.Criterion(SUM, table(5))
    criterion(model(layer[0][rows].detach()), target[rows], normalizer=total).backward()
    if rank == 0:
        torch.save(module.weight.grad, path)
    torch.distributed.destroy_process_group()


@pytest.mark.integration
def test_means_over_uneven_ranks_are_those_of_the_batch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("ranks") / "gradient.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_halves, (port, str(path)), nprocs=2)
    layer, target = problem(5)
    value = lm.Criterion(SUM, table(5))(F.linear(layer[0], layer[1]), target)
    expected = torch.autograd.grad(value, layer[1])[0]
    torch.testing.assert_close(torch.load(path), expected)


def test_costs_that_learn_get_their_gradient() -> None:
    layer, target = problem(5)
    found = []
    for call in (
        lambda D: lm.linear_loss(layer[0], layer[1], target, SUM, D, linear_bias=layer[2]),
        lambda D: SUM(whole(layer), target, D),
    ):
        D = table(5).requires_grad_()
        found.append(torch.autograd.grad(call(D), D)[0])
    torch.testing.assert_close(*found)


def test_blocks_are_even_and_an_empty_batch_has_no_decisions() -> None:
    x, weight = torch.zeros(13, H), torch.zeros(5, H)
    rows = linear.Layer(x, weight, None).blocks(linear.Budget(5 * 4 * 5, None))
    assert [block.stop - block.start for block in rows if isinstance(block, slice)] == [5, 5, 3]
    rows = linear.Layer(x[:12], weight, None).blocks(linear.Budget(5 * 4 * 11, None))
    assert [block.stop - block.start for block in rows if isinstance(block, slice)] == [6, 6]
    criterion = lm.LinearCriterion(H, 5, lm.CrossEntropy())
    assert criterion.decide(x[:0], rule="argmax").shape == (0,)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"normalizer": torch.ones(2)}, ValueError, r"a constant tensor \(\), got .* shape \(2,\)"),
        ({"normalizer": torch.ones((), requires_grad=True)}, ValueError, "requires a gradient"),
        ({"normalizer": "3"}, TypeError, "normalizer must be a number or a tensor .* is a str"),
        ({"max_chunk_bytes": 0}, ValueError, "max_chunk_bytes must be a positive integer, got 0"),
        ({"max_chunk_bytes": 1e6}, ValueError, "must be a positive integer, got 1000000.0"),
        ({"accumulate_dtype": torch.int32}, ValueError, "must hold what a layer in .*float32 adds"),
        ({"accumulate_dtype": torch.float16}, ValueError, "got torch.float16"),
    ],
)
def test_options_that_are_none_are_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    x, weight, target = torch.zeros(2, 3), torch.zeros(5, 3), torch.tensor([0, 1])
    with pytest.raises(error, match=words):
        lm.linear_loss(x, weight, target, lm.CrossEntropy(), **options)
    if "normalizer" in options:
        with pytest.raises(error, match=words):
            lm.Criterion(lm.CrossEntropy())(x, target, **options)


def test_what_does_not_meet_is_refused() -> None:
    x, weight, target = torch.zeros(2, 3), torch.zeros(5, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"input of shape \(2, 4, 3\) .* flatten\(0, 1\)"):
        lm.linear_loss(torch.zeros(2, 4, 3), weight, target, lm.CrossEntropy())
    with pytest.raises(ValueError, match=r"linear_bias of shape \(4,\) does not fit"):
        lm.linear_loss(x, weight, target, lm.CrossEntropy(), linear_bias=torch.zeros(4))
    with pytest.raises(ValueError, match="costs of 4 classes do not fit num_classes=5"):
        lm.LinearCriterion(3, 5, lm.ExpectedCost(), lm.Ordinal(4))
    with pytest.raises(ValueError, match="normalizer divides a sum"):
        lm.linear_loss(x, weight, target, lm.CrossEntropy(), reduction="none", normalizer=2)
    with pytest.raises(ValueError, match="normalizer divides a sum"):
        lm.Criterion(lm.CrossEntropy(), reduction="none")(x, target, normalizer=2)
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        lm.linear_loss(x, weight, torch.tensor([0, 5]), lm.CrossEntropy())


def test_a_normalizer_that_is_changed_after_the_loss_divides_the_gradient_as_it_was() -> None:
    (x, *_), y = problem(3)
    criterion = lm.LinearCriterion(H, 3, SUM, table(3), dtype=torch.float64)
    normalizer = lm.count(y)
    first = torch.autograd.grad(criterion(x, y, normalizer=normalizer), x)
    loss = criterion(x, y, normalizer=normalizer)
    normalizer.fill_(100.0)
    torch.testing.assert_close(torch.autograd.grad(loss, x), first)


@pytest.mark.parametrize("price", [1.0, 3e5])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_gradient_in_float16_is_scaled_before_it_is_rounded(price: float, reduction: str) -> None:
    """Slopes of rows of 1e-8, and of costs beyond 65,504, under a loss scale and over a mean."""
    generator = torch.Generator().manual_seed(11)
    x = torch.eye(3)[torch.arange(4096) % 3] + 0.01 * torch.randn(4096, 3, generator=generator)
    wide = [x, 18.0 * torch.eye(3) / price]
    target = torch.arange(4096) % 3
    D = price * torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.0, 1.5], [3.0, 0.7, 0.0]])
    scale, found = 2.0**14 / price, []
    for dtype in (torch.float16, torch.float32):
        layer = [each.to(torch.float16).to(dtype).requires_grad_() for each in wide]
        loss = lm.linear_loss(*layer, target, lm.ExpectedCost(), D, reduction=reduction)
        gradients = torch.autograd.grad(scale * loss.float().mean(), layer)
        found.append([each.double() for each in gradients])
    for narrow, exact in zip(*found, strict=True):
        assert exact.abs().max() > 0
        rounding = 2.0**-24 + 2e-3 * exact.abs().max().item()
        torch.testing.assert_close(narrow, exact, rtol=2e-3, atol=rounding)


def test_decide_takes_the_inputs_that_forward_takes() -> None:
    criterion = lm.LinearCriterion(H, 3, lm.CrossEntropy())
    with pytest.raises(ValueError, match=r"rows of sequences are flatten\(0, 1\)"):
        criterion.decide(torch.zeros(2, 4, H))
    with pytest.raises(TypeError, match="input must be a tensor"):
        criterion.decide(torch.zeros(2, H).numpy())  # pyright: ignore


@pytest.mark.parametrize("of_samples", [False, True], ids=["a matrix", "a matrix for each row"])
def test_decide_takes_the_costs_of_a_batch(of_samples: bool) -> None:
    criterion = lm.LinearCriterion(
        H, 3, lm.CrossEntropy(), max_chunk_bytes=24
    )  # two rows at a time
    x, tables = torch.randn(7, H), torch.rand(7, 3, 3)
    D = lm.PerExample.matrices(tables) if of_samples else lm.Dense(tables[0])
    expected = lm.Criterion(lm.CrossEntropy()).decide(criterion.linear(x), costs=D)
    assert torch.equal(criterion.decide(x, costs=D), expected)
    assert (expected != criterion.decide(x)).any()


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_a_mean_of_no_rows_leaves_the_weights_alone(soft: bool) -> None:
    (x, weight, _), _ = problem(3)
    cases = [(x[:0], torch.zeros(0, 3, dtype=torch.float64) if soft else torch.zeros(0).long())]
    if not soft:
        cases.append((x, torch.full((len(x),), -100)))
    for rows, target in cases:
        rows = rows.detach().requires_grad_()
        loss = lm.linear_loss(rows, weight, target, SUM, table(3))
        assert loss.isnan()
        for gradient in torch.autograd.grad(loss, (rows, weight)):
            assert gradient.count_nonzero() == 0
