"""--max-walltime: read, kept, and told from Ctrl-C."""

import argparse
import signal
import threading
import time

import pytest

from mdet_openmm.errors import TimeIsUp, exit_status
from mdet_openmm.interrupt import Interrupt, held_back
from mdet_openmm.walltime import Deadline, Walltime


def test_lengths_of_time() -> None:
    assert Walltime("1.5") == Walltime("1:30:00") == Walltime(1.5) == 1.5
    assert Walltime("0:00:36") == pytest.approx(0.01) and Walltime("100:00:00") == 100.0


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "1:30", "1:60:00", "0:00:00", ""])
def test_no_lengths_of_time(text: str) -> None:
    # of "1:30" nobody knows whether it is hours or minutes
    with pytest.raises(argparse.ArgumentTypeError, match="H:MM:SS"):
        Walltime(text)


def test_it_stops_before_the_end_by_the_longest_piece_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    deadline = Deadline(60.0 / 3600.0)  # 5 s are kept
    for seconds in (0.0, 10.0, 3.0, 3.0, 3.0, 3.0, 3.0):
        now[0] += seconds
        assert not deadline.near()
    now[0] = 100.0 + 60.0 - 5.0 - 2 * 10.0 + 0.1
    assert deadline.near()
    now[0] = 0.0
    assert deadline.near()  # it stays so
    assert not Deadline(None).near()


def test_it_counts_from_the_start_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def command() -> None:
        time.sleep(0.3)
        found.append(Deadline(0.2 / 3600.0).near())

    assert exit_status(command) == 0 and found == [True]
    assert not Deadline(0.2 / 3600.0).near()


def test_work_that_does_not_ask_is_interrupted() -> None:
    began = time.monotonic()
    with pytest.raises(TimeIsUp), Deadline(0.5 / 3600.0).kept():
        time.sleep(30.0)
    assert 0.4 < time.monotonic() - began < 5.0
    time.sleep(0.2)  # and it rings no more
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_work_that_asks_is_let_alone_to_write_its_checkpoint() -> None:
    deadline = Deadline(0.6 / 3600.0)
    written = []

    def run() -> None:
        with deadline.kept(), Interrupt(deadline) as interrupt:
            while not interrupt.asked:
                time.sleep(0.01)
            time.sleep(0.5)
            written.append(True)
            raise KeyboardInterrupt

    with pytest.raises(TimeIsUp):
        run()
    assert written


def test_ctrl_c_before_the_end_is_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt) as error, Deadline(1.0).kept():
        raise KeyboardInterrupt
    assert not isinstance(error.value, TimeIsUp)


def test_in_a_thread_it_is_kept_by_those_that_ask() -> None:
    asked = []

    def run() -> None:
        deadline = Deadline(0.3 / 3600.0)
        with deadline.kept(), Interrupt(deadline) as interrupt:
            while not interrupt.asked:
                time.sleep(0.01)
            asked.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=20.0)
    assert asked


def test_it_works_where_a_shell_has_put_the_command_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(TimeIsUp), Deadline(0.3 / 3600.0).kept():
            time.sleep(30.0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_that_are_held_back_come_afterwards() -> None:
    done = []

    def work() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
