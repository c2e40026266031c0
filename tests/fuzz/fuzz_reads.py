"""What `fuzz_files.py` damages of files that are read: trajectories, data sets, configurations, models."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # isort: skip
import numpy as np

from mdet_openmm.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
WATER = "3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n"


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
    alone
        Whether the files stand for themselves: only the damaged one is there.
    """

    make: Callable[[Path], None]
    damage: tuple[str, ...]
    take: Callable[[Path], Any]
    fits: Callable[[Any, Any, str], bool]
    text: bool = False
    alone: bool = False


def anything(good: Any, found: Any, name: str) -> bool:
    """What is read may be anything that its class takes: nothing in the file could tell."""
    return True


def same(good: Any, found: Any, name: str) -> bool:
    """Nothing else will do."""
    return bool(good == found)


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


def take_dcd(folder: Path) -> tuple[tuple[int, ...], int, float]:
    """The shape that all who read it agree on, the number of frames that its header says, and that its length says."""
    from mdet_openmm.molecules.dcd import DcdFile, read_dcd
    from mdet_openmm.molecules.readers import read_molecule
    from mdet_openmm.molecules.trajectories import read_trajectory

    molecule = read_molecule(folder / "water.xyz")
    path = folder / "run.dcd"
    with contextlib.suppress(InputError):
        DcdFile(path, 3, 0.0005, 10, frames=6).close()
    content = path.read_bytes()
    shape = read_dcd(path).shape
    positions = read_trajectory(path, molecule).positions
    assert positions.shape == shape and np.isfinite(positions).all()
    return shape, int.from_bytes(content[8:12], "little"), (len(content) - DCD_HEADER) / (3 * (3 * 4 + 8))


DCD_HEADER = 276
"""Bytes before the first frame."""


def fits_dcd(good: Any, found: Any, name: str) -> bool:
    """Only a number of frames that header and length agree on may be another: nothing else in a DCD tells it."""
    (frames, *rest), *said = found
    return bool(good == found) or (rest == list(good[0][1:]) and said == [frames, frames])


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
    from mdet_openmm.data.config import (
        DynamicsRun,
        HeldOutConfig,
        LabelConfig,
        MoleculeEntry,
        SamplingConfig,
        TeacherConfig,
    )

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
    from mdet_openmm.configuration import read_settings
    from mdet_openmm.data.config import read_config
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


CASES = {
    "dcd": Case(make_dcd, ("run.dcd",), take_dcd, fits_dcd),
    "trajectory": Case(make_trajectories, TRAJECTORIES, take_trajectory, fits_trajectory, alone=True),
    "store": Case(make_store(False), ("set.h5",), take_store, fits_store),
    "packed": Case(make_store(True), ("set.h5",), take_store, fits_packed),
    "yaml": Case(
        make_yaml,
        ("tiny.label.yaml", "mdet-gfn2-mini.label.yaml", "mdet-gfn2-mini.train.yaml"),
        take_yaml,
        anything,
        text=True,
        alone=True,
    ),
    "model": Case(make_model, MODEL, take_model, fits_model),
    "forged": Case(make_model, MODEL, take_forged_model, anything),
}
