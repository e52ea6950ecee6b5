# SPDX-License-Identifier: BSD-3-Clause
"""`expected` in float32 and float64 against exact sums, and its price for very many classes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from test_costs import KINDS, every_kind
from torch import Tensor

import lossmatrix as lm


def peaked(C: int, generator: torch.Generator) -> Tensor:
    """Softmax at logit gaps up to 80: one class nearly certain, the rest down to 1e-35."""
    return (40 * torch.randn(8, C, generator=generator, dtype=torch.float64)).softmax(-1)


def weights_that_are_hard(C: int) -> Tensor:
    """Probabilities even, peaked and certain; signed weights, some of sum zero; whole numbers."""
    g = torch.Generator().manual_seed(C)
    even = torch.rand(4, C, generator=g, dtype=torch.float64)
    top, other = peaked(C, g), peaked(C, g)
    rows = [even, top, torch.eye(C, dtype=torch.float64), top - other, even - 0.5, 1e6 * even]
    return torch.cat(rows).float()


def roundings(costs: lm.CostMatrix, weights: Tensor, allowance: float = 0.0) -> float:
    """The error in units of eps · Σ |p|·|D|; `allowance` is what float64 sums may lose besides."""
    D = costs.to_dense().double()
    exact, scale = weights.double() @ D, weights.double().abs() @ D.abs()
    eps = torch.finfo(weights.dtype).eps
    allowed = allowance * weights.double().abs().sum(-1, keepdim=True) * D.abs().max()
    error = (costs.expected(weights).double() - exact).abs() - allowed
    tiny = torch.finfo(torch.float32).tiny
    return (error.clamp(min=0) / (eps * scale + tiny)).max().item()


@every_kind
def test_float32_is_within_a_few_roundings_of_the_exact_sum(costs: lm.CostMatrix) -> None:
    # Products of vectors, and exceptions from a default, are differences of float64 sums.
    differences = isinstance(costs, lm.Sparse) or "left" in costs.tables
    allowance = 1e-14 if differences else 0.0
    assert roundings(costs, weights_that_are_hard(costs.num_classes), allowance) < 4


@every_kind
def test_what_is_saved_on_average_is_no_difference_of_averages(costs: lm.CostMatrix) -> None:
    assert roundings(costs.savings(), weights_that_are_hard(costs.num_classes)) < 4


LARGE = {
    "zero-one": lm.ZeroOne(700),
    "ordinal": lm.Ordinal(700),
    "ordinal, squared": lm.Ordinal(700, power=2),
    "ordinal, far apart": lm.Ordinal(
        700, power=2, positions=[1e4 * (i * 7919 % 701) ** 2 for i in range(700)]
    ),
    "ordinal, far from zero": lm.Ordinal(700, positions=[1e9 + 0.25 * i for i in range(700)]),
    "ordinal, other power": lm.Ordinal(700, power=1.5),
    "tree": lm.Tree([(str(i % 3), str(i % 21), str(i % 210), f"c{i}") for i in range(700)]),
    "scaled with abstain": lm.Ordinal(700).scaled(0.37).with_abstain(3.3),
}


@pytest.mark.parametrize("costs", LARGE.values(), ids=LARGE)
def test_roundings_do_not_add_up_with_the_number_of_classes(costs: lm.CostMatrix) -> None:
    assert roundings(costs, weights_that_are_hard(700)) < 16


@pytest.mark.parametrize(
    "costs",
    [
        lm.ZeroOne(5),
        lm.Ordinal(5),
        lm.Ordinal(5, power=2),
        lm.Tree([*map(tuple, ["av", "aw", "bx", "by", "bz"])]),
    ],
    ids=repr,
)
def test_what_is_left_when_one_class_is_nearly_certain_keeps_its_digits(
    costs: lm.CostMatrix,
) -> None:
    probs = [Fraction(1), *(Fraction(2) ** -(60 + 3 * i) for i in range(4))]
    D = costs.to_dense()
    for top in range(5):
        turned = probs[-top:] + probs[:-top] if top else probs
        exact = [
            float(sum(p * Fraction(D[i, j].item()) for i, p in enumerate(turned))) for j in range(5)
        ]
        for dtype in (torch.float32, torch.float64):
            weights = torch.tensor([float(p) for p in turned], dtype=dtype)
            found = costs.expected(weights).double()
            eps = torch.finfo(dtype).eps
            torch.testing.assert_close(found, torch.tensor(exact).double(), rtol=4 * eps, atol=0)


def test_learned_distances_keep_equal_vectors_at_zero() -> None:
    vectors = 1e3 + torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    for costs in (lm.LowRank.squared_distances(vectors), lm.LowRank.cosine_distances(vectors)):
        assert costs.to_dense().diagonal().tolist() == [0] * 30
        assert costs.minimum == 0
        assert costs.is_symmetric
        assert costs.is_conditionally_negative_definite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_kind
def test_half_precision_is_computed_in_float32_and_rounded_once(
    costs: lm.CostMatrix, dtype: torch.dtype
) -> None:
    weights = weights_that_are_hard(costs.num_classes)[:12].to(dtype)
    found = costs.expected(weights)
    assert found.dtype == dtype
    assert torch.equal(found, costs.expected(weights.float()).to(dtype))


@every_kind
def test_the_precision_of_the_table_does_not_change_that_of_the_answer(
    costs: lm.CostMatrix,
) -> None:
    for dtype in (torch.float32, torch.float64):
        for table_dtype in (torch.float32, torch.float64):
            weights = torch.rand(2, costs.num_classes, dtype=dtype)
            assert costs.to(dtype=table_dtype).expected(weights).dtype == dtype


MILLION = """
import resource, time, torch
from lossmatrix.costs import Ordinal, Tree
torch.set_num_threads(1)
costs, C = {make}, {count}
costs.expected(torch.rand(1, C))  # what is loaded once is not counted
costs.unit
probs = torch.rand(64, C)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
costs.expected(probs)
seconds = time.process_time() - start
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured with resource")
@pytest.mark.parametrize(
    ("make", "count"),
    [
        ("Ordinal(1_000_000)", 1_000_000),
        ("Ordinal(1_000_000, power=2)", 1_000_000),
        ("Tree([(str(i % 10), str(i % 1000), 'c%d' % i) for i in range(10_000)])", 10_000),
    ],
)
def test_64_rows_of_very_many_classes_take_under_2_seconds_and_1_gigabyte(
    make: str, count: int
) -> None:
    code = MILLION.format(make=make, count=count)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, size = map(float, run.stdout.split())
    assert seconds < 2
    assert size < 1e9


def test_other_powers_go_through_blocks_of_rows_without_a_whole_table() -> None:
    # 8,000² costs would take 256 MB; the gradient must not keep the blocks either.
    costs = lm.Ordinal(8_000, power=0.5)
    probs = torch.zeros(1, 8_000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(_refuse_large, lambda saved: saved):
        (gradient,) = torch.autograd.grad(costs.expected(probs)[0, 7], probs)
    torch.testing.assert_close(gradient[0], (torch.arange(8_000.0) - 7).abs().sqrt())


def _refuse_large(saved: Tensor) -> Tensor:
    assert saved.numel() <= 8_000
    return saved


def test_every_kind_is_in_the_catalogue() -> None:
    def kinds(cls: type) -> set[type]:
        found = {cls} if cls.__module__.startswith("lossmatrix") else set()
        return found.union(*(kinds(sub) for sub in cls.__subclasses__()))

    walked = {type(kind.costs).__name__ for kind in KINDS.values()}
    others = {"CostMatrix", "TableCosts", "Wrapper", "Adjusted", "MappedRows", "PerExample"}
    others |= {"Savings", "ZeroDiagonal", "SoftTargets", "PerLabel"}
    assert {kind.__name__ for kind in kinds(lm.CostMatrix)} == walked | others
