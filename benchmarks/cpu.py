# SPDX-License-Identifier: BSD-3-Clause
"""Times losses on the CPU against what a user would write instead; writes results/cpu.csv.

All contenders of a shape run in one process, one after the other in every round, and a row gives
the median of the rounds; so a busy machine disturbs all of them alike. Every shape has a process of
its own: memory that another shape left to the allocator would be handed out again without the page
faults of fresh memory. `ratio` is the time divided by that of F.cross_entropy at the same shape and
dtype. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from torch import Tensor

import lossmatrix as lm

SHAPES = [
    (256, 10),
    (65536, 5),
    (65536, 19),
    (65536, 100),
    (32768, 1000),
    (2048, 32000),
    (4, 19, 512, 512),
]
RESULT = Path(__file__).parent / "results" / "cpu.csv"

Call = Callable[[Tensor], Tensor]


def eager(target: Tensor, D: Tensor) -> Call:
    """The snippet that users write for expected cost."""

    def loss(logits: Tensor) -> Tensor:
        rows = D[target]
        rows = rows.movedim(-1, 1) if rows.dim() > 2 else rows
        return (rows * logits.softmax(1)).sum(1).mean()

    return loss


def contenders(shape: tuple[int, ...], with_compile: bool) -> tuple[Tensor, dict[str, Call]]:
    """Logits, and every contender as a function of them."""
    torch.manual_seed(0)
    num_classes = shape[1]
    logits = 3.0 * torch.randn(shape)
    target = torch.randint(0, num_classes, (shape[0], *shape[2:]))
    D = 5.0 * torch.rand(num_classes, num_classes)
    D.fill_diagonal_(0.0)
    costs = lm.Dense(D)
    D = costs.tables["table"]  # one copy: 4 GB at 32,000 classes, and two losses keep their own
    losses: dict[str, lm.Loss] = {
        "ExpectedCost": lm.ExpectedCost(),
        "CrossEntropy + ExpectedCost": lm.CrossEntropy() + lm.ExpectedCost(),
        "CrossEntropy": lm.CrossEntropy(),
        "Unlikelihood": lm.Unlikelihood(),
        "SoftmaxMargin": lm.SoftmaxMargin(),
        "CostSensitiveCrossEntropy": lm.CostSensitiveCrossEntropy(),
    }
    calls: dict[str, Call] = {"F.cross_entropy": lambda z: F.cross_entropy(z, target)}
    for name, loss in losses.items():
        criterion = lm.Criterion(loss, costs, engine="native")
        calls[f"lossmatrix {name}"] = lambda z, c=criterion: c(z, target)
    calls["eager expected cost"] = eager(target, D)
    if with_compile:
        reference = lm.Criterion(lm.ExpectedCost(), costs, engine="reference")
        compiled = torch.compile(reference)
        calls["torch.compile of the reference"] = lambda z: compiled(z, target)
    calls |= peers(logits, target, D)
    return logits, calls


def peers(logits: Tensor, target: Tensor, D: Tensor) -> dict[str, Call]:
    """Losses of other libraries, where they are installed and take the shape."""
    found: dict[str, Call] = {}
    try:
        from dlordinal.losses import CDWCELoss

        if logits.dim() == 2:
            cdw = CDWCELoss(logits.shape[1], alpha=1.0)
            found["dlordinal CDWCELoss"] = lambda z: cdw(z, target)
    except ImportError:
        pass
    try:
        from monai.losses import GeneralizedWassersteinDiceLoss

        if logits.dim() == 4:
            # its distance term, per image: with a batch it mixes the images' errors
            dice = GeneralizedWassersteinDiceLoss(D.numpy())

            def distance(z: Tensor) -> Tensor:
                maps = [
                    dice.wasserstein_distance_map(p.flatten(1)[None], y.flatten()[None])
                    for p, y in zip(z.softmax(1), target, strict=True)
                ]
                return torch.stack(maps).mean()

            found["MONAI Wasserstein distance"] = distance
    except ImportError:
        pass
    return found


def forward_backward(call: Call, logits: Tensor) -> None:
    """Value and a fresh gradient."""
    torch.autograd.grad(call(logits), logits)


def forward(call: Call, logits: Tensor) -> None:
    """The value alone."""
    with torch.no_grad():
        call(logits)


def interleaved(
    calls: dict[str, Call], run: Callable[[Call, Tensor], None], logits: Tensor, seconds: float
) -> dict[str, float]:
    """Median milliseconds of every call, measured in turns."""
    for call in calls.values():
        run(call, logits)
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls.items())
    shuffled = random.Random(0)
    repeat = 50 if logits.numel() < 10_000 else 1
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 15:
        shuffled.shuffle(order)  # nobody is always the one after a call that frees much memory
        for name, call in order:
            start = time.perf_counter()
            for _ in range(repeat):
                run(call, logits)
            times[name].append((time.perf_counter() - start) / repeat * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def peak_megabytes(call: Call, logits: Tensor) -> float:
    """Peak memory of forward and backward above what was resident before (Linux)."""
    refs = Path("/proc/self/clear_refs")
    if not refs.exists():
        return float("nan")
    refs.write_text("5")  # resets the peak
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    forward_backward(call, logits)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return (peak - before) / 1e6


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cpu": models[0] if models else platform.processor(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def name_of(shape: tuple[int, ...]) -> str:
    """A shape as the table names it."""
    return "x".join(map(str, shape))


def measure(task: tuple[tuple[int, ...], float, bool]) -> list[dict[str, object]]:
    """The rows of one shape."""
    shape, seconds, with_compile = task
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    rows: list[dict[str, object]] = []
    logits, calls = contenders(shape, with_compile)
    for dtype in (torch.float32, torch.bfloat16):
        z = logits.to(dtype).requires_grad_()
        chosen = {
            name: call
            for name, call in calls.items()
            if dtype == torch.float32 or name.startswith(("F.", "lossmatrix"))
        }
        for mode, run in (("forward+backward", forward_backward), ("forward", forward)):
            times = interleaved(chosen, run, z, seconds)
            for name, milliseconds in times.items():
                big = mode == "forward+backward" and z.numel() > 10_000_000
                memory = peak_megabytes(chosen[name], z) if big else float("nan")
                rows.append(
                    {
                        "shape": name_of(shape),
                        "dtype": str(dtype).removeprefix("torch."),
                        "mode": mode,
                        "contender": name,
                        "milliseconds": f"{milliseconds:.4f}",
                        "ratio": f"{milliseconds / times['F.cross_entropy']:.3f}",
                        "peak_mb": f"{memory:.1f}",
                        "gradient_mb": f"{z.numel() * z.element_size() / 1e6:.1f}",
                        **machine(),
                    }
                )
                print(*list(rows[-1].values())[:7], sep="\t", flush=True)
    return rows


def write_table(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """A table; the old one stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="per shape and mode")
    parser.add_argument("--only", default="", help="only shapes whose name contains this")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    shapes = [shape for shape in SHAPES if options.only in name_of(shape)]
    tasks = [(shape, options.seconds, not options.no_compile) for shape in shapes]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = [row for of_shape in pool.imap(measure, tasks, chunksize=1) for row in of_shape]
    write_table(rows, options.out)


if __name__ == "__main__":
    main()
