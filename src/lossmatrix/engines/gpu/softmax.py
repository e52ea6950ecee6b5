# SPDX-License-Identifier: BSD-3-Clause
"""The algebra of a row, on tiles of rows × classes; no loss and no kind of costs is known here.

What belongs to a row has shape (R, 1), to a class (1, K), to both (R, K).

With the top class m and the second largest logit z_s, let e_j = exp(z_j − z_s) ≤ 1 for j ≠ m, rest
their sum, and odds = exp(z_s − z_m) · rest the odds against the top class. Then

    p_m = 1 / (1 + odds)        q_m = odds / (1 + odds)
    p_j = e_j · share           share = exp(z_s − z_m) / (1 + odds)

to full precision at any gap: rest is at least 1, so where the odds themselves underflow their
logarithm (z_s − z_m) + log rest does not. With h the slope of a term along log(p/q), pull = h / q,
R = Σ_{j≠m} pull_j, the gradient is

    g_m = h_m − p_m R           g_j = pull_j − e_j · steepness,   steepness = share · R + h_m / rest

One exponential per element serves it all. Truth and top class are set apart: the formula has other
words for the truth, and 1 − p is exact for all classes but the top.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from lossmatrix.engines.gpu.math import INF, log1p, log_one_minus


class Cell(NamedTuple):
    """What a formula sees of a class: its costs, p, 1 − p and their logarithms; and of its row."""

    c: Any
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
    pull: Any
    pull_truth: Any
    slope: Any
    slope_truth: Any
    loss: Any
    partials: Any
    tilted: Any
    decisions: Any
    linear: Any
    one_phase: Any
    sums: Any


class Costs(NamedTuple):
    """A kind of costs: the function ``at(tables, truth, sample, j, inside)`` and its tables."""

    at: Any
    tables: Any


class TopTwo(NamedTuple):
    """The two largest of some logits, where the largest is, and Σ e over all but the largest."""

    top: Any
    index: Any
    second: Any
    rest: Any


class SoftmaxStats(NamedTuple):
    """How far the top class is ahead: what turns another logit into log p, and e into p."""

    origin: Any  # z_m
    log_sum: Any  # log(1 + odds)
    share: Any
    c: Any  # the costs of the top class


class BackwardStats(NamedTuple):
    """What the gradient needs to know of a row besides."""

    steepness: Any
    pull_truth: Any
    gradient_top: Any


@triton.jit
def costs_at(costs, truth, sample, j, inside):
    """The costs of deciding j, one for each stream."""
    found = ()
    for i in tl.static_range(len(costs)):
        found = found + (costs[i].at(costs[i].tables, truth, sample, j, inside),)
    return found


@triton.jit
def set_apart(truth, F):
    """The class that the formula has other words for: any will do where cells are decisions."""
    return truth * 0 if F.decisions else truth


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
def top_two(z, j, first):
    """The lead in a tile of logits of classes j, from ``first`` on; and e, 0 at the top."""
    top, place = tl.max(z, 1, return_indices=True, keep_dims=True)
    index = first + place
    others = tl.where(j == index, -INF, z)
    second = tl.max(others, 1, keep_dims=True)
    e = tl.exp(others - finite(second))
    return TopTwo(top, index, second, tl.sum(e, 1, keep_dims=True)), e


@triton.jit
def sums_where(counts, values):
    """The sum over the classes that count, of each value."""
    found = ()
    for i in tl.static_range(len(values)):
        found = found + (tl.sum(tl.where(counts, values[i], 0.0), 1, keep_dims=True),)
    return found


@triton.jit
def make_cell(c, e, z, ahead):
    """Classes other than the top one as the formula sees them; all of them have p ≤ ½."""
    p = e * ahead.share
    log_p = (z - ahead.origin) - ahead.log_sum
    return Cell(c, p, 1.0 - p, log_p, log_one_minus(p), ahead.c, ahead.origin + ahead.log_sum)


@triton.jit
def softmax_stats(c, found):
    """The top class as the formula sees it, and what the others need of it."""
    # an infinite top is a logit that has overflowed, and makes NaN of all, as in PyTorch
    gap = (found.second - found.top) + (found.top - found.top)
    ahead = tl.exp(gap)
    odds = ahead * found.rest
    p = 1.0 / (1.0 + odds)
    log_sum = log1p(odds)
    log_odds = gap + tl.log(found.rest)
    log_q = tl.where(odds >= 1.0, log_one_minus(tl.minimum(p, 0.5)), log_odds - log_sum)
    at_top = Cell(c, p, odds * p, -log_sum, log_q, c, found.top + log_sum)
    return at_top, SoftmaxStats(found.top, log_sum, ahead * p, c)


@triton.jit
def all_terms(F, bulk, at_top, at_truth, same, a):
    """The sums of the bulk with the terms of the top class and of the truth added."""
    plain, truth, both = F.terms(at_top, a), F.terms_truth(at_truth, a), F.terms_truth(at_top, a)
    found = ()
    for i in tl.static_range(F.sums):
        found = found + (bulk[i] + tl.where(same, both[i], plain[i] + truth[i]),)
    return found


@triton.jit
def finalize(F, found, ahead, at_top, at_truth, same, pulls, a, f):
    """The row, from the sum of the bulk's pulls."""
    pull_truth = tl.where(same, 0.0, F.pull_truth(at_truth, a, f))
    h = tl.where(same, F.slope_truth(at_top, a, f), F.slope(at_top, a, f))
    total = pulls + pull_truth
    alone = found.rest == 0.0
    steepness = ahead.share * total + tl.where(alone, 0.0, h / tl.where(alone, 1.0, found.rest))
    return BackwardStats(steepness, pull_truth, h - at_top.p * total)


@triton.jit
def gradient(F, row, cell, e, is_top, is_truth, a, f):
    """The gradient of a tile of classes, of whose ``cell`` only the bulk is looked at."""
    pull = tl.where(is_truth, row.pull_truth, F.pull(cell, a, f))
    return tl.where(is_top, row.gradient_top, pull - e * row.steepness)
