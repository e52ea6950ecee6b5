# SPDX-License-Identifier: BSD-3-Clause
"""Losses, decisions and metrics for classifiers whose mistakes do not all cost the same.

State once what each mistake costs, as a matrix D with D[i, j] = cost of deciding j when the truth
is i, and train, decide and measure with it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lossmatrix import calibration as calibration
from lossmatrix import parallel as parallel
from lossmatrix import plot as plot
from lossmatrix import testing as testing
from lossmatrix.binary import BinaryCriterion as BinaryCriterion
from lossmatrix.calibration import MatrixScaling as MatrixScaling
from lossmatrix.calibration import TemperatureScaling as TemperatureScaling
from lossmatrix.calibration import VectorScaling as VectorScaling
from lossmatrix.costs import CostMatrix as CostMatrix
from lossmatrix.costs import Dense as Dense
from lossmatrix.costs import Finding as Finding
from lossmatrix.costs import LowRank as LowRank
from lossmatrix.costs import Ordinal as Ordinal
from lossmatrix.costs import PerExample as PerExample
from lossmatrix.costs import Sparse as Sparse
from lossmatrix.costs import Tree as Tree
from lossmatrix.costs import ZeroOne as ZeroOne
from lossmatrix.costs import as_costs as as_costs
from lossmatrix.decide import conditional_risk as conditional_risk
from lossmatrix.decide import decide as decide
from lossmatrix.decide import decide_or_abstain as decide_or_abstain
from lossmatrix.decide import decision_threshold as decision_threshold
from lossmatrix.decide import shift_priors as shift_priors
from lossmatrix.decision_scaling import DecisionScaling as DecisionScaling
from lossmatrix.explain import explain as explain
from lossmatrix.kappa import WeightedKappaLoss as WeightedKappaLoss
from lossmatrix.linear import LinearCriterion as LinearCriterion
from lossmatrix.linear import linear_loss as linear_loss
from lossmatrix.losses import Cells as Cells
from lossmatrix.losses import CostFocal as CostFocal
from lossmatrix.losses import CostSensitiveCrossEntropy as CostSensitiveCrossEntropy
from lossmatrix.losses import CrossEntropy as CrossEntropy
from lossmatrix.losses import DecisionScore as DecisionScore
from lossmatrix.losses import EnergyScore as EnergyScore
from lossmatrix.losses import EntropicRisk as EntropicRisk
from lossmatrix.losses import ExpectedCost as ExpectedCost
from lossmatrix.losses import Loss as Loss
from lossmatrix.losses import PairWeightedCrossEntropy as PairWeightedCrossEntropy
from lossmatrix.losses import SimilarityLikelihood as SimilarityLikelihood
from lossmatrix.losses import SoftmaxMargin as SoftmaxMargin
from lossmatrix.losses import SoftTargetCrossEntropy as SoftTargetCrossEntropy
from lossmatrix.losses import Unlikelihood as Unlikelihood
from lossmatrix.losses import growth as growth
from lossmatrix.losses import power as power
from lossmatrix.losses import weigh as weigh
from lossmatrix.metrics import average_cost as average_cost
from lossmatrix.metrics import cost_regret as cost_regret
from lossmatrix.metrics import normalized_cost as normalized_cost
from lossmatrix.metrics import weighted_kappa as weighted_kappa
from lossmatrix.nn import Criterion as Criterion
from lossmatrix.nn import count as count
from lossmatrix.refine import refine as refine
from lossmatrix.versions import show_versions as show_versions

if TYPE_CHECKING:
    from lossmatrix import boosting as boosting
    from lossmatrix import compare as compare
    from lossmatrix import sklearn as sklearn
    from lossmatrix.meter import CostMeter as CostMeter


def __getattr__(name: str) -> object:  # what needs an extra is imported when it is asked for
    if name == "CostMeter":
        from lossmatrix.meter import CostMeter

        return CostMeter
    if name in ("boosting", "compare", "sklearn"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
