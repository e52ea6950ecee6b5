# SPDX-License-Identifier: BSD-3-Clause
"""``check_loss``: the laws that every loss must obey, run on a loss of your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from lossmatrix.codegen.dual import partials, terms_with_slopes
from lossmatrix.costs import CostMatrix, Dense
from lossmatrix.engines.reference import Softmax, cells_of
from lossmatrix.losses import Cells, CostsLike, Loss
from lossmatrix.losses.base import as_tuple

GAPS = (0.0, 5.0, 10.0, 15.0, 17.0, 20.0, 60.0, 200.0, 1e4)


@dataclass(frozen=True)
class Law:
    """One law: its name as a sentence, and a function that finds how a loss breaks it."""

    name: str
    check: Callable[[Loss, Dense], str | None]


def check_loss(loss: Loss, costs: CostsLike | None = None) -> tuple[str, ...]:
    """Run the laws of losses on ``loss`` and return the names of those that hold.

    What a loss states as ``decides`` and ``proper`` is about its minimiser and is not among them:
    minimise its mean over random truths and compare with the least-cost decision.

    Args:
        loss: the loss to be checked.
        costs: a square matrix that the loss accepts; by default an asymmetric 4 × 4 one, and a
            symmetric one where the loss refuses that.

    Raises:
        AssertionError: naming each law that is broken, and how.

    >>> check_loss(lm.ExpectedCost())[0]
    'a shift of all logits changes nothing'
    """
    table = _table(loss, costs)
    failures = [(law.name, law.check(loss, table)) for law in LAWS]
    broken = [f"{name}: {how}" for name, how in failures if how is not None]
    if broken:
        raise AssertionError(f"{loss!r} breaks {len(broken)} laws:\n  " + "\n  ".join(broken))
    return tuple(law.name for law in LAWS)


ASYMMETRIC = (
    (0.0, 1.0, 2.5, 4.0),
    (3.0, 0.0, 0.5, 7.0),
    (1.5, 6.0, 0.0, 2.0),
    (8.0, 5.0, 3.5, 0.0),
)
SYMMETRIC = ((0.0, 1.0, 2.0, 4.0), (1.0, 0.0, 1.5, 3.0), (2.0, 1.5, 0.0, 2.5), (4.0, 3.0, 2.5, 0.0))


def _table(loss: Loss, costs: CostsLike | None) -> Dense:
    if costs is not None:
        matrix = costs.to_dense() if isinstance(costs, CostMatrix) else costs
        return Dense(matrix)
    for candidate in (ASYMMETRIC, SYMMETRIC):
        try:
            loss.bind(Dense(candidate))
        except ValueError:
            continue
        return Dense(candidate)
    raise ValueError(f"{loss!r} refuses the matrices of check_loss: pass costs it accepts.")


def _value(loss: Loss, logits: Tensor, target: Tensor, table: Tensor) -> Tensor:
    """Loss per row, by the reference engine."""
    costs = None if loss.reads is None else table
    return loss(logits, target, costs, reduction="none", engine="reference")


def _examples(table: Tensor) -> tuple[Tensor, Tensor]:
    """Float64 logits (n, C) and targets (n,) of unequal kinds, n ≠ C."""
    generator = torch.Generator().manual_seed(2022)
    num_classes = len(table)
    logits = 3.0 * torch.randn(3 * num_classes - 1, num_classes, generator=generator).double()
    target = torch.arange(len(logits)) % num_classes
    return logits, target


def _largest(difference: Tensor, scale: Tensor) -> float:
    return (difference.abs() / (1.0 + scale.abs())).max().item()


def _shift(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    logits, target = _examples(table)
    before = _value(loss, logits, target, table)
    error = max(
        _largest(_value(loss, logits + shift, target, table) - before, before)
        for shift in (-1e3, 30.0, 1e3)
    )
    return None if error < 1e-10 else f"the value moved by {error:.1e}"


def _relabelling(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    logits, target = _examples(table)
    order = torch.arange(len(table)).roll(1)
    place = order.argsort()
    before = _value(loss, logits, target, table)
    after = _value(loss, logits[:, order], place[target], table[order][:, order])
    error = _largest(after - before, before)
    return None if error < 1e-10 else f"the value moved by {error:.1e}"


def _one_hot(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    logits, target = _examples(table)
    hard = _value(loss, logits, target, table)
    one_hot = torch.eye(len(table), dtype=torch.float64)[target]
    error = _largest(_value(loss, logits, one_hot, table) - hard, hard)
    return None if error < 1e-10 else f"the values differ by {error:.1e}"


def _mixture(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    logits, _ = _examples(table)
    generator = torch.Generator().manual_seed(7)
    soft = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    each = [_value(loss, logits, torch.full((len(logits),), i), table) for i in range(len(table))]
    expected = (soft * torch.stack(each, -1)).sum(-1)
    error = _largest(_value(loss, logits, soft, table) - expected, expected)
    return None if error < 1e-10 else f"the value is off by {error:.1e}"


def _autograd(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    logits, target = _examples(table)

    def value(z: Tensor) -> Tensor:
        return _value(loss, z, target, table)

    if getattr(loss, "detach", False):
        return None  # by intention its gradient is not that of its value
    inputs = (logits.requires_grad_(),)
    try:
        torch.autograd.gradcheck(value, inputs)
        torch.autograd.gradgradcheck(value, inputs)
    except GradcheckError as error:
        return str(error).strip().splitlines()[0]
    return None


def _closed_form(loss: Loss, costs: Dense) -> str | None:
    logits, target = _examples(costs.to_dense())
    one_hot = torch.eye(logits.shape[-1], dtype=logits.dtype)[target]
    for term in loss.bind(None if loss.reads is None else costs):
        matrix = None if term.costs is None else Dense(term.costs.to_dense())
        if _over_decisions(term.loss) or _reads_excess(term.loss, matrix):
            continue  # the closed form is that of sums over the classes
        for scale in (1.0, 30.0):
            z = (scale * logits).detach().requires_grad_()
            cost = torch.zeros_like(z) if matrix is None else matrix.row(target)
            cell = cells_of(term.loss, Softmax(z), one_hot, cost, matrix)
            expected = _plain_gradient(term.loss, cell, z)
            error = _largest(gradient(term.loss, cell) - expected, expected)
            if not error < 1e-9:
                return f"they differ by {error:.1e}"
    return None


def _over_decisions(loss: Loss) -> bool:
    return type(loss).logits is not Loss.logits


def _reads_excess(loss: Loss, costs: Dense | None) -> bool:
    return (
        "excess" in type(loss).term.__code__.co_names or "risk" in type(loss).term.__code__.co_names
    )


def _plain_gradient(loss: Loss, cell: Cells, logits: Tensor) -> Tensor:
    value = loss.loss(*(total.sum(-1) for total in as_tuple(loss.term(cell))))
    return torch.autograd.grad(value.sum(), logits, retain_graph=True)[0]


def gradient(loss: Loss, cell: Cells) -> Tensor:
    """∂loss/∂logits of every row, (N, C), in closed form.

    Args:
        loss: a loss that is a sum over classes.
        cell: its rows, fields (N, C).
    """
    terms = terms_with_slopes(loss, cell)
    weights = partials(loss, tuple(term.value.sum(-1) for term in terms))
    h = sum(
        (weight.unsqueeze(-1) * term.slope for weight, term in zip(weights, terms, strict=True)),
        start=torch.zeros_like(cell.p),
    )
    top = torch.zeros_like(cell.p).scatter(-1, cell.p.argmax(-1, keepdim=True), 1.0).bool()
    rest = torch.where(top, 0.0, h / torch.where(top, 1.0, cell.q))  # h_j / q_j off the top
    total = rest.sum(-1, keepdim=True)
    h_top = torch.where(top, h, 0.0).sum(-1, keepdim=True)
    among_others = cell.log_p.masked_fill(top, -torch.inf).softmax(-1).nan_to_num(0.0)  # C = 1
    return torch.where(top, h - cell.p * total, rest - cell.p * total - h_top * among_others)


def _gaps(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for gap in GAPS:
            for top in range(len(table)):
                logits = torch.zeros(len(table), len(table), dtype=dtype)
                logits[:, top] = gap
                logits.requires_grad_()
                target = torch.arange(len(table))
                value = _value(loss, logits, target, table)
                (slope,) = torch.autograd.grad(value.float().sum(), logits)
                if not (value.isfinite().all() and slope.isfinite().all()):
                    largest = torch.finfo(dtype).max
                    exact = _value(loss, logits.detach().double(), target, table)
                    if exact.abs().max() < largest:
                        return f"not finite at gap {gap:g} in {dtype}"
    return None


def _ignored(loss: Loss, costs: Dense) -> str | None:
    table = costs.to_dense()
    logits, target = _examples(table)
    logits = torch.cat([logits, torch.full((1, len(table)), torch.nan)]).requires_grad_()
    target = torch.cat([target, torch.tensor([-100])])
    value = _value(loss, logits, target, table)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    if value[-1] != 0 or (slope[-1] != 0).any():
        return f"an ignored row has loss {value[-1].item():g} or a gradient"
    return None if value.isfinite().all() else "an ignored row spoils the others"


def _linearity(loss: Loss, costs: Dense) -> str | None:
    if not loss.linear_in_costs:
        return None
    table = costs.to_dense()
    logits, target = _examples(table)
    one, three = (_value(loss, logits, target, factor * table) for factor in (1.0, 3.0))
    error = _largest(three - 3.0 * one, one)
    return None if error < 1e-10 else f"three times the costs is off by {error:.1e}"


def _convexity(loss: Loss, costs: Dense) -> str | None:
    if not loss.convex:
        return None
    table = costs.to_dense()
    logits, target = _examples(table)
    other = logits.roll(1, 0) * 1.7
    ends = (_value(loss, logits, target, table) + _value(loss, other, target, table)) / 2
    middle = _value(loss, (logits + other) / 2, target, table)
    excess = (middle - ends).max().item()
    return None if excess < 1e-9 else f"a chord lies {excess:.1e} below the value"


LAWS = (
    Law("a shift of all logits changes nothing", _shift),
    Law("relabelling the classes changes nothing", _relabelling),
    Law("a one-hot target is a class index", _one_hot),
    Law("a soft target is the mean over its classes", _mixture),
    Law("first and second derivatives are those of the value", _autograd),
    Law("the closed-form gradient is autograd's", _closed_form),
    Law("values and gradients are finite at gaps up to 10⁴ in every dtype", _gaps),
    Law("ignored rows have no loss and no gradient", _ignored),
    Law("a loss linear in the costs scales with them", _linearity),
    Law("a convex loss lies below its chords", _convexity),
)
