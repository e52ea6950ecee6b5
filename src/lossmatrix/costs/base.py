# SPDX-License-Identifier: BSD-3-Clause
"""`CostMatrix`: D as an operator, D[i, j] = cost of deciding j when the truth is i."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs.labels import extend_labels, find_label

RowMap = Callable[[Tensor, Tensor], Tensor]
BLOCK_ENTRIES = 2**22  # entries of D in memory at a time where D is walked in blocks of rows
DENSE_LIMIT = 2**28  # entries `to_dense` agrees to build: 2 GiB in float64


class RowFacts(NamedTuple):
    """What the facts need to know of every row of D, in float64."""

    minimum: Tensor
    maximum: Tensor
    total: Tensor
    ties: Tensor  # how many entries equal the minimum


class CostMatrix(ABC):
    """What every mistake costs: D[i, j] = cost of deciding j when the truth is i.

    Rows are truths (C of them), columns are decisions (K). A matrix never changes: transformations
    answer a new one. A kind states `_row`, and `_expected` or `_product` where it is faster than
    blocks of rows. Tensors live in `_tables`, so that they can move between devices.
    """

    def __init__(
        self,
        classes: Sequence[str],
        decisions: Sequence[str],
        tables: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._classes, self._decisions = classes, decisions
        self._tables = dict(tables or {})

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(C, K): number of classes, number of decisions."""
        return len(self._classes), len(self._decisions)

    @property
    def num_classes(self) -> int:
        """C, the number of truths (rows)."""
        return len(self._classes)

    @property
    def num_decisions(self) -> int:
        """K, the number of decisions (columns)."""
        return len(self._decisions)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the truths."""
        return self._classes

    @property
    def decisions(self) -> Sequence[str]:
        """Names of the decisions."""
        return self._decisions

    @property
    def tables(self) -> dict[str, Tensor]:
        """The tensors this matrix is made of, by name."""
        return dict(self._tables)

    def with_tables(self, tables: Mapping[str, Tensor]) -> Self:
        """The same matrix on other tensors that hold the same costs (other device or precision).

        Facts already computed are kept. Raises ValueError where names or shapes differ.
        """
        given = {name: tuple(table.shape) for name, table in tables.items()}
        expected = {name: tuple(table.shape) for name, table in self.tables.items()}
        if given != expected:
            raise ValueError(f"with_tables got tables of shapes {given}, expected {expected}.")
        clone = copy.copy(self)
        clone._tables = dict(tables)
        return clone

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """The same matrix on another device, or in float32 or float64 (whole numbers stay so)."""
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"costs are kept in float32 or float64, got dtype {dtype}.")

        def move(table: Tensor) -> Tensor:
            return table.to(device, dtype if table.is_floating_point() else table.dtype)

        return self.with_tables({name: move(table) for name, table in self.tables.items()})

    # ---- what it answers -------------------------------------------------------------------------

    @abstractmethod
    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        """Rows of D for a vector of truths: (N,) → (N, K)."""

    def row(self, target: Tensor, sample: Tensor | None = None) -> Tensor:
        """Rows of D: (…) truths → (…, K) costs; `sample` (…) is read by `PerExample` only.

        >>> lm.Ordinal(4).row(torch.tensor([0, 2]))
        tensor([[0., 1., 2., 3.],
                [2., 1., 0., 1.]], dtype=torch.float64)
        """
        self._check_device(target, "target")
        with full_precision(target.device):
            flat = None if sample is None else sample.reshape(-1)
            rows = self._row(target.reshape(-1).long(), flat)
            return rows.reshape(*target.shape, self.num_decisions)

    def entry(self, truth: int | str, decision: int | str) -> float:
        """D[truth, decision], by position or by name.

        >>> lm.Ordinal(["low", "mid", "high"]).entry("low", "high")
        2.0
        """
        i = find_label(self.classes, truth, "class")
        j = find_label(self.decisions, decision, "decision")
        return float(self.row(torch.tensor(i, device=self._device))[j])

    def expected(self, probs: Tensor) -> Tensor:
        """Expected cost of every decision, Σ_i probs_i D[i, ·]: (…, C) → (…, K).

        Linear: any real weights will do. Computed in float32 (float64 for float64) without
        autocast and rounded once to the dtype of `probs`; differentiable in `probs`. Raises
        TypeError for weights that are not floating, ValueError for another number of classes.

        >>> lm.Ordinal(3).expected(torch.tensor([0.5, 0.25, 0.25]))
        tensor([0.7500, 0.7500, 1.2500])
        """
        C, K = self.shape
        if not probs.is_floating_point():
            raise TypeError(f"expected needs floating weights, got {probs.dtype}.")
        if probs.dim() == 0 or probs.shape[-1] != C:
            raise ValueError(
                f"expected needs one weight per class in the last dimension: got shape "
                f"{tuple(probs.shape)} for {C} classes."
            )
        self._check_device(probs, "probs")
        with full_precision(probs.device):
            dtype = torch.float64 if probs.dtype == torch.float64 else torch.float32
            costs = self._expected(probs.reshape(-1, C).to(dtype))
            return costs.to(probs.dtype).reshape(*probs.shape[:-1], K)

    def _expected(self, weights: Tensor) -> Tensor:
        return multiply(weights, self, False)

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        """weights·D, or weights·Dᵀ, through blocks of rows: never C×C at once."""
        blocks = ((index, rows.to(weights.dtype)) for index, rows in self._row_blocks())
        if transposed:
            return torch.cat([weights @ rows.mT for _, rows in blocks], -1)
        total = weights.new_zeros(*weights.shape[:-1], self.num_decisions)
        for index, rows in blocks:
            total = total + weights[..., index] @ rows
        return total

    def _row_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        step = max(1, BLOCK_ENTRIES // self.num_decisions)
        for start in range(0, self.num_classes, step):
            stop = min(start + step, self.num_classes)
            index = torch.arange(start, stop, device=self._device)
            yield index, self._row(index, None)

    def to_dense(self) -> Tensor:
        """D as a (C, K) tensor. Raises ValueError above 2²⁸ entries."""
        C, K = self.shape
        if C * K > DENSE_LIMIT:
            raise ValueError(
                f"a dense {C} × {K} matrix has more than 2**28 entries: use row, expected or entry."
            )
        return self.row(torch.arange(C, device=self._device))

    # ---- transformations -------------------------------------------------------------------------

    def scaled(self, factor: float) -> "CostMatrix":
        """factor · D, for another unit; factor must be positive."""
        from lossmatrix.costs.adjusted import Adjusted, check_factor  # they need this class first

        own = {"factor": torch.tensor([check_factor(factor)], dtype=torch.float64)}
        return Adjusted(self, self.decisions, own)

    def regret(self) -> "CostMatrix":
        """D[i, j] − min_k D[i, k]: same decisions, and 0 for the cheapest of a row."""
        from lossmatrix.costs.adjusted import Adjusted

        minimum = self._row_facts.minimum
        if not bool(minimum.any()):
            return self
        return Adjusted(self, self.decisions, {"offset": minimum})

    def with_abstain(self, cost: float | Sequence[float], name: str = "abstain") -> "CostMatrix":
        """One more decision, at the same cost for every truth or at one cost per truth.

        >>> lm.ZeroOne(2).with_abstain(0.3).to_dense()
        tensor([[0.0000, 1.0000, 0.3000],
                [1.0000, 0.0000, 0.3000]], dtype=torch.float64)
        """
        from lossmatrix.costs.adjusted import Adjusted, abstain_costs

        decisions = extend_labels(self.decisions, name, "decision")
        return Adjusted(self, decisions, {"extra": abstain_costs(cost, self.num_classes)})

    def square(self) -> "CostMatrix":
        """The first C columns (the decisions that are classes); the matrix itself if K = C."""
        if self.num_decisions == self.num_classes:
            return self
        if self.num_decisions < self.num_classes:
            raise ValueError(
                f"{self.num_classes} classes but only {self.num_decisions} decisions: there is no "
                f"square part; decide and the metrics take this matrix, losses over classes do not."
            )
        return self._square()

    def _square(self) -> "CostMatrix":
        raise NotImplementedError(f"{type(self).__name__} is always square")

    def map_rows(self, fn: RowMap) -> "CostMatrix":
        """The matrix of fn(rows (…, K), is_truth (…, K)); fn works on each row alone.

        `is_truth` marks the row's own class; `expected` goes through blocks of rows.
        """
        from lossmatrix.costs.adjusted import MappedRows

        return MappedRows(self, fn)

    def is_truth(self, target: Tensor) -> Tensor:
        """The decision that is right, marked in each row: (…) truths → (…, K) of bool."""
        return target.unsqueeze(-1) == torch.arange(self.num_decisions, device=target.device)

    # ---- facts: plain Python numbers, computed once ----------------------------------------------

    @cached_property
    def _row_facts(self) -> RowFacts:
        """Facts of every row; kinds that know theirs override this pass over all entries."""
        facts = [row_facts(rows) for _, rows in self._row_blocks()]
        return RowFacts(*map(torch.cat, zip(*facts, strict=True)))

    @cached_property
    def minimum(self) -> float:
        """The least entry."""
        return self._row_facts.minimum.min().item()

    @cached_property
    def maximum(self) -> float:
        """The greatest entry."""
        return self._row_facts.maximum.max().item()

    @cached_property
    def is_finite(self) -> bool:
        """Whether no entry is infinite (an infinite cost forbids a decision)."""
        return self.maximum < float("inf")

    @cached_property
    def unit(self) -> float:
        """Mean positive regret: the mean of D_ij − min_k D_ik over its positive entries, or 1."""
        facts, K = self._row_facts, self.num_decisions
        count = (K - facts.ties).sum().item()
        return (facts.total - K * facts.minimum).sum().item() / count if count else 1.0

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether D[i, j] = D[j, i] on the decisions that are classes (False if some are not)."""
        if self.num_decisions < self.num_classes:
            return False
        table = self.square().to_dense()
        return torch.equal(table, table.mT)

    @cached_property
    def is_conditionally_negative_definite(self) -> bool:
        """Whether vᵀDv ≤ 0 for all v that sum to zero, D symmetric: eigenvalues of −½JDJ ≥ 0."""
        if not (self.is_symmetric and self.is_finite):
            return False
        return is_negative_type(self.square().to_dense())

    # ---- Python ----------------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return next((t.device for t in self._tables.values()), torch.device("cpu"))

    def _check_device(self, tensor: Tensor, what: str) -> None:
        if self._tables and tensor.device != self._device:
            raise ValueError(
                f"{what} is on {tensor.device} and the costs are on {self._device}: move the "
                f"matrix once with costs.to({str(tensor.device)!r})."
            )

    def _settings(self) -> dict[str, object]:
        """What makes this matrix besides tables and names; shown by repr and compared by ==."""
        return {}

    def __repr__(self) -> str:
        C, K = self.shape
        size = f"{C}" if K == C else f"{C} × {K}"
        settings = "".join(f", {name}={value!r}" for name, value in self._settings().items())
        return f"{type(self).__name__}({size}{settings})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CostMatrix) or type(self) is not type(other):
            return NotImplemented
        mine, its = self.tables, other.tables
        return (
            self.shape == other.shape
            and self._settings() == other._settings()
            and all(a == b for a, b in zip(self.classes, other.classes, strict=True))
            and all(a == b for a, b in zip(self.decisions, other.decisions, strict=True))
            and mine.keys() == its.keys()
            and all(t.dtype == its[k].dtype and torch.equal(t, its[k]) for k, t in mine.items())
        )

    def __hash__(self) -> int:
        return hash((type(self), self.shape))


