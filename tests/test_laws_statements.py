# SPDX-License-Identifier: BSD-3-Clause
"""What a loss states about itself (its rule, convexity, properness) is true, and not too modest.

The conditional risk Σ_i η_i ℓ(z; i) is minimised over a fine grid of the whole simplex, which no
local minimum can hide from; a loss of the logits is a loss of p since a shift changes nothing.
"""

from __future__ import annotations

import pytest
import torch
from registry import (
    ASYMMETRIC,
    LOSSES,
    SINGLE,
    every_loss,
    final_losses,
    holds_weight_constant,
    parts,
    random_table,
    refuses,
)
from torch import Tensor

import lossmatrix as lm

STEPS = 40
GRID = torch.tensor(
    [[i, j, STEPS - i - j] for i in range(STEPS + 1) for j in range(STEPS + 1 - i)],
    dtype=torch.float64,
) / STEPS  # fmt: skip
INNER = GRID[(GRID > 0).all(1)]


def conditional_risk(loss: lm.Loss, p: Tensor, eta: Tensor, D: Tensor) -> Tensor:
    """Σ_i η_i ℓ(log p; i) for every row of p, infinite where a class is asked for and masked."""
    costs = None if loss.reads is None else D
    values = [
        loss(p.log(), torch.full((len(p),), i), costs, reduction="none", engine="reference")
        for i in range(len(eta))
    ]
    return (torch.stack(values, 1) * eta).sum(1)


def problems(loss: lm.Loss, count: int, spread: float = 1.0) -> list[tuple[Tensor, Tensor]]:
    """Random probabilities η on the inner grid and costs D under which no decision is near-tied.

    The larger ``spread``, the more unequal are the costs.
    """
    generator = torch.Generator().manual_seed(2022)
    found: list[tuple[Tensor, Tensor]] = []
    while len(found) < count:
        D = random_table(loss, 3, generator) ** spread
        eta = INNER[int(torch.randint(len(INNER), (1,), generator=generator))]
        risk = (eta @ D).sort().values
        if risk[1] - risk[0] > 0.15 * risk[2]:
            found.append((eta, D))
    return found


def minimiser(loss: lm.Loss, eta: Tensor, D: Tensor) -> Tensor:
    return GRID[conditional_risk(loss, GRID, eta, D).argmin()]


def decided(p: Tensor, D: Tensor, rule: str) -> int:
    return int(p.argmax() if rule == "argmax" else lm.decide(p, D))


def least_cost(eta: Tensor, D: Tensor) -> int:
    return int((eta @ D).argmin())


# --- decisions -----------------------------------------------------------------------------------


@every_loss
def test_the_stated_rule_turns_the_minimiser_into_the_least_cost_decision(loss: lm.Loss) -> None:
    if loss.decides is None:
        return
    for eta, D in problems(loss, 30):
        p = minimiser(loss, eta, D)
        assert decided(p, D, loss.decides) == least_cost(eta, D), f"η = {eta}, D = {D}, p = {p}"


@pytest.mark.parametrize(
    "loss",
    [
        loss
        for loss in SINGLE.values()
        if loss.decides is None and loss != lm.CostFocal(gamma=0.0)  # which is cross-entropy
    ],
    ids=repr,
)
@pytest.mark.parametrize("rule", ["argmax", "bayes"])
def test_a_loss_that_states_no_rule_has_a_counter_example_to_each(loss: lm.Loss, rule: str) -> None:
    assert any(
        decided(minimiser(loss, eta, D), D, rule) != least_cost(eta, D)
        for eta, D in problems(loss, 150, spread=3.0)
    )


def test_neither_rule_fits_every_sum_of_cross_entropy_and_expected_cost() -> None:
    loss = lm.CrossEntropy() + lm.ExpectedCost()
    assert loss.decides is None
    for rule in ("argmax", "bayes"):
        assert any(
            decided(minimiser(loss, eta, D), D, rule) != least_cost(eta, D)
            for eta, D in problems(loss, 150, spread=3.0)
        )


