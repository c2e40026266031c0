"""The same results in this process, in several, and on a Dask cluster; and how they end early."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import die, fail_at_three, square_and_pid

from mdet_openmm import dask_cluster
from mdet_openmm.dask_cluster import check_scheduler
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.side_by_side import run_side_by_side

HERE = os.pathsep.join(filter(None, [str(Path(__file__).parent / "stand_ins"), os.environ.get("PYTHONPATH")]))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes find this folder's modules."""
    monkeypatch.setenv("PYTHONPATH", HERE)


def test_one_worker_is_this_process_and_the_most_expensive_task_comes_first() -> None:
    called: list[int] = []

    def job(task: int) -> int:
        called.append(task)
        return -task

    assert run_side_by_side(job, [1, 3, 2], workers=1, cost=float, quiet=True) == [-1, -3, -2]
    assert called == [3, 2, 1]
    assert run_side_by_side(job, [], workers=1, quiet=True) == []


def test_two_workers_are_other_processes(importable: None) -> None:
    found = run_side_by_side(square_and_pid, list(range(6)), workers=2, quiet=True)
    assert [value for value, _ in found] == [0, 1, 4, 9, 16, 25]
    pids = {pid for _, pid in found}
    assert os.getpid() not in pids and 1 <= len(pids) <= 2


def test_an_error_of_a_task_comes_through(importable: None) -> None:
    for workers in (1, 2):
        with pytest.raises(InputError, match="three"):
            run_side_by_side(fail_at_three, [1, 2, 3, 4], workers=workers, quiet=True)


def test_a_worker_that_dies_is_told(importable: None) -> None:
    with pytest.raises(RunStopped, match="worker process died"):
        run_side_by_side(die, [1, 2], workers=2, quiet=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_every_worker_time_for_a_checkpoint(tmp_path: Path, number: int) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "from jobs import wait_for_the_end\n"
        "from mdet_openmm.side_by_side import run_side_by_side\n"
        f"if __name__ == '__main__':\n    run_side_by_side(wait_for_the_end, [{str(tmp_path)!r}] * 4, workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": HERE}, stderr=-3)
    deadline = time.monotonic() + 100
    while len(list(tmp_path.glob("started-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=60)
    started, written = (
        sorted(p.name.split("-")[1] for p in tmp_path.glob(f"{n}-*")) for n in ("started", "checkpoint")
    )
    assert process.returncode != 0 and len(started) == 2 and started == written
    for pid in written:  # nobody is left
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as made:
        yield made


def test_dask_gives_the_same_results(cluster: Any) -> None:
    address = cluster.scheduler_address
    check_scheduler(address)
    serial = run_side_by_side(fail_at_three, [1, 2, 4, 5], workers=1, quiet=True)
    assert run_side_by_side(fail_at_three, [1, 2, 4, 5], scheduler=address, quiet=True) == serial
    with pytest.raises(InputError, match="three"):
        run_side_by_side(fail_at_three, [1, 3], scheduler=address, quiet=True)


def test_a_scheduler_that_is_not_there_or_no_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        check_scheduler("tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        check_scheduler("nonsense://x")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"mdet-openmm\[dask\]"):
        check_scheduler("tcp://127.0.0.1:1")
    check_scheduler(None)


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run_side_by_side(lambda task: task, [1, 2, 3], workers=1, title="things")
    assert run_side_by_side(lambda task: task, [1, 2], workers=1, done=lambda task: 1.0, title="done before") == [1, 2]
    shown = capsys.readouterr().err
    assert "things: 100%" in shown and "3 of 3 ended" in shown and "done before: 100%" in shown
    run_side_by_side(lambda task: task, [1], workers=1, title="silent", quiet=True)
    assert capsys.readouterr().err == ""
