# SPDX-License-Identifier: BSD-3-Clause
"""A loss of a linear layer's outputs, which are never held all at once.

The logits of a vocabulary are the largest tensor of a training step. Here a block of rows at a time
becomes logits, a loss, and a gradient that is written over the logits and multiplied back to that
of the layer's input and weight: three matrix products, as plain PyTorch has, and the memory of one
block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812  # as PyTorch users know it
from torch import Tensor, nn

from lossmatrix.costs import CostMatrix
from lossmatrix.engines import choose, reference
from lossmatrix.losses import CostsLike, DecisionRule, Loss, Reduction
from lossmatrix.losses.base import check_loss
from lossmatrix.nn import Criterion, check_normalizer, evaluated
from lossmatrix.problem import (
    Bound,
    Options,
    Problem,
    check_versions,
    class_weights,
    read,
)
from lossmatrix.tensors import check_tensor, recorded, transforming

MAX_CHUNK_BYTES = 2**27  # of logits: 512 rows of 64,000 classes in float32
Rows = slice | Tensor  # rows of the input: those that follow one another, or chosen ones


def linear_loss(
    input: Tensor,  # noqa: A002  # as nn.functional.linear_cross_entropy calls it
    linear_weight: Tensor,
    target: Tensor,
    loss: Loss,
    costs: CostsLike | None = None,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    normalizer: float | Tensor | None = None,
    max_chunk_bytes: int = MAX_CHUNK_BYTES,
    accumulate_dtype: torch.dtype | None = None,
    engine: str = "auto",
) -> Tensor:
    """The loss of ``F.linear(input, linear_weight, linear_bias)``, whose logits are never held.

    ℓ(X Wᵀ + b) and its gradients G W, Gᵀ X and Σ_n G_n with G = ∂ℓ/∂logits, in blocks of rows. A
    tied embedding passes as ``linear_weight``. Scalar losses make their gradients in forward, and
    backward scales them; losses of rows make the logits again in backward. Higher derivatives,
    ``torch.func``, forward mode and traced graphs hold the logits, as ``Criterion`` does.

    Args:
        input: (in_features) or (N, in_features), floating point.
        linear_weight: (C, in_features), or (C, d1 … dk, in_features) for k further dimensions.
        target: class indices () , (N) or (N, d1 … dk), or class probabilities (N, C, d1 … dk).
        loss: a loss or a sum of losses.
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth; those of samples follow the rows.
        linear_bias: (C) or (C, d1 … dk).
        weight, sample_weight, ignore_index, reduction, label_smoothing, engine: as in
            ``Criterion``; an ignore_index of None is −100. Ignored rows cost no time on the CPU.
        normalizer: what the sum is divided by, in place of the mean's own denominator.
        max_chunk_bytes: what the logits of a block take; at least one row is made.
        accumulate_dtype: in which the gradients of weight and bias are added up; float32 for half
            precision unless it is given, and else their own. Another one than the layer's takes two
            more tensors of the weight's size: the sum, and what a block adds to it.

    Raises:
        ValueError, TypeError, RuntimeError, IndexError: as ``Criterion`` on those logits; an input,
            weight or bias whose sizes do not meet.

    Source: Hsu et al. (2024), Liger Kernel, section 3.2: fused linear and cross-entropy in chunks.

    >>> x, W = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.eye(2)
    >>> costs = [[0, 1], [5, 0]]
    >>> round(lm.linear_loss(x, W, torch.tensor([0, 1]), lm.ExpectedCost(), costs).item(), 4)
    0.4325
    """
    check_loss(loss)
    bound = Bound(loss.bind(loss.matrix(costs)))
    ignored = -100 if ignore_index is None else ignore_index
    options = Options(weight, sample_weight, ignored, reduction, label_smoothing)
    budget = Budget(max_chunk_bytes, accumulate_dtype)
    layer = Layer(input, linear_weight, linear_bias)
    return _of_layer(layer, bound, target, options, normalizer, budget, engine)


class LinearCriterion(Criterion):
    """A linear layer and the loss of its outputs, in the place of ``nn.LinearCrossEntropyLoss``.

    ℓ(X Wᵀ + b), as ``linear_loss`` computes it: the logits are never held all at once. Shapes:
    input (in_features) or (N, in_features); target class indices (), (N) or (N, *out_features), or
    class probabilities (N, C, *out_features). Parameters are ``linear.weight``
    (C · prod(out_features), in_features) and ``linear.bias``; an embedding is tied by
    ``criterion.linear.weight = embedding.weight``. Losses are in the units of ``Criterion``.

    Args:
        in_features: size of each row of the input.
        num_classes: C.
        loss: a loss or a sum of losses.
        costs: a ``CostMatrix`` or a (C, K) table, rows the truth.
        out_features: further dimensions (d1 … dk) of the logits.
        bias: whether the layer has one.
        device, dtype: of the layer.
        weight, ignore_index, reduction, label_smoothing, engine: as in ``Criterion``.
        max_chunk_bytes, accumulate_dtype: as in ``linear_loss``; they stand for its ``options``.

    Raises:
        ValueError, TypeError, RuntimeError, IndexError: as ``Criterion``, and ``linear_loss``.

    >>> criterion = lm.LinearCriterion(4, 3, lm.CrossEntropy() + lm.DecisionScore(), lm.Ordinal(3))
    >>> round(criterion(torch.zeros(2, 4), torch.tensor([0, 2])).item(), 4)
    1.6934
    >>> criterion.decide(torch.zeros(2, 4)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        loss: Loss,
        costs: CostsLike | None = None,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        max_chunk_bytes: int = MAX_CHUNK_BYTES,
        accumulate_dtype: torch.dtype | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(
            loss,
            costs,
            weight=weight,
            ignore_index=-100 if ignore_index is None else ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            engine=engine,
        )
        check_num_classes(self.costs, num_classes)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.budget = Budget(max_chunk_bytes, accumulate_dtype)
        count = num_classes * math.prod(self.out_features)
        self.linear = nn.Linear(in_features, count, bias=bias, device=device, dtype=dtype)
        if device is not None:
            self.to(device)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes no logits
        self,
        input: Tensor,  # noqa: A002  # as nn.LinearCrossEntropyLoss calls it
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
        costs: CostsLike | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch: input (N, in_features); all else as in ``Criterion``."""
        bound = self.bound_to(costs)
        options = Options(
            self.weight, sample_weight, self.ignore_index, self.reduction, self.label_smoothing
        )
        return _of_layer(
            self._layer(input), bound, target, options, normalizer, self.budget, self.engine
        )

    def decide(  # pyright: ignore[reportIncompatibleMethodOverride]  # it takes no logits
        self,
        input: Tensor,  # noqa: A002  # as in forward
        *,
        rule: DecisionRule | None = None,
        costs: CostsLike | None = None,
    ) -> Tensor:
        """The decision that the loss is made for, (N, *out_features) int64, in blocks of rows."""
        layer = self._layer(input)
        layer.check()
        if input.dim() == 1:
            return self.decide(input.unsqueeze(0), rule=rule, costs=costs).squeeze(0)
        matrix = None if costs is None else self.costs_of(costs)
        of_samples = matrix is not None and matrix.num_samples is not None
        with torch.no_grad():
            if len(input) == 0 or of_samples:  # costs of samples are as large as the logits
                return super().decide(layer.whole(), rule=rule, costs=matrix)
            parts = [
                super(LinearCriterion, self).decide(layer.logits(rows), rule=rule, costs=matrix)
                for rows in layer.blocks(self.budget)
            ]
        return torch.cat(parts)

    def _layer(self, input: Tensor) -> Layer:  # noqa: A002  # as in forward
        shape = (self.num_classes, *self.out_features)
        bias = cast(Tensor | None, self.linear.bias)  # PyTorch's annotation leaves out None
        return Layer(
            input,
            self.linear.weight.reshape(*shape, -1),
            None if bias is None else bias.reshape(shape),
        )

    def extra_repr(self) -> str:
        """What ``print`` shows beside the layer."""
        return f"{super().extra_repr()}, out_features={self.out_features}"


def check_num_classes(costs: CostMatrix | None, num_classes: int) -> None:
    """Refuse costs of other classes than a layer has."""
    if costs is not None and costs.num_classes != num_classes:
        raise ValueError(
            f"costs of {costs.num_classes} classes do not fit num_classes={num_classes}."
        )


# --- the layer, and its blocks of rows -----------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """What a block of logits may take, and in which dtype gradients are added up."""

    max_chunk_bytes: int
    accumulate_dtype: torch.dtype | None

    def __post_init__(self) -> None:
        if type(self.max_chunk_bytes) is not int or self.max_chunk_bytes < 1:
            raise ValueError(
                f"max_chunk_bytes must be a positive integer, got {self.max_chunk_bytes!r}."
            )

    def wide(self, dtype: torch.dtype) -> torch.dtype:
        """In which dtype the gradients of a layer's weight and bias are added up."""
        given = self.accumulate_dtype
        if given is None:
            return torch.promote_types(dtype, torch.float32)
        if not given.is_floating_point or torch.promote_types(dtype, given) != given:
            raise ValueError(
                f"accumulate_dtype must hold what a layer in {dtype} adds up, got {given}."
            )
        return given


@dataclass
class Layer:
    """The tensors of ``F.linear``, whose outputs may have further dimensions."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None

    def check(self) -> None:
        """Refuse sizes that do not meet, in one sentence."""
        for name, tensor in (("input", self.input), ("linear_weight", self.weight)):
            check_tensor(name, tensor)
        x, weight = tuple(self.input.shape), tuple(self.weight.shape)
        if len(x) not in (1, 2) or len(weight) < 2 or x[-1] != weight[-1]:
            raise ValueError(
                f"input of shape {x} and linear_weight of shape {weight} do not meet: expected "
                "(N, in_features) and (C, in_features); rows of sequences are flatten(0, 1)."
            )
        if self.bias is not None and tuple(self.bias.shape) != weight[:-1]:
            raise ValueError(
                f"linear_bias of shape {tuple(self.bias.shape)} does not fit linear_weight of "
                f"shape {weight}: expected {weight[:-1]}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        return *self.input.shape[:-1], *self.weight.shape[:-1]

    @property
    def flat(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Input (N, in), weight (C · P, in) and bias (C · P)."""
        bias = None if self.bias is None else self.bias.reshape(-1)
        return self.input, self.weight.reshape(-1, self.weight.shape[-1]), bias

    @property
    def blank(self) -> Tensor:
        """A tensor in the shape of the logits, of one number."""
        return self.input.detach().new_empty(()).expand(self.shape)

    def whole(self) -> Tensor:
        """All logits at once."""
        return F.linear(*self.flat).reshape(self.shape)

    def logits(self, rows: Rows) -> Tensor:
        """Those of a block of rows (m, C, d1 … dk)."""
        x, weight, bias = self.flat
        return F.linear(x[rows], weight, bias).reshape(-1, *self.weight.shape[:-1])

    def blocks(
        self, budget: Budget, kept: Tensor | None = None, width: int | None = None
    ) -> Iterator[Rows]:
        """Rows whose logits fit the budget: all of them, or those that are kept."""
        width = math.prod(self.weight.shape[:-1]) if width is None else width
        most = max(1, budget.max_chunk_bytes // max(1, width * self.input.element_size()))
        count = len(self.input if kept is None else kept)
        step = max(1, -(-count // max(1, -(-count // most))))  # blocks are about as large
        for start in range(0, count, step):
            block = slice(start, min(start + step, count))
            yield block if kept is None else kept[block]

    def cast(self) -> Layer:
        """The same under autocast, as ``F.linear`` would take it."""
        device = self.input.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return self
        dtype = torch.get_autocast_dtype(device)
        bias = None if self.bias is None else self.bias.to(dtype)
        return Layer(self.input.to(dtype), self.weight.to(dtype), bias)


def _of_layer(
    layer: Layer,
    bound: Bound,
    target: Tensor,
    options: Options,
    normalizer: float | Tensor | None,
    budget: Budget,
    engine: str,
) -> Tensor:
    """The loss of a layer's outputs, block by block where that can be."""
    layer.check()
    if layer.input.dim() == 1:  # one row
        layer, target = replace(layer, input=layer.input.unsqueeze(0)), target.unsqueeze(0)
        own = options.sample_weight
        options = replace(options, sample_weight=None if own is None else own.unsqueeze(0))
        value = _of_layer(layer, bound, target, options, normalizer, budget, engine)
        return value.squeeze(0) if options.reduction == "none" else value
    layer = layer.cast()
    if needs_whole(layer, bound, target, options):
        return evaluated(bound, layer.whole(), target, options, normalizer, engine)
    problem = read(bound, layer.blank, target, options)
    check_normalizer(normalizer, options.reduction)
    budget.wide(layer.input.dtype)
    call = Call(problem, budget, denominator(problem, normalizer), engine)
    return cast(Tensor, Blockwise.apply(*layer.flat, call))  # pyright: ignore


def needs_whole(layer: Layer, bound: Bound, target: Tensor, options: Options) -> bool:
    """Whether autograd, a transform or a trace must see the logits themselves."""
    if torch.compiler.is_compiling() or recorded() or transforming():
        return True
    if torch.autograd.forward_ad._current_level >= 0:  # pyright: ignore  # −1 without tangents
        return True
    constants = [t for t in (target, options.weight, options.sample_weight) if t is not None]
    matrices = [term.costs for term in bound.terms if term.costs is not None]
    constants += [table for costs in matrices for table in costs.tables.values()]
    tensors = [t for t in (layer.input, layer.weight, layer.bias, *constants) if t is not None]
    if any(type(t) not in (Tensor, nn.Parameter) for t in tensors):
        return True
    return any(t.requires_grad for t in constants)


def denominator(problem: Problem, normalizer: float | Tensor | None) -> float | Tensor:
    """What the sum of the losses is divided by."""
    if normalizer is not None:  # backward divides by it again, whatever it has become by then
        return normalizer.clone() if isinstance(normalizer, Tensor) else normalizer
    if problem.options.reduction != "mean":
        return 1.0
    return math.prod(problem.row_shape) if problem.soft else class_weights(problem).sum()


# --- blocks of rows, forward and back ------------------------------------------------------------


Gradients = list[Tensor | None]


@dataclass
class Call:
    """A checked call: its problem has the shape of the logits, and no logits."""

    problem: Problem
    budget: Budget
    denominator: float | Tensor
    engine: str = "auto"

    def blocks(self, layer: Layer) -> Iterator[Rows]:
        """The rows that count, some at a time."""
        return layer.blocks(self.budget, self.kept())

    def kept(self) -> Tensor | None:
        """The rows that count, where that is known without waiting for a device; None for all."""
        problem = self.problem
        if problem.soft or problem.shape[2] != 1 or not problem.given_target.is_cpu:
            return None
        counts = problem.given_target.reshape(-1) != problem.options.ignore_index
        return None if bool(counts.all()) else counts.nonzero().squeeze(1)

    def block(self, rows: Rows, logits: Tensor, row_weights: Tensor | None) -> Problem:
        """The problem of a block of rows: a sum, or the losses of rows, before any rounding."""
        problem, options = self.problem, self.problem.options
        own, batch = options.sample_weight, problem.shape[0]
        if row_weights is not None:
            own = row_weights if own is None else own * row_weights
        bound, positions = problem.bound, problem.shape[2]
        if bound.has_costs_of_samples:
            places = torch.arange(batch * positions, device=logits.device).reshape(batch, positions)
            bound = _of_samples(bound, places[rows].flatten())
        scalar = options.reduction != "none" or row_weights is not None
        asked = read(
            bound,
            logits,
            problem.given_target[rows],
            replace(
                options,
                sample_weight=None if own is None else own[rows],
                reduction="sum" if scalar else "none",
            ),
        )
        return replace(asked, output_dtype=asked.compute_dtype)

    def losses(self, asked: Problem, logits: Tensor, with_gradient: bool) -> Tensor:
        """What a block asks for; its gradient, if it is wanted, takes the place of the logits."""
        prepared = choose(self.engine, asked).prepared
        if with_gradient:
            return prepared.loss_and_gradient(asked, out=logits)[0]
        return prepared.loss(asked)

    def finish(self, gradients: Gradients) -> None:
        """After the last block."""

    def whole_gradients(
        self, tensors: tuple[Tensor, Tensor, Tensor | None], wanted: list[bool], upstream: Tensor
    ) -> Gradients:
        """Gradients that have derivatives of every order themselves."""
        return _whole_gradients(tensors, self, wanted, upstream)


def _of_samples(bound: Bound, rows: Tensor) -> Bound:
    """The same terms with the costs of some of the samples."""
    costs = [None if term.costs is None else term.costs.of_samples(rows) for term in bound.terms]
    pairs = zip(bound.terms, costs, strict=True)
    return Bound(tuple(replace(term, costs=matrix) for term, matrix in pairs))


def _visit(
    tensors: tuple[Tensor, Tensor, Tensor | None],
    call: Call,
    wanted: list[bool],
    row_weights: Tensor | None,
) -> tuple[Tensor, Gradients]:
    """The sum of the losses, or the losses of rows; and the gradients that are wanted."""
    x, weight, bias = tensors
    problem, budget = call.problem, call.budget
    layer = Layer(x, weight, bias)
    dtype = problem.compute_dtype
    of_rows = problem.options.reduction == "none" and row_weights is None
    gradients: Gradients = [None, None, None]
    if any(wanted):
        wide = budget.wide(x.dtype)
        of_input = wide if x.dtype == torch.float16 else x.dtype
        for i, (tensor, kind) in enumerate(((x, of_input), (weight, wide), (bias, wide))):
            if wanted[i] and tensor is not None:
                gradients[i] = torch.zeros_like(tensor, dtype=kind)
    shape = (problem.shape[0], problem.shape[2])
    value = x.new_zeros(shape if of_rows else (), dtype=dtype)
    workspace: Tensor | None = None
    for rows in call.blocks(layer):
        some = x[rows]
        if workspace is None:
            workspace = x.new_empty(len(some), len(weight))
        z = workspace[: len(some)]
        if bias is None:
            torch.mm(some, weight.t(), out=z)
        else:
            torch.addmm(bias, some, weight.t(), out=z)
        slopes = z.float() if any(wanted) and z.dtype == torch.float16 else z
        logits = slopes.view(len(some), -1, *problem.given.shape[2:])
        found = call.losses(call.block(rows, logits, row_weights), logits, any(wanted))
        if any(wanted):
            unit = None if slopes is z else _rounded(slopes, z)
            _multiply_back(z, some, weight, rows, gradients, unit)
        if of_rows:
            value[rows] = found.reshape(-1, shape[1])
        else:
            value += found
    call.finish(gradients)
    return value, gradients


def _rounded(slopes: Tensor, to: Tensor) -> Tensor:
    """Round slopes to float16 in a unit of their own, a power of two; the unit.

    They are those of a sum, before the mean and a loss scale, and reach from below the least number
    of float16 to beyond the greatest.
    """
    unit = torch.ldexp(slopes.new_ones(()), slopes.abs().amax().frexp().exponent)
    to.copy_(slopes / unit)
    return unit


def _multiply_back(
    z: Tensor,
    some: Tensor,
    weight: Tensor,
    rows: Rows,
    gradients: Gradients,
    unit: Tensor | None,
) -> None:
    """Add what a block's gradient of the logits gives to that of input, weight and bias."""
    of_input, of_weight, of_bias = gradients
    if of_input is not None:
        if isinstance(rows, slice) and unit is None:
            torch.mm(z, weight, out=of_input[rows])
        else:
            of_input[rows] = _product(z, weight, of_input, unit)
    if of_weight is not None:
        if of_weight.dtype == z.dtype:
            of_weight.addmm_(z.t(), some)
        else:
            of_weight += _product(z.t(), some, of_weight, unit)
    if of_bias is not None:
        of_sum = z.sum(0, dtype=of_bias.dtype)
        of_bias += of_sum if unit is None else of_sum * unit


def _product(a: Tensor, b: Tensor, like: Tensor, unit: Tensor | None) -> Tensor:
    """a·b in a unit, in the dtype of ``like``."""
    if a.is_cuda and like.dtype != a.dtype:  # a product need not be rounded before it is added
        product = torch.mm(a, b, out_dtype=like.dtype)
    else:
        product = (a @ b).to(like.dtype)
    return product if unit is None else product * unit


class Blockwise(torch.autograd.Function):
    """The loss of a layer, whose gradients forward makes and backward scales.

    Losses of rows, and a second backward through a retained graph, make the logits again.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: Call
    ) -> Tensor:
        wanted, problem = list(ctx.needs_input_grad[:3]), call.problem
        if problem.options.reduction == "none":
            wanted = [False] * 3
        value, gradients = _visit((x, weight, bias), call, wanted, None)
        ctx.save_for_backward(x, weight, bias)
        ctx.call, ctx.versions = call, problem.versions
        ctx.gradients = gradients if any(wanted) else None
        if problem.options.reduction == "none":
            value = value.reshape(problem.row_shape)
        return (value / call.denominator).to(problem.output_dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (upstream,) = grad_outputs
        tensors, call, gradients = ctx.saved_tensors, ctx.call, ctx.gradients
        ctx.gradients = None
        wanted = list(ctx.needs_input_grad[:3])
        problem: Problem = call.problem
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd can take it
            return *call.whole_gradients(tensors, wanted, upstream), None
        scale = _over(upstream.to(problem.compute_dtype), call.denominator)
        if gradients is None:
            check_versions(problem, ctx.versions)
            of_rows = problem.options.reduction == "none"
            _, gradients = _visit(tensors, call, wanted, scale if of_rows else None)
            scale = None if of_rows else scale
        found: Gradients = []
        for tensor, gradient in zip(tensors, gradients, strict=True):
            if gradient is not None:
                gradient = gradient if scale is None else gradient.mul_(scale)
                gradient = gradient.to(tensor.dtype)
            found.append(gradient)
        return *found, None


def _over(upstream: Tensor, denominator: float | Tensor) -> Tensor:
    """upstream ÷ denominator; 0 where no row counts, whose gradients are 0 and no number ÷ 0."""
    scale = upstream / denominator
    return torch.where(torch.as_tensor(denominator == 0, device=scale.device), 0.0, scale)


def _whole_gradients(
    tensors: tuple[Tensor, Tensor, Tensor | None],
    call: Call,
    wanted: list[bool],
    upstream: Tensor,
) -> Gradients:
    """The gradients of the layer's tensors, which have derivatives of every order themselves."""
    problem = call.problem
    options = problem.options
    logits = F.linear(*tensors).reshape(problem.given.shape)
    scalar = options.reduction != "none"
    asked = replace(
        problem,
        given=logits,
        options=replace(options, reduction="sum" if scalar else "none"),
        output_dtype=problem.compute_dtype,
    )
    value = reference.run(asked, whole=True) / call.denominator
    sources = [
        t for t, is_wanted in zip(tensors, wanted, strict=True) if is_wanted and t is not None
    ]
    found = iter(torch.autograd.grad(value, sources, upstream.to(value.dtype), create_graph=True))
    return [next(found) if is_wanted else None for is_wanted in wanted]
