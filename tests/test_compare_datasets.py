# SPDX-License-Identifier: BSD-3-Clause
"""Reading tasks: what is understood, and the sentence for everything that is not."""

import re
from pathlib import Path

import numpy
import pandas
import pytest

from lossmatrix.compare.datasets import digits, scores_table, table
from lossmatrix.compare.encoding import encode
from lossmatrix.compare.io import read_cost_csv
from lossmatrix.compare.splits import splits
from lossmatrix.compare.task import Task, UserInputError

COSTS = "true\\pred,bad,good\nbad,0,5\ngood,1,0\n"
ROWS = "age,town,risk\n31,Ulm,good\n,Bonn,bad\n58,,good\n22,Ulm,bad\n"


def write(folder: Path, **files: str) -> dict[str, Path]:
    paths = {name: folder / f"{name}.csv" for name in files}
    for name, text in files.items():
        paths[name].write_text(text, encoding="utf-8")
    return paths


def test_digits_cost_more_when_too_much_is_paid() -> None:
    costs = digits().costs
    assert costs.entry("3", "5") == 8
    assert costs.entry("5", "3") == 2
    assert costs.entry("4", "4") == 0


def test_a_table_has_numbers_words_and_missing_cells(tmp_path: Path) -> None:
    paths = write(tmp_path, data=ROWS, costs=COSTS)
    task = table(paths["data"], "risk", paths["costs"])
    assert task.target.tolist() == [1, 0, 1, 0]
    assert isinstance(task.features, pandas.DataFrame)
    assert list(task.features) == ["age", "town"]
    assert task.features.isna().sum().tolist() == [1, 1]


def test_classes_that_look_like_numbers_keep_their_spelling(tmp_path: Path) -> None:
    costs = "true\\pred,01,1\n01,0,5\n1,1,0\n"
    paths = write(tmp_path, data="x,y\n1,01\n2,1\n3,01\n", costs=costs)
    assert table(paths["data"], "y", paths["costs"]).target.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("data", "costs", "sentence"),
    [
        ("age,town\n3,Ulm\n", COSTS, "needs a column 'risk'"),
        ("risk\ngood\nbad\n", COSTS, "columns of features"),
        (ROWS.replace("bad", ""), COSTS, "2 of the 4 cells of column 'risk'"),
        (ROWS.replace("good", "fine"), COSTS, "Class 'fine' is only in the table"),
        (ROWS.replace("bad", "good"), COSTS, "Class 'bad' is only in the cost file"),
        (ROWS.replace("31", "inf"), COSTS, "1 of 4 rows"),
        ("age,risk\n", COSTS, "no rows"),
        ("", COSTS, "cannot be read: No columns"),
        ('a,b\n"1,2\n', COSTS, "cannot be read: Error tokenizing"),
        (ROWS, COSTS.replace("true\\pred", "pred\\true"), "rows are predictions"),
        (ROWS, COSTS.replace("5", "five"), "not a number"),
        (ROWS, "true\\pred,bad,wait\nbad,0,5\ngood,1,0\n", "no column for 'good'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_one_sentence(
    tmp_path: Path, data: str, costs: str, sentence: str
) -> None:
    paths = write(tmp_path, data=data, costs=costs)
    with pytest.raises(UserInputError, match=re.escape(sentence)) as error:
        table(paths["data"], "risk", paths["costs"])
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, costs=COSTS)
    with pytest.raises(UserInputError, match=r"no file .*absent\.csv"):
        table(tmp_path / "absent.csv", "risk", paths["costs"])
    with pytest.raises(UserInputError, match=r"no file .*absent\.csv"):
        table(paths["costs"], "risk", tmp_path / "absent.csv")


def test_columns_of_costs_are_put_in_the_order_of_the_classes(tmp_path: Path) -> None:
    text = "true\\pred,good,wait,bad\nbad,5,2,0\ngood,0,2,1\n"
    costs = read_cost_csv(write(tmp_path, costs=text)["costs"])
    assert list(costs.decisions) == ["bad", "good", "wait"]
    assert costs.entry("bad", "good") == 5


# --- formats -------------------------------------------------------------------------------------


def frame() -> pandas.DataFrame:
    return pandas.DataFrame(
        {"age": [31, None, 58, 22], "risk": ["good", "bad", "good", "bad"], "cost": [1.5, 2, 3, 4]}
    )


