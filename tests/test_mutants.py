# SPDX-License-Identifier: BSD-3-Clause
"""Mutation testing: what a mutant is, that it is put in place, that survivors are argued for."""

from __future__ import annotations

import csv
import gc
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mutants import functions, mutants_of

ROOT = Path(__file__).resolve().parents[1]
ARGUED = ROOT / "tests" / "mutants.csv"

SOURCE = '''
"""A module."""

MOST = 3


class Box:
    convex = True

    @property
    def size(self):
        """Its size."""
        return self.count * 2

    def __init__(self, count=1):
        self.count = count


def least(rows, *, strict=False):
    if not rows:
        raise ValueError(f"no rows: {1 + 1}")
    check(rows)
    return [row for row in rows if row < MOST]


def check(rows):
    if rows[0] < -1:
        raise ValueError
'''


def refuses(function: Callable[..., object], *arguments: object) -> bool:
    try:
        function(*arguments)
    except ValueError:
        return True
    return False


MUTANTS: dict[str, Callable[[Any], bool]] = {
    ": MOST = 3 → MOST = 4": lambda m: m.least([3]) == [3],
    "Box: convex = True → convex = False": lambda m: m.Box.convex is False,
    "Box.size: return self.count * 2 → return None": lambda m: m.Box(1).size is None,
    "Box.size: self.count * 2 → self.count / 2": lambda m: m.Box(1).size == 0.5,
    "Box.size: self.count * 2 → self.count * 3": lambda m: m.Box(1).size == 3,
    "Box.__init__: self, count=1 → self, count=2": lambda m: m.Box().size == 4,
    "least: rows, *, strict=False → rows, *, strict=True": lambda m: (
        m.least.__kwdefaults__ == {"strict": True}
    ),
    "least: not rows → rows": lambda m: refuses(m.least, [0]),
    "least: check(rows) → pass": lambda m: m.least([-5]) == [-5],
    "least: return [row for row in rows if row < MOST] → return None": lambda m: (
        m.least([1]) is None
    ),
    "least: row < MOST → row <= MOST": lambda m: m.least([3]) == [3],
    "check: rows[0] < -1 → not rows[0] < -1": lambda m: refuses(m.check, [0]),
    "check: rows[0] < -1 → rows[0] <= -1": lambda m: refuses(m.check, [-1]),
    "check: rows[0] → rows[1]": lambda m: refuses(m.check, [0, -5]),
    "check: rows[0] < -1 → rows[0] < -2": lambda m: m.check([-2]) is None,
}


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    path = tmp_path / "subject.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("subject", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_what_only_speaks_is_left_alone(module: ModuleType) -> None:
    assert [mutant.key for mutant in mutants_of(SOURCE, str(module.__file__))] == [*MUTANTS]


@pytest.mark.parametrize("key", MUTANTS)
def test_a_mutant_is_put_into_the_running_process(key: str, module: ModuleType) -> None:
    file = str(module.__file__)
    (mutant,) = (each for each in mutants_of(SOURCE, file) if each.key == key)
    mutant.install(module, functions(gc.get_objects(), file))
    assert MUTANTS[key](module)


def test_arguments_are_about_mutants_that_there_are() -> None:
    with ARGUED.open() as file:
        rows = list(csv.DictReader(file))
    for name in {row["module"] for row in rows}:
        path = ROOT / "src" / "lossmatrix" / f"{name}.py"
        keys = {mutant.key for mutant in mutants_of(path.read_text(), str(path))}
        argued = [row["mutant"] for row in rows if row["module"] == name]
        assert set(argued) <= keys
        assert len(set(argued)) == len(argued)
    assert all(row["argument"] for row in rows)
