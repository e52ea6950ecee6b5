# SPDX-License-Identifier: BSD-3-Clause
"""Proper scores whose geometry is D: decided by the Bayes step.

Every formula is stated for one class of one row in the words of ``language.Cells``. What a loss
promises (its decision rule, convexity, properness) stands beside it as class attributes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.losses.base import Loss, Term, check_tau, costs_of, finite, positive, square_costs
from lossmatrix.losses.language import Cells, weigh


@dataclass(frozen=True)
class EnergyScore(Loss):
    """The energy score of a metric of costs: Σ_j d_j p_j − ½ Σ_jk p_j D_jk p_k.

    D = 1 − I gives half the Brier score, D = |i − j| the ranked probability score (CRPS, ordered
    EMD²). Proper when D is symmetric and conditionally negative definite (|i − j|^a with
    0 < a ≤ 2, trees, Euclidean distances and their squares); any other matrix is refused with a
    ``ValueError``. Decide by the Bayes step. Not convex in the logits.

    Source: Gneiting & Raftery (2007), Strictly proper scoring rules, section 5.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.EnergyScore()(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.1202
    """

    decides = "bayes"
    convex = False
    proper = True
    linear_in_costs = True

    def term(self, cell: Cells) -> Tensor:
        """½ (d t − e Σ_k D_jk e_k) with the error e = p − t, which does not cancel near the truth.

        For symmetric D: tᵀDp − ½ pᵀDp = ½ (tᵀDt − eᵀDe).
        """
        return 0.5 * (cell.cost * cell.target - cell.error * cell.excess)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Refuse matrices for which the score is not proper."""
        costs = square_costs(self, costs)
        if not (costs.is_symmetric and costs.is_conditionally_negative_definite):
            lack = "conditionally negative definite" if costs.is_symmetric else "symmetric"
            raise ValueError(
                f"{self!r} is proper for symmetric, conditionally negative definite costs only, "
                f"but {costs!r} is not {lack}: use DecisionScore(), which is proper for every D."
            )
        return (Term(1.0, self, costs),)


@dataclass(frozen=True)
class DecisionScore(Loss):
    """The smoothed cost of the Bayes decision: −τ log Σ_k exp(−c_k/τ) + Σ_k a_k (d_k − c_k).

    Here c = Dᵀp is the conditional risk of each decision and a = softmax(−c/τ) the smoothed Bayes
    decision. It is the Savage score of the convex function τ log Σ exp(−Dᵀp/τ), so it is proper
    for every D: asymmetric, negative, or with more decisions than classes (all columns are used).
    τ → 0 gives the cost of the Bayes decision itself. ``tau`` is in units of the matrix's mean
    positive regret. Its gradient lives near decision boundaries only and it is not convex: train
    with ``CrossEntropy() + DecisionScore()``, and decide by the Bayes step.

    Source: derived for this library from Savage (1971), Elicitation of personal probabilities;
    Grünwald & Dawid (2004), section 3.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.DecisionScore(tau=0.3)(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.0676
    """

    tau: float = 0.3

    decides = "bayes"
    convex = False
    proper = True
    linear_in_costs = False

    def __post_init__(self) -> None:
        positive(self, "tau", self.tau)

    def logits(self, risk: Tensor) -> Tensor:
        """−c/τ."""
        return -risk / self.tau

    def term(self, cell: Cells) -> Tensor:
        """Cost of the smoothed decision less τ times its entropy: a d + τ a log a.

        For log a = −c/τ − log Σ exp(−c/τ), and so −τ log Σ exp(−c/τ) = Σ_k a_k (c_k + τ log a_k).
        """
        return cell.cost * cell.p + self.tau * weigh(cell.p, cell.log_p)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """All columns are used; tau is turned into the unit of D."""
        costs = finite(self, costs_of(self, costs))
        tau = self.tau * costs.unit
        check_tau(self, f"tau={self.tau:g}", tau, costs)
        return (Term(1.0, replace(self, tau=tau), costs),)
