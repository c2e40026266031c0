"""The ASE calculator against the bound force, finite differences, and ASE's own dynamics, optimisers and vibrations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.mep import NEB
from ase.optimize import FIRE
from ase.vibrations import Vibrations

from mdet_openmm import MDETCalculator
from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.teacher import make_teacher
from mdet_openmm.errors import InputError
from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import Model, load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

SMALL: dict[str, Any] = {"n_layers": 1, "embd_dim": 16, "n_heads": 2, "n_radial": 8, "l_max": 2, "force_scale": 1e-2}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    shapes: dict[str, dict[str, Any]] = {
        "direct": {"dipole_head": True},
        "both": {"energy_head": True, "energy_pooling": "atoms"},
        "conserving": {"energy_head": True, "force_head": False},
    }
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name, shape in shapes.items():
        torch.manual_seed(1)
        network = EdgeTransformer(NetworkConfig(**SMALL, **shape))
        training = {"trained_on": {"charge": [-1, 0, 1], "multiplicity": [1, 3]}}
        save_model(folder / name, network, elements=(1, 6, 7, 8), training=training, metrics={}, card="")
        found[name] = load_model(folder / name)
    return found


def ethanol(seed: int = 0) -> Atoms:
    molecule = molecule_from_smiles("CCO")
    noise = 0.05 * np.random.default_rng(seed).normal(size=molecule.positions.shape)
    return Atoms(molecule.atomic_numbers, molecule.positions + noise)


def test_an_interrupt_that_meets_python_code_under_torchscript_stays_one(models, monkeypatch):
    """As a RuntimeError a labelling would take it for a structure that the teacher cannot do, and leave that out."""
    atoms = ethanol()
    atoms.calc = MDETCalculator(models["direct"])
    atoms.get_forces()

    def interrupted(*given: Any) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("mdet_openmm.export.attention_kernel.compiled_attention", interrupted)
    atoms.rattle(0.01)
    with pytest.raises(KeyboardInterrupt):
        atoms.get_forces()
    arguments = {"model": str(models["direct"].path)}
    config = TeacherConfig(kind="ase", ase="mdet_openmm.calculator:MDETCalculator", arguments=arguments)
    with pytest.raises(KeyboardInterrupt):
        make_teacher(config, Species(atoms.numbers))(atoms.positions)


def test_the_gradient_of_a_model_labels_structures_as_a_teacher_does(models):
    """As in docs/conservative.md, for a cation."""
    charged = {"charge": "{charge}", "multiplicity": "{multiplicity}"}
    arguments = {"model": str(models["both"].path), "forces": "conservative", **charged}
    config = TeacherConfig(kind="ase", ase="mdet_openmm.calculator:MDETCalculator", arguments=arguments)
    molecule = molecule_from_smiles("C[NH3+]")
    label = make_teacher(config, molecule)(molecule.positions)
    module = bind(models["both"], molecule, ForceOptions(forces="conservative", offset="none"))
    energy, expected = forces(module, molecule.positions)
    assert label.energy == energy
    np.testing.assert_array_equal(label.forces, expected)


@pytest.mark.parametrize("name", ["direct", "both", "conserving"])
@pytest.mark.parametrize("options", [{}, {"offset": "none", "orientations": 12}, {"precision": "mixed"}])
def test_forces_and_energy_are_those_of_the_bound_force(models, name, options):
    atoms = ethanol()
    atoms.calc = MDETCalculator(models[name], **options)
    module = bind(models[name], Species(atoms.numbers), ForceOptions(**options))
    energy, expected = forces(module, atoms.positions)
    np.testing.assert_array_equal(atoms.get_forces(), expected)
    if energy is None:
        with pytest.warns(UserWarning, match="the model has no energy"):
            assert atoms.get_potential_energy() == 0.0
    else:
        assert atoms.get_potential_energy() == energy == atoms.get_potential_energy(force_consistent=True)


def test_conservative_forces_are_the_gradient_of_the_energy(models):
    atoms = ethanol()
    atoms.calc = MDETCalculator(models["both"], forces="conservative")
    numeric = np.zeros((2, 3))
    for k in range(2):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[k, axis] += sign * 1e-4
                moved.calc = atoms.calc
                energies.append(moved.get_potential_energy())
            numeric[k, axis] = (energies[1] - energies[0]) / 2e-4
    np.testing.assert_allclose(atoms.get_forces()[:2], numeric, atol=1e-6)


def test_charge_and_spin_from_info_or_initial_charges_or_the_argument(models):
    model = models["direct"]

    def expected(charge: int, spin: int) -> np.ndarray:
        module = bind(model, Species(ethanol().numbers, charge, spin), ForceOptions())
        return forces(module, ethanol().positions)[1]

    atoms = ethanol()
    atoms.calc = MDETCalculator(model)
    np.testing.assert_array_equal(atoms.get_forces(), expected(0, 1))
    atoms.info["charge"] = 1  # the same positions: ASE would take the forces of before
    np.testing.assert_array_equal(atoms.get_forces(), expected(1, 1))
    atoms.info.update(charge=-1, spin=3)
    np.testing.assert_array_equal(atoms.get_forces(), expected(-1, 3))
    del atoms.info["charge"], atoms.info["spin"]
    atoms.set_initial_charges([1.0, *[0.0] * 8])
    np.testing.assert_array_equal(atoms.get_forces(), expected(1, 1))
    atoms.calc = MDETCalculator(model, charge=-1)
    np.testing.assert_array_equal(atoms.get_forces(), expected(-1, 1))
    atoms.calc = MDETCalculator(model)
    atoms.set_initial_charges([0.4, *[0.0] * 8])
    with pytest.raises(InputError, match=r"add up to 0\.4"):
        atoms.get_forces()
    atoms.set_initial_charges([2.0, *[0.0] * 8])
    with pytest.raises(InputError, match="not trained on charge 2"):
        atoms.get_forces()


def test_dipole(models):
    atoms = ethanol()
    atoms.calc = MDETCalculator(models["direct"], orientations=12)
    expected = dipoles(models["direct"], Species(atoms.numbers), atoms.positions[None], ForceOptions(orientations=12))[
        0
    ]
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected)


def test_periodic_atoms_are_refused(models):
    atoms = ethanol()
    atoms.calc = MDETCalculator(models["direct"])
    atoms.set_cell([10, 10, 10])
    atoms.pbc = True
    with pytest.raises(Exception, match="free molecule"):
        atoms.get_forces()


@pytest.mark.parametrize("name", ["direct", "conserving"])
def test_the_hessian_is_that_of_finite_differences(models, name, tmp_path):
    atoms = ethanol()
    atoms.calc = MDETCalculator(models[name], offset="none")
    hessian = atoms.calc.get_hessian(atoms)
    vibrations = Vibrations(atoms, name=str(tmp_path / "v"), delta=1e-3)
    vibrations.run()
    numeric = vibrations.get_vibrations().get_hessian_2d()
    np.testing.assert_allclose(hessian, numeric, atol=1e-4 * abs(hessian).max())
    antisymmetry = atoms.calc.antisymmetry(atoms)
    assert antisymmetry < 1e-9 if name == "conserving" else antisymmetry > 1e-3
    assert len(atoms.calc.get_vibrations(atoms).get_frequencies()) == 27


@pytest.mark.filterwarnings("ignore:the model has no energy")
def test_ase_relaxes_runs_and_searches_paths_with_it(tmp_path):
    """With the shipped model: FIRE to a minimum, a band between two conformers of it, Langevin dynamics from it."""
    atoms = ethanol()
    calculator = MDETCalculator("mdet-gfn2-mini", offset="none")
    atoms.calc = calculator
    optimizer = FIRE(atoms, logfile=None)
    assert optimizer.run(fmax=0.02, steps=300)
    lengths = [atoms.get_distance(0, 1), atoms.get_distance(1, 2)]
    assert 1.48 < lengths[0] < 1.56 and 1.38 < lengths[1] < 1.46  # C-C and C-O of ethanol
    other = atoms.copy()
    other.calc = calculator
    hydroxyl = [i for i in range(9) if atoms.numbers[i] == 1 and atoms.get_distance(2, i) < 1.1]
    other.rotate_dihedral(0, 1, 2, hydroxyl[0], 100.0, indices=hydroxyl)
    assert FIRE(other, logfile=None).run(fmax=0.05, steps=300)
    images = [atoms, *(atoms.copy() for _ in range(3)), other]
    for image in images[1:-1]:
        image.calc = calculator
    band = NEB(images, allow_shared_calculator=True, method="aseneb")
    band.interpolate("idpp")
    before = np.abs(band.get_forces()).max()
    FIRE(band, logfile=None).run(fmax=0.05, steps=25)
    assert np.abs(band.get_forces()).max() < 0.5 * before
    hot = atoms.copy()
    hot.calc = MDETCalculator("mdet-gfn2-mini", precision="mixed")
    Langevin(hot, 0.5 * units.fs, temperature_K=300, friction=0.05 / units.fs, rng=np.random.default_rng(1)).run(40)
    assert 50 < hot.get_temperature() < 900
    assert abs(hot.get_distance(0, 1) - lengths[0]) < 0.3


def test_the_default_is_that_of_a_run():
    assert MDETCalculator("mdet-gfn2-mini").options == ForceOptions(offset="hashed", forces="direct")
    assert Path(MDETCalculator("mdet-gfn2-mini").model.path).name == "mdet-gfn2-mini"
