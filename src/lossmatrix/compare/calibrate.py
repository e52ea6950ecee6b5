# SPDX-License-Identifier: BSD-3-Clause
"""Calibration of a trial: on logits of rows that its model was not trained on."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy
import torch
from torch import Tensor

from lossmatrix.calibration import MatrixScaling, TemperatureScaling
from lossmatrix.compare.methods import CONTROL, MATRIX, Rule
from lossmatrix.compare.task import Indices, Task
from lossmatrix.compare.trial import Trial, load_logits

Calibration: TypeAlias = TemperatureScaling | MatrixScaling

ENOUGH_ROWS = 20_000  # of more a random sample calibrates
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
    if len(rows) > ENOUGH_ROWS:
        some = numpy.random.default_rng(0).choice(len(rows), ENOUGH_ROWS, replace=False)
        logits, rows = logits[torch.as_tensor(some)], rows[some]
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
