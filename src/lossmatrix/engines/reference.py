# SPDX-License-Identifier: BSD-3-Clause
"""The reference engine: plain PyTorch; it defines what is correct.

It runs the formulas of the losses on (rows, C) tensors and leaves differentiation to autograd, in
any dtype, on any device. Losses of rows do not depend on each other, so blocks of rows are visited
one after the other, and each leaves its losses and, where the logits need it, its gradient: what a
block keeps meanwhile is small and stays in the cache. Where autograd must see the formulas
themselves (higher derivatives, function transforms, forward mode, traced graphs, costs that require
a gradient) they are run on all rows at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lossmatrix.costs import CostMatrix, PerExample
from lossmatrix.costs.base import full_precision
from lossmatrix.losses import Cells, Loss, Term
from lossmatrix.losses.base import as_tuple
from lossmatrix.losses.language import weigh
from lossmatrix.problem import (
    ALL_ROWS,
    Problem,
    blocks,
    check_range,
    check_versions,
    class_weights,
    reduce,
)
from lossmatrix.tensors import recorded, transforming

BLOCK = 2**18  # logits of a block of rows: small enough for caches, and worth the calls
DEVICE_BLOCK = 2**24  # on other devices, which a small block would not keep busy


def prepare(problem: Problem) -> Reference:
    """What runs every problem."""
    del problem
    return Reference()


class Reference:
    """The formulas as they stand, differentiated by autograd."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss."""
        return run(problem)

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient."""
        with torch.enable_grad():
            logits = problem.given.detach().requires_grad_()
            value = run(replace(problem, given=logits))
            (gradient,) = torch.autograd.grad(value.sum(), logits)
        if out is None:
            return value.detach(), gradient
        return value.detach(), out.copy_(gradient)


def gradient(problem: Problem, upstream: Tensor) -> Tensor:
    """The gradient of a problem's logits, which has derivatives of every order itself."""
    value = run(problem, whole=True)
    (slopes,) = torch.autograd.grad(
        value, problem.given, upstream.to(value.dtype).reshape(value.shape), create_graph=True
    )
    return slopes


def run(problem: Problem, whole: bool = False) -> Tensor:
    """The reduced loss of a problem; autograd sees the formulas themselves if it is ``whole``."""
    with full_precision(problem.given.device):
        factors = None
        if not problem.soft:
            check_range(problem)
            factors = class_weights(problem)
        rows = LossesOfRows(problem, factors)
        if whole or rows.needs_formulas:
            losses = rows.whole(problem.logits)
        elif problem.wants_gradient:
            losses = cast(Tensor, _Blocks.apply(problem.logits, rows))  # pyright: ignore
        else:
            parts = _parts(problem)
            losses = torch.cat([rows.losses(rows.of(problem.logits, part), part) for part in parts])
        if rows.counts is not None:
            losses = torch.where(rows.counts.reshape(-1), losses, 0.0)
        return reduce(problem, losses, factors)


def _needs_formulas(problem: Problem) -> bool:
    """Whether autograd, a function transform or a trace must see the formulas themselves."""
    if torch.compiler.is_compiling() or recorded() or transforming():
        return True
    if forward_ad._current_level >= 0:  # pyright: ignore  # −1 where no tensor has a tangent
        return True
    terms = problem.bound.terms
    tables = [t for each in terms if each.costs is not None for t in each.costs.tables.values()]
    weight = problem.options.weight
    constants = [problem.given_target, *tables, *(() if weight is None else (weight,))]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in constants):
        return True
    return any(type(t) not in (Tensor, torch.nn.Parameter) for t in (problem.given, *constants))


# --- blocks of rows ------------------------------------------------------------------------------

Part = tuple[slice, slice]  # samples, and positions in each: rows that follow one another


def _parts(problem: Problem) -> Iterator[Part]:
    """All rows in order, a few at a time.

    A matrix per sample is not cut: it answers for all samples at once and is larger anyway.
    """
    if any(isinstance(term.costs, PerExample) for term in problem.bound.terms):
        return iter([ALL_ROWS])
    return blocks(problem.shape, BLOCK if problem.given.device.type == "cpu" else DEVICE_BLOCK)


