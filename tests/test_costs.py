# SPDX-License-Identifier: BSD-3-Clause
"""Every kind of cost matrix and every transformation, against a table made by definition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import lossmatrix as lm

INF = float("inf")


def table(C: int, K: int, rule: Callable[[int, int], float]) -> Tensor:
    return torch.tensor([[rule(i, j) for j in range(K)] for i in range(C)], dtype=torch.float64)


def squared(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return 1 - dot / (squared(a, [0] * len(a)) * squared(b, [0] * len(b))) ** 0.5


LINE = [3.5, 1, 7, 2.25, 2.25, -4]
WIDE = [[0, 3, 7, 2.5, 1], [4, 0.5, 6, 9, 1.5], [8, 11, 0, -2, 5], [10, 12, 13, 0.25, 14]]
TALL = [[0, 3, 7], [4, 0.5, 6], [8, 11, 1], [10, 12, 13], [2, 9, 5]]
PATHS = [("a", "x"), ("b", "p", "y"), ("a", "z"), ("b", "p", "u"), ("b", "v"), ("w",)]
HEIGHTS = {(0, 2): 1, (1, 3): 1, (1, 4): 2, (3, 4): 2}
U = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.25], [-2.0, 1.5]]
V = [*U, [0.0, 1.0]]
EXCEPTIONS = [(0, 3, 7.0), (4, 1, 0.5), (2, 2, 0.25), (1, 0, 2.0), (0, 1, -1.0), (3, 4, 2.0)]


def height(i: int, j: int, costs: tuple[float, ...] = (1, 2, 3)) -> float:
    return 0.0 if i == j else costs[HEIGHTS.get((min(i, j), max(i, j)), 3) - 1]


class Kind(NamedTuple):
    costs: lm.CostMatrix
    table: Tensor


KINDS = {
    "dense": Kind(lm.Dense([row[:4] for row in WIDE]), torch.tensor(WIDE)[:, :4].double()),
    "dense, more decisions": Kind(lm.Dense(WIDE), torch.tensor(WIDE).double()),
    "dense, fewer decisions": Kind(lm.Dense(TALL), torch.tensor(TALL).double()),
    "dense, one class": Kind(lm.Dense([[2.0]]), torch.tensor([[2.0]]).double()),
    "zero-one": Kind(lm.ZeroOne(5), table(5, 5, lambda i, j: float(i != j))),
    "zero-one, one class": Kind(lm.ZeroOne(1), table(1, 1, lambda i, j: 0.0)),
    "ordinal": Kind(lm.Ordinal(6), table(6, 6, lambda i, j: abs(i - j))),
    "ordinal, squared": Kind(lm.Ordinal(6, power=2), table(6, 6, lambda i, j: (i - j) ** 2)),
    "ordinal, one class": Kind(lm.Ordinal(1), table(1, 1, lambda i, j: 0.0)),
    **{
        f"ordinal, power {power} on a line": Kind(
            lm.Ordinal(6, power=power, positions=LINE),
            table(6, 6, lambda i, j, power=power: abs(LINE[i] - LINE[j]) ** power),
        )
        for power in (1, 2, 0.5, 3)
    },
    "tree": Kind(lm.Tree(PATHS), table(6, 6, height)),
    "tree, rising levels": Kind(
        lm.Tree(PATHS, level_costs=(0.1, 4, 4.7)),
        table(6, 6, lambda i, j: height(i, j, (0.1, 4, 4.7))),
    ),
    "tree, free levels": Kind(
        lm.Tree(PATHS, level_costs=(0, 0, 2.5)),
        table(6, 6, lambda i, j: height(i, j, (0, 0, 2.5))),
    ),
    "tree, classes inside": Kind(
        lm.Tree([("a", "x"), ("a",), ("a", "b", "y"), ("c",), ("a", "b")], level_costs=(1, 3, 4.5)),
        torch.tensor(
            [
                [0, 3, 3, 4.5, 3],
                [3, 0, 3, 4.5, 3],
                [3, 3, 0, 4.5, 1],
                [4.5, 4.5, 4.5, 0, 4.5],
                [3, 3, 1, 4.5, 0],
            ]
        ).double(),
    ),
    "tree, one class": Kind(lm.Tree([("a", "b")]), table(1, 1, lambda i, j: 0.0)),
    "low rank": Kind(
        lm.LowRank(U, V, row_costs=[1, 2, 3, 4], column_costs=[5, 4, 3, 2, 1]),
        table(4, 5, lambda i, j: U[i][0] * V[j][0] + U[i][1] * V[j][1] + (i + 1) + (5 - j)),
    ),
    "low rank, no side costs": Kind(
        lm.LowRank(U, V), table(4, 5, lambda i, j: U[i][0] * V[j][0] + U[i][1] * V[j][1])
    ),
    "distances": Kind(
        lm.LowRank.squared_distances(U), table(4, 4, lambda i, j: squared(U[i], U[j]))
    ),
    "distances, more decisions": Kind(
        lm.LowRank.squared_distances(U, V), table(4, 5, lambda i, j: squared(U[i], V[j]))
    ),
    "distances, other decisions": Kind(
        lm.LowRank.squared_distances(U, V[1:]), table(4, 4, lambda i, j: squared(U[i], V[j + 1]))
    ),
    "cosine": Kind(lm.LowRank.cosine_distances(U, V), table(4, 5, lambda i, j: cosine(U[i], V[j]))),
    "sparse": Kind(
        lm.Sparse(5, EXCEPTIONS, default=2),
        table(
            5,
            5,
            lambda i, j: {(i, j): c for i, j, c in EXCEPTIONS}.get((i, j), 2.0 * (i != j)),
        ),
    ),
    "sparse, mirrored": Kind(
        lm.Sparse(4, [(0, 1, 3), (1, 0, 3), (2, 3, 1.0)]),
        table(4, 4, lambda i, j: 3.0 if {i, j} == {0, 1} else float(i != j)),
    ),
    "sparse, all exceptions": Kind(
        lm.Sparse(2, [(0, 1, 3), (1, 0, 4), (0, 0, 5), (1, 1, 6)]),
        torch.tensor([[5.0, 3.0], [4.0, 6.0]], dtype=torch.float64),
    ),
    "sparse, by name": Kind(
        lm.Sparse(["2", "0", "1"], [("0", 2, 3), (0, "1", 4), ("2", "0", 5)]),
        torch.tensor([[0, 5, 4], [1, 0, 3], [1, 1, 0]]).double(),
    ),
    "sparse, none": Kind(lm.Sparse(4, []), table(4, 4, lambda i, j: float(i != j))),
}


def per_row(D: Tensor, fn: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """fn of one row at a time, as it is promised to be usable."""
    marks = torch.eye(*D.shape, dtype=torch.bool)
    return torch.stack([fn(row, mark) for row, mark in zip(D, marks, strict=True)])


def off_the_truth(rows: Tensor, is_truth: Tensor) -> Tensor:
    return rows.masked_fill(is_truth, 0.0)


def savings(rows: Tensor, is_truth: Tensor) -> Tensor:
    return rows.amax(-1, keepdim=True) - rows + 0.5 * is_truth


def abstain(D: Tensor, costs: list[float]) -> Tensor:
    return torch.cat([D, torch.tensor(costs, dtype=torch.float64).unsqueeze(1)], 1)


def one_each(C: int) -> list[float]:
    return [0.75 * i - 1 for i in range(C)]


class Change(NamedTuple):
    of_costs: Callable[[lm.CostMatrix], lm.CostMatrix]
    of_table: Callable[[Tensor], Tensor]


CHANGES = {
    "as it is": Change(lambda c: c, lambda D: D),
    "scaled": Change(lambda c: c.scaled(2.5), lambda D: 2.5 * D),
    "regret": Change(lambda c: c.regret(), lambda D: D - D.amin(1, keepdim=True)),
    "with abstain": Change(lambda c: c.with_abstain(0.5), lambda D: abstain(D, [0.5] * len(D))),
    "with abstain by truth": Change(
        lambda c: c.with_abstain(one_each(c.num_classes)), lambda D: abstain(D, one_each(len(D)))
    ),
    "mapped": Change(lambda c: c.map_rows(savings), lambda D: per_row(D, savings)),
    "mapped, then more": Change(
        lambda c: c.map_rows(off_the_truth).with_abstain(0.25).scaled(2),
        lambda D: 2 * abstain(per_row(D, off_the_truth), [0.25] * len(D)),
    ),
    "savings": Change(lambda c: c.savings(), lambda D: D.amax(1, keepdim=True) - D),
    "mistakes": Change(
        lambda c: c.scaled(3).zero_diagonal(),
        lambda D: 3 * D.masked_fill(torch.eye(*D.shape, dtype=torch.bool), 0),
    ),
    "a chain": Change(
        lambda c: c.with_abstain(1.5).scaled(4).regret().with_abstain(2.0, "defer"),
        lambda D: abstain(
            (lambda R: R - R.amin(1, keepdim=True))(4 * abstain(D, [1.5] * len(D))), [2.0] * len(D)
        ),
    ),
}
CASES = {
    f"{kind} {change}": (CHANGES[change].of_costs(costs), CHANGES[change].of_table(D))
    for (kind, (costs, D)), change in product(KINDS.items(), CHANGES)
}
every_case = pytest.mark.parametrize(("costs", "D"), CASES.values(), ids=CASES)
every_kind = pytest.mark.parametrize("costs", [k.costs for k in KINDS.values()], ids=KINDS)


def signed_weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@every_case
def test_rows_and_entries_are_those_of_the_definition(costs: lm.CostMatrix, D: Tensor) -> None:
    assert costs.shape == (costs.num_classes, costs.num_decisions) == D.shape
    assert (len(costs.classes), len(costs.decisions)) == D.shape
    close(costs.to_dense().double(), D)
    target = torch.tensor([[D.shape[0] - 1, 0, 0], [D.shape[0] // 2, 0, D.shape[0] - 1]])
    close(costs.row(target).double(), D[target])
    close(costs.row(target.to(torch.uint8)).double(), D[target])
    assert costs.row(target[:, :0]).shape == (2, 0, D.shape[1])
    truth, decision = D.shape[0] - 1, D.shape[1] // 2
    entry = costs.entry(truth, decision)
    assert type(entry) is float
    assert entry == pytest.approx(D[truth, decision].item(), abs=1e-12)
    assert entry == costs.entry(costs.classes[truth], costs.decisions[decision])


@every_case
def test_single_entries_are_those_of_the_rows(costs: lm.CostMatrix, D: Tensor) -> None:
    i, j = torch.arange(D.shape[0]).unsqueeze(1), torch.arange(D.shape[1])
    close(costs.entries(i, j).double(), D)
    assert costs.entries(i, j).dtype == costs.to_dense().dtype
    close(costs.entries(i[-1], j.to(torch.uint8)).double(), D[-1])
    assert costs.entries(i[:0, 0], j[:0]).shape == (0,)


@every_case
def test_expected_is_linear_and_takes_any_weights(costs: lm.CostMatrix, D: Tensor) -> None:
    weights = signed_weights(3, 2, D.shape[0])
    close(costs.expected(weights), weights @ D)
    close(costs.expected(weights[0, 0]), weights[0, 0] @ D)
    assert costs.expected(weights[:0]).shape == (0, 2, D.shape[1])
    assert (costs.expected(torch.zeros_like(weights)) == 0).all()
    close(costs.expected(torch.eye(D.shape[0], dtype=torch.float64)), D)


@every_case
def test_facts_are_those_of_all_entries(costs: lm.CostMatrix, D: Tensor) -> None:
    C, K = D.shape
    regret = D - D.amin(1, keepdim=True)
    positive = regret[regret > 1e-12]
    assert costs.minimum == pytest.approx(D.min().item(), abs=1e-12)
    assert costs.maximum == pytest.approx(D.max().item(), abs=1e-12)
    assert costs.unit == pytest.approx(positive.mean().item() if len(positive) else 1, rel=1e-12)
    assert costs.is_finite
    square = D[:, :C]
    symmetric = K >= C and bool(torch.allclose(square, square.T, atol=1e-12))
    assert costs.is_symmetric == symmetric
    J = torch.eye(C, dtype=torch.float64) - 1 / C
    definite = symmetric and torch.linalg.eigvalsh(-J @ square @ J / 2).min().item() > -1e-9
    assert costs.is_conditionally_negative_definite == definite
    numbers = (costs.minimum, costs.maximum, costs.unit)
    flags = (costs.is_finite, costs.is_symmetric, costs.is_conditionally_negative_definite)
    assert {*map(type, numbers)} == {float}
    assert {*map(type, flags)} == {bool}


def test_a_power_of_many_classes_is_made_and_bound_without_a_walk_through_its_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def walk(*_: object) -> None:
        raise AssertionError("all entries were made")

    C = 300
    even, uneven = lm.Ordinal(C, power=1.5), lm.Ordinal(C, 1.5, torch.arange(C).sin())
    D, highest = even.to_dense(), uneven.to_dense().max().item()
    monkeypatch.setattr(lm.CostMatrix, "_row_blocks", walk)
    assert uneven.maximum == pytest.approx(highest, rel=1e-12)
    assert uneven.scaled(2).with_abstain(0.5).regret().savings().is_finite
    for costs in (even, uneven):
        for loss in (lm.ExpectedCost(), lm.CostFocal(), lm.CrossEntropy() + lm.EnergyScore()):
            lm.Criterion(loss, costs)
    lm.Criterion(lm.DecisionScore(), even)  # which knows the unit of the costs
    assert even.unit == pytest.approx(D[D > 0].mean().item(), rel=1e-12)
    turned = lm.Ordinal(C, power=1.5, positions=3.0 * torch.arange(C).flip(0))
    assert turned.unit == pytest.approx(3**1.5 * even.unit, rel=1e-12)


@every_case
def test_the_square_part_is_the_first_columns(costs: lm.CostMatrix, D: Tensor) -> None:
    C, K = D.shape
    if K < C:
        with pytest.raises(ValueError, match=f"{C} classes but {K} decisions"):
            costs.square()
        return
    square = costs.square()
    assert (square is costs) == (K == C)
    close(square.to_dense().double(), D[:, :C])
    weights = signed_weights(2, C)
    close(square.expected(weights), weights @ D[:, :C])
    assert tuple(square.decisions) == tuple(costs.decisions)[:C]
    assert square.maximum == pytest.approx(D[:, :C].max().item(), abs=1e-12)


@every_case
def test_a_transformation_leaves_the_matrix_alone(costs: lm.CostMatrix, D: Tensor) -> None:
    before = costs.to_dense()
    changed = costs.scaled(3).with_abstain(1, "ask")
    changed.expected(signed_weights(2, D.shape[0]))
    assert torch.equal(costs.to_dense(), before)
    assert changed.decisions[-1] == "ask"
    assert changed.num_decisions == costs.num_decisions + 1


def test_dense_answers_dense_and_regret_without_need_is_no_new_matrix() -> None:
    dense = KINDS["dense, more decisions"].costs
    for change in CHANGES.values():
        assert type(change.of_costs(dense)) is lm.Dense
    assert type(dense.square()) is lm.Dense
    tree = KINDS["tree"].costs
    assert tree.regret() is tree


def test_mistakes_are_the_matrix_itself_where_right_decisions_cost_nothing() -> None:
    right = {name: kind.costs for name, kind in KINDS.items() if not kind.table.diagonal().any()}
    known = {name for name, costs in right.items() if costs.zero_diagonal() is costs}
    embeddings = {"distances", "distances, more decisions", "cosine"}  # which would have to look
    assert right.keys() - known == embeddings
    dense = lm.Dense(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    assert dense.zero_diagonal() is dense  # a large table is not there twice
    for name in KINDS.keys() - right.keys():
        assert KINDS[name].costs.zero_diagonal() is not KINDS[name].costs


def test_savings_of_infinite_costs_and_temperatures_that_are_none_are_refused() -> None:
    for costs in FORBIDDEN.values():
        with pytest.raises(ValueError, match="savings need finite costs"):
            costs.savings()
    for temperature in (0.0, -1.0, INF, float("nan")):
        for kind in (lm.ZeroOne(3), lm.Dense([[0, 1], [2, 0]]), lm.PerExample([[0, 1]])):
            with pytest.raises(ValueError, match="temperature must be a finite number > 0"):
                kind.soft_targets(temperature)
    for kind in (lm.Dense([[4, 5], [7, 6]]), lm.Sparse(2, [(0, 0, 4)], default=5)):
        assert kind.soft_targets(1e-320).to_dense().isfinite().all()


@every_case
def test_soft_targets_are_a_softmax_over_each_row(costs: lm.CostMatrix, D: Tensor) -> None:
    soft = costs.soft_targets(1.7)
    close(soft.to_dense().double(), (-D / 1.7).softmax(1))
    weights = signed_weights(3, D.shape[0])
    close(soft.expected(weights), weights @ (-D / 1.7).softmax(1))
    assert soft.minimum >= 0


def test_softmax_facts_are_those_of_the_soft_targets() -> None:
    tree = lm.Tree(PATHS).scaled(1.3)
    lowest, shares = tree.soft_targets(0.7).softmax_facts
    close(
        ((lowest.unsqueeze(1) - tree.to_dense()) / 0.7).exp() * shares.unsqueeze(1),
        tree.soft_targets(0.7).to_dense(),
    )


def test_a_dense_square_of_abstain_is_the_matrix_again() -> None:
    tree = lm.Tree(PATHS)
    assert tree.with_abstain(1.0).square() is tree
    assert tree.scaled(2).with_abstain(1.0).square() == tree.scaled(2)


# ---- infinite costs: a forbidden decision counts only where its truth has weight -----------------

FORBIDDEN = {
    "dense": lm.Dense([[0, INF, 2], [3, 0, INF], [5, 6, 0]]),
    "sparse": lm.Sparse(3, [(0, 1, INF), (1, 2, INF), (0, 2, 2), (1, 0, 3), (2, 0, 5), (2, 1, 6)]),
    "per example": lm.PerExample.matrices(
        torch.tensor([[0, INF, 2], [3, 0, INF], [5, 6, 0]]).expand(4, 3, 3)
    ),
}


@pytest.mark.parametrize("costs", FORBIDDEN.values(), ids=FORBIDDEN)
def test_zero_times_infinity_is_zero(costs: lm.CostMatrix) -> None:
    probs = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 0.5, 0.5], [-1, 1, 0]], dtype=torch.float64)
    probs.requires_grad_()
    expected = torch.tensor([[5, 6, 0], [0, INF, 2], [4, 3, INF], [3, -INF, INF]])
    assert torch.equal(costs.expected(probs), expected.double())
    (gradient,) = torch.autograd.grad(costs.expected(probs)[:, 0].sum(), probs)
    assert torch.equal(gradient, torch.tensor([[0.0, 3.0, 5.0]], dtype=torch.float64).expand(4, 3))
    assert not costs.is_finite
    assert costs.maximum == INF
    assert not costs.is_conditionally_negative_definite


def test_transformations_keep_forbidden_decisions() -> None:
    for costs in (FORBIDDEN["dense"], FORBIDDEN["sparse"]):
        changed = costs.scaled(2).with_abstain(1).regret()
        assert not changed.is_finite
        probs = torch.tensor([0.0, 0.5, 0.5])
        assert changed.expected(probs).tolist() == [8, 6, INF, 1]


# ---- names --------------------------------------------------------------------------------------


def test_names_are_numbers_until_given_and_are_not_made_in_advance() -> None:
    costs = lm.Ordinal(10**6).with_abstain(1.0)
    assert costs.classes[999_999] == "999999"
    assert (costs.decisions[-1], costs.decisions[-2]) == ("abstain", "999999")
    assert costs.decisions[999_998:] == ("999998", "999999", "abstain")
    assert "abstain" in costs.decisions
    assert len(costs.decisions) == 1_000_001
    with pytest.raises(IndexError):
        costs.decisions[1_000_001]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lm.ZeroOne(0), ValueError, "at least one class"),
        (lambda: lm.ZeroOne([]), ValueError, "at least one class"),
        (lambda: lm.ZeroOne("abc"), TypeError, "one string 'abc'"),
        (lambda: lm.ZeroOne(["a", "b", "a"]), ValueError, "class name 'a' is used twice"),
        (lambda: lm.ZeroOne(["a", "b\nc\ud800"]), ValueError, r"'b\\nc\\ud800' holds half a char"),
        (lambda: lm.ZeroOne(["a", ""]), ValueError, "class 1 has no name"),
        (lambda: lm.ZeroOne([0, 1]), ValueError, "class 0 has no name: got 0"),  # type: ignore
        (lambda: lm.ZeroOne(2).with_abstain(1, "1"), ValueError, "already a decision '1'"),
        (lambda: lm.ZeroOne(2).with_abstain(INF), ValueError, "finite"),
        (lambda: lm.ZeroOne(2).with_abstain([1, 2, 3]), ValueError, "2 rows"),
        (lambda: lm.ZeroOne(2).scaled(0), ValueError, "above 0, got 0"),
        (lambda: lm.ZeroOne(2).scaled(-1), ValueError, "from_gains"),
        (lambda: lm.ZeroOne(2).scaled(INF), ValueError, "above 0"),
        (lambda: lm.ZeroOne(2).entry(2, 0), IndexError, "class 2 is out of range: there are 2"),
        (lambda: lm.ZeroOne(2).entry(0, -1), IndexError, "decision -1 is out of range"),
        (lambda: lm.ZeroOne(["a", "b"]).entry("a", "c"), ValueError, "unknown decision 'c'.*a, b"),
        (lambda: lm.Ordinal(3, power=0), ValueError, "positive number, got 0"),
        (lambda: lm.Ordinal(3, power=INF), ValueError, "positive number"),
        (lambda: lm.Ordinal(3, positions=[0, 1]), ValueError, "each of 3 classes"),
        (lambda: lm.Ordinal(2, positions=[0, INF]), ValueError, "finite"),
        (lambda: lm.Sparse(3, [(0, 1, 2), (0, 1, 2)]), ValueError, "truth 0, decision 1.*twice"),
        (lambda: lm.Sparse(["a", "b"], [("a", "c", 2)]), ValueError, "unknown decision 'c'"),
        (lambda: lm.Sparse(["a", "b"], [("c", "a", 2)]), ValueError, "unknown class 'c'"),
        (lambda: lm.Sparse(3, [(0, 3, 2)]), IndexError, "decision 3 is out of range"),
        (lambda: lm.Sparse(3, [(-1, 0, 2)]), IndexError, "class -1 is out of range"),
        (lambda: lm.Sparse(3, [(0, 1, float("nan"))]), ValueError, "is nan"),
        (lambda: lm.Sparse(3, [(0, 1, -INF)]), ValueError, "is -inf"),
        (lambda: lm.Sparse(3, [], default=INF), ValueError, "default must be a finite number"),
        (lambda: lm.LowRank(U, [[1.0]]), ValueError, r"\(4, 2\) and \(1, 1\)"),
        (lambda: lm.LowRank([[INF, 1]], [[1, 1]]), ValueError, "finite vectors"),
        (lambda: lm.LowRank(U, V, row_costs=[1, 2]), ValueError, "row_costs must be 4 finite"),
        (lambda: lm.LowRank(U, V, column_costs=[1, 2]), ValueError, "column_costs must be 5"),
        (lambda: lm.LowRank.cosine_distances([[0, 0], [1, 2]]), ValueError, "not zero"),
        (lambda: lm.LowRank.cosine_distances([[1, 2]], [[0, 0]]), ValueError, "not zero"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.tensor([1, 0, 0]), TypeError, "floating weights, got torch.int64"),
        (torch.tensor(1.0), ValueError, r"shape \(\) for 3 classes"),
        (torch.ones(3, 4), ValueError, r"shape \(3, 4\) for 3 classes"),
        (torch.ones(3, device="meta"), ValueError, r"probs is on meta.*costs.to\('meta'\)"),
    ],
)
def test_expected_says_what_weights_it_needs(
    weights: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lm.Ordinal(3).expected(weights)


def test_a_table_that_nobody_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="1000000 × 1000000 costs are too many for one table"):
        lm.Ordinal(10**6).to_dense()
    with pytest.raises(ValueError, match="too many"):
        lm.Ordinal(10**6).check()
