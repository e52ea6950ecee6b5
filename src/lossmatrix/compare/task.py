# SPDX-License-Identifier: BSD-3-Clause
"""A task: rows, their classes, what mistakes cost, and which rows are for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy
import torch
from numpy.typing import NDArray
from torch import nn

from lossmatrix.costs import CostMatrix, PerExample

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingTypeStubs]

Numbers: TypeAlias = NDArray[numpy.float64]
Indices: TypeAlias = NDArray[numpy.int64]
Network: TypeAlias = Literal["linear", "mlp", "boosted"]
Backend: TypeAlias = Literal["loky", "ray", "dask"]
ModelFactory: TypeAlias = Callable[[], nn.Module]


class UserInputError(ValueError):
    """What the user gave cannot be used; its message is one sentence with the remedy.

    The command line prints the message and stops. Every other exception is a defect of the
    library and keeps its traceback.
    """


@dataclass(frozen=True)
class Task:
    """Everything a comparison reads.

    `features` is a table of numbers and words, missing cells allowed, or a finite array (N, p); a
    `network` that is a function makes models which read the array (N, …) as it is. A task without
    features brings `scores` instead: the logits (N, C) of models trained elsewhere, by name.
    `folds` (N,), or `parts` (N,) of "train", "val", "cal" and "test", are stored splits. Rows of
    one number in `groups` (N,) are never parted. `weight`
    (N,) is how many rows each row stands for. `costs` may be a matrix for each row
    (`PerExample.matrices`); the first C decisions are the classes.
    """

    name: str
    title: str
    costs: CostMatrix
    target: Indices
    features: pandas.DataFrame | NDArray[Any] | None = None
    scores: Mapping[str, Numbers] = field(default_factory=dict[str, Numbers])
    weight: Numbers | None = None
    folds: Indices | None = None
    parts: NDArray[numpy.str_] | None = None
    groups: Indices | None = None
    network: Network | ModelFactory = "mlp"

    @property
    def row_weight(self) -> Numbers:
        """The weight (N,) of every row: one where none was given."""
        return numpy.ones(len(self.target)) if self.weight is None else self.weight

    def decision_costs(self, rows: Indices) -> Numbers:
        """What each decision costs on some rows, whose truths are known: (n, K)."""
        truths, samples = torch.as_tensor(self.target[rows]), torch.as_tensor(rows)
        return self.costs.row(truths, samples).double().numpy()


def of_rows(costs: CostMatrix, rows: Any) -> CostMatrix:
    """The matrices of some rows where each has its own; else the one that all share."""
    if costs.num_samples is None:
        return costs
    return PerExample.matrices(costs.tables["table"][rows], costs.classes, costs.decisions)


def quoted(names: Sequence[str], limit: int = 6) -> str:
    """Names for a message, the first few of a long list."""
    text = ", ".join(repr(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text}, … ({len(names)} in all)"
