# SPDX-License-Identifier: BSD-3-Clause
"""The triton engine: fused kernels for tensors on a GPU.

It contains no formula: ``codegen`` prints the losses' own methods in Triton's language. Triton is
imported when a call needs it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lossmatrix.engines import plan as plans
from lossmatrix.engines.plan import NoKernelError, arguments, cast_output
from lossmatrix.problem import Problem, numbered

if TYPE_CHECKING:
    from lossmatrix.engines.gpu.kernels import ForwardOutput, GpuKernels, Step

INSTALLED = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # then kernels run on the CPU, for tests


def prepare(problem: Problem) -> GpuKernels | Traced | str:
    """The kernels of a problem, or why this engine cannot run it."""
    given = problem.given
    if not (given.is_cuda or (INTERPRETED and given.is_cpu)):
        return f"the logits are on {given.device}, and its kernels run on CUDA devices"
    if not INSTALLED:
        return "triton is not installed (pip install triton)"
    reason = plans.refuses(problem)
    if reason is not None:
        return reason
    from lossmatrix.engines.gpu import kernels

    try:
        if torch.compiler.is_compiling():
            kernels.groups(problem.bound, problem.is_smoothed)
            return Traced()
        dtype = problem.compute_dtype
        known = kernels.calls(problem.bound, problem.given, dtype, problem.is_smoothed)
        return kernels.GpuKernels(known)
    except NoKernelError as error:
        return str(error)


class Traced:
    """The operators that a traced graph holds in place of kernels."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss, as an operator that has another for its gradient."""
        smoothing = problem.options.label_smoothing
        given = (*arguments(problem), smoothing, problem.bound.number)
        return cast_output(problem, traced(problem.logits, *given)[0])

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient, for an upstream of 1."""
        smoothing = problem.options.label_smoothing
        given = (*arguments(problem), smoothing, problem.bound.number)
        value, *kept = traced(problem.logits, *given)
        gradient = traced_gradient(torch.ones_like(value), *kept, problem.logits, *given)
        gradient = gradient.reshape(problem.given.shape)
        return cast_output(problem, value), gradient if out is None else out.copy_(gradient)


# --- opaque operators for traced graphs ----------------------------------------------------------


@torch.library.custom_op("lossmatrix::triton", mutates_args=())
def traced(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    bound_number: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and what its gradient needs."""
    from lossmatrix.engines.gpu import kernels

    given = (target, weight, sample_weight, ignore_index, reduction, label_smoothing)
    return _filled(kernels.losses(_step(bound_number, logits, *given), None, True))


@torch.library.custom_op("lossmatrix::triton_gradient", mutates_args=())
def traced_gradient(
    upstream: Tensor,
    denominator: Tensor,
    made: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    bound_number: int,
) -> Tensor:
    """The gradient of the loss."""
    from lossmatrix.engines.gpu import kernels

    given = (target, weight, sample_weight, ignore_index, reduction, label_smoothing)
    step = _step(bound_number, logits, *given)
    between = made if made.dim() == 3 else None
    return kernels.gradient_of(step, upstream, denominator, between, None)


def _filled(output: ForwardOutput) -> tuple[Tensor, Tensor, Tensor]:
    """An outcome with empty tensors for what it does not have: an operator gives all of them."""
    value, denominator, made = output
    empty = value.new_empty
    return (
        value,
        empty(0) if denominator is None else denominator,
        empty(0) if made is None else made,
    )


def _step(
    bound_number: int,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Step:
    """A call from inside a graph: logits (B, C, P), targets (B, P) or (B, C, P)."""
    from lossmatrix.engines.gpu import kernels

    soft = target.dim() == 3
    given = (weight, sample_weight, ignore_index, label_smoothing, soft)
    rows = kernels.rows_of(logits, target, *given)
    known = kernels.calls(numbered[bound_number], logits, rows.dtype, soft or label_smoothing > 0)
    return kernels.Step(kernels.visits_of(known, rows, reduction), rows, reduction)


@traced.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(logits: Tensor, target: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    weight, sample_weight, ignore_index, reduction, label_smoothing, bound_number = options
    from lossmatrix.engines.gpu import kernels

    soft = target.dim() == 3
    given = (weight, sample_weight, ignore_index, label_smoothing, soft)
    rows = kernels.rows_of(logits, target, *given)
    with _disable_current_modes():  # the calls that are made ready here are kept and run later
        bound = numbered[bound_number]
        known = kernels.calls(bound, logits, rows.dtype, soft or label_smoothing > 0)
    return _filled(kernels.blank_output(rows, known, reduction))


@traced_gradient.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(upstream: Tensor, denominator: Tensor, made: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, weight, sample_weight, *ctx.options = inputs
    _, *kept = output
    ctx.save_for_backward(*kept, logits, target, weight, sample_weight)


def _backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return traced_gradient(upstream, *ctx.saved_tensors, *ctx.options), *[None] * 7


traced.register_autograd(  # pyright: ignore[reportUnknownMemberType]
    _backward, setup_context=_setup_context
)
