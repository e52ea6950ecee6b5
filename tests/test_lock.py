# SPDX-License-Identifier: BSD-3-Clause
"""``lock.txt``: every package that a checkout asks for, in a version that it accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {"bench"}  # an extra that `make` does not install
NOT_LOCKED = {"evidence", "evidence-data"}  # groups of one target, which installs them itself


def pins(name: str) -> dict[str, Version]:
    """The versions that a file of constraints names."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def asked() -> list[Requirement]:
    """What the package and its development need on Linux, where the lock is made."""
    text: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = text["project"], text["dependency-groups"]
    extras = project["optional-dependencies"]
    lines = list(project["dependencies"])
    lines += [line for name in extras.keys() - ELSEWHERE for line in extras[name]]
    lines += [line for name in groups.keys() - NOT_LOCKED for line in groups[name]]
    found = [Requirement(line) for line in lines]
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    return [each for each in found if each.marker is None or each.marker.evaluate(linux)]


def test_the_lock_has_a_version_of_everything_asked_for_that_is_accepted() -> None:
    locked = pins("lock.txt")
    names = {canonicalize_name(each.name): each.specifier for each in asked()}
    assert len(names) > 30
    assert names.keys() - locked.keys() == set()
    assert [name for name, wanted in names.items() if locked[name] not in wanted] == []


def test_the_lock_and_the_constraints_name_one_pytorch() -> None:
    locked = pins("lock.txt")
    assert {name: locked[name] for name in pins("constraints.txt")} == pins("constraints.txt")
