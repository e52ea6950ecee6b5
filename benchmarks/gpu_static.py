# SPDX-License-Identifier: BSD-3-Clause
"""What the GPU kernels cost, read from their machine code: no GPU is needed; writes gpu_static.csv.

Every variant is compiled for a GPU that is not there, and its instructions are counted: those of
the visits to a row, which are loops or were unrolled, divided by the logits that a thread has in
them. Beside them stand registers, spilled bytes (those that a row reads back once are not counted
in its visits), and how many loads and stores are as wide as 16 bytes. Neither latency nor caches
are in these numbers.

    python benchmarks/gpu_static.py            # two minutes
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import lossmatrix as lm
from lossmatrix.engines.gpu import kernels, launch
from lossmatrix.problem import Bound, Options, read

RESULT = Path(__file__).parent / "results" / "gpu_static.csv"
BOTH = lm.CrossEntropy() + lm.ExpectedCost()
LOSSES: dict[str, lm.Loss] = {
    "CrossEntropy": lm.CrossEntropy(),
    "CrossEntropy + ExpectedCost": BOTH,
    "Unlikelihood": lm.Unlikelihood(),
}
ARCHITECTURES = (80, 90, 100)
UNITS = {
    "exponentials": r"MUFU",
    "loads": r"LDG|LD\.",
    "stores": r"STG|ST\.",
    "shared": r"LDS|STS|LDSM|STSM",
    "shuffles": r"SHFL|REDUX",
    "barriers": r"BAR",
    "float": r"F(ADD|MUL|FMA|SEL|SETP|MNMX|SET|CHK|2F)",
    "double": r"D(ADD|MUL|FMA|SETP|MNMX)",
    "convert": r"F2|I2F|HADD|HFMA|PRMT",
    "integer": r"I(ADD|MAD|SETP|MNMX|ABS)|LEA|LOP|SHF|SEL|PLOP|VIADD|UIADD|UMOV|MOV",
    "branches": r"BRA|EXIT|BSYNC|BSSY|CALL|RET",
}


@dataclass(frozen=True)
class Case:
    """Logits of one shape and dtype, and a kind of costs."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    costs: str

    def matrix(self) -> lm.CostMatrix:
        """The costs."""
        classes = self.shape[1]
        if self.costs == "Ordinal":
            return lm.Ordinal(classes)
        return lm.Dense(torch.rand(classes, classes).fill_diagonal_(0.0))


CASES = [
    Case((1, 19, 256, 256), torch.float32, "Dense"),
    Case((1, 150, 64, 64), torch.float32, "Dense"),
    Case((65536, 5), torch.float32, "Dense"),
    Case((512, 1000), torch.float32, "Dense"),
    Case((512, 1000), torch.bfloat16, "Dense"),
    Case((64, 32000), torch.float32, "Ordinal"),
    Case((64, 32000), torch.bfloat16, "Ordinal"),
    Case((8, 128256), torch.float32, "Ordinal"),
    Case((8, 128256), torch.bfloat16, "Ordinal"),
    Case((64, 32000), torch.float32, "Dense"),
]


# --- compiling for a GPU that is not there -------------------------------------------------------


class Absent:
    """What Triton asks of a driver, answered for a GPU of an architecture."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_device(self) -> int:
        """One device for each architecture."""
        return self.architecture

    def get_current_stream(self, device: int | None = None) -> int:
        """No stream."""
        return 0

    def get_current_target(self) -> Any:
        """What to compile for."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)


@dataclass
class Kernel:
    """A compiled kernel, and how its rows are cut."""

    compiled: Any
    cut: launch.Cut


def compiled(case: Case, loss: lm.Loss, architecture: int, gradient: bool = True) -> Kernel:
    """The kernel that makes loss and gradient of a case in one visit."""
    import triton

    found: list[Kernel] = []

    def start(self: launch.Launch, device: torch.device, *arguments: Any) -> None:
        made = self.kernel.warmup(*arguments, grid=(1,), **self.constants, **self.options)
        cut = launch.Cut(*(each.value for each in arguments[-3]))
        found.append(Kernel(made, cut))

    logits = torch.zeros(case.shape, dtype=case.dtype)
    target = torch.zeros((case.shape[0], *case.shape[2:]), dtype=torch.int64)
    bound = Bound(loss.bind(case.matrix() if loss.reads else None))
    problem = read(bound, logits, target, Options(reduction="sum"))
    triton.runtime.driver.set_active(Absent(architecture))
    with mock.patch.object(launch.Launch, "__call__", start):
        known = kernels.calls(bound, logits, problem.compute_dtype, False)
        step = kernels.step_of(problem, known)
        kernels.losses(step, torch.empty_like(step.rows.logits) if gradient else None, True)
    (kernel,) = found
    return kernel


