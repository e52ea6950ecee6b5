# SPDX-License-Identifier: BSD-3-Clause
"""Calibration: logits corrected on held-out rows, so that their softmax deserves a Bayes decision.

All maps are linear in their parameters, so the cross-entropy they are fitted by is convex: there
is one best fit or none. It is found in float64, and where there is none (held-out rows without a
mistake, say) the fit says so instead of stopping somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lossmatrix.tensors import check_tensor

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

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a finite number > 0, got {self.temperature}")

    def fit(
        self, logits: Tensor, target: Tensor, *, ignore_index: int = -100
    ) -> TemperatureScaling:
        """Find T on held-out ``logits`` (N, C) or (N, C, d1 …) and class indices ``target``.

        Rows whose target is ``ignore_index`` do not count. Raises TypeError, ValueError or
        IndexError for unfit arguments, and ValueError where no temperature is best: no row is
        misclassified (T → 0), or the logits tell nothing about the target (T → ∞).
        """
        z, y = counted_rows(logits, target, ignore_index)
        z, unit = in_unit(z)
        below = z - z.amax(1, keepdim=True)  # of each class under the top
        truth = below.gather(1, y)
        mean = below.mean()
        if mean == 0:
            raise ValueError(
                f"no temperature is best for these {len(z)} rows: the logits of each are equal, "
                "so the probabilities are, at every temperature; check that these are the logits"
            )
        if not truth.any():
            raise ValueError(
                f"no temperature is best for these {len(z)} rows: none is misclassified, so ever "
                "smaller ones fit ever better; fit on held-out rows that have some mistakes"
            )
        # The slope at 1/T = 0 is the mean of what the classes are beyond the truth.
        informative = bool(mean < truth.mean())
        inverse = _inverse_temperature(below, truth) if informative else 0.0
        if not inverse > 0:  # or it is rounding that makes the slope negative
            raise ValueError(
                f"no temperature is best for these {len(z)} rows: on average the truth has no "
                "larger logit than the other classes; check that logits and target belong together"
            )
        self.temperature = unit / inverse
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits / T. Raises RuntimeError before a fit, TypeError for what are no logits.

        Raises ValueError for a T beyond the numbers of float32 and logits that are not in float64.
        """
        if self.temperature is None:
            raise RuntimeError("this TemperatureScaling has no temperature yet: call fit first")
        check_logits(logits)
        held = torch.finfo(torch.float32)
        if logits.dtype != torch.float64 and not held.tiny <= self.temperature <= held.max:
            raise ValueError(
                f"no logits in {logits.dtype} can be divided by {self.temperature:.4g}: give those "
                "in float64 that it was fitted to, or another temperature"
            )
        return logits / self.temperature


SKETCH = 20_000  # numbers: where a fit to so many rows ends, one to all of them begins
CACHED = 32_768  # numbers of one block, which stays in the cache while it is worked on


