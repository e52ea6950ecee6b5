# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of what decisions cost, in the manner of scikit-learn's Display objects.

``from_predictions`` works the numbers out, keeps them as attributes and draws them; ``plot(ax=…)``
draws them again. What was drawn is in ``ax_`` and ``figure_``. matplotlib is imported by ``plot``.
Rows count, and are checked, as in the metrics, so a picture and a metric state one number.
"""

# pyright: reportUnknownMemberType=false
# (matplotlib leaves its keyword arguments without types)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import Self

from lossmatrix.costs import CostMatrix, as_costs
from lossmatrix.costs.labels import visible
from lossmatrix.costs.tables import Table
from lossmatrix.decide import conditional_risk
from lossmatrix.metrics import Counted, costs_of, counted

if TYPE_CHECKING:
    import numpy
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "AbstentionCurveDisplay",
    "CostConfusionDisplay",
    "DecisionReliabilityDisplay",
    "RiskCurveDisplay",
]

LEGIBLE = 20  # classes up to which cells have room for their number,
SMALLEST = 4.0  # in points of at least this size,
FILLED = 0.9  # which takes up to so much of the width of a cell


@dataclass
class _Picture:
    """Where a display was drawn."""

    ax_: Axes = field(init=False, repr=False)
    figure_: Figure = field(init=False, repr=False)

    def _begin(self, ax: Axes | None) -> Axes:
        """Axes to draw into, new ones unless some are given."""
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise ImportError(
                    "lossmatrix.plot needs matplotlib: pip install 'lossmatrix[plot]'"
                ) from error
            ax = pyplot.subplots(layout="constrained")[1]
        figure = ax.get_figure(root=True)
        assert figure is not None  # axes that were removed from theirs cannot be drawn into
        self.ax_, self.figure_ = ax, figure
        return ax


@dataclass
class CostConfusionDisplay(_Picture):
    """Which mistakes the cost comes from: Σ_n w_n D[y_n, a_n] / Σ_n w_n of each pair (y, a).

    ``paid`` (C, K) holds those numbers, float64, rows the truth; they sum to ``average_cost`` and
    have the unit of the costs. ``share`` (C, K) says how often the pair happened, Σ w of it / Σ w.
    Dear cells are dark.

    >>> decision, target = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 1, 1, 1])
    >>> display = lm.plot.CostConfusionDisplay.from_predictions(decision, target, [[0, 1], [6, 0]])
    >>> display.paid
    tensor([[0., 0.],
            [3., 0.]], dtype=torch.float64)
    """

    paid: Tensor
    share: Tensor
    classes: Sequence[str]
    decisions: Sequence[str]

    @classmethod
    def from_predictions(
        cls,
        decision: Tensor,
        target: Tensor,
        costs: CostMatrix | Table,
        *,
        sample_weight: Tensor | None = None,
        ignore_index: int = -100,
        ax: Axes | None = None,
    ) -> Self:
        """Work out and draw; arguments and errors as for ``average_cost``."""
        costs = as_costs(costs)
        rows = counted(decision, target, costs, sample_weight, ignore_index)
        cell, total = (rows.target, rows.decision), rows.weight.sum()
        nothing = rows.weight.new_zeros(costs.shape)
        paid = nothing.index_put(cell, rows.weight * costs_of(rows, costs), accumulate=True)
        share = nothing.index_put(cell, rows.weight, accumulate=True)
        return cls(paid / total, share / total, costs.classes, costs.decisions).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw, into new axes unless some are given."""
        ax = self._begin(ax)
        image = ax.imshow(_array(self.paid), cmap="Reds", vmin=0)
        self.figure_.colorbar(image, ax=ax, label="average cost")
        names = [[*map(visible, each)] for each in (self.decisions, self.classes)]
        ax.set_xticks(range(len(names[0])), names[0], rotation="vertical", parse_math=False)
        ax.set_yticks(range(len(names[1])), names[1], parse_math=False)
        ax.set(xlabel="decided", ylabel="true")
        if max(self.paid.shape) <= LEGIBLE:
            self._write(ax)
        return self

    def _write(self, ax: Axes) -> None:
        """The number of each cell, all as small as the narrowest needs; none where that is tiny."""
        half, size = self.paid.max().item() / 2, 0.0
        for i, j in product(range(len(self.classes)), range(len(self.decisions))):
            cost = self.paid[i, j].item()
            colour = "white" if cost > half else "black"
            text = ax.text(j, i, f"{cost:.3g}", ha="center", va="center", color=colour)
            size = float(text.get_fontsize())
        self.figure_.draw_without_rendering()  # lays the axes out, which cells have their size of
        corners = ax.transData.transform([(0, 0), (1, 1)])
        cell = abs(corners[1] - corners[0])
        boxes = [text.get_window_extent().size for text in ax.texts]
        size *= min(1, *((FILLED * cell / box).min() for box in boxes))
        for text in [*ax.texts]:
            if size < SMALLEST:
                text.remove()
            text.set_fontsize(size)


