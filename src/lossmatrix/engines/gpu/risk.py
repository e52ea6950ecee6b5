# SPDX-License-Identifier: BSD-3-Clause
"""Losses that read what decisions are expected to cost: products of D between kernels.

    error e = p − t  →  excess x = e·D  →  kernel over decisions: loss, ρ  →  r = ρ·Dᵀ

To the kernel over classes x and r are costs of samples like any other. Forward makes them, and
backward reads them again, so that a step takes two products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, Dense
from lossmatrix.costs.base import full_precision, multiply
from lossmatrix.engines.gpu import costs as kinds
from lossmatrix.engines.gpu.launch import ONE, LaunchCall, RowBatch, backward, blank, forward
from lossmatrix.engines.gpu.softmax import Costs, KernelFormula
from lossmatrix.problem import blocks

BLOCK_RISK = 2**26  # numbers of a block of rows between kernels and products: 256 MB in float32


@dataclass(frozen=True)
class RiskLaunches:
    """The kernels of a group, and the matrix of the products between them."""

    costs: CostMatrix
    error: LaunchCall
    decisions: LaunchCall | None
    classes: LaunchCall
    reads_excess: bool
    factor: float  # ρ as a multiple of the error, or of the gradient along the decisions' logits

    @property
    def formula(self) -> KernelFormula:
        """The formula of the kernel over classes."""
        return self.classes.formula

    @property
    def num_made(self) -> int:
        """Rows of numbers that are made for each sample."""
        return 1 + self.reads_excess

    def run(self, batch: RowBatch, losses: Tensor, made: Sequence[Tensor], risk_grad: bool) -> None:
        """Add the losses (rows,) over decisions; fill ``made`` with x, if it is read, and r."""
        size, width, positions = batch.logits.shape[0], max(self.costs.shape), batch.logits.shape[2]
        for b, p in blocks((size, width, positions), BLOCK_RISK):
            part = batch.sliced(b, p)
            start = (b.start or 0) * positions + (p.start or 0)
            rows = slice(start, start + part.target.numel())
            self._run(part, losses[rows], [each[rows] for each in made], risk_grad)

    def _run(
        self, batch: RowBatch, losses: Tensor, made: Sequence[Tensor], risk_grad: bool
    ) -> None:
        slopes, own = torch.empty_like(batch.logits, dtype=batch.dtype), torch.empty_like(losses)
        _visit(batch, self.error, own, slopes)
        classes = batch.logits.shape[1]
        along = error = slopes.movedim(1, 2).reshape(-1, classes)
        excess = product(error, self.costs, False)
        if self.reads_excess:
            made[0].copy_(excess[:, :classes])
        if self.decisions is not None:
            logits = excess.new_zeros(1, excess.shape[1], 1).expand(*excess.shape, 1)
            target = batch.target.reshape(-1, 1)
            over = replace(batch, logits=logits, target=target, num_truths=classes)
            call = replace(self.decisions, costs=(*self.decisions.costs, _of_rows(excess)))
            along = torch.empty_like(excess)
            _visit(over, call, own, along.unsqueeze(2) if risk_grad else None)
            losses += own
        if risk_grad:
            costs, same = self.costs, self.decisions is None and isinstance(self.costs, Dense)
            turned = excess if same and costs.is_symmetric else product(along, costs, True)
            torch.mul(turned, self.factor, out=made[-1])


Calls = Sequence["LaunchCall | RiskLaunches"]


def make(batch: RowBatch, calls: Calls, made: Tensor, risk_grad: bool = True) -> Tensor | None:
    """Fill ``made``; the losses (rows,) over decisions, or None where no risk is read."""
    if len(made) == 0:
        return None
    losses, at = made.new_zeros(made.shape[1]), 0
    for call in calls:
        if isinstance(call, RiskLaunches):
            mine = made[at : at + call.num_made]
            at += call.num_made
            call.run(batch, losses, list(mine), risk_grad)
    return losses


def with_made(calls: Calls, made: Tensor) -> list[LaunchCall]:
    """The calls over classes, each with the rows that were made for it as further costs."""
    rows, found = iter(made), list[LaunchCall]()
    for call in calls:
        if isinstance(call, RiskLaunches):
            further = [_of_rows(next(rows)) for _ in range(call.num_made)]
            call = replace(call.classes, costs=(*call.classes.costs, *further))
        found.append(call)
    return found


def product(weights: Tensor, costs: CostMatrix, transposed: bool) -> Tensor:
    """weights·D, or weights·Dᵀ, in the full precision of their dtype whatever is allowed."""
    with _no_tf32(), full_precision(weights.device):
        if not transposed:
            return costs.expected(weights).contiguous()
        if isinstance(costs, Dense):
            return weights @ costs.tables["table"].mT
        return multiply(weights, costs, True).contiguous()


@contextmanager
def _no_tf32() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _of_rows(table: Tensor) -> Costs:
    """Rows (rows, numbers) as costs of samples."""
    return Costs(kinds.per_sample, (table, table.stride(0), 0))


def _visit(batch: RowBatch, call: LaunchCall, losses: Tensor, gradient: Tensor | None) -> None:
    """The weighted losses of a call, and its gradient for an upstream of 1 and no weights."""
    blanks = blank(batch.logits, [call], batch.dtype, "none")
    stats = blanks.row_stats[0], blanks.argmax[0]
    forward(batch, call, losses, None, stats, False, gradient, weighed=False)
    if gradient is not None and not batch.tiling.fits_on_chip:
        backward(batch, call, gradient, ONE, stats, False, weighed=False)
