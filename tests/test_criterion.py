# SPDX-License-Identifier: BSD-3-Clause
"""``Criterion``: its arguments, its decisions, its messages, its costs per sample."""

from __future__ import annotations

import math
import re

import pytest
import torch
from registry import ASYMMETRIC, SYMMETRIC, every_loss, parts, refuses, table_for
from torch import Tensor, nn

import lossmatrix as lm

COSTS = [[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]


def batch(num_rows: int = 6, num_classes: int = 4, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (num_rows,), generator=generator)


# --- construction --------------------------------------------------------------------------------


@every_loss
def test_a_criterion_gives_what_calling_its_loss_gives(loss: lm.Loss) -> None:
    logits, target = batch()
    D = table_for(loss)
    weight = torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=torch.float64)
    criterion = lm.Criterion(
        loss,
        D,
        weight=weight,
        ignore_index=2,
        reduction="sum",
        label_smoothing=0.1,
        engine="reference",
    )
    share = torch.linspace(0.0, 1.0, 6, dtype=torch.float64)
    expected = loss(
        logits,
        target,
        D,
        weight=weight,
        sample_weight=share,
        ignore_index=2,
        reduction="sum",
        label_smoothing=0.1,
        engine="reference",
    )
    torch.testing.assert_close(criterion(logits, target, sample_weight=share), expected)


@pytest.mark.parametrize(
    "costs",
    [
        COSTS,
        tuple(map(tuple, COSTS)),
        torch.tensor(COSTS),
        torch.tensor(COSTS, dtype=torch.float64),
        torch.tensor(COSTS).to(torch.int32),
        torch.tensor(COSTS).numpy(),
        lm.Dense(COSTS, classes=["cat", "lynx", "truck"]),
    ],
    ids=lambda costs: type(costs).__name__,
)
def test_costs_may_be_given_as_any_table(costs: list[list[float]]) -> None:
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    loss = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()
    expected = nn.CrossEntropyLoss()(logits, target) + 0.5 * (
        (torch.tensor(COSTS)[target] * logits.softmax(1)).sum(1).mean()
    )
    torch.testing.assert_close(lm.Criterion(loss, costs)(logits, target), expected)
    torch.testing.assert_close(loss(logits, target, costs), expected)


def test_the_given_table_is_copied() -> None:
    D = torch.tensor(COSTS)
    criterion = lm.Criterion(lm.ExpectedCost(), D)
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    before = criterion(logits, target)
    D.fill_(7.0)
    assert criterion(logits, target) == before


def test_what_a_criterion_prints_names_loss_costs_and_options() -> None:
    criterion = lm.Criterion(
        lm.CrossEntropy() + lm.DecisionScore(),
        COSTS,
        reduction="sum",
        label_smoothing=0.1,
        engine="reference",
    )
    assert repr(criterion) == (
        "Criterion(CrossEntropy() + DecisionScore(tau=0.3), Dense(3), ignore_index=-100, "
        "reduction='sum', label_smoothing=0.1, engine='reference')"
    )
    assert repr(lm.Criterion(lm.CrossEntropy())) == (
        "Criterion(CrossEntropy(), ignore_index=-100, reduction='mean')"
    )


# --- buffers -------------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_weight_and_no_costs() -> None:
    """Costs are configuration; a weight is kept as in ``nn.CrossEntropyLoss``."""
    plain = lm.Criterion(lm.CrossEntropy() + lm.Unlikelihood(), COSTS)
    assert plain.state_dict() == nn.CrossEntropyLoss().state_dict() == {}
    assert list(plain.parameters()) == []
    assert len(list(plain.buffers())) >= 1
    weight = torch.tensor([1.0, 2.0, 3.0])
    weighted = lm.Criterion(lm.CrossEntropy(), COSTS, weight=weight)
    assert set(weighted.state_dict()) == {"weight"}
    nn.CrossEntropyLoss(weight=torch.zeros(3)).load_state_dict(weighted.state_dict())
    other = lm.Criterion(lm.CrossEntropy(), weight=torch.zeros(3))
    other.load_state_dict(nn.CrossEntropyLoss(weight=weight).state_dict())
    assert torch.equal(other.weight, weight)  # type: ignore[arg-type]


