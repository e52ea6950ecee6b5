# SPDX-License-Identifier: BSD-3-Clause
"""What is compared: methods of training, calibration and decision, and how they are tuned."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from lossmatrix import losses
from lossmatrix.costs import CostMatrix
from lossmatrix.losses import Loss

Rule: TypeAlias = Literal[
    "argmax", "Bayes", "temperature + Bayes", "matrix + Bayes", "decision scaling + Bayes"
]
RULES: tuple[Rule, ...] = ("argmax", "Bayes", "temperature + Bayes", "matrix + Bayes")
CONTROL: Rule = "temperature + Bayes"
MATRIX: Rule = "matrix + Bayes"
SCALING: Rule = "decision scaling + Bayes"  # which falls back to the control
MATRIX_CLASSES = 100  # a matrix of more classes has more parameters than most data have rows

# λ of cross-entropy + λ · loss, and with it τ where the loss has one. A linear model wants the
# large and sharp ones, a network the small and soft ones. Costs are in units of their mean regret.
WEIGHTS = (1.0, 10.0, 3.0, 0.3, 30.0)
SHARPENED = ((1.0, 0.3), (10.0, 0.1), (3.0, 0.3), (100.0, 0.1), (30.0, 0.1))
SOFTNESS = (0.3, 0.1, 1.0)  # τ or temperature of a loss that stands alone
# What the ridge of the linear model, the learning rate of a network or the number of leaves of
# boosted trees is multiplied by.
STEPS = (1.0, 0.3, 3.0, 0.1, 10.0, 0.03, 30.0, 0.01, 100.0, 0.003, 300.0, 0.001)


@dataclass(frozen=True)
class Configuration:
    """One candidate of the tuning: a loss with its parameter, and a factor (see `STEPS`).

    The epochs are `longer` times as many where it is asked whether more of them help.
    """

    loss: Loss
    step: float = 1.0
    longer: int = 1


@dataclass(frozen=True)
class Method:
    """A loss under the name shown, the rules its outputs are decided by, and what is tuned.

    `others` are the loss with other parameters, which tuning may choose. One that `refines` is no
    training of its own: it moves on the model that tuning has chosen for the control. Outputs of
    one that `scales` are also decided after `DecisionScaling`, where the task allows it.
    """

    name: str
    loss: Loss
    others: tuple[Loss, ...] = ()
    refines: bool = False
    scales: bool = False

    def rules(self, num_classes: int) -> tuple[Rule, ...]:
        """All rules for cross-entropy, which is the control; else the one the loss is made for."""
        if self.rule != CONTROL:
            return (self.rule,)
        return RULES if num_classes <= MATRIX_CLASSES else RULES[:-1]

    @property
    def rule(self) -> Rule:
        """The rule that the method is used with, by which its configurations are chosen.

        The Bayes step needs probabilities: applied to a loss that has made decisions of its
        logits, it would count the costs twice. A calibration is fitted to the likelihood, and
        undoes what a loss with costs has learned where decisions turn: its probabilities are
        decided as they are.
        """
        if not self.gives_probs:
            return "argmax"
        return CONTROL if self.loss.reads is None else "Bayes"

    @property
    def gives_probs(self) -> bool:
        """Whether the softmax of its outputs estimates the probabilities of the classes."""
        return self.loss.decides == "bayes"

    def configurations(self, count: int) -> list[Configuration]:
        """The first `count` candidates, up to as many as `STEPS`; the first is the untuned one.

        Every method tries the same steps, so none has its ridge or learning rate tuned harder
        than another. What parameters its loss has of its own are tried in turn beside them.
        """
        own = (self.loss, *self.others)
        steps = enumerate(STEPS[:count])
        return [Configuration(own[number % len(own)], step) for number, step in steps]


REFINED = Method(
    "CrossEntropy -> DecisionScore", losses.CrossEntropy() + losses.DecisionScore(), refines=True
)


def default_methods(costs: CostMatrix, network: object = None) -> list[Method]:
    """What is compared where nobody names losses; the first is the control.

    The energy score takes part where it is proper: for symmetric, conditionally negative definite
    costs; refinement where the network of the task can be refined, see `why_not_refined`.
    """
    square, control = costs.square(), losses.CrossEntropy()
    proper = square.is_symmetric and square.is_conditionally_negative_definite
    methods = named_methods(
        [
            control + losses.DecisionScore(),
            *([control + losses.EnergyScore()] if proper else []),
            control + losses.ExpectedCost(),
            control + losses.Unlikelihood(),
            losses.CostSensitiveCrossEntropy(),
            losses.SoftTargetCrossEntropy(),
        ]
    )
    if why_not_refined(costs, network) is None:
        methods.append(REFINED)
    return methods


def why_not_refined(costs: CostMatrix, network: object) -> str | None:
    """Why the models of a task are not moved on from the control; None where they are."""
    if network not in ("linear", "mlp"):
        return "only the linear model and the mlp are refined"
    if costs.num_samples is not None:
        return "costs that differ from row to row cannot be held out with their rows"
    return None


def named_methods(chosen: Sequence[Loss | Method]) -> list[Method]:
    """The control, and a method for each of some losses: one name is one method."""
    each = (losses.CrossEntropy(), *chosen)
    methods = [loss if isinstance(loss, Method) else tuned(loss) for loss in each]
    return [*{method.name: method for method in methods}.values()]


def tuned(loss: Loss) -> Method:
    """The method of a loss: parameters that are stated stay, what has none stated is tuned.

    Those are τ or temperature, and λ of cross-entropy + λ · loss where λ is 1.

    >>> tuned(losses.CrossEntropy() + losses.DecisionScore()).others[0]
    CrossEntropy() + 10 * DecisionScore(tau=0.1)
    >>> tuned(losses.CrossEntropy() + 100 * losses.DecisionScore(tau=0.03)).others
    ()
    """
    others: tuple[Loss, ...] = ()
    parts = loss.parts if isinstance(loss, losses.Sum) else ((1.0, loss),)
    if all(weight == 1 and is_default(part) for weight, part in parts):
        others = tuple(each for each in variants(loss) if each != loss)
    name = " + ".join(name_of(*part) for part in parts)
    return Method(name, loss, others, scales=loss == losses.CrossEntropy())


def variants(loss: Loss) -> tuple[Loss, ...]:
    """The loss with other parameters of its own, the best bets first."""
    match loss:
        case losses.Sum(
            ((_, losses.CrossEntropy() as control), (_, part))
            | ((_, part), (_, losses.CrossEntropy() as control))
        ):
            if hasattr(part, "tau"):
                return tuple(control + λ * softened(part, tau) for λ, tau in SHARPENED)
            return tuple(control + λ * part for λ in WEIGHTS)
        case losses.Sum():
            return ()
        case _ if hasattr(loss, "tau") or hasattr(loss, "temperature"):
            return tuple(softened(loss, softness) for softness in SOFTNESS)
        case _:
            return ()


def softened(loss: Any, softness: float) -> Loss:
    """The loss with another τ, or temperature."""
    return replace(loss, **{"tau" if hasattr(loss, "tau") else "temperature": softness})


def is_default(loss: Any) -> bool:
    """Whether no parameter of the loss is stated."""
    return all(getattr(loss, field.name) == field.default for field in fields(loss))


def name_of(weight: float, loss: Loss) -> str:
    """A summand as a person types it: defaults are left out."""
    name = type(loss).__name__ if is_default(loss) else repr(loss)
    return name if weight == 1 else f"{weight:g} * {name}"
