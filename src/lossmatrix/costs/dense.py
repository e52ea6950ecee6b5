# SPDX-License-Identifier: BSD-3-Clause
"""`Dense`: a table of costs, whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.frames import Frame, read_frame, rows_of
from lossmatrix.costs.io import CsvTable, RowMeaning, meaning_of_rows, read_table, write_table
from lossmatrix.costs.labels import Names, Numbered, abbreviate, find_label, make_labels
from lossmatrix.costs.tables import (
    Table,
    TableCosts,
    check_meaning,
    name_table,
    read_costs,
    weigh_rows,
)

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingTypeStubs]


class Dense(TableCosts):
    """D as a (C, K) table; rows are truths, columns are decisions.

    A floating tensor or array keeps its dtype (half precision becomes float32), lists and whole
    numbers become float64. A DataFrame of pandas (index = truths, columns = decisions) or polars
    (first column = truths) brings its names along. `decisions` are `classes` unless given; those
    that are classes are put into the order of the classes, and others after them, so that the
    argmax of logits is the number of a class and of its decision alike. An infinite cost forbids a
    decision. Raises ValueError for NaN, −∞, a truth without any allowed decision, and names that do
    not fit.

    >>> costs = lm.Dense([[0, 1, 9], [1, 0, 4], [9, 4, 0]], classes=["cat", "lynx", "truck"])
    >>> print(costs)
    true ↓ / decided →  cat  lynx  truck
    cat                   0     1      9
    lynx                  1     0      4
    truck                 9     4      0
    deciding lynx when the truth is truck costs 4
    >>> costs.expected(torch.tensor([0.5, 0.25, 0.25]))
    tensor([2.5000, 1.5000, 5.5000])
    """

    def __init__(self, table: Table, classes: Names = None, decisions: Names = None) -> None:
        table, classes, decisions = name_table(table, classes, decisions)
        D = read_costs(table)
        if D.dim() != 2:
            raise ValueError(f"costs must be a (classes, decisions) table, got {tuple(D.shape)}.")
        super().__init__(D, (len(D), D.shape[1]), classes, decisions)
        self.is_finite = bool(D.isfinite().all())

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        return self._table[target]

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        return self._table[i, j]

    def _expected(self, weights: Tensor) -> Tensor:
        return weigh_rows(weights, self._table.to(weights.dtype), self.is_finite)

    @classmethod
    def from_gains(cls, gains: Table, classes: Names = None, decisions: Names = None) -> Dense:
        """D = −gains: rewards or utilities, where more is better.

        `regret()` makes it non-negative without changing any decision.

        >>> lm.Dense.from_gains([[2, -1], [0, 3]]).regret().to_dense()
        tensor([[0., 3.],
                [3., 0.]], dtype=torch.float64)
        """
        gains, classes, decisions = name_table(gains, classes, decisions)
        return cls(0 - read_costs(gains), classes, decisions)

    @classmethod
    def from_predicted_rows(
        cls, table: Table, classes: Names = None, decisions: Names = None
    ) -> Dense:
        """From a table whose rows are decisions and whose columns are truths: D = its transpose.

        So write Elkan (2001), mlr3, C5.0. `classes` name the columns given, `decisions` the rows.

        >>> lm.Dense.from_predicted_rows([[0, 5], [1, 0]]).entry(0, 1)
        1.0
        """
        table, decisions, classes = name_table(table, decisions, classes, "predicted")
        return cls(read_costs(table).mT, classes, decisions)

    @classmethod
    def from_confusion(
        cls, counts: Table, *, frequent: Literal["costly", "cheap"], classes: Names = None
    ) -> Dense:
        """From confusion counts (rows: truth), with r_ij = counts_ij / Σ_k counts_ik.

        Frequent mistakes are "costly", D_ij = r_ij, to train against what a model confuses; or
        "cheap", D_ij = 1 − r_ij, where raters confuse what is alike. The diagonal is 0.

        >>> lm.Dense.from_confusion([[6, 2], [1, 3]], frequent="costly").to_dense()
        tensor([[0.0000, 0.2500],
                [0.2500, 0.0000]], dtype=torch.float64)
        """
        named = cls(counts, classes)
        table = named._table
        if table.shape[0] != table.shape[1] or not bool((table >= 0).all()):
            raise ValueError(f"counts must be square and not negative, got {tuple(table.shape)}.")
        named._check_pairs()
        total = table.sum(1, keepdim=True)
        if not bool(((total > 0) & total.isfinite()).all()):
            raise ValueError("every class needs a finite number of counts above 0 in its row.")
        if frequent not in ("costly", "cheap"):
            raise ValueError(f'frequent mistakes must be "costly" or "cheap", got {frequent!r}.')
        rate = table / total
        rate = (rate if frequent == "costly" else 1 - rate).fill_diagonal_(0)
        return cls(rate, named.classes, named.decisions)

    @classmethod
    def from_long(
        cls,
        rows: Iterable[tuple[str, str, float]] | Frame,
        classes: Names = None,
        decisions: Names = None,
        default: float | None = None,
    ) -> Dense:
        """From (truth, decision, cost) rows, or a DataFrame with columns of these names.

        Classes are the truths in order of appearance unless given; decisions are the classes. A
        mistake that is not listed costs `default`, a right decision then costs 0; without a
        default every pair must be listed. Raises ValueError for an unknown name, a pair that comes
        twice, and a pair that is missing.

        >>> lm.Dense.from_long([("cat", "dog", 1), ("dog", "cat", 5)], default=0).entry(1, 0)
        5.0
        """
        costs: dict[tuple[str, str], float] = {}
        for truth, decision, cost in rows_of(rows, ("truth", "decision", "cost")):
            if (truth, decision) in costs:
                raise ValueError(f"the pair (truth {truth!r}, decision {decision!r}) comes twice.")
            costs[truth, decision] = cost
        names = tuple(dict.fromkeys(t for t, _ in costs)) if classes is None else tuple(classes)
        options = names if decisions is None else tuple(decisions)
        for truth, decision in sorted(costs.keys() - product(names, options)):
            find_label(names, truth, "class")
            find_label(options, decision, "decision")
        for truth, decision in product(names, options):
            if default is None and (truth, decision) not in costs:
                raise ValueError(
                    f"no cost for deciding {decision!r} when the truth is {truth!r}: list it, or "
                    f"give a default."
                )
            costs.setdefault((truth, decision), 0.0 if truth == decision else default or 0.0)
        return cls([[costs[truth, d] for d in options] for truth in names], names, options)

    @classmethod
    def from_csv(
        cls, path: str | os.PathLike[str], classes: Names = None, rows: RowMeaning | None = None
    ) -> Dense:
        r"""From a comma-separated file: decisions in the first line, truths before the others.

        The corner cell must say so, as `true\pred` does. Where it says nothing, pass rows="truth",
        or rows="predicted" for a file whose lines are decisions. `classes` gives the order wanted.
        Raises ValueError, with the line, for anything that is not such a table.
        """
        table = read_table(path)
        meaning = meaning_of_rows(table.corner)
        if meaning == "predicted" and rows != "predicted":
            raise ValueError(
                f"{path}: the corner cell {table.corner!r} says that rows are predictions; pass "
                f'rows="predicted", or use Dense.from_predicted_rows.'
            )
        if (meaning is None and rows is None) or (meaning == "truth" and rows == "predicted"):
            raise ValueError(
                f"{path}: the corner cell {table.corner!r} does not say that rows are "
                f'{rows or "truth"}: write true\\pred there, or pass rows="truth" or '
                f'rows="predicted".'
            )
        if rows == "predicted":
            costs = cls.from_predicted_rows(table.numbers, table.columns, table.rows)
        else:
            costs = cls(table.numbers, table.rows, table.columns)
        return costs if classes is None else costs.reorder(classes)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        r"""Write the table with its names, `true\pred` in the corner; whole or not at all."""
        numbers: list[list[float]] = self._table.tolist()  # pyright: ignore
        write_table(path, CsvTable("true\\pred", [*self.classes], [*self.decisions], numbers))

    @classmethod
    def from_dataframe(cls, frame: Frame, classes: Names = None) -> Dense:
        """From a DataFrame of pandas, index = truths, or of polars, first column = truths.

        The other columns are decisions; `classes` gives the order wanted. Raises ValueError where
        rows or columns hold no names, or are named the other way round.
        """
        given = read_frame(frame)
        check_meaning(given)
        costs = cls(given.numbers, given.rows, given.columns)
        return costs if classes is None else costs.reorder(classes)

    def to_dataframe(self) -> pandas.DataFrame:
        """A DataFrame: index = truths, columns = decisions. Raises ImportError without pandas."""
        try:
            import pandas  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas.") from error
        index = pandas.Index([*self.classes], name="true")
        columns = pandas.Index([*self.decisions], name="pred")
        return pandas.DataFrame(self._table.detach().cpu().numpy(), index, columns, copy=True)

    def reorder(self, classes: Sequence[str]) -> Dense:
        """The same costs with truths in this order, and decisions too where they are classes.

        Raises ValueError where the names are not exactly those of the matrix.

        >>> lm.Dense([[0, 1], [5, 0]], classes=["cat", "dog"]).reorder(["dog", "cat"]).entry(0, 1)
        5.0
        """
        names = make_labels(classes, "class")
        if set(names) != set(self.classes):
            odd = sorted(set(names) ^ set(self.classes))
            raise ValueError(f"classes wanted and classes of the matrix differ: {abbreviate(odd)}.")
        rows = [self.classes.index(name) for name in names]
        decisions = self.decisions
        if isinstance(decisions, Numbered) and self.num_decisions >= self.num_classes:
            decisions = (*self.classes, *decisions[self.num_classes :])  # as they stand now
        return Dense(self._table[rows], names, decisions)


def as_costs(costs: CostMatrix | Table) -> CostMatrix:
    """A cost matrix as it is; a plain (C, K) tensor, array or nested list as `Dense`.

    >>> as_costs([[0, 1], [5, 0]])
    Dense(2)
    """
    return costs if isinstance(costs, CostMatrix) else Dense(costs)
