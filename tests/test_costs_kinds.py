# SPDX-License-Identifier: BSD-3-Clause
"""A kind of matrix is one file: its formula runs on tensors and is printed for every engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lossmatrix as lm
from lossmatrix.codegen.costs import print_cpp, print_triton
from lossmatrix.costs.labels import make_labels
from lossmatrix.costs.language import Load, maximum, minimum, power, where
from lossmatrix.engines.cpu import calls, costs, generate
from lossmatrix.engines.cpu import compile as compiling


class Cyclic(lm.CostMatrix):
    """Classes on a circle, such as hours or directions: D[i, j] = min(|i − j|, C − |i − j|)."""

    def __init__(self, count: int) -> None:
        super().__init__(make_labels(count, "class"), make_labels(count, "class"), {})

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        return minimum(abs(i - j), self.num_classes - abs(i - j))


class EveryWord(lm.CostMatrix):
    """All words of the language in one formula, and a table that gives the index of another."""

    def __init__(self, count: int) -> None:
        tables = {
            "price": torch.tensor([0.5, 3.0, 1.25, 7.0], dtype=torch.float64),
            "group": torch.arange(count) * 7 % 4,
            "height": (torch.arange(count, dtype=torch.float64) * 0.37).sin(),
        }
        super().__init__(make_labels(count, "class"), make_labels(count, "class"), tables)

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        above = load("height", i) - load("height", j)
        other = load("price", load("group", j)) / load("price", load("group", i))
        far = maximum((i - j) / 3 + 1.5, power(abs(above), 1.3))
        near = (-abs(above)).exp() + (other + 2.5).log() - above**2
        return where(i < j, where(i == j - 1, 0.125, near), load("price", 3) * far)


class OfDecisions(lm.CostMatrix):
    """Costs of the decision alone, whoever is the truth."""

    def __init__(self, count: int) -> None:
        super().__init__(make_labels(count, "class"), make_labels(count, "class"), {})

    def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
        return 0.25 * j + 3


def cyclic(count: int) -> Tensor:
    return torch.tensor(
        [[min(abs(i - j), count - abs(i - j)) for j in range(count)] for i in range(count)],
        dtype=torch.float64,
    )


def test_a_formula_is_all_that_a_kind_needs() -> None:
    costs, D = Cyclic(7), cyclic(7)
    assert torch.equal(costs.to_dense(), D)
    weights = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(costs.expected(weights), weights @ D)
    assert (costs.minimum, costs.maximum) == (0, 3)
    assert costs.is_symmetric
    assert costs.zero_diagonal() is costs  # its formula says so at i = j
    assert torch.equal(costs.savings().to_dense(), 3 - D)


CHANGES: dict[str, Callable[[lm.CostMatrix], lm.CostMatrix]] = {
    "as it is": lambda costs: costs,
    "scaled": lambda costs: costs.scaled(0.3),
    "regret of more": lambda costs: costs.scaled(2.0).regret(),
    "savings": lambda costs: costs.savings(),
    "mistakes": lambda costs: costs.zero_diagonal(),
    "soft targets": lambda costs: costs.soft_targets(1.5),
    "a chain": lambda costs: costs.savings().zero_diagonal().soft_targets(3.0).scaled(7.0),
}
KINDS: dict[str, Callable[[int], lm.CostMatrix]] = {
    "zero-one": lm.ZeroOne,
    "ordinal": lambda count: lm.Ordinal(count, positions=(torch.arange(count) * 0.7).sin()),
    "squared": lambda count: lm.Ordinal(count, 2, (torch.arange(count) * 0.7).sin()),
    "power": lambda count: lm.Ordinal(count, power=1.7),
    "tree": lambda count: lm.Tree.from_groups([str(i * 5 % 3) for i in range(count)], across=5),
    "tree in order": lambda count: lm.Tree.from_groups([str(i // 4) for i in range(count)]),
    "tree, classes inside": lambda count: lm.Tree(
        [(f"g{i // 4}", str(i))[: 1 + (i % 4 > 0)] for i in range(count)], level_costs=(0.3, 5.0)
    ),
    "sparse": lambda count: lm.Sparse(count, [(0, 1, 5.0), (4, 4, 0.5), (4, 2, 0.25)], default=1.5),
    "cyclic": Cyclic,
    "every word": EveryWord,
    "of decisions": OfDecisions,
}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_change = pytest.mark.parametrize("change", CHANGES)
NATIVE = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="compiled kernels")


@every_kind
@pytest.mark.parametrize("change", ["as it is", "scaled", "regret of more", "mistakes"])
def test_the_costliest_decision_saves_nothing_in_either_precision(kind: str, change: str) -> None:
    costs = CHANGES[change](KINDS[kind](12))
    narrow = costs.to(dtype=torch.float32)
    for saved in (
        costs.savings(),
        costs.savings().to(dtype=torch.float32),
        narrow.savings(),
        narrow.savings().to(dtype=torch.float64),
    ):
        assert (saved.to_dense().amin(1) == 0).all()


@NATIVE
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@every_change
@every_kind
def test_a_compiled_row_is_the_row_of_the_matrix(
    kind: str, change: str, dtype: torch.dtype
) -> None:
    for count in (5, 67):  # fewer than a pack, and a few packs with a rest
        matrix = CHANGES[change](KINDS[kind](count))
        if not matrix.has_formula and matrix.num_samples is None:
            matrix = matrix.to(dtype=dtype)
        program = costs.row_program(matrix, dtype)
        assert program is not None
        for truth in (0, 4, count - 1):
            row = torch.full((count + 1,), torch.nan, dtype=dtype)
            run(program, truth, count, row)
            exact = matrix.to(dtype=torch.float64).row(torch.tensor(truth))
            rounding = 48  # three changes one after the other, one of them an exponential
            scale = exact.abs().max().item() + 3 * matrix.row(torch.tensor(0)).abs().max().item()
            error = (row[:-1].double() - exact).abs().max().item()
            assert error <= rounding * torch.finfo(dtype).eps * max(scale, 1e-3)
            assert row[-1].isnan()  # nothing is written beyond


def run(program: costs.RowProgram, truth: int, count: int, row: Tensor) -> None:
    """What the kernels do: the base first, then the change."""
    import ctypes

    if program.base is not None:
        run(program.base, truth, count, row)
    signature = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    make = ctypes.CFUNCTYPE(None, *signature)(program.program.make_row)
    make(ctypes.addressof(program.program), truth, count, row.data_ptr())


@NATIVE
def test_a_new_kind_runs_natively_at_32000_classes_with_the_references_numbers() -> None:
    count = 32_000
    generator = torch.Generator().manual_seed(2)
    # in double precision: costs of thousands leave float32 few digits for small differences
    logits = 2.0 * torch.randn(3, count, generator=generator).double()
    target = torch.tensor([0, 31_999, 12_345])
    matrix = Cyclic(count)
    for loss in (lm.CrossEntropy() + lm.ExpectedCost(), lm.SoftTargetCrossEntropy()):
        found = []
        for engine in ("native", "reference"):
            z = logits.clone().requires_grad_()
            value = lm.Criterion(loss, matrix, engine=engine)(z, target)
            found.append((value.detach(), torch.autograd.grad(value, z)[0]))
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@NATIVE
def test_rows_of_many_classes_are_made_in_the_kernel() -> None:
    for kind, make in KINDS.items():
        terms = lm.ExpectedCost().bind(make(2100))
        call = calls._call(
            calls._formula(terms, calls.HARD, False), terms, calls.HARD, torch.float32
        )
        assert call.looked_up == (), kind
        assert call.has_rules, kind


@NATIVE
def test_without_a_compiler_a_new_kind_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Odd(Cyclic):
        def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
            return abs(i - j) * 0.5 + 0.75 * abs(i - j) / (i + 1)

    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path))
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    compiling.forget()
    try:
        assert costs.row_program(Odd(9), torch.float32) is None
    finally:
        compiling.forget()


def test_matrices_that_ship_are_printed_as_they_are() -> None:
    assert generate.MATRICES.read_text() == generate.text_of_matrices()


def test_one_text_serves_every_size_and_every_number() -> None:
    for make in (Cyclic, lambda n: lm.Ordinal(n, power=n / 10), lambda n: lm.ZeroOne(n).scaled(n)):
        assert print_cpp(make(5)).text == print_cpp(make(17)).text
        names = [print_triton(make(n), "tl.float32").name for n in (5, 17)]
        assert len(set(names)) == 1
    assert print_cpp(lm.Ordinal(3, power=0.3)).exponents == (0.3,)


def test_a_difference_is_squared_as_it_was_written() -> None:
    class Plain(Cyclic):
        def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
            return (i - j) ** 2

    text = print_cpp(Plain(5)).text
    assert text.count(" - ") == 1  # i² − 2ij + j² would cancel


def test_a_formula_that_branches_on_an_entry_is_refused() -> None:
    class Branching(Cyclic):
        def formula(self, i: Tensor, j: Tensor, load: Load) -> Tensor:
            return abs(i - j) if i > j else i

    with pytest.raises(TypeError, match="use where"):
        print_cpp(Branching(3))


def test_a_kind_that_states_nothing_says_so() -> None:
    class Empty(lm.CostMatrix):
        def __init__(self) -> None:
            super().__init__(("a", "b"), ("a", "b"), {})

    with pytest.raises(NotImplementedError, match="Empty states neither formula nor _row"):
        Empty().row(torch.tensor([0]))


@pytest.mark.parametrize("exponent", [0.3, 1.5, 3.7])
def test_fractional_powers_are_right_to_a_rounding_in_float32(exponent: float) -> None:
    positions = torch.cat([torch.zeros(1), torch.logspace(-9, 9, 2000)]).double()
    matrix = lm.Ordinal(2001, power=exponent, positions=positions)
    narrow = matrix.to(dtype=torch.float32)
    exact = narrow.tables["positions"].double() ** exponent
    finite = (exact > torch.finfo(torch.float32).tiny) & (exact < 3e38)
    rows = [narrow.row(torch.tensor(0))]
    if os.environ.get("TRITON_INTERPRET") != "1":
        rows.append(torch.empty(2001))
        program = costs.row_program(matrix, torch.float32)
        assert program is not None
        run(program, 0, 2001, rows[1])
    for row in rows:
        error = ((row.double() - exact) / exact)[finite].abs().max().item()
        assert error <= 0.51 * torch.finfo(torch.float32).eps
        assert row[0] == 0


# ---- in Triton's interpreter, which needs a process of its own -----------------------------------


INTERPRETED = [(kind, "as it is") for kind in KINDS] + [("every word", each) for each in CHANGES]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="in the interpreter only")
@pytest.mark.parametrize(("kind", "change"), dict.fromkeys(INTERPRETED))
def test_interpreted_rows_are_those_of_the_matrix(
    kind: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossmatrix.engines.gpu import placed

    monkeypatch.setattr(placed, "MAX_TABLE_CLASSES", 0)  # nothing is written out as a table
    matrix = CHANGES[change](KINDS[kind](23))
    generator = torch.Generator().manual_seed(3)
    target = torch.tensor([0, 4, 22, 9, 1])
    for dtype in (torch.float64, torch.float32)[change != "as it is" :]:
        z = torch.randn(5, 23, generator=generator, dtype=dtype).requires_grad_()
        found = []
        for engine, logits in (("triton", z), ("reference", z.double())):
            loss = lm.CrossEntropy() + lm.ExpectedCost()
            value = loss(logits, target, matrix, engine=engine, reduction="none")
            found.append((value.double(), torch.autograd.grad(value.sum(), z)[0].double()))
        tolerance = 1e-10 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(*found, rtol=tolerance, atol=tolerance)


@NATIVE
def test_kinds_run_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    options = ["-q", "-p", "no:cacheprovider", "-k", "interpreted"]
    options += ["-W", "ignore::RuntimeWarning"]  # NumPy's, about rows beyond the last one
    done = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"{len(set(INTERPRETED))} passed" in done.stdout


LOSSES = (
    lm.ExpectedCost(),
    lm.SoftTargetCrossEntropy(),
    lm.CostSensitiveCrossEntropy(),
    lm.SimilarityLikelihood(),
    lm.DecisionScore(),
)


@NATIVE
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("count", [5, 150])  # side by side; one by one, and products between
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "of decisions"])
def test_a_kind_costs_what_its_table_costs(
    kind: str, count: int, dtype: torch.dtype, loss: lm.Loss
) -> None:
    matrix = KINDS[kind](count)
    generator = torch.Generator().manual_seed(4)
    logits = 2.0 * torch.randn(4, count, generator=generator).to(dtype)
    target = torch.tensor([0, count - 1, 3, 1])
    for options in ({}, {"label_smoothing": 0.2}):
        found = []
        for given in (matrix, lm.Dense(matrix.to_dense())):
            z = logits.clone().requires_grad_()
            value = loss(z, target, given, engine="native", **options)
            found.append((value.detach(), torch.autograd.grad(value, z)[0]))
        roundings = 64 * torch.finfo(dtype).eps
        torch.testing.assert_close(*found, rtol=roundings, atol=roundings * matrix.maximum)
