# SPDX-License-Identifier: BSD-3-Clause
"""Tensors of a formula that are not made as long as only their sums over the classes are wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


class Deferred(ABC):
    """What stands for a tensor; operations that it does not know are done on that tensor."""

    @abstractmethod
    def tensor(self) -> Tensor:
        """The tensor it stands for."""

    def __neg__(self) -> Any:
        return -self.tensor()

    def __add__(self, other: Any) -> Any:
        return self.tensor() + other

    def __sub__(self, other: Any) -> Any:
        return self.tensor() - other

    def __rsub__(self, other: Any) -> Any:
        return other - self.tensor()

    def __mul__(self, other: Any) -> Any:
        return self.tensor() * other

    def __truediv__(self, other: Any) -> Any:
        return self.tensor() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.tensor()

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tensor(), name)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """An operation of PyTorch with a deferred tensor among its arguments."""
        del types
        if func in (Tensor.mul, Tensor.__mul__) and isinstance(args[1], Deferred):
            return args[1] * args[0]
        made = [arg.tensor() if isinstance(arg, Deferred) else arg for arg in args]
        return func(*made, **(kwargs or {}))


@dataclass(frozen=True, eq=False)
class AtTruth(Deferred):
    """A tensor (n, C) that is 0 but at one class of every row, of which only those are kept."""

    index: Tensor  # (n, 1)
    values: Tensor  # (n, 1)
    shape: torch.Size

    def tensor(self) -> Tensor:
        """All classes."""
        return self.values.new_zeros(self.shape).scatter(-1, self.index, self.values)

    def __neg__(self) -> AtTruth:
        return replace(self, values=-self.values)

    def __mul__(self, other: Tensor | float) -> AtTruth:
        if isinstance(other, Tensor):
            return self.weigh(other)
        return replace(self, values=self.values * other)

    def weigh(self, value: Tensor) -> AtTruth:
        """``weigh`` of the formula language with these weights, whose zeros beat any value."""
        at_truth = value.expand(self.shape).gather(-1, self.index)
        zero = (self.values == 0) & at_truth.isinf()
        return replace(self, values=self.values * torch.where(zero, 0.0, at_truth))

    def sum(self, dim: int) -> Tensor:
        """The sum of every row, (n,)."""
        return self.values.sum(dim)


LARGE = 1.0  # exponents above: exp(x) − 1 does not cancel
HUGE = 40.0  # exponents above: log(1 + exp x) is x to the last digit, also in float64


@dataclass(frozen=True, eq=False)
class Growth(Deferred):
    """``weight · (exp(exponent) − 1)``, of which nothing cancels.

    Where the exponent is large the weight joins it, exp(log weight + exponent) − weight, so that a
    small weight may have an exponent whose exponential is no number any more.
    """

    weight: Tensor
    log_weight: Tensor
    exponent: Tensor

    def tensor(self) -> Tensor:
        """All summands."""
        return self._less(torch.zeros_like(self.exponent[..., :1]))

    def _less(self, origin: Tensor) -> Tensor:
        """The summands divided by exp(origin), an origin of 0 or above ``HUGE``.

        What is no exponential counts for nothing beside a huge one.
        """
        weight = self.weight * (origin == 0)
        direct = weight * self.exponent.clamp(max=LARGE).expm1()
        joined = (self.log_weight + self.exponent - origin).exp() - weight
        return torch.where(self.exponent > LARGE, joined, direct)

    def sum(self, dim: int) -> GrowthSum:
        """The sum of every row."""
        highest = (self.log_weight + self.exponent).detach().amax(dim, keepdim=True)
        origin = torch.where(highest > HUGE, highest, 0.0)
        return GrowthSum(self._less(origin).sum(dim), origin.squeeze(dim))


@dataclass(frozen=True, eq=False)
class GrowthSum(Deferred):
    """A sum that may be too large for a number: ``total`` · exp(origin)."""

    total: Tensor
    origin: Tensor  # 0, or above ``HUGE``

    def tensor(self) -> Tensor:
        """The sum, infinite where it is too large."""
        return self.total * self.origin.exp()

    def log1p(self) -> Tensor:
        """log(1 + sum), which is finite where the sum is too large."""
        huge = self.origin > 0
        near = torch.where(huge, 0.0, self.total).log1p()
        far = torch.where(huge, self.total, 1.0).log() + self.origin
        return torch.where(huge, far, near)