def test_costs_are_float32_in_a_criterion_and_as_given_in_a_call() -> None:
    D = torch.tensor([[0.0, 0.1], [0.3, 0.0]], dtype=torch.float64)
    criterion = lm.Criterion(lm.ExpectedCost(), D)
    assert criterion.costs is not None
    assert criterion.costs.to_dense().dtype == torch.float32
    logits, target = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    assert lm.ExpectedCost()(logits, target, D).item() == 0.05
    assert criterion(logits, target).item() == pytest.approx(0.05, rel=1e-7)


@every_loss
def test_moving_a_criterion_changes_no_value(loss: lm.Loss) -> None:
    criterion = lm.Criterion(loss, table_for(loss))
    logits, target = batch()
    before = criterion(logits, target)
    for _ in range(2):
        criterion = criterion.half().to("cpu").double().bfloat16().float()
    torch.testing.assert_close(criterion(logits, target), before, rtol=0, atol=0)


# --- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_loss
def test_under_autocast_the_result_is_float32_and_exact(loss: lm.Loss, dtype: torch.dtype) -> None:
    criterion = lm.Criterion(loss, table_for(loss))
    logits, target = batch()
    half = logits.to(dtype)
    plain = criterion(half.float(), target)
    with torch.autocast("cpu", dtype=dtype):
        value = criterion(half, target)
        soft = criterion(half, torch.eye(4)[target])
        leaf = half.clone().requires_grad_()
        differentiable = criterion(leaf, target)
    (gradient,) = torch.autograd.grad(differentiable, leaf)
    assert value.dtype == soft.dtype == torch.float32
    whole = half.float().requires_grad_()
    (expected,) = torch.autograd.grad(criterion(whole, target), whole)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, expected.to(dtype))
    torch.testing.assert_close(value, plain, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(soft, plain, rtol=1e-6, atol=1e-6)


def test_a_half_precision_result_is_rounded_once() -> None:
    logits = torch.randn(64, 10).half()
    target = torch.arange(64) % 10
    criterion = lm.Criterion(lm.CrossEntropy() + lm.Unlikelihood(), lm.Ordinal(10))
    assert criterion(logits, target) == criterion(logits.float(), target).half()


# --- decisions -----------------------------------------------------------------------------------


@every_loss
def test_decide_applies_the_rule_of_the_loss(loss: lm.Loss) -> None:
    criterion = lm.Criterion(loss, D := table_for(loss))
    logits, _ = batch(50)
    argmax = logits.argmax(1)
    bayes = (logits.softmax(1) @ D).argmin(1)
    assert (argmax != bayes).any()
    if loss.reads != "gains":  # gains are not costs to be decided by
        assert torch.equal(criterion.decide(logits, rule="bayes"), bayes)
    assert torch.equal(criterion.decide(logits, rule="argmax"), argmax)
    if loss.decides is None:
        with pytest.raises(ValueError, match="has no decision rule of its own") as caught:
            criterion.decide(logits)
        assert "rule='argmax' or rule='bayes'" in str(caught.value)
    else:
        expected = {"argmax": argmax, "bayes": bayes}[loss.decides]
        assert torch.equal(criterion.decide(logits), expected)
        assert criterion.decide(logits).dtype == torch.int64


@pytest.mark.parametrize("loss", [lm.CrossEntropy(), lm.ExpectedCost()], ids=repr)
def test_decisions_have_the_shape_of_targets(loss: lm.Loss) -> None:
    criterion = lm.Criterion(loss, COSTS)
    image = torch.randn(2, 3, 4, 5)
    decision = criterion.decide(image)
    assert decision.shape == (2, 4, 5)
    assert torch.equal(decision[1, :, 2], criterion.decide(image[1, :, :, 2].T))
    assert criterion.decide(image[0, :, 0, 0]).shape == ()
    assert criterion.decide(image[0, :, 0, 0]) == decision[0, 0, 0]


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 3), (3,)], ids=repr)
@pytest.mark.parametrize("own_costs", [None, COSTS], ids=["no costs", "costs"])
def test_decide_takes_the_costs_of_a_batch(shape: tuple[int, ...], own_costs: object) -> None:
    criterion = lm.Criterion(lm.CrossEntropy(), own_costs)  # pyright: ignore[reportArgumentType]
    logits = torch.randn(shape, dtype=torch.float64)
    rows = logits.movedim(0 if len(shape) == 1 else 1, -1).reshape(-1, 3)
    matrices = torch.rand(len(rows), 3, 4, dtype=torch.float64)  # with one more decision
    risk = torch.einsum("ni,nik->nk", rows.softmax(1), matrices)
    decided = criterion.decide(logits, costs=lm.PerExample.matrices(matrices))
    assert torch.equal(decided.flatten(), risk.argmin(1))
    assert decided.shape == shape[:1] * (len(shape) > 1) + shape[2:]
    square = lm.Dense(matrices[0, :, :3])
    assert torch.equal(
        criterion.decide(logits, costs=square),
        lm.Criterion(lm.CrossEntropy(), square).decide(logits),
    )


