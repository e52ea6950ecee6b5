# SPDX-License-Identifier: BSD-3-Clause
"""Criteria inside the systems around them: compilers, transforms, processes, files, layouts."""

from __future__ import annotations

import copy
import io
import os
import pickle
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
from registry import LOSSES, evaluate, every_engine, every_loss, parts, table_for
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import lossmatrix as lm
from lossmatrix.engines import Engine

COMPILED = {
    "cross-entropy": (lm.CrossEntropy(), None),
    "table": (lm.CrossEntropy() + 0.5 * lm.ExpectedCost(), "table"),
    "unlikelihood": (lm.CrossEntropy() + lm.Unlikelihood(), lm.Ordinal(4)),
    "energy": (lm.CrossEntropy() + lm.EnergyScore(), lm.Ordinal(4)),
    "decision": (lm.CrossEntropy() + lm.DecisionScore(), "table"),
    "tree": (
        lm.CostSensitiveCrossEntropy() + lm.EntropicRisk(),
        lm.Tree([("a", "0"), ("a", "1"), ("b", "2"), ("b", "3")]),
    ),
    "margin": (lm.SoftmaxMargin(log=True), "table"),
    "focal": (lm.CostFocal(), lm.ZeroOne(4)),
}


def made(name: str, **options: Any) -> lm.Criterion:
    loss, costs = COMPILED[name]
    return lm.Criterion(loss, table_for(loss) if costs == "table" else costs, **options)


