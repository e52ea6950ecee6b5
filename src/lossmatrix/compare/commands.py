# SPDX-License-Identifier: BSD-3-Clause
"""The commands of the command line, and their options."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lossmatrix.compare.data import digits, folder, table
from lossmatrix.compare.methods import STEPS
from lossmatrix.compare.reading import read_costs
from lossmatrix.compare.run import compare_task
from lossmatrix.compare.task import Network, Task, UserInputError
from lossmatrix.compare.terminal import progress_bar, show
from lossmatrix.compare.training import Schedule
from lossmatrix.compare.workers import Backend

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Classifiers whose mistakes do not all cost the same.",
)


@app.command("compare")
def compare_command(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder of meta.json, data and cost.csv.")
    ] = None,
    bundled: Annotated[
        bool, typer.Option("--digits", help="scikit-learn's digits, as digits of an amount.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Your own CSV table.")] = None,
    target: Annotated[str | None, typer.Option(help="Its column of class names.")] = None,
    costs: Annotated[
        Path | None, typer.Option(help="CSV of costs, rows true classes; in DIR, cost.csv.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the mlp.")] = 40,
    network: Annotated[
        Network | None, typer.Option(help="By default linear for tables, mlp for all else.")
    ] = None,
    tune: Annotated[
        int, typer.Option(min=1, max=len(STEPS), help="Configurations of each loss; 1: untuned.")
    ] = 4,
    jobs: Annotated[
        int, typer.Option(min=-1, help="Processes; by default one for each core.")
    ] = -1,
    backend: Annotated[
        Backend, typer.Option(help="Processes of this machine (loky), or a cluster.")
    ] = "loky",
    cluster: Annotated[str | None, typer.Option(help="Address of the cluster.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder of finished trainings, to go on from.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The report.")] = Path("out/report.html"),
) -> None:
    """Train with several losses, decide by several rules: what did pricing mistakes change?"""
    task = chosen_task(directory, bundled, data, target, costs)
    check_writable(out)
    with progress_bar() as report:
        comparison = compare_task(
            replace(task, network=network or task.network),
            seeds=seeds,
            schedule=Schedule(epochs=epochs),
            tune=tune,
            jobs=jobs,
            backend=backend,
            cluster=cluster,
            keep=keep,
            report=report,
        )
    show(comparison)
    comparison.write_report(out)
    typer.echo(f"Report: {out}")


def check_writable(out: Path) -> None:
    """Refuse a place for the report that cannot be written to, before minutes of training."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserInputError(f"No folder {out.parent} can be made: {error.strerror}.") from error
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UserInputError(
            f"The report cannot be written to {out}: name another file with --out."
        )


def chosen_task(
    directory: Path | None, bundled: bool, data: Path | None, target: str | None, costs: Path | None
) -> Task:
    """The one task that the options name."""
    match directory, bundled, data, target, costs:
        case None, True, None, None, None:
            return digits()
        case Path(), False, None, None, _:
            return folder(directory, costs)
        case None, False, Path(), str(), Path():
            return table(data, target, costs)
        case _:
            raise UserInputError(
                "Say what to compare on, one of: lossmatrix compare --digits; lossmatrix compare "
                "DIR; lossmatrix compare --data table.csv --target column --costs costs.csv."
            )


@app.command("costs")
def costs_command(
    path: Annotated[Path, typer.Argument(metavar="CSV", help="Costs, rows true classes.")],
) -> None:
    """Print a table of costs, one of its prices in words, and what looks odd about it."""
    costs = read_costs(path)
    typer.echo(str(costs))
    for finding in costs.check():
        typer.echo(f"\n{finding}")
