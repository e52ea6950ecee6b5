# SPDX-License-Identifier: BSD-3-Clause
"""Refinement: the last stretch of a training, for what decisions cost; or the model as it was.

A linear or small model cannot be right everywhere, and cross-entropy does not know where that
matters. Refining moves its weights on, from cross-entropy to the cost of decisions, on paths of
several weights λ; held-out rows say how far, along which path, and whether to go at all.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossmatrix.annealing import LabelledRows, Penalty, anneal, descend, logits_of
from lossmatrix.calibration import TemperatureScaling
from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.tables import Table
from lossmatrix.held_out import Gain, deal, paid, pooled
from lossmatrix.losses import CrossEntropy

LAMBDAS = (10.0, 30.0, 100.0)
TAUS = (1.0, 0.3, 0.1, 0.03, 0.01)
STEPS = (25,) * len(TAUS)
CONTROL_STEPS = 500  # of cross-entropy, for the model of a fold
MANY_ROWS = 2000  # below them a gain has to exceed two standard errors, else one
WORTH_TRYING = 0.9  # training cost ÷ held-out cost, above which a model is too small for its rows


@dataclass(frozen=True)
class Refinement:
    """What ``refine`` found: the model to go on with, and how it is decided by.

    Decide by ``lm.decide((model(inputs) / temperature).softmax(1), costs)``. ``print`` it for one
    sentence.
    """

    model: nn.Module  # in eval mode
    refined: bool  # False where it fell back: the model has the weights that were given
    temperature: float  # 1 where refined
    lam: float | None  # of the best candidate, refined or not; None where there was no room
    tau: float | None
    gain: Gain  # of that candidate over the control, on held-out rows
    required: float  # standard errors that the gain had to exceed
    ratio: float  # training cost ÷ held-out cost of the control

    def __str__(self) -> str:
        if self.lam is None:
            return "not refined: no decision of the model on held-out rows could cost less"
        gain = self.gain
        found = (
            f"λ = {self.lam:g}, τ = {self.tau:g} {'cost' if self.refined else 'would cost'} "
            f"{gain.cost:.4g} in place of {gain.control:.4g} a held-out row "
            f"(difference {gain.difference:+.2g}, standard error {gain.standard_error:.2g})"
        )
        if self.refined:
            return f"refined: {found}"
        errors = "one standard error" if self.required == 1 else "two standard errors"
        return (
            f"not refined: {found}, which is no gain of more than {errors}; the model is as it was"
        )


def refine(
    model: nn.Module,
    loader: Iterable[Sequence[Tensor]],
    costs: CostMatrix | Table,
    *,
    validation: Iterable[Sequence[Tensor]] | None = None,
    ridge: float = 1.0,
    folds: int = 4,
    generator: torch.Generator | None = None,
) -> Refinement:
    """A copy of a trained model, moved on to where its decisions cost less, if that is sure.

    From the weights of ``model``, which cross-entropy has trained, L-BFGS goes down

        Σ w ℓ / Σ w + ridge / 2N · ‖W‖²,  ℓ = CrossEntropy + λ · DecisionScore(τ)

    for λ in {10, 30, 100} and τ = 1, 0.3, 0.1, 0.03, 0.01, each stage from the last; W are the
    parameters of two and more dimensions. λ and the stage are those whose Bayes decisions cost
    least on held-out rows: those of ``validation``, or of each fold in turn. The control there is
    the model after temperature scaling, decided by Bayes. Unless the gain exceeds one standard
    error (two below 2,000 held-out rows) the model comes back as it was, and the result says so.

    It pays for models that are too small for their rows. A warning tells beforehand where the
    decisions of the control cost less than 0.9 times as much on its training rows as on held-out
    ones: there it seldom does. Probabilities get worse on the way; decide by these costs alone.

    Args:
        model: gives logits (N, C). It is copied, in eval mode: dropout is off and statistics of
            batches stay. Parameters that ask for no gradient stay too.
        loader: its training rows: batches (inputs, target) or (inputs, target, sample_weight),
            target as class indices. They are read once and held in memory.
        costs: a ``CostMatrix`` or a table (C, K), rows are the truth.
        validation: batches of rows that were not trained on. Without them the rows are dealt to
            ``folds``, which only a linear model allows: one of which a single ``nn.Linear`` is
            trained, since it forgets a fold that is taken away.
        ridge: of all stages and of the models of the folds: the one that ``model`` was trained
            with; 1 is scikit-learn's default.
        folds: how many models the rows are held out from in turn.
        generator: deals the rows to folds; by default always in the same way.

    Raises:
        TypeError, ValueError, IndexError: batches, logits or costs that do not fit.

    Source: derived for this library; DecisionScore has its own. The temperature is that of Guo,
    Pleiss, Sun and Weinberger (2017).

    >>> x = torch.linspace(-2, 2, 300).unsqueeze(1)
    >>> y = ((x > 0.5) & (x < 1.5)).long().squeeze(1)  # a class between two parts of the other
    >>> model = torch.nn.Linear(1, 2)
    >>> model.load_state_dict({"weight": torch.tensor([[0.0], [0.8]]), "bias": torch.zeros(2)})
    <All keys matched successfully>
    >>> refinement = lm.refine(model, [(x, y)], [[0, 1], [5, 0]], folds=2)
    >>> refinement.refined
    True
    >>> print(f"{refinement.gain.cost:.2f} in place of {refinement.gain.control:.2f}")
    0.13 in place of 0.27
    """
    costs = as_costs(costs)
    rows, final = _read(loader, "loader", model), copy.deepcopy(model).eval()
    _check(final, rows, costs, ridge)
    if validation is None:
        folds_of_rows = _folds(final, rows, folds, ridge, generator)
        held_out = rows
    else:
        held_out = _read(validation, "validation", final)
        _check_target(held_out, costs)
        everything = torch.arange(len(held_out.target), device=held_out.target.device)
        folds_of_rows = [TrainedFold(final, rows, everything)]
    start = StartingPoint.of(folds_of_rows, held_out, costs)
    if start.ratio < WORTH_TRYING:
        warnings.warn(
            f"decisions of this model cost {start.ratio:.2f} times as much on its training rows as "
            f"on held-out ones; refining seldom pays below {WORTH_TRYING}, where a model is large "
            "enough to remember its rows",
            stacklevel=2,
        )
    return move_on(final, rows, folds_of_rows, held_out, costs, ridge, start)


@dataclass(frozen=True)
class TrainedFold:
    """A control, the rows that it was trained on, and the numbers of the rows that it was not."""

    control: nn.Module
    rows: LabelledRows
    left_out: Tensor


@dataclass(frozen=True)
class StartingPoint:
    """How the controls of all folds decide: after one temperature, by Bayes, on held-out rows."""

    temperature: float
    paid: Tensor  # in each held-out row, (N,)
    ratio: float  # training cost ÷ held-out cost; NaN where no held-out decision could cost less

    @classmethod
    def of(
        cls, folds: Sequence[TrainedFold], held_out: LabelledRows, costs: CostMatrix
    ) -> StartingPoint:
        """The starting point of controls that have each left some of the held-out rows out."""
        logits = _on_held_out(folds, held_out)
        temperature = _temperature(logits, held_out.target)
        made = paid(logits / temperature, held_out.target, costs)
        regret = costs.regret()  # a ratio of costs needs their zero
        needless = _mean(paid(logits / temperature, held_out.target, regret), held_out)
        training = _training_cost(folds, temperature, regret)
        return cls(temperature, made, training / needless if needless > 0 else math.nan)

    def mean(self, held_out: LabelledRows) -> float:
        """What a decision on these rows costs on average."""
        return _mean(self.paid, held_out)


def move_on(
    model: nn.Module,
    rows: LabelledRows,
    folds: Sequence[TrainedFold],
    held_out: LabelledRows,
    costs: CostMatrix,
    ridge: float,
    start: StartingPoint,
) -> Refinement:
    """Move ``model`` on in place, as far as the controls of the folds show a gain; see `refine`."""
    required = 2.0 if len(held_out.target) < MANY_ROWS else 1.0
    if math.isnan(start.ratio):
        nothing = Gain.of(start.paid, start.paid, held_out.weight)
        return Refinement(model, False, start.temperature, None, None, nothing, required, math.nan)
    lam, tau, gain = _best(folds, held_out, costs, ridge, start.paid)
    refined = gain.exceeds(required)
    if refined:
        for reached in anneal(model, rows, costs, lam, TAUS, _ridge(ridge, rows), STEPS):
            if reached == tau:
                break
    temperature = 1.0 if refined else start.temperature
    return Refinement(model, refined, temperature, lam, tau, gain, required, start.ratio)


def _folds(
    model: nn.Module,
    rows: LabelledRows,
    folds: int,
    ridge: float,
    generator: torch.Generator | None,
) -> list[TrainedFold]:
    """A control for each fold, trained on by cross-entropy on the rows of the other folds."""
    if not _is_linear(model):
        raise ValueError(
            "this model is more than one nn.Linear, and would remember the rows of a fold that is "
            "taken away: pass validation=, batches of rows that it was not trained on"
        )
    if not 2 <= folds <= len(rows.target):
        raise ValueError(
            f"folds must be from 2 to the number of rows, {len(rows.target)}, got {folds}"
        )
    number = deal(rows.target, folds, generator)
    trained: list[TrainedFold] = []
    for fold in range(folds):
        control = copy.deepcopy(model)
        kept = rows.at((number != fold).nonzero().squeeze(1))
        descend(control, kept, CrossEntropy(), None, _ridge(ridge, kept), CONTROL_STEPS)
        trained.append(TrainedFold(control, kept, (number == fold).nonzero().squeeze(1)))
    return trained


def _best(
    folds: Sequence[TrainedFold],
    held_out: LabelledRows,
    costs: CostMatrix,
    ridge: float,
    control: Tensor,
) -> tuple[float, float, Gain]:
    """λ and τ of the stage whose decisions cost least on all held-out rows, and its gain."""
    found: list[tuple[float, float, Gain]] = []
    for lam in LAMBDAS:
        stages: dict[float, list[tuple[Tensor, Tensor]]] = {tau: [] for tau in TAUS}
        for fold in folds:
            model, penalty = copy.deepcopy(fold.control), _ridge(ridge, fold.rows)
            own = held_out.at(fold.left_out)
            for tau in anneal(model, fold.rows, costs, lam, TAUS, penalty, STEPS):
                cost = paid(logits_of(model, own.inputs), own.target, costs)
                stages[tau].append((fold.left_out, cost))
        for tau, parts in stages.items():
            cost = pooled(parts, len(control))
            found.append((lam, tau, Gain.of(control, cost, held_out.weight)))
    return min(found, key=lambda each: each[2].cost)


def _on_held_out(folds: Sequence[TrainedFold], held_out: LabelledRows) -> Tensor:
    """The logits of every held-out row by the control that has not seen it, (N, C)."""
    inputs = held_out.inputs
    parts = [(each.left_out, logits_of(each.control, inputs[each.left_out])) for each in folds]
    return pooled(parts, len(held_out.target))


def _temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature of the control; 1 where none is best, as for rows without a mistake."""
    try:
        return TemperatureScaling().fit(logits, target).temperature or 1.0
    except ValueError:
        return 1.0


