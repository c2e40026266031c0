"""Trajectories of one molecule: every format through one reader, which names damage and never guesses at it."""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.files import DAMAGED_ARCHIVE
from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.molecules.checks import check_geometry
from mdet_openmm.molecules.dcd import read_dcd
from mdet_openmm.molecules.files import read_text, structure_format
from mdet_openmm.molecules.gromacs_frames import check_frames
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.pdb import parse_pdb
from mdet_openmm.molecules.readers import read_structure
from mdet_openmm.molecules.sdf import parse_sdf
from mdet_openmm.molecules.structure import Structure, refuse_cell
from mdet_openmm.molecules.xyz import parse_xyz
from mdet_openmm.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    import mdtraj

NPZ_NUMBERS = ("z", "nuclear_charges", "atomic_numbers")
NPZ_POSITIONS = ("R", "coords", "positions")
"""Names in the archives of MD17, of rMD17, and ours."""
BY_MDTRAJ = (".xtc", ".trr", ".nc", ".ncdf", ".netcdf", ".gro")
"""Formats that mdtraj reads and in which a cut file does not pass for a shorter one."""
TEXT = (".xyz", ".extxyz", ".pdb", ".ent", ".sdf")
FORMATS = "XYZ, extended XYZ, PDB, SDF, DCD, XTC, TRR, NetCDF, GRO, npz or ASE's traj"
BESIDE = "topology.pdb"
"""Looked for beside a trajectory that does not tell elements, as runs write it; a PDB of the same name comes first."""
MOST_LOOKED_AT = 50
"""Frames among which one has to be a molecule in Å."""


@dataclass(frozen=True)
class Trajectory:
    """Frames of one molecule.

    Attributes
    ----------
    name
        That of the file.
    atomic_numbers
        (n,) int64.
    positions
        (f, n, 3) float64 in Å, finite; at least one frame.
    first
        What a file of structures (XYZ, PDB, SDF) says in its first frame, of charge and multiplicity above all, which
        are the same in all of them; None for other formats.
    """

    name: str
    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    first: Structure | None = None


