# SPDX-License-Identifier: BSD-3-Clause
"""The report: what it says about the numbers, and how its page behaves in a browser."""

import json
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from html import unescape
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Any

import matplotlib.image
import numpy
import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

import lossmatrix as lm
from lossmatrix.compare import intervals
from lossmatrix.compare.display import format_cost
from lossmatrix.compare.experiment import compare_task
from lossmatrix.compare.recommendation import recommendation
from lossmatrix.compare.report import (
    dearest_classes,
    explorer,
    models_with_probs,
    page,
    write_report,
)
from lossmatrix.compare.report.breakdown import (
    breakdown,
    cost_table,
    prediction,
    realised_costs,
    risk_of_rows,
)
from lossmatrix.compare.report.charts import abstaining, calibration_bins, charts
from lossmatrix.compare.report.svg import Curve, image, plot
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Task
from lossmatrix.costs.labels import ACTING

COSTS = [[0.0, 1, 9], [2, 0, 4], [1, 3, 0]]
NAMES = ["cat", "lynx", "truck"]
EVIL = "<b><script>alert('&')</script></b>"


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Intervals are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        yield


def scored(costs: lm.CostMatrix, rows: int, models: int = 1, **fields: Any) -> Comparison:
    """A comparison of the decision rules on noisy logits of as many models."""
    random = numpy.random.default_rng(3)
    C = costs.num_classes
    target = numpy.arange(rows + 10 * C) % C
    hot = 3 * (target[:, None] == numpy.arange(C))
    noise = [random.normal(0, 1.5, (len(target), C)) for _ in range(models)]
    scores = {f"model {i}": hot + each for i, each in enumerate(noise)}
    parts = numpy.where(numpy.arange(len(target)) < rows, "test", "cal")
    task = Task("t", "A title", costs, target, scores=scores, parts=parts)
    return compare_task(replace(task, **fields), seeds=1)


def weighted(comparison: Comparison) -> Comparison:
    """The same comparison of rows that stand for one, two, three or four."""
    weight = 1.0 + numpy.arange(len(comparison.task.target)) % 4
    return compare_task(replace(comparison.task, weight=weight), seeds=1)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return scored(lm.Dense(COSTS, classes=NAMES), 240, models=2)


@pytest.fixture(scope="module")
def own_costs() -> Comparison:
    """A comparison in which every row has costs of its own."""
    cubes = torch.tensor(COSTS, dtype=torch.float64) * torch.linspace(0.5, 4, 270)[:, None, None]
    return scored(lm.PerExample.matrices(cubes, classes=NAMES), 240)


def control_of(comparison: Comparison) -> Row:
    return comparison.controls[0]


# --- the numbers ---------------------------------------------------------------------------------


def test_the_breakdown_adds_up_to_the_average_cost(
    comparison: Comparison, own_costs: Comparison
) -> None:
    for each in (comparison, own_costs, weighted(comparison)):
        for result in each.results:
            shown = breakdown(each, result)
            assert cost_table(each, result).sum() == pytest.approx(1000 * result.average_cost)
            assert sum(truth.share for truth in shown.classes) == pytest.approx(1)
            by_class = sum(truth.rows * truth.average for truth in shown.classes)
            assert by_class == pytest.approx(result.average_cost)
            costs = [pair.cost for pair in shown.pairs]
            assert costs == sorted(costs, reverse=True)
            assert sum(pair.share for pair in shown.pairs) == pytest.approx(1)  # 6 mistakes in all


def test_expected_and_realised_costs_are_those_of_the_decision(own_costs: Comparison) -> None:
    control = control_of(own_costs)
    assert control.probs is not None
    assert own_costs.row_costs is not None
    risks = risk_of_rows(own_costs, control.probs)
    for row in (0, 7, 200):
        D = own_costs.row_costs[row]
        assert risks[row] == pytest.approx(control.probs[row] @ D)
        decision = control.decisions[0, row]
        assert prediction(own_costs, control).expected[row] == pytest.approx(risks[row, decision])
        realised = realised_costs(own_costs, control.decisions)[0, row]
        assert realised == D[own_costs.target[row], decision]


