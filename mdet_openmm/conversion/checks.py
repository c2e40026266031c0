"""Can what a file says be true? Units by distances, forces and the slope of the energy; outliers; duplicates."""

import functools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.pieces import Piece
from mdet_openmm.conversion.settings import ENERGIES, LENGTHS
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.bonds import covalent_radii

Array = NDArray[np.float64]

BOND_RATIO: Final = (0.75, 1.4)
"""Median over atoms of the distance to the nearest other, in sums of covalent radii: 1 in molecules, 1.9 in bohr."""
FORCE_RMS: Final = (0.1, 10.0)
"""eV/Å of a component: 0.4 at 100 K to 1.5 at 600 K, a few in wildly displaced structures; 20 and more in kcal/mol/Å,
0.02 in Ha/bohr."""
SLOPE: Final = (0.5, 2.0)
"""Change of the energy over the work of the forces between near frames."""
FEWEST_PAIRS: Final = 12
CORRELATED: Final = 0.8
"""Below it the frames are too far apart for the trapezoidal rule, and nothing is said."""
LARGE_FORCE: Final = 30.0
"""eV/Å on an atom."""
OVERLAP: Final = 0.55
"""Of the sum of covalent radii; nothing comes so near at 1000 K."""
FAR_ENERGY: Final = 10.0
"""Times the spread (1.48 times the median deviation) of a molecule's energies."""
_NEAR: Final = (200, 40, 0.8)
"""Frames of a piece that are compared, pairs of them that are kept, and Å up to which a pair is near."""
_MOST_RATIOS: Final = 10_000
_PIECES: Final = 200
"""Pieces whose energies are held against their forces."""


