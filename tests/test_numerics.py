# SPDX-License-Identifier: BSD-3-Clause
"""Values and gradients of every loss keep their digits at any gap, in any dtype.

The budget is derived, not picked: ROUNDINGS times what one rounding of the inputs does to the exact
answer, plus the one rounding of the output's own dtype, plus what is lost where numbers underflow.
"""

from __future__ import annotations

import math

import oracles
import pytest
import torch
from registry import (
    ASYMMETRIC,
    evaluate,
    every_engine,
    every_loss,
    probabilities,
    smoothed,
    table_for,
)
from torch import Tensor

import lossmatrix as lm
from lossmatrix.engines import ENGINES, Engine

ROUNDINGS = 4
GAPS = (0.0, 5.0, 10.0, 15.0, 17.0, 20.0, 60.0, 200.0, 9984.0)  # 10⁴ as bfloat16 can hold it
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
BASE = (0.0, -0.5, -1.25, 0.25)
TRUTH, COSTLY = 1, 3  # D[1, 3] is the costliest entry


def lead(leader: int, gap: float) -> list[float]:
    """Logits in which one class leads by about ``gap``."""
    return [gap if j == leader else x for j, x in enumerate(BASE)]


def tie_above(gap: float) -> list[float]:
    """Logits in which two wrong classes are nearly tied and the truth is far below."""
    return [0.0, -gap, -0.0078125, -1.25]


ROWS = [
    row for gap in GAPS for row in (lead(TRUTH, gap), lead(COSTLY, gap), tie_above(gap))
]  # every number in it is exact in all four dtypes


