# SPDX-License-Identifier: BSD-3-Clause
"""A slip in a call gets one sentence that says what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import numpy
import pytest
import torch
from torch import nn

import lossmatrix as lm

COSTS = [[0, 1], [5, 0]]
Z, Y = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
CALLS: dict[str, Callable[..., Any]] = {
    "criterion": lambda z, y, **options: lm.Criterion(lm.ExpectedCost(), COSTS, **options)(z, y),
    "loss": lambda z, y, **options: lm.ExpectedCost()(z, y, COSTS, **options),
    "kappa": lambda z, y: lm.WeightedKappaLoss(COSTS)(z, y),
    "binary": lambda z, y: lm.BinaryCriterion(lm.ExpectedCost(), COSTS)(z, y),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def says(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=re.escape(message))


@pytest.mark.parametrize("make", [lm.Criterion, lm.BinaryCriterion])
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lm.CrossEntropy, "CrossEntropy is a class: write CrossEntropy()"),
        ("CrossEntropy", "a loss is needed, such as CrossEntropy(), but got 'CrossEntropy'"),
        (nn.CrossEntropyLoss(), "a loss is needed, such as CrossEntropy(), but got CrossEntropyL"),
        (None, "a loss is needed, such as CrossEntropy(), but got None"),
    ],
)
def test_what_is_no_loss_is_told_how_to_be_one(make: Any, loss: Any, message: str) -> None:
    with says(TypeError, message):
        make(loss, COSTS)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (
            lambda: lm.CrossEntropy() + lm.ExpectedCost,
            "ExpectedCost is a class: write ExpectedCost()",
        ),
        (
            lambda: lm.ExpectedCost + lm.CrossEntropy(),
            "ExpectedCost is a class: write ExpectedCost()",
        ),
        (lambda: lm.CrossEntropy() + 1.0, "a loss is needed, such as CrossEntropy(), but got 1.0"),
        (lambda: 1.0 + lm.CrossEntropy(), "a loss is needed, such as CrossEntropy(), but got 1.0"),
    ],
)
def test_only_losses_are_added_to_losses(add: Callable[[], Any], message: str) -> None:
    with says(TypeError, message):
        add()


def test_pythons_sum_adds_losses() -> None:
    a, b = lm.CrossEntropy(), 0.5 * lm.ExpectedCost()
    assert sum([a, b]) == a + b
    assert sum([a]) == a


@every_call
def test_targets_and_logits_that_are_no_tensors_are_told_how_to_be_some(call: Any) -> None:
    with says(TypeError, "target must be a tensor, but is a list: pass torch.tensor(target)"):
        call(Z, Y.tolist())
    with says(
        TypeError, "target must be a tensor, but is a ndarray: pass torch.from_numpy(target)"
    ):
        call(Z, Y.numpy())
    with says(
        TypeError, "logits must be a tensor, but is a ndarray: pass torch.from_numpy(logits)"
    ):
        call(Z.numpy(), Y)


@pytest.mark.parametrize("call", [CALLS["criterion"], CALLS["loss"]])
def test_class_weights_that_are_no_tensor_are_told_how_to_be_one(call: Any) -> None:
    with says(TypeError, "weight must be a tensor, but is a list: pass torch.tensor(weight)"):
        call(Z, Y, weight=[1.0, 2.0])


@pytest.mark.parametrize("make", [lm.Criterion, lm.WeightedKappaLoss, lm.BinaryCriterion])
def test_weights_of_samples_that_are_no_tensor_are_told_how_to_be_one(make: Any) -> None:
    criterion = make(COSTS) if make is lm.WeightedKappaLoss else make(lm.ExpectedCost(), COSTS)
    z = Z[:, 0] if make is lm.BinaryCriterion else Z
    with says(
        TypeError, "weight must be a tensor, but is a list: pass torch.tensor(sample_weight)"
    ):
        criterion(z, Y, sample_weight=[1.0, 2.0, 1.0, 2.0])


@pytest.mark.parametrize("costs", [None, torch.rand(7, 7)], ids=["no costs", "costs"])
def test_classes_in_the_last_dimension_are_told_where_they_belong(costs: Any) -> None:
    loss = lm.CrossEntropy() if costs is None else lm.ExpectedCost()
    criterion = lm.Criterion(loss, costs)
    z, y = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    error = RuntimeError if costs is None else ValueError
    with says(error, "Classes are dim 1: pass logits.transpose(1, 2)."):
        criterion(z, y)
    with says(error, "Classes are dim 1: pass logits.movedim(-1, 1)."):
        criterion(z.unsqueeze(1).expand(2, 3, 5, 7), y.unsqueeze(1).expand(2, 3, 5))
    assert criterion(z.transpose(1, 2), y).isfinite()


@pytest.mark.parametrize("loss", [lm.CrossEntropy(), lm.ExpectedCost()], ids=repr)
def test_a_scalar_is_told_to_be_none_of_the_shapes(loss: lm.Loss) -> None:
    with says(ValueError, "expected logits of shape (C,) or (N, C, d1, …), but got a scalar."):
        lm.Criterion(loss, COSTS)(torch.tensor(0.5), torch.tensor(0))


def test_flat_targets_are_told_how_to_flatten_the_logits() -> None:
    z, y = torch.randn(2, 5, 7), torch.randint(7, (10,))
    with says(
        ValueError, "to match target batch_size (10). Classes are dim 1: pass logits.flatten(0, 1)"
    ):
        lm.Criterion(lm.CrossEntropy())(z, y)


@pytest.mark.parametrize(
    "loss", [lm.CrossEntropy(), lm.ExpectedCost(), lm.DecisionScore()], ids=repr
)
@pytest.mark.parametrize(
    ("logits", "target"),
    [
        (torch.zeros(4, 1), torch.zeros(4, 1)),
        (torch.zeros(4, 1), torch.zeros(4, 1).long()),
        (torch.zeros(4, 1), Y),
        (torch.zeros(4, 1), Y.float()),
        (torch.zeros(4), Y),
        (torch.zeros(4), Y.float()),
        (torch.zeros(4, 1, 3), torch.zeros(4, 1, 3)),
    ],
)
def test_one_logit_for_two_classes_names_its_criterion(loss: Any, logits: Any, target: Any) -> None:
    with says(ValueError, "For one logit per decision of two there is BinaryCriterion."):
        lm.Criterion(loss, COSTS)(logits, target)


def test_cross_entropy_without_costs_takes_one_logit_as_pytorch_does() -> None:
    z = torch.randn(4, 1)
    for target in (torch.zeros(4).long(), torch.ones(4, 1)):
        assert lm.Criterion(lm.CrossEntropy())(z, target) == nn.CrossEntropyLoss()(z, target) == 0


@pytest.mark.parametrize(
    "loss", [lm.CrossEntropy(), lm.ExpectedCost(), lm.DecisionScore()], ids=repr
)
def test_a_logit_for_a_decision_that_is_no_class_is_told_so(loss: lm.Loss) -> None:
    with pytest.raises(ValueError, match="decisions that are no class") as told:
        lm.Criterion(loss, lm.ZeroOne(3).with_abstain(0.5))(torch.zeros(2, 4), torch.tensor([0, 1]))
    assert "costs of shape (3, 4) do not fit logits of shape (2, 4)" in str(told.value)


def test_a_loss_that_is_called_tells_no_shape_that_nobody_wrote() -> None:
    with pytest.raises(ValueError, match="decisions that are no class") as told:
        lm.ExpectedCost()(torch.zeros(2, 4), torch.tensor([0, 1]), lm.ZeroOne(3).with_abstain(0.5))
    assert "(3, 3)" not in str(told.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda given: lm.decide(given, COSTS),
        lambda given: lm.conditional_risk(given, COSTS),
        lambda given: lm.shift_priors(given, [0.5, 0.5], [0.2, 0.8]),
        lambda given: lm.Criterion(lm.CrossEntropy(), COSTS).decide(given),
        lambda given: lm.BinaryCriterion(lm.CrossEntropy()).decide(given),
        lambda given: lm.CostMeter(COSTS).update(given, given),
        lambda given: lm.TemperatureScaling().fit(given, given),
    ],
)
def test_arrays_and_lists_in_the_place_of_tensors_are_told_the_call_that_makes_one(
    call: Callable[[Any], object],
) -> None:
    with says(TypeError, "torch.from_numpy"):
        call(numpy.full((2, 3), 1 / 3))
    with says(TypeError, "torch.tensor"):
        call([[0.2, 0.3, 0.5]])


def test_what_is_no_table_of_costs_is_told_what_one_is() -> None:
    none: Any = None
    with says(TypeError, "Ordinal is a class: write Ordinal(…)."):
        lm.Criterion(lm.ExpectedCost(), cast(Any, lm.Ordinal))
    with says(ValueError, "costs must be rows of numbers"):
        lm.Criterion(lm.ExpectedCost(), cast(Any, {"a": 1}))
    with says(ValueError, "costs must be rows of numbers"):
        lm.average_cost(torch.tensor([0]), torch.tensor([0]), none)
    with says(ValueError, "choose a unit"):
        lm.Dense([[0, 10**400], [1, 0]])
    with says(TypeError, "CrossEntropy is a class: write CrossEntropy()."):
        lm.linear_loss(Z, torch.eye(2), Y, cast(Any, lm.CrossEntropy))
    with says(RuntimeError, "target.long()"):
        lm.CrossEntropy()(Z, Y.short())
