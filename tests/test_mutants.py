# SPDX-License-Identifier: BSD-3-Clause
"""Mutation testing: what a mutant is, that it is put in place, that survivors are argued for."""

from __future__ import annotations

import csv
import gc
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mutate
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


def test_tables_keep_the_rows_of_modules_that_have_untried_mutants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, other = "costs/sums", "decide"
    survived = tmp_path / "survived.csv"
    survived.write_text(f"module,mutant\n{other},one\n{name},old\n")
    monkeypatch.setattr(mutate, "KNOWN", tmp_path)
    monkeypatch.setattr(mutate, "SUMMARY", tmp_path / "summary.csv")
    monkeypatch.setattr(mutate, "SURVIVED", survived)
    path = ROOT / "src" / "lossmatrix" / f"{name}.py"
    mutants = mutants_of(path.read_text(), str(path))
    known = mutate.Known(name, path.read_text())
    for mutant in mutants[1:]:
        known.add(mutant, "killed", "a test", 60.0)
    assert mutate.summarize([name]) == 0
    assert mutate.table(survived) == [
        {"module": other, "mutant": "one"},
        {"module": name, "mutant": "old"},
    ]
    known.add(mutants[0], "survived", "", 60.0)
    assert mutate.summarize([name]) == 1
    assert mutate.table(survived) == [
        {"module": other, "mutant": "one"},
        {"module": name, "mutant": mutants[0].key},
    ]
    (row,) = (row for row in mutate.table(tmp_path / "summary.csv") if row["module"] == name)
    assert (row["killed"], row["unexplained"]) == (str(len(mutants) - 1), "1")
    assert row["minutes"] == f"{len(mutants):.1f}"


CHOSEN_BY_A_PROMISE = """
import pytest, subject

@pytest.mark.parametrize("most", [3] if subject.MOST == 3 else [4, 5])
def test_most(most):
    assert most < 5
"""


def test_tests_that_a_mutant_brings_about_are_run(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant is judged by the cases that its tests have with it, not those without."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # names of tests are relative to it
    (tmp_path / "test_subject.py").write_text(CHOSEN_BY_A_PROMISE)
    tests = object.__new__(mutate.Tests)
    tests.arguments, tests.which, tests.kills = ["test_subject.py"], "", Counter()
    (name,) = tests.names = {"test_subject.py::test_most[3]"}

    def judged(most: int) -> str:
        module.MOST = most
        sys.modules["subject"] = module
        return tests.collected_anew([name]).rpartition("::")[2]

    assert mutate.forked(lambda: judged(3), 60) == ("survived", "")
    assert mutate.forked(lambda: judged(4), 60) == ("killed", "test_most[5]")


def test_a_process_has_a_limit_of_processor_time() -> None:
    def forever() -> str:
        while True:
            pass

    assert mutate.forked(forever, 1) == ("timed out", "")
