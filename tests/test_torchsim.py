"""The model behind TorchSim's interface: its own check, single calls, and what it cannot say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, build

pytest.importorskip("torch_sim")

import torch_sim as ts
from torch_sim.models.interface import validate_model_outputs

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import Model, load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.torchsim import MDETModel


def tiny(folder: Path, elements: list[int], **options: Any) -> Model:
    torch.manual_seed(1)
    shape = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-2, **options)
    save_model(folder, EdgeTransformer(shape), elements=elements, training={}, metrics={}, card="random weights")
    return load_model(folder)


def molecules() -> list[Atoms]:
    rng = np.random.default_rng(0)
    found = [build.molecule(name) for name in ("CH3CH2OH", "H2O", "CH3CH2OH", "CH4", "H2O")]
    for atoms in found:
        atoms.positions += 3.0 + 0.05 * rng.standard_normal(atoms.positions.shape)
    return found


def state_of(atoms: list[Atoms], dtype: torch.dtype = torch.float64) -> Any:
    return ts.io.atoms_to_state(atoms, torch.device("cpu"), dtype)


def test_its_own_check_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The check builds crystals of silicon and iron, which no model of free molecules takes: as many atoms of the same
    # elements without a period go through it instead.
    crystal = build.bulk

    def free(*args: Any, **options: Any) -> Atoms:
        atoms = crystal(*args, **options)
        atoms.pbc = False
        return atoms

    monkeypatch.setattr("ase.build.bulk", free)
    model = MDETModel(tiny(tmp_path / "m", [14, 26], energy_head=True), device="cpu")
    validate_model_outputs(model, torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("kind", ["direct", "conservative"])
def test_a_batch_is_what_single_molecules_are(tmp_path: Path, kind: str) -> None:
    model = tiny(tmp_path / "m", [1, 6, 8], energy_head=True)
    atoms = molecules()
    found = MDETModel(model, device="cpu", seed=5, forces=kind)(state_of(atoms))
    start = 0
    for k, one in enumerate(atoms):
        alone = bind(model, Species(one.numbers), ForceOptions(seed=5, forces=kind))
        energy, force = forces(alone, one.positions)
        assert float(found["energy"][k]) == pytest.approx(energy, rel=1e-12)
        ours = found["forces"][start : start + len(one)].numpy()
        np.testing.assert_allclose(ours, force, rtol=0, atol=1e-10 * np.abs(force).max())
        start += len(one)


def test_no_energy_is_no_number_and_a_period_is_refused(tmp_path: Path) -> None:
    model = tiny(tmp_path / "m", [1, 6, 8])
    wrapped = MDETModel(model, device="cpu", dtype=torch.float32)
    state = state_of(molecules(), torch.float32)
    found = wrapped(state)
    assert found["energy"].isnan().all() and found["energy"].dtype == found["forces"].dtype == torch.float32
    assert found["forces"].isfinite().all()
    box = molecules()[0]
    box.cell, box.pbc = [9.0] * 3, True
    with pytest.raises(InputError, match="free molecules"):
        wrapped(state_of([box]))
    with pytest.raises(InputError, match="was not trained on elements"):
        wrapped(state_of([build.molecule("NH3")]))
    with pytest.raises(NotImplementedError):
        wrapped.compute_stress = True


def test_its_integrators_and_optimisers_run(tmp_path: Path) -> None:
    model = MDETModel("mdet-gfn2-mini", device="cpu")
    atoms = [build.molecule("H2O") for _ in range(3)]
    atoms[1].positions[1] += 0.1
    relaxed = ts.optimize(
        system=atoms, model=model, optimizer=ts.optimizers.fire, max_steps=200, steps_between_swaps=1,
        convergence_fn=ts.generate_force_convergence_fn(force_tol=0.05, include_cell_forces=False),
    )  # fmt: skip
    assert float(relaxed.forces.norm(dim=1).max()) < 0.05
    warm = ts.integrate(
        system=relaxed, model=model, integrator=ts.integrators.nvt_langevin, n_steps=20, temperature=300.0,
        timestep=0.0005,
    )  # fmt: skip
    assert warm.positions.isfinite().all()
    assert (warm.positions[:3] - warm.positions[3:6]).abs().max() > 1e-3
