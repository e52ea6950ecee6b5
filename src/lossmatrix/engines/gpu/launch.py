# SPDX-License-Identifier: BSD-3-Clause
"""From tensors to launches: formulas, costs and block sizes made ready, and kernels started."""

from __future__ import annotations

import functools
import linecache
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lossmatrix.codegen.costs import print_triton
from lossmatrix.costs import CostMatrix, Dense, PerExample, Sparse, Tree
from lossmatrix.costs.transformed import SoftTargets, Wrapper
from lossmatrix.engines.gpu import costs as kinds
from lossmatrix.engines.gpu import math as words
from lossmatrix.engines.gpu.one_pass import fused_kernel
from lossmatrix.engines.gpu.softmax import Costs, KernelFormula
from lossmatrix.engines.gpu.tiles import GradOutput, Grid, RowStats, Truth, total
from lossmatrix.engines.gpu.two_pass import backward_kernel, forward_kernel
from lossmatrix.engines.plan import NoKernelError

MAX_TABLE_CLASSES = 2048  # classes up to which a matrix of another kind is written out as a table
ONE_PASS_ROWS, ONE_PASS_PLANES = 8192, 128  # classes of which the chip holds whole rows
BLOCK_ROWS, BLOCK_PLANES = 4096, 64  # classes of a block where it does not
MIN_BYTES_GRADIENT_IN_FORWARD = (
    2**22
)  # bytes of logits from which slopes are made in the same visit as a scalar loss
STATS = 8  # numbers kept of a row besides the sums of its formula

NUMBERS = {torch.float32: tl.float32, torch.float64: tl.float64}
ONE = GradOutput(None, 0, None)  # the gradient of a sum of losses


# --- printed functions ---------------------------------------------------------------------------


def formula(name: str, text: str) -> KernelFormula:
    """The printed formula of a loss as functions."""
    found = _executed(name, text, vars(words))
    made = (found[field] for field in KernelFormula._fields)
    return KernelFormula(*(each if callable(each) else tl.constexpr(each) for each in made))


@functools.cache
def _cost_function(name: str, text: str) -> Any:
    """The printed formula of a matrix as a function."""
    return _executed(name, text, vars(kinds))[name]


def _executed(name: str, text: str, known: dict[str, Any]) -> dict[str, Any]:
    """The names that a printed text defines.

    Triton reads a function's source where ``inspect`` finds it, so it is put where doctest and
    attrs put theirs: into the cache of lines, under a name that is no file's.
    """
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    found: dict[str, Any] = dict(known)
    exec(compile(text, file, "exec"), found)
    return found


# --- costs ---------------------------------------------------------------------------------------


def placed(costs: CostMatrix, device: torch.device, dtype: torch.dtype, planes: bool) -> Costs:
    """Costs as a kernel reads them: a table, the formula of the kind, or a kind made by hand."""
    moved = costs.to(device, dtype)
    t = moved.tables
    match moved:
        case Dense():
            return _dense(t["table"].to(dtype), planes)
        case PerExample():
            table = t["table"].to(dtype)
            table = table if table.stride(-1) == 1 else table.contiguous()
            between = 0 if table.dim() == 2 else table.stride(1)
            return Costs(kinds.per_sample, (table, table.stride(0), between))
        case Tree():
            return _tree(t, dtype)
        case Sparse():
            count = t["per_truth"]
            begin = torch.nn.functional.pad(count.cumsum(0), (1, 0)).int()
            most = int(count.max()) if count.numel() else 0
            tables = (t["default"].to(dtype), begin, t["decision"].int(), t["cost"].to(dtype), most)
            return Costs(kinds.sparse, tables)
        case SoftTargets() if moved.num_samples is None:
            base = placed(moved.base, device, dtype, planes)
            facts = (each.to(device, dtype) for each in moved.softmax_facts)
            temperature = torch.tensor([moved.temperature], device=device, dtype=dtype)
            return Costs(kinds.soft_targets, (base, *facts, temperature))
        case Wrapper() if moved.has_change:
            return _printed(moved, (placed(moved.base, device, dtype, planes),), device, dtype)
        case _ if moved.has_formula:
            return _printed(moved, (), device, dtype)
        case _ if moved.num_samples is None and moved.num_classes <= MAX_TABLE_CLASSES:
            return _dense(Dense(moved.to_dense()).tables["table"].to(dtype), planes)
        case _:
            raise NoKernelError(
                f"{costs!r} is of a kind that its kernels know up to {MAX_TABLE_CLASSES} classes, "
                "and for costs that depend on the truth alone"
            )


