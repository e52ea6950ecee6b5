# SPDX-License-Identifier: BSD-3-Clause
"""The native engine: what no other engine can get wrong."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import lossmatrix as lm
from lossmatrix.codegen.cpp import print_cpp
from lossmatrix.codegen.derive import HARD, derive
from lossmatrix.engines.cpu import calls, generate
from lossmatrix.engines.cpu import compile as compiler
from lossmatrix.engines.cpu import engine as native

LOSSES: list[lm.Loss] = [
    *generate.SHIPPED,
    lm.SoftTargetCrossEntropy(0.5),
    lm.CostFocal(0.5),
    lm.CrossEntropy() + 2.0 * lm.SoftmaxMargin(),
]
LAYOUTS = ["rows", "columns", "planes", "sliced"]


def table(num_classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_classes)
    return 5.0 * torch.rand(num_classes, num_classes, generator=generator, dtype=torch.float64)


def metric(num_classes: int) -> Tensor:
    """Distances of points on a line."""
    x = 3.0 * torch.rand(num_classes, generator=torch.Generator().manual_seed(2)).double()
    return (x[:, None] - x).abs()


def problem(num_classes: int, layout: str, scale: float) -> tuple[Tensor, Tensor]:
    """Logits of one memory layout in float64, and targets of which one is ignored."""
    generator = torch.Generator().manual_seed(7)
    shape = (3, num_classes, 5, 7) if layout == "planes" else (37, num_classes)
    logits = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    if layout == "columns":
        logits = logits.t().contiguous().t()
    if layout == "sliced":
        wide = torch.zeros(2 * shape[0] + 1, num_classes + 3, dtype=torch.float64)
        wide[1::2, 2:-1] = logits
        logits = wide[1::2, 2:-1]
    rows = (shape[0], *shape[2:])
    target = torch.randint(0, num_classes, rows, generator=generator)
    target.view(-1)[3] = -100
    return logits, target


def value_and_gradient(
    loss: lm.Loss, logits: Tensor, target: Tensor, D: Tensor, engine: str, upstream: Tensor
) -> tuple[Tensor, Tensor]:
    z = logits.detach().requires_grad_()
    costs = None if loss.reads is None else D
    value = loss(z, target, costs, reduction="none", engine=engine)
    (gradient,) = torch.autograd.grad(value, z, upstream.to(value.dtype))
    return value.double(), gradient.double()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_its_error_is_at_most_twice_the_references(loss: lm.Loss, dtype: torch.dtype) -> None:
    sizes = (1, 2, 3, 5, 16, 17, 48, 255, 257)
    for num_classes, (layout, scale) in zip(
        sizes, itertools.cycle(itertools.product(LAYOUTS, (1.0, 12.0, 300.0))), strict=False
    ):
        exact_logits, target = problem(num_classes, layout, scale)
        logits = exact_logits.to(dtype)
        D = (metric(num_classes) if "EnergyScore" in repr(loss) else table(num_classes)).float()
        D = D.double()
        upstream = 0.5 + torch.rand(target.shape, generator=torch.Generator().manual_seed(1))
        arguments = target, D, "reference", upstream
        exact = value_and_gradient(loss, logits.double(), *arguments)
        reference = value_and_gradient(loss, logits, *arguments)
        ours = value_and_gradient(loss, logits, target, D, "native", upstream)
        representable = exact[0].abs() < torch.finfo(dtype).max
        for mine, its, truth in zip(ours, reference, exact, strict=True):
            if truth.shape == representable.shape:
                mine, its, truth = mine[representable], its[representable], truth[representable]
            # Roundings of the terms, which are as large as loss and gradient: four of ours; in
            # float64 the reference is its own truth, and four of its own count as well.
            largest = max(truth.abs().max(), exact[0][representable].abs().max())
            rounding = torch.finfo(dtype).eps * largest
            roundings = 8.0 if dtype == torch.float64 else 4.0
            budget = 2.0 * (its - truth).abs().max() + roundings * rounding
            assert (mine - truth).abs().max() <= budget, (num_classes, layout, scale)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_classes", [5, 300])
def test_every_element_of_the_gradient_is_written(
    layout: str, num_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_like = torch.empty_like
    monkeypatch.setattr(
        native.torch, "empty_like", lambda t: empty_like(t).fill_(torch.nan), raising=True
    )
    logits, target = problem(num_classes, layout, 3.0)
    _, gradient = value_and_gradient(
        lm.ExpectedCost(), logits, target, table(num_classes), "native", torch.ones(target.shape)
    )
    assert gradient.isfinite().all()
    ignored = gradient.movedim(1, -1).reshape(-1, num_classes)[3]
    assert (ignored == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_classes", [3, 10, 19, 60, 257, 3000])
def test_a_gradient_in_half_precision_is_that_in_float32_rounded(
    num_classes: int, layout: str, dtype: torch.dtype
) -> None:
    exact, target = problem(num_classes, layout, 3.0)
    exact.movedim(1, -1)[1, ..., 1] = torch.nan
    logits = exact.to(dtype)
    weight = torch.rand(target.shape, generator=torch.Generator().manual_seed(2))
    weight[2] = torch.tensor(-1, dtype=torch.int32).view(torch.float32)  # NaN, of ones alone
    seen: list[Tensor] = []
    for z in (logits.float(), logits):
        leaf = z.requires_grad_()
        loss = lm.CrossEntropy() + 0.01 * lm.ExpectedCost()
        value = loss(
            leaf,
            target,
            table(num_classes),
            sample_weight=weight,
            reduction="sum",
            engine="native",
        )
        seen.append(torch.autograd.grad(value, leaf)[0])
    in_float, in_half = seen
    assert in_half.isnan().any()
    torch.testing.assert_close(in_half, in_float.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(40_000, 5), (3000, 300), (2, 19, 150, 150)])
def test_results_are_bitwise_equal_over_runs_and_threads(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, D = torch.randn(shape), torch.rand(shape[1], shape[1])
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    criterion = lm.Criterion(lm.CrossEntropy() + lm.ExpectedCost(), D, engine="native")
    threads = torch.get_num_threads()
    seen: list[tuple[Tensor, Tensor]] = []
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            z = logits.clone().requires_grad_()
            value = criterion(z, target)
            seen.append((value.detach(), torch.autograd.grad(value, z)[0]))
    finally:
        torch.set_num_threads(threads)
    for value, gradient in seen[1:]:
        assert torch.equal(value, seen[0][0])
        assert torch.equal(gradient, seen[0][1])


def test_logits_are_not_written() -> None:
    logits, target = problem(5, "rows", 3.0)
    z = logits.float().requires_grad_()
    before, version = z.detach().clone(), z._version
    lm.ExpectedCost()(z, target, table(5), engine="native").backward()
    assert torch.equal(z.detach(), before)
    assert z._version == version


def test_more_than_two_to_the_31_elements() -> None:
    num_rows = 2**29 + 5
    row = torch.tensor([[0.5, -1.0, 2.0, 0.25]])
    target = torch.tensor([2], dtype=torch.uint8)
    with torch.no_grad():
        one = lm.CrossEntropy()(row, target, engine="native")
        many = lm.CrossEntropy()(row.expand(num_rows, 4), target.expand(num_rows), engine="native")
    torch.testing.assert_close(many, one, rtol=1e-6, atol=0)


def test_a_stride_beyond_two_to_the_31() -> None:
    memory = torch.empty(2**31 + 64, dtype=torch.uint8)  # untouched pages take no memory
    bytes_ = memory[: 2**31 + 64]
    logits = bytes_.view(torch.bfloat16).as_strided((2, 10), (2**30 + 3, 1))
    values = torch.randn(2, 10, generator=torch.Generator().manual_seed(0)).bfloat16()
    logits.copy_(values)
    target = torch.tensor([3, 7])
    ours = lm.CrossEntropy()(logits, target, reduction="none", engine="native")
    assert torch.equal(ours, lm.CrossEntropy()(values, target, reduction="none", engine="native"))


def test_backward_through_a_retained_graph_gives_the_same_gradient() -> None:
    logits, target = problem(5, "rows", 3.0)
    z = logits.requires_grad_()
    value = lm.ExpectedCost()(z, target, table(5), engine="native")
    first = torch.autograd.grad(value, z, torch.tensor(2.0).double(), retain_graph=True)[0].clone()
    second = torch.autograd.grad(value, z, torch.tensor(2.0).double())[0]
    assert torch.equal(first, second)


def test_the_second_derivative_is_the_references() -> None:
    logits, target = problem(4, "rows", 1.0)
    costs = lm.Dense(table(4))

    def value(z: Tensor) -> Tensor:
        return (lm.CrossEntropy() + lm.ExpectedCost())(z, target, costs, engine="native")

    z = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (z,))
    assert torch.autograd.gradgradcheck(value, (z,))


def test_a_traced_graph_holds_one_operator() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    criterion = lm.Criterion(lm.CrossEntropy() + lm.ExpectedCost(), table(5))
    logits, target = problem(5, "planes", 1.0)
    z = logits.float().requires_grad_()
    traced = torch.compile(criterion, fullgraph=True, backend=keep)
    value = traced(z, target)
    (graph,) = graphs
    called = [str(node.target) for node in graph.graph.nodes]
    assert sum("lossmatrix" in name for name in called) == 1, called
    torch.testing.assert_close(value, criterion(z, target))


def test_the_operator_meets_pytorchs_checks() -> None:
    criterion = lm.Criterion(lm.CrossEntropy() + lm.ExpectedCost(), table(5))
    logits, target = problem(5, "planes", 1.0)
    z = logits.float().reshape(3, 5, 35).requires_grad_()
    for reduction in ("mean", "none"):
        arguments = (
            z,
            target.reshape(3, 35),
            None,
            None,
            criterion.bound.number,
            -100,
            reduction,
            0.1,
            True,
        )
        torch.library.opcheck(native.traced, arguments)


def test_the_shipped_formulas_are_the_losses_own() -> None:
    assert generate.FILE.read_text() == generate.text(), (
        "engines/cpu/formulas.hpp is out of date: run python -m lossmatrix.engines.cpu.generate"
    )


def test_what_describes_the_tensors_stands_where_the_task_has_it() -> None:
    task = compiler.KernelTask()
    compiler.TENSORS.pack_into(task, 0, *range(1, 18))
    assert (task.logits, task.gradient) == (1, 2)
    assert (task.batch, task.classes, task.positions) == (3, 4, 5)
    assert (*task.logits_stride, *task.gradient_stride) == (6, 7, 8, 9, 10, 11)
    assert (task.type, task.target_type, task.target) == (12, 13, 14)
    assert (*task.target_stride, task.ignore_index) == (15, 16, 17)
    assert compiler.TENSORS.size == compiler.KernelTask.costs.offset


def test_every_shipped_formula_has_a_kernel_in_the_library() -> None:
    shipped = compiler.shipped()
    assert shipped is not None, "the package was installed without a C++ compiler"
    for formula in generate.formulas().values():
        assert hasattr(shipped, f"{formula.name}_{compiler.instruction_set(torch.float32)}")


@dataclass(frozen=True)
class Entropy(lm.Loss):
    """A loss of the user's own: cost plus ``strength`` times negative entropy."""

    strength: float = 0.5
    decides = None
    convex = False
    proper = False
    linear_in_costs = False

    def term(self, cell: lm.Cells) -> Tensor:
        return cell.cost * cell.p + self.strength * lm.weigh(cell.p, cell.log_p)


