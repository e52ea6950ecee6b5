# SPDX-License-Identifier: BSD-3-Clause
"""Costs inside a kernel that are tables, or whose entry is no formula of two indices.

All others are printed from the formula of their kind, as functions of the same arguments.

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
def soft_targets(tables, truth, sample, j, inside):
    """exp((lowest − base) / temperature) · share: a softmax over the row.

    The tables are the base, the lowest cost and the share (C,) of each truth, and the temperature.
    """
    base = tables[0].at(tables[0].tables, truth, sample, j, inside)
    above = (base - tl.load(tables[1] + truth)) / tl.load(tables[3])
    return tl.exp(-above) * tl.load(tables[2] + truth)


@triton.jit
def power(base, exponent):
    """base^exponent for base ≥ 0 and exponent > 0.

    In double precision: a rounding of the logarithm would be as many as its size in the result.
    """
    raised = tl.exp(exponent * tl.log(base.to(tl.float64)))
    return tl.where(base == 0.0, 0.0, raised.to(base.dtype))
