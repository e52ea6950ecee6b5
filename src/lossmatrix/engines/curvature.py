# SPDX-License-Identifier: BSD-3-Clause
"""The Hessian of every row in closed form, on tensors: for any sum of losses, without a compiler.

``codegen.curvature`` has the derivation for sums over classes. A term that reads the risk
c = Dᵀp of decisions, ℓ = Σ_a τ_a, has the derivatives ℓ_c and ℓ_cc along c; with the Jacobian
J = diag(p) − p pᵀ of the softmax, G = J D = p_k (D_ka − c_a), r = D ℓ_c and R = Σ p_j r_j it is

    H_kl = δ_kl p_k (r_k − R) − p_k p_l [(r_k − R) + (r_l − R)] + (G ℓ_cc Gᵀ)_kl

Where the cells are decisions, the softmax a over the logits w(c) is such a sum over decisions, with
gradient g_w and Hessian H_w: ℓ_c = w' g_w + τ_c and ℓ_cc = w' H_w w' + diag(w'' g_w + τ_cc) and the
mixed derivatives. Where they are classes, τ_j(p_j, c_j) adds those of the sum over classes.

Rows of D are measured from that of the top class, so that nothing cancels with it. Only what is off
the diagonal is computed: a row of H adds up to 0. Sums over classes are exact at any gap. A formula
over decisions may cancel where its parts are far larger than the excess: ``DecisionScore`` adds the
cost and τ log a, and its relative error is that of one rounding divided by 1 − p of the top class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lossmatrix.codegen.curvature import Bend, Part, second_partials, terms_with_curvature
from lossmatrix.codegen.derive import over_decisions
from lossmatrix.codegen.dual import Dual, partials
from lossmatrix.costs import CostMatrix
from lossmatrix.costs.base import full_precision
from lossmatrix.engines.reference import Softmax
from lossmatrix.losses.base import Loss, Term
from lossmatrix.losses.language import Cells


def bound(parts: Sequence[Part], logits: Tensor, target: Tensor, sample: Tensor) -> Tensor:
    """Σ_l |H_kl| of every row, (n, C), of logits (n, C) and class indices (n,)."""
    with torch.no_grad(), full_precision(logits.device):
        plain = Softmax(logits)
        total = logits.new_zeros(*logits.shape, logits.shape[1])
        for part in parts:
            for term in part.terms:
                total += term.scale * _hessian(term, plain, target, sample)
        return _with_diagonal(total).abs_().sum(-1)


def _with_diagonal(H: Tensor) -> Tensor:
    """A row adds up to 0: adding to all logits changes nothing."""
    H.diagonal(dim1=1, dim2=2).zero_()
    H.diagonal(dim1=1, dim2=2).copy_(-H.sum(-1))
    return H


class _Apart:
    """The softmax of rows with their top class m apart: p, q and s, which is 0 for m."""

    def __init__(self, softmax: Softmax) -> None:
        self.softmax = softmax
        classes = torch.arange(softmax.centred.shape[-1], device=softmax.centred.device)
        self.is_top = softmax.top == classes
        others = softmax.centred.masked_fill(self.is_top, -torch.inf)
        alone = (others == -torch.inf).all(-1, keepdim=True)  # no other class is possible
        self.s = others.masked_fill(alone, 0.0).softmax(-1).masked_fill(self.is_top | alone, 0.0)
        self.p_top, self.q_top = (each.gather(-1, softmax.top) for each in (softmax.p, softmax.q))
        self.q = softmax.q.masked_fill(self.is_top, 1.0)  # what may be divided by

    def of_top(self, values: Tensor) -> Tensor:
        """The numbers of the top class, (n, 1)."""
        return values.gather(-1, self.softmax.top)

    def others(self, values: Tensor) -> Tensor:
        """The same with 0 for the top class."""
        return values.masked_fill(self.is_top, 0.0)

    def gradient(self, h: Tensor) -> Tensor:
        """∂/∂z of a sum over classes with the slopes h."""
        pull = self.others(h / self.q)
        R, top = pull.sum(-1, keepdim=True), self.of_top(h)
        rest = pull - self.s * (self.q_top * R + top)
        return torch.where(self.is_top, top - self.p_top * R, rest)

    def each_gradient(self, h: Tensor) -> Tensor:
        """∂/∂z_k of the summand of every class j, (n, C, C): column j is that of h_j alone."""
        pull = self.others(h / self.q).unsqueeze(-2)
        top = torch.where(self.is_top, h, 0.0).unsqueeze(-2)
        each = -self.softmax.p.unsqueeze(-1) * pull - self.s.unsqueeze(-1) * top
        each.diagonal(dim1=-2, dim2=-1).copy_(h)
        return each

    def hessian(self, h: Tensor, second: Tensor) -> Tensor:
        """∂²/∂z∂z of a sum over classes off the diagonal, as derived in codegen.curvature."""
        p, s = self.softmax.p, self.s
        y = self.others((second + h * p) / self.q**2)
        R = self.others(h / self.q).sum(-1, keepdim=True)
        B = R + y.sum(-1, keepdim=True)
        top, top_second = self.of_top(h), self.of_top(second)
        A = top + top_second + self.q_top**2 * B
        left = s * A - self.q_top * y
        H = left.unsqueeze(-1) * s.unsqueeze(-2) - (self.q_top * s).unsqueeze(-1) * y.unsqueeze(-2)
        with_top = self.others(self.p_top * (p * B - y) - s * top_second)
        is_top = self.is_top.to(s.dtype)
        return (
            H
            + is_top.unsqueeze(-1) * with_top.unsqueeze(-2)
            + with_top.unsqueeze(-1) * is_top.unsqueeze(-2)
        )


@dataclass(frozen=True)
class _RowSums:
    """A loss as a function of its sums at every row: their slopes, and partials of the loss."""

    bends: tuple[Bend, ...]
    factors: list[Tensor]  # (n, 1)
    seconds: list[list[Tensor]]

    def weighted(self, each: Sequence[Tensor]) -> Tensor:
        """Σ_s L_s · each_s."""
        pairs = zip(self.factors, each, strict=True)
        return cast(Tensor, sum(factor * values for factor, values in pairs))

    def outer(self, gradients: Sequence[Tensor]) -> Tensor | float:
        """Σ_st L_st g^s (g^t)ᵀ, where that is not 0 everywhere."""
        total: Tensor | float = 0.0
        for row, left in zip(self.seconds, gradients, strict=True):
            for factor, right in zip(row, gradients, strict=True):
                if factor.any():
                    total = total + (factor * left).unsqueeze(-1) * right.unsqueeze(-2)
        return total


def _sums(loss: Loss, cells: Cells) -> _RowSums:
    bends = terms_with_curvature(loss, cells)
    totals = tuple(each.value.sum(-1, keepdim=True) for each in bends)
    if type(loss).loss is Loss.loss:
        one = torch.ones_like(totals[0])
        return _RowSums(bends, [one], [[one * 0.0]])
    return _RowSums(bends, list(partials(loss, totals)), second_partials(loss, totals))


def _hessian(term: Term, plain: Softmax, target: Tensor, sample: Tensor) -> Tensor:
    """∂²/∂z∂z of one term off the diagonal, (n, C, C)."""
    x = plain.centred
    costs = None if term.costs is None else term.costs.to(dtype=x.dtype)
    classes = torch.arange(x.shape[-1], device=x.device)
    truth = (target.unsqueeze(-1) == classes).to(x.dtype)
    cost = torch.zeros_like(x)
    if costs is not None:
        cost = costs.row(target, sample).to(x.dtype)
    if over_decisions(term.loss):
        return _of_decisions(term.loss, plain, target, cost, _tables(costs, sample, x))
    margin = term.loss.margin(cost, truth)
    softmax = plain if margin is None else Softmax(x + margin)
    apart = _Apart(softmax)
    words: dict[str, Tensor] = {"cost": cost, "target": truth}
    words |= {"p": softmax.p, "q": softmax.q, "log_p": softmax.log_p, "log_q": softmax.log_q}
    words["error"] = softmax.p * (1.0 - truth) - softmax.q * truth
    words["top_cost"] = apart.of_top(cost).expand_as(cost)
    risk = _Risk(apart, target, _tables(costs, sample, x)) if Part((term,)).reads_risk else None
    if risk is not None:
        words |= {"risk": risk.excess + cost, "excess": risk.excess}
    cells = Cells(**words)
    sums = _sums(term.loss, cells)
    slope, second = (
        sums.weighted([getattr(e, p) for e in sums.bends]) for p in ("slope", "second")
    )
    hessian = apart.hessian(slope, second)
    gradients = [apart.gradient(each.slope) for each in sums.bends]
    if risk is not None:
        along = _along_risk(term.loss, cells, sums)
        hessian = hessian + risk.hessian(sums.weighted(along.slopes))
        mixed = apart.each_gradient(sums.weighted(along.mixed)) @ risk.G.mT
        of_risk = (risk.G * sums.weighted(along.seconds).unsqueeze(-2)) @ risk.G.mT
        hessian = hessian + mixed + mixed.mT + of_risk
        gradients = [g + risk.gradient(s) for g, s in zip(gradients, along.slopes, strict=True)]
    return hessian + sums.outer(gradients)


def _of_decisions(
    loss: Loss, plain: Softmax, target: Tensor, cost: Tensor, tables: Tensor
) -> Tensor:
    """The Hessian of a loss whose cells are decisions."""
    risk = _Risk(_Apart(plain), target, tables)
    c = risk.excess + cost
    once = Dual(c, torch.ones_like(c))
    twice = Dual(cast(Tensor, once), cast(Tensor, Dual(torch.ones_like(c), torch.zeros_like(c))))
    w = cast(Dual, loss.logits(cast(Tensor, twice)))
    logits, slope, second = (
        cast(Dual, w.value).value,
        cast(Dual, w.value).slope,
        cast(Dual, w.slope).slope,
    )
    decisions = Softmax(logits)
    apart = _Apart(decisions)
    words = {"p": decisions.p, "q": decisions.q, "log_p": decisions.log_p}
    words |= {"log_q": decisions.log_q, "error": decisions.p}
    cells = Cells(cost=cost, risk=c, excess=risk.excess, **words)
    sums = _sums(loss, cells)
    along = _along_risk(loss, cells, sums)
    gradients = [
        slope * apart.gradient(each.slope) + tau
        for each, tau in zip(sums.bends, along.slopes, strict=True)
    ]
    h, h2 = (
        sums.weighted([getattr(each, part) for each in sums.bends]) for part in ("slope", "second")
    )
    of_w = _with_diagonal(apart.hessian(h, h2))
    mixed = slope.unsqueeze(-1) * apart.each_gradient(sums.weighted(along.mixed))
    of_c = slope.unsqueeze(-1) * of_w * slope.unsqueeze(-2) + mixed + mixed.mT
    of_c.diagonal(dim1=1, dim2=2).add_(second * apart.gradient(h) + sums.weighted(along.seconds))
    of_c = of_c + sums.outer(gradients)
    return risk.hessian(sums.weighted(gradients)) + risk.G @ of_c @ risk.G.mT


class _Risk:
    """What decisions are expected to cost, c = Dᵀp, and how it changes with the logits."""

    def __init__(self, apart: _Apart, target: Tensor, tables: Tensor) -> None:
        p = apart.softmax.p.unsqueeze(-1)
        top = apart.softmax.top.unsqueeze(-1).expand(-1, 1, tables.shape[-1])
        tables = tables.expand(len(p), -1, -1)
        self.beyond = tables - tables.gather(1, top)  # rows of D, measured from that of m
        self.p = apart.softmax.p
        above = (p * self.beyond).sum(1, keepdim=True)
        truth = target.reshape(-1, 1, 1).expand_as(top)
        self.excess = (above - self.beyond.gather(1, truth)).squeeze(1)  # c − d
        self.G = p * (self.beyond - above)

    def gradient(self, along: Tensor) -> Tensor:
        """J D · ``along``, which is ∂ℓ/∂c."""
        r = (self.beyond @ along.unsqueeze(-1)).squeeze(-1)
        return self.p * (r - (self.p * r).sum(-1, keepdim=True))

    def hessian(self, along: Tensor) -> Tensor:
        """What ∂ℓ/∂c leaves of second derivatives, off the diagonal."""
        g = self.gradient(along)
        H = g.unsqueeze(-1) * self.p.unsqueeze(-2)
        return -(H + H.mT)


@dataclass(frozen=True)
class _AlongRisk:
    """Of every sum: slopes along the cells' risk, second and mixed ones."""

    slopes: list[Tensor]
    seconds: list[Tensor]
    mixed: list[Tensor]


def _along_risk(loss: Loss, cells: Cells, sums: _RowSums) -> _AlongRisk:
    """The mixed second derivative is half of what both directions have together beyond each."""
    risk = terms_with_curvature(loss, cells, odds=0.0, risk=1.0)
    both = terms_with_curvature(loss, cells, odds=1.0, risk=1.0)
    triples = zip(sums.bends, risk, both, strict=True)
    return _AlongRisk(
        [each.slope for each in risk],
        [each.second for each in risk],
        [(c.second - a.second - b.second) / 2 for a, b, c in triples],
    )


def _tables(costs: CostMatrix | None, sample: Tensor, like: Tensor) -> Tensor:
    """The matrix of all samples (1, C, K), or that of each (n, C, K)."""
    if costs is None:
        raise TypeError("a loss that reads the risk of decisions needs costs.")
    if costs.num_samples is None:
        return costs.to_dense().to(like.dtype).unsqueeze(0)
    truths = (torch.full_like(sample, i) for i in range(costs.num_classes))
    return torch.stack([costs.row(truth, sample).to(like.dtype) for truth in truths], 1)
