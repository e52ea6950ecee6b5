# SPDX-License-Identifier: BSD-3-Clause
"""Derived formulas: carried out as a kernel does, one row in plain Python, they give the answers.

Symbols can be printed as Python, as Triton's language is, and so be evaluated without a compiler.
Nothing of the library's loops takes part.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import oracles
import pytest
import torch
from registry import SINGLE, SUMS, SYMMETRIC, holds_weight_constant, refuses
from test_costs_kinds import CHANGES, KINDS
from torch import Tensor

import lossmatrix as lm
from lossmatrix.codegen import affine, cpp, curvature, derive, triton
from lossmatrix.codegen import costs as printing
from lossmatrix.codegen.derive import DECISIONS, HARD, SOFT, Arithmetic, CellKind
from lossmatrix.codegen.dual import Dual, partials, terms_with_slopes
from lossmatrix.codegen.symbols import Symbol, name, number, python
from lossmatrix.costs.language import Load, maximum, minimum, where
from lossmatrix.costs.language import power as raised
from lossmatrix.costs.transformed import Wrapper
from lossmatrix.engines import curvature as bounds
from lossmatrix.losses.base import Term
from lossmatrix.losses.language import Cells, growth, power, weigh

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


OF_SEVERAL_SUMS = (
    0.5 * lm.EntropicRisk() + lm.ExpectedCost() + 2.0 * lm.Unlikelihood(),
    lm.EntropicRisk(lam=0.7) + 0.25 * lm.CostFocal(gamma=1.5) + lm.ExpectedCost(),
)
ONE_FORMULA = {
    name: loss
    for name, loss in (SINGLE | SUMS | {repr(loss): loss for loss in OF_SEVERAL_SUMS}).items()
    if not isinstance(loss, lm.losses.Sum)
    or not any(derive.over_decisions(part) or derive.has_margin(part) for _, part in loss.parts)
}
CASES = [
    pytest.param(loss, kind, id=f"{name}-{kind.value}")
    for name, loss in ONE_FORMULA.items()
    for kind in kinds_of(loss)
]


def derived(terms: tuple[Term, ...], kind: CellKind) -> Arithmetic:
    risk = kind is not DECISIONS and any(derive.reads_risk(term.loss) for term in terms)
    return derive.derive(terms, kind, risk)


@pytest.mark.parametrize(("loss", "kind"), CASES)
def test_a_derived_formula_gives_the_loss_and_its_gradient(loss: lm.Loss, kind: CellKind) -> None:
    random = Random(3)
    D, terms = table_of(loss), bound(loss)
    formula = derived(terms, kind)
    for z in LOGITS:
        for y in range(4):
            t = [float(j == y) for j in range(4)]
            if kind is SOFT:
                t = softmax([random.uniform(-2, 2) for _ in range(4)])
            value, gradient = Row(formula, terms, z, t).run()
            exact = oracles.answer(loss, z, t if kind is SOFT else y, D)
            assert value == pytest.approx(exact.value, rel=1e-11)
            assert gradient == pytest.approx(exact.gradient, rel=1e-9, abs=1e-11)


# --- what a formula says of itself ---------------------------------------------------------------


def cell_of(p: float, q: float, log_p: float, log_q: float) -> SimpleNamespace:
    """A cell off the truth, whose words need not belong together."""
    c, tc = [0.7, 1.9, 0.4], [1.1, 0.3, 0.6]
    words = {"c": c, "tc": tc, "x": 0.35, "r": 1.3, "risk": 0.8, "lz": 0.9, "g": 0.45}
    return SimpleNamespace(p=p, q=q, lp=log_p, lq=log_q, t=0.2, err=0.15, **words)


@pytest.mark.parametrize(("loss", "kind"), CASES)
def test_what_a_formula_says_of_itself_is_so(loss: lm.Loss, kind: CellKind) -> None:
    terms = bound(loss)
    formula = derived(terms, kind)
    of_class = [*formula.terms, formula.grad_term]

    def contributed(*words: float) -> Vector:
        names = {
            "k": cell_of(*words),
            "a": derive.parameters(terms),
            "f": [1.3, 0.6, 2.1, 0.7, 1.9],
        }
        return [at(each, **names) for each in of_class]

    here = contributed(0.3, 0.7, -1.2, -0.4)
    assert formula.only_target == (kind is HARD and not any(here))
    tripled = contributed(0.9, 0.2, -2.3, -0.1)
    if "growth" in repr(of_class):  # of which nothing is known
        assert (formula.linear_in_p, formula.zero_at_p0) == (False, False)
    else:
        assert formula.linear_in_p == (tripled == pytest.approx([3.0 * each for each in here]))
        assert formula.zero_at_p0 == (not any(contributed(0.0, 1.0, -9.0, 0.0)))
    text = formula.grad_class.text
    assert formula.expensive_grad == bool(
        re.search(r" / |\b(exp|expm1|log|weigh|power|growth)\(", text)
    )
    assert formula.row_factor is not None or formula.grad_class == formula.grad_term
    mentioned = "\n".join(each.text for each in (formula.margin, formula.risk_grad, *of_class))
    found = set(re.findall(r"k\.\w+(?:\[\d\])?|f\[\d\]|V\(a\[\d+\]\)", mentioned))
    assert found <= formula.names


P, Q, LP, LQ, C, T = map(name, ("k.p", "k.q", "k.lp", "k.lq", "k.c[0]", "k.t"))
F, G, A = map(name, ("f[0]", "f[1]", "V(a[0])"))
# What a class contributes; whether that is a multiple of p, is 0 at p = 0, is of any degree in the
# truths' probabilities but the first, and takes a division or a function
CONTRIBUTED: dict[str, tuple[Symbol, str]] = {
    "nothing": (number(0.0), "linear vanishes"),
    "p": (P, "linear vanishes shares"),
    "p, twice": (P * P, "vanishes shares"),
    "p q": (P * Q, "vanishes shares"),
    "p log p": (P * LP, "vanishes shares"),
    "p log q": (P * LQ, "vanishes shares"),
    "c": (C, ""),
    "c p": (C * P, "linear vanishes"),
    "c p t": (C * P * T, "linear vanishes shares"),
    "t log q": (T * LQ, "vanishes"),
    "t and p t": (T + P * T, ""),
    "t and p": (T + P, "shares"),
    "t²": (T * T, "shares"),
    "p / q": (P / Q, "vanishes shares expensive"),
    "c / p": (C / P, "expensive"),
    "exp p": (P.exp(), "shares expensive"),
    "exp t": (T.exp(), "shares expensive"),
    "p exp t": (P * T.exp(), "linear vanishes shares expensive"),
    "p, weighed": (weigh(P, LP), "vanishes shares expensive"),
    "t, weighed": (weigh(T, LP), "expensive"),
    "t, weighed by p": (weigh(P, T.log()), "vanishes shares expensive"),
}


@pytest.mark.parametrize("case", CONTRIBUTED)
def test_what_is_known_of_a_formula_beforehand(case: str) -> None:
    symbol, known = CONTRIBUTED[case]
    zero = number(0.0)
    plain = replace(derived(bound(lm.CrossEntropy()), SOFT), terms=[zero], grad_term=zero)
    assert (plain.linear_in_p, plain.zero_at_p0, plain.shares) == (True, True, False)
    assert replace(plain, risk=True).shares
    for formula in (replace(plain, terms=[symbol]), replace(plain, grad_term=symbol)):
        found = formula.linear_in_p, formula.zero_at_p0, formula.shares
        assert found == tuple(each in known for each in ("linear", "vanishes", "shares"))
        hard = replace(formula, kind=HARD)
        assert (hard.shares, hard.only_target) == (False, case == "nothing")
        assert not formula.only_target
    assert replace(plain, grad_term=symbol).expensive_grad == ("expensive" in known)
    for row_factor in (number(1.0), F, F * G, F * F):
        formula = replace(plain, grad_term=row_factor * symbol)
        if case != "nothing":
            assert (formula.row_factor, formula.grad_class) == (row_factor, symbol)
        apart = replace(plain, grad_term=row_factor * C + G * P)
        assert (apart.row_factor, apart.one_visit) == (None, False)
        assert apart.grad_class == apart.grad_term


def test_multiples_of_p_that_are_alike_for_all_classes_are_left_out() -> None:
    alike = [P, A * P, F * P, name("k.tc[1]") * P, name("k.lz") * P * A]
    kept = [C * P, P * P, P / Q, A.exp() * P, F, A * Q]
    both = sum((*alike, *kept), start=number(0.0))
    found = derive._without_constants(both + 3.0 * F * A * P, both)
    assert found == (
        sum(kept, start=3.0 * F * A * P),
        sum(kept, start=number(0.0)),
    )


@dataclass(frozen=True)
class OverDecisions(lm.Loss):
    """The words that a decision has, each summed on its own."""

    decides, convex, proper, linear_in_costs = None, False, False, False

    def logits(self, risk: Tensor) -> Tensor:
        """Decisions that cost much are seldom."""
        return -3.0 * risk * risk

    def term(self, cell: Cells) -> tuple[Tensor, ...]:
        """The words."""
        words = cell.p, cell.q, cell.log_p, cell.log_q, cell.error
        return *words, cell.cost, cell.excess, cell.risk

    def loss(self, *totals: Tensor) -> Tensor:
        """Their sum."""
        return functools.reduce(operator.add, totals)


def test_the_words_of_a_decision_are_names_in_a_kernel() -> None:
    formula = derive.derive([Term(1.0, OverDecisions(), lm.Dense(TABLE))], DECISIONS)
    x, risk = name("k.x"), name("k.risk")
    log_p = -3.0 * risk * risk - name("k.lz")
    assert formula.terms == formula.terms_truth == [P, Q, log_p, LQ, P, risk - x, x, risk]
    assert formula.margin == formula.margin_truth == -3.0 * (C + x) * (C + x)
    # excess and risk, and the logit's slope times the gradient along it; costs stay
    slope = name("f[6]") + name("f[7]") - 6.0 * risk * name("k.g")
    assert formula.risk_grad == formula.risk_grad_truth == slope


@pytest.mark.parametrize("first", [0, 4])
def test_float_fields_are_parameters_in_their_order(first: int) -> None:
    twin = derive.with_symbols(Tilted(), first)
    assert (twin.strength, twin.weight) == (name(f"V(a[{first}])"), name(f"V(a[{first + 1}])"))
    D = lm.Dense(TABLE)
    terms = [Term(2.0, Tilted(0.3, 0.4), D), Term(5.0, lm.CrossEntropy(), None)]
    assert derive.parameters([*terms, Term(6.0, Tilted(), D)]) == [2, 0.3, 0.4, 5, 6, 0.7, 1.9]


@pytest.mark.parametrize("loss", [each.values[0] for each in CASES if each.values[1] is SOFT])
def test_a_formula_that_asks_for_no_shares_takes_masses_of_any_sum(loss: lm.Loss) -> None:
    terms = bound(loss)
    formula = derived(terms, SOFT)
    t = softmax([0.4, -1.0, 0.3, 0.9])
    value, gradient = Row(formula, terms, LOGITS[0], t).run()
    doubled, slopes = Row(formula, terms, LOGITS[0], [2.0 * each for each in t]).run()
    expected = pytest.approx([2.0 * each for each in (value, *gradient)])
    assert formula.shares == ([doubled, *slopes] != expected)


def test_equal_matrices_are_one_row_of_costs() -> None:
    D, E = lm.Dense(TABLE), lm.Dense(TABLE)
    plain, none = lm.ExpectedCost(), lm.CrossEntropy()
    terms = [(plain, D), (none, D), (plain, E), (plain, None), (none, None), (plain, D), (plain, E)]
    found = derive.streams([Term(1.0, *each) for each in terms])
    assert found == [0, None, 1, None, None, 0, 1]


def test_a_structure_is_what_no_parameter_changes() -> None:
    D, E = lm.Dense(TABLE), lm.Dense(TABLE)

    def structure(*terms: tuple[float, lm.Loss, lm.CostMatrix]) -> tuple[object, ...]:
        return derive.structure([Term(*each) for each in terms])

    focal, held = lm.CostFocal(gamma=1.5), lm.CostFocal(gamma=1.5, detach=True)
    assert structure((2.0, focal, D)) == structure((3.0, lm.CostFocal(gamma=0.5), E))
    assert structure((2.0, focal, D)) != structure((2.0, held, D))
    assert structure((1.0, lm.ExpectedCost(), D)) != structure((1.0, lm.Unlikelihood(), D))
    twice = (1.0, lm.ExpectedCost(), D), (1.0, lm.ExpectedCost(), D)
    assert structure(*twice) != structure(twice[0], (1.0, lm.ExpectedCost(), E))
    assert derive.parameters([Term(2.0, focal, D), Term(3.0, lm.ExpectedCost(), E)]) == [2, 1.5, 3]


def test_two_scores_ask_for_the_risk_of_decisions() -> None:
    losses = [term.loss for loss in SINGLE.values() for term in bound(loss)]
    found = {type(loss) for loss in losses if derive.reads_risk(loss)}
    assert found == {lm.EnergyScore, lm.DecisionScore}


@dataclass(frozen=True)
class Costless(lm.Loss):
    """Reads no costs and speaks of them all the same."""

    decides, convex, proper, linear_in_costs = None, False, False, False
    reads = None

    def term(self, cell: Cells) -> Tensor:
        """p² and what is nothing."""
        return cell.p * cell.p + cell.cost + cell.p * cell.top_cost


def test_costs_that_a_loss_does_not_read_are_zero() -> None:
    formula = derive.derive([Term(1.0, Costless(), None)], HARD)
    assert formula.terms == [name("k.p") * name("k.p") * name("V(a[0])")]
    assert not formula.risk
    bends = Struct(curvature.print_curvature([Term(1.0, Costless(), None)]).text)
    k = cell_of(0.3, 0.7, -1.2, -0.4)
    for suffix in ("", "_truth"):
        assert bends.values(f"terms{suffix}", k=k, a=[2.0]) == [2.0 * k.p * k.p]


@dataclass(frozen=True)
class EveryWord(lm.Loss):
    """The sum of all words of the language, each summed on its own."""

    decides, convex, proper, linear_in_costs = None, False, False, False

    def term(self, cell: Cells) -> tuple[Tensor, ...]:
        """The words."""
        of_p = cell.p, cell.q, cell.log_p, cell.log_q, cell.error
        return *of_p, cell.cost, cell.top_cost, cell.excess, cell.risk, cell.target

    def loss(self, *totals: Tensor) -> Tensor:
        """Their sum."""
        return functools.reduce(operator.add, totals)


@pytest.mark.parametrize("kind", [HARD, SOFT])
def test_every_word_is_a_name_in_a_kernel(kind: CellKind) -> None:
    formula = derive.derive([Term(1.0, EveryWord(), lm.Dense(TABLE))], kind)
    p, q, cost, excess = map(name, ("k.p", "k.q", "k.c[0]", "k.x"))
    of_p = [p, q, name("k.lp"), name("k.lq")]
    of_cost = [cost, name("k.tc[0]"), excess, cost + excess]
    for terms, error, target in (
        (formula.terms, p, number(0.0)),
        (formula.terms_truth, -q, number(1.0)),
    ):
        words = (name("k.err"), name("k.t")) if kind is SOFT else (error, target)
        assert terms == [*of_p, words[0], *of_cost, words[1]]
    scale = name("V(a[0])")
    assert formula.partials == [scale] * 10
    assert formula.loss == scale * sum((name(f"t[{i}]") for i in range(10)), number(0.0))
    assert formula.risk_grad == formula.risk_grad_truth == name("f[7]") + name("f[8]")
    # along log(p/q), over q: p, −p, 1, −p/q and p, of which multiples of p alone do not matter
    assert formula.grad_term == name("f[2]") - name("f[3]") * p / q == formula.grad_term_truth


def test_a_kernel_holds_as_much_as_its_header_says() -> None:
    header = (Path(derive.__file__).parents[1] / "engines" / "cpu" / "task.h").read_text()
    found = dict(re.findall(r"LOSSMATRIX_(STREAMS|PARAMETERS) = (\d+)", header))
    assert found == {"STREAMS": str(derive.STREAMS), "PARAMETERS": str(derive.PARAMETERS)}


# --- printed in Triton's language ----------------------------------------------------------------


def executed(text: str, language: object) -> dict[str, Any]:
    """What a text in Triton's language defines, with a stand-in for the language."""
    names: dict[str, Any] = {k: v for k, v in FUNCTIONS.items() if k != "V"} | {
        "triton": SimpleNamespace(jit=lambda function: function),
        "tl": language,
        "constant": lambda value, like: value,
    }
    exec(text, names)
    return names


