# SPDX-License-Identifier: BSD-3-Clause
"""The comparison on a terminal: a progress bar while it runs, then a table and what it says."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import StringIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lossmatrix.compare.results import Comparison, Result, figures, price, summary

TONES = {"better": "green", "worse": "red", "control": "bold"}
WIDTH = 120  # where the output is not a terminal


@contextmanager
def progress_bar() -> Generator[Callable[[int, int], None]]:
    """A bar on stderr over all trainings."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        number = bar.add_task("training", total=None)

        def report(done: int, total: int) -> None:
            bar.update(number, completed=done, total=total)

        yield report


def show(comparison: Comparison) -> None:
    """Print the table and its summary."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(*content(comparison), sep="\n")


def text(comparison: Comparison) -> str:
    """What `show` prints where no terminal says how wide it is."""
    console = Console(width=WIDTH, file=StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(*content(comparison), sep="\n")
    return captured.get()


def content(comparison: Comparison) -> list[Table | Text]:
    """The table, then its summary; texts from data are shown as they are, without markup."""
    table = Table(
        title=Text(comparison.task.title, style="bold"),
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
    for result in comparison.results:
        if result.method != above:
            above = result.method
            table.add_row(Text(above, style="bold"))
        table.add_row(*cells(result), style=TONES.get(result.verdict, ""))
    return [table, *map(Text, summary(comparison))]


def cells(result: Result) -> list[Text]:
    """One line of the table."""
    texts = (
        "\n".join(f"  {text}" for text in (result.rule, *result.remarks)),
        f"{result.accuracy:.1%}",
        price(result.average_cost),
        f"{result.normalized_cost:.3f}",
        "" if result.verdict == "control" else figures(result),
        result.verdict,
        f"{result.seconds:.2f} s" if result.seconds else "none",
    )
    return [Text(text) for text in texts]