@pytest.mark.parametrize("kind", ["comma", "semicolon", "tab", "mark", "packed", "parquet"])
def test_one_table_is_read_alike_in_every_format(tmp_path: Path, kind: str) -> None:
    costs = write(tmp_path, costs=COSTS)["costs"]
    path = tmp_path / {"packed": "t.csv.gz", "parquet": "t.parquet"}.get(kind, "t.csv")
    separator = {"semicolon": ";", "tab": "\t"}.get(kind, ",")
    if kind == "parquet":
        frame().to_parquet(path)
    else:
        encoding = "utf-8-sig" if kind == "mark" else "utf-8"
        frame().to_csv(path, index=False, sep=separator, encoding=encoding)
    task = table(path, "risk", costs)
    assert task.target.tolist() == [1, 0, 1, 0]
    assert isinstance(task.features, pandas.DataFrame)
    pandas.testing.assert_frame_equal(task.features, frame()[["age", "cost"]])


def test_classes_that_are_numbers_in_parquet_are_names(tmp_path: Path) -> None:
    costs = write(tmp_path, costs="true\\pred,0,1\n0,0,5\n1,1,0\n")["costs"]
    pandas.DataFrame({"x": [1.0, 2.0], "y": [1, 0]}).to_parquet(tmp_path / "t.parquet")
    assert table(tmp_path / "t.parquet", "y", costs).target.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"age;risk\n1,5;good\n2,5;bad\n", "decimals with commas"),
        ("age,town,risk\n1,Köln,good\n".encode("latin-1"), "is not in UTF-8, as byte 18 shows"),
        ("age,risk\n1,good\n".encode("utf-16"), "is not in UTF-8"),
    ],
)
def test_a_table_in_another_writing_is_one_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    costs = write(tmp_path, costs=COSTS)["costs"]
    with pytest.raises(UserInputError, match=sentence) as error:
        table(tmp_path / "t.csv", "risk", costs)
    assert "\n" not in str(error.value)


def test_a_broken_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"no such thing")
    costs = write(tmp_path, costs=COSTS)["costs"]
    with pytest.raises(UserInputError, match=r"t\.parquet cannot be read"):
        table(tmp_path / "t.parquet", "risk", costs)


# --- scores and costs per row --------------------------------------------------------------------


def test_given_probabilities_and_logits_are_scores(tmp_path: Path) -> None:
    text = "id,bad,truth,good\n1,0.25,bad,0.75\n2,1,good,0\n"
    paths = write(tmp_path, scores=text, costs=COSTS)
    task = scores_table(paths["scores"], "probs", "truth", paths["costs"])
    assert task.target.tolist() == [0, 1]
    numpy.testing.assert_allclose(
        numpy.exp(task.scores["scores"]), [[0.25, 0.75], [1, 0]], rtol=1e-12
    )
    given = scores_table(paths["scores"], "logits", "truth", paths["costs"])
    assert given.scores["scores"].tolist() == [[0.25, 0.75], [1, 0]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bad,good,truth\n0.5,0.5,bad\n0.5,0.6,good\n", "Row 2 of .* holds no probabilities"),
        ("bad,good,truth\n0.5,0.5,bad\n-1,2,good\n", "Row 2 of .* holds no probabilities"),
        ("bad,good,truth\n0.5,0.5,bad\nx,1,good\n", "Row 2 of .* holds no probabilities"),
        ("bad,truth\n0.5,bad\n", "no column 'good'"),
        ("bad,good\n0.5,0.5\n", "no column 'truth'"),
    ],
)
def test_scores_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    paths = write(tmp_path, scores=text, costs=COSTS)
    with pytest.raises(UserInputError, match=sentence):
        scores_table(paths["scores"], "probs", "truth", paths["costs"])


def test_a_column_may_hold_the_costs_of_each_row(tmp_path: Path) -> None:
    costs = write(tmp_path, costs=COSTS)["costs"]
    frame().to_csv(tmp_path / "t.csv", index=False)
    task = table(tmp_path / "t.csv", "risk", costs, ["bad,good=cost"])
    assert isinstance(task.features, pandas.DataFrame)
    assert list(task.features) == ["age"]
    assert task.decision_costs(numpy.arange(4)).tolist() == [[1, 0], [0, 2], [1, 0], [0, 4]]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("bad,good", "TRUTH,DECISION=COLUMN"),
        ("bad,good=price", "column 'price'"),
        ("bad,good=age", "column 'age'"),
        ("worse,good=cost", "no class 'worse'"),
    ],
)
def test_costs_per_row_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, given: str, sentence: str
) -> None:
    costs = write(tmp_path, costs=COSTS)["costs"]
    frame().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserInputError, match=sentence):
        table(tmp_path / "t.csv", "risk", costs, [given])