def test_bins_hold_all_rows_and_the_same_predicted_cost_each(
    comparison: Comparison,
) -> None:
    known = prediction(comparison, control_of(comparison))
    bins = calibration_bins(known)
    assert sum(each.rows for each in bins) == len(known.realised)
    assert len(bins) == 10
    for what in ("expected", "realised"):
        total = sum(each.rows * getattr(each, what) for each in bins)
        assert total == pytest.approx(getattr(known, what).sum())
    sums = [each.rows * each.expected for each in bins]
    assert max(sums) - min(sums) < 2 * known.expected.max()
    assert bins[0].rows > 3 * bins[-1].rows


def test_equal_predictions_make_one_bin(comparison: Comparison) -> None:
    known = prediction(comparison, control_of(comparison))
    assert len(calibration_bins(replace(known, expected=0 * known.expected))) == 1


def test_abstaining_starts_at_the_average_cost_and_drops_the_highest_predictions_first(
    comparison: Comparison,
) -> None:
    for each in (comparison, weighted(comparison)):
        known = prediction(each, control_of(each))
        share, cost, limit = abstaining(known)
        assert share[0] == 0
        assert cost[0] == pytest.approx(control_of(each).average_cost)
        assert (numpy.diff(limit) <= 0).all()
        place = 60
        rest = known.expected.argsort(kind="stable")[: len(known.expected) - place]
        assert limit[place] == known.expected[rest].max()
        average = numpy.average(known.realised[rest], weights=known.weight[rest])
        assert cost[place] == pytest.approx(average, rel=0.2)  # ties in the order
        assert share[place] == pytest.approx(
            1 - known.weight[rest].sum() / known.weight.sum(), 0.05
        )


@pytest.mark.parametrize(
    ("low", "high", "first"),
    [
        (0.02, 0.05, "Decide by cost:"),
        (0.005, 0.05, "Decide by cost:"),
        (-0.05, -0.02, "Choose the likeliest class:"),
        (-0.05, -0.005, "Choose the likeliest class:"),
        (-0.004, 0.003, "Decide as you like:"),
        (-0.02, 0.05, "Neither way of deciding"),
    ],
)
def test_the_recommendation_follows_the_interval_and_its_verdict(
    comparison: Comparison, low: float, high: float, first: str
) -> None:
    argmax, _, control = comparison.results[:3]
    argmax = replace(argmax, low=low, high=high, verdict=intervals.verdict(low, high, 0.01))
    rival = replace(argmax, method="Rival", verdict="worse")
    rivals = replace(comparison, results=(argmax, control, rival))
    sentence, training = recommendation(rivals)
    assert sentence.startswith(first)
    assert format_cost(control.average_cost) in sentence
    assert format_cost(argmax.average_cost) in sentence
    assert ("these rows do not tell" in sentence) is (0.005 in (abs(low), abs(high)))
    assert training.startswith("No loss that was trained with the costs is better.")
    assert "1 combinations of loss and rule: worse in 1 (margin 2% of its cost)" in training
    rival = replace(rival, verdict="better", average_cost=0.0123)
    _, training = recommendation(replace(comparison, results=(argmax, control, rival)))
    assert training.startswith("Trained with Rival (argmax), a decision costs 0.01230.")


def test_the_recommendation_names_the_share_of_needless_cost_that_deciding_by_cost_saves(
    comparison: Comparison,
) -> None:
    argmax, _, control = comparison.results[:3]
    argmax = replace(argmax, low=0.02, high=0.05, verdict="worse", normalized_cost=0.5)
    control = replace(control, normalized_cost=0.4)
    (sentence,) = recommendation(replace(comparison, results=(argmax, control)))
    assert sentence.endswith(": 20% less needless cost.")


def test_stored_scores_have_a_recommendation_each(comparison: Comparison) -> None:
    first, second = recommendation(comparison)
    assert "model 0" in first
    assert "model 1" in second


