# SPDX-License-Identifier: BSD-3-Clause
"""`ZeroOne`: every mistake costs one; its expected cost is the error rate."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.facts import RowFacts
from lossmatrix.costs.labels import make_labels
from lossmatrix.costs.language import Load, where
from lossmatrix.costs.sums import sum_after, sum_before


class ZeroOne(CostMatrix):
    """D[i, j] = 1 − [i = j] for a number of classes or their names.

    expected_j = Σ_{i≠j} p_i, in O(C).

    >>> lm.ZeroOne(3).expected(torch.tensor([0.5, 0.25, 0.25]))
    tensor([0.5000, 0.7500, 0.7500])
    """

    def __init__(self, classes: int | Sequence[str]) -> None:
        names = make_labels(classes, "class")
        super().__init__(names, names, {})

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """1 unless i = j."""
        return where(i == j, 0.0, 1.0)

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        return sum_before(weights)[..., :-1] + sum_after(weights)[..., 1:]

    @cached_property
    def row_facts(self) -> RowFacts:
        """One right decision in every row."""
        C = self.num_classes
        one = torch.ones(C, dtype=torch.float64)
        return RowFacts(0 * one, one * (C > 1), (C - 1) * one, one)

    def _geometry(self) -> tuple[bool | None, bool | None]:
        return True, True
