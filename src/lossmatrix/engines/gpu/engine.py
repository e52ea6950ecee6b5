# SPDX-License-Identifier: BSD-3-Clause
"""The triton engine: fused kernels for tensors on a GPU.

It contains no formula: ``printer`` prints the losses' own methods in Triton's language. Forward
reads the logits and keeps a few numbers of every row; backward reads them again and writes the
gradient, scaled before its one rounding. Nothing waits for the device.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lossmatrix.codegen.derive import (
    DECISIONS,
    HARD,
    CellKind,
    derive,
    parameters,
    streams,
    structure,
)
from lossmatrix.codegen.triton import print_triton
from lossmatrix.costs.base import HALVES
from lossmatrix.engines import plan as plans
from lossmatrix.engines import reference
from lossmatrix.engines.plan import (
    ERROR,
    NoKernelError,
    TermGroup,
    arguments,
    cast_output,
    plan_of,
    risk_factor,
)
from lossmatrix.losses import Term
from lossmatrix.problem import Bound, Problem, check_range, check_versions, numbered

if TYPE_CHECKING:
    from lossmatrix.engines.gpu.launch import ForwardOutput, LaunchCall, RowBatch
    from lossmatrix.engines.gpu.risk import Calls, RiskLaunches
    from lossmatrix.engines.gpu.softmax import KernelFormula

INSTALLED = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # then kernels run on the CPU, for tests


def prepare(problem: Problem) -> GpuKernels | str:
    """The kernels of a problem, or why this engine cannot run it."""
    device = problem.given.device
    if device.type != "cuda" and not (device.type == "cpu" and INTERPRETED):
        return f"the logits are on {device}, and its kernels run on CUDA devices"
    if not INSTALLED:
        return "triton is not installed (pip install triton)"
    reason = plans.refuses(problem)
    if reason is not None:
        return reason
    if problem.soft or problem.options.label_smoothing > 0:
        return "class probabilities and label smoothing have no kernel"
    try:
        if torch.compiler.is_compiling():
            plan_of(problem.bound)
            return GpuKernels()
        calls(problem.bound, problem.logits, problem.compute_dtype)
    except NoKernelError as error:
        return str(error)
    return GpuKernels()


class GpuKernels:
    """Kernels in Triton's language that are ready to run a problem."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss; backward makes its gradient, unless it was cheaper to make it now."""
        if torch.compiler.is_compiling():
            value, *_ = traced(problem.logits, *arguments(problem), problem.bound.number)
            return cast_output(problem, value)
        check_range(problem, wait="LOSSMATRIX_CHECK_TARGETS" in os.environ)
        if problem.wants_gradient:
            return cast(Tensor, Recomputed.apply(problem.given, problem))  # pyright: ignore
        return cast_output(problem, compute(problem).value)

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient."""
        check_range(problem, wait="LOSSMATRIX_CHECK_TARGETS" in os.environ)
        forward = compute(problem, risk_grad=True)
        one = forward.value.new_ones(())
        if problem.options.reduction == "none":
            one = one.expand(problem.row_shape).reshape(-1)
        kept = (*forward[1:], None)
        gradient = _gradient(problem.bound, one, *kept, problem.logits, *arguments(problem))
        gradient = gradient.reshape(problem.given.shape)
        return cast_output(problem, forward.value), gradient if out is None else out.copy_(gradient)


class Recomputed(torch.autograd.Function):
    """The loss; and its gradient, which backward makes from the logits: they must not change.

    Many logits of a scalar loss get their gradient in forward, for an upstream of 1; backward
    makes it again where that is another, or where the first one has been handed out.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, problem: Problem) -> Tensor:  # noqa: D102
        ctx.gradient = gradient_in_forward(problem)
        outcome = compute(problem, ctx.gradient, risk_grad=True)
        ctx.save_for_backward(given, *outcome[1:])
        ctx.problem, ctx.versions = problem, problem.versions
        return cast_output(problem, outcome.value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (upstream,) = grad_outputs
        given, *kept = ctx.saved_tensors
        problem, gradient, ctx.gradient = ctx.problem, ctx.gradient, None
        check_versions(problem, ctx.versions)
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return reference.gradient(replace(problem, given=given), upstream), None
        inputs = (upstream, *kept, gradient, given.reshape(problem.shape))
        slopes = _gradient(problem.bound, *inputs, *arguments(problem))
        return slopes.reshape(given.shape), None


def compute(
    problem: Problem, gradient: Tensor | None = None, risk_grad: bool = False
) -> ForwardOutput:
    """The loss, and with ``risk_grad`` all that its gradient needs; ``gradient``, if any."""
    return _losses(problem.bound, gradient, risk_grad, problem.logits, *arguments(problem))


def gradient_in_forward(problem: Problem) -> Tensor | None:
    """Memory for the gradient where it is made in the same visit as the loss."""
    from lossmatrix.engines.gpu import launch

    logits = problem.logits
    rows = launch.tiling(logits.shape[1], launch.channels_first(logits), problem.compute_dtype)
    large = logits.numel() * logits.element_size() >= launch.MIN_BYTES_GRADIENT_IN_FORWARD
    if problem.options.reduction == "none" or not rows.fits_on_chip or not large:
        return None
    if logits.dtype in HALVES and len(calls(problem.bound, logits, problem.compute_dtype)) > 1:
        return None  # a sum of gradients is rounded once
    return torch.empty_like(logits)


def _losses(
    bound: Bound,
    gradient: Tensor | None,
    risk_grad: bool,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> ForwardOutput:
    from lossmatrix.engines.gpu import launch, risk

    batch = _batch(logits, target, weight, sample_weight, ignore_index)
    known = calls(bound, batch.logits, batch.dtype)
    outcome = launch.blank(batch.logits, known, batch.dtype, reduction)
    further = risk.make(batch, known, outcome.made, risk_grad)
    over_classes = risk.with_made(known, outcome.made)
    return launch.losses(batch, over_classes, outcome, further, reduction, gradient)


def _gradient(
    bound: Bound,
    upstream: Tensor,
    denominator: Tensor,
    kept: Tensor,
    tops: Tensor,
    made: Tensor,
    gradient: Tensor | None,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    from lossmatrix.engines.gpu import launch, risk

    batch = _batch(logits, target, weight, sample_weight, ignore_index)
    over = denominator if reduction == "mean" else None
    known = risk.with_made(calls(bound, batch.logits, batch.dtype), made)
    return launch.gradients(batch, known, upstream, over, kept, tops, gradient)


def _batch(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
) -> RowBatch:
    from lossmatrix.engines.gpu.launch import RowBatch

    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if weight is not None:
        weight = weight.detach().to(dtype).contiguous()
    if sample_weight is not None:
        sample_weight = sample_weight.detach().to(dtype).expand(target.shape).contiguous()
    return RowBatch(logits.detach(), target, weight, sample_weight, ignore_index, dtype)


# --- what is made once for a plan ----------------------------------------------------------------


def calls(bound: Bound, logits: Tensor, dtype: torch.dtype) -> Calls:
    """The calls of a plan for one device, dtype of the computation and order in memory."""
    from lossmatrix.engines.gpu.launch import channels_first

    key = ("gpu", logits.device, dtype, channels_first(logits))
    known: Calls | None = bound.cache.get(key)
    if known is None:
        known = [_call_of(group, *key[1:]) for group in plan_of(bound)]
        bound.cache[key] = known
    return known


def _call_of(
    group: TermGroup, device: torch.device, dtype: torch.dtype, planes: bool
) -> LaunchCall | RiskLaunches:
    """The kernel of a group; or its kernels, with products of a matrix in between."""
    if group.risk is None:
        return _call(group.terms, HARD, device, dtype, planes)
    from lossmatrix.engines.gpu.risk import RiskLaunches

    costs, by_row = group.risk.costs, (group.risk, *group.terms)
    if costs is None or any(t.costs is not None and t.costs.num_samples for t in by_row):
        raise NoKernelError("it reads risks of costs that every sample has of its own")
    over = group.decisions
    classes = _call(group.terms, HARD, device, dtype, planes, risk=True)
    return RiskLaunches(
        costs.to(device, dtype),
        _call(ERROR, HARD, device, dtype, planes),
        None if over is None else _call((over,), DECISIONS, device, dtype, False),
        classes,
        "k.x" in derive(group.terms, HARD, risk=True).names,
        risk_factor(group),
    )


def _call(
    terms: tuple[Term, ...],
    kind: CellKind,
    device: torch.device,
    dtype: torch.dtype,
    planes: bool,
    risk: bool = False,
) -> LaunchCall:
    from lossmatrix.engines.gpu.launch import LaunchCall, placed

    matrices = {
        stream: placed(term.costs, device, dtype, planes)
        for stream, term in zip(streams(terms), terms, strict=True)
        if stream is not None and term.costs is not None
    }
    costs = tuple(matrices[i] for i in range(len(matrices)))
    values = torch.tensor(parameters(terms), device=device, dtype=dtype)
    return LaunchCall(_formula(terms, kind, risk), costs, values)


_formulas: dict[tuple[object, ...], KernelFormula] = {}


def _formula(terms: tuple[Term, ...], kind: CellKind = HARD, risk: bool = False) -> KernelFormula:
    from lossmatrix.engines.gpu.launch import formula

    key = (structure(terms), kind, risk)
    if key not in _formulas:
        printed = print_triton(derive(terms, kind, risk))
        _formulas[key] = formula(printed.name, printed.structs[""])
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
    bound_number: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, and what its gradient needs."""
    chosen = (target, weight, sample_weight, ignore_index, reduction)
    return _losses(numbered[bound_number], None, True, logits, *chosen)


@torch.library.custom_op("lossmatrix::triton_gradient", mutates_args=())
def traced_gradient(
    upstream: Tensor,
    denominator: Tensor,
    kept: Tensor,
    tops: Tensor,
    made: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    bound_number: int,
) -> Tensor:
    """The gradient of the loss."""
    chosen = (target, weight, sample_weight, ignore_index, reduction)
    found = (denominator, kept, tops, made, None)
    return _gradient(numbered[bound_number], upstream, *found, logits, *chosen)


@traced.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    bound_number: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from lossmatrix.engines.gpu.launch import blank

    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    with _disable_current_modes():  # the calls that are made ready here are kept and run later
        known = calls(numbered[bound_number], logits, dtype)
    outcome = blank(logits, known, dtype, reduction)
    if reduction == "none":
        outcome = outcome._replace(value=logits.new_empty(target.numel(), dtype=dtype))
    return outcome


@traced_gradient.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    upstream: Tensor,
    denominator: Tensor,
    kept: Tensor,
    tops: Tensor,
    made: Tensor,
    logits: Tensor,
    *_: Any,
) -> Tensor:
    return torch.empty_like(logits)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, weight, sample_weight, *ctx.options = inputs
    _, *kept = output
    ctx.save_for_backward(*kept, logits, target, weight, sample_weight)


def _backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return traced_gradient(upstream, *ctx.saved_tensors, *ctx.options), *[None] * 6


traced.register_autograd(  # pyright: ignore[reportUnknownMemberType]
    _backward, setup_context=_setup_context
)
