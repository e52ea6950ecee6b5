# SPDX-License-Identifier: BSD-3-Clause
"""The losses, a chapter each, in the order in which they build on one another."""

from lossmatrix.losses.base import CostsLike, DecisionRule, Loss, Reduction, Sum, Term
from lossmatrix.losses.cross_entropy import (
    CostSensitiveCrossEntropy,
    CrossEntropy,
    PairWeightedCrossEntropy,
    SoftTargetCrossEntropy,
)
from lossmatrix.losses.expected import (
    CostFocal,
    EntropicRisk,
    ExpectedCost,
    SimilarityLikelihood,
    Unlikelihood,
)
from lossmatrix.losses.language import Cells, growth, power, weigh
from lossmatrix.losses.margin import SoftmaxMargin
from lossmatrix.losses.proper import DecisionScore, EnergyScore

__all__ = [
    "Cells",
    "CostFocal",
    "CostSensitiveCrossEntropy",
    "CostsLike",
    "CrossEntropy",
    "DecisionRule",
    "DecisionScore",
    "EnergyScore",
    "EntropicRisk",
    "ExpectedCost",
    "Loss",
    "PairWeightedCrossEntropy",
    "Reduction",
    "SimilarityLikelihood",
    "SoftTargetCrossEntropy",
    "SoftmaxMargin",
    "Sum",
    "Term",
    "Unlikelihood",
    "growth",
    "power",
    "weigh",
]
