# SPDX-License-Identifier: BSD-3-Clause
"""Decisions: the least expected cost, on probabilities and nothing else."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossmatrix.costs import Dense, LowRank, Ordinal, PerExample, Sparse, Tree, ZeroOne, accelerator
from lossmatrix.decide import (
    conditional_risk,
    decide,
    decide_from_logits,
    decide_or_abstain,
    decision_threshold,
    shift_priors,
)

INF = math.inf
# asymmetric, every entry its own, more decisions than classes, a diagonal that is not zero
COSTS = torch.tensor([[0.5, 3.0, 7.0, 2.0], [11.0, 0.25, 4.0, 2.5], [6.0, 9.0, 1.0, 2.75]])


def probabilities(*shape, seed=0, dim=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).softmax(dim)


# --- conditional risk ----------------------------------------------------------------------------


def test_risk_is_weighted_by_the_probability_of_the_truth():
    # the numbers of a forum thread that weighted by the wrong class and reported 0.35 and 6.5
    probs, costs = torch.tensor([0.35, 0.65]), [[0, 10], [1, 0]]
    torch.testing.assert_close(conditional_risk(probs, costs), torch.tensor([0.65, 3.5]))
    assert decide(probs, costs) == 0


def test_risk_is_the_sum_over_truths_written_out():
    probs = probabilities(5, 3)
    risk = conditional_risk(probs, COSTS)
    for n in range(5):
        for j in range(4):
            by_hand = sum(probs[n, i].item() * COSTS[i, j].item() for i in range(3))
            assert risk[n, j].item() == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("costs", [COSTS, Ordinal(3), ZeroOne(3)], ids=str)
def test_a_map_is_decided_as_its_rows(costs):
    rows = probabilities(2 * 4 * 5, 3)
    maps = rows.view(2, 4, 5, 3).movedim(-1, 1)
    risk = conditional_risk(maps, costs)
    assert risk.shape[1] == conditional_risk(rows, costs).shape[1]
    assert torch.equal(risk.movedim(1, -1).reshape(40, -1), conditional_risk(rows, costs))
    assert torch.equal(decide(maps, costs).flatten(), decide(rows, costs))
    assert decide(maps, costs).shape == (2, 4, 5)


@pytest.mark.parametrize("N", [1, 2, 3])
def test_one_sample_is_decided_as_in_a_batch(N):
    probs = probabilities(N, 3)
    for n in range(N):
        alone = conditional_risk(probs[n], COSTS)
        torch.testing.assert_close(alone, conditional_risk(probs, COSTS)[n], rtol=1e-14, atol=0)
        assert decide(probs[n], COSTS).shape == ()
        assert decide(probs[n], COSTS) == decide(probs, COSTS)[n]


def test_an_empty_batch_has_no_decisions():
    assert decide(torch.zeros(0, 3), COSTS).shape == (0,)
    assert decide(torch.zeros(0, 3), COSTS).dtype == torch.int64


def test_risk_is_differentiable_in_the_probabilities():
    probs = probabilities(2, 3).requires_grad_()
    conditional_risk(probs, COSTS)[:, 1].sum().backward()
    assert torch.equal(probs.grad, COSTS[:, 1].double().expand(2, 3))


def test_half_precision_is_widened_before_it_meets_the_costs():
    probs = torch.tensor([[0.5, 0.5]], dtype=torch.float16)
    costs = torch.tensor(
        [[100_000.0, 100_001.0], [0.0, 0.0]]
    )  # beyond float16, which ends at 65504
    risk = conditional_risk(probs, costs)
    assert risk.dtype == torch.float32
    assert risk.tolist() == [[50_000.0, 50_000.5]]


# --- the Bayes decision --------------------------------------------------------------------------


def test_the_decision_is_the_least_of_all_risks():
    probs = probabilities(200, 3, seed=1)
    risk = conditional_risk(probs, COSTS)
    chosen = decide(probs, COSTS)
    assert chosen.dtype == torch.int64
    assert torch.equal(risk.gather(1, chosen[:, None])[:, 0], risk.min(1).values)
    assert chosen.unique().tolist() == [0, 1, 2, 3]


def test_zero_one_costs_decide_by_argmax():
    probs = probabilities(100, 7)
    assert torch.equal(decide(probs, ZeroOne(7)), probs.argmax(1))


def test_distance_costs_decide_by_the_median():
    probs = probabilities(100, 7)
    median = (probs.cumsum(1) < 0.5).sum(1)
    assert torch.equal(decide(probs, Ordinal(7)), median)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_ties_go_to_the_lowest_index(first):
    costs = torch.full((2, 5), 9.0)
    costs[:, [first, 3, 4]] = 1.0
    for N in (1, 3, 64):
        assert decide(torch.full((N, 2), 0.5), costs).tolist() == [first] * N
    assert decide(torch.tensor([0.5, 0.5]), costs) == first


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_adding_to_a_row_of_costs_or_scaling_them_changes_no_decision(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    D = torch.rand(4, 3, generator=generator, dtype=torch.float64)
    probs = probabilities(20, 4, seed=seed)
    shift = torch.randn(4, 1, generator=generator, dtype=torch.float64)
    assert torch.equal(decide(probs, scale * D + shift), decide(probs, D))


def test_adding_to_a_column_of_costs_does_change_decisions():
    # subtracting column minima is how other tools have "normalised" their costs
    probs, D = probabilities(50, 3), COSTS.double()
    assert not torch.equal(decide(probs, D - D.min(0).values), decide(probs, D))


def test_relabelling_the_classes_relabels_nothing_but_the_classes():
    probs, order = probabilities(50, 3), torch.tensor([2, 0, 1])
    assert torch.equal(decide(probs[:, order], COSTS[order]), decide(probs, COSTS))
    columns = torch.tensor([3, 1, 0, 2])
    assert torch.equal(columns[decide(probs, COSTS[:, columns])], decide(probs, COSTS))


def test_an_infinite_cost_forbids_a_decision_where_its_truth_has_any_probability():
    costs = [[0, INF], [1, 0]]
    probs = torch.tensor([[0.0, 1.0], [1e-30, 1.0], [1.0, 0.0]])
    assert decide(probs, costs).tolist() == [1, 0, 0]
    assert conditional_risk(probs, costs).tolist() == [[1, 0], [1, INF], [0, INF]]


def test_each_sample_may_have_costs_of_its_own():
    cubes = torch.stack([COSTS, COSTS.flip(0), COSTS.roll(1, 0), COSTS * 2, COSTS.flip(1)])
    probs = probabilities(5, 3, dtype=torch.float32)
    risk = conditional_risk(probs, PerExample.matrices(cubes))
    chosen = decide(probs, PerExample.matrices(cubes))
    for n in range(5):
        torch.testing.assert_close(risk[n], conditional_risk(probs[n], cubes[n]))
        assert chosen[n] == decide(probs[n], cubes[n])


def test_each_pixel_may_have_costs_of_its_own():
    generator = torch.Generator().manual_seed(3)
    cubes = torch.rand(2, 3, 4, 5, 6, generator=generator)  # (N, C, K, d1, d2)
    probs = probabilities(2, 3, 5, 6, dtype=torch.float32)
    chosen = decide(probs, PerExample.matrices(cubes))
    for n, x, y in [(0, 0, 0), (1, 4, 5), (0, 2, 3), (1, 0, 5)]:
        assert chosen[n, x, y] == decide(probs[n, :, x, y], cubes[n, :, :, x, y])


def test_a_row_of_costs_per_sample_cannot_decide():
    with pytest.raises(ValueError, match=r"."):
        decide(probabilities(5, 3), PerExample(torch.rand(5, 3)))


def test_per_sample_thresholds_match_published_decisions():
    # empulse: false alarms cost 1 … 4, misses 4 … 1, so the thresholds are 1/5 … 4/5
    alarm, miss = torch.arange(1.0, 5.0), torch.arange(4.0, 0.0, -1.0)
    zero = torch.zeros(4)
    cubes = torch.stack([torch.stack([zero, alarm], 1), torch.stack([miss, zero], 1)], 1)
    assert decide(torch.full((4, 2), 0.5), PerExample.matrices(cubes)).tolist() == [1, 1, 0, 0]


# --- a block of rows at a time -------------------------------------------------------------------

C = 37
PRICES = [0.5 + 0.1 * i for i in range(C)]
LINE = [float(i * 7 % C) ** 1.5 for i in range(C)]
PATHS = [(str(i % 2), str(i % 6), f"c{i}") for i in range(C)]
BY_KIND = {
    "dense": Dense(torch.rand(C, C + 2, generator=torch.Generator().manual_seed(5))),
    "zero-one": ZeroOne(C),
    "ordinal": Ordinal(C),
    "ordinal, squared, in another order": Ordinal(C, power=2, positions=LINE),
    "ordinal, other power": Ordinal(C, power=1.5),
    "tree": Tree(PATHS, level_costs=[1.0, 4.0, 5.0]),
    "sparse": Sparse(C, [(i, (3 * i + 1) % C, 9.0 - i) for i in range(C)], default=2.0),
    "low rank": LowRank.squared_distances(torch.tensor(LINE).reshape(-1, 1)),
    "abstain": Ordinal(C).scaled(0.4).with_abstain(PRICES),
    "abstain from a regret": Sparse(C, [(3, 3, 1.0), (3, 5, 2.0)]).regret().with_abstain(0.5),
}


@pytest.fixture(params=["kernels", "no kernels"])
def _with_and_without_kernels(request, monkeypatch):
    if request.param == "no kernels":
        monkeypatch.setattr(accelerator, "installed", None)


def is_least(chosen, probs, costs, rounding=1e-5):
    """Whether no decision is cheaper than the chosen ones, (N,) for probabilities (N, C)."""
    risk = probs.double() @ costs.to_dense().double()
    excess = risk.gather(1, chosen[:, None])[:, 0] - risk.min(1).values
    return bool((excess <= rounding * risk.abs().amax(1)).all())


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("costs", BY_KIND.values(), ids=BY_KIND)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_kind_decides_for_the_least_risk(costs, dtype):
    for sharpness in (1.0, 8.0):
        logits = sharpness * torch.randn(300, C, generator=torch.Generator().manual_seed(2))
        probs = logits.to(dtype).softmax(1)
        chosen = decide(probs, costs)
        assert chosen.dtype == torch.int64
        assert is_least(chosen, probs, costs)
    assert len(chosen.unique()) > 3


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("costs", BY_KIND.values(), ids=BY_KIND)
def test_blocks_of_rows_change_no_decision(costs, monkeypatch):
    rows = 3.0 * torch.randn(2 * 5 * 9, C, generator=torch.Generator().manual_seed(3))
    probs = rows.softmax(1)
    expected = decide(probs, costs)
    module = sys.modules["lossmatrix.decide"]  # the package shows its function by this name
    monkeypatch.setattr(module, "TABLE_ROWS", 4)
    for entries in (1, 4 * C, 20 * C, 10**6):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)
        assert torch.equal(decide(probs, costs), expected)
        assert torch.equal(decide(probs.flip(0), costs), expected.flip(0))
        wide = torch.cat([probs, probs], 1)
        assert torch.equal(decide(wide[::2, :C], costs), expected[::2])
        maps = probs.view(2, 5, 9, C).movedim(-1, 1)
        assert torch.equal(decide(maps, costs), expected.view(2, 5, 9))
        assert torch.equal(decide(maps.contiguous(), costs), expected.view(2, 5, 9))
        halves = probs.half()
        assert torch.equal(decide(halves, costs), decide(halves.float(), costs))
        from_logits = decide_from_logits(rows.view(2, 5, 9, C).movedim(-1, 1).contiguous(), costs)
        assert is_least(from_logits.flatten(), probs, costs)


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("costs", BY_KIND.values(), ids=BY_KIND)
@pytest.mark.parametrize("bad", [0, 17, 29_999])
def test_one_row_that_is_no_distribution_is_refused_wherever_it_lies(costs, bad):
    probs = torch.full((30_000, C), 1 / C)
    decide(probs, costs)
    for entry, value in ((0, math.nan), (2, -1e-6), (C - 1, -1e-6), (5, 0.1), (5, 0.0)):
        spoilt = probs.clone()
        spoilt[bad, entry] = value
        with pytest.raises(ValueError, match="sum to 1 over dim 1"):
            decide(spoilt, costs)


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("size", [2, 16, 33, 300])
def test_ties_of_every_kind_go_to_the_lowest_index(size):
    first, second = size // 2 - 1, size - 1
    probs = torch.zeros(3, size)
    probs[:, [first, second]] = 0.5
    assert decide(probs, ZeroOne(size)).tolist() == [first] * 3
    assert decide(probs, Ordinal(size)).tolist() == [first] * 3  # as cheap is all between them
    backwards = Ordinal(size, positions=[-float(i) for i in range(size)])
    assert decide(probs, backwards).tolist() == [first] * 3
    assert decide(probs, Sparse(size, [], default=0.0)).tolist() == [0] * 3


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("costs", BY_KIND.values(), ids=BY_KIND)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_logits_decide_as_their_softmax(costs, dtype):
    logits = 5.0 * torch.randn(200, C, generator=torch.Generator().manual_seed(4), dtype=dtype)
    logits[::3] += 1000.0
    logits[1, 4:] = -INF
    probs = logits.to(torch.promote_types(dtype, torch.float32)).softmax(1)
    assert is_least(decide_from_logits(logits, costs), probs, costs)
    assert decide_from_logits(logits[0], costs) == decide_from_logits(logits, costs)[0]
    assert decide_from_logits(logits[:0], costs).shape == (0,)
    for spoilt in (math.nan, INF):
        logits[7, 3] = spoilt
        with pytest.raises(ValueError, match="sum to 1 over dim 1"):
            decide_from_logits(logits, costs)


MEMORY = """
import resource, torch
import lossmatrix as lm
torch.set_num_threads(2)
C = 5000
probs = torch.full((8000, C), 1 / C, dtype=torch.{dtype})  # 80 or 160 MB
tree = lm.Tree([(str(i % 7), str(i)) for i in range(C)])
criterion = lm.Criterion(lm.CrossEntropy(), lm.Ordinal(C))
def decide(probs):
    lm.decide(probs, tree)
    lm.decide(probs, lm.Ordinal(C).with_abstain(3.0))
    criterion.decide(probs)
