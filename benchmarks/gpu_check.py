# SPDX-License-Identifier: BSD-3-Clause
"""Checks losses on a GPU against the reference engine in float64: two minutes, where there is one.

Compiling takes most of that, so the checks run in processes side by side. TF32 is allowed
throughout, and must not be noticed. What fails is printed and counted, and all else still runs.

    python benchmarks/gpu_check.py [FOLDER]     # for the table; or $OUT, or benchmarks/results
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from gpu import RESULT, machine
from torch import Tensor

import lossmatrix as lm

SUM = lm.CrossEntropy() + lm.ExpectedCost()
BOTH = lm.CrossEntropy() + lm.DecisionScore()
ONE_PASS: list[lm.Loss] = [lm.CrossEntropy(), SUM]
LOSSES: list[lm.Loss] = [
    *ONE_PASS,
    lm.Unlikelihood(),
    lm.CostFocal(0.5),
    lm.SoftmaxMargin(),
    lm.EntropicRisk(),
    BOTH,
    lm.EnergyScore(),
]
FULL, HALF = torch.float32, torch.bfloat16
Shape = tuple[int, ...]
SHAPES: list[tuple[Shape, torch.dtype, str, list[lm.Loss]]] = [
    ((4096, 5), FULL, "dense", LOSSES),
    ((4096, 19), HALF, "dense", LOSSES),
    ((2, 19, 64, 64), FULL, "dense", LOSSES),
    ((2, 150, 33, 32), FULL, "dense", LOSSES[:3]),
    ((512, 1000), FULL, "dense", LOSSES),
    ((64, 1003), HALF, "dense", LOSSES[:3]),
    ((64, 12000), FULL, "ordinal", LOSSES),
    ((9, 32003), HALF, "ordinal", LOSSES[:3]),
    ((5, 128256), HALF, "ordinal", ONE_PASS),
    ((5, 128256), FULL, "tree", ONE_PASS),
]
KINDS = ["positions", "tree", "sparse", "low rank", "one more", "fewer"]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
Row = dict[str, str]
Check = Callable[[str], float]


def matrix(kind: str, num_classes: int) -> lm.CostMatrix:
    """Costs of a kind; those of the dense table are distances, which every loss accepts."""
    x = torch.rand(num_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    names = [str(i) for i in range(num_classes)]
    made: dict[str, Callable[[], lm.CostMatrix]] = {
        "dense": lambda: lm.Dense((x[:, None] - x).abs()),
        "ordinal": lambda: lm.Ordinal(num_classes),
        "positions": lambda: lm.Ordinal(num_classes, positions=x),
        "tree": lambda: lm.Tree([(str(i % 2), str(i % 6), n) for i, n in enumerate(names)]),
        "sparse": lambda: lm.Sparse(num_classes, [(1, 2, 9.0), (3, 0, 0.5)]),
        "low rank": lambda: lm.LowRank.squared_distances(torch.stack([x, x.sin()], 1)),
        "one more": lambda: lm.Dense((x[:, None] - x).abs()).with_abstain(0.2),
        "fewer": lambda: lm.Dense((x[:, None] - x).abs()[:, : num_classes // 2]),
        "regret": lambda: lm.Ordinal(num_classes, positions=x, power=1.5).regret(),
    }
    return made[kind]()


def inputs(shape: Shape, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """Random logits, one far ahead of the others, and targets."""
    torch.manual_seed(1)
    logits = 3.0 * torch.randn(shape, device=device)
    logits[0, 1] = 40.0
    return logits.to(dtype), torch.randint(shape[1], (shape[0], *shape[2:]), device=device)


def error(
    loss: lm.Loss, shape: Shape, dtype: torch.dtype, kind: str, device: str, **options: Any
) -> float:
    """‖found − truth‖ / ‖truth‖ of value and gradient, the larger one, at an upstream of 3."""
    costs = matrix(kind, shape[1])
    logits, target = inputs(shape, dtype, device)
    sample_weight = None
    if options.pop("weighted", False):
        sample_weight = torch.rand(target.shape, device=device)
        options["weight"] = torch.rand(shape[1], device=device)
        options["ignore_index"] = 2
    if options.pop("probabilities", False):
        options.pop("ignore_index", None)
        target = torch.rand(shape, device=device).softmax(1)
    compiled = options.pop("compiled", False)
    found: list[list[Tensor]] = []
    for engine, number in (("triton", dtype), ("reference", torch.float64)):
        z = logits.to(number).requires_grad_()
        y = target.to(number) if target.is_floating_point() else target
        D = costs.to(device, torch.float64 if number == torch.float64 else torch.float32)
        criterion: Any = lm.Criterion(loss, D, engine=engine, **options)
        if compiled and engine == "triton":
            criterion(z, y)
            criterion = torch.compile(criterion, fullgraph=True)
        value = criterion(z, y, sample_weight=sample_weight)
        found.append([value.detach(), *torch.autograd.grad(3.0 * value.sum(), z)])
    return difference(*found)


def difference(found: list[Tensor], truth: list[Tensor]) -> float:
    """‖found − truth‖ / ‖truth‖, the largest; NaN never passes."""
    pairs = zip(found, truth, strict=True)
    ratios = [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in pairs]
    return max(ratio if ratio == ratio else float("inf") for ratio in ratios)


def step(criterion: lm.Criterion, z: Tensor, y: Tensor) -> list[Tensor]:
    """Value and gradient."""
    value = criterion(z, y)
    return [value.detach(), *torch.autograd.grad(value, z)]


def criterion_of(shape: Shape, device: str) -> lm.Criterion:
    """Cross-entropy and expected cost on this device."""
    return lm.Criterion(SUM, matrix("dense", shape[1]), engine="triton").to(device)


def graph(device: str) -> float:
    """A captured step, replayed on other logits."""
    shape = (512, 19)
    criterion, (logits, target) = criterion_of(shape, device), inputs(shape, FULL, device)
    z = logits.clone().requires_grad_()
    step(criterion, z, target)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        found = step(criterion, z, target)
    wrong = 0.0
    for factor in (0.5, 2.0):
        with torch.no_grad():
            z.copy_(factor * logits)
        captured.replay()
        fresh = (factor * logits).requires_grad_()
        wrong = max(wrong, difference(found, step(criterion, fresh, target)))
    return wrong


def streams(device: str) -> float:
    """Steps on two streams at once."""
    shape = (4096, 19)
    criterion, (logits, target) = criterion_of(shape, device), inputs(shape, FULL, device)
    truth = step(criterion, logits.clone().requires_grad_(), target)
    torch.cuda.synchronize()
    found: list[list[Tensor]] = []
    beside = [torch.cuda.Stream() for _ in range(2)]
    for i in range(40):
        with torch.cuda.stream(beside[i % 2]):
            found.append(step(criterion, logits.clone().requires_grad_(), target))
    torch.cuda.synchronize()
    return max(difference(each, truth) for each in found)


def no_waiting(device: str) -> float:
    """Nothing asks the device for a number: the second time, PyTorch would say so."""
    shape = (512, 19)
    criterion, (logits, target) = criterion_of(shape, device), inputs(shape, FULL, device)
    z = logits.requires_grad_()
    truth = step(criterion, z, target)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = step(criterion, z, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return difference(found, truth)


def same_bits(device: str) -> float:
    """Twice the same numbers, to the last bit."""
    shape = (65536, 19)
    criterion, (logits, target) = criterion_of(shape, device), inputs(shape, FULL, device)
    some, others = (step(criterion, logits.clone().requires_grad_(), target) for _ in range(2))
    return float(not all(map(torch.equal, some, others)))


def launches_are_triton_s(device: str) -> float:
    """What a kept launch computes is what Triton's own call does."""
    from lossmatrix.engines.gpu import launch

    shape = (512, 19)
    criterion, (logits, target) = criterion_of(shape, device), inputs(shape, FULL, device)
    kept = [step(criterion, logits.clone().requires_grad_(), target) for _ in range(3)][-1]
    assert any(each.again for _, each in _launches(criterion, launch))
    direct, launch._direct = launch._direct, lambda *_: None
    try:
        other = criterion_of(shape, device)
        asked = [step(other, logits.clone().requires_grad_(), target) for _ in range(3)][-1]
        assert not any(each.again for _, each in _launches(other, launch))
    finally:
        launch._direct = direct
    return float(not all(map(torch.equal, kept, asked)))


