# SPDX-License-Identifier: BSD-3-Clause
"""Cost matrices as citizens of PyTorch: gradients, transforms, compilation, devices, copies."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from test_costs import KINDS, every_case, every_kind, off_the_truth
from torch import Tensor

import lossmatrix as lm

COMPILED = {
    "dense": lm.Dense([[0, 1, 9], [1, 0, 4], [9, 3, 0]]),
    "zero-one": lm.ZeroOne(3),
    "ordinal": lm.Ordinal(3, positions=[0, 5, 2]),
    "ordinal, other power": lm.Ordinal(3, power=1.5),
    "tree": lm.Tree([("a", "x"), ("b", "y"), ("a", "z")]),
    "low rank": lm.LowRank([[1.0], [2.0], [4.0]], [[3.0], [0.5], [1.0]]),
    "distances": lm.LowRank.squared_distances([[1.0], [2.0], [4.0]]),
    "sparse": lm.Sparse(3, [(0, 1, 5), (2, 2, 1)]),
    "sparse, none": lm.Sparse(3, []),
    "adjusted": lm.Sparse(3, [(0, 0, 5)]).scaled(2).regret().with_abstain(1),
    "mapped": lm.Ordinal(3).map_rows(off_the_truth),
}


@every_case
def test_gradients_of_expected_are_right_twice(costs: lm.CostMatrix, D: Tensor) -> None:
    probs = torch.rand(2, D.shape[0], dtype=torch.float64, requires_grad=True)
    version = probs._version
    (gradient,) = torch.autograd.grad(costs.expected(probs)[1, -1], probs)
    torch.testing.assert_close(gradient[1], D[:, -1], rtol=1e-12, atol=1e-12)
    assert not gradient[0].any()
    upstream = torch.randn(2, D.shape[1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(costs.expected(probs), probs, upstream, create_graph=True)
    torch.testing.assert_close(gradient, upstream @ D.T, rtol=1e-12, atol=1e-11)
    (twice,) = torch.autograd.grad(gradient[0, 0], upstream)
    torch.testing.assert_close(twice[0], D[0], rtol=1e-12, atol=1e-12)
    assert probs._version == version


@every_kind
def test_gradcheck_of_a_function_of_expected(costs: lm.CostMatrix) -> None:
    logits = torch.randn(2, costs.num_classes, dtype=torch.float64, requires_grad=True)

    def square_of_costs(z: Tensor) -> Tensor:
        return costs.expected(z.softmax(-1)).square().sum()

    assert torch.autograd.gradcheck(square_of_costs, logits)
    assert torch.autograd.gradgradcheck(square_of_costs, logits)


def test_a_table_that_is_learned_has_a_gradient() -> None:
    table = torch.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    costs = lm.Dense(table)
    for value in (
        costs.expected(torch.tensor([0.25, 0.75]))[0],
        costs.scaled(2).row(torch.tensor(1))[0],
        lm.LowRank(table, table).expected(torch.tensor([0.25, 0.75]))[0],
    ):
        (gradient,) = torch.autograd.grad(value, table)
        assert gradient.any()


@every_case
def test_answers_are_bitwise_repeatable(costs: lm.CostMatrix, D: Tensor) -> None:
    probs = torch.rand(5, D.shape[0], requires_grad=True)
    answers = [costs.expected(probs) for _ in range(2)]
    assert torch.equal(*answers)
    gradients = [torch.autograd.grad(answer.square().sum(), probs)[0] for answer in answers]
    assert torch.equal(*gradients)


@every_kind
def test_autocast_changes_nothing(costs: lm.CostMatrix) -> None:
    costs = costs.scaled(1.5).with_abstain(0.3)
    probs = torch.rand(3, costs.num_classes)
    target = torch.tensor([0, costs.num_classes - 1])
    outside = costs.expected(probs), costs.row(target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = costs.expected(probs), costs.row(target)
    for a, b in zip(inside, outside, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by Dynamo
@pytest.mark.parametrize("costs", COMPILED.values(), ids=COMPILED)
def test_row_and_expected_compile_without_a_break(costs: lm.CostMatrix) -> None:
    torch._dynamo.reset()

    def both(probs: Tensor, target: Tensor) -> Tensor:
        return (costs.expected(probs) * costs.row(target)).sum()

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    target = torch.tensor([2, 0, 1, 1])
    probs = [torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    for p, fn in zip(probs, (both, compiled), strict=True):
        p.requires_grad_()
        fn(p, target).backward()
    torch.testing.assert_close(compiled(probs[0], target), both(probs[0], target))
    torch.testing.assert_close(probs[1].grad, probs[0].grad)


@every_kind
def test_vmap_and_func_grad_agree_with_the_batch(costs: lm.CostMatrix) -> None:
    probs = torch.rand(4, 3, costs.num_classes, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(costs.expected)(probs), costs.expected(probs))
    swapped = torch.func.vmap(costs.expected, in_dims=1, out_dims=1)(probs)
    torch.testing.assert_close(swapped, costs.expected(probs))

    def total(p: Tensor) -> Tensor:
        return costs.expected(p).square().sum()

    gradient = torch.func.vmap(torch.func.grad(total))(probs)
    torch.testing.assert_close(gradient, torch.func.grad(total)(probs))
    target = torch.randint(costs.num_classes, (4, 2))
    torch.testing.assert_close(torch.func.vmap(costs.row)(target), costs.row(target))


@every_case
def test_copies_are_equal_and_work(costs: lm.CostMatrix, D: Tensor) -> None:
    target = torch.arange(D.shape[0])
    for twin in (copy.deepcopy(costs), pickle.loads(pickle.dumps(costs))):
        assert twin == costs
        assert hash(twin) == hash(costs)
        assert torch.equal(twin.row(target), costs.row(target))


@every_case
def test_tables_move_with_their_dtype_and_whole_numbers_stay(
    costs: lm.CostMatrix, D: Tensor
) -> None:
    unit = costs.unit
    narrow = costs.to(dtype=torch.float32)
    assert {t.dtype for t in narrow.tables.values()} <= {torch.float32, torch.int64}
    assert narrow.unit == unit
    torch.testing.assert_close(narrow.to_dense().float(), D.float(), rtol=1e-5, atol=1e-5)
    assert narrow.shape == costs.shape
    wide = narrow.to(dtype=torch.float64)
    assert {t.dtype for t in wide.tables.values()} <= {torch.float64, torch.int64}
    if costs.tables:
        assert (narrow == wide) == (narrow.tables.keys() == set())
        meta = costs.to("meta")
        probs = torch.rand(2, D.shape[0], device="meta")
        assert meta.expected(probs).shape == (2, D.shape[1])
        assert meta.row(torch.zeros(3, dtype=torch.int64, device="meta")).shape == (3, D.shape[1])
        with pytest.raises(ValueError, match=r"target is on cpu .* costs.to\('cpu'\)"):
            meta.row(torch.tensor([0]))


@every_case
def test_tables_go_out_and_in_again(costs: lm.CostMatrix, D: Tensor) -> None:
    again = costs.with_tables({k: t.clone() for k, t in reversed(costs.tables.items())})
    assert again == costs
    weights = torch.rand(2, D.shape[0])
    assert torch.equal(again.expected(weights), costs.expected(weights))
    with pytest.raises(ValueError, match="expected"):
        costs.with_tables({**costs.tables, "other": torch.zeros(1)})
    for name in costs.tables:
        with pytest.raises(ValueError, match=name):
            costs.with_tables({**costs.tables, name: torch.zeros(7, 7)})


def test_names_of_tables_can_be_names_of_buffers() -> None:
    module = torch.nn.Module()
    costs = lm.Sparse(3, []).scaled(2).with_abstain(1).map_rows(off_the_truth)
    for name, table in costs.tables.items():
        module.register_buffer(name, table, persistent=False)
    assert dict(module.named_buffers()).keys() == costs.tables.keys()
    assert all(map(str.isidentifier, costs.tables))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_costs_are_not_kept_in_other_precisions(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        lm.Ordinal(3).to(dtype=dtype)


def test_equality_looks_at_everything() -> None:
    costs = lm.Dense([[0, 1], [2, 0]], classes=["a", "b"])
    different = [
        lm.Dense([[0, 1], [3, 0]], classes=["a", "b"]),
        lm.Dense([[0, 1], [2, 0]], classes=["a", "c"]),
        lm.Dense([[0, 1], [2, 0]], classes=["a", "b"], decisions=["a", "c"]),
        lm.Dense([[0, 1, 2], [2, 0, 2]], classes=["a", "b"], decisions=["a", "b", "c"]),
        costs.to(dtype=torch.float32),
        lm.PerExample([[0, 1], [2, 0]], classes=["a", "b"]),
        [[0, 1], [2, 0]],
    ]
    assert all(costs != other for other in different)
    assert costs == lm.Dense(torch.tensor([[0, 1], [2, 0]]), classes=("a", "b"))
    assert lm.Ordinal(3) != lm.Ordinal(3, power=2)
    assert lm.Tree.from_groups("aab") != lm.Tree.from_groups("abb")
    assert lm.Ordinal(3).scaled(2) != lm.Ordinal(3, power=2).scaled(2)
    assert lm.ZeroOne(3).map_rows(off_the_truth) != lm.ZeroOne(3).map_rows(torch.add)
    assert lm.ZeroOne(3) == lm.ZeroOne(["0", "1", "2"])


def test_the_given_tensor_can_change_afterwards() -> None:
    given = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    positions = torch.tensor([0.0, 1.0], dtype=torch.float64)
    matrices = [
        lm.Dense(given),
        lm.LowRank(given, given, row_costs=given[0]),
        lm.LowRank.squared_distances(given),
        lm.Ordinal(2, positions=positions),
    ]
    before = [copy.deepcopy(costs) for costs in matrices]
    given += 1
    positions *= 3
    matrices[0].to_dense().zero_()
    matrices[0].tables.clear()
    assert matrices == before


def test_every_kind_prints_short_and_long() -> None:
    for kind in KINDS.values():
        assert "\n" not in repr(kind.costs)
        assert str(kind.costs).startswith("true ↓ / decided →")
    assert repr(lm.Ordinal(5, power=2)) == "Ordinal(5, power=2)"
    assert repr(lm.Dense([[0, 1, 2], [3, 0, 2]])) == "Dense(2 × 3)"
    assert repr(lm.ZeroOne(3).scaled(2)) == "Adjusted(3, base=ZeroOne(3))"
    soft = lm.ZeroOne(3).soft_targets(0.5)
    assert repr(soft) == "SoftTargets(3, base=ZeroOne(3), temperature=0.5)"
