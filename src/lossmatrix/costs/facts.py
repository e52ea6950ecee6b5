# SPDX-License-Identifier: BSD-3-Clause
"""Facts about rows of costs, which losses and engines may read."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor


class RowFacts(NamedTuple):
    """What is known of every row of D, in float64, (rows,) each."""

    minimum: Tensor
    maximum: Tensor
    total: Tensor
    ties: Tensor  # how many entries equal the minimum


def facts_of(rows: Tensor) -> RowFacts:
    """Facts of rows (N, K)."""
    rows = rows.detach().double()
    minimum = rows.amin(-1)
    ties = (rows == minimum.unsqueeze(-1)).sum(-1).double()
    return RowFacts(minimum, rows.amax(-1), rows.sum(-1), ties)


def mean_positive_regret(facts: RowFacts, num_decisions: int) -> float:
    """The mean of D_ij − min_k D_ik over its positive entries; 1 where there are none."""
    count = (num_decisions - facts.ties).sum().item()
    regret = (facts.total - num_decisions * facts.minimum).sum().item()
    return regret / count if count else 1.0


def is_negative_type(table: Tensor) -> bool:
    """Whether −½JDJ has no eigenvalue below rounding, for symmetric tables (…, C, C)."""
    D = table.detach().double()
    centred = D - D.mean(-1, keepdim=True)
    centred = centred - centred.mean(-2, keepdim=True)
    eigenvalues = cast(Tensor, torch.linalg.eigvalsh(-0.5 * centred))  # pyright: ignore
    rounding = 8 * D.shape[-1] * torch.finfo(table.dtype).eps * D.abs().amax((-2, -1))
    return bool((eigenvalues.amin(-1) >= -rounding).all())