@pytest.mark.parametrize(
    ("loss", "kind"),
    [*CASES, (EveryWord(), HARD), (EveryWord(), SOFT), (OverDecisions(), DECISIONS)],
    ids=str,
)
def test_in_tritons_language_a_formula_is_the_same(loss: lm.Loss, kind: CellKind) -> None:
    terms = bound(loss)
    formula = derived(terms, kind)
    whole = triton.print_triton(formula)
    assert re.fullmatch("formula_[0-9a-f]{12}", whole.name)
    printed = executed(whole.structs[""], None)
    constants: list[float] = []  # of a cell, which have its shape
    printed["constant"] = lambda value, like: constants.append(like) or value
    random = Random(4)
    c = [random.uniform(0.1, 2) for _ in range(formula.streams + 2)]
    tc = [random.uniform(0.1, 2) for _ in c]
    cell = SimpleNamespace(p=0.3, q=0.7, lp=-1.1, lq=-0.4, t=0.6, lz=0.8, c=c, tc=tc)
    k = SimpleNamespace(**vars(cell))  # with what a formula calls by names of its own
    k.err = 0.3 if kind is DECISIONS else k.p * (1 - k.t) - k.q * k.t
    k.x = c[formula.streams]
    k.risk = c[0] + k.x
    last = formula.streams + ("k.x" in formula.names)
    k.r = c[last] - tc[last]
    a = derive.parameters(terms)
    f, t = ([random.uniform(0.1, 2) for _ in range(10)] for _ in range(2))
    for suffix in ("", "_truth"):
        for function in ("slope", "grad_term", "terms"):
            said = getattr(formula, f"{function}{suffix}")
            symbols = said if function == "terms" else [said]
            of_row = [] if function == "terms" else [f]
            constants.clear()
            found = printed[f"{function}{suffix}"](cell, a, *of_row)
            exact = [at(each, k=k, a=a, f=f) for each in symbols]
            assert (found if function == "terms" else [found]) == pytest.approx(exact, rel=1e-12)
            assert constants == [k.p for each in symbols if each.constant is not None]
        margin = printed[f"margin{suffix}"](c, a)
        assert margin == pytest.approx(at(getattr(formula, f"margin{suffix}"), k=k, a=a))
    constants.clear()
    assert printed["loss"](t, a) == pytest.approx(at(formula.loss, t=t, a=a))
    assert printed["partials"](t, a) == pytest.approx([at(e, t=t, a=a) for e in formula.partials])
    if formula.one_visit:
        product = printed["grad_class"](cell, a) * printed["row_factor"](f)
        assert product == pytest.approx(at(formula.grad_term, k=k, a=a, f=f), rel=1e-12)
    else:
        assert (printed["grad_class"](cell, a), printed["row_factor"](f)) == (0.0, 1.0)
    assert len(constants) == (not formula.one_visit or formula.grad_class.constant is not None)
    of_row = any(word in each for each in formula.names for word in ("k.tc[", "k.lz", "k.r"))
    flags = {
        "sums": len(formula.terms),
        "hard": kind is HARD,
        "decisions": kind is DECISIONS,
        "linear_in_p": formula.linear_in_p and not of_row,
    }
    for flag in ("has_margin", "one_visit", "only_target"):
        flags[flag] = getattr(formula, flag)
    assert {flag: printed[flag] for flag in flags} == flags