def test_decide_refuses_costs_of_other_rows_or_classes() -> None:
    criterion, logits = lm.Criterion(lm.CrossEntropy(), lm.ZeroOne(["a", "b"])), torch.randn(4, 2)
    with pytest.raises(ValueError, match="got 4 rows, but PerExample costs of 3"):
        criterion.decide(logits, costs=lm.PerExample.matrices(torch.rand(3, 2, 2)))
    with pytest.raises(ValueError, match="do not fit logits of shape"):
        lm.Criterion(lm.CrossEntropy()).decide(logits, costs=lm.Ordinal(3))
    with pytest.raises(ValueError, match="classes of the costs of this batch"):
        criterion.decide(logits, costs=lm.ZeroOne(["b", "a"]))


def test_without_costs_the_decision_is_the_likeliest_class() -> None:
    logits = torch.randn(9, 3)
    assert torch.equal(lm.Criterion(lm.CrossEntropy()).decide(logits), logits.argmax(1))


def test_a_criterion_may_abstain_where_no_class_is_cheap_enough() -> None:
    criterion = lm.Criterion(lm.CrossEntropy(), lm.ZeroOne(3).with_abstain(0.25))
    logits = torch.tensor([[0.9, 0.05, 0.05], [0.5, 0.3, 0.2]]).log()
    assert criterion.decide(logits).tolist() == [0, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_decisions_of_half_precision_logits_are_made_in_float32(dtype: torch.dtype) -> None:
    """Half precision probabilities would tip the near ties among so many rows."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(300_000, 3, generator=generator).to(dtype)
    criterion = lm.Criterion(lm.CrossEntropy(), COSTS)
    exact = criterion.decide(logits.float())
    assert torch.equal(criterion.decide(logits), exact)
    rounded = logits.softmax(1).float() @ torch.tensor(COSTS)
    assert not torch.equal(rounded.argmin(1), exact)


# --- costs of the batch --------------------------------------------------------------------------


@every_loss
def test_costs_given_with_the_batch_take_the_place_of_the_criterions(loss: lm.Loss) -> None:
    D = table_for(loss)
    criterion = lm.Criterion(loss, D, reduction="none")
    logits, target = batch()
    other = 2.0 * D + (0.0 if refuses(loss, ASYMMETRIC) else 1.0)
    value = criterion(logits, target, costs=other)
    expected = loss(logits, target, None if loss.reads is None else other, reduction="none")
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(criterion(logits, target), loss(logits, target, D, reduction="none"))


PER_SAMPLE = [
    lm.CrossEntropy(),
    lm.ExpectedCost(),
    lm.Unlikelihood(),
    lm.CostSensitiveCrossEntropy(),
    lm.SoftmaxMargin(),
    lm.SoftmaxMargin(log=True),
    lm.CrossEntropy() + 0.5 * lm.ExpectedCost(),
]


@pytest.mark.parametrize("loss", PER_SAMPLE, ids=repr)
@pytest.mark.parametrize("size", [(), (3,), (2, 3)], ids=str)
def test_every_sample_may_have_its_own_row_of_costs(loss: lm.Loss, size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(5, 4, *size, generator=generator, dtype=torch.float64)
    rows = torch.rand(5, 4, *size, generator=generator, dtype=torch.float64)
    target = torch.randint(4, (5, *size), generator=generator)
    value = loss(logits, target, lm.PerExample(rows), reduction="none")
    flat = (x.movedim(1, -1).reshape(-1, 4) for x in (logits, rows))
    each = [
        loss(z.unsqueeze(0), y.unsqueeze(0), row.expand(4, 4), reduction="none")
        for z, row, y in zip(*flat, target.flatten(), strict=True)
    ]
    torch.testing.assert_close(value, torch.cat(each).reshape(5, *size))


@pytest.mark.parametrize(
    "loss", [*PER_SAMPLE, lm.EnergyScore(), lm.CrossEntropy() + lm.EnergyScore()], ids=repr
)
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_every_sample_may_have_its_own_matrix(loss: lm.Loss, soft: bool) -> None:
    D = SYMMETRIC if refuses(loss, ASYMMETRIC) or len(parts(loss)) > 1 else ASYMMETRIC
    cubes = torch.linspace(0.5, 3.0, 6, dtype=torch.float64)[:, None, None] * D
    logits, target = batch()
    y = logits.flip(0).softmax(1) if soft else target
    value = loss(logits, y, lm.PerExample.matrices(cubes), reduction="none")
    each = [loss(logits[n], y[n], cubes[n]) for n in range(6)]
    torch.testing.assert_close(value, torch.stack(each))


def test_rows_of_one_truth_cannot_say_what_soft_targets_cost() -> None:
    logits, target = batch()
    costs = lm.PerExample(torch.rand(6, 4))
    with pytest.raises(ValueError, match=r"PerExample\.matrices"):
        lm.ExpectedCost()(logits, torch.eye(4)[target], costs)
    with pytest.raises(ValueError, match=r"PerExample\.matrices"):
        lm.DecisionScore()(logits, target, costs)


def test_negative_rows_per_sample_are_refused_like_any_negative_costs() -> None:
    logits, target = batch()
    rows = torch.rand(6, 4) - 0.5
    for loss in (lm.Unlikelihood(), lm.CostFocal()):
        with pytest.raises(ValueError, match="needs costs ≥ 0"):
            loss(logits, target, lm.PerExample(rows))
    lm.ExpectedCost()(logits, target, lm.PerExample(rows))


# --- messages ------------------------------------------------------------------------------------


def test_costs_that_do_not_fit_are_named_with_both_shapes() -> None:
    criterion = lm.Criterion(lm.ExpectedCost(), COSTS)
    message = (
        "costs of shape (3, 3) do not fit logits of shape (2, 5): expected one row of costs for "
        "each of the 5 classes (rows are the truth). Losses need a logit for each class; decisions "
        "that are no class have none."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        criterion(torch.zeros(2, 5), torch.tensor([0, 1]))


@every_loss
def test_costs_that_are_missing_are_asked_for(loss: lm.Loss) -> None:
    if loss.reads is None:
        lm.Criterion(loss)
        return
    with pytest.raises(TypeError, match=f"reads {loss.reads} but none were given"):
        lm.Criterion(loss)
    with pytest.raises(TypeError, match="pass a \\(C, C\\) matrix whose rows are the truth"):
        loss(torch.zeros(1, 3), torch.tensor([0]))


@every_loss
def test_infinite_costs_are_for_decisions_only(loss: lm.Loss) -> None:
    D = table_for(loss).clone()
    D[0, 1] = D[1, 0] = math.inf
    logits, target = batch()
    if loss.reads is None:
        criterion = lm.Criterion(loss, D)
        assert criterion(logits, target).isfinite()
        assert (criterion.decide(logits) > 1).all()  # 0 and 1 forbid each other
        return
    with pytest.raises(ValueError, match="losses need finite costs"):
        loss(logits, target, D)


NEEDS_COSTS_ABOVE_ZERO = [
    lm.Unlikelihood(),
    lm.SoftmaxMargin(log=True),
    lm.CostFocal(),
]


@pytest.mark.parametrize("loss", NEEDS_COSTS_ABOVE_ZERO, ids=repr)
def test_negative_costs_are_refused_with_the_remedy(loss: lm.Loss) -> None:
    rewards = ASYMMETRIC.clone()
    rewards[0, 1] = -2.0
    with pytest.raises(ValueError, match="the smallest is -2") as caught:
        lm.Criterion(loss, rewards)
    assert "costs.regret(); no decision changes" in str(caught.value)
    lm.Criterion(loss, lm.Dense(rewards).regret())
    gains = -ASYMMETRIC
    with pytest.raises(ValueError, match="needs gains ≥ 0 but the smallest is -6"):
        lm.Criterion(lm.PairWeightedCrossEntropy(), gains)


@pytest.mark.parametrize("loss", [lm.Unlikelihood(), lm.SoftmaxMargin(log=True)], ids=repr)
def test_a_reward_for_the_truth_itself_is_no_negative_cost_of_a_mistake(loss: lm.Loss) -> None:
    rewarded = ASYMMETRIC - 3.0 * torch.eye(4)
    logits, target = batch()
    torch.testing.assert_close(
        loss(logits, target, rewarded), loss(logits, target, ASYMMETRIC), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("costs", "lack"),
    [(ASYMMETRIC, "symmetric"), (lm.Ordinal(5, power=3), "conditionally negative definite")],
    ids=["asymmetric", "cubes"],
)
def test_costs_for_which_the_energy_score_is_not_proper_are_refused(
    costs: lm.CostMatrix, lack: str
) -> None:
    with pytest.raises(ValueError, match=f"is not {lack}: use DecisionScore"):
        lm.Criterion(lm.EnergyScore(), costs)


def test_fewer_decisions_than_classes_are_refused_by_losses_over_classes() -> None:
    narrow = torch.rand(4, 3)
    assert lm.Criterion(lm.CrossEntropy(), narrow).decide(torch.zeros(2, 4)).max() < 3
    with pytest.raises(ValueError, match="4 classes but 3 decisions"):
        lm.Criterion(lm.ExpectedCost(), narrow)
    lm.Criterion(lm.CrossEntropy() + lm.DecisionScore(), narrow)


def test_weights_per_sample_must_have_the_shape_of_the_rows() -> None:
    criterion = lm.Criterion(lm.CrossEntropy())
    message = r"sample_weight of shape \[3\] does not fit: expected one weight per row, shape \[2\]"
    with pytest.raises(ValueError, match=message):
        criterion(torch.zeros(2, 3), torch.tensor([0, 1]), sample_weight=torch.ones(3))
    with pytest.raises(ValueError, match=r"shape \[2, 2\]"):
        criterion(torch.zeros(2, 3, 2), torch.zeros(2, 2).long(), sample_weight=torch.ones(2))


def test_an_unknown_engine_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"unknown engine 'cuda': choose one of auto, .*reference"):
        lm.CrossEntropy()(torch.zeros(2, 3), torch.tensor([0, 1]), engine="cuda")


@pytest.mark.parametrize("name", ["logits", "target", "costs"])
def test_words_that_are_no_tensors_are_refused(name: str) -> None:
    arguments = {"logits": torch.zeros(2, 3), "target": torch.tensor([0, 1]), "costs": COSTS}
    arguments[name] = "what"
    with pytest.raises((TypeError, ValueError, AttributeError)):
        lm.ExpectedCost()(**arguments)  # type: ignore[arg-type]


def test_a_table_whose_right_decisions_cost_nothing_is_not_copied() -> None:
    table = torch.tensor([[0.0, 5.0, 1.0], [2.0, 0.0, 7.0], [3.0, 4.0, 0.0]])
    costs = lm.Dense(table)
    for matrix, shared in ((costs, True), (lm.Dense(table + torch.eye(3)), False)):
        (term,) = lm.Criterion(lm.Unlikelihood(), matrix).bound.terms
        assert term.costs is not None
        made = term.costs.tables["table"]
        assert (made.data_ptr() == matrix.tables["table"].data_ptr()) == shared
        assert torch.equal(made, table)


def test_costs_of_a_batch_with_other_names_are_refused() -> None:
    costs = lm.Dense([[0, 1, 2], [3, 0, 4], [5, 6, 0]], classes=["a", "b", "c"])
    criterion, rows = lm.Criterion(lm.ExpectedCost(), costs), torch.rand(2, 3)
    logits, target = torch.zeros(2, 3), torch.tensor([0, 2])
    with pytest.raises(ValueError, match="classes of the costs of this batch are not a, b, c"):
        criterion(logits, target, costs=lm.PerExample(rows, classes=["b", "a", "c"]))
    same = criterion(logits, target, costs=lm.PerExample(rows, classes=["a", "b", "c"]))
    torch.testing.assert_close(same, criterion(logits, target, costs=lm.PerExample(rows)))


def test_decisions_that_are_not_the_classes_are_no_argmax_and_have_no_threshold() -> None:
    costs = lm.Dense([[0, 1], [9, 0]], classes=["cat", "truck"], decisions=["drive on", "brake"])
    criterion = lm.Criterion(lm.CrossEntropy(), costs)
    assert criterion.decide(torch.zeros(1, 2)).tolist() == [1]
    with pytest.raises(ValueError, match="decision"):
        criterion.decide(torch.zeros(1, 2), rule="argmax")
    with pytest.raises(ValueError, match="decision"):
        lm.decision_threshold(costs)
