# SPDX-License-Identifier: BSD-3-Clause
"""How rows are cut into tiles of lanes × classes, and how tiles are read and written.

Either all lanes share a row, and each has ``width`` neighbouring classes of a tile: rows of many
classes. Or each lane has a row of its own, and a tile is one class: rows of few classes, and
planes, whose positions lie side by side. A step is so many tiles; one that holds the whole row
stays in registers, and else a row is read again for every visit, from the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from lossmatrix.engines.gpu.math import INF


class Grid(NamedTuple):
    """A (batch, classes, positions) tensor: its pointer and strides."""

    data: Any
    batch: Any
    classes: Any
    positions: Any


class Truth(NamedTuple):
    """Class indices (batch, positions) with their strides, and what each row counts."""

    data: Any  # None where probabilities take their place
    batch: Any
    positions: Any
    ignore_index: Any
    weight: Any  # (C,), or None
    sample_weight: Any  # (B · P,), or None
    classes: Any  # how many classes there are; decisions may be more, or fewer


class Shares(NamedTuple):
    """Probabilities that classes are the truth: probability · keep + base, or keep at the truth."""

    probabilities: Any  # Grid, or None
    keep: Any  # (C,), or None for 1
    base: Any  # (C,), or None for 0
    costs: Any  # base · D for each stream, or None


class GradOutput(NamedTuple):
    """What multiplies the gradient of a row: that of the loss, over the denominator of the mean."""

    data: Any  # a number, or one for each row; None for 1
    stride: Any  # 0 or 1
    denominator: Any  # or None


class Cut(NamedTuple):
    """How rows are cut; all of it constants of the kernel."""

    lanes: Any
    width: Any
    tiles: Any  # of a step
    across: Any  # whether all lanes share a row
    held: Any  # whether a step holds the row
    whole: Any  # how many tiles of the last step are full in every row
    column: Any  # tiles of a row, a power of 2
    unit: Any  # of what number all lines in memory are a multiple
    shifted: Any  # whether lines begin before their rows, so that loads are aligned


class Rows(NamedTuple):
    """The rows of a program: (lanes, 1), or (1, 1) where the lanes share one."""

    batch: Any
    position: Any
    number: Any  # b · P + p
    real: Any  # position < P
    counts: Any  # real, not ignored and of a weight other than 0
    truth: Any  # 0 where it is no class
    factor: Any  # class weight: what a row adds to the mean's denominator
    weight: Any  # factor · sample weight; NaN for a truth that is no class


@triton.jit
def multiple(x, UNIT: tl.constexpr):
    """x itself, which is a multiple of UNIT: now the compiler knows, and loads are wide."""
    return x // UNIT * UNIT


@triton.jit
def aligned(classes, positions, grid, CUT):
    """The sizes and strides of a tensor in which lines begin at multiples of UNIT numbers."""
    if CUT.across:
        if CUT.shifted:
            return classes, positions, grid
        else:
            batch, along = multiple(grid.batch, CUT.unit), multiple(grid.positions, CUT.unit)
            return (
                multiple(classes, CUT.unit),
                positions,
                Grid(grid.data, batch, grid.classes, along),
            )
    else:
        batch, along = multiple(grid.batch, CUT.unit), multiple(grid.classes, CUT.unit)
        grid = Grid(grid.data, batch, along, grid.positions)
        return classes, multiple(positions, CUT.unit), grid


@triton.jit
def rows_of(block, truth, positions, NUMBER: tl.constexpr, SHARED: tl.constexpr, CUT):
    """The rows of block number ``block``."""
    count: tl.constexpr = 1 if CUT.across else CUT.lanes
    blocks = tl.cdiv(positions, count)
    batch = (block // blocks).to(tl.int64)
    position = (block % blocks) * count + tl.arange(0, count)[:, None]
    real = position < positions
    number = batch * positions + position
    factor = tl.where(real, 1.0, 0.0).to(NUMBER)
    if truth.data is None:
        y, counts = tl.zeros_like(position), real
    else:
        where = batch * truth.batch + position.to(tl.int64) * truth.positions
        given = tl.load(truth.data + where, mask=real, other=0).to(tl.int64)
        counts = real & (given != truth.ignore_index)
        is_class = (given >= 0) & (given < truth.classes)
        y = tl.where(is_class & counts, given, 0).to(tl.int32)
        factor = tl.where(counts, factor, 0.0)
        if truth.weight is not None:
            factor = factor * tl.load(truth.weight + y)
        factor = tl.where(is_class | (counts == 0), factor, float("nan"))
    weight = factor
    if SHARED:  # class weights are in the shares
        weight = tl.where(factor == factor, tl.where(counts, 1.0, 0.0), factor)
    if truth.sample_weight is not None:
        weight = weight * tl.load(truth.sample_weight + number, mask=real, other=0.0)
    counts = counts & (weight != 0)
    return Rows(batch, position, number, real, counts, y, factor, weight)


@triton.jit
def scale_of(rows, upstream, WEIGHED: tl.constexpr):
    """What multiplies the gradient of every row, with the weights of the row or without."""
    scale = rows.weight if WEIGHED else tl.full(rows.weight.shape, 1.0, rows.weight.dtype)
    if upstream.data is not None:
        place = upstream.data + rows.number * upstream.stride
        scale = scale * tl.load(place, mask=rows.real, other=0.0).to(scale.dtype)
    if upstream.denominator is not None:
        scale = scale / tl.load(upstream.denominator)
    return tl.where(rows.counts, scale, 0.0)


# --- places --------------------------------------------------------------------------------------


@triton.jit
def lines_of(CUT):
    """The first class of every lane in a tile, (lanes, 1); or (1, 1) where a tile is one class."""
    if CUT.across:
        return tl.arange(0, CUT.lanes)[:, None] * CUT.width
    else:
        return tl.zeros((1, 1), tl.int32)


@triton.jit
def shift_of(grid, rows, CUT):
    """How many numbers the line of a row begins before it."""
    if CUT.across and CUT.shifted:
        offset = rows.batch * grid.batch + rows.position.to(tl.int64) * grid.positions
        return (offset % CUT.width).to(tl.int32)
    else:
        return tl.zeros((1, 1), tl.int32)


@triton.jit
def place_of(grid, rows, j):
    """Pointers to classes ``j`` of all rows: 64-bit, tensors can be large."""
    base = grid.data + rows.batch * grid.batch
    along = rows.position.to(tl.int64) * grid.positions
    return base + along + j.to(tl.int64) * grid.classes


@triton.jit
def line_of(grid, rows, shift, CUT):
    """Pointers to where the lines of all rows begin."""
    offset = rows.batch * grid.batch + rows.position.to(tl.int64) * grid.positions
    if CUT.across and CUT.shifted:
        offset = multiple(offset - shift, CUT.width)
    return grid.data + offset


@triton.jit
def classes_of(lines, start, u: tl.constexpr, shift, CUT):
    """The classes of tile ``u`` of a step."""
    if CUT.across:
        first = start + u * (CUT.lanes * CUT.width) - shift
        return lines + first + tl.arange(0, CUT.width)[None, :]
    else:
        return lines + (start + u)


@triton.constexpr_function
def is_edge(u, held, whole, edge):
    """Whether tile ``u`` of a step may reach beyond the classes."""
    return u >= whole if held else edge


@triton.jit
def inside_of(lines, j, start, u: tl.constexpr, classes, CUT):
    """Which classes of a tile there are: whole lines at once, where they are in or out."""
    if CUT.across and CUT.unit % CUT.width == 0 and not CUT.shifted:
        return lines + (start + u * (CUT.lanes * CUT.width)) < classes
    else:
        return (j >= 0) & (j < classes)


@triton.jit
def places_of(grid, line, lines, j, start, u: tl.constexpr, CUT):
    """Pointers to the classes of a tile."""
    if CUT.across:
        place = line + (lines + (start + u * (CUT.lanes * CUT.width)))
        return place + tl.arange(0, CUT.width)[None, :]
    else:
        return line + j.to(tl.int64) * grid.classes


@triton.jit
def read(V, start, u: tl.constexpr, CUT, EDGE: tl.constexpr, AGAIN: tl.constexpr):
    """The logits of tile ``u``, −∞ outside; rows that do not count are rows of zeros.

    A row that is read AGAIN stays in the cache until then.
    """
    policy: tl.constexpr = "evict_last" if AGAIN else "evict_first"
    j = classes_of(V.lines, start, u, V.shift, CUT)
    place = places_of(V.logits, V.line, V.lines, j, start, u, CUT)
    if CUT.across:
        if EDGE:
            inside = inside_of(V.lines, j, start, u, V.classes, CUT)
            if CUT.shifted:  # a line that begins before its row is read whole
                first = V.lines + (start + u * (CUT.lanes * CUT.width)) - V.shift
                z = tl.load(place, mask=first < V.classes, other=-INF, eviction_policy=policy)
                return tl.where(inside, z, -INF)
            else:
                return tl.load(place, mask=inside, other=-INF, eviction_policy=policy)
        else:
            return tl.load(place, eviction_policy=policy)
    else:
        z = tl.load(place, mask=V.rows.real, other=0.0)
        z = tl.where(V.rows.counts, z, 0.0)
        return tl.where(j < V.classes, z, -INF) if EDGE else z


@triton.jit
def write(V, grid, line, start, u: tl.constexpr, value, ADD: tl.constexpr, CUT,
          EDGE: tl.constexpr):  # fmt: skip
    """Write a tile; of a shifted line whole pieces at once, and the ends of the row singly."""
    j = classes_of(V.lines, start, u, V.shift, CUT)
    place = places_of(grid, line, V.lines, j, start, u, CUT)
    if CUT.across:
        inside = inside_of(V.lines, j, start, u, V.classes, CUT) if EDGE else None
        if ADD:
            value += tl.load(place, mask=inside, other=None if inside is None else 0.0)
        value = value.to(grid.data.dtype.element_ty)
        if EDGE and CUT.shifted:
            first = V.lines + (start + u * (CUT.lanes * CUT.width)) - V.shift
            whole = (first >= 0) & (first + CUT.width <= V.classes)
            tl.store(place, value, mask=whole, cache_modifier=".cs")
            tl.store(place, value, mask=inside & (whole == 0))
        else:
            tl.store(place, value, mask=inside, cache_modifier=".cs")
    else:
        inside = V.rows.real & (j < V.classes) if EDGE else V.rows.real
        if ADD:
            value += tl.load(place, mask=inside, other=0.0)
        tl.store(place, value.to(grid.data.dtype.element_ty), mask=inside)


# --- lanes meet ----------------------------------------------------------------------------------


@triton.jit
def total_of(values, CUT):
    """Sums over all lanes of a row."""
    if CUT.across:
        found = ()
        for i in tl.static_range(len(values)):
            found = found + (tl.sum(values[i], 0, keep_dims=True),)
        return found
    else:
        return values


@triton.jit
def largest_of(value, CUT):
    """The largest over all lanes of a row."""
    return tl.max(value, 0, keep_dims=True) if CUT.across else value


# --- results -------------------------------------------------------------------------------------


class Output(NamedTuple):
    """Where losses go: those of rows, or the sums of programs and what becomes of them."""

    losses: Any  # (rows,), or the sums (2, programs) of losses and factors
    counter: Any  # of programs that have arrived; 0 before and after
    value: Any
    denominator: Any
    more: Any  # a sum to be added, or None


@triton.jit
def finish(out, loss, factor, MEAN: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr):
    """The last program to arrive adds up what all have found, in their order."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    tl.store(out.losses + program, loss)
    tl.store(out.losses + programs + program, factor)
    tl.debug_barrier()
    if tl.atomic_add(out.counter, 1) == programs - 1:
        j = tl.arange(0, BLOCK)
        losses = tl.zeros((BLOCK,), loss.dtype)
        factors = tl.zeros((BLOCK,), loss.dtype)
        for start in range(0, programs, BLOCK):
            there = start + j < programs
            place = out.losses + start + j
            losses += tl.load(place, mask=there, other=0.0, cache_modifier=".cg")
            factors += tl.load(place + programs, mask=there, other=0.0, cache_modifier=".cg")
        found = tl.sum(losses, 0)
        if out.more is not None:
            found += tl.load(out.more)
        if MEAN:
            tl.store(out.denominator, tl.sum(factors, 0))
            found = found / tl.sum(factors, 0)
        if ADD:
            found += tl.load(out.value)
        tl.store(out.value, found)
        tl.store(out.counter, 0)


@triton.jit
def count_kernel(
    truth,
    positions,
    blocks,
    out,
    CUT,
    NUMBER: tl.constexpr,
):
    """What a mean divides by, where gradients are made in the same visit as the losses."""
    counted = tl.zeros((CUT.lanes, 1), NUMBER)
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        counted += rows_of(block, truth, positions, NUMBER, False, CUT).factor
    finish(out, tl.sum(counted), tl.sum(counted), False, False, 256)