@pytest.mark.parametrize("word", ["k.tc[0]", "k.lz", "k.r"])
def test_in_triton_what_reads_numbers_of_the_row_is_not_linear_in_p(word: str) -> None:
    formula = derived(bound(lm.ExpectedCost()), HARD)
    scaled = replace(formula, terms=[each * name(word) for each in formula.terms])
    linear = [
        executed(triton.print_triton(each).structs[""], None)["linear_in_p"]
        for each in (formula, scaled)
    ]
    assert linear == [True, False]
    assert scaled.linear_in_p


# --- printed in C++, read as Python --------------------------------------------------------------

FUNCTION = r"    static INLINE (?:V|void) (\w+)\(.*\) \{\n((?:        .*\n)*)    \}\n"


class Struct:
    """A struct in C++: its constants, and its functions as lists of the values that they make."""

    def __init__(self, text: str) -> None:
        said = re.findall(r"static constexpr (?:int|bool) (.*);", text)
        self.flags = {k: eval(v.title()) for k, v in re.findall(r"(\w+) = (\w+)", ", ".join(said))}
        self.bodies = {title: body.splitlines() for title, body in re.findall(FUNCTION, text)}
        assert len(re.findall("INLINE", text)) == len(self.bodies)

    def values(self, title: str, **names: object) -> Vector:
        lines = [line.strip() for line in self.bodies[title]]
        starts = (
            [f"out[{i}] = " for i in range(len(lines))]
            if "out" in "".join(lines)
            else ["return "] * len(lines)
        )
        assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
        codes = [line.removeprefix(x)[:-1] for line, x in zip(lines, starts, strict=True)]
        return [float(eval(code, FUNCTIONS | names)) for code in codes]


