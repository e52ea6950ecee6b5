# SPDX-License-Identifier: BSD-3-Clause
"""Calibration of a trial: on logits of rows that its model was not trained on."""
# torch.from_numpy carries no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy
import torch
from torch import Tensor

from lossmatrix.calibration import MatrixScaling, TemperatureScaling
from lossmatrix.compare.encoding import encode
from lossmatrix.compare.methods import CONTROL, MATRIX, Rule
from lossmatrix.compare.splits import Split
from lossmatrix.compare.task import Indices, Task
from lossmatrix.compare.trial import Trial, load_logits
from lossmatrix.decision_scaling import DecisionScaling

Calibration: TypeAlias = TemperatureScaling | MatrixScaling

ENOUGH_ROWS = 20_000  # of more a random sample calibrates
SCALED_ROWS = 5_000  # the same for `DecisionScaling`, which goes over them a thousand times
WEIGHTED_ROWS = 50_000  # weighted rows, repeated in whole numbers, add up to this


def held_out(task: Task, trials: Sequence[Trial]) -> tuple[Tensor, Indices] | None:
    """Logits (n, C) and numbers (n,) of the rows held out by some trials, None if one failed.

    Trials of the same training rows that hold out another fold each give out-of-fold logits of all.
    """
    logits = [load_logits(task, trial, "validation") for trial in trials]
    known = [each for each in logits if each is not None]
    if len(known) < len(logits):
        return None
    rows = numpy.concatenate([trial.split.validation for trial in trials])
    return torch.cat(known), rows


def calibrate(task: Task, rule: Rule, logits: Tensor, rows: Indices) -> Calibration:
    """What a rule makes of logits (n, C), fitted to these rows, each as often as it stands for.

    It is temperature 1, which is counted, where no temperature is best: no row is wrong, or the
    logits tell nothing about the target.
    """
    if rule not in (CONTROL, MATRIX):
        return TemperatureScaling(1.0)
    logits, rows = sampled(logits, rows, ENOUGH_ROWS)
    target, count = torch.as_tensor(task.target[rows]), len(rows)
    if task.weight is not None:
        weight = task.weight[rows] * (WEIGHTED_ROWS / task.weight[rows].sum())
        times = torch.as_tensor(weight.round().astype(int))
        logits, target = logits.repeat_interleave(times, 0), target.repeat_interleave(times)
    matrix = MatrixScaling()
    matrix.ridge *= len(target) / count  # of the rows that there are, not of their repetitions
    for calibration in (matrix, TemperatureScaling())[rule == CONTROL :]:
        try:
            return calibration.fit(logits, target)
        except ValueError:
            continue
    return TemperatureScaling(1.0)


def scale_for_decisions(
    task: Task, split: Split, logits: Tensor, rows: Indices
) -> Callable[[Tensor, Indices], Tensor] | None:
    """`DecisionScaling` of logits (n, C), fitted to these rows; None where it fell back.

    What it gives back makes logits of those of some rows. A linear model's features take part, as
    its split encodes them; a network has made of them what it can.
    """
    logits, rows = sampled(logits, rows, SCALED_ROWS)
    features: Tensor | None = None
    if task.features is not None and task.network == "linear":
        features = torch.from_numpy(encode(task.features, split.fit))

    def of(numbers: Indices) -> Tensor | None:
        return None if features is None else features[torch.as_tensor(numbers)]

    scaling, target = DecisionScaling(task.costs), torch.as_tensor(task.target[rows])
    try:
        scaling.fit(logits, target, features=of(rows))
    except ValueError:  # no temperature is best
        return None
    return (lambda z, numbers: scaling(z, features=of(numbers))) if scaling.changes else None


def sampled(logits: Tensor, rows: Indices, count: int) -> tuple[Tensor, Indices]:
    """At most so many of the rows, drawn at random."""
    if len(rows) <= count:
        return logits, rows
    some = numpy.random.default_rng(0).choice(len(rows), count, replace=False)
    return logits[torch.as_tensor(some)], rows[some]
