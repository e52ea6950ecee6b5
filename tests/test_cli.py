# SPDX-License-Identifier: BSD-3-Clause
"""The command line: what a person types, and the one sentence when it cannot be done."""

import errno
import json
import os
import pty
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas
import pyarrow.parquet
import pytest
import torch
from recipes import blocks, commands

from lossmatrix.cli import main
from lossmatrix.compare import terminal
from lossmatrix.compare.intervals import paired_intervals

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
    Path("ask.csv").write_text("true\\pred,bad,good,abstain\nbad,0,5,1\ngood,1,0,1\n")
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


@pytest.fixture
def described(files: Path) -> None:
    """The files that the documents write of; the costs are those they print."""
    (text,) = {
        block[block.index("true\\pred") :]
        for document in DOCUMENTS
        for block in blocks(document)
        if "true\\pred" in block
    }
    Path("costs.csv").write_text(text)
    classes = text.splitlines()[0].split(",")[1:]
    truth = [classes[i * i % 7 % 3] for i in range(60)]
    table = pandas.DataFrame({"x": [classes.index(y) + i % 4 for i, y in enumerate(truth)]})
    table["column"] = truth
    for name in ("table.csv", "north.csv", "south.csv"):
        table.to_csv(name, index=False)
    table.assign(patient=table.index // 2, id=table.index + 1000).to_csv("visits.csv", index=False)
    sure = {name: [0.75 if name == y else 0.125 for y in truth] for name in classes}
    pandas.DataFrame(sure).assign(column=truth).to_csv("probs.csv", index=False)
    Path("parts").mkdir()
    for part in ("parts/0.csv", "parts/1.csv"):
        pandas.DataFrame(sure).assign(column=truth).to_csv(part, index=False)


DOCUMENTS = ("README.md", "docs/guide/compare.md")
TYPED = sorted({tuple(each) for document in DOCUMENTS for each in commands(document)})
QUICK = ["--seeds", "1", "--tune", "1", "--loss", "ExpectedCost", "--jobs", "1"]


@pytest.mark.parametrize("typed", TYPED, ids=" ".join)
def test_commands_of_the_documents_do_what_they_say(
    typed: tuple[str, ...], described: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains = typed[0] == "compare" and "--probs" not in typed
    assert type_in(monkeypatch, *typed, *(QUICK if trains else [])) == 0
    if "compare" in typed:
        assert any(Path("out").rglob("report.html"))
    if "--out" in typed:
        assert Path(typed[typed.index("--out") + 1]).exists()


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
    for line in found["results"]:
        runs = line["trainings"]
        assert len(runs) == 10
        means = sum(run["normalized_cost"] for run in runs) / 10  # folds are equally large
        assert means == pytest.approx(line["normalized_cost"])
        assert line["corrected"][0] <= line["difference"] <= line["corrected"][1]


def test_every_decision_is_written_so_that_intervals_can_be_made_anew(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, costs = pandas.read_csv("data.csv"), pandas.read_csv("costs.csv", index_col=0)
    data.assign(place=data.index // 2).to_csv("data.csv", index=False)
    arguments = "compare --data data.csv --target risk --costs costs.csv --seeds 2 --tune 2"
    assert type_in(monkeypatch, *arguments.split(), "--group", "place") == 0
    found = json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    about = json.loads(pyarrow.parquet.read_schema("out/results.parquet").metadata[b"lossmatrix"])
    assert about["settings"] == found["settings"]
    rows = pandas.read_parquet("out/results.parquet")
    names = ["method", "rule", "seed", "split", "row", "truth", "decision", "cost", "weight"]
    assert list(rows.columns) == [*names, "group"]
    judged = found["task"]["judged"]
    assert len(rows) == len(found["results"]) * 2 * judged
    assert (rows.truth.to_numpy() == data.risk.to_numpy()[rows.row]).all()
    prices = [costs.loc[t, d] for t, d in zip(rows.truth, rows.decision, strict=True)]
    assert rows.cost.tolist() == prices
    of = {key: part.cost.to_numpy() for key, part in rows.groupby(["method", "rule"])}
    control = of["CrossEntropy", "temperature + Bayes"]
    shape = 1, 2, judged
    for line in found["results"]:
        each = (of[line["method"], line["rule"]] - control) / found["task"]["unit"]
        assert each.mean() == pytest.approx(line["difference"])
        one = rows[(rows.method == "CrossEntropy") & (rows.rule == "argmax") & (rows.seed == 0)]
        target, group = (pandas.factorize(one[name])[0] for name in ("truth", "group"))
        again = paired_intervals(each.reshape(shape), target, one.weight.to_numpy(), group)
        near = 0.15 * (line["high"] - line["low"]) + 1e-9  # another stream of random numbers
        assert again[0] == pytest.approx([line["low"], line["high"]], abs=near)


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
        ("decide data.csv --costs costs.csv --abstain nan", "--abstain nan cannot be offered"),
        ("decide data.csv --costs ask.csv --abstain 1", "already a decision 'abstain'"),
        ("compare --digits --abstain 1e400", "--abstain inf cannot be offered"),
        ("compare --digits --backend dask", "where Dask's scheduler is"),
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

    monkeypatch.setattr("lossmatrix.compare.datasets.digits", broken)
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


# --- what is written, and what is never overwritten ----------------------------------------------

COMPARE = "compare --data data.csv --target risk --costs costs.csv --seeds 1 --tune 1 --jobs 1"
SHORT = f"{COMPARE} --loss CrossEntropy"
PROBS = "good,bad\n0.9,0.1\n0.2,0.8\n"


def another_name(kind: str, path: Path) -> str:
    """The same file by another name."""
    other = Path(f"other{path.suffix}")
    match kind:
        case "path":
            return f"../{path.resolve().parent.name}/{path}"
        case "symlink":
            other.symlink_to(path)
        case "hard link":
            other.hardlink_to(path)
        case _:
            return str(path)
    return str(other)


@pytest.mark.parametrize("kind", ["name", "path", "symlink", "hard link"])
@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("decide probs.csv --costs costs.csv --out", "probs.csv"),
        ("decide probs.csv --costs costs.csv --out", "costs.csv"),
        ("decide probs.csv --costs costs.csv --priors priors.csv --out", "priors.csv"),
        (f"{SHORT} --out", "data.csv"),
        (f"{SHORT} --out", "costs.csv"),
        ("compare --probs probs.csv --target risk --costs costs.csv --out", "probs.csv"),
        ("compare --logits probs.csv --target risk --costs costs.csv --out", "probs.csv"),
    ],
)
def test_no_command_overwrites_what_it_reads(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, given: str, kind: str
) -> None:
    Path("probs.csv").write_text(
        "good,bad,risk\n"
        + "".join(f"0.{i % 9},0.{10 - i % 9},good\n0.1,0.9,bad\n" for i in range(1, 9))
    )
    Path("priors.csv").write_text("class,old,new\ngood,0.5,0.6\nbad,0.5,0.4\n")
    before = Path(given).read_bytes()
    code = type_in(monkeypatch, *arguments.split(), another_name(kind, Path(given)))
    assert isinstance(code, str)
    assert f"would destroy {given}, which is read" in code
    assert Path(given).read_bytes() == before


def test_nor_what_it_reads_from_where_it_writes_the_numbers(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas.read_csv("data.csv").to_parquet("results.parquet")
    typed = [*SHORT.replace("data.csv", "results.parquet").split(), "--out", "report.html"]
    assert "would destroy results.parquet" in str(type_in(monkeypatch, *typed))
    typed = [*SHORT.split(), "--out", "results.json"]
    assert "would be written twice" in str(type_in(monkeypatch, *typed))


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--keep data.csv", "No folder data.csv can be made"),
        ("--keep data.csv/kept", "No folder data.csv/kept can be made"),
        ("--keep /proc/kept", "No folder /proc/kept can be made"),
        ("--keep /proc/self", "Nothing can be written to /proc/self"),
        ("--out /proc/self/report.html", "Nothing can be written to /proc/self/report.html"),
        ("--out /dev/null", "Nothing can be written to /dev/null"),
        (f"--out {'r' * 255}", "Nothing can be written to"),
    ],
)
def test_places_that_cannot_be_written_to_are_found_before_training(
    files: Path, monkeypatch: pytest.MonkeyPatch, option: str, sentence: str
) -> None:
    monkeypatch.setattr("lossmatrix.compare.experiment.compare_task", None)
    code = type_in(monkeypatch, *SHORT.split(), *option.split())
    assert isinstance(code, str)
    assert code.startswith(f"lossmatrix: {sentence}")
    assert "\n" not in code


@contextmanager
def full_disk(path: Path) -> Iterator[Path]:
    """`write_atomically` where there is no room left."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    yield path


@pytest.mark.parametrize("module", ["export", "report"])
def test_a_full_disk_keeps_nothing_back_but_what_does_not_fit(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
) -> None:
    monkeypatch.setattr(f"lossmatrix.compare.{module}.write_atomically", full_disk)
    code = type_in(monkeypatch, *SHORT.split())
    assert isinstance(code, str)
    assert "No space left on device" in code
    assert "\n" not in code
    assert "temperature + Bayes" in capsys.readouterr().out
    numbers = {"results.json", "results.parquet"}
    lost = numbers if module == "export" else {"report.html"}
    assert all(f"out/{name}" in code for name in lost)
    assert {path.name for path in Path("out").iterdir()} == (numbers | {"report.html"}) - lost


def test_a_report_that_fails_loses_no_numbers(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("lossmatrix.compare.report.write_report", broken)
    monkeypatch.setattr(sys, "argv", ["lossmatrix", *SHORT.split()])
    with pytest.raises(ZeroDivisionError, match="a defect"):
        main()
    assert {path.name for path in Path("out").iterdir()} == {"results.json", "results.parquet"}
    assert "temperature + Bayes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [f"{SHORT} --keep kept", "decide probs.csv --costs costs.csv --out o.csv"]
)
def test_a_full_disk_is_one_sentence(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    Path("probs.csv").write_text(PROBS)
    for module in ("trial", "decide_file"):
        monkeypatch.setattr(f"lossmatrix.compare.{module}.write_atomically", full_disk)
    code = type_in(monkeypatch, *arguments.split())
    assert isinstance(code, str)
    assert "cannot be written: No space left on device" in code


# --- several data sets ----------------------------------------------------------------------------


def results_of(folder: str) -> dict[str, object]:
    """What results.json says, without what a clock says."""
    text = Path(folder, "results.json").read_text(encoding="utf-8")
    return json.loads(text, object_hook=lambda each: {**each, "seconds": 0})


def test_several_sets_have_what_each_has_alone_and_one_that_fails_costs_no_other(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pandas.read_csv("data.csv")
    Path("sets/odd").mkdir(parents=True)
    rows.to_csv("sets/first.csv", index=False)
    rows.assign(risk="neither").to_csv("sets/odd/second.csv", index=False)
    rows.assign(x=rows.x[::-1].to_numpy()).to_parquet("sets/third.parquet")
    options = [*SHORT.split()[3:], "--loss", "ExpectedCost"]
    named = ["sets/first.csv", "sets/odd/second.csv", "sets/third.parquet"]
    code = type_in(monkeypatch, "compare", *named, *options, "--keep", "kept")
    printed = capsys.readouterr()
    assert str(code).startswith("lossmatrix: 1 of 3 sets have no results: sets/odd/second.csv;")
    assert "Class 'neither' is only in the table" in printed.err
    said, _, over = printed.out.split("data set")[1].partition("mean change")
    assert [name in said for name in ("first", "odd/second", "third")] == [True] * 3
    assert "ExpectedCost, argmax" in over
    assert {each.name for each in Path("kept").iterdir()} == {"first", "third"}
    for name, source in (("first", named[0]), ("third", named[2])):
        assert type_in(monkeypatch, "compare", "--data", source, *options) == 0
        assert results_of(f"out/{name}") == results_of("out")
        assert Path(f"out/{name}/report.html").exists()
    assert results_of("out/first") != results_of("out/third")


def test_a_defect_in_one_set_is_seen_and_keeps_no_other_back(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def broken(*arguments: object) -> None:
        done.append(str(arguments[0]))
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("lossmatrix.compare.datasets.table", broken)
    code = type_in(monkeypatch, "compare", "a.csv", "b.csv", *SHORT.split()[3:])
    assert "2 of 2 sets have no results: a.csv, b.csv" in str(code)
    assert done == ["a.csv", "b.csv"]
    assert "Traceback" in capsys.readouterr().err


def test_places_of_all_sets_are_checked_before_the_first(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossmatrix.compare.datasets.table", None)
    Path("out").mkdir()
    Path("out/b").write_text("a file in the way")
    code = type_in(monkeypatch, "compare", "a.csv", "b.csv", *SHORT.split()[3:])
    assert "No folder out/b can be made" in str(code)
    code = type_in(monkeypatch, "compare", "a.csv", "a.parquet", *SHORT.split()[3:])
    assert "a.csv and a.parquet would both be written to a folder a" in str(code)


# --- one data set in several files ----------------------------------------------------------------


@pytest.fixture
def parts(files: Path) -> None:
    """Probabilities with their truths in probs.csv, and in the three files of a folder probs."""
    good = [0.2 + 0.6 * (i % 2 == i % 3) + i / 1000 for i in range(40)]
    rows = pandas.DataFrame({"good": good, "bad": [1 - p for p in good]})
    rows["risk"] = [("bad", "good")[i % 2] for i in range(40)]
    rows.to_csv("probs.csv", index=False)
    Path("probs").mkdir()
    for name, first, last in (("0", 0, 7), ("1", 7, 20), ("2", 20, 40)):
        rows[first:last].to_parquet(f"probs/{name}.parquet", index=False)
    Path("probs/_SUCCESS").touch()


def test_given_probabilities_of_a_folder_are_those_of_one_file(
    parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--target", "risk", "--costs", "costs.csv"]
    for source, folder in (("probs.csv", "one"), ("probs", "many")):
        typed = ["compare", "--probs", source, *options, "--out", f"{folder}/report.html"]
        assert type_in(monkeypatch, *typed) == 0
    assert results_of("many") == results_of("one")
    one, many = (pandas.read_parquet(f"{name}/results.parquet") for name in ("one", "many"))
    pandas.testing.assert_frame_equal(one, many)
    typed = ["compare", "--probs", "probs", *options, "--out", "probs/0.parquet"]
    assert "would destroy probs/0.parquet" in str(type_in(monkeypatch, *typed))


@pytest.mark.parametrize("named", ["probs", "probs/*.parquet", "probs/0.parquet probs/[12]*"])
def test_a_folder_is_decided_file_by_file_and_measured_as_one(
    parts: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    options = ["--costs", "costs.csv", "--target", "risk", "--jobs", "1", "--out"]
    assert type_in(monkeypatch, "decide", "probs.csv", *options, "one.csv") == 0
    one = capsys.readouterr().err
    assert type_in(monkeypatch, "decide", *named.split(), *options, "many") == 0
    assert capsys.readouterr().err == one
    assert "likeliest class" in one
    made = [pandas.read_parquet(f"many/{part}.parquet") for part in "012"]
    decided = pandas.concat(made, ignore_index=True)
    assert decided.decision.tolist() == pandas.read_csv("one.csv").decision.tolist()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("probs", "Decisions of 3 files need a folder: name one with --out"),
        ("probs --out probs", "Writing probs/0.parquet would destroy probs/0.parquet"),
        ("probs probs/0.parquet --out many", "many/0.parquet would be written twice"),
        ("probs --out costs.csv", "No folder costs.csv can be made"),
        ("none --out many", "holds neither Parquet nor CSV files"),
    ],
)
def test_files_of_one_set_are_written_to_a_folder_of_their_own(
    parts: None, monkeypatch: pytest.MonkeyPatch, typed: str, sentence: str
) -> None:
    Path("none").mkdir()
    typed = typed.replace(". ", "none ")
    code = type_in(monkeypatch, "decide", *typed.split(), "--costs", "costs.csv")
    assert sentence in str(code)


@pytest.mark.parametrize("name", ["o.json", "o.csv.zip", "o.csv.zst", "o.xlsx", "o.gz.old"])
def test_a_name_that_says_another_format_is_refused_for_reading_and_writing(
    parts: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sentence = f"{name} is neither CSV nor Parquet by its name, which ends in {Path(name).suffix}"
    typed = f"decide probs.csv --costs costs.csv --out {name}"
    assert sentence in str(type_in(monkeypatch, *typed.split()))
    assert not Path(name).exists()
    Path(name).write_bytes(Path("probs.csv").read_bytes())
    assert sentence in str(type_in(monkeypatch, "decide", name, "--costs", "costs.csv"))
    typed = f"compare --probs {name} --target risk --costs costs.csv"
    assert sentence in str(type_in(monkeypatch, *typed.split()))
    code = type_in(monkeypatch, *SHORT.split(), "--out", name)
    assert "The report is an HTML file" in str(code)
    code = type_in(monkeypatch, *SHORT.split(), "probs.csv", "--out", f"many/{name}")
    assert "The report is an HTML file" in str(code)


def test_parts_of_an_earlier_run_are_not_left_among_those_of_this_one(
    parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["decide", "probs", "--costs", "costs.csv", "--jobs", "1", "--out", "many"]
    assert type_in(monkeypatch, *typed) == 0
    assert type_in(monkeypatch, *typed) == 0  # its own parts are written anew
    Path("many/notes.txt").touch()
    Path("probs/2.parquet").unlink()
    before = Path("many/0.parquet").stat().st_mtime_ns
    code = str(type_in(monkeypatch, *typed))
    assert "many holds '2.parquet' besides the parts that would be written" in code
    assert Path("many/0.parquet").stat().st_mtime_ns == before
    Path("many/2.parquet").unlink()
    assert type_in(monkeypatch, *typed) == 0


# --- what reaches the terminal --------------------------------------------------------------------

ESCAPE, C1, RIGHT_TO_LEFT = "\x1b]0;owned\x07", "\x9b31m", "\u202e"
NAME = f"b{ESCAPE}{C1}{RIGHT_TO_LEFT}[red]d[/red]"  # acts on a terminal, or is markup


def in_a_terminal(*arguments: str) -> str:
    """What a terminal receives from a process that runs in it."""
    code = f"import sys; sys.argv[1:] = {arguments!r}; from lossmatrix.cli import main; main()"
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=child, stdout=child, stderr=child, env=environment
    ):
        os.close(child)
        received = b""
        with suppress(OSError):  # the end of a terminal
            while part := os.read(parent, 2**16):
                received += part
    os.close(parent)
    return received.decode()


@pytest.fixture
def hostile(files: Path) -> Path:
    """Names of classes and columns, values and a file that would act on a terminal."""
    Path("costs.csv").write_text(COSTS.replace("bad", NAME).replace("0,5", "2,5"))
    Path("data.csv").write_text(
        Path("data.csv").read_text().replace("bad", NAME).replace("risk", f"risk{ESCAPE}")
    )
    Path("probs.csv").write_text(f"id,good,{NAME},risk\n{ESCAPE},0.9,0.1,good\n2,0.2,0.8,{NAME}\n")
    Path(f"f{ESCAPE}.csv").write_text("x\n1\n")
    return files


@pytest.mark.integration
@pytest.mark.parametrize(
    "arguments",
    [
        ["costs", "costs.csv"],
        ["costs", f"f{ESCAPE}.csv"],
        ["costs", "costs.csv", f"f{ESCAPE}.csv"],
        ["decide", "probs.csv", "--costs", "costs.csv"],
        ["decide", f"f{ESCAPE}.csv", "--costs", "costs.csv"],
        ["explain", "ExpectedCost", "--costs", f"f{ESCAPE}.csv"],
        ["explain", ESCAPE, "--costs", "costs.csv"],
        ["compare", "--data", "data.csv", "--target", ESCAPE, "--costs", "costs.csv"],
        ["compare", "--probs", "probs.csv", "--target", "id", "--costs", "costs.csv"],
        [*SHORT.replace("risk", f"risk{ESCAPE}").split()],
    ],
    ids=lambda arguments: " ".join(arguments).encode("unicode_escape").decode(),
)
def test_nothing_in_a_file_acts_on_the_terminal(hostile: Path, arguments: list[str]) -> None:
    received = in_a_terminal(*arguments)
    for text in (ESCAPE, C1, RIGHT_TO_LEFT, "\x07"):
        assert text not in received
    assert r"\x1b]0;owned\x07" in "".join(received.split())
    assert "Traceback" not in received
    if arguments[0] == "decide":
        assert "[red]d[/red]" in received or "f" in arguments[1]


def test_decisions_for_a_pipe_are_the_data_as_they_are(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert type_in(monkeypatch, "decide", "probs.csv", "--costs", "costs.csv") == 0
    assert NAME in capsys.readouterr().out


def test_a_traceback_and_a_warning_do_not_act_on_the_terminal(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        warnings.warn(NAME, stacklevel=1)
        raise ValueError(NAME)

    monkeypatch.setattr("lossmatrix.compare.datasets.digits", broken)
    monkeypatch.setattr(sys, "argv", ["lossmatrix", "compare", "--digits"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # as it was, when this ends
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="owned") as error:
            main()
        sys.excepthook(error.type, error.value, error.tb)
    printed = capsys.readouterr().err
    assert ESCAPE not in printed
    assert printed.count(r"\x1b]0;owned\x07") == 2


# --- progress ------------------------------------------------------------------------------------


def test_a_log_has_a_line_now_and_then_and_none_after_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with terminal.log_lines(0.05) as report:
        report(3, 1200)
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 6
    assert set(lines) == {"lossmatrix: 3 of 1,200 trainings after 0 min"}
    time.sleep(0.1)
    assert not capsys.readouterr().err


def test_only_a_terminal_has_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "MINUTE", 0.05)
    with terminal.progress_bar() as report:
        report(1, 2)
        time.sleep(0.15)
    assert "lossmatrix: 1 of 2 trainings after 0 min\n" in capsys.readouterr().err
