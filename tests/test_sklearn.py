# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn: its own checks, labels that meet the right row of costs, and what decides."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy
import pandas
import pytest
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

import lossmatrix as lm
from lossmatrix.sklearn import (
    BayesDecisionClassifier,
    CostSensitiveClassifier,
    average_cost_scorer,
    normalized_cost_scorer,
)

Array = NDArray[Any]

# No two entries alike, and an order of names that is neither that of letters nor its own inverse.
GRADES = ["severe", "mild", "moderate"]
COSTS = lm.Dense([[0, 9, 4], [3, 0, 1], [2, 5, 0]], classes=GRADES)
BY_LETTER = lm.Dense([[0, 1, 3], [5, 0, 2], [9, 4, 0]])  # the same for mild, moderate, severe


def data(count: int = 300, seed: int = 0) -> tuple[Array, Array]:
    """Overlapping grades along a line, as words; severe is rare."""
    generator = numpy.random.default_rng(seed)
    grade = generator.choice(3, size=count, p=[0.5, 0.35, 0.15])
    x = grade + 0.7 * generator.standard_normal(count)
    return numpy.stack([x, generator.standard_normal(count)], 1), WORDS[grade]


WORDS = numpy.array(["mild", "moderate", "severe"])
X, Y = data()


def quick(costs: Any = None, **options: Any) -> CostSensitiveClassifier:
    """A linear network that has learnt within a second."""
    given = {"module": torch.nn.Linear, "max_epochs": 30, "lr": 0.1, "random_state": 0} | options
    return CostSensitiveClassifier(costs, **given)


# --- scikit-learn's own checks -------------------------------------------------------------------


@parametrize_with_checks(
    [
        CostSensitiveClassifier(max_epochs=30, lr=0.03),
        BayesDecisionClassifier(LogisticRegression()),
    ]
)
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32, numpy.int64])
def test_a_network_is_trained_in_the_precision_of_its_rows(dtype: Any) -> None:
    X, y = data(60)
    classifier = quick(COSTS, max_epochs=2).fit(X.astype(dtype), y)
    expected = numpy.float32 if dtype == numpy.float32 else numpy.float64
    assert classifier.predict_proba(X.astype(numpy.float16)).dtype == expected
    assert next(classifier.net_.module_.parameters()).dtype == getattr(torch, expected.__name__)


# --- labels and costs ----------------------------------------------------------------------------


def least_cost(probs: Array, costs: lm.CostMatrix) -> list[str]:
    """The Bayes decision by names, one entry at a time; columns of probs by letter."""
    return [
        min(
            costs.decisions,
            key=lambda name: sum(
                p * costs.entry(truth, name) for p, truth in zip(row, WORDS, strict=True)
            ),
        )
        for row in probs.tolist()
    ]


@pytest.mark.parametrize(
    "costs",
    [
        COSTS,
        COSTS.with_abstain(0.8, "ask"),
        lm.Ordinal(GRADES),
        COSTS.reorder(list(WORDS)),
        lm.Dense([[9, 4, 0], [0, 1, 3], [5, 0, 2]], GRADES, ["mild", "moderate", "severe"]),
    ],
    ids=["dense", "ask", "ordinal", "by letter", "columns in another order"],
)
@pytest.mark.parametrize("estimator", [LogisticRegression(), quick()], ids=["logistic", "network"])
def test_costs_meet_labels_by_name(costs: lm.CostMatrix, estimator: Any) -> None:
    if isinstance(estimator, CostSensitiveClassifier):
        classifier = clone(estimator).set_params(costs=costs).fit(X, Y)
    else:
        classifier = BayesDecisionClassifier(estimator, costs).fit(X, Y)
    assert classifier.classes_.tolist() == list(WORDS)
    probs = classifier.predict_proba(X)
    assert (WORDS[probs.argmax(1)] == Y).mean() > 0.6  # so columns are those of classes_
    decision = classifier.predict(X)
    assert decision.tolist() == least_cost(probs, costs)
    assert len(set(decision)) >= 3
    assert ("ask" in decision) == ("ask" in costs.decisions)
    expected = -numpy.mean([costs.entry(y, d) for y, d in zip(Y, decision, strict=True)])
    assert classifier.score(X, Y) == pytest.approx(expected)
    assert average_cost_scorer(costs)(classifier, X, Y) == pytest.approx(expected)


