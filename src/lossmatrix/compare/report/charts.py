# SPDX-License-Identifier: BSD-3-Clause
"""The charts of the report: figures that plotly.js draws, each with its numbers as a table.

Colours are names of the style sheet, var(--…), so that charts follow the light and the dark page.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import Any, TypeAlias

import numpy

from lossmatrix.compare.display import format_cost
from lossmatrix.compare.intervals import FEW_ROWS
from lossmatrix.compare.report.breakdown import Prediction, prediction
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Numbers
from lossmatrix.costs import CostMatrix

Figure: TypeAlias = dict[str, Any]

BINS = 10
CURVES = 6  # as many as there are colours to tell apart
POINTS = 200  # of one curve
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # of rows abstained on, in the table
MARKERS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


@dataclass(frozen=True)
class Chart:
    """A section of the page: a question, how to read the figure, what it shows, and its numbers.

    The numbers are a table, `head` and `rows` of cells.
    """

    id: str
    title: str
    lead: str
    sentence: str
    figure: Figure
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
    traces = [
        curve(diagonal, diagonal, "as predicted", "var(--quiet)", dash="dot")
        | {"hoverinfo": "skip"}
    ]
    for number, (rule, bins) in enumerate(binned.items()):
        bars: Figure = {
            "array": json_numbers(each.error for each in bins),
            "color": color(number),
            "thickness": 1.2,
            "width": 3,
        }
        expected, realised = [each.expected for each in bins], [each.realised for each in bins]
        traces.append(
            curve(expected, realised, rule, color(number), symbol=MARKERS[number])
            | {
                "error_y": bars,
                "customdata": [each.rows for each in bins],
                "hovertemplate": "predicted %{x:.4g}<br>realised %{y:.4g}<br>%{customdata} rows",
            }
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
        figure=figure(traces, "predicted cost of a decision", "realised cost, on average"),
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
    curves = [abstaining(known) for known in by_method.values()]
    traces: list[Figure] = []
    for number, (method, values) in enumerate(zip(by_method, curves, strict=True)):
        places = numpy.unique(numpy.linspace(0, len(values[0]) - 1, POINTS).astype(int))
        x, y, above = (each[places] for each in values)
        traces.append(
            curve(x, y, method, color(number))
            | {
                "customdata": json_numbers(above),
                "hovertemplate": "%{x:.0%} abstained<br>the rest costs %{y:.4g}"
                "<br>predicted cost at most %{customdata:.4g}",
            }
        )
    share, cost, limit = curves[0]
    flat = [float(cost[0])] * 2
    traces.append(
        curve([0, 1], flat, "abstaining at random", "var(--quiet)", dash="dot")
        | {"hoverinfo": "skip"}
    )
    places = [int(numpy.searchsorted(share, s - 1e-12)) for s in SHARES]
    places = [place for place in places if place < len(share)]
    picture = figure(traces, "share abstained", "average cost of the rest")
    picture["layout"]["xaxis"] |= {"tickformat": ".0%", "range": [0, 1]}
    picture["layout"]["yaxis"]["rangemode"] = "tozero"
    tenth = int(numpy.searchsorted(share, min(0.1, share[-1])))
    return Chart(
        id="rejection",
        title="What if hard cases went to somebody else?",
        lead="Rows with the highest predicted costs are given away first; the curve is what the "
        "others cost, without the cost of giving away.",
        sentence=f"Abstaining on the {share[tenth]:.0%} of rows with the highest predicted costs "
        f"brings the rest from {format_cost(cost[0])} to {format_cost(cost[tenth])} a decision.",
        figure=picture,
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


def heat_map(names: CostMatrix, cells: Numbers, unit: str) -> Figure:
    """A table too large for numbers: truths down, decisions across, empty where the cost is 0."""
    trace: Figure = {
        "type": "heatmap",
        "z": [json_numbers(cell or None for cell in row) for row in cells.tolist()],
        "x": [escape(name) for name in names.decisions],
        "y": [escape(name) for name in names.classes],
        "colorscale": [[step / 4, f"var(--map-{step + 1})"] for step in range(5)],
        "hovertemplate": "true %{y}<br>decided %{x}<br>%{z} " + unit + "<extra></extra>",
        "hoverongaps": False,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 1},
    }
    picture = figure([trace], "decided", "true")
    for axis in ("xaxis", "yaxis"):  # names of this many classes are for the pointer to show
        picture["layout"][axis] |= {
            "type": "category",
            "showticklabels": False,
            "ticks": "",
            "showgrid": False,
        }
    picture["layout"]["yaxis"]["autorange"] = "reversed"
    picture["layout"]["height"] = 460
    return picture


def curve(
    x: Iterable[float],
    y: Iterable[float],
    name: str,
    color: str,
    *,
    dash: str = "solid",
    symbol: str | None = None,
) -> Figure:
    """One curve, with markers where it has a symbol."""
    trace: Figure = {
        "type": "scatter",
        "mode": "lines+markers" if symbol else "lines",
        "x": json_numbers(x),
        "y": json_numbers(y),
        "name": escape(name),
        "line": {"color": color, "width": 2, "dash": dash},
    }
    return trace | ({"marker": {"symbol": symbol, "size": 8}} if symbol else {})


def figure(traces: list[Figure], x: str, y: str) -> Figure:
    """Curves on a page of which the style sheet decides the colours."""

    def axis(title: str) -> Figure:
        return {
            "title": {"text": title, "standoff": 8, "font": {"size": 13}},
            "automargin": True,
            "gridcolor": "var(--line)",
            "linecolor": "var(--line)",
            "zerolinecolor": "var(--line)",
            "fixedrange": True,
        }

    layout: Figure = {
        "xaxis": axis(x),
        "yaxis": axis(y),
        "height": 380,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "var(--ink)"},
        "hoverlabel": {"bgcolor": "var(--card)", "font": {"color": "var(--ink)"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": traces, "layout": layout}


def color(number: int) -> str:
    """A colour of the style sheet; the six are those of Okabe and Ito (2008)."""
    return f"var(--curve-{number + 1})"


def json_numbers(values: Iterable[float | None]) -> list[float | None]:
    """Numbers for JSON, in six figures; what is not finite is left out of the picture."""
    return [
        None if value is None or not isfinite(value) else float(f"{value:.6g}") for value in values
    ]


def mean(values: Numbers, weight: Numbers) -> float:
    """The weighted mean."""
    return float(values @ weight / weight.sum())
