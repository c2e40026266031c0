"""Data sets that are published as HDF5: SPICE, ANI-1x and QM7-X."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.pieces import AT_ONCE, Piece, Units, multiplicity_of, units_of
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.data.layout import hdf5
from mdet_openmm.errors import InputError
from mdet_openmm.units import ANGSTROM_PER_BOHR

ANI_LEVELS: Final = {"wb97x_dz": "wB97X/6-31G(d)", "wb97x_tz": "wB97X/def2-TZVPP"}
SPICE_LEVEL: Final = "wB97M-D3BJ/def2-TZVPPD"
QM7X_LEVELS: Final = {
    "pbe0+mbd": ("PBE0+MBD", "ePBE0+MBD", "totFOR"),
    "pbe0": ("PBE0", "ePBE0", "pbe0FOR"),
}


def opened(path: Path) -> Any:
    """An HDF5 file for reading.

    Raises
    ------
    InputError
        If it is none, or is cut short.
    """
    try:
        return hdf5().File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is not an HDF5 file, or is cut short ({' '.join(str(error).split())})") from None


def kind_of(path: Path) -> str:
    """Which of the data sets a file is: "SPICE", "ANI-1x" or "QM7-X".

    Raises
    ------
    InputError
        If it is none of them.
    """
    with opened(path) as file:
        first = next(iter(file.values()), None)
        names = set(first) if isinstance(first, hdf5().Group) else set()
        if {"conformations", "dft_total_gradient"} <= names:
            return "SPICE"
        if {"coordinates", "atomic_numbers"} <= names:
            return "ANI-1x"
        inner = next(iter(first.values())) if first is not None and names else None
        if isinstance(inner, hdf5().Group) and "atXYZ" in inner:
            return "QM7-X"
    raise InputError(
        f"{path} is HDF5, but none that is known: SPICE (groups with conformations and dft_total_gradient), ANI-1x "
        "(coordinates and atomic_numbers) or QM7-X (atXYZ)"
    )


def level_of(path: Path, settings: ConvertSettings) -> str:
    """The level of theory of its labels."""
    kind = kind_of(path)
    if kind == "SPICE":
        return SPICE_LEVEL
    if kind == "ANI-1x":
        return ANI_LEVELS[_chosen(settings, ANI_LEVELS, path)]
    return QM7X_LEVELS[_chosen(settings, QM7X_LEVELS, path)][0]


def _chosen(settings: ConvertSettings, known: dict[str, Any], path: Path) -> str:
    level = settings.level or next(iter(known))
    if level not in known:
        raise InputError(f"{path}: --level must be one of {', '.join(known)}, not {level}")
    return level


def read_hdf5(path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """The frames of a file.

    Raises
    ------
    InputError
        If it is damaged, or of no known kind.
    """
    readers: dict[str, Callable[[Any, Path, ConvertSettings], Iterator[Piece]]] = {
        "SPICE": _spice,
        "ANI-1x": _ani1x,
        "QM7-X": _qm7x,
    }
    kind = kind_of(path)
    with opened(path) as file:
        try:
            yield from readers[kind](file, path, settings)
        except (KeyError, OSError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged, or not {kind} as published: {' '.join(str(error).split())}") from None


def _spice(file: Any, path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """Bohr and Hartree; the SMILES says the charge. The file has gradients."""
    if settings.level is not None:
        raise InputError(f"{path}: SPICE has one level of theory; leave --level out")
    for name, group in file.items():
        for key, unit in (("conformations", "bohr"), ("dft_total_energy", "hartree")):
            given = group[key].attrs.get("units", unit)
            if given not in (unit, unit.encode()):
                raise InputError(f"{path}: {key} of {name} are in {given}, not in {unit}")
        units = units_of(settings, "bohr", "hartree")
        numbers = group["atomic_numbers"][:].astype(np.int64)
        smiles = _text(group["smiles"]) if "smiles" in group else ""
        charge = settings.charge if settings.charge is not None else _smiles_charge(smiles, f"{path}: {name}")
        dipole = group.get("scf_dipole")
        for rows in _slices(len(group["conformations"])):
            yield _piece(
                name, smiles, path, settings, numbers, charge, units,
                group["conformations"][rows], -group["dft_total_gradient"][rows], group["dft_total_energy"][rows],
                None if dipole is None else dipole[rows] * ANGSTROM_PER_BOHR,
            )  # fmt: skip


def _ani1x(file: Any, path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """Å, Hartree and Hartree/Å; NaN where a frame has no labels of a level, and those are left out."""
    level = _chosen(settings, ANI_LEVELS, path)
    units = units_of(settings, "angstrom", "hartree")
    for name, group in file.items():
        numbers = group["atomic_numbers"][:].astype(np.int64)
        if f"{level}.forces" not in group:
            continue
        dipole = group.get(f"{level}.dipole")
        for rows in _slices(len(group["coordinates"])):
            energy, forces = group[f"{level}.energy"][rows], group[f"{level}.forces"][rows]
            there = np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2))
            if there.any():
                yield _piece(
                    name, "", path, settings, numbers, settings.charge or 0, units,
                    group["coordinates"][rows][there], forces[there], energy[there],
                    None if dipole is None else dipole[rows][there],
                )  # fmt: skip


def _qm7x(file: Any, path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """Å and eV. A molecule is one constitutional isomer; duplicates that DupMols.dat beside it names are left out."""
    _, energy_key, forces_key = QM7X_LEVELS[_chosen(settings, QM7X_LEVELS, path)]
    units = units_of(settings, "angstrom", "eV")
    listed = path.parent / "DupMols.dat"
    repeated = {line.strip().removesuffix("-opt") for line in listed.open()} if listed.is_file() else set()
    charge = settings.charge or 0
    for molecule in file.values():
        isomers: dict[str, list[Any]] = {}
        for name, frame in molecule.items():
            parts = name.split("-")  # Geom-m1-i1-c1-opt, Geom-m1-i1-c1-1 …
            if "-".join(parts[:4]) not in repeated:
                isomers.setdefault("-".join(parts[1:3]), []).append(frame)
        for name, frames in isomers.items():
            numbers = frames[0]["atNUM"][:].astype(np.int64)
            if any(not np.array_equal(frame["atNUM"][:], numbers) for frame in frames[1:]):
                raise InputError(f"{path}: the frames of {name} have different atoms")
            yield _piece(
                name, "", path, settings, numbers, charge, units,
                np.stack([frame["atXYZ"][:] for frame in frames]),
                np.stack([frame[forces_key][:] for frame in frames]),
                np.array([frame[energy_key][()] for frame in frames]),
                np.stack([frame["vDIP"][:].reshape(3) for frame in frames]) if "vDIP" in frames[0] else None,
            )  # fmt: skip


def _piece(
    name: str,
    smiles: str,
    path: Path,
    settings: ConvertSettings,
    numbers: NDArray[np.int64],
    charge: int,
    units: Units,
    positions: NDArray[Any],
    forces: NDArray[Any],
    energy: NDArray[Any],
    dipole: NDArray[Any] | None,
) -> Piece:
    return Piece(
        name=name,
        smiles=smiles,
        source=path.name,
        atomic_numbers=numbers,
        charge=charge,
        multiplicity=multiplicity_of(settings, numbers, charge),
        positions=positions * units.length,
        forces=forces * units.force,
        energy=energy.reshape(-1).astype(np.float64) * units.energy,
        dipole=dipole,
    )


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE))


def _text(table: Any) -> str:
    value = table.asstr()[()]
    return str(value if isinstance(value, str) else value.reshape(-1)[0])


def _smiles_charge(smiles: str, where: str) -> int:
    """The sum of the formal charges."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles, sanitize=False) if smiles else None
    if molecule is None:
        raise InputError(f"{where} has no SMILES that says its charge; say --charge")
    return int(Chem.GetFormalCharge(molecule))