def test_a_loss_of_ones_own_is_compiled_on_first_use(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path_factory.mktemp("kernels")))
    compiler.forget()
    logits, target = problem(5, "planes", 3.0)
    upstream = torch.ones(target.shape)
    for strength in (0.5, 2.0):  # one kernel serves both
        loss = Entropy(strength)
        ours = value_and_gradient(loss, logits.float(), target, table(5), "native", upstream)
        exact = value_and_gradient(loss, logits, target, table(5), "reference", upstream)
        for mine, truth in zip(ours, exact, strict=True):
            torch.testing.assert_close(mine, truth, rtol=1e-5, atol=1e-5)


@dataclass(frozen=True)
class Brier(lm.Loss):
    """Σ_j (p_j − t_j)² of a class: p² − 2 p t + t, of which p² has no probability of a truth."""

    reads = None
    decides = "bayes"
    convex = False
    linear_in_truth = True

    def term(self, cell: lm.Cells) -> Tensor:
        return cell.p * cell.p - 2.0 * cell.p * cell.target + cell.target


@pytest.mark.parametrize("num_classes", [5, 60])
@pytest.mark.parametrize("smoothing", [0.0, 0.2], ids=["probabilities", "smoothing"])
def test_weighted_probabilities_weigh_what_no_probability_multiplies(
    num_classes: int, smoothing: float
) -> None:
    # Σ_i w_i t_i ℓ(z; i), term by term, in the words of the definition
    logits, target = problem(num_classes, "rows", 2.0)
    logits = logits[:8].requires_grad_()
    weight = 0.3 + torch.arange(num_classes, dtype=torch.float64) / num_classes
    truth = torch.rand(8, num_classes, dtype=torch.float64).softmax(1)
    given = truth if smoothing == 0 else target[:8].clamp(min=0)
    if smoothing:
        truth = torch.nn.functional.one_hot(given, num_classes) * (1 - smoothing)
        truth = truth + smoothing / num_classes
    criterion = lm.Criterion(
        Brier(), weight=weight, label_smoothing=smoothing, reduction="sum", engine="native"
    )
    p = logits.softmax(1)
    each = (p.unsqueeze(1) - torch.eye(num_classes, dtype=torch.float64)).square().sum(2)
    exact = (weight * truth * each).sum()
    value = criterion(logits, given)
    torch.testing.assert_close(value, exact)
    ours, theirs = (torch.autograd.grad(v, logits)[0] for v in (value, exact))
    torch.testing.assert_close(ours, theirs)


