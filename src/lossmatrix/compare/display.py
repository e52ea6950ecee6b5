# SPDX-License-Identifier: BSD-3-Clause
"""Numbers as people read them, in the terminal, the report and its sentences."""

import math

from lossmatrix.compare.results import Row


def format_number(number: float, style: str) -> str:
    """A number in a style; infinity as such, and a dash for what is none.

    >>> format_number(0.25, ".3f"), format_number(-math.inf, ".3f"), format_number(math.nan, ".3f")
    ('0.250', '-∞', '–')
    """
    if math.isfinite(number):
        return format(number, style)
    sign = "-" if number < 0 else "+" if style.startswith("+") else ""
    return "–" if math.isnan(number) else f"{sign}∞"


def format_cost(cost: float) -> str:
    """A cost in four figures, or in whole numbers where it is large.

    >>> format_cost(0.403), format_cost(12345.6), format_cost(999.97)
    ('0.4030', '12,346', '1,000')
    """
    return format_number(cost, ",.0f" if abs(cost) >= 999.95 else "#.4g")


def format_interval(low: float, high: float) -> str:
    """An interval of a difference, each end with its sign.

    >>> format_interval(-0.0104, 0.0196)
    '[−0.010, +0.020]'
    """
    ends = f"[{format_number(low, '+.3f')}, {format_number(high, '+.3f')}]"
    return ends.replace("-", "−")


def format_difference(row: Row) -> str:
    """The difference to the control and its interval."""
    difference = format_number(row.difference, "+.3f").replace("-", "−")
    return f"{difference} {format_interval(row.low, row.high)}"
