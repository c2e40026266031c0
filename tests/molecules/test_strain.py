"""What is odd about a geometry: nothing of stable molecules, and each distance that no minimum has."""

from pathlib import Path

import numpy as np
import pytest

from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.molecules.strain import strain

SYSTEMS = Path(__file__).resolve().parents[2] / "simulations" / "systems"


def of(molecule: Molecule, moved: dict[int, np.ndarray] | None = None) -> list[str]:
    positions = molecule.positions.copy()
    for atom, place in (moved or {}).items():
        positions[atom] = place
    return strain(molecule.atomic_numbers, positions)


@pytest.mark.parametrize("path", sorted(SYSTEMS.iterdir()), ids=lambda path: path.name)
def test_nothing_is_odd_about_sound_structures(path: Path) -> None:
    assert of(read_molecule(path)) == []


@pytest.mark.parametrize(
    ("symbols", "length"), [((7, 7), 1.098), ((6, 8), 1.128), ((1, 1), 0.741), ((8, 8), 1.207), ((17, 17), 1.988)]
)
def test_the_shortest_and_longest_bonds_of_stable_molecules_are_sound(symbols: tuple[int, int], length: float) -> None:
    assert strain(np.array(symbols), np.array([[0.0, 0, 0], [0, 0, length]])) == []


@pytest.mark.parametrize("smiles", ["C1CC1", "C1C2CC1C2", "OC(=O)C(=O)O", "CC(C)(C)C(C)(C)C", "c1ccccc1C#N", "O=C=O"])
def test_rings_cages_hydrogen_bonds_and_crowds_are_sound(smiles: str) -> None:
    assert of(molecule_from_smiles(smiles)) == []


def test_a_stretched_and_a_compressed_bond_are_named() -> None:
    ethanol = read_molecule(SYSTEMS / "ethanol.xyz")
    x, z = ethanol.positions, ethanol.atomic_numbers
    oxygen = int(np.flatnonzero(z == 8)[0])
    hydrogen = int(np.argmin(np.where(z == 1, np.linalg.norm(x - x[oxygen], axis=1), np.inf)))
    along = (x[hydrogen] - x[oxygen]) / np.linalg.norm(x[hydrogen] - x[oxygen])
    for length, words in ((1.2, "1.20 Å long, by covalent radii 0.97 Å"), (0.65, "0.65 Å long")):
        (text,) = of(ethanol, {hydrogen: x[oxygen] + length * along})
        assert words in text and f"O{oxygen + 1}" in text and f"H{hydrogen + 1}" in text


def test_atoms_that_touch_are_named_the_worst_first() -> None:
    far = np.array([[0.0, 0, 0], [0.74, 0, 0], [0.0, 1.25, 0], [0.74, 1.1, 0]])
    texts = strain(np.array([1, 1, 1, 1]), far)
    assert [text.split(",")[0] for text in texts] == ["H2–H4", "H1–H3"] and "1.10 Å apart" in texts[0]
