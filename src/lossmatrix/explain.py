# SPDX-License-Identifier: BSD-3-Clause
"""``explain``: what a criterion will do with some logits, in words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossmatrix.binary import BinaryCriterion
from lossmatrix.costs import CostMatrix
from lossmatrix.engines import choose
from lossmatrix.losses import CostsLike
from lossmatrix.nn import Criterion
from lossmatrix.problem import Options, Problem, read
from lossmatrix.tensors import check_tensor

RULES = {
    "argmax": "argmax of the logits",
    "bayes": "least expected cost under softmax(logits)",
    None: "none of its own: pass rule= to Criterion.decide",
}
RULES_OF_ONE_LOGIT = {
    "argmax": "1 where the logit is above 0",
    "bayes": "least expected cost under sigmoid(logits)",
    None: "none of its own: pass rule= to BinaryCriterion.decide",
}


def explain(
    criterion: Criterion | BinaryCriterion, logits: Tensor, *, costs: CostsLike | None = None
) -> str:
    """What ``criterion`` does with ``logits``: its loss, its decision, its engine and why.

    Args:
        criterion: the criterion to be asked about.
        logits: an example, as the criterion takes it: (C), (N, C) or (N, C, d1 … dk), or of any
            shape where one logit stands for two classes; its values do not matter.
        costs: costs of a batch, as they are passed to the criterion in a call.

    Raises TypeError for what is no criterion, and what the criterion does for such logits.

    >>> print(lm.explain(lm.Criterion(lm.CrossEntropy()), torch.zeros(4, 3)))  # doctest: +ELLIPSIS
    loss: CrossEntropy()
    decision: argmax of the logits
    costs: none
    engine: ...
    """
    if not isinstance(criterion, (Criterion, BinaryCriterion)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"explain takes a Criterion, but got a {type(criterion).__name__}: give the Criterion "
            "that it is made of, such as Criterion(loss, costs)."
        )
    check_tensor("logits", logits)
    if isinstance(criterion, BinaryCriterion):
        problems, rules = _of_one_logit(criterion, logits, costs), RULES_OF_ONE_LOGIT
    else:
        problems, rules = [_of_classes(criterion, logits, costs)], RULES
    matrices = _matrices(criterion, costs)
    decides = criterion.loss.decides
    if not matrices and decides == "bayes":
        decides = "argmax"  # all mistakes alike
    engines = dict.fromkeys(str(choose(criterion.engine, problem)) for problem in problems)
    return "\n".join(
        [
            f"loss: {criterion.loss!r}",
            f"decision: {rules[decides]}",
            f"costs: {_named(matrices)}",
            *engines,
        ]
    )


def _of_classes(criterion: Criterion, logits: Tensor, costs: CostsLike | None) -> Problem:
    """The call of a logit for each class."""
    class_dim = 0 if logits.dim() <= 1 else 1
    rows = logits.shape[:class_dim] + logits.shape[class_dim + 1 :]
    options = Options(
        weight=criterion.weight,
        ignore_index=criterion.ignore_index,
        reduction=criterion.reduction,
        label_smoothing=criterion.label_smoothing,
    )
    target = torch.zeros(rows, dtype=torch.int64, device=logits.device)
    return read(criterion.bound_to(costs), logits, target, options)


def _of_one_logit(
    criterion: BinaryCriterion, logits: Tensor, costs: CostsLike | None
) -> list[Problem]:
    """The calls of one logit for two classes: one, or one for all labels that differ in costs."""
    options = Options(ignore_index=criterion.ignore_index, reduction=criterion.reduction)
    return [
        read(bound, z, torch.zeros_like(z, dtype=torch.int64), options, one_logit=True)
        for z, bound in criterion.calls(logits, costs)
    ]


def _matrices(criterion: Criterion | BinaryCriterion, costs: CostsLike | None) -> list[CostMatrix]:
    """The costs of the batch, or else those of the criterion, each matrix once."""
    own = criterion.costs
    found = own if isinstance(own, list) else [own]
    if costs is not None:
        found = [criterion.loss.matrix(costs)]
    return list(dict.fromkeys(matrix for matrix in found if matrix is not None))


def _named(matrices: Sequence[CostMatrix]) -> str:
    """The first, and how many others there are."""
    if not matrices:
        return "none"
    others = f" and {len(matrices) - 1} more" if len(matrices) > 1 else ""
    return f"{matrices[0]!r}{others}"
