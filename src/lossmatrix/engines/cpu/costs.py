# SPDX-License-Identifier: BSD-3-Clause
"""Costs that native kernels make row by row, where a table would be too large.

A transformed matrix is a chain: the row of its base is made first, and changed in place.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossmatrix.codegen.costs import CostFormula, print_cpp
from lossmatrix.costs import CostMatrix, Sparse, Tree
from lossmatrix.costs.transformed import SoftTargets, Wrapper
from lossmatrix.engines.cpu.compile import (
    CannotCompileError,
    CostProgram,
    instruction_set,
    row_maker,
)

TABLES, NUMBERS = 8, 8  # what one program reads, as in engines/cpu/task.h
TREE, SPARSE, SOFT_TARGETS = (  # made by hand in engines/cpu/costs.hpp
    CostFormula(f"costs_{name}", "", (), (), ()) for name in ("tree", "sparse", "soft_targets")
)
EXACT = 2**24  # whole numbers up to which float32 is exact


@dataclass(frozen=True)
class RowProgram:
    """A program as kernels read it; the tables and bases must stay as long as it does."""

    program: CostProgram
    tables: tuple[Tensor, ...]
    base: RowProgram | None


def row_program(costs: CostMatrix, dtype: torch.dtype) -> RowProgram | None:
    """How kernels make the rows of a matrix, or None where they have to be looked up."""
    if costs.num_decisions > EXACT and dtype != torch.float64:
        return None
    try:
        return _program(costs.to("cpu", dtype), dtype)
    except CannotCompileError:
        return None


def _program(costs: CostMatrix, dtype: torch.dtype) -> RowProgram | None:
    base = None
    if isinstance(costs, Wrapper):
        base = _program(costs.base, dtype)
        if base is None:
            return None
    match costs:
        case Tree():
            t = costs.tables
            order = t["order"]
            in_order = torch.equal(order, torch.arange(len(order)))
            tables = [t[name] for name in ("cost", "parent", "start", "stop", "leaf")]
            return _filled_in(TREE, tables + ([] if in_order else [order]), (), base, dtype)
        case Sparse():
            t = costs.tables
            begin = torch.nn.functional.pad(t["per_truth"].cumsum(0), (1, 0))
            tables = [t["cost"], begin, t["decision"]]
            return _filled_in(SPARSE, tables, [t["default"].item()], base, dtype)
        case SoftTargets():
            return _filled_in(SOFT_TARGETS, [], [costs.temperature], base, dtype)
        case Wrapper() if not costs.has_change:
            return None
        case _ if not (isinstance(costs, Wrapper) or costs.has_formula):
            return None
        case _:
            printed = print_cpp(costs)
            tables = [costs.tables[name] for name in printed.tables]
            numbers = (*printed.numbers, *printed.exponents)
            return _filled_in(printed, tables, numbers, base, dtype)


def _filled_in(
    formula: CostFormula,
    tables: list[Tensor],
    numbers: Sequence[float],
    base: RowProgram | None,
    dtype: torch.dtype,
) -> RowProgram | None:
    if len(tables) > TABLES or len(numbers) > NUMBERS:
        return None
    kept = tuple(
        each.to(dtype if each.is_floating_point() else torch.int64).contiguous() for each in tables
    )
    program = CostProgram(type=int(dtype == torch.float64))
    program.make_row = row_maker(
        formula.name, formula.text, instruction_set(dtype), "rows of costs"
    )
    for k, table in enumerate(kept):
        program.table[k] = table.data_ptr()
    for k, value in enumerate(numbers):
        program.number[k] = value
    if base is not None:
        program.base = ctypes.addressof(base.program)
    return RowProgram(program, kept, base)
