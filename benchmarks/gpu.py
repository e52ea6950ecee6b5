# SPDX-License-Identifier: BSD-3-Clause
"""Times losses on a GPU beside what a user would write instead: four minutes; writes gpu.csv.

Every contender is checked before it is timed, with fresh random logits and the reference engine in
float64 as the truth (what torch.compile makes is not). `milliseconds` is the median between device
events, caches flushed in between: what a call takes where the device is the slower one. `device` is
the time of the same call replayed from a CUDA graph, without the host; `host` the time between
calls of few logits. The floor is one read, and with a gradient one write, of the logits at the
bandwidth that a copy has in the same run. Kernels are compiled first, in processes side by side.

    python benchmarks/gpu.py                # on the current device
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
BOTH = "CrossEntropy + ExpectedCost"
LOSSES: dict[str, lm.Loss] = {
    "CrossEntropy": lm.CrossEntropy(),
    BOTH: lm.CrossEntropy() + lm.ExpectedCost(),
    "Unlikelihood": lm.Unlikelihood(),
    "CrossEntropy + DecisionScore": lm.CrossEntropy() + lm.DecisionScore(),
    "label smoothing": lm.CrossEntropy() + lm.ExpectedCost(),
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

    @property
    def is_small(self) -> bool:
        """Whether the host is what takes time."""
        return math.prod(self.shape) < 100_000

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
    Case((256, 10), FULL, "Dense"),
    *(Case((8192, 128256), dtype, "Ordinal") for dtype in (HALF, FULL)),
    *(Case((8192, 32000), dtype, "Ordinal") for dtype in (HALF, FULL)),
    Case((8192, 32000), HALF, "Tree"),
    Case((8192, 32003), HALF, "Ordinal"),
    *(Case((65536, 1000), dtype, "Dense") for dtype in (HALF, FULL)),
    Case((65536, 100), FULL, "Dense"),
    Case((1048576, 5), FULL, "Dense"),
    Case((4, 19, 1024, 1024), FULL, "Dense"),
    Case((4, 150, 512, 512), FULL, "Dense"),
]


# --- contenders ----------------------------------------------------------------------------------


def contenders(case: Case, costs: lm.CostMatrix, with_compile: bool) -> dict[str, Call]:
    """Every contender by name."""
    calls: dict[str, Call] = {"F.cross_entropy": F.cross_entropy}
    for name, loss in LOSSES.items():
        if "DecisionScore" in name and (case.shape[1] > 150 or case.is_small):
            continue  # beyond, PyTorch's own products are what takes time
        options = {"label_smoothing": 0.1} if name == "label smoothing" else {}
        given = costs if loss.reads else None
        criterion = lm.Criterion(loss, given, engine="triton", **options)
        calls[name] = criterion.to(_device(costs))
    try:
        from liger_kernel.transformers.functional import liger_cross_entropy

        if len(case.shape) == 2:  # it writes the gradient over the logits
            calls["Liger cross entropy"] = lambda z, y: liger_cross_entropy(z + 0.0, y)
    except ImportError:
        pass
    try:
        from quack.cross_entropy import cross_entropy

        if len(case.shape) == 2:
            calls["quack cross entropy"] = lambda z, y: cross_entropy(z, y, reduction="mean")
    except ImportError:
        pass
    if with_compile:
        calls["torch.compile of F.cross_entropy"] = torch.compile(F.cross_entropy)
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
    smoothing = 0.1 if name == "label smoothing" else 0.0
    truth = loss(exact, target, D, engine="reference", label_smoothing=smoothing)
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


def wall(run: Run, call: Call, z: Tensor, target: Tensor) -> float:
    """Median milliseconds between device events."""
    from triton.testing import do_bench

    return float(do_bench(lambda: run(call, z, target), warmup=5, rep=40, return_mode="median"))


def on_device(run: Run, call: Call, z: Tensor, target: Tensor) -> float:
    """Median milliseconds of a replayed graph, which no host holds up; NaN if none is captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run(call, z, target)
    except RuntimeError:
        return math.nan
    from triton.testing import do_bench

    return float(do_bench(graph.replay, warmup=2, rep=20, return_mode="median"))


