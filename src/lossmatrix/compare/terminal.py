# SPDX-License-Identifier: BSD-3-Clause
"""The comparison on a terminal: a progress bar while it runs, then a table and what it says."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import StringIO

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lossmatrix.compare.results import Comparison, Result, figures, price, summary
from lossmatrix.compare.sets import FEWEST_SETS, Ranking
from lossmatrix.compare.task import Indices
from lossmatrix.costs import CostMatrix

TONES = {"better": "green", "worse": "red", "control": "bold"}
SHADES = "·░▒▓█"
HEAT = (17, 24, 60, 101, 143, 185, 227)  # of 256 colours, blue to yellow as in cividis
MOST_BLOCKS = 40  # rows and columns of a heat map
NAME = 12  # characters of a name beside it
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


def show_ranking(ranking: Ranking | None, num_sets: int) -> None:
    """Print the ranks over several sets, or why there are none."""
    console = Console()
    if ranking is None:
        console.print(
            f"{num_sets} sets: fewer than {FEWEST_SETS}, or too few losses in common, for a test "
            "across sets; each set stands for itself."
        )
        return
    table = Table(title="Over all sets", title_justify="left", box=box.SIMPLE, pad_edge=False)
    for heading in ("loss, decided by", "mean rank", "p against control (Holm)"):
        table.add_column(heading, justify="left" if heading.startswith("loss") else "right")
    for place in map(int, ranking.ranks.argsort()):
        line = ranking.lines[place]
        p_value = f"{ranking.holm[line]:.3g}" if line in ranking.holm else "control"
        table.add_row(Text(", ".join(line)), f"{ranking.ranks[place]:.2f}", p_value)
    console.print(table)
    console.print(
        f"{num_sets} sets; all alike: p = {ranking.p_value:.3g} (Friedman, Iman and Davenport); "
        f"ranks closer than {ranking.critical_distance:.2f} are not told apart (Nemenyi, 5 %)."
    )


def show_counts(decisions: Sequence[str], counts: Indices) -> None:
    """Print on stderr how often each decision was taken."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("decision")
    table.add_column("rows", justify="right")
    for name, count in zip(decisions, counts.tolist(), strict=True):
        table.add_row(Text(name), f"{count:,}")
    Console(stderr=True).print(table)


def show_costs(costs: CostMatrix) -> None:
    """Print costs as a heat map of one block for each: the darker, the dearer."""
    count = min(MOST_BLOCKS, max(costs.shape))
    table = costs.row(torch.arange(min(count, costs.num_classes)))[:, :count].double()
    finite = table[table.isfinite()]
    spread = (finite.max() - finite.min()).item() or 1.0
    console = Console()
    rows: list[list[float]] = table.tolist()  # pyright: ignore
    for name, row in zip(costs.classes, rows, strict=False):
        line = Text(f"{name[:NAME]:>{min(NAME, max(map(len, costs.classes[:count])))}} ")
        for cost in row:
            level = min((cost - finite.min().item()) / spread, 1.0)
            block = SHADES[round(level * (len(SHADES) - 1))]
            line.append(2 * block, style=f"color({HEAT[round(level * (len(HEAT) - 1))]})")
        console.print(line, no_wrap=True, crop=True)
    if count < max(costs.shape):
        console.print(f"(the first {count} of {costs.num_classes} classes)")


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
