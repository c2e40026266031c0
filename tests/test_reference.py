"""State dicts of the authors' code that are not whole; what whole ones give is in published/test_parity.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mdet_openmm.errors import InputError
from mdet_openmm.published.options import read_options
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
def test_v1_errors_name_the_tensor(parity: dict[str, np.ndarray]) -> None:
    heads = int(parity["config"][2])
    missing = state_dict(parity)
    del missing["layers.0.ffn.mlp.0.bias"]
    with pytest.raises(InputError, match=r"layers\.0\.ffn\.mlp\.0\.bias"):
        load_v1(missing, heads)
    wrong = state_dict(parity)
    wrong["heads.forces.mlp.6.weight"] = wrong["heads.forces.mlp.6.weight"][:2]
    with pytest.raises(InputError, match=r"heads\.forces\.mlp\.6\.weight"):
        load_v1(wrong, heads)
    strange = {**state_dict(parity), "layers.0.attention.gate.weight": torch.zeros(2, 2)}
    with pytest.raises(InputError, match="gate"):
        load_v1(strange, heads)
    with pytest.raises(InputError, match="num_heads"):
        load_v1(state_dict(parity), 7)


def test_there_are_two_codes() -> None:
    with pytest.raises(InputError, match="code must be one of v1, v2, not 'v3'"):
        read_options({}, {}, code="v3")
