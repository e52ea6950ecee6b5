# SPDX-License-Identifier: BSD-3-Clause
"""``BinaryCriterion`` is ``Criterion`` on the logits [0, z], in BCEWithLogitsLoss's place."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from registry import LOSSES, every_loss, refuses
from torch import Tensor, nn

import lossmatrix as lm

ASYMMETRIC = torch.tensor([[0.5, 2.0], [7.0, 0.25]], dtype=torch.float64)
SYMMETRIC = torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
every_truth = pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])


def costs_for(loss: lm.Loss) -> Tensor | None:
    if loss.reads is None:
        return None
    return SYMMETRIC if refuses(loss, ASYMMETRIC) else ASYMMETRIC


def batch(*shape: int, soft: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Logits with gaps up to 10⁴, and their targets."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    logits = logits * 10.0 ** torch.randint(-1, 5, shape, generator=generator)
    if soft:
        return logits.to(dtype), torch.rand(shape, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(2, shape, generator=generator)


def value_and_gradient(criterion: nn.Module, logits: Tensor, *rest: Tensor, **options: Any) -> Any:
    z = logits.detach().requires_grad_()
    value = criterion(z, *rest, **options)
    generator = torch.Generator().manual_seed(6)
    upstream = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
    return value.detach(), *torch.autograd.grad(value, z, upstream)


class Stacked(nn.Module):
    """The law: ``Criterion`` on [0, z]."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.criterion = lm.Criterion(*arguments, **options)

    def forward(self, z: Tensor, y: Tensor, **options: Any) -> Tensor:
        if y.is_floating_point():
            y = torch.stack([1 - y, y], 1)
        return self.criterion(torch.stack([0 * z, z], 1), y, **options)


