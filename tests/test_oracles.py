# SPDX-License-Identifier: BSD-3-Clause
"""Known answers: closed forms, classical losses, and numbers that others have published."""

from __future__ import annotations

import math
from collections.abc import Callable

import oracles
import pytest
import torch
from registry import (
    evaluate,
    every_engine,
    every_loss,
    probabilities,
    random_table,
    refuses,
    table_for,
    uses,
)
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy, one_hot, softplus

import lossmatrix as lm
from lossmatrix.engines import Engine


def rows(count: int, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random float64 logits and targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(count, num_classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (count,), generator=generator)


# --- the formulas themselves ---------------------------------------------------------------------


@every_engine
@every_loss
def test_every_loss_is_its_formula(loss: lm.Loss, engine: Engine) -> None:
    logits, target = rows(4, 5, seed=1)
    logits.requires_grad_()
    D = random_table(loss, 5, torch.Generator().manual_seed(2))
    value = evaluate(engine, loss, logits, target, D)
    gradient = torch.autograd.grad(value.sum(), logits)[0]
    exact = [
        oracles.answer(loss, z, y, D.tolist())
        for z, y in zip(logits.tolist(), target.tolist(), strict=True)
    ]
    expected = torch.tensor([each.value for each in exact], dtype=torch.float64)
    slopes = torch.tensor([each.gradient for each in exact], dtype=torch.float64)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, slopes, rtol=1e-12, atol=1e-12)


@every_engine
@every_loss
def test_costs_on_the_diagonal_and_negative_costs_mean_what_the_formula_says(
    loss: lm.Loss, engine: Engine
) -> None:
    D = table_for(loss).clone()
    D.fill_diagonal_(0.75)
    if not refuses(loss, D - 1.0):  # losses that accept rewards
        D -= 1.0
    logits, target = rows(3, 4, seed=3)
    value = evaluate(engine, loss, logits, target, D)
    expected = [
        oracles.answer(loss, z, y, D.tolist()).value
        for z, y in zip(logits.tolist(), target.tolist(), strict=True)
    ]
    torch.testing.assert_close(value.tolist(), expected, rtol=1e-12, atol=1e-12)


# --- two classes ---------------------------------------------------------------------------------

COST = torch.tensor([[0.0, 2.0], [5.0, 0.0]], dtype=torch.float64)
SAME = torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64)
TWO_CLASSES = {
    lm.CrossEntropy(): lambda a, x: softplus(x),
    lm.ExpectedCost(): lambda a, x: a * x.sigmoid(),
    lm.Unlikelihood(): lambda a, x: a * softplus(x),
    lm.CostSensitiveCrossEntropy(): lambda a, x: a * softplus(x),
    lm.SoftmaxMargin(): lambda a, x: softplus(x + a),
    lm.SoftmaxMargin(log=True): lambda a, x: softplus(x + a.log()),
    lm.EnergyScore(): lambda a, x: a * x.sigmoid() ** 2,
}


@every_engine
@pytest.mark.parametrize("loss", TWO_CLASSES, ids=repr)
def test_two_classes_have_a_closed_form(loss: lm.Loss, engine: Engine) -> None:
    D = SAME if refuses(loss, COST) else COST
    logits, target = rows(9, 2, seed=4)
    wrong = logits.gather(1, 1 - target[:, None]).squeeze(1)
    x = wrong - logits.gather(1, target[:, None]).squeeze(1)
    value = evaluate(engine, loss, logits, target, D)
    torch.testing.assert_close(value, TWO_CLASSES[loss](D[target, 1 - target], x))


# --- D = 1 − I: the classical losses -------------------------------------------------------------


def at_truth(x: Tensor, target: Tensor) -> Tensor:
    return x.gather(1, target[:, None]).squeeze(1)


