# SPDX-License-Identifier: BSD-3-Clause
"""Structured costs where it is close: ties, single classes, blocks, the ends of float32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from unittest.mock import ANY

import pytest
import torch
from torch import Tensor

import lossmatrix as lm
from lossmatrix.costs import accelerator
from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.facts import facts_of, is_negative_type, magnitudes, misfit
from lossmatrix.costs.labels import check_same, decisions_of_classes, make_labels
from lossmatrix.costs.lowrank import pairwise
from lossmatrix.costs.transformed import Savings, SoftTargets, adjusted

INF = float("inf")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_facts_of_zero_one_rows_are_those_of_the_table(count: int) -> None:
    costs = lm.ZeroOne(count)
    torch.testing.assert_close(tuple(costs.row_facts), tuple(facts_of(costs.to_dense())))


@pytest.mark.parametrize("make", [lm.ZeroOne, lm.Ordinal, lambda names: lm.Sparse(names, [])])
def test_a_name_that_two_classes_have_is_refused(
    make: Callable[[list[str]], lm.CostMatrix],
) -> None:
    with pytest.raises(ValueError, match="class name 'a' is used twice"):
        make(["a", "b", "a"])


@pytest.mark.parametrize(("count", "names"), [(6, "5"), (7, "5, …")])
def test_a_sentence_lists_six_names(count: int, names: str) -> None:
    with pytest.raises(ValueError, match="unknown class") as error:
        lm.ZeroOne(count).entry("x", 0)
    assert str(error.value) == f"unknown class 'x': the names are 0, 1, 2, 3, 4, {names}."


@pytest.mark.parametrize(
    ("name", "remedy"), [("", "give every one its own."), (1, "for numbers [str(c) for c in …].")]
)
def test_a_class_without_a_name_is_told_how_to_name_it(name: str | int, remedy: str) -> None:
    with pytest.raises(ValueError, match="class 1 has no name") as error:
        lm.ZeroOne(["a", name])  # type: ignore[list-item]
    assert str(error.value).endswith(f"; {remedy}")


def test_numbers_that_nobody_gave_are_no_names() -> None:
    numbers, named = make_labels(3, "class"), ("1", "0", "x")
    assert decisions_of_classes(named, numbers) is None
    assert decisions_of_classes(named, ("0", "1")) == [1, 0, -1]
    for fitting in (named, (*named,), [*named], numbers, make_labels(2, "class")):
        check_same(named, fitting, "classes")
        check_same(fitting, named, "classes")
    check_same(numbers, make_labels(2, "class"), "classes")
    for other in (("0", "1", "x"), ("1", "0"), ("1", "0", "y")):
        with pytest.raises(ValueError, match="the classes are not 1, 0, x, or in another order"):
            check_same(named, other, "classes")


PRODUCTS = {
    "tree": lm.Tree([("a", "x"), ("b", "p", "y"), ("a", "z"), ("b", "p", "u")], [0.25, 3, 4.5]),
    "zero-one": lm.ZeroOne(4),
    "ordinal": lm.Ordinal(4, 1, [3.5, 1, 7, 2.25]),
    "ordinal, squared": lm.Ordinal(4, 2, [3.5, 1, 7, 2.25]),
    "ordinal, other power": lm.Ordinal(4, 1.5, [3.5, 1, 7, 2.25]),
    "sparse": lm.Sparse(4, [(0, 3, 7.0), (2, 2, 0.25), (1, 0, -2.0), (0, 1, 5.0)], default=1.5),
}


@pytest.mark.parametrize("costs", PRODUCTS.values(), ids=PRODUCTS)
def test_products_without_kernels_are_those_of_the_table(
    costs: lm.CostMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "installed", None)
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64)
    D = costs.to_dense()
    expected = costs.expected(weights)
    torch.testing.assert_close(expected, weights @ D, rtol=1e-13, atol=1e-13)
    (gradient,) = torch.autograd.grad(expected, weights, upstream)
    torch.testing.assert_close(gradient, upstream @ D.mT, rtol=1e-13, atol=1e-13)


def test_exceptions_of_few_decisions_and_weights_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "installed", None)
    costs = lm.Sparse(4, [(0, 1, INF), (3, 0, 2.0), (2, 1, 0.25)], default=1.5)
    D = costs.to_dense()
    finite = torch.where(D.isinf(), 0.0, D)
    weights = torch.tensor([[0.0, 1, 1, 1], [0, 0, 3, 0.5]], dtype=torch.float64).requires_grad_()
    upstream = torch.tensor([[1.0, 0, 2, 1], [3, 0, 1, 0.5]], dtype=torch.float64)
    expected = costs.expected(weights)
    torch.testing.assert_close(expected, weights @ finite)
    (gradient,) = torch.autograd.grad(expected, weights, upstream)
    torch.testing.assert_close(gradient, upstream @ finite.mT)
    certain = costs.expected(torch.tensor([1.0, 0, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(certain, D[0])


# ---- Ordinal -------------------------------------------------------------------------------------

LINES = {
    "even": [0.0, 1, 2, 3, 4],
    "even, downwards": [9.0, 6, 3, 0, -3],
    "with a tie": [1.0, 1, 4, 2.5],
    "at one place": [2.0, 2, 2],
    "two": [3.0, 1],
    "one": [7.0],
}


@pytest.mark.parametrize("power", [1, 2, 1.5, 0.5])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_facts_of_ordinal_rows_are_those_of_the_table(line: list[float], power: float) -> None:
    costs = lm.Ordinal(len(line), power, line)
    for matrix in (costs, costs.to(dtype=torch.float32)):
        expected = tuple(facts_of(matrix.to(dtype=torch.float64).to_dense()))
        torch.testing.assert_close(tuple(matrix.row_facts), expected, rtol=1e-12, atol=0)
    assert costs.has_product == (power in (1, 2))
    assert costs.is_conditionally_negative_definite


def test_positions_that_do_not_fall_are_in_order_already() -> None:
    assert lm.Ordinal(3, positions=[1, 1, 2]).tables.keys() == {"positions"}
    assert lm.Ordinal(3, positions=[1, 2, 1]).tables.keys() == {"positions", "order", "rank"}


def test_squared_distances_are_of_negative_type_whatever_their_number() -> None:
    assert lm.Ordinal(1_000_000, power=2).is_conditionally_negative_definite


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("entries", "sizes"), [(12, [3, 3, 1]), (11, [2, 2, 2, 1]), (1, [1] * 7)])
def test_ordinal_products_take_a_block_of_rows_at_a_time(
    entries: int, sizes: list[int], power: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lossmatrix.costs.ordinal as module

    costs, weights = lm.Ordinal(4, power), torch.rand(7, 4, dtype=torch.float64)
    seen: list[int] = []
    sums = module.distances_before

    def watched(part: Tensor, *rest: Tensor) -> Tensor:
        seen.append(len(part))
        return sums(part, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "distances_before", watched)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)
    torch.testing.assert_close(costs._product(weights, False), weights @ costs.to_dense())
    assert seen == [size for size in sizes for _ in range(2)]  # from both ends


@pytest.mark.parametrize(
    "positions", [[0, 1e-46, 1e-32], [0, 0, 1e-46, 1e-32], [0, 2.0**-150, 2.0**-98]]
)
def test_distances_that_vanish_beside_small_ones_are_refused(positions: list[float]) -> None:
    with pytest.raises(ValueError, match=r"its costs reach from [17]e-46 to \d"):
        lm.Ordinal(len(positions), positions=positions).to(dtype=torch.float32)


FAR = 2.0**24  # from where on float32 holds every other whole number


def test_neighbours_may_lose_half_their_distance_and_no_more() -> None:
    for line in ([0, FAR - 1, FAR + 1], [0, FAR, FAR + 1.4]):
        narrow = lm.Ordinal(3, positions=line).to(dtype=torch.float32)
        assert narrow.entry(1, 2) in (1, 2)
    with pytest.raises(ValueError, match="does not fit float32") as error:
        lm.Ordinal(["near", "far", "farther"], 1, [0, FAR, FAR + 1.2]).to(dtype=torch.float32)
    assert str(error.value) == (
        "Ordinal(3, power=1) does not fit float32: 'far' and 'farther' are 1.2 apart and the "
        "farthest 1.68e+07, which its 24 bits do not tell apart: give positions nearer together."
    )


# ---- Sparse --------------------------------------------------------------------------------------


def test_names_of_exceptions_are_looked_up_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import lossmatrix.costs.sparse as module

    find, asked = module.find_label, list[object]()

    def watched(names: object, label: object, what: str) -> int:
        asked.append(label)
        return find(names, label, what)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "find_label", watched)
    lm.Sparse(["a", "b", "c"], [("b", "a", 2), ("c", 1, 3)])
    assert asked == [1, 0, 2, 1]


@pytest.mark.parametrize("default", [-INF, INF, float("nan")])
def test_a_default_that_is_not_finite_is_refused(default: float) -> None:
    with pytest.raises(ValueError, match="default must be a finite number, got"):
        lm.Sparse(3, [], default=default)


EXCEPTIONS = {
    "none": [],
    "the default again": [(0, 1, 2.0), (1, 2, 2.0)],
    "all of a row": [(0, 1, 5.0), (0, 2, 3.0), (0, 0, 4.0)],
    "below the diagonal": [(0, 1, -1.0), (2, 2, 0.5), (2, 0, 0.5)],
    "forbidden": [(0, 1, INF), (1, 0, 7.0)],
}


@pytest.mark.parametrize("default", [2.0, 0.0])
@pytest.mark.parametrize("exceptions", EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_facts_of_sparse_rows_are_those_of_the_table(
    exceptions: list[tuple[int, int, float]], default: float
) -> None:
    costs = lm.Sparse(3, exceptions, default)
    expected = tuple(facts_of(costs.to_dense()))
    torch.testing.assert_close(tuple(costs.row_facts), expected, rtol=1e-12, atol=0)
    table = costs.to_dense()
    assert costs.is_symmetric == torch.equal(table, table.mT)
    assert costs._diagonal().tolist() == table.diagonal().tolist()


@pytest.mark.parametrize(
    ("exceptions", "symmetric"),
    [
        ([(0, 1, 3.0), (1, 0, 3.0)], True),
        ([(0, 1, 3.0), (1, 0, 4.0)], False),
        ([(0, 1, 3.0)], False),
        ([(0, 1, 1.0)], True),  # the default
        ([(0, 1, 3.0), (1, 2, 3.0)], False),
        ([(2, 0, 5.0), (0, 2, 5.0), (1, 1, 4.0), (0, 1, 1.0)], True),
        ([(0, 1, 3.0), (0, 2, 5.0), (1, 0, 3.0), (2, 0, 5.0)], True),
    ],
)
def test_exceptions_are_symmetric_where_each_has_its_mirror_image(
    exceptions: list[tuple[int, int, float]], symmetric: bool
) -> None:
    assert lm.Sparse(3, exceptions).is_symmetric == symmetric


# ---- LowRank -------------------------------------------------------------------------------------

VECTORS = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.25]], [[2.0, 1.0], [0.0, -1.5], [1.0, 3.5], [4.0, 0.5]]
SIDES = {"row_costs": [0.1, 5, 0.3], "column_costs": [0.7, 6, 0.9, 8]}


@pytest.mark.parametrize("make", [lm.LowRank, lm.LowRank.squared_distances])
def test_products_of_many_vectors_are_those_of_the_table(
    make: Callable[..., lm.CostMatrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = make(*VECTORS)
    assert costs.has_product
    monkeypatch.setattr("lossmatrix.costs.base.FEW_ENTRIES", 0)
    generator = torch.Generator().manual_seed(6)
    weights = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    expected = weights @ costs.to_dense()
    torch.testing.assert_close(costs.expected(weights), expected, rtol=1e-13, atol=1e-13)
    assert costs.expected(weights.float()).dtype == torch.float32


def test_side_costs_keep_the_digits_they_are_given_in() -> None:
    nothing = torch.zeros(3, 2).double(), torch.zeros(4, 2).double()
    D = [[a + b for b in SIDES["column_costs"]] for a in SIDES["row_costs"]]
    exact = {name: torch.tensor(each, dtype=torch.float64) for name, each in SIDES.items()}
    for sides in (SIDES, exact):
        assert lm.LowRank(*nothing, **sides).to_dense().tolist() == D  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entries", "count", "sizes"), [(5, 5, [2, 2, 1]), (1, 3, [1] * 3), (1, 1, [1]), (9, 0, [0])]
)
def test_entries_of_vectors_are_made_a_few_pairs_at_a_time(
    entries: int, count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossmatrix.costs.lowrank.BLOCK_ENTRIES", entries)
    U, V = (torch.tensor(each) for each in VECTORS)
    i, j = torch.tensor([0, 2, 1, 0, 2])[:count], torch.tensor([3, 0, 1, 2, 3])[:count]
    seen: list[int] = []

    def of(u: Tensor, v: Tensor) -> Tensor:
        seen.append(len(u))
        return (u - 2 * v).sum(-1)

    torch.testing.assert_close(pairwise(i, j, U, V, of), (U[i] - 2 * V[j]).sum(-1))
    assert seen == sizes


# ---- any kind: blocks of rows, and what needs no rows --------------------------------------------

GENERATOR = torch.Generator().manual_seed(8)
ENTRIES = torch.randn(4, 5, 3, generator=GENERATOR, dtype=torch.float64)  # by sample, truth


class OnlyRows(lm.CostMatrix):
    """A kind that states rows alone, of samples too, and notes how many it was asked for."""

    def __init__(self) -> None:
        super().__init__([*"abcde"], [*"xyz"], {"entries": ENTRIES})
        self.asked: list[int] = []

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        self.asked.append(len(target))
        if sample is None:
            return self.tables["entries"][0, target]
        assert sample.shape == target.shape
        return self.tables["entries"][sample, target]


@pytest.fixture
def only_rows(monkeypatch: pytest.MonkeyPatch) -> OnlyRows:
    """Such a kind, of which two rows are in memory at a time."""
    monkeypatch.setattr("lossmatrix.costs.base.BLOCK_ENTRIES", 7)
    return OnlyRows()


TRUTH, OF = torch.tensor([4, 0, 2, 3, 2]), torch.tensor([1, 3, 0, 2, 3])


@pytest.mark.parametrize("of_samples", [False, True])
@pytest.mark.parametrize(
    ("block", "count", "sizes"),
    [(7, 5, [2, 2, 1]), (2, 2, [1, 1]), (2, 1, [1]), (7, 2, [2]), (7, 0, [])],
)
def test_entries_and_least_costs_are_read_from_a_few_rows_at_a_time(
    only_rows: OnlyRows,
    monkeypatch: pytest.MonkeyPatch,
    of_samples: bool,
    block: int,
    count: int,
    sizes: list[int],
) -> None:
    monkeypatch.setattr("lossmatrix.costs.base.BLOCK_ENTRIES", block)
    i, j = TRUTH[:count], torch.tensor([2, 0, 1, 1, 2])[:count]
    sample = OF[:count] if of_samples else None
    rows = ENTRIES[OF[:count] if of_samples else 0, i]
    found = only_rows.entries(i, j, sample)
    assert found.dtype == torch.float64
    assert torch.equal(found, rows[torch.arange(count), j])
    assert only_rows.asked == [0, *sizes]  # none, for the dtype where there are no pairs
    only_rows.asked.clear()
    assert torch.equal(only_rows.least(i, sample), rows.amin(-1))
    assert only_rows.asked == (sizes or [0])


@pytest.mark.parametrize(("block", "sizes"), [(7, [2, 2, 1]), (2, [1] * 5), (15, [5])])
def test_products_and_facts_are_made_of_a_few_rows_at_a_time(
    only_rows: OnlyRows, monkeypatch: pytest.MonkeyPatch, block: int, sizes: list[int]
) -> None:
    monkeypatch.setattr("lossmatrix.costs.base.BLOCK_ENTRIES", block)
    weights = torch.randn(2, 3, 5, generator=GENERATOR, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 3, 3, generator=GENERATOR, dtype=torch.float64)
    found = only_rows.expected(weights)
    torch.testing.assert_close(found, weights @ ENTRIES[0], rtol=1e-14, atol=1e-14)
    assert only_rows.asked == sizes
    (slope,) = torch.autograd.grad(found, weights, upstream)
    torch.testing.assert_close(slope, upstream @ ENTRIES[0].mT, rtol=1e-14, atol=1e-14)
    assert only_rows.asked == 2 * sizes
    for found, whole in zip(only_rows.row_facts, facts_of(ENTRIES[0]), strict=True):
        assert torch.equal(found, whole)
        assert found.dtype == torch.float64
    assert only_rows.asked == 3 * sizes
    assert torch.equal(only_rows._highest(), ENTRIES[0].amax(-1))


def test_what_a_kind_knows_is_answered_without_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(*_: object) -> Tensor:
        raise AssertionError("rows were made")

    for kind in (lm.Tree, lm.Ordinal, type(lm.LowRank.squared_distances(VECTORS[0]))):
        monkeypatch.setattr(kind, "_row", walk)
    truth = torch.tensor([2, 0, 2])
    assert lm.Ordinal(3, power=1.5).least(truth).tolist() == [0, 0, 0]
    for costs in (lm.Tree([("a", "x"), ("a", "y"), ("b",)]), lm.Ordinal(3)):
        assert costs.least(truth).tolist() == [0, 0, 0]
        assert costs.savings().maximum == 2
        doubled = costs.scaled(2).with_abstain(1).expected(torch.eye(3))
        assert torch.equal(doubled[:, :3], 2 * costs.expected(torch.eye(3)))
    line = torch.arange(129.0).unsqueeze(1)  # more entries than are as soon multiplied
    apart, weights = (line - line.mT).abs().double(), torch.arange(129.0).double().cos()
    for costs, D in (
        (lm.LowRank.squared_distances(line.double()), apart**2),
        (lm.Ordinal(129).savings(), apart.amax(1, keepdim=True) - apart),
        (lm.Ordinal(129).with_abstain(-2).regret().square(), apart + 2),
    ):
        torch.testing.assert_close(costs.expected(weights), weights @ D, rtol=1e-12, atol=1e-9)


def test_transformations_have_entries_and_products_where_what_they_change_has() -> None:
    ordinal, vectors = lm.Ordinal(3), lm.LowRank(*VECTORS)
    entries = [ordinal, ordinal.scaled(2), ordinal.savings(), ordinal.zero_diagonal().scaled(2)]
    rows = [vectors, vectors.scaled(2), ordinal.with_abstain(1), ordinal.map_rows(torch.add)]
    assert [costs.has_entries for costs in (*entries, *rows)] == [True] * 4 + [False] * 4
    known = [ordinal, vectors.scaled(2), vectors.savings(), ordinal.with_abstain(1)]
    walked = [OnlyRows(), OnlyRows().scaled(2), OnlyRows().savings(), ordinal.map_rows(torch.add)]
    assert [costs.has_product for costs in (*known, *walked)] == [True] * 4 + [False] * 4


def test_tables_of_a_quarter_of_a_billion_costs_are_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lm.ZeroOne, "row", lambda _, target: len(target))
    assert lm.ZeroOne(2**14).to_dense() == 2**14
    with pytest.raises(ValueError, match="16385 × 16385 costs are too many"):
        lm.ZeroOne(2**14 + 1).to_dense()


def test_indices_on_another_device_are_refused_by_what_they_are() -> None:
    costs, there = lm.Ordinal(3), torch.tensor([0], device="meta")
    for call, what in (
        (lambda: costs.row(there), "target"),
        (lambda: costs.entries(there, there), "truth"),
        (lambda: costs.expected(torch.ones(3, device="meta")), "probs"),
    ):
        with pytest.raises(ValueError, match="move the matrix once") as error:
            call()
        assert str(error.value).startswith(f"{what} is on meta and the costs are on cpu: ")


ELSEWHERE = [
    lm.Ordinal(3, power=1.5),
    lm.Tree([("a", "x"), ("a", "y"), ("b",)]),
    lm.Dense([[1, 0], [0, 2]], ["a", "b"], ["b", "c"]),
    lm.Ordinal(3).scaled(2).with_abstain([1, 2, 3]),
    lm.Ordinal(3).savings(),
    lm.Ordinal(3).zero_diagonal(),
    lm.Dense([[1, 0], [0, 2]], ["a", "b"], ["b", "c"]).map_rows(torch.add),
    lm.Ordinal(3).map_rows(torch.add),
]


@pytest.mark.parametrize("costs", ELSEWHERE, ids=repr)
def test_what_is_made_of_a_matrix_is_where_the_matrix_is(costs: lm.CostMatrix) -> None:
    assert costs.is_finite  # which is kept
    there = costs.to("meta")  # which refuses tensors of the processor, as a GPU does
    target = torch.zeros(2, dtype=torch.int64, device="meta")
    rows, marks = next(iter(there._row_blocks()))
    made = [rows, marks, there.row(target), there.entries(target, target), there.to_dense()]
    made += [there.least(target), *CostMatrix.row_facts.func(there)]
    made.append(there.expected(torch.ones(2, there.num_classes, device="meta")))
    made += [each for each in (there._diagonal(),) if each is not None]
    assert {each.device.type for each in made} == {"meta"}
    for ask in (lambda: there.entry(0, 1), lambda: there._view().text()):
        with pytest.raises(RuntimeError, match="meta tensor"):  # only numbers that are read there
            ask()


def test_columns_are_in_another_order_where_a_table_was_written_so() -> None:
    turned = lm.Dense([[1, 0], [0, 2]], ["a", "b"], ["b", "a"])
    assert turned.is_reordered
    assert turned.scaled(2).is_reordered
    for costs in (lm.Ordinal(3), lm.Ordinal(3).scaled(2), lm.Dense([[1, 0], [0, 2]])):
        assert not costs.is_reordered


def test_no_names_are_no_numbers() -> None:
    assert lm.ZeroOne(["a", "b"]).index([]).dtype == torch.int64


def test_numbers_of_transformations_keep_their_digits() -> None:
    costs = lm.Sparse(2, [(0, 1, 3.0)])
    assert costs.scaled(0.1).entry(0, 1) == 0.1 * 3
    assert costs.with_abstain(0.1).entry(1, "abstain") == 0.1
    assert costs.with_abstain([0.1, 0.7]).entry(1, "abstain") == 0.7


def test_costs_without_samples_of_their_own_are_those_of_any_samples() -> None:
    for costs in (lm.Ordinal(3), lm.Dense([[0, 1], [2, 0]]), lm.Ordinal(3).scaled(2)):
        assert costs.of_samples(torch.tensor([1, 1])) is costs


def test_equality_is_left_to_the_other_where_it_is_no_matrix() -> None:
    assert lm.Ordinal(3) == ANY
    assert (lm.Ordinal(3) == lm.ZeroOne(3)) is False


def test_equal_matrices_are_of_one_kind() -> None:
    class Other(lm.ZeroOne):
        pass

    assert lm.ZeroOne(3) != Other(3)
    assert Other(3) == Other(3)


def test_the_last_matrix_that_claims_a_transformation_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dict(lm.CostMatrix._transformations)
    monkeypatch.setattr(lm.CostMatrix, "_transformations", dict(before))

    class Spared(Savings, transformation="savings"):
        pass

    class Other(Savings):
        pass

    assert type(lm.Ordinal(3).savings()) is Spared
    assert lm.CostMatrix._transformations == before | {"savings": Spared}


def test_a_symmetric_matrix_that_forbids_is_of_no_type() -> None:
    forbidden = lm.Dense([[0, INF, 1], [INF, 0, 2], [1, 2, 0]])
    assert forbidden.is_symmetric
    assert forbidden.is_conditionally_negative_definite is False
    assert lm.Sparse(2, [(0, 1, INF), (1, 0, INF)]).is_conditionally_negative_definite is False


# ---- magnitudes ----------------------------------------------------------------------------------


def test_magnitudes_are_those_of_all_parts_of_all_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossmatrix.costs.facts.PART", 3)
    table = torch.tensor([[0.5, -0.25, 0, INF], [0.75, 0, -INF, -0.875]])
    assert magnitudes(table) == (0.25, 0.875)
    for last in (0.125, -0.9375):  # alone in the third part
        moved = torch.cat([table.flatten()[:6], torch.tensor([last])])
        assert magnitudes(moved) == (min(0.25, abs(last)), max(0.75, abs(last)))
    assert magnitudes(table, torch.tensor([0.0625]), torch.tensor([3.0])) == (0.0625, 3.0)
    assert magnitudes(torch.tensor([0.0, INF])) == (1.0, 1.0)
    assert magnitudes(torch.empty(0)) == (1.0, 1.0)


def test_float32_holds_what_rounds_to_neither_0_nor_infinity() -> None:
    most = torch.finfo(torch.float32).max
    assert not misfit(2.0**-150 * (1 + 2.0**-50), most)
    assert not torch.tensor(2.0**-150).float()  # the greatest that is rounded to 0
    for least, greatest in ((2.0**-150, 1.0), (1.0, most * (1 + 2.0**-50))):
        reach = f"its costs reach from {least:.2g} to {greatest:.2g}"
        assert misfit(least, greatest) == f"{reach}, and float32 from 1.4e-45 to 3.4e+38"


def test_a_stack_of_tables_is_of_negative_type_where_each_of_them_is() -> None:
    x = torch.tensor([0.0, 1, 2.5, 7, 4], dtype=torch.float64)
    near, squared, cubed = ((x[:, None] - x).abs() ** power for power in (1, 2, 3))
    zero = torch.zeros_like(near)
    line = torch.arange(60.0).double().sin()
    assert is_negative_type(1e6 * (line[:, None] - line) ** 2)  # 58 eigenvalues are a rounding of 0
    for tables in ([near, squared], [squared, zero, 1000 * near], [zero]):
        assert is_negative_type(torch.stack(tables))
        assert all(map(is_negative_type, tables))
    for tables in ([near, cubed], [cubed, squared], [-squared, near], [cubed]):
        assert not is_negative_type(torch.stack(tables))


def test_names_of_tables_are_used_once_and_a_new_decision_comes_last() -> None:
    assert lm.ZeroOne(["a", "b"]).with_abstain(1).decisions == ("a", "b", "abstain")
    for names, what in (
        ({"classes": ["a", "a"]}, "class"),
        ({"decisions": ["a", "a"]}, "decision"),
    ):
        with pytest.raises(ValueError, match=f"the {what} name 'a' is used twice"):
            lm.Dense([[0, 1], [2, 0]], **names)


# --- what is known without looking ----------------------------------------------------------------


@pytest.mark.parametrize("others", ["the points", "and more", "other points"])
def test_the_least_cost_of_points_is_that_of_their_rows(others: str) -> None:
    points, apart = torch.randn(4, 3).double(), torch.randn(5, 3).double()
    columns = {"the points": points, "and more": torch.cat([points, apart]), "other points": apart}
    D = lm.LowRank.squared_distances(points, columns[others])
    truth = torch.tensor([[3, 0], [2, 2]])
    torch.testing.assert_close(D.least(truth), D.to_dense().amin(1)[truth], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "costs",
    [
        lm.Ordinal(3).scaled(2.0),
        lm.Sparse(3, [(0, 1, 5.0)]).scaled(0.5),
        lm.PerExample.matrices(torch.rand(2, 3, 3) * (1 - torch.eye(3))),
    ],
    ids=["ordinal", "sparse", "cubes"],
)
def test_a_diagonal_of_zero_is_seen(costs: lm.CostMatrix) -> None:
    assert costs.zero_diagonal() is costs


def test_rows_by_a_function_name_it() -> None:
    def doubled(rows: torch.Tensor, is_truth: torch.Tensor) -> torch.Tensor:
        return 2 * rows

    assert "fn=doubled" in repr(lm.Ordinal(3).map_rows(doubled))


def wide() -> lm.CostMatrix:
    """Four truths and six decisions, of which none is free: no kind knows more than its vectors."""
    generator = torch.Generator().manual_seed(3)
    parts = [
        torch.rand(size, generator=generator).double() for size in ((4, 2), (6, 2), (4,), (6,))
    ]
    return lm.LowRank(parts[0], parts[1], 3 + parts[2], parts[3], list("abcd"), list("abcdef"))


MADE = {
    "scaled": wide().scaled(2.5),
    "regret": wide().regret(),
    "abstaining for little": wide().with_abstain(0.5),
    "abstaining dear": wide().with_abstain([50.0, 3.6, 60.0, 70.0]),
    "savings": wide().savings(),
    "soft targets": wide().soft_targets(0.7),
    "all": wide().scaled(0.1).regret().with_abstain([0.01, 0.02, 9.0, 0.0]),
}


@pytest.mark.parametrize("is_small", [True, False], ids=["by rows", "by the vectors"])
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_a_matrix_agrees_with_its_own_table(
    name: str, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = MADE[name].to(dtype=torch.float64)
    dense = costs.to_dense()
    monkeypatch.setattr(CostMatrix, "_is_small", is_small)
    truth = torch.tensor([3, 0, 2, 1, 1])
    close = functools.partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)
    close(costs.least(truth), dense.amin(1)[truth])
    close(costs._highest(), dense.amax(1))
    close(tuple(costs.row_facts), tuple(facts_of(dense)))
    close(costs.square().to_dense(), dense[:, :4])
    weights = torch.rand(3, 4).double()
    close(costs.expected(weights), weights @ dense)
    close(costs.expected(weights[0]), weights[0] @ dense)
    if isinstance(costs, SoftTargets):
        lowest, shares = costs.softmax_facts
        base = costs.base.to_dense()
        close(((lowest.unsqueeze(1) - base) / 0.7).exp() * shares.unsqueeze(1), dense)


def test_a_regret_of_few_classes_is_expected_without_cancelling() -> None:
    rows = torch.tensor([1e6, 2e6, 3e6, 4e6]).double()
    base = wide()
    far = lm.LowRank(base.tables["left"], base.tables["right"], rows)
    weights = torch.rand(4)
    exact = weights.double() @ far.regret().to_dense()
    found = far.regret().expected(weights)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("low", "high"), [(2.0, 8.0), (0.5, 0.25)])
def test_a_factor_multiplies_the_bounds_of_its_base(low: float, high: float) -> None:
    own = {"factor": torch.tensor(4.0)}
    assert adjusted(low, high, own) == (4 * low, 4 * high)


def test_values_under_a_transformation_are_checked() -> None:
    rows = torch.tensor([[0.0, 1.0], [torch.nan, 0.0]])
    costs = lm.PerExample(rows).zero_diagonal()
    with pytest.raises(ValueError, match="costs"):
        costs.check_values()
