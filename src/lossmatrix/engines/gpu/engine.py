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
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lossmatrix.codegen.derive import (
    DECISIONS,
    HARD,
    SOFT,
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
    from lossmatrix.engines.gpu.launch import LaunchCall, RowBatch
    from lossmatrix.engines.gpu.risk import Calls, RiskLaunches, Visits
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
    try:
        soft = _is_soft(problem)
        if torch.compiler.is_compiling():
            _kinds(problem.bound, soft)
            return GpuKernels()
        calls(problem.bound, problem.logits, problem.compute_dtype, soft)
    except NoKernelError as error:
        return str(error)
    return GpuKernels()


class GpuKernels:
    """Kernels in Triton's language that are ready to run a problem."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss; backward makes its gradient, unless it was cheaper to make it now."""
        if torch.compiler.is_compiling():
            value, *_ = traced(problem.logits, *_arguments(problem), problem.bound.number)
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
        gradient = gradient_in_forward(problem, always=True)
        forward = compute(problem, gradient, risk_grad=True)
        if gradient is None:
            one = forward.value.new_ones(())
            if problem.options.reduction == "none":
                one = one.expand(problem.row_shape).reshape(-1)
            kept = (*forward[1:], None)
            gradient = _gradient(problem.bound, one, *kept, problem.logits, *_arguments(problem))
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
        slopes = _gradient(problem.bound, *inputs, *_arguments(problem))
        return slopes.reshape(given.shape), None


def _arguments(problem: Problem) -> tuple[Tensor, Tensor | None, Tensor | None, int, str, float]:
    return (*arguments(problem), problem.options.label_smoothing)


def _is_soft(problem: Problem) -> bool:
    return problem.soft or problem.options.label_smoothing > 0


def compute(
    problem: Problem, gradient: Tensor | None = None, risk_grad: bool = False
) -> ForwardOutput:
    """The loss, and with ``risk_grad`` all that its gradient needs; ``gradient``, if any."""
    return _losses(problem.bound, gradient, risk_grad, problem.logits, *_arguments(problem))


MIN_BYTES_GRADIENT_IN_FORWARD = 2**22  # of logits; below that the denominator takes a launch more


def gradient_in_forward(problem: Problem, always: bool = False) -> Tensor | None:
    """Memory for the gradient where it is made in the same visit as the loss."""
    logits = problem.logits
    large = logits.numel() * logits.element_size() >= MIN_BYTES_GRADIENT_IN_FORWARD
    if problem.options.reduction == "none" or not (large or always):
        return None
    known = calls(problem.bound, logits, problem.compute_dtype, _is_soft(problem))
    if logits.dtype in HALVES and len(known) > 1:
        return None  # a sum of gradients is rounded once
    return torch.empty_like(logits)


class ForwardOutput(NamedTuple):
    """What forward finds: the losses (B·P,) or their reduction (), and what backward needs."""

    value: Tensor
    denominator: Tensor  # of the mean
    made: Tensor  # (…, B·P, C), what was made between kernels


def _losses(
    bound: Bound, gradient: Tensor | None, risk_grad: bool, logits: Tensor, *options: Any
) -> ForwardOutput:
    from lossmatrix.engines.gpu import launch, risk

    reduction = options[4]
    reduced = reduction != "none"
    batch = _batch(logits, *options)
    known = _visits(bound, batch, *options)
    outcome = _blank(batch, [call for _, call in known], reduction)
    further = risk.make(known, outcome.made, risk_grad)
    above = launch.ONE
    if gradient is not None and reduction == "mean":
        above = launch.GradOutput(None, 0, launch.denominator(batch))
    if further is not None and not reduced:
        outcome.value.copy_(further)
    for i, (each, call) in enumerate(risk.with_made(known, outcome.made)):
        more = further.sum() if i == 0 and reduced and further is not None else None
        rows, value = (None, outcome.value) if reduced else (outcome.value, None)
        results = launch.Results(rows, value, outcome.denominator, reduction == "mean", more)
        add = i > 0 or (further is not None and not reduced)
        launch.visit(each, call, results, gradient, above, add=add)
    return outcome


def _gradient(
    bound: Bound,
    upstream: Tensor,
    denominator: Tensor,
    made: Tensor,
    gradient: Tensor | None,
    logits: Tensor,
    *options: Any,
) -> Tensor:
    """The gradient (B, C, P) in the logits' dtype, made from the logits again.

    A ``gradient`` that was made in forward is right for an upstream of 1, and made again for any
    other; the device decides, so that nobody waits for it.
    """
    from lossmatrix.engines.gpu import launch, risk

    batch = _batch(logits, *options)
    known = _visits(bound, batch, *options)
    over = denominator if options[4] == "mean" else None
    dtype = batch.dtype if len(known) > 1 else logits.dtype  # a sum is rounded once
    slopes = torch.empty_like(batch.logits, dtype=dtype) if gradient is None else gradient
    above, skip = launch.grad_output(upstream, over), gradient is not None
    for i, (each, call) in enumerate(risk.with_made(known, made)):
        launch.visit(each, call, None, slopes, above, add=i > 0, skip=skip)
    return slopes.to(logits.dtype)


def _blank(batch: RowBatch, calls: Calls, reduction: str) -> ForwardOutput:
    """Tensors for an outcome, with nothing in them yet."""
    items, classes, positions = batch.logits.shape
    rows, blank = items * positions, batch.logits.new_empty
    made = sum(call.num_made for call in calls)
    return ForwardOutput(
        blank((rows,) if reduction == "none" else (), dtype=batch.dtype),
        blank((), dtype=batch.dtype),
        blank((made, rows, classes) if made else (0,), dtype=batch.dtype),
    )


# --- what a call gives the kernels ---------------------------------------------------------------


def _batch(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> RowBatch:
    """The rows of a call, with class indices or class probabilities and smoothing."""
    from lossmatrix.engines.gpu.launch import RowBatch

    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if weight is not None:
        weight = weight.detach().to(dtype).contiguous()
    if sample_weight is not None:
        rows = (logits.shape[0], logits.shape[2])
        sample_weight = sample_weight.detach().to(dtype).expand(rows).contiguous()
    soft = target.dim() == 3
    keep, base = weight if soft else None, None
    if label_smoothing > 0:
        unit = logits.new_ones(logits.shape[1], dtype=dtype) if weight is None else weight
        keep, base = (1.0 - label_smoothing) * unit, (label_smoothing / logits.shape[1]) * unit
    return RowBatch(
        logits.detach(),
        None if soft else target,
        None if soft else weight,
        sample_weight,
        ignore_index,
        dtype,
        shares=target.detach() if soft else None,
        keep=keep,
        base=base,
    )


def _visits(bound: Bound, batch: RowBatch, *options: Any) -> Visits:
    """The calls of a plan, each with the rows that it is given."""
    from lossmatrix.engines.gpu import shares

    soft = batch.shares is not None or batch.base is not None
    known = calls(bound, batch.logits, batch.dtype, soft)
    if not soft:
        return [(batch, call) for call in known]
    return shares.visits(batch, known)


# --- what is made once for a plan ----------------------------------------------------------------


def calls(bound: Bound, logits: Tensor, dtype: torch.dtype, soft: bool) -> Calls:
    """The calls of a plan for one device, dtype of the computation and kind of targets."""
    turned = logits.stride(1) != 1
    key = ("gpu", logits.device, dtype, turned, soft)
    known: Calls | None = bound.cache.get(key)
    if known is None:
        groups = zip(plan_of(bound), _kinds(bound, soft), strict=True)
        known = [_call_of(group, kind, *key[1:4]) for group, kind in groups]
        bound.cache[key] = known
    return known


def _kinds(bound: Bound, soft: bool) -> list[CellKind]:
    """What the cells of every group are; NoKernelError where one has no kernel."""
    kinds: list[CellKind] = []
    for group in plan_of(bound):
        terms = (*group.terms, *([group.risk] if group.risk else []))
        costs = [term.costs for term in terms if term.costs is not None]
        of_samples = any(each.num_samples is not None for each in costs)
        if soft and of_samples:
            raise NoKernelError("class probabilities are not read with costs of samples")
        if group.risk is not None and of_samples:
            raise NoKernelError("it reads risks of costs that every sample has of its own")
        if soft and not group.linear_in_truth:
            raise NoKernelError(
                "class probabilities and label smoothing have no kernel where a loss is not "
                "linear in the truth"
            )
        kinds.append(SOFT if soft else HARD)
    return kinds


def _call_of(
    group: TermGroup, kind: CellKind, device: torch.device, dtype: torch.dtype, turned: bool
) -> LaunchCall | RiskLaunches:
    """The kernel of a group; or its kernels, with products of a matrix in between."""
    if group.risk is None or group.risk.costs is None:
        return _call(group.terms, kind, device, dtype, turned)
    from lossmatrix.engines.gpu.risk import RiskLaunches

    over = group.decisions
    classes = _call(group.terms, kind, device, dtype, turned, risk=True)
    return RiskLaunches(
        group.risk.costs.to(device, dtype),
        _call(ERROR, kind, device, dtype, turned),
        None if over is None else _call((over,), DECISIONS, device, dtype, False),
        classes,
        "k.x" in derive(group.terms, kind, risk=True).names,
        risk_factor(group),
    )


def _call(
    terms: tuple[Term, ...],
    kind: CellKind,
    device: torch.device,
    dtype: torch.dtype,
    turned: bool,
    risk: bool = False,
) -> LaunchCall:
    from lossmatrix.engines.gpu.launch import LaunchCall
    from lossmatrix.engines.gpu.placed import placed

    matrices = {
        stream: term.costs
        for stream, term in zip(streams(terms), terms, strict=True)
        if stream is not None and term.costs is not None
    }
    ordered = tuple(matrices[i] for i in range(len(matrices)))
    costs = tuple(placed(each, device, dtype, turned) for each in ordered)
    values = torch.tensor(parameters(terms), device=device, dtype=dtype)
    shares_of_one = kind is SOFT and derive(terms, kind, risk).shares
    return LaunchCall(_formula(terms, kind, risk), costs, values, ordered, shares_of_one)


_formulas: dict[tuple[object, ...], KernelFormula] = {}


def _formula(terms: tuple[Term, ...], kind: CellKind = HARD, risk: bool = False) -> KernelFormula:
    from lossmatrix.engines.gpu.placed import formula

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
    label_smoothing: float,
    bound_number: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and what its gradient needs."""
    chosen = (target, weight, sample_weight, ignore_index, reduction, label_smoothing)
    return _losses(numbered[bound_number], None, True, logits, *chosen)


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
    chosen = (target, weight, sample_weight, ignore_index, reduction, label_smoothing)
    found = (denominator, made, None)
    return _gradient(numbered[bound_number], upstream, *found, logits, *chosen)


@traced.register_fake  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
def _(
    logits: Tensor, target: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *given, bound_number = options
    batch = _batch(logits, target, *given)
    with _disable_current_modes():  # the calls that are made ready here are kept and run later
        soft = target.dim() == 3 or given[4] > 0
        known = calls(numbered[bound_number], logits, batch.dtype, soft)
    return _blank(batch, known, given[3])


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