def test_normalising_the_rows_of_savings_would_destroy_consistency() -> None:
    """Why CostSensitiveCrossEntropy leaves its weights as they are."""
    loss, wrong = lm.PairWeightedCrossEntropy(), 0
    for eta, D in problems(loss, 60):
        savings = D.amax(1, keepdim=True) - D
        normalised = savings / savings.sum(1, keepdim=True)
        wrong += int(minimiser(loss, eta, normalised).argmax()) != least_cost(eta, D)
        assert int(minimiser(loss, eta, savings).argmax()) == least_cost(eta, D)
    assert wrong > 3


# --- properness ----------------------------------------------------------------------------------


@every_loss
def test_a_proper_loss_is_least_at_the_probabilities_themselves(loss: lm.Loss) -> None:
    if not loss.proper:
        return
    for eta, D in problems(loss, 15):
        risk = conditional_risk(loss, GRID, eta, D)
        at_eta = conditional_risk(loss, eta.unsqueeze(0), eta, D).item()
        assert at_eta <= risk.min().item() + 1e-12


@pytest.mark.parametrize(
    "loss",
    [
        lm.CrossEntropy(),
        lm.EnergyScore(),
        lm.CrossEntropy() + lm.DecisionScore(),
        lm.CrossEntropy() + lm.EnergyScore(),
    ],
    ids=repr,
)
def test_a_strictly_proper_loss_is_least_nowhere_else(loss: lm.Loss) -> None:
    for eta, D in problems(loss, 15):
        torch.testing.assert_close(minimiser(loss, eta, D), eta)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_decision_score_is_proper_for_costs_of_any_shape_and_sign(tau: float) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(10):
        D = 4.0 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
        eta = INNER[int(torch.randint(len(INNER), (1,), generator=generator))]
        risk = conditional_risk(lm.DecisionScore(tau), GRID, eta, D)
        at_eta = conditional_risk(lm.DecisionScore(tau), eta.unsqueeze(0), eta, D).item()
        assert at_eta <= risk.min().item() + 1e-12


def test_the_energy_score_of_asymmetric_costs_would_not_be_proper() -> None:
    """Why they are refused."""
    assert refuses(lm.EnergyScore(), ASYMMETRIC)
    assert refuses(lm.EnergyScore(), lm.Ordinal(5, power=3).to_dense())  # symmetric, not negative
    D = random_table(lm.ExpectedCost(), 3, torch.Generator().manual_seed(1))
    eta = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    score = GRID @ D.T @ eta - ((GRID @ D) * GRID).sum(1) / 2
    assert not torch.allclose(GRID[score.argmin()], eta, atol=0.05)


@every_loss
def test_a_loss_that_is_not_proper_has_a_minimiser_elsewhere(loss: lm.Loss) -> None:
    if loss.proper or loss == lm.CostFocal(gamma=0.0):
        return
    assert any(
        (minimiser(loss, eta, D) - eta).abs().max() > 2 / STEPS for eta, D in problems(loss, 15)
    )


def test_unlikelihood_is_proper_for_zero_one_costs() -> None:
    for eta, _ in problems(lm.Unlikelihood(), 15):
        torch.testing.assert_close(minimiser(lm.Unlikelihood(), eta, 1.0 - torch.eye(3)), eta)


# --- convexity -----------------------------------------------------------------------------------


def curvature(loss: lm.Loss, C: int, count: int) -> float:
    """The least eigenvalue met among Hessians in the logits, relative to the largest."""
    generator = torch.Generator().manual_seed(5)
    least = 0.0
    for n in range(count):
        D = random_table(loss, C, generator)
        costs = None if loss.reads is None else D
        z = 3.0 * torch.randn(C, generator=generator, dtype=torch.float64)

        def value(z: Tensor, n: int = n, costs: Tensor | None = costs) -> Tensor:
            return loss(z, torch.tensor(n % C), costs, engine="reference")

        hessian = torch.autograd.functional.hessian(value, z)
        eigenvalues = torch.linalg.eigvalsh(hessian)
        least = min(least, (eigenvalues[0] / eigenvalues.abs().max().clamp(min=1e-300)).item())
    return least


