# SPDX-License-Identifier: BSD-3-Clause
"""Costs in scikit-learn: two classifiers that decide by cost, and scorers that count in it.

They take labels as they come, words or numbers, and costs as any ``CostMatrix`` or table. Costs
with names are matched to the labels by name; costs without names are for the labels in sorted
order, which is that of ``classes_``. No costs (None) means that every mistake costs 1.

Costs of each row are metadata named ``costs``: an array (N, C, K), or (N, K) for each row's own
truth, which scikit-learn splits with the rows, or ``PerExample``. ``BayesDecisionClassifier``
decides by the former, the scorers count in both.
"""

try:
    import skorch as _skorch  # pyright: ignore[reportMissingTypeStubs]  # it needs scikit-learn
except ImportError as error:
    raise ImportError(
        "lossmatrix.sklearn needs scikit-learn and skorch: pip install lossmatrix[sklearn]"
    ) from error

from lossmatrix.sklearn.bayes import BayesDecisionClassifier
from lossmatrix.sklearn.network import CostSensitiveClassifier
from lossmatrix.sklearn.scoring import average_cost_scorer, normalized_cost_scorer

__all__ = [
    "BayesDecisionClassifier",
    "CostSensitiveClassifier",
    "average_cost_scorer",
    "normalized_cost_scorer",
]

del _skorch
