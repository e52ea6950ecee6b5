# SPDX-License-Identifier: BSD-3-Clause
"""The reference engine: plain PyTorch on whole tensors; it defines what is correct.

It runs the formulas of the losses on (rows, C) tensors and leaves differentiation to autograd, of
any order, in any dtype, on any device. With a graph it keeps about twenty tensors of the logits'
size. Where no graph is needed it works through blocks of rows and keeps a few million numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, PerExample
from lossmatrix.costs.base import full_precision
from lossmatrix.formula import RowLoss, Rows, StreamedLoss, Term
from lossmatrix.problem import Problem, check_range, class_weights, reduce

BLOCK = 2**20  # logits per block of rows when no graph is needed


def refuses(problem: Problem) -> str | None:
    """Why this engine cannot run a problem, or None."""
    if problem.inplace_gradient and problem.wants_gradient:
        return "autograd, which it leaves the gradient to, keeps the logits"
    return None


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
            kept = problem.target.reshape(-1) != problem.ignore_index
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
    inputs = (problem.given, problem.target, *_tables(problem.terms))
    graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    whole = any(isinstance(term.costs, PerExample) for term in problem.terms)
    if graph or whole or num_rows <= size or torch.compiler.is_compiling():
        return [slice(0, num_rows)]
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def _tables(terms: tuple[Term, ...]) -> list[Tensor]:
    return [t for term in terms if term.costs is not None for t in term.costs.tables.values()]


def _row_losses(problem: Problem, logits: Tensor, target: Tensor, rows: slice) -> Tensor:
    """Loss of every row of a block, (n,), before weights per sample."""
    dtype = problem.compute_dtype
    logits = logits.to(dtype)
    weight = None if problem.weight is None else problem.weight.to(dtype)
    masses, factor = None, None
    if not problem.soft:
        # an ignored row may hold anything; its logits must not reach the gradient
        ignored = (problem.target.reshape(-1)[rows] == problem.ignore_index).unsqueeze(-1)
        logits = torch.where(ignored, 0.0, logits)
        if weight is not None:
            factor = weight[target]
    if problem.soft or problem.label_smoothing > 0:
        masses = target.to(dtype) if problem.soft else _one_hot(target, logits)
        masses = torch.lerp(
            masses, torch.full_like(masses, 1 / logits.shape[-1]), problem.label_smoothing
        )
        if weight is not None:
            masses, factor = masses * weight, None
    sample = torch.arange(rows.start, rows.stop, device=logits.device)
    total = logits.new_zeros(len(logits))
    plain = Softmax(logits)
    for term in problem.terms:
        if term.scale > 0:
            total = total + term.scale * _term_losses(term, plain, target, masses, sample)
    return total if factor is None else total * factor


def _term_losses(
    term: Term, plain: Softmax, target: Tensor, masses: Tensor | None, sample: Tensor
) -> Tensor:
    """Loss of one term at class indices, or at the ``masses`` of all classes, (n,)."""
    costs = None if term.costs is None else term.costs.to(plain.x.device, plain.x.dtype)
    if masses is None:
        hard = _one_hot(target, plain.x)
        row = None if costs is None else costs.row(target, sample).to(plain.x.dtype)
        return _formula(term.loss, plain, hard, row, costs)
    if term.loss.linear_in_truth:
        row = None if costs is None else costs.expected(masses)
        return _formula(term.loss, plain, masses, row, costs)
    truths = (torch.full_like(sample, i) for i in range(masses.shape[-1]))
    each = [_term_losses(term, plain, truth, None, sample) for truth in truths]
    return (torch.stack(each, -1) * masses).sum(-1)


def _formula(
    loss: RowLoss, plain: Softmax, target: Tensor, cost: Tensor | None, costs: CostMatrix | None
) -> Tensor:
    """The formula of a loss on its rows, (n,)."""
    if cost is None:
        cost = plain.x.new_zeros(())
    margin = loss.margin(cost, target) if isinstance(loss, StreamedLoss) else None
    softmax = plain if margin is None else Softmax(plain.x + margin)
    return loss.row(
        Rows(
            cost=cost,
            target=target,
            p=softmax.p,
            q=softmax.q,
            log_p=softmax.log_p,
            log_q=softmax.log_q,
            x=plain.x,
            mass=target.sum(-1, keepdim=True),
            costs=costs,
        )
    )


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
        top = logits.argmax(-1, keepdim=True)
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