CLASSICAL = {
    "mean absolute error": (
        lm.ExpectedCost(),
        lambda p, t: (p - one_hot(t, 5)).abs().sum(1) / 2,
    ),
    "one against rest logarithms": (
        lm.Unlikelihood(),
        lambda p, t: (
            binary_cross_entropy(p, one_hot(t, 5).double(), reduction="none").sum(1)
            + at_truth(p, t).log()
        ),
    ),
    "cross-entropy": (lm.CostSensitiveCrossEntropy(), lambda p, t: -at_truth(p, t).log()),
    "half the Brier score": (
        lm.EnergyScore(),
        lambda p, t: ((p - one_hot(t, 5)) ** 2).sum(1) / 2,
    ),
    "focal loss": (
        lm.CostFocal(gamma=2.0),
        lambda p, t: -((1 - at_truth(p, t)) ** 2) * at_truth(p, t).log(),
    ),
    "label smoothing": (
        lm.SoftTargetCrossEntropy(temperature=1.0),
        lambda p, t: (
            -(at_truth(p, t).log() * (1 - math.exp(-1)) + p.log().sum(1) * math.exp(-1))
            / (1 + 4 * math.exp(-1))
        ),
    ),
    "additive margin": (
        lm.SoftmaxMargin(),
        lambda p, t: -(at_truth(p, t) / (at_truth(p, t) + math.e * (1 - at_truth(p, t)))).log(),
    ),
    "log weights of one": (lm.SoftmaxMargin(log=True), lambda p, t: -at_truth(p, t).log()),
}


@every_engine
@pytest.mark.parametrize("kind", [lm.ZeroOne(5), 1.0 - torch.eye(5)], ids=["ZeroOne", "table"])
@pytest.mark.parametrize(("loss", "formula"), CLASSICAL.values(), ids=CLASSICAL)
def test_zero_one_costs_give_the_classical_loss(
    loss: lm.Loss,
    formula: Callable[[Tensor, Tensor], Tensor],
    kind: lm.CostMatrix | Tensor,
    engine: Engine,
) -> None:
    logits, target = rows(7, 5, seed=5)
    value = evaluate(engine, loss, logits, target, kind)
    torch.testing.assert_close(value, formula(logits.softmax(1), target))


@every_engine
def test_a_diagonal_table_of_gains_gives_weighted_cross_entropy(engine: Engine) -> None:
    weight = torch.tensor([1.0, 0.25, 3.0, 2.0], dtype=torch.float64)
    logits, target = rows(7, 4, seed=6)
    value = evaluate(engine, lm.PairWeightedCrossEntropy(), logits, target, weight.diag())
    torch.testing.assert_close(value, cross_entropy(logits, target, weight, reduction="none"))


# --- how the losses are related ------------------------------------------------------------------


@uses(lm.EnergyScore())
@every_engine
def test_costs_on_a_line_make_the_energy_score_the_ranked_probability_score(
    engine: Engine,
) -> None:
    logits, target = rows(7, 5, seed=7)
    excess = (logits.softmax(1) - one_hot(target, 5)).cumsum(1)
    for costs in (lm.Ordinal(5), lm.Ordinal(5).to_dense()):
        value = evaluate(engine, lm.EnergyScore(), logits, target, costs)
        torch.testing.assert_close(value, (excess**2).sum(1))


@uses(lm.EnergyScore())
@every_engine
def test_squared_distances_make_the_energy_score_the_squared_error_of_the_mean(
    engine: Engine,
) -> None:
    logits, target = rows(7, 5, seed=8)
    positions = torch.tensor([0.0, 1.5, 2.0, 4.0, 7.0], dtype=torch.float64)
    costs = lm.Ordinal(5, power=2, positions=positions)
    value = evaluate(engine, lm.EnergyScore(), logits, target, costs)
    error = positions[target] - logits.softmax(1) @ positions
    torch.testing.assert_close(value, error**2)


@every_engine
def test_expected_cost_on_a_line_is_the_transport_distance_to_the_truth(engine: Engine) -> None:
    positions = torch.tensor([0.5, 1.0, 1.2, 1.5], dtype=torch.float64)
    logits, target = rows(6, 4, seed=9)
    value = evaluate(engine, lm.ExpectedCost(), logits, target, lm.Ordinal(4, positions=positions))
    excess = (logits.softmax(1) - one_hot(target, 4)).cumsum(1)[:, :-1]
    torch.testing.assert_close(value, (excess.abs() * positions.diff()).sum(1))


