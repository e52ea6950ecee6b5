# SPDX-License-Identifier: BSD-3-Clause
"""The scripts of the gallery run, draw, and none takes a minute."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib import pyplot

SCRIPTS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_of_the_gallery_runs_and_draws(script: Path) -> None:
    runpy.run_path(str(script))
    assert pyplot.get_fignums()
