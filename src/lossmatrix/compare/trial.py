# SPDX-License-Identifier: BSD-3-Clause
"""A trial: one split, one method, one configuration, trained anywhere and kept in one file.

Its file is named by a hash of all that the outcome depends on, so a comparison that was interrupted
goes on where it stopped, and one with one loss more trains that loss only.
"""
# joblib and pandas carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import joblib
import numpy
import pandas
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossmatrix.annealing import regret_in_units
from lossmatrix.compare.encoding import encode
from lossmatrix.compare.methods import Configuration, Method
from lossmatrix.compare.outputs import writing
from lossmatrix.compare.splits import Split
from lossmatrix.compare.task import Indices, ModelFactory, Network, Task, UserInputError, of_rows
from lossmatrix.compare.training import Schedule, TrainingRows, build, predict, train
from lossmatrix.compare.trees import BoostedTrees, train_trees
from lossmatrix.costs import CostMatrix
from lossmatrix.costs.io import write_atomically
from lossmatrix.losses import CrossEntropy
from lossmatrix.nn import Criterion

Outcome: TypeAlias = dict[str, NDArray[Any]]
WEIGHTS = "weights/"  # of a model that may be refined, before the names of its tensors


@dataclass(frozen=True)
class Trial:
    """One training and the file of its outcome.

    A refinement begins with its `controls`: the training of the same rows, and those of other folds
    where there are some, which together hold out all training rows.
    """

    split: Split
    method: Method
    configuration: Configuration
    path: Path
    controls: tuple["Trial", ...] = ()


@dataclass(frozen=True)
class TrialData:
    """What the trials of one split train on, in arrays, which travel well between processes.

    `costs` are regrets in units of their mean.
    """

    network: Network | ModelFactory
    schedule: Schedule
    costs: CostMatrix
    features: NDArray[Any]
    target: Indices
    weight: NDArray[Any]

    def part(self, rows: Indices) -> TrainingRows:
        """Some of the rows as tensors."""
        arrays = self.features[rows], self.target[rows], self.weight[rows]
        features, target, weight = map(torch.from_numpy, arrays)
        return TrainingRows(features, target, weight, of_rows(self.costs, rows))


def prepare(task: Task, split: Split, schedule: Schedule) -> TrialData:
    """Encoded rows, and costs as regrets in units of their mean; a user's model reads raw rows."""
    assert task.features is not None
    if callable(task.network):
        features = numpy.asarray(task.features)
    else:
        dtype = numpy.float64 if task.network == "linear" else numpy.float32
        features = encode(task.features, split.fit).astype(dtype)
    kind = features.dtype if features.dtype.kind == "f" else numpy.float32
    weight = (task.row_weight / task.row_weight[split.fit].mean()).astype(kind)
    costs = regret_in_units(task.costs)
    return TrialData(task.network, schedule, costs, features, task.target, weight)


def run_trial(trial: Trial, data: TrialData) -> None:
    """Train a model, alike for all losses in everything but the criterion; keep its outcome."""
    split, chosen = trial.split, trial.configuration
    fit, validation = data.part(split.fit), data.part(split.validation)
    with one_thread_and_own_randomness():
        start = time.perf_counter()
        size, num_classes = data.features[0].size, data.costs.num_classes
        if data.network == "boosted":
            network = BoostedTrees(num_classes)
            succeeded = train_trees(network, chosen.loss, fit, validation, chosen.step)
        else:
            network = build(data.network, size, num_classes, split.seed)
            criterion = Criterion(chosen.loss, fit.costs)
            schedule = replace(data.schedule, epochs=chosen.longer * data.schedule.epochs)
            succeeded = train(network, criterion, fit, validation, schedule, chosen.step)
        seconds = time.perf_counter() - start
        outcome = logits(network, trial, data) if succeeded else {}
    if succeeded and data.network in ("linear", "mlp") and chosen.loss == CrossEntropy():
        outcome |= {WEIGHTS + name: t.numpy() for name, t in network.state_dict().items()}
    write_outcome(trial, seconds, outcome)