def test_costs_without_names_are_for_the_labels_in_sorted_order() -> None:
    named = BayesDecisionClassifier(LogisticRegression(), COSTS).fit(X, Y).predict(X)
    for costs in (BY_LETTER, BY_LETTER.to_dense(), BY_LETTER.to_dense().tolist()):
        sorted_ = BayesDecisionClassifier(LogisticRegression(), costs).fit(X, Y).predict(X)
        assert (sorted_ == named).all()


def test_numbers_meet_names_that_print_the_same() -> None:
    grade = numpy.searchsorted(WORDS, Y) * 10  # 0, 10, 20
    costs = lm.Dense(COSTS.to_dense(), classes=["20", "0", "10"])
    decision = BayesDecisionClassifier(LogisticRegression(), costs).fit(X, grade).predict(X)
    assert decision.dtype == grade.dtype
    named = BayesDecisionClassifier(LogisticRegression(), COSTS).fit(X, Y).predict(X)
    assert (WORDS[decision // 10] == named).all()


def test_without_costs_every_mistake_costs_one() -> None:
    classifier = BayesDecisionClassifier(LogisticRegression()).fit(X, Y)
    plain = LogisticRegression().fit(X, Y)
    assert (classifier.predict(X) == plain.predict(X)).all()
    assert classifier.score(X, Y) == pytest.approx(plain.score(X, Y) - 1)


def test_a_decision_that_is_no_class_comes_as_its_name() -> None:
    grade = numpy.searchsorted(WORDS, Y)
    costs = BY_LETTER.with_abstain(1.0, "ask")
    decision = BayesDecisionClassifier(LogisticRegression(), costs).fit(X, grade).predict(X)
    assert decision.dtype == object
    assert set(decision) == {0, 1, 2, "ask"}
    act = lm.Dense([[0, 3], [2, 1], [9, 0]], classes=list(WORDS), decisions=["wait", "treat"])
    decision = BayesDecisionClassifier(LogisticRegression(), act).fit(X, Y).predict(X)
    assert set(decision) == {"wait", "treat"}
    unnamed = lm.Dense([[0, 3, 9, 1], [4, 0, 5, 1], [2, 9, 0, 1]], classes=GRADES)
    decision = BayesDecisionClassifier(LogisticRegression(), unnamed).fit(X, Y).predict(X)
    assert set(decision) <= {*GRADES, "3"}
    assert "3" in decision


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (lm.ZeroOne(2), r"y has 3 classes \(mild, moderate, severe\), but the costs are for 2"),
        (
            lm.ZeroOne(["mild", "bad", "worse"]),
            "no class named moderate, severe: they are",
        ),
        (lm.PerExample([[0, 1, 2]]), "holds the costs of one batch"),
    ],
)
def test_costs_that_do_not_match_the_labels_are_refused(costs: Any, message: str) -> None:
    for classifier in (BayesDecisionClassifier(LogisticRegression(), costs), quick(costs)):
        with pytest.raises(ValueError, match=message):
            classifier.fit(X, Y)
        assert not hasattr(classifier, "estimator_")  # before anything is fitted


def test_a_label_or_a_decision_that_the_costs_do_not_know_is_refused() -> None:
    classifier = LogisticRegression().fit(X, Y)
    with pytest.raises(ValueError, match="unknown label 'dead': known are 'mild'"):
        average_cost_scorer(COSTS)(classifier, X[:1], ["dead"])
    other = lm.Dense([[0, 1], [1, 0], [2, 0]], classes=list(WORDS), decisions=["wait", "treat"])
    with pytest.raises(ValueError, match="unknown decision 'mild': known are 'wait', 'treat'"):
        average_cost_scorer(other)(classifier, X[Y == "mild"], Y[Y == "mild"])


# --- any classifier, decided by cost -------------------------------------------------------------


@pytest.mark.parametrize("calibration", [None, "sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(30, random_state=0),
        HistGradientBoostingClassifier(max_iter=15, random_state=0),
    ],
    ids=["forest", "boosting"],
)
def test_any_classifier_decides_cheaper_by_cost(estimator: Any, calibration: Any) -> None:
    test = data(1000, seed=1)
    plain = average_cost_scorer(COSTS)(clone(estimator).fit(X, Y), *test)
    classifier = BayesDecisionClassifier(estimator, COSTS, calibration=calibration, cv=3)
    assert classifier.fit(X, Y).score(*test) > 0.9 * plain  # both are below 0
    folds = getattr(classifier.estimator_, "calibrated_classifiers_", [])
    assert len(folds) == (0 if calibration is None else 3)


