# SPDX-License-Identifier: BSD-3-Clause
"""Mistakes that others have made, one test each, so that they are not made here.

They were found in published code and in forum answers; each docstring says what went wrong there.
"""

from __future__ import annotations

import inspect
import math

import pytest
import torch
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
    table_for,
)
from torch import Tensor, nn

import lossmatrix as lm
from lossmatrix.engines import Engine

RANDOM = torch.Generator


def gradient_of(
    engine: Engine, loss: lm.Loss, logits: Tensor, target: Tensor, D: Tensor
) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = evaluate(engine, loss, logits, target, D)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


@every_engine
@pytest.mark.parametrize(
    "loss",
    [
        lm.CrossEntropy(),
        lm.ExpectedCost(),
        lm.Unlikelihood(),
        lm.SoftmaxMargin(),
        lm.SoftmaxMargin(log=True),
        lm.CostFocal(),
        lm.EnergyScore(),
        lm.EntropicRisk(),
        lm.SimilarityLikelihood(),
    ],
    ids=repr,
)
def test_descent_never_lowers_the_truth(loss: lm.Loss, engine: Engine) -> None:
    """Costs used as soft labels, −Σ D log p, push away from the truth to the costliest class."""
    logits = 3.0 * torch.randn(1000, 4, generator=RANDOM().manual_seed(1), dtype=torch.float64)
    target = torch.arange(1000) % 4
    _, gradient = gradient_of(engine, loss, logits, target, table_for(loss))
    assert (gradient.gather(1, target[:, None]) <= 1e-15).all()


@every_engine
@pytest.mark.parametrize("log_p", [-69.0, -30.0, -10.0, -1.0, -1e-3])
def test_unlikelihood_has_a_gradient_at_any_probability_of_the_wrong_class(
    log_p: float, engine: Engine
) -> None:
    """A sign slip, log(clamp(p − 1)), left a constant whose gradient is exactly zero."""
    logits = torch.tensor([[0.0, log_p - math.log(-math.expm1(log_p))]])
    D = torch.tensor([[0.0, 5.0], [1.0, 0.0]])
    value, gradient = gradient_of(engine, lm.Unlikelihood(), logits, torch.tensor([0]), D)
    p = math.exp(log_p)
    assert value.item() == pytest.approx(-5.0 * math.log1p(-p), rel=1e-5)
    assert gradient[0].tolist() == pytest.approx([-5.0 * p, 5.0 * p], rel=1e-5)


@every_engine
@every_loss
def test_no_argmax_gates_the_loss(loss: lm.Loss, engine: Engine) -> None:
    """A penalty looked up at argmax p has no gradient, jumps, and is blind to the other classes."""
    D, y = table_for(loss), torch.tensor([1])
    low, high = torch.tensor([[0.0, 0.3, 0.9, -2.0]]), torch.tensor([[0.9, 0.3, 0.0, -2.0]])
    at_tie = torch.tensor([[0.9, 0.3, 0.9, -2.0]])
    one, _ = gradient_of(engine, loss, low, y, D)
    two, slope = gradient_of(engine, loss, high, y, D)
    if loss.reads is not None and loss != lm.CostFocal(gamma=0.0):
        assert not torch.allclose(one, two)  # two wrong classes have changed places
    nudge = torch.tensor([[1e-4, 0.0, 0.0, 0.0]])
    before, after = (gradient_of(engine, loss, at_tie + s * nudge, y, D)[0] for s in (-1, 1))
    assert (before - after).abs() < 1e-2  # continuous where the argmax changes
    assert slope.abs().max() > 1e-3


@pytest.mark.parametrize("call", [lm.Criterion.forward, lm.Loss.__call__])
def test_the_first_two_arguments_are_logits_and_target(call: object) -> None:
    """(y_true, y_pred) and (y_pred, y_true) were swapped without a word."""
    names = list(inspect.signature(call).parameters)  # type: ignore[arg-type]
    assert names[:3] == ["self", "logits", "target"]
    criterion, z, y = lm.Criterion(lm.CrossEntropy()), torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    assert criterion(target=y, logits=z) == criterion(z, y)
    with pytest.raises(TypeError, match="expected floating point logits"):
        criterion(y, z)


