# SPDX-License-Identifier: BSD-3-Clause
"""Which engine runs a problem: one pure rule, and the same rule in words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lossmatrix.engines import fused, native, reference, triton
from lossmatrix.formula import Term
from lossmatrix.problem import Problem


@dataclass(frozen=True)
class Engine:
    """A loop over rows: ``refuses`` gives the reason why it cannot run a problem, or None."""

    name: str
    refuses: Callable[[Problem], str | None]
    run: Callable[[Problem], Tensor]


def prepare(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The terms of a criterion with what can be made ready before the first call."""
    return fused.prepare(terms)


# In order of preference; the last one can run every problem.
ENGINES = (
    Engine("native", native.refuses, functools.partial(native.run, higher=reference.run)),
    Engine("triton", triton.refuses, functools.partial(triton.run, higher=reference.run)),
    Engine("reference", reference.refuses, reference.run),
)
BY_NAME = {engine.name: engine for engine in ENGINES}


@dataclass(slots=True)
class Choice:
    """The engine that runs a problem, and why the ones before it do not."""

    engine: Engine
    passed_over: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        reasons = "".join(f"; not {name}: {reason}" for name, reason in self.passed_over)
        return f"engine: {self.engine.name}{reasons}"


def choose(name: str, problem: Problem) -> Choice:
    """The first engine that can run the problem; a named one runs it or refuses."""
    if name != "auto":
        engine = BY_NAME.get(name)
        if engine is None:
            known = ", ".join(["auto", *BY_NAME])
            raise ValueError(f"unknown engine {name!r}: choose one of {known}.")
        reason = engine.refuses(problem)
        if reason is not None:
            raise RuntimeError(
                f"engine {name!r} cannot run this: {reason}. "
                "engine='auto' chooses one that can; lossmatrix.explain says which."
            )
        return Choice(engine)
    passed_over: list[tuple[str, str]] = []
    for engine in ENGINES:
        reason = engine.refuses(problem)
        if reason is None:
            return Choice(engine, tuple(passed_over))
        passed_over.append((engine.name, reason))
    raise RuntimeError(f"no engine can run this: {passed_over}")
