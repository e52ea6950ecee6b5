# SPDX-License-Identifier: BSD-3-Clause
"""Names of classes and decisions: numbers until somebody names them, and how they are shown."""

import re
from collections.abc import Sequence
from html import escape
from typing import TypeAlias, overload

Names: TypeAlias = Sequence[str] | None

# C0 but tab and line feed, DEL, C1, what turns the reading direction, and halves of characters.
ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
HALF = re.compile(r"[\ud800-\udfff]")  # of a surrogate pair, whose other half is missing


def visible(text: str) -> str:
    r"""The text with escapes in the place of characters that act on what shows them.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def html_text(text: str) -> str:
    """A text in which nothing is markup and nothing acts."""
    return visible(escape(text))


class Numbered(Sequence[str]):
    """The names "0", "1", …, made when they are asked for, and extra names after them."""

    def __init__(self, numbers: int, extra: tuple[str, ...] = ()) -> None:
        self.numbers, self.extra = numbers, extra

    def __len__(self) -> int:
        return self.numbers + len(self.extra)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        number = range(len(self))[index]
        return str(number) if number < self.numbers else self.extra[number - self.numbers]


def make_labels(names: int | Sequence[str], what: str) -> Sequence[str]:
    """Names of classes or decisions from a count or a list; each name is used once."""
    if isinstance(names, int):
        if names < 1:
            raise ValueError(f"there must be at least one {what}, got {names}.")
        return Numbered(names)
    if isinstance(names, str):
        raise TypeError(f"{what} names must be a list of strings, got the one string {names!r}.")
    if isinstance(names, Numbered):
        return names
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            remedy = "give every one its own" if name == "" else "for numbers [str(c) for c in …]"
            raise ValueError(
                f"{what} {number} has no name: got {name!r}, but names must be strings; {remedy}."
            )
        if name in seen:
            raise ValueError(f"the {what} name {name!r} is used twice: give each its own.")
        seen.add(name)
    if HALF.search("".join(seen)):
        broken = next(filter(HALF.search, seen))
        raise ValueError(
            f"the {what} name {broken!r} holds half a character, which no file and no screen can "
            "show: decode it from its bytes in their own encoding, or replace it."
        )
    return tuple(names) if seen else make_labels(0, what)


def pair_labels(
    C: int, K: int, classes: Names, decisions: Names
) -> tuple[Sequence[str], Sequence[str], list[int] | None]:
    """Names of C classes and of K decisions, and the columns in the order of the names.

    Decisions that are not named are the classes, and numbers after them. Where every class has a
    decision of its name, those come first, in the order of the classes, whatever order they were
    given in; the third answer says which columns these are, None for all as they are.
    """
    rows = make_labels(C if classes is None else classes, "class")
    if decisions is None and C == K:
        decisions = rows
    elif decisions is None and C < K and not isinstance(rows, Numbered):
        names = (str(j) for j in range(C, K))
        decisions = (*rows, *(f"decision {name}" if name in rows else name for name in names))
    columns = make_labels(K if decisions is None else decisions, "decision")
    for names, size, what in ((rows, C, "row (truth)"), (columns, K, "column (decision)")):
        if len(names) != size:
            raise ValueError(f"costs ({C} × {K}) need a name per {what}, got {len(names)} names.")
    own = decisions_of_classes(rows, columns)
    if own is None or -1 in own:
        return rows, columns, None
    order = list(dict.fromkeys([*own, *range(K)]))
    return rows, tuple(columns[j] for j in order), order


def decisions_of_classes(classes: Sequence[str], decisions: Sequence[str]) -> list[int] | None:
    """The decision that has the name of each class, −1 for none; None where j is j throughout.

    Numbers that nobody gave are no names: such decisions are the classes by their position.
    """
    if decisions is classes or isinstance(decisions, Numbered):
        return None
    place = dict(zip(decisions, range(len(decisions)), strict=True))
    own = [place.get(name, -1) for name in classes]
    return None if own == [*range(len(classes))] else own


def extend_labels(names: Sequence[str], name: str) -> Sequence[str]:
    """`names` of decisions, followed by a new one."""
    if name in names:
        raise ValueError(f"there is already a decision {name!r}: choose another name.")
    if isinstance(names, Numbered):
        return Numbered(names.numbers, (*names.extra, name))
    return (*names, name)


def find_label(names: Sequence[str], label: int | str, what: str) -> int:
    """Position of a name, or a position checked against the number of names."""
    if isinstance(label, str):
        if label not in names:
            raise ValueError(f"unknown {what} {label!r}: the names are {abbreviate(names)}.")
        return names.index(label)
    if not 0 <= label < len(names):
        raise IndexError(f"{what} {label} is out of range: there are {len(names)}.")
    return label


def check_same(names: Sequence[str], others: Sequence[str], what: str) -> None:
    """Refuse names of costs that are not those, in that order; numbers fit any."""
    named = not (isinstance(names, Numbered) or isinstance(others, Numbered))
    if named and names is not others and tuple(names) != tuple(others):
        raise ValueError(
            f"the {what} are not {abbreviate(names)}, or in another order: bring them into that "
            "order, or leave them without names."
        )


def abbreviate(names: Sequence[str], limit: int = 6) -> str:
    """The first names as they are seen, and an ellipsis where there are more."""
    return visible(", ".join(names[:limit])) + (", …" if len(names) > limit else "")