def test_every_chart_has_its_numbers_in_a_table_and_says_them_to_the_pointer(
    comparison: Comparison,
) -> None:
    reliability, rejection = charts(comparison, [control_of(comparison)])
    for chart in (reliability, rejection):
        assert all(len(row) == len(chart.head) for row in chart.rows)
    for predicted, realised, _, rows in reliability.rows:
        note = f"<title>predicted {predicted}, realised {realised}, {rows} rows</title>"
        assert note in reliability.figure
    share, cost, limit = rejection.rows[0]
    note = f"{share} abstained, the rest costs {cost}, predicted cost at most {limit}</title>"
    assert note in rejection.figure


def places(path: str) -> numpy.ndarray:
    """The points of a path of lines (n, 2), NaN where a new line begins."""
    return numpy.array(
        [[float(number) for number in each.split()] for each in re.split("[ML]", path)[1:]]
    )


def test_a_curve_goes_where_the_numbers_on_the_axes_say_and_stops_where_there_is_no_number() -> (
    None
):
    x, y = [-2.0, 1, 3, 7.5, 8], [0.25, -0.5, math.nan, 1, math.inf]
    picture = plot([Curve("a & b", "red", x, y, notes=["<i>", "", "c", "d", "e"])], "x", "y")
    found = re.findall(r'<text class="(.)" x="([\d.]+)" y="([\d.]+)">([−\d.]+)</text>', picture)
    ticks = [
        (kind, float(text.replace("−", "-")), (float(a), float(b))) for kind, a, b, text in found
    ]
    (path,) = re.findall(r'class="curve" style="stroke:red" d="(.*?)"', picture)
    assert path.count("M") == 2
    for axis, values in enumerate((x, y)):
        known = [tick for tick in ticks if tick[0] == "xy"[axis]]
        assert len(known) >= 4
        numbers, where = [tick[1] for tick in known], [tick[2][axis] for tick in known]
        slope, start = numpy.polyfit(numbers, where, 1)
        drawn = [values[place] for place in (0, 1, 3)]
        assert places(path)[:, axis] == pytest.approx(slope * numpy.array(drawn) + start, abs=0.2)
    assert "a &amp; b" in picture
    assert re.findall("<title>(.*?)</title>", picture) == ["&lt;i&gt;", "d"]


def opacity(cells: Any) -> numpy.ndarray:
    """How opaque the dots of a picture are, as a reader of PNG files finds them."""
    data = b64decode(str(image(numpy.array(cells, float))).split("base64,")[1].split('"')[0])
    dots = matplotlib.image.imread(BytesIO(data))
    assert not dots[..., :-1].any()
    return dots[..., -1]


def test_a_picture_of_a_table_is_the_darker_the_dearer_and_clear_where_nothing_is_paid() -> None:
    dots = opacity([[0.0, 1, 16], [-3, 4, math.inf]])
    assert dots.shape == (2, 3)
    assert dots[0, 0] == dots[1, 0] == 0
    assert 0 < dots[0, 1] < dots[1, 1] < dots[0, 2] == dots[1, 2] == 1
    assert not opacity([[0.0, 0], [0, 0]]).any()


def test_a_table_larger_than_can_be_seen_loses_no_dear_cell() -> None:
    cells = numpy.zeros((1001, 700))
    cells[1000, 699], cells[17, 4] = 1, 1
    dots = opacity(cells)
    assert dots.shape == (251, 234)
    assert [*zip(*dots.nonzero(), strict=True)] == [(4, 1), (250, 233)]


@pytest.mark.parametrize(
    ("classes", "methods", "most"), [(10, 20, 1_000_000), (1000, 2, 3_000_000)]
)
def test_a_report_is_small_enough_to_send(classes: int, methods: int, most: int) -> None:
    random = numpy.random.default_rng(0)
    table = random.integers(1, 500, (classes, classes)) * (1.0 - numpy.eye(classes))
    names = [f"class number {i}" for i in range(classes)]
    large = scored(lm.Dense(table, classes=names), 3000, models=methods)
    size = len(page(large).encode())
    print(f"{classes} classes, {methods} methods: {size:,} bytes")
    assert size < most
    data = explorer.explorer_data(large, models_with_probs(large))
    assert data["rows"] >= 100


