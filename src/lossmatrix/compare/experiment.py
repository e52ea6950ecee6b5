# SPDX-License-Identifier: BSD-3-Clause
"""The experiment: every split, method and rule, on the same rows with the same seeds."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy

from lossmatrix.compare.backend import Progress, run_trials, silent
from lossmatrix.compare.calibrate import calibrate, held_out
from lossmatrix.compare.evaluate import FAILED, MANY_ROWS, Decisions, baseline_of, evaluate
from lossmatrix.compare.methods import CONTROL, Configuration, Method, Rule, default_methods
from lossmatrix.compare.outputs import make_folder
from lossmatrix.compare.results import Comparison, Fit
from lossmatrix.compare.splits import Split, splits
from lossmatrix.compare.task import Backend, Indices, Numbers, Task, UserInputError, of_rows
from lossmatrix.compare.training import Schedule
from lossmatrix.compare.trial import Trial, fingerprint, load_logits, training_seconds, trial_path
from lossmatrix.decide import decide
from lossmatrix.losses import CrossEntropy

DEFAULT_SCHEDULE = Schedule()


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

    The first method is the control, decided by temperature scaling and the Bayes step. Temperature
    and matrix are fitted to out-of-fold logits of all training rows, where no validation rows are
    stored. Losses are trained with regrets in units of their mean, so that the unit of the costs
    changes nothing. Of `tune` configurations of each loss every split takes the one whose
    decisions, by the rule of its method, cost least on its validation rows. A task that has only
    scores compares the rules on those; very many rows calibrate alike in every seed, and have one.

    Trainings run in `jobs` processes, or on a Ray or Dask `cluster`. Their outcomes are kept in
    the folder `keep`, where a later call finds them. `report` is told how many are done, and of
    how many.

    Raises `UserInputError` where the rows cannot be split or one decision is never a mistake.
    """
    if task.features is None and len(task.target) > MANY_ROWS:
        seeds = 1
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
    if is_repeated(task, plan, seeds):
        plan, seeds = plan[: len(plan) // seeds], 1
    taken: list[Decisions] = []
    with working_folder(keep) as folder:
        common = fingerprint(task, schedule)

        def trial(split: Split, method: Method, each: Configuration) -> Trial:
            return Trial(split, method, each, trial_path(folder, common, split, each))

        def out_of_fold(each: Trial) -> list[Trial]:
            """The trial and its like, which together hold out all training rows."""
            if each.method.rule != CONTROL:
                return [each]
            others = [trial(other, each.method, each.configuration) for other in each.split.others]
            return [each, *others]

        def run(trials: Sequence[Trial]) -> None:
            if task.features is not None and trials:
                run_trials(task, schedule, trials, jobs, backend, cluster, report)

        tried = {
            (number, method.name): [
                trial(split, method, each) for each in method.configurations(tune)
            ]
            for number, split in enumerate(plan)
            for method in methods
        }
        run([each for candidates in tried.values() for each in candidates])
        chosen = {place: cheapest(task, candidates) for place, candidates in tried.items()}
        ends = {place: (chosen[place], candidates[0]) for place, candidates in tried.items()}
        run([fold for pair in ends.values() for each in pair for fold in out_of_fold(each)[1:]])
        for method in methods:
            control = method.name if task.features is None else methods[0].name
            shape = seeds, len(baseline.rows), task.costs.num_classes
            rules = method.rules(task.costs.num_classes)
            by_rule = [Decisions.blank(method, rule, control, shape) for rule in rules]
            for number, split in enumerate(plan):
                tuned, untuned = map(out_of_fold, ends[number, method.name])
                place = numpy.searchsorted(baseline.rows, split.test)
                for decisions in by_rule:
                    record(decisions, task, tuned, untuned, place)
            taken += by_rule
    return evaluate(task, baseline, taken, schedule, tune)


def is_repeated(task: Task, plan: Sequence[Split], seeds: int) -> bool:
    """Whether all seeds do the same: what has no randomness is trained, or calibrated, once.

    A linear model is trained to its optimum from zero, so only its rows can differ.
    """
    if task.features is not None and task.network != "linear":
        return False
    count = len(plan) // seeds
    return all(
        numpy.array_equal(getattr(split, part), getattr(plan[number % count], part))
        for number, split in enumerate(plan)
        for part in ("fit", "validation", "test")
    )


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
    seed = trial.split.seed
    tuned = decide_trial(task, trial, decisions.rule, "test", chosen)
    decisions.tuned[seed, place] = tuned.decisions
    if decisions.probs is not None and seed == 0:
        decisions.probs[place] = tuned.probs
    default = tuned
    if untuned[0] is not trial:
        default = decide_trial(task, untuned[0], decisions.rule, "test", untuned)
    decisions.untuned[seed, place] = default.decisions
    decisions.fits.append(
        Fit(
            seed=seed,
            num_fit=len(trial.split.fit),
            place=place,
            configuration=trial.configuration,
            seconds=training_seconds(task, trial),
            temperature=tuned.temperature,
        )
    )
