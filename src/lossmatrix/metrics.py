# SPDX-License-Identifier: BSD-3-Clause
"""Metrics: what the decisions cost, as inner products of what happened with the costs.

One cost is read for each decision. What chance or a constant decision would have cost takes the
counts of the truths, and whole rows of costs only where every sample has its own. Sums are taken
in float64 and in one order, so they repeat bit for bit. Every metric is NaN where no row counts,
as the mean of ``nn.CrossEntropyLoss`` is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.tables import Table
from lossmatrix.tensors import check_tensor

__all__ = ["average_cost", "cost_regret", "normalized_cost", "weighted_kappa"]

BLOCK = 2**22  # costs that are worked on at once: 32 MiB


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

    Raises TypeError for other dtypes, ValueError for unequal shapes, unfit weights and
    ``PerExample`` costs of another number of rows, IndexError for a target that is no class and a
    decision that is none.

    >>> decision, target = torch.tensor([0, 1, 0, 0, 2, 2]), torch.tensor([0, 1, 0, 0, 1, 0])
    >>> lm.average_cost(decision, target, [[0, 1, 0.5], [1, 0, 0.5]])  # 2 is to abstain
    tensor(0.1667, dtype=torch.float64)
    """
    costs = as_costs(costs)
    rows = counted(decision, target, costs, sample_weight, ignore_index)
    return _paid(rows, costs) / rows.weight.sum()


def normalized_cost(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix | Table,
    *,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Average cost ÷ that of the best constant decision on the same rows.

    Exactly 1 for the best constant decision, whose cost is summed up as that of the decisions is,
    and below 1 where the decisions are worth having; the unit of the costs drops out. 1 minus it is
    known as savings. It depends on what is added to a row of the costs: where the right decision
    has a price of its own, give ``costs.regret()``.

    Raises ValueError where the best constant decision costs infinitely much or does not cost more
    than 0, for then there is nothing to divide by; and as ``average_cost`` does.

    >>> decision, target = torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 0, 1])
    >>> lm.normalized_cost(decision, target, [[0, 1], [5, 0]])
    tensor(3., dtype=torch.float64)
    """
    costs = as_costs(costs)
    rows = counted(decision, target, costs, sample_weight, ignore_index)
    constant = _of_constants(rows, costs)
    constant = torch.where(constant.isnan(), torch.inf, constant)  # ∞ − ∞ is no bargain
    best = _paid(rows._replace(decision=constant.argmin().expand_as(rows.decision)), costs)
    if len(rows.target) and not 0 < best < torch.inf:
        remedy = "costs.regret()" if best.isfinite() else "a finite price for what is forbidden"
        raise ValueError(
            f"the best constant decision costs {(best / rows.weight.sum()).item():.4g} on these "
            f"rows, and a normalized cost needs it above 0 and finite: use average_cost, or "
            f"{remedy}"
        )
    return _paid(rows, costs) / best


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
    costs = as_costs(costs)
    rows = counted(decision, target, costs, sample_weight, ignore_index)
    cost, least = costs_of(rows, costs), _least(rows, costs)
    # The cost is one of its row, whose least may have come about by other roundings.
    return (rows.weight * (cost - torch.minimum(least, cost))).sum() / rows.weight.sum()


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

    Raises ValueError where chance costs nothing, less than nothing or infinitely much, for then
    there is nothing to compare with; and as ``average_cost`` does.

    Source: Cohen (1968), Weighted kappa, with the costs as disagreement weights.

    >>> decision, target = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2])
    >>> lm.weighted_kappa(decision, target, [[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    tensor(0.7143, dtype=torch.float64)
    """
    costs = as_costs(costs)
    rows = counted(decision, target, costs, sample_weight, ignore_index)
    weight = rows.weight.sum()
    decided = _totals(rows.decision, rows.weight, costs.num_decisions)
    chosen = decided > 0
    chance = (decided * _of_constants(rows, costs))[chosen].sum() / weight
    if len(rows.target) and not 0 < chance < torch.inf:
        remedy = "costs.regret()" if chance.isfinite() else "a finite price for what is forbidden"
        raise ValueError(
            "weighted kappa compares with the cost of chance, which must be above 0 and finite, "
            f"and chance costs {(chance / weight).item():.4g} on these rows: use average_cost, or "
            f"{remedy}"
        )
    return 1 - _paid(rows, costs) / chance


