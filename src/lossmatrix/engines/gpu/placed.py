# SPDX-License-Identifier: BSD-3-Clause
"""Formulas and costs as kernels read them: functions in Triton's language, and tables."""

from __future__ import annotations

import functools
import linecache
import math
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from lossmatrix.codegen.costs import print_triton
from lossmatrix.costs import CostMatrix, Dense, PerExample, Sparse, Tree
from lossmatrix.costs.per_label import PerLabel
from lossmatrix.costs.transformed import SoftTargets, Wrapper
from lossmatrix.engines.gpu import costs as kinds
from lossmatrix.engines.gpu import math as words
from lossmatrix.engines.gpu.softmax import Costs, KernelFormula
from lossmatrix.engines.plan import NoKernelError

MAX_TABLE_CLASSES = 2048  # classes up to which a matrix of another kind is written out as a table
NUMBERS = {torch.float32: tl.float32, torch.float64: tl.float64}


# --- printed functions ---------------------------------------------------------------------------


def formula(name: str, text: str) -> KernelFormula:
    """The printed formula of a loss as functions."""
    found = _executed(name, text, vars(words))
    made = (found[field] for field in KernelFormula._fields)
    return KernelFormula(*(each if callable(each) else tl.constexpr(each) for each in made))


@functools.cache
def _cost_function(name: str, text: str) -> Any:
    """The printed formula of a matrix as a function."""
    return _executed(name, text, vars(kinds))[name]


def _executed(name: str, text: str, known: dict[str, Any]) -> dict[str, Any]:
    """The names that a printed text defines.

    Triton reads a function's source where ``inspect`` finds it, so it is put where doctest and
    attrs put theirs: into the cache of lines, under a name that is no file's.
    """
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    found: dict[str, Any] = dict(known)
    exec(compile(text, file, "exec"), found)
    return found


# --- costs ---------------------------------------------------------------------------------------


def placed(costs: CostMatrix, device: torch.device, dtype: torch.dtype, turned: bool) -> Costs:
    """Costs as a kernel reads them: a table, the formula of the kind, or a kind made by hand."""
    moved = costs.to(device, dtype)
    t = moved.tables
    match moved:
        case Dense():
            return _dense(t["table"].to(dtype), turned)
        case PerLabel():
            return placed(moved.written_out, device, dtype, turned)
        case PerExample():
            table = t["table"].to(dtype)
            table = table if table.stride(-1) == 1 else table.contiguous()
            between = 0 if table.dim() == 2 else table.stride(1)
            return Costs(kinds.per_sample, (table, table.stride(0), between))
        case Tree():
            return _tree(t, dtype)
        case Sparse():
            count = t["per_truth"]
            begin = torch.nn.functional.pad(count.cumsum(0), (1, 0)).int()
            most = int(count.max()) if count.numel() else 0
            tables = (t["default"].to(dtype), begin, t["decision"].int(), t["cost"].to(dtype), most)
            return Costs(kinds.sparse, tables)
        case SoftTargets() if moved.num_samples is None:
            base = placed(moved.base, device, dtype, turned)
            facts = (each.to(device, dtype) for each in moved.softmax_facts)
            temperature = torch.tensor([moved.temperature], device=device, dtype=dtype)
            return Costs(kinds.soft_targets, (base, *facts, temperature))
        case Wrapper() if moved.has_change:
            return _printed(moved, (placed(moved.base, device, dtype, turned),), device, dtype)
        case _ if moved.has_formula:
            return _printed(moved, (), device, dtype)
        case _ if moved.num_samples is None and moved.num_classes <= MAX_TABLE_CLASSES:
            return _dense(Dense(moved.to_dense()).tables["table"].to(dtype), turned)
        case _:
            raise NoKernelError(
                f"{costs!r} is of a kind that its kernels know up to {MAX_TABLE_CLASSES} classes, "
                "and for costs that depend on the truth alone"
            )


def _printed(
    costs: CostMatrix, base: tuple[Costs, ...], device: torch.device, dtype: torch.dtype
) -> Costs:
    """The formula of a kind, or what it makes of an entry of its base."""
    printed = print_triton(costs, str(NUMBERS[dtype]).replace("fp", "tl.float"))
    tables = [costs.tables[name] for name in printed.tables]
    tables = [table.to(dtype) if table.is_floating_point() else table.int() for table in tables]
    numbers = [torch.tensor([x], device=device, dtype=dtype) for x in printed.numbers]
    exponents = [torch.tensor([x], device=device, dtype=torch.float64) for x in printed.exponents]
    at = _cost_function(printed.name, printed.text)
    return Costs(at, (*base, *tables, *numbers, *exponents))


def _dense(table: Tensor, turned: bool) -> Costs:
    table = table.t().contiguous() if turned else table.contiguous()
    stride = table.stride(0)
    at = kinds.dense_turned if turned else kinds.dense
    return Costs(at, (table, stride, tl.constexpr(math.gcd(stride, 16))))


def _tree(t: dict[str, Tensor], dtype: torch.dtype) -> Costs:
    """For each class the nodes above it, from its leaf up: intervals of ranks, and climbs."""
    node, path = t["leaf"], []
    while bool((node != 0).any()):
        path.append(node)
        node = t["parent"][node]
    climb = t["cost"][t["parent"]] - t["cost"]
    steps = [torch.stack([table[node] for node in path], 1) for table in (t["start"], t["stop"])]
    climbs = torch.stack([climb[node] for node in path], 1).to(dtype).contiguous()
    begin, end = (step.int().contiguous() for step in steps)
    return Costs(kinds.tree, (t["rank"].int(), begin, end, climbs, tl.constexpr(len(path))))
