# SPDX-License-Identifier: BSD-3-Clause
"""``explain``: what a criterion will do with some logits, in words."""

from __future__ import annotations

import torch
from torch import Tensor

from lossmatrix.engines import choose
from lossmatrix.losses import CostsLike
from lossmatrix.nn import Criterion
from lossmatrix.problem import Options, read
from lossmatrix.tensors import check_tensor

RULES = {
    "argmax": "argmax of the logits",
    "bayes": "least expected cost under softmax(logits)",
    None: "none of its own: pass rule= to Criterion.decide",
}


def explain(criterion: Criterion, logits: Tensor, *, costs: CostsLike | None = None) -> str:
    """What ``criterion`` does with ``logits``: its loss, its decision, its engine and why.

    Args:
        criterion: the criterion to be asked about.
        logits: an example, (C), (N, C) or (N, C, d1 … dk); its values do not matter.
        costs: costs of a batch, as they are passed to ``Criterion`` in a call.

    Raises TypeError for what is no ``Criterion``, and what ``Criterion`` does for such logits.

    >>> print(lm.explain(lm.Criterion(lm.CrossEntropy()), torch.zeros(4, 3)))  # doctest: +ELLIPSIS
    loss: CrossEntropy()
    decision: argmax of the logits
    costs: none
    engine: ...
    """
    if not isinstance(criterion, Criterion):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"explain takes a Criterion, but got a {type(criterion).__name__}: give the Criterion "
            "that it is made of, such as Criterion(loss, costs)."
        )
    check_tensor("logits", logits)
    class_dim = 0 if logits.dim() <= 1 else 1
    rows = logits.shape[:class_dim] + logits.shape[class_dim + 1 :]
    options = Options(
        weight=criterion.weight,
        ignore_index=criterion.ignore_index,
        reduction=criterion.reduction,
        label_smoothing=criterion.label_smoothing,
    )
    target = torch.zeros(rows, dtype=torch.int64, device=logits.device)
    problem = read(criterion.bound_to(costs), logits, target, options)
    matrix = criterion.costs_of(costs)
    decides = criterion.loss.decides
    if matrix is None and decides == "bayes":
        decides = "argmax"  # all mistakes alike
    return "\n".join(
        [
            f"loss: {criterion.loss!r}",
            f"decision: {RULES[decides]}",
            f"costs: {'none' if matrix is None else repr(matrix)}",
            str(choose(criterion.engine, problem)),
        ]
    )
