"""What every reader of a foreign format gives: frames of one molecule, in Å and eV."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.settings import ENERGIES, LENGTHS, ConvertSettings, force_factor
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.elements import hill_formula

AT_ONCE = 2048
"""Frames read at a time; memory does not grow with the file."""


@dataclass(frozen=True)
class Units:
    """What one of a file's units is in Å, eV and eV/Å; negative for forces where the file has gradients."""

    length: float
    energy: float
    force: float


def units_of(settings: ConvertSettings, length: str, energy: str, force: str | None = None) -> Units:
    """The units of a format, or those that the user names instead."""
    length, energy = settings.length_unit or length, settings.energy_unit or energy
    if settings.force_unit is None and (settings.length_unit or settings.energy_unit):
        force = None  # the user's units are those of the forces too
    given = settings.force_unit or force or f"{energy}/{length}"
    return Units(LENGTHS[length], ENERGIES[energy], force_factor(given))


@dataclass(frozen=True)
class Piece:
    """Frames of one molecule.

    Attributes
    ----------
    name, smiles
        Of the molecule; '' where unknown. Pieces of one name, charge and multiplicity are of one molecule.
    source
        File that it comes from.
    atomic_numbers
        (n,).
    charge, multiplicity
        In e, and 2S + 1.
    positions
        (f, n, 3) in Å.
    forces
        (f, n, 3) in eV/Å.
    energy
        (f,) in eV.
    dipole
        (f, 3) in e·Å about the origin of the positions, or None.
    temperature
        (f,) in K, or None.
    split
        What the source says, 'train', 'val' or 'test'; else None.

    Raises
    ------
    InputError
        If the shapes do not belong together, or an element, charge or multiplicity is none.
    """

    name: str
    smiles: str
    source: str
    atomic_numbers: NDArray[np.int64]
    charge: int
    multiplicity: int
    positions: NDArray[np.floating]
    forces: NDArray[np.floating]
    energy: NDArray[np.float64]
    dipole: NDArray[np.floating] | None = None
    temperature: NDArray[np.floating] | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        """Check what belongs together."""
        count, n = len(self.energy), len(self.atomic_numbers)
        for what, array in (("positions", self.positions), ("forces", self.forces)):
            if array.shape != (count, n, 3):
                raise InputError(
                    f"{self.source}: {what} of {self.name} are {array.shape}, not ({count} frames, {n} atoms, 3)"
                )
        if self.dipole is not None and self.dipole.shape != (count, 3):
            raise InputError(f"{self.source}: dipoles of {self.name} are {self.dipole.shape}, not ({count}, 3)")
        if n == 0 or self.atomic_numbers.min() < 1 or self.atomic_numbers.max() > 118:
            raise InputError(f"{self.source}: {self.name} has atomic numbers that are none")
        electrons = int(self.atomic_numbers.sum()) - self.charge
        if self.multiplicity < 1 or self.multiplicity - 1 > electrons or (electrons - self.multiplicity) % 2 == 0:
            raise InputError(
                f"{self.source}: {self.name} has {electrons} electrons (charge {self.charge}), which cannot have "
                f"multiplicity {self.multiplicity}; say --charge and --multiplicity"
            )

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.energy)


def multiplicity_of(settings: ConvertSettings, numbers: NDArray[np.int64], charge: int) -> int:
    """The user's, else the lowest that the number of electrons allows."""
    if settings.multiplicity is not None:
        return settings.multiplicity
    return 1 + int(numbers.sum() - charge) % 2


def name_of(path: Path) -> str:
    """The molecule's name in that of a file: aspirin of rmd17_aspirin.npz and md17_aspirin.npz."""
    name = path.name.split(".")[0]
    for prefix in ("rmd17_", "md17_", "md22_", "new_"):
        name = name.removeprefix(prefix)
    return name


def by_composition(
    settings: ConvertSettings,
    numbers: NDArray[np.integer],
    *,
    name: str | None = None,
    source: str,
    positions: NDArray[np.floating],
    forces: NDArray[np.floating],
    energy: NDArray[np.float64],
    charge: NDArray[np.integer] | None = None,
    multiplicity: NDArray[np.integer] | None = None,
    dipole: NDArray[np.floating] | None = None,
    split: str | None = None,
) -> Iterator[Piece]:
    """Frames of any molecules, padded to one length, as pieces of one molecule each.

    Parameters
    ----------
    numbers
        (f, n), 0 where there is no atom.
    name
        Of all; their formula, if None.
    positions, forces
        (f, n, 3).
    energy, charge, multiplicity
        (f,).
    dipole
        (f, 3).
    """
    count = len(energy)
    if numbers.shape[1] != positions.shape[1]:
        raise InputError(
            f"{source}: it has {positions.shape[1]} positions a frame, but {numbers.shape[1]} atomic numbers"
        )
    charges = np.zeros(count, dtype=np.int64) if charge is None else np.asarray(charge).reshape(-1).astype(np.int64)
    if settings.charge is not None:
        charges = np.full(count, settings.charge)
    spins = np.zeros(count, dtype=np.int64) if multiplicity is None else np.asarray(multiplicity).reshape(-1)
    keys = np.concatenate([numbers, charges[:, None], spins[:, None].astype(np.int64)], axis=1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    for k in np.argsort(first):
        mine = np.flatnonzero(which.reshape(-1) == k)
        there = numbers[mine[0]] > 0
        kinds = numbers[mine[0]][there].astype(np.int64)
        total = int(charges[mine[0]])
        spin = int(spins[mine[0]])
        yield Piece(
            name=settings.name or name or hill_formula(kinds),
            smiles="",
            source=source,
            atomic_numbers=kinds,
            charge=total,
            multiplicity=spin if spin and settings.multiplicity is None else multiplicity_of(settings, kinds, total),
            positions=positions[mine][:, there],
            forces=forces[mine][:, there],
            energy=energy[mine],
            dipole=None if dipole is None else dipole[mine],
            split=split,
        )
