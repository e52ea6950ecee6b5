# SPDX-License-Identifier: BSD-3-Clause
"""Refining finds the cheaper model where there is one, and leaves any other model alone."""

import copy
import math
import re
from typing import Any

import pytest
import torch
from torch import nn

import lossmatrix as lm
from lossmatrix.annealing import BLOCK, LabelledRows, descend
from lossmatrix.held_out import Gain, deal, paid, pooled

BAND_COSTS = lm.Dense([[0, 1], [5, 0]])
BAND_OPTIMUM = 1 / 8  # decide 1 above ½: of the rows an eighth lies above 1½ and costs 1


def band(N=400, dtype=torch.float64):
    """Class 1 between ½ and 1½ of an even spread from −2 to 2: no threshold parts the classes."""
    x = torch.linspace(-2, 2, N, dtype=dtype).unsqueeze(1)
    y = ((x > 0.5) & (x < 1.5)).long().squeeze(1)
    model = nn.Linear(1, 2, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [0.4]]))
        model.bias.copy_(torch.tensor([0.0, -1.2]))
    return model, x, y


def noise(N=240, C=3, seed=0):
    """LabelledRows whose classes nothing predicts, and a linear model of them with weights of 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    y = torch.randint(C, (N,), generator=generator)
    model = nn.Linear(2, C, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model, x, y


def same_weights(model, other):
    """Whether all parameters are equal to the last bit."""
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def found():
    """The band, refined once for several tests."""
    model, x, y = band()
    before = copy.deepcopy(model)
    return lm.refine(model, [(x, y)], BAND_COSTS, folds=2), model, before, x, y


def test_the_best_threshold_is_found_where_cross_entropy_does_not_look(found):
    refinement, _, _, x, y = found
    assert refinement.refined
    assert refinement.gain.control > 1.5 * BAND_OPTIMUM
    decision = lm.decide(refinement.model(x).softmax(1), BAND_COSTS)
    assert BAND_OPTIMUM - 1e-9 <= lm.average_cost(decision, y, BAND_COSTS) < 1.1 * BAND_OPTIMUM
    assert refinement.temperature == 1
    assert re.match(r"refined: λ = \d+, τ = 0\.\d+ cost 0\.\d+ in place of 0\.", str(refinement))


def test_the_given_model_is_not_touched(found):
    refinement, model, before, _, _ = found
    assert same_weights(model, before)
    assert model.training
    assert not refinement.model.training
    assert not same_weights(refinement.model, before)
    parameters = [*model.parameters(), *refinement.model.parameters()]
    assert all(each.grad is None and each.requires_grad for each in parameters)


def test_the_unit_of_the_costs_and_what_is_added_to_a_row_change_nothing(found):
    refinement, model, _, x, y = found
    D = 1000 * (BAND_COSTS.to_dense() + torch.tensor([[4.0], [7.0]]))
    again = lm.refine(model, [(x, y)], D, folds=2)
    assert (again.lam, again.tau) == (refinement.lam, refinement.tau)
    torch.testing.assert_close(again.model(x), refinement.model(x), rtol=1e-4, atol=1e-4)
    assert again.gain.difference == pytest.approx(1000 * refinement.gain.difference)


def test_neither_the_global_seed_nor_the_batches_matter_but_the_generator_does(found):
    refinement, model, _, x, y = found
    torch.manual_seed(7)
    again = lm.refine(model, [(x, y)], BAND_COSTS, folds=2)
    assert same_weights(again.model, refinement.model)
    assert again.gain == refinement.gain
    batches = list(zip(x.split(96), y.int().split(96), strict=True))
    assert same_weights(lm.refine(model, batches, BAND_COSTS, folds=2).model, refinement.model)
    fold = deal(y, 2, torch.Generator().manual_seed(5))
    assert not torch.equal(fold, deal(y, 2, None))


def test_noise_is_left_alone_and_says_so():
    costs = lm.Dense([[0, 1, 4], [2, 0, 6], [3, 5, 0]])
    for seed in range(2):
        model, x, y = noise(seed=seed)
        refinement = lm.refine(model, [(x, y)], costs, folds=2)
        assert not refinement.refined
        assert same_weights(refinement.model, model)
        assert "no gain of more than two standard errors; the model is as it was" in str(refinement)


def test_the_control_is_decided_after_its_temperature():
    model, x, y = band()
    model.weight.data *= 3
    validation = band(300)[1:]
    refinement = lm.refine(model, [(x, y)], BAND_COSTS, validation=[validation])
    logits = model(validation[0]).detach()
    scaling = lm.TemperatureScaling().fit(logits, validation[1])
    decision = lm.decide(scaling(logits).softmax(1), BAND_COSTS)
    cost = lm.average_cost(decision, validation[1], BAND_COSTS).item()
    assert refinement.gain.control == pytest.approx(cost)
    unscaled = lm.decide(logits.softmax(1), BAND_COSTS)
    assert lm.average_cost(unscaled, validation[1], BAND_COSTS).item() != pytest.approx(cost)


def test_a_row_of_weight_2_is_two_rows_and_one_of_weight_0_is_none():
    model, x, y = band(200)
    validation = [band(150)[1:]]
    weight = torch.where(x.squeeze(1) > 0, 2.0, 1.0)
    weight[::5] = 0
    weighted = lm.refine(model, [(x, y, weight)], BAND_COSTS, validation=validation)
    copies = weight.long()
    rows = x.repeat_interleave(copies, 0), y.repeat_interleave(copies)
    repeated = lm.refine(model, [rows], BAND_COSTS, validation=validation)
    assert weighted.refined
    assert weighted.tau == repeated.tau
    assert weighted.ratio == pytest.approx(repeated.ratio)
    assert weighted.gain.cost == pytest.approx(repeated.gain.cost)


def test_weights_of_held_out_rows_count_in_the_cost():
    model, x, y = band(200)
    xv, yv = band(150)[1:]
    weight = torch.where(yv == 1, 3.0, 1.0)
    weighted = lm.refine(model, [(x, y)], BAND_COSTS, validation=[(xv, yv, weight)])
    decision = lm.decide((model(xv) / weighted.temperature).softmax(1), BAND_COSTS)
    cost = lm.average_cost(decision, yv, BAND_COSTS, sample_weight=weight.double())
    if weighted.refined:
        scaling = lm.TemperatureScaling().fit(model(xv), yv)
        decision = lm.decide(scaling(model(xv)).softmax(1), BAND_COSTS)
        cost = lm.average_cost(decision, yv, BAND_COSTS, sample_weight=weight.double())
    assert weighted.gain.control == pytest.approx(cost.item())


def test_a_network_takes_rows_that_it_was_not_trained_on():
    _, x, y = band(200, torch.float32)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Dropout(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"more than one nn.Linear.*pass validation="):
        lm.refine(network, [(x, y)], BAND_COSTS)
    before = copy.deepcopy(network)
    refinement = lm.refine(network, [(x, y)], BAND_COSTS, validation=[band(150, x.dtype)[1:]])
    assert same_weights(network, before)
    assert refinement.gain.cost < refinement.gain.control  # cross-entropy had not trained it at all


def test_parameters_that_are_frozen_stay():
    model, x, y = band(200)
    network = nn.Sequential(nn.Linear(1, 1, dtype=torch.float64).requires_grad_(False), model)
    refinement = lm.refine(network, [(x, y)], BAND_COSTS, folds=2)
    assert torch.equal(refinement.model[0].weight, network[0].weight)
    with pytest.raises(ValueError, match="no parameter that asks for a gradient"):
        lm.refine(network.requires_grad_(False), [(x, y)], BAND_COSTS)


def test_a_model_that_remembers_its_rows_is_told_beforehand():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 25, generator=generator, dtype=torch.float64)
    y = (x[:, 0] + 0.3 * torch.randn(60, generator=generator) > 0).long()
    model = nn.Linear(25, 2, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"cost 0\.\d\d times as much on its training rows"):
        refinement = lm.refine(model, [(x, y)], lm.ZeroOne(2), ridge=0.1, folds=2)
    assert refinement.ratio < 0.9


def test_a_model_without_a_mistake_has_nothing_to_gain():
    x = torch.linspace(-2, 2, 100, dtype=torch.float64).unsqueeze(1)
    x, y = x + x.sign(), (x > 0).long().squeeze(1)
    model = nn.Linear(1, 2, dtype=torch.float64)
    costs = [[2.0, 7.0], [5.0, 3.0]]  # to be right costs something, too
    refinement = lm.refine(model, [(x, y)], costs, folds=2, ridge=1e-3)
    assert (refinement.refined, refinement.lam) == (False, None)
    assert refinement.gain.control == pytest.approx(2.5)
    assert "no decision of the model on held-out rows could cost less" in str(refinement)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loader": []}, ValueError, "loader has no row that counts"),
        ({"loader": [5]}, TypeError, r"batches \(inputs, target\) or .* but gave a int"),
        ({"target": torch.rand(8)}, ValueError, r"of torch.float32: expected class indices \(N,\)"),
        ({"target": torch.zeros(7).long()}, ValueError, r"\(8, 1\) and target \(7,\)"),
        ({"target": torch.full((8,), 2)}, IndexError, "2"),
        ({"weight": -torch.ones(8)}, ValueError, "at least 0 for each of the 8 rows"),
        ({"weight": torch.zeros(8)}, ValueError, "loader has no row that counts"),
        ({"costs": lm.ZeroOne(3)}, ValueError, r"gives \(1, 2\) for one row, .* have 3 classes"),
        ({"costs": lm.PerExample([[0, 1]] * 8)}, ValueError, "give costs per pair of classes"),
        ({"ridge": -1.0}, ValueError, "ridge must be a finite number of at least 0, got -1.0"),
        ({"folds": 1}, ValueError, "folds must be from 2 to the number of rows, 8, got 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_sentence(change, error, message):
    model, x, y = band(8)
    batch = [x, change.pop("target", y)]
    if "weight" in change:
        batch.append(change.pop("weight"))
    arguments = {"loader": [tuple(batch)], "costs": BAND_COSTS, **change}
    with pytest.raises(error, match=message):
        lm.refine(model, **arguments)


def test_a_descent_in_blocks_ends_where_the_stated_objective_is_flat():
    generator = torch.Generator().manual_seed(0)
    N = BLOCK + 50
    x = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    y = (x[:, 0] + torch.randn(N, generator=generator) > 0.3).long()
    weight = torch.rand(N, generator=generator, dtype=torch.float64)
    model = nn.Linear(2, 2, dtype=torch.float64)

    def penalty(each):
        return 0.05 * each.weight.square().sum()

    descend(model, LabelledRows(x, y, weight), lm.CrossEntropy(), None, penalty, 200)
    losses = nn.functional.cross_entropy(model(x), y, reduction="none")
    value = (weight * losses).sum() / weight.sum() + penalty(model)
    for slope in torch.autograd.grad(value, [*model.parameters()]):
        assert slope.abs().max() < 1e-6


def test_the_error_of_a_gain_is_that_of_a_paired_mean():
    generator = torch.Generator().manual_seed(0)
    control, cost = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    gain = Gain.of(control, cost, torch.full((50,), 3.0, dtype=torch.float64))
    difference = cost - control
    assert gain.difference == pytest.approx(difference.mean().item())
    assert gain.standard_error == pytest.approx(difference.std().item() / math.sqrt(50))
    below = Gain(1.0, 0.5, 0.3)
    assert below.exceeds(1)
    assert not below.exceeds(2)
    assert not Gain(1.0, 1.5, 0.3).exceeds(1)
    assert not Gain(1.0, 1.0, 0.0).exceeds(1)


def test_every_class_is_dealt_out_evenly():
    target = torch.tensor([0] * 7 + [1] * 4 + [2] * 90)
    fold = deal(target, 4, None)
    assert torch.equal(fold, deal(target, 4, None))
    for rows in (fold, *(fold[target == each] for each in range(3))):
        counts = rows.bincount(minlength=4)
        assert counts.max() - counts.min() <= 1


def test_what_is_out_of_folds_comes_back_in_order_and_a_broken_model_costs_infinitely_much():
    parts = [(torch.tensor([2, 0]), torch.tensor([2.0, 0.0])), (torch.tensor([1]), torch.ones(1))]
    assert torch.equal(pooled(parts, 3), torch.tensor([0.0, 1.0, 2.0]))
    broken = torch.tensor([[0.0, math.nan], [1.0, 0.0]])
    assert paid(broken, torch.tensor([0, 1]), BAND_COSTS).tolist() == [math.inf, math.inf]
    whole = torch.tensor([[1.0, 0.0], [9.0, 0.0]])
    assert paid(whole, torch.tensor([0, 1]), BAND_COSTS).tolist() == [1.0, 5.0]


def test_rows_and_costs_that_cannot_be_refined_on_are_refused() -> None:
    torch.manual_seed(0)
    model, x, y = torch.nn.Linear(4, 3), torch.randn(60, 4), torch.randint(0, 3, (60,))
    D, inf = lm.Ordinal(3), float("inf")
    cases: list[tuple[type[Exception], str, Any, Any]] = [
        (IndexError, "target -100 is no class.*leave rows out", (x, torch.full_like(y, -100)), D),
        (ValueError, "not finite: look for NaN", (x * float("nan"), y), D),
        (ValueError, "a finite price", (x, y), [[0, inf, 1], [1, 0, 1], [1, 1, 0]]),
    ]
    for error, message, batch, costs in cases:
        with pytest.raises(error, match=message):
            lm.refine(model, [batch], costs)
    with pytest.raises(IndexError, match="target -100 is no class"):
        lm.refine(model, [(x, y)], D, validation=[(x, torch.full_like(y, -100))])
