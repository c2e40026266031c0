"""Topologies that OpenMM can write and mdtraj can read."""

from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401

from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.topology import made_topology

SYSTEMS = Path(__file__).resolve().parents[2] / "simulations" / "systems"


def bonds_of(topology) -> set[tuple[int, int]]:
    return {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}


@pytest.mark.parametrize("name", sorted(path.name for path in SYSTEMS.iterdir()))
def test_topology_pdb_goes_through_mdtraj(tmp_path: Path, name: str):
    import mdtraj
    from openmm import unit
    from openmm.app import PDBFile

    molecule = read_molecule(SYSTEMS / name)
    topology = made_topology(molecule)
    path = tmp_path / "topology.pdb"
    with open(path, "w") as file:
        PDBFile.writeFile(topology, molecule.positions * unit.angstrom, file)
    loaded = mdtraj.load(str(path))
    assert [atom.element.atomic_number for atom in loaded.topology.atoms] == molecule.atomic_numbers.tolist()
    np.testing.assert_allclose(10 * loaded.xyz[0], molecule.positions, atol=1e-3)
    # mdtraj and this program agree on the file, read back as an input.
    again = read_molecule(path)
    np.testing.assert_array_equal(again.atomic_numbers, molecule.atomic_numbers)
    assert len(bonds_of(topology)) == molecule.n_atoms - 1  # all of the examples are acyclic


@pytest.mark.parametrize("name", ["ethanol.pdb", "ethanol.cif", "ethanol.sdf", "ethanol.xyz"])
def test_the_bonds_are_the_same_from_every_format(name: str):
    topology = made_topology(read_molecule(SYSTEMS / name))
    assert bonds_of(topology) == {(0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7), (2, 8)}


def test_names_and_residues_of_the_file_are_kept():
    topology = made_topology(read_molecule(SYSTEMS / "ethanol.pdb"))
    assert [atom.name for atom in topology.atoms()] == ["C1", "C2", "O", "H1", "H2", "H3", "H4", "H5", "H6"]
    assert [(r.name, r.id, r.chain.id) for r in topology.residues()] == [("EOH", "1", "A")]


def edited(tmp_path: Path, change) -> Molecule:
    lines = [line for line in (SYSTEMS / "ethanol.pdb").read_text().splitlines() if line.startswith("HETATM")]
    path = tmp_path / "edited.pdb"
    path.write_text("\n".join(change(k, line) for k, line in enumerate(lines)) + "\n")
    return read_molecule(path)


def test_names_that_are_not_unique_are_made_anew(tmp_path: Path):
    molecule = edited(tmp_path, lambda k, line: line[:12] + f" {line[76:78].strip()}  " + line[16:])
    names = [atom.name for atom in made_topology(molecule).atoms()]
    assert names == ["C1", "C2", "O1", "H1", "H2", "H3", "H4", "H5", "H6"]


def test_two_residues_in_turn_do_not_reorder_the_atoms(tmp_path: Path):
    molecule = edited(tmp_path, lambda k, line: line[:25] + str(1 + k % 2) + line[26:])
    topology = made_topology(molecule)
    assert [atom.element.atomic_number for atom in topology.atoms()] == molecule.atomic_numbers.tolist()
    assert [residue.name for residue in topology.residues()] == ["MOL"]


def test_two_residues_one_after_the_other_are_kept(tmp_path: Path):
    molecule = edited(tmp_path, lambda k, line: line[:25] + str(1 + k // 3) + line[26:])
    assert [(r.name, r.id) for r in made_topology(molecule).residues()] == [
        ("EOH", "1"),
        ("EOH", "2"),
        ("EOH", "3"),
    ]


def test_incomplete_conect_records_are_completed(tmp_path: Path):
    text = (SYSTEMS / "ethanol.pdb").read_text()
    path = tmp_path / "ethanol.pdb"
    path.write_text("\n".join(line for line in text.split("\n") if not line.startswith("CONECT    3")))
    assert len(bonds_of(made_topology(read_molecule(path)))) == 8
    path.write_text("\n".join(line for line in text.split("\n") if line[:11] not in ("CONECT    3", "CONECT    2")))
    assert len(bonds_of(made_topology(read_molecule(path)))) == 8


def test_made_names_are_unique_and_short_for_thousands_of_atoms():
    numbers = np.array([6] * 2000 + [17] * 500 + [1] * 2000)
    positions = np.arange(len(numbers))[:, None] * np.array([10.0, 0.0, 0.0])
    names = [atom.name for atom in made_topology(Molecule(numbers, positions)).atoms()]
    assert len(set(names)) == len(numbers)
    assert max(map(len, names)) <= 4
    assert names[0] == "C1" and names[998] == "C999"
