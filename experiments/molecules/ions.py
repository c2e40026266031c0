"""Ions of neutral molecules: a proton more or less at the first place for it."""

from collections.abc import Sequence

from graphs import drawn
from rdkit import Chem

BASE = Chem.MolFromSmarts("[NX3;!$(N~[#6]=,#,:*);!$(N~[!#6;!#1])]")
ACIDS = [
    Chem.MolFromSmarts(smarts) for smarts in ("[OX2;H1]C=O", "[SX2;H1]", "[OX2;H1]c", "[OX2;H1]P=O", "[OX2;H1]S=O")
]


def ion(smiles: str, pattern: Chem.Mol, charge: int) -> str | None:
    """The molecule with a proton more or less at the first place that matches; None if there is none."""
    molecule = Chem.RWMol(Chem.MolFromSmiles(smiles))
    places = molecule.GetSubstructMatches(pattern)
    if not places or Chem.GetFormalCharge(molecule):
        return None
    atom = molecule.GetAtomWithIdx(places[0][0])
    atom.SetNumExplicitHs(atom.GetTotalNumHs() + charge)
    atom.SetNoImplicit(True)
    atom.SetFormalCharge(charge)
    failed = Chem.SanitizeMol(molecule, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE
    return None if failed else Chem.MolToSmiles(molecule)


def ions(pool: Sequence[str], n_cations: int, n_anions: int) -> list[str]:
    """Protonated amines and deprotonated acids of the pool."""
    cations = {ion(s, BASE, 1) for s in pool} - {None}
    anions = {ion(s, acid, -1) for s in pool for acid in ACIDS} - {None}
    return [*drawn(filter(None, cations), n_cations), *drawn(filter(None, anions), n_anions)]
