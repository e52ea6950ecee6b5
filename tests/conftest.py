# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tests run side by side; one thread each keeps the machine fair


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LOSSMATRIX_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set LOSSMATRIX_DATA to their folder")
    return folder