def logits(network: nn.Module, trial: Trial, data: TrialData) -> Outcome:
    """What a trained model gives for the validation and the test rows, which may be none."""
    parts = {"validation": trial.split.validation, "test": trial.split.test}
    made = {
        name: predict(network, torch.from_numpy(data.features[rows])).numpy()
        for name, rows in parts.items()
        if len(rows)
    }
    return {"test": made["validation"][:0]} | made


def write_outcome(trial: Trial, seconds: float, outcome: Outcome) -> None:
    """Write the file of a trial, whole or not at all."""
    about = {"trial": numpy.array(trial.path.stem), "seconds": numpy.array(seconds)}
    place = trial.path
    with writing(place.parent), write_atomically(place) as draft, draft.open("wb") as file:
        numpy.savez(file, allow_pickle=False, **about, **outcome)


def read_outcome(trial: Trial) -> Outcome | None:
    """What the file of a trial holds, None where it holds no outcome of this trial.

    Disks fill up, machines stop and people copy files, so nothing in it is taken on trust.
    """
    if not os.path.isfile(trial.path):  # from a pipe nothing would ever come
        return None
    try:
        with trial.path.open("rb") as opened, numpy.load(opened, allow_pickle=False) as file:
            outcome = {name: numpy.asarray(file[name]) for name in file}
    except Exception:  # bytes that were no such file raise whatever the readers stumble over
        return None
    sizes = {"validation": len(trial.split.validation), "test": len(trial.split.test)}
    shapes = {
        name: array.shape[:1]
        for name, array in outcome.items()
        if array.dtype.kind == "f" and "/" not in name
    }
    expected = {"seconds": ()} | {name: (size,) for name, size in sizes.items()}
    whole = shapes in (expected, {"seconds": ()})  # a training that failed has no logits
    return outcome if whole and str(outcome.get("trial")) == trial.path.stem else None


def outcome_of(trial: Trial) -> Outcome:
    """What the file of a finished trial holds."""
    outcome = read_outcome(trial)
    if outcome is None:
        raise UserInputError(
            f"{trial.path} was damaged while it was in use: run again, which trains it anew."
        )
    return outcome


def load_logits(task: Task, trial: Trial, part: Literal["validation", "test"]) -> Tensor | None:
    """Logits (n, C) of a finished trial in float64, None where training failed."""
    if task.features is None:
        rows = trial.split.validation if part == "validation" else trial.split.test
        return torch.from_numpy(task.scores[trial.method.name][rows]).double()
    logits = outcome_of(trial).get(part)
    return None if logits is None else torch.from_numpy(logits).double()


def training_seconds(task: Task, trial: Trial) -> float:
    """How long the training took; nothing where scores were given."""
    if task.features is None:
        return 0.0
    return float(outcome_of(trial)["seconds"])


@contextmanager
def one_thread_and_own_randomness() -> Generator[None]:
    """Neither the caller's random numbers nor the number of his threads change."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # trials run side by side; in networks this small, threads only wait
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def fingerprint(task: Task, schedule: Schedule) -> str:
    """A hash of all content that the trials of a task have in common, and of the versions."""
    features: Any = task.features
    network: Any = task.network
    if isinstance(features, pandas.DataFrame):
        features = {name: features[name].to_numpy() for name in features}
    if callable(task.network):  # a model is known by its layers and its weights
        with one_thread_and_own_randomness():
            model = build(task.network, 0, task.costs.num_classes, seed=0)
        network = repr(model), {name: t.numpy() for name, t in model.state_dict().items()}
    costs = repr(task.costs), {name: t.numpy() for name, t in task.costs.tables.items()}
    content = features, task.target, task.weight, costs, network, repr(schedule)
    return str(joblib.hash((content, version("lossmatrix"), torch.__version__)))


def trial_path(
    folder: Path,
    common: str,
    split: Split,
    configuration: Configuration,
    controls: Sequence[Trial] = (),
) -> Path:
    """The file of a trial; the name of its method plays no part."""
    rows = split.seed, split.fit, split.validation, split.test
    content = common, rows, repr(configuration), *(each.path.stem for each in controls)
    return folder / f"{joblib.hash(content)}.npz"
