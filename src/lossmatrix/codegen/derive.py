# SPDX-License-Identifier: BSD-3-Clause
"""Prints losses as C++ or Triton: their own methods, run on symbols, become a kernel's formula.

Several terms without margin become one formula that visits the logits once. Hyper-parameters that
are floats, and the scales of the terms, stay parameters of the kernel; so one kernel serves every
value of them. Its name is a digest of its text, so that equal arithmetic is one kernel.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from lossmatrix.codegen.dual import Dual, partials, terms_with_slopes
from lossmatrix.codegen.symbols import Symbol, as_symbol, name, number, python
from lossmatrix.losses.base import Loss, Term
from lossmatrix.losses.language import Cells

STREAMS, PARAMETERS = 3, 12  # what one kernel holds, as in engines/cpu/task.h


@dataclass(frozen=True)
class Formula:
    """A kernel's formula: its name, its text, and how many rows of costs it reads."""

    name: str
    text: str
    streams: int  # rows of costs it reads


def parameters(terms: tuple[Term, ...]) -> list[float]:
    """The parameters of the formula of ``terms``, in its order: scales and float fields."""
    found: list[float] = []
    for term in terms:
        found.append(term.scale)
        found += [float(getattr(term.loss, field)) for field in _float_fields(term.loss)]
    return found


def structure(terms: tuple[Term, ...]) -> tuple[object, ...]:
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


def streams(terms: tuple[Term, ...]) -> list[int | None]:
    """For every term the number of its stream of costs; equal matrices share one."""
    seen: list[object] = []
    found: list[int | None] = []
    for term in terms:
        if term.costs is None or term.loss.reads is None:
            found.append(None)
            continue
        if not any(term.costs is each for each in seen):
            seen.append(term.costs)
        found.append(next(i for i, each in enumerate(seen) if each is term.costs))
    return found


def print_formula(terms: tuple[Term, ...]) -> Formula:
    """The C++ formula of ``terms``: streamed losses, either one with a margin or all without."""
    return _named(_arithmetic(terms), _cpp, "struct {name} {{\n{body}}};\n")


def print_triton(terms: tuple[Term, ...]) -> Formula:
    """The same formula as functions in Triton's language."""
    return _named(_arithmetic(terms), _triton, "{body}")


def _named(arithmetic: _Arithmetic, language: Callable[[_Arithmetic], str], frame: str) -> Formula:
    body = language(arithmetic)
    name = f"formula_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return Formula(name, frame.format(name=name, body=body), arithmetic.streams)


def _arithmetic(terms: tuple[Term, ...]) -> _Arithmetic:
    first = 0
    pieces: list[_Piece] = []
    for term, stream in zip(terms, streams(terms), strict=True):
        loss = term.loss
        cost = number(0.0) if stream is None else name(f"k.c[{stream}]")
        twin = with_symbols(loss, first + 1)
        pieces.append(_Piece(twin, name(f"V(a[{first}])"), cost))
        first += 1 + len(_float_fields(loss))
    return _derived(pieces, len(set(streams(terms)) - {None}))


@dataclass(frozen=True)
class _Piece:
    loss: Loss
    scale: Symbol
    cost: Symbol


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


def _cells(piece: _Piece, at_truth: bool) -> Cells:
    return Cells(
        cost=piece.cost,
        target=number(float(at_truth)),
        p=name("k.p"),
        q=name("k.q"),
        log_p=name("k.lp"),
        log_q=name("k.lq"),
    )


@dataclass(frozen=True)
class _Totals:
    """The sums of a formula: value and slope of each summand, at and off the truth."""

    off: list[Dual]
    truth: list[Dual]
    loss: Symbol
    partials: list[Symbol]


