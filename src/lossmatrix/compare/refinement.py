# SPDX-License-Identifier: BSD-3-Clause
"""The refinement of a split's control: its models of all folds, moved on by `lossmatrix.refine`."""
# PyTorch's tensors from and of arrays carry no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy
import torch
from torch import Tensor, nn

from lossmatrix.annealing import LabelledRows
from lossmatrix.compare.results import Attempt
from lossmatrix.compare.task import Indices
from lossmatrix.compare.training import LinearSoftmax, build
from lossmatrix.compare.trial import (
    WEIGHTS,
    Outcome,
    Trial,
    TrialData,
    logits,
    one_thread_and_own_randomness,
    outcome_of,
    write_outcome,
)
from lossmatrix.refine import StartingPoint, TrainedFold, move_on

FACTS = "refined/"  # before what a refinement found, in the file of its trial
HOPELESS = 0.7  # a ratio (see `Attempt`) below which no model gains: it knows its rows by heart


def refine_trial(trial: Trial, data: TrialData) -> None:
    """Refine the control of a split where held-out rows show a gain; keep its outcome.

    Each fold's control has left rows out that are the tool's to choose; without such folds the
    stored validation rows decide. A model that knows its training rows by heart is left alone.
    """
    with one_thread_and_own_randomness():
        begin, outcome = time.perf_counter(), Outcome()
        if all(map(has_weights, trial.controls)):
            folds, held_out = trained_folds(trial.controls, data)
            start = StartingPoint.of(folds, held_out, data.costs)
            attempt = Attempt(False, start.ratio, start.mean(held_out))
            model = folds[0].control
            if not start.ratio < HOPELESS:
                # the linear model's ridge is its own; AdamW's decay has none that would be alike
                ridge = trial.configuration.step if isinstance(model, LinearSoftmax) else 1.0
                made = move_on(model, folds[0].rows, folds, held_out, data.costs, ridge, start)
                attempt = Attempt(
                    made.refined,
                    made.ratio,
                    made.gain.control,
                    made.gain.cost,
                    made.gain.standard_error,
                    math.nan if made.lam is None else made.lam,
                    math.nan if made.tau is None else made.tau,
                )
            found = {FACTS + name: numpy.array(value) for name, value in asdict(attempt).items()}
            outcome = logits(model, trial, data) | found
        seconds = time.perf_counter() - begin
    write_outcome(trial, seconds, outcome)


def attempt_of(trial: Trial) -> Attempt | None:
    """What a finished refinement found; None where the training of a control failed."""
    outcome = outcome_of(trial)
    facts = {
        name.removeprefix(FACTS): value.item()
        for name, value in outcome.items()
        if name.startswith(FACTS)
    }
    return Attempt(**facts) if facts else None


def training_ratio(controls: Sequence[Trial], data: TrialData) -> float:
    """Training cost ÷ held-out cost of trained controls; NaN where one failed or nothing costs."""
    if not all(map(has_weights, controls)):
        return math.nan
    with one_thread_and_own_randomness():
        return StartingPoint.of(*trained_folds(controls, data), data.costs).ratio


def has_weights(trial: Trial) -> bool:
    """Whether the model of a finished trial is kept in its file: its training did not fail."""
    return any(name.startswith(WEIGHTS) for name in outcome_of(trial))


def trained_folds(
    controls: Sequence[Trial], data: TrialData
) -> tuple[list[TrainedFold], LabelledRows]:
    """The models of some controls, each with its rows, and all rows that they have left out."""
    held_out = [labelled(data, control.split.validation) for control in controls]
    together = LabelledRows(*map(torch.cat, zip(*held_out, strict=True)))
    numbers = torch.arange(len(together.target)).split([len(each.target) for each in held_out])
    folds = [
        TrainedFold(restored(control, data), labelled(data, control.split.fit), left_out)
        for control, left_out in zip(controls, numbers, strict=True)
    ]
    return folds, together


def labelled(data: TrialData, rows: Indices) -> LabelledRows:
    """Some of the rows as `refine` reads them."""
    part = data.part(rows)
    return LabelledRows(part.features, part.target, part.weight.double())


def restored(trial: Trial, data: TrialData) -> nn.Module:
    """The model of a finished trial, at rest."""
    model = build(data.network, data.features[0].size, data.costs.num_classes, trial.split.seed)
    weights: dict[str, Tensor] = {
        name.removeprefix(WEIGHTS): torch.from_numpy(value)
        for name, value in outcome_of(trial).items()
        if name.startswith(WEIGHTS)
    }
    model.load_state_dict(weights)
    return model.eval()
