# SPDX-License-Identifier: BSD-3-Clause
"""Truths that are no classes: probabilities, and class indices that are smoothed.

Smoothing takes two numbers a class and, for each matrix, what a mixture of all truths costs; of
class probabilities the kernels are given t·D for every row. Where a formula wants shares of 1, or a
product of a matrix comes between kernels, they are made before.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lossmatrix.engines.gpu.launch import LaunchCall, RowBatch
from lossmatrix.engines.gpu.risk import Calls, RiskLaunches, Visits, of_rows, product


def visits(batch: RowBatch, calls: Calls) -> Visits:
    """The calls over cells with shares, each with the rows that it is given."""
    known: Visits = []
    ones: RowBatch | None = None
    for call in calls:
        if isinstance(call, RiskLaunches) or call.shares_of_one:
            ones = _ones(batch) if ones is None else ones
            known.append((ones, _with_costs(ones, call)))
        else:
            known.append((batch, _with_costs(batch, call)))
    return known


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
        assert batch.target is not None and batch.keep is not None
        truth = batch.target.unsqueeze(1)
        counts = truth != batch.ignore_index
        truth = torch.where(counts, truth, 0).long()
        keep = torch.where(counts, batch.keep[truth], 0.0)
        shares = torch.zeros_like(batch.logits, dtype=batch.dtype).scatter_(1, truth, keep)
    return shares if batch.base is None else shares + batch.base[:, None]


def _ones(batch: RowBatch) -> RowBatch:
    """The same rows with shares of 1; what they were shares of joins the weights."""
    shares = _dense(batch)
    sums = shares.sum(1)
    weight = sums if batch.sample_weight is None else sums * batch.sample_weight
    shares = shares / torch.where(sums == 0, 1.0, sums).unsqueeze(1)
    return replace(batch, shares=shares, keep=None, base=None, sample_weight=weight)
