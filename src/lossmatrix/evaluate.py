# SPDX-License-Identifier: BSD-3-Clause
"""The one road from a call to its value: check, lay out, choose an engine, run."""

from __future__ import annotations

from torch import Tensor

from lossmatrix.engines import choose
from lossmatrix.formula import Term
from lossmatrix.problem import Reduction, read


def evaluate(
    terms: tuple[Term, ...],
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    inplace_gradient: bool = False,
    engine: str = "auto",
) -> Tensor:
    """The loss of bound ``terms``; arguments as in ``Criterion``."""
    problem = read(
        terms,
        logits,
        target,
        weight=weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        inplace_gradient=inplace_gradient,
    )
    return choose(engine, problem).engine.run(problem)
