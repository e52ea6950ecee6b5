# SPDX-License-Identifier: BSD-3-Clause
"""Derived formulas: carried out as a kernel does, one row in plain Python, they give the answers.

What is printed for a kernel is Python but for its braces, so it can be evaluated here, without a
compiler. Nothing of the library's loops takes part.
"""

from __future__ import annotations

import math
from random import Random
from types import SimpleNamespace

import oracles
import pytest
import torch
from registry import SINGLE, SUMS, SYMMETRIC, refuses

import lossmatrix as lm
from lossmatrix.codegen import derive
from lossmatrix.codegen.derive import DECISIONS, HARD, SOFT, Arithmetic, CellKind
from lossmatrix.codegen.symbols import Symbol, python
from lossmatrix.losses.base import Term

Vector = list[float]
FUNCTIONS = {
    "V": lambda value: value,
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "weigh": lambda weight, value: weight * value if weight else 0.0,
    "power": lambda base, exponent: base**exponent,
    "growth": lambda weight, log_weight, exponent: weight * math.expm1(exponent),
    "group": lambda value: value,
    "INF": math.inf,
}
TABLE = [[0.0, 1.0, 2.5, 4.0], [3.0, 0.5, 0.75, 6.0], [1.5, 5.0, 0.25, 2.0], [5.5, 4.5, 3.5, 0.0]]
LOGITS = [
    [0.3, -0.7, 1.1, 0.2],
    [-1.2, 2.0, 0.4, 1.9],
    [4.0, 0.1, -3.0, 0.6],
]


def at(symbol: Symbol, **names: object) -> float:
    return float(eval(symbol.printed(python), FUNCTIONS | names))


def softmax(z: Vector) -> Vector:
    return [math.exp(x - max(z)) / sum(math.exp(y - max(z)) for y in z) for x in z]


class Row:
    """A row as kernels see it: its cells, then sums, then what is known after the sums."""

    def __init__(self, formula: Arithmetic, terms: tuple[Term, ...], z: Vector, t: Vector) -> None:
        self.formula, self.t, self.z = formula, t, z
        self.a = derive.parameters(terms)
        read: list[lm.CostMatrix] = []
        for term, stream in zip(terms, derive.streams(terms), strict=True):
            if stream == len(read) and term.costs is not None:
                read.append(term.costs)
        assert len(read) == formula.streams
        self.tables = [costs.to_dense().tolist() for costs in read]
        self.costs = [mixed(t, D) for D in self.tables]
        self.truth = t.index(1.0) if formula.kind is HARD else None

    def each(self, off: Symbol, truth: Symbol, **names: object) -> Vector:
        """A symbol at every class."""
        return [
            at(truth if j == self.truth else off, k=k, a=self.a, **names)
            for j, k in enumerate(self.cells)
        ]

    def run(self) -> tuple[float, Vector]:
        """The loss and its gradient along the logits."""
        formula = self.formula
        p = softmax(self.z)
        self.cells = self.cells_of(p)
        if formula.has_margin and formula.kind is not DECISIONS:
            margin = self.each(formula.margin, formula.margin_truth)
            p = softmax([x + m for x, m in zip(self.z, margin, strict=True)])
            self.cells = self.cells_of(p)
        if formula.kind is not DECISIONS:
            value, gradient, _ = self.sums(self.cells, p)
            return value, gradient
        # the softmax over decisions of logits w that are made of their risk
        excess = [k.x for k in self.cells]
        w = self.each(formula.margin, formula.margin_truth)
        decided = softmax(w)
        risk = [k.c[0] + k.x for k in self.cells]
        self.cells = self.cells_of(decided)
        for k, x, c in zip(self.cells, excess, risk, strict=True):
            k.x, k.risk, k.lz = x, c, math.log(sum(map(math.exp, w)))
            k.err = k.p
        value, of_w, f = self.sums(self.cells, decided)
        for k, g in zip(self.cells, of_w, strict=True):
            k.g = g
        rho = self.each(formula.risk_grad, formula.risk_grad_truth, f=f)
        return value, pulled_back(p, self.tables[0], rho)

    def cells_of(self, p: Vector) -> list[SimpleNamespace]:
        top = max(range(len(p)), key=lambda j: self.z[j])
        expected = mixed(p, self.tables[0]) if self.tables else None
        return [
            SimpleNamespace(
                p=p[j],
                q=1 - p[j],
                lp=math.log(p[j]),
                lq=math.log(1 - p[j]),
                t=self.t[j] if j < len(self.t) else 0.0,
                err=p[j] - self.t[j],
                c=[costs[j] for costs in self.costs],
                tc=[costs[top] for costs in self.costs],
                x=expected[j] - self.costs[0][j] if expected else 0.0,
            )
            for j in range(len(p))
        ]

    def sums(self, cells: list[SimpleNamespace], p: Vector) -> tuple[float, Vector, Vector]:
        """The loss, its gradient along the logits of p, and the partials."""
        formula, top = self.formula, p.index(max(p))
        pairs = zip(formula.terms, formula.terms_truth, strict=True)
        t = [sum(self.each(*pair)) for pair in pairs]
        f = [at(each, t=t, a=self.a) for each in formula.partials]
        if formula.risk:
            rho = self.each(formula.risk_grad, formula.risk_grad_truth, f=f)
            for k, row in zip(cells, self.tables[0], strict=True):
                k.r = sum(x * r for x, r in zip(row, rho, strict=True))
        pull = self.each(formula.grad_term, formula.grad_term_truth, f=f)
        slope = self.each(formula.slope, formula.slope_truth, f=f)
        if formula.row_factor is not None:
            factor = at(formula.row_factor, f=f)
            by_class = self.each(formula.grad_class, formula.grad_class, f=None)
            for j, each in enumerate(by_class):
                assert j == self.truth or factor * each == pytest.approx(pull[j], rel=1e-12)
        others = [j for j in range(len(p)) if j != top]
        R = sum(pull[j] for j in others)
        rest = sum(p[j] for j in others)
        gradient = [pull[j] - p[j] * R - slope[top] * p[j] / rest for j in range(len(p))]
        gradient[top] = slope[top] - p[top] * R
        return at(formula.loss, t=t, a=self.a), gradient, f


