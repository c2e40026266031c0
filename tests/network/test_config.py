"""A name that is misspelt builds no other network."""

from typing import Any

import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.heads import Decomposer
from mdet_openmm.network.layer import EdgeLayer


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"directions": "fouriers"}, "directions must be one of spherical_harmonics, fourier, direct"),
        ({"activation": "silu"}, "activation must be one of gelu, relu, not 'silu'"),
        ({"decomposer": "sum"}, "decomposer must be one of pooling, diagonal, not 'sum'"),
        ({"radial_basis": "Bessel"}, "radial_basis must be one of gaussian, bessel"),
        ({"energy_pooling": "sum"}, "energy_pooling must be one of mean, atoms"),
        ({"numerics": "authors"}, "numerics must be one of exact, authors_v1, authors_v2"),
        ({"n_layers": 0}, "n_layers must be at least 1, not 0"),
        ({"n_layers": 2.0}, "n_layers must be int, not 2.0"),
        ({"edge_types": 1}, "edge_types must be bool, not 1"),
        ({"force_scale": float("nan")}, "force_scale must be a finite number, not nan"),
        ({"shortest_wavelength": 0.0}, "shortest_wavelength must be positive, not 0.0"),
        ({"embd_dim": 65}, "embd_dim 65 is not a multiple of n_heads 8"),
        ({"force_head": False}, "a force_head or an energy_head"),
        ({"embd_dim": 2, "n_heads": 2}, "head_project_down needs embd_dim of 4 or more"),
    ],
)
def test_what_is_no_network_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NetworkConfig(**values)


def test_its_parts_refuse_the_same_names() -> None:
    with pytest.raises(InputError, match="activation must be one of gelu, relu, not 'silu'"):
        EdgeLayer(16, 2, 2, "silu", True)
    with pytest.raises(InputError, match="decomposer must be one of pooling, diagonal, not 'sum'"):
        Decomposer(16, "sum", "gelu")
