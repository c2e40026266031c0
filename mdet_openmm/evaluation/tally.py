"""From what was measured on each chunk to the errors of all frames, molecules, charges, temperatures and elements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.data.store import Store
from mdet_openmm.evaluation.chunks import Chunk, Measured
from mdet_openmm.units import KCAL_PER_MOL_PER_EV

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """The frames that were evaluated.

    Attributes
    ----------
    molecule, charge, atoms
        (f,) of each: row of the data set's molecule table, charge in e, number of atoms.
    temperature
        (f,) K, NaN where unknown.
    split
        (f,) names.
    energy
        (f,) of the data, eV.
    names
        Of the molecules.
    """

    molecule: NDArray[np.int64]
    charge: NDArray[np.int64]
    atoms: NDArray[np.int64]
    temperature: Array
    split: NDArray[np.str_]
    energy: Array
    names: tuple[str, ...]


def frames_of(store: Store, rows: NDArray[np.int64]) -> Frames:
    """What the data set says of some of its frames."""
    charges = np.array([row.charge for row in store.molecules], dtype=np.int64)
    molecule = store.molecule[rows]
    return Frames(
        molecule=molecule,
        charge=charges[molecule],
        atoms=store.sizes[rows],
        temperature=store.temperatures[rows].astype(np.float64),
        split=np.array(store.split_names)[store.splits[rows]],
        energy=store.energies[rows],
        names=tuple(row.name for row in store.molecules),
    )


class Tally:
    """What one method did on all frames: some numbers for each, whatever the order in which chunks come."""

    def __init__(self, rows: NDArray[np.int64], chunks: Sequence[Chunk]) -> None:
        self._rows = rows
        self._chunks = chunks
        self.absolute, self.square, self.energy, self.e_eq, self.antisymmetry = np.full((5, len(rows)), np.nan)
        self._elements: dict[int, dict[int, tuple[int, float, float]]] = {}
        self._points: dict[int, Array] = {}
        self._failures: dict[int, str] = {}

    def add(self, chunk: Chunk, measured: Measured) -> None:
        """Take in a chunk."""
        places = np.searchsorted(self._rows, chunk.rows)
        for name in ("absolute", "square", "energy", "e_eq", "antisymmetry"):
            getattr(self, name)[places] = getattr(measured, name)
        self._elements[chunk.index] = measured.elements
        self._points[chunk.index] = measured.points
        self._failures[chunk.index] = measured.failure

    @property
    def points(self) -> Array:
        """(p, 2) force components of the data and of the method, eV/Å."""
        return np.concatenate([self._points[i] for i in sorted(self._points)])

    def relative_energy(self, frames: Frames) -> Array:
        """(f,) errors in eV without the mean of their molecule, which means nothing to dynamics; NaN for a lone one."""
        return about_each_molecule(self.energy, frames.molecule)

    def errors(self, frames: Frames) -> dict[str, Any]:
        """All errors in plain values, units in the names of the keys; of a group without answers they are None."""
        relative = self.relative_energy(frames)
        there = np.isfinite(self.absolute)

        def summary(mine: NDArray[np.bool_]) -> dict[str, Any]:
            return self._summary(mine, frames, relative)

        return {
            **summary(np.ones(len(there), dtype=bool)),
            "without_answer": int((~there).sum()),
            "first_failure": next((self._failures[i] for i in sorted(self._failures) if self._failures[i]), ""),
            "by_split": _groups(frames.split, str, summary),
            "by_molecule": _groups(frames.molecule, lambda m: frames.names[int(m)], summary),
            "by_charge": _groups(frames.charge, lambda q: str(int(q)), summary),
            "by_temperature": _groups(np.round(frames.temperature), _kelvin, summary),
            "by_element": self._by_element(),
        }

    def _summary(self, mine: NDArray[np.bool_], frames: Frames, relative: Array) -> dict[str, Any]:
        good = mine & np.isfinite(self.absolute)
        components = int(3 * frames.atoms[good].sum())
        atoms = frames.atoms
        return {
            "frames": int(good.sum()),
            "force_mae_meV_A": _number(1e3 * self.absolute[good].sum() / components) if components else None,
            "force_rmse_meV_A": _number(1e3 * math.sqrt(self.square[good].sum() / components)) if components else None,
            **_energy_errors("energy", self.energy[mine] / atoms[mine]),
            **_energy_errors("relative_energy", relative[mine] / atoms[mine]),
            "e_eq_kcal_mol_A": _mean(self.e_eq[mine] * KCAL_PER_MOL_PER_EV),
            "lambda": _mean(self.antisymmetry[mine]),
        }

    def _by_element(self) -> dict[str, dict[str, Any]]:
        sums: dict[int, Array] = {}
        for index in sorted(self._elements):
            for z, values in self._elements[index].items():
                sums[z] = sums.get(z, np.zeros(3)) + np.array(values)
        return {
            chemical_symbols[z]: {
                "force_mae_meV_A": _number(1e3 * absolute / count),
                "force_rmse_meV_A": _number(1e3 * math.sqrt(square / count)),
            }
            for z, (count, absolute, square) in sorted(sums.items())
            if count
        }


def _kelvin(value: Any) -> str:
    return "unknown" if math.isnan(value) else f"{value:g}"


def _groups(
    keys: NDArray[Any], name: Callable[[Any], str], summary: Callable[[NDArray[np.bool_]], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    found, which = np.unique(keys, return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(found) + 1))
    groups = {}
    for k, key in enumerate(found):
        mine = np.zeros(len(keys), dtype=bool)
        mine[order[bounds[k] : bounds[k + 1]]] = True
        groups[name(key)] = summary(mine)
    return groups


def about_each_molecule(energy: Array, molecule: NDArray[np.int64]) -> Array:
    """Energies (f,) without the mean of their molecule (f,); NaN where there is one frame only."""
    good = np.isfinite(energy)
    counts = np.bincount(molecule[good], minlength=int(molecule.max()) + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(molecule[good], weights=energy[good], minlength=len(counts)) / counts
    means[counts < 2] = np.nan
    return energy - means[molecule]


def _energy_errors(name: str, per_atom: Array) -> dict[str, Any]:
    good = per_atom[np.isfinite(per_atom)]
    mae, rmse = (float(np.abs(good).mean()), float(np.sqrt(np.square(good).mean()))) if len(good) else (None, None)
    return {
        f"{name}_mae_meV_atom": None if mae is None else _number(1e3 * mae),
        f"{name}_rmse_meV_atom": None if rmse is None else _number(1e3 * rmse),
    }


def _mean(values: Array) -> float | None:
    good = values[np.isfinite(values)]
    return _number(float(good.mean())) if len(good) else None


def _number(value: float) -> float:
    return float(f"{value:.6g}")
