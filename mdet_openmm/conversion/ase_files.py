"""Extended XYZ, and all else that ASE reads, frame by frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from mdet_openmm.conversion.pieces import Piece, multiplicity_of, units_of
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.data.layout import SPLITS
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.elements import hill_formula

TOGETHER: Final = 256
"""Frames of one molecule, one after the other, that make a piece."""
_CHARGE, _MULTIPLICITY = ("charge", "total_charge"), ("multiplicity", "spin_multiplicity", "spin")
_NAME, _TEMPERATURE = ("name", "mol_name", "molecule"), ("temperature", "Temperature")


def read_ase(path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """The frames of a file.

    Raises
    ------
    InputError
        If ASE cannot read it, or a frame has no energy or no forces, or is periodic.
    """
    waiting: list[dict[str, Any]] = []
    for frame in _frames(path, settings):
        if waiting and (len(waiting) == TOGETHER or not _alike(waiting[0], frame)):
            yield _piece(waiting, path, settings)
            waiting = []
        waiting.append(frame)
    if waiting:
        yield _piece(waiting, path, settings)


def _frames(path: Path, settings: ConvertSettings) -> Iterator[dict[str, Any]]:
    from ase.io import iread

    number = 0
    try:
        kind = "extxyz" if path.suffix in (".xyz", ".extxyz") else None
        for atoms in iread(path, index=":", format=kind):
            yield _frame(atoms, f"{path}, frame {number}", settings)
            number += 1
    except InputError:
        raise
    except Exception as error:  # every format of ASE's has its own
        if number and isinstance(error, (StopIteration, EOFError)):
            return
        raise InputError(
            f"{path}: ASE cannot read frame {number} ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from None


def _frame(atoms: Any, where: str, settings: ConvertSettings) -> dict[str, Any]:
    if atoms.pbc.any():
        raise InputError(f"{where} is periodic; only free molecules can be learnt from")
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    energy = _found(settings.energy_key, ("energy", "REF_energy", "free_energy"), results, atoms.info)
    forces = _found(settings.forces_key, ("forces", "REF_forces"), results, atoms.arrays)
    for what, value, flag in (("energy", energy, "--energy-key"), ("forces", forces, "--forces-key")):
        if value is None:
            known = ", ".join(sorted({*results, *atoms.info, *atoms.arrays} - {"numbers", "positions"}))
            raise InputError(f"{where} has no {what} under its usual name, only {known or 'positions'}; say {flag}")

    def told(given: Any, names: tuple[str, ...]) -> Any:
        return given if given is not None else next((atoms.info[n] for n in names if n in atoms.info), None)

    charge = told(settings.charge, _CHARGE)
    return {
        "numbers": atoms.numbers.astype(np.int64),
        "positions": atoms.positions,
        "forces": np.asarray(forces, dtype=np.float64),
        "energy": float(energy),
        "dipole": results.get("dipole"),
        "charge": round(float(atoms.get_initial_charges().sum())) if charge is None else int(charge),
        "multiplicity": told(settings.multiplicity, _MULTIPLICITY),
        "name": told(settings.name, _NAME),
        "smiles": str(atoms.info.get("smiles", "")),
        "temperature": told(settings.temperature, _TEMPERATURE),
        "split": atoms.info.get("split") if atoms.info.get("split") in SPLITS else None,
    }


def _found(key: str | None, usual: tuple[str, ...], *places: dict[str, Any]) -> Any:
    for name in (key,) if key is not None else usual:
        for place in places:
            if name in place:
                return place[name]
    return None


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    same = all(one[key] == other[key] for key in ("charge", "multiplicity", "name", "smiles", "split"))
    return same and np.array_equal(one["numbers"], other["numbers"])


def _piece(frames: list[dict[str, Any]], path: Path, settings: ConvertSettings) -> Piece:
    units = units_of(settings, "angstrom", "eV")
    first = frames[0]
    numbers, charge, spin = first["numbers"], first["charge"], first["multiplicity"]
    temperatures = np.array([np.nan if f["temperature"] is None else float(f["temperature"]) for f in frames])
    known = all(f["dipole"] is not None for f in frames)
    return Piece(
        name=str(first["name"] or hill_formula(numbers)),
        smiles=first["smiles"],
        source=path.name,
        atomic_numbers=numbers,
        charge=charge,
        multiplicity=multiplicity_of(settings, numbers, charge) if spin is None else int(spin),
        positions=np.stack([f["positions"] for f in frames]) * units.length,
        forces=np.stack([f["forces"] for f in frames]) * units.force,
        energy=np.array([f["energy"] for f in frames]) * units.energy,
        dipole=np.stack([f["dipole"] for f in frames]) if known else None,
        temperature=temperatures,
        split=first["split"],
    )
