# SPDX-License-Identifier: BSD-3-Clause
"""Metrics: what the decisions cost, as inner products of what happened with the costs.

Sums are taken in float64 and in one order, so they repeat bit for bit. Every metric is NaN where no
row counts, as the mean of ``nn.CrossEntropyLoss`` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, PerExample, as_costs
from lossmatrix.costs.tables import Table

__all__ = ["average_cost", "cost_regret", "normalized_cost", "weighted_kappa"]

BLOCK = 2**22  # entries of a table of rows that are worked on at once: 32 MiB


def average_cost(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix | Table,
    *,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """What the decisions cost on average: Σ_n w_n D[y_n, a_n] / Σ_n w_n, float64.

    ``decision`` (a) and ``target`` (y) are integers of one shape, any shape; a decision may be one
    of the K − C that are no class, such as abstaining. ``sample_weight`` (w) has that shape too and
    is at least 0; the mean divides by its sum, that of a loss by the number of rows. Rows whose
    target is ``ignore_index`` or whose weight is 0 do not count. With
    ``PerExample`` costs the n-th row is sample n. The answer is in the unit of the costs.

    Raises TypeError for other dtypes, ValueError for unequal shapes and unfit weights, IndexError
    for a target that is no class and a decision that is none.

    >>> decision, target = torch.tensor([0, 1, 0, 0, 2, 2]), torch.tensor([0, 1, 0, 0, 1, 0])
    >>> lm.average_cost(decision, target, [[0, 1, 0.5], [1, 0, 0.5]])  # 2 is to abstain
    tensor(0.1667, dtype=torch.float64)
    """
    bill = _bill(decision, target, as_costs(costs), sample_weight, ignore_index)
    return bill.paid.sum() / bill.weight


def normalized_cost(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix | Table,
    *,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Average cost ÷ that of the best constant decision on the same rows.

    Exactly 1 for the best constant decision, below 1 where the decisions are worth having; the
    unit of the costs drops out. 1 minus it is known as savings. It depends on what is added to a
    row of the costs: where the right decision has a price of its own, give ``costs.regret()``.

    Raises ValueError where the best constant decision does not cost more than 0, for then there is
    nothing to divide by; and as ``average_cost`` does.

    >>> decision, target = torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 0, 1])
    >>> lm.normalized_cost(decision, target, [[0, 1], [5, 0]])
    tensor(3., dtype=torch.float64)
    """
    bill = _bill(decision, target, as_costs(costs), sample_weight, ignore_index)
    best = bill.constant.min()
    if bill.weight > 0 and not best > 0:
        raise ValueError(
            f"the best constant decision costs {(best / bill.weight).item():.4g} on these rows, "
            "and a normalized cost needs it above 0: use average_cost, or costs.regret()"
        )
    return bill.paid.sum() / best


