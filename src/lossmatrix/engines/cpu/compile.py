# SPDX-License-Identifier: BSD-3-Clause
"""Compiled kernels: found in the package, or compiled on first use where there is a compiler."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shlex
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import torch

from lossmatrix.codegen.cpp import Formula
from lossmatrix.codegen.derive import PARAMETERS, STREAMS
from lossmatrix.engines.cpu.cache import CannotCompileError, cache_folder, kept_library

SOURCES = Path(__file__).resolve().parent
FLAGS = [  # peeled loops keep small arrays in registers; -O3, as shipped, compiles twice as long
    *("-O2", "-fpeel-loops", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fno-trapping-math"),
    "-ffp-contract=fast",
]
SECONDS = 300  # for a compiler; a kernel takes a few
# The instruction sets a kernel is compiled for: PyTorch's name of the machine's, compiler flags.
SETS = {
    "AVX512": "-mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c -DLOSSMATRIX_BYTES=64",
    "AVX2": "-mavx2 -mfma -mf16c -DLOSSMATRIX_BYTES=32",
    "DEFAULT": "-DLOSSMATRIX_BYTES=16",
}


class CostProgram(ctypes.Structure):
    """``struct CostProgram`` of engines/cpu/task.h, field by field."""

    _fields_ = [
        ("make_row", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("table", ctypes.c_void_p * 8),
        ("number", ctypes.c_double * 8),
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
        ("one_logit", ctypes.c_int32),
        ("one_share", ctypes.c_int32),
        ("labels", ctypes.c_int64),
        ("tiled", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("gradient_dense", ctypes.c_int32),
        ("losses", ctypes.c_void_p),
        ("total", ctypes.c_double),
        ("outside", ctypes.c_int64),
        ("is_outside", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel_for", ctypes.c_void_p),
    ]


STRUCTURES = (KernelTask, CostProgram)

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
                found = ctypes.CDLL(str(folder / name))
                return found if _sizes(found) == [*map(ctypes.sizeof, STRUCTURES)] else None
    return None


def _sizes(library: ctypes.CDLL) -> list[int]:
    """The sizes of the structures that a library reads: an older one reads others."""
    try:
        return [*(ctypes.c_int64 * len(STRUCTURES)).in_dll(library, "lossmatrix_sizes_DEFAULT")]
    except ValueError:
        return []


def _installed_beside() -> list[Path]:
    """Where an editable install keeps what was compiled."""
    return [Path(folder) / "lossmatrix" / "engines" / "cpu" for folder in sys.path if folder]


ROWS, TILES = 1, 2  # the two loops over rows, as LOSSMATRIX_LAYOUTS of kernels.hpp counts them


def kernel(formula: Formula, dtype: torch.dtype, layout: int) -> Kernel:
    """The kernel of a formula: shipped, or compiled now and kept for the next time."""
    found = _kernel(formula, dtype, layout)
    if isinstance(found, str):
        raise CannotCompileError(found)
    return found


@functools.cache
def _kernel(formula: Formula, dtype: torch.dtype, layout: int) -> Kernel | str:
    """The kernel, or why there is none; asked once."""
    isa = instruction_set(dtype)
    symbol = f"{formula.name}_{isa}"
    library = shipped()
    if library is not None and hasattr(library, symbol):
        return Kernel(library, symbol)
    try:
        return Kernel(_compiled(formula, isa, dtype, layout), symbol)
    except CannotCompileError as error:
        slower = "what has no kernel runs on reference, which is slower"
        _say(f"{formula.title} has no kernel of its own: {error}; {slower}")
        return str(error)


def row_maker(name: str, text: str, isa: str, title: str) -> int:
    """The address of what makes or changes a row of costs: shipped, or compiled now and kept."""
    found = _row_maker(name, text, isa, title)
    if isinstance(found, str):
        raise CannotCompileError(found)
    return found


@functools.cache
def _row_maker(name: str, text: str, isa: str, title: str) -> int | str:
    """The address, or why there is none; asked once."""
    symbol = f"{name}_{isa}"
    library = shipped()
    if library is None or not hasattr(library, symbol):
        try:
            library = compiled(name, source_of_costs(name, text, isa), isa, title)
        except CannotCompileError as error:
            _say(f"kernels have no code for {title}: {error}")
            return str(error)
    return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0


@functools.cache
def _say(sentence: str) -> None:
    """Once, on standard error."""
    print(f"lossmatrix: {sentence}", file=sys.stderr, flush=True)


def offer() -> str:
    """What this engine has on this machine: kernels that ship, and what compiles others."""
    ships = shipped() is not None
    try:
        command, folder = shlex.join(_compiler()), cache_folder()
        made = f"are compiled on first use by {command} and kept in {folder}"
    except CannotCompileError as error:
        made = f"run on reference, which is slower: {error}"
    if ships:
        return f"kernels of the common losses are in the package; other losses {made}"
    return f"no kernels are in the package; losses {made}"


def forget() -> None:
    """Ask again for every kernel: a compiler or another cache may be there now."""
    _kernel.cache_clear()
    _row_maker.cache_clear()


def _compiled(formula: Formula, isa: str, dtype: torch.dtype, layout: int) -> ctypes.CDLL:
    """A library of one formula, one loop over rows and one type: what the call at hand needs."""
    defined = f"#define LOSSMATRIX_LAYOUTS {layout}\n"
    if dtype == torch.float64:
        defined += "#define LOSSMATRIX_DOUBLE\n"
    return compiled(formula.name, defined + source(formula, isa), isa, formula.title)


def compiled(name: str, text: str, isa: str, title: str) -> ctypes.CDLL:
    """The library of a source, from the user's cache, where it is put if it is not there."""
    headers = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.h*")))
    key = headers + text.encode() + repr((FLAGS, SETS[isa])).encode()

    def build(out: Path) -> None:
        with _announced(title):
            run_compiler(text, isa, out)

    return kept_library(f"{name}_{isa}", key, f"{name}_{isa}", build)


