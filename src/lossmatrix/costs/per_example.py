# SPDX-License-Identifier: BSD-3-Clause
"""`PerExample`: every sample has costs of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.base import CostMatrix, RowMap
from lossmatrix.costs.dense import Dense
from lossmatrix.costs.display import View, shown
from lossmatrix.costs.facts import RowFacts, facts_of, is_negative_type
from lossmatrix.costs.frames import is_frame
from lossmatrix.costs.labels import Names
from lossmatrix.costs.tables import (
    Table,
    TableCosts,
    check_values,
    name_table,
    read_costs,
    read_numbers,
    weigh_rows,
)


class PerExample(TableCosts):
    """The row of costs of each sample's own truth, (N, K) or (N, K, d1, …, dk).

    Samples are counted as in logits.movedim(1, -1).reshape(-1, C): sample n at position p is number
    n·P + p. Such rows serve losses and metrics; a decision needs to know what every truth would
    cost: `PerExample.matrices`. Raises ValueError where the names do not fit.

    Such costs come with every batch, so a floating tensor is taken as it is: neither copied nor
    read, unless its decisions are named in another order than the classes (see `Dense`). NaN and −∞
    are refused where something reads the values: `minimum`, `maximum`, `check_values`, or a loss
    that is not finite. Nor are float64 costs looked through before a loss of float32 logits rounds
    them to float32: what exceeds 3.4e38 is infinite there, and what is below 1e-45 is 0.

    >>> costs = lm.PerExample([[0, 5, 1], [2, 0, 7]])
    >>> costs.row(torch.tensor([0, 1]), torch.tensor([0, 1]))
    tensor([[0., 5., 1.],
            [2., 0., 7.]], dtype=torch.float64)
    """

    def __init__(self, rows: Table, classes: Names = None, decisions: Names = None) -> None:
        if is_frame(rows):  # its columns are decisions, and the classes
            rows, _, decisions = name_table(rows, None, decisions)
            classes = decisions if classes is None else classes
        table = read_numbers(rows) if isinstance(rows, Tensor) else read_costs(rows)
        table = table.movedim(1, -1).reshape(-1, table.shape[1])
        K = int(table.shape[1])  # torch.jit.trace has tensors for sizes
        super().__init__(table, (K if classes is None else len(classes), K), classes, decisions)

    @classmethod
    def matrices(cls, cubes: Table, classes: Names = None, decisions: Names = None) -> PerExample:
        """A whole cost matrix for each sample: (N, C, K) or (N, C, K, d1, …, dk).

        >>> costs = lm.PerExample.matrices([[[0, 1], [5, 0]]])
        >>> costs.expected(torch.tensor([[0.5, 0.5]]))
        tensor([[2.5000, 0.5000]])
        """
        table = read_numbers(cubes)
        if table.dim() < 3:
            raise ValueError(
                f"cubes must be (N, C, K) or (N, C, K, d1, …), got {tuple(table.shape)}."
            )
        table = table.movedim((1, 2), (-2, -1))
        made = cls.__new__(cls)
        C, K = map(int, table.shape[-2:])
        TableCosts.__init__(made, table.reshape(-1, C, K), (C, K), classes, decisions)
        return made

    @property
    def num_samples(self) -> int | None:
        """How many samples have costs of their own."""
        return len(self._table)

    def of_samples(self, rows: Tensor) -> PerExample:
        """The costs of some of the samples, in the order of their numbers ``rows``."""
        made = type(self).__new__(type(self))
        TableCosts.__init__(made, self._table[rows], self.shape, self.classes, self.decisions)
        return made

    def check_values(self) -> None:
        """Refuse NaN, −∞ and rows in which every decision is forbidden, with a ValueError."""
        check_values(self._table.detach())

    @cached_property
    def _range_fault(self) -> str:
        """Not looked for: it would take a visit of every batch."""
        return ""

    @cached_property
    def _extremes(self) -> tuple[float, float]:
        """The least and the greatest entry, in one visit."""
        low, high = (each.item() for each in torch.aminmax(self._table.detach()))
        if not low > -torch.inf or high == torch.inf:
            self.check_values()
        return low, high

    @property
    def minimum(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The least entry."""
        return self._extremes[0]

    @property
    def maximum(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The greatest entry."""
        return self._extremes[1]

    def _diagonal(self) -> Tensor | None:
        return None if self._rows_only else super()._diagonal()

    @property
    def _rows_only(self) -> bool:
        return self._table.dim() == 2

    @property
    def _num_rows(self) -> int:
        return self._table.shape[-2]

    @cached_property
    def row_facts(self) -> RowFacts:
        """One visit in float64."""
        ((rows, _),) = self._row_blocks()
        return facts_of(rows)

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        if sample is None:
            raise ValueError("PerExample costs belong to samples: say which, row(target, sample).")
        return self._table[sample] if self._rows_only else self._table[sample, target]

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        if sample is None:
            return self._row(i, sample)  # which says what is missing
        return self._table[sample, j] if self._rows_only else self._table[sample, i, j]

    def _row_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every row there is; where its truth is not known, no class is marked."""
        table, truth = self._table, torch.zeros((), dtype=torch.bool, device=self._device)
        if not self._rows_only:
            truth = self._is_truth(torch.arange(self.num_classes, device=self._device))
        K = self.num_decisions
        yield table.reshape(-1, K), truth.expand_as(table).reshape(-1, K)

    def _expected(self, weights: Tensor) -> Tensor:
        if self._rows_only:
            raise ValueError(
                "PerExample rows say what a sample costs under its own truth; expected costs need "
                "a matrix for each sample: PerExample.matrices."
            )
        if len(weights) != len(self._table):
            raise ValueError(
                f"got {len(weights)} rows, but PerExample costs of {len(self._table)}: pass the "
                f"costs of these rows, in their order."
            )
        table = self._table.to(weights.dtype)
        return weigh_rows(weights.unsqueeze(1), table, self.is_finite).squeeze(1)

    def map_rows(self, fn: RowMap) -> CostMatrix:
        """fn of every matrix; of rows, when `row` says their truths."""
        return CostMatrix.map_rows(self, fn) if self._rows_only else super().map_rows(fn)

    def _geometry(self) -> tuple[bool | None, bool | None]:
        table = self._table[..., : self.num_classes]
        symmetric = not self._rows_only and table.shape[-1] == self.num_classes
        symmetric = symmetric and torch.equal(table, table.mT)
        return symmetric, symmetric and self.is_finite and is_negative_type(table)

    def _settings(self) -> dict[str, object]:
        return {"samples": len(self._table)}

    def _view(self) -> View:
        if not self._rows_only:
            first = Dense(self._table[0], self.classes, self.decisions)._view()
            return replace(first, title=f"sample 0 of {len(self._table)}")
        rows, columns = shown(len(self._table)), shown(self.num_decisions)
        names = [self.decisions[j] for j in columns]
        return View([str(i) for i in rows], names, self._table[rows][:, columns], "sample")
