# SPDX-License-Identifier: BSD-3-Clause
"""`Dense`, `PerExample` and `Tree`: how they are made, and how they print."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_costs import off_the_truth, savings
from torch import Tensor

import lossmatrix as lm
from lossmatrix.costs import as_costs

INF = float("inf")
NAN = float("nan")
NAMES = ["cat", "lynx", "truck"]


def costs_by_name(costs: lm.CostMatrix) -> dict[tuple[str, str], float]:
    return {(i, j): costs.entry(i, j) for i in costs.classes for j in costs.decisions}


# ---- what is taken as costs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([[0, 1], [0.1, 0]], torch.float64),
        (((0, 1), (0.1, 0)), torch.float64),
        (torch.tensor([[0, 1], [0.1, 0]]), torch.float32),
        (torch.tensor([[0, 1], [0.1, 0]], dtype=torch.float64), torch.float64),
        (torch.tensor([[0, 1], [0.1, 0]], dtype=torch.bfloat16), torch.float32),
        (torch.tensor([[0, 1], [0.1, 0]], dtype=torch.float16), torch.float32),
        (torch.tensor([[0, 1], [2, 0]]), torch.float64),
        (np.array([[0, 1], [0.1, 0]]), torch.float64),
        (np.array([[0, 1], [0.1, 0]], dtype=np.float32), torch.float32),
        (np.array([[0, 1], [2, 0]]), torch.float64),
    ],
)
def test_floating_tables_keep_their_precision_and_the_rest_is_float64(
    given: Tensor, dtype: torch.dtype
) -> None:
    costs = as_costs(given)
    assert type(costs) is lm.Dense
    assert costs.to_dense().dtype == dtype
    assert costs.tables.keys() == {"table"}
    assert costs.entry(1, 0) == pytest.approx(float(given[1][0]), rel=1e-6)
    assert as_costs(costs) is costs


def test_a_list_is_exact() -> None:
    assert lm.Dense([[0.1, 1e300]]).entry(0, 0) == 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lm.Dense([[0, 1], [2]]), "rows of numbers, all of one length"),
        (lambda: lm.Dense([["a", "b"]]), "rows of numbers"),  # type: ignore[list-item]
        (lambda: lm.Dense([0, 1]), r"table with entries, got shape \(2,\)"),  # type: ignore
        (lambda: lm.Dense([]), "table with entries"),
        (lambda: lm.Dense(torch.zeros(0, 3)), r"entries, got shape \(0, 3\)"),
        (lambda: lm.Dense(torch.zeros(2, 2, 2)), r"\(classes, decisions\) table, got \(2, 2, 2\)"),
        (lambda: lm.Dense([[0, NAN], [1, 0]]), "got NaN or -inf"),
        (lambda: lm.Dense([[0, -INF], [1, 0]]), "got NaN or -inf"),
        (lambda: lm.Dense([[0, 1], [INF, INF]]), "every decision is forbidden"),
        (lambda: lm.Dense([[0, 1], [2, 0]], classes=["a"]), "2 × 2.* per row .truth., got 1"),
        (lambda: lm.Dense([[0, 1, 2]], classes=["a", "b", "c"]), "per row .truth., got 3"),
        (lambda: lm.Dense([[0, 1]], decisions=["a"]), "per column .decision., got 1"),
        (lambda: lm.Dense([[0, 1], [2, 0]], classes=["a", "a"]), "'a' is used twice"),
        (lambda: lm.Dense.from_predicted_rows([0, 1]), "table with entries"),  # type: ignore
        (lambda: lm.PerExample([1, 2]), "table with entries"),  # type: ignore
        (lambda: lm.PerExample.matrices(torch.zeros(2, 2)), r"\(N, C, K\).*got \(2, 2\)"),
        (lambda: lm.PerExample.matrices(torch.full((1, 2, 2), NAN)).check_values(), "NaN"),
        (lambda: lm.PerExample([[1, 2]]).expected(torch.ones(1, 2)), "PerExample.matrices"),
        (lambda: lm.PerExample([[1, 2]]).row(torch.tensor([0])), "say which"),
        (lambda: lm.PerExample([[1, 2]]).entry(0, 0), "say which"),
        (lambda: lm.PerExample([[1, 2]]).check(), "say which"),
        (
            lambda: lm.PerExample.matrices(torch.zeros(3, 2, 2)).expected(torch.ones(4, 2)),
            "got 4 rows, but PerExample costs of 3",
        ),
        (lambda: lm.PerExample([[1, 2], [3, 4]]).with_abstain([1, 2, 3]), "each of 2 rows"),
        (lambda: lm.Tree(["a/b", "a/c"]), r'"a/b/c" pass "a/b/c".split'),
        (lambda: lm.Tree([("a", "b"), ()]), r"path 1 must be the names .* got \(\)"),
        (lambda: lm.Tree([]), "at least one class"),
        (lambda: lm.Tree([("a", "x"), ("b", "x")]), "class name 'x' is used twice"),
        (lambda: lm.Tree([("a",), ("a", "b"), ("a",)]), "class name 'a' is used twice"),
        (lambda: lm.Tree([("a", "b"), ("a",)], level_costs=[]), "must be 1 numbers"),
        (lambda: lm.Tree([("a", "b"), ("c",)], level_costs=[1]), "must be 2 numbers"),
        (lambda: lm.Tree([("a",), ("b",)], level_costs=[]), "must be 1 numbers"),
        (lambda: lm.Tree([("a", "b"), ("c",)], level_costs=[2, 1]), r"below .* got \[2, 1\]"),
        (lambda: lm.Tree([("a",), ("b",)], level_costs=[-1]), "below 0"),
        (lambda: lm.Tree([("a",), ("b",)], level_costs=[INF]), "must be 1 numbers"),
        (lambda: lm.Tree([("a",), ("b",)], level_costs=[NAN]), "must be 1 numbers"),
        (lambda: lm.Tree.from_groups("aab", classes=["x"]), "3 groups for 1 classes"),
        (lambda: lm.Tree.from_edges([("a", "r"), ("a", "s")]), "'a' has two parents, 'r' and 's'"),
        (lambda: lm.Tree.from_edges([("a", "r"), ("b", "s")]), r"found 2 \(r, s\)"),
        (lambda: lm.Tree.from_edges([("a", "b"), ("b", "a")]), "found none"),
        (lambda: lm.Tree.from_edges([]), "found none"),
        (
            lambda: lm.Tree.from_edges([("x", "r"), ("a", "b"), ("b", "a"), ("c", "a")]),
            "run in a cycle",
        ),
        (lambda: lm.Tree.from_edges([("a", "r"), ("b", "r")], ["a", "c"]), "differ: b, c"),
        (lambda: lm.Tree.from_edges([("a", "r"), ("b", "r")], ["a"]), "differ: b"),
        (lambda: lm.Tree.from_edges([("a", "r"), ("b", "r")], ["a", "b", "a"]), "used twice"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ---- Dense from what people have -----------------------------------------------------------------


def test_gains_are_costs_with_the_other_sign() -> None:
    costs = lm.Dense.from_gains([[2, -1, 0], [0, 3, 0]], ["a", "b"], ["a", "b", "ask"])
    assert costs.to_dense().tolist() == [[-2, 1, 0], [0, -3, 0]]
    assert "-0" not in str(costs)
    assert costs.regret().to_dense().tolist() == [[0, 3, 2], [3, 0, 3]]
    assert costs.decisions == ("a", "b", "ask")


def test_rows_of_predictions_are_transposed_with_their_names() -> None:
    costs = lm.Dense.from_predicted_rows(
        [[0, 5], [1, 0], [2, 3]], classes=["ill", "well"], decisions=["ill", "well", "ask"]
    )
    assert costs.shape == (2, 3)
    assert costs.tables["table"].is_contiguous()
    assert costs.entry("well", "ill") == 5
    assert costs.entry("ill", "ask") == 2


def test_confusion_counts_make_frequent_mistakes_costly_or_cheap() -> None:
    counts = torch.tensor([[6, 2, 0], [1, 3, 4], [0, 0, 5]])
    costly = lm.Dense.from_confusion(counts, frequent="costly", classes=NAMES)
    assert costly.to_dense().tolist() == [[0, 0.25, 0], [0.125, 0, 0.5], [0, 0, 0]]
    cheap = lm.Dense.from_confusion(counts, frequent="cheap", classes=NAMES)
    assert cheap.to_dense().tolist() == [[0, 0.75, 1], [0.875, 0, 0.5], [1, 1, 0]]
    assert cheap.classes == tuple(NAMES)
    rates = lm.Dense.from_confusion([[0.5, 0.5], [0.25, 0.75]], frequent="costly")
    assert rates.to_dense().tolist() == [[0, 0.5], [0.25, 0]]
    for bad, message in [
        ([[1, 2, 3]], "square"),
        ([[1, -1], [0, 1]], "not negative"),
        ([[1, 1], [0, 0]], "above 0 in its row"),
        ([[1, INF], [0, 1]], "finite number"),
    ]:
        with pytest.raises(ValueError, match=message):
            lm.Dense.from_confusion(bad, frequent="cheap")
    with pytest.raises(ValueError, match='"costly" or "cheap", got \'rare\''):
        lm.Dense.from_confusion(counts, frequent="rare")  # type: ignore[arg-type]


def test_long_tables_name_what_they_mean() -> None:
    pairs = [("a", "b", 1.5), ("b", "a", 4), ("a", "ask", 0.5), ("b", "ask", 0.25)]
    costs = lm.Dense.from_long(pairs, decisions=["a", "ask", "b"], default=9)
    assert costs.classes == ("a", "b")
    assert costs.to_dense().tolist() == [[0, 1.5, 0.5], [4, 0, 0.25]]
    costs = lm.Dense.from_long(pairs[:1], classes=["b", "a"], default=9)
    assert costs.to_dense().tolist() == [[0, 9], [1.5, 0]]
    assert lm.Dense.from_long(pairs[:1], classes=["b", "a"], default=0).entry("b", "a") == 0
    full = [("a", "a", 1), ("a", "b", 2), ("b", "a", 3), ("b", "b", 0)]
    assert lm.Dense.from_long(full).to_dense().tolist() == [[1, 2], [3, 0]]
    assert lm.Dense.from_long(full, default=7) == lm.Dense.from_long(full)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([("a", "b", 1), ("a", "b", 1)], {}, "truth 'a', decision 'b'.*twice"),
        ([("a", "b", 1), ("b", "a", 1)], {}, "no cost for deciding 'a' when the truth is 'a'"),
        ([("a", "b", 1)], {"default": 0}, "unknown decision 'b'"),
        ([("c", "a", 1)], {"default": 0, "classes": ["a", "b"]}, "unknown class 'c'.*a, b"),
        ([("a", "a", 0), ("a", "x", 1)], {}, "unknown decision 'x'"),
        ([], {"default": 0}, "table with entries"),
        ([("a", "b", NAN), ("b", "a", 1)], {"default": 0}, "NaN"),
    ],
)
def test_long_tables_with_gaps_or_doubles_are_refused(
    pairs: list[tuple[str, str, float]], options: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lm.Dense.from_long(pairs, **options)  # type: ignore[arg-type]


def test_reordering_keeps_the_cost_of_every_pair() -> None:
    costs = lm.Dense([[0, 1, 2, 8], [3, 0, 4, 9], [5, 6, 0, 7]], NAMES, [*NAMES, "ask"])
    turned = costs.reorder(["truck", "cat", "lynx"])
    assert all(made.tables["table"].is_contiguous() for made in (costs, turned))
    assert turned.classes == ("truck", "cat", "lynx")
    assert turned.decisions == ("truck", "cat", "lynx", "ask")
    assert costs_by_name(turned) == costs_by_name(costs)
    acts = lm.Dense([[0, 1], [2, 3], [4, 5]], NAMES, ["wait", "treat"])
    assert acts.reorder(NAMES[::-1]).to_dense().tolist() == [[4, 5], [2, 3], [0, 1]]
    assert acts.reorder(NAMES[::-1]).decisions == ("wait", "treat")
    with pytest.raises(ValueError, match="differ: dog, truck"):
        costs.reorder(["cat", "lynx", "dog"])
    with pytest.raises(ValueError, match="the class name 'cat' is used twice"):
        costs.reorder(["cat", "lynx", "cat"])
    kept = UNPAIRED["acts"].reorder(["truck", "cat"])  # type: ignore[attr-defined]
    assert kept == lm.Dense([[5, 0], [0, 1]], ["truck", "cat"], ["drive on", "brake"])
    assert lm.Dense([[0, 1], [5, 0]]).reorder(["1", "0"]).to_dense().tolist() == [[0, 5], [1, 0]]


FINITE = lm.Dense([[0, 1, 3], [1, 0, 2]])
FORBIDS = lm.Dense([[0, 1, INF], [INF, 0, 2]])
WHETHER_FINITE = {
    "forbidden by a map": (FINITE.map_rows, (lambda rows, own: 1 / (2 - rows).relu(),), False),
    "allowed by a map": (FORBIDS.map_rows, (lambda rows, own: rows.clamp(max=9),), True),
    "shares": (FORBIDS.soft_targets, (1.0,), True),
    "another unit": (FORBIDS.scaled, (2.0,), False),
    "beyond all numbers": (FINITE.scaled, (1e308,), False),
    "without abstaining": (lm.Dense([[0, 1, INF], [1, 0, 2]]).square, (), True),
    "the truth alone": (lm.Dense([[INF, 1], [1, 0]]).zero_diagonal, (), True),
}


@pytest.mark.parametrize(("change", "given", "finite"), WHETHER_FINITE.values(), ids=WHETHER_FINITE)
def test_whether_a_table_is_finite_is_asked_of_the_table_itself(
    change: Callable[..., lm.CostMatrix], given: tuple[object, ...], finite: bool
) -> None:
    assert change.__self__.is_finite == (change.__self__ is FINITE)  # type: ignore[attr-defined]
    made = change(*given)
    assert made.is_finite == finite
    sure = torch.tensor([0.0, 1], dtype=torch.float64)
    assert torch.equal(made.expected(sure), made.row(torch.tensor(1)))  # and no NaN


# ---- PerExample ----------------------------------------------------------------------------------


def test_samples_are_counted_like_rows_of_flattened_logits() -> None:
    rows = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    flat = rows.movedim(1, -1).reshape(-1, 3)
    costs = lm.PerExample(rows)
    sample = torch.tensor([39, 0, 7, 21])
    assert torch.equal(costs.row(torch.zeros_like(sample), sample), flat[sample])
    assert costs.shape == (3, 3)
    target, sample = torch.zeros(2, 2).long(), torch.tensor([[1, 2], [3, 4]])
    assert torch.equal(costs.row(target, sample), flat[sample])


def test_a_matrix_for_each_sample_serves_decisions() -> None:
    cubes = torch.randn(2, 3, 4, 5, dtype=torch.float64)  # N, C, K, positions
    costs = lm.PerExample.matrices(cubes)
    probs = torch.rand(2, 5, 3, dtype=torch.float64)
    expected = torch.einsum("npc,nckp->npk", probs, cubes)
    torch.testing.assert_close(costs.expected(probs), expected)
    target, sample = torch.tensor([2, 0, 1]), torch.tensor([9, 0, 6])
    for row, y, s in zip(costs.row(target, sample), target, sample, strict=True):
        assert torch.equal(row, cubes[s // 5, y, :, s % 5])
    assert torch.autograd.gradcheck(costs.expected, probs.requires_grad_())


@pytest.mark.parametrize("whole", [False, True])
def test_per_example_costs_are_transformed_row_by_row(whole: bool) -> None:
    table = torch.tensor([[[1.0, 5], [3, 0], [-2, 2]], [[0, 4], [7, 1], [6, 6]]]).double()
    costs = lm.PerExample.matrices(table.mT) if whole else lm.PerExample(table[..., 0])
    flat = table.mT if whole else table[..., 0]

    def inside(c: lm.CostMatrix) -> Tensor:
        return next(iter(c.tables.values()))

    assert costs.shape == ((2, 3) if whole else (3, 3))
    assert torch.equal(inside(costs.scaled(2)), 2 * flat)
    assert torch.equal(inside(costs.regret()), flat - flat.amin(-1, keepdim=True))
    more = costs.with_abstain([0.5, 0.25])
    assert more.decisions[-1] == "abstain"
    extra = torch.tensor([0.5, 0.25]).double()
    for sample in range(2):
        for truth in range(costs.num_classes):
            row = more.row(torch.tensor(truth), torch.tensor(sample))
            assert row[-1] == extra[truth if whole else sample]
            base = costs.row(torch.tensor(truth), torch.tensor(sample))
            assert torch.equal(row[:-1], base)
            for fn in (off_the_truth, savings):
                is_truth = torch.arange(3) == truth
                mapped = costs.map_rows(fn).row(torch.tensor(truth), torch.tensor(sample))
                assert torch.equal(mapped, fn(base, is_truth))
    if not whole:
        assert torch.equal(inside(more.square()), flat)
    else:
        assert torch.equal(inside(costs.square()), flat[..., :2])
    regret = flat - flat.amin(-1, keepdim=True)
    assert costs.unit == pytest.approx(regret[regret > 0].mean().item())
    assert (costs.minimum, costs.maximum) == (flat.min(), flat.max())
    assert not costs.is_symmetric
    assert not costs.is_conditionally_negative_definite


def test_a_matrix_for_each_of_a_few_samples_stays_one() -> None:
    cubes = torch.tensor([[[1.0, 5, 2], [3, 4, 6]]] * 3) + torch.arange(3.0)[:, None, None]
    costs = lm.PerExample.matrices(cubes)
    more = costs.with_abstain([0.5, 0.25])
    rows = more.row(torch.tensor([1, 0]), torch.tensor([2, 1]))
    assert rows.tolist() == [[5, 6, 8, 0.25], [2, 6, 3, 0.5]]
    assert str(costs).splitlines()[2].split() == ["0", "1", "5", "2"]
    right = costs.zero_diagonal()
    assert type(right) is lm.PerExample
    cubes[:, 0, 0] = cubes[:, 1, 1] = 0
    assert torch.equal(right.tables["table"], cubes)
    assert repr(costs) == "PerExample(2 × 3, samples=3)"
    assert repr(lm.PerExample([[0, 1], [1, 0]])) == "PerExample(2, samples=2)"
    assert not lm.PerExample([[0, 1], [1, 0]]).is_symmetric  # nobody knows of which truths


def test_the_costs_of_some_samples_stand_in_the_order_asked_for_with_their_names() -> None:
    rows, names = torch.arange(12.0).reshape(4, 3), ["a", "b", "c"]
    some = lm.PerExample(rows, decisions=names).of_samples(torch.tensor([3, 0]))
    assert some == lm.PerExample(rows[[3, 0]], decisions=names)
    cubes = torch.arange(24.0).reshape(4, 2, 3)
    some = lm.PerExample.matrices(cubes, names[:2], names).of_samples(torch.tensor([2, 2, 1]))
    assert some == lm.PerExample.matrices(cubes[[2, 2, 1]], names[:2], names)


@pytest.mark.parametrize("bad", [[NAN, 1], [-INF, 1], [INF, INF]], ids=str)
def test_the_least_and_the_greatest_cost_of_samples_are_of_costs(bad: list[float]) -> None:
    for fact in ("minimum", "maximum"):
        assert getattr(lm.PerExample(torch.tensor([[INF, 2], [5, 7]])), fact) in (2, INF)
        with pytest.raises(ValueError, match=r"got NaN or -inf|every decision is forbidden"):
            getattr(lm.PerExample(torch.tensor([[5.0, 7], bad])), fact)


class Reads(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operations that make or read numbers, rather than views."""

    VIEWS = ("view", "alias", "detach", "transpose", "permute", "unsafe_view", "slice", "reshape")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore
        if not any(view in str(func) for view in self.VIEWS):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_costs_of_samples_are_neither_copied_nor_read_before_the_loss_reads_them() -> None:
    rows = torch.rand(6, 4)
    with Reads() as reads:
        costs = lm.PerExample(rows)
        (term,) = lm.ExpectedCost().bind(costs)
    assert reads.seen == []
    assert term.costs is costs
    assert costs.tables["table"].data_ptr() == rows.data_ptr()
    with Reads() as reads:
        lm.SoftmaxMargin(log=True).bind(costs)
    assert sum("aminmax" in each for each in reads.seen) == 1  # are they negative? one visit


