# SPDX-License-Identifier: BSD-3-Clause
"""The command `lossmatrix`: what a user can put right is one sentence on stderr, no traceback."""

import sys


def main() -> None:
    """Run the command line; exit code 1 and one sentence when the input cannot be used."""
    try:
        from lossmatrix.compare.commands import app
        from lossmatrix.compare.task import UserInputError
    except ModuleNotFoundError as missing:
        if "lossmatrix[compare]" not in str(missing):
            raise
        sys.exit(f"lossmatrix: {missing}")
    try:
        app()
    except UserInputError as error:
        sys.exit(f"lossmatrix: {error}")