def test_a_matrix_is_fitted_to_rows_out_of_fold_and_mends_the_model_of_all_rows() -> None:
    forest = RandomForestClassifier(8, max_depth=3, random_state=0)  # some probabilities are 0
    folds = list(StratifiedKFold(3).split(X, Y))
    classifier = BayesDecisionClassifier(forest, COSTS, calibration="matrix", cv=folds).fit(X, Y)
    probs = numpy.zeros((len(Y), 3))
    for fit, held in folds:
        probs[held] = clone(forest).fit(X[fit], Y[fit]).predict_proba(X[held])
    assert (probs == 0).any()
    target = torch.as_tensor(numpy.searchsorted(sorted(GRADES), Y))
    scaling = lm.MatrixScaling().fit(torch.as_tensor(probs.clip(numpy.exp(-12.0))).log(), target)
    torch.testing.assert_close(classifier.matrix_.matrix, scaling.matrix)
    alone = clone(forest).fit(X, Y).predict_proba(X)
    expected = scaling(torch.as_tensor(alone.clip(numpy.exp(-12.0))).log()).softmax(1)
    torch.testing.assert_close(torch.as_tensor(classifier.predict_proba(X)), expected)
    decided = lm.decide(expected[:, [2, 0, 1]], COSTS)  # from letters to the order of the costs
    assert classifier.predict(X).tolist() == [GRADES[j] for j in decided]


def test_a_matrix_that_cannot_count_as_asked_says_so() -> None:
    classifier = BayesDecisionClassifier(LogisticRegression(), COSTS, calibration="matrix", cv=3)
    with pytest.raises(ValueError, match="counts every row once"):
        classifier.fit(X, Y, sample_weight=numpy.ones(len(Y)))
    frozen = FrozenEstimator(LogisticRegression().fit(X, Y))
    two = numpy.isin(Y, GRADES[1:])
    with pytest.raises(ValueError, match="needs rows of all 3 classes"):
        BayesDecisionClassifier(frozen, COSTS, calibration="matrix").fit(X[two], Y[two])


def test_a_classifier_without_probabilities_needs_a_calibration() -> None:
    with pytest.raises(TypeError, match=r"LinearSVC\(\) has no predict_proba.*calibration='sigm"):
        BayesDecisionClassifier(LinearSVC(), COSTS).fit(X, Y)
    BayesDecisionClassifier(LinearSVC(), COSTS, calibration="sigmoid").fit(X, Y).predict(X)
    with pytest.raises(TypeError, match="has no predict_proba"):  # the costs are in it already
        BayesDecisionClassifier(quick(COSTS, loss=lm.ExpectedCost()), COSTS).fit(X, Y)


def test_a_frozen_classifier_is_taken_as_it_is() -> None:
    fitted = LogisticRegression().fit(X, Y)
    common = Y != "severe"  # these rows alone would not match the costs
    frozen = BayesDecisionClassifier(FrozenEstimator(fitted), COSTS).fit(X[common], Y[common])
    fresh = BayesDecisionClassifier(LogisticRegression(), COSTS).fit(X, Y)
    assert (frozen.predict(X) == fresh.predict(X)).all()


def test_weights_reach_the_estimator() -> None:
    weight = numpy.where(Y == "severe", 5.0, 1.0)
    for calibration in (None, "sigmoid"):
        classifier = BayesDecisionClassifier(LogisticRegression(), COSTS, calibration=calibration)
        plain = classifier.fit(X, Y).predict_proba(X)[:, 2].mean()
        classifier.fit(X, Y, sample_weight=weight)
        assert classifier.predict_proba(X)[:, 2].mean() > plain + 0.1


# --- weights and costs of rows, through the tools of scikit-learn ---------------------------------

WEIGHT = numpy.random.default_rng(7).random(len(Y)) * numpy.where(Y == "severe", 9.0, 1.0)
AMOUNT = numpy.random.default_rng(8).gamma(1.0, size=len(Y))
OWN = AMOUNT[:, None, None] * COSTS.to_dense().numpy() + numpy.array([0.0, 0.3, 0.1])  # (N, C, K)
PRICES = lm.PerExample.matrices(torch.tensor(OWN), GRADES)
OF_TRUTH = OWN[numpy.arange(len(Y)), [GRADES.index(y) for y in Y]]  # (N, K)


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def weighted(asks: bool = True) -> LogisticRegression:
    """A classifier that asks for weights."""
    return (
        LogisticRegression().set_fit_request(sample_weight=True) if asks else LogisticRegression()
    )