@every_loss
@every_truth
@every_reduction
@pytest.mark.parametrize("shape", [(40,), (6, 5), (2, 3, 4)], ids=str)
def test_it_equals_criterion_on_a_logit_of_0_and_the_logit(
    loss: lm.Loss, soft: bool, reduction: str, shape: tuple[int, ...]
) -> None:
    options: dict[str, Any] = {"reduction": reduction}
    z, y = batch(*shape, soft=soft)
    weight = torch.rand(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    for given in ({}, {"sample_weight": weight}):
        ours = value_and_gradient(
            lm.BinaryCriterion(loss, costs_for(loss), **options), z, y, **given
        )
        law = value_and_gradient(Stacked(loss, costs_for(loss), **options), z, y, **given)
        torch.testing.assert_close(ours, law, rtol=1e-12, atol=1e-12)


@every_loss
@every_truth
@every_reduction
@pytest.mark.parametrize("labels", [False, True], ids=["one matrix", "labels"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_packs_of_many_logits_give_what_numbers_one_by_one_do(
    loss: lm.Loss, soft: bool, reduction: str, labels: bool, engine: str
) -> None:
    """In float32 a kernel takes up to 16 logits at a time, and the last ones are not so many."""
    costs = costs_for(loss)
    if labels and costs is not None:
        factor = torch.arange(1, 6, dtype=torch.float64).reshape(5, 1, 1)
        costs = costs * factor
        costs = costs if costs[0, 0, 1] == costs[0, 1, 0] else costs + factor.square() * costs.mT
    z, y = batch(41, 5, soft=soft)
    z = torch.where(z.abs() > 50, 50.0 * z.sign(), z).float().double()
    weight = torch.rand(5, generator=torch.Generator().manual_seed(7)).double()
    given: dict[str, Any] = {"reduction": reduction, "weight": weight}
    if labels:
        given["pos_weight"] = weight.flip(0)
    exact = value_and_gradient(lm.BinaryCriterion(loss, costs, engine="reference", **given), z, y)
    given |= {name: given[name].float() for name in given if name != "reduction"}
    y = y.float() if soft else y
    strided = z.float().t().contiguous().t()
    for logits in (z.float(), strided):
        ours = value_and_gradient(
            lm.BinaryCriterion(loss, costs, engine=engine, **given), logits, y
        )
        for a, b in zip(ours, exact, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=2e-5)


LABELS = torch.tensor(
    [[[0, 2], [7, 0]], [[0, 1], [1, 0]], [[0, 2], [7, 0]], [[0, 5], [3, 0]], [[0, 6], [21, 0]]],
    dtype=torch.float64,
)
SYMMETRIC_LABELS = torch.tensor([2.0, 1.0, 2.0, 5.0, 3.0], dtype=torch.float64).reshape(5, 1, 1) * (
    1 - torch.eye(2, dtype=torch.float64)
)


@pytest.mark.parametrize("loss", [each for each in LOSSES.values() if each.reads], ids=repr)
@every_truth
@every_reduction
def test_costs_of_labels_are_a_criterion_for_each(
    loss: lm.Loss, soft: bool, reduction: str
) -> None:
    tables = SYMMETRIC_LABELS if refuses(loss, ASYMMETRIC) else LABELS
    z, y = batch(2, 4, 5, soft=soft)
    weight = torch.rand(5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    class Loop(nn.Module):
        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            each = [
                Stacked(loss, tables[i], reduction="none")(z[..., i], y[..., i]) * weight[i]
                for i in range(5)
            ]
            losses = torch.stack(each, -1)
            return losses if reduction == "none" else getattr(losses, reduction)()

    criterion = lm.BinaryCriterion(loss, tables, weight=weight, reduction=reduction)  # type: ignore[arg-type]
    ours, law = (value_and_gradient(each, z, y) for each in (criterion, Loop()))
    torch.testing.assert_close(ours, law, rtol=1e-12, atol=1e-12)


@every_truth
def test_costs_of_labels_come_as_tensors_lists_and_matrices_alike(soft: bool) -> None:
    z, y = batch(3, 5, soft=soft)
    loss = lm.CrossEntropy() + lm.ExpectedCost()
    given = (
        LABELS,
        LABELS.numpy(),
        LABELS.tolist(),
        [lm.Dense(each) for each in LABELS],
        [LABELS[0], *LABELS[1:].tolist()],
    )
    values = [lm.BinaryCriterion(loss, each)(z, y).item() for each in given]
    assert values == [values[0]] * 5


@every_loss
def test_decisions_are_those_of_criterion_in_the_logits_shape(loss: lm.Loss) -> None:
    z, _ = batch(6, 5, soft=False)
    rule = loss.decides or "bayes"
    stacked = torch.stack([0 * z, z], 1)
    costs = costs_for(loss)
    ours = lm.BinaryCriterion(loss, costs).decide(z, rule=rule)
    assert torch.equal(ours, lm.Criterion(loss, costs).decide(stacked, rule=rule))
    assert 0 < ours.sum() < ours.numel()


def test_each_label_has_its_own_threshold() -> None:
    costs = [[[0, 1], [4, 0]], [[0, 1], [1, 0]], lm.ZeroOne(2).with_abstain(0.25)]
    criterion = lm.BinaryCriterion(lm.CrossEntropy(), costs)  # type: ignore[arg-type]
    probs = torch.tensor([[0.1, 0.4, 0.2], [0.3, 0.6, 0.7], [0.9, 0.9, 0.8]])
    expected = torch.tensor([[0, 0, 0], [1, 1, 2], [1, 1, 1]])
    assert torch.equal(criterion.decide(probs.logit()), expected)
    assert torch.equal(criterion.decide(probs[1].logit()), expected[1])


@pytest.mark.parametrize("labels", [False, True], ids=["one matrix", "a matrix for each label"])
def test_decide_takes_the_costs_of_a_batch(labels: bool) -> None:
    kept = [[[0, 1], [4, 0]], [[0, 1], [1, 0]], [[0, 3], [2, 0]]]
    criterion = lm.BinaryCriterion(lm.CrossEntropy(), kept if labels else kept[0])  # type: ignore[arg-type]
    z, cubes = torch.randn(4, 3), torch.rand(12, 2, 2)
    p = z.sigmoid().flatten()
    risk = torch.einsum("ni,nik->nk", torch.stack([1 - p, p], 1), cubes)
    decided = criterion.decide(z, costs=lm.PerExample.matrices(cubes))
    assert torch.equal(decided, risk.argmin(1).reshape(4, 3))
    assert (decided != criterion.decide(z)).any()


# --- in the place of nn.BCEWithLogitsLoss --------------------------------------------------------


def assert_alike(z: Tensor, y: Tensor, **options: Any) -> None:
    ours = value_and_gradient(lm.BinaryCriterion(lm.CrossEntropy(), **options), z, y)
    theirs = value_and_gradient(nn.BCEWithLogitsLoss(**options), z, y)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine.dtype, mine.shape) == (its.dtype, its.shape)
        largest = its.abs().nan_to_num().max().item() if its.numel() else 0.0
        budget = 8 * torch.finfo(mine.dtype).eps * (1 + largest)
        torch.testing.assert_close(mine, its, rtol=0, atol=budget, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_module_input_of_pytorch_gives_what_pytorch_gives(dtype: torch.dtype) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal import common_modules
    torch.manual_seed(2022)
    inputs = common_modules.module_inputs_torch_nn_BCEWithLogitsLoss(None, "cpu", dtype, True, True)
    assert len(inputs) >= 6
    for each in inputs:
        assert_alike(*each.forward_input.args, **each.constructor_input.kwargs)


@every_reduction
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (4, 1), (4, 3), (2, 4, 3), (0,), (0, 3)], ids=str
)
def test_shapes_weights_and_dtypes_are_pytorchs(
    shape: tuple[int, ...], dtype: torch.dtype, reduction: str
) -> None:
    generator = torch.Generator().manual_seed(8)
    z = torch.randn(shape, generator=generator).to(dtype)
    y = torch.rand(shape, generator=generator).to(dtype)
    last = shape[-1:]
    weight, pos_weight = (0.5 + torch.rand(last, generator=generator).to(dtype) for _ in range(2))
    assert_alike(z, y, reduction=reduction)
    assert_alike(z, y, reduction=reduction, weight=weight)
    assert_alike(z, y, reduction=reduction, pos_weight=pos_weight)
    assert_alike(z, (y > 0.5).to(dtype), reduction=reduction, weight=weight, pos_weight=pos_weight)


def test_strides_and_mixed_dtypes_are_read_as_pytorch_reads_them() -> None:
    z, y = batch(6, 8, soft=True)
    assert_alike(z.T, y.T)
    assert_alike(z[::2, 1::3], y[1::2, ::3])
    assert_alike(z[:, :1].expand(6, 4), y[:, :4])
    criterion = lm.BinaryCriterion(lm.CrossEntropy())
    mixed = criterion(z.float(), y)
    torch.testing.assert_close(mixed, nn.BCEWithLogitsLoss()(z.float(), y), rtol=1e-6, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert criterion(z.bfloat16(), y.bfloat16()).dtype == torch.float32


def test_its_state_and_its_defaults_are_pytorchs() -> None:
    tensors = {"weight": torch.tensor([1.0, 2.0]), "pos_weight": torch.tensor([3.0, 4.0])}
    theirs = nn.BCEWithLogitsLoss(**tensors)
    ours = lm.BinaryCriterion(lm.CrossEntropy() + lm.ExpectedCost(), LABELS[:2])
    assert ours.state_dict() == nn.BCEWithLogitsLoss().state_dict() == {}
    ours = lm.BinaryCriterion(lm.CrossEntropy() + lm.ExpectedCost(), LABELS[:2], **tensors)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict({name: 2 * each for name, each in theirs.state_dict().items()})
    assert ours.pos_weight is not None
    assert ours.pos_weight.tolist() == [6.0, 8.0]
    z, y = batch(3, 2, soft=False)
    assert torch.equal(pickle.loads(pickle.dumps(ours))(z, y), ours(z, y))
    assert torch.equal(ours.to(torch.float64)(z, y), ours(z, y))


@every_loss
def test_integers_booleans_and_whole_probabilities_are_one_truth(loss: lm.Loss) -> None:
    z, y = batch(30, soft=False)
    pos_weight = torch.tensor(2.5, dtype=torch.float64)
    criterion = lm.BinaryCriterion(loss, costs_for(loss), pos_weight=pos_weight, reduction="none")
    expected = value_and_gradient(criterion, z, y)
    for same in (y.bool(), y.int(), y.byte(), y.double()):
        given = value_and_gradient(criterion, z, same)
        torch.testing.assert_close(given, expected, rtol=1e-12, atol=1e-12)


@every_truth
def test_without_a_row_labels_of_their_own_costs_are_as_in_pytorch(soft: bool) -> None:
    z, y = batch(0, 5, soft=soft)
    for loss in (lm.ExpectedCost(), lm.CrossEntropy() + lm.DecisionScore()):
        ours, gradient = value_and_gradient(lm.BinaryCriterion(loss, LABELS), z, y)
        assert ours.isnan()
        assert gradient.shape == (0, 5)


@pytest.mark.parametrize("costs", [LABELS[0], LABELS[:2]], ids=["one matrix", "one per label"])
def test_ignored_targets_count_nowhere(costs: Tensor) -> None:
    loss = lm.CrossEntropy() + lm.ExpectedCost()
    criterion = lm.BinaryCriterion(loss, costs, ignore_index=255)
    z, y = batch(4, 2, soft=False)
    kept = criterion(z[:3], y[:3])
    z[3], y[3] = torch.nan, 255
    for target in (y, y.byte()):
        value, gradient = value_and_gradient(criterion, z, target)
        torch.testing.assert_close(value, kept)
        assert not gradient[3].any()


def test_costs_of_a_batch_are_one_row_for_each_logit() -> None:
    z, y = batch(3, 2, soft=False)
    rows = torch.rand(6, 2, dtype=torch.float64)
    expected = (torch.stack([-z, z], -1).sigmoid() * rows.reshape(3, 2, 2)).sum() / 6
    for costs in (LABELS[0], LABELS[:2]):
        criterion = lm.BinaryCriterion(lm.ExpectedCost(), costs)
        torch.testing.assert_close(criterion(z, y, costs=lm.PerExample(rows)), expected)


def test_half_precision_is_rounded_once() -> None:
    z, y = batch(64, soft=True, dtype=torch.bfloat16)
    for loss in (lm.CrossEntropy() + lm.DecisionScore(), lm.Unlikelihood()):
        criterion = lm.BinaryCriterion(loss, ASYMMETRIC, reduction="none")
        value, gradient = value_and_gradient(criterion, z, y.bfloat16())
        wide = value_and_gradient(criterion, z.float(), y.bfloat16().float())
        assert (value.dtype, gradient.dtype) == (torch.bfloat16, torch.bfloat16)
        assert torch.equal(value, wide[0].bfloat16())


def test_weights_in_half_precision_are_multiplied_in_full() -> None:
    z, y = batch(6, soft=False)
    weights = [(0.5 + torch.rand(6)).bfloat16() for _ in range(3)]
    values = []
    for weight, pos_weight, own in (weights, [each.double() for each in weights]):
        criterion = lm.BinaryCriterion(lm.CrossEntropy(), weight=weight, pos_weight=pos_weight)
        values.append(criterion(z, y, sample_weight=own))
    torch.testing.assert_close(*values, rtol=1e-6, atol=0)


def test_it_is_compiled_and_transformed_as_criterion_is() -> None:
    z, y = batch(12, soft=False)
    criterion = lm.BinaryCriterion(lm.CrossEntropy() + lm.ExpectedCost(), ASYMMETRIC)
    by_rows = torch.func.vmap(criterion)(z.reshape(3, 4), y.reshape(3, 4))
    torch.testing.assert_close(by_rows.mean(), criterion(z, y))
    z = (0.001 * z).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: criterion(z, y), z)


@pytest.mark.parametrize("costs", [LABELS[0], LABELS], ids=["one matrix", "one per label"])
def test_its_costs_go_where_the_module_goes(costs: Tensor) -> None:
    criterion = lm.BinaryCriterion(lm.ExpectedCost(), costs).to("meta")
    z, y = batch(3, 5, soft=False)
    assert criterion(z.to("meta"), y.to("meta")).is_meta
    of_labels = [each for group in criterion.groups for each in group.tables if each is not None]
    assert {each.device.type for each in [*criterion.buffers(), *of_labels]} == {"meta"}


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "target", "options", "error", "message"),
    [
        (
            LABELS[0],
            torch.zeros(4),
            {},
            ValueError,
            "Target size (torch.Size([4])) must be the same",
        ),
        (LABELS[0], [[0, 1]] * 4, {}, TypeError, "pass torch.tensor(target)"),
        (LABELS[0], torch.zeros(4, 2).numpy(), {}, TypeError, "pass torch.from_numpy(target)"),
        (LABELS[0], torch.full((4, 2), 2), {}, IndexError, "Target 2 is out of bounds"),
        (
            LABELS,
            torch.zeros(4, 2),
            {},
            ValueError,
            "costs for 5 labels, but logits of shape (4, 2)",
        ),
        (lm.ZeroOne(3), torch.zeros(4, 2), {}, ValueError, "needs costs of two classes"),
        (
            LABELS[0],
            torch.zeros(4, 2),
            {"weight": torch.ones(3)},
            ValueError,
            "weight of shape (3,)",
        ),
        (LABELS[0], torch.zeros(4, 2), {"pos_weight": [1.0, 2.0]}, TypeError, "torch.tensor(pos_w"),
        (
            LABELS[0],
            torch.zeros(4, 2),
            {"reduction": "Mean"},
            ValueError,
            "Mean is not a valid value",
        ),
        (LABELS[:2], torch.zeros(4, 2), {"reduction": "Mean"}, ValueError, "Mean is not a valid"),
        (None, torch.zeros(4, 2), {}, TypeError, "reads costs but none were given"),
        ([[0, "1"], [1, 0]], torch.zeros(4, 2), {}, ValueError, "costs must be rows of numbers"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(
    costs: Any, target: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        lm.BinaryCriterion(lm.ExpectedCost(), costs, **options)(torch.zeros(4, 2), target)


@pytest.mark.parametrize("costs", [LABELS[0], LABELS[:2]], ids=["one matrix", "one per label"])
def test_probabilities_ignore_no_class(costs: Tensor) -> None:
    criterion = lm.BinaryCriterion(lm.ExpectedCost(), costs, ignore_index=1)
    with pytest.raises(RuntimeError, match="ignore_index is not supported for floating point"):
        criterion(torch.zeros(4, 2), torch.zeros(4, 2))


def test_logits_that_are_no_floats_are_told() -> None:
    with pytest.raises(TypeError, match=r"expected floating point logits, but got torch\.int64"):
        lm.BinaryCriterion(lm.CrossEntropy())(torch.zeros(4).long(), torch.zeros(4))


def test_labels_whose_classes_are_named_in_another_order_are_refused() -> None:
    first = lm.Dense([[0.0, 1.0], [5.0, 0.0]], ["no", "yes"])
    second = lm.Dense([[0.0, 5.0], [1.0, 0.0]], ["yes", "no"])
    with pytest.raises(ValueError, match="classes of the costs of a label are not no, yes"):
        lm.BinaryCriterion(lm.ExpectedCost(), [first, second])
    assert lm.BinaryCriterion(lm.ExpectedCost(), [first, [[0, 5], [1, 0]]]).loss


def test_a_criterion_that_is_given_one_logit_names_the_other_one() -> None:
    logits, target = torch.zeros(3, 1), torch.tensor([0, 1, 1])
    plain, costly = lm.Criterion(lm.CrossEntropy()), lm.Criterion(lm.CrossEntropy(), ASYMMETRIC)
    calls: list[tuple[type[Exception], Callable[[], object]]] = [
        (IndexError, lambda: plain(logits, target)),
        (RuntimeError, lambda: plain(logits[:, 0], target)),
        (ValueError, lambda: costly(logits, target)),
        (ValueError, lambda: costly(logits[:, 0], target)),
        (ValueError, lambda: costly.decide(logits)),
        (ValueError, lambda: costly.decide(logits[:, 0])),
    ]
    for error, call in calls:
        with pytest.raises(error, match="there is BinaryCriterion"):
            call()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore:While exporting")
def test_an_export_leaves_a_criterion_with_costs_of_labels_as_it_was(strict: bool) -> None:
    class Model(nn.Module):
        def __init__(self, criterion: nn.Module) -> None:
            super().__init__()
            self.criterion = criterion

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            return self.criterion(logits, target)

    tables = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(2))
    logits, target = batch(4, 3, soft=False)
    criterion, other = (lm.BinaryCriterion(lm.ExpectedCost(), tables) for _ in range(2))
    torch.export.export(Model(criterion), (logits, target), strict=strict)
    value = criterion(logits, target)
    assert type(value) is Tensor
    assert value.item() == other(logits, target).item()


def test_labels_may_have_names_of_their_own() -> None:
    costs = [lm.Dense([[0.0, 1.0], [5.0, 0.0]], names) for names in (["no", "yes"], ["-", "+"])]
    assert lm.BinaryCriterion(lm.ExpectedCost(), costs).costs[1].classes == ("-", "+")
