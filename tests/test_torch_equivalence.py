# SPDX-License-Identifier: BSD-3-Clause
"""``Criterion(CrossEntropy())`` takes the place of ``nn.CrossEntropyLoss`` in every respect.

PyTorch's own sample inputs and error inputs are run on both, and so are the corners between them.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lossmatrix as lm

ENGINES = ["auto", "reference"]
every_road = pytest.mark.parametrize("engine", ENGINES)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def criterion(engine: str, **options: Any) -> lm.Criterion:
    return lm.Criterion(lm.CrossEntropy(), engine=engine, **options)


def value_and_gradients(
    module: nn.Module, logits: Tensor, target: Tensor, upstream: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The value, and the gradients of logits and of probabilities, for a random upstream."""
    logits = logits.detach().requires_grad_()
    inputs = [logits]
    if target.is_floating_point():
        target = target.detach().requires_grad_()
        inputs.append(target)
    value = module(logits, target)
    if upstream is None:
        generator = torch.Generator().manual_seed(3)
        upstream = torch.randn(value.shape, generator=generator).to(value.dtype)
    gradients = torch.autograd.grad(value, inputs, upstream)
    return (value.detach(), *gradients)


def assert_alike(engine: str, logits: Tensor, target: Tensor, **options: Any) -> None:
    """Values and gradients are PyTorch's, to a few roundings of the coarser of the two.

    Times how much cancels in a row's weight, the sum over its classes: PyTorch's samples have
    class weights of both signs.
    """
    cancelled = 1.0
    if target.numel() and target.is_floating_point() and options.get("weight") is not None:
        each = target.detach().double().movedim(min(1, target.dim() - 1), -1) * options["weight"]
        cancelled = (each.abs().sum(-1) / each.sum(-1).abs()).max().item()
    expected = value_and_gradients(nn.CrossEntropyLoss(**options), logits, target)
    got = value_and_gradients(criterion(engine, **options), logits, target)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        largest = theirs[theirs.isfinite()].abs().max().item() if theirs.isfinite().any() else 0.0
        budget = 8 * torch.finfo(ours.dtype).eps * cancelled * (1.0 + largest)
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=budget, equal_nan=True)


