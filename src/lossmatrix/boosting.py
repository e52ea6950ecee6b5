# SPDX-License-Identifier: BSD-3-Clause
"""Losses as objectives of XGBoost and LightGBM, and what their decisions cost as a metric.

Boosting chooses the trees of one round by a quadratic model of the loss in the scores z,

    ℓ(z + δ) ≈ ℓ + Σ_k g_k δ_k + ½ Σ_k h_k δ_k²,

with one tree per class, all grown at the same z and applied together. So h has to stand for the
whole Hessian H, and a leaf divides by Σ h, so h must not be negative. Since
|δ_k δ_j| ≤ ½ (δ_k² + δ_j²),

    δᵀHδ ≤ Σ_kj |H_kj| |δ_k δ_j| ≤ Σ_k (Σ_j |H_kj|) δ_k²,

hence h_k = Σ_j |H_kj| bounds the curvature of any loss, and is at least 0. For cross-entropy,
H_kj = p_k (1[k=j] − p_j), it is 2 p_k (1 − p_k): what XGBoost 3.2 uses itself.

A loss that saturates, such as ``ExpectedCost``, has points without curvature but with a slope, from
which a Newton step would lead to infinity. So h is no less than for the cross-entropy with the same
slope in z_k. Moving z_k alone, cross-entropy of weight w is w log(1 + exp ±a) with
a = log(p_k / (1 − p_k)): slope w p_k where k is wrong and −w (1 − p_k) where it is the truth, and
curvature w p_k (1 − p_k). So a slope g_k goes with the curvature |g_k| (1 − p_k) where g_k > 0 and
|g_k| p_k where g_k < 0, and h is twice that, as above.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lossmatrix.codegen.curvature import Part, parts_of
from lossmatrix.costs import ZeroOne
from lossmatrix.engines import choose
from lossmatrix.engines import curvature as tensors
from lossmatrix.engines.cpu import curvature as kernels
from lossmatrix.engines.reference import Softmax
from lossmatrix.losses import CostsLike, DecisionRule, Loss
from lossmatrix.metrics import average_cost
from lossmatrix.nn import Criterion
from lossmatrix.problem import Options, check_classes, read

__all__ = ["CostMetric", "CostObjective"]

BLOCK = 2**18  # second derivatives in memory at once where no kernel makes them


class CostObjective:
    """A loss and its costs as the custom objective of XGBoost or LightGBM.

    For scores z (N, C), one per class, it returns the gradient of every row's loss and the bound::

        h_k = max(Σ_j |∂²ℓ/∂z_k∂z_j|, 2 |g_k| (1 − p_k) where g_k > 0, 2 |g_k| p_k where g_k < 0)

    with p = softmax(z): at least 0 for every loss, 2 p (1 − p) for cross-entropy. One score per row
    (N,), as both libraries have it for two classes, is the logit of class 1 over class 0; there h
    is half of that, p (1 − p) for cross-entropy, since only one score moves.

    Pass one and the same object to any of::

        xgboost.train({"num_class": C, …}, data, obj=objective)
        xgboost.XGBClassifier(objective=objective)
        lightgbm.train({"num_class": C, "objective": objective, …}, data)
        lightgbm.LGBMClassifier(objective=objective)

    Weights of the rows multiply both, from the data set or as ``sample_weight``. Labels are the
    numbers 0 … C − 1 of the rows of the costs, whatever their names; ``LGBMClassifier`` numbers
    other labels in sorted order. Needs XGBoost ≥ 2.1 or LightGBM ≥ 4.0. A model with a custom
    objective predicts scores, so ask it for them (``output_margin=True``, ``raw_score=True``) and
    let ``decide`` decide; ``CostMetric`` stops training early by what that costs.

    CatBoost is not served: it asks an objective for gradient and Hessian of a single row
    (``calc_ders_multi``), from Python for every row in every round.

    λ, ``min_child_weight`` and their like are in the unit of h, which for most losses is that of
    the costs: ``costs.scaled(1 / costs.unit)`` makes a typical mistake cost 1.

    Gradient and h are made in one visit to the scores by a kernel of the native engine. Sums with a
    margin or a score that reads risks, and machines without a compiler for a loss that is not
    shipped, have h from the same formulas on tensors of (rows, C, C), block by block.

    Args:
        loss: a loss or a sum of losses.
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth; or ``PerExample``, for training
            rows in their order.
        rule: "argmax" or "bayes", for a loss without a decision rule of its own.

    Raises ValueError or TypeError where the loss refuses the costs, and IndexError or ValueError
    for scores or labels that do not fit.

    Source: Gershgorin (1931), for the bound; see this module. It is what XGBoost 3.2 has for
    softmax; LightGBM has C/(C − 1) p (1 − p), after Friedman (2001), Greedy function
    approximation, algorithm 6.

    >>> import numpy
    >>> objective = CostObjective(lm.CrossEntropy() + lm.ExpectedCost(), [[0, 1], [9, 0]])
    >>> scores, labels = numpy.array([[0.0, 0.0], [2.0, 0.0]]), numpy.array([0, 1])
    >>> gradient, curvature = objective(labels, scores)
    >>> print(gradient.round(4))
    [[-0.75    0.75  ]
     [ 1.8257 -1.8257]]
    >>> print(curvature.round(4))
    [[0.75   0.75  ]
     [1.2293 1.2293]]
    >>> objective.decide(scores, rule="argmax")
    array([0, 0])
    """

    def __init__(
        self, loss: Loss, costs: CostsLike | None = None, *, rule: DecisionRule | None = None
    ) -> None:
        self._costs = costs
        self.rule: DecisionRule | None = rule
        self.criterion = Criterion(loss, costs, reduction="none")

    @property
    def loss(self) -> Loss:
        """The loss, which is bound to the costs when the objective is made."""
        return self.criterion.loss

    @property
    def costs(self) -> CostsLike | None:
        """The costs, as they were given."""
        return self._costs

    def __call__(
        self, first: Any, second: Any, sample_weight: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Gradient and h, each of the shape of the scores.

        Both libraries call ``train``'s objective with (scores, data set), where the data set has
        labels and weights, and that of their scikit-learn classes with (labels, scores).
        """
        gradient, bound = self.derivatives(*_told(first, second, sample_weight))
        return gradient.numpy(), bound.numpy()

    def derivatives(
        self, scores: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Gradient and h of each row's loss at ``scores`` (N, C), (N, 1) or (N,), of that shape.

        ``weight`` (N,) multiplies both. float32 stays float32.
        """
        self.check_rows(len(scores))
        scores = scores.detach()
        single = scores.dim() == 1 or scores.shape[1] == 1
        shape = torch.Size((len(scores), 2)) if single else scores.shape
        if self.criterion.costs is not None:
            check_classes(self.criterion.costs, shape)
        of_rows = Options(reduction="none", sample_weight=weight)
        problem = read(self.criterion.bound, scores.new_empty(()).expand(shape), target, of_rows)
        gradient, bound = torch.empty_like(scores), torch.empty_like(scores)
        kernel = self._kernel
        if isinstance(kernel, str):
            problem = read(self.criterion.bound, _as_logits(scores), target, of_rows)
            whole = gradient if not single else None
            _, slopes = choose("auto", problem).prepared.loss_and_gradient(problem, out=whole)
            h = self._bound(problem.given, slopes, target, weight)
            if single:
                # H_10 = −H_11: where one score moves alone, the bound is |H_11|
                slopes, h = slopes[:, 1].reshape(scores.shape), h[:, 1].reshape(scores.shape) / 2
            return slopes, h
        views = (each.reshape(-1) if single else each for each in (scores, gradient, bound))
        given, *filled = views
        kernel.run(given, target, weight, *filled)
        return gradient, bound

    @property
    def _kernel(self) -> kernels.CurvatureKernel | str:
        """The kernel of gradient and bound, or why there is none."""
        cache = self.criterion.bound.cache
        if "curvature" not in cache:
            parts = self._parts
            alone = len(parts) == 1
            cache["curvature"] = (
                kernels.prepare(parts[0]) if alone else "its terms are of two kinds"
            )
        return cache["curvature"]

    @property
    def _parts(self) -> list[Part]:
        return parts_of(self.criterion.bound.terms)

    def _bound(
        self, logits: Tensor, gradient: Tensor, target: Tensor, weight: Tensor | None
    ) -> Tensor:
        """h without a kernel, in blocks of rows; ``gradient`` is weighted already."""
        h = torch.empty_like(logits)
        sizes = (term.costs.shape[1] for term in self.criterion.bound.terms if term.costs)
        classes = logits.shape[1]
        step = max(1, BLOCK // (classes * max(classes, *sizes, 1)))
        for first in range(0, len(logits), step):
            rows = slice(first, first + step)
            z, slopes = logits[rows], gradient[rows].abs()
            sample = torch.arange(first, first + len(z))
            curvature = tensors.bound(self._parts, z, target[rows], sample)
            if weight is not None:
                curvature = curvature * weight[rows].unsqueeze(-1)
            softmax = Softmax(z)  # 1 − p without rounding
            alike = 2 * slopes * torch.where(gradient[rows] > 0, softmax.q, softmax.p)
            h[rows] = torch.maximum(curvature, alike)
        return h

    @property
    def decides(self) -> DecisionRule | None:
        """How scores become decisions: the ``rule`` that was given, or that of the loss."""
        return self.rule or self.loss.decides

    @staticmethod
    def logits(scores: ArrayLike) -> Tensor:
        """Raw scores (N, C) or (N,) as logits (N, C)."""
        return _as_logits(_tensor(scores))

    def decide(
        self, scores: ArrayLike, *, rule: DecisionRule | None = None
    ) -> NDArray[numpy.int64]:
        """The decision that the loss is made for, (N,), from raw scores (N, C) or (N,).

        ``rule`` as in ``Criterion.decide``; by default that of the objective.
        """
        logits = self.logits(scores)
        if (rule or self.decides) == "bayes":
            self.check_rows(len(logits))
        return self.criterion.decide(logits, rule=rule or self.rule).numpy()

    def check_rows(self, count: int) -> None:
        """Refuse costs of another number of rows, with a ValueError."""
        costs = self.criterion.costs
        if costs is not None and costs.num_samples not in (None, count):
            raise ValueError(
                f"got scores of {count} rows, but {costs!r} has the costs of {costs.num_samples}: "
                "make a CostObjective with the costs of these rows, in their order."
            )


class CostMetric:
    """What the decisions of an objective cost on average, as a metric for early stopping.

    Σ_n w_n D[y_n, a_n] / Σ_n w_n in the unit of the costs, a = ``objective.decide(scores)``, with
    the weights w of the rows; less is better. Pass one and the same object to any of::

        xgboost.train({"num_class": C, "disable_default_eval_metric": 1, …}, data, obj=objective,
                      evals=[(held_out, "held_out")], custom_metric=metric,
                      early_stopping_rounds=50)
        xgboost.XGBClassifier(objective=objective, eval_metric=metric, early_stopping_rounds=50)
        lightgbm.train({"num_class": C, "objective": objective, "metric": "None", …}, data,
                       valid_sets=[held_out], feval=metric, callbacks=[early_stopping(50)])
        lightgbm.LGBMClassifier(objective=objective, metric="None").fit(
            X, y, eval_set=[held_out], eval_metric=metric, callbacks=[early_stopping(50)])

    Be patient: the cost stands still until the first decision changes, and then moves in steps.
    Without ``metric="None"`` LightGBM also computes a log loss, of raw scores as if they were
    probabilities, and stops on that. The scores have to be those of a model with a custom
    objective: of any other both libraries give probabilities to a metric.

    Costs of each row are those of an objective's training rows; for others make a
    ``CostMetric(CostObjective(loss, costs_of_held_out_rows))``.

    Args:
        objective: what decides, and by which costs.
        rule: "argmax" or "bayes"; by default that of the objective.

    Raises ValueError for a loss without a decision rule if none is given, and for costs of another
    number of rows; for scores and labels as ``CostObjective``.

    >>> import numpy
    >>> metric = CostMetric(CostObjective(lm.CrossEntropy(), [[0, 1], [9, 0]]))
    >>> metric(numpy.array([0, 0, 1]), numpy.array([-3.0, 0.5, 0.5]))  # decides 0, 1 and 1
    0.3333333333333333
    """

    def __init__(self, objective: CostObjective, *, rule: DecisionRule | None = None) -> None:
        self.objective = objective
        self.rule: DecisionRule | None = rule
        self.__name__ = "average_cost"  # what XGBClassifier calls the metric

    # LightGBM counts the parameters: told of four, it gives weights and groups by position.
    # XGBoost gives weights by name, and either library wants an answer of its own form.
    def __call__(
        self, first: Any, second: Any, *of_lightgbm: Any, sample_weight: ArrayLike | None = None
    ) -> float | tuple[str, float] | tuple[str, float, bool]:
        """The cost, with the name and whether more is better as each library asks for them.

        Arguments as for ``CostObjective``.
        """
        weight = of_lightgbm[0] if of_lightgbm else sample_weight
        cost = self._cost(*_told(first, second, weight))
        if of_lightgbm or hasattr(second, "get_init_score"):
            return self.__name__, cost, False
        return (self.__name__, cost) if hasattr(second, "get_label") else cost

    def _cost(self, scores: Tensor, target: Tensor, weight: Tensor | None) -> float:
        objective, logits = self.objective, _as_logits(scores)
        objective.check_rows(len(logits))
        costs = ZeroOne(logits.shape[1]) if objective.costs is None else objective.costs
        decision = torch.tensor(objective.decide(scores.numpy(), rule=self.rule))
        return average_cost(decision, target, costs, sample_weight=weight).item()


Array: TypeAlias = NDArray[Any]


def _told(
    first: Any, second: Any, sample_weight: ArrayLike | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores, labels and weights, from (scores, data set) or from (labels, scores) and weights."""
    if hasattr(second, "get_label"):
        first, second, sample_weight = second.get_label(), first, second.get_weight()
    scores, weight = _tensor(second), None
    if sample_weight is not None and numpy.size(sample_weight):
        weight = _tensor(sample_weight).to(scores.dtype)
        if weight.shape != scores.shape[:1]:
            raise ValueError(
                f"sample_weight must be a number for each of {len(scores)} rows of scores, got "
                f"shape {tuple(weight.shape)}."
            )
    return scores, _target(first), weight


def _as_logits(scores: Tensor) -> Tensor:
    """Scores (N, C) as they are; scores (N,) or (N, 1) as logits of class 1, those of 0 being 0."""
    if scores.dim() == 2 and scores.shape[1] > 1:
        return scores
    return torch.nn.functional.pad(scores.reshape(-1, 1), (1, 0))


def _tensor(numbers: ArrayLike) -> Tensor:
    """The numbers themselves, copied where they must not be changed: PyTorch cannot know that."""
    array: Array = numpy.asarray(numbers)
    if array.dtype.kind == "f":  # half and extended precision become what kernels have
        narrow = array.dtype.itemsize <= 4
        array = array.astype(numpy.float32 if narrow else numpy.float64, copy=False)
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = numpy.array(array)
    return torch.as_tensor(array)


def _target(labels: ArrayLike) -> Tensor:
    """Labels, which the libraries keep as floats, as class indices."""
    given = _tensor(labels)
    target = given.long()
    if not torch.equal(target.to(given.dtype), given):
        raise ValueError(
            f"labels must be the numbers 0, 1, … of the rows of the costs, got "
            f"{given[target != given][0].item():g}."
        )
    return target