def _totals(pieces: list[_Piece]) -> _Totals:
    """All sums; those that enter the loss as they are have been merged into the first one."""
    merged_off, merged_truth = (Dual(*_zeros()) for _ in range(2))
    off: list[Dual] = []
    truth: list[Dual] = []
    factors: list[Symbol] = []
    loss = number(0.0)
    has_merged = False
    for piece in pieces:
        each_off, each_truth = (
            terms_with_slopes(piece.loss, _cells(piece, at)) for at in (False, True)
        )
        if type(piece.loss).loss is Loss.loss:
            has_merged = True
            scale = cast(Tensor, piece.scale)
            merged_off = merged_off + each_off[0] * scale
            merged_truth = merged_truth + each_truth[0] * scale
            continue
        names = [name(f"t[{len(off) + i + 1}]") for i in range(len(each_off))]
        loss = loss + piece.scale * _loss(piece.loss, names)
        factors += [piece.scale * each for each in _partials(piece.loss, names)]
        off += each_off
        truth += each_truth
    if not has_merged:  # the numbering above leaves t[0] to the merged sum
        return _Totals(off, truth, _renumbered(loss), [_renumbered(each) for each in factors])
    return _Totals(
        [merged_off, *off], [merged_truth, *truth], name("t[0]") + loss, [number(1.0), *factors]
    )


def _zeros() -> tuple[Tensor, Tensor]:
    return cast(Tensor, number(0.0)), cast(Tensor, number(0.0))


def _renumbered(symbol: Symbol) -> Symbol:
    """The same expression with t[i + 1] called t[i]."""
    return symbol.renamed(lambda text: f"t[{int(text[2:-1]) - 1}]" if text[:2] == "t[" else text)


def _loss(loss: Loss, totals: list[Symbol]) -> Symbol:
    return as_symbol(cast(Symbol, loss.loss(*(cast(Tensor, total) for total in totals))))


def _partials(loss: Loss, totals: list[Symbol]) -> list[Symbol]:
    found = partials(loss, tuple(cast(Tensor, total) for total in totals))
    return [as_symbol(cast(Symbol, each)) for each in found]


@dataclass(frozen=True)
class _Arithmetic:
    """All that a kernel asks of a formula, as symbols."""

    streams: int
    tilted: bool  # whether there is a margin
    margin: Symbol
    margin_truth: Symbol
    terms: list[Symbol]  # what a class contributes to each sum
    terms_truth: list[Symbol]
    slope: Symbol  # Σ f_i h_i, f the partials
    slope_truth: Symbol
    loss: Symbol
    partials: list[Symbol]

    @property
    def linear(self) -> bool:
        """Whether the partials are known before the sums are."""
        return all(each.constant is not None for each in self.partials)

    @property
    def empty(self) -> bool:
        """Whether the classes other than top and truth contribute nothing."""
        return all(each.constant == 0 for each in (*self.terms, self.slope))

    @property
    def vanishes(self) -> bool:
        """Whether terms and pull of the classes other than top and truth are 0 at p = 0."""
        return all(_vanishes(each) for each in (*self.terms, self.slope / name("k.q")))

    @property
    def costly(self) -> bool:
        """Whether the pull takes a division or a function, so that it is worth keeping."""
        products = (self.slope / name("k.q")).products
        return any(atom.function or power < 0 for factors, _ in products for atom, power in factors)

    @property
    def proportional(self) -> bool:
        """Whether terms and pull of the classes other than top and truth are multiples of p."""
        return all(_is_multiple_of_p(each) for each in (*self.terms, self.slope / name("k.q")))


def _is_multiple_of_p(symbol: Symbol) -> bool:
    """Whether the symbol is p times what p, 1 − p and their logarithms have no part in."""
    p = name("k.p")
    return not ((symbol / p).names & {"k.p", "k.q", "k.lp", "k.lq"})


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


def _derived(pieces: list[_Piece], count: int) -> _Arithmetic:
    sums = _totals(pieces)
    factors = [
        number(1.0) if each.constant == 1.0 else name(f"f[{i}]")
        for i, each in enumerate(sums.partials)
    ]

    def values(duals: list[Dual]) -> list[Symbol]:
        return [as_symbol(cast(Symbol, each.value)) for each in duals]

    def slope(duals: list[Dual]) -> Symbol:
        total = number(0.0)
        for factor, dual in zip(factors, duals, strict=True):
            total = total + factor * as_symbol(cast(Symbol, dual.slope))
        return total

    (only, *_) = pieces
    margins = [
        only.loss.margin(cast(Tensor, only.cost), cast(Tensor, number(at))) for at in (0.0, 1.0)
    ]
    tilted = margins[0] is not None
    margin, margin_truth = (
        as_symbol(cast(Symbol, each)).renamed(lambda text: text.replace("k.c", "c"))
        if tilted
        else number(0.0)
        for each in margins
    )
    return _Arithmetic(
        count,
        tilted,
        margin,
        margin_truth,
        values(sums.off),
        values(sums.truth),
        slope(sums.off),
        slope(sums.truth),
        sums.loss,
        sums.partials,
    )


