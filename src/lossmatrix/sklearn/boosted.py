# SPDX-License-Identifier: BSD-3-Clause
"""Boosted trees with an objective of this library, whose scores are not yet decisions.

XGBoost makes labels and probabilities of them. LightGBM gives raw scores for both, which have to
pass through the objective, and neither knows what the objective's loss decides by.
"""
# scikit-learn carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from lossmatrix.sklearn.labels import Array, Labels, by_position


def check_probabilities(estimator: Any) -> None:
    """Refuse a classifier that has no probabilities, with a TypeError."""
    calibrated = isinstance(estimator, CalibratedClassifierCV)
    inner = estimator.estimator if calibrated else estimator
    if not calibrated and not hasattr(inner, "predict_proba"):
        raise TypeError(
            f"{inner!r} has no predict_proba, but a Bayes decision needs probabilities: "
            "pass calibration='sigmoid', or another classifier."
        )
    model = _model(inner)
    objective = _objective(model)
    if objective is None:
        return
    if objective.decides is None:
        raise TypeError(
            f"{objective.loss!r} has no decision rule of its own: pass rule='bayes' to its "
            "CostObjective where softmax of the scores is to count as probabilities."
        )
    if objective.decides != "bayes":
        raise TypeError(
            f"{objective.loss!r} decides by {objective.decides!r}, so softmax of its scores are no "
            "probabilities: ask the trees for raw scores and let objective.decide decide."
        )
    if calibrated and _gives_scores(model):
        raise TypeError(
            f"{type(model).__name__} with an objective of its own gives raw scores where a "
            "calibration expects probabilities: leave calibration=None."
        )


def probabilities(estimator: Any, X: Any) -> Array:
    """``predict_proba``, or the softmax of raw scores."""
    model = _model(estimator)
    if not _gives_scores(model):
        return estimator.predict_proba(X)
    _labels(model)
    return model.objective.logits(_scores(estimator, X)).softmax(1).numpy()


def decided_by_objective(estimator: Any, X: Any) -> Array | None:
    """The labels, or names, that the objective decides for, where ``predict`` gives raw scores."""
    model = _model(estimator)
    if not _gives_scores(model):
        return None
    decision = torch.tensor(model.objective.decide(_scores(estimator, X)))
    return _labels(model).named(decision)


def _labels(model: Any) -> Labels:
    """What the rows and columns of the objective's costs are, or a ValueError if in disorder."""
    return by_position(model.objective.costs, numpy.asarray(model.classes_))


def _model(estimator: Any) -> Any:
    """What decides inside a pipeline, a search or a frozen estimator."""
    inside = _inside(estimator)
    return estimator if inside is None else _model(inside)


def _inside(estimator: Any) -> Any:
    if isinstance(estimator, Pipeline):
        return estimator.steps[-1][1]
    asked = hands_over(estimator)
    return None if asked is estimator else asked


def hands_over(estimator: Any) -> Any:
    """What a fitted search or a frozen estimator asks when it is asked to predict, or itself."""
    frozen = isinstance(estimator, FrozenEstimator)
    inside = estimator.estimator if frozen else getattr(estimator, "best_estimator_", None)
    return estimator if inside is None else hands_over(inside)


def _objective(model: Any) -> Any:
    """The ``CostObjective`` of a model, known by what it can do: ``boosting`` is not imported."""
    objective = getattr(model, "objective", None)
    return objective if hasattr(objective, "decides") else None


def _gives_scores(model: Any) -> bool:
    """Whether ``predict`` and ``predict_proba`` give raw scores, as LightGBM's do."""
    return _objective(model) is not None and "raw_score" in signature(model.predict).parameters


def _scores(estimator: Any, X: Any) -> Array:
    inside = _inside(estimator)
    if inside is None:
        return estimator.predict(X, raw_score=True)
    before = isinstance(estimator, Pipeline) and len(estimator) > 1
    return _scores(inside, estimator[:-1].transform(X) if before else X)
