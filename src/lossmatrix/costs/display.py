# SPDX-License-Identifier: BSD-3-Clause
"""A cost matrix for reading: a labelled table, and one entry in words to show how it runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lossmatrix.costs.labels import html_text, visible

SHOWN = 10  # rows and columns printed; of more, the first nine and the last
Cells = list[list[float]]


def shown(count: int) -> list[int]:
    """Positions to print, out of `count`."""
    return [*range(count)] if count <= SHOWN else [*range(SHOWN - 1), count - 1]


@dataclass(frozen=True)
class View:
    """What is shown of a matrix: rows that are truths ("true") or samples ("sample")."""

    rows: Sequence[str]
    columns: Sequence[str]
    block: Tensor
    what: str = "true"
    title: str = ""

    @property
    def costs(self) -> Cells:
        """The numbers."""
        return self.block.tolist()  # pyright: ignore

    @property
    def corner(self) -> str:
        """What rows and columns are."""
        return f"{self.what} ↓ / decided →"

    @property
    def sentence(self) -> str:
        """One entry in words."""
        truth, decision, cost = worked_example(self.rows, self.columns, self.costs)
        case = f"when the truth is {truth}" if self.what == "true" else f"for {self.what} {truth}"
        return f"deciding {decision} {case} costs {cost:g}"

    def text(self) -> str:
        """The table and the sentence."""
        rows, columns = ([*map(visible, names)] for names in (self.rows, self.columns))
        table = tabulate(self.corner, rows, columns, self.costs)
        return "\n".join([*([self.title] if self.title else ()), table, visible(self.sentence)])

    def html(self) -> str:
        """The same for a notebook."""
        named = zip(self.rows, self.costs, strict=True)
        lines = ([name, *(f"{cost:g}" for cost in line)] for name, line in named)
        title = f"<p>{html_text(self.title)}</p>" if self.title else ""
        table = html_table([self.corner, *self.columns], lines)
        return f"{title}{table}<p>{html_text(self.sentence)}</p>"


def html_table(heading: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table whose first column names its rows; every text is escaped."""
    head = "".join(f"<th>{html_text(text)}</th>" for text in heading)
    body = ""
    for name, *texts in lines:
        cells = "".join(f"<td>{html_text(text)}</td>" for text in texts)
        body += f"<tr><th>{html_text(name)}</th>{cells}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def tabulate(corner: str, rows: Sequence[str], columns: Sequence[str], costs: Cells) -> str:
    """Costs right-aligned under the names of their columns, the names of rows on the left."""
    cells = [[*columns], *([f"{cost:g}" for cost in row] for row in costs)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    margin = max(map(len, [corner, *rows]))
    lines: list[str] = []
    for name, line in zip([corner, *rows], cells, strict=True):
        texts = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        lines.append("  ".join([name.ljust(margin), *texts]))
    return "\n".join(lines)


def worked_example(
    truths: Sequence[str], decisions: Sequence[str], costs: Cells
) -> tuple[str, str, float]:
    """The mistake that exceeds its opposite most, or the last one: (row, column, cost)."""
    entries = {
        (truth, decision): cost
        for truth, row in zip(truths, costs, strict=True)
        for decision, cost in zip(decisions, row, strict=True)
    }
    excess = {
        (i, j): 0.0 if cost == entries[j, i] else cost - entries[j, i]
        for (i, j), cost in entries.items()
        if i != j and (j, i) in entries
    }
    truth, decision = max(reversed(excess), key=excess.__getitem__) if excess else [*entries][-1]
    return truth, decision, entries[truth, decision]
