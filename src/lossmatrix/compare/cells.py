# SPDX-License-Identifier: BSD-3-Clause
"""Cells: one split, one method, one configuration, trained anywhere and kept in one file.

A cell is named by a hash of all that its outcome depends on, so a run that was interrupted goes on
where it stopped, and a run with one loss more trains that loss only.
"""
# joblib and pandas carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy
import pandas
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossmatrix.compare.encoding import encode
from lossmatrix.compare.methods import Configuration, Method
from lossmatrix.compare.splitting import Split
from lossmatrix.compare.task import Indices, ModelFactory, Network, Task, of_rows
from lossmatrix.compare.training import Part, Schedule, build, predict, train
from lossmatrix.costs import CostMatrix
from lossmatrix.nn import Criterion


@dataclass(frozen=True)
class Cell:
    """One training and the file of its outcome."""

    split: Split
    method: Method
    configuration: Configuration
    path: Path


@dataclass(frozen=True)
class Data:
    """What the cells of one split train on, in arrays, which travel well between processes."""

    network: Network | ModelFactory
    schedule: Schedule
    prices: CostMatrix
    features: NDArray[Any]
    target: Indices
    weight: NDArray[Any]

    def part(self, rows: Indices) -> Part:
        """Some of the rows as tensors."""
        arrays = self.features[rows], self.target[rows], self.weight[rows]
        features, target, weight = map(torch.from_numpy, arrays)
        return Part(features, target, weight, of_rows(self.prices, rows))


def prepare(task: Task, split: Split, schedule: Schedule) -> Data:
    """Encoded rows, and prices as regrets in units of their mean; a user's model reads raw rows."""
    assert task.features is not None
    if callable(task.network):
        features = numpy.asarray(task.features)
    else:
        dtype = numpy.float64 if task.network == "linear" else numpy.float32
        features = encode(task.features, split.fit).astype(dtype)
    regret = task.costs.regret()
    prices = regret.scaled(1 / regret.unit)
    kind = features.dtype if features.dtype.kind == "f" else numpy.float32
    weight = (task.row_weight / task.row_weight[split.fit].mean()).astype(kind)
    return Data(task.network, schedule, prices, features, task.target, weight)


def train_cell(cell: Cell, data: Data) -> None:
    """Train a network, alike for all losses in everything but the criterion; keep its outcome."""
    split, chosen = cell.split, cell.configuration
    fit, validation = data.part(split.fit), data.part(split.validation)
    criterion = Criterion(chosen.loss, fit.costs)
    with one_thread_and_own_randomness():
        start = time.perf_counter()
        size, num_classes = data.features[0].size, data.prices.num_classes
        network = build(data.network, size, num_classes, split.seed)
        succeeded = train(network, criterion, fit, validation, data.schedule, chosen.step)
        arrays: dict[str, Any] = {"seconds": numpy.array(time.perf_counter() - start)}
        if succeeded:
            test = torch.from_numpy(data.features[split.test])
            arrays["validation"] = predict(network, validation.features).numpy()
            arrays["test"] = predict(network, test).numpy()
    unfinished = cell.path.with_name(f".{cell.path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        numpy.savez(file, **arrays)
    unfinished.replace(cell.path)


def load(task: Task, cell: Cell, part: Literal["validation", "test"]) -> Tensor | None:
    """Logits (n, C) of a finished cell in float64, None where training failed."""
    if task.features is None:
        rows = cell.split.validation if part == "validation" else cell.split.test
        return torch.from_numpy(task.scores[cell.method.name][rows]).double()
    with numpy.load(cell.path, allow_pickle=False) as file:
        return torch.from_numpy(file[part]).double() if part in file else None


def seconds(task: Task, cell: Cell) -> float:
    """How long the training took; nothing where scores were given."""
    if task.features is None:
        return 0.0
    with numpy.load(cell.path, allow_pickle=False) as file:
        return float(file["seconds"])


@contextmanager
def one_thread_and_own_randomness() -> Generator[None]:
    """Neither the caller's random numbers nor the number of his threads change."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # cells run side by side; in networks this small, threads only wait
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def fingerprint(task: Task, schedule: Schedule) -> str:
    """A hash of all content that the cells of a task have in common, and of the versions."""
    features: Any = task.features
    network: Any = task.network
    if isinstance(features, pandas.DataFrame):
        features = {name: features[name].to_numpy() for name in features}
    if callable(task.network):  # a model is known by its layers and its weights
        with one_thread_and_own_randomness():
            model = build(task.network, 0, task.costs.num_classes, seed=0)
        network = repr(model), {name: t.numpy() for name, t in model.state_dict().items()}
    prices = repr(task.costs), {name: t.numpy() for name, t in task.costs.tables.items()}
    content = features, task.target, task.weight, prices, network, repr(schedule)
    return str(joblib.hash((content, version("lossmatrix"), torch.__version__)))


def cell_path(folder: Path, common: str, split: Split, configuration: Configuration) -> Path:
    """The file of a cell; the name of its method plays no part."""
    rows = split.seed, split.fit, split.validation, split.test
    return folder / f"{joblib.hash((common, rows, repr(configuration)))}.npz"