decide(probs[:10])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decide(probs)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured with resource")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_deciding_holds_nothing_of_the_size_of_its_input(dtype):
    code = MEMORY.format(dtype=dtype)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 30e6


class InBlocks:
    """What is installed for the CPU, with the sizes of what it is given."""

    def __init__(self):
        self.sizes, self.tolerances = [], set()

    def decides(self, costs, dtype):
        return dtype == torch.float32

    def multiply(self, costs, weights, transposed):
        return None

    def least_cost(self, costs, given, tolerance, is_logits):
        self.sizes.append(len(given))
        self.tolerances.add(tolerance)
        probs = given.softmax(-1) if is_logits else given
        return (probs @ COSTS).argmin(-1)


@pytest.mark.parametrize(
    ("shape", "entries", "sizes"),
    [
        ((7, 3), 2, [1] * 7),
        ((7, 3), 12, [4, 3]),
        ((7, 3), 21, [7]),
        ((2, 3, 7), 12, [4, 3, 4, 3]),
        ((5, 3, 2), 12, [4, 4, 2]),
        ((5, 3, 2), 30, [10]),
        ((2, 3, 2, 3), 12, [3, 3, 3, 3]),
        ((3, 3, 4), 12, [4, 4, 4]),
    ],
)
def test_rows_are_decided_a_block_at_a_time(shape, entries, sizes, monkeypatch):
    module = sys.modules["lossmatrix.decide"]
    monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    probs = logits.float().softmax(1)
    rows, costs = [], Dense(COSTS)
    expected = decide(probs, COSTS)

    engine = InBlocks()
    monkeypatch.setattr(accelerator, "installed", engine)
    for call, half in ((decide_from_logits, logits), (decide, probs.bfloat16())):
        assert call(half, COSTS).shape == expected.shape
        assert engine.sizes == sizes
        assert engine.tolerances == {2**-7}
        engine.sizes.clear()
    if len(shape) == 2:  # rows that lie as the engine reads them are visited once, in one go
        assert torch.equal(decide(probs, COSTS), expected)
        assert engine.sizes == [7]
        engine.sizes.clear()
        assert torch.equal(decide(probs.t().contiguous().t(), COSTS), expected)
        assert engine.sizes == sizes

    # without it at least as many rows as a table is worth reading for, but no more than fit
    product = Dense._expected
    monkeypatch.setattr(Dense, "_expected", lambda self, w: rows.append(len(w)) or product(self, w))
    monkeypatch.setattr(module, "TABLE_ROWS", 5)
    for installed, wide in ((None, probs), (engine, probs.double())):
        monkeypatch.setattr(accelerator, "installed", installed)
        for least, table_entries in ((5, 3 * 9), (2, 3 * 2)):
            monkeypatch.setattr(module, "TABLE_ENTRIES", table_entries)
            rows.clear()
            assert torch.equal(decide(wide, costs), expected)
            whole = rows.copy()
            monkeypatch.setattr(module, "BLOCK_ENTRIES", 3 * max(entries // 3, least))
            monkeypatch.setattr(module, "TABLE_ENTRIES", 0)
            rows.clear()
            decide(wide, costs)
            assert rows == whole
            monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)


def test_costs_that_float32_does_not_hold_are_refused_for_rows_in_float32():
    costs = Dense(torch.tensor([[0.0, 1e-60], [2e-60, 0.0]], dtype=torch.float64))
    probs = probabilities(4, 2)
    for call, rows in ((decide, probs.float()), (decide_from_logits, probs.log().bfloat16())):
        with pytest.raises(ValueError, match="does not fit float32"):
            call(rows, costs)
    assert decide(probs, costs).tolist() == decide(probs, [[0, 1], [2, 0]]).tolist()
    with pytest.raises(ValueError, match="does not fit float32"):  # which kernels would not look at
        decide(probs.float(), Ordinal(2, positions=[0, 1e-60]))


def test_what_is_no_plain_tensor_is_decided_by_what_it_can_do(monkeypatch):
    class Wrapped(torch.Tensor):
        """Its values are where no kernel may look."""

    engine = InBlocks()
    monkeypatch.setattr(accelerator, "installed", engine)
    for shape in ((6, 3), (2, 3, 5), (2, 3, 4, 5)):
        logits = probabilities(*shape, dtype=torch.float32).log()
        probs = logits.softmax(1)
        found = [
            decide(probs.as_subclass(Wrapped), COSTS),
            decide_from_logits(logits.as_subclass(Wrapped), COSTS),
        ]
        assert engine.sizes == []
        for each in found:
            assert type(each) is Wrapped
            assert torch.equal(each.as_subclass(torch.Tensor), decide(probs, COSTS))
        assert engine.sizes
        engine.sizes.clear()
    decide(torch.nn.Parameter(probabilities(6, 3, dtype=torch.float32)), COSTS)
    assert engine.sizes == [6]


# --- what is not a probability is refused --------------------------------------------------------


@pytest.mark.parametrize(
    "probs",
    [
        torch.tensor([[2.0, -1.0]]),
        torch.tensor([[0.5, 0.6]]),
        torch.tensor([[0.5, 0.4]]),
        torch.tensor([[0.0, 0.0]]),
        torch.tensor([[math.nan, 1.0]]),
        torch.tensor([[INF, 0.0]]),
        torch.tensor([[1.0, 0.0], [3.0, -1.0], [0.0, 1.0]]),
        torch.tensor([0.2, 0.2]),
        torch.tensor([[-0.5, -0.7]]),  # log-probabilities
    ],
)
def test_what_is_no_probability_is_refused_and_softmax_named(probs):
    for call in (decide, conditional_risk):
        with pytest.raises(ValueError, match=r"sum to 1 over dim \d, got .* through softmax"):
            call(probs, [[0, 1], [5, 0]])
    with pytest.raises(ValueError, match="softmax"):
        decide_or_abstain(probs, [[0, 1], [5, 0]], 0.1)
    with pytest.raises(ValueError, match="softmax"):
        shift_priors(probs, [1, 1], [1, 2])


def test_classes_are_summed_over_their_own_dimension():
    maps = probabilities(2, 3, 4)  # rows along the last dimension do not sum to 1
    decide(maps, COSTS)
    with pytest.raises(ValueError, match="over dim 1"):
        decide(maps.movedim(1, 2), COSTS[[0, 1, 2, 2]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("C", [2, 10, 1000, 50_000])
def test_a_softmax_is_accepted_in_every_dtype(dtype, C):
    logits = torch.randn(3, C, generator=torch.Generator().manual_seed(C)) * 4
    probs = logits.to(dtype).softmax(1)
    chosen = decide(probs, ZeroOne(C))
    assert torch.equal(probs.gather(1, chosen[:, None])[:, 0], probs.max(1).values)


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("C", [2, 3, 10, 1000, 50_000])
def test_half_precision_may_be_widened_first(dtype, C):
    logits = 3 * torch.randn(200_000 // C, C, generator=torch.Generator().manual_seed(C))
    half = logits.to(dtype).softmax(1)
    assert ((half.float().sum(1) - 1).abs() > 1e-5).any()
    for wide in (torch.float32, torch.float64):
        chosen = decide(half.to(wide), ZeroOne(C))
        excess = half.float().amax(1) - half.float().gather(1, chosen[:, None])[:, 0]
        assert (excess <= 1e-6).all()


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize(
    "probs",
    [
        [0.333] * 3,
        [0.0005] * 2 + [1.0],
        [1.0005, 0.0],
        [0.056] * 18,  # eighteenths, which sum to 1.008
        [0.0, 0.9925],
    ],
)
def test_three_digits_are_probabilities(probs):
    rows = torch.tensor([probs, [1.0] + [0.0] * (len(probs) - 1)], dtype=torch.float64)
    costs = Ordinal(len(probs), power=2)
    for dtype in (torch.float32, torch.float64):
        chosen = decide(rows.to(dtype), costs)
        exact = rows / rows.sum(1, keepdim=True)
        assert torch.equal(chosen, decide(exact.to(dtype), costs))
        assert chosen[0] == decide(rows[0].to(dtype), costs)
        by_sum = conditional_risk(exact, costs) * rows.sum(1, keepdim=True)
        torch.testing.assert_close(conditional_risk(rows, costs), by_sum)


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("probs", [[0.33] * 3, [0.99, 0.0], [0.989] + [0.0] * 99, [0.5, 0.51]])
def test_two_digits_are_refused_with_how_far_they_are_off(probs):
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(
            ValueError, match=r"off by up to 0\.01\d* where .*: pass .*softmax"
        ) as e:
            decide(torch.tensor([probs], dtype=dtype), ZeroOne(len(probs)))
        assert "p / p.sum(1, keepdim=True)" in str(e.value)


@pytest.mark.parametrize("probs", [torch.tensor([[0.9], [0.2]]), torch.tensor([0.9, 0.2])])
def test_one_column_of_a_sigmoid_is_refused_with_the_remedy(probs):
    with pytest.raises(ValueError, match=r"torch\.stack\(\[1 - p, p\], 1\)"):
        decide(probs, [[0, 1], [5, 0]])


def test_float32_probabilities_in_a_float64_array_are_accepted():
    probs = probabilities(100, 1000, dtype=torch.float32).double()
    assert ((probs.sum(1) - 1).abs() > 1e-9).any()
    decide(probs, ZeroOne(1000))


@pytest.mark.parametrize("probs", [torch.tensor([[1, 0]]), torch.tensor(1.0)])
def test_other_dtypes_and_numbers_are_refused(probs):
    for call in (decide, conditional_risk):
        with pytest.raises(TypeError, match=r"floating point of shape \(C,\).*, got torch"):
            call(probs, [[0, 1], [5, 0]])
    with pytest.raises(TypeError, match=r"floating point of shape \(C,\).*, got torch"):
        shift_priors(probs, [1, 1], [1, 2])


@pytest.mark.usefixtures("_with_and_without_kernels")
def test_what_rounding_explains_at_most_is_accepted_and_the_next_number_refused():
    least = 1 - 2.0**-7
    assert decide(torch.tensor([least, 0.0]), ZeroOne(2)) == 0
    with pytest.raises(ValueError, match="sum to 1"):
        decide(torch.tensor([least - 2.0**-24, 0.0]), ZeroOne(2))


def test_sums_of_half_precision_are_told_as_they_are():
    probs = torch.tensor([[1.0, 0.0301]], dtype=torch.bfloat16)  # 1.03125 in its own dtype
    with pytest.raises(ValueError, match=r"sums from 1\.03 to 1\.03,"):
        decide(probs, ZeroOne(2))


def test_another_number_of_classes_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(5, 4\) have 4 classes on dim 1.*\(3, 4\) have 3"):
        decide(probabilities(5, 4), COSTS)
    with pytest.raises(ValueError, match=r"\(5, 4\) have 4 classes on dim 1.*\(3, 4\) have 3"):
        conditional_risk(probabilities(5, 4), COSTS)


# --- compiled ------------------------------------------------------------------------------------


def test_deciding_compiles_into_one_graph_without_the_check():
    costs = Dense(COSTS)
    compiled = torch.compile(lambda p: decide(p, costs), fullgraph=True, backend="aot_eager")
    probs = probabilities(6, 3, dtype=torch.float32)
    assert torch.equal(compiled(probs), decide(probs, costs))
    compiled(probs * 2)


# --- abstaining ----------------------------------------------------------------------------------


def test_abstaining_is_decision_k_and_has_to_be_strictly_cheaper():
    probs = torch.tensor([[0.75, 0.25], [0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    assert decide_or_abstain(probs, ZeroOne(2), 0.25).tolist() == [0, 2, 2, 1]


def test_abstaining_may_cost_more_for_some_truths():
    probs = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    costs = [[0, 1], [5, 0]]
    assert decide_or_abstain(probs, costs, [0.4, 0.4]).tolist() == [2, 2]
    assert decide_or_abstain(probs, costs, [0.4, 4.0]).tolist() == [1, 0]


def test_abstaining_never_costs_more_than_deciding():
    probs = probabilities(100, 3)
    chosen = decide_or_abstain(probs, COSTS, 1.5)
    assert chosen.max() == 4
    risk = torch.cat([conditional_risk(probs, COSTS), torch.full((100, 1), 1.5)], 1)
    assert torch.equal(chosen, risk.argmin(1))


# --- two classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "threshold"),
    [
        ([[0, 1], [5, 0]], 1 / 6),
        ([[0, 1], [1, 0]], 1 / 2),
        ([[0, 10], [500, 0]], 10 / 510),
        ([[1, 3], [9, 2]], 2 / 9),
    ],
)
def test_the_threshold_parts_the_two_decisions(costs, threshold):
    assert decision_threshold(costs) == pytest.approx(threshold, rel=1e-15)
    for p, expected in ((threshold - 1e-6, 0), (threshold + 1e-6, 1)):
        probs = torch.tensor([1 - p, p], dtype=torch.float64)
        assert decide(probs, costs) == expected


@pytest.mark.parametrize(
    ("costs", "threshold"),
    [
        ([[0, INF], [5, 0]], 1.0),
        ([[0, 1], [INF, 0]], 0.0),
        ([[-3, INF], [1e300, 2]], 1.0),
        ([[0, 1e308], [1.5e308, 0]], 0.4),
        ([[0, 1e-300], [1e300, 0]], 0.0),
    ],
)
def test_the_threshold_of_a_forbidden_decision_is_an_end(costs, threshold):
    assert decision_threshold(costs) == pytest.approx(threshold, abs=1e-15)
    for p in (0.001, 0.39, 0.41, 0.999):
        probs = torch.tensor([1 - p, p], dtype=torch.float64)
        assert decide(probs, costs) == (p > threshold)


def test_there_is_no_threshold_where_nothing_is_allowed():
    with pytest.raises(ValueError, match="both wrong decisions are forbidden"):
        decision_threshold([[0, INF], [INF, 0]])
    for forbidden in ([[INF, 1], [5, 0]], [[0, 1], [5, INF]]):
        with pytest.raises(ValueError, match="-inf more"):
            decision_threshold(forbidden)


@pytest.mark.usefixtures("_with_and_without_kernels")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_forbidden_decisions_are_taken_only_where_none_is_allowed(dtype):
    costs = Dense([[0, INF, 9], [2, 0, INF], [INF, 3, 0]])
    probs = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.25, 0.5, 0.25]], dtype=dtype)
    assert decide(probs, costs).tolist() == [0, 0, 1, 0]  # the last is a tie of all
    assert decide_or_abstain(probs, costs, 50.0).tolist() == [0, 0, 1, 3]
    assert not conditional_risk(probs, costs).isnan().any()
    shifted = shift_priors(probs, [1, 1, 1], [1, 1, 0])
    assert decide(shifted, costs).tolist() == [0, 0, 1, 0]


def test_no_threshold_is_made_up():
    with pytest.raises(ValueError, match=r"the decisions .* are not the classes"):
        decision_threshold(Dense([[0, 1], [5, 0]], classes=["a", "b"], decisions=["a", "wait"]))
    with pytest.raises(ValueError, match=r"got \(3, 4\): use decide"):
        decision_threshold(COSTS)
    with pytest.raises(ValueError, match=r"costs -1\.0 more for class 0 and 5\.0 more for class 1"):
        decision_threshold([[1, 0], [5, 0]])
    with pytest.raises(ValueError, match=r"costs 0\.0 more for class 0"):
        decision_threshold([[0, 0], [5, 0]])
    with pytest.raises(ValueError, match=r"0\.0 more for class 1"):
        decision_threshold([[0, 1], [0, 0]])


# --- priors --------------------------------------------------------------------------------------


def test_shifting_priors_is_bayes_rule():
    likelihood = torch.tensor([[0.1, 0.3, 0.9], [0.5, 0.2, 0.2]], dtype=torch.float64)
    old, new = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.7, 0.1, 0.2])
    under_old, under_new = (likelihood * prior for prior in (old, new))
    probs, expected = (joint / joint.sum(1, keepdim=True) for joint in (under_old, under_new))
    shifted = shift_priors(probs, old.double(), new.double())
    torch.testing.assert_close(shifted, expected, rtol=1e-6, atol=0)


def test_shifting_priors_there_and_back_changes_nothing():
    probs = probabilities(20, 3)
    there = shift_priors(probs, [0.2, 0.5, 0.3], [0.6, 0.1, 0.3])
    assert (there - probs).abs().max() > 0.1
    torch.testing.assert_close(shift_priors(there, [0.6, 0.1, 0.3], [0.2, 0.5, 0.3]), probs)


def test_priors_may_be_counts():
    probs = probabilities(20, 3)
    by_counts = shift_priors(probs, [200, 500, 300], [7, 1, 2])
    torch.testing.assert_close(by_counts, shift_priors(probs, [0.2, 0.5, 0.3], [0.7, 0.1, 0.2]))


def test_shifting_priors_is_deciding_with_costs_scaled_by_truth():
    probs, D = probabilities(50, 3), COSTS.double()
    ratio = torch.tensor([[4.0], [0.25], [1.0]], dtype=torch.float64)
    shifted = shift_priors(probs, [0.2, 0.4, 0.4], [0.8, 0.1, 0.4])
    assert torch.equal(decide(shifted, D), decide(probs, D * ratio))


def test_extreme_ratios_neither_overflow_nor_vanish():
    probs = torch.tensor([[1.0, 1e-30], [0.0, 1.0]])
    shifted = shift_priors(probs, [1.0, 1e-200], [1e-200, 1.0])
    assert torch.equal(shifted, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    probs = torch.tensor([[0.25, 0.75]])
    shifted = shift_priors(probs, [1e-300, 1e-300], [1e300, 1e300])
    torch.testing.assert_close(shifted, probs)


def test_a_class_may_become_impossible():
    probs = torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.4, 0.6]])
    shifted = shift_priors(probs, [1, 1, 1], [1, 1, 0])
    torch.testing.assert_close(shifted, torch.tensor([[0.4, 0.6, 0.0], [0.0, 1.0, 0.0]]))


