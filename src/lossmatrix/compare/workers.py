# SPDX-License-Identifier: BSD-3-Clause
"""Where cells run: processes of this machine, or a Ray or Dask cluster that is there already."""
# joblib, Ray and Dask carry no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportMissingImports=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedBaseClass=false

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from joblib import Parallel, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from lossmatrix.compare.task import UserInputError

Backend: TypeAlias = Literal["loky", "ray", "dask"]


class Reporting(Parallel):
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
