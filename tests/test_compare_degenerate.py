# SPDX-License-Identifier: BSD-3-Clause
"""Rows on which nothing is lost, or everything: each ends in a table, its files and a report."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossmatrix as lm
from lossmatrix.compare import intervals
from lossmatrix.compare.evaluate import FAILED, Decisions, baseline_of, evaluate
from lossmatrix.compare.experiment import compare_task
from lossmatrix.compare.export import description, write_results
from lossmatrix.compare.intervals import paired_intervals
from lossmatrix.compare.methods import Configuration, Rule
from lossmatrix.compare.recommendation import recommendation
from lossmatrix.compare.report import page
from lossmatrix.compare.results import Comparison, Fit
from lossmatrix.compare.task import Task, UserInputError
from lossmatrix.compare.terminal import comparison_text
from lossmatrix.compare.training import Schedule

INF = numpy.inf
TABLES = {
    "asymmetric": [[0, 1, 9], [2, 0, 4], [1, 3, 0]],
    "right decisions cost": [[4, 5, 13], [-6, -8, -4], [1, 3, 0]],
    "forbidden": [[0, INF, 9], [2, 0, INF], [1, 3, 0]],
    "one more decision": [[0, 1, 9, 0.5], [INF, 0, 4, 0.5], [1, 3, 0, 0.5]],
    "no costs": [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    "alike": [[3, 3, 3], [-2, -2, -2], [0, 0, 0]],
    "a free decision": [[0, 0, 9], [2, 0, 4], [1, 0, 0]],
    "a free decision that is no class": [[0, 1, 9, 0], [2, 5, 4, 2], [1, INF, 0, 0]],
}
KINDS = ("right", "wrong", "constant", "forbidden", "random", "failed")
RULES: tuple[Rule, ...] = ("argmax", "Bayes", "temperature + Bayes")
PROBS = ("sure", "sure and wrong", "alike", "none")


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Intervals are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        yield


def taken(kind: str, costs: numpy.ndarray, target: numpy.ndarray) -> numpy.ndarray:
    """Decisions (1, N) of a kind."""
    match kind:
        case "right":
            chosen = costs.argmin(1)[target]
        case "wrong":
            chosen = numpy.where(numpy.isfinite(costs), costs, -1).argmax(1)[target]
        case "forbidden":
            chosen = costs.argmax(1)[target]
        case "constant":
            chosen = numpy.full(len(target), 1)
        case "random":
            chosen = numpy.random.default_rng(0).integers(costs.shape[1], size=len(target))
        case _:
            chosen = numpy.full(len(target), FAILED)
    return chosen[None]


def compared(
    table: str, kinds: list[str], probs: str, sizes: list[int], stored: bool
) -> Comparison:
    """A comparison of three rules whose decisions are of these kinds."""
    costs = numpy.array(TABLES[table], float)
    target = numpy.repeat(numpy.arange(3), sizes)
    count = len(target)
    parts = numpy.full(count, "test") if stored else None
    task = Task("t", "A title", lm.Dense(costs), target, features=target[:, None], parts=parts)
    shares = {
        "sure": numpy.eye(3)[target],
        "sure and wrong": numpy.eye(3)[(target + 1) % 3],
        "alike": numpy.full((count, 3), 1 / 3),
        "none": None,
    }[probs]
    methods: list[Decisions] = []
    for rule, kind in zip(RULES, kinds, strict=True):
        chosen = taken(kind, costs, target)
        known = None if kind == "failed" else shares
        each = Decisions("CrossEntropy", rule, "CrossEntropy", chosen, chosen, known)
        for place in numpy.array_split(numpy.arange(count), 2):
            temperature = numpy.nan if kind == "failed" else 1.0
            configuration = Configuration(lm.CrossEntropy())
            each.fits.append(Fit(0, count - len(place), place, configuration, 0.0, temperature))
        methods.append(each)
    return evaluate(task, baseline_of(task, numpy.arange(count)), methods, Schedule(), 2)


@settings(max_examples=60, deadline=None)
@given(
    table=st.sampled_from([*TABLES]),
    kinds=st.lists(st.sampled_from(KINDS), min_size=3, max_size=3),
    probs=st.sampled_from(PROBS),
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=3),
    stored=st.booleans(),
)
def test_whatever_was_decided_ends_in_a_table_numbers_and_a_report(
    table: str, kinds: list[str], probs: str, sizes: list[int], stored: bool
) -> None:
    comparison = compared(table, kinds, probs, sizes, stored)
    text = json.dumps(description(comparison), allow_nan=False)
    printed, html = comparison_text(comparison), page(comparison)
    assert all(sentence and "nan" not in sentence for sentence in recommendation(comparison))
    for said in (printed, re.sub(r"(?s)<script.*?</script>|<style>.*?</style>", "", html)):
        assert not re.search(r"\b(nan|inf)\b", said, re.IGNORECASE), said
    for data in re.findall(r'(?s)<script type="application/json"[^>]*>(.*?)</script>', html):
        assert not re.search(r"\b(NaN|Infinity)\b", data)
    costs = numpy.array(TABLES[table], float)
    for kind, row in zip(kinds, comparison.results, strict=True):
        if kind == "right":
            assert row.normalized_cost == 0
        if kind == "forbidden" and table == "forbidden":
            assert row.average_cost == row.normalized_cost == INF
        chosen = costs[comparison.target, row.decisions[0]]
        assert row.average_cost == pytest.approx(chosen.mean())
    assert json.loads(text)["results"]


@pytest.mark.parametrize("table", ["no costs", "a free decision"])
@pytest.mark.parametrize("given", ["features", "scores"])
def test_costs_by_which_nothing_can_be_lost_end_in_a_report_that_says_so(
    tmp_path: Path, table: str, given: str
) -> None:
    target = numpy.arange(60) % 3
    features = numpy.eye(3)[target] + numpy.arange(180).reshape(60, 3) % 7
    task = Task("n", "n", lm.Dense(TABLES[table]), target, network="linear")
    scores = {"m": numpy.eye(3)[target]}
    task = replace(task, **({"features": features} if given == "features" else {"scores": scores}))
    comparison = compare_task(task, seeds=1, tune=1)
    constant = "0" if table == "no costs" else "1"
    sentence = f"Deciding {constant} for every row is never a mistake, so nothing can be gained"
    assert recommendation(comparison)[0].startswith(sentence)
    assert sentence in page(comparison)
    assert comparison.constant_regret == 0
    assert {row.normalized_cost for row in comparison.results} <= {0, INF}
    write_results(comparison, tmp_path)


@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [
        (["right"] * 3, "Nothing is lost"),
        (["wrong"] * 3, "no better than deciding"),
        (["failed"] * 3, "no better than deciding"),
        (["right", "right", "random"], "Choose the likeliest class"),
        (["random", "right", "right"], "100% less needless cost"),
        (["forbidden", "right", "right"], "100% less needless cost"),
        (["right", "right", "forbidden"], "Choose the likeliest class"),
    ],
)
def test_the_first_sentence_says_what_was_lost(kinds: list[str], sentence: str) -> None:
    assert sentence in recommendation(compared("forbidden", kinds, "sure", [30] * 3, True))[0]


def test_a_forbidden_decision_is_written_as_null(tmp_path: Path) -> None:
    comparison = compared("forbidden", ["forbidden", "right", "right"], "sure", [9] * 3, True)
    write_results(comparison, tmp_path)
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert found["task"]["costs"] == [[0, None, 9], [2, 0, None], [1, 3, 0]]
    assert found["results"][0]["average_cost"] is None
    assert found["results"][1]["average_cost"] == 0


def test_infinite_differences_have_intervals() -> None:
    target, weight = numpy.zeros(50, int), numpy.ones(50)
    differences = numpy.zeros((4, 2, 50))
    differences[1, :, :25] = INF
    differences[2, :, :25] = -INF
    differences[3, :, :25], differences[3, :, 25:] = INF, -INF
    low, high = paired_intervals(differences, target, weight).T
    assert low[:3].tolist() == high[:3].tolist() == [0, INF, -INF]
    assert numpy.isnan([low[3], high[3]]).all()
    rare = numpy.zeros((1, 1, 50))
    rare[0, 0, 0] = INF  # a third of the resamples are without this row
    assert paired_intervals(rare, target, weight)[0].tolist() == [0, INF]


def test_costs_that_forbid_every_constant_answer_are_refused() -> None:
    table = lm.Dense([[0, INF, INF], [INF, 0, 1], [INF, 2, 0]])
    target = numpy.arange(60) % 3
    scores = {"m": numpy.eye(3)[target]}
    with pytest.raises(UserInputError, match="no constant answer has a finite cost"):
        compare_task(Task("t", "t", table, target, scores=scores), seeds=1)


def test_losses_are_not_trained_with_a_forbidden_decision() -> None:
    target = numpy.arange(60) % 3
    features = numpy.eye(3)[target]
    task = Task("t", "t", lm.Dense(TABLES["forbidden"]), target, features=features)
    with pytest.raises(UserInputError, match="dear, finite cost"):
        compare_task(task, seeds=1)


def test_separable_rows_end_in_a_report_that_says_so(tmp_path: Path) -> None:
    target = numpy.arange(60) % 2
    features = 100.0 * target[:, None] + numpy.arange(60)[:, None]
    task = Task("s", "s", lm.Dense([[0, 1], [20, 0]]), target, features=features, network="linear")
    comparison = compare_task(task, seeds=1, tune=1)
    assert comparison.results[0].normalized_cost == 0
    write_results(comparison, tmp_path)
    assert recommendation(comparison)[0] in page(comparison)
