# SPDX-License-Identifier: BSD-3-Clause
"""The report: one HTML file with charts and an explorer that opens anywhere, without a network.

`page.html` is the document; `style.css`, plotly.js, `charts.js` and `explorer.js` are written into
it. Its content security policy names the scripts by their hashes and allows nothing else, so
nothing is loaded, and a text from data that looks like a script does not run.
"""

import os
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # pyright: ignore

from lossmatrix.compare.report.answer import answers
from lossmatrix.compare.report.charts import heat_map, predicting, rejection, reliability
from lossmatrix.compare.report.explorer import explorer_data
from lossmatrix.compare.report.ledger import View, average_costs, view
from lossmatrix.compare.results import (
    Comparison,
    Result,
    figures,
    likeliest_class,
    price,
    undertraining,
)
from lossmatrix.compare.statistics import MARGIN, RESAMPLES

HERE = Path(__file__).parent
MOST_CLASSES = 16  # a larger table of numbers becomes a picture


def write_report(comparison: Comparison, path: Path) -> None:
    """Write the report beside its name and rename it, so that no half-written file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(page(comparison), encoding="utf-8")
    unfinished.replace(path)


def page(comparison: Comparison) -> str:
    """The document that page.html makes of a comparison; every text from data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"price": price, "figures": figures, "exact": exact}
    scripts = [get_plotlyjs(), *map(packaged, ("charts.js", "explorer.js"))]
    spent, predicted = money(comparison), predictions(comparison)
    drawn = {name: chart.figure for name, chart in predicted["charts"].items()}
    return environment.get_template("page.html").render(
        comparison=comparison,
        task=comparison.task,
        warnings=undertraining(comparison),
        answers=answers(comparison),
        margin=MARGIN,
        resamples=RESAMPLES,
        versions=f"lossmatrix {version('lossmatrix')}, PyTorch {torch.__version__}",
        style=Markup(packaged("style.css")),
        scripts=list(map(Markup, scripts)),
        policy=policy(scripts),
        figures=spent["maps"] | drawn,
        **differences(comparison.results),
        **spent,
        **predicted,
    )


def differences(results: Sequence[Result]) -> dict[str, Any]:
    """The scale of the intervals in the table of results."""
    others = [result for result in results if result.verdict != "control"]
    return {
        "least": min(-2 * MARGIN, *(result.low for result in others)),
        "most": max(2 * MARGIN, *(result.high for result in others)),
    }


def money(comparison: Comparison) -> dict[str, Any]:
    """Prices, and what they came to: at the likeliest class, and at what is recommended."""
    control = next(result for result in comparison.results if result.verdict == "control")
    likeliest = likeliest_class(comparison, control)
    better = [result for result in comparison.results if result.verdict == "better"]
    best = min(better, key=lambda result: result.normalized_cost, default=control)
    views = [view(comparison, r) for r in (control if best is likeliest else likeliest, best)]
    costs = average_costs(comparison)
    large = max(costs.shape) > MOST_CLASSES
    return {
        "costs": costs,
        "top_cost": costs[costs < inf].max(),
        "forbidden": inf,
        "findings": comparison.task.costs.check() if comparison.row_costs is None else [],
        "views": views,
        "top_bill": max(view.bill.max() for view in views),
        "large": large,
        "maps": maps(comparison, views) if large else {},
    }


def maps(comparison: Comparison, views: Sequence[View]) -> dict[str, Any]:
    """Pictures of tables that are too large for numbers."""
    pictures = {"costs": heat_map(comparison, average_costs(comparison), "")}
    for number, each in enumerate(views, 1):
        pictures[f"bill-{number}"] = heat_map(comparison, each.bill, "in 1,000 decisions")
    return pictures


def predictions(comparison: Comparison) -> dict[str, Any]:
    """What needs probabilities: two charts and the explorer; nothing where a training failed."""
    models = predicting(comparison)
    if not models or models[0].verdict != "control":
        return {"explorer": None, "charts": {}}
    return {
        "explorer": explorer_data(comparison, models),
        "charts": {
            "reliability": reliability(comparison, models[0]),
            "rejection": rejection(comparison, models),
        },
    }


def policy(scripts: Sequence[str]) -> str:
    """The content security policy: these scripts, styles and drawn images, and nothing else."""
    digests = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"


def packaged(name: str) -> str:
    """The text of a file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


def exact(cost: float) -> str:
    """A cost in as few digits as say it exactly.

    >>> exact(9.0), exact(0.1)
    ('9', '0.1')
    """
    return repr(cost).removesuffix(".0")
