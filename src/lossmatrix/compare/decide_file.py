# SPDX-License-Identifier: BSD-3-Clause
"""Decisions for files of probabilities of any length, a block of rows at a time."""
# joblib, pandas and pyarrow carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy
import pandas
import torch
from joblib import Parallel, delayed
from pyarrow import Table
from pyarrow.parquet import ParquetFile, ParquetWriter

from lossmatrix.compare.io import (
    is_parquet,
    normalized_probs,
    read,
    read_frame,
    separator,
    to_numbers,
)
from lossmatrix.compare.outputs import writing
from lossmatrix.compare.task import Indices, Numbers, UserInputError, quoted
from lossmatrix.compare.visible import data_stream
from lossmatrix.costs import CostMatrix
from lossmatrix.costs.io import delimiter_of, open_text, write_atomically
from lossmatrix.decide import conditional_risk, shift_priors
from lossmatrix.metrics import average_cost, normalized_cost

BLOCK = 2**21  # numbers of one block of rows, which bounds memory
ADDED = ("decision", "expected_cost")


def decide_files(
    sources: Sequence[Path],
    costs: CostMatrix,
    priors: tuple[Numbers, Numbers] | None,
    outs: Sequence[Path],
    truth: str | None = None,
) -> Indices:
    """`decide_file` of each file, where `joblib.parallel_config` says; their counts, summed.

    Counts are whole numbers, so that they are those of all rows in one file.
    """
    call = delayed(decide_file)
    calls = (  # whose paths hold in whatever folder a worker was started
        call(source.absolute(), costs, priors, out.absolute(), truth)
        for source, out in zip(sources, outs, strict=True)
    )
    made: Any = Parallel()(calls)
    return numpy.sum(made, axis=0)


def decide_file(
    source: Path,
    costs: CostMatrix,
    priors: tuple[Numbers, Numbers] | None,
    out: Path | None,
    truth: str | None = None,
) -> Indices:
    """Write the least expensive decision of every row, and count (2, T, K) how often each is taken.

    `source` has a column of probabilities for each class; the other columns are passed on, with
    `decision` and `expected_cost` behind them, to the CSV or Parquet file `out`, compressed where
    its name says so, or as CSV to the terminal. `priors` are the old and the new class frequencies
    (C,). Memory does not grow with the file, and `out` appears when it is complete.

    The second count is of the likeliest class. T is the number of classes where a column names the
    `truth` of each row, else 1.

    Raises `UserInputError` for a file without these columns and for rows that are no probabilities.
    """
    truths = 1 if truth is None else costs.num_classes
    counts = numpy.zeros((2, truths, costs.num_decisions), numpy.int64)
    rows = decided_blocks(source, costs, priors, counts, truth)
    if out is None:
        write_csv(rows, data_stream())
        return counts
    with writing(out), write_atomically(out) as draft:
        if is_parquet(out):
            write_parquet(rows, draft)
        else:
            with open_text(draft, "xt") as file:
                write_csv(rows, file, delimiter_of(out))
    return counts


def decided_blocks(
    source: Path,
    costs: CostMatrix,
    priors: tuple[Numbers, Numbers] | None,
    counts: Indices,
    truth: str | None,
) -> Iterator[pandas.DataFrame]:
    """The rows of a file with their decisions, which are added to `counts` (2, T, K)."""
    names, first_row = numpy.array(costs.decisions), 1
    for rows in blocks(source, costs):
        array = to_numbers(rows[list(costs.classes)])
        probs = torch.from_numpy(normalized_probs(array, source, first_row))
        if priors is not None:
            probs = shift_priors(probs, *map(torch.from_numpy, priors))
        risk = conditional_risk(probs, costs).numpy()
        chosen = risk.argmin(1)
        true: Any = 0 if truth is None else class_numbers(rows, truth, costs, source, first_row)
        for table, taken in zip(counts, (chosen, probs.argmax(1).numpy()), strict=True):
            numpy.add.at(table, (true, taken), 1)
        first_row += len(rows)
        added = dict(zip(ADDED, (names[chosen], risk.min(1)), strict=True))
        yield rows.drop(columns=list(costs.classes)).assign(**added)


def class_numbers(
    rows: pandas.DataFrame, truth: str, costs: CostMatrix, source: Path, first_row: int
) -> Indices:
    """The number of the class that a column names in each row."""
    if truth not in rows:
        raise UserInputError(f"{source} has no column {truth!r}: it has {quoted(list(rows))}.")
    found = pandas.Index(list(costs.classes)).get_indexer(rows[truth].map(str))
    if (found < 0).any():
        row = int(found.argmin())
        name = str(rows[truth].iloc[row])
        raise UserInputError(
            f"Row {first_row + row} of {source} has {name!r} in column {truth!r}, which is none of "
            f"the classes {quoted(costs.classes)}."
        )
    return found


