# SPDX-License-Identifier: BSD-3-Clause
"""A network trained by any loss of this library, as a scikit-learn classifier."""
# scikit-learn and skorch carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import numpy
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from typing_extensions import Self

from lossmatrix.calibration import TemperatureScaling
from lossmatrix.losses import CostsLike, CrossEntropy, DecisionRule, Loss
from lossmatrix.nn import Criterion
from lossmatrix.sklearn.labels import Array, align
from lossmatrix.sklearn.scoring import average_cost_scorer

LOG_SCORE = CrossEntropy()  # losses are immutable
PRECISIONS = (numpy.float64, numpy.float32)  # of rows; others become the first
ROWS: dict[str, Any] = {"allow_nd": True, "force_writeable": True}  # PyTorch warns of others


def perceptron(num_features: int, num_classes: int, hidden: int = 64) -> nn.Module:
    """Two hidden layers of ReLU."""
    return nn.Sequential(
        nn.Linear(num_features, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )


class WeightedNet(NeuralNetClassifier):
    """skorch's net for rows ``{"X": …, "sample_weight": …}``, whose criterion takes the weights."""

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """The logits of a batch; the module sees X alone."""
        return super().infer(x["X"] if isinstance(x, Mapping) else x, **fit_params)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Any:
        """The criterion of a batch."""
        weight = X["sample_weight"].to(y_pred.device)
        return self.criterion_(y_pred, y_true.to(y_pred.device), sample_weight=weight)


def _decides_by_probabilities(classifier: CostSensitiveClassifier) -> bool:
    if classifier.decides == "bayes":
        return True
    raise AttributeError(
        f"no predict_proba: {classifier.loss!r} decides by {classifier.decides!r}, so softmax of "
        "its logits are no probabilities; see decision_function for the logits."
    )


class CostSensitiveClassifier(ClassifierMixin, BaseEstimator):
    """A network trained by a loss of this library, which decides as the loss is made for.

    ``predict`` is ``Criterion.decide``: the Bayes step for a loss that decides by "bayes", the
    largest logit for one that decides by "argmax", so that costs are never counted twice. Features
    are taken as they come; put a ``StandardScaler`` in front.

    Inside is a ``skorch.NeuralNetClassifier``. One of your own with ``criterion=lm.Criterion``
    trains as well, but takes logits for probabilities and decides by argmax: give it
    ``predict_nonlinearity=partial(torch.softmax, dim=1)``, and ``BayesDecisionClassifier`` decides.

    Args:
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth; names as in this package. With
            more decisions than classes ``predict`` may return the name of such a decision, and its
            array is of dtype object.
        loss: a loss or a sum of losses that reads costs.
        module: ``module(num_features, num_classes)`` makes a network from (N, num_features, …)
            to logits (N, num_classes), such as ``torch.nn.Linear``; by default two hidden layers of
            64 ReLU. It is trained in the precision of the rows in ``fit``: in float32 where they
            are float32, else in float64.
        rule: "argmax" or "bayes", for a loss without a decision rule of its own.
        calibration: "temperature" keeps ``validation_fraction`` of the rows from training and
            fits ``TemperatureScaling`` on them, without regard to their weights.
        validation_fraction: share of the rows that calibrate; unused without a calibration.
        max_epochs, lr, batch_size, optimizer, device: as in ``skorch.NeuralNet``.
        net_options: further arguments of ``skorch.NeuralNetClassifier``, such as
            ``{"callbacks": […], "module__hidden": 32, "optimizer__weight_decay": 0.1}``.
        random_state: seeds weights, batches and held-out rows; PyTorch's own state stays as it is.

    Attributes:
        net_: the fitted ``skorch.NeuralNetClassifier``, in terms of rows of the costs.
        classes_: the labels, (C,), sorted; the columns of ``predict_proba``.
        calibration_: the fitted ``TemperatureScaling``, or None.
        dtype_: the precision of the network, as NumPy has it.

    Raises ValueError or TypeError in ``fit`` where costs and labels do not match, where the loss
    refuses the costs, and for a loss without decision rule if none is given.

    >>> costs = lm.Dense([[0, 1], [9, 0]], classes=["healthy", "ill"])
    >>> classifier = CostSensitiveClassifier(
    ...     costs, loss=lm.CrossEntropy() + lm.DecisionScore(), module=torch.nn.Linear,
    ...     lr=0.1, random_state=0,
    ... )
    >>> X = [[0.0], [1.0], [2.0], [3.0], [1.5], [4.0], [5.0], [6.0]]
    >>> y = ["healthy"] * 4 + ["ill"] * 4
    >>> print(classifier.fit(X, y).predict([[0.0], [1.0], [4.0]]))
    ['healthy' 'ill' 'ill']
    >>> print(classifier.predict_proba([[1.0]]).round(2), classifier.score(X, y))
    [[0.8 0.2]] -0.375
    """

    def __init__(
        self,
        costs: CostsLike | None = None,
        *,
        loss: Loss = LOG_SCORE,
        module: Callable[..., nn.Module] = perceptron,
        rule: DecisionRule | None = None,
        calibration: Literal["temperature"] | None = None,
        validation_fraction: float = 0.2,
        max_epochs: int = 100,
        lr: float = 3e-3,
        batch_size: int = 128,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        device: str = "cpu",
        net_options: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.costs = costs
        self.loss = loss
        self.module = module
        self.rule: DecisionRule | None = rule
        self.calibration = calibration
        self.validation_fraction = validation_fraction
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.device = device
        self.net_options = net_options
        self.random_state = random_state

    @property
    def decides(self) -> DecisionRule | None:
        """How logits become decisions: the ``rule`` that was given, or that of the loss."""
        return self.rule or self.loss.decides

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network on rows X (N, num_features, …), labels y (N,) and their weights."""
        self._check_parameters()
        given: Any = validate_data(self, X, y, dtype=PRECISIONS, **ROWS)
        rows, y = given
        check_classification_targets(y)
        self.classes_: Array = numpy.unique(y)
        self.labels_ = align(self.costs, self.classes_)
        self.criterion_ = Criterion(self.loss, self.labels_.costs)
        self.dtype_ = rows.dtype
        target = self.labels_.target(y).numpy()
        weight = _weights(sample_weight, len(y)).astype(self.dtype_)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        training, held_out = slice(None), slice(0)
        if self.calibration is not None:
            training, held_out = train_test_split(
                range(len(y)),
                test_size=self.validation_fraction,
                stratify=target,
                random_state=seed,
            )
        self.net_ = self._make_net(rows.shape[1])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            given = {"X": rows[training], "sample_weight": weight[training]}
            self.net_.fit(given, target[training])
        self.calibration_ = None
        if self.calibration is not None:
            logits = self.net_.forward(rows[held_out])
            self.calibration_ = TemperatureScaling().fit(logits, torch.tensor(target[held_out]))
        return self

    def _make_net(self, num_features: int) -> Any:
        made: Any = WeightedNet  # skorch's hints are narrower than what it takes
        return made(
            partial(_module, self.module, self.dtype_, num_features, len(self.classes_)),
            criterion=partial(Criterion, self.loss, self.labels_.costs),
            optimizer=self.optimizer,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            device=self.device,
            **{"train_split": None, "verbose": 0, **(self.net_options or {})},
        )

    def _check_parameters(self) -> None:
        if isinstance(self.module, nn.Module):
            raise TypeError(
                f"module must make a network, but {type(self.module).__name__}(…) is one already: "
                "pass the class, or a function of num_features and num_classes."
            )
        if self.decides is None:
            raise ValueError(
                f"{self.loss!r} has no decision rule of its own: pass rule='argmax' or "
                "rule='bayes', whichever costs less on validation data."
            )
        if self.calibration not in (None, "temperature"):
            raise ValueError(
                f"calibration must be None or 'temperature', got {self.calibration!r}; "
                "BayesDecisionClassifier has others."
            )
        if self.calibration is not None and self.decides != "bayes":
            raise ValueError(
                f"{self.loss!r} decides by {self.decides!r}, so its outputs are no probabilities "
                "that could be calibrated: leave calibration=None."
            )

    def _logits(self, X: Any) -> Tensor:
        """Calibrated logits, (N, C), in the order of the costs."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=self.dtype_, **ROWS)
        logits: Tensor = self.net_.forward(rows)
        return logits if self.calibration_ is None else self.calibration_(logits)

    def decision_function(self, X: Any) -> Array:
        """Logits of ``classes_``, (N, C); for two classes that of the second over the first, (N,).

        Their order is that of the probabilities, if the loss decides by them, and not that of the
        expected costs.
        """
        in_costs = self._logits(X)
        logits = self.labels_.as_in_classes(in_costs)
        return (logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits).numpy()

    @available_if(_decides_by_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """The probabilities of ``classes_``, (N, C), where the loss decides by them."""
        probs = self._logits(X).softmax(1)
        return self.labels_.as_in_classes(probs).numpy()

    def predict(self, X: Any) -> Array:
        """The label, or the name, of the decision that the loss is made for, (N,)."""
        logits = self._logits(X)
        return self.labels_.named(self.criterion_.decide(logits, rule=self.rule))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """−average cost of the decisions, in the unit of the costs: greater is better."""
        return average_cost_scorer(self.costs)(self, X, y, sample_weight)


def _module(make: Callable[..., nn.Module], dtype: Any, *sizes: int, **options: Any) -> nn.Module:
    """A network in the precision of the rows."""
    return make(*sizes, **options).to(getattr(torch, dtype.name))


def _weights(given: ArrayLike | None, count: int) -> numpy.ndarray[Any, Any]:
    """A weight for each row, 1 on average: more of the same data is no larger step."""
    weight = numpy.ones(count) if given is None else numpy.asarray(given, float)
    if weight.shape != (count,):
        raise ValueError(f"sample_weight must be of shape ({count},), got {weight.shape}.")
    if not (numpy.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise ValueError("sample_weight must be finite and at least 0, and not all of it zero.")
    return weight / weight.mean()
