# SPDX-License-Identifier: BSD-3-Clause
"""Laws that every loss obeys on every engine, tried on random problems."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry import (
    ASYMMETRIC,
    LOSSES,
    PROBABILITIES,
    evaluate,
    every_engine,
    every_loss,
    every_target,
    holds_weight_constant,
    parts,
    probabilities,
    random_table,
    refuses,
    smoothed,
    table_for,
)
from torch import Tensor
from torch.nn.functional import one_hot

import lossmatrix as lm
from lossmatrix.engines import Engine

laws = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Draw:
    """A random problem; every tensor follows from the seed and the sizes."""

    seed: int
    num_rows: int
    num_classes: int
    scale: float

    @property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    @property
    def logits(self) -> Tensor:
        shape = (self.num_rows, self.num_classes)
        return self.scale * torch.randn(shape, generator=self.generator, dtype=torch.float64)

    @property
    def target(self) -> Tensor:
        return torch.randint(self.num_classes, (self.num_rows,), generator=self.generator)

    @property
    def soft_target(self) -> Tensor:
        shape = (self.num_rows, self.num_classes)
        mass = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return mass / mass.sum(1, keepdim=True)

    @property
    def upstream(self) -> Tensor:
        """A random gradient for each row: never only ones."""
        return torch.randn(self.num_rows, generator=self.generator, dtype=torch.float64)

    def table(self, loss: lm.Loss) -> Tensor:
        return random_table(loss, self.num_classes, self.generator)


draws = st.builds(
    Draw,
    seed=st.integers(0, 2**31),
    num_rows=st.integers(1, 5),
    num_classes=st.integers(2, 6),
    scale=st.sampled_from([0.1, 1.0, 5.0, 30.0]),
)


def value_and_gradient(
    engine: Engine,
    loss: lm.Loss,
    logits: Tensor,
    target: Tensor,
    costs: lm.CostMatrix | Tensor,
    upstream: Tensor | None = None,
    **options: object,
) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = evaluate(engine, loss, logits, target, costs, **options)
    upstream = torch.ones_like(value) if upstream is None else upstream.reshape(value.shape)
    return value.detach(), torch.autograd.grad(value, logits, upstream)[0]


def assert_same(
    a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], tolerance: float = 1e-11
) -> None:
    for left, right in zip(a, b, strict=True):
        scale = 1.0 + right.abs().max().item() if right.numel() else 1.0
        torch.testing.assert_close(left, right, rtol=0.0, atol=tolerance * scale)


# --- logits and classes --------------------------------------------------------------------------


@every_engine
@every_loss
@laws
@given(draw=draws, shift=st.floats(-1e3, 1e3))
def test_adding_a_constant_to_all_logits_changes_nothing(
    loss: lm.Loss, engine: Engine, draw: Draw, shift: float
) -> None:
    z, y, D = draw.logits, draw.target, draw.table(loss)
    after = value_and_gradient(engine, loss, z + shift, y, D)
    assert_same(after, value_and_gradient(engine, loss, z, y, D), 1e-9)


@every_engine
@every_loss
@laws
@given(draw=draws)
def test_the_slopes_of_a_row_sum_to_zero(loss: lm.Loss, engine: Engine, draw: Draw) -> None:
    _, gradient = value_and_gradient(engine, loss, draw.logits, draw.target, draw.table(loss))
    assert (gradient.sum(1).abs() <= 1e-12 * (1 + gradient.abs().amax(1))).all()


@every_engine
@every_loss
@laws
@given(draw=draws, order_seed=st.integers(0, 1000))
def test_relabelling_classes_permutes_gradient(
    loss: lm.Loss, engine: Engine, draw: Draw, order_seed: int
) -> None:
    z, y, D = draw.logits, draw.target, draw.table(loss)
    order = torch.randperm(draw.num_classes, generator=torch.Generator().manual_seed(order_seed))
    value, gradient = value_and_gradient(engine, loss, z, y, D)
    relabelled = value_and_gradient(
        engine, loss, z[:, order], order.argsort()[y], D[order][:, order]
    )
    assert_same(relabelled, (value, gradient[:, order]))


# --- costs ---------------------------------------------------------------------------------------


@every_engine
@every_loss
@laws
@given(draw=draws, factor=st.sampled_from([0.01, 0.5, 3.0, 100.0]))
def test_a_loss_linear_in_the_costs_scales_with_them(
    loss: lm.Loss, engine: Engine, draw: Draw, factor: float
) -> None:
    if not loss.linear_in_costs:
        return
    z, y, D = draw.logits, draw.target, draw.table(loss)
    value, gradient = value_and_gradient(engine, loss, z, y, D)
    scaled = value_and_gradient(engine, loss, z, y, factor * D)
    assert_same(scaled, (factor * value, factor * gradient))


@every_engine
@every_loss
@laws
@given(draw=draws, mix=st.floats(0.1, 2.0))
def test_a_loss_linear_in_the_costs_adds_over_matrices(
    loss: lm.Loss, engine: Engine, draw: Draw, mix: float
) -> None:
    if not loss.linear_in_costs:
        return
    z, y, D = draw.logits, draw.target, draw.table(loss)
    # whose rows are largest at the same decisions, for a largest cost may enter
    other = draw.table(loss) ** 0.5 if not refuses(loss, ASYMMETRIC) else mix * D
    one, two = (value_and_gradient(engine, loss, z, y, each) for each in (D, mix * other))
    both = value_and_gradient(engine, loss, z, y, D + mix * other)
    assert_same(both, (one[0] + two[0], one[1] + two[1]))


UNIT_FREE = {"CostFocal": 0, "SoftTargetCrossEntropy": 0, "SimilarityLikelihood": 0}
UNIT_COST = {"DecisionScore": 1, "EntropicRisk": 1}


@every_engine
@pytest.mark.parametrize(
    "loss",
    [loss for loss in LOSSES.values() if type(loss).__name__ in UNIT_FREE | UNIT_COST],
    ids=repr,
)
@laws
@given(draw=draws, unit=st.sampled_from([0.01, 100.0]))
def test_parameters_mean_the_same_for_euros_and_cents(
    loss: lm.Loss, engine: Engine, draw: Draw, unit: float
) -> None:
    z, y, D = draw.logits, draw.target, draw.table(loss)
    factor = unit ** (UNIT_FREE | UNIT_COST)[type(loss).__name__]
    value, gradient = value_and_gradient(engine, loss, z, y, D)
    other = value_and_gradient(engine, loss, z, y, unit * D)
    assert_same(other, (factor * value, factor * gradient), 1e-10)


# What adding c to every cost of a row does: to the value (times c), to the gradient nothing.
SHIFTS = {
    lm.CrossEntropy(): 0.0,
    lm.CostSensitiveCrossEntropy(): 0.0,
    lm.SoftTargetCrossEntropy(): 0.0,
    lm.ExpectedCost(): 1.0,
    lm.DecisionScore(): 1.0,
    lm.EntropicRisk(): 1.0,
    lm.EntropicRisk(lam=-1.0): 1.0,
}


@every_engine
@pytest.mark.parametrize("loss", SHIFTS, ids=repr)
@laws
@given(draw=draws, offset=st.floats(0.0, 5.0))
def test_adding_a_constant_to_a_row_of_costs_shifts_the_value_at_most(
    loss: lm.Loss, engine: Engine, draw: Draw, offset: float
) -> None:
    z, y, D = draw.logits, draw.target, draw.table(loss)
    added = torch.linspace(0.0, offset, draw.num_classes, dtype=torch.float64)
    if isinstance(loss, lm.DecisionScore):
        added = torch.full_like(added, offset)  # one for all rows: c = Dᵀp sees every row
    value, gradient = value_and_gradient(engine, loss, z, y, D)
    shifted = value_and_gradient(engine, loss, z, y, D + added[:, None])
    assert_same(shifted, (value + SHIFTS[loss] * added[y], gradient), 1e-10)


@laws
@given(draw=draws, offset=st.floats(0.0, 5.0))
def test_adding_a_constant_to_a_row_of_costs_changes_no_decision(draw: Draw, offset: float) -> None:
    D, probs = draw.table(lm.ExpectedCost()), draw.logits.softmax(1)
    added = torch.linspace(offset, 0.0, draw.num_classes, dtype=torch.float64)
    before, after = (lm.conditional_risk(probs, each) for each in (D, D + added[:, None]))
    gap = (before - before.amin(1, keepdim=True)) - (after - after.amin(1, keepdim=True))
    assert gap.abs().max() < 1e-12


@every_engine
@every_loss
@laws
@given(draw=draws)
def test_decisions_that_are_no_classes_play_no_part_except_in_the_decision_score(
    loss: lm.Loss, engine: Engine, draw: Draw
) -> None:
    if loss.reads == "gains":
        return
    z, y, D = draw.logits, draw.target, draw.table(loss)
    wide = torch.cat([D, 0.01 + torch.zeros(len(D), 1, dtype=D.dtype)], 1)
    value, _ = value_and_gradient(engine, loss, z, y, wide)
    expected, _ = value_and_gradient(engine, loss, z, y, D)
    if any(isinstance(part, lm.DecisionScore) for part in parts(loss)):
        assert not torch.allclose(value, expected)
    else:
        torch.testing.assert_close(value, expected)


@every_target
@every_engine
@every_loss
def test_every_kind_of_matrix_gives_what_its_table_gives(
    loss: lm.Loss, engine: Engine, targets: str
) -> None:
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    soft = targets == PROBABILITIES
    y = logits.roll(1, 0).softmax(1) if soft else torch.tensor([0, 1, 2, 3, 4, 1])
    tried = 0
    for costs in KINDS:
        if loss.reads == "gains" or refuses(loss, costs):
            continue
        tried += 1
        got = value_and_gradient(engine, loss, logits, y, costs)
        assert_same(got, value_and_gradient(engine, loss, logits, y, costs.to_dense()), 1e-10)
    assert tried >= (0 if loss.reads == "gains" else 4)


PATHS = [("a", "x", "0"), ("b", "1"), ("a", "x", "2"), ("a", "y", "3"), ("b", "4")]
KINDS = [
    lm.ZeroOne(5),
    lm.Ordinal(5),
    lm.Ordinal(5, power=0.5, positions=[0.0, 4.0, 1.0, 2.5, 7.0]),
    lm.Tree(PATHS),
    lm.Tree(PATHS, level_costs=[1.0, 5.0, 6.0]).scaled(0.25),
    lm.LowRank.squared_distances([[0.0, 1.0], [2.0, 0.5], [1.0, 1.0], [0.0, 3.0], [4.0, 1.0]]),
    lm.Sparse(5, [(0, 3, 9.0), (4, 1, 0.5), (2, 2, 0.25)], default=2.0),
    lm.Sparse(5, [(1, 0, 4.0)]).with_abstain(0.3),
    lm.Dense(torch.arange(25.0).reshape(5, 5)).regret(),
    lm.Dense(torch.rand(5, 5, generator=torch.Generator().manual_seed(1))),
]


# --- batches and shapes --------------------------------------------------------------------------


@every_engine
@every_loss
@laws
@given(draw=draws)
def test_a_batch_is_its_samples_one_by_one(loss: lm.Loss, engine: Engine, draw: Draw) -> None:
    """Also where B = C and where B = 1, so that nothing broadcasts in silence."""
    D = draw.table(loss)
    for count in {1, draw.num_rows, draw.num_classes}:
        one = Draw(draw.seed, count, draw.num_classes, draw.scale)
        z, y, upstream = one.logits, one.target, one.upstream
        batch = value_and_gradient(engine, loss, z, y, D, upstream)
        single = [
            value_and_gradient(engine, loss, z[n], y[n], D, upstream[n]) for n in range(count)
        ]
        values, gradients = zip(*single, strict=True)
        assert_same(batch, (torch.stack(values), torch.stack(gradients)))


@every_target
@every_engine
@every_loss
@laws
@given(draw=draws, size=st.sampled_from([(1,), (3,), (2, 3), (1, 2, 2)]))
def test_positions_are_rows_of_a_longer_batch(
    loss: lm.Loss, engine: Engine, targets: str, draw: Draw, size: tuple[int, ...]
) -> None:
    B, C, P = draw.num_rows, draw.num_classes, math.prod(size)
    flat = Draw(draw.seed, B * P, C, draw.scale)
    z, y, upstream, D = flat.logits, flat.target, flat.upstream, draw.table(loss)
    value, gradient = value_and_gradient(engine, loss, z, y, D, upstream)

    image = z.reshape(B, *size, C).movedim(-1, 1)  # not contiguous
    of_image = y.reshape(B, *size)
    if targets == PROBABILITIES:
        of_image = one_hot(y, C).double().reshape(B, *size, C).movedim(-1, 1)
    spatial = value_and_gradient(engine, loss, image, of_image, D, upstream)
    expected = gradient.reshape(B, *size, C).movedim(-1, 1)
    assert_same(spatial, (value.reshape(B, *size), expected))


@every_engine
@every_loss
@laws
@given(draw=draws, ignore_index=st.sampled_from([-100, -1, 0, 1, 255]))
def test_ignored_rows_have_no_loss_and_no_gradient_and_do_not_count(
    loss: lm.Loss, engine: Engine, draw: Draw, ignore_index: int
) -> None:
    z, y, D = draw.logits, draw.target.clone(), draw.table(loss)
    y[::2] = ignore_index
    kept = y != ignore_index
    z[~kept] = math.nan
    options = {"ignore_index": ignore_index}
    value, gradient = value_and_gradient(engine, loss, z, y, D, **options)
    assert (value[~kept] == 0).all()
    assert (gradient[~kept] == 0).all()
    assert_same(
        (value[kept], gradient[kept]), value_and_gradient(engine, loss, z[kept], y[kept], D)
    )
    mean, _ = value_and_gradient(engine, loss, z, y, D, reduction="mean", **options)
    torch.testing.assert_close(mean, value.sum() / kept.sum(), equal_nan=True)


@every_engine
@every_loss
@laws
@given(draw=draws)
def test_the_mean_is_the_sum_over_the_weight_of_the_rows_that_count(
    loss: lm.Loss, engine: Engine, draw: Draw
) -> None:
    z, y, D = draw.logits, draw.target, draw.table(loss)
    weight = 0.5 + torch.rand(draw.num_classes, generator=draw.generator, dtype=torch.float64)
    value, gradient = value_and_gradient(engine, loss, z, y, D)

    total = value_and_gradient(engine, loss, z, y, D, reduction="sum")
    assert_same(total, (value.sum(), gradient))
    mean = value_and_gradient(engine, loss, z, y, D, reduction="mean")
    assert_same(mean, (value.mean(), gradient / len(y)))

    weighted = value_and_gradient(engine, loss, z, y, D, weight=weight, reduction="mean")
    factor = weight[y] / weight[y].sum()
    assert_same(weighted, ((factor * value).sum(), factor[:, None] * gradient))


@every_target
@every_engine
@every_loss
@laws
@given(draw=draws)
def test_sample_weights_multiply_losses_and_leave_the_denominator(
    loss: lm.Loss, engine: Engine, targets: str, draw: Draw
) -> None:
    z, D = draw.logits, draw.table(loss)
    y = draw.soft_target if targets == PROBABILITIES else draw.target
    weight = torch.rand(draw.num_rows, generator=draw.generator, dtype=torch.float64)
    value, gradient = value_and_gradient(engine, loss, z, y, D)
    weighed = value_and_gradient(engine, loss, z, y, D, sample_weight=weight, reduction="mean")
    share = weight / len(weight)
    assert_same(weighed, ((share * value).sum(), share[:, None] * gradient))


# --- soft targets --------------------------------------------------------------------------------


@probabilities
@every_engine
@every_loss
@laws
@given(draw=draws)
def test_a_one_hot_target_is_a_class_index(loss: lm.Loss, engine: Engine, draw: Draw) -> None:
    z, y, D = draw.logits, draw.target, draw.table(loss)
    soft = one_hot(y, draw.num_classes).double()
    assert_same(
        value_and_gradient(engine, loss, z, soft, D), value_and_gradient(engine, loss, z, y, D)
    )


@probabilities
@every_engine
@every_loss
@laws
@given(draw=draws, mass=st.sampled_from([1.0, 0.3, 2.0]))
def test_a_soft_target_is_the_mixture_of_its_classes(
    loss: lm.Loss, engine: Engine, draw: Draw, mass: float
) -> None:
    """Also where the target's mass is not 1, as under class weights."""
    z, soft, D = draw.logits, mass * draw.soft_target, draw.table(loss)
    value, gradient = value_and_gradient(engine, loss, z, soft, D)
    each = [
        value_and_gradient(engine, loss, z, torch.full((draw.num_rows,), i), D)
        for i in range(draw.num_classes)
    ]
    values = torch.stack([v for v, _ in each], 1)
    gradients = torch.stack([g for _, g in each], 1)
    mixed = ((soft * values).sum(1), (soft.unsqueeze(-1) * gradients).sum(1))
    assert_same((value, gradient), mixed)


