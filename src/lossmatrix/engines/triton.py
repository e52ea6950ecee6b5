# SPDX-License-Identifier: BSD-3-Clause
"""The triton engine: fused kernels for tensors on a GPU.

It contains no formula: ``printer`` prints the losses' own methods in Triton's language. Forward
reads the logits and keeps a few numbers of every row; backward reads them again and writes the
gradient, scaled before its one rounding. Nothing waits for the device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from lossmatrix.engines import fused, transforms
from lossmatrix.engines.fused import Plan, as_asked, differentiable, options, plan, plans
from lossmatrix.engines.printer import parameters, print_triton, streams, structure
from lossmatrix.formula import Term
from lossmatrix.problem import Problem, check_range

if TYPE_CHECKING:
    from lossmatrix.triton.launch import Batch, Call, Outcome
    from lossmatrix.triton.row import Formula

INSTALLED = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # then kernels run on the CPU, for tests


def refuses(problem: Problem) -> str | None:
    """Why this engine cannot run a problem, or None."""
    device = problem.given.device
    if device.type != "cuda" and not (device.type == "cpu" and INTERPRETED):
        return f"the logits are on {device}, and its kernels run on CUDA devices"
    if not INSTALLED:
        return "triton is not installed (pip install triton)"
    if problem.inplace_gradient and problem.wants_gradient:
        return "it makes the gradient in backward, from the logits"
    reason = fused.refuses(problem)
    if reason is not None or torch.compiler.is_compiling():
        return reason
    if transforms.active(problem):
        return "a function transform is active"
    from lossmatrix.triton.launch import NoKernelError

    try:
        calls(cast(Plan, plan(problem)), problem.logits, problem.compute_dtype)
    except NoKernelError as error:
        return str(error)
    return None


def run(problem: Problem, higher: Callable[[Problem], Tensor]) -> Tensor:
    """The reduced loss of a problem; ``higher`` is asked where second derivatives are wanted."""
    if torch.compiler.is_compiling():
        made = cast(Plan, problem.terms[0].prepared)
        value, *_ = traced(problem.logits, *options(problem), made.number)
        return as_asked(problem, value)
    check_range(problem, wait="LOSSMATRIX_CHECK_TARGETS" in os.environ)
    if problem.wants_gradient:
        return cast(Tensor, Recomputed.apply(problem.given, problem, higher))  # pyright: ignore
    return as_asked(problem, compute(problem).value)


class Recomputed(torch.autograd.Function):
    """The loss; and its gradient, which backward makes from the logits: they must not change.

    Many logits of a scalar loss get their gradient in forward, for an upstream of 1; backward
    makes it again where that is another, or where the first one has been handed out.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, given: Tensor, problem: Problem, higher: Callable[[Problem], Tensor]
    ) -> Tensor:
        ctx.gradient = at_once(problem)
        outcome = compute(problem, ctx.gradient)
        ctx.save_for_backward(given, *outcome[1:])
        ctx.problem, ctx.higher = problem, higher
        return as_asked(problem, outcome.value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        (upstream,) = grad_outputs
        given, denominator, kept, tops = ctx.saved_tensors
        problem, gradient, ctx.gradient = ctx.problem, ctx.gradient, None
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return differentiable(problem, ctx.higher, given, upstream), None, None
        logits, made = given.reshape(problem.shape), cast(Plan, plan(problem))
        inputs = (upstream, denominator, kept, tops, gradient, logits)
        return _slopes(made, *inputs, *options(problem)).reshape(given.shape), None, None


def compute(problem: Problem, gradient: Tensor | None = None) -> Outcome:
    """The loss and what its gradient needs; ``gradient`` (B, C, P), if given, is filled."""
    return _losses(cast(Plan, plan(problem)), gradient, problem.logits, *options(problem))


def at_once(problem: Problem) -> Tensor | None:
    """Memory for the gradient where it is made in the same visit as the loss."""
    from lossmatrix.triton import launch

    logits = problem.logits
    rows = launch.tiling(logits.shape[1], launch.in_planes(logits), problem.compute_dtype)
    large = logits.numel() * logits.element_size() >= launch.AT_ONCE
    if problem.reduction == "none" or not rows.whole or not large:
        return None
    return torch.empty_like(logits)


def _losses(
    made: Plan,
    gradient: Tensor | None,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> Outcome:
    from lossmatrix.triton import launch

    batch = _batch(logits, target, weight, sample_weight, ignore_index)
    return launch.losses(batch, calls(made, batch.logits, batch.dtype), reduction, gradient)


def _slopes(
    made: Plan,
    upstream: Tensor,
    denominator: Tensor,
    kept: Tensor,
    tops: Tensor,
    gradient: Tensor | None,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    from lossmatrix.triton import launch

    batch = _batch(logits, target, weight, sample_weight, ignore_index)
    over = denominator if reduction == "mean" else None
    known = calls(made, batch.logits, batch.dtype)
    return launch.slopes(batch, known, upstream, over, kept, tops, gradient)


def _batch(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
) -> Batch:
    from lossmatrix.triton.launch import Batch

    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if weight is not None:
        weight = weight.detach().to(dtype).contiguous()
    if sample_weight is not None:
        sample_weight = sample_weight.detach().to(dtype).expand(target.shape).contiguous()
    return Batch(logits.detach(), target, weight, sample_weight, ignore_index, dtype)


# --- what is made once for a plan ----------------------------------------------------------------


def calls(made: Plan, logits: Tensor, dtype: torch.dtype) -> list[Call]:
    """The calls of a plan for one device, dtype of the computation and order in memory."""
    from lossmatrix.triton.launch import in_planes

    key = (logits.device, dtype, in_planes(logits))
    known: list[Call] | None = made.made.get(key)
    if known is None:
        known = [_call(terms, *key) for terms in made.groups]
        made.made[key] = known
    return known


def _call(terms: tuple[Term, ...], device: torch.device, dtype: torch.dtype, planes: bool) -> Call:
    from lossmatrix.triton.launch import Call, placed

    matrices = {
        stream: placed(term.costs, device, dtype, planes)
        for stream, term in zip(streams(terms), terms, strict=True)
        if stream is not None and term.costs is not None
    }
    costs = tuple(matrices[i] for i in range(len(matrices)))
    return Call(_formula(terms), costs, torch.tensor(parameters(terms), device=device, dtype=dtype))


_formulas: dict[tuple[object, ...], Formula] = {}


def _formula(terms: tuple[Term, ...]) -> Formula:
    from lossmatrix.triton.launch import formula

    key = structure(terms)
    if key not in _formulas:
        printed = print_triton(terms)
        _formulas[key] = formula(printed.name, printed.text)
    return _formulas[key]


# --- opaque operators for traced graphs ----------------------------------------------------------


@torch.library.custom_op("lossmatrix::triton", mutates_args=())
def traced(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    plan_number: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, and what its gradient needs."""
    chosen = (target, weight, sample_weight, ignore_index, reduction)
    return _losses(plans[plan_number], None, logits, *chosen)


@torch.library.custom_op("lossmatrix::triton_slopes", mutates_args=())
def traced_slopes(
    upstream: Tensor,
    denominator: Tensor,
    kept: Tensor,
    tops: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    plan_number: int,
) -> Tensor:
    """The gradient of the loss."""
    chosen = (target, weight, sample_weight, ignore_index, reduction)
    found = (denominator, kept, tops, None)
    return _slopes(plans[plan_number], upstream, *found, logits, *chosen)


@traced.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    plan_number: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from lossmatrix.triton.launch import blank, in_planes, tiling

    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    known = calls(plans[plan_number], logits, dtype)
    whole = tiling(logits.shape[1], in_planes(logits), dtype).whole
    outcome = blank(logits, target.numel(), known, dtype, reduction, whole)
    if reduction == "none":
        outcome = outcome._replace(value=logits.new_empty(target.numel(), dtype=dtype))
    return outcome


@traced_slopes.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    upstream: Tensor, denominator: Tensor, kept: Tensor, tops: Tensor, logits: Tensor, *_: Any
) -> Tensor:
    return torch.empty_like(logits)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, weight, sample_weight, *ctx.options = inputs
    _, *kept = output
    ctx.save_for_backward(*kept, logits, target, weight, sample_weight)


def _hand_out(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return traced_slopes(upstream, *ctx.saved_tensors, *ctx.options), *[None] * 6


traced.register_autograd(  # pyright: ignore[reportUnknownMemberType]
    _hand_out, setup_context=_keep
)