@pytest.mark.parametrize(("loss", "kind"), CASES)
def test_in_cpp_a_formula_is_the_same(loss: lm.Loss, kind: CellKind) -> None:
    terms = bound(loss)
    formula = derived(terms, kind)
    printed = cpp.print_cpp(formula, "a title")
    assert (printed.title, [*printed.structs]) == ("a title", [printed.name])
    assert re.fullmatch("formula_[0-9a-f]{12}", printed.name)
    text = printed.structs[printed.name]
    assert text.startswith(f"struct {printed.name} : Defaults<{printed.name}> {{\n")
    struct = Struct(text)
    names = {"k": cell_of(0.3, 0.7, -1.2, -0.4), "a": derive.parameters(terms)}
    sums, factors = {"t": [0.9, 1.4, 0.2, 0.6, 1.1]}, {"f": [1.3, 0.7, 2.1, 0.4, 1.8]}
    one = {
        "margin": (formula.margin, formula.margin_truth),
        "grad_term": (formula.grad_class, formula.grad_term_truth),
        "slope": (formula.slope, formula.slope_truth),
        "risk_grad": (formula.risk_grad, formula.risk_grad_truth),
    }
    pairs = {title: ([off], [truth]) for title, (off, truth) in one.items()}
    pairs["terms"] = (formula.terms, formula.terms_truth)
    for title, both in pairs.items():
        found = [0.0] * len(both[0])  # by default; and the truth is a class like any other
        for suffix, symbols in zip(("", "_truth"), both, strict=True):
            expected = [at(each, **names, **factors) for each in symbols]
            if f"{title}{suffix}" in struct.bodies:
                found = struct.values(f"{title}{suffix}", **names, **factors)
            assert found == pytest.approx(expected, rel=1e-12)
    if "loss" in struct.bodies:
        assert struct.values("loss", **names, **sums) == [at(formula.loss, **names, **sums)]
        exact = [at(each, **names, **sums) for each in formula.partials]
        assert struct.values("partials", **names, **sums) == exact
    else:
        assert (formula.loss, formula.partials) == (name("t[0]"), [number(1.0)])
    row_factor = struct.values("row_factor", **factors) if "row_factor" in struct.bodies else [1.0]
    assert row_factor == [at(formula.row_factor or number(1.0), **factors)]
    flags = struct.flags
    assert (flags.pop("totals"), flags.pop("streams")) == (len(formula.terms), formula.streams)
    said = {"soft": kind is SOFT, "decisions": kind is DECISIONS, "excess": "k.x" in formula.names}
    said["top_costs"] = any("k.tc" in each for each in formula.names)
    for flag in (*cpp.FLAGS, "shares", "risk"):
        said[flag] = getattr(formula, flag)
    assert flags == {flag: True for flag, so in said.items() if so}
    for title in struct.bodies.keys() & one.keys():  # zeros are not printed, nor is a truth alike
        assert struct.bodies[title] != ["        return V(0);"]
        assert struct.bodies[title] != struct.bodies.get(f"{title}_truth")


def test_equal_arithmetic_is_one_kernel_and_two_are_joined_by_their_names() -> None:
    focal, other = (
        cpp.print_cpp(derived(bound(lm.CostFocal(gamma=gamma)), HARD)) for gamma in (0.5, 2.0)
    )
    assert focal == other
    margin = cpp.print_cpp(derived(bound(lm.SoftmaxMargin()), HARD), "margins")
    assert margin != focal
    both = cpp.joined(focal, margin)
    assert both.name == f"{focal.name}_{margin.name.removeprefix('formula_')}"
    assert both.structs == focal.structs | margin.structs
    assert both.title == "a loss + margins"
    untitled = cpp.print_cpp(derived(bound(lm.ExpectedCost()), HARD), "")
    assert cpp.joined(untitled, margin).title == "margins"


@dataclass(frozen=True)
class Quadratic(lm.Loss):
    """The quadratic score Σ (p − t)²."""

    decides, convex, proper, linear_in_costs = None, False, True, False
    reads = None

    def term(self, cell: Cells) -> Tensor:
        """The error, squared."""
        return cell.error * cell.error


@dataclass(frozen=True)
class Square(lm.Loss):
    """p² of the truth alone, or of all other classes."""

    at_truth: bool = True
    decides, convex, proper, linear_in_costs = None, False, False, False
    reads = None

    def term(self, cell: Cells) -> Tensor:
        """The square where it counts."""
        return cell.p * cell.p * (cell.target if self.at_truth else 1.0 - cell.target)


@dataclass(frozen=True)
class Tilted(lm.Loss):
    """A cross-entropy with a margin and a sum that each have a parameter."""

    strength: float = 0.7
    weight: float = 1.9
    decides, convex, proper, linear_in_costs = None, False, False, False

    def margin(self, cost: Tensor, target: Tensor) -> Tensor:
        """A part of the cost."""
        return self.strength * cost * (1.0 - target)

    def term(self, cell: Cells) -> Tensor:
        """Its cross-entropy."""
        return -weigh(cell.target * self.weight, cell.log_p)


MIXED = 2.0 * lm.CostSensitiveCrossEntropy() + lm.SoftmaxMargin()
OF_ONES_OWN = (Quadratic(), Square(), Square(at_truth=False), Tilted())
SECOND = {
    repr(loss): loss
    for loss in (*ONE_FORMULA.values(), MIXED, *OF_ONES_OWN)
    if not holds_weight_constant(loss)
    and not any(derive.reads_risk(term.loss) for term in bound(loss))
}