def batch(num_rows: int = 6, num_classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(num_rows, num_classes, generator=generator)
    return logits, torch.randint(num_classes, (num_rows,), generator=generator)


def value_and_gradient(call: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, Tensor]:
    logits = inputs[0].detach().clone().requires_grad_()
    value = call(logits, *inputs[1:])
    upstream = torch.linspace(0.5, 1.5, max(1, value.numel())).reshape(value.shape).to(value)
    return value.detach(), torch.autograd.grad(value, logits, upstream)[0]


compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's about itself


# --- torch.compile -------------------------------------------------------------------------------


def test_a_loss_of_plain_tensors_is_one_inside_a_transform_of_others() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], requires_grad=True)
    target = torch.tensor([0, 2])
    criterion = lm.Criterion(lm.CrossEntropy() + lm.ExpectedCost(), torch.arange(9.0).view(3, 3))
    plain = criterion(logits, target)
    scaled = torch.vmap(lambda factor: factor * criterion(logits, target))(torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(scaled, torch.stack([2 * plain, 3 * plain]))
    ours, theirs = (torch.autograd.grad(x, logits)[0] for x in (scaled.sum(), 5 * plain))
    torch.testing.assert_close(ours, theirs)


@compiles
@pytest.mark.parametrize("name", COMPILED)
def test_a_criterion_compiles_forward_and_backward_in_one_graph(name: str) -> None:
    torch._dynamo.reset()
    criterion = made(name, weight=torch.tensor([1.0, 2.0, 0.5, 1.5]), ignore_index=2)
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    logits, target = batch()
    got = value_and_gradient(compiled, logits, target)
    expected = value_and_gradient(criterion, logits, target)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@compiles
def test_soft_targets_weights_and_decisions_compile_too() -> None:
    torch._dynamo.reset()
    criterion = made("table", label_smoothing=0.1, reduction="none")
    logits, target = batch()
    soft, share = logits.flip(0).softmax(1), torch.linspace(0.0, 1.0, 6)

    def call(logits: Tensor) -> Tensor:
        return criterion(logits, soft, sample_weight=share) + criterion(logits, target)

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(
        value_and_gradient(compiled, logits), value_and_gradient(call, logits)
    )
    bayes = lm.Criterion(lm.CrossEntropy(), table_for(lm.CrossEntropy()))
    decide = torch.compile(bayes.decide, backend="eager", fullgraph=True)
    assert torch.equal(decide(logits), bayes.decide(logits))


@compiles
@pytest.mark.parametrize("soft", [False, True])
def test_a_kappa_loss_compiles_in_one_graph(soft: bool) -> None:
    torch._dynamo.reset()
    criterion = lm.WeightedKappaLoss(table_for(lm.ExpectedCost()))
    logits, target = batch()
    target = logits.flip(0).softmax(1) if soft else target

    def call(logits: Tensor) -> Tensor:
        share = torch.linspace(0.5, 1.0, 6)
        return criterion(logits, target) + criterion(logits, target, sample_weight=share)

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(
        value_and_gradient(compiled, logits), value_and_gradient(call, logits)
    )


@compiles
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("loss", [lm.CrossEntropy() + lm.ExpectedCost(), lm.CostFocal()])
def test_costs_of_labels_compile_in_one_graph(loss: lm.Loss, dtype: torch.dtype) -> None:
    torch._dynamo.reset()
    costs = torch.tensor([[[0, 1], [5, 0]], [[0, 2], [3, 0]], [[0, 1], [5, 0]], [[0, 1], [1, 0]]])
    factor = torch.tensor([1.0, 2.0, 0.5, 1.5])
    criterion = lm.BinaryCriterion(loss, costs, weight=factor, pos_weight=factor.flip(0))
    logits, _ = batch()
    target = (logits.flip(1) > 0).to(dtype)
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    got = value_and_gradient(compiled, logits, target)
    torch.testing.assert_close(got, value_and_gradient(criterion, logits, target))


@compiles
def test_a_compiled_criterion_takes_batches_of_any_size() -> None:
    torch._dynamo.reset()
    criterion = made("unlikelihood")
    compiled = torch.compile(criterion, backend="eager", fullgraph=True, dynamic=True)
    for num_rows in (6, 3, 11):
        logits, target = batch(num_rows)
        torch.testing.assert_close(compiled(logits, target), criterion(logits, target))


@compiles
@pytest.mark.integration
@pytest.mark.slow
def test_the_default_compiler_gives_the_same_numbers_at_any_gap() -> None:
    torch._dynamo.reset()
    criterion = lm.Criterion(lm.CrossEntropy() + lm.Unlikelihood(), table_for(lm.Unlikelihood()))
    compiled = torch.compile(criterion, fullgraph=True)
    gaps = torch.tensor([0.0, 17.0, 200.0, 1e4])
    logits = torch.zeros(4, 4)
    logits[:, 3] = gaps
    target = torch.ones(4, dtype=torch.int64)
    got = value_and_gradient(compiled, logits, target)
    expected = value_and_gradient(criterion, logits, target)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@compiles
def test_a_table_is_not_read_in_a_program_that_is_exported() -> None:
    class Decides(nn.Module):
        def forward(self, probs: Tensor) -> Tensor:
            return lm.decide(probs, lm.Dense(torch.eye(4)))

    with pytest.raises(ValueError, match="make the matrix before, in __init__ of the module"):
        torch.export.export(Decides(), (batch()[0].softmax(1),))


@compiles
def test_a_criterion_is_exported_as_a_program() -> None:
    criterion = made("decision", weight=torch.tensor([1.0, 2.0, 0.5, 1.5]))
    logits, target = batch()
    program = torch.export.export(criterion, (logits, target))
    other = logits.flip(0)
    torch.testing.assert_close(program.module()(other, target), criterion(other, target))


@pytest.mark.parametrize("name", COMPILED)
def test_shapes_are_found_without_numbers(name: str) -> None:
    """On the meta device, where models are laid out before there is memory for them."""
    logits = torch.empty(6, 4, 3, device="meta", dtype=torch.float16, requires_grad=True)
    target = torch.empty(6, 3, device="meta", dtype=torch.int64)
    value = made(name, reduction="none").to("meta")(logits, target)
    assert (value.shape, value.dtype, value.device.type) == ((6, 3), torch.float16, "meta")
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.shape == logits.shape


def test_emptied_memory_keeps_its_costs() -> None:
    """``to_empty`` before loading a checkpoint, which holds no costs, must not lose them."""
    criterion = made("table")
    logits, target = batch()
    before = criterion(logits, target)
    assert criterion.to_empty(device="cpu")(logits, target) == before


# --- torch.func ----------------------------------------------------------------------------------


@every_loss
def test_function_transforms_see_through_every_loss(loss: lm.Loss) -> None:
    D = table_for(loss)
    criterion = lm.Criterion(loss, D)
    logits, target = batch()
    value, gradient = value_and_gradient(lm.Criterion(loss, D, reduction="none"), logits, target)
    upstream = torch.linspace(0.5, 1.5, 6)[:, None]

    by_grad = torch.func.grad(lambda z: criterion(z, target))(logits)
    torch.testing.assert_close(by_grad, gradient / upstream / 6, rtol=1e-4, atol=1e-6)

    per_row = torch.func.vmap(criterion)(logits, target)  # one row at a time, unbatched
    torch.testing.assert_close(per_row, value, rtol=1e-5, atol=1e-6)
    per_sample = torch.func.vmap(torch.func.grad(criterion))(logits, target)
    torch.testing.assert_close(per_sample, gradient / upstream, rtol=1e-4, atol=1e-6)

    rows = lm.Criterion(loss, D, reduction="none")
    jacobian = torch.func.jacrev(lambda z: rows(z, target))(logits)
    diagonal = jacobian[torch.arange(6), torch.arange(6)]
    torch.testing.assert_close(diagonal, gradient / upstream, rtol=1e-4, atol=1e-6)
    assert jacobian.count_nonzero() == diagonal.count_nonzero()  # rows do not touch each other


@compiles
def test_forward_mode_and_hessians_work() -> None:
    criterion = made("unlikelihood")
    logits, target = batch()
    direction = logits.flip(0)
    _, slope = torch.func.jvp(lambda z: criterion(z, target), (logits,), (direction,))
    _, gradient = value_and_gradient(criterion, logits, target)
    gradient = gradient / 0.5  # the upstream of a scalar
    torch.testing.assert_close(slope, (gradient * direction).sum())
    hessian = torch.func.hessian(lambda z: criterion(z, target))(logits)
    assert hessian.shape == (6, 4, 6, 4)
    flat = hessian.reshape(24, 24)
    torch.testing.assert_close(flat, flat.T, rtol=1e-4, atol=1e-6)


def refused(reason: str, call: Callable[[str], Tensor]) -> Tensor:
    """What ``auto`` makes of a call that the kernels refuse."""
    with pytest.raises(RuntimeError, match=f"engine 'native' cannot run this: .*{reason}"):
        call("native")
    return call("auto")


@compiles
def test_transforms_are_refused_by_kernels_with_the_reason_and_left_to_the_reference() -> None:
    D = table_for(lm.ExpectedCost()).float()
    z, y = batch()

    def value(engine: str, costs: Tensor = D) -> Callable[[Tensor], Tensor]:
        return lambda z: (lm.CrossEntropy() + lm.ExpectedCost())(z, y, costs, engine=engine)

    leaf = z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(value("native")(leaf), leaf)
    active = "a function transform is active"
    by_grad = refused(active, lambda engine: torch.func.grad(value(engine))(z))
    torch.testing.assert_close(by_grad, expected)
    by_jacobian = refused(active, lambda engine: torch.func.jacrev(value(engine))(z))
    torch.testing.assert_close(by_jacobian, expected)
    many = torch.stack([z, 2.0 * z])
    mapped = refused(active, lambda engine: torch.func.vmap(value(engine))(many))
    torch.testing.assert_close(mapped, torch.stack([value("native")(z), value("native")(2.0 * z)]))
    curvature = refused("transform|forward mode", lambda e: torch.func.hessian(value(e))(z))
    by_autograd = torch.autograd.functional.hessian(value("native"), z)
    torch.testing.assert_close(curvature, by_autograd, rtol=1e-4, atol=1e-6)
    tangent = refused("transform|forward mode", lambda e: torch.func.jvp(value(e), (z,), (z,))[1])
    torch.testing.assert_close(tangent, (expected * z).sum())
    of_costs = refused(active, lambda e: torch.func.grad(lambda D: value(e, D)(z))(D))
    shares = torch.zeros(4, 4).index_add(0, y, z.softmax(1)) / 6
    torch.testing.assert_close(of_costs, shares)


# --- training systems ----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "reference", "auto"])  # triton: interpreted.py
def test_activation_checkpointing_changes_nothing(engine: str) -> None:
    criterion = lm.Criterion(
        lm.CrossEntropy() + lm.Unlikelihood(), table_for(lm.Unlikelihood()), engine=engine
    )
    logits, target = batch()
    plain = value_and_gradient(criterion, logits, target)
    again = value_and_gradient(
        lambda z, y: checkpoint(criterion, z, y, use_reentrant=False), logits, target
    )
    torch.testing.assert_close(again, plain, rtol=0, atol=0)


@every_engine
@every_loss
def test_a_second_backward_through_a_kept_graph_gives_the_same(
    loss: lm.Loss, engine: Engine
) -> None:
    logits, target = batch()
    logits.requires_grad_()
    value = evaluate(engine, loss, logits, target, table_for(loss))
    upstream = torch.linspace(-1.0, 1.0, 6)
    one = torch.autograd.grad(value, logits, upstream, retain_graph=True)[0]
    two = torch.autograd.grad(value, logits, 2.0 * upstream, retain_graph=True)[0]
    torch.testing.assert_close(two, 2.0 * one, rtol=1e-6, atol=0)


@every_engine
@every_loss
def test_logits_and_targets_are_read_and_never_written(loss: lm.Loss, engine: Engine) -> None:
    D = table_for(loss)
    for dtype in (torch.float32, torch.bfloat16):
        logits, target = batch()
        logits = logits.to(dtype).requires_grad_()
        kept = (logits.detach().clone(), target.clone(), D.clone())
        versions = (logits._version, target._version, D._version)
        evaluate(engine, loss, logits, target, D).sum().backward()
        assert (logits._version, target._version, D._version) == versions
        for tensor, before in zip((logits, target, D), kept, strict=True):
            assert torch.equal(tensor.detach(), before)


@every_engine
@every_loss
def test_results_repeat_bit_by_bit(loss: lm.Loss, engine: Engine) -> None:
    logits, target = batch(257, 4)
    logits.requires_grad_()
    results = []
    for _ in range(3):
        value = evaluate(engine, loss, logits, target, table_for(loss), reduction="mean")
        results.append((value.detach(), torch.autograd.grad(value, logits)[0]))
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])


