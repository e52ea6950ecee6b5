# SPDX-License-Identifier: BSD-3-Clause
"""Decisions for files: those of `decide`, at any length, whole or not at all."""

import tracemalloc
from pathlib import Path

import numpy
import pandas
import pytest
import torch

import lossmatrix as lm
from lossmatrix.compare.decide_file import decide_file, read_priors
from lossmatrix.compare.task import UserInputError

CLASSES = ["cat", "lynx", "truck"]
COSTS = lm.Dense([[0, 1, 2], [1, 0, 2], [9, 8, 0]], classes=CLASSES)


def make(path: Path, rows: int = 500) -> pandas.DataFrame:
    probs = numpy.random.default_rng(1).dirichlet([1, 1, 1], rows)
    frame = pandas.DataFrame(probs, columns=CLASSES)
    frame.insert(1, "id", [f"0{i}" for i in range(rows)])
    frame["note"] = "NA"
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return frame


@pytest.mark.parametrize("source", ["p.csv", "p.parquet"])
@pytest.mark.parametrize("out", ["o.csv", "o.parquet"])
@pytest.mark.parametrize("block", [2**21, 35])  # all rows at once, or seven at a time
def test_decisions_are_those_of_decide_and_other_columns_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, out: str, block: int
) -> None:
    monkeypatch.setattr("lossmatrix.compare.decide_file.BLOCK", block)
    frame = make(tmp_path / source)
    counts = decide_file(tmp_path / source, COSTS, None, tmp_path / out)
    reader = pandas.read_parquet if out.endswith("parquet") else pandas.read_csv
    kept = {} if out.endswith("parquet") else {"dtype": {"id": "str"}, "keep_default_na": False}
    written = reader(tmp_path / out, **kept)
    risk = lm.conditional_risk(torch.from_numpy(frame[CLASSES].to_numpy(copy=True)), COSTS)
    assert list(written) == ["id", "note", "decision", "expected_cost"]
    assert written["id"].tolist() == frame["id"].tolist()
    assert set(written["note"]) == {"NA"}
    assert [CLASSES.index(name) for name in written["decision"]] == risk.argmin(1).tolist()
    numpy.testing.assert_allclose(written["expected_cost"], risk.amin(1))
    assert counts.tolist() == risk.argmin(1).bincount(minlength=3).tolist()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("source", ["p.csv", "p.parquet"])
@pytest.mark.parametrize("out", ["o.csv", "o.parquet"])
def test_a_file_without_rows_has_the_columns_and_no_decisions(
    tmp_path: Path, source: str, out: str
) -> None:
    make(tmp_path / source, rows=0)
    assert decide_file(tmp_path / source, COSTS, None, tmp_path / out).tolist() == [0, 0, 0]
    reader = pandas.read_parquet if out.endswith("parquet") else pandas.read_csv
    written = reader(tmp_path / out)
    assert list(written) == ["id", "note", "decision", "expected_cost"]
    assert len(written) == 0


def test_abstaining_and_other_priors_change_decisions(tmp_path: Path) -> None:
    frame = make(tmp_path / "p.csv")
    (tmp_path / "priors.csv").write_text(
        "class,old,new\ntruck,0.2,0.1\ncat,0.4,0.5\nlynx,0.4,0.4\n"
    )
    costs = COSTS.with_abstain(0.5)
    priors = read_priors(tmp_path / "priors.csv", costs)
    counts = decide_file(tmp_path / "p.csv", costs, priors, tmp_path / "o.csv")
    probs = torch.from_numpy(frame[CLASSES].to_numpy(copy=True))
    shifted = lm.shift_priors(probs, old=[0.4, 0.4, 0.2], new=[0.5, 0.4, 0.1])
    expected = lm.decide_or_abstain(shifted, COSTS, 0.5).bincount(minlength=4)
    assert counts.tolist() == expected.tolist()
    assert counts[3] > 0


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossmatrix.compare.decide_file.BLOCK", 5_000)
    peaks: list[int] = []
    for rows in (2_000, 2_000, 40_000):  # the first warms up
        make(tmp_path / "p.csv", rows)
        tracemalloc.start()
        decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]


def test_many_classes_and_rows_are_decided(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(200)]
    probs = numpy.random.default_rng(0).dirichlet(numpy.ones(200), 3_000)
    pandas.DataFrame(probs, columns=names).to_parquet(tmp_path / "p.parquet")
    costs = lm.Ordinal(names)
    counts = decide_file(tmp_path / "p.parquet", costs, None, tmp_path / "o.parquet")
    expected = lm.decide(torch.from_numpy(probs), costs).bincount(minlength=200)
    assert counts.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat,lynx\n0.5,0.5\n", "no column 'truck'"),
        ("cat,lynx,truck,decision\n1,0,0,x\n", "a column 'decision' already"),
        ("cat,lynx,truck\n1,0,0\n0.4,0.4,0.4\n", "Row 2 of .* holds no probabilities"),
        ("cat,lynx,truck\n1,0,0\n1,,0\n", "Row 2 of .* holds no probabilities"),
        ("cat,lynx,truck\n1,0,0\n1,0,0,0\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_decided_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setattr(
        "lossmatrix.compare.decide_file.BLOCK", 3
    )  # a row at a time: the first one is written already
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserInputError, match=sentence) as error:
        decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize(
    ("row", "is_taken"),
    [
        ([0.333, 0.333, 0.333], True),
        ([0.6669921875, 0.1665, 0.1666], True),
        ([0.9925, 0.0, 0.0], True),
        ([0.33, 0.33, 0.33], False),
        ([0.992, 0.0, 0.0], False),
        ([0.5, 0.50782, 0.0], False),
        ([1.0, 0.001, -0.001], False),
    ],
)
def test_a_file_is_refused_where_decide_refuses(
    tmp_path: Path, row: list[float], is_taken: bool
) -> None:
    (tmp_path / "p.csv").write_text("cat,lynx,truck\n" + ",".join(map(str, row)))
    probs = torch.tensor([row], dtype=torch.float64)
    if is_taken:
        counts = decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")
        assert counts.argmax() == lm.decide(probs, COSTS)
    else:
        with pytest.raises(ValueError, match="softmax"):
            lm.decide(probs, COSTS)
        with pytest.raises(UserInputError, match=r"keepdim=True.*torch\.stack") as error:
            decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")
        assert "compare --logits" in str(error.value)


def test_priors_need_every_class(tmp_path: Path) -> None:
    (tmp_path / "priors.csv").write_text("class,old,new\ncat,0.4,0.5\n")
    with pytest.raises(UserInputError, match="a row for each of 'cat', 'lynx', 'truck'"):
        read_priors(tmp_path / "priors.csv", COSTS)
