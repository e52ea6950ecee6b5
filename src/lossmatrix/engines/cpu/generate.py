# SPDX-License-Identifier: BSD-3-Clause
"""Writes engines/cpu/formulas.hpp, the formulas of the kernels that ship with the package.

Run ``python -m lossmatrix.engines.cpu.generate`` after a change to a loss that ships; a test
finds a file that is out of date.
"""

from __future__ import annotations

from lossmatrix import losses
from lossmatrix.codegen.cpp import Formula, print_cpp
from lossmatrix.codegen.derive import HARD, derive
from lossmatrix.costs import Dense
from lossmatrix.engines.cpu.compile import SOURCES
from lossmatrix.losses import Loss

FILE = SOURCES / "formulas.hpp"

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
    return {repr(loss): print_cpp(derive(loss.bind(any_costs), HARD)) for loss in SHIPPED}


def text() -> str:
    """The content of the file."""
    lines = [
        "// SPDX-License-Identifier: BSD-3-Clause",
        "// Printed by lossmatrix.engines.cpu.generate from the losses' methods; do not edit.",
        "#pragma once",
        "",
        "namespace LOSSMATRIX_ISA {",
        "",
    ]
    for loss, formula in formulas().items():
        lines += [f"// {loss}", formula.text]
    lines += ["}  // namespace LOSSMATRIX_ISA", ""]
    names = " ".join(f"each({formula.name})" for formula in formulas().values())
    return "\n".join(lines) + f"\n#define LOSSMATRIX_FORMULAS(each) {names}\n"


if __name__ == "__main__":
    FILE.write_text(text())
