# SPDX-License-Identifier: BSD-3-Clause
"""Tasks from the user's files, or the bundled digits; what cannot be read is one sentence."""
# pandas and scikit-learn carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy
import pandas
import torch
from sklearn.datasets import load_digits

from lossmatrix.compare.io import (
    check_finite,
    log_probs,
    read_cost_csv,
    read_frame,
    to_numbers,
)
from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError, quoted
from lossmatrix.compare.visible import visible
from lossmatrix.costs import Dense, PerExample

MANY, FEW, SHARED = 10, 20, 0.5  # values of an identifier, rows of one, what part is shared


def digits() -> Task:
    """scikit-learn's 1,797 handwritten digits, read as digits of an amount to pay.

    Reading j where i is written loses |j − i|, and four times that when too much is paid (j > i).
    """
    pixels, target = cast("tuple[Numbers, Indices]", load_digits(return_X_y=True))
    written, read = numpy.indices((10, 10))
    costs = numpy.where(read > written, 4 * (read - written), written - read).astype(float)
    return Task(
        name="digits",
        title="Digits of an amount: paying too much costs four times paying too little",
        costs=Dense(costs, classes=[str(digit) for digit in range(10)]),
        target=target.astype(numpy.int64),
        features=pixels,
    )


def table(
    data: Path,
    target: str,
    costs: Path,
    row_costs: Sequence[str] = (),
    group: str | None = None,
    drop: Sequence[str] = (),
    weight: str | None = None,
) -> Task:
    """A user's own table: one column of class names, every other column a feature.

    `row_costs` are of the form TRUTH,DECISION=COLUMN: that column holds each row's own cost of
    that decision, and is no feature. Nor are `group`, which names the group of each row, `weight`,
    which says how many rows each stands for, and the columns in `drop`.
    """
    shared = read_cost_csv(costs)
    rows = read_frame(data, text=[target] if group is None else [target, group])
    own = dict(map(row_cost, row_costs))
    if odd := [name for name in drop if name not in rows or name == target]:
        raise UserInputError(
            f"There is no feature {quoted(odd)} in {data} to leave out: its columns are "
            f"{quoted(list(rows.columns))}."
        )
    named = [name for name in (group, weight) if name is not None]
    others = [target, *own.values(), *drop, *named]
    features = rows.drop(columns=others, errors="ignore")
    if target not in rows or features.empty:
        raise UserInputError(
            f"{data} needs a column {target!r} of class names and columns of features: it has the "
            f"columns {quoted(list(rows.columns))}."
        )
    positions = class_positions(rows, target, shared, data, costs)
    check_finite(features.select_dtypes("number").fillna(0).to_numpy(float), data)
    return Task(
        name=visible(data.stem),
        title=visible(f"{data.stem}: {target}"),
        costs=with_row_costs(shared, {pair: own_costs(rows, own[pair], data) for pair in own}),
        target=positions,
        features=features,
        weight=None if weight is None else weight_column(rows, weight, data),
        groups=None if group is None else group_column(rows, group, target, data),
        network="linear",
    )


def group_column(rows: pandas.DataFrame, group: str, target: str, data: Path) -> Indices:
    """A number for each group that a column names."""
    if group not in rows or group == target or rows[group].isna().any():
        raise UserInputError(
            f"Groups need a column {group!r} of {data} without empty cells, not the classes: it "
            f"has the columns {quoted(list(rows.columns))}."
        )
    return numpy.asarray(pandas.factorize(rows[group])[0], numpy.int64)


def weight_column(rows: pandas.DataFrame, weight: str, data: Path) -> Numbers:
    """How many rows each row stands for."""
    values = rows.get(weight)
    if values is None or values.dtype.kind not in "iuf" or not (values > 0).all():
        raise UserInputError(
            f"Weights need a column {weight!r} of {data} with a number above 0 in each row: it has "
            f"the columns {quoted(list(rows.columns))}."
        )
    check_finite(values.to_numpy(float)[:, None], data)
    return values.to_numpy(float)


