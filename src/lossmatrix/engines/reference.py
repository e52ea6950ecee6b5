# SPDX-License-Identifier: BSD-3-Clause
"""The reference engine: plain PyTorch on whole tensors; it defines what is correct.

It runs the formulas of the losses on (rows, C) tensors and leaves differentiation to autograd, of
any order, in any dtype, on any device. With a graph it keeps about twenty tensors of the logits'
size. Where no graph is needed it works through blocks of rows and keeps a few million numbers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, PerExample
from lossmatrix.costs.base import full_precision
from lossmatrix.losses import Cells, Loss, Term
from lossmatrix.losses.base import as_tuple
from lossmatrix.problem import Problem, check_range, class_weights, reduce

BLOCK = 2**20  # logits per block of rows when no graph is needed


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
    value = run(problem)
    (slopes,) = torch.autograd.grad(
        value, problem.given, upstream.to(value.dtype).reshape(value.shape), create_graph=True
    )
    return slopes


def run(problem: Problem) -> Tensor:
    """The reduced loss of a problem."""
    batch, num_classes, positions = problem.shape
    with full_precision(problem.given.device):
        logits = problem.logits.movedim(1, -1).reshape(batch * positions, num_classes)
        if problem.soft:
            kept, factors = None, None
            target = problem.target.movedim(1, -1).reshape(batch * positions, num_classes)
        else:
            check_range(problem)
            kept = problem.target.reshape(-1) != problem.options.ignore_index
            target = torch.where(kept, problem.target.reshape(-1), 0).long()
            factors = class_weights(problem)
        losses = torch.cat(
            [
                _row_losses(problem, logits[rows], target[rows], rows)
                for rows in _blocks(problem, len(logits))
            ]
        )
        if kept is not None:
            losses = torch.where(kept, losses, 0.0)
        return reduce(problem, losses, factors)


def _blocks(problem: Problem, num_rows: int) -> list[slice]:
    """Slices of rows that bound the memory; one slice where a graph or a trace is needed.

    A matrix per sample is not cut: it answers for all samples at once and is larger anyway.
    """
    size = max(1, BLOCK // max(1, problem.shape[1]))
    inputs = (problem.given, problem.target, *_tables(problem.bound.terms))
    graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    whole = any(isinstance(term.costs, PerExample) for term in problem.bound.terms)
    if graph or whole or num_rows <= size or torch.compiler.is_compiling():
        return [slice(0, num_rows)]
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def _tables(terms: tuple[Term, ...]) -> list[Tensor]:
    return [t for term in terms if term.costs is not None for t in term.costs.tables.values()]


def _row_losses(problem: Problem, logits: Tensor, target: Tensor, rows: slice) -> Tensor:
    """Loss of every row of a block, (n,), before weights per sample."""
    dtype = problem.compute_dtype
    logits = logits.to(dtype)
    weight = None if problem.options.weight is None else problem.options.weight.to(dtype)
    masses, factor = None, None
    if not problem.soft:
        # an ignored row may hold anything; its logits must not reach the gradient
        ignored = (problem.target.reshape(-1)[rows] == problem.options.ignore_index).unsqueeze(-1)
        logits = torch.where(ignored, 0.0, logits)
        if weight is not None:
            factor = weight[target]
    if problem.soft or problem.options.label_smoothing > 0:
        masses = target.to(dtype) if problem.soft else _one_hot(target, logits)
        masses = torch.lerp(
            masses, torch.full_like(masses, 1 / logits.shape[-1]), problem.options.label_smoothing
        )
        if weight is not None:
            masses, factor = masses * weight, None
    sample = torch.arange(rows.start, rows.stop, device=logits.device)
    total = logits.new_zeros(len(logits))
    plain = Softmax(logits)
    for term in problem.bound.terms:
        if term.scale > 0:
            total = total + term.scale * _term_losses(term, plain, target, masses, sample)
    return total if factor is None else total * factor


def _term_losses(
    term: Term, softmax: Softmax, target: Tensor, masses: Tensor | None, sample: Tensor
) -> Tensor:
    """Loss of one term at class indices, or at the ``masses`` of all classes, (n,)."""
    x = softmax.x
    costs = None if term.costs is None else term.costs.to(x.device, x.dtype)
    if masses is None:
        cost = x.new_zeros(()) if costs is None else costs.row(target, sample).to(x.dtype)
        return _formula(term.loss, cells_of(term.loss, softmax, _one_hot(target, x), cost, costs))
    if term.loss.linear_in_truth:
        # a row's masses are its weight times what they are of it, whose sum is 1
        weight = masses.sum(-1)
        shares = masses / torch.where(weight == 0, 1.0, weight).unsqueeze(-1)
        cost = x.new_zeros(()) if costs is None else costs.expected(shares)
        return weight * _formula(term.loss, cells_of(term.loss, softmax, shares, cost, costs))
    truths = (torch.full_like(sample, i) for i in range(masses.shape[-1]))
    each = [_term_losses(term, softmax, truth, None, sample) for truth in truths]
    return (torch.stack(each, -1) * masses).sum(-1)


def _formula(loss: Loss, cells: Cells) -> Tensor:
    """The formula of a loss on its rows, (n,)."""
    return loss.loss(*(total.sum(-1) for total in as_tuple(loss.term(cells))))


def cells_of(
    loss: Loss, softmax: Softmax, target: Tensor, cost: Tensor, costs: CostMatrix | None
) -> Cells:
    """What a formula sees: the classes, after their margin, or the decisions."""
    cells = TensorCells(softmax, target, cost, costs)
    margin = loss.margin(cost, target)
    if margin is not None:
        return TensorCells(Softmax(softmax.x + margin), target, cost, costs)
    if type(loss).logits is Loss.logits:
        return cells
    risk, excess = cells.risk, cells.excess
    logits = loss.logits(risk)
    decisions = Softmax(risk if logits is None else logits)
    p, q, log_p, log_q = decisions.p, decisions.q, decisions.log_p, decisions.log_q
    return Cells(cost=cost, p=p, q=q, log_p=log_p, log_q=log_q, risk=risk, excess=excess)


class TensorCells(Cells):
    """The words of a formula on tensors, the dear ones made when they are asked for."""

    def __init__(
        self, softmax: Softmax, target: Tensor, cost: Tensor, costs: CostMatrix | None
    ) -> None:
        self.softmax, self.target, self.cost, self.costs = softmax, target, cost, costs
        self.p, self.q, self.log_p, self.log_q = softmax.p, softmax.q, softmax.log_p, softmax.log_q

    def _expected(self, weights: Tensor) -> Tensor:
        """``weights`` · D, (n, C) → (n, K)."""
        if self.costs is None:
            raise TypeError("this loss reads costs but none were given: pass a (C, C) matrix.")
        return self.costs.expected(weights)

    @property
    def error(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """p − t, of which nothing cancels."""
        return self.p * (1.0 - self.target) - self.q * self.target

    @property
    def top_cost(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """d_m of the top class m."""
        return self.cost.expand_as(self.p).gather(-1, self.softmax.top)

    @property
    def risk(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """p · D."""
        return self._expected(self.p)

    @property
    def excess(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(p − t) · D."""
        return self._expected(self.error)