def test_without_a_compiler_auto_uses_the_reference_and_native_says_why(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path_factory.mktemp("kernels")))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    compiler.forget()
    logits, target = problem(5, "rows", 1.0)
    criterion = lm.Criterion(Entropy(), table(5))
    assert "no C++ compiler" in lm.explain(criterion, logits)
    assert criterion(logits, target).isfinite()
    with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
        Entropy()(logits, target, table(5), engine="native")


def test_without_a_compiler_a_sum_runs_as_its_shipped_parts(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path_factory.mktemp("kernels")))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    compiler.forget()
    parts = (lm.CrossEntropy(), 0.5 * lm.ExpectedCost(), 0.3 * lm.Unlikelihood())
    loss = parts[0] + parts[1] + parts[2]
    logits, target = problem(5, "planes", 3.0)
    upstream = torch.ones(target.shape)
    ours = value_and_gradient(loss, logits, target, table(5), "native", upstream)
    exact = value_and_gradient(loss, logits, target, table(5), "reference", upstream)
    for mine, truth in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, truth)


class Bare(lm.Loss):
    """No dataclass, so nothing says which of its attributes are hyper-parameters."""

    decides = None
    convex = False
    proper = False
    linear_in_costs = True

    def term(self, cell: lm.Cells) -> Tensor:
        return cell.cost * cell.p


