# SPDX-License-Identifier: BSD-3-Clause
"""docs/evidence.md says what evidence.csv says, and its arithmetic is that of its definitions."""

import math
import sys
from pathlib import Path

import pytest
import torch

import lossmatrix as lm
from lossmatrix.compare.training import Schedule

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import evidence  # noqa: E402  # not a package
from cpu import machine  # noqa: E402, F401  # from the same folder

sys.path.remove(str(BENCHMARKS))


def test_the_document_is_made_of_the_committed_results_alone():
    lines = evidence.read_results(evidence.RESULT)
    assert len(lines) > 100
    assert evidence.DOCUMENT.read_text(encoding="utf-8") == evidence.document(lines)


def test_two_halves_make_the_mean_and_the_interval_of_all_their_rows():
    first, second = [1.0, -2.0, 4.0], [0.0, -6.0, -3.0, 2.0, 1.0]
    folds = []
    for differences in (first, second):
        mean = sum(differences) / len(differences)
        variance = sum((each - mean) ** 2 for each in differences) / len(differences)
        folds.append(
            {"test_rows": len(differences), "difference": mean, "deviation": math.sqrt(variance)}
        )
    rows = first + second
    mean = sum(rows) / 8
    error = math.sqrt(sum((each - mean) ** 2 for each in rows) / 8 / 8)
    found = evidence.change(folds, 4.0)
    assert found.percent == pytest.approx(25 * mean)
    assert found.half == pytest.approx(25 * 1.96 * error)


def test_holm_multiplies_by_how_many_are_left_and_never_falls():
    adjusted = evidence.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert evidence.holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


def test_a_change_is_bold_where_its_interval_leaves_0_out():
    assert str(evidence.Change(-5.0, 3.0)) == "**−5.0** ± 3.0"
    assert str(evidence.Change(2.0, 3.0)) == "+2.0 ± 3.0"
    assert str(evidence.Change(0.0, 0.0)) == "0"
    assert evidence.signed_ranks([0.0, 0.0]) == 1.0


OF_MODEL = {
    "linear": ["temperature", "MatrixScaling", "DecisionScaling", "refine"],
    "perceptron": ["temperature", "MatrixScaling", "DecisionScaling", "refine"],
    "boosted": ["temperature", "MatrixScaling", "DecisionScaling", "CrossEntropy + ExpectedCost"],
}


def quadrants(rows: int = 240) -> evidence.DataSet:
    """Signs alike, signs unlike, and a half-plane far from both."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    target = torch.where(x[:, 0] > 1, 2, (x[:, 0] * x[:, 1] > 0).long())
    return evidence.DataSet(x, target, lm.Dense([[0, 1, 4], [2, 0, 7], [5, 3, 0]]))


@pytest.fixture
def short(monkeypatch):
    """Two settings, one λ, two folds, few epochs and rounds."""
    for kind in evidence.MODELS.values():
        monkeypatch.setattr(kind, "settings", kind.settings[:2])
        monkeypatch.setattr(kind, "priced", kind.priced[:2])
        monkeypatch.setattr(kind, "inner", 2)
    monkeypatch.setattr(sys.modules["lossmatrix.refine"], "LAMBDAS", (10.0,))
    monkeypatch.setattr("lossmatrix.compare.trees.ROUNDS", 20)
    monkeypatch.setattr(evidence, "Schedule", lambda: Schedule(epochs=20, batch_size=32))


@pytest.mark.parametrize("model", evidence.MODELS)
def test_a_model_runs_once_and_its_table_stands(model, short, tmp_path, capsys):
    out = tmp_path / "evidence.csv"
    evidence.run_set("quadrants", quadrants, model, set(), out)
    lines = evidence.read_results(out)
    assert [line["method"] for line in lines] == 2 * OF_MODEL[model]
    (found,) = evidence.summaries(lines, model)
    assert list(found.changes) == OF_MODEL[model][1:]
    constant = min(
        quadrants().costs.entries(quadrants().target, torch.tensor(a)).mean() for a in range(3)
    )
    assert found.control < 0.75 * constant
    text = evidence.document(lines)
    assert f"## {model.capitalize()} models" in text
    assert f"| quadrants | 240 | 3 | {found.control:.4f} |" in text

    def load() -> evidence.DataSet:
        raise AssertionError("what stands in the file is not run again")

    evidence.run_set("quadrants", load, model, {line["fold"] for line in lines}, out)
    assert evidence.read_results(out) == lines


def test_every_method_tries_as_many_settings_as_the_control():
    for kind in evidence.MODELS.values():
        assert len(kind.priced) in (0, len(kind.settings))
    assert evidence.Boosted.priced[0].loss == evidence.PRICED


def test_tuning_takes_the_setting_whose_decisions_cost_least_out_of_folds(short):
    data = quadrants()
    kind = evidence.MODELS["linear"]()
    ridges = evidence.of_cross_entropy(1e6, 1.0)
    paid_for = lambda z: evidence.paid(z, data.target, data.costs)  # noqa: E731
    x, y = data.features, data.target
    tuned = evidence.tune(kind, ridges, paid_for, x, y, data.costs)
    alone = [evidence.tune(kind, [each], paid_for, x, y, data.costs) for each in ridges]
    assert tuned.cost == min(each.cost for each in alone)
    assert tuned.cost == paid_for(tuned.logits).mean()
    assert alone[0].cost != alone[1].cost


def test_the_verdict_names_what_differs_over_sets_and_which_way():
    percents = {"a": [-1.0, -3.0], "b": [2.0, 1.0], "c": [-9.0, 9.0]}
    sentence = evidence.verdict(percents, {"a": 0.01, "b": 0.02, "c": 0.9})
    assert "a costs less than the control; b costs more than the control (p" in sentence
    assert "no method differs" in evidence.verdict(percents, dict.fromkeys(percents, 0.05))


def test_a_larger_model_is_counted_where_it_costs_less_than_the_refined_one():
    def of(control, refined=None):
        changes = {} if refined is None else {"refine": evidence.Change(refined, 1.0)}
        return evidence.Summary("s", 9, 2, control, 1.0, changes)

    def sentence(perceptron, boosted):
        found = {
            "linear": [of(2.0, -25.0)],
            "perceptron": [of(perceptron)],
            "boosted": [of(boosted)],
        }
        return evidence.side_by_side(found)

    assert "| s | 2.0000 | 1.5000 | 1.6000 | 1.4000 |" in sentence(1.6, 1.4)
    assert "linear model on 1 of 1 sets" in sentence(1.6, 1.4)
    assert "linear model on 0 of 1 sets" in sentence(1.6, 1.7)
