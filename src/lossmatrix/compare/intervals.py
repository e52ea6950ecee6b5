# SPDX-License-Identifier: BSD-3-Clause
"""How sure a difference is: intervals over rows, seeds and folds, and the verdict."""
# scipy and pandas carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy
import pandas
from numpy.typing import NDArray
from scipy.stats import t as student

from lossmatrix.compare.task import Indices, Numbers

Verdict: TypeAlias = Literal["better", "worse", "no difference", "undecided"]

MARGIN = 0.02  # of the control's cost: a smaller difference does not matter,
LEAST_MARGIN = 0.001  # nor does one below this in normalised cost, where the control is near 0
RESAMPLES = 10_000
FEW_ROWS = 30  # a class with fewer test rows is resampled on its own, so it never vanishes
BLOCK = 4_000_000  # entries of one block of resamples, which bounds memory
MANY_ROWS = 20_000  # more are not drawn one by one
RANDOM_GROUPS = 5_000  # in their place, from which a spread is known to one per cent
MULTINOMIAL = 8  # the count of one kind takes about as long as the drawing of so many rows


def paired_intervals(
    differences: Numbers, target: Indices, weight: Numbers, groups: Indices | None = None
) -> Numbers:
    """95 % percentile intervals (M, 2) of the weighted mean of `differences` (M, seeds, N).

    Rows and seeds are drawn with replacement independently of each other, and one draw of rows
    serves all seeds and all M methods: rows are the same rows in every seed, so drawing them anew
    for each seed would understate the uncertainty they bring (Owen 2007, "The pigeonhole
    bootstrap"). Where a class has fewer than 30 rows, rows are drawn class by class. Rows of one of
    the `groups` (N,) are drawn together, a group as a row of its mean and of its weight, in the
    place of its rarest class. An infinite difference makes every mean infinite that it is part of,
    and NaN with one of the other sign.

    Decisions cost few different amounts, so most rows are like others, and it is how many are drawn
    of each kind that counts: a million rows take no longer than their kinds. Where there are very
    many rows of as many kinds, as with costs of their own, thousands of groups of random rows are
    drawn in their place, whose means vary as those of rows do.
    """
    if groups is not None:
        differences, target, weight = grouped(differences, target, weight, groups)
    if len(weight) > MANY_ROWS:
        stratum = strata_of(target)
        apart = [len(kinds([stratum, weight, *each])[1]) for each in differences]
        if max(apart) * MULTINOMIAL <= MANY_ROWS:
            return numpy.concatenate(
                [bootstrap(each[None], stratum, weight) for each in differences]
            )
        number = numpy.random.default_rng(0).permutation(len(weight)) % RANDOM_GROUPS
        differences, target, weight = grouped(differences, stratum, weight, number)
    return bootstrap(differences, strata_of(target), weight)


def strata_of(target: Indices) -> Indices:
    """What is resampled on its own (N,): the classes, where one is rare, else all rows together."""
    classes, stratum = numpy.unique(target, return_inverse=True)
    rare = numpy.bincount(stratum, minlength=len(classes)).min() < FEW_ROWS
    return stratum if rare else numpy.zeros(len(target), numpy.int64)


