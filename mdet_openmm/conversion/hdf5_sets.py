"""Data sets that are published as HDF5: SPICE, ANI-1x and QM7-X."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.pieces import Piece, Units, multiplicity_of, units_of
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.data.layout import hdf5
from mdet_openmm.data.string_heaps import check_string_heaps
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
        check_string_heaps(path)
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
        except InputError:
            raise
        except (KeyError, OSError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is damaged, or not {kind} as published: {' '.join(str(error).split())}") from None


def _table(group: Any, name: str) -> NDArray[Any]:
    """A whole table of one molecule. By HDF5's own calls: the objects of h5py take ten times as long as the reading."""
    h5py = hdf5()
    table = h5py.h5d.open(group, name.encode())
    values = np.empty(table.shape, table.dtype)
    table.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _groups(file: Any) -> Iterator[tuple[str, Any]]:
    """Name and HDF5's own handle of each group of a file."""
    for name in file:
        yield name, hdf5().h5g.open(file.id, name.encode())


def _stacked(molecule: Any, frames: list[str], keys: list[str]) -> list[NDArray[Any]]:
    """The same small tables of many groups of one shape, (frames, ...) each.

    HDF5 takes 13 µs to open a table, and that is what it all costs; so types and shapes are those of the first group.
    Tables of another size are HDF5's error, since the space in memory is given.
    """
    h5py = hdf5()
    first, into = h5py.h5g.open(molecule, frames[0].encode()), []
    for key in keys:
        table = h5py.h5d.open(first, key.encode())
        values = np.empty((len(frames), *table.shape), table.dtype)
        into.append((key.encode(), values, h5py.h5s.create_simple(table.shape), h5py.h5t.py_create(table.dtype)))
    for k, frame in enumerate(frames):
        group = h5py.h5g.open(molecule, frame.encode())
        for name, values, space, kind in into:
            h5py.h5d.open(group, name).read(space, h5py.h5s.ALL, values[k], kind)
    return [values for _, values, _, _ in into]


def _spice(file: Any, path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """Bohr and Hartree; the SMILES says the charge. The file has gradients."""
    if settings.level is not None:
        raise InputError(f"{path}: SPICE has one level of theory; leave --level out")
    first = next(iter(file.values()))
    for key, unit in (("conformations", "bohr"), ("dft_total_energy", "hartree")):
        given = first[key].attrs.get("units", unit)
        if given not in (unit, unit.encode()):
            raise InputError(f"{path}: {key} are in {given}, not in {unit}")
    units = units_of(settings, "bohr", "hartree")
    for name, group in _groups(file):
        smiles = _text(_table(group, "smiles")) if b"smiles" in group else ""
        charge = settings.charge if settings.charge is not None else _smiles_charge(smiles, f"{path}: {name}")
        yield _piece(
            name, smiles, path, settings, _table(group, "atomic_numbers"), charge, units,
            _table(group, "conformations"), -_table(group, "dft_total_gradient"), _table(group, "dft_total_energy"),
            _table(group, "scf_dipole") * ANGSTROM_PER_BOHR if b"scf_dipole" in group else None,
        )  # fmt: skip


def _ani1x(file: Any, path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """Å, Hartree and Hartree/Å; NaN where a frame has no labels of a level, and those are left out."""
    level = _chosen(settings, ANI_LEVELS, path)
    units = units_of(settings, "angstrom", "hartree")
    for name, group in _groups(file):
        if f"{level}.forces".encode() not in group:
            continue
        energy, forces = _table(group, f"{level}.energy"), _table(group, f"{level}.forces")
        there = np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2))
        if there.any():
            yield _piece(
                name, "", path, settings, _table(group, "atomic_numbers"), settings.charge or 0, units,
                _table(group, "coordinates")[there], forces[there], energy[there],
                _table(group, f"{level}.dipole")[there] if f"{level}.dipole".encode() in group else None,
            )  # fmt: skip


def _qm7x(file: Any, path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """Å and eV. A molecule is one constitutional isomer; duplicates that DupMols.dat beside it names are left out."""
    _, energy_key, forces_key = QM7X_LEVELS[_chosen(settings, QM7X_LEVELS, path)]
    units = units_of(settings, "angstrom", "eV")
    listed = path.parent / "DupMols.dat"
    repeated = {line.strip().removesuffix("-opt") for line in listed.open()} if listed.is_file() else set()
    for molecule in file.values():
        isomers: dict[str, list[str]] = {}
        for name in molecule:
            parts = name.split("-")  # Geom-m1-i1-c1-opt, Geom-m1-i1-c1-1 …
            if "-".join(parts[:4]) not in repeated:
                isomers.setdefault("-".join(parts[1:3]), []).append(name)
        for isomer, frames in isomers.items():
            keys = ["atNUM", "atXYZ", forces_key, energy_key]
            keys += ["vDIP"] if f"{frames[0]}/vDIP" in molecule else []
            numbers, positions, forces, energy, *dipole = _stacked(molecule.id, frames, keys)
            if (numbers != numbers[0]).any():
                raise InputError(f"{path}: the frames of {isomer} have different atoms")
            yield _piece(
                isomer, "", path, settings, numbers[0], settings.charge or 0, units, positions, forces, energy,
                dipole[0].reshape(-1, 3) if dipole else None,
            )  # fmt: skip


def _piece(
    name: str,
    smiles: str,
    path: Path,
    settings: ConvertSettings,
    numbers: NDArray[Any],
    charge: int,
    units: Units,
    positions: NDArray[Any],
    forces: NDArray[Any],
    energy: NDArray[Any],
    dipole: NDArray[Any] | None,
) -> Piece:
    numbers = numbers.astype(np.int64)
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


def _text(values: NDArray[Any]) -> str:
    value = values.reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _smiles_charge(smiles: str, where: str) -> int:
    """The sum of the formal charges."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles, sanitize=False) if smiles else None
    if molecule is None:
        raise InputError(f"{where} has no SMILES that says its charge; say --charge")
    return int(Chem.GetFormalCharge(molecule))
