# SPDX-License-Identifier: BSD-3-Clause
"""Which label stands for which row and which column of a cost matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lossmatrix.costs import CostMatrix, PerExample, ZeroOne, as_costs
from lossmatrix.costs.labels import Numbered, abbreviate
from lossmatrix.losses import CostsLike

Array: TypeAlias = NDArray[Any]
CostsOfRows: TypeAlias = PerExample | ArrayLike  # (N, K), of each row's own truth, or (N, C, K)


@dataclass(frozen=True)
class Labels:
    """A cost matrix and the labels of its rows and columns.

    The matrix keeps its own order (mild, moderate, severe), and so do logits and probabilities
    that meet it; ``classes`` are sorted, as scikit-learn has them (mild, severe, … by letter).
    """

    costs: CostMatrix
    classes: Array  # (C,) sorted labels
    rows: NDArray[numpy.int64]  # (C,) the row of each of them
    decisions: tuple[object, ...]  # (K,) the label of each column, or its name where it is no class

    def target(self, y: Array) -> Tensor:
        """The row of each label, (N,) int64. Raises ValueError for an unknown label."""
        rows = dict(zip(self.classes.tolist(), self.rows.tolist(), strict=True))
        return _places(y, rows, "label")

    def decided(self, choice: Array) -> Tensor:
        """The column of each label or name, (N,) int64. Raises ValueError for an unknown one."""
        return _places(choice, {each: j for j, each in enumerate(self.decisions)}, "decision")

    def named(self, decision: Tensor) -> Array:
        """The label, or the name, of each column: of the labels' dtype where all are classes."""
        classes = set(self.classes.tolist())
        dtype = self.classes.dtype if classes.issuperset(self.decisions) else numpy.dtype(object)
        return numpy.array(self.decisions, dtype=dtype)[decision.cpu().numpy()]

    def with_costs_of_rows(self, given: CostsOfRows, count: int) -> Labels:
        """The same labels with costs of its own for each of ``count`` rows.

        Without names they have those of the matrix so far, and its shape. Raises ValueError where
        they do not fit.
        """
        if not isinstance(given, PerExample):
            given = numpy.asarray(given, float)
        found = given.num_samples if isinstance(given, PerExample) else len(given)
        if found != count:
            raise ValueError(
                f"got {count} rows, but costs of {found}: pass the costs of these rows in their "
                "order, and as an array where scikit-learn is to split them with the rows."
            )
        if isinstance(given, PerExample) and not isinstance(given.classes, Numbered):
            given.check_values()
            return _match(given, self.classes)
        table = given.tables["table"] if isinstance(given, PerExample) else torch.tensor(given)
        shape = self.costs.shape
        if table.shape[1:] not in (shape, shape[1:]):
            raise ValueError(
                f"costs of {count} rows must be of shape {(count, *shape)}, or {(count, shape[1])} "
                f"for each row's own truth alone, got {tuple(table.shape)}: give costs of one such "
                "shape for all rows too, or name the classes of a PerExample."
            )
        if self.costs.is_reordered:
            raise ValueError(
                f"the costs were written in another order than {abbreviate(self.costs.decisions)}, "
                "where decisions are brought that have the names of classes, and those of rows "
                "have no names: give lossmatrix.PerExample.matrices(costs, classes, decisions)."
            )
        make = PerExample.matrices if table.dim() == 3 else PerExample
        own = make(table, self.costs.classes, self.costs.decisions)
        own.check_values()
        return replace(self, costs=own)

    def as_in_costs(self, columns: Tensor) -> Tensor:
        """Columns (N, C) of sorted labels in the order of the matrix."""
        return columns[:, self.rows.argsort()]

    def as_in_classes(self, columns: Tensor) -> Tensor:
        """Columns (N, C) of the matrix in the order of the sorted labels."""
        return columns[:, self.rows]


def align(costs: CostsLike | None, classes: Array) -> Labels:
    """Match the names of the costs with the sorted labels; without names, by position.

    A label and a name are the same where the label prints as the name. Raises ValueError where
    they do not match one to one, and for costs per sample.
    """
    matrix = ZeroOne(len(classes)) if costs is None else as_costs(costs)
    if isinstance(matrix, PerExample):
        raise ValueError(
            f"{matrix!r} holds the costs of one batch, but a classifier needs costs for rows it "
            "has not seen: give a matrix with a row per class, and the costs of a batch to predict "
            "or to the scorer."
        )
    return _match(matrix, classes)


def _match(matrix: CostMatrix, classes: Array) -> Labels:
    """Match the names of a matrix, or its positions, with the sorted labels."""
    labels = classes.tolist()
    if matrix.num_classes != len(labels):
        raise ValueError(
            f"y has {len(labels)} classes ({abbreviate([*map(str, labels)])}), but the costs are "
            f"for {matrix.num_classes} ({abbreviate(matrix.classes)}): each class needs its row of "
            "costs, and rows of data to train on."
        )
    if isinstance(matrix.classes, Numbered):
        rows = {label: i for i, label in enumerate(labels)}
    else:
        places = {name: i for i, name in enumerate(matrix.classes)}
        odd = [str(label) for label in labels if str(label) not in places]
        if odd:
            raise ValueError(
                f"the costs have no class named {abbreviate(odd)}: they are for "
                f"{abbreviate(matrix.classes)}; name the classes of the costs like the labels of y."
            )
        rows = {label: places[str(label)] for label in labels}
    return Labels(
        matrix, classes, numpy.array([*rows.values()], numpy.int64), tuple(_decisions(matrix, rows))
    )


def by_position(costs: CostsLike | None, classes: Array) -> Labels:
    """Rows for the sorted labels in their order, as those whom labels come to as numbers have it.

    Raises ValueError where the names are those of the labels in another order.
    """
    matrix = ZeroOne(len(classes)) if costs is None else as_costs(costs)
    labels = [str(label) for label in classes.tolist()]
    names = [*matrix.classes]
    if names != labels and sorted(names) == sorted(labels):
        raise ValueError(
            f"the costs are for {abbreviate(names)} in this order, but their rows met the labels "
            f"in sorted order, {abbreviate(labels)}: train with costs.reorder([…]) in that order."
        )
    rows = {label: i for i, label in enumerate(classes.tolist())}
    return Labels(matrix, classes, numpy.arange(len(rows)), tuple(_decisions(matrix, rows)))


def _decisions(matrix: CostMatrix, rows: dict[object, int]) -> Iterable[object]:
    """The label of each column that is a class, the name of any other.

    A column is the class of its own name; columns without names are the classes in the order of
    the rows, and what comes after them.
    """
    labels = {row: label for label, row in rows.items()}
    if not isinstance(matrix.decisions, Numbered):
        labels = {
            j: labels[matrix.classes.index(name)]
            for j, name in enumerate(matrix.decisions)
            if name in matrix.classes
        }
    return (labels.get(j, name) for j, name in enumerate(matrix.decisions))


def _places(given: Array, places: dict[Any, int], what: str) -> Tensor:
    """The place of each of ``given``."""
    unknown = [each for each in dict.fromkeys(given.tolist()) if each not in places]
    if unknown:
        raise ValueError(
            f"unknown {what} {unknown[0]!r}: known are {abbreviate([*map(repr, places)])}."
        )
    return torch.tensor([places[each] for each in given.tolist()], dtype=torch.int64)