@uses(lm.EntropicRisk())
@every_engine
def test_softmax_margin_is_cross_entropy_plus_the_entropic_risk_of_the_costs(
    engine: Engine,
) -> None:
    D = random_table(lm.ExpectedCost(), 5, torch.Generator().manual_seed(10))
    unit = lm.Dense(D).unit
    logits, target = rows(7, 5, seed=10)
    margin = evaluate(engine, lm.SoftmaxMargin(), logits, target, D)
    both = lm.CrossEntropy() + lm.EntropicRisk(lam=unit)  # λ = 1 in the units of D
    torch.testing.assert_close(margin, evaluate(engine, both, logits, target, D))


@uses(lm.EntropicRisk())
@every_engine
def test_entropic_risk_runs_from_expected_cost_to_the_largest_cost(engine: Engine) -> None:
    D = random_table(lm.ExpectedCost(), 5, torch.Generator().manual_seed(11))
    logits, target = rows(7, 5, seed=11)
    expected = evaluate(engine, lm.ExpectedCost(), logits, target, D)
    near = evaluate(engine, lm.EntropicRisk(lam=1e-9), logits, target, D)
    torch.testing.assert_close(near, expected, rtol=1e-7, atol=0)
    far = evaluate(engine, lm.EntropicRisk(lam=1e6), logits, target, D)
    torch.testing.assert_close(far, D[target].amax(1), rtol=1e-4, atol=0)


@uses(lm.DecisionScore())
@every_engine
def test_a_sharp_decision_score_is_the_cost_of_the_bayes_decision(engine: Engine) -> None:
    D = random_table(lm.ExpectedCost(), 5, torch.Generator().manual_seed(12))
    logits, target = rows(7, 5, seed=12)
    decision = (logits.softmax(1) @ D).argmin(1)
    value = evaluate(engine, lm.DecisionScore(tau=1e-5), logits, target, D)
    torch.testing.assert_close(value, D[target, decision], rtol=0, atol=1e-3)


@uses(lm.SimilarityLikelihood())
@every_engine
def test_similarity_to_the_truth_alone_is_cross_entropy(engine: Engine) -> None:
    D = random_table(lm.ExpectedCost(), 5, torch.Generator().manual_seed(13))
    logits, target = rows(7, 5, seed=13)
    value = evaluate(engine, lm.SimilarityLikelihood(tau=1e-3), logits, target, D)
    torch.testing.assert_close(value, cross_entropy(logits, target, reduction="none"))


@every_engine
def test_weighted_cross_entropy_plus_unlikelihood_is_real_world_weighted_cross_entropy(
    engine: Engine,
) -> None:
    """−w_y log p_y − Σ_{j≠y} W_yj log(1 − p_j), false negatives and false positives priced."""
    W = random_table(lm.ExpectedCost(), 4, torch.Generator().manual_seed(14))
    missed = torch.tensor([2.0, 0.5, 3.0, 1.0], dtype=torch.float64)
    logits, target = rows(6, 4, seed=14)
    p = logits.softmax(1)
    expected = -missed[target] * at_truth(p, target).log() - (W[target] * (1 - p).log()).sum(1)
    value = evaluate(engine, lm.Unlikelihood(), logits, target, W) + missed[target] * evaluate(
        engine, lm.CrossEntropy(), logits, target, None
    )
    torch.testing.assert_close(value, expected)


# --- published numbers ---------------------------------------------------------------------------

LOGITS = torch.tensor(
    [[1.0, 2.0, 3.0, 4.0], [5.0, 8.0, 1.0, 0.0], [-2.0, 5.0, 3.0, 2.0], [-4.0, 5.0, 3.0, 2.0]]
)
ORDER = torch.arange(4)


@every_engine
@pytest.mark.parametrize(("alpha", "published"), [(0.5, 1.73862), (1, 2.37753), (2, 4.99029)])
def test_unlikelihood_gives_the_published_class_distance_weighted_cross_entropy(
    alpha: float, published: float, engine: Engine
) -> None:
    costs = lm.Ordinal(4, power=alpha)
    value = evaluate(engine, lm.Unlikelihood(), LOGITS, ORDER, costs, reduction="mean")
    assert value.item() == pytest.approx(published, abs=5e-6)