def price_of(decision: Array, rows: Any = slice(None)) -> Array:
    """What each decision cost by the costs of its own row."""
    return OF_TRUTH[rows][numpy.arange(len(decision)), [GRADES.index(d) for d in decision]]


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("scorer", [average_cost_scorer, normalized_cost_scorer])
@pytest.mark.parametrize("name", ["sample_weight", "costs"])
def test_a_scorer_loses_no_metadata(scorer: Any, name: str) -> None:
    given = {name: {"sample_weight": WEIGHT, "costs": OF_TRUTH}[name]}
    classifier = DummyClassifier().set_fit_request(sample_weight=True)
    other = {"sample_weight": "costs", "costs": "sample_weight"}[name]
    for deaf in (scorer(COSTS), scorer(COSTS).set_score_request(**{other: True})):
        with pytest.raises(UnsetMetadataPassedError, match=name):
            cross_validate(classifier, X, Y, scoring=deaf, params=given)
    asked = scorer(COSTS).set_score_request(**{name: True})
    found = cross_validate(classifier, X, Y, scoring=asked, params=given, **INDICES)
    for fold, rows, score in folds_of(found):
        own = {key: value[rows] for key, value in given.items()}
        assert score == pytest.approx(scorer(COSTS)(fold, X[rows], Y[rows], **own), rel=1e-12)
        assert score != pytest.approx(scorer(COSTS)(fold, X[rows], Y[rows]), rel=1e-3)
    search = GridSearchCV(classifier, {"strategy": ["prior"]}, scoring=asked).fit(X, Y, **given)
    assert search.best_score_ == pytest.approx(found["test_score"].mean())
    accuracy = make_scorer(accuracy_score).set_score_request(sample_weight=False)
    both = {"paid": asked, "accuracy": accuracy}
    several = cross_validate(classifier, X, Y, scoring=both, params=given)
    assert (several["test_paid"] == found["test_score"]).all()


INDICES = {"return_estimator": True, "return_indices": True, "error_score": "raise"}


def folds_of(found: dict[str, Any]) -> Iterator[tuple[Any, Array, float]]:
    """The fitted classifier, the test rows and the score of each fold."""
    return zip(found["estimator"], found["indices"]["test"], found["test_score"], strict=True)


@pytest.mark.parametrize("names", [None, ["worse", "mild"]])
@pytest.mark.parametrize("routes", [False, True])
def test_a_threshold_is_tuned_to_cost(names: Any, routes: bool) -> None:
    labels = numpy.where(Y == "mild", "mild", "worse")
    costs = lm.Dense([[0, 7], [1, 0]] if names else [[0, 1], [7, 0]], classes=names)

    def by_hand(y: Array, decision: Array, sample_weight: Array | None = None) -> float:
        paid = numpy.where(y == decision, 0.0, numpy.where(y == "mild", 1.0, 7.0))
        return numpy.average(paid, weights=sample_weight)

    def tuned(scorer: Any, **weight: Array) -> Any:
        classifier = TunedThresholdClassifierCV(weighted(bool(weight)), scoring=scorer)
        return classifier.fit(X, labels, **weight)

    weight: dict[str, Array] = {}
    with sklearn.config_context(enable_metadata_routing=routes):
        scorers = average_cost_scorer(costs), make_scorer(by_hand, greater_is_better=False)
        if routes:
            weight = {"sample_weight": WEIGHT}
            scorers = [each.set_score_request(sample_weight=True) for each in scorers]
        one, other = (tuned(scorer, **weight) for scorer in scorers)
    assert one.best_threshold_ == other.best_threshold_
    assert one.best_score_ == pytest.approx(other.best_score_)


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("calibration", [None, "sigmoid"])
def test_a_bayes_decision_routes_weights(calibration: Any) -> None:
    classifier = BayesDecisionClassifier(weighted(), COSTS, calibration=calibration)
    found = cross_validate(classifier, X, Y, params={"sample_weight": WEIGHT}, **INDICES)
    for (fold, rows, score), train in zip(folds_of(found), found["indices"]["train"], strict=True):
        alone = LogisticRegression()
        if calibration is not None:
            alone = CalibratedClassifierCV(weighted()).set_fit_request(sample_weight=True)
        alone.fit(X[train], Y[train], sample_weight=WEIGHT[train])
        assert (fold.predict_proba(X) == alone.predict_proba(X)).all()
        assert score == pytest.approx(fold.score(X[rows], Y[rows], WEIGHT[rows]))
    silent = BayesDecisionClassifier(LogisticRegression(), COSTS, calibration=calibration)
    with pytest.raises(UnsetMetadataPassedError, match=r"for LogisticRegression\.fit"):
        silent.fit(X, Y, sample_weight=WEIGHT)


