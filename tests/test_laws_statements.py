# SPDX-License-Identifier: BSD-3-Clause
"""What a loss states about itself (rule, convexity, properness, linearity) is true, not too modest.

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
from torch.nn.functional import cross_entropy

import lossmatrix as lm
from lossmatrix.engines.reference import Softmax, cells_of
from lossmatrix.losses.base import Term, as_tuple

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


@pytest.mark.parametrize(("lam", "rule"), [(0.5, "argmax"), (2.0, "argmax"), (-0.5, None)])
def test_only_who_fears_large_costs_decides_by_argmax(lam: float, rule: str | None) -> None:
    loss = lm.EntropicRisk(lam)
    assert loss.decides == rule
    certain, uniform = torch.eye(3, dtype=torch.float64), torch.full((3,), 1 / 3).double()
    corners = conditional_risk(loss, certain, uniform, 1.0 - certain)
    inside = conditional_risk(loss, uniform[None], uniform, 1.0 - certain)
    assert (corners.min() < inside).item() == (rule is not None)


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
def test_a_loss_is_least_at_the_probabilities_themselves_exactly_where_it_is_proper(
    loss: lm.Loss,
) -> None:
    if loss == lm.CostFocal(gamma=0.0):  # which is cross-entropy
        return
    least = True
    for eta, D in problems(loss, 15):
        at_eta, *others = conditional_risk(loss, torch.cat([eta[None], GRID]), eta, D).tolist()
        least = least and at_eta <= min(others) + 1e-12
    assert least == loss.proper


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


def test_unlikelihood_is_proper_for_zero_one_costs() -> None:
    for eta, _ in problems(lm.Unlikelihood(), 15):
        torch.testing.assert_close(minimiser(lm.Unlikelihood(), eta, 1.0 - torch.eye(3)), eta)


# --- convexity -----------------------------------------------------------------------------------


def curvature(loss: lm.Loss, C: int) -> float:
    """The least eigenvalue met among Hessians in the logits, relative to the largest of its own."""
    generator = torch.Generator().manual_seed(5)
    least = 0.0
    for _ in range(5):
        D = random_table(loss, C, generator)
        z = 3.0 * torch.randn(10, C, generator=generator, dtype=torch.float64).requires_grad_()
        costs, target = None if loss.reads is None else D, torch.arange(10) % C
        value = loss(z, target, costs, reduction="sum", engine="reference")
        (gradient,) = torch.autograd.grad(value, z, create_graph=True)
        columns = [
            torch.autograd.grad(g.sum(), z, retain_graph=True)[0] for g in gradient.unbind(1)
        ]
        eigenvalues = torch.linalg.eigvalsh(torch.stack(columns, -1))
        ratios = eigenvalues[:, 0] / eigenvalues.abs().amax(1).clamp(min=1e-300)
        least = min(least, ratios.min().item())
    return least


@every_loss
def test_a_convex_loss_has_no_negative_curvature_and_another_one_has(loss: lm.Loss) -> None:
    if holds_weight_constant(loss) or loss == lm.CostFocal(gamma=0.0):
        return
    least = curvature(loss, C=4)
    if loss.convex:
        assert least > -1e-9
    elif len(parts(loss)) == 1:  # a sum may be convex although a part is not
        assert least < -1e-3


def test_unlikelihood_of_two_classes_is_convex() -> None:
    assert curvature(lm.Unlikelihood(), C=2) > -1e-9


# --- linearity -----------------------------------------------------------------------------------


@every_loss
def test_losses_of_matrices_add_exactly_where_a_loss_is_linear_in_the_costs(loss: lm.Loss) -> None:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    D = random_table(loss, 4, generator)
    E = D.sqrt()  # whose rows are largest at the same decision; of a distance on a line, one too
    whole, one, two = (
        loss(z, torch.tensor([0, 1, 2, 3, 1]), None if loss.reads is None else each)
        for each in (D + 2.0 * E, D, E)
    )
    assert torch.allclose(whole, one + 2.0 * two, rtol=1e-10) == loss.linear_in_costs


def of_truth(term: Term, z: Tensor, truth: Tensor) -> Tensor:
    """The formula of a term at probabilities of the truth: what D costs under them is its cost."""
    cost = z.new_zeros(()) if term.costs is None else term.costs.expected(truth)
    cells = cells_of(term.loss, Softmax(z), truth, cost, term.costs)
    return term.loss.loss(*(total.sum(-1) for total in as_tuple(term.loss.term(cells))))


STEEP = [lm.EntropicRisk(lam=1e3), lm.SimilarityLikelihood(tau=1e-3)]  # they bind otherwise


@pytest.mark.parametrize("loss", [*LOSSES.values(), *STEEP], ids=repr)
def test_a_formula_takes_a_truth_that_is_a_mixture_exactly_where_it_is_linear_in_it(
    loss: lm.Loss,
) -> None:
    generator = torch.Generator().manual_seed(4)
    z, mass = torch.rand(2, 5, 4, generator=generator, dtype=torch.float64)
    truth = mass / mass.sum(1, keepdim=True)
    D = random_table(loss, 4, generator)
    terms = loss.bind(None if loss.reads is None else loss.matrix(D))
    if loss == lm.CostFocal(gamma=0.0):  # which is cross-entropy
        return
    for term in terms:
        each = [of_truth(term, z, one.expand(5, 4)) for one in torch.eye(4, dtype=torch.float64)]
        mixed = (truth * torch.stack(each, -1)).sum(-1)
        linear = torch.allclose(of_truth(term, z, truth), mixed, rtol=1e-10)
        assert term.loss.linear_in_truth == linear, term
    assert loss.linear_in_truth == all(term.loss.linear_in_truth for term in terms)


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
    assert convex.linear_in_truth
    assert not (convex + lm.SoftmaxMargin()).linear_in_truth
    assert (lm.CrossEntropy() + lm.CrossEntropy()).reads is None


def test_a_part_scaled_by_zero_says_nothing() -> None:
    loss = lm.CrossEntropy() + 0 * lm.ExpectedCost()
    assert (loss.decides, loss.proper, loss.convex) == ("bayes", True, True)
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    D = torch.rand(3, 3)
    torch.testing.assert_close(
        loss(logits, target, D), lm.CrossEntropy()(logits, target), rtol=0, atol=0
    )


def test_a_sum_scales_what_its_parts_are_bound_to() -> None:
    """A likelihood of similarities is 1/τ times an entropic risk."""
    logits, target = torch.randn(5, 4), torch.tensor([0, 3, 2, 0, 1])
    part = lm.SimilarityLikelihood(tau=0.25)
    both, alone = (
        loss(logits, target, ASYMMETRIC, engine="reference")
        for loss in (3.0 * part + lm.CrossEntropy(), part)
    )
    alone = 3.0 * alone + cross_entropy(logits, target)
    torch.testing.assert_close(both, alone)


def test_sums_begin_at_the_number_zero_and_hold_losses_alone() -> None:
    one, two = lm.CrossEntropy(), lm.ExpectedCost()
    assert sum([one, two]) == one + two
    assert 0 + one is one
    for other in (1, 0.0, False, lm.CrossEntropy):
        with pytest.raises(TypeError, match=r"a loss is needed|write CrossEntropy\(\)"):
            other + two  # type: ignore[operator]
        with pytest.raises(TypeError, match=r"a loss is needed|write CrossEntropy\(\)"):
            two + other  # type: ignore[operator]


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
