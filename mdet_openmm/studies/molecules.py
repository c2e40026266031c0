"""The molecules of a map: a series of hydrocarbons, or what the user lists."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.files import as_file_name
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles

SERIES = {
    "alkane": {
        "methane": "C",
        "ethane": "CC",
        "propane": "CCC",
        "butane": "CCCC",
        "pentane": "CCCCC",
        "hexane": "CCCCCC",
        "heptane": "CCCCCCC",
        "octane": "CCCCCCCC",
    },
    "branched": {
        "isobutane": "CC(C)C",
        "isopentane": "CCC(C)C",
        "neopentane": "CC(C)(C)C",
        "2,2-dimethylbutane": "CCC(C)(C)C",
        "2,3-dimethylbutane": "CC(C)C(C)C",
        "isooctane": "CC(C)(C)CC(C)C",
    },
    "cumulene": {
        "allene": "C=C=C",
        "butatriene": "C=C=C=C",
        "pentatetraene": "C=C=C=C=C",
        "hexapentaene": "C=C=C=C=C=C",
    },
}
"""SMILES by kind and name. The paper finds NVE stable for small alkanes only; cumulenes are stiff and unlike them."""
GIVEN = "given"


@dataclass(frozen=True)
class StudyMolecule:
    """A molecule of a study, and of what kind it is."""

    kind: str
    molecule: Molecule

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return as_file_name(self.molecule.name)


def series() -> tuple[StudyMolecule, ...]:
    """Alkanes, branched alkanes and cumulenes."""
    return tuple(
        StudyMolecule(kind, molecule_from_smiles(smiles, name))
        for kind, members in SERIES.items()
        for name, smiles in members.items()
    )


def listed(text: str, charge: int | None = None, multiplicity: int | None = None) -> tuple[StudyMolecule, ...]:
    """Structures from SMILES and names of files (of a charge and multiplicity, if given), separated by commas.

    Raises
    ------
    InputError
        For what is neither, and for two that would share a folder.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InputError("--structures lists nothing")
    found = tuple(StudyMolecule(GIVEN, read_molecule(word, charge, multiplicity)) for word in words)
    folders = [each.folder.lower() for each in found]
    for each in found:
        if folders.count(each.folder.lower()) > 1:
            raise InputError(f"--structures: two structures would share the folder {each.folder}; rename a file")
    return found


def known_to(model: Model, members: Sequence[StudyMolecule]) -> tuple[list[StudyMolecule], list[str]]:
    """Structures that the model was trained on, by their elements and charges, and a note on each of the others."""
    known, notes = [], []
    for member in members:
        molecule = member.molecule
        try:
            check_elements(molecule, model.elements, model.name)
            for what, value in (("charge", molecule.charge), ("multiplicity", molecule.multiplicity)):
                seen = model.trained_on(what)
                if seen and value not in seen:
                    raise InputError(f"{molecule.name}: model {model.name} was not trained on {what} {value}")
        except InputError as error:
            notes.append(f"skipped {error}")
        else:
            known.append(member)
    return known, notes
