# SPDX-License-Identifier: BSD-3-Clause
"""Facts about rows of costs, which losses and engines may read."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

PART = 2**21  # entries read at a time


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


def magnitudes(*tables: Tensor) -> tuple[float, float]:
    """The least and the greatest |entry| that is neither 0 nor infinite; (1, 1) where none is."""
    least, greatest = math.inf, 0.0
    for table in tables:
        entries = table.detach().reshape(-1)
        for start in range(0, len(entries), PART):
            size = entries[start : start + PART].abs()
            least = min(least, torch.where(size > 0, size, math.inf).min().item())
            greatest = max(greatest, torch.where(size < math.inf, size, 0.0).max().item())
    return (least, greatest) if greatest > 0 else (1.0, 1.0)


def misfit(least: float, greatest: float) -> str:
    """Why float32 does not hold costs of these magnitudes, or nothing."""
    held = torch.finfo(torch.float32)
    smallest = held.smallest_normal * held.eps  # half of it rounds to 0
    if smallest / 2 < least and greatest <= held.max:
        return ""
    return (
        f"its costs reach from {least:.2g} to {greatest:.2g}, and float32 from {smallest:.2g} to "
        f"{held.max:.2g}"
    )


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
