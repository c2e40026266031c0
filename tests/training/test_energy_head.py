"""An energy head alone, on forces that stay as they are."""

import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mdet_openmm.cli import main
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import load_batch
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate

MEV = 27211.386  # per Ha
WATER = np.array([[0.0, 0.0, 0.01], [0.0, 0.076, -0.048], [0.0, -0.076, -0.048]])


@pytest.fixture(scope="module")
def force_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights that has a dipole head too."""
    torch.manual_seed(1)
    shape = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2, dipole_head=True)
    folder = tmp_path_factory.mktemp("models") / "forces"
    training = {"trained_on": {"charge": [0, 1], "multiplicity": [1]}}
    save_model(folder, EdgeTransformer(shape), elements=(1, 6, 7, 8), training=training, metrics={}, card="")
    return folder


@pytest.fixture(scope="module")
def energy_model(tmp_path_factory: pytest.TempPathFactory, small_data: Path, force_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("models") / "energy"
    options = ["--steps", "60", "--batch-size", "8", "--train-only", "energy", "--quiet"]
    folders = ["--output", str(folder), "--run-folder", str(folder.parent / "run")]
    assert main(["finetune", str(force_model), str(small_data), "--name", "energy", *options, *folders]) == 0
    return folder


def test_it_changes_no_bit_of_forces_and_dipole(force_model: Path, energy_model: Path) -> None:
    before, after = load_model(force_model), load_model(energy_model)
    assert after.has_energy and after.network.has_dipole and not before.has_energy
    state = after.network.state_dict()
    for key, value in before.network.state_dict().items():
        assert torch.equal(state[key], value), key
    given = (torch.tensor([[8, 1, 1]]), torch.randn(1, 3, 3).double(), torch.tensor([0]), torch.tensor([1]))
    assert torch.equal(before.network(*given)[1], after.network(*given)[1])
    assert torch.equal(before.network.dipole(*given), after.network.dipole(*given))
    assert after.elements == before.elements and after.trained_on("charge") == (0, 1)
    assert after.metadata["training"]["energy_trained_on"]["charge"] == [0]


def test_it_learns_and_says_how_well(tmp_path: Path, small_data: Path) -> None:
    """On forces that know the molecules; a random trunk tells too little of the geometry."""
    options = ["--steps", "250", "--batch-size", "16", "--train-only", "energy", "--learning-rate", "0.002", "--quiet"]
    folders = ["--output", str(tmp_path / "energy"), "--run-folder", str(tmp_path / "run")]
    assert main(["finetune", "mdet-gfn2-mini", str(small_data), "--name", "energy", *options, *folders]) == 0
    network, store = load_model(tmp_path / "energy").network, Store(small_data)
    batch = load_batch(store, store.by_size("train")[3])
    with torch.no_grad():
        energy = network.double()(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)[0]
    # about the mean, which no dynamics knows of
    assert float((energy - batch.energy).std()) < 0.5 * float(batch.energy.std())
    assert "Energies, in meV" in (tmp_path / "energy" / "README.md").read_text()


def test_a_fine_tuning_keeps_the_energy_and_moves_it_to_the_level_of_the_data(
    tmp_path: Path, energy_model: Path, small_data: Path
) -> None:
    """Energies of another level of theory are hundreds of hartree away, by element; forces alone leave the head out."""
    data = Path(shutil.copy(small_data, tmp_path / "other-level.h5"))
    store = Store(small_data)
    by_element = {1: -0.5, 6: -37.8, 7: -54.4, 8: -75.0}
    with h5py.File(data, "r+") as file:
        for indices in store.by_size("train").values():
            for index, numbers in zip(indices, store.load(indices).atomic_numbers, strict=True):
                file["frames/energy"][index] += MEV / 1e3 * sum(by_element[int(z)] for z in numbers)
    (tmp_path / "forces.yaml").write_text("energy_weight: 0.0\n")
    for name, options in (("both", []), ("forces", ["--config", str(tmp_path / "forces.yaml")])):
        folders = ["--output", str(tmp_path / name), "--run-folder", str(tmp_path / f"{name}-run")]
        command = ["finetune", str(energy_model), str(data), "--name", name, "--steps", "2", *options, *folders]
        assert main([*command, "--quiet"]) == 0
    assert not load_model(tmp_path / "forces").has_energy
    assert load_model(tmp_path / "both").metadata["training"]["energy_weight"] == 0.01
    network, moved = load_model(tmp_path / "both").network.double(), Store(data)
    for n, indices in moved.by_size("train").items():
        batch = load_batch(moved, indices)
        with torch.no_grad():
            energy = network(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)[0]
        error = energy - batch.energy
        spread = float(load_batch(store, indices).energy.std())
        assert abs(float(error.mean())) < spread + 0.01, n


def test_reported_errors_are_those_of_the_energies(energy_model: Path, small_data: Path) -> None:
    network, store = load_model(energy_model).network, Store(small_data)
    batch = load_batch(store, store.by_size("test")[3])
    row = evaluate(network, store, ("test",), n_rotations=2)["test"]["by_molecule"]["water"]
    with torch.no_grad():
        energy = network.double()(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)[0]
    # in other orientations, so that only about
    assert row["energy_offset_meV"] == pytest.approx(MEV * float((energy - batch.energy).mean()), abs=60.0)
    assert row["energy_reference_rms_meV"] == pytest.approx(MEV * float(batch.energy.std(correction=0)), abs=0.01)


@pytest.mark.parametrize("precision", ["double", "mixed", "fp32"])
def test_bound_it_gives_the_same_energy(energy_model: Path, precision: str) -> None:
    model = load_model(energy_model)
    module = bind(model, Species([8, 1, 1]), ForceOptions(precision=precision, offset="none"))
    energy = float(module(torch.from_numpy(WATER))[0])
    positions = torch.from_numpy(WATER / 0.0529177210903)[None]
    expected = model.network.double()(torch.tensor([[8, 1, 1]]), positions, torch.tensor([0]), torch.tensor([1]))[0]
    assert energy == pytest.approx(float(expected) * 2625.49964, rel=0, abs=1e-4 if precision == "double" else 0.05)


def test_what_cannot_be_trained_is_refused(small_config: TrainConfig) -> None:
    with pytest.raises(InputError, match="needs energy_weight"):
        dataclasses.replace(small_config, train_only="energy", start_from="x")
    with pytest.raises(InputError, match="dipole_weight has nothing"):
        dataclasses.replace(small_config, train_only="energy", start_from="x", energy_weight=1.0, dipole_weight=1.0)