@pytest.mark.parametrize("name", ["sample_weight", "logisticregression__sample_weight"])
def test_weights_reach_a_classifier_inside_a_pipeline(name: str) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    inside = {"logisticregression__sample_weight": WEIGHT}
    expected = clone(pipeline).fit(X, Y, **inside).predict_proba(X)
    classifier = BayesDecisionClassifier(pipeline, COSTS).fit(X, Y, **{name: WEIGHT})
    assert (classifier.predict_proba(X) == expected).all()
    calibrated = CalibratedClassifierCV(pipeline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that the pipeline has none
        expected = calibrated.fit(X, Y, **(inside | {name: WEIGHT})).predict_proba(X)
    classifier.set_params(calibration="sigmoid").fit(X, Y, **{name: WEIGHT})
    assert (classifier.predict_proba(X) == expected).all()
    nested = BayesDecisionClassifier(make_pipeline(make_pipeline(LogisticRegression())), COSTS)
    alone = LogisticRegression().fit(X, Y, WEIGHT)
    found = nested.fit(X, Y, sample_weight=WEIGHT).predict_proba(X)
    assert (found == alone.predict_proba(X)).all()


@pytest.mark.usefixtures("routing")
def test_the_network_has_its_weights_inside_pipelines_and_searches() -> None:
    paid = average_cost_scorer(COSTS).set_score_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    network = quick(COSTS, max_epochs=3).set_fit_request(sample_weight=True)
    pipeline = make_pipeline(scaler, network)
    grid = {"costsensitiveclassifier__lr": [0.1]}
    search = GridSearchCV(pipeline, grid, scoring=paid, cv=2).fit(X, Y, sample_weight=WEIGHT)
    alone = clone(pipeline).fit(X, Y, sample_weight=WEIGHT)
    assert (search.predict(X) == alone.predict(X)).all()
    assert (search.predict(X) != clone(pipeline).fit(X, Y).predict(X)).any()
    with pytest.raises(UnsetMetadataPassedError, match="CostSensitiveClassifier"):
        cross_validate(network, X, Y, params={"sample_weight": WEIGHT})
    network.set_score_request(sample_weight=True)
    found = cross_validate(network, X, Y, params={"sample_weight": WEIGHT}, cv=2, **INDICES)
    for fold, rows, score in folds_of(found):
        assert score == average_cost_scorer(COSTS)(fold, X[rows], Y[rows], WEIGHT[rows])


@pytest.mark.parametrize(
    "costs", [OWN, torch.tensor(OWN), PRICES, lm.PerExample.matrices(torch.tensor(OWN))]
)
def test_rows_are_decided_by_costs_of_their_own(costs: Any) -> None:
    classifier = BayesDecisionClassifier(LogisticRegression(), COSTS).fit(X, Y)
    probs = classifier.predict_proba(X)
    one_by_one = [
        least_cost(p[None], lm.Dense(torch.tensor(own), classes=GRADES))[0]
        for p, own in zip(probs, OWN, strict=True)
    ]
    decision = classifier.predict(X, costs=costs)
    assert decision.tolist() == one_by_one
    assert (decision != classifier.predict(X)).any()
    assert classifier.score(X, Y, costs=costs) == pytest.approx(-price_of(decision).mean())


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("inside", [False, True])
def test_costs_of_rows_decide_and_measure_in_cross_validation(inside: bool) -> None:
    paid = average_cost_scorer(COSTS).set_score_request(costs=True)
    classifier = BayesDecisionClassifier(LogisticRegression(), COSTS)
    given = {"costs": OWN}
    model = make_pipeline(StandardScaler(), classifier) if inside else classifier
    found = cross_validate(model, X, Y, scoring=paid, params=given, **INDICES)
    for fold, rows, score in folds_of(found):
        decision = fold.predict(X[rows], costs=OWN[rows])
        assert score == pytest.approx(-price_of(decision, rows).mean())
        assert (decision != fold.predict(X[rows])).any()
    by_itself = cross_validate(model, X, Y, params=given) if not inside else found
    assert (by_itself["test_score"] == found["test_score"]).all()
    deaf = clone(classifier).set_predict_request(costs=False)  # measured alone
    found = cross_validate(deaf, X, Y, scoring=paid, params=given, **INDICES)
    for fold, rows, score in folds_of(found):
        assert score == pytest.approx(-price_of(fold.predict(X[rows]), rows).mean())
    of_truth = cross_validate(classifier, X, Y, scoring=paid, params={"costs": OF_TRUTH})
    assert of_truth["test_score"] == pytest.approx(found["test_score"])
    with pytest.raises(ValueError, match=r"got 60 rows, but costs of 300: .* as an array"):
        cross_validate(model, X, Y, scoring=paid, params={"costs": PRICES}, error_score="raise")


@pytest.mark.parametrize("routes", [False, True])
def test_a_scorer_finds_who_decides_by_costs_of_rows(routes: bool) -> None:
    paid = average_cost_scorer(COSTS)
    classifier = BayesDecisionClassifier(LogisticRegression(), COSTS).fit(X, Y)
    expected = -price_of(classifier.predict(X, costs=OWN)).mean()
    with sklearn.config_context(enable_metadata_routing=routes):
        pipeline = make_pipeline(classifier)
        search = GridSearchCV(pipeline, {"bayesdecisionclassifier__cv": [None]}).fit(X, Y)
        for model in (pipeline, search, FrozenEstimator(search), FrozenEstimator(classifier)):
            assert paid(model, X, Y, costs=OWN) == pytest.approx(expected)


def test_costs_of_rows_with_another_decision_have_its_name() -> None:
    asking = COSTS.with_abstain(0.8, "ask")
    own = numpy.concatenate([OWN, AMOUNT[:, None, None] * numpy.full((1, 3, 1), 0.5)], 2)
    classifier = BayesDecisionClassifier(LogisticRegression(), asking).fit(X, Y)
    decision = classifier.predict(X, costs=own)
    assert {"ask"} < set(decision) <= {*GRADES, "ask"}
    assert classifier.score(X, Y, costs=own) >= classifier.score(X, Y, costs=OF_TRUTH_ASKING)


OF_TRUTH_ASKING = numpy.concatenate([OF_TRUTH, 0.5 * AMOUNT[:, None]], 1)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (OWN[:5], "got 300 rows, but costs of 5"),
        (lm.PerExample.matrices(torch.tensor(OWN[:5])), "got 300 rows, but costs of 5"),
        (OWN[:, :2], r"must be of shape \(300, 3, 3\), or \(300, 3\) .* got \(300, 2, 3\)"),
        (numpy.where(OWN > 9, numpy.nan, OWN), "costs must be numbers"),
        (lm.PerExample.matrices(torch.tensor(OWN), ["a", "b", "c"]), "no class named mild"),
        (OF_TRUTH, "expected costs need a matrix for each sample"),
    ],
)
def test_costs_of_rows_that_do_not_fit_are_refused(costs: Any, message: str) -> None:
    classifier = BayesDecisionClassifier(LogisticRegression(), COSTS).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        classifier.predict(X, costs=costs)


