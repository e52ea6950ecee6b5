# SPDX-License-Identifier: BSD-3-Clause
"""Costs that native kernels make row by row, by kind, where a table would be too large."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, Ordinal, Sparse, Tree, ZeroOne
from lossmatrix.costs.transformed import Adjusted, MappedRows
from lossmatrix.engines.cpu.compile import CostProgram
from lossmatrix.losses.cross_entropy import saved_against_the_worst
from lossmatrix.losses.expected import off_the_truth

ZERO_ONE, ORDINAL, TREE, SPARSE = range(4)  # as in engines/cpu/task.h


@dataclass(frozen=True)
class CostRule:
    """factor · D[truth, j] + offset[truth] for a kind D, and 0 for the truth where asked for."""

    kind: int
    number: float = 0.0
    tables: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    factor: float = 1.0
    offset: Tensor | None = None
    off_the_truth: bool = False

    def filled_in(self) -> CostProgram:
        """As a kernel reads it; the tables must stay as long as it does."""
        made = CostProgram(
            kind=self.kind,
            number=self.number,
            factor=self.factor,
            off_the_truth=self.off_the_truth,
            **{name: table.data_ptr() for name, table in self.tables.items()},
        )
        if self.offset is not None:
            made.offset = self.offset.data_ptr()
        return made


def cost_rule(costs: CostMatrix, dtype: torch.dtype) -> CostRule | None:
    """How kernels make the rows of a matrix, or None where they do not know its kind."""
    moved = costs.to("cpu", dtype)
    tables = {name: table.contiguous() for name, table in moved.tables.items()}
    match moved:
        case ZeroOne():
            return CostRule(ZERO_ONE)
        case Ordinal():
            return CostRule(ORDINAL, moved.power, {"numbers": tables["positions"]})
        case Tree():
            of_nodes = {"numbers": "cost", "parent": "parent", "begin": "start", "end": "stop"}
            names = {**of_nodes, "leaf": "leaf", "order": "order"}
            return CostRule(TREE, 0.0, {mine: tables[its] for mine, its in names.items()})
        case Sparse():
            begin = torch.nn.functional.pad(tables["per_truth"].cumsum(0), (1, 0))
            exceptions = {"numbers": tables["cost"], "decision": tables["decision"]}
            return CostRule(SPARSE, tables["default"].item(), {**exceptions, "begin": begin})
        case Adjusted() if "extra" not in tables:
            factor = tables["factor"].item() if "factor" in tables else 1.0
            offset = tables.get("offset")
            return _affine(
                cost_rule(moved.base, dtype), factor, None if offset is None else -offset
            )
        case MappedRows() if moved.fn is off_the_truth:
            base = cost_rule(moved.base, dtype)
            return None if base is None else replace(base, off_the_truth=True)
        case MappedRows() if moved.fn is saved_against_the_worst:
            largest = moved.base._row_facts.maximum.to(dtype)  # pyright: ignore
            return _affine(cost_rule(moved.base, dtype), -1.0, largest)
        case _:
            return None


def _affine(base: CostRule | None, factor: float, offset: Tensor | None) -> CostRule | None:
    """factor · base + offset, where that is a rule again."""
    if base is None or base.off_the_truth:
        return None
    moved = None if base.offset is None else factor * base.offset
    total = moved if offset is None else offset if moved is None else moved + offset
    return replace(base, factor=factor * base.factor, offset=total)
