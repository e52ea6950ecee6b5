# SPDX-License-Identifier: BSD-3-Clause
"""Intervals and verdicts: known answers, and the mistakes that would make them too sure."""

import numpy
import pytest
import scipy.stats

from lossmatrix.compare.intervals import corrected_interval, margin_of, paired_intervals, verdict


def half_width(intervals: numpy.ndarray, index: int = 0) -> float:
    return float(intervals[index, 1] - intervals[index, 0]) / 2


def test_interval_of_a_mean_is_the_textbook_interval() -> None:
    rows = numpy.random.default_rng(1).normal(0.3, 2.0, 400)
    target = numpy.zeros(400, int)
    intervals = paired_intervals(rows[None, None], target, numpy.ones(400))
    expected = 1.96 * rows.std() / numpy.sqrt(400)
    assert half_width(intervals) == pytest.approx(expected, rel=0.04)
    assert intervals.mean() == pytest.approx(rows.mean(), abs=0.1 * expected)


def test_more_seeds_on_the_same_rows_do_not_narrow_the_interval() -> None:
    rows = numpy.random.default_rng(2).normal(size=300)
    target, weight = numpy.zeros(300, int), numpy.ones(300)
    once = paired_intervals(rows[None, None], target, weight)
    often = paired_intervals(numpy.tile(rows, (1, 9, 1)), target, weight)
    assert half_width(often) == pytest.approx(half_width(once), rel=0.04)


def test_seeds_that_disagree_widen_the_interval() -> None:
    effects = numpy.array([-0.4, 0.1, 0.5, -0.2])
    differences = numpy.tile(effects[:, None], (1, 200))[None]
    intervals = paired_intervals(differences, numpy.zeros(200, int), numpy.ones(200))
    assert half_width(intervals) == pytest.approx(1.96 * effects.std() / 2, rel=0.1)


def test_weights_count_rows_as_often_as_they_stand_for() -> None:
    differences = numpy.repeat([[[1.0, -1.0]]], 300, axis=2)
    weight = numpy.repeat([3.0, 1.0], 300)
    intervals = paired_intervals(differences, numpy.zeros(600, int), weight)
    assert intervals.mean() == pytest.approx(0.5, abs=0.01)


def test_a_rare_class_is_present_in_every_resample() -> None:
    target = numpy.array([0] * 500 + [1] * 3)
    differences = (target * 100.0)[None, None]
    intervals = paired_intervals(differences, target, numpy.ones(503))
    numpy.testing.assert_allclose(intervals, 300 / 503)


def test_every_method_is_resampled_with_the_same_rows_and_seeds() -> None:
    differences = numpy.random.default_rng(3).normal(size=(1, 4, 150))
    both = numpy.concatenate([differences, 2 * differences])
    intervals = paired_intervals(both, numpy.zeros(150, int), numpy.ones(150))
    numpy.testing.assert_allclose(intervals[1], 2 * intervals[0])


def test_blocks_of_resamples_do_not_change_their_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    differences = numpy.random.default_rng(4).normal(size=(1, 2, 100))
    arguments = (differences, numpy.zeros(100, int), numpy.ones(100))
    whole = paired_intervals(*arguments)
    monkeypatch.setattr("lossmatrix.compare.intervals.BLOCK", 12_345)
    assert half_width(paired_intervals(*arguments)) == pytest.approx(half_width(whole), rel=0.05)


def rows_drawn_one_by_one(
    differences: numpy.ndarray, target: numpy.ndarray, weight: numpy.ndarray, times: int
) -> numpy.ndarray:
    """The means (times, M) of the bootstrap as it is told: rows, within classes if one is rare."""
    _, S, N = differences.shape
    random = numpy.random.default_rng(17)
    strata = [numpy.arange(N)]
    if numpy.bincount(target).min() < 30:
        strata = [numpy.flatnonzero(target == label) for label in numpy.unique(target)]
    means = []
    for _ in range(times):
        rows = numpy.concatenate([random.choice(stratum, len(stratum)) for stratum in strata])
        seeds = random.choice(S, S)
        part = differences[:, seeds][..., rows].mean(1)
        means.append(part @ weight[rows] / weight[rows].sum())
    return numpy.array(means)


