"""The shipped models against the teacher, computed here, and against what their cards say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from tblite.ase import TBLite

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import Label
from mdet_openmm.data.teacher import make_batch_teacher
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.measure.definitions import antisymmetric_ratio, equivariance_error
from mdet_openmm.measure.field import uniform_rotations
from mdet_openmm.measure.turned import rotated
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.training.antisymmetry import force_jacobian
from mdet_openmm.training.batches import Batch
from mdet_openmm.training.evaluate import KCAL_PER_MOL_ANGSTROM
from mdet_openmm.units import BOHR_PER_ANGSTROM

ROOT = Path(__file__).resolve().parents[1]


SMALL, MINI, ALKANES = "mdet-so3lr-small", "mdet-gfn2-mini", "mdet-gfn2-alkanes"
HELD_OUT = {"C=CCO": 0, "COC(C)=O": 0, "Nc1nccs1": 0, "CC(=O)c1ccc(C)cc1": 0, "O=C1CC[C@@H](C(=O)[O-])N1": -1}
"""Of the list that mdet-so3lr-small was not trained on, and their charges."""


def test_the_general_model_follows_its_teacher_on_molecules_that_it_never_saw() -> None:
    pytest.importorskip("so3krates_torch", reason="needs the extra 'teachers'")
    listed = (ROOT / "configs/mdet-so3lr-small-held-out.smi").read_text().splitlines()
    assert set(HELD_OUT) <= {line.split()[0] for line in listed if line.strip()}
    model, rng = load_model(SMALL), np.random.default_rng(0)
    teacher = make_batch_teacher(TeacherConfig(kind="so3lr"))
    errors, sizes, energies = [], [], []
    for smiles, charge in HELD_OUT.items():
        molecule = molecule_from_smiles(smiles, seed=3)
        species = Species(molecule.atomic_numbers, charge)
        module = bind(model, species, ForceOptions(precision="mixed", orientations=12, offset="none"))
        moved = [molecule.positions + rng.normal(scale=0.04, size=molecule.positions.shape) for _ in range(4)]
        labels = [a for a in teacher([(species, x) for x in moved]) if isinstance(a, Label)]
        own = [forces(module, x) for x in moved]
        errors += [np.abs(f - label.forces).mean() for (_, f), label in zip(own, labels, strict=True)]
        sizes += [np.abs(label.forces).mean() for label in labels]
        energies.append(np.std([float(e or 0.0) - label.energy for (e, _), label in zip(own, labels, strict=True)]))
    assert np.mean(errors) < 0.08 and np.mean(errors) < 0.06 * np.mean(sizes)
    assert np.mean(energies) < 0.3


def test_the_general_models_card_has_its_groups() -> None:
    folder = ROOT / "models" / SMALL
    report = json.loads((folder / "metrics.json").read_text())["unseen"]
    card = (folder / "README.md").read_text().partition("never saw")[2]
    errors = [row["mae"] for row in report["by_molecule"].values()]
    assert f"| **all** | {len(errors)} | {np.mean(errors):.1f} | {np.median(errors):.1f} |" in card
    assert all(f"| {group} |" in card for group in ("17 to 20 atoms", "charge +1", "pairs", "amides"))


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        *((MINI, s) for s in ("CCO", "CC(=O)O", "CC(N)=O", "C1CC1", "O")),
        *((ALKANES, s) for s in ("C", "CCCCCC", "CCC(C)C")),
    ],
)
def test_forces_follow_the_teacher(name: str, smiles: str) -> None:
    molecule = molecule_from_smiles(smiles, seed=3)
    model = load_model(name)
    module = bind(
        model, Species(molecule.atomic_numbers), ForceOptions(precision="mixed", orientations=12, offset="none")
    )
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


@pytest.mark.parametrize("model", [MINI, ALKANES])
def test_card_and_metrics_agree(model: str) -> None:
    folder = ROOT / "models" / model
    metrics = json.loads((folder / "metrics.json").read_text())
    card = (folder / "README.md").read_text()
    for split in ("test", "unseen"):
        for name, row in metrics[split]["by_molecule"].items():
            assert f"| {name} | {row['frames']} |" in card
            assert f"| {row['mae']:.1f} | {row['mae_12']:.1f} |" in card
    for name in (f"{model}.label.yaml", f"{model}.train.yaml"):
        assert (ROOT / "configs" / name).is_file() and name in card


def test_the_energy_comes_with_the_same_forces_and_follows_the_teacher() -> None:
    plain, with_energy = load_model(ALKANES), load_model(f"{ALKANES}-energy")
    state = with_energy.network.state_dict()
    for key, value in plain.network.state_dict().items():
        assert torch.equal(state[key], value), key
    molecule = molecule_from_smiles("CCCC", seed=3)
    module = bind(
        with_energy, Species(molecule.atomic_numbers), ForceOptions(precision="mixed", orientations=12, offset="none")
    )
    rng = np.random.default_rng(0)
    own, teacher = [], []
    for _ in range(12):
        x = molecule.positions + rng.normal(scale=0.04, size=molecule.positions.shape)
        atoms = Atoms(molecule.atomic_numbers, x, calculator=TBLite(method="GFN2-xTB", verbosity=0))
        teacher.append(atoms.get_potential_energy())
        own.append(forces(module, x)[0])
    assert np.std(np.array(own) - np.array(teacher)) < 0.3 * np.std(teacher)


def test_alkanes_are_nearly_equivariant_and_nearly_conservative() -> None:
    """The targets of docs/trust.md on pentane, displaced by about the thermal spread of its atoms at 300 K."""
    molecule = molecule_from_smiles("CCCCC", seed=3)
    rng = np.random.default_rng(1)
    x = torch.from_numpy(molecule.positions + rng.normal(scale=0.04, size=molecule.positions.shape)) * BOHR_PER_ANGSTROM
    network = load_model(ALKANES).network.double().requires_grad_(False).eval()
    zero, one = torch.tensor([0]), torch.tensor([1])
    z, turn = torch.from_numpy(molecule.atomic_numbers)[None], torch.eye(3, dtype=torch.float64)[None]
    batch = Batch(
        z, (x - x.mean(dim=0))[None], torch.zeros_like(x)[None], zero.double(), zero, one, turn, torch.zeros(1, 3)
    )
    generator = torch.Generator().manual_seed(0)
    errors = {}
    with torch.no_grad():
        for orientations, count in ((1, 16), (60, 4)):
            turns = rotation_group(orientations)[None] @ uniform_rotations(count, generator)[:, None]
            averaged = [rotated(network, batch, k[:, None])[1].mean(dim=0) for k in turns]
            spread = (count / (count - 1)) ** 0.5  # about their own mean few forces scatter less
            errors[orientations] = KCAL_PER_MOL_ANGSTROM * spread * float(equivariance_error(torch.stack(averaged)))
    assert errors[1] < 0.8
    assert errors[60] < 0.05
    assert float(antisymmetric_ratio(force_jacobian(network, batch))) < 0.01


def test_the_table_of_models_is_what_they_measured() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/models.md").read_text().splitlines() if "../models/" in line]
    assert {row[0].split("[")[1].split("]")[0] for row in rows} == {p.name for p in (ROOT / "models").iterdir()}
    for cell, parameters, _, *numbers in rows:
        name = cell.split("[")[1].split("]")[0]
        metrics = json.loads((ROOT / "models" / name / "metrics.json").read_text())
        test, unseen = metrics["test"]["all"], metrics["unseen"]["all"]
        wanted = [test["mae"], unseen["mae"], test["e_eq_kcal_mol_A"], test["lambda"]]
        for shown, value, digits in zip((n.strip(" |") for n in numbers), wanted, (1, 1, 2, 3), strict=True):
            assert shown == f"{value:.{digits}f}", name
        assert int(parameters.replace(",", "")) == sum(p.numel() for p in load_model(name).network.parameters())
