# SPDX-License-Identifier: BSD-3-Clause
"""What to do about the costs: the sentences that the terminal, results.json and the report say."""

from math import isnan
from statistics import median
from typing import get_args

from lossmatrix.compare.display import format_cost
from lossmatrix.compare.intervals import MARGIN, Verdict
from lossmatrix.compare.methods import CONTROL
from lossmatrix.compare.results import LONGER, Comparison, Row
from lossmatrix.refine import WORTH_TRYING

DOUBT = f" (whether by more than {MARGIN:.0%} of what the control costs, these rows do not tell)"


def recommendation(comparison: Comparison) -> list[str]:
    """How to decide, a sentence for each control, and what training with the costs changed."""
    sentences = [
        decision(comparison, control, comparison.likeliest_class(control))
        for control in comparison.controls
    ]
    if comparison.constant_regret == 0:
        sentences = [
            f"Deciding {comparison.constant} for every row is never a mistake, so nothing can be "
            "gained on these rows: if that is not meant, give that decision a cost where it is "
            "wrong."
        ]
    if comparison.rivals:
        sentences.append(training(comparison))
    sentences += map(refinement, comparison.refinements)
    if comparison.undertrained:
        sentences.append(undertraining(comparison))
    return sentences


def decision(comparison: Comparison, control: Row, likeliest: Row) -> str:
    """What the likeliest class costs more or less than the control, and how sure that is."""
    outputs = f"the outputs of {control.method}"
    by_cost, by_class = format_cost(control.average_cost), format_cost(likeliest.average_cost)
    if control.normalized_cost == likeliest.normalized_cost == 0:
        return (
            f"Nothing is lost on these rows, whether {outputs} are decided by cost or for the "
            "likeliest class: harder rows would have to tell which is better."
        )
    if min(control.normalized_cost, likeliest.normalized_cost) >= 1:
        return (
            f"However {outputs} are decided, by cost ({by_cost} a decision) or for the likeliest "
            f"class ({by_class}), it is no better than deciding {comparison.constant} for every "
            f"row ({format_cost(comparison.constant_cost)})."
        )
    doubt = "" if likeliest.verdict in ("better", "worse") else DOUBT
    if likeliest.verdict == "no difference":
        return (
            f"Decide as you like: whether {outputs} are decided by cost ({by_cost} a decision) "
            f"or for the likeliest class ({by_class}) makes no difference."
        )
    if likeliest.low > 0:
        saved = 1 - control.normalized_cost / likeliest.normalized_cost  # which is above 0
        return (
            f"Decide by cost: {outputs} then cost {by_cost} a decision ({CONTROL}), where choosing "
            f"the likeliest class costs {by_class}: {saved:.0%} less needless cost{doubt}."
        )
    if likeliest.high < 0:
        return (
            f"Choose the likeliest class: {outputs} then cost {by_class} a decision, where "
            f"deciding by cost costs {by_cost}{doubt}."
        )
    return (
        f"Neither way of deciding {outputs} is surely cheaper on these rows: by cost they cost "
        f"{by_cost} a decision, for the likeliest class {by_class}."
    )


def training(comparison: Comparison) -> str:
    """Whether a loss that was trained with the costs is better than the control."""
    verdicts = [row.verdict for row in comparison.rivals]
    counts = [(word, verdicts.count(word)) for word in get_args(Verdict)]
    tally = ", ".join(f"{word} in {count}" for word, count in counts if count)
    best = best_rival(comparison)
    found = (
        "No loss that was trained with the costs is better"
        if best is None
        else f"Trained with {best.method} ({best.rule}), a decision costs "
        f"{format_cost(best.average_cost)}"
    )
    return (
        f"{found}. Against that control, {len(verdicts)} combinations of loss and rule: {tally} "
        f"(margin {MARGIN:.0%} of its cost)."
    )


def undertraining(comparison: Comparison) -> str:
    """What the control gains from more epochs, which is no gain of any loss."""
    gain, epochs = comparison.longer, LONGER * comparison.schedule.epochs
    assert gain is not None
    return (
        f"The control is undertrained: after {epochs} epochs in place of {epochs // LONGER} it "
        f"costs {format_cost(gain.cost)} in place of {format_cost(gain.control)} a decision on the "
        f"test rows of the first seed. Give --epochs {epochs} before you believe a difference."
    )


def refinement(row: Row) -> str:
    """How often refining was believed to pay, and how the control stood before."""
    attempts = [fit.attempt for fit in row.fits if fit.attempt is not None]
    refined = sum(attempt.refined for attempt in attempts)
    ratios = [attempt.ratio for attempt in attempts if not isnan(attempt.ratio)]
    standing = f" ({standing_of(median(ratios))})" if ratios else ""
    if not refined:
        return (
            f"{row.method}: held-out rows showed no sure gain in any of {len(row.fits)} runs, so "
            f"it fell back to the control, and decides as that{standing}."
        )
    if refined == len(row.fits):
        return f"{row.method}: held-out rows showed a gain in all {refined} runs{standing}."
    return (
        f"{row.method}: held-out rows showed a gain in {refined} of {len(row.fits)} runs; in the "
        f"others it fell back to the control, and decides as that{standing}."
    )


def prospect(ratio: float) -> str:
    """Whether refining is worth trying, before it is tried."""
    if isnan(ratio):
        return "Refining has nothing to gain: on the first split no decision could cost less."
    outlook = "worth trying" if ratio >= WORTH_TRYING else "not likely to pay"
    return f"Refining is {outlook}: on the first split {standing_of(ratio)}."


def standing_of(ratio: float) -> str:
    """Whether a control has room to be refined, by training cost ÷ held-out cost."""
    return (
        f"the control's decisions cost {ratio:.2f} times as much on its training rows as on "
        f"held-out ones; it pays above {WORTH_TRYING}, where a model is too small to remember rows"
    )


def recommended(comparison: Comparison) -> tuple[Row, list[Row]]:
    """The row that is recommended, and those that it is recommended against.

    That is the best loss that is better than the control beyond doubt, else the control, or
    choosing the likeliest class of its outputs where that is surely cheaper. Of several controls
    it is the cheapest.
    """
    control = min(comparison.controls, key=lambda row: row.normalized_cost)
    likeliest, rival = comparison.likeliest_class(control), best_rival(comparison)
    best = rival or (likeliest if likeliest.high < 0 else control)
    others = [row for row in (control, likeliest, rival) if row is not None and row is not best]
    return best, others


def best_rival(comparison: Comparison) -> Row | None:
    """The cheapest of the losses that are better than the control beyond doubt."""
    better = [row for row in comparison.rivals if row.verdict == "better"]
    return min(better, key=lambda row: row.normalized_cost, default=None)
