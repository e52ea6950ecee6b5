# SPDX-License-Identifier: BSD-3-Clause
"""Checks and times losses on a GPU against what a user would write instead; writes gpu.csv.

Every contender is checked before it is timed: fresh random logits, memory that is filled with NaN
where nothing was written, and the reference engine in float64 as the truth. (What torch.compile
makes is timed with a gradient only and not checked: a check is one more compilation.) Times are
medians from device events, caches flushed in between; those of (64, 1000) are the host's, per call.
`gbs` is the traffic of an ideal loss, one read and with a gradient one write of the logits, over
the time.

    python benchmarks/gpu.py                # eight minutes, on the current device
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from torch import Tensor

import lossmatrix as lm

RESULT = Path(__file__).parent / "results" / "gpu.csv"
LOSSES: dict[str, lm.Loss] = {
    "ExpectedCost": lm.ExpectedCost(),
    "CrossEntropy + ExpectedCost": lm.CrossEntropy() + lm.ExpectedCost(),
    "Unlikelihood": lm.Unlikelihood(),
    "SoftmaxMargin": lm.SoftmaxMargin(),
}
Call = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """Logits of one shape and dtype, and a kind of costs."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    costs: str

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{'x'.join(map(str, self.shape))} {str(self.dtype).removeprefix('torch.')}"

    def matrix(self, device: torch.device) -> lm.CostMatrix:
        """The costs."""
        num_classes = self.shape[1]
        if self.costs == "Ordinal":
            return lm.Ordinal(num_classes)
        if self.costs == "Tree":
            names = [str(i) for i in range(num_classes)]
            return lm.Tree([(f"a{i // 4096}", f"b{i // 64}", n) for i, n in enumerate(names)])
        table = 5.0 * torch.rand(num_classes, num_classes, device=device)
        return lm.Dense(table.fill_diagonal_(0.0))

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Random logits and targets."""
        logits = 3.0 * torch.randn(self.shape, device=device, dtype=self.dtype)
        rows = (self.shape[0], *self.shape[2:])
        return logits, torch.randint(self.shape[1], rows, device=device)


HALF, FULL = torch.bfloat16, torch.float32
CASES = [
    Case((64, 1000), FULL, "Dense"),
    *(Case((65536, 1000), dtype, "Dense") for dtype in (HALF, FULL)),
    *(Case((8192, 32000), dtype, "Dense") for dtype in (HALF, FULL)),
    *(
        Case((8192, 128256), dtype, costs)
        for costs in ("Ordinal", "Tree")
        for dtype in (HALF, FULL)
    ),
    Case((4, 19, 1024, 1024), FULL, "Dense"),
]


# --- contenders ----------------------------------------------------------------------------------


def eager(costs: lm.CostMatrix) -> Call:
    """The snippet that users write for expected cost."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        rows = costs.row(target).to(logits.dtype)
        rows = rows.movedim(-1, 1) if rows.dim() > 2 else rows
        return (rows * logits.softmax(1)).sum(1).mean()

    return loss


def contenders(case: Case, costs: lm.CostMatrix, with_compile: bool) -> dict[str, Call]:
    """Every contender by name."""
    engine = lm.Criterion(lm.CrossEntropy(), engine="triton")
    calls: dict[str, Call] = {"F.cross_entropy": F.cross_entropy, "CrossEntropy": engine}
    for name, loss in LOSSES.items():
        calls[name] = lm.Criterion(loss, costs, engine="triton").to(_device(costs))
    snippet = eager(costs)
    if case.costs != "Tree":
        calls["eager expected cost"] = snippet
    try:
        from liger_kernel.transformers.functional import liger_cross_entropy

        if len(case.shape) == 2:  # it writes the gradient over the logits
            calls["Liger cross entropy"] = lambda z, y: liger_cross_entropy(z + 0.0, y)
    except ImportError:
        pass
    if with_compile:
        reference = lm.Criterion(lm.ExpectedCost(), costs, engine="reference")
        calls["torch.compile of F.cross_entropy"] = torch.compile(F.cross_entropy)
        if case.costs != "Tree":
            calls["torch.compile of the eager snippet"] = torch.compile(snippet)
        calls["torch.compile of the reference"] = torch.compile(reference)
    return calls


def _device(costs: lm.CostMatrix) -> torch.device:
    """Where the tables of a matrix are."""
    return next(iter(costs.tables.values())).device


# --- checks --------------------------------------------------------------------------------------


