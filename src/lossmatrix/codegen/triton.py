# SPDX-License-Identifier: BSD-3-Clause
"""Prints a derived formula as functions in Triton's language.

Numbers that are made for every row before the kernel runs are read as costs are: behind the rows
of costs come the excess, if the formula reads it, and the risk gradient.
"""

from __future__ import annotations

import hashlib

from lossmatrix.codegen.cpp import Formula
from lossmatrix.codegen.derive import DECISIONS, HARD, SOFT, Arithmetic
from lossmatrix.codegen.symbols import Symbol, number, python


def print_triton(formula: Arithmetic) -> Formula:
    """The formula in Triton's language, named by a digest of its text."""
    body = _body(formula)
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    return Formula(f"formula_{digest}", {"": body})


def _body(formula: Arithmetic) -> str:
    words = _words(formula)
    of_row = any(each.startswith(("k.tc[", "k.lz", "k.r")) for each in formula.names)
    flags = {
        "has_margin": formula.has_margin,
        "hard": formula.kind is HARD,
        "decisions": formula.kind is DECISIONS,
        "one_visit": formula.one_visit,
        "linear_in_p": formula.linear_in_p and not of_row,
        "only_target": formula.only_target,
        "sums": len(formula.terms),
    }
    grad_class = formula.grad_class if formula.one_visit else number(0.0)
    return "\n\n".join(
        [
            "".join(f"{flag} = {value}\n" for flag, value in flags.items()),
            _jitted("margin(c, a)", formula.margin, words),
            _jitted("margin_truth(c, a)", formula.margin_truth, words),
            _jitted("terms(k, a)", formula.terms, words),
            _jitted("terms_truth(k, a)", formula.terms_truth, words),
            _jitted("grad_term(k, a, f)", formula.grad_term, words),
            _jitted("grad_term_truth(k, a, f)", formula.grad_term_truth, words),
            _jitted("grad_class(k, a)", grad_class, words),
            _jitted("row_factor(f)", formula.row_factor or number(1.0), words),
            _jitted("slope(k, a, f)", formula.slope, words),
            _jitted("slope_truth(k, a, f)", formula.slope_truth, words),
            _jitted("loss(t, a)", formula.loss, words),
            _jitted("partials(t, a)", formula.partials, words),
        ]
    )


def _words(formula: Arithmetic) -> dict[str, str]:
    """What a kernel calls the words that it reads as costs.

    Of the risk gradient what is alike for all classes has no part in the gradient along the
    logits; with that of the top class taken out, nothing cancels.
    """
    excess = f"k.c[{formula.streams}]"
    last = formula.streams + ("k.x" in formula.names)
    error = {"k.err": "(k.p * (1.0 - k.t) - k.q * k.t)"} if formula.kind is SOFT else {}
    return error | {
        "k.x": excess,
        "k.risk": f"(k.c[0] + {excess})",
        "k.r": f"(k.c[{last}] - k.tc[{last}])",
    }


def _jitted(signature: str, value: Symbol | list[Symbol], words: dict[str, str]) -> str:
    """A function of one value, or of a tuple; of a cell (k), even constants have its shape."""
    like = "k.p" if "(k," in signature else None
    values = [
        _python(each, words, like) for each in (value if isinstance(value, list) else [value])
    ]
    text = f"({', '.join(values)},)" if isinstance(value, list) else values[0]
    if "(c," in signature:  # margins are made before there are cells
        text = text.replace("k.c[", "c[")
    return f"@triton.jit\ndef {signature}:\n    return {text}\n"


def _python(symbol: Symbol, words: dict[str, str], like: str | None) -> str:
    """A Python expression; parameters need no conversion to the type of the computation."""
    bare = symbol.renamed(
        lambda text: text[2:-1] if text.startswith("V(") else words.get(text, text)
    )
    text = bare.printed(python)
    return f"constant({text}, {like})" if like and symbol.constant is not None else text
