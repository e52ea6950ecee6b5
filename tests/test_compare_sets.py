# SPDX-License-Identifier: BSD-3-Clause
"""Tests across data sets: known answers, and when there is no answer."""

from dataclasses import replace

import numpy
import pytest

import lossmatrix as lm
from lossmatrix.compare.methods import default_methods
from lossmatrix.compare.results import Comparison
from lossmatrix.compare.run import compare_task
from lossmatrix.compare.sets import costs_by_line, holm, iman_davenport, nemenyi, rank, signed_rank
from lossmatrix.compare.task import Task

# Demšar (2006), table 6: area under the curve of C4.5 and three variants on 14 data sets
DEMSAR = [
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
]  # fmt: skip


def test_the_worked_example_of_demsar_comes_out() -> None:
    # there χ² = 9.28 without a correction for ties, which scipy makes; F(3, 39) = 3.69 is 0.02
    assert iman_davenport(1 - numpy.array(DEMSAR)) == pytest.approx(0.0196, abs=0.01)
    costs = 1 - numpy.array(DEMSAR)
    assert nemenyi(4, 14) == pytest.approx(1.25, abs=0.005)
    assert signed_rank(costs[:, 1] - costs[:, 0]) < 0.05


def test_critical_distances_are_those_of_the_published_table() -> None:
    assert nemenyi(6, 12) == pytest.approx(2.18, abs=0.005)
    assert nemenyi(10, 12) == pytest.approx(3.91, abs=0.005)


def test_holm_multiplies_by_how_many_are_left_and_never_decreases() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_methods_that_never_differ_are_not_different() -> None:
    assert signed_rank(numpy.zeros(9)) == 1
    assert iman_davenport(numpy.ones((9, 3)) * [0.1, 0.2, 0.3]) == 0  # always the same order


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    random = numpy.random.default_rng(5)
    target = numpy.arange(90) % 3
    features = numpy.eye(3)[target] + random.normal(0, 0.8, (90, 3))
    costs = lm.Dense([[0, 1, 9], [2, 0, 4], [1, 3, 0]])
    task = Task("t", "t", costs, target, features=features, network="linear")
    return compare_task(task, default_methods(costs)[:3], seeds=1, tune=1)


def with_costs(comparison: Comparison, costs: list[float]) -> Comparison:
    """The same comparison, its lines costing something else."""
    results = [
        replace(result, normalized_cost=cost)
        for result, cost in zip(comparison.results, costs, strict=True)
    ]
    return replace(comparison, results=tuple(results))


def test_each_loss_counts_once_by_its_own_rule(comparison: Comparison) -> None:
    assert list(costs_by_line(comparison)) == [
        ("CrossEntropy", "argmax"),
        ("CrossEntropy", "temperature + Bayes"),
        ("CrossEntropy + DecisionScore", "temperature + Bayes"),
        ("CrossEntropy + ExpectedCost", "argmax"),
    ]


def test_a_method_that_is_always_cheaper_ranks_first_and_differs_from_the_control(
    comparison: Comparison,
) -> None:
    noise = numpy.random.default_rng(0).normal(0, 0.001, (10, 6))
    base = numpy.array([0.5, 0.4, 0.4, 0.4, 0.3, 0.4])
    sets = [with_costs(comparison, row.tolist()) for row in base + noise]
    ranking = rank(sets)
    assert ranking is not None
    best = ranking.lines[int(ranking.ranks.argmin())]
    assert best == ("CrossEntropy + DecisionScore", "temperature + Bayes")
    assert ranking.ranks.min() == 1
    assert ranking.holm[best] == pytest.approx(3 * 2 / 2**10)
    assert ranking.p_value < 1e-6
    assert rank(sets[:7]) is None  # too few sets for any test across them
