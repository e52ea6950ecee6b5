# SPDX-License-Identifier: BSD-3-Clause
"""Scorers for ``cross_val_score`` and ``GridSearchCV``: costs with a minus, so more is better."""
# scikit-learn carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from lossmatrix.losses import CostsLike
from lossmatrix.metrics import average_cost, normalized_cost
from lossmatrix.sklearn.labels import align


@dataclass(frozen=True)
class CostScorer:
    """Calls ``estimator.predict`` and returns −``metric`` of what the decisions cost."""

    metric: Callable[..., Tensor]
    costs: CostsLike | None

    def __call__(
        self, estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """The score of a fitted classifier on rows X with labels y."""
        labels = align(self.costs, numpy.asarray(estimator.classes_))
        decision = labels.decided(numpy.asarray(estimator.predict(X)))
        target = labels.target(column_or_1d(y))
        weight = None if sample_weight is None else torch.as_tensor(numpy.asarray(sample_weight))
        return -self.metric(decision, target, labels.costs, sample_weight=weight).item()

    def __repr__(self) -> str:
        return f"{self.metric.__name__}_scorer({self.costs!r})"


def average_cost_scorer(costs: CostsLike | None) -> CostScorer:
    """A scorer: −average cost of what a classifier predicts, in the unit of the costs.

    It scores any scikit-learn classifier, whether it knows of the costs or not. Where the costs
    have more decisions than classes, ``predict`` may also return their names.

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


def normalized_cost_scorer(costs: CostsLike | None) -> CostScorer:
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
