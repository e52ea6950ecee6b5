# SPDX-License-Identifier: BSD-3-Clause
"""Cost matrices in CSV files and DataFrames: what is read, what is refused, what survives."""

from __future__ import annotations

import builtins
import bz2
import gzip
import locale
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas
import polars
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lossmatrix as lm
from lossmatrix.costs import as_costs

GOOD = "true\\pred,cat,dog\ncat,0,1.5\ndog,4,0\n"
EXPECTED = lm.Dense([[0, 1.5], [4, 0]], classes=["cat", "dog"])


def read(folder: Path, text: str | bytes, **options: object) -> lm.Dense:
    path = folder / "costs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return lm.Dense.from_csv(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip(),
        GOOD + "\n\n,,\n",
        GOOD.replace(",", ", "),
        GOOD.replace("true\\pred", "Truth / Prediction"),
        GOOD.replace("true\\pred", "actual"),
        GOOD.replace("cat", '"cat"').replace("1.5", "15e-1"),
    ],
)
def test_the_same_table_is_read_from_every_hand(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == EXPECTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no table"),
        ("true\\pred,cat,dog\n", "holds no table"),
        (GOOD.replace(",", ";").replace(".", ","), "semicolons between its cells"),
        (GOOD.replace(",", "\t"), "tabs between its cells"),
        ("true\\pred\ncat\n", "has one column: save it with commas"),
        (GOOD.encode("utf-16"), "not a UTF-8 CSV file"),
        ("true\\pred,Kät\nKät,0\n".encode("latin-1"), "not a UTF-8 CSV file"),
        (GOOD.replace("dog,4", '"dog,4'), "not a UTF-8 CSV file"),
        (GOOD.replace("4,0", "4"), "line 3: got 1 costs for 2 decisions"),
        (GOOD.replace("4,0", "4,0,0"), "line 3: got 3 costs for 2 decisions"),
        (GOOD.replace("4,0", "x,0"), "'cat' when the truth is 'dog' is 'x', which is not a"),
        (GOOD.replace("4,0", ",0"), "is '', which is not a number"),
        (GOOD.replace("4,0", "1_0,0"), "is '1_0', which is not a number"),
        (GOOD.replace("4,0", "nan,0"), r"is 'nan', which is not a number\.$"),
        (GOOD.replace("dog,4,0", "cat,4,0"), "class name 'cat' is used twice"),
        (GOOD.replace("pred,cat,dog", "pred,cat,cat"), "decision name 'cat' is used twice"),
        (GOOD.replace("dog,4,0", ",4,0"), "class 1 has no name"),
        (GOOD.replace("pred,cat,dog", "pred,cat,"), "decision 1 has no name"),
        (GOOD.replace("true\\pred", "pred\\true"), "rows are predictions.*from_predicted_rows"),
        (GOOD.replace("true\\pred", "Predicted"), "rows are predictions"),
        (GOOD.replace("true\\pred", ""), r"corner cell '' does not say .*true\\pred.*rows="),
        (GOOD.replace("true\\pred", "class"), "corner cell 'class' does not say"),
        (GOOD.replace("4,0", "-inf,0"), "is '-inf', which is not a number"),
        (GOOD.replace("4,0", "1e400,0"), "line 3: .*'cat' when .* is '1e400', which no float64"),
        (GOOD.replace("4,0", "-9E999,0"), r"is '-9E999', .* or inf to forbid a decision\.$"),
        (GOOD.replace("4,0", "0.01e-400,0"), "is '0.01e-400', which no float64 holds"),
        (GOOD.replace("4,0", "inf,inf"), "every decision is forbidden"),
    ],
)
def test_what_is_no_cost_table_is_refused_in_one_sentence(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["inf", "+Inf", "Infinity", "INFINITY"])
def test_only_a_written_infinity_forbids_a_decision(tmp_path: Path, text: str) -> None:
    for nothing in ("0e-999", "-0.0E-999", "+.0"):
        costs = read(tmp_path, GOOD.replace("4,0", f"{text},{nothing}"))
        assert costs.to_dense()[1].tolist() == [float("inf"), 0]


