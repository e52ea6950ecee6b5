# SPDX-License-Identifier: BSD-3-Clause
"""The charts of the report: what each asks, shows and says, with its numbers as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from markupsafe import Markup

from lossmatrix.compare.display import format_cost
from lossmatrix.compare.intervals import FEW_ROWS
from lossmatrix.compare.report.breakdown import Prediction, prediction
from lossmatrix.compare.report.svg import Curve, plot
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Numbers

BINS = 10
CURVES = 6  # as many as there are colours to tell apart
POINTS = 200  # of one curve
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # of rows abstained on, in the table
SPOKEN = 5  # one point in so many says its numbers to the pointer
MARKERS = ("circle", "diamond")


@dataclass(frozen=True)
class Chart:
    """A section of the page: a question, how to read the figure, what it shows, and its numbers.

    The numbers are a table, `head` and `rows` of cells.
    """

    id: str
    title: str
    lead: str
    sentence: str
    figure: Markup
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def charts(comparison: Comparison, models: Sequence[Row]) -> list[Chart]:
    """The charts of results with probabilities, of which the control is the first."""
    control = models[0]
    by_method = {row.method: prediction(comparison, row) for row in models[:CURVES]}
    by_rule = {control.rule: by_method[control.method]} | {
        row.rule: prediction(comparison, row)
        for row in comparison.results
        if (row.method, row.rule) == (control.method, "Bayes") and row.probs is not None
    }
    return [reliability(by_rule), rejection(by_method)]


def reliability(by_rule: Mapping[str, Prediction]) -> Chart:
    """Expected against realised cost of the control, after and before temperature scaling."""
    binned = {rule: calibration_bins(known) for rule, known in by_rule.items()}
    ends = [each.expected for bins in binned.values() for each in bins]
    diagonal = [min([0.0, *ends]), max([0.0, *ends])]
    curves = [Curve("as predicted", "var(--quiet)", diagonal, diagonal, dotted=True)]
    for number, ((rule, bins), marker) in enumerate(zip(binned.items(), MARKERS, strict=False)):
        curves.append(
            Curve(
                rule,
                color(number),
                [each.expected for each in bins],
                [each.realised for each in bins],
                marker=marker,
                errors=[each.error for each in bins],
                notes=[
                    f"predicted {format_cost(each.expected)}, realised "
                    f"{format_cost(each.realised)}, {each.rows:,} rows"
                    for each in bins
                ],
            )
        )
    known, bins = next(iter(by_rule.values())), next(iter(binned.values()))
    expected, realised = (
        format_cost(mean(costs, known.weight)) for costs in (known.expected, known.realised)
    )
    return Chart(
        id="reliability",
        title="Can predicted costs be believed?",
        lead="Rows sorted by what their decision was expected to cost, in groups that add up to "
        "the same. On the dotted line the predictions come true; bars are 95 % intervals.",
        sentence=f"The control predicts a cost of {expected} a decision on average, and it is "
        f"{realised}.",
        figure=plot(curves, "predicted cost of a decision", "realised cost, on average"),
        head=("Predicted", "Realised", "95 % interval", "Rows"),
        rows=tuple(
            (
                format_cost(each.expected),
                format_cost(each.realised),
                f"{format_cost(each.realised - each.error)} to "
                f"{format_cost(each.realised + each.error)}",
                f"{each.rows:,}",
            )
            for each in bins
        ),
    )


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of like predictions: the mean of these and of the costs, and 1.96 standard errors."""

    rows: int
    expected: float
    realised: float
    error: float