def _inverse_temperature(below: Tensor, truth: Tensor) -> float:
    """The 1/T of the best temperature, of logits (N, C) below their top, and of the truth's (N, 1).

    The slope in 1/T is the mean over rows of Σ p z − z_y, and the curvature that of the variance
    Σ p (z − Σ p z)². Some rows tell nearly where the minimum of all is.
    """
    N, C = below.shape
    if N * C > 4 * SKETCH:
        some = slice(None, None, N * C // SKETCH)
        try:
            start = _inverse_temperature(below[some], truth[some])
        except ValueError:  # among these is no mistake
            start = 0.0
    else:
        start = 0.0
    unit = below.square().mean().rsqrt() if start == 0 else below.new_tensor(start)
    rows = max(1, CACHED // C)

    def derivatives(point: Tensor) -> _Derivatives:
        slope, curvature = below.new_zeros(2)
        for begin in range(0, N, rows):
            z, own = below[begin : begin + rows], truth[begin : begin + rows]
            p = (z * (point * unit)).exp_()
            p /= p.sum(1, keepdim=True)
            expected = (p * z).sum(1, keepdim=True)
            slope += (expected - own).sum()
            curvature += p.mul_((z - expected).square_()).sum()
        return unit * slope.view(1) / N, unit.square() * curvature.view(1, 1) / N

    first = below.new_full((1,), 1.0 if start else 0.0)
    return (unit * _minimum(derivatives, first)).item()


@dataclass(eq=False)
class VectorScaling:
    """Logits · scale + bias with a scale and a bias per class: 2 C parameters.

    The biases can also mend class frequencies that differ from those of training, which one
    temperature cannot. ``fit(logits, target)`` minimises the mean cross-entropy, which is convex in
    scale and bias; the biases sum to 0, for a common one changes no probability. Calling the object
    gives the calibrated logits, in the shape and dtype of the logits.

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
        z, unit = in_unit(z)
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

        full = _stepwise(x, y) if C > DENSE_CLASSES else _at_once(in_full, 2 * C, N)
        scale = full[:C] / spread
        bias = full[C:] - scale * center
        self.scale, self.bias = scale / unit, bias - bias.mean()
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits · scale + bias. Raises RuntimeError before a fit, ValueError for another C."""
        if self.scale is None or self.bias is None:
            raise RuntimeError("this VectorScaling has no parameters yet: call fit first")
        rows = classes_last(logits, len(self.scale), "VectorScaling")
        scale, bias = self.scale.to(logits.device), self.bias.to(logits.device)
        made = rows * scale + bias
        return made.movedim(-1, min(1, logits.dim() - 1)).to(logits.dtype)


DENSE_CLASSES = 200  # of more the curvature, 2 C × 2 C, takes longer than many slopes


def _at_once(in_full: Callable[[Tensor], _Derivatives], size: int, N: int) -> Tensor:
    """Scale and bias where the cross-entropy is least, by Newton's method.

    In coordinates in which the curvature at equal probabilities is 1, without the directions (a
    common bias, a logit that never varies) that change no probability.
    """
    values, vectors = _eigh(in_full(torch.zeros(size, dtype=torch.float64))[1])
    kept = values > values[-1] * N * torch.finfo(values.dtype).eps
    basis = vectors[:, kept] * values[kept].rsqrt()

    def derivatives(point: Tensor) -> _Derivatives:
        gradient, curvature = in_full(basis @ point)
        return basis.mT @ gradient, basis.mT @ curvature @ basis

    return basis @ _minimum(derivatives, basis.new_zeros(basis.shape[1]))


def _stepwise(x: Tensor, y: Tensor) -> Tensor:
    """The same from slopes alone, in coordinates in which each class has about curvature 1.

    There may be no minimum: on the way to infinity slope and curvature die together, so a step of
    Newton's method for each class alone keeps its size, where near a minimum it is all but none.
    """
    N, C = x.shape
    rows = max(1, CACHED // C)

    def sums(full: Tensor, curved: bool) -> tuple[Tensor, Tensor]:
        """The derivatives (2, C) in scale and bias, and the curvature (C, 2, 2) in each pair."""
        scale, bias = full.view(2, C)
        slope, curvature = x.new_zeros(2, C), x.new_zeros(3, C)
        for first in range(0, N, rows):
            z, own = x[first : first + rows], y[first : first + rows]
            p = torch.addcmul(bias, z, scale).softmax(1)
            if curved:
                spread = p * (1 - p)
                curvature += torch.stack(
                    [(spread * z * z).sum(0), (spread * z).sum(0), spread.sum(0)]
                )
            others = p.scatter_(1, own, 0)
            excess = others.scatter_(1, own, -others.sum(1, keepdim=True))
            slope += torch.stack([(excess * z).sum(0), excess.sum(0)])
        return slope / N, curvature[[0, 1, 1, 2]].mT.reshape(C, 2, 2) / N

    try:
        temperature = TemperatureScaling().fit(x, y.squeeze(1)).temperature or 1.0
    except ValueError:  # a scale and a bias for each class may still be best
        temperature = 1.0
    begin = torch.cat([x.new_full((C,), 1 / temperature), x.new_zeros(C)])
    _, curvature = sums(begin, curved=True)
    unit = curvature.diagonal(dim1=1, dim2=2).amax()
    factor, _ = _cholesky_ex(curvature + 1e-6 * unit * torch.eye(2).to(x))
    inverse = _solve_triangular(factor, torch.eye(2).to(x).expand_as(factor), upper=False)

    def in_full(point: Tensor) -> Tensor:
        return begin + torch.einsum("cab,ac->bc", inverse, point.view(2, C)).flatten()

    def slope_at(point: Tensor) -> Tensor:
        slope, _ = sums(in_full(point), curved=False)
        return torch.einsum("cab,bc->ac", inverse, slope).flatten()

    full = in_full(_descended(slope_at, x.new_zeros(2 * C)))
    slope, curvature = sums(full, curved=True)
    step = slope.abs() / curvature.diagonal(dim1=1, dim2=2).mT.clamp(min=1e-300)
    if not bool((step < 1e-3).all()):
        raise ValueError(NO_BEST)
    return full


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

        logs = floored(scaling(z))
        mean = logs.mean(0)
        centred = (logs - mean) / 2
        start = z.new_zeros(1 + C * C + C)
        start[0] = 1.0

        def slope_at(point: Tensor) -> Tensor:
            s, U, b = parts(point)
            p = torch.addmm(s * logs + b, centred, U).softmax(1)
            excess = p.scatter_add(1, y, -torch.ones_like(p[:, :1])) / N
            own = [(excess * logs).sum().view(1), (centred.mT @ excess).flatten(), excess.sum(0)]
            return torch.cat(own) + self.ridge / N * (point - start)

        s, U, b = parts(_descended(slope_at, start))
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


def check_logits(logits: Tensor) -> None:
    """Refuse what are no logits: what is no tensor, a scalar, and whole numbers."""
    check_tensor("logits", logits)
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating-point, got {logits.dtype}: call .float()")
    if logits.dim() == 0:
        raise ValueError("expected logits of shape (C,), (N, C) or (N, C, d1 …), but got a scalar")


def in_unit(z: Tensor) -> tuple[Tensor, float]:
    """Logits as multiples of a power of two near the largest, for their squares to be numbers."""
    largest = max(map(abs, (edge.item() for edge in z.aminmax())))
    if 2.0**-200 < largest < 2.0**200 or largest == 0:
        return z, 1.0
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    return z / unit, unit


def classes_last(logits: Tensor, count: int, name: str) -> Tensor:
    """Logits (…, C), of as many classes as a map was fitted to."""
    check_logits(logits)
    class_dim = min(1, logits.dim() - 1)
    if logits.shape[class_dim] != count:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have {logits.shape[class_dim]} classes on "
            f"dim {class_dim}, but this {name} was fitted to {count}"
        )
    return logits.movedim(class_dim, -1)


MOST_STEPS = 2000
REMEMBERED = 30  # steps, from which the next one is made


def _descended(slope_at: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where a convex function is least, by L-BFGS from its slope alone.

    Steps are cut where they overshoot: no more than a fraction of the slope may be left beyond the
    lowest point on the way.

    Source: Nocedal (1980), Updating quasi-Newton matrices with limited storage.
    """
    point, slope = start, slope_at(start)
    taken: list[tuple[Tensor, Tensor]] = []  # steps, and what the slope changed along them
    for _ in range(MOST_STEPS):
        if bool(slope.abs().max() <= 1e-10):
            return point
        step = _quasi_newton(slope, taken[-REMEMBERED:])
        while (beyond := -(ahead := slope_at(point - step)) @ step) > BEYOND * (slope @ step):
            along = slope @ step
            step = step * (along / (along + beyond)).clamp(min=0.1)
        taken.append((step, slope - ahead))
        point, slope = point - step, ahead
    raise ValueError(
        f"the fit did not end: the objective still falls after {MOST_STEPS:,} steps; use a larger "
        "ridge where there is one, or TemperatureScaling"
    )


def _quasi_newton(slope: Tensor, taken: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The slope times the inverse curvature that the steps taken show, in two loops."""
    shares: list[Tensor] = []
    for step, change in reversed(taken):
        shares.append(step @ slope / (step @ change))
        slope = slope - shares[-1] * change
    if taken:
        step, change = taken[-1]
        slope = slope * (step @ change / (change @ change))
    for (step, change), share in zip(taken, reversed(shares), strict=True):
        slope = slope + (share - change @ slope / (step @ change)) * step
    return slope


_Factors = Callable[[Tensor], tuple[Tensor, Tensor]]
# torch.linalg carries no types
_eigh = cast(_Factors, torch.linalg.eigh)  # pyright: ignore[reportUnknownMemberType]
_solve_triangular = cast(Callable[..., Tensor], torch.linalg.solve_triangular)  # pyright: ignore[reportUnknownMemberType]
_cholesky_ex = cast(_Factors, torch.linalg.cholesky_ex)  # pyright: ignore[reportUnknownMemberType]

BEYOND = 0.25  # of the slope where a step begins, and of the step: how far beyond the lowest point
_Derivatives = tuple[Tensor, Tensor]  # gradient and curvature at a point


def _minimum(derivatives: Callable[[Tensor], _Derivatives], start: Tensor) -> Tensor:
    """Where a convex function is least, by Newton's method with steps cut where they overshoot.

    A step that ends before the lowest point on its way has surely gone down, whatever rounding says
    of the values; far beyond that point all probabilities may be 0 or 1 and the curvature lost. So
    what ends a little beyond it is kept, where the slope is little and slope over curvature, the
    way back, is little of the step. A steep slope cuts the step to where a straight one would be 0,
    at most in half; a flat one where curvature is lost tells nothing of the way, and cuts in half.
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
        ahead = derivatives(point - step)
        while (beyond := -ahead[0] @ step) > 0:
            slope = gradient @ step
            is_flat = beyond <= BEYOND * slope
            if is_flat and beyond <= BEYOND * (step @ ahead[1] @ step):
                break
            step = step * (0.5 if is_flat else (slope / (slope + beyond)).clamp(min=0.5))
            ahead = derivatives(point - step)
        point = point - step
        gradient, curvature = ahead
    raise ValueError(NO_BEST)


NO_BEST = (
    "no finite parameters are best: the logits tell some class from the others without error on "
    "these rows, so ever larger parameters fit ever better; use more held-out rows, or "
    "TemperatureScaling"
)


def counted_rows(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """The rows that count, in float64 (N, C), and their classes (N, 1)."""
    check_tensor("logits", logits)
    check_tensor("target", target)
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
    z = logits.detach().movedim(1, -1).flatten(0, -2)
    if not counts.all():
        z, y = z[counts], y[counts]
    z = z.double()
    if not len(y):
        raise ValueError(f"a fit needs rows, and every target is ignore_index ({ignore_index})")
    if not z.sum().isfinite() and not z.isfinite().all():  # most often the sum tells
        raise ValueError("a fit needs finite logits, got infinite ones or NaN: leave them out")
    if not ((y >= 0) & (y < z.shape[1])).all():
        raise IndexError(
            f"target must be a class index from 0 to {z.shape[1] - 1}, got values from "
            f"{y.min().item()} to {y.max().item()}; a label that marks rows to leave out, such as "
            "255, is passed as ignore_index"
        )
    return z, y.unsqueeze(1)
