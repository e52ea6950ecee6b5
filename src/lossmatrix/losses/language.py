# SPDX-License-Identifier: BSD-3-Clause
"""The formula language: what a loss may say about one class of one row.

Glossary. A *row* is one sample: its logits z (C,), its truth y and its row of costs d = D[y]. With
p = softmax(z + margin) the formulas speak, for one class j of one row, about a *cell*:

    cost      d_j, what deciding j costs when the truth is y
    target    t_j, 1 at the truth and 0 elsewhere (or the probability that j is the truth)
    p, q      p_j and 1 − p_j        log_p, log_q    their logarithms
    error     p_j − t_j: −q_j at the truth, p_j elsewhere
    top_cost  the cost of the likeliest class of the row
    risk      c_j = Σ_i p_i D_ij, the conditional risk of deciding j
    excess    c_j − d_j = Σ_i (p_i − t_i) D_ij

The engine delivers all of them to full relative precision at any logits: q of the top class is the
sum of the others, never 1 − p, and neither error nor excess is a difference of what it is made of.
So a formula may be written as it stands in the book. Because it uses arithmetic only, the same
method runs on tensors (the reference engine), on dual numbers (its derivative) and on symbols (the
source of a kernel).
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor


class Cells:
    """The classes of all rows at once, as a formula sees them.

    Shapes: every word is (N, C), or broadcasts to it. Dual numbers and symbols stand in for the
    tensors where a derivative or a kernel is wanted; a formula cannot tell.
    """

    cost: Tensor
    target: Tensor
    p: Tensor
    q: Tensor
    log_p: Tensor
    log_q: Tensor
    top_cost: Tensor
    risk: Tensor
    excess: Tensor
    error: Tensor

    def __init__(self, **words: object) -> None:
        self.__dict__.update(words)


# --- the words that plain arithmetic lacks -------------------------------------------------------


class StandIn(Protocol):
    """What stands in for a tensor in a formula: a dual number or a symbol."""

    def weighed_by(self, weight: object) -> StandIn:
        """``weigh`` with this number as the value."""
        ...

    def power(self, exponent: float) -> StandIn:
        """``power`` with this number as the base."""
        ...

    def grown_by(self, log_weight: object, exponent: object) -> StandIn:
        """``growth`` with this number as the weight."""
        ...


def weigh(weight: Tensor, value: Tensor | StandIn) -> Tensor:
    """``weight · value`` in which zero weight beats an infinite value: 0 · ∞ = 0."""
    if isinstance(value, Tensor):
        return weight * torch.where((weight == 0) & value.isinf(), 0.0, value)
    return cast(Tensor, value.weighed_by(weight))


def power(base: Tensor | StandIn, exponent: float) -> Tensor:
    """``base ** exponent`` for base ≥ 0, with value and slope 0 at base 0 unless exponent is 0.

    A base below the smallest normal number of its dtype counts as 0: of it a negative power, which
    a slope may be, would overflow.
    """
    if isinstance(base, Tensor):
        if exponent == 0:
            return torch.ones_like(base)
        zero = base.abs() < torch.finfo(base.dtype).tiny
        return torch.where(zero, 0.0, torch.where(zero, 1.0, base) ** exponent)
    return cast(Tensor, base.power(exponent))


def growth(weight: Tensor | StandIn, log_weight: Tensor, exponent: Tensor) -> Tensor:
    """``weight · (exp(exponent) − 1)``, which neither cancels nor overflows before it must.

    Where the exponent is large the weight joins it, exp(log weight + exponent) − weight, so that a
    small weight may have an exponent whose exponential is no number any more.
    """
    if isinstance(weight, Tensor):
        direct = weight * exponent.clamp(max=1.0).expm1()
        joined = (log_weight + exponent).exp() - weight
        return torch.where(exponent > 1.0, joined, direct)
    return cast(Tensor, weight.grown_by(log_weight, exponent))
