# SPDX-License-Identifier: BSD-3-Clause
"""What engines with kernels share: which terms one kernel takes, and when there is none."""

from __future__ import annotations

from dataclasses import is_dataclass, replace

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lossmatrix.codegen.derive import PARAMETERS, STREAMS, parameters, streams
from lossmatrix.costs import CostMatrix
from lossmatrix.losses.base import Loss, Term
from lossmatrix.problem import Bound, Problem

Plan = tuple[tuple[Term, ...], ...]  # terms in groups, each for one kernel that visits the logits


class NoKernelError(RuntimeError):
    """Why a plan has no kernels."""


def plan_of(bound: Bound) -> Plan:
    """The terms of a criterion in groups; NoKernelError where one has no kernel."""
    made: Plan | str | None = bound.cache.get("plan")
    if made is None:
        made = bound.cache["plan"] = _make_plan(bound.terms)
    if isinstance(made, str):
        raise NoKernelError(made)
    return made


def _make_plan(terms: tuple[Term, ...]) -> Plan | str:
    groups: list[tuple[Term, ...]] = []
    together: tuple[Term, ...] = ()
    for term in terms:
        if term.scale == 0:
            continue
        if not is_dataclass(term.loss):
            return f"{type(term.loss).__name__} is no dataclass, so its fields cannot be read"
        if reads_risk(term.loss):
            return f"{type(term.loss).__name__} reads the risk of decisions and has no kernel"
        made = term
        if term.costs is not None:
            costs = _constant(term.costs)
            if isinstance(costs, str):
                return costs
            made = replace(term, costs=costs)
        if type(term.loss).margin is not Loss.margin:
            groups.append((made,))
        else:
            together = (*together, made)
    if not groups and not together:
        return "every term is scaled by zero, and there is nothing to visit the logits for"
    return (*groups, *_fitting(together))


def reads_risk(loss: Loss) -> bool:
    """Whether a formula asks what decisions are expected to cost."""
    from lossmatrix.losses import DecisionScore, EnergyScore, EntropicRisk

    return isinstance(loss, DecisionScore | EnergyScore | EntropicRisk)


def _constant(costs: CostMatrix) -> CostMatrix | str:
    """Costs whose tables are constants of the computation, or why they are none."""
    for table in costs.tables.values():
        if not in_memory(table):
            return "the costs take part in a function transform"
        if table.requires_grad:
            return "the costs require a gradient"
    return costs


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


def refuses(problem: Problem) -> str | None:
    """Why no kernel on any device can run a problem, or None."""
    options = problem.options
    if problem.soft or options.label_smoothing > 0:
        return "class probabilities and label smoothing have no kernel"
    if problem.shape[1] == 0:
        return "there are no classes"
    for weight in (options.weight, options.sample_weight):
        if weight is not None and weight.requires_grad:
            return "the weights require a gradient"
    if torch.compiler.is_compiling():
        return None if "plan" in problem.bound.cache else "a graph is traced of an unprepared call"
    for tensor in (problem.given, problem.given_target):
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return f"the tensors are of type {type(tensor).__name__}"
    if not in_memory(problem.given) or not in_memory(problem.given_target):
        return "a function transform is active"
    if forward_ad._current_level >= 0:  # pyright: ignore  # −1 where no tensor has a tangent
        return "forward mode is active, and kernels have no tangents"
    return None


def in_memory(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be read: those inside a function transform cannot."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


Arguments = tuple[Tensor, Tensor | None, Tensor | None, int, str]


def arguments(problem: Problem) -> Arguments:
    """Target, weights and what to do with them, as operators of traced graphs take them."""
    options = problem.options
    return (
        problem.target,
        options.weight,
        problem.sample_weight,
        options.ignore_index,
        options.reduction,
    )


def cast_output(problem: Problem, value: Tensor) -> Tensor:
    """The result in its dtype and shape."""
    if value.shape != problem.row_shape and problem.options.reduction == "none":
        value = value.reshape(problem.row_shape)
    return value if value.dtype == problem.output_dtype else value.to(problem.output_dtype)
