# SPDX-License-Identifier: BSD-3-Clause
"""The commands of the command line, and their options.

What a command needs is imported when it runs: models and charts take seconds to load.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import typer

from lossmatrix.compare.io import is_parquet, parts_of, read_cost_csv
from lossmatrix.compare.methods import STEPS, named_methods
from lossmatrix.compare.outputs import (
    check_outputs,
    check_parts,
    check_report,
    make_folder,
    places_of,
    reason,
)
from lossmatrix.compare.parse import parse_loss, parse_method
from lossmatrix.compare.task import Backend, Network, Task, UserInputError
from lossmatrix.compare.visible import say, tell
from lossmatrix.costs import CostMatrix
from lossmatrix.explain import explain
from lossmatrix.nn import Criterion

if TYPE_CHECKING:
    from lossmatrix.compare.results import Comparison

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Classifiers whose mistakes do not all cost the same.",
)

Precision = Literal["float64", "float32", "bfloat16", "float16"]
CostFile = Annotated[Path, typer.Option(help="CSV of costs, rows true classes.")]
Jobs = Annotated[int, typer.Option(min=-1, help="Processes; −1 is one for each core.")]
Workers = Annotated[Backend, typer.Option(help="Processes of this machine (loky), or a cluster.")]
Cluster = Annotated[str | None, typer.Option(help="Address of the cluster.")]
AbstainCost = Annotated[float | None, typer.Option(help="Cost of one more decision, to abstain.")]


@app.command("compare")
def compare_command(
    tables: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TABLE", help="As --data; several are compared one by one."),
    ] = None,
    bundled: Annotated[
        bool, typer.Option("--digits", help="scikit-learn's digits, as digits of an amount.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Your own table, CSV or Parquet.")] = None,
    probs: Annotated[
        Path | None, typer.Option(help="Probabilities of a model, a column for each class.")
    ] = None,
    logits: Annotated[Path | None, typer.Option(help="The same in logits.")] = None,
    target: Annotated[str | None, typer.Option(help="The column of true class names.")] = None,
    costs: Annotated[Path | None, typer.Option(help="CSV of costs, rows true classes.")] = None,
    row_cost: Annotated[
        list[str] | None,
        typer.Option(metavar="TRUTH,DECISION=COLUMN", help="A column of costs, row by row."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Rows alike in it are never parted: a patient's, say."),
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="How many rows each row stands for.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is no feature.")
    ] = None,
    abstain: AbstainCost = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help="Losses beside cross-entropy, as 'CrossEntropy + 3 * ExpectedCost', or "
            "'CrossEntropy -> DecisionScore'."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the mlp, at most.")] = 80,
    model: Annotated[
        Network | None, typer.Option(help="By default linear for tables, mlp for all else.")
    ] = None,
    tune: Annotated[
        int, typer.Option(min=1, max=len(STEPS), help="Configurations of each loss; 1: untuned.")
    ] = 4,
    jobs: Jobs = -1,
    backend: Workers = "loky",
    cluster: Cluster = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder of finished trainings, to go on from.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The report; results.json and results.parquet lie beside it.")
    ] = Path("out/report.html"),
) -> None:
    """Train with several losses, decide by several rules: what do the mistakes cost?"""
    from lossmatrix.compare.datasets import digits, group_hints, scores_table, table
    from lossmatrix.compare.experiment import compare_task
    from lossmatrix.compare.sets import compare_sets, folders_of
    from lossmatrix.compare.terminal import progress_bar
    from lossmatrix.compare.training import Schedule

    methods = None if loss is None else named_methods([*map(parse_method, loss)])
    sources = [*([] if data is None else [data]), *(tables or [])]

    def task_of(source: Path | None) -> Task:
        """The task that the options name."""
        if source is None and (drop or row_cost or (bundled and (group or weight) is not None)):
            raise UserInputError(
                "Only a file of one's own has columns to name: give --drop and --row-cost with "
                "--data, --group and --weight with --data, --probs or --logits."
            )
        match bundled, source, probs, logits, target, costs:
            case True, None, None, None, None, None:
                return digits()
            case False, Path(), None, None, str(), Path():
                return table(source, target, costs, row_cost or [], group, drop or [], weight)
            case False, None, Path(), None, str(), Path():
                return scores_table(probs, "probs", target, costs, group, weight)
            case False, None, None, Path(), str(), Path():
                return scores_table(logits, "logits", target, costs, group, weight)
            case _:
                raise UserInputError(
                    "Say what to compare on, one of: lossmatrix compare --digits; lossmatrix "
                    "compare --data table.csv --target column --costs costs.csv; or --probs or "
                    "--logits in the place of --data."
                )

    def compare_one(source: Path | None, folder: Path) -> "Comparison":
        """Compare on one set, and write beneath the folders of --out and --keep."""
        task = task_of(source)
        for hint in group_hints(task):
            warnings.warn(hint, stacklevel=1)
        report, kept = out.parent / folder / out.name, None if keep is None else keep / folder
        check_outputs([report, *beside(report)], [source, probs, logits, costs])
        check_report(out)
        if kept is not None:
            make_folder(kept, "--keep")
        if abstain is not None:
            task = replace(task, costs=abstaining(task.costs, abstain))
        with progress_bar() as progress:
            comparison = compare_task(
                replace(task, network=model or task.network),
                methods,
                seeds=seeds,
                schedule=Schedule(epochs=epochs),
                tune=tune,
                jobs=jobs or 1,
                backend=backend,
                cluster=cluster,
                keep=kept,
                report=progress,
                tell=tell,
            )
        publish(comparison, report)
        say(f"Report: {report}")
        return comparison

    if len(sources) < 2:
        compare_one(sources[0] if sources else None, Path())
    else:
        folders = folders_of(sources)
        written = [out.parent / each / out.name for each in folders]
        check_outputs(
            [path for each in written for path in (each, *beside(each))], [*sources, costs]
        )
        check_report(out)
        compare_sets(dict(zip(folders, sources, strict=True)), compare_one)


def abstaining(costs: CostMatrix, cost: float) -> CostMatrix:
    """The costs with one more decision, or one sentence on why there is none."""
    try:
        return costs.with_abstain(cost)
    except ValueError as error:
        raise UserInputError(f"--abstain {cost:g} cannot be offered: {error}") from error


def publish(comparison: "Comparison", out: Path) -> None:
    """Write the numbers, print the table, write the report: what fails keeps nothing else back."""
    from lossmatrix.compare.export import write_json, write_parquet
    from lossmatrix.compare.report import write_report
    from lossmatrix.compare.terminal import print_comparison

    failures: dict[str, list[str]] = {}
    defects: list[Exception] = []

    def attempt(name: object, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(comparison, *arguments)
        except OSError as error:
            failures.setdefault(reason(error), []).append(str(name))
        except Exception as error:
            defects.append(error)

    for path, write in zip(beside(out), (write_json, write_parquet), strict=True):
        attempt(path, write, path)
    attempt("the terminal", print_comparison)
    attempt(out, write_report, out)
    for defect in defects:
        raise defect
    if failures:
        lost = "; ".join(f"{', '.join(names)} ({why})" for why, names in failures.items())
        raise UserInputError(
            f"What cannot be written: {lost}; make room or name another place with --out and run "
            "again, which with --keep trains nothing twice."
        )


def beside(out: Path) -> tuple[Path, Path]:
    """The files of numbers that lie beside a report."""
    from lossmatrix.compare.export import JSON, PARQUET

    return out.parent / JSON, out.parent / PARQUET


@app.command("decide")
def decide_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="PROBS", help="CSV or Parquet, a column for each class; or folders."
        ),
    ],
    costs: CostFile,
    abstain: AbstainCost = None,
    priors: Annotated[
        Path | None, typer.Option(help="CSV of class, old, new: how frequent each class is.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column of true classes: what do the decisions cost?")
    ] = None,
    jobs: Jobs = -1,
    backend: Workers = "loky",
    cluster: Cluster = None,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet file, by default the terminal; a folder for several."),
    ] = None,
) -> None:
    """Write the least expensive decision for every row of probabilities, however many there are."""
    from lossmatrix.compare.backend import workers
    from lossmatrix.compare.decide_file import decide_file, decide_files, measured, read_priors
    from lossmatrix.compare.terminal import print_counts, print_measured

    matrix = read_cost_csv(costs)
    matrix = matrix if abstain is None else abstaining(matrix, abstain)
    frequencies = None if priors is None else read_priors(priors, matrix)
    files = [part for source in sources for part in parts_of(source)]
    outs = [] if out is None else [out]
    if several := files != sources or len(files) > 1:
        outs = [each / place for each in outs for place in places_of(files)]
    for place in (*files, *outs):
        is_parquet(place)  # or CSV: what is neither is refused before minutes of work
    check_outputs(outs, [*files, costs, priors])
    if several:
        check_parts(outs)
    if not several:
        counts = decide_file(files[0], matrix, frequencies, out, target)
    elif out is None:
        raise UserInputError(f"Decisions of {len(files)} files need a folder: name one with --out.")
    else:
        with workers(jobs or 1, backend, cluster) as killed:
            try:
                counts = decide_files(files, matrix, frequencies, outs, target)
            except killed as error:
                raise UserInputError(
                    "Worker processes were killed; most often memory ran out: use fewer --jobs."
                ) from error
    print_counts(matrix.decisions, counts[0].sum(0))
    if target is not None:
        print_measured(measured(counts, matrix))


@app.command("costs")
def costs_command(
    path: Annotated[Path, typer.Argument(metavar="CSV", help="Costs, rows true classes.")],
) -> None:
    """Print a table of costs, one of them in words, and what looks odd about it."""
    costs = read_cost_csv(path)
    say(str(costs))
    for finding in costs.check():
        say(f"\n{finding}")


@app.command("explain")
def explain_command(
    loss: Annotated[str, typer.Argument(help="As 'CrossEntropy + 0.5 * DecisionScore(tau=0.1)'.")],
    costs: Annotated[Path | None, typer.Option(help="CSV of costs, rows true classes.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="How many, where no costs are given.")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a batch.")] = 128,
    dtype: Annotated[Precision, typer.Option(help="Of the logits.")] = "float32",
    device: Annotated[str, typer.Option(help="Where they are: cpu, cuda.")] = "cpu",
) -> None:
    """Say what a loss does with a batch: how it decides, which engine runs, and why."""
    matrix = None if costs is None else read_cost_csv(costs)
    try:
        criterion = Criterion(parse_loss(loss), matrix).to(device)
        shape = rows, classes if matrix is None else matrix.num_classes
        logits = torch.zeros(shape, dtype=getattr(torch, dtype), device=device)
        say(explain(criterion, logits))
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:  # no costs, no device
        raise UserInputError(str(error)) from error
