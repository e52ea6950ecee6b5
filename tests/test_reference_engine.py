# SPDX-License-Identifier: BSD-3-Clause
"""The reference engine: p and 1 − p to full precision, blocks of rows, any order of derivative."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from registry import ASYMMETRIC, SYMMETRIC, every_loss, parts, refuses, table_for
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lossmatrix as lm
from lossmatrix.engines import reference
from lossmatrix.engines.reference import Softmax, cells_of
from lossmatrix.testing import gradient

# --- p, q and their logarithms -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("gap", [0.0, 1.0, 17.0, 40.0, 80.0, 1e4])
def test_p_and_q_and_their_logarithms_have_full_relative_precision(
    gap: float, dtype: torch.dtype
) -> None:
    softmax = Softmax(torch.tensor([[0.0, gap, -1.0]], dtype=dtype))
    o = -gap + math.log1p(math.exp(-1.0))  # log odds against the leader
    small = 1 / (1 + math.exp(-o)) if o > -700 else 0.0
    tolerance = 8 * torch.finfo(dtype).eps * (1 + gap)
    assert softmax.q[0, 1].item() == pytest.approx(small, rel=tolerance, abs=1e-37)
    assert softmax.p[0, 1].item() == pytest.approx(1 - small, rel=tolerance)
    assert softmax.log_q[0, 1].item() == pytest.approx(o - math.log1p(math.exp(o)), rel=tolerance)
    log_p = softmax.log_p[0, 1].item()
    assert log_p == pytest.approx(-math.log1p(math.exp(o)), rel=tolerance, abs=1e-37)
    assert softmax.log_p[0, 0].item() == pytest.approx(-gap + log_p, rel=tolerance)


@pytest.mark.parametrize("gap", [0.0, 1.0, 17.0, 30.0])
def test_the_slope_of_p_along_another_logit_has_full_relative_precision(gap: float) -> None:
    z = torch.tensor([1.0, gap, -2.0, -5.0])
    slopes = torch.autograd.functional.jacobian(lambda z: Softmax(z[None]).p[0], z)
    p = z.double().softmax(0)
    expected = p.diag() - p[:, None] * p
    others = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(slopes.double()[others], expected[others], rtol=4e-6, atol=0)


def test_probabilities_and_their_complements_sum_to_one() -> None:
    softmax = Softmax(5.0 * torch.randn(50, 6, dtype=torch.float64))
    torch.testing.assert_close(softmax.p.sum(1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(softmax.p + softmax.q, torch.ones(50, 6, dtype=torch.float64))


def test_equal_leaders_are_no_special_case() -> None:
    softmax = Softmax(torch.tensor([[3.0, 3.0], [3.0, 3.0 + 1e-6], [-2.0, -2.0]]))
    torch.testing.assert_close(softmax.p, torch.full((3, 2), 0.5))
    torch.testing.assert_close(softmax.log_q, torch.full((3, 2), math.log(0.5)))


def test_a_leader_without_rivals_is_certain() -> None:
    for logits in (torch.tensor([[7.0]]), torch.tensor([[-math.inf, 7.0, -math.inf]])):
        softmax = Softmax(logits)
        top = int(logits.argmax())
        assert softmax.p[0, top] == 1
        assert softmax.q[0, top] == 0
        assert softmax.log_p[0, top] == 0
        assert softmax.log_q[0, top] == -math.inf


# --- the closed form that kernels are made of ----------------------------------------------------


@every_loss
@pytest.mark.parametrize("scale", [1.0, 10.0, 60.0])
def test_the_gradient_from_dual_numbers_is_the_one_of_autograd(loss: lm.Loss, scale: float) -> None:
    D, target = table_for(loss), torch.arange(9) % 4
    generator = torch.Generator().manual_seed(4)
    z = scale * torch.randn(9, 4, dtype=torch.float64, generator=generator)
    for term in loss.bind(None if loss.reads is None else loss.matrix(D)):
        if isinstance(term.loss, lm.DecisionScore | lm.EnergyScore):
            continue  # no sums over classes of what one class says of itself
        logits = z.clone().requires_grad_()
        hard = torch.eye(4, dtype=torch.float64)[target]
        cost = torch.zeros_like(z) if term.costs is None else term.costs.row(target)
        cells = cells_of(term.loss, Softmax(logits), hard, cost, term.costs)
        totals = term.loss.term(cells)
        totals = totals if isinstance(totals, tuple) else (totals,)
        value = term.loss.loss(*(total.sum(-1) for total in totals))
        (expected,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        got = gradient(term.loss, cells)
        budget = 1e-12 * (1 + scale) * expected.abs().amax(1, keepdim=True)
        assert ((got - expected).abs() <= budget + 1e-300).all()


# --- blocks of rows ------------------------------------------------------------------------------

KINDS = {
    "table": lm.Dense(ASYMMETRIC),
    "metric": lm.Dense(SYMMETRIC),
    "line": lm.Ordinal(4),
    "tree": lm.Tree([("a", "0"), ("a", "1"), ("b", "2"), ("b", "3")]),
    "zero-one": lm.ZeroOne(4),
    "matrices": lm.PerExample.matrices(
        SYMMETRIC * torch.linspace(1, 2, 14, dtype=torch.float64)[:, None, None]
    ),
    "rows": lm.PerExample(ASYMMETRIC[torch.arange(14) % 4] + 0.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@every_loss
def test_blocks_of_rows_give_what_one_block_gives(
    loss: lm.Loss, soft: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = KINDS[kind]
    whole_rows = any(isinstance(part, lm.EnergyScore | lm.DecisionScore) for part in parts(loss))
    if loss.reads == "gains" or refuses(loss, costs):
        return
    if kind == "rows" and (soft or whole_rows):
        return  # rows of one truth each say nothing about the others
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(7, 4, 2, dtype=torch.float64, generator=generator)
    target = torch.randint(4, (7, 2), generator=generator)
    target[2, 1] = -100
    weight = torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=torch.float64)
    y = logits.softmax(1).flip(0) if soft else target
    options: dict[str, Any] = {"weight": weight, "reduction": "none", "engine": "reference"}
    whole = loss(logits, y, costs, **options)
    monkeypatch.setattr(reference, "BLOCK", 12)  # 3 rows at a time, and 2 in the last block
    blocks = loss(logits, y, costs, **options)
    torch.testing.assert_close(blocks, whole, rtol=1e-14, atol=1e-14)
    with_graph = loss(logits.clone().requires_grad_(), y, costs, **options)
    torch.testing.assert_close(with_graph.detach(), blocks, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(7, 4, 2), (3, 4, 5)], ids=["samples", "cut samples"])
def test_gradients_of_blocks_are_those_of_the_whole_formula(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under an upstream of its own for every row, with ignored rows that hold no numbers."""
    monkeypatch.setattr(reference, "BLOCK", 12)  # 3 rows at a time
    generator = torch.Generator().manual_seed(7)
    z = torch.randn(shape, dtype=torch.float64, generator=generator)
    target = torch.randint(4, (shape[0], shape[2]), generator=generator)
    upstream = torch.rand(target.shape, dtype=torch.float64, generator=generator)
    target[1, 1], target[2, 0] = -100, -100
    z[1, :, 1], z[2, 0, 0] = math.nan, math.inf
    loss, D = lm.CrossEntropy() + lm.CostFocal(), ASYMMETRIC
    z.requires_grad_()
    rows = loss(z, target, D, reduction="none", engine="reference")
    (slopes,) = torch.autograd.grad(rows, z, upstream, create_graph=True)
    (curved,) = torch.autograd.grad((slopes * slopes).sum(), z)

    def gradient_of(z: Tensor) -> Tensor:
        def value(z: Tensor) -> Tensor:
            rows = loss(z, target, D, reduction="none", engine="reference")
            return (rows * upstream).sum()

        return torch.func.grad(value)(z)  # the formulas on all rows

    expected = gradient_of(z.detach())
    torch.testing.assert_close(slopes.detach(), expected)
    (again,) = torch.autograd.grad(
        loss(z, target, D, reduction="none", engine="reference"), z, upstream
    )
    torch.testing.assert_close(again, expected)
    assert (again.movedim(1, -1)[target == -100] == 0).all()
    of_squares = torch.func.grad(lambda z: (gradient_of(z) ** 2).sum())(z.detach())
    torch.testing.assert_close(curved, of_squares)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize(
    "loss",
    [lm.CrossEntropy(), lm.Unlikelihood(), lm.EnergyScore(), lm.DecisionScore(), lm.CostFocal()],
    ids=repr,
)
def test_weights_that_sum_to_zero_over_a_row_are_weights_all_the_same(
    loss: lm.Loss, smoothing: float
) -> None:
    weight = torch.tensor([1.0, -1.0, 2.0, -3.0], dtype=torch.float64)
    probs = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.6, 0.4], [0.1, 0.2, 0.3, 0.4]])
    probs = probs.double()
    z = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    options: dict[str, Any] = {"reduction": "none", "engine": "reference"}
    got = loss(z, probs, SYMMETRIC, weight=weight, label_smoothing=smoothing, **options)
    masses = weight * ((1 - smoothing) * probs + smoothing / 4)
    each = [loss(z, torch.full((3,), i), SYMMETRIC, **options) for i in range(4)]
    torch.testing.assert_close(got, (torch.stack(each, 1) * masses).sum(1))


