# SPDX-License-Identifier: BSD-3-Clause
"""Writes engines/cpu/formulas.hpp and matrices.hpp, what the kernels that ship are made of.

Run ``python -m lossmatrix.engines.cpu.generate`` after a change to a loss or a matrix that
ships; a test finds a file that is out of date.
"""

from __future__ import annotations

from lossmatrix import losses
from lossmatrix.codegen.costs import CostFormula
from lossmatrix.codegen.costs import print_cpp as print_costs
from lossmatrix.codegen.cpp import Formula
from lossmatrix.codegen.curvature import CurvatureFormula, parts_of, print_curvature
from lossmatrix.codegen.derive import HARD, SOFT
from lossmatrix.costs import CostMatrix, Dense, Ordinal, Sparse, ZeroOne
from lossmatrix.engines.cpu.calls import formulas_of
from lossmatrix.engines.cpu.compile import SOURCES
from lossmatrix.engines.plan import plan_of
from lossmatrix.losses import Loss
from lossmatrix.problem import Bound

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


# One for each text: every kind, and every way to change what a kind has made.
SHIPPED_COSTS: tuple[CostMatrix, ...] = (
    ZeroOne(3),
    Ordinal(3),
    Ordinal(3, power=2),
    Ordinal(3, power=1.5),
    *(Ordinal(3, power=power, positions=[0, 1, 3]) for power in (1, 2, 1.5)),
    Ordinal(3).scaled(3.0),
    Sparse(3, [(0, 0, 5.0)]).regret(),
    Ordinal(3).savings(),
    Sparse(3, [(0, 0, 5.0)]).zero_diagonal(),
)


def matrices() -> dict[str, CostFormula]:
    """The shipped formulas of matrices by what they were printed from, and read."""
    printed = [(costs, print_costs(costs)) for costs in SHIPPED_COSTS]
    return {f"{costs!r}{_reads(formula)}": formula for costs, formula in printed}


def _reads(formula: CostFormula) -> str:
    return f", reads {' and '.join(formula.tables)}" if formula.tables else ""


def curvatures() -> dict[str, CurvatureFormula]:
    """The shipped formulas of gradient and curvature by their names, for boosting."""
    costs = Dense([[0.0, 1.0], [1.0, 0.0]])
    parts = [parts_of(loss.bind(costs)) for loss in SHIPPED]
    formulas = [
        print_curvature(part.terms) for (part, *more) in parts if not (more or part.reads_risk)
    ]
    return {formula.name: formula for formula in formulas}


def text() -> str:
    """The content of formulas.hpp."""
    printed = formulas().values()
    structs = {struct: body for each in printed for struct, body in each.structs.items()}
    names = [f"{each.name}, {', '.join(each.structs)}" for each in printed]
    bent = curvatures().values()
    return _header(
        "losses",
        [*structs.values(), *(each.text for each in bent)],
        {"FORMULAS": names, "CURVATURES": [each.name for each in bent]},
    )


def text_of_matrices() -> str:
    """The content of matrices.hpp."""
    printed = matrices()
    structs = [f"// {origin}\n{each.text}" for origin, each in printed.items()]
    return _header("matrices", structs, {"MATRICES": [each.name for each in printed.values()]})


def _header(what: str, structs: list[str], macros: dict[str, list[str]]) -> str:
    lines = [
        "// SPDX-License-Identifier: BSD-3-Clause",
        f"// Printed by lossmatrix.engines.cpu.generate from the {what}' methods; do not edit.",
        "#pragma once",
        "",
        "namespace LOSSMATRIX_ISA {",
        "",
        *structs,
        "}  // namespace LOSSMATRIX_ISA",
        "",
        *(
            f"#define LOSSMATRIX_{macro}(each) {' '.join(f'each({name})' for name in names)}"
            for macro, names in macros.items()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    MATRICES.write_text(text_of_matrices())