NO_COST = r"costs must be numbers|infinite cost|finite costs"


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("bad", [NAN, -INF, INF], ids=str)
@pytest.mark.parametrize(
    "loss",
    [lm.ExpectedCost(), lm.CrossEntropy() + lm.Unlikelihood(), lm.CostSensitiveCrossEntropy()],
    ids=repr,
)
def test_costs_of_samples_that_are_none_end_in_an_error_never_in_nan(
    loss: lm.Loss, bad: float, engine: str
) -> None:
    rows = torch.rand(6, 4) + 0.5
    rows[4, 2] = bad
    logits, target = torch.zeros(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    with pytest.raises(ValueError, match=NO_COST):
        loss(logits, target, lm.PerExample(rows), engine=engine)
    with pytest.raises(ValueError, match=NO_COST):
        lm.Criterion(loss, torch.ones(4, 4), engine=engine, reduction="none")(
            logits, target, costs=lm.PerExample(rows)
        )


def test_costs_of_other_samples_are_refused() -> None:
    logits, target = torch.zeros(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    for count in (5, 7):
        with pytest.raises(ValueError, match=f"logits of 6 rows, but .*has the costs of {count}"):
            lm.ExpectedCost()(logits, target, lm.PerExample(torch.ones(count, 4)))


def test_facts_of_rows_whose_truth_is_unknown_mark_no_class() -> None:
    costs = lm.PerExample([[-1, 5], [3, 2]]).map_rows(off_the_truth)
    assert (costs.minimum, costs.maximum) == (-1, 5)


def test_rows_of_samples_are_numbered_by_sample_whatever_is_made_of_them() -> None:
    rows = torch.tensor([[-1.0, 5, 2], [3, 2, 7], [4, 6, -8], [1, 9, 3]])
    target, sample = torch.tensor([2, 1, 0]), torch.tensor([3, 0, 2])
    mistakes = torch.tensor([[1.0, 9, 0], [-1, 0, 2], [0, 6, -8]])  # 0 for the truth
    price = torch.tensor([0.25, 4, -9, 5])
    costs = lm.PerExample(rows).zero_diagonal().scaled(2).with_abstain(price.tolist())
    expected = torch.cat([2 * mistakes, price[sample].unsqueeze(1)], 1)
    assert torch.equal(costs.row(target, sample).float(), expected)
    assert torch.equal(costs.least(target, sample).float(), expected.amin(1))
    assert torch.equal(costs.scaled(3).least(target, sample).float(), 3 * expected.amin(1))
    j = torch.arange(4).unsqueeze(1)
    assert torch.equal(costs.entries(target, j, sample).float(), expected.mT)
    assert costs.maximum == 18
    some = costs.of_samples(sample[:2])
    assert torch.equal(some.row(target[:2], torch.arange(2)).float(), expected[:2])
    assert (costs.num_samples, some.num_samples) == (4, 2)
    assert (costs.maximum, some.maximum) == (18, 18)
    assert costs.of_samples(sample[1:]).maximum == 12  # asked anew, of these samples alone
    soft = costs.soft_targets(0.5).row(target, sample)
    torch.testing.assert_close(soft.float(), (-2 * expected).softmax(1))
    one = costs.of_samples(sample[:1]).of_samples(torch.tensor([0, 0]))
    assert torch.equal(one.row(target[[0, 0]], torch.arange(2)).float(), expected[[0, 0]])


def test_transformations_that_must_know_the_truths_of_samples_come_first() -> None:
    costs = lm.PerExample([[-1, 5], [3, 2]]).zero_diagonal()
    for change in ("regret", "savings"):
        with pytest.raises(ValueError, match="call it before zero_diagonal or map_rows") as error:
            getattr(costs, change)()
        assert str(error.value).startswith(f"{change}() must know the truth of every sample, which")


def test_matrices_are_symmetric_if_all_are() -> None:
    metric = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0.0]])
    far = torch.tensor([[0, 1, 9], [1, 0, 1], [9, 1, 0.0]])
    assert lm.PerExample.matrices(torch.stack([metric, 2 * metric])).is_symmetric
    both = lm.PerExample.matrices(torch.stack([metric, far]))
    assert both.is_symmetric
    assert not both.is_conditionally_negative_definite
    assert lm.PerExample.matrices(metric.expand(2, 3, 3)).is_conditionally_negative_definite
    odd = metric.clone()
    odd[0, 1] = 3
    assert not lm.PerExample.matrices(torch.stack([metric, odd])).is_symmetric


