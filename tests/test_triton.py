# SPDX-License-Identifier: BSD-3-Clause
"""The triton engine where there is no GPU: what it refuses, and its kernels as compiled code.

What the kernels compute is tested in Triton's interpreter, which needs a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
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


class Target:
    """A driver for a GPU that is not there."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch  # kernels are kept by the number of their device

    def get_current_stream(self, device: object = None) -> int:
        return 0

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)


slow = pytest.mark.slow


@pytest.fixture(
    params=[pytest.param(80, marks=slow), 90, pytest.param(100, marks=slow)],
    ids=lambda arch: f"sm_{arch}",
)
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """Every kernel that the engine would have launched, compiled for a GPU that is not there."""
    triton = pytest.importorskip("triton")
    from lossmatrix.engines.gpu import launch

    found: list[tuple[str, Any]] = []

    def compile_only(kernel: Any, batch: Any, programs: int, *args: Any, **options: Any) -> None:
        options |= {"grid": (programs,), "enable_fp_fusion": True}
        found.append((kernel.__name__, kernel.warmup(*args, **options)))

    monkeypatch.setattr(launch, "launch", compile_only)
    monkeypatch.setattr(engine, "INTERPRETED", True)  # it takes tensors on the CPU
    triton.runtime.driver.set_active(Target(request.param))
    yield found
    triton.runtime.driver._active = None  # it is looked for again; reset_active would do it now


def run(loss: lm.Loss, shape: tuple[int, ...], dtype: torch.dtype, costs: lm.CostMatrix) -> None:
    """Forward and backward, whose numbers mean nothing."""
    logits = torch.zeros(shape, dtype=dtype, requires_grad=True)
    target = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    loss(logits, target, costs, engine="triton").backward()


def resources(kernel: Any, folder: Path) -> dict[str, int]:
    """Registers and bytes of stack, spills included, that the assembler gave a thread."""
    triton = pytest.importorskip("triton")
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    file = folder / "kernel.cubin"
    file.write_bytes(kernel.asm["cubin"])
    command = [str(tool), "-res-usage", str(file)]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", report)}


SHAPES = {
    "rows": ((4, 1000), torch.bfloat16),
    "long rows": ((2, 8000), torch.float32),
    "blocks": ((2, 32000), torch.bfloat16),
    "planes": ((1, 19, 64, 64), torch.float32),
}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_kernels_that_make_the_gradient_in_forward_compile(
    reduction: str, compiled: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossmatrix.engines.gpu import launch

    monkeypatch.setattr(launch, "MIN_BYTES_GRADIENT_IN_FORWARD", 0)
    criterion = lm.Criterion(SUM, lm.Ordinal(19), reduction=reduction, engine="triton")
    logits = torch.zeros(64, 19, requires_grad=True)
    criterion(logits, torch.zeros(64, dtype=torch.int64)).backward()
    assert [name for name, _ in compiled] == ["fused_kernel", "total", "fused_kernel"]


@pytest.mark.parametrize("loss", [SUM, lm.Unlikelihood()], ids=repr)
@pytest.mark.parametrize("name", SHAPES)
def test_kernels_spill_nothing_load_wide_and_take_one_exponential_a_number(
    name: str, loss: lm.Loss, compiled: list[tuple[str, Any]], tmp_path: Path
) -> None:
    shape, dtype = SHAPES[name]
    costs = lm.Ordinal(shape[1]) if shape[1] > 1000 else lm.Dense(torch.ones(shape[1], shape[1]))
    run(loss, shape, dtype, costs)
    visits = [each for each in compiled if each[0] != "total"]
    assert len(visits) == 2
    assert len(compiled) == 3
    for kernel_name, kernel in compiled:
        used = resources(kernel, tmp_path)
        assert used["STACK"] == used["LOCAL"] == 0, (kernel_name, used)
    for kernel_name, kernel in visits:
        ptx = kernel.asm["ptx"]
        assert "ld.global.v4.b32" in ptx, kernel_name
        tile = {"rows": 2048, "long rows": 8192, "blocks": 4096, "planes": 4096}[name]
        numbers = tile // (32 * kernel.metadata.num_warps)  # of a thread
        exponentials = len(re.findall(r"ex2\.approx", ptx))
        twice = kernel_name == "forward_kernel" and isinstance(loss, lm.Unlikelihood)
        per_number = 2 if twice else 1
        # those of the rows come on top
        assert per_number * numbers <= exponentials <= per_number * numbers + 12, kernel_name


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
    assert len(compiled) == 8


def test_slopes_made_at_once_compile(
    compiled: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossmatrix.engines.gpu import launch

    monkeypatch.setattr(launch, "MIN_BYTES_GRADIENT_IN_FORWARD", 0)
    run(SUM, (4, 1000), torch.bfloat16, lm.ZeroOne(1000))
    assert [name for name, _ in compiled] == ["fused_kernel", "total", "fused_kernel"]


def test_costs_of_every_kind_compile(
    compiled: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossmatrix.engines.gpu import launch

    monkeypatch.setattr(launch, "MAX_TABLE_CLASSES", 0)  # nothing is written out as a table
    kinds = [
        lm.Ordinal(9, power=2),
        lm.Ordinal(9, power=1.5).scaled(2.0),
        lm.Sparse(9, [(0, 1, 5.0), (0, 2, 3.0)]).regret(),
        lm.PerExample(torch.ones(3, 9)),
        lm.PerExample.matrices(torch.ones(3, 9, 9)),
    ]
    for costs in kinds:
        run(lm.Unlikelihood(), (3, 9), torch.float32, costs)
    assert len(compiled) == 3 * len(kinds)


RISKS = [
    lm.CrossEntropy() + lm.DecisionScore(),
    lm.DecisionScore(),
    lm.EnergyScore(),
    lm.CrossEntropy() + lm.EntropicRisk(),
]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 19), torch.float32),
        ((4, 1000), torch.bfloat16),
        ((2, 12000), torch.float32),
        ((1, 19, 8, 8), torch.float32),
        pytest.param((2, 12000), torch.float64, marks=slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", RISKS, ids=repr)
def test_losses_that_read_risks_compile_and_spill_next_to_nothing(
    loss: lm.Loss,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    compiled: list[tuple[str, Any]],
    tmp_path: Path,
) -> None:
    run(loss, shape, dtype, lm.Ordinal(shape[1]))
    visits = 3 if isinstance(loss, lm.EnergyScore) else 4
    if "EntropicRisk" in repr(loss):
        visits = 2
    elif shape[1] == 12000:  # an error, and a slope along decisions, take a visit each
        visits = 4 if isinstance(loss, lm.EnergyScore) else 6
    assert len(compiled) == visits + 1
    for kernel_name, kernel in compiled:
        used = resources(kernel, tmp_path)
        allowed = 32 if isinstance(loss, lm.EnergyScore) else 0
        assert used["LOCAL"] == 0, (kernel_name, used)
        assert used["STACK"] <= allowed or dtype == torch.float64, (kernel_name, used)


def test_planes_of_many_classes_compile(compiled: list[tuple[str, Any]]) -> None:
    run(SUM, (1, 300, 64, 64), torch.float32, lm.Dense(torch.ones(300, 300)))
    assert [name for name, _ in compiled] == ["forward_kernel", "total", "backward_kernel"]