@dataclass
class RiskCurveDisplay(_Picture):
    """Risk against coverage: the average cost of the n surest rows, for every n.

    Rows are in the order of the conditional risk of their Bayes decision, least first. The first n
    are ``coverage`` of all, and cost ``paid`` on average, where ``expected`` was predicted: (M,)
    float64 each. ``paid`` ends at the average cost of ``decide``; ``area`` is the area under it,
    the mean over all coverages.

    Source: El-Yaniv and Wiener (2010), On the foundations of noise-free selective classification;
    for the area Geifman, Uziel and El-Yaniv (2019), Bias-reduced uncertainty estimation.

    >>> probs, target = torch.tensor([[0.6, 0.4], [0.9, 0.1]]), torch.tensor([1, 0])
    >>> lm.plot.RiskCurveDisplay.from_predictions(probs, target, [[0, 1], [1, 0]]).paid
    tensor([0.0000, 0.5000], dtype=torch.float64)
    """

    coverage: Tensor
    paid: Tensor
    expected: Tensor

    @classmethod
    def from_predictions(
        cls,
        probs: Tensor,
        target: Tensor,
        costs: CostMatrix | Table,
        *,
        sample_weight: Tensor | None = None,
        ignore_index: int = -100,
        ax: Axes | None = None,
    ) -> Self:
        """Work out and draw; arguments and errors as for ``decide`` and ``average_cost``."""
        costs = as_costs(costs)
        rows, risk = _decided(probs, target, costs, sample_weight, ignore_index)
        expected, order = risk.amin(1).sort(stable=True)
        weight, paid = rows.weight[order], costs_of(rows, costs)[order]
        seen = weight.cumsum(0)
        means = [(weight * cost).cumsum(0) / seen for cost in (paid, expected)]
        return cls(seen / weight.sum(), means[0], means[1]).plot(ax)

    @property
    def area(self) -> float:
        """The mean of ``paid`` over all coverages."""
        steps = self.coverage.diff(prepend=self.coverage.new_zeros(1))
        return (self.paid * steps).sum().item()

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw, into new axes unless some are given."""
        ax = self._begin(ax)
        coverage = _array(self.coverage)
        ax.plot(coverage, _array(self.paid), label=f"paid, area {self.area:.4g}")
        ax.plot(coverage, _array(self.expected), "--", label="expected")
        ax.set(xlabel="share of rows decided, surest first", ylabel="average cost of these")
        ax.legend()
        return self


@dataclass
class AbstentionCurveDisplay(_Picture):
    """Average cost of all rows against the share that abstains, at the price of abstaining.

    The n rows for which abstaining is expected to save most abstain, the others take their Bayes
    decision: ``share`` of them for n = 0 … M, and ``cost``, (M + 1,) float64 each, prices
    included. ``chosen`` is the n of ``decide_or_abstain``: where probabilities deserve the name,
    the curve is low there.

    Source: Chow (1970), On optimum recognition error and reject tradeoff.

    >>> probs, target = torch.tensor([[0.6, 0.4], [0.9, 0.1]]), torch.tensor([1, 0])
    >>> display = lm.plot.AbstentionCurveDisplay.from_predictions(
    ...     probs, target, [[0, 1], [1, 0]], abstain_cost=0.2
    ... )
    >>> display.cost, display.chosen
    (tensor([0.5000, 0.1000, 0.2000], dtype=torch.float64), 1)
    """

    share: Tensor
    cost: Tensor
    chosen: int

    @classmethod
    def from_predictions(
        cls,
        probs: Tensor,
        target: Tensor,
        costs: CostMatrix | Table,
        abstain_cost: float | Sequence[float],
        *,
        sample_weight: Tensor | None = None,
        ignore_index: int = -100,
        ax: Axes | None = None,
    ) -> Self:
        """Work out and draw; arguments and errors as for ``decide_or_abstain``."""
        costs = as_costs(costs).with_abstain(abstain_cost)
        rows, risk = _decided(probs, target, costs, sample_weight, ignore_index)
        least, decision = risk[:, :-1].min(1)
        price = risk[:, -1]
        order = (price - least).argsort(stable=True)
        decided = costs_of(rows._replace(decision=decision), costs)
        last = torch.full_like(decision, costs.num_decisions - 1)
        abstained = costs_of(rows._replace(decision=last), costs)
        weight, total = rows.weight[order], rows.weight.sum()
        begin = weight.new_zeros(1)
        prices = (weight * abstained[order]).cumsum(0)
        others = (weight * decided[order]).flip(0).cumsum(0).flip(0)
        cost = torch.cat([begin, prices]) + torch.cat([others, begin])
        share = torch.cat([begin, weight.cumsum(0)])
        return cls(share / total, cost / total, int((price < least).sum())).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw, into new axes unless some are given."""
        ax = self._begin(ax)
        share, cost = _array(self.share), _array(self.cost)
        ax.plot(share, cost)
        ax.plot(share[self.chosen], cost[self.chosen], "o", label="decide_or_abstain")
        ax.set(xlabel="share of rows that abstain", ylabel="average cost, abstaining included")
        ax.legend()
        return self


