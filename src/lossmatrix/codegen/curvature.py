# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of losses: their formulas run on dual numbers whose parts are dual numbers.

As in ``dual``, a = log(p/q), h = dτ/da for a summand τ of a class, and now h₂ = dh/da. Write
u = dτ/dp and v = d(p u)/dp. From dp/da = p q follow p u = h/q and

    p v = h/q + (h₂ − h (q − p))/q² = (h₂ + h p)/q²

For ℓ = Σ_j τ_j(p_j), R = Σ p_j u_j and V = Σ p_j v_j, differentiating g_k = p_k (u_k − R) gives

    H_kl = δ_kl p_k (v_k − R) − p_k p_l [(v_k − R) + (v_l − V)]

Only at the top class m can q be small, and there p u and p v are not bounded while h and h₂ are. So
sums R, V and B = R + V are taken over the classes other than m, and s = p / q_m is the softmax
over them; with p_k p_l = q_m² s_k s_l for k, l ≠ m the terms of m become

    H_kl = s_k s_l (h_m + h₂_m + q_m² B) − q_m (s_k y_l + s_l y_k)      y_j = p_j v_j,  k ≠ l
    H_km = −s_k h₂_m − p_m y_k + p_m p_k B
    H_kk = y_k (1 − 2 p_k) − p_k R + p_k² B − s_k (1 − s_k) h_m + s_k² h₂_m
    H_mm = h₂_m − p_m q_m R + p_m² V

No 1/q_m is ever formed. A row of H adds up to 0: adding to all logits changes nothing. −log p has
y = 0. A function of several sums, ℓ = L(T_1, …), adds Σ_st L_st g^s_k g^t_l to what the slopes
Σ_s L_s h^s and Σ_s L_s h₂^s give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from lossmatrix.codegen.derive import has_margin, parameters, reads_risk, streams, with_symbols
from lossmatrix.codegen.dual import Dual, as_dual, partials
from lossmatrix.codegen.symbols import Symbol, as_symbol, name, number
from lossmatrix.losses.base import Loss, Term, as_tuple
from lossmatrix.losses.language import Cells

# --- on tensors or symbols -----------------------------------------------------------------------


@dataclass(frozen=True)
class Bend:
    """A summand, its slope h and its second slope h₂ along the one-against-rest logit."""

    value: Tensor
    slope: Tensor
    second: Tensor


def terms_with_curvature(
    loss: Loss, cell: Cells, odds: float = 1.0, risk: float = 0.0
) -> tuple[Bend, ...]:
    """Each summand of ``loss`` with both slopes: dual numbers, made of what are dual numbers.

    The direction is ``odds`` along a and ``risk`` along the cell's risk.
    """
    found = as_tuple(loss.term(_along(_along(cell, odds, risk), odds, risk)))
    inner = Dual(cell.p, cell.p * 0.0)
    return tuple(_bend(as_dual(each, cast(Tensor, inner))) for each in found)


def _along(cell: Cells, odds: float, risk: float) -> Cells:
    """The same words as dual numbers; of cells that are dual numbers, dual numbers of those."""
    pq = cell.p * cell.q * odds
    words: dict[str, object] = {
        "p": Dual(cell.p, pq),
        "q": Dual(cell.q, -pq),
        "log_p": Dual(cell.log_p, cell.q * odds),
        "log_q": Dual(cell.log_q, -cell.p * odds),
        "error": Dual(cell.error, pq),
    }
    if risk:
        one = cell.p * 0.0 + risk
        words |= {"risk": Dual(cell.risk, one), "excess": Dual(cell.excess, one)}
    return Cells(**(vars(cell) | words))


def _bend(dual: Dual) -> Bend:
    inner = cast(Any, dual)
    return Bend(inner.value.value, inner.value.slope, inner.slope.slope)


def second_partials(loss: Loss, totals: Sequence[Tensor]) -> list[list[Tensor]]:
    """∂²loss/∂total_s∂total_t."""
    table: list[list[Tensor]] = []
    for i in range(len(totals)):
        seeded = tuple(Dual(total, total * 0.0 + float(i == j)) for j, total in enumerate(totals))
        found = partials(loss, cast("tuple[Tensor, ...]", seeded))
        table.append([cast(Dual, each).slope for each in found])
    return table


