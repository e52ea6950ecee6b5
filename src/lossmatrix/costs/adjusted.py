# SPDX-License-Identifier: BSD-3-Clause
"""Structured matrices after a transformation: scaled, shifted by rows, extended, mapped."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs.base import CostMatrix, RowFacts, RowMap

PREFIX = "base_"


class Wrapper(CostMatrix):
    """A matrix made from another one, whose tables it carries along."""

    def __init__(
        self, base: CostMatrix, decisions: Sequence[str], own: Mapping[str, Tensor]
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
        return Adjusted(base, base.decisions, own) if own else base

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

    @cached_property
    def is_symmetric(self) -> bool:
        """As the base where rows are not shifted; else every pair is compared."""
        if "offset" in self._tables:
            return super().is_symmetric
        return self.base.is_symmetric

    @cached_property
    def is_conditionally_negative_definite(self) -> bool:
        """As the base where rows are not shifted; else the eigenvalues decide."""
        if "offset" in self._tables:
            return super().is_conditionally_negative_definite
        return self.base.is_conditionally_negative_definite


class MappedRows(Wrapper):
    """fn applied to every row of the base when it is asked for."""

    def __init__(self, base: CostMatrix, fn: RowMap) -> None:
        super().__init__(base, base.decisions, {})
        self.fn = fn

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        rows = self.fn(self.base.row(target, sample), self.base.is_truth(target))
        return rows[..., : self.num_decisions]

    def _square(self) -> CostMatrix:
        square = MappedRows(self.base, self.fn)
        square._decisions = self._decisions[: self.num_classes]
        return square

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "fn": self.fn}


def check_factor(factor: float) -> float:
    """`factor`, refused unless it only changes the unit."""
    if not 0 < factor < math.inf:
        raise ValueError(f"scaled needs a positive factor, got {factor}; for gains see from_gains.")
    return factor


def abstain_costs(cost: float | Sequence[float], count: int, what: str = "class") -> Tensor:
    """The cost of abstaining for each of `count` truths."""
    costs = torch.as_tensor(cost, dtype=torch.float64)
    if costs.shape not in ((), (count,)) or not bool(costs.isfinite().all()):
        raise ValueError(
            f"with_abstain needs one finite cost, or one for each {what} ({count}), got {cost!r}."
        )
    return costs.expand(count).clone()