@every_engine
@every_loss
def test_a_confident_hit_is_finite_and_gets_no_dearer(loss: lm.Loss, engine: Engine) -> None:
    """0 · ∞: −D[y, y] log(1 − p_y) was not a number once p_y rounded to 1."""
    if loss.reads == "gains":
        return
    gaps = torch.tensor([0.0, 10.0, 17.0, 20.0, 50.0, 100.0, 1e4])
    logits = torch.zeros(len(gaps), 4)
    logits[:, 2] = gaps
    value, gradient = gradient_of(
        engine, loss, logits, torch.full((len(gaps),), 2), table_for(loss)
    )
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    if not any(isinstance(part, KEEPS_MASS_ON_CHEAP_MISTAKES) for part in parts(loss)):
        assert (value.diff() <= 1e-6).all()
        assert value[-1] <= 0.05 * value[0]


# Their optimum is no certainty, so that certainty costs, by intention.
KEEPS_MASS_ON_CHEAP_MISTAKES = (
    lm.CostSensitiveCrossEntropy,
    lm.SoftTargetCrossEntropy,
    lm.DecisionScore,
)


@every_engine
@pytest.mark.parametrize("gap", [12.0, 17.0, 20.0, 60.0])
def test_the_slope_along_a_confident_mistake_is_its_cost(gap: float, engine: Engine) -> None:
    """1 − p clamped at 10⁻⁴ gave no gradient beyond gap 9, on precisely the worst mistakes."""
    logits = torch.tensor([[0.0, -0.5, gap, 0.25]])
    _, gradient = gradient_of(engine, lm.Unlikelihood(), logits, torch.tensor([0]), ASYMMETRIC)
    cost = ASYMMETRIC[0, 2].item()
    assert gradient[0, 2].item() == pytest.approx(cost, rel=1e-3)
    assert gradient[0, [0, 1, 3]].sum().item() == pytest.approx(-gradient[0, 2].item(), rel=1e-6)


@every_engine
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@every_loss
def test_a_constant_on_all_logits_is_not_seen(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype
) -> None:
    """exp(logits) without a shift, and ε added to it, changed with the level of the logits."""
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 2.0, 0.0]], dtype=dtype)
    target, D = torch.tensor([0, 3]), table_for(loss)
    value, gradient = gradient_of(engine, loss, logits, target, D)
    for shift in (-1024.0, -32.0, 128.0, 1024.0):
        moved = logits + shift
        assert ((moved - shift) == logits).all()
        again, slope = gradient_of(engine, loss, moved, target, D)
        torch.testing.assert_close(again, value, rtol=0, atol=0)
        torch.testing.assert_close(slope, gradient, rtol=0, atol=0)


@every_engine
@pytest.mark.parametrize("batch", [1, 2, 4, 7])
@every_loss
def test_nothing_broadcasts_between_samples(loss: lm.Loss, engine: Engine, batch: int) -> None:
    """(N, 1) · (N,) made (N, N) and mixed the errors of other samples in; B = 1 hid it."""
    logits = torch.randn(batch, 4, 2, 3, generator=RANDOM().manual_seed(2), dtype=torch.float64)
    target = torch.randint(4, (batch, 2, 3), generator=RANDOM().manual_seed(3))
    D = table_for(loss)
    value = evaluate(engine, loss, logits, target, D)
    for n in range(batch):
        for u in range(2):
            for v in range(3):
                one = evaluate(engine, loss, logits[n, :, u, v], target[n, u, v], D)
                torch.testing.assert_close(value[n, u, v], one)