def measured(counts: Indices, costs: CostMatrix) -> list[tuple[float, float, float]]:
    """Accuracy, average and normalised cost of each table of counts (C, K), truths in its rows."""
    truth, decision = map(torch.from_numpy, numpy.indices(costs.shape))
    found: list[tuple[float, float, float]] = []
    for table in map(torch.from_numpy, counts):
        pairs: Any = {"decision": decision, "target": truth, "sample_weight": table}
        try:
            normalized = normalized_cost(costs=costs.regret(), **pairs).item()
        except ValueError:  # the best constant decision is never, or always infinitely, wrong
            normalized = numpy.nan
        accuracy = (table.trace() / table.sum()).item()
        found.append((accuracy, average_cost(costs=costs, **pairs).item(), normalized))
    return found


def blocks(path: Path, costs: CostMatrix) -> Iterator[pandas.DataFrame]:
    """The rows of a CSV or Parquet file, some at a time; columns that are no class stay as text."""
    if is_parquet(path):
        file = read(path, ParquetFile)
        check_columns(file.schema_arrow.names, path, costs)
        size = max(1, BLOCK // len(file.schema_arrow.names))
        empty = file.schema_arrow.empty_table()  # has the columns, where there are no rows to tell
        batches = iter(file.iter_batches(size) if file.metadata.num_rows else [empty])
        while (batch := read(path, lambda _: cast(Any, next(batches, None)))) is not None:
            yield batch.to_pandas()
        return
    options: dict[str, Any] = {"sep": read(path, separator), "keep_default_na": False}
    names: list[str] = list(read(path, lambda file: pandas.read_csv(file, nrows=0, **options)))  # pyright: ignore[reportUnknownLambdaType]
    check_columns(names, path, costs)
    kinds = {name: "str" for name in names if name not in costs.classes}
    size = max(1, BLOCK // len(names))
    options |= {"dtype": kinds, "chunksize": size}
    table: Any = read(path, lambda file: cast(Any, pandas.read_csv(file, **options)))
    with table:
        while (block := read(path, lambda _: next(table, None))) is not None:
            yield block


def check_columns(names: list[str], path: Path, costs: CostMatrix) -> None:
    """Refuse a file without a column for each class, or with one that would be written twice."""
    absent = [name for name in costs.classes if name not in names]
    if absent:
        raise UserInputError(
            f"{path} has no column {quoted(absent)}: it needs one for each class of the costs, and "
            f"has {quoted(names)}."
        )
    if taken := [name for name in ADDED if name in names]:
        raise UserInputError(f"{path} has a column {taken[0]!r} already: rename it.")


def read_priors(path: Path, costs: CostMatrix) -> tuple[Numbers, Numbers]:
    """Old and new class frequencies from a CSV file with the columns class, old and new."""
    rows, classes = read_frame(path, text=["class"]), sorted(costs.classes)
    if not {"class", "old", "new"} <= set(rows) or sorted(rows["class"].map(str)) != classes:
        raise UserInputError(
            f"{path} needs the columns class, old and new and a row for each of "
            f"{quoted(costs.classes)}: what share each class had, and has now."
        )
    ordered = rows.set_index("class").loc[list(costs.classes), ["old", "new"]]
    old, new = (numbers.copy() for numbers in to_numbers(ordered).T)
    try:
        even = torch.full((1, len(old)), 1 / len(old), dtype=torch.float64)
        shift_priors(even, torch.from_numpy(old), torch.from_numpy(new))
    except ValueError as error:
        raise UserInputError(f"{path} cannot be used: {error}.") from error
    return old, new


def write_csv(blocks: Iterator[pandas.DataFrame], file: Any, delimiter: str = ",") -> None:
    """Write all blocks; the first brings the header."""
    for number, rows in enumerate(blocks):
        rows.to_csv(file, sep=delimiter, index=False, header=number == 0, lineterminator="\n")


def write_parquet(blocks: Iterator[pandas.DataFrame], path: Path) -> None:
    """Write all blocks; the first brings the schema, which the others must fit."""
    first = Table.from_pandas(next(blocks), preserve_index=False)
    with ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for rows in blocks:
            writer.write_table(Table.from_pandas(rows, first.schema, preserve_index=False))
