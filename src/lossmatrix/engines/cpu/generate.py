# SPDX-License-Identifier: BSD-3-Clause
"""Writes engines/cpu/formulas.hpp, the formulas of the kernels that ship with the package.

Run ``python -m lossmatrix.engines.cpu.generate`` after a change to a loss that ships; a test
finds a file that is out of date.
"""

from __future__ import annotations

from lossmatrix import losses
from lossmatrix.codegen.cpp import Formula
from lossmatrix.codegen.derive import HARD, SOFT
from lossmatrix.costs import Dense
from lossmatrix.engines.cpu.calls import formulas_of
from lossmatrix.engines.cpu.compile import SOURCES
from lossmatrix.engines.plan import plan_of
from lossmatrix.losses import Loss
from lossmatrix.problem import Bound

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
    losses.EntropicRisk(),
    losses.EnergyScore(),
    losses.DecisionScore(),
    losses.CrossEntropy() + losses.ExpectedCost(),
    losses.CrossEntropy() + losses.Unlikelihood(),
    losses.CrossEntropy() + losses.CostSensitiveCrossEntropy(),
    losses.CrossEntropy() + losses.EnergyScore(),
    losses.CrossEntropy() + losses.DecisionScore(),
)
SHIPPED_SMOOTHED: tuple[Loss, ...] = (  # for class probabilities and label smoothing
    losses.CrossEntropy(),
    losses.ExpectedCost(),
    losses.CrossEntropy() + losses.ExpectedCost(),
    losses.CrossEntropy() + losses.DecisionScore(),
)


def formulas() -> dict[str, Formula]:
    """The shipped formulas by their names."""
    costs = Dense([[0.0, 1.0], [1.0, 0.0]])  # any that all losses accept
    ways = [(HARD, SHIPPED), (SOFT, SHIPPED_SMOOTHED)]
    return {
        formula.name: formula
        for kind, shipped in ways
        for loss in shipped
        for group in plan_of(Bound(loss.bind(costs)))
        for formula in formulas_of(group, kind)
    }


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
    structs = {
        struct: body for formula in formulas().values() for struct, body in formula.structs.items()
    }
    lines += structs.values()
    lines += ["}  // namespace LOSSMATRIX_ISA", ""]
    names = " ".join(
        f"each({formula.name}, {', '.join(formula.structs)})" for formula in formulas().values()
    )
    return "\n".join(lines) + f"\n#define LOSSMATRIX_FORMULAS(each) {names}\n"


if __name__ == "__main__":
    FILE.write_text(text())
