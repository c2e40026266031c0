"""What is printed ends no command: letters that a terminal lacks, readers that have gone, what ran out."""

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mdet_openmm.errors import InputError, RunStopped, TimeIsUp, exit_status, what_ran_out
from mdet_openmm.terminal import lasting_output


def test_letters_that_the_terminal_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("ascii", b"0.1 eV/?, ? 3\n"), ("latin-1", b"0.1 eV/\xc5, ? 3\n"), ("utf-8", None)):
        raw = io.BytesIO()
        terminal = io.TextIOWrapper(raw, encoding=encoding)
        monkeypatch.setattr(sys, "stdout", terminal)
        with lasting_output():
            print("0.1 eV/Å, λ 3")
        assert sys.stdout is terminal
        assert raw.getvalue() == (shown or "0.1 eV/Å, λ 3\n".encode())


def test_a_reader_that_goes_away_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        os.close(reader)
        done = []

        def command() -> None:
            for _ in range(3):
                print("x" * 100_000, flush=True)
            done.append(True)

        assert exit_status(command) == 0 and done
        stream.flush()  # nor when the interpreter ends


def test_no_output_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert exit_status(lambda: print("to nobody", flush=True)) == 0


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("no such file"), 2, "error: no such file"),
        (RunStopped("a bond broke"), 3, "stopped: a bond broke"),
        (KeyboardInterrupt(), 130, "interrupted; a command"),
        (TimeIsUp(), 130, "interrupted by --max-walltime; a command"),
        (OSError(errno.ENOSPC, "x", "run/log.csv"), 3, "stopped: cannot write run/log.csv: the disk is full"),
        (OSError(errno.EDQUOT, "x"), 3, "stopped: cannot write: the disk is full or a quota is reached (Disk quota"),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), 3, "stopped: cannot wr"),
        (PermissionError(errno.EACCES, "x", b"run/events"), 3, "stopped: cannot use run/events: Permission denied"),
        (MemoryError(), 3, "stopped: out of memory; free some"),
        (RuntimeError("TorchScript\nRuntimeError: KeyboardInterrupt: <EMPTY MESSAGE>\n\nAt:"), 130, "interrupted; a"),
        (
            RuntimeError("in TorchScript\nRuntimeError: DefaultCPUAllocator: can't allocate memory: 8 bytes\n"),
            3,
            "stopped: out of memory (RuntimeError: DefaultCPUAllocator: can't allocate memory: 8 bytes)",
        ),
    ],
)
def test_every_early_end_is_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(raising(error)) == status
    out, err = capsys.readouterr()
    assert not out and err.startswith(line) and err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a defect"), FileNotFoundError(errno.ENOENT, "x", "y")])
def test_a_defect_keeps_its_traceback(error: Exception) -> None:
    assert what_ran_out(error) is None
    with pytest.raises(type(error)):
        exit_status(raising(error))


def test_threads_do_not_repeat_what_ran_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def command() -> None:
        for error in (OSError(errno.ENOSPC, "full"), ValueError("a defect")):
            thread = threading.Thread(target=raising(error))
            thread.start()
            thread.join()

    assert exit_status(command) == 0
    assert [args.exc_type for args in told] == [ValueError]


CLOSED = """
import os, sys
from mdet_openmm.errors import exit_status
from tqdm import tqdm

def command():
    print("nobody", flush=True)
    with open(sys.argv[1], "w") as file:
        os.write(1, b"from C")
        list(tqdm(range(3)))
        file.write("data")

sys.exit(exit_status(command))
"""


def test_streams_that_are_closed_are_not_the_next_file_that_is_opened(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -c '{CLOSED}' {tmp_path / 'data'} >&- 2>&-"
    assert subprocess.run(["bash", "-c", command]).returncode == 0
    assert (tmp_path / "data").read_text() == "data"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_errors_that_nobody_can_read_keep_their_status() -> None:
    code = (
        "import sys; from mdet_openmm.errors import *\ndef fail(): raise InputError('x')\nsys.exit(exit_status(fail))"
    )
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", code], stdout=full, stderr=full).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_command_whose_output_cannot_be_written_says_so() -> None:
    code = "import sys; from mdet_openmm.errors import exit_status; sys.exit(exit_status(lambda: print('x')))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("stopped: cannot write: the disk is full") and done.stderr.count("\n") == 1