class _Blocks(torch.autograd.Function):
    """The losses of all rows; the gradient of each row's own loss is made with it, block by block.

    Derivatives of that gradient are those of the formulas on all rows.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: LossesOfRows) -> Tensor:
        slopes = torch.empty(logits.shape, dtype=rows.dtype, device=logits.device)
        losses: list[Tensor] = []
        for part in _parts(rows.problem):
            block = rows.of(logits.detach(), part).requires_grad_()
            with torch.enable_grad():
                values = rows.losses(block, part)
                (slope,) = torch.autograd.grad(values.sum(), block)
            samples, positions = part
            here = slopes[samples, :, positions]
            here.copy_(slope.reshape(len(here), here.shape[-1], here.shape[1]).movedim(-1, 1))
            losses.append(values.detach())
        ctx.save_for_backward(logits, slopes)
        ctx.rows, ctx.versions = rows, rows.problem.versions
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        logits, slopes = cast(tuple[Tensor, Tensor], ctx.saved_tensors)
        (upstream,) = grad_outputs
        if torch.is_grad_enabled():
            check_versions(ctx.rows.problem, ctx.versions)
            with full_precision(logits.device):
                values = ctx.rows.whole(logits)
            (curved,) = torch.autograd.grad(values, logits, upstream, create_graph=True)
            return curved, None
        by_position = upstream.reshape(logits.shape[0], 1, logits.shape[2])
        return (slopes * by_position).to(logits.dtype), None


def _counts(problem: Problem, factors: Tensor | None) -> Tensor | None:
    """Which rows count, (B, P): the others are ignored, or weigh nothing; None for all of them.

    ``factors`` are the class weights of the rows, for class indices.
    """
    target, options = problem.target, problem.options
    marks: list[Tensor] = []
    weight, sample_weight = options.weight, problem.sample_weight
    if not problem.soft:
        marks.append(target != options.ignore_index)
    if weight is not None and not weight.requires_grad:
        if factors is None:
            marks.append((weight.reshape(-1, 1) * target != 0).any(1))
        elif options.label_smoothing == 0:
            marks.append(factors.reshape(target.shape) != 0)
    if sample_weight is not None and not sample_weight.requires_grad:
        marks.append(sample_weight != 0)
    return functools.reduce(torch.logical_and, marks) if marks else None


class LossesOfRows:
    """The rows of a problem, sample by sample and position by position, and their losses."""

    def __init__(self, problem: Problem, factors: Tensor | None) -> None:
        device = problem.given.device
        self.problem, self.dtype = problem, problem.compute_dtype
        self.needs_formulas = _needs_formulas(problem)
        unseen = device.type != "cpu" or self.needs_formulas
        self.terms = tuple(
            term
            if term.costs is None
            else replace(term, costs=term.costs.to(device, problem.compute_dtype))
            for term in problem.bound.terms
            if term.scale != 0
        )
        weight = problem.options.weight
        self.weight = None if weight is None else weight.to(self.dtype)
        self.signed = weight is not None and (unseen or bool((weight < 0).any()))
        counts = _counts(problem, factors)
        self.counts = counts if counts is None or unseen or not bool(counts.all()) else None

    def of(self, tensor: Tensor, part: Part) -> Tensor:
        """The rows (n, C) of a part of a tensor (B, C, P)."""
        samples, positions = part
        some = tensor[samples, :, positions].movedim(1, -1)
        return some.reshape(-1, tensor.shape[1]).to(self.dtype)

    def whole(self, logits: Tensor) -> Tensor:
        """The losses of all rows, (B·P,), before weights per sample."""
        return self.losses(self.of(logits, ALL_ROWS), ALL_ROWS)

    def losses(self, logits: Tensor, part: Part) -> Tensor:
        """The losses of the rows of a part, (n,), before weights per sample."""
        samples, positions = part
        options, num_classes = self.problem.options, logits.shape[-1]
        start = (samples.start or 0) * self.problem.shape[2] + (positions.start or 0)
        sample = torch.arange(start, start + logits.shape[0], device=logits.device)
        factor, counts = None, None
        if self.counts is not None:  # other rows may hold anything, and it must not reach gradients
            counts = self.counts[samples, positions].reshape(-1)
            logits = torch.where(counts.unsqueeze(-1), logits, 0.0)
        if self.problem.soft:
            masses = self.of(self.problem.target, part)
            if options.label_smoothing > 0:
                masses = torch.lerp(
                    masses, torch.full_like(masses, 1 / num_classes), options.label_smoothing
                )
            masses = masses if self.weight is None else masses * self.weight
            truth = Mixture(masses, self.signed)
        else:
            target = self.problem.target[samples, positions].reshape(-1)
            target = (target if counts is None else torch.where(counts, target, 0)).long()
            if self.weight is not None:
                factor = self.weight[target]
            if options.label_smoothing > 0:
                truth = Smoothed(target, self.weight, options.label_smoothing, logits, self.signed)
                factor = None
            else:
                truth = Index(target)
        total = logits.new_zeros(logits.shape[0])
        softmax = Softmax(logits)
        for term in self.terms:
            total = total + term.scale * truth.losses(term, softmax, sample)
        return total if factor is None else total * factor


# --- what is true --------------------------------------------------------------------------------


class Index:
    """The truth of a row is a class."""

    def __init__(self, index: Tensor) -> None:
        self.index = index

    def losses(self, term: Term, softmax: Softmax, sample: Tensor) -> Tensor:
        """The loss of one term, (n,)."""
        x = softmax.logits
        cost = x.new_zeros(())
        if term.costs is not None:
            cost = term.costs.row(self.index, sample).to(x.dtype)
        target = one_hot(self.index, x)
        return _formula(term.loss, cells_of(term.loss, softmax, target, cost, term.costs))


class Mixture:
    """The truth of a row is every class with its mass."""

    def __init__(self, masses: Tensor, signed: bool = False) -> None:
        self.masses, self.signed = masses, signed  # (n, C), and whether one may be below 0
        self.mass = masses.sum(-1, keepdim=True)
        self.shares = masses / torch.where(self.mass == 0, 1.0, self.mass)

    def expected(self, costs: CostMatrix, sample: Tensor) -> Tensor:
        """What deciding is expected to cost, (n, K)."""
        del sample
        return costs.expected(self.shares)

    def losses(self, term: Term, softmax: Softmax, sample: Tensor) -> Tensor:
        """The loss of one term, (n,)."""
        if not term.loss.linear_in_truth:
            # What has no mass may have an infinite loss, whose slope times 0 would be no number.
            heaviest = self.masses.argmax(-1)
            each_mass = self.masses.unbind(-1)
            truths = (torch.where(mass != 0, i, heaviest) for i, mass in enumerate(each_mass))
            each = [Index(truth).losses(term, softmax, sample) for truth in truths]
            return weigh(self.masses, torch.stack(each, -1)).sum(-1)
        if self.signed:  # apart from each other: what sums to 0 has no shares
            below = self.masses < 0
            parts = [Mixture(self.masses.masked_fill(part, 0.0)) for part in (below, ~below)]
            return torch.stack([part.losses(term, softmax, sample) for part in parts]).sum(0)
        cost = softmax.logits.new_zeros(())
        if term.costs is not None:
            cost = self.expected(term.costs, sample)
        cells = cells_of(term.loss, softmax, self.shares, cost, term.costs)
        return self.mass.squeeze(-1) * _formula(term.loss, cells)


class Smoothed(Mixture):
    """The truth of a row is a class, less the share that is spread over all of them."""

    def __init__(
        self, index: Tensor, weight: Tensor | None, smoothing: float, like: Tensor, signed: bool
    ) -> None:
        masses = torch.lerp(
            one_hot(index, like), torch.full_like(like, 1 / like.shape[-1]), smoothing
        )
        spread = like.new_full((like.shape[-1],), smoothing / like.shape[-1])
        own = like.new_full((like.shape[0], 1), 1 - smoothing)
        if weight is not None:
            masses, spread, own = masses * weight, spread * weight, own * weight[index, None]
        super().__init__(masses, signed)
        self.index, self.spread, self.own = index, spread, own

    def expected(self, costs: CostMatrix, sample: Tensor) -> Tensor:
        """The row of the class, and what all classes have in common."""
        if isinstance(costs, PerExample):
            return costs.expected(self.shares)
        mass = torch.where(self.mass == 0, 1.0, self.mass)
        row = costs.row(self.index, sample).to(self.own.dtype)
        return row * (self.own / mass) + costs.expected(self.spread) / mass


def _formula(loss: Loss, cells: Cells) -> Tensor:
    """The formula of a loss on its rows, (n,)."""
    return loss.loss(*(total.sum(-1) for total in as_tuple(loss.term(cells))))


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """1 at a class of every row, 0 elsewhere."""
    return torch.zeros_like(like).scatter(-1, index.unsqueeze(-1), 1.0)


# --- the words of formulas -----------------------------------------------------------------------


class Made:
    """A property that is made when it is first asked for, in traced graphs too."""

    def __init__(self, make: Callable[[Any], Tensor]) -> None:
        self.make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Tensor:
        if self.name not in instance.made:
            instance.made[self.name] = self.make(instance)
        return instance.made[self.name]


def made(make: Callable[[Any], Tensor]) -> Any:
    """The same where ``Cells`` declares a tensor."""
    return Made(make)


def cells_of(
    loss: Loss, softmax: Softmax, target: Tensor, cost: Tensor, costs: CostMatrix | None
) -> Cells:
    """What a formula sees: the classes, after their margin, or the decisions."""
    margin = loss.margin(cost, target)
    if margin is not None:
        softmax = Softmax(softmax.centred + margin)
    cells = TensorCells(softmax, target, cost, costs)
    if type(loss).logits is Loss.logits:
        return cells
    risk, excess = cells.risk, cells.excess
    logits = loss.logits(risk)
    decisions = Softmax(risk if logits is None else logits)
    p, q, log_p, log_q = decisions.p, decisions.q, decisions.log_p, decisions.log_q
    return Cells(cost=cost, p=p, q=q, log_p=log_p, log_q=log_q, risk=risk, excess=excess)


class TensorCells(Cells):
    """The words of a formula on tensors."""

    def __init__(
        self, softmax: Softmax, target: Tensor, cost: Tensor, costs: CostMatrix | None
    ) -> None:
        self.softmax, self.target, self.cost, self.costs = softmax, target, cost, costs
        self.made: dict[str, Tensor] = {}

    def _expected(self, weights: Tensor) -> Tensor:
        """``weights`` · D, (n, C) → (n, K)."""
        if self.costs is None:
            raise TypeError("this loss reads costs but none were given: pass a (C, C) matrix.")
        return self.costs.expected(weights)

    p = made(lambda cell: cell.softmax.p)
    q = made(lambda cell: cell.softmax.q)
    log_p = made(lambda cell: cell.softmax.log_p)
    log_q = made(lambda cell: cell.softmax.log_q)

    @made
    def error(self) -> Tensor:
        """p − t, of which nothing cancels."""
        return self.p * (1.0 - self.target) - self.q * self.target

    @made
    def top_cost(self) -> Tensor:
        """d_m of the top class m."""
        return self.cost.expand_as(self.softmax.logits).gather(-1, self.softmax.top)

    @made
    def risk(self) -> Tensor:
        """p · D."""
        return self._expected(self.p)

    @made
    def excess(self) -> Tensor:
        """(p − t) · D."""
        return self._expected(self.error)


class Softmax:
    """p, 1 − p and their logarithms, each to full relative precision, and so are their slopes.

    Let m be the top class and the largest *other* logit the origin: then u_j ≤ 0 for j ≠ m, the
    top leads by g ≥ 0, and S = Σ_{j≠m} exp u_j ≥ 1 neither overflows nor underflows. With the log
    odds o = log S − g of the others against the top

        log p_m = log sigmoid(−o)    log q_m = log sigmoid(o)    log p_j = u_j − log(exp g + S),

    where log sigmoid loses no digits at either end. The last logarithm is g − log p_m, and also
    log S − log q_m: the one whose slope does not cancel is taken, for p_j as for log p_j. Any class
    j ≠ m has p_j ≤ ½, so that q_j and log q_j are 1 − p_j and its logarithm as they stand.
    ``−log(1 − softmax)`` would be ∞ from a gap of 17 on.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.made: dict[str, Tensor] = {}
        self.top = logits.detach().argmax(-1, keepdim=True)
        others = logits.scatter(-1, self.top, -torch.inf)
        top = logits.gather(-1, self.top)
        second = others.detach().amax(-1, keepdim=True)
        # One class has no other, and where all others are masked there is none either.
        self.second = torch.where(second == -torch.inf, top.detach(), second)
        self.others = (others - self.second).exp()  # exp(u) of the others and 0 for the top
        total = self.others.sum(-1, keepdim=True)
        alone = total == 0
        self.total = total.masked_fill(alone, 1.0)  # S
        self.log_total = self.total.log()
        self.lead = top - self.second  # g
        odds = (self.log_total - self.lead).masked_fill(alone, -torch.inf)
        # An infinite top is a logit that has overflowed, and makes NaN of all, as in PyTorch.
        self.odds = odds + (top - top)  # o
        self.log_p_top = torch.nn.functional.logsigmoid(-self.odds)
        self.log_q_top = torch.nn.functional.logsigmoid(self.odds)

    @Made
    def centred(self) -> Tensor:
        """The logits less the second largest."""
        return self.logits - self.second

    @Made
    def common(self) -> Tensor:
        """What log p of the others has in common beside u, −log(exp g + S)."""
        return torch.where(
            self.odds < 0, self.log_p_top - self.lead, self.log_q_top - self.log_total
        )

    @Made
    def p_others(self) -> Tensor:
        """p of the others and 0 for the top."""
        return self.others * self.common.exp()

    @Made
    def p(self) -> Tensor:
        """p."""
        return self.p_others.scatter(-1, self.top, self.log_p_top.exp())

    @Made
    def q(self) -> Tensor:
        """1 − p: the others' sum for the top."""
        return (1.0 - self.p_others).scatter(-1, self.top, self.log_q_top.exp())

    @Made
    def log_p(self) -> Tensor:
        """log p."""
        return (self.centred + self.common).scatter(-1, self.top, self.log_p_top)

    @Made
    def log_q(self) -> Tensor:
        """log(1 − p)."""
        return (-self.p_others).log1p().scatter(-1, self.top, self.log_q_top)
