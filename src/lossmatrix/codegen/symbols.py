# SPDX-License-Identifier: BSD-3-Clause
"""Symbols: stand-ins for tensors on which a formula can be run to see its arithmetic.

A symbol is a sum of products. Products keep powers of their factors, so p · q · c / q is p · c,
and zeros and ones disappear; a kernel printed from the symbol computes no more than it must.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Union

Operand = Union["Symbol", float]
Factors = tuple[tuple["Atom", int], ...]  # sorted by the atom's text, so that equal is equal
Constant = Callable[[str], str]  # how a language writes a constant that reads like this


def cpp(constant: str) -> str:
    """A constant in C++, where V is the type of the computation."""
    return f"V({constant})"


def python(constant: str) -> str:
    """A constant in Python, and so in Triton."""
    return "0.0" if constant == "0" else constant


@dataclass(frozen=True)
class Atom:
    """An indivisible factor: a name, or a function of symbols."""

    function: str  # "" for a name
    name: str
    arguments: tuple[Symbol, ...] = ()

    @property
    def text(self) -> str:
        """The atom as a C++ expression."""
        return self.printed(cpp)

    def printed(self, constant: Constant) -> str:
        """The atom in the language that writes its constants so."""
        if not self.function:
            return self.name
        arguments = (argument.printed(constant) for argument in self.arguments)
        return f"{self.function}({', '.join(arguments)})"


@dataclass(frozen=True)
class Symbol:
    """A sum of products of atoms, each with a coefficient."""

    products: tuple[tuple[Factors, float], ...]

    @property
    def constant(self) -> float | None:
        """The number this symbol is, if it is one."""
        if not self.products:
            return 0.0
        ((factors, coefficient), *others) = self.products
        return coefficient if not others and not factors else None

    @property
    def text(self) -> str:
        """The symbol as a C++ expression."""
        return self.printed(cpp)

    def printed(self, constant: Constant) -> str:
        """The symbol in the language that writes its constants so."""
        if not self.products:
            return constant("0")
        return " + ".join(_product_text(*product, constant) for product in self.products)

    @property
    def names(self) -> set[str]:
        """Every name the expression mentions."""
        found: set[str] = set()
        for factors, _ in self.products:
            for atom, _ in factors:
                found |= {atom.name} if not atom.function else set()
                found |= {name for argument in atom.arguments for name in argument.names}
        return found

    def at(self, values: dict[str, float]) -> float:
        """The number this symbol of names alone is where they have these values."""
        return sum(
            coefficient * math.prod(values[atom.name] ** exponent for atom, exponent in factors)
            for factors, coefficient in self.products
        )

    @property
    def may_be_infinite(self) -> bool:
        """Whether a logarithm or a power is in it: costs and parameters are finite."""
        return bool(self.names & {"k.lp", "k.lq"}) or any(
            function in self.text for function in ("log(", "power(")
        )

    def renamed(self, rename: Callable[[str], str]) -> Symbol:
        """The same expression with its variables renamed."""
        total = number(0.0)
        for factors, coefficient in self.products:
            product = number(coefficient)
            for atom, exponent in factors:
                arguments = tuple(each.renamed(rename) for each in atom.arguments)
                renamed = Atom(atom.function, rename(atom.name), arguments)
                product = product * Symbol(((((renamed, exponent),), 1.0),))
            total = total + product
        return total

    def __neg__(self) -> Symbol:
        return self * -1.0

    def __add__(self, other: object) -> Symbol:
        if not isinstance(other, Symbol | int | float):
            return NotImplemented  # a dual number knows how to add a symbol
        total = dict(self.products)
        for factors, coefficient in as_symbol(other).products:
            total[factors] = total.get(factors, 0.0) + coefficient
        return Symbol(tuple((f, c) for f, c in sorted(total.items(), key=_order) if c != 0))

    def __sub__(self, other: object) -> Symbol:
        if not isinstance(other, Symbol | int | float):
            return NotImplemented
        return self + -as_symbol(other)

    def __rsub__(self, other: Operand) -> Symbol:
        return as_symbol(other) - self

    def __mul__(self, other: object) -> Symbol:
        if not isinstance(other, Symbol | int | float):
            return NotImplemented
        total = number(0.0)
        for left, a in self.products:
            for right, b in as_symbol(other).products:
                total = total + Symbol(((_merged(left, right), a * b),))
        return total

    def __truediv__(self, other: object) -> Symbol:
        if not isinstance(other, Symbol | int | float):
            return NotImplemented
        divisor = as_symbol(other)
        if len(divisor.products) == 1:
            ((factors, coefficient),) = divisor.products
            inverse = tuple((atom, -exponent) for atom, exponent in factors)
            return self * Symbol(((inverse, 1.0 / coefficient),))
        return self * Symbol(((((Atom("group", "", (divisor,)), -1),), 1.0),))

    def __rtruediv__(self, other: Operand) -> Symbol:
        return as_symbol(other) / self

    def __pow__(self, exponent: int) -> Symbol:
        if exponent != int(exponent) or exponent < 0:
            raise TypeError(f"use power() for the exponent {exponent} in a formula.")
        result = number(1.0)
        for _ in range(int(exponent)):
            result = result * self
        return result

    __radd__ = __add__
    __rmul__ = __mul__

    def exp(self) -> Symbol:
        """Exponential."""
        return _call("exp", self)

    def expm1(self) -> Symbol:
        """Exponential minus one."""
        return _call("expm1", self)

    def log(self) -> Symbol:
        """Natural logarithm."""
        return number(0.0) if self.constant == 1.0 else _call("log", self)

    def log1p(self) -> Symbol:
        """Natural logarithm of one more."""
        return number(0.0) if self.constant == 0.0 else _call("log1p", self)

    def power(self, exponent: Operand) -> Symbol:
        """``power`` of the formula language."""
        return _call("power", self, as_symbol(exponent))

    def detach(self) -> Symbol:
        """The same value: nothing differentiates a symbol."""
        return self

    def grown_by(self, log_weight: Operand, exponent: Operand) -> Symbol:
        """``growth`` of the formula language."""
        return _call("growth", self, as_symbol(log_weight), as_symbol(exponent))

    def weighed_by(self, weight: Operand) -> Symbol:
        """``weigh`` of the formula language; certain weights need no guard."""
        weight = as_symbol(weight)
        if weight.constant is not None or not self.may_be_infinite:
            return self * weight
        if len(self.products) == 1:  # numbers stand outside, so that equal calls are equal
            ((factors, coefficient),) = self.products
            return _call("weigh", weight, Symbol(((factors, 1.0),))) * coefficient
        return _call("weigh", weight, self)


def number(value: float) -> Symbol:
    """A constant."""
    return Symbol((((), float(value)),) if value != 0 else ())


def name(text: str) -> Symbol:
    """A variable of the kernel."""
    return Symbol(((((Atom("", text), 1),), 1.0),))


def as_symbol(operand: Operand) -> Symbol:
    """A symbol; numbers become constants."""
    return operand if isinstance(operand, Symbol) else number(float(operand))


def _call(function: str, *arguments: Symbol) -> Symbol:
    return Symbol(((((Atom(function, "", arguments), 1),), 1.0),))


def _merged(left: Factors, right: Factors) -> Factors:
    exponents = dict(left)
    for atom, exponent in right:
        exponents[atom] = exponents.get(atom, 0) + exponent
    return tuple(sorted(((a, e) for a, e in exponents.items() if e != 0), key=_atom_order))


_atom_order: Callable[[tuple[Atom, int]], str] = lambda pair: pair[0].text  # noqa: E731


def _order(item: tuple[Factors, float]) -> tuple[str, ...]:
    return tuple(atom.text + str(exponent) for atom, exponent in item[0])


def _product_text(factors: Factors, coefficient: float, constant: Constant) -> str:
    above = [atom.printed(constant) for atom, exponent in factors for _ in range(exponent)]
    below = [atom.printed(constant) for atom, exponent in factors for _ in range(-exponent)]
    if coefficient != 1.0 or not above:
        infinite = "INF" if coefficient > 0 else "-INF"
        above.insert(0, constant(infinite if math.isinf(coefficient) else repr(coefficient)))
    text = " * ".join(above)
    return f"{text} / ({' * '.join(below)})" if below else text
