# SPDX-License-Identifier: BSD-3-Clause
"""From tensors to launches: how rows are cut, and kernels started with little said each time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lossmatrix.costs import CostMatrix
from lossmatrix.engines.gpu.placed import NUMBERS
from lossmatrix.engines.gpu.rows import rows_kernel
from lossmatrix.engines.gpu.softmax import Costs, KernelFormula
from lossmatrix.engines.gpu.tiles import (
    Cut,
    GradOutput,
    Grid,
    Output,
    Shares,
    Truth,
    count_kernel,
)

MAX_OWN = 64  # classes up to which lanes have rows of their own, and hold them
MAX_HELD = 64  # numbers that a lane holds of a row that all lanes share
HELD_NUMBERS = 80  # that a lane holds of rows of its own, with as many positions side by side
STEP_BYTES = 64  # of the numbers in float32 that a lane has of a step, else
WARPS = ((2**15, 4), (3 * 2**15, 8))  # of rows of so many bytes; 16 beyond
ONE = GradOutput(None, 0, None)  # the gradient of a sum of losses


# --- how rows are cut ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiling:
    """How the rows of a call are cut, and how many programs take them."""

    cut: Cut
    warps: int
    blocks: int
    programs: int


@dataclass(frozen=True)
class RowBatch:
    """The tensors of a call as the kernel sees them."""

    logits: Tensor  # (B, C, P)
    target: Tensor | None  # (B, P) class indices, or None
    weight: Tensor | None
    sample_weight: Tensor | None  # (B, P)
    ignore_index: int
    dtype: torch.dtype
    num_truths: int | None = None  # where logits are of decisions: how many classes there are
    shares: Tensor | None = None  # (B, C, P) class probabilities
    keep: Tensor | None = None  # (C,) what shares are multiplied with; set for smoothed indices
    base: Tensor | None = None  # (C,) what is added to them

    @property
    def swapped(self) -> bool:
        """Whether the batch takes the place of the positions, which there is one of."""
        return self.logits.shape[2] == 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Batch, classes and positions as the kernel counts them."""
        batch, classes, positions = self.logits.shape
        return (1, classes, batch) if self.swapped else (batch, classes, positions)

    def strides(self, tensor: Tensor) -> tuple[int, int, int]:
        """The strides of a tensor of the logits' shape."""
        b, c, p = tensor.stride()
        return (0, c, b) if self.swapped else (b, c, p)

    def grid(self, tensor: Tensor | None) -> Grid | None:
        """A tensor of the logits' shape."""
        return None if tensor is None else Grid(tensor, *self.strides(tensor))

    @property
    def truth(self) -> Truth:
        """The targets, and what their rows count."""
        strides = (0, 0)
        if self.target is not None:
            b, p = self.target.stride()
            strides = (0, b) if self.swapped else (b, p)
        classes = self.logits.shape[1] if self.num_truths is None else self.num_truths
        weights = (self.weight, self.sample_weight)
        return Truth(self.target, *strides, self.ignore_index, *weights, classes)

    def shared(self, smooth: tuple[Tensor, ...] | None) -> Shares | None:
        """The probabilities of the truths, if these are no classes."""
        if self.shares is None and self.keep is None:
            return None
        return Shares(self.grid(self.shares), self.keep, self.base, smooth)

    def sliced(self, b: slice, p: slice) -> RowBatch:
        """The rows of some items and positions."""
        sample, y, t = self.sample_weight, self.target, self.shares
        return replace(
            self,
            logits=self.logits[b, :, p],
            target=None if y is None else y[b, p],
            sample_weight=None if sample is None else sample[b, p].contiguous(),
            shares=None if t is None else t[b, :, p],
        )


def is_across(batch: RowBatch, gradient: Tensor | None) -> bool:
    """Whether all lanes share a row: many classes that lie side by side."""
    tensors = [each for each in (batch.logits, gradient) if each is not None]
    return batch.logits.shape[1] > MAX_OWN and all(each.stride(1) == 1 for each in tensors)


