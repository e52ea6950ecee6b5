# SPDX-License-Identifier: BSD-3-Clause
"""Files that a command writes: checked before it begins, and never one of its inputs."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lossmatrix.compare.io import parts_of
from lossmatrix.compare.task import UserInputError, quoted

TABLES = {".csv", ".parquet"}  # what those read who are given a folder


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path | None]) -> None:
    """Refuse outputs where nothing can be written, before minutes of work are lost.

    Neither is an output written over an input, by whatever path or link it is named, nor two
    outputs into one file. Raises `UserInputError`.
    """
    read = [part for each in inputs if each is not None for part in parts_of(each)]
    for number, path in enumerate(outputs):
        for given in read:
            if is_same(path, given):
                raise UserInputError(
                    f"Writing {path} would destroy {given}, which is read: name another file with "
                    "--out."
                )
        if os.path.realpath(path) in map(os.path.realpath, outputs[:number]):
            raise UserInputError(
                f"{path} would be written twice: name another file with --out, and each input once."
            )
        make_folder(path.parent, "--out", path.name)
        if path.exists() and not path.is_file():
            raise UserInputError(f"Nothing can be written to {path}: name another file with --out.")


def check_report(out: Path) -> None:
    """Refuse a report whose name says another format than HTML."""
    if out.suffix.lower() not in ("", ".htm", ".html"):
        raise UserInputError(f"The report is an HTML file: name it .html, not {out.name}.")


def check_parts(parts: Sequence[Path]) -> None:
    """Refuse a folder in which other tables than these parts would be read along with them."""
    for folder in dict.fromkeys(part.parent for part in parts):
        names = {part.name for part in parts if part.parent == folder}
        others = (path for path in folder.glob("[!._]*") if path.name not in names)
        if foreign := sorted(path.name for path in others if TABLES & set(path.suffixes)):
            raise UserInputError(
                f"{folder} holds {quoted(foreign)} besides the parts that would be written, and "
                "would be read with them: move that away, or name another folder with --out."
            )


def make_folder(folder: Path, option: str, name: str = "") -> None:
    """Make a folder in which a file can be made, or say in one sentence why there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserInputError(
            f"No folder {folder} can be made: {reason(error)}; name another with {option}."
        ) from error
    draft = folder / f".{os.getpid()}.{name}"
    try:
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise UserInputError(
            f"Nothing can be written to {folder / name}: {reason(error)}; name another place with "
            f"{option}."
        ) from error


def places_of(sources: Sequence[Path]) -> list[Path]:
    """Where files lie beneath the folder that holds them all.

    >>> [str(place) for place in places_of([Path("sets/car/data.csv"), Path("sets/iris.csv")])]
    ['car/data.csv', 'iris.csv']
    """
    paths = [os.path.abspath(source) for source in sources]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(os.path.relpath(path, shared)) for path in paths]


def is_same(path: Path, other: Path) -> bool:
    """Whether both name one file that is there, links followed."""
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there
        return False


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Say in one sentence that this path cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise UserInputError(
            f"{path} cannot be written: {reason(error)}; make room, or name another place."
        ) from error


def reason(error: OSError) -> str:
    """What the system says, without its number."""
    return error.strerror or str(error)