@smoothed
@probabilities
@every_engine
@every_loss
@laws
@given(draw=draws, smoothing=st.sampled_from([0.1, 0.7, 1.0]))
def test_label_smoothing_spreads_its_share_over_all_classes(
    loss: lm.Loss, engine: Engine, draw: Draw, smoothing: float
) -> None:
    z, y, D, C = draw.logits, draw.target, draw.table(loss), draw.num_classes
    smooth = value_and_gradient(engine, loss, z, y, D, label_smoothing=smoothing)
    soft = (1 - smoothing) * one_hot(y, C).double() + smoothing / C
    assert_same(smooth, value_and_gradient(engine, loss, z, soft, D))


# --- bounds and directions -----------------------------------------------------------------------


def bound(loss: lm.Loss, D: Tensor) -> float:
    """The least value for costs ≥ 0 with zero diagonal: 0, and −τ log K for the decision score."""
    return sum(
        -scale * part.tau * lm.Dense(D).unit * math.log(len(D))
        for scale, part in getattr(loss, "parts", ((1.0, loss),))
        if isinstance(part, lm.DecisionScore)
    )


@every_engine
@every_loss
@laws
@given(draw=draws, peak=st.sampled_from([0.0, 20.0, 500.0]))
def test_no_loss_falls_below_its_bound(
    loss: lm.Loss, engine: Engine, draw: Draw, peak: float
) -> None:
    z, D = draw.logits, draw.table(loss)
    z[:, 0] += peak
    for i in range(draw.num_classes):
        value, _ = value_and_gradient(engine, loss, z, torch.full((draw.num_rows,), i), D)
        assert (value >= bound(loss, D) - 1e-12).all()


