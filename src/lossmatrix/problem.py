# SPDX-License-Identifier: BSD-3-Clause
"""What one call asks for: checked at one boundary and laid out the one way engines read.

Logits become (B, C, P): batch, classes, positions (P = 1 without spatial dimensions). Targets
become (B, P) class indices or (B, C, P) class probabilities. Tensors are kept as they came, and the
views are made when they are asked for: a view takes as long as a small loss, and autograd records
it. Nothing is copied where strides allow it. Reductions and their denominators are PyTorch's.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.losses import Reduction, Term
from lossmatrix.losses.base import ROOM, check_costs_of_samples, on_cpu
from lossmatrix.tensors import check_tensor, unseen

INDICES = (torch.int64, torch.uint8, torch.int32)
ONE_LOGIT = " For one logit per decision of two there is BinaryCriterion."
FULL = (torch.float32, torch.float64)  # what autocast leaves as it is


@dataclass(frozen=True, slots=True)
class Options:
    """What a call says beside logits, target and costs; as in ``Criterion``."""

    weight: Tensor | None = None  # (C,)
    sample_weight: Tensor | None = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0


class Bound:
    """The terms of a criterion, and what engines have made ready for them.

    ``number`` names them inside a traced graph. Terms that are bound while it is traced are gone
    when it runs: they have no number, and ``reference`` writes their formulas into the graph.
    """

    def __init__(self, terms: tuple[Term, ...]) -> None:
        self.terms = terms
        matrices = [term.costs for term in terms if term.costs is not None]
        self.has_costs_of_samples = any(costs.num_samples is not None for costs in matrices)
        self.on_cpu = all(map(on_cpu, matrices))
        self.cache: dict[object, Any] = {}
        if not torch.compiler.is_compiling():
            self.number = next(_numbers)
            numbered[self.number] = self

    def __reduce__(self) -> tuple[type[Bound], tuple[tuple[Term, ...]]]:
        return Bound, (self.terms,)  # kernels are not copied or pickled


_numbers = itertools.count()
numbered: weakref.WeakValueDictionary[int, Bound] = weakref.WeakValueDictionary()


@dataclass(slots=True)
class Problem:
    """A checked call, ready for an engine."""

    bound: Bound
    given: Tensor  # the logits as they came
    shape: tuple[int, int, int]  # B, C, P
    given_target: Tensor
    soft: bool  # whether the targets are class probabilities
    options: Options
    row_shape: tuple[int, ...]  # shape of the losses when reduction is "none"
    output_dtype: torch.dtype
    one_logit: bool = False  # given is that of class 1, and class 0 has the logit 0
    # The logits as an engine visits them, once it has asked for them.
    view: Tensor | None = field(default=None, init=False, repr=False)

    @property
    def logits(self) -> Tensor:
        """The logits as (B, C, P)."""
        if self.one_logit:
            return torch.stack((torch.zeros_like(self.given), self.given)).reshape(self.shape)
        return self.given.reshape(self.shape)

    @property
    def target(self) -> Tensor:
        """The class indices as (B, P), or the class probabilities as (B, C, P)."""
        batch, _, positions = self.shape
        if self.one_share:
            pair = torch.stack((1 - self.given_target, self.given_target))
            return pair.reshape(self.shape)
        return self.given_target.reshape(self.shape if self.soft else (batch, positions))

    @property
    def of_two_classes(self) -> Problem:
        """The same with a logit for each class, (1, 2, P)."""
        return replace(
            self,
            given=self.logits,
            given_target=self.target,
            options=replace(self.options, sample_weight=self.sample_weight),
            row_shape=(1, self.shape[2]),
            one_logit=False,
        )

    @property
    def one_share(self) -> bool:
        """Whether the probabilities are those of class 1 alone."""
        return self.one_logit and self.soft and self.given_target.dim() == self.given.dim()

    @property
    def sample_weight(self) -> Tensor | None:
        """The weights of the rows as (B, P)."""
        weight = self.options.sample_weight
        return None if weight is None else weight.reshape(self.shape[0], self.shape[2])

    @property
    def is_smoothed(self) -> bool:
        """Whether every class has a share of the truth."""
        return self.soft or self.options.label_smoothing > 0

    @property
    def versions(self) -> tuple[int, ...]:
        """How often the tensors were changed in place that a later visit will read again.

        The matrix of a criterion never changes; costs of samples are the caller's tensors.
        """
        options = self.options
        read = [self.given, self.given_target, options.weight, options.sample_weight]
        if self.bound.has_costs_of_samples:
            own = (term.costs for term in self.bound.terms if term.costs is not None)
            read += [table for costs in own for table in costs.tables.values()]
        return tuple([t._version for t in read if t is not None and not t.is_inference()])

    @property
    def wants_gradient(self) -> bool:
        """Whether autograd records this call."""
        return self.given.requires_grad and torch.is_grad_enabled()

    @property
    def compute_dtype(self) -> torch.dtype:
        """float64 for float64 inputs, float32 for all others."""
        return torch.float64 if self.output_dtype == torch.float64 else torch.float32


def read(
    bound: Bound, logits: Tensor, target: Tensor, options: Options, one_logit: bool = False
) -> Problem:
    """Check a call and lay it out; messages that ``nn.CrossEntropyLoss`` has too are the same.

    Two classes may have one logit for both, of any shape; the target is then class indices or the
    probabilities of class 1, of that shape, or the probabilities of both classes, (2, …).
    """
    check_options(options.reduction, options.label_smoothing)
    check_tensor("logits", logits)
    check_tensor("target", target)
    shape, dtype = logits.shape, logits.dtype
    if not dtype.is_floating_point:
        raise TypeError(f"expected floating point logits, but got {dtype}.")
    if len(shape) == 0 and not one_logit:
        raise ValueError("expected logits of shape (C,) or (N, C, d1, …), but got a scalar.")
    for tensor in (logits, target):
        if type(tensor) is not Tensor and hasattr(tensor, "placements"):
            raise _distributed(tensor, tensor is logits)
    if one_logit:
        num_classes, row_shape, batch, positions = 2, shape, 1, shape.numel()
    elif len(shape) == 1:
        (num_classes,), row_shape, batch, positions = shape, (), 1, 1
    else:
        batch, num_classes, *others = shape
        row_shape, positions = (batch, *others), math.prod(others)
    for term in bound.terms:
        if term.costs is not None and term.costs.num_classes != num_classes:
            check_classes(term.costs, torch.Size((*shape, 2)) if one_logit else shape)
    soft = target.is_floating_point() if one_logit else target.shape == shape
    if soft:
        _check_probabilities(target, options.ignore_index)
    else:
        _check_indices(logits, target, row_shape)
        target = wide_indices(target, options.ignore_index, num_classes)
    if options.weight is not None or options.sample_weight is not None:
        _check_weights(options.weight, options.sample_weight, num_classes, row_shape, dtype)
    _check_devices(bound, logits, target, options)
    for term in bound.terms:
        if term.costs is not None and term.costs.num_samples not in (None, batch * positions):
            raise ValueError(
                f"got logits of {batch * positions} rows, but {term.costs!r} has the costs of "
                f"{term.costs.num_samples}: pass the costs of these rows, in their order."
            )
    if soft or dtype not in FULL:
        dtype = output_dtype(logits, target if soft else None)
    return Problem(
        bound,
        logits,
        (batch, num_classes, positions),
        target,
        soft,
        options,
        row_shape,
        dtype,
        one_logit,
    )


def _distributed(tensor: Tensor, is_logits: bool) -> TypeError:
    """Why a DTensor is refused, and what to do: a loss takes the tensors of its own process."""
    placements = cast("tuple[Any, ...]", tensor.placements)  # pyright: ignore
    class_dim = min(1, tensor.dim() - 1)
    if is_logits and any(bool(each.is_shard(class_dim)) for each in placements):
        return TypeError(
            "logits are a DTensor that is sharded over its classes: give logits.to_local() to "
            "lossmatrix.parallel.ShardedCriterion, with the group of that mesh dimension."
        )
    name = "logits" if is_logits else "target"
    return TypeError(
        f"{name} is a DTensor, {placements}: pass {name}.to_local(), and where rows are sharded "
        "normalizer=lossmatrix.count(target, group=…), so that the mean is that of all of them."
    )


def check_versions(problem: Problem, versions: tuple[int, ...]) -> None:
    """What the loss was made of must still be there where it is made again."""
    if problem.versions != versions:
        raise RuntimeError(
            "the logits, targets, weights or costs of a loss were changed in place after it, and "
            "they are needed again (for a second backward, a second derivative, or a scaled "
            "gradient in half precision): change copies instead."
        )


ALL_ROWS = (slice(None), slice(None))


def blocks(sizes: tuple[int, int, int], numbers: int) -> Iterator[tuple[slice, slice]]:
    """Slices of (B, P) whose rows fit a block of so many numbers."""
    batch, classes, positions = sizes
    rows = max(1, numbers // max(1, classes))
    if batch * positions <= rows:
        yield ALL_ROWS
        return
    step_b, step_p = max(1, rows // positions), min(positions, rows)
    for b in range(0, batch, step_b):
        for p in range(0, positions, step_p):
            yield slice(b, b + step_b), slice(p, p + step_p)


def check_classes(
    costs: CostMatrix, shape: torch.Size, given: tuple[int, int] | None = None
) -> None:
    """Refuse logits of this shape that are not one for each class of the costs.

    ``given`` is the shape of the costs as they were written, where it is known.
    """
    count = costs.num_classes
    if len(shape) == 0:
        return  # told by ``read``
    num_classes = shape[1] if len(shape) > 1 else shape[0]
    if num_classes == count:
        return
    if count == 2 and (len(shape) == 1 or num_classes == 1):
        remedy = ONE_LOGIT
    elif len(shape) > 2 and shape[-1] == count:
        remedy = _class_dim(_moved(shape))
    elif num_classes > count:
        remedy = " Losses need a logit for each class; decisions that are no class have none."
    else:
        remedy = ""
    written = f"shape {given}" if given is not None else f"{count} classes"
    raise ValueError(
        f"costs of {written} do not fit logits of shape {tuple(shape)}: expected one row of costs "
        f"for each of the {num_classes} classes (rows are the truth).{remedy}"
    )


def _moved(shape: torch.Size) -> str:
    """What brings the classes of logits (B, T, V), which are last, to their place."""
    return "transpose(1, 2)" if len(shape) == 3 else "movedim(-1, 1)"


def _class_dim(call: str) -> str:
    return f" Classes are dim 1: pass logits.{call}."


def check_options(reduction: str, label_smoothing: float) -> None:
    """Options that do not depend on the tensors; ``Criterion`` checks them when it is made."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f"{reduction} is not a valid value for reduction: choose none, mean or sum."
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")


