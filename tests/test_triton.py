# SPDX-License-Identifier: BSD-3-Clause
"""The triton engine where there is no GPU: what it refuses, and its kernels as compiled code.

What the kernels compute is tested in Triton's interpreter, which needs a process of its own.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lossmatrix as lm
from lossmatrix.engines.gpu import engine

SUM = lm.CrossEntropy() + lm.ExpectedCost()
HERE = Path(__file__).parent


# --- without a GPU, without triton ---------------------------------------------------------------


def test_tensors_on_the_cpu_are_refused_in_one_sentence() -> None:
    with pytest.raises(RuntimeError, match="the logits are on cpu, and its kernels run on CUDA"):
        lm.CrossEntropy()(torch.zeros(2, 3), torch.tensor([0, 1]), engine="triton")


def test_without_triton_everything_but_this_engine_works() -> None:
    code = """
import sys
from importlib import machinery
class Hidden:
    def find_spec(self, name, path=None, target=None):
        return None
find = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *a, **k: None if name.partition(".")[0] == "triton" else find(name, *a, **k)
)
import torch, lossmatrix as lm
z, y = torch.zeros(2, 3), torch.tensor([0, 1])
assert lm.CrossEntropy()(z, y).isfinite()
try:
    lm.CrossEntropy()(z, y, engine="triton")
except RuntimeError as error:
    print(error)
