# SPDX-License-Identifier: BSD-3-Clause
"""How sure a difference is: intervals over rows, seeds and folds, and the verdict."""
# scipy carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from typing import Literal, TypeAlias

import numpy
from scipy.stats import t as student

from lossmatrix.compare.task import Indices, Numbers

Verdict: TypeAlias = Literal["better", "worse", "no difference", "undecided"]

MARGIN = 0.01  # in normalised cost: a smaller difference does not matter
RESAMPLES = 10_000
FEW_ROWS = 30  # a class with fewer test rows is resampled on its own, so it never vanishes
BLOCK = 4_000_000  # entries of one block of resamples, which bounds memory


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
    """
    if groups is not None:
        differences, target, weight = grouped(differences, target, weight, groups)
    M, S, N = differences.shape
    generator = numpy.random.default_rng(0)
    labels, sizes = numpy.unique(target, return_counts=True)
    strata: list[Indices] = [numpy.arange(N)]
    if sizes.min() < FEW_ROWS:
        strata = [numpy.flatnonzero(target == label) for label in labels]
    finite = numpy.isfinite(differences)
    parts = [numpy.where(finite, differences, 0)]
    if not finite.all():  # then what is +∞, and what is −∞; NaN counts as both
        parts += [1.0 * (~finite & ~(differences < 0)), 1.0 * (~finite & ~(differences > 0))]
    means = numpy.empty((RESAMPLES, M))
    block = max(1, BLOCK // N)
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        draws = [rows[generator.integers(len(rows), size=(size, len(rows)))] for rows in strata]
        cells = numpy.concatenate(draws, 1) + N * numpy.arange(size)[:, None]
        counts = numpy.bincount(numpy.ravel(cells), minlength=size * N)
        share = numpy.reshape(counts, (size, N)) * weight
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
    pairs = numpy.unique(numpy.stack([target, number]), axis=1)  # classes and groups that meet
    spread = numpy.bincount(pairs[0])
    commonest_first = pairs[:, numpy.argsort(-spread[pairs[0]], kind="stable")]
    rarest = numpy.empty(len(sizes), numpy.int64)
    rarest[commonest_first[1]] = commonest_first[0]  # the last one stays
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


def verdict(low: float, high: float) -> Verdict:
    """What the interval of a difference to the control allows to say; negative is cheaper.

    >>> verdict(-0.08, -0.02), verdict(-0.004, 0.003), verdict(-0.03, 0.01)
    ('better', 'no difference', 'undecided')
    """
    if high < -MARGIN:
        return "better"
    if low > MARGIN:
        return "worse"
    return "no difference" if low >= -MARGIN and high <= MARGIN else "undecided"