class Largest(TorchDispatchMode):
    """Watches the numbers made while it is on: the largest tensor, and how many numbers in all."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return result


def test_without_a_graph_memory_stays_bounded_for_sixteen_million_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reference, "BLOCK", 2**16)
    num_rows, num_classes = 2**14, 2**10  # a view of one row, to keep the test itself light
    row = torch.randn(1, num_classes, generator=torch.Generator().manual_seed(1))
    logits = row.expand(num_rows, num_classes)
    target = torch.arange(num_rows) % num_classes
    loss, costs = lm.CrossEntropy() + lm.Unlikelihood(), lm.Ordinal(num_classes)
    with torch.no_grad(), Largest() as watch:
        value = loss(logits, target, costs, engine="reference")
    assert watch.largest <= 8 * reference.BLOCK  # bytes: costs of one block in float64
    expected = loss(row.expand(num_classes, -1), torch.arange(num_classes), costs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "costs",
    [lm.Ordinal(20_000), lm.Tree([(str(i % 100), str(i)) for i in range(20_000)])],
    ids=["line", "tree"],
)
@every_loss
def test_no_loss_looks_at_every_pair_of_many_classes(loss: lm.Loss, costs: lm.CostMatrix) -> None:
    if loss.reads == "gains":
        return
    logits = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(2))
    with Largest() as watch:
        value = loss(logits, torch.tensor([0, 19_999, 77]), costs, engine="reference")
    assert value.isfinite()
    assert watch.largest <= 20 * 8 * 20_000  # a few rows; D itself has 400 million entries


def test_a_row_longer_than_a_block_is_a_block_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "BLOCK", 3)
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(
        lm.CrossEntropy()(logits, target, engine="reference"),
        torch.nn.functional.cross_entropy(logits, target),
    )


# --- costs that are learnt -----------------------------------------------------------------------


def with_unit_of(loss: lm.Loss, D: Tensor, before: float) -> lm.Loss:
    """The loss whose parameters keep their size in the units of D as D moves."""
    ratio = before / lm.Dense(D.detach()).unit
    for name, power in (("tau", 1), ("temperature", 1), ("lam", -1)):
        if hasattr(loss, name):
            return dataclasses.replace(loss, **{name: getattr(loss, name) * ratio**power})  # type: ignore[type-var]
    return loss


@every_loss
def test_costs_that_require_a_gradient_get_the_right_one(loss: lm.Loss) -> None:
    """Parameters in units of D, and the largest cost of ``CostFocal``, are numbers held fixed."""
    if loss.reads is None or len(parts(loss)) > 1 or isinstance(loss, lm.CostFocal):
        return
    if isinstance(loss, lm.EnergyScore):
        return  # moving one entry breaks the symmetry it asks for
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    target = torch.arange(6) % 4
    D = (ASYMMETRIC + 0.25).requires_grad_()
    before = lm.Dense(D.detach()).unit

    def value(D: Tensor) -> Tensor:
        return with_unit_of(loss, D, before)(logits, target, D, reduction="none")

    assert torch.autograd.gradcheck(value, (D,))


def test_criterion_lets_costs_be_learnt_per_batch() -> None:
    D = torch.tensor(ASYMMETRIC.tolist(), requires_grad=True)
    criterion = lm.Criterion(lm.ExpectedCost(), ASYMMETRIC, engine="reference")
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    criterion(logits, target, costs=D).backward()
    expected = torch.zeros(4, 4).index_add(0, target, logits.softmax(1)) / 5
    assert D.grad is not None
    torch.testing.assert_close(D.grad, expected)
