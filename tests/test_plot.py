# SPDX-License-Identifier: BSD-3-Clause
"""Pictures state the numbers of the metrics: what is in the artists, by hand and by definition."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from matplotlib import pyplot
from torch import Tensor

import lossmatrix as lm
from lossmatrix.plot import (
    AbstentionCurveDisplay,
    CostConfusionDisplay,
    DecisionReliabilityDisplay,
    RiskCurveDisplay,
)

# asymmetric, every entry its own, a diagonal that is not zero, a decision that is no class
COSTS = lm.Dense(
    [[0.5, 3.0, 7.0, 2.0], [11.0, 0.25, 4.0, 2.5], [6.0, 9.0, 1.0, 2.75]],
    classes=["ant", "bee", "cat"],
    decisions=["ant", "bee", "cat", "ask"],
)
# risks 1 − p of the likelier class: .1, .4, .2, .3; right, wrong, right, wrong
PROBS = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 1, 0])


@pytest.fixture(autouse=True)
def _no_window(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def predicted(num_rows: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, truths and weights, 0 among them, of rows of three classes."""
    generator = torch.Generator().manual_seed(4)
    probs = torch.randn(num_rows, 3, generator=generator, dtype=torch.float64).softmax(1)
    target = torch.randint(3, (num_rows,), generator=generator)
    return probs, target, torch.arange(num_rows) % 4 / 2


# --- the cost confusion --------------------------------------------------------------------------


def test_cells_are_what_their_pair_has_cost_and_sum_to_the_average_cost() -> None:
    probs, target, weight = predicted()
    decision = lm.decide(probs, COSTS)
    display = CostConfusionDisplay.from_predictions(decision, target, COSTS, sample_weight=weight)
    for i, j in [(0, 1), (2, 3), (1, 1)]:
        here = weight[(target == i) & (decision == j)].sum().double() / weight.sum()
        assert display.share[i, j].item() == pytest.approx(here.item())
        assert display.paid[i, j].item() == pytest.approx(here.item() * COSTS.entry(i, j))
    average = lm.average_cost(decision, target, COSTS, sample_weight=weight)
    torch.testing.assert_close(display.paid.sum(), average)


def test_the_heat_map_shows_those_cells_rows_the_truth() -> None:
    display = CostConfusionDisplay.from_predictions(
        torch.tensor([0, 2, 3, 3]), torch.tensor([1, -100, 0, 0]), COSTS
    )
    (image,) = display.ax_.get_images()
    assert image.get_array().tolist() == display.paid.tolist()
    assert display.paid[1, 0].item() == 11 / 3
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == list(COSTS.classes)
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == list(COSTS.decisions)
    said = {text.get_position(): text.get_text() for text in display.ax_.texts}
    assert len(said) == 12
    assert said[0, 1] == "3.67"  # decided 0, true 1
    assert said[3, 0] == "1.33"


@pytest.mark.parametrize(("width", "shown"), [(14.0, True), (3.0, False)])
def test_numbers_are_as_small_as_their_cells_need_or_left_out(width: float, shown: bool) -> None:
    random = torch.Generator().manual_seed(0)
    decision, target = torch.randint(0, 12, (2, 500), generator=random)
    _, axes = pyplot.subplots(1, 2, figsize=(width, 7), layout="constrained")
    costs = torch.rand(12, 12, generator=random)
    display = CostConfusionDisplay.from_predictions(decision, target, costs, ax=axes[0])
    assert len(display.ax_.texts) == (144 if shown else 0)
    display.figure_.draw_without_rendering()
    for text in display.ax_.texts:
        j, i = text.get_position()
        box = text.get_window_extent().transformed(display.ax_.transData.inverted())
        assert j - 0.5 < box.xmin < box.xmax < j + 0.5
        assert i - 0.5 < min(box.ymin, box.ymax)
        assert max(box.ymin, box.ymax) < i + 0.5


def test_numbers_that_have_room_keep_their_size() -> None:
    display = CostConfusionDisplay.from_predictions(torch.tensor([0]), torch.tensor([1]), COSTS)
    assert {text.get_fontsize() for text in display.ax_.texts} == {pyplot.rcParams["font.size"]}


def test_cells_of_many_classes_are_left_without_numbers() -> None:
    decision, target = torch.tensor([0, 20]), torch.tensor([20, 20])
    display = CostConfusionDisplay.from_predictions(decision, target, lm.Ordinal(21))
    assert not display.ax_.texts
    assert display.paid[20, 0].item() == 10.0


