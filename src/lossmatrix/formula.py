# SPDX-License-Identifier: BSD-3-Clause
"""What a loss is: a formula for one row of classes, stated once and run by every engine.

Glossary. A *row* is one sample: its logits z (C,), its truth y and its row of costs d = D[y]. With
p = softmax(z + margin) the formulas speak, for one class j of one row, about a *cell*:

    cost    d_j, what deciding j costs when the truth is y
    target  t_j, 1 at the truth and 0 elsewhere (or the probability that j is the truth)
    p, q    p_j and 1 − p_j        log_p, log_q    their logarithms

The engine delivers all four of p, q, log p and log q to full relative precision at any logits: q
of the top class is the sum of the others, never 1 − p. So a formula may be written as it stands
in the book. Because it uses arithmetic only, the same method runs on tensors (the reference
engine), on dual numbers (its derivative) and on symbols (the source of a kernel).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, as_costs

if TYPE_CHECKING:
    from lossmatrix.problem import Reduction

Rule = Literal["argmax", "bayes"]
CostsLike = CostMatrix | Tensor | Sequence[Sequence[float]]


@dataclass
class Cells:
    """The classes of all rows at once, as a formula sees them.

    Shapes: every field is (N, C), or broadcasts to it. Dual numbers and symbols stand in for the
    tensors where a derivative or a kernel is wanted; a formula cannot tell.
    """

    cost: Tensor
    target: Tensor
    p: Tensor
    q: Tensor
    log_p: Tensor
    log_q: Tensor


@dataclass
class Rows(Cells):
    """Whole rows, for losses that are not a stream over classes.

    ``x`` (N, C) are the logits with the top class at the origin, ``mass`` (N, 1) the sum of
    ``target`` over the row (1 for class-index targets), ``costs`` the matrix (None where none
    was given).
    """

    x: Tensor
    mass: Tensor
    costs: CostMatrix | None

    @property
    def error(self) -> Tensor:
        """``mass · p − target``, (N, C), without cancellation: −q at the truth, p elsewhere."""
        return self.p * (self.mass - self.target) - self.q * self.target

    def expected(self, weights: Tensor) -> Tensor:
        """``weights`` · D, (N, C) → (N, K)."""
        if self.costs is None:
            raise TypeError("this loss reads costs but none were given: pass a (C, C) matrix.")
        return self.costs.expected(weights)


# --- the two words that plain arithmetic lacks ---------------------------------------------------


class Stand(Protocol):
    """What stands in for a tensor in a formula: a dual number or a symbol."""

    def weighed_by(self, weight: object) -> Stand:
        """``weigh`` with this number as the value."""
        ...

    def power(self, exponent: float) -> Stand:
        """``power`` with this number as the base."""
        ...


def weigh(weight: Tensor, value: Tensor | Stand) -> Tensor:
    """``weight · value`` in which zero weight beats an infinite value: 0 · ∞ = 0."""
    if isinstance(value, Tensor):
        return weight * torch.where((weight == 0) & value.isinf(), 0.0, value)
    return cast(Tensor, value.weighed_by(weight))


def power(base: Tensor | Stand, exponent: float) -> Tensor:
    """``base ** exponent`` for base ≥ 0, with value and slope 0 at base 0 unless exponent is 0."""
    if isinstance(base, Tensor):
        if exponent == 0:
            return torch.ones_like(base)
        zero = base == 0
        return torch.where(zero, 0.0, torch.where(zero, 1.0, base) ** exponent)
    return cast(Tensor, base.power(exponent))


# --- the ladder: Loss → StreamedLoss → the losses ------------------------------------------------


@dataclass(frozen=True)
class Term:
    """One summand of a criterion, its loss and matrix made ready for each other.

    ``prepared`` is what an engine has made ready for all terms of a criterion, if it has.
    """

    scale: float
    loss: RowLoss
    costs: CostMatrix | None
    prepared: object = field(default=None, compare=False, repr=False)


class Loss(ABC):
    """A loss that may be called, added and scaled; its fields are its hyper-parameters.

    Class attributes state what the loss promises; the tests hold it to them:

    - ``decides``: the rule that turns its optimal logits into least-cost decisions, or None;
    - ``convex`` in the logits; ``proper``: softmax of the optimal logits are the probabilities;
    - ``linear_in_costs``: multiplying D by a number multiplies the loss by it, and losses of two
      matrices add;
    - ``reads``: "costs", "gains" or None, what kind of matrix it asks for.
    """

    decides: Rule | None
    convex: bool
    proper: bool
    linear_in_costs: bool
    reads: Literal["costs", "gains"] | None = "costs"

    @abstractmethod
    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Make loss and matrix ready for each other, or refuse the pair with one sentence."""

    def matrix(self, costs: CostsLike | None) -> CostMatrix | None:
        """``costs`` as the matrix this loss reads; a plain table is taken as ``Dense``."""
        if costs is not None:
            if self.reads == "gains" and isinstance(costs, CostMatrix):
                raise TypeError(
                    f"{self!r} reads gains W[i, j] (large is good) but was given the cost matrix "
                    f"{costs!r}: with costs it would reward the costliest class. "
                    "Use CostSensitiveCrossEntropy() with costs, or pass the gains as a tensor."
                )
            return as_costs(costs)
        if self.reads is not None:
            raise TypeError(
                f"{self!r} reads {self.reads} but none were given: "
                f"pass a (C, C) matrix whose rows are the truth."
            )
        return None

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        costs: CostsLike | None = None,
        *,
        weight: Tensor | None = None,
        sample_weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        engine: str = "auto",
    ) -> Tensor:
        """The loss of ``logits`` (N, C, d1 … dk) at ``target``; arguments as in ``Criterion``."""
        from lossmatrix.evaluate import evaluate

        return evaluate(
            self.bind(self.matrix(costs)),
            logits,
            target,
            weight=weight,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            engine=engine,
        )

    def __add__(self, other: Loss) -> Sum:
        return Sum(_parts(self) + _parts(other))

    def __mul__(self, scale: float) -> Sum:
        return Sum(tuple((scale * each, loss) for each, loss in _parts(self)))

    __rmul__ = __mul__


