# SPDX-License-Identifier: BSD-3-Clause
"""A cost matrix for reading: a labelled table, and one entry in words to show how it runs."""

from collections.abc import Sequence

from torch import Tensor

SHOWN = 10  # rows and columns printed; of more, the first nine and the last
Cells = list[list[float]]


def shown(count: int) -> list[int]:
    """Positions to print, out of `count`."""
    return [*range(count)] if count <= SHOWN else [*range(SHOWN - 1), count - 1]


def describe(
    truths: Sequence[str], decisions: Sequence[str], block: Tensor, rows: str = "true"
) -> str:
    """The table and the sentence, for rows that are truths ("true") or samples ("sample")."""
    costs: Cells = block.tolist()  # pyright: ignore
    table = tabulate(f"{rows} ↓ / decided →", truths, decisions, costs)
    truth, decision, cost = worked_example(truths, decisions, costs)
    case = f"when the truth is {truth}" if rows == "true" else f"for {rows} {truth}"
    return f"{table}\ndeciding {decision} {case} costs {cost:g}"


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