@pytest.mark.parametrize("classes", [[150, 150], [285, 15]])
@pytest.mark.parametrize("values", [3, 10**6])  # few kinds of rows are counted, many are drawn
def test_kinds_of_rows_are_drawn_as_rows_are(classes: list[int], values: int) -> None:
    random = numpy.random.default_rng(8)
    target = numpy.repeat([0, 1], classes)
    weight = random.choice([0.5, 3.0], 300)
    differences = random.integers(values, size=(2, 1, 300)) / values - 0.4 * target
    differences = numpy.concatenate([differences, differences + 0.02], 1)
    expected = numpy.percentile(
        rows_drawn_one_by_one(differences, target, weight, 20_000), [2.5, 97.5], axis=0
    ).T
    found = paired_intervals(differences, target, weight)
    numpy.testing.assert_allclose(found, expected, atol=0.04 * half_width(expected))


def test_the_mean_of_two_values_is_binomial() -> None:
    differences = numpy.repeat([0.0, 1.0], [700, 300])[None, None]
    found = paired_intervals(differences, numpy.zeros(1000, int), numpy.ones(1000))
    exact = scipy.stats.binom.ppf([0.025, 0.975], 1000, 0.3) / 1000
    numpy.testing.assert_allclose(found[0], exact, atol=0.0011)  # one row


def test_a_million_rows_take_no_longer_than_their_kinds() -> None:
    rows = numpy.tile([0.0, 0.0, 1.0, -2.0], 250_000)[None, None]
    (low, high), *_ = paired_intervals(rows, numpy.zeros(10**6, int), numpy.ones(10**6))
    half = 1.96 * rows.std() / 1000
    numpy.testing.assert_allclose([low, high], [-0.25 - half, -0.25 + half], atol=0.04 * half)


def test_many_rows_with_costs_of_their_own_vary_as_each_would_alone() -> None:
    random = numpy.random.default_rng(12)
    rows, weight = random.exponential(size=(2, 1, 60_000)), random.choice([1.0, 5.0], 60_000)
    rows[1] -= 0.5 * rows[0]
    rows = rows + numpy.array([-0.004, 0.001, 0.009])[:, None]
    found = paired_intervals(rows, numpy.zeros(60_000, int), weight)
    share, by_row = weight / weight.sum(), rows.mean(1)
    means = by_row @ share
    over_rows = (share**2 * (by_row - means[:, None]) ** 2).sum(1)
    over_seeds = (rows @ share).var(1) / 3  # which differ by as much on every row
    half = 1.96 * numpy.sqrt(over_rows + over_seeds)
    numpy.testing.assert_allclose(found, numpy.stack([means - half, means + half], 1), atol=2e-3)
    widths = [half_width(found, place) for place in range(2)]
    numpy.testing.assert_allclose(widths, half, rtol=0.05)


def test_a_rare_class_among_many_rows_is_present_in_every_resample() -> None:
    target = numpy.repeat([0, 1], [29_990, 10])
    noise = numpy.random.default_rng(5).normal(0, 1e-9, 30_000)
    ((low, high),) = paired_intervals(
        (3000.0 * target + noise)[None, None], target, numpy.ones(30_000)
    )
    assert low == pytest.approx(1, rel=0.05)
    assert high == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.05, -0.011, "better"),
        (0.011, 0.02, "worse"),
        (-0.0099, 0.0099, "no difference"),
        (-0.05, -0.009, "undecided"),
        (-0.009, 0.011, "undecided"),
        (-0.2, 0.3, "undecided"),
        (-0.009, -0.001, "no difference"),
    ],
)
def test_the_verdict_needs_the_whole_interval_on_one_side(
    low: float, high: float, said: str
) -> None:
    assert verdict(low, high, 0.01) == said


def test_what_does_not_matter_is_a_share_of_the_controls_cost_and_never_nothing() -> None:
    assert margin_of(0.5) == pytest.approx(0.01)
    assert verdict(-0.004, -0.0025, margin_of(0.1)) == "better"  # a quarter of the old margin
    assert verdict(-0.004, -0.0025, margin_of(0.3)) == "no difference"
    assert margin_of(0.0) == margin_of(0.02) == margin_of(numpy.inf) == 0.001


def test_the_corrected_interval_is_wider_than_the_plain_one_by_nadeau_and_bengio() -> None:
    means = numpy.array([0.02, 0.05, 0.01, 0.04, 0.03, 0.06, 0.02, 0.05, 0.03, 0.04])
    low, high = corrected_interval(means, 1 / 9)  # ten folds: a test part is a ninth of the rest
    plain = means.std(ddof=1) * numpy.sqrt(1 / 10)
    assert (low + high) / 2 == pytest.approx(means.mean())
    # t with 9 degrees of freedom is 2.262; 1/10 + 1/9 in place of 1/10
    assert (high - low) / 2 == pytest.approx(2.262157 * plain * numpy.sqrt(19 / 9), rel=1e-6)
