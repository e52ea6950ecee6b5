# SPDX-License-Identifier: BSD-3-Clause
"""Checks, and then times, losses that read risks on a GPU: four minutes, for where there is one.

The truth is the reference engine in float64. TF32 is allowed throughout, and must not be noticed.
What fails is printed and counted, and everything else still runs.

    python benchmarks/gpu_check.py [FOLDER]     # for the tables; or $OUT, or benchmarks/results
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from gpu import RESULT, Case, forward_backward, machine, on_device, peak_megabytes
from torch import Tensor

import lossmatrix as lm

BOTH = lm.CrossEntropy() + lm.DecisionScore()
LOSSES: list[lm.Loss] = [
    BOTH,
    lm.DecisionScore(),
    lm.EnergyScore(),
    lm.CrossEntropy() + lm.EntropicRisk(),
    lm.SimilarityLikelihood(),
]
SHAPES: list[tuple[tuple[int, ...], torch.dtype, str]] = [
    ((4096, 19), torch.float32, "dense"),
    ((512, 1000), torch.bfloat16, "dense"),
    ((2, 19, 64, 64), torch.float32, "dense"),
    ((64, 12000), torch.float32, "ordinal"),
]
KINDS = ["tree", "sparse", "low rank", "one more", "fewer"]
TIMED = [((65536, 19), "dense"), ((32768, 1000), "dense"), ((4096, 32000), "ordinal")]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
Row = dict[str, str]


def matrix(kind: str, num_classes: int) -> lm.CostMatrix:
    """Costs of a kind; those of the dense table are distances, which every loss accepts."""
    x = torch.rand(num_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = lm.Dense((x[:, None] - x).abs())
    names = [str(i) for i in range(num_classes)]
    made: dict[str, Callable[[], lm.CostMatrix]] = {
        "dense": lambda: table,
        "ordinal": lambda: lm.Ordinal(num_classes),
        "tree": lambda: lm.Tree([(str(i % 2), str(i % 6), n) for i, n in enumerate(names)]),
        "sparse": lambda: lm.Sparse(num_classes, [(1, 2, 9.0), (3, 0, 0.5)]),
        "low rank": lambda: lm.LowRank.squared_distances(torch.stack([x, x.sin()], 1)),
        "one more": lambda: table.with_abstain(0.2),
        "fewer": lambda: lm.Dense(table.to_dense()[:, : num_classes // 2]),
    }
    return made[kind]()


def error(
    loss: lm.Loss,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    kind: str,
    device: str,
    **options: Any,
) -> float:
    """‖found − truth‖ / ‖truth‖ of value and gradient, the larger one, at an upstream of 3."""
    torch.manual_seed(1)
    costs = matrix(kind, shape[1])
    logits = (3.0 * torch.randn(shape, device=device)).to(dtype)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), device=device)
    sample_weight = None
    if options.pop("weighted", False):
        sample_weight = torch.rand(target.shape, device=device)
        options["weight"] = torch.rand(shape[1], device=device)
        options["ignore_index"] = 2
    compiled = options.pop("compiled", False)
    found: list[list[Tensor]] = []
    for engine, number in (("triton", dtype), ("reference", torch.float64)):
        z = logits.to(number).requires_grad_()
        D = costs.to(device, torch.float64 if number == torch.float64 else torch.float32)
        criterion: Any = lm.Criterion(loss, D, engine=engine, **options)
        if compiled and engine == "triton":
            criterion(z, target)
            criterion = torch.compile(criterion, fullgraph=True)
        value = criterion(z, target, sample_weight=sample_weight)
        found.append([value.detach(), *torch.autograd.grad(3.0 * value.sum(), z)])
    ratios = [(a.double() - b).norm() / b.norm() for a, b in zip(*found, strict=True)]
    return max(float(ratio) if ratio == ratio else float("inf") for ratio in ratios)


def checks() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """What is checked: a name, and the arguments of ``error``."""
    for shape, dtype, kind in SHAPES:
        for loss in LOSSES:
            yield f"{loss!r} {shape} {dtype} {kind}", (loss, shape, dtype, kind), {}
    for kind in KINDS:
        yield f"DecisionScore {kind}", (lm.DecisionScore(), (512, 24), torch.float32, kind), {}
    for loss in (BOTH, lm.EnergyScore()):
        yield f"{loss!r} float64", (loss, (512, 19), torch.float64, "dense"), {}
    few = (BOTH, (512, 19), torch.float32, "dense")
    for reduction in ("mean", "sum", "none"):
        yield f"weights, {reduction}", few, {"weighted": True, "reduction": reduction}
    many = (BOTH, (65536, 19), torch.float32, "dense")
    yield "gradient in forward", many, {}
    yield "torch.compile", few, {"compiled": True}


def check(device: str, end: float) -> list[Row]:
    """Every check, its error and its verdict."""
    rows: list[Row] = []
    for name, arguments, options in checks():
        if time.monotonic() > end:
            rows.append({"check": name, "error": "", "verdict": "left out, for want of time"})
            continue
        try:
            wrong = error(*arguments, device, **options)
            verdict = "ok" if wrong <= TOLERANCE[arguments[2]] else "WRONG"
            rows.append({"check": name, "error": f"{wrong:.2e}", "verdict": verdict})
        except Exception as reason:  # one that cannot run is a row that says why
            traceback.print_exc(limit=-3)
            words = (str(reason).splitlines() or [""])[0][:120]
            failure = f"{type(reason).__name__}: {words}"
            rows.append({"check": name, "error": "", "verdict": failure})
        print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def times(device: str, end: float) -> list[Row]:
    """Milliseconds of forward and backward beside those of F.cross_entropy."""
    losses: list[lm.Loss] = [lm.CrossEntropy(), BOTH, lm.EnergyScore(), lm.EntropicRisk()]
    rows: list[Row] = []
    for shape, kind in TIMED:
        costs = matrix(kind, shape[1]).to(device, torch.float32)
        for dtype in (torch.float32, torch.bfloat16):
            case = Case(shape, dtype, kind)
            logits, target = case.inputs(torch.device(device))
            z, base = logits.requires_grad_(), 0.0
            calls: dict[str, Any] = {"F.cross_entropy": F.cross_entropy}
            for loss in losses:
                given = None if loss.reads is None else costs
                calls[repr(loss)] = lm.Criterion(loss, given, engine="triton").to(device)
            for name, call in calls.items():
                if time.monotonic() > end:
                    continue
                row = {"case": case.name, "costs": kind, "contender": name}
                try:
                    taken = on_device(forward_backward, call, z, target)
                    base = base or taken
                    shown = {"milliseconds": taken, "ratio": taken / base}
                    shown["peak_mb"] = peak_megabytes(call, z, target)
                    row |= {key: f"{value:.4g}" for key, value in shown.items()} | {"failure": ""}
                except Exception as reason:
                    words = (str(reason).splitlines() or [""])[0][:120]
                    row |= dict.fromkeys(("milliseconds", "ratio", "peak_mb"), "")
                    row |= {"failure": f"{type(reason).__name__}: {words}"}
                rows.append(row)
                print(*row.values(), sep="\t", flush=True)
    return rows


def write(file: Path, rows: list[Row], about: Row) -> None:
    """A table, with the machine in every row."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], *about])
        writer.writeheader()
        writer.writerows(row | about for row in rows)


def main() -> int:
    """Check, time, write; 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=os.environ.get("OUT", RESULT.parent)
    )
    parser.add_argument("--minutes", type=float, default=3.5, help="nothing new after that")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu_check.py needs a GPU and found none: run it where there is one.")
        return 1
    start, folder = time.monotonic(), Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = machine()
    print(about)
    torch.set_float32_matmul_precision("high")
    checked = check("cuda", start + 40 * options.minutes)
    write(folder / "gpu_check.csv", checked, about)
    print(f"{time.monotonic() - start:.0f} s for checks")
    timed = times("cuda", start + 60 * options.minutes)
    if timed:
        write(folder / "gpu_check_times.csv", timed, about)
    failed = [row for row in checked if row["verdict"] != "ok"]
    print(f"{len(failed)} of {len(checked)} checks failed; {time.monotonic() - start:.0f} s in all")
    for row in failed:
        print(*row.values(), sep="\t")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
