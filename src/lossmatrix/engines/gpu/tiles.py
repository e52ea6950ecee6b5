# SPDX-License-Identifier: BSD-3-Clause
"""Which rows a program works on: ``ROWS`` neighbouring positions of one item of the batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Grid(NamedTuple):
    """A (batch, classes, positions) tensor: its pointer and strides."""

    data: Any
    batch: Any
    classes: Any
    positions: Any


class Truth(NamedTuple):
    """Class indices (batch, positions) with their strides, and what each row counts."""

    data: Any
    batch: Any
    positions: Any
    ignore_index: Any
    weight: Any  # (C,), or None
    sample_weight: Any  # (B · P,), or None
    classes: Any  # how many classes there are; decisions may be more, or fewer


class GradOutput(NamedTuple):
    """What multiplies the gradient of a row: that of the loss, over the denominator of the mean."""

    data: Any  # a number, or one for each row; None for 1
    stride: Any  # 0 or 1
    denominator: Any  # or None


class Rows(NamedTuple):
    """The rows of a program; all but ``batch`` are (R, 1)."""

    batch: Any
    position: Any
    number: Any  # b · P + p
    real: Any  # position < P
    counts: Any  # real, not ignored and of a weight other than 0
    truth: Any  # 0 where it is no class
    factor: Any  # class weight: what a row adds to the mean's denominator
    weight: Any  # factor · sample weight; NaN for a truth that is no class


class RowStats(NamedTuple):
    """What is kept of every row from forward to backward: numbers (rows, stride)."""

    data: Any
    stride: Any


@triton.jit
def multiple(x, UNIT: tl.constexpr):
    """x itself, which is a multiple of UNIT: now the compiler knows, and loads are wide."""
    return x // UNIT * UNIT


@triton.jit
def aligned(classes, positions, grid, UNIT: tl.constexpr, PLANES: tl.constexpr):
    """The sizes and strides of a tensor in which lines begin at multiples of UNIT numbers."""
    if PLANES:  # positions lie side by side, in lines of their own for each class
        along = multiple(grid.classes, UNIT)
        grid = Grid(grid.data, multiple(grid.batch, UNIT), along, grid.positions)
        return classes, multiple(positions, UNIT), grid
    else:
        along = multiple(grid.positions, UNIT)
        grid = Grid(grid.data, multiple(grid.batch, UNIT), grid.classes, along)
        return multiple(classes, UNIT), positions, grid


@triton.jit
def rows_of(block, truth, positions, number_type: tl.constexpr, ROWS: tl.constexpr):
    """The rows of block number ``block``."""
    blocks = tl.cdiv(positions, ROWS)
    batch = (block // blocks).to(tl.int64)
    position = (block % blocks) * ROWS + tl.arange(0, ROWS)[:, None]
    real = position < positions
    where = batch * truth.batch + position.to(tl.int64) * truth.positions
    y = tl.load(truth.data + where, mask=real, other=0).to(tl.int64)
    counts = real & (y != truth.ignore_index)
    is_class = (y >= 0) & (y < truth.classes)
    y = tl.where(is_class & counts, y, 0).to(tl.int32)
    number = batch * positions + position
    factor = tl.where(counts, 1.0, 0.0).to(number_type)
    if truth.weight is not None:
        factor = factor * tl.load(truth.weight + y)
    factor = tl.where(is_class | (counts == 0), factor, float("nan"))
    weight = factor
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
    return scale


@triton.jit
def place_of(grid, rows, j):
    """Pointers to classes ``j``, (1, K) or (R, 1), of all rows: 64-bit, tensors can be large."""
    base = grid.data + rows.batch * grid.batch
    along = rows.position.to(tl.int64) * grid.positions
    return base + along + j.to(tl.int64) * grid.classes


@triton.jit
def write_losses(losses, factors, rows, loss, block, REDUCED: tl.constexpr, ADD: tl.constexpr):
    """The loss of every row, or their sum and that of the factors for each program."""
    loss = tl.where(rows.counts, loss * rows.weight, 0.0)
    if REDUCED:
        total = tl.sum(loss)
        if ADD:
            total += tl.load(losses + block)
        tl.store(losses + block, total)
        tl.store(factors + block, tl.sum(rows.factor))
    else:
        if ADD:
            loss += tl.load(losses + rows.number, mask=rows.real, other=0.0)
        tl.store(losses + rows.number, loss, mask=rows.real)


@triton.jit
def write_gradient(grid, rows, j, inside, slopes, scale, ADD: tl.constexpr):
    """The gradient of a tile, scaled before its one rounding; 0 for ignored rows."""
    slopes = tl.where(rows.counts, slopes * scale, 0.0)
    place = place_of(grid, rows, j)
    if ADD:
        slopes += tl.load(place, mask=inside, other=0.0).to(slopes.dtype)
    tl.store(place, slopes.to(grid.data.dtype.element_ty), mask=inside)


@triton.jit
def total(
    losses, factors, more, value, denominator, count, MEAN: tl.constexpr, BLOCK: tl.constexpr
):
    """The sum of the programs' sums and of ``more``, over the denominator for a mean.

    One program, and so one order.
    """
    j = tl.arange(0, BLOCK)
    loss = tl.zeros((BLOCK,), losses.dtype.element_ty)
    factor = tl.zeros((BLOCK,), losses.dtype.element_ty)
    for start in range(0, count, BLOCK):
        loss += tl.load(losses + start + j, mask=start + j < count, other=0.0)
        if MEAN:
            factor += tl.load(factors + start + j, mask=start + j < count, other=0.0)
    found = tl.sum(loss, 0)
    if more is not None:
        found += tl.load(more)
    if MEAN:
        tl.store(denominator, tl.sum(factor, 0))
        found = found / tl.sum(factor, 0)
    tl.store(value, found)
