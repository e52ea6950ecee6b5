# SPDX-License-Identifier: BSD-3-Clause
"""The words of the formula language on a GPU: what printed formulas may call.

Built from exp and log alone, because the interpreter knows no other functions.
"""

from __future__ import annotations

import triton
import triton.language as tl

INF = tl.constexpr(float("inf"))
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def exp(x):
    """Exponential; in float32 a product and one instruction, for which subnormal numbers are 0."""
    return tl.exp(x) if x.dtype == tl.float64 else tl.exp2(x * LOG2_E)


@triton.jit
def log(x):
    """Natural logarithm."""
    return tl.log(x)


@triton.jit
def log1p(x):
    """log(1 + x): the rounding error of u = 1 + x is put back to first order."""
    u = 1.0 + x
    return tl.where(u == 0, -INF, tl.where(u == INF, INF, tl.log(u) + (x - (u - 1.0)) / u))


@triton.jit
def expm1(x):
    """exp(x) − 1: with u = exp x, (u − 1) · x / log u, in which the errors of u cancel."""
    u = exp(x)
    near = (u - 1.0) * (x / tl.log(u))
    return tl.where(u == 1.0, x, tl.where((x < -1.0) | (x > 1.0), u - 1.0, near))


@triton.jit
def log_one_minus(p):
    """log(1 − p) for 0 ≤ p ≤ ½.

    It is −2 artanh s with s = p / (2 − p) ≤ ⅓, in float32 by its series: s^17 / 17 is below the
    rounding of s. The logarithm of the GPU's library branches, and costs twice as much.
    """
    if p.dtype == tl.float64:
        return log1p(-p)
    s = p / (2.0 - p)
    s2 = s * s
    series = 0.13333333
    for i in tl.static_range(6):
        series = series * s2 + 2.0 / (13 - 2 * i)
    return -s * (series * s2 + 2.0)


@triton.jit
def weigh(weight, value):
    """weight · value, where weight 0 beats an infinite value."""
    kept = tl.where(tl.abs(value) == INF, 0.0, value)
    return weight * tl.where(weight == 0, kept, value)


@triton.jit
def power(base, exponent):
    """base^exponent for base ≥ 0; below the smallest normal number 0, unless the exponent is 0."""
    least = 2.2250738585072014e-308 if base.dtype == tl.float64 else 1.1754943508222875e-38
    raised = exp(exponent * tl.log(base))
    return tl.where(tl.abs(base) < least, tl.where(exponent == 0, 1.0, 0.0), raised)


@triton.jit
def growth(weight, log_weight, exponent):
    """weight · (exp(exponent) − 1); the weight joins a large exponent before it is raised."""
    large = exponent > 1.0
    joined = exp(tl.where(large, log_weight + exponent, 0.0)) - weight
    return tl.where(large, joined, weight * expm1(tl.where(large, 0.0, exponent)))


@triton.jit
def constant(value, like):
    """A constant in the shape of a number."""
    return tl.zeros_like(like) + value


@triton.jit
def group(x):
    """A sum in brackets."""
    return x
