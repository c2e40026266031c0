"""Networks with the weights of the authors' own code, from tensors in memory; `mdet import` makes models of files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.published.options import read_options
from mdet_openmm.published.weights import build_network


class ReferenceNetwork:
    """A network with the authors' weights, in fp64.

    Parameters
    ----------
    network
        The Edge Transformer, in eval mode.
    notes
        Where configuration and tensors disagreed.
    """

    def __init__(self, network: EdgeTransformer, notes: tuple[str, ...] = ()) -> None:
        self.network = network
        self.notes = notes

    def energy_and_forces(
        self, atomic_numbers: ArrayLike, positions_bohr: ArrayLike, charge: int = 0, multiplicity: int = 1
    ) -> tuple[float, NDArray[np.float64]]:
        """Energy and forces of one molecule as the network gives them, net force and torque included.

        Parameters
        ----------
        atomic_numbers
            (n,).
        positions_bohr
            (n, 3), bohr; centred in fp64 before anything else.
        charge, multiplicity
            Of the molecule.

        Returns
        -------
        tuple
            Potential energy in Ha (0 without an energy head) and (n, 3) float64 forces in Ha/bohr: those of the force
            head, or minus the gradient of the energy where there is none.
        """
        z = torch.as_tensor(np.asarray(atomic_numbers, dtype=np.int64)).reshape(1, -1)
        x = torch.as_tensor(np.asarray(positions_bohr, dtype=np.float64)).reshape(1, -1, 3)
        if x.shape[1] != z.shape[1]:
            raise InputError(f"{z.shape[1]} atomic numbers but {x.shape[1]} positions")
        with torch.no_grad():
            energy, forces = self.network(
                z,
                x - x.mean(dim=1, keepdim=True),
                torch.tensor([int(charge)]),
                torch.tensor([int(multiplicity)]),
            )
        return float(energy), forces[0].numpy()

    def forces(
        self, atomic_numbers: ArrayLike, positions_bohr: ArrayLike, charge: int = 0, multiplicity: int = 1
    ) -> NDArray[np.float64]:
        """The forces alone, (n, 3) float64 in Ha/bohr; see `energy_and_forces`."""
        return self.energy_and_forces(atomic_numbers, positions_bohr, charge, multiplicity)[1]


def _tensors(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    return {k: v if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v)) for k, v in state_dict.items()}


def load_v1(state_dict: Mapping[str, Any], n_heads: int, *, activation: str = "gelu") -> ReferenceNetwork:
    """Build the published network from a v1 state dict.

    Shapes and options are read off the tensors; what leaves no trace in them is given. The peculiarities of v1 come
    with the weights: no electron configuration for the first atom, ``torch.cdist`` (whose matrix formula acts above 25
    atoms), pi as 3.14159.

    Parameters
    ----------
    state_dict
        Names and tensors (or arrays) of v1's ``model_state_dict``.
    n_heads
        Attention heads.
    activation
        ``"gelu"`` or ``"relu"``, of feed-forward blocks and heads.

    Returns
    -------
    ReferenceNetwork
        Whose ``forces(atomic_numbers, positions_bohr, charge, multiplicity)`` are in Ha/bohr.

    Raises
    ------
    InputError
        If a tensor is missing, unknown or of the wrong shape; the message names it.
    """
    return _load(state_dict, {"num_heads": int(n_heads), "activation": activation}, "v1")


def load_v2(state_dict: Mapping[str, Any], config: Mapping[str, Any]) -> ReferenceNetwork:
    """Build the network of the authors' second code from its state dict.

    Parameters
    ----------
    state_dict
        Names and tensors (or arrays) of ``model_state_dict``.
    config
        The model's section of the configuration (``train.model``); ``num_heads`` is needed.

    Returns
    -------
    ReferenceNetwork
        With the numerics of v2: softened distances, clamped angles, no electron configuration for the first atom.

    Raises
    ------
    InputError
        If a tensor is missing, unknown or of the wrong shape, or contradicts the configuration; the message names it.
    """
    return _load(state_dict, config, "v2")


def _load(state_dict: Mapping[str, Any], config: Mapping[str, Any], code: str) -> ReferenceNetwork:
    tensors = _tensors(state_dict)
    reading = read_options(tensors, config, code=code)
    return ReferenceNetwork(build_network(tensors, reading).to(torch.float64), reading.notes)
