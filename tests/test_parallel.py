# SPDX-License-Identifier: BSD-3-Clause
"""``ShardedCriterion`` on two and three processes against ``Criterion`` on all classes."""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.distributed as dist
from recipes import loop
from torch import Tensor, nn

import lossmatrix as lm

C, N = 11, 14
SHARDS = {2: (4, 7), 3: (1, 6, 4)}  # a shard of one class has no second largest logit
SUM = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not dist.is_available(), reason="torch has no distributed"),
]


def table() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return 5.0 * torch.rand(C, C, generator=generator, dtype=torch.float64)


ORDINAL = lm.Ordinal(C, positions=[0, 3, 1, 4, 9, 16, 7, 8, 20, 25, 12])
KINDS: dict[str, lm.CostMatrix] = {
    "dense": lm.Dense(table()),
    "dense with a further decision": lm.Dense(table()).with_abstain(2.5),
    "ordinal": ORDINAL,
    "ordinal, power 1.5, scaled": lm.Ordinal(C, power=1.5).scaled(0.3),
    "tree": lm.Tree([(str(i % 2), str(i % 5), str(i)) for i in range(C)], level_costs=[0.5, 2, 7]),
    "sparse": lm.Sparse(C, [(0, 9, 4.0), (9, 0, 2.5), (3, 4, 0.25), (5, 5, 0.5)], default=1.5),
    "low rank": lm.LowRank(table()[:, :2], table()[:, 2:4], row_costs=table()[0]),
    "distances": lm.LowRank.squared_distances(table()[:, :3]),
    "zero-one": lm.ZeroOne(C),
}


@dataclass(frozen=True)
class Spiky(lm.Loss):
    """A loss of one's own: neither linear in p nor a plain sum."""

    decides = None
    convex = False
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def term(self, cell: lm.Cells) -> tuple[Tensor, Tensor]:
        """Σ d p² and −t log p."""
        return cell.cost * cell.p * cell.p, -lm.weigh(cell.target, cell.log_p)

    def loss(self, *totals: Tensor) -> Tensor:
        """Their product."""
        return totals[0] * totals[1]


ONE_EXCHANGE: list[lm.Loss] = [
    lm.CrossEntropy(),
    lm.ExpectedCost(),
    SUM,
    lm.CostSensitiveCrossEntropy(),
    lm.SoftTargetCrossEntropy(temperature=0.5),
    lm.CostFocal(),
    lm.CostFocal(gamma=1.5, detach=True),
    lm.SoftmaxMargin(),
    lm.SoftmaxMargin(log=True),
]
TWO_EXCHANGES: list[lm.Loss] = [
    lm.Unlikelihood(),
    lm.CrossEntropy() + 2.0 * lm.Unlikelihood() + lm.SoftmaxMargin(),
    lm.EntropicRisk(),
    lm.SimilarityLikelihood(),
    SUM + lm.EntropicRisk(lam=-0.5),
    Spiky(),
]
LINEAR_IN_TRUTH: list[lm.Loss] = [
    SUM,
    lm.CostSensitiveCrossEntropy(),
    lm.SoftTargetCrossEntropy(),
    lm.CrossEntropy() + lm.Unlikelihood(),
]