# ---- Tree ----------------------------------------------------------------------------------------


def test_all_ways_to_write_a_tree_are_one() -> None:
    paths = [("animal", "pet", "cat"), ("animal", "pet", "dog"), ("animal", "lynx"), ("car",)]
    tree = lm.Tree(paths)
    edges = [
        ("cat", "pet"),
        ("dog", "pet"),
        ("pet", "animal"),
        ("lynx", "animal"),
        ("animal", "all"),
        ("car", "all"),
    ]
    for other in (
        lm.Tree.from_edges(edges),
        lm.Tree.from_edges(reversed(edges), classes=["cat", "dog", "lynx", "car"]),
        lm.Tree.from_nested({"animal": {"pet": ["cat", "dog"], "lynx": []}, "car": {}}),
    ):
        assert costs_by_name(other) == costs_by_name(tree)
        assert other.classes == ("cat", "dog", "lynx", "car")
    assert tree.height == 3
    assert tree.entry("cat", "dog") == 1
    assert tree.entry("cat", "lynx") == tree.entry("lynx", "cat") == 2
    assert tree.entry("car", "lynx") == 3


def test_a_class_that_is_a_group_is_the_ancestor_of_its_members() -> None:
    paths = [("felis", "catus"), ("felis",), ("felis", "silvestris", "lybica"), ("canis", "lupus")]
    paths.insert(2, ("felis", "silvestris"))
    tree = lm.Tree(paths)
    # the lowest node whose subtree holds both, by definition; heights by hand
    height = {(): 3, ("felis",): 2, ("felis", "silvestris"): 1, ("canis",): 1}
    for i, a in enumerate(paths):
        for j, b in enumerate(paths):
            common = next(k for k in range(4) if k == 3 or a[: k + 1] != b[: k + 1] or k == len(a))
            meeting = a[: min(common, len(a), len(b))]
            assert tree.entry(i, j) == (0 if i == j else height[meeting]), (a, b)
    edges = [(path[-1], (("all", *path)[-2])) for path in paths] + [("canis", "all")]
    names = [path[-1] for path in paths]
    others = [
        lm.Tree.from_edges(dict.fromkeys(edges), classes=names),
        lm.Tree.from_nested(
            {
                "felis": {"catus": {}, "felis": {}, "silvestris": ["silvestris", "lybica"]},
                "canis": ["lupus"],
            }
        ),
    ]
    for other in others:
        assert costs_by_name(other) == costs_by_name(tree)
    whole = lm.Tree.from_edges(edges, classes=["all", *names])
    assert whole.entry("all", "lybica") == whole.entry("lupus", "all") == 3
    assert whole.entry("all", "all") == 0
    with pytest.raises(ValueError, match="differ: bird"):
        lm.Tree.from_edges(edges, classes=[*names, "bird"])


