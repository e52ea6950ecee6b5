# SPDX-License-Identifier: BSD-3-Clause
"""What leaves says so before: at the call, to type checkers, and in the changelog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_docs import CALLABLES
from typing_extensions import deprecated

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def unannounced(names: dict[str, object], changelog: str) -> list[str]:
    """Names that are deprecated, and stand under no heading *Deprecated*."""
    sections = re.findall(r"^### Deprecated\n([\s\S]+?)(?=^#|\Z)", changelog, re.MULTILINE)
    leaving = [name for name, each in names.items() if getattr(each, "__deprecated__", None)]
    return [name for name in leaving if f"`{name}`" not in "".join(sections)]


@deprecated("write lm.average_cost instead")
def mean_cost() -> int:
    """A name on its way out."""
    return 3


def test_every_deprecated_name_is_announced() -> None:
    assert unannounced(CALLABLES, CHANGELOG.read_text(encoding="utf-8")) == []


def test_an_announcement_stands_under_its_heading() -> None:
    names = {"mean_cost": mean_cost, "stays": unannounced}
    assert unannounced(names, "### Changed\n\n- `mean_cost`\n") == ["mean_cost"]
    assert unannounced(names, "### Deprecated\n\n- `other`\n\n### Fixed\n\n- `mean_cost`\n") == [
        "mean_cost"
    ]
    assert unannounced(names, "### Deprecated\n\n- `mean_cost`: write …\n\n### Fixed\n") == []


def test_a_deprecated_name_works_and_its_call_says_what_to_write() -> None:
    with pytest.warns(DeprecationWarning, match="write lm.average_cost instead"):
        assert mean_cost() == 3
