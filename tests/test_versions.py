# SPDX-License-Identifier: BSD-3-Clause
"""``show_versions`` says what is installed and what each engine has on this machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

import lossmatrix as lm
from lossmatrix.engines import ENGINES
from lossmatrix.engines.cpu import compile as compiler


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The lines of ``show_versions``: name → what is said of it."""
    capsys.readouterr()
    lm.show_versions()
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


def test_versions_are_those_that_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert lines["lossmatrix"] == version("lossmatrix")
    assert lines["python"].split()[0] == platform.python_version()
    assert lines["torch"].split(",")[0] == torch.__version__
    assert lines["scikit-learn"] == version("scikit-learn")


def test_what_is_not_installed_is_said_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossmatrix.versions.PACKAGES", ("lossmatrix-of-nobody",))
    assert printed(capsys)["lossmatrix-of-nobody"] == "not installed"


def test_a_package_that_goes_by_another_name_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"xgboost-cpu": "3.2.0"}

    def version_of(name: str) -> str:
        if name in installed:
            return installed[name]
        raise PackageNotFoundError(name)

    monkeypatch.setattr("lossmatrix.versions.version", version_of)
    assert printed(capsys)["xgboost"] == "3.2.0"


def test_every_engine_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert {engine.name for engine in ENGINES} <= printed(capsys).keys()


def test_the_line_of_native_names_the_compiler_and_the_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = tmp_path / "my-compiler"
    mine.touch(mode=0o700)
    monkeypatch.setenv("CXX", f"{mine} --fast")
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path / "kernels"))
    line = printed(capsys)["native"]
    assert f"by {mine} --fast and" in line
    assert str(tmp_path / "kernels") in line


def test_a_compiler_that_is_not_there_compiles_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "none")
    assert "run on reference, which is slower: none cannot be run" in printed(capsys)["native"]


@pytest.mark.parametrize("ships", [True, False], ids=["kernels ship", "no kernels"])
def test_without_a_compiler_the_line_of_native_says_which_losses_are_slower(
    ships: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiler, "shipped", lambda: object() if ships else None)
    line = printed(capsys)["native"]
    slower = "run on reference, which is slower: there is no C++ compiler"
    assert ("other losses " + slower in line) is ships
    assert ("in the package; losses " + slower in line) is not ships
