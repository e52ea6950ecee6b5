# SPDX-License-Identifier: BSD-3-Clause
"""What a comparison found: plain data, one row of the table for each method and rule."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy

from lossmatrix.compare.intervals import MARGIN, Verdict
from lossmatrix.compare.methods import Configuration, Rule
from lossmatrix.compare.splits import SplitKind
from lossmatrix.compare.task import Indices, Numbers, Task
from lossmatrix.compare.training import Schedule
from lossmatrix.costs.display import html_table
from lossmatrix.held_out import Gain

LONGER = 2  # times as many epochs tell whether the control is undertrained


def in_units(regret: Numbers, unit: float) -> Numbers:
    """Regret in units of the best constant decision's; infinite units of 0, where there is any."""
    return regret / unit if unit else numpy.where(regret > 0, numpy.inf, 0.0)


@dataclass(frozen=True)
class Attempt:
    """What the refinement of one split found on held-out rows, in units of the mean regret.

    λ and τ are those of the best candidate, NaN where none was tried.
    """

    refined: bool
    ratio: float  # training cost ÷ held-out cost of the control
    control: float
    cost: float = math.nan
    standard_error: float = math.nan  # of the difference between both
    lam: float = math.nan
    tau: float = math.nan


@dataclass(frozen=True)
class Fit:
    """The chosen training of one split; `place` are its test rows among those of all splits.

    `temperature` is 1 where none is best, or none is asked for, and NaN where training failed.
    What `fell_back` decides as the control does, because held-out rows showed no gain.
    """

    seed: int
    num_fit: int
    place: Indices
    configuration: Configuration
    seconds: float
    temperature: float
    fell_back: bool = False
    attempt: Attempt | None = None  # of a refinement

    @property
    def failed(self) -> bool:
        """Whether the loss became infinite or NaN in training."""
        return numpy.isnan(self.temperature).item()


@dataclass(frozen=True)
class Row:
    """One row of the table; costs are per decision, `confusion` (C, K) is in shares of all rows.

    `normalized_cost` is regret in units of the best constant decision's, so 1 is no better than
    not looking at the data; `interval` is its own, and `untuned_cost` the same with the first
    configuration everywhere, NaN for what begins where tuning has ended.
    `difference`, `low` and `high` are in that unit, negative is cheaper than the control, and so is
    the `margin` within which a difference does not matter; `corrected` is the interval for repeated
    cross-validation, None where no folds are trained. `decisions` (seeds, N) are on the test rows;
    `probs` (N, C) is what the first seed decided by, None where the outputs are no probabilities
    or a training failed.
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
    margin: float
    verdict: Verdict | Literal["control"]
    seconds: float
    remarks: tuple[str, ...]
    confusion: Numbers
    decisions: Indices
    probs: Numbers | None
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: the task, how it was run, and its results.

    `test_rows` (N,) are the row numbers of the task that were decided, in the order of every
    result's decisions; `target` and `weight` (N,) are theirs, and `row_costs` (N, C, K) where each
    row has costs of its own. `longer` is what the control gains on the test rows of the first seed
    when a network is trained for `LONGER` times as many epochs, each with the temperature of its
    own validation rows.
    """

    task: Task
    seeds: int
    schedule: Schedule
    tune: int
    split_kind: SplitKind
    test_rows: Indices
    target: Indices
    weight: Numbers
    row_costs: Numbers | None
    constant: str
    constant_cost: float
    constant_regret: float
    results: tuple[Row, ...]
    longer: Gain | None = None

    @property
    def undertrained(self) -> bool:
        """Whether the control costs surely and noticeably less when it is trained longer."""
        gain = self.longer
        return gain is not None and gain.exceeds(2) and -gain.difference > MARGIN * gain.control

    @property
    def controls(self) -> list[Row]:
        """What the others are measured against: one row, or one for each model that was given."""
        return [row for row in self.results if row.verdict == "control"]

    @property
    def rivals(self) -> list[Row]:
        """The rows of all losses but those of the controls."""
        names = [control.method for control in self.controls]
        return [row for row in self.results if row.method not in names]

    @property
    def refinements(self) -> list[Row]:
        """The rows of models that were moved on from the control, or fell back to it."""
        return [row for row in self.results if any(fit.attempt for fit in row.fits)]

    def likeliest_class(self, control: Row) -> Row:
        """The row of the control's own outputs, decided by argmax."""
        return next(
            row for row in self.results if row.method == control.method and row.rule == "argmax"
        )

    def _repr_html_(self) -> str:
        """The results in a notebook: costs, and the difference to the control with its interval."""
        heading = ("loss", "decided by", "accuracy", "average cost", "normalised cost")
        lines = (
            (
                row.method,
                row.rule,
                f"{row.accuracy:.1%}",
                f"{row.average_cost:.4g}",
                f"{row.normalized_cost:.3f}",
                f"{row.difference:+.3g} [{row.low:+.3g}, {row.high:+.3g}]",
                row.verdict,
            )
            for row in self.results
        )
        return html_table((*heading, "difference to control", "verdict"), lines)
