# SPDX-License-Identifier: BSD-3-Clause
"""Compiled kernels: found in the package, or compiled on first use where there is a compiler."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from lossmatrix.codegen.cpp import Formula
from lossmatrix.codegen.curvature import CurvatureFormula
from lossmatrix.codegen.derive import PARAMETERS, STREAMS

SOURCES = Path(__file__).resolve().parent
FLAGS = [
    *("-O3", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fno-trapping-math"),
    "-ffp-contract=fast",
]
# The instruction sets a kernel is compiled for: PyTorch's name of the machine's, compiler flags.
SETS = {
    "AVX512": "-mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c -DLOSSMATRIX_BYTES=64",
    "AVX2": "-mavx2 -mfma -mf16c -DLOSSMATRIX_BYTES=32",
    "DEFAULT": "-DLOSSMATRIX_BYTES=16",
}


class CostProgram(ctypes.Structure):
    """``struct Rule`` of engines/cpu/task.h, field by field."""

    _fields_ = [
        ("kind", ctypes.c_int32),
        ("off_the_truth", ctypes.c_int32),
        ("factor", ctypes.c_double),
        ("offset", ctypes.c_void_p),
        ("number", ctypes.c_double),
        ("numbers", ctypes.c_void_p),
        ("parent", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("leaf", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("decision", ctypes.c_void_p),
    ]


class KernelTask(ctypes.Structure):
    """``struct Task`` of engines/cpu/task.h, field by field."""

    _fields_ = [  # ctypes wants this name and a list
        ("logits", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("positions", ctypes.c_int64),
        ("logits_stride", ctypes.c_int64 * 3),
        ("gradient_stride", ctypes.c_int64 * 3),
        ("type", ctypes.c_int32),
        ("target_type", ctypes.c_int32),
        ("target", ctypes.c_void_p),
        ("target_stride", ctypes.c_int64 * 2),
        ("ignore_index", ctypes.c_int64),
        ("costs", ctypes.c_void_p * STREAMS),
        ("costs_stride", ctypes.c_int64 * STREAMS),
        ("per_sample", ctypes.c_int32 * STREAMS),
        ("rule", ctypes.POINTER(CostProgram) * STREAMS),
        ("probs", ctypes.c_void_p),
        ("probs_stride", ctypes.c_int64 * 3),
        ("probs_type", ctypes.c_int32),
        ("keep", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("smooth_costs", ctypes.c_void_p * STREAMS),
        ("decisions", ctypes.c_int64),
        ("risk_costs", ctypes.c_void_p),
        ("risk_stride", ctypes.c_int64),
        ("smooth_risk_costs", ctypes.c_void_p),
        ("excess", ctypes.c_void_p),
        ("risk_grad", ctypes.c_void_p),
        ("decision_parameters", ctypes.c_double * PARAMETERS),
        ("mean", ctypes.c_int32),
        ("denominator", ctypes.c_double),
        ("weight", ctypes.c_void_p),
        ("sample_weight", ctypes.c_void_p),
        ("parameters", ctypes.c_double * PARAMETERS),
        ("accumulate", ctypes.c_int32),
        ("gradient_dense", ctypes.c_int32),
        ("losses", ctypes.c_void_p),
        ("total", ctypes.c_double),
        ("outside", ctypes.c_int64),
        ("is_outside", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel_for", ctypes.c_void_p),
    ]


# The fields up to ``ignore_index``, which every call fills in: one write takes as long as one
# attribute does.
TENSORS = struct.Struct("@2P 9q 2i P 3q")


class Kernel:
    """A compiled formula; called with the address of a ``KernelTask``."""

    def __init__(self, library: ctypes.CDLL, symbol: str) -> None:
        self.run = getattr(library, symbol)
        self.run.argtypes = [ctypes.c_void_p]
        self.run.restype = None


@functools.cache
def instruction_set(dtype: torch.dtype) -> str:
    """The widest instruction set that machine and kernels both have; float64 has the baseline."""
    found = torch.backends.cpu.get_cpu_capability()
    return found if found in SETS and dtype != torch.float64 else "DEFAULT"


@functools.cache
def parallel_for() -> int:
    """Address of PyTorch's own parallel loop, 0 where it cannot be found: then one thread works."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        if (folder / name).exists():
            library = ctypes.CDLL(str(folder / name))
            loop = getattr(library, "torch_parallel_for", None)
            return (ctypes.cast(loop, ctypes.c_void_p).value or 0) if loop is not None else 0
    return 0


