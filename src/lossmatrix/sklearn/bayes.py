# SPDX-License-Identifier: BSD-3-Clause
"""Any classifier with probabilities, decided by cost."""
# scikit-learn carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import numpy
import torch
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import Self

from lossmatrix.calibration import LEAST_LOG, MatrixScaling
from lossmatrix.decide import decide
from lossmatrix.losses import CostsLike
from lossmatrix.sklearn.boosted import check_probabilities, probabilities
from lossmatrix.sklearn.labels import Array, CostsOfRows, align
from lossmatrix.sklearn.scoring import average_cost_scorer


class BayesDecisionClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Any classifier whose ``predict`` takes the decision of least expected cost.

    argmin_j Σ_i p_i D_ij with the probabilities of ``estimator``, as ``lm.decide`` does. The
    decision is as good as the probabilities, so they may be calibrated on the way, on
    cross-validated outputs: by ``CalibratedClassifierCV``, or by ``MatrixScaling``, which also
    mends classes that are systematically taken for one another.

    Args:
        estimator: a classifier with ``predict_proba``; with a calibration ``decision_function``
            will do. It is cloned and fitted; ``FrozenEstimator(fitted)`` is taken as it is.
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth; names as in this package. With
            more decisions than classes ``predict`` returns the name of such a decision, and its
            array is of dtype object.
        calibration: None, "matrix", or a method of ``CalibratedClassifierCV``: "sigmoid",
            "isotonic", or "temperature", which needs scikit-learn 1.8. "matrix" fits one model to
            all rows, and ``MatrixScaling`` to logarithms of ``cross_val_predict``; it takes no
            ``sample_weight``.
        cv: how a calibration splits the rows; unused without one.

    Metadata: with metadata routing this is a router, so what ``estimator`` asks for in
    ``set_fit_request`` reaches it; a calibration takes ``sample_weight`` too. Without routing all
    fit parameters go to ``estimator``, and ``sample_weight`` to the last step of a pipeline.
    ``score`` asks for ``sample_weight`` and ``costs``, and ``predict`` for ``costs`` of each row: a
    scorer of this package that gets whole matrices hands them on, unless it is told
    ``set_predict_request(costs=False)``.

    Attributes:
        estimator_: the fitted classifier, within its calibration if that is scikit-learn's.
        matrix_: the fitted ``MatrixScaling``, or None.
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
        calibration: Literal["sigmoid", "isotonic", "temperature", "matrix"] | None = None,
        cv: Any = None,
    ) -> None:
        self.estimator = estimator
        self.costs = costs
        self.calibration = calibration
        self.cv = cv

    # In fit, weights are the estimator's to ask for; what counts rows or prices them is not lost.
    __metadata_request__fit: ClassVar = {"sample_weight": UNUSED}
    __metadata_request__predict: ClassVar = {"costs": True}
    __metadata_request__score: ClassVar = {"sample_weight": True, "costs": True}

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, **fit_params: Any
    ) -> Self:
        """Fit a clone of the estimator, and its calibration; the costs play no part in that."""
        estimator = self._with_calibration(clone(self.estimator))
        check_probabilities(estimator)
        known = getattr(estimator, "classes_", None)  # of a frozen one, which y need not all have
        self.labels_ = align(self.costs, numpy.unique(numpy.asarray(y)) if known is None else known)
        if sample_weight is not None:
            if self.calibration == "matrix":
                raise ValueError(
                    "calibration='matrix' was given sample_weight, but counts every row once: fit "
                    "without, or with calibration='temperature'."
                )
            fit_params["sample_weight"] = sample_weight
        with warnings.catch_warnings():
            if _routing():
                fit_params = process_routing(self, "fit", **fit_params).estimator.fit
            elif sample_weight is not None and isinstance(self.estimator, Pipeline):
                fit_params[_weights_of(self.estimator)] = sample_weight
                if self.calibration is None:
                    del fit_params["sample_weight"]
                else:  # it cannot know that the pipeline has them already
                    warnings.filterwarnings("ignore", "Since Pipeline does not appear to accept")
            self.estimator_ = estimator.fit(X, y, **fit_params)
        self.classes_ = self.estimator_.classes_
        self.matrix_ = self._matrix(X, y, fit_params) if self.calibration == "matrix" else None
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def _with_calibration(self, estimator: Any) -> Any:
        if self.calibration in (None, "matrix"):
            return estimator
        calibrated = CalibratedClassifierCV(estimator, method=self.calibration, cv=self.cv)
        return calibrated.set_fit_request(sample_weight=True) if _routing() else calibrated

    def _matrix(self, X: Any, y: ArrayLike, fit_params: dict[str, Any]) -> MatrixScaling:
        """Fitted to out-of-fold probabilities of all rows."""
        labels = numpy.asarray(y)
        if not numpy.array_equal(numpy.unique(labels), self.classes_):
            raise ValueError(
                f"calibration='matrix' needs rows of all {len(self.classes_)} classes of the "
                f"estimator, got those of {len(numpy.unique(labels))}: add rows, or use "
                "calibration='temperature'."
            )
        probs: Any = cross_val_predict(
            clone(self.estimator), X, y, cv=self.cv, method="predict_proba", params=fit_params
        )
        target = torch.as_tensor(numpy.searchsorted(self.classes_, labels))
        return MatrixScaling().fit(_logarithms(probs), target)

    def get_metadata_routing(self) -> MetadataRouter:
        """Which metadata go where: those of ``fit`` to the estimator."""
        fit = MethodMapping().add(caller="fit", callee="fit")
        estimator = self._with_calibration(self.estimator)
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=estimator, method_mapping=fit)

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of ``classes_``, (N, C), after calibration."""
        check_is_fitted(self)
        probs = probabilities(self.estimator_, X)
        if self.matrix_ is None:
            return probs
        return self.matrix_(_logarithms(probs)).softmax(1).numpy()

    def predict(self, X: Any, costs: CostsOfRows | None = None) -> Array:
        """The label, or the name, of the decision that is expected to cost least, (N,).

        ``costs`` are those of each of these rows, (N, C, K) as ``PerExample.matrices`` or as an
        array, in place of the classifier's; without names they have its rows and columns.
        """
        probs, labels = torch.tensor(self.predict_proba(X)), self.labels_
        if costs is not None:
            labels = labels.with_costs_of_rows(costs, len(probs))
        return labels.named(decide(labels.as_in_costs(probs), labels.costs))

    def score(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        costs: CostsOfRows | None = None,
    ) -> float:
        """−average cost of the decisions, in the unit of the costs: greater is better."""
        return average_cost_scorer(self.costs)(self, X, y, sample_weight, costs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _logarithms(probs: Array) -> Tensor:
    """Of probabilities, among which may be 0: down to what ``MatrixScaling`` reads."""
    return torch.as_tensor(probs).double().log().clamp(min=LEAST_LOG)


def _routing() -> bool:
    return bool(get_config()["enable_metadata_routing"])


def _weights_of(estimator: Any) -> str:
    """The fit parameter of the weights: those of a pipeline are for its last step."""
    if not isinstance(estimator, Pipeline):
        return "sample_weight"
    name, last = estimator.steps[-1]
    return f"{name}__{_weights_of(last)}"