@every_engine
@every_loss
@laws
@given(draw=draws)
def test_without_knowledge_the_gradient_never_rewards_the_costliest_class(
    loss: lm.Loss, engine: Engine, draw: Draw
) -> None:
    scores = any(isinstance(part, lm.DecisionScore | lm.EnergyScore) for part in parts(loss))
    if loss.reads == "gains" or scores:
        # The decision score rewards a decision, whatever class brings it about: for some matrices
        # by more than what cross-entropy takes from the costliest class. The energy score does so
        # with a class that is far from all others, and even dearer for most other truths.
        return
    D = draw.table(loss)
    z = torch.zeros(draw.num_classes, draw.num_classes, dtype=torch.float64)
    y = torch.arange(draw.num_classes)
    _, gradient = value_and_gradient(engine, loss, z, y, D)
    assert (gradient.gather(1, D.argmax(1, keepdim=True)) >= -1e-12).all()
    assert (gradient.diagonal() <= 1e-12).all()


@every_engine
@every_loss
def test_descending_on_free_logits_ends_with_deciding_for_the_truth(
    loss: lm.Loss, engine: Engine
) -> None:
    if loss.reads == "gains":
        return
    D, y = table_for(loss), torch.arange(4)
    z = torch.zeros(4, 4, dtype=torch.float64)
    for step in range(40):
        _, gradient = value_and_gradient(engine, loss, z, y, D)
        z = z - 2 * 0.9**step * gradient / gradient.abs().amax(1, keepdim=True)
    decision = lm.decide(z.softmax(1), D) if loss.decides == "bayes" else z.argmax(1)
    assert (decision == y).all()


