# SPDX-License-Identifier: BSD-3-Clause
"""Rows of one group: never parted by a split, drawn together, pointed out where none is named."""

import json
import random
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy
import pandas
import pytest
import torch

import lossmatrix as lm
from lossmatrix.cli import main
from lossmatrix.compare import compare
from lossmatrix.compare.datasets import group_hints, scores_table, table
from lossmatrix.compare.intervals import paired_intervals
from lossmatrix.compare.splits import splits
from lossmatrix.compare.task import Task, UserInputError

COSTS = lm.Dense([[0, 1, 9], [2, 0, 4], [1, 3, 0]])


def grouped(sizes: list[int], **fields: object) -> Task:
    """Groups of these many rows, of one class each in turn."""
    groups = numpy.repeat(numpy.arange(len(sizes)), sizes)
    features = numpy.random.default_rng(0).normal(size=(len(groups), 2))
    task = Task("t", "T", COSTS, groups % 3, features=features, groups=groups, network="linear")
    return replace(task, **fields)


@pytest.mark.parametrize("given", [{}, {"features": None, "scores": {"m": numpy.zeros((147, 3))}}])
def test_no_group_is_in_two_parts_of_a_split(given: dict[str, object]) -> None:
    task = grouped([1, 2, 3, 4, 5, 6] * 7, **given)
    plain = replace(task, groups=None)
    parted = False
    for split, other in zip(splits(task, 3), splits(plain, 3), strict=True):
        parts = [set(task.groups[rows]) for rows in (split.fit, split.validation, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 42
        parted |= bool(set(task.groups[other.validation]) & set(task.groups[other.test]))
    assert parted


def test_intervals_are_as_wide_as_those_of_one_row_for_each_group() -> None:
    effects = numpy.random.default_rng(1).normal(size=(2, 1, 80))
    target, weight = numpy.arange(80) % 2, 1.0 + numpy.arange(80) % 3
    groups = numpy.repeat(numpy.arange(80), 5)
    often = paired_intervals(effects[..., groups], target[groups], weight[groups] / 5, groups)
    once = paired_intervals(effects, target, weight)
    numpy.testing.assert_allclose(often, once, rtol=1e-9)
    alone = paired_intervals(effects[..., groups], target[groups], weight[groups] / 5)
    assert ((alone[:, 1] - alone[:, 0]) < 0.6 * (once[:, 1] - once[:, 0])).all()


def test_a_class_of_few_groups_is_present_in_every_resample() -> None:
    target = numpy.array([0] * 500 + [1] * 50 + [0] * 10)
    groups = numpy.concatenate([numpy.arange(500) // 5, numpy.full(60, 777)])
    intervals = paired_intervals((target * 56.0)[None, None], target, numpy.ones(560), groups)
    numpy.testing.assert_allclose(intervals, 5)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ([20, 20, 20], "3 groups are too few for 5 folds"),
        ([20] * 5, "4 groups are too few for 5 folds"),
    ],
)
def test_too_few_groups_are_one_sentence(sizes: list[int], sentence: str) -> None:
    with pytest.raises(UserInputError, match=sentence) as error:
        list(splits(grouped(sizes), 1))
    assert "\n" not in str(error.value)


def test_stored_splits_that_part_a_group_are_refused() -> None:
    parts = numpy.where(numpy.arange(90) < 67, "train", "test")
    with pytest.raises(UserInputError, match="parts 1 groups"):
        list(splits(grouped([6] * 15, parts=parts), 1))
    folds = numpy.arange(90) % 5
    with pytest.raises(UserInputError, match="parts 12 groups"):
        list(splits(grouped([6] * 15, folds=folds), 1))


def test_python_names_the_groups_of_train_and_then_of_test() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(120, 2, generator=generator), torch.arange(120) % 3
    names = [f"p{i // 4}" for i in range(120)]
    arguments = (lambda: torch.nn.Linear(2, 3), (x[:80], y[:80]), (x[80:], y[80:]), COSTS, [])
    short = {"seeds": 1, "epochs": 1, "tune": 1}
    comparison = compare(*arguments, **short, groups=names)
    assert len(set(comparison.task.groups)) == 30
    tensor = compare(*arguments, **short, groups=torch.arange(120) // 4)
    assert tensor.task.groups.tolist() == comparison.task.groups.tolist()
    with pytest.raises(UserInputError, match="119 groups for 120 rows"):
        compare(*arguments, **short, groups=names[1:])
    with pytest.raises(UserInputError, match="parts 1 groups"):
        compare(*arguments, **short, groups=["q", *names[1:-1], "q"])


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five rows of each patient, and labels that nothing predicts."""
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(0)
    lines = ["patient,number,x,age,ill"]
    for patient in range(60):
        x, ill = drawn.gauss(0, 1), "yes" if patient % 3 == 0 else "no"
        for _ in range(5):
            near, age = x + drawn.gauss(0, 0.01), drawn.randint(20, 79)
            lines.append(f"p{patient},{1000 - 7 * patient},{near:.4f},{age},{ill}")
    Path("rows.csv").write_text("\n".join(lines))
    Path("costs.csv").write_text("true\\pred,no,yes\nno,0,1\nyes,10,0\n")
    return tmp_path


COMPARE = "compare --data rows.csv --target ill --costs costs.csv --seeds 1 --tune 1 --jobs 1"


def type_in(monkeypatch: pytest.MonkeyPatch, arguments: str) -> int | str | None:
    """What the process would exit with."""
    monkeypatch.setattr(sys, "argv", ["lossmatrix", *arguments.split()])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(SystemExit) as end:
            main()
    return end.value.code


def argmax_accuracy() -> float:
    """Of cross-entropy, in results.json."""
    return json.loads(Path("out/results.json").read_text())["results"][0]["accuracy"]


def test_groups_that_are_kept_together_cannot_be_memorised(
    patients: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = "--loss CrossEntropy"
    assert type_in(monkeypatch, f"{COMPARE} {losses} --drop number") == 0
    assert argmax_accuracy() > 0.95
    assert "Column 'patient' has 60 values" in capsys.readouterr().err
    assert type_in(monkeypatch, f"{COMPARE} {losses} --group patient --drop number") == 0
    assert argmax_accuracy() < 0.7
    assert "Column" not in capsys.readouterr().err
    found = json.loads(Path("out/results.json").read_text())
    assert found["settings"]["groups"] == 60
    assert "groups of rows, which no split parts" in Path("out/report.html").read_text()


def test_what_names_groups_or_is_dropped_is_no_feature(patients: Path) -> None:
    paths = Path("rows.csv"), "ill", Path("costs.csv")
    assert list(table(*paths).features) == ["patient", "number", "x", "age"]
    task = table(*paths, group="patient", drop=["number", "age"])
    assert list(task.features) == ["x"]
    assert task.groups.tolist() == [i // 5 for i in range(300)]


def test_only_what_looks_like_an_identifier_is_pointed_out(patients: Path) -> None:
    paths = Path("rows.csv"), "ill", Path("costs.csv")
    hints = group_hints(table(*paths))
    assert [hint.split("'")[1] for hint in hints] == ["patient", "number"]
    assert "--group patient" in hints[0]
    rows = pandas.read_csv("rows.csv").sample(frac=1, random_state=0)
    rows["row"], rows["word"] = range(300), ["a", "b", "c"] * 100
    rows.to_csv("rows.csv", index=False)
    hints = group_hints(table(*paths))  # in any order of the rows
    assert [hint.split("'")[1] for hint in hints] == ["patient", "number"]


def test_scores_of_a_model_have_groups_too(patients: Path) -> None:
    rows = pandas.read_csv("rows.csv").assign(yes=0.25, no=0.75)
    rows.to_csv("probs.csv", index=False)
    task = scores_table(Path("probs.csv"), "probs", "ill", Path("costs.csv"), "patient")
    assert len(set(task.groups)) == 60


def test_a_column_of_weights_counts_rows_and_is_no_feature(
    patients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pandas.read_csv("rows.csv").assign(times=1 + numpy.arange(300) % 3)
    rows.assign(yes=0.4, no=0.6).to_csv("rows.csv", index=False)
    paths = Path("rows.csv"), "ill", Path("costs.csv")
    task = table(*paths, drop=["yes", "no"], weight="times")
    assert "times" not in task.features
    assert task.weight.tolist() == (1 + numpy.arange(300) % 3).tolist()
    scores = "compare --probs rows.csv --target ill --costs costs.csv --seeds 1"
    assert type_in(monkeypatch, f"{scores} --weight times") == 0
    found = json.loads(Path("out/results.json").read_text())
    repeated = rows.loc[rows.index.repeat(rows.times)]
    argmax = found["results"][0]
    assert argmax["accuracy"] == pytest.approx((repeated.ill == "no").mean())
    written = pandas.read_parquet("out/results.parquet")
    assert sorted(set(written.weight)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (f"{COMPARE} --group patients", "Groups need a column 'patients'"),
        (f"{COMPARE} --group ill", "not the classes"),
        (f"{COMPARE} --drop patients", "no feature 'patients' in rows.csv to leave out"),
        (f"{COMPARE} --drop ill", "no feature 'ill'"),
        (f"{COMPARE} --weight patients", "Weights need a column 'patients'"),
        (f"{COMPARE} --weight patient", "a number above 0 in each row"),
        ("compare --digits --weight x", "Only a file of one's own has columns to name"),
        (f"{COMPARE} --group ill2", "Groups need a column 'ill2'"),
        (f"{COMPARE} --drop x --drop age --drop number --drop patient", "columns of features"),
        ("compare --digits --group x", "Only a file of one's own has columns to name"),
        ("compare --digits --drop x", "Only a file of one's own has columns to name"),
        ("compare --probs rows.csv --target ill --costs costs.csv --drop x", "give --drop"),
    ],
)
def test_columns_that_cannot_be_used_are_one_sentence(
    patients: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    code = type_in(monkeypatch, arguments)
    assert isinstance(code, str)
    assert sentence in code
    assert "\n" not in code
