# SPDX-License-Identifier: BSD-3-Clause
"""Kernels inside the transforms of torch.func: what the reference says, from the native engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacrev, jvp, vjp, vmap

import lossmatrix as lm
from lossmatrix.engines import native, reference
from lossmatrix.problem import Problem, read

LOSSES: list[lm.Loss] = [
    lm.ExpectedCost(),
    lm.CrossEntropy() + 0.5 * lm.Unlikelihood(),
    lm.CrossEntropy() + 2.0 * lm.SoftmaxMargin(),  # two kernels
    lm.CostFocal(1.5),
]
REDUCTIONS = ["mean", "sum", "none"]
Loss = Callable[..., Tensor]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def drawn(*shape: int) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.double
    )


def table(num_classes: int) -> lm.Dense:
    generator = torch.Generator().manual_seed(num_classes)
    return lm.Dense(5.0 * torch.rand(num_classes, num_classes, generator=generator).double())


def targets(*shape: int) -> Tensor:
    """Class indices of four classes; one in seven is ignored, each slice another number of them."""
    target = torch.randint(4, shape, generator=torch.Generator().manual_seed(3))
    target.view(-1)[::7] = -100
    return target


def agree(transformed: Callable[[Loss], Any], loss: lm.Loss, **options: Any) -> None:
    """``transformed`` makes of the native engine what it makes of the reference."""
    criteria = [
        lm.Criterion(loss, table(4), engine=engine, **options).double()
        for engine in ("native", "reference")
    ]
    torch.testing.assert_close(*(transformed(criterion) for criterion in criteria))


WEIGHT = torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=torch.double)


@every_loss
@every_reduction
def test_gradients_and_jacobians(loss: lm.Loss, reduction: str) -> None:
    z, y = drawn(6, 4), targets(6)
    share = drawn(6).abs()
    for options in ({}, {"weight": WEIGHT}):
        agree(
            lambda f: grad(lambda z: f(z, y, sample_weight=share).pow(2).sum())(z),
            loss,
            reduction=reduction,
            **options,
        )
        agree(lambda f: jacrev(f)(z, y), loss, reduction=reduction, **options)


@every_loss
@every_reduction
@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0), (2, 1)], ids=repr)
def test_every_slice_of_a_mapped_batch_is_reduced_by_itself(
    loss: lm.Loss, reduction: str, in_dims: tuple[int | None, int | None]
) -> None:
    of_logits, of_target = in_dims
    z = drawn(6, 4) if of_logits is None else drawn(3, 6, 4).movedim(0, of_logits)
    y = targets(6) if of_target is None else targets(3, 6).movedim(0, of_target)
    share = drawn(3, 6).abs()
    for weight in (None, WEIGHT):
        options = {"weight": weight, "reduction": reduction}
        agree(lambda f: vmap(f, in_dims)(z, y), loss, **options)
        agree(
            lambda f: vmap(
                lambda z, y, share: grad(lambda z: f(z, y, sample_weight=share).sin().sum())(z),
                (*in_dims, 0),
            )(z, y, share),
            loss,
            **options,
        )


@every_loss
def test_planes_of_pixels_and_single_rows(loss: lm.Loss) -> None:
    z, y = drawn(3, 2, 4, 5, 6), targets(3, 2, 5, 6)
    agree(lambda f: vmap(f)(z, y), loss)
    agree(lambda f: vmap(grad(f))(z, y), loss)
    z, y = drawn(6, 4), targets(6)
    agree(lambda f: vmap(grad(f))(z, y), loss, reduction="sum")  # a mean of no rows is no number


@every_loss
@every_reduction
def test_maps_of_maps(loss: lm.Loss, reduction: str) -> None:
    z, y = drawn(2, 3, 6, 4), targets(3, 6)
    options = {"reduction": reduction, "weight": WEIGHT}
    agree(lambda f: vmap(vmap(f), (0, None))(z, y), loss, **options)
    agree(lambda f: vmap(vmap(f, (0, None)), (1, 0))(z, y), loss, **options)
    agree(lambda f: grad(lambda z: vmap(vmap(f), (0, None))(z, y).pow(2).sum())(z), loss, **options)


@every_loss
def test_derivatives_of_derivatives(loss: lm.Loss) -> None:
    z, y = drawn(5, 4), targets(5)
    other = drawn(3, 5, 4)
    agree(lambda f: grad(lambda z: grad(f)(z, y).pow(2).sum())(z), loss)
    agree(lambda f: jacrev(jacrev(f))(z, y), loss, weight=WEIGHT)
    agree(lambda f: vmap(jacrev(jacrev(f)), (0, None))(other, y), loss)
    agree(
        lambda f: jacrev(lambda z: vjp(lambda z: f(z, y), z)[1](y.double())[0])(z),
        loss,
        reduction="none",
    )
    agree(lambda f: grad(lambda z: jacrev(jacrev(f))(z, y).pow(2).sum())(z), loss)


@every_loss
def test_the_transforms_end_and_autograd_goes_on(loss: lm.Loss) -> None:
    z, y = drawn(3, 6, 4).requires_grad_(), targets(3, 6)
    for engine in ("native", "reference"):
        criterion = lm.Criterion(loss, table(4), engine=engine).double()

        def value(z: Tensor, criterion: Loss = criterion) -> Tensor:
            return vmap(criterion)(z, y)

        assert torch.autograd.gradcheck(value, (z,))
        if engine == "native":
            assert torch.autograd.gradgradcheck(value, (z,))


def test_logits_that_no_transform_has_wrapped() -> None:
    z, y = drawn(6, 4).requires_grad_(), targets(6)
    factors = drawn(3)
    for loss in LOSSES:
        agree(lambda f: grad(lambda a: (a * f(z, y)).sum())(factors), loss)
        agree(lambda f: vmap(lambda a: a * f(z, y))(factors), loss)


def test_a_criterion_made_inside_a_transform_serves_outside() -> None:
    z, y, made = drawn(6, 4), targets(6), []

    def value(z: Tensor) -> Tensor:
        D = torch.arange(16.0, dtype=torch.double).reshape(4, 4) + 0.0 * z.detach().sum()
        made.append(lm.Criterion(lm.ExpectedCost(), lm.ZeroOne(4), engine="native"))
        return lm.ExpectedCost()(z, y, D, engine="native") + made[-1](z, y)

    D = torch.arange(16.0, dtype=torch.double).reshape(4, 4)
    exact = lm.ExpectedCost()(z, y, D, engine="reference")
    exact = exact + lm.ExpectedCost()(z, y, lm.ZeroOne(4), engine="reference")
    torch.testing.assert_close(vjp(value, z)[0], exact)
    torch.testing.assert_close(made[0](z, y), lm.ExpectedCost()(z, y, lm.ZeroOne(4)))


@every_loss
def test_a_matrix_made_inside_a_transform_has_every_derivative(loss: lm.Loss) -> None:
    z, y, D = drawn(5, 4), targets(5), table(4).to_dense()

    def third(engine: str) -> Tensor:
        def value(z: Tensor) -> Tensor:
            return loss(z, y, 2.0 * D + 0.0 * z.detach().sum(), engine=engine)

        return grad(lambda z: grad(lambda z: grad(value)(z).sin().sum())(z).pow(2).sum())(z)

    torch.testing.assert_close(third("native"), third("reference"))


def test_a_half_precision_gradient_is_scaled_before_it_is_rounded() -> None:
    z, y = torch.linspace(0.0, 120.0, 32).reshape(8, 4).half(), torch.full((8,), 3)
    criterion = lm.Criterion(lm.CrossEntropy(), engine="native")
    scaled = grad(lambda z: 2.0**15 * criterion(z, y).float())(2.0 * z)  # 10⁻⁷ and less, unscaled
    exact = grad(lambda z: 2.0**15 * lm.CrossEntropy()(z, y, engine="reference"))(2.0 * z.double())
    torch.testing.assert_close(scaled.double(), exact, rtol=2**-10, atol=2**-24)


def test_the_reference_is_asked_for_second_derivatives_and_for_nothing_else() -> None:
    asked: list[str] = []

    def higher(problem: Problem) -> Tensor:
        asked.append(problem.reduction)
        return reference.run(problem)

    z, y = drawn(6, 4), targets(6)
    terms = lm.ExpectedCost().bind(table(4))

    def value(z: Tensor) -> Tensor:
        problem = read(
            terms,
            z,
            y,
            weight=None,
            sample_weight=None,
            ignore_index=-100,
            reduction="mean",
            label_smoothing=0.0,
        )
        assert native.refuses(problem) is None
        return native.run(problem, higher)

    vmap(grad(value))(drawn(3, 6, 4))
    jacrev(value)(z)
    assert not asked
    jacrev(jacrev(value))(z)
    assert asked == ["none"]


def test_a_target_that_is_no_class_is_named() -> None:
    with pytest.raises(IndexError, match="Target 9 is out of bounds"):
        vmap(lm.Criterion(lm.CrossEntropy(), engine="native"))(
            drawn(3, 6, 4), torch.full((3, 6), 9)
        )


def refused(reason: str, call: Callable[[str], Any]) -> Any:
    """What ``auto`` makes of a call that the native engine refuses."""
    with pytest.raises(RuntimeError, match=reason):
        call("native")
    return call("auto")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's about itself
def test_forward_mode_is_refused_with_the_reason_and_left_to_the_reference() -> None:
    z, y, D = drawn(6, 4), targets(6), table(4)

    def value(engine: str) -> Loss:
        return lm.Criterion(lm.ExpectedCost(), D, engine=engine).double()

    slope = refused("forward mode", lambda e: jvp(lambda z: value(e)(z, y), (z,), (z,))[1])
    torch.testing.assert_close(slope, (grad(value("reference"))(z, y) * z).sum())
    curvature = refused("forward mode", lambda e: hessian(value(e))(z, y))
    torch.testing.assert_close(curvature, jacrev(jacrev(value("native")))(z, y))

    def dual(engine: str) -> Tensor:
        with forward_ad.dual_level():
            loss = value(engine)(forward_ad.make_dual(z, z), y)
            return forward_ad.unpack_dual(loss).tangent

    torch.testing.assert_close(refused("forward mode", dual), slope)


def test_what_a_transform_cannot_have_is_refused_with_the_reason() -> None:
    z, y = drawn(3, 6, 4), targets(3, 6)

    def overwriting(engine: str) -> Tensor:
        criterion = lm.Criterion(lm.CrossEntropy(), inplace_gradient=True, engine=engine)
        return vmap(criterion)(z, y)

    agreed = vmap(lm.Criterion(lm.CrossEntropy()))(z, y)
    torch.testing.assert_close(refused("inplace_gradient", overwriting), agreed)

    rows = lm.PerExample(drawn(6, 4).abs())
    refused(
        "costs belong to the samples",
        lambda e: grad(lambda z: lm.ExpectedCost()(z, y[0], rows, engine=e))(z[0]),
    )
    refused(
        "the costs require a gradient",
        lambda e: grad(
            lambda D: grad(lambda z: lm.ExpectedCost()(z, y[0], D, engine=e))(z[0]).pow(2).sum()
        )(table(4).to_dense()),
    )
    refused(
        "functionalize",
        lambda e: torch.func.functionalize(lm.Criterion(lm.CrossEntropy(), engine=e))(z[0], y[0]),
    )
