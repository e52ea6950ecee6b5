# SPDX-License-Identifier: BSD-3-Clause
"""The experiment: every split, method and rule, on the same rows with the same seeds."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy
import torch
from torch import Tensor

from lossmatrix.calibration import TemperatureScaling
from lossmatrix.compare.backend import Progress, run_trials, silent
from lossmatrix.compare.evaluate import FAILED, Decisions, baseline_of, evaluate
from lossmatrix.compare.methods import CONTROL, Method, Rule, default_methods
from lossmatrix.compare.outputs import make_folder
from lossmatrix.compare.results import Comparison, Fit
from lossmatrix.compare.splits import splits
from lossmatrix.compare.task import Backend, Indices, Numbers, Task, UserInputError, of_rows
from lossmatrix.compare.training import Schedule
from lossmatrix.compare.trial import Trial, fingerprint, load_logits, training_seconds, trial_path
from lossmatrix.decide import decide
from lossmatrix.losses import CrossEntropy

DEFAULT_SCHEDULE = Schedule()
REPEATED_ROWS = 50_000  # weighted validation rows, repeated in whole numbers, add up to this


def compare_task(
    task: Task,
    methods: Sequence[Method] | None = None,
    *,
    seeds: int = 5,
    schedule: Schedule = DEFAULT_SCHEDULE,
    tune: int = 4,
    jobs: int = 1,
    backend: Backend = "loky",
    cluster: str | None = None,
    keep: Path | None = None,
    report: Progress = silent,
) -> Comparison:
    """Compare losses and decision rules on one task.

    The first method is the control, decided by temperature scaling and the Bayes step. Losses are
    trained with regrets in units of their mean, so that the unit of the costs changes nothing. Of
    `tune` configurations of each loss every split takes the one whose decisions, by the rule of its
    method, cost least on its validation rows. A task that has only scores compares the rules on
    those.

    Trainings run in `jobs` processes, or on a Ray or Dask `cluster`. Their outcomes are kept in
    the folder `keep`, where a later call finds them. `report` is told how many are done, and of
    how many.

    Raises `UserInputError` where the rows cannot be split or one decision is never a mistake.
    """
    plan = list(splits(task, seeds))
    baseline = baseline_of(task, numpy.unique(numpy.concatenate([split.test for split in plan])))
    if task.features is not None and not task.costs.is_finite:
        raise UserInputError(
            f"Losses cannot be trained with the infinite costs of {task.name}, which forbid a "
            "decision: give it a dear, finite cost, or compare given probabilities."
        )
    if task.features is None:
        methods, tune = [Method(name, CrossEntropy()) for name in task.scores], 1
    methods = default_methods(task.costs) if methods is None else methods
    taken: list[Decisions] = []
    with working_folder(keep) as folder:
        common = fingerprint(task, schedule)
        trials = [
            Trial(split, method, each, trial_path(folder, common, split, each))
            for split in plan
            for method in methods
            for each in method.configurations(tune)
        ]
        if task.features is not None:
            run_trials(task, schedule, trials, jobs, backend, cluster, report)
        for method in methods:
            control = method.name if task.features is None else methods[0].name
            shape = seeds, len(baseline.rows), task.costs.num_classes
            by_rule = [Decisions.blank(method, rule, control, shape) for rule in method.rules]
            for split in plan:
                candidates = [t for t in trials if t.split is split and t.method is method]
                chosen = cheapest(task, candidates)
                place = numpy.searchsorted(baseline.rows, split.test)
                for decisions in by_rule:
                    record(decisions, task, chosen, candidates[0], place)
            taken += by_rule
    return evaluate(task, baseline, taken, schedule, tune)


@contextmanager
def working_folder(keep: Path | None) -> Generator[Path]:
    """The folder that trials are kept in, or one that vanishes."""
    if keep is None:
        with TemporaryDirectory(prefix="lossmatrix-") as name:
            yield Path(name)
    else:
        make_folder(keep, "--keep")
        yield keep


class Decided(NamedTuple):
    """Decisions (n,), the probabilities (n, C) they follow from, and the temperature of those."""

    decisions: Indices
    probs: Numbers
    temperature: float


def decide_trial(
    task: Task, trial: Trial, rule: Rule, part: Literal["validation", "test"]
) -> Decided:
    """What a rule decides on the validation or test rows of a trial.

    Where training failed, no probabilities are left and no decision is the best constant one.
    """
    logits, validation = load_logits(task, trial, part), load_logits(task, trial, "validation")
    rows: Indices = getattr(trial.split, part)
    if logits is None or validation is None:
        nothing = numpy.full((len(rows), task.costs.num_classes), numpy.nan)
        return Decided(numpy.full(len(rows), FAILED), nothing, numpy.nan)
    scaling = TemperatureScaling(1.0)
    if rule == CONTROL:
        scaling = calibrate(task, validation, trial.split.validation)
    probs = scaling(logits).softmax(1)
    choice = logits.argmax(1) if rule == "argmax" else decide(probs, of_rows(task.costs, rows))
    return Decided(choice.numpy(), probs.numpy(), scaling.temperature or 1.0)


def cheapest(task: Task, candidates: Sequence[Trial]) -> Trial:
    """The candidate whose decisions cost least on validation rows, by the rule of its method.

    What failed costs more than anything; the earlier of two equal ones is taken.
    """
    if len(candidates) == 1:
        return candidates[0]
    rows = candidates[0].split.validation
    costs, weight = task.decision_costs(rows), task.row_weight[rows]

    def cost(trial: Trial) -> float:
        choice = decide_trial(task, trial, trial.method.rule, "validation").decisions
        failed = (choice == FAILED).any()
        return numpy.inf if failed else float(weight @ costs[numpy.arange(len(rows)), choice])

    return min(candidates, key=cost)


def record(decisions: Decisions, task: Task, chosen: Trial, untuned: Trial, place: Indices) -> None:
    """Decide the test rows of a split by the rule, and enter the decisions in their place."""
    seed = chosen.split.seed
    tuned = decide_trial(task, chosen, decisions.rule, "test")
    decisions.tuned[seed, place] = tuned.decisions
    if decisions.probs is not None and seed == 0:
        decisions.probs[place] = tuned.probs
    default = tuned if chosen is untuned else decide_trial(task, untuned, decisions.rule, "test")
    decisions.untuned[seed, place] = default.decisions
    decisions.fits.append(
        Fit(
            seed=seed,
            num_fit=len(chosen.split.fit),
            place=place,
            configuration=chosen.configuration,
            seconds=training_seconds(task, chosen),
            temperature=tuned.temperature,
        )
    )


def calibrate(task: Task, logits: Tensor, rows: Indices) -> TemperatureScaling:
    """The temperature fitted to validation rows, each as often as it stands for.

    It is 1, which is counted, where no temperature is best: no row is wrong, or the logits tell
    nothing about the target.
    """
    target = torch.as_tensor(task.target[rows])
    if task.weight is not None:
        weight = task.weight[rows] * (REPEATED_ROWS / task.weight[rows].sum())
        times = torch.as_tensor(weight.round().astype(int))
        logits, target = logits.repeat_interleave(times, 0), target.repeat_interleave(times)
    try:
        return TemperatureScaling().fit(logits, target)
    except ValueError:
        return TemperatureScaling(1.0)
