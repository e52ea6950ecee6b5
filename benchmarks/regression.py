# SPDX-License-Identifier: BSD-3-Clause
"""Whether a loss takes longer than when the results were committed (`make bench-check`).

Milliseconds of two machines, or of two days, cannot be compared. What is compared is `ratio`, the
time of a loss over that of `F.cross_entropy` in the same process and round: measured now, for the
shapes named, and in results/cpu.csv. What has grown by more than `--factor` is measured again, and
printed if it has grown in every round; then the run ends with 1. A machine that has other work on
all its cores tells nothing.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMMITTED = FOLDER / "results" / "cpu.csv"
KEY = ("shape", "dtype", "mode", "contender")
Key = tuple[str, ...]


def ratios(table: Path) -> dict[Key, float]:
    """The ratio of each of our rows: shape, dtype, mode and contender → time over torch's."""
    with table.open(newline="", encoding="utf-8") as file:
        ours = [row for row in csv.DictReader(file) if row["contender"].startswith("lossmatrix")]
    return {tuple(row[name] for name in KEY): float(row["ratio"]) for row in ours}


def grown(
    committed: dict[Key, float], measured: dict[Key, float], factor: float
) -> dict[Key, tuple[float, float]]:
    """What takes more than `factor` times its committed ratio: then and now, the worst first.

    ValueError where nothing that was measured is committed: a check of nothing is no check.
    """
    known = committed.keys() & measured.keys()
    if not known:
        raise ValueError("none of the rows measured is committed: run `make bench` and commit it")
    slower = [key for key in known if measured[key] > factor * committed[key]]
    slower.sort(key=lambda key: committed[key] / measured[key])
    return {key: (committed[key], measured[key]) for key in slower}


def least(one: dict[Key, float], other: dict[Key, float]) -> dict[Key, float]:
    """The lower ratio of each row: what other work on the machine adds is no regression."""
    return {key: min(ratio, other.get(key, ratio)) for key, ratio in one.items()}


def main() -> None:
    """Measure, compare, and say what has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="65536x", help="shapes whose name contains this")
    parser.add_argument("--seconds", default="1.5", help="per shape and mode")
    parser.add_argument("--factor", type=float, default=1.5, help="how much a ratio may grow")
    parser.add_argument("--rounds", type=int, default=3, help="measurements before a verdict")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/cpu.csv"))
    options = parser.parse_args()
    how = ["--only", options.only, "--seconds", options.seconds, "--no-compile"]
    command = [sys.executable, str(FOLDER / "cpu.py"), *how, "--out", str(options.out)]
    measured: dict[Key, float] = {}
    slower: dict[Key, tuple[float, float]] = {}
    for _ in range(options.rounds):
        subprocess.run(command, check=True)
        measured = least(ratios(options.out), measured)
        slower = grown(ratios(COMMITTED), measured, options.factor)
        if not slower:
            break
    for key, (then, now) in slower.items():
        print(f"{' '.join(key)}: {now:.2f} times F.cross_entropy, committed are {then:.2f}")
    print(f"{len(slower)} of {len(measured)} ratios have grown by more than {options.factor:g}")
    sys.exit(bool(slower))


if __name__ == "__main__":
    main()
