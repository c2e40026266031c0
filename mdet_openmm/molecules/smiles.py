"""Start structures from SMILES: RDKit distance geometry, then a force-field optimisation."""

from typing import Any

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule


def canonical_smiles(smiles: str) -> str:
    """The one SMILES that all spellings of a molecule have in common.

    Raises
    ------
    InputError
        If RDKit cannot read the SMILES.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        parsed = Chem.MolFromSmiles(smiles)
        if parsed is None or parsed.GetNumAtoms() == 0:
            raise InputError(f"RDKit cannot read the SMILES '{smiles}'")
        return str(Chem.MolToSmiles(parsed))


def conformers_from_smiles(smiles: str, count: int, name: str | None = None, seed: int = 0) -> list[Molecule]:
    """Up to ``count`` different conformers of a molecule, hydrogens added.

    Parameters
    ----------
    smiles
        The molecule; formal charges and radical electrons give its charge and multiplicity.
    count
        The most conformers to return; at least one comes back.
    name
        For messages and tables; the SMILES by default.
    seed
        Of the distance geometry (ETKDG v3); the same seed gives the same structures.

    Returns
    -------
    list of Molecule
        Positions in Å, centred. Multiplicity is high spin: radical electrons + 1.

    Raises
    ------
    InputError
        If RDKit cannot read or embed the SMILES.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    canonical_smiles(smiles)  # says so if it is none
    with rdBase.BlockLogs():
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        parameters: Any = rdDistGeom.ETKDGv3()  # RDKit's stubs lack its settings
        parameters.randomSeed = seed % 2**31
        parameters.pruneRmsThresh = 0.1
        parameters.numThreads = 1
        ids = list(rdDistGeom.EmbedMultipleConfs(molecule, count, parameters))
        if not ids:
            parameters.useRandomCoords = True
            ids = list(rdDistGeom.EmbedMultipleConfs(molecule, count, parameters))
        if not ids:
            raise InputError(f"RDKit finds no 3D structure for the SMILES '{smiles}'; give a file with one instead")
        if molecule.GetNumAtoms() > 1:
            if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
                rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(molecule, maxIters=500)
            elif rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
                rdForceFieldHelpers.UFFOptimizeMoleculeConfs(molecule, maxIters=500)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    charge = int(Chem.GetFormalCharge(molecule))
    multiplicity = 1 + sum(int(atom.GetNumRadicalElectrons()) for atom in molecule.GetAtoms())
    found = []
    for conformer in ids:
        positions = np.array(molecule.GetConformer(conformer).GetPositions(), dtype=np.float64)
        positions -= positions.mean(axis=0)
        found.append(Molecule(numbers, positions, charge, multiplicity, name or smiles, smiles))
    return found


def molecule_from_smiles(smiles: str, name: str | None = None, seed: int = 0) -> Molecule:
    """One start structure; see `conformers_from_smiles`."""
    return conformers_from_smiles(smiles, 1, name, seed)[0]