def test_names_are_neither_formulas_nor_do_they_act() -> None:
    costs = lm.Dense([[0.0, 3], [11, 0]], classes=["$10-$2_{", "b\x1b[2J"])
    decision = torch.tensor([0, 1, 1])
    display = CostConfusionDisplay.from_predictions(decision, decision.flip(0), costs)
    reliability = DecisionReliabilityDisplay.from_predictions(PROBS, TARGET, costs)
    for each in (display, reliability):
        each.figure_.draw_without_rendering()  # where formulas are parsed, and glyphs are missed
    for labels in (display.ax_.get_xticklabels(), display.ax_.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["$10-$2_{", r"b\x1b[2J"]
    names = {text.get_text() for text in reliability.ax_.texts}
    assert names <= {"$10-$2_{", r"b\x1b[2J"}
    assert names


# --- the risk curve ------------------------------------------------------------------------------


def test_the_risk_curve_takes_the_surest_rows_first() -> None:
    display = RiskCurveDisplay.from_predictions(PROBS, TARGET, lm.ZeroOne(2))
    paid, expected = display.ax_.get_lines()
    assert paid.get_xdata() == pytest.approx([0.25, 0.5, 0.75, 1])
    assert paid.get_ydata() == pytest.approx([0, 0, 1 / 3, 2 / 4])
    assert expected.get_ydata() == pytest.approx([0.1, 0.3 / 2, 0.6 / 3, 1.0 / 4])
    assert display.area == pytest.approx((1 / 3 + 2 / 4) / 4)


def test_each_point_of_the_risk_curve_is_an_average_cost() -> None:
    probs, target, weight = predicted()
    display = RiskCurveDisplay.from_predictions(probs, target, COSTS, sample_weight=weight)
    kept = weight > 0
    decision, order = lm.decide(probs, COSTS), lm.conditional_risk(probs, COSTS).amin(1).argsort()
    order = order[kept[order]]
    for n in (1, 7, len(order)):
        rows = order[:n]
        average = lm.average_cost(decision[rows], target[rows], COSTS, sample_weight=weight[rows])
        torch.testing.assert_close(display.paid[n - 1], average)
        share = (weight[rows].sum() / weight.sum()).item()
        assert display.coverage[n - 1].item() == pytest.approx(share)
    assert len(display.paid) == len(order)


# --- the abstention curve ------------------------------------------------------------------------


def test_the_abstention_curve_goes_from_deciding_all_to_asking_always() -> None:
    display = AbstentionCurveDisplay.from_predictions(PROBS, TARGET, lm.ZeroOne(2), 0.25)
    curve, chosen = display.ax_.get_lines()
    assert curve.get_xdata() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert curve.get_ydata() == pytest.approx([2 / 4, 1.25 / 4, 0.5 / 4, 0.75 / 4, 1 / 4])
    assert [*chosen.get_xdata(), *chosen.get_ydata()] == pytest.approx([0.5, 0.125])


def test_what_costs_infinitely_much_costs_the_price_where_it_abstains() -> None:
    forbidden = [[0, math.inf], [math.inf, 0]]
    target = torch.tensor([0, 1, 0])
    display = AbstentionCurveDisplay.from_predictions(
        torch.full((3, 2), 0.5), target, forbidden, 0.25
    )
    assert display.cost.tolist() == [math.inf, math.inf, pytest.approx(0.5 / 3), 0.25]


def test_probabilities_of_a_model_in_training_are_drawn() -> None:
    probs = PROBS.clone().requires_grad_()
    costs = lm.Dense(torch.tensor([[0.0, 1], [3, 0]], requires_grad=True))
    for display in (RiskCurveDisplay, DecisionReliabilityDisplay):
        display.from_predictions(probs, TARGET, costs)
    AbstentionCurveDisplay.from_predictions(probs, TARGET, costs, 0.25)
    CostConfusionDisplay.from_predictions(TARGET, TARGET, costs)


@pytest.mark.parametrize("price", [0.0, 1.5, [0.5, 3.0, 1.0], 100.0], ids=str)
def test_the_point_of_the_abstention_curve_is_decide_or_abstain(price: float | list[float]) -> None:
    probs, target, weight = predicted()
    square = COSTS.square()
    display = AbstentionCurveDisplay.from_predictions(
        probs, target, square, price, sample_weight=weight
    )
    decision = lm.decide_or_abstain(probs, square, price)
    average = lm.average_cost(decision, target, square.with_abstain(price), sample_weight=weight)
    torch.testing.assert_close(display.cost[display.chosen], average)
    share = (weight * (decision == 3)).sum() / weight.sum()
    assert display.share[display.chosen].item() == pytest.approx(share.item())
    alone = lm.average_cost(lm.decide(probs, square), target, square, sample_weight=weight)
    torch.testing.assert_close(display.cost[0], alone)


def test_a_tie_with_the_price_decides() -> None:
    display = AbstentionCurveDisplay.from_predictions(
        torch.tensor([[0.75, 0.25]]), torch.tensor([0]), lm.ZeroOne(2), 0.25
    )
    assert display.chosen == 0


# --- reliability by decision ---------------------------------------------------------------------


def test_points_are_the_means_of_each_decision() -> None:
    probs = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.375, 0.625], [0.25, 0.75]])
    target = torch.tensor([0, 0, 1, 0])  # risks of deciding 1: .5, .375, .25
    display = DecisionReliabilityDisplay.from_predictions(probs, target, [[0, 1], [2, 0]])
    points, diagonal = display.ax_.get_lines()
    assert points.get_xdata() == pytest.approx([0.5, (0.5 + 0.375 + 0.25) / 3])
    assert points.get_ydata() == pytest.approx([0, 2 / 3])
    assert diagonal.get_slope() == 1
    off = [1 - 0.5, 0 - 0.375, 1 - 0.25]
    mean = sum(off) / 3
    error = math.sqrt(sum((each - mean) ** 2 for each in off) / 2 / 3)
    assert display.error[0].isnan()
    assert display.error[1].item() == pytest.approx(error)
    ((below, above),) = [line.get_segments()[1] for line in display.ax_.collections]
    assert above[1] - below[1] == pytest.approx(2 * error)


