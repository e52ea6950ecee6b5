# SPDX-License-Identifier: BSD-3-Clause
"""``show_versions``: what a bug report has to say about a machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from lossmatrix.engines.cpu.compile import instruction_set, offer

# What the library is used with, by the names that pip installs them under.
PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "skorch", "torchmetrics", "pandas", "matplotlib"),
    *("lightgbm", "xgboost"),
)
ALSO = {"xgboost": ["xgboost-cpu"]}  # what else may bring a package of that name


def show_versions() -> None:
    """Print the versions, the machine and what each engine has here, for a bug report.

    The line of ``native`` says which losses have kernels, what compiles those of other losses, and
    what runs instead where nothing does.

    >>> lm.show_versions()  # doctest: +ELLIPSIS
    lossmatrix: ...
    native: ...
    """
    for name, value in _facts().items():
        print(f"{name}: {value}")


def _facts() -> dict[str, str]:
    """What is printed, line by line."""
    threads, widest = torch.get_num_threads(), instruction_set(torch.float32)
    installed = {name: _version(name) for name in PACKAGES}
    return {
        "lossmatrix": _version("lossmatrix"),
        "python": f"{platform.python_version()} on {platform.platform()}",
        "torch": f"{torch.__version__}, {widest} instructions, {threads} threads",
        **installed,
        "reference": "runs every loss on any device",
        "native": offer(),
        "triton": f"{_version('triton')}, {_gpu()}",
    }


def _version(package: str) -> str:
    for name in (package, *ALSO.get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            pass
    return "not installed"


def _gpu() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
