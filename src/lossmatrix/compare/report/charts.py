# SPDX-License-Identifier: BSD-3-Clause
"""The charts of the report: figures that plotly.js draws, each with its numbers as a table.

Colours are names of the style sheet, var(--…), so that charts follow the light and the dark page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isinf
from typing import Any, TypeAlias

import numpy

from lossmatrix.compare.methods import CONTROL
from lossmatrix.compare.report.ledger import Prediction, prediction
from lossmatrix.compare.results import Comparison, Result, price
from lossmatrix.compare.statistics import FEW_ROWS
from lossmatrix.compare.task import Numbers

Figure: TypeAlias = dict[str, Any]

GROUPS = 10
CURVES = 6  # as many as there are colours to tell apart
POINTS = 200  # of one curve
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # of rows abstained on, in the table
MARKERS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


@dataclass(frozen=True)
class Chart:
    """A figure, what it shows in one sentence, and its numbers: a head and rows of cells."""

    figure: Figure
    sentence: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def predicting(comparison: Comparison) -> list[Result]:
    """The calibrated results with probabilities, the control first."""
    found = [r for r in comparison.results if r.rule == CONTROL and r.probs is not None]
    return sorted(found, key=lambda result: result.verdict != "control")


def reliability(comparison: Comparison, control: Result) -> Chart:
    """Predicted against realised cost of the control, before and after temperature scaling."""
    raw = [
        result
        for result in comparison.results
        if (result.method, result.rule) == (control.method, "Bayes") and result.probs is not None
    ]
    series = [(result.rule, groups(prediction(comparison, result))) for result in (control, *raw)]
    ends = [x for _, found in series for x in (found[0].expected, found[-1].expected)]
    line_of_truth = [min(0.0, *ends), max(ends)]
    traces = [
        curve(line_of_truth, line_of_truth, "as predicted", "var(--quiet)", dash="dot")
        | {"hoverinfo": "skip"}
    ]
    for number, (name, found) in enumerate(series):
        bars: Figure = {
            "array": listed(group.error for group in found),
            "color": color(number),
            "thickness": 1.2,
            "width": 3,
        }
        expected, paid = ([group.expected for group in found], [group.paid for group in found])
        traces.append(
            curve(expected, paid, name, color(number), symbol=MARKERS[number])
            | {
                "error_y": bars,
                "customdata": [group.rows for group in found],
                "hovertemplate": "predicted %{x:.4g}<br>paid %{y:.4g}<br>%{customdata} rows",
            }
        )
    known = prediction(comparison, control)
    expected, paid = (price(mean(cost, known.weight)) for cost in (known.expected, known.paid))
    return Chart(
        figure(traces, "predicted cost of a decision", "cost paid, on average"),
        f"The control predicts {expected} a decision on average, and {paid} is paid.",
        ("Predicted", "Paid", "95 % interval", "Rows"),
        tuple(
            (
                price(group.expected),
                price(group.paid),
                f"{price(group.paid - group.error)} to {price(group.paid + group.error)}",
                f"{group.rows:,}",
            )
            for group in series[0][1]
        ),
    )


@dataclass(frozen=True)
class Group:
    """Rows of like predictions: the mean of these, what was paid, and 1.96 standard errors."""

    rows: int
    expected: float
    paid: float
    error: float


def groups(known: Prediction) -> list[Group]:
    """Rows by predicted cost, in up to ten groups of which the predictions add up to the same.

    Most rows of a good model are all but free; groups of as many rows each would crowd there, and
    leave one group for the rows that the money goes to.
    """
    order = known.expected.argsort(kind="stable")
    dues = known.weight * (known.expected - min(0, known.expected.min()))
    shares: Numbers = dues[order].cumsum() / (dues.sum() or 1)
    number = numpy.minimum((GROUPS * shares).astype(int), GROUPS - 1)
    found: list[Group] = []
    for each in numpy.unique(number):
        rows = order[number == each]
        weight, cost = known.weight[rows], known.paid[rows]
        paid = mean(cost, weight)
        error = 1.96 * float(numpy.sqrt(weight**2 @ (cost - paid) ** 2)) / float(weight.sum())
        found.append(Group(len(rows), mean(known.expected[rows], weight), paid, error))
    return found


def rejection(comparison: Comparison, models: Sequence[Result]) -> Chart:
    """Average cost of the rows still decided, against the share given to somebody else."""
    traces: list[Figure] = []
    for number, result in enumerate(models[:CURVES]):
        share, cost, limit = abstaining(prediction(comparison, result))
        places = numpy.unique(numpy.linspace(0, len(share) - 1, POINTS).astype(int))
        x, y, above = (values[places] for values in (share, cost, limit))
        traces.append(
            curve(x, y, result.method, color(number))
            | {
                "customdata": listed(above),
                "hovertemplate": "%{x:.0%} abstained<br>the rest costs %{y:.4g}"
                "<br>predicted cost at most %{customdata:.4g}",
            }
        )
    share, cost, limit = abstaining(prediction(comparison, models[0]))
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
        picture,
        f"Abstaining on the {share[tenth]:.0%} of rows with the dearest predictions brings the "
        f"rest from {price(float(cost[0]))} to {price(float(cost[tenth]))} a decision.",
        ("Abstained", "Average cost of the rest", "Where the predicted cost exceeds"),
        tuple((f"{share[p]:.0%}", price(float(cost[p])), price(float(limit[p]))) for p in places),
    )


def abstaining(known: Prediction) -> tuple[Numbers, Numbers, Numbers]:
    """Share abstained, average cost of the rest, and the dearest prediction among the rest.

    Rows are given away in order of falling predicted cost, until few are left.
    """
    order = (-known.expected).argsort(kind="stable")
    kept = slice(max(1, len(order) - FEW_ROWS))
    weight, cost = known.weight[order], (known.weight * known.paid)[order]
    rest, left = weight[::-1].cumsum()[::-1], cost[::-1].cumsum()[::-1]
    return (1 - rest / rest[0])[kept], (left / rest)[kept], known.expected[order][kept]


def heat_map(comparison: Comparison, cells: Numbers, unit: str) -> Figure:
    """A table too large for numbers: truths down, decisions across, empty where nothing is paid."""
    names = comparison.task.costs
    trace: Figure = {
        "type": "heatmap",
        "z": [listed(cell or None for cell in row) for row in cells.tolist()],
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
        "x": listed(x),
        "y": listed(y),
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


def listed(values: Iterable[float | None]) -> list[float | None]:
    """Numbers for JSON, in six figures; what is infinite is left out of the picture."""
    return [None if value is None or isinf(value) else float(f"{value:.6g}") for value in values]


def mean(values: Numbers, weight: Numbers) -> float:
    """The weighted mean."""
    return float(values @ weight / weight.sum())