def test_priors_shift_along_the_class_dimension_and_keep_the_dtype():
    rows = probabilities(2 * 5, 3)
    maps = rows.view(2, 5, 3).movedim(-1, 1)
    shifted = shift_priors(maps, [1, 2, 3], [3, 2, 1])
    by_rows = shift_priors(rows, [1, 2, 3], [3, 2, 1])
    assert torch.equal(shifted.movedim(1, -1).reshape(10, 3), by_rows)
    assert torch.equal(shift_priors(rows[0], [1, 2, 3], [3, 2, 1]), by_rows[0])
    assert shift_priors(rows.half(), [1, 2, 3], [3, 2, 1]).dtype == torch.float16


def test_unfit_priors_are_refused_with_one_sentence():
    probs = probabilities(4, 3)
    for old in ([0.5, 0.5, 0.0], [1.0, -1.0, 1.0], [1.0, INF, 1.0], [1.0, math.nan, 1.0]):
        with pytest.raises(ValueError, match=r"old priors must be positive.* for class [12]"):
            shift_priors(probs, old, [1, 1, 1])
    for new in ([0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [1.0, INF, 1.0], [1.0, math.nan, 1.0]):
        with pytest.raises(ValueError, match=r"new priors must be non-negative"):
            shift_priors(probs, [1, 1, 1], new)
    with pytest.raises(ValueError, match=r"old priors have shape \(2,\).*\(4, 3\).* 3 classes"):
        shift_priors(probs, [1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match=r"new priors have shape \(1, 3\)"):
        shift_priors(probs, [1, 1, 1], torch.ones(1, 3))
    with pytest.raises(ValueError, match="nothing is left to share out"):
        shift_priors(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), [1, 1], [1, 0])
