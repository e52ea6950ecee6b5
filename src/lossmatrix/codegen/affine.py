# SPDX-License-Identifier: BSD-3-Clause
"""Formulas that are a + b p + c log p: run on numbers of that form, which shows a, b and c.

Sums of such a formula over some of the classes are known before p is: where p and log p of these
classes change by a factor and a summand, their sums do. Any other formula has to wait for p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from lossmatrix.losses.base import Loss, as_tuple
from lossmatrix.losses.language import Cells


class NotAffineError(Exception):
    """A formula is no sum of a multiple of p and one of log p."""


Coefficient = Tensor | float


@dataclass(frozen=True)
class Affine:
    """a + b p + c log p: stands in for a tensor in a formula whose parts these are."""

    constant: Coefficient = 0.0
    of_p: Coefficient = 0.0
    of_log_p: Coefficient = 0.0

    def __neg__(self) -> Affine:
        return self * -1.0

    def __add__(self, other: Affine | Coefficient) -> Affine:
        if not isinstance(other, Affine):
            other = Affine(other)
        return Affine(
            self.constant + other.constant,
            self.of_p + other.of_p,
            self.of_log_p + other.of_log_p,
        )

    def __sub__(self, other: Affine | Coefficient) -> Affine:
        return self + -other

    def __rsub__(self, other: Coefficient) -> Affine:
        return -self + other

    def __mul__(self, other: Coefficient) -> Affine:
        if isinstance(other, Affine):
            raise NotAffineError
        return Affine(*(_times(each, other) for each in self.parts))

    def __truediv__(self, other: Coefficient) -> Affine:
        return self * (1.0 / other)

    __radd__ = __add__
    __rmul__ = __mul__

    def weighed_by(self, weight: Tensor) -> Affine:
        """``weigh`` of the formula language: what has no weight may be infinite."""
        return self * weight

    def __getattr__(self, word: str) -> Any:
        raise NotAffineError  # a function of p that is no multiple of it

    @property
    def parts(self) -> tuple[Coefficient, Coefficient, Coefficient]:
        """a, b and c; 0.0 where a formula has no such part."""
        return self.constant, self.of_p, self.of_log_p


def _times(part: Coefficient, factor: Coefficient) -> Coefficient:
    return 0.0 if is_absent(part) else part * factor


def is_absent(part: Coefficient) -> bool:
    """Whether a formula has no such part."""
    return isinstance(part, float) and part == 0.0


def affine_terms(loss: Loss, cost: Tensor, target: Tensor) -> tuple[Affine, ...]:
    """The summands of a formula; NotAffineError where one is of another form."""
    cells = Cells(cost=cost, target=target, p=Affine(of_p=1.0), log_p=Affine(of_log_p=1.0))
    try:
        terms = as_tuple(loss.term(cells))
    except (AttributeError, TypeError) as other_word:  # q, log q, the error or the top cost
        raise NotAffineError from other_word
    return tuple(
        each if isinstance(each, Affine) else Affine(each)
        for each in cast("tuple[Affine | Tensor, ...]", terms)
    )