class RowLoss(Loss):
    """A loss given by a formula on whole rows; runs on the reference engine only.

    ``linear_in_truth`` promises ℓ(z; t) = Σ_i t_i ℓ(z; i) when the formula is given a soft
    ``target`` and ``cost`` = t·D; otherwise soft targets are evaluated truth by truth.
    """

    linear_in_truth: ClassVar[bool] = True

    @abstractmethod
    def row(self, rows: Rows) -> Tensor:
        """Loss of every row, (N,)."""

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Losses see the decisions that are classes; extra ones such as abstaining are left out."""
        if costs is None or self.reads is None:  # costs for the decision alone may be infinite
            return (Term(1.0, self, None),)
        return (Term(1.0, self, finite(self, costs.square())),)


class StreamedLoss(RowLoss):
    """A loss made of sums over the classes: ``loss(Σ_j term_j)``; runs on every engine.

    Its gradient is not written anywhere: ``term`` and ``loss`` are run on dual numbers.
    """

    def margin(self, cost: Tensor, target: Tensor) -> Tensor | None:
        """What is added to the logits before the softmax; None for nothing."""
        del cost, target
        return None

    @abstractmethod
    def term(self, cell: Cells) -> Tensor | tuple[Tensor, ...]:
        """What one class contributes to the sum (or to each of several sums)."""

    def loss(self, *totals: Tensor) -> Tensor:
        """The loss as a function of the sums."""
        (total,) = totals
        return total

    def row(self, rows: Rows) -> Tensor:
        """Loss of every row, (N,)."""
        return self.loss(*(total.sum(-1) for total in as_tuple(self.term(rows))))


@dataclass(frozen=True)
class Sum(Loss):
    """A weighted sum of losses, evaluated in one pass over the logits.

    ``decides`` is "bayes" when every part is proper; a single part keeps its rule; any other sum
    has none, because its minimiser is neither the probabilities nor the least-cost class.
    """

    parts: tuple[tuple[float, Loss], ...]

    def __post_init__(self) -> None:
        for scale, loss in self.parts:
            if not 0 <= scale < float("inf"):
                raise ValueError(
                    f"a loss can be scaled by a finite number ≥ 0 only, but {loss!r} was scaled by "
                    f"{scale}: a negative factor would reward mistakes."
                )
        if len({loss.reads for _, loss in self.parts} - {None}) > 1:
            raise TypeError(
                f"{self!r} adds a loss that reads gains to one that reads costs, but a criterion "
                "has one matrix: evaluate them separately and add the values."
            )

    @property
    def _active(self) -> tuple[Loss, ...]:
        return tuple(loss for scale, loss in self.parts if scale > 0)

    @property
    def decides(self) -> Rule | None:  # type: ignore[override]
        """ "bayes" for proper sums, the part's own rule for a single part, else None."""
        if len(self._active) == 1:
            return self._active[0].decides
        return "bayes" if self.proper else None

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """True when every part is convex."""
        return all(loss.convex for loss in self._active)

    @property
    def proper(self) -> bool:  # type: ignore[override]
        """True when every part is proper."""
        return bool(self._active) and all(loss.proper for loss in self._active)

    @property
    def linear_in_costs(self) -> bool:  # type: ignore[override]
        """True when every part is linear in the costs."""
        return all(loss.linear_in_costs for loss in self._active)

    @property
    def reads(self) -> Literal["costs", "gains"] | None:  # type: ignore[override]
        """What the parts read."""
        return next((loss.reads for _, loss in self.parts if loss.reads is not None), None)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Bind every part to the same matrix."""
        return tuple(
            Term(scale * term.scale, term.loss, term.costs)
            for scale, loss in self.parts
            for term in loss.bind(costs)
        )

    def __repr__(self) -> str:
        return " + ".join(
            repr(loss) if scale == 1 else f"{scale:g} * {loss!r}" for scale, loss in self.parts
        )


def _parts(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    return loss.parts if isinstance(loss, Sum) else ((1.0, loss),)


def as_tuple(totals: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One sum or several, always as a tuple."""
    return totals if isinstance(totals, tuple) else (totals,)


def finite(loss: Loss, costs: CostMatrix) -> CostMatrix:
    """``costs`` themselves, refused when an entry is infinite: no gradient can follow from it."""
    if not costs.is_finite:
        raise ValueError(
            f"{loss!r} was given {costs!r} with an infinite cost: losses need finite costs. "
            "State a large price instead, and keep the infinite one for decide()."
        )
    return costs


def non_negative(loss: Loss, costs: CostMatrix) -> CostMatrix:
    """``costs`` themselves, refused when an entry is negative."""
    if costs.minimum < 0:
        raise ValueError(
            f"{loss!r} needs costs ≥ 0 but the smallest is {costs.minimum:g}: without that it has "
            "no lower bound. Subtract row minima with costs.regret(); no decision changes."
        )
    return costs
