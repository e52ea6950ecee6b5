# SPDX-License-Identifier: BSD-3-Clause
"""Tasks from the user's files, or the bundled digits; what cannot be read is one sentence."""
# pandas and scikit-learn carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy
import pandas
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from lossmatrix.compare.reading import (
    Columns,
    check_finite,
    load_arrays,
    log_probs,
    numbers,
    read,
    read_costs,
    read_table,
)
from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError, shown
from lossmatrix.costs import Dense, PerExample


def digits() -> Task:
    """scikit-learn's 1,797 handwritten digits, read as digits of an amount to pay.

    Reading j where i is written loses |j − i|, and four times that when too much is paid (j > i).
    """
    pixels, target = cast("tuple[Numbers, Indices]", load_digits(return_X_y=True))
    written, paid = numpy.indices((10, 10))
    costs = numpy.where(paid > written, 4 * (paid - written), written - paid).astype(float)
    return Task(
        name="digits",
        title="Digits of an amount: paying too much costs four times paying too little",
        costs=Dense(costs, classes=[str(digit) for digit in range(10)]),
        target=target.astype(numpy.int64),
        features=pixels,
    )


def table(data: Path, target: str, costs: Path, row_costs: Sequence[str] = ()) -> Task:
    """A user's own table: one column of class names, every other column a feature.

    `row_costs` are of the form TRUTH,DECISION=COLUMN: that column holds each row's own cost of
    that decision, and is no feature.
    """
    prices = read_costs(costs)
    rows = read_table(data, text=[target])
    own = dict(map(row_cost, row_costs))
    features = rows.drop(columns=[target, *own.values()], errors="ignore")
    if target not in rows or features.empty:
        raise UserInputError(
            f"{data} needs a column {target!r} of class names and columns of features: it has the "
            f"columns {shown(list(rows.columns))}."
        )
    positions = class_positions(rows, target, prices, data, costs)
    check_finite(features.select_dtypes("number").fillna(0).to_numpy(float), data)
    return Task(
        name=data.stem,
        title=f"{data.stem}: {target}",
        costs=with_row_costs(prices, {cell: own_costs(rows, own[cell], data) for cell in own}),
        target=positions,
        features=features,
        network="linear",
    )


def scores_table(path: Path, kind: Literal["probs", "logits"], target: str, costs: Path) -> Task:
    """Probabilities or logits of a model trained elsewhere: a column for each class, and the truth.

    Other columns play no part. Raises `UserInputError` where a class has no column, and for
    probabilities that are none.
    """
    prices = read_costs(costs)
    rows = read_table(path, text=[target])
    absent = [name for name in (target, *prices.classes) if name not in rows]
    if absent:
        raise UserInputError(
            f"{path} has no column {shown(absent)}: it needs one for the truth, and one for each "
            f"class, named as in {costs}; it has {shown(list(rows.columns))}."
        )
    positions = class_positions(rows, target, prices, path, costs)
    values = numbers(rows[list(prices.classes)])
    return Task(
        name=path.stem,
        title=f"{path.stem}: decisions on given {'probabilities' if kind == 'probs' else kind}",
        costs=prices,
        target=positions,
        scores={path.stem: log_probs(values, path) if kind == "probs" else values},
    )


def class_positions(
    rows: pandas.DataFrame, target: str, prices: Dense, data: Path, costs: Path
) -> Indices:
    """The column of class names as positions in the classes of the costs; both name the same."""
    labels = rows[target]
    if labels.isna().any():
        raise UserInputError(
            f"{int(labels.isna().sum())} of the {len(rows)} cells of column {target!r} in {data} "
            "are empty: fill them in, or delete those rows."
        )
    classes = list(prices.classes)
    unpriced = sorted(set(labels) - set(classes))
    unseen = sorted(set(classes) - set(labels))
    if unpriced or unseen:
        where, names = ("the table", unpriced) if unpriced else ("the cost file", unseen)
        raise UserInputError(
            f"Class {shown(names)} is only in {where}: {costs} prices {shown(classes)}, and column "
            f"{target!r} of {data} holds {shown(sorted(set(labels)))}; both must name the same."
        )
    return numpy.array([classes.index(label) for label in labels])


def row_cost(text: str) -> tuple[tuple[str, str], str]:
    """TRUTH,DECISION=COLUMN, taken apart."""
    cell, _, column = text.partition("=")
    truth, _, decision = cell.partition(",")
    if not (truth and decision and column):
        raise UserInputError(
            f"A cost per row is given as TRUTH,DECISION=COLUMN, for example bad,good=amount: got "
            f"{text!r}."
        )
    return (truth, decision), column


def own_costs(rows: pandas.DataFrame, column: str, data: Path) -> Numbers:
    """A column of costs, one for each row."""
    costs = rows.get(column)
    if costs is None or costs.dtype.kind not in "iuf" or not numpy.isfinite(costs).all():
        raise UserInputError(
            f"Costs per row need a column {column!r} of {data} with a finite number in every row."
        )
    return costs.to_numpy(float)


def with_row_costs(prices: Dense, own: Mapping[tuple[str, str], Numbers]) -> Dense | PerExample:
    """A matrix for each row, where some entries are the row's own; one for all where none is."""
    if not own:
        return prices
    cubes = prices.to_dense().double().repeat(len(next(iter(own.values()))), 1, 1)
    for (truth, decision), costs in own.items():
        if truth not in prices.classes or decision not in prices.decisions:
            raise UserInputError(
                f"There is no class {truth!r} with a decision {decision!r}: the costs name "
                f"{shown(prices.classes)} and {shown(prices.decisions)}."
            )
        i, j = prices.classes.index(truth), prices.decisions.index(decision)
        cubes[:, i, j] = torch.tensor(costs)
    return PerExample.matrices(cubes, prices.classes, prices.decisions)


