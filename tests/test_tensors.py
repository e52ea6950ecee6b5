# SPDX-License-Identifier: BSD-3-Clause
"""Tensors are read as they are, at the time of the loss, whoever else is looking."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import every_engine
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import lossmatrix as lm
from lossmatrix.boosting import CostObjective
from lossmatrix.engines import Engine

COSTS = lm.Dense([[0.0, 1.0, 2.5], [3.0, 0.0, 0.5], [1.5, 5.0, 0.0]])
LOSS = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
ENGINES = ["native", "reference"]


def negated(tensor: Tensor) -> Tensor:
    """The same numbers, whose memory holds their negatives."""
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return logits.to(dtype), torch.tensor([0, 2, 1, 1, 2])


# --- memory that holds other numbers -------------------------------------------------------------


@pytest.mark.parametrize("name", ["logits", "target", "weight", "sample_weight"])
def test_lazily_negated_tensors_are_read_with_their_sign(name: str) -> None:
    logits, _ = batch()
    given = {
        "logits": logits,
        "target": logits.flip(0).softmax(1),
        "weight": torch.tensor([1.0, 2.0, 0.5]),
        "sample_weight": torch.linspace(0.5, 2.0, 5),
    }
    expected = LOSS(**given, costs=COSTS)
    given[name] = negated(given[name])
    torch.testing.assert_close(LOSS(**given, costs=COSTS), expected)
    with pytest.raises(RuntimeError, match="negated where it is read"):
        LOSS(**given, costs=COSTS, engine="native")


# --- tracers and exported programs ---------------------------------------------------------------


@quiet
@pytest.mark.parametrize("loss", [LOSS, lm.CrossEntropy() + lm.DecisionScore()], ids=repr)
@pytest.mark.parametrize(
    "trace",
    [
        lambda call, z, y: torch.jit.trace(call, (z, y)),
        lambda call, z, y: make_fx(call)(z, y),
        lambda call, z, y: make_fx(call, pre_dispatch=True)(z, y),
    ],
    ids=["jit.trace", "make_fx", "pre_dispatch"],
)
def test_what_a_tracer_records_is_the_loss_of_other_logits_too(
    trace: Callable[..., Callable[..., Tensor]], loss: lm.Loss
) -> None:
    criterion = lm.Criterion(loss, COSTS)
    logits, target = batch()
    traced = trace(lambda z, y: criterion(z, y), logits, target)
    target[1] = -100  # and of targets that are ignored
    torch.testing.assert_close(traced(3 * logits, target), criterion(3 * logits, target))


@quiet
def test_a_traced_gradient_is_that_of_other_logits_too() -> None:
    criterion = lm.Criterion(LOSS, COSTS)
    logits, target = batch()

    def slopes(z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return torch.autograd.grad(criterion(z, target), z)[0]

    torch.testing.assert_close(make_fx(slopes)(logits)(3 * logits), slopes(3 * logits))


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.criterion = lm.Criterion(LOSS, COSTS)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.criterion(logits, target)


@quiet
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_has_operators_of_pytorch_alone_and_any_number_of_rows(
    strict: bool,
) -> None:
    rows = torch.export.Dim("rows")
    program = torch.export.export(
        Step(), batch(), strict=strict, dynamic_shapes={"logits": {0: rows}, "target": {0: rows}}
    )
    assert "lossmatrix" not in str(program.graph_module.graph)
    logits, target = (torch.cat([each, each[:2]]) for each in batch())
    target[3] = -100
    torch.testing.assert_close(program.module()(logits, target), Step()(logits, target))


@quiet
@pytest.mark.integration
def test_an_exported_program_computes_the_same_where_other_criteria_were_made(
    tmp_path: Path,
) -> None:
    path, (logits, target) = tmp_path / "step.pt2", batch()
    torch.export.save(torch.export.export(Step(), (logits, target)), path)
    torch.save((logits, target), tmp_path / "batch.pt")
    code = f"""
import torch, lossmatrix as lm
others = [lm.Criterion(lm.Unlikelihood(), [[5.0, 7, 1], [7, 5, 2], [1, 2, 3]]) for _ in range(9)]
print(torch.export.load({str(path)!r}).module()(*torch.load({str(tmp_path / "batch.pt")!r})).item())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(Step()(logits, target).item(), rel=1e-6)


