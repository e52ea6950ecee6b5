# SPDX-License-Identifier: BSD-3-Clause
"""``ShardedCriterion``: a loss of logits whose classes are sharded over a process group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor

from lossmatrix.costs.base import full_precision
from lossmatrix.engines.sharded import LossesOfShards, ShardedRows, Shards, reads_risk
from lossmatrix.losses import CostsLike, DecisionRule, Loss, Reduction, Term
from lossmatrix.nn import Criterion, check_normalizer
from lossmatrix.problem import Options, check_range, check_tensor, class_weights, read, reduce

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class ShardedCriterion(Criterion):
    """The loss of logits whose classes are sharded over the ranks of a process group.

    ℓ(logits_n, target_n, D[target_n]) of all C = Σ_r C_r classes, as ``Criterion`` computes it on
    one device, with the class dimension split as in ``ColwiseParallel``: rank r has the logits of
    C_r classes in a row, after those of the ranks before it. Targets, weights and costs are those
    of all classes, alike on every rank. The loss is the same to the last bit on every rank, and
    each gets the gradient of its own logits, without communication in backward.

    A rank sends 20 to 32 bytes a row in float32, once, for a formula that is linear in p and log p;
    the others (``Unlikelihood``, ``EntropicRisk`` and what is built on it, your own) send sums once
    more, and a sum of losses sends what its parts do together. The first call agrees on the number
    of classes of each rank, which then stays.

    Args:
        loss: a loss or a sum of losses; none that reads the risk p·D of decisions, as
            ``EnergyScore`` and ``DecisionScore`` do, which would need all logits.
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth. Each rank reads its own columns.
        group: the process group; by default all processes.
        weight, ignore_index, reduction, label_smoothing: as in ``Criterion``; ``weight`` is (C,).

    Raises:
        ValueError, TypeError, RuntimeError, IndexError: as ``Criterion`` on the logits of all
            classes; a loss, costs or targets that need all classes on one rank.

    Source: Shoeybi et al. (2019), Megatron-LM, section 3: a cross-entropy that is parallel over the
    vocabulary; here with one exchange in place of three, and for costs.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> alone = ProcessGroupGloo(HashStore(), 0, 1)  # in practice the group of a device mesh
    >>> loss = lm.CrossEntropy() + lm.ExpectedCost()
    >>> criterion = lm.parallel.ShardedCriterion(loss, lm.Ordinal(3), group=alone)
    >>> round(criterion(torch.zeros(2, 3), torch.tensor([0, 2])).item(), 4)
    2.0986
    """

    def __init__(
        self,
        loss: Loss,
        costs: CostsLike | None = None,
        *,
        group: ProcessGroup | None = None,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            loss,
            costs,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        self.group = group
        self._sizes: tuple[int, ...] | None = None
        for term in self.bound.terms:
            _check_term(loss, term, label_smoothing)
        if label_smoothing > 0 and weight is not None and bool((weight < 0).any()):
            raise ValueError("a negative class weight has no share of a smoothed target.")

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes no costs of samples
        self,
        logits: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: this rank's classes, (C_r), (N, C_r) or (N, C_r, d1 … dk).
            target: class indices among all C classes.
            sample_weight, normalizer: as in ``Criterion``.
        """
        shards = self._shards(logits)
        check_tensor("target", target)
        if target.is_floating_point():
            raise TypeError(
                "class probabilities of sharded classes are not supported: pass class indices, "
                "and label_smoothing where every class shall have a share."
            )
        check_normalizer(normalizer, self.reduction)
        options = Options(
            self.weight, sample_weight, self.ignore_index, self.reduction, self.label_smoothing
        )
        if normalizer is not None:
            options = replace(options, reduction="sum")
        class_dim = 0 if logits.dim() == 1 else 1
        shape = (*logits.shape[:class_dim], shards.num_classes, *logits.shape[class_dim + 1 :])
        problem = read(self.bound, logits.detach().new_empty(()).expand(shape), target, options)
        check_range(problem)
        with full_precision(logits.device):
            factors = class_weights(problem)
            call = ShardedRows(problem, shards, factors)
            rows = logits.movedim(class_dim, -1).reshape(-1, shards.size)
            losses = cast(Tensor, LossesOfShards.apply(rows, call))  # pyright: ignore
            if self.label_smoothing == 0:
                losses = losses * factors
            losses = torch.where(call.counts, losses, 0.0)
            if normalizer is None:
                return reduce(problem, losses, factors)
            total = reduce(replace(problem, output_dtype=problem.compute_dtype), losses, factors)
            return (total / normalizer).to(problem.output_dtype)

    def decide(self, logits: Tensor, *, rule: DecisionRule | None = None) -> Tensor:
        """The class with the largest logit of all ranks, (N, d1 … dk) int64, alike on each.

        A loss that is decided by the Bayes step needs the probabilities of all classes: gather the
        logits for it, and use ``lm.decide``.
        """
        rule = rule or self.loss.decides
        if rule != "argmax" and not (rule == "bayes" and self.costs is None):
            raise ValueError(
                f"{self.loss!r} is decided by {rule!r}, which needs the logits of all classes: "
                "gather them for Criterion.decide, or pass rule='argmax'."
            )
        shards = self._shards(logits)
        top, place = logits.detach().max(0 if logits.dim() == 1 else 1)
        gathered = shards.gather(torch.stack([top.double(), (place + shards.start).double()]))
        winner = gathered[:, 0].argmax(0, keepdim=True)
        return gathered[:, 1].gather(0, winner).squeeze(0).long()

    def _shards(self, logits: Tensor) -> Shards:
        check_tensor("logits", logits)
        if hasattr(logits, "placements"):
            raise TypeError("ShardedCriterion takes a rank's own logits: pass logits.to_local().")
        if logits.dim() == 0:
            raise ValueError("expected logits of shape (C_r,) or (N, C_r, d1, …), got a scalar.")
        size = logits.shape[0 if logits.dim() == 1 else 1]
        group = self.group or dist.distributed_c10d._get_default_group()  # pyright: ignore
        rank = group.rank()
        if self._sizes is None:
            own = torch.tensor([size], device=logits.device)
            one_each = Shards(group, (1,) * group.size(), rank)
            sizes = tuple(int(each) for each in one_each.gather(own).flatten())
            if 0 in sizes:
                raise ValueError(f"every rank must hold a class, but they hold {sizes}.")
            self._sizes = sizes
        if size != self._sizes[rank]:
            raise ValueError(
                f"rank {rank} had logits of {self._sizes[rank]} classes in the first call, and has "
                f"{size} now: make another ShardedCriterion for other shards."
            )
        return Shards(group, self._sizes, rank)


def _check_term(loss: Loss, term: Term, label_smoothing: float) -> None:
    """Refuse a loss one of whose terms needs all classes on one rank, in one sentence."""
    costs = term.costs
    if reads_risk(term.loss):
        raise ValueError(
            f"{loss!r} reads the conditional risk p·D of every decision, for which each rank would "
            "need all classes: gather the logits and use Criterion, or shard the rows instead."
        )
    if label_smoothing > 0 and not term.loss.linear_in_truth:
        raise ValueError(
            f"{loss!r} is not linear in the truth, so that label_smoothing takes it once for every "
            "class: use label_smoothing=0 with sharded classes."
        )
    if costs is None:
        return
    if costs.num_samples is not None:
        raise ValueError(
            f"{costs!r} has costs of samples; sharded classes need a matrix of truths."
        )
    if any(table.requires_grad for table in costs.tables.values()):
        raise ValueError(f"{costs!r} requires a gradient, which sharded classes do not give.")
