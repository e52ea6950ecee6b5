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
from typing import cast

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, Dense
from lossmatrix.costs.base import full_precision, multiply
from lossmatrix.engines.gpu import costs as kinds
from lossmatrix.engines.gpu.launch import LaunchCall, Results, RowBatch, visit
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
            rows = slice(start, start + part.logits.shape[0] * part.logits.shape[2])
            self._run(part, losses[rows], [each[rows] for each in made], risk_grad)

    def _run(
        self, batch: RowBatch, losses: Tensor, made: Sequence[Tensor], risk_grad: bool
    ) -> None:
        items, classes, positions = batch.logits.shape
        error = batch.logits.new_empty(items, positions, classes, dtype=batch.dtype)
        visit(batch, self.error, None, error.movedim(1, 2), weighed=False)
        along = error = error.view(-1, classes)
        excess = product(error, self.costs, False)
        if self.reads_excess:
            made[0].copy_(excess[:, :classes])
        if self.decisions is not None:
            over, call = self._over_decisions(batch, self.decisions, excess)
            along = torch.empty_like(excess) if risk_grad else None
            own, slopes = torch.empty_like(losses), None if along is None else along.unsqueeze(2)
            visit(over, call, Results(own, None, None), slopes, weighed=False)
            losses += own
        if along is not None:
            costs, same = self.costs, self.decisions is None and isinstance(self.costs, Dense)
            turned = excess if same and costs.is_symmetric else product(along, costs, True)
            torch.mul(turned, self.factor, out=made[-1])

    def _over_decisions(
        self, batch: RowBatch, call: LaunchCall, excess: Tensor
    ) -> tuple[RowBatch, LaunchCall]:
        """The rows as the kernel over decisions sees them: its logits are made of the excess."""
        costs, target = call.costs, batch.target
        if batch.shares is not None:
            shares = batch.shares.movedim(1, 2).reshape(len(excess), -1)
            costs = (of_rows(product(shares, self.costs, False)),)
        over = replace(
            batch,
            logits=excess.unsqueeze(2),
            target=None if target is None else target.reshape(-1, 1),
            num_truths=batch.logits.shape[1],
            weight=None if batch.shares is not None else batch.weight,  # else shares have it
            shares=None,
        )
        return over, replace(call, costs=(*costs, of_rows(excess)))


Calls = Sequence["LaunchCall | RiskLaunches"]
Visits = list[tuple[RowBatch, "LaunchCall | RiskLaunches"]]


def made(
    visits: Visits, memory: Tensor | None, risk_grad: bool
) -> tuple[Tensor | None, list[tuple[RowBatch, LaunchCall]]]:
    """The losses (rows,) over decisions, if any; and the visits with what was made for them."""
    if memory is None:
        return None, cast(list[tuple[RowBatch, LaunchCall]], visits)
    losses, at = memory.new_zeros(memory.shape[1]), 0
    for batch, call in visits:
        if isinstance(call, RiskLaunches):
            mine = memory[at : at + call.num_made]
            at += call.num_made
            call.run(batch.wide, losses, list(mine), risk_grad)
    return losses, with_made(visits, memory)


def with_made(visits: Visits, memory: Tensor | None) -> list[tuple[RowBatch, LaunchCall]]:
    """The calls over classes, each with the rows that were made for it as further costs."""
    if memory is None:
        return cast(list[tuple[RowBatch, LaunchCall]], visits)
    rows, found = iter(memory), list[tuple[RowBatch, LaunchCall]]()
    for batch, call in visits:
        if isinstance(call, RiskLaunches):
            further = [of_rows(next(rows)) for _ in range(call.num_made)]
            call = replace(call.classes, costs=(*call.classes.costs, *further))
        found.append((batch, call))
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


def of_rows(table: Tensor) -> Costs:
    """Rows (rows, numbers) as costs of samples."""
    return Costs(kinds.per_sample, (table, table.stride(0), 0), 1)
