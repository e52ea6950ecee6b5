# SPDX-License-Identifier: BSD-3-Clause
"""Numbers as people read them, in the terminal, the report and its sentences."""

from lossmatrix.compare.results import Row


def format_cost(cost: float) -> str:
    """A cost in four figures, or in whole numbers where it is large.

    >>> format_cost(0.403), format_cost(12345.6), format_cost(999.97)
    ('0.4030', '12,346', '1,000')
    """
    return f"{cost:,.0f}" if abs(cost) >= 999.95 else f"{cost:#.4g}"


def format_interval(low: float, high: float) -> str:
    """An interval of a difference, each end with its sign.

    >>> format_interval(-0.0104, 0.0196)
    '[−0.010, +0.020]'
    """
    return f"[{low:+.3f}, {high:+.3f}]".replace("-", "−")


def format_difference(row: Row) -> str:
    """The difference to the control and its interval."""
    return f"{row.difference:+.3f} ".replace("-", "−") + format_interval(row.low, row.high)
