# SPDX-License-Identifier: BSD-3-Clause
"""From finished trials to decisions: calibrated, chosen among configurations, and recorded."""
# joblib carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy
import torch
from joblib import Parallel, delayed
from torch import Tensor

from lossmatrix.compare.calibrate import calibrate, held_out, scale_for_decisions
from lossmatrix.compare.evaluate import FAILED, MANY_ROWS, Decisions
from lossmatrix.compare.methods import CONTROL, SCALING, Rule
from lossmatrix.compare.refinement import attempt_of
from lossmatrix.compare.results import Attempt, Fit
from lossmatrix.compare.task import Indices, Numbers, Task, of_rows
from lossmatrix.compare.trial import (
    Trial,
    load_logits,
    one_thread_and_own_randomness,
    training_seconds,
)
from lossmatrix.decide import decide
from lossmatrix.held_out import Gain
from lossmatrix.losses import CrossEntropy, DecisionScore

SCALED_CLASSES = 30  # of more `DecisionScaling` takes minutes


class Decided(NamedTuple):
    """Decisions (n,), the probabilities (n, C) they follow from, and the temperature of those.

    What `fell_back` is decided as the control is, because held-out rows showed no gain.
    """

    decisions: Indices
    probs: Numbers
    temperature: float
    fell_back: bool = False


def can_scale(task: Task) -> bool:
    """Whether `DecisionScaling` takes part: it knows neither weights nor groups, and takes time."""
    costs = task.costs
    return (
        costs.num_samples is None
        and costs.is_finite
        and costs.num_classes <= SCALED_CLASSES
        and len(task.target) <= MANY_ROWS
        and task.weight is None
        and task.groups is None
    )


def decide_trial(
    task: Task,
    trial: Trial,
    rule: Rule,
    part: Literal["validation", "test"],
    calibrating: Sequence[Trial],
) -> Decided:
    """What a rule decides on the validation or test rows of a trial.

    It is calibrated on the validation rows of the trials `calibrating`. Where training failed, no
    probabilities are left and no decision is the best constant one.
    """
    logits, known = load_logits(task, trial, part), held_out(task, calibrating)
    rows: Indices = getattr(trial.split, part)
    if logits is None or known is None:
        nothing = numpy.full((len(rows), task.costs.num_classes), numpy.nan)
        return Decided(numpy.full(len(rows), FAILED), nothing, numpy.nan)
    if rule == SCALING:
        scaled = scale_for_decisions(task, trial.split, *known)
        if scaled is None:
            return decide_trial(task, trial, CONTROL, part, calibrating)._replace(fell_back=True)
        probs = scaled(logits, rows).softmax(1)
        return Decided(decide(probs, task.costs).numpy(), probs.numpy(), 1.0)
    calibration = calibrate(task, rule, *known)
    probs = calibration(logits).softmax(1)
    choice = logits.argmax(1) if rule == "argmax" else decide(probs, of_rows(task.costs, rows))
    return Decided(choice.numpy(), probs.numpy(), calibration.temperature or 1.0)


def decide_scaled(task: Task, folds: Sequence[Sequence[Trial]], jobs: int) -> list[Decided]:
    """What `DecisionScaling` decides on the test rows of each split; see `decide_trial`.

    Its fits are long, so they run in processes where trainings have.
    """
    calls = (delayed(decide_quietly)(task, trials) for trials in folds)
    made: Any = Parallel(n_jobs=1 if task.features is None else jobs)(calls)
    return list(made)


def decide_quietly(task: Task, trials: Sequence[Trial]) -> Decided:
    """A call of `decide_scaled`."""
    with one_thread_and_own_randomness():
        return decide_trial(task, trials[0], SCALING, "test", trials)


def gain_of(task: Task, pairs: Sequence[tuple[Trial, Trial]]) -> Gain | None:
    """What the second of each pair gains on the test rows of both, decided as the control.

    Each has the temperature of its own validation rows. None where a training failed.
    """
    rows = numpy.concatenate([first.split.test for first, _ in pairs])
    costs = task.decision_costs(rows)

    def paid(trials: Sequence[Trial]) -> Tensor | None:
        made = [decide_trial(task, each, CONTROL, "test", [each]).decisions for each in trials]
        taken = numpy.concatenate(made)
        return None if (taken == FAILED).any() else torch.from_numpy(costs[range(len(rows)), taken])

    first, second = (paid(trials) for trials in zip(*pairs, strict=True))
    if first is None or second is None:
        return None
    return Gain.of(first, second, torch.from_numpy(task.row_weight[rows]))


def cheapest(task: Task, candidates: Sequence[Trial]) -> Trial:
    """The candidate whose decisions cost least on validation rows, by the rule of its method.

    What failed costs more than anything; the earlier of two equal ones is taken.
    """
    if len(candidates) == 1:
        return candidates[0]
    rows = candidates[0].split.validation
    costs, weight = task.decision_costs(rows), task.row_weight[rows]

    def cost(trial: Trial) -> float:
        taken = decide_trial(task, trial, trial.method.rule, "validation", [trial]).decisions
        failed = (taken == FAILED).any()
        return numpy.inf if failed else float(weight @ costs[numpy.arange(len(rows)), taken])

    return min(candidates, key=cost)


def record(
    decisions: Decisions,
    task: Task,
    chosen: Sequence[Trial],
    untuned: Sequence[Trial],
    place: Indices,
    taken: Decided | None = None,
) -> None:
    """Decide the test rows of a split by the rule, and enter the decisions in their place.

    The first of the trials decides; all of them calibrate it. What was `taken` already is entered.
    """
    trial = chosen[0]
    default = tuned = taken or decide_trial(task, trial, decisions.rule, "test", chosen)
    enter(decisions, task, trial, tuned, place)
    if decisions.untuned is None:
        return
    if untuned[0] is not trial:
        default = decide_trial(task, untuned[0], decisions.rule, "test", untuned)
    decisions.untuned[trial.split.seed, place] = default.decisions


def record_refined(decisions: Decisions, task: Task, trial: Trial, place: Indices) -> None:
    """The same for a refinement, whose decisions are the control's where it fell back."""
    found, control = attempt_of(trial), trial.controls[0]
    if found is None or not found.refined:
        taken = decide_trial(task, control, CONTROL, "test", trial.controls)
        taken = taken._replace(fell_back=found is not None)
        enter(decisions, task, control, taken, place, found)
        return
    loss = CrossEntropy() + found.lam * DecisionScore(found.tau)
    configuration = replace(control.configuration, loss=loss)
    taken = decide_trial(task, trial, decisions.rule, "test", [trial])
    enter(decisions, task, replace(trial, configuration=configuration), taken, place, found)


def enter(
    decisions: Decisions,
    task: Task,
    trial: Trial,
    taken: Decided,
    place: Indices,
    found: Attempt | None = None,
) -> None:
    """Enter what was decided for a trial, what it follows from, and how it was trained."""
    seed = trial.split.seed
    decisions.tuned[seed, place] = taken.decisions
    if decisions.probs is not None and seed == 0:
        decisions.probs[place] = taken.probs
    trained = trial, *trial.controls[:1]
    decisions.fits.append(
        Fit(
            seed=seed,
            num_fit=len(trial.split.fit),
            place=place,
            configuration=trial.configuration,
            seconds=sum(training_seconds(task, each) for each in trained),
            temperature=taken.temperature,
            fell_back=taken.fell_back,
            attempt=found,
        )
    )
