# SPDX-License-Identifier: BSD-3-Clause
"""What the explorer in the page computes from: probabilities, truths, weights and costs."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from lossmatrix.compare.report.breakdown import risk_of_rows
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Indices, Numbers

ABSTAIN = ("abstain", "abstain, as offered here")  # the name of the decision that is offered
MOST_NUMBERS = 2_000_000  # stored in the page; more rows are sampled


def explorer_data(comparison: Comparison, models: Sequence[Row]) -> dict[str, Any]:
    """Data for explorer.js, ready for JSON: `models` with probabilities, the control first.

    Probabilities are float32. Where rows have costs of their own, the expected and the true cost of
    every decision stand in their place, because there is no one matrix to edit.
    """
    costs = comparison.task.costs
    own = comparison.row_costs is not None
    size = len(comparison.target) * (2 * costs.num_decisions if own else costs.num_classes)
    kept = models[: max(1, MOST_NUMBERS // size)]
    rows = sample(len(comparison.target), len(comparison.target) * MOST_NUMBERS // size)
    row_costs = comparison.task.decision_costs(comparison.test_rows)[rows] if own else None
    return {
        "rows": len(rows),
        "classes": list(costs.classes),
        "decisions": list(costs.decisions),
        "abstain": next(name for name in ABSTAIN if name not in costs.decisions),
        "costs": None if own else null_for_infinity(costs.to_dense().double().numpy()),
        "target": base64(comparison.target[rows], "<i4"),
        "weight": base64(comparison.weight[rows], "<f8"),
        "row_costs": None if row_costs is None else base64(row_costs, "<f4"),
        "models": [
            {
                "name": model.method,
                "numbers": base64(
                    (risk_of_rows(comparison, model.probs) if own else model.probs)[rows], "<f4"
                ),
                "likeliest": base64(model.probs.argmax(1)[rows], "<i4"),
            }
            for model in kept
            if model.probs is not None
        ],
    }


def sample(count: int, most: int) -> Indices:
    """All rows, or as many as fit, drawn once and for all; in order."""
    if count <= most:
        return numpy.arange(count)
    return numpy.sort(numpy.random.default_rng(0).choice(count, most, replace=False))


def null_for_infinity(table: Numbers) -> list[list[float | None]]:
    """Costs for JSON, which has no infinity: null forbids a decision."""
    return [[cost if numpy.isfinite(cost) else None for cost in row] for row in table.tolist()]


def base64(values: NDArray[Any], kind: str) -> str:
    """An array as the base64 text of its bytes."""
    return b64encode(numpy.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
