# SPDX-License-Identifier: BSD-3-Clause
"""The native engine: compiled kernels for tensors on the CPU.

It contains no formula: ``printer`` prints the losses' own methods as C++. A call visits the logits
once, and writes the gradient in the same visit where one will be asked for; nothing else of the
logits' size is allocated. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from lossmatrix.codegen.derive import Formula, parameters, print_formula, streams, structure
from lossmatrix.costs import CostMatrix, Dense
from lossmatrix.engines import plan as plans
from lossmatrix.engines import reference
from lossmatrix.engines.cpu.compile import (
    TENSORS,
    CannotCompileError,
    Kernel,
    KernelTask,
    instruction_set,
    kernel,
    parallel_for,
)
from lossmatrix.engines.cpu.costs import RowProgram, row_program
from lossmatrix.engines.plan import NoKernelError, arguments, cast_output, plan_of
from lossmatrix.losses import Term
from lossmatrix.problem import Bound, Problem, numbered, out_of_bounds

MAX_TABLE_CLASSES = 2048  # classes up to which a structured matrix is written out as a table
ALL = slice(None)
ALL_ROWS = (ALL, ALL)  # all rows in one block
BLOCK = 2**22  # costs in memory at a time where they are looked up row by row

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
LARGEST = {dtype: torch.finfo(dtype).max for dtype in TYPES}
TARGET_TYPES = {torch.int64: 0, torch.int32: 1, torch.uint8: 2}


@dataclass(frozen=True)
class TermGroup:
    """Terms that one kernel evaluates in one visit, and the matrix of each of its streams."""

    terms: tuple[Term, ...]
    formula: Formula
    costs: tuple[CostMatrix, ...]


@dataclass(frozen=True)
class KernelCall:
    """A kernel and a ``KernelTask`` in which all that stays from call to call has been filled in.

    ``kept`` are the tables and programs whose addresses are in the task; ``by_sample`` are the
    streams whose rows of costs are looked up in every call: those that belong to samples, and kinds
    that kernels do not know.
    """

    kernel: Kernel
    task: KernelTask
    kept: tuple[list[Tensor], list[RowProgram]]
    by_sample: tuple[tuple[int, CostMatrix], ...]


def calls(bound: Bound, dtype: torch.dtype) -> list[KernelCall]:
    """The calls of a plan for one dtype of the computation; compiles what has no kernel yet."""
    known: list[KernelCall] | str | None = bound.cache.get(("cpu", dtype))
    if known is None:
        try:
            known = _make_calls(bound, dtype)
        except (NoKernelError, CannotCompileError) as error:
            known = str(error)
        bound.cache["cpu", dtype] = known
    if isinstance(known, str):
        raise NoKernelError(known)
    return known


def _make_calls(bound: Bound, dtype: torch.dtype) -> list[KernelCall]:
    groups = plan_of(bound)
    for term in bound.terms:
        for table in () if term.costs is None else term.costs.tables.values():
            if table.device.type != "cpu":
                raise NoKernelError(
                    f"the costs are on {table.device}, and its kernels run on the CPU"
                )
    return [call for terms in groups for call in _calls(_group(terms), dtype)]


def _calls(group: TermGroup, dtype: torch.dtype) -> list[KernelCall]:
    """One call; or one for each term, where only those have kernels and there is no compiler."""
    try:
        compiled = kernel(group.formula, instruction_set(dtype))
    except CannotCompileError as error:
        if len(group.terms) == 1:
            raise NoKernelError(f"its kernel is not among those shipped, and {error}") from error
        return [call for term in group.terms for call in _calls(_group((term,)), dtype)]
    task = KernelTask()
    task.parallel_for = parallel_for()
    for i, value in enumerate(parameters(group.terms)):
        task.parameters[i] = value
    tables: list[Tensor] = []
    rules: list[RowProgram] = []
    by_sample: list[tuple[int, CostMatrix]] = []
    for i, costs in enumerate(group.costs):
        if isinstance(costs, Dense):
            table = costs.to(dtype=dtype).tables["table"]
            tables.append(table if table.stride(1) == 1 else table.contiguous())
            task.costs[i], task.costs_stride[i] = tables[-1].data_ptr(), tables[-1].stride(0)
        elif (made := row_program(costs, dtype)) is not None:
            rules.append(made)
            task.rule[i] = ctypes.pointer(made.program)
        else:
            by_sample.append((i, costs))
    return [KernelCall(compiled, task, (tables, rules), tuple(by_sample))]


def _group(terms: tuple[Term, ...]) -> TermGroup:
    matrices: dict[int, CostMatrix] = {}
    for term, stream in zip(terms, streams(terms), strict=True):
        if stream is not None and term.costs is not None:
            small = term.costs.num_samples is None and term.costs.num_classes <= MAX_TABLE_CLASSES
            write_out = small and not isinstance(term.costs, Dense)
            matrices[stream] = Dense(term.costs.to_dense()) if write_out else term.costs
    return TermGroup(terms, _formula(terms), tuple(matrices[i] for i in range(len(matrices))))


_formulas: dict[tuple[object, ...], Formula] = {}


def _formula(terms: tuple[Term, ...]) -> Formula:
    key = structure(terms)
    if key not in _formulas:
        _formulas[key] = print_formula(terms)
    return _formulas[key]


def prepare(problem: Problem) -> CpuKernels | str:
    """The kernels of a problem, or why this engine cannot run it."""
    if not problem.given.is_cpu:
        return f"the logits are on {problem.given.device}, and its kernels run on the CPU"
    reason = plans.refuses(problem)
    if reason is not None:
        return reason
    try:
        if torch.compiler.is_compiling():
            plan_of(problem.bound)
            return CpuKernels()
        calls(problem.bound, problem.compute_dtype)
    except NoKernelError as error:
        return str(error)
    return CpuKernels()


class CpuKernels:
    """Compiled kernels that are ready to run a problem."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss; its gradient is made in the same visit."""
        if torch.compiler.is_compiling():
            value, _ = traced(*_arguments(problem), problem.wants_gradient)
            return cast_output(problem, value)
        if problem.wants_gradient:
            return cast(Tensor, WithGradient.apply(problem.given, problem))  # pyright: ignore
        return compute(problem, None)

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient."""
        gradient = torch.empty_like(problem.given) if out is None else out
        kernel_view = gradient.reshape(visited(problem).shape)
        value = compute(problem, kernel_view)
        if kernel_view.data_ptr() != gradient.data_ptr():
            gradient.copy_(kernel_view.reshape(gradient.shape))
        return value, gradient


class WithGradient(torch.autograd.Function):
    """The loss, with its gradient made in the same visit and handed out in backward."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, problem: Problem) -> Tensor:  # noqa: D102
        gradient = torch.empty_like(visited(problem))
        value = compute(problem, gradient)
        # Not save_for_backward: the gradient is there already, so logits may be changed in place.
        ctx.problem, ctx.gradient, ctx.version = problem, gradient, given._version
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (upstream,) = grad_outputs
        problem, gradient, ctx.gradient = ctx.problem, ctx.gradient, None
        given = problem.given
        per_row = problem.options.reduction == "none"
        scaled = per_row or upstream.item() != 1.0
        half = given.dtype in (torch.float16, torch.bfloat16)
        again = torch.is_grad_enabled() or gradient is None or (scaled and half)
        if again and given._version != ctx.version:
            raise RuntimeError(
                "the logits were changed in place after the loss, and their loss is needed again "
                "(for a second backward, a second derivative, or a scaled gradient in half "
                "precision): change a copy instead."
            )
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return reference.gradient(problem, upstream), None
        if again or gradient is None:
            # A second backward through a retained graph; or a half precision gradient, which is
            # scaled before it is rounded: the small ones that a loss scale saves would be gone.
            gradient = torch.empty_like(visited(problem))
            compute(_scaled(problem, upstream.detach()), gradient)
            scaled = False
        if gradient.shape != given.shape:
            gradient = gradient.reshape(given.shape)
        if scaled:
            gradient.mul_(upstream.unsqueeze(min(1, upstream.dim())) if per_row else upstream)
        return gradient, None


