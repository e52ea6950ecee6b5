# SPDX-License-Identifier: BSD-3-Clause
"""What methods change over several data sets, by hand and by definition."""

import math
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from lossmatrix.compare.sets import Change, changes_of, folders_of, over_sets, signed_ranks


def exact_p(percents: list[float]) -> float:
    """How many of all signs make the smaller sum of ranks no larger than it is."""
    order = sorted(range(len(percents)), key=lambda i: abs(percents[i]))
    rank = {i: place for place, i in enumerate(order, 1)}
    total = len(percents) * (len(percents) + 1) // 2

    def smaller(signs: list[float]) -> int:
        up = sum(rank[i] for i, sign in enumerate(signs) if sign > 0)
        return min(up, total - up)

    draws = [smaller(list(signs)) for signs in product([-1.0, 1.0], repeat=len(percents))]
    return sum(each <= smaller(percents) for each in draws) / len(draws)


COLUMNS = {
    "a": [-3.0, -1.5, -7.0, -2.0, -0.5, -9.0],
    "b": [-3.0, 1.5, -7.0, 2.0, -0.5, -9.0],
    "c": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
}


def sets(count: int) -> list[dict[tuple[str, str], Change]]:
    return [
        {
            (name, "Bayes"): Change(COLUMNS[name][i], "better" if i % 2 else "worse")
            for name in "abc"
        }
        for i in range(count)
    ]


def test_six_sets_have_the_exact_p_after_holm_and_five_have_none() -> None:
    a, b, c = over_sets(sets(6))
    assert a.p == pytest.approx(3 * exact_p(COLUMNS["a"])) == pytest.approx(3 * 2 / 64)
    assert b.p == pytest.approx(2 * exact_p(COLUMNS["b"]))
    assert c.p == 1
    assert (a.method, a.rule) == ("a", "Bayes")
    assert b.percent == pytest.approx(-16 / 6)
    assert a.verdicts.count("better") == 3
    assert [each.p for each in over_sets(sets(5))] == [None] * 3


def test_only_what_took_part_in_all_sets_is_summed_up() -> None:
    changes = sets(6)
    del changes[4]["b", "Bayes"]
    assert [each.method for each in over_sets(changes)] == ["a", "c"]
    assert over_sets([]) == []


def test_an_infinite_change_has_the_highest_rank() -> None:
    moved = [-1.0, 2.0, math.inf, -4.0, 5.0, 3.0]
    assert signed_ranks(moved) == pytest.approx(exact_p(moved))


def test_what_differs_by_rounding_alone_is_no_change_or_a_tie() -> None:
    moved = [-1.0, 2.0, -2.0, -4.0, 5.0, 3.0]
    rounded = [each + 1e-14 * k for k, each in enumerate([0.0, *moved])]
    assert signed_ranks(rounded) == signed_ranks([0.0, *moved]) == signed_ranks(moved)


def test_changes_are_in_per_cent_of_the_control_which_may_cost_nothing() -> None:
    def change(control: float, difference: float) -> float:
        row = SimpleNamespace(method="a", rule="Bayes", difference=difference, verdict="worse")
        kept = SimpleNamespace(verdict="control", normalized_cost=control)
        (found,) = changes_of(SimpleNamespace(results=[kept, row], controls=[kept])).values()
        return found.percent

    assert change(0.4, -0.1) == pytest.approx(-25)
    assert change(0.0, 0.1) == math.inf
    assert change(0.0, 0.0) == 0


def test_folders_are_named_as_the_files_lie(tmp_path: Path) -> None:
    def names(*sources: str) -> list[str]:
        return [str(each) for each in folders_of([tmp_path / source for source in sources])]

    assert names("a.csv", "b.parquet") == ["a", "b"]
    assert names("a/data.csv", "b/data.csv") == ["a/data", "b/data"]
    assert names("a.csv", "a/b.csv") == ["a", "a/b"]
    assert names("a/../c.csv", "b/data.csv") == ["c", "b/data"]
    with pytest.raises(ValueError, match="would both be written"):
        names("a.csv", "./a.csv")
