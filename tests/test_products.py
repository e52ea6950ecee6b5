# SPDX-License-Identifier: BSD-3-Clause
"""Compiled products of weights with a matrix, against the same sums written out in float64."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Iterator

import pytest
import torch
from test_costs import KINDS
from torch import Tensor

import lossmatrix as lm
from lossmatrix.costs import accelerator
from lossmatrix.engines.cpu import compile as compiling
from lossmatrix.engines.cpu import products

INF = float("inf")
SIZES = [1, 2, 7, 16, 33, 257]
BOTH_SIDES = pytest.mark.parametrize("transposed", [False, True], ids=["D", "Dᵀ"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@functools.cache
def kinds(C: int) -> dict[str, lm.CostMatrix]:
    """Every kind that has a kernel, of C classes, also in an order of its own and transformed."""
    shuffled = random.Random(C)
    line = [1.5 * i**1.5 for i in range(C)]
    mixed = shuffled.sample(line, C)
    deep = [(str(i % 3), str(i % 5), f"c{i}") if i % 4 else (str(i % 3), f"c{i}") for i in range(C)]
    pairs = sorted({(shuffled.randrange(C), shuffled.randrange(C)) for _ in range(2 * C)})
    exceptions = [(i, j, 0.5 + 3 * i + (i - j) * 0.7) for i, j in pairs]
    prices = [shuffled.random() for _ in range(C)]
    return {
        "zero-one": lm.ZeroOne(C),
        "line": lm.Ordinal(C, positions=line),
        "line, squared": lm.Ordinal(C, power=2),
        "line in another order": lm.Ordinal(C, positions=mixed),
        "line in another order, squared": lm.Ordinal(C, power=2, positions=mixed),
        "tree depth first": lm.Tree([(str(i * 3 // C), f"c{i}") for i in range(C)]),
        "tree": lm.Tree(deep),
        "tree, uneven": lm.Tree(shuffled.sample(deep, C)),
        "sparse": lm.Sparse(C, exceptions, default=2.0),
        "sparse, no default": lm.Sparse(C, exceptions, default=0.0),
        "scaled": lm.Ordinal(C, positions=mixed).scaled(0.3),
        "regret": lm.Sparse(C, exceptions, default=2.0).regret(),
        "abstain": lm.Tree(deep).with_abstain(prices),
        "abstain twice": lm.Ordinal(C)
        .with_abstain(prices)
        .scaled(3.0)
        .regret()
        .with_abstain(0.1, "ask"),
    }


NAMES = list(kinds(2))


def weights(rows: int, count: int, dtype: torch.dtype, signed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    drawn = torch.rand(rows, count, generator=generator, dtype=dtype) ** 4
    return drawn - 0.2 if signed else drawn


@pytest.fixture(params=list(compiling.SETS))
def _instruction_set(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Kernels of one instruction set, as far as this machine has it."""
    known, here = list(compiling.SETS), torch.backends.cpu.get_cpu_capability()
    widest = known.index(here) if here in known else len(known) - 1
    if known.index(request.param) < widest:
        pytest.skip(f"this machine has {here} at most")
    monkeypatch.setattr(compiling, "instruction_set", lambda _: request.param)
    products.kernels.cache_clear()
    yield
    products.kernels.cache_clear()


@pytest.mark.usefixtures("_instruction_set")
@pytest.mark.parametrize("name", NAMES)
@BOTH_SIDES
@DTYPES
def test_a_product_is_the_sum_over_all_entries(
    name: str, transposed: bool, dtype: torch.dtype
) -> None:
    for C in SIZES:
        costs = kinds(C)[name]
        D = costs.to_dense().double()
        size = D.abs()
        if "offset" in costs.tables:  # a regret is a difference of costs
            size = size + costs.tables["offset"].abs().unsqueeze(-1)
        D, size = (D.mT, size.mT) if transposed else (D, size)
        for signed in (False, True):
            w = weights(3, D.shape[0], dtype, signed)
            found = products.multiply(costs, w, transposed)
            assert found is not None
            assert found.dtype == dtype
            exact, scale = w.double() @ D, w.double().abs() @ size
            error = (found.double() - exact).abs()
            roundings = 12 if dtype == torch.float32 else C + 8
            assert (error <= roundings * torch.finfo(dtype).eps * scale).all(), C


