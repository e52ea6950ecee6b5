# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(data: np.ndarray, source: tl.dtype, to: tl.dtype, mode: object) -> np.ndarray:
        """To the nearest bfloat16, as on a GPU; the interpreter cuts digits off."""
        if (source, to) != (tl.float32, tl.bfloat16):
            return convert(data, source, to, mode)
        bits = torch.from_numpy(np.ascontiguousarray(data)).bfloat16().view(torch.int16)
        return bits.numpy().view(np.uint16)

    interpreter._convert_float = rounded

torch.set_num_threads(1)  # tests run side by side; one thread each keeps the machine fair


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LOSSMATRIX_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set LOSSMATRIX_DATA to their folder")
    return folder