class Counted(NamedTuple):
    """Rows that count, (M,) each."""

    row: Tensor  # the numbers of the rows
    target: Tensor
    decision: Tensor
    weight: Tensor  # float64, above 0


def counted(
    decision: Tensor,
    target: Tensor,
    costs: CostMatrix,
    sample_weight: Tensor | None,
    ignore_index: int,
) -> Counted:
    """The rows that count, checked."""
    for name, given in (("target", target), ("decision", decision)):
        check_tensor(name, given)
        if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
            remedy = "see lm.decide for probabilities"
            if name == "target" or given.dtype == torch.bool:
                remedy = "call .long() if these are class indices"
            raise TypeError(f"{name} must hold integer indices, got {given.dtype}: {remedy}")
    for name, given in (("decision", decision), ("sample_weight", sample_weight)):
        if given is None:
            continue
        check_tensor(name, given)
        if given.shape != target.shape:
            raise ValueError(
                f"{name} of shape {tuple(given.shape)} and target of shape {tuple(target.shape)} "
                "must have one shape"
            )
    target, decision = target.flatten().long(), decision.flatten().long()
    kept, weight = target != ignore_index, torch.ones_like(target, dtype=torch.float64)
    if sample_weight is not None:
        weight = sample_weight.flatten().double()
        if not ((weight >= 0).all() and weight.sum().isfinite()):
            raise ValueError(
                "sample_weight must be at least 0 and of a finite sum, got values from "
                f"{weight.min().item():.4g} to {weight.max().item():.4g}"
            )
        kept &= weight > 0
    if costs.num_samples not in (None, len(target)):
        raise ValueError(
            f"got {len(target)} rows, but PerExample costs of {costs.num_samples}: pass the costs "
            "of these rows, in their order"
        )
    rows = Counted(torch.arange(len(target), device=target.device), target, decision, weight)
    if not kept.all():
        rows = Counted(*(each[kept] for each in rows))
    _check_range("target", rows.target, costs.num_classes, "classes")
    _check_range("decision", rows.decision, costs.num_decisions, "decisions")
    return rows


def costs_of(rows: Counted, costs: CostMatrix) -> Tensor:
    """What each decision costs, (M,) float64."""
    sample = None if costs.num_samples is None else rows.row
    return costs.entries(rows.target, rows.decision, sample).double()


def _paid(rows: Counted, costs: CostMatrix) -> Tensor:
    """Σ w D[y, a]."""
    return (rows.weight * costs_of(rows, costs)).sum()


def _of_constants(rows: Counted, costs: CostMatrix) -> Tensor:
    """Σ w D[y, k] of every decision k, had it been made for all rows: (K,) float64."""
    truth, weight, sample = rows.target, rows.weight, None
    if costs.num_samples is None:
        of_truth = _totals(truth, weight, costs.num_classes)
        if costs.has_product:
            return costs.expected(of_truth)
        (truth,) = of_truth.nonzero(as_tuple=True)
        weight = of_truth[truth]
    else:
        sample = rows.row
    total = weight.new_zeros(costs.num_decisions)
    step = max(1, BLOCK // costs.num_decisions)
    for start in range(0, len(truth), step):
        part = slice(start, start + step)
        some = costs.row(truth[part], None if sample is None else sample[part])
        total = total + weight[part] @ some.double()
    return total


def _least(rows: Counted, costs: CostMatrix) -> Tensor:
    """The least cost that any decision has in each row, (M,) float64."""
    if costs.num_samples is not None:
        return costs.least(rows.target, rows.row).double()
    (truth,) = _totals(rows.target, rows.weight, costs.num_classes).nonzero(as_tuple=True)
    least = rows.weight.new_zeros(costs.num_classes)
    return least.index_put((truth,), costs.least(truth).double())[rows.target]


def _totals(index: Tensor, weight: Tensor, size: int) -> Tensor:
    """Σ w by index: (size,), added up in one order on every device."""
    return weight.new_zeros(size).index_put_((index,), weight, accumulate=True)


def _check_range(name: str, index: Tensor, size: int, what: str) -> None:
    """Refuse indices outside 0 … size − 1."""
    if not len(index):
        return
    low, high = index.aminmax()
    if low < 0 or high >= size:
        first = index[(index < 0) | (index >= size)][0].item()
        remedy = "; if it is to abstain, give costs.with_abstain(price)"
        raise IndexError(
            f"{name} {first} is out of range: the costs have {size} {what}, "
            f"numbered 0 to {size - 1}{remedy if (name, first) == ('decision', size) else ''}"
        )