def test_groups_are_a_tree_of_two_levels() -> None:
    costs = lm.Tree.from_groups(["x", "y", "x"], ["a", "b", "c"], within=0.5, across=4)
    assert costs.to_dense().tolist() == [[0, 4, 0.5], [4, 0, 4], [0.5, 4, 0]]
    assert lm.Tree.from_groups("xx", within=0.5).to_dense().tolist() == [[0, 0.5], [0.5, 0]]
    assert lm.Tree.from_groups("xy").to_dense().tolist() == [[0, 2], [2, 0]]
    assert lm.Tree.from_groups("x").to_dense().tolist() == [[0]]
    assert lm.Tree.from_groups("xyx", within=0, across=1).unit == 1


def test_one_name_may_stand_in_two_branches() -> None:
    costs = lm.Tree([("a", "other", "x"), ("b", "other", "y"), ("b", "z")])
    assert costs.entry("x", "y") == 3
    assert costs.entry("y", "z") == 2


def test_a_long_way_to_the_first_fork_changes_nothing() -> None:
    short, long = lm.Tree([("x",), ("y",)]), lm.Tree([("r", "s", "x"), ("r", "s", "y")])
    assert torch.equal(short.to_dense(), long.to_dense())
    assert long.height == 1


# ---- printing ------------------------------------------------------------------------------------


