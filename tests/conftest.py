# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

import lossmatrix as lm

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what engines may refuse; without --full also slow tests and parts of products."""
    from registry import INDICES, refusal
    from selection import Case, in_turn

    def case_of(item: pytest.Item) -> Case:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return Case.of(item.nodeid.split("[")[0], parameters)

    def must_run(item: pytest.Item, case: Case) -> bool:
        if case.engine is None:
            return True
        name, asked = case.engine.name, item.callspec.params.get("targets", INDICES)
        kinds = [asked, *(mark.args[0] for mark in item.iter_markers("targets"))]
        used = [case.loss, *(loss for mark in item.iter_markers("uses") for loss in mark.args)]
        losses = [loss for loss in used if loss is not None] or [lm.CrossEntropy()]
        return not any(refusal(name, loss, kind) for loss in losses for kind in kinds)

    if addressed := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(
            f"{addressed[0]} is named by a memory address, which is another one in each process of "
            f"pytest-xdist: give its parameter an id ({len(addressed)} such tests)."
        )

    kept = {item: case for item in items if must_run(item, case := case_of(item))}
    if not config.getoption("full"):
        kept = {item: case for item, case in kept.items() if not item.get_closest_marker("slow")}
        tried = in_turn([*kept.values()])
        kept = {item: case for (item, case), yes in zip(kept.items(), tried, strict=True) if yes}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    # what takes minutes starts first, so that no process is left waiting for another at the end
    items[:] = sorted(kept, key=lambda item: item.get_closest_marker("minutes") is None)
