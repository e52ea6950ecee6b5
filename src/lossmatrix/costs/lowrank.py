# SPDX-License-Identifier: BSD-3-Clause
"""`LowRank`: costs that are products or distances of short vectors, one per class.

Sums of products cancel where a distance is small, so they are formed in float64 whatever the dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.base import BLOCK_ENTRIES, CostMatrix
from lossmatrix.costs.labels import Names, pair_labels
from lossmatrix.costs.tables import Table, read_costs


class LowRank(CostMatrix):
    """D[i, j] = left_i · right_j + row_costs_i + column_costs_j, with vectors of length r.

    expected is O((C + K)·r). `LowRank.squared_distances` and `LowRank.cosine_distances` are the
    costs of class embeddings. Raises ValueError where the sizes do not fit.

    >>> lm.LowRank([[1], [2]], [[3], [4], [5]], column_costs=[0, 0, 1]).to_dense()
    tensor([[ 3.,  4.,  6.],
            [ 6.,  8., 11.]], dtype=torch.float64)
    """

    def __init__(
        self,
        left: Table,
        right: Table,
        row_costs: Sequence[float] | Tensor | None = None,
        column_costs: Sequence[float] | Tensor | None = None,
        classes: Names = None,
        decisions: Names = None,
    ) -> None:
        U, V = read_vectors(left, right)
        tables = {"left": U, "right": V}
        for name, costs, side in (("row_costs", row_costs, U), ("column_costs", column_costs, V)):
            dtype = None if isinstance(costs, Tensor) else torch.float64  # a list is exact
            given = torch.as_tensor(0.0 if costs is None else costs, dtype=dtype).to(side)
            if given.shape not in ((), (len(side),)) or not bool(given.isfinite().all()):
                raise ValueError(f"{name} must be {len(side)} finite numbers, got {costs}.")
            tables[name] = given.expand(len(side)).clone()
        names = pair_labels(len(U), len(V), classes, decisions)
        super().__init__(*names[:2], in_order(tables, ("right", "column_costs"), names[2]))

    @staticmethod
    def squared_distances(
        embeddings: Table,
        decision_embeddings: Table | None = None,
        classes: Names = None,
        decisions: Names = None,
    ) -> Distances:
        """D[i, j] = ‖u_i − v_j‖², the squared distance of embeddings (v = u unless given).

        >>> lm.LowRank.squared_distances([[0, 0], [3, 4]]).entry(0, 1)
        25.0
        """
        U, V = read_vectors(embeddings, decision_embeddings)
        return Distances(U, V, classes, decisions)

    @staticmethod
    def cosine_distances(
        embeddings: Table,
        decision_embeddings: Table | None = None,
        classes: Names = None,
        decisions: Names = None,
    ) -> Distances:
        """D[i, j] = 1 − cos(u_i, v_j) = ½ ‖u_i/‖u_i‖ − v_j/‖v_j‖‖², exactly 0 for equal vectors.

        >>> costs = lm.LowRank.cosine_distances([[1, 0], [0, 2]])
        >>> costs.entry(0, 0), round(costs.entry(0, 1), 6)
        (0.0, 1.0)
        """
        U, V = read_vectors(embeddings, decision_embeddings)
        if not bool(U.any(1).all() and V.any(1).all()):
            raise ValueError("cosine distances need embeddings that are not zero.")
        left, right = (T / (2 * T.square().sum(1, keepdim=True)).sqrt() for T in (U, V))
        return Distances(left, right, classes, decisions)

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        U, V, rows, columns = (table.double() for table in self._tables.values())
        costs = U[target] @ V.mT + rows[target].unsqueeze(-1) + columns
        return costs.to(self._tables["left"].dtype)

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        U, V, rows, columns = self._tables.values()
        costs = pairwise(i, j, U, V, lambda u, v: (u.double() * v.double()).sum(-1))
        return (costs + rows[i].double() + columns[j].double()).to(U.dtype)

    @property
    def has_product(self) -> bool:
        """By the vectors."""
        return True

    def _expected(self, weights: Tensor) -> Tensor:
        U, V, rows, columns = (table.double() for table in self._tables.values())
        p = weights.double()
        costs = (p @ U) @ V.mT + (p @ rows).unsqueeze(-1) + p.sum(-1, keepdim=True) * columns
        return costs.to(weights.dtype)

    _remedy = "give the vectors and costs in another unit"

    def _magnitudes(self) -> tuple[float, float]:
        U, V, rows, columns = (table.double() for table in self._tables.values())
        bound = longest(U) * longest(V) + largest(rows) + largest(columns)
        return reach(bound, *self._tables.values())

    def _square(self) -> CostMatrix:
        C, (U, V, rows, columns) = self.num_classes, self._tables.values()
        return LowRank(U, V[:C], rows, columns[:C], self.classes, self.decisions[:C])


class Distances(CostMatrix):
    """D[i, j] = ‖u_i − v_j‖²; made by `LowRank.squared_distances` and `cosine_distances`."""

    def __init__(self, points: Tensor, others: Tensor, classes: Names, decisions: Names) -> None:
        centre = points.mean(0)  # distances do not change; shorter vectors leave more digits
        tables = {"points": points - centre, "others": others - centre}
        names = pair_labels(len(points), len(others), classes, decisions)
        super().__init__(*names[:2], in_order(tables, ("others",), names[2]))

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        mode = "donot_use_mm_for_euclid_dist"  # differences, so that equal points are at 0
        points = self._tables["points"][target]
        return torch.cdist(points, self._tables["others"], compute_mode=mode).square()

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        U, V = self._tables.values()
        return pairwise(i, j, U, V, lambda u, v: (u - v).square().sum(-1))

    @property
    def has_product(self) -> bool:
        """By the vectors."""
        return True

    def _expected(self, weights: Tensor) -> Tensor:
        if self._is_small:
            return self._product(weights, False)
        # Σ p ‖u − v‖² = Σ p ‖u‖² − 2 (Σ p u)·v + (Σ p) ‖v‖²
        U, V = (table.double() for table in self._tables.values())
        p = weights.double()
        constant = (p @ U.square().sum(-1)).unsqueeze(-1)
        costs = constant - 2 * (p @ U) @ V.mT + p.sum(-1, keepdim=True) * V.square().sum(-1)
        return costs.to(weights.dtype)

    _remedy = "give the vectors in another unit, nearer together"

    def _magnitudes(self) -> tuple[float, float]:
        U, V = (table.double() for table in self._tables.values())
        return reach((longest(U) + longest(V)) ** 2, U, V)

    @cached_property
    def _narrow_fault(self) -> str:
        """Different points that would be one."""
        points = torch.cat([*self._tables.values()])
        if self._range_fault or points.dtype == torch.float32 or points.is_meta:
            return self._range_fault
        merged = count_different(points) - count_different(points.float())
        if merged == 0:
            return ""
        return f"{merged} of its vectors would be equal to others there: {self._remedy}"

    def least(self, truth: Tensor, sample: Tensor | None = None) -> Tensor:
        """0 where the decisions begin with the points of the classes, else as of any kind."""
        if self._geometry()[0]:
            return self._tables["points"].new_zeros(truth.shape)
        return super().least(truth, sample)

    def _geometry(self) -> tuple[bool | None, bool | None]:
        U, V = self._tables.values()
        return (True, True) if torch.equal(U, V[: len(U)]) else (None, None)

    def _square(self) -> CostMatrix:
        C, (U, V) = self.num_classes, self._tables.values()
        return Distances(U, V[:C], self.classes, self.decisions[:C])


def read_vectors(left: Table, right: Table | None) -> tuple[Tensor, Tensor]:
    """Two (count, length) tables of finite numbers; the second is the first unless given."""
    U = read_costs(left)
    V = U if right is None else read_costs(right)
    finite = bool(U.isfinite().all() and V.isfinite().all())
    if not (finite and U.dim() == V.dim() == 2 and U.shape[1] == V.shape[1]):
        raise ValueError(
            f"expected finite vectors of one length in rows, got {tuple(U.shape)} and "
            f"{tuple(V.shape)}."
        )
    return U, V


def pairwise(
    i: Tensor, j: Tensor, U: Tensor, V: Tensor, of: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """of(U_i, V_j) for vectors of indices, a few pairs at a time: (N,) → (N,)."""
    step = max(1, BLOCK_ENTRIES // U.shape[1])
    starts = range(0, max(1, len(i)), step)
    return torch.cat([of(U[i[k : k + step]], V[j[k : k + step]]) for k in starts])


def in_order(
    tables: dict[str, Tensor], columns: tuple[str, ...], order: list[int] | None
) -> dict[str, Tensor]:
    """The tables with those that have a row per decision in another order of the decisions."""
    if order is None:
        return tables
    return tables | {name: tables[name][order] for name in columns}


def largest(table: Tensor) -> float:
    """The greatest |entry|."""
    return table.detach().abs().max().item()


def longest(vectors: Tensor) -> float:
    """The greatest length."""
    return vectors.detach().square().sum(1).max().sqrt().item()


def reach(bound: float, *tables: Tensor) -> tuple[float, float]:
    """What is to be held for costs up to a bound: it, and the greatest number of each table."""
    sizes = [size for size in (bound, *map(largest, tables)) if size > 0]
    return min(sizes, default=1.0), max(sizes, default=1.0)


def count_different(vectors: Tensor) -> int:
    """How many vectors are different, by a sum with weights that no two of them share by chance."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(vectors.shape[1], dtype=torch.float64, generator=generator)
    sums = (vectors.detach().double() * weights.to(vectors.device)).sum(1)
    return 1 + int((sums.sort().values.diff() > 0).sum())
