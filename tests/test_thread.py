# SPDX-License-Identifier: BSD-3-Clause
"""The numbers of the forum question this library answers (discuss.pytorch.org t/157369).

Its script draws costs, logits and targets, prints two penalties and the cross-entropy, and adds
them up. The numbers are those that it prints.
"""

from __future__ import annotations

import pytest
import torch
from registry import evaluate, every_engine, probabilities
from torch import Tensor
from torch.nn.functional import cross_entropy

import lossmatrix as lm
from lossmatrix.engines import Engine

N, C = 3, 5


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Costs without a diagonal, logits, targets: drawn in the script's order."""
    generator = torch.Generator().manual_seed(2022)
    D = torch.rand(C, C, generator=generator)
    logits = torch.randn(N, C, generator=generator)
    target = torch.randint(C, (N,), generator=generator)
    return D - D * torch.eye(C), logits, target


@every_engine
def test_cross_entropy_is_what_the_script_prints(
    drawn: tuple[Tensor, Tensor, Tensor], engine: Engine
) -> None:
    D, logits, target = drawn
    value = evaluate(engine, lm.CrossEntropy(), logits, target, D, reduction="mean")
    assert round(value.item(), 4) == 2.8050


@every_engine
def test_its_first_penalty_is_the_expected_cost_divided_by_the_number_of_classes(
    drawn: tuple[Tensor, Tensor, Tensor], engine: Engine
) -> None:
    D, logits, target = drawn
    value = evaluate(engine, lm.ExpectedCost(), logits, target, D, reduction="sum")
    assert round(value.item() / (N * C), 4) == 0.0818


def test_its_second_penalty_is_a_constant_that_no_gradient_comes_from(
    drawn: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Why the snippet must not be copied: it takes the logarithm of p − 1, clamped at 10⁻⁷."""
    D, logits, target = drawn
    logits.requires_grad_()
    clamped = (logits.softmax(1) - 1.0).clamp(min=1e-7)
    value = (D[target] * -clamped.log()).mean()
    assert round(value.item(), 4) == 7.3061
    assert value.item() == pytest.approx(16.118 * D[target].mean().item(), rel=1e-4)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient == 0).all()


@every_engine
def test_the_penalty_that_was_meant_is_unlikelihood_with_the_right_gradient(
    drawn: tuple[Tensor, Tensor, Tensor], engine: Engine
) -> None:
    D, logits, target = drawn
    logits.requires_grad_()
    value = evaluate(engine, lm.Unlikelihood(), logits, target, D, reduction="sum") / (N * C)
    assert round(value.item(), 4) == 0.1200
    (gradient,) = torch.autograd.grad(value, logits)
    meant = (D[target] * -(1.0 - logits.softmax(1)).log()).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(meant, logits)[0])
    assert gradient.abs().max() > 0.01
    assert (gradient.gather(1, target[:, None]) < 0).all()  # descent raises the truth


@every_engine
def test_cross_entropy_plus_a_penalty_is_one_loss(
    drawn: tuple[Tensor, Tensor, Tensor], engine: Engine
) -> None:
    D, logits, target = drawn
    for penalty, printed in ((lm.ExpectedCost(), 0.0818), (lm.Unlikelihood(), 0.1200)):
        both = lm.CrossEntropy() + (1 / C) * penalty
        value = evaluate(engine, both, logits, target, D, reduction="mean")
        assert value.item() == pytest.approx(2.8050 + printed, abs=1e-4)


@probabilities
@every_engine
def test_its_pair_weighted_cross_entropy_is_here_to_the_letter(
    drawn: tuple[Tensor, Tensor, Tensor], engine: Engine
) -> None:
    W, logits, target = drawn
    soft = logits.roll(1, 0).softmax(1)
    value = evaluate(engine, lm.PairWeightedCrossEntropy(), logits, soft, W, reduction="mean")
    expected = -(soft * (logits.log_softmax(1) @ W.T)).sum() / N
    torch.testing.assert_close(value, expected)
    weight = torch.rand(C) + 0.5
    hard = evaluate(
        engine, lm.PairWeightedCrossEntropy(), logits, target, weight.diag(), reduction="sum"
    )
    torch.testing.assert_close(hard, cross_entropy(logits, target, weight, reduction="sum"))


def test_fed_with_costs_it_would_reward_the_costliest_class_so_it_refuses_them() -> None:
    D = torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 1.0], [5.0, 1.0, 0.0]])
    logits = torch.zeros(1, 3, requires_grad=True)
    as_gains = lm.PairWeightedCrossEntropy()(logits, torch.tensor([0]), D)
    (gradient,) = torch.autograd.grad(as_gains, logits)
    assert gradient.argmin() == 2  # descent raises the costliest class most
    assert gradient[0, 0] > 0  # and lowers the truth
    with pytest.raises(TypeError, match=r"CostSensitiveCrossEntropy\(\) with costs"):
        lm.PairWeightedCrossEntropy()(logits, torch.tensor([0]), lm.Dense(D))
    with pytest.raises(TypeError, match="would reward the costliest class"):
        lm.Criterion(lm.PairWeightedCrossEntropy(), lm.Dense(D))


def test_a_class_weight_made_of_a_penalty_matrix_diagonal_is_not_a_number() -> None:
    """CrossEntropyLoss(weight=diag D) with the diagonal that penalties have."""
    weight, logits = torch.zeros(3), torch.zeros(2, 3)
    assert lm.Criterion(lm.CrossEntropy(), weight=weight)(logits, torch.tensor([0, 2])).isnan()
    assert cross_entropy(logits, torch.tensor([0, 2]), weight).isnan()
