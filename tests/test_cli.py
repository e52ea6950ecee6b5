# SPDX-License-Identifier: BSD-3-Clause
"""The command line: what a person types, and the one sentence when it cannot be done."""

import sys
from pathlib import Path

import pytest

from lossmatrix.cli import main

COSTS = "true\\pred,bad,good\nbad,0,5\ngood,1,0\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small table with its costs in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    rows = [
        f"{(7 * i) % 13 + 3 * (i % 2)},{'ab'[i % 3 == 0]},{('bad', 'good')[i % 2]}"
        for i in range(40)
    ]
    Path("data.csv").write_text("\n".join(["x,[red]word,risk", *rows]))
    Path("costs.csv").write_text(COSTS)
    return tmp_path


def type_in(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """What the process would exit with."""
    monkeypatch.setattr(sys, "argv", ["lossmatrix", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_one_command_compares_on_ones_own_table(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "compare --data data.csv --target risk --costs costs.csv --seeds 1"
    assert type_in(monkeypatch, *arguments.split()) == 0
    printed = capsys.readouterr().out
    for text in ("CrossEntropy + DecisionScore", "temperature + Bayes", "control", "normalised"):
        assert text in printed
    assert "Choosing the likeliest class" in printed
    assert Path("out/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_costs_are_printed_with_what_looks_odd(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("costs.csv").write_text(COSTS.replace("0,5", "2,5"))
    assert type_in(monkeypatch, "costs", "costs.csv") == 0
    printed = capsys.readouterr().out
    assert "true ↓ / decided →" in printed
    assert "deciding good when the truth is bad costs 5" in printed
    assert "the right decision has a cost when the truth is bad" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("compare", "Say what to compare on"),
        ("compare somewhere --digits", "Say what to compare on"),
        ("compare --data data.csv --target risk", "Say what to compare on"),
        ("compare somewhere", "no file somewhere/meta.json"),
        ("compare --data data.csv --target rsk --costs costs.csv", "column 'rsk'"),
        ("compare --data data.csv --target x --costs costs.csv", "Class "),
        ("compare --data data.csv --target risk --costs data.csv", "cannot be read"),
        ("compare --digits --out .", "cannot be written to ."),
        ("compare --digits --out data.csv/report.html", "No folder data.csv can be made"),
        ("costs nowhere.csv", "no file nowhere.csv"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_no_traceback(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    code = type_in(monkeypatch, *arguments.split())
    assert isinstance(code, str)  # Python prints it on stderr and exits with 1
    assert code.startswith("lossmatrix: ")
    assert sentence in code
    assert "\n" not in code


def test_defects_of_the_library_keep_their_traceback(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("lossmatrix.compare.commands.digits", broken)
    monkeypatch.setattr(sys, "argv", ["lossmatrix", "compare", "--digits"])
    with pytest.raises(ValueError, match="a defect"):
        main()


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lossmatrix.compare")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    code = type_in(monkeypatch, "compare", "--digits")
    assert code == (
        "lossmatrix: lossmatrix.compare needs pandas: pip install 'lossmatrix[compare]'"
    )
