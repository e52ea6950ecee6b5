# SPDX-License-Identifier: BSD-3-Clause
"""Everything that laws apply to: all losses, all kinds of matrix, all engines.

Losses and engines are found by walking the library, so whatever is added there is tested here.
"""

from __future__ import annotations

import dataclasses
import pkgutil

import pytest
import torch
from torch import Tensor

import lossmatrix as lm
from lossmatrix import losses
from lossmatrix.engines import ENGINES, Engine
from lossmatrix.engines.gpu import engine as gpu
from lossmatrix.problem import Bound, Options, Problem, read

# --- losses --------------------------------------------------------------------------------------


CHAPTERS = {
    f"{losses.__name__}.{chapter.name}"
    for chapter in pkgutil.iter_modules(losses.__path__)
    if chapter.name not in ("base", "language")  # what losses are made of
}


def final_losses() -> list[type[lm.Loss]]:
    """Every loss class of the chapters of ``lossmatrix.losses``, private helpers left out."""
    found: list[type[lm.Loss]] = []

    def walk(cls: type[lm.Loss]) -> None:
        for sub in cls.__subclasses__():
            walk(sub)
            if sub.__module__ in CHAPTERS and not sub.__name__.startswith("_"):
                found.append(sub)

    walk(lm.Loss)
    return found


def variants(cls: type[lm.Loss]) -> list[lm.Loss]:
    """The loss with its default parameters, and with one parameter changed at a time."""
    made = [cls()]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # every loss is a dataclass
        changed = (not field.default,) if isinstance(field.default, bool) else (field.default / 2,)
        made += [cls(**{field.name: value}) for value in changed]
    return made


SINGLE: dict[str, lm.Loss] = {
    repr(loss): loss
    for loss in [
        *(variant for cls in final_losses() for variant in variants(cls)),
        lm.EntropicRisk(lam=-1.0),
        lm.CostFocal(gamma=0.0),
    ]
}
SUMS: dict[str, lm.Loss] = {
    repr(loss): loss
    for loss in [
        lm.CrossEntropy() + 0.5 * lm.ExpectedCost(),
        lm.CrossEntropy() + lm.Unlikelihood(),
        lm.CrossEntropy() + lm.DecisionScore(),
        2.0 * lm.CostSensitiveCrossEntropy() + lm.EntropicRisk() + 0.25 * lm.SoftmaxMargin(),
    ]
}
LOSSES: dict[str, lm.Loss] = SINGLE | SUMS

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
every_single_loss = pytest.mark.parametrize("loss", SINGLE.values(), ids=SINGLE.keys())


def parts(loss: lm.Loss) -> list[lm.Loss]:
    """The losses that a sum adds."""
    return [part for _, part in getattr(loss, "parts", ((1.0, loss),))]


def holds_weight_constant(loss: lm.Loss) -> bool:
    """Whether the gradient leaves out a part of the value by intention."""
    return any(getattr(part, "detach", False) for part in parts(loss))


# --- matrices ------------------------------------------------------------------------------------

# Every entry off the diagonal is different, no row or column is like another, D ≠ Dᵀ; all of them
# can be held in half precision.
ASYMMETRIC = torch.tensor(
    [
        [0.0, 1.0, 2.5, 4.0],
        [3.0, 0.0, 0.5, 6.0],
        [1.5, 5.0, 0.0, 2.0],
        [5.5, 4.5, 3.5, 0.0],
    ],
    dtype=torch.float64,
)
# Distances of 4 points on a tree: a metric of negative type.
SYMMETRIC = torch.tensor(
    [
        [0.0, 1.5, 4.0, 5.5],
        [1.5, 0.0, 3.5, 5.0],
        [4.0, 3.5, 0.0, 2.5],
        [5.5, 5.0, 2.5, 0.0],
    ],
    dtype=torch.float64,
)


def refuses(loss: lm.Loss, table: Tensor) -> bool:
    """Whether the loss refuses this matrix."""
    try:
        loss.bind(loss.matrix(table))
    except ValueError:
        return True
    return False


def table_for(loss: lm.Loss) -> Tensor:
    """The asymmetric matrix, or the symmetric one where the loss needs that."""
    return SYMMETRIC if refuses(loss, ASYMMETRIC) else ASYMMETRIC


def random_table(loss: lm.Loss, num_classes: int, generator: torch.Generator) -> Tensor:
    """A random matrix with zero diagonal that the loss accepts, (C, C) float64."""
    shape = (num_classes, num_classes)
    if refuses(loss, ASYMMETRIC):
        x = 3.0 * torch.rand(num_classes, generator=generator, dtype=torch.float64)
        return (x.unsqueeze(0) - x.unsqueeze(1)).abs()
    table = 0.1 + 4.0 * torch.rand(shape, generator=generator, dtype=torch.float64)
    return table.fill_diagonal_(0.0)


# --- engines -------------------------------------------------------------------------------------

# Those that can run in this process: triton's kernels run on the CPU in its interpreter alone.
RUNNING = [engine for engine in ENGINES if engine.name != "triton" or gpu.INTERPRETED]

every_engine = pytest.mark.parametrize("engine", RUNNING, ids=lambda engine: engine.name)

# What runs where: everything, but for what stands in this table by loss and by kind of target, each
# with the words in which the engine says so. A refusal that it does not list is a failure, and so
# is one that it lists and that the engine gives no more.
INDICES, SMOOTHED, PROBABILITIES = "indices", "smoothed", "probabilities"  # kinds of targets
REFUSALS: dict[str, dict[type[lm.Loss] | str, str]] = {
    "native": {},
    "triton": {},
    "reference": {},
}

# What a test says of its targets where they are no indices, and of the losses it makes itself.
smoothed, probabilities = pytest.mark.targets(SMOOTHED), pytest.mark.targets(PROBABILITIES)
uses = pytest.mark.uses
every_target = pytest.mark.parametrize("targets", [INDICES, PROBABILITIES])


def refusal(engine: str, loss: lm.Loss, kind: str = INDICES) -> str | None:
    """Why an engine may refuse a loss at targets of a kind; None where it must run."""
    listed = REFUSALS[engine]
    asked = [kind, *(type(part) for part in parts(loss))]
    return next((listed[each] for each in asked if each in listed), None)


def problem_of(
    loss: lm.Loss,
    logits: Tensor,
    target: Tensor,
    costs: lm.CostMatrix | Tensor | None,
    **options: object,
) -> Problem:
    """A call of a loss as engines see it; costs that the loss does not read are left out."""
    terms = loss.bind(None if loss.reads is None else loss.matrix(costs))
    return read(Bound(terms), logits, target, Options(**options))  # type: ignore[arg-type]


def evaluate(
    engine: Engine,
    loss: lm.Loss,
    logits: Tensor,
    target: Tensor,
    costs: lm.CostMatrix | Tensor | None,
    **options: object,
) -> Tensor:
    """The loss on one engine, which must run it: where it may refuse, no test is collected."""
    costs = None if loss.reads is None else costs
    options = {"reduction": "none"} | options
    prepared = engine.prepare(problem_of(loss, logits, target, costs, **options))
    if isinstance(prepared, str):
        pytest.fail(f"the {engine.name} engine refuses {loss!r}: {prepared}")
    return loss(logits, target, costs, engine=engine.name, **options)  # type: ignore[arg-type]