# --- what changes between forward and backward ---------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["logits", "target", "weight", "sample_weight", "costs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("twice", [False, True], ids=["scaled", "curved"])
def test_what_was_changed_after_the_loss_is_an_error_or_leaves_its_gradient(
    twice: bool, dtype: torch.dtype, name: str, engine: str
) -> None:
    def step(change: bool) -> Tensor:
        logits, target = batch(dtype)
        rows = torch.rand(5, 3, generator=torch.Generator().manual_seed(1))
        given: dict[str, Any] = {
            "logits": logits.requires_grad_().clone(),
            "target": target,
            "weight": torch.tensor([1.0, 2.0, 0.5]),
            "sample_weight": torch.linspace(0.5, 2.0, 5),
        }
        value = LOSS(**given, costs=lm.PerExample(rows), engine=engine) / 4
        if change:
            with torch.no_grad():
                (rows if name == "costs" else given[name]).fill_(1)
        (slopes,) = torch.autograd.grad(value, given["logits"], create_graph=twice)
        return torch.autograd.grad(slopes.square().sum(), given["logits"])[0] if twice else slopes

    refused = ""
    try:
        changed = step(change=True)
    except RuntimeError as error:
        refused = str(error)
    if refused:
        assert "in place" in refused or "inplace" in refused
    else:
        torch.testing.assert_close(changed, step(change=False))


# --- half precision ------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_compiled_gradient_is_scaled_before_it_is_rounded(
    dtype: torch.dtype, reduction: str
) -> None:
    criterion = lm.Criterion(LOSS, COSTS, reduction=reduction, engine="native")
    compiled = torch.compile(lambda z, y: criterion(z, y), backend="aot_eager", fullgraph=True)
    target = torch.zeros(4096, dtype=torch.long)
    found = []
    for call in (criterion, compiled):
        logits = torch.tensor([[16.0, 0, -1]]).to(dtype).repeat(4096, 1).requires_grad_()
        with torch.autocast("cpu", dtype):
            value = call(logits, target)
        (value * 2.0**16).sum().backward()  # what a gradient scaler does
        found.append(logits.grad)
    assert (found[0] != 0).all()
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


# --- rows that count for nothing -----------------------------------------------------------------


@quiet
@pytest.mark.parametrize("upstream", [float("nan"), float("inf")])
@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@every_engine
def test_an_ignored_row_passes_nothing_on(
    engine: Engine, compiled: bool, reduction: str, upstream: float
) -> None:
    criterion = lm.Criterion(LOSS, COSTS, reduction=reduction, engine=engine.name)
    call: Any = criterion
    if compiled:
        call = torch.compile(lambda z, y: criterion(z, y), backend="aot_eager")
    logits, target = batch()
    logits[1], target[1] = torch.nan, -100
    value = call(logits.requires_grad_(), target)
    value.backward(torch.full_like(value, upstream))
    assert logits.grad is not None
    assert (logits.grad[1] == 0).all()
    assert logits.grad[0].isnan().any() or logits.grad[0].isinf().any()


@pytest.mark.parametrize("loss", [LOSS, lm.EntropicRisk(), lm.CrossEntropy() + lm.EnergyScore()])
@pytest.mark.parametrize("of", ["class", "sample"])
@pytest.mark.parametrize("num_classes", [3, 70])
@pytest.mark.parametrize("row", [float("nan"), float("-inf")])
@every_engine
def test_a_row_of_weight_0_counts_for_nothing_whatever_it_holds(
    engine: Engine, row: float, num_classes: int, of: str, loss: lm.Loss
) -> None:
    logits = torch.randn(5, num_classes, generator=torch.Generator().manual_seed(3))
    target, costs = torch.tensor([0, 2, 1, 1, 2]), lm.Ordinal(num_classes)
    logits[0], logits[0, 1] = row, 0.0
    logits = logits.requires_grad_()
    class_weight = torch.linspace(0.0, 2.0, num_classes)
    weights: dict[str, Tensor] = {
        "class": {"weight": class_weight},
        "sample": {"sample_weight": torch.tensor([0.0, 1.0, 2.0, 0.5, 1.0])},
    }[of]
    losses = loss(logits, target, costs, reduction="none", engine=engine.name, **weights)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses[0] == 0
    assert (gradient[0] == 0).all()
    assert (losses[1:] > 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("num_classes", [3, 70])
@pytest.mark.parametrize("place", [0, 1])
@every_engine
def test_an_overflowed_logit_is_nan_as_in_pytorch(
    engine: Engine, place: int, num_classes: int
) -> None:
    for loss in (lm.CrossEntropy(), LOSS, lm.CrossEntropy() + lm.EnergyScore(), lm.CostFocal()):
        logits = torch.zeros(2, num_classes)
        logits[1, place] = torch.inf
        logits.requires_grad_()
        costs, target = lm.Ordinal(num_classes), torch.tensor([1, 0])
        losses = loss(logits, target, costs, reduction="none", engine=engine.name)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert losses.isnan().tolist() == [False, True]
        assert gradient.isnan().any(1).tolist() == [False, True]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_masked_class_without_a_share_leaves_every_slope_a_number(engine: str) -> None:
    logits = torch.tensor([[0.5, -torch.inf, 1.0]], requires_grad=True)
    shares = torch.tensor([[0.25, 0.0, 0.75]])
    for loss in (lm.CostFocal(0.5), lm.SoftmaxMargin(), lm.EntropicRisk()):
        value = loss(logits, shares, COSTS, engine=engine)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.5, 2.0])