def printed_hessian(part: curvature.Part, z: Vector, y: int) -> list[Vector]:
    """∂²ℓ/∂z² off the diagonal by the printed functions, and on it what makes rows add up to 0."""
    printed = curvature.print_curvature(part.terms)
    assert re.fullmatch("curvature_[0-9a-f]{12}", printed.name)
    assert printed.text.startswith(f"struct {printed.name} {{\n")
    struct = Struct(printed.text)
    formula = derive.derive(part.terms, HARD)
    t = [float(j == y) for j in range(len(z))]
    row = Row(formula, part.terms, z, t)
    row.cells = row.cells_of(softmax(z))
    tilt = [
        struct.values("margin_truth" if j == y else "margin", k=k, a=row.a)[0]
        for j, k in enumerate(row.cells)
    ]
    assert struct.flags["tilted"] == any(tilt)
    p = softmax([x + m for x, m in zip(z, tilt, strict=True)])
    row.cells = row.cells_of(p)

    def each(title: str, **names: object) -> list[Vector]:
        return [
            struct.values(f"{title}_truth" if j == y else title, k=k, a=row.a, **names)
            for j, k in enumerate(row.cells)
        ]

    assert (struct.flags["streams"], printed.streams) == (formula.streams, formula.streams)
    T = [sum(column) for column in zip(*each("terms"), strict=True)]
    assert struct.flags["totals"] == len(T)
    f = struct.values("partials", t=T, a=row.a)
    elsewhere = struct.values("partials", t=[0.9, 1.4, 0.2, 0.6, 1.1], a=row.a)
    assert struct.flags["linear"] == (elsewhere == [1.0] * len(T))
    assert struct.flags["top_costs"] == ("k.tc[" in printed.text)
    (slope, second, pull, bend) = (
        [value for (value,) in each(title, f=f)] for title in ("slope", "second", "pull", "bend")
    )
    for k, h, h2, u, v in zip(row.cells, slope, second, pull, bend, strict=True):
        assert u == pytest.approx(h / k.q)
        assert v == pytest.approx((h2 + h * k.p) / k.q**2)
    unlike = each("bend", f=[1.3, 0.7, 2.1, 0.4, 1.8])
    assert struct.flags["flat"] == (not any(abs(v) > 1e-14 for (v,) in unlike))
    B = sum(pull) + sum(bend)
    bent = struct.flags["bent"]
    by_sum = each("pulls")
    for k, these, those in zip(row.cells, by_sum, each("slopes"), strict=True):
        assert these == pytest.approx([h / k.q for h in those])
    L = struct.values("second_partials", t=T, a=row.a)
    sums = [sum(column) for column in zip(*by_sum, strict=True)]
    g = [
        [u - x * R for u, R in zip(us, sums, strict=True)] for us, x in zip(by_sum, p, strict=True)
    ]

    def entry(k: int, j: int) -> float:
        of_sums = [L[s * bent + r] * g[k][s] * g[j][r] for s in range(bent) for r in range(bent)]
        return p[k] * p[j] * B - p[j] * bend[k] - p[k] * bend[j] + sum(of_sums)

    H = [[entry(k, j) if k != j else 0.0 for j in range(len(z))] for k in range(len(z))]
    for k, row_of_H in enumerate(H):
        row_of_H[k] = -sum(row_of_H)
    return H


@pytest.mark.parametrize("loss", SECOND.values(), ids=SECOND)
def test_printed_second_derivatives_are_the_hessian_by_autograd(loss: lm.Loss) -> None:
    D = None if loss.reads is None else torch.tensor(table_of(loss), dtype=torch.float64)
    parts = curvature.parts_of(bound(loss))
    assert not any(part.reads_risk for part in parts)
    for row, y in enumerate((2, 0, 3)):

        def value(logits: Tensor, y: int = y) -> Tensor:
            return loss(logits, torch.tensor(y), D, engine="reference")

        z = torch.tensor(LOGITS[row], dtype=torch.float64)
        H = torch.autograd.functional.hessian(value, z)
        found = sum(
            torch.tensor(printed_hessian(part, LOGITS[row], y), dtype=torch.float64)
            for part in parts
        )
        torch.testing.assert_close(found, H, rtol=1e-9, atol=1e-11)


def test_terms_are_parts_by_what_their_second_derivatives_need() -> None:
    loss = lm.CrossEntropy() + lm.SoftmaxMargin() + lm.ExpectedCost() + 0.0 * lm.Unlikelihood()
    terms = bound(loss)
    assert [part.terms for part in curvature.parts_of(terms)] == [terms[0::2], terms[1:2]]
    scores = curvature.parts_of(bound(lm.DecisionScore() + lm.SoftmaxMargin()))
    assert [part.reads_risk for part in scores] == [True, False]


def test_the_source_of_second_derivatives_names_its_instruction_set() -> None:
    printed = curvature.print_curvature(bound(lm.CrossEntropy()))
    lines = printed.source("avx2").splitlines()
    assert lines[:3] == [
        "#define LOSSMATRIX_ISA lossmatrix_avx2",
        '#include "curvature.hpp"',
        "namespace lossmatrix_avx2 {",
    ]
    assert lines[-2:] == [
        "}",
        f'extern "C" __attribute__((visibility("default"))) void {printed.name}_avx2'
        f"(CurvatureTask* task) {{ lossmatrix_avx2::curvature<lossmatrix_avx2::{printed.name}>"
        "(task); }",
    ]
    assert "\n".join(lines[3:-2]) + "\n" == printed.text


class TensorsForPointers:
    """The words of Triton's language that rows of costs use; a pointer is a place in a tensor."""

    int32 = torch.int64
    float64 = torch.float64

    @staticmethod
    def load(place: object, mask: object = None, other: float = 0) -> Tensor:
        table, index = place.table, place.index  # type: ignore[attr-defined]
        if mask is None:
            assert (torch.as_tensor(index) >= 0).all()  # Python would count from the end
            return table[index]
        return torch.where(mask, table[torch.where(mask, index, 0)], other)

    exp, log, abs, where = torch.exp, torch.log, torch.abs, torch.where

    @staticmethod
    def minimum(a: Tensor | float, b: Tensor | float) -> Tensor:
        return torch.minimum(torch.as_tensor(a), torch.as_tensor(b))

    @staticmethod
    def maximum(a: Tensor | float, b: Tensor | float) -> Tensor:
        return torch.maximum(torch.as_tensor(a), torch.as_tensor(b))


@dataclass
class Pointer:
    table: Tensor
    index: Tensor | int = 0

    def __add__(self, index: Tensor | int) -> Pointer:
        return Pointer(self.table, index)

    def __getitem__(self, index: int) -> float:
        return self.table[index].item()


