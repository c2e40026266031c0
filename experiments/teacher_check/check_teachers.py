"""Teachers against true DFT, group by group: PBE0/def2-TZVP by PySCF, density fitting, no dispersion.

    python experiments/teacher_check/check_teachers.py label     # hours of one core; can be stopped, and goes on
    python experiments/teacher_check/check_teachers.py report    # the table of docs/teachers.md

Of each molecule one structure near the minimum of the teacher SO3LR (normal noise of 0.03 Å on every coordinate) and
one distorted (0.10 Å). The labels stand in ``pbe0_def2tzvp.npz`` beside this program, and are the test set
of true DFT that the cards of the models show.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import TeacherFailure
from mdet_openmm.data.teacher import make_teacher, teacher_version
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.molecules.smiles import conformers_from_smiles
from mdet_openmm.simulation.relax import relax
from mdet_openmm.units import ANGSTROM_PER_NM, KJ_PER_MOL_PER_EV, KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM

HERE = Path(__file__).parent
LIST = HERE / "molecules.smi"
LABELS = HERE / "pbe0_def2tzvp.npz"
DFT = TeacherConfig(kind="pyscf", xc="pbe0", basis="def2-tzvp")
NOISE = (0.03, 0.10)
"""Å: near the minimum, and distorted."""


def molecules() -> list[tuple[str, str]]:
    """SMILES and group."""
    lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return [(smiles, group) for smiles, group in map(str.split, lines)]


def structures(smiles: str) -> tuple[Molecule, list[NDArray[np.float64]]]:
    """The molecule at SO3LR's minimum, and its two structures, a function of the SMILES alone."""
    seed = int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:4], "little")
    molecule = conformers_from_smiles(smiles, 1, None, seed)[0]
    teacher = make_teacher(TeacherConfig(kind="so3lr"), Species(molecule.atomic_numbers, molecule.charge))

    def force(positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        label = teacher(ANGSTROM_PER_NM * positions)
        return label.energy * KJ_PER_MOL_PER_EV, label.forces * KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM

    minimum = relax(molecule, force).positions
    rng = np.random.default_rng(seed)
    noisy = [minimum + noise * rng.standard_normal(minimum.shape) for noise in NOISE]
    return molecule, [x.astype(np.float32).astype(np.float64) for x in noisy]


def read() -> dict[str, NDArray[Any]]:
    """The labels made so far; every array has one entry for each structure, atoms padded with zeros."""
    if not LABELS.exists():
        return {}
    with np.load(LABELS) as stored:
        return {name: stored[name] for name in stored.files}


def write(labels: dict[str, NDArray[Any]]) -> None:
    """Replace the file of labels."""
    temporary = LABELS.with_suffix(".partial.npz")
    np.savez_compressed(temporary, **labels)  # type: ignore[arg-type, unused-ignore]
    temporary.replace(LABELS)


def label() -> None:
    """Label what is not labelled yet, and write after every molecule."""
    known, groups = read(), dict(molecules())
    done = {str(s) for s in known.get("smiles", ())}
    if known:
        known["group"] = np.array([groups[str(s)] for s in known["smiles"]])  # the list may have put it elsewhere since
        write(known)
    todo = [(s, g) for s, g in groups.items() if s not in done]
    for smiles, group in tqdm(todo, unit="molecule"):
        molecule, frames = structures(smiles)
        teacher = make_teacher(DFT, molecule)
        for kind, x in enumerate(frames):
            try:
                found = teacher(x)
            except TeacherFailure as failure:
                print(f"{smiles}, structure {kind}: {failure}", file=sys.stderr)
                continue
            n, most = molecule.n_atoms, 16
            row = {
                "smiles": np.array([smiles]),
                "group": np.array([group]),
                "distorted": np.array([kind == 1]),
                "charge": np.array([molecule.charge], dtype=np.int8),
                "atomic_numbers": np.pad(molecule.atomic_numbers.astype(np.uint8), (0, most - n))[None],
                "positions": np.pad(x.astype(np.float32), ((0, most - n), (0, 0)))[None],
                "forces": np.pad(found.forces.astype(np.float32), ((0, most - n), (0, 0)))[None],
                "energy": np.array([found.energy]),
            }
            known = {key: np.concatenate((known[key], value)) if known else value for key, value in row.items()}
        write(known)


def report() -> None:
    """Component-wise MAE of the forces in meV/Å, by group, of each teacher."""
    data = read()
    teachers = {"SO3LR": TeacherConfig(kind="so3lr"), "GFN2-xTB": TeacherConfig(kind="gfn2")}
    errors: dict[str, list[tuple[str, bool, float]]] = {name: [] for name in teachers}
    for k in range(len(data["energy"])):
        n = int((data["atomic_numbers"][k] > 0).sum())
        numbers, x = data["atomic_numbers"][k, :n].astype(np.int64), data["positions"][k, :n].astype(float)
        for name, config in teachers.items():
            found = make_teacher(config, Species(numbers, int(data["charge"][k])))(x).forces
            error = 1e3 * float(np.abs(found - data["forces"][k, :n]).mean())
            errors[name].append((str(data["group"][k]), bool(data["distorted"][k]), error))
    count = len(set(data["smiles"]))
    print(f"Against {teacher_version(DFT)[0]}: {len(data['energy'])} structures of {count} molecules.\n")
    print("| group | structures | SO3LR, near the minimum | distorted | GFN2-xTB, near the minimum | distorted |")
    print("| --- | --- | --- | --- | --- | --- |")
    groups = list(dict.fromkeys(str(g) for g in data["group"]))
    for group in [*groups, "all, median over structures"]:
        cells = []
        for name in teachers:
            for distorted in (False, True):
                of = [e for g, d, e in errors[name] if d == distorted and group in (g, "all, median over structures")]
                cells.append(f"{np.median(of) if group not in groups else np.mean(of):.0f}" if of else "–")
        count = sum(g == group for g, _, _ in errors["SO3LR"]) or len(data["energy"])
        print(f"| {group} | {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("label", "report"))
    {"label": label, "report": report}[parser.parse_args().what]()
