# SPDX-License-Identifier: BSD-3-Clause
"""What usually is a mistake in a cost matrix, and the remedy."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def find_all(costs: Tensor, classes: Sequence[str], decisions: Sequence[str]) -> list[Finding]:
    """Every finding in a (C, K) table."""
    D = costs.detach().double().cpu()
    C, K = D.shape
    findings: list[Finding] = []

    def found(kind: str, message: str, remedy: str) -> None:
        findings.append(Finding(kind, message, remedy))

    def name(names: Sequence[str], where: Tensor) -> str:
        return abbreviate([names[i] for i in range(len(names)) if where[i]])

    negative = (D < 0).any(1)
    if negative.any():
        found(
            "negative",
            f"some decision costs less than nothing when the truth is {name(classes, negative)}",
            "regret() makes costs non-negative without changing decisions; from_gains reads gains",
        )
    zero = (D == 0).all(1)
    if zero.any() and C > 1:
        found(
            "zero row",
            f"no decision costs anything when the truth is {name(classes, zero)}",
            "say what its mistakes cost, or a model may decide anything for it",
        )
    if C <= K and all(a == b for a, b in zip(classes, decisions, strict=False)):
        right = D.diagonal()
        square, wrong = D[:, :C], ~torch.eye(C, dtype=torch.bool)
        if right.any():
            found(
                "diagonal",
                f"the right decision has a cost when the truth is {name(classes, right != 0)}",
                "regret() takes the cost of the cheapest decision off each row",
            )
        if C == K > 1 and (square[wrong] == square[wrong][0]).all() and not right.any():
            found(
                "alike",
                "all mistakes cost the same",
                "this is plain accuracy; ZeroOne says so, and the most probable class is best",
            )
        by_row = (square >= right.unsqueeze(1)).all()
        if not by_row and (square >= right).all():
            found(
                "transposed",
                "the right decision is the cheapest of its column but not of its row",
                "if rows are predictions, read the table with Dense.from_predicted_rows",
            )
    elif C > K and set(decisions) < set(classes):
        found(
            "transposed",
            f"there are more classes than decisions ({C} and {K}), and every decision is a class",
            "if rows are predictions, read the table with Dense.from_predicted_rows",
        )
    if K > 1 and D.isfinite().all():
        beaten = torch.tensor([not ever_best(D, j) for j in range(K)])
        if beaten.any():
            found(
                "never best",
                f"no probabilities make {name(decisions, beaten)} the only best decision",
                "check that column, or leave it out",
            )
    return findings


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