# --- scorers -------------------------------------------------------------------------------------


def test_scores_are_minus_what_was_paid() -> None:
    always = DummyClassifier(strategy="constant", constant="moderate").fit(X, Y)
    paid = [COSTS.entry(y, "moderate") for y in Y]
    assert average_cost_scorer(COSTS)(always, X, Y) == pytest.approx(-numpy.mean(paid))
    weight = numpy.arange(len(Y))
    weighted = -numpy.average(paid, weights=weight)
    assert average_cost_scorer(COSTS)(always, X, Y, weight) == pytest.approx(weighted)
    assert normalized_cost_scorer(COSTS)(always, X, Y) == -1.0  # the best constant decision
    assert repr(average_cost_scorer(COSTS)) == "average_cost_scorer(Dense(3))"


def test_scorers_serve_cross_validation_of_any_classifier() -> None:
    plain = cross_val_score(LogisticRegression(), X, Y, scoring=normalized_cost_scorer(COSTS), cv=3)
    classifier = BayesDecisionClassifier(LogisticRegression(), COSTS)
    bayes = cross_val_score(classifier, X, Y, scoring=normalized_cost_scorer(COSTS), cv=3)
    assert (bayes > plain).all()
    assert (bayes > -1).all()
    average = cross_val_score(classifier, X, Y, scoring=average_cost_scorer(COSTS), cv=3)
    assert (average == cross_val_score(classifier, X, Y, cv=3)).all()


# --- the network ---------------------------------------------------------------------------------