def rows_in_tritons_language(costs: lm.CostMatrix) -> Tensor:
    """The whole matrix by the printed formula, its decisions padded to a tile's width."""
    C, K = costs.shape
    formula = printing.print_triton(costs, "tl.float64")
    assert re.fullmatch("costs_[0-9a-f]{12}", formula.name)
    function = executed(formula.text, TensorsForPointers) | {"power": None}
    function["power"] = lambda base, exponent: base**exponent
    exec(formula.text, function)
    tables: list[object] = [Pointer(costs.tables[name]) for name in formula.tables]
    numbers = [*formula.numbers, *formula.exponents]
    tables += [Pointer(torch.tensor([each], dtype=torch.float64)) for each in numbers]
    if isinstance(costs, Wrapper):
        dense = torch.nn.functional.pad(costs.base.to_dense().double(), (0, 3))

        def entries(_: object, truth: Tensor, sample: object, j: Tensor, mask: object) -> Tensor:
            return dense[truth, j]

        tables.insert(0, SimpleNamespace(tables=None, at=entries))
    truth, decision = torch.arange(C)[:, None], torch.arange(K + 3)[None, :]
    found = function[formula.name](tables, truth, None, decision, decision < K)
    assert found.shape == (C, K + 3)
    return found[:, :K].double()


LANES = 4  # of a pack, so that the last one of seven decisions is not full
MATRIX = (
    r"struct (costs_[0-9a-f]{12}) \{\n    template <class T>\n    static void make\("
    r"const CostProgram& program, int64_t truth, int64_t n, T\* row\) \{\n"
    r"        using V = Pack<T>;\n((?:        .*\n)*)        \}\);\n    \}\n\};\n"
)
AS_PYTHON = {
    r"\[&\]\(int64_t first, int64_t count\) ALWAYS_INLINE \{": "",
    r"each_pack<T>\(n, ": "for first, count in packs(n):",
    r"static_cast<const (\w+)\*>": r"\1_table",
    r"const (?:auto|V|T\*|int64_t\*) (\w+) = (.*);": r"\1 = \2",
    r"(\w+|V\(.*\))\.store\((.*)\);": r"store(\1, \2)",
    r"<T>": "",
    r"::": ".",
}


class V:
    """What C++ calls a pack: of numbers, here tensors."""

    lanes = LANES

    def __new__(cls, number: float) -> Tensor:  # type: ignore[misc]
        return torch.full((LANES,), number, dtype=torch.float64)

    @staticmethod
    def load(place: Pointer, count: int, other: float) -> Tensor:
        found = V(other)
        found[:count] = place.table[place.index : place.index + count]
        return found


def stored(pack: Tensor, place: Pointer, count: int) -> None:
    place.table[place.index : place.index + count] = pack[:count]


def gathered(place: Pointer, index: Tensor, count: int) -> Tensor:
    found = V(0.0)
    for lane in range(count):
        assert index[lane] == int(index[lane]) >= 0  # which is no place beyond a table, either
        found[lane] = place.table[int(index[lane])]
    return found


def pointer_to(table: Tensor, floating: bool) -> Pointer:
    assert table.is_floating_point() == floating
    return Pointer(table)


WORDS = {
    "V": V,
    "T": float,
    "T_table": functools.partial(pointer_to, floating=True),
    "int64_t_table": functools.partial(pointer_to, floating=False),
    "packs": lambda n: [(first, min(LANES, n - first)) for first in range(0, n, LANES)],
    "numbers_of_lanes": lambda: torch.arange(LANES).double(),
    "entries": lambda place, count: V.load(place, count, 0.0),
    "gathered": gathered,
    "store": stored,
    "power": lambda base, exponent: base**exponent,
} | {word: getattr(torch, word) for word in ("exp", "log", "where", "minimum", "maximum")}


def rows_in_cpp(costs: lm.CostMatrix) -> Tensor:
    """The whole matrix by the printed formula, read as Python; of a transformed one from its base.

    Decisions that are no multiple of the lanes leave what is beyond a row as it was.
    """
    C, K = costs.shape
    formula = printing.print_cpp(costs)
    printed = re.fullmatch(MATRIX, formula.text)
    assert printed
    assert printed[1] == formula.name
    code = "if True:\n" + printed[2]
    for cpp_words, python_words in AS_PYTHON.items():
        code = re.sub(cpp_words, python_words, code)
    tables = [costs.tables[name] for name in formula.tables]
    program = SimpleNamespace(table=tables, number=[*formula.numbers, *formula.exponents])
    rows = torch.full((C, K + 1), torch.nan, dtype=torch.float64)
    if isinstance(costs, Wrapper):
        rows[:, :K] = costs.base.to_dense()
    for truth in range(C):
        exec(
            code, WORDS | {"program": program, "truth": truth, "n": K, "row": Pointer(rows[truth])}
        )
    assert rows[:, K].isnan().all()
    return rows[:, :K]


class EveryOperator(lm.CostMatrix):
    """Numbers on either side of every operator, and entries of tables at places computed."""

    def __init__(self, count: int) -> None:
        labels = [str(each) for each in range(count)]
        height = (torch.arange(count, dtype=torch.float64) * 0.37).cos()
        super().__init__(labels, labels, {"height": height, "order": torch.arange(count) * 3 % 5})

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        last = self.num_classes - 1
        of_truth = 2.0 / (1.5 + load("height", i)) - load("height", last - i)
        of_decision = (j + 0.5) / 1.25 * load("height", last - j) - load("order", last - j) ** 3
        either = minimum(of_truth, 0.75) + maximum(of_decision, -1.0) * 2 - load("order", 2)
        either = either + raised(j, 1.3) - raised(i, 0.6)
        return where(i > j, (3.0 - either) * 0.1, -(either**1)) + load("height")


# what takes a whole row to make is no formula, and printed for no engine
MADE = KINDS | {"every operator": EveryOperator}
FORMULAS = [
    pytest.param(kind, change, id=f"{kind}, {change}")
    for kind, make in MADE.items()
    for change, made in CHANGES.items()
    if (costs := made(make(7))).has_formula or getattr(costs, "has_change", False)
]


@pytest.mark.parametrize("rows", [rows_in_tritons_language, rows_in_cpp])
@pytest.mark.parametrize(("kind", "change"), FORMULAS)
def test_in_every_language_the_rows_of_a_kind_are_the_same(
    kind: str, change: str, rows: Callable[[lm.CostMatrix], Tensor]
) -> None:
    costs = CHANGES[change](MADE[kind](7))
    torch.testing.assert_close(rows(costs), costs.to_dense().double(), rtol=1e-6, atol=1e-6)


