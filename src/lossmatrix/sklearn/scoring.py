# SPDX-License-Identifier: BSD-3-Clause
"""Scorers for ``cross_val_score`` and ``GridSearchCV``: costs with a minus, so more is better."""
# scikit-learn carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUntypedBaseClass=false, reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import torch
from numpy.typing import ArrayLike

# The parent of what make_scorer returns: TunedThresholdClassifierCV and the routing of metadata
# take a scorer apart, and a function would not do. make_scorer alone would not know classes_.
from sklearn.metrics._scorer import _Scorer
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from lossmatrix.costs import PerExample
from lossmatrix.losses import CostsLike
from lossmatrix.metrics import average_cost, normalized_cost
from lossmatrix.sklearn.boosted import decided_by_objective, hands_over
from lossmatrix.sklearn.labels import Array, CostsOfRows, align

METADATA = {"sample_weight": None, "costs": None}  # an error to be given, until asked for


class CostScorer(_Scorer):
    """Calls ``estimator.predict`` and returns −``metric`` of what the decisions cost.

    A scorer of scikit-learn: ``set_score_request(sample_weight=True, costs=True)`` asks for what is
    routed to it, and what is routed without a word about it is an error.
    """

    def __init__(self, metric: Callable[..., Tensor], costs: CostsLike | None) -> None:
        super().__init__(partial(paid, metric, costs, None), -1, {}, "predict")
        self.metric = metric
        self.costs = costs
        self._metadata_request = MetadataRequest(owner=self)
        for name in METADATA:
            self._metadata_request.score.add_request(param=name, alias=None)

    def set_score_request(self, **requests: bool | str | None) -> CostScorer:
        """Ask for ``sample_weight`` or ``costs``; what is not asked for here is an error again."""
        return super().set_score_request(**(METADATA | requests))

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs is in change
        self,
        estimator: Any,
        X: Any,
        y_true: ArrayLike,
        sample_weight: ArrayLike | None = None,
        costs: CostsOfRows | None = None,
    ) -> float:
        """The score of a fitted classifier on rows X with labels y_true.

        ``costs`` of each row, (N, C, K), or (N, K) for its own truth, take the place of those of
        the scorer. A classifier whose ``predict`` asks for them decides by the former, as
        ``BayesDecisionClassifier`` does.
        """
        return self._score(_predict, estimator, X, y_true, sample_weight=sample_weight, costs=costs)

    def _score(
        self,
        method_caller: Callable[..., Array],
        estimator: Any,
        X: Any,
        y_true: ArrayLike,
        **metadata: Any,
    ) -> float:
        decision, costs = decided_by_objective(estimator, X), metadata.get("costs")
        asked = hands_over(estimator)  # a search takes no metadata to predict
        if decision is None and _decides_by(costs, asked):
            decision = asked.predict(X, costs=costs)
        if decision is None:
            decision = method_caller(estimator, "predict", X)
        classes = numpy.asarray(estimator.classes_)
        return -paid(self.metric, self.costs, classes, y_true, decision, **metadata)

    def __repr__(self) -> str:
        return f"{self.metric.__name__}_scorer({self.costs!r})"


def paid(
    metric: Callable[..., Tensor],
    costs_of_all: CostsLike | None,
    classes: Array | None,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    costs: CostsOfRows | None = None,
) -> float:
    """The metric of labels and decisions; without ``classes`` the labels are those that occur."""
    truth, decision = column_or_1d(y_true), numpy.asarray(y_pred)
    if classes is None:  # a threshold is tuned: scikit-learn has made labels of scores itself
        classes = numpy.unique(numpy.concatenate([truth, decision]))
    labels = align(costs_of_all, classes)
    if costs is not None:
        labels = labels.with_costs_of_rows(costs, len(truth))
    weight = None if sample_weight is None else torch.as_tensor(numpy.asarray(sample_weight))
    decided, target = labels.decided(decision), labels.target(truth)
    return metric(decided, target, labels.costs, sample_weight=weight).item()


def _predict(estimator: Any, method: str, X: Any) -> Array:
    return getattr(estimator, method)(X)


def _decides_by(costs: CostsOfRows | None, estimator: Any) -> bool:
    """Whether these are whole matrices, and the estimator's ``predict`` asks for them."""
    if costs is None:
        return False
    table = costs.tables["table"] if isinstance(costs, PerExample) else costs
    whole = numpy.ndim(table) == 3
    return whole and bool(get_routing_for_object(estimator).consumes("predict", ["costs"]))


def average_cost_scorer(costs: CostsLike | None = None) -> CostScorer:
    """A scorer: −average cost of what a classifier predicts, in the unit of the costs.

    It scores any scikit-learn classifier, whether it knows of the costs or not. Where the costs
    have more decisions than classes, ``predict`` may also return their names. Boosted trees of
    LightGBM with a ``CostObjective`` predict no labels; there ``objective.decide`` decides.

    Weights and costs of each row are metadata: with metadata routing
    ``set_score_request(sample_weight=True, costs=True)`` asks for them. Costs of rows are an array
    (N, C, K), a matrix for each row, or (N, K), what each decision costs under the row's own truth;
    scikit-learn splits it with the rows. They have rows and columns in the order of ``costs``, and
    those take their place in the score.

    Raises ValueError, when it is called, where costs and labels do not match or a prediction is no
    decision of the costs.

    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.model_selection import cross_val_score
    >>> X, y = [[0]] * 8, ["healthy", "healthy", "healthy", "ill"] * 2
    >>> costs = lm.Dense([[0, 1], [5, 0]], classes=["healthy", "ill"])
    >>> print(cross_val_score(DummyClassifier(), X, y, cv=2, scoring=average_cost_scorer(costs)))
    [-1.25 -1.25]
    """
    return CostScorer(average_cost, costs)


def normalized_cost_scorer(costs: CostsLike | None = None) -> CostScorer:
    """A scorer: −average cost ÷ that of the best constant decision on the same rows.

    0 where nothing is lost, −1 for a constant answer; see ``normalized_cost``, and
    ``average_cost_scorer`` for the rest.

    >>> from sklearn.dummy import DummyClassifier
    >>> X, y = [[0]] * 4, ["healthy", "healthy", "healthy", "ill"]
    >>> costs = lm.Dense([[0, 1], [5, 0]], classes=["healthy", "ill"])
    >>> classifier = DummyClassifier().fit(X, y)  # says healthy and pays 5, ill would pay 3
    >>> print(f"{normalized_cost_scorer(costs)(classifier, X, y):.4f}")
    -1.6667
    """
    return CostScorer(normalized_cost, costs)
