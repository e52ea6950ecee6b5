# SPDX-License-Identifier: BSD-3-Clause
"""Times what a user may turn on against the same call of F.cross_entropy.

Every loss alone and with cross-entropy, label smoothing, class probabilities, costs per sample, and
structured costs of 32,000 classes. `ratio` is the time of forward and backward over that of
`F.cross_entropy` with the same option where it has it; `peak_mb` is memory beyond the logits.
Writes results/options.csv; run it with `make bench`. Rules of measurement as in cpu.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from cpu import forward_backward, interleaved, machine, peak_megabytes, write_table
from torch import Tensor

import lossmatrix as lm

RESULT = Path(__file__).parent / "results" / "options.csv"
Call = Callable[[Tensor], Tensor]
EVERY_LOSS: list[lm.Loss] = [
    lm.CrossEntropy(),
    lm.CostSensitiveCrossEntropy(),
    lm.SoftTargetCrossEntropy(),
    lm.ExpectedCost(),
    lm.Unlikelihood(),
    lm.CostFocal(),
    lm.EntropicRisk(),
    lm.SimilarityLikelihood(),
    lm.SoftmaxMargin(),
    lm.EnergyScore(),
    lm.DecisionScore(),
]
FEW = [(65536, 5), (65536, 19), (65536, 100), (2, 19, 512, 512)]
SMOOTHED = [(65536, 10), (32768, 1000), (2048, 32000), (4, 19, 512, 512)]
MANY = (1024, 32000)


def matrix(classes: int, kind: str) -> lm.CostMatrix:
    """Costs of a kind that every loss accepts."""
    if kind == "ordinal":
        return lm.Ordinal(classes)
    if kind == "tree":
        paths = [(str(i % 10), str(i % 100), str(i % 1000), f"c{i}") for i in range(classes)]
        return lm.Tree(paths)
    x = torch.rand(classes, generator=torch.Generator().manual_seed(1))
    return lm.Dense((x[:, None] - x).abs())  # a metric: the energy score asks for one


def losses_of(kind: str, shape: tuple[int, ...]) -> dict[str, Call]:
    """Every loss alone, and with cross-entropy."""
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    costs = matrix(shape[1], kind)
    calls: dict[str, Call] = {"F.cross_entropy": lambda z: F.cross_entropy(z, target)}
    for loss in EVERY_LOSS:
        for each in (loss, lm.CrossEntropy() + loss):
            criterion = lm.Criterion(each, costs, engine="native")
            calls[repr(each)] = lambda z, c=criterion: c(z, target)
    return calls


def smoothed(shape: tuple[int, ...]) -> dict[str, dict[str, Call]]:
    """Label smoothing and class probabilities."""
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    probs = torch.randn(shape).softmax(1)
    costs = matrix(shape[1], "ordinal" if shape[1] > 128 else "table")
    tables: dict[str, dict[str, Call]] = {}
    for name, truth, epsilon in (("smoothing", target, 0.1), ("probabilities", probs, 0.0)):
        calls: dict[str, Call] = {
            "F.cross_entropy": lambda z, t=truth, e=epsilon: F.cross_entropy(
                z, t, label_smoothing=e
            )
        }
        for loss in (lm.CrossEntropy(), lm.CrossEntropy() + lm.ExpectedCost()):
            criterion = lm.Criterion(loss, costs, label_smoothing=epsilon, engine="native")
            calls[repr(loss)] = lambda z, c=criterion, t=truth: c(z, t)
        if 128 < shape[1] <= 2048:  # with probabilities a product of N × C by C × C
            criterion = lm.Criterion(
                lm.ExpectedCost(), matrix(shape[1], "table"), label_smoothing=epsilon
            )
            calls["ExpectedCost() of a table"] = lambda z, c=criterion, t=truth: c(z, t)
        tables[name] = calls
    return tables


def per_sample(shape: tuple[int, ...]) -> dict[str, Call]:
    """A row of costs for every sample, given with the call."""
    target, rows = torch.randint(0, shape[1], shape[:1]), torch.rand(shape)
    criterion = lm.Criterion(
        lm.CrossEntropy() + lm.ExpectedCost(), matrix(shape[1], "ordinal"), engine="native"
    )
    return {
        "F.cross_entropy": lambda z: F.cross_entropy(z, target),
        repr(criterion.loss): lambda z: criterion(z, target, costs=lm.PerExample(rows)),
    }


def tables_of(shape: tuple[int, ...], what: str) -> dict[str, dict[str, Call]]:
    """The contenders of one task, by option."""
    torch.manual_seed(0)
    if what == "smoothed":
        return smoothed(shape)
    if what == "per sample":
        return {what: per_sample(shape)}
    return {what: losses_of(what, shape)}


def measure(task: tuple[tuple[int, ...], str, float]) -> list[dict[str, object]]:
    """The rows of one task."""
    shape, what, seconds = task
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    rows: list[dict[str, object]] = []
    for option, calls in tables_of(shape, what).items():
        z = (3.0 * torch.randn(shape)).requires_grad_()
        times = interleaved(calls, forward_backward, z, seconds)
        for name, milliseconds in times.items():
            rows.append(
                {
                    "shape": "x".join(map(str, shape)),
                    "option": option,
                    "contender": name,
                    "milliseconds": f"{milliseconds:.3f}",
                    "ratio": f"{milliseconds / times['F.cross_entropy']:.3f}",
                    "peak_mb": f"{peak_megabytes(calls[name], z):.1f}",
                    "gradient_mb": f"{z.numel() * z.element_size() / 1e6:.1f}",
                    **machine(),
                }
            )
            print(*list(rows[-1].values())[:7], sep="\t", flush=True)
    return rows


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per option and shape")
    parser.add_argument("--only", default="", help="only tasks whose name contains this")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    tasks = [
        *((shape, "table", options.seconds) for shape in FEW),
        *((MANY, kind, options.seconds) for kind in ("ordinal", "tree")),
        *((shape, "smoothed", options.seconds) for shape in SMOOTHED),
        *((shape, "per sample", options.seconds) for shape in [(8192, 500), (65536, 10)]),
    ]
    tasks = [task for task in tasks if options.only in f"{task[0]} {task[1]}"]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = [row for of_task in pool.imap(measure, tasks, chunksize=1) for row in of_task]
    write_table(rows, options.out)


if __name__ == "__main__":
    main()
