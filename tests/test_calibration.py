# SPDX-License-Identifier: BSD-3-Clause
"""Calibration finds the one best fit, or says that there is none."""

import math
import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

from lossmatrix import DecisionScaling, Ordinal, calibration
from lossmatrix.calibration import MatrixScaling, TemperatureScaling, VectorScaling

FITS = [TemperatureScaling, VectorScaling]


def overconfident(C=4, N=400, seed=0):
    """Float32 logits three times too large and off by a bias per class, with their targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, C, generator=generator) * 3
    probs = (logits / 3 + torch.linspace(-1, 1, C)).softmax(1)
    return logits, torch.multinomial(probs, 1, generator=generator).squeeze(1)


def test_temperature_satisfies_the_first_order_condition():
    logits, target = overconfident()
    temperature = TemperatureScaling().fit(logits, target).temperature
    inverse = torch.tensor(1 / temperature, dtype=torch.float64, requires_grad=True)
    cross_entropy(logits.double() * inverse, target).backward()
    assert abs(inverse.grad) < 1e-12


def test_scale_and_bias_satisfy_the_first_order_condition():
    logits, target = overconfident()
    fitted = VectorScaling().fit(logits, target)
    scale, bias = fitted.scale.requires_grad_(), fitted.bias.requires_grad_()
    cross_entropy(logits.double() * scale + bias, target).backward()
    assert max(scale.grad.abs().max(), bias.grad.abs().max()) < 1e-12


@pytest.mark.parametrize("fit", FITS)
def test_no_neighbour_of_the_fit_is_better(fit):
    logits, target = overconfident()
    fitted = fit().fit(logits, target)
    best = cross_entropy(fitted(logits.double()), target)
    for factor in (0.99, 1.01):
        assert cross_entropy(fitted(logits.double()) * factor, target) > best


def test_temperature_is_recovered_from_known_odds():
    # 3 of 4 right at a gap of 4: the odds 3 ask for a gap of ln 3
    logits = torch.tensor([[4.0, 0.0, -900.0]] * 4)
    fitted = TemperatureScaling().fit(logits, torch.tensor([0, 0, 0, 1]))
    assert fitted.temperature == pytest.approx(4 / math.log(3), rel=1e-12)


def test_known_scale_and_bias_are_recovered():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200_000, 3, generator=generator)
    scale, bias = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([-0.5, -0.2, 0.7])
    target = torch.multinomial((logits * scale + bias).softmax(1), 1, generator=generator)
    fitted = VectorScaling().fit(logits, target.squeeze(1))
    torch.testing.assert_close(fitted.scale.float(), scale, rtol=0, atol=0.03)
    torch.testing.assert_close(fitted.bias.float(), bias, rtol=0, atol=0.03)


def test_biases_give_every_class_its_frequency():
    logits, target = overconfident()
    probs = VectorScaling().fit(logits, target)(logits.double()).softmax(1)
    torch.testing.assert_close(probs.mean(0), target.bincount().double() / len(target))


def test_biases_sum_to_zero():
    fitted = VectorScaling().fit(*overconfident())
    assert fitted.bias.sum().abs() < 1e-12
    assert fitted.bias.abs().max() > 0.1


def test_vector_scaling_fits_no_worse_than_temperature_scaling():
    logits, target = overconfident()
    temperature, vector = (cross_entropy(fit().fit(logits, target)(logits), target) for fit in FITS)
    assert vector < temperature < cross_entropy(logits, target)


@pytest.mark.parametrize("fit", FITS)
def test_fit_depends_neither_on_the_scale_of_logits_nor_on_a_shift_per_row(fit):
    logits, target = overconfident()
    logits = logits.double()
    probs = fit().fit(logits, target)(logits).softmax(1)
    shifted = logits * 1e4
    if fit is TemperatureScaling:  # to vector scaling a shift per row is another input
        shifted = shifted + torch.linspace(-1e3, 1e3, len(logits)).unsqueeze(1).double()
    again = fit().fit(shifted, target)(shifted).softmax(1)
    torch.testing.assert_close(again, probs, rtol=1e-8, atol=1e-12)


def test_vector_scaling_does_not_depend_on_an_offset_per_class():
    logits, target = overconfident()
    offset = torch.tensor([300.0, -200, 0, 70], dtype=torch.float64)
    probs = VectorScaling().fit(logits, target)(logits.double()).softmax(1)
    moved = logits + offset
    again = VectorScaling().fit(moved, target)(moved).softmax(1)
    torch.testing.assert_close(again, probs, rtol=1e-8, atol=1e-12)


def test_two_classes_that_mirror_each_other_are_one_direction():
    logits, target = overconfident(C=2)
    single = logits[:, :1] - logits[:, 1:]
    probs = [
        VectorScaling().fit(z, target)(z.double()).softmax(1)
        for z in (torch.cat([single, -single], 1), torch.cat([single, 0 * single], 1))
    ]
    torch.testing.assert_close(probs[0], probs[1], rtol=1e-7, atol=1e-12)


def test_a_logit_that_never_varies_leaves_it_to_its_bias():
    logits, target = overconfident()
    logits = logits.double()
    probs = []
    for constant in (0.0, 0.1, -1e5):
        logits[:, 1] = constant
        fitted = VectorScaling().fit(logits, target)
        assert fitted.scale[1].abs() < 1e-9
        probs.append(fitted(logits).softmax(1))
    torch.testing.assert_close(probs[1], probs[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(probs[2], probs[0], rtol=1e-9, atol=0)


def test_relabelling_classes_relabels_scale_and_bias():
    logits, target = overconfident()
    order = torch.tensor([2, 0, 3, 1])
    fitted = VectorScaling().fit(logits, target)
    relabelled = VectorScaling().fit(logits[:, order], order.argsort()[target])
    torch.testing.assert_close(relabelled.scale, fitted.scale[order])
    torch.testing.assert_close(relabelled.bias, fitted.bias[order])


def test_one_rare_mistake_among_saturated_rows_still_has_a_temperature():
    logits = torch.tensor([[1000.0, 0.0]] * 999 + [[0.001, 0.0]])
    target = torch.tensor([0] * 999 + [1])
    inverse = 1 / TemperatureScaling().fit(logits, target).temperature
    # the first-order condition, worked by hand
    pull = 999 * 1000 / (1 + math.exp(1000 * inverse))
    assert pull == pytest.approx(0.001 / (1 + math.exp(-0.001 * inverse)), rel=1e-4)


@pytest.mark.parametrize("C", [3, 1000, 5000])
@pytest.mark.parametrize("mistakes", [1, 3, 200])
def test_a_first_step_that_would_saturate_every_row_is_cut(C, mistakes):
    # the top class is 10 above all others, which are alike: its probability becomes the accuracy
    target = torch.zeros(500, dtype=torch.int64)
    logits = torch.zeros(500, C)
    logits[:mistakes, 1] = logits[mistakes:, 0] = 10
    odds = (500 - mistakes) / mistakes * (C - 1)
    fitted = TemperatureScaling().fit(logits, target)
    assert fitted.temperature == pytest.approx(10 / math.log(odds), rel=1e-10)


@pytest.mark.parametrize("fit", FITS)
def test_rows_without_a_mistake_have_no_best_fit(fit):
    logits = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    with pytest.raises(ValueError, match=r"no temperature is best.*misclassified|no finite"):
        fit().fit(logits, torch.tensor([0, 0, 1, 1]))


def test_a_tie_with_the_truth_is_no_mistake():
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    with pytest.raises(ValueError, match="none is misclassified"):
        TemperatureScaling().fit(logits, torch.tensor([0, 1]))


def test_logits_no_better_than_chance_have_no_best_temperature():
    logits, target = overconfident()
    with pytest.raises(ValueError, match="belong together"):
        TemperatureScaling().fit(-logits, target)
    with pytest.raises(ValueError, match="belong together"):  # 1 of 2 right at one gap: T = ∞
        TemperatureScaling().fit(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="the logits of each are equal"):
        TemperatureScaling().fit(torch.zeros(5, 3), torch.tensor([0, 1, 2, 0, 1]))


def test_one_class_told_without_error_has_no_best_vector_scaling():
    logits, target = overconfident(C=3)
    logits[:, 2] = torch.where(target == 2, 5.0, -5.0) + logits[:, 2] / 10
    with pytest.raises(ValueError, match="no finite parameters are best"):
        VectorScaling().fit(logits, target)


def test_an_absent_class_is_refused_by_vector_scaling_only():
    logits, target = overconfident()
    logits, target = logits[target != 2], target[target != 2]
    with pytest.raises(ValueError, match=r"none of the \d+ rows is of class 2: use Temperature"):
        VectorScaling().fit(logits, target)
    assert TemperatureScaling().fit(logits, target).temperature > 1


@pytest.mark.parametrize("fit", FITS)
def test_maps_are_fitted_and_applied_as_their_rows(fit):
    logits, target = overconfident()
    maps = logits.view(4, 10, 10, 4).movedim(-1, 1)
    fitted, by_rows = fit().fit(maps, target.view(4, 10, 10)), fit().fit(logits, target)
    calibrated = fitted(maps)
    assert calibrated.shape == maps.shape
    assert torch.equal(calibrated.movedim(1, -1).reshape(-1, 4), by_rows(logits))
    assert torch.equal(fitted(logits[0]), by_rows(logits)[0])


@pytest.mark.parametrize("fit", FITS)
def test_ignored_rows_do_not_count(fit):
    logits, target = overconfident()
    kept = target.clone()
    kept[::3] = 255
    rest = torch.arange(len(target)) % 3 != 0
    fitted = fit().fit(logits, kept, ignore_index=255)
    assert torch.equal(fitted(logits), fit().fit(logits[rest], target[rest])(logits))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_calibrated_logits_keep_their_dtype_and_the_given_logits_are_left_alone(fit, dtype):
    logits, target = overconfident()
    logits = logits.to(dtype)
    before = logits.clone()
    fitted = fit().fit(logits, target)
    assert fitted(logits).dtype == dtype
    exact = fitted(logits.double())
    torch.testing.assert_close(fitted(logits).double(), exact, rtol=0.02, atol=0.02)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("fit", FITS)
def test_a_fit_is_repeatable_and_survives_pickling(fit):
    logits, target = overconfident()
    fitted = pickle.loads(pickle.dumps(fit().fit(logits, target)))
    assert torch.equal(fitted(logits), fit().fit(logits, target)(logits))


@pytest.mark.parametrize("fit", FITS)
def test_gradients_flow_through_a_fitted_map_but_not_into_the_fit(fit):
    logits, target = overconfident()
    logits.requires_grad_()
    fitted = fit().fit(logits, target)
    (gradient,) = torch.autograd.grad(fitted(logits).sum(), logits)
    assert (gradient > 0).all()


@pytest.mark.parametrize("fit", FITS)
def test_unfit_arguments_are_refused_with_one_sentence(fit):
    logits, target = overconfident()
    with pytest.raises(RuntimeError, match="call fit first"):
        fit()(logits)
    with pytest.raises(TypeError, match=r"floating-point logits.*torch.int64 and torch.int64"):
        fit().fit(logits.long(), target)
    with pytest.raises(TypeError, match=r"class indices"):
        fit().fit(logits, logits)
    with pytest.raises(ValueError, match=r"\(400, 4\) and \(399,\)"):
        fit().fit(logits, target[1:])
    with pytest.raises(ValueError, match=r"\(4,\) and \(\)"):
        fit().fit(logits[0], target[0])
    with pytest.raises(IndexError, match=r"0 to 3, got values from 1 to 4"):
        fit().fit(logits, target + 1)
    with pytest.raises(ValueError, match=r"ignore_index \(-100\)"):
        fit().fit(logits, torch.full_like(target, -100))
    with pytest.raises(ValueError, match="finite logits"):
        fit().fit(logits.index_fill(1, torch.tensor([1]), -math.inf), target)


def test_vector_scaling_refuses_logits_of_other_classes():
    fitted = VectorScaling().fit(*overconfident())
    with pytest.raises(ValueError, match=r"\(2, 3\) have 3 classes on dim 1, but .* fitted to 4"):
        fitted(torch.zeros(2, 3))


def test_logits_that_tell_nothing_up_to_rounding_have_no_best_temperature():
    logits = torch.tensor([[0.8, 0.2], [0.2, 0.8]], dtype=torch.float64).log().repeat(20, 1)
    target = torch.tensor([0, 0]).repeat(20)
    with pytest.raises(ValueError, match="no temperature is best"):
        TemperatureScaling().fit(logits, target)
    odd = torch.tensor([0.2, 0.8, 0.8, 0.2], dtype=torch.float64)
    logits = torch.stack([odd, 1 - odd], 1).log().repeat(5, 1)
    with pytest.raises(ValueError, match="no temperature is best"):
        TemperatureScaling().fit(logits, torch.tensor([0, 0, 1, 1]).repeat(5))


@pytest.mark.parametrize("scaling", [TemperatureScaling, VectorScaling])
def test_a_label_out_of_range_names_the_option_that_leaves_it_out(scaling):
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 255])
    with pytest.raises(IndexError, match=r"from 0 to 2, got values from 0 to 255; .*ignore_index"):
        scaling().fit(logits, target)


def test_equal_logits_are_not_called_right():
    with pytest.raises(ValueError, match="the logits of each are equal") as error:
        TemperatureScaling().fit(torch.full((4, 3), 2.0), torch.tensor([0, 1, 2, 0]))
    assert "misclassified" not in str(error.value)


def stated(point, logits, target, temperature, ridge):
    """The objective of MatrixScaling as its documentation states it."""
    N, C = logits.shape
    logs = (logits.double() / temperature).log_softmax(1).clamp(min=-12)
    s, U, b = point[0], point[1 : 1 + C * C].view(C, C), point[1 + C * C :]
    value = cross_entropy(s * logs + (logs - logs.mean(0)) @ U / 2 + b, target)
    return value + ridge / (2 * N) * ((s - 1) ** 2 + U.square().sum() + b.square().sum())


def confused(C=4, N=600):
    """Logits of which the last two classes are often taken for each other, and targets."""
    logits, target = overconfident(C, N)
    swapped = torch.rand(N, generator=torch.Generator().manual_seed(3)) < 0.3
    pairs = torch.arange(C)
    pairs[[C - 2, C - 1]] = pairs[[C - 1, C - 2]]
    return logits, torch.where(swapped, pairs[target], target)


@pytest.mark.parametrize("ridge", [0.5, 3.0])
def test_a_matrix_satisfies_the_first_order_condition_of_what_is_stated(ridge):
    logits, target = confused()
    fitted = MatrixScaling(ridge).fit(logits, target)
    C, logs = 4, (logits.double() / fitted.temperature).log_softmax(1).clamp(min=-12)
    assert fitted.temperature == TemperatureScaling().fit(logits, target).temperature
    # matrix = s I + U / 2, and of all such s and U the ridge is least at this one
    point = torch.zeros(C * C + C + 1, dtype=torch.float64)
    mean = logs.mean(0)
    pull = 1 + 4 * fitted.matrix.trace() + mean @ (fitted.bias + mean @ fitted.matrix)
    point[0] = pull / (1 + 4 * C + mean @ mean)
    U = 2 * (fitted.matrix - point[0] * torch.eye(C, dtype=torch.float64))
    point[1 : 1 + C * C] = U.flatten()
    point[1 + C * C :] = fitted.bias + mean @ U / 2
    point.requires_grad_()
    (gradient,) = torch.autograd.grad(
        stated(point, logits, target, fitted.temperature, ridge), point
    )
    assert gradient.abs().max() < 1e-8


def test_a_matrix_mends_what_a_temperature_cannot():
    logits, target = confused(N=4000)
    half = slice(0, 2000), slice(2000, None)
    found = [
        cross_entropy(fit().fit(logits[half[0]], target[half[0]])(logits[half[1]]), target[half[1]])
        for fit in (TemperatureScaling, MatrixScaling)
    ]
    assert found[1] < found[0] - 0.02


def test_a_matrix_follows_its_classes_and_a_large_ridge_is_a_temperature():
    logits, target = confused()
    order = torch.tensor([2, 0, 3, 1])
    plain = MatrixScaling().fit(logits, target)(logits)
    relabelled = MatrixScaling().fit(logits[:, order], order.argsort()[target])
    torch.testing.assert_close(
        relabelled(logits[:, order]).softmax(1), plain[:, order].softmax(1), rtol=1e-5, atol=1e-6
    )
    stiff = MatrixScaling(ridge=1e9).fit(logits, target)(logits).softmax(1)
    tempered = TemperatureScaling().fit(logits, target)(logits).softmax(1)
    torch.testing.assert_close(stiff, tempered, rtol=1e-4, atol=1e-4)


def test_a_matrix_takes_planes_and_absent_classes_and_says_what_is_wrong():
    logits, target = confused()
    target = target.clamp(max=2)  # class 3 is absent, and the ridge keeps its parameters finite
    fitted = MatrixScaling().fit(logits, target)
    assert fitted(logits).isfinite().all()
    planes = logits.reshape(6, 100, 4).movedim(-1, 1)
    torch.testing.assert_close(
        MatrixScaling().fit(planes, target.reshape(6, 100))(planes).movedim(1, -1).reshape(-1, 4),
        fitted(logits),
    )
    with pytest.raises(RuntimeError, match="call fit first"):
        MatrixScaling()(logits)
    with pytest.raises(ValueError, match="3 classes on dim 1, but this MatrixScaling was fitted"):
        fitted(torch.zeros(2, 3))
    for ridge in (0, math.inf):
        with pytest.raises(
            ValueError, match=f"ridge must be a positive and finite number, got {ridge}"
        ):
            MatrixScaling(ridge).fit(logits, target)


@pytest.mark.parametrize("fit", [*FITS, MatrixScaling])
def test_a_fit_in_inference_mode_is_the_same(fit):
    logits, target = overconfident()
    plain = fit().fit(logits, target)(logits)
    with torch.inference_mode():
        inferred = fit().fit(logits.clone(), target.clone())(logits)
    assert torch.equal(plain, inferred)


@pytest.mark.parametrize("C", [2, 5])
def test_classes_fitted_by_steps_have_the_scale_and_bias_of_newtons_method(C, monkeypatch):
    logits, target = overconfident(C)
    at_once = VectorScaling().fit(logits, target)
    monkeypatch.setattr(calibration, "DENSE_CLASSES", 1)
    stepwise = VectorScaling().fit(logits, target)
    for found, expected in [(stepwise.scale, at_once.scale), (stepwise.bias, at_once.bias)]:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_classes_fitted_by_steps_leave_a_constant_logit_to_its_bias(monkeypatch):
    monkeypatch.setattr(calibration, "DENSE_CLASSES", 1)
    logits, target = overconfident()
    logits[:, 1] = 7.0
    probs = VectorScaling().fit(logits, target)(logits.double()).softmax(1)
    torch.testing.assert_close(probs.mean(0), target.bincount().double() / len(target))


@pytest.mark.parametrize("right", [[0, 1, 2, 3], [0, 1]])
def test_classes_fitted_by_steps_refuse_what_has_no_best_fit(right, monkeypatch):
    monkeypatch.setattr(calibration, "DENSE_CLASSES", 1)
    logits, target = overconfident()
    told = torch.isin(target, torch.tensor(right))  # these classes are never taken for another
    logits[:, right] = -100.0
    logits[told, target[told]] = 100.0
    with pytest.raises(ValueError, match="no finite parameters are best"):
        VectorScaling().fit(logits, target)


def test_logits_that_are_the_wrong_way_round_have_a_scale_by_steps_too(monkeypatch):
    monkeypatch.setattr(calibration, "DENSE_CLASSES", 1)
    logits, target = overconfident()
    with pytest.raises(ValueError, match="the truth has no larger logit"):
        TemperatureScaling().fit(-logits, target)
    fitted = VectorScaling().fit(-logits, target)
    torch.testing.assert_close(fitted.scale, -VectorScaling().fit(logits, target).scale)


@pytest.fixture
def looks(monkeypatch):
    """How often each Newton's method asked for slope and curvature; more than 100 are refused."""
    found = []
    newton = calibration._minimum

    def counting(derivatives, start):
        found.append(0)

        def counted(point):
            found[-1] += 1
            assert found[-1] <= 100
            return derivatives(point)

        return newton(counted, start)

    monkeypatch.setattr(calibration, "_minimum", counting)
    return found


