# SPDX-License-Identifier: BSD-3-Clause
"""Gradient-boosted trees of XGBoost, trained by any loss and stopped by what decisions cost."""
# XGBoost carries no types:
# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from importlib.util import find_spec
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossmatrix.boosting import CostMetric, CostObjective
from lossmatrix.compare.task import UserInputError
from lossmatrix.compare.training import TrainingRows
from lossmatrix.losses import CrossEntropy, Loss

ROUNDS = 500  # at most
PATIENCE = 30  # rounds without a cheaper decision on validation rows, after which training stops
RATE = 0.1
LEAVES = 16
LEAST = 1e-30  # probability of which a logarithm is taken


class BoostedTrees(nn.Module):
    """Trees as a model: features (n, p) to the scores (n, C) of all rounds up to the cheapest."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.booster: Any = None

    def forward(self, features: Tensor) -> Tensor:
        """The raw scores, which softmax makes probabilities of."""
        import xgboost

        rounds = (0, self.booster.best_iteration + 1)
        rows = xgboost.DMatrix(features.numpy())
        scores = self.booster.predict(rows, output_margin=True, iteration_range=rounds)
        return torch.from_numpy(scores)


def check_trees() -> None:
    """Refuse to go on without XGBoost, with a `UserInputError`."""
    if find_spec("xgboost") is None:
        raise UserInputError("Boosted trees need XGBoost, which is not here: pip install xgboost.")


def train_trees(
    model: BoostedTrees, loss: Loss, fit: TrainingRows, validation: TrainingRows, step: float
) -> bool:
    """Grow trees in place; False where a score is not finite.

    Cross-entropy is XGBoost's own multi:softprob, any other loss a `CostObjective`. `step`
    multiplies the number of leaves. Nothing is drawn, so that nothing depends on a seed.
    """
    import xgboost

    own = loss == CrossEntropy()
    rule = loss.decides or "argmax"  # as the comparison decides what has no rule of its own
    metric = CostMetric(CostObjective(loss, validation.costs), rule=rule)

    def of_probs(probs: NDArray[Any], rows: Any) -> Any:
        return metric(numpy.log(probs.clip(LEAST)), rows)

    options = {
        "num_class": model.num_classes,
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": max(2, round(LEAVES * step)),
        "eta": RATE,
        "nthread": 1,
        "seed": 0,
        "disable_default_eval_metric": 1,
    }
    model.booster = xgboost.train(
        options | ({"objective": "multi:softprob"} if own else {}),
        of_xgboost(fit),
        num_boost_round=ROUNDS,
        obj=None if own else CostObjective(loss, fit.costs),
        evals=[(of_xgboost(validation), "validation")],
        custom_metric=of_probs if own else metric,
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    return bool(model(validation.features).isfinite().all())


def of_xgboost(rows: TrainingRows) -> Any:
    """Rows as XGBoost reads them."""
    import xgboost

    return xgboost.DMatrix(
        rows.features.numpy(), label=rows.target.numpy(), weight=rows.weight.numpy()
    )
