# SPDX-License-Identifier: BSD-3-Clause
"""Calibration: logits corrected on held-out rows, so that their softmax deserves a Bayes decision.

All maps are linear in their parameters, so the cross-entropy they are fitted by is convex: there
is one best fit or none. It is found in float64, and where there is none (held-out rows without a
mistake, say) the fit says so instead of stopping somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = ["MatrixScaling", "TemperatureScaling", "VectorScaling"]


@dataclass
class TemperatureScaling:
    """Logits ÷ T, one temperature T > 0 for all classes; decisions by argmax do not change.

    ``fit(logits, target)`` minimises the mean cross-entropy of logits / T over 1/T, in which it is
    convex. It needs no row of every class. Calling the object gives logits / T, in the shape and
    dtype of the logits. ``TemperatureScaling(1.7)`` is a known temperature, without a fit.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, 4.2.

    >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    >>> calibration = lm.TemperatureScaling().fit(logits, torch.tensor([0, 0, 1, 1]))
    >>> print(f"{calibration.temperature:.4f}")  # 3 of 4 right: 4 / ln 3
    3.6410
    >>> calibration(logits).softmax(1)[0]
    tensor([0.7500, 0.2500])
    """

    temperature: float | None = None

    def fit(
        self, logits: Tensor, target: Tensor, *, ignore_index: int = -100
    ) -> TemperatureScaling:
        """Find T on held-out ``logits`` (N, C) or (N, C, d1 …) and class indices ``target``.

        Rows whose target is ``ignore_index`` do not count. Raises TypeError, ValueError or
        IndexError for unfit arguments, and ValueError where no temperature is best: no row is
        misclassified (T → 0), or the logits tell nothing about the target (T → ∞).
        """
        z, y = counted_rows(logits, target, ignore_index)
        beyond_truth = z - z.gather(1, y)  # of each class over the truth
        if not beyond_truth.any():
            raise ValueError(
                f"no temperature is best for these {len(z)} rows: the logits of each are equal, "
                "so the probabilities are, at every temperature; check that these are the logits"
            )
        if not (beyond_truth > 0).any():
            raise ValueError(
                f"no temperature is best for these {len(z)} rows: none is misclassified, so ever "
                "smaller ones fit ever better; fit on held-out rows that have some mistakes"
            )
        unit = z.var(1, correction=0).mean().rsqrt()
        slopes = unit * beyond_truth

        def derivatives(point: Tensor) -> _Derivatives:
            p = (point * slopes).softmax(1)
            slope = (p * slopes).sum(1, keepdim=True)
            curvature = (p * (slopes - slope).square()).sum(1).mean()
            return slope.mean(0), curvature.view(1, 1)

        # The slope at 1/T = 0 is the mean of what the classes are beyond the truth.
        informative = bool(beyond_truth.mean() < 0)
        inverse = _minimum(derivatives, z.new_zeros(1)).item() if informative else 0.0
        if not inverse > 0:  # or it is rounding that makes the slope negative
            raise ValueError(
                f"no temperature is best for these {len(z)} rows: on average the truth has no "
                "larger logit than the other classes; check that logits and target belong together"
            )
        self.temperature = 1 / (unit.item() * inverse)
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits / T. Raises RuntimeError before a fit."""
        if self.temperature is None:
            raise RuntimeError("this TemperatureScaling has no temperature yet: call fit first")
        return logits / self.temperature