def test_a_loss_that_decides_by_argmax_is_decided_by_argmax() -> None:
    classifier = quick(COSTS, loss=lm.CostSensitiveCrossEntropy()).fit(X, Y)
    logits = classifier.decision_function(X)
    assert (classifier.predict(X) == WORDS[logits.argmax(1)]).all()
    softmax = torch.tensor(logits).softmax(1).numpy()
    assert least_cost(softmax, COSTS) != classifier.predict(X).tolist()  # costs counted twice
    assert not hasattr(classifier, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        classifier.predict_proba(X)
    assert classifier.score(X, Y) > average_cost_scorer(COSTS)(quick().fit(X, Y), X, Y)


def test_a_loss_without_a_rule_asks_for_one() -> None:
    classifier = quick(COSTS, loss=lm.CrossEntropy() + lm.ExpectedCost())
    with pytest.raises(ValueError, match="has no decision rule of its own: pass rule='argmax'"):
        classifier.fit(X, Y)
    argmax = clone(classifier).set_params(rule="argmax").fit(X, Y)
    assert (argmax.predict(X) == WORDS[argmax.decision_function(X).argmax(1)]).all()
    bayes = clone(classifier).set_params(rule="bayes").fit(X, Y)
    assert bayes.predict(X).tolist() == least_cost(bayes.predict_proba(X), COSTS)


def test_two_classes_have_one_decision_function() -> None:
    ill = numpy.where(Y == "mild", "healthy", "ill")
    classifier = quick().fit(X, ill)
    odds = classifier.decision_function(X)
    assert odds.shape == (len(X),)
    probs = classifier.predict_proba(X)[:, 1]
    numpy.testing.assert_allclose(probs, 1 / (1 + numpy.exp(-odds)), rtol=1e-5)


def test_a_row_of_weight_two_is_two_rows() -> None:
    weight = numpy.random.default_rng(3).integers(0, 3, len(Y))
    options = {"batch_size": 1000, "optimizer": torch.optim.SGD}
    weighted = quick(**options).fit(X, Y, sample_weight=weight)
    repeated = quick(**options).fit(X.repeat(weight, 0), Y.repeat(weight))
    numpy.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-3, atol=1e-5
    )
    scaled = quick(**options).fit(X, Y, sample_weight=1000 * weight)
    numpy.testing.assert_allclose(
        weighted.predict_proba(X), scaled.predict_proba(X), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("weight", [[1.0], [-1.0] * 300, [0.0] * 300, [numpy.nan] * 300])
def test_unfit_weights_are_refused(weight: list[float]) -> None:
    with pytest.raises(ValueError, match="sample_weight must be"):
        quick().fit(X, Y, sample_weight=weight)


def test_the_temperature_is_fitted_on_rows_held_out() -> None:
    noise = numpy.random.default_rng(5).standard_normal((60, 50))
    few, labels = numpy.concatenate([X[:60], noise], 1), Y[:60]
    options = {"module": wide, "max_epochs": 50, "lr": 0.01}
    raw = quick(COSTS, **options).fit(few, labels)
    classifier = quick(COSTS, calibration="temperature", **options).fit(few, labels)
    assert raw.calibration_ is None
    temperature = classifier.calibration_.temperature
    assert temperature > 2  # it learns 48 rows by heart, whose best temperature would be 0
    assert raw.score(few, labels) == 0
    with torch.no_grad():
        logits = classifier.net_.module_(torch.tensor(few))
    probs = (logits / temperature).softmax(1)[:, [1, 2, 0]].numpy()  # logits as GRADES
    numpy.testing.assert_allclose(classifier.predict_proba(few), probs, rtol=1e-4, atol=1e-6)
    assert classifier.predict(few).tolist() == least_cost(probs, COSTS)


def wide(num_features: int, num_classes: int, hidden: int = 256) -> torch.nn.Module:
    """A network with more parameters than it needs."""
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.LazyLinear(hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, num_classes),
    )


def test_parameters_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(TypeError, match=r"module must make a network, but Linear\(…\) is one"):
        quick(module=torch.nn.Linear(2, 3)).fit(X, Y)
    with pytest.raises(ValueError, match="calibration must be None or 'temperature', got 'sig"):
        quick(calibration="sigmoid").fit(X, Y)
    with pytest.raises(ValueError, match="no probabilities that could be calibrated"):
        quick(COSTS, loss=lm.Unlikelihood(), calibration="temperature").fit(X, Y)
    with pytest.raises(TypeError, match="Use CostSensitiveCrossEntropy"):
        quick(COSTS, loss=lm.PairWeightedCrossEntropy(), rule="argmax").fit(X, Y)


def test_the_same_seed_gives_the_same_network_and_leaves_the_generators_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, again = quick().fit(X, Y), quick().fit(X, Y)
    other = quick(random_state=1).fit(X, Y)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (first.predict_proba(X) == again.predict_proba(X)).all()
    assert (first.predict_proba(X) != other.predict_proba(X)).any()


