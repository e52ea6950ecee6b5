# SPDX-License-Identifier: BSD-3-Clause
"""The algebra of a row; no loss, no kind of costs and no loop is known here.

With the top class m and the second largest logit z_s, let e_j = exp(z_j − z_s) ≤ 1 for j ≠ m, rest
their sum, and odds = exp(z_s − z_m) · rest the odds against the top class. Then

    p_m = 1 / (1 + odds)        q_m = odds / (1 + odds)
    p_j = e_j · share           share = exp(z_s − z_m) / (1 + odds)

to full precision at any gap: rest is at least 1, so where the odds themselves underflow their
logarithm (z_s − z_m) + log rest does not. With h the slope of a term along log(p/q),
grad_term = h / q and R = Σ_{j≠m} grad_term_j, the gradient is

    g_m = h_m − p_m R     g_j = grad_term_j − e_j · steepness     steepness = share · R + h_m / rest

One exponential per logit serves it all. The top class is set apart, because 1 − p is exact for all
others; and so is a truth that is a class, for which the formula has other words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from lossmatrix.engines.gpu.math import INF, exp, log1p, log_one_minus


class Cell(NamedTuple):
    """What a formula sees of a class: its costs, p, 1 − p and their logarithms; and of its row."""

    c: Any
    t: Any  # the probability that it is the truth, where that is no class
    p: Any
    q: Any
    lp: Any
    lq: Any
    tc: Any  # the costs of the top class
    lz: Any  # log Σ exp z


class KernelFormula(NamedTuple):
    """A printed formula: its functions, and what is known about it beforehand."""

    margin: Any
    margin_truth: Any
    terms: Any
    terms_truth: Any
    grad_term: Any
    grad_term_truth: Any
    grad_class: Any  # grad_term without the factor of the row, if that is alike for all classes
    row_factor: Any
    slope: Any
    slope_truth: Any
    loss: Any
    partials: Any
    has_margin: Any
    hard: Any  # whether the truth is a class
    decisions: Any
    one_visit: Any  # whether grad_class is known before the sums are
    linear_in_p: Any  # whether terms and grad_class are multiples of p
    only_target: Any  # whether classes other than top and truth contribute nothing
    sums: Any


class Costs(NamedTuple):
    """A kind of costs: the function ``at(tables, truth, sample, j, inside)`` and its tables."""

    at: Any
    tables: Any
    made: Any = 0  # 1 where the rows were made for this call


class TopTwo(NamedTuple):
    """The two largest of some logits, where the largest is, and Σ e over all but the largest."""

    top: Any
    index: Any
    second: Any
    rest: Any


class SoftmaxStats(NamedTuple):
    """How far the top class is ahead: what turns another logit into log p, and e into p."""

    top: Any
    shift: Any  # the origin of e
    log_sum: Any  # log(1 + odds)
    share: Any
    c: Any  # the costs of the top class


class BackwardStats(NamedTuple):
    """What the gradient needs to know of a row besides."""

    steepness: Any
    grad_term_truth: Any
    gradient_top: Any


@triton.jit
def costs_at(costs, truth, sample, j, inside):
    """The costs of deciding j, one for each stream."""
    found = ()
    for i in tl.static_range(len(costs)):
        found = found + (costs[i].at(costs[i].tables, truth, sample, j, inside),)
    return found


@triton.jit
def parameters_at(parameters, count: tl.constexpr):
    """The parameters of the formula."""
    found = ()
    for i in tl.static_range(count):
        found = found + (tl.load(parameters + i),)
    return found


@triton.jit
def finite(second):
    """An origin for exponents: the second logit, or 0 where all others are masked."""
    return tl.where(second == -INF, 0.0, second)


@triton.jit
def larger(top, second, index, other_top, other_second, other_index):
    """The two largest of two leads; of equal ones the first."""
    first = (top > other_top) | ((top == other_top) & (index < other_index))
    loser = tl.minimum(top, other_top)
    second = tl.maximum(tl.maximum(second, other_second), loser)
    return tl.maximum(top, other_top), second, tl.where(first, index, other_index)


@triton.jit
def combine(found, more):
    """Two leads as one; and what the logits of either, and the lesser top, are scaled with."""
    top, second, index = larger(
        found.top, found.second, found.index, more.top, more.second, more.index
    )
    shift = finite(second)
    before, after = exp(found.second - shift), exp(more.second - shift)
    e = exp(tl.minimum(found.top, more.top) - shift)  # the lesser top is an other now
    rest = found.rest * before + more.rest * after + e
    return TopTwo(top, index, second, rest), before, after, e


@triton.jit
def added(some, more):
    """Sums and sums."""
    found = ()
    for i in tl.static_range(len(some)):
        found = found + (some[i] + more[i],)
    return found


@triton.jit
def scaled(sums, factor):
    """Each of the sums times a factor."""
    found = ()
    for i in tl.static_range(len(sums)):
        found = found + (sums[i] * factor,)
    return found


@triton.jit
def kept_where(counts, values):
    """The values where they count, and 0."""
    found = ()
    for i in tl.static_range(len(values)):
        found = found + (tl.where(counts, values[i], 0.0),)
    return found


@triton.jit
def contributions(F, cell, a):
    """What a class adds to the sums, and to that of grad_class where it is known so early."""
    if F.one_visit:
        return F.terms(cell, a) + (F.grad_class(cell, a),)
    else:
        return F.terms(cell, a)


@triton.jit
def multiple_of_p(c, t, e):
    """A cell for a formula that is a multiple of p, with e in the place of p."""
    return Cell(c, t, e, e, e, e, c, e)


@triton.jit
def make_cell(c, t, p, z, ahead):
    """Classes other than the top one as the formula sees them; all of them have p ≤ ½."""
    log_p = (z - ahead.top) - ahead.log_sum
    return Cell(c, t, p, 1.0 - p, log_p, log_one_minus(p), ahead.c, ahead.top + ahead.log_sum)


@triton.jit
def softmax_stats(c, t, found):
    """The top class as the formula sees it, and what the others need of it."""
    # an infinite top is a logit that has overflowed, and makes NaN of all, as in PyTorch
    gap = (found.second - found.top) + (found.top - found.top)
    ahead = exp(gap)
    odds = ahead * found.rest
    p = 1.0 / (1.0 + odds)
    log_sum = log1p(odds)
    log_odds = gap + tl.log(found.rest)
    log_q = tl.where(odds >= 1.0, log_one_minus(tl.minimum(p, 0.5)), log_odds - log_sum)
    at_top = Cell(c, t, p, odds * p, -log_sum, log_q, c, found.top + log_sum)
    return at_top, SoftmaxStats(found.top, finite(found.second), log_sum, ahead * p, c)


@triton.jit
def all_terms(F, bulk, at_top, at_truth, same, a):
    """The sums of the bulk with the terms of the top class and of the truth added."""
    found, plain = (), F.terms(at_top, a)
    if F.hard:
        truth, both = F.terms_truth(at_truth, a), F.terms_truth(at_top, a)
        for i in tl.static_range(F.sums):
            found = found + (bulk[i] + tl.where(same, both[i], plain[i] + truth[i]),)
    else:
        for i in tl.static_range(F.sums):
            found = found + (bulk[i] + plain[i],)
    return found


@triton.jit
def finalize(F, found, ahead, at_top, at_truth, same, total, a, f):
    """The row, from the sum of the bulk's grad_terms."""
    h, of_truth = F.slope(at_top, a, f), 0.0 * total
    if F.hard:
        of_truth = tl.where(same, 0.0, F.grad_term_truth(at_truth, a, f))
        h = tl.where(same, F.slope_truth(at_top, a, f), h)
        total += of_truth
    alone = found.rest == 0.0
    steepness = ahead.share * total + tl.where(alone, 0.0, h / tl.where(alone, 1.0, found.rest))
    return BackwardStats(steepness, of_truth, h - at_top.p * total)