@every_engine
def test_results_do_not_depend_on_the_number_of_threads(engine: Engine) -> None:
    logits, target = batch(5000, 40)
    loss, D = lm.CrossEntropy() + lm.Unlikelihood(), torch.rand(40, 40)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(evaluate(engine, loss, logits, target, D))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


@every_engine
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_memory_that_holds_nonsense_is_overwritten(
    engine: Engine, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ``torch.empty`` hands out, here NaN, must not be seen in a result."""
    empty, empty_like = torch.empty, torch.empty_like

    def spoilt(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def made(*args: Any, **kwargs: Any) -> Tensor:
            tensor = make(*args, **kwargs)
            return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

        return made

    loss = lm.CrossEntropy() + lm.Unlikelihood()
    logits, target = batch()
    target[2] = -100
    D = table_for(loss)
    monkeypatch.setattr(torch, "empty", spoilt(empty))
    monkeypatch.setattr(torch, "empty_like", spoilt(empty_like))
    logits.requires_grad_()
    value = evaluate(engine, loss, logits, target, D, reduction=reduction)
    value.sum().backward()
    assert logits.grad is not None
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()
    assert (logits.grad[2] == 0).all()


# --- layouts -------------------------------------------------------------------------------------


def strided(logits: Tensor) -> dict[str, Tensor]:
    """The same (B, C, H, W) numbers laid out in memory in different ways."""
    padded = torch.zeros(*(2 * n for n in logits.shape))
    padded[::2, ::2, ::2, ::2] = logits
    return {
        "contiguous": logits.contiguous(),
        "channels last": logits.contiguous(memory_format=torch.channels_last),
        "every second": padded[::2, ::2, ::2, ::2],
        "transposed": logits.transpose(0, 3).contiguous().transpose(0, 3),
        "a slice": torch.cat([torch.full_like(logits, torch.nan), logits], 1)[:, 4:],
        "offset": torch.cat([torch.zeros(1), logits.flatten()])[1:].reshape(logits.shape),
    }


@every_engine
@every_loss
def test_strides_do_not_matter(loss: lm.Loss, engine: Engine) -> None:
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(2))
    target = torch.randint(4, (2, 3, 5), generator=torch.Generator().manual_seed(3))
    D, reference = table_for(loss), None
    turned = target.transpose(1, 2).contiguous().transpose(1, 2)  # same indices, other strides
    for name, laid_out in strided(logits).items():
        assert torch.equal(laid_out, logits), name
        leaf = laid_out.detach().requires_grad_()
        value = evaluate(engine, loss, leaf, turned, D)
        gradient = torch.autograd.grad(value.sum(), leaf)[0]
        if reference is None:
            reference = (value, gradient)
        torch.testing.assert_close(value, reference[0])
        torch.testing.assert_close(gradient, reference[1])


@every_engine
def test_expanded_logits_and_targets_are_read_through(engine: Engine) -> None:
    row, target = torch.randn(1, 4), torch.tensor([2])
    D = table_for(lm.Unlikelihood())
    one = evaluate(engine, lm.Unlikelihood(), row, target, D)
    leaf = row.clone().requires_grad_()
    many = evaluate(engine, lm.Unlikelihood(), leaf.expand(7, 4), target.expand(7), D)
    torch.testing.assert_close(many, one.expand(7))
    many.sum().backward()
    single = row.clone().requires_grad_()
    evaluate(engine, lm.Unlikelihood(), single, target, D).sum().backward()
    assert leaf.grad is not None
    assert single.grad is not None
    torch.testing.assert_close(leaf.grad, 7 * single.grad)


# --- files and copies ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPILED)
def test_criteria_survive_pickling_copying_and_saving(name: str) -> None:
    criterion = made(name, weight=torch.tensor([1.0, 2.0, 0.5, 1.5]))
    logits, target = batch()
    expected = criterion(logits, target)
    stream = io.BytesIO()
    torch.save(criterion, stream)
    stream.seek(0)
    copies = [
        pickle.loads(pickle.dumps(criterion)),
        copy.deepcopy(criterion),
        copy.copy(criterion),
        torch.load(stream, weights_only=False),
    ]
    for other in copies:
        assert repr(other) == repr(criterion)
        assert torch.equal(other(logits, target), expected)
        assert torch.equal(
            other.decide(logits, rule="bayes"), criterion.decide(logits, rule="bayes")
        )
        other.double()
        torch.testing.assert_close(other(logits, target), expected)


@every_loss
def test_losses_survive_pickling_and_copying(loss: lm.Loss) -> None:
    assert pickle.loads(pickle.dumps(loss)) == copy.deepcopy(loss) == loss


def test_a_deep_copy_shares_no_memory() -> None:
    criterion = made("table")
    other = copy.deepcopy(criterion)
    mine = {buffer.data_ptr() for buffer in criterion.buffers()}
    assert not mine & {buffer.data_ptr() for buffer in other.buffers()}
    assert other.costs is not None
    table = other.costs.tables["table"]
    assert table.data_ptr() in {buffer.data_ptr() for buffer in other.buffers()}


# --- several processes ---------------------------------------------------------------------------


def _train(rank: int, port: int, path: str) -> None:
    """One of two processes: a step of training on its half of the batch."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    try:
        criterion = made("table", weight=torch.tensor([1.0, 2.0, 0.5, 1.5]), reduction="sum")
        net = nn.parallel.DistributedDataParallel(_net())
        x, y = _data()
        half = slice(rank, None, 2)
        criterion(net(x[half]), y[half]).backward()
        wrapped = nn.Sequential(_net(), criterion)  # buffers of the criterion are broadcast
        nn.parallel.DistributedDataParallel(wrapped)
        if rank == 0:
            torch.save([p.grad for p in net.parameters()], path)
    finally:
        torch.distributed.destroy_process_group()


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 4)


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(8, 3, generator=generator), torch.arange(8) % 4


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed")
def test_two_processes_train_as_one(tmp_path: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = str(tmp_path / "gradients.pt")
    torch.multiprocessing.spawn(_train, (port, path), nprocs=2)
    got = torch.load(path)
    net, (x, y) = _net(), _data()
    criterion = made("table", weight=torch.tensor([1.0, 2.0, 0.5, 1.5]), reduction="sum")
    criterion(net(x), y).backward()
    for ours, parameter in zip(got, net.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(ours, parameter.grad / 2)  # the two are averaged


# --- many classes --------------------------------------------------------------------------------


def test_a_million_classes_on_a_line_and_ten_thousand_leaves_of_a_tree_fit() -> None:
    for costs in (
        lm.Ordinal(1_000_000),
        lm.Tree([(str(i % 100), str(i)) for i in range(10_000)]),
    ):
        C = costs.num_classes
        logits = torch.randn(4, C, generator=torch.Generator().manual_seed(7), requires_grad=True)
        criterion = lm.Criterion(lm.CrossEntropy() + lm.EnergyScore() + lm.ExpectedCost(), costs)
        value = criterion(logits, torch.tensor([0, C - 1, 5, C // 2]))
        value.backward()
        assert logits.grad is not None
        assert value.isfinite()
        assert logits.grad.isfinite().all()
        assert criterion.decide(logits.detach(), rule="bayes").shape == (4,)


def test_every_loss_of_the_registry_is_met_here() -> None:
    met = {type(part) for loss, _ in COMPILED.values() for part in parts(loss)}
    streamed = {type(part) for loss in LOSSES.values() for part in parts(loss)}
    assert len(met & streamed) >= 9
