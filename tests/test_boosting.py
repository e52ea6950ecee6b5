# SPDX-License-Identifier: BSD-3-Clause
"""Objectives for boosting: the derivatives by definition, and the libraries that call for them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from typing import Any

import lightgbm
import numpy
import oracles
import pytest
import torch
import xgboost
from numpy.typing import NDArray
from registry import ASYMMETRIC, every_loss, holds_weight_constant, table_for
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import lossmatrix as lm
from lossmatrix import boosting
from lossmatrix.boosting import CostMetric, CostObjective
from lossmatrix.engines.cpu import curvature as kernels
from lossmatrix.sklearn import BayesDecisionClassifier, average_cost_scorer

Array = NDArray[Any]
NAMES = ["xgboost.train", "XGBClassifier", "lightgbm.train", "LGBMClassifier"]


def objective_of(loss: lm.Loss) -> CostObjective:
    """The objective of a loss on the costs of the registry."""
    return CostObjective(loss, None if loss.reads is None else table_for(loss))


def rows(count: int, num_classes: int, seed: int) -> tuple[Array, Array]:
    """Scores that favour wrong classes as often as right ones, and labels."""
    generator = numpy.random.default_rng(seed)
    scores = 3.0 * generator.standard_normal((count, num_classes))
    return scores, generator.integers(num_classes, size=count)


def hessians(loss: lm.Loss, scores: Array, labels: Array) -> Tensor:
    """∂²ℓ/∂z∂z of every row one row at a time, (N, C, C)."""
    costs = None if loss.reads is None else table_for(loss)

    def hessian(z: Tensor, y: Tensor) -> Tensor:
        return torch.autograd.functional.hessian(
            lambda each: loss(each, y, costs, engine="reference"), z
        )

    one_by_one = zip(torch.tensor(scores), torch.tensor(labels), strict=True)
    return torch.stack([hessian(z, y) for z, y in one_by_one])


# --- gradient and curvature ----------------------------------------------------------------------


@every_loss
def test_the_gradient_is_that_of_the_formula(loss: lm.Loss) -> None:
    scores, labels = rows(3, 4, seed=1)
    gradient, _ = objective_of(loss)(labels, scores)
    D = table_for(loss).tolist()
    pairs = zip(scores.tolist(), labels.tolist(), strict=True)
    exact = [oracles.answer(loss, z, y, D).gradient for z, y in pairs]
    numpy.testing.assert_allclose(gradient, numpy.array(exact, float), rtol=1e-5, atol=1e-6)


@every_loss
@pytest.mark.parametrize("way", ["kernel", "tensors"])
def test_the_bound_is_the_sum_of_a_row_of_autograds_hessian(loss: lm.Loss, way: str) -> None:
    scores, labels = rows(12, 4, seed=18)
    objective = without_kernel(objective_of(loss), way)
    gradient, bound = objective(labels, scores)
    p = torch.tensor(scores).softmax(1)
    alike = 2 * numpy.abs(gradient) * torch.where(torch.tensor(gradient) > 0, 1 - p, p).numpy()
    objective.criterion.engine = "reference"
    hessian = [
        torch.autograd.functional.hessian(lambda z, y=y: objective.criterion(z, y), each)
        for each, y in zip(torch.tensor(scores), torch.tensor(labels), strict=True)
    ]
    exact = numpy.maximum(torch.stack(hessian).abs().sum(-1).numpy(), alike)
    numpy.testing.assert_allclose(bound, exact, rtol=1e-12, atol=1e-14 * exact.max())


@every_loss
@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_kernel_and_tensors_agree(loss: lm.Loss, dtype: type) -> None:
    scores, labels = rows(30, 4, seed=19)
    weight = numpy.random.default_rng(0).random(30)
    pair = (objective_of(loss), without_kernel(objective_of(loss), "tensors"))
    one, other = (each(labels, scores.astype(dtype), weight) for each in pair)
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype == dtype
        rounding = 20 * numpy.finfo(dtype).eps
        numpy.testing.assert_allclose(a, b, rtol=rounding, atol=rounding * numpy.abs(b).max())


def without_kernel(objective: CostObjective, way: str) -> CostObjective:
    """The objective, as it is on a machine without a compiler where the way is "tensors"."""
    if way == "tensors":
        objective.criterion.bound.cache["curvature"] = "it is tested"
    return objective


FAR = [
    lm.CrossEntropy(),
    lm.ExpectedCost(),
    lm.Unlikelihood(),
    lm.CostSensitiveCrossEntropy(),
    lm.SoftmaxMargin(),
    lm.CostFocal(),
    lm.CostFocal(gamma=1.0),
    lm.EntropicRisk(),
    lm.CrossEntropy() + lm.Unlikelihood(),
]


@pytest.mark.parametrize("loss", FAR, ids=repr)
@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_the_bound_is_exact_at_any_gap(loss: lm.Loss, dtype: type) -> None:
    D = [[0.0, 1.0, 2.5], [3.0, 0.0, 0.5], [1.5, 4.0, 0.0]]  # divided by 4 they stay exact
    objective = CostObjective(loss, None if loss.reads is None else D)
    for gap in (0.5, 12.0, 40.0, 300.0, 1e4):
        scores = numpy.array([[gap, 0.0, -1.5], [0.0, -2.0 * gap, gap]]).repeat(3, 0)
        labels = numpy.tile([0, 1, 2], 2)
        _, bound = objective(labels, scores.astype(dtype))
        for z, y, found in zip(scores.tolist(), labels.tolist(), bound, strict=True):
            exact = exact_bound(loss, z, y, D)
            tiny = 1e-60 if dtype == numpy.float64 else 1e-36
            rounding = 400 * numpy.finfo(dtype).eps
            numpy.testing.assert_allclose(found, exact, rtol=rounding, atol=tiny)


def exact_bound(loss: lm.Loss, z: list[float], y: int, D: list[list[float]]) -> list[float]:
    """h by second differences of the loss as the books state it, in 130-digit decimals."""
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = oracles.DIGITS, MAX_EMAX, MIN_EMIN
        logits = [Decimal(x) for x in z]
        table = [[Decimal(x) for x in row] for row in D]
        row, step = oracles.row_of(logits, y, table), Decimal("1e-25")

        def at(*moves: tuple[int, int]) -> Decimal:
            moved = list(logits)
            for k, sign in moves:
                moved[k] += sign * step
            return oracles.value_of(loss, oracles.row_of(moved, y, table, row))

        def second(k: int, j: int) -> Decimal:
            same = at((k, 1), (j, 1)) + at((k, -1), (j, -1))
            return (same - at((k, 1), (j, -1)) - at((k, -1), (j, 1))) / (4 * step * step)

        found: list[float] = []
        for k in range(len(z)):
            slope = (at((k, 1)) - at((k, -1))) / (2 * step)
            alike = 2 * abs(slope) * (row.q[k] if slope > 0 else row.p[k])
            found.append(float(max(sum(abs(second(k, j)) for j in range(len(z))), alike)))
        return found


def test_of_many_classes_the_bound_is_found_by_sorting() -> None:
    count = 1100
    scores, labels = rows(5, count, seed=20)
    table = numpy.random.default_rng(21).random((count, count))
    for loss in (lm.ExpectedCost(), lm.CrossEntropy() + lm.Unlikelihood()):
        one, other = (
            without_kernel(CostObjective(loss, torch.tensor(table)), way)
            for way in ("kernel", "tensors")
        )
        for a, b in zip(one(labels, scores), other(labels, scores), strict=True):
            numpy.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("num_classes", [2, 3, 8, 19])
@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_any_layout_of_the_scores_gives_the_same(num_classes: int, dtype: type) -> None:
    scores, labels = rows(37, num_classes, seed=22)
    table = 5.0 * torch.rand(num_classes, num_classes, generator=torch.Generator().manual_seed(1))
    objective = CostObjective(lm.CrossEntropy() + lm.ExpectedCost(), table)
    plain = objective(labels, scores.astype(dtype))
    wide = numpy.zeros((74, num_classes + 3), dtype)
    wide[::2, 1:-2] = scores
    for given in (numpy.asfortranarray(scores.astype(dtype)), wide[::2, 1:-2]):
        for one, other in zip(plain, objective(labels, given), strict=True):
            numpy.testing.assert_array_equal(other, one)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    scores, labels = rows(5000, 10, seed=23)
    objective = CostObjective(lm.CrossEntropy())
    threads = torch.get_num_threads()
    several = objective(labels, scores)
    try:
        torch.set_num_threads(1)
        alone = objective(labels, scores)
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(several, alone, strict=True):
        numpy.testing.assert_array_equal(one, other)


@every_loss
def test_the_bound_minus_the_hessian_is_positive_semidefinite(loss: lm.Loss) -> None:
    if holds_weight_constant(loss):
        pytest.skip("its gradient is not that of its value, by intention")
    scores, labels = rows(7, 4, seed=2)
    _, bound = objective_of(loss)(labels, scores)
    gap = torch.tensor(bound).diag_embed() - hessians(loss, scores, labels)
    assert torch.linalg.eigvalsh(gap).min() > -1e-5
    assert (bound >= 0).all()


@every_loss
@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_where_there_is_a_slope_there_is_curvature(loss: lm.Loss, dtype: type) -> None:
    tops = numpy.repeat(numpy.eye(4), 4, axis=0)
    labels = numpy.tile(numpy.arange(4), 4)
    for gap in (0.0, 1.0, 10.0, 40.0):
        gradient, bound = objective_of(loss)(labels, (gap * tops).astype(dtype))
        assert gradient.dtype == bound.dtype == dtype
        assert numpy.isfinite(gradient).all()
        assert numpy.isfinite(bound).all()
        assert (bound[numpy.abs(gradient) > 1e-6] > 0).all()


def test_cross_entropy_has_the_curvature_of_xgboost() -> None:
    scores, labels = rows(9, 4, seed=3)
    p = torch.tensor(scores).softmax(1).numpy()
    gradient, bound = CostObjective(lm.CrossEntropy())(labels, scores)
    numpy.testing.assert_allclose(gradient, p - numpy.eye(4)[labels], atol=1e-12)
    numpy.testing.assert_allclose(bound, 2 * p * (1 - p), rtol=1e-12)


def test_a_single_score_is_the_log_odds_of_class_one() -> None:
    scores, labels = rows(9, 1, seed=4)[0], numpy.arange(9) % 2
    p = 1 / (1 + numpy.exp(-scores))
    for shape in ((9,), (9, 1)):
        gradient, bound = CostObjective(lm.CrossEntropy())(labels, scores.reshape(shape))
        numpy.testing.assert_allclose(gradient, (p - labels[:, None]).reshape(shape), atol=1e-12)
        numpy.testing.assert_allclose(bound, (p * (1 - p)).reshape(shape), rtol=1e-12)


def test_a_saturating_loss_has_curvature_where_its_hessian_is_zero() -> None:
    even, labels = numpy.zeros((2, 2)), numpy.array([0, 1])
    costs = torch.tensor([[0.0, 4.0], [8.0, 0.0]])
    _, bound = CostObjective(lm.ExpectedCost(), costs)(labels, even)
    # g = ±d/4, as for a cross-entropy of weight d/2: its bound is 2 · d/2 · ¼
    numpy.testing.assert_allclose(bound, [[1.0, 1.0], [2.0, 2.0]])


def test_twice_the_loss_is_twice_both_and_the_step_stays() -> None:
    scores, labels = rows(9, 4, seed=5)
    once = objective_of(lm.ExpectedCost())(labels, scores)
    twice = objective_of(2.0 * lm.ExpectedCost())(labels, scores)
    for one, two in zip(once, twice, strict=True):
        numpy.testing.assert_allclose(two, 2 * one, rtol=1e-6)


def test_weights_of_rows_multiply_both() -> None:
    scores, labels = rows(5, 4, seed=6)
    weight = numpy.array([0.0, 1.0, 2.5, 0.5, 3.0])
    objective = objective_of(lm.CrossEntropy() + lm.ExpectedCost())
    plain, weighted = objective(labels, scores), objective(labels, scores, weight)
    for one, other in zip(plain, weighted, strict=True):
        numpy.testing.assert_allclose(other, weight[:, None] * one)
    plain, weighted = objective_of_two()(labels % 2, scores[:, 0]), None
    weighted = objective_of_two()(labels % 2, scores[:, 0], weight)
    numpy.testing.assert_allclose(weighted[0], weight * plain[0])


def objective_of_two() -> CostObjective:
    """An objective of two classes."""
    return CostObjective(lm.ExpectedCost(), [[0, 1], [5, 0]])


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = rows(9, 4, seed=7)
    whole = objective_of(lm.DecisionScore())(labels, scores)
    monkeypatch.setattr(boosting, "BLOCK", 32)  # two rows at a time
    for one, other in zip(whole, objective_of(lm.DecisionScore())(labels, scores), strict=True):
        numpy.testing.assert_allclose(other, one)


@pytest.mark.parametrize("way", ["kernel", "tensors"])
def test_rows_beyond_the_first_block_have_their_own_costs(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    scores, labels = rows(9, 4, seed=17)
    own = 1.0 + torch.arange(9.0, dtype=torch.float64)  # row n costs n times as much
    costs = lm.PerExample(own.unsqueeze(1) * ASYMMETRIC[torch.tensor(labels)])
    once = CostObjective(lm.ExpectedCost(), ASYMMETRIC)(labels, scores)
    monkeypatch.setattr(boosting, "BLOCK", 32)
    monkeypatch.setattr(kernels, "BLOCK", 8)
    each = without_kernel(CostObjective(lm.ExpectedCost(), costs), way)(labels, scores)
    for one, other in zip(once, each, strict=True):
        numpy.testing.assert_allclose(other, own.numpy()[:, None] * one, rtol=1e-12)


@pytest.mark.parametrize("way", ["kernel", "tensors"])
def test_single_scores_beyond_the_first_block_have_their_own_costs(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    scores, labels = rows(9, 2, seed=26)
    table, own = torch.tensor([[0.0, 3.0], [5.0, 0.0]]), 1.0 + torch.arange(9.0)
    costs = lm.PerExample(own.unsqueeze(1) * table[torch.tensor(labels)])
    once = CostObjective(lm.ExpectedCost(), table)(labels, scores[:, 1])
    monkeypatch.setattr(boosting, "BLOCK", 8)
    monkeypatch.setattr(kernels, "BLOCK", 4)
    each = without_kernel(CostObjective(lm.ExpectedCost(), costs), way)(labels, scores[:, 1])
    for one, other in zip(once, each, strict=True):
        numpy.testing.assert_allclose(other, own.numpy() * one, rtol=1e-12)


@pytest.mark.parametrize("way", ["kernel", "tensors"])
@pytest.mark.parametrize("shape", [(2, 2), (2, 1), (2,), (5, 2)])
@pytest.mark.parametrize("loss", [lm.ExpectedCost(), lm.DecisionScore(), lm.CrossEntropy()])
def test_costs_of_another_number_of_rows_are_refused(
    loss: lm.Loss, shape: tuple[int, ...], way: str
) -> None:
    own = lm.PerExample.matrices(torch.rand(3, 2, 2))
    objective = without_kernel(CostObjective(loss, own), way)
    message = rf"got scores of {shape[0]} rows, but PerExample\(.*\) has the costs of 3: make"
    with pytest.raises(ValueError, match=message):
        objective(numpy.zeros(shape[0]), numpy.zeros(shape))
    with pytest.raises(ValueError, match=message):
        objective.decide(numpy.zeros(shape), rule="bayes")
    assert (objective.decide(numpy.zeros(shape), rule="argmax") == 0).all()  # reads no costs


def test_the_scores_given_are_neither_changed_nor_kept() -> None:
    scores, labels = rows(3, 4, seed=8)
    scores.flags.writeable = False
    gradient, _ = objective_of(lm.CrossEntropy())(labels, numpy.asfortranarray(scores))
    assert gradient.flags.writeable


def test_the_decision_is_the_one_that_the_loss_is_made_for() -> None:
    scores, _ = rows(50, 4, seed=9)
    probs = torch.tensor(scores).softmax(1)
    bayes = lm.decide(probs, ASYMMETRIC).numpy()
    assert (bayes != scores.argmax(1)).any()
    assert (CostObjective(lm.CrossEntropy(), ASYMMETRIC).decide(scores) == bayes).all()
    argmax = CostObjective(lm.Unlikelihood(), ASYMMETRIC)
    assert (argmax.decide(scores) == scores.argmax(1)).all()
    assert (argmax.decide(scores, rule="bayes") == bayes).all()
    assert objective_of_two().decide(numpy.array([-1.0, 2.0])).tolist() == [0, 1]


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    objective = CostObjective(lm.ExpectedCost(), ASYMMETRIC)
    with pytest.raises(ValueError, match=r"labels must be the numbers 0, 1, … .* got 1\.5"):
        objective(numpy.array([0.0, 1.5]), numpy.zeros((2, 4)))
    with pytest.raises(IndexError, match="Target 4 is out of bounds"):
        objective(numpy.array([0.0, 4.0]), numpy.zeros((2, 4)))
    with pytest.raises(ValueError, match="expected one row of costs for each of the 3 classes"):
        objective(numpy.array([0.0, 1.0]), numpy.zeros((2, 3)))
    with pytest.raises(ValueError, match="DecisionScore"):
        CostObjective(lm.EnergyScore(), ASYMMETRIC)
    with pytest.raises(TypeError, match="reads costs but none were given"):
        CostObjective(lm.ExpectedCost())


# --- the libraries -------------------------------------------------------------------------------

PRICES = [[0.0, 0.2, 0.4], [1.0, 0.0, 0.2], [4.0, 2.0, 0.0]]


def data(count: int, num_classes: int, seed: int) -> tuple[Array, Array]:
    """Classes in overlapping clouds; the last, dearest to miss, is the rarest."""
    generator = numpy.random.default_rng(seed)
    share = numpy.array([0.6, 0.3, 0.1])[:num_classes]
    labels = generator.choice(num_classes, size=count, p=share / share.sum())
    centres = numpy.array([[0.0, 0.0], [1.5, 0.0], [0.5, 1.5]])
    return centres[labels] + generator.standard_normal((count, 2)), labels


def scores_of(
    name: str,
    objective: Callable[..., Any] | str,
    X: Array,
    y: Array,
    weight: Array | None = None,
    **options: Any,
) -> Array:
    """Raw scores on X of 20 rounds of trees, by one of the four ways in."""
    num_class = {"num_class": len(numpy.unique(y))}
    if "xgb" in name.lower():
        options = {"max_depth": 3, "learning_rate": 0.3, "n_jobs": 1} | options
        if name == "xgboost.train":
            parameters = num_class | {"disable_default_eval_metric": 1} | options
            parameters["nthread"] = parameters.pop("n_jobs")
            table, obj = xgboost.DMatrix(X, y, weight=weight), {"obj": objective}
            if isinstance(objective, str):
                parameters["objective"], obj = objective, {}
            model = xgboost.train(parameters, table, 20, **obj)
            return model.predict(xgboost.DMatrix(X), output_margin=True)
        model = xgboost.XGBClassifier(n_estimators=20, objective=objective, **options)
        return model.fit(X, y, sample_weight=weight).predict(X, output_margin=True)
    options = {"num_leaves": 8, "learning_rate": 0.3, "verbose": -1, "n_jobs": 1} | options
    if name == "lightgbm.train":
        parameters = {"objective": objective} | num_class | options
        model = lightgbm.train(parameters, lightgbm.Dataset(X, y, weight=weight), 20)
        return model.predict(X, raw_score=True)
    model = lightgbm.LGBMClassifier(n_estimators=20, objective=objective, **options)
    return model.fit(X, y, sample_weight=weight).predict(X, raw_score=True)


def paid(decision: Array, y: Array) -> float:
    """The average cost of decisions."""
    return lm.average_cost(torch.tensor(decision), torch.tensor(y), PRICES).item()


@pytest.mark.parametrize("loss", ["CrossEntropy", "ExpectedCost", "CostSensitiveCrossEntropy"])
@pytest.mark.parametrize("name", NAMES)
def test_costs_fall_below_those_of_the_plain_objective_by_argmax(name: str, loss: str) -> None:
    X, y = data(600, 3, seed=10)
    plain = "multiclass" if "l" in name[:1].lower() else "multi:softprob"
    before = paid(scores_of(name, plain, X, y).argmax(1), y)
    objective = CostObjective(getattr(lm, loss)(), PRICES)
    scores = scores_of(name, objective, X, y)
    assert scores.shape == (600, 3)
    assert numpy.isfinite(scores).all()
    assert paid(objective.decide(scores), y) < 0.8 * before


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_weight_zero_teach_nothing(name: str) -> None:
    X, y = data(300, 3, seed=11)
    lies = numpy.concatenate([y, (y + 1) % 3])
    weight = numpy.repeat([1.0, 0.0], 300)
    objective = CostObjective(lm.CrossEntropy() + lm.ExpectedCost(), PRICES)
    twice = numpy.concatenate([X, X])
    deaf = scores_of(name, objective, twice, lies, weight)[:300].argmax(1)
    credulous = scores_of(name, objective, twice, lies)[:300].argmax(1)
    assert (deaf == y).mean() > 0.7
    assert (credulous == y).mean() < 0.6


@pytest.mark.parametrize("name", ["XGBClassifier", "LGBMClassifier"])
def test_two_classes_have_one_score_and_train(name: str) -> None:
    X, y = data(300, 2, seed=12)
    objective = CostObjective(lm.ExpectedCost(), [[0.0, 1.0], [9.0, 0.0]])
    scores = scores_of(name, objective, X, y)
    assert scores.shape == (300,)
    decision = objective.decide(scores)
    assert (decision[y == 1] == 1).mean() > 0.95
    assert (decision[y == 0] == 0).mean() > 0.1


def test_cross_entropy_grows_the_trees_of_xgboosts_logistic_loss() -> None:
    X, y = data(300, 2, seed=13)
    own = scores_of("XGBClassifier", "binary:logistic", X, y, base_score=0.5)
    ours = scores_of("XGBClassifier", CostObjective(lm.CrossEntropy()), X, y, base_score=0.5)
    numpy.testing.assert_allclose(ours, own, atol=1e-4)


def test_cross_entropy_grows_the_trees_of_xgboosts_softmax() -> None:
    if tuple(map(int, xgboost.__version__.split(".")[:2])) > (3, 2):
        pytest.skip("XGBoost's own curvature is about to change: dmlc/xgboost#12537")
    X, y = data(300, 3, seed=14)
    own = scores_of("xgboost.train", "multi:softprob", X, y, base_score=[0.0, 0.0, 0.0])
    ours = scores_of("xgboost.train", CostObjective(lm.CrossEntropy()), X, y, base_score=0.0)
    numpy.testing.assert_allclose(ours, own, atol=1e-4)


def test_cross_entropy_grows_the_trees_of_lightgbms_softmax() -> None:
    X, y = data(300, 2, seed=15)  # of two classes, where C / (C − 1) is the 2 of the bound
    start = {"boost_from_average": False, "num_class": 2}
    own = scores_of("lightgbm.train", "multiclass", X, y, **start)
    ours = scores_of("lightgbm.train", CostObjective(lm.CrossEntropy()), X, y, **start)
    numpy.testing.assert_allclose(ours, own, atol=1e-4)


def test_an_objective_can_be_cloned_and_pickled_within_its_model() -> None:
    X, y = data(100, 3, seed=16)
    model = xgboost.XGBClassifier(
        n_estimators=3, objective=CostObjective(lm.ExpectedCost(), PRICES)
    )
    fitted = clone(model).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    numpy.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    numpy.testing.assert_array_equal(again.fit(X, y).predict(X), fitted.predict(X))


# --- early stopping ------------------------------------------------------------------------------


PATIENCE = 12


def stopped(name: str, metric: CostMetric, held_out: Any, patience: int | None) -> Any:
    """A booster, the round that early stopping picks, and its score."""
    (X, y), (V, u, weight) = data(400, 3, seed=30), held_out
    objective, weights = metric.objective, None if weight is None else [weight]
    if "xgb" in name.lower():
        stop = {"early_stopping_rounds": patience}
        if name == "xgboost.train":
            options = {"num_class": 3, "disable_default_eval_metric": 1, "nthread": 1}
            watch = {"evals": [(xgboost.DMatrix(V, u, weight=weight), "held_out")]}
            asked = {"obj": objective, "custom_metric": metric, "verbose_eval": False} | stop
            model = xgboost.train(options, xgboost.DMatrix(X, y), 60, **watch, **asked)
        else:
            asked = {"objective": objective, "eval_metric": metric, "n_jobs": 1} | stop
            model = xgboost.XGBClassifier(n_estimators=60, **asked)
            watch = {"eval_set": [(V, u)], "sample_weight_eval_set": weights, "verbose": False}
            model = pickle.loads(pickle.dumps(clone(model))).fit(X, y, **watch).get_booster()
        return model, *((model.best_iteration, model.best_score) if patience else (0, 0.0))
    options = {"num_leaves": 8, "learning_rate": 0.3, "verbose": -1, "metric": "None", "n_jobs": 1}
    callbacks = [] if patience is None else [lightgbm.early_stopping(patience, verbose=False)]
    if name == "lightgbm.train":
        table, options = lightgbm.Dataset(X, y), options | {"num_class": 3, "objective": objective}
        watch = {"valid_sets": [table.create_valid(V, u, weight=weight)], "callbacks": callbacks}
        model = lightgbm.train(options, table, 60, feval=metric, **watch)
    else:
        model = lightgbm.LGBMClassifier(n_estimators=60, objective=objective, **options)
        watch = {"eval_set": [(V, u)], "eval_sample_weight": weights, "callbacks": callbacks}
        model = model.fit(X, y, eval_metric=metric, **watch).booster_
    return model, model.best_iteration - 1, model.best_score["valid_0"]["average_cost"]


def scores_after(model: Any, V: Array, rounds: int) -> Array:
    """Raw scores of the first rounds of a booster."""
    if isinstance(model, lightgbm.Booster):
        return model.predict(V, raw_score=True, num_iteration=rounds)
    return model.predict(xgboost.DMatrix(V), output_margin=True, iteration_range=(0, rounds))


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rule", ["bayes", "argmax"])
@pytest.mark.parametrize("name", NAMES)
def test_early_stopping_picks_the_round_that_costs_least(
    name: str, rule: Any, weighted: bool
) -> None:
    V, u = data(300, 3, seed=28)
    weight = numpy.random.default_rng(29).random(300) ** 3 if weighted else None
    objective = CostObjective(lm.CrossEntropy() + lm.ExpectedCost(), PRICES)
    metric = CostMetric(objective, rule=rule)
    _, best, score = stopped(name, metric, (V, u, weight), PATIENCE)
    whole, _, _ = stopped(name, metric, (V, u, weight), None)

    def cost(rounds: int) -> float:
        decision = objective.decide(scores_after(whole, V, rounds), rule=rule)
        return numpy.average(numpy.array(PRICES)[u, decision], weights=weight)

    costs = [cost(rounds + 1) for rounds in range(best + PATIENCE + 1)]
    assert best == numpy.argmin(costs) > 0
    assert score == pytest.approx(min(costs), abs=1e-6)  # XGBoost reads it from what it prints


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_metric_is_the_average_cost_of_the_decisions(shape: tuple[int, ...]) -> None:
    metric = CostMetric(CostObjective(lm.CrossEntropy(), [[0, 2], [5, 1]]), rule="argmax")
    labels, scores = numpy.array([0.0, 1.0, 1.0]), numpy.array([9.0, 9.0, -9.0]).reshape(shape)
    assert metric(labels, scores) == pytest.approx((2 + 1 + 5) / 3)
    weight = numpy.array([1.0, 0.0, 3.0])
    assert metric(labels, scores, sample_weight=weight) == pytest.approx((2 + 15) / 4)
    assert CostMetric(CostObjective(lm.CrossEntropy()))(labels, scores) == pytest.approx(2 / 3)


def test_a_metric_has_the_costs_of_the_rows_it_is_given() -> None:
    labels, scores = numpy.array([0, 1]), numpy.array([1.0, -1.0])
    trained = CostObjective(lm.ExpectedCost(), lm.PerExample([[0, 1], [2, 0], [3, 0]]))
    with pytest.raises(
        ValueError, match=r"got scores of 2 rows, but .* costs of 3: make a CostObj"
    ):
        CostMetric(trained)(labels, scores)
    held_out = CostObjective(lm.ExpectedCost(), lm.PerExample([[0, 7], [11, 0]]))
    assert CostMetric(held_out)(labels, scores) == 9.0
    with pytest.raises(ValueError, match="has no decision rule of its own"):
        CostMetric(CostObjective(lm.SoftmaxMargin(), [[0, 7], [11, 0]]))(labels, scores)


# --- LightGBM's raw scores in scikit-learn -------------------------------------------------------

LABELS = numpy.array(["high", "low", "mid"])  # in sorted order, as LightGBM numbers them


def trees_of(num_classes: int, loss: lm.Loss, abstain: bool = False, **options: Any) -> Any:
    """LightGBM with an objective, its training rows and their costs."""
    X, y = data(300, num_classes, seed=24)
    costs = lm.Dense([row[:num_classes] for row in PRICES[:num_classes]], [*LABELS[:num_classes]])
    costs = costs.with_abstain(0.15, "ask") if abstain else costs
    objective = CostObjective(loss, costs, **options)
    trees = lightgbm.LGBMClassifier(objective=objective, n_estimators=9, n_jobs=1, verbose=-1)
    return trees, X, LABELS[y], costs


@pytest.mark.parametrize("inside", ["alone", "pipeline", "search", "frozen"])
@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_scorer_lets_the_objective_decide_on_raw_scores(
    num_classes: int, abstain: bool, inside: str
) -> None:
    trees, X, y, costs = trees_of(num_classes, lm.CrossEntropy(), abstain)
    Z = StandardScaler().fit_transform(X) if inside == "pipeline" else X
    scores = clone(trees).fit(Z, y).predict(Z, raw_score=True)
    decision = [costs.decisions[j] for j in trees.objective.decide(scores)]
    assert ("ask" in decision) == abstain
    expected = -numpy.mean([costs.entry(*pair) for pair in zip(y, decision, strict=True)])
    model = {
        "alone": trees,
        "pipeline": make_pipeline(StandardScaler(), trees),
        "search": GridSearchCV(trees, {"n_estimators": [9]}, scoring=average_cost_scorer(costs)),
        "frozen": FrozenEstimator(clone(trees).fit(X, y)),
    }[inside]
    assert average_cost_scorer(costs)(model.fit(X, y), X, y) == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_bayes_decision_takes_raw_scores_as_logits(num_classes: int) -> None:
    trees, X, y, costs = trees_of(num_classes, lm.CrossEntropy() + lm.DecisionScore())
    scores = clone(trees).fit(X, y).predict(X, raw_score=True)
    logits = scores if num_classes == 3 else numpy.stack([0 * scores, scores], 1)
    for model in (trees, make_pipeline(trees)):
        classifier = BayesDecisionClassifier(model, costs).fit(X, y)
        softmax = torch.tensor(logits).softmax(1).numpy()
        numpy.testing.assert_allclose(classifier.predict_proba(X), softmax, rtol=1e-12)
        assert (classifier.predict(X) == LABELS[trees.objective.decide(scores)]).all()
    paid = average_cost_scorer(costs)
    classifier = BayesDecisionClassifier(trees, costs)
    assert (cross_val_score(classifier, X, y) == cross_val_score(trees, X, y, scoring=paid)).all()


def test_a_loss_without_a_rule_has_that_of_its_objective() -> None:
    loss = lm.CrossEntropy() + lm.ExpectedCost()
    trees, X, y, costs = trees_of(3, loss)
    with pytest.raises(ValueError, match="has no decision rule of its own"):
        average_cost_scorer(costs)(trees.fit(X, y), X, y)
    with pytest.raises(TypeError, match="pass rule='bayes' to its CostObjective"):
        BayesDecisionClassifier(trees, costs).fit(X, y)
    BayesDecisionClassifier(trees_of(3, loss, rule="bayes")[0], costs).fit(X, y).predict(X)
    for rule in ("argmax", "bayes"):
        trees = trees_of(3, loss, rule=rule)[0].fit(X, y)
        scores = trees.predict(X, raw_score=True)
        decision = trees.objective.decide(scores)
        assert (decision == trees_of(3, loss)[0].objective.decide(scores, rule=rule)).all()
        paid = numpy.mean([costs.entry(*each) for each in zip(y, LABELS[decision], strict=True)])
        assert average_cost_scorer(costs)(trees, X, y) == pytest.approx(-paid)


@pytest.mark.parametrize("library", [lightgbm.LGBMClassifier, xgboost.XGBClassifier])
def test_scores_that_are_no_probabilities_are_refused(library: Any) -> None:
    X, y = data(30, 2, seed=25)
    trees = library(objective=objective_of_two())
    with pytest.raises(TypeError, match=r"ExpectedCost\(\) decides by 'argmax'.*objective\.decide"):
        BayesDecisionClassifier(trees, lm.ZeroOne(2)).fit(X, y)


def test_raw_scores_are_not_calibrated_as_if_they_were_probabilities() -> None:
    trees, X, y, costs = trees_of(2, lm.CrossEntropy())
    with pytest.raises(TypeError, match=r"LGBMClassifier .* raw scores .* leave calibration=None"):
        BayesDecisionClassifier(trees, costs, calibration="sigmoid").fit(X, y)


def test_costs_in_another_order_than_the_labels_are_noticed() -> None:
    trees, X, y, costs = trees_of(3, lm.CrossEntropy())
    trees.objective = CostObjective(lm.CrossEntropy(), costs.reorder(["low", "mid", "high"]))
    classifier = BayesDecisionClassifier(trees, costs)
    for job in (average_cost_scorer(costs), lambda model, X, y: classifier.fit(X, y).predict(X)):
        with pytest.raises(ValueError, match=r"for low, mid, high .* sorted order, high, low, mid"):
            job(trees.fit(X, y), X, y)


def test_scores_of_any_floating_kind_and_layout_are_taken() -> None:
    objective = CostObjective(lm.CrossEntropy() + lm.ExpectedCost(), COSTS_OF_KINDS)
    scores = numpy.random.default_rng(3).normal(size=(4, 3)).astype("f2")
    labels = numpy.array([0, 2, 1, 1])
    expected = objective(labels, scores.astype("f4"))
    for given in (
        scores,
        scores.astype("f4")[:, ::-1].copy()[:, ::-1],
        scores.astype(">f4"),
        scores.astype("g"),
    ):
        for found, right in zip(objective(labels, given), expected, strict=True):
            numpy.testing.assert_allclose(found, right, rtol=1e-5)
    with pytest.raises(ValueError, match="sample_weight must be a number for each of 4 rows"):
        objective(labels, scores, 2.0)  # pyright: ignore
    with pytest.raises(ValueError, match="costs of 4 classes do not fit logits of shape"):
        CostObjective(lm.CrossEntropy(), lm.Ordinal(4))(labels, scores)


COSTS_OF_KINDS = [[0.0, 1.0, 2.5], [3.0, 0.0, 0.5], [1.5, 5.0, 0.0]]
