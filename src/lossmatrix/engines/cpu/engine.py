# SPDX-License-Identifier: BSD-3-Clause
"""The native engine: compiled kernels for tensors on the CPU.

It contains no formula: ``codegen`` prints the losses' own methods as C++. A call visits the logits
once, and writes the gradient in the same visit where one will be asked for; nothing else of the
logits' size is allocated. Results do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from lossmatrix.costs.base import HALVES
from lossmatrix.engines import plan as plans
from lossmatrix.engines import reference
from lossmatrix.engines.cpu.calls import (
    Calls,
    KernelCall,
    Visit,
    compute_dtype,
    prepared_calls,
    run_visits,
)
from lossmatrix.engines.plan import NoKernelError, cast_output, of_rows, plan_of
from lossmatrix.problem import Problem, check_versions, numbered

LARGEST = {
    dtype: torch.finfo(dtype).max
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}


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
        else:
            ready_calls(problem)
    except NoKernelError as error:
        return str(error)
    return KERNELS


class CpuKernels:
    """Compiled kernels that are ready to run a problem."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss; its gradient is made in the same visit."""
        if torch.compiler.is_compiling():
            once = problem.wants_gradient and problem.given.dtype not in HALVES
            value, _ = traced(*_arguments(problem), once)
            return cast_output(problem, value)
        if problem.wants_gradient:
            return cast(Tensor, WithGradient.apply(problem.given, problem))  # pyright: ignore
        return compute(problem, None)

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient, which may take the place of the logits."""
        taken = out is not None and out.data_ptr() == problem.given.data_ptr()
        if out is not None and taken and not visits_once(problem):
            value, gradient = self.loss_and_gradient(problem)
            return value, out.copy_(gradient)
        gradient = torch.empty_like(problem.given) if out is None else out
        view = gradient.reshape(kernel_view(problem).shape)
        value = compute(problem, view)
        if view.data_ptr() != gradient.data_ptr():
            gradient.copy_(view.reshape(gradient.shape))
        return value, gradient


KERNELS = CpuKernels()


class WithGradient(torch.autograd.Function):
    """The loss, with its gradient made in the same visit and handed out in backward."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, problem: Problem) -> Tensor:  # noqa: D102
        gradient = torch.empty_like(kernel_view(problem))
        value = compute(problem, gradient)
        # Not save_for_backward: the gradient is there already, so logits may be changed in place.
        ctx.problem, ctx.gradient, ctx.versions = problem, gradient, problem.versions
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (grad_output,) = grad_outputs
        problem, gradient, ctx.gradient = ctx.problem, ctx.gradient, None
        given = problem.given
        per_row = problem.options.reduction == "none"
        scaled = per_row or grad_output.item() != 1.0
        half = given.dtype in HALVES
        again = torch.is_grad_enabled() or gradient is None or (scaled and half)
        if again:
            check_versions(problem, ctx.versions)
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return reference.gradient(problem, grad_output), None
        if again or gradient is None:
            # A second backward through a retained graph; or a half precision gradient, which is
            # scaled before it is rounded: the small ones that a loss scale saves would be gone.
            gradient = torch.empty_like(kernel_view(problem))
            compute(_scaled(problem, grad_output.detach()), gradient)
            scaled = False
        if gradient.shape != given.shape:
            gradient = gradient.reshape(given.shape)
        if scaled:
            gradient.mul_(of_rows(grad_output, problem))
        return gradient, None


def _scaled(problem: Problem, grad_output: Tensor) -> Problem:
    """The problem whose rows weigh as much as the gradient that comes from above."""
    weight = grad_output.to(problem.compute_dtype).expand(problem.row_shape)
    if problem.options.sample_weight is not None:
        weight = weight * problem.options.sample_weight
    return replace(problem, options=replace(problem.options, sample_weight=weight))


def visits_once(problem: Problem) -> bool:
    """Whether one visit makes the gradient: then nobody reads logits that it has written over."""
    call, *more = ready_calls(problem)
    linear = all(term.loss.linear_in_truth for term in problem.bound.terms)
    return isinstance(call, KernelCall) and not more and (linear or not problem.is_smoothed)


def ready_calls(problem: Problem) -> Calls:
    """The calls of a problem's plan, with the kernels that it needs."""
    dtype, smoothed = problem.compute_dtype, problem.is_smoothed
    return prepared_calls(problem.bound, dtype, smoothed, kernel_view(problem), problem.soft)