def test_the_printed_sentence_tells_truth_from_decision() -> None:
    text = str(lm.Dense([[0, 1, 9], [1, 0, 40], [9, 4, 0]], classes=NAMES))
    assert text.endswith("deciding truck when the truth is lynx costs 40")
    acts = str(lm.Dense([[0, 1], [2, 3], [4, 5.5]], NAMES, ["wait", "treat"]))
    assert acts.endswith("deciding treat when the truth is truck costs 5.5")
    assert str(lm.Dense([[0, 1], [INF, 0]])).endswith("deciding 0 when the truth is 1 costs inf")
    both = str(lm.Dense([[0, INF, 2], [INF, 0, 1], [2, 2, 0]]))
    assert both.endswith("deciding 1 when the truth is 2 costs 2")
    close = str(lm.Dense([[0, 3, 2], [3, 0, 1.5], [2, 1.75, 0]]))
    assert close.endswith("deciding 1 when the truth is 2 costs 1.75")
    assert str(lm.ZeroOne(1)) == "true ↓ / decided →  0\n0                   0\n" + (
        "deciding 0 when the truth is 0 costs 0"
    )


def test_big_matrices_show_the_first_and_the_last() -> None:
    lines = str(lm.Ordinal(10**6)).splitlines()
    assert lines[0].split()[5:] == [*map(str, range(9)), "999999"]
    assert [line.split()[0] for line in lines[1:-1]] == [*map(str, range(9)), "999999"]
    assert len({len(line) for line in lines[:-1]}) == 1