@every_engine
def test_every_pair_reads_its_own_cost(engine: Engine) -> None:
    """Gathering D[·, y], or the diagonal, read the wrong entry and no symmetric test saw it."""
    for y in range(4):
        certain = torch.eye(4, dtype=torch.float64).log()  # sure of each class in turn
        target = torch.full((4,), y)
        value = evaluate(engine, lm.ExpectedCost(), certain, target, ASYMMETRIC)
        assert value.tolist() == ASYMMETRIC[y].tolist()


@every_engine
@pytest.mark.parametrize(
    "loss",
    [loss for loss in LOSSES.values() if loss.reads != "gains"],
    ids=repr,
)
def test_the_worse_the_mistake_the_higher_the_loss(loss: lm.Loss, engine: Engine) -> None:
    """Terms in which p underflowed were left out, so the worst mistake cost nothing."""
    gaps = torch.tensor([0.0, 5.0, 20.0, 60.0, 120.0, 1e3, 1e4])
    logits = torch.zeros(len(gaps), 4)
    logits[:, 3] = gaps
    target = torch.full((len(gaps),), 1)  # D[1, 3] is the costliest entry
    value, _ = gradient_of(engine, loss, logits, target, table_for(loss))
    assert (value.diff() >= -1e-6 * value[1:].abs()).all()
    assert value[-1] > value[0]


@every_engine
@pytest.mark.parametrize("ignore_index", [-100, 255, -1, 0, 2])
@every_loss
def test_an_ignored_target_is_nobodys_class(
    loss: lm.Loss, engine: Engine, ignore_index: int
) -> None:
    """−100 was mapped to class 0, or only values ≥ 0 were masked."""
    logits = torch.randn(6, 4, generator=RANDOM().manual_seed(4))
    target = torch.tensor([1, 3, 1, 3, 1, 3])
    target[[1, 4]] = ignore_index
    kept = torch.tensor([0, 2, 3, 5])
    D = table_for(loss)
    value = evaluate(engine, loss, logits, target, D, ignore_index=ignore_index, reduction="mean")
    torch.testing.assert_close(
        value, evaluate(engine, loss, logits[kept], target[kept], D, reduction="mean")
    )


@every_engine
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@every_loss
def test_a_batch_in_which_nothing_counts_can_still_be_differentiated(
    loss: lm.Loss, engine: Engine, reduction: str
) -> None:
    """A fresh zero without a graph made backward raise."""
    logits = torch.randn(3, 4, requires_grad=True)
    value = evaluate(
        engine, loss, logits, torch.full((3,), -100), table_for(loss), reduction=reduction
    )
    assert value.requires_grad
    assert value.isnan() if reduction == "mean" else (value == 0).all()
    if reduction == "sum":
        value.backward()
        assert logits.grad is not None
        assert (logits.grad == 0).all()


def test_constants_may_be_added_to_a_truth_but_not_to_a_decision() -> None:
    """Two tools normalised costs per predicted column, which changes decisions."""
    probs = torch.rand(500, 4, generator=RANDOM().manual_seed(5)).softmax(1)
    added = torch.tensor([3.0, -1.0, 2.0, 0.5], dtype=torch.float64)
    decision = lm.decide(probs, ASYMMETRIC)
    assert (lm.decide(probs, ASYMMETRIC + added[:, None]) == decision).all()
    assert (lm.decide(probs, lm.Dense(ASYMMETRIC).regret()) == decision).all()
    assert (lm.decide(probs, ASYMMETRIC + added[None, :]) != decision).any()


@pytest.mark.parametrize("costs", [lm.Ordinal(6), lm.Ordinal(6, power=2), lm.ZeroOne(6)], ids=repr)
def test_soft_targets_peak_at_their_own_class_and_sum_to_one(costs: lm.CostMatrix) -> None:
    """A table of soft labels was centred on class 0 in every row, and summed to anything."""
    (term,) = lm.SoftTargetCrossEntropy(temperature=0.5).bind(costs)
    assert term.costs is not None
    table = term.costs.to_dense().double()
    assert (table.argmax(1) == torch.arange(6)).all()
    torch.testing.assert_close(table.sum(1), torch.ones(6, dtype=torch.float64))


