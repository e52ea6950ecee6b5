# SPDX-License-Identifier: BSD-3-Clause
"""What engines with kernels share: which terms one kernel takes, and when there is none."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lossmatrix.engines.printer import PARAMETERS, STREAMS, parameters, streams
from lossmatrix.engines.transforms import constant
from lossmatrix.formula import StreamedLoss, Term
from lossmatrix.problem import Problem


class Plan:
    """The terms of a criterion in groups, each for one kernel that visits the logits once.

    ``devices`` are those of its costs, ``number`` names it inside a traced graph, and ``made`` is
    what engines have made of it.
    """

    def __init__(self, groups: tuple[tuple[Term, ...], ...]) -> None:
        self.groups = groups
        self.devices = {
            table.device
            for term in itertools.chain(*groups)
            if term.costs is not None
            for table in term.costs.tables.values()
        }
        self.number = next(_numbers)
        self.made: dict[object, Any] = {}
        plans[self.number] = self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # addresses are worth nothing in a copy


_numbers = itertools.count()
plans: weakref.WeakValueDictionary[int, Plan] = weakref.WeakValueDictionary()


def prepare(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The terms with their plan, or with the reason why there is none."""
    made = _make_plan(terms)
    return tuple(replace(term, prepared=made) for term in terms)


def plan(problem: Problem) -> Plan | str:
    """The plan of a problem, or why there is none; made once where a criterion made none."""
    prepared = problem.terms[0].prepared or problem.prepared
    if prepared is None:
        problem.prepared = prepared = _make_plan(problem.terms)
    return cast(Plan | str, prepared)


def _make_plan(terms: tuple[Term, ...]) -> Plan | str:
    groups: list[tuple[Term, ...]] = []
    together: tuple[Term, ...] = ()
    for term in terms:
        if term.scale == 0:
            continue
        if not isinstance(term.loss, StreamedLoss):
            return f"{type(term.loss).__name__} works on whole rows and has no kernel"
        if not is_dataclass(term.loss):
            return f"{type(term.loss).__name__} is no dataclass, so its fields cannot be read"
        made = term
        if term.costs is not None:
            costs = constant(term.costs)
            if isinstance(costs, str):
                return costs
            made = replace(term, costs=costs)
        if type(term.loss).margin is not StreamedLoss.margin:
            groups.append((made,))
        else:
            together = (*together, made)
    if not groups and not together:
        return "every term is scaled by zero, and there is nothing to visit the logits for"
    return Plan((*groups, *_fitting(together)))


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
    if problem.soft or problem.label_smoothing > 0:
        return "class probabilities and label smoothing have no kernel"
    if problem.shape[1] == 0:
        return "there are no classes"
    for weight in (problem.weight, problem.given_sample_weight):
        if weight is not None and weight.requires_grad:
            return "the weights require a gradient"
    if torch.compiler.is_compiling():
        if problem.inplace_gradient:
            return "a graph is traced, and the logits of a graph are its compiler's"
        prepared = problem.terms[0].prepared
        return None if isinstance(prepared, Plan) else "a graph is traced of an unprepared call"
    for tensor in (problem.given, problem.given_target):
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return f"the tensors are of type {type(tensor).__name__}"
    if forward_ad._current_level >= 0:  # pyright: ignore  # −1 where no tensor has a tangent
        return "forward mode is active, and kernels have no tangents"
    made = plan(problem)
    return made if isinstance(made, str) else None


Options = tuple[Tensor, Tensor | None, Tensor | None, int, str]


def options(problem: Problem) -> Options:
    """Target, weights and what to do with them: what kernels are told beside the logits."""
    return (
        problem.target,
        problem.weight,
        problem.sample_weight,
        problem.ignore_index,
        problem.reduction,
    )


def as_asked(problem: Problem, value: Tensor) -> Tensor:
    """The result in its dtype and shape."""
    if value.shape != problem.row_shape and problem.reduction == "none":
        value = value.reshape(problem.row_shape)
    return value if value.dtype == problem.output_dtype else value.to(problem.output_dtype)


def differentiable(
    problem: Problem, higher: Callable[[Problem], Tensor], given: Tensor, upstream: Tensor
) -> Tensor:
    """The gradient by an engine that has derivatives of every order."""
    again = higher(replace(problem, given=given))
    (gradient,) = torch.autograd.grad(
        again, given, upstream.to(again.dtype).reshape(again.shape), create_graph=True
    )
    return gradient