@dataclass(eq=False)
class VectorScaling:
    """Logits · scale + bias with a scale and a bias per class: 2 C parameters.

    The biases can also mend class frequencies that differ from those of training, which one
    temperature cannot. ``fit(logits, target)`` minimises the mean cross-entropy, which is convex in
    scale and bias; the biases sum to 0, for a common one changes no probability. Calling the object
    gives the calibrated logits, in the shape and dtype of the logits. A Newton step takes a matrix
    of 2 C × 2 C: it is meant for up to some thousand classes.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, 4.2.

    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    >>> calibration = lm.VectorScaling().fit(logits, torch.tensor([0, 1, 1, 0, 1]))
    >>> calibration(logits).softmax(1)[:2]  # 1 of 2 and 1 of 3 are of class 0
    tensor([[0.5000, 0.5000],
            [0.3333, 0.6667]])
    """

    scale: Tensor | None = None
    bias: Tensor | None = None

    def fit(self, logits: Tensor, target: Tensor, *, ignore_index: int = -100) -> VectorScaling:
        """Find scale and bias on held-out ``logits`` (N, C) or (N, C, d1 …) and class indices.

        Rows whose target is ``ignore_index`` do not count. Raises TypeError, ValueError or
        IndexError for unfit arguments, and ValueError where no parameters are best: a class is
        absent (its bias → −∞), or the scaled logits tell some class from the others without error.
        """
        z, y = counted_rows(logits, target, ignore_index)
        N, C = z.shape
        absent = [j for j, count in enumerate(y.flatten().bincount(minlength=C)) if count == 0]
        if absent:
            raise ValueError(
                f"VectorScaling needs rows of every class, but none of the {N} rows is of class "
                f"{', '.join(map(str, absent))}: use TemperatureScaling, or other held-out rows"
            )
        center, spread = z.mean(0), z.std(0, correction=0)
        spread = spread.where(z.amax(0) > z.amin(0), 1)  # not > 0: a constant's may be rounding
        x = (z - center) / spread

        features = torch.stack([x, torch.ones_like(x)])  # (2, N, C): of scale and of bias

        def in_full(full: Tensor) -> _Derivatives:
            """The derivatives in scale and bias of the standardised logits."""
            score = (features * full.view(2, 1, C)).sum(0)
            p = score.softmax(1)
            others = p.scatter(1, y, 0)
            excess = others.scatter(1, y, -others.sum(1, keepdim=True))  # p − 1 at y, not cancelled
            seen = (p * features).movedim(0, 1).flatten(1)
            own = torch.einsum("anc,bnc,nc->abc", features, features, p).diag_embed()
            curvature = own.movedim(1, 2).reshape(2 * C, 2 * C) - seen.mT @ seen
            return (excess * features).sum(1).flatten() / N, curvature / N

        # Coordinates in which the curvature at equal probabilities is 1, without the directions
        # (a common bias, a logit that never varies) that change no probability.
        values, vectors = _eigh(in_full(z.new_zeros(2 * C))[1])
        kept = values > values[-1] * N * torch.finfo(values.dtype).eps
        basis = vectors[:, kept] * values[kept].rsqrt()

        def derivatives(point: Tensor) -> _Derivatives:
            gradient, curvature = in_full(basis @ point)
            return basis.mT @ gradient, basis.mT @ curvature @ basis

        full = basis @ _minimum(derivatives, z.new_zeros(basis.shape[1]))
        scale = full[:C] / spread
        bias = full[C:] - scale * center
        self.scale, self.bias = scale, bias - bias.mean()
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits · scale + bias. Raises RuntimeError before a fit, ValueError for another C."""
        if self.scale is None or self.bias is None:
            raise RuntimeError("this VectorScaling has no parameters yet: call fit first")
        rows = classes_last(logits, len(self.scale), "VectorScaling")
        scale, bias = self.scale.to(logits.device), self.bias.to(logits.device)
        made = rows * scale + bias
        return made.movedim(-1, min(1, logits.dim() - 1)).to(logits.dtype)


@dataclass(eq=False)
class MatrixScaling:
    """log softmax(logits / T) · matrix + bias: what each class says of all others.

    ``fit(logits, target)`` finds T as ``TemperatureScaling`` does, and then minimises, over a
    common scale s, a matrix U (C, C) and a bias b,

        mean cross-entropy of s ℓ + (ℓ − mean ℓ) U / 2 + b  +  ridge / 2N · ((s − 1)² + Σ U² + Σ b²)

    with ℓ = max(log softmax(logits / T), −12): convex, and pulled towards temperature scaling, so
    that few rows change little. It mends confusions that are systematic, for a model that cannot
    learn them: fit it on rows that were not trained on, best on logits of all rows out of folds.
    C² + C + 1 parameters: it is meant for up to some hundred classes. Calling the object gives the
    calibrated logits, in the shape and dtype of the logits.

    Source: Kull, Perelló Nieto, Kängsepp, Silva Filho, Song and Flach (2019), Beyond temperature
    scaling, section 3, with another ridge.

    >>> logits = torch.tensor([[4.0, 0.0], [0.0, 4.0]]).repeat(500, 1)
    >>> target = torch.tensor([0, 0, 0, 1]).repeat(250)  # class 1 is right half of the time
    >>> calibration = lm.MatrixScaling().fit(logits, target)
    >>> print(f"{calibration(logits[1:2]).softmax(1)[0, 1].item():.2f}")
    0.50
    """

    ridge: float = 3.0
    temperature: float | None = None
    matrix: Tensor | None = None
    bias: Tensor | None = None

    def fit(self, logits: Tensor, target: Tensor, *, ignore_index: int = -100) -> MatrixScaling:
        """Find temperature, matrix and bias on held-out ``logits`` (N, C) or (N, C, d1 …).

        Rows whose target is ``ignore_index`` do not count. Raises what ``TemperatureScaling.fit``
        raises, and ValueError for a ridge that is not positive.
        """
        if not 0 < self.ridge < math.inf:
            raise ValueError(f"ridge must be a positive and finite number, got {self.ridge}")
        scaling = TemperatureScaling().fit(logits, target, ignore_index=ignore_index)
        z, y = counted_rows(logits, target, ignore_index)
        N, C = z.shape

        def parts(point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return point[0], point[1 : 1 + C * C].view(C, C), point[1 + C * C :]

        def objective(point: Tensor) -> Tensor:
            s, U, b = parts(point)
            value = cross_entropy(s * logs + centred @ U + b, y.squeeze(1))
            return value + self.ridge / (2 * N) * (point - start).square().sum()

        with torch.inference_mode(False), torch.enable_grad():
            z, y = z.clone(), y.clone()  # inference tensors have no gradient
            logs = floored(scaling(z))
            mean = logs.mean(0)
            centred = (logs - mean) / 2
            start = z.new_zeros(1 + C * C + C)
            start[0] = 1.0
            s, U, b = parts(_descended(objective, start))
        self.temperature, self.matrix = scaling.temperature, s * torch.eye(C).to(U) + U / 2
        self.bias = b - mean @ U / 2
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """The calibrated logits. Raises RuntimeError before a fit, ValueError for another C."""
        if self.temperature is None or self.matrix is None or self.bias is None:
            raise RuntimeError("this MatrixScaling has no parameters yet: call fit first")
        rows = classes_last(logits, len(self.bias), "MatrixScaling")
        logs = floored(rows.double() / self.temperature)
        made = logs @ self.matrix.to(logits.device) + self.bias.to(logits.device)
        return made.movedim(-1, min(1, logits.dim() - 1)).to(logits.dtype)


LEAST_LOG = -12.0  # what a class says of others says no more below e^−12


def floored(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1).clamp(min=LEAST_LOG)


def classes_last(logits: Tensor, count: int, name: str) -> Tensor:
    """Logits (…, C), of as many classes as a map was fitted to."""
    class_dim = min(1, logits.dim() - 1)
    if logits.shape[class_dim] != count:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have {logits.shape[class_dim]} classes on "
            f"dim {class_dim}, but this {name} was fitted to {count}"
        )
    return logits.movedim(class_dim, -1)


def _descended(objective: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where a strictly convex function is least, by L-BFGS with a line search."""
    point = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [point],
        max_iter=2000,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(point)
        (point.grad,) = torch.autograd.grad(value, point)
        return value

    optimizer.step(closure)  # pyright: ignore[reportUnknownMemberType]
    (slope,) = torch.autograd.grad(objective(point), point)
    if not bool(slope.abs().max() < 1e-6):
        raise ValueError(
            "the fit did not end: the objective still falls after 2,000 steps; use a larger ridge, "
            "or TemperatureScaling"
        )
    return point.detach()


