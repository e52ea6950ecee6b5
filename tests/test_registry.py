# SPDX-License-Identifier: BSD-3-Clause
"""Adding a loss touches one class and one export; everything else applies to it by itself."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import test_laws
import test_laws_statements
import torch
from registry import (
    ASYMMETRIC,
    INDICES,
    LOSSES,
    PROBABILITIES,
    REFUSALS,
    RUNNING,
    SINGLE,
    SMOOTHED,
    every_loss,
    final_losses,
    parts,
    problem_of,
    refusal,
    refuses,
    table_for,
    variants,
)
from torch import Tensor

import lossmatrix as lm
from lossmatrix.engines import ENGINES
from lossmatrix.testing import LAWS, check_loss

# --- what the registry holds ---------------------------------------------------------------------


def test_every_final_loss_is_exported_and_registered() -> None:
    assert len(final_losses()) >= 12
    for cls in final_losses():
        assert getattr(lm, cls.__name__) is cls
        assert any(type(loss) is cls for loss in SINGLE.values())


def test_every_exported_loss_is_final_or_the_base_of_all() -> None:
    exported = {
        name for name, x in vars(lm).items() if inspect.isclass(x) and issubclass(x, lm.Loss)
    }
    assert exported - {cls.__name__ for cls in final_losses()} == {"Loss"}


def test_every_parameter_of_every_loss_is_varied() -> None:
    for cls in final_losses():
        fields = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        assert len(variants(cls)) == 1 + len(fields)
        assert len(set(variants(cls))) == 1 + len(fields)


def test_only_the_energy_score_asks_for_symmetry() -> None:
    picky = [loss for loss in LOSSES.values() if refuses(loss, ASYMMETRIC)]
    assert picky == [lm.EnergyScore()]


def test_the_last_engine_runs_everything() -> None:
    assert ENGINES[-1].name == "reference"
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)


@every_loss
def test_losses_are_values_hashable_equal_printable_and_frozen(loss: lm.Loss) -> None:
    twin = eval(repr(loss), {name: getattr(lm, name) for name in dir(lm)})
    assert twin == loss
    assert hash(twin) == hash(loss)
    for part in parts(loss):
        for field in dataclasses.fields(part):  # type: ignore[arg-type]
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, 1.0)


@pytest.mark.parametrize(
    ("cls", "field"),
    [
        (lm.SoftTargetCrossEntropy, "temperature"),
        (lm.DecisionScore, "tau"),
        (lm.SimilarityLikelihood, "tau"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_parameters_that_must_be_positive_are_checked_when_the_loss_is_made(
    cls: type[lm.Loss], field: str, value: float
) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a finite number > 0"):
        cls(**{field: value})


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_gamma_must_be_finite_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match="gamma must be a finite number ≥ 0"):
        lm.CostFocal(gamma=value)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -float("inf")])
def test_lam_must_be_finite_and_not_zero(value: float) -> None:
    with pytest.raises(ValueError, match="lam must be a finite number other than 0"):
        lm.EntropicRisk(lam=value)


# --- what runs where -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [INDICES, SMOOTHED, PROBABILITIES])
@every_loss
def test_an_engine_refuses_what_the_table_lists_in_its_words_and_runs_the_rest(
    loss: lm.Loss, kind: str
) -> None:
    logits, target = torch.zeros(3, 4), torch.tensor([0, 3, 1])
    y = torch.full((3, 4), 0.25) if kind == PROBABILITIES else target
    problem = problem_of(loss, logits, y, table_for(loss), label_smoothing=0.1 * (kind == SMOOTHED))
    for engine in RUNNING:
        prepared, reason = engine.prepare(problem), refusal(engine.name, loss, kind)
        if reason is None:
            assert not isinstance(prepared, str), prepared
        else:
            assert isinstance(prepared, str), f"{engine.name} runs: take it from the table"
            assert reason in prepared


def test_the_table_of_refusals_names_engines_losses_and_targets_that_there_are() -> None:
    assert REFUSALS.keys() == {engine.name for engine in ENGINES}
    for listed in REFUSALS.values():
        assert listed.keys() <= {*final_losses(), SMOOTHED, PROBABILITIES}


# --- check_loss ----------------------------------------------------------------------------------


@every_loss
def test_every_loss_passes_the_check_that_users_run_on_theirs(loss: lm.Loss) -> None:
    assert check_loss(loss) == tuple(law.name for law in LAWS)


@dataclass(frozen=True)
class BoxCox(lm.Loss):
    """Between unlikelihood (q → 0) and expected cost (q = 1): Σ_j d_j (1 − (1 − p_j)^q) / q."""

    q: float = 0.5

    decides, convex, proper, linear_in_costs = "argmax", False, False, True

    def term(self, cell: lm.Cells) -> Tensor:
        """−d expm1(q log(1 − p)) / q."""
        return lm.weigh(cell.cost, -(cell.log_q * self.q).expm1() / self.q)


NEW = BoxCox()


def test_a_new_loss_of_four_lines_passes_the_check() -> None:
    assert check_loss(NEW)
    assert check_loss(NEW, costs=lm.Ordinal(5, power=2))
    assert check_loss(lm.CrossEntropy() + 0.5 * NEW)


def test_a_new_loss_lies_between_its_neighbours_and_meets_them() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 1, 2, 3, 1])
    near_zero, at_one = BoxCox(1e-9), BoxCox(1.0)
    for a, b in ((near_zero, lm.Unlikelihood()), (at_one, lm.ExpectedCost())):
        torch.testing.assert_close(a(logits, target, ASYMMETRIC), b(logits, target, ASYMMETRIC))


def parameters_of(test: Callable[..., None]) -> dict[str, Sequence[object]]:
    """What a test is parametrised by."""
    marks = getattr(test, "pytestmark", ())
    return {mark.args[0]: [*mark.args[1]] for mark in marks if mark.name == "parametrize"}


def kinds_of(test: Callable[..., None]) -> list[str]:
    """The kinds of targets that a test asks engines for besides."""
    return [mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "targets"]


LAWS_OF_ALL = {
    name: test
    for module in (test_laws, test_laws_statements)
    for name, test in vars(module).items()
    if name.startswith("test_")
    for axes in [parameters_of(test)]
    if "loss" in axes
    and len(axes["loss"]) == len(LOSSES)
    and axes.keys() <= {"loss", "engine", "targets"}
}
CALLS = [
    (name, arguments)
    for name, test in LAWS_OF_ALL.items()
    for axes in [parameters_of(test)]
    for engine in axes.get("engine", [None])
    for kind in axes.get("targets", [None])
    for arguments in [{"engine": engine, "targets": kind}]
    if engine is None
    or not any(refusal(engine.name, NEW, each) for each in [kind or INDICES, *kinds_of(test)])
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_every_law_of_this_suite_applies_to_a_new_loss(
    name: str, arguments: dict[str, object]
) -> None:
    given = {each: value for each, value in arguments.items() if value is not None}
    LAWS_OF_ALL[name](loss=NEW, **given)


def test_the_laws_are_found() -> None:
    assert len(LAWS_OF_ALL) >= 20


# --- a wrong loss is found out -------------------------------------------------------------------


@dataclass(frozen=True)
class Naive(lm.Loss):
    """Unlikelihood with 1 − p where the engine offers q."""

    decides, convex, proper, linear_in_costs = "argmax", False, False, True

    def term(self, cell: lm.Cells) -> Tensor:
        """−d log(1 − p)."""
        return -lm.weigh(cell.cost, (-cell.p).log1p())


@dataclass(frozen=True)
class Boasting(lm.Loss):
    """States a convexity and a linearity that it lacks."""

    decides, convex, proper, linear_in_costs = None, True, False, True

    def term(self, cell: lm.Cells) -> Tensor:
        """Concave in p, quadratic in the costs."""
        return cell.cost * cell.cost * cell.p * cell.q


@dataclass(frozen=True)
class Shifting(lm.Loss):
    """Treats the first of four classes unlike the others."""

    decides, convex, proper, linear_in_costs = None, False, False, False

    def term(self, cell: lm.Cells) -> Tensor:
        """Twice the expected cost of the first class."""
        return cell.cost * cell.p * torch.tensor([2.0, 1.0, 1.0, 1.0])


def test_check_loss_names_every_law_that_is_broken() -> None:
    with pytest.raises(AssertionError, match="a loss linear in the costs scales") as caught:
        check_loss(Boasting())
    assert "a convex loss lies below its chords" in str(caught.value)
    assert "a soft target is the mean over its classes" in str(caught.value)
    assert "breaks 3 laws" in str(caught.value)
    with pytest.raises(AssertionError, match="not finite at gap"):
        check_loss(Naive())
    with pytest.raises(AssertionError, match="relabelling the classes changes nothing"):
        check_loss(Shifting())


def test_check_loss_says_which_matrix_it_lacks() -> None:
    @dataclass(frozen=True)
    class Refusing(lm.Loss):
        decides, convex, proper, linear_in_costs = None, False, False, True

        def term(self, cell: lm.Cells) -> Tensor:
            return cell.cost * cell.p

        def bind(self, costs: lm.CostMatrix | None) -> tuple[object, ...]:  # type: ignore[override]
            raise ValueError("never")

    with pytest.raises(ValueError, match="refuses the matrices of check_loss"):
        check_loss(Refusing())