def read_trajectory(path: Path, molecule: Molecule | None = None) -> Trajectory:
    """Read a trajectory of one free molecule.

    Parameters
    ----------
    path
        XYZ or extended XYZ; PDB or SDF of several models; DCD, XTC, TRR, NetCDF or GRO; ASE's ``traj``; an
        archive (npz) of MD17, of rMD17 or with ``atomic_numbers`` and ``positions`` in Å.
    molecule
        Whose trajectory it has to be, atom by atom. None: the file tells the elements, or a PDB of the same name or
        ``topology.pdb`` beside it does.

    Raises
    ------
    InputError
        If the file cannot be read or is damaged (with the frame where it stops), has no frames, frames of different
        atoms, charges or multiplicities, positions that are not finite, a periodic box, other atoms than the molecule,
        or no frame that is a molecule in Å.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"the trajectory {path} does not exist")
    kind = path.suffix.lower()
    first = None
    if kind in TEXT:
        text = read_text(path)
        numbers, positions, first = _from_text(text, structure_format(path, text), path)
    elif kind == ".traj":
        numbers, positions, first = _from_text(_rewritten(path), "XYZ", path)
    elif kind == ".npz":
        numbers, positions = _from_npz(path)
    elif kind == ".dcd":
        numbers, positions = _elements(path, molecule), read_dcd(path)
    elif kind in BY_MDTRAJ:
        numbers, positions = _by_mdtraj(path, None if kind == ".gro" else _elements(path, molecule))
    else:
        raise InputError(f"{path} is no trajectory that can be read here; give {FORMATS}")
    trajectory = Trajectory(path.stem, numbers, positions, first)
    _check(trajectory, path, molecule)
    return trajectory


def _check(trajectory: Trajectory, path: Path, molecule: Molecule | None) -> None:
    numbers, positions = trajectory.atomic_numbers, trajectory.positions
    if molecule is not None and not np.array_equal(numbers, molecule.atomic_numbers):
        raise InputError(f"{path} has other atoms, or another order of them, than {molecule.name}")
    if positions.ndim != 3 or positions.shape[1:] != (len(numbers), 3):
        raise InputError(f"{path} has positions of shape {positions.shape} for {len(numbers)} atoms")
    if not positions.size:
        raise InputError(f"{path} has no frames")
    if numbers.min() < 1 or numbers.max() > 118:
        raise InputError(f"{path} does not tell the elements of all atoms")
    finite = np.isfinite(positions).all(axis=(1, 2))
    if not finite.all():
        frame = 1 + int(np.argmin(finite))
        raise InputError(f"{path}: frame {frame} has positions that are not finite; end the file before it")
    _check_unit(numbers, positions, path)


def _check_unit(numbers: NDArray[np.int64], positions: NDArray[np.float64], path: Path) -> None:
    """Refuse a file of which no frame is a molecule in Å: atoms on top of each other (nm), or without a bond (bohr).

    Single frames may well be torn apart: such trajectories are looked at, and learnt from.
    """
    if len(numbers) == 1:
        return
    problem = ""
    for frame in np.unique(np.linspace(0, len(positions) - 1, MOST_LOOKED_AT).astype(int)):
        name = f"{path}, frame {frame + 1}"
        try:
            check_geometry(Molecule(numbers, positions[frame], name=name))
        except InputError as error:
            problem = problem or str(error)
            continue
        if len(find_bonds(numbers, positions[frame])):
            return
        problem = problem or f"{name}: no two atoms are near enough for a bond; check that coordinates are in Å"
    raise InputError(problem)


# Files of structures: each frame is read as a molecule file is.


def _from_text(text: str, kind: str, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], Structure]:
    parse, pieces = _PARSERS[kind]
    first: Structure | None = None
    positions = []
    for count, piece in enumerate(pieces(text, path), 1):
        frame = parse(piece, f"{path}, frame {count}")
        first = first or frame
        if not np.array_equal(frame.atomic_numbers, first.atomic_numbers):
            sizes = f"{len(frame.atomic_numbers)} and {len(first.atomic_numbers)} of them"
            raise InputError(f"{path}: frames {count} and 1 have different atoms ({sizes}), or the file is cut")
        for what in ("charge", "multiplicity"):
            one, other = getattr(first, what), getattr(frame, what)
            if one != other:
                raise InputError(
                    f"{path}: frame 1 states {what} {one} and frame {count} {what} {other}; make two files of them"
                )
        positions.append(frame.positions)
    if first is None or not len(first.atomic_numbers):
        raise InputError(f"{path} has no frames")
    return first.atomic_numbers, np.stack(positions), first


def _xyz_frames(text: str, path: Path) -> Iterator[str]:
    """Each frame by the count of atoms in its first line; blank lines may stand between them."""
    lines = text.split("\n")
    at = count = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        count += 1
        number = re.fullmatch(r"\s*(\d+)\s*", lines[at])
        if number is None:
            raise InputError(
                f"{path}, line {at + 1}: frame {count} should begin here with its number of atoms, not "
                f"'{lines[at].strip()[:40]}'"
            )
        end = at + 2 + int(number[1])
        yield "\n".join(lines[at:end])
        at = end


def _pdb_frames(text: str, path: Path) -> Iterator[str]:
    """Each model, with or without MODEL and ENDMDL; what follows the last (CONECT) names atoms of the first."""
    for piece in re.split(r"^END(?:MDL)?\s*$", text, flags=re.MULTILINE):
        if re.search(r"^(?:ATOM  |HETATM)", piece, re.MULTILINE):
            yield piece


def _sdf_frames(text: str, path: Path) -> Iterator[str]:
    for piece in re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE):
        if piece.strip():
            yield piece


_PARSERS: dict[str, tuple[Callable[[str, str], Structure], Callable[[str, Path], Iterable[str]]]] = {
    "XYZ": (parse_xyz, _xyz_frames),
    "PDB": (parse_pdb, _pdb_frames),
    "SDF": (parse_sdf, _sdf_frames),
}


def _rewritten(path: Path) -> str:
    """ASE's own format as extended XYZ, which has all that ASE keeps: cell, charge, masses."""
    import ase.io

    text = io.StringIO()
    try:
        images = ase.io.read(path, index=":", format="traj")
        ase.io.write(text, images, format="extxyz", write_results=False)
    except Exception as error:  # ase's readers raise many kinds
        raise InputError(f"cannot read {path}: {one_line(error)}") from None
    return text.getvalue()


