# SPDX-License-Identifier: BSD-3-Clause
"""``BinaryCriterion``: one logit per decision of two, in the place of ``nn.BCEWithLogitsLoss``.

The logit is that of class 1 over class 0, whose own is 0; so everything is said by ``Criterion`` on
rows of two classes, side by side as (1, 2, n).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn

from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.base import widened
from lossmatrix.costs.labels import check_same
from lossmatrix.costs.per_label import PerLabel
from lossmatrix.losses import CostsLike, DecisionRule, Loss, Reduction, Term
from lossmatrix.nn import BOUND, Criterion, loss_of
from lossmatrix.problem import (
    Bound,
    Options,
    check_options,
    output_dtype,
    read,
)
from lossmatrix.tensors import check_tensor, traced

CostsOfLabels = CostsLike | Sequence[CostsLike]


_OF_LABEL = "classes of the costs of a label"


class BinaryCriterion(nn.Module):
    """A loss and its costs for one logit per decision of two; drop-in for ``nn.BCEWithLogitsLoss``.

    The result is the reduction of y ℓ([0, z]; 1) + (1 − y) ℓ([0, z]; 0) over all logits z, which is
    that of ``Criterion`` on ``torch.stack([0 * z, z])``. Shapes: logits of any shape (…), several
    labels last (…, L); target of that shape, the probabilities of class 1 in floating point, or 0
    and 1 as integers or booleans. Results have the dtype that ``nn.BCEWithLogitsLoss`` gives them.

    Args:
        loss: a loss or a sum of losses, such as ``CrossEntropy() + DecisionScore()``.
        costs: a ``CostMatrix`` of two classes or a (2, K) table, rows the truth; or one for each
            label, a sequence of L such or a tensor (L, 2, K). Each label's loss is then that of its
            own matrix, also in parameters that are in the unit of the costs. Labels whose losses
            have the same parameters are evaluated at once, others one after the other.
        weight: multiplies the losses, broadcast to the logits; the mean's denominator stays.
        reduction: "mean" over all logits that count, "sum" or "none".
        pos_weight: multiplies the losses whose truth is class 1, broadcast to the logits: (L,) has
            a weight for each label.
        ignore_index: integer target of logits that count neither in the value nor in the mean.
        engine: "auto" or the name of an engine, as in ``Criterion``.

    Raises:
        ValueError, TypeError, RuntimeError, IndexError: shapes, dtypes, options or targets that do
            not fit; a matrix that the loss refuses.

    >>> costs = [[0, 1], [5, 0]]  # a miss costs five times a false alarm
    >>> criterion = lm.BinaryCriterion(lm.CrossEntropy() + lm.ExpectedCost(), costs)
    >>> round(criterion(torch.zeros(4), torch.tensor([0.0, 1.0, 1.0, 0.0])).item(), 4)
    2.1931
    >>> criterion = lm.BinaryCriterion(lm.CrossEntropy(), costs)
    >>> criterion.decide(torch.tensor([-3.0, -1.0, 1.0]))
    tensor([0, 1, 1])
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        loss: Loss,
        costs: CostsOfLabels | None = None,
        *,
        weight: Tensor | None = None,
        reduction: Reduction = "mean",
        pos_weight: Tensor | None = None,
        ignore_index: int = -100,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        check_options(reduction, 0.0)
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index
        self.engine = engine
        for name, given in (("weight", weight), ("pos_weight", pos_weight)):
            if given is not None:
                check_tensor(name, given)
            self.register_buffer(name, given)
        matrices, self.labels = _read(costs)
        for matrix in matrices:
            if matrix is not None and as_costs(matrix).num_classes != 2:
                raise ValueError(
                    f"BinaryCriterion needs costs of two classes, got {as_costs(matrix)!r}: "
                    "Criterion takes a logit for each class."
                )
        inner: Reduction = reduction if self.labels is None else "none"
        self.criteria = nn.ModuleList(
            Criterion(loss, matrix, ignore_index=ignore_index, reduction=inner, engine=engine)
            for matrix in matrices
        )
        known: dict[frozenset[str], Sequence[str]] = {}
        for each in map(self._criterion, range(len(matrices))):
            if each.costs is not None:  # labels may have names of their own
                names = each.costs.classes
                check_same(known.setdefault(frozenset(names), names), names, _OF_LABEL)
        self.groups = self._grouped()

    @property
    def loss(self) -> Loss:
        """The loss, which is bound to the costs when the criterion is made."""
        return self._criterion(0).loss

    @loss.setter
    def loss(self, loss: object) -> None:
        raise AttributeError(BOUND)

    @property
    def costs(self) -> list[CostMatrix | None]:
        """The costs of each label as they are kept; one for all labels otherwise."""
        if self.labels is None:
            return [self._criterion(0).costs]
        matrix = torch.cat([torch.full_like(some, k) for k, some in enumerate(self.labels)])
        order = torch.cat(self.labels).argsort()
        return [self._criterion(int(k)).costs for k in matrix[order]]

    @costs.setter
    def costs(self, costs: object) -> None:
        raise AttributeError(BOUND)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
        costs: CostsLike | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: those of class 1 over class 0, of any shape, floating point.
            target: probabilities of class 1, or 0 and 1 as integers or booleans, of that shape.
            sample_weight: multiplies the losses, broadcast to the logits; the denominator stays.
            costs: the costs of this batch in place of the criterion's, such as ``PerExample`` with
                a row of costs for each logit, in their order.
        """
        check_tensor("logits", logits)
        check_tensor("target", target)
        if target.shape != logits.shape:
            raise ValueError(
                f"Target size ({target.shape}) must be the same as input size ({logits.shape}): "
                "one target for each logit."
            )
        if target.is_floating_point() and self.ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        z = widened(logits)
        truth, weight = self._truth(target, sample_weight)
        if costs is not None or self.labels is None:
            bound = self._criterion(0).bound_to(costs)
            value = self._loss(bound, z, truth, weight, self.reduction)
        else:
            value = self._by_label(z, truth, weight, target)
        if z is logits and truth is target:
            return value
        return value.to(output_dtype(logits, target if target.is_floating_point() else None))

    def decide(
        self,
        logits: Tensor,
        *,
        rule: DecisionRule | None = None,
        costs: CostsLike | None = None,
    ) -> Tensor:
        """The decision that the loss is made for, 0 or 1, int64 in the shape of the logits.

        ``rule`` as in ``Criterion.decide``: "argmax" decides 1 where the logit is above 0, "bayes"
        for the least expected cost. ``costs`` are those of this batch, such as a matrix for each
        logit, ``PerExample.matrices``, in place of the criterion's. A third decision of the costs,
        such as abstaining, is 2.
        """
        check_tensor("logits", logits)
        z = widened(logits.detach())
        if costs is not None or self.labels is None:
            decision = self._criterion(0).decide(_pairs(z), rule=rule, costs=costs)
            return decision.reshape(z.shape)
        self._check_labels(z)
        decision = torch.empty(z.shape, dtype=torch.int64, device=z.device)
        for k, label in enumerate(self.labels):
            some = z[..., label]
            decided = self._criterion(k).decide(_pairs(some), rule=rule)
            decision[..., label] = decided.reshape(some.shape)
        return decision

    def calls(self, logits: Tensor, costs: CostsLike | None = None) -> list[tuple[Tensor, Bound]]:
        """The logits that share a call of an engine, and what it computes of them."""
        z = widened(logits)
        if costs is not None or self.labels is None:
            return [(z, self._criterion(0).bound_to(costs))]
        self._check_labels(z)
        parts = [(z[..., group.labels], group) for group in self.groups]
        return [(some, group.bound(some.numel())) for some, group in parts]

    def extra_repr(self) -> str:
        """What ``print`` shows before the criteria."""
        return f"reduction={self.reduction!r}"

    def _criterion(self, k: int) -> Criterion:
        return cast(Criterion, self.criteria[k])

    def _truth(self, target: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Classes, shares of class 1, or of both (2, …); and what multiplies each loss."""
        weights = (("weight", self.weight), ("sample_weight", sample_weight))
        factors = [_broadcast(name, w, target) for name, w in weights if w is not None]
        positive = self.pos_weight
        if positive is not None:
            positive = _broadcast("pos_weight", positive, target)
        if target.is_floating_point():
            truth = widened(target)
            if positive is not None:
                truth = torch.stack((1 - truth, truth * positive))
        else:
            truth = target.byte() if target.dtype == torch.bool else target
            if positive is not None:
                factors.append(torch.where(target == 1, positive, 1.0))
        return truth, functools.reduce(operator.mul, factors) if factors else None

    def _reduced(self, losses: Tensor, target: Tensor) -> Tensor:
        """The losses of all labels, reduced as ``Criterion`` does it."""
        if self.reduction == "none":
            return losses
        if self.reduction == "sum":
            return losses.sum()
        if target.is_floating_point():
            return losses.mean()
        return losses.sum() / (target != self.ignore_index).sum()

    # --- costs of labels -------------------------------------------------------------------------

    def _by_label(self, z: Tensor, truth: Tensor, weight: Tensor | None, target: Tensor) -> Tensor:
        """The reduced loss of all logits, each by the matrix of its label."""
        self._check_labels(z)
        if len(self.groups) == 1:  # all labels, in their order
            return self._of_group(self.groups[0], z, truth, weight, self.reduction)
        parts = [
            self._of_group(
                group,
                z[..., group.labels],
                truth[..., group.labels],
                None if weight is None else weight[..., group.labels],
                "none",
            )
            for group in self.groups
        ]
        order = torch.cat([group.labels for group in self.groups]).argsort()
        return self._reduced(torch.cat(parts, -1)[..., order], target)

    def _of_group(
        self,
        group: _LabelGroup,
        z: Tensor,
        truth: Tensor,
        weight: Tensor | None,
        reduction: Reduction,
    ) -> Tensor:
        return self._loss(group.bound(z.numel()), z, truth, weight, reduction)

    def _loss(
        self,
        bound: Bound,
        z: Tensor,
        truth: Tensor,
        weight: Tensor | None,
        reduction: Reduction,
    ) -> Tensor:
        options = Options(None, weight, self.ignore_index, reduction)
        return loss_of(self.engine, read(bound, z, truth, options, one_logit=True))

    def _check_labels(self, logits: Tensor) -> None:
        count = sum(len(group.labels) for group in self.groups)
        if logits.dim() == 0 or logits.shape[-1] != count:
            raise ValueError(
                f"got costs for {count} labels, but logits of shape {tuple(logits.shape)}: the "
                "labels are their last dimension."
            )

    def _grouped(self) -> list[_LabelGroup]:
        """The labels in groups whose losses differ in nothing but the costs."""
        alike: dict[object, list[int]] = {}
        for k in range(0 if self.labels is None else len(self.labels)):
            terms = self._criterion(k).bound.terms
            key = tuple((term.scale, term.loss, term.costs and term.costs.shape) for term in terms)
            alike.setdefault(key, []).append(k)
        return [self._group(some) for some in alike.values()]

    def _group(self, some: list[int]) -> _LabelGroup:
        """The labels of some of the matrices."""
        assert self.labels is not None
        bound = [self._criterion(k).bound.terms for k in some]
        labels, order = torch.cat([self.labels[k] for k in some]).sort()
        if len(some) == 1:
            return _LabelGroup(labels, bound[0], (), self._criterion(some[0]))
        counts = torch.tensor([len(self.labels[k]) for k in some])
        matrix = torch.arange(len(some)).repeat_interleave(counts)[order]
        each = zip(*bound, strict=True)
        tables = [[t.costs.to_dense() for t in terms if t.costs is not None] for terms in each]
        stacked = (torch.stack(some)[matrix] if some else None for some in tables)
        return _LabelGroup(labels, bound[0], tuple(stacked))

    def _apply(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch leaves fn untyped
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> BinaryCriterion:
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        self.groups = self._grouped()
        return self


@dataclass(frozen=True)
class _LabelGroup:
    """Labels whose losses differ in nothing but the costs."""

    labels: Tensor  # (G,)
    terms: tuple[Term, ...]
    tables: tuple[Tensor | None, ...]  # (G, 2, K) for each term that reads costs
    criterion: Criterion | None = None  # where one matrix is that of all of them
    known: dict[int, Bound] = field(default_factory=dict[int, Bound])  # of the last batch

    def bound(self, count: int) -> Bound:
        """The terms for as many logits (…, G), each with the costs of its label."""
        if self.criterion is not None:
            return self.criterion.bound
        if count not in self.known:
            pairs = zip(self.terms, self.tables, strict=True)
            terms = tuple(
                term if table is None else replace(term, costs=PerLabel.of(table, count))
                for term, table in pairs
            )
            bound = Bound(terms)
            if traced():  # whose tables are those of the graph
                return bound
            self.known.clear()
            self.known[count] = bound
        return self.known[count]


def _read(costs: CostsOfLabels | None) -> tuple[list[CostsLike | None], list[Tensor] | None]:
    """The matrices, each once; and the labels of each, where labels have their own."""
    if costs is None or _dims(costs) < 3:
        return [cast("CostsLike | None", costs)], None
    matrices: list[CostsLike | None] = []
    known: list[CostMatrix] = []
    labels: list[list[int]] = []
    for label, each in enumerate(cast(Sequence[CostsLike], costs)):
        matrix = as_costs(each)
        if matrix not in known:
            known.append(matrix)
            matrices.append(each)
            labels.append([])
        labels[known.index(matrix)].append(label)
    return matrices, [torch.tensor(some) for some in labels]


def _dims(costs: object) -> int:
    """2 for one matrix, 3 for one per label."""
    if isinstance(costs, CostMatrix):
        return 2
    if isinstance(costs, Sequence) and not isinstance(costs, str):  # whose items are strings
        return 1 + max(map(_dims, cast(Sequence[object], costs)), default=0)
    return getattr(costs, "ndim", 0)


def _pairs(z: Tensor) -> Tensor:
    """The logits of both classes, (1, 2, n)."""
    return torch.stack((torch.zeros_like(z), z)).reshape(1, 2, -1)


def _broadcast(name: str, given: Tensor, target: Tensor) -> Tensor:
    """A weight for each target, in full precision."""
    check_tensor(name, given)
    try:
        return widened(given).expand(target.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} of shape {tuple(given.shape)} does not broadcast to logits of shape "
            f"{tuple(target.shape)}."
        ) from None
