# SPDX-License-Identifier: BSD-3-Clause
"""Names that docstring examples may use without importing them."""

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--full`` is what ``make test-all`` runs."""
    parser.addoption("--full", action="store_true", help="try every product, and slow tests too")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    import lossmatrix

    doctest_namespace["torch"] = torch
    doctest_namespace["lm"] = lossmatrix