@functools.cache
def shipped() -> ctypes.CDLL | None:
    """The library that was compiled with the package, if it was."""
    for name in ("lossmatrix_kernels.so", "lossmatrix_kernels.dylib", "lossmatrix_kernels.dll"):
        for folder in (SOURCES, *_installed_beside()):
            if (folder / name).exists():
                return ctypes.CDLL(str(folder / name))
    return None


def _installed_beside() -> list[Path]:
    """Where an editable install keeps what was compiled."""
    return [Path(folder) / "lossmatrix" / "engines" / "cpu" for folder in sys.path if folder]


class CannotCompileError(RuntimeError):
    """Why a formula has no kernel here."""


AnyFormula = Formula | CurvatureFormula


def kernel(formula: AnyFormula, isa: str) -> Kernel:
    """The kernel of a formula: shipped, or compiled now and kept for the next time."""
    found = _kernel(formula, isa)
    if isinstance(found, str):
        raise CannotCompileError(found)
    return found


@functools.cache
def _kernel(formula: AnyFormula, isa: str) -> Kernel | str:
    """The kernel, or why there is none; asked once."""
    symbol = f"{formula.name}_{isa}"
    library = shipped()
    if library is not None and hasattr(library, symbol):
        return Kernel(library, symbol)
    try:
        return Kernel(ctypes.CDLL(str(_compiled(formula, isa))), symbol)
    except CannotCompileError as error:
        return str(error)


def forget() -> None:
    """Ask again for every kernel: a compiler or another cache may be there now."""
    _kernel.cache_clear()


def _compiled(formula: AnyFormula, isa: str) -> Path:
    """The library of one formula in the user's cache, compiled if it is not there."""
    text = source(formula, isa)
    headers = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.h*")))
    digest = hashlib.sha256(headers + text.encode() + repr((FLAGS, SETS[isa])).encode())
    target = _cache() / f"{formula.name}_{isa}_{digest.hexdigest()[:12]}.so"
    if not target.exists():
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
        if compiler is None:
            raise CannotCompileError("no C++ compiler (c++ or g++, or name one in CXX)")
        build(compiler, text, isa, target)
    return target


def source(formula: AnyFormula, isa: str) -> str:
    """The C++ file of a formula for one instruction set."""
    if isinstance(formula, CurvatureFormula):
        return formula.source(isa)
    space = f"lossmatrix_{isa}"
    lines = [f"#define LOSSMATRIX_ISA {space}", '#include "kernels.hpp"', f"namespace {space} {{"]
    lines += [formula.text, "}"]
    lines += [
        f'extern "C" __attribute__((visibility("default"))) void {formula.name}_{isa}(Task* task) '
        f"{{ using namespace {space}; run<{formula.structs}>(task); }}"
    ]
    return "\n".join(lines) + "\n"


def build(compiler: str, text: str, isa: str, target: Path) -> None:
    """Compile a source to a library: beside its place first, then renamed into it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        file, out = Path(folder) / "kernel.cpp", Path(folder) / target.name
        file.write_text(text)
        flags = [*FLAGS, *SETS[isa].split()]
        command = [compiler, *flags, f"-I{SOURCES}", str(file), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = next((line for line in done.stderr.splitlines() if "error" in line), "")
            raise CannotCompileError(f"{compiler} failed: {reason or done.stderr[-300:]}")
        os.replace(out, target)


def _cache() -> Path:
    """Where kernels compiled on this machine are kept."""
    chosen = os.environ.get("LOSSMATRIX_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lossmatrix"
