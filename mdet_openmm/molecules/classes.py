"""Classes of organic molecules, by their functional groups."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

CLASSES: Final[Mapping[str, str]] = {
    "alcohols": "[OX2H][CX4]",
    "phenols": "[OX2H]c",
    "ethers": "[OX2]([#6;!$(C=[O,N,S])])[#6;!$(C=[O,N,S])]",
    "peroxides": "[OX2][OX2]",
    "aldehydes and ketones": "[$([CX3H1](=O)[#6]),$([CX3](=O)([#6])[#6]),$([CX3H2]=O)]",
    "carboxylic acids": "[CX3](=O)[OX2H]",
    "carboxylates": "[CX3](=O)[OX1-]",
    "esters": "[CX3](=O)[OX2][#6]",
    "amides": "[CX3](=O)[NX3]",
    "amines": "[NX3;!$(N[C,S]=[O,N,S]);!$(N~[O,N])]([#6])",
    "ammonium ions": "[NX4+]",
    "nitriles": "[NX1]#[CX2]",
    "imines and amidines": "[CX3;!$(C=O)]=[NX2,NX3+]",
    "hydrazines, azo and azides": "[#7]~[#7;!a]",
    "nitro": "[$([NX3](=O)=O),$([N+](=O)[O-])]",
    "N-hydroxy and nitroso": "[NX3,NX2;!$(N(=O)=O);!$([N+](=O)[O-])]~[OX2,OX1]",
    "alkenes": "[CX3]=[CX3]",
    "alkynes": "[CX2]#[CX2]",
    "aromatic rings": "c1ccccc1",
    "aromatic heterocycles": "[n,o,s]",
    "thiols and sulfides": "[SX2;!$(S~[O,N])]",
    "thiocarbonyls": "[#6]=[SX1]",
    "sulfoxides, sulfones and sulfonyls": "[SX3,SX4]=O",
    "phosphines": "[PX3]",
    "phosphoryls": "[PX4]=[O,S]",
    "fluorides": "[#6]F",
    "trifluoromethyl": "[CX4](F)(F)F",
    "chlorides": "[#6]Cl",
}
"""SMARTS."""

OTHERS: Final = "hydrocarbons"


@cache
def _patterns() -> dict[str, Any]:
    from rdkit import Chem

    return {name: Chem.MolFromSmarts(smarts) for name, smarts in CLASSES.items()}


def classes_of(smiles: str) -> tuple[str, ...]:
    """Every class that a molecule belongs to; ``("hydrocarbons",)`` for one of carbon and hydrogen in no other.

    Raises
    ------
    ValueError
        If RDKit cannot read the SMILES.
    """
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"RDKit cannot read the SMILES {smiles!r}")
    found = {name for name, pattern in _patterns().items() if molecule.HasSubstructMatch(pattern)}
    if not found - {"alkenes", "alkynes", "aromatic rings"} and {a.GetSymbol() for a in molecule.GetAtoms()} == {"C"}:
        found.add(OTHERS)
    return tuple(name for name in (*CLASSES, OTHERS) if name in found)
