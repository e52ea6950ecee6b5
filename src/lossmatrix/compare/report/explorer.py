# SPDX-License-Identifier: BSD-3-Clause
"""What the explorer in the page computes from: probabilities, truths, weights and prices."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from lossmatrix.compare.report.ledger import risk
from lossmatrix.compare.results import Comparison, Result
from lossmatrix.compare.task import Indices, Numbers

ABSTAIN = ("abstain", "abstain, as offered here")  # the name of the decision that is offered
MOST_NUMBERS = 2_000_000  # stored in the page; more rows are sampled


def explorer_data(comparison: Comparison, models: Sequence[Result]) -> dict[str, Any]:
    """Data for explorer.js, ready for JSON: `models` with probabilities, the control first.

    Probabilities are float32. Where rows have costs of their own, the expected and the true cost of
    every decision stand in their place, because there is no one matrix to edit.
    """
    costs = comparison.task.costs
    own = comparison.row_costs is not None
    size = len(comparison.target) * (2 * costs.num_decisions if own else costs.num_classes)
    kept = models[: max(1, MOST_NUMBERS // size)]
    rows = sample(len(comparison.target), len(comparison.target) * MOST_NUMBERS // size)
    return {
        "rows": len(rows),
        "classes": list(costs.classes),
        "decisions": list(costs.decisions),
        "abstain": next(name for name in ABSTAIN if name not in costs.decisions),
        "costs": None if own else finite(costs.to_dense().double().numpy()),
        "target": packed(comparison.target[rows], "<i4"),
        "weight": packed(comparison.weight[rows], "<f8"),
        "paid": packed(comparison.task.paid(comparison.judged)[rows], "<f4") if own else None,
        "models": [
            {
                "name": result.method,
                "numbers": packed(numbers(comparison, result)[rows], "<f4"),
                "likeliest": packed(result.probs.argmax(1)[rows], "<i4"),
            }
            for result in kept
            if result.probs is not None
        ],
    }


def sample(count: int, most: int) -> Indices:
    """All rows, or as many as fit, drawn once and for all; in order."""
    if count <= most:
        return numpy.arange(count)
    return numpy.sort(numpy.random.default_rng(0).choice(count, most, replace=False))


def numbers(comparison: Comparison, result: Result) -> Numbers:
    """What decisions follow from: probabilities (N, C), or expected costs (N, K)."""
    assert result.probs is not None
    return result.probs if comparison.row_costs is None else risk(comparison, result.probs)


def finite(table: Numbers) -> list[list[float | None]]:
    """Costs for JSON, which has no infinity: null forbids a decision."""
    return [[cost if numpy.isfinite(cost) else None for cost in row] for row in table.tolist()]


def packed(values: NDArray[Any], kind: str) -> str:
    """An array as the base64 text of its bytes."""
    return b64encode(numpy.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