@pytest.mark.parametrize("right", [4, 99])
@pytest.mark.parametrize("C", [10, 20, 100, 1000])
def test_a_first_step_to_where_the_slope_is_flat_and_the_curvature_lost_is_cut(C, right, looks):
    # the top class is 1 above the others, which are alike but for the truth of one mistake
    logits, target = torch.zeros(right + 1, C), torch.zeros(right + 1, dtype=torch.int64)
    logits[:, 0], logits[-1, 1], target[-1] = 1, 0.95, 1
    near = logits[-1, 1].item()
    inverse = 1 / TemperatureScaling().fit(logits, target).temperature
    assert looks[0] <= 20
    # the first-order condition, worked by hand
    e, e_near = math.exp(inverse), math.exp(near * inverse)
    expected = (e + near * e_near) / (e + e_near + C - 2) - near
    assert right * (1 - e / (e + C - 1)) == pytest.approx(expected, rel=1e-9)


def test_scales_and_biases_take_few_looks(looks):
    VectorScaling().fit(*overconfident())
    assert max(looks) <= 20


def test_a_temperature_of_many_rows_takes_few_looks_at_all_of_them(looks):
    for C, N in [(3, 100_000), (1000, 500)]:
        logits, target = overconfident(C, N)
        looks.clear()
        fitted = TemperatureScaling().fit(logits, target)
        assert len(looks) == 2  # some rows, then all
        assert looks[1] <= 6
        inverse = torch.tensor(1 / fitted.temperature, dtype=torch.float64, requires_grad=True)
        cross_entropy(logits.double() * inverse, target).backward()
        assert abs(inverse.grad) < 1e-12


