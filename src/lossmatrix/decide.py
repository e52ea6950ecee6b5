# SPDX-License-Identifier: BSD-3-Clause
"""Decisions: from probabilities and costs to the decision that is expected to cost least.

Nothing here guesses whether it was given logits or probabilities: what is not a probability
distribution is refused. The check reads the device once; in a traced graph it is left out. On the
CPU rows are checked, multiplied and decided a block at a time, while they are in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, accelerator, as_costs
from lossmatrix.costs.base import widened
from lossmatrix.costs.tables import Table
from lossmatrix.tensors import check_tensor, traced

BLOCK_ENTRIES = 2**20  # probabilities at a time: 4 MB in float32, which caches hold
# A product that reads a table, or writes it out, wants more rows for it, within 128 MB.
TABLE_ROWS, TABLE_ENTRIES = 1024, 2**25
# What a sum of probabilities may miss 1 by. Half precision is the coarsest thing that probabilities
# are made in, and no dtype tells that they were, once they are widened: a bfloat16 has 8 bits, so
# each entry is off by up to 2⁻⁸ of itself, and so is their sum, twice that where they were divided
# by a rounded sum. Three digits are off by half a digit each, 0.0005. Two digits are refused.
HALF, DIGIT, MOST = 2**-7, 0.0005, 0.01

__all__ = ["conditional_risk", "decide", "decide_or_abstain", "decision_threshold", "shift_priors"]


def conditional_risk(probs: Tensor, costs: CostMatrix | Table) -> Tensor:
    """Expected cost of every decision: Σ_i p_i D_ij.

    Shapes: ``probs`` (C,), (N, C) or (N, C, d1 …) as in ``nn.CrossEntropyLoss``; the answer has the
    K decisions where the classes stood. An infinite cost forbids a decision: it counts as soon as
    its class has any probability, and 0 · ∞ = 0. The answer is in the unit of the costs, in the
    dtype of ``probs``, half precision widened to float32. Rows that were rounded, in 16 bits or to
    three digits, are taken as they are: where a row sums to 0.999, its risks are 0.999 times those
    of p / Σp, and the least of them stands in the same place.

    Raises TypeError or ValueError where ``probs`` are not probabilities over the classes of
    ``costs``: an entry is negative, or a row misses a sum of 1 by more than rounding does
    (0.0078, or 0.0005 for each class where that is more, up to 0.01).

    >>> lm.conditional_risk(torch.tensor([0.35, 0.65]), [[0, 10], [1, 0]])
    tensor([0.6500, 3.5000])
    """
    costs = as_costs(costs)
    rows = _rows(probs)
    _check_classes(probs, costs)
    return costs.expected(rows).movedim(-1, _class_dim(probs))


def decide(probs: Tensor, costs: CostMatrix | Table) -> Tensor:
    """Bayes decision: argmin_j Σ_i p_i D_ij, ties to the lowest index.

    Shapes: ``probs`` as in ``conditional_risk``; the answer is int64 in the shape of a target.
    Adding a constant to a row of the costs, or a positive scale of the costs or of a row of
    ``probs``, changes no decision. Where every decision is forbidden by an infinite cost the answer
    is 0: offer one that is not, as abstaining is.

    Use it on probabilities that deserve the name (calibrated, or learnt by a proper loss). After a
    loss whose argmax is the decision it would count the costs twice: see ``Criterion.decide``.

    Raises TypeError or ValueError as ``conditional_risk`` does.

    Source: Elkan (2001), The foundations of cost-sensitive learning, equation 1.

    >>> lm.decide(torch.tensor([[0.35, 0.65], [0.05, 0.95]]), [[0, 10], [1, 0]])
    tensor([0, 1])
    """
    _check_type(probs)
    return _decide(probs, as_costs(costs), is_logits=False)


def decide_from_logits(logits: Tensor, costs: CostMatrix | Table) -> Tensor:
    """``decide`` by softmax(logits), without the probabilities of all rows at once.

    Shapes and errors as for ``decide``; half precision is widened to float32 first.
    """
    return _decide(logits, as_costs(costs), is_logits=True)


def decide_or_abstain(
    probs: Tensor, costs: CostMatrix | Table, abstain_cost: float | Sequence[float]
) -> Tensor:
    """Bayes decision with one more decision, K: to abstain, at a price.

    ``abstain_cost`` is one price, or a price for each class the truth may be. Ties go to the
    lowest index, so abstaining has to be strictly cheaper. Shapes and errors as for ``decide``.

    Source: Chow (1970), On optimum recognition error and reject tradeoff: with 0–1 costs it
    abstains when the largest probability is below 1 − abstain_cost.

    >>> lm.decide_or_abstain(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), [[0, 1], [1, 0]], 0.3)
    tensor([0, 2])
    """
    return decide(probs, as_costs(costs).with_abstain(abstain_cost))


def decision_threshold(costs: CostMatrix | Table) -> float:
    """Probability of class 1 above which class 1 is the Bayes decision, for two classes.

    (D_01 − D_00) / (D_01 − D_00 + D_10 − D_11). It is 1 where deciding 1 wrongly is forbidden by an
    infinite cost, and 0 where deciding 0 wrongly is.

    Raises ValueError unless D is 2 × 2 and each decision is the cheaper one for its own class, and
    where both wrong decisions are forbidden: then there is none at any odds.

    Source: Elkan (2001), The foundations of cost-sensitive learning, equation 2.

    >>> round(decision_threshold([[0, 1], [5, 0]]), 4)  # 1 is "bad customer"
    0.1667
    """
    costs = as_costs(costs)
    if costs.shape != (2, 2):
        raise ValueError(f"a threshold needs costs of shape (2, 2), got {costs.shape}: use decide")
    costs.check_square()
    false_alarm = costs.entry(0, 1) - costs.entry(0, 0)
    miss = costs.entry(1, 0) - costs.entry(1, 1)
    if not (false_alarm > 0 and miss > 0):
        raise ValueError(
            "a threshold needs each decision to be the cheaper one for its own class, but deciding "
            f"wrongly costs {false_alarm} more for class 0 and {miss} more for class 1"
        )
    if false_alarm == miss == math.inf:
        raise ValueError(
            "there is no threshold where both wrong decisions are forbidden (infinite): at any "
            "odds neither decision is left; give one a finite cost, or use decide_or_abstain"
        )
    if math.inf in (false_alarm, miss):
        return float(false_alarm == math.inf)
    largest = max(false_alarm, miss)  # whose sum may overflow
    return false_alarm / largest / (false_alarm / largest + miss / largest)


def shift_priors(
    probs: Tensor, old: Tensor | Sequence[float], new: Tensor | Sequence[float]
) -> Tensor:
    """Probabilities for a population with other class frequencies: p'_i ∝ p_i · new_i / old_i.

    ``old`` are the class frequencies that the probabilities were learnt under, ``new`` those where
    they are used; counts do as well, for only the ratios matter. A class may become impossible
    (new_i = 0). Worked in logarithms, so ratios neither overflow nor vanish. Shapes: ``probs`` as
    in ``conditional_risk``, ``old`` and ``new`` (C,); the answer keeps shape and dtype.

    Raises ValueError where ``old`` is not positive, ``new`` is negative or all 0, or a row of
    ``probs`` has all its probability on classes that become impossible; and as
    ``conditional_risk`` does.

    Source: Saerens, Latinne and Decaestecker (2002), Adjusting the outputs of a classifier to new
    a priori probabilities, equation 2.4.

    >>> lm.shift_priors(torch.tensor([0.5, 0.5]), old=[0.5, 0.5], new=[0.9, 0.1])
    tensor([0.9000, 0.1000])
    """
    rows = _rows(probs)
    before, after = (torch.as_tensor(prior, dtype=torch.float64) for prior in (old, new))
    for name, prior in (("old", before), ("new", after)):
        if prior.shape != rows.shape[-1:]:
            raise ValueError(
                f"the {name} priors have shape {tuple(prior.shape)}, but probs of shape "
                f"{tuple(probs.shape)} need one number for each of {rows.shape[-1]} classes"
            )
    unfit = (before <= 0) | ~before.isfinite()
    if unfit.any():
        raise ValueError(
            f"old priors must be positive and finite, got {before[unfit][0].item()} for class "
            f"{unfit.nonzero()[0].item()}: what was never seen has no probability to weight anew"
        )
    if not ((after >= 0) & after.isfinite()).all() or not after.any():
        raise ValueError(
            "new priors must be non-negative, finite and not all 0, got values from "
            f"{after.min().item()} to {after.max().item()}"
        )
    log_ratio = after.log() - before.log()
    log_weight = rows.log() + log_ratio.to(device=rows.device, dtype=rows.dtype)
    if not log_weight.isfinite().any(-1).all():
        raise ValueError(
            "a row of probs has all its probability on classes whose new prior is 0, so nothing "
            "is left to share out: check the new priors, or leave that row out"
        )
    return log_weight.softmax(-1).movedim(-1, _class_dim(probs)).to(probs.dtype)


def _decide(given: Tensor, costs: CostMatrix, is_logits: bool) -> Tensor:
    """Decisions by probabilities, or by the softmax of logits."""
    check_tensor("logits" if is_logits else "probs", given)
    class_dim = _class_dim(given)
    rows = given.movedim(class_dim, -1)
    in_memory = given.device.type == "cpu" and type(given) in (Tensor, torch.nn.Parameter)
    if traced() or not in_memory or costs.num_samples is not None:
        probs = _softmax(rows).movedim(-1, class_dim) if is_logits else given
        return conditional_risk(probs, costs).argmin(class_dim)
    if rows.shape[-1] != costs.num_classes:
        if not is_logits:
            _rows(given)  # what is no probability is told first
        _check_classes(given, costs)
    rows, C = rows.detach(), costs.num_classes
    dtype = torch.promote_types(given.dtype, torch.float32)
    costs.check_range(dtype)
    tolerance = sum_tolerance(C)
    engine, count = accelerator.installed, BLOCK_ENTRIES // C
    if engine is None or not engine.decides(costs, dtype):
        engine, count = None, max(count, min(TABLE_ROWS, TABLE_ENTRIES // C))
    elif dtype == given.dtype and rows.is_contiguous():
        count = rows.numel()  # nothing to write out: the engine visits each row once
    decisions = [torch.empty(0, dtype=torch.int64, device=given.device)]
    for block in _blocks(rows, max(1, count)):
        if engine is not None:
            decided = engine.least_cost(costs, block.to(dtype), tolerance, is_logits)
        else:
            probs = _softmax(block) if is_logits else block.to(dtype)
            decided = costs.expected(probs).argmin(-1) if _fits(probs) else None
        if decided is None:
            raise _no_probabilities(_softmax(block) if is_logits else rows, class_dim)
        decisions.append(decided)
    return torch.cat(decisions).reshape(rows.shape[:-1])


def _blocks(rows: Tensor, count: int) -> Iterator[Tensor]:
    """Rows (…, C) in their order, at most ``count`` at a time, as (n, C)."""
    inner = rows.shape[1:-1].numel()  # rows in each step of the first dimension
    if rows.shape[:-1].numel() <= count:
        yield rows.reshape(-1, rows.shape[-1])
    elif inner <= count:
        step = count // inner
        for start in range(0, len(rows), step):
            yield rows[start : start + step].reshape(-1, rows.shape[-1])
    else:
        for part in rows:
            yield from _blocks(part, count)


def _softmax(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)


def _class_dim(probs: Tensor) -> int:
    """Where the classes stand: dim 1 of a batch, the only dim of one sample."""
    return min(1, probs.dim() - 1)


def _check_type(probs: Tensor) -> None:
    check_tensor("probs", probs)
    if not probs.is_floating_point() or probs.dim() == 0:
        raise TypeError(
            "probs must be floating point of shape (C,), (N, C) or (N, C, d1 …), got "
            f"{probs.dtype} of shape {tuple(probs.shape)}"
        )


def _check_classes(probs: Tensor, costs: CostMatrix) -> None:
    found = probs.shape[_class_dim(probs)]
    if found != costs.num_classes:
        raise ValueError(
            f"probs of shape {tuple(probs.shape)} have {found} classes on dim "
            f"{_class_dim(probs)}, but the costs of shape {costs.shape} have {costs.num_classes} "
            "(their rows are the truth)"
        )


def _rows(probs: Tensor) -> Tensor:
    """The probabilities with the classes last and in float32 at least, refused if they are none."""
    _check_type(probs)
    rows = widened(probs.movedim(_class_dim(probs), -1))
    if not traced() and not _fits(rows.detach()):
        raise _no_probabilities(rows.detach(), _class_dim(probs))
    return rows


def sum_tolerance(num_classes: int) -> float:
    """How far from 1 the sum of probabilities may be: what rounding them does."""
    return min(max(HALF, DIGIT * num_classes), MOST)


def _fits(rows: Tensor) -> bool:
    """Whether rows are non-negative and sum to 1; NaN is neither."""
    if rows.numel() == 0:
        return rows.shape[:-1].numel() == 0
    missed = (rows.sum(-1) - 1).abs()
    return bool((rows.amin() >= 0) & (missed <= sum_tolerance(rows.shape[-1])).all())


def _no_probabilities(rows: Tensor, class_dim: int) -> ValueError:
    total = rows.sum(-1, dtype=torch.promote_types(rows.dtype, torch.float32))
    return ValueError(
        f"probs must be non-negative and sum to 1 over dim {class_dim}, got a least "
        f"entry of {rows.min().item():.4g} and sums from {total.min().item():.4g} to "
        f"{total.max().item():.4g}, off by up to {(total - 1).abs().max().item():.2g} where "
        f"rounding explains {sum_tolerance(rows.shape[-1]):.2g}: {remedies(class_dim)}"
    )


def remedies(class_dim: int) -> str:
    """What makes probabilities of what is none."""
    return (
        "pass logits through softmax first, divide rounded probabilities by their sum "
        f"(p / p.sum({class_dim}, keepdim=True)), and give both classes of a sigmoid "
        "(torch.stack([1 - p, p], 1))"
    )
