# SPDX-License-Identifier: BSD-3-Clause
"""``Loss``: a formula for one row of classes, stated once and run by every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.losses.language import Cells

DecisionRule = Literal["argmax", "bayes"]
Reduction = Literal["none", "mean", "sum"]
CostsLike = CostMatrix | Tensor | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Term:
    """One summand of a criterion, its loss and matrix made ready for each other."""

    scale: float
    loss: Loss
    costs: CostMatrix | None


class Loss:
    """A loss: ``loss(Σ_j term_j)``, a sum over the classes of a row, or several.

    It may be called, added and scaled; its fields are its hyper-parameters. A loss of your own is
    a frozen dataclass that states ``term``, and where it needs them ``loss``, ``margin`` or
    ``logits``; or ``bind``, where it is another loss on another matrix. Its gradient is not written
    anywhere: the formulas are run on dual numbers.

    Class attributes state what the loss promises; the tests hold it to them:

    - ``decides``: the rule that turns its optimal logits into least-cost decisions, or None;
    - ``convex`` in the logits; ``proper``: softmax of the optimal logits are the probabilities;
    - ``linear_in_costs``: multiplying D by a number multiplies the loss by it, and losses of two
      matrices add whose rows are largest at the same decisions;
    - ``linear_in_truth``: ℓ(z; t) = Σ_i t_i ℓ(z; i) when the formula is given probabilities t as
      ``target`` and t·D as ``cost``; without it they are evaluated truth by truth;
    - ``reads``: "costs", "gains" or None, what kind of matrix it asks for.
    """

    decides: DecisionRule | None
    convex: bool
    proper: bool
    linear_in_costs: bool
    linear_in_truth: ClassVar[bool] = True
    reads: Literal["costs", "gains"] | None = "costs"

    # --- what a loss states ----------------------------------------------------------------------

    def term(self, cell: Cells) -> Tensor | tuple[Tensor, ...]:
        """What one class contributes to the sum (or to each of several sums)."""
        raise NotImplementedError(f"{type(self).__name__} states no term(cell), its formula.")

    def loss(self, *totals: Tensor) -> Tensor:
        """The loss as a function of the sums."""
        (total,) = totals
        return total

    def margin(self, cost: Tensor, target: Tensor) -> Tensor | None:
        """What is added to the logits before the softmax; None for nothing."""
        del cost, target
        return None

    def logits(self, risk: Tensor) -> Tensor | None:
        """What the softmax over *decisions* is taken of, of the risk of each; None for classes.

        The cells of such a loss are decisions, and have no target.
        """
        del risk
        return None

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Make loss and matrix ready for each other, or refuse the pair with one sentence.

        Losses see the decisions that are classes; extra ones such as abstaining are left out.
        """
        if costs is None or self.reads is None:  # costs for the decision alone may be infinite
            return (Term(1.0, self, None),)
        return (Term(1.0, self, finite(self, costs.square())),)

    # --- what everybody may do with it -----------------------------------------------------------

    evaluate: ClassVar[Callable[..., Tensor]]  # set by ``lossmatrix.nn``, which knows the engines

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
        return Loss.evaluate(
            self.bind(self.matrix(costs)),
            logits,
            target,
            engine,
            weight=weight,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

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

    def __add__(self, other: Loss) -> Sum:
        check_loss(other)
        return Sum(_parts(self) + _parts(other))

    def __radd__(self, other: Literal[0]) -> Loss:
        if type(other) is not int or other != 0:  # Python's sum begins at 0
            check_loss(other)
        return self

    def __mul__(self, scale: float) -> Sum:
        return Sum(tuple((scale * each, loss) for each, loss in _parts(self)))

    __rmul__ = __mul__


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
            if scale > 0:
                check_room(loss, f"its factor {scale:g}", scale, 1 / scale)
        if len({loss.reads for _, loss in self.parts} - {None}) > 1:
            raise TypeError(
                f"{self!r} adds a loss that reads gains to one that reads costs, but a criterion "
                "has one matrix: evaluate them separately and add the values."
            )

    @property
    def _active(self) -> tuple[Loss, ...]:
        return tuple(loss for scale, loss in self.parts if scale > 0)

    @property
    def decides(self) -> DecisionRule | None:  # type: ignore[override]
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
    def linear_in_truth(self) -> bool:  # type: ignore[override]
        """True when every part is linear in the truth."""
        return all(loss.linear_in_truth for loss in self._active)

    @property
    def reads(self) -> Literal["costs", "gains"] | None:  # type: ignore[override]
        """What the parts read."""
        return next((loss.reads for _, loss in self.parts if loss.reads is not None), None)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Bind every part to the same matrix, where float32 has room for what they are together."""
        terms = [
            Term(scale * term.scale, term.loss, term.costs)
            for scale, loss in self.parts
            for term in loss.bind(costs)
        ]
        for term in terms:
            if term.scale > 1 and term.costs is not None and term.costs.num_samples is None:
                largest = max(-term.costs.minimum, term.costs.maximum)
                name = f"its factor {term.scale:g} on costs of up to {largest:g}"
                check_room(term.loss, name, term.scale * largest)
        return tuple(terms)

    def __repr__(self) -> str:
        return " + ".join(
            repr(loss) if scale == 1 else f"{scale:g} * {loss!r}" for scale, loss in self.parts
        )


def _parts(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    return loss.parts if isinstance(loss, Sum) else ((1.0, loss),)


def check_loss(loss: object) -> None:
    """Refuse what is no loss, with what to write instead."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"{loss.__name__} is a class: write {loss.__name__}().")
    if not isinstance(loss, Loss):
        raise TypeError(f"a loss is needed, such as CrossEntropy(), but got {loss!r}.")


def as_tuple(totals: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One sum or several, always as a tuple."""
    return totals if isinstance(totals, tuple) else (totals,)


def finite(loss: Loss, costs: CostMatrix) -> CostMatrix:
    """``costs`` themselves, refused when an entry is infinite: no gradient can follow from it.

    Costs of samples come with every batch. Reading them all for this would take as long as the
    loss; where the loss can be looked at, they are checked when it is not finite.
    """
    if costs.num_samples is None or not on_cpu(costs):
        _refuse_infinite(loss, costs)
    return costs


def check_costs_of_samples(terms: tuple[Term, ...]) -> None:
    """Why a loss is not finite, as a ValueError, where costs of samples are the cause."""
    for term in terms:
        if term.costs is not None and term.costs.num_samples is not None:
            term.costs.check_values()
            _refuse_infinite(term.loss, term.costs)


def _refuse_infinite(loss: Loss, costs: CostMatrix) -> None:
    if not costs.is_finite:
        raise ValueError(
            f"{loss!r} was given {costs!r} with an infinite cost: losses need finite costs. "
            "State a large price instead, and keep the infinite one for decide()."
        )


def on_cpu(costs: CostMatrix) -> bool:
    """Whether all tables of a matrix are in the memory of the CPU."""
    return all(table.device.type == "cpu" for table in costs.tables.values())


def non_negative(loss: Loss, costs: CostMatrix) -> CostMatrix:
    """``costs`` themselves, refused when an entry is negative."""
    if costs.minimum < 0:
        raise ValueError(
            f"{loss!r} needs costs ≥ 0 but the smallest is {costs.minimum:g}: without that it has "
            "no lower bound. Subtract row minima with costs.regret(); no decision changes."
        )
    return costs


def costs_of(loss: Loss, costs: CostMatrix | None) -> CostMatrix:
    """The matrix, which every loss but cross-entropy needs."""
    matrix = loss.matrix(costs)
    if matrix is None:  # ``matrix`` has raised where costs are needed
        raise TypeError(f"{loss!r} needs costs.")
    return matrix


def square_costs(loss: Loss, costs: CostMatrix | None) -> CostMatrix:
    """The finite costs of deciding for a class."""
    return finite(loss, costs_of(loss, costs).square())


ROOM = 1e30  # float32 holds 3e38, and sums over a batch are made of what a user states


def check_room(loss: Loss, what: str, *sizes: float) -> None:
    """Refuse numbers, stated or derived, of which float32 would make 0, infinity or NaN."""
    if max(map(abs, sizes)) > ROOM:
        raise ValueError(
            f"{loss!r} has no room for {what} in float32, where numbers from {1 / ROOM:g} to "
            f"{ROOM:g} are safe: choose one nearer to 1, or give the costs in another unit, "
            "costs.scaled(1 / costs.unit)."
        )


def check_tau(loss: Loss, stated: str, tau: float, costs: CostMatrix) -> None:
    """Refuse a τ, in the unit of the costs, for which float32 does not hold τ, 1/τ or d/τ."""
    spread = costs.maximum - costs.minimum
    rates = (1 / tau, spread / tau) if tau > 0 else (math.inf,)
    check_room(loss, f"{stated} with costs that differ by up to {spread:g}", tau, *rates)


def positive(loss: Loss, name: Literal["tau", "temperature"], value: float) -> None:
    """Refuse a hyper-parameter that is not a finite number above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(
            f"{name} must be a finite number > 0, but is {value} in {type(loss).__name__}."
        )
