# SPDX-License-Identifier: BSD-3-Clause
"""The native engine: compiled kernels for tensors on the CPU.

It contains no formula: ``printer`` prints the losses' own methods as C++. A call visits the logits
once, and writes the gradient in the same visit where one will be asked for; nothing else of the
logits' size is allocated. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, Dense, PerExample
from lossmatrix.engines import reference
from lossmatrix.engines.library import (
    PARAMETERS,
    STREAMS,
    CannotCompileError,
    Task,
    instruction_set,
    kernel,
    parallel_for,
)
from lossmatrix.engines.printer import Formula, parameters, print_formula, streams, structure
from lossmatrix.formula import StreamedLoss, Term
from lossmatrix.problem import Problem

TABULATED = 2048  # classes up to which a structured matrix is written out as a table

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
TARGET_TYPES = {torch.int64: 0, torch.int32: 1, torch.uint8: 2}


@dataclass(frozen=True)
class Group:
    """Terms that one kernel evaluates in one visit, and what it needs."""

    formula: Formula
    parameters: ctypes.Array[ctypes.c_double]
    costs: tuple[CostMatrix, ...]  # one per stream


Plan = tuple[Group, ...]
_plans: dict[int, tuple[tuple[Term, ...], Plan | str]] = {}


def plan(terms: tuple[Term, ...]) -> Plan | str:
    """The kernels of bound terms, or the reason why there are none; remembered per criterion."""
    known = _plans.get(id(terms))
    if known is not None and known[0] is terms:
        return known[1]
    if len(_plans) >= 64:
        _plans.pop(next(iter(_plans)))
    made = _make_plan(terms)
    _plans[id(terms)] = (terms, made)
    return made


def _make_plan(terms: tuple[Term, ...]) -> Plan | str:
    groups: list[tuple[Term, ...]] = []
    together: tuple[Term, ...] = ()
    for term in terms:
        if term.scale == 0:
            continue
        if not isinstance(term.loss, StreamedLoss):
            return f"{term.loss!r} works on whole rows and has no kernel"
        if term.costs is not None and not _readable(term.costs):
            return f"{term.costs!r} has too many classes for a table and no kernel of its own"
        if type(term.loss).margin is not StreamedLoss.margin:
            groups.append((term,))
        else:
            together = (*together, term)
    groups += _fitting(together)
    return tuple(_group(each) for each in groups)


def _fitting(terms: tuple[Term, ...]) -> list[tuple[Term, ...]]:
    """Terms in groups small enough for one kernel."""
    groups: list[tuple[Term, ...]] = []
    for term in terms:
        joined = (*groups[-1], term) if groups else (term,)
        used = set(streams(joined)) - {None}
        if not groups or len(used) > STREAMS or len(parameters(joined)) > PARAMETERS:
            groups.append((term,))
        else:
            groups[-1] = joined
    return groups


def _readable(costs: CostMatrix) -> bool:
    return isinstance(costs, (Dense, PerExample)) or costs.num_classes <= TABULATED


def _group(terms: tuple[Term, ...]) -> Group:
    values = parameters(terms)
    numbers = (ctypes.c_double * PARAMETERS)(*values)
    matrices: dict[int, CostMatrix] = {}
    for term, stream in zip(terms, streams(terms), strict=True):
        if stream is not None and term.costs is not None:
            readable = isinstance(term.costs, (Dense, PerExample)) or not _static(term.costs)
            matrices[stream] = term.costs if readable else Dense(term.costs.to_dense())
    return Group(_formula(terms), numbers, tuple(matrices[i] for i in range(len(matrices))))


def _static(costs: CostMatrix) -> bool:
    """Whether rows depend on the truth alone."""
    return "samples" not in repr(costs)


_formulas: dict[tuple[object, ...], Formula] = {}


def _formula(terms: tuple[Term, ...]) -> Formula:
    key = structure(terms)
    if key not in _formulas:
        _formulas[key] = print_formula(terms)
    return _formulas[key]


def refuses(problem: Problem) -> str | None:
    """Why this engine cannot run a problem, or None."""
    logits, target = problem.logits, problem.target
    if logits.device.type != "cpu":
        return f"the logits are on {logits.device}, and its kernels run on the CPU"
    if problem.soft or problem.label_smoothing > 0:
        return "class probabilities and label smoothing have no kernel"
    if torch.compiler.is_compiling():
        return "a graph is being traced"
    for tensor in (logits, target):
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return f"the tensors are of type {type(tensor).__name__}"
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # pyright: ignore
            return "a function transform is active"
    if logits.shape[1] == 0:
        return "there are no classes"
    made = plan(problem.terms)
    if isinstance(made, str):
        return made
    isa = instruction_set(problem.compute_dtype)
    for group in made:
        try:
            kernel(group.formula, isa)
        except CannotCompileError as error:
            return f"its kernel is not among those shipped, and {error}"
        for costs in group.costs:
            if any(table.requires_grad for table in costs.tables.values()):
                return "the costs require a gradient"
    for weight in (problem.weight, problem.sample_weight):
        if weight is not None and weight.requires_grad:
            return "the weights require a gradient"
    return None


def run(problem: Problem) -> Tensor:
    """The reduced loss of a problem."""
    if problem.logits.requires_grad and torch.is_grad_enabled():
        return cast(Tensor, Native.apply(problem.logits, problem))  # pyright: ignore
    return compute(problem, None)


class Native(torch.autograd.Function):
    """The loss, with its gradient made in the same visit and handed out in backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, problem: Problem) -> Tensor:  # noqa: D102
        gradient = torch.empty_like(logits)
        value = compute(problem, gradient)
        ctx.problem, ctx.gradient = problem, gradient
        ctx.save_for_backward(logits)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (upstream,) = grad_outputs
        (logits,) = ctx.saved_tensors  # also finds logits that were changed in place
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return _differentiable(ctx.problem, logits, upstream), None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # a second backward through a retained graph
            gradient = torch.empty_like(logits)
            compute(ctx.problem, gradient)
        if ctx.problem.reduction == "none":
            gradient.mul_(upstream.reshape(logits.shape[0], 1, logits.shape[2]))
        elif upstream.item() != 1.0:
            gradient.mul_(upstream)
        return gradient, None


