# SPDX-License-Identifier: BSD-3-Clause
"""The report: one HTML file that opens anywhere, without scripts and without a network."""

import os
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lossmatrix.compare.results import (
    Comparison,
    Result,
    figures,
    likeliest_class,
    price,
    summary,
)
from lossmatrix.compare.statistics import MARGIN, RESAMPLES
from lossmatrix.compare.task import Numbers

MOST_CLASSES = 16  # a larger table of numbers becomes a picture, and a list of the dearest pairs
MOST_PAIRS = 12
SHADES = 20


def write_report(comparison: Comparison, path: Path) -> None:
    """Write the report beside its name and rename it, so that no half-written file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(page(comparison), encoding="utf-8")
    unfinished.replace(path)


def page(comparison: Comparison) -> str:
    """The document that report.html makes of a comparison; every text from data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"price": price, "figures": figures}
    task = comparison.task
    costs: Numbers = task.costs.to_dense().double().numpy()
    control = next(result for result in comparison.results if result.verdict == "control")
    others = [result for result in comparison.results if result is not control]
    best = min(others, key=lambda result: result.normalized_cost)
    likeliest = likeliest_class(comparison, control)
    large = max(costs.shape) > MOST_CLASSES
    bills = [(result, 1000 * result.confusion * costs) for result in (control, best)]
    return environment.get_template("report.html").render(
        comparison=comparison,
        task=task,
        sentences=summary(comparison),
        cards=[
            (likeliest, "ignores the prices"),
            (control, "the control: prices in the decision only"),
            (best, "the cheapest of the others, picked after the fact"),
        ],
        least=min(-2 * MARGIN, *(result.low for result in others)),
        most=max(2 * MARGIN, *(result.high for result in others)),
        costs=costs,
        shades=shades(costs) if large else None,
        bills=[(r, dearest(comparison, r, bill) if large else bill) for r, bill in bills],
        top=max(bill.max() for _, bill in bills),
        margin=MARGIN,
        resamples=RESAMPLES,
        versions=f"lossmatrix {version('lossmatrix')}, PyTorch {torch.__version__}",
    )


def shades(costs: Numbers) -> list[tuple[int, int, int, float]]:
    """A table too large for numbers as bars of one shade: column, row, length, shade."""
    bars: list[tuple[int, int, int, float]] = []
    for i, row in enumerate((costs / (costs.max() or 1)).tolist()):
        start = 0
        for level, run in groupby(round(SHADES * max(share, 0)) for share in row):
            length = len(list(run))
            bars.append((start, i, length, level / SHADES))
            start += length
    return bars


def dearest(
    comparison: Comparison, result: Result, bill: Numbers
) -> list[tuple[str, str, float, float]]:
    """The mistakes that cost most: truth, decision, how often in 1,000 rows, what that costs."""
    costs = comparison.task.costs
    order = numpy.argsort(-bill, axis=None)[:MOST_PAIRS]
    return [
        (
            costs.classes[i],
            costs.decisions[j],
            1000 * float(result.confusion[i, j]),
            float(bill[i, j]),
        )
        for i, j in (divmod(place, bill.shape[1]) for place in map(int, order))
    ]
