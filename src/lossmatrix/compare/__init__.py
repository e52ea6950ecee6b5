# SPDX-License-Identifier: BSD-3-Clause
"""Compare losses and decision rules on real data: what do the mistakes cost?"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

for _package in [
    "jinja2",
    "joblib",
    "numpy",
    "pandas",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "typer",
]:
    if find_spec(_package) is None:
        raise ModuleNotFoundError(
            f"lossmatrix.compare needs {_package}: pip install 'lossmatrix[compare]'",
            name=_package,
        )

if TYPE_CHECKING:
    from lossmatrix.compare.api import compare as compare


def __getattr__(name: str) -> object:
    if name == "compare":  # what it imports takes seconds, and not every command needs it
        from lossmatrix.compare.api import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