@every_engine
@pytest.mark.parametrize(
    "loss",
    [loss for loss in LOSSES.values() if loss.reads != "gains"],
    ids=repr,
)
def test_the_truth_costs_less_than_any_mistake(loss: lm.Loss, engine: Engine) -> None:
    """A cost times +log(1 − s), and a minus sign forgotten, fell without bound."""
    D = table_for(loss)
    logits = 6.0 * torch.eye(4, dtype=torch.float64)
    for y in range(4):
        value = evaluate(engine, loss, logits, torch.full((4,), y), D)
        assert value.argmin() == y


def test_expected_costs_are_weighted_by_the_probability_of_the_truth() -> None:
    """A forum answer weighted them by that of the decision and reported (0.35, 6.5)."""
    probs, D = torch.tensor([[0.35, 0.65]]), [[0.0, 10.0], [1.0, 0.0]]
    torch.testing.assert_close(lm.conditional_risk(probs, D), torch.tensor([[0.65, 3.5]]))
    assert lm.decide(probs, D).tolist() == [0]
    assert lm.decide(torch.tensor([[0.05, 0.95]]), D).tolist() == [1]
    criterion = lm.Criterion(lm.CrossEntropy(), D)
    assert criterion.decide(probs.log()).tolist() == [0]


@pytest.mark.parametrize("reduction", ["Sum", "elementwise_mean", "batchmean", "", None])
def test_a_misspelt_reduction_is_found_when_the_criterion_is_made(reduction: str) -> None:
    """PyTorch accepts any word there and fails hours later at the first call."""
    with pytest.raises(ValueError, match="is not a valid value for reduction"):
        lm.Criterion(lm.CrossEntropy(), reduction=reduction)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"label_smoothing must be between 0\.0 and 1\.0"):
        lm.Criterion(lm.CrossEntropy(), label_smoothing=1.5)


@every_engine
@every_loss
def test_the_value_returned_is_the_objective_that_is_minimised(
    loss: lm.Loss, engine: Engine
) -> None:
    """A ratio of detached terms printed the same number whatever was learnt."""
    if holds_weight_constant(loss):
        return
    logits = torch.randn(3, 4, generator=RANDOM().manual_seed(6), dtype=torch.float64)
    target, D = torch.tensor([0, 3, 1]), table_for(loss)
    value, gradient = gradient_of(engine, loss, logits, target, D)
    step = 1e-4 * gradient / gradient.abs().max()
    moved, _ = gradient_of(engine, loss, logits - step, target, D)
    descent = (value - moved).sum().item()
    assert descent == pytest.approx((gradient * step).sum().item(), rel=1e-2)


@every_target
@every_engine
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@every_loss
def test_costs_in_double_precision_promote_nothing(
    loss: lm.Loss, engine: Engine, dtype: torch.dtype, targets: str
) -> None:
    """A float64 matrix, numpy's default, turned half precision losses into float64."""
    logits = torch.randn(3, 4, generator=RANDOM().manual_seed(7)).to(dtype)
    target, D = torch.tensor([0, 3, 1]), table_for(loss)
    assert D.dtype == torch.float64
    y = torch.eye(4, dtype=dtype)[target] if targets == PROBABILITIES else target
    value, gradient = gradient_of(engine, loss, logits, y, D)
    assert value.dtype == gradient.dtype == dtype
    if loss.reads != "gains":
        criterion = lm.Criterion(loss, D.numpy())
        assert criterion(logits, target).dtype == dtype