def calibration_bins(known: Prediction) -> list[CalibrationBin]:
    """Rows by predicted cost, in up to ten bins of which the predictions add up to the same.

    Most rows of a good model are all but free; bins of as many rows each would crowd there, and
    leave one bin for the rows that the cost comes from. Infinite costs are left out: they have no
    place on an axis.
    """
    kept = numpy.isfinite(known.expected) & numpy.isfinite(known.realised)
    known = Prediction(known.expected[kept], known.realised[kept], known.weight[kept])
    if not kept.any():
        return []
    order = known.expected.argsort(kind="stable")
    above = known.weight * (known.expected - min(0, known.expected.min()))
    shares: Numbers = above[order].cumsum() / (above.sum() or 1)
    number = numpy.minimum((BINS * shares).astype(int), BINS - 1)
    bins: list[CalibrationBin] = []
    for each in numpy.unique(number):
        rows = order[number == each]
        weight, costs = known.weight[rows], known.realised[rows]
        realised = mean(costs, weight)
        error = 1.96 * float(numpy.sqrt(weight**2 @ (costs - realised) ** 2)) / float(weight.sum())
        bins.append(CalibrationBin(len(rows), mean(known.expected[rows], weight), realised, error))
    return bins


def rejection(by_method: Mapping[str, Prediction]) -> Chart:
    """Average cost of the rows still decided, against the share given to somebody else."""
    known = [abstaining(each) for each in by_method.values()]
    curves = [
        abstaining_curve(method, color(number), *values)
        for number, (method, values) in enumerate(zip(by_method, known, strict=True))
    ]
    share, cost, limit = known[0]
    flat = [float(cost[0])] * 2
    curves.append(Curve("abstaining at random", "var(--quiet)", [0, 1], flat, dotted=True))
    places = [int(numpy.searchsorted(share, s - 1e-12)) for s in SHARES]
    places = [place for place in places if place < len(share)]
    tenth = int(numpy.searchsorted(share, min(0.1, share[-1])))
    return Chart(
        id="rejection",
        title="What if hard cases went to somebody else?",
        lead="Rows with the highest predicted costs are given away first; the curve is what the "
        "others cost, without the cost of giving away.",
        sentence=f"Abstaining on the {share[tenth]:.0%} of rows with the highest predicted costs "
        f"brings the rest from {format_cost(cost[0])} to {format_cost(cost[tenth])} a decision.",
        figure=plot(curves, "share abstained", "average cost of the rest", percent=True),
        head=("Abstained", "Average cost of the rest", "Where the predicted cost exceeds"),
        rows=tuple(
            (f"{share[place]:.0%}", format_cost(cost[place]), format_cost(limit[place]))
            for place in places
        ),
    )


def abstaining(known: Prediction) -> tuple[Numbers, Numbers, Numbers]:
    """Share abstained, average cost of the rest, and the highest predicted cost among the rest.

    Rows are given away in order of falling predicted cost, until few are left.
    """
    order = (-known.expected).argsort(kind="stable")
    kept = slice(max(1, len(order) - FEW_ROWS))
    weight, cost = known.weight[order], (known.weight * known.realised)[order]
    rest, left = weight[::-1].cumsum()[::-1], cost[::-1].cumsum()[::-1]
    return (1 - rest / rest[0])[kept], (left / rest)[kept], known.expected[order][kept]


def abstaining_curve(name: str, color: str, share: Numbers, cost: Numbers, limit: Numbers) -> Curve:
    """The curve of what `abstaining` found, of which some points say their numbers."""
    places = numpy.unique(numpy.linspace(0, len(share) - 1, POINTS).astype(int))
    x, y, above = (each[places].tolist() for each in (share, cost, limit))
    notes = [
        f"{name}: {a:.0%} abstained, the rest costs {format_cost(b)}, predicted cost at most "
        f"{format_cost(c)}"
        for a, b, c in zip(x, y, above, strict=True)
    ]
    spoken = [note if place % SPOKEN == 0 else "" for place, note in enumerate(notes)]
    return Curve(name, color, x, y, notes=spoken)


def color(number: int) -> str:
    """A colour of the style sheet; the six are those of Okabe and Ito (2008)."""
    return f"var(--curve-{number + 1})"


def mean(values: Numbers, weight: Numbers) -> float:
    """The weighted mean."""
    return float(values @ weight / weight.sum())
