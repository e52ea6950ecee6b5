# SPDX-License-Identifier: BSD-3-Clause
"""``Criterion``: a loss and its costs as a module, in the place of ``nn.CrossEntropyLoss``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lossmatrix.costs import CostMatrix
from lossmatrix.costs.labels import check_same
from lossmatrix.decide import decide_from_logits
from lossmatrix.engines import bind, choose
from lossmatrix.losses import CostsLike, DecisionRule, Loss, Reduction, Term
from lossmatrix.losses.base import check_loss
from lossmatrix.problem import (
    Bound,
    Options,
    Problem,
    check_classes,
    check_costs,
    check_options,
    out_of_bounds,
    read,
    wide_indices,
)
from lossmatrix.tensors import check_tensor, unseen

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

BOUND = "loss and costs of a criterion are bound to each other: make another Criterion(loss, costs)"


class Criterion(nn.Module):
    """A loss together with the costs of mistakes; a drop-in for ``nn.CrossEntropyLoss``.

    The result is the reduction of ℓ(logits_n, target_n, D[target_n]) over the rows n. Shapes:
    logits (C), (N, C) or (N, C, d1 … dk); target class indices (), (N), (N, d1 … dk) of int64,
    uint8 or int32, or class probabilities of the logits' shape. Results have the logits' dtype,
    float32 under autocast; costs never change it. They are in units of the costs times the
    loss's own (see the loss).

    Args:
        loss: a loss or a sum of losses, such as ``CrossEntropy() + 0.5 * ExpectedCost()``.
        costs: a ``CostMatrix``, or a (C, K) table taken as ``Dense``; rows are the truth. Kept as
            non-persistent float32 buffers: they follow ``.to(device)``, never ``.half()``.
        weight: a weight per true class, (C,). What weighs 0 counts for nothing, whatever it holds.
        ignore_index: class index of rows that count neither in the value nor in the mean.
        reduction: "mean", "sum" or "none". The mean divides by the sum of the class weights of
            the counted rows for class indices, by the number of rows for probabilities.
        label_smoothing: share of every target that is spread evenly over the classes.
        engine: "auto" or the name of an engine; a named engine runs or refuses, see ``explain``.

    Raises:
        ValueError, TypeError, RuntimeError, IndexError: shapes, dtypes, options or targets that do
            not fit, where PyTorch has a message with that message; a matrix that the loss refuses.

    >>> costs = [[0, 1, 9], [1, 0, 4], [9, 4, 0]]
    >>> criterion = lm.Criterion(lm.CrossEntropy() + 0.5 * lm.ExpectedCost(), costs)
    >>> round(criterion(torch.zeros(2, 3), torch.tensor([0, 2])).item(), 4)
    3.0153
    >>> criterion = lm.Criterion(lm.CrossEntropy(), costs)
    >>> criterion.decide(torch.tensor([[1.0, 0.5, 0.0]]))
    tensor([1])
    """

    weight: Tensor | None

    def __init__(
        self,
        loss: Loss,
        costs: CostsLike | None = None,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        check_loss(loss)
        check_options(reduction, label_smoothing)
        self._loss = loss
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.label_smoothing = label_smoothing
        self.engine = engine
        if weight is not None:
            check_tensor("weight", weight)
        self.register_buffer("weight", weight)
        matrix = loss.matrix(costs)
        self._costs = None if matrix is None else matrix.to(dtype=torch.float32)
        self.bound = bind(loss.bind(self.costs))
        for name, table in self._tables().items():
            self.register_buffer(name, table, persistent=False)

    def __setattr__(self, name: str, value: Any) -> None:
        """Attributes are read by forward; tables of costs are bound, as the costs are."""
        if name in self.__dict__.get("_non_persistent_buffers_set", ()):
            raise AttributeError(BOUND)
        super().__setattr__(name, value)

    @property
    def loss(self) -> Loss:
        """The loss, which is bound to the costs when the criterion is made."""
        return self._loss

    @loss.setter
    def loss(self, loss: object) -> None:
        raise AttributeError(BOUND)

    @property
    def costs(self) -> CostMatrix | None:
        """The costs as they are kept, in float32; those of a batch are an argument of the call."""
        return self._costs

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
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (C), (N, C) or (N, C, d1 … dk), floating point.
            target: class indices or class probabilities.
            sample_weight: multiplies the loss of each row; the mean's denominator stays, Σ w ℓ / n
                (that of a metric is Σ w).
            costs: the costs of this batch, such as ``PerExample``, in place of the criterion's.
            normalizer: what the sum of the losses is divided by, in place of the mean's own
                denominator: a number, or a tensor (), such as ``count`` of all parts of a batch.
        """
        bound = self.bound_to(costs)
        if costs is None and self.costs is not None:
            check_classes(self.costs, logits.shape, self.costs.shape)
        # as an attribute it is what Module finds last; weights that are learned are no buffer
        own = self._buffers if "weight" in self._buffers else self._parameters
        weight = own["weight"]
        options = Options(
            weight, sample_weight, self.ignore_index, self.reduction, self.label_smoothing
        )
        return evaluated(bound, logits, target, options, normalizer, self.engine)

    def bound_to(self, costs: CostsLike | None) -> Bound:
        """The loss on the costs of a batch, if there are any, of the same classes; or its own."""
        return self.bound if costs is None else Bound(self.loss.bind(self.costs_of(costs)))

    def costs_of(self, costs: CostsLike | None) -> CostMatrix | None:
        """The costs of a batch, if there are any, of the same classes; or the criterion's."""
        if costs is None:
            return self.costs
        matrix = self.loss.matrix(costs)
        if matrix is not None and self.costs is not None:
            check_same(self.costs.classes, matrix.classes, "classes of the costs of this batch")
        return matrix

    def decide(
        self,
        logits: Tensor,
        *,
        rule: DecisionRule | None = None,
        costs: CostsLike | None = None,
    ) -> Tensor:
        """The decision that this loss is made for, (N, d1 … dk) int64.

        Args:
            logits: (C), (N, C) or (N, C, d1 … dk).
            rule: "argmax" of the logits, or "bayes": least expected cost under softmax(logits).
                By default the rule of the loss; a loss without one asks for it.
            costs: the costs of this batch in place of the criterion's, such as a matrix for each
                row, ``PerExample.matrices``.

        >>> criterion = lm.Criterion(lm.CrossEntropy())
        >>> own = lm.PerExample.matrices([[[0, 1], [1, 0]], [[0, 1], [9, 0]]])  # the second is dear
        >>> criterion.decide(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), costs=own)
        tensor([0, 1])
        """
        check_tensor("logits", logits)
        rule = rule or self.loss.decides
        if rule is None:
            raise ValueError(
                f"{self.loss!r} has no decision rule of its own: its optimal logits are neither "
                "those of the probabilities nor those of the least-cost class. Pass rule='argmax' "
                "or rule='bayes', whichever costs less on validation data."
            )
        class_dim = 0 if logits.dim() == 1 else 1
        matrix = self.costs_of(costs)
        if matrix is not None:
            check_classes(matrix, logits.shape, matrix.shape)
        if rule == "argmax" or matrix is None:
            if matrix is not None:
                matrix.check_square()
            return logits.argmax(class_dim)
        return decide_from_logits(logits, matrix)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        shown = [repr(self.loss)]
        if self.costs is not None:
            shown.append(repr(self.costs))
        shown += [f"ignore_index={self.ignore_index}", f"reduction={self.reduction!r}"]
        if self.label_smoothing:
            shown.append(f"label_smoothing={self.label_smoothing}")
        if self.engine != "auto":
            shown.append(f"engine={self.engine!r}")
        return ", ".join(shown)

    # The tables of the matrices are buffers, and the matrices are views of the buffers: whatever
    # moves a module's buffers moves the costs. Their dtype stays, so that .half() rounds no price.

    def _matrices(self) -> dict[str, CostMatrix]:
        own = {} if self.costs is None else {"costs": self.costs}
        bound = {
            f"costs_of_term{i}": term.costs
            for i, term in enumerate(self.bound.terms)
            if term.costs is not None
        }
        return own | bound

    def _tables(self) -> dict[str, Tensor]:
        return {
            f"{matrix_name}_{name}": table
            for matrix_name, matrix in self._matrices().items()
            for name, table in matrix.tables.items()
        }

    def _apply(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch leaves fn untyped
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> Criterion:
        before = self._tables()
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        for name, table in before.items():
            moved = self.get_buffer(name)
            self.register_buffer(name, _with_dtype_of(table, moved), persistent=False)

        def rebuilt(matrix_name: str, matrix: CostMatrix) -> CostMatrix:
            tables = {name: self.get_buffer(f"{matrix_name}_{name}") for name in matrix.tables}
            return matrix.with_tables(tables)

        matrices = {name: rebuilt(name, matrix) for name, matrix in self._matrices().items()}
        self._costs = matrices.get("costs")
        self.bound = bind(
            tuple(
                replace(term, costs=matrices.get(f"costs_of_term{i}"))
                for i, term in enumerate(self.bound.terms)
            )
        )
        return self


def _with_dtype_of(table: Tensor, moved: Tensor) -> Tensor:
    """``table`` where ``moved`` went, its numbers neither rounded nor, by ``to_empty``, lost."""
    if moved.is_meta or table.is_meta:
        return moved.to(table.dtype)
    return table.to(moved.device)


def evaluated(
    bound: Bound,
    logits: Tensor,
    target: Tensor,
    options: Options,
    normalizer: float | Tensor | None,
    engine: str,
) -> Tensor:
    """The loss of a call; with a normalizer a sum that is divided before it is rounded."""
    if normalizer is None:
        return loss_of(engine, read(bound, logits, target, options))
    check_normalizer(normalizer, options.reduction)
    problem = read(bound, logits, target, replace(options, reduction="sum"))
    total = loss_of(engine, replace(problem, output_dtype=problem.compute_dtype))
    return (total / normalizer).to(problem.output_dtype)


def check_normalizer(normalizer: object, reduction: str) -> None:
    """Refuse what is no constant number, and sums that there are none of, in one sentence."""
    if normalizer is None:
        return
    if reduction == "none":
        raise ValueError("normalizer divides a sum, and reduction='none' has none.")
    if isinstance(normalizer, Tensor):
        if normalizer.dim() != 0 or normalizer.requires_grad:
            grad = " that requires a gradient" if normalizer.requires_grad else ""
            raise ValueError(
                f"normalizer must be a number or a constant tensor (), got a tensor of shape "
                f"{tuple(normalizer.shape)}{grad}."
            )
    elif not isinstance(normalizer, (int, float)):
        raise TypeError(
            f"normalizer must be a number or a tensor (), but is a {type(normalizer).__name__}."
        )


def count(
    target: Tensor,
    *,
    ignore_index: int = -100,
    weight: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """What a mean divides by: Σ_n weight[y_n] over the rows that count, a tensor ().

    With a ``group`` it is summed over its processes, by one all-reduce. Passed as ``normalizer`` to
    the losses of the parts of a batch, it makes their sum the mean of the whole batch, however
    uneven the parts are.

    Args:
        target: class indices of any shape; a row of class probabilities counts 1, (N, C, d1 … dk).
        ignore_index: class index of rows that do not count.
        weight: a weight per class, (C,).
        group: a process group, such as ``torch.distributed.group.WORLD``; None for this process.

    Raises:
        TypeError, IndexError: a target that is no tensor; with weights, a class that is none.

    >>> lm.count(torch.tensor([0, 2, -100]), weight=torch.tensor([1.0, 1.0, 3.0]))
    tensor(4.)
    """
    check_tensor("target", target)
    if target.is_floating_point():
        total = torch.tensor(float(target.numel() // target.shape[min(1, target.dim() - 1)]))
        total = total.to(target.device)
    else:
        target = wide_indices(target, ignore_index, 0 if weight is None else len(weight))
        counts = target != ignore_index
        if weight is None:
            total = counts.sum().to(torch.float32)
        else:
            wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
            is_class = (target >= 0) & (target < len(weight))
            outside = counts & ~is_class
            if target.is_cpu and not unseen(target) and bool(outside.any()):
                raise out_of_bounds(int(target[outside][0]), len(weight))
            factors = wide[torch.where(is_class, target, 0).long()]
            total = torch.where(counts, torch.where(is_class, factors, torch.nan), 0.0).sum()
    if group is not None:
        torch.distributed.all_reduce(total, group=group)  # pyright: ignore[reportUnknownMemberType]
    return total


def loss_of(engine: str, problem: Problem) -> Tensor:
    """The loss of a problem on the engine that runs it."""
    value = choose(engine, problem).prepared.loss(problem)
    check_costs(problem, value)
    return value


def _evaluate(
    terms: tuple[Term, ...],
    logits: Tensor,
    target: Tensor,
    engine: str,
    **options: Any,
) -> Tensor:
    problem = read(Bound(terms), logits, target, Options(**options))
    return loss_of(engine, problem)


Loss.evaluate = staticmethod(_evaluate)
