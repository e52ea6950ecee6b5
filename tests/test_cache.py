# SPDX-License-Identifier: BSD-3-Clause
"""Kernels kept on disk: what cannot be trusted, made or loaded is passed over or made again."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lossmatrix.engines.cpu import cache
from lossmatrix.engines.cpu import compile as compiling
from lossmatrix.engines.cpu.cache import CannotCompileError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name != "posix", reason="reads modes and owners of files"),
]
OURS, THEIRS = 42, 13


class Cache:
    """A folder of libraries whose ``answer()`` says who made them."""

    def __init__(self, folder: Path, made: dict[int, bytes]) -> None:
        self.folder, self.made, self.builds = folder, made, 0

    def answer(self) -> int:
        """That of the library which is loaded, or built."""
        return int(cache.kept_library("answer", b"key", "answer", self._build).answer())

    def _build(self, out: Path) -> None:
        self.builds += 1
        out.write_bytes(self.made[OURS])

    @property
    def library(self) -> Path:
        """The one file there is."""
        (library,) = self.folder.iterdir()
        return library

    def plant(self) -> Path:
        """A library of somebody else, called as it should be."""
        library, content = self.library, self.made[THEIRS]
        library.unlink()
        digest = hashlib.sha256(content).hexdigest()[:16]
        planted = library.with_name(f"{library.stem.rpartition('-')[0]}-{digest}.so")
        planted.write_bytes(content)
        planted.chmod(0o700)
        return planted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    folder = tmp_path_factory.mktemp("made")
    for number in (OURS, THEIRS):
        text = f'extern "C" int answer() {{ return {number}; }}\n'
        (folder / "answer.cpp").write_text(text)
        command = ["c++", "-shared", "-fPIC", "answer.cpp", "-o", f"{number}.so"]
        subprocess.run(command, cwd=folder, check=True)
    return {number: (folder / f"{number}.so").read_bytes() for number in (OURS, THEIRS)}


@pytest.fixture
def kept(tmp_path: Path, made: dict[int, bytes], monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache", made)


# --- files ---------------------------------------------------------------------------------------


def test_a_library_is_built_once_and_nobody_else_may_write_to_it(kept: Cache) -> None:
    assert [kept.answer(), kept.answer(), kept.builds] == [OURS, OURS, 1]
    assert kept.folder.stat().st_mode & 0o777 == 0o700
    assert kept.library.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("size", [0, 1, 4000, -1])
def test_a_damaged_library_is_made_again(size: int, kept: Cache) -> None:
    kept.answer()
    library = kept.library
    library.unlink()  # of a file that is loaded nobody must change the bytes
    library.write_bytes(kept.made[OURS][:size])
    assert [kept.answer(), kept.builds] == [OURS, 2]
    assert [kept.answer(), kept.builds] == [OURS, 2]


def test_a_library_that_cannot_be_loaded_is_made_again(kept: Cache) -> None:
    kept.answer()
    kept.made = kept.made | {THEIRS: b"a library of another machine"}
    kept.plant()
    assert [kept.answer(), kept.builds] == [OURS, 2]


def linked(path: Path) -> None:
    path.symlink_to(path.replace(path.parent.parent / "elsewhere.so"))


def given_away(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o770),
        lambda path: path.chmod(0o702),
        lambda path: path.replace(path.with_name(path.name.replace("-", "-0", 2))),
        linked,
        given_away,
    ],
    ids=["for the group", "for all", "another content", "a link", "of another user"],
)
def test_what_others_may_have_written_is_not_loaded(
    change: Callable[[Path], object], kept: Cache
) -> None:
    kept.answer()
    planted = kept.plant()
    assert kept.answer() == THEIRS  # it would be loaded
    change(planted)
    assert [kept.answer(), kept.builds] == [OURS, 2]


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder.write_text("a file"), "File exists"),
        (lambda folder: (folder.mkdir(), folder.chmod(0o777)), "others can write to it"),
        (lambda folder: folder.symlink_to("/proc/nowhere"), "exist|No such file"),
        (lambda folder: (folder.mkdir(), given_away(folder)), "others can write to it"),
    ],
    ids=["a file", "for all", "nowhere", "of another user"],
)
def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(
    make: Callable[[Path], object], reason: str, kept: Cache
) -> None:
    make(kept.folder)
    with pytest.raises(CannotCompileError, match=reason) as caught:
        kept.answer()
    assert str(kept.folder) in str(caught.value)
    assert "name a folder of your own in LOSSMATRIX_CACHE" in str(caught.value)


def test_a_full_disk_is_told_and_leaves_nothing(kept: Cache) -> None:
    def full(out: Path) -> None:
        out.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotCompileError, match="No space left on device"):
        cache.kept_library("answer", b"key", "answer", full)
    assert list(kept.folder.iterdir()) == []


@pytest.mark.parametrize("xdg", ["", "relative"])
def test_an_empty_or_relative_cache_home_is_none(
    xdg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSMATRIX_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "lossmatrix"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "lossmatrix"
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path / "own"))
    assert cache.cache_folder() == tmp_path / "own"


# --- compilers -----------------------------------------------------------------------------------


def script(folder: Path, text: str) -> str:
    """A compiler of one's own."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 0", "it wrote nothing"),
        ("printf '\\377error' >&2; exit 1", "error"),
        ("exec sleep 60", "was not done after 1 s"),
    ],
    ids=["nothing", "no UTF-8", "hangs"],
)
def test_a_compiler_that_does_not_serve_is_told_in_one_sentence(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "SECONDS", 1)
    monkeypatch.setenv("CXX", script(tmp_path, text))
    with pytest.raises(CannotCompileError, match=reason):
        compiling.run_compiler("", "DEFAULT", tmp_path / "kernel.so")


