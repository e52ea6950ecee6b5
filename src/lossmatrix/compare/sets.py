# SPDX-License-Identifier: BSD-3-Clause
"""Several data sets, one after the other, and what the methods change over all of them."""
# scipy carries no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import traceback
from collections.abc import Callable, Mapping, Sequence
from math import inf, isnan
from pathlib import Path
from typing import Any, NamedTuple, get_args

from rich import box
from rich.table import Table
from scipy.stats import wilcoxon

from lossmatrix.compare.display import format_number
from lossmatrix.compare.intervals import Verdict
from lossmatrix.compare.outputs import places_of
from lossmatrix.compare.recommendation import recommendation
from lossmatrix.compare.results import Comparison
from lossmatrix.compare.task import UserInputError
from lossmatrix.compare.terminal import print_wide, shown
from lossmatrix.compare.visible import tell

LEAST_SETS = 6  # of fewer, no signed ranks have a p below 5 %


class Change(NamedTuple):
    """What a method changes on one set, in % of the control's cost, and how sure that is."""

    percent: float
    verdict: str


class Summary(NamedTuple):
    """What a method changes over all sets: the mean, the verdicts, and p after Holm."""

    method: str
    rule: str
    percent: float
    verdicts: Sequence[str]
    p: float | None


def folders_of(sources: Sequence[Path]) -> list[Path]:
    """A folder for each file, named as the files are beneath the folder that holds them all."""
    folders = [place.with_suffix("") for place in places_of(sources)]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise UserInputError(
                f"{sources[folders.index(folder)]} and {sources[number]} would both be written to "
                f"a folder {folder}: name each set once, or rename one of them."
            )
    return folders


def compare_sets(
    sources: Mapping[Path, Path], compare_one: Callable[[Path, Path], Comparison]
) -> None:
    """Compare on every source and write to its folder; print a sentence for each, and the changes.

    One that fails keeps no other back. Raises `UserInputError` at the end where one did.
    """
    sentences: dict[str, str] = {}
    changes: list[Mapping[tuple[str, str], Change]] = []
    failed: list[str] = []
    for number, (folder, source) in enumerate(sources.items(), 1):
        tell(f"{source}, set {number} of {len(sources)}")
        try:
            comparison = compare_one(source, folder)
        except Exception as error:
            failed.append(str(source))
            sentences[str(folder)] = f"No results: {error}"
            if isinstance(error, UserInputError):
                tell(error)
            else:
                traceback.print_exc()  # a defect of the library
            continue
        sentences[str(folder)] = recommendation(comparison)[0]
        changes.append(changes_of(comparison))
    print_sets(sentences, over_sets(changes))
    if failed:
        raise UserInputError(
            f"{len(failed)} of {len(sources)} sets have no results: {', '.join(failed)}; what each "
            "needs is said above, and the results of the others are written."
        )


def print_sets(sentences: Mapping[str, str], summaries: Sequence[Summary]) -> None:
    """Print a sentence for each data set, and what each method changes over all of them."""
    sets = Table("data set", "what to do", box=box.SIMPLE, pad_edge=False)
    for name, sentence in sentences.items():
        sets.add_row(shown(name, "bold"), shown(sentence))
    words = get_args(Verdict)
    over = Table("loss, decided by", box=box.SIMPLE, pad_edge=False)
    for heading in ("mean change", *words, "p"):
        over.add_column(heading, justify="right")
    for each in summaries:
        counts = (str(each.verdicts.count(word)) for word in words)
        p = "" if each.p is None else f"{each.p:.2g}"
        percent = f"{format_number(each.percent, '+.1f')} %".replace("-", "−")
        over.add_row(*map(shown, (f"{each.method}, {each.rule}", percent, *counts, p)))
    print_wide(sets, *[over] * bool(summaries))


def changes_of(comparison: Comparison) -> dict[tuple[str, str], Change]:
    """What each method and rule changes: infinitely much, beside a control that costs nothing."""
    control = comparison.controls[0].normalized_cost
    return {
        (row.method, row.rule): Change(
            100 * row.difference / control if control else row.difference and inf, row.verdict
        )
        for row in comparison.results
        if row.verdict != "control"
    }


def over_sets(changes: Sequence[Mapping[tuple[str, str], Change]]) -> list[Summary]:
    """What methods that took part in all sets change over these.

    p is of Wilcoxon's signed ranks over sets, after Holm's correction for the number of methods
    (Demšar 2006, "Statistical comparisons of classifiers over multiple data sets", 3.1 and 3.2);
    None below six sets.
    """
    shared = [key for key in changes[0] if all(key in each for each in changes)] if changes else []
    of = {key: [each[key] for each in changes] for key in shared}
    p = holm({key: signed_ranks([each.percent for each in of[key]]) for key in shared})
    return [
        Summary(
            *key,
            percent=sum(each.percent for each in of[key]) / len(changes),
            verdicts=[each.verdict for each in of[key]],
            p=p[key] if len(changes) >= LEAST_SETS else None,
        )
        for key in shared
    ]


def holm(values: Mapping[Any, float]) -> dict[Any, float]:
    """p-values, each times how many are not smaller, and never below a smaller one's.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.02})
    {'a': 0.03, 'c': 0.04, 'b': 0.04}
    """
    adjusted: dict[Any, float] = {}
    least = 0.0
    for place, name in enumerate(sorted(values, key=lambda each: values[each])):
        least = max(least, min(1.0, values[name] * (len(values) - place)))
        adjusted[name] = least
    return adjusted


def signed_ranks(percents: Sequence[float]) -> float:
    """Wilcoxon's p of changes that are not 0; 1 where there are none."""
    # processors add up rows in different ways: changes that differ by nothing else are ties, or 0
    alike = (round(each, 9) for each in percents if not isnan(each))
    moved = [each for each in alike if each != 0]
    found: Any = wilcoxon(moved) if moved else None
    return 1.0 if found is None else float(found.pvalue)
