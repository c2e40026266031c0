"""The same molecule from every format, checked against RDKit, ASE and OpenMM as independent writers."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401  before OpenMM, which loads plugins that need it

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.readers import read_molecule, read_structure

SYSTEMS = Path(__file__).resolve().parents[2] / "simulations" / "systems"

METHYL = "4\n{comment}\nC 0 0 0\nH 1.08 0 0\nH -0.54 0.935307 0\nH -0.54 -0.935307 0\n"


def embedded(smiles: str, seed: int = 3):
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=seed) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
    return molecule


def write(path: Path, molecule) -> Path:
    """Write with somebody else's writer."""
    from rdkit import Chem

    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    positions = molecule.GetConformer().GetPositions()
    if path.suffix in (".pdb", ".ent"):
        path.write_text(Chem.MolToPDBBlock(molecule))
    elif path.suffix == ".mol":
        path.write_text(Chem.MolToMolBlock(molecule))
    elif path.suffix == ".sdf":
        path.write_text(Chem.MolToV3KMolBlock(molecule) + "$$$$\n")
    elif path.suffix in (".xyz", ".extxyz"):
        from ase import Atoms
        from ase.io import write as ase_write

        ase_write(path, Atoms(numbers, positions), format="extxyz" if path.suffix == ".extxyz" else "xyz")
    else:
        from openmm import unit
        from openmm.app import Element, PDBxFile, Topology

        topology = Topology()
        residue = topology.addResidue("LIG", topology.addChain())
        for k, number in enumerate(numbers):
            topology.addAtom(f"A{k}", Element.getByAtomicNumber(number), residue)
        with open(path, "w") as file:
            PDBxFile.writeFile(topology, positions * unit.angstrom, file)
    return path


@pytest.mark.parametrize("smiles", ["CCO", "Clc1ccccc1Br", "C[N+](=O)[O-]", "N#CC1CC1", "CS(C)(=O)=O"])
@pytest.mark.parametrize(
    ("suffix", "precision"),
    [
        (".pdb", 1e-3),
        (".ent", 1e-3),
        (".cif", 1e-4),
        (".mmcif", 1e-4),
        (".pdbx", 1e-4),
        (".xyz", 1e-6),
        (".extxyz", 1e-7),
        (".sdf", 1e-6),
        (".mol", 1e-4),
    ],
)
def test_elements_and_positions_survive_every_format(tmp_path: Path, smiles: str, suffix: str, precision: float):
    original = embedded(smiles)
    read = read_molecule(write(tmp_path / f"molecule{suffix}", original))
    assert read.atomic_numbers.tolist() == [atom.GetAtomicNum() for atom in original.GetAtoms()]
    np.testing.assert_allclose(read.positions, original.GetConformer().GetPositions(), rtol=0, atol=0.51 * precision)
    assert (read.charge, read.multiplicity, read.name) == (0, 1, "molecule")
    assert read.atomic_numbers.dtype == np.int64
    assert read.positions.dtype == np.float64


@pytest.mark.parametrize("name", ["ethanol.pdb", "ethanol.cif", "ethanol.xyz", "ethanol.sdf"])
def test_example_inputs_are_one_molecule(name: str):
    reference = read_molecule(SYSTEMS / "ethanol.xyz")
    read = read_molecule(SYSTEMS / name)
    np.testing.assert_array_equal(read.atomic_numbers, reference.atomic_numbers)
    np.testing.assert_allclose(read.positions, reference.positions, atol=1e-9)


@pytest.mark.parametrize("name", ["water.pdb", "methanol.sdf", "butane.pdb", "acetamide.xyz"])
def test_other_example_inputs_are_read(name: str):
    assert read_molecule(SYSTEMS / name).charge == 0


@pytest.mark.parametrize("suffix", [".pdb", ".cif", ".xyz", ".sdf"])
@pytest.mark.parametrize("change", ["crlf", "cr", "bom", "unicode name", "upper-case extension"])
def test_harmless_variations(tmp_path: Path, suffix: str, change: str):
    data = (SYSTEMS / f"ethanol{suffix}").read_bytes()
    name = f"ethanol{suffix}"
    if change == "crlf":
        data = data.replace(b"\n", b"\r\n")
    elif change == "cr":
        data = data.replace(b"\n", b"\r")
    elif change == "bom":
        data = b"\xef\xbb\xbf" + data
    elif change == "unicode name":
        name = f"Äthanol – 乙醇{suffix}"
    else:
        name = name.upper()
    path = tmp_path / name
    path.write_bytes(data)
    read = read_molecule(path)
    np.testing.assert_allclose(read.positions, read_molecule(SYSTEMS / "ethanol.xyz").positions, atol=1e-9)