def _check_probabilities(target: Tensor, ignore_index: int) -> None:
    if not target.is_floating_point():
        name = str(target.dtype).removeprefix("torch.").replace("int64", "Long").capitalize()
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {name}"
            + (f".{ONE_LOGIT}" if target.dim() == 1 else "")
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")


def _check_indices(logits: Tensor, target: Tensor, row_shape: tuple[int, ...]) -> None:
    if target.shape != row_shape:
        if target.dim() > 0 and logits.dim() > 1 and target.shape[0] != logits.shape[0]:
            flat = target.shape == (math.prod(logits.shape[:-1]),)
            call = f"flatten(0, {logits.dim() - 2})"
            raise ValueError(
                f"Expected input batch_size ({logits.shape[0]}) "
                f"to match target batch_size ({target.shape[0]})."
                + (_class_dim(call) if flat else "")
            )
        last = _class_dim(_moved(logits.shape)) if target.shape == logits.shape[:-1] else ""
        raise RuntimeError(
            f"Expected target size {list(row_shape)}, got {list(target.shape)}: logits of shape "
            f"{list(logits.shape)} need class indices of that size, or class probabilities of the "
            f"logits' own shape.{last}"
        )
    if target.dtype not in INDICES:
        name = str(target.dtype).removeprefix("torch.")
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {name}: "
            "class indices are int64, uint8 or int32, and target.long() makes them so."
        )


