# SPDX-License-Identifier: BSD-3-Clause
"""Costs inside a kernel, by kind: D[truth, j] from what the kind knows, never from a C × C table.

``truth``, ``sample`` and ``j`` broadcast to the shape wanted; ``inside`` says which are real.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lossmatrix.engines.gpu.tiles import multiple


@triton.jit
def dense(tables, truth, sample, j, inside):
    """A table D: its pointer, its stride and what that is a multiple of."""
    row = truth.to(tl.int64) * multiple(tables[1], tables[2])
    return tl.load(tables[0] + row + j, mask=inside, other=0.0)


@triton.jit
def dense_turned(tables, truth, sample, j, inside):
    """The same for Dᵀ: pixels of many truths side by side ask for one class at a time."""
    row = j.to(tl.int64) * multiple(tables[1], tables[2])
    return tl.load(tables[0] + row + truth, mask=inside, other=0.0)


@triton.jit
def per_sample(tables, truth, sample, j, inside):
    """A row, or a whole table, for each sample: a pointer and the strides of sample, truth, j."""
    place = sample * tables[1] + truth.to(tl.int64) * tables[2] + j
    return tl.load(tables[0] + place, mask=inside, other=0.0)


@triton.jit
def zero_one(tables, truth, sample, j, inside):
    """1 for every mistake."""
    return tl.where(j == truth, 0.0, 1.0)


@triton.jit
def distance(tables, truth, j, inside):
    """Distance on a line of positions."""
    there = tl.load(tables[0] + j, mask=inside, other=0.0)
    return tl.abs(tl.load(tables[0] + truth) - there)


@triton.jit
def ordinal(tables, truth, sample, j, inside):
    """Distances of positions."""
    return distance(tables, truth, j, inside)


@triton.jit
def ordinal_squared(tables, truth, sample, j, inside):
    """Their squares."""
    d = distance(tables, truth, j, inside)
    return d * d


@triton.jit
def ordinal_power(tables, truth, sample, j, inside):
    """Another power of them."""
    d = distance(tables, truth, j, inside)
    return tl.where(d == 0.0, 0.0, tl.exp(tables[1] * tl.log(d)))


@triton.jit
def tree(tables, truth, sample, j, inside):
    """Σ over the nodes above the truth that do not hold j of what it costs to climb past them.

    Classes are ranked depth first, so that a node holds an interval of ranks. The tables are the
    ranks, and (C, depth) beginnings, ends and climbs of the nodes above each class.
    """
    rank = tl.load(tables[0] + j, mask=inside, other=0)
    cost = 0.0 * rank
    for level in tl.static_range(tables[4]):
        node = truth * tables[4] + level
        begin, end = tl.load(tables[1] + node), tl.load(tables[2] + node)
        climb = tl.load(tables[3] + node)
        cost += tl.where((rank < begin) | (rank >= end), climb, 0.0)
    return cost


@triton.jit
def sparse(tables, truth, sample, j, inside):
    """One cost for all mistakes but the exceptions, which lie together for each truth.

    The tables are the default cost, the beginnings (C + 1,) of the truths' exceptions, their
    decisions and costs, and the largest number of exceptions that a truth has.
    """
    cost = tl.where(j == truth, 0.0, tl.load(tables[0]))
    begin, end = tl.load(tables[1] + truth), tl.load(tables[1] + truth + 1)
    for slot in range(tables[4]):
        there = begin + slot < end
        decision = tl.load(tables[2] + begin + slot, mask=there, other=-1)
        exception = tl.load(tables[3] + begin + slot, mask=there, other=0.0)
        cost = tl.where(j == decision, exception, cost)
    return cost


@triton.jit
def affine(tables, truth, sample, j, inside):
    """factor · base + offset of the truth."""
    base = tables[0].at(tables[0].tables, truth, sample, j, inside)
    return tl.load(tables[1]) * base + tl.load(tables[2] + truth)


@triton.jit
def off_the_truth(tables, truth, sample, j, inside):
    """The base, and 0 for the truth itself."""
    base = tables[0].at(tables[0].tables, truth, sample, j, inside)
    return tl.where(j == truth, 0.0, base)
