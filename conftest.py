# SPDX-License-Identifier: BSD-3-Clause
"""Names that docstring examples may use without importing them."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    import lossmatrix

    doctest_namespace["torch"] = torch
    doctest_namespace["lm"] = lossmatrix
