"""Runs side by side: in this process, in processes of one thread each, or on the workers of a Dask cluster."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import FrameType
from typing import TypeVar

from mdet_openmm.cores import available_cores
from mdet_openmm.dask_cluster import results_by_dask
from mdet_openmm.errors import RunStopped

Task = TypeVar("Task")
Result = TypeVar("Result")

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
LOOK_SECONDS = 2.0


def run_side_by_side(
    job: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    cost: Callable[[Task], float] = lambda task: 1.0,
    done: Callable[[Task], float] = lambda task: 0.0,
    title: str = "runs",
    quiet: bool = False,
) -> list[Result]:
    """Do tasks that do not depend on each other, the most expensive first, and show how far they are.

    With one worker they are done in this process, one after the other. Processes of several workers are started
    afresh, so that a script that calls this needs the usual ``if __name__ == "__main__":``.

    Parameters
    ----------
    job
        A function of a module, which workers can import.
    tasks
        What it is called with, each once.
    workers
        Processes; by default one for each core.
    scheduler
        Address of a Dask scheduler, whose workers see the same files; instead of processes here.
    cost, done
        Of a task: the relative time that it takes, and the fraction of it that is done already.
    title, quiet
        Of the progress bar.

    Returns
    -------
    list
        Results in the order of the tasks.

    Raises
    ------
    InputError
        If Dask is missing or the scheduler does not answer.
    RunStopped
        If a worker died.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the processes have ended; runs on a cluster are taken from the queue, and those
        that are under way end there by themselves.
    """
    order = sorted(range(len(tasks)), key=lambda i: -cost(tasks[i]))
    ended: set[int] = set()
    results: dict[int, Result] = {}
    found = contextlib.closing(as_they_come(job, tasks, order, workers or available_cores(), scheduler))
    with sigterm_interrupts(), _shown(tasks, ended, cost, done, title, quiet), found as stream:
        for index, result in stream:
            results[index] = result
            ended.add(index)
    return [results[i] for i in range(len(tasks))]


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, which queues send before they kill, as Ctrl-C; where signals can be caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def as_they_come(
    job: Callable[[Task], Result], tasks: Sequence[Task], order: Sequence[int], workers: int, scheduler: str | None
) -> Generator[tuple[int, Result], None, None]:
    """Results with the positions of their tasks; arguments as for `run_side_by_side` and `by_processes`."""
    if not tasks:
        return
    if scheduler is not None:
        yield from results_by_dask(job, tasks, order, scheduler)
    elif min(workers, len(tasks)) == 1:
        for index in order:
            yield index, job(tasks[index])
    else:
        yield from by_processes(job, tasks, order, min(workers, len(tasks)))


def by_processes(
    job: Callable[[Task], Result],
    tasks: Sequence[Task],
    order: Sequence[int],
    workers: int,
    died: str = "killed, or out of memory",
) -> Generator[tuple[int, Result], None, None]:
    """Results with the positions of their tasks, as they come, from processes of one thread each.

    The processes are gone when the iterator is exhausted or closed, or has raised.

    Parameters
    ----------
    job, tasks
        As for `run_side_by_side`.
    order
        In which the tasks are begun.
    workers
        Processes.
    died
        Of what a worker may have died.

    Raises
    ------
    RunStopped
        If a worker died.
    """
    with one_thread_each(), _pool(workers) as pool:
        futures = {pool.submit(_in_worker, job, tasks[index]): index for index in order}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise RunStopped(f"a worker process died ({died}); go on with --restart") from None


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that are gone afterwards, however it ends."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Set the number of threads for processes that are started now; libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_asked_to_end = False
_busy = False
"""Of a worker process."""


def _start_worker() -> None:
    """Let only the parent end this process, and in one way: SIGTERM, which a run answers with a checkpoint.

    A process that died of it would make the pool kill the others before they have written theirs.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in a terminal reaches the parent only
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def leave_with_parent(sentinel: int) -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=leave_with_parent, args=(parent.sentinel,), daemon=True).start()


def _end_worker(number: int, frame: FrameType | None) -> None:
    global _asked_to_end
    _asked_to_end = True
    if _busy:
        raise KeyboardInterrupt


def _in_worker(job: Callable[[Task], Result], task: Task) -> Result:
    global _asked_to_end, _busy
    if _asked_to_end:  # tasks that the pool had handed out before
        raise KeyboardInterrupt
    _busy = True
    try:
        return job(task)
    except KeyboardInterrupt:
        _asked_to_end = True
        raise
    finally:
        _busy = False


@contextlib.contextmanager
def _shown(
    tasks: Sequence[Task],
    ended: set[int],
    cost: Callable[[Task], float],
    done: Callable[[Task], float],
    title: str,
    quiet: bool,
) -> Iterator[None]:
    """A bar of all work with the time left, looked up every few seconds."""
    from tqdm import tqdm

    often = sys.stderr.isatty()
    costs = [cost(task) for task in tasks]
    stop = threading.Event()

    def work() -> float:
        return sum(c * (1.0 if i in ended else done(tasks[i])) for i, c in enumerate(costs))

    bar = tqdm(
        total=sum(costs),
        initial=work(),
        desc=title,
        disable=quiet,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}, left {remaining}{postfix}",
        mininterval=0.2 if often else 30.0,
    )

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            bar.set_postfix_str(f"{len(ended)} of {len(tasks)} ended", refresh=False)
            bar.update(max(0.0, work() - bar.n))

    watcher = threading.Thread(target=look, daemon=True)
    if not quiet:
        watcher.start()
    try:
        yield
        bar.set_postfix_str(f"{len(ended)} of {len(tasks)} ended", refresh=False)
        bar.update(max(0.0, sum(costs) - bar.n))
    finally:
        stop.set()
        if watcher.is_alive():
            watcher.join()
        bar.close()
