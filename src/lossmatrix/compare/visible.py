# SPDX-License-Identifier: BSD-3-Clause
"""Text of data that is seen on a terminal and does not act on it.

Names and cells of a file may hold characters that move the cursor, set titles or turn the reading
direction. A `Visible` stream writes these as escapes; what this package draws itself goes around
it, made of texts that `visible` has been over.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import TextIO

from lossmatrix.costs.labels import visible

__all__ = ["data_stream", "plain", "say", "tell", "visible", "visible_streams"]


class Visible(TextIOBase):
    """A stream in which every text is `visible`; to colour it, programs take it for a file."""

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner

    def write(self, text: str, /) -> int:
        """Write what the text looks like."""
        self.inner.write(visible(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream within."""
        self.inner.flush()


@contextmanager
def visible_streams() -> Generator[None]:
    """Nothing that is printed acts on the terminal."""
    with redirect_stdout(Visible(sys.stdout)), redirect_stderr(Visible(sys.stderr)):
        yield


def plain(stream: TextIO) -> TextIO:
    """The stream within a `Visible` one."""
    return stream.inner if isinstance(stream, Visible) else stream


def data_stream() -> TextIO | Visible:
    """Where data are printed: exactly as they are, but for a terminal, which shows them."""
    stream = plain(sys.stdout)
    return Visible(stream) if stream.isatty() else stream


def say(text: object) -> None:
    """Print a sentence or more."""
    print(visible(str(text)))


def tell(text: object) -> None:
    """Print a sentence beside the results: on stderr."""
    print(visible(f"lossmatrix: {text}"), file=sys.stderr, flush=True)
