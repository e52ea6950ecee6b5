# SPDX-License-Identifier: BSD-3-Clause
"""A task: rows, their classes, what mistakes cost, and which rows are for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy
import pandas  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from lossmatrix.costs import CostMatrix

Numbers: TypeAlias = NDArray[numpy.float64]
Indices: TypeAlias = NDArray[numpy.int64]
Network: TypeAlias = Literal["linear", "mlp"]


class UserInputError(ValueError):
    """What the user gave cannot be used; its message is one sentence with the remedy.

    The command line prints the message and stops. Every other exception is a defect of the
    library and keeps its traceback.
    """


@dataclass(frozen=True)
class Task:
    """Everything a comparison reads.

    `features` is a table of numbers and words, missing cells allowed, or a finite array (N, p). A
    task without features brings `scores` instead: the logits (N, C) of models trained elsewhere,
    by name. `folds` (N,), or `parts` (N,) of "train", "val", "cal" and "test", are stored splits.
    `weight` (N,) is how many rows each row stands for. The first C decisions are the classes.
    """

    name: str
    title: str
    costs: CostMatrix
    target: Indices
    features: pandas.DataFrame | Numbers | None = None
    scores: Mapping[str, Numbers] = field(default_factory=dict[str, Numbers])
    weight: Numbers | None = None
    folds: Indices | None = None
    parts: NDArray[numpy.str_] | None = None
    network: Network = "mlp"

    @property
    def row_weight(self) -> Numbers:
        """The weight (N,) of every row: one where none was given."""
        return numpy.ones(len(self.target)) if self.weight is None else self.weight


def shown(names: Sequence[str], limit: int = 6) -> str:
    """Names for a message, the first few of a long list."""
    quoted = ", ".join(repr(name) for name in names[:limit])
    return quoted if len(names) <= limit else f"{quoted}, … ({len(names)} in all)"