def decisions():
    return DecisionScaling(Ordinal(4, power=2))


ALL = [TemperatureScaling, VectorScaling, MatrixScaling, decisions]


@pytest.mark.parametrize("make", ALL)
def test_what_are_no_logits_is_named_with_the_call_that_makes_them(make):
    logits, target = overconfident()
    fitted = make().fit(logits, target)
    for given, remedy in [
        (logits.numpy(), r"torch\.from_numpy\(logits\)"),
        (logits.tolist(), r"torch\.tensor\(logits\)"),
        (logits.long(), r"got torch\.int64: call \.float\(\)"),
        (logits > 0, r"got torch\.bool: call \.float\(\)"),
    ]:
        with pytest.raises(TypeError, match=f"logits must be .*{remedy}"):
            fitted(given)
    with pytest.raises(ValueError, match="but got a scalar"):
        fitted(logits[0, 0])


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-150, 2.0**150, 2.0**1015])
def test_the_unit_of_logits_drops_out_however_large_or_small_it_is(make, unit):
    logits, target = (each[:400] for each in overconfident())
    logits = logits.double()
    expected = make().fit(logits, target)(logits).softmax(1)
    probs = make().fit(logits * unit, target)(logits * unit).softmax(1)
    torch.testing.assert_close(probs, expected, rtol=1e-9, atol=1e-12)


def test_temperatures_that_are_none_are_refused():
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature must be a finite number > 0"):
            TemperatureScaling(temperature)
    logits = torch.tensor([[1.0, 2.0]])
    for temperature in (1e-50, 1e50):
        with pytest.raises(ValueError, match=r"no logits in torch\.float32 can be divided by 1e"):
            TemperatureScaling(temperature)(logits)
        assert TemperatureScaling(temperature)(logits.double()).isfinite().all()


def test_features_that_are_no_tensor_are_named_with_the_call_that_makes_them():
    logits, target = overconfident()
    features = logits[:, :2]
    fitted = decisions().fit(logits, target, features=features)
    for call in (
        lambda: fitted(logits, features=features.numpy()),
        lambda: decisions().fit(logits, target, features=features.numpy()),
    ):
        with pytest.raises(TypeError, match=r"features must be a tensor.*from_numpy\(features\)"):
            call()