def folder(path: Path, costs: Path | None = None) -> Task:
    """A folder of meta.json, cost.csv, and data.csv, data.csv.gz or arrays.npz with the same rows.

    Labels `y` are positions in the classes of meta.json. Columns or arrays `fold`, `split`,
    `weight` and `multiplicity` are bookkeeping; features are the array `X`, else the columns that
    meta.json names; arrays `logits…` and `probs…` are scores. `costs` replaces cost.csv; without
    it, a column `cost_fn` is what missing the second of two classes costs, row by row. An
    anchors.csv in the folder or above it says what a converged logistic regression costs.
    """
    meta = read(path / "meta.json", lambda file: json.loads(file.read_text(encoding="utf-8")))
    missing = [name for name in ("title", "classes", "modality") if name not in meta]
    if missing:
        raise UserInputError(f"{path / 'meta.json'} has no field {missing[0]!r}: add it.")
    has_own_prices = costs is None
    if costs is None or (not costs.exists() and (path / costs).exists()):
        costs = path / (costs or "cost.csv")
    named: dict[str, str] = {
        feature["name"]: feature["kind"] for feature in meta.get("features", [])
    }
    columns: Columns = (
        read(path / "arrays.npz", load_arrays) if (path / "arrays.npz").exists() else {}
    )
    found = [path / name for name in ("data.csv", "data.csv.gz") if (path / name).exists()]
    if found:
        rows = read_table(
            found[0], text=[name for name, kind in named.items() if kind != "numeric"]
        )
        columns = {**columns, **{name: rows[name].to_numpy() for name in rows}}
    used = [name for name, kind in named.items() if kind != "text"] if "X" not in columns else ["X"]
    absent = [name for name in ("y", *used) if name not in columns]
    if absent:
        raise UserInputError(f"{path} has no column or array {absent[0]!r}: add it to its data.")
    if len({len(column) for column in columns.values()}) > 1:
        raise UserInputError(
            f"The arrays and columns of {path} differ in length: store equal rows."
        )
    target = columns["y"]
    if target.dtype.kind not in "iu" or not set(target) <= set(range(len(meta["classes"]))):
        raise UserInputError(
            f"The labels y of {path} must be positions in the {len(meta['classes'])} classes of "
            f"meta.json, from 0, but they are {shown(sorted(set(map(str, target))))}: number them."
        )
    features = scores = None
    if "X" in columns:
        features = columns["X"].reshape(len(target), -1).astype(float)
        check_finite(features, path)
    elif used:
        features = pandas.DataFrame({name: columns[name] for name in used})
        check_finite(features.select_dtypes("number").fillna(0).to_numpy(float), path)
    else:
        scores = read_scores(columns, path)
    weight, fold, split = (first(columns, *names) for names in BOOKKEEPING)
    prices = read_costs(costs, meta["classes"])
    own: dict[tuple[str, str], Numbers] = {}
    if "cost_fn" in columns and has_own_prices:
        own[prices.classes[1], prices.classes[0]] = columns["cost_fn"]
    return Task(
        name=path.resolve().name,
        title=meta["title"],
        costs=with_row_costs(prices, own),
        target=target.astype(numpy.int64),
        features=features,
        scores=scores or {},
        weight=None if weight is None else weight.astype(float),
        folds=fold,
        parts=None if split is None else name_parts(split, meta),
        network="linear" if meta["modality"] == "tabular" else "mlp",
        converged_cost=None if scores or own else converged_cost(path.resolve(), costs.name),
    )


def converged_cost(path: Path, costs: str) -> float | None:
    """What anchors.csv says of the Bayes decision after a converged logistic regression."""
    for place in (path / "anchors.csv", path.parent / "anchors.csv"):
        if place.exists():
            rows = read_table(place, text=["dataset", "model", "cost"])
            known = rows.set_index(["dataset", "model", "cost"])["ec_bayes"].to_dict()
            return known.get((path.name, "logistic", costs))
    return None


BOOKKEEPING = (("weight", "multiplicity"), ("fold",), ("split",))


def first(columns: Columns, *names: str) -> NDArray[Any] | None:
    """The first of the named columns that exists."""
    return next((columns[name] for name in names if name in columns), None)


def name_parts(split: NDArray[Any], meta: Mapping[str, Any]) -> NDArray[numpy.str_]:
    """The part each row belongs to; meta.json names the numbers of an array."""
    named: Any = meta.get("split")
    values: Any = named.get("values") if isinstance(named, dict) else None
    names: dict[str, str] = values if isinstance(values, dict) else {}
    return numpy.array([names.get(str(part), str(part)) for part in split])


def read_scores(columns: Columns, path: Path) -> dict[str, Numbers]:
    """Logits (N, C) by model: arrays logits… as they are, the logarithm of arrays probs…."""
    scores = {
        name.partition("_")[2] or f"given {name}": log_probs(array.astype(float), path)
        if name.startswith("probs")
        else array.astype(float)
        for name, array in columns.items()
        if name.startswith(("probs", "logits"))
    }
    if not scores:
        raise UserInputError(f"{path} has neither features nor arrays probs… or logits…: add some.")
    return scores