def test_of_many_classes_those_that_cost_most_are_shown_in_their_order(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossmatrix.compare.report.MOST_LINES", 2)
    pair = [breakdown(comparison, comparison.results[place]) for place in (0, 2)]
    shown = dearest_classes(pair)
    shares = [max(each.classes[place].share for each in pair) for place in range(3)]
    assert shown == sorted(shown)
    assert {0, 1, 2} - {*shown} == {shares.index(min(shares))}
    assert "The 2 of 3 classes that cost most." in page(comparison)


@pytest.mark.parametrize("count", [2, 64, 65, 5000])
def test_a_stored_table_has_the_costs_of_the_matrix(count: int) -> None:
    table = numpy.random.default_rng(count).permutation(count * 3).reshape(3, count) % count / 7
    table[1, 0] = math.inf
    data = explorer.stored_table(table)
    assert data is not None
    bits = numpy.unpackbits(numpy.frombuffer(b64decode(data["places"]), "u1"))
    places = bits[: table.size * data["bits"]].reshape(table.size, -1)
    numbers = [int("".join(map(str, each)), 2) for each in places]
    values = [math.inf if value is None else value for value in data["values"]]
    assert (numpy.array(values)[numbers].reshape(table.shape) == table).all()


def test_the_page_stores_no_more_numbers_than_it_may(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [result for result in comparison.results if result.rule == "temperature + Bayes"]
    whole = explorer.explorer_data(comparison, models)
    assert (whole["rows"], len(whole["models"])) == (240, 2)
    monkeypatch.setattr(explorer, "MOST_BYTES", 240 * 43)  # 12 a row, and 16 for each model
    one = explorer.explorer_data(comparison, models)
    assert (one["rows"], len(one["models"])) == (240, 1)
    monkeypatch.setattr(explorer, "MOST_BYTES", 100 * 28)
    fewer = explorer.explorer_data(comparison, models)
    assert (fewer["rows"], len(fewer["models"])) == (100, 1)
    assert fewer == explorer.explorer_data(comparison, models)
    assert "a random sample of 100 of the 240 test rows" in " ".join(page(comparison).split())


# --- the text of the page ------------------------------------------------------------------------


def test_the_report_shows_every_row_and_the_recommendation(
    comparison: Comparison, tmp_path: Path
) -> None:
    write_report(comparison, tmp_path / "new" / "report.html")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    for result in comparison.results:
        assert f"{100 * result.accuracy:.1f}%" in text
        assert f"{result.normalized_cost:.3f}" in text
        assert f"[{result.interval[0]:.3f}, {result.interval[1]:.3f}]" in text
    others = [result for result in comparison.results if result.verdict != "control"]
    assert text.count('class="interval"') == len(others)
    assert all(sentence in text for sentence in recommendation(comparison))


def test_a_report_that_cannot_be_made_leaves_the_old_one(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> str:
        raise OSError(name)

    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr("lossmatrix.compare.report.packaged", broken)
    with pytest.raises(OSError, match=r"explorer\.js"):
        write_report(comparison, tmp_path / "report.html")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_the_page_allows_its_own_script_and_loads_nothing(comparison: Comparison) -> None:
    text = page(comparison)
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digests = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    (given,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    rules = unescape(given).split("; ")
    assert rules[:2] == ["default-src 'none'", "style-src 'unsafe-inline'"]
    assert rules[2:] == ["img-src data:", f"script-src {allowed}"]
    assert len(scripts) == 1


def test_the_page_names_no_address(comparison: Comparison) -> None:
    assert not re.search(r"https?:|//cdn|@import|url\(", page(comparison))


def test_a_failed_control_leaves_out_what_needs_probabilities(comparison: Comparison) -> None:
    results = [replace(result, probs=None) for result in comparison.results]
    text = page(replace(comparison, results=tuple(results)))
    assert "a training failed: there is nothing to predict costs from" in text
    assert 'id="explorer' not in text


def luminance(color: str) -> float:
    """Relative luminance of a colour #rrggbb (WCAG 2.2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_text_has_contrast_in_light_and_dark(comparison: Comparison) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", page(comparison), flags=re.DOTALL)
    for block in (light, dark):
        color = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        texts = {color[name] for name in ("ink", "quiet", "better", "worse", "neutral")}
        grounds = {color["page"], color["card"]}
        pairs = {(text, ground) for text in texts for ground in grounds}
        pairs.add((color["ink"], color["heat"]))
        assert [pair for pair in pairs if contrast(*pair) < 4.5] == []
        curves = [color[name] for name in color if name.startswith("curve")]
        assert [curve for curve in curves if contrast(curve, color["page"]) < 3] == []
        assert len(curves) == 6


# --- in a browser --------------------------------------------------------------------------------


def test_a_notebook_shows_every_result_and_escapes_names(comparison: Comparison) -> None:
    named = replace(comparison.results[0], method="<b>mine</b>")
    page = replace(comparison, results=(*comparison.results, named))._repr_html_()
    assert page.count("<tr>") == len(comparison.results) + 2
    assert "&lt;b&gt;mine" in page
    assert "<b>" not in page
    for row in comparison.results:
        assert f"<td>{row.accuracy:.1%}</td><td>{row.average_cost:.4g}</td>" in page


HOSTILE = ["cat\x1b]0;owned\x07", "lynx\x9b31m", "truck\u202e\u2028"]


def test_nothing_in_a_name_acts_on_what_shows_the_report_or_a_notebook() -> None:
    costs = lm.Dense(COSTS, classes=HOSTILE)
    found = scored(costs, 60, name=HOSTILE[0], title=HOSTILE[1])
    found = replace(found, results=(*found.results, replace(found.results[0], method=HOSTILE[2])))
    for text in (page(found), found._repr_html_(), costs._repr_html_(), str(costs)):
        assert not ACTING.search(text)
        assert r"truck\u202e\u2028" in text
    data = explorer.explorer_data(found, [control_of(found)])
    assert data["classes"][0] == data["decisions"][0] == r"cat\x1b]0;owned\x07"
    shown = lm.Dense([[0, -1.0], [4, 0]], ["a\x1b[2J", "b"]).check()
    assert shown
    assert not any(map(ACTING.search, map(str, shown)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = which("chromium")
    assert path, "run tests/install_chromium.sh"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Opens a report; nothing may be loaded, and nothing said on the console."""
    heard: list[str] = []
    asked: list[str] = []

    @contextmanager
    def open_page(comparison: Comparison, width: int = 1280, **options: Any) -> Iterator[Page]:
        path = tmp_path / "report.html"
        write_report(comparison, path)
        tab = browser.new_page(viewport={"width": width, "height": 900}, **options)
        tab.on("console", lambda message: heard.append(message.text))
        tab.on("pageerror", lambda error: heard.append(str(error)))
        tab.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        yield tab
        tab.close()

    yield open_page
    assert heard == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def stored(tab: Page, model: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and truths as the page holds them."""
    data = json.loads(tab.locator("#explorer-data").text_content() or "")
    probs = numpy.frombuffer(b64decode(data["models"][model]["numbers"]), "<f4").astype(float)
    target = numpy.frombuffer(b64decode(data["target"]), "<i4").astype(int)
    shape = len(target), len(data["classes"])
    return torch.from_numpy(probs.reshape(shape)), torch.from_numpy(target)


def counts(tab: Page) -> list[int]:
    """How often each decision, then abstaining, is taken at the costs in force."""
    cells = tab.locator("#decisions tbody td:last-child").all_text_contents()
    return [int(cell.replace(",", "")) for cell in cells]


def expected_counts(decisions: torch.Tensor, num_decisions: int) -> list[int]:
    return torch.bincount(decisions, minlength=num_decisions + 1).tolist()


def cell(tab: Page, truth: int, decision: int) -> Any:
    return tab.locator(f'.editor td[data-truth="{truth}"][data-decision="{decision}"] input')


def test_an_edited_cost_decides_as_the_library_does(comparison: Comparison, opened: Opener) -> None:
    with opened(comparison) as tab:
        probs, target = stored(tab)
        table = torch.tensor(COSTS, dtype=torch.float64)
        before = expected_counts(lm.decide(probs, table), 3)
        assert counts(tab) == before
        for truth, decision, cost in [(2, 0, 30.5), (0, 1, 0.25), (1, 1, -2)]:
            cell(tab, truth, decision).fill(str(cost))
            table[truth, decision] = cost
            decisions = lm.decide(probs, table)
            assert counts(tab) == expected_counts(decisions, 3)
            average = lm.average_cost(decisions, target, table).item()
            assert tab.locator("#by-cost").text_content() == format_cost(average)
            likeliest = lm.average_cost(probs.argmax(1), target, table).item()
            assert tab.locator("#by-likeliest").text_content() == format_cost(likeliest)
            assert tab.locator("#total").text_content() == format_cost(average * len(target))
        assert counts(tab) != before
        confusion = torch.zeros(3, 4).index_put((target, decisions), torch.ones(240), True)
        shown = tab.locator(".editor .count").all_text_contents()
        assert [0 if text == "·" else int(text) for text in shown] == confusion.flatten().tolist()
        tab.get_by_role("button", name="Back to the stored costs").click()
        assert counts(tab) == before
        assert cell(tab, 2, 0).input_value() == "1"


def test_a_cell_that_is_no_number_changes_nothing_and_is_marked(
    comparison: Comparison, opened: Opener
) -> None:
    with opened(comparison) as tab:
        before = counts(tab)
        cell(tab, 2, 0).fill("")
        assert counts(tab) == before
        assert cell(tab, 2, 0).evaluate("input => getComputedStyle(input).borderStyle") == "dashed"


def test_a_cost_of_abstaining_decides_as_the_library_does(
    comparison: Comparison, opened: Opener
) -> None:
    each = weighted(comparison)
    with opened(each) as tab:
        probs, target = stored(tab)
        tab.get_by_label("Abstaining costs").fill("0.4")
        decisions = lm.decide_or_abstain(probs, each.task.costs, 0.4)
        weight = torch.as_tensor(each.weight)
        abstained = decisions == 3
        sums = torch.zeros(4, dtype=torch.float64).index_add(0, decisions, weight)
        assert counts(tab) == sums.tolist()
        share = (weight[abstained].sum() / weight.sum()).item()
        assert 0 < share < 1
        assert tab.locator("#abstained").text_content() == f"{share:.1%}"
        rest = ~abstained
        cost = lm.average_cost(
            decisions[rest], target[rest], each.task.costs, sample_weight=weight[rest]
        )
        assert tab.locator("#rest").text_content() == format_cost(cost.item())
        total = cost * weight[rest].sum() + 0.4 * weight[abstained].sum()
        assert tab.locator("#total").text_content() == format_cost(total.item())


def test_ties_go_to_the_lowest_index_and_never_to_abstaining(opened: Opener) -> None:
    even = scored(lm.ZeroOne(4), 40)
    results = [replace(result, probs=numpy.full((40, 4), 0.25)) for result in even.results]
    with opened(replace(even, results=tuple(results))) as tab:
        assert counts(tab) == [40, 0, 0, 0, 0]
        tab.get_by_label("Abstaining costs").fill("0.75")
        assert counts(tab) == [40, 0, 0, 0, 0]
        tab.get_by_label("Abstaining costs").fill("0.74")
        assert counts(tab) == [0, 0, 0, 0, 40]


def test_the_slider_of_abstaining_works_from_the_keyboard(
    comparison: Comparison, opened: Opener
) -> None:
    with opened(comparison) as tab:
        slider = tab.get_by_role("slider")
        assert counts(tab)[-1] == 0
        slider.press("Home")
        assert counts(tab) == [0, 0, 0, 240]
        slider.press("ArrowRight")
        slider.press("PageUp")
        some = counts(tab)[-1]
        assert 0 < some < 240
        probs, _ = stored(tab)
        offered = float(tab.get_by_label("Abstaining costs").input_value())
        nearly = lm.decide_or_abstain(probs, COSTS, offered)  # the field shows three figures
        assert (nearly == 3).sum().item() == pytest.approx(some, abs=2)
        assert f"{some / 240:.1%} abstained" in (slider.get_attribute("aria-valuetext") or "")
        slider.press("End")
        assert counts(tab)[-1] == 0


def test_another_model_is_decided_at_the_edited_costs(
    comparison: Comparison, opened: Opener
) -> None:
    with opened(comparison) as tab:
        cell(tab, 2, 0).fill("30")
        tab.get_by_label("Probabilities of").select_option("model 1")
        probs, _ = stored(tab, 1)
        table = torch.tensor(COSTS, dtype=torch.float64)
        olds = tab.locator("#decisions tbody td:nth-child(2)").all_text_contents()
        assert [*map(int, olds)] == expected_counts(lm.decide(probs, table), 3)
        table[2, 0] = 30
        assert counts(tab) == expected_counts(lm.decide(probs, table), 3)


def test_saved_costs_are_costs_that_the_library_reads(opened: Opener, tmp_path: Path) -> None:
    names = ['a "b", c', "d", "é\nf"]
    with opened(scored(lm.Dense(COSTS, classes=names), 30)) as tab:
        cell(tab, 0, 2).fill("7.5")
        tab.get_by_label("Abstaining costs").fill("0.4")
        with tab.expect_download() as saved:
            tab.get_by_role("button", name="Save").click()
        saved.value.save_as(tmp_path / "costs.csv")
    costs = lm.Dense.from_csv(tmp_path / "costs.csv")
    assert list(costs.classes) == names
    assert list(costs.decisions) == [*names, "abstain"]
    assert costs.to_dense().tolist() == [[0, 1, 7.5, 0.4], [2, 0, 4, 0.4], [1, 3, 0, 0.4]]


def test_names_that_look_like_markup_are_shown_and_never_run(opened: Opener) -> None:
    names = [f"{EVIL}{i}" for i in range(3)]
    small = scored(lm.Dense(COSTS, classes=names), 60, name=EVIL, title=f"{EVIL} & more</title>")
    results = [replace(r, method=r.method.replace("model 0", EVIL)) for r in small.results]
    many = scored(lm.ZeroOne([f"{EVIL}{i}" for i in range(20)]), 200, name=EVIL)
    for each in (replace(small, results=tuple(results)), many):
        with opened(each) as tab:
            assert tab.locator("#decisions th").nth(3).text_content() == f"{EVIL}0"
            assert EVIL in (tab.locator("#pairs tbody th").first.text_content() or "")
            assert tab.locator("script:not([type])").count() == 1
    with opened(replace(small, results=tuple(results))) as tab:
        assert tab.title() == f"{EVIL} & more</title>"
        assert tab.locator("h1").text_content() == f"{EVIL} & more</title>"
        assert EVIL in tab.locator("#rejection .legend li").all_text_contents()


def test_200_classes_are_edited_one_pair_at_a_time(opened: Opener) -> None:
    random = numpy.random.default_rng(0)
    table = random.integers(1, 9, (200, 200)) * (1.0 - numpy.eye(200))
    large = scored(lm.Dense(table), 12_000)
    with opened(large) as tab:
        assert "a random sample of 588 of the 12,000 test rows" in tab.locator(
            "#explorer > p"
        ).first.inner_text().replace("\n", " ")
        assert tab.locator("input[type=number]").count() == 2
        probs, _ = stored(tab)
        assert counts(tab) == expected_counts(lm.decide(probs, table), 200)
        tab.get_by_label("When the truth is").select_option("17")
        tab.get_by_label("deciding").select_option("4")
        field = tab.get_by_label("costs", exact=True)
        assert float(field.input_value()) == table[17, 4]
        field.fill("0.125")
        table[17, 4] = 0.125
        assert counts(tab) == expected_counts(lm.decide(probs, table), 200)
        seconds = tab.evaluate(
            """() => { const cost = document.getElementById("cost"), start = performance.now();
                       cost.value = 40; cost.dispatchEvent(new Event("input"));
                       return (performance.now() - start) / 1000; }"""
        )
        assert seconds < 1
        widths = "() => [...document.querySelectorAll('.map img')].map(each => each.naturalWidth)"
        assert tab.evaluate(widths) == [200, 200, 200]


def test_of_100_000_rows_a_sample_is_decided_in_the_page(opened: Opener) -> None:
    with opened(scored(lm.Dense(COSTS, classes=NAMES), 100_000)) as tab:
        text = " ".join(tab.inner_text("#explorer").split())
        assert "a random sample of 17,142 of the 100,000 test rows" in text
        probs, _ = stored(tab)
        cell(tab, 2, 0).fill("30")
        table = torch.tensor(COSTS, dtype=torch.float64)
        table[2, 0] = 30
        assert counts(tab) == expected_counts(lm.decide(probs, table), 3)


def test_rows_with_costs_of_their_own_offer_abstaining_only(
    own_costs: Comparison, opened: Opener
) -> None:
    with opened(own_costs) as tab:
        assert "Each row has costs of its own" in tab.inner_text("#explorer")
        assert tab.locator(".editor, #cost, #save").count() == 0
        control = control_of(own_costs)
        assert tab.locator("#by-cost").text_content() == format_cost(control.average_cost)
        assert tab.locator("#by-likeliest").text_content() == format_cost(
            own_costs.results[0].average_cost
        )
        tab.get_by_label("Abstaining costs").fill("0.5")
        risks = risk_of_rows(own_costs, control.probs).astype("f4")
        assert counts(tab)[-1] == (risks.min(1) > 0.5).sum()


def test_a_forbidden_decision_stays_forbidden(opened: Opener) -> None:
    costs = lm.Dense([[0, 1, float("inf")], [2, 0, 4], [1, 3, 0]], classes=NAMES)
    small = scored(lm.Dense(COSTS, classes=NAMES), 60)
    certain = numpy.eye(3)[numpy.arange(60) % 3]  # 0 · ∞ is 0
    results = [replace(result, probs=certain) for result in small.results]
    task = replace(small.task, costs=costs)
    with opened(replace(small, task=task, results=tuple(results))) as tab:
        probs, _ = stored(tab)
        assert counts(tab) == [20, 20, 20, 0]
        assert counts(tab) == expected_counts(lm.decide(probs, costs), 3)
        assert tab.locator(".editor input").count() == 8


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_every_control_has_a_name(
    comparison: Comparison, opened: Opener, width: int
) -> None:
    with opened(comparison, width) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.locator("th:not([scope])").count() == 0
        unnamed = """() => [...document.querySelectorAll("input, select, button")].filter(each =>
            !each.ariaLabel && !each.labels?.length && !each.textContent.trim()).length"""
        assert tab.evaluate(unnamed) == 0
        charts = tab.locator(".chart")
        assert charts.count() == 2
        for chart in charts.all():
            box = chart.locator("svg").bounding_box()
            assert box is not None
            assert 300 < box["width"] <= width
        cell(tab, 0, 1).focus()
        tab.keyboard.press("Tab")
        assert cell(tab, 0, 2).evaluate("input => input === document.activeElement")


def test_charts_follow_light_and_dark(comparison: Comparison, opened: Opener) -> None:
    with opened(comparison, color_scheme="light") as tab:
        ink = "() => getComputedStyle(document.querySelector('#rejection text.x')).fill"
        curve = "() => getComputedStyle(document.querySelector('#rejection .curve')).stroke"
        light = tab.evaluate(ink), tab.evaluate(curve)
        tab.emulate_media(color_scheme="dark")
        assert tab.evaluate(ink) == "rgb(232, 230, 225)" != light[0]
        assert tab.evaluate(curve) == "rgb(86, 180, 233)" != light[1]


def test_charts_need_no_script(comparison: Comparison, opened: Opener) -> None:
    with opened(comparison, java_script_enabled=False) as tab:
        assert tab.locator("noscript").is_visible()
        assert tab.locator("#rejection .curve").count() == 3


def test_a_matrix_too_large_for_the_page_offers_abstaining_only(
    comparison: Comparison, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "MOST_TABLE", 3)
    with opened(comparison) as tab:
        assert "too many different costs for this page" in tab.inner_text("#explorer")
        assert tab.locator(".editor, #cost, #save").count() == 0
        control = control_of(comparison)
        assert tab.locator("#by-cost").text_content() == format_cost(control.average_cost)
        tab.get_by_label("Abstaining costs").fill("0.5")
        assert control.probs is not None
        risk = risk_of_rows(comparison, control.probs).astype("f4").min(1)
        assert counts(tab)[-1] == (risk > 0.5).sum()
