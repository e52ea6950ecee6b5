# SPDX-License-Identifier: BSD-3-Clause
"""The kernel for rows that fit on the chip: every logit is read once, every slope written once.

Its tile is rows × classes. Which of the two lies side by side in memory is the compiler's to see
from the strides: rows of a batch, or pixels of a plane, without a transpose.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lossmatrix.engines.gpu.math import INF
from lossmatrix.engines.gpu.softmax import (
    all_terms,
    costs_at,
    finalize,
    finite,
    gradient,
    make_cell,
    parameters_at,
    set_apart,
    softmax_stats,
    sums_where,
    top_two,
)
from lossmatrix.engines.gpu.tiles import (
    aligned,
    place_of,
    rows_of,
    scale_of,
    write_gradient,
    write_losses,
)


@triton.jit
def fused_kernel(
    logits,
    slopes,
    truth,
    classes,
    positions,
    costs,
    parameters,
    F,
    losses,
    factors,
    upstream,
    COUNT: tl.constexpr,
    NUMBER: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    UNIT: tl.constexpr,
    PLANES: tl.constexpr,
    LOSS: tl.constexpr,
    SLOPES: tl.constexpr,
    REDUCED: tl.constexpr,
    ADD: tl.constexpr,
    WEIGHED: tl.constexpr,
    SKIP_IF_UPSTREAM_IS_ONE: tl.constexpr,
):
    """Losses, slopes or both of a block of rows.

    With SKIP_IF_UPSTREAM_IS_ONE the slopes are there already, for an upstream of 1, and are made
    again for any other: the answer is known on the device alone.
    """
    if SKIP_IF_UPSTREAM_IS_ONE:
        if tl.load(upstream.data) == 1.0:
            return
    block = tl.program_id(0)
    classes, positions, logits = aligned(classes, positions, logits, UNIT, PLANES)
    rows = rows_of(block, truth, positions, NUMBER, ROWS)
    a = parameters_at(parameters, COUNT)
    j = tl.arange(0, CLASSES)[None, :]
    y, sample = rows.truth, rows.number
    apart = set_apart(y, F)
    inside = rows.real & (j < classes)
    is_truth = j == apart
    z = tl.load(place_of(logits, rows, j), mask=inside, other=-INF).to(NUMBER)
    z_truth = tl.load(place_of(logits, rows, apart), mask=rows.real, other=0.0).to(NUMBER)
    c = costs_at(costs, y, sample, j, inside)
    c_truth = costs_at(costs, y, sample, apart, rows.real)
    if F.tilted:
        highest = tl.max(z, 1, keep_dims=True)
        z_truth = (z_truth - highest) + F.margin_truth(c_truth, a)
        z = tl.where(is_truth, z_truth, (z - highest) + F.margin(c, a))
        z = tl.where(inside, z, -INF)

    found, e = top_two(z, j, 0)
    same = apart == found.index
    is_top = j == found.index
    c_top = costs_at(costs, y, sample, found.index, rows.real)
    at_top, ahead = softmax_stats(c_top, found)
    e_truth = tl.exp(tl.where(same, -INF, z_truth) - finite(found.second))
    at_truth = make_cell(c_truth, e_truth, z_truth, ahead)
    cell = make_cell(c, e, z, ahead)
    bulk = inside & (is_truth == 0) & (is_top == 0)
    totals = all_terms(F, sums_where(bulk, F.terms(cell, a)), at_top, at_truth, same, a)
    if LOSS:
        loss = F.loss(totals, a)
        write_losses(losses, factors, rows, loss, block, REDUCED, ADD)
    if SLOPES:
        f = F.partials(totals, a)
        (pulls,) = sums_where(bulk, (F.pull(cell, a, f),))
        row = finalize(F, found, ahead, at_top, at_truth, same, pulls, a, f)
        made = gradient(F, row, cell, e, is_top, is_truth, a, f)
        _, _, slopes = aligned(classes, positions, slopes, UNIT, PLANES)
        write_gradient(slopes, rows, j, inside, made, scale_of(rows, upstream, WEIGHED), ADD)