# --- what a criterion is made of -----------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Terms whose second derivatives are one formula."""

    terms: tuple[Term, ...]

    @property
    def reads_risk(self) -> bool:
        """Whether a formula asks what decisions are expected to cost."""
        return any(reads_risk(term.loss) for term in self.terms)


def parts_of(terms: Sequence[Term]) -> list[Part]:
    """Terms without margin that see their own class only are one part, any other is one."""
    plain: list[Term] = []
    parts: list[Part] = []
    for term in terms:
        if term.scale == 0:
            continue
        if reads_risk(term.loss) or has_margin(term.loss):
            parts.append(Part((term,)))
        else:
            plain.append(term)
    return [Part(tuple(plain)), *parts] if plain else parts


# --- as C++ --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurvatureFormula:
    """What engines/cpu/curvature.hpp is put together with: its name and its text."""

    name: str
    text: str
    streams: int  # rows of costs it reads

    def source(self, isa: str) -> str:
        """The C++ file of the kernel for one instruction set."""
        space = f"lossmatrix_{isa}"
        return "\n".join(
            [
                f"#define LOSSMATRIX_ISA {space}",
                '#include "curvature.hpp"',
                f"namespace {space} {{\n{self.text}}}",
                f'extern "C" __attribute__((visibility("default"))) void {self.name}_{isa}'
                f"(CurvatureTask* task) {{ {space}::curvature<{space}::{self.name}>(task); }}\n",
            ]
        )


@dataclass(frozen=True)
class _Sum:
    """What a class contributes to one of the sums, at and off the truth."""

    off: Bend
    truth: Bend


@dataclass(frozen=True)
class _Sums:
    """The sums of a formula with ∂ℓ/∂sum and ∂²ℓ/∂sum∂sum."""

    sums: list[_Sum]
    factors: list[Symbol]
    seconds: list[list[Symbol]]


def print_curvature(terms: Sequence[Term]) -> CurvatureFormula:
    """The C++ formula of the terms of one part."""
    used = streams(tuple(terms))
    body = _text(tuple(terms), used, _sums(terms, used))
    title = f"curvature_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return CurvatureFormula(title, f"struct {title} {{\n{body}}};\n", len(set(used) - {None}))


def _sums(terms: Sequence[Term], used: Sequence[int | None]) -> _Sums:
    """All sums; those that enter the loss as they are have been merged into one, the first."""
    zero = Bend(*(cast(Tensor, number(0.0)) for _ in range(3)))
    merged: _Sum | None = None
    sums: list[_Sum] = []
    factors: list[Symbol] = []
    blocks: list[list[list[Symbol]]] = []
    first = 0
    simple = any(type(term.loss).loss is Loss.loss for term in terms)
    for term, stream in zip(terms, used, strict=True):
        loss, scale = with_symbols(term.loss, first + 1), name(f"V(a[{first}])")
        first += len(parameters((term,)))
        off, truth = (terms_with_curvature(loss, _cells(stream, at)) for at in (0.0, 1.0))
        if type(loss).loss is Loss.loss:
            before = merged or _Sum(zero, zero)
            merged = _Sum(_plus(before.off, off[0], scale), _plus(before.truth, truth[0], scale))
            continue
        totals = [cast(Tensor, name(f"t[{simple + len(sums) + i}]")) for i in range(len(off))]
        factors += [scale * as_symbol(cast(Symbol, e)) for e in partials(loss, tuple(totals))]
        blocks.append(
            [
                [scale * as_symbol(cast(Symbol, each)) for each in row]
                for row in second_partials(loss, totals)
            ]
        )
        sums += [_Sum(*each) for each in zip(off, truth, strict=True)]
    if merged is not None:
        sums, factors, blocks = [merged, *sums], [number(1.0), *factors], [[[number(0.0)]], *blocks]
    seconds = [[number(0.0)] * len(sums) for _ in sums]
    at = 0
    for block in blocks:
        for i, row in enumerate(block):
            seconds[at + i][at : at + len(row)] = row
        at += len(block)
    return _Sums(sums, factors, seconds)


def _plus(a: Bend, b: Bend, scale: Symbol) -> Bend:
    factor = cast(Tensor, scale)
    return Bend(
        a.value + b.value * factor, a.slope + b.slope * factor, a.second + b.second * factor
    )


