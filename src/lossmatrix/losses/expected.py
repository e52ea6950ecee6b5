# SPDX-License-Identifier: BSD-3-Clause
"""Costs of the decisions that p makes: Σ_j d_j φ(p_j) and its like, mostly decided by argmax.

Every formula is stated for one class of one row in the words of ``language.Cells``. What a loss
promises (its decision rule, convexity, properness) stands beside it as class attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.losses.base import (
    DecisionRule,
    Loss,
    Term,
    check_room,
    check_tau,
    non_negative,
    positive,
    square_costs,
)
from lossmatrix.losses.cross_entropy import CrossEntropy
from lossmatrix.losses.language import Cells, growth, power, weigh


@dataclass(frozen=True)
class ExpectedCost(Loss):
    """The cost expected of a random decision drawn from p: Σ_j d_j p_j.

    Also known as conditional risk, direct risk, the Wasserstein-1 distance to a one-hot target.
    Consistent: its minimiser puts all mass on the least-cost class, so decide by argmax. Not
    convex, and flat where the model is confidently wrong (the gradient is p_j (d_j − Σ d p)), so
    train with ``CrossEntropy() + k * ExpectedCost()``. Adding c to a row adds c to the loss.

    Source: Kukar & Kononenko (1998), Cost-sensitive learning with neural networks, section 3.

    >>> z, y = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([2])
    >>> round(lm.ExpectedCost()(z, y, [[0, 1, 9], [1, 0, 4], [9, 4, 0]]).item(), 4)
    4.3333
    """

    decides = "argmax"
    convex = False
    proper = False
    linear_in_costs = True

    def term(self, cell: Cells) -> Tensor:
        """Cost times probability."""
        return cell.cost * cell.p


@dataclass(frozen=True)
class Unlikelihood(Loss):
    """Cost-weighted unlikelihood of the wrong classes: −Σ_{j≠y} d_j log(1 − p_j).

    Also known as OLL, CDW-CE, the false-positive part of RWWCE. Consistent: decide by argmax. Its
    gradient does not fade when the model is confidently wrong (it tends to d_j). Convex in p, not
    in the logits for C ≥ 3; proper only for D = 1 − I. Costs must be ≥ 0; a cost on the
    diagonal has no part in it. Not invariant to adding a constant to a row of D.

    Source: Castagnos et al. (2022), A simple log-based loss function for ordinal text
    classification, equation 3; Polat et al. (2022), Class distance weighted cross-entropy loss.

    >>> z, y = torch.tensor([[0.0, 20.0]]), torch.tensor([0])
    >>> round(lm.Unlikelihood()(z, y, [[0, 5], [1, 0]]).item(), 4)
    100.0
    """

    decides = "argmax"
    convex = False
    proper = False
    linear_in_costs = True

    def term(self, cell: Cells) -> Tensor:
        """−d log(1 − p); ``bind`` has taken the truth's own cost out of the row."""
        return -weigh(cell.cost, cell.log_q)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Only costs of wrong decisions count, and they must not be negative."""
        return (Term(1.0, self, mistakes(self, square_costs(self, costs))),)


@dataclass(frozen=True)
class CostFocal(Loss):
    """Cross-entropy weighted by its own expected cost: (Σ_j d_j p_j / max D)^gamma · (−log p_y).

    D = 1 − I gives the focal loss. With ``detach`` the weight is held constant in the gradient.
    Not convex, and neither argmax nor the Bayes step is its decision: ``decides`` is None. Costs
    must be ≥ 0. Multiplying D by a constant changes nothing.

    Source: Lin et al. (2017), Focal loss for dense object detection, equation 4 (D = 1 − I).

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.CostFocal(gamma=2.0)(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.0184
    """

    gamma: float = 2.0
    detach: bool = False

    decides = None
    convex = False
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma must be a finite number ≥ 0, but is {self.gamma}.")
        if self.gamma > 0:
            check_room(self, f"gamma={self.gamma:g}", self.gamma, 1 / self.gamma)

    def term(self, cell: Cells) -> tuple[Tensor, Tensor]:
        """Expected cost and cross-entropy."""
        return cell.cost * cell.p, -weigh(cell.target, cell.log_p)

    def loss(self, *totals: Tensor) -> Tensor:
        """Expected cost to the power gamma, times cross-entropy."""
        expected, cross_entropy = totals
        weight = power(expected, self.gamma)
        return (weight.detach() if self.detach else weight) * cross_entropy

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Costs are divided by the largest; an all-zero matrix stays as it is."""
        costs = non_negative(self, square_costs(self, costs))
        largest = costs.maximum
        return (Term(1.0, self, costs.scaled(1.0 / largest) if largest > 0 else costs),)


@dataclass(frozen=True)
class EntropicRisk(Loss):
    """The entropic risk of a random decision: (1/λ) log Σ_j p_j exp(λ d_j).

    λ → 0 is ``ExpectedCost``, λ → ∞ the largest cost with any probability: λ > 0 fears large
    costs. ``lam`` is in units of 1 / mean positive regret. For λ > 0 it is concave in p, so its
    minimiser is the least-cost class: decide by argmax. Not convex in the logits. Adding c to a
    row of D adds c.

    Source: Gimpel & Smith (2010), Softmax-margin CRFs, section 4 (Jensen risk bound).

    >>> z, y = torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    >>> round(lm.EntropicRisk(lam=1.0)(z, y, [[0, 1], [1, 0]]).item(), 4)
    0.6201
    """

    lam: float = 1.0

    convex = False
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def __post_init__(self) -> None:
        if self.lam == 0 or not abs(self.lam) < float("inf"):
            raise ValueError(
                f"lam must be a finite number other than 0, but is {self.lam}: "
                "its limit at 0 is ExpectedCost()."
            )

    @property
    def decides(self) -> DecisionRule | None:  # type: ignore[override]
        """ "argmax" where the risk is concave in p (lam > 0)."""
        return "argmax" if self.lam > 0 else None

    def term(self, cell: Cells) -> tuple[Tensor, Tensor]:
        """p (exp(λ (d − d_m)) − 1) for the top class m; and its cost.

        With d_m taken out the sum is log1p of what never cancels: 1 + Σ ≥ p_m ≥ 1/C.
        """
        exponent = self.lam * (cell.cost - cell.top_cost)
        return growth(cell.p, cell.log_p, exponent), cell.p * cell.top_cost

    def loss(self, *totals: Tensor) -> Tensor:
        """d_m + log(1 + Σ) / λ."""
        grown, top_cost = totals
        return top_cost + grown.log1p() / self.lam

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """``lam`` is turned into the unit of D."""
        costs = square_costs(self, costs)
        check_tau(self, f"lam={self.lam:g}", costs.unit / abs(self.lam), costs)
        return _entropic(1.0, self.lam / costs.unit, costs)


@dataclass(frozen=True)
class SimilarityLikelihood(Loss):
    """Likelihood of the classes similar to the truth: −log Σ_j exp(−d_j / τ) p_j.

    ``tau`` is in units of the matrix's mean positive regret; τ → 0 with zero diagonal is
    cross-entropy. Convex in p, not in the logits. Its minimiser p solves K p = η with
    K = exp(−D/τ) where that is possible, so neither argmax p nor the Bayes step on p is the
    decision: ``decides`` is None (apply the Bayes step to K p).

    Source: Patrini et al. (2017), Making deep neural networks robust to label noise, equation 4
    (forward correction, K the noise matrix).

    >>> z, y = torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    >>> round(lm.SimilarityLikelihood(tau=1.0)(z, y, [[0, 1], [1, 0]]).item(), 4)
    0.3799
    """

    tau: float = 1.0

    decides = None
    convex = False
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def __post_init__(self) -> None:
        positive(self, "tau", self.tau)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """−log Σ K p is the entropic risk at λ = −1/τ, divided by τ."""
        costs = square_costs(self, costs)
        tau = self.tau * costs.unit
        check_tau(self, f"tau={self.tau:g}", tau, costs)
        return _entropic(1.0 / tau, -1.0 / tau, costs)


LARGEST_EXPONENT = 80.0  # exp(80) is a number in float32, and so are means of such


def _entropic(scale: float, lam: float, costs: CostMatrix) -> tuple[Term, ...]:
    """The entropic risk at ``lam`` in the unit of D, by the form that its exponents allow.

    Where λ (d_j − d_m) may overflow it is a difference of two logarithms of sums,
    (1/λ) (log Σ exp(z_j + λ d_j) − log Σ exp(z_j)), each minus z_y.
    """
    if abs(lam) * (costs.maximum - costs.minimum) <= LARGEST_EXPONENT:
        return (Term(scale, EntropicRisk(lam), costs),)
    return (
        Term(scale / lam, _TiltedCrossEntropy(lam), costs),
        Term(-scale / lam, CrossEntropy(), None),
    )


@dataclass(frozen=True)
class _TiltedCrossEntropy(Loss):
    """log Σ exp(z_j + λ d_j) − z_y."""

    lam: float

    linear_in_truth = False

    def margin(self, cost: Tensor, target: Tensor) -> Tensor:
        return self.lam * cost

    def term(self, cell: Cells) -> Tensor:
        """λ d_y − log p_y, p being the softmax with margins."""
        return weigh(cell.target, self.lam * cell.cost - cell.log_p)


def mistakes(loss: Loss, costs: CostMatrix) -> CostMatrix:
    """The costs of wrong decisions, refused when one is negative; 0 for the right decision."""
    wrong = costs.zero_diagonal()
    # the matrix knows its own minimum, a transformed one has to look at every entry
    return wrong if costs.minimum >= 0 else non_negative(loss, wrong)
