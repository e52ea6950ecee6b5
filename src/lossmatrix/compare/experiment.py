# SPDX-License-Identifier: BSD-3-Clause
"""The experiment: every split, method and rule, on the same rows with the same seeds."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy

from lossmatrix.annealing import regret_in_units
from lossmatrix.compare.backend import Progress, run_trials, silent
from lossmatrix.compare.deciding import (
    Decided,
    can_scale,
    cheapest,
    decide_scaled,
    gain_of,
    record,
    record_refined,
)
from lossmatrix.compare.evaluate import MANY_ROWS, Decisions, baseline_of, evaluate
from lossmatrix.compare.methods import (
    CONTROL,
    REFINED,
    SCALING,
    Configuration,
    Method,
    default_methods,
    why_not_refined,
)
from lossmatrix.compare.outputs import make_folder
from lossmatrix.compare.recommendation import prospect
from lossmatrix.compare.refinement import training_ratio
from lossmatrix.compare.results import LONGER, Comparison
from lossmatrix.compare.splits import Split, splits
from lossmatrix.compare.task import Backend, Task, UserInputError
from lossmatrix.compare.training import Schedule
from lossmatrix.compare.trees import check_trees
from lossmatrix.compare.trial import Trial, fingerprint, prepare, trial_path
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
    tell: Callable[[str], object] = bool,
) -> Comparison:
    """Compare losses and decision rules on one task.

    The first method is the control, decided by temperature scaling and the Bayes step. Temperature
    and matrix are fitted to out-of-fold logits of all training rows, where no validation rows are
    stored. Losses are trained with regrets in units of their mean, so that the unit of the costs
    changes nothing. Of `tune` configurations of each loss every split takes the one whose
    decisions, by the rule of its method, cost least on its validation rows. A refinement moves on
    the models that the control has been given so. A task that has only scores compares the rules
    on those; very many rows calibrate alike in every seed, and have one.

    Trainings run in `jobs` processes, or on a Ray or Dask `cluster`. Their outcomes are kept in
    the folder `keep`, where a later call finds them. `report` is told how many are done, and of
    how many, `tell` in a sentence what to expect of what comes next.

    Raises `UserInputError` where the rows cannot be split, or every decision is forbidden for some.
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
        methods, tune = [Method(name, CrossEntropy(), scales=True) for name in task.scores], 1
    methods = default_methods(task.costs, task.network) if methods is None else methods
    check_methods(task, methods)
    if is_repeated(task, plan, seeds):
        plan, seeds = plan[: len(plan) // seeds], 1
    finished: list[Decisions] = []
    with working_folder(keep) as folder:
        common = fingerprint(task, schedule)

        def trial(
            split: Split, method: Method, each: Configuration, controls: Sequence[Trial] = ()
        ) -> Trial:
            path = trial_path(folder, common, split, each, controls)
            return Trial(split, method, each, path, tuple(controls))

        def out_of_fold(each: Trial) -> list[Trial]:
            """The trial and its like, which together hold out all training rows."""
            if each.method.rule != CONTROL:
                return [each]
            others = [trial(other, each.method, each.configuration) for other in each.split.others]
            return [each, *others]

        def run(trials: Sequence[Trial], count: Progress) -> None:
            if task.features is not None:
                run_trials(task, schedule, trials, jobs, backend, cluster, count)

        stage, numbered = Stages(run, report), [*enumerate(plan)]
        refining = [method for method in methods if method.refines]
        tried = {
            (number, method.name): [
                trial(split, method, each) for each in method.configurations(tune)
            ]
            for number, split in numbered
            for method in methods
            if method not in refining
        }
        folded = sum(method.rule == CONTROL for method in methods)
        most_folds = min(tune, 2) * folded * sum(len(split.others) for split in plan)
        by_epochs = task.features is not None and task.network not in ("linear", "boosted")
        first_seed = [number for number, split in numbered if split.seed == 0] if by_epochs else []
        ahead = len(first_seed) + len(refining) * len(plan)
        stage([each for candidates in tried.values() for each in candidates], most_folds + ahead)
        chosen = {place: cheapest(task, candidates) for place, candidates in tried.items()}
        ends = {place: (chosen[place], candidates[0]) for place, candidates in tried.items()}
        folds = [fold for pair in ends.values() for each in pair for fold in out_of_fold(each)[1:]]
        stage(folds, ahead)
        pairs = [
            (each, trial(each.split, each.method, replace(each.configuration, longer=LONGER)))
            for each in (chosen[number, methods[0].name] for number in first_seed)
        ]
        stage([longer for _, longer in pairs], len(refining) * len(plan))
        controls = [out_of_fold(chosen[number, methods[0].name]) for number, _ in numbered]
        refined = {
            (number, method.name): trial(
                split,
                method,
                replace(controls[number][0].configuration, loss=method.loss),
                controls[number],
            )
            for number, split in numbered
            for method in refining
        }
        if refined:
            tell(prospect(training_ratio(controls[0], prepare(task, plan[0], schedule))))
        stage([*refined.values()], 0)
        for method in methods:
            control = method.name if task.features is None else methods[0].name
            shape = seeds, len(baseline.rows), task.costs.num_classes
            rules = method.rules(task.costs.num_classes)
            if method.scales and can_scale(task):
                rules = (*rules, SCALING)
            by_rule = [Decisions.blank(method, rule, control, shape) for rule in rules]
            scaled: list[Decided] = []
            if SCALING in rules:
                own = [out_of_fold(chosen[number, method.name]) for number, _ in numbered]
                scaled = decide_scaled(task, own, jobs)
            for number, split in numbered:
                place = numpy.searchsorted(baseline.rows, split.test)
                if method.refines:
                    record_refined(by_rule[0], task, refined[number, method.name], place)
                    continue
                tuned, untuned = map(out_of_fold, ends[number, method.name])
                for decisions in by_rule:
                    taken = scaled[number] if decisions.rule == SCALING else None
                    record(decisions, task, tuned, untuned, place, taken)
            finished += by_rule
        longer = gain_of(task, pairs) if pairs else None
    return evaluate(task, baseline, finished, schedule, tune, longer)


def check_methods(task: Task, methods: Sequence[Method]) -> None:
    """Refuse what the task cannot be compared by."""
    if task.features is not None and task.network == "boosted":
        check_trees()
    if task.features is not None:
        costs = regret_in_units(task.costs)  # which training reads
        for method in methods:
            for loss in (method.loss, *method.others):
                try:
                    loss.bind(loss.matrix(costs))
                except (TypeError, ValueError) as error:
                    raise UserInputError(
                        f"{method.name} cannot take part on {task.name}: {error}"
                    ) from error
    reason = why_not_refined(task.costs, task.network)
    if reason is not None and any(method.refines for method in methods):
        raise UserInputError(f"{REFINED.name} cannot take part on {task.name}: {reason}.")


@dataclass
class Stages:
    """Runs trials in stages, each of which begins where the last one has ended: one count."""

    run: Callable[[Sequence[Trial], Progress], None]
    report: Progress
    finished: int = 0

    def __call__(self, trials: Sequence[Trial], ahead: int) -> None:
        """Run some trials; at most so many more are `ahead`, in later stages."""
        if not trials:
            return

        def count(done: int, total: int) -> None:
            self.report(self.finished + done, self.finished + total + ahead)

        self.run(trials, count)
        self.finished += len({trial.path for trial in trials})


def is_repeated(task: Task, plan: Sequence[Split], seeds: int) -> bool:
    """Whether all seeds do the same: what has no randomness is trained, or calibrated, once.

    A linear model is trained to its optimum from zero, and boosted trees draw nothing, so only
    their rows can differ.
    """
    if task.features is not None and task.network not in ("linear", "boosted"):
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
