# SPDX-License-Identifier: BSD-3-Clause
"""What a kernel asks of losses, derived by running their own methods on symbols.

Several terms become one formula that visits the logits once. Hyper-parameters that are floats, and
the scales of the terms, stay parameters of the kernel; so one kernel serves every value of them.

A formula is derived for one of three kinds of cells:

- ``HARD``: a class index is the truth; target is 1 for it and 0 for all others, two texts;
- ``SOFT``: every class has a probability t of its own to be the truth;
- ``DECISIONS``: the cells are decisions, and the softmax is taken over logits made of their risk.

What decisions are expected to cost, c = p·D, is a function of all classes. Let ρ_j = ∂ℓ/∂c_j. The
gradient along the logits gains that of Σ_i p_i r_i with r = D ρ held fixed, as of an expected cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from torch import Tensor

from lossmatrix.codegen.dual import Dual, as_dual, partials, terms_with_slopes
from lossmatrix.codegen.symbols import Symbol, as_symbol, name, number
from lossmatrix.losses.base import Loss, Term, as_tuple
from lossmatrix.losses.language import Cells

STREAMS, PARAMETERS = 3, 12  # what one kernel holds, as in engines/cpu/task.h


class CellKind(Enum):
    """What the cells of a formula are."""

    HARD = "hard"
    SOFT = "soft"
    DECISIONS = "decisions"


HARD, SOFT, DECISIONS = CellKind


# --- what identifies a formula -------------------------------------------------------------------


def parameters(terms: Sequence[Term]) -> list[float]:
    """The parameters of the formula of ``terms``, in its order: scales and float fields."""
    values: list[float] = []
    for term in terms:
        values.append(term.scale)
        values += [float(getattr(term.loss, field)) for field in _float_fields(term.loss)]
    return values


def structure(terms: Sequence[Term]) -> tuple[object, ...]:
    """What decides which formula serves: classes, fields that are no floats, streams of costs."""
    return tuple(
        (
            type(term.loss),
            tuple(
                (field.name, getattr(term.loss, field.name))
                for field in dataclasses.fields(cast(Any, term.loss))
                if field.name not in _float_fields(term.loss)
            ),
            stream,
        )
        for term, stream in zip(terms, streams(terms), strict=True)
    )


def streams(terms: Sequence[Term]) -> list[int | None]:
    """For every term the number of its rows of costs; equal matrices share one."""
    seen: list[object] = []
    numbers: list[int | None] = []
    for term in terms:
        if term.costs is None or term.loss.reads is None:
            numbers.append(None)
            continue
        if not any(term.costs is each for each in seen):
            seen.append(term.costs)
        numbers.append(next(i for i, each in enumerate(seen) if each is term.costs))
    return numbers


def over_decisions(loss: Loss) -> bool:
    """Whether the cells of a loss are decisions."""
    return type(loss).logits is not Loss.logits


def has_margin(loss: Loss) -> bool:
    """Whether a loss adds to the logits."""
    return type(loss).margin is not Loss.margin


def reads_risk(loss: Loss) -> bool:
    """Whether a formula asks what decisions are expected to cost."""
    if over_decisions(loss):
        return True
    key = structure((Term(1.0, loss, None),))  # costs that come with every batch ask every time
    if key not in _risk_readers:
        values = _values(terms_with_slopes(loss, _cells(_Piece(loss, number(1.0), 0), SOFT, False)))
        _risk_readers[key] = any("k.x" in each.names for each in values)
    return _risk_readers[key]


_risk_readers: dict[tuple[object, ...], bool] = {}


# --- the formula on symbols ----------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic:
    """All that a kernel asks of a formula, as symbols; ``_truth`` where the cell is the truth."""

    kind: CellKind
    risk: bool  # whether the gradient gains that of Σ p r
    streams: int  # rows of costs it reads
    has_margin: bool
    margin: Symbol
    margin_truth: Symbol
    terms: list[Symbol]  # what a class contributes to each sum
    terms_truth: list[Symbol]
    grad_term: Symbol  # h/q, h the slope along log(p/q) of Σ f · term, f the partials
    grad_term_truth: Symbol
    risk_grad: Symbol  # ρ, the slope of Σ f · term along the cell's risk
    risk_grad_truth: Symbol
    loss: Symbol
    partials: list[Symbol]

    @property
    def slope(self) -> Symbol:
        """h itself: at the top class 1/q is never formed."""
        return self.grad_term * name("k.q")

    @property
    def slope_truth(self) -> Symbol:
        """h at the truth."""
        return self.grad_term_truth * name("k.q")

    @property
    def row_factor(self) -> Symbol | None:
        """What the partials multiply h/q of all classes but top and truth with, if it is alike."""
        found = {
            tuple((atom, power) for atom, power in factors if atom.name.startswith("f["))
            for factors, _ in self.grad_term.products
        }
        return None if len(found) > 1 else Symbol(((next(iter(found), ()), 1.0),))

    @property
    def one_visit(self) -> bool:
        """Whether h/q is known, but for a factor of the row, before the sums are."""
        return self.row_factor is not None

    @property
    def grad_class(self) -> Symbol:
        """h/q without the factor of the row."""
        return self.grad_term / (self.row_factor or number(1.0))

    @property
    def only_target(self) -> bool:
        """Whether the classes other than top and truth contribute nothing."""
        return self.kind is HARD and all(
            each.constant == 0 for each in (*self.terms, self.grad_term)
        )

    @property
    def zero_at_p0(self) -> bool:
        """Whether what the classes other than top and truth contribute is 0 at p = 0."""
        return all(_vanishes(each) for each in (*self.terms, self.grad_term))

    @property
    def expensive_grad(self) -> bool:
        """Whether h/q takes a division or a function, so that it is worth keeping."""
        products = self.grad_class.products
        return any(atom.function or power < 0 for factors, _ in products for atom, power in factors)

    @property
    def linear_in_p(self) -> bool:
        """Whether what classes other than top and truth contribute are multiples of p."""
        return all(_is_multiple_of_p(each) for each in (*self.terms, self.grad_term))

    @property
    def shares(self) -> bool:
        """Whether probabilities have to add up to 1: weighted ones do not.

        They need not where every product has one of them, or a cost that is expected of them.
        """
        symbols = (*self.terms, self.grad_term)
        return self.kind is SOFT and (self.risk or not all(map(_is_of_first_degree, symbols)))

    @property
    def names(self) -> set[str]:
        """Every name that the symbols mention."""
        one = (self.margin, self.margin_truth, self.grad_term, self.grad_term_truth)
        rest = (self.risk_grad, self.risk_grad_truth, *self.terms, *self.terms_truth)
        return {each for symbol in (*one, *rest) for each in symbol.names}


def derive(terms: Sequence[Term], kind: CellKind, risk: bool = False) -> Arithmetic:
    """The formula of ``terms``: one with a margin, one over decisions, or any number of others.

    With ``risk`` the gradient gains that of Σ_j p_j r_j, where r is given with every row.
    """
    first = 0
    pieces: list[_Piece] = []
    for term, stream in zip(terms, streams(terms), strict=True):
        pieces.append(_Piece(with_symbols(term.loss, first + 1), name(f"V(a[{first}])"), stream))
        first += 1 + len(_float_fields(term.loss))
    return _derived(pieces, kind, risk, len(set(streams(terms)) - {None}))


@dataclass(frozen=True)
class _Piece:
    loss: Loss
    scale: Symbol
    stream: int | None

    @property
    def cost(self) -> Symbol:
        return number(0.0) if self.stream is None else name(f"k.c[{self.stream}]")

    @property
    def top_cost(self) -> Symbol:
        return number(0.0) if self.stream is None else name(f"k.tc[{self.stream}]")


def _float_fields(loss: object) -> list[str]:
    """Fields annotated as float; annotations are text under ``from __future__``."""
    return [
        field.name
        for field in dataclasses.fields(cast(Any, loss))
        if field.type in (float, "float")
    ]


def with_symbols(loss: Loss, first: int) -> Loss:
    """A copy of a loss whose float fields are symbols; it skips the checks of its constructor."""
    twin = object.__new__(type(loss))
    for field in dataclasses.fields(cast(Any, loss)):
        object.__setattr__(twin, field.name, getattr(loss, field.name))
    for i, field_name in enumerate(_float_fields(loss)):
        object.__setattr__(twin, field_name, name(f"V(a[{first + i}])"))
    return twin


def _cells(piece: _Piece, kind: CellKind, at_truth: bool) -> Cells:
    p, q, log_p, log_q, excess = map(name, ("k.p", "k.q", "k.lp", "k.lq", "k.x"))
    if kind is DECISIONS:
        # With the risk c as a symbol of its own, cost is c − excess and log p is the logit of c
        # less the row's log-sum; where a formula takes them apart again, nothing has to cancel.
        risk = name("k.risk")
        log_p = _symbol(piece.loss.logits(cast(Tensor, risk))) - name("k.lz")
        words: dict[str, object] = {"cost": risk - excess, "risk": risk, "error": p}
    else:
        target = name("k.t") if kind is SOFT else number(float(at_truth))
        words = {"cost": piece.cost, "target": target, "risk": piece.cost + excess}
        words["top_cost"] = piece.top_cost
        words["error"] = name("k.err") if kind is SOFT else -q if at_truth else p
    return Cells(p=p, q=q, log_p=log_p, log_q=log_q, excess=excess, **words)


def _symbol(value: object) -> Symbol:
    return as_symbol(cast(Symbol, value))


def _values(duals: Sequence[Dual]) -> list[Symbol]:
    return [_symbol(each.value) for each in duals]


@dataclass(frozen=True)
class _Summand:
    """One of the sums of a formula: a class's part of it, and that part's slopes."""

    value: Symbol
    slope: Symbol  # along log(p/q)
    risk_slope: Symbol  # along the cell's risk


ZERO_SUMMAND = _Summand(number(0.0), number(0.0), number(0.0))


def _summands(piece: _Piece, kind: CellKind, at_truth: bool) -> list[_Summand]:
    cells = _cells(piece, kind, at_truth)
    along_risk = Cells(
        **(vars(cells) | {word: _seeded(getattr(cells, word)) for word in ("risk", "excess")})
    )
    pairs = zip(
        terms_with_slopes(piece.loss, cells), as_tuple(piece.loss.term(along_risk)), strict=True
    )
    return [
        _Summand(_symbol(a.value), _symbol(a.slope), _symbol(as_dual(b, cells.p).slope))
        for a, b in pairs
    ]


def _seeded(value: Tensor) -> Dual:
    return Dual(value, cast(Tensor, number(1.0)))


@dataclass(frozen=True)
class _FormulaSums:
    """The sums of a formula, off and at the truth; and the loss as a function of them."""

    off: list[_Summand]
    truth: list[_Summand]
    loss: Symbol
    partials: list[Symbol]


def _sums(pieces: list[_Piece], kind: CellKind) -> _FormulaSums:
    """All sums; those that enter the loss as they are have been merged into the first one."""
    plain = [piece for piece in pieces if type(piece.loss).loss is Loss.loss]
    off: list[_Summand] = []
    truth: list[_Summand] = []
    loss, factors = number(0.0), list[Symbol]()
    if plain:
        off.append(_merged(plain, kind, False))
        truth.append(_merged(plain, kind, True))
        loss, factors = name("t[0]"), [number(1.0)]
    for piece in pieces:
        if piece in plain:
            continue
        each_off, each_truth = (_summands(piece, kind, at) for at in (False, True))
        totals = tuple(cast(Tensor, name(f"t[{len(off) + i}]")) for i in range(len(each_off)))
        loss = loss + piece.scale * _symbol(piece.loss.loss(*totals))
        factors += [piece.scale * _symbol(each) for each in partials(piece.loss, totals)]
        off += each_off
        truth += each_truth
    if not off:  # nothing but what decisions are expected to cost
        return _FormulaSums([ZERO_SUMMAND], [ZERO_SUMMAND], name("t[0]"), [number(1.0)])
    return _FormulaSums(off, truth, loss, factors)


def _merged(pieces: list[_Piece], kind: CellKind, at_truth: bool) -> _Summand:
    total = ZERO_SUMMAND
    for piece in pieces:
        (each,) = _summands(piece, kind, at_truth)
        total = _Summand(
            total.value + each.value * piece.scale,
            total.slope + each.slope * piece.scale,
            total.risk_slope + each.risk_slope * piece.scale,
        )
    return total


def _derived(pieces: list[_Piece], kind: CellKind, risk: bool, count: int) -> Arithmetic:
    sums = _sums(pieces, kind)
    factors = [
        number(1.0) if each.constant == 1.0 else name(f"f[{i}]")
        for i, each in enumerate(sums.partials)
    ]

    def weighed(summands: list[_Summand], part: Callable[[_Summand], Symbol]) -> Symbol:
        pairs = zip(factors, summands, strict=True)
        return sum((factor * part(each) for factor, each in pairs), start=number(0.0))

    grad_term, grad_term_truth = _without_constants(
        *(weighed(each, lambda s: s.slope) / name("k.q") for each in (sums.off, sums.truth))
    )
    if risk:
        grad_term = grad_term + name("k.p") * name("k.r")
        grad_term_truth = grad_term_truth + name("k.p") * name("k.r")
    risk_grad, risk_grad_truth = (
        weighed(each, lambda s: s.risk_slope) for each in (sums.off, sums.truth)
    )
    margin, margin_truth = (_margin(pieces, kind, at) for at in (False, True))
    if kind is DECISIONS:
        # the loss depends on a decision's risk through its logit w, too
        (piece,) = pieces
        logit = as_dual(
            cast(Dual, piece.loss.logits(cast(Tensor, _seeded(cast(Tensor, name("k.risk")))))),
            cast(Tensor, number(0.0)),
        )
        risk_grad = risk_grad_truth = risk_grad + name("k.g") * _symbol(logit.slope)
    return Arithmetic(
        kind=kind,
        risk=risk,
        streams=count,
        has_margin=margin is not None,
        margin=margin or number(0.0),
        margin_truth=margin_truth or number(0.0),
        terms=[each.value for each in sums.off],
        terms_truth=[each.value for each in sums.truth],
        grad_term=grad_term,
        grad_term_truth=grad_term_truth,
        risk_grad=risk_grad,
        risk_grad_truth=risk_grad_truth,
        loss=sums.loss,
        partials=sums.partials,
    )


def _margin(pieces: list[_Piece], kind: CellKind, at_truth: bool) -> Symbol | None:
    """What is added to the logits; for decisions, whose logits are 0, all of it."""
    for piece in pieces:
        if kind is DECISIONS:
            risk = cast(Tensor, piece.cost + name("k.x"))
            return _symbol(piece.loss.logits(risk))
        if has_margin(piece.loss):
            cost, target = cast(Tensor, piece.cost), cast(Tensor, number(float(at_truth)))
            return _symbol(piece.loss.margin(cost, target))
    return None


def _without_constants(grad_term: Symbol, grad_term_truth: Symbol) -> tuple[Symbol, Symbol]:
    """Both without multiples of p that are alike for all classes of a row.

    They belong to the gradient of Σ_j p_j = 1, which is 0; left in they would cancel only up to
    rounding.
    """
    alike = [
        product
        for product in grad_term.products
        if product in grad_term_truth.products and _is_p_times_constants(product[0])
    ]

    def left(symbol: Symbol) -> Symbol:
        return Symbol(tuple(product for product in symbol.products if product not in alike))

    return left(grad_term), left(grad_term_truth)


def _is_p_times_constants(factors: tuple[tuple[Any, int], ...]) -> bool:
    of_p = [power for atom, power in factors if atom.text == "k.p"]
    others = [atom for atom, _ in factors if atom.text != "k.p"]
    return of_p == [1] and all(
        not atom.function and atom.name.startswith(("V(a[", "f[", "k.tc[", "k.lz"))
        for atom in others
    )


def _is_multiple_of_p(symbol: Symbol) -> bool:
    """Whether the symbol is p times what p, 1 − p and their logarithms have no part in."""
    p = name("k.p")
    return not ((symbol / p).names & {"k.p", "k.q", "k.lp", "k.lq"})


def _is_of_first_degree(symbol: Symbol) -> bool:
    """Whether the symbol is a multiple of the probabilities of the truths, which costs are, too."""
    return all(
        sum(
            power
            for atom, power in factors
            if atom.name == "k.t"
            or atom.name.startswith("k.c[")
            or (atom.function == "weigh" and _is_of_first_degree(atom.arguments[0]))
        )
        == 1
        for factors, _ in symbol.products
    )


def _vanishes(symbol: Symbol) -> bool:
    """Whether every product of the symbol has a factor that is 0 at p = 0."""
    return all(
        any(
            power > 0
            and (atom.name in ("k.p", "k.lq") or atom.function == "weigh")
            and (not atom.arguments or any(map(_vanishes, atom.arguments)))
            for atom, power in factors
        )
        for factors, _ in symbol.products
    )
