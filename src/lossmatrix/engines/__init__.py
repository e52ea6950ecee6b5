# SPDX-License-Identifier: BSD-3-Clause
"""Which engine runs a problem: one pure rule, and the same rule in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lossmatrix.costs import accelerator
from lossmatrix.engines import reference
from lossmatrix.engines.cpu import engine as cpu
from lossmatrix.engines.cpu import products
from lossmatrix.engines.gpu import engine as gpu
from lossmatrix.engines.plan import NoKernelError, plan_of
from lossmatrix.losses import Term
from lossmatrix.problem import Bound, Problem


class Prepared(Protocol):
    """What an engine has made ready for the terms, device, dtype and layout of a problem."""

    def loss(self, problem: Problem) -> Tensor:
        """The reduced loss; autograd may ask for its gradient."""
        ...

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The reduced loss and its gradient, which is written into ``out`` where that is given.

        For the losses of all rows it is the gradient of their sum.
        """
        ...


@dataclass(frozen=True)
class Engine:
    """A loop over rows: ``prepare`` gives a call made ready, or the reason why there is none."""

    name: str
    prepare: Callable[[Problem], Prepared | str]


# In order of preference; the last one can run every problem.
ENGINES = (
    Engine("native", cpu.prepare),
    Engine("triton", gpu.prepare),
    Engine("reference", reference.prepare),
)
BY_NAME = {engine.name: engine for engine in ENGINES}

accelerator.installed = products


def bind(terms: tuple[Term, ...]) -> Bound:
    """The terms of a criterion with what can be made ready before the first call."""
    bound = Bound(terms)
    with contextlib.suppress(NoKernelError):  # it is kept, and told by an engine that is asked
        plan_of(bound)
    return bound


@dataclass(slots=True)
class Choice:
    """The engine that runs a problem, and why the ones before it do not."""

    engine: Engine
    prepared: Prepared
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
        prepared = engine.prepare(problem)
        if isinstance(prepared, str):
            raise RuntimeError(
                f"engine {name!r} cannot run this: {prepared}. "
                "engine='auto' chooses one that can; lossmatrix.explain says which."
            )
        return Choice(engine, prepared)
    passed_over: list[tuple[str, str]] = []
    for engine in ENGINES:
        prepared = engine.prepare(problem)
        if not isinstance(prepared, str):
            return Choice(engine, prepared, tuple(passed_over))
        passed_over.append((engine.name, prepared))
    raise RuntimeError(f"no engine can run this: {passed_over}")