def _cells(stream: int | None, target: float) -> Cells:
    return Cells(
        cost=number(0.0) if stream is None else name(f"k.c[{stream}]"),
        top_cost=number(0.0) if stream is None else name(f"k.tc[{stream}]"),
        target=number(target),
        p=name("k.p"),
        q=name("k.q"),
        error=-name("k.q") if target else name("k.p"),
        log_p=name("k.lp"),
        log_q=name("k.lq"),
    )


def _text(terms: tuple[Term, ...], used: Sequence[int | None], sums: _Sums) -> str:
    p, q = name("k.p"), name("k.q")
    constant = [each.constant == 1.0 for each in sums.factors]
    factors = [number(1.0) if c else name(f"f[{i}]") for i, c in enumerate(constant)]
    bent = [i for i, row in enumerate(sums.seconds) if any(each.constant != 0 for each in row)]

    def weighted(part: str, at: str) -> Symbol:
        total = number(0.0)
        for factor, each in zip(factors, sums.sums, strict=True):
            total = total + factor * _symbol(getattr(getattr(each, at), part))
        return total

    def each_of(part: str, at: str, which: Sequence[int]) -> list[Symbol]:
        return [_symbol(getattr(getattr(sums.sums[i], at), part)) for i in which]

    def bend(at: str) -> Symbol:
        return (weighted("second", at) + weighted("slope", at) * p) / (q * q)

    everything = range(len(sums.sums))
    flags = {
        "tilted": has_margin(terms[0].loss),
        "linear": all(constant),
        "flat": bend("off").constant == 0 and bend("truth").constant == 0,
        "top_costs": any(
            "k.tc" in each.text
            for at in ("off", "truth")
            for each in (*each_of("value", at, everything), *each_of("slope", at, everything))
        ),
    }
    said = ", ".join(f"{flag} = {str(value).lower()}" for flag, value in flags.items())
    lines = [
        f"    static constexpr int totals = {len(sums.sums)}, bent = {len(bent)}, "
        f"streams = {len(set(used) - {None})};\n",
        f"    static constexpr bool {said};\n",
    ]
    cell = "const Cell<V>& k, const T* a"
    for at, suffix in (("off", ""), ("truth", "_truth")):
        lines += [
            _function("V", f"margin{suffix}", cell, [_margin(terms[0], used[0], at == "truth")]),
            _function(
                "void", f"terms{suffix}", f"{cell}, V* out", each_of("value", at, everything)
            ),
            _function("V", f"slope{suffix}", f"{cell}, const V* f", [weighted("slope", at)]),
            _function("V", f"second{suffix}", f"{cell}, const V* f", [weighted("second", at)]),
            _function("V", f"pull{suffix}", f"{cell}, const V* f", [weighted("slope", at) / q]),
            _function("V", f"bend{suffix}", f"{cell}, const V* f", [bend(at)]),
            _function("void", f"slopes{suffix}", f"{cell}, V* out", each_of("slope", at, bent)),
            _function(
                "void",
                f"pulls{suffix}",
                f"{cell}, V* out",
                [each / q for each in each_of("slope", at, bent)],
            ),
        ]
    row = "const V* t, const T* a, V* out"
    pairs = [sums.seconds[s][t] for s in bent for t in bent]
    lines.append(_function("void", "partials", row, sums.factors))
    lines.append(_function("void", "second_partials", row, pairs))
    return "".join(lines)


def _symbol(number: Tensor) -> Symbol:
    return as_symbol(cast(Symbol, number))


def _margin(term: Term, stream: int | None, at_truth: bool) -> Symbol:
    cell = _cells(stream, float(at_truth))
    margin = with_symbols(term.loss, 1).margin(cell.cost, cell.target)
    return number(0.0) if margin is None else _symbol(margin)


def _function(returns: str, title: str, arguments: str, values: Sequence[Symbol]) -> str:
    if returns == "V":
        lines = [f"return {values[0].text};"]
    else:
        lines = [f"out[{i}] = {each.text};" for i, each in enumerate(values)]
    body = "".join(f"        {line}\n" for line in lines)
    return (
        f"    template <class V, class T>\n"
        f"    static INLINE {returns} {title}({arguments}) {{\n{body}    }}\n"
    )