def value_and_gradient(
    engine: Engine,
    loss: lm.Loss,
    logits: Tensor,
    target: Tensor,
    costs: Tensor,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = evaluate(engine, loss, logits, target, costs, label_smoothing=label_smoothing)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


def close(computed: float, exact: float, sensitivity: float, dtype: torch.dtype) -> bool:
    eps, rounding, least = oracles.precision(dtype)
    if abs(exact) > torch.finfo(dtype).max:
        return computed == math.copysign(math.inf, exact)  # such as 6 · 10⁴ costs in float16
    budget = ROUNDINGS * eps * sensitivity + rounding * abs(exact) + least
    return abs(computed - exact) <= budget  # false for NaN


def assert_exact(
    engine: Engine,
    loss: lm.Loss,
    rows: list[list[float]],
    D: Tensor,
    dtype: torch.dtype,
    truth: int | list[float] = TRUTH,
    label_smoothing: float = 0.0,
) -> None:
    logits = torch.tensor(rows, dtype=dtype)
    if isinstance(truth, int):
        target = torch.full((len(rows),), truth)
    else:
        target = torch.tensor(truth, dtype=dtype).expand(len(rows), -1)
    value, gradient = value_and_gradient(engine, loss, logits, target, D, label_smoothing)
    if label_smoothing and isinstance(truth, int):
        truth = oracles.smoothed(truth, label_smoothing, len(D))
    assert value.dtype == gradient.dtype == dtype
    table = D.tolist()
    for i, z in enumerate(rows):
        exact = oracles.answer_by_truths(loss, z, truth, table)
        sensitivity = exact.value_sensitivity + oracles.halves(loss, table)
        assert close(value[i].item(), exact.value, sensitivity, dtype), (
            f"value {value[i].item()} of logits {z}, exactly {exact.value}"
        )
        if math.isinf(exact.value):
            continue  # no slope follows from it
        for k, (slope, sensitivity) in enumerate(
            zip(exact.gradient, exact.gradient_sensitivity, strict=True)
        ):
            sensitivity += oracles.halves(loss, table, exact.p[k])
            assert close(gradient[i, k].item(), slope, sensitivity, dtype), (
                f"slope {gradient[i, k].item()} along {k} of logits {z}, exactly {slope}"
            )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@every_loss
def test_values_and_gradients_are_within_a_few_roundings_of_the_exact_ones_at_every_gap(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    assert_exact(engine, loss, ROWS, table_for(loss), dtype)


PROBABILITIES = [[0.5, 0.25, 0.0625, 0.1875], [0.0, 0.75, 0.0, 0.25]]  # exact in all four dtypes


@probabilities
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@every_loss
def test_class_probabilities_lose_no_digits_at_any_gap(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    for target in PROBABILITIES:
        assert_exact(engine, loss, ROWS[::4], table_for(loss), dtype, target)


@smoothed
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@every_loss
def test_label_smoothing_loses_no_digits_at_any_gap(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    assert_exact(engine, loss, ROWS[::4], table_for(loss), dtype, TRUTH, label_smoothing=0.1)
    assert_exact(engine, loss, ROWS[1::8], table_for(loss), dtype, TRUTH, label_smoothing=1.0)


MORE_DECISIONS = torch.tensor(
    [
        [0.0, 1.0, 2.5, 4.0, 0.75, 3.25],
        [3.0, 0.0, 0.5, 6.0, 1.75, 0.25],
        [1.5, 5.0, 0.0, 2.0, 2.25, 4.25],
        [5.5, 4.5, 3.5, 0.0, 1.25, 2.75],
    ],
    dtype=torch.float64,
)  # 4 classes, 6 decisions, no two entries alike


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@pytest.mark.parametrize("loss", [lm.DecisionScore(), lm.DecisionScore(tau=1.5)], ids=repr)
def test_decisions_that_are_no_classes_keep_their_digits_in_the_decision_score(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    assert_exact(engine, loss, ROWS, MORE_DECISIONS, dtype)


@probabilities
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@pytest.mark.parametrize("loss", [lm.DecisionScore()], ids=repr)
def test_they_keep_them_under_class_probabilities_too(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    assert_exact(engine, loss, ROWS[::4], MORE_DECISIONS, dtype, PROBABILITIES[0])


PAIRS = [pair for gap in GAPS for pair in ([0.0, gap], [gap / 2, -gap / 2])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@every_loss
def test_two_classes_keep_their_digits_at_any_gap(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    D = table_for(loss)[:2, :2]
    rows = [*PAIRS, [-math.inf, 0.5], [0.5, -math.inf]]
    for truth in (0, 1):
        assert_exact(engine, loss, rows, D, dtype, truth)


@probabilities
@smoothed
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
@every_loss
def test_so_they_do_with_shares_of_the_truth(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    D = table_for(loss)[:2, :2]
    for target in ([0.75, 0.25], [0.0, 1.0]):
        assert_exact(engine, loss, PAIRS, D, dtype, target)
    assert_exact(engine, loss, PAIRS, D, dtype, 1, label_smoothing=0.125)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_engine
def test_so_they_do_with_decisions_that_are_no_classes(engine: Engine, dtype: torch.dtype) -> None:
    for D in (MORE_DECISIONS[:2, :3], MORE_DECISIONS[:2]):
        assert_exact(engine, lm.DecisionScore(), PAIRS, D, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("scale", [2.0**20, 2.0**-20], ids=["million", "millionth"])
@every_engine
@every_loss
def test_huge_and_tiny_costs_lose_no_digits(
    loss: lm.Loss, engine: Engine, scale: float, dtype: torch.dtype
) -> None:
    assert_exact(engine, loss, ROWS[::4], scale * table_for(loss), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shift", [-1024.0, 1024.0])
@every_engine
@every_loss
def test_a_shift_of_a_thousand_that_rounds_no_logit_changes_no_bit(
    loss: lm.Loss, engine: Engine, shift: float, dtype: torch.dtype
) -> None:
    logits = torch.tensor([*(lead(j, gap) for j in range(4) for gap in GAPS)], dtype=dtype)
    target, D = torch.arange(len(logits)) % 4, table_for(loss)
    before = value_and_gradient(engine, loss, logits, target, D)
    after = value_and_gradient(engine, loss, logits + shift, target, D)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("masked", [{0}, {3}, {0, 2}, {0, 2, 3}, {TRUTH}], ids=str)
@every_engine
@every_loss
def test_a_logit_of_minus_infinity_is_a_class_of_probability_zero(
    loss: lm.Loss, engine: Engine, masked: set[int], dtype: torch.dtype
) -> None:
    rows = [
        [-math.inf if j in masked else x for j, x in enumerate(row)]
        for row in (list(BASE), lead(TRUTH, 20.0), lead(COSTLY, 20.0))
    ]
    assert_exact(engine, loss, rows, table_for(loss), dtype)


@every_engine
@pytest.mark.parametrize(
    "loss",
    [
        lm.CrossEntropy(),
        lm.ExpectedCost(),
        lm.Unlikelihood(),
        lm.SoftmaxMargin(),
        lm.SoftmaxMargin(log=True),
        lm.EnergyScore(),
        lm.CrossEntropy() + lm.Unlikelihood(),
    ],
    ids=repr,
)
def test_a_masked_class_counts_as_removed(loss: lm.Loss, engine: Engine) -> None:
    """Losses whose parameters do not look at the whole matrix."""
    D, rest = table_for(loss), torch.tensor([0, 1, 3])
    logits = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    target = torch.arange(7) % 3
    masked = logits.index_fill(1, torch.tensor([2]), -math.inf)
    value, gradient = value_and_gradient(engine, loss, masked, rest[target], D)
    reduced = D[rest][:, rest]
    expected, slope = value_and_gradient(engine, loss, logits[:, rest], target, reduced)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient[:, rest], slope)
    assert (gradient[:, 2] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@every_engine
@every_loss
def test_a_truth_whose_mistakes_are_free_has_an_exact_loss(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    """An all-zero row, and an all-zero matrix."""
    D = table_for(loss)
    free = torch.zeros_like(D)
    assert_exact(engine, loss, ROWS[::2], free, dtype)
    if not isinstance(loss, lm.EnergyScore):  # it needs a symmetric matrix
        free = D.clone()
        free[TRUTH] = 0.0
        assert_exact(engine, loss, ROWS[::2], free, dtype)


@every_engine
@pytest.mark.parametrize("gap", [0.0, 20.0, 9984.0])
@every_loss
def test_a_single_class_has_no_gradient_and_the_loss_of_certainty(
    loss: lm.Loss, gap: float, engine: Engine
) -> None:
    D = torch.zeros(1, 1)
    value, gradient = value_and_gradient(
        engine, loss, torch.tensor([[gap], [-gap]]), torch.tensor([0, 0]), D
    )
    assert (value == 0).all()
    assert (gradient == 0).all()


@every_engine
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (5, 4.6025),
        (10, 9.5925),
        (15, 14.5924),
        (17, 16.5924),
        (20, 19.5924),
        (200, 199.5924),
        (9984, 9983.5924),
    ],
)
def test_unlikelihood_is_finite_at_gaps_where_the_log_of_one_minus_softmax_is_not(
    gap: float, expected: float, engine: Engine, dtype: torch.dtype
) -> None:
    logits = torch.tensor([[0.0, -1.0, -2.0, gap]], dtype=dtype)
    D = torch.zeros(4, 4)
    D[0, 3] = 1.0
    value, gradient = value_and_gradient(engine, lm.Unlikelihood(), logits, torch.tensor([0]), D)
    rounding = torch.finfo(dtype).eps / 2
    assert abs(value.item() - expected) <= rounding * expected + 5e-5  # the table has four digits
    slope = gradient[0, 3].item()
    assert abs(slope - 1 / (1 + math.exp(0.4076 - gap))) <= rounding + 5e-5


@every_engine
@pytest.mark.parametrize("gap", [12.0, 17.0, 20.0, 60.0, 200.0, 9984.0])
@pytest.mark.parametrize(
    "loss",
    [
        lm.CrossEntropy(),
        lm.Unlikelihood(),
        lm.CostSensitiveCrossEntropy(),
        lm.SoftmaxMargin(),
        lm.CrossEntropy() + lm.ExpectedCost(),
    ],
    ids=repr,
)
def test_the_gradient_does_not_fade_when_the_model_is_confidently_wrong(
    loss: lm.Loss, gap: float, engine: Engine
) -> None:
    logits = torch.tensor([lead(COSTLY, gap)])
    _, gradient = value_and_gradient(engine, loss, logits, torch.tensor([TRUTH]), ASYMMETRIC)
    assert gradient[0, COSTLY] > 0.5
    assert gradient[0, TRUTH] < 0 or isinstance(loss, lm.Unlikelihood)  # which has no word on it


@every_engine
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_loss_scale_acts_before_a_half_precision_gradient_is_rounded(
    reduction: str, dtype: torch.dtype, engine: Engine
) -> None:
    """A gradient rounded first would be rounded twice, and the small ones would be 0 in float16."""
    loss, D = lm.CrossEntropy() + lm.Unlikelihood(), ASYMMETRIC
    generator = torch.Generator().manual_seed(5)
    logits = (3.0 * torch.randn(4096, 4, generator=generator)).to(dtype)
    target = torch.randint(4, (4096,), generator=generator)
    scale = 2.0**16 / (1 if reduction == "mean" else 4096) * 0.7

    def scaled(logits: Tensor, on: Engine) -> Tensor:
        logits = logits.requires_grad_()
        with torch.autocast("cpu", dtype=dtype):  # the value is float32, as in mixed precision
            value = evaluate(on, loss, logits, target, D, reduction=reduction)
        return torch.autograd.grad((scale * value).sum(), logits)[0]

    exact = scaled(logits.double(), ENGINES[-1])
    got = scaled(logits.clone(), engine)
    assert got.dtype == dtype
    rounding = torch.finfo(dtype).eps / 2 + 32 * torch.finfo(torch.float32).eps
    budget = rounding * exact.abs() + 2 * torch.finfo(dtype).smallest_normal
    assert ((got.double() - exact).abs() <= budget).all()
