# SPDX-License-Identifier: BSD-3-Clause
"""``WeightedKappaLoss``: agreement beyond chance of a whole batch, as something to train with.

Chance is one more expected cost. Dealt at random over the batch, a decision meets the truths by
their shares, and so costs r_j = Σ_i P(y = i) D_ij whatever its own row's truth is:

    Σ_ij P(y = i) P(a = j) D_ij = (1/N) Σ_n Σ_j p_nj r_j,

an expected cost with r as the row of costs of every sample. Engines evaluate both.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lossmatrix.costs import CostMatrix, PerExample
from lossmatrix.costs.base import widened
from lossmatrix.losses import CostsLike, ExpectedCost, Loss, Term
from lossmatrix.losses.base import non_negative
from lossmatrix.nn import BOUND, Criterion
from lossmatrix.problem import output_dtype, wide_indices
from lossmatrix.tensors import check_tensor


class WeightedKappaLoss(nn.Module):
    """Expected cost of a batch ÷ that of its decisions dealt at random: 1 − the soft weighted κ.

    (1/N) Σ_n Σ_j p_nj D[y_n, j] ÷ Σ_ij P(y = i) P(a = j) D_ij with p = softmax(logits), P(y = i)
    the share of class i in the batch and P(a = j) the mean of p_nj. The unit of the costs drops
    out; 0 is perfect where the diagonal is 0, and 1 no better than chance. Where p is one-hot this
    is 1 − ``lm.weighted_kappa``; ``Ordinal(C, power=2)`` gives the quadratic κ.

    It is a ratio of two sums over a batch, and no mean of losses of rows: give it batches of many
    rows and several classes. In a batch of one class, such as a single row, every decision costs
    what it costs by chance, so the loss is 1 and its gradient 0; and so they are where chance
    costs nothing. Without a row that counts it is NaN, as PyTorch's means are.

    Shapes: logits (C), (N, C) or (N, C, d1 … dk); target class indices or class probabilities, as
    for ``Criterion``. The result is a scalar in the logits' dtype, float32 under autocast.

    Args:
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth; at least 0 and finite.
        ignore_index: class index of rows that do not count.
        engine: "auto" or the name of an engine, as in ``Criterion``.

    Raises ValueError for negative or infinite costs, and what ``Criterion`` does.

    Source: Cohen (1968), Weighted kappa; de la Torre, Puig and Valls (2018), Weighted kappa loss
    function for multi-class classification of ordinal data in deep learning.

    >>> criterion = lm.WeightedKappaLoss(lm.Ordinal(3, power=2))
    >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    >>> round(criterion(logits, torch.tensor([0, 1, 2])).item(), 4)
    0.6584
    """

    def __init__(self, costs: CostsLike, *, ignore_index: int = -100, engine: str = "auto") -> None:
        super().__init__()
        loss = ExpectedCost()
        self.criterion = Criterion(loss, costs, ignore_index=ignore_index, engine=engine)
        assert self.criterion.costs is not None
        non_negative(loss, self.criterion.costs)

    @property
    def costs(self) -> CostMatrix:
        """The costs as they are kept, in float32."""
        return cast(CostMatrix, self.criterion.costs)

    @costs.setter
    def costs(self, costs: object) -> None:
        raise AttributeError(BOUND)

    @property
    def ignore_index(self) -> int:
        """The class index of rows that do not count."""
        return self.criterion.ignore_index

    @ignore_index.setter
    def ignore_index(self, ignore_index: int) -> None:
        self.criterion.ignore_index = ignore_index

    @property
    def engine(self) -> str:
        """The engine, or "auto"."""
        return self.criterion.engine

    @engine.setter
    def engine(self, engine: str) -> None:
        self.criterion.engine = engine

    def forward(
        self, logits: Tensor, target: Tensor, *, sample_weight: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            logits: (C), (N, C) or (N, C, d1 … dk), floating point.
            target: class indices or class probabilities.
            sample_weight: how much each row counts, in the costs, in the shares and in N.
        """
        check_tensor("logits", logits)
        z = widened(logits)
        cost = self.criterion(z, target, sample_weight=sample_weight)
        soft, class_dim = target.is_floating_point(), min(1, z.dim() - 1)
        if z.numel() == 0:
            return cost  # nothing over nothing
        target = wide_indices(target, self.criterion.ignore_index, z.shape[class_dim])
        counts, total = self._counts(z, target, sample_weight)
        truth = torch.zeros_like(target.select(class_dim, 0), dtype=torch.int64) if soft else target
        costs = cast(CostMatrix, self.criterion.bound.terms[0].costs)
        rows = costs.expected(counts).expand(z.numel() // len(counts), -1)
        chance = Loss.evaluate(
            (Term(1.0, ExpectedCost(), PerExample(rows)),),
            z,
            truth,  # any class does: the costs of its row are given
            self.criterion.engine,
            sample_weight=sample_weight,
            ignore_index=self.criterion.ignore_index,
        )
        comparable = ((counts > 0).sum() > 1) & (chance != 0)
        kappa = cost * total / torch.where(comparable, chance, 1.0)
        value = torch.where(comparable, kappa, 1.0 + 0.0 * cost)  # what is no number stays none
        return value.to(output_dtype(logits, target if soft else None))

    def _counts(
        self, z: Tensor, target: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """How many rows have each class for their truth, (C,), and how many count; by weight."""
        class_dim = min(1, z.dim() - 1)
        C = z.shape[class_dim]
        weight = z.new_ones(()) if sample_weight is None else sample_weight
        if target.is_floating_point():
            weight = weight.to(target.dtype).expand(target.select(class_dim, 0).shape)
            shares = target.movedim(class_dim, -1) * weight.unsqueeze(-1)
            return shares.reshape(-1, C).sum(0).to(z.dtype), weight.sum()
        counts = (target >= 0) & (target < C) & (target != self.criterion.ignore_index)
        weight = torch.where(counts, weight.double(), 0.0).reshape(-1)
        truth = torch.where(counts, target, 0).long().reshape(-1)
        per_class = weight.new_zeros(C).index_add(0, truth, weight)
        return per_class.to(z.dtype), weight.sum().to(z.dtype)
