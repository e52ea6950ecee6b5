# SPDX-License-Identifier: BSD-3-Clause
"""Run a comparison: every split, every method, every rule, on the same rows with the same seeds."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from lossmatrix.calibration import TemperatureScaling
from lossmatrix.compare.encoding import encode
from lossmatrix.compare.methods import CONTROL, RULES, Method, Rule, default_methods
from lossmatrix.compare.results import FAILED, Comparison, Record, judge
from lossmatrix.compare.splitting import Split, splits
from lossmatrix.compare.task import Indices, Task
from lossmatrix.compare.training import Part, build, train
from lossmatrix.decide import decide
from lossmatrix.nn import Criterion

REPEATED_ROWS = 50_000  # weighted validation rows, repeated in whole numbers, add up to this


@dataclass(frozen=True)
class Outputs:
    """One method on one split: logits (n, C) of validation and test rows, None where it failed."""

    method: str
    rules: tuple[Rule, ...]
    are_probs: bool  # whether their softmax estimates the probabilities of the classes
    logits: tuple[Tensor, Tensor] | None
    seconds: float


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def compare(
    task: Task,
    methods: Sequence[Method] | None = None,
    *,
    seeds: int = 5,
    epochs: int = 40,
    report: Callable[[str, int, int], None] = silent,
) -> Comparison:
    """Compare losses and decision rules on one task.

    The first method is the control, decided by temperature scaling and the Bayes step. Losses are
    trained with regrets in units of their mean, so that the unit of the costs changes nothing. A
    task that has only scores compares the rules on those. `report` is told what has just been
    done, how many such steps are done and how many there are.

    Raises `UserInputError` where the rows of the task cannot be split.
    """
    methods = default_methods(task.costs) if methods is None else methods
    plan = list(splits(task, seeds))
    judged = numpy.unique(numpy.concatenate([split.test for split in plan]))
    records: dict[tuple[str, Rule], Record] = {}
    total = len(plan) * len(task.scores if task.features is None else methods)
    done = 0
    with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        for split in plan:
            scored = task.features is None
            for outputs in stored(task, split) if scored else trained(task, methods, split, epochs):
                control = outputs.method if scored else methods[0].name
                for rule in outputs.rules:
                    unknown = numpy.full((seeds, len(judged)), FAILED)
                    new = Record(outputs.method, rule, control, unknown)
                    if outputs.are_probs:
                        new.probs = numpy.full((len(judged), task.costs.num_classes), numpy.nan)
                    record = records.setdefault((outputs.method, rule), new)
                    write_down(record, outputs, task, split, numpy.searchsorted(judged, split.test))
                done += 1
                report(outputs.method, done, total)
    return judge(task, judged, list(records.values()), epochs)


def trained(task: Task, methods: Sequence[Method], split: Split, epochs: int) -> Iterator[Outputs]:
    """Train a network for each method, alike in everything but the loss."""
    assert task.features is not None
    dtype = torch.float64 if task.network == "linear" else torch.float32
    features = torch.as_tensor(encode(task.features, split.fit), dtype=dtype)
    weight = task.row_weight / task.row_weight[split.fit].mean()

    def part(rows: Indices) -> Part:
        weights = torch.as_tensor(weight[rows], dtype=dtype)
        return Part(features[rows], torch.as_tensor(task.target[rows]), weights)

    fit, validation = part(split.fit), part(split.validation)
    regret = task.costs.regret()
    for method in methods:
        criterion = Criterion(method.loss, regret.scaled(1 / regret.unit))
        start = time.perf_counter()
        network = build(task.network, features.shape[1], task.costs.num_classes, split.seed)
        succeeded = train(network, criterion, fit, validation, epochs)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            logits = network(validation.features), network(features[split.test])
        outputs = logits if succeeded else None
        yield Outputs(method.name, method.rules, method.gives_probs, outputs, seconds)


def stored(task: Task, split: Split) -> Iterator[Outputs]:
    """The scores that came with the task, which every rule can be applied to."""
    for name, scores in task.scores.items():
        logits = torch.as_tensor(scores)
        yield Outputs(name, RULES, True, (logits[split.validation], logits[split.test]), 0.0)


def write_down(record: Record, outputs: Outputs, task: Task, split: Split, place: Indices) -> None:
    """Decide the test rows by the record's rule and write the decisions in their place."""
    record.seconds.append(outputs.seconds)
    if outputs.logits is None:
        record.failures += 1
        return
    validation, test = (logits.double() for logits in outputs.logits)
    if record.rule == CONTROL:
        scaling = calibrate(task, validation, split.validation)
        record.uncalibrated += scaling.temperature == 1
        test = scaling(test)
    probs = test.softmax(1)
    decided = test.argmax(1) if record.rule == "argmax" else decide(probs, task.costs)
    record.decisions[split.seed, place] = decided.numpy()
    if record.probs is not None and split.seed == 0:
        record.probs[place] = probs.numpy()


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