def test_only_four_numbers_stand_in_the_text_of_a_matrix() -> None:
    class OfNumbers(EveryOperator):
        def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
            return 0.0 * i + 1.0 * j + 2 * i + i / -1 + 3.0 * j + -2.0 * i + 0.5 * j

    for formula in (printing.print_cpp(OfNumbers(3)), printing.print_triton(OfNumbers(3), "float")):
        assert (formula.numbers, formula.exponents) == ((3.0, -2.0, 0.5), ())


# --- second derivatives, and what formulas run on ------------------------------------------------

SEVERAL = [each for each in ONE_FORMULA.values() if not holds_weight_constant(each)]


@pytest.mark.parametrize("loss", SEVERAL, ids=repr)
def test_the_bound_of_the_curvature_is_that_of_the_hessian_by_autograd(loss: lm.Loss) -> None:
    z = torch.tensor(LOGITS, dtype=torch.float64)
    D = None if loss.reads is None else torch.tensor(table_of(loss), dtype=torch.float64)
    y = torch.tensor([2, 0, 3])
    parts = curvature.parts_of(bound(loss))
    found = bounds.bound(parts, z, y, torch.arange(3))
    for row in range(3):

        def value(logits: Tensor, row: int = row) -> Tensor:
            return loss(logits[None], y[row : row + 1], D, engine="reference")

        H = torch.autograd.functional.hessian(value, z[row])
        torch.testing.assert_close(found[row], H.abs().sum(-1), rtol=1e-9, atol=1e-11)


X, Y, LOG_P = name("x"), name("y"), name("k.lp")
PRINTED: dict[str, Callable[[], Any]] = {  # what a symbol is in C++; in Python without V(…)
    "V(0)": lambda: X - X,
    "V(2.5)": lambda: number(2.5),
    "V(INF)": lambda: number(math.inf),
    "V(-INF)": lambda: number(-math.inf),
    "x": lambda: (X / Y) * Y,
    "x * x * y": lambda: X * Y * X,
    "x * x / (y * y)": lambda: X**2 / Y / Y,
    "V(1.0) / (y)": lambda: 1.0 / Y,
    "V(-3.0) * y / (x)": lambda: 3.0 * -Y / X,
    "V(0.25) * x": lambda: X / 4.0,
    "V(2.0) + x + V(-1.0) * y": lambda: 2.0 - (Y - X),
    "V(1.0) + V(2.0) * x + x * x": lambda: (X + 1.0) ** 2.0,
    "V(4.0) * x + V(-2.0) * y": lambda: 3.0 * (X - Y) + X + Y,
    "V(2.0) / (group(V(1.0) + x))": lambda: 2.0 / (X + 1.0),
    "exp(V(-1.0) * x)": lambda: (-X).exp(),
    "expm1(x + y)": lambda: (Y + X).expm1(),
    "V(2.0) * log(x)": lambda: X.log() + X.log(),
    "log1p(x)": lambda: X.log1p(),
    "power(x, V(0.5))": lambda: power(X, 0.5),
    "growth(x, k.lp, y)": lambda: growth(X, LOG_P, Y),
    "x * y": lambda: weigh(X, Y),
    "V(3.0) * k.lp": lambda: weigh(number(3.0), LOG_P),
    "weigh(x, k.lp)": lambda: weigh(X, LOG_P),
    "weigh(x, k.lq)": lambda: weigh(X, name("k.lq")),
    "weigh(x, log(y))": lambda: weigh(X, Y.log()),
    "weigh(x, power(y, V(0.5)))": lambda: weigh(X, power(Y, 0.5)),
    "V(-2.0) * weigh(x, k.lp * y)": lambda: weigh(X, -2.0 * LOG_P * Y),
    "weigh(x, k.lp + y)": lambda: weigh(X, LOG_P + Y),
    "exp(y) * x": lambda: weigh(X, Y.exp()),
}


@pytest.mark.parametrize("text", PRINTED)
def test_a_symbol_is_printed_as_the_sum_of_products_that_it_is(text: str) -> None:
    symbol = PRINTED[text]()
    assert symbol.text == text
    plain = re.sub(r"V\(([-.\w]+)\)", r"\1", text)
    assert symbol.printed(python) == ("0.0" if text == "V(0)" else plain)
    assert symbol.names == set(re.findall(r"\b(?:k\.l[pq]|[xy])\b", text))
    other = symbol.renamed(lambda each: {"x": "u", "k.lp": "v"}.get(each, each))
    assert other.names == {{"x": "u", "k.lp": "v"}.get(each, each) for each in symbol.names}
    assert len(other.products) == len(symbol.products)


def test_a_symbol_knows_which_number_it_is() -> None:
    constants = [each.constant for each in (number(0.0), number(2.0), X, X + 1.0, 2.0 * X, X - X)]
    assert constants == [0.0, 2.0, None, None, None, 0.0]
    assert number(1.0).log().constant == number(0.0).log1p().constant == 0.0
    assert (X**0).constant == 1.0
    assert ((X + 2.0) * Y**2 / X).at({"x": 2.0, "y": 3.0}) == 18.0
    assert X.detach() is X
    for exponent in (0.5, -1):
        with pytest.raises(TypeError, match=r"use power\(\) for the exponent"):
            X**exponent


