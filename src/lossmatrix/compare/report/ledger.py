# SPDX-License-Identifier: BSD-3-Clause
"""What decisions were expected to cost, what they did cost, and where that money went."""

from dataclasses import dataclass

import numpy
import torch

from lossmatrix.compare.results import Comparison, Result
from lossmatrix.compare.task import Indices, Numbers
from lossmatrix.decide import conditional_risk

MOST_PAIRS = 10


def risk(comparison: Comparison, probs: Numbers) -> Numbers:
    """Expected cost (N, K) of every decision on every judged row: Σ_i p_i D_ij."""
    if comparison.row_costs is not None:
        return numpy.einsum("nc,nck->nk", probs, comparison.row_costs)
    return conditional_risk(torch.as_tensor(probs), comparison.task.costs).numpy()


def paid(comparison: Comparison, decisions: Indices) -> Numbers:
    """What decisions (…, N) on the judged rows cost."""
    return comparison.task.paid(comparison.judged)[numpy.arange(len(comparison.target)), decisions]


def average_costs(comparison: Comparison) -> Numbers:
    """The table of costs (C, K); its average where each row has costs of its own."""
    if comparison.row_costs is not None:
        return numpy.average(comparison.row_costs, axis=0, weights=comparison.weight)
    return comparison.task.costs.to_dense().double().numpy()


@dataclass(frozen=True)
class Pair:
    """A kind of mistake in 1,000 decisions: how often it happens, and what it costs."""

    truth: str
    decision: str
    count: float
    cost: float
    share: float  # of the whole bill


@dataclass(frozen=True)
class Truth:
    """The rows of one class: their share of all rows, what one costs, their share of the bill."""

    name: str
    rows: float
    average: float
    share: float


@dataclass(frozen=True)
class View:
    """Where the money of a result goes: `bill` (C, K) is the cost of each pair in 1,000 decisions.

    `pairs` are the ten that cost most, `truths` the classes in their order.
    """

    result: Result
    bill: Numbers
    pairs: list[Pair]
    truths: list[Truth]


def view(comparison: Comparison, result: Result) -> View:
    """Where the money of a result goes."""
    bill = bill_of(comparison, result)
    return View(result, bill, pairs(comparison, result, bill), truths(comparison, result, bill))


def bill_of(comparison: Comparison, result: Result) -> Numbers:
    """What each pair of truth and decision costs (C, K) in 1,000 decisions, over all seeds."""
    weight = 1000 * comparison.weight / comparison.weight.sum() / len(result.decisions)
    bill = numpy.zeros(result.confusion.shape)
    costs = weight * paid(comparison, result.decisions)
    numpy.add.at(bill, (comparison.target, result.decisions), costs)
    return bill


def pairs(comparison: Comparison, result: Result, bill: Numbers) -> list[Pair]:
    """The ten pairs of truth and decision that cost most."""
    names, found = comparison.task.costs, list[Pair]()
    for place in map(int, numpy.argsort(-bill, axis=None, kind="stable")[:MOST_PAIRS]):
        i, j = divmod(place, bill.shape[1])
        if bill[i, j] > 0:
            count, share = 1000 * result.confusion[i, j], bill[i, j] / bill.sum()
            found.append(Pair(names.classes[i], names.decisions[j], count, bill[i, j], share))
    return found


def truths(comparison: Comparison, result: Result, bill: Numbers) -> list[Truth]:
    """What rows of each class that is there cost."""
    rows, costs = result.confusion.sum(1), bill.sum(1)
    shares = costs / (costs.sum() or 1)
    return [
        Truth(name, rows[i], costs[i] / rows[i] / 1000, shares[i])
        for i, name in enumerate(comparison.task.costs.classes)
        if rows[i] > 0
    ]


@dataclass(frozen=True)
class Prediction:
    """What the first seed of a result expected to pay for its decision on each row, and paid."""

    expected: Numbers
    paid: Numbers
    weight: Numbers


def prediction(comparison: Comparison, result: Result) -> Prediction:
    """The two costs (N,) of the Bayes decision under the probabilities of a result."""
    assert result.probs is not None
    risks = risk(comparison, result.probs)
    return Prediction(risks.min(1), paid(comparison, risks.argmin(1)), comparison.weight)
