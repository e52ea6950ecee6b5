# SPDX-License-Identifier: BSD-3-Clause
"""The derivative of a loss: its formula run on dual numbers, then assembled over the row.

Let a = log(p/q) be the one-against-rest logit of a class. Along it p and q change as dp = p q,
dq = −p q, d log p = q, d log q = −p: four bounded slopes. Running ``term`` on numbers that carry
them gives h_j = ∂term_j/∂a_j, which stays bounded where ∂term/∂p = h/(p q) does not.

From ∂ℓ/∂z_k = Σ_j h_j/(p_j q_j) ∂p_j/∂z_k and ∂p_j/∂z_k = p_j (1[j=k] − p_k), with the top class m
kept apart (only there can q be small) and s = softmax over the classes k ≠ m:

    g_m = h_m − p_m R              R = Σ_{j≠m} h_j / q_j        (q_j ≥ ½ for j ≠ m)
    g_k = h_k / q_k − p_k R − h_m s_k

No 1/q_m is ever formed, so the gradient is exact at any gap between the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from lossmatrix.losses.base import Loss, as_tuple
from lossmatrix.losses.language import Cells, growth, power, weigh


@dataclass(frozen=True)
class Dual:
    """A number and its slope; both may be tensors or symbols."""

    value: Tensor
    slope: Tensor

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __add__(self, other: Dual | Tensor | float) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.slope + other.slope)
        return Dual(self.value + other, self.slope)

    def __sub__(self, other: Dual | Tensor | float) -> Dual:
        return self + -other

    def __rsub__(self, other: Tensor | float) -> Dual:
        return -self + other

    def __mul__(self, other: Dual | Tensor | float) -> Dual:
        if isinstance(other, Dual):
            slope = self.slope * other.value + self.value * other.slope
            return Dual(self.value * other.value, slope)
        return Dual(self.value * other, self.slope * other)

    def __truediv__(self, other: Dual | Tensor | float) -> Dual:
        if isinstance(other, Dual):
            ratio = self.value / other.value
            return Dual(ratio, (self.slope - ratio * other.slope) / other.value)
        return Dual(self.value / other, self.slope / other)

    def __rtruediv__(self, other: Tensor | float) -> Dual:
        ratio = other / self.value
        return Dual(ratio, -ratio * self.slope / self.value)

    __radd__ = __add__
    __rmul__ = __mul__

    def exp(self) -> Dual:
        """Exponential."""
        return Dual(self.value.exp(), self.value.exp() * self.slope)

    def expm1(self) -> Dual:
        """Exponential minus one."""
        return Dual(self.value.expm1(), self.value.exp() * self.slope)

    def log(self) -> Dual:
        """Natural logarithm."""
        return Dual(self.value.log(), self.slope / self.value)

    def log1p(self) -> Dual:
        """Natural logarithm of one more."""
        return Dual(self.value.log1p(), self.slope / (self.value + 1.0))

    def power(self, exponent: float) -> Dual:
        """``power`` of the formula language."""
        return _scaled_power(self, exponent, 1.0)

    def detach(self) -> Dual:
        """The same value, held constant."""
        return Dual(self.value.detach(), self.slope * 0.0)

    def weighed_by(self, weight: Dual | Tensor) -> Dual:
        """``weigh`` of the formula language; only the value can be infinite, slopes are bounded."""
        if isinstance(weight, Dual):
            slope = weight.value * self.slope + weigh(weight.slope, self.value)
            return Dual(weigh(weight.value, self.value), slope)
        return Dual(weigh(weight, self.value), weight * self.slope)

    def grown_by(self, log_weight: Dual, exponent: Dual | Tensor) -> Dual:
        """``growth`` of the formula language: d (w (eˣ − 1)) = w (eˣ − 1) d log w + w eˣ dx."""
        raised = exponent.value if isinstance(exponent, Dual) else exponent
        value = growth(self.value, log_weight.value, raised)
        slope = value * log_weight.slope
        if isinstance(exponent, Dual):
            slope = slope + (value + self.value) * exponent.slope
        return Dual(value, slope)


def _scaled_power(base: Any, exponent: Any, factor: Any) -> Any:
    """``factor · power(base, exponent)``; of a dual number, or of one made of dual numbers.

    The factors that exponents leave, e (e − 1) …, are multiplied before they meet a power that may
    be infinite: at e = 1 the second derivative is 0 and not 0 · ∞.
    """
    if isinstance(base, Dual):
        value = _scaled_power(base.value, exponent, factor)
        return Dual(
            value, _scaled_power(base.value, exponent - 1.0, factor * exponent) * base.slope
        )
    value = power(base, exponent)
    return (
        value if isinstance(factor, float) and factor == 1.0 else weigh(cast(Tensor, factor), value)
    )


def as_dual(number: Dual | Tensor | float, like: Tensor) -> Dual:
    """A dual number; constants have slope zero."""
    return number if isinstance(number, Dual) else Dual(number + like * 0.0, like * 0.0)


class _WithSlopes(Cells):
    """Cells some of whose words are dual numbers; the others are those of ``cell``."""

    def __init__(self, cell: Cells, **words: Dual) -> None:
        super().__init__(cell=cell, **words)

    def __getattr__(self, word: str) -> Any:
        return getattr(self.__dict__["cell"], word)


def terms_with_slopes(loss: Loss, cell: Cells) -> tuple[Dual, ...]:
    """Each summand of ``loss`` and its slope h along the one-against-rest logit."""
    pq = cell.p * cell.q
    dual = _WithSlopes(
        cell,  # of which top_cost is a constant: which class is top stays
        p=Dual(cell.p, pq),
        q=Dual(cell.q, -pq),
        log_p=Dual(cell.log_p, cell.q),
        log_q=Dual(cell.log_q, -cell.p),
        error=Dual(cell.error, pq),
    )
    return tuple(as_dual(each, cell.p) for each in as_tuple(loss.term(dual)))


def partials(loss: Loss, totals: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """∂loss/∂total for each of the sums."""

    def along(index: int) -> Tensor:
        seeded = (
            Dual(total, total * 0.0 + 1.0) if i == index else Dual(total, total * 0.0)
            for i, total in enumerate(totals)
        )
        value = loss.loss(*(cast(Tensor, each) for each in seeded))
        return as_dual(cast("Dual | Tensor", value), totals[0]).slope

    return tuple(along(index) for index in range(len(totals)))