def test_encoding_uses_statistics_of_training_rows_only() -> None:
    features = pandas.DataFrame(
        {"x": [1.0, 3.0, None, 1000.0], "town": ["Ulm", None, "Ulm", "Rome"]}
    )
    encoded = encode(features, numpy.array([0, 1, 2]))
    x, missing, without_name, ulm = encoded.T
    numpy.testing.assert_allclose(x[:3], [-(1.5**0.5), 1.5**0.5, 0], atol=1e-12)
    assert missing[2] > missing[0] == missing[3]
    assert without_name.tolist() == [0, 1, 0, 0]
    assert ulm.tolist() == [1, 0, 1, 0]  # Rome was never trained on: all zeros


def task_of(target: list[int], **stored: numpy.ndarray) -> Task:
    features = numpy.zeros((len(target), 1))
    return Task("t", "t", digits().costs, numpy.array(target), features=features, **stored)


def test_every_row_is_tested_once_a_seed_and_never_trains_there() -> None:
    task = task_of([*range(10)] * 12)
    for seed in (0, 1):
        plan = [split for split in splits(task, 2) if split.seed == seed]
        tested = numpy.concatenate([split.test for split in plan])
        assert sorted(tested) == [*range(120)]
        for split in plan:
            parts = numpy.concatenate([split.fit, split.validation, split.test])
            assert sorted(parts) == [*range(120)]
            assert len(split.validation) == pytest.approx(0.2 * 96, abs=2)


def test_stored_folds_are_the_first_seed_and_are_redrawn_for_the_next() -> None:
    folds = numpy.arange(120) // 40
    plan = list(splits(task_of([*range(10)] * 12, folds=folds), 2))
    assert len(plan) == 6
    for fold in range(3):
        assert (folds[plan[fold].test] == fold).all()
        assert len(set(folds[plan[3 + fold].test])) == 3


def test_stored_parts_are_kept() -> None:
    parts = numpy.array(["train"] * 60 + ["val"] * 20 + ["test"] * 40)
    (split,) = splits(task_of([*range(10)] * 12, parts=parts), 1)
    assert (len(split.fit), len(split.validation), len(split.test)) == (60, 20, 40)
    parts[60:80] = "train"
    (split,) = splits(task_of([*range(10)] * 12, parts=parts), 1)
    assert (len(split.fit), len(split.validation), len(split.test)) == (64, 16, 40)


@pytest.mark.parametrize(
    ("target", "parts", "sentence"),
    [
        ([*range(10)] * 6 + [9], None, None),
        ([*range(10)], None, "too few for 5 folds"),
        ([*range(10)] * 2, ["all"] * 20, "names 'all', but"),
    ],
)
def test_splits_without_rows_are_refused(
    target: list[int], parts: list[str] | None, sentence: str | None
) -> None:
    task = task_of(target, parts=None if parts is None else numpy.array(parts))
    if sentence is None:
        assert len(list(splits(task, 1))) == 5
    else:
        with pytest.raises(UserInputError, match=sentence):
            list(splits(task, 1))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_class_that_is_too_rare_is_tested_and_never_held_out(grouped: bool) -> None:
    target = [*range(9)] * 12 + [9] * 3
    groups = numpy.arange(len(target)) // 2 if grouped else None
    task = task_of(target, groups=groups)
    plan = list(splits(task, 1))
    assert sorted(numpy.concatenate([split.test for split in plan])) == [*range(len(target))]
    for split in plan:
        for part in (split, *split.others):
            assert 9 in task.target[part.fit]
            assert 9 not in task.target[part.validation]
            assert len(part.validation)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ([*range(9)] * 6 + [9], None),
        ([*range(10)] * 9, (["train"] * 9 + ["test"]) * 9),
    ],
)
def test_a_class_without_a_row_to_learn_from_is_pointed_out(
    target: list[int], parts: list[str] | None
) -> None:
    task = task_of(target, parts=None if parts is None else numpy.array(parts))
    with pytest.warns(UserWarning, match="no row of class '9', which cannot be learned there"):
        plan = list(splits(task, 1))
    assert any(9 in task.target[split.test] for split in plan)
