# SPDX-License-Identifier: BSD-3-Clause
"""Writes engines/cpu/formulas.hpp and matrices.hpp, what the kernels that ship are made of.

Run ``python -m lossmatrix.engines.cpu.generate`` after a change to a loss or a matrix that
ships; a test finds a file that is out of date.
"""

from __future__ import annotations

from lossmatrix import losses
from lossmatrix.codegen.costs import CostFormula, print_cpp
from lossmatrix.codegen.derive import Formula, print_formula
from lossmatrix.costs import CostMatrix, Dense, Ordinal, Sparse, ZeroOne
from lossmatrix.engines.cpu.compile import SOURCES
from lossmatrix.losses import Loss

FILE = SOURCES / "formulas.hpp"
MATRICES = SOURCES / "matrices.hpp"

SHIPPED: tuple[Loss, ...] = (
    losses.CrossEntropy(),
    losses.ExpectedCost(),
    losses.Unlikelihood(),
    losses.CostSensitiveCrossEntropy(),  # also soft targets: both are pair-weighted
    losses.SoftmaxMargin(),
    losses.SoftmaxMargin(log=True),
    losses.CostFocal(),
    losses.CostFocal(detach=True),
    losses.CrossEntropy() + losses.ExpectedCost(),
    losses.CrossEntropy() + losses.Unlikelihood(),
    losses.CrossEntropy() + losses.CostSensitiveCrossEntropy(),
)


def formulas() -> dict[str, Formula]:
    """The shipped formulas by the loss that they were printed from."""
    any_costs = Dense([[0.0, 1.0], [2.0, 0.0]])
    return {repr(loss): print_formula(loss.bind(any_costs)) for loss in SHIPPED}


# One for each text: every kind, and every way to change what a kind has made.
SHIPPED_COSTS: tuple[CostMatrix, ...] = (
    ZeroOne(3),
    Ordinal(3),
    Ordinal(3, power=2),
    Ordinal(3, power=1.5),
    Ordinal(3).scaled(3.0),
    Sparse(3, [(0, 0, 5.0)]).regret(),
    Ordinal(3).savings(),
    Sparse(3, [(0, 0, 5.0)]).zero_diagonal(),
)


def matrices() -> dict[str, CostFormula]:
    """The shipped formulas of matrices by what they were printed from."""
    return {repr(costs): print_cpp(costs) for costs in SHIPPED_COSTS}


def text() -> str:
    """The content of formulas.hpp."""
    return _header("losses", "FORMULAS", {k: (f.name, f.text) for k, f in formulas().items()})


def text_of_matrices() -> str:
    """The content of matrices.hpp."""
    return _header("matrices", "MATRICES", {k: (f.name, f.text) for k, f in matrices().items()})


def _header(what: str, macro: str, printed: dict[str, tuple[str, str]]) -> str:
    lines = [
        "// SPDX-License-Identifier: BSD-3-Clause",
        f"// Printed by lossmatrix.engines.cpu.generate from the {what}' methods; do not edit.",
        "#pragma once",
        "",
        "namespace LOSSMATRIX_ISA {",
        "",
    ]
    for origin, (_, body) in printed.items():
        lines += [f"// {origin}", body]
    lines += ["}  // namespace LOSSMATRIX_ISA", ""]
    names = " ".join(f"each({name})" for name, _ in printed.values())
    return "\n".join(lines) + f"\n#define LOSSMATRIX_{macro}(each) {names}\n"


if __name__ == "__main__":
    FILE.write_text(text())
    MATRICES.write_text(text_of_matrices())
