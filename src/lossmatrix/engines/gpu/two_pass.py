# SPDX-License-Identifier: BSD-3-Clause
"""Two kernels for rows that do not fit on the chip: statistics of a row, then its gradient.

The first visits the classes in blocks and keeps what it finds of every row; the second runs over
rows and blocks of classes alike. If all terms are multiples of p the sums are gathered in the
visit that finds the largest logits; else in a second one, when p is known.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lossmatrix.engines.gpu.math import INF
from lossmatrix.engines.gpu.softmax import (
    BackwardStats,
    Cell,
    SoftmaxStats,
    TopTwo,
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
def logits_at(logits, rows, costs, j, inside, highest, F, a, NUMBER: tl.constexpr):
    """Logits with their margins, and costs, of classes j."""
    y = rows.truth
    c = costs_at(costs, y, rows.number, j, inside)
    z = tl.load(place_of(logits, rows, j), mask=inside, other=-INF).to(NUMBER)
    if F.tilted:
        margin = tl.where(j == set_apart(y, F), F.margin_truth(c, a), F.margin(c, a))
        z = tl.where(inside, (z - highest) + margin, -INF)
    return z, c


@triton.jit
def scaled(sums, factor):
    """Each of the sums times a factor."""
    found = ()
    for i in tl.static_range(len(sums)):
        found = found + (sums[i] * factor,)
    return found


@triton.jit
def added(some, more):
    """Sums and sums."""
    found = ()
    for i in tl.static_range(len(some)):
        found = found + (some[i] + more[i],)
    return found


@triton.jit
def zeros(ROWS: tl.constexpr, COUNT: tl.constexpr, NUMBER: tl.constexpr):
    """COUNT zeros for each row."""
    found = ()
    for _ in tl.static_range(COUNT):
        found = found + (tl.zeros((ROWS, 1), NUMBER),)
    return found


@triton.jit
def multiples(F, c, e, a, f):
    """Terms, and pull, that are multiples of p, with e in its place."""
    cell = Cell(c, e, e, e, e, c, e)  # they know neither the top class nor the sum
    return F.terms(cell, a) + (F.pull(cell, a, f),)


@triton.jit
def combine(found, more):
    """Two leads as one; and what the logits of either, and the lesser top, are scaled with."""
    loser = tl.minimum(found.top, more.top)
    second = tl.maximum(tl.maximum(found.second, more.second), loser)
    shift = finite(second)
    before, after = tl.exp(found.second - shift), tl.exp(more.second - shift)
    e = tl.exp(loser - shift)  # the lesser top is one of the others now
    index = tl.where(found.top >= more.top, found.index, more.index)
    rest = found.rest * before + more.rest * after + e
    return TopTwo(tl.maximum(found.top, more.top), index, second, rest), before, after, e


@triton.jit
def forward_kernel(
    logits,
    truth,
    classes,
    positions,
    costs,
    parameters,
    F,
    losses,
    factors,
    kept,
    tops,
    COUNT: tl.constexpr,
    NUMBER: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    UNIT: tl.constexpr,
    PLANES: tl.constexpr,
    REDUCED: tl.constexpr,
    ADD: tl.constexpr,
):
    """The losses of a block of rows; and what their gradients need, in ``kept`` and ``tops``."""
    block = tl.program_id(0)
    classes, positions, logits = aligned(classes, positions, logits, UNIT, PLANES)
    rows = rows_of(block, truth, positions, NUMBER, ROWS)
    y, sample = rows.truth, rows.number
    apart = set_apart(y, F)
    a = parameters_at(parameters, COUNT)
    f = zeros(ROWS, F.sums, NUMBER)
    if F.linear:
        f = F.partials(f, a)
    highest = tl.full((ROWS, 1), -INF, NUMBER)
    if F.tilted:
        for start in range(0, classes, CLASSES):
            j = start + tl.arange(0, CLASSES)[None, :]
            inside = rows.real & (j < classes)
            z = tl.load(place_of(logits, rows, j), mask=inside, other=-INF).to(NUMBER)
            highest = tl.maximum(highest, tl.max(z, 1, keep_dims=True))

    # the lead; and the sums in the same visit, where all are multiples of p
    low = tl.full((ROWS, 1), -INF, NUMBER)
    found = TopTwo(low, tl.zeros((ROWS, 1), tl.int32), low, tl.zeros((ROWS, 1), NUMBER))
    sums = zeros(ROWS, F.sums + 1, NUMBER)
    for start in range(0, classes, CLASSES):
        j = start + tl.arange(0, CLASSES)[None, :]
        inside = rows.real & (j < classes)
        z, c = logits_at(logits, rows, costs, j, inside, highest, F, a, NUMBER)
        more, e = top_two(z, j, start)
        loser = tl.where(found.top >= more.top, more.index, found.index)
        found, before, after, e_loser = combine(found, more)
        if F.one_phase:
            bulk = inside & (j != apart) & (j != more.index)
            c_loser = costs_at(costs, y, sample, loser, rows.real)
            lost = sums_where(apart != loser, multiples(F, c_loser, e_loser, a, f))
            fresh = sums_where(bulk, multiples(F, c, e, a, f))
            sums = added(added(scaled(sums, before), scaled(fresh, after)), lost)

    same = apart == found.index
    c_top = costs_at(costs, y, sample, found.index, rows.real)
    at_top, ahead = softmax_stats(c_top, found)
    z_truth, c_truth = logits_at(logits, rows, costs, apart, rows.real, highest, F, a, NUMBER)
    shift = finite(found.second)
    at_truth = make_cell(c_truth, tl.exp(tl.where(same, -INF, z_truth) - shift), z_truth, ahead)
    if F.one_phase:
        sums = scaled(sums, ahead.share)
    else:
        for start in range(0, classes, CLASSES):
            j = start + tl.arange(0, CLASSES)[None, :]
            bulk = rows.real & (j < classes) & (j != apart) & (j != found.index)
            z, c = logits_at(logits, rows, costs, j, bulk, highest, F, a, NUMBER)
            cell = make_cell(c, tl.exp(z - shift), z, ahead)
            more_sums = F.terms(cell, a) + (0.0,)
            if F.linear:
                more_sums = F.terms(cell, a) + (F.pull(cell, a, f),)
            sums = added(sums, sums_where(bulk, more_sums))
    totals = all_terms(F, sums, at_top, at_truth, same, a)
    write_losses(losses, factors, rows, F.loss(totals, a), block, REDUCED, ADD)

    pulls = sums[F.sums]
    if not F.linear:
        f = F.partials(totals, a)
        for start in range(0, classes, CLASSES):
            j = start + tl.arange(0, CLASSES)[None, :]
            bulk = rows.real & (j < classes) & (j != apart) & (j != found.index)
            z, c = logits_at(logits, rows, costs, j, bulk, highest, F, a, NUMBER)
            cell = make_cell(c, tl.exp(z - shift), z, ahead)
            pulls += tl.sum(tl.where(bulk, F.pull(cell, a, f), 0.0), 1, keep_dims=True)
    row = finalize(F, found, ahead, at_top, at_truth, same, pulls, a, f)
    tl.store(tops + rows.number, found.index, mask=rows.real)
    store_stats(kept, rows, (highest, shift, ahead.origin, ahead.log_sum, ahead.share), 0)
    store_stats(kept, rows, (row.steepness, row.pull_truth, row.gradient_top), 5)
    store_stats(kept, rows, totals, 8)


@triton.jit
def store_stats(kept, rows, values, first: tl.constexpr):
    """Write values of each row into the columns of ``kept`` from ``first`` on."""
    for i in tl.static_range(len(values)):
        value = values[i] + tl.zeros_like(rows.factor)
        tl.store(kept.data + rows.number * kept.stride + first + i, value, mask=rows.real)


@triton.jit
def load_stats(kept, rows, first: tl.constexpr, count: tl.constexpr):
    """Read them again."""
    found = ()
    for i in tl.static_range(count):
        place = kept.data + rows.number * kept.stride + first + i
        found = found + (tl.load(place, mask=rows.real, other=0.0),)
    return found


@triton.jit
def backward_kernel(
    logits,
    slopes,
    truth,
    classes,
    positions,
    costs,
    parameters,
    F,
    kept,
    tops,
    upstream,
    COUNT: tl.constexpr,
    NUMBER: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    UNIT: tl.constexpr,
    PLANES: tl.constexpr,
    ADD: tl.constexpr,
    WEIGHED: tl.constexpr,
):
    """The slopes of a block of rows in a block of classes."""
    classes, positions, logits = aligned(classes, positions, logits, UNIT, PLANES)
    _, _, slopes = aligned(classes, positions, slopes, UNIT, PLANES)
    blocks = tl.cdiv(classes, CLASSES)
    program = tl.program_id(0)
    rows = rows_of(program // blocks, truth, positions, NUMBER, ROWS)
    a = parameters_at(parameters, COUNT)
    j = (program % blocks) * CLASSES + tl.arange(0, CLASSES)[None, :]
    inside = rows.real & (j < classes)
    top = tl.load(tops + rows.number, mask=rows.real, other=0)
    highest, shift, origin, log_sum, share = load_stats(kept, rows, 0, 5)
    steepness, pull_truth, gradient_top = load_stats(kept, rows, 5, 3)
    f = F.partials(load_stats(kept, rows, 8, F.sums), a)
    z, c = logits_at(logits, rows, costs, j, inside, highest, F, a, NUMBER)
    e = tl.exp(tl.where(j == top, -INF, z) - shift)
    c_top = costs_at(costs, rows.truth, rows.number, top, rows.real)
    cell = make_cell(c, e, z, SoftmaxStats(origin, log_sum, share, c_top))
    row = BackwardStats(steepness, pull_truth, gradient_top)
    made = gradient(F, row, cell, e, j == top, j == set_apart(rows.truth, F), a, f)
    write_gradient(slopes, rows, j, inside, made, scale_of(rows, upstream, WEIGHED), ADD)