def error(case: Case, name: str, call: Call, costs: lm.CostMatrix, device: torch.device) -> float:
    """‖gradient − truth‖ / ‖truth‖, and the same of the value: the larger one; NaN never passes.

    The truth is the reference engine in float64, asked for 64 rows at a time.
    """
    loss = LOSSES.get(name, lm.CrossEntropy())
    if "expected" in name or "snippet" in name or "reference" in name:
        loss = lm.ExpectedCost()
    rows = min(case.shape[0], 64 if len(case.shape) == 2 else 1)
    logits, target = Case((rows, *case.shape[1:]), case.dtype, case.costs).inputs(device)
    if len(case.shape) > 2:
        logits, target = logits[..., :64, :64].contiguous(), target[..., :64, :64].contiguous()
    z, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills fresh memory with NaN
    try:
        value = call(z, target)
        found = (value, torch.autograd.grad(value, z)[0])
    finally:
        torch.use_deterministic_algorithms(False)
    D = None if loss.reads is None else costs
    truth = loss(exact, target, D, engine="reference")
    truths = (truth, torch.autograd.grad(truth, exact)[0])
    ratios = [
        ((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, truths, strict=True)
    ]
    return max(ratio if ratio == ratio else math.inf for ratio in ratios)


# --- times ---------------------------------------------------------------------------------------


def forward_backward(call: Call, z: Tensor, target: Tensor) -> None:
    """Value and a fresh gradient."""
    torch.autograd.grad(call(z, target), z)


def forward(call: Call, z: Tensor, target: Tensor) -> None:
    """The value alone."""
    with torch.no_grad():
        call(z, target)


Run = Callable[[Call, Tensor, Tensor], None]


def on_device(run: Run, call: Call, z: Tensor, target: Tensor) -> float:
    """Median milliseconds between device events."""
    from triton.testing import do_bench

    return float(do_bench(lambda: run(call, z, target), warmup=20, rep=120, return_mode="median"))


def on_host(run: Run, call: Call, z: Tensor, target: Tensor) -> float:
    """Milliseconds of the host per call, where the device is never the slower one."""
    times: list[float] = []
    for _ in range(20):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(50):
            run(call, z, target)
        times.append((time.perf_counter() - start) / 50 * 1e3)
    return statistics.median(times)


def peak_megabytes(call: Call, z: Tensor, target: Tensor) -> float:
    """Peak memory of forward and backward above what was there before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    forward_backward(call, z, target)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def copy_bandwidth() -> float:
    """GB/s of a large copy, reads and writes counted."""
    from triton.testing import do_bench

    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    milliseconds = float(do_bench(lambda: target.copy_(source), return_mode="median"))
    return 2 * source.numel() * 4 / milliseconds / 1e6


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    import triton

    def said(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""

    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "triton": triton.__version__,
        "commit": os.environ.get("COMMIT") or said("git", "rev-parse", "--short", "HEAD"),
    }


def measure(case: Case, with_compile: bool, device: torch.device) -> list[dict[str, str]]:
    """The rows of one case."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    costs = case.matrix(device).to(device, torch.float32)
    logits, target = case.inputs(device)
    z = logits.requires_grad_()
    small = z.numel() < 100_000
    clock = on_host if small else on_device
    rows: list[dict[str, str]] = []
    for name, call in contenders(case, costs, with_compile).items():
        row = {"case": case.name, "costs": case.costs, "contender": name}
        try:
            compiled = name.startswith("torch.compile")
            wrong = math.nan if compiled else error(case, name, call, costs, device)
            modes: dict[str, Run] = {"forward+backward": forward_backward, "forward": forward}
            for mode, run in list(modes.items())[: 1 if compiled else 2]:
                milliseconds = clock(run, call, z, target)
                passes = 2 if run is forward_backward else 1
                speed = passes * z.numel() * z.element_size() / milliseconds / 1e6
                memory = peak_megabytes(call, z, target) if passes == 2 else math.nan
                numbers = {"milliseconds": milliseconds, "gbs": speed, "peak_mb": memory}
                shown = {key: f"{value:.4g}" for key, value in numbers.items()}
                rows.append(row | {"mode": mode, **shown, "error": f"{wrong:.2e}", "failure": ""})
        except Exception as reason:  # a contender that cannot run is a row that says why
            words = (str(reason).splitlines() or [""])[0][:120]
            failure = f"{type(reason).__name__}: {words}"
            empty = dict.fromkeys(("milliseconds", "gbs", "peak_mb", "error"), "")
            rows.append(row | {"mode": "forward+backward", **empty, "failure": failure})
        torch.cuda.empty_cache()
    return rows


def main() -> int:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=7.0, help="no new case after that")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a GPU and found none: run it where there is one.")
        return 1
    end = time.monotonic() + 60 * options.minutes
    device = torch.device("cuda", torch.cuda.current_device())
    about = machine() | {"copy_gbs": f"{copy_bandwidth():.4g}"}
    print(about)
    rows: list[dict[str, str]] = []
    for case in CASES:
        if time.monotonic() > end:
            print(f"left out, for want of time: {case.name} {case.costs}")
            continue
        for row in measure(case, not options.no_compile, device):
            rows.append(row | about)
            print(*list(row.values()), sep="\t", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_suffix(".part")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
