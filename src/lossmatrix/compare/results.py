# SPDX-License-Identifier: BSD-3-Clause
"""What the decisions cost: one line of the table for each method and rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, get_args

import numpy

from lossmatrix.compare.methods import CONTROL, Rule
from lossmatrix.compare.splitting import SplitKind, split_kind
from lossmatrix.compare.statistics import MARGIN, Verdict, paired_intervals, verdict
from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError

FAILED = -1  # in place of a decision, where training failed
COLLAPSED = 0.99  # a method that gives one answer to more than this share of rows


@dataclass
class Record:
    """What one method decided by one rule: `decisions` (seeds, N) on the judged rows.

    Methods are measured against the method named `control`. `probs` (N, C) is what the first seed
    decided by, NaN where training failed, None where the outputs are no probabilities.
    `uncalibrated` counts the runs in which no temperature was best.
    """

    method: str
    rule: Rule
    control: str
    decisions: Indices
    probs: Numbers | None = None
    seconds: list[float] = field(default_factory=list[float])
    failures: int = 0
    uncalibrated: int = 0

    @property
    def is_control(self) -> bool:
        """Whether others are measured against this record."""
        return self.rule == CONTROL and self.method == self.control

    @property
    def known_probs(self) -> Numbers | None:
        """The probabilities, None unless every row has some."""
        return None if self.probs is None or numpy.isnan(self.probs).any() else self.probs


@dataclass(frozen=True)
class Result:
    """One line of the table; costs are per row, `confusion` (C, K) is in shares of all rows.

    `normalized_cost` is regret in units of the best constant decision's, so 1 is no better than
    not looking at the data. `difference`, `low` and `high` are in that unit, negative is cheaper
    than the control. `decisions` (seeds, N) are on the judged rows; `probs` (N, C) is what the
    first seed decided by, None where the outputs are no probabilities or a training failed.
    """

    method: str
    rule: Rule
    accuracy: float
    average_cost: float
    normalized_cost: float
    difference: float
    low: float
    high: float
    verdict: Verdict | Literal["control"]
    seconds: float
    remarks: tuple[str, ...]
    confusion: Numbers
    decisions: Indices
    probs: Numbers | None


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: the task, how it was run, and its results.

    `judged` (N,) are the row numbers of the task that were judged, in the order of every result's
    decisions; `target` and `weight` (N,) are theirs, and `row_costs` (N, C, K) where each row has
    costs of its own.
    """

    task: Task
    seeds: int
    epochs: int
    split_kind: SplitKind
    judged: Indices
    target: Indices
    weight: Numbers
    row_costs: Numbers | None
    constant: str
    constant_cost: float
    results: tuple[Result, ...]

    @property
    def num_judged(self) -> int:
        """How many rows were judged in each seed."""
        return len(self.judged)


def judge(task: Task, judged: Indices, records: Sequence[Record], epochs: int) -> Comparison:
    """Cost every decision, measure each record against its control, and say how sure that is.

    A failed training counts as the best constant decision: it is marked, never dropped.
    """
    target, weight = task.target[judged], task.row_weight[judged]
    weight = weight / weight.sum()
    costs: Numbers = task.costs.to_dense().double().numpy()
    regret = costs - costs.min(1, keepdims=True)
    constant_regrets = weight @ regret[target]
    constant = int(constant_regrets.argmin())
    name = task.costs.decisions[constant]
    if constant_regrets[constant] == 0:
        raise UserInputError(
            f"Deciding {name!r} for every row of {task.name} is never a mistake, so there is "
            "nothing to compare: give that decision a cost where it is wrong."
        )
    decisions = numpy.stack([record.decisions for record in records])  # (records, seeds, rows)
    decisions = numpy.where(decisions == FAILED, constant, decisions)
    normalized = regret[target, decisions] / constant_regrets[constant]
    controls = {record.method: i for i, record in enumerate(records) if record.is_control}
    differences = normalized - normalized[[controls[record.control] for record in records]]
    intervals = paired_intervals(differences, target, weight)

    def mean(values: Numbers) -> float:
        return float(values.mean(0) @ weight)

    results: list[Result] = []
    for record, chosen, paid, difference, (low, high) in zip(
        records, decisions, normalized, differences, intervals.tolist(), strict=True
    ):
        confusion = numpy.zeros(costs.shape)
        numpy.add.at(confusion, (target, chosen), weight / len(chosen))
        result = Result(
            method=record.method,
            rule=record.rule,
            accuracy=mean(chosen == target),
            average_cost=mean(costs[target, chosen]),
            normalized_cost=mean(paid),
            difference=mean(difference),
            low=low,
            high=high,
            verdict="control" if record.is_control else verdict(low, high),
            seconds=median(record.seconds),
            remarks=tuple(remarks(record, mean(paid), confusion)),
            confusion=confusion,
            decisions=chosen,
            probs=record.known_probs,
        )
        results.append(result)
    constant_cost = float(weight @ costs[target, constant])
    seeds = decisions.shape[1]
    return Comparison(
        task=task,
        seeds=seeds,
        epochs=epochs,
        split_kind=split_kind(task),
        judged=judged,
        target=target,
        weight=task.row_weight[judged],
        row_costs=None,
        constant=name,
        constant_cost=constant_cost,
        results=tuple(results),
    )


def remarks(record: Record, normalized_cost: float, confusion: Numbers) -> list[str]:
    """What a reader must know before believing the numbers of a line."""
    runs = len(record.seconds)
    checks = {
        f"training failed in {record.failures} of {runs} runs": record.failures,
        f"no temperature is best in {record.uncalibrated} of {runs} runs": record.uncalibrated,
        "collapsed: one answer to nearly every row": confusion.sum(0).max() > COLLAPSED,
        "no better than a constant answer": round(normalized_cost, 9) >= 1,
    }
    return [remark for remark, applies in checks.items() if applies]


def summary(comparison: Comparison) -> list[str]:
    """What the table says, in a few sentences."""
    sentences: list[str] = []
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
