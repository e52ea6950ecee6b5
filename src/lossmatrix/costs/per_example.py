# SPDX-License-Identifier: BSD-3-Clause
"""`PerExample`: every sample has costs of its own."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.adjusted import abstain_costs, check_factor
from lossmatrix.costs.base import CostMatrix, RowFacts, RowMap, is_negative_type, row_facts
from lossmatrix.costs.dense import Table, cost_table, weigh_rows
from lossmatrix.costs.labels import extend_labels, pair_labels


class PerExample(CostMatrix):
    """The row of costs of each sample's own truth, (N, K) or (N, K, d1, …, dk).

    Samples are counted as in logits.movedim(1, -1).reshape(-1, C): sample n at position p is number
    n·P + p. Such rows serve losses and metrics; a decision needs to know what every truth would
    cost: `PerExample.matrices`. Raises ValueError where the shape or the names do not fit.

    >>> costs = lm.PerExample([[0, 5, 1], [2, 0, 7]])
    >>> costs.row(torch.tensor([0, 1]), torch.tensor([0, 1]))
    tensor([[0., 5., 1.],
            [2., 0., 7.]], dtype=torch.float64)
    """

    def __init__(
        self,
        rows: Table,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> None:
        given = cost_table(rows)
        if given.dim() < 2:
            raise ValueError(f"rows must be (N, K) or (N, K, d1, …), got {tuple(given.shape)}.")
        table = given.movedim(1, -1).reshape(-1, given.shape[1])
        K = table.shape[1]
        names = pair_labels(K if classes is None else len(classes), K, classes, decisions)
        super().__init__(*names, {"rows": table})
        self.is_finite = bool(table.isfinite().all())

    @classmethod
    def matrices(
        cls,
        cubes: Tensor,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> "PerExample":
        """A whole cost matrix for each sample: (N, C, K) or (N, C, K, d1, …, dk).

        >>> costs = lm.PerExample.matrices(torch.tensor([[[0.0, 1.0], [5.0, 0.0]]]))
        >>> costs.expected(torch.tensor([[0.5, 0.5]]))
        tensor([[2.5000, 0.5000]])
        """
        given = cost_table(cubes)
        if given.dim() < 3:
            raise ValueError(
                f"cubes must be (N, C, K) or (N, C, K, d1, …), got {tuple(given.shape)}."
            )
        C, K = given.shape[1:3]
        table = given.movedim((1, 2), (-2, -1)).reshape(-1, C, K)
        made = cls.__new__(cls)
        CostMatrix.__init__(made, *pair_labels(C, K, classes, decisions), {"matrices": table})
        made.is_finite = bool(table.isfinite().all())
        return made

    def _with(self, table: Tensor, decisions: Sequence[str] | None = None) -> "PerExample":
        made = PerExample.__new__(PerExample)
        tables = dict.fromkeys(self._tables, table)
        CostMatrix.__init__(made, self.classes, decisions or self.decisions, tables)
        made.is_finite = self.is_finite
        return made

    @property
    def _table(self) -> Tensor:
        return next(iter(self._tables.values()))

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        if sample is None:
            raise ValueError("PerExample costs belong to samples: row needs the sample numbers.")
        if "rows" in self._tables:
            return self._tables["rows"][sample]
        return self._tables["matrices"][sample, target]

    def _expected(self, weights: Tensor) -> Tensor:
        if "rows" in self._tables:
            raise ValueError(
                "PerExample rows say what each sample costs under its own truth only: expected "
                "costs need one matrix per sample, PerExample.matrices(cubes)."
            )
        table = self._tables["matrices"].to(weights.dtype)
        if len(weights) != len(table):
            raise ValueError(f"got weights of {len(weights)} samples, matrices of {len(table)}.")
        return weigh_rows(weights.unsqueeze(1), table, self.is_finite).squeeze(1)

    def scaled(self, factor: float) -> "PerExample":
        """factor · D, for another unit; factor must be positive."""
        return self._with(self._table * check_factor(factor))

    def regret(self) -> "PerExample":
        """Costs less the cheapest decision of the same row."""
        return self._with(self._table - self._table.amin(-1, keepdim=True))

    def with_abstain(self, cost: float | Sequence[float], name: str = "abstain") -> "PerExample":
        """One more decision, at one cost, or one for each row that is given (sample or class)."""
        what = "sample" if "rows" in self._tables else "class"
        column = abstain_costs(cost, self._table.shape[-2], what).to(self._table).unsqueeze(-1)
        column = column.expand(*self._table.shape[:-1], 1)
        names = extend_labels(self.decisions, name, "decision")
        return self._with(torch.cat([self._table, column], -1), names)

    def _square(self) -> "PerExample":
        C = self.num_classes
        return self._with(self._table[..., :C], self.decisions[:C])

    def map_rows(self, fn: RowMap) -> CostMatrix:
        """The matrices of fn(rows, is_truth); rows wait until `row` names their truths."""
        if "rows" in self._tables:
            return super().map_rows(fn)
        truth = self.is_truth(torch.arange(self.num_classes, device=self._table.device))
        return self._with(fn(self._table, truth.expand_as(self._table)))

    @cached_property
    def _row_facts(self) -> RowFacts:
        return row_facts(self._table.reshape(-1, self.num_decisions))

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether every sample's matrix is symmetric; False for rows."""
        table = self._table[..., : self.num_classes]
        return "matrices" in self._tables and torch.equal(table, table.mT)

    @cached_property
    def is_conditionally_negative_definite(self) -> bool:
        """Whether every sample's matrix is so; False for rows."""
        square = self._table[..., : self.num_classes]
        return self.is_symmetric and self.is_finite and is_negative_type(square)

    def _settings(self) -> dict[str, object]:
        return {"samples": len(self._table)}