@dataclass
class Case:
    """A call, which every rank makes with its own classes and the test with all of them."""

    loss: lm.Loss
    kind: str = "dense"
    rows: str = "plain"
    dtype: torch.dtype = torch.float64
    dims: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)

    def criterion(self, make: Callable[..., lm.Criterion], **more: Any) -> lm.Criterion:
        costs = None if self.loss.reads is None else KINDS[self.kind]
        return make(self.loss, costs, **self.options, **more)

    def batch(self, shards: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Logits of all classes, and targets of which two rows are ignored."""
        generator = torch.Generator().manual_seed(3)
        z = 2.0 * torch.randn(N, C, *self.dims, generator=generator, dtype=torch.float64)
        target = torch.randint(C, (N, *self.dims), generator=generator)
        if self.rows != "plain":
            z, target = ROWS[self.rows](z, target, shards)
        target[[4, 9]] = self.options.get("ignore_index", -100)
        z[4] = torch.nan  # ignored rows may hold anything
        return z.to(self.dtype), target


def gaps(z: Tensor, target: Tensor, shards: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Tops 10⁴ above all others, in either shard, and two of them, one in each."""
    first, last = 0, C - 1
    z[0:3, first] += 1e4
    z[3:6, last] += 1e4
    z[6:9, [first, last]] += 1e4
    z[9, shards[0]] -= 1e4
    target[0], target[1], target[2] = first, last, 5
    target[3], target[6], target[7], target[8] = last, first, last, 5
    return z, target


def masked(z: Tensor, target: Tensor, shards: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """No class of the first shard, or of the last one, may be decided; nor any but one."""
    z[:5, : shards[0]] = -torch.inf
    z[5:10, -shards[-1] :] = -torch.inf
    z[10, 1:] = -torch.inf
    target[:5], target[5:10], target[10] = shards[0], 0, 0
    return z, target


ROWS = {"gaps": gaps, "masked": masked}
# They reward some probability of every class, so that a masked one makes them infinite.
WANTS_ALL = (lm.SoftTargetCrossEntropy, lm.CostSensitiveCrossEntropy)


def cases() -> dict[str, Case]:
    weights = {
        "weight": torch.linspace(0.5, 2.0, C, dtype=torch.float64).index_fill(
            0, torch.tensor([7]), 0.0
        )
    }
    own = {"sample_weight": torch.linspace(0.0, 3.0, N, dtype=torch.float64)}
    found = {f"{loss}": Case(loss) for loss in ONE_EXCHANGE + TWO_EXCHANGES}
    for kind in KINDS:
        for loss in (SUM, lm.Unlikelihood()):
            found[f"{loss} on {kind}"] = Case(loss, kind, options={"reduction": "none"})
    found["savings of ordinal"] = Case(lm.CostSensitiveCrossEntropy(), "ordinal")
    for loss in LINEAR_IN_TRUTH:
        for kind in ("dense", "ordinal"):
            smoothed = {"label_smoothing": 0.2, "reduction": "sum"} | weights
            found[f"{loss} on {kind}, smoothed"] = Case(loss, kind, options=smoothed)
    for loss in (SUM, lm.CostFocal(), lm.EntropicRisk(), lm.CrossEntropy() + lm.Unlikelihood()):
        for reduction in ("mean", "none"):
            options = weights | {"reduction": reduction}
            found[f"{loss}, weights, {reduction}"] = Case(loss, options=options, call=own)
    found["images"] = Case(SUM, dims=(2, 3), options={"reduction": "none", "ignore_index": 3})
    found["normalizer"] = Case(SUM, "ordinal", call={"normalizer": torch.tensor(7.5)})
    by_row = {"reduction": "none"}
    found["half precision"] = Case(SUM, dtype=torch.bfloat16, options=by_row)
    for loss in ONE_EXCHANGE + TWO_EXCHANGES:
        found[f"{loss}, {torch.float32}"] = Case(loss, dtype=torch.float32, options=by_row)
        for dtype in (torch.float64, torch.float32):
            found[f"{loss}, gaps, {dtype}"] = Case(loss, rows="gaps", dtype=dtype, options=by_row)
        if not isinstance(loss, WANTS_ALL):
            found[f"{loss}, masked"] = Case(
                loss, rows="masked", dtype=torch.float32, options=by_row
            )
    return found


CASES = cases()


def value_and_gradient(
    criterion: lm.Criterion, logits: Tensor, target: Tensor, call: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = criterion(logits, target, **call)
    upstream = torch.linspace(0.5, 1.5, max(1, value.numel()), dtype=torch.float64)
    upstream = upstream.to(value.dtype).reshape(value.shape)
    return value.detach(), torch.autograd.grad(value, logits, upstream)[0]


# --- what every process does ---------------------------------------------------------------------


class Counted:
    """Counts what a process sends: bytes, and how often it exchanges anything."""

    def __init__(self) -> None:
        self.bytes = self.exchanges = 0
        gather = dist.all_gather

        def counted(into: list[Tensor], own: Tensor, **options: Any) -> Any:
            self.bytes += own.numel() * own.element_size()
            self.exchanges += 1
            return gather(into, own, **options)

        dist.all_gather = counted

    def take(self) -> tuple[int, int]:
        found = self.bytes, self.exchanges
        self.bytes = self.exchanges = 0
        return found


def _process(rank: int, world: int, port: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        found = {name: _call(case, rank, world) for name, case in CASES.items()}
        found |= {each.__name__: each(rank, world) for each in ALONE}
        torch.save(found, f"{path}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def own_classes(rank: int, world: int) -> slice:
    start = sum(SHARDS[world][:rank])
    return slice(start, start + SHARDS[world][rank])


def _call(case: Case, rank: int, world: int) -> dict[str, Any]:
    counted = COUNTED[0] if COUNTED else Counted()
    COUNTED[:] = [counted]
    z, target = case.batch(SHARDS[world])
    criterion = case.criterion(lm.parallel.ShardedCriterion)
    own = z[:, own_classes(rank, world)]
    with torch.no_grad():
        first = criterion(own, target, **case.call)  # agrees on the shards
    counted.take()
    value, gradient = value_and_gradient(criterion, own, target, case.call)
    sent, exchanges = counted.take()
    assert torch.equal(first, value) or bool(first.isnan().any())
    return {"value": value, "gradient": gradient, "bytes": sent, "exchanges": exchanges}


COUNTED: list[Counted] = []


def decisions(rank: int, world: int) -> Tensor:
    z = torch.randn(N, C, 2, generator=torch.Generator().manual_seed(5))
    z[3] = 0.0
    criterion = lm.parallel.ShardedCriterion(lm.ExpectedCost(), ORDINAL)
    own = z[:, own_classes(rank, world)]
    assert torch.equal(criterion.decide(own[3, :, 0]), criterion.decide(own)[3, 0])
    return criterion.decide(own)


def a_linear_layer(rank: int, world: int) -> list[Tensor]:
    """The classes of a layer in shards: its input's gradient is added up once."""
    x, weight, target = layer()
    own = weight[own_classes(rank, world)].detach().requires_grad_()
    lm.parallel.ShardedCriterion(SUM, ORDINAL)(x @ own.t(), target).backward()
    assert x.grad is not None
    assert own.grad is not None
    dist.all_reduce(x.grad)
    return [x.grad, own.grad]


LAYERS: list[tuple[lm.Loss, dict[str, Any]]] = [
    (SUM, {}),
    (SUM + lm.Unlikelihood(), {"reduction": "none"}),
    (lm.CrossEntropy() + lm.Unlikelihood(), {"reduction": "sum"}),
    (SUM, {"label_smoothing": 0.25, "weight": torch.arange(1.0, C + 1).double()}),
    (SUM, {"ignore_index": 2}),
]


def results_of_layer(criterion: nn.Module, own: slice) -> list[Tensor]:
    """Value and gradients for a random upstream, of a layer that holds some of the classes."""
    x, weight, target = layer()
    bias = torch.linspace(-1, 1, C, dtype=torch.float64)
    generator = torch.Generator().manual_seed(8)
    own_weights = torch.rand(N, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        criterion.linear.weight.copy_(weight[own])
        criterion.linear.bias.copy_(bias[own])
    value = criterion(x, target, sample_weight=own_weights)
    upstream = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    value.backward(upstream)
    parameters = criterion.linear.weight.grad, criterion.linear.bias.grad
    return [value.detach(), x.grad, *parameters]


def sharded_layers(rank: int, world: int) -> list[list[Tensor]]:
    """A layer whose logits are never held; the last rank has fewer classes."""
    start, stop = [(each[0], each[-1] + 1) for each in torch.arange(C).chunk(world)][rank]
    found = []
    for loss, options in LAYERS:
        criterion = lm.parallel.ShardedLinearCriterion(
            5,
            C,
            loss,
            ORDINAL,
            bias=True,
            dtype=torch.float64,
            max_chunk_bytes=8 * 4 * 3,
            **options,
        )
        found.append(results_of_layer(criterion, slice(int(start), int(stop))))
    x, _, _ = layer()
    criterion = lm.parallel.ShardedLinearCriterion(5, C, lm.ExpectedCost(), ORDINAL).double()
    with torch.no_grad():
        criterion.linear.weight.copy_(layer()[1][int(start) : int(stop)])
    found.append([criterion.decide(x), criterion.decide(x[1])])
    return found


def layer() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    x, weight = (
        torch.randn(rows, 5, generator=generator, dtype=torch.float64).requires_grad_()
        for rows in (N, C)
    )
    return x, weight, torch.randint(C, (N,), generator=generator)


def a_parallel_module(rank: int, world: int) -> list[Tensor]:
    """The recipe of docs/training_loops.md, where PyTorch shards a layer."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    x, weight, target = layer()
    body, head = (nn.Linear(5, width, bias=False, dtype=x.dtype) for width in (5, C))
    with torch.no_grad():
        body.weight.copy_(torch.eye(5))
        head.weight.copy_(weight)
    names = {
        "init_device_mesh": lambda *_, **named: init_device_mesh("cpu", (world,), **named),
        "parallelize_module": parallelize_module,
        "ColwiseParallel": ColwiseParallel,
        "Shard": Shard,
        "lm": lm,
        "loss": SUM,
        "costs": ORDINAL,
        "model": nn.Sequential(OrderedDict(body=body, head=head)),
        "tokens": x.unflatten(0, (2, -1)),
        "target": target.unflatten(0, (2, -1)),
    }
    exec(loop("Classes over processes"), names)
    return [body.weight.grad, head.weight.grad.full_tensor()]


def distributed_tensors(rank: int, world: int) -> dict[str, str]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (world,))
    target = torch.arange(6)
    found: dict[str, str] = {}
    for placement in (Shard(1), Shard(0), Replicate()):
        logits = distribute_tensor(torch.zeros(6, C), mesh, [placement])
        found[f"Criterion, {placement}"] = refusal(lm.Criterion(SUM, ORDINAL), logits, target)
    truth = distribute_tensor(target, mesh, [Shard(0)])
    found["target"] = refusal(lm.Criterion(SUM, ORDINAL), torch.zeros(6, C), truth)
    logits = distribute_tensor(torch.zeros(6, C), mesh, [Shard(1)])
    found["sharded"] = refusal(lm.parallel.ShardedCriterion(SUM, ORDINAL), logits, target)
    return found


def refusals(rank: int, world: int) -> dict[str, str]:
    own = torch.zeros(3, SHARDS[world][rank])
    target = torch.tensor([0, 1, C - 1])
    Sharded = lm.parallel.ShardedCriterion
    used = Sharded(SUM, ORDINAL)
    used(own, target)
    smaller = lm.Ordinal(C - 1)
    return {
        "another shard": refusal(used, torch.zeros(3, SHARDS[world][rank] + 1), target),
        "other costs": refusal(Sharded(SUM, smaller), own, target),
        "no class": refusal(Sharded(SUM, ORDINAL), own[:, : rank * C], target),
        "probabilities": refusal(used, own, torch.full_like(own, 1 / C)),
        "target": refusal(used, own, torch.tensor([0, 1, C])),
        "rows": refusal(used, own, target[:2]),
        "decide": refusal(Sharded(lm.CrossEntropy(), ORDINAL).decide, own),
    }


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    try:
        call(*arguments)
    except (TypeError, ValueError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


ALONE = (
    decisions,
    a_linear_layer,
    sharded_layers,
    a_parallel_module,
    distributed_tensors,
    refusals,
)


# --- what the processes found --------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(SHARDS), ids=lambda world: f"{world} processes")
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each process found, by case."""
    world, path = request.param, tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_process, (world, port, str(path)), nprocs=world)
    return [torch.load(path / f"{rank}.pt") for rank in range(world)]


def test_every_rank_has_the_same_loss_to_the_last_bit(ranks: list[dict[str, Any]]) -> None:
    first, *others = ranks
    for name in CASES:
        for other in others:
            torch.testing.assert_close(
                first[name]["value"], other[name]["value"], rtol=0, atol=0, equal_nan=True, msg=name
            )


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_all_classes(name: str, ranks: list[dict[str, Any]]) -> None:
    case = CASES[name]
    z, target = case.batch(SHARDS[len(ranks)])
    ours = ranks[0][name]["value"], torch.cat([rank[name]["gradient"] for rank in ranks], 1)
    theirs, exact = (
        value_and_gradient(
            case.criterion(lm.Criterion, engine="reference"), z.to(dtype), target, case.call
        )
        for dtype in (case.dtype, torch.float64)
    )
    roundings = 100 if case.dtype == torch.float64 else 8  # whose exact answer has none itself
    for mine, its, truth in zip(ours, theirs, exact, strict=True):
        assert mine.dtype == case.dtype
        assert mine.isfinite().all()
        assert truth.isfinite().all()
        if mine is ours[1]:  # of each row by itself: a gap must not hide another row's digits
            mine, its, truth = (t.movedim(1, -1).reshape(-1, C) for t in (mine, its, truth))
        else:
            mine, its, truth = (t.reshape(-1, 1) for t in (mine, its, truth))
        scale = truth.abs().amax(-1, keepdim=True)
        budget = 2 * (its.double() - truth).abs().amax(-1, keepdim=True)
        budget += roundings * torch.finfo(case.dtype).eps * scale + torch.finfo(case.dtype).tiny
        off = (mine.double() - truth).abs()
        assert (off <= budget).all(), (off / budget).max()


def test_an_exchange_takes_at_most_32_bytes_a_row(ranks: list[dict[str, Any]]) -> None:
    for loss in ONE_EXCHANGE:
        found = ranks[0][f"{loss}, {torch.float32}"]
        assert found["exchanges"] == 1
        print(f"{loss}: {found['bytes'] / N:g} bytes a row")
        assert found["bytes"] <= 32 * N
    for loss in TWO_EXCHANGES:
        assert ranks[0][f"{loss}, {torch.float32}"]["exchanges"] == 2
    assert ranks[0][f"{lm.CrossEntropy()}, {torch.float32}"]["bytes"] == 24 * N


def test_decisions_are_those_of_all_logits(ranks: list[dict[str, Any]]) -> None:
    z = torch.randn(N, C, 2, generator=torch.Generator().manual_seed(5))
    z[3] = 0.0  # the first of equal ones
    for rank in ranks:
        assert torch.equal(rank["decisions"], z.argmax(1))


def test_a_sharded_layer_gets_its_gradients(ranks: list[dict[str, Any]]) -> None:
    x, weight, target = layer()
    lm.Criterion(SUM, ORDINAL)(x @ weight.t(), target).backward()
    torch.testing.assert_close(
        torch.cat([rank["a_linear_layer"][1] for rank in ranks]), weight.grad
    )
    for rank in ranks:
        torch.testing.assert_close(rank["a_linear_layer"][0], x.grad)


def test_a_sharded_layer_holds_no_logits_and_gets_the_same(ranks: list[dict[str, Any]]) -> None:
    for k, (loss, options) in enumerate(LAYERS):
        whole = lm.LinearCriterion(5, C, loss, ORDINAL, bias=True, dtype=torch.float64, **options)
        value, of_input, *of_parameters = results_of_layer(whole, slice(None))
        found = [rank["sharded_layers"][k] for rank in ranks]
        for own in found:
            assert torch.equal(own[0], found[0][0])
            torch.testing.assert_close(own[:2], [value, of_input])
        for i, exact in enumerate(of_parameters, 2):
            torch.testing.assert_close(torch.cat([own[i] for own in found]), exact)
    x, weight, _ = layer()
    decisions = (x @ weight.t()).argmax(1)
    for rank in ranks:
        assert torch.equal(rank["sharded_layers"][-1][0], decisions)
        assert rank["sharded_layers"][-1][1] == decisions[1]


def test_what_a_sharded_layer_cannot_do_is_said() -> None:
    from torch.distributed import HashStore, ProcessGroupGloo

    alone = ProcessGroupGloo(HashStore(), 0, 1)
    criterion = lm.parallel.ShardedLinearCriterion(5, 3, SUM, lm.Ordinal(3), group=alone)
    x, y = torch.randn(4, 5, requires_grad=True), torch.tensor([0, 2, 1, 1])
    slope = torch.autograd.grad(criterion(x, y), x, create_graph=False)
    assert slope[0].shape == x.shape
    with pytest.raises(RuntimeError, match="a sharded layer has no second derivatives"):
        torch.autograd.grad(criterion(x, y), x, create_graph=True)
    with pytest.raises(RuntimeError, match="use ShardedCriterion on the logits of a layer"):
        criterion(x, y, sample_weight=torch.ones(4, requires_grad=True))
    with pytest.raises(ValueError, match="do not fit num_classes=4"):
        lm.parallel.ShardedLinearCriterion(5, 4, SUM, lm.Ordinal(3), group=alone)


def test_logits_that_pytorch_shards_go_to_the_criterion(ranks: list[dict[str, Any]]) -> None:
    x, weight, target = layer()
    first = torch.eye(5, dtype=torch.float64, requires_grad=True)
    lm.Criterion(SUM, ORDINAL)(x @ first.t() @ weight.t(), target).backward()
    for rank in ranks:
        torch.testing.assert_close(rank["a_parallel_module"], [first.grad, weight.grad])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Criterion, S(1)", "sharded over its classes: give logits.to_local() to lossmatrix.paral"),
        ("Criterion, S(0)", "pass logits.to_local(), and where rows are sharded normalizer="),
        ("Criterion, R", "pass logits.to_local()"),
        ("target", "pass target.to_local()"),
        ("sharded", "takes a rank's own logits: pass logits.to_local()"),
    ],
)
def test_distributed_tensors_are_refused_with_what_to_do(
    name: str, words: str, ranks: list[dict[str, Any]]
) -> None:
    for rank in ranks:
        assert rank["distributed_tensors"][name].startswith("TypeError: ")
        assert words in rank["distributed_tensors"][name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("another shard", "classes in the first call, and has"),
        ("other costs", "ValueError: costs of 10 classes do not fit logits of shape (3, 11)"),
        ("no class", "every rank must hold a class, but they hold (0, "),
        ("probabilities", "pass class indices, and label_smoothing"),
        ("target", "IndexError: Target 11 is out of bounds"),
        ("rows", "Expected input batch_size (3) to match target batch_size (2)"),
        ("decide", "is decided by 'bayes', which needs the logits of all classes"),
    ],
)
def test_what_does_not_fit_is_refused_on_every_rank(
    name: str, words: str, ranks: list[dict[str, Any]]
) -> None:
    for rank in ranks:
        assert words in rank["refusals"][name]


@pytest.mark.parametrize(
    ("loss", "costs", "options", "words"),
    [
        (lm.EnergyScore(), ORDINAL, {}, "reads the conditional risk p·D .* gather the logits"),
        (lm.CrossEntropy() + lm.DecisionScore(), ORDINAL, {}, "reads the conditional risk"),
        (lm.CostFocal(), ORDINAL, {"label_smoothing": 0.1}, "not linear in the truth"),
        (SUM, lm.PerExample(torch.ones(3, C)), {}, "costs of samples"),
        (SUM, table().requires_grad_(), {}, "requires a gradient"),
        (
            SUM,
            ORDINAL,
            {"weight": -torch.ones(C), "label_smoothing": 0.1},
            "a negative class weight has no share",
        ),
    ],
)
def test_what_needs_all_classes_is_refused_when_it_is_made(
    loss: lm.Loss, costs: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        lm.parallel.ShardedCriterion(loss, costs, **options)
