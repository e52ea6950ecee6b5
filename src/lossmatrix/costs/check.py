# SPDX-License-Identifier: BSD-3-Clause
"""What usually is a mistake in a cost matrix, and the remedy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from lossmatrix.costs.labels import abbreviate, html_text, visible


@dataclass(frozen=True)
class Finding:
    """Something in a cost matrix that is usually a mistake: its kind, what it is, the remedy."""

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return visible(f"{self.message}: {self.remedy}.")


class Findings(list[Finding]):
    """Findings, and how a notebook shows them."""

    def _repr_html_(self) -> str:
        """A list of the sentences."""
        return f"<ul>{''.join(f'<li>{html_text(str(each))}</li>' for each in self)}</ul>"


REMEDIES = {
    "negative": "regret() decides the same without it; from_gains reads gains",
    "zero row": "say what mistakes cost there, or a model may decide anything",
    "diagonal": "regret() takes the cost of the cheapest decision off each row",
    "alike": "this is plain accuracy; ZeroOne says so, and the likeliest class is best",
    "transposed": "if rows are predictions, read the table with Dense.from_predicted_rows",
    "never best": "check that column, or leave it out",
    "not checked": "check a part of the table, if it matters",
}
ROUNDING = 1e-10  # of a tableau
TOLERANCE = 1e-9  # a smaller value of a game, of which the largest entry is 1, is taken for 0
FEW = 8  # columns that a game begins with, or that are compared at once
ENTRIES = 2e9  # of tables that are read before games are left out: seconds
MULTIPLICATIONS = 4e10  # in averages over truths: seconds too
STEP = 50_000  # entries that are read in the time that a step of a small game takes


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
        answers = best_somewhere(D)
        if beaten := [decisions[j] for j in range(K) if answers[j] is False]:
            found["never best"] = (
                f"no probabilities make {abbreviate(beaten)} the only best decision"
            )
        if left := [decisions[j] for j in range(K) if answers[j] is None]:
            found["not checked"] = (
                f"whether any probabilities make {abbreviate(left)} the only best decision would "
                f"take long to work out and was not, for {len(left)} of {K} decisions"
            )
    return Findings(Finding(kind, message, REMEDIES[kind]) for kind, message in found.items())


def best_somewhere(D: Tensor, entries: float = ENTRIES) -> list[bool | None]:
    """Whether some distribution of truths makes each decision strictly cheaper than all others.

    With A_ik = D_ik − D_ij over the other decisions k, it does iff (pA)_k > 0 for all k at some p.
    So it is where j alone is the cheapest for a truth, or for an average of truths; most decisions
    are found there, all at once. It is not where another decision is nowhere dearer, nor the mean
    of all others. For the rest the game A is played, until about as many `entries` as these were
    read: None is for what is left.
    """
    K = D.shape[1]
    low, at = D.topk(2, 1, largest=False)
    answers: list[bool | None] = [None] * K
    best = torch.zeros(K, dtype=torch.bool)
    best[at[low[:, 0] < low[:, 1], 0]] = True
    beaten = nowhere_cheaper(D, best) | ((D.sum(1, keepdim=True) - D) / (K - 1) <= D).all(0)
    best = on_average(D, best, beaten)
    for j in range(K):
        if best[j] or beaten[j]:
            answers[j] = bool(best[j])
        elif entries > 0:
            answers[j], read = wins(D, j, entries)
            entries -= read
    return answers


def nowhere_cheaper(D: Tensor, best: Tensor) -> Tensor:
    """Decisions (K,) that another one is nowhere dearer than, but for those in `best`."""
    beaten, columns = torch.zeros_like(best), D.mT.contiguous()
    sample = columns[:, torch.linspace(0, len(D) - 1, min(len(D), 32)).long()]
    for j in range(len(best)):
        if best[j]:
            continue
        near = (sample <= sample[j]).all(1)  # few pass, and are compared in full
        near[j] = False
        rivals = near.nonzero().flatten()
        beaten[j] = any(
            bool((columns[rivals[at : at + FEW]] <= columns[j]).all(1).any())
            for at in range(0, len(rivals), FEW)
        )
    return beaten


def on_average(D: Tensor, best: Tensor, beaten: Tensor) -> Tensor:
    """`best`, with what is strictly cheapest on average over the truths where it is least dear."""
    best = best.clone()
    regret = D - D.amin(1, keepdim=True)
    margin = TOLERANCE * (D.amax() - D.amin())
    fewer = (2 * 4**i for i in range(len(D)))
    work = MULTIPLICATIONS
    for number in (len(D), *takewhile(lambda few: few < len(D), fewer)):
        unsettled, step = (~(best | beaten)).nonzero().flatten(), max(1, 2**23 // max(D.shape))
        work -= len(unsettled) * D.numel()
        if work < 0:
            break
        for at in range(0, len(unsettled), step):
            some = unsettled[at : at + step]
            truths = regret[:, some].topk(number, 0, largest=False).indices
            probs = D.new_zeros(len(D), len(some)).scatter_(0, truths, 1 / number)
            risk = probs.mT @ D
            own = risk.gather(1, some[:, None])
            risk.scatter_(1, some[:, None], torch.inf)
            best[some] = risk.amin(1) - own[:, 0] > margin
    return best


def wins(D: Tensor, decision: int, entries: float) -> tuple[bool | None, float]:
    """Whether the game of a decision has a positive value, and how many entries that took.

    None where it took more than `entries`.

    It is played against few columns, to which those are added that the best distribution p against
    these few does worst against: either they hold the value down to 0, or p holds against all.
    """
    others = D - D[:, decision : decision + 1]
    scale = others.abs().max()
    others[:, decision] = scale  # never the worst
    least_dear = (D[:, decision] - D.amin(1)).topk(min(2, len(D)), largest=False).indices
    probs, read = D.new_zeros(len(D)), 3.0 * D.numel()
    probs[least_dear] = 1 / len(least_dear)
    columns: list[int] = []
    value = 0.0
    while True:
        gain = probs @ others / scale
        read += D.numel()
        if columns:
            gain[columns] = torch.inf
        worst = gain.topk(min(max(FEW, len(columns)), len(gain)), largest=False)
        new = [int(k) for k, g in zip(worst.indices, worst.values, strict=True) if g <= TOLERANCE]
        if not new:
            return value > TOLERANCE or not columns, read
        columns += new
        game = others[:, columns] / scale
        played = play(game, entries - read)
        if played is None:
            return None, entries
        value, probs, steps = played
        read += steps
        if value <= TOLERANCE:
            return False, read


def play(game: Tensor, entries: float) -> tuple[float, Tensor, float] | None:
    """The value max_p min_k (pA)_k of a matrix game (C, n), the best p, and how much that took.

    None where it took more than `entries`.

    Both come from the linear programme max 1·y, By ≤ 1, y ≥ 0 for B = A shifted to be positive
    (Dantzig 1951), solved by the simplex method: by the steepest column, and when that takes long
    by Bland's rule, which cannot cycle. The tableau leaves out the columns of the basis; their
    names are `rows`, those of the others `columns`.
    """
    shift = game.min().item() - 1
    m, n = game.shape
    tableau = game.new_ones(m + 1, n + 1)
    tableau[:m, :n], tableau[m, :n], tableau[m, n] = game - shift, -1, 0
    columns, rows, steps, read = torch.arange(n), torch.arange(n, n + m), 0, 0.0
    while (falling := tableau[m, :n] < -ROUNDING).any():
        if (read := (steps + 1) * (tableau.numel() + STEP)) > entries:
            return None
        names = torch.where(falling, columns, n + m)
        c = int((tableau[m, :n] if steps < 4 * (m + n) else names).argmin())
        column = tableau[:, c].clone()
        ratio = torch.where(column[:m] > ROUNDING, tableau[:m, n] / column[:m], torch.inf)
        r = int(torch.where(ratio <= ratio.min() + ROUNDING, rows, n + m).argmin())
        pivot = column[r].item()
        row = tableau[r] / pivot
        tableau.addr_(column, row, alpha=-1)
        tableau[r], tableau[:, c] = row, -column / pivot
        tableau[r, c] = 1 / pivot
        columns[c], rows[r] = rows[r].clone(), columns[c].clone()
        steps += 1
    free = columns >= n  # the prices of the truths
    probs = game.new_zeros(m).scatter_(0, columns[free] - n, tableau[m, :n][free])
    return 1 / tableau[m, n].item() + shift, probs / probs.sum(), read
