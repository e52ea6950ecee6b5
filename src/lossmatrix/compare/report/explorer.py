# SPDX-License-Identifier: BSD-3-Clause
"""What the explorer in the page computes from: probabilities, truths, weights and costs."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy
from numpy.typing import NDArray

from lossmatrix.compare.report.breakdown import risk_of_rows
from lossmatrix.compare.results import Comparison, Row
from lossmatrix.compare.task import Indices, Numbers
from lossmatrix.compare.visible import visible

ABSTAIN = ("abstain", "abstain, as offered here")  # the name of the decision that is offered
MOST_BYTES = 480_000  # of numbers stored in the page; of more rows there is a sample
MOST_TABLE = 1_300_000  # bytes of a table of costs; a larger one cannot be edited


def explorer_data(comparison: Comparison, models: Sequence[Row]) -> dict[str, Any]:
    """Data for explorer.js, ready for JSON: `models` with probabilities, the control first.

    Probabilities are float32. Where there is no one matrix to edit, because rows have costs of
    their own or the matrix is too large for the page, the expected and the true cost of every
    decision stand in their place.
    """
    costs = comparison.task.costs
    own = comparison.row_costs is not None
    table = None if own else stored_table(costs.to_dense().double().numpy())
    width = costs.num_classes if table is not None else costs.num_decisions
    row_size = 12 + (0 if table is not None else 4 * width)  # truth, weight and costs
    model_size = 4 * (width + 1)  # numbers and the likeliest class
    count = len(comparison.target)
    kept = models[: max(1, (MOST_BYTES // count - row_size) // model_size)]
    rows = sample(count, max(1, MOST_BYTES // (row_size + len(kept) * model_size)))
    row_costs = comparison.task.decision_costs(comparison.test_rows[rows])
    return {
        "rows": len(rows),
        "classes": [*map(visible, costs.classes)],
        "decisions": [*map(visible, costs.decisions)],
        "abstain": next(name for name in ABSTAIN if name not in costs.decisions),
        "own": own,
        "costs": table,
        "target": base64(comparison.target[rows], "<i4"),
        "weight": base64(comparison.weight[rows], "<f8"),
        "row_costs": None if table is not None else base64(row_costs, "<f4"),
        "models": [
            {
                "name": visible(model.method),
                "numbers": base64(
                    model.probs[rows] if table is not None else risks(comparison, model, rows),
                    "<f4",
                ),
                "likeliest": base64(model.probs.argmax(1)[rows], "<i4"),
            }
            for model in kept
            if model.probs is not None
        ],
    }


def risks(comparison: Comparison, model: Row, rows: Indices) -> Numbers:
    """What each decision is expected to cost (n, K) on some of the test rows."""
    assert model.probs is not None
    own = comparison.row_costs
    some = replace(comparison, row_costs=None if own is None else own[rows])
    return risk_of_rows(some, model.probs[rows])


def stored_table(table: Numbers) -> dict[str, Any] | None:
    """A table of costs (C, K): its different `values`, and in `places` which one each entry has.

    Costs take few different values, so a place takes some `bits`, the highest first, where the
    number itself may take twenty digits. JSON has no infinity: null forbids a decision. None where
    the places are too many bytes for a page.
    """
    values, place = numpy.unique(table, return_inverse=True)
    bits = max(1, (len(values) - 1).bit_length())
    packed = numpy.packbits(numpy.reshape(place, (-1, 1)) >> numpy.arange(bits)[::-1] & 1)
    if len(packed) > MOST_TABLE:
        return None
    return {
        "values": [value if numpy.isfinite(value) else None for value in values.tolist()],
        "bits": bits,
        "places": base64(packed, "u1"),
    }


def sample(count: int, most: int) -> Indices:
    """All rows, or as many as fit, drawn once and for all; in order."""
    if count <= most:
        return numpy.arange(count)
    return numpy.sort(numpy.random.default_rng(0).choice(count, most, replace=False))


def base64(values: NDArray[Any], kind: str) -> str:
    """An array as the base64 text of its bytes."""
    return b64encode(numpy.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
