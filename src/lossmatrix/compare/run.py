# SPDX-License-Identifier: BSD-3-Clause
"""Run a comparison: every split, every method, every rule, on the same rows with the same seeds."""
# joblib carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy
import torch
from joblib import delayed, parallel_config
from torch import Tensor

from lossmatrix.calibration import TemperatureScaling
from lossmatrix.compare.cells import (
    Cell,
    cell_path,
    fingerprint,
    load,
    prepare,
    seconds,
    train_cell,
)
from lossmatrix.compare.methods import CONTROL, Method, Rule, default_methods
from lossmatrix.compare.results import FAILED, Comparison, Record, Run, judge, stakes_of
from lossmatrix.compare.splitting import splits
from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError, of_rows
from lossmatrix.compare.training import Schedule
from lossmatrix.compare.workers import Backend, Reporting, workers
from lossmatrix.decide import decide
from lossmatrix.losses import CrossEntropy

DEFAULT_SCHEDULE = Schedule()
REPEATED_ROWS = 50_000  # weighted validation rows, repeated in whole numbers, add up to this
ATTEMPTS = 3  # a worker that is killed takes the pool along; what it leaves undone is tried anew

Report: TypeAlias = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report nothing."""


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
    report: Report = silent,
) -> Comparison:
    """Compare losses and decision rules on one task.

    The first method is the control, decided by temperature scaling and the Bayes step. Losses are
    trained with regrets in units of their mean, so that the unit of the costs changes nothing. Of
    `tune` configurations of each loss every split takes the one whose decisions cost least on its
    validation rows. A task that has only scores compares the rules on those.

    Trainings run in `jobs` processes, or on a Ray or Dask `cluster`. Their outcomes are kept in
    the folder `keep`, where a later call finds them. `report` is told how many are done, and of
    how many.

    Raises `UserInputError` where the rows cannot be split or one decision is never a mistake.
    """
    plan = list(splits(task, seeds))
    stakes = stakes_of(task, numpy.unique(numpy.concatenate([split.test for split in plan])))
    if task.features is None:
        methods, tune = [Method(name, CrossEntropy()) for name in task.scores], 1
    methods = default_methods(task.costs) if methods is None else methods
    records: list[Record] = []
    with working_folder(keep) as folder:
        common = fingerprint(task, schedule)
        cells = [
            Cell(split, method, each, cell_path(folder, common, split, each))
            for split in plan
            for method in methods
            for each in method.configurations(tune)
        ]
        if task.features is not None:
            with workers(jobs, backend, cluster) as killed:
                train_all(task, schedule, cells, killed, report)
        for method in methods:
            control = method.name if task.features is None else methods[0].name
            shape = seeds, len(stakes.judged), task.costs.num_classes
            mine = [Record.blank(method, rule, control, shape) for rule in method.rules]
            for split in plan:
                candidates = [c for c in cells if c.split is split and c.method is method]
                chosen = cheapest(task, candidates)
                place = numpy.searchsorted(stakes.judged, split.test)
                for record in mine:
                    write_down(record, task, chosen, candidates[0], place)
            records += mine
    return judge(task, stakes, records, schedule, tune)


@contextmanager
def working_folder(keep: Path | None) -> Generator[Path]:
    """The folder that cells are kept in, or one that vanishes."""
    if keep is None:
        with TemporaryDirectory(prefix="lossmatrix-") as name:
            yield Path(name)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep


def train_all(
    task: Task,
    schedule: Schedule,
    cells: Sequence[Cell],
    killed: tuple[type[Exception], ...],
    report: Report,
) -> None:
    """Train the cells that have no outcome yet, and again those that a killed worker took along."""
    unique = {cell.path: cell for cell in cells}
    for _ in range(ATTEMPTS):
        left = [cell for path, cell in unique.items() if not path.exists()]
        done = len(unique) - len(left)
        report(done, len(unique))
        try:
            pool = Reporting(lambda n, done=done: report(done + n, len(unique)))
            pool(calls(task, schedule, left))
        except killed:
            continue
        if lost := [cell.path for cell in left if not cell.path.exists()]:
            raise UserInputError(
                f"The workers wrote {len(lost)} outcomes where this machine cannot read them: name "
                "a folder with --keep that all machines of the cluster share."
            )
        return
    raise UserInputError(
        f"Worker processes were killed in {ATTEMPTS} attempts; most often memory ran out: use "
        "fewer --jobs. With --keep, a new run goes on from what is finished."
    )


def calls(task: Task, schedule: Schedule, cells: Sequence[Cell]) -> Iterator[Any]:
    """A call for each cell; the rows of a split are encoded when the first of its cells is due."""
    for _, group in groupby(cells, lambda cell: id(cell.split)):
        same_split = list(group)
        with parallel_config("sequential"):  # scikit-learn would use the pool that waits for it
            data = prepare(task, same_split[0].split, schedule)
        yield from (delayed(train_cell)(cell, data) for cell in same_split)


class Decided(NamedTuple):
    """Decisions (n,), the probabilities (n, C) they follow from, and the temperature of those."""

    decisions: Indices
    probs: Numbers
    temperature: float


def decided(task: Task, cell: Cell, rule: Rule, part: Literal["validation", "test"]) -> Decided:
    """What a rule decides on the validation or test rows of a cell.

    Where training failed, no probabilities are left and no decision is the best constant one.
    """
    logits, validation = load(task, cell, part), load(task, cell, "validation")
    rows: Indices = getattr(cell.split, part)
    if logits is None or validation is None:
        nothing = numpy.full((len(rows), task.costs.num_classes), numpy.nan)
        return Decided(numpy.full(len(rows), FAILED), nothing, numpy.nan)
    scaling = TemperatureScaling(1.0)
    if rule == CONTROL:
        scaling = calibrate(task, validation, cell.split.validation)
    probs = scaling(logits).softmax(1)
    choice = logits.argmax(1) if rule == "argmax" else decide(probs, of_rows(task.costs, rows))
    return Decided(choice.numpy(), probs.numpy(), scaling.temperature or 1.0)


def cheapest(task: Task, candidates: Sequence[Cell]) -> Cell:
    """The candidate whose decisions cost least on validation rows, by its loss's own rule.

    What failed costs more than anything; the earlier of two equal ones is taken.
    """
    if len(candidates) == 1:
        return candidates[0]
    rows = candidates[0].split.validation
    paid, weight = task.paid(rows), task.row_weight[rows]

    def cost(cell: Cell) -> float:
        choice = decided(task, cell, cell.method.rules[-1], "validation").decisions
        failed = (choice == FAILED).any()
        return numpy.inf if failed else float(weight @ paid[numpy.arange(len(rows)), choice])

    return min(candidates, key=cost)


def write_down(record: Record, task: Task, chosen: Cell, untuned: Cell, place: Indices) -> None:
    """Decide the test rows by the record's rule and write the decisions in their place."""
    seed = chosen.split.seed
    found = decided(task, chosen, record.rule, "test")
    record.decisions[seed, place] = found.decisions
    if record.probs is not None and seed == 0:
        record.probs[place] = found.probs
    default = found if chosen is untuned else decided(task, untuned, record.rule, "test")
    record.untuned[seed, place] = default.decisions
    record.runs.append(
        Run(
            seed=seed,
            num_fit=len(chosen.split.fit),
            place=place,
            configuration=chosen.configuration,
            seconds=seconds(task, chosen),
            temperature=found.temperature,
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