@pytest.mark.parametrize("smiles", ["CC(=O)[O-]", "C[NH3+]", "[O-]C(=O)C([O-])=O", "C[N+](C)(C)CC(=O)[O-]"])
@pytest.mark.parametrize("suffix", [".sdf", ".mol"])
def test_charge_of_an_sdf_is_that_of_its_atoms(tmp_path: Path, smiles: str, suffix: str):
    from rdkit import Chem

    original = embedded(smiles)
    assert read_molecule(write(tmp_path / f"ion{suffix}", original)).charge == Chem.GetFormalCharge(original)


@pytest.mark.parametrize("smiles", ["CC(=O)[O-]", "C[NH3+]"])
def test_charge_of_a_pdb_is_asked_for(tmp_path: Path, smiles: str):
    from rdkit import Chem

    original = embedded(smiles)
    charge = Chem.GetFormalCharge(original)
    path = write(tmp_path / "ion.pdb", original)
    with pytest.raises(InputError, match=f"--charge {charge}"):
        read_molecule(path)
    assert read_molecule(path, charge=charge).charge == charge


def test_old_charge_column_counts_only_without_property_lines(tmp_path: Path):
    block = (
        "\n  x                 3D\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n"
        "    0.0000    0.0000    0.0000 O   0  {code}  0  0\n    0.9600    0.0000    0.0000 H   0  0  0  0\n"
        "  1  2  1  0\n{properties}M  END\n"
    )
    path = tmp_path / "hydroxide.mol"
    path.write_text(block.format(code=5, properties=""))
    assert read_molecule(path).charge == -1
    path.write_text(block.format(code=5, properties="M  RAD  1   1   2\n"))
    assert (read_molecule(path).charge, read_molecule(path).multiplicity) == (0, 2)
    path.write_text(block.format(code=0, properties="M  CHG  1   1  -1\n"))
    assert read_molecule(path).charge == -1
    path.write_text(block.format(code=4, properties=""))
    assert read_molecule(path).multiplicity == 2