@pytest.mark.parametrize("engine", [*ENGINES, "native"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("size", [(), (3, 2)], ids=str)
def test_class_weights_and_smoothing_have_pytorchs_denominators(
    size: tuple[int, ...], soft: bool, reduction: str, engine: str
) -> None:
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(7, 5, *size, generator=generator, dtype=torch.float64)
    target = torch.randint(5, (7, *size), generator=generator)
    options: dict[str, Any] = {
        "weight": torch.tensor([0.5, 2.0, 1.0, 0.0, 3.5], dtype=torch.float64),
        "label_smoothing": 0.15,
        "reduction": reduction,
    }
    if not soft:
        target[1] = 2
        options["ignore_index"] = 2
    y = logits.roll(1, 0).softmax(1) if soft else target
    z = [logits.clone().requires_grad_() for _ in range(2)]
    theirs = nn.functional.cross_entropy(z[0], y, **options)
    ours = criterion(engine, **options)(z[1], y)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    gradients = [
        torch.autograd.grad(value, x, upstream)[0]
        for value, x in zip((theirs, ours), z, strict=True)
    ]
    torch.testing.assert_close(*gradients)


# --- PyTorch's own inputs ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def internal() -> tuple[Any, Any]:
    """PyTorch's generators of inputs; importing them warns about parts we do not use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal import common_methods_invocations, common_modules
    torch.manual_seed(2022)
    return common_modules, common_methods_invocations


@every_road
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_every_module_input_of_pytorch_gives_what_pytorch_gives(
    internal: Any, engine: str, dtype: torch.dtype
) -> None:
    modules, _ = internal
    inputs = modules.module_inputs_torch_nn_CrossEntropyLoss(None, "cpu", dtype, True, True)
    assert len(inputs) > 90
    for each in inputs:
        options = each.constructor_input.kwargs
        logits, target = each.forward_input.args
        assert_alike(engine, logits, target, **options)
        module = criterion(engine, **options)
        expected = each.reference_fn(module, logits.detach(), target.detach())
        value = module(logits, target)
        tolerance = 3e-2 if dtype == torch.float16 else 1e-5
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@every_road
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_error_input_of_pytorch_gives_pytorchs_message(
    internal: Any, engine: str, dtype: torch.dtype
) -> None:
    modules, _ = internal
    inputs = modules.module_error_inputs_torch_nn_CrossEntropyLoss(None, "cpu", dtype, True, True)
    assert len(inputs) >= 7
    for each in inputs:
        case = each.module_error_input
        with pytest.raises(each.error_type, match=each.error_regex):
            criterion(engine, **case.constructor_input.kwargs)(*case.forward_input.args)


@every_road
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_operator_sample_of_pytorch_gives_what_pytorch_gives(
    internal: Any, engine: str, dtype: torch.dtype
) -> None:
    _, methods = internal
    samples = list(methods.sample_inputs_cross_entropy(None, "cpu", dtype, True))
    assert len(samples) >= 21
    for sample in samples:
        options = dict(sample.kwargs)
        if (options.get("weight", torch.ones(1)) < 0).any() and not sample.args[
            0
        ].is_floating_point():
            options["weight"] = options["weight"].abs() + 0.1  # no mean over weights near 0
        assert_alike(engine, sample.input, sample.args[0], **options)


# --- every combination of options ----------------------------------------------------------------

SHAPES = [((4,), ()), ((2, 4), (2,)), ((4, 4), (4,)), ((1, 4), (1,)), ((3, 4, 2, 5), (3, 2, 5))]


@every_road
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_all_options_together_give_what_pytorch_gives(
    engine: str, reduction: str, weighted: bool, label_smoothing: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(4)
    weight = (0.5 + torch.rand(4, generator=generator)).to(dtype) if weighted else None
    options = {"reduction": reduction, "weight": weight, "label_smoothing": label_smoothing}
    for logits_shape, row_shape in SHAPES:
        logits = torch.randn(logits_shape, generator=generator).to(dtype)
        target = torch.randint(4, row_shape, generator=generator)
        soft = torch.rand(logits_shape, generator=generator).to(dtype)
        assert_alike(engine, logits, target, **options)
        assert_alike(engine, logits, target, ignore_index=int(target.flatten()[0]), **options)
        assert_alike(engine, logits, soft, **options)


@every_road
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64], ids=str)
def test_class_indices_may_be_of_any_of_three_integer_types(
    engine: str, dtype: torch.dtype
) -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 2])
    expected = value_and_gradients(nn.CrossEntropyLoss(), logits, target)
    got = value_and_gradients(criterion(engine), logits, target.to(dtype))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "loss", [lm.CrossEntropy(), lm.CrossEntropy() + lm.SoftmaxMargin()], ids=repr
)
def test_of_uint8_targets_no_class_is_taken_for_an_ignore_index_of_minus_100(
    engine: str, smoothing: float, loss: lm.Loss
) -> None:
    logits = torch.randn(4, 200, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([156, 3, 199, 0])  # −100 in 8 bits is 156
    criterion = lm.Criterion(
        loss, lm.Ordinal(200), label_smoothing=smoothing, reduction="none", engine=engine
    )
    assert torch.equal(criterion(logits, target.to(torch.uint8)), criterion(logits, target))


@every_road
def test_an_ignore_index_that_uint8_holds_is_ignored_there(engine: str) -> None:
    logits = torch.randn(4, 3)
    target = torch.tensor([0, 255, 1, 2], dtype=torch.uint8)
    assert_alike(engine, logits, target, ignore_index=255)
    assert_alike(engine, logits, target.long(), ignore_index=255)


@every_road
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_empty_and_all_ignored_batches_are_as_in_pytorch(
    engine: str, weighted: bool, reduction: str
) -> None:
    """A mean of nothing is not a number, a sum is 0, and backward still runs."""
    options = {"reduction": reduction, "weight": torch.ones(3) if weighted else None}
    ignored = torch.full((2,), -100)
    assert_alike(engine, torch.randn(2, 3), ignored, **options)
    assert_alike(engine, torch.randn(2, 3, 2), ignored[:, None].expand(2, 2), **options)
    assert_alike(engine, torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), **options)
    assert_alike(engine, torch.zeros(0, 3), torch.zeros(0, 3), **options)
    assert_alike(engine, torch.zeros(2, 3, 0), torch.zeros(2, 0, dtype=torch.int64), **options)


@every_road
@pytest.mark.parametrize("gap", [0.0, 17.0, 104.0, 1e4])
def test_confident_logits_are_as_in_pytorch(engine: str, gap: float) -> None:
    logits = torch.tensor([[gap, 0.0, -1.0], [0.0, gap, 2.0], [0.0, 1.0, -gap]])
    assert_alike(engine, logits, torch.tensor([0, 2, 1]))
    assert_alike(engine, logits - 1e3, torch.tensor([2, 1, 2]))


@every_road
def test_masked_classes_are_as_in_pytorch_and_better_where_pytorch_is_not_a_number(
    engine: str,
) -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.5], [0.0, 1.0, -math.inf]])
    target = torch.tensor([0, 1])
    assert_alike(engine, logits, target)
    one_hot = torch.eye(3)[target]
    assert nn.CrossEntropyLoss()(logits, one_hot).isnan()
    value, gradient, _ = value_and_gradients(criterion(engine), logits, one_hot)
    expected = value_and_gradients(nn.CrossEntropyLoss(), logits, target)
    torch.testing.assert_close((value, gradient), expected)
    masked_truth = criterion(engine, reduction="none")(logits, torch.tensor([1, 0]))
    assert masked_truth[0] == math.inf  # the truth itself is masked


@every_road
def test_probabilities_of_another_precision_promote_the_result_as_in_pytorch(engine: str) -> None:
    logits, soft = torch.randn(3, 4), torch.rand(3, 4)
    for z, t in ((logits, soft.double()), (logits.double(), soft)):
        ours, theirs = criterion(engine)(z, t), nn.CrossEntropyLoss()(z, t)
        assert ours.dtype == theirs.dtype == torch.float64
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)  # PyTorch rounds in between


# --- errors --------------------------------------------------------------------------------------

WRONG: dict[str, tuple[tuple[int, ...], Tensor, dict[str, Any]]] = {
    "batch sizes": ((3, 4), torch.tensor([0, 1]), {}),
    "index too large": ((3, 4), torch.tensor([0, 1, 4]), {}),
    "index negative": ((3, 4), torch.tensor([0, 1, -1]), {}),
    "index without batch": ((4,), torch.tensor(5), {}),
    "float index": ((3, 4), torch.zeros(3), {}),
    "one-hot integers": ((3, 4), torch.zeros(3, 4, dtype=torch.int64), {}),
    "one-hot booleans": ((3, 4), torch.zeros(3, 4, dtype=torch.bool), {}),
    "length of weight": ((3, 4), torch.tensor([0, 1, 2]), {"weight": torch.ones(3)}),
    "shape of weight": ((3, 4), torch.tensor([0, 1, 2]), {"weight": torch.ones(4, 1)}),
    "positions": ((2, 3, 5), torch.zeros(2, 4, dtype=torch.int64), {}),
    "positions missing": ((2, 3, 5), torch.zeros(2, dtype=torch.int64), {}),
    "ignored probabilities": ((2, 3), torch.ones(2, 3) / 3, {"ignore_index": 1}),
    "smoothing above one": ((2, 3), torch.tensor([0, 1]), {"label_smoothing": 1.5}),
    "reduction": ((2, 3), torch.tensor([0, 1]), {"reduction": "Sum"}),
}


@every_road
@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_get_the_message_that_pytorch_users_know(name: str, engine: str) -> None:
    shape, target, options = WRONG[name]
    with pytest.raises((ValueError, RuntimeError, IndexError)) as theirs:
        nn.CrossEntropyLoss(**options)(torch.zeros(shape), target)
    known = str(theirs.value).removesuffix("Float").rstrip(".")
    with pytest.raises(type(theirs.value), match=re.escape(known)):
        criterion(engine, **options)(torch.zeros(shape), target)


@every_road
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((2, 3), torch.zeros(2, 1, dtype=torch.int64)),
        ((2, 3), torch.ones(2, 4) / 4),
        ((2, 3, 4), torch.ones(2, 3) / 3),
        ((2, 3, 5, 5), torch.zeros(2, 5, 4, dtype=torch.int64)),
    ],
    ids=str,
)
def test_wrong_shapes_are_named_with_the_shape_that_was_expected(
    shape: tuple[int, ...], target: Tensor, engine: str
) -> None:
    expected = [shape[0], *shape[2:]]
    message = f"Expected target size {expected}, got {list(target.shape)}"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        criterion(engine)(torch.zeros(shape), target)
    with pytest.raises(RuntimeError):
        nn.CrossEntropyLoss()(torch.zeros(shape), target)


@every_road
def test_swapped_arguments_are_found_out(engine: str) -> None:
    with pytest.raises(TypeError, match=r"expected floating point logits, but got torch\.int64"):
        criterion(engine)(torch.tensor([0, 1]), torch.randn(2, 3))
    with pytest.raises(ValueError, match="but got a scalar"):
        criterion(engine)(torch.tensor(0.5), torch.tensor(0))


@every_road
def test_a_network_trains_to_the_same_weights_with_either(engine: str) -> None:
    def trained(loss: nn.Module) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
        x, y = torch.randn(16, 3), torch.arange(16) % 4
        optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
        for _ in range(20):
            optimiser.zero_grad()
            loss(net(x), y).backward()
            optimiser.step()
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    weight = torch.tensor([1.0, 2.0, 0.5, 1.0])
    options: dict[str, Any] = {"weight": weight, "label_smoothing": 0.1}
    torch.testing.assert_close(
        trained(criterion(engine, **options)), trained(nn.CrossEntropyLoss(**options)),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
