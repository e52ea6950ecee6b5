# SPDX-License-Identifier: BSD-3-Clause
"""Times decisions on the CPU against the argmax of the same probabilities; writes decide.csv.

`ratio` is the time divided by that of `probs.argmax(1)` at the same shape. All calls of a shape run
in one process, in turns, and a row gives the median of the rounds, so a busy machine disturbs all
of them alike. `peak_mb` is memory beside the input. Run it as `python benchmarks/decide.py`.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from cpu import machine, write_table
from torch import Tensor

import lossmatrix as lm

SHAPES = [(65536, 10), (100_000, 1000), (20_000, 20_000)]
RESULT = Path(__file__).parent / "results" / "decide.csv"

Call = Callable[[], Tensor]


def contenders(rows: int, C: int) -> dict[str, Call]:
    """Decisions by every kind of matrix whose product takes O(C) a row."""
    torch.manual_seed(0)
    probs = torch.rand(rows, C)
    for part in probs.split(1000):
        part /= part.sum(1, keepdim=True)
    paths = [(str(i % 20), str(i % 400), f"c{i}") for i in range(C)]
    kinds: dict[str, lm.CostMatrix] = {
        "ZeroOne": lm.ZeroOne(C),
        "Ordinal": lm.Ordinal(C),
        "Ordinal, power 2": lm.Ordinal(C, power=2),
        "Ordinal, positions in any order": lm.Ordinal(C, positions=torch.randperm(C).double()),
        "Ordinal, abstaining": lm.Ordinal(C).with_abstain(0.1 * C),
        "Tree": lm.Tree(paths),
        "Sparse": lm.Sparse(C, [(i, (7 * i + 1) % C, 2.0) for i in range(C)]),
    }
    calls: dict[str, Call] = {"probs.argmax(1)": lambda: probs.argmax(1)}
    for name, costs in kinds.items():
        calls[f"decide {name}"] = lambda costs=costs: lm.decide(probs, costs)
    criterion = lm.Criterion(lm.CrossEntropy(), kinds["Ordinal"])
    calls["Criterion.decide Ordinal"] = lambda: criterion.decide(probs)  # logits like any others
    return calls


def interleaved(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Median milliseconds of every call, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffled = list(calls.items()), random.Random(0)
    for call in calls.values():
        call()
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name, call in order:
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def peak_megabytes(call: Call) -> float:
    """Peak memory above what was resident before (Linux)."""
    refs = Path("/proc/self/clear_refs")
    if not refs.exists():
        return float("nan")
    refs.write_text("5")  # resets the peak
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    call()
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    return max(0.0, (peak - before) / 1e6)


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    rows: list[dict[str, object]] = []
    for shape in SHAPES:
        calls = contenders(*shape)
        times = interleaved(calls, options.rounds)
        for name, milliseconds in times.items():
            rows.append(
                {
                    "shape": "x".join(map(str, shape)),
                    "contender": name,
                    "milliseconds": f"{milliseconds:.3f}",
                    "ratio": f"{milliseconds / times['probs.argmax(1)']:.3f}",
                    "peak_mb": f"{peak_megabytes(calls[name]):.1f}",
                    "input_mb": f"{shape[0] * shape[1] * 4 / 1e6:.1f}",
                    **machine(),
                }
            )
            print(*list(rows[-1].values())[:6], sep="\t", flush=True)
        del calls
    write_table(rows, options.out)


if __name__ == "__main__":
    main()
