# SPDX-License-Identifier: BSD-3-Clause
"""The native kernels of gradient and curvature: one visit to the scores, rows in lanes."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass, is_dataclass

import torch
from torch import Tensor

from lossmatrix.codegen.curvature import CurvatureFormula, Part, print_curvature
from lossmatrix.codegen.derive import PARAMETERS, STREAMS, parameters, streams, structure
from lossmatrix.costs import CostMatrix, Dense
from lossmatrix.engines.cpu.compile import (
    CannotCompileError,
    Kernel,
    compiled,
    instruction_set,
    parallel_for,
    shipped,
)
from lossmatrix.problem import out_of_bounds

MAX_TABLE_CLASSES = 2048  # classes up to which a structured matrix is written out as a table
BLOCK = 2**22  # costs in memory at a time where they are looked up row by row
TYPES = {torch.float32: 0, torch.float64: 1}


class CurvatureTask(ctypes.Structure):
    """``struct CurvatureTask`` of curvature.hpp, field by field."""

    _fields_ = [  # ctypes wants this name and a list
        ("scores", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("bound", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("score_stride", ctypes.c_int64 * 2),
        ("out_stride", ctypes.c_int64 * 2),
        ("type", ctypes.c_int32),
        ("single", ctypes.c_int32),
        ("target", ctypes.c_void_p),
        ("costs", ctypes.c_void_p * STREAMS),
        ("costs_stride", ctypes.c_int64 * STREAMS),
        ("by_row", ctypes.c_int32 * STREAMS),
        ("weight", ctypes.c_void_p),
        ("parameters", ctypes.c_double * PARAMETERS),
        ("outside", ctypes.c_int64),
        ("is_outside", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel_for", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class CurvatureKernel:
    """The kernel of a part, and the matrix of each of its streams."""

    kernel: Kernel
    parameters: list[float]
    costs: list[CostMatrix]

    def run(
        self,
        scores: Tensor,
        target: Tensor,
        weight: Tensor | None,
        gradient: Tensor,
        bound: Tensor,
    ) -> None:
        """Fill gradient and bound, each of the shape of ``scores``: (N, C), or (N,) of class 1."""
        blocks = [slice(0, len(scores))]
        tables = [_table(costs, scores.dtype) for costs in self.costs]
        if any(table is None for table in tables):
            step = max(1, BLOCK // self.costs[0].num_classes)
            blocks = [slice(i, i + step) for i in range(0, len(scores), step)]
        for rows in blocks:
            task = CurvatureTask()
            z, y = scores[rows], target[rows]
            alive: list[Tensor] = []  # keeps tensors until the kernel is done
            for i, (costs, table) in enumerate(zip(self.costs, tables, strict=True)):
                if table is None:
                    # every truth is looked up here, so one that is no class is told here
                    check_target(y, costs.num_classes)
                    sample = torch.arange(len(scores))[rows]
                    table = costs.to(dtype=scores.dtype).row(y, sample).to(scores.dtype)
                    table, task.by_row[i] = table.contiguous(), 1
                alive.append(table)
                task.costs[i], task.costs_stride[i] = table.data_ptr(), table.stride(0)
            if weight is not None:
                alive.append(weight[rows].contiguous())
                task.weight = alive[-1].data_ptr()
            task.single = scores.dim() == 1
            task.scores, task.target = z.data_ptr(), y.data_ptr()
            task.gradient, task.bound = gradient[rows].data_ptr(), bound[rows].data_ptr()
            task.rows, task.classes = len(z), 2 if task.single else z.shape[1]
            task.score_stride[:] = (*z.stride(), 1)[:2]
            task.out_stride[:] = (*gradient.stride(), 1)[:2]
            task.type = TYPES[scores.dtype]
            task.parameters[: len(self.parameters)] = self.parameters
            task.threads, task.parallel_for = torch.get_num_threads(), parallel_for()
            self.kernel.run(ctypes.addressof(task))
            if task.is_outside:
                raise out_of_bounds(task.outside, task.classes)


def check_target(target: Tensor, num_classes: int) -> None:
    """IndexError for a target that is no class."""
    outside = target[(target < 0) | (target >= num_classes)]
    if len(outside):
        raise out_of_bounds(int(outside[0]), num_classes)


def prepare(part: Part) -> CurvatureKernel | str:
    """The kernel of a part, or why there is none."""
    if not all(is_dataclass(term.loss) for term in part.terms):
        return "a loss is no dataclass, so its fields cannot be read"
    if part.reads_risk:
        return "it reads the risk of decisions"
    if len(parameters(part.terms)) > PARAMETERS or len(set(streams(part.terms))) > STREAMS:
        return "it has more terms than one kernel takes"
    key = structure(part.terms)
    if key not in _formulas:
        _formulas[key] = print_curvature(part.terms)
    matrices: dict[int, CostMatrix] = {}
    for term, stream in zip(part.terms, streams(part.terms), strict=True):
        if stream is not None and term.costs is not None:
            small = term.costs.num_samples is None and term.costs.num_classes <= MAX_TABLE_CLASSES
            write_out = small and not isinstance(term.costs, Dense)
            matrices[stream] = Dense(term.costs.to_dense()) if write_out else term.costs
    title = " + ".join(type(term.loss).__name__ for term in part.terms)
    kernel = _kernel(_formulas[key], instruction_set(torch.float32), f"the curvature of {title}")
    if isinstance(kernel, str):
        return kernel
    return CurvatureKernel(
        kernel, parameters(part.terms), [matrices[i] for i in range(len(matrices))]
    )


@functools.cache
def _kernel(formula: CurvatureFormula, isa: str, title: str) -> Kernel | str:
    """The kernel of a formula, shipped or compiled now, or why there is none; asked once."""
    symbol, library = f"{formula.name}_{isa}", shipped()
    if library is None or not hasattr(library, symbol):
        try:
            library = compiled(formula.name, formula.source(isa), isa, title)
        except CannotCompileError as error:
            return str(error)
    return Kernel(library, symbol)


_formulas: dict[tuple[object, ...], CurvatureFormula] = {}


def _table(costs: CostMatrix, dtype: torch.dtype) -> Tensor | None:
    """The costs of all truths, decisions one after the other; None where no table holds them."""
    if not isinstance(costs, Dense):
        return None
    table = costs.to(dtype=dtype).tables["table"]
    return table if table.stride(1) == 1 else table.contiguous()
