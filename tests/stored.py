# SPDX-License-Identifier: BSD-3-Clause
"""Real data sets for tests: a folder each of meta.json, tables of costs, and a table or scores."""

import json
from pathlib import Path

import numpy

import lossmatrix as lm
from lossmatrix.compare.datasets import with_row_costs
from lossmatrix.compare.io import read_frame
from lossmatrix.compare.task import Task


def stored_task(folder: Path, costs: str = "cost.csv", *, row_costs: bool = False) -> Task:
    """The task in a folder; with `row_costs`, missing the second class costs what each row says."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    matrix = lm.Dense.from_csv(folder / costs, meta["classes"]).reorder(meta["classes"])
    if meta["modality"] == "scores":
        with numpy.load(folder / "arrays.npz") as arrays:
            target, weight, probs = arrays["y"], arrays["weight"], arrays["probs"]
        scores = {"given": numpy.log(probs)}
        return Task(folder.name, meta["title"], matrix, target, scores=scores, weight=weight)
    kinds = {feature["name"]: feature["kind"] for feature in meta["features"]}
    words = [name for name, kind in kinds.items() if kind != "numeric"]
    rows = read_frame(next(folder.glob("data.csv*")), text=words)
    missed = tuple(reversed(meta["classes"]))
    return Task(
        name=folder.name,
        title=meta["title"],
        costs=with_row_costs(matrix, {missed: rows["cost_fn"].to_numpy()} if row_costs else {}),
        target=rows["y"].to_numpy(),
        features=rows[list(kinds)],
        folds=rows["fold"].to_numpy() if "fold" in rows else None,
        parts=rows["split"].to_numpy(str) if "split" in rows else None,
        network="linear",
    )