@every_engine
@pytest.mark.parametrize(
    ("weight", "published"),
    [
        ((5.0, 1.0, 1.1, 6.6), (0.57611, 0.84099, 1.90280)),
        ((1.0, 2.0, 3.0, 4.0), (0.47590, 0.62137, 1.16119)),
    ],
)
def test_class_weights_give_the_published_weighted_numbers(
    weight: tuple[float, ...], published: tuple[float, ...], engine: Engine
) -> None:
    """Published with weights that sum to 1 and divided by the number of samples."""
    shares = torch.tensor(weight) / sum(weight)
    for alpha, expected in zip((0.5, 1, 2), published, strict=True):
        costs = lm.Ordinal(4, power=alpha)
        value = evaluate(
            engine, lm.Unlikelihood(), LOGITS, ORDER, costs, weight=shares, reduction="sum"
        )
        assert value.item() / 4 == pytest.approx(expected, abs=5e-6)


@every_engine
@pytest.mark.parametrize(
    ("logits", "expected"),
    [([1, 2, 3, 4], 3.7296), ([0, 0, 0, 20], 56.70), ([0, 0, 0, 17], 47.70)],
)
def test_unlikelihood_is_right_where_a_published_implementation_is_not(
    logits: list[float], expected: float, engine: Engine
) -> None:
    z, costs = torch.tensor([logits], dtype=torch.float32), lm.Ordinal(4)
    for shift in (0.0, -20.0, -30.0, 88.0):
        value = evaluate(engine, lm.Unlikelihood(), z + shift, torch.tensor([0]), costs)
        assert value.item() == pytest.approx(expected, abs=5e-3)


@uses(lm.EnergyScore())
@every_engine
def test_the_energy_score_gives_the_published_earth_movers_distance(engine: Engine) -> None:
    p = torch.tensor(
        [[0.2, 0.4, 0.2, 0.2], [0.7, 0.1, 0.1, 0.1], [0.5, 0.05, 0.1, 0.35], [0.1, 0.05, 0.65, 0.2]]
    )
    target = torch.tensor([0, 0, 3, 2])
    costs = lm.Ordinal(4)
    value = evaluate(engine, lm.EnergyScore(), p.log(), target, costs, reduction="mean")
    assert value.item() == pytest.approx(0.506875, abs=1e-6)


@uses(lm.EnergyScore())
@every_engine
def test_the_energy_score_of_a_far_miss_is_the_distance_and_of_a_hit_zero(engine: Engine) -> None:
    certain = torch.eye(3, dtype=torch.float64).log()  # 0 and −∞
    costs = lm.Ordinal(3)
    value = evaluate(engine, lm.EnergyScore(), certain[[2, 0]], torch.tensor([0, 0]), costs)
    assert value.tolist() == [2.0, 0.0]


@probabilities
@uses(lm.EnergyScore())
@every_engine
def test_the_energy_score_of_the_right_probabilities_is_half_their_spread(engine: Engine) -> None:
    """tᵀDp − ½ pᵀDp at p = t: what the published squared distance calls 0."""
    t = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)
    costs = lm.Ordinal(3)
    value = evaluate(engine, lm.EnergyScore(), t.log(), t, costs)
    torch.testing.assert_close(value, (costs.expected(t) * t).sum(1) / 2)


@every_engine
def test_expected_cost_gives_the_documented_example_of_classification_cost(engine: Engine) -> None:
    D = torch.tensor([[0.0, 5.0, 10.0], [5.0, 0.0, 5.0], [10.0, 5.0, 0.0]])
    logits = torch.tensor([[0.3, 0.3, 0.4]]).log()
    value = evaluate(engine, lm.ExpectedCost(), logits, torch.tensor([0]), D)
    assert value.item() == pytest.approx(5.5)


@every_engine
def test_expected_cost_fades_at_confident_mistakes_as_published(engine: Engine) -> None:
    D = torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 1.0], [5.0, 1.0, 0.0]])
    for gap, least, most in ((10.0, 1e-4, 1e-3), (20.0, 5e-9, 5e-8)):
        logits = torch.tensor([[0.0, 0.0, gap]], requires_grad=True)
        value = evaluate(engine, lm.ExpectedCost(), logits, torch.tensor([0]), D)
        value.sum().backward()
        assert logits.grad is not None
        assert least < logits.grad.abs().max() < most
        cross = cross_entropy(logits, torch.tensor([0]))
        assert torch.autograd.grad(cross, logits)[0].abs().max() > 0.9
