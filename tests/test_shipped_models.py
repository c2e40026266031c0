"""The shipped models against the teacher, computed here, and against what their cards say."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from tblite.ase import TBLite

from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.molecules.smiles import molecule_from_smiles

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("smiles", ["CCO", "CC(=O)O", "CC(N)=O", "C1CC1", "O"])
def test_mini_follows_the_teacher(smiles: str) -> None:
    molecule = molecule_from_smiles(smiles, seed=3)
    model = load_model("mdet-gfn2-mini")
    module = bind(model, molecule.atomic_numbers, 0, 1, precision="mixed", frames=12)
    rng = np.random.default_rng(0)
    errors, sizes = [], []
    for _ in range(5):
        # about the thermal spread of atoms at 300 K, on top of a force-field geometry
        x = molecule.positions + rng.normal(scale=0.04, size=molecule.positions.shape)
        atoms = Atoms(molecule.atomic_numbers, x, calculator=TBLite(method="GFN2-xTB", verbosity=0))
        expected = atoms.get_forces()
        errors.append(np.abs(forces(module, x)[1] - expected).mean())
        sizes.append(np.abs(expected).mean())
    assert np.mean(errors) < 0.15
    assert np.mean(errors) < 0.12 * np.mean(sizes)


def test_card_and_metrics_agree() -> None:
    folder = ROOT / "models" / "mdet-gfn2-mini"
    metrics = json.loads((folder / "metrics.json").read_text())
    card = (folder / "README.md").read_text()
    for split in ("test", "unseen"):
        for name, row in metrics[split]["by_molecule"].items():
            assert f"| {name} | {row['frames']} |" in card
            assert f"| {row['mae']:.1f} | {row['mae_12']:.1f} |" in card
    for name in ("mdet-gfn2-mini.label.yaml", "mdet-gfn2-mini.train.yaml"):
        assert (ROOT / "configs" / name).is_file() and name in card