def wide_indices(target: Tensor, ignore_index: int, num_classes: int) -> Tensor:
    """Class indices that can be compared: of 8 bits −100 is class 156, and 300 classes are 44."""
    if target.dtype != torch.uint8 or (0 <= ignore_index < 256 and num_classes < 256):
        return target
    return target.int()


def _check_devices(bound: Bound, logits: Tensor, target: Tensor, options: Options) -> None:
    """Refuse tensors on several devices: a kernel would read memory that is not there.

    Constant costs may lie on the CPU for logits elsewhere, to which engines move them once.
    """
    read = {"target": target, "weight": options.weight, "sample_weight": options.sample_weight}
    for name, tensor in read.items():
        if tensor is None or (tensor.is_cpu and logits.is_cpu):
            continue
        if tensor.device != logits.device:
            raise _apart(name, tensor, logits)
    if logits.is_cpu and not bound.on_cpu:
        matrices = (term.costs for term in bound.terms if term.costs is not None)
        tables = (table for costs in matrices for table in costs.tables.values())
        raise _apart("the costs", next(table for table in tables if not table.is_cpu), logits)


def _apart(name: str, tensor: Tensor, logits: Tensor) -> RuntimeError:
    return RuntimeError(
        f"Expected all tensors to be on the same device, but {name}: {tensor.device}, logits: "
        f"{logits.device}. Move one of them with .to(device), a criterion with its costs likewise."
    )