def test_costs_follow_the_module_and_are_never_rounded() -> None:
    """Costs kept as a plain attribute stayed behind on ``.to``; ``.half()`` made 70 000 ∞."""
    D = torch.tensor([[0.0, 70000.1], [0.3, 0.0]])
    criterion = lm.Criterion(lm.CrossEntropy() + lm.ExpectedCost(), D, weight=torch.ones(2))
    net = nn.Sequential(nn.Linear(2, 2), criterion)
    for move in (net.half, net.bfloat16, net.double, net.float, lambda: net.to(torch.float16)):
        move()
        assert criterion.costs is not None
        assert torch.equal(criterion.costs.to_dense(), D)
        assert all(table.dtype == torch.float32 for table in criterion.costs.tables.values())
    meta = net.to("meta")[1]
    assert {buffer.device.type for buffer in meta.buffers()} == {"meta"}
    assert all(table.is_meta for table in meta.costs.tables.values())
    assert all(
        t.is_meta for term in meta.bound.terms if term.costs for t in term.costs.tables.values()
    )


@every_engine
def test_the_scale_of_a_loss_moves_neither_with_the_number_of_classes_nor_with_weights(
    engine: Engine,
) -> None:
    """A mean over classes, weights that sum to 1 and a matrix divided by its maximum hid λ."""
    for C in (3, 30):
        D = 2.0 * (1.0 - torch.eye(C))
        logits, target = torch.zeros(4, C), torch.arange(4) % C
        uniform = evaluate(engine, lm.ExpectedCost(), logits, target, D, reduction="mean")
        assert uniform.item() == pytest.approx(2.0 * (1 - 1 / C))
        weight = torch.linspace(1.0, 2.0, C)
        logits = torch.randn(4, C, generator=RANDOM().manual_seed(8))
        small, large = (
            evaluate(engine, lm.Unlikelihood(), logits, target, D, weight=w, reduction="mean")
            for w in (weight, 10.0 * weight)
        )
        torch.testing.assert_close(small, large)


def test_cross_entropy_times_cost_is_named_for_what_it_is() -> None:
    """Near certainty CE · E[cost] is small of second order, so it is neither proper nor a rule."""
    loss = lm.CostFocal(gamma=1.0)
    assert (loss.decides, loss.proper, loss.convex) == (None, False, False)
    with pytest.raises(ValueError, match="has no decision rule of its own"):
        lm.Criterion(loss, ASYMMETRIC).decide(torch.zeros(1, 4))
    near = torch.tensor([[0.0, 8.0, 0.0, 0.0]])  # sure of the truth, 1: q ≈ 10⁻³
    y = torch.tensor([1])
    product, added = loss(near, y, ASYMMETRIC), lm.CrossEntropy() + lm.ExpectedCost()
    assert product < 1e-5 < 1e-3 < added(near, y, ASYMMETRIC)


@every_engine
def test_expected_cost_alone_is_flat_at_confident_mistakes_and_the_sum_is_not(
    engine: Engine,
) -> None:
    """An expected-cost loss that does not train: its gradient fades with the gap."""
    logits, target = torch.tensor([[0.0, 20.0, 0.0, 0.0]]), torch.tensor([3])
    _, flat = gradient_of(engine, lm.ExpectedCost(), logits, target, ASYMMETRIC)
    _, steep = gradient_of(
        engine, lm.CrossEntropy() + lm.ExpectedCost(), logits, target, ASYMMETRIC
    )
    assert 0 < flat.abs().max() < 1e-7
    assert steep.abs().max() > 0.9


@probabilities
@every_engine
@every_loss
def test_soft_targets_are_not_hardened(loss: lm.Loss, engine: Engine) -> None:
    """Probabilities of shape (N, C) were silently replaced by their argmax."""
    logits = torch.randn(1, 4, generator=RANDOM().manual_seed(9), dtype=torch.float64)
    D = table_for(loss)
    soft = torch.tensor([[0.6, 0.4, 0.0, 0.0]], dtype=torch.float64)
    value = evaluate(engine, loss, logits, soft, D)
    hard = [evaluate(engine, loss, logits, torch.tensor([i]), D) for i in (0, 1)]
    assert not torch.allclose(value, hard[0])
    torch.testing.assert_close(value, 0.6 * hard[0] + 0.4 * hard[1])  # mixup


