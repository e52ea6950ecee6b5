# SPDX-License-Identifier: BSD-3-Clause
"""Truths that are no classes: probabilities, and class indices that are smoothed.

Smoothing takes two numbers a class and, for each matrix, what a mixture of all truths costs; of
class probabilities the kernels are given t·D for every row. Where a formula wants shares of 1, or a
product of a matrix comes between kernels, they are made before. What is not linear in the truth
takes a visit for every class: ℓ(z; t) = Σ_i t_i ℓ(z; i).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lossmatrix.engines.gpu.launch import LaunchCall, RowBatch, denominator
from lossmatrix.engines.gpu.risk import Calls, RiskLaunches, Visits, of_rows, product


def visits(batch: RowBatch, calls: Calls, reduction: str) -> Visits:
    """The calls over cells with shares, each with the rows that it is given."""
    known: Visits = []
    ones: RowBatch | None = None
    for call in calls:
        if isinstance(call, LaunchCall) and call.formula.hard:
            known += [(each, call) for each in _truths(batch, reduction)]
        elif isinstance(call, RiskLaunches) or call.shares_of_one:
            ones = _ones(batch) if ones is None else ones
            known.append((ones, _with_costs(ones, call)))
        else:
            known.append((batch, _with_costs(batch, call)))
    return known


def _truths(batch: RowBatch, reduction: str) -> Iterator[RowBatch]:
    """The rows with every class as their truth, weighed by its share."""
    shares = _dense(batch)
    if batch.sample_weight is not None:
        shares = shares * batch.sample_weight.unsqueeze(1)
    if reduction == "mean":
        shares = shares / denominator(batch)
    for i in range(shares.shape[1]):
        weight = shares.select(1, i).contiguous()
        yield replace(
            batch,
            target=torch.full(weight.shape, i, device=weight.device),
            weight=None,
            sample_weight=weight,
            ignore_index=-1,  # the share of ignored rows is 0
            shares=None,
            keep=None,
            base=None,
            divided=True,
        )


def _with_costs(batch: RowBatch, call: LaunchCall | RiskLaunches) -> LaunchCall | RiskLaunches:
    """A call with the costs that decisions are expected to have under the shares."""
    if isinstance(call, RiskLaunches):
        classes = _with_costs(batch, call.classes)
        return replace(call, classes=classes) if isinstance(classes, LaunchCall) else call
    if not call.matrices:
        return call
    if batch.shares is None and batch.base is not None:  # keep · D of the truth is read beside it
        smooth = (product(batch.base, each, False) for each in call.matrices)
        return replace(call, smooth=tuple(smooth))
    rows = _dense(batch).movedim(1, 2).reshape(-1, batch.logits.shape[1])
    return replace(call, costs=tuple(of_rows(product(rows, each, False)) for each in call.matrices))


def _dense(batch: RowBatch) -> Tensor:
    """The share of every class, (B, C, P)."""
    if batch.shares is not None:
        shares = batch.shares.to(batch.dtype)
        if batch.keep is not None:
            shares = shares * batch.keep[:, None]
    else:
        assert batch.target is not None
        assert batch.keep is not None
        truth = batch.target.unsqueeze(1)
        counts = truth != batch.ignore_index
        truth = torch.where(counts, truth, 0).long()
        keep = torch.where(counts, batch.keep[truth], 0.0)
        shares = torch.zeros_like(batch.logits, dtype=batch.dtype).scatter_(1, truth, keep)
    if batch.base is not None:
        shares = shares + batch.base[:, None]
    if batch.target is None:
        return shares
    return torch.where((batch.target != batch.ignore_index).unsqueeze(1), shares, 0.0)


def _ones(batch: RowBatch) -> RowBatch:
    """The same rows with shares of 1; what they were shares of joins the weights."""
    shares = _dense(batch)
    sums = shares.sum(1)
    weight = sums if batch.sample_weight is None else sums * batch.sample_weight
    shares = shares / torch.where(sums == 0, 1.0, sums).unsqueeze(1)
    return replace(batch, shares=shares, keep=None, base=None, sample_weight=weight)
