# SPDX-License-Identifier: BSD-3-Clause
"""Prints matrices as C++ or Triton: the formula of a kind, run on expressions, makes rows of costs.

An expression keeps the order in which the formula was written. Sums of products, which losses are
printed from, would make x² − 2xy + y² of (x − y)² and cancel. Numbers other than 0, 1, 2 and −1 are
parameters, so that one program serves every value of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.costs.language import Load
from lossmatrix.costs.transformed import Wrapper

LITERALS = (0.0, 1.0, 2.0, -1.0)
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "equal": "==", "less": "<", "more": ">"}


@dataclass(frozen=True)
class CostFormula:
    """A printed formula: its name and text, the tables it loads from, and its parameters."""

    name: str
    text: str
    tables: tuple[str, ...]
    numbers: tuple[float, ...]
    exponents: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Expression:
    """A number that stands in a line of a listing, or a literal."""

    listing: Listing
    text: str  # the name of the line, or the digits
    by_truth: bool = False  # whether it depends on i
    by_decision: bool = False  # whether it depends on j
    literal: bool = False

    def __add__(self, other: object) -> Expression:
        return self.listing.line("add", self, other)

    def __radd__(self, other: object) -> Expression:
        return self.listing.line("add", other, self)

    def __sub__(self, other: object) -> Expression:
        return self.listing.line("sub", self, other)

    def __rsub__(self, other: object) -> Expression:
        return self.listing.line("sub", other, self)

    def __mul__(self, other: object) -> Expression:
        return self.listing.line("mul", self, other)

    def __rmul__(self, other: object) -> Expression:
        return self.listing.line("mul", other, self)

    def __truediv__(self, other: object) -> Expression:
        return self.listing.line("div", self, other)

    def __rtruediv__(self, other: object) -> Expression:
        return self.listing.line("div", other, self)

    def __neg__(self) -> Expression:
        return self.listing.line("sub", 0.0, self)

    def __pow__(self, exponent: int) -> Expression:
        if exponent not in (1, 2, 3):
            raise TypeError(f"use power() for the exponent {exponent} in a formula.")
        product = self
        for _ in range(exponent - 1):
            product = product * self
        return product

    def __abs__(self) -> Expression:
        return self.listing.line("abs", self)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return self.listing.line("equal", self, other)

    def __lt__(self, other: object) -> Expression:
        return self.listing.line("less", self, other)

    def __gt__(self, other: object) -> Expression:
        return self.listing.line("more", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("a formula cannot branch on an entry: use where().")

    abs = __abs__

    def exp(self) -> Expression:
        """Exponential."""
        return self.listing.line("exp", self)

    def log(self) -> Expression:
        """Natural logarithm."""
        return self.listing.line("log", self)

    def minimum(self, other: object) -> Expression:
        """``minimum`` of the language."""
        return self.listing.line("minimum", self, other)

    def maximum(self, other: object) -> Expression:
        """``maximum`` of the language."""
        return self.listing.line("maximum", self, other)

    def where(self, a: object, b: object) -> Expression:
        """``where`` of the language, of which this is the condition."""
        return self.listing.line("where", self, a, b)

    def power(self, exponent: float) -> Expression:
        """``power`` of the language; its exponent is a parameter in full precision."""
        if isinstance(exponent, Expression):
            raise TypeError("the exponent of power() must be a number.")
        return self.listing.line("power", self, exponent=float(exponent))


@dataclass(frozen=True)
class Line:
    """One operation; for a load the table comes first, for a parameter its place."""

    result: Expression
    operation: str
    arguments: tuple[Expression, ...]
    place: int = -1  # of the table, the number or the exponent that it reads


@dataclass
class Listing:
    """A formula line by line; what is computed twice stands there once."""

    lines: list[Line] = field(default_factory=list[Line])
    known: dict[tuple[object, ...], Expression] = field(
        default_factory=dict[tuple[object, ...], Expression]
    )
    tables: list[str] = field(default_factory=list[str])
    numbers: list[float] = field(default_factory=list[float])
    exponents: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.i = Expression(self, "i", by_truth=True)
        self.j = Expression(self, "j", by_decision=True)

    def line(self, operation: str, *given: object, exponent: float | None = None) -> Expression:
        """The result of an operation on expressions and numbers."""
        arguments = tuple(map(self.expression, given))
        if exponent is None:
            return self._write(operation, arguments)
        self.exponents.append(exponent)
        return self._write(operation, arguments, len(self.exponents) - 1)

    def entry(self) -> Expression:
        """The entry of the base that is to be changed."""
        return self._write("entry", (self.i, self.j))

    def load(self, name: str, index: object = 0, /) -> Expression:
        """An entry of a table."""
        if name not in self.tables:
            self.tables.append(name)
        return self._write("load", (self.expression(index),), self.tables.index(name))

    def expression(self, given: object) -> Expression:
        """An expression as it is; a number as a literal or a parameter."""
        if isinstance(given, Expression):
            return given
        value = float(cast(float, given))
        if value in LITERALS:
            return Expression(self, repr(value), literal=True)
        self.numbers.append(value)
        return self._write("number", (), len(self.numbers) - 1)

    def _write(
        self, operation: str, arguments: tuple[Expression, ...], place: int = -1
    ) -> Expression:
        key = operation, tuple(each.text for each in arguments), place
        if key not in self.known:
            result = Expression(
                self,
                f"v{len(self.lines)}",
                any(each.by_truth for each in arguments),
                any(each.by_decision for each in arguments),
            )
            self.known[key] = result
            self.lines.append(Line(result, operation, arguments, place))
        return self.known[key]


def print_cpp(costs: CostMatrix) -> CostFormula:
    """The row of a matrix in C++; of a transformed one, from the row of its base."""
    listing, result = _listed(costs)
    whole = tuple(name for name in listing.tables if not _is_floating(costs, name))
    lines = [
        f"const {'int64_t' if name in whole else 'T'}* t{k} = "
        f"static_cast<const {'int64_t' if name in whole else 'T'}*>(program.table[{k}]);"
        for k, name in enumerate(listing.tables)
    ]
    lines.append("const V i = V(T(truth));")
    lines += [_cpp(line, listing) for line in listing.lines if not line.result.by_decision]
    lines.append("each_pack<T>(n, [&](int64_t first, int64_t count) ALWAYS_INLINE {")
    lines.append("    const V j = V(T(first)) + numbers_of_lanes<T>();")
    lines += [f"    {_cpp(line, listing)}" for line in listing.lines if line.result.by_decision]
    lines += [f"    {_cpp_value(result)}.store(row + first, count);", "});"]
    body = "".join(f"        {line}\n" for line in lines)
    signature = "const CostProgram& program, int64_t truth, int64_t n, T* row"
    text = (
        "    template <class T>\n"
        f"    static void make({signature}) {{\n        using V = Pack<T>;\n{body}    }}\n"
    )
    return _named(text, "struct {name} {{\n{body}}};\n", listing)


def print_triton(costs: CostMatrix, number: str) -> CostFormula:
    """The same as a function in Triton's language, whose numbers are of the type ``number``.

    Its tables are the base, if there is one, those of the formula, its numbers and exponents.
    """
    listing, result = _listed(costs)
    shift = int(isinstance(costs, Wrapper))
    lines = [f"i = truth.to({number})", f"j = decision.to({number})"]
    lines += [_triton(line, listing, shift) for line in listing.lines]
    value = result.text
    if not (result.by_truth and result.by_decision):  # of the shape of a tile all the same
        value = f"{value} + 0.0 * (i + j)"
    lines.append(f"return {value}")
    body = "".join(f"    {line}\n" for line in lines)
    signature = "tables, truth, sample, decision, inside"
    return _named(body, f"@triton.jit\ndef {{name}}({signature}):\n{{body}}", listing)


def _listed(costs: CostMatrix) -> tuple[Listing, Expression]:
    """The lines of a formula, and the expression that is its value."""
    listing = Listing()
    i, j = cast(Tensor, listing.i), cast(Tensor, listing.j)
    load = cast(Load, listing.load)
    if isinstance(costs, Wrapper):
        value = costs.change(cast(Tensor, listing.entry()), i, j, load)
    else:
        value = costs.formula(i, j, load)
    return listing, listing.expression(value)


def _is_floating(costs: CostMatrix, name: str) -> bool:
    return costs.tables[name].is_floating_point()


def _named(body: str, frame: str, listing: Listing) -> CostFormula:
    name = f"costs_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return CostFormula(
        name,
        frame.format(name=name, body=body),
        tuple(listing.tables),
        tuple(listing.numbers),
        tuple(listing.exponents),
    )


# --- C++ -----------------------------------------------------------------------------------------


def _cpp(line: Line, listing: Listing) -> str:
    values = [_cpp_value(each) for each in line.arguments]
    place = line.place
    if line.operation in INFIX:
        text = f"{values[0]} {INFIX[line.operation]} {values[1]}"
    elif line.operation == "number":
        text = f"V(T(program.number[{place}]))"
    elif line.operation == "power":
        text = f"power({values[0]}, program.number[{len(listing.numbers) + place}])"
    elif line.operation == "entry":
        text = "V::load(row + first, count, T(0))"
    elif line.operation == "load":
        (index,) = line.arguments
        if index is listing.i:
            text = f"V(T(t{place}[truth]))"
        elif index is listing.j:
            text = f"entries<T>(t{place} + first, count)"
        elif index.literal:
            text = f"V(T(t{place}[{int(float(index.text))}]))"
        else:
            count = "count" if index.by_decision else "V::lanes"
            text = f"gathered<T>(t{place}, {index.text}, {count})"
    else:
        text = f"{line.operation}({', '.join(values)})"
    return f"const auto {line.result.text} = {text};"


def _cpp_value(value: Expression) -> str:
    return f"V(T({value.text}))" if value.literal else value.text


# --- Triton --------------------------------------------------------------------------------------


def _triton(line: Line, listing: Listing, shift: int) -> str:
    values = [each.text for each in line.arguments]
    place, numbers = line.place, shift + len(listing.tables)
    if line.operation in INFIX:
        text = f"{values[0]} {INFIX[line.operation]} {values[1]}"
    elif line.operation == "number":
        text = f"tl.load(tables[{numbers + place}])"
    elif line.operation == "power":
        exponent = numbers + len(listing.numbers) + place
        text = f"power({values[0]}, tl.load(tables[{exponent}]))"
    elif line.operation == "entry":
        text = "tables[0].at(tables[0].tables, truth, sample, decision, inside)"
    elif line.operation == "load":
        (index,) = line.arguments
        table = f"tables[{shift + place}]"
        if index is listing.i:
            text = f"tl.load({table} + truth)"
        elif index.literal:
            text = f"tl.load({table} + {int(float(index.text))})"
        elif index is listing.j:
            text = f"tl.load({table} + decision, mask=inside, other=0)"
        elif index.by_decision:
            text = f"tl.load({table} + {index.text}.to(tl.int32), mask=inside, other=0)"
        else:
            text = f"tl.load({table} + {index.text}.to(tl.int32))"
    else:
        text = f"tl.{line.operation}({', '.join(values)})"
    return f"{line.result.text} = {text}"
