# SPDX-License-Identifier: BSD-3-Clause
"""What decisions cost on rows that were not trained on, and which differences are no noise.

Nothing is chosen for what it costs on the rows that made it: folds leave rows out, and a gain is
believed where it exceeds some of its own standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.decide import decide_from_logits

SEED = 0  # of the folds, where no generator is given


class Gain(NamedTuple):
    """What the decisions of two models cost on the same rows, per row, in the unit of the costs."""

    control: float
    cost: float
    standard_error: float  # of the mean difference, over rows

    @property
    def difference(self) -> float:
        """Cost less that of the control: below 0 where it is a gain."""
        return self.cost - self.control

    def exceeds(self, errors: float) -> bool:
        """Whether the cost is lower by more than so many standard errors."""
        return self.difference < -errors * self.standard_error

    @classmethod
    def of(cls, control: Tensor, cost: Tensor, weight: Tensor) -> Gain:
        """Means of Σ w d / Σ w of costs per row (N,), and the error of their paired difference."""
        share = weight / weight.sum()
        difference = cost - control
        deviation = difference - share @ difference
        error = (share.square() @ deviation.square()).sqrt()
        few = 1 / max(1e-9, 1 - share.square().sum().item())  # N / (N − 1) for equal weights
        return cls((share @ control).item(), (share @ cost).item(), error.item() * math.sqrt(few))


def paid(logits: Tensor, target: Tensor, costs: CostMatrix) -> Tensor:
    """What the Bayes decision by softmax(logits) (N, C) costs in each row, (N,) float64.

    ∞ throughout where a logit is not finite: such a model is never chosen.
    """
    if not bool(logits.isfinite().all()):
        return torch.full((len(target),), math.inf, dtype=torch.float64, device=logits.device)
    return costs.entries(target, decide_from_logits(logits, costs)).double()


def deal(target: Tensor, folds: int, generator: torch.Generator | None) -> Tensor:
    """A fold for each row, (N,): every class is dealt out evenly, in an order drawn at random.

    Where one class ends the next one goes on, so that folds differ by one row at most.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(len(target), generator=generator).to(target.device)
    order = order[target[order].argsort(stable=True)]
    fold = torch.empty_like(target)
    fold[order] = torch.arange(len(target), device=target.device) % folds
    return fold


def pooled(parts: Iterable[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """Values of all rows, of (rows, their values) fold by fold."""
    numbers, values = zip(*parts, strict=True)
    made = torch.cat(values)
    all_rows = made.new_empty((count, *made.shape[1:]))
    all_rows[torch.cat(numbers)] = made
    return all_rows
