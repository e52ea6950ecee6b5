# SPDX-License-Identifier: BSD-3-Clause
"""How exact must the prices be? The range of each in which the recommendation stands."""

from dataclasses import dataclass

import numpy

from lossmatrix.compare.recommendation import recommended
from lossmatrix.compare.results import Comparison


@dataclass(frozen=True)
class Price:
    """One entry of the costs: what it says, and from where to where the recommendation stands.

    `share` is what part of the recommended method's cost comes from it: a price that is 1 % higher
    makes decisions dearer by that share of 1 %.
    """

    truth: str
    decision: str
    cost: float
    low: float
    high: float
    share: float


def prices(comparison: Comparison) -> list[Price]:
    """The prices that matter, those first that move the cost most; none where each row has its own.

    With decisions as they are, the average cost of a method is Σ_ij share_ij D_ij. It is linear in
    each price, so between two methods there is one price at which they cost the same: the
    recommendation stands on one side of it. A price that two methods pay alike has no such bound.
    """
    if comparison.row_costs is not None:
        return []
    best, others = recommended(comparison)
    table = comparison.task.costs.to_dense().double().numpy()
    finite = numpy.isfinite(table)
    low, high = numpy.full(table.shape, -numpy.inf), numpy.full(table.shape, numpy.inf)
    for other in others:
        more = best.confusion - other.confusion
        gap = other.average_cost - best.average_cost
        with numpy.errstate(divide="ignore", invalid="ignore"):
            even = table + gap / more
        high = numpy.where(more > 0, numpy.minimum(high, even), high)
        low = numpy.where(more < 0, numpy.maximum(low, even), low)
    paid = numpy.where(best.confusion > 0, best.confusion * numpy.where(finite, table, 0), 0)
    share = paid / (abs(paid).sum() or 1)
    told = finite & (numpy.isfinite(low) | numpy.isfinite(high) | (share != 0))
    rows, columns = (each.tolist() for each in numpy.nonzero(told))
    order: list[int] = numpy.argsort(-abs(share[told]), kind="stable").tolist()
    pairs: list[tuple[int, int]] = [(rows[place], columns[place]) for place in order]
    classes, decisions = comparison.task.costs.classes, comparison.task.costs.decisions
    return [
        Price(
            classes[i],
            decisions[j],
            float(table[i, j]),
            float(low[i, j]),
            float(high[i, j]),
            float(share[i, j]),
        )
        for i, j in pairs
    ]
