# SPDX-License-Identifier: BSD-3-Clause
"""Tables with names, as pandas and polars hold them, read without importing either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

from torch import Tensor


@runtime_checkable
class Frame(Protocol):
    """A DataFrame of pandas or polars: the first names its rows in an index, the second cannot."""

    @property
    def columns(self) -> Any:
        """The names of the columns."""
        ...

    def to_numpy(self) -> Any:
        """The numbers."""
        ...

    def __getitem__(self, name: Any, /) -> Any:
        """A column."""
        ...


class Named(NamedTuple):
    """Numbers, and the names of rows and columns; None where nobody gave any."""

    numbers: Any
    rows: list[Any] | None
    columns: list[Any] | None
    row_meaning: str = ""  # what the frame calls its rows
    column_meaning: str = ""


def is_frame(given: object) -> TypeGuard[Frame]:
    """Whether this is a frame; tensors, arrays and lists are not looked at closely."""
    return not isinstance(given, Tensor | Sequence) and isinstance(given, Frame)


def read_frame(frame: Any) -> Named:
    """The numbers and names in a frame; without an index the first column holds the names."""
    if not hasattr(frame, "index"):
        columns = list(frame.columns)
        lines = [tuple(line) for line in frame.iter_rows()]
        names = [line[0] for line in lines]
        if not all(isinstance(name, str) for name in names):
            return Named(lines, [*range(len(lines))], columns)
        return Named([line[1:] for line in lines], names, columns[1:], columns[0])
    rows, columns = frame.index.tolist(), frame.columns.tolist()
    if is_count(rows) and len(columns) and all(isinstance(each, str) for each in frame[columns[0]]):
        raise ValueError(
            f"the rows of this frame have numbers for names: make their names the index, "
            f"frame.set_index({columns[0]!r})."
        )
    if is_count(rows) and is_count(columns):
        return Named(_numbers(frame), None, None)
    return Named(_numbers(frame), rows, columns, str(frame.index.name), str(frame.columns.name))


def _numbers(frame: Any) -> Any:
    """The numbers of a pandas frame, whatever it keeps them in."""
    numbers = frame.to_numpy()
    if numbers.dtype != object:
        return numbers
    try:
        return numbers.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"costs must be rows of numbers, and this frame has others: {error}."
        ) from error


def rows_of(given: Any, names: Sequence[str] | None = None) -> Any:
    """The rows of these columns of a frame, or of all; what is no frame comes back as it is."""
    if not is_frame(given):
        return given
    columns = list(given.columns)
    if names is not None and any(name not in columns for name in names):
        raise ValueError(
            f"this table needs the columns {', '.join(names)}: this frame has "
            f"{', '.join(map(str, columns))}; rename them."
        )
    return list(zip(*(list(given[name]) for name in names or columns), strict=True))


def is_missing(name: object) -> bool:
    """Whether it stands where a frame of polars or pandas has no name."""
    return not isinstance(name, str) and str(name) in ("None", "nan", "<NA>")


def is_count(names: list[Any]) -> bool:
    """Whether these are the numbers 0, 1, … that pandas gives where nobody gives names."""
    return names == [*range(len(names))]
