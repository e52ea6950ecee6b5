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

WARP = 32  # threads
MAX_OWN = 64  # classes up to which lanes have rows of their own, if classes lie side by side
MAX_OWN_HELD = 24  # classes that they hold: Triton compiles more and more slowly for more
MAX_HELD = 64  # numbers that a lane holds of a row that all lanes share
STEP_TILES = 2  # of a step of a longer row
OWN_NUMBERS = 80  # that a lane holds of rows of its own: up to four positions side by side
OWN_FEW_NUMBERS = 20  # that it has where rows are longer, or visited twice: warps hide the waiting
OWN_WARPS = 4
MAX_PROGRAMS = 32  # of a multiprocessor, if they are warps
WARPS = ((2**15, 4), (3 * 2**15, 8), (3 * 2**16, 16))  # of longer rows of up to so many bytes
MAX_WARPS = 32  # beyond; what the rows in flight take is then about what the L2 cache holds
STREAM_REGISTERS = 64  # of a lane: 32 warps have room on a multiprocessor, to wait for memory
ONE = GradOutput(None, 0, None)  # the gradient of a sum of losses


# --- how rows are cut ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiling:
    """How the rows of a call are cut, and how many programs take them."""

    cut: Cut
    warps: int
    blocks: int
    programs: int
    registers: int | None  # of a lane, if they are bounded


