# SPDX-License-Identifier: BSD-3-Clause
"""The report: one HTML file with charts and an explorer that opens anywhere, without a network.

`page.html` is the document; `style.css` and `explorer.js` are written into it. Its content security
policy names the script by its hash and allows nothing else, so nothing is loaded, and a text from
data that looks like a script does not run.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any

import numpy
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lossmatrix.compare.display import (
    format_cost,
    format_difference,
    format_interval,
    format_number,
)
from lossmatrix.compare.intervals import LEAST_MARGIN, MARGIN, RESAMPLES
from lossmatrix.compare.methods import CONTROL
from lossmatrix.compare.prices import prices
from lossmatrix.compare.recommendation import recommendation, recommended
from lossmatrix.compare.report.breakdown import CostBreakdown, average_costs, breakdown
from lossmatrix.compare.report.charts import charts
from lossmatrix.compare.report.explorer import explorer_data
from lossmatrix.compare.report.svg import image
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.visible import visible
from lossmatrix.costs.io import write_atomically

HERE = Path(__file__).parent
MOST_PRICES = 20  # in the table of what they may be
MOST_LINES = 200  # in the table of what true classes cost
MOST_CLASSES = 16  # a larger table of numbers becomes a picture


def write_report(comparison: Comparison, path: Path) -> None:
    """Write the report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as draft:
        draft.write_text(page(comparison), encoding="utf-8")


def page(comparison: Comparison) -> str:
    """The document that page.html makes of a comparison.

    Every text from data is escaped, and what would act on a screen is seen, the charts included.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats: dict[str, Any] = {
        "bound": bound,
        "cost": format_cost,
        "difference": format_difference,
        "interval": format_interval,
        "exact": exact,
        "number": format_number,
        "on_scale": on_scale,
    }
    environment.filters.update(formats)
    script = packaged("explorer.js")
    models = models_with_probs(comparison)
    document = environment.get_template("page.html").render(
        comparison=comparison,
        task=comparison.task,
        sentences=recommendation(comparison),
        recommended=recommended(comparison)[0],
        prices=prices(comparison)[:MOST_PRICES],
        margin=MARGIN,
        least_margin=LEAST_MARGIN,
        resamples=RESAMPLES,
        versions=f"lossmatrix {version('lossmatrix')}, PyTorch {torch.__version__}",
        style=Markup(packaged("style.css")),
        script=Markup(script),
        policy=policy(script),
        charts=charts(comparison, models) if models else [],
        explorer=explorer_data(comparison, models) if models else None,
        **interval_scale(comparison.results),
        **cost_tables(comparison),
    )
    return visible(document)


def interval_scale(results: Sequence[Row]) -> dict[str, float]:
    """The ends of the axis that the intervals in the table of results are drawn on."""
    ends = [end for row in results for end in (row.low, row.high) if isfinite(end)]
    margin = max(row.margin for row in results)
    return {"least": min([-2 * margin, *ends]), "most": max([2 * margin, *ends])}


def on_scale(value: float, least: float, most: float) -> float:
    """A place on the axis: its end for what is infinite, 0 for what is no number."""
    return 0.0 if isnan(value) else min(max(value, least), most)


def cost_tables(comparison: Comparison) -> dict[str, Any]:
    """Costs, and which mistakes they came from: at the likeliest class, and at the cheapest.

    Tables that are too large for numbers become `maps`, costs first.
    """
    control = comparison.controls[0]
    likeliest = comparison.likeliest_class(control)
    better = [row for row in comparison.results if row.verdict == "better"]
    best = min(better, key=lambda row: row.normalized_cost, default=control)
    pair = (control if best is likeliest else likeliest, best)
    breakdowns = [breakdown(comparison, row) for row in pair]
    names, costs = comparison.task.costs, average_costs(comparison)
    large = max(costs.shape) > MOST_CLASSES
    return {
        "costs": costs,
        "top_cost": costs[costs < inf].max(),
        "forbidden": inf,
        "findings": names.check() if comparison.row_costs is None else [],
        "breakdowns": breakdowns,
        "shown": dearest_classes(breakdowns),
        "top_breakdown": max(each.table.max() for each in breakdowns),
        "large": large,
        "maps": [image(each) for each in (costs, *(each.table for each in breakdowns))]
        if large
        else [],
    }


def dearest_classes(breakdowns: Sequence[CostBreakdown]) -> list[int]:
    """The places of the classes that cost most in any of the breakdowns, in their order."""
    share = numpy.max([[truth.share for truth in each.classes] for each in breakdowns], axis=0)
    return sorted(numpy.argsort(-share, kind="stable")[:MOST_LINES].tolist())


def models_with_probs(comparison: Comparison) -> list[Row]:
    """The results with probabilities that are decided by cost, the control first, if it has some.

    One of each method: cross-entropy by its rule as the control.
    """
    controls = [control.method for control in comparison.controls]
    models = [
        row
        for row in comparison.results
        if row.probs is not None and (row.rule == CONTROL or row.method not in controls)
    ]
    models.sort(key=lambda row: row.verdict != "control")
    return models if models and models[0].verdict == "control" else []


def policy(script: str) -> str:
    """The content security policy: this script, styles and drawn images, and nothing else."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'"
    )


def packaged(name: str) -> str:
    """The text of a file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


def bound(price: float) -> str:
    """An end of a range, in four figures; what has no end is any price.

    >>> bound(12.3456), bound(-inf)
    ('12.35', 'any')
    """
    return f"{price:.4g}" if isfinite(price) else "any"


def exact(cost: float) -> str:
    """A cost in as few digits as say it exactly.

    >>> exact(9.0), exact(0.1)
    ('9', '0.1')
    """
    return repr(float(cost)).removesuffix(".0")
