# SPDX-License-Identifier: BSD-3-Clause
"""What begins where the control has ended: refined where held-out rows show a gain, else it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy
import pytest
import torch

import lossmatrix as lm
from lossmatrix.compare import experiment
from lossmatrix.compare.deciding import decide_trial
from lossmatrix.compare.experiment import compare_task
from lossmatrix.compare.export import content
from lossmatrix.compare.methods import REFINED, default_methods, named_methods, tuned
from lossmatrix.compare.parse import parse_method
from lossmatrix.compare.recommendation import prospect, recommendation
from lossmatrix.compare.refinement import attempt_of, restored
from lossmatrix.compare.results import Comparison
from lossmatrix.compare.task import Task, UserInputError
from lossmatrix.compare.training import Schedule, predict
from lossmatrix.compare.trial import Trial, prepare

refining = import_module("lossmatrix.refine")  # the name in the package is that of the function
CROSS_ENTROPY = tuned(lm.CrossEntropy())
BAND_COSTS = lm.Dense([[0, 1], [5, 0]])
BAND_OPTIMUM = 1 / 8  # decide 1 above ½: of the rows an eighth lies above 1½ and costs 1


def band(rows: int = 240) -> Task:
    """Class 1 between ½ and 1½ of an even spread from −2 to 2: no threshold parts the classes."""
    x = numpy.linspace(-2, 2, rows)[:, None]
    target = ((x > 0.5) & (x < 1.5)).astype(int)[:, 0]
    return Task("band", "Band", BAND_COSTS, target, features=x, network="linear")


def noise(rows: int = 90) -> Task:
    """Classes that nothing predicts, in prices that no decision is right at for all."""
    random = numpy.random.default_rng(3)
    costs = lm.Dense([[0, 2, 7], [3, 0, 5], [6, 4, 0]])
    return Task(
        *("noise", "Noise", costs, random.permutation(rows) % 3),
        features=random.normal(size=(rows, 2)),
        network="linear",
    )


@pytest.fixture(scope="module", autouse=True)
def _one_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refining, "LAMBDAS", (30.0,))
        yield


def compared(task: Task, **options: object) -> Comparison:
    methods = [CROSS_ENTROPY, REFINED]
    return compare_task(task, methods, **{"seeds": 1, "tune": 1} | options)


@pytest.fixture(scope="module")
def refined() -> Comparison:
    return compared(band())


def test_what_cross_entropy_does_not_look_at_is_found(refined: Comparison) -> None:
    row = refined.results[-1]
    assert (row.method, row.rule) == ("CrossEntropy -> DecisionScore", "Bayes")
    assert refined.controls[0].average_cost > 1.5 * BAND_OPTIMUM
    assert row.average_cost < 1.15 * BAND_OPTIMUM
    assert row.verdict == "better"
    assert all(fit.attempt is not None and fit.attempt.refined for fit in row.fits)
    assert all(0.9 < fit.attempt.ratio < 1.1 for fit in row.fits if fit.attempt)
    assert numpy.isnan(row.untuned_cost)
    assert row.seconds > refined.controls[0].seconds  # the control is trained first
    assert "showed a gain in all 5 runs (the control's decisions cost 1.0" in " ".join(
        recommendation(refined)
    )


def test_what_was_found_stands_in_the_numbers_of_every_training(refined: Comparison) -> None:
    described = json.loads(json.dumps(content(refined)["results"][-1]))
    for training, fit in zip(described["trainings"], refined.results[-1].fits, strict=True):
        found = training["refinement"]
        assert found["refined"] is True
        assert found["cost"] < found["control"] - 2 * found["standard_error"]
        loss = lm.CrossEntropy() + found["lam"] * lm.DecisionScore(found["tau"])
        assert training["loss"] == repr(loss) == repr(fit.configuration.loss)


def test_where_nothing_is_gained_the_decisions_are_the_controls() -> None:
    comparison = compared(noise())
    row, control = comparison.results[-1], comparison.controls[0]
    assert numpy.array_equal(row.decisions, control.decisions)
    assert (row.difference, row.low, row.high) == (0, 0, 0)
    assert row.verdict == "no difference"
    assert row.remarks[0] == "fell back to the control in 5 of 5 runs"
    sentence = recommendation(comparison)[-1]
    assert "no sure gain in any of 5 runs, so it fell back to the control" in sentence
    assert all(fit.configuration == control.fits[0].configuration for fit in row.fits)


def one_refinement(task: Task, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """The refinements of a comparison whose files are kept."""
    seen: list[Trial] = []
    real = experiment.record_refined

    def spy(decisions: object, task: Task, trial: Trial, place: object) -> None:
        seen.append(trial)
        real(decisions, task, trial, place)

    monkeypatch.setattr(experiment, "record_refined", spy)
    compared(task, keep=folder)
    return seen


def test_it_begins_with_the_weights_of_the_control_and_each_fold_judges_rows_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refining, "STEPS", (2,) * 5)
    task = band(90)
    starts: list[dict[str, torch.Tensor]] = []
    real = refining.move_on

    def spy(model, rows, folds, held_out, costs, ridge, start):
        starts.append({name: each.clone() for name, each in model.state_dict().items()})
        left_out = torch.cat([fold.left_out for fold in folds])
        assert left_out.sort().values.tolist() == [*range(72)]  # all training rows, once each
        for fold in folds:
            own = held_out.at(fold.left_out).inputs
            assert not set(own.flatten().tolist()) & set(fold.rows.inputs.flatten().tolist())
        return real(model, rows, folds, held_out, costs, ridge, start)

    monkeypatch.setattr("lossmatrix.compare.refinement.move_on", spy)
    refinements = one_refinement(task, tmp_path, monkeypatch)
    assert len(starts) == len(refinements) == 5
    for trial in refinements:  # which were run in another order
        data = prepare(task, trial.split, Schedule())
        model = restored(trial.controls[0], data)
        own = model.state_dict()
        assert any(all(torch.equal(start[name], own[name]) for name in own) for start in starts)
        test = torch.from_numpy(data.features[trial.split.test])
        of_control = decide_trial(task, trial.controls[0], "Bayes", "test", trial.controls[:1])
        expected = predict(model, test).softmax(1).numpy()
        numpy.testing.assert_allclose(of_control.probs, expected, atol=1e-12)


def test_a_model_that_knows_its_rows_by_heart_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("lossmatrix.compare.refinement.HOPELESS", 9.0)
    monkeypatch.setattr("lossmatrix.compare.refinement.move_on", never)
    refinements = one_refinement(band(90), tmp_path, monkeypatch)
    attempts = [attempt_of(trial) for trial in refinements]
    assert all(each is not None and not each.refined for each in attempts)
    assert all(each is not None and numpy.isnan(each.lam) for each in attempts)


def test_a_network_is_refined_and_a_second_run_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refining, "STEPS", (2,) * 5)
    task = replace(band(90), network="mlp")
    first = compared(task, keep=tmp_path, schedule=Schedule(epochs=2))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 5 + 5 * 4 + 5 + 5  # trained, longer, and refined
    again = compared(task, keep=tmp_path, schedule=Schedule(epochs=2))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert numpy.array_equal(first.results[-1].decisions, again.results[-1].decisions)


def test_stored_validation_rows_decide_where_there_are_some() -> None:
    task = band()
    parts = numpy.array(["train", "val", "train", "test"] * 60)
    comparison = compared(replace(task, parts=parts))
    (fit,) = comparison.results[-1].fits
    assert fit.attempt is not None
    assert fit.attempt.refined


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "STEPS", (2,) * 5)


@pytest.mark.usefixtures("_short")
def test_all_stages_are_one_count_that_never_turns_back() -> None:
    reports: list[tuple[int, int]] = []
    compared(noise(), tune=2, report=lambda *now: reports.append(now))
    done = [each for each, _ in reports]
    assert done == sorted(done)
    assert reports[0] == (0, 10 + 2 * 20 + 5)  # folds of what is chosen and of what is untuned
    assert reports[-1][0] == reports[-1][1]
    totals = [total for _, total in reports]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.usefixtures("_short")
def test_whether_it_is_worth_trying_is_told_beforehand() -> None:
    told: list[str] = []
    compared(band(90), tell=told.append)
    assert len(told) == 1
    assert told[0].startswith("Refining is worth trying: on the first split the control's")
    assert "0.42 times" in prospect(0.42)
    assert "not likely to pay" in prospect(0.42)
    assert "nothing to gain" in prospect(float("nan"))


def test_it_takes_part_where_it_can_and_is_refused_where_it_is_asked_for() -> None:
    assert default_methods(BAND_COSTS, "linear")[-1] is REFINED
    assert REFINED not in default_methods(BAND_COSTS, torch.nn.Linear)
    assert parse_method("CrossEntropy->DecisionScore") is REFINED
    assert named_methods([parse_method("ExpectedCost"), REFINED])[-1] is REFINED
    own = lm.PerExample.matrices(BAND_COSTS.to_dense().expand(240, 2, 2).clone())
    with pytest.raises(UserInputError, match="-> DecisionScore cannot take part on band: costs"):
        compared(replace(band(), costs=own))
