# SPDX-License-Identifier: BSD-3-Clause
"""What the decisions cost: one line of the table for each method and rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import numpy
from numpy.typing import NDArray

from lossmatrix.compare.methods import CONTROL, Configuration, Method, Rule
from lossmatrix.compare.splitting import SplitKind, split_kind
from lossmatrix.compare.statistics import (
    MARGIN,
    Verdict,
    corrected_interval,
    paired_intervals,
    verdict,
)
from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError, of_rows
from lossmatrix.compare.training import Schedule

FAILED = -1  # in place of a decision, where training failed
UNDERTRAINED = 0.05  # normalised cost by which a model may miss what a converged one reaches
COLLAPSED = 0.99  # a method that gives one answer to more than this share of rows


@dataclass(frozen=True)
class Run:
    """One training that was judged: its seed, its test rows' places among the judged rows.

    `temperature` is 1 where none is best, or none is asked for, and NaN where training failed.
    """

    seed: int
    num_fit: int
    place: Indices
    configuration: Configuration
    seconds: float
    temperature: float

    @property
    def failed(self) -> bool:
        """Whether the loss became infinite or NaN in training."""
        return numpy.isnan(self.temperature).item()


@dataclass
class Record:
    """What one method decided by one rule: `decisions` (seeds, N) on the judged rows.

    `untuned` (seeds, N) is decided with the first configuration. Methods are measured against the
    method named `control`. `probs` (N, C) is what the first seed decided by, NaN where training
    failed, None where the outputs are no probabilities.
    """

    method: str
    rule: Rule
    control: str
    decisions: Indices
    untuned: Indices
    probs: Numbers | None
    runs: list[Run] = field(default_factory=list[Run])

    @classmethod
    def blank(
        cls, method: Method, rule: Rule, control: str, shape: tuple[int, int, int]
    ) -> "Record":
        """A record of shape (seeds, N, C) in which everything is still open."""
        probs = numpy.full(shape[1:], numpy.nan) if method.gives_probs else None
        decisions, untuned = numpy.full((2, *shape[:2]), FAILED)
        return cls(method.name, rule, control, decisions, untuned, probs)

    @property
    def is_control(self) -> bool:
        """Whether others are measured against this record."""
        return self.rule == CONTROL and self.method == self.control

    @property
    def known_probs(self) -> Numbers | None:
        """The probabilities, None unless every row has some."""
        return None if self.probs is None or numpy.isnan(self.probs).any() else self.probs


@dataclass(frozen=True)
class Stakes:
    """What there is to lose: the judged rows, and what each decision costs on each of them.

    `judged`, `target`, `weight` (N,), which sums to 1; `paid` (N, K). `constant` is the decision
    that costs least where all rows get the same one, and `unit` is its average regret.
    """

    judged: Indices
    target: Indices
    weight: Numbers
    paid: Numbers
    regret: Numbers
    constant: int
    unit: float


def stakes_of(task: Task, judged: Indices) -> Stakes:
    """The stakes of some rows. Raises `UserInputError` where one decision is never a mistake."""
    weight = task.row_weight[judged]
    weight = weight / weight.sum()
    paid = task.paid(judged)
    regret = paid - paid.min(1, keepdims=True)
    constants = weight @ regret
    constant = int(constants.argmin())
    if constants[constant] == 0:
        name = task.costs.decisions[constant]
        raise UserInputError(
            f"Deciding {name!r} for every row of {task.name} is never a mistake, so there is "
            "nothing to compare: give that decision a cost where it is wrong."
        )
    unit = float(constants[constant])
    return Stakes(judged, task.target[judged], weight, paid, regret, constant, unit)


@dataclass(frozen=True)
class Result:
    """One line of the table; costs are per row, `confusion` (C, K) is in shares of all rows.

    `normalized_cost` is regret in units of the best constant decision's, so 1 is no better than
    not looking at the data; `interval` is its own, and `untuned_cost` the same with the first
    configuration everywhere.
    `difference`, `low` and `high` are in that unit, negative is cheaper than the control;
    `corrected` is the interval for repeated cross-validation, None where no folds are trained.
    `decisions` (seeds, N) are on the judged rows; `probs` (N, C) is what the first seed decided
    by, None where the outputs are no probabilities or a training failed.
    """

    method: str
    rule: Rule
    accuracy: float
    average_cost: float
    normalized_cost: float
    interval: tuple[float, float]
    untuned_cost: float
    difference: float
    low: float
    high: float
    corrected: tuple[float, float] | None
    verdict: Verdict | Literal["control"]
    seconds: float
    remarks: tuple[str, ...]
    confusion: Numbers
    decisions: Indices
    probs: Numbers | None
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: the task, how it was run, and its results.

    `judged` (N,) are the row numbers of the task that were judged, in the order of every result's
    decisions; `target` and `weight` (N,) are theirs, and `row_costs` (N, C, K) where each row has
    costs of its own.
    """

    task: Task
    seeds: int
    schedule: Schedule
    tune: int
    split_kind: SplitKind
    judged: Indices
    target: Indices
    weight: Numbers
    row_costs: Numbers | None
    constant: str
    constant_cost: float
    constant_regret: float
    results: tuple[Result, ...]

    @property
    def epochs(self) -> int:
        """For how many epochs AdamW trained."""
        return self.schedule.epochs

    @property
    def num_judged(self) -> int:
        """How many rows were judged in each seed."""
        return len(self.judged)

    def __str__(self) -> str:
        """The table and what it says, as `lossmatrix compare` prints them."""
        from lossmatrix.compare.terminal import text  # it reads this class

        return text(self)

    def write_report(self, path: Path | str) -> None:
        """Write the report, one HTML file, and results.json and results.parquet beside it."""
        from lossmatrix.compare.export import write_results
        from lossmatrix.compare.report import write_report  # it reads this class

        write_report(self, Path(path))
        write_results(self, Path(path).parent)


