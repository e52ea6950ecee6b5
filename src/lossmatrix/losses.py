# SPDX-License-Identifier: BSD-3-Clause
"""The losses, one final class each, in the order in which they build on one another.

Every formula is stated for one class of one row in the words of ``formula.Cells``. What a loss
promises (its decision rule, convexity, properness) stands beside it as class attributes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix, Dense
from lossmatrix.formula import (
    Cells,
    Loss,
    RowLoss,
    Rows,
    Rule,
    StreamedLoss,
    Term,
    finite,
    non_negative,
    power,
    weigh,
)

# --- cross-entropies: −Σ_j s_j log p_j, convex ---------------------------------------------------


@dataclass(frozen=True)
class CrossEntropy(StreamedLoss):
    """Cross-entropy, the log score: −Σ_j t_j log p_j.

    Costs play no part in it. It is convex and strictly proper: softmax(logits) estimates the
    probabilities, and the least-cost decision follows from them by the Bayes step (``decide``).

    Source: Good (1952), Rational decisions, section 8.

    >>> round(lm.CrossEntropy()(torch.tensor([[2.0, 0.0]]), torch.tensor([1])).item(), 4)
    2.1269
    """

    decides = "bayes"
    convex = True
    proper = True
    linear_in_costs = False  # costs play no part in it
    reads = None

    def term(self, cell: Cells) -> Tensor:
        """−t log p."""
        return -weigh(cell.target, cell.log_p)


@dataclass(frozen=True)
class PairWeightedCrossEntropy(StreamedLoss):
    """Cross-entropy with a weight per pair of classes: −Σ_i t_i Σ_j W_ij log p_j.

    W is a table of **gains** (large W_ij rewards probability on j when the truth is i), so a
    ``CostMatrix`` is refused: it would reward the costliest class. With a diagonal W and
    class-index targets this is ``nn.CrossEntropyLoss(weight=W.diag(), reduction="sum")``. Convex
    for W ≥ 0; its minimiser is p_j ∝ Σ_i η_i W_ij, so argmax finds the largest expected gain.
    It has no decision rule in terms of costs: ``decides`` is None.

    >>> gains = torch.tensor([[1.0, 0.2], [0.0, 3.0]])
    >>> z, y = torch.tensor([[0.5, -0.5]]), torch.tensor([0])
    >>> round(lm.PairWeightedCrossEntropy()(z, y, gains).item(), 4)
    0.5759
    """

    decides = None
    convex = True
    proper = False
    linear_in_costs = True
    reads = "gains"

    def term(self, cell: Cells) -> Tensor:
        """−W log p; the row of gains arrives where other losses see costs."""
        return -weigh(cell.cost, cell.log_p)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Gains must be ≥ 0, or the loss has no lower bound."""
        (term,) = super().bind(costs)
        if term.costs is not None and term.costs.minimum < 0:
            raise ValueError(
                f"{self!r} needs gains ≥ 0 but the smallest is {term.costs.minimum:g}: "
                "subtract each row's minimum from it."
            )
        return (term,)


def saved_against_the_worst(rows: Tensor, is_truth: Tensor) -> Tensor:
    """What each decision saves against the row's costliest one: max_k d_k − d_j."""
    del is_truth
    return rows.amax(-1, keepdim=True) - rows


