# SPDX-License-Identifier: BSD-3-Clause
"""Pictures as SVG: curves over two axes, and tables too large for numbers as an image.

Colours are names of the style sheet, var(--…), and an image is ink of more or less opacity, so that
pictures follow the light and the dark page without a script. Every text is escaped.
"""

import math
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy
from markupsafe import Markup
from numpy.typing import NDArray

from lossmatrix.compare.task import Numbers

WIDTH, HEIGHT = 560, 360
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 12, 54  # what numbers and names of the axes take
TICKS = 5  # at least about so many on an axis
MARGIN = 0.04  # of a range, between its ends and the frame
DOTS = 300  # of an image, at most, across and down: more would not be seen apart
FAINTEST = 0.1  # opacity of the least that is there
MARKERS = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "diamond": "M0-5.5L5.5 0L0 5.5L-5.5 0Z",
    "pointer": "M-6-9H6V9H-6Z",  # is not seen: where a curve says its numbers to the pointer
}


@dataclass(frozen=True)
class Curve:
    """Points in their order: a line, and what stands at each of them.

    A point with a note shows it to the pointer, at a marker where there is one. `errors` are half
    the lengths of bars. What is not finite has no place: the line is interrupted there.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    dotted: bool = False
    marker: str = "pointer"
    errors: Sequence[float] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """A range of values, and the range of places that it is drawn on."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        """The place of a value, in tenths.

        >>> Axis(0, 4, 100, 0)(1)
        '75'
        """
        share = (value - self.low) / (self.high - self.low)
        return f"{self.start + share * (self.end - self.start):.1f}".removesuffix(".0")

    @property
    def ticks(self) -> list[float]:
        """Round numbers within the range.

        >>> Axis(-0.03, 1.02, 0, 100).ticks
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        rough = (self.high - self.low) / TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= 0.9 * rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def axis(values: Iterable[float], start: float, end: float) -> Axis:
    """An axis on which 0 and all finite values have a place, away from its ends."""
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    room = MARGIN * (high - low) or 0.5
    return Axis(low - room, high + room, start, end)


def plot(curves: Sequence[Curve], x_title: str, y_title: str, *, percent: bool = False) -> Markup:
    """Curves over two axes and their legend; `percent` is how x is labelled."""
    x = axis((value for curve in curves for value in curve.x), LEFT, WIDTH - RIGHT)
    ends = [
        value + sign * error
        for curve in curves
        for value, error in zip(curve.y, curve.errors or [0.0] * len(curve.y), strict=True)
        for sign in (-1, 1)
    ]
    y = axis(ends, HEIGHT - BOTTOM, TOP)
    legend = Markup("").join(map(entry, curves))
    inside = [grid(x, y, percent), titles(x_title, y_title)]
    inside += [drawn(curve, x, y) for curve in curves]
    return Markup(
        '<ul class="legend">{}</ul><svg viewBox="0 0 {} {}" aria-hidden="true">{}</svg>'
    ).format(legend, WIDTH, HEIGHT, Markup("").join(inside))


def entry(curve: Curve) -> Markup:
    """The name of a curve beside its colour."""
    kind = "dotted" if curve.dotted else "solid"
    text = '<li><span class="{}" style="color:{}"></span>{}</li>'
    return Markup(text).format(kind, curve.color, curve.name)


def grid(x: Axis, y: Axis, percent: bool) -> Markup:
    """Lines and numbers of both axes."""
    column = '<path class="grid" d="M{0} {1}V{2}"/><text class="x" x="{0}" y="{3}">{4}</text>'
    row = '<path class="grid" d="M{0} {1}H{2}"/><text class="y" x="{3}" y="{1}">{4}</text>'
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    return Markup("").join(
        [
            Markup(column).format(x(tick), TOP, bottom, bottom + 18, label(tick, percent))
            for tick in x.ticks
        ]
        + [Markup(row).format(LEFT, y(tick), right, LEFT - 8, label(tick)) for tick in y.ticks]
    )


def titles(x: str, y: str) -> Markup:
    """The names of both axes."""
    turned = '<text class="x" transform="translate(16 {}) rotate(-90)">{}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    level = Markup('<text class="x" x="{}" y="{}">{}</text>').format(middle[0], HEIGHT - 12, x)
    return level + Markup(turned).format(middle[1], y)


def label(tick: float, percent: bool = False) -> str:
    """A number on an axis.

    >>> label(-1500), label(0.2, percent=True)
    ('−1,500', '20%')
    """
    return f"{tick:.0%}" if percent else f"{tick:,.12g}".replace("-", "−")


def drawn(curve: Curve, x: Axis, y: Axis) -> Markup:
    """One curve with its bars and markers."""
    points = list(zip(curve.x, curve.y, strict=True))
    known = [math.isfinite(a) and math.isfinite(b) for a, b in points]
    starts = [not before for before in [False, *known[:-1]]]
    steps = [
        f"{'M' if start else 'L'}{x(a)} {y(b)}"
        for (a, b), there, start in zip(points, known, starts, strict=True)
        if there
    ]
    line = Markup('<path class="{}" style="stroke:{}" d="{}"/>')
    kind = "curve dotted" if curve.dotted else "curve"
    parts = [line.format(kind, curve.color, "".join(steps))]
    parts += [
        line.format("bar", curve.color, f"M{x(a)} {y(b - error)}V{y(b + error)}")
        for (a, b), error, there in zip(points, curve.errors, known, strict=False)
        if there and math.isfinite(error)
    ]
    mark = Markup('<path class="{}" style="fill:{}" transform="translate({} {})" d="{}">{}</path>')
    parts += [
        mark.format(
            curve.marker,
            curve.color,
            x(a),
            y(b),
            Markup(MARKERS[curve.marker]),
            Markup("<title>{}</title>").format(note),
        )
        for (a, b), note, there in zip(points, curve.notes, known, strict=False)
        if there and note
    ]
    return Markup("").join(parts)


def image(cells: Numbers) -> Markup:
    """A table too large for numbers: the more, the darker; clear where there is nothing to pay.

    Where it is larger than can be seen, a dot is the largest of several cells.
    """
    address = f"data:image/png;base64,{b64encode(png(shades(cells))).decode('ascii')}"
    return Markup('<img alt="" src="{}">').format(address)


def shades(cells: Numbers) -> NDArray[numpy.uint8]:
    """Opacities by the root of what each dot costs, that small things are seen beside large ones.

    >>> shades(numpy.array([[0, 1.0], [4, numpy.inf]]))
    array([[  0, 140],
           [255, 255]], dtype=uint8)
    """
    step = [math.ceil(size / DOTS) for size in cells.shape]
    rows = numpy.maximum.reduceat(cells, range(0, cells.shape[0], step[0]))
    dots = numpy.maximum.reduceat(rows, range(0, cells.shape[1], step[1]), axis=1).clip(0)
    top = dots[numpy.isfinite(dots)].max(initial=0) or 1
    share = numpy.sqrt(numpy.minimum(dots / top, 1))
    return numpy.where(dots > 0, 255 * (FAINTEST + (1 - FAINTEST) * share), 0).astype(numpy.uint8)


def png(opacity: NDArray[numpy.uint8]) -> bytes:
    """Black of these opacities (rows, columns), as the bytes of a PNG file."""
    rows, columns = opacity.shape
    grey_and_alpha = numpy.stack([numpy.zeros_like(opacity), opacity], 2)
    lines = b"".join(b"\0" + line.tobytes() for line in grey_and_alpha)  # each without a filter
    header = struct.pack(">IIBBBBB", columns, rows, 8, 4, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