def _training_cost(folds: Sequence[TrainedFold], temperature: float, costs: CostMatrix) -> float:
    """What the decisions of the controls cost on the rows that these were trained on."""
    made = [
        _mean(paid(logits_of(s.control, s.rows.inputs) / temperature, s.rows.target, costs), s.rows)
        for s in folds
    ]
    return sum(made) / len(made)


def _mean(cost: Tensor, rows: LabelledRows) -> float:
    return ((rows.weight @ cost) / rows.weight.sum()).item()


def _ridge(ridge: float, rows: LabelledRows) -> Penalty:
    """ridge / 2N · ‖W‖², with N the weight of all rows."""
    factor = ridge / (2 * rows.weight.sum().item())

    def penalty(model: nn.Module) -> Tensor:
        trained = [each for each in model.parameters() if each.requires_grad]
        squares = [each.square().sum() for each in trained if each.dim() > 1]
        return factor * (sum(squares) + 0.0 * trained[0].sum())

    return penalty


def _is_linear(model: nn.Module) -> bool:
    """Whether all that is trained are the weights of one ``nn.Linear``."""
    owners = [
        module
        for module in model.modules()
        if any(each.requires_grad for each in module.parameters(recurse=False))
    ]
    return len(owners) == 1 and isinstance(owners[0], nn.Linear)


