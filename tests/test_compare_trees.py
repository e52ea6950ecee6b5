# SPDX-License-Identifier: BSD-3-Clause
"""Boosted trees as a model of a comparison: XGBoost's softmax as control, and any loss beside."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

import lossmatrix as lm
from lossmatrix.compare import trees
from lossmatrix.compare.experiment import compare_task
from lossmatrix.compare.methods import Method, default_methods
from lossmatrix.compare.task import Task, UserInputError
from lossmatrix.compare.training import TrainingRows, predict
from lossmatrix.compare.trees import BoostedTrees, train_trees

xgboost = pytest.importorskip("xgboost")
COSTS = lm.Dense([[0, 1, 9], [2, 0, 4], [1, 3, 0]])
CROSS_ENTROPY = Method("CrossEntropy", lm.CrossEntropy())
COSTLY = Method("costly", lm.CrossEntropy() + lm.ExpectedCost())


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ROUNDS", 20)
    monkeypatch.setattr(trees, "PATIENCE", 5)


def ring(rows: int = 150) -> Task:
    """Three classes by the distance from the middle, with noise: no line parts them."""
    random = numpy.random.default_rng(2)
    features = random.normal(size=(rows, 2))
    distance = (features**2).sum(1) + random.normal(0, 0.3, rows)
    target = numpy.digitize(distance, [0.8, 2.2])
    return Task("ring", "Ring", COSTS, target, features=features, network="boosted")


def part(rows: slice, weight: float = 1.0) -> TrainingRows:
    task = ring()
    features = torch.from_numpy(task.features[rows]).float()
    target = torch.from_numpy(task.target[rows])
    return TrainingRows(features, target, torch.full((len(target),), weight), COSTS)


FIT, VALIDATION = slice(0, 100), slice(100, 150)


def grown(loss: lm.Loss, step: float = 1.0) -> BoostedTrees:
    model = BoostedTrees(3)
    assert train_trees(model, loss, part(FIT), part(VALIDATION), step)
    return model


def paid(logits: torch.Tensor, target: torch.Tensor) -> float:
    return lm.average_cost(lm.decide(logits.double().softmax(1), COSTS), target, COSTS).item()


def test_the_control_is_multi_softprob_up_to_the_round_whose_decisions_cost_least() -> None:
    model, fit, held_out = grown(lm.CrossEntropy()), part(FIT), part(VALIDATION)
    options = {"objective": "multi:softprob", "num_class": 3, "tree_method": "hist", "eta": 0.1}
    options |= {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 16, "nthread": 1}
    data = xgboost.DMatrix(fit.features.numpy(), label=fit.target.numpy())
    expected = xgboost.train(options, data, num_boost_round=20)
    rows = xgboost.DMatrix(held_out.features.numpy())
    costs = []
    for rounds in range(1, 21):
        scores = expected.predict(rows, output_margin=True, iteration_range=(0, rounds))
        costs.append(paid(torch.from_numpy(scores), held_out.target))
    stopped = next(  # no cheaper decision for five rounds
        (i for i in range(5, 20) if min(costs[: i - 4]) <= min(costs[i - 4 : i + 1])), 19
    )
    best = int(numpy.argmin(costs[: stopped + 1]))
    assert model.booster.best_iteration == best
    scores = expected.predict(rows, output_margin=True, iteration_range=(0, best + 1))
    numpy.testing.assert_allclose(predict(model, held_out.features), scores, atol=1e-5)


def test_other_losses_are_objectives_and_are_stopped_by_their_own_decisions() -> None:
    loss = lm.CrossEntropy() + lm.ExpectedCost()  # decides by argmax
    model, held_out = grown(loss), part(VALIDATION)
    rows = xgboost.DMatrix(held_out.features.numpy())
    costs = []
    for rounds in range(1, model.booster.num_boosted_rounds() + 1):
        scores = model.booster.predict(rows, output_margin=True, iteration_range=(0, rounds))
        decision = torch.from_numpy(scores).argmax(1)
        costs.append(lm.average_cost(decision, held_out.target, COSTS).item())
    assert model.booster.best_iteration == int(numpy.argmin(costs))
    other = predict(grown(lm.CrossEntropy()), held_out.features)
    assert not torch.allclose(predict(model, held_out.features), other, atol=0.05)


def test_steps_are_numbers_of_leaves() -> None:
    def leaves(step: float) -> int:
        dump = grown(lm.CrossEntropy(), step).booster.get_dump()
        return max(tree.count("leaf=") for tree in dump)

    assert leaves(0.01) == 2
    assert 2 < leaves(0.3) <= 5 < leaves(1.0) <= 16


def test_trees_are_compared_with_their_control_and_draw_nothing(tmp_path: Path) -> None:
    task = replace(ring(600), parts=numpy.repeat(["train", "val", "test"], 200))
    found = compare_task(task, [CROSS_ENTROPY, COSTLY], seeds=3, tune=2, keep=tmp_path)
    assert found.seeds == 1  # the others would do the same
    assert len(list(tmp_path.iterdir())) == 4
    control = found.controls[0]
    assert control.average_cost < 0.8 * found.constant_cost
    assert {row.method for row in found.results} == {"CrossEntropy", "costly"}


def test_trees_calibrate_out_of_fold_and_are_not_refined(tmp_path: Path) -> None:
    found = compare_task(ring(), [CROSS_ENTROPY], seeds=1, tune=1, keep=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5 + 5 * 4
    assert all(fit.temperature > 0 for fit in found.controls[0].fits)
    assert not any(method.refines for method in default_methods(COSTS, "boosted"))


def test_without_xgboost_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "find_spec", lambda name: None)
    with pytest.raises(UserInputError, match=r"need XGBoost, which is not here: pip install"):
        compare_task(ring(), [CROSS_ENTROPY], seeds=1)
