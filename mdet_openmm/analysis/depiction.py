"""A drawing of the molecule for the head of the report."""

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.style import inline_svg

MOST_HEAVY_ATOMS = 40
"""Beyond this the search for bond orders may take minutes and the drawing would not be legible anyway."""


def draw_molecule(
    atomic_numbers: NDArray[np.int64], bonds: NDArray[np.int64], positions: NDArray[np.float64], charge: int
) -> str | None:
    """Structural formula as an inline SVG element.

    Parameters
    ----------
    atomic_numbers
        (n,)
    bonds
        (m, 2)
    positions
        (n, 3) in Å.
    charge
        In e.

    Returns
    -------
    str or None
        None where no sensible formula is found; the report does without.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds
    from rdkit.Chem.Draw import rdMolDraw2D
    from rdkit.Geometry import Point3D
    from rdkit.rdBase import BlockLogs

    if np.sum(atomic_numbers > 1) > MOST_HEAVY_ATOMS:
        return None
    silence = BlockLogs()  # failures are answered with None, not with lines on stderr
    try:
        editable = Chem.RWMol()
        for number in atomic_numbers:
            atom = Chem.Atom(int(number))
            atom.SetNoImplicit(True)
            editable.AddAtom(atom)
        for i, j in bonds:
            editable.AddBond(int(i), int(j), Chem.BondType.SINGLE)
        conformer = Chem.Conformer(len(atomic_numbers))
        for i, position in enumerate(positions):
            conformer.SetAtomPosition(i, Point3D(*map(float, position)))
        editable.AddConformer(conformer)
        molecule = editable.GetMol()
        rdDetermineBonds.DetermineBondOrders(molecule, charge=charge)
        if np.sum(atomic_numbers > 1) > 1:
            molecule = Chem.RemoveHs(molecule)
        molecule.RemoveAllConformers()  # or the drawing would be a projection of the geometry
        drawing = rdMolDraw2D.MolDraw2DSVG(190, 140)
        options = drawing.drawOptions()
        options.clearBackground = False  # type: ignore[assignment]
        options.useBWAtomPalette()
        options.bondLineWidth = 2  # type: ignore[assignment]
        options.fixedBondLength = 34  # type: ignore[assignment]
        rdMolDraw2D.PrepareAndDrawMolecule(drawing, molecule)
        drawing.FinishDrawing()
    except (ValueError, RuntimeError):  # rdkit's two ways to say that it found no valence-correct structure
        return None
    finally:
        del silence
    svg = inline_svg(drawing.GetDrawingText(), "structural formula")
    return svg.replace("#000000", "currentColor")