# --- C++ -----------------------------------------------------------------------------------------


def _cpp(formula: _Arithmetic) -> str:
    q = name("k.q")
    cell = "const Cell<V>& k, const T* a"
    flags = (
        f"{flag} = {str(getattr(formula, flag)).lower()}"
        for flag in ("tilted", "linear", "costly", "vanishes", "empty")
    )
    return "".join(
        [
            f"    static constexpr int totals = {len(formula.terms)}, ",
            f"streams = {formula.streams};\n",
            f"    static constexpr bool {', '.join(flags)};\n",
            _function("V", "margin", "const V* c, const T* a", [formula.margin]),
            _function("V", "margin_truth", "const V* c, const T* a", [formula.margin_truth]),
            _function("void", "terms", f"{cell}, V* out", formula.terms),
            _function("void", "terms_truth", f"{cell}, V* out", formula.terms_truth),
            _function("V", "pull", f"{cell}, const V* f", [formula.slope / q]),
            _function("V", "pull_truth", f"{cell}, const V* f", [formula.slope_truth / q]),
            _function("V", "slope", f"{cell}, const V* f", [formula.slope]),
            _function("V", "slope_truth", f"{cell}, const V* f", [formula.slope_truth]),
            _function("V", "loss", "const V* t, const T* a", [formula.loss]),
            _function("void", "partials", "const V* t, const T* a, V* out", formula.partials),
        ]
    )


def _function(returns: str, title: str, arguments: str, values: list[Symbol]) -> str:
    if returns == "V":
        lines = [f"return {values[0].text};"]
    else:
        lines = [f"out[{i}] = {each.text};" for i, each in enumerate(values)]
    body = "".join(f"        {line}\n" for line in lines)
    return (
        f"    template <class V, class T>\n"
        f"    static INLINE {returns} {title}({arguments}) {{\n{body}    }}\n"
    )


# --- Triton --------------------------------------------------------------------------------------


def _triton(formula: _Arithmetic) -> str:
    q = name("k.q")
    flags = {"tilted": formula.tilted, "one_phase": formula.linear and formula.proportional}
    return "\n\n".join(
        [
            "".join(f"{flag} = {value}\n" for flag, value in flags.items())
            + f"linear = {formula.linear}\nsums = {len(formula.terms)}\n",
            _jitted("margin(c, a)", formula.margin),
            _jitted("margin_truth(c, a)", formula.margin_truth),
            _jitted("terms(k, a)", formula.terms),
            _jitted("terms_truth(k, a)", formula.terms_truth),
            _jitted("pull(k, a, f)", formula.slope / q),
            _jitted("pull_truth(k, a, f)", formula.slope_truth / q),
            _jitted("slope(k, a, f)", formula.slope),
            _jitted("slope_truth(k, a, f)", formula.slope_truth),
            _jitted("loss(t, a)", formula.loss),
            _jitted("partials(t, a)", formula.partials),
        ]
    )


def _jitted(signature: str, value: Symbol | list[Symbol]) -> str:
    """A function of one value, or of a tuple; of a cell (k), even constants have its shape."""
    like = "k.p" if "(k," in signature else None
    values = [_python(each, like) for each in (value if isinstance(value, list) else [value])]
    text = f"({', '.join(values)},)" if isinstance(value, list) else values[0]
    return f"@triton.jit\ndef {signature}:\n    return {text}\n"


def _python(symbol: Symbol, like: str | None) -> str:
    """A Python expression; parameters need no conversion to the type of the computation."""
    bare = symbol.renamed(lambda text: text[2:-1] if text.startswith("V(") else text)
    text = bare.printed(python)
    return f"constant({text}, {like})" if like and symbol.constant is not None else text
