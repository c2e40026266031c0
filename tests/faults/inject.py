"""Faults at random moments of the long commands, and whether a user who follows their advice loses anything.

``python tests/faults/inject.py --count 40 --seed 1`` breaks ``run-nvt``, ``run-nve``, ``label`` and ``train`` on tiny
inputs, one or two times each, and lets them go on. Whatever happened, the files must be the bytes of a run that nothing
happened to, what was on disk must never become less, and no fault may end in a traceback. Commands run in forked
processes, so that the faults hit their work and not the imports. Full disks are small tmpfs for root; for others a
limit on the size of files.
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = os.getuid() == 0
WATER = "3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n"
LABEL = """
seed: 1
sampling: {conformers: 1, runs: [{temperature: 300.0, trajectories: 3}], equilibrate: 20.0, interval: 10.0, frames: 12,
  displaced: 12}
held_out: {val: 2, test: 2, unseen: 2, frames: 2, equilibrate: 20.0, interval: 10.0}
molecules: [{name: water, smiles: "O"}, {name: methanol, smiles: "CO"}, {name: ammonia, smiles: "N", split: test}]
"""
TRAIN = """
name: tiny
data: {data}
network: {{n_layers: 1, embd_dim: 16, n_heads: 2, n_radial: 16, l_max: 2}}
steps: 60
batch_size: 6
warmup_steps: 4
validate_every: 20
checkpoint_every: 10
threads: 1
accelerator: cpu
"""
OF_THE_CALL = ("ns_per_day", "ms_per_step", "wall_seconds", "seconds")
"""Entries of a summary that say how fast this call was."""


@dataclass(frozen=True)
class Case:
    """A command: what of it in a folder says that it was begun, its words, the files that count, and how far it is."""

    begun: tuple[str, ...]
    words: Callable[[Path], list[str]]
    files: Callable[[Path], dict[str, bytes]]
    progress: Callable[[Path], float]


def simulation(ensemble: str, work: Path, *flags: str) -> Case:
    """A short run of water."""

    def files(folder: Path) -> dict[str, bytes]:
        found = {p.name: p.read_bytes() for p in (folder / "run").iterdir() if p.name not in (".lock", "settings.json")}
        summary = json.loads(found.pop("summary.json"))
        kept = {key: value for key, value in summary.items() if key not in OF_THE_CALL}
        found["topology.pdb"] = found["topology.pdb"].partition(b"\n")[2]  # OpenMM writes the date into the first line
        return found | {"summary.json": json.dumps(kept).encode()}

    def progress(folder: Path) -> float:
        path = folder / "run" / "state.xml"
        found = re.search(rb'stepCount="(\d+)"', path.read_bytes()) if path.exists() else None
        return int(found[1]) if found else -1

    return Case(
        ("run/settings.json",),
        lambda folder: [
            f"run-{ensemble}",
            str(work / "water.xyz"),
            *("--seed", "3", "--time", "0.4", "--equilibrate", "0.05", "--checkpoint-interval", "0.04"),
            *("--watch-equivariance", "80", "--output", str(folder / "run"), *flags),
        ],
        files,
        progress,
    )


def labelling(work: Path) -> Case:
    """Labels of three molecules."""

    def progress(folder: Path) -> float:
        done = len(list((folder / "set.h5.partial").glob("task-*.npz")))
        return 1e9 if (folder / "set.h5").exists() else done

    return Case(
        ("set.h5", "set.h5.partial"),
        lambda folder: ["label", str(work / "tiny.label.yaml"), "--output", str(folder / "set.h5"), "--workers", "2"],
        lambda folder: {p.name: p.read_bytes() for p in folder.iterdir()},
        progress,
    )


def training(work: Path) -> Case:
    """Sixty steps of a tiny network."""

    def files(folder: Path) -> dict[str, bytes]:
        names = ("run/loss.csv", "model/weights.safetensors", "model/network.pt", "model/metrics.json")
        return {name: (folder / name).read_bytes() for name in names}

    def progress(folder: Path) -> float:
        whole = [p for p in (folder / "run" / "checkpoints").glob("step*.ckpt") if zipfile.is_zipfile(p)]
        steps = max((int(p.stem.removeprefix("step").partition("-")[0]) for p in whole), default=-1)
        return 1e9 if (folder / "model").exists() else steps

    return Case(
        ("run/config.yaml",),
        lambda folder: [
            *("train", str(work / "tiny.train.yaml"), "--output", str(folder / "model")),
            *("--run-folder", str(folder / "run"), "--quiet"),
        ],
        files,
        progress,
    )


@dataclass
class Process:
    """A command in a forked process that writes into a log."""

    pid: int
    log: Path

    def wait(self) -> int:
        """Its exit status, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self) -> bool:
        """Whether it is over, without taking its status."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class Injector:
    """Runs cases with faults.

    Parameters
    ----------
    work
        An empty folder.
    seed
        Of what happens, and when.
    """

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.random, self.number = work, random.Random(seed), 0
        (work / "water.xyz").write_text(WATER)
        (work / "tiny.label.yaml").write_text(LABEL)
        (work / "tiny.train.yaml").write_text(TRAIN.format(data=work / "data" / "set.h5"))
        self.cases = {
            "nvt": simulation("nvt", work),
            "nve": simulation("nve", work, "--teacher", "gfn2"),
            "label": labelling(work),
            "train": training(work),
        }
        self.expected: dict[str, tuple[dict[str, bytes], float, int]] = {}
        self.faults: dict[str, Callable[[Case, Path, list[str], float], None]] = {
            "kill": self.kill,
            "sigterm": self.sigterm,
            "sigint": self.sigint,
            "walltime": self.walltime,
            "quota": self.quota,
            "second": self.second,
            "full": self.full if ROOT else self.quota,
            "readonly": self.readonly,
        }

    def start(self, words: list[str], heed_modes: bool = False, largest_file: int | None = None) -> Process:
        """Start a command."""
        self.number += 1
        log = self.work / f"{self.number:04d}.log"
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return Process(pid, log)
        status = 99
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            if heed_modes:
                drop_root_override()
            from mdet_openmm.cli import main

            status = main(words)
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(status)

    def words(self, case: Case, folder: Path) -> list[str]:
        """The command that a user types next: anew, or with --restart."""
        begun = any((folder / name).exists() for name in case.begun)
        return [*case.words(folder), "--restart"] if begun else case.words(folder)

    def check(self, process: Process, allowed: set[int]) -> int:
        """The exit status of a command; fail unless it ended as it may, and without a traceback."""
        status, text = process.wait(), process.log.read_text(errors="replace")
        assert status in allowed, f"exit status {status}, not one of {allowed}; see {process.log}"
        assert "Traceback" not in text and "Segmentation" not in text, f"a traceback in {process.log}"
        if status in (2, 3):
            said = [line for line in text.replace("\r", "\n").splitlines() if line.startswith(("error: ", "stopped: "))]
            assert len(said) == 1, f"{len(said)} lines of error in {process.log}"
        return status

    def finish(self, case: Case, folder: Path) -> None:
        """Go on to the end without a fault."""
        if case.progress(folder) < 1e9 or case is not self.cases["train"]:
            self.check(self.start(self.words(case, folder)), {0})

    def unbroken(self, name: str) -> tuple[dict[str, bytes], float, int]:
        """Files of a run without a fault, its seconds, and its bytes."""
        if name not in self.expected:
            if name == "train" and not (self.work / "data" / "set.h5").exists():
                (self.work / "data").mkdir()
                self.check(self.start(self.cases["label"].words(self.work / "data")), {0})
            folder = self.work / f"unbroken-{name}"
            folder.mkdir()
            began = time.monotonic()
            self.check(self.start(self.cases[name].words(folder)), {0})
            seconds = time.monotonic() - began
            size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            self.expected[name] = self.cases[name].files(folder), seconds, size
        return self.expected[name]

    def signalled(self, process: Process, seconds: float, number: int) -> None:
        """Send a signal at a random moment."""
        until = time.monotonic() + self.random.uniform(0.0, seconds)
        while time.monotonic() < until and not process.ended():
            time.sleep(0.005)
        if not process.ended():
            os.kill(process.pid, number)

    def kill(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """kill -9."""
        process = self.start(words)
        self.signalled(process, seconds, signal.SIGKILL)
        self.check(process, {-signal.SIGKILL, 0})
        time.sleep(1.0)  # worker processes leave with their parent

    def sigterm(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """SIGTERM, which before the loop of a run or a training ends the process."""
        process = self.start(words)
        self.signalled(process, seconds, signal.SIGTERM)
        self.check(process, {130, 0, -signal.SIGTERM})

    def sigint(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """Ctrl-C."""
        process = self.start(words)
        self.signalled(process, seconds, signal.SIGINT)
        self.check(process, {130, 0})

    def walltime(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """--max-walltime, which must be kept."""
        limit = self.random.uniform(0.5, max(1.0, seconds))
        began = time.monotonic()
        process = self.start([*words, "--max-walltime", f"{limit / 3600.0:.9f}"])
        self.check(process, {130, 0})
        took = time.monotonic() - began
        assert took < limit + 2.0, f"--max-walltime of {limit:.1f} s took {took:.1f} s; see {process.log}"

    def quota(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """No file may become larger than so."""
        largest = self.random.randrange(256, max(512, max(map(len, self.expected_of(case).values()))))
        self.check(self.start(words, largest_file=largest), {0, 2, 3})

    def expected_of(self, case: Case) -> dict[str, bytes]:
        """Files of the unbroken run of a case."""
        return self.expected[next(name for name, each in self.cases.items() if each is case)][0]

    def second(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """Another process wants the same folder, anew and to go on with it."""
        first = self.start(words)
        time.sleep(self.random.uniform(0.0, seconds))
        own, allowed = case.words(folder), {0, 2}
        for more in (own, [*own, "--restart"]):
            other = self.start(more)
            if self.check(other, {0, 2}) == 0 and not first.ended():  # it was faster, so that the first is refused
                allowed = {2}
        self.check(first, allowed)

    def full(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """A disk that becomes full."""
        size = sum(p.stat().st_size + 4096 for p in folder.rglob("*"))
        total = sum(len(content) + 8192 for content in self.expected_of(case).values())
        with small_disk(folder, size + self.random.randrange(8192, 2 * total)):
            self.check(self.start(words), {0, 2, 3})

    def readonly(self, case: Case, folder: Path, words: list[str], seconds: float) -> None:
        """A folder that at some moment nothing can be made in any more."""
        process = self.start(words, heed_modes=True)
        time.sleep(self.random.uniform(0.0, seconds))
        for path in [folder, *folder.rglob("*")]:
            with contextlib.suppress(OSError):  # what is being written and renamed
                path.chmod(0o555 if path.is_dir() else 0o444)
        self.check(process, {0, 2, 3})
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)

    def inject(self, name: str, fault: str) -> list[str]:
        """Break a run one or two times, the first with this fault, go on to its end and compare; the faults."""
        case, (files, seconds, _) = self.cases[name], self.unbroken(name)
        folder = self.work / f"broken-{self.number:04d}"
        folder.mkdir()
        faults = [fault] if self.random.random() < 0.5 else [fault, self.random.choice(list(self.faults))]
        for each in faults:
            if case.progress(folder) >= 1e9 and name == "train":  # it is written, and is not overwritten
                break
            before = case.progress(folder)
            self.faults[each](case, folder, self.words(case, folder), seconds)
            assert case.progress(folder) >= before, f"{each}: {case.progress(folder)} done after {before}"
        self.finish(case, folder)
        found = case.files(folder)
        different = sorted(n for n in files.keys() | found.keys() if files.get(n) != found.get(n))
        assert not different, f"other bytes than those of the unbroken run: {', '.join(different)} in {folder}"
        shutil.rmtree(folder)
        return faults


def drop_root_override() -> None:
    """Let this process and those that it starts, run by root, heed the modes of files (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        for set_of in range(3):
            data[set_of] &= ~(1 << capability)
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Within it, a folder is a disk of so many bytes; its content comes along and stays."""
    aside = folder.with_name(folder.name + "-aside")
    folder.rename(aside)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        shutil.rmtree(aside)
        shutil.copytree(folder, aside)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        aside.rename(folder)


def main(arguments: list[str] | None = None) -> int:
    """Inject faults and say what came of each; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="broken runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=["nvt", "nve", "label", "train"], help="commands to break")
    parser.add_argument("--faults", nargs="+", help="kinds of faults")
    options = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="mdet-faults-"))
    work.chmod(0o755)
    os.environ["TMPDIR"] = str(work)
    tempfile.tempdir = None
    prepare(options.only)
    injector = Injector(work, options.seed)
    kinds = options.faults or list(injector.faults)
    count, failed = 0, 0
    for number in range(options.count):
        name, fault = options.only[number % len(options.only)], injector.random.choice(kinds)
        began = time.monotonic()
        try:
            faults = injector.inject(name, fault)
            count += len(faults)
            print(
                f"{number + 1:4d} {name:6s} {' and '.join(faults):22s} ok {time.monotonic() - began:6.1f} s", flush=True
            )
        except AssertionError as error:
            failed += 1
            print(f"{number + 1:4d} {name:6s} {fault:22s} FAILED: {error}", flush=True)
    print(f"{options.count} broken runs, {options.count - failed} whole in the end ({count} faults in these)")
    if failed:
        print(f"what is left of the others is in {work}")
    else:
        shutil.rmtree(work)
    return int(failed > 0)


def prepare(names: list[str]) -> None:
    """Import and compile in this process what the forked ones use."""
    import mdet_openmm.simulation.nve
    import mdet_openmm.simulation.nvt
    from mdet_openmm.export.compiled_attention import derivative_problem

    derivative_problem()
    if "label" in names or "train" in names:
        import mdet_openmm.data.label
    if "train" in names:
        import mdet_openmm.training.fit  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