# --- derivatives ---------------------------------------------------------------------------------


@every_target
@every_engine
@every_loss
def test_gradients_are_those_of_the_value(loss: lm.Loss, engine: Engine, targets: str) -> None:
    if holds_weight_constant(loss):
        return
    generator = torch.Generator().manual_seed(9)
    z = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    t = torch.rand(3, 4, dtype=torch.float64, generator=generator)
    y = t if targets == PROBABILITIES else torch.tensor([2, 0, 3])

    def value(z: Tensor) -> Tensor:
        return evaluate(engine, loss, z, y, table_for(loss))

    assert torch.autograd.gradcheck(value, (z,))


@every_loss
def test_class_probabilities_have_gradients_too(loss: lm.Loss) -> None:
    if holds_weight_constant(loss):
        return
    generator = torch.Generator().manual_seed(9)
    z = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    t = torch.rand(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    D = None if loss.reads is None else table_for(loss)

    def value(z: Tensor, t: Tensor) -> Tensor:
        return loss(z, t, D, reduction="none")

    assert torch.autograd.gradcheck(value, (z, t))


@every_engine
@every_loss
def test_second_derivatives_are_those_of_the_gradient(loss: lm.Loss, engine: Engine) -> None:
    if holds_weight_constant(loss):
        return
    generator = torch.Generator().manual_seed(9)
    z = torch.randn(2, 4, dtype=torch.float64, generator=generator).requires_grad_()

    def hard(z: Tensor) -> Tensor:
        return evaluate(engine, loss, z, torch.tensor([2, 0]), table_for(loss))

    assert torch.autograd.gradgradcheck(hard, (z,))
