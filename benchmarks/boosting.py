# SPDX-License-Identifier: BSD-3-Clause
"""Times boosting objectives against numpy's softmax gradient; writes results/boosting.csv.

What XGBoost's and LightGBM's users write themselves is the gradient p − t of the softmax and the
curvature 2 p (1 − p), in numpy, which has one thread; so has everything here. All contenders of a
shape run in one process, one after the other in every round, and a row gives the median of the
rounds. `ratio` is the time divided by numpy's. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from cpu import machine, write_table
from numpy.typing import NDArray

import lossmatrix as lm
from lossmatrix.boosting import CostObjective

SHAPES = [(100_000, 2), (50_000, 10), (20_000, 100), (4_000, 300)]
RESULT = Path(__file__).parent / "results" / "boosting.csv"
LOSSES: dict[str, lm.Loss] = {
    "CrossEntropy": lm.CrossEntropy(),
    "ExpectedCost": lm.ExpectedCost(),
    "Unlikelihood": lm.Unlikelihood(),
    "CrossEntropy + ExpectedCost": lm.CrossEntropy() + lm.ExpectedCost(),
    "CostFocal": lm.CostFocal(),
    "SoftmaxMargin": lm.SoftmaxMargin(),
    "CostSensitiveCrossEntropy": lm.CostSensitiveCrossEntropy(),
    "EnergyScore": lm.EnergyScore(),
    "DecisionScore": lm.DecisionScore(),
}
Array = NDArray[Any]


def softmax_objective(labels: Array, scores: Array) -> tuple[Array, Array]:
    """Gradient and curvature of cross-entropy, as users write them."""
    p = numpy.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    curvature = 2 * p * (1 - p)
    p[numpy.arange(len(labels)), labels] -= 1
    return p, curvature


def contenders(
    rows: int, num_classes: int, dtype: type[numpy.floating[Any]]
) -> dict[str, Callable[[], Any]]:
    """Every objective as a call on the same scores."""
    generator = numpy.random.default_rng(0)
    scores: Array = (3 * generator.standard_normal((rows, num_classes))).astype(dtype)
    labels = generator.integers(num_classes, size=rows)
    given = labels.astype(numpy.float32)  # as both libraries keep them
    D = 5.0 * generator.random((num_classes, num_classes))
    numpy.fill_diagonal(D, 0.0)
    calls: dict[str, Callable[[], Any]] = {"numpy": lambda: softmax_objective(labels, scores)}
    for name, loss in LOSSES.items():
        score = isinstance(loss, lm.EnergyScore | lm.DecisionScore)
        if score and num_classes > 10:
            continue  # minutes: their second derivatives are C × K matrices of every row
        costs = lm.Ordinal(num_classes) if isinstance(loss, lm.EnergyScore) else torch.tensor(D)
        objective = CostObjective(loss, None if loss.reads is None else costs)
        calls[name] = lambda objective=objective: objective(given, scores)
    return calls


def measure(
    rows: int, num_classes: int, dtype: type[numpy.floating[Any]], rounds: int
) -> list[dict[str, str]]:
    """The rows of one shape."""
    calls = contenders(rows, num_classes, dtype)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    medians = {name: statistics.median(each) for name, each in times.items()}
    found = [
        {
            "shape": f"{rows}x{num_classes}",
            "dtype": dtype.__name__,
            "contender": name,
            "milliseconds": f"{median:.3f}",
            "ratio": f"{median / medians['numpy']:.2f}",
            **machine(),
        }
        for name, median in medians.items()
    ]
    for each in found:
        print(*list(each.values())[:5], sep="\t", flush=True)
    return found


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row
        for dtype in (numpy.float32, numpy.float64)
        for shape in SHAPES
        for row in measure(*shape, dtype, options.rounds)
    ]
    write_table(rows, options.out)


if __name__ == "__main__":
    main()