@dataclass(frozen=True)
class Unbounded(Bare):
    """A formula with an infinite number in it."""

    def term(self, cell: lm.Cells) -> Tensor:
        return cell.cost * cell.p + cell.q * float("inf")


def test_a_loss_that_is_no_dataclass_is_refused_with_the_reason() -> None:
    logits, target = problem(5, "rows", 1.0)
    with pytest.raises(RuntimeError, match="Bare is no dataclass"):
        Bare()(logits, target, table(5), engine="native")
    assert Bare()(logits, target, table(5)).isfinite()


def test_an_infinite_number_in_a_formula_is_printed() -> None:
    logits, target = problem(5, "rows", 1.0)
    assert Unbounded()(logits, target, table(5), engine="native").isinf()


def test_one_changed_coefficient_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path_factory.mktemp("kernels")))
    true = print_cpp(derive(lm.ExpectedCost().bind(lm.Dense(table(3))), HARD))
    ((struct, text),) = true.structs.items()
    text = text.replace(struct, "formula_wrong").replace("V(a[0])", "V(1.001) * V(a[0])")
    wrong = dataclasses.replace(true, name="formula_wrong", structs={"formula_wrong": text})
    monkeypatch.setattr(calls, "_formula", lambda *_: wrong)
    with pytest.raises(AssertionError):
        test_its_error_is_at_most_twice_the_references(lm.ExpectedCost(), torch.float32)


@pytest.mark.parametrize(
    ("loss", "arguments", "reason"),
    [
        (0.0 * lm.ExpectedCost(), {}, "scaled by zero"),
    ],
    ids=["nothing"],
)
def test_what_it_cannot_run_is_refused_with_the_reason(
    loss: lm.Loss, arguments: dict[str, float], reason: str
) -> None:
    costs = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    logits, target = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(RuntimeError, match=reason):
        loss(
            logits,
            target,
            costs,
            engine="native",
            label_smoothing=arguments.get("label_smoothing", 0.0),
        )
    loss(logits, target, costs, label_smoothing=arguments.get("label_smoothing", 0.0))


