# SPDX-License-Identifier: BSD-3-Clause
"""Every number of a comparison, for programs: results.json and results.parquet."""
# pandas carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pandas

from lossmatrix.compare.intervals import MARGIN, RESAMPLES
from lossmatrix.compare.recommendation import recommendation
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.costs.io import write_atomically

JSON, PARQUET = "results.json", "results.parquet"
PACKAGES = ("lossmatrix", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def write_results(comparison: Comparison, folder: Path) -> None:
    """Write results.json and results.parquet."""
    write_json(comparison, folder / JSON)
    write_parquet(comparison, folder / PARQUET)


def write_json(comparison: Comparison, path: Path) -> None:
    """Write what the table says."""
    text = json.dumps(description(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    with write_atomically(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_parquet(comparison: Comparison, path: Path) -> None:
    """Write a row for each training."""
    described, table = description(comparison), trainings(comparison)
    table.attrs = {name: described[name] for name in ("settings", "versions")}
    table.attrs["task"] = comparison.task.name
    with write_atomically(path) as draft:
        table.to_parquet(draft, index=False)


def description(comparison: Comparison) -> dict[str, Any]:
    """The task, the settings, the versions and the rows of the table, ready for JSON.

    JSON has no infinity: null is a forbidden decision, what one costs, or no number at all.
    """
    return without_infinity(content(comparison))


def without_infinity(value: Any) -> Any:
    """The same with None in the place of numbers that are not finite."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: without_infinity(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [without_infinity(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def content(comparison: Comparison) -> dict[str, Any]:
    """The same in Python's numbers."""
    task, costs = comparison.task, comparison.task.costs
    network = task.network if isinstance(task.network, str) else "the user's own"
    schedule = comparison.schedule
    return {
        "task": {
            "name": task.name,
            "title": task.title,
            "rows": len(task.target),
            "judged": len(comparison.test_rows),
            "classes": list(costs.classes),
            "decisions": list(costs.decisions),
            "costs": None if comparison.row_costs is not None else costs.to_dense().tolist(),  # pyright: ignore[reportUnknownMemberType]
            "constant": comparison.constant,
            "constant_cost": comparison.constant_cost,
        },
        "settings": {
            "network": network if task.features is not None else None,
            "split": comparison.split_kind,
            "groups": None if task.groups is None else len(numpy.unique(task.groups)),
            "seeds": list(range(comparison.seeds)),
            "epochs": schedule.epochs,
            "batch_size": schedule.batch_size,
            "learning_rate": schedule.learning_rate,
            "configurations": comparison.tune,
            "margin": MARGIN,
            "resamples": RESAMPLES,
        },
        "versions": {package: version(package) for package in PACKAGES},
        "summary": recommendation(comparison),
        "results": [described_row(row) for row in comparison.results],
    }


def described_row(row: Row) -> dict[str, Any]:
    """One row of the table."""
    names = (
        "method rule accuracy average_cost normalized_cost interval untuned_cost "
        "difference low high corrected verdict seconds remarks"
    )
    return {name: getattr(row, name) for name in names.split()} | {
        "confusion": row.confusion.tolist(),
        "failures": sum(fit.failed for fit in row.fits),
    }


def trainings(comparison: Comparison) -> pandas.DataFrame:
    """One row for each training whose outcome was chosen, under each rule."""
    lines: list[dict[str, Any]] = []
    weight = comparison.weight
    everyone = numpy.arange(len(comparison.target))
    costs = comparison.task.decision_costs(comparison.test_rows)
    regret = (costs - costs.min(1, keepdims=True)) / comparison.constant_regret
    for row in comparison.results:
        for number, fit in enumerate(row.fits):
            chosen = row.decisions[fit.seed]
            each = costs[everyone, chosen], regret[everyone, chosen], chosen == comparison.target
            average, normalized, accuracy = (
                numpy.average(values[fit.place], weights=weight[fit.place]) for values in each
            )
            lines.append(
                {
                    "method": row.method,
                    "rule": row.rule,
                    "seed": fit.seed,
                    "split": number,
                    "loss": repr(fit.configuration.loss),
                    "step": fit.configuration.step,
                    "temperature": fit.temperature,
                    "failed": fit.failed,
                    "rows": len(fit.place),
                    "accuracy": accuracy,
                    "average_cost": average,
                    "normalized_cost": normalized,
                    "seconds": fit.seconds,
                }
            )
    return pandas.DataFrame(lines)