@pytest.mark.parametrize("name", NAMES)
@DTYPES
def test_very_many_classes_lose_no_digits(name: str, dtype: torch.dtype) -> None:
    C = 20_000
    costs = kinds(C)[name]
    K = costs.num_decisions
    truths = torch.tensor([0, 1, 777, 10_000, 19_998, 19_999])
    rows = costs.row(truths).double()  # weights·Dᵀ at a truth is the sum over its row
    equal = torch.full((2, K), 1 / 3, dtype=dtype)  # all roundings of a running sum go one way
    for w in (equal, weights(2, K, dtype, False), weights(2, K, dtype, True)):
        found = products.multiply(costs, w, True)
        assert found is not None
        exact, scale = w.double() @ rows.mT, w.double().abs() @ rows.mT.abs()
        error = (found[:, truths].double() - exact).abs()
        roundings = 16 if dtype == torch.float32 else C
        assert (error <= roundings * torch.finfo(dtype).eps * scale).all()
        # and the two sides belong to one matrix: (u D)·w = u·(w Dᵀ)
        u = weights(2, C, dtype, True)
        other, size = products.multiply(costs, u), products.multiply(costs, u.abs())
        assert other is not None
        assert size is not None
        left, right = (other.double() * w).sum(1), (u.double() * found).sum(1)
        assert ((left - right).abs() <= 1e-6 * (size.double() * w.abs()).sum(1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    for C, rows in ((7, 20_000), (257, 1000), (20_000, 9)):
        costs = kinds(C)[name]
        w, probs = weights(rows, C, torch.float32, True), weights(rows, C, torch.float32, False)
        probs = probs / probs.sum(1, keepdim=True)
        found: list[Tensor | None] = []
        before = torch.get_num_threads()
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found += [products.multiply(costs, w), lm.decide(probs, costs)]
        torch.set_num_threads(before)
        one, decided_one, two, decided_two = found
        assert one is not None
        assert two is not None
        assert torch.equal(one, two)
        assert decided_one is not None
        assert decided_two is not None
        assert torch.equal(decided_one, decided_two)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.costs.is_finite])
@BOTH_SIDES
def test_kinds_are_multiplied_as_their_tables_or_not_at_all(name: str, transposed: bool) -> None:
    costs, D = KINDS[name]
    D = D.mT if transposed else D
    w = weights(4, D.shape[0], torch.float64, True)
    found = products.multiply(costs, w, transposed)
    assert (found is not None) == products.decides(costs, torch.float64)
    if found is not None:
        torch.testing.assert_close(found, w @ D, rtol=1e-12, atol=1e-12)


def test_which_matrices_have_a_kernel() -> None:
    dense, ordinal = lm.Dense([[0, 1], [5, 0]]), lm.Ordinal(4)
    vectors = lm.LowRank.squared_distances(torch.rand(4, 2))
    without = [dense, dense.scaled(2), vectors, vectors.scaled(2), lm.Ordinal(4, power=1.5)]
    without.append(ordinal.map_rows(lambda rows, _: rows + 1))
    for costs in without:
        assert products.multiply(costs, torch.rand(3, costs.num_classes)) is None
        assert not products.decides(costs, torch.float32)
    for costs in kinds(4).values():
        assert products.decides(costs, torch.float32)


class HalfPrice(lm.Ordinal):
    """Costs of its own under the name of a kind."""

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        return super()._row(target, sample) / 2

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        return super()._product(weights, transposed) / 2


def test_a_class_made_from_a_kind_states_its_own_product() -> None:
    costs, w = HalfPrice(4), torch.rand(3, 4)
    assert products.multiply(costs, w) is None
    torch.testing.assert_close(costs.expected(w), w @ costs.to_dense().float())
    torch.testing.assert_close(lm.Ordinal(4).expected(w) / 2, costs.expected(w))


def test_what_kernels_cannot_read_is_left_to_the_matrix() -> None:
    costs = lm.Ordinal(4)
    for w in (torch.rand(3, 4).half(), torch.rand(3, 4, device="meta")):
        assert products.multiply(costs, w) is None
    seen: list[object] = []
    torch.vmap(lambda w: seen.append(products.multiply(costs, w)) or w)(torch.rand(3, 4))
    assert seen == [None]


