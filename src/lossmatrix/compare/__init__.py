# SPDX-License-Identifier: BSD-3-Clause
"""Compare losses and decision rules on real data: what do the mistakes cost?"""

from importlib.util import find_spec

for _package in [
    "jinja2",
    "joblib",
    "numpy",
    "pandas",
    "plotly",
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

from lossmatrix.compare.api import compare as compare  # noqa: E402  # after what it needs
