"""The choice of orientations: by known errors, and for a real network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fields_with_answers import FORCE, WithError, field_of, octahedron_nm

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.simulation.orientations import cheapest, choose_orientations, noise_variance
from mdet_openmm.units import ANGSTROM_PER_NM

ROOT = Path(__file__).resolve().parents[2]


def test_cheapest() -> None:
    heating = {1: 9.0, 12: 2.0, 24: 0.5, 60: 0.1}
    assert cheapest(heating, 10.0) == (1, True)
    assert cheapest(heating, 3.0) == (12, True)
    assert cheapest(heating, 0.5) == (24, True)
    assert cheapest(heating, 0.01) == (60, False)
    assert cheapest({1: 4.0, 12: 5.0}, 1.0) == (1, False)


@pytest.mark.parametrize(("degree", "left"), [(2, {1}), (4, {1, 12, 24}), (6, {1, 12, 24, 60})])
def test_noise_of_known_degree(degree: int, left: set[int]) -> None:
    structures = ANGSTROM_PER_NM * octahedron_nm().numpy()[None].repeat(2, axis=0)
    for orientations in (1, 12, 24, 60):
        variance = noise_variance(field_of(WithError(0.01, degree)), structures, orientations, 200, seed=1)
        assert variance.shape == (6,)
        if orientations == 1:  # of P_l² the mean over directions is 1/(2l + 1); a third of it in each component
            assert variance.mean() == pytest.approx((0.01 * FORCE) ** 2 / (2 * degree + 1) / 3, rel=0.15)
        assert (variance.max() > (1e-6 * FORCE) ** 2) == (orientations in left)


@pytest.fixture(scope="module")
def ethanol() -> Molecule:
    return read_molecule(ROOT / "simulations/systems/ethanol.pdb")


def test_choice_for_the_shipped_model(ethanol: Molecule) -> None:
    model = load_model("mdet-gfn2-mini")
    common: dict[str, Any] = {
        "temperature": 300.0,
        "timestep": 0.5,
        "precision": "mixed",
        "structures": ethanol.positions[None],
    }
    loose = choose_orientations(model, ethanol, friction=1.0, **common)
    assert (loose.orientations, loose.within, loose.budget) == (1, True, 3.0) and list(loose.heating) == [1]
    assert 0.05 < loose.heating[1] < 3.0
    tight = choose_orientations(model, ethanol, friction=1.0, budget_K=0.1 * loose.heating[1], **common)
    assert tight.orientations in (12, 24, 60) and tight.within
    assert (
        tight.heating[tight.orientations]
        <= 0.1 * loose.heating[1]
        < min([v for f, v in tight.heating.items() if f < tight.orientations])
    )
    never = choose_orientations(model, ethanol, friction=1.0, budget_K=1e-9, **common)
    assert not never.within and never.heating[never.orientations] == min(never.heating.values())
    assert list(never.heating) == [1, 12, 24, 60]
    # twice the friction, half the heat; and without a bath it grows with the time of the run
    damped = choose_orientations(model, ethanol, friction=2.0, **common)
    assert damped.heating[1] == pytest.approx(0.5 * loose.heating[1])
    short, long = (
        choose_orientations(model, ethanol, friction=None, time=t, budget_K=1e9, **common) for t in (1.0, 7.0)
    )
    assert long.heating[1] == pytest.approx(7.0 * short.heating[1])
    with pytest.raises(InputError, match="friction"):
        choose_orientations(model, ethanol, friction=None, **common)


def test_measures_on_its_own_dynamics(ethanol: Molecule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdet_openmm.simulation.orientations.STRUCTURES", 1)
    choice = choose_orientations(
        load_model("mdet-gfn2-mini"), ethanol, temperature=300.0, timestep=0.5, friction=1.0, precision="mixed", seed=4
    )
    assert choice.orientations == 1 and choice.within and "1 orientation" in choice.reason


def test_conservative_forces_need_no_orientations(ethanol: Molecule) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, energy_head=True, force_head=False)
    model = Model("t", Path("t"), EdgeTransformer(config).eval(), (1, 6, 8), True, "0" * 64)
    choice = choose_orientations(model, ethanol, temperature=300.0, timestep=0.5, friction=1.0)
    assert choice.orientations == 1 and choice.heating == {1: 0.0}
    assert np.isfinite(choice.budget)
