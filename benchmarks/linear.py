# SPDX-License-Identifier: BSD-3-Clause
"""Times the loss of a linear layer whose logits are never held; writes linear.csv.

`ratio` is the time of forward and backward over that of `F.linear` + `F.cross_entropy`. All calls
run in one process, in turns, and a row gives the median of the rounds. `peak_mb` is memory beside
inputs and gradients; `error` is the larger of those of both gradients, ‖found − truth‖ / ‖truth‖,
over that of `F.linear` + `F.cross_entropy`, with the truth in float64, on 64 rows in small blocks.
On a GPU where there is one, with Liger's and quack's where they are installed.

    python benchmarks/linear.py [--shape 4096 512 64000]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from cpu import machine, write_table
from decide import interleaved, peak_megabytes
from torch import Tensor

import lossmatrix as lm

RESULT = Path(__file__).parent / "results" / "linear.csv"
PLAIN = "F.linear + F.cross_entropy"
SUM = lm.CrossEntropy() + lm.ExpectedCost()
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def contenders(num_classes: int, room: int = 2**27) -> dict[str, Loss]:
    """Losses of input, weight and target, by name; blocks of ours take so much room."""
    costs = lm.Ordinal(num_classes).scaled(1 / num_classes)
    losses: dict[str, lm.Loss] = {
        "CrossEntropy": lm.CrossEntropy(),
        "CrossEntropy + ExpectedCost": SUM,
        "CrossEntropy + Unlikelihood": lm.CrossEntropy() + lm.Unlikelihood(),
    }
    calls: dict[str, Loss] = {PLAIN: lambda x, w, y: F.cross_entropy(F.linear(x, w), y)}
    if hasattr(F, "linear_cross_entropy"):
        options = torch.nn.LinearCrossEntropyOptions()
        calls["F.linear_cross_entropy, chunked"] = lambda x, w, y: F.linear_cross_entropy(
            x, w, y, options=options
        )
    for name, loss in losses.items():
        D = costs if loss.reads else None
        calls[f"linear_loss {name}"] = lambda x, w, y, loss=loss, D=D: lm.linear_loss(
            x, w, y, loss, D, max_chunk_bytes=room
        )
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        calls["Liger fused linear cross entropy"] = lambda x, w, y: (
            liger_fused_linear_cross_entropy(x, w, y)
        )
    except ImportError:
        pass
    try:
        from quack.linear_cross_entropy import chunked_linear_cross_entropy

        calls["quack chunked linear cross entropy"] = lambda x, w, y: chunked_linear_cross_entropy(
            x, w, y
        )
    except ImportError:
        pass
    return calls


def step(loss: Loss, x: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """The gradients of input and weight."""
    gradients = torch.autograd.grad(loss(x, weight, target), (x, weight))
    if x.is_cuda:
        torch.cuda.synchronize()
    return gradients


def errors(loss: Loss, x: Tensor, weight: Tensor, target: Tensor) -> float:
    """The larger error of both gradients, against the same loss in float64."""
    few = slice(0, 64)
    found = step(loss, x[few].detach().requires_grad_(), weight, target[few])
    exact = [each.detach().double().requires_grad_() for each in (x[few], weight)]
    truth = step(loss, exact[0], exact[1], target[few])
    pairs = zip(found, truth, strict=True)
    return max(((a.double() - b).norm() / b.norm()).item() for a, b in pairs)


def peak(call: Callable[[], object], device: str) -> float:
    """Peak megabytes above what was there before."""
    if device == "cpu":
        return peak_megabytes(call)  # pyright: ignore[reportArgumentType]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=(4096, 512, 64000))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    torch.manual_seed(0)
    rows, width, classes = options.shape
    x = torch.randn(rows, width, device=device, dtype=dtype).requires_grad_()
    weight = (torch.randn(classes, width, device=device) / width**0.5).to(dtype).requires_grad_()
    target = torch.randint(classes, (rows,), device=device)
    losses = contenders(classes)
    calls = {name: lambda loss=loss: step(loss, x, weight, target) for name, loss in losses.items()}
    times = interleaved(calls, options.rounds)  # pyright: ignore[reportArgumentType]
    plain = errors(losses[PLAIN], x, weight, target)
    in_blocks = contenders(classes, 8 * classes * x.element_size())  # of eight rows
    gradients = (x.numel() + weight.numel()) * x.element_size() / 1e6
    found: list[dict[str, str]] = []
    for name, milliseconds in times.items():
        row = {
            "shape": "x".join(map(str, options.shape)),
            "dtype": str(dtype).removeprefix("torch."),
            "contender": name,
            "milliseconds": f"{milliseconds:.1f}",
            "ratio": f"{milliseconds / times[PLAIN]:.3f}",
            "peak_mb": f"{peak(calls[name], device) - gradients:.0f}",
            "logits_mb": f"{rows * classes * x.element_size() / 1e6:.0f}",
            "error": f"{errors(in_blocks[name], x, weight, target) / plain:.2f}",
            **machine(),
        }
        found.append(row)
        print(*list(row.values())[:8], sep="\t", flush=True)
    write_table(found, options.out)


if __name__ == "__main__":
    main()
