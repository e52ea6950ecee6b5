# SPDX-License-Identifier: BSD-3-Clause
"""The command `lossmatrix`: what a user can put right is one sentence on stderr, no traceback."""

import sys
import traceback
import warnings
from typing import Any


def main() -> None:
    """Run the command line; exit code 1 and one sentence when the input cannot be used."""
    try:
        from lossmatrix.compare.commands import app
        from lossmatrix.compare.task import UserInputError
        from lossmatrix.compare.visible import visible, visible_streams
    except ModuleNotFoundError as missing:
        if "lossmatrix[compare]" not in str(missing):
            raise
        sys.exit(f"lossmatrix: {missing}")

    def warn(message: object, *_: object) -> None:
        print(visible(f"lossmatrix: {message}"), file=sys.stderr)

    def trace(*error: Any) -> None:
        print(visible("".join(traceback.format_exception(*error))), file=sys.stderr, end="")

    warnings.showwarning = warn
    try:
        with visible_streams():
            app()
    except UserInputError as error:
        sys.exit(visible(f"lossmatrix: {error}"))
    except Exception:
        sys.excepthook = trace
        raise
