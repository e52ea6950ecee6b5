# SPDX-License-Identifier: BSD-3-Clause
"""The formula language of matrices: what a kind may say about one entry D[i, j].

``formula(i, j, load)`` is arithmetic on the truth i, the decision j and ``load(table, index)``, an
entry of one of the matrix's tables. A table of whole numbers may give the index of another. The
same method runs on tensors (rows of the reference) and on expressions (the source of a kernel),
so it may use arithmetic, ``abs``, ``exp``, ``log``, comparisons, the words below and plain Python
on what does not depend on i and j.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor


class Load(Protocol):
    """Reads tables of the matrix."""

    def __call__(self, name: str, index: Tensor | int = 0, /) -> Tensor:
        """The entry at ``index`` of the table ``name``."""
        ...


class EntryStandIn(Protocol):
    """What stands in for a tensor in a formula: an expression."""

    def where(self, a: object, b: object) -> EntryStandIn:
        """``where`` with this condition."""
        ...

    def minimum(self, other: object) -> EntryStandIn:
        """``minimum`` of this number and another."""
        ...

    def maximum(self, other: object) -> EntryStandIn:
        """``maximum`` of this number and another."""
        ...

    def power(self, exponent: float) -> EntryStandIn:
        """``power`` with this number as the base."""
        ...


def where(condition: Tensor | EntryStandIn, a: Tensor | float, b: Tensor | float) -> Tensor:
    """a where the condition holds, b elsewhere."""
    if isinstance(condition, Tensor):
        return torch.where(condition, a, b)
    return cast(Tensor, condition.where(a, b))


def minimum(a: Tensor | EntryStandIn, b: Tensor | float) -> Tensor:
    """The lesser of two numbers."""
    if isinstance(a, Tensor):
        return torch.minimum(a, torch.as_tensor(b, device=a.device))
    return cast(Tensor, a.minimum(b))


def maximum(a: Tensor | EntryStandIn, b: Tensor | float) -> Tensor:
    """The greater of two numbers."""
    if isinstance(a, Tensor):
        return torch.maximum(a, torch.as_tensor(b, device=a.device))
    return cast(Tensor, a.maximum(b))


def power(base: Tensor | EntryStandIn, exponent: float) -> Tensor:
    """``base ** exponent`` for base ≥ 0 and exponent > 0, to a few roundings of its dtype.

    Rounding the exponent or the logarithm of a number b to float32 would cost |log b| times as
    many, so it is taken in float64.
    """
    if isinstance(base, Tensor):
        return (base.double() ** exponent).to(base.dtype)
    return cast(Tensor, base.power(exponent))