@dataclass
class Findings:
    """What was seen in the frames so far.

    Attributes
    ----------
    unlikely
        Frames with an outlier of each kind.
    work, change
        (m,) eV: minus the force times the way between near frames of one molecule, and the change of the energy.
    """

    frames: int = 0
    unlikely: Counter[str] = field(default_factory=Counter)
    ratios: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    _squares: float = 0.0
    _components: int = 0
    _net: float = 0.0
    _compared: int = 0

    def see(self, piece: Piece) -> None:
        """Take in a piece of finite numbers."""
        x, f = piece.positions, np.asarray(piece.forces, dtype=np.float64)
        count, n = len(piece), len(piece.atomic_numbers)
        self.frames += count
        self._squares += float(np.vdot(f, f))
        self._components += f.size
        net = f.sum(axis=1)
        self._net += float(np.vdot(net, net)) / n
        largest = np.einsum("fni,fni->fn", f, f).max(axis=1)
        self.unlikely["force above 30 eV/Å"] += int((largest > LARGE_FORCE**2).sum())
        if n > 1:
            nearest = nearest_ratios(piece.atomic_numbers, x)
            self.unlikely["overlapping atoms"] += int((nearest.min(axis=1) < OVERLAP).sum())
            if len(self.ratios) < _MOST_RATIOS:
                self.ratios.append(float(np.median(nearest[:: max(1, count // 50)])))
        if count >= 20:
            deviation = np.abs(piece.energy - np.median(piece.energy))
            spread = 1.48 * float(np.median(deviation))
            self.unlikely["energy far from the others of its molecule"] += int((deviation > FAR_ENERGY * spread).sum())
        if count > 1 and n > 1 and self._compared < _PIECES:
            self._compared += 1
            work, change = _near_pairs(x[: _NEAR[0]], f[: _NEAR[0]], piece.energy[: _NEAR[0]])
            self.work += work.tolist()
            self.change += change.tolist()

    @property
    def force_rms(self) -> float:
        """eV/Å of a component."""
        return math.sqrt(self._squares / max(1, self._components))

    @property
    def net_force_rms(self) -> float:
        """Rms over frames of the net force's component over the square root of the number of atoms, eV/Å."""
        return math.sqrt(self._net / max(1, 3 * self.frames))

    def slope(self) -> tuple[float, float] | None:
        """Energy change over work between near frames, and their correlation; None with too few near frames."""
        if len(self.work) < FEWEST_PAIRS:
            return None
        work, change = np.array(self.work), np.array(self.change)
        squares = float(work @ work), float(change @ change)
        if min(squares) == 0.0:
            return (math.inf, 0.0) if squares[1] else (0.0, 0.0)
        along = float(work @ change)
        return along / squares[0], along / math.sqrt(squares[0] * squares[1])

    def problem(self) -> str | None:
        """Why this cannot be in Å, eV and eV/Å, and what it may be instead; None if it can."""
        ratio = float(np.median(self.ratios)) if self.ratios else 1.0
        if not BOND_RATIO[0] <= ratio <= BOND_RATIO[1]:
            guess = _likely(ratio, {unit: 1.0 / angstrom for unit, angstrom in LENGTHS.items()}, "--length-unit")
            return f"atoms are {ratio:.3g} covalent distances from their nearest neighbours, not about 1{guess}"
        slope = self.slope()
        if slope is not None and abs(slope[1]) >= CORRELATED and not SLOPE[0] <= slope[0] <= SLOPE[1]:
            if slope[1] < 0:
                return (
                    "forces point up the slope of the energy: they are gradients, or the energies have the wrong sign"
                )
            return (
                f"between near frames the energy changes {slope[0]:.3g} times as much as the forces say; energies and "
                "forces have different units (say --energy-unit and --force-unit)"
            )
        rms = self.force_rms
        if not FORCE_RMS[0] <= rms <= FORCE_RMS[1]:
            guess = _likely(rms, {unit: 1.0 / ev for unit, ev in ENERGIES.items()}, "--energy-unit")
            return f"forces have an RMS of {rms:.3g} eV/Å, where molecules have about 1{guess}"
        return None

    def report(self) -> dict[str, Any]:
        """All of it in plain types."""
        slope = self.slope()
        known = slope is not None and abs(slope[1]) >= CORRELATED
        return {
            "force_rms_eV_per_A": round(self.force_rms, 4),
            "net_force_rms_eV_per_A": round(self.net_force_rms, 5),
            "nearest_neighbour_in_covalent_distances": round(float(np.median(self.ratios)), 3) if self.ratios else None,
            "energy_slope_over_force": round(slope[0], 3) if known and slope is not None else None,
            "outliers": {name: count for name, count in self.unlikely.items() if count},
        }


def refuse(findings: Findings, where: str) -> None:
    """Raise an InputError if the frames so far cannot be what they are taken for."""
    problem = findings.problem()
    if problem:
        raise InputError(f"{where}: {problem}; --unchecked writes it all the same")


def _likely(found: float, factors: dict[str, float], flag: str) -> str:
    """The unit that would explain a number that should be about 1."""
    unit = min(factors, key=lambda name: abs(math.log(max(found, 1e-12) / factors[name])))
    if abs(math.log(max(found, 1e-12) / factors[unit])) > math.log(3.0):
        return ""
    return f"; it looks like {unit} (say {flag} {unit})"


def nearest_ratios(numbers: NDArray[np.int64], positions: NDArray[np.floating]) -> Array:
    """(f, n) distance of each atom to its nearest in sums of covalent radii; positions (f, n, 3) in Å."""
    inverse = _inverse_radii(np.ascontiguousarray(numbers, dtype=np.int64).tobytes())
    x = np.asarray(positions, dtype=np.float32)
    x = x - x.mean(axis=1, keepdims=True)
    squares = np.einsum("fni,fni->fn", x, x)
    between = squares[:, :, None] + squares[:, None, :] - 2.0 * (x @ x.transpose(0, 2, 1))
    with np.errstate(invalid="ignore"):
        np.maximum(between, 1e-6, out=between)
        between *= inverse
    nearest: Array = np.sqrt(between.min(axis=1)).astype(np.float64)  # of a symmetric matrix, this axis is faster
    return nearest


def _near_pairs(positions: NDArray[np.floating], forces: Array, energy: Array) -> tuple[Array, Array]:
    """Work of the forces (trapezoidal rule, turned onto each other) and change of energy between the nearest frames."""
    x = np.asarray(positions, dtype=np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    n = x.shape[1]
    i, j = np.triu_indices(len(x), 1)
    a, b = np.triu_indices(n, 1)
    distances = np.linalg.norm(x[:, a] - x[:, b], axis=-1)
    squares = np.einsum("fk,fk->f", distances, distances)
    apart = (squares[:, None] + squares[None, :] - 2.0 * distances @ distances.T)[i, j]
    nearest = np.argsort(apart)[: _NEAR[1]]
    i, j = i[nearest], j[nearest]
    turn = _onto(x[i], x[j])
    way = x[j] @ turn - x[i]
    length = np.sqrt(np.einsum("pni,pni->p", way, way))
    near = (length > 1e-4) & (length < _NEAR[2])
    work = -0.5 * np.einsum("pni,pni->p", forces[i] + forces[j] @ turn, way)
    return work[near], (energy[j] - energy[i])[near]


def _onto(fixed: Array, moved: Array) -> Array:
    """Rotations (p, 3, 3) that turn moved frames (p, n, 3), as rows, onto fixed ones best (Kabsch)."""
    u, _, v = np.linalg.svd(np.einsum("pni,pnj->pij", moved, fixed))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]
    turn: Array = u @ v
    return turn


@functools.lru_cache(maxsize=64)
def _factors(n_atoms: int) -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(1, 2**63, size=(n_atoms, 4), dtype=np.uint64)


@functools.lru_cache(maxsize=256)
def _inverse_radii(elements: bytes) -> NDArray[np.float32]:
    """(n, n) one over the squared sum of covalent radii; infinite on the diagonal."""
    radii = covalent_radii(np.frombuffer(elements, dtype=np.int64))
    inverse = 1.0 / np.square(radii[:, None] + radii[None, :])
    np.fill_diagonal(inverse, np.inf)
    return inverse.astype(np.float32)


def fingerprints(piece: Piece) -> NDArray[np.uint64]:
    """(f,) 64 bits that stand for each frame: its elements, charge, multiplicity and positions to 1e-4 Å."""
    factors = _factors(len(piece.atomic_numbers))
    x = piece.positions - piece.positions.mean(axis=1, keepdims=True)
    cells = np.rint(x * 1e4).astype(np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (cells * (2 * factors[:, :3] + np.uint64(1))).sum(axis=(1, 2), dtype=np.uint64)
        mixed += (piece.atomic_numbers.astype(np.uint64) * factors[:, 3]).sum(dtype=np.uint64)
        mixed += np.uint64((1000 * piece.charge + piece.multiplicity) % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def duplicates(prints: NDArray[np.uint64], splits: NDArray[np.uint8]) -> dict[str, int]:
    """How many frames repeat another, and how many held-out ones are also trained on (split 0)."""
    order = np.argsort(prints, kind="stable")
    found, kinds = prints[order], splits[order]
    new = np.ones(len(found), dtype=bool)
    new[1:] = found[1:] != found[:-1]
    group = np.cumsum(new) - 1
    trained = np.zeros(int(new.sum()), dtype=bool)
    trained[group[kinds == 0]] = True
    return {"duplicates": int((~new).sum()), "held_out_and_trained_on": int((trained[group] & (kinds != 0)).sum())}
