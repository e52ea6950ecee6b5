# SPDX-License-Identifier: BSD-3-Clause
"""How exact prices must be: at the ends of a range two methods cost the same."""

from dataclasses import replace

import numpy
import pytest
import torch

import lossmatrix as lm
from lossmatrix.compare.evaluate import Decisions, baseline_of, evaluate
from lossmatrix.compare.export import description
from lossmatrix.compare.methods import Configuration, Rule
from lossmatrix.compare.prices import prices
from lossmatrix.compare.report import page
from lossmatrix.compare.results import Comparison, Fit
from lossmatrix.compare.task import Task
from lossmatrix.compare.training import Schedule

TABLE = [[0.0, 1, 9, 0.7], [2, 0, 4, 0.6], [5, 3, 0, 0.5]]
COSTS = lm.Dense(TABLE, classes=["cat", "lynx", "truck"], decisions=["cat", "lynx", "truck", "ask"])


def taken(name: str, rule: Rule, right: float, seed: int, target: numpy.ndarray) -> Decisions:
    """Decisions of which a part is right and the others are anything."""
    random = numpy.random.default_rng(seed)
    chosen = numpy.where(random.random(900) < right, target, random.integers(4, size=900))[None]
    decisions = Decisions(name, rule, "CrossEntropy", chosen, chosen, None)
    fit = Fit(0, 90, numpy.arange(900), Configuration(lm.CrossEntropy()), 0.0, 1.0)
    decisions.fits.append(fit)
    return decisions


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """A rival that is better than the control, which is better than the likeliest class."""
    target = numpy.random.default_rng(0).integers(3, size=900)
    weight = 1.0 + numpy.arange(900) % 2
    task = Task("t", "t", COSTS, target, scores={"m": numpy.zeros((900, 3))}, weight=weight)
    methods = [
        taken("CrossEntropy", "argmax", 0.3, 1, target),
        taken("CrossEntropy", "temperature + Bayes", 0.5, 2, target),
        taken("Rival", "Bayes", 0.8, 3, target),
        taken("Other", "Bayes", 0.7, 4, target),
    ]
    return evaluate(task, baseline_of(task, numpy.arange(900)), methods, Schedule(), 1)


def costs_at(comparison: Comparison, i: int, j: int, price: float) -> list[float]:
    """What argmax, the control and the rival cost where one price is another."""
    table = torch.tensor(TABLE, dtype=torch.float64)
    table[i, j] = price
    weight, target = torch.as_tensor(comparison.weight), torch.as_tensor(comparison.target)
    return [
        lm.average_cost(torch.as_tensor(r.decisions[0]), target, table, sample_weight=weight).item()
        for r in comparison.results[:3]
    ]


def test_the_recommended_method_is_cheapest_within_the_range_and_no_further(
    comparison: Comparison,
) -> None:
    assert comparison.results[2].verdict == "better"
    found = prices(comparison)
    ends = 0
    for price in found:
        i, j = COSTS.classes.index(price.truth), COSTS.decisions.index(price.decision)
        assert price.low < price.cost == TABLE[i][j] < price.high
        for end, outwards in ((price.low, -1e-6), (price.high, 1e-6)):
            if numpy.isfinite(end):
                ends += 1
                inside, outside = (
                    costs_at(comparison, i, j, end + d) for d in (-outwards, outwards)
                )
                assert inside[2] < min(inside[:2])
                assert outside[2] > min(outside[:2])
            else:
                far = costs_at(comparison, i, j, 1e5 * numpy.sign(end))
                assert far[2] <= min(far[:2])
    assert ends > 8


def test_the_price_that_moves_the_cost_most_comes_first(comparison: Comparison) -> None:
    found = prices(comparison)
    assert sum(price.share for price in found) == pytest.approx(1)
    for price in found:
        i, j = COSTS.classes.index(price.truth), COSTS.decisions.index(price.decision)
        now, more = (costs_at(comparison, i, j, f * price.cost)[2] for f in (1, 1.01))
        assert 100 * (more / now - 1) == pytest.approx(price.share)
    shares = [price.share for price in found]
    assert shares == sorted(shares, reverse=True)


def test_ranges_are_in_the_numbers_and_in_the_report(comparison: Comparison) -> None:
    described = description(comparison)["prices"]
    assert (described["method"], described["rule"]) == ("Rival", "Bayes")
    first = prices(comparison)[0]
    assert described["ranges"][0]["truth"] == first.truth
    assert described["ranges"][0]["high"] == (first.high if numpy.isfinite(first.high) else None)
    html = page(comparison)
    assert "How exact must the prices be?" in html
    assert f"{first.truth} → {first.decision}" in html


def test_rows_with_prices_of_their_own_have_no_one_price(comparison: Comparison) -> None:
    assert prices(replace(comparison, row_costs=numpy.zeros((900, 3, 4)))) == []
