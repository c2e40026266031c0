"""Damage the bytes of good files at random: `python tests/fuzz/fuzz_files.py [seconds] [seed] [case ...]`.

For trajectories, data sets, configurations, model folders, and the folders of runs, trainings and labellings that are
gone on with; `fuzz_readers.py` does the same for molecule files. Whatever the damage, a file is refused in
one line, or what is read of it is what stands in the whole one, as far as a count, a bound or a checksum in it could
tell. Nothing else is raised, hangs, asks for absurd memory or takes the process down: tries are made in a forked
process. Prints the case, the number and the name of every file for which that does not hold; the same
seed makes the same files.
"""

import contextlib
import io
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import fuzz_reads
import fuzz_resumed
import numpy as np

from mdet_openmm.errors import InputError, RunStopped

MOST_SECONDS = 20.0
"""Of a processor for one file; the slowest honest try takes two."""
MOST_MEMORY = 24 << 30
"""Address space of the forked process; torch and OpenMM take up some 8 GB of it."""
EDGES = (0, 1, -1, 2**31 - 1, -(2**31), 2**24, 0x7FC00000, 0x7F800000)
"""32-bit words that counts and numbers break at, NaN and infinity as floats among them."""
CHARACTERS = b"0123456789-+.eE:,[]{}'\"#&*!|>% \n\t\0\xff=_~a"
"""That mean something in YAML, JSON or a table."""
CASES = {**fuzz_reads.CASES, **fuzz_resumed.CASES}


def damaged(content: bytes, rng: np.random.Generator, text: bool) -> bytes:
    """One to three changes of bits, bytes, words or stretches."""
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(1, len(content))))
        if rng.random() < 0.3:
            at = min(at, int(rng.integers(1, 400)))  # headers are short
        length = int(rng.integers(1, 64))
        kind = int(rng.integers(9))
        byte = bytes([int(rng.choice(list(CHARACTERS))) if text else int(rng.integers(256))])
        if kind == 0:
            content = content[:at]
        elif kind == 1 and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]
        elif kind in (2, 3):
            content = content[:at] + byte + content[at + 1 :]
        elif kind == 4:
            content = content[:at] + byte + content[at:]
        elif kind == 5:
            content = content[:at] + content[at + length :]
        elif kind == 6:
            other = int(rng.integers(0, max(1, len(content))))
            content = content[:at] + content[other : other + length] + content[at + length * int(rng.integers(2)) :]
        elif kind == 7:
            content = content[:at] + bytes(len(content[at : at + length])) + content[at + length :]
        elif text:
            lines = content.split(b"\n")
            one, other = rng.integers(0, len(lines), size=2)
            lines[one] = lines[other]
            content = b"\n".join(lines)
        else:
            at -= at % 4
            content = content[:at] + struct.pack("<i", int(rng.choice(EDGES))) + content[at + 4 :]
    return content