def kernel_view(problem: Problem) -> Tensor:
    """The logits as kernels visit them: (B, C) as they came, or (B, C, P), or one for both."""
    if problem.view is None:
        given = problem.given
        if problem.one_logit:
            problem.view = given.reshape(1, 1, -1)
        else:
            problem.view = given if len(problem.row_shape) == 1 else problem.logits
    return problem.view


def compute(problem: Problem, gradient: Tensor | None) -> Tensor:
    """Run the kernels; ``gradient``, if given, is filled, shaped as ``kernel_view``."""
    options = problem.options
    if problem.one_logit:
        rows = (1, 1 if problem.one_share else 2, -1) if problem.soft else (1, -1)
        target, sample_weight = problem.given_target.reshape(rows), problem.sample_weight
    elif len(problem.row_shape) == 1:
        target, sample_weight = problem.given_target, options.sample_weight
    else:
        target, sample_weight = problem.target, problem.sample_weight
    visit = Visit(
        kernel_view(problem),
        target,
        problem.soft,
        options.weight,
        sample_weight,
        options.ignore_index,
        options.reduction,
        options.label_smoothing,
        gradient,
        one_logit=problem.one_logit,
    )
    value = run_visits(problem.bound, visit, problem.compute_dtype)
    if isinstance(value, Tensor):
        return cast_output(problem, value)
    return _scalar(value, problem.output_dtype)


def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor; beyond the largest of its type it is infinite, as in any tensor."""
    if abs(value) <= LARGEST[dtype]:
        return torch.scalar_tensor(value, dtype=dtype)
    return torch.scalar_tensor(value, dtype=torch.float64).to(dtype)


# --- one opaque operator for traced graphs -------------------------------------------------------


def _arguments(problem: Problem) -> tuple[Any, ...]:
    """A problem as operators take it, which know no Python objects."""
    options = problem.options
    return (
        problem.logits,
        problem.target,
        options.weight,
        problem.sample_weight,
        problem.bound.number,
        options.ignore_index,
        options.reduction,
        options.label_smoothing,
    )


@torch.library.custom_op("lossmatrix::native", mutates_args=())
def traced(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    bound_number: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient (empty if it is not wanted)."""
    visit = Visit(
        logits,
        target,
        target.dim() == logits.dim(),
        weight,
        sample_weight,
        ignore_index,
        reduction,
        label_smoothing,
        torch.empty_like(logits) if wants_gradient else None,
    )
    dtype = compute_dtype(logits, target)
    value = run_visits(numbered[bound_number], visit, dtype)
    tensor = value if isinstance(value, Tensor) else _scalar(value, dtype)
    return tensor, logits.new_empty(0) if visit.gradient is None else visit.gradient


@torch.library.custom_op("lossmatrix::native_gradient", mutates_args=())
def traced_gradient(
    grad_output: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    bound_number: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """The gradient in half precision, scaled before it is rounded."""
    batch, _, positions = logits.shape
    rows = grad_output.to(compute_dtype(logits, target)).expand(batch, positions)
    weights = rows if sample_weight is None else rows * sample_weight
    given = (logits, target, weight, weights, bound_number, ignore_index, reduction)
    return traced(*given, label_smoothing, True)[1]


@traced.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    bound_number: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor]:
    batch, _, positions = logits.shape
    shape = (batch, positions) if reduction == "none" else ()
    value = logits.new_empty(shape, dtype=compute_dtype(logits, target))
    return value, torch.empty_like(logits) if wants_gradient else logits.new_empty(0)


@traced_gradient.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(grad_output: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, target, weight, sample_weight, *ctx.options, ctx.made = inputs
    ctx.soft = target.dim() == logits.dim()
    ctx.save_for_backward(logits, target, weight, sample_weight, output[1])


def _backward(ctx: Any, grad_output: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, gradient = ctx.saved_tensors
    if not ctx.made:
        return traced_gradient(grad_output, *inputs, *ctx.options), *[None] * 8
    ignore_index, reduction = ctx.options[1:3]
    if not ctx.soft:
        grad_output = torch.where(inputs[1] == ignore_index, 0.0, grad_output)
    if reduction == "none" or not ctx.soft:
        grad_output = grad_output.unsqueeze(1)
    return gradient * grad_output, *[None] * 8


traced.register_autograd(  # pyright: ignore[reportUnknownMemberType]
    _backward, setup_context=_setup_context
)
