"""Bonds, angles and dihedrals over a trajectory, and when a run has come apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.molecules.bonds import angle_triples, dihedral_quadruples, find_bonds
from mdet_openmm.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    import mdtraj

COLLAPSE_THRESHOLD = 0.5
"""In Å; Fu et al., "Forces are not enough" (2210.07237)."""


@dataclass(frozen=True)
class Coordinates:
    """The internal coordinates of a molecule, from the bonds of one geometry.

    Attributes
    ----------
    atomic_numbers
        (n,)
    bonds, angles, dihedrals
        (m, 2), (k, 3), (l, 4) atom indices.
    """

    atomic_numbers: NDArray[np.int64]
    bonds: NDArray[np.int64]
    angles: NDArray[np.int64]
    dihedrals: NDArray[np.int64]

    def type_of(self, atoms: Sequence[int]) -> str:
        """Elements along the coordinate, the same for both directions: C–C–O and O–H, carbon first, hydrogen last."""
        symbols = [chemical_symbols[self.atomic_numbers[a]] for a in atoms]
        return "–".join(min(symbols, symbols[::-1], key=lambda s: [((e != "C") + (e == "H"), e) for e in s]))

    def label_of(self, atoms: Sequence[int]) -> str:
        """Elements with atom numbers counted from 1, as in topology.pdb: C1–O3."""
        return "–".join(f"{chemical_symbols[self.atomic_numbers[a]]}{a + 1}" for a in atoms)

    def by_type(self, atoms: NDArray[np.int64]) -> dict[str, list[int]]:
        """Rows of `atoms` grouped by type, in alphabetical order."""
        groups: dict[str, list[int]] = {}
        for row, members in enumerate(atoms):
            groups.setdefault(self.type_of(members), []).append(row)
        return dict(sorted(groups.items()))


def find_coordinates(atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> Coordinates:
    """Internal coordinates of one geometry, (n, 3) in Å: every bond, and every angle and dihedral along bonds."""
    bonds = find_bonds(atomic_numbers, positions)
    return Coordinates(atomic_numbers, bonds, angle_triples(bonds), dihedral_quadruples(bonds))


def bond_lengths(trajectory: "mdtraj.Trajectory", bonds: NDArray[np.int64]) -> NDArray[np.float64]:
    """(f, m) in Å."""
    import mdtraj

    if len(bonds) == 0:
        return np.zeros((trajectory.n_frames, 0))
    return mdtraj.compute_distances(trajectory, bonds, periodic=False).astype(np.float64) * ANGSTROM_PER_NM


def bond_angles(trajectory: "mdtraj.Trajectory", triples: NDArray[np.int64]) -> NDArray[np.float64]:
    """(f, k) in degrees, 0 to 180."""
    import mdtraj

    if len(triples) == 0:
        return np.zeros((trajectory.n_frames, 0))
    # in single precision the cosine of a straight angle may pass 1 by a rounding error, which is no number
    radians = np.nan_to_num(mdtraj.compute_angles(trajectory, triples, periodic=False).astype(np.float64), nan=np.pi)
    return np.degrees(radians)


def dihedral_angles(trajectory: "mdtraj.Trajectory", quadruples: NDArray[np.int64]) -> NDArray[np.float64]:
    """(f, l) in degrees, −180 to 180."""
    import mdtraj

    if len(quadruples) == 0:
        return np.zeros((trajectory.n_frames, 0))
    return np.degrees(mdtraj.compute_dihedrals(trajectory, quadruples, periodic=False).astype(np.float64))


def circular_mean(degrees: NDArray[np.float64]) -> tuple[float, float]:
    """Mean direction of angles, and their circular standard deviation √(−2 ln R), both in degrees."""
    vector = np.exp(1j * np.radians(degrees)).mean()
    spread = np.sqrt(-2 * np.log(min(1.0, max(abs(vector), 1e-300))))
    return float(np.degrees(np.angle(vector))), float(np.degrees(spread))


@dataclass(frozen=True)
class Stability:
    """Whether and when a run came apart.

    Attributes
    ----------
    collapse_frame
        First frame in which a bond differs by more than 0.5 Å from its reference length, or None.
    bond
        Row of the bond that differs most in that frame, or None.
    deviation
        (f,) largest deviation over the bonds in Å.
    """

    collapse_frame: int | None
    bond: int | None
    deviation: NDArray[np.float64]


def find_collapse(lengths: NDArray[np.float64], reference_lengths: NDArray[np.float64]) -> Stability:
    """First frame with max over bonds of |r − reference length| > 0.5 Å (Fu et al., 2210.07237).

    Parameters
    ----------
    lengths
        (f, m) in Å.
    reference_lengths
        (m,) in Å: means over a reference trajectory, or the lengths of the first frame where there is none.
    """
    if lengths.shape[1] == 0:
        return Stability(None, None, np.zeros(len(lengths)))
    stretch = np.abs(lengths - reference_lengths)
    deviation = stretch.max(axis=1)
    over = deviation > COLLAPSE_THRESHOLD
    if not over.any():
        return Stability(None, None, deviation)
    frame = int(np.argmax(over))
    return Stability(frame, int(np.argmax(stretch[frame])), deviation)


def root_mean_square_deviation(trajectory: "mdtraj.Trajectory") -> NDArray[np.float64]:
    """(f,) in Å over all atoms, each frame superposed on the first."""
    import mdtraj

    centred = mdtraj.Trajectory(trajectory.xyz - trajectory.xyz.mean(axis=1, keepdims=True), trajectory.topology)
    return np.nan_to_num(mdtraj.rmsd(centred, centred, 0).astype(np.float64)) * ANGSTROM_PER_NM