def _launches(criterion: lm.Criterion, launch: Any) -> list[Any]:
    calls = [each for each in criterion.bound.cache.values() if isinstance(each, list)]
    return [each for known in calls for call in known for each in call.launches.values()]


def scaled_half(device: str) -> float:
    """A large loss scale on half precision, and large logits that made their gradient already."""
    shape = (4096, 1000)
    criterion, (logits, target) = criterion_of(shape, device), inputs(shape, HALF, device)
    found = []
    for number in (HALF, torch.float64):
        z = logits.to(number).requires_grad_()
        engine = lm.Criterion(
            SUM,
            matrix("dense", 1000).to(device, number if number != HALF else FULL),
            engine="triton" if number == HALF else "reference",
        )
        found.append([torch.autograd.grad(2.0**16 * engine(z, target).float(), z)[0]])
    del criterion
    return difference(*found) / 1e3  # the tolerance here is float32's


def like_pytorch(device: str) -> float:
    """F.cross_entropy, its gradient and its denominators."""
    logits, target = inputs((4096, 19), FULL, device)
    weight, wrong = torch.rand(19, device=device), 0.0
    for options in ({}, {"label_smoothing": 0.1}, {"weight": weight, "ignore_index": 3}):
        found = []
        for call in (lm.Criterion(lm.CrossEntropy(), engine="triton", **options),
                     lambda z, y, o=options: F.cross_entropy(z, y, **o)):  # fmt: skip
            z = logits.clone().requires_grad_()
            value = call(z, target)
            found.append([value.detach(), *torch.autograd.grad(value, z)])
        wrong = max(wrong, difference(*found))
    return wrong


