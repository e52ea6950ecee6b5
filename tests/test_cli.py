# SPDX-License-Identifier: BSD-3-Clause
"""The command line: what a person types, and the one sentence when it cannot be done."""

import json
import sys
from pathlib import Path

import pandas
import pytest
import torch

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
    Path("zero.csv").write_text("true\\pred,bad,good\nbad,0,0\ngood,0,0\n")
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
    assert "the likeliest class" in " ".join(printed.split())  # whatever else it recommends
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


def test_a_cost_of_abstaining_and_a_loss_of_ones_own_take_part(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "compare --data data.csv --target risk --costs costs.csv --seeds 1 --tune 1"
    typed = [*arguments.split(), "--abstain", "0.2", "--loss", "CrossEntropy + 2 * ExpectedCost"]
    assert type_in(monkeypatch, *typed) == 0
    assert "CrossEntropy + 2 * ExpectedCost" in capsys.readouterr().out
    found = json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    assert found["task"]["decisions"] == ["bad", "good", "abstain"]
    assert sum(row[2] for row in found["results"][1]["confusion"]) > 0


def test_every_number_is_written_for_programs(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "compare --data data.csv --target risk --costs costs.csv --seeds 2 --tune 2"
    assert type_in(monkeypatch, *arguments.split()) == 0
    found = json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    assert found["settings"]["seeds"] == [0, 1]
    assert found["settings"]["configurations"] == 2
    assert found["versions"]["torch"] == torch.__version__
    runs = pandas.read_parquet("out/results.parquet")
    assert runs.attrs["settings"] == found["settings"]
    assert len(runs) == 10 * len(found["results"])
    means = runs.groupby(["method", "rule"])["normalized_cost"].mean()  # folds are equally large
    for line in found["results"]:
        assert means[line["method"], line["rule"]] == pytest.approx(line["normalized_cost"])
        assert line["corrected"][0] <= line["difference"] <= line["corrected"][1]


def test_given_probabilities_are_compared_without_training(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{0.2 + 0.6 * (i % 2 == i % 3)},{('bad', 'good')[i % 2]}" for i in range(40)]
    lines = [f"{1 - float(row.split(',')[0]):.1f},{row}" for row in rows]
    Path("probs.csv").write_text("\n".join(["bad,good,truth", *lines]))
    arguments = "compare --probs probs.csv --target truth --costs costs.csv --seeds 1"
    assert type_in(monkeypatch, *arguments.split()) == 0
    assert "temperature + Bayes" in capsys.readouterr().out


def test_decisions_for_a_file_are_printed_or_written(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("probs.csv").write_text("id,good,bad\n1,0.9,0.1\n2,0.8,0.2\n")
    assert type_in(monkeypatch, "decide", "probs.csv", "--costs", "costs.csv") == 0
    printed = capsys.readouterr()
    assert printed.out == "id,decision,expected_cost\n1,good,0.5\n2,bad,0.8\n"
    assert "bad" in printed.err
    typed = ["decide", "probs.csv", "--costs", "costs.csv", "--abstain", "0.6", "--out", "o.csv"]
    assert type_in(monkeypatch, *typed) == 0
    assert Path("o.csv").read_text() == "id,decision,expected_cost\n1,good,0.5\n2,abstain,0.6\n"


def test_the_engine_of_a_loss_is_explained(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["explain", "CrossEntropy + 0.5 * DecisionScore(tau=0.1)", "--costs", "costs.csv"]
    assert type_in(monkeypatch, *typed) == 0
    printed = capsys.readouterr().out
    assert "loss: CrossEntropy() + 0.5 * DecisionScore(tau=0.1)" in printed
    assert "costs: Dense(2)" in printed
    assert "engine: native" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("explain Entropy", "there is no 'Entropy'"),
        ("explain CrossEntropy-ExpectedCost", "neither a name nor a sum"),
        ("explain __import__('os')", "there is no '__import__'"),
        ("explain DecisionScore(tau=0)", "tau"),
        ("explain ExpectedCost", "none were given"),
        ("decide data.csv --costs costs.csv", "no column 'bad', 'good'"),
        ("decide nowhere.csv --costs costs.csv", "no file nowhere.csv"),
        ("compare --probs data.csv --target risk --costs costs.csv", "no column 'bad', 'good'"),
        ("compare --digits --backend dask", "where Dask's scheduler is"),
        ("compare --data data.csv --target risk --costs zero.csv", "nothing to compare"),
        ("compare", "Say what to compare on"),
        ("compare --digits --target risk", "Say what to compare on"),
        ("compare --data data.csv --target risk", "Say what to compare on"),
        ("compare --data data.csv --target rsk --costs costs.csv", "column 'rsk'"),
        ("compare --data data.csv --target x --costs costs.csv", "Class "),
        ("compare --data data.csv --target risk --costs data.csv", "cannot be read"),
        ("compare --digits --out .", "Nothing can be written to ."),
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
