# SPDX-License-Identifier: BSD-3-Clause
"""Which label stands for which row and which column of a cost matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossmatrix.costs import CostMatrix, PerExample, ZeroOne, as_costs
from lossmatrix.costs.labels import Numbered, abbreviate
from lossmatrix.losses import CostsLike

Array: TypeAlias = NDArray[Any]


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
            "has not seen: give a matrix with a row per class."
        )
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