SYSTEMS: list[Check] = [
    graph,
    streams,
    no_waiting,
    same_bits,
    launches_are_triton_s,
    scaled_half,
    like_pytorch,
]


def checks() -> Iterator[tuple[str, Check, float]]:
    """What is checked: a name, how, and the error that is allowed."""

    def case(name: str, *arguments: Any, **options: Any) -> tuple[str, Check, float]:
        def run(device: str) -> float:
            return error(*arguments, device, **options)

        return name, run, TOLERANCE[arguments[2]]

    for each in SYSTEMS:
        yield each.__name__, each, 1e-5
    for shape, dtype, kind, losses in SHAPES:
        for loss in losses:
            yield case(f"{loss!r} {shape} {dtype} {kind}", loss, shape, dtype, kind)
    for kind in KINDS:
        yield case(f"DecisionScore {kind}", lm.DecisionScore(), (512, 24), FULL, kind)
        if kind != "fewer":
            yield case(f"Unlikelihood {kind}", lm.Unlikelihood(), (512, 24), FULL, kind)
    yield case("regret", SUM, (512, 24), FULL, "regret")
    for loss in (BOTH, lm.EnergyScore(), SUM):
        yield case(f"{loss!r} float64", loss, (512, 19), torch.float64, "dense")
    for loss in (SUM, BOTH):
        few = (loss, (512, 19), FULL, "dense")
        for reduction in ("mean", "sum", "none"):
            yield case(f"weights, {reduction} {loss!r}", *few, weighted=True, reduction=reduction)
        yield case(f"smoothing {loss!r}", *few, weighted=True, label_smoothing=0.1)
        yield case(f"probabilities {loss!r}", *few, probabilities=True)
        yield case(f"torch.compile {loss!r}", *few, compiled=True)
        yield case(f"gradient in forward {loss!r}", loss, (65536, 19), FULL, "dense")
    long = (SUM, (64, 32000), FULL, "ordinal")
    yield case("smoothing, many classes", *long, label_smoothing=0.1)
    yield case("probabilities, many classes", *long, probabilities=True)


def check(device: str, part: int, parts: int) -> list[Row]:
    """Every check of a part, its error and its verdict."""
    rows: list[Row] = []
    for number, (name, run, tolerance) in enumerate(checks()):
        if number % parts != part:
            continue
        try:
            wrong = run(device)
            verdict = "ok" if wrong <= tolerance else "WRONG"
            rows.append({"check": name, "error": f"{wrong:.2e}", "verdict": verdict})
        except Exception as reason:  # one that cannot run is a row that says why
            traceback.print_exc(limit=-3)
            words = (str(reason).splitlines() or [""])[0][:120]
            rows.append(
                {"check": name, "error": "", "verdict": f"{type(reason).__name__}: {words}"}
            )
        print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def write(file: Path, rows: list[Row], about: Row) -> None:
    """A table, with the machine in every row; the old one stays until the new one is whole."""
    partial = file.with_suffix(".part")
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], *about])
        writer.writeheader()
        writer.writerows(row | about for row in rows)
    os.replace(partial, file)


def main() -> int:
    """Check and write; 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=os.environ.get("OUT", RESULT.parent)
    )
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--part", type=int, help="run one part of the checks in this process")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu_check.py needs a GPU and found none: run it where there is one.")
        return 1
    torch.set_float32_matmul_precision("high")
    if options.part is not None:
        check("cuda", options.part, options.jobs)
        return 0
    start, folder = time.monotonic(), Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--jobs", str(options.jobs), "--part"]
    running = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(options.jobs)
    ]
    said = [process.communicate()[0] for process in running]
    lines = [line.split("\t") for text in said for line in text.splitlines()]
    rows = [dict(zip(("check", "error", "verdict"), line, strict=True)) for line in lines
            if len(line) == 3]  # fmt: skip
    write(folder / "gpu_check.csv", rows, machine())
    failed = [row for row in rows if row["verdict"] != "ok"]
    expected = sum(1 for _ in checks())
    print(f"{len(rows) - len(failed)} of {expected} checks hold; {time.monotonic() - start:.0f} s")
    for row in failed:
        print(*row.values(), sep="\t")
    return int(len(rows) - len(failed) < expected)


if __name__ == "__main__":
    sys.exit(main())