def test_a_quoted_name_may_run_over_lines_of_any_kind(tmp_path: Path) -> None:
    text = 'true\\pred,"a\r\nb","c\nd"\n"a\r\nb",0,1\n"c\nd",2,0\n'
    assert read(tmp_path, text).classes == ("a\r\nb", "c\nd")
    (tmp_path / "costs.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert lm.Dense.from_csv(tmp_path / "costs.csv.gz").classes == ("a\r\nb", "c\nd")


def test_files_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    costs = lm.Dense([[0, 1], [2, 0]], ["Kätzchen", "猫"])
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        costs.to_csv(tmp_path / "costs.csv")
        assert lm.Dense.from_csv(tmp_path / "costs.csv") == costs
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    text = "true\\pred,Kätzchen,猫\nKätzchen,0,1\n猫,2,0\n"
    assert (tmp_path / "costs.csv").read_bytes() == text.encode()


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip), (".bz2", bz2)])
def test_a_compressed_file_holds_what_a_plain_one_does(
    tmp_path: Path, suffix: str, opener: ModuleType
) -> None:
    before = locale.setlocale(locale.LC_CTYPE)
    costs = lm.Dense([[0, 1], [2, 0]], ["Kätzchen", "猫\nmit Hut"])
    path = tmp_path / f"costs.csv{suffix}"
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        costs.to_csv(path)
        assert lm.Dense.from_csv(path) == costs
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    text = 'true\\pred,Kätzchen,"猫\nmit Hut"\nKätzchen,0,1\n"猫\nmit Hut",2,0\n'
    assert opener.decompress(path.read_bytes()) == text.encode()


def test_rows_can_be_said_where_the_corner_does_not(tmp_path: Path) -> None:
    bare = GOOD.replace("true\\pred", "")
    assert read(tmp_path, bare, rows="truth") == EXPECTED
    turned = lm.Dense([[0, 4], [1.5, 0]], classes=["cat", "dog"])
    assert read(tmp_path, bare, rows="predicted") == turned
    assert read(tmp_path, GOOD.replace("true\\pred", "pred\\true"), rows="predicted") == turned
    text = "pred\\true,cat,dog\ncat,0,4\ndog,1.5,0\nask,0.5,0.75\n"
    more = read(tmp_path, text, rows="predicted")
    assert more == lm.Dense([[0, 1.5, 0.5], [4, 0, 0.75]], ["cat", "dog"], ["cat", "dog", "ask"])
    with pytest.raises(ValueError, match="rows are predictions"):
        read(tmp_path, GOOD.replace("true\\pred", "pred\\true"), rows="truth")
    with pytest.raises(ValueError, match="does not say that rows are predicted"):
        read(tmp_path, GOOD, rows="predicted")


def test_classes_give_the_order_wanted(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD, classes=["dog", "cat"]).to_dense().tolist() == [[0, 4], [1.5, 0]]
    with pytest.raises(ValueError, match="differ: bird, dog"):
        read(tmp_path, GOOD, classes=["cat", "bird"])


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lm.Dense.from_csv(tmp_path / "none.csv")


names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(
        lambda name: name == name.strip()
    ),
    min_size=1,
    max_size=4,
    unique=True,
)


@given(classes=names, decisions=names, data=st.data())
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    classes: list[str],
    decisions: list[str],
    data: st.DataObject,
) -> None:
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    row = st.lists(numbers, min_size=len(decisions), max_size=len(decisions))
    table = data.draw(st.lists(row, min_size=len(classes), max_size=len(classes)))
    costs = lm.Dense(table, classes, decisions)
    path = tmp_path_factory.mktemp("csv") / "costs.csv"
    costs.to_csv(path)
    assert lm.Dense.from_csv(path) == costs


