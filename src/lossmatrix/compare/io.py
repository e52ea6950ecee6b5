# SPDX-License-Identifier: BSD-3-Clause
"""Files of tables, probabilities and costs; what cannot be read is one sentence with the remedy.

pandas is imported where a table of rows is read: a table of costs needs none.
"""
# pandas carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy

from lossmatrix.compare.task import Numbers, UserInputError, quoted
from lossmatrix.costs import Dense
from lossmatrix.costs.io import DAMAGED, delimiter_of, open_text
from lossmatrix.decide import remedies, sum_tolerance

if TYPE_CHECKING:
    import pandas

Content = TypeVar("Content")


def normalized_probs(array: Numbers, path: Path, first_row: int = 1) -> Numbers:
    """Probabilities (n, C), each row divided by its sum, which rounding may have moved from 1.

    What is taken for rounding is what `decide` takes for it.

    Raises `UserInputError` with the number of the first row that is no distribution over classes.
    """
    total = array.sum(1, keepdims=True)
    missed = abs(total[:, 0] - 1)
    wrong = ~((array >= 0).all(1) & (missed <= sum_tolerance(array.shape[1])))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserInputError(
            f"Row {first_row + row} of {path} holds no probabilities, which are at least 0 and sum "
            f"to 1: its least is {array[row].min():.4g} and its sum {total[row, 0]:.4g}, off by "
            f"{missed[row]:.2g} where rounding explains {sum_tolerance(array.shape[1]):.2g}; for "
            f"logits use compare --logits, else {remedies(1)}."
        )
    return array / total


def log_probs(array: Numbers, path: Path) -> Numbers:
    """Logarithms of probabilities, −∞ of 0."""
    with numpy.errstate(divide="ignore"):
        return numpy.log(normalized_probs(array, path))


def to_numbers(columns: Any) -> Numbers:
    """Columns as numbers (n, k); what is none becomes NaN, for the checks that follow."""
    import pandas

    return columns.apply(pandas.to_numeric, errors="coerce").to_numpy(float)


def check_finite(array: Numbers, path: Path) -> None:
    """Refuse numbers that no network can read."""
    wrong = int((~numpy.isfinite(array)).any(1).sum())
    if wrong:
        raise UserInputError(
            f"{wrong} of {len(array)} rows of {path} hold infinity: give finite numbers, or leave "
            "cells empty, which are replaced by the column's median."
        )


def read_cost_csv(path: Path) -> Dense:
    """The labelled costs of a CSV file, decisions in the order of the classes, others after."""
    costs = read(path, Dense.from_csv)
    if not set(costs.classes) <= set(costs.decisions):
        odd = sorted(set(costs.classes) - set(costs.decisions))
        raise UserInputError(
            f"{path} has no column for {quoted(odd)}: every class needs a column, for deciding it."
        )
    return costs.reorder(costs.classes)


def read_frame(path: Path, text: Sequence[str]) -> pandas.DataFrame:
    """A table; the columns in `text` are kept as written, and only empty cells are missing.

    What has several parts is read as the rows of all of them, one after the other.

    A Parquet file, or a CSV file in UTF-8 with commas, semicolons or tabs between its cells and
    points in its decimals, compressed where its name says so.
    """
    import pandas

    parts = parts_of(path)
    if parts != [path]:
        return pandas.concat([read_frame(part, text) for part in parts], ignore_index=True)
    kinds = dict.fromkeys(text, "str")
    if is_parquet(path):
        rows = read(path, pandas.read_parquet)
        for name in set(text) & set(rows):
            rows[name] = rows[name].where(rows[name].isna(), rows[name].map(str))
        return rows
    options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "dtype": kinds}
    rows: Any = read(path, lambda file: pandas.read_csv(file, sep=separator(file), **options))  # pyright: ignore[reportUnknownLambdaType]
    for name in rows.select_dtypes("str").columns.difference(list(text)):
        if rows[name].dropna().str.fullmatch(r"[+-]?\d+,\d+").all() and rows[name].notna().any():
            raise UserInputError(
                f"Column {name!r} of {path} writes decimals with commas: save them with points."
            )
    if rows.empty:
        raise UserInputError(f"The table {path} has a header but no rows: add the data.")
    return rows


def parts_of(path: Path) -> list[Path]:
    """The files that a path names, in order: itself, those of a folder, or those a pattern fits.

    Of a folder those are the Parquet files, or else the CSV files, that are right in it.
    """
    if path.is_dir():
        found = [*path.glob("[!._]*.parquet")] or [*path.glob("[!._]*.csv")]
    else:
        found = [] if path.exists() else [*map(Path, glob(str(path)))]
    if path.is_dir() and not found:
        raise UserInputError(
            f"The folder {path} holds neither Parquet nor CSV files: check the name."
        )
    return sorted(found) or [path]


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name, else it is CSV; `UserInputError` for other formats."""
    if path.suffix.lower() == ".parquet":
        return True
    try:
        delimiter_of(path)
    except ValueError as error:
        raise UserInputError(
            f"{path} is neither CSV nor Parquet by its name, which ends in {path.suffix}: name it "
            ".csv, .csv.gz, .csv.bz2 or .parquet."
        ) from error
    return False


def separator(path: Path) -> str:
    """What stands between the cells of a CSV file: the sign its first line has most of."""
    with open_text(path, "rt") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def read(path: Path, reader: Callable[[Path], Content]) -> Content:
    """What `reader` makes of a file, or one sentence on why it cannot."""
    if not path.is_file():
        raise UserInputError(f"There is no file {path}: check the name.")
    try:
        return reader(path)
    except UnicodeDecodeError as error:
        raise UserInputError(
            f"{path} is not in UTF-8, as byte {error.start + 1} shows: save it in that encoding."
        ) from error
    except (ValueError, OSError, *DAMAGED) as error:  # what pandas and costs raise for bad files
        reason = " ".join(str(error).split())
        raise UserInputError(f"{path} cannot be read: {reason}") from error
