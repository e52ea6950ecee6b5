# SPDX-License-Identifier: BSD-3-Clause
"""Kernels inside the function transforms of ``torch.func``: grad, vmap, jacrev and what they make.

A mapped batch is a longer batch: rows do not touch each other, so the mapped dimension becomes
part of B and one kernel visits all of it. Weights and the reduction, which do differ from slice to
slice, are PyTorch's own operators here. The gradient is a function of its own, whose derivative is
the reference's; it is taken where it is asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch._C._functorch import (
    TransformType,
    get_interpreter_stack,
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
)

from lossmatrix.costs import CostMatrix
from lossmatrix.problem import Problem, class_weights, reduce

SERVED = {TransformType.Grad, TransformType.Vmap}


@dataclass(frozen=True)
class Rows:
    """What is done with logits (B, C, P) and class indices (B, P), whichever rows they are.

    ``visit`` answers losses (B, P) and their gradients (B, C, P); ``formula`` the losses alone,
    with derivatives of every order.
    """

    visit: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    formula: Callable[[Tensor, Tensor], Tensor]


def active(problem: Problem) -> bool:
    """Whether a transform is active, or one that has ended left its mark on the tensors."""
    return (
        torch._C._are_functorch_transforms_active()  # pyright: ignore[reportPrivateUsage]
        or is_functorch_wrapped_tensor(problem.given)
        or is_functorch_wrapped_tensor(problem.given_target)
    )


def refuses(problem: Problem) -> str | None:
    """Why a problem cannot be run inside the transforms that are active, or None."""
    others = {each.key() for each in get_interpreter_stack() or ()} - SERVED
    if others:
        names = ", ".join(sorted(each.name.lower() for each in others))
        return f"the function transform {names} is active, and it serves grad and vmap"
    if problem.inplace_gradient:
        return "a function transform is active, and it may need the logits (inplace_gradient)"
    matrices = (term.costs for term in problem.terms if term.costs is not None)
    if any(costs.num_samples is not None for costs in matrices):
        return "a function transform is active, and the costs belong to the samples of one batch"
    return None


def constant(costs: CostMatrix) -> CostMatrix | str:
    """The matrix on tensors that no transform has wrapped, or why it is no constant.

    Tables are wrapped where a criterion is made while a transform is active.
    """
    found = costs.tables
    for name, table in found.items():
        while is_functorch_wrapped_tensor(table) and not table.requires_grad:
            if is_batchedtensor(table):
                return "the costs are mapped"
            table = get_unwrapped(table)
        if table.requires_grad:
            return "the costs require a gradient"
        found[name] = table
    return costs.with_tables(found)


def run(problem: Problem, rows: Rows) -> Tensor:
    """The reduced loss of a problem."""
    logits = problem.logits.to(problem.compute_dtype)  # so gradients are rounded once, at the end
    losses, _ = _losses(logits, problem.target, rows)
    losses, factors = losses.reshape(-1), class_weights(problem)
    return reduce(problem, losses if problem.weight is None else losses * factors, factors)


class Losses(torch.autograd.Function):
    """The losses of all rows, and their gradients, which backward hands out."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:  # noqa: D102
        return rows.visit(logits, target)

    @staticmethod
    def setup_context(  # noqa: D102
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
    ) -> None:
        logits, target, ctx.rows = inputs
        _, gradient = output
        ctx.save_for_backward(logits, target, gradient)
        ctx.mark_non_differentiable(gradient)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        upstream, _ = grad_outputs
        return _slopes(upstream, *ctx.saved_tensors, ctx.rows), None, None

    @staticmethod
    def vmap(  # noqa: D102
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        *tensors, rows = inputs
        losses, gradient = _losses(*_joined(info.batch_size, in_dims, tensors), rows)
        return (_parted(info.batch_size, losses), _parted(info.batch_size, gradient)), (0, 0)


class Slopes(torch.autograd.Function):
    """The gradients of all rows times what comes from above, as a function of both."""

    @staticmethod
    def forward(  # noqa: D102
        upstream: Tensor, logits: Tensor, target: Tensor, gradient: Tensor, rows: Rows
    ) -> Tensor:
        return gradient * upstream.unsqueeze(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: D102
        upstream, logits, target, _, ctx.rows = inputs
        ctx.save_for_backward(upstream, logits, target)

    @staticmethod
    def backward(  # noqa: D102
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None]:
        upstream, logits, target = ctx.saved_tensors

        def losses(logits: Tensor) -> Tensor:
            return ctx.rows.formula(logits, target)

        def slopes(upstream: Tensor, logits: Tensor) -> Tensor:
            return _pull(losses, logits)(upstream)[0]

        of_upstream, of_logits = _pull(slopes, upstream, logits)(*grad_outputs)
        return of_upstream, of_logits, None, None, None

    @staticmethod
    def vmap(  # noqa: D102
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[Tensor, int]:
        *tensors, rows = inputs
        slopes = _slopes(*_joined(info.batch_size, in_dims, tensors), rows)
        return _parted(info.batch_size, slopes), 0


def _losses(*inputs: Tensor | Rows) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], Losses.apply(*inputs))  # pyright: ignore


def _slopes(*inputs: Tensor | Rows) -> Tensor:
    return cast(Tensor, Slopes.apply(*inputs))  # pyright: ignore


def _pull(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[Tensor], Sequence[Tensor]]:
    """What takes a gradient with respect to the value to those with respect to the inputs."""
    return cast(Callable[[Tensor], Sequence[Tensor]], torch.func.vjp(function, *inputs)[1])


def _joined(count: int, in_dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors whose mapped dimension has become part of the batch: (count · B, …)."""
    return [
        (x.expand(count, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)
        for x, dim in zip(tensors, in_dims, strict=False)  # what follows are no tensors
    ]


def _parted(count: int, x: Tensor) -> Tensor:
    """The mapped dimension again by itself: (count, B, …)."""
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])