def _read(loader: Iterable[Sequence[Tensor]], name: str, model: nn.Module) -> LabelledRows:
    """All rows of a loader, on the device of the model."""
    first = next(model.parameters(), None)
    device = None if first is None else first.device
    batches: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in loader:
        if not (
            isinstance(batch, (tuple, list))
            and len(batch) in (2, 3)
            and all(map(torch.is_tensor, batch))
        ):
            raise TypeError(
                f"{name} must give batches (inputs, target) or (inputs, target, sample_weight) of "
                f"tensors, but gave a {type(batch).__name__}"
            )
        inputs, target = batch[0], batch[1]
        weight = batch[2] if len(batch) == 3 else torch.ones(len(target), device=target.device)
        if target.dim() != 1 or target.is_floating_point() or len(inputs) != len(target):
            raise ValueError(
                f"{name} gave inputs of shape {tuple(inputs.shape)} and target "
                f"{tuple(target.shape)} of {target.dtype}: expected class indices (N,), one for "
                "each row of the inputs"
            )
        if weight.shape != target.shape or not bool(((weight >= 0) & weight.isfinite()).all()):
            raise ValueError(
                f"{name} gave sample_weight of shape {tuple(weight.shape)}: expected a finite "
                f"number of at least 0 for each of the {len(target)} rows"
            )
        batches.append((inputs.to(device), target.to(device).long(), weight.to(device).double()))
    if not batches or not sum(bool(weight.any()) for _, _, weight in batches):
        raise ValueError(f"{name} has no row that counts: give batches of rows, not used up ones")
    inputs, target, weight = (torch.cat(each) for each in zip(*batches, strict=True))
    return LabelledRows(inputs, target, weight)


