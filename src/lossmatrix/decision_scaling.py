# SPDX-License-Identifier: BSD-3-Clause
"""Calibration for the decisions of known costs: a map of logits and features, or a temperature.

It is what ``refine`` is to a model, for scores of anything: the weights of the model stay, and a
linear map behind it goes from cross-entropy to what decisions cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lossmatrix.annealing import LabelledRows, anneal, descend
from lossmatrix.calibration import TemperatureScaling, classes_last, counted_rows, floored
from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.tables import Table
from lossmatrix.held_out import Gain, deal, paid, pooled
from lossmatrix.losses import CrossEntropy
from lossmatrix.tensors import check_tensor

LAM = 30.0
TAUS = (1.0, 0.3, 0.1)  # a smaller one overfits classes that are rare and dear
STEPS = (25, 25, 100)
STEPS_OF_CROSS_ENTROPY = 50
RIDGE_OF_LOGITS, RIDGE_OF_FEATURES = 30.0, 10.0
FURTHEST = 5.0  # standard deviations, beyond which a feature says no more
FOLDS = 3
REQUIRED = 2.0  # standard errors that a gain has to exceed


@dataclass(eq=False)
class DecisionScaling:
    """s log softmax(logits / T) + F U + b, fitted to what the decisions of ``costs`` cost.

    F are the standardised features of a row, no further than 5 standard deviations from 0; without
    features, half of its centred log-probabilities, as in ``MatrixScaling``. ``fit`` finds T as
    ``TemperatureScaling`` does, and then goes down, from s = 1, U = 0 and b = 0 over cross-entropy,

        mean of CrossEntropy + 30 · DecisionScore(τ)  +  ridge / 2N · ((s − 1)² + Σ U² + Σ b²)

    at τ = 1, 0.3 and 0.1, each from the end of the last, with a ridge of 10 with features and 30
    without. DecisionScore takes the costs in units of their mean positive regret; log-probabilities
    end at −12. The map is kept if, over three folds of the rows, its Bayes decisions cost less than
    those after a temperature by more than two standard errors; else it is that temperature
    (``changes`` is False).

    Fit it on logits of rows out of folds: a held-out quarter is too few. Decide the softmax of what
    it gives by ``lm.decide`` with these costs; for others it is no calibration.

    Source: derived for this library; the map is that of Kull et al. (2019), Beyond temperature
    scaling, section 3.

    >>> x = torch.linspace(-2, 2, 300).unsqueeze(1)
    >>> target = ((x > 0.5) & (x < 1.5)).long().squeeze(1)  # between two parts of the other class
    >>> logits = torch.cat([0 * x, 0.4 * x - 1.2], 1)
    >>> scaling = lm.DecisionScaling([[0, 1], [5, 0]]).fit(logits, target, features=x)
    >>> scaling.changes
    True
    >>> print(f"{scaling.gain.cost:.2f} in place of {scaling.gain.control:.2f}")
    0.17 in place of 0.31
    """

    costs: CostMatrix | Table
    temperature: float | None = field(default=None, init=False)
    changes: bool | None = field(default=None, init=False)
    gain: Gain | None = field(default=None, init=False)  # over a temperature, out of folds
    fitted: FittedMap | None = field(default=None, init=False, repr=False)

    def fit(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        features: Tensor | None = None,
        ignore_index: int = -100,
    ) -> DecisionScaling:
        """Find the map on ``logits`` (N, C) or (N, C, d1 …) of rows that were not trained on.

        ``features`` are (N, F) or (N, F, d1 …). Rows whose target is ``ignore_index`` do not count.
        Raises what ``TemperatureScaling.fit`` raises, and ValueError for costs and features that do
        not fit, and for fewer rows than folds.
        """
        costs = as_costs(self.costs)
        with torch.inference_mode(False):
            z, y = (each.clone() for each in counted_rows(logits, target, ignore_index))
            y = y.squeeze(1)
            _check(costs, z)
            counts = target.flatten() != ignore_index
            x = None if features is None else _flat(features, logits)[counts].clone()
            _check_features(x)
            self.gain = _gain(z, y, x, costs)
            self.changes = self.gain.exceeds(REQUIRED)
            self.fitted = fit_map(z, y, x, costs) if self.changes else None
            self.temperature = TemperatureScaling().fit(z, y).temperature
        self._num_classes = z.shape[1]
        self._num_features = None if x is None else x.shape[1]
        return self

    def __call__(self, logits: Tensor, *, features: Tensor | None = None) -> Tensor:
        """The calibrated logits, in the shape and dtype of the logits.

        Raises RuntimeError before a fit, ValueError for another number of classes or features.
        """
        if self.temperature is None:
            raise RuntimeError("this DecisionScaling has no parameters yet: call fit first")
        z = classes_last(logits, self._num_classes, "DecisionScaling")
        if features is not None:
            check_tensor("features", features)
        given = None if features is None else features.shape[min(1, features.dim() - 1)]
        if given != self._num_features:
            raise ValueError(
                f"this DecisionScaling was fitted to {self._num_features or 'no'} features, and "
                f"got {given or 'none'}: pass features of the same columns as in fit"
            )
        if self.fitted is None:
            made = z / self.temperature
        else:
            x = None if features is None else _flat(features, logits)
            rows = self.fitted.inputs(z.reshape(-1, z.shape[-1]).double(), x)
            made = self.fitted(rows).view(z.shape)
        return made.movedim(-1, min(1, logits.dim() - 1)).to(logits.dtype)


class FittedMap(nn.Module):
    """s ℓ + F U + b for rows of logits, of which it makes ℓ and F; at first it changes nothing."""

    def __init__(self, logits: Tensor, features: Tensor | None, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        source = floored(logits / temperature) if features is None else features
        spread = source.std(0, correction=0)
        self.center = source.mean(0)
        self.spread = spread.new_full((), 2.0) if features is None else spread.where(spread > 0, 1)
        C = logits.shape[1]
        self.scale = nn.Parameter(logits.new_ones(()))
        self.matrix = nn.Parameter(logits.new_zeros(len(self.center), C))
        self.bias = nn.Parameter(logits.new_zeros(C))

    def inputs(self, logits: Tensor, features: Tensor | None) -> Tensor:
        """ℓ and F side by side, (N, C + F)."""
        logs = floored(logits / self.temperature)
        if features is None:
            return torch.cat([logs, (logs - self.center) / self.spread], 1)
        standardised = (features - self.center) / self.spread
        return torch.cat([logs, standardised.clamp(-FURTHEST, FURTHEST)], 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """The calibrated logits (N, C)."""
        C = len(self.bias)
        return self.scale * inputs[:, :C] + inputs[:, C:] @ self.matrix + self.bias

    def distance(self) -> Tensor:
        """(s − 1)² + Σ U² + Σ b²: how far it is from changing nothing."""
        return (self.scale - 1).square() + self.matrix.square().sum() + self.bias.square().sum()


def fit_map(z: Tensor, y: Tensor, x: Tensor | None, costs: CostMatrix) -> FittedMap:
    """The map of these rows: logits (N, C), class indices (N,), and features (N, F) or None."""
    fitted = FittedMap(z, x, TemperatureScaling().fit(z, y).temperature or 1.0)
    rows = LabelledRows(fitted.inputs(z, x), y, torch.ones_like(z[:, 0]))
    ridge = (RIDGE_OF_LOGITS if x is None else RIDGE_OF_FEATURES) / (2 * len(y))

    def penalty(_: nn.Module) -> Tensor:
        return ridge * fitted.distance()

    descend(fitted, rows, CrossEntropy(), None, penalty, STEPS_OF_CROSS_ENTROPY)
    for _ in anneal(fitted, rows, costs, LAM, TAUS, penalty, STEPS):
        pass
    return fitted.requires_grad_(False)


def _gain(z: Tensor, y: Tensor, x: Tensor | None, costs: CostMatrix) -> Gain:
    """That of the map over a temperature, both fitted to the rows of the other folds."""
    fold, number = deal(y, FOLDS, None), torch.arange(len(y), device=y.device)
    tempered: list[tuple[Tensor, Tensor]] = []
    mapped: list[tuple[Tensor, Tensor]] = []
    for each in range(FOLDS):
        kept, out = number[fold != each], number[fold == each]
        fitted = fit_map(z[kept], y[kept], None if x is None else x[kept], costs)
        inputs = fitted.inputs(z[out], None if x is None else x[out])
        tempered.append((out, paid(z[out] / fitted.temperature, y[out], costs)))
        mapped.append((out, paid(fitted(inputs), y[out], costs)))
    control, cost = pooled(tempered, len(y)), pooled(mapped, len(y))
    return Gain.of(control, cost, torch.ones_like(control))


def _flat(features: Tensor, logits: Tensor) -> Tensor:
    """Features (N, F) of all rows, in float64, where they come with the shape of the logits."""
    check_tensor("features", features)
    class_dim = min(1, logits.dim() - 1)
    if features.dim() != logits.dim() or (
        features.select(class_dim, 0).shape != logits.select(class_dim, 0).shape
    ):
        raise ValueError(
            f"features of shape {tuple(features.shape)} do not belong to logits of shape "
            f"{tuple(logits.shape)}: expected a row of features for each row of logits"
        )
    return features.detach().movedim(class_dim, -1).reshape(-1, features.shape[class_dim]).double()


def _check_features(features: Tensor | None) -> None:
    if features is not None and not bool(features.isfinite().all()):
        raise ValueError("a fit needs finite features, got infinite ones or NaN: fill them first")


def _check(costs: CostMatrix, logits: Tensor) -> None:
    """Refuse costs that do not fit the classes, or not the rows, and too few rows."""
    if costs.num_samples is not None:
        raise ValueError(
            f"{costs!r} belongs to some rows, and a map is for all: give costs per pair of classes"
        )
    if costs.num_classes != logits.shape[1]:
        raise ValueError(
            f"the costs have {costs.num_classes} classes, the logits {logits.shape[1]}: expected "
            "a row of costs for each class"
        )
    if len(logits) < FOLDS:
        raise ValueError(f"a fit needs at least {FOLDS} rows, one for each fold, got {len(logits)}")
