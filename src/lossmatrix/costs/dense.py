# SPDX-License-Identifier: BSD-3-Clause
"""`Dense`: a table of costs, whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from lossmatrix.costs.adjusted import abstain_costs, check_factor
from lossmatrix.costs.base import CostMatrix, RowMap
from lossmatrix.costs.labels import extend_labels, pair_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Table: TypeAlias = "Tensor | Sequence[Sequence[float]] | NDArray[np.floating | np.integer]"


class Dense(CostMatrix):
    """D as a (C, K) table; rows are truths, columns are decisions.

    A floating tensor or array keeps its dtype (half precision becomes float32), lists and whole
    numbers become float64. `decisions` are `classes` unless given. An infinite cost forbids a
    decision. Raises ValueError for NaN, −∞, a truth without any allowed decision, and names that do
    not fit.

    >>> costs = lm.Dense([[0, 1, 9], [1, 0, 4], [9, 4, 0]], classes=["cat", "lynx", "truck"])
    >>> costs.entry("truck", "lynx")
    4.0
    >>> costs.expected(torch.tensor([0.5, 0.25, 0.25]))
    tensor([2.5000, 1.5000, 5.5000])
    """

    def __init__(
        self,
        table: Table,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> None:
        D = cost_table(table)
        if D.dim() != 2:
            raise ValueError(
                f"costs must be a (classes, decisions) table, got shape {tuple(D.shape)}."
            )
        C, K = D.shape
        names = pair_labels(C, K, classes, decisions)
        super().__init__(*names, {"table": D})
        self.is_finite = bool(D.isfinite().all())
        if not self.is_finite and bool(D.isinf().all(1).any()):
            raise ValueError("every decision is forbidden (infinite) for one of the truths.")

    def _with(self, table: Tensor, decisions: Sequence[str] | None = None) -> "Dense":
        """A table made from this one: nothing to check, so no waiting for a device."""
        made = Dense.__new__(Dense)
        CostMatrix.__init__(made, self.classes, decisions or self.decisions, {"table": table})
        made.is_finite = self.is_finite
        return made

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        return self._tables["table"][target]

    def _expected(self, weights: Tensor) -> Tensor:
        return weigh_rows(weights, self._tables["table"].to(weights.dtype), self.is_finite)

    def to_dense(self) -> Tensor:
        """A copy of the table."""
        return self._tables["table"].clone()

    def scaled(self, factor: float) -> "Dense":
        """factor · D, for another unit; factor must be positive."""
        return self._with(self._tables["table"] * check_factor(factor))

    def regret(self) -> "Dense":
        """D[i, j] − min_k D[i, k]: same decisions, and 0 for the cheapest of a row."""
        table = self._tables["table"]
        return self._with(table - table.amin(1, keepdim=True))

    def with_abstain(self, cost: float | Sequence[float], name: str = "abstain") -> "Dense":
        """One more decision, at the same cost for every truth or at one cost per truth."""
        table = self._tables["table"]
        column = abstain_costs(cost, self.num_classes).to(table).unsqueeze(1)
        names = extend_labels(self.decisions, name, "decision")
        return self._with(torch.cat([table, column], 1), names)

    def _square(self) -> "Dense":
        C = self.num_classes
        return self._with(self._tables["table"][:, :C], self.decisions[:C])

    def map_rows(self, fn: RowMap) -> "Dense":
        """The table of fn(rows (C, K), is_truth (C, K)), computed once."""
        table = self._tables["table"]
        truth = self.is_truth(torch.arange(self.num_classes, device=table.device))
        return self._with(fn(table, truth))


def cost_table(table: Table) -> Tensor:
    """A copy of `table` in float32 or float64, free of NaN and −∞."""
    try:
        # A list of numbers is exact in float64; a tensor or an array says its own precision.
        dtype = torch.float64 if isinstance(table, Sequence) else None
        given = torch.as_tensor(table, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"costs must be rows of numbers, all of one length: {error}.") from error
    if given.dtype in (torch.float16, torch.bfloat16):
        given = given.float()
    elif given.dtype not in (torch.float32, torch.float64):
        given = given.double()
    if given.numel() == 0:
        raise ValueError(f"costs must not be empty, got shape {tuple(given.shape)}.")
    if bool((given.isnan() | (given == -torch.inf)).any()):
        raise ValueError("costs must be numbers, or inf for a forbidden decision: got NaN or -inf.")
    return given.clone()


def weigh_rows(weights: Tensor, table: Tensor, is_finite: bool) -> Tensor:
    """weights @ table, where a forbidden decision counts if its truth has weight: 0 · inf is 0."""
    if is_finite:
        return weights @ table
    forbidden = table.isinf().to(weights.dtype)
    infinite = (weights > 0).to(weights.dtype) @ forbidden > 0
    negative = (weights < 0).to(weights.dtype) @ forbidden > 0
    costs = weights @ table.where(table.isfinite(), 0)
    return costs.masked_fill(infinite, torch.inf) - torch.where(negative, torch.inf, 0.0)


def as_costs(costs: "CostMatrix | Table") -> CostMatrix:
    """A cost matrix as it is; a plain (C, K) tensor, array or nested list as `Dense`.

    >>> as_costs([[0, 1], [5, 0]])
    Dense(2)
    """
    return costs if isinstance(costs, CostMatrix) else Dense(costs)