def judge(
    task: Task, stakes: Stakes, records: Sequence[Record], schedule: Schedule, tune: int
) -> Comparison:
    """Cost every decision, measure each record against its control, and say how sure that is.

    A failed training counts as the best constant decision: it is marked, never dropped.
    """
    target, weight, everyone = stakes.target, stakes.weight, numpy.arange(len(stakes.target))
    tables = ([record.decisions for record in records], [record.untuned for record in records])
    decisions, untuned = (  # (records, seeds, rows)
        numpy.where((table := numpy.stack(each)) == FAILED, stakes.constant, table)
        for each in tables
    )
    normalized = stakes.regret[everyone, decisions] / stakes.unit
    controls = {record.method: i for i, record in enumerate(records) if record.is_control}
    differences = normalized - normalized[[controls[record.control] for record in records]]
    both = numpy.concatenate([normalized, differences])  # of which one draw of rows serves all
    intervals, paired = numpy.split(paired_intervals(both, target, weight), 2)
    folded = task.parts is None and task.features is not None

    def mean(values: NDArray[Any]) -> float:
        return float(values.mean(0) @ weight)

    results: list[Result] = []
    for record, chosen, default, paid, interval, difference, (low, high) in zip(
        records,
        decisions,
        untuned,
        normalized,
        intervals.tolist(),
        differences,
        paired.tolist(),
        strict=True,
    ):
        confusion = numpy.zeros(task.costs.shape)
        numpy.add.at(confusion, (target, chosen), weight / len(chosen))
        result = Result(
            method=record.method,
            rule=record.rule,
            accuracy=mean(chosen == target),
            average_cost=mean(stakes.paid[everyone, chosen]),
            normalized_cost=mean(paid),
            interval=tuple(interval),
            untuned_cost=mean(stakes.regret[everyone, default]) / stakes.unit,
            difference=mean(difference),
            low=low,
            high=high,
            corrected=corrected(record.runs, difference, weight) if folded else None,
            verdict="control" if record.is_control else verdict(low, high),
            seconds=median(run.seconds for run in record.runs),
            remarks=tuple(remarks(record, mean(paid), confusion)),
            confusion=confusion,
            decisions=chosen,
            probs=record.known_probs,
            runs=tuple(record.runs),
        )
        results.append(result)
    own = None if task.costs.num_samples is None else of_rows(task.costs, stakes.judged)
    return Comparison(
        task=task,
        seeds=decisions.shape[1],
        schedule=schedule,
        tune=tune,
        split_kind=split_kind(task),
        judged=stakes.judged,
        target=target,
        weight=task.row_weight[stakes.judged],
        row_costs=None if own is None else own.tables["table"].double().numpy(),
        constant=task.costs.decisions[stakes.constant],
        constant_cost=float(weight @ stakes.paid[:, stakes.constant]),
        constant_regret=stakes.unit,
        results=tuple(results),
    )


