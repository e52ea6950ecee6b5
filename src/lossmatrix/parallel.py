# SPDX-License-Identifier: BSD-3-Clause
"""Losses of classes that are sharded over a process group: of logits, and of a linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lossmatrix.costs.base import full_precision
from lossmatrix.engines.sharded import LossesOfShards, ShardedRows, Shards, reads_risk
from lossmatrix.linear import (
    MAX_CHUNK_BYTES,
    Blockwise,
    Budget,
    Call,
    Gradients,
    Layer,
    Rows,
    check_num_classes,
    denominator,
    needs_whole,
)
from lossmatrix.losses import CostsLike, DecisionRule, Loss, Reduction, Term
from lossmatrix.nn import Criterion, check_normalizer
from lossmatrix.problem import (
    Options,
    Problem,
    check_range,
    class_weights,
    read,
    reduce,
)
from lossmatrix.tensors import check_tensor

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
        problem = self._problem(logits, logits.shape, shards, target, sample_weight)
        check_normalizer(normalizer, self.reduction)
        if normalizer is not None:
            problem = replace(problem, options=replace(problem.options, reduction="sum"))
        check_range(problem)
        class_dim = 0 if logits.dim() == 1 else 1
        with full_precision(logits.device):
            factors = class_weights(problem)
            call = ShardedRows(problem, shards, factors)
            rows = logits.movedim(class_dim, -1).reshape(-1, shards.size)
            losses = cast(Tensor, LossesOfShards.apply(rows, call))  # pyright: ignore
            losses = _weighed(problem, call, losses, factors)
            if normalizer is None:
                return reduce(problem, losses, factors)
            total = reduce(replace(problem, output_dtype=problem.compute_dtype), losses, factors)
            return (total / normalizer).to(problem.output_dtype)

    def decide(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes no costs of samples
        self, logits: Tensor, *, rule: DecisionRule | None = None
    ) -> Tensor:
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

    def _problem(
        self,
        like: Tensor,
        shape: Sequence[int],
        shards: Shards,
        target: Tensor,
        sample_weight: Tensor | None,
    ) -> Problem:
        """A checked call in the shape of all logits, of which there are none."""
        check_tensor("target", target)
        if target.is_floating_point():
            raise TypeError(
                "class probabilities of sharded classes are not supported: pass class indices, "
                "and label_smoothing where every class shall have a share."
            )
        class_dim = 0 if len(shape) == 1 else 1
        whole = (*shape[:class_dim], shards.num_classes, *shape[class_dim + 1 :])
        options = Options(
            self.weight, sample_weight, self.ignore_index, self.reduction, self.label_smoothing
        )
        return read(self.bound, like.detach().new_empty(()).expand(whole), target, options)

    def _group(self) -> ProcessGroup:
        return self.group or dist.distributed_c10d._get_default_group()  # pyright: ignore

    def _shards(self, logits: Tensor) -> Shards:
        check_tensor("logits", logits)
        if hasattr(logits, "placements"):
            raise TypeError("ShardedCriterion takes a rank's own logits: pass logits.to_local().")
        if logits.dim() == 0:
            raise ValueError("expected logits of shape (C_r,) or (N, C_r, d1, …), got a scalar.")
        size = logits.shape[0 if logits.dim() == 1 else 1]
        group = self._group()
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


class ShardedLinearCriterion(ShardedCriterion):
    """A linear layer whose classes are sharded over ranks, and the loss of its outputs.

    ℓ(X Wᵀ + b) as ``LinearCriterion`` computes it, block by block, with the rows of W split over
    the ranks as ``torch.chunk`` and ``ColwiseParallel`` do it: ``linear.weight`` is (C_r,
    in_features). Input and target are alike on every rank, and so is the loss. A block of rows
    takes the exchange of ``ShardedCriterion``; the gradient of the input is added up over the ranks
    once, and those of weight and bias are the rank's own.

    Args:
        in_features: size of each row of the input, (in_features) or (N, in_features).
        num_classes: C, of all ranks.
        loss, costs, group, weight, ignore_index, reduction, label_smoothing: as in
            ``ShardedCriterion``.
        bias, device, dtype, max_chunk_bytes, accumulate_dtype: as in ``LinearCriterion``; the
            budget is that of the largest shard.

    Raises:
        ValueError, TypeError, RuntimeError, IndexError: as ``ShardedCriterion``; where autograd, a
            transform or a trace would have to see the logits, and for second derivatives.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> alone = ProcessGroupGloo(HashStore(), 0, 1)  # in practice the group of a device mesh
    >>> criterion = lm.parallel.ShardedLinearCriterion(4, 3, lm.CrossEntropy(), group=alone)
    >>> round(criterion(torch.zeros(2, 4), torch.tensor([0, 2])).item(), 4)
    1.0986
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        loss: Loss,
        costs: CostsLike | None = None,
        *,
        group: ProcessGroup | None = None,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        max_chunk_bytes: int = MAX_CHUNK_BYTES,
        accumulate_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            loss,
            costs,
            group=group,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        check_num_classes(self.costs, num_classes)
        ranks = self._group()
        sizes = tuple(len(each) for each in torch.arange(num_classes).chunk(ranks.size()))
        if len(sizes) < ranks.size():
            raise ValueError(
                f"every rank must hold a class, but {num_classes} classes in equal shards leave "
                f"none for {ranks.size() - len(sizes)} of {ranks.size()} ranks."
            )
        self._sizes = sizes
        self.budget = Budget(max_chunk_bytes, accumulate_dtype)
        own = sizes[ranks.rank()]
        self.linear = nn.Linear(in_features, own, bias=bias, device=device, dtype=dtype)
        if device is not None:
            self.to(device)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes no logits
        self,
        input: Tensor,  # noqa: A002  # as nn.LinearCrossEntropyLoss calls it
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch: input (N, in_features); all else as in ``ShardedCriterion``."""
        if input.dim() == 1:  # one row
            own = None if sample_weight is None else sample_weight.unsqueeze(0)
            rows = input.unsqueeze(0), target.unsqueeze(0)
            value = self.forward(*rows, sample_weight=own, normalizer=normalizer)
            return value.squeeze(0) if self.reduction == "none" else value
        layer = self._layer(input).cast()
        layer.check()
        shards = self._shards(layer.blank)
        problem = self._problem(layer.input, layer.shape, shards, target, sample_weight)
        check_normalizer(normalizer, self.reduction)
        if needs_whole(layer, self.bound, target, problem.options):
            raise RuntimeError(
                "a sharded layer has no logits that autograd, a transform or a trace could see: "
                "use ShardedCriterion on the logits of a layer."
            )
        self.budget.wide(layer.input.dtype)
        call = _ShardedCall(problem, self.budget, denominator(problem, normalizer), shards=shards)
        return cast(Tensor, Blockwise.apply(*layer.flat, call))  # pyright: ignore

    def decide(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes no logits
        self,
        input: Tensor,  # noqa: A002  # as in forward
        *,
        rule: DecisionRule | None = None,
    ) -> Tensor:
        """The class with the largest logit of all ranks, (N,) int64, in blocks of rows."""
        layer = self._layer(input)
        layer.check()
        if input.dim() == 1:
            return self.decide(input.unsqueeze(0), rule=rule).squeeze(0)
        parts = [input.new_zeros(0, dtype=torch.int64)]
        with torch.no_grad():
            for rows in layer.blocks(self.budget, width=max(self._shards(layer.blank).sizes)):
                parts.append(super().decide(layer.logits(rows), rule=rule))
        return torch.cat(parts)

    def _layer(self, input: Tensor) -> Layer:  # noqa: A002  # as in forward
        return Layer(input, self.linear.weight, cast("Tensor | None", self.linear.bias))


@dataclass
class _ShardedCall(Call):
    """A checked call of a sharded layer: its problem has the shape of all logits."""

    shards: Shards = field(kw_only=True)

    def blocks(self, layer: Layer) -> Iterator[Rows]:
        """The same rows on every rank: as the largest shard fits the budget."""
        return layer.blocks(self.budget, self.kept(), max(self.shards.sizes))

    def block(self, rows: Rows, logits: Tensor, row_weights: Tensor | None) -> Problem:
        """The problem of a block of rows, in the shape of all their logits."""
        blank = logits.new_empty(()).expand(len(logits), self.shards.num_classes)
        return super().block(rows, blank, row_weights)

    def losses(self, asked: Problem, logits: Tensor, with_gradient: bool) -> Tensor:
        """The losses of a block, with an exchange between the ranks."""
        check_range(asked)
        with full_precision(logits.device):
            factors = class_weights(asked)
            call = ShardedRows(asked, self.shards, factors)
            losses, slopes = call.losses(logits, with_gradient)
            if slopes is not None:
                each = _weighed(asked, call, torch.ones_like(losses), factors)
                if asked.sample_weight is not None:
                    each = each * asked.sample_weight.reshape(-1)
                logits.copy_(slopes * each.unsqueeze(-1))
            return reduce(asked, _weighed(asked, call, losses, factors), factors)

    def finish(self, gradients: Gradients) -> None:
        """Each rank has what its own classes give to the gradient of the input."""
        if gradients[0] is not None:
            dist.all_reduce(gradients[0], group=self.shards.group)  # pyright: ignore

    def whole_gradients(
        self, tensors: tuple[Tensor, Tensor, Tensor | None], wanted: list[bool], upstream: Tensor
    ) -> Gradients:
        """There are none."""
        raise RuntimeError(
            "a sharded layer has no second derivatives: its gradients are made in forward."
        )


def _weighed(problem: Problem, call: ShardedRows, losses: Tensor, factors: Tensor) -> Tensor:
    """Losses times their class weights; with smoothing they have them, and some do not count."""
    if problem.options.label_smoothing == 0:
        losses = losses * factors
    return torch.where(call.counts, losses, 0.0)


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