class Fuzzer:
    """Tries of one case, each known by its number.

    Parameters
    ----------
    name
        Of the case.
    work
        A folder for it.
    seed
        The numbers begin at a million times this.
    """

    def __init__(self, name: str, work: Path, seed: int) -> None:
        self.name, self.case, self.first = name, CASES[name], 1_000_000 * seed
        self.good_folder, self.folder = work / "good", work / "try"
        self.good_folder.mkdir(parents=True)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.case.make(self.good_folder)
        self.good: dict[str, Any] = {}

    def prepare(self, name: str) -> Path:
        """A fresh copy of the good files in the folder for tries; the path of one of them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.case.alone:
            self.folder.mkdir()
            shutil.copy(self.good_folder / name, self.folder)
        else:
            shutil.copytree(self.good_folder, self.folder)
        return self.folder / name

    def complaint(self, number: int) -> str | None:
        """What is wrong with how a damaged file was taken; None if nothing is."""
        rng = np.random.default_rng(number)
        name = str(rng.choice(self.case.damage))
        key = name if self.case.alone else ""
        if key not in self.good:
            self.prepare(name)
            self.good[key] = self.case.take(self.folder)
        path = self.prepare(name)
        whole = path.read_bytes()
        content = damaged(whole, rng, self.case.text or path.suffix in (".yaml", ".json", ".csv", ".xyz"))
        if content == whole:
            return None
        path.write_bytes(content)
        began = time.process_time()
        try:
            found = self.case.take(self.folder)
            wrong = None if self.case.fits(self.good[key], found, name) else "read as something else"
        except (InputError, RunStopped) as error:
            text = str(error)
            wrong = f"more than one line: {text}" if "\n" in text or len(text) > 1000 else None
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            own = next(
                (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "mdet_openmm" in f.filename), where
            )
            wrong = f"{type(error).__name__} at {own.filename[-40:]}:{own.lineno}: {' '.join(str(error).split())[:200]}"
        if time.process_time() - began > MOST_SECONDS:
            wrong = f"took {time.process_time() - began:.0f} s"
        return f"{self.name} {number} {name}: {wrong}" if wrong else None

    def run(self, tries: int, until: float) -> tuple[list[str], int]:
        """Complaints, and how many files were damaged."""
        complaints: list[str] = []
        done = 0
        shared = mmap.mmap(-1, 8)
        while done < tries and time.monotonic() < until:
            reader, writer = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reader)
                self._tries(done, tries, until, shared, writer)
            os.close(writer)
            found, status = _watched(pid, reader, shared)
            complaints += found
            done = struct.unpack("<q", shared[:8])[0]
            if status:
                complaints.append(f"{self.name} {self.first + done}: the process ended with {status}")
                done += 1
        return complaints, done

    def _tries(self, done: int, tries: int, until: float, shared: mmap.mmap, writer: int) -> None:
        """In the forked process."""
        status = 99
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            while done < tries and time.monotonic() < until:
                shared[:8] = struct.pack("<q", done)
                found = self.complaint(self.first + done)
                if found:
                    os.write(writer, found.replace("\n", " ").encode("utf-8", "replace") + b"\n")
                done += 1
                shared[:8] = struct.pack("<q", done)
            status = 0
        except BaseException:
            os.write(writer, " | ".join(traceback.format_exc().splitlines()[-9:]).encode() + b"\n")
        finally:
            os._exit(status)


def _watched(pid: int, reader: int, shared: mmap.mmap) -> tuple[list[str], str]:
    """What a forked process wrote, and how it ended; one that stands still is ended."""
    import select

    content, before, since, stuck = b"", shared[:8], time.monotonic(), False
    while True:
        if select.select([reader], [], [], 1.0)[0]:
            piece = os.read(reader, 65536)
            if not piece:
                break
            content += piece
        if shared[:8] != before:
            before, since = shared[:8], time.monotonic()
        elif time.monotonic() - since > 10 * MOST_SECONDS and not stuck:
            stuck = True
            os.kill(pid, signal.SIGKILL)
    os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return content.decode("utf-8", "replace").splitlines(), "a hang" if stuck else f"status {code}" if code else ""


def fuzz(names: tuple[str, ...], seed: int, seconds: float = np.inf, tries: int = 2**62) -> tuple[list[str], int]:
    """Complaints of some cases, and how many files were damaged."""
    complaints: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory(prefix="mdet-fuzz-") as folder:
        for name in names:
            fuzzer = Fuzzer(name, Path(folder) / name, seed)
            found, done = fuzzer.run(tries, time.monotonic() + seconds)
            complaints, count = complaints + found, count + done
    return complaints, count


def main(words: list[str]) -> int:
    """Seconds for each case, a seed, and the cases."""
    import logging

    sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
    logging.disable()
    seconds, seed = float(words[0]) if words else 60.0, int(words[1]) if len(words) > 1 else 0
    failed = 0
    for name in words[2:] or CASES:
        found, count = fuzz((name,), seed, seconds)
        failed += len(found)
        print("\n".join([*found, f"{name}: {count} files damaged, {len(found)} taken wrongly"]), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
