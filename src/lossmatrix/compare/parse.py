# SPDX-License-Identifier: BSD-3-Clause
"""Losses as a person types them: `CrossEntropy + 0.5 * DecisionScore(tau=0.1)`."""

import ast

from lossmatrix import losses
from lossmatrix.compare.methods import REFINED, Method
from lossmatrix.compare.task import UserInputError
from lossmatrix.losses import Loss, Sum

KNOWN: dict[str, type[Loss]] = {
    name: each
    for name, each in vars(losses).items()
    if isinstance(each, type) and issubclass(each, Loss) and each not in (Loss, Sum)
}


def parse_loss(text: str) -> Loss:
    """The loss that a text names: names, parameters, factors and sums.

    Raises `UserInputError` for anything else.

    >>> parse_loss("CrossEntropy + 0.5 * DecisionScore(tau=0.1)")
    CrossEntropy() + 0.5 * DecisionScore(tau=0.1)
    """
    try:
        return build(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, KeyError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise UserInputError(
            f"{text!r} is no loss: {reason}; write names and sums such as 'CrossEntropy + 0.5 * "
            f"DecisionScore(tau=0.1)', of {', '.join(KNOWN)}."
        ) from error


def parse_method(text: str) -> Loss | Method:
    """The loss that a text names, or the refinement, as the table calls it.

    >>> parse_method("CrossEntropy->DecisionScore").name
    'CrossEntropy -> DecisionScore'
    """
    squeezed = "".join(text.split())
    return REFINED if squeezed == "".join(REFINED.name.split()) else parse_loss(text)


def build(node: ast.expr) -> Loss:
    """The loss of one node of a parsed text."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return build(left) + build(right)
        case ast.BinOp(left, ast.Mult(), right):
            return float(ast.literal_eval(left)) * build(right)
        case ast.Call(ast.Name(name), arguments, keywords):
            named = {each.arg or "": ast.literal_eval(each.value) for each in keywords}
            return KNOWN[name](*map(ast.literal_eval, arguments), **named)
        case ast.Name(name):
            return KNOWN[name]()
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is neither a name nor a sum")
