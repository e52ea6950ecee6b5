# SPDX-License-Identifier: BSD-3-Clause
"""`compare` for Python: the user's own model on the user's own tensors."""
# torch's data sets carry no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeArgument=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from lossmatrix.compare.backend import Progress, silent
from lossmatrix.compare.experiment import compare_task
from lossmatrix.compare.export import write_results
from lossmatrix.compare.methods import named_methods
from lossmatrix.compare.outputs import check_report
from lossmatrix.compare.report import write_report
from lossmatrix.compare.results import Comparison
from lossmatrix.compare.task import Backend, Indices, ModelFactory, Task, UserInputError
from lossmatrix.compare.terminal import comparison_text
from lossmatrix.compare.training import Schedule
from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.tables import Table
from lossmatrix.losses import Loss

LabelledRows: TypeAlias = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]


class PrintedComparison(Comparison):
    """A comparison that prints as its table and writes its report."""

    def __str__(self) -> str:
        """The table and what it says, as `lossmatrix compare` prints them."""
        return comparison_text(self)

    def write_report(self, path: Path | str) -> None:
        """Write the report, one HTML file, and results.json and results.parquet beside it.

        Raises `UserInputError` for a name of another format.
        """
        check_report(Path(path))
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        write_results(self, folder)  # first, so that no fault of the report can lose them
        write_report(self, Path(path))


def compare(
    model_factory: ModelFactory,
    train: LabelledRows,
    test: LabelledRows,
    costs: CostMatrix | Table,
    losses: Sequence[Loss] | None = None,
    *,
    seeds: int = 5,
    epochs: int = 80,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    tune: int = 4,
    jobs: int = 1,
    backend: Backend = "loky",
    cluster: str | None = None,
    keep: Path | None = None,
    groups: Tensor | Sequence[Hashable] | None = None,
    report: Progress = silent,
) -> PrintedComparison:
    """Compare losses and decision rules with a model of one's own.

    ``model_factory()`` makes an ``nn.Module`` from features (n, …) to logits (n, C), on the CPU.
    ``train`` and ``test`` are features (N, …) and class indices (N,): two tensors, or a map-style
    data set or loader of such pairs, which is read once. Each seed trains a new model for each
    loss, by AdamW on batches of ``batch_size`` at a rate that falls as a cosine over the
    ``epochs``, and keeps the epoch of the least loss on a fifth of the training rows, which also
    tunes; out-of-fold logits of all five fifths calibrate.
    Cross-entropy is always among the ``losses``: calibrated and decided by cost, it is the control.
    Costs per row are
    ``PerExample.matrices`` of the training rows, then the test rows. ``groups`` names the group of
    each of these rows, a patient, say: rows of one group are held out together, and intervals are
    over groups. ``tune``, ``jobs`` and the rest are those of the command line.

    Prints as a table; ``write_report`` writes the report. Raises `UserInputError`, a ValueError,
    for rows that do not fit.

    Source: the protocol follows Demšar (2006), Nadeau and Bengio (2003) and Guo et al. (2017).

    >>> from lossmatrix.compare import compare
    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> rows = x, (x[:, 0] > 0).long()
    >>> comparison = compare(
    ...     lambda: torch.nn.Linear(2, 2), rows, rows, [[0, 1], [5, 0]], [lm.ExpectedCost()],
    ...     seeds=1, epochs=2, tune=1,
    ... )
    >>> [result.rule for result in comparison.results if result.verdict == "control"]
    ['temperature + Bayes']
    """
    matrix = as_costs(costs)
    fit, fit_target = tensors(train, "train", matrix.num_classes)
    held_out, held_out_target = tensors(test, "test", matrix.num_classes)
    if fit.shape[1:] != held_out.shape[1:]:
        raise UserInputError(
            f"A row of train has shape {tuple(fit.shape[1:])}, one of test "
            f"{tuple(held_out.shape[1:])}: give features of one shape."
        )
    if matrix.num_samples not in (None, len(fit) + len(held_out)):
        raise UserInputError(
            f"There are {matrix.num_samples} matrices of costs for {len(fit)} rows of train and "
            f"{len(held_out)} of test: give one for each, in this order."
        )
    numbers = None if groups is None else group_numbers(groups, len(fit) + len(held_out))
    model = model_factory()
    task = Task(
        name=type(model).__name__,
        title=f"{type(model).__name__} on {len(held_out):,} test rows",
        costs=matrix,
        target=torch.cat([fit_target, held_out_target]).numpy(),
        features=torch.cat([fit, held_out]).numpy(),
        parts=numpy.repeat(["train", "test"], [len(fit), len(held_out)]),
        groups=numbers,
        network=model_factory,
    )
    comparison = compare_task(
        task,
        None if losses is None else named_methods(losses),
        seeds=seeds,
        schedule=Schedule(epochs, batch_size, learning_rate),
        tune=tune,
        jobs=jobs,
        backend=backend,
        cluster=cluster,
        keep=keep,
        report=report,
    )
    return PrintedComparison(**vars(comparison))


def group_numbers(groups: Tensor | Sequence[Hashable], count: int) -> Indices:
    """A number for each group, in the place of its name."""
    names = cast("Sequence[Hashable]", groups.tolist() if isinstance(groups, Tensor) else groups)
    if len(names) != count:
        raise UserInputError(
            f"There are {len(names)} groups for {count} rows: name one for each row of train, then "
            "for each of test."
        )
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return numpy.array([number[name] for name in names])


def tensors(rows: LabelledRows, name: str, num_classes: int) -> tuple[Tensor, Tensor]:
    """Features (N, …) and class indices (N,) of a pair, a data set or a loader."""
    dataset = rows.dataset if isinstance(rows, DataLoader) else rows
    if isinstance(dataset, TensorDataset):
        dataset = dataset.tensors
    elif isinstance(dataset, Dataset):
        sized = cast("Sequence[object]", dataset)
        dataset = default_collate([sized[i] for i in range(len(sized))])
    pair = cast("tuple[object, ...]", tuple(dataset) if isinstance(dataset, tuple | list) else ())
    if len(pair) != 2 or not all(isinstance(each, Tensor) for each in pair):
        raise UserInputError(f"The rows of {name} must be pairs of features and a class index.")
    features, target = (cast("Tensor", each).detach().cpu() for each in pair)
    if target.dim() != 1 or len(features) != len(target) or target.is_floating_point():
        raise UserInputError(
            f"{name} has features of shape {tuple(features.shape)} and a {target.dtype} target of "
            f"shape {tuple(target.shape)}: give (N, …) and class indices (N,)."
        )
    if not len(target) or target.min() < 0 or target.max() >= num_classes:
        raise UserInputError(
            f"The target of {name} must be class indices from 0 to {num_classes - 1}, as the costs "
            f"have {num_classes} classes: number the classes as the rows of the costs."
        )
    return features, target.long()
