"""Molecules of a label configuration are read as those of the command line, and spoken of in its own words."""

import pytest

from mdet_openmm.data.config import LabelConfig, MoleculeEntry
from mdet_openmm.data.sources import read_sources
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.smiles import molecule_from_smiles


@pytest.mark.parametrize("key", ["file", "trajectory"])
def test_a_charge_to_ask_about_is_asked_for_in_the_words_of_the_configuration(tmp_path, key):
    """H3N-CH2-CH2-NH3 with a charge of +2, which the file does not state."""
    from ase import Atoms
    from ase.io import write

    ion = molecule_from_smiles("[NH3+]CC[NH3+]")
    path = tmp_path / "ion.xyz"
    write(path, Atoms(ion.atomic_numbers, ion.positions))

    def source(**more):
        entry = MoleculeEntry(**{key: path, **more})
        return read_sources(LabelConfig(molecules=(entry,)))[0]

    with pytest.raises(InputError, match=r"show the charge \+2.*'charge: 2'.*in the molecule's entry") as raised:
        source()
    assert "--charge" not in str(raised.value)
    assert source(charge=2).row.charge == 2
