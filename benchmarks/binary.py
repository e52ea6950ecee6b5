# SPDX-License-Identifier: BSD-3-Clause
"""Times ``BinaryCriterion`` against ``nn.BCEWithLogitsLoss``: one logit per decision of two.

Targets are class indices for ours and probabilities for both; with several labels also a matrix of
costs for each. `ratio` is the time of forward and backward over that of `nn.BCEWithLogitsLoss`.
Writes results/binary.csv; run it with `make bench`. Rules of measurement as in cpu.py.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from cpu import Call, forward_backward, interleaved, machine, write_table
from torch import nn

import lossmatrix as lm

RESULT = Path(__file__).parent / "results" / "binary.csv"
SHAPES = [(256,), (65536,), (1048576,), (4096, 80)]
COSTS = torch.tensor([[0.0, 1.0], [5.0, 0.0]])
LOSSES: dict[str, lm.Loss] = {
    "CrossEntropy": lm.CrossEntropy(),
    "CrossEntropy + ExpectedCost": lm.CrossEntropy() + lm.ExpectedCost(),
    "CrossEntropy + DecisionScore": lm.CrossEntropy() + lm.DecisionScore(),
}


def contenders(shape: tuple[int, ...]) -> dict[str, Call]:
    """Every contender as a function of the logits."""
    torch.manual_seed(0)
    shares, plain = torch.rand(shape), nn.BCEWithLogitsLoss()
    calls: dict[str, Call] = {"nn.BCEWithLogitsLoss": lambda z: plain(z, shares)}
    for target in (shares, torch.randint(2, shape)):
        kind = "probabilities" if target.is_floating_point() else "indices"
        for name, loss in LOSSES.items():
            one = lm.BinaryCriterion(loss, COSTS)
            calls[f"{name}, {kind}"] = lambda z, c=one, y=target: c(z, y)
        if len(shape) > 1:  # labels whose losses have the same parameters
            prices = torch.rand(shape[-1], 1, 1) * COSTS
            own = lm.BinaryCriterion(lm.CrossEntropy() + lm.ExpectedCost(), prices)
            name = "CrossEntropy + ExpectedCost, a matrix per label"
            calls[f"{name}, {kind}"] = lambda z, c=own, y=target: c(z, y)
    return calls


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="per shape")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    rows: list[dict[str, object]] = []
    for shape in SHAPES:
        z = (3.0 * torch.randn(shape)).requires_grad_()
        times = interleaved(contenders(shape), forward_backward, z, options.seconds)
        for name, milliseconds in times.items():
            rows.append(
                {
                    "shape": "x".join(map(str, shape)),
                    "contender": name,
                    "milliseconds": f"{milliseconds:.3f}",
                    "ratio": f"{milliseconds / times['nn.BCEWithLogitsLoss']:.3f}",
                    **machine(),
                }
            )
            print(*list(rows[-1].values())[:4], sep="\t", flush=True)
    write_table(rows, options.out)


if __name__ == "__main__":
    main()