def _one_hot(target: Tensor, like: Tensor) -> Tensor:
    classes = torch.arange(like.shape[-1], device=like.device)
    return (target.unsqueeze(-1) == classes).to(like.dtype)


class Softmax:
    """p, 1 − p and their logarithms, each to full relative precision.

    With the top class m at the origin, x ≤ 0, let o = log Σ_{j≠m} exp x_j be the log odds against
    it. Then log p_m = log sigmoid(−o) and log q_m = log sigmoid(o), where log sigmoid loses no
    digits at either end; any other class has p ≤ ½, so there log p_j = x_j + log p_m and
    q_j = 1 − p_j are exact as they stand. ``−log(1 − softmax)`` would be ∞ from a gap of 17 on.
    """

    def __init__(self, logits: Tensor) -> None:
        self.top = top = logits.argmax(-1, keepdim=True)
        is_top = top == torch.arange(logits.shape[-1], device=logits.device)
        # the fill makes the top's slope −Σ of the others', in which nothing cancels
        self.x = (logits - logits.gather(-1, top)).masked_fill(is_top, 0.0)
        others = self.x.masked_fill(is_top, -torch.inf)
        alone = (others == -torch.inf).all(-1, keepdim=True)  # C = 1, or all others are masked
        others = others.masked_fill(alone, 0.0)
        second = others.detach().amax(-1, keepdim=True)  # or exp(x − logsumexp) rounds at 10⁴
        against = second + (others - second).logsumexp(-1, keepdim=True)
        against = against.masked_fill(alone, -torch.inf)
        log_sigmoid = torch.nn.functional.logsigmoid
        self.log_p = self.x + log_sigmoid(-against)
        self.p = self.log_p.exp()
        rest = self.p.masked_fill(is_top, 0.0)
        log_q_top = log_sigmoid(against)
        self.log_q = torch.where(is_top, log_q_top, (-rest).log1p())
        self.q = torch.where(is_top, log_q_top.exp(), 1.0 - rest)
