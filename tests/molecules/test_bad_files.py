"""Files that cannot be used: each ends in one line that names what is wrong."""

import gzip
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401
from fuzz_readers import fuzz

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.readers import read_molecule

SYSTEMS = Path(__file__).resolve().parents[2] / "simulations" / "systems"
PDB = (SYSTEMS / "ethanol.pdb").read_text()
CIF = (SYSTEMS / "ethanol.cif").read_text()
XYZ = (SYSTEMS / "ethanol.xyz").read_text()
SDF = (SYSTEMS / "ethanol.sdf").read_text()
CRYST1 = "CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1           1\n"
CELL = "".join(f"_cell.length_{a} 30.0\n" for a in "abc") + "".join(
    f"_cell.angle_{a} 90\n" for a in ("alpha", "beta", "gamma")
)
CORE_CIF = "data_x\n_cell_length_a 5.0\nloop_\n_atom_site_label\n_atom_site_fract_x\nC1 0.1\n"


def atoms(text: str) -> list[str]:
    return [line for line in text.splitlines(True) if line.startswith("HETATM")]


def without_hydrogens(text: str) -> str:
    return "".join(line for line in atoms(text) if " H" not in line[12:16])


def no_element(text: str) -> str:
    return "".join(line[:76] + "\n" for line in atoms(text))


def with_columns_77(text: str, columns: str) -> str:
    """A PDB with these contents in columns 77-80 of every atom."""
    return "".join(f"{line[:76]:76}{columns}\n" for line in atoms(text))


def v3000() -> str:
    from rdkit import Chem

    return str(Chem.MolToV3KMolBlock(Chem.MolFromMolBlock(SDF.split("$$$$")[0], removeHs=False)))


def shifted(text: str, by: int) -> str:
    """A PDB whose coordinates do not stand in their columns."""
    return "".join(line[:30] + " " * by + line[30:] for line in atoms(text))


FIRST_PDB = atoms(PDB)[0]
FIRST_CIF = atoms(CIF)[0]