@every_engine
def test_a_power_of_what_is_almost_0_has_a_finite_slope(engine: Engine, gamma: float) -> None:
    logits = torch.zeros(40, 3)
    logits[:, 0] = torch.linspace(80.0, 120.0, 40)  # p from the smallest normal numbers to 0
    logits.requires_grad_()
    target = torch.zeros(40, dtype=torch.long)
    losses = lm.CostFocal(gamma)(logits, target, COSTS, reduction="none", engine=engine.name)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()


# --- attributes and memory -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("loss", lm.CrossEntropy()), ("costs", lm.ZeroOne(3)), ("costs", None)]
)
def test_loss_and_costs_of_a_criterion_cannot_be_assigned(name: str, value: object) -> None:
    costs = lm.Dense([[0.0, 1.0], [5.0, 0.0]])
    for criterion in (
        lm.Criterion(LOSS, COSTS),
        lm.BinaryCriterion(LOSS, costs),
        lm.BinaryCriterion(LOSS, [costs, costs.scaled(2.0)]),
    ):
        with pytest.raises(AttributeError, match="make another Criterion"):
            setattr(criterion, name, value)


def test_tables_of_a_criterion_and_costs_of_an_objective_cannot_be_assigned() -> None:
    with pytest.raises(AttributeError, match="make another Criterion"):
        lm.Criterion(LOSS, COSTS).costs_table = torch.ones(3, 3)
    with pytest.raises(AttributeError, match="make another Criterion"):
        lm.WeightedKappaLoss(COSTS).costs = lm.ZeroOne(3)
    objective: Any = CostObjective(LOSS, COSTS)
    for name in ("loss", "costs"):
        with pytest.raises(AttributeError):
            setattr(objective, name, None)


def test_attributes_that_forward_reads_are_obeyed() -> None:
    logits, target = batch()
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]), requires_grad=False)
    criterion, theirs = lm.Criterion(lm.CrossEntropy()), nn.CrossEntropyLoss()
    criterion.weight = theirs.weight = weight
    torch.testing.assert_close(criterion(logits, target), theirs(logits, target))
    kappa = lm.WeightedKappaLoss(COSTS)
    kappa.ignore_index = 1
    kept = target != 1
    torch.testing.assert_close(kappa(logits, target), kappa(logits[kept], target[kept]))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own figures")
def test_ten_thousand_transformed_calls_keep_nothing() -> None:
    criterion = lm.Criterion(LOSS, COSTS)
    call = torch.func.vmap(torch.func.grad(lambda z, y: criterion(z, y)))
    logits, target = batch()

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(500):
        call(logits, target)
    before = resident()
    for _ in range(10_000):
        call(logits, target)
    assert resident() - before < 10_000 * 100  # 260 bytes each were kept once


