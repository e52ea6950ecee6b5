# SPDX-License-Identifier: BSD-3-Clause
"""What decisions were expected to cost, what they did cost, and which mistakes that came from."""

from dataclasses import dataclass

import numpy
import torch

from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Indices, Numbers
from lossmatrix.decide import conditional_risk

MOST_PAIRS = 10


def risk_of_rows(comparison: Comparison, probs: Numbers) -> Numbers:
    """Expected cost (N, K) of every decision on every test row: Σ_i p_i D_ij."""
    if comparison.row_costs is not None:
        return numpy.einsum("nc,nck->nk", probs, comparison.row_costs)
    return conditional_risk(torch.as_tensor(probs), comparison.task.costs).numpy()


def realised_costs(comparison: Comparison, decisions: Indices) -> Numbers:
    """What decisions (…, N) on the test rows cost."""
    costs = comparison.task.decision_costs(comparison.test_rows)
    return costs[numpy.arange(len(comparison.target)), decisions]


def average_costs(comparison: Comparison) -> Numbers:
    """The table of costs (C, K); its average where each row has costs of its own."""
    if comparison.row_costs is not None:
        return numpy.average(comparison.row_costs, axis=0, weights=comparison.weight)
    return comparison.task.costs.to_dense().double().numpy()


@dataclass(frozen=True)
class PairCost:
    """A kind of mistake in 1,000 decisions: how often it happens, and what it costs."""

    truth: str
    decision: str
    count: float
    cost: float
    share: float  # of the whole cost


@dataclass(frozen=True)
class ClassCost:
    """The rows of one class: their share of all rows, what one costs, their share of the cost."""

    name: str
    rows: float
    average: float
    share: float


@dataclass(frozen=True)
class CostBreakdown:
    """Which mistakes cost what: `table` (C, K) is the cost of each pair in 1,000 decisions.

    `pairs` are the ten that cost most, `classes` the true classes in their order.
    """

    row: Row
    table: Numbers
    pairs: list[PairCost]
    classes: list[ClassCost]


def breakdown(comparison: Comparison, row: Row) -> CostBreakdown:
    """Which mistakes the cost of a result comes from."""
    table = cost_table(comparison, row)
    return CostBreakdown(
        row, table, pair_costs(comparison, row, table), class_costs(comparison, row, table)
    )


def cost_table(comparison: Comparison, row: Row) -> Numbers:
    """What each pair of truth and decision costs (C, K) in 1,000 decisions, over all seeds."""
    weight = 1000 * comparison.weight / comparison.weight.sum() / len(row.decisions)
    table = numpy.zeros(row.confusion.shape)
    costs = weight * realised_costs(comparison, row.decisions)
    numpy.add.at(table, (comparison.target, row.decisions), costs)
    return table


def pair_costs(comparison: Comparison, row: Row, table: Numbers) -> list[PairCost]:
    """The ten pairs of truth and decision that cost most."""
    names, part, pairs = comparison.task.costs, shares(table), list[PairCost]()
    for place in map(int, numpy.argsort(-table, axis=None, kind="stable")[:MOST_PAIRS]):
        i, j = divmod(place, table.shape[1])
        if table[i, j] > 0:
            count, share = 1000 * row.confusion[i, j], part[i, j]
            pairs.append(PairCost(names.classes[i], names.decisions[j], count, table[i, j], share))
    return pairs


def shares(costs: Numbers) -> Numbers:
    """What part of the whole each is, 0 where there is none; infinite ones share it alike."""
    if numpy.isinf(costs).any():
        return numpy.isinf(costs) / numpy.isinf(costs).sum()
    return costs / (costs.sum() or 1)


def class_costs(comparison: Comparison, row: Row, table: Numbers) -> list[ClassCost]:
    """What rows of each class that is there cost."""
    rows, costs = row.confusion.sum(1), table.sum(1)
    part = shares(costs)
    return [
        ClassCost(name, rows[i], costs[i] / rows[i] / 1000, part[i])
        for i, name in enumerate(comparison.task.costs.classes)
        if rows[i] > 0
    ]


@dataclass(frozen=True)
class Prediction:
    """Expected and realised cost (N,) of the first seed's decision on each row."""

    expected: Numbers
    realised: Numbers
    weight: Numbers


def prediction(comparison: Comparison, row: Row) -> Prediction:
    """The two costs of the Bayes decision under the probabilities of a result."""
    assert row.probs is not None
    risk = risk_of_rows(comparison, row.probs)
    return Prediction(risk.min(1), realised_costs(comparison, risk.argmin(1)), comparison.weight)
