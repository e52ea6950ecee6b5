# SPDX-License-Identifier: BSD-3-Clause
"""From decisions to what they cost, and how sure a difference to the control is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy
from numpy.typing import NDArray

from lossmatrix.compare.intervals import (
    corrected_interval,
    margin_of,
    paired_intervals,
    verdict,
)
from lossmatrix.compare.methods import CONTROL, MATRIX, SCALING, Method, Rule
from lossmatrix.compare.results import Comparison, Fit, Row, in_units
from lossmatrix.compare.splits import split_kind
from lossmatrix.compare.task import Indices, Numbers, Task, UserInputError, of_rows
from lossmatrix.compare.training import Schedule
from lossmatrix.held_out import Gain

FAILED = -1  # in place of a decision, where training failed
MANY_ROWS = 100_000  # their probabilities are kept in single precision
COLLAPSED = 0.99  # a method that gives one answer to more than this share of rows


@dataclass
class Decisions:
    """What one method decided by one rule: `tuned` and `untuned` (seeds, N) on the test rows.

    `untuned` is decided with the first configuration, None for what begins where tuning has ended.
    Methods are measured against the method
    named `control`. `probs` (N, C) is what the first seed decided by, NaN where training failed,
    None where the outputs are no probabilities.
    """

    method: str
    rule: Rule
    control: str
    tuned: Indices
    untuned: Indices | None
    probs: Numbers | None
    fits: list[Fit] = field(default_factory=list[Fit])

    @classmethod
    def blank(
        cls, method: Method, rule: Rule, control: str, shape: tuple[int, int, int]
    ) -> "Decisions":
        """Decisions of shape (seeds, N, C), none of which has been taken."""
        kind = "f4" if shape[1] > MANY_ROWS else "f8"
        probs: Any = numpy.full(shape[1:], numpy.nan, kind) if method.gives_probs else None
        tuned, untuned = numpy.full((2, *shape[:2]), FAILED)
        first = None if method.refines or rule == SCALING else untuned
        return cls(method.name, rule, control, tuned, first, probs)

    @property
    def is_control(self) -> bool:
        """Whether others are measured against these decisions."""
        return self.rule == CONTROL and self.method == self.control

    @property
    def known_probs(self) -> Numbers | None:
        """The probabilities, None unless every row has some."""
        return None if self.probs is None or numpy.isnan(self.probs).any() else self.probs


@dataclass(frozen=True)
class Baseline:
    """The best constant decision on the test rows, whose average regret is the unit of all others.

    `rows`, `target`, `groups` and `weight` (N,), which sums to 1; `costs` and `regret` (N, K) of
    each decision. `constant` is the decision that costs least where all rows get the same one.
    """

    rows: Indices
    target: Indices
    weight: Numbers
    costs: Numbers
    regret: Numbers
    constant: int
    unit: float
    groups: Indices | None


def baseline_of(task: Task, rows: Indices) -> Baseline:
    """The baseline of some rows. Raises `UserInputError` where all constants may cost infinity."""
    weight = task.row_weight[rows]
    weight = weight / weight.sum()
    costs = task.decision_costs(rows)
    regret = costs - costs.min(1, keepdims=True)
    constants = numpy.einsum("n,nk->k", weight, regret)  # which has no trouble with infinity
    constant = int(constants.argmin())
    if numpy.isinf(constants[constant]):
        raise UserInputError(
            f"Every decision is forbidden for some row of {task.name}, so no constant answer has a "
            "finite cost to measure others by: give one a dear, finite cost in the place of inf."
        )
    unit = float(constants[constant])
    groups = None if task.groups is None else task.groups[rows]
    return Baseline(rows, task.target[rows], weight, costs, regret, constant, unit, groups)


def evaluate(
    task: Task,
    baseline: Baseline,
    methods: Sequence[Decisions],
    schedule: Schedule,
    tune: int,
    longer: Gain | None = None,
) -> Comparison:
    """Cost every decision, measure each method against its control, and say how sure that is.

    A failed training counts as the best constant decision: it is marked, never dropped.
    """
    target, weight, everyone = baseline.target, baseline.weight, numpy.arange(len(baseline.target))

    def made(decisions: Indices) -> Indices:
        return numpy.where(decisions == FAILED, baseline.constant, decisions)

    tuned = made(numpy.stack([each.tuned for each in methods]))  # (methods, seeds, rows)
    normalized = in_units(baseline.regret[everyone, tuned], baseline.unit)
    controls = {each.method: i for i, each in enumerate(methods) if each.is_control}
    differences = excess(normalized, normalized[[controls[each.control] for each in methods]])
    both = numpy.concatenate([normalized, differences])  # of which one draw of rows serves all
    intervals, paired = numpy.split(paired_intervals(both, target, weight, baseline.groups), 2)
    folded = task.parts is None and task.features is not None

    def mean(values: NDArray[Any]) -> float:
        with numpy.errstate(invalid="ignore"):  # ∞ − ∞ is NaN
            return float(numpy.einsum("sn,n->", values * 1.0, weight) / len(values))

    results: list[Row] = []
    margins = {name: margin_of(mean(normalized[i])) for name, i in controls.items()}
    for i, each in enumerate(methods):
        confusion = numpy.zeros(task.costs.shape)
        numpy.add.at(confusion, (target, tuned[i]), weight / len(tuned[i]))
        normalized_cost, (low, high) = mean(normalized[i]), paired[i].tolist()
        row = Row(
            method=each.method,
            rule=each.rule,
            accuracy=mean(tuned[i] == target),
            average_cost=mean(baseline.costs[everyone, tuned[i]]),
            normalized_cost=normalized_cost,
            interval=tuple(intervals[i].tolist()),
            untuned_cost=numpy.nan
            if each.untuned is None
            else mean(in_units(baseline.regret[everyone, made(each.untuned)], baseline.unit)),
            difference=mean(differences[i]),
            low=low,
            high=high,
            corrected=corrected(each.fits, differences[i], weight) if folded else None,
            margin=(margin := margins[each.control]),
            verdict="control" if each.is_control else verdict(low, high, margin),
            seconds=median(fit.seconds for fit in each.fits),
            remarks=tuple(remarks(each, normalized_cost, confusion)),
            confusion=confusion,
            decisions=tuned[i],
            probs=each.known_probs,
            fits=tuple(each.fits),
        )
        results.append(row)
    own = None if task.costs.num_samples is None else of_rows(task.costs, baseline.rows)
    return Comparison(
        task=task,
        seeds=tuned.shape[1],
        schedule=schedule,
        tune=tune,
        split_kind=split_kind(task),
        test_rows=baseline.rows,
        target=target,
        weight=task.row_weight[baseline.rows],
        row_costs=None if own is None else own.tables["table"].double().numpy(),
        constant=task.costs.decisions[baseline.constant],
        constant_cost=float(weight @ baseline.costs[:, baseline.constant]),
        constant_regret=baseline.unit,
        results=tuple(results),
        longer=longer,
    )


def excess(costs: Numbers, control: Numbers) -> Numbers:
    """costs − control; two decisions that are forbidden differ by 0."""
    alike = numpy.isinf(costs) & (costs == control)
    return numpy.where(alike, 0, costs) - numpy.where(alike, 0, control)


def corrected(fits: Sequence[Fit], difference: Numbers, weight: Numbers) -> tuple[float, float]:
    """The interval of repeated cross-validation, from the mean difference of every test part."""
    with numpy.errstate(invalid="ignore"):  # ∞ − ∞ is NaN
        means: list[float] = [
            numpy.average(difference[fit.seed, fit.place], weights=weight[fit.place]).item()
            for fit in fits
        ]
    ratios = [len(fit.place) / fit.num_fit for fit in fits]
    return corrected_interval(numpy.array(means), float(numpy.mean(ratios)))


def remarks(decisions: Decisions, normalized_cost: float, confusion: Numbers) -> list[str]:
    """What a reader must know before believing the numbers of a row."""
    fits = decisions.fits
    failures = sum(fit.failed for fit in fits)
    fallbacks = sum(fit.fell_back for fit in fits)
    uncalibrated = decisions.rule in (CONTROL, MATRIX) and sum(f.temperature == 1 for f in fits)
    checks = {
        f"training failed in {failures} of {len(fits)} runs": failures,
        f"fell back to the control in {fallbacks} of {len(fits)} runs": fallbacks,
        f"no temperature is best in {uncalibrated} of {len(fits)} runs": uncalibrated,
        "collapsed: one answer to nearly every row": confusion.sum(0).max() > COLLAPSED,
        "no better than a constant answer": round(normalized_cost, 9) >= 1,
    }
    return [remark for remark, applies in checks.items() if applies]
