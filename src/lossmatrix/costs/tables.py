# SPDX-License-Identifier: BSD-3-Clause
"""Costs that are written out in one tensor, and how such a tensor is read and multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs.base import CostMatrix, RowMap, widened
from lossmatrix.costs.facts import magnitudes, misfit
from lossmatrix.costs.frames import Frame, Named, is_frame, read_frame
from lossmatrix.costs.io import RowMeaning, meaning_of_rows
from lossmatrix.costs.labels import Names, abbreviate, pair_labels
from lossmatrix.costs.transformed import adjusted, softmax_of
from lossmatrix.tensors import exporting, traced

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_SPREAD = 2.0**-40  # of costs that differ by more than float64 has rounded them

Table: TypeAlias = "Tensor | Sequence[Sequence[float]] | NDArray[np.floating | np.integer] | Frame"


def name_table(
    table: Table, rows: Names, columns: Names, meaning: RowMeaning = "truth"
) -> tuple[Table, Names, Names]:
    """A table, and the names of its rows and columns: those given, or those of a frame.

    Raises ValueError where a frame calls its rows something else than what they mean here.
    """
    if not is_frame(table):
        return table, rows, columns
    found = read_frame(table)
    check_meaning(found, meaning)
    for mine, its in ((rows, found.rows), (columns, found.columns)):
        if mine is not None and its is not None and list(mine) != its:
            raise ValueError(
                f"the frame has names of its own ({abbreviate([*map(str, its)])}): leave out those "
                f"given, or pass frame.to_numpy(); from_dataframe takes the order wanted."
            )
    return found.numbers, rows or found.rows, columns or found.columns


def check_meaning(frame: Named, meaning: RowMeaning = "truth") -> None:
    """Refuse a frame that says its rows are decisions where they are truths, or vice versa."""
    rows, columns = map(meaning_of_rows, (frame.row_meaning, frame.column_meaning))
    other = "predicted" if meaning == "truth" else "truth"
    if rows == other or columns == meaning:
        call = "Dense.from_predicted_rows" if meaning == "truth" else "Dense"
        raise ValueError(
            f"the rows are named {frame.row_meaning!r} and the columns {frame.column_meaning!r}: "
            f"rows must be {'truths' if meaning == 'truth' else 'decisions'}; pass frame.T, or use "
            f"{call}."
        )


def read_costs(table: Table) -> Tensor:
    """A copy of `table` in float32 or float64, free of NaN and −∞."""
    given = read_numbers(table)
    check_values(given)
    return given.clone(memory_format=torch.contiguous_format)


def read_numbers(table: Table) -> Tensor:
    """`table` in float32 or float64: itself where it is such a tensor, unread and not copied."""
    if is_frame(table):
        raise ValueError("these numbers cannot keep the names of a frame: pass frame.to_numpy().")
    try:
        # A list of numbers is exact in float64; a tensor or an array says its own precision.
        dtype = torch.float64 if isinstance(table, Sequence) else None
        given = table if isinstance(table, Tensor) else torch.tensor(table, dtype=dtype)
    except OverflowError as error:
        raise ValueError(f"costs must be numbers up to 1e308: {error}; choose a unit.") from error
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(table, type):
            raise TypeError(f"{table.__name__} is a class: write {table.__name__}(…).") from error
        raise ValueError(f"costs must be rows of numbers, all of one length: {error}.") from error
    given = widened(given)
    if given.dtype not in (torch.float32, torch.float64):
        given = given.double()
    if given.dim() < 2 or given.numel() == 0:
        raise ValueError(f"costs must be a table with entries, got shape {tuple(given.shape)}.")
    return given


def check_values(table: Tensor) -> None:
    """Refuse a table with NaN, −∞ or a row in which every decision is forbidden."""
    if exporting():
        raise ValueError(
            "a table of costs is read when its matrix is made, and a program that is exported has "
            "no numbers yet: make the matrix before, in __init__ of the module."
        )
    if bool((table.isnan() | (table == -torch.inf)).any()):
        raise ValueError("costs must be numbers, or inf for a forbidden decision: got NaN or -inf.")
    if bool(table.isinf().all(-1).any()):
        raise ValueError("every decision is forbidden (infinite) in some row of costs.")


def weigh_rows(weights: Tensor, table: Tensor, is_finite: bool) -> Tensor:
    """weights @ table, where a forbidden decision counts if its truth has weight: 0 · inf is 0."""
    if is_finite:
        return weights @ table
    forbidden = table.isinf().to(weights.dtype)
    infinite = (weights > 0).to(weights.dtype) @ forbidden > 0
    negative = (weights < 0).to(weights.dtype) @ forbidden > 0
    costs = weights @ table.where(table.isfinite(), 0)
    return costs.masked_fill(infinite, torch.inf) - torch.where(negative, torch.inf, 0.0)


class TableCosts(CostMatrix):
    """Costs as one tensor (…, K), which every transformation writes out again."""

    def __init__(self, table: Tensor, size: tuple[int, int], classes: Names, decisions: Names):
        rows, columns, order = pair_labels(*size, classes, decisions)
        if order is not None:
            table = table.index_select(-1, torch.tensor(order, device=table.device))
        super().__init__(rows, columns, {"table": table})
        self.is_reordered = order is not None

    @property
    def _table(self) -> Tensor:
        return self._tables["table"]

    def _made(self, table: Tensor, decisions: Sequence[str]) -> Self:
        """The kind of self on a table made from its own: nothing to check."""
        made = type(self).__new__(type(self))
        CostMatrix.__init__(made, self.classes, decisions, {"table": table})
        made.is_reordered = self.is_reordered
        return made

    def _adjust(self, own: dict[str, Tensor], decisions: Sequence[str] | None = None) -> Self:
        table, rows = self._table, self._table.shape[:-1]
        if table.dtype == torch.float32 and self._outgrows(own):
            table = table.double()
        own = {name: vector.to(table) for name, vector in own.items()}
        if "factor" in own:
            table = table * own["factor"]
        if "offset" in own:
            table = table - own["offset"].reshape(*rows, 1)
        if "extra" in own:
            table = torch.cat([table, own["extra"].unsqueeze(-1).expand(*rows, 1)], -1)
        return self._made(table, decisions or self.decisions)

    def _outgrows(self, own: dict[str, Tensor]) -> bool:
        """Whether float32 cannot hold what vectors make of its numbers; samples' are not read."""
        if traced():
            return False
        sizes = self._magnitudes() if self.num_samples is None else (1.0, 1.0)
        seen = {n: v for n, v in own.items() if v.is_cpu or self.num_samples is None}
        return any(misfit(*each) for each in (magnitudes(*seen.values()), adjusted(*sizes, seen)))

    @cached_property
    def _range_fault(self) -> str:
        """Rows, too, whose costs differ by less than float32 tells apart beside their size."""
        fault, table = super()._range_fault, self._table
        if fault or table.dtype == torch.float32 or table.is_meta:
            return fault
        table = table.detach()
        low, high = table.amin(-1), table.where(table.isfinite(), -torch.inf).amax(-1)
        spread, kept = high - low, high.float().double() - low.float().double()
        lost = ((kept - spread).abs() > spread / 2) & (spread > LEAST_SPREAD * high.abs())
        if not bool(lost.any()):
            return ""
        i = int(lost.int().argmax())
        return (
            f"the costs of a row of {high[i].item():.9g} differ by {spread[i].item():.3g} at most, "
            "which its 24 bits do not tell apart: take the least off each row with costs.regret()"
        )

    def _square(self) -> Self:
        C = self.num_classes
        return self._made(self._table[..., :C], self.decisions[:C])

    def map_rows(self, fn: RowMap) -> CostMatrix:
        """fn(rows (…, K), is_truth (…, K)) of the whole table, computed once."""
        truth = self._is_truth(torch.arange(self.num_classes, device=self._device))
        return self._made(fn(self._table, truth.expand_as(self._table)), self.decisions)

    def savings(self) -> CostMatrix:
        """max_k D[i, k] − D[i, j] of the whole table, computed once."""
        if not self.is_finite:
            return super().savings()
        return self._made(self._table.amax(-1, keepdim=True) - self._table, self.decisions)

    def zero_diagonal(self) -> CostMatrix:
        """The table itself where its diagonal is 0, else one with a diagonal of 0, written once."""
        self._check_pairs()
        if self._diagonal() is None or super().zero_diagonal() is self:
            return super().zero_diagonal()
        truth = self._is_truth(torch.arange(self.num_classes, device=self._device))
        return self._made(self._table.masked_fill(truth, 0.0), self.decisions)

    def _diagonal(self) -> Tensor | None:
        return self._table.diagonal(dim1=-2, dim2=-1)

    def _soft_targets(self, temperature: float) -> CostMatrix:
        """Of the whole table, computed once."""
        made = self._made(softmax_of(self._table, temperature), self.decisions)
        made._range_fault = ""  # shares that vanish in float32 are as good as 0
        return made

    if TYPE_CHECKING:  # what is written out stays of its kind

        def scaled(self, factor: float) -> Self: ...  # noqa: D102
        def regret(self) -> Self: ...  # noqa: D102
        def with_abstain(  # noqa: D102
            self, cost: float | Sequence[float], name: str = "abstain"
        ) -> Self: ...
        def square(self) -> Self: ...  # noqa: D102
