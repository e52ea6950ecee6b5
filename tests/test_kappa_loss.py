# SPDX-License-Identifier: BSD-3-Clause
"""``WeightedKappaLoss`` is 1 − κ of soft decisions, over the rows of a batch that count."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import lossmatrix as lm

TABLE = torch.tensor([[0.0, 1.0, 2.5], [3.0, 0.0, 0.5], [1.5, 5.0, 0.0]], dtype=torch.float64)
ORDINAL = lm.Ordinal(3, power=2)
every_matrix = pytest.mark.parametrize(
    "costs", [TABLE, ORDINAL, lm.Dense(TABLE).with_abstain(0.75)], ids=repr
)
every_engine = pytest.mark.parametrize("engine", ["native", "reference"])


def batch(*shape: int, C: int = 3, seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, indices and a weight for each row."""
    generator = torch.Generator().manual_seed(seed)
    first, *others = shape
    logits = 2 * torch.randn(first, C, *others, generator=generator, dtype=torch.float64)
    weight = torch.rand(shape, generator=generator, dtype=torch.float64)
    return logits, torch.randint(C, shape, generator=generator), weight


def by_formula(z: Tensor, shares: Tensor, costs: Any, weight: Tensor | None = None) -> Tensor:
    """Σ_n E[D[y_n, a]] ÷ Σ_ij P(y = i) P(a = j) D_ij, as the book has it; rows (n, C)."""
    D = lm.as_costs(costs).square().to_dense().double()
    weight = z.new_ones(len(z)) if weight is None else weight
    weight = weight / weight.sum()
    p = z.softmax(1)
    paid = torch.einsum("n,ni,ij,nj->", weight, shares, D, p)
    return paid / torch.einsum("n,ni,ij,m,mj->", weight, shares, D, weight, p)


def one_hot(y: Tensor, C: int = 3) -> Tensor:
    return torch.nn.functional.one_hot(y, C).double()


def rows(tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1])


@every_engine
@every_matrix
@pytest.mark.parametrize("shape", [(17,), (4, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_value_and_gradient_are_those_of_the_formula(
    costs: Any, shape: tuple[int, ...], soft: bool, weighted: bool, engine: str
) -> None:
    z, y, weight = batch(*shape)
    target = z.roll(1, 0).softmax(1) if soft else y
    z.requires_grad_()
    given = weight if weighted else None
    ours = lm.WeightedKappaLoss(costs, engine=engine)(z, target, sample_weight=given)
    shares = rows(target) if soft else one_hot(y.reshape(-1))
    law = by_formula(rows(z), shares, costs, weight.reshape(-1) if weighted else None)
    torch.testing.assert_close(ours, law, rtol=1e-6, atol=0)  # costs are float32 buffers
    gradients = (torch.autograd.grad(each, z)[0] for each in (ours, law))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


@every_matrix
def test_of_certain_decisions_it_is_one_less_the_metric(costs: Any) -> None:
    z, y, weight = batch(40)
    decision = z.argmax(1)
    ours = lm.WeightedKappaLoss(costs)(1e4 * one_hot(decision), y, sample_weight=weight)
    law = 1 - lm.weighted_kappa(decision, y, costs, sample_weight=weight)
    torch.testing.assert_close(ours, law, rtol=1e-6, atol=0)


@pytest.mark.parametrize("ignore_index", [255, 2])
def test_rows_without_meaning_count_nowhere(ignore_index: int) -> None:
    z, y, _ = batch(12)
    y = y % 2
    criterion = lm.WeightedKappaLoss(TABLE, ignore_index=ignore_index)
    kept = criterion(z[:9], y[:9])
    z[9:], y[9:] = torch.nan, ignore_index
    z.requires_grad_()
    value = criterion(z, y)
    torch.testing.assert_close(value, kept)
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient[:9].abs().min() > 0
    assert not gradient[9:].any()


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_first_and_second_derivatives_are_those_of_the_value(soft: bool) -> None:
    z, y, _ = batch(5)
    target = one_hot(y) if soft else y
    criterion = lm.WeightedKappaLoss(TABLE)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: criterion(z, target), z, nondet_tol=1e-12)
    assert torch.autograd.gradgradcheck(lambda z: criterion(z, target), z, nondet_tol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_rounds_the_result_alone(dtype: torch.dtype) -> None:
    z, y, _ = batch(30)
    z = z.to(dtype).requires_grad_()
    value = lm.WeightedKappaLoss(ORDINAL)(z, y)
    law = by_formula(z.double(), one_hot(y), ORDINAL)
    eps = torch.finfo(dtype).eps
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), law.detach(), rtol=eps + 1e-6, atol=0)
    ours, exact = (torch.autograd.grad(each, z)[0].double() for each in (value, law))
    torch.testing.assert_close(ours, exact, rtol=2 * eps + 1e-5, atol=1e-7)


@pytest.mark.parametrize("gap", [0.0, 3.0, 90.0, 100.0, 200.0, 1e4])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_a_batch_of_one_class_costs_what_chance_costs_and_teaches_nothing(
    rows: int, gap: float, soft: bool
) -> None:
    z = torch.zeros(rows, 3)
    z[:, 2] = gap
    y = torch.full((rows,), 2)
    z.requires_grad_()
    value = lm.WeightedKappaLoss(TABLE)(z, one_hot(y).float() if soft else y)
    assert value == 1
    assert not torch.autograd.grad(value, z)[0].any()


def test_where_chance_costs_nothing_it_is_1_and_flat() -> None:
    z, y, _ = batch(6)
    z.requires_grad_()
    value = lm.WeightedKappaLoss(torch.zeros(3, 3))(z, y)
    assert value == 1
    assert not torch.autograd.grad(value, z)[0].any()


def test_what_is_no_number_is_not_hidden() -> None:
    criterion = lm.WeightedKappaLoss(TABLE)
    y = torch.tensor([1, 1])
    assert criterion(torch.tensor([[0.0, math.nan, 1.0], [0.0, 1.0, 2.0]]), y).isnan()
    assert criterion(torch.zeros(0, 3), y[:0]).isnan()
    assert criterion(torch.zeros(2, 3), torch.tensor([-100, -100])).isnan()
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        criterion(torch.zeros(2, 3), torch.tensor([0, 3]))


def test_costs_that_have_no_kappa_are_refused() -> None:
    for costs in ([[0, -1], [1, 0]], [[0, math.inf], [1, 0]]):
        with pytest.raises(ValueError, match=r"needs costs ≥ 0|infinite cost"):
            lm.WeightedKappaLoss(costs)


def test_it_follows_its_module_and_learns() -> None:
    z, y, _ = batch(60)
    criterion = lm.WeightedKappaLoss(ORDINAL)
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 3, dtype=torch.float64)
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    values = []
    for _ in range(30):
        values.append(criterion(net(one_hot(y) + 0.1 * z), y))
        optimiser.zero_grad()
        values[-1].backward()
        optimiser.step()
    assert values[-1] < 0.3 * values[0]
    assert criterion.state_dict() == {}
