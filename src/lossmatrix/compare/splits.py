# SPDX-License-Identifier: BSD-3-Clause
"""Which rows train, which stop and calibrate, which test: stored splits first, else new ones."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy
from sklearn.model_selection import (  # pyright: ignore[reportMissingTypeStubs]
    StratifiedGroupKFold,
    StratifiedKFold,
)

from lossmatrix.compare.task import Indices, Task, UserInputError, quoted

SplitKind: TypeAlias = Literal["stored parts", "stored folds", "new folds"]
FOLDS = 5  # where the data come with neither folds nor parts
HELD_OUT = 5  # one row in five of a training part stops early and tunes; all in turn calibrate


@dataclass(frozen=True)
class Split:
    """Row numbers: `fit` trains, `validation` stops early and calibrates, `test` measures.

    `others` train on the same rows with another fifth held out, where that is the tool's to choose:
    all held-out rows together are out-of-fold logits for a calibration.
    """

    seed: int
    fit: Indices
    validation: Indices
    test: Indices
    others: tuple["Split", ...] = ()


def split_kind(task: Task) -> SplitKind:
    """Where the test rows come from: one stored part, or every fold in turn."""
    if task.parts is not None:
        return "stored parts"
    return "new folds" if task.folds is None else "stored folds"


def splits(task: Task, seeds: int) -> Iterator[Split]:
    """Every split of every seed; within one seed each test row is in exactly one test part.

    Stored parts are the same for all seeds. Stored folds are seed 0; the other seeds, and all
    seeds where nothing is stored, are stratified folds shuffled by the seed. A task that has only
    scores calibrates on everything that is no test row. Rows of one group are in one part.

    A class with fewer rows than folds in a training part is never held out of it. One that a
    training part has no row of cannot be learned there; its test rows count as they are decided.

    Raises `UserInputError` where a part has no row, and where a stored split parts a group.
    """
    unseen: set[int] = set()
    for seed in range(seeds):
        for rest, validation, test in outer_splits(task, seed):
            fit, others = rest, ()
            if task.features is None:
                fit, validation = rest[:0], numpy.sort(numpy.concatenate([rest, validation]))
            elif not len(validation):
                folds = held_out_folds(task, rest, seed)
                fit, validation = rest[folds != 0], rest[folds == 0]
                others = tuple(
                    Split(seed, rest[folds != fold], rest[folds == fold], test[:0])
                    for fold in range(1, HELD_OUT)
                )
            if task.features is not None:
                unseen |= {*range(task.costs.num_classes)} - {*task.target[fit].tolist()}
            check_groups(task, fit, validation, test)
            yield Split(seed, fit, validation, test, others)
    if unseen:
        names = [task.costs.classes[number] for number in sorted(unseen)]
        warnings.warn(
            f"A training part of {task.name} has no row of class {quoted(names)}, which cannot be "
            "learned there: its test rows count as they are decided; add some, or merge it with "
            "another class.",
            stacklevel=3,
        )


def check_groups(task: Task, *parts: Indices) -> None:
    """Refuse parts that share a group."""
    if task.groups is None:
        return
    for number, part in enumerate(parts):
        for other in parts[:number]:
            if shared := len(numpy.intersect1d(task.groups[part], task.groups[other])):
                raise UserInputError(
                    f"The split of {task.name} parts {shared} groups, whose rows are then in two "
                    "of training, validation and test: keep the rows of a group together."
                )


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
        folds = stratified_folds(task, rows, count, seed)
    for fold in numpy.unique(folds):
        yield rows[folds != fold], rows[:0], rows[folds == fold]


def held_out_folds(task: Task, rest: Indices, seed: int) -> Indices:
    """A fold number for each of some training rows, −1 for what is too rare to be held out.

    That are rows of a class with fewer rows than folds, and what is of one group with them.
    """
    folds = stratified_folds(task, rest, HELD_OUT, seed)
    rare = numpy.bincount(task.target[rest])[task.target[rest]] < HELD_OUT
    if task.groups is not None:
        rare = numpy.isin(task.groups[rest], task.groups[rest][rare])
    folds[rare] = -1
    if len(numpy.unique(folds[~rare])) < HELD_OUT:
        raise UserInputError(
            f"Without the groups of classes that are too rare to be held out, {task.name} does not "
            f"fill {HELD_OUT} folds: add rows, or merge such classes."
        )
    return folds


def stratified_folds(task: Task, rows: Indices, count: int, seed: int) -> Indices:
    """A fold number (n,) for each of some rows: classes spread evenly, no group in two folds."""
    target = task.target[rows]
    if numpy.bincount(target).max() < count:
        raise UserInputError(
            f"No class has {count} rows, too few for {count} folds: add rows or merge classes."
        )
    groups = None if task.groups is None else task.groups[rows]
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    if groups is not None and (found := len(numpy.unique(groups))) < count:
        raise UserInputError(
            f"{found} groups are too few for {count} folds, which each need groups of their own: "
            "add some, or split without."
        )
    folds = numpy.empty(len(target), numpy.int64)
    splitter: Any = kind(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about rare classes, which splits() sees to
        for fold, (_, part) in enumerate(splitter.split(target, target, groups)):
            folds[part] = fold
    if len(numpy.unique(folds)) < count:  # where a group holds most rows of a class
        raise UserInputError(
            f"The groups fill only {len(numpy.unique(folds))} of {count} folds: add some, or split "
            "without."
        )
    return folds
