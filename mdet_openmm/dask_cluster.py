"""Tasks on the workers of a Dask cluster, which see the same files; Dask is an optional extra."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, TypeVar

from mdet_openmm.cores import available_cores
from mdet_openmm.errors import InputError, RunStopped

Task = TypeVar("Task")
Result = TypeVar("Result")

SECONDS_TO_ANSWER = 10.0
"""What a scheduler has."""
LOCAL: Final = "local"
"""In the place of an address: a cluster of this machine's cores, for as long as it is needed."""


def check_one_place(workers: int | None, scheduler: str | None) -> None:
    """Refuse two places to work.

    Raises
    ------
    InputError
        If both processes of this machine and a cluster are asked for.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers is for this machine and --scheduler for a cluster; give only one")


def check_scheduler(address: str | None) -> None:
    """Find out now whether a Dask scheduler can be used, if one is asked for.

    Raises
    ------
    InputError
        If Dask is missing, nobody answers at the address, or it has no workers.
    """
    if address == LOCAL:
        _distributed()
    elif address is not None:
        with _client(address) as client:
            if not client.scheduler_info()["workers"]:
                raise InputError(
                    f"the Dask scheduler at {address} has no workers; start some with dask worker {address}"
                )


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise InputError(
            "--scheduler needs Dask, which is not installed; run: pip install 'mdet-openmm[dask]'"
        ) from None
    return distributed


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    distributed = _distributed()
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            many = {"n_workers": available_cores(), "threads_per_worker": 1, "dashboard_address": None}
            address = stack.enter_context(distributed.LocalCluster(**many)).scheduler_address
        yield stack.enter_context(_connected(distributed, address))


def _connected(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:  # a timeout is an OSError
        raise InputError(f"no Dask scheduler answers at {address} ({' '.join(str(error).split())[:120]})") from None


def results_by_dask(
    job: Callable[[Task], Result], tasks: Sequence[Task], order: Sequence[int], address: str
) -> Generator[tuple[int, Result], None, None]:
    """Results with the positions of their tasks, as they come; see `mdet_openmm.side_by_side`."""
    from distributed import KilledWorker
    from distributed import as_completed as completed

    with _client(address) as client, client.as_current():
        # Not pure: the same call does something else once files have been written. A run is never started twice at a
        # time, for its folder is locked.
        futures = {client.submit(job, tasks[index], pure=False): index for index in order}
        try:
            for future in completed(list(futures)):
                index = futures.pop(future)  # a result that nobody holds leaves the cluster's memory
                yield index, future.result()
        except KilledWorker as error:
            raise RunStopped(f"workers of the Dask cluster died ({error}); go on with --restart") from None
        except BaseException:
            client.cancel(list(futures))
            raise
