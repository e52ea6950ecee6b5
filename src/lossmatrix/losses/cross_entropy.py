# SPDX-License-Identifier: BSD-3-Clause
"""Cross-entropies: −Σ_j s_j log p_j, convex.

Every formula is stated for one class of one row in the words of ``language.Cells``. What a loss
promises (its decision rule, convexity, properness) stands beside it as class attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.losses.base import Loss, Term, check_tau, positive, square_costs
from lossmatrix.losses.language import Cells, weigh


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy, the log score: −Σ_j t_j log p_j.

    Costs play no part in it. It is convex and strictly proper: softmax(logits) estimates the
    probabilities, and the least-cost decision follows from them by the Bayes step (``decide``).

    Source: Good (1952), Rational decisions, section 8.

    >>> round(lm.CrossEntropy()(torch.tensor([[2.0, 0.0]]), torch.tensor([1])).item(), 4)
    2.1269
    """

    decides = "bayes"
    convex = True
    proper = True
    linear_in_costs = False  # costs play no part in it
    reads = None

    def term(self, cell: Cells) -> Tensor:
        """−t log p."""
        return -weigh(cell.target, cell.log_p)


@dataclass(frozen=True)
class PairWeightedCrossEntropy(Loss):
    """Cross-entropy with a weight per pair of classes: −Σ_i t_i Σ_j W_ij log p_j.

    W is a table of **gains** (large W_ij rewards probability on j when the truth is i), so a
    ``CostMatrix`` is refused: it would reward the costliest class. With a diagonal W and
    class-index targets this is ``nn.CrossEntropyLoss(weight=W.diag(), reduction="sum")``. Convex
    for W ≥ 0; its minimiser is p_j ∝ Σ_i η_i W_ij, so argmax finds the largest expected gain.
    It has no decision rule in terms of costs: ``decides`` is None.

    >>> gains = torch.tensor([[1.0, 0.2], [0.0, 3.0]])
    >>> z, y = torch.tensor([[0.5, -0.5]]), torch.tensor([0])
    >>> round(lm.PairWeightedCrossEntropy()(z, y, gains).item(), 4)
    0.5759
    """

    decides = None
    convex = True
    proper = False
    linear_in_costs = True
    reads = "gains"

    def term(self, cell: Cells) -> Tensor:
        """−W log p; the row of gains arrives where other losses see costs."""
        return -weigh(cell.cost, cell.log_p)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Gains must be ≥ 0, or the loss has no lower bound."""
        (term,) = super().bind(costs)
        if term.costs is not None and term.costs.minimum < 0:
            raise ValueError(
                f"{self!r} needs gains ≥ 0 but the smallest is {term.costs.minimum:g}: "
                "subtract each row's minimum from it."
            )
        return (term,)


@dataclass(frozen=True)
class CostSensitiveCrossEntropy(Loss):
    """Cross-entropy weighted by what a decision saves: −Σ_j (max_k d_k − d_j) log p_j.

    Convex, and consistent for every cost matrix: at the optimum p_j ∝ const − conditional risk of
    j, so argmax is the least-cost decision (and p is not a probability of the classes). The
    weights are never normalised by row: doing so destroys consistency. D = 1 − I gives
    cross-entropy. Adding a constant to a row of D changes nothing.

    Source: Mozannar & Sontag (2020), Consistent estimators for learning to defer, section 4;
    Lin (2010), A simple cost-sensitive multiclass classification algorithm.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.CostSensitiveCrossEntropy()(z, y, [[0, 1, 9], [1, 0, 4], [9, 4, 0]]).item(), 4)
    14.9293
    """

    decides = "argmax"
    convex = True
    proper = False
    linear_in_costs = True

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Pair-weighted cross-entropy whose gains are the savings."""
        savings = square_costs(self, costs).savings()
        return (Term(1.0, PairWeightedCrossEntropy(), savings),)


@dataclass(frozen=True)
class SoftTargetCrossEntropy(Loss):
    """Cross-entropy against soft targets made of costs: −Σ_j s_j log p_j, s = softmax(−d / T).

    ``temperature`` T is in units of the matrix's mean positive regret, so it means the same for
    euros and cents. Convex. In general neither argmax nor the Bayes step is the least-cost
    decision: small T decides for the likeliest class, large T approaches the least-cost class with
    vanishing contrast; so ``decides`` is None.

    Also known as SORD and as soft labels. Source: Díaz & Marathe (2019), Soft labels for ordinal
    regression, equation 2; Bertinetto et al. (2020), Making better mistakes, section 3.2.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> loss = lm.SoftTargetCrossEntropy(temperature=0.5)
    >>> round(loss(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.6611
    """

    temperature: float = 1.0

    decides = None
    convex = True
    proper = False
    linear_in_costs = False

    def __post_init__(self) -> None:
        positive(self, "temperature", self.temperature)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Pair-weighted cross-entropy whose gains are the soft targets."""
        costs = square_costs(self, costs)
        tau = self.temperature * costs.unit
        check_tau(self, f"temperature={self.temperature:g}", tau, costs)
        return (Term(1.0, PairWeightedCrossEntropy(), costs.soft_targets(tau)),)