@contextlib.contextmanager
def _announced(title: str) -> Generator[None]:
    """Says on standard error what is being compiled, where that takes more than a second."""
    words = f"lossmatrix: compiling a kernel for {title}, once; it is kept in {cache_folder()}"
    timer = threading.Timer(1.0, lambda: print(words, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def source(formula: Formula, isa: str) -> str:
    """The C++ file of a formula for one instruction set."""
    space = f"lossmatrix_{isa}"
    lines = [f"#define LOSSMATRIX_ISA {space}", '#include "kernels.hpp"', f"namespace {space} {{"]
    lines += [*formula.structs.values(), "}"]
    lines += [
        f'extern "C" __attribute__((visibility("default"))) void {formula.name}_{isa}(Task* task) '
        f"{{ using namespace {space}; run<{', '.join(formula.structs)}>(task); }}"
    ]
    return "\n".join(lines) + "\n"


def source_of_costs(name: str, text: str, isa: str) -> str:
    """The C++ file of a printed matrix for one instruction set."""
    space = f"lossmatrix_{isa}"
    lines = [f"#define LOSSMATRIX_ISA {space}", '#include "costs.hpp"', f"namespace {space} {{"]
    lines += [
        text,
        "}",
        f'extern "C" __attribute__((visibility("default"))) void {name}_{isa}('
        "const CostProgram* program, int64_t truth, int64_t count, void* row) "
        f"{{ {space}::make_row<{space}::{name}>(program, truth, count, row); }}",
    ]
    return "\n".join(lines) + "\n"


def _compiler() -> list[str]:
    """The command of the compiler, with the arguments that CXX may give it."""
    chosen = os.environ.get("CXX", "")
    try:
        command = shlex.split(chosen)
    except ValueError as error:
        raise CannotCompileError(f"CXX is {chosen!r}, which is no command: {error}") from error
    found = [path for name in ("c++", "g++") if (path := shutil.which(name))]
    if not command and not found:
        raise CannotCompileError("there is no C++ compiler (c++ or g++, or name one in CXX)")
    if command and not shutil.which(command[0]):
        raise CannotCompileError(f"{command[0]} cannot be run: CXX names it, and it is no program")
    return command or found[:1]


def run_compiler(text: str, isa: str, out: Path) -> None:
    """Compile a source to a library."""
    compiler = _compiler()
    file = out.with_suffix(".cpp")
    file.write_text(text, encoding="utf-8")
    command = [*compiler, *FLAGS, *SETS[isa].split(), f"-I{SOURCES}", str(file), "-o", str(out)]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CannotCompileError(f"{compiler[0]} was not done after {SECONDS} s") from error
    except OSError as error:
        raise CannotCompileError(f"{compiler[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0 or not out.exists():
        said = done.stderr.decode(errors="replace")
        reason = next((line for line in said.splitlines() if "error" in line), said[-300:])
        raise CannotCompileError(f"{compiler[0]} failed: {reason.strip() or 'it wrote nothing'}")
