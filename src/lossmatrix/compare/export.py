# SPDX-License-Identifier: BSD-3-Clause
"""Every number of a comparison, for programs: results.json and results.parquet."""
# pyarrow carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pyarrow
from pyarrow.parquet import ParquetWriter

from lossmatrix.compare.intervals import LEAST_MARGIN, MARGIN, RESAMPLES
from lossmatrix.compare.prices import prices
from lossmatrix.compare.recommendation import recommendation, recommended
from lossmatrix.compare.results import LONGER, Comparison, Row, in_units
from lossmatrix.compare.task import Indices, Numbers
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
    """Write a row for each decision: test row, seed, method and rule.

    The mean of the differences of `cost` between two methods, weighted by `weight`, is what the
    intervals are of, once divided by the unit in results.json; resamples draw rows (groups where
    there are some) and seeds.
    """
    about = {"task": comparison.task.name, "settings": settings(comparison), "versions": versions()}
    with write_atomically(path) as draft:
        writer: ParquetWriter | None = None
        for table in decisions(comparison):
            if writer is None:
                schema = table.schema.with_metadata({"lossmatrix": json.dumps(about)})
                writer = ParquetWriter(draft, schema, compression="zstd")
            writer.write_table(table)
        assert writer is not None  # a comparison has results
        writer.close()


def decisions(comparison: Comparison) -> Iterator[pyarrow.Table]:
    """The decisions of one method, rule and seed after the other, in the order of the test rows."""
    task = comparison.task
    costs = task.decision_costs(comparison.test_rows)
    everyone = numpy.arange(len(comparison.target))
    truth = named(comparison.target, task.costs.classes)
    for result in comparison.results:
        for seed, chosen in enumerate(result.decisions):
            split = numpy.zeros(len(everyone), numpy.int32)
            for number, fit in enumerate(result.fits):
                if fit.seed == seed:
                    split[fit.place] = number
            columns: dict[str, Any] = {
                "method": named(0 * everyone, [result.method]),
                "rule": named(0 * everyone, [result.rule]),
                "seed": numpy.full(len(everyone), seed, numpy.int32),
                "split": split,
                "row": comparison.test_rows,
                "truth": truth,
                "decision": named(chosen, task.costs.decisions),
                "cost": costs[everyone, chosen],
                "weight": comparison.weight,
            }
            if task.groups is not None:
                columns["group"] = task.groups[comparison.test_rows]
            yield pyarrow.table(columns)


def named(numbers: Indices, names: Sequence[str]) -> pyarrow.DictionaryArray:
    """Names in the place of their numbers, each stored once."""
    return pyarrow.DictionaryArray.from_arrays(numbers.astype(numpy.int32), list(names))


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
    row_costs = task.decision_costs(comparison.test_rows)
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
            "unit": comparison.constant_regret,
        },
        "settings": settings(comparison),
        "versions": versions(),
        "summary": recommendation(comparison),
        "prices": described_prices(comparison),
        "control_trained_longer": described_longer(comparison),
        "results": [
            described_row(row) | {"trainings": trainings(comparison, row, row_costs)}
            for row in comparison.results
        ],
    }


def described_prices(comparison: Comparison) -> dict[str, Any]:
    """The range of each price in which the recommended method stays the cheapest."""
    best, _ = recommended(comparison)
    return {
        "method": best.method,
        "rule": best.rule,
        "ranges": [vars(price) for price in prices(comparison)],
    }


def described_longer(comparison: Comparison) -> dict[str, Any] | None:
    """What more epochs change for the control, per decision; None where it is not asked."""
    gain = comparison.longer
    if gain is None:
        return None
    epochs = {"epochs": LONGER * comparison.schedule.epochs}
    return epochs | gain._asdict() | {"undertrained": comparison.undertrained}


def settings(comparison: Comparison) -> dict[str, Any]:
    """How the comparison was run."""
    task, schedule = comparison.task, comparison.schedule
    network = task.network if isinstance(task.network, str) else "the user's own"
    return {
        "network": network if task.features is not None else None,
        "split": comparison.split_kind,
        "groups": None if task.groups is None else len(numpy.unique(task.groups)),
        "seeds": list(range(comparison.seeds)),
        "epochs": schedule.epochs,
        "batch_size": schedule.batch_size,
        "learning_rate": schedule.learning_rate,
        "configurations": comparison.tune,
        "margin": MARGIN,
        "least_margin": LEAST_MARGIN,
        "resamples": RESAMPLES,
    }


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    return {package: version(package) for package in PACKAGES}


def described_row(row: Row) -> dict[str, Any]:
    """One row of the table."""
    names = (
        "method rule accuracy average_cost normalized_cost interval untuned_cost "
        "difference low high corrected margin verdict seconds remarks"
    )
    return {name: getattr(row, name) for name in names.split()} | {
        "confusion": row.confusion.tolist(),
        "failures": sum(fit.failed for fit in row.fits),
    }


def trainings(comparison: Comparison, row: Row, costs: Numbers) -> list[dict[str, Any]]:
    """The chosen training of every split, and what its decisions cost of `costs` (N, K)."""
    lines: list[dict[str, Any]] = []
    weight = comparison.weight
    everyone = numpy.arange(len(comparison.target))
    regret = in_units(costs - costs.min(1, keepdims=True), comparison.constant_regret)
    for number, fit in enumerate(row.fits):
        chosen = row.decisions[fit.seed]
        each = costs[everyone, chosen], regret[everyone, chosen], chosen == comparison.target
        average, normalized, accuracy = (
            float(numpy.average(values[fit.place], weights=weight[fit.place])) for values in each
        )
        lines.append(
            {
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
                "refinement": None if fit.attempt is None else asdict(fit.attempt),
            }
        )
    return lines
