# SPDX-License-Identifier: BSD-3-Clause
"""The cost of decisions over many batches and ranks, and which pairs of classes it comes from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, PerExample, as_costs
from lossmatrix.costs.tables import Table
from lossmatrix.metrics import blocks

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "CostMeter is a torchmetrics.Metric: pip install lossmatrix[metrics]"
    ) from error

__all__ = ["CostMeter", "CostlyPair"]


class CostlyPair(NamedTuple):
    """What one pair of truth and decision has cost."""

    truth: str
    decision: str
    weight: float  # how often it happened: Σ w
    cost: float  # what that cost: Σ w D
    share: float  # of the cost of all pairs


class CostMeter(Metric):
    """Average cost over all batches and ranks, as a ``torchmetrics.Metric``.

    It keeps two (C, K) tables in float64, rows the truth, which sum up across ranks: how often each
    pair of truth and decision happened, and what that cost. ``compute()`` is the average cost,
    Σ w D[y, a] / Σ w, as in ``average_cost``, and NaN before anything was counted.

    ``costs`` are the costs per pair of classes. Where each sample has costs of its own, they give
    the labels, and every ``update`` gets those of its batch.

    Raises ValueError for ``PerExample`` costs, which belong to one batch, and for tables above the
    limit of ``CostMatrix.to_dense``; ImportError where torchmetrics is missing.

    >>> meter = lm.CostMeter([[0, 1], [5, 0]])
    >>> meter.update(torch.tensor([0, 1]), torch.tensor([1, 1]))
    >>> meter.update(torch.tensor([1, 0]), torch.tensor([0, 0]))
    >>> meter.compute()
    tensor(1.5000, dtype=torch.float64)
    >>> meter.most_expensive(1)
    [CostlyPair(truth='1', decision='0', weight=1.0, cost=5.0, share=0.8333333333333334)]
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    weight: Tensor
    cost: Tensor

    def __init__(self, costs: CostMatrix | Table, *, ignore_index: int = -100) -> None:
        super().__init__()
        self.costs = as_costs(costs)
        self.ignore_index = ignore_index
        if isinstance(self.costs, PerExample):
            raise ValueError(
                "CostMeter counts pairs of classes, and PerExample costs belong to one batch: give "
                "it costs per pair, and each batch's own to update(decision, target, costs=…)"
            )
        for name in ("weight", "cost"):
            empty = torch.zeros_like(self.costs.to_dense(), dtype=torch.float64)
            self.add_state(name, empty, "sum")  # pyright: ignore[reportUnknownMemberType]

    def update(
        self,
        decision: Tensor,
        target: Tensor,
        *,
        costs: CostMatrix | Table | None = None,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Count a batch; arguments and errors as for ``average_cost``.

        ``costs`` are this batch's own, where they are not those of the meter.
        """
        own = self.costs.to(device=target.device) if costs is None else as_costs(costs)
        if own.shape != self.costs.shape:
            raise ValueError(
                f"costs of shape {own.shape} do not fit a meter of shape {self.costs.shape}"
            )
        for block in blocks(decision, target, own, sample_weight, self.ignore_index):
            pair = (block.target, block.decision)
            paid = block.costs.gather(1, block.decision.unsqueeze(1)).squeeze(1)
            # index_put_ and not a weighted bincount: it adds up in one order on every device
            self.weight.index_put_(pair, block.weight, accumulate=True)
            self.cost.index_put_(pair, block.weight * paid, accumulate=True)

    def compute(self) -> Tensor:
        """Average cost of everything counted, float64."""
        return self.cost.sum() / self.weight.sum()

    def tables(self) -> tuple[Tensor, Tensor]:
        """The confusion table Σ w and the cost table Σ w D over all ranks, both (C, K) float64."""
        with self.sync_context(  # pyright: ignore[reportUnknownMemberType]
            dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute
        ):
            return self.weight.clone(), self.cost.clone()

    def most_expensive(self, k: int = 5) -> list[CostlyPair]:
        """The k pairs that have cost most, dearest first; pairs that cost nothing are left out."""
        weight, cost = (table.flatten() for table in self.tables())
        total = cost.sum()
        dearest = cost.argsort(descending=True, stable=True)[:k]
        return [
            CostlyPair(
                self.costs.classes[pair // self.costs.num_decisions],
                self.costs.decisions[pair % self.costs.num_decisions],
                weight[pair].item(),
                cost[pair].item(),
                (cost[pair] / total).item(),
            )
            for pair in map(int, dearest[cost[dearest] > 0])
        ]