def corrected(runs: Sequence[Run], difference: Numbers, weight: Numbers) -> tuple[float, float]:
    """The interval of repeated cross-validation, from the mean difference of every test part."""
    means: list[float] = [
        numpy.average(difference[run.seed, run.place], weights=weight[run.place]).item()
        for run in runs
    ]
    ratios = [len(run.place) / run.num_fit for run in runs]
    return corrected_interval(numpy.array(means), float(numpy.mean(ratios)))


def remarks(record: Record, normalized_cost: float, confusion: Numbers) -> list[str]:
    """What a reader must know before believing the numbers of a line."""
    runs = len(record.runs)
    failures = sum(run.failed for run in record.runs)
    uncalibrated = record.rule == CONTROL and sum(run.temperature == 1 for run in record.runs)
    checks = {
        f"training failed in {failures} of {runs} runs": failures,
        f"no temperature is best in {uncalibrated} of {runs} runs": uncalibrated,
        "collapsed: one answer to nearly every row": confusion.sum(0).max() > COLLAPSED,
        "no better than a constant answer": round(normalized_cost, 9) >= 1,
    }
    return [remark for remark, applies in checks.items() if applies]


def summary(comparison: Comparison) -> list[str]:
    """What the table says, in a few sentences."""
    sentences = undertraining(comparison)
    controls = [result for result in comparison.results if result.verdict == "control"]
    for control in controls:
        likeliest = likeliest_class(comparison, control)
        saved = likeliest.normalized_cost - control.normalized_cost
        share = abs(saved) / likeliest.normalized_cost if saved else 0
        sentences.append(
            f"Choosing the likeliest class ({control.method}, argmax) costs "
            f"{price(likeliest.average_cost)} a decision; deciding the same outputs by cost "
            f"({CONTROL}, the control) costs {price(control.average_cost)}: "
            f"{share:.0%} {'more' if saved < 0 else 'less'} needless cost."
        )
    names = [control.method for control in controls]
    rivals = [result for result in comparison.results if result.method not in names]
    if rivals:
        counts = [(word, sum(r.verdict == word for r in rivals)) for word in get_args(Verdict)]
        sentences.append(
            f"Training with the prices, {len(rivals)} combinations of loss and rule against that "
            f"control: {', '.join(f'{word} in {count}' for word, count in counts if count)} "
            f"(margin {MARGIN} of normalised cost)."
        )
    return sentences


def undertraining(comparison: Comparison) -> list[str]:
    """A warning where cross-entropy costs much more than it does trained to its end."""
    converged = comparison.task.converged_cost
    found = [r for r in comparison.results if r.rule == "Bayes" and r.method == "CrossEntropy"]
    if converged is None or not found:
        return []
    if (found[0].average_cost - converged) / comparison.constant_regret < UNDERTRAINED:
        return []
    return [
        f"Warning: cross-entropy decided by cost pays {price(found[0].average_cost)} a decision, "
        f"but {price(converged)} where it is trained to its end (anchors.csv): it is undertrained, "
        "and a comparison against it means nothing. Train for more epochs."
    ]


def likeliest_class(comparison: Comparison, control: Result) -> Result:
    """The result of the control's own outputs, decided by argmax."""
    return next(
        result
        for result in comparison.results
        if result.method == control.method and result.rule == "argmax"
    )


def figures(result: Result) -> str:
    """The difference to the control and its interval."""
    mean, low, high = (
        f"{value:+.3f}".replace("-", "−") for value in (result.difference, result.low, result.high)
    )
    return f"{mean} [{low}, {high}]"


def price(cost: float) -> str:
    """A cost in four figures, or in whole numbers where it is large.

    >>> price(0.403), price(12345.6), price(999.97)
    ('0.4030', '12,346', '1,000')
    """
    return f"{cost:,.0f}" if abs(cost) >= 999.95 else f"{cost:#.4g}"
