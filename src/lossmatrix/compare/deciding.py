# SPDX-License-Identifier: BSD-3-Clause
"""From finished trials to decisions: calibrated, chosen among configurations, and recorded."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy

from lossmatrix.compare.calibrate import calibrate, held_out
from lossmatrix.compare.evaluate import FAILED, Decisions
from lossmatrix.compare.methods import CONTROL, Rule
from lossmatrix.compare.refinement import finding_of
from lossmatrix.compare.results import Finding, Fit
from lossmatrix.compare.task import Indices, Numbers, Task, of_rows
from lossmatrix.compare.trial import Trial, load_logits, training_seconds
from lossmatrix.decide import decide
from lossmatrix.losses import CrossEntropy, DecisionScore


class Decided(NamedTuple):
    """Decisions (n,), the probabilities (n, C) they follow from, and the temperature of those."""

    decisions: Indices
    probs: Numbers
    temperature: float


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
    calibration = calibrate(task, rule, *known)
    probs = calibration(logits).softmax(1)
    choice = logits.argmax(1) if rule == "argmax" else decide(probs, of_rows(task.costs, rows))
    return Decided(choice.numpy(), probs.numpy(), calibration.temperature or 1.0)


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
) -> None:
    """Decide the test rows of a split by the rule, and enter the decisions in their place.

    The first of the trials decides; all of them calibrate it.
    """
    trial = chosen[0]
    tuned = decide_trial(task, trial, decisions.rule, "test", chosen)
    enter(decisions, task, trial, tuned, place)
    default = tuned
    if untuned[0] is not trial:
        default = decide_trial(task, untuned[0], decisions.rule, "test", untuned)
    assert decisions.untuned is not None  # what is trained has a first configuration
    decisions.untuned[trial.split.seed, place] = default.decisions


def record_refined(decisions: Decisions, task: Task, trial: Trial, place: Indices) -> None:
    """The same for a refinement, whose decisions are the control's where it fell back."""
    found, control = finding_of(trial), trial.controls[0]
    if found is None or not found.refined:
        taken = decide_trial(task, control, CONTROL, "test", trial.controls)
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
    found: Finding | None = None,
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
            fell_back=found is not None and not found.refined,
            finding=found,
        )
    )
