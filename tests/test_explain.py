# SPDX-License-Identifier: BSD-3-Clause
"""``explain`` says in words what a criterion will do, and says the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from registry import every_loss, table_for
from torch import Tensor

import lossmatrix as lm
from lossmatrix import engines
from lossmatrix.engines import ENGINES, Choice, Engine, Prepared, choose, reference
from lossmatrix.problem import Options, Problem, read


def problem_of(criterion: lm.Criterion, logits: torch.Tensor) -> Problem:
    target = torch.zeros(len(logits), dtype=torch.int64)
    options = Options(weight=criterion.weight)
    return read(criterion.bound, logits, target, options)


@every_loss
def test_it_names_the_loss_its_decision_its_costs_and_its_engine(loss: lm.Loss) -> None:
    criterion = lm.Criterion(loss, table_for(loss))
    lines = lm.explain(criterion, torch.zeros(2, 4)).splitlines()
    assert lines[0] == f"loss: {loss!r}"
    rule = {
        "argmax": "argmax of the logits",
        "bayes": "least expected cost under softmax(logits)",
        None: "none of its own: pass rule= to Criterion.decide",
    }[loss.decides]
    assert lines[1] == f"decision: {rule}"
    assert lines[2] == "costs: Dense(4)"
    assert lines[3] == str(choose("auto", problem_of(criterion, torch.zeros(2, 4))))
    assert lm.explain(lm.Criterion(lm.CrossEntropy()), torch.zeros(3)).splitlines()[2] == (
        "costs: none"
    )


@dataclass
class Watched:
    """What an engine has made ready; it writes down that it runs."""

    name: str
    prepared: Prepared
    ran: list[str]

    def loss(self, problem: Problem) -> Tensor:
        self.ran.append(self.name)
        return self.prepared.loss(problem)

    def loss_and_gradient(
        self, problem: Problem, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        raise AssertionError("only the loss was asked for")


def test_the_engine_it_names_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def watched(engine: Engine) -> Engine:
        def prepare(problem: Problem) -> Prepared | str:
            prepared = engine.prepare(problem)
            return prepared if isinstance(prepared, str) else Watched(engine.name, prepared, ran)

        return Engine(engine.name, prepare)

    monkeypatch.setattr(engines, "ENGINES", tuple(map(watched, ENGINES)))
    logits, target = torch.zeros(2, 4), torch.tensor([0, 3])
    for loss in (lm.CrossEntropy(), lm.EnergyScore(), lm.CrossEntropy() + lm.Unlikelihood()):
        criterion = lm.Criterion(loss, lm.Ordinal(4))
        criterion(logits, target)
        line = lm.explain(criterion, logits).splitlines()[3]
        assert line.removeprefix("engine: ").split(";")[0] == ran[-1]
    assert len(ran) == 3
    # one logit for two classes: labels whose scores differ in more than costs take a call each
    table, dearer = [[0, 1], [5, 0]], [[0, 1], [9, 0]]
    labels, answers = torch.zeros(2, 3), torch.tensor([[0, 1, 1], [1, 0, 1]])
    for loss, costs, count in (
        (lm.CrossEntropy(), None, 1),
        (lm.CrossEntropy() + lm.ExpectedCost(), [table, dearer, table], 1),
        (lm.CrossEntropy() + lm.DecisionScore(), [table, dearer, table], 2),
    ):
        ran.clear()
        one_logit = lm.BinaryCriterion(loss, costs)
        one_logit(labels, answers)
        assert len(ran) == count
        lines = lm.explain(one_logit, labels).splitlines()
        assert lines[3:] == [f"engine: {each}" for each in dict.fromkeys(ran)]


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 4, 3)], ids=str)
def test_values_and_shapes_of_the_example_do_not_matter(shape: tuple[int, ...]) -> None:
    criterion = lm.Criterion(lm.DecisionScore(), lm.Ordinal(4))
    assert lm.explain(criterion, torch.full(shape, torch.nan)) == lm.explain(
        criterion, torch.zeros(2, 4)
    )


def test_an_engine_that_is_asked_for_is_the_engine_or_the_reason_why_not() -> None:
    for engine in ENGINES:
        criterion = lm.Criterion(lm.CrossEntropy(), engine=engine.name)
        prepared = engine.prepare(problem_of(criterion, torch.zeros(2, 4)))
        if not isinstance(prepared, str):
            assert lm.explain(criterion, torch.zeros(2, 4)).endswith(f"engine: {engine.name}")
        else:
            with pytest.raises(RuntimeError, match=f"engine {engine.name!r} cannot run this"):
                lm.explain(criterion, torch.zeros(2, 4))


def test_every_engine_passed_over_is_named_with_its_reason() -> None:
    criterion = lm.Criterion(lm.CrossEntropy(), weight=torch.ones(4, requires_grad=True))
    problem = problem_of(criterion, torch.zeros(2, 4))
    choice = choose("auto", problem)
    assert choice.engine is ENGINES[-1]
    assert [name for name, _ in choice.passed_over] == [engine.name for engine in ENGINES[:-1]]
    for engine in ENGINES[:-1]:
        reason = engine.prepare(problem)
        assert isinstance(reason, str)
        assert f"not {engine.name}: {reason}" in lm.explain(criterion, torch.zeros(2, 4))


def test_a_choice_reads_as_a_sentence() -> None:
    prepared = reference.Reference()
    assert str(Choice(ENGINES[-1], prepared)) == "engine: reference"
    passed = Choice(ENGINES[-1], prepared, (("fast", "it is cold"), ("faster", "it is late")))
    assert str(passed) == "engine: reference; not fast: it is cold; not faster: it is late"


def test_logits_that_do_not_fit_are_refused_as_in_a_call() -> None:
    criterion = lm.Criterion(lm.ExpectedCost(), lm.Ordinal(4))
    with pytest.raises(ValueError, match="do not fit logits of shape"):
        lm.explain(criterion, torch.zeros(2, 5))
    with pytest.raises(TypeError, match="expected floating point logits"):
        lm.explain(criterion, torch.zeros(2, 4, dtype=torch.int64))


def test_what_is_no_criterion_is_told_what_one_is() -> None:
    others: list[Any] = [
        lm.WeightedKappaLoss(lm.Ordinal(3)),
        lm.CrossEntropy(),
    ]
    for other in others:
        with pytest.raises(TypeError, match=f"takes a Criterion, but got a {type(other).__name__}"):
            lm.explain(other, torch.zeros(2, 3))
    logits: Any = torch.zeros(2, 3).numpy()
    with pytest.raises(TypeError, match="logits must be a tensor"):
        lm.explain(lm.Criterion(lm.CrossEntropy()), logits)


def test_it_answers_for_the_costs_of_a_batch() -> None:
    logits, cubes = torch.zeros(2, 3), lm.PerExample.matrices(torch.rand(2, 3, 3))
    criterion = lm.Criterion(lm.CrossEntropy())
    assert "costs: none" in lm.explain(criterion, logits)
    found = lm.explain(criterion, logits, costs=cubes).splitlines()
    assert found[1:3] == [
        "decision: least expected cost under softmax(logits)",
        "costs: PerExample(3, samples=2)",
    ]
    score = lm.Criterion(lm.CrossEntropy() + lm.DecisionScore(), lm.Ordinal(3))
    assert "of its own" not in lm.explain(score, logits)
    assert "it reads risks of costs that every sample has of its own" in lm.explain(
        score, logits, costs=cubes
    )


def test_one_logit_for_two_classes_is_told_in_its_own_words() -> None:
    table: list[list[float]] = [[0, 1], [5, 0]]
    logits = torch.zeros(2, 3)
    for costs, rule, named in (
        (None, "1 where the logit is above 0", "none"),
        (table, "least expected cost under sigmoid(logits)", "Dense(2)"),
    ):
        found = lm.explain(lm.BinaryCriterion(lm.CrossEntropy(), costs), logits)
        assert found.splitlines()[:3] == [
            "loss: CrossEntropy()",
            f"decision: {rule}",
            f"costs: {named}",
        ]
    by_label = [table, [[0, 1], [9, 0]], table]
    score = lm.BinaryCriterion(lm.DecisionScore(), by_label)
    assert "costs: Dense(2) and 1 more" in lm.explain(score, logits)
    with pytest.raises(ValueError, match="got costs for 3 labels"):
        lm.explain(score, torch.zeros(2, 4))
    cubes = lm.PerExample.matrices(torch.rand(6, 2, 2))
    of_batch = lm.explain(score, logits, costs=cubes)
    assert "costs: PerExample(2, samples=6)" in of_batch
    assert "it reads risks of costs that every sample has of its own" in of_batch
    summed = lm.CrossEntropy() + lm.ExpectedCost()
    unruled = lm.explain(lm.BinaryCriterion(summed, table), logits)
    assert "decision: none of its own: pass rule= to BinaryCriterion.decide" in unruled
    asked = lm.BinaryCriterion(summed, table, engine="reference")
    assert lm.explain(asked, logits).endswith("engine: reference")