def tiling(batch: RowBatch, gradient: Tensor | None, formula: KernelFormula) -> Tiling:
    """Rows cut so that a lane holds what its registers do, and reads 16 bytes at once."""
    items, classes, positions = batch.sizes
    tensors = [each for each in (batch.logits, gradient, batch.shares) if each is not None]
    strides = [batch.strides(each) for each in tensors]
    across = is_across(batch, gradient)
    size = batch.logits.element_size()
    one_pass = formula.one_visit.value and formula.linear_in_p.value
    outer = [(b, p) if across else (b, c) for b, c, p in strides]
    unit = math.gcd(16, classes if across else positions, *(n for pair in outer for n in pair))
    if across:
        width = min(16 // size, triton.next_power_of_2(-(-classes // 32)))
        alike = all((a - b) % width == 0 for pair in outer for a, b in zip(pair, outer[0]))
        shifted = unit % width != 0 and alike
        ends = classes + (width - 1 if shifted else 0)
        held = -(-ends // (32 * width)) * width <= MAX_HELD
        row = classes * size
        warps = 1 if held else next((w for most, w in WARPS if row <= most), 16)
        tiles = -(-ends // (32 * width)) if held else STEP_BYTES // (width * 4 * (1 if one_pass else 2))
        column = triton.next_power_of_2(-(-ends // (32 * warps * width)))
        whole = 0 if shifted else classes // (32 * warps * width)
        cut = Cut(32 * warps, width, tiles, True, held, whole, column, unit, shifted)
        blocks = items * positions
    else:
        held, warps = classes <= MAX_OWN, 4
        tiles = classes if held else 8
        together = HELD_NUMBERS * 4 // (tiles * batch.dtype.itemsize * (1 if one_pass else 2))
        side = 1 if min(abs(p) for _, _, p in strides) > 1 else min(4, max(1, together))
        lanes = 32 * warps * triton.next_power_of_2(side + 1) // 2
        cut = Cut(lanes, 1, tiles, False, held, classes, 1, unit, False)
        blocks = items * -(-positions // lanes)
    most = processors(batch.logits.device) * (32 // warps)
    return Tiling(Cut(*map(tl.constexpr, cut)), warps, blocks, min(blocks, most))


@functools.cache
def processors(device: torch.device) -> int:
    """How many streaming multiprocessors a device has."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


# --- launches ------------------------------------------------------------------------------------


class Launch:
    """A kernel with its grid and constants.

    Triton's public call looks at every argument each time, which takes twice as long as the launch.
    The compiled kernel that it returns is called from the second time on; whoever keeps a launch
    sees to it that arguments are alike in dtype, in alignment and in every number.
    """

    def __init__(self, kernel: Any, programs: int, warps: int, constants: dict[str, Any]) -> None:
        self.kernel, self.programs, self.warps, self.constants = kernel, programs, warps, constants
        self.again: Callable[..., None] | None = None

    def __call__(self, device: torch.device, *arguments: Any) -> None:
        """Start it on the current stream of a device, which need not be the current one."""
        if self.programs == 0:
            return
        with _on(device):
            if self.again is not None:
                stream = torch._C._cuda_getCurrentRawStream(device.index)  # pyright: ignore
                self.again(*arguments, *self.constants.values(), stream=stream)
                return
            options = {"num_warps": self.warps, "enable_fp_fusion": True}
            compiled = self.kernel[(self.programs,)](*arguments, **self.constants, **options)
            if device.type == "cuda":
                self.again = _direct(compiled, self.programs)


def _direct(compiled: object, programs: int) -> Callable[..., None] | None:
    """What starts a compiled kernel, where this version of Triton offers it."""
    if not isinstance(compiled, triton.compiler.CompiledKernel):
        return None
    return compiled[(programs, 1, 1)]


def _on(device: torch.device) -> AbstractContextManager[object]:
    if device.type != "cuda" or torch.cuda.current_device() == device.index:
        return _NOWHERE
    return torch.cuda.device(device)


_NOWHERE = nullcontext()


@dataclass(frozen=True)
class LaunchCall:
    """A formula with its costs and parameters on a device, and the launches that are ready."""

    formula: KernelFormula
    costs: tuple[Costs, ...]
    parameters: Tensor
    matrices: tuple[CostMatrix, ...] = ()
    shares_of_one: bool = False  # whether its formula wants them
    smooth: tuple[Tensor, ...] | None = None  # base · D of smoothed class indices
    launches: dict[object, tuple[Tiling, Launch]] = field(
        default_factory=dict[object, "tuple[Tiling, Launch]"]
    )
    num_made = 0  # rows of numbers that have to be made for each sample first


class Results(NamedTuple):
    """Where the losses of a call go: to rows (B · P,), or summed to a number."""

    rows: Tensor | None
    value: Tensor | None
    denominator: Tensor | None  # of the mean
    mean: bool = False
    more: Tensor | None = None  # a sum to be added


def visit(
    batch: RowBatch,
    call: LaunchCall,
    results: Results | None,
    gradient: Tensor | None = None,
    above: GradOutput = ONE,
    *,
    add: bool = False,
    weighed: bool = True,
    skip: bool = False,
) -> None:
    """The losses of one call, its gradient or both; ``add`` them to what is there already.

    The gradient's rows are ``weighed`` as the losses are, or not; with ``skip`` it is left alone
    where the gradient above is 1.
    """
    z, device = batch.logits, batch.logits.device
    tensors = (z, gradient, batch.target, batch.shares, batch.weight, batch.sample_weight)
    reduced = results is not None and results.rows is None
    key = (
        tuple([None if t is None else _facts(t) for t in tensors]),
        None if above.data is None else (above.data.dtype, above.stride),
        above.denominator is None,
        (reduced, results is None, results is not None and results.mean, add, weighed, skip),
        results is None or results.more is None,
        (batch.ignore_index, batch.num_truths, batch.keep is None, batch.base is None),
        tuple([_facts(costs.tables[0]) for costs in call.costs if costs.made]),
    )
    found = call.launches.get(key)
    if found is None:
        cut = tiling(batch, gradient, call.formula)
        constants = {
            "COUNT": call.parameters.numel(),
            "NUMBER": NUMBERS[batch.dtype],
            "LOSS": results is not None,
            "GRADIENT": gradient is not None,
            "REDUCED": reduced,
            "MEAN": results is not None and results.mean,
            "ADD": add,
            "WEIGHED": weighed,
            "SKIP_IF_UPSTREAM_IS_ONE": skip,
        }
        launch = Launch(rows_kernel, cut.programs, cut.warps, constants)
        found = call.launches[key] = cut, launch
    cut, launch = found
    out = Output(None, None, None, None, None)
    if results is not None:
        losses, counter = results.rows, None
        if reduced:
            losses, counter = z.new_empty(2 * cut.programs, dtype=batch.dtype), _counter(device)
        out = Output(losses, counter, results.value, results.denominator, results.more)
    launch(
        device,
        batch.grid(z),
        batch.grid(gradient),
        batch.truth,
        batch.shared(call.smooth),
        *batch.sizes[1:],
        cut.blocks,
        call.costs,
        call.parameters,
        call.formula,
        cut.cut,
        out,
        above,
    )


def _facts(tensor: Tensor) -> tuple[object, ...]:
    """What Triton compiles a kernel for, and how the tensor is laid out."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.data_ptr() % 16 == 0


_counters: dict[object, Tensor] = {}


def _counter(device: torch.device) -> Tensor:
    """A zero for the programs of a launch to count themselves with; they leave a zero.

    Launches of one stream follow one another. A captured graph may run beside others, and so has
    one of its own.
    """
    stream = 0
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            return torch.zeros(1, dtype=torch.int32, device=device)
        stream = torch._C._cuda_getCurrentRawStream(device.index)  # pyright: ignore
    known = _counters.get((device, stream))
    if known is None:
        known = _counters[device, stream] = torch.zeros(1, dtype=torch.int32, device=device)
    return known


def grad_output(upstream: Tensor, over: Tensor | None) -> GradOutput:
    """What multiplies the gradient: a number, or one for each row."""
    per_row = upstream.dim() > 0 and any(upstream.stride())
    return GradOutput(upstream.reshape(-1) if per_row else upstream, int(per_row), over)


_counts: dict[object, tuple[Cut, Launch, int]] = {}


def denominator(batch: RowBatch) -> Tensor:
    """What the mean divides by, where gradients are made in the same visit as the losses."""
    z, y = batch.logits, batch.target
    items, _, positions = batch.sizes
    value = z.new_empty((), dtype=batch.dtype)
    if y is None:
        return value.fill_(items * positions)
    key = (_facts(y), z.device, batch.dtype, batch.sizes, batch.weight is None, batch.ignore_index)
    known = _counts.get(key)
    if known is None:
        lanes = 1024
        blocks = items * -(-positions // lanes)
        programs = min(blocks, 4 * processors(z.device))
        cut = Cut(*map(tl.constexpr, (lanes, 1, 1, False, False, 1, 1, 1, False)))
        launch = Launch(count_kernel, programs, 4, {"NUMBER": NUMBERS[batch.dtype]})
        known = _counts[key] = cut, launch, blocks
    cut, launch, blocks = known
    parts = z.new_empty(2 * launch.programs, dtype=batch.dtype)
    out = Output(parts, _counter(z.device), value, None, None)
    launch(z.device, batch.truth._replace(sample_weight=None), positions, blocks, out, cut)
    return value if launch.programs else value.zero_()
