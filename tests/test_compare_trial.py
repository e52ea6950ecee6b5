# SPDX-License-Identifier: BSD-3-Clause
"""Trials: tuned alike, run anywhere, resumed where they stopped."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy
import pytest

import lossmatrix as lm
from lossmatrix.compare import trial as trials
from lossmatrix.compare.deciding import cheapest
from lossmatrix.compare.experiment import compare_task
from lossmatrix.compare.methods import (
    Configuration,
    Method,
    default_methods,
    named_methods,
    tuned,
)
from lossmatrix.compare.parse import parse_loss
from lossmatrix.compare.results import Comparison
from lossmatrix.compare.splits import Split
from lossmatrix.compare.task import Task, UserInputError
from lossmatrix.compare.training import Schedule

COSTS = lm.Dense([[0, 1, 9], [2, 0, 4], [1, 3, 0]])
CROSS_ENTROPY = Method("CrossEntropy", lm.CrossEntropy())
COSTLY = Method("costly", lm.ExpectedCost())


def blobs(rows: int = 60) -> Task:
    """Three classes that overlap in two numbers."""
    random = numpy.random.default_rng(7)
    target = numpy.arange(rows) % 3
    features = numpy.eye(3)[target][:, :2] + random.normal(0, 0.6, (rows, 2))
    return Task("blobs", "Blobs", COSTS, target, features=features, network="linear")


def decisions(comparison: Comparison) -> list[list[int]]:
    return [result.decisions.tolist() for result in comparison.results]


# --- tuning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 12])
def test_every_method_tries_equally_many_configurations_and_the_untuned_one_first(
    count: int,
) -> None:
    for method in default_methods(lm.Ordinal(4)):
        tried = method.configurations(count)
        assert len(set(tried)) == len(tried) == count
        assert tried[0] == Configuration(method.loss, 1.0)


@pytest.mark.parametrize("count", [4, 12])
def test_every_method_searches_alike_what_is_not_its_own(count: int) -> None:
    steps = [[each.step for each in m.configurations(count)] for m in default_methods(COSTS)]
    assert all(each == steps[0] for each in steps)
    assert steps[0][:4] == [1, 0.3, 3, 0.1]


def test_what_is_a_methods_own_is_tried_beside_the_steps() -> None:
    methods = {method.name: method for method in default_methods(COSTS)}
    sums = [each.loss for each in methods["CrossEntropy + ExpectedCost"].configurations(5)]
    weights = [{type(loss): w for w, loss in s.parts}[lm.ExpectedCost] for s in sums]
    assert sorted(weights) == [0.3, 1, 3, 10, 30]
    sharp = [each.loss for each in methods["CrossEntropy + DecisionScore"].configurations(4)]
    assert [(s.parts[1][0], s.parts[1][1].tau) for s in sharp] == [
        (1, 0.3),
        (10, 0.1),
        (3, 0.3),
        (100, 0.1),
    ]
    soft = methods["SoftTargetCrossEntropy"].configurations(4)
    assert [each.loss.temperature for each in soft] == [1, 0.3, 0.1, 1]


def test_one_name_is_one_method_whoever_names_it() -> None:
    default = {method.name: method for method in default_methods(COSTS)}
    named = named_methods([*map(parse_loss, default), lm.CrossEntropy()])
    assert {method.name: method for method in named} == default
    assert len(named) == len(default)
    turned = tuned(lm.DecisionScore() + lm.CrossEntropy())
    assert len(turned.configurations(5)) == len({each.loss for each in turned.configurations(5)})


@pytest.mark.parametrize(
    "text",
    [
        "CrossEntropy + 100 * DecisionScore",
        "CrossEntropy + DecisionScore(tau=0.1)",
        "SoftTargetCrossEntropy(temperature=0.2)",
        "CrossEntropy + ExpectedCost + Unlikelihood",
    ],
)
def test_what_is_stated_is_not_tuned_and_stands_in_the_name(text: str) -> None:
    method = tuned(parse_loss(text))
    assert method.name == text
    assert {each.loss for each in method.configurations(4)} == {method.loss}


def test_a_method_is_tuned_by_the_rule_that_it_is_used_with() -> None:
    rules = {method.name: method.rule for method in default_methods(lm.Ordinal(4))}
    assert rules == {
        "CrossEntropy": "temperature + Bayes",
        "CrossEntropy + DecisionScore": "Bayes",
        "CrossEntropy + EnergyScore": "Bayes",
        "CrossEntropy + ExpectedCost": "argmax",
        "CrossEntropy + Unlikelihood": "argmax",
        "CostSensitiveCrossEntropy": "argmax",
        "SoftTargetCrossEntropy": "argmax",
    }
    assert all(m.rule in m.rules(4) for m in default_methods(lm.Ordinal(4)))
    assert [len(CROSS_ENTROPY.rules(count)) for count in (100, 101)] == [4, 3]


def test_a_temperature_has_no_say_where_probabilities_are_decided_as_they_are() -> None:
    # At a temperature both decide alike; as they are, the first candidate never risks 10 for 1.
    blunt = [[0.0, 2.2], [0.0, 2.2], [0.0, 2.2], [2.2, 0.0], [0.0, 2.2], [0.0, 2.2]]
    sharp = [[2 * z for z in row] for row in blunt]
    task, candidates = scored(numpy.array([sharp, blunt]), [1, 1, 1, 1, 1, 0])
    proper = lm.CrossEntropy() + lm.DecisionScore()
    raw = [replace(c, method=replace(COSTLY, name=c.method.name, loss=proper)) for c in candidates]
    assert cheapest(task, raw) is raw[1]
    calibrated = [replace(c, method=replace(CROSS_ENTROPY, name=c.method.name)) for c in raw]
    assert cheapest(task, calibrated) is calibrated[0]


def scored(validation: numpy.ndarray, target: list[int]) -> tuple[Task, list[trials.Trial]]:
    """Candidates whose validation logits are given: one task of scores for each of them."""
    rows = numpy.arange(len(target))
    split = Split(0, rows[:0], rows, rows[:0])
    names = [f"candidate {i}" for i in range(len(validation))]
    scores = dict(zip(names, validation, strict=True))
    task = Task("t", "t", lm.Dense([[0, 10], [1, 0]]), numpy.array(target), scores=scores)
    candidates = [
        trials.Trial(split, replace(COSTLY, name=name), Configuration(lm.ExpectedCost()), Path())
        for name in names
    ]
    return task, candidates


def test_the_configuration_is_chosen_by_cost_not_by_accuracy() -> None:
    accurate_but_costly = [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    cheap = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    task, candidates = scored(numpy.array([accurate_but_costly, cheap, cheap]), [0, 1, 1, 1])
    assert cheapest(task, candidates) is candidates[1]
    light = replace(task, weight=numpy.array([0.1, 1.0, 1.0, 1.0]))
    assert cheapest(light, candidates) is candidates[0]


def test_the_configuration_is_chosen_by_the_rule_that_the_loss_decides_by() -> None:
    # By argmax the second costs more; its probabilities, decided by cost, never miss class 0.
    sure = [[0.0, 4.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]
    unsure = [[0.0, 1.0], [0.0, 1.0], [0.0, 40.0], [0.0, 40.0], [0.0, 40.0]]
    task, candidates = scored(numpy.array([sure, unsure]), [0, 0, 1, 1, 1])
    assert cheapest(task, candidates) is candidates[0]
    proper = [replace(c, method=replace(CROSS_ENTROPY, name=c.method.name)) for c in candidates]
    assert cheapest(task, proper) is proper[1]


def test_the_untuned_cost_is_that_of_a_run_without_tuning() -> None:
    methods = [CROSS_ENTROPY, Method("sum", lm.ExpectedCost(), (lm.Unlikelihood(),))]
    tuned = compare_task(blobs(150), methods, seeds=1, tune=3).results
    plain = compare_task(blobs(150), methods, seeds=1, tune=1).results
    for mine, other in zip(tuned, plain, strict=True):
        assert mine.untuned_cost == pytest.approx(other.normalized_cost)
    assert any(fit.configuration.step != 1 for fit in tuned[0].fits)


# --- running -------------------------------------------------------------------------------------


def test_processes_train_what_one_process_trains(tmp_path: Path) -> None:
    methods = default_methods(COSTS)[:3]
    reports: list[tuple[int, int]] = []
    alone = compare_task(
        blobs(), methods, seeds=1, tune=2, report=lambda *done: reports.append(done)
    )
    together = compare_task(blobs(), methods, seeds=1, tune=2, jobs=2)
    assert decisions(alone) == decisions(together)
    assert reports[0] == (0, 30 + 40)
    done, total = reports[-1]  # of cross-entropy, in four folds more
    assert done == total
    assert 30 + 5 * 4 <= total <= 30 + 10 * 4


def test_a_second_run_trains_only_what_the_first_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare_task(blobs(), [CROSS_ENTROPY], seeds=1, tune=2, keep=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert 10 + 5 * 4 <= len(before) <= 10 + 10 * 4  # what is chosen, and what is untuned
    trained: list[trials.Trial] = []
    real = trials.run_trial

    def counted(trial: trials.Trial, data: trials.TrialData) -> None:
        trained.append(trial)
        real(trial, data)

    monkeypatch.setattr("lossmatrix.compare.backend.run_trial", counted)
    next(iter(before)).unlink()
    again = compare_task(blobs(), [CROSS_ENTROPY, COSTLY], seeds=1, tune=2, keep=tmp_path)
    assert len(trained) == 1 + 10
    assert decisions(again)[:4] == decisions(first)
    assert not list(tmp_path.glob(".*"))


def other_trial(whole: bytes) -> bytes:
    """A whole outcome, of a training of another name."""
    arrays = dict(numpy.load(io.BytesIO(whole)))
    file = io.BytesIO()
    numpy.savez(file, **arrays | {"trial": numpy.array("other")})
    return file.getvalue()


def other_rows(whole: bytes) -> bytes:
    """An outcome of this name with a row too few."""
    arrays = dict(numpy.load(io.BytesIO(whole)))
    file = io.BytesIO()
    numpy.savez(file, **arrays | {"validation": arrays["validation"][1:]})
    return file.getvalue()


def one_array(whole: bytes) -> bytes:
    """An array where a file of several belongs."""
    file = io.BytesIO()
    numpy.save(file, numpy.ones(3))
    return file.getvalue()


DAMAGE = {
    "truncated": lambda whole: whole[:100],
    "cut at the end": lambda whole: whole[:-30],
    "a bit turned": lambda whole: whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
    "empty": lambda whole: b"",
    "garbage": lambda whole: b"hello",
    "of another training": other_trial,
    "of other rows": other_rows,
    "one array": one_array,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_outcome_is_trained_again_with_a_word(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = compare_task(blobs(), [CROSS_ENTROPY], seeds=1, tune=1, keep=tmp_path)
    damaged = sorted(tmp_path.iterdir())[1]
    whole = damaged.read_bytes()
    damaged.write_bytes(damage(whole))
    with pytest.warns(
        UserWarning, match=f"{damaged.name} cannot be read .*: trained again"
    ) as said:
        again = compare_task(blobs(), [CROSS_ENTROPY], seeds=1, tune=1, keep=tmp_path)
    assert len(said) == 1
    assert decisions(again) == decisions(first)
    assert len(damaged.read_bytes()) == len(whole)
    compare_task(blobs(), [CROSS_ENTROPY], seeds=1, tune=1, keep=tmp_path)


PLACES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe that nobody writes to": os.mkfifo,
    "a link to itself": lambda place: place.symlink_to(place.name),
    "a link to nowhere": lambda place: place.symlink_to("nowhere"),
}


@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
def test_what_is_no_file_in_the_place_of_an_outcome_is_one_sentence(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    compare_task(blobs(), [CROSS_ENTROPY], seeds=1, tune=1, keep=tmp_path)
    place = next(tmp_path.iterdir())
    place.unlink()
    make(place)
    with pytest.raises(UserInputError, match=f"{place.name} is no file, .* move it away"):
        compare_task(blobs(), [CROSS_ENTROPY], seeds=1, tune=1, keep=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"features": blobs().features + 1e-9},
        {"target": numpy.roll(blobs().target, 1)},
        {"costs": COSTS.scaled(2)},
        {"weight": numpy.full(60, 2.0)},
        {"network": "mlp"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_trials_of_another_task_are_not_taken_for_ones_own(change: dict[str, object]) -> None:
    schedule = Schedule()
    mine = trials.fingerprint(blobs(), schedule)
    assert trials.fingerprint(replace(blobs(), **change), schedule) != mine
    assert trials.fingerprint(blobs(), Schedule(epochs=41)) != mine
    assert trials.fingerprint(replace(blobs(), name="other"), schedule) == mine


@dataclass(frozen=True)
class KilledOnce(lm.CrossEntropy):
    """Cross-entropy whose first training takes its process along, if that is not ours."""

    mark: Path = Path()
    ours: int = field(default_factory=os.getpid)

    def bind(self, costs: lm.CostMatrix | None) -> object:
        if os.getpid() != self.ours and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().bind(costs)


def test_a_killed_worker_loses_no_finished_trial(tmp_path: Path) -> None:
    methods = [CROSS_ENTROPY, Method("killed", KilledOnce(tmp_path / "mark"))]
    done: list[int] = []
    comparison = compare_task(
        blobs(), methods, seeds=1, tune=1, jobs=2, report=lambda n, total: done.append(n)
    )
    assert (tmp_path / "mark").exists()
    assert decisions(comparison)[0] == decisions(comparison)[4]
    assert max(done) == 10 + 10 * 4


@dataclass(frozen=True)
class Killer(lm.CrossEntropy):
    """Cross-entropy that no process but ours survives."""

    ours: int = field(default_factory=os.getpid)

    def bind(self, costs: lm.CostMatrix | None) -> object:
        if os.getpid() != self.ours:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().bind(costs)


def test_a_worker_that_is_killed_every_time_is_one_sentence() -> None:
    with pytest.raises(UserInputError, match="killed in 3 attempts"):
        compare_task(blobs(), [Method("killer", Killer())], seeds=1, tune=1, jobs=2)


# --- clusters ------------------------------------------------------------------------------------


@contextmanager
def ray_cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def dask_cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize(("backend", "start"), [("ray", ray_cluster), ("dask", dask_cluster)])
@pytest.mark.filterwarnings("default")  # those packages' own
def test_a_cluster_trains_what_one_process_trains(backend: str, start: object) -> None:
    methods = [CROSS_ENTROPY, COSTLY]
    alone = compare_task(blobs(), methods, seeds=1, tune=1)
    with start() as address:
        there = compare_task(
            blobs(), methods, seeds=1, tune=1, jobs=2, backend=backend, cluster=address
        )
    assert decisions(alone) == decisions(there)


@pytest.mark.filterwarnings("default")
def test_a_cluster_that_does_not_answer_is_one_sentence() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UserInputError, match="where Dask's scheduler is"):
        compare_task(blobs(), [CROSS_ENTROPY], seeds=1, backend="dask")