def test_everything_exists_before_the_first_forward() -> None:
    """A matrix built lazily on the first call was absent from checkpoints and broke tracing."""
    made = lm.Criterion(lm.Unlikelihood() + lm.DecisionScore(), ASYMMETRIC, weight=torch.ones(4))
    before = {name: tensor.data_ptr() for name, tensor in made.named_buffers()}
    fresh = lm.Criterion(lm.Unlikelihood() + lm.DecisionScore(), ASYMMETRIC, weight=torch.zeros(4))
    fresh.load_state_dict(made.state_dict())
    assert set(made.state_dict()) == {"weight"}
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(fresh(logits, target), made(logits, target))
    assert {name: tensor.data_ptr() for name, tensor in made.named_buffers()} == before


@pytest.mark.parametrize("soft", [False, True])
def test_no_python_loop_breaks_the_graph(soft: bool) -> None:
    """Per-sample loops with .item() waited for the device at every row."""
    criterion = lm.Criterion(lm.CrossEntropy() + lm.Unlikelihood(), ASYMMETRIC)
    logits, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    if soft:
        target = torch.eye(4)[target]
    torch._dynamo.reset()
    explained = torch._dynamo.explain(criterion)(logits, target)
    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1
    one = torch.compile(criterion, backend="eager", fullgraph=True)(logits, target)
    torch.testing.assert_close(one, criterion(logits, target))


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.int64, "Long"), (torch.bool, "Bool")], ids=["int64", "bool"]
)
def test_integer_one_hot_targets_are_refused_in_pytorchs_words(
    dtype: torch.dtype, name: str
) -> None:
    """Copies of CrossEntropyLoss differ here: some harden, some multiply."""
    one_hot = torch.eye(3).to(dtype)
    message = f"Expected floating point type for target with class probabilities, got {name}"
    with pytest.raises(RuntimeError, match=message):
        lm.Criterion(lm.CrossEntropy())(torch.randn(3, 3), one_hot)


@every_engine
@every_loss
def test_what_is_called_logits_are_logits(loss: lm.Loss, engine: Engine) -> None:
    """An argument named ``logits`` had to hold probabilities; real logits gave NaN."""
    logits = torch.tensor([[-9.5, 3.0, 1.5, -0.2], [40.0, 1.0, 2.0, -30.0]])
    target, D = torch.tensor([1, 0]), table_for(loss)
    raw, _ = gradient_of(engine, loss, logits, target, D)
    normalised, _ = gradient_of(engine, loss, logits.log_softmax(1), target, D)
    assert raw.isfinite().all()
    torch.testing.assert_close(raw, normalised, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="pass logits through softmax"):
        lm.decide(logits, D)  # and what is called probs are probabilities


@every_engine
def test_a_cost_on_the_diagonal_means_what_each_loss_documents(engine: Engine) -> None:
    """One implementation included D[y, y], one overwrote it, one removed it, none said so."""
    logits = torch.randn(4, 4, generator=RANDOM().manual_seed(10), dtype=torch.float64)
    target, price = torch.arange(4), torch.tensor([0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    D = ASYMMETRIC + price.diag()
    right = logits.softmax(1).diagonal()

    expected = evaluate(engine, lm.ExpectedCost(), logits, target, D)
    without = evaluate(engine, lm.ExpectedCost(), logits, target, ASYMMETRIC)
    torch.testing.assert_close(expected, without + price * right)  # paid with probability p_y

    unlikely = evaluate(engine, lm.Unlikelihood(), logits, target, D)
    without = evaluate(engine, lm.Unlikelihood(), logits, target, ASYMMETRIC)
    torch.testing.assert_close(unlikely, without, rtol=0, atol=0)  # only mistakes count

    sure = torch.eye(2)
    assert lm.decide(sure, [[5.0, 1.0], [1.0, 0.0]]).tolist() == [1, 1]  # decisions use it