def mixed(weights: Vector, D: list[Vector]) -> Vector:
    return [sum(w * row[j] for w, row in zip(weights, D, strict=True)) for j in range(len(D[0]))]


def pulled_back(p: Vector, D: list[Vector], rho: Vector) -> Vector:
    """The gradient of Σ_i p_i r_i, r = D ρ held fixed."""
    r = [sum(x * y for x, y in zip(row, rho, strict=True)) for row in D]
    mean = sum(x * y for x, y in zip(p, r, strict=True))
    return [x * (y - mean) for x, y in zip(p, r, strict=True)]


def kinds_of(loss: lm.Loss) -> list[CellKind]:
    if derive.over_decisions(loss):
        return [DECISIONS]
    return [HARD, SOFT] if all(term.loss.linear_in_truth for term in bound(loss)) else [HARD]


def table_of(loss: lm.Loss) -> list[Vector]:
    return SYMMETRIC.tolist() if refuses(loss, torch.tensor(TABLE)) else TABLE


def bound(loss: lm.Loss) -> tuple[Term, ...]:
    return loss.bind(
        None if loss.reads is None else loss.matrix(torch.tensor(table_of(loss)).double())
    )


ONE_FORMULA = {
    name: loss
    for name, loss in (SINGLE | SUMS).items()
    if not isinstance(loss, lm.losses.Sum)
    or not any(derive.over_decisions(part) or derive.has_margin(part) for _, part in loss.parts)
}
CASES = [
    pytest.param(loss, kind, id=f"{name}-{kind.value}")
    for name, loss in ONE_FORMULA.items()
    for kind in kinds_of(loss)
]


@pytest.mark.parametrize(("loss", "kind"), CASES)
def test_a_derived_formula_gives_the_loss_and_its_gradient(loss: lm.Loss, kind: CellKind) -> None:
    random = Random(3)
    D, terms = table_of(loss), bound(loss)
    risk = kind is not DECISIONS and any(derive.reads_risk(term.loss) for term in terms)
    formula = derive.derive(terms, kind, risk)
    for z in LOGITS:
        for y in range(4):
            t = [float(j == y) for j in range(4)]
            if kind is SOFT:
                t = softmax([random.uniform(-2, 2) for _ in range(4)])
            value, gradient = Row(formula, terms, z, t).run()
            exact = oracles.answer(loss, z, t if kind is SOFT else y, D)
            assert value == pytest.approx(exact.value, rel=1e-11)
            assert gradient == pytest.approx(exact.gradient, rel=1e-9, abs=1e-11)