_Factors = Callable[[Tensor], tuple[Tensor, Tensor]]
# torch.linalg carries no types
_eigh = cast(_Factors, torch.linalg.eigh)  # pyright: ignore[reportUnknownMemberType]
_cholesky_ex = cast(_Factors, torch.linalg.cholesky_ex)  # pyright: ignore[reportUnknownMemberType]

_Derivatives = tuple[Tensor, Tensor]  # gradient and curvature at a point


def _minimum(derivatives: Callable[[Tensor], _Derivatives], start: Tensor) -> Tensor:
    """Where a convex function is least, by Newton's method with steps cut where they overshoot.

    A step that ends before the lowest point on its way has surely gone down, whatever rounding says
    of the values; beyond that point all probabilities may be 0 or 1 and the curvature lost.
    Near a minimum every step is about the square of the one before; on the way to infinity steps
    keep their size while the gradient dies all the same. So it is the step that has to get small.
    """
    point = start
    gradient, curvature = derivatives(point)
    for _ in range(100):
        factor, failed = _cholesky_ex(curvature)
        if failed:
            break
        step = torch.cholesky_solve(gradient.unsqueeze(1), factor).squeeze(1)
        if step @ step <= 1e-16 * (1 + point @ point):
            return point - step
        while (ahead := derivatives(point - step))[0] @ step < 0:
            step = step / 2
        point = point - step
        gradient, curvature = ahead
    raise ValueError(
        "no finite parameters are best: the logits tell some class from the others without error "
        "on these rows, so ever larger parameters fit ever better; use more held-out rows, or "
        "TemperatureScaling"
    )


def counted_rows(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """The rows that count, in float64 (N, C), and their classes (N, 1)."""
    if not logits.is_floating_point() or target.is_floating_point():
        raise TypeError(
            "a fit needs floating-point logits and integer class indices as target, got "
            f"{logits.dtype} and {target.dtype}"
        )
    if logits.dim() < 2 or target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            "a fit needs logits (N, C) or (N, C, d1 …) and target (N) or (N, d1 …), got shapes "
            f"{tuple(logits.shape)} and {tuple(target.shape)}"
        )
    y = target.flatten().long()
    counts = y != ignore_index
    z, y = logits.detach().movedim(1, -1).flatten(0, -2)[counts].double(), y[counts]
    if not len(y):
        raise ValueError(f"a fit needs rows, and every target is ignore_index ({ignore_index})")
    if not z.isfinite().all():
        raise ValueError("a fit needs finite logits, got infinite ones or NaN: leave them out")
    if not ((y >= 0) & (y < z.shape[1])).all():
        raise IndexError(
            f"target must be a class index from 0 to {z.shape[1] - 1}, got values from "
            f"{y.min().item()} to {y.max().item()}; a label that marks rows to leave out, such as "
            "255, is passed as ignore_index"
        )
    return z, y.unsqueeze(1)
