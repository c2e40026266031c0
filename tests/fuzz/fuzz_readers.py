"""Damage files at random and see what the readers make of them: `python tests/fuzz/fuzz_readers.py [seconds] [seed]`.

Whatever the damage, a file is either refused in one line, or read as the molecule of the whole file, or as one that an
independent reader (ASE, RDKit or OpenMM) finds in the damaged file as well, or with another number in the place of a
coordinate. Prints every file for which that does not hold.
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule

SYSTEMS = Path(__file__).resolve().parents[2] / "simulations" / "systems"
CHARACTERS = list("0123456789.-+ CHNOhcxDe*^'\"#;_?=\tµ\n$")
SAME = 1e-3
"""Å; formats have three digits or more."""


def whole_files() -> dict[str, str]:
    """Good files of every format, charged ones and such of several records among them."""
    from ase import Atoms
    from ase.io import write
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    files = {p.name: p.read_text() for p in sorted(SYSTEMS.iterdir()) if p.name.startswith(("ethanol", "acetamide"))}
    ion = Chem.AddHs(Chem.MolFromSmiles("C[NH2+]CC(=O)[O-]"))
    rdDistGeom.EmbedMolecule(ion, randomSeed=3)
    files["sarcosine.sdf"] = Chem.MolToMolBlock(ion) + "$$$$\n"
    files["sarcosine.mol"] = Chem.MolToV3KMolBlock(ion)
    files["sarcosine.pdb"] = Chem.MolToPDBBlock(ion)
    with tempfile.TemporaryDirectory() as folder:
        atoms = Atoms([a.GetAtomicNum() for a in ion.GetAtoms()], ion.GetConformer().GetPositions(), charges=[0] * 13)
        atoms.info |= {"charge": 0, "multiplicity": 1}
        write(Path(folder) / "a.extxyz", atoms)
        files["sarcosine.extxyz"] = (Path(folder) / "a.extxyz").read_text()
    return files


def damaged(text: str, rng: np.random.Generator) -> str:
    """One to three changes of characters, lines or columns."""
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, max(1, len(text))))
        lines = text.split("\n")
        line = int(rng.integers(0, len(lines)))
        character = str(rng.choice(CHARACTERS))
        kind = int(rng.integers(10))
        if kind == 0:
            text = text[:place]
        elif kind in (1, 2, 3):
            text = text[:place] + character + text[place + 1 :]
        elif kind == 4:
            text = text[:place] + character + text[place:]
        elif kind == 5:
            text = text[:place] + text[place + int(rng.integers(1, 12)) :]
        elif kind == 6:
            lines.insert(int(rng.integers(0, len(lines) + 1)), lines[line])
            text = "\n".join(lines)
        elif kind == 7:
            text = "\n".join(lines[:line] + lines[line + 1 :])
        elif kind == 8:
            other = int(rng.integers(0, len(lines)))
            lines[line], lines[other] = lines[other], lines[line]
            text = "\n".join(lines)
        elif not any(one.startswith(("ATOM", "HETATM")) for one in lines):  # a PDB without a column is one of shifted x
            text = "\n".join(one[: place % 60] + one[place % 60 + 1 :] for one in lines)
    return text


def read_by_others(path: Path) -> Iterator[tuple[list[int], np.ndarray]]:
    """Elements and positions in Å of the first frame, by every other reader that takes the file."""
    import ase.io
    from ase.data import chemical_symbols
    from openmm import unit
    from openmm.app import PDBFile, PDBxFile
    from rdkit import Chem, rdBase

    def by_ase(kind: str) -> tuple[list[int], np.ndarray]:
        atoms = ase.io.read(path, index=0, format=kind)
        return atoms.numbers.tolist(), atoms.positions

    def by_rdkit(molecule: "Chem.Mol") -> tuple[list[int], np.ndarray]:
        return [a.GetAtomicNum() for a in molecule.GetAtoms()], molecule.GetConformer().GetPositions()

    def by_openmm(file: "PDBFile | PDBxFile") -> tuple[list[int], np.ndarray]:
        numbers = [a.element.atomic_number if a.element else 0 for a in file.topology.atoms()]
        return numbers, np.array(file.getPositions(asNumpy=True).value_in_unit(unit.angstrom))

    text = path.read_text()
    if path.suffix in (".xyz", ".extxyz"):  # ASE takes symbols only
        text = re.sub(r"(?m)^(\d{1,2})(?=[ \t]+\S)", lambda found: chemical_symbols[int(found[0])], text)
        path = path.with_stem("symbols")
        path.write_text(text)
    readers = {
        ".pdb": [
            lambda: by_openmm(PDBFile(str(path))),
            lambda: by_ase("proteindatabank"),
            lambda: by_rdkit(Chem.MolFromPDBBlock(text, sanitize=False, removeHs=False, proximityBonding=False)),
        ],
        ".cif": [lambda: by_openmm(PDBxFile(str(path)))],
        ".xyz": [lambda: by_ase("extxyz"), lambda: by_ase("xyz")],
        ".extxyz": [lambda: by_ase("extxyz")],
        ".sdf": [lambda: by_rdkit(Chem.MolFromMolBlock(text, sanitize=False, removeHs=False))],
        ".mol": [lambda: by_rdkit(Chem.MolFromMolBlock(text, sanitize=False, removeHs=False))],
    }
    for read in readers[path.suffix]:
        try:
            with rdBase.BlockLogs():
                yield read()
        except Exception:  # they raise whatever the damage leads to
            continue


def same(one: Molecule, numbers: list[int], positions: np.ndarray) -> bool:
    """The same elements in the same places, in any order."""
    if one.n_atoms != len(numbers) or not np.isfinite(positions).all():
        return False
    order, other = np.lexsort(one.positions.T.round(2)), np.lexsort(positions.T.round(2))
    return bool(
        np.array_equal(one.atomic_numbers[order], np.array(numbers)[other])
        and np.allclose(one.positions[order], positions[other], atol=SAME)
    ) or bool(np.array_equal(one.atomic_numbers, numbers) and np.allclose(one.positions, positions, atol=SAME))


def charge_by_rdkit(text: str) -> int | None:
    """The total charge that RDKit finds in an SDF, if any."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock(text, sanitize=False, removeHs=False)
    return None if molecule is None else int(Chem.GetFormalCharge(molecule))