def group_hints(task: Task) -> list[str]:
    """A sentence for each feature that looks like the name of what several rows belong to.

    That is a column of words or whole numbers with many values, most of which a few rows share. As
    an age or a count is that too, numbers have to come in runs or tell the class besides.
    """
    hints: list[str] = []
    if task.groups is not None or not isinstance(task.features, pandas.DataFrame):
        return hints
    for name in task.features:
        values = task.features[name]
        if values.dtype.kind in "fb" or values.isna().any():
            continue
        number = pandas.factorize(values)[0]
        sizes = numpy.bincount(number)
        if len(sizes) < MANY or (sizes > 1).mean() < SHARED or numpy.median(sizes) > FEW:
            continue
        runs = 1 + numpy.count_nonzero(numpy.diff(number))
        with_class = len(numpy.unique(number * (task.target.max() + 1) + task.target))
        if values.dtype.kind in "iu" and min(runs, with_class) > 1.1 * len(sizes):
            continue
        hints.append(
            f"Column {name!r} has {len(sizes)} values that a few rows share each, as an identifier "
            f"has: keep such rows together with --group {name}, or leave it out with --drop {name}."
        )
    return hints


def scores_table(
    path: Path,
    kind: Literal["probs", "logits"],
    target: str,
    costs: Path,
    group: str | None = None,
    weight: str | None = None,
) -> Task:
    """Probabilities or logits of a model trained elsewhere: a column for each class, and the truth.

    `group` names the group of each row, `weight` how many rows it stands for. Other columns play
    no part. Raises `UserInputError` where a
    class has no column, and for probabilities that are none.
    """
    shared = read_cost_csv(costs)
    rows = read_frame(path, text=[target] if group is None else [target, group])
    absent = [name for name in (target, *shared.classes) if name not in rows]
    if absent:
        raise UserInputError(
            f"{path} has no column {quoted(absent)}: it needs one for the truth, and one for each "
            f"class, named as in {costs}; it has {quoted(list(rows.columns))}."
        )
    positions = class_positions(rows, target, shared, path, costs)
    values = to_numbers(rows[list(shared.classes)])
    name = visible(path.stem)
    return Task(
        name=name,
        title=f"{name}: decisions on given {'probabilities' if kind == 'probs' else kind}",
        costs=shared,
        target=positions,
        scores={name: log_probs(values, path) if kind == "probs" else values},
        weight=None if weight is None else weight_column(rows, weight, path),
        groups=None if group is None else group_column(rows, group, target, path),
    )


def class_positions(
    rows: pandas.DataFrame, target: str, shared: Dense, data: Path, costs: Path
) -> Indices:
    """The column of class names as positions in the classes of the costs; both name the same."""
    labels = rows[target]
    if labels.isna().any():
        raise UserInputError(
            f"{int(labels.isna().sum())} of the {len(rows)} cells of column {target!r} in {data} "
            "are empty: fill them in, or delete those rows."
        )
    classes = list(shared.classes)
    number, names = pandas.factorize(labels)
    found: list[str] = sorted(names)
    without_costs = [name for name in found if name not in shared.classes]
    unseen = sorted(set(classes) - set(found))
    if without_costs or unseen:
        where, odd = ("the table", without_costs) if without_costs else ("the cost file", unseen)
        raise UserInputError(
            f"Class {quoted(odd)} is only in {where}: {costs} has {quoted(classes)}, and column "
            f"{target!r} of {data} holds {quoted(found)}; both must name the same."
        )
    place = {name: position for position, name in enumerate(classes)}
    return numpy.array([place[name] for name in names])[number]


def row_cost(text: str) -> tuple[tuple[str, str], str]:
    """TRUTH,DECISION=COLUMN, taken apart."""
    pair, _, column = text.partition("=")
    truth, _, decision = pair.partition(",")
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


def with_row_costs(shared: Dense, own: Mapping[tuple[str, str], Numbers]) -> Dense | PerExample:
    """A matrix for each row, where some entries are the row's own; one for all where none is."""
    if not own:
        return shared
    cubes = shared.to_dense().double().repeat(len(next(iter(own.values()))), 1, 1)
    for (truth, decision), costs in own.items():
        if truth not in shared.classes or decision not in shared.decisions:
            raise UserInputError(
                f"There is no class {truth!r} with a decision {decision!r}: the costs name "
                f"{quoted(shared.classes)} and {quoted(shared.decisions)}."
            )
        i, j = shared.classes.index(truth), shared.decisions.index(decision)
        cubes[:, i, j] = torch.tensor(costs)
    return PerExample.matrices(cubes, shared.classes, shared.decisions)