def on_host(run: Run, call: Call, z: Tensor, target: Tensor) -> float:
    """Milliseconds of the host per call, where the device is never the slower one."""
    times: list[float] = []
    for _ in range(15):
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


def prepared(case: Case, with_compile: bool, device: torch.device) -> tuple[object, ...]:
    """Costs, logits, targets and contenders of a case."""
    torch.manual_seed(0)
    costs = case.matrix(device).to(device, torch.float32)
    logits, target = case.inputs(device)
    return costs, logits.requires_grad_(), target, contenders(case, costs, with_compile)


def measure(case: Case, with_compile: bool, copy_gbs: float) -> list[dict[str, str]]:
    """The rows of one case."""
    device = torch.device("cuda", torch.cuda.current_device())
    torch._dynamo.reset()
    costs, z, target, calls = prepared(case, with_compile, device)
    rows: list[dict[str, str]] = []
    for name, call in calls.items():
        row = {"case": case.name, "costs": case.costs, "contender": name}
        try:
            compiled = name.startswith("torch.compile")
            wrong = math.nan if compiled else error(case, name, call, costs, device)
            modes: dict[str, Run] = {"forward+backward": forward_backward, "forward": forward}
            for mode, run in list(modes.items())[: 2 if case.is_small or name == BOTH else 1]:
                passes = 2 if run is forward_backward else 1
                floor = passes * z.numel() * z.element_size() / copy_gbs / 1e6
                numbers = {
                    "milliseconds": wall(run, call, z, target),
                    "device": math.nan if compiled else on_device(run, call, z, target),
                    "host": on_host(run, call, z, target) if case.is_small else math.nan,
                    "floor": floor,
                    "peak_mb": peak_megabytes(call, z, target) if passes == 2 else math.nan,
                }
                shown = {key: f"{value:.4g}" for key, value in numbers.items()}
                rows.append(row | {"mode": mode, **shown, "error": f"{wrong:.2e}", "failure": ""})
        except Exception as reason:  # a contender that cannot run is a row that says why
            words = (str(reason).splitlines() or [""])[0][:120]
            failure = f"{type(reason).__name__}: {words}"
            empty = dict.fromkeys(
                ("milliseconds", "device", "host", "floor", "peak_mb", "error"), ""
            )
            rows.append(row | {"mode": "forward+backward", **empty, "failure": failure})
        torch.cuda.empty_cache()
    return rows


def compile_part(part: int, parts: int) -> None:
    """Run every so-manieth contender once, so that its kernels are kept on disk."""
    device = torch.device("cuda", torch.cuda.current_device())
    number = 0
    for case in CASES:
        costs, z, target, calls = prepared(case, False, device)
        for name, call in calls.items():
            number += 1
            if number % parts == part and name != "F.cross_entropy":
                forward_backward(call, z, target)
                forward(call, z, target)
                error(case, name, call, costs, device)
        del z
        torch.cuda.empty_cache()


def main() -> int:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="no new case after that")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--part", type=int, help="compile one part of the kernels")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a GPU and found none: run it where there is one.")
        return 1
    if options.part is not None:
        compile_part(options.part, options.jobs)
        return 0
    end = time.monotonic() + 60 * options.minutes
    command = [sys.executable, __file__, "--jobs", str(options.jobs), "--part"]
    for process in [subprocess.Popen([*command, str(i)]) for i in range(options.jobs)]:
        process.wait()
    about = machine() | {"copy_gbs": f"{copy_bandwidth():.4g}"}
    print(about, f"{end - time.monotonic():.0f} s left", flush=True)
    rows: list[dict[str, str]] = []
    for case in CASES:
        if time.monotonic() > end:
            print(f"left out, for want of time: {case.name} {case.costs}")
            continue
        for row in measure(case, not options.no_compile, float(about["copy_gbs"])):
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