# --- counting ------------------------------------------------------------------------------------


def tool(name: str, *arguments: str) -> str:
    """The output of a tool that comes with Triton."""
    import triton

    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    done = subprocess.run([folder / name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def instructions(kernel: Kernel) -> tuple[list[str], list[tuple[int, int]], dict[str, int]]:
    """The operations of a kernel in order, where its loops begin and end, and its resources."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(kernel.compiled.asm["cubin"])
        text, used = tool("nvdisasm", "-c", str(file)), tool("cuobjdump", "-res-usage", str(file))
    resources = {name: int(n) for name, n in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", used)}
    operations: list[str] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(operations)
        if found := re.match(
            r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)(.*)", line
        ):
            if found[1].startswith("NOP"):
                continue
            if found[1].startswith("BRA") and (to := re.search(r"\.L_x_\d+", found[2])):
                jumps.append((len(operations), to[0]))
            operations.append(found[1])
    loops = [(labels[to], at) for at, to in jumps if to in labels and at - labels[to] > 1]
    return operations, loops, resources


def per_logit(kernel: Kernel) -> dict[str, float]:
    """Instructions a logit in all and by unit, registers, spills and widths.

    Of a row that is held those of the loop over rows; else those of the loops over its classes.
    What writes zeros for an ignored row is neither.
    """
    operations, loops, resources = instructions(kernel)
    cut = kernel.cut
    inner = [
        (begin, end)
        for begin, end in loops
        if not any((a, b) != (begin, end) and begin <= a <= b <= end for a, b in loops)
    ]
    visits = [(a, b) for a, b in inner if any(op.startswith("MUFU.EX2") for op in operations[a:b])]
    if cut.held:
        first, last = max(loops, key=lambda loop: loop[1] - loop[0])
        others = [loop for loop in inner if loop not in visits and loop != (first, last)]
        places = [at for at in range(first, last + 1) if not any(a <= at <= b for a, b in others)]
    else:
        places = [at for a, b in visits for at in range(a, b + 1)]
    counted = [operations[at] for at in places]
    threads_logits = cut.tiles * cut.width if cut.across else cut.tiles * cut.lanes // 128
    by_unit = Counter(
        next((name for name, pattern in UNITS.items() if re.match(pattern, each)), "other")
        for each in counted
    )
    numbers = {"instructions": len(counted) / threads_logits}
    numbers |= {name: by_unit[name] / threads_logits for name in (*UNITS, "other")}
    widths = {
        f"{name} of 16 bytes": sum(op.startswith(code) and ".128" in op for op in counted)
        / max(1, sum(op.startswith(code) for op in counted))
        for name, code in (("loads", "LDG"), ("stores", "STG"))
    }
    spilled = {
        "spilled": resources.get("STACK", 0) + resources.get("LOCAL", 0),
        "spills a visit": sum(op.startswith(("STL", "LDL")) for op in counted),
    }
    return numbers | {"registers": resources["REG"]} | spilled | widths


def rows(architectures: tuple[int, ...] = ARCHITECTURES) -> Iterator[dict[str, str]]:
    """One row for every variant."""
    for architecture in architectures:
        for case in CASES:
            for name, loss in LOSSES.items():
                numbers = per_logit(compiled(case, loss, architecture))
                shown = {key: f"{value:.4g}" for key, value in numbers.items()}
                about = {
                    "architecture": f"sm_{architecture}",
                    "shape": "x".join(map(str, case.shape)),
                    "dtype": str(case.dtype).removeprefix("torch."),
                    "costs": case.costs if loss.reads else "",
                    "loss": name,
                }
                yield about | shown


def main() -> int:
    """Compile, count and write the table."""
    import triton

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--only", type=int, nargs="*", default=ARCHITECTURES)
    options = parser.parse_args()
    found: list[dict[str, str]] = []
    for row in rows(tuple(options.only)):
        found.append(row | {"triton": triton.__version__})
        print(*list(row.values()), sep="\t", flush=True)
    partial = options.out.with_suffix(".part")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    os.replace(partial, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
