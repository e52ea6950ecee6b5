# SPDX-License-Identifier: BSD-3-Clause
"""What losses refuse, in the words a user reads, and the edges of what they accept."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import lossmatrix as lm
from lossmatrix.losses.base import finite
from lossmatrix.losses.language import power, weigh

NEGATIVE = lm.Dense([[0.0, -1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
LOGITS, TARGET = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, 0.5]]), torch.tensor([0, 2])


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lm.SoftTargetCrossEntropy, "temperature"),
        (lm.DecisionScore, "tau"),
        (lm.SimilarityLikelihood, "tau"),
    ],
)
def test_parameters_must_be_finite_and_positive(
    make: type[lm.SoftTargetCrossEntropy], name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a finite number > 0, but is") as error:
        make(value)
    assert str(value) in str(error.value)
    assert make.__name__ in str(error.value)


@pytest.mark.parametrize("value", [-0.5, math.inf, math.nan])
def test_the_power_of_the_focal_weight_must_be_finite_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match=f"^gamma must be a finite number ≥ 0, but is {value}"):
        lm.CostFocal(gamma=value)
    assert lm.CostFocal(gamma=0.0)(LOGITS, TARGET, torch.ones(3, 3)) == lm.CrossEntropy()(
        LOGITS, TARGET
    )


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf, math.nan])
def test_the_aversion_to_risk_must_be_finite_and_not_zero(value: float) -> None:
    with pytest.raises(ValueError, match=r"^lam must be a finite number other than 0") as error:
        lm.EntropicRisk(value)
    assert f"but is {value}" in str(error.value)
    assert str(error.value).endswith(": its limit at 0 is ExpectedCost().")


@pytest.mark.parametrize(
    "loss",
    [lm.Unlikelihood(), lm.SoftmaxMargin(log=True), lm.CostFocal()],
    ids=repr,
)
def test_negative_costs_are_refused_by_name_with_the_remedy(loss: lm.Loss) -> None:
    with pytest.raises(ValueError, match="needs costs ≥ 0 but the smallest is -1") as error:
        lm.Criterion(loss, NEGATIVE)
    assert str(error.value).startswith(repr(loss))
    assert "costs.regret()" in str(error.value)


def test_additive_margins_take_negative_costs() -> None:
    assert lm.SoftmaxMargin()(LOGITS, TARGET, NEGATIVE).isfinite()


@pytest.mark.parametrize("loss", [lm.Unlikelihood(), lm.SoftmaxMargin(log=True)], ids=repr)
def test_a_negative_cost_on_the_diagonal_has_no_part_in_mistakes(loss: lm.Loss) -> None:
    table = torch.tensor([[-5.0, 1.0, 2.0], [3.0, -1.0, 4.0], [6.0, 7.0, -2.0]])
    without = table.clone().fill_diagonal_(0.0)
    assert torch.equal(loss(LOGITS, TARGET, table), loss(LOGITS, TARGET, without))


def test_negative_gains_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="needs gains ≥ 0 but the smallest is -2") as error:
        lm.PairWeightedCrossEntropy()(LOGITS, TARGET, [[1, -2, 0], [0, 1, 0], [0, 0, 1]])
    assert str(error.value).startswith("PairWeightedCrossEntropy()")
    assert str(error.value).endswith("subtract each row's minimum from it.")


@pytest.mark.parametrize(
    ("table", "lack"),
    [
        ([[0, 1, 2], [3, 0, 1], [2, 1, 0]], "symmetric"),
        ([[0, 1, 9], [1, 0, 1], [9, 1, 0]], "conditionally negative definite"),
    ],
    ids=["asymmetric", "indefinite"],
)
def test_the_energy_score_says_what_a_matrix_lacks(table: list[list[float]], lack: str) -> None:
    with pytest.raises(ValueError, match=f"is not {lack}: use DecisionScore") as error:
        lm.EnergyScore()(LOGITS, TARGET, table)
    assert "Dense(3)" in str(error.value)


@pytest.mark.parametrize(
    "loss", [lm.ExpectedCost(), lm.Unlikelihood(), lm.DecisionScore()], ids=repr
)
def test_infinite_costs_are_refused_by_name(loss: lm.Loss) -> None:
    with pytest.raises(ValueError, match=r"needs? finite costs|infinite cost") as error:
        loss(LOGITS, TARGET, [[0, 1, math.inf], [1, 0, 1], [1, 1, 0]])
    assert str(error.value).startswith(repr(loss))


def test_costs_that_are_there_for_the_decision_alone_may_be_infinite() -> None:
    (term,) = lm.CrossEntropy().bind(lm.Dense([[0, math.inf], [1, 0]]))
    assert term.costs is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [(math.inf, "infinite cost"), (-math.inf, "must be numbers"), (math.nan, "must be numbers")],
)
def test_costs_of_samples_are_read_where_a_loss_is_not_finite(entry: float, message: str) -> None:
    costs = lm.PerExample(torch.tensor([[0.0, 1.0, entry], [1.0, 1.0, 0.0]]))
    loss = lm.CrossEntropy() + lm.ExpectedCost()
    assert [term.costs for term in loss.bind(costs)] == [None, costs]
    for given in (costs, costs.zero_diagonal()):
        with pytest.raises(ValueError, match=message):
            loss(LOGITS, TARGET, given, engine="reference")


def test_costs_of_samples_are_read_at_once_where_the_loss_cannot_be_looked_at() -> None:
    def on(device: str) -> Any:
        table = SimpleNamespace(device=torch.device(device))
        return SimpleNamespace(num_samples=2, tables={"table": table}, is_finite=False)

    here = on("cpu")
    assert finite(lm.ExpectedCost(), here) is here
    with pytest.raises(ValueError, match=r"^ExpectedCost\(\) was given .* with an infinite cost"):
        finite(lm.ExpectedCost(), on("cuda"))


def test_a_loss_that_reads_costs_asks_for_them_by_name() -> None:
    with pytest.raises(TypeError, match="reads costs but none were given") as error:
        lm.ExpectedCost()(LOGITS, TARGET)
    assert str(error.value).startswith("ExpectedCost()")


def test_a_loss_that_is_called_hands_every_argument_on() -> None:
    target, weight = torch.tensor([0, 1]), torch.tensor([1.0, 2.0, 3.0])
    sample_weight = torch.tensor([0.25, 8.0])
    value = lm.CrossEntropy()(
        LOGITS,
        target,
        weight=weight,
        sample_weight=sample_weight,
        ignore_index=1,
        reduction="none",
        label_smoothing=0.3,
        engine="reference",
    )
    rows = cross_entropy(
        LOGITS, target, weight, ignore_index=1, label_smoothing=0.3, reduction="none"
    )
    torch.testing.assert_close(value, sample_weight * rows)
    with pytest.raises(ValueError, match="unknown engine"):
        lm.CrossEntropy()(LOGITS, target, engine="nowhere")


@pytest.mark.parametrize("loss", [lm.CostFocal(), lm.CostFocal(0.5)], ids=repr)
def test_costs_of_zero_make_the_focal_loss_zero(loss: lm.Loss) -> None:
    assert loss(LOGITS, TARGET, torch.zeros(3, 3)) == 0


def test_a_soft_target_counts_as_much_as_it_sums_to() -> None:
    # tᵀDp − ½ S pᵀDp with S = Σt
    target = torch.tensor([[1.0, 0.0, 2.0], [0.25, 0.5, 0.0], [0.0, 0.0, 0.0]]).double()
    D = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]], dtype=torch.float64)
    p = torch.tensor([[0.3, 0.1, 0.6], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64)
    expected = (target @ D * p).sum(-1) - 0.5 * target.sum(-1) * (p @ D * p).sum(-1)
    value = lm.EnergyScore()(p.log(), target, D, reduction="none")
    torch.testing.assert_close(value, expected)


def test_similarity_near_certainty_of_a_dissimilar_class_keeps_its_digits() -> None:
    # p → (0, 1): −log(p_0 + p_1 e^{−1/τ}) → 1/τ, where log1p of nearly −1 would lose digits
    logits = torch.tensor([[-30.0, 30.0]])
    value = lm.SimilarityLikelihood(tau=0.05)(logits, torch.tensor([0]), [[0, 1], [1, 0]])
    torch.testing.assert_close(value, torch.tensor(20.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("lam", "terms"), [(1.9, 1), (-1.9, 1), (2.1, 2), (-2.1, 2)])
def test_exponents_above_80_are_those_of_a_difference_of_logarithms(lam: float, terms: int) -> None:
    costs = lm.Dense([[10, 50], [20, 10]])  # 40 from the least to the largest
    assert len(lm.EntropicRisk(lam * costs.unit).bind(costs)) == terms


def test_zero_weight_beats_an_infinite_value_in_value_and_slope() -> None:
    weight = torch.tensor([0.0, 2.0], requires_grad=True)
    value = weigh(weight, torch.tensor([math.inf, 3.0]))
    (slope,) = torch.autograd.grad(value.sum(), weight)
    assert (value.tolist(), slope.tolist()) == ([0.0, 6.0], [0.0, 3.0])


def test_a_power_of_what_is_no_normal_number_is_zero_and_so_is_its_slope() -> None:
    tiny = 2.0**-126  # the smallest normal number of float32
    base = torch.tensor([0.0, tiny / 2, tiny, 4.0], requires_grad=True)
    value = power(base, 0.5)
    (slope,) = torch.autograd.grad(value.sum(), base)
    assert value.tolist() == [0.0, 0.0, 2.0**-63, 2.0]
    assert slope.tolist() == [0.0, 0.0, 2.0**62, 0.25]
    assert power(base, 0.0).tolist() == [1.0] * 4