def _differentiable(problem: Problem, logits: Tensor, upstream: Tensor) -> Tensor:
    """The gradient as the reference engine's, which has derivatives of every order."""
    from dataclasses import replace

    again = replace(problem, logits=logits)
    (gradient,) = torch.autograd.grad(reference.run(again), logits, upstream, create_graph=True)
    return gradient


def compute(problem: Problem, gradient: Tensor | None) -> Tensor:
    """Run the kernels: the reduced loss; ``gradient`` (B, C, P), if given, is filled."""
    logits, dtype = problem.logits, problem.compute_dtype
    batch, classes, positions = logits.shape
    target = problem.target
    task = Task()
    task.logits = logits.data_ptr()
    task.batch, task.classes, task.positions = batch, classes, positions
    task.logits_stride[:] = logits.stride()
    task.type = TYPES[logits.dtype]
    task.target, task.target_type = target.data_ptr(), TARGET_TYPES[target.dtype]
    task.target_stride[:] = target.stride()
    task.ignore_index = problem.ignore_index
    task.mean = problem.reduction == "mean"
    task.threads = torch.get_num_threads()
    task.parallel_for = parallel_for()
    alive: list[Tensor] = []  # keeps converted tensors until the kernels are done

    def address(tensor: Tensor) -> int:
        alive.append(tensor)
        return tensor.data_ptr()

    if problem.weight is not None:
        task.weight = address(problem.weight.detach().to(dtype).contiguous())
    if problem.sample_weight is not None:
        task.sample_weight = address(problem.sample_weight.detach().to(dtype).contiguous())
    losses = None
    if problem.reduction == "none":
        losses = torch.empty(batch * positions, dtype=dtype)
        task.losses = losses.data_ptr()
    if gradient is not None:
        task.gradient = gradient.data_ptr()
        task.gradient_stride[:] = gradient.stride()
        task.gradient_dense = 1
    total = 0.0
    made = plan(problem.terms)
    if isinstance(made, str):
        raise RuntimeError(made)
    isa = instruction_set(dtype)
    for group in made:
        task.parameters = group.parameters
        for i, costs in enumerate(group.costs):
            table, per_sample = _table(costs, target, problem.ignore_index, dtype)
            task.costs[i] = address(table)
            task.costs_stride[i] = table.stride(0)
            task.per_sample[i] = per_sample
        kernel(group.formula, isa).run(ctypes.addressof(task))
        if task.is_outside:
            raise IndexError(
                f"Target {task.outside} is out of bounds."
                f" Class indices lie between 0 and {classes - 1}."
            )
        total += task.total
        task.accumulate = 1
    if losses is not None:
        return losses.to(problem.output_dtype).reshape(problem.row_shape)
    return torch.tensor(total, dtype=problem.output_dtype)


def _table(
    costs: CostMatrix, target: Tensor, ignore_index: int, dtype: torch.dtype
) -> tuple[Tensor, bool]:
    """Rows of costs as a table (rows, C) with unit column stride, and whether a row is a sample."""
    if isinstance(costs, Dense):
        table = costs.to(dtype=dtype).tables["table"]
        return (table if table.stride(1) == 1 else table.contiguous()), False
    kept = target != ignore_index
    truth = torch.where(kept, target, 0).long().reshape(-1)
    rows = costs.to(dtype=dtype).row(truth, torch.arange(len(truth)))
    return rows.contiguous(), True