def test_per_example_costs_run_natively() -> None:
    logits, target = problem(5, "planes", 2.0)
    rows = torch.rand(3, 5, 5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    costs = lm.PerExample(rows)
    for loss in (lm.ExpectedCost(), lm.Unlikelihood(), lm.CostSensitiveCrossEntropy()):
        ours = loss(logits, target, costs, reduction="none", engine="native")
        theirs = loss(logits, target, costs, reduction="none", engine="reference")
        torch.testing.assert_close(ours, theirs)


def large_matrices() -> list[lm.CostMatrix]:
    """Kinds that kernels make rows of, and one that they look up; more classes than a table has."""
    generator = torch.Generator().manual_seed(11)
    positions = torch.rand(2100, generator=generator, dtype=torch.float64)
    # ragged, and not depth first
    paths = [
        (f"g{i % 7}", f"h{i % 91}", f"c{i}") if i % 3 else (f"g{i % 5}", f"c{i}")
        for i in range(2100)
    ]
    exceptions = [(0, 1, 5.0), (7, 2, 3.0), (7, 9, 0.25), (4, 4, 0.5), (2099, 0, 2.0)]
    tree = lm.Tree(paths, level_costs=[0.5, 2.0, 7.0])
    return [
        lm.ZeroOne(2100),
        *(lm.Ordinal(2100, power, positions) for power in (1, 2, 1.5)),
        tree,
        lm.Sparse(2100, exceptions, default=1.5),
        lm.Sparse(2100, exceptions).scaled(3.0).regret(),
        tree.scaled(2.0),
        lm.LowRank.squared_distances(torch.rand(2100, 3, generator=generator, dtype=torch.float64)),
    ]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(
    "loss",
    [lm.CrossEntropy() + lm.ExpectedCost(), lm.Unlikelihood(), lm.CostSensitiveCrossEntropy()],
    ids=repr,
)
@pytest.mark.parametrize("costs", large_matrices(), ids=repr)
def test_structured_costs_of_many_classes_need_no_table(
    costs: lm.CostMatrix, loss: lm.Loss, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BLOCK_COSTS", 10_000)
    generator = torch.Generator().manual_seed(5)
    for shape in ((11, 2100), (2, 2100, 7)):
        logits = torch.randn(shape, generator=generator, dtype=torch.float64)
        target = torch.randint(0, 2100, (shape[0], *shape[2:]), generator=generator)
        target.view(-1)[:5] = torch.tensor([7, -100, 4, 0, 2099])
        weight = 0.5 + torch.rand(2100, generator=generator, dtype=torch.float64)
        results = []
        for engine in ("native", "reference"):
            z = logits.clone().requires_grad_()
            value = loss(z, target, costs, weight=weight, reduction=reduction, engine=engine)
            upstream = torch.ones_like(value)
            results.append((value.detach(), torch.autograd.grad(value, z, upstream)[0]))
        for mine, its in zip(*results, strict=True):
            torch.testing.assert_close(mine, its)


def test_only_costs_of_samples_and_of_low_rank_are_looked_up() -> None:
    looked_up = [
        calls.prepared_calls(
            lm.Criterion(lm.Unlikelihood(), costs).bound,
            torch.float32,
            False,
            torch.zeros(2, costs.num_classes),
            False,
        )[0]
        for costs in large_matrices()
    ]
    assert [bool(call.looked_up) for call in looked_up] == [False] * 8 + [True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_loss_beyond_the_largest_number_is_infinite(dtype: torch.dtype) -> None:
    z = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=dtype, requires_grad=True)
    costs, target = torch.tensor([[0.0, 3e38], [1.0, 0.0]]), torch.tensor([0, 0])
    value = lm.ExpectedCost()(z, target, costs, reduction="sum", engine="native")
    assert value.dtype == dtype
    assert value.item() == torch.inf


def test_logits_may_be_changed_in_place_once_the_loss_is_there() -> None:
    logits, target = problem(5, "rows", 1.0)
    source = logits.clone().requires_grad_()
    changed = source + 0.0
    value = lm.ExpectedCost()(changed, target, table(5), engine="native")
    changed.add_(7.0)
    (gradient,) = torch.autograd.grad(value, source, retain_graph=True)
    same = logits.clone().requires_grad_()
    value_again = lm.ExpectedCost()(same, target, table(5), engine="native")
    assert torch.equal(gradient, torch.autograd.grad(value_again, same)[0])
    with pytest.raises(RuntimeError, match="changed in place"):
        torch.autograd.grad(value, source)


def test_masked_classes_and_rows_without_weight() -> None:
    logits = torch.tensor([[0.5, -torch.inf, 1.0], [-torch.inf, -torch.inf, 0.0], [1.0, 2.0, 3.0]])
    target = torch.tensor([0, 2, 1])
    D = table(3)
    for loss in (lm.CrossEntropy(), lm.ExpectedCost(), lm.Unlikelihood()):
        z = logits.clone().requires_grad_()
        ours = loss(z, target, None if loss.reads is None else D, reduction="none", engine="native")
        theirs = loss(
            logits, target, None if loss.reads is None else D, reduction="none", engine="reference"
        )
        torch.testing.assert_close(ours.detach(), theirs)
        (gradient,) = torch.autograd.grad(ours.sum(), z)
        assert gradient.isfinite().all()


RISKS = [
    lm.EnergyScore(),
    lm.DecisionScore(),
    lm.CrossEntropy() + lm.ExpectedCost() + lm.DecisionScore(0.15) + lm.EnergyScore(),
]


def distances(kind: str, num_classes: int) -> lm.CostMatrix:
    """Costs that every loss accepts."""
    if kind == "ordinal":
        return lm.Ordinal(num_classes)
    if kind == "tree":
        return lm.Tree([(str(i % 3), str(i % 9), f"c{i}") for i in range(num_classes)])
    return lm.Dense(metric(num_classes))


@pytest.mark.parametrize("kind", ["dense", "ordinal", "tree"])
@pytest.mark.parametrize("layout", ["rows", "planes"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_risks_of_many_decisions_are_made_by_products_between_kernels(
    kind: str, layout: str, reduction: str, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BLOCK_RISK", 1000)  # several blocks
    logits, target = problem(140, layout, 2.0)
    weight = 0.5 + torch.rand(140, generator=torch.Generator().manual_seed(1)).double()
    for loss in RISKS:
        results = []
        for engine in ("native", "reference"):
            z = logits.clone().requires_grad_()
            options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
            value = loss(z, target, distances(kind, 140), engine=engine, **options)
            upstream = torch.linspace(0.5, 1.5, value.numel()).double().reshape(value.shape)
            results.append((value.detach(), torch.autograd.grad(value, z, upstream)[0]))
        for mine, its in zip(*results, strict=True):
            torch.testing.assert_close(mine, its)


def test_more_decisions_than_classes_inside_the_kernel_and_between_kernels() -> None:
    for num_classes in (5, 140):
        costs = lm.Dense(table(num_classes)).with_abstain(0.7)
        logits, target = problem(num_classes, "rows", 2.0)
        for loss in (lm.DecisionScore(), lm.CrossEntropy() + lm.DecisionScore()):
            values = [
                loss(logits, target, costs, reduction="none", engine=engine)
                for engine in ("native", "reference")
            ]
            torch.testing.assert_close(*values)


def test_what_is_not_linear_in_the_truth_visits_every_class() -> None:
    logits, target = problem(5, "planes", 2.0)
    soft = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).softmax(1).double()
    for loss in (lm.CostFocal(), lm.SoftmaxMargin(), lm.CrossEntropy() + lm.EntropicRisk()):
        for truth, smoothing in ((target, 0.2), (soft, 0.0)):
            results = []
            for engine in ("native", "reference"):
                z = logits.clone().requires_grad_()
                value = loss(z, truth, table(5), label_smoothing=smoothing, engine=engine)
                results.append((value.detach(), torch.autograd.grad(value, z)[0]))
            for mine, its in zip(*results, strict=True):
                torch.testing.assert_close(mine, its)


def test_only_the_loop_and_the_type_at_hand_are_compiled(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("kernels")
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(folder))
    compiler.forget()
    loss = lm.CrossEntropy() + Entropy()
    loss(torch.zeros(2, 5), torch.tensor([0, 1]), table(5), engine="native")
    assert len(list(folder.iterdir())) == 1
    loss(torch.zeros(2, 60), torch.tensor([0, 1]), table(60), engine="native")
    assert len(list(folder.iterdir())) == 2
    loss(torch.ones(4, 5), torch.tensor([0, 1, 2, 3]), table(5), engine="native")
    assert len(list(folder.iterdir())) == 2