def test_whole_numbers_are_written_short_and_forbidden_ones_as_inf(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    costs = lm.Dense([[0, 1e16, 0.1], [float("inf"), 0, -2]], ["a", 'b"'], ["a", 'b"', "c,d"])
    costs.to_csv(path)
    text = 'true\\pred,a,"b""","c,d"\na,0,1e+16,0.1\n"b""",inf,0,-2\n'
    assert path.read_bytes() == text.encode()
    assert lm.Dense.from_csv(str(path)) == costs


def test_writing_replaces_the_file_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "costs.csv"
    EXPECTED.to_csv(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()
    link = tmp_path / "link.csv"
    link.symlink_to(path)

    def fail(*_: object) -> None:
        assert len(os.listdir(tmp_path)) == 3  # the draft lies beside the file
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        lm.Dense([[7]]).to_csv(path)
    monkeypatch.undo()
    assert path.read_text() == GOOD
    assert sorted(os.listdir(tmp_path)) == ["costs.csv", "link.csv"]
    lm.Dense([[7]]).to_csv(link)
    assert link.is_symlink()
    assert path.read_text() == "true\\pred,0\n0,7\n"


def test_a_link_to_itself_is_replaced_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.symlink_to("costs.csv")
    lm.Dense([[7]]).to_csv(path)
    assert lm.Dense.from_csv(path).to_dense().tolist() == [[7]]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_names_that_would_not_survive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    with pytest.raises(ValueError, match="cannot keep ' b': outer spaces"):
        lm.Dense([[0, 1], [1, 0]], ["a", " b"]).to_csv(path)
    with pytest.raises(ValueError, match=r"cannot keep 'a\\rb': .* a line end in it"):
        lm.Dense([[0, 1], [1, 0]], ["a\rb", "b"]).to_csv(path)
    assert not path.exists()


# ---- DataFrames ----------------------------------------------------------------------------------


def test_a_data_frame_goes_out_and_in() -> None:
    costs = lm.Dense([[0, 1.5, 3], [4, 0, 3]], ["cat", "dog"], ["cat", "dog", "ask"])
    frame = costs.to_dataframe()
    assert frame.loc["dog", "cat"] == 4
    assert (frame.index.name, frame.columns.name) == ("true", "pred")
    assert lm.Dense.from_dataframe(frame) == costs
    frame.loc["dog", "cat"] = 9
    assert costs.entry("dog", "cat") == 4
    turned = lm.Dense.from_dataframe(costs.to_dataframe(), classes=["dog", "cat"])
    assert turned.entry("dog", "cat") == 4
    assert turned.classes == ("dog", "cat")
    narrow = costs.to(dtype=torch.float32)
    assert lm.Dense.from_dataframe(narrow.to_dataframe()) == narrow


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pandas.DataFrame([[0, 1], [2, 0]], columns=["a", "b"]), "class 0 has no name: got 0"),
        (pandas.DataFrame([[0, 1], [2, 0]], index=["a", "b"]), "decision 0 has no name: got 0"),
        (pandas.DataFrame([["x", 1]], index=["a"], columns=["a", "b"]), "rows of numbers"),
        (pandas.DataFrame([[float("nan"), 1.0]], index=["a"], columns=["a", "b"]), "NaN"),
        (EXPECTED.to_dataframe().T, "rows must be truths; pass frame.T"),
        (EXPECTED.to_dataframe().rename_axis(index="predicted", columns=None), "truths"),
        (EXPECTED.to_dataframe().rename_axis(index=None, columns="actual"), "truths"),
    ],
)
def test_a_data_frame_without_names_or_turned_round_is_refused(
    frame: pandas.DataFrame, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lm.Dense.from_dataframe(frame)


WIDE = {"cat": [0, 4], "ask": [3.0, 2.5], "dog": [1.5, 0]}
LONG = {"truth": ["cat", "cat", "dog", "dog"], "decision": ["dog", "cat"] * 2}
LONG |= {"cost": [1.5, 0, 0, 4], "note": list("abcd")}


def frame_of(library: str, columns: dict[str, list[object]], rows: str = "truth") -> object:
    """The table with the names of its rows where the library has them, and what they are."""
    names = ["cat", "dog"] if rows else None
    if library == "pandas":
        return pandas.DataFrame(columns, index=names and pandas.Index(names, name=rows))
    return polars.DataFrame(({rows: names} if names else {}) | columns, strict=False)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_is_a_table_with_its_names(library: str) -> None:
    frame = frame_of(library, WIDE)
    expected = lm.Dense([[0, 1.5, 3], [4, 0, 2.5]], ["cat", "dog"], ["cat", "dog", "ask"])
    for read in (lm.Dense, as_costs, lm.Dense.from_dataframe):
        assert read(frame) == expected  # type: ignore[operator]
    assert lm.Dense.from_dataframe(frame, classes=["dog", "cat"]) == expected.reorder(
        ["dog", "cat"]
    )
    gains = lm.Dense.from_gains(frame)  # type: ignore[arg-type]
    assert gains.entry("dog", "ask") == -2.5
    turned = lm.Dense.from_predicted_rows(
        frame_of(library, {"dog": [1, 0], "cat": [0, 5]}, rows="decision")
    )
    assert (turned.classes, turned.entry("cat", "dog")) == (("dog", "cat"), 5)
    counts = lm.Dense.from_confusion(
        frame_of(library, {"dog": [1, 3], "cat": [1, 1]}), frequent="cheap"
    )
    assert counts.entry("dog", "cat") == 0.75
    assert lm.average_cost(torch.tensor([2]), torch.tensor([1]), frame) == 2.5
    assert lm.Dense(frame, classes=["cat", "dog"]) == expected
    with pytest.raises(ValueError, match=r"frame has names of its own .cat, dog.: leave out those"):
        lm.Dense(frame, classes=["dog", "cat"])
    with pytest.raises(ValueError, match=r"pass frame.to_numpy"):
        lm.LowRank(frame, frame)
    assert lm.Dense.from_long(frame_of(library, LONG, rows="")) == EXPECTED
    with pytest.raises(ValueError, match="needs the columns truth, decision, cost: this frame has"):
        lm.Dense.from_long(frame)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_exceptions_edges_and_paths_are_rows_of_a_frame(library: str) -> None:
    rows = [("dog", "cat", 4.0), ("cat", "ant", 1.5)]
    names = "truth", "decision", "cost"
    columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    frame: Any = frame_of(library, {"note": list("ab")} | columns, rows="")
    assert lm.Sparse(["ant", "cat", "dog"], frame) == lm.Sparse(["ant", "cat", "dog"], rows)
    edges = [("cat", "pet"), ("pet", "animal"), ("ant", "animal")]
    of_edges: Any = frame_of(
        library, {"parent": [a for _, a in edges], "child": [c for c, _ in edges]}, rows=""
    )
    assert lm.Tree.from_edges(of_edges) == lm.Tree.from_edges(edges)
    paths = [("animal", "pet", "cat"), ("animal", "ant", None)]
    levels = {name: [path[k] for path in paths] for k, name in enumerate("xyz")}
    of_paths: Any = frame_of(library, levels, rows="")
    assert lm.Tree(of_paths) == lm.Tree([("animal", "pet", "cat"), ("animal", "ant")])
    if library == "pandas":  # which has a missing string of its own
        assert lm.Tree(of_paths.astype("string")) == lm.Tree(of_paths)
    with pytest.raises(ValueError, match="needs the columns child, parent: this frame has x, y, z"):
        lm.Tree.from_edges(of_paths)
    with pytest.raises(ValueError, match="needs the columns truth, decision, cost"):
        lm.Sparse(3, of_paths)
    with pytest.raises(ValueError, match="path 1 must be the names from the top to the class"):
        lm.Tree(frame_of(library, {"x": ["a", None], "y": ["b", None]}, rows=""))  # type: ignore[arg-type]


def test_the_first_column_of_a_frame_without_an_index_says_what_its_names_are() -> None:
    columns = {"predicted": ["cat", "dog"], "cat": [0, 4], "dog": [1.5, 0]}
    frame = polars.DataFrame(columns, strict=False)
    with pytest.raises(ValueError, match=r"the rows are named 'predicted' .* must be truths"):
        lm.Dense(frame)
    assert lm.Dense.from_predicted_rows(frame).entry("cat", "dog") == 4


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_columns_of_costs_per_sample_are_decisions(library: str) -> None:
    costs = lm.PerExample(frame_of(library, WIDE, rows=""))
    assert costs.decisions == ("cat", "ask", "dog") == costs.classes
    assert costs.row(torch.tensor([0, 0]), torch.tensor([0, 1])).tolist() == [
        [0, 3, 1.5],
        [4, 2.5, 0],
    ]


def test_a_frame_without_names_is_a_table_without_names() -> None:
    table = [[0, 1], [5, 0]]
    assert lm.Dense(pandas.DataFrame(table)) == lm.Dense(table)
    for odd, message in [
        (
            pandas.DataFrame(table, index=[1, 2], columns=[1, 2]),
            r"names must be strings; .*str\(c\)",
        ),
        (pandas.DataFrame(WIDE), "class 0 has no name: got 0"),
        (
            pandas.DataFrame({"true": ["a"], "a": [0]}),
            r"make their names the index, frame.set_index\('true'\)",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            lm.Dense(odd)
    with pytest.raises(ValueError, match=r"class 0 has no name: got 1, but .* strings; .*str\(c\)"):
        lm.Dense(table, classes=[1, 2])


def test_without_pandas_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without_pandas(name: str, *rest: object) -> object:
        if name == "pandas":
            raise ImportError(name)
        return load(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match="needs pandas: pip install pandas"):
        EXPECTED.to_dataframe()


@pytest.mark.parametrize("kind", ["nullable", "pyarrow", "object"])
def test_frames_may_keep_their_numbers_in_any_way(kind: str) -> None:
    names = ["a", "b"]
    frame = pandas.DataFrame([[0, 1.5], [5, 0]], index=names, columns=names)
    if kind == "object":
        frame = frame.astype(object)
    else:
        backend = "pyarrow" if kind == "pyarrow" else "numpy_nullable"
        frame = frame.convert_dtypes(dtype_backend=backend)
    costs = lm.Dense(frame)
    assert costs.to_dense().tolist() == [[0.0, 1.5], [5.0, 0.0]]
    assert list(costs.classes) == names


def test_a_frame_that_calls_its_rows_decisions_is_no_table_of_truths() -> None:
    names = ["a", "b"]
    rows, columns = pandas.Index(names, name="predicted"), pandas.Index(names, name="true")
    frame = pandas.DataFrame([[0, 1], [9, 0]], index=rows, columns=columns)
    for read in (lm.Dense, lm.Dense.from_dataframe, lm.as_costs):
        with pytest.raises(ValueError, match=r"rows must be truths; pass frame\.T"):
            read(frame)
    assert lm.Dense.from_predicted_rows(frame).entry("b", "a") == 1
    with pytest.raises(ValueError, match=r"rows must be decisions; pass frame\.T"):
        lm.Dense.from_predicted_rows(frame.T)
    with pytest.raises(ValueError, match=r"the columns 'pred': rows must be decisions"):
        lm.Dense.from_predicted_rows(frame.T.rename_axis(index=None, columns="pred"))
    with pytest.raises(ValueError, match=r"are not the classes: class 1 is 'b'"):
        lm.Dense.from_confusion(frame.T.rename(columns={"b": "c"}), frequent="cheap")
    assert lm.Dense(frame.T).entry("b", "a") == 1


@pytest.mark.parametrize(
    ("read", "remedy"),
    [(lm.Dense, "Dense.from_predicted_rows"), (lm.Dense.from_predicted_rows, "Dense")],
    ids=["truths", "decisions"],
)
def test_a_frame_that_names_its_rows_the_other_way_is_told_what_reads_it(
    read: Callable[[object], lm.Dense], remedy: str
) -> None:
    truths_in_rows = pandas.DataFrame(
        [[0, 1], [2, 0]],
        index=pandas.Index(["a", "b"], name="true"),
        columns=pandas.Index(["a", "b"], name="predicted"),
    )
    frame = truths_in_rows if read == lm.Dense.from_predicted_rows else truths_in_rows.T
    with pytest.raises(ValueError, match=rf"pass frame\.T, or use {remedy}\.$"):
        read(frame)
    for half in (frame.rename_axis(columns=None), frame.rename_axis(index=None)):
        with pytest.raises(ValueError, match=rf"or use {remedy}\.$"):
            read(half)
    right = read(frame.T)
    assert (right.entry("a", "b"), right.entry("b", "a")) == (1, 2)