BAD: dict[str, tuple[str, str | bytes, str]] = {
    # name: (file name, contents, words of the message)
    "empty": ("a.pdb", "", "empty"),
    "white space": ("a.xyz", " \n\n ", "empty"),
    "binary": ("a.pdb", b"ATOM\x00\x01\x02", "not a text file"),
    "not utf-8": ("a.xyz", "3\nwässer\n".encode("latin-1"), "not UTF-8"),
    "utf-16": ("a.xyz", XYZ.encode("utf-16"), "not a text file"),
    "gzip": ("a.pdb", gzip.compress(PDB.encode()), "gzip-compressed"),
    "gzip by name": ("a.pdb.gz", gzip.compress(PDB.encode()), "gzip-compressed"),
    "unknown extension": ("a.gro", PDB, "unknown extension '.gro'"),
    "no extension": ("a", PDB, "unknown extension"),
    "sdf named pdb": ("a.pdb", SDF, "contents are SDF"),
    "pdb named xyz": ("a.xyz", PDB, "contents are PDB"),
    "xyz named sdf": ("a.sdf", XYZ, "contents are XYZ"),
    "cif named pdb": ("a.pdb", CIF, "contents are mmCIF"),
    "text": ("a.pdb", "Dear all,\nplease find attached\n", "no atoms"),
    "html": ("a.cif", "<!DOCTYPE html>\n<html>not found</html>\n", "no atoms"),
    # PDB
    "pdb header only": ("a.pdb", "HEADER    NOTHING\nEND\n", "no atoms"),
    "pdb cut line": ("a.pdb", PDB[: PDB.index("HETATM    5") + 40], "cut short"),
    "pdb letters": ("a.pdb", PDB.replace("   0.901", "   0.9o1"), "'0.9o1' is not a coordinate"),
    "pdb nan": ("a.pdb", PDB.replace("   0.901", "     nan"), "not finite"),
    "pdb stars": ("a.pdb", PDB.replace("   0.901", "********"), "is not a coordinate"),
    "pdb shifted": ("a.pdb", shifted(PDB, 3), "is not a coordinate"),
    "pdb integers": ("a.pdb", FIRST_PDB.replace("   0.901", "    0901"), "columns 31-54"),
    "pdb alternate": (
        "a.pdb",
        FIRST_PDB[:16] + "A" + FIRST_PDB[17:] + FIRST_PDB[:16] + "B" + FIRST_PDB[17:],
        "atom C1 of residue EOH 1 has alternate locations",
    ),
    "pdb box": ("a.pdb", CRYST1 + PDB, "periodic boxes are not supported"),
    "pdb broken cryst": ("a.pdb", "CRYST1 what\n" + PDB, "CRYST1 record is broken"),
    "pdb connect": ("a.pdb", PDB.replace("CONECT    9    3", "CONECT    9   33"), "CONECT names atom 33"),
    "pdb calcium?": ("a.pdb", no_element(PDB.replace(" C1 ", "CA  ")), "can be C or Ca"),
    "pdb dummy": ("a.pdb", PDB.replace("           O  ", "           X  "), "unknown element 'X'"),
    "pdb without hydrogens": ("a.pdb", without_hydrogens(PDB), "hydrogens"),
    "pdb old format, ambiguous": ("a.pdb", with_columns_77(PDB.replace(" C1 ", "CA  "), " 601"), "can be C or Ca"),
    "pdb chlorine misaligned": ("a.pdb", with_columns_77(PDB.replace(" H1 ", " CL1"), "    "), "can be C or Cl"),
    "pdb element shifted": ("a.pdb", FIRST_PDB[:76] + " CL\n", "columns 77-80 hold 'CL'"),
    "pdb name as element": ("a.pdb", FIRST_PDB[:12] + " CA " + FIRST_PDB[16:76] + "CA\n", "is C by the column"),
    "pdb remark": ("a.pdb", "REMARK   1 charge=2\n" + PDB, "line 1 speaks of the charge +2; pass --charge 2"),
    "pdb title": ("a.pdb", "TITLE     ethanol, triplet\n" + PDB, "multiplicity 3; pass --multiplicity"),
    # mmCIF
    "cif truncated": ("a.cif", CIF[: CIF.index("HETATM      5") + 30], "truncated"),
    "cif no atoms": ("a.cif", CIF[: CIF.index("loop_\n_atom_site")], "no atoms"),
    "cif letters": ("a.cif", CIF.replace("    0.9010", "    0.9o10"), "'0.9o10' is not a coordinate"),
    "cif missing value": ("a.cif", CIF.replace("    0.9010", "         ?"), "is not a coordinate"),
    "cif box": ("a.cif", CIF.replace("data_cell\n", "data_cell\n" + CELL), "periodic boxes are not supported"),
    "cif crystal": ("a.cif", CORE_CIF, "crystal structure"),
    "cif open text": ("a.cif", "data_x\n_a.b\n;text without an end\n_atom_site.Cartn_x 1\n", "not closed"),
    "cif no element": ("a.cif", CIF.replace(FIRST_CIF, FIRST_CIF.replace("1 C ", "1 ? ")), "no type_symbol"),
    "cif number as element": (
        "a.cif",
        CIF.replace(FIRST_CIF, FIRST_CIF.replace("1 C ", "1 6 ")),
        "type_symbol 6",
    ),
    "cif alternate": (
        "a.cif",
        CIF.replace(FIRST_CIF, FIRST_CIF.replace(". EOH", "A EOH") + FIRST_CIF.replace(". EOH", "B EOH")),
        "alternate locations",
    ),
    "cif item twice": ("a.cif", CIF + "_atom_site.Cartn_x 1.0\n", "_atom_site.cartn_x stands twice"),
    "cif charged component": (
        "a.cif",
        CIF.replace("data_cell\n", "data_cell\n_chem_comp.pdbx_formal_charge 2\n"),
        "pass --charge 2",
    ),
    "cif cell in another block": ("a.cif", "data_first\n" + CELL + CIF, "periodic boxes are not supported"),
    # XYZ
    "xyz no count": ("a.xyz", XYZ.split("\n", 2)[2], "begins with the number of atoms"),
    "xyz zero": ("a.xyz", "0\n\n", "no atoms"),
    "xyz truncated": ("a.xyz", "\n".join(XYZ.split("\n")[:7]), "ends after 5 of 9 atoms"),
    "xyz truncated in a line": ("a.xyz", XYZ[: XYZ.index("H ") + 20], "ends after 3 of 9 atoms"),
    "xyz more atoms": ("a.xyz", XYZ.replace("9\n", "8\n", 1), "more lines than"),
    "xyz letters": ("a.xyz", XYZ.replace("0.901000", "0.9x1000"), "'0.9x1000' is not a coordinate"),
    "xyz decimal comma": ("a.xyz", XYZ.replace("0.901000", "0,901000"), "'0,901000' is not a coordinate"),
    "xyz infinite": ("a.xyz", XYZ.replace("0.901000", "inf"), "not finite"),
    "xyz absurd": ("a.xyz", XYZ.replace("0.901000", "99999.0"), "beyond"),
    "xyz deuterium": ("a.xyz", XYZ.replace("H  ", "D  ", 1), "deuterium"),
    "xyz labels": ("a.xyz", XYZ.replace("C  ", "C1 ", 1), "unknown element 'C1'"),
    "xyz columns": ("a.xyz", XYZ.replace("0.014000", "", 1), "three coordinates"),
    "xyz lattice": (
        "a.extxyz",
        XYZ.replace("ethanol", 'Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T"'),
        "periodic boxes are not supported",
    ),
    "xyz lattice without pbc": ("a.xyz", XYZ.replace("ethanol", 'Lattice="9 0 0 0 9 0 0 0 9"'), "periodic"),
    "xyz charge": ("a.xyz", XYZ.replace("charge=0", "charge=0.5"), "charge '0.5' is not a whole number"),
    "xyz spin": ("a.xyz", XYZ.replace("multiplicity=1", "spin=0"), "write multiplicity=1"),
    "xyz properties": ("a.xyz", XYZ.replace("ethanol", "Properties=species:S:1:forces:R:3"), "lacks species or pos"),
    "xyz text behind": ("a.xyz", XYZ + "freq 1 2 3\n", "here 'freq 1 2 3'; correct the count, or delete"),
    "xyz types of LAMMPS": (
        "a.xyz",
        "3\nAtoms. Timestep: 0\n1 0 0 0.4\n2 0 -0.76 -0.2\n2 0 0.76 -0.2\n",
        "LAMMPS numbers its types",
    ),
    "xyz atom names": ("a.xyz", XYZ.replace("C  ", "CA ", 1), "can be the element Ca or an atom's name"),
    "xyz negative width": ("a.xyz", XYZ.replace("ethanol", "Properties=species:S:-1:pos:R:3"), "is broken"),
    # SDF
    "sdf truncated in atoms": ("a.sdf", "\n".join(SDF.split("\n")[:9]), "ends after 5 of 9 atoms"),
    "sdf truncated in bonds": ("a.sdf", SDF[: SDF.index("M  END")].rsplit("\n", 3)[0], "truncated"),
    "sdf without end": ("a.sdf", SDF[: SDF.index("M  END")], "no 'M  END'"),
    "sdf header only": ("a.mol", "ethanol\n\n", "ends before the counts line"),
    "sdf counts": ("a.sdf", SDF.replace("  9  8  0", "  x  8  0"), "number of atoms"),
    "sdf bond to nowhere": ("a.sdf", SDF.replace("  3  9  1  0", "  3 19  1  0"), "do not fit its atoms"),
    "sdf isotope": ("a.sdf", SDF.replace("M  END", "M  ISO  1   4   2\nM  END"), "isotopes"),
    "sdf charge of nothing": (
        "a.sdf",
        SDF.replace("M  END", "M  CHG  1  12   1\nM  END"),
        "do not fit its atoms",
    ),
    "sdf two radicals": ("a.sdf", SDF.replace("M  END", "M  RAD  2   1   2   2   2\nM  END"), "--multiplicity"),
    "sdf decimal comma": ("a.sdf", SDF.replace("    0.9010", "    0,9010"), "'0,9010' is not a coordinate"),
    "sdf blank in a number": ("a.sdf", SDF.replace("    0.9010", "    0.90 0"), "'0.90 0' is not a coordinate"),
    "sdf empty coordinate": ("a.sdf", SDF.replace("    0.9010", 10 * " "), "'' is not a coordinate"),
    "sdf lost charge": ("a.sdf", SDF.replace("M  END", "M CHG  1   1   2\nM  END"), "does not begin with 'M  '"),
    "sdf charge code": ("a.sdf", SDF.replace(" O   0  0", " O   0 -1"), "is no charge code"),
    "sdf charge shifted": ("a.sdf", SDF.replace(" O   0  0  0", " O   0 6 0"), "is no charge code"),
    "sdf radical code": ("a.sdf", SDF.replace("M  END", "M  RAD  1   1   x\nM  END"), "do not fit its atoms"),
    "sdf radical code 7": ("a.sdf", SDF.replace("M  END", "M  RAD  1   1   7\nM  END"), "do not fit its atoms"),
    "sdf no atoms": ("a.mol", "\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n", "no atoms"),
    "sdf atom list": ("a.sdf", SDF.replace(" O   0", " L   0"), "unknown element 'L'"),
    "sdf deuterium": ("a.sdf", SDF.replace(" H   0", " D   0", 1), "deuterium"),
    "sdf two charges": ("a.sdf", SDF.replace("$$$$", "> <TOTAL_CHARGE>\n2\n\n$$$$"), "is not the charge +0"),
    "sdf title": ("a.sdf", "charge 2" + SDF[SDF.index("\n") :], "is not the charge +0 of the atoms"),
    "sdf triplet by its field": ("a.sdf", SDF.replace("$$$$", "> <mult>\n3\n\n$$$$"), "not the multiplicity 1"),
    "v3000 coordinate": ("a.mol", v3000().replace("0.901000", "0.9o1000"), "'0.9o1000' is not a coordinate"),
    "v3000 charge": ("a.mol", v3000().replace("0.340000 0", "0.340000 0 CHG=+2"), "'CHG=+2' is not an integer"),
    "v3000 list": ("a.mol", v3000().replace(" O ", " [N,O] "), "unknown element '[N,O]'"),
    "v3000 mass": ("a.mol", v3000().replace("0.340000 0", "0.340000 0 MASS=18"), "isotopes"),
    "v3000 radicals": ("a.mol", re.sub(r"(0\.014000|0\.056000) 0", r"\1 0 RAD=2", v3000()), "2 radical centres"),
    "sdf R group": ("a.sdf", SDF.replace(" O   0", " R#  0"), "unknown element 'R#'"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_line_that_says_what_is_wrong(tmp_path: Path, case: str):
    name, contents, words = BAD[case]
    path = tmp_path / name
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(InputError) as raised:
        read_molecule(path)
    message = str(raised.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 400


def test_missing_file_and_directory(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_molecule(tmp_path / "nowhere.pdb")
    with pytest.raises(InputError, match="is a directory"):
        read_molecule(tmp_path)
    with pytest.raises(InputError, match="not a usable path"):
        read_molecule(Path("a\0b.pdb"))


def drawing(flag: str) -> str:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    molecule = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDepictor.Compute2DCoords(molecule)
    return Chem.MolToMolBlock(molecule).replace("          2D", "          " + flag)


@pytest.mark.parametrize("flag", ["2D", "3D", "  "])
def test_a_drawing_has_no_3d_coordinates(tmp_path: Path, flag: str):
    """Also one that does not say so, where an atom has four neighbours in a plane."""
    path = tmp_path / "drawing.sdf"
    path.write_text(drawing(flag))
    with pytest.raises(InputError, match="no 3D coordinates"):
        read_molecule(path)


def test_a_planar_molecule_may_lie_in_the_plane(tmp_path: Path):
    path = tmp_path / "water.mol"
    path.write_text(
        "\n  x                 3D\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
        "    0.0000    0.0000    0.0000 O   0  0\n    0.9600    0.0000    0.0000 H   0  0\n"
        "   -0.2400    0.9300    0.0000 H   0  0\n  1  2  1  0\n  1  3  1  0\nM  END\n"
    )
    assert read_molecule(path).n_atoms == 3


@pytest.mark.parametrize("lines", [slice(0, 12), slice(0, -4)])
def test_truncated_v3000(tmp_path: Path, lines: slice):
    from rdkit import Chem

    block = Chem.MolToV3KMolBlock(Chem.MolFromMolBlock(SDF.split("$$$$")[0], removeHs=False))
    path = tmp_path / "a.mol"
    path.write_text("\n".join(block.split("\n")[lines]))
    with pytest.raises(InputError, match="truncated"):
        read_molecule(path)


@pytest.mark.parametrize("suffix", [".pdb", ".cif", ".xyz", ".sdf"])
def test_damaged_files_never_end_in_a_traceback(tmp_path: Path, suffix: str):
    """Cut, changed, removed and doubled pieces: a molecule or one line, nothing else."""
    rng = np.random.default_rng(0)
    whole = {".pdb": PDB, ".cif": CIF, ".xyz": XYZ, ".sdf": SDF}[suffix]
    path = tmp_path / f"damaged{suffix}"
    refused = 0
    for _ in range(150):
        place, kind = int(rng.integers(1, len(whole))), int(rng.integers(4))
        character = str(rng.choice(list("0.-xCH\n\t'#;_?µ")))
        path.write_text(
            [
                whole[:place],
                whole[:place] + character + whole[place + 1 :],
                whole[:place] + whole[place + int(rng.integers(1, 90)) :],
                whole[:place] + whole[place - int(rng.integers(1, 90)) :],
            ][kind]
        )
        try:
            read_molecule(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


@pytest.mark.parametrize("seed", range(4))
def test_no_damaged_file_is_taken_for_another_molecule(seed: int, caplog: pytest.LogCaptureFixture):
    """`python tests/fuzz/fuzz_readers.py 600` does the same for ten minutes."""
    caplog.set_level(logging.CRITICAL)
    complaints, _ = fuzz(seed, tries=150)
    assert complaints == []
