# SPDX-License-Identifier: BSD-3-Clause
"""Known answers: the losses as the books state them, in 130-digit decimals, naively.

Nothing here is shared with the library. With so many digits nothing cancels and nothing overflows,
so the formulas need no care: p is exp(z) over its sum, 1 − p is the sum of the others, gradients
are central differences. The error budget of a float computation comes from the same formulas: it
is how far the exact answer moves when every logit and every cost is off by one rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from functools import cache
from random import Random

import torch

import lossmatrix as lm

DIGITS = 130
STEP = Decimal("1e-20")  # of the central differences, whose error is its square
NOISE = 1e-100  # what digits are left for after differences: smaller slopes count as 0
ZERO, ONE = Decimal(0), Decimal(1)

Vector = list[Decimal]
Table = list[Vector]


@dataclasses.dataclass(frozen=True)
class Row:
    """One sample: logits z, truth y, costs D, p = softmax(z), q = 1 − p."""

    z: Vector
    y: int
    D: Table
    p: Vector
    q: Vector
    undisturbed: Row | None = None  # where a detached weight is read, under differences

    @property
    def d(self) -> Vector:
        return self.D[self.y]

    @property
    def classes(self) -> range:
        return range(len(self.z))


def row_of(z: Vector, y: int, D: Table, undisturbed: Row | None = None) -> Row:
    weight = [exp(x) for x in z]
    total = sum(weight)
    p = [w / total for w in weight]
    return Row(z, y, D, p, others(p), undisturbed)


def others(p: Vector) -> Vector:
    return [sum(p[:j] + p[j + 1 :], ZERO) for j in range(len(p))]


def dot(a: Vector, b: Vector) -> Decimal:
    """Σ a b, where nothing times infinity is nothing."""
    return sum((x * y for x, y in zip(a, b, strict=True) if x and y), ZERO)


@cache
def exp(x: Decimal) -> Decimal:
    return x.exp()


@cache
def log(x: Decimal) -> Decimal:
    return x.ln()


def minus_log(p: Vector) -> Vector:
    return [-log(x) for x in p]


def log_sum_exp(x: Vector) -> Decimal:
    return log(sum(map(exp, x)))


def through(D: Table, p: Vector) -> Vector:
    """p · D."""
    return [dot(p, list(column)) for column in zip(*D, strict=True)]


def unit(D: Table) -> Decimal:
    """Mean positive regret."""
    regrets = [x - min(row) for row in D for x in row if x > min(row)]
    return sum(regrets) / len(regrets) if regrets else ONE


# --- the formulas --------------------------------------------------------------------------------


def cross_entropy(row: Row) -> Decimal:
    return -log(row.p[row.y])


def pair_weighted_cross_entropy(row: Row) -> Decimal:
    return dot(row.d, minus_log(row.p))


def cost_sensitive_cross_entropy(row: Row) -> Decimal:
    return dot([max(row.d) - x for x in row.d], minus_log(row.p))


def soft_target_cross_entropy(row: Row, temperature: Decimal) -> Decimal:
    weight = [exp(-x / (temperature * unit(row.D))) for x in row.d]
    return dot([w / sum(weight) for w in weight], minus_log(row.p))


def expected_cost(row: Row) -> Decimal:
    return dot(row.d, row.p)


def unlikelihood(row: Row) -> Decimal:
    return sum((row.d[j] * -log(row.q[j]) for j in row.classes if j != row.y and row.d[j]), ZERO)


def softmax_margin(row: Row, **fields: bool) -> Decimal:
    z, y, d = row.z, row.y, row.d
    if fields["log"]:
        return log(ONE + sum((d[j] * exp(z[j] - z[y]) for j in row.classes if j != y), ZERO))
    return log_sum_exp([z[j] + d[j] for j in row.classes]) - z[y]


def cost_focal(row: Row, gamma: Decimal, detach: bool) -> Decimal:
    seen = row.undisturbed if detach and row.undisturbed is not None else row
    largest = max(max(each) for each in row.D)
    expected = dot(seen.d, seen.p) / largest if largest else ZERO
    weight = ONE if gamma == 0 else expected**gamma if expected else ZERO
    return weight * cross_entropy(row)


def energy_score(row: Row) -> Decimal:
    return dot(row.d, row.p) - dot(through(row.D, row.p), row.p) / 2


def decision_score(row: Row, tau: Decimal) -> Decimal:
    tau = tau * unit(row.D)
    risk = through(row.D, row.p)
    smoothed = log_sum_exp([-c / tau for c in risk])
    decision = [exp(-c / tau - smoothed) for c in risk]
    return -tau * smoothed + dot(decision, [d - c for d, c in zip(row.d, risk, strict=True)])


def entropic_risk(row: Row, lam: Decimal) -> Decimal:
    lam = lam / unit(row.D)
    return log(dot(row.p, [exp(lam * x) for x in row.d])) / lam


def similarity_likelihood(row: Row, tau: Decimal) -> Decimal:
    tau = tau * unit(row.D)
    return -log(dot(row.p, [exp(-x / tau) for x in row.d]))


FORMULAS: dict[str, Callable[..., Decimal]] = {
    "CrossEntropy": cross_entropy,
    "PairWeightedCrossEntropy": pair_weighted_cross_entropy,
    "CostSensitiveCrossEntropy": cost_sensitive_cross_entropy,
    "SoftTargetCrossEntropy": soft_target_cross_entropy,
    "ExpectedCost": expected_cost,
    "Unlikelihood": unlikelihood,
    "SoftmaxMargin": softmax_margin,
    "CostFocal": cost_focal,
    "EnergyScore": energy_score,
    "DecisionScore": decision_score,
    "EntropicRisk": entropic_risk,
    "SimilarityLikelihood": similarity_likelihood,
}


def value_of(loss: lm.Loss, row: Row) -> Decimal:
    """The loss of one row, a sum being the sum of its parts."""
    return sum((Decimal(scale) * summand(part, row) for scale, part in parts_of(loss)), ZERO)


def parts_of(loss: lm.Loss) -> Sequence[tuple[float, lm.Loss]]:
    """The losses that are added, and what multiplies each."""
    return getattr(loss, "parts", ((1.0, loss),))


def summand(loss: lm.Loss, row: Row) -> Decimal:
    """A loss that is no sum, of one row."""
    fields = {
        name: x if isinstance(x, bool) else Decimal(x)
        for name, x in vars(loss).items()
        if name in {field.name for field in dataclasses.fields(loss)}
    }
    return FORMULAS[type(loss).__name__](row, **fields)


# --- answers and their error budgets -------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Answer:
    """Exact value and gradient of one row, and how far one rounding of the inputs moves each.

    The sensitivities are per unit of relative error: an input error of eps moves the value by
    eps · value_sensitivity. ``gradient_parts`` are the sizes of what each slope is a sum of.
    """

    value: float
    gradient: list[float]
    value_sensitivity: float
    gradient_sensitivity: list[float]
    gradient_parts: list[float]
    p: list[float]


def answer(
    loss: lm.Loss, z: Sequence[float], truth: int | Sequence[float], D: Sequence[Sequence[float]]
) -> Answer:
    """The exact answer for logits ``z``, a truth or its probabilities, and costs ``D``."""
    return _answer(
        loss,
        tuple(z),
        truth if isinstance(truth, int) else tuple(truth),
        tuple(tuple(row) for row in D),
    )


def smoothed(truth: int, share: float, num_classes: int) -> list[float]:
    """t = (1 − ε) onehot + ε / C."""
    spread = share / num_classes
    return [1.0 - share + spread if i == truth else spread for i in range(num_classes)]


@cache
def _answer(
    loss: lm.Loss,
    z: tuple[float, ...],
    truth: int | tuple[float, ...],
    D: tuple[tuple[float, ...], ...],
) -> Answer:
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = DIGITS, MAX_EMAX, MIN_EMIN
        top = Decimal(max(z))
        logits = [Decimal(x) - top for x in z]  # what a float computation makes of them first
        table = [[Decimal(x) for x in row] for row in D]
        soft = not isinstance(truth, int)
        target = (
            [Decimal(x) for x in truth] if soft else [ONE * (i == truth) for i in range(len(z))]
        )
        row = row_of(logits, 0, table)
        if mixture(loss, logits, target, table).is_infinite():  # a masked class that it asks for
            none = [math.nan] * len(z)
            return Answer(math.inf, none, math.inf, none, none, [float(x) for x in row.p])
        value, gradient = _value_and_gradient(loss, logits, target, table)
        nudge = Decimal("1e-12")
        moved = [
            _value_and_gradient(
                loss,
                [x * (1 + nudge * _sign(way, j)) for j, x in enumerate(logits)],
                [x * (1 + nudge * soft * _sign(way, i, -1)) for i, x in enumerate(target)],
                [
                    [x * (1 + nudge * _sign(way, i, j)) for j, x in enumerate(row)]
                    for i, row in enumerate(table)
                ],
            )
            for way in range(WAYS)
        ]
        return Answer(
            float(value),
            [float(g) if abs(g) > NOISE else 0.0 for g in gradient],
            float(abs(value) + max(abs(v - value) for v, _ in moved) / nudge),
            [
                float(abs(g) + max(abs(other[k] - g) for _, other in moved) / nudge)
                for k, g in enumerate(gradient)
            ],
            [float(x) for x in _gradient_parts(loss, logits, target, table)],
            [float(x) for x in row.p],
        )


def answer_by_truths(
    loss: lm.Loss, z: Sequence[float], truth: int | Sequence[float], D: Sequence[Sequence[float]]
) -> Answer:
    """The answer; a loss that is evaluated truth by truth has the roundings of every truth."""
    exact = answer(loss, z, truth, D)
    if isinstance(truth, int) or loss.linear_in_truth:
        return exact
    each = [(t, answer(loss, z, i, D)) for i, t in enumerate(truth) if t]
    return dataclasses.replace(
        exact,
        value_sensitivity=sum(t * at.value_sensitivity for t, at in each),
        gradient_sensitivity=[
            sum(t * at.gradient_sensitivity[k] for t, at in each) for k in range(len(z))
        ],
    )


def precision(dtype: torch.dtype) -> tuple[float, float, float]:
    """One rounding of the computation, one of the output, and the least number kept in full."""
    computed = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    output = torch.finfo(dtype)
    rounding = 0.0 if output.eps == computed.eps else output.eps / 2
    return computed.eps, rounding, max(8 * output.smallest_normal, NOISE)


def halves(loss: lm.Loss, D: Sequence[Sequence[float]], size: float = 1.0) -> float:
    """What cancels in a decision score: two halves of size D, their slopes of size p · D."""
    scale = sum(factor for factor, part in parts_of(loss) if isinstance(part, lm.DecisionScore))
    return 2 * scale * size * max(abs(x) for row in D for x in row)


WAYS = 6  # directions in which inputs are nudged


@cache
def _sign(way: int, *place: int) -> int:
    """A fixed pattern of signs, another one for every way; way 0 nudges all the same way."""
    return 1 if way == 0 or Random(str((way, *place))).random() < 0.5 else -1


def mixture(
    loss: lm.Loss, z: Vector, target: Vector, D: Table, undisturbed: Vector | None = None
) -> Decimal:
    """The loss at probabilities of the truth: the mean of its values at each, Σ_i t_i ℓ(z; i)."""
    total = ZERO
    for y, share in enumerate(target):
        if share:
            before = None if undisturbed is None else row_of(undisturbed, y, D)
            total += share * value_of(loss, row_of(z, y, D, before))
    return total


def _value_and_gradient(
    loss: lm.Loss, z: Vector, target: Vector, D: Table
) -> tuple[Decimal, Vector]:
    def at(k: int, step: Decimal) -> Decimal:
        moved = [x + step if j == k else x for j, x in enumerate(z)]
        return mixture(loss, moved, target, D, z)

    gradient = [
        ZERO if x.is_infinite() else (at(k, STEP) - at(k, -STEP)) / (2 * STEP)
        for k, x in enumerate(z)
    ]
    return mixture(loss, z, target, D), gradient


def _gradient_parts(loss: lm.Loss, z: Vector, target: Vector, D: Table) -> Vector:
    """What the slopes are sums of, without the signs: nothing of it may cancel.

    ℓ depends on the logits through p, and dp_j = p_j ([j = k] − p_k) dz_k. So the slope along z_k
    is a sum over the truths, the losses that are added, and the classes j, with a part

        p_j ∂ℓ/∂p_j (1 − p_k) for j = k,    −p_j ∂ℓ/∂p_j p_k for j ≠ k

    from each. A computation rounds the parts one by one, and equal ones may leave nothing else.
    """
    sizes = [ZERO for _ in z]
    for y, share in enumerate(target):
        row = row_of(z, y, D)
        for scale, part in parts_of(loss) if share else ():
            for j in row.classes:
                along = abs(_along(part, row, j))
                for k in row.classes:
                    sizes[k] += Decimal(scale) * share * along * (row.q if j == k else row.p)[k]
    return sizes


def _along(loss: lm.Loss, row: Row, j: int) -> Decimal:
    """p_j ∂ℓ/∂p_j, where the p of no other class changes."""

    def at(step: Decimal) -> Decimal:
        p = [x * (1 + step) if i == j else x for i, x in enumerate(row.p)]
        return summand(loss, dataclasses.replace(row, p=p, q=others(p), undisturbed=row))

    return (at(STEP) - at(-STEP)) / (2 * STEP)
