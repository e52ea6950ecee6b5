# SPDX-License-Identifier: BSD-3-Clause
"""A call that is ready for the kernels: which of them it takes, with which rows, and in what order.

Forward finds the losses; backward reads the logits again and writes the gradient, scaled before its
one rounding. Nothing waits for the device.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

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
from lossmatrix.costs.per_label import PerLabel
from lossmatrix.engines import reference
from lossmatrix.engines.gpu import launch, risk, shares
from lossmatrix.engines.gpu.launch import LaunchCall, RowBatch
from lossmatrix.engines.gpu.placed import formula, placed
from lossmatrix.engines.gpu.risk import Calls, RiskLaunches, Visits
from lossmatrix.engines.gpu.softmax import KernelFormula
from lossmatrix.engines.plan import (
    ERROR,
    NoKernelError,
    TermGroup,
    cast_output,
    plan_of,
    risk_factor,
)
from lossmatrix.losses import Term
from lossmatrix.problem import Bound, Problem, check_range, check_versions


@dataclass(slots=True)
class GpuKernels:
    """Kernels in Triton's language that are ready to run a problem."""

    calls: Calls

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss; backward makes its gradient, unless it was cheaper to make it now."""
        if problem.one_logit:
            return cast_output(problem, self.loss(problem.of_two_classes))
        check_range(problem, wait="LOSSMATRIX_CHECK_TARGETS" in os.environ)
        if problem.wants_gradient:
            value = cast(Tensor, Recomputed.apply(problem.given, problem, self.calls))  # pyright: ignore
        else:
            value = losses(step_of(problem, self.calls), None, False).value
        return cast_output(problem, value)

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient."""
        if problem.one_logit:
            value, gradient = self.loss_and_gradient(problem.of_two_classes)
            gradient = gradient[0, 1].reshape(problem.given.shape)
            return cast_output(problem, value), gradient if out is None else out.copy_(gradient)
        check_range(problem, wait="LOSSMATRIX_CHECK_TARGETS" in os.environ)
        step = step_of(problem, self.calls)
        gradient = None if step.reduction == "none" else _blank_gradient(step)
        forward = losses(step, gradient, True)
        if gradient is None:
            one = forward.value.new_ones(())
            if step.reduction == "none":
                one = one.expand(forward.value.shape)
            gradient = gradient_of(step, one, *forward[1:], None)
        gradient = gradient.reshape(problem.given.shape)
        return cast_output(problem, forward.value), gradient if out is None else out.copy_(gradient)


