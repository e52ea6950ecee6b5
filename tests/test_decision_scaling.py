# SPDX-License-Identifier: BSD-3-Clause
"""DecisionScaling is the map that its documentation states where that pays, else a temperature."""

import math
import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

import lossmatrix as lm
from lossmatrix.decision_scaling import FURTHEST, fit_map

COSTS = [[0.0, 1.0, 4.0], [2.0, 0.0, 6.5], [3.0, 5.0, 0.0]]  # mean positive regret 21.5 / 6


def confused(N=400, C=3, seed=0):
    """Logits (N, C) that miss what the features (N, 2) say, and targets."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 2, generator=generator)
    logits = torch.stack([x[:, 0], -x[:, 0], 0.3 * x[:, 1]], 1)
    truth = logits + torch.stack([0 * x[:, 0], x[:, 1], x[:, 0] * x[:, 1]], 1)
    target = torch.multinomial((1.5 * truth).softmax(1), 1, generator=generator).squeeze(1)
    return logits, target, x


def band(N=1200):
    """Class 1 between ½ and 1½ of an even spread: what costs least is a threshold at ½, ⅛ a row."""
    x = torch.linspace(-2, 2, N).unsqueeze(1)
    logits = torch.cat([0 * x, 0.4 * x - 1.2], 1)
    return logits, ((x > 0.5) & (x < 1.5)).long().squeeze(1), x


BAND_COSTS = [[0.0, 1.0], [5.0, 0.0]]


def stated(fitted, logits, target, x, tau=0.1, lam=30.0):
    """The objective as the documentation states it, in the parameters of a fitted map."""
    D = torch.tensor(COSTS, dtype=torch.float64) * 6 / 21.5
    logs = (logits.double() / fitted.temperature).log_softmax(1).clamp(min=-12)
    if x is None:
        ridge, F = 30.0, (logs - logs.mean(0)) / 2
    else:
        x = x.double()
        ridge, F = 10.0, ((x - x.mean(0)) / x.std(0, correction=0)).clamp(-FURTHEST, FURTHEST)
    z = fitted.scale * logs + F @ fitted.matrix + fitted.bias
    risk = z.softmax(1) @ D
    decided = (-risk / tau).softmax(1)
    score = -tau * (-risk / tau).logsumexp(1) + (decided * (D[target] - risk)).sum(1)
    U, b = fitted.matrix, fitted.bias
    far = (fitted.scale - 1) ** 2 + U.square().sum() + b.square().sum()
    return cross_entropy(z, target) + lam * score.mean() + ridge / (2 * len(z)) * far


@pytest.mark.parametrize("has_features", [False, True])
def test_a_map_satisfies_the_first_order_condition_of_what_is_stated(has_features):
    logits, target, x = confused()
    x = x if has_features else None
    y, features = target, None if x is None else x.double()
    fitted = fit_map(logits.double(), y, features, lm.Dense(COSTS)).requires_grad_(True)
    assert fitted.temperature == lm.TemperatureScaling().fit(logits, target).temperature
    parameters = [fitted.scale, fitted.matrix, fitted.bias]
    slopes = torch.autograd.grad(stated(fitted, logits, target, x), parameters)
    assert max(slope.abs().max() for slope in slopes) < 1e-4
    others = torch.autograd.grad(stated(fitted, logits, target, x, lam=27), parameters)
    assert max(slope.abs().max() for slope in others) > 1e-3


@pytest.fixture(scope="module")
def found():
    """The band, fitted once for several tests."""
    logits, target, x = band()
    return lm.DecisionScaling(BAND_COSTS).fit(logits, target, features=x), logits, target, x


def test_the_threshold_that_costs_least_is_found_where_cross_entropy_does_not_look(found):
    scaling, logits, target, x = found
    assert scaling.changes
    probs = scaling(logits.double(), features=x).softmax(1)
    cost = lm.average_cost(lm.decide(probs, BAND_COSTS), target, BAND_COSTS)
    assert 1 / 8 - 1e-9 <= cost < 1.4 / 8  # smooth at τ = 0.1: not all the way
    assert scaling.gain.control > 1.5 / 8


def test_what_tells_nothing_more_is_a_temperature():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 3, generator=generator)
    target = torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1)
    tempered = lm.TemperatureScaling().fit(logits, target)
    for features in (None, torch.randn(300, 2, generator=generator)):
        scaling = lm.DecisionScaling(COSTS).fit(logits, target, features=features)
        assert not scaling.changes
        assert scaling.temperature == tempered.temperature
        assert torch.equal(scaling(logits, features=features), tempered(logits))


def test_the_unit_of_the_costs_and_what_is_added_to_a_row_change_nothing(found):
    plain, logits, target, x = found
    D = 1000 * (torch.tensor(BAND_COSTS) + torch.tensor([[4.0], [7.0]]))
    other = lm.DecisionScaling(D).fit(logits, target, features=x)
    assert other.changes
    torch.testing.assert_close(
        other(logits, features=x), plain(logits, features=x), rtol=1e-3, atol=1e-3
    )
    assert other.gain.difference == pytest.approx(1000 * plain.gain.difference)


def test_a_fit_is_repeatable_leaves_rows_out_and_survives_pickling_and_inference_mode():
    logits, target, x = band()
    rest = torch.arange(len(x)) % 7 != 0
    kept = torch.where(rest, target, 255)
    scaling = lm.DecisionScaling(BAND_COSTS).fit(logits, kept, features=x, ignore_index=255)
    assert scaling.changes
    with torch.inference_mode():
        again = lm.DecisionScaling(BAND_COSTS).fit(
            logits[rest].clone(), target[rest].clone(), features=x[rest].clone()
        )
    again = pickle.loads(pickle.dumps(again))
    assert torch.equal(scaling(logits, features=x), again(logits, features=x))


def test_planes_are_fitted_and_calibrated_as_their_rows_and_the_dtype_stays(found):
    rows, logits, target, x = found
    planes, features = (each.reshape(12, 100, -1).movedim(-1, 1) for each in (logits, x))
    scaling = lm.DecisionScaling(BAND_COSTS).fit(planes, target.view(12, 100), features=features)
    made = scaling(planes, features=features)
    assert made.shape == planes.shape
    expected = rows(logits, features=x)
    torch.testing.assert_close(made.movedim(1, -1).reshape(-1, 2), expected)
    torch.testing.assert_close(rows(logits[7], features=x[7]), expected[7])
    half = rows(logits.half(), features=x)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half, expected.half(), rtol=2e-2, atol=2e-2)


def test_what_does_not_fit_is_refused_with_one_sentence():
    logits, target, x = confused(40)
    scaling = lm.DecisionScaling(COSTS)
    with pytest.raises(RuntimeError, match="call fit first"):
        scaling(logits)
    with pytest.raises(ValueError, match=r"costs have 2 classes, the logits 3"):
        lm.DecisionScaling(BAND_COSTS).fit(logits, target)
    with pytest.raises(ValueError, match="give costs per pair of classes"):
        lm.DecisionScaling(lm.PerExample([[0, 1, 2]] * 40)).fit(logits, target)
    with pytest.raises(ValueError, match=r"at least 3 rows, one for each fold, got 2"):
        scaling.fit(logits[:2], target[:2])
    with pytest.raises(ValueError, match=r"features of shape \(39, 2\) do not belong"):
        scaling.fit(logits, target, features=x[1:])
    with pytest.raises(ValueError, match="finite features"):
        scaling.fit(logits, target, features=x.where(x < 1, math.inf))
    with pytest.raises(TypeError, match="class indices"):
        scaling.fit(logits, logits)
    scaling.fit(logits, target, features=x)
    with pytest.raises(ValueError, match="fitted to 2 features, and got none"):
        scaling(logits)
    with pytest.raises(ValueError, match="fitted to 2 features, and got 1"):
        scaling(logits, features=x[:, :1])
    with pytest.raises(ValueError, match="2 classes on dim 1, but this DecisionScaling was fitted"):
        scaling(logits[:, :2], features=x)
