# SPDX-License-Identifier: BSD-3-Clause
"""Sums over the classes before and after each class, from which structured costs are made.

They only ever add: the mass outside a class is what lies before it plus what lies after it, never
the total minus its own mass, which would lose every digit where one class holds nearly all of it.
"""

from torch import Tensor
from torch.nn.functional import pad


def sum_before(weights: Tensor) -> Tensor:
    """Σ_{i<j} weights_i for j = 0 … C: (…, C) → (…, C + 1)."""
    return pad(weights.cumsum(-1), (1, 0))


def sum_after(weights: Tensor) -> Tensor:
    """Σ_{i≥j} weights_i for j = 0 … C: (…, C) → (…, C + 1)."""
    return sum_before(weights.flip(-1)).flip(-1)


def distances_before(weights: Tensor, gaps: Tensor, power: int) -> Tensor:
    """Σ_{i≤j} weights_i (x_j − x_i)^power for power 1 or 2, where gaps_j = x_{j+1} − x_j ≥ 0.

    With F_j = Σ_{i≤j} w_i, B_j = Σ_{i≤j} w_i (x_j − x_i) grows by gap_j·F_j from j to j + 1, and
    Q_j = Σ_{i≤j} w_i (x_j − x_i)² grows by gap_j·(B_j + B_{j+1}). Positive weights give positive
    terms, so no digit is lost; for signed weights the error stays a few roundings of Σ |w|·D.
    """
    sums = sum_before(gaps * weights[..., :-1].cumsum(-1))
    return sums if power == 1 else sum_before(gaps * (sums[..., :-1] + sums[..., 1:]))
