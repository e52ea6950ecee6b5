# SPDX-License-Identifier: BSD-3-Clause
"""Labelled cost tables in CSV files, and what their corner cell says about rows."""

import csv
import math
import os
import re
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple, TextIO, cast

RowMeaning = Literal["truth", "predicted"]
WORDS: dict[RowMeaning, set[str]] = {
    "truth": {"true", "truth", "actual", "observed", "reference", "label", "target"},
    "predicted": {"pred", "predicted", "prediction", "predictions", "decision", "decided"},
}


class CsvTable(NamedTuple):
    """A labelled table as written."""

    corner: str
    rows: list[str]
    columns: list[str]
    numbers: list[list[float]]


NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|\+?inf(inity)?", re.ASCII | re.IGNORECASE)
SIGNS = b"0123456789.+-eEinftyINFTY"  # of these Python reads the numbers above, and -inf
DAMAGED = EOFError, zlib.error  # what compressed files raise beside OSError
COMPRESSED = {".gz": "gzip", ".bz2": "bz2"}  # and the modules that open it
TEXT = {"": ",", ".csv": ",", ".txt": ",", ".dat": ",", ".data": ",", ".tsv": "\t", ".tab": "\t"}
SEPARATORS = {";": "semicolons between its cells", "\t": "tabs between its cells"}


def meaning_of_rows(corner: str) -> RowMeaning | None:
    r"""What "true\pred" and its like say that rows are; None where they say nothing."""
    words = re.findall(r"[a-z]+", corner.lower())
    return next((rows for word in words for rows in WORDS if word in WORDS[rows]), None)


def delimiter_of(path: str | os.PathLike[str]) -> str:
    """What stands between the cells of a text file of this name; ValueError for other formats.

    >>> delimiter_of("probs.csv.gz")
    ','
    """
    place = Path(path)
    plain = place.with_suffix("") if place.suffix.lower() in COMPRESSED else place
    if (kind := plain.suffix.lower()) not in TEXT:
        raise ValueError(
            f"{path} is no CSV file by its name, which ends in {kind}: name it .csv, or .csv.gz or "
            ".csv.bz2 to have it compressed."
        )
    return TEXT[kind]


def open_text(path: str | os.PathLike[str], mode: Literal["rt", "xt"]) -> TextIO:
    """A text file in UTF-8, compressed where its name says so; a mark of the encoding is read."""
    encoding = "utf-8-sig" if mode == "rt" else "utf-8"
    module = COMPRESSED.get(Path(path).suffix.lower())
    if module is None:
        return open(path, mode, newline="", encoding=encoding)
    return cast(TextIO, import_module(module).open(path, mode, newline="", encoding=encoding))


def read_table(path: str | os.PathLike[str]) -> CsvTable:
    """The table in a comma-separated file; ValueError says where it is not one."""
    try:
        with open_text(path, "rt") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [c.strip() for c in line]) for line in reader if any(line)]
    except (UnicodeDecodeError, csv.Error, *DAMAGED) as error:
        raise ValueError(f"{path} is not a UTF-8 CSV file: {error}.") from error
    if len(lines) < 2:
        raise ValueError(f"{path} holds no table: expected a header and a line for each class.")
    header = lines[0][1]
    if len(header) == 1:
        found = next((what for sign, what in SEPARATORS.items() if sign in header[0]), "one column")
        raise ValueError(f"{path} has {found}: save it with commas, and a point in decimals.")
    table = CsvTable(header[0], [], header[1:], [])
    for number, (name, *cells) in lines[1:]:
        if len(cells) != len(table.columns):
            raise ValueError(
                f"{path}, line {number}: got {len(cells)} costs for {len(table.columns)} decisions."
            )
        table.rows.append(name)
        # The whole line at once, which is fast; what is looked at is what may be no such number.
        costs = _numbers(cells)
        for decision, cell, cost in zip(table.columns, cells, costs, strict=True):
            fault = "" if cost and math.isfinite(cost) else _fault(cell)
            if fault:
                raise ValueError(
                    f"{path}, line {number}: the cost of deciding {decision!r} when the truth is "
                    f"{name!r} is {cell!r}, which {fault}."
                )
        table.numbers.append(costs)
    return table


def _numbers(cells: list[str]) -> list[float]:
    """Cells as numbers; NaN for all of them where one is none."""
    if not "".join(cells).encode().translate(None, SIGNS):
        with suppress(ValueError):
            return [*map(float, cells)]
    return [math.nan] * len(cells)


def _fault(cell: str) -> str:
    """Why a cell is no cost, or nothing."""
    if NUMBER.fullmatch(cell) is None:
        return "is not a number"
    cost, (digits, *_) = float(cell), re.split("e", cell, flags=re.IGNORECASE)
    overflows = math.isinf(cost) and "inf" not in cell.lower()
    if overflows or (cost == 0 and digits.strip("+-.0")):
        return "no float64 holds: write costs in another unit, or inf to forbid a decision"
    return ""


def write_table(path: str | os.PathLike[str], table: CsvTable) -> None:
    """Write a comma-separated file, whole or not at all."""
    if delimiter_of(path) != ",":
        raise ValueError(f"costs are written with commas, and {path} says tabs: name it .csv.")
    for name in (*table.rows, *table.columns):
        if name != name.strip() or "\r" in name:
            raise ValueError(f"a CSV file cannot keep {name!r}: outer spaces, or a line end in it.")
    with write_atomically(path) as draft, open_text(draft, "xt") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([table.corner, *table.columns])
        for name, numbers in zip(table.rows, table.numbers, strict=True):
            # repr is exact; a whole number needs no ".0"
            writer.writerow([name, *(repr(number).removesuffix(".0") for number in numbers)])


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Generator[Path]:
    """A draft beside `path` to write to, which takes its place when the block ends without error.

    Its name ends as that of `path` does, so that both mean one format. So nobody ever sees a
    half-written file, and a block that fails leaves what was there before.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