def test_per_example_prints_its_samples() -> None:
    assert str(lm.PerExample([[0, 5], [2, 0]], decisions=["no", "yes"])) == (
        "sample ↓ / decided →  no  yes\n"
        "0                      0    5\n"
        "1                      2    0\n"
        "deciding yes for sample 1 costs 0"
    )
    cubes = lm.PerExample.matrices(torch.tensor([[[0, 1.0], [5, 0]]] * 3))
    assert str(cubes).startswith("sample 0 of 3\ntrue ↓ / decided →  0  1\n")


# ---- decision j is class j, by name --------------------------------------------------------------

PRICES = {("cat", "lynx"): 1, ("cat", "truck"): 2, ("lynx", "cat"): 3, ("lynx", "truck"): 4}
PRICES |= {("truck", "cat"): 9, ("truck", "lynx"): 8} | {(name, "ask"): 0.5 for name in NAMES}
ORDERS = [[*NAMES], ["truck", "cat", "lynx"], ["ask", *NAMES], ["lynx", "ask", "truck", "cat"]]


def written(decisions: list[str]) -> list[list[float]]:
    return [[PRICES.get((truth, each), 0) for each in decisions] for truth in NAMES]


def long_rows(decisions: list[str]) -> list[tuple[str, str, float]]:
    return [(i, j, PRICES.get((i, j), 0)) for i in NAMES for j in decisions]