@every_loss
def test_a_convex_loss_has_no_negative_curvature_and_another_one_has(loss: lm.Loss) -> None:
    if holds_weight_constant(loss) or loss == lm.CostFocal(gamma=0.0):
        return
    least = curvature(loss, C=4, count=25)
    if loss.convex:
        assert least > -1e-9
    elif len(parts(loss)) == 1:  # a sum may be convex although a part is not
        assert least < -1e-3


def test_unlikelihood_of_two_classes_is_convex() -> None:
    assert curvature(lm.Unlikelihood(), C=2, count=25) > -1e-9


# --- sums ----------------------------------------------------------------------------------------


def test_a_sum_states_what_follows_from_its_parts() -> None:
    score = lm.CrossEntropy() + lm.DecisionScore()
    assert (score.decides, score.proper, score.convex, score.reads) == (
        "bayes", True, False, "costs"
    )  # fmt: skip
    mixed = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()
    assert (mixed.decides, mixed.proper, mixed.convex) == (None, False, False)
    convex = lm.CrossEntropy() + lm.CostSensitiveCrossEntropy()
    assert (convex.convex, convex.linear_in_costs) == (True, False)
    assert (3.0 * lm.ExpectedCost()).decides == "argmax"
    assert (2.0 * lm.ExpectedCost() + lm.Unlikelihood()).linear_in_costs
    assert lm.CrossEntropy().reads is None
    assert (lm.CrossEntropy() + lm.CrossEntropy()).reads is None


def test_a_part_scaled_by_zero_says_nothing() -> None:
    loss = lm.CrossEntropy() + 0 * lm.ExpectedCost()
    assert (loss.decides, loss.proper, loss.convex) == ("bayes", True, True)
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    D = torch.rand(3, 3)
    torch.testing.assert_close(
        loss(logits, target, D), lm.CrossEntropy()(logits, target), rtol=0, atol=0
    )


def test_sums_of_sums_are_flat_and_keep_their_scales() -> None:
    loss = 2.0 * (lm.CrossEntropy() + 0.5 * lm.ExpectedCost()) + lm.Unlikelihood()
    assert [scale for scale, _ in getattr(loss, "parts", ())] == [2.0, 1.0, 1.0]
    assert repr(loss) == "2 * CrossEntropy() + ExpectedCost() + Unlikelihood()"
    assert loss == 2.0 * (lm.CrossEntropy() + 0.5 * lm.ExpectedCost()) + lm.Unlikelihood()
    assert hash(loss) == hash(lm.CrossEntropy() * 2.0 + lm.ExpectedCost() + lm.Unlikelihood())


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_loss_cannot_be_scaled_so_that_mistakes_are_rewarded(scale: float) -> None:
    with pytest.raises(ValueError, match="finite number ≥ 0"):
        scale * lm.ExpectedCost()


def test_gains_and_costs_cannot_be_added() -> None:
    with pytest.raises(TypeError, match="gains"):
        lm.PairWeightedCrossEntropy() + lm.ExpectedCost()


def test_the_value_of_a_sum_is_the_sum_of_the_values() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target, D = torch.tensor([0, 1, 2, 3, 1, 0]), ASYMMETRIC
    for loss in LOSSES.values():
        if len(parts(loss)) > 1:
            each = sum(
                scale * part(logits, target, None if part.reads is None else D)
                for scale, part in getattr(loss, "parts", ())
            )
            torch.testing.assert_close(loss(logits, target, D), each)


def test_every_final_loss_states_all_of_its_properties() -> None:
    for cls in final_losses():
        loss = cls()
        assert loss.decides in {"argmax", "bayes", None}
        assert isinstance(loss.convex, bool)
        assert isinstance(loss.proper, bool)
        assert isinstance(loss.linear_in_costs, bool)
        assert loss.reads in {"costs", "gains", None}
        assert not loss.proper or loss.decides == "bayes"
