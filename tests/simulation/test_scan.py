"""Scans on force fields whose torsion is known, and what they refuse."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase import build

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.torsions import Torsion, read_torsion
from mdet_openmm.simulation.scan import relaxed_scan, run_scan
from mdet_openmm.simulation.torsion_settings import ScanSettings

ETHANOL = Path(__file__).resolve().parents[2] / "simulations" / "systems" / "ethanol.pdb"


def peroxide() -> Molecule:
    atoms = build.molecule("H2O2")
    return Molecule(atoms.numbers, atoms.positions)


FOUR = (2, 0, 1, 3)


class Twisted:
    """Stiff springs on bonds and angles (through 1-3 distances), A (1 − cos 2φ) on the dihedral, and a whirl: a force
    along the dihedral's own direction that no energy gives."""

    def __init__(self, molecule: Molecule, height: float, whirl: float = 0.0) -> None:
        self.height, self.whirl = height, whirl
        self.pairs = np.array([(2, 0), (0, 1), (1, 3), (2, 1), (0, 3)])
        x = 0.1 * molecule.positions
        self.lengths = np.linalg.norm(x[self.pairs[:, 0]] - x[self.pairs[:, 1]], axis=1)

    def gradient_of_angle(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, c = np.diff(x[list(FOUR)], axis=0)
        m, n, size = np.cross(a, b), np.cross(b, c), np.linalg.norm(b)
        angle = np.arctan2(a @ n * size, m @ n)
        found = np.zeros_like(x)  # Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996)
        first, last = -size / (m @ m) * m, size / (n @ n) * n
        along_a, along_c = (a @ b) / size**2, (c @ b) / size**2
        inner = along_a * first - along_c * last
        for atom, part in zip(FOUR, (first, -first - inner, inner - last, last), strict=True):
            found[atom] = part
        return float(angle), found

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        between = x[self.pairs[:, 1]] - x[self.pairs[:, 0]]
        distance = np.linalg.norm(between, axis=1)
        pull = 2e5 * (distance - self.lengths) / distance
        forces = np.zeros_like(x)
        for (i, j), part in zip(self.pairs, pull[:, None] * between, strict=True):
            forces[i] += part
            forces[j] -= part
        angle, gradient = self.gradient_of_angle(x)
        energy = 1e5 * float(np.sum((distance - self.lengths) ** 2)) + self.height * (1.0 - np.cos(2.0 * angle))
        forces -= 2.0 * self.height * np.sin(2.0 * angle) * gradient
        return energy, forces + self.whirl * gradient


def test_the_mock_is_the_gradient_of_its_energy() -> None:
    molecule = peroxide()
    field, x = Twisted(molecule, 7.0), 0.1 * molecule.positions
    for k in range(12):
        step = np.zeros(12)
        step[k] = 1e-6
        up, down = (field(x + s * step.reshape(4, 3))[0] for s in (1, -1))
        assert -(up - down) / 2e-6 == pytest.approx(field(x)[1].ravel()[k], abs=1e-3)


def test_the_work_is_the_energy_where_there_is_one() -> None:
    molecule, height = peroxide(), 7.0
    torsion = read_torsion("3-1-2-4", molecule)
    scan = relaxed_scan(molecule, torsion, Twisted(molecule, height), 24, 360.0, has_energy=True)
    assert scan.energies is not None
    np.testing.assert_allclose(scan.work, scan.energies, atol=2e-4)
    expected = height * (1.0 - np.cos(2.0 * np.radians(scan.angles)))
    np.testing.assert_allclose(scan.work - scan.work.min(), expected - expected.min(), atol=0.02)
    seen = [torsion.angle(x) for x in scan.positions]
    np.testing.assert_allclose(np.cos(np.radians(scan.angles - seen)), 1.0, atol=1e-9)
    assert abs(scan.work[-1]) < 2e-4 and scan.distance < 1e-3 and (scan.largest_force < 0.011).all()


def test_the_work_around_is_that_of_the_part_without_an_energy() -> None:
    # Along the dihedral's gradient a path that turns it by 2 pi gets 2 pi times the whirl, whatever else it does.
    molecule = peroxide()
    torsion = read_torsion("3-1-2-4", molecule)
    for sign in (1.0, -1.0):
        scan = relaxed_scan(molecule, torsion, Twisted(molecule, 3.0, whirl=0.2), 24, sign * 360.0)
        assert scan.energies is None
        assert scan.work[-1] == pytest.approx(-sign * 2.0 * np.pi * 0.2, abs=1e-3)


def test_torsions_are_found_and_turned(tmp_path: Path) -> None:
    ethane = build.molecule("C2H6")
    molecule = Molecule(ethane.numbers, ethane.positions)
    torsion = read_torsion("3-1-2-6", molecule)
    assert torsion == Torsion((2, 0, 1, 5), (1, 5, 6, 7))
    start = torsion.angle(molecule.positions)
    assert np.exp(1j * np.radians(start - ethane.get_dihedral(2, 0, 1, 5))) == pytest.approx(1.0, abs=1e-9)
    moved = torsion.turned(molecule.positions, 30.0)
    assert (torsion.angle(moved) - start) % 360.0 == pytest.approx(30.0)
    slope = (torsion.turned(molecule.positions, 1e-3) - torsion.turned(molecule.positions, -1e-3)) / np.radians(2e-3)
    np.testing.assert_allclose(torsion.tangent(molecule.positions), slope, atol=1e-7)
    ring = build.molecule("C3H6_D3h")
    straight = build.molecule("C2H2")
    for text, atoms, words in (
        ("1-2-3", ethane, "four different atoms counted from 1 to 8"),
        ("1-2-3-9", ethane, "four different atoms"),
        ("a-b-c-d", ethane, "four different atoms"),
        ("3-1-4-2", ethane, "4 and 2 of the dihedral 3-1-4-2 are not bonded"),
        ("4-1-2-6", ring, "part of a ring"),
        ("4-1-2-3", straight, "lie on a line"),
    ):
        with pytest.raises(InputError, match=words):
            read_torsion(text, Molecule(atoms.numbers, atoms.positions))


def test_a_whole_scan_writes_what_it_promises(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    settings = ScanSettings(system=ETHANOL, dihedral="9-3-2-1", points=4, turn=40.0, orientations=1, output=folder)
    result = run_scan(settings)
    assert {p.name for p in folder.iterdir()} == {"scan.csv", "scan.xyz", "scan.json", "scan.png"}
    assert json.loads((folder / "scan.json").read_text()) == result
    rows = list(csv.DictReader((folder / "scan.csv").open()))
    assert len(rows) == 5 and float(rows[0]["minus_work_kJ_mol"]) == 0.0
    assert float(rows[4]["dihedral_deg"]) - float(rows[0]["dihedral_deg"]) == pytest.approx(40.0)
    assert result["work_around_kJ_mol"] is None
    with pytest.raises(InputError, match="is not empty"):
        run_scan(settings)
    with pytest.raises(InputError, match=r"less than 0\.1 degrees per step"):
        ScanSettings(system=ETHANOL, dihedral="9-3-2-1", turn=1.0)