MAKERS: dict[str, Callable[[list[str]], lm.CostMatrix]] = {
    "Dense": lambda names: lm.Dense(written(names), NAMES, names),
    "gains": lambda names: lm.Dense.from_gains(-torch.tensor(written(names)), NAMES, names),
    "predicted rows": lambda names: lm.Dense.from_predicted_rows(
        torch.tensor(written(names)).T, NAMES, names
    ),
    "long rows": lambda names: lm.Dense.from_long(long_rows(names), NAMES, names),
    "PerExample": lambda names: lm.PerExample(
        [written(names)[2], [7.0] * len(names)], NAMES, names
    ),
    "matrices": lambda names: lm.PerExample.matrices(
        torch.tensor([written(names)] * 2), NAMES, names
    ),
    "LowRank": lambda names: lm.LowRank(
        torch.eye(3), torch.tensor(written(names)).T - 1, None, [1] * len(names), NAMES, names
    ),
    "distances": lambda names: lm.LowRank.squared_distances(
        [[1.0], [3.0], [-4.0]],
        [[{"cat": 1.0, "lynx": 3.0, "truck": -4.0, "ask": 9.0}[name]] for name in names],
        NAMES,
        names,
    ),
}


@pytest.mark.parametrize("names", ORDERS[1:], ids=str)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_decisions_stand_in_the_order_of_the_classes_whatever_order_they_come_in(
    make: Callable[[list[str]], lm.CostMatrix], names: list[str]
) -> None:
    extra = [name for name in names if name not in NAMES]
    given, plain = make(names), make([*NAMES, *extra])
    assert [*given.decisions] == [*NAMES, *extra]
    logits, target = torch.tensor([[2.0, 1.0, 0.0], [0.5, 1.0, 2.0]]), torch.tensor([2, 1])
    for loss in (lm.ExpectedCost(), lm.Unlikelihood(), lm.DecisionScore()):
        if isinstance(given, lm.PerExample) and isinstance(loss, lm.DecisionScore):
            continue
        assert loss(logits, target, given) == loss(logits, target, plain)
    decision = logits.argmax(1)
    assert lm.average_cost(decision, target, given) == lm.average_cost(decision, target, plain)


def test_a_table_prints_and_is_written_in_the_order_of_the_classes(tmp_path: Path) -> None:
    costs = lm.Dense(written(ORDERS[3]), NAMES, ORDERS[3])
    assert str(costs).splitlines()[0].split("decided →")[1].split() == [*NAMES, "ask"]
    costs.to_csv(tmp_path / "costs.csv")
    assert (tmp_path / "costs.csv").read_text().splitlines()[0] == "true\\pred,cat,lynx,truck,ask"
    assert [*costs.to_dataframe().columns] == [*NAMES, "ask"]
    assert costs.reorder(NAMES[::-1]).decisions == ("truck", "lynx", "cat", "ask")


UNPAIRED: dict[str, lm.CostMatrix] = {
    "acts": lm.Dense([[0, 1], [5, 0]], ["cat", "truck"], ["drive on", "brake"]),
    "one renamed": lm.Dense([[0, 1], [5, 0]], ["cat", "truck"], ["cat", "lorry"]),
    "acts of numbers": lm.Dense([[0, 1], [5, 0]], decisions=["drive on", "brake"]),
    "samples": lm.PerExample([[0, 1], [5, 0]], ["cat", "truck"], ["drive on", "brake"]),
    "vectors": lm.LowRank([[1], [2]], [[3], [4]], None, None, ["cat", "truck"], ["on", "brake"]),
    "abstaining": lm.Dense([[0, 1], [5, 0]], ["a", "b"], ["x", "y"]).with_abstain(1).scaled(2),
}


@pytest.mark.parametrize("costs", UNPAIRED.values(), ids=UNPAIRED)
def test_decisions_that_are_not_the_classes_serve_what_takes_decisions_only(
    costs: lm.CostMatrix,
) -> None:
    logits, target = torch.zeros(2, 2), torch.tensor([0, 1])
    for pair in (
        lambda: lm.ExpectedCost()(logits, target, costs),
        lambda: lm.Criterion(lm.CrossEntropy() + lm.ExpectedCost(), torch.eye(2))(
            logits, target, costs=costs
        ),
        costs.square,
        costs.zero_diagonal,
    ):
        with pytest.raises(
            ValueError, match=r"decisions .* are not the classes: class . is"
        ) as bad:
            pair()
        assert "name the decisions that are classes like them" in str(bad.value)
        assert "\n" not in str(bad.value)
    sample = torch.arange(2)
    assert lm.average_cost(torch.tensor([1, 1]), target, costs) == (
        costs.row(target, sample)[:, 1].double().mean()
    )
    if not isinstance(costs, lm.PerExample):
        probs = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
        assert lm.decide(probs, costs) == costs.to_dense().sum(0).argmin()
        marks: list[Tensor] = []
        costs.map_rows(lambda rows, own: marks.append(own) or rows).row(target)
        renamed = costs.decisions[0] == "cat"
        assert marks[0][:2].tolist()[0][0] == renamed  # of its own name, or none
        assert not marks[0][1].any()