@dataclass(frozen=True)
class CostSensitiveCrossEntropy(Loss):
    """Cross-entropy weighted by what a decision saves: −Σ_j (max_k d_k − d_j) log p_j.

    Convex, and consistent for every cost matrix: at the optimum p_j ∝ const − conditional risk of
    j, so argmax is the least-cost decision (and p is not a probability of the classes). The
    weights are never normalised by row: doing so destroys consistency. D = 1 − I gives
    cross-entropy. Adding a constant to a row of D changes nothing.

    Source: Mozannar & Sontag (2020), Consistent estimators for learning to defer, section 4;
    Lin (2010), A simple cost-sensitive multiclass classification algorithm.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.CostSensitiveCrossEntropy()(z, y, [[0, 1, 9], [1, 0, 4], [9, 4, 0]]).item(), 4)
    14.9293
    """

    decides = "argmax"
    convex = True
    proper = False
    linear_in_costs = True

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Pair-weighted cross-entropy whose gains are the savings."""
        costs = _square(self, costs).map_rows(saved_against_the_worst)
        return (Term(1.0, PairWeightedCrossEntropy(), costs),)


@dataclass(frozen=True)
class SoftTargetCrossEntropy(Loss):
    """Cross-entropy against soft targets made of costs: −Σ_j s_j log p_j, s = softmax(−d / T).

    ``temperature`` T is in units of the matrix's mean positive regret, so it means the same for
    euros and cents. Convex. In general neither argmax nor the Bayes step is the least-cost
    decision: small T decides for the likeliest class, large T approaches the least-cost class with
    vanishing contrast; so ``decides`` is None.

    Also known as SORD and as soft labels. Source: Díaz & Marathe (2019), Soft labels for ordinal
    regression, equation 2; Bertinetto et al. (2020), Making better mistakes, section 3.2.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> loss = lm.SoftTargetCrossEntropy(temperature=0.5)
    >>> round(loss(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.6611
    """

    temperature: float = 1.0

    decides = None
    convex = True
    proper = False
    linear_in_costs = False

    def __post_init__(self) -> None:
        _positive(self, "temperature", self.temperature)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Pair-weighted cross-entropy whose gains are the soft targets."""
        costs = _square(self, costs)
        soft = costs.map_rows(_SoftTargets(self.temperature * costs.unit))
        return (Term(1.0, PairWeightedCrossEntropy(), soft),)


@dataclass(frozen=True)
class _SoftTargets:
    """softmax(−d / temperature) over a row, the temperature in the unit of D."""

    temperature: float

    def __call__(self, rows: Tensor, is_truth: Tensor) -> Tensor:
        return (-rows / self.temperature).softmax(-1)


# --- costs of the wrong classes: Σ_j d_j φ(p_j), decided by argmax -------------------------------


@dataclass(frozen=True)
class ExpectedCost(StreamedLoss):
    """The cost expected of a random decision drawn from p: Σ_j d_j p_j.

    Also known as conditional risk, direct risk, the Wasserstein-1 distance to a one-hot target.
    Consistent: its minimiser puts all mass on the least-cost class, so decide by argmax. Not
    convex, and flat where the model is confidently wrong (the gradient is p_j (d_j − Σ d p)), so
    train with ``CrossEntropy() + k * ExpectedCost()``. Adding c to a row adds c to the loss.

    Source: Kukar & Kononenko (1998), Cost-sensitive learning with neural networks, section 3.

    >>> z, y = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([2])
    >>> round(lm.ExpectedCost()(z, y, [[0, 1, 9], [1, 0, 4], [9, 4, 0]]).item(), 4)
    4.3333
    """

    decides = "argmax"
    convex = False
    proper = False
    linear_in_costs = True

    def term(self, cell: Cells) -> Tensor:
        """Cost times probability."""
        return cell.cost * cell.p


def off_the_truth(rows: Tensor, is_truth: Tensor) -> Tensor:
    """The row with the cost of the truth itself left out."""
    return rows.masked_fill(is_truth, 0.0)


def _mistakes(loss: Loss, costs: CostMatrix) -> CostMatrix:
    """The costs of wrong decisions, refused when one is negative; 0 for the right decision."""
    if isinstance(costs, Dense) and not costs.tables["table"].diagonal().any():
        return non_negative(loss, costs)  # as it is: a large table need not be there twice
    mistakes = costs.map_rows(off_the_truth)
    # the matrix knows its own minimum, a mapped one has to look at every entry
    return mistakes if costs.minimum >= 0 else non_negative(loss, mistakes)


@dataclass(frozen=True)
class Unlikelihood(StreamedLoss):
    """Cost-weighted unlikelihood of the wrong classes: −Σ_{j≠y} d_j log(1 − p_j).

    Also known as OLL, CDW-CE, the false-positive part of RWWCE. Consistent: decide by argmax. Its
    gradient does not fade when the model is confidently wrong (it tends to d_j). Convex in p, not
    in the logits for C ≥ 3; proper only for D = 1 − I. Costs must be ≥ 0; a cost on the
    diagonal has no part in it. Not invariant to adding a constant to a row of D.

    Source: Castagnos et al. (2022), A simple log-based loss function for ordinal text
    classification, equation 3; Polat et al. (2022), Class distance weighted cross-entropy loss.

    >>> z, y = torch.tensor([[0.0, 20.0]]), torch.tensor([0])
    >>> round(lm.Unlikelihood()(z, y, [[0, 5], [1, 0]]).item(), 4)
    100.0
    """

    decides = "argmax"
    convex = False
    proper = False
    linear_in_costs = True

    def term(self, cell: Cells) -> Tensor:
        """−d log(1 − p); ``bind`` has taken the truth's own cost out of the row."""
        return -weigh(cell.cost, cell.log_q)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Only costs of wrong decisions count, and they must not be negative."""
        return (Term(1.0, self, _mistakes(self, _square(self, costs))),)


# --- costs as margins: log Σ_j exp(z_j + Δ_j) − z_y, convex --------------------------------------


@dataclass(frozen=True)
class SoftmaxMargin(StreamedLoss):
    """Cross-entropy with costs as margins: log Σ_j exp(z_j + d_j) − z_y.

    With ``log=True`` the margin is log d_j off the truth and 0 at it: log(1 + Σ_{j≠y} d_j
    exp(z_j − z_y)), a softmax weighted per pair (CoSen, generalised logistic loss); there costs
    must be ≥ 0, and a zero cost takes the class out of the row. Convex. Not consistent for general
    D, neither by argmax nor by the Bayes step: ``decides`` is None. Not homogeneous: costs are in
    units of logits.

    Source: Gimpel & Smith (2010), Softmax-margin CRFs, equation 5; Beijbom et al. (2014),
    Guess-averse loss functions, equation 10 (log).

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.SoftmaxMargin()(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    1.0986
    """

    log: bool = False

    decides = None
    convex = True
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def margin(self, cost: Tensor, target: Tensor) -> Tensor:
        """The cost itself, or its logarithm with log 1 at the truth."""
        return (cost * (1.0 - target) + target).log() if self.log else cost

    def term(self, cell: Cells) -> Tensor:
        """log Σ exp(z + Δ) − z_y = Δ_y − log p_y, p being the softmax with margins."""
        if self.log:
            return -weigh(cell.target, cell.log_p)
        return weigh(cell.target, cell.cost - cell.log_p)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Logarithms need costs ≥ 0."""
        (term,) = super().bind(costs)
        if self.log and term.costs is not None:
            _mistakes(self, term.costs)
        return (term,)


# --- cost times cross-entropy --------------------------------------------------------------------


@dataclass(frozen=True)
class CostFocal(StreamedLoss):
    """Cross-entropy weighted by its own expected cost: (Σ_j d_j p_j / max D)^gamma · (−log p_y).

    D = 1 − I gives the focal loss. With ``detach`` the weight is held constant in the gradient.
    Not convex, and neither argmax nor the Bayes step is its decision: ``decides`` is None. Costs
    must be ≥ 0. Multiplying D by a constant changes nothing.

    Source: Lin et al. (2017), Focal loss for dense object detection, equation 4 (D = 1 − I).

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.CostFocal(gamma=2.0)(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.0184
    """

    gamma: float = 2.0
    detach: bool = False

    decides = None
    convex = False
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma must be a finite number ≥ 0, but is {self.gamma}.")

    def term(self, cell: Cells) -> tuple[Tensor, Tensor]:
        """Expected cost and cross-entropy."""
        return cell.cost * cell.p, -weigh(cell.target, cell.log_p)

    def loss(self, *totals: Tensor) -> Tensor:
        """Expected cost to the power gamma, times cross-entropy."""
        expected, cross_entropy = totals
        weight = power(expected, self.gamma)
        return (weight.detach() if self.detach else weight) * cross_entropy

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Costs are divided by the largest; an all-zero matrix stays as it is."""
        costs = non_negative(self, _square(self, costs))
        largest = costs.maximum
        return (Term(1.0, self, costs.scaled(1.0 / largest) if largest > 0 else costs),)


# --- proper scores whose geometry is D: decided by the Bayes step --------------------------------


@dataclass(frozen=True)
class EnergyScore(RowLoss):
    """The energy score of a metric of costs: Σ_j d_j p_j − ½ Σ_jk p_j D_jk p_k.

    D = 1 − I gives half the Brier score, D = |i − j| the ranked probability score (CRPS, ordered
    EMD²). Proper when D is symmetric and conditionally negative definite (|i − j|^a with
    0 < a ≤ 2, trees, Euclidean distances and their squares); any other matrix is refused with a
    ``ValueError``. Decide by the Bayes step. Not convex in the logits.

    Source: Gneiting & Raftery (2007), Strictly proper scoring rules, section 5.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.EnergyScore()(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.1202
    """

    decides = "bayes"
    convex = False
    proper = True
    linear_in_costs = True

    def row(self, rows: Rows) -> Tensor:
        """Computed from the error e = p − t, which does not cancel when p is near the truth.

        For symmetric D and Σt = S:  tᵀDp − ½ S pᵀDp = (tᵀDt − eᵀDe) / 2S  with e = S p − t.
        """
        at_truth = (rows.cost * rows.target).sum(-1)
        spread = (rows.expected(rows.error) * rows.error).sum(-1)
        mass = rows.mass.squeeze(-1)
        empty = mass == 0
        score = (at_truth - spread) / (2.0 * torch.where(empty, 1.0, mass))
        return torch.where(empty, (rows.cost * rows.p).sum(-1), score)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Refuse matrices for which the score is not proper."""
        costs = _square(self, costs)
        if not (costs.is_symmetric and costs.is_conditionally_negative_definite):
            lack = "conditionally negative definite" if costs.is_symmetric else "symmetric"
            raise ValueError(
                f"{self!r} is proper for symmetric, conditionally negative definite costs only, "
                f"but {costs!r} is not {lack}: use DecisionScore(), which is proper for every D."
            )
        return (Term(1.0, self, costs),)


@dataclass(frozen=True)
class DecisionScore(RowLoss):
    """The smoothed cost of the Bayes decision: −τ log Σ_k exp(−c_k/τ) + Σ_k a_k (d_k − c_k).

    Here c = Dᵀp is the conditional risk of each decision and a = softmax(−c/τ) the smoothed Bayes
    decision. It is the Savage score of the convex function τ log Σ exp(−Dᵀp/τ), so it is proper
    for every D: asymmetric, negative, or with more decisions than classes (all columns are used).
    τ → 0 gives the cost of the Bayes decision itself. ``tau`` is in units of the matrix's mean
    positive regret. Its gradient lives near decision boundaries only and it is not convex: train
    with ``CrossEntropy() + DecisionScore()``, and decide by the Bayes step.

    Source: derived for this library from Savage (1971), Elicitation of personal probabilities;
    Grünwald & Dawid (2004), section 3.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.DecisionScore(tau=0.3)(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    0.0676
    """

    tau: float = 0.3

    decides = "bayes"
    convex = False
    proper = True
    linear_in_costs = False

    def __post_init__(self) -> None:
        _positive(self, "tau", self.tau)

    def row(self, rows: Rows) -> Tensor:
        """Computed with d − c = −Dᵀe, e = p − t, which does not cancel when p is near the truth."""
        risk = rows.expected(rows.p)
        decision = (-risk / self.tau).softmax(-1)
        surprise = (decision * rows.expected(rows.error)).sum(-1)
        smoothed = -self.tau * (-risk / self.tau).logsumexp(-1)
        return rows.mass.squeeze(-1) * smoothed - surprise

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """All columns are used; tau is turned into the unit of D."""
        costs = finite(self, _given(self, costs))
        return (Term(1.0, replace(self, tau=self.tau * costs.unit), costs),)


# --- further losses ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConstrainedLogistic(RowLoss):
    """Logistic penalties on centred logits: Σ_j d_j log(1 + exp(z_j − z̄)), z̄ = mean of z.

    Convex, and consistent for every D ≥ 0: decide by argmax. Slow for many classes, because the
    C − 1 wrong logits must all fall below the mean. A masked class (logit −∞) has no part in the
    mean. Costs must be ≥ 0.

    Source: Lee, Lin & Wahba (2004), Multicategory support vector machines, section 2; Pires,
    Ghavamzadeh & Szepesvári (2013), Cost-sensitive multiclass classification risk bounds.

    >>> z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0])
    >>> round(lm.ConstrainedLogistic()(z, y, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]).item(), 4)
    1.3197
    """

    decides = "argmax"
    convex = True
    proper = False
    linear_in_costs = True

    def row(self, rows: Rows) -> Tensor:
        """Penalties of the logits centred on the mean of the classes that are not masked."""
        masked = rows.x == -torch.inf
        total = rows.x.masked_fill(masked, 0.0).sum(-1, keepdim=True)
        centred = rows.x - total / (~masked).sum(-1, keepdim=True)
        return (rows.cost * -torch.nn.functional.logsigmoid(-centred)).sum(-1)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """Costs must be ≥ 0."""
        return (Term(1.0, self, non_negative(self, _square(self, costs))),)


@dataclass(frozen=True)
class EntropicRisk(RowLoss):
    """The entropic risk of a random decision: (1/λ) log Σ_j p_j exp(λ d_j).

    λ → 0 is ``ExpectedCost``, λ → ∞ the largest cost with any probability: λ > 0 fears large
    costs. ``lam`` is in units of 1 / mean positive regret. For λ > 0 it is concave in p, so its
    minimiser is the least-cost class: decide by argmax. Not convex in the logits. Adding c to a
    row of D adds c.

    Source: Gimpel & Smith (2010), Softmax-margin CRFs, section 4 (Jensen risk bound).

    >>> z, y = torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    >>> round(lm.EntropicRisk(lam=1.0)(z, y, [[0, 1], [1, 0]]).item(), 4)
    0.6201
    """

    lam: float = 1.0

    convex = False
    proper = False
    linear_in_costs = False
    linear_in_truth = False

    def __post_init__(self) -> None:
        if self.lam == 0 or not abs(self.lam) < float("inf"):
            raise ValueError(
                f"lam must be a finite number other than 0, but is {self.lam}: "
                "its limit at 0 is ExpectedCost()."
            )

    @property
    def decides(self) -> Rule | None:  # type: ignore[override]
        """ "argmax" where the risk is concave in p (lam > 0)."""
        return "argmax" if self.lam > 0 else None

    def row(self, rows: Rows) -> Tensor:
        """The row's least cost is taken out, so that the exponents have one sign."""
        least = rows.cost.amin(-1, keepdim=True)
        exponents = self.lam * (rows.cost - least)
        return least.squeeze(-1) + _log_mean_exp(rows, exponents) / self.lam

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """``lam`` is turned into the unit of D."""
        costs = _square(self, costs)
        return (Term(1.0, replace(self, lam=self.lam / costs.unit), costs),)


def _log_mean_exp(rows: Rows, exponents: Tensor) -> Tensor:
    """log Σ_j p_j exp(a_j) for exponents a of one sign in each row.

    log1p(Σ_j p_j expm1(a_j)) has no cancellation, because its terms share one sign; it serves
    unless the sum overflows or comes near −1, where the value is far from 0 and the plain
    log Σ exp(log p_j + a_j) is exact.
    """
    moderate = exponents.amax(-1, keepdim=True) < 80.0  # exp(80) is finite in float32
    excess = (rows.p * exponents.where(moderate, 0.0).expm1()).sum(-1)
    direct = moderate.squeeze(-1) & (excess > -0.5)
    return torch.where(
        direct,
        torch.where(direct, excess, 0.0).log1p(),
        (rows.log_p + exponents).logsumexp(-1),
    )


@dataclass(frozen=True)
class SimilarityLikelihood(Loss):
    """Likelihood of the classes similar to the truth: −log Σ_j exp(−d_j / τ) p_j.

    ``tau`` is in units of the matrix's mean positive regret; τ → 0 with zero diagonal is
    cross-entropy. Convex in p, not in the logits. Its minimiser p solves K p = η with
    K = exp(−D/τ) where that is possible, so neither argmax p nor the Bayes step on p is the
    decision: ``decides`` is None (apply the Bayes step to K p).

    Source: Patrini et al. (2017), Making deep neural networks robust to label noise, equation 4
    (forward correction, K the noise matrix).

    >>> z, y = torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    >>> round(lm.SimilarityLikelihood(tau=1.0)(z, y, [[0, 1], [1, 0]]).item(), 4)
    0.3799
    """

    tau: float = 1.0

    decides = None
    convex = False
    proper = False
    linear_in_costs = False

    def __post_init__(self) -> None:
        _positive(self, "tau", self.tau)

    def bind(self, costs: CostMatrix | None) -> tuple[Term, ...]:
        """−log Σ K p is the entropic risk at λ = −1/τ, divided by τ."""
        costs = _square(self, costs)
        tau = self.tau * costs.unit
        return (Term(1.0 / tau, EntropicRisk(-1.0 / tau), costs),)


# --- what several losses ask of their matrix -----------------------------------------------------


def _given(loss: Loss, costs: CostMatrix | None) -> CostMatrix:
    """The matrix, which every loss but cross-entropy needs."""
    matrix = loss.matrix(costs)
    if matrix is None:  # ``matrix`` has raised where costs are needed
        raise TypeError(f"{loss!r} needs costs.")
    return matrix


def _square(loss: Loss, costs: CostMatrix | None) -> CostMatrix:
    """The finite costs of deciding for a class."""
    return finite(loss, _given(loss, costs).square())


def _positive(loss: Loss, name: Literal["tau", "temperature"], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(
            f"{name} must be a finite number > 0, but is {value} in {type(loss).__name__}."
        )