@pytest.mark.parametrize(("rad", "multiplicity"), [(1, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("version", ["V2000", "V3000"])
def test_radical_codes_are_multiplicities(tmp_path: Path, version: str, rad: int, multiplicity: int):
    """RDKit counts two electrons for the singlet (1) and the triplet (3) alike. Hydroxyl's parity needs the charge."""
    charge = 0 if rad == 2 else -1
    if version == "V2000":
        properties = f"M  RAD  1   1   {rad}\n" + (f"M  CHG  1   1  {charge}\n" if charge else "")
        text = (
            "\n  x                 3D\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n"
            "    0.0000    0.0000    0.0000 O   0  0  0  0\n    0.9600    0.0000    0.0000 H   0  0  0  0\n"
            f"  1  2  1  0\n{properties}M  END\n"
        )
    else:
        text = (
            "\n  x                 3D\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\n"
            f"M  V30 COUNTS 2 1 0 0 0\nM  V30 BEGIN ATOM\nM  V30 1 O 0 0 -\nM  V30 0 0 RAD={rad} CHG={charge}\n"
            "M  V30 2 H 0.96 0 0 0\nM  V30 END ATOM\nM  V30 BEGIN BOND\nM  V30 1 1 1 2\nM  V30 END BOND\n"
            "M  V30 END CTAB\nM  END\n"
        )
    path = tmp_path / "hydroxyl.mol"
    path.write_text(text)
    read = read_molecule(path)
    assert (read.charge, read.multiplicity) == (charge, multiplicity)
    assert read.atomic_numbers.tolist() == [8, 1]


def test_data_fields_of_an_sdf_are_no_properties(tmp_path: Path):
    path = tmp_path / "ethanol.sdf"
    text = (SYSTEMS / "ethanol.sdf").read_text()
    path.write_text(text.replace("$$$$", "> <NAME>\nM CHG is no ethanol\n\n> <TOTAL_CHARGE>\n0\n\n$$$$"))
    assert read_molecule(path).charge == 0


def test_mol_blocks_one_after_the_other_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    block = (SYSTEMS / "ethanol.sdf").read_text().split("$$$$")[0]
    path = tmp_path / "two.mol"
    path.write_text(block + block)
    with caplog.at_level(logging.WARNING):
        assert read_molecule(path).n_atoms == 9
    assert "holds 2 records; the first is used" in caplog.text


@pytest.mark.parametrize("number", [1, 12, 812, 9812])
def test_line_numbers_of_old_pdb_files_are_no_elements(tmp_path: Path, number: int):
    """Before 1996 columns 73-76 held the ID code and 77-80 the number of the line."""
    path = tmp_path / "old.pdb"
    lines = [line for line in (SYSTEMS / "ethanol.pdb").read_text().splitlines() if line.startswith("HETATM")]
    path.write_text("".join(f"{line[:72]}1ETH{number + k:4d}\n" for k, line in enumerate(lines)))
    assert read_molecule(path).atomic_numbers.tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]


def test_models_without_an_end_are_models(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    body = "".join(line for line in (SYSTEMS / "ethanol.pdb").read_text().splitlines(True) if line.startswith("HETATM"))
    path = tmp_path / "models.pdb"
    path.write_text(f"MODEL        1\n{body}MODEL        2\n{body}END\n")
    with caplog.at_level(logging.WARNING):
        assert read_molecule(path).n_atoms == 9
    assert "2 models; the first is used" in caplog.text


QM9 = (
    "5\ngdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\n"
    "C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689\n"
    "H\t 2.1504159*^-3\t-0.0060313176\t 1.9761204*^-3\t 0.133921\n"
    "H\t 1.0117308433\t 1.4637511618\t 2.765748*^-4\t 0.133922\n"
    "H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923\n"
    "H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923\n"
    "1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078\n"
    "C\tC\t\nInChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4\n"
)


def test_qm9_as_it_is_distributed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Three lines behind the atoms, a charge column, and Mathematica's exponents."""
    path = tmp_path / "dsgdb9nsd_000001.xyz"
    path.write_text(QM9)
    read = read_molecule(path)
    assert read.atomic_numbers.tolist() == [6, 1, 1, 1, 1]
    np.testing.assert_allclose(read.positions[1], [0.0021504159, -0.0060313176, 0.0019761204])
    path.write_text(QM9 + QM9)
    with caplog.at_level(logging.WARNING):
        assert read_molecule(path).n_atoms == 5
    assert "more than one frame; the first is used" in caplog.text


def test_the_first_mmcif_block_with_atoms_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    text = (SYSTEMS / "ethanol.cif").read_text()
    path = tmp_path / "blocks.cif"
    path.write_text("data_first\n_entry.id first\n" + text)
    assert read_molecule(path).n_atoms == 9
    assert caplog.text == ""
    water = (
        "data_water\nloop_\n_atom_site.type_symbol\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n"
        "O 0 0 0.4\nH 0 -0.76 -0.2\nH 0 0.76 -0.2\n"
    )
    path.write_text(text + water)
    with caplog.at_level(logging.WARNING):
        assert read_molecule(path).n_atoms == 9
    assert "2 data blocks with atoms; the first is used" in caplog.text
    path.write_text(water + text)
    assert read_molecule(path).n_atoms == 3


def test_a_file_is_read_once(tmp_path: Path):
    """The topology is of what was read, also when the file is gone."""
    from mdet_openmm.molecules.topology import made_topology

    path = tmp_path / "ethanol.pdb"
    path.write_text((SYSTEMS / "ethanol.pdb").read_text())
    molecule = read_molecule(path)
    path.unlink()
    assert [residue.name for residue in made_topology(molecule).residues()] == ["EOH"]


@pytest.mark.parametrize(
    ("comment", "charge", "multiplicity"),
    [
        ("charge=1", 1, 1),
        ("charge=-1 energy=-3.2", -1, 1),
        ("Charge = +1", 1, 1),
        ("total_charge=1.0 name='methyl cation'", 1, 1),
        ("multiplicity=2", 0, 2),
        ("spin=2 charge=0", 0, 2),
        ('Properties=species:S:1:pos:R:3 mult=2 pbc="F F F"', 0, 2),
        ('charge=1 Lattice="10 0 0 0 10 0 0 0 10" pbc="F F F"', 1, 1),
    ],
)
def test_xyz_comment_states_charge_and_multiplicity(tmp_path: Path, comment: str, charge: int, multiplicity: int):
    path = tmp_path / "methyl.xyz"
    path.write_text(METHYL.format(comment=comment))
    read = read_molecule(path)
    assert (read.charge, read.multiplicity) == (charge, multiplicity)


def test_arguments_come_before_the_file(tmp_path: Path):
    path = tmp_path / "methyl.xyz"
    path.write_text(METHYL.format(comment="charge=1 multiplicity=1"))
    read = read_molecule(path, charge=0, multiplicity=2)
    assert (read.charge, read.multiplicity) == (0, 2)
    assert read_molecule(path, charge=-1).charge == -1


def test_extxyz_columns_in_another_order(tmp_path: Path):
    path = tmp_path / "water.extxyz"
    path.write_text(
        '3\nProperties=id:I:1:pos:R:3:forces:R:3:Z:I:1 pbc="F F F"\n'
        "1 0 0 0.1 9 9 9 8\n2 0 0.76 -0.48 9 9 9 1\n3 0 -0.76 -0.48 9 9 9 1\n"
    )
    read = read_molecule(path)
    assert read.atomic_numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(read.positions, [[0, 0, 0.1], [0, 0.76, -0.48], [0, -0.76, -0.48]])


def test_lower_and_upper_case_elements_and_numbers(tmp_path: Path):
    path = tmp_path / "chloromethane.xyz"
    path.write_text("5\n\nc 0 0 0\nCL 1.78 0 0\n1 -0.36 1.03 0\nh -0.36 -0.51 0.89\nH -0.36 -0.51 -0.89\n")
    assert read_molecule(path).atomic_numbers.tolist() == [6, 17, 1, 1, 1]


@pytest.mark.parametrize("suffix", [".pdb", ".xyz", ".sdf", ".cif"])
def test_first_of_several_frames_with_a_note(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture):
    text = (SYSTEMS / f"ethanol{suffix}").read_text()
    if suffix == ".pdb":
        body = "".join(line for line in text.splitlines(True) if line.startswith("HETATM"))
        text = f"MODEL        1\n{body}ENDMDL\nMODEL        2\n{body.replace('-', ' ')}ENDMDL\nEND\n"
    elif suffix == ".cif":
        rows = [line for line in text.splitlines(True) if line.startswith("HETATM")]
        text = text.rstrip("#\n") + "\n" + "".join(row.rstrip()[:-1] + "2\n" for row in rows)
    else:
        text += text.replace("-", " ")
    path = tmp_path / f"frames{suffix}"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        read = read_molecule(path)
    np.testing.assert_allclose(read.positions, read_molecule(SYSTEMS / "ethanol.xyz").positions, atol=1e-9)
    assert "the first is used" in caplog.text


@pytest.mark.parametrize("cell", ["CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n", ""])
def test_the_placeholder_cell_is_no_cell(tmp_path: Path, cell: str):
    path = tmp_path / "ethanol.pdb"
    path.write_text(cell + (SYSTEMS / "ethanol.pdb").read_text())
    assert read_molecule(path).n_atoms == 9


def test_component_file_as_the_wwpdb_writes_it(tmp_path: Path):
    """Coordinates of water; quoting, comments and a text field as in the component dictionary."""
    path = tmp_path / "HOH.cif"
    path.write_text(
        "data_HOH\n#\n_chem_comp.id HOH\n_chem_comp.name 'WATER (\"steam\")'\n_chem_comp.note\n;a text\n_field. x\n;\n"
        "loop_\n_chem_comp_atom.comp_id\n_chem_comp_atom.atom_id\n_chem_comp_atom.type_symbol\n_chem_comp_atom.charge\n"
        "_chem_comp_atom.model_Cartn_x\n_chem_comp_atom.model_Cartn_y\n_chem_comp_atom.model_Cartn_z\n"
        'HOH "O\'" O 0 0.0 0.0 0.1 # oxygen\nHOH H1 H 0 0.0 0.76 -0.48\nHOH H2 H 0 0.0 -0.76 -0.48\n'
        "loop_\n_chem_comp_bond.comp_id\n_chem_comp_bond.atom_id_1\n_chem_comp_bond.atom_id_2\n"
        'HOH "O\'" H1\nHOH "O\'" H2\n'
    )
    structure = read_structure(path)
    assert structure.atom_names == ("O'", "H1", "H2")
    assert structure.bonds == ((0, 1), (0, 2))
    assert read_molecule(path).n_atoms == 3
