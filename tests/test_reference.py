"""The authors' weights give the authors' forces."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mdet_openmm.errors import InputError
from mdet_openmm.reference import load_v1

PARITY = Path(__file__).resolve().parents[2] / "shared" / "parity" / "v1_small.npz"
needs_parity = pytest.mark.skipif(not PARITY.exists(), reason=f"the authors' outputs are not here ({PARITY})")


@pytest.fixture(scope="module")
def parity() -> dict[str, np.ndarray]:
    with np.load(PARITY) as data:
        return dict(data)


def state_dict(parity: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {k.removeprefix("sd/"): torch.from_numpy(v) for k, v in parity.items() if k.startswith("sd/")}


@needs_parity
@pytest.mark.parametrize("molecule", range(4), ids=["ethanol", "butane", "uracil anion", "dichloromethane cation"])
def test_v1_forces(parity: dict[str, np.ndarray], molecule: int) -> None:
    network = load_v1(state_dict(parity), int(parity["config"][2]))
    get = lambda key: parity[f"mol{molecule}/{key}"]  # noqa: E731
    forces = network.forces(
        get("atomic_numbers"), get("positions_bohr"), int(get("charge").item()), int(get("multiplicity").item())
    )
    expected = get("forces_fp64")
    assert np.abs(forces - expected).max() <= 1e-6 * np.abs(expected).max()
    # a constant output would not pass the line above by accident: the forces depend on the molecule's charge
    other = network.forces(get("atomic_numbers"), get("positions_bohr"), int(get("charge").item()) + 1, 1)
    assert np.abs(other - expected).max() > 1e-3 * np.abs(expected).max()


@needs_parity
def test_v1_errors_name_the_tensor(parity: dict[str, np.ndarray]) -> None:
    heads = int(parity["config"][2])
    missing = state_dict(parity)
    del missing["layers.0.ffn.mlp.0.bias"]
    with pytest.raises(InputError, match=r"layers\.0\.feed_forward\.0\.bias"):
        load_v1(missing, heads)
    wrong = state_dict(parity)
    wrong["heads.forces.mlp.6.weight"] = wrong["heads.forces.mlp.6.weight"][:2]
    with pytest.raises(InputError, match=r"force_head\.mlp\.4\.weight"):
        load_v1(wrong, heads)
    strange = {**state_dict(parity), "layers.0.attention.gate.weight": torch.zeros(2, 2)}
    with pytest.raises(InputError, match="gate"):
        load_v1(strange, heads)
    with pytest.raises(InputError, match="n_heads"):
        load_v1(state_dict(parity), 7)
