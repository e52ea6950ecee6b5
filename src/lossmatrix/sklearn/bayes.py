# SPDX-License-Identifier: BSD-3-Clause
"""Any classifier with probabilities, decided by cost."""
# scikit-learn carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

from typing import Any, Literal

import numpy
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from typing_extensions import Self

from lossmatrix.decide import decide
from lossmatrix.losses import CostsLike
from lossmatrix.sklearn.labels import Array, align
from lossmatrix.sklearn.scoring import average_cost_scorer


class BayesDecisionClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Any classifier whose ``predict`` takes the decision of least expected cost.

    argmin_j Σ_i p_i D_ij with the probabilities of ``estimator``, as ``lm.decide`` does. The
    decision is as good as the probabilities, so they may be calibrated on the way: by
    ``CalibratedClassifierCV``, which fits on cross-validated outputs.

    Args:
        estimator: a classifier with ``predict_proba``; with a calibration ``decision_function``
            will do. It is cloned and fitted; ``FrozenEstimator(fitted)`` is taken as it is.
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth; names as in this package. With
            more decisions than classes ``predict`` returns the name of such a decision, and its
            array is of dtype object.
        calibration: None, or a method of ``CalibratedClassifierCV``: "sigmoid", "isotonic", or
            "temperature", which needs scikit-learn 1.8.
        cv: how ``CalibratedClassifierCV`` splits the rows; unused without a calibration.

    Attributes:
        estimator_: the fitted classifier, within its calibration if there is one.
        classes_: the labels, (C,), sorted; the columns of ``predict_proba``.

    Raises ValueError or TypeError in ``fit`` where costs and labels do not match, or where the
    estimator has no probabilities.

    Source: Elkan (2001), The foundations of cost-sensitive learning, equation 1.

    >>> from sklearn.naive_bayes import GaussianNB
    >>> X = [[0.0], [1.0], [2.0], [3.0], [1.5], [4.0], [5.0], [6.0]]
    >>> y = ["healthy"] * 4 + ["ill"] * 4
    >>> costs = lm.Dense([[0, 1], [9, 0]], classes=["healthy", "ill"])
    >>> print(GaussianNB().fit(X, y).predict([[0.0], [1.0], [4.0]]))
    ['healthy' 'healthy' 'ill']
    >>> print(BayesDecisionClassifier(GaussianNB(), costs).fit(X, y).predict([[0.0], [1.0], [4.0]]))
    ['healthy' 'ill' 'ill']
    >>> classifier = BayesDecisionClassifier(GaussianNB(), costs.with_abstain(0.7)).fit(X, y)
    >>> print(classifier.predict([[0.0], [1.0], [4.0]]))
    ['healthy' 'abstain' 'ill']
    """

    def __init__(
        self,
        estimator: Any,
        costs: CostsLike | None = None,
        *,
        calibration: Literal["sigmoid", "isotonic", "temperature"] | None = None,
        cv: Any = None,
    ) -> None:
        self.estimator = estimator
        self.costs = costs
        self.calibration = calibration
        self.cv = cv

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a clone of the estimator, and its calibration; the costs play no part in that."""
        estimator: Any = clone(self.estimator)
        if self.calibration is not None:
            estimator = CalibratedClassifierCV(estimator, method=self.calibration, cv=self.cv)
        elif not hasattr(estimator, "predict_proba"):
            raise TypeError(
                f"{estimator!r} has no predict_proba, but a Bayes decision needs probabilities: "
                "pass calibration='sigmoid', or another classifier."
            )
        known = getattr(estimator, "classes_", None)  # of a frozen one, which y need not all have
        self.labels_ = align(self.costs, numpy.unique(numpy.asarray(y)) if known is None else known)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator_ = estimator.fit(X, y, **weights)
        self.classes_ = self.estimator_.classes_
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of ``classes_``, (N, C), after calibration."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def predict(self, X: Any) -> Array:
        """The label, or the name, of the decision that is expected to cost least, (N,)."""
        probs = torch.tensor(self.predict_proba(X))
        return self.labels_.named(decide(self.labels_.as_in_costs(probs), self.labels_.costs))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """−average cost of the decisions, in the unit of the costs: greater is better."""
        return average_cost_scorer(self.costs)(self, X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags
