# SPDX-License-Identifier: BSD-3-Clause
"""Decisions for files: those of `decide`, at any length, whole or not at all."""

import bz2
import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
import pytest
import torch

import lossmatrix as lm
from lossmatrix.compare.decide_file import decide_file, decide_files, measured, read_priors
from lossmatrix.compare.io import read_frame
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
    counts = decide_file(tmp_path / source, COSTS, None, tmp_path / out)[0, 0]
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
    assert not decide_file(tmp_path / source, COSTS, None, tmp_path / out).any()
    reader = pandas.read_parquet if out.endswith("parquet") else pandas.read_csv
    written = reader(tmp_path / out)
    assert list(written) == ["id", "note", "decision", "expected_cost"]
    assert len(written) == 0


MAGIC = {".csv": b"id,", ".gz": b"\x1f\x8b", ".bz2": b"BZh", ".tsv": b"id\t", ".PARQUET": b"PAR1"}


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.csv.bz2", "o.tsv", "o.PARQUET"])
def test_a_file_is_what_its_name_says_and_is_read_again(tmp_path: Path, name: str) -> None:
    frame = make(tmp_path / "p.csv")
    decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")
    expected = pandas.read_csv(tmp_path / "o.csv", dtype={"id": "str"}, keep_default_na=False)
    frame.assign(cat=frame.cat, decided="no").to_csv(tmp_path / "q.csv", index=False)
    decide_file(tmp_path / "q.csv", COSTS, None, tmp_path / name)
    magic = MAGIC[Path(name).suffix]
    assert (tmp_path / name).read_bytes()[: len(magic)] == magic
    made = read_frame(tmp_path / name, text=["id", "note"])
    assert made["id"].tolist() == expected["id"].tolist()
    assert made.decision.tolist() == expected.decision.tolist()


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".bz2", bz2.open)])
def test_compressed_probabilities_are_decided_as_plain_ones(
    tmp_path: Path, suffix: str, opener: Any
) -> None:
    make(tmp_path / "p.csv")
    plain = (tmp_path / "p.csv").read_bytes()
    source = tmp_path / f"p.csv{suffix}"
    with opener(source, "wb") as file:
        file.write(plain)
    counts = decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")
    assert (decide_file(source, COSTS, None, tmp_path / "u.csv") == counts).all()
    assert (tmp_path / "u.csv").read_bytes() == (tmp_path / "o.csv").read_bytes()
    whole = source.read_bytes()
    for damaged in (whole[: len(whole) // 2], plain, whole[:200] + b"?" * 50 + whole[250:]):
        source.write_bytes(damaged)
        with pytest.raises(UserInputError, match=f"p.csv{suffix} cannot be read"):
            decide_file(source, COSTS, None, tmp_path / "damaged.csv")
    assert not (tmp_path / "damaged.csv").exists()


def test_abstaining_and_other_priors_change_decisions(tmp_path: Path) -> None:
    frame = make(tmp_path / "p.csv")
    (tmp_path / "priors.csv").write_text(
        "class,old,new\ntruck,0.2,0.1\ncat,0.4,0.5\nlynx,0.4,0.4\n"
    )
    costs = COSTS.with_abstain(0.5)
    priors = read_priors(tmp_path / "priors.csv", costs)
    counts = decide_file(tmp_path / "p.csv", costs, priors, tmp_path / "o.csv")[0, 0]
    probs = torch.from_numpy(frame[CLASSES].to_numpy(copy=True))
    shifted = lm.shift_priors(probs, old=[0.4, 0.4, 0.2], new=[0.5, 0.4, 0.1])
    expected = lm.decide_or_abstain(shifted, COSTS, 0.5).bincount(minlength=4)
    assert counts.tolist() == expected.tolist()
    assert counts[3] > 0


def split(path: Path, folder: Path, sizes: list[int]) -> list[Path]:
    """The rows of a Parquet file in several, some of which may be empty."""
    rows, start, made = pandas.read_parquet(path), 0, []
    folder.mkdir()
    for number, size in enumerate(sizes):
        made.append(folder / f"part-{number}{path.suffix}")
        rows[start : start + size].to_parquet(made[-1], index=False)
        start += size
    assert start == len(rows)
    return made


@pytest.mark.parametrize(
    "backend", ["sequential", "threading", pytest.param("dask", marks=pytest.mark.integration)]
)
def test_many_files_give_the_numbers_of_one(tmp_path: Path, backend: str) -> None:
    truth = numpy.random.default_rng(2).integers(3, size=500)
    frame = make(tmp_path / "p.parquet").assign(truth=[CLASSES[i] for i in truth])
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    parts = split(tmp_path / "p.parquet", tmp_path / "parts", [130, 1, 0, 269, 100])
    outs = [tmp_path / f"{part.stem}.parquet" for part in parts]
    costs = COSTS.with_abstain(0.5)
    one = decide_file(tmp_path / "p.parquet", costs, None, tmp_path / "o.parquet", "truth")
    if backend == "dask":
        client = pytest.importorskip("distributed").Client(processes=False, dashboard_address=None)
        with client, joblib.parallel_config("dask"):
            many = decide_files(parts, costs, None, outs, "truth")
    else:
        with joblib.parallel_config(backend, n_jobs=2):
            many = decide_files(parts, costs, None, outs, "truth")
    assert (many == one).all()
    assert measured(many, costs) == measured(one, costs)
    written = pandas.concat([pandas.read_parquet(out) for out in outs], ignore_index=True)
    expected = pandas.read_parquet(tmp_path / "o.parquet")
    exact = ["id", "note", "truth", "decision"]
    pandas.testing.assert_frame_equal(written[exact], expected[exact])
    # a product of matrices may round otherwise where it has other rows
    numpy.testing.assert_allclose(written.expected_cost, expected.expected_cost, rtol=1e-14)


def test_workers_started_in_another_folder_find_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "p.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def elsewhere(*arguments: Any) -> Any:
        monkeypatch.chdir(tmp_path / "elsewhere")
        return decide_file(*arguments)

    monkeypatch.setattr("lossmatrix.compare.decide_file.decide_file", elsewhere)
    with joblib.parallel_config("sequential"):
        counts = decide_files([Path("p.csv")], COSTS, None, [Path("o.csv")])
    assert counts.sum() == 2 * 500
    assert (tmp_path / "o.csv").exists()


def test_what_decisions_cost_is_measured_as_by_the_metrics(tmp_path: Path) -> None:
    frame = make(tmp_path / "p.csv")
    truth = numpy.random.default_rng(2).integers(3, size=500)
    frame.assign(truth=[CLASSES[i] for i in truth]).to_csv(tmp_path / "p.csv", index=False)
    costs = lm.Dense([[0, 1, 2], [1, 0.5, 2], [9, 8, 0]], classes=CLASSES).with_abstain(0.7)
    counts = decide_file(tmp_path / "p.csv", costs, None, tmp_path / "o.csv", "truth")
    probs, target = torch.from_numpy(frame[CLASSES].to_numpy(copy=True)), torch.from_numpy(truth)
    found = measured(counts, costs)
    for decision, line in zip((lm.decide(probs, costs), probs.argmax(1)), found, strict=True):
        accuracy = (decision == target).double().mean()
        average = lm.average_cost(decision, target, costs)
        normalized = lm.normalized_cost(decision, target, costs.regret())
        assert line == pytest.approx([accuracy.item(), average.item(), normalized.item()])
    assert found[0][1] < found[1][1]


def test_rows_of_one_class_have_a_cost_and_no_normalised_one(tmp_path: Path) -> None:
    make(tmp_path / "p.csv").assign(truth="lynx").to_csv(tmp_path / "p.csv", index=False)
    counts = decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv", "truth")
    (_, average, normalized), _ = measured(counts, COSTS)
    assert average > 0
    assert numpy.isnan(normalized)


@pytest.mark.parametrize(
    ("truths", "sentence"),
    [(["cat", "tiger"], "Row 2 of .* has 'tiger' in column 'truth'"), ([], "no column 'truth'")],
)
def test_a_truth_that_is_no_class_is_named(
    tmp_path: Path, truths: list[str], sentence: str
) -> None:
    frame = make(tmp_path / "p.csv", rows=2)
    (frame.assign(truth=truths) if truths else frame).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(UserInputError, match=sentence):
        decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv", "truth")


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
    counts = decide_file(tmp_path / "p.parquet", costs, None, tmp_path / "o.parquet")[0, 0]
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
        counts = decide_file(tmp_path / "p.csv", COSTS, None, tmp_path / "o.csv")[0, 0]
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


@pytest.mark.parametrize("old", ["0", "-1", "", "inf", "few"])
def test_priors_that_are_none_are_one_sentence(tmp_path: Path, old: str) -> None:
    lines = f"class,old,new\ncat,{old},0.4\nlynx,0.5,0.5\ntruck,0.1,0.1\n"
    (tmp_path / "priors.csv").write_text(lines)
    with pytest.raises(UserInputError, match=r"priors.csv cannot be used: old priors must be"):
        read_priors(tmp_path / "priors.csv", COSTS)
    (tmp_path / "priors.csv").write_text(lines.replace(f"{old},0.4", "0.4,0.4") + "cat,0.1,0.1\n")
    with pytest.raises(UserInputError, match="a row for each of 'cat', 'lynx', 'truck'"):
        read_priors(tmp_path / "priors.csv", COSTS)


def test_a_class_that_is_gone_has_a_new_prior_of_0(tmp_path: Path) -> None:
    lines = "class,old,new\ncat,0.4,0\nlynx,0.5,0.5\ntruck,0.1,0.5\n"
    (tmp_path / "priors.csv").write_text(lines)
    old, new = read_priors(tmp_path / "priors.csv", COSTS)
    assert (old.tolist(), new.tolist()) == ([0.4, 0.5, 0.1], [0, 0.5, 0.5])
