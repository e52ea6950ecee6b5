# SPDX-License-Identifier: BSD-3-Clause
"""What every mistake costs, as an operator: `CostMatrix` and its kinds."""

from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.check import Finding
from lossmatrix.costs.dense import Dense, as_costs
from lossmatrix.costs.lowrank import LowRank
from lossmatrix.costs.ordinal import Ordinal
from lossmatrix.costs.per_example import PerExample
from lossmatrix.costs.sparse import Sparse
from lossmatrix.costs.tree import Tree
from lossmatrix.costs.zero_one import ZeroOne

__all__ = [
    "CostMatrix",
    "Dense",
    "Finding",
    "LowRank",
    "Ordinal",
    "PerExample",
    "Sparse",
    "Tree",
    "ZeroOne",
    "as_costs",
]
