# SPDX-License-Identifier: BSD-3-Clause
"""Which rows train, which stop and calibrate, which test: stored splits first, else new ones."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy
from sklearn.model_selection import StratifiedKFold  # pyright: ignore[reportMissingTypeStubs]

from lossmatrix.compare.task import Indices, Task, UserInputError, quoted

SplitKind: TypeAlias = Literal["stored parts", "stored folds", "new folds"]
FOLDS = 5  # where the data come with neither folds nor parts
HELD_OUT = 5  # one row in five of a training part stops early and calibrates


@dataclass(frozen=True)
class Split:
    """Row numbers: `fit` trains, `validation` stops early and calibrates, `test` measures."""

    seed: int
    fit: Indices
    validation: Indices
    test: Indices


def split_kind(task: Task) -> SplitKind:
    """Where the test rows come from: one stored part, or every fold in turn."""
    if task.parts is not None:
        return "stored parts"
    return "new folds" if task.folds is None else "stored folds"


def splits(task: Task, seeds: int) -> Iterator[Split]:
    """Every split of every seed; within one seed each test row is in exactly one test part.

    Stored parts are the same for all seeds. Stored folds are seed 0; the other seeds, and all
    seeds where nothing is stored, are stratified folds shuffled by the seed. A task that has only
    scores calibrates on everything that is no test row.

    Raises `UserInputError` where a part, or a class of the training part, has no row.
    """
    for seed in range(seeds):
        for rest, validation, test in outer_splits(task, seed):
            fit = rest
            if task.features is None:
                fit, validation = rest[:0], numpy.union1d(rest, validation)
            elif not len(validation):
                held_out = stratified_folds(task.target[rest], HELD_OUT, seed) == 0
                fit, validation = rest[~held_out], rest[held_out]
            counts = numpy.bincount(task.target[fit], minlength=task.costs.num_classes)
            if task.features is not None and not counts.all():
                absent = [
                    name for name, n in zip(task.costs.classes, counts, strict=True) if n == 0
                ]
                raise UserInputError(
                    f"A training part of {task.name} has no row of class {quoted(absent)}: each "
                    "class needs rows to train, to calibrate and to test; add some, or merge it "
                    "with another class."
                )
            yield Split(seed, fit, validation, test)


def outer_splits(task: Task, seed: int) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Training rows, stored validation rows (often none) and test rows."""
    rows = numpy.arange(len(task.target))
    if task.parts is not None:
        train, validation, test = (
            rows[numpy.isin(task.parts, names)] for names in (["train"], ["val", "cal"], ["test"])
        )
        if not len(test) or not len(train) + (len(validation) if task.features is None else 0):
            raise UserInputError(
                f"The split of {task.name} names {quoted(sorted(set(task.parts.tolist())))}, but "
                "needs 'train' and 'test', or 'cal' and 'test' for scores of a model."
            )
        yield train, validation, test
        return
    folds = task.folds
    if folds is None or seed > 0:
        count = FOLDS if folds is None else len(numpy.unique(folds))
        folds = stratified_folds(task.target, count, seed)
    for fold in numpy.unique(folds):
        yield rows[folds != fold], rows[:0], rows[folds == fold]


def stratified_folds(target: Indices, count: int, seed: int) -> Indices:
    """A fold number (N,) for every row, each class spread evenly over the folds."""
    if numpy.bincount(target).max() < count:
        raise UserInputError(
            f"No class has {count} rows, too few for {count} folds: add rows or merge classes."
        )
    folds = numpy.empty(len(target), numpy.int64)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about rare classes, which splits() refuses
        for fold, (_, rows) in enumerate(splitter.split(target, target)):  # pyright: ignore[reportUnknownMemberType]
            folds[rows] = fold
    return folds
