# SPDX-License-Identifier: BSD-3-Clause
"""The cost of decisions over many batches and ranks, and which pairs of classes it comes from."""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.labels import check_same
from lossmatrix.costs.tables import Table
from lossmatrix.decide import decide
from lossmatrix.metrics import costs_of, counted
from lossmatrix.tensors import check_tensor

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "CostMeter is a torchmetrics.Metric: pip install lossmatrix[metrics]"
    ) from error

__all__ = ["CostMeter", "CostlyPair"]

MAX_PAIRS = 2**24  # pairs of classes that are counted one by one: two tables of 128 MiB
_numbers = itertools.count(1)


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
    pair of truth and decision happened, and what that cost; above 2²⁴ pairs their totals alone.
    ``compute()`` is the average cost, Σ w D[y, a] / Σ w, as in ``average_cost``, and NaN before
    anything was counted.

    ``costs`` are the costs per pair of classes. Where each sample has costs of its own, they give
    the labels, and every ``update`` gets those of its batch. ``rule`` says how scores become
    decisions, if scores are what ``update`` gets: "argmax", the class with the highest, or "bayes",
    the decision with the least expected cost, for probabilities.

    Raises ValueError for ``PerExample`` costs, which belong to one batch, for another rule, and for
    "argmax" where the decisions are not the classes; ImportError where torchmetrics is missing.

    >>> meter = lm.CostMeter([[0, 1], [5, 0]])
    >>> meter.update(torch.tensor([0, 1]), torch.tensor([1, 1]))
    >>> meter.update(preds=torch.tensor([1, 0]), target=torch.tensor([0, 0]))
    >>> meter.compute()
    tensor(1.5000, dtype=torch.float64)
    >>> meter.most_expensive(1)
    [CostlyPair(truth='1', decision='0', weight=1.0, cost=5.0, share=0.8333333333333334)]
    >>> by_cost = lm.CostMeter([[0, 1], [5, 0]], rule="bayes")
    >>> by_cost(torch.tensor([[0.7, 0.3], [0.9, 0.1]]), torch.tensor([0, 0]))
    tensor(0.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    weight: Tensor
    cost: Tensor

    def __init__(
        self,
        costs: CostMatrix | Table,
        *,
        rule: Literal["argmax", "bayes"] | None = None,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self.costs = as_costs(costs)
        self.rule = rule
        self.ignore_index = ignore_index
        if self.costs.num_samples is not None:
            raise ValueError(
                "CostMeter counts pairs of classes, and PerExample costs belong to one batch: give "
                "it costs per pair, and each batch's own to update(preds, target, costs=…)"
            )
        if rule not in (None, "argmax", "bayes"):
            raise ValueError(f'rule must be "argmax" or "bayes", got {rule!r}')
        if rule == "argmax":
            self.costs.check_square()
        C, K = self.costs.shape
        self.counts_pairs = C * K <= MAX_PAIRS
        empty = torch.zeros((C, K) if self.counts_pairs else (), dtype=torch.float64)
        states = {"weight": (empty, "sum"), "cost": (empty.clone(), "sum")}
        # A MetricCollection updates one of several metrics whose states are alike for all of them,
        # as those of two meters are until a mistake is made: a number of its own says which it is.
        states["number"] = torch.tensor(next(_numbers), dtype=torch.float64), "max"
        for name, (start, reduction) in states.items():
            self.add_state(name, start, reduction)  # pyright: ignore[reportUnknownMemberType]

    def update(
        self,
        preds: Tensor,
        target: Tensor,
        *,
        costs: CostMatrix | Table | None = None,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Count a batch; other arguments and errors as for ``average_cost``.

        ``preds`` are decisions, in the shape of ``target``, of whole numbers or bool; or scores
        (N, C, …), which ``rule`` makes decisions of. ``costs`` are this batch's own, where they are
        not those of the meter.
        """
        check_tensor("preds", preds)
        check_tensor("target", target)
        own = self.costs.to(device=target.device) if costs is None else as_costs(costs)
        self._check_costs(own)
        if target.dtype == torch.bool:
            target = target.long()
        decision = self._decided(preds, target, own)
        rows = counted(decision, target, own, sample_weight, self.ignore_index)
        weight, cost = rows.weight, rows.weight * costs_of(rows, own)
        if self.counts_pairs:
            # index_put_ and not a weighted bincount: it adds up in one order on every device
            self.weight.index_put_((rows.target, rows.decision), weight, accumulate=True)
            self.cost.index_put_((rows.target, rows.decision), cost, accumulate=True)
        else:
            self.weight += weight.sum()
            self.cost += cost.sum()

    def _check_costs(self, own: CostMatrix) -> None:
        if own.shape != self.costs.shape:
            raise ValueError(
                f"costs of shape {own.shape} do not fit a meter of shape {self.costs.shape}"
            )
        check_same(self.costs.classes, own.classes, "classes of the costs of this batch")
        check_same(self.costs.decisions, own.decisions, "decisions of the costs of this batch")

    def _decided(self, preds: Tensor, target: Tensor, costs: CostMatrix) -> Tensor:
        """Decisions as they come, or made of scores by the rule; ignored rows get any."""
        if preds.dtype == torch.bool:
            return preds.long()
        if not preds.is_floating_point():
            return preds
        if self.rule is None:
            raise TypeError(
                f"preds must be decisions, which are whole numbers, got {preds.dtype}: for scores "
                f'(N, C, …) make CostMeter(costs, rule="argmax"), or rule="bayes" for probabilities'
            )
        scores = preds.movedim(min(1, preds.dim() - 1), -1)
        if scores.shape != (*target.shape, costs.num_classes):
            raise ValueError(
                f"scores of shape {tuple(preds.shape)} do not fit a target of shape "
                f"{tuple(target.shape)}: expected {costs.num_classes} classes in dim 1"
            )
        if self.rule == "argmax":
            return scores.argmax(-1)
        if costs.num_samples is not None:
            return decide(preds, costs)
        kept = target.long() != self.ignore_index
        decision = torch.zeros_like(target, dtype=torch.int64)
        return decision.masked_scatter(kept, decide(scores[kept], costs))

    def compute(self) -> Tensor:
        """Average cost of everything counted, float64."""
        return self.cost.sum() / self.weight.sum()

    def tables(self) -> tuple[Tensor, Tensor]:
        """The confusion table Σ w and the cost table Σ w D over all ranks, both (C, K) float64.

        Raises ValueError where there are too many pairs to be counted one by one.
        """
        if not self.counts_pairs:
            C, K = self.costs.shape
            raise ValueError(
                f"{C} × {K} pairs are too many to be counted one by one, so this meter keeps their "
                "total only: count a few dear classes with a meter of their own"
            )
        with self.sync_context(  # pyright: ignore[reportUnknownMemberType]
            dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute
        ):
            return self.weight.clone(), self.cost.clone()

    def most_expensive(self, k: int = 5) -> list[CostlyPair]:
        """The k pairs that have cost most, dearest first; pairs that cost nothing are left out.

        Raises ValueError as ``tables`` does.
        """
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