def check_range(problem: Problem, wait: bool = False) -> None:
    """Class indices outside [0, C) are an IndexError, where their values can be seen.

    On other devices the check has to ``wait`` for the device; a traced graph has no values yet.
    """
    target, num_classes = problem.given_target, problem.shape[1]
    if (wait or target.device.type == "cpu") and not unseen(target):
        outside = (target != problem.options.ignore_index) & (
            (target < 0) | (target >= num_classes)
        )
        if bool(outside.any()):
            raise out_of_bounds(int(target[outside][0]), num_classes)


def check_costs(problem: Problem, value: Tensor) -> None:
    """Why a loss on the CPU is not finite, where the costs of its samples are the cause.

    They come with every batch, and are not read before the loss itself reads them.
    """
    if (
        problem.bound.has_costs_of_samples
        and value.device.type == "cpu"
        and not unseen(value)
        and not bool(value.isfinite().all())
    ):
        check_costs_of_samples(problem.bound.terms)


def out_of_bounds(target: int, num_classes: int) -> IndexError:
    """The error for a class index that is no class."""
    return IndexError(
        f"Target {target} is out of bounds. Class indices lie between 0 and {num_classes - 1}."
        + (ONE_LOGIT if num_classes == 1 else "")
    )


def _check_weights(
    weight: Tensor | None,
    sample_weight: Tensor | None,
    num_classes: int,
    row_shape: tuple[int, ...],
    dtype: torch.dtype,
) -> None:
    for name, given in (("weight", weight), ("sample_weight", sample_weight)):
        if given is None:
            continue
        check_tensor(name, given)
        if given.dtype == torch.float64 != dtype and given.is_cpu and not unseen(given):
            sizes = given.detach().abs()
            largest = sizes.where(sizes.isfinite(), 0).sum().item()
            if largest > ROOM:
                raise ValueError(
                    f"{name} in float64 sums to {largest:.4g}, for which float32 has no room, and "
                    f"logits are in {dtype}: divide it by its mean, or give logits in float64."
                )
    if weight is not None and weight.shape != (num_classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {num_classes} classes or no classes "
            f"but got weight tensor of shape: {list(weight.shape)}"
        )
    if sample_weight is not None and sample_weight.shape != row_shape:
        raise ValueError(
            f"sample_weight of shape {list(sample_weight.shape)} does not fit: "
            f"expected one weight per row, shape {list(row_shape)}."
        )


def output_dtype(logits: Tensor, probabilities: Tensor | None) -> torch.dtype:
    """The logits' dtype (joined with that of class probabilities); float32 under autocast."""
    dtype = logits.dtype
    if probabilities is not None:
        dtype = torch.promote_types(dtype, probabilities.dtype)
    device = logits.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.promote_types(dtype, torch.float32)
    return dtype


def class_weights(problem: Problem) -> Tensor:
    """The class weight of every row that counts, 0 for ignored rows, (B·P,); for class indices."""
    target = problem.target.reshape(-1)
    kept = target != problem.options.ignore_index
    if problem.options.weight is None:
        return kept.to(problem.compute_dtype)
    truth = torch.where(kept, target, 0).long()
    weight = problem.options.weight.to(problem.compute_dtype)
    return torch.where(kept, weight[truth], 0.0)


def reduce(problem: Problem, losses: Tensor, factors: Tensor | None) -> Tensor:
    """Row losses (B·P,) to the result, with PyTorch's denominators.

    The mean divides by the sum of ``factors``: the class weight of each row that counts (1
    without class weights, 0 for ignored rows), or by the number of rows when that is None.
    ``sample_weight`` multiplies a row's loss and leaves the denominator alone.
    """
    if problem.sample_weight is not None:
        weight = problem.sample_weight.reshape(-1)
        if not problem.soft:  # that of an ignored row may be anything
            kept = problem.target.reshape(-1) != problem.options.ignore_index
            weight = torch.where(kept, weight, 0.0)
        losses = losses * weight.to(losses.dtype)
    if problem.options.reduction == "none":
        result = losses.reshape(problem.row_shape)
    elif problem.options.reduction == "sum":
        result = losses.sum()
    else:
        result = losses.sum() / (losses.numel() if factors is None else factors.sum())
    return result.to(problem.output_dtype)
