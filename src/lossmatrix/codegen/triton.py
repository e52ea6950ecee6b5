# SPDX-License-Identifier: BSD-3-Clause
"""Prints a derived formula as functions in Triton's language."""

from __future__ import annotations

import hashlib

from lossmatrix.codegen.cpp import Formula
from lossmatrix.codegen.derive import Arithmetic
from lossmatrix.codegen.symbols import Symbol, python


def print_triton(formula: Arithmetic) -> Formula:
    """The formula in Triton's language, named by a digest of its text."""
    body = _body(formula)
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    return Formula(f"formula_{digest}", body, formula.streams, "")


def _body(formula: Arithmetic) -> str:
    flags = {
        "tilted": formula.has_margin,
        "one_phase": formula.linear and formula.linear_in_p,
        "linear": formula.linear,
        "sums": len(formula.terms),
    }
    return "\n\n".join(
        [
            "".join(f"{flag} = {value}\n" for flag, value in flags.items()),
            _jitted("margin(c, a)", formula.margin),
            _jitted("margin_truth(c, a)", formula.margin_truth),
            _jitted("terms(k, a)", formula.terms),
            _jitted("terms_truth(k, a)", formula.terms_truth),
            _jitted("pull(k, a, f)", formula.grad_term),
            _jitted("pull_truth(k, a, f)", formula.grad_term_truth),
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
    if "(c," in signature:  # margins are made before there are cells
        text = text.replace("k.c[", "c[")
    return f"@triton.jit\ndef {signature}:\n    return {text}\n"


def _python(symbol: Symbol, like: str | None) -> str:
    """A Python expression; parameters need no conversion to the type of the computation."""
    bare = symbol.renamed(lambda text: text[2:-1] if text.startswith("V(") else text)
    text = bare.printed(python)
    return f"constant({text}, {like})" if like and symbol.constant is not None else text
