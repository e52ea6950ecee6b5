# SPDX-License-Identifier: BSD-3-Clause
"""What a terminal shows: a progress bar, tables and sentences."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import StringIO
from threading import Event, Thread

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lossmatrix.compare.display import format_cost, format_difference, format_number
from lossmatrix.compare.recommendation import recommendation
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Indices
from lossmatrix.compare.visible import plain, tell, visible

TONES = {"better": "green", "worse": "red", "control": "bold"}
MINUTE = 60.0  # between the lines of a log
WIDTH = 120  # where the output is not a terminal


def shown(text: str, style: str = "") -> Text:
    """A text of rich in which nothing acts and nothing is markup."""
    return Text(visible(text), style=style)


@contextmanager
def progress_bar() -> Generator[Callable[[int, int], None]]:
    """A bar on stderr over all trainings; where that is no terminal, a line a minute."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(file=plain(sys.stderr))
    if not console.is_terminal:
        with log_lines(MINUTE) as logged:
            yield logged
        return
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        number = bar.add_task("training", total=None)

        def report(done: int, total: int) -> None:
            bar.update(number, completed=done, total=total)

        yield report


@contextmanager
def log_lines(seconds: float) -> Generator[Callable[[int, int], None]]:
    """A line on stderr every so many seconds: how many trainings are done, and of how many."""
    start, latest, over = time.monotonic(), [0, 0], Event()

    def report(done: int, total: int) -> None:
        latest[:] = done, total

    def write() -> None:
        while not over.wait(seconds):
            done, total = latest
            minutes = (time.monotonic() - start) / 60
            tell(f"{done:,} of {total:,} trainings after {minutes:.0f} min")

    writer = Thread(target=write, daemon=True)
    writer.start()
    try:
        yield report
    finally:
        over.set()
        writer.join()


def print_comparison(comparison: Comparison) -> None:
    """Print the table and its summary."""
    print_wide(*content(comparison))


def print_wide(*parts: Table | Text) -> None:
    """Print on a terminal as wide as it is, else in so many columns."""
    console = Console(file=plain(sys.stdout))
    if not console.is_terminal:
        console.width = WIDTH
    console.print(*parts, sep="\n")


def comparison_text(comparison: Comparison) -> str:
    """What is printed where no terminal says how wide it is."""
    console = Console(width=WIDTH, file=StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(*content(comparison), sep="\n")
    return captured.get()


def content(comparison: Comparison) -> list[Table | Text]:
    """The table, then what it says; texts from data are shown as they are, without markup."""
    table = Table(
        title=shown(comparison.task.title, "bold"),
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("loss\n  decided by", overflow="fold")
    for heading in ("accuracy", "average\ncost", "normalised\ncost"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("difference to control\n[95 % interval]", justify="right")
    table.add_column("verdict")
    table.add_column("training", justify="right", no_wrap=True)
    above = ""
    for row in comparison.results:
        if row.method != above:
            above = row.method
            table.add_row(shown(above, "bold"))
        table.add_row(*map(shown, row_texts(row)), style=TONES.get(row.verdict, ""))
    return [table, *map(shown, recommendation(comparison))]


def row_texts(row: Row) -> list[str]:
    """The texts of one row of the table."""
    return [
        "\n".join(f"  {text}" for text in (row.rule, *row.remarks)),
        f"{row.accuracy:.1%}",
        format_cost(row.average_cost),
        format_number(row.normalized_cost, ".3f"),
        "" if row.verdict == "control" else format_difference(row),
        row.verdict,
        f"{row.seconds:.2f} s" if row.seconds else "none",
    ]


def print_counts(decisions: Sequence[str], counts: Indices) -> None:
    """Print on stderr how often each decision was taken."""
    print_numbers(
        ["decision", "rows"],
        [(name, f"{n:,}") for name, n in zip(decisions, counts.tolist(), strict=True)],
    )


def print_measured(measured: Sequence[tuple[float, float, float]]) -> None:
    """Print on stderr what decisions by cost and for the likeliest class cost."""
    rules = "least expected cost", "likeliest class"
    print_numbers(
        ["decided for", "accuracy", "average cost", "normalised cost"],
        [
            (rule, f"{accuracy:.1%}", format_cost(average), format_number(normalized, ".3f"))
            for rule, (accuracy, average, normalized) in zip(rules, measured, strict=True)
        ],
    )


def print_numbers(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table on stderr; all but its first column are numbers."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if table.columns else "left")
    for line in lines:
        table.add_row(*map(shown, line))
    Console(file=plain(sys.stderr)).print(table)