def bootstrap(differences: Numbers, stratum: Indices, weight: Numbers) -> Numbers:
    """The intervals (M, 2) of rows that are drawn within a `stratum` (N,) each."""
    M, S, N = differences.shape
    generator = numpy.random.default_rng(0)
    kind, first = kinds([stratum, weight, *numpy.reshape(differences, (M * S, N))])
    differences, weight = differences[..., first], weight[first]
    strata = [Stratum.of(kind[stratum == each], len(first)) for each in range(stratum.max() + 1)]
    finite = numpy.isfinite(differences)
    parts = [numpy.where(finite, differences, 0)]
    if not finite.all():  # then what is +∞, and what is −∞; NaN counts as both
        parts += [1.0 * (~finite & ~(differences < 0)), 1.0 * (~finite & ~(differences > 0))]
    means = numpy.empty((RESAMPLES, M))
    width = len(first) if all(each.few for each in strata) else N
    block = max(1, BLOCK // width)
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        counts = sum(each.draw(generator, size) for each in strata)
        share = counts * weight
        share /= share.sum(1, keepdims=True)
        seeds = generator.multinomial(S, numpy.full(S, 1 / S), size) / S
        by_seed = (numpy.tensordot(share, part, (1, 2)) for part in parts)  # (size, M, S)
        mean, *signs = (numpy.einsum("bms,bs->bm", each, seeds) for each in by_seed)
        for present, value in zip(signs, (numpy.inf, -numpy.inf), strict=False):
            opposed = (present > 0) & (mean == -value)
            mean = numpy.where(opposed, numpy.nan, numpy.where(present > 0, value, mean))
        means[start : start + size] = mean
    method = "linear" if finite.all() else "closest_observation"  # no line leads to infinity
    return numpy.swapaxes(numpy.percentile(means, [2.5, 97.5], axis=0, method=method), 0, 1)


def kinds(columns: Sequence[NDArray[Any]]) -> tuple[Indices, Indices]:
    """The kind (N,) of each row, alike in all columns (N,), and the first row of each kind."""
    kind = numpy.zeros(len(columns[0]), numpy.int64)
    for column in columns:
        value = pandas.factorize(column, use_na_sentinel=False)[0]
        kind = pandas.factorize(kind * (value.max() + 1) + value)[0]
    first = numpy.empty(kind.max() + 1, numpy.int64)
    first[kind[::-1]] = numpy.arange(len(kind))[::-1]  # the last one stays
    return kind, first


class Stratum(NamedTuple):
    """Rows that are drawn for each other: the `kind` (n,) of each, how many `held` of each kind."""

    kind: Indices
    held: Indices

    @classmethod
    def of(cls, kind: Indices, num_kinds: int) -> "Stratum":
        """The stratum of rows of these kinds."""
        return cls(kind, numpy.bincount(kind, minlength=num_kinds))

    @property
    def few(self) -> bool:
        """Whether it is faster to draw how many there are of each kind than to draw every row."""
        return numpy.count_nonzero(self.held) * MULTINOMIAL <= len(self.kind)

    def draw(self, generator: numpy.random.Generator, size: int) -> Numbers:
        """How often each kind is drawn (size, num_kinds), where as many rows are as there are.

        Either row by row, or, where kinds are few, their numbers at once, which are multinomial:
        the distribution is the same.
        """
        number, num_kinds = len(self.kind), len(self.held)
        if self.few:
            there = numpy.flatnonzero(self.held)
            counts = numpy.zeros((size, num_kinds))
            counts[:, there] = generator.multinomial(number, self.held[there] / number, size)
            return counts
        cells = self.kind[generator.integers(number, size=(size, number))]
        cells += num_kinds * numpy.arange(size)[:, None]
        counts = numpy.bincount(numpy.ravel(cells), minlength=size * num_kinds)
        return numpy.reshape(counts.astype(numpy.float64), (size, num_kinds))


def grouped(
    differences: Numbers, target: Indices, weight: Numbers, groups: Indices
) -> tuple[Numbers, Indices, Numbers]:
    """Groups in the place of rows: weighted means (M, seeds, G), rarest class and weight (G,)."""
    _, number, sizes = numpy.unique(groups, return_inverse=True, return_counts=True)
    by_group = numpy.argsort(number, kind="stable")
    starts = numpy.cumsum(sizes) - sizes
    total = numpy.add.reduceat(weight[by_group], starts)
    with numpy.errstate(invalid="ignore"):  # ∞ − ∞ is NaN
        means = numpy.add.reduceat((differences * weight)[..., by_group], starts, axis=-1) / total
    pairs = numpy.divmod(pandas.unique(target * len(sizes) + number), len(sizes))  # that meet
    spread = numpy.bincount(pairs[0])
    order = numpy.lexsort([pairs[0], -spread[pairs[0]]])  # classes that are spread most first
    rarest = numpy.empty(len(sizes), numpy.int64)
    rarest[pairs[1][order]] = pairs[0][order]  # the last one stays
    return means, rarest, total


def corrected_interval(means: Numbers, test_ratio: float) -> tuple[float, float]:
    """95 % interval of the mean of `means` (J,), one for each test part of repeated folds.

    Training parts overlap, so the plain t interval is too sure: its variance s² / J becomes
    (1/J + n_test/n_train) s², with J − 1 degrees of freedom (Nadeau and Bengio 2003, "Inference
    for the generalization error"). `test_ratio` is n_test/n_train.

    >>> low, high = corrected_interval(numpy.array([0.0, 0.1, 0.2, 0.1, 0.1]), 0.25)
    >>> print(f"{low:.3f} {high:.3f}")  # 0.1 ± 2.776 · √(0.45 · 0.005)
    -0.032 0.232

    Both ends are NaN where a mean is infinite.
    """
    if not numpy.isfinite(means).all():
        return numpy.nan, numpy.nan
    count = len(means)
    scale = numpy.sqrt((1 / count + test_ratio) * means.var(ddof=1))
    half = float(scale * student.ppf(0.975, count - 1))
    return float(means.mean() - half), float(means.mean() + half)


def margin_of(control: float) -> float:
    """What does not matter, beside a control of this normalised cost.

    >>> print(f"{margin_of(0.4):.3f} {margin_of(0.0):.3f}")
    0.008 0.001
    """
    return max(MARGIN * control, LEAST_MARGIN) if numpy.isfinite(control) else LEAST_MARGIN


def verdict(low: float, high: float, margin: float) -> Verdict:
    """What the interval of a difference to the control allows to say; negative is cheaper.

    >>> verdict(-0.08, -0.02, 0.01), verdict(-0.004, 0.003, 0.01), verdict(-0.03, 0.01, 0.01)
    ('better', 'no difference', 'undecided')
    """
    if high < -margin:
        return "better"
    if low > margin:
        return "worse"
    return "no difference" if low >= -margin and high <= margin else "undecided"