def _scaled(problem: Problem, upstream: Tensor) -> Problem:
    """The problem whose rows weigh as much as the gradient that comes from above."""
    weight = upstream.to(problem.compute_dtype).expand(problem.row_shape)
    if problem.options.sample_weight is not None:
        weight = weight * problem.options.sample_weight
    return replace(problem, options=replace(problem.options, sample_weight=weight))


def visited(problem: Problem) -> Tensor:
    """The logits as kernels visit them: (B, C) as they came, or (B, C, P)."""
    return problem.given if len(problem.row_shape) == 1 else problem.logits


def compute(problem: Problem, gradient: Tensor | None) -> Tensor:
    """Run the kernels of a problem; ``gradient``, if given, is filled, shaped as ``visited``."""
    options = problem.options
    if len(problem.row_shape) == 1:
        target, sample_weight = problem.given_target, options.sample_weight
    else:
        target, sample_weight = problem.target, problem.sample_weight
    given = visited(problem), target, options.weight, sample_weight
    value = _compute(problem.bound, *given, options.ignore_index, options.reduction, gradient)
    if isinstance(value, Tensor):
        return cast_output(problem, value)
    return _scalar(value, problem.output_dtype)


def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor; beyond the largest of its type it is infinite, as in any tensor."""
    if abs(value) <= LARGEST[dtype]:
        return torch.scalar_tensor(value, dtype=dtype)
    return torch.scalar_tensor(value, dtype=torch.float64).to(dtype)


def _arguments(problem: Problem) -> tuple[Any, ...]:
    """A problem as operators take it, which know no Python objects."""
    target, weight, sample_weight, ignore_index, reduction = arguments(problem)
    number = problem.bound.number
    return problem.logits, target, weight, sample_weight, number, ignore_index, reduction


def _tensor(value: float | Tensor, dtype: torch.dtype) -> Tensor:
    """What ``_compute`` found, in the dtype of the computation."""
    if isinstance(value, Tensor):
        return value
    return _scalar(value, _compute_dtype(dtype))


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _compute(
    bound: Bound,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    gradient: Tensor | None,
) -> float | Tensor:
    """The reduction of the losses; or all of them, in the dtype of the computation.

    Logits and gradient are (B, C, P), target, weights and losses (B, P); or all of them without P.
    """
    dtype = _compute_dtype(logits.dtype)
    losses = torch.empty(target.shape, dtype=dtype) if reduction == "none" else None
    if weight is not None:
        weight = weight.to(dtype).contiguous()
    if sample_weight is not None:
        sample_weight = sample_weight.to(dtype).contiguous()
    total, started = 0.0, False
    for call in calls(bound, dtype):
        if call.by_sample and logits.dim() == 2:  # samples are counted by batch and position
            logits, target = logits.unsqueeze(2), target.unsqueeze(1)
            gradient = None if gradient is None else gradient.unsqueeze(2)
            sample_weight = None if sample_weight is None else sample_weight.unsqueeze(1)
            losses = None if losses is None else losses.unsqueeze(1)
        one = () if logits.dim() == 3 else (1,)
        _, classes, positions = shape = (*logits.shape, *one)
        blocks = _blocks(logits.shape) if call.by_sample else [ALL_ROWS]
        denominator = 0.0
        if reduction == "mean" and len(blocks) > 1:
            denominator = _denominator(target, weight, ignore_index)
        for b, p in blocks:
            task = KernelTask.from_buffer_copy(call.task)  # several threads may be here at once
            all_rows = b is p  # slicing takes as long as a small loss
            z, y = (logits, target) if all_rows else (logits[b, :, p], target[b, p])
            g = gradient if all_rows or gradient is None else gradient[b, :, p]
            strides = (*z.stride(), *one)
            TENSORS.pack_into(
                task,
                0,
                z.data_ptr(),
                0 if g is None else g.data_ptr(),
                *(shape if all_rows else z.shape),
                *strides,
                *(strides if g is None else (*g.stride(), *one)),
                TYPES[z.dtype],
                TARGET_TYPES[y.dtype],
                y.data_ptr(),
                *y.stride(),
                *one,
                ignore_index,
            )
            task.gradient_dense = all_rows
            task.mean, task.denominator = reduction == "mean", denominator
            task.threads = torch.get_num_threads()
            task.accumulate = started
            alive: list[Tensor] = []  # keeps converted tensors until the kernel is done
            if weight is not None:
                task.weight = weight.data_ptr()
            if sample_weight is not None:
                alive.append(sample_weight if all_rows else sample_weight[b, p].contiguous())
                task.sample_weight = alive[-1].data_ptr()
            part = None
            if losses is not None:
                part = losses if all_rows else losses[b, p].contiguous()
                task.losses = part.data_ptr()
            for stream, costs in call.by_sample:
                alive.append(_rows(costs, y, ignore_index, dtype, b, p, positions))
                task.costs[stream], task.costs_stride[stream] = alive[-1].data_ptr(), classes
                task.per_sample[stream] = 1
            call.kernel.run(ctypes.addressof(task))
            if task.is_outside:
                raise out_of_bounds(task.outside, classes)
            if losses is not None and part is not None and part is not losses:
                losses[b, p] = part
            total += task.total
        started = True
    return total if losses is None else losses


def _blocks(shape: torch.Size) -> list[tuple[slice, slice]]:
    """Slices of (B, P) whose rows of costs fit a block of memory."""
    batch, classes, positions = shape
    rows = max(1, BLOCK // max(1, classes))
    if batch * positions <= rows:
        return [ALL_ROWS]
    step_b, step_p = max(1, rows // positions), min(positions, rows)
    return [
        (slice(b, b + step_b), slice(p, p + step_p))
        for b in range(0, batch, step_b)
        for p in range(0, positions, step_p)
    ]


def _denominator(target: Tensor, weight: Tensor | None, ignore_index: int) -> float:
    """What the mean divides by: the class weights of the rows that count."""
    kept = target != ignore_index
    return float(kept.sum() if weight is None else weight[target[kept].long()].sum())


def _rows(
    costs: CostMatrix,
    target: Tensor,
    ignore_index: int,
    dtype: torch.dtype,
    b: slice,
    p: slice,
    positions: int,
) -> Tensor:
    """The row of costs of each sample of a block, (rows, C)."""
    truth = torch.where(target != ignore_index, target, 0).long()
    sample = torch.arange(truth.shape[0])[:, None] + (b.start or 0)
    sample = sample * positions + (p.start or 0) + torch.arange(truth.shape[1])
    rows = costs.to(dtype=dtype).row(truth.reshape(-1), sample.reshape(-1))
    return rows.to(dtype).contiguous()


# --- one opaque operator for traced graphs -------------------------------------------------------


@torch.library.custom_op("lossmatrix::native", mutates_args=())
def traced(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    bound_number: int,
    ignore_index: int,
    reduction: str,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient (empty if it is not wanted)."""
    gradient = torch.empty_like(logits) if wants_gradient else None
    given = logits, target, weight, sample_weight, ignore_index, reduction
    value = _tensor(_compute(numbered[bound_number], *given, gradient), logits.dtype)
    return value, logits.new_empty(0) if gradient is None else gradient


@traced.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    bound_number: int,
    ignore_index: int,
    reduction: str,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor]:
    dtype = _compute_dtype(logits.dtype)
    value = logits.new_empty(target.shape if reduction == "none" else (), dtype=dtype)
    return value, torch.empty_like(logits) if wants_gradient else logits.new_empty(0)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.reduction = inputs[6]


def _backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    (gradient,) = ctx.saved_tensors
    if ctx.reduction == "none":
        upstream = upstream.reshape(gradient.shape[0], 1, gradient.shape[2])
    return ((gradient * upstream).to(gradient.dtype), *[None] * 7)


traced.register_autograd(  # pyright: ignore[reportUnknownMemberType]
    _backward, setup_context=_setup_context
)