def _check(model: nn.Module, rows: LabelledRows, costs: CostMatrix, ridge: float) -> None:
    """Refuse what cannot be refined, before anything is trained."""
    if not any(each.requires_grad for each in model.parameters()):
        raise ValueError("this model has no parameter that asks for a gradient: nothing to refine")
    if costs.num_samples is not None:
        raise ValueError(
            f"{costs!r} belongs to some rows, and rows are held out: give costs per pair of classes"
        )
    if not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be a finite number of at least 0, got {ridge}")
    if not costs.is_finite:
        raise ValueError(
            f"{costs!r} forbids decisions at an infinite cost, of which no gradient follows: give "
            "what is forbidden a finite price"
        )
    _check_target(rows, costs)
    logits = logits_of(model, rows.inputs[:1])
    if logits.dim() != 2 or logits.shape[1] != costs.num_classes:
        raise ValueError(
            f"the model gives {tuple(logits.shape)} for one row, but the costs have "
            f"{costs.num_classes} classes: expected logits (1, {costs.num_classes})"
        )
    if not bool(logits_of(model, rows.inputs).isfinite().all()):
        raise ValueError("the model gives logits that are not finite: look for NaN in the inputs")


def _check_target(rows: LabelledRows, costs: CostMatrix) -> None:
    """Refuse class indices that are no class of the costs."""
    outside = (rows.target < 0) | (rows.target >= costs.num_classes)
    if bool(outside.any()):
        raise IndexError(
            f"target {int(rows.target[outside][0])} is no class of 0 … {costs.num_classes - 1}: "
            "leave rows out that shall not count"
        )
