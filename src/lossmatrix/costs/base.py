# SPDX-License-Identifier: BSD-3-Clause
"""`CostMatrix`: D as an operator, D[i, j] = cost of deciding j when the truth is i."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs import accelerator
from lossmatrix.costs.check import Finding, find_all
from lossmatrix.costs.display import View, shown
from lossmatrix.costs.facts import (
    RowFacts,
    facts_of,
    is_negative_type,
    magnitudes,
    mean_positive_regret,
    misfit,
)
from lossmatrix.costs.labels import abbreviate, decisions_of_classes, extend_labels, find_label
from lossmatrix.costs.language import Load

RowMap = Callable[[Tensor, Tensor], Tensor]
FEW_ENTRIES = 2**14  # of D whose rows are as soon multiplied as a product is made without them
BLOCK_ENTRIES = 2**21  # entries of D in memory at a time where D is walked in blocks of rows
DENSE_LIMIT = 2**28  # entries `to_dense` agrees to build: 2 GiB in float64


class CostMatrix:
    """What every mistake costs: D[i, j] = cost of deciding j when the truth is i.

    Rows are truths: `classes` are their names, `num_classes` = C. Columns are decisions:
    `decisions`, `num_decisions` = K; `shape` = (C, K). Decision j is class j, by its name, and what
    is no class comes after: so the argmax of logits is a class and a decision by one number. A
    table whose decisions are other things (brake, drive on) serves decide and the metrics, and is
    refused by what pairs classes with decisions. A matrix never changes: transformations
    answer a new one. A kind states `formula`, or `_row` where an entry is no formula; and
    `_product` where it is faster than blocks of rows (or `_expected`, where autograd serves it
    well). Its tensors live in `_tables`.
    """

    _transformations: ClassVar[dict[str, Callable[..., CostMatrix]]] = {}

    def __init_subclass__(cls, transformation: str = "") -> None:
        """A matrix made from another one says the name of the method that makes it."""
        if transformation:
            cls._transformations[transformation] = cls

    def __init__(
        self, classes: Sequence[str], decisions: Sequence[str], tables: Mapping[str, Tensor]
    ) -> None:
        self.classes, self.decisions = classes, decisions
        self.num_classes, self.num_decisions = self.shape = len(classes), len(decisions)
        self._tables = dict(tables)

    @property
    def tables(self) -> dict[str, Tensor]:
        """The tensors this matrix is made of, by name."""
        return dict(self._tables)

    def with_tables(self, tables: Mapping[str, Tensor]) -> Self:
        """The same matrix on other tensors that hold the same costs (other device or precision).

        Facts already computed are kept. Raises ValueError where names or shapes differ.
        """
        given = {name: tuple(table.shape) for name, table in tables.items()}
        expected = {name: tuple(table.shape) for name, table in self._tables.items()}
        if given != expected:
            raise ValueError(f"with_tables got tables of shapes {given}, expected {expected}.")
        clone = copy.copy(self)
        clone._tables = {name: tables[name] for name in self._tables}
        return clone

    def of_samples(self, rows: Tensor) -> CostMatrix:
        """The matrix for some of the samples, by number: itself, unless they have costs each."""
        del rows
        return self

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """The same matrix on another device, or in float32 or float64 (whole numbers stay so).

        Raises ValueError where float32 would make a finite cost infinite, a cost above 0 nothing,
        or different positions the same; looked for once per matrix.
        """
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"costs are kept in float32 or float64, got dtype {dtype}.")
        if dtype == torch.float32 and not torch.compiler.is_compiling():
            self._refuse(self._narrow_fault)
        return self.with_tables(self._moved(device, dtype))

    def _moved(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> dict[str, Tensor]:
        """The tables elsewhere, whole numbers in their own dtype."""
        return {
            name: table.to(device, dtype if table.is_floating_point() else table.dtype)
            for name, table in self._tables.items()
        }

    def check_range(self, dtype: torch.dtype) -> None:
        """Refuse finite costs above 0 that are infinite, or 0, in this dtype, with a ValueError."""
        if dtype == torch.float32 and not torch.compiler.is_compiling():
            self._refuse(self._range_fault)

    def _refuse(self, fault: str) -> None:
        if fault:
            raise ValueError(f"{self!r} does not fit float32: {fault}.")

    @cached_property
    def _range_fault(self) -> str:
        """Why costs in float32 would overflow or vanish, with the remedy; empty where they fit."""
        tables = [table for table in self._tables.values() if table.dtype == torch.float64]
        if not tables or any(table.is_meta for table in tables):
            return ""
        fault = misfit(*self._magnitudes())
        return fault and f"{fault}: {self._remedy}"

    @cached_property
    def _narrow_fault(self) -> str:
        """Why tables in float32 would hold other costs, with the remedy; empty where they do."""
        return self._range_fault

    def _magnitudes(self) -> tuple[float, float]:
        """The least and the greatest |cost| that is neither 0 nor infinite, or bounds of them."""
        return magnitudes(*(table for table in self._tables.values() if table.is_floating_point()))

    is_reordered = False  # whether its columns were written in another order than its decisions
    _remedy: ClassVar[str] = "give the costs in another unit, costs.scaled(1 / costs.unit)"

    # ---- what it answers -------------------------------------------------------------------------

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        """D[i, j] in the words of ``language``; kernels are printed from it."""
        raise NotImplementedError(f"{type(self).__name__} states neither formula nor _row.")

    @property
    def has_formula(self) -> bool:
        """Whether the kind states its entries as a formula."""
        return type(self).formula is not CostMatrix.formula

    @property
    def has_entries(self) -> bool:
        """Whether some columns of a row take less than the row."""
        return self.has_formula

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        """Rows of D for a vector of truths: (N,) → (N, K)."""
        j = torch.arange(self.num_decisions, device=target.device)
        rows = self.formula(self._number(target.unsqueeze(-1)), self._number(j), self._load)
        return self._number(rows.expand(target.shape[0], self.num_decisions))

    def _load(self, name: str, index: Tensor | int = 0, /) -> Tensor:
        return self._tables[name][index if isinstance(index, int) else index.long()]

    def _number(self, index: Tensor) -> Tensor:
        """An index as formulas calculate with it: of the dtype of the tables, float64 without."""
        dtypes = (t.dtype for t in self._tables.values() if t.is_floating_point())
        return index.to(next(dtypes, torch.float64))

    def _diagonal(self) -> Tensor | None:
        """D[i, i] for the classes that are decisions; None where the kind would have to look."""
        if not self.has_formula:
            return None
        i = self._number(torch.arange(min(self.shape), device=self._device))
        return self.formula(i, i, self._load).expand_as(i)

    def row(self, target: Tensor, sample: Tensor | None = None) -> Tensor:
        """Rows of D: (…) truths → (…, K) costs; `sample` (…) is read by `PerExample` only.

        Truths are not checked here: losses, decisions and metrics do so at their boundary.

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
        place = torch.tensor([[i], [j]], device=self._device)
        return self.entries(place[0], place[1]).item()

    def index(self, classes: Iterable[str]) -> Tensor:
        """The numbers of classes by their names: a target from words, (N,) int64.

        Raises ValueError for a name that no class has.

        >>> lm.ZeroOne(["cat", "lynx", "truck"]).index(["cat", "truck", "cat"])
        tensor([0, 2, 0])
        """
        if isinstance(classes, str):
            raise TypeError(f"index needs a list of names, got the one string {classes!r}.")
        given = list(classes)
        unknown = next((label for label in given if label not in self._class_numbers), None)
        if unknown is not None:
            names = abbreviate(self.classes)
            raise ValueError(f"unknown class {unknown!r}: the names of the classes are {names}.")
        return torch.tensor([self._class_numbers[label] for label in given], dtype=torch.int64)

    @cached_property
    def _class_numbers(self) -> dict[str, int]:
        return dict(zip(self.classes, range(self.num_classes), strict=True))

    def entries(self, truth: Tensor, decision: Tensor, sample: Tensor | None = None) -> Tensor:
        """D[truth, decision] for each pair: indices that broadcast to (…) → (…) costs.

        Only these entries are made where the kind states entries; whole rows, a block at a time,
        where an entry takes its row (`map_rows`, `soft_targets`). `sample` is read by `PerExample`
        only. Indices are not checked here.

        >>> lm.Ordinal(100_000).entries(torch.tensor([0, 7]), torch.tensor([99_999, 5]))
        tensor([9.9999e+04, 2.0000e+00], dtype=torch.float64)
        """
        self._check_device(truth, "truth")
        given = (truth, decision) if sample is None else (truth, decision, sample)
        alike = cast("Sequence[Tensor]", torch.broadcast_tensors(*given))  # pyright: ignore
        i, j, *rest = (index.reshape(-1).long() for index in alike)
        with full_precision(truth.device):
            return self._entries(i, j, rest[0] if rest else None).reshape(alike[0].shape)

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        """Entries of D for vectors of truths and decisions: (N,) → (N,)."""
        if self.has_formula:
            costs = self.formula(self._number(i), self._number(j), self._load)
            return self._number(costs).expand(len(i))
        step = max(1, BLOCK_ENTRIES // self.num_decisions)
        found = [self._row(i[:0], None if sample is None else sample[:0]).reshape(-1)]
        for start in range(0, len(i), step):
            part = slice(start, start + step)
            rows = self._row(i[part], None if sample is None else sample[part])
            found.append(rows.gather(-1, j[part].unsqueeze(-1)).squeeze(-1))
        return torch.cat(found)

    def least(self, truth: Tensor, sample: Tensor | None = None) -> Tensor:
        """The least cost of any decision, min_k D[truth, k]: (N,) truths → (N,) costs."""
        if sample is None and type(self).row_facts is not CostMatrix.row_facts:
            return self._row_range[0].to(truth.device)[truth]
        step = max(1, BLOCK_ENTRIES // self.num_decisions)
        starts = range(0, max(1, len(truth)), step)
        parts = [slice(start, start + step) for start in starts]
        rows = (self.row(truth[p], None if sample is None else sample[p]) for p in parts)
        return torch.cat([some.amin(-1) for some in rows])

    def expected(self, probs: Tensor) -> Tensor:
        """Expected cost of every decision, Σ_i probs_i D[i, ·]: (…, C) → (…, K).

        Linear: any real weights will do. Computed in float32 (float64 for float64) without
        autocast and rounded once to the dtype of `probs`; differentiable in `probs`. Raises
        TypeError for weights that are not floating, ValueError for another number of classes and
        for costs that float32 cannot hold.

        >>> lm.Ordinal(3).expected(torch.tensor([0.5, 0.25, 0.25]))
        tensor([0.7500, 0.7500, 1.2500])
        """
        if not probs.is_floating_point():
            raise TypeError(f"expected needs floating weights, got {probs.dtype}.")
        if probs.dim() == 0 or probs.shape[-1] != self.num_classes:
            raise ValueError(
                f"expected needs one weight per class in the last dimension: got shape "
                f"{tuple(probs.shape)} for {self.num_classes} classes."
            )
        self._check_device(probs, "probs")
        dtype = torch.float64 if probs.dtype == torch.float64 else torch.float32
        self.check_range(dtype)
        with full_precision(probs.device):
            costs = self._expected(probs.reshape(-1, self.num_classes).to(dtype))
            return costs.to(probs.dtype).reshape(*probs.shape[:-1], self.num_decisions)

    def _expected(self, weights: Tensor) -> Tensor:
        return multiply(weights, self, False)

    @property
    def _is_small(self) -> bool:
        """Whether a product that is a difference is made of the rows instead: none cancels then."""
        return self.num_samples is None and math.prod(self.shape) <= FEW_ENTRIES

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        """weights·D, or weights·Dᵀ, (…, C) → (…, K) through blocks of rows: never C×C at once."""
        blocks = (rows.to(weights.dtype) for rows, _ in self._row_blocks())
        if transposed:
            return torch.cat([weights @ rows.mT for rows in blocks], -1)
        total, start = weights.new_zeros(*weights.shape[:-1], self.num_decisions), 0
        for rows in blocks:
            total = total + weights[..., start : start + len(rows)] @ rows
            start += len(rows)
        return total

    @property
    def has_product(self) -> bool:
        """Whether `expected` takes less than a walk through the rows."""
        return type(self)._product is not CostMatrix._product

    def _row_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows of D in order, a few at a time, each with the mark of its own class."""
        step = max(1, BLOCK_ENTRIES // self.num_decisions)
        for start in range(0, self.num_classes, step):
            stop = min(start + step, self.num_classes)
            truth = torch.arange(start, stop, device=self._device)
            yield self._row(truth, None), self._is_truth(truth)

    @cached_property
    def _own_decisions(self) -> list[int] | None:
        """The decision of each class by name, −1 for none; None where decision j is class j."""
        return decisions_of_classes(self.classes, self.decisions)

    def _check_pairs(self) -> None:
        """Refuse names by which decision j is not class j."""
        own = self._own_decisions
        if own is None:
            return
        j = next(j for j, place in enumerate(own) if place != j)
        raise ValueError(
            f"the decisions ({abbreviate(self.decisions)}) are not the classes: class {j} is "
            f"{self.classes[j]!r}, and losses need a decision of that name; name the decisions "
            f"that are classes like them, or use decide and average_cost, which take this matrix "
            f"as it is."
        )

    def _is_truth(self, target: Tensor) -> Tensor:
        if self._own_decisions is not None:
            target = torch.tensor(self._own_decisions, device=target.device)[target]
        return target.unsqueeze(-1) == torch.arange(self.num_decisions, device=target.device)

    def to_dense(self) -> Tensor:
        """D as a new (C, K) tensor. Raises ValueError above 2²⁸ entries."""
        C, K = self.shape
        if C * K > DENSE_LIMIT:
            raise ValueError(
                f"{C} × {K} costs are too many for one table: use row, entries or expected."
            )
        return self.row(torch.arange(C, device=self._device))

    # ---- transformations -------------------------------------------------------------------------

    def scaled(self, factor: float) -> CostMatrix:
        """factor · D, for another unit. Raises ValueError unless the factor is positive."""
        if not 0 < factor < math.inf:
            raise ValueError(f"scaled needs a factor above 0, got {factor}; see also from_gains.")
        return self._adjust({"factor": torch.tensor([factor], dtype=torch.float64)})

    def regret(self) -> CostMatrix:
        """D[i, j] − min_k D[i, k]: same decisions, and 0 for the cheapest of a row."""
        minimum = self._row_range[0]
        return self._adjust({"offset": minimum}) if bool(minimum.any()) else self

    def with_abstain(self, cost: float | Sequence[float], name: str = "abstain") -> CostMatrix:
        """One more decision, at one finite cost for every truth or one for each.

        >>> lm.ZeroOne(2).with_abstain(0.3).to_dense()
        tensor([[0.0000, 1.0000, 0.3000],
                [1.0000, 0.0000, 0.3000]], dtype=torch.float64)
        """
        costs, count = torch.as_tensor(cost, dtype=torch.float64), self._num_rows
        if costs.shape not in ((), (count,)) or not bool(costs.isfinite().all()):
            raise ValueError(f"with_abstain needs 1 finite cost, or one for each of {count} rows.")
        decisions = extend_labels(self.decisions, name)
        return self._adjust({"extra": costs.expand(count).clone()}, decisions)

    def check_square(self) -> None:
        """Refuse decisions that are not the classes, with a ValueError.

        That is where some class has no decision of its name, or K < C.
        """
        if self.num_decisions < self.num_classes:
            raise ValueError(
                f"{self.num_classes} classes but {self.num_decisions} decisions: losses need a "
                f"decision for each class; decide and average_cost take this matrix as it is."
            )
        self._check_pairs()

    def square(self) -> CostMatrix:
        """The first C columns, the decisions that are classes; ValueError as ``check_square``."""
        self.check_square()
        return self if self.num_decisions == self.num_classes else self._square()

    def map_rows(self, fn: RowMap) -> CostMatrix:
        """The matrix of fn(rows (…, K), is_truth (…, K)), where fn works on each row alone.

        `is_truth` marks the row's own class. `expected` goes through blocks of rows.
        """
        return self._transformations["map_rows"](self, fn, self.decisions)

    def savings(self) -> CostMatrix:
        """max_k D[i, k] − D[i, j], what a decision saves against the costliest one.

        Raises ValueError where a cost is infinite.

        >>> lm.Ordinal(3).savings().row(torch.tensor(0))
        tensor([2., 1., 0.], dtype=torch.float64)
        """
        if not self.is_finite:
            raise ValueError(f"savings need finite costs, but {self!r} has an infinite one.")
        return self._transformations["savings"](self)

    def zero_diagonal(self) -> CostMatrix:
        """The costs of mistakes: D with 0 for the truth itself; D itself where that is so.

        Raises ValueError where some class has no decision of its name.

        >>> lm.Dense([[1, 2], [3, 4]]).zero_diagonal().to_dense()
        tensor([[0., 2.],
                [3., 0.]], dtype=torch.float64)
        """
        self._check_pairs()
        diagonal = self._diagonal()
        known = diagonal is not None and not bool(diagonal.any())
        return self if known else self._transformations["zero_diagonal"](self)

    def soft_targets(self, temperature: float) -> CostMatrix:
        """exp(−D[i, j]/T) / Σ_k exp(−D[i, k]/T): a softmax over each row, large where D is small.

        >>> lm.ZeroOne(2).soft_targets(0.5).row(torch.tensor(0))
        tensor([0.8808, 0.1192], dtype=torch.float64)
        """
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a finite number > 0, got {temperature}.")
        return self._soft_targets(temperature)

    def _soft_targets(self, temperature: float) -> CostMatrix:
        return self._transformations["soft_targets"](self, temperature)

    def _adjust(self, own: dict[str, Tensor], decisions: Sequence[str] | None = None) -> Any:
        """[factor · D − offset·1ᵀ | extra] for what is given of the three."""
        return self._transformations["adjust"](self, own, decisions or self.decisions)

    def _square(self) -> CostMatrix:
        raise NotImplementedError  # for kinds that can have more decisions than classes

    @property
    def num_samples(self) -> int | None:
        """How many samples have costs of their own; None where rows depend on the truth alone."""
        return None

    @property
    def _num_rows(self) -> int:
        return self.num_classes

    def check_values(self) -> None:
        """Refuse values that are no costs, where they were not checked from the start."""

    # ---- facts: plain Python numbers, computed once ----------------------------------------------

    @cached_property
    def row_facts(self) -> RowFacts:
        """Facts of every row; a pass over all entries unless the kind knows better."""
        # In one place from the start: small tensors kept among large passing ones would leave the
        # allocator gigabytes of gaps.
        shape = len(RowFacts._fields), self._num_rows
        facts = RowFacts(*torch.empty(shape, dtype=torch.float64, device=self._device))
        stop = 0
        for rows, _ in self._row_blocks():
            start, stop = stop, stop + len(rows)
            for whole, part in zip(facts, facts_of(rows), strict=True):
                whole[start:stop] = part
        return facts

    @cached_property
    def _row_range(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest entry of every row, for kinds whose totals take longer."""
        return self.row_facts.minimum, self.row_facts.maximum

    def _highest(self) -> Tensor:
        """The greatest entry of every row, to the last digit as `row` makes it in this dtype.

        A pass over all entries, unless the kind knows rows whose greatest entry is one number of
        its tables.
        """
        if type(self).row_facts is CostMatrix.row_facts:
            return torch.cat([rows.amax(-1) for rows, _ in self._row_blocks()])
        return self._number(self._row_range[1])

    def _geometry(self) -> tuple[bool | None, bool | None]:
        """Whether symmetric, whether conditionally negative definite, where the kind knows."""
        return None, None

    @cached_property
    def minimum(self) -> float:
        """The least entry."""
        return self._row_range[0].min().item()

    @cached_property
    def maximum(self) -> float:
        """The greatest entry."""
        return self._row_range[1].max().item()

    @cached_property
    def is_finite(self) -> bool:
        """Whether no entry is infinite (an infinite cost forbids a decision)."""
        return self.maximum < math.inf

    @cached_property
    def unit(self) -> float:
        """Mean positive regret: the mean of D_ij − min_k D_ik over its positive entries, or 1."""
        return mean_positive_regret(self.row_facts, self.num_decisions)

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether D[i, j] = D[j, i]; False where not every class has a decision of its name."""
        if self.num_decisions < self.num_classes or self._own_decisions is not None:
            return False
        known, _ = self._geometry()
        if known is not None:
            return known
        table = self.square().to_dense()
        return torch.equal(table, table.mT)

    @cached_property
    def is_conditionally_negative_definite(self) -> bool:
        """Whether D is symmetric and vᵀDv ≤ 0 for all v of sum 0: eigenvalues of −½JDJ ≥ 0."""
        if not self.is_symmetric:
            return False
        _, known = self._geometry()
        if known is not None or not self.is_finite:
            return bool(known)
        return is_negative_type(self.square().to_dense())

    # ---- for people ------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """What looks wrong in this matrix, each with its remedy; reads every entry.

        Kinds: "negative", "zero row", "diagonal" (a right decision costs something), "alike" (all
        mistakes cost the same), "transposed", "never best" (a decision that no probabilities make
        strictly cheapest; looked for among finite costs), "not checked" (where that takes long).

        >>> for finding in lm.Dense([[0, 4], [1, 0]]).with_abstain(2).check():
        ...     print(finding)
        no probabilities make abstain the only best decision: check that column, or leave it out.
        """
        return find_all(self.to_dense(), self.classes, self.decisions)

    def _view(self) -> View:
        """What is shown of the matrix."""
        rows, columns = shown(self.num_classes), shown(self.num_decisions)
        block = self.row(torch.tensor(rows, device=self._device))[:, columns]
        return View([self.classes[i] for i in rows], [self.decisions[j] for j in columns], block)

    def __str__(self) -> str:
        return self._view().text()

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return self._view().html()

    def __repr__(self) -> str:
        C, K = self.shape
        settings = "".join(
            f", {name}={getattr(value, '__name__', repr(value))}"  # repr of a function: its address
            for name, value in self._settings().items()
        )
        return f"{type(self).__name__}({C if K == C else f'{C} × {K}'}{settings})"

    def _settings(self) -> dict[str, object]:
        """What makes this matrix besides tables and names; shown by repr and compared by ==."""
        return {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CostMatrix) or type(self) is not type(other):
            return NotImplemented
        mine, its = self._tables, other._tables
        return (
            self.shape == other.shape
            and self._settings() == other._settings()
            and all(map(str.__eq__, self.classes, other.classes))
            and all(map(str.__eq__, self.decisions, other.decisions))
            and mine.keys() == its.keys()
            and all(t.dtype == its[k].dtype and torch.equal(t, its[k]) for k, t in mine.items())
        )

    def __hash__(self) -> int:
        return hash((type(self), self.shape))

    @property
    def _device(self) -> torch.device:
        return next((table.device for table in self._tables.values()), torch.device("cpu"))

    def _check_device(self, tensor: Tensor, what: str) -> None:
        if self._tables and tensor.device != self._device:
            raise ValueError(
                f"{what} is on {tensor.device} and the costs are on {self._device}: move the "
                f"matrix once with costs.to({str(tensor.device)!r})."
            )


class Product(torch.autograd.Function):
    """weights·D or weights·Dᵀ, each the derivative of the other, so that no row of D is kept."""

    @staticmethod
    def forward(weights: Tensor, costs: CostMatrix, transposed: bool) -> Tensor:  # noqa: D102
        given = accelerator.installed
        found = None if given is None else given.multiply(costs, weights, transposed)
        if found is not None:
            return found
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
    return cast(Tensor, Product.apply(weights, costs, transposed))  # pyright: ignore


HALVES = (torch.float16, torch.bfloat16)


def widened(tensor: Tensor) -> Tensor:
    """Half precision as float32: what is computed is rounded once, at the end."""
    return tensor.float() if tensor.dtype in HALVES else tensor


def full_precision(device: torch.device) -> torch.autocast | nullcontext[None]:
    """Autocast switched off, where the device knows autocast at all."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