def numbers_in(text: str) -> set[str]:
    """The words of a text that are numbers, to four digits."""
    found = set()
    for word in text.split():
        try:
            found.add(f"{float(word):.4g}")
        except ValueError:
            continue
    return found


def reordered(read: Molecule, whole: Molecule, text: str) -> bool:
    """Whether atoms stand in another order, and one coordinate may be another number of the text."""
    order = np.abs(whole.positions[:, None] - read.positions).sum(axis=2).argmin(axis=0)
    moved = read.positions[np.abs(read.positions - whole.positions[order]) > SAME]
    return (
        len(set(order.tolist())) == read.n_atoms
        and np.array_equal(read.atomic_numbers, whole.atomic_numbers[order])
        and len(moved) <= 1
        and {f"{x:.4g}" for x in moved} <= numbers_in(text)
    )


def complaint(name: str, text: str, folder: Path) -> str | None:
    """What is wrong with how the file was taken; None if nothing is. Raises what the readers raise by mistake."""
    clean, path = folder / name, folder / f"damaged-{name}"
    path.write_text(text)
    try:
        read = read_molecule(path)
    except InputError as error:
        return f"more than one line: {error}" if "\n" in str(error) or len(str(error)) > 500 else None
    whole = read_molecule(clean)
    stated = re.search(rf"charge=0*{read.charge}\b.*multiplicity={read.multiplicity}\b", text) or (
        path.suffix in (".sdf", ".mol") and read.charge == charge_by_rdkit(text)
    )
    if (read.charge, read.multiplicity) != (whole.charge, whole.multiplicity) and not stated:
        return f"read with charge {read.charge}, multiplicity {read.multiplicity}"
    if same(read, whole.atomic_numbers.tolist(), whole.positions):
        return None
    if any(same(read, *other) for other in read_by_others(path)):
        return None
    same_size = read.n_atoms == whole.n_atoms
    changed = read.positions[np.abs(read.positions - whole.positions) > SAME] if same_size else np.zeros(0)
    if np.array_equal(read.atomic_numbers, whole.atomic_numbers) and {f"{x:.4g}" for x in changed} <= numbers_in(text):
        return None
    if same_size and reordered(read, whole, text):
        return None
    return f"read as {read.atomic_numbers.tolist()} at {read.positions.round(3).tolist()}"


def fuzz(seed: int, seconds: float = np.inf, tries: float = np.inf) -> tuple[list[str], int]:
    """Complaints, and how many files were damaged."""
    rng = np.random.default_rng(seed)
    files = whole_files()
    complaints: list[str] = []
    count = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        for name, text in files.items():
            (folder / name).write_text(text)
        while time.monotonic() < end and count < tries:
            name = str(rng.choice(sorted(files)))
            text = damaged(files[name], rng)
            count += 1
            started = time.monotonic()
            try:
                found = complaint(name, text, folder)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            if time.monotonic() - started > 5.0:
                found = f"took {time.monotonic() - started:.0f} s"
            if found:
                complaints.append(f"--- {name}: {found}\n{text}")
    return complaints, count


if __name__ == "__main__":
    import logging

    logging.disable()
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found, count = fuzz(seed, float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
    print("\n".join(found))
    print(f"{count} files damaged, {len(found)} taken wrongly")
    sys.exit(bool(found))
