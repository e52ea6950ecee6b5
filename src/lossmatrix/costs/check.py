# SPDX-License-Identifier: BSD-3-Clause
"""What usually is a mistake in a cost matrix, and the remedy."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from lossmatrix.costs.labels import abbreviate


@dataclass(frozen=True)
class Finding:
    """Something in a cost matrix that is usually a mistake: its kind, what it is, the remedy."""

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}."


class Findings(list[Finding]):
    """Findings, and how a notebook shows them."""

    def _repr_html_(self) -> str:
        """A list of the sentences."""
        return f"<ul>{''.join(f'<li>{escape(str(each))}</li>' for each in self)}</ul>"


REMEDIES = {
    "negative": "regret() decides the same without it; from_gains reads gains",
    "zero row": "say what mistakes cost there, or a model may decide anything",
    "diagonal": "regret() takes the cost of the cheapest decision off each row",
    "alike": "this is plain accuracy; ZeroOne says so, and the likeliest class is best",
    "transposed": "if rows are predictions, read the table with Dense.from_predicted_rows",
    "never best": "check that column, or leave it out",
}


def find_all(costs: Tensor, classes: Sequence[str], decisions: Sequence[str]) -> Findings:
    """Every finding in a (C, K) table."""
    D = costs.detach().double().cpu()
    C, K = D.shape
    found: dict[str, str] = {}

    def name(names: Sequence[str], where: Tensor) -> str:
        return abbreviate([names[i] for i in range(len(names)) if where[i]])

    negative, zero = (D < 0).any(1), (D == 0).all(1)
    if negative.any():
        truths = name(classes, negative)
        found["negative"] = f"a decision costs less than nothing when the truth is {truths}"
    if zero.any() and C > 1:
        found["zero row"] = f"no decision costs anything when the truth is {name(classes, zero)}"
    if C <= K and all(a == b for a, b in zip(classes, decisions, strict=False)):
        square, right = D[:, :C], D.diagonal()
        mistakes = square[~torch.eye(C, dtype=torch.bool)]
        if right.any():
            truths = name(classes, right != 0)
            found["diagonal"] = f"the right decision has a cost when the truth is {truths}"
        elif C == K > 1 and (mistakes == mistakes[0]).all():
            found["alike"] = "all mistakes cost the same"
        if (square >= right).all() and not (square >= right.unsqueeze(1)).all():
            found["transposed"] = "the right decision is cheapest in each column, not in each row"
    elif C > K and set(decisions) < set(classes):
        found["transposed"] = f"all {K} decisions are classes, and {C - K} more are only truths"
    if K > 1 and D.isfinite().all():
        beaten = torch.tensor([not ever_best(D, j) for j in range(K)])
        if beaten.any():
            names = name(decisions, beaten)
            found["never best"] = f"no probabilities make {names} the only best decision"
    return Findings(Finding(kind, message, REMEDIES[kind]) for kind, message in found.items())


def ever_best(D: Tensor, decision: int) -> bool:
    """Whether some distribution of truths makes this decision strictly cheaper than all others.

    It does if it is the one cheapest for some truth. Else, with A_ij = D_ij − D_i,decision over the
    other decisions j, it does iff the matrix game A has a positive value max_p min_j (pA)_j. The
    value comes from the linear programme max 1·y, By ≤ 1, y ≥ 0 for B = A shifted to be positive
    (Dantzig 1951), solved by the simplex method with Bland's rule, which cannot cycle.
    """
    others = torch.arange(D.shape[1]) != decision
    game = D[:, others] - D[:, decision : decision + 1]
    if (game > 0).all(1).any():
        return True
    if (game <= 0).all():
        return False
    game /= game.abs().max()
    shift = game.min() - 1
    m, n = game.shape
    tableau = torch.zeros(m + 1, n + m + 1, dtype=torch.float64)
    tableau[:m, :n], tableau[:m, n:-1], tableau[:m, -1] = game - shift, torch.eye(m), 1
    tableau[m, :n] = -1
    basis = torch.arange(n, n + m)
    rounding = 1e-10
    while (entering := (tableau[m, :-1] < -rounding).nonzero()).numel():
        column = int(entering[0])
        pivots = tableau[:m, column]
        ratio = torch.where(pivots > rounding, tableau[:m, -1] / pivots, torch.inf)
        tied = ratio <= ratio.min() + rounding
        row = int(torch.where(tied, basis, n + m).argmin())
        tableau[row] /= tableau[row, column].clone()
        factors = tableau[:, column].clone()
        factors[row] = 0
        tableau -= factors.unsqueeze(1) * tableau[row]
        basis[row] = column
    return bool(1 / tableau[m, -1] + shift > 10 * rounding)