def test_what_is_expected_and_paid_weighs_rows_as_the_metrics_do() -> None:
    probs, target, weight = predicted()
    display = DecisionReliabilityDisplay.from_predictions(
        probs, target, COSTS, sample_weight=weight
    )
    decision, risk = lm.decide(probs, COSTS), lm.conditional_risk(probs, COSTS).amin(1)
    for k in decision.unique().tolist():
        rows = decision == k
        paid = lm.average_cost(decision[rows], target[rows], COSTS, sample_weight=weight[rows])
        torch.testing.assert_close(display.paid[k], paid)
        expected = (weight * risk)[rows].sum() / weight[rows].sum()
        torch.testing.assert_close(display.expected[k], expected)


def test_a_decision_that_was_never_made_has_no_point() -> None:
    display = DecisionReliabilityDisplay.from_predictions(PROBS[:1], TARGET[:1], [[0, 1], [2, 0]])
    assert display.paid[1].isnan()
    assert [text.get_text() for text in display.ax_.texts] == ["0"]


# --- all of them ---------------------------------------------------------------------------------


def test_pixels_are_rows_and_void_ones_are_none() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(2, 3, 4, 5, generator=generator).softmax(1)
    target = torch.randint(3, (2, 4, 5), generator=generator)
    flat, truth = probs.movedim(1, -1).reshape(-1, 3), target.flatten()
    ignored = target.clone()
    ignored[:, 0] = 255
    kept = (ignored != 255).flatten()
    for display in (RiskCurveDisplay, DecisionReliabilityDisplay):
        given = display.from_predictions(probs, ignored, COSTS, ignore_index=255)
        rows = display.from_predictions(flat[kept], truth[kept], COSTS)
        torch.testing.assert_close(given.paid, rows.paid, equal_nan=True)


def test_each_row_may_have_a_matrix_of_its_own() -> None:
    cubes = torch.tensor([[[0.0, 1.0], [5.0, 0.0]], [[0.0, 1.0], [300.0, 0.0]]])
    probs = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    own = lm.PerExample.matrices(cubes)
    display = RiskCurveDisplay.from_predictions(probs, torch.tensor([1, 0]), own)
    assert display.paid.tolist() == [5.0, (5 + 1) / 2]
    curve = AbstentionCurveDisplay.from_predictions(probs, torch.tensor([1, 0]), own, 0.75)
    assert curve.cost.tolist() == [(5 + 1) / 2, (5 + 0.75) / 2, 0.75]


def test_a_display_draws_into_the_axes_it_is_given() -> None:
    figure, (left, right) = pyplot.subplots(1, 2)
    display = RiskCurveDisplay.from_predictions(PROBS, TARGET, lm.ZeroOne(2), ax=left)
    assert (display.ax_, display.figure_) == (left, figure)
    assert display.plot(ax=right).ax_ is right
    assert len(right.get_lines()) == 2


def test_logits_are_refused_as_decide_refuses_them() -> None:
    with pytest.raises(ValueError, match="probs must be non-negative and sum to 1"):
        RiskCurveDisplay.from_predictions(10 * PROBS, TARGET, lm.ZeroOne(2))


def test_without_matplotlib_the_name_of_the_extra_is_said() -> None:
    code = """
import sys, torch, lossmatrix as lm
sys.modules["matplotlib"] = None
try:
    happened = torch.tensor([0])
    lm.plot.CostConfusionDisplay.from_predictions(happened, happened, [[0, 1], [1, 0]])
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "lossmatrix.plot needs matplotlib: pip install 'lossmatrix[plot]'\n"