# --- tensors that do not meet --------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["target", "weight", "sample_weight", "probabilities", "costs"])
def test_tensors_of_another_device_are_refused_and_not_read(name: str, engine: str) -> None:
    """A process of its own: a kernel that reads memory which is not there ends it."""
    code = f"""
import torch, lossmatrix as lm
given = {{"target": torch.tensor([0, 1]), "sample_weight": torch.ones(2), "weight": torch.ones(3)}}
name, costs = {name!r}, lm.Dense(torch.ones(3, 3))
if name == "probabilities":
    given["target"], name = torch.full((2, 3), 1 / 3), "target"
if name == "costs":
    costs = costs.to("meta")
else:
    given[name] = given[name].to("meta")
try:
    loss = lm.CrossEntropy() + lm.ExpectedCost()
    criterion = lm.Criterion(loss, lm.ZeroOne(3), engine={engine!r})
    criterion.weight = given["weight"]
    rows = {{"sample_weight": given["sample_weight"]}}
    criterion(torch.zeros(2, 3), given["target"], costs=costs, **rows)
except RuntimeError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    what = "the costs" if name == "costs" else name.replace("probabilities", "target")
    assert run.returncode == 0, run.stderr
    assert f"on the same device, but {what}: meta, logits: cpu" in run.stdout


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("classes", "ignore_index"), [(200, -100), (300, 255), (300, -100)])
def test_class_indices_of_eight_bits_are_those_of_64(
    classes: int, ignore_index: int, engine: str
) -> None:
    logits = torch.randn(4, classes, generator=torch.Generator().manual_seed(1))
    narrow = torch.tensor([156, 3, 44, 156], dtype=torch.uint8)
    options: dict[str, Any] = {"ignore_index": ignore_index, "engine": engine}
    criterion = lm.Criterion(lm.CrossEntropy(), **options)
    kappa = lm.WeightedKappaLoss(lm.Ordinal(classes), **options)
    for loss in (criterion, kappa):
        assert loss(logits, narrow).item() == loss(logits, narrow.long()).item()
    weight = torch.linspace(1, 2, classes)
    for each in (None, weight):
        counts = [
            lm.count(t, ignore_index=ignore_index, weight=each) for t in (narrow, narrow.long())
        ]
        assert counts[0] == counts[1] > 0


@quiet
@pytest.mark.parametrize("name", ["decide", "risk", "count", "costs of samples"])
@pytest.mark.parametrize("tracer", [make_fx, torch.jit.trace])
def test_a_traced_call_computes_with_other_numbers_too(
    name: str, tracer: Callable[..., Any]
) -> None:
    def call(z: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        if name == "decide":
            return lm.Criterion(lm.CrossEntropy(), COSTS).decide(z)
        if name == "risk":
            return lm.conditional_risk(z.softmax(1), COSTS)
        if name == "count":
            return lm.count(y, weight=torch.tensor([1.0, 2.0, 3.0]))
        return lm.ExpectedCost()(z, y, lm.PerExample(rows))

    (z, y), rows = batch(), torch.rand(5, 3, generator=torch.Generator().manual_seed(5))
    call(z, y, rows)  # what is kept once is made before
    first = (call, (z, y, rows)) if tracer is torch.jit.trace else None
    program = tracer(*first) if first else make_fx(call)(z, y, rows)
    others = -z, (y + 1) % 3, rows.flip(0)
    torch.testing.assert_close(program(*others), call(*others))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_the_weight_of_an_ignored_row_may_be_anything(weight: float, engine: str) -> None:
    logits, target = batch()
    target[2] = -100
    kept = torch.tensor([0, 1, 3, 4])
    rows = torch.arange(1.0, 6.0)
    rows[2] = weight
    of_classes = torch.tensor([weight, 1.0, 2.0])  # class 0 would stand for ignored rows
    criterion = lm.Criterion(LOSS, COSTS, engine=engine)
    weighted = lm.Criterion(LOSS, COSTS, weight=of_classes, engine=engine)
    given = [logits.clone().requires_grad_() for _ in range(4)]
    losses = [
        criterion(given[0], target, sample_weight=rows),
        criterion(given[1][kept], target[kept], sample_weight=rows[kept]),
        weighted(given[2][1:], target[1:]),
        weighted(given[3][kept[1:]], target[kept[1:]]),
    ]
    gradients = [torch.autograd.grad(loss, z)[0] for loss, z in zip(losses, given, strict=True)]
    for i in (0, 2):
        torch.testing.assert_close(losses[i], losses[i + 1])
        torch.testing.assert_close(gradients[i], gradients[i + 1])
