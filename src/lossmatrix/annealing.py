# SPDX-License-Identifier: BSD-3-Clause
"""Descent from cross-entropy towards the cost of decisions, in stages of ever sharper ones.

The cost of a decision has no slope. λ · ``DecisionScore(tau)`` has one, near the boundaries between
decisions only; so each stage starts where the last one has ended, with a smaller tau, and the first
one where cross-entropy is least. Every stage sees all rows at once, by L-BFGS with a line search:
there is no learning rate, no order of batches and no draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lossmatrix.costs import CostMatrix
from lossmatrix.losses import CrossEntropy, DecisionScore, Loss
from lossmatrix.nn import Criterion

Penalty = Callable[[nn.Module], Tensor]
BLOCK = 2**14  # rows whose activations are held at once


class LabelledRows(NamedTuple):
    """Rows to train on, or to decide: inputs (N, …), class indices (N,) and weights (N,)."""

    inputs: Tensor
    target: Tensor
    weight: Tensor

    def at(self, index: Tensor | slice) -> LabelledRows:
        """Some of the rows."""
        return LabelledRows(self.inputs[index], self.target[index], self.weight[index])

    def blocks(self) -> Iterator[LabelledRows]:
        """All rows, a block at a time."""
        yield from (self.at(slice(i, i + BLOCK)) for i in range(0, len(self.target), BLOCK))


def regret_in_units(costs: CostMatrix) -> CostMatrix:
    """Costs less that of the row's cheapest decision, in units of their positive mean."""
    regret = costs.regret()
    return regret.scaled(1 / regret.unit)


def anneal(
    model: nn.Module,
    rows: LabelledRows,
    costs: CostMatrix,
    lam: float,
    taus: Sequence[float],
    penalty: Penalty,
    steps: Sequence[int],
) -> Iterator[float]:
    """Go down CrossEntropy + λ · DecisionScore(τ) + penalty in place; yields τ after each stage.

    Costs are taken in units of their mean positive regret, as tau is, so that λ has no unit.
    """
    scaled = regret_in_units(costs)
    for tau, count in zip(taus, steps, strict=True):
        descend(model, rows, CrossEntropy() + lam * DecisionScore(tau), scaled, penalty, count)
        yield tau


def descend(
    model: nn.Module,
    rows: LabelledRows,
    loss: Loss,
    costs: CostMatrix | None,
    penalty: Penalty,
    steps: int,
) -> None:
    """Move the parameters that ask for a gradient down Σ w ℓ / Σ w + penalty, in place."""
    criterion = Criterion(loss, costs, reduction="sum").to(rows.inputs.device)
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=steps,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
    total = rows.weight.sum()

    def objective() -> Tensor:
        optimizer.zero_grad()
        value, pull = total.new_zeros(()), penalty(model)
        for inputs, target, weight in rows.blocks():
            loss_of_block = criterion(model(inputs), target, sample_weight=weight) / total + pull
            loss_of_block.backward()
            value, pull = value + loss_of_block.detach(), 0.0
        return value

    with torch.inference_mode(False), torch.enable_grad():
        optimizer.step(objective)  # pyright: ignore[reportUnknownMemberType]
    optimizer.zero_grad()


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (N, C) in blocks of rows, without a derivative."""
    with torch.no_grad():
        starts = range(0, len(inputs), BLOCK)
        return torch.cat([model(inputs[i : i + BLOCK]) for i in starts])