def test_numbered_decisions_are_the_classes_by_position_and_so_they_stay() -> None:
    table = [[0, 1, 0.5], [4, 0, 0.25]]
    costs = lm.Dense(table, ["cat", "dog"])
    assert costs.decisions == ("cat", "dog", "2")
    assert lm.Dense(table, ["1", "2"]).decisions == ("1", "2", "decision 2")
    turned = costs.reorder(["dog", "cat"])
    assert turned.to_dense().tolist() == [[0, 4, 0.25], [1, 0, 0.5]]
    assert lm.Dense(table).reorder(["1", "0"]).to_dense().tolist() == turned.to_dense().tolist()
    assert lm.ExpectedCost()(torch.zeros(1, 2), torch.tensor([1]), lm.Dense(table)) == 2


def test_rows_of_costs_are_counted_against_the_batch() -> None:
    five, y = torch.rand(5, 3, 3), torch.tensor([0, 1, 2])
    for costs in (lm.PerExample(five[:, 0]), lm.PerExample.matrices(five)):
        meter = lm.CostMeter(lm.Ordinal(3))
        for count in (
            *(
                partial(metric, y, y, each)
                for metric in (
                    lm.average_cost,
                    lm.normalized_cost,
                    lm.cost_regret,
                    lm.weighted_kappa,
                )
                for each in (costs, costs.map_rows(off_the_truth))
            ),
            partial(meter.update, y, y, costs=costs),
        ):
            with pytest.raises(ValueError, match="got 3 rows, but PerExample costs of 5: pass"):
                count()
    for decide in (lm.decide, lm.conditional_risk, partial(lm.decide_or_abstain, abstain_cost=1)):
        with pytest.raises(ValueError, match="got 3 rows, but PerExample costs of 5: pass"):
            decide(torch.full((3, 3), 1 / 3), lm.PerExample.matrices(five))


# ---- in a notebook, and names of classes ---------------------------------------------------------


@pytest.mark.parametrize(
    "costs",
    [
        lm.Dense([[0, 1.5], [INF, 0]], ["<b>", "a&b"]),
        lm.Ordinal(["<b>", "a&b"]).scaled(1.5),
        lm.PerExample([[0, 1.5]], ["<b>", "a&b"], ["<b>", "a&b"]),
        lm.PerExample.matrices(torch.tensor([[[0, 1.5], [1, 0]]]), ["<b>", "a&b"]),
    ],
    ids=repr,
)
def test_a_notebook_shows_what_print_shows(costs: lm.CostMatrix) -> None:
    page = costs._repr_html_()
    assert "<th>&lt;b&gt;</th><th>a&amp;b</th>" in page
    assert "<b>" not in page
    assert "<td>1.5</td>" in page
    assert page.count("<tr>") == len(str(costs).splitlines()) - 1 - (" of " in page)
    assert page.count("<table>") == page.count("</table>") == 1
    assert html.escape(str(costs).splitlines()[-1]) in page


def test_a_notebook_shows_one_table_and_its_sentence() -> None:
    assert lm.Dense([[0, 1.5], [2, 0]], ["<", "b"])._repr_html_() == (
        "<table><thead><tr><th>true ↓ / decided →</th><th>&lt;</th><th>b</th></tr></thead>"
        "<tbody><tr><th>&lt;</th><td>0</td><td>1.5</td></tr>"
        "<tr><th>b</th><td>2</td><td>0</td></tr></tbody></table>"
        "<p>deciding &lt; when the truth is b costs 2</p>"
    )
    first = lm.PerExample.matrices(torch.tensor([[[0, 1.5], [1, 0]]]))._repr_html_()
    assert first.startswith("<p>sample 0 of 1</p><table>")


def test_a_notebook_lists_findings() -> None:
    found = lm.Dense([[1, 2], [0, 0]], ["<i>", "b"]).check()
    page = found._repr_html_()  # type: ignore[attr-defined]
    assert page.count("<li>") == len(found) > 1
    assert "&lt;i&gt;" in page
    assert "<i>" not in page


@pytest.mark.parametrize("costs", [lm.ZeroOne(NAMES), lm.Dense(np.eye(3), NAMES).with_abstain(1)])
def test_names_become_class_indices(costs: lm.CostMatrix) -> None:
    assert costs.index(["truck", "cat", "truck"]).tolist() == [2, 0, 2]
    for names in (np.array(["lynx", "cat"]), iter(["lynx", "cat"]), ("lynx", "cat")):
        assert costs.index(names).tolist() == [1, 0]  # type: ignore[arg-type]
    assert costs.index([]).dtype == torch.int64
    for bad in ("dog", "abstain", 1):
        with pytest.raises(
            ValueError, match=f"unknown class {bad!r}: the names .* are cat, lynx, tr"
        ):
            costs.index(["cat", bad])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="list of names, got the one string 'cat'"):
        costs.index("cat")
    assert lm.ZeroOne(100_000).index(["99999"]).tolist() == [99_999]
