# SPDX-License-Identifier: BSD-3-Clause
"""Several data sets at once: ranks, and whether losses differ beyond one set."""
# scipy carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy
from scipy import stats

from lossmatrix.compare.methods import CONTROL
from lossmatrix.compare.results import Comparison
from lossmatrix.compare.task import Numbers

FEWEST_SETS = 8  # below, only the intervals of each set are told
Line = tuple[str, str]


@dataclass(frozen=True)
class Ranking:
    """Methods over sets: `ranks` (k,) are means over the sets, 1 is cheapest.

    `p_value` is Friedman's, in the form of Iman and Davenport, for "all methods cost the same".
    `holm` has, for each other method, the p-value against the control. Two methods whose ranks
    differ by less than `critical_distance` are not told apart (Nemenyi, 5 %).
    """

    lines: tuple[Line, ...]
    ranks: Numbers
    p_value: float
    holm: dict[Line, float]
    critical_distance: float


def rank(comparisons: Sequence[Comparison]) -> Ranking | None:
    """The ranking of the methods that all sets share; None below 8 sets, or 3 methods.

    Each set counts once, by normalised cost over folds and seeds; each loss by its own rule, and
    cross-entropy also by argmax.

    Source: Demšar (2006), Statistical comparisons of classifiers over multiple data sets.
    """
    tables = [costs_by_line(comparison) for comparison in comparisons]
    lines = [line for line in tables[0] if all(line in table for table in tables)]
    control = next((line for line in lines if line == ("CrossEntropy", CONTROL)), None)
    if len(tables) < FEWEST_SETS or len(lines) < 3 or control is None:
        return None
    costs = numpy.array([[table[line] for line in lines] for table in tables])
    others = [line for line in lines if line != control]
    mine = costs[:, lines.index(control)]
    p_values = [signed_rank(costs[:, lines.index(line)] - mine) for line in others]
    return Ranking(
        lines=tuple(lines),
        ranks=stats.rankdata(costs, axis=1).mean(0),
        p_value=iman_davenport(costs),
        holm=dict(zip(others, holm(p_values), strict=True)),
        critical_distance=nemenyi(len(lines), len(tables)),
    )


def costs_by_line(comparison: Comparison) -> dict[Line, float]:
    """Normalised cost of each loss by the last of its rules, and of cross-entropy by argmax."""
    last = {result.method: result.rule for result in comparison.results}
    return {
        (result.method, result.rule): result.normalized_cost
        for result in comparison.results
        if result.rule in (last[result.method], "argmax")
    }


def iman_davenport(costs: Numbers) -> float:
    """p-value for "all k methods cost the same" on N sets, (N, k) costs.

    F = (N − 1) χ² / (N (k − 1) − χ²) is less conservative than Friedman's χ² itself.
    """
    N, k = costs.shape
    chi = float(stats.friedmanchisquare(*costs.T).statistic)
    rest = N * (k - 1) - chi
    F = (N - 1) * chi / rest if rest > 0 else inf
    return float(stats.f.sf(F, k - 1, (k - 1) * (N - 1)))


def signed_rank(differences: Numbers) -> float:
    """p-value of Wilcoxon's signed-rank test; methods that never differ have 1."""
    test: Any = stats.wilcoxon(differences) if differences.any() else None
    return 1.0 if test is None else float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = numpy.argsort(p_values)
    steps = numpy.arange(len(order), 0, -1) * numpy.asarray(p_values)[order]
    adjusted = numpy.empty(len(order))
    adjusted[order] = numpy.minimum(numpy.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def nemenyi(num_methods: int, num_sets: int) -> float:
    """The critical distance of mean ranks, q √(k (k + 1) / 6N) at 5 %.

    >>> round(nemenyi(6, 12), 2), round(nemenyi(10, 12), 2)
    (2.18, 3.91)
    """
    k = num_methods
    q = float(stats.studentized_range.ppf(0.95, k, inf)) / sqrt(2)
    return q * sqrt(k * (k + 1) / (6 * num_sets))
