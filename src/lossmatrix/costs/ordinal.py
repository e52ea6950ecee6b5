# SPDX-License-Identifier: BSD-3-Clause
"""`Ordinal`: classes on a line; a mistake costs a power of its distance."""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.base import BLOCK_ENTRIES, CostMatrix
from lossmatrix.costs.facts import RowFacts
from lossmatrix.costs.labels import make_labels
from lossmatrix.costs.language import Load, power
from lossmatrix.costs.sums import distances_before


class Ordinal(CostMatrix):
    """D[i, j] = |x_i − x_j|^power for positions x (0, 1, … unless given), in any order.

    expected is O(C) for power 1 and 2, by sums of positive terms from both ends; any other power
    goes through blocks of rows, O(C²). Raises ValueError for a power that is not positive, for
    positions that are not one finite number per class and for distances whose power is infinite.

    Only distances matter, so positions far from 0 (years, timestamps) are kept in float32 less the
    one nearest to 0. Where float32 still rounds the distance of two neighbours by more than half of
    it, `to` and `Criterion` raise ValueError.

    >>> lm.Ordinal(["mild", "moderate", "severe"], power=2).expected(torch.tensor([0.5, 0.5, 0.0]))
    tensor([0.5000, 0.5000, 2.5000])
    >>> lm.Ordinal(3, positions=[0, 10, 2.5]).entry(1, 2)
    7.5
    """

    def __init__(
        self,
        classes: int | Sequence[str],
        power: float = 1,
        positions: Sequence[float] | Tensor | None = None,
    ) -> None:
        names = make_labels(classes, "class")
        if not 0 < power < math.inf:
            raise ValueError(f"power must be a positive number, got {power}.")
        given = range(len(names)) if positions is None else positions
        x = torch.as_tensor(given, dtype=torch.float64).detach().clone()
        if x.shape != (len(names),) or not bool(x.isfinite().all()):
            raise ValueError(
                f"positions must be one finite number for each of {len(names)} classes, got shape "
                f"{tuple(x.shape)}{'' if x.isfinite().all() else ' with values that are not'}."
            )
        if not bool(((x.max() - x.min()) ** power).isfinite()):
            raise ValueError(
                f"distances up to {(x.max() - x.min()).item():.3g} to the power {power:g} are "
                f"infinite: give positions nearer together, or a smaller power."
            )
        tables = {"positions": x}
        if bool((x.diff() < 0).any()):
            order = x.argsort(stable=True)
            tables |= {"order": order, "rank": order.argsort()}
        super().__init__(names, names, tables)
        self.power = power
        self._is_counted = positions is None  # then a position is the number of its class

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """|x_i − x_j|^power; a table that is not read leaves the caches to the logits."""
        here, there = (i, j) if self._is_counted else (load("positions", i), load("positions", j))
        distance = abs(here - there)
        if self.power in (1, 2):
            return distance if self.power == 1 else distance * distance
        return power(distance, self.power)

    @property
    def has_product(self) -> bool:
        """By sums from both ends, for powers 1 and 2."""
        return self.power in (1, 2)

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        if self.power not in (1, 2):
            return super()._product(weights, transposed)
        x, order = self._tables["positions"], self._tables.get("order")
        if order is not None:
            x, weights = x[order], weights.index_select(-1, order)
        gaps, whole = x.diff().to(weights.dtype), int(self.power)
        flat = weights.reshape(-1, self.num_classes)
        costs = torch.empty_like(flat)
        # Few rows at a time: for a million classes the sums on the way would take gigabytes.
        step = max(1, BLOCK_ENTRIES // self.num_classes)
        for start in range(0, len(flat), step):
            part = flat[start : start + step]
            after = distances_before(part.flip(-1), gaps.flip(-1), whole).flip(-1)
            costs[start : start + step] = distances_before(part, gaps, whole) + after
        costs = costs.reshape(weights.shape)
        return costs if order is None else costs.index_select(-1, self._tables["rank"])

    @cached_property
    def row_facts(self) -> RowFacts:
        """Ties are equal positions; totals take all entries, unless positions are even."""
        x = self._tables["positions"].double()
        line = x.sort().values
        first = torch.searchsorted(line, x)
        ties = torch.searchsorted(line, x, right=True) - first
        gaps = line.diff()
        if (
            self.power not in (1, 2)
            and len(x) > 1
            and bool((gaps == gaps[0]).all() & (gaps[0] > 0))
        ):
            upto = (torch.arange(len(x), device=x.device) * gaps[0]).pow(self.power).cumsum(0)
            total = upto[first] + upto[len(x) - 1 - first]
        else:
            total = self.to(dtype=torch.float64).expected(torch.ones_like(x))
        return RowFacts(*self._row_range, total, ties.double())

    @cached_property
    def _row_range(self) -> tuple[Tensor, Tensor]:
        """The truth itself, and the farthest position."""
        x = self._tables["positions"].double()
        return torch.zeros_like(x), torch.maximum(x - x.min(), x.max() - x) ** self.power

    def _highest(self) -> Tensor:
        """The farther end of the line."""
        x = self._tables["positions"]
        i = self._number(torch.arange(len(x), device=x.device))
        ends = (self.formula(i, self._number(end), self._load) for end in (x.argmin(), x.argmax()))
        return torch.maximum(*ends)

    _remedy = "give positions in a unit that brings distances nearer to 1, or a smaller power"

    def _magnitudes(self) -> tuple[float, float]:
        x = self._tables["positions"].sort().values
        gaps = x.diff()
        gaps = gaps[gaps > 0]
        if not len(gaps):
            return 1.0, 1.0
        least, greatest = gaps.min() ** self.power, (x[-1] - x[0]) ** self.power
        # What is less than a rounding of the greatest in float64, too, may become 0.
        counts = least >= torch.finfo(torch.float64).eps * greatest
        return torch.where(counts, least, greatest).item(), greatest.item()

    def _moved(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> dict[str, Tensor]:
        tables = super()._moved(device, dtype)
        if dtype == torch.float32:
            tables["positions"] = self._narrow_positions().to(device)
        return tables

    def _narrow_positions(self) -> Tensor:
        """Positions in float32, less the one nearest to 0 where all lie on one side of it."""
        x = self._tables["positions"]
        if x.dtype == torch.float32:
            return x
        return (x - torch.clamp(torch.zeros_like(x[0]), x.min(), x.max())).float()

    @cached_property
    def _narrow_fault(self) -> str:
        """Neighbours whose distance is another one in float32."""
        x = self._tables["positions"]
        if self._range_fault or x.dtype == torch.float32 or x.is_meta:
            return self._range_fault
        line, order = x.sort()
        gaps, kept = line.diff(), self._narrow_positions()[order].double().diff()
        lost = (kept - gaps).abs() > gaps / 2  # among thousands of positions some are close
        if not bool(lost.any()):
            return ""
        k = int(lost.int().argmax())
        pair = (self.classes[int(order[k + i])] for i in (0, 1))
        return (
            "{!r} and {!r}".format(*pair) + f" are {gaps[k].item():.3g} apart and the farthest "
            f"{(line[-1] - line[0]).item():.3g}, which its 24 bits do not tell apart: give "
            f"positions nearer together"
        )

    def _geometry(self) -> tuple[bool | None, bool | None]:
        return True, True if self.power <= 2 else None

    def _settings(self) -> dict[str, object]:
        return {"power": self.power}
