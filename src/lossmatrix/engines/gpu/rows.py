# SPDX-License-Identifier: BSD-3-Clause
"""The kernel: losses, gradients or both, of rows of any number of classes.

A program takes one block of rows after the other. It finds the two largest logits of a row and what
the others sum up to, then the terms of the formula where they need p itself, and at last writes the
gradient. A step that holds the row reads it once; else every visit reads it again, which is in the
cache by then. Set apart from the bulk of the classes are the truth and the top of the others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from lossmatrix.engines.gpu.math import INF, exp
from lossmatrix.engines.gpu.softmax import (
    SoftmaxStats,
    TopTwo,
    added,
    all_terms,
    combine,
    contributions,
    costs_at,
    finalize,
    finite,
    kept_where,
    larger,
    make_cell,
    multiple_of_p,
    parameters_at,
    scaled,
    softmax_stats,
)
from lossmatrix.engines.gpu.tiles import (
    Shares,
    aligned,
    classes_of,
    finish,
    inside_of,
    is_edge,
    largest_of,
    line_of,
    lines_of,
    place_of,
    read,
    rows_of,
    scale_of,
    shift_of,
    total_of,
    write,
)


class RowBlock(NamedTuple):
    """What is read of a block of rows."""

    logits: Any
    shares: Any
    rows: Any
    truth: Any  # one number where all lanes share a row
    line: Any
    lines: Any
    shift: Any
    classes: Any
    whole: Any  # the classes of all steps that are full
    highest: Any  # the largest logit, where margins are added
    a: Any


@triton.constexpr_function
def is_shared(hard, decisions):
    """Whether every class has a share of the truth."""
    return not (hard or decisions)


@triton.jit
def share_at(V, F, j, inside, like):
    """The probability that class j is the truth."""
    t = like * 0.0
    if is_shared(F.hard, F.decisions):
        if V.shares.probabilities is not None:
            place = place_of(V.shares.probabilities, V.rows, j)
            t = tl.load(place, mask=V.rows.counts & inside, other=0.0).to(like.dtype)
            if V.shares.keep is not None:
                t = t * tl.load(V.shares.keep + j, mask=inside, other=0.0)
        else:
            t = tl.where(j == V.rows.truth, tl.load(V.shares.keep + V.rows.truth), 0.0)
        if V.shares.base is not None:
            t = t + tl.load(V.shares.base + j, mask=inside, other=0.0)
    return t


@triton.jit
def costs_of(V, F, D, j, inside):
    """The costs of deciding j, of the truth or with those of all truths joined in."""
    found = costs_at(D, V.rows.truth, V.rows.number, j, inside)
    if is_shared(F.hard, F.decisions):
        if V.shares.costs is not None:
            keep, joined = tl.load(V.shares.keep + V.rows.truth), ()
            for i in tl.static_range(len(D)):
                smooth = tl.load(V.shares.costs[i] + j, mask=inside, other=0.0)
                joined = joined + (keep * found[i] + smooth,)
            found = joined
    return found


@triton.jit
def logit_at(V, F, j, margin, NUMBER: tl.constexpr):
    """The logit of one class of each row, with its margin."""
    z = tl.load(place_of(V.logits, V.rows, j), mask=V.rows.counts, other=0.0).to(NUMBER)
    return (z - V.highest) + margin if F.has_margin else z


# --- tiles and steps -----------------------------------------------------------------------------


@triton.jit
def one(x):
    """The number in a tensor of one."""
    return tl.sum(tl.sum(x, 1), 0)


@triton.jit
def zeros(COUNT: tl.constexpr, like):
    """COUNT zeros for each lane."""
    found = ()
    for _ in tl.static_range(COUNT):
        found = found + (like * 0.0,)
    return found


@triton.jit
def over_width(values):
    """The sums over the classes that a lane has of a tile."""
    found = ()
    for i in tl.static_range(len(values)):
        found = found + (tl.sum(values[i], 1, keep_dims=True),)
    return found


@triton.jit
def inside_tile(V, start, u: tl.constexpr, CUT, EDGE: tl.constexpr):
    """Which numbers of a tile may be read: all of them but at an edge."""
    if CUT.across:
        if is_edge(u, CUT.held, CUT.whole, EDGE):
            j = classes_of(V.lines, start, u, V.shift, CUT)
            return inside_of(V.lines, j, start, u, V.classes, CUT)
        else:
            return tl.full((1, 1), 1, tl.int1)
    else:
        if is_edge(u, CUT.held, CUT.whole, EDGE):
            return V.rows.real & (classes_of(V.lines, start, u, V.shift, CUT) < V.classes)
        else:
            return V.rows.real


@triton.jit
def tile_costs(V, F, D, start, u: tl.constexpr, CUT, EDGE: tl.constexpr):
    """The costs of a tile; 0 outside, because 0 · ∞ would be none."""
    inside = inside_tile(V, start, u, CUT, EDGE)
    found = costs_of(V, F, D, classes_of(V.lines, start, u, V.shift, CUT), inside)
    return kept_where(inside, found) if is_edge(u, CUT.held, CUT.whole, EDGE) else found


@triton.jit
def tile_share(V, F, start, u: tl.constexpr, like, CUT, EDGE: tl.constexpr):
    """The probabilities that classes of a tile are the truth."""
    inside = inside_tile(V, start, u, CUT, EDGE)
    return share_at(V, F, classes_of(V.lines, start, u, V.shift, CUT), inside, like)


@triton.jit
def holds(j, V, start, CUT):
    """Whether a step of a row that all lanes share holds class j."""
    first = start - one(V.shift)
    return (j >= first) & (j < first + CUT.tiles * CUT.lanes * CUT.width)


@triton.jit
def step_logits(V, start, F, D, CUT, NUMBER: tl.constexpr, EDGE: tl.constexpr,
                HIDE: tl.constexpr):  # fmt: skip
    """The logits of a step with their margins, −∞ outside; with HIDE the truth is outside.

    With HIDE None they are without margins, too.
    """
    found = ()
    for u in tl.static_range(CUT.tiles):
        if F.decisions:
            z = tl.zeros(classes_of(V.lines, start, u, V.shift, CUT).shape, NUMBER)
            z = tl.where(inside_tile(V, start, u, CUT, EDGE), z, -INF)
        else:
            z = read(
                V, start, u, CUT, is_edge(u, CUT.held, CUT.whole, EDGE),
                HIDE is None or (HIDE and not CUT.held),
            ).to(NUMBER)  # fmt: skip
        found = found + (z,)
    if HIDE is not None and F.has_margin:
        tilted = ()
        for u in tl.static_range(CUT.tiles):
            z = (found[u] - V.highest) + F.margin(tile_costs(V, F, D, start, u, CUT, EDGE), V.a)
            if is_edge(u, CUT.held, CUT.whole, EDGE):
                z = tl.where(inside_tile(V, start, u, CUT, EDGE), z, -INF)
            tilted = tilted + (z,)
        found = tilted
    if HIDE and F.hard:
        if CUT.across:
            if holds(V.truth, V, start, CUT):
                found = without_truth(V, found, start, CUT)
        else:
            found = without_truth(V, found, start, CUT)
    return found


@triton.jit
def without_truth(V, zs, start, CUT):
    """The logits of a step without that of the truth."""
    found = ()
    for u in tl.static_range(CUT.tiles):
        j = classes_of(V.lines, start, u, V.shift, CUT)
        found = found + (tl.where(j == V.truth, -INF, zs[u]),)
    return found


# --- the lead of a row, and sums over the others -------------------------------------------------


@triton.jit
def lead_of(zs, V, start, CUT):
    """The two largest logits of a step in each lane, and where the largest is."""
    top = tl.full(zs[0].shape, -INF, zs[0].dtype)
    second, index = top, tl.zeros(zs[0].shape, tl.int32)
    for u in tl.static_range(CUT.tiles):
        j = classes_of(V.lines, start, u, V.shift, CUT)
        second = tl.maximum(second, tl.minimum(top, zs[u]))
        index = tl.where(zs[u] > top, j, index)
        top = tl.maximum(top, zs[u])
    return top, second, index


@triton.jit
def step_sums(V, zs, start, index, origin, F, D, CUT, SUMS: tl.constexpr, EDGE: tl.constexpr):
    """Σ e over a step but for ``index``, and the sums of multiples of p with e in its place."""
    rest, es = zs[0] * 0.0, ()
    sums = zeros(SUMS, rest)
    for u in tl.static_range(CUT.tiles):
        e = exp(zs[u] - origin)
        if index is not None:
            e = tl.where(classes_of(V.lines, start, u, V.shift, CUT) == index, 0.0, e)
        es = es + (e,)
        rest = e if u == 0 else rest + e
        if SUMS > 0:
            t = tile_share(V, F, start, u, e, CUT, EDGE)
            cell = multiple_of_p(tile_costs(V, F, D, start, u, CUT, EDGE), t, e)
            found = contributions(F, cell, V.a)
            sums = found if u == 0 else added(sums, found)
    return tl.sum(rest, 1, keep_dims=True), over_width(sums), es


@triton.jit
def held_stats(V, zs, F, D, CUT, SUMS: tl.constexpr):
    """The lead of a row that a step holds, the sums over the others, and every e."""
    top, second, index = lead_of(zs, V, 0, CUT)
    if CUT.across:
        top, second, index = tl.reduce((top, second, index), 1, larger, keep_dims=True)
        top, second, index = tl.reduce((top, second, index), 0, larger, keep_dims=True)
    rest, sums, es = step_sums(V, zs, 0, index, finite(second), F, D, CUT, SUMS, False)
    (rest,) = total_of((rest,), CUT)
    return TopTwo(top, index, second, rest), total_of(sums, CUT), es


@triton.jit
def joined_by_own(V, found, sums, start, F, D, CUT, SUMS: tl.constexpr, NUMBER: tl.constexpr,
                  EDGE: tl.constexpr):  # fmt: skip
    """Lead and sums of lanes that have rows of their own, with those of one more step."""
    zs = step_logits(V, start, F, D, CUT, NUMBER, EDGE, True)
    top, second, index = lead_of(zs, V, start, CUT)
    overtaken = top > found.top
    second = tl.maximum(tl.maximum(found.second, second), tl.minimum(found.top, top))
    index = tl.where(overtaken, index, found.index)
    origin = finite(second)
    before = exp(found.second - origin)
    e = tl.where(overtaken, exp(found.top - origin), 0.0)  # it is an other now
    rest, more, _ = step_sums(V, zs, start, index, origin, F, D, CUT, SUMS, EDGE)
    if SUMS > 0:
        c, t = (
            costs_of(V, F, D, found.index, V.rows.real),
            share_at(V, F, found.index, V.rows.real, e),
        )
        more = added(more, contributions(F, multiple_of_p(c, t, e), V.a))
        sums = added(scaled(sums, before), more)
    rest = found.rest * before + (e + rest)
    return TopTwo(tl.maximum(found.top, top), index, second, rest), sums


@triton.jit
def own_stats(V, F, D, CUT, SUMS: tl.constexpr, NUMBER: tl.constexpr):
    """The same for lanes that have rows of their own, step by step."""
    low, blank = tl.full((CUT.lanes, 1), -INF, NUMBER), tl.zeros((CUT.lanes, 1), NUMBER)
    found = TopTwo(low, tl.zeros((CUT.lanes, 1), tl.int32), low, blank)
    sums = zeros(SUMS, blank)
    for start in range(0, V.whole, CUT.tiles):
        found, sums = joined_by_own(V, found, sums, start, F, D, CUT, SUMS, NUMBER, False)
    if CUT.whole < CUT.tiles:
        if V.whole < V.classes:
            found, sums = joined_by_own(V, found, sums, V.whole, F, D, CUT, SUMS, NUMBER, True)
    return found, sums


@triton.jit
def joined_by_shared(V, high, rest, sums, start, F, D, CUT, SUMS: tl.constexpr,
                     NUMBER: tl.constexpr, EDGE: tl.constexpr):  # fmt: skip
    """The largest logit and the sums of lanes that share a row, with those of one more step."""
    zs = step_logits(V, start, F, D, CUT, NUMBER, EDGE, True)
    largest = zs[0]
    for u in tl.static_range(1, CUT.tiles):
        largest = tl.maximum(largest, zs[u])
    higher = tl.maximum(high, tl.max(largest, 1, keep_dims=True))
    origin = finite(higher)
    before = exp(high - origin)
    more, more_sums, _ = step_sums(V, zs, start, None, origin, F, D, CUT, SUMS, EDGE)
    return higher, rest * before + more, added(scaled(sums, before), more_sums)


@triton.jit
def first_of_larger(top, lane, other_top, other_lane):
    """The larger of two numbers and its lane; of equal ones the first."""
    first = (top > other_top) | ((top == other_top) & (lane < other_lane))
    return tl.maximum(top, other_top), tl.where(first, lane, other_lane)


@triton.jit
def shared_stats(V, F, D, CUT, SUMS: tl.constexpr, NUMBER: tl.constexpr):
    """The same for lanes that share a row: each has sums of its own, and they meet once.

    The lane of the top has it among its sums; its logits are read once more, and the top left out.
    """
    high, blank = tl.full((CUT.lanes, 1), -INF, NUMBER), tl.zeros((CUT.lanes, 1), NUMBER)
    rest, sums = blank, zeros(SUMS, blank)
    size: tl.constexpr = CUT.tiles * CUT.lanes * CUT.width
    if CUT.shifted:
        for start in range(0, V.classes + one(V.shift), size):
            high, rest, sums = joined_by_shared(
                V, high, rest, sums, start, F, D, CUT, SUMS, NUMBER, True
            )
    else:
        for start in range(0, V.whole, size):
            high, rest, sums = joined_by_shared(
                V, high, rest, sums, start, F, D, CUT, SUMS, NUMBER, False
            )
        if CUT.whole < CUT.tiles:
            if V.whole < V.classes:
                high, rest, sums = joined_by_shared(
                    V, high, rest, sums, V.whole, F, D, CUT, SUMS, NUMBER, True
                )
    lane = tl.arange(0, CUT.lanes)[:, None]
    top, owner = tl.reduce((high, lane), 0, first_of_larger, keep_dims=True)

    tile: tl.constexpr = CUT.lanes * CUT.width
    j = tl.arange(0, CUT.column)[:, None] * tile + owner * CUT.width - V.shift
    j = j + tl.arange(0, CUT.width)[None, :]
    inside = (j >= 0) & (j < V.classes)
    c = kept_where(inside, costs_of(V, F, D, j, inside))
    if F.decisions:
        z = tl.zeros(j.shape, NUMBER)
    else:
        z = tl.load(place_of(V.logits, V.rows, j), mask=inside, other=-INF).to(NUMBER)
    if F.has_margin:
        z = (z - V.highest) + F.margin(c, V.a)
    if F.hard:
        inside = inside & (j != V.truth)
    z = tl.where(inside, z, -INF)
    index = tl.min(tl.min(tl.where(z == top, j, V.classes), 1, keep_dims=True), 0, keep_dims=True)
    index = tl.where(index == V.classes, 0, index)
    others = tl.where(j == index, -INF, z)
    second = tl.max(tl.max(others, 1, keep_dims=True), 0, keep_dims=True)
    second = tl.maximum(second, tl.max(tl.where(lane == owner, -INF, high), 0, keep_dims=True))
    origin = finite(second)
    e = exp(others - origin)
    joins = tl.where(lane == owner, 0.0, exp(high - origin))
    (theirs,) = total_of((tl.where(lane == owner, 0.0, rest * joins),), CUT)
    (own,) = total_of((tl.sum(e, 1, keep_dims=True),), CUT)
    found = TopTwo(top, index, second, theirs + own)
    if SUMS > 0:
        cell = multiple_of_p(c, share_at(V, F, j, inside, e), e)
        mine = total_of(over_width(contributions(F, cell, V.a)), CUT)
        sums = added(total_of(kept_where(lane != owner, scaled(sums, joins)), CUT), mine)
    return found, sums


# --- visits that know p --------------------------------------------------------------------------


@triton.jit
def bulk_cell(V, F, D, CUT, ahead, z, start, u: tl.constexpr, EDGE: tl.constexpr):
    """A tile of classes as the formula sees them."""
    p = exp(z - ahead.shift) * ahead.share
    c, t = tile_costs(V, F, D, start, u, CUT, EDGE), tile_share(V, F, start, u, p, CUT, EDGE)
    return make_cell(c, t, p, z, ahead)


@triton.jit
def bulk_step(V, logits, sums, start, apart, f, ahead, F, D, CUT, NUMBER: tl.constexpr,
              EDGE: tl.constexpr):  # fmt: skip
    """Sums, or with partials ``f`` that of the grad_terms, with those of one more step."""
    if not CUT.held:
        logits = step_logits(V, start, F, D, CUT, NUMBER, EDGE, True)
    for u in tl.static_range(CUT.tiles):
        j = classes_of(V.lines, start, u, V.shift, CUT)
        cell = bulk_cell(V, F, D, CUT, ahead, logits[u], start, u, EDGE)
        values = contributions(F, cell, V.a) if f is None else (F.grad_term(cell, V.a, f),)
        counts = j != apart
        if F.hard:
            counts = counts & (j != V.truth)
        if is_edge(u, CUT.held, CUT.whole, EDGE):
            counts = counts & inside_tile(V, start, u, CUT, EDGE)
        sums = added(sums, over_width(kept_where(counts, values)))
    return sums


@triton.jit
def bulk_sums(V, zs, F, D, CUT, ahead, apart, f, COUNT: tl.constexpr, NUMBER: tl.constexpr):
    """The sums over the bulk, or with partials ``f`` that of the grad_terms."""
    sums = zeros(COUNT, tl.zeros((CUT.lanes, 1), NUMBER))
    size: tl.constexpr = CUT.tiles * CUT.lanes * CUT.width if CUT.across else CUT.tiles
    if CUT.held:
        sums = bulk_step(V, zs, sums, 0, apart, f, ahead, F, D, CUT, NUMBER, False)
    elif CUT.shifted:
        for start in range(0, V.classes + one(V.shift), size):
            sums = bulk_step(V, zs, sums, start, apart, f, ahead, F, D, CUT, NUMBER, True)
    else:
        for start in range(0, V.whole, size):
            sums = bulk_step(V, zs, sums, start, apart, f, ahead, F, D, CUT, NUMBER, False)
        if CUT.whole < CUT.tiles:
            if V.whole < V.classes:
                sums = bulk_step(V, zs, sums, V.whole, apart, f, ahead, F, D, CUT, NUMBER, True)
    return total_of(sums, CUT)


@triton.jit
def set_apart(V, made, start, singles, F, CUT):
    """The gradient of a step of lanes with own rows, with that of truth and top put in."""
    found = ()
    for u in tl.static_range(CUT.tiles):
        j = classes_of(V.lines, start, u, V.shift, CUT)
        g = tl.where(j == singles[0], singles[1], made[u])
        if F.hard:
            g = tl.where(j == V.truth, singles[2], g)
        found = found + (g,)
    return found


@triton.jit
def gradient_step(V, logits, es, grid, line, start, ahead, steepness, scale, singles, f, F, D, CUT,
                  NUMBER: tl.constexpr, ADD: tl.constexpr, EDGE: tl.constexpr):  # fmt: skip
    """The gradient of a step: of the bulk class by class, of truth and top as it is given."""
    if not CUT.held:
        logits = step_logits(V, start, F, D, CUT, NUMBER, EDGE, False)
    made = ()
    ARE_KEPT: tl.constexpr = CUT.held and F.one_visit and F.linear_in_p
    for u in tl.static_range(CUT.tiles):
        e = es[u] if ARE_KEPT else exp(logits[u] - ahead.shift)
        if F.only_target:
            g = -e * (steepness * scale)
        elif F.one_visit and F.linear_in_p:
            # a multiple of p: p without e is the same for all classes of the row
            share = ahead.share * scale
            t = tile_share(V, F, start, u, e, CUT, EDGE)
            cell = multiple_of_p(tile_costs(V, F, D, start, u, CUT, EDGE), t, share)
            g = e * (F.grad_term(cell, V.a, f) - steepness * scale)
        else:
            cell = bulk_cell(V, F, D, CUT, ahead, logits[u], start, u, EDGE)
            g = F.grad_term(cell, V.a, f) * scale - e * (steepness * scale)
            if not CUT.across:
                g = tl.where(V.rows.counts, g, 0.0)
        made = made + (g,)
    if not CUT.across:
        made = set_apart(V, made, start, singles, F, CUT)
    for u in tl.static_range(CUT.tiles):
        write(V, grid, line, start, u, made[u], ADD, CUT, is_edge(u, CUT.held, CUT.whole, EDGE))


@triton.jit
def write_gradient(V, zs, es, grid, ahead, steepness, scale, singles, f, F, D, CUT,
                   NUMBER: tl.constexpr, ADD: tl.constexpr):  # fmt: skip
    """The gradient of all classes; where lanes share a row that of truth and top comes last."""
    before = (0.0, 0.0)
    if CUT.across:
        before = single_gradients(V, grid, singles, F, ADD)
    size: tl.constexpr = CUT.tiles * CUT.lanes * CUT.width if CUT.across else CUT.tiles
    line = line_of(grid, V.rows, V.shift, CUT)
    if CUT.held:
        gradient_step(
            V, zs, es, grid, line, 0, ahead, steepness, scale, singles, f, F, D, CUT, NUMBER,
            ADD, False,
        )  # fmt: skip
    elif CUT.shifted:
        for start in range(0, V.classes + one(V.shift), size):
            gradient_step(
                V, zs, es, grid, line, start, ahead, steepness, scale, singles, f, F, D, CUT,
                NUMBER, ADD, True,
            )  # fmt: skip
    else:
        for start in range(0, V.whole, size):
            gradient_step(
                V, zs, es, grid, line, start, ahead, steepness, scale, singles, f, F, D, CUT,
                NUMBER, ADD, False,
            )  # fmt: skip
        if CUT.whole < CUT.tiles:
            if V.whole < V.classes:
                gradient_step(
                    V, zs, es, grid, line, V.whole, ahead, steepness, scale, singles, f, F, D, CUT,
                    NUMBER, ADD, True,
                )  # fmt: skip
    if CUT.across:
        tl.debug_barrier()  # other threads have written these two places
        at_apart, at_truth = singles[1] + before[0], singles[2] + before[1]
        tl.store(place_of(grid, V.rows, singles[0]), at_apart.to(grid.data.dtype.element_ty))
        if F.hard:
            truth = place_of(grid, V.rows, V.rows.truth)
            tl.store(truth, at_truth.to(grid.data.dtype.element_ty))


@triton.jit
def single_gradients(V, grid, singles, F, ADD: tl.constexpr):
    """What the gradient of top and truth is added to."""
    if ADD:
        found = (
            tl.load(place_of(grid, V.rows, singles[0])).to(singles[1].dtype),
            tl.load(place_of(grid, V.rows, V.rows.truth)).to(singles[1].dtype),
        )
        tl.debug_barrier()  # before others write there
        return found
    else:
        return singles[1] * 0.0, singles[1] * 0.0


@triton.jit
def write_zeros(V, grid, F, CUT, NUMBER: tl.constexpr):
    """The gradient of a row that does not count."""
    line = line_of(grid, V.rows, V.shift, CUT)
    blank = tl.zeros((CUT.lanes, CUT.width), NUMBER)
    for start in range(0, V.classes + one(V.shift), CUT.tiles * CUT.lanes * CUT.width):
        for u in tl.static_range(CUT.tiles):
            write(V, grid, line, start, u, blank, False, CUT, True)


@triton.jit
def chosen(which, some, others):
    """Of each pair the first where it is asked for."""
    found = ()
    for i in tl.static_range(len(some)):
        found = found + (tl.where(which, some[i], others[i]),)
    return found


@triton.jit
def visited(V, upstream, gradient, F, D, CUT, NUMBER: tl.constexpr, GRADIENT: tl.constexpr,
            WEIGHED: tl.constexpr, ADD: tl.constexpr):  # fmt: skip
    """The losses of a block of rows, without their weights; their gradient is written."""
    ONE_PASS: tl.constexpr = F.one_visit and F.linear_in_p
    SUMS: tl.constexpr = F.sums + 1 if F.one_visit else F.sums
    EARLY: tl.constexpr = SUMS if ONE_PASS and not F.only_target else 0
    rows, a, nothing = V.rows, V.a, tl.zeros_like(V.rows.factor)

    # the lead of all classes but the truth, and the sums over the others
    zs, es = (), ()
    if CUT.held:
        zs = step_logits(V, 0, F, D, CUT, NUMBER, False, True)
        found, early, es = held_stats(V, zs, F, D, CUT, EARLY)
    elif CUT.across:
        found, early = shared_stats(V, F, D, CUT, EARLY, NUMBER)
    else:
        found, early = own_stats(V, F, D, CUT, EARLY, NUMBER)
    sums = early if EARLY > 0 else zeros(SUMS, nothing)

    # the truth joins them
    apart = found.index
    if F.hard:  # of masked classes alone none leads, and the index may be that of the truth
        is_truth = (apart == rows.truth) & (V.classes > 1)
        apart = tl.where(is_truth, (rows.truth == 0).to(tl.int32), apart)
    c_apart, t_apart = (
        costs_of(V, F, D, apart, rows.real),
        share_at(V, F, apart, rows.real, found.top),
    )
    before, lead = nothing + 1.0, found
    same, c_truth, z_truth, c_top = rows.counts, c_apart, found.top, c_apart
    if F.hard:
        c_truth = costs_of(V, F, D, rows.truth, rows.real)
        margin = F.margin_truth(c_truth, a) if F.has_margin else nothing
        z_truth = logit_at(V, F, rows.truth, margin, NUMBER)
        alone = TopTwo(z_truth, rows.truth, tl.full(nothing.shape, -INF, NUMBER), nothing)
        both, before, _after, e = combine(found, alone)
        rest = tl.where(z_truth == z_truth, both.rest, z_truth)  # a NaN is no top
        lead = TopTwo(both.top, both.index, both.second, rest)
        same = lead.index == rows.truth
        if EARLY > 0:
            overtaken = contributions(F, multiple_of_p(c_apart, t_apart, e), a)
            sums = added(scaled(sums, before), kept_where(same, overtaken))
        c_top = chosen(same, c_truth, c_apart)
    at_top, ahead = softmax_stats(c_top, t_apart, lead)
    e_truth = exp(tl.where(same, -INF, z_truth) - ahead.shift)
    at_truth = make_cell(c_truth, t_apart, e_truth * ahead.share, z_truth, ahead)
    e_apart = exp(tl.minimum(found.top, lead.second) - ahead.shift)  # where truth is the top
    at_apart = make_cell(c_apart, t_apart, e_apart * ahead.share, found.top, ahead)
    beside = same & (V.classes > 1)  # whether there is another class where truth is the top
    share = ahead.share * before
    of_bulk = SoftmaxStats(ahead.top, finite(found.second), ahead.log_sum, share, ahead.c)

    if ONE_PASS:
        sums = scaled(sums, ahead.share)
    else:
        sums = bulk_sums(V, zs, F, D, CUT, of_bulk, apart, None, SUMS, NUMBER)
        if F.hard:
            sums = added(sums, kept_where(beside, contributions(F, at_apart, a)))
    totals = all_terms(F, sums, at_top, at_truth, same, a)
    if GRADIENT:
        f = F.partials(totals, a)
        if F.one_visit:
            grad_terms = sums[F.sums] * F.row_factor(f)
        else:
            (grad_terms,) = bulk_sums(V, zs, F, D, CUT, of_bulk, apart, f, 1, NUMBER)
            if F.hard:
                grad_terms += tl.where(beside, F.grad_term(at_apart, a, f), 0.0)
        row = finalize(F, lead, ahead, at_top, at_truth, same, grad_terms, a, f)
        scale = scale_of(rows, upstream, WEIGHED)
        of_apart, of_truth = row.gradient_top, row.gradient_top
        if F.hard:
            of_apart = F.grad_term(at_apart, a, f) - e_apart * row.steepness
            of_apart = tl.where(same, of_apart, row.gradient_top)
            of_truth = row.grad_term_truth - e_truth * row.steepness
            of_truth = tl.where(same, row.gradient_top, of_truth)
        singles = (
            apart,
            tl.where(rows.counts, of_apart * scale, 0.0),
            tl.where(rows.counts, of_truth * scale, 0.0),
        )
        write_gradient(
            V, zs, es, gradient, of_bulk, row.steepness * before, scale, singles, f, F, D, CUT,
            NUMBER, ADD,
        )  # fmt: skip
    return F.loss(totals, a)


@triton.jit
def highest_step(V, highest, start, F, D, CUT, NUMBER: tl.constexpr, EDGE: tl.constexpr):
    """The largest logit of each lane, with those of one more step."""
    zs = step_logits(V, start, F, D, CUT, NUMBER, EDGE, None)
    for u in tl.static_range(CUT.tiles):
        highest = tl.maximum(highest, tl.max(zs[u], 1, keep_dims=True))
    return highest


@triton.jit
def highest_of(V, F, D, CUT, NUMBER: tl.constexpr):
    """The largest logit of every row."""
    if F.decisions:
        return tl.zeros_like(V.rows.factor)
    else:
        size: tl.constexpr = CUT.tiles * CUT.lanes * CUT.width if CUT.across else CUT.tiles
        highest = tl.full((CUT.lanes, 1), -INF, NUMBER)
        if CUT.held:
            highest = highest_step(V, highest, 0, F, D, CUT, NUMBER, False)
        else:
            for start in range(0, V.classes + one(V.shift), size):
                highest = highest_step(V, highest, start, F, D, CUT, NUMBER, True)
        return largest_of(highest, CUT)


@triton.jit
def rows_kernel(
    logits,
    gradient,
    truth,
    shares,
    classes,
    positions,
    blocks,
    D,
    parameters,
    F,
    CUT,
    out,
    upstream,
    COUNT: tl.constexpr,
    NUMBER: tl.constexpr,
    LOSS: tl.constexpr,
    GRADIENT: tl.constexpr,
    REDUCED: tl.constexpr,
    MEAN: tl.constexpr,
    ADD: tl.constexpr,
    WEIGHED: tl.constexpr,
    SKIP_IF_UPSTREAM_IS_ONE: tl.constexpr,
):
    """Losses, gradients or both of blocks of rows.

    With SKIP_IF_UPSTREAM_IS_ONE the gradient is there already, for an upstream of 1, and is made
    again for any other: the answer is known on the device alone.
    """
    if SKIP_IF_UPSTREAM_IS_ONE:
        if tl.load(upstream.data) == 1.0:
            return
    if GRADIENT:
        _, _, gradient = aligned(classes, positions, gradient, CUT)
    SHARED: tl.constexpr = is_shared(F.hard, F.decisions)
    if SHARED:
        if shares.probabilities is not None:
            _, _, probabilities = aligned(classes, positions, shares.probabilities, CUT)
            shares = Shares(probabilities, shares.keep, shares.base, shares.costs)
    classes, positions, logits = aligned(classes, positions, logits, CUT)
    a = parameters_at(parameters, COUNT)
    size: tl.constexpr = CUT.tiles * CUT.lanes * CUT.width if CUT.across else CUT.tiles
    whole = classes // size * size
    loss_sum = tl.zeros((1 if CUT.across else CUT.lanes, 1), NUMBER)
    factor_sum = loss_sum
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        rows = rows_of(block, truth, positions, NUMBER, SHARED, CUT)
        shift = shift_of(logits, rows, CUT)
        y = one(rows.truth) if CUT.across else rows.truth
        line, lines = line_of(logits, rows, shift, CUT), lines_of(CUT)
        V = RowBlock(logits, shares, rows, y, line, lines, shift, classes, whole, None, a)
        found = tl.zeros_like(rows.factor)
        if CUT.across:
            if one(rows.counts.to(tl.int32)) > 0:
                found = with_margins(
                    V, upstream, gradient, F, D, CUT, NUMBER, GRADIENT, WEIGHED, ADD
                )
            else:
                if GRADIENT and not ADD:
                    write_zeros(V, gradient, F, CUT, NUMBER)
        else:
            found = with_margins(V, upstream, gradient, F, D, CUT, NUMBER, GRADIENT, WEIGHED, ADD)
        if LOSS:
            loss = tl.where(rows.counts, found * rows.weight, 0.0)
            if REDUCED:
                loss_sum += loss
                factor_sum += rows.factor
            else:
                place = out.losses + rows.number
                if ADD:
                    loss += tl.load(place, mask=rows.real, other=0.0)
                tl.store(place, loss, mask=rows.real)
    if LOSS and REDUCED:
        finish(out, tl.sum(loss_sum), tl.sum(factor_sum), MEAN, ADD, 256)


@triton.jit
def with_margins(V, upstream, gradient, F, D, CUT, NUMBER: tl.constexpr, GRADIENT: tl.constexpr,
                 WEIGHED: tl.constexpr, ADD: tl.constexpr):  # fmt: skip
    """``visited``, with the largest logit made known where margins are added."""
    if F.has_margin:
        highest = highest_of(V, F, D, CUT, NUMBER)
        V = RowBlock(
            V.logits, V.shares, V.rows, V.truth, V.line, V.lines, V.shift, V.classes, V.whole,
            highest, V.a,
        )  # fmt: skip
    return visited(V, upstream, gradient, F, D, CUT, NUMBER, GRADIENT, WEIGHED, ADD)
