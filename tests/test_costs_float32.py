# SPDX-License-Identifier: BSD-3-Clause
"""Costs in float32, as a criterion keeps them: the costs that were given, or one sentence."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

import lossmatrix as lm
from lossmatrix.costs.base import CostMatrix

INF = float("inf")
TOO_MUCH = {
    "Dense": lm.Dense([[0, 1e39], [2e39, 0]]),
    "Dense, vanishing": lm.Dense([[0, 1e-46], [2e-46, 0]]),
    "Sparse": lm.Sparse(2, [(0, 1, 1e39)]),
    "Sparse, vanishing default": lm.Sparse(2, [], default=1e-46),
    "Tree": lm.Tree([("a",), ("b",)], level_costs=[1e39]),
    "Ordinal, vanishing": lm.Ordinal(2, positions=[0, 1e-46]),
    "Ordinal, on both sides of 0": lm.Ordinal(2, positions=[-3e38, 3e38]),
    "Ordinal, power 60": lm.Ordinal(2, power=60, positions=[0, 10]),
    "Ordinal, power 60, vanishing": lm.Ordinal(2, power=60, positions=[0, 0.1]),
    "LowRank": lm.LowRank([[1e20], [1]], [[1e20], [1]]),
    "LowRank, side costs": lm.LowRank([[1], [1]], [[1], [1]], row_costs=[1e39, 0]),
    "LowRank, both side costs": lm.LowRank(
        [[1], [1]], [[1], [1]], row_costs=[2e38, 0], column_costs=[0, 2e38]
    ),
    "LowRank, a vanishing side": lm.LowRank([[1e-50], [3e-50]], [[1e30], [2e30]]),
    "distances": lm.LowRank.squared_distances([[1e20], [1]]),
    "distances, vanishing": lm.LowRank.squared_distances([[1e-25], [2e-25]]),
    "scaled": lm.Ordinal(2).scaled(1e39),
    "scaled twice": lm.Ordinal(2).scaled(1e20).scaled(1e20),
    "abstaining": lm.Ordinal(2).with_abstain(1e39),
    "gains": lm.Sparse(2, [(0, 1, -1e39)]).regret(),
    "savings": lm.Sparse(2, [(0, 1, 1e39)]).savings(),
    "mistakes": lm.Sparse(2, [(0, 0, 1e39)]).zero_diagonal(),
    "a row map": lm.Sparse(2, [(0, 1, 1e39)]).map_rows(lambda rows, is_truth: rows),
}


@pytest.mark.parametrize("costs", TOO_MUCH.values(), ids=TOO_MUCH)
def test_costs_that_overflow_or_vanish_are_refused_with_the_remedy(costs: CostMatrix) -> None:
    logits, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    probs = torch.full((3, 2), 0.5)
    for narrow in (
        lambda: costs.to(dtype=torch.float32),
        lambda: lm.Criterion(lm.CrossEntropy(), costs),
        lambda: lm.decide(probs, costs),
        lambda: lm.conditional_risk(probs, costs),
    ):
        with pytest.raises(
            ValueError, match=r"does not fit float32: its costs reach .*: give"
        ) as e:
            narrow()
        assert "\n" not in str(e.value)
    if costs.num_decisions == 2:
        for engine in ("native", "reference"):
            with pytest.raises(ValueError, match="does not fit float32"):
                lm.ExpectedCost()(logits, y, costs, engine=engine)
    assert torch.equal(costs.to(dtype=torch.float64).to_dense(), costs.to_dense())
    assert lm.decide(probs.double(), costs).shape == (3,)


REMEDIES = {
    "Dense": "give the costs in another unit, costs.scaled(1 / costs.unit).",
    "Sparse": "give default and exceptions in another unit.",
    "Tree": "give level_costs in another unit.",
    "Ordinal, power 60": "give positions in a unit that brings distances nearer to 1, or a smaller "
    "power.",
    "LowRank": "give the vectors and costs in another unit.",
    "distances": "give the vectors in another unit, nearer together.",
    "abstaining": "give the costs in another unit, costs.scaled(1 / costs.unit).",
}


@pytest.mark.parametrize("kind", REMEDIES)
def test_each_kind_names_the_numbers_to_give_in_another_unit(kind: str) -> None:
    costs = TOO_MUCH[kind]
    unasked = costs.with_tables(costs.tables)  # other tests have asked the other one
    with pytest.raises(ValueError, match=r"does not fit float32: ") as error:
        unasked.to(dtype=torch.float32)
    assert str(error.value).endswith(f": {REMEDIES[kind]}")


@pytest.mark.parametrize(
    "costs", [TOO_MUCH["Dense"], TOO_MUCH["Dense, vanishing"], TOO_MUCH["scaled twice"]], ids=repr
)
def test_another_unit_is_the_remedy(costs: CostMatrix) -> None:
    again = costs.scaled(1 / costs.unit)
    kept = again.to(dtype=torch.float32)
    torch.testing.assert_close(kept.to_dense().double(), again.to_dense(), rtol=1e-6, atol=0)


def test_what_is_0_or_infinite_from_the_start_fits() -> None:
    for costs in (
        lm.Dense([[0, INF], [3e38, 1e-45]]),
        lm.Sparse(2, [(0, 1, INF)]),
        lm.Sparse(3, []),
        lm.Ordinal(1, power=60),
        lm.LowRank([[0.0], [0.0]], [[0.0], [0.0]]),
        lm.LowRank.squared_distances([[2.0], [2.0]]),
        lm.LowRank.squared_distances([[1e15], [-1e15]]),
        lm.Dense([[0, 500.0], [1, 0]]).soft_targets(1.0),  # a share of e^-500 is as good as none
    ):
        costs.to(dtype=torch.float32)


FAR = {
    "timestamps": [1.7e9, 1.7e9 + 1, 1.7e9 + 9],
    "not in order": [1.7e9 + 9, 1.7e9, 1.7e9 + 1],
    "below 0": [-1e12 - 9, -1e12, -1e12 - 4],
    "around 0": [-3.0, 0.001, 2.5],
}


@pytest.mark.parametrize("power", [1, 2, 1.5, 0.25])
@pytest.mark.parametrize("positions", FAR.values(), ids=FAR)
def test_positions_far_from_0_keep_their_distances(positions: list[float], power: float) -> None:
    costs = lm.Ordinal(3, power=power, positions=positions)
    x = torch.tensor(positions, dtype=torch.float64)
    D = (x[:, None] - x).abs() ** power
    torch.testing.assert_close(costs.to_dense(), D, rtol=1e-15, atol=0)
    for matrix in (costs, costs.scaled(3), costs.with_abstain(5).square()):
        exact = matrix.to_dense()
        kept = matrix.to(dtype=torch.float32)
        torch.testing.assert_close(kept.to_dense().double(), exact, rtol=1e-6, atol=0)
        probs = torch.tensor([[0.1, 0.6, 0.3]], dtype=torch.float64)
        z, y = probs.log(), torch.tensor([0])
        for engine in ("native", "reference"):
            loss = lm.Criterion(lm.ExpectedCost(), matrix, engine=engine)
            torch.testing.assert_close(loss(z, y), probs[0] @ exact[0], rtol=1e-6, atol=0)
        loss = lm.Criterion(lm.CrossEntropy(), matrix)
        assert loss.decide(z) == loss.decide(z.float()) == (probs @ exact).argmin()


@pytest.mark.parametrize(
    "positions", [[0, 1.7e9, 1.7e9 + 1], [-1e9, 1e9, 1e9 + 40], [5.0, 1e30, 3e7, 3e7 + 1]]
)
def test_neighbours_that_float32_does_not_tell_apart_are_refused(positions: list[float]) -> None:
    costs = lm.Ordinal(len(positions), positions=positions)
    for matrix in (costs, costs.scaled(2), costs.savings(), costs.map_rows(lambda rows, own: rows)):
        with pytest.raises(ValueError, match=r"are .* apart.*: give positions nearer together"):
            matrix.to(dtype=torch.float32)
    assert costs.to(dtype=torch.float64).entry(len(positions) - 2, len(positions) - 1) > 0


def test_different_vectors_that_would_be_one_are_refused() -> None:
    costs = lm.LowRank.squared_distances([[0.0], [1e9], [1e9 + 1]])
    with pytest.raises(ValueError, match=": 1 of its vectors would be equal to others"):
        costs.to(dtype=torch.float32)
    near = lm.LowRank.squared_distances([[1e9, 0.0], [1e9, 1], [1e9, 2], [1e9, 2]])
    assert near.to(dtype=torch.float32).entry(0, 2) == 4  # less their mean


def test_a_matrix_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    look = CostMatrix._magnitudes
    monkeypatch.setattr(CostMatrix, "_magnitudes", lambda m: seen.append(m) or look(m))
    costs = lm.Dense(torch.rand(3, 3, dtype=torch.float64))
    for _ in range(3):
        lm.ExpectedCost()(torch.zeros(2, 3), torch.tensor([0, 1]), costs)
        lm.decide(torch.full((2, 3), 1 / 3), costs)
        costs.to(dtype=torch.float32)
    assert len(seen) == 1
    lm.Criterion(lm.ExpectedCost(), torch.rand(3, 3))(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert len(seen) == 1  # float32 from the start


def test_costs_of_samples_are_not_read_before_they_are_rounded() -> None:
    rows = lm.PerExample(torch.tensor([[0, 1e39], [0, 1]], dtype=torch.float64))
    assert rows.to(dtype=torch.float32).row(torch.tensor(0), torch.tensor(0))[1] == INF
    loss = lm.ExpectedCost()(torch.zeros(2, 2), torch.tensor([0, 0]), rows, reduction="none")
    assert loss.tolist() == [INF, 0.5]


def test_a_power_beyond_all_numbers_is_refused_when_made() -> None:
    with pytest.raises(ValueError, match="to the power 60 are infinite: give positions nearer"):
        lm.Ordinal(2, power=60, positions=[0, 1e9])


def test_a_compiled_loss_takes_a_matrix_of_double_precision() -> None:
    costs = lm.Dense(torch.tensor([[0.0, 1.0], [5.0, 0.0]]).double())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        risk = torch.compile(costs.expected, backend="eager", fullgraph=True)
        assert risk(torch.tensor([[0.5, 0.5]])).tolist() == [[2.5, 0.5]]


def test_rows_whose_costs_differ_by_less_than_float32_tells_apart_are_refused() -> None:
    shifted = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 1.0, 2.0]]).double()
    shifted[:2] += torch.tensor([[1e9], [5e8]]).double()
    costs, probs = lm.Dense(shifted), torch.tensor([[0.4, 0.6, 0.0], [1.0, 0.0, 0.0]])
    calls = {
        "decide": lambda: lm.decide(probs, costs),
        "risk": lambda: lm.conditional_risk(probs, costs),
        "criterion": lambda: lm.Criterion(lm.ExpectedCost(), costs),
        "loss": lambda: lm.ExpectedCost()(probs, torch.tensor([0, 1]), costs),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=r"differ by 2 at most.*costs\.regret\(\)"):
            pytest.fail(f"{name}: {call()}")
    assert lm.decide(probs, costs.regret()).tolist() == [0, 1]
    assert lm.decide(probs.double(), costs).tolist() == [0, 1]


def test_rows_that_differ_by_a_rounding_of_float64_are_taken() -> None:
    costs = lm.Dense([[0.1 + 0.2, 0.3], [1e9, 1e9 + 1e-7], [0.0, 1.0]], decisions=["a", "b"])
    assert costs.entry(1, "a") < costs.entry(1, "b")
    assert costs.to(dtype=torch.float32).tables["table"].dtype == torch.float32


@pytest.mark.parametrize("more", [[], [INF]])
def test_a_row_may_lose_half_of_what_its_costs_differ_by(more: list[float]) -> None:
    far = 2.0**24  # from where on float32 holds every other whole number
    for low, high in ((far - 1, far + 1), (far, far + 1.4)):
        narrow = lm.Dense([[high, low, *more]]).to(dtype=torch.float32)
        assert narrow.entry(0, 0) - narrow.entry(0, 1) in (1, 2)
    for low, high in ((far, far + 1.2), (far, far + 0.9)):
        with pytest.raises(ValueError, match=f"differ by {high - far:.1f}"):
            lm.Dense([[high, low, *more]]).to(dtype=torch.float32)


@pytest.mark.parametrize("of_samples", [False, True])
def test_a_transformation_of_float32_keeps_what_float32_cannot_hold(of_samples: bool) -> None:
    table = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    costs = lm.PerExample(table) if of_samples else lm.Dense(table)
    first = torch.tensor([0])
    for made, expected in (
        (costs.scaled(1e-50), [0.0, 1e-50, 2e-50]),
        (costs.scaled(1e39), [0.0, 1e39, 2e39]),
        (costs.with_abstain(1e39), [0.0, 1.0, 2.0, 1e39]),
    ):
        row = made.row(first, first).double()
        torch.testing.assert_close(
            row, torch.tensor([expected], dtype=torch.float64), atol=0, rtol=1e-7
        )
    assert costs.scaled(2.0).tables["table"].dtype == torch.float32
    far = lm.Dense(torch.tensor([[-3e38, 3e38], [1.0, 0.0]])).regret()
    assert far.entry(0, 1) == pytest.approx(6e38)


# --- numbers beside the costs --------------------------------------------------------------------

STATED = {
    "scale": lambda value: value * lm.ExpectedCost(),
    "scale of a part": lambda value: lm.CrossEntropy() + value * lm.Unlikelihood(),
    "temperature": lm.SoftTargetCrossEntropy,
    "gamma": lm.CostFocal,
    "tau of decisions": lm.DecisionScore,
    "lam": lm.EntropicRisk,
    "-lam": lambda value: lm.EntropicRisk(-value),
    "tau": lm.SimilarityLikelihood,
}


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("value", [1e-320, 1e-50, 1e-25, 1e-10, 1e10, 1e25, 1e40, 1e305])
@pytest.mark.parametrize("unit", [1e-44, 1e-20, 1.0, 1e20, 1e37])
def test_numbers_of_a_loss_give_numbers_or_a_sentence(
    stated: str, value: float, unit: float
) -> None:
    costs = lm.Dense(unit * torch.tensor([[0, 1.0, 4], [2, 0, 3], [7, 5, 0]]).double())
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.5, 0.2, -0.4]], requires_grad=True)
    for engine in ("native", "reference"):
        try:
            loss = STATED[stated](value)(logits, torch.tensor([1, 0]), costs, engine=engine)
        except ValueError as error:
            needless = unit == 1 and 1e-10 <= value <= 1e10
            if needless or "1e-30 to 1e+30 are safe: choose" not in str(error):
                raise
        else:
            (slope,) = torch.autograd.grad(loss, logits)
            assert loss.isfinite()
            assert slope.isfinite().all()


@pytest.mark.parametrize("which", ["weight", "sample_weight"])
def test_weights_that_float32_has_no_room_for_are_refused_beside_its_logits(which: str) -> None:
    logits, target = torch.tensor([[1.0, 2, 0], [0, 1, 3]]), torch.tensor([1, 0])
    weights = torch.tensor([1.0, 1e40, 2], dtype=torch.float64)
    large = {which: weights[: 2 if which == "sample_weight" else 3]}
    for engine in ("native", "reference"):
        with pytest.raises(ValueError, match=rf"{which} in float64 sums to 1e\+40, for which"):
            lm.CrossEntropy()(logits, target, engine=engine, **large)
        assert lm.CrossEntropy()(logits.double(), target, engine=engine, **large).isfinite()


def test_costs_that_a_factor_brings_into_range_are_scaled_in_float64() -> None:
    costs = lm.Dense(torch.tensor([[0, 1e-40], [2e-40, 0]]))  # and float32 holds no 1e40
    assert costs.scaled(1e40).to_dense().tolist() == [
        [0, pytest.approx(1, rel=1e-5)],
        [pytest.approx(2, rel=1e-5), 0],
    ]