def _printed(
    costs: CostMatrix, base: tuple[Costs, ...], device: torch.device, dtype: torch.dtype
) -> Costs:
    """The formula of a kind, or what it makes of an entry of its base."""
    printed = print_triton(costs, str(NUMBERS[dtype]).replace("fp", "tl.float"))
    tables = [costs.tables[name] for name in printed.tables]
    tables = [table.to(dtype) if table.is_floating_point() else table.int() for table in tables]
    numbers = [torch.tensor([x], device=device, dtype=dtype) for x in printed.numbers]
    exponents = [torch.tensor([x], device=device, dtype=torch.float64) for x in printed.exponents]
    at = _cost_function(printed.name, printed.text)
    return Costs(at, (*base, *tables, *numbers, *exponents))


def _dense(table: Tensor, planes: bool) -> Costs:
    table = table.t().contiguous() if planes else table.contiguous()
    stride = table.stride(0)
    at = kinds.dense_turned if planes else kinds.dense
    return Costs(at, (table, stride, tl.constexpr(math.gcd(stride, 16))))


def _tree(t: dict[str, Tensor], dtype: torch.dtype) -> Costs:
    """For each class the nodes above it, from its leaf up: intervals of ranks, and climbs."""
    node, path = t["leaf"], []
    while bool((node != 0).any()):
        path.append(node)
        node = t["parent"][node]
    climb = t["cost"][t["parent"]] - t["cost"]
    steps = [torch.stack([table[node] for node in path], 1) for table in (t["start"], t["stop"])]
    climbs = torch.stack([climb[node] for node in path], 1).to(dtype).contiguous()
    begin, end = (step.int().contiguous() for step in steps)
    return Costs(kinds.tree, (t["rank"].int(), begin, end, climbs, tl.constexpr(len(path))))


# --- block sizes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiling:
    """The blocks of a call: how many rows and classes a program holds, and with how many warps."""

    rows: int
    classes: int
    warps: int
    fits_on_chip: bool


