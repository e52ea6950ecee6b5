# SPDX-License-Identifier: BSD-3-Clause
"""What engines with kernels share: which terms one kernel takes, and when there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, is_dataclass, replace

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lossmatrix.codegen.derive import (
    DECISIONS,
    PARAMETERS,
    SOFT,
    STREAMS,
    derive,
    has_margin,
    over_decisions,
    parameters,
    reads_risk,
    streams,
)
from lossmatrix.codegen.symbols import name
from lossmatrix.costs import CostMatrix
from lossmatrix.losses.base import Loss, Term
from lossmatrix.losses.language import Cells, weigh
from lossmatrix.problem import Bound, Problem
from lossmatrix.tensors import exporting, in_memory, recorded, transforming


class NoKernelError(RuntimeError):
    """Why a plan has no kernels."""


@dataclass(frozen=True)
class TermGroup:
    """Terms that one kernel evaluates in one visit to the logits.

    ``risk`` is the one among them that asks what decisions are expected to cost; where its cells
    are decisions it is not among the ``terms``, whose cells are classes.
    """

    terms: tuple[Term, ...]
    risk: Term | None = None

    @property
    def decisions(self) -> Term | None:
        """The term whose cells are decisions."""
        return self.risk if self.risk is not None and over_decisions(self.risk.loss) else None

    @property
    def linear_in_truth(self) -> bool:
        """Whether all terms are."""
        return all(term.loss.linear_in_truth for term in self.terms)


def plan_of(bound: Bound) -> tuple[TermGroup, ...]:
    """The terms of a criterion in groups; NoKernelError where one has no kernel."""
    plan: tuple[TermGroup, ...] | str | None = bound.cache.get("plan")
    if plan is None:
        plan = bound.cache["plan"] = _make_plan(bound.terms)
    if isinstance(plan, str):
        raise NoKernelError(plan)
    return plan


def _make_plan(terms: tuple[Term, ...]) -> tuple[TermGroup, ...] | str:
    margins: list[TermGroup] = []
    risks: list[Term] = []
    others: list[Term] = []
    for term in terms:
        if term.scale == 0:
            continue
        name = type(term.loss).__name__
        if not is_dataclass(term.loss):
            return f"{name} is no dataclass, so its fields cannot be read"
        costs = None if term.costs is None else _constant(term.costs)
        if isinstance(costs, str):
            return costs
        constant = replace(term, costs=costs)
        if has_margin(term.loss):
            margins.append(TermGroup((constant,)))
        elif reads_risk(term.loss):
            if type(term.loss).loss is not Loss.loss:
                return f"{name} reads risks and is no plain sum, for which there is no kernel"
            risks.append(constant)
        else:
            others.append(constant)
    groups = _fitting(others)
    for risk in risks:  # the first takes along what else there is to do with the logits
        beside = () if over_decisions(risk.loss) else (risk,)
        with_others = (*groups[-1].terms, *beside) if groups else beside
        if groups and groups[-1].risk is None and _fits(with_others):
            groups[-1] = TermGroup(with_others, risk)
        else:
            groups.append(TermGroup(beside, risk))
    if not margins and not groups:
        return "every term is scaled by zero, and there is nothing to visit the logits for"
    return (*margins, *groups)


def _constant(costs: CostMatrix) -> CostMatrix | str:
    """Costs whose tables are constants of the computation, or why they are none."""
    for table in costs.tables.values():
        if not in_memory(table):
            return "the costs take part in a function transform"
        if table.requires_grad:
            return "the costs require a gradient"
    return costs


def _fits(terms: tuple[Term, ...]) -> bool:
    used = set(streams(terms)) - {None}
    return len(used) <= STREAMS and len(parameters(terms)) <= PARAMETERS


def _fitting(terms: list[Term]) -> list[TermGroup]:
    """Terms in groups small enough for one kernel."""
    groups: list[TermGroup] = []
    for term in terms:
        joined = (*groups[-1].terms, term) if groups else (term,)
        if not groups or not _fits(joined):
            groups.append(TermGroup((term,)))
        else:
            groups[-1] = TermGroup(joined)
    return groups


# --- risks that are made between kernels ---------------------------------------------------------


@dataclass(frozen=True)
class LogScore(Loss):
    """−t log p, whose gradient is the error p − t."""

    reads = None

    def term(self, cell: Cells) -> Tensor:
        """The truth's own −log p."""
        return -weigh(cell.target, cell.log_p)


ERROR = (Term(1.0, LogScore(), None),)


def risk_factor(group: TermGroup) -> float:
    """κ where ρ = κ (p − t); or ρ = κ g with the gradient g along the logits of decisions."""
    if group.decisions is None:
        terms, along = group.terms, name("k.err")
        risk_grad = derive(terms, SOFT, True).risk_grad
    else:
        terms, along = (group.decisions,), name("k.g")
        risk_grad = derive(terms, DECISIONS).risk_grad
    factor = risk_grad / along
    values = {f"V(a[{i}])": value for i, value in enumerate(parameters(terms))}
    if not factor.names <= values.keys():
        raise NoKernelError("it reads risks in another way than a kernel between products knows")
    return factor.at(values)


# --- what is asked of a call ---------------------------------------------------------------------


def refuses(problem: Problem) -> str | None:
    """Why no kernel on any device can run a problem, or None."""
    options = problem.options
    if problem.shape[1] == 0:
        return "there are no classes"
    if problem.soft and problem.given_target.requires_grad:
        return "the class probabilities require a gradient"
    for weight in (options.weight, options.sample_weight):
        if weight is not None and weight.requires_grad:
            return "the weights require a gradient"
    if exporting():
        return "an exported program has operators of PyTorch only, so that it runs anywhere"
    if torch.compiler.is_compiling():
        return None if "plan" in problem.bound.cache else "a graph is traced of an unprepared call"
    for tensor in (problem.given, problem.given_target, options.weight, options.sample_weight):
        if tensor is None:
            continue
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return f"the tensors are of type {type(tensor).__name__}"
        if tensor.is_neg():
            return "a tensor is negated where it is read, and kernels read what lies in memory"
    if recorded():
        return "operators are recorded one by one, and a kernel is none of PyTorch's"
    if transforming():
        return "a function transform is active"
    if forward_ad._current_level >= 0:  # pyright: ignore  # −1 where no tensor has a tangent
        return "forward mode is active, and kernels have no tangents"
    return None


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


def of_rows(grad_output: Tensor, problem: Problem) -> Tensor:
    """What multiplies the gradient of every row, beside its classes: 0 for ignored rows."""
    if problem.options.reduction != "none" and math.isfinite(grad_output.item()):
        return grad_output
    if not problem.soft:
        ignored = problem.given_target == problem.options.ignore_index
        grad_output = torch.where(ignored, 0.0, grad_output)
    return grad_output if problem.one_logit else grad_output.unsqueeze(min(1, grad_output.dim()))
