# SPDX-License-Identifier: BSD-3-Clause
"""``make bench-check`` compares ratios with the committed ones, and times with nothing."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import regression  # noqa: E402  # not a package

sys.path.remove(str(BENCHMARKS))


def test_what_is_compared_are_our_ratios_to_torch(tmp_path: Path) -> None:
    rows = [
        {"shape": "8x3", "dtype": "float32", "mode": "forward", "contender": name} | numbers
        for name, numbers in {
            "F.cross_entropy": {"milliseconds": "4.0", "ratio": "1.0"},
            "lossmatrix ExpectedCost": {"milliseconds": "1.0", "ratio": "0.25"},
            "eager expected cost": {"milliseconds": "6.0", "ratio": "1.5"},
        }.items()
    ]
    table = tmp_path / "cpu.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    key = ("8x3", "float32", "forward", "lossmatrix ExpectedCost")
    assert regression.ratios(table) == {key: 0.25}


def test_a_ratio_that_grew_beyond_the_factor_is_told_the_worst_first() -> None:
    then = {("a",): 0.2, ("b",): 0.4, ("c",): 0.5, ("gone",): 9.0}
    now = {("a",): 0.5, ("b",): 0.6, ("c",): 2.0, ("new",): 9.0}
    assert regression.grown(then, now, 1.75) == {("c",): (0.5, 2.0), ("a",): (0.2, 0.5)}
    assert [*regression.grown(then, now, 1.75)] == [("c",), ("a",)]
    assert regression.grown(then, then, 1.0) == {}


def test_a_ratio_has_grown_only_if_it_has_in_every_round() -> None:
    first, second = {("a",): 0.9, ("b",): 0.2}, {("a",): 0.3, ("b",): 0.6}
    assert regression.least(first, {}) == first
    assert regression.least(second, first) == {("a",): 0.3, ("b",): 0.2}


def test_a_check_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the rows measured is committed"):
        regression.grown({("a",): 1.0}, {("b",): 1.0}, 1.5)


def test_the_committed_results_have_rows_for_the_shapes_that_are_checked() -> None:
    shapes = {key[0] for key in regression.ratios(regression.COMMITTED)}
    assert {"65536x5", "65536x19", "65536x100"} <= shapes