def tiling(classes: int, planes: bool, dtype: torch.dtype) -> Tiling:
    """Blocks by rule: so many numbers a thread as fit its registers, at least one wide load.

    Those are 16 for whole rows, 32 for planes and 8 for blocks; half of it in float64.
    """
    width = triton.next_power_of_2(classes)
    largest, block = (ONE_PASS_PLANES, BLOCK_PLANES) if planes else (ONE_PASS_ROWS, BLOCK_ROWS)
    fits = width <= largest
    held = width if fits else block
    rows = max(1, (4096 if planes else 2048) // held)
    each = 32 if planes else 16 if fits else 8
    warps = rows * held // (32 * (each // 2 if dtype == torch.float64 else each))
    return Tiling(rows, held, min(16, max(4, warps)), fits)


# --- calls ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LaunchCall:
    """A formula with its costs and parameters on a device."""

    formula: KernelFormula
    costs: tuple[Costs, ...]
    parameters: Tensor
    num_made = 0  # rows of numbers that have to be made for each sample first


@dataclass(frozen=True)
class RowBatch:
    """The tensors of a call as the kernels see them, and how they are cut."""

    logits: Tensor  # (B, C, P)
    target: Tensor
    weight: Tensor | None
    sample_weight: Tensor | None
    ignore_index: int
    dtype: torch.dtype
    num_truths: int | None = None  # where logits are of decisions: how many classes there are

    def sliced(self, b: slice, p: slice) -> RowBatch:
        """The rows of some items and positions."""
        sample = None if self.sample_weight is None else self.sample_weight[b, p].contiguous()
        z, y = self.logits[b, :, p], self.target[b, p]
        return replace(self, logits=z, target=y, sample_weight=sample)

    @property
    def swapped(self) -> bool:
        """Whether the batch takes the place of the positions, which there is one of."""
        return self.logits.shape[2] == 1

    @property
    def planes(self) -> bool:
        """Whether positions lie side by side in memory."""
        return channels_first(self.logits)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """RowBatch, classes and positions as the kernels count them."""
        batch, classes, positions = self.logits.shape
        return (1, classes, batch) if self.swapped else (batch, classes, positions)

    @property
    def tiling(self) -> Tiling:
        """How it is cut into blocks."""
        return tiling(self.logits.shape[1], self.planes, self.dtype)

    @property
    def programs(self) -> int:
        """How many blocks of rows there are."""
        batch, _, positions = self.sizes
        return batch * -(-positions // self.tiling.rows)

    def grid(self, tensor: Tensor) -> Grid:
        """A tensor of the logits' shape."""
        b, c, p = tensor.stride()
        return Grid(tensor, 0, c, b) if self.swapped else Grid(tensor, b, c, p)

    @property
    def truth(self) -> Truth:
        """The targets, and what their rows count."""
        b, p = self.target.stride()
        strides = (0, b) if self.swapped else (b, p)
        classes = self.logits.shape[1] if self.num_truths is None else self.num_truths
        weights = (self.weight, self.sample_weight)
        return Truth(self.target, *strides, self.ignore_index, *weights, classes)

    @property
    def denominator(self) -> Tensor:
        """What the mean divides by, where slopes are made in the same visit as the losses."""
        counts = self.target != self.ignore_index
        if self.weight is None:
            return counts.sum(dtype=self.dtype)
        truth = torch.where(counts, self.target, 0).long().clamp(0, len(self.weight) - 1)
        return torch.where(counts, self.weight[truth], 0.0).sum()

    def options(self, call: LaunchCall, gradient: Tensor | None) -> dict[str, Any]:
        """How the kernels cut and read logits and gradient."""
        tiles, (_, classes, positions) = self.tiling, self.sizes
        unit = math.gcd(16, positions if self.planes else classes)
        for tensor in (self.logits, gradient):  # of how many numbers all lines are a multiple
            if tensor is not None:
                b, c, p = tensor.stride()
                outer = (b, c) if self.planes else (b, 0 if self.swapped else p)
                unit = math.gcd(unit, *outer)
        return {
            "NUMBER": NUMBERS[self.dtype],
            "ROWS": tiles.rows,
            "CLASSES": tiles.classes,
            "UNIT": unit,
            "PLANES": self.planes,
            "COUNT": call.parameters.numel(),
            "num_warps": tiles.warps,
        }


def channels_first(logits: Tensor) -> bool:
    """Whether the positions of (B, C, P) logits lie side by side in memory."""
    _, classes, positions = logits.shape
    return positions > 1 and classes > 1 and logits.stride(2) == 1


class ForwardOutput(NamedTuple):
    """What forward finds: the losses (B·P,) or their reduction (), and what backward needs.

    ``row_stats`` (calls, B·P, numbers) and ``argmax`` (calls, B·P) are empty where rows fit on
    the chip; ``made`` (…, B·P, C) is what was made between kernels.
    """

    value: Tensor
    denominator: Tensor  # of the mean
    row_stats: Tensor
    argmax: Tensor
    made: Tensor


def losses(
    batch: RowBatch,
    calls: Sequence[LaunchCall],
    outcome: ForwardOutput,
    further: Tensor | None,
    reduction: str,
    gradient: Tensor | None = None,
) -> ForwardOutput:
    """The losses; and in ``gradient``, if it is given, their slopes for an upstream of 1.

    ``further`` losses (rows,) are added to them.
    """
    z, programs, reduced = batch.logits, batch.programs, reduction != "none"
    parts = z.new_empty(2, programs if reduced else batch.target.numel(), dtype=batch.dtype)
    if further is not None and not reduced:
        parts[0] = further
    over = batch.denominator if gradient is not None and reduction == "mean" else None
    for i, call in enumerate(calls):
        stats = outcome.row_stats[i], outcome.argmax[i]
        at_once = gradient, GradOutput(None, 0, over)
        add = i > 0 or (further is not None and not reduced)
        forward(batch, call, parts[0], parts[1] if reduced else None, stats, add, *at_once)
    if not reduced:
        return outcome._replace(value=parts[0])
    more = None if further is None else further.sum()
    arguments = (*parts, more, outcome.value, outcome.denominator, programs)
    launch(total, batch, 1, *arguments, MEAN=reduction == "mean", BLOCK=1024, num_warps=4)
    return outcome


def forward(
    batch: RowBatch,
    call: LaunchCall,
    losses: Tensor,
    factors: Tensor | None,
    stats: tuple[Tensor, Tensor],
    add: bool,
    gradient: Tensor | None = None,
    above: GradOutput = ONE,
    weighed: bool = True,
) -> None:
    """The losses of one call; with ``factors`` they are summed for each program.

    Where rows fit on the chip their ``gradient`` is made in the same visit; where they do not,
    ``stats`` are filled with what it needs. Its rows are ``weighed`` as the losses are, or not.
    """
    inputs = (batch.truth, *batch.sizes[1:], call.costs, call.parameters, call.formula)
    options = batch.options(call, gradient) | {"ADD": add, "REDUCED": factors is not None}
    z, programs = batch.grid(batch.logits), batch.programs
    if batch.tiling.fits_on_chip:
        slopes = None if gradient is None else batch.grid(gradient)
        flags = {"LOSS": True, "SLOPES": slopes is not None, "SKIP_IF_UPSTREAM_IS_ONE": False}
        options["WEIGHED"] = weighed
        arguments = (z, slopes, *inputs, losses, factors, above)
        launch(fused_kernel, batch, programs, *arguments, **options, **flags)
    else:
        kept, tops = stats
        arguments = (z, *inputs, losses, factors, RowStats(kept, kept.shape[1]), tops)
        launch(forward_kernel, batch, programs, *arguments, **options)


def blank(
    logits: Tensor, calls: Sequence[Any], dtype: torch.dtype, reduction: str
) -> ForwardOutput:
    """Tensors for an outcome, with nothing in them yet."""
    batch, classes, positions = logits.shape
    shape, rows = () if reduction != "none" else (0,), batch * positions
    width = STATS + max((call.formula.sums.value for call in calls), default=0)
    height = 0 if tiling(classes, channels_first(logits), dtype).fits_on_chip else rows
    return ForwardOutput(
        logits.new_empty(shape, dtype=dtype),
        logits.new_empty(shape, dtype=dtype),
        logits.new_empty(len(calls), height, width, dtype=dtype),
        logits.new_empty(len(calls), height, dtype=torch.int32),
        logits.new_empty(sum(call.num_made for call in calls), rows, classes, dtype=dtype),
    )


def gradients(
    batch: RowBatch,
    calls: Sequence[LaunchCall],
    upstream: Tensor,
    over: Tensor | None,
    kept: Tensor,
    tops: Tensor,
    gradient: Tensor | None = None,
) -> Tensor:
    """The gradient (B, C, P) in the logits' dtype, made from the logits again.

    A ``gradient`` that was made in forward is right for an upstream of 1, and made again for any
    other; the device decides, so that nobody waits for it.
    """
    dtype = batch.dtype if len(calls) > 1 else batch.logits.dtype  # a sum is rounded once
    made = torch.empty_like(batch.logits, dtype=dtype) if gradient is None else gradient
    above = grad_output(upstream, over)
    for i, call in enumerate(calls):
        backward(batch, call, made, above, (kept[i], tops[i]), i > 0, gradient is not None)
    return made.to(batch.logits.dtype)


def grad_output(upstream: Tensor, over: Tensor | None) -> GradOutput:
    """What multiplies the gradient: a number, or one for each row."""
    per_row = upstream.dim() > 0 and any(upstream.stride())
    return GradOutput(upstream.reshape(-1) if per_row else upstream, int(per_row), over)


def backward(
    batch: RowBatch,
    call: LaunchCall,
    gradient: Tensor,
    above: GradOutput,
    stats: tuple[Tensor, Tensor],
    add: bool,
    is_made: bool = False,
    weighed: bool = True,
) -> None:
    """The gradient of one call; ``is_made`` where it is there already for an upstream of 1."""
    inputs = (batch.truth, *batch.sizes[1:], call.costs, call.parameters, call.formula)
    options = batch.options(call, gradient) | {"ADD": add, "WEIGHED": weighed}
    grids, programs = (batch.grid(batch.logits), batch.grid(gradient)), batch.programs
    if batch.tiling.fits_on_chip:
        flags = {"LOSS": False, "SLOPES": True, "SKIP_IF_UPSTREAM_IS_ONE": is_made}
        arguments = (*grids, *inputs, None, None, above)
        launch(fused_kernel, batch, programs, *arguments, REDUCED=False, **options, **flags)
    else:
        (kept, tops), blocks = stats, -(-batch.logits.shape[1] // batch.tiling.classes)
        arguments = (*grids, *inputs, RowStats(kept, kept.shape[1]), tops, above)
        launch(backward_kernel, batch, programs * blocks, *arguments, **options)


def launch(kernel: Any, batch: RowBatch, programs: int, *arguments: Any, **options: Any) -> None:
    """Start a kernel on the device of the tensors, which need not be the current one."""
    if programs > 0:
        with _on(batch.logits.device):
            kernel[(programs,)](*arguments, enable_fp_fusion=True, **options)


def _on(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
