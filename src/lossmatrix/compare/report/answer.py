# SPDX-License-Identifier: BSD-3-Clause
"""What to do about the costs, in one sentence for each control."""

from lossmatrix.compare.results import Comparison, Result, likeliest_class, price
from lossmatrix.compare.statistics import MARGIN

DOUBT = f" (whether by more than {MARGIN} of normalised cost, these rows do not tell)"


def answers(comparison: Comparison) -> list[str]:
    """One sentence for each control: how to decide, and whether to train with another loss."""
    controls = [result for result in comparison.results if result.verdict == "control"]
    return [
        f"{decision(control, likeliest_class(comparison, control))}{training(comparison, control)}."
        for control in controls
    ]


def decision(control: Result, likeliest: Result) -> str:
    """What the likeliest class costs more or less than the control, and how sure that is."""
    outputs = f"the outputs of {control.method}"
    by_cost, by_class = price(control.average_cost), price(likeliest.average_cost)
    doubt = "" if likeliest.verdict in ("better", "worse") else DOUBT
    if likeliest.verdict == "no difference":
        return (
            f"Decide as you like: whether {outputs} are decided by cost ({by_cost} a decision) "
            f"or for the likeliest class ({by_class}) makes no difference"
        )
    if likeliest.low > 0:
        return (
            f"Decide by cost: {outputs} then cost {by_cost} a decision, where choosing the "
            f"likeliest class costs {by_class}{doubt}"
        )
    if likeliest.high < 0:
        return (
            f"Choose the likeliest class: {outputs} then cost {by_class} a decision, where "
            f"deciding by cost costs {by_cost}{doubt}"
        )
    return (
        f"Neither way of deciding {outputs} is surely cheaper on these rows: by cost they take "
        f"{by_cost} a decision, for the likeliest class {by_class}"
    )


def training(comparison: Comparison, control: Result) -> str:
    """Whether a loss that was trained with the prices is better than the control."""
    others = [result for result in comparison.results if result.method != control.method]
    if not others or "control" in [result.verdict for result in others]:  # nothing else is trained
        return ""
    better = [result for result in others if result.verdict == "better"]
    if not better:
        return "; no loss that was trained with the prices is better"
    best = min(better, key=lambda result: result.normalized_cost)
    return f"; trained with {best.method} ({best.rule}), {price(best.average_cost)}"