@pytest.mark.parametrize(
    ("command", "reason"),
    [("/no/c++", "cannot be run"), ("g++ '", "no command"), ("c++ --no-such", "no-such")],
)
def test_cxx_that_is_no_compiler_is_told_in_one_sentence(
    command: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", command)
    with pytest.raises(CannotCompileError, match=reason):
        compiling.run_compiler("", "DEFAULT", tmp_path / "kernel.so")


def test_cxx_may_have_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++ -DANSWER=42")
    text = 'extern "C" int answer() { return ANSWER; }'
    compiling.run_compiler(text, "DEFAULT", tmp_path / "kernel.so")
    assert (tmp_path / "kernel.so").exists()


# --- a loss of one's own -------------------------------------------------------------------------

JOB = """
from dataclasses import dataclass
import torch
import lossmatrix as lm

@dataclass(frozen=True)
class Cubic(lm.Loss):
    decides, convex, proper, linear_in_costs = "argmax", False, False, True

    def term(self, cell):
        return cell.cost * cell.p * cell.p * cell.p

criterion, z, y = lm.Criterion(Cubic(), [[0, 1], [2, 0]]), torch.zeros(1, 2), torch.tensor([1])
for _ in range(2):
    print(criterion(z, y).item(), lm.explain(criterion, z).splitlines()[-1])
"""


def test_where_no_kernel_can_be_kept_the_reference_runs_and_one_sentence_says_so(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    place = {"LOSSMATRIX_CACHE": str(tmp_path / "file" / "cache")}
    job = [sys.executable, "-c", JOB]
    done = subprocess.run(job, env=os.environ | place, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.startswith("0.25 engine: reference; not native: ")
    assert done.stderr.startswith("lossmatrix: Cubic has no kernel of its own: ")
    assert done.stderr.count("\n") == 1


def test_what_a_compiler_links_to_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tmp_path / "others"
    others.write_text("of somebody else")
    others.chmod(0o644)
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CannotCompileError, match="no file of its own"):
        cache.kept_library("name", b"key", "symbol", lambda out: out.symlink_to(others))
    assert others.stat().st_mode & 0o777 == 0o644
