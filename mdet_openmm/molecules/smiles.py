"""Start structures from SMILES: RDKit distance geometry, then a force-field optimisation."""

from typing import Any

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule


def is_smiles(text: str) -> bool:
    """Whether RDKit reads a text as one."""
    from rdkit import Chem, rdBase

    if not text.isascii() or len(text.split()) != 1:  # RDKit takes what follows a space for a name
        return False
    with rdBase.BlockLogs():
        parsed = Chem.MolFromSmiles(text)
    return parsed is not None and parsed.GetNumAtoms() > 0


def canonical_smiles(smiles: str) -> str:
    """The one SMILES that all spellings of a molecule have in common.

    Raises
    ------
    InputError
        If RDKit cannot read the SMILES, and for isotopes, dummy atoms and what stands behind a space.
    """
    from rdkit import Chem, rdBase

    if not is_smiles(smiles):
        raise InputError(f"RDKit cannot read the SMILES '{smiles}'")
    with rdBase.BlockLogs():
        parsed = Chem.MolFromSmiles(smiles)
        if any(atom.GetIsotope() for atom in parsed.GetAtoms()):
            raise InputError(f"isotopes are not supported, masses are the natural ones; remove those of '{smiles}'")
        if any(atom.GetAtomicNum() == 0 for atom in parsed.GetAtoms()):
            raise InputError(f"the SMILES '{smiles}' has a dummy atom (*); write an element")
        return str(Chem.MolToSmiles(parsed))


def conformers_from_smiles(smiles: str, count: int, name: str | None = None, seed: int = 0) -> list[Molecule]:
    """Up to ``count`` different conformers of a molecule, hydrogens added.

    Parameters
    ----------
    smiles
        The molecule; formal charges and radical electrons give its charge and multiplicity. Several, with a dot
        between, come in contact with each other, oriented at random.
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
    canonical = canonical_smiles(smiles)
    parts = smiles.split(".")
    if len(parts) != len(canonical.split(".")):  # C1.C1 is ethane
        parts = canonical.split(".")
    if len(parts) == 1:
        return _conformers(parts[0], count, name or smiles, seed)
    rng = np.random.default_rng(seed)
    fragments = [_conformers(part, count, part, seed) for part in parts]
    return [
        _together([f[int(rng.integers(len(f)))] for f in fragments], name or smiles, smiles, rng) for _ in range(count)
    ]


def _conformers(smiles: str, count: int, name: str, seed: int) -> list[Molecule]:
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

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
        found.append(Molecule(numbers, positions, charge, multiplicity, name, smiles))
    return found


NEAREST_CONTACT = (0.8, 1.1)
"""Of atoms of different fragments, in sums of van der Waals radii: from a strong hydrogen bond to a loose contact."""


def _together(fragments: list[Molecule], name: str, smiles: str, rng: np.random.Generator) -> Molecule:
    """Fragments in random orientations, each moved towards the first from a random side until it touches."""
    from ase.data import vdw_radii
    from scipy.spatial.transform import Rotation  # type: ignore[import-untyped, unused-ignore]

    numbers, placed = fragments[0].atomic_numbers, fragments[0].positions
    for fragment in fragments[1:]:
        turned = Rotation.random(random_state=rng).apply(fragment.positions)
        side = rng.standard_normal(3)
        side /= np.linalg.norm(side)
        radii = np.nan_to_num(vdw_radii[numbers], nan=2.0)[:, None] + np.nan_to_num(
            vdw_radii[fragment.atomic_numbers], nan=2.0
        )
        touching = rng.uniform(*NEAREST_CONTACT) * radii
        # The distance s along the side at which the first pair touches: |d + s side| = touching, its larger root.
        d = turned[None, :, :] - placed[:, None, :]
        along = d @ side
        inside = along**2 - (d**2).sum(axis=2) + touching**2
        roots = -along + np.sqrt(np.where(inside >= 0, inside, np.nan))
        s = float(np.nanmax(roots)) if np.isfinite(roots).any() else 0.0
        numbers = np.concatenate((numbers, fragment.atomic_numbers))
        placed = np.concatenate((placed, turned + s * side))
    charge, spins = sum(f.charge for f in fragments), sum(f.multiplicity - 1 for f in fragments)
    return Molecule(numbers, placed - placed.mean(axis=0), charge, 1 + spins, name, smiles)


def molecule_from_smiles(smiles: str, name: str | None = None, seed: int = 0) -> Molecule:
    """One start structure; see `conformers_from_smiles`."""
    return conformers_from_smiles(smiles, 1, name, seed)[0]


def left_open(smiles: str) -> bool:
    """Whether a SMILES leaves open of which stereoisomer it is."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        found = Chem.FindPotentialStereo(Chem.MolFromSmiles(smiles))
    return any(one.specified == Chem.StereoSpecified.Unspecified for one in found)
