# SPDX-License-Identifier: BSD-3-Clause
"""What is compared: losses, their decision rules, and the configurations they are tuned over."""

from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

from lossmatrix import losses
from lossmatrix.costs import CostMatrix
from lossmatrix.losses import Loss

Rule: TypeAlias = Literal["argmax", "Bayes", "temperature + Bayes"]
RULES: tuple[Rule, ...] = ("argmax", "Bayes", "temperature + Bayes")
CONTROL: Rule = "temperature + Bayes"

WEIGHTS = (0.3, 3.0, 10.0)  # λ of cross-entropy + λ · loss, which is 1 where nothing is tuned
SOFTNESS = (0.1, 0.3, 1.0)  # τ and temperature; costs are in units of their mean positive regret
# What the ridge of the linear model, or the learning rate of any other, is multiplied by.
STEPS = (1.0, 0.3, 3.0, 0.1, 10.0, 0.03, 30.0, 0.01, 100.0, 0.003, 300.0, 0.001)


@dataclass(frozen=True)
class Configuration:
    """One candidate of the tuning: a loss with its parameter, and a factor (see `STEPS`)."""

    loss: Loss
    step: float = 1.0


@dataclass(frozen=True)
class Method:
    """A loss under the name shown, the rules its outputs are decided by, and what is tuned.

    The Bayes step needs probabilities, so it is shown for losses that decide by it alone; applied
    to any other loss it would count the costs twice, and argmax is shown. `others` are the loss
    with other parameters, which tuning may choose.
    """

    name: str
    loss: Loss
    others: tuple[Loss, ...] = ()

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

    def configurations(self, count: int) -> list[Configuration]:
        """The first `count` candidates, as many for every method; the first is the untuned one.

        Parameters of the loss come before steps, so a loss that has none tries more steps.
        """
        grid = product(STEPS, (self.loss, *self.others))
        return [Configuration(loss, step) for _, (step, loss) in zip(range(count), grid)]  # noqa: B905


def default_methods(costs: CostMatrix) -> list[Method]:
    """The losses compared where nobody names others; the first is the control.

    The energy score takes part where it is proper: for symmetric, conditionally negative definite
    costs.
    """
    methods = [
        Method("CrossEntropy", losses.CrossEntropy()),
        with_cross_entropy(losses.DecisionScore(), *map(losses.DecisionScore, SOFTNESS)),
        with_cross_entropy(losses.ExpectedCost()),
        with_cross_entropy(losses.Unlikelihood()),
        Method("CostSensitiveCrossEntropy", losses.CostSensitiveCrossEntropy()),
        tuned(losses.SoftTargetCrossEntropy(), *map(losses.SoftTargetCrossEntropy, SOFTNESS)),
    ]
    square = costs.square()
    if square.is_symmetric and square.is_conditionally_negative_definite:
        methods.insert(2, with_cross_entropy(losses.EnergyScore()))
    return methods


def with_cross_entropy(loss: Loss, *others: Loss) -> Method:
    """Cross-entropy + λ · loss: λ is tuned before the parameter of the loss."""
    sums = [
        losses.CrossEntropy() + weight * each
        for each in dict.fromkeys((loss, *others))
        for weight in (1.0, *WEIGHTS)
    ]
    return Method(f"CrossEntropy + {type(loss).__name__}", sums[0], tuple(sums[1:]))


def tuned(loss: Loss, *others: Loss) -> Method:
    """A loss by the name of its class, and the same with other parameters."""
    rest = dict.fromkeys((loss, *others))
    return Method(type(loss).__name__, loss, tuple(rest)[1:])
