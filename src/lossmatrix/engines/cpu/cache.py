# SPDX-License-Identifier: BSD-3-Clause
"""Compiled libraries kept on disk: one writer and one loader.

A library is called ``name-key-content.so`` after digests of its source and of its own bytes. It is
loaded if nobody else could have written it and its bytes are those it was made with. What is not so
is passed over, and made again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


class CannotCompileError(RuntimeError):
    """Why a formula has no kernel here."""


def kept_library(name: str, key: bytes, symbol: str, build: Callable[[Path], None]) -> ctypes.CDLL:
    """The library of a source with this digest, which has the symbol; built if there is none.

    ``build`` writes it to a path. Raises CannotCompileError where it cannot be built, kept or
    loaded.
    """
    machine = f"{sys.platform} {platform.machine()}".encode()  # a home may serve several of them
    name = f"{name}-{hashlib.sha256(key + machine).hexdigest()[:16]}"
    folder = _checked(cache_folder())
    for path in sorted(folder.glob(f"{name}-*.so")):
        found = _loaded(path, symbol) if _is_whole(path, name) else None
        if found is not None:
            return found
    try:
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            out = Path(draft) / "kernel.so"
            build(out)
            if out.is_symlink() or not out.is_file():  # what it points to is somebody's
                raise CannotCompileError("the compiler wrote no file of its own")
            out.chmod(0o700)
            path = folder / f"{name}-{_digest(out)}.so"
            os.replace(out, path)
    except OSError as error:
        raise CannotCompileError(_no_folder(folder, error.strerror or str(error))) from error
    found = _loaded(path, symbol)
    if found is None:
        raise CannotCompileError(f"what the compiler wrote to {path} cannot be loaded")
    return found


def _loaded(path: Path, symbol: str) -> ctypes.CDLL | None:
    """The library, if it can be loaded and has the symbol."""
    try:
        found = ctypes.CDLL(str(path))
    except OSError:
        return None
    return found if hasattr(found, symbol) else None


def _is_whole(path: Path, name: str) -> bool:
    """Whether a file is ours, and has the bytes that it is called after."""
    try:
        return _is_ours(path.lstat()) and path.stem == f"{name}-{_digest(path)}"
    except OSError:
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _is_ours(found: os.stat_result) -> bool:
    """Whether only this user, or the administrator, can have written it; a link is neither."""
    if not hasattr(os, "getuid"):
        return True  # Windows keeps what lies in a home from others by itself
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not stat.S_ISLNK(found.st_mode) and found.st_uid in (os.getuid(), 0) and not writable


def _checked(folder: Path) -> Path:
    """The folder, made where it is not there; CannotCompileError where it must not be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise CannotCompileError(_no_folder(folder, error.strerror or str(error))) from error
    if not _is_ours(found):
        raise CannotCompileError(_no_folder(folder, "others can write to it"))
    return folder


def _no_folder(folder: Path, reason: str) -> str:
    return (
        f"compiled kernels cannot be kept in {folder} ({reason}): name a folder of your own in "
        "LOSSMATRIX_CACHE"
    )


def cache_folder() -> Path:
    """Where kernels compiled on this machine are kept."""
    chosen = os.environ.get("LOSSMATRIX_CACHE")
    if chosen:
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(caches):  # as its specification says, what is no such path does not count
        return Path(caches) / "lossmatrix"
    try:
        return Path.home() / ".cache" / "lossmatrix"
    except RuntimeError as error:
        raise CannotCompileError(
            "there is no home to keep compiled kernels in: name a folder in LOSSMATRIX_CACHE"
        ) from error