"""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert "triton is not installed (pip install triton)" in done.stdout, done.stderr


# --- what it computes ----------------------------------------------------------------------------


@pytest.mark.minutes
@pytest.mark.integration
@pytest.mark.parametrize(
    "tests",
    [
        ["interpreted.py"],
        ["test_numerics.py", "-k", "triton"],
        ["test_tensors.py", "-k", "triton"],
    ],
    ids=" ".join,
)
def test_it_computes_what_the_reference_does_in_the_interpreter(
    tests: list[str], pytestconfig: pytest.Config
) -> None:
    pytest.importorskip("triton")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["--full"] if pytestconfig.getoption("full") else []
    options += ["-W", "ignore::RuntimeWarning"]  # NumPy's, about rows beyond the last one
    name, *chosen = tests
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(HERE / name), *chosen, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent,
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


# --- what is compiled ----------------------------------------------------------------------------


slow = pytest.mark.slow
BENCHMARKS = HERE.parent / "benchmarks"


@pytest.fixture(
    params=[pytest.param(80, marks=slow), 90, pytest.param(100, marks=slow)],
    ids=lambda arch: f"sm_{arch}",
)
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """Every kernel that the engine would have launched, compiled for a GPU that is not there."""
    triton = pytest.importorskip("triton")
    from lossmatrix.engines.gpu import launch

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu_static = SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "gpu_static.py")))
    found: list[tuple[str, Any]] = []

    def compile_only(self: launch.Launch, device: torch.device, *arguments: Any) -> None:
        made = self.kernel.warmup(*arguments, grid=(1,), **self.constants, **self.options)
        found.append((self.kernel.__name__, made))

    monkeypatch.setattr(launch.Launch, "__call__", compile_only)
    monkeypatch.setattr(engine, "INTERPRETED", True)  # it takes tensors on the CPU
    triton.runtime.driver.set_active(gpu_static.Absent(request.param))
    yield found
    triton.runtime.driver._active = None  # it is looked for again; reset_active would do it now


def run(loss: lm.Loss, shape: tuple[int, ...], dtype: torch.dtype, costs: lm.CostMatrix) -> None:
    """Forward and backward, whose numbers mean nothing."""
    logits = torch.zeros(shape, dtype=dtype, requires_grad=True)
    target = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    loss(logits, target, costs, engine="triton").backward()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_gradient_that_is_made_in_forward_takes_no_kernel_of_its_own(
    reduction: str, compiled: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossmatrix.engines.gpu import kernels

    monkeypatch.setattr(kernels, "MIN_BYTES_GRADIENT_IN_FORWARD", 0)
    criterion = lm.Criterion(SUM, lm.Ordinal(5), reduction=reduction, engine="triton")
    logits = torch.zeros(64, 5, requires_grad=True)
    value = criterion(logits, torch.zeros(64, dtype=torch.int64))
    counts = ["count_kernel"] if reduction == "mean" else []
    assert [name for name, _ in compiled] == [*counts, "rows_kernel"]
    value.backward()  # again, unless the device finds that the gradient above is 1
    assert [name for name, _ in compiled] == [*counts, "rows_kernel", "rows_kernel"]


@pytest.mark.parametrize("loss", [SUM, SUM + lm.Unlikelihood()], ids=repr)
def test_a_step_takes_one_launch_forward_and_one_backward(
    loss: lm.Loss, compiled: list[tuple[str, Any]]
) -> None:
    run(loss, (8, 5), torch.float32, lm.Ordinal(5))
    assert [name for name, _ in compiled] == ["rows_kernel", "rows_kernel"]


# Instructions a logit for loss and gradient on sm_90 that the design asks for, with accesses of 16
# bytes and no spills in the visits; by Triton 3.9 a stream of bfloat16 spills 48 bytes that a row
# reads back once. Unlikelihood takes a second visit, and is held to what it has reached.
BARS = {
    "19 classes, planes": ((1, 19, 256, 256), torch.float32, "Dense", 45.0, 105.0),
    "5 classes, rows": ((65536, 5), torch.float32, "Dense", 77.0, 145.0),  # 75 by Triton 3.6
    "1000 classes": ((512, 1000), torch.float32, "Dense", 45.0, 92.0),
    "32000 classes": ((64, 32000), torch.float32, "Ordinal", 36.0, 104.0),
    "32000 classes, bfloat16": ((64, 32000), torch.bfloat16, "Ordinal", 36.0, 104.0),
    "12000 classes, dense": ((64, 12000), torch.float32, "Dense", 42.0, 104.0),
}


@pytest.mark.parametrize("name", BARS)
@pytest.mark.parametrize("loss", ["CrossEntropy + ExpectedCost", "Unlikelihood"])
def test_kernels_take_so_many_instructions_a_logit_and_spill_nothing(
    loss: str, name: str, compiled: list[tuple[str, Any]], request: pytest.FixtureRequest
) -> None:
    if "sm_90" not in request.node.name:
        pytest.skip("the bars are for sm_90")
    gpu_static = SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "gpu_static.py")))
    shape, dtype, costs, bar, bar_of_two_visits = BARS[name]
    case = gpu_static.Case(shape, dtype, costs)
    found = gpu_static.per_logit(gpu_static.compiled(case, gpu_static.LOSSES[loss], 90))
    assert found["instructions"] <= (bar if "+" in loss else bar_of_two_visits)
    assert found["spills a visit"] == 0 or loss == "Unlikelihood"
    assert found["spilled"] <= (48 if dtype == torch.bfloat16 else 0) or loss == "Unlikelihood"
    if shape[1] != 5:  # rows of few classes are read number by number
        assert found["stores of 16 bytes"] > 0.5 or loss == "Unlikelihood"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("classes", [5, 32000])
def test_every_other_way_through_the_kernels_compiles(
    classes: int, dtype: torch.dtype, compiled: list[tuple[str, Any]]
) -> None:
    if classes == 5:
        costs: lm.CostMatrix = lm.Tree([(str(i // 2), str(i)) for i in range(classes)])
    else:
        costs = lm.Sparse(classes, [(0, 1, 5.0)])
    for loss in (lm.CostFocal(), lm.CrossEntropy() + lm.SoftmaxMargin(log=True)):
        run(loss, (3, classes), dtype, costs)
    assert len(compiled) == 6


def test_costs_of_every_kind_compile(
    compiled: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossmatrix.engines.gpu import placed

    monkeypatch.setattr(placed, "MAX_TABLE_CLASSES", 0)  # nothing is written out as a table
    kinds = [
        lm.Ordinal(5, power=2),
        lm.Ordinal(5, power=1.5).scaled(2.0),
        lm.Sparse(5, [(0, 1, 5.0), (0, 2, 3.0)]).regret(),
        lm.PerExample(torch.ones(3, 5)),
        lm.PerExample.matrices(torch.ones(3, 5, 5)),
    ]
    for costs in kinds:
        run(lm.Unlikelihood(), (3, 5), torch.float32, costs)
    assert len(compiled) == 2 * len(kinds)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 5), torch.float32),
        ((4, 1000), torch.bfloat16),
        ((2, 12000), torch.float32),
        pytest.param((1, 19, 8, 8), torch.float32, marks=slow),
        pytest.param((2, 12000), torch.float64, marks=slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", [SUM + lm.DecisionScore(), lm.EnergyScore()], ids=repr)
def test_losses_that_read_risks_compile(
    loss: lm.Loss,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    compiled: list[tuple[str, Any]],
) -> None:
    run(loss, shape, dtype, lm.Ordinal(shape[1]))
    assert len(compiled) == (3 if isinstance(loss, lm.EnergyScore) else 4)


@pytest.mark.parametrize("shape", [(3, 5), (3, 1001), (2, 5001), (1, 60, 8, 8)], ids=str)
def test_shares_compile(shape: tuple[int, ...], compiled: list[tuple[str, Any]]) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    target = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    for truth, smoothing in ((target, 0.1), (torch.zeros(shape), 0.0)):
        value = SUM(logits, truth, lm.Ordinal(shape[1]), label_smoothing=smoothing, engine="triton")
        value.backward()
    assert len(compiled) == 4