class Product(torch.autograd.Function):
    """weights·D or weights·Dᵀ, each the derivative of the other, so that no row of D is kept."""

    @staticmethod
    def forward(weights: Tensor, costs: CostMatrix, transposed: bool) -> Tensor:  # noqa: D102
        return costs._product(weights, transposed)  # pyright: ignore[reportPrivateUsage]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: D102
        _, ctx.costs, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        return multiply(grad_outputs[0], ctx.costs, not ctx.transposed), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:  # noqa: D102
        weights, costs, transposed = args
        return multiply(weights.movedim(in_dims[0], 0), costs, transposed), 0


def multiply(weights: Tensor, costs: CostMatrix, transposed: bool) -> Tensor:
    """`Product`, with its types."""
    return cast(Tensor, Product.apply(weights, costs, transposed))  # pyright: ignore[reportUnknownMemberType]


def full_precision(device: torch.device) -> torch.autocast | nullcontext[None]:
    """Autocast switched off, where the device knows autocast at all."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def row_facts(rows: Tensor) -> RowFacts:
    """Facts of rows (N, K)."""
    rows = rows.detach().double()
    minimum = rows.amin(-1)
    ties = (rows == minimum.unsqueeze(-1)).sum(-1).double()
    return RowFacts(minimum, rows.amax(-1), rows.sum(-1), ties)


def is_negative_type(table: Tensor) -> bool:
    """Whether −½JDJ has no eigenvalue below rounding, for symmetric tables (…, C, C)."""
    D = table.detach().double()
    centred = D - D.mean(-1, keepdim=True)
    centred = centred - centred.mean(-2, keepdim=True)
    eigenvalues = cast(Tensor, torch.linalg.eigvalsh(-0.5 * centred))  # pyright: ignore[reportUnknownMemberType]
    rounding = 8 * D.shape[-1] * torch.finfo(torch.float64).eps * D.abs().amax((-2, -1))
    return bool((eigenvalues.amin(-1) >= -rounding).all())
