# SPDX-License-Identifier: BSD-3-Clause
"""What is compared: losses, each with the decision rules that its outputs allow."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lossmatrix import losses
from lossmatrix.costs import CostMatrix
from lossmatrix.formula import Loss

Rule: TypeAlias = Literal["argmax", "Bayes", "temperature + Bayes"]
RULES: tuple[Rule, ...] = ("argmax", "Bayes", "temperature + Bayes")
CONTROL: Rule = "temperature + Bayes"


@dataclass(frozen=True)
class Method:
    """A loss under the name shown, and the rules its outputs are decided by.

    The Bayes step needs probabilities, so it is shown for losses that decide by it alone; applied
    to any other loss it would count the costs twice, and argmax is shown.
    """

    name: str
    loss: Loss

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules for cross-entropy, which is the control; else those the loss is made for."""
        if isinstance(self.loss, losses.CrossEntropy):
            return RULES
        return RULES[1:] if self.gives_probs else RULES[:1]

    @property
    def gives_probs(self) -> bool:
        """Whether the softmax of its outputs estimates the probabilities of the classes."""
        return self.loss.decides == "bayes"


def default_methods(costs: CostMatrix) -> list[Method]:
    """The losses compared where nobody names others; the first is the control.

    The energy score takes part where it is proper: for symmetric, conditionally negative definite
    costs.
    """
    log_score = losses.CrossEntropy()
    methods = [
        Method("CrossEntropy", log_score),
        Method("CrossEntropy + DecisionScore", log_score + losses.DecisionScore()),
        Method("CrossEntropy + ExpectedCost", log_score + losses.ExpectedCost()),
        Method("CrossEntropy + Unlikelihood", log_score + losses.Unlikelihood()),
        Method("CostSensitiveCrossEntropy", losses.CostSensitiveCrossEntropy()),
        Method("SoftTargetCrossEntropy", losses.SoftTargetCrossEntropy()),
    ]
    square = costs.square()
    if square.is_symmetric and square.is_conditionally_negative_definite:
        methods.insert(2, Method("CrossEntropy + EnergyScore", log_score + losses.EnergyScore()))
    return methods
