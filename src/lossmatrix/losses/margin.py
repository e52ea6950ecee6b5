# SPDX-License-Identifier: BSD-3-Clause
"""Costs as margins: log Σ_j exp(z_j + Δ_j) − z_y, convex.

Every formula is stated for one class of one row in the words of ``language.Cells``. What a loss
promises (its decision rule, convexity, properness) stands beside it as class attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.losses.base import Loss, Term
from lossmatrix.losses.expected import mistakes
from lossmatrix.losses.language import Cells, weigh


@dataclass(frozen=True)
class SoftmaxMargin(Loss):
    """Cross-entropy with costs as margins: log Σ_j exp(z_j + d_j) − z_y.

    With ``log=True`` the margin is log d_j off the truth and 0 at it: log(1 + Σ_{j≠y} d_j
    exp(z_j − z_y)), a softmax weighted per pair (CoSen, generalised logistic loss); there costs
    must be ≥ 0, and a zero cost takes the class out of the row. Convex. Not consistent for general
    D, neither by argmax nor by the Bayes step: ``decides`` is None. Not homogeneous: costs are in
    units of logits.

    Source: Gimpel & Smith (2010), Softmax-margin CRFs, equation 5; Beijbom et al. (2014),
    Guess-averse loss functions, equation 10 (log).

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.SoftmaxMargin()(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    1.0986
    """

    log: bool = False

    decides = None
    convex = True
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def margin(self, cost: Tensor, target: Tensor) -> Tensor:
        """The cost itself, or its logarithm with log 1 at the truth."""
        return (cost * (1.0 - target) + target).log() if self.log else cost

    def term(self, cell: Cells) -> Tensor:
        """log Σ exp(z + Δ) − z_y = Δ_y − log p_y, p being the softmax with margins."""
        if self.log:
            return -weigh(cell.target, cell.log_p)
        return weigh(cell.target, cell.cost - cell.log_p)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Logarithms need costs ≥ 0."""
        (term,) = super().bind(costs)
        if self.log and term.costs is not None:
            mistakes(self, term.costs)
        return (term,)