@dataclass(slots=True)
class RowBatch:
    """The tensors of a call as the kernel sees them: logits (B, C) or (B, C, P)."""

    logits: Tensor
    target: Tensor | None  # (B,) or (B, P) class indices, or None
    weight: Tensor | None
    sample_weight: Tensor | None  # (B,) or (B, P)
    ignore_index: int
    dtype: torch.dtype
    num_truths: int | None = None  # where logits are of decisions: how many classes there are
    shares: Tensor | None = None  # class probabilities, shaped as the logits
    keep: Tensor | None = None  # (C,) what shares are multiplied with; set for smoothed indices
    base: Tensor | None = None  # (C,) what is added to them
    divided: bool = False  # whether the mean's denominator is in the weights
    facts: tuple[object, ...] | None = field(default=None, init=False)

    @property
    def wide(self) -> RowBatch:
        """The same with logits (B, C, P)."""
        if self.logits.dim() == 3:
            return self
        y, s, t = self.target, self.sample_weight, self.shares
        return replace(
            self,
            logits=self.logits.unsqueeze(2),
            target=None if y is None else y.unsqueeze(1),
            sample_weight=None if s is None else s.unsqueeze(1),
            shares=None if t is None else t.unsqueeze(2),
        )

    @property
    def swapped(self) -> bool:
        """Whether the batch takes the place of the positions, which there is one of."""
        return self.logits.dim() == 2 or self.logits.shape[2] == 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Batch, classes and positions as the kernel counts them."""
        shape = self.logits.shape
        return (1, shape[1], shape[0]) if self.swapped else (shape[0], shape[1], shape[2])

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.sizes[0] * self.sizes[2]

    def strides(self, tensor: Tensor) -> tuple[int, int, int]:
        """The strides of a tensor of the logits' shape."""
        strides = tensor.stride()
        if self.swapped:
            return 0, strides[1], strides[0]
        b, c, p = strides
        return b, c, p

    def grid(self, tensor: Tensor | None) -> Grid | None:
        """A tensor of the logits' shape."""
        return None if tensor is None else Grid(tensor, *self.strides(tensor))

    @property
    def truth(self) -> Truth:
        """The targets, and what their rows count."""
        b = p = 0
        if self.target is not None:
            strides = self.target.stride()
            b, p = (0, strides[0]) if self.swapped else strides
        classes = self.logits.shape[1] if self.num_truths is None else self.num_truths
        weights = (self.weight, self.sample_weight)
        return Truth(self.target, b, p, self.ignore_index, *weights, classes)

    def shared(self, smooth: tuple[Tensor, ...] | None) -> Shares | None:
        """The probabilities of the truths, if these are no classes."""
        if self.shares is None and self.keep is None:
            return None
        return Shares(self.grid(self.shares), self.keep, self.base, smooth)

    @property
    def key(self) -> tuple[object, ...]:
        """What a kernel is compiled for, and how the tensors are laid out; backward asks again."""
        if self.facts is None:
            tensors = (self.logits, self.target, self.shares, self.weight, self.sample_weight)
            facts = [None if tensor is None else _facts(tensor) for tensor in tensors]
            shares = (self.keep is None, self.base is None)
            self.facts = (*facts, self.ignore_index, self.num_truths, *shares)
        return self.facts

    def sliced(self, b: slice, p: slice) -> RowBatch:
        """The rows of some items and positions, of logits (B, C, P)."""
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
    items, _, positions = batch.sizes
    one_pass = formula.one_visit.value and formula.linear_in_p.value
    if is_across(batch, gradient):
        cut, warps = _across(batch, gradient, one_pass)
        blocks = items * positions
    else:
        cut, warps = _own(batch, gradient, one_pass)
        blocks = items * -(-positions // cut.lanes)
    most = processors(batch.logits.device) * (MAX_PROGRAMS // warps)
    streams = cut.across and not cut.held and one_pass and batch.dtype == torch.float32
    registers = STREAM_REGISTERS if streams else None
    programs = min(max(blocks, 1), most)  # one of no rows says that their sum is 0
    return Tiling(Cut(*map(tl.constexpr, cut)), warps, blocks, programs, registers)


def _strides(batch: RowBatch, gradient: Tensor | None) -> list[tuple[int, int, int]]:
    tensors = (batch.logits, gradient, batch.shares)
    return [batch.strides(each) for each in tensors if each is not None]


def _across(batch: RowBatch, gradient: Tensor | None, one_pass: bool) -> tuple[Cut, int]:
    """A row to all lanes; the warps that they are."""
    classes, size = batch.logits.shape[1], batch.logits.element_size()
    outer = [(b, p) for b, _, p in _strides(batch, gradient)]
    unit = math.gcd(16, classes, *(n for pair in outer for n in pair))
    width = min(16 // size, triton.next_power_of_2(-(-classes // WARP)))
    alike = all((a - b) % width == 0 for pair in outer for a, b in zip(pair, outer[0], strict=True))
    shifted = unit % width != 0 and alike
    ends = classes + (width - 1 if shifted else 0)
    held = -(-ends // (WARP * width)) * width <= MAX_HELD
    most = MAX_WARPS if one_pass else MAX_WARPS // 2
    warps = 1 if held else next((w for row, w in WARPS if classes * size <= row), most)
    lanes = WARP * warps
    tiles = -(-ends // (lanes * width)) if held else STEP_TILES
    if not (held or one_pass) and width > 4:
        tiles = 1  # more do not fit the registers of 16 warps
    last = classes % (tiles * lanes * width) or tiles * lanes * width
    whole = 0 if shifted else last // (lanes * width)
    column = triton.next_power_of_2(-(-ends // (lanes * width)))
    return Cut(lanes, width, tiles, True, held, whole, column, unit, shifted), warps


def _own(batch: RowBatch, gradient: Tensor | None, one_pass: bool) -> tuple[Cut, int]:
    """A row to each lane; the warps of a program."""
    classes, positions, strides = batch.logits.shape[1], batch.sizes[2], _strides(batch, gradient)
    held = classes <= MAX_OWN_HELD
    tiles = classes if held else min(range(10, 5, -1), key=lambda n: -classes % n)
    numbers = OWN_NUMBERS if one_pass and held else OWN_FEW_NUMBERS
    room = numbers * 4 // (tiles * batch.dtype.itemsize * (1 if one_pass else 2))
    side_by_side = all(p == 1 for _, _, p in strides)
    rows = 2 ** (min(4, room).bit_length() - 1) if side_by_side and room > 0 else 1
    unit = math.gcd(16, positions, *(n for b, c, _ in strides for n in (b, c)))
    lanes = WARP * OWN_WARPS * rows
    return Cut(lanes, 1, tiles, False, held, classes % tiles or tiles, 1, unit, False), OWN_WARPS


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

    def __init__(
        self,
        kernel: Any,
        programs: int,
        warps: int,
        constants: dict[str, Any],
        registers: int | None = None,
    ) -> None:
        self.kernel, self.programs, self.constants = kernel, programs, constants
        self.options = {"num_warps": warps, "maxnreg": registers, "enable_fp_fusion": True}
        self.again: Callable[..., None] | None = None

    def __call__(self, device: torch.device, *arguments: Any) -> None:
        """Start it on the current stream of a device, which need not be the current one."""
        with _on(device):
            if self.again is not None:
                stream = torch._C._cuda_getCurrentRawStream(device.index)  # pyright: ignore
                self.again(*arguments, *self.constants.values(), stream=stream)
                return
            compiled = self.kernel[(self.programs,)](*arguments, **self.constants, **self.options)
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
    reduced = results is not None and results.rows is None
    key = (
        batch.key,
        None if gradient is None else _facts(gradient),
        None if above.data is None else (above.data.dtype, above.stride),
        above.denominator is None,
        (reduced, results is None, results is not None and results.mean, add, weighed, skip),
        results is None or results.more is None,
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
        launch = Launch(rows_kernel, cut.programs, cut.warps, constants, cut.registers)
        found = call.launches[key] = cut, launch
    cut, launch = found
    out = Output(None, None, None, None, None)
    if results is not None:
        losses, counter = _scratch(device, batch.dtype) if reduced else (results.rows, None)
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


Scratch = tuple[Tensor, Tensor]
_scratches: dict[object, Scratch] = {}


def _scratch(device: torch.device, dtype: torch.dtype) -> Scratch:
    """Room for what programs have found, and a zero to count themselves with; they leave a zero.

    Launches of one stream follow one another. A captured graph may run beside others, and so has
    room of its own.
    """
    stream = 0
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            return _room(device, dtype)
        stream = torch._C._cuda_getCurrentRawStream(device.index)  # pyright: ignore
    key = (device, dtype, stream)
    known = _scratches.get(key)
    if known is None:
        known = _scratches[key] = _room(device, dtype)
    return known


def _room(device: torch.device, dtype: torch.dtype) -> Scratch:
    found = torch.empty(2 * MAX_PROGRAMS * processors(device), dtype=dtype, device=device)
    return found, torch.zeros(1, dtype=torch.int32, device=device)


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
        programs = min(max(blocks, 1), MAX_PROGRAMS // 4 * processors(z.device))
        cut = Cut(*map(tl.constexpr, (lanes, 1, 1, False, False, 1, 1, 1, False)))
        launch = Launch(count_kernel, programs, 4, {"NUMBER": NUMBERS[batch.dtype]})
        known = _counts[key] = cut, launch, blocks
    cut, launch, blocks = known
    out = Output(*_scratch(z.device, batch.dtype), value, None, None)
    launch(z.device, batch.truth._replace(sample_weight=None), positions, blocks, out, cut)
    return value