@dataclass
class DecisionReliabilityDisplay(_Picture):
    """Whether predicted costs come true: the mean expected and the mean paid cost of each decision.

    Rows are grouped by their Bayes decision. Of each group ``expected``, the mean conditional risk,
    ``paid``, the mean of D[y, a], and ``error``, the standard error of their difference, (K,)
    float64; all are NaN for a decision that was never made, and ``error`` for one made once.
    Calibrated probabilities put every point on the diagonal within its error.

    Source: the groups are those of decision calibration, Zhao, Kim, Sahoo, Ma and Ermon (2021),
    Calibrating predictions to decisions.

    >>> probs = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    >>> target = torch.tensor([0, 0, 1])
    >>> display = lm.plot.DecisionReliabilityDisplay.from_predictions(
    ...     probs, target, [[0, 1], [2, 0]]
    ... )
    >>> display.expected, display.paid
    (tensor([0.5000, 0.3750], dtype=torch.float64), tensor([0.0000, 0.5000], dtype=torch.float64))
    """

    expected: Tensor
    paid: Tensor
    error: Tensor
    decisions: Sequence[str]

    @classmethod
    def from_predictions(
        cls,
        probs: Tensor,
        target: Tensor,
        costs: CostMatrix | Table,
        *,
        sample_weight: Tensor | None = None,
        ignore_index: int = -100,
        ax: Axes | None = None,
    ) -> Self:
        """Work out and draw; arguments and errors as for ``decide`` and ``average_cost``."""
        costs = as_costs(costs)
        rows, risk = _decided(probs, target, costs, sample_weight, ignore_index)

        def total(value: Tensor) -> Tensor:
            """Σ of a value of the rows, by decision."""
            nothing = value.new_zeros(costs.num_decisions)
            return nothing.index_put((rows.decision,), value, accumulate=True)

        weight, expected, paid = rows.weight, risk.amin(1), costs_of(rows, costs)
        mass = total(weight)
        off = paid - expected
        off = off - (total(weight * off) / mass)[rows.decision]
        count = total(torch.ones_like(weight))
        error = (total((weight * off).square()) * count / (count - 1)).sqrt() / mass
        means = [total(weight * cost) / mass for cost in (expected, paid)]
        return cls(means[0], means[1], error, costs.decisions).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw, into new axes unless some are given."""
        ax = self._begin(ax)
        made = [k for k in range(len(self.decisions)) if not self.paid[k].isnan()]
        known = (self.expected[made], self.paid[made], self.error[made].nan_to_num())
        expected, paid, error = map(_array, known)
        ax.errorbar(expected, paid, error, fmt="o")
        for k in made if len(made) <= LEGIBLE else []:
            place = (self.expected[k].item(), self.paid[k].item())
            name = visible(self.decisions[k])
            ax.annotate(name, place, (4, 4), textcoords="offset points", parse_math=False)
        ax.axline((0, 0), slope=1, linestyle=":", color="grey")
        ax.set(xlabel="expected cost of the decision", ylabel="cost paid, ± its standard error")
        return self


def _array(tensor: Tensor) -> NDArray[numpy.float64]:
    """Numbers to draw."""
    return tensor.detach().cpu().numpy()


def _decided(
    probs: Tensor,
    target: Tensor,
    costs: CostMatrix,
    sample_weight: Tensor | None,
    ignore_index: int,
) -> tuple[Counted, Tensor]:
    """The rows that count with their Bayes decisions, and their conditional risks (M, K)."""
    risk = conditional_risk(probs, costs)
    decision = risk.argmin(min(1, risk.dim() - 1))
    rows = counted(decision, target, costs, sample_weight, ignore_index)
    by_row = risk.movedim(min(1, risk.dim() - 1), -1).reshape(-1, costs.num_decisions)
    return rows, by_row[rows.row].double()