class Recomputed(torch.autograd.Function):
    """The loss; and its gradient, which backward makes from the logits: they must not change.

    Many logits of a scalar loss get their gradient in forward, for an upstream of 1; backward
    makes it again where that is another, or where the first one has been handed out.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, problem: Problem, known: Calls) -> Tensor:  # noqa: D102
        step, gradient = step_of(problem, known), None
        large = given.numel() * given.element_size() >= MIN_BYTES_GRADIENT_IN_FORWARD
        if large and step.reduction != "none":
            gradient = _blank_gradient(step)
        outcome = losses(step, gradient, True)
        ctx.save_for_backward(given)
        ctx.problem, ctx.versions = problem, problem.versions
        ctx.step, ctx.kept, ctx.gradient = step, outcome[1:], gradient
        return outcome.value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        (upstream,) = grad_outputs
        (given,) = ctx.saved_tensors
        problem, gradient, ctx.gradient = ctx.problem, ctx.gradient, None
        check_versions(problem, ctx.versions)
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return reference.gradient(replace(problem, given=given), upstream), None, None
        slopes = gradient_of(ctx.step, upstream, *ctx.kept, gradient)
        return (slopes if slopes.shape == given.shape else slopes.reshape(given.shape)), None, None


MIN_BYTES_GRADIENT_IN_FORWARD = 2**22  # of logits; below that the denominator takes a launch more


class Step(NamedTuple):
    """The calls of a plan, each with the rows that it is given."""

    visits: Visits
    rows: RowBatch
    reduction: str


class ForwardOutput(NamedTuple):
    """What forward finds: the losses (B·P,) or their reduction (), and what backward needs."""

    value: Tensor
    denominator: Tensor | None  # of the mean
    made: Tensor | None  # (…, B·P, C), what was made between kernels


def step_of(problem: Problem, known: Calls) -> Step:
    """A call as the kernels see it; views are made of what needs them alone."""
    given, options, sample = problem.given, problem.options, problem.options.sample_weight
    if given.dim() == 2:
        logits, target = given, problem.given_target
    else:
        logits, target, sample = problem.logits, problem.target, problem.sample_weight
    rows = rows_of(
        logits,
        target,
        options.weight,
        sample,
        options.ignore_index,
        options.label_smoothing,
        problem.soft,
    )
    return Step(visits_of(known, rows, options.reduction), rows, options.reduction)


def visits_of(known: Calls, rows: RowBatch, reduction: str) -> Visits:
    """The calls, each with the rows that it is given: with shares, or one class after the other."""
    if rows.shares is not None or rows.base is not None:
        return shares.visits(rows.wide, known, reduction)
    return [(rows, call) for call in known]


def rows_of(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    soft: bool,
) -> RowBatch:
    """The rows of a call, with class indices or class probabilities and smoothing."""
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if weight is not None:
        weight = weight.detach().to(dtype).contiguous()
    if sample_weight is not None:
        sample_weight = sample_weight.detach().to(dtype).contiguous()
    keep, base = weight if soft else None, None
    if label_smoothing > 0:
        classes = logits.shape[1]
        unit = logits.new_ones(classes, dtype=dtype) if weight is None else weight
        keep, base = (1.0 - label_smoothing) * unit, (label_smoothing / classes) * unit
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


def _blank_gradient(step: Step) -> Tensor | None:
    """Memory for a gradient that is made in the same visit as the loss."""
    if step.rows.logits.dtype in HALVES and len(step.visits) > 1:
        return None  # a sum of gradients is rounded once
    return torch.empty_like(step.rows.logits)


def losses(step: Step, gradient: Tensor | None, risk_grad: bool) -> ForwardOutput:
    """The losses; with ``risk_grad`` all that their gradient needs, and ``gradient`` if any."""
    reduced, mean = step.reduction != "none", step.reduction == "mean"
    outcome = blank_output(step.rows, [call for _, call in step.visits], step.reduction)
    further, visits = risk.made(step.visits, outcome.made, risk_grad)
    above = launch.ONE
    if gradient is not None and mean:
        above = launch.GradOutput(None, 0, launch.denominator(step.rows))
    if further is not None and not reduced:
        outcome.value.copy_(further)
    for i, (rows, call) in enumerate(visits):
        more = further.sum() if i == 0 and reduced and further is not None else None
        places = (None, outcome.value) if reduced else (outcome.value, None)
        divides = mean and not rows.divided
        results = launch.Results(*places, outcome.denominator, divides, more)
        add = i > 0 or (further is not None and not reduced)
        launch.visit(rows, call, results, gradient, above if divides else launch.ONE, add=add)
    return outcome


def gradient_of(
    step: Step,
    upstream: Tensor,
    denominator: Tensor | None,
    made: Tensor | None,
    gradient: Tensor | None,
) -> Tensor:
    """The gradient in the logits' dtype, made from the logits again.

    A ``gradient`` that was made in forward is right for an upstream of 1, and made again for any
    other; the device decides, so that nobody waits for it.
    """
    logits, skip = step.rows.logits, gradient is not None
    if gradient is None:  # a sum is rounded once
        dtype = step.rows.dtype if len(step.visits) > 1 else logits.dtype
        gradient = torch.empty_like(logits, dtype=dtype)
    over = denominator if step.reduction == "mean" else None
    for i, (rows, call) in enumerate(risk.with_made(step.visits, made)):
        above = launch.grad_output(upstream, None if rows.divided else over)
        launch.visit(rows, call, None, gradient, above, add=i > 0, skip=skip)
    return gradient if gradient.dtype == logits.dtype else gradient.to(logits.dtype)


def blank_output(rows: RowBatch, known: Calls, reduction: str) -> ForwardOutput:
    """Tensors for an outcome, with nothing in them yet."""
    blank, dtype, made = rows.logits.new_empty, rows.dtype, sum([call.num_made for call in known])
    return ForwardOutput(
        blank((rows.count,) if reduction == "none" else (), dtype=dtype),
        blank((), dtype=dtype) if reduction == "mean" else None,
        blank((made, rows.count, rows.logits.shape[1]), dtype=dtype) if made else None,
    )


# --- what is made once for a plan ----------------------------------------------------------------


def calls(bound: Bound, logits: Tensor, dtype: torch.dtype, soft: bool) -> Calls:
    """The calls of a plan for one device, dtype of the computation and kind of targets."""
    turned = logits.dim() > 1 and logits.stride(1) != 1
    key = ("gpu", logits.device, dtype, turned, soft)
    known: Calls | None = bound.cache.get(key)
    if known is None:
        known = [_call_of(group, kind, *key[1:4]) for group, kind in groups(bound, soft)]
        bound.cache[key] = known
    return known


def groups(bound: Bound, soft: bool) -> list[tuple[TermGroup, CellKind]]:
    """What one kernel takes, and its cells; NoKernelError where there is none."""
    found: list[tuple[TermGroup, CellKind]] = []
    for group in plan_of(bound):
        terms = (*group.terms, *([group.risk] if group.risk else []))
        costs = [term.costs for term in terms if term.costs is not None]
        of_samples = any(each.num_samples is not None for each in costs)
        of_labels = of_samples and all(isinstance(each, PerLabel) for each in costs)
        if soft and of_samples and not of_labels:
            raise NoKernelError("class probabilities are not read with costs of samples")
        if group.risk is not None and of_samples:
            raise NoKernelError("it reads risks of costs that every sample has of its own")
        if soft and of_labels:  # a visit for each of the two classes
            found.append((group, HARD))
            continue
        if not soft or group.linear_in_truth:
            found.append((group, SOFT if soft else HARD))
            continue
        linear = tuple(term for term in group.terms if term.loss.linear_in_truth)
        if linear or group.risk is not None:
            found.append((TermGroup(linear, group.risk), SOFT))
        rest = tuple(term for term in group.terms if not term.loss.linear_in_truth)
        found.append((TermGroup(rest), HARD))
    return found


def _call_of(
    group: TermGroup, kind: CellKind, device: torch.device, dtype: torch.dtype, turned: bool
) -> LaunchCall | RiskLaunches:
    """The kernel of a group; or its kernels, with products of a matrix in between."""
    if group.risk is None or group.risk.costs is None:
        return _call(group.terms, kind, device, dtype, turned)
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
    key = (structure(terms), kind, risk)
    if key not in _formulas:
        printed = print_triton(derive(terms, kind, risk))
        _formulas[key] = formula(printed.name, printed.structs[""])
    return _formulas[key]
