# SPDX-License-Identifier: BSD-3-Clause
"""Every number of a comparison, for programs: results.json and results.parquet."""
# pandas carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import json
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pandas

from lossmatrix.compare.results import Comparison, Result, summary
from lossmatrix.compare.sets import Ranking
from lossmatrix.compare.statistics import MARGIN, RESAMPLES

PACKAGES = ("lossmatrix", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def write_results(comparison: Comparison, folder: Path) -> None:
    """Write results.json, what the table says, and results.parquet, a row for each judged run."""
    described = description(comparison)
    text = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "results.json", lambda path: path.write_text(text, encoding="utf-8"))
    table = runs(comparison)
    table.attrs = {name: described[name] for name in ("settings", "versions")}
    table.attrs["task"] = comparison.task.name
    write_whole(folder / "results.parquet", lambda path: table.to_parquet(path, index=False))


def description(comparison: Comparison) -> dict[str, Any]:
    """The task, the settings, the versions and the lines of the table."""
    task, costs = comparison.task, comparison.task.costs
    network = task.network if isinstance(task.network, str) else "the user's own"
    schedule = comparison.schedule
    return {
        "task": {
            "name": task.name,
            "title": task.title,
            "rows": len(task.target),
            "judged": comparison.num_judged,
            "classes": list(costs.classes),
            "decisions": list(costs.decisions),
            "costs": None if comparison.row_costs is not None else costs.to_dense().tolist(),  # pyright: ignore[reportUnknownMemberType]
            "constant": comparison.constant,
            "constant_cost": comparison.constant_cost,
        },
        "settings": {
            "network": network if task.features is not None else None,
            "split": comparison.split_kind,
            "seeds": list(range(comparison.seeds)),
            "epochs": schedule.epochs,
            "batch_size": schedule.batch_size,
            "learning_rate": schedule.learning_rate,
            "configurations": comparison.tune,
            "margin": MARGIN,
            "resamples": RESAMPLES,
        },
        "versions": {package: version(package) for package in PACKAGES},
        "summary": summary(comparison),
        "results": [line(result) for result in comparison.results],
    }


def line(result: Result) -> dict[str, Any]:
    """One line of the table."""
    names = (
        "method rule accuracy average_cost normalized_cost interval untuned_cost "
        "difference low high corrected verdict seconds remarks"
    )
    return {name: getattr(result, name) for name in names.split()} | {
        "confusion": result.confusion.tolist(),
        "failures": sum(run.failed for run in result.runs),
    }


def runs(comparison: Comparison) -> pandas.DataFrame:
    """One row for each training that was judged, under each rule."""
    rows: list[dict[str, Any]] = []
    weight = comparison.weight
    everyone = numpy.arange(comparison.num_judged)
    paid = comparison.task.paid(comparison.judged)
    regret = (paid - paid.min(1, keepdims=True)) / comparison.constant_regret
    for result in comparison.results:
        for number, run in enumerate(result.runs):
            chosen = result.decisions[run.seed]
            costs = paid[everyone, chosen], regret[everyone, chosen], chosen == comparison.target
            average, normalized, accuracy = (
                numpy.average(each[run.place], weights=weight[run.place]) for each in costs
            )
            rows.append(
                {
                    "method": result.method,
                    "rule": result.rule,
                    "seed": run.seed,
                    "split": number,
                    "loss": repr(run.configuration.loss),
                    "step": run.configuration.step,
                    "temperature": run.temperature,
                    "failed": run.failed,
                    "rows": len(run.place),
                    "accuracy": accuracy,
                    "average_cost": average,
                    "normalized_cost": normalized,
                    "seconds": run.seconds,
                }
            )
    return pandas.DataFrame(rows)


def write_sets(ranking: Ranking, names: Sequence[str], folder: Path) -> None:
    """Write sets.json: ranks over several sets and their tests."""
    lines = [
        {"method": line[0], "rule": line[1], "rank": rank, "holm": ranking.holm.get(line)}
        for line, rank in zip(ranking.lines, ranking.ranks.tolist(), strict=True)
    ]
    found = {
        "sets": list(names),
        "iman_davenport": ranking.p_value,
        "critical_distance": ranking.critical_distance,
        "lines": lines,
    }
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "sets.json", lambda path: path.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the name and rename, so that no half-written file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