# Arrays: the elements come from elsewhere.


def _from_npz(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = [next((archive[n] for n in names if n in archive), None) for names in (NPZ_NUMBERS, NPZ_POSITIONS)]
        if isinstance(found[0], np.ndarray) and isinstance(found[1], np.ndarray):
            return found[0].astype(np.int64).reshape(-1), found[1].astype(np.float64)
    except DAMAGED_ARCHIVE as error:
        raise InputError(f"cannot read {path}: {one_line(error)}") from None
    raise InputError(f"{path} needs an array {' or '.join(NPZ_NUMBERS)} and an array {' or '.join(NPZ_POSITIONS)}")


def _elements(path: Path, molecule: Molecule | None) -> NDArray[np.int64]:
    """Those of the PDB beside it; of the molecule if there is none, or if it is clearly of something else."""
    beside = [p for p in (path.with_suffix(".pdb"), path.with_name(BESIDE)) if p.is_file()]
    if molecule is None:
        if not beside:
            raise InputError(f"{path} needs its topology: {path.stem}.pdb or {BESIDE} beside it")
        return read_structure(beside[0]).atomic_numbers
    for topology in beside[:1]:
        try:
            numbers = read_structure(topology).atomic_numbers
        except InputError:
            break
        if len(numbers) == molecule.n_atoms:
            return numbers
    return molecule.atomic_numbers


def _by_mdtraj(path: Path, numbers: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    import mdtraj

    given = {} if numbers is None else {"top": _topology(numbers)}
    if numbers is not None and path.suffix.lower() in (".trr", ".xtc"):
        check_frames(path, len(numbers))
    try:
        with warnings.catch_warnings(action="ignore"):  # on packages that would make it faster
            loaded = mdtraj.load(str(path), **given)
    except Exception as error:  # mdtraj raises whatever its readers and the file's contents lead to
        whole = 0
        try:
            for _ in mdtraj.iterload(str(path), chunk=1, **given):
                whole += 1
        except Exception:  # the same again
            pass
        where = f"{path} is damaged after frame {whole}" if whole else f"cannot read {path}"
        raise InputError(f"{where}: {one_line(error)}") from None
    if loaded.unitcell_lengths is not None:
        lengths = ANGSTROM_PER_NM * loaded.unitcell_lengths[0].astype(np.float64)
        refuse_cell(lengths.tolist(), loaded.unitcell_angles[0].astype(np.float64).tolist(), str(path))
    return elements_of(loaded.topology), ANGSTROM_PER_NM * loaded.xyz.astype(np.float64)


def _topology(numbers: NDArray[np.int64]) -> "mdtraj.Topology":
    import mdtraj

    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for number in numbers.tolist():
        topology.add_atom("X", mdtraj.element.Element.getByAtomicNumber(number), residue)
    return topology


def elements_of(topology: "mdtraj.Topology") -> NDArray[np.int64]:
    """(n,) atomic numbers, 0 where the file does not tell."""
    return np.array([0 if a.element is None else a.element.atomic_number for a in topology.atoms], dtype=np.int64)


def one_line(error: Exception) -> str:
    """What another library said, short enough for one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