def test_the_result_goes_where_it_is_wanted() -> None:
    for costs in (lm.Tree([("a", "x"), ("b", "y"), ("b", "z")]), lm.Ordinal(3).with_abstain(2.0)):
        w = torch.rand(5, 3)
        out = torch.full((5, costs.num_decisions), torch.nan)
        assert products.multiply(costs, w, out=out) is out
        torch.testing.assert_close(out, w @ costs.to_dense().float())
    for out in (torch.empty(5, 4), torch.empty(5, 3).double(), torch.empty(3, 5).mT):
        with pytest.raises(
            ValueError, match=r"out must be contiguous torch.float32 of shape \(5, 3"
        ):
            products.multiply(lm.ZeroOne(3), torch.rand(5, 3), out=out)


def test_weights_of_any_layout_and_number_of_dimensions() -> None:
    costs, w = lm.Ordinal(3, positions=[4.0, 1.0, 2.0]), torch.rand(3, 2, 5).movedim(0, -1)
    for given in (w, w[0], w[0, 0], w[:, :0]):
        found = products.multiply(costs, given)
        assert found is not None
        torch.testing.assert_close(found, given @ costs.to_dense().float())


def test_a_forbidden_decision_counts_where_its_truth_has_weight() -> None:
    costs = lm.Sparse(3, [(0, 1, INF), (2, 1, INF), (1, 0, 4.0)], default=1.0)
    w = torch.tensor([[0.0, 1.0, 0.0], [1e-30, 1.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, -1.0]])
    found = products.multiply(costs, w)
    assert found is not None
    assert found[:3].tolist() == [[4, 0, 1], [4, INF, 1], [0, -INF, -1]]
    assert found[3, 1].isnan()
    back = products.multiply(costs, torch.tensor([[0.0, 2.0, 0.0]]), True)
    assert back is not None
    assert back.tolist() == [[INF, 0, INF]]


def test_tables_in_another_place_are_another_matrix() -> None:
    costs, w = lm.Ordinal(3), torch.rand(2, 3)
    before = costs.expected(w)
    moved = costs.with_tables({"positions": 2 * costs.tables["positions"]})
    torch.testing.assert_close(moved.expected(w), 2 * before)
    torch.testing.assert_close(costs.expected(w), before, rtol=0, atol=0)


def test_a_matrix_that_is_gone_leaves_nothing_behind() -> None:
    costs = lm.Tree([("a", "x"), ("b", "y"), ("b", "z")])
    costs.expected(torch.rand(2, 3))
    key = id(costs)
    assert any(number == key for number, *_ in products._programs)
    del costs
    gc.collect()
    assert all(number != key for number, *_ in products._programs)


# --- the hook of the matrices --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_matrices_ask_for_the_kernel_and_do_without(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, w = kinds(150)[name], weights(5, 150, torch.float64, True)  # no small ones
    assert accelerator.installed is products
    asked: list[str] = []
    genuine = products.multiply

    def spy(costs: lm.CostMatrix, weights: Tensor, transposed: bool = False) -> Tensor | None:
        asked.append(type(costs).__name__)
        return genuine(costs, weights, transposed)

    monkeypatch.setattr(products, "multiply", spy)
    found = costs.expected(w)
    assert asked
    monkeypatch.setattr(accelerator, "installed", None)
    torch.testing.assert_close(found, costs.expected(w), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_expected_costs_have_both_derivatives(name: str) -> None:
    costs = kinds(7)[name]
    w = weights(3, 7, torch.float64, True).requires_grad_()
    assert torch.autograd.gradcheck(costs.expected, w)
    assert torch.autograd.gradgradcheck(lambda w: costs.expected(w).square(), w)


@pytest.mark.parametrize("name", NAMES)
def test_expected_costs_take_part_in_function_transforms(name: str) -> None:
    costs, w = kinds(7)[name], weights(3, 7, torch.float64, True)
    D = costs.to_dense().double()
    torch.testing.assert_close(torch.vmap(costs.expected)(w), w @ D)
    gradient = torch.func.grad(lambda w: costs.expected(w).square().sum())(w)
    torch.testing.assert_close(gradient, 2 * w @ D @ D.mT)
    per_row = torch.vmap(torch.func.grad(lambda w: costs.expected(w).square().sum()))(w)
    torch.testing.assert_close(per_row, gradient)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_expected_costs_compile_into_one_graph() -> None:
    costs, w = lm.Ordinal(7), torch.rand(3, 7, requires_grad=True)
    compiled = torch.compile(costs.expected, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w), costs.expected(w))
    (gradient,) = torch.autograd.grad(compiled(w)[:, 2].sum(), w)
    torch.testing.assert_close(gradient, costs.to_dense()[:, 2].float().expand(3, 7))
