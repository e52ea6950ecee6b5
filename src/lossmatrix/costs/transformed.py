# SPDX-License-Identifier: BSD-3-Clause
"""Structured matrices after a transformation: scaled, shifted by rows, extended, mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs.base import CostMatrix, RowFacts, RowMap

PREFIX = "base_"


class Wrapper(CostMatrix):
    """A matrix made from another one, whose tables it carries along."""

    def __init__(
        self, base: CostMatrix, own: Mapping[str, Tensor], decisions: Sequence[str]
    ) -> None:
        inner = {PREFIX + name: table for name, table in base.tables.items()}
        device = next((table.device for table in inner.values()), None)
        mine = {name: table.to(device) for name, table in own.items()}
        super().__init__(base.classes, decisions, inner | mine)
        self.base = base

    def with_tables(self, tables: Mapping[str, Tensor]) -> Self:
        """The same matrix on other tensors that hold the same costs."""
        clone = super().with_tables(tables)
        inner = {k.removeprefix(PREFIX): t for k, t in tables.items() if k.startswith(PREFIX)}
        clone.base = self.base.with_tables(inner)
        return clone

    @property
    def num_samples(self) -> int | None:
        """That of the matrix it was made from."""
        return self.base.num_samples

    def _settings(self) -> dict[str, object]:
        return {"base": self.base}


class Adjusted(Wrapper):
    """[factor · base − offset·1ᵀ | extra]; each of the three vectors may be absent."""

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        rows, own = self.base.row(target, sample), self._tables
        if "factor" in own:
            rows = own["factor"] * rows
        if "offset" in own:
            rows = rows - own["offset"][target].unsqueeze(-1)
        if "extra" in own:
            rows = torch.cat([rows, own["extra"][target].unsqueeze(-1)], -1)
        return rows

    def _expected(self, weights: Tensor) -> Tensor:
        costs, own = self.base.expected(weights), self._tables
        if "factor" in own:
            costs = own["factor"].to(weights.dtype) * costs
        if "offset" in own:
            costs = costs - (weights @ own["offset"].to(weights.dtype)).unsqueeze(-1)
        if "extra" in own:
            extra = weights @ own["extra"].to(weights.dtype)
            costs = torch.cat([costs, extra.unsqueeze(-1)], -1)
        return costs

    def _square(self) -> CostMatrix:
        base = self.base.square()
        own = {name: self._tables[name] for name in ("factor", "offset") if name in self._tables}
        return Adjusted(base, own, base.decisions) if own else base

    @cached_property
    def _row_facts(self) -> RowFacts:
        minimum, maximum, total, ties = self.base._row_facts
        own = {name: table.double() for name, table in self._tables.items()}
        if "factor" in own:
            minimum, maximum, total = (own["factor"] * t for t in (minimum, maximum, total))
        if "offset" in own:
            minimum, maximum = minimum - own["offset"], maximum - own["offset"]
            total = total - self.base.num_decisions * own["offset"]
        if "extra" in own:
            extra = own["extra"]
            ties = torch.where(extra < minimum, 1.0, ties + (extra == minimum))
            minimum, maximum = torch.minimum(minimum, extra), torch.maximum(maximum, extra)
            total = total + extra
        return RowFacts(minimum, maximum, total, ties)

    def _geometry(self) -> tuple[bool | None, bool | None]:
        if "offset" in self._tables:
            return None, None
        return self.base.is_symmetric, self.base.is_conditionally_negative_definite


class MappedRows(Wrapper):
    """fn applied to the rows of the base when they are asked for."""

    def __init__(self, base: CostMatrix, fn: RowMap, decisions: Sequence[str]) -> None:
        super().__init__(base, {}, decisions)
        self.fn = fn

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        rows = self.fn(self.base.row(target, sample), self.base._is_truth(target))
        return rows[..., : self.num_decisions]

    def _row_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, is_truth in self.base._row_blocks():
            mapped = self.fn(rows, is_truth)
            yield mapped[..., : self.num_decisions], is_truth[..., : self.num_decisions]

    def _square(self) -> CostMatrix:
        return MappedRows(self.base, self.fn, self.decisions[: self.num_classes])

    @property
    def _num_rows(self) -> int:
        return self.base._num_rows  # one for each sample where the base has such

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "fn": self.fn}
