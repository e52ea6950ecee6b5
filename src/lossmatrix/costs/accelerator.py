# SPDX-License-Identifier: BSD-3-Clause
"""What computes products of matrices faster than their own methods, if anything does.

Matrices know no engine: an engine with kernels for products puts itself here when it is imported.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Accelerator(Protocol):
    """Products of weights with a ``CostMatrix``, and the decisions that follow from them."""

    def multiply(self, costs: Any, weights: Tensor, transposed: bool) -> Tensor | None:
        """weights·D, or weights·Dᵀ, for (…, C) weights; None where the matrix has to do it."""
        ...

    def decides(self, costs: Any, dtype: torch.dtype) -> bool:
        """Whether ``least_cost`` knows the matrix, for probabilities of this dtype."""
        ...

    def least_cost(
        self, costs: Any, given: Tensor, tolerance: float, is_logits: bool
    ) -> Tensor | None:
        """The least expensive decision for each row of probabilities or logits, (N, C) → (N,).

        Ties go to the lowest. None where a row of probabilities has a negative entry or a sum that
        is not within ``tolerance`` of 1, or where the softmax of a row is none.
        """
        ...


installed: Accelerator | None = None
