"""Damage the bytes of good files at random: `python tests/fuzz_files.py [seconds] [seed] [case ...]`.

For trajectories, data sets, configurations, model folders, and the folders of runs, trainings and labellings that are
gone on with; `molecules/fuzz_readers.py` does the same for molecule files. Whatever the damage, a file is refused in
one line, or what is read of it is what stands in the whole one, as far as a count, a bound or a checksum in it could
tell. Nothing else is raised, hangs, asks for absurd memory or takes the process down: tries are made in a forked
process. Prints every file for which that does not hold, and keeps those in the folder it names.
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
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # isort: skip
import numpy as np

from mdet_openmm.errors import InputError, RunStopped

ROOT = Path(__file__).resolve().parents[1]
WATER = "3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n"
MOST_SECONDS = 20.0
"""Of a processor for one file; the slowest honest try takes two."""
MOST_MEMORY = 24 << 30
"""Address space of the forked process; torch and OpenMM take up some 8 GB of it."""
EDGES = (0, 1, -1, 2**31 - 1, -(2**31), 2**24, 0x7FC00000, 0x7F800000)
"""32-bit words that counts and numbers break at, NaN and infinity as floats among them."""


def damaged(content: bytes, rng: np.random.Generator, text: bool) -> bytes:
    """One to three changes of bits, bytes, words or stretches."""
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(1, len(content))))
        if rng.random() < 0.3:
            at = min(at, int(rng.integers(1, 400)))  # headers are short
        length = int(rng.integers(1, 64))
        kind = int(rng.integers(9))
        byte = bytes([int(rng.choice(list(b"0123456789-+.eE:,[]{}'\"#&*!|>% \n\t\0\xff=_~a"))) if text else rng.integers(256)])
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


@dataclass(frozen=True)
class Case:
    """Good files, and what is made of them.

    Attributes
    ----------
    make
        Makes the good files in an empty folder.
    damage
        Names of those to damage, among which one is chosen each time.
    take
        What is read of a folder, or what becomes of it.
    fits
        Whether what was read of a damaged one may pass, given what is read of the good one and the name of the file.
    text
        Whether damage is made in characters.
    """

    make: Callable[[Path], None]
    damage: tuple[str, ...]
    take: Callable[[Path], Any]
    fits: Callable[[Any, Any, str], bool]
    text: bool = False


def anything(good: Any, found: Any, name: str) -> bool:
    """What is read may be anything that its class takes: nothing in the file could tell."""
    return True


# Trajectories.


def make_dcd(folder: Path) -> None:
    """Six frames of water."""
    from mdet_openmm.molecules.dcd import DcdFile

    (folder / "water.xyz").write_text(WATER)
    file = DcdFile(folder / "run.dcd", 3, 0.0005, 10)
    for frame in range(6):
        file.write(0.1 * (water() + 0.01 * frame))
    file.close()


def water() -> np.ndarray:
    """(3, 3) in Å."""
    return np.array([[float(x) for x in line.split()[1:]] for line in WATER.splitlines()[2:]])


def take_dcd(folder: Path) -> tuple[int, ...]:
    """The shape that all who read it agree on; then a run goes on with it."""
    from mdet_openmm.molecules.dcd import DcdFile, read_dcd
    from mdet_openmm.molecules.readers import read_molecule
    from mdet_openmm.molecules.trajectories import read_trajectory

    molecule = read_molecule(folder / "water.xyz")
    path = folder / "run.dcd"
    with contextlib.suppress(InputError):
        DcdFile(path, 3, 0.0005, 10, frames=6).close()
    shape = read_dcd(path).shape
    positions = read_trajectory(path, molecule).positions
    assert positions.shape == shape and np.isfinite(positions).all()
    return shape


TRAJECTORIES = ("a.xyz", "a.extxyz", "a.pdb", "a.sdf", "a.npz", "a.traj", "a.xtc", "a.trr", "a.nc", "a.gro")


def make_trajectories(folder: Path) -> None:
    """Four frames of ethanol in every format."""
    import ase.io
    import mdtraj
    from ase import Atoms
    from rdkit import Chem

    from mdet_openmm.molecules.readers import read_molecule

    system = ROOT / "simulations" / "systems" / "ethanol.sdf"
    molecule = read_molecule(system)
    rng = np.random.default_rng(0)
    frames = molecule.positions + rng.normal(0, 0.02, (4, molecule.n_atoms, 3))
    images = [Atoms(molecule.atomic_numbers, x) for x in frames]
    for name in ("a.xyz", "a.extxyz"):
        ase.io.write(folder / name, images, format=name[2:], **({"plain": True} if name == "a.extxyz" else {}))
    ase.io.write(folder / "a.traj", images)
    np.savez(folder / "a.npz", z=molecule.atomic_numbers, R=frames)
    topology = mdtraj.load_topology(str(system.with_suffix(".pdb")))
    trajectory = mdtraj.Trajectory(frames / 10, topology)
    for name in ("a.pdb", "a.xtc", "a.trr", "a.nc", "a.gro"):
        trajectory.save(str(folder / name))
    drawn = Chem.MolFromMolFile(str(system), removeHs=False)
    with Chem.SDWriter(str(folder / "a.sdf")) as writer:
        for x in frames:
            drawn.GetConformer().SetPositions(x)
            writer.write(drawn)


def take_trajectory(folder: Path) -> Any:
    """Of each file its frames, shape and elements."""
    from mdet_openmm.molecules.readers import read_molecule
    from mdet_openmm.molecules.trajectories import read_trajectory

    molecule = read_molecule(ROOT / "simulations" / "systems" / "ethanol.sdf")
    (path,) = folder.iterdir()
    read = read_trajectory(path, molecule)
    assert np.isfinite(read.positions).all()
    return read.positions


def fits_trajectory(good: Any, found: Any, name: str) -> bool:
    """The same atoms; an archive is the same altogether, for it has checksums."""
    return found.shape[1:] == good.shape[1:] and (name != "a.npz" or np.array_equal(found, good))


# Data sets.


def labelled(compact: bool) -> Any:
    """What makes a data set of springs."""
    from mdet_openmm.data.config import DynamicsRun, HeldOutConfig, LabelConfig, MoleculeEntry, SamplingConfig
    from mdet_openmm.data.config import TeacherConfig

    return LabelConfig(
        molecules=(
            MoleculeEntry(smiles="O", name="water"),
            MoleculeEntry(smiles="[H][H]"),
            MoleculeEntry(smiles="N", split="test"),
        ),
        teacher=TeacherConfig(kind="ase", ase="label_calculators:Spring"),
        sampling=SamplingConfig(
            runs=(DynamicsRun(300.0, 1),), frames=6, displaced=4, equilibrate=2.0, interval=1.0, conformers=1
        ),
        held_out=HeldOutConfig(val=2, test=2, unseen=2, frames=2, equilibrate=2.0, interval=1.0),
        compact=compact,
    )


def make_store(compact: bool) -> Callable[[Path], None]:
    """A data set of two molecules and a held-out one."""

    def make(folder: Path) -> None:
        from mdet_openmm.data.label import run_label

        run_label(labelled(compact), folder / "set.h5", workers=1)

    return make


def take_store(folder: Path) -> dict[str, Any]:
    """Everything that a store gives."""
    from mdet_openmm.data.store import Store

    with Store(folder / "set.h5") as store:
        found: dict[str, Any] = {
            "names": (store.split_names, store.kind_names, len(store), len(store.molecules)),
            "sizes": store.sizes.tolist(),
        }
        for split in store.split_names:
            for size, frames in store.by_size(split).items():
                found[f"{split} {size}"] = store.load(frames)
        found["columns"] = store.splits, store.kinds, store.molecule, store.temperatures, store.dipoles
        assert store.elements and store.attributes
        assert store.splits.max() < len(store.split_names) and store.kinds.max() < len(store.kind_names)
    return found


def fits_store(good: Any, found: Any, name: str) -> bool:
    """The same tables of the same sizes."""
    return all(found[key] == good[key] for key in ("names", "sizes"))


def fits_packed(good: Any, found: Any, name: str) -> bool:
    """The same numbers besides, for what is packed has checksums."""
    if not fits_store(good, found, name) or found.keys() != good.keys():
        return False
    return all(
        np.array_equal(one, other, equal_nan=True)
        for key in good
        if key not in ("names", "sizes")
        for one, other in zip(good[key], found[key], strict=True)
    )


# Configurations.


def make_yaml(folder: Path) -> None:
    """Those of the repository."""
    for path in (ROOT / "configs").iterdir():
        shutil.copy(path, folder)


def take_yaml(folder: Path) -> Any:
    """The settings of the one file there."""
    from mdet_openmm.data.config import read_config
    from mdet_openmm.settings import read_settings
    from mdet_openmm.training.config import TrainConfig

    (path,) = folder.iterdir()
    return read_config(path) if "label" in path.name else read_settings(path, TrainConfig)


# Model folders.


def make_model(folder: Path) -> None:
    """Random weights."""
    from mdet_openmm.export.model_folder import save_model
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.network.edge_transformer import EdgeTransformer

    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-3)
    training = {"trained_on": {"charge": [0], "multiplicity": [1]}}
    save_model(
        folder / "tiny", EdgeTransformer(config), elements=[1, 6, 8], training=training, metrics={"mae": 1.0}, card="x"
    )


MODEL = tuple(f"tiny/{name}" for name in ("weights.safetensors", "config.yaml", "metrics.json", "manifest.json"))


def take_model(folder: Path) -> Any:
    """Weights, shape and what is known of the training."""
    from mdet_openmm.export.model_folder import load_model

    model = load_model(folder / "tiny")
    state = {name: value.numpy() for name, value in model.network.state_dict().items()}
    model.notes([1, 8], 0, 1)
    return state, model.network.config, model.metadata["training"], model.metadata["metrics"]


def fits_model(good: Any, found: Any, name: str) -> bool:
    """The same."""
    same = all(np.array_equal(good[0][key], found[0][key]) for key in good[0] | found[0])
    return same and good[1:] == found[1:]


def take_forged_model(folder: Path) -> Any:
    """The same after the hashes were made to fit, as somebody could who means no good."""
    import hashlib
    import json

    path = folder / "tiny" / "manifest.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        manifest = json.loads(path.read_bytes())
        for name in manifest["files"]:
            manifest["files"][name] = hashlib.sha256((path.parent / name).read_bytes()).hexdigest()
        path.write_text(json.dumps(manifest))
    return take_model(folder)


# Runs that are gone on with.


def run_settings(folder: Path, steps: int, restart: bool) -> Any:
    """A short run of water."""
    from mdet_openmm.simulation.settings import NvtSettings

    return NvtSettings(
        system=folder / "water.xyz", model=str(folder / "tiny"), output=folder / "run", temperature=10.0, seed=3,
        equilibrate=0.005, steps=steps, report_interval=1.0, checkpoint_interval=0.01, minimize=False, quiet=True,
        watch_equivariance=20, restart=restart,
    )  # fmt: skip


def make_run(folder: Path) -> None:
    """One that has done forty steps."""
    from mdet_openmm.simulation.nvt import run_nvt

    (folder / "water.xyz").write_text(WATER)
    make_model(folder)
    run_nvt(run_settings(folder, 40, restart=False))


RUN = tuple(
    f"run/{name}"
    for name in ("checkpoint.chk", "trajectory.dcd", "log.csv", "equivariance.csv", "settings.json", "start.xyz")
)


def take_run(folder: Path) -> dict[str, Any]:
    """The files after twenty further steps."""
    from mdet_openmm.simulation.nvt import run_nvt

    run_nvt(run_settings(folder, 60, restart=True))
    run = folder / "run"
    return {p.name: p.read_bytes() for p in run.iterdir() if p.name not in ("settings.json", "summary.json")}


def fits_run(good: Any, found: Any, name: str) -> bool:
    """The same state; as many frames and rows."""
    own = Path(name).name
    if own in ("settings.json", "start.xyz"):  # nothing else says what stood there
        return True
    return found["checkpoint.chk"] == good["checkpoint.chk"] and all(
        found[each] == good[each] if each != own else found[each].count(b"\n") == good[each].count(b"\n")
        for each in ("log.csv", "equivariance.csv")
    )  and len(found["trajectory.dcd"]) == len(good["trajectory.dcd"])


ENDED = ("run/trajectory.dcd", "run/log.csv", "run/summary.json", "run/topology.pdb")


def take_ended(folder: Path) -> Any:
    """What the analysis reads of it."""
    from mdet_openmm.simulation.ended_run import read_positions, read_run
    from mdet_openmm.simulation.log_file import last_time

    last_time(folder / "run" / "log.csv")
    run = read_run(folder / "run")
    read_positions(folder / "run", 3)
    assert np.isfinite(run.positions).all() and run.spectral_temperature > 0
    return run.positions.shape, run.atomic_numbers.tolist(), run.notes


def fits_ended(good: Any, found: Any, name: str) -> bool:
    """The same frames, or a note."""
    return good[1] == found[1] and (good[0] == found[0] or bool(found[2]))


# Trainings that are gone on with.


def train_config(steps: int) -> Any:
    """A small network at a constant rate, which may go on for longer; paths are those of the folder that one is in."""
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.training.config import TrainConfig

    return TrainConfig(
        name="small", data=Path("set.h5"), steps=steps, batch_size=4, warmup_steps=2, validate_every=4,
        checkpoint_every=3, threads=1, accelerator="cpu", schedule="constant",
        network=NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2, force_scale=1.0),
    )  # fmt: skip


def make_training(folder: Path) -> None:
    """One that has done nine steps."""
    from mdet_openmm.training.fit import run_training

    make_store(False)(folder)
    with contextlib.chdir(folder):
        run_training(train_config(9), model_folder=Path("model"), run_folder=Path("run"), quiet=True)
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "run" / "tensorboard", ignore_errors=True)


TRAINING = ("run/config.yaml", "run/loss.csv", "run/checkpoints/step3.ckpt", "run/checkpoints/step6.ckpt")


def take_training(folder: Path) -> bytes:
    """The weights after three further steps."""
    from mdet_openmm.training.fit import run_training

    with contextlib.chdir(folder):
        run_training(train_config(12), model_folder=Path("model"), run_folder=Path("run"), quiet=True, restart=True)
    return (folder / "model" / "weights.safetensors").read_bytes()


# Labellings that are gone on with.


def make_labelling(folder: Path) -> None:
    """One with all tasks done, which was stopped before they became a data set."""
    from mdet_openmm.data import label

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    whole, label.write_dataset = label.write_dataset, stop  # type: ignore[assignment]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            label.run_label(labelled(False), folder / "set.h5", workers=1)
    finally:
        label.write_dataset = whole


def take_labelling(folder: Path) -> bytes:
    """The data set."""
    from mdet_openmm.data.label import run_label

    run_label(labelled(False), folder / "set.h5", workers=1, restart=True)
    return (folder / "set.h5").read_bytes()


def take_collected(folder: Path) -> bytes:
    """The data set of what is done so far."""
    from mdet_openmm.data.partial import collect

    collect(folder / "set.h5.partial", folder / "set.h5")
    return b""


def same(good: Any, found: Any, name: str) -> bool:
    """Nothing else will do."""
    return bool(good == found)


PARTIAL = tuple(f"set.h5.partial/task-{number:07d}.npz" for number in (0, 3))
CASES = {
    "dcd": Case(make_dcd, ("run.dcd",), take_dcd, same),
    "trajectory": Case(make_trajectories, TRAJECTORIES, take_trajectory, fits_trajectory),
    "store": Case(make_store(False), ("set.h5",), take_store, fits_store),
    "packed": Case(make_store(True), ("set.h5",), take_store, fits_packed),
    "yaml": Case(
        make_yaml, ("tiny.label.yaml", "mdet-gfn2-mini.label.yaml", "mdet-gfn2-mini.train.yaml"), take_yaml, anything, True
    ),
    "model": Case(make_model, MODEL, take_model, fits_model),
    "forged": Case(make_model, MODEL, take_forged_model, anything),
    "run": Case(make_run, RUN, take_run, fits_run),
    "ended": Case(make_run, ENDED, take_ended, fits_ended),
    "training": Case(make_training, TRAINING, take_training, same),
    "labelling": Case(make_labelling, (*PARTIAL, "set.h5.partial/run.json"), take_labelling, same),
    "collected": Case(
        make_labelling, (*PARTIAL, "set.h5.partial/run.json", "set.h5.partial/molecules.json"), take_collected, same
    ),
}
ALONE = ("trajectory", "yaml")
"""Cases whose files stand for themselves: only the damaged one is there."""


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
        if self.name in ALONE:
            self.folder.mkdir()
            shutil.copy(self.good_folder / name, self.folder)
        else:
            shutil.copytree(self.good_folder, self.folder)
        return self.folder / name

    def complaint(self, number: int) -> str | None:
        """What is wrong with how a damaged file was taken; None if nothing is."""
        rng = np.random.default_rng(number)
        name = str(rng.choice(self.case.damage))
        key = name if self.name in ALONE else ""
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

    sys.path.insert(0, str(ROOT / "tests" / "data"))
    logging.disable()
    seconds, seed = float(words[0]) if words else 60.0, int(words[1]) if len(words) > 1 else 0
    failed = 0
    for name in words[2:] or CASES:
        found, count = fuzz((name,), seed, seconds)
        failed += len(found)
        print("\n".join(found + [f"{name}: {count} files damaged, {len(found)} taken wrongly"]), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
