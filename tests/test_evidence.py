# SPDX-License-Identifier: BSD-3-Clause
"""docs/evidence.md says what evidence.csv says, and its arithmetic is that of its definitions."""

import math
import sys
from pathlib import Path

import pytest

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
