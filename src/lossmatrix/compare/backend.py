# SPDX-License-Identifier: BSD-3-Clause
"""Where trials run: processes of this machine, or a Ray or Dask cluster that is there already."""
# joblib, Ray and Dask carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportMissingImports=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedBaseClass=false

import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeAlias

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from lossmatrix.compare.refinement import refine_trial
from lossmatrix.compare.task import Backend, Task, UserInputError
from lossmatrix.compare.training import Schedule
from lossmatrix.compare.trial import Trial, prepare, read_outcome, run_trial

Progress: TypeAlias = Callable[[int, int], None]  # how many trials are done, and of how many
ATTEMPTS = 3  # a worker that is killed takes the pool along; what it leaves undone is tried anew


def silent(done: int, total: int) -> None:
    """Report nothing."""


def run_trials(
    task: Task,
    schedule: Schedule,
    trials: Sequence[Trial],
    jobs: int,
    backend: Backend,
    cluster: str | None,
    report: Progress,
) -> None:
    """Train what has no outcome yet, and again what a killed worker took along."""
    unique = {trial.path: trial for trial in trials}
    left = unfinished([*unique.values()])
    warn_of_damage(left)
    with workers(jobs, backend, cluster) as killed:
        for _ in range(ATTEMPTS):
            done = len(unique) - len(left)
            report(done, len(unique))
            try:
                pool = ProgressParallel(lambda n, done=done: report(done + n, len(unique)))
                pool(calls(task, schedule, left))
            except killed:
                left = unfinished(left)
                continue
            if lost := unfinished(left):
                raise UserInputError(
                    f"The workers wrote {len(lost)} outcomes where this machine cannot read them: "
                    "name a folder with --keep that all machines of the cluster share."
                )
            return
    raise UserInputError(
        f"Worker processes were killed in {ATTEMPTS} attempts; most often memory ran out: use "
        "fewer --jobs. With --keep, a new run goes on from what is finished."
    )


def unfinished(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that have no outcome, or none that can be read."""
    return [trial for trial in trials if read_outcome(trial) is None]


def warn_of_damage(trials: Sequence[Trial]) -> None:
    """Say which files hold no outcome of their trial, and are written anew."""
    damaged = [trial.path for trial in trials if os.path.lexists(trial.path)]
    if other := next((path for path in damaged if not os.path.isfile(path)), None):
        raise UserInputError(
            f"{other} is no file, but a folder, a pipe or a link to nowhere in the place of a "
            "training: move it away."
        )
    if damaged:
        others = f" and {len(damaged) - 1} more" if damaged[1:] else ""
        warnings.warn(
            f"{damaged[0]}{others} cannot be read as the outcome of a training: trained again.",
            stacklevel=3,
        )


def calls(task: Task, schedule: Schedule, trials: Sequence[Trial]) -> Iterator[Any]:
    """A call for each trial; the rows of a split are encoded when its first trial is due."""
    by_split = sorted(trials, key=lambda trial: id(trial.split))
    for _, group in groupby(by_split, lambda trial: id(trial.split)):
        same_split = list(group)
        with parallel_config("sequential"):  # scikit-learn would use the pool that waits for it
            data = prepare(task, same_split[0].split, schedule)
        for trial in same_split:
            yield delayed(refine_trial if trial.controls else run_trial)(trial, data)


class ProgressParallel(Parallel):
    """joblib's `Parallel`, which reports how many calls are done in place of printing it."""

    def __init__(self, report: Callable[[int], None], **options: Any) -> None:
        super().__init__(**options)
        self.report = report

    def print_progress(self) -> None:
        """Called by joblib when a call is done, in every backend."""
        self.report(self.n_completed_tasks)


@contextmanager
def workers(
    jobs: int, backend: Backend, cluster: str | None
) -> Generator[tuple[type[Exception], ...]]:
    """Let joblib use `jobs` processes here, or the cluster at this address.

    Yields what is raised when a worker is killed. Without an address Ray is looked for where its
    own tools look; Dask's scheduler has to be named. Raises `UserInputError` where there is no
    such cluster, or no such package.
    """
    if backend == "loky":
        with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
            yield (TerminatedWorkerError,)
        return
    try:
        if backend == "ray":
            import ray
            from ray.exceptions import RayError
            from ray.util.joblib import register_ray

            if not ray.is_initialized():
                ray.init(address=cluster or "auto", log_to_driver=False)
            register_ray()
            options, killed = {}, RayError
        else:
            from distributed import Client, KilledWorker

            if cluster is None:
                raise UserInputError("Say where Dask's scheduler is: --cluster tcp://host:8786.")
            options, killed = {"client": Client(cluster, set_as_default=False)}, KilledWorker
    except ImportError as error:
        package = {"ray": "ray", "dask": "'dask[distributed]'"}[backend]
        raise UserInputError(
            f"The backend {backend} is not installed here: pip install {package}."
        ) from error
    except OSError as error:  # what both raise where nobody answers
        reason = " ".join(str(error).split())
        raise UserInputError(f"No {backend} cluster answers at {cluster}: {reason}") from error
    try:
        with parallel_config(backend=backend, n_jobs=jobs, **options):
            yield (killed,)
    finally:
        for client in options.values():
            client.close()
