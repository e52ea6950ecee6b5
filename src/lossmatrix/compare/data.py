# SPDX-License-Identifier: BSD-3-Clause
"""Tasks from the user's files, or the bundled digits; what cannot be read is one sentence."""
# pandas and scikit-learn carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy
import pandas
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError, shown
from lossmatrix.costs import Dense

Content = TypeVar("Content")
Columns = Mapping[str, NDArray[Any]]


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


def table(data: Path, target: str, costs: Path) -> Task:
    """A user's own CSV table: one column of class names, every other column a feature."""
    prices = read_costs(costs)
    rows = read_table(data, text=[target])
    if target not in rows or len(rows.columns) < 2:
        raise UserInputError(
            f"{data} needs a column {target!r} of class names and columns of features: it has the "
            f"columns {shown(list(rows.columns))}."
        )
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
    features = rows.drop(columns=target)
    check_finite(features.select_dtypes("number").fillna(0).to_numpy(float), data)
    return Task(
        name=data.stem,
        title=f"{data.stem}: {target}",
        costs=prices,
        target=numpy.array([classes.index(label) for label in labels]),
        features=features,
        network="linear",
    )


def folder(path: Path, costs: Path | None = None) -> Task:
    """A folder of meta.json, cost.csv, and data.csv, data.csv.gz or arrays.npz with the same rows.

    Labels `y` are positions in the classes of meta.json. Columns or arrays `fold`, `split`,
    `weight` and `multiplicity` are bookkeeping; features are the array `X`, else the columns that
    meta.json names; arrays `logits…` and `probs…` are scores. `costs` replaces cost.csv.
    """
    meta = read(path / "meta.json", lambda file: json.loads(file.read_text(encoding="utf-8")))
    missing = [name for name in ("title", "classes", "modality") if name not in meta]
    if missing:
        raise UserInputError(f"{path / 'meta.json'} has no field {missing[0]!r}: add it.")
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
    return Task(
        name=path.resolve().name,
        title=meta["title"],
        costs=read_costs(costs, meta["classes"]),
        target=target.astype(numpy.int64),
        features=features,
        scores=scores or {},
        weight=None if weight is None else weight.astype(float),
        folds=fold,
        parts=None if split is None else name_parts(split, meta),
        network="linear" if meta["modality"] == "tabular" else "mlp",
    )


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
        name.partition("_")[2] or f"given {name}": numpy.log(array.astype(float))
        if name.startswith("probs")
        else array.astype(float)
        for name, array in columns.items()
        if name.startswith(("probs", "logits"))
    }
    if not scores:
        raise UserInputError(f"{path} has neither features nor arrays probs… or logits…: add some.")
    for array in scores.values():
        check_finite(array, path)
    return scores


def check_finite(array: Numbers, path: Path) -> None:
    """Refuse numbers that no network can read."""
    wrong = int((~numpy.isfinite(array)).any(1).sum())
    if wrong:
        raise UserInputError(
            f"{wrong} of {len(array)} rows of {path} hold NaN, infinity or the logarithm of 0: "
            "arrays are used as they are, so fill them in; only empty cells of a CSV table are "
            "replaced by the column's median."
        )


def read_costs(path: Path, classes: Sequence[str] | None = None) -> Dense:
    """The labelled costs of a CSV file, decisions in the order of the classes, others after."""
    costs = read(path, lambda file: Dense.from_csv(file, classes))
    if not set(costs.classes) <= set(costs.decisions):
        odd = sorted(set(costs.classes) - set(costs.decisions))
        raise UserInputError(
            f"{path} has no column for {shown(odd)}: every class needs a column, for deciding it."
        )
    return costs.reorder(costs.classes)


def read_table(path: Path, text: Sequence[str]) -> pandas.DataFrame:
    """A CSV table; the columns in `text` are kept as written, and only empty cells are missing."""
    kinds = dict.fromkeys(text, "str")
    rows = read(
        path,
        lambda file: pandas.read_csv(file, dtype=kinds, keep_default_na=False, na_values=[""]),
    )
    if rows.empty:
        raise UserInputError(f"The table {path} has a header but no rows: add the data.")
    return rows


def load_arrays(path: Path) -> Columns:
    """The arrays of a numpy archive by name."""
    with numpy.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def read(path: Path, reader: Callable[[Path], Content]) -> Content:
    """What `reader` makes of a file, or one sentence on why it cannot."""
    if not path.is_file():
        raise UserInputError(f"There is no file {path}: check the name.")
    try:
        return reader(path)
    except (ValueError, OSError) as error:  # what json, numpy, pandas and costs raise for bad files
        reason = " ".join(str(error).split())
        raise UserInputError(f"{path} cannot be read: {reason}") from error
