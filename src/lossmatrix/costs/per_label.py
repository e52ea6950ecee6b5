# SPDX-License-Identifier: BSD-3-Clause
"""`PerLabel`: the matrices of several labels, which samples have in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs.per_example import PerExample


class PerLabel(PerExample):
    """Sample n has the matrix of label n mod L, of tables (L, C, K): logits (…, L), flattened.

    It is `PerExample.matrices` of as many samples, without their copies.
    """

    _count: int

    @classmethod
    def of(cls, tables: Tensor, count: int) -> PerLabel:
        """The matrices of ``count`` samples."""
        made = cls.matrices(tables)
        assert isinstance(made, PerLabel)
        made._count = count
        return made

    @property
    def num_samples(self) -> int:
        """How many samples there are."""
        return self._count

    @property
    def written_out(self) -> PerExample:
        """The same with the copies."""
        return self.of_samples(torch.arange(self._count, device=self._device))

    def of_samples(self, rows: Tensor) -> PerExample:
        """The costs of some of the samples, in the order of their numbers ``rows``."""
        return PerExample.matrices(self._table[rows % len(self._table)])

    def _made(self, table: Tensor, decisions: Sequence[str]) -> Self:
        made = super()._made(table, decisions)
        made._count = self._count
        return made

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        return super()._row(target, None if sample is None else sample % len(self._table))

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        return super()._entries(i, j, None if sample is None else sample % len(self._table))

    def _expected(self, weights: Tensor) -> Tensor:
        return self.written_out._expected(weights)

    def _settings(self) -> dict[str, object]:
        return {"labels": len(self._table), "samples": self._count}