def test_it_searches_grids_of_losses_and_costs_within_a_pipeline() -> None:
    pipeline = make_pipeline(StandardScaler(), quick(COSTS))
    grid = {
        "costsensitiveclassifier__loss": [
            lm.CrossEntropy(),
            lm.CrossEntropy() + lm.DecisionScore(),
            lm.CostSensitiveCrossEntropy(),
        ],
        "costsensitiveclassifier__costs": [None, COSTS],
    }
    search = GridSearchCV(pipeline, grid, scoring=average_cost_scorer(COSTS), cv=3).fit(X, Y)
    assert search.best_params_["costsensitiveclassifier__costs"] is not None
    assert search.score(X, Y) > -1
    again = pickle.loads(pickle.dumps(search))
    assert (again.predict(X) == search.predict(X)).all()


def test_it_takes_images_and_the_options_of_skorch() -> None:
    images = numpy.zeros((len(X), 1, 4, 5))
    images[:, 0, 0, 0] = X[:, 0]
    classifier = quick(
        module=wide,
        max_epochs=200,
        net_options={
            "module__hidden": 8,
            "optimizer__weight_decay": 0.0,
            "criterion__label_smoothing": 0.1,
            "train_split": ValidSplit(5, stratified=True),
            "callbacks": [EarlyStopping(patience=3)],
        },
    ).fit(images, Y)
    assert (classifier.predict(images) == Y).mean() > 0.6
    assert classifier.net_.module_[1].out_features == 8
    assert classifier.net_.criterion_.label_smoothing == 0.1
    assert len(classifier.net_.history) < 200


def test_tables_of_pandas_keep_their_names() -> None:
    table, labels = pandas.DataFrame(X, columns=["size", "age"]), pandas.Series(Y, name="grade")
    for classifier in (BayesDecisionClassifier(LogisticRegression(), COSTS), quick(COSTS)):
        classifier.fit(table, labels)
        assert classifier.feature_names_in_.tolist() == ["size", "age"]
        assert set(classifier.predict(table)) <= set(GRADES)
        with pytest.raises(ValueError, match="feature names"):
            classifier.predict(table[["age", "size"]])


def test_a_net_of_skorch_needs_to_be_told_of_the_softmax() -> None:
    rows, labels = X.astype(numpy.float32), numpy.searchsorted(WORDS, Y)
    net = NeuralNetClassifier(
        torch.nn.Linear,
        module__in_features=2,
        module__out_features=3,
        criterion=lm.Criterion,
        criterion__loss=lm.CrossEntropy() + lm.DecisionScore(),
        criterion__costs=BY_LETTER,
        lr=0.1,
        train_split=None,
        verbose=0,
    )
    classifier = BayesDecisionClassifier(net, BY_LETTER).fit(rows, labels)
    with pytest.raises(ValueError, match="pass logits through softmax first"):
        classifier.predict(rows)
    net.set_params(predict_nonlinearity=partial(torch.softmax, dim=1))
    classifier = BayesDecisionClassifier(net, BY_LETTER).fit(rows, labels)
    fitted = classifier.estimator_
    numpy.testing.assert_allclose(classifier.predict_proba(rows).sum(1), 1.0, rtol=1e-5)
    decision = fitted.criterion_.decide(fitted.forward(rows))
    assert (classifier.predict(rows) == decision.numpy()).all()
    assert classifier.score(rows, labels) > average_cost_scorer(BY_LETTER)(fitted, rows, labels)


# --- what it needs -------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    code = "import sys; sys.modules['skorch'] = None; import lossmatrix.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: lossmatrix.sklearn needs scikit-learn and skorch: "
        "pip install lossmatrix[sklearn]"
    )


def test_costs_of_rows_without_names_do_not_follow_columns_that_were_reordered() -> None:
    names, written = ["cat", "lynx", "truck"], ["ask", "truck", "cat", "lynx"]
    table = numpy.array([[0.5, 2, 0, 1], [0.5, 2, 1, 0], [0.5, 0, 9, 8]])
    random = numpy.random.RandomState(0)
    X, y = random.randn(90, 2), numpy.array(names)[random.randint(0, 3, 90)]
    classifier = BayesDecisionClassifier(LogisticRegression(), lm.Dense(table, names, written))
    classifier.fit(X, y)
    cube = numpy.repeat(table[None], 90, 0)
    with pytest.raises(ValueError, match=r"another order than cat, lynx, truck, ask.*matrices"):
        classifier.predict(X, costs=cube)
    named = lm.PerExample.matrices(torch.from_numpy(cube), names, written)
    assert classifier.predict(X, costs=named).tolist() == classifier.predict(X).tolist()