@pytest.mark.parametrize("operate", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_a_symbol_leaves_what_it_does_not_know_to_the_other_side(operate: Any) -> None:
    dual = Dual(cast(Tensor, Y), cast(Tensor, number(1.0)))
    assert isinstance(operate(dual, X), Dual)
    if operate in (operator.add, operator.mul):
        assert operate(X, dual) == operate(dual, X)
    with pytest.raises(TypeError, match="unsupported operand"):
        operate(X, object())


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "negative": lambda x: -x,
    "plus itself": lambda x: x + x * 3.0,
    "plus a number": lambda x: 2.0 + (x + 1.5),
    "minus": lambda x: (x - 0.25) - (3.0 - x * 0.5),
    "times": lambda x: 1.5 * (x * (x * 0.7)),
    "over a number": lambda x: x / 0.3,
    "over itself": lambda x: (x * x + 1.0) / (x + 2.0),
    "a number over it": lambda x: 2.0 / (x + 3.0),
    "exp": lambda x: (x * 0.5).exp(),
    "expm1": lambda x: (x * 0.5).expm1(),
    "log": lambda x: (x + 1.0).log(),
    "log1p": lambda x: (x * 2.0).log1p(),
    "power": lambda x: power(x, 1.7),
    "power 2": lambda x: power(x, 2.0),
    "power 1": lambda x: power(x, 1.0),
    "growth": lambda x: growth(x, x.log(), x * 0.8),
    "weigh": lambda x: weigh(x * 2.0, x.log()),
    "weigh by a number": lambda x: weigh(0.3 + x * 0.0, x.log()),
    "a constant": lambda x: (x * x).detach() * x,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_dual_numbers_and_symbols_calculate_as_tensors_do(operation: str) -> None:
    f = OPERATIONS[operation]
    x = torch.tensor([0.2, 0.9, 1.8], dtype=torch.float64, requires_grad=True)
    value = f(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    seed = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    dual = f(Dual(x.detach(), seed))
    torch.testing.assert_close(dual.value, value.detach())
    torch.testing.assert_close(dual.slope, slope * seed)
    symbol = f(name("k.lp"))
    for each, exact in zip(x.tolist(), value.tolist(), strict=True):
        assert at(symbol, k=SimpleNamespace(lp=each)) == pytest.approx(exact, rel=1e-14)


@dataclass(frozen=True)
class Words(lm.Loss):
    """Its sums are the words of the language, and one that is a constant."""

    decides, convex, proper, linear_in_costs = None, False, False, False

    def term(self, cell: Cells) -> tuple[Tensor, ...]:
        """All that depends on p, then a cost."""
        return cell.p, cell.q, cell.log_p, cell.log_q, cell.error, cell.cost


def test_words_change_with_the_logit_of_a_class_against_the_rest() -> None:
    a = torch.tensor([-1.3, 0.2, 2.4], dtype=torch.float64, requires_grad=True)
    words = a.sigmoid(), (-a).sigmoid(), a.sigmoid().log(), (-a).sigmoid().log(), a.sigmoid() - 0.3
    cost = torch.tensor([0.7, 1.9, 0.4], dtype=torch.float64)
    p, q, log_p, log_q, error = (each.detach() for each in words)
    cell = Cells(p=p, q=q, log_p=log_p, log_q=log_q, error=error, cost=cost)
    *duals, constant = terms_with_slopes(Words(), cell)
    *bends, flat = curvature.terms_with_curvature(Words(), cell)
    for exact, dual, bend in zip(words, duals, bends, strict=True):
        (slope,) = torch.autograd.grad(exact.sum(), a, create_graph=True)
        (second,) = torch.autograd.grad(slope.sum(), a, retain_graph=True)
        for found in (dual, bend):
            torch.testing.assert_close((found.value, found.slope), (exact, slope))
        torch.testing.assert_close(bend.second, second)
    none = torch.zeros_like(cost)
    torch.testing.assert_close((constant.value, constant.slope), (cost, none))
    torch.testing.assert_close((flat.value, flat.slope, flat.second), (cost, none, none))
    *faster, _ = curvature.terms_with_curvature(Words(), cell, odds=3.0)
    for once, thrice in zip(bends, faster, strict=True):
        torch.testing.assert_close(thrice.slope, 3.0 * once.slope)
        torch.testing.assert_close(thrice.second, 9.0 * once.second)


@dataclass(frozen=True)
class OfRisk(lm.Loss):
    """Products of what decisions are expected to cost with each other and with p."""

    decides, convex, proper, linear_in_costs = None, False, False, False

    def term(self, cell: Cells) -> tuple[Tensor, ...]:
        """Three of them."""
        return cell.risk * cell.risk * cell.p, cell.excess * cell.log_q, cell.risk * cell.excess


def test_slopes_may_lead_along_the_logit_and_the_risk_at_once() -> None:
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    a = torch.tensor([-1.3, 0.2, 2.4], dtype=torch.float64) + 0.7 * s
    risk = torch.tensor([0.7, 1.9, 0.4], dtype=torch.float64) - 1.3 * s
    p, q = a.sigmoid(), (-a).sigmoid()
    words = {"p": p, "q": q, "log_p": p.log(), "log_q": q.log(), "error": p}
    words |= {"risk": risk, "excess": risk - 0.25}
    cell = Cells(**{word: each.detach() for word, each in words.items()})
    bends = curvature.terms_with_curvature(OfRisk(), cell, odds=0.7, risk=-1.3)
    for exact, bend in zip(OfRisk().term(Cells(**words)), bends, strict=True):
        (slope,) = torch.autograd.grad(exact.sum(), s, create_graph=True)
        (second,) = torch.autograd.grad(slope.sum(), s, retain_graph=True)
        found = bend.value, bend.slope, bend.second
        torch.testing.assert_close(found, (exact, slope, second))


@pytest.mark.parametrize("loss", [lm.CostFocal(1.5), lm.EntropicRisk(0.7), lm.Unlikelihood()])
def test_partials_of_a_loss_are_those_of_the_function_of_its_sums(loss: lm.Loss) -> None:
    numbers = (0.6, 1.4) if type(loss).loss is not lm.Loss.loss else (0.6,)
    sums = tuple(torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in numbers)
    slopes = torch.autograd.grad(loss.loss(*sums), sums, create_graph=True)
    torch.testing.assert_close(partials(loss, sums), slopes)
    if len(sums) > 1:
        rows = [
            torch.autograd.grad(each, sums, retain_graph=True, materialize_grads=True)
            for each in slopes
            if each.requires_grad
        ]
        found = curvature.second_partials(loss, sums)
        for row, exact in zip(found, rows, strict=False):
            torch.testing.assert_close(tuple(row), exact)


@dataclass(frozen=True)
class OfCosts(lm.Loss):
    """Asks for no probability."""

    def term(self, cell: Cells) -> Tensor:
        """The cost."""
        return cell.cost


def test_a_formula_that_is_affine_shows_its_coefficients() -> None:
    cost, target = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    p = torch.rand(3, 4, dtype=torch.float64)
    losses = (lm.CrossEntropy(), lm.ExpectedCost(), lm.PairWeightedCrossEntropy())
    for loss in losses:
        terms = loss.term(Cells(cost=cost, target=target, p=p, log_p=p.log()))
        (found,) = affine.affine_terms(loss, cost, target)
        whole = found.constant + found.of_p * p + found.of_log_p * p.log()
        torch.testing.assert_close(whole, terms)
        absent = [affine.is_absent(each) for each in found.parts]
        assert absent == [
            True,
            loss == lm.CrossEntropy() or loss.reads == "gains",
            loss == losses[1],
        ]
    for loss in (lm.Unlikelihood(), lm.EnergyScore(), lm.EntropicRisk()):
        with pytest.raises(affine.NotAffineError):
            affine.affine_terms(loss, cost, target)
    (found,) = affine.affine_terms(OfCosts(), cost, target)
    assert found == affine.Affine(cost)
    x, log_x = affine.Affine(of_p=1.0), affine.Affine(of_log_p=1.0)
    mixed = (2.0 - (x * 3.0 - 0.5)) / 0.25 + 4.0 * (1.0 + log_x) - x
    assert mixed.parts == (2.5 / 0.25 + 4.0, -12.0 - 1.0, 4.0)
    assert (-x).parts == (0.0, -1.0, 0.0)
    for made in (lambda: x * x, lambda: x.exp(), lambda: 1.0 / x):
        with pytest.raises((affine.NotAffineError, TypeError)):
            made()
