# SPDX-License-Identifier: BSD-3-Clause
"""`LowRank`: costs that are distances or products of short vectors, one per class.

Sums of products cancel where a distance is small, so they are formed in float64 whatever the dtype.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.dense import Table, cost_table
from lossmatrix.costs.labels import pair_labels


class LowRank(CostMatrix):
    """D[i, j] = left_i · right_j + row_costs_i + column_costs_j, with vectors of length r.

    expected is O((C + K)·r). `LowRank.squared_distances` and `LowRank.cosine_distances` make the
    cost matrix of class embeddings. Raises ValueError where the sizes do not fit.

    >>> costs = lm.LowRank([[1.0], [2.0]], [[3.0], [4.0], [5.0]], column_costs=[0, 0, 1])
    >>> costs.to_dense()
    tensor([[ 3.,  4.,  6.],
            [ 6.,  8., 11.]], dtype=torch.float64)
    """

    def __init__(
        self,
        left: Table,
        right: Table,
        row_costs: Sequence[float] | Tensor | None = None,
        column_costs: Sequence[float] | Tensor | None = None,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> None:
        U, V = vectors(left), vectors(right)
        rows, columns = side_costs(row_costs, U), side_costs(column_costs, V)
        if U.shape[1] != V.shape[1]:
            raise ValueError(f"left has vectors of length {U.shape[1]}, right of {V.shape[1]}.")
        names = pair_labels(len(U), len(V), classes, decisions)
        tables = {"left": U, "right": V, "row_costs": rows, "column_costs": columns}
        super().__init__(*names, tables)

    @staticmethod
    def squared_distances(
        embeddings: Table,
        decision_embeddings: "Table | None" = None,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> "Distances":
        """D[i, j] = ‖u_i − v_j‖², the squared distance of embeddings (v = u unless given).

        >>> lm.LowRank.squared_distances([[0.0, 0.0], [3.0, 4.0]]).entry(0, 1)
        25.0
        """
        return Distances(embeddings, decision_embeddings, classes, decisions)

    @staticmethod
    def cosine_distances(
        embeddings: Table,
        decision_embeddings: "Table | None" = None,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> "Distances":
        """D[i, j] = 1 − cos(u_i, v_j) = ½ ‖u_i/‖u_i‖ − v_j/‖v_j‖‖²: exactly 0 for equal vectors.

        >>> lm.LowRank.cosine_distances([[1.0, 0.0], [0.0, 2.0]]).entry(0, 1)
        1.0
        """
        sides = [unit_vectors(v) for v in (embeddings, decision_embeddings) if v is not None]
        return Distances(sides[0], sides[1] if sides[1:] else None, classes, decisions)

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        table = {name: t.double() for name, t in self._tables.items()}
        rows = table["left"][target] @ table["right"].mT
        rows = rows + table["row_costs"][target].unsqueeze(-1) + table["column_costs"]
        return rows.to(self._tables["left"].dtype)

    def _expected(self, weights: Tensor) -> Tensor:
        p, table = weights.double(), {name: t.double() for name, t in self._tables.items()}
        constant = (p @ table["row_costs"]).unsqueeze(-1)
        costs = (p @ table["left"]) @ table["right"].mT + constant
        return (costs + p.sum(-1, keepdim=True) * table["column_costs"]).to(weights.dtype)

    def _square(self) -> "LowRank":
        C, t = self.num_classes, self._tables
        right, columns = t["right"][:C], t["column_costs"][:C]
        names = self.classes, self.decisions[:C]
        return LowRank(t["left"], right, t["row_costs"], columns, *names)


class Distances(CostMatrix):
    """D[i, j] = ‖u_i − v_j‖² of embeddings; made by `LowRank.squared_distances`."""

    def __init__(
        self,
        embeddings: Table,
        decision_embeddings: "Table | None" = None,
        classes: Sequence[str] | None = None,
        decisions: Sequence[str] | None = None,
    ) -> None:
        U = vectors(embeddings)
        V = U if decision_embeddings is None else vectors(decision_embeddings)
        if U.shape[1] != V.shape[1]:
            raise ValueError(f"embeddings have length {U.shape[1]}, of decisions {V.shape[1]}.")
        names = pair_labels(len(U), len(V), classes, decisions)
        centre = U.double().mean(0)  # distances do not change; short vectors leave more digits
        tables = {"points": (U - centre).to(U.dtype), "decision_points": (V - centre).to(V.dtype)}
        super().__init__(*names, tables)

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        U, V = self._tables["points"], self._tables["decision_points"]
        mode = "donot_use_mm_for_euclid_dist"  # differences, so that equal points are at 0
        return torch.cdist(U[target], V, compute_mode=mode).square()

    def _expected(self, weights: Tensor) -> Tensor:
        # Σ p ‖u − v‖² = Σ p ‖u‖² − 2 (Σ p u)·v + (Σ p) ‖v‖²
        p, U = weights.double(), self._tables["points"].double()
        V = self._tables["decision_points"].double()
        constant = (p @ U.square().sum(-1)).unsqueeze(-1)
        costs = constant - 2 * (p @ U) @ V.mT + p.sum(-1, keepdim=True) * V.square().sum(-1)
        return costs.to(weights.dtype)

    def _square(self) -> "Distances":
        C, V = self.num_classes, self._tables["decision_points"]
        return Distances(self._tables["points"], V[:C], self.classes, self.decisions[:C])

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether classes and their decisions have the same embeddings."""
        U, V = self._tables["points"], self._tables["decision_points"]
        return torch.equal(U, V[: len(U)]) or super().is_symmetric

    @cached_property
    def is_conditionally_negative_definite(self) -> bool:
        """True for squared distances among the same embeddings."""
        U, V = self._tables["points"], self._tables["decision_points"]
        return torch.equal(U, V[: len(U)]) or super().is_conditionally_negative_definite


def vectors(table: Table) -> Tensor:
    """A (count, length) table of finite numbers."""
    given = cost_table(table)
    if given.dim() != 2 or not bool(given.isfinite().all()):
        raise ValueError(f"embeddings must be a finite (count, length) table, got {given.shape}.")
    return given


def unit_vectors(table: Table) -> Tensor:
    """Vectors divided by their length, times √½, so that squared distances are 1 − cos."""
    given = vectors(table)
    length = given.double().square().sum(-1, keepdim=True).sqrt()
    if bool((length == 0).any()):
        raise ValueError("cosine distances need embeddings that are not zero.")
    return (given / length * 0.5**0.5).to(given.dtype)


def side_costs(costs: Sequence[float] | Tensor | None, side: Tensor) -> Tensor:
    """One finite cost per vector of `side`, zeros unless given."""
    if costs is None:
        return side.new_zeros(len(side))
    given = torch.as_tensor(costs).to(side).clone()
    if given.shape != (len(side),) or not bool(given.isfinite().all()):
        raise ValueError(f"expected {len(side)} finite costs, got shape {tuple(given.shape)}.")
    return given
