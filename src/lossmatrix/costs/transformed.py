# SPDX-License-Identifier: BSD-3-Clause
"""Structured matrices after a transformation: scaled, shifted by rows, extended, saved, mapped."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs.base import CostMatrix, RowMap
from lossmatrix.costs.facts import RowFacts, magnitudes
from lossmatrix.costs.language import Load, where

PREFIX = "base_"


def adjusted(least: float, greatest: float, own: Mapping[str, Tensor]) -> tuple[float, float]:
    """Bounds of |entries| of ``Adjusted``, from those of its base."""
    if "factor" in own:
        factor = own["factor"].item()
        least, greatest = factor * least, factor * greatest
    if "offset" in own:
        greatest += magnitudes(own["offset"])[1]
    if "extra" in own:
        low, high = magnitudes(own["extra"])
        least, greatest = min(least, low), max(greatest, high)
    return least, greatest


class Wrapper(CostMatrix):
    """A matrix made from another one, whose tables it carries along.

    It states ``change``, what becomes of an entry; or its rows, where that takes a whole row.
    """

    def __init__(
        self, base: CostMatrix, own: Mapping[str, Tensor], decisions: Sequence[str]
    ) -> None:
        inner = {PREFIX + name: table for name, table in base.tables.items()}
        device = next((table.device for table in inner.values()), None)
        mine = {name: table.to(device) for name, table in own.items()}
        super().__init__(base.classes, decisions, inner | mine)
        self.base = base

    def change(self, entry: Tensor, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """What becomes of an entry of the base, in the words of ``language``."""
        raise NotImplementedError(f"{type(self).__name__} states neither change nor _row.")

    @property
    def has_change(self) -> bool:
        """Whether it is stated entry by entry."""
        return type(self).change is not Wrapper.change

    @property
    def has_entries(self) -> bool:
        """Where it is stated entry by entry, as the base is."""
        return self.has_change and self.base.has_entries

    def with_tables(self, tables: Mapping[str, Tensor]) -> Self:
        """The same matrix on other tensors that hold the same costs."""
        clone = super().with_tables(tables)
        inner = {k.removeprefix(PREFIX): t for k, t in tables.items() if k.startswith(PREFIX)}
        clone.base = self.base.with_tables(inner)
        return clone

    def of_samples(self, rows: Tensor) -> CostMatrix:
        """The same of the base's samples ``rows``; tables with a row for each follow."""
        count = self.num_samples
        if count is None:
            return self
        clone = copy.copy(self)
        clone.base = self.base.of_samples(rows)
        own = {k: t for k, t in self._tables.items() if not k.startswith(PREFIX)}
        clone._tables = {PREFIX + k: t for k, t in clone.base.tables.items()} | {
            k: t[rows] if len(t) == count else t for k, t in own.items()
        }
        for name in vars(self):  # what is cached is of all samples
            if isinstance(getattr(type(self), name, None), cached_property):
                delattr(clone, name)
        return clone

    def _moved(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> dict[str, Tensor]:
        inner = self.base._moved(device, dtype)
        return super()._moved(device, dtype) | {PREFIX + k: table for k, table in inner.items()}

    @cached_property
    def _range_fault(self) -> str:
        """That of the base, which entries are made from, or its own."""
        return self.base._range_fault or super()._range_fault

    @cached_property
    def _narrow_fault(self) -> str:
        """That of the base, which entries are made from, or its own."""
        return self.base._narrow_fault or self._range_fault

    def _magnitudes(self) -> tuple[float, float]:
        return magnitudes(*(t for k, t in self._tables.items() if not k.startswith(PREFIX)))

    @property
    def num_samples(self) -> int | None:
        """That of the matrix it was made from."""
        return self.base.num_samples

    @property
    def _num_rows(self) -> int:
        return self.base._num_rows  # one for each sample where the base has such

    def regret(self) -> CostMatrix:
        """As of any kind; ValueError for rows of samples, whose truths are not known yet."""
        self._check_truths("regret")
        return super().regret()

    def savings(self) -> CostMatrix:
        """As of any kind; ValueError for rows of samples, whose truths are not known yet."""
        self._check_truths("savings")
        return super().savings()

    def _check_truths(self, what: str) -> None:
        if self.num_samples is not None:
            raise ValueError(
                f"{what}() must know the truth of every sample, which {self!r} is told later: call "
                f"it before zero_diagonal or map_rows."
            )

    def check_values(self) -> None:
        """Refuse values of the base that are no costs."""
        self.base.check_values()

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        rows = self._number(self.base.row(target, sample))  # a base without tables has float64
        j = torch.arange(rows.shape[-1], device=target.device)
        return self.change(rows, self._number(target.unsqueeze(-1)), self._number(j), self._load)

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        if type(self).change is Wrapper.change:
            return super()._entries(i, j, sample)
        entry = self._number(self.base._entries(i, j, sample))
        return self.change(entry, self._number(i), self._number(j), self._load)

    def _settings(self) -> dict[str, object]:
        return {"base": self.base}


class Adjusted(Wrapper, transformation="adjust"):
    """[factor · base − offset·1ᵀ | extra]; each of the three vectors may be absent."""

    def change(self, entry: Tensor, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """factor · entry − offset_i."""
        if "factor" in self._tables:
            entry = load("factor") * entry
        if "offset" in self._tables:
            entry = entry - load("offset", i)
        return entry

    def _adjust(self, own: dict[str, Tensor], decisions: Sequence[str] | None = None) -> Any:
        """Two units are one."""
        if own.keys() != {"factor"}:
            return super()._adjust(own, decisions)
        mine = {k: t for k, t in self._tables.items() if not k.startswith(PREFIX)}
        scaled = {k: (t * own["factor"].to(t.device)).to(t.dtype) for k, t in mine.items()}
        return Adjusted(self.base, own | scaled, self.decisions)

    def _magnitudes(self) -> tuple[float, float]:
        return adjusted(*self.base._magnitudes(), self._tables)

    @property
    def has_change(self) -> bool:
        """An extra decision is no entry of the base."""
        return "extra" not in self._tables

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        rows = super()._row(target, sample)
        if "extra" not in self._tables:
            return rows
        return torch.cat([rows, self._extra(target, sample).unsqueeze(-1)], -1)

    def _extra(self, truth: Tensor, sample: Tensor | None) -> Tensor:
        """What the extra decision costs in each row: of a truth, or of a sample."""
        return self._tables["extra"][truth if self.num_samples is None else sample]

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        if "extra" not in self._tables:
            return super()._entries(i, j, sample)
        own = j < self.base.num_decisions
        costs = super()._entries(i, torch.where(own, j, 0), sample)
        return torch.where(own, costs, self._extra(i, sample))

    @property
    def has_product(self) -> bool:
        """That of the base."""
        return self.base.has_product

    def least(self, truth: Tensor, sample: Tensor | None = None) -> Tensor:
        """From that of the base."""
        least = self.change(self.base.least(truth, sample), truth, truth, self._load)
        if "extra" not in self._tables:
            return least
        return torch.minimum(least, self._extra(truth, sample))

    def _expected(self, weights: Tensor) -> Tensor:
        if "offset" in self._tables and self._is_small:
            return self._product(weights, False)
        costs, own = self.base.expected(weights), self._tables
        if "factor" in own:
            costs = own["factor"].to(weights.dtype) * costs
        if "offset" in own:
            costs = costs - (weights @ own["offset"].to(weights.dtype)).unsqueeze(-1)
        if "extra" in own:
            extra = weights @ own["extra"].to(weights.dtype)
            costs = torch.cat([costs, extra.unsqueeze(-1)], -1)
        return costs

    def _diagonal(self) -> Tensor | None:
        diagonal = self.base._diagonal()
        if diagonal is None:
            return None
        i = self._number(torch.arange(len(diagonal), device=diagonal.device))
        return self.change(diagonal, i, i, self._load)

    def _square(self) -> CostMatrix:
        base = self.base.square()
        own = {name: self._tables[name] for name in ("factor", "offset") if name in self._tables}
        return Adjusted(base, own, base.decisions) if own else base

    @cached_property
    def row_facts(self) -> RowFacts:
        """From those of the base."""
        minimum, _, total, ties = self.base.row_facts
        least, highest = self._row_range
        own = {name: table.double() for name, table in self._tables.items()}
        if "factor" in own:
            minimum, total = own["factor"] * minimum, own["factor"] * total
        if "offset" in own:
            minimum = minimum - own["offset"]
            total = total - self.base.num_decisions * own["offset"]
        if "extra" in own:
            extra = own["extra"]
            ties = torch.where(extra < minimum, 1.0, ties + (extra == minimum))
            total = total + extra
        return RowFacts(least, highest, total, ties)

    @cached_property
    def _row_range(self) -> tuple[Tensor, Tensor]:
        """From that of the base."""
        own = {name: table.double() for name, table in self._tables.items()}
        least, highest = self.base._row_range
        if "factor" in own:
            least, highest = own["factor"] * least, own["factor"] * highest
        if "offset" in own:
            least, highest = least - own["offset"], highest - own["offset"]
        if "extra" in own:
            least = torch.minimum(least, own["extra"])
            highest = torch.maximum(highest, own["extra"])
        return least, highest

    def _highest(self) -> Tensor:
        """From that of the base."""
        highest = self._number(self.base._highest())
        i = self._number(torch.arange(len(highest), device=highest.device))
        highest = self.change(highest, i, i, self._load)
        if "extra" not in self._tables:
            return highest
        return torch.maximum(highest, self._tables["extra"])

    def _geometry(self) -> tuple[bool | None, bool | None]:
        if "offset" in self._tables:
            return None, None
        return self.base.is_symmetric, self.base.is_conditionally_negative_definite


class Savings(Wrapper, transformation="savings"):
    """The largest cost of a row less the base; the costliest decision saves 0, and no rounding."""

    def __init__(self, base: CostMatrix) -> None:
        super().__init__(base, {"highest": base._highest()}, base.decisions)

    def _moved(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> dict[str, Tensor]:
        tables = super()._moved(device, dtype)
        if tables["highest"].dtype != self._tables["highest"].dtype:  # entries are rounded anew
            tables["highest"] = self.with_tables(tables).base._highest().to(tables["highest"])
        return tables

    def change(self, entry: Tensor, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """highest_i − entry."""
        return load("highest", i) - entry

    @property
    def has_product(self) -> bool:
        """That of the base."""
        return self.base.has_product

    def _expected(self, weights: Tensor) -> Tensor:
        if self._is_small:
            return self._product(weights, False)
        most = weights @ self._tables["highest"].to(weights.dtype)
        return most.unsqueeze(-1) - self.base.expected(weights)

    @cached_property
    def minimum(self) -> float:
        """The costliest decision saves nothing."""
        return 0.0

    @cached_property
    def maximum(self) -> float:
        """The widest row."""
        least, highest = self.base._row_range
        return (highest - least).max().item()

    def _square(self) -> CostMatrix:
        return MappedRows(self, _as_they_are, self.decisions[: self.num_classes])


class ZeroDiagonal(Wrapper, transformation="zero_diagonal"):
    """The base, and 0 for the truth itself."""

    def __init__(self, base: CostMatrix) -> None:
        super().__init__(base, {}, base.decisions)

    def change(self, entry: Tensor, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """0 where i = j."""
        return where(i == j, 0.0, entry)

    def _row_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, is_truth in self.base._row_blocks():
            yield rows.masked_fill(is_truth, 0.0), is_truth

    def _square(self) -> CostMatrix:
        return self.base.square().zero_diagonal()


class SoftTargets(Wrapper, transformation="soft_targets"):
    """softmax(−base / temperature) over each row."""

    def __init__(self, base: CostMatrix, temperature: float) -> None:
        super().__init__(base, {}, base.decisions)
        self.temperature = temperature

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        return softmax_of(self.base.row(target, sample), self.temperature)

    @cached_property
    def softmax_facts(self) -> tuple[Tensor, Tensor]:
        """Of every row the least cost m, and 1 / Σ_j exp((m − D_ij) / T): (C,) each.

        A pass over all entries, for devices on which C² exponentials take less time than finding
        out which truths a batch has.
        """
        facts: list[tuple[Tensor, Tensor]] = []
        for rows, _ in self.base._row_blocks():
            lowest = rows.amin(-1)
            sums = ((lowest.unsqueeze(-1) - rows) / self.temperature).exp().sum(-1)
            facts.append((lowest, 1.0 / sums))
        lowest, shares = zip(*facts, strict=True)
        return torch.cat(lowest), torch.cat(shares)

    def _square(self) -> CostMatrix:
        return MappedRows(self, _as_they_are, self.decisions[: self.num_classes])

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "temperature": self.temperature}


def softmax_of(rows: Tensor, temperature: float) -> Tensor:
    """softmax(−rows / temperature), of the least of each row on, which no division overflows."""
    return ((rows.amin(-1, keepdim=True) - rows) / temperature).softmax(-1)


class MappedRows(Wrapper, transformation="map_rows"):
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

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "fn": self.fn}


def _as_they_are(rows: Tensor, is_truth: Tensor) -> Tensor:
    """Rows whose last columns are left out."""
    del is_truth
    return rows