def cost_regret(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix | Table,
    *,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Average cost above that of the best decision for each row: D[y, a] − min_j D[y, j].

    0 when every truth gets its cheapest decision, and never below. Arguments and errors as for
    ``average_cost``.

    >>> lm.cost_regret(torch.tensor([0, 1]), torch.tensor([1, 1]), [[0, 1], [7, 1]])
    tensor(3., dtype=torch.float64)
    """
    regret = as_costs(costs).regret()
    return average_cost(
        decision, target, regret, sample_weight=sample_weight, ignore_index=ignore_index
    )


def weighted_kappa(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix | Table,
    *,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Agreement beyond chance: 1 − average cost ÷ the cost of the same decisions dealt at random.

    The chance cost is Σ_ij P(y = i) P(a = j) D_ij. 1 is perfect when the diagonal is 0, 0 is no
    better than chance. ``Ordinal(C)`` gives linear, ``Ordinal(C, power=2)`` quadratic and
    ``ZeroOne(C)`` Cohen's kappa; any other costs serve as well. Arguments as for ``average_cost``.

    Raises ValueError where chance costs nothing, for then there is nothing to compare with; and as
    ``average_cost`` does.

    Source: Cohen (1968), Weighted kappa, with the costs as disagreement weights.

    >>> decision, target = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2])
    >>> lm.weighted_kappa(decision, target, [[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    tensor(0.7143, dtype=torch.float64)
    """
    bill = _bill(decision, target, as_costs(costs), sample_weight, ignore_index)
    chosen = bill.decided > 0
    chance = (bill.decided * bill.constant)[chosen].sum() / bill.weight
    if chance == 0:
        raise ValueError(
            "weighted kappa compares with the cost of chance, and chance costs 0 on these rows: "
            "use average_cost"
        )
    return 1 - bill.paid.sum() / chance


class Block(NamedTuple):
    """Some of the rows that count."""

    target: Tensor  # (M,)
    decision: Tensor  # (M,)
    weight: Tensor  # (M,) float64, above 0
    costs: Tensor  # (M, K) float64: what each decision would have cost


class _Bill(NamedTuple):
    """Weighted totals over the rows that count, by decision."""

    weight: Tensor  # (): Σ w
    decided: Tensor  # (K,): Σ w over the rows decided k
    paid: Tensor  # (K,): Σ w D[y, k] over the rows decided k
    constant: Tensor  # (K,): Σ w D[y, k] over all rows


def _bill(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix,
    sample_weight: Tensor | None,
    ignore_index: int,
) -> _Bill:
    """Sum up the blocks.

    ``paid`` is ``constant`` with zeros where another decision was made: summed in the same order,
    so that a constant decision pays its constant cost to the last bit.
    """
    zero = torch.zeros(costs.num_decisions, dtype=torch.float64, device=target.device)
    bill = _Bill(zero.sum(), zero, zero, zero)
    for block in blocks(decision, target, costs, sample_weight, ignore_index):
        weight = block.weight.unsqueeze(-1)
        constant = weight * block.costs
        chosen = torch.zeros_like(constant, dtype=torch.bool)
        chosen.scatter_(-1, block.decision.unsqueeze(-1), True)
        bill = _Bill(
            bill.weight + weight.sum(),
            bill.decided + (weight * chosen).sum(0),
            bill.paid + constant.where(chosen, 0).sum(0),
            bill.constant + constant.sum(0),
        )
    return bill


def blocks(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix,
    sample_weight: Tensor | None,
    ignore_index: int,
) -> Iterator[Block]:
    """The rows that count, checked, a block at a time."""
    for name, given in (("target", target), ("decision", decision)):
        if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
            raise TypeError(f"{name} must hold integer indices, got {given.dtype}: see lm.decide")
    for name, given in (("decision", decision), ("sample_weight", sample_weight)):
        if given is not None and given.shape != target.shape:
            raise ValueError(
                f"{name} of shape {tuple(given.shape)} and target of shape {tuple(target.shape)} "
                "must have one shape"
            )
    target, decision = target.flatten().long(), decision.flatten().long()
    weight = torch.ones_like(target, dtype=torch.float64)
    if sample_weight is not None:
        weight = sample_weight.flatten().double()
        if not ((weight >= 0) & weight.isfinite()).all():
            raise ValueError(
                "sample_weight must be finite and at least 0, got values from "
                f"{weight.min().item():.4g} to {weight.max().item():.4g}"
            )
    samples = ((target != ignore_index) & (weight > 0)).nonzero().squeeze(-1)
    if isinstance(costs, PerExample):
        (table,) = costs.tables.values()
        if len(table) != len(target):
            raise ValueError(f"got {len(target)} rows, but PerExample costs of {len(table)}")
    _check_range("target", target[samples], costs.num_classes, "classes")
    _check_range("decision", decision[samples], costs.num_decisions, "decisions")
    step = max(1, BLOCK // costs.num_decisions)
    for start in range(0, len(samples), step):
        sample = samples[start : start + step]
        yield Block(
            target[sample],
            decision[sample],
            weight[sample],
            costs.row(target[sample], sample).double(),
        )


def _check_range(name: str, index: Tensor, size: int, what: str) -> None:
    """Refuse indices outside 0 … size − 1."""
    outside = index[(index < 0) | (index >= size)]
    if outside.numel():
        raise IndexError(
            f"{name} {outside[0].item()} is out of range: the costs have {size} {what}, "
            f"numbered 0 to {size - 1}"
        )
