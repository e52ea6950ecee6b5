# SPDX-License-Identifier: BSD-3-Clause
"""The triton engine in Triton's interpreter: run by test_triton in a process of its own.

The block sizes are small here, so that rows of a few classes take every road through the kernels.
"""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from registry import every_loss, refusal, refuses, table_for
from test_native import metric, problem, table, value_and_gradient
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import lossmatrix as lm
from lossmatrix.codegen.derive import HARD, derive
from lossmatrix.codegen.triton import print_triton
from lossmatrix.engines import choose
from lossmatrix.engines.gpu import engine as triton
from lossmatrix.engines.gpu import kernels, launch, placed, risk
from lossmatrix.problem import Bound, Options, read

compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's about itself
slow = pytest.mark.slow
SUM = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()
WITH_RISK = lm.CrossEntropy() + lm.DecisionScore()
DISTINCT: list[lm.Loss] = [  # one for each way through the kernels
    SUM,  # one visit
    lm.CostSensitiveCrossEntropy() + lm.Unlikelihood(),  # two, and two streams of costs
    lm.CostFocal(0.5),  # three
    lm.SoftmaxMargin(log=True),  # margins
    lm.CrossEntropy() + 2.0 * lm.SoftmaxMargin(),  # two kernels, added
    lm.EntropicRisk(),  # the top class's cost in every cell
    WITH_RISK,  # products between kernels
    lm.EnergyScore(),  # and an excess in every cell
]
ROADS = ["whole", "shared", "blocks", "at once"]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """All memory that kernels are given to write holds NaN, or what is no class."""
    new_empty, empty_like = Tensor.new_empty, torch.empty_like

    def poisoned(made: Tensor) -> Tensor:
        return made.fill_(torch.nan if made.is_floating_point() else 99)

    monkeypatch.setattr(Tensor, "new_empty", lambda t, *s, **k: poisoned(new_empty(t, *s, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda t, **k: poisoned(empty_like(t, **k)))


def take(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead rows of more than two classes over one of the roads; warps are small here."""
    if road in ("shared", "blocks"):
        monkeypatch.setattr(launch, "MAX_OWN", 2)
    if road == "blocks":
        for name, size in (("WARP", 2), ("MAX_HELD", 0), ("MAX_OWN_HELD", 2)):
            monkeypatch.setattr(launch, name, size)
    if road == "at once":
        monkeypatch.setattr(kernels, "MIN_BYTES_GRADIENT_IN_FORWARD", 0)


def few(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Five rows, one of them ignored, or two small planes: the interpreter is slow."""
    if logits.dim() == 2:
        return logits[:5], target[:5]
    return logits[:2, :, :2, :4].contiguous(), target[:2, :2, :4].contiguous()


@pytest.mark.parametrize("loss", DISTINCT, ids=repr)
@pytest.mark.parametrize(
    ("road", "dtype"),
    [
        ("whole", torch.float64),
        pytest.param("whole", torch.float32, marks=slow),
        pytest.param("whole", torch.bfloat16, marks=slow),
        pytest.param("whole", torch.float16, marks=slow),
        pytest.param("shared", torch.float64, marks=slow),
        ("shared", torch.bfloat16),
        ("blocks", torch.float32),
        pytest.param("blocks", torch.bfloat16, marks=slow),
    ],
)
def test_its_error_is_at_most_twice_the_references(
    road: str, dtype: torch.dtype, loss: lm.Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    layouts, scales = ["rows", "sliced", "columns", "planes"], [1.0, 12.0, 300.0, 3.0]
    if road in ("shared", "blocks"):
        layouts = ["planes", "columns", "sliced", "rows"]
    for num_classes, layout, scale in zip((1, 2, 47, 17), layouts, scales, strict=True):
        exact_logits, target = problem(num_classes, layout, scale)
        exact_logits, target = few(exact_logits, target)
        made = metric if isinstance(loss, lm.EnergyScore) else table
        logits, D = exact_logits.to(dtype), made(num_classes).float().double()
        upstream = 0.5 + torch.rand(target.shape, generator=torch.Generator().manual_seed(1))
        exact = value_and_gradient(loss, logits.double(), target, D, "reference", upstream)
        reference = value_and_gradient(loss, logits, target, D, "reference", upstream)
        ours = value_and_gradient(loss, logits, target, D, "triton", upstream)
        representable = exact[0].abs() < torch.finfo(dtype).max
        for mine, its, truth in zip(ours, reference, exact, strict=True):
            if truth.shape == representable.shape:
                mine, its, truth = mine[representable], its[representable], truth[representable]
            largest = max(truth.abs().max(), exact[0][representable].abs().max())
            rounding = torch.finfo(dtype).eps * largest
            budget = 2.0 * (its - truth).abs().max() + 4.0 * rounding
            assert (mine - truth).abs().max() <= budget, (num_classes, layout, scale)


@pytest.mark.parametrize("road", ROADS)
def test_a_sum_of_kernels_is_rounded_once(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(road, monkeypatch)
    loss = lm.CrossEntropy() + 2.0 * lm.SoftmaxMargin()
    logits, target = problem(5, "rows", 3.0)
    logits = logits.bfloat16()
    found = []
    for engine, dtype in (("triton", torch.bfloat16), ("reference", torch.float64)):
        z = logits.to(dtype).requires_grad_()
        value = loss(z, target, table(5), reduction="sum", engine=engine)
        found.append(torch.autograd.grad(value, z)[0].double())
    half_a_step = 0.505 * torch.finfo(torch.bfloat16).eps * found[1].abs()
    assert ((found[0] - found[1]).abs() <= half_a_step + 1e-6).all()


@every_loss
def test_every_loss_has_its_value_and_gradient_or_a_reason(loss: lm.Loss) -> None:
    target = torch.tensor([0, 3, 1, 2, 3])
    logits = 3.0 * torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    costs = None if loss.reads is None else table_for(loss)
    if (reason := refusal("triton", loss)) is not None:
        with pytest.raises(RuntimeError, match=reason):
            loss(logits, target, costs, engine="triton")
        return
    ours = value_and_gradient(loss, logits, target, costs, "triton", torch.ones(5))
    exact = value_and_gradient(loss, logits.double(), target, costs, "reference", torch.ones(5))
    torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-5)


# Matrices of every kind; those beyond what is written out show that the kind has its own words.
NAMES = [str(i) for i in range(23)]
TREE = lm.Tree([(str(i % 2), str(i % 5), name) for i, name in enumerate(NAMES[:-1])] + [("22",)])
EXCEPTIONS = [(1, 2, 9.0), (1, 7, 0.5), (3, 3, 0.25), (20, 0, 4.0)]
KINDS: dict[str, lm.CostMatrix] = {
    "dense": lm.Dense(table(23)),
    "zero-one": lm.ZeroOne(23),
    "ordinal": lm.Ordinal(23),
    "squared": lm.Ordinal(23, power=2, positions=[math.sin(i) for i in range(23)]),
    "power": lm.Ordinal(23, power=1.5),
    "tree": TREE,
    "sparse": lm.Sparse(23, EXCEPTIONS, default=2.0),
    "default": lm.Sparse(23, []),
    "scaled": lm.Ordinal(23).scaled(0.25),
    "regret": lm.Sparse(23, [(5, 5, 1.5)]).regret(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("road", "layout"),
    [("whole", "rows"), ("whole", "planes"), ("shared", "rows"), ("blocks", "rows")],
)
def test_costs_of_every_kind_come_from_the_kind(
    road: str, layout: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    monkeypatch.setattr(placed, "MAX_TABLE_CLASSES", 0)
    logits, target = problem(23, layout, 2.0)
    logits, target = few(logits, target)
    losses = (SUM, lm.Unlikelihood(), lm.CostSensitiveCrossEntropy())
    for loss in losses if (road, layout) == ("whole", "rows") else losses[1:2]:
        arguments = (target, KINDS[kind])
        upstream = torch.ones(target.shape)
        ours = value_and_gradient(loss, logits, *arguments, "triton", upstream)
        exact = value_and_gradient(loss, logits, *arguments, "reference", upstream)
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9)


TALL = lm.Dense(table(23)[:, :9])
RISKS: dict[str, lm.CostMatrix] = {
    name: KINDS[name] for name in ("dense", "zero-one", "ordinal", "power", "tree", "sparse")
} | {
    "scaled": lm.Sparse(23, EXCEPTIONS).scaled(0.25),
    "low rank": lm.LowRank.squared_distances(torch.sin(torch.arange(46.0)).reshape(23, 2)),
    "one more decision": lm.Dense(table(23)).with_abstain(1.5),
    "more decisions": lm.Dense(torch.cat([table(23), table(23).flip(0)], 1)),
    "fewer decisions": TALL,
}


@pytest.mark.parametrize(
    ("road", "layout", "kind"),
    [
        *(("whole", "rows", kind) for kind in RISKS),
        ("whole", "planes", "dense"),
        pytest.param("whole", "planes", "more decisions", marks=slow),
        ("shared", "rows", "fewer decisions"),
        ("blocks", "rows", "tree"),
    ],
)
def test_risks_are_those_of_every_kind(
    road: str, layout: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    monkeypatch.setattr(risk, "BLOCK_RISK", 23 * 3)  # blocks of rows, and within planes
    logits, target = few(*problem(23, layout, 2.0))
    upstream = 0.5 + torch.rand(target.shape, generator=torch.Generator().manual_seed(1))
    some = kind in ("dense", "tree", "fewer decisions") and layout == "rows"
    for loss in (lm.DecisionScore(), WITH_RISK, lm.EnergyScore()) if some else (WITH_RISK,):
        costs = RISKS[kind]
        if isinstance(loss, lm.EnergyScore) and refuses(loss, costs):
            continue
        arguments = (logits, target, costs)
        ours = value_and_gradient(loss, *arguments, "triton", upstream)
        exact = value_and_gradient(loss, *arguments, "reference", upstream)
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9)
        alone = loss(*arguments, engine="triton", reduction="none")  # no gradient is wanted
        torch.testing.assert_close(alone.double(), exact[0], rtol=1e-9, atol=1e-9)


def test_products_are_in_full_precision_whatever_is_allowed() -> None:
    matmul, seen = torch.backends.cuda.matmul, []

    class Watched(lm.Dense):
        def _expected(self, weights: Tensor) -> Tensor:
            seen.append(matmul.fp32_precision)
            return super()._expected(weights)

    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        lm.DecisionScore()(
            torch.zeros(2, 3), torch.tensor([0, 1]), Watched(table(3)), engine="triton"
        )
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
    assert seen == ["ieee"]


@pytest.mark.parametrize("layout", ["rows", "planes"])
def test_costs_of_samples(layout: str) -> None:
    logits, target = few(*problem(5, layout, 2.0))
    generator = torch.Generator().manual_seed(3)
    rows = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    cubes = torch.rand(target.numel(), 5, 5, generator=generator, dtype=torch.float64)
    for costs in (lm.PerExample(rows), lm.PerExample.matrices(cubes)):
        for loss in (lm.ExpectedCost(), lm.Unlikelihood()):
            ours = loss(logits, target, costs, reduction="none", engine="triton")
            theirs = loss(logits, target, costs, reduction="none", engine="reference")
            torch.testing.assert_close(ours, theirs)


def test_risks_of_costs_of_samples_are_refused_with_the_reason() -> None:
    costs = lm.PerExample(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="reads risks of costs that every sample has of its own"):
        lm.DecisionScore()(torch.zeros(2, 3), torch.tensor([0, 1]), costs, engine="triton")


def test_costs_without_a_kernel_are_refused_with_the_reason() -> None:
    logits, target = torch.zeros(2, 3000), torch.tensor([0, 1])
    costs = lm.LowRank.squared_distances(torch.arange(6000.0).reshape(3000, 2))
    with pytest.raises(RuntimeError, match="is of a kind that its kernels know up to 2048 classes"):
        lm.ExpectedCost()(logits, target, costs, engine="triton")


@pytest.mark.parametrize("loss", [lm.ExpectedCost(), WITH_RISK], ids=repr)
@pytest.mark.parametrize(
    ("layout", "road"),
    [*(("rows", road) for road in ROADS), ("planes", "whole"), ("planes", "at once")],
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weights_and_reductions_are_the_references(
    layout: str, reduction: str, road: str, loss: lm.Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    logits, target = problem(5, layout, 2.0)
    logits, target = few(logits, target)
    options = {
        "weight": torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64),
        "sample_weight": torch.rand(target.shape, generator=torch.Generator().manual_seed(4)),
        "ignore_index": 2,
        "reduction": reduction,
    }
    target = target.clamp(min=0).to(torch.int32 if layout == "rows" else torch.uint8)
    logits.movedim(1, -1)[target == 2] = torch.nan  # ignored rows may hold anything
    for times in (1.0, 3.0):  # an upstream of 1 and another, each twice through one graph
        z = logits.clone().requires_grad_()
        found = []
        for engine in ("triton", "reference"):
            value = loss(z, target, table(5), engine=engine, **options)
            upstream = torch.full_like(value, times)
            found.append((value, *torch.autograd.grad(value, z, upstream, retain_graph=True)))
            again = torch.autograd.grad(value, z, upstream)[0]
            assert torch.equal(again, found[-1][1])
        torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("loss", "road", "layout"),
    [
        *((loss, "whole", "planes") for loss in (SUM, *DISTINCT[2:])),
        *((loss, "shared", "rows") for loss in (SUM, *DISTINCT[2:])),
        *((loss, "blocks", "rows") for loss in (SUM, WITH_RISK)),
        *(
            pytest.param(loss, "blocks", "rows", marks=slow)
            for loss in DISTINCT[2:]
            if loss is not WITH_RISK
        ),
    ],
    ids=repr,
)
def test_shares_are_the_references(
    road: str, layout: str, loss: lm.Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    logits, target = problem(5, layout, 2.0)
    logits, target = few(logits, target)
    generator = torch.Generator().manual_seed(4)
    options = {
        "weight": torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64),
        "sample_weight": torch.rand(target.shape, generator=generator, dtype=torch.float64),
    }
    shares = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    classes = target.clamp(min=0)
    D = metric(5) if isinstance(loss, lm.EnergyScore) else table(5)
    for truth, more in (
        (shares, {"reduction": "mean"}),
        (shares, {"reduction": "none", "label_smoothing": 0.2}),
        (classes, {"reduction": "mean", "label_smoothing": 0.2, "ignore_index": 2}),
        (target, {"reduction": "sum", "label_smoothing": 1.0}),
    ):
        found = []
        for engine in ("triton", "reference"):
            z = logits.clone().requires_grad_()
            value = loss(z, truth, D, engine=engine, **options, **more)
            found.append((value, *torch.autograd.grad(value, z, torch.full_like(value, 3.0))))
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", [lm.ExpectedCost(), WITH_RISK], ids=repr)
@pytest.mark.parametrize("rows", [0, 1])
def test_batches_of_nothing_and_batches_that_are_ignored(rows: int, loss: lm.Loss) -> None:
    for reduction in ("mean", "sum", "none"):
        logits = torch.zeros(rows, 3, requires_grad=True)
        target = torch.full((rows,), -100)
        ours = loss(logits, target, table(3), engine="triton", reduction=reduction)
        theirs = loss(logits, target, table(3), engine="reference", reduction=reduction)
        torch.testing.assert_close(ours, theirs, equal_nan=True)
        assert torch.autograd.grad(ours.sum(), logits)[0].shape == logits.shape


@pytest.mark.parametrize("loss", [lm.ExpectedCost(), lm.DecisionScore()], ids=repr)
@pytest.mark.parametrize("road", ["whole", "shared", "blocks"])
def test_a_target_that_is_no_class_gives_nan_and_an_error_where_it_is_checked(
    road: str, loss: lm.Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    logits, target = torch.zeros(3, 5), torch.tensor([1, 5, -1])
    bound = Bound(loss.bind(lm.Dense(table(5))))
    for reduction, wrong in (("none", [False, True, True]), ("mean", True)):
        asked = read(bound, logits, target, Options(reduction=reduction))
        known = kernels.calls(bound, logits, torch.float32, False)
        value = kernels.losses(kernels.step_of(asked, known), None, False).value
        assert value.isnan().tolist() == wrong
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        loss(logits, target, table(5), engine="triton")


@pytest.mark.parametrize("road", ["whole", "shared", "blocks"])
def test_masked_classes_ties_and_infinite_gaps(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(road, monkeypatch)
    low = -torch.inf
    rows = [[0.5, low, 1.0], [low, low, 0.0], [2.0, 2.0, 2.0], [0.0, 1e4, 1e4], [0.0, -1e4, 3e4]]
    wide = torch.cat([torch.full((5, 20), low), torch.tensor(rows), torch.full((5, 20), low)], 1)
    target, D = torch.tensor([20, 22, 21, 20, 21]), table(43)
    plain = (lm.CrossEntropy(), lm.ExpectedCost(), lm.Unlikelihood(), lm.SoftmaxMargin())
    for loss in (*plain, lm.EntropicRisk(), WITH_RISK, lm.DecisionScore()):
        ours = value_and_gradient(loss, wide, target, D, "triton", torch.ones(5))
        exact = value_and_gradient(loss, wide.double(), target, D, "reference", torch.ones(5))
        torch.testing.assert_close(ours, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("road", ROADS)
def test_results_are_bitwise_equal_and_logits_are_not_written(
    road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(road, monkeypatch)
    logits, target = problem(37, "rows", 3.0)
    z = logits.float().requires_grad_()
    before, version = z.detach().clone(), z._version
    seen = []
    for _ in range(2):
        value = SUM(z, target, table(37), engine="triton")
        seen.append((value, *torch.autograd.grad(value, z)))
    assert all(map(torch.equal, *seen))
    assert torch.equal(z.detach(), before)
    assert z._version == version


def test_logits_changed_before_backward_are_an_error() -> None:
    logits, target = problem(5, "rows", 1.0)
    changed = logits.requires_grad_() + 0.0
    value = SUM(changed, target, table(5), engine="triton")
    changed.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_the_second_derivative_is_the_references() -> None:
    logits, target = problem(3, "rows", 1.0)
    logits, target = logits[:3], target[:3]

    def value(z: Tensor) -> Tensor:
        return SUM(z, target, table(3), engine="triton")

    z = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (z,))
    assert torch.autograd.gradgradcheck(value, (z,))


@compiles
@pytest.mark.parametrize("loss", [SUM, WITH_RISK], ids=repr)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_traced_graph_holds_one_operator_and_another_for_the_gradient(
    reduction: str, loss: lm.Loss
) -> None:
    torch._dynamo.reset()
    logits, target = few(*problem(5, "planes", 1.0))
    criterion = lm.Criterion(loss, table(5), engine="triton", reduction=reduction)
    traced = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    results = []
    for call in (criterion, traced):
        z = logits.float().requires_grad_()
        value = call(z, target)
        upstream = torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape)
        results.append((value, *torch.autograd.grad(value, z, upstream)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("loss", [SUM, WITH_RISK + lm.EntropicRisk()], ids=repr)
@pytest.mark.parametrize("road", ["whole", "shared", "blocks"])
def test_the_operators_meet_pytorchs_checks(
    road: str, loss: lm.Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # no poison: one call is compared with another
    take(road, monkeypatch)
    criterion = lm.Criterion(loss, table(5))
    logits, target = few(*problem(5, "planes", 1.0))
    z = logits.float().reshape(2, 5, 8).requires_grad_()
    for reduction in ("mean", "none"):
        options = (None, None, -100, reduction, 0.1, criterion.bound.number)
        arguments = (z, target.reshape(2, 8), *options)
        torch.library.opcheck(
            triton.traced, arguments, test_utils=("test_schema", "test_faketensor")
        )


def test_a_function_transform_is_left_to_the_reference() -> None:
    logits, target = problem(5, "rows", 1.0)
    criterion = lm.Criterion(SUM, table(5), engine="triton")
    with pytest.raises(RuntimeError, match="a function transform is active"):
        torch.func.grad(lambda z: criterion(z, target))(logits.float())


def test_autocast_and_its_scale_act_before_the_gradient_is_rounded() -> None:
    logits, target = problem(5, "rows", 1.0)
    z = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SUM(z, target, table(5), engine="triton")
    assert value.dtype == torch.float32
    assert torch.autograd.grad(value * 1024.0, z)[0].dtype == torch.bfloat16


def test_one_changed_coefficient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = print_triton(derive(lm.ExpectedCost().bind(lm.Dense(table(3))), HARD))
    text = printed.structs[""].replace("a[0]", "1.001 * a[0]")
    wrong = placed.formula("formula_wrong", text)
    monkeypatch.setattr(kernels, "_formula", lambda *asked: wrong)
    with pytest.raises(AssertionError):
        test_its_error_is_at_most_twice_the_references(
            "whole", torch.float32, lm.ExpectedCost(), monkeypatch
        )


def test_with_auto_tensors_on_the_cpu_go_to_native() -> None:
    logits, target = problem(5, "rows", 1.0)
    asked = read(Bound(SUM.bind(lm.Dense(table(5)))), logits, target, Options())
    assert choose("auto", asked).engine.name == "native"
    assert choose("triton", asked).engine.name == "triton"


def test_activation_checkpointing_changes_nothing() -> None:
    logits, target = problem(5, "rows", 1.0)
    criterion = lm.Criterion(SUM, table(5), engine="triton")
    found = []
    for call in (criterion, lambda *a: checkpoint(criterion, *a, use_reentrant=False)):
        z = logits.float().requires_grad_()
        found.append(torch.autograd.grad(call(z, target), z)[0])
    assert torch.equal(*found)


def test_the_benchmark_of_the_gpu_checks_what_it_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    file = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
    gpu = SimpleNamespace(**runpy.run_path(str(file), run_name="gpu"))
    cpu = torch.device("cpu")
    for case in (
        gpu.Case((3, 13), torch.bfloat16, "Ordinal"),
        gpu.Case((2, 200), torch.bfloat16, "Tree"),
        gpu.Case((1, 5, 2, 3), torch.float32, "Dense"),
    ):
        costs = case.matrix(cpu).to(dtype=torch.float32)
        for name, call in gpu.contenders(case, costs, with_compile=False).items():
            wrong = gpu.error(case, name, call, costs, cpu)
            assert wrong < (1e-6 if case.dtype == torch.float32 else 3e-2), (case, name, wrong)
    shifted = lm.Criterion(lm.CrossEntropy(), engine="triton")
    wrong = gpu.error(case, "CrossEntropy", lambda z, y: 1.01 * shifted(z, y), costs, cpu)
    assert wrong > 9e-3


def test_the_check_for_a_gpu_counts_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(risk, "BLOCK_RISK", 70)
    gpu_check = SimpleNamespace(**runpy.run_path(str(folder / "gpu_check.py"), run_name="check"))
    small = ((8, 19), torch.float32, "fewer", "cpu")
    assert gpu_check.error(lm.DecisionScore(), *small, weighted=True) < 1e-6
    product = risk.product
    monkeypatch.setattr(risk, "product", lambda *asked: 1.001 * product(*asked))
    assert gpu_check.error(lm.DecisionScore(), *small, weighted=True) > 1e-4


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("labels", [False, True], ids=["one matrix", "labels"])
def test_one_logit_is_that_of_class_1_against_0(labels: bool, soft: bool) -> None:
    costs = torch.tensor([[0.5, 2.0], [7.0, 0.25]])
    if labels:
        costs = costs * torch.arange(1.0, 4.0).reshape(3, 1, 1)
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(7, 3, generator=generator).requires_grad_()
    y = torch.rand(7, 3, generator=generator) if soft else torch.arange(21).reshape(7, 3) % 2
    upstream = torch.rand(7, 3, generator=generator)
    found = []
    for name in ("triton", "reference"):
        criterion = lm.BinaryCriterion(SUM, costs, reduction="none", engine=name)
        value = criterion(z, y)
        found.append((value.detach(), *torch.autograd.grad(value, z, upstream)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
