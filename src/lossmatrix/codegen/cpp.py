# SPDX-License-Identifier: BSD-3-Clause
"""Prints a derived formula as C++: a struct of functions that kernels.hpp is put together with.

Its name is a digest of its text, so that equal arithmetic is one kernel. What ``Defaults`` in
kernels.hpp says already is not printed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from lossmatrix.codegen.derive import DECISIONS, SOFT, Arithmetic
from lossmatrix.codegen.symbols import Symbol

FLAGS = ("has_margin", "one_visit", "expensive_grad", "zero_at_p0", "only_target")


@dataclass(frozen=True)
class Formula:
    """A kernel's formula: its name, and the structs that kernels.hpp is put together with."""

    name: str
    structs: dict[str, str] = field(hash=False)
    title: str = field(default="a loss", compare=False)  # what it is called when it is compiled


def print_cpp(formula: Arithmetic, title: str = "a loss") -> Formula:
    """The formula as C++; ``title`` is what it is called when it is compiled."""
    body = _body(formula)
    name = f"formula_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    text = f"struct {name} : Defaults<{name}> {{\n{body}}};\n"
    return Formula(name, {name: text}, title)


def joined(classes: Formula, decisions: Formula) -> Formula:
    """Formulas over classes and over decisions as one kernel."""
    return Formula(
        f"{classes.name}_{decisions.name.removeprefix('formula_')}",
        classes.structs | decisions.structs,
        " + ".join(each for each in (classes.title, decisions.title) if each),
    )


def _body(formula: Arithmetic) -> str:
    names = formula.names
    flags = [flag for flag in FLAGS if getattr(formula, flag)]
    flags += ["soft"] if formula.kind is SOFT else []
    flags += ["shares"] if formula.shares else []
    flags += ["decisions"] if formula.kind is DECISIONS else []
    flags += ["risk"] if formula.risk else []
    flags += ["excess"] if "k.x" in names else []
    flags += ["top_costs"] if any(each.startswith("k.tc[") for each in names) else []
    lines = [
        f"    static constexpr int totals = {len(formula.terms)}, streams = {formula.streams};\n"
    ]
    if flags:
        said = ", ".join(f"{each} = true" for each in flags)
        lines.append(f"    static constexpr bool {said};\n")
    cell, row = "const Cell<V>& k, const T* a", "const V* t, const T* a"
    both = [
        ("V", "margin", cell, [formula.margin], [formula.margin_truth]),
        ("void", "terms", f"{cell}, V* out", formula.terms, formula.terms_truth),
        ("V", "grad_term", f"{cell}, const V* f", [formula.grad_class], [formula.grad_term_truth]),
        ("V", "slope", f"{cell}, const V* f", [formula.slope], [formula.slope_truth]),
        ("V", "risk_grad", f"{cell}, const V* f", [formula.risk_grad], [formula.risk_grad_truth]),
    ]
    for returns, title, arguments, off, truth in both:
        if any(each.constant != 0 for each in off):
            lines.append(_function(returns, title, arguments, off))
        if truth != off:
            lines.append(_function(returns, f"{title}_truth", arguments, truth))
    if formula.row_factor is not None and formula.row_factor.constant is None:
        lines.append(_function("V", "row_factor", "const V* f", [formula.row_factor]))
    if [each.text for each in (formula.loss, *formula.partials)] != ["t[0]", "V(1.0)"]:
        lines.append(_function("V", "loss", row, [formula.loss]))
        lines.append(_function("void", "partials", f"{row}, V* out", formula.partials))
    return "".join(lines)


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
