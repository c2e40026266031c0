"""Conservative forces."""

import torch
from torch import Tensor


def minus_gradient(energy: Tensor, positions: Tensor, create_graph: bool = False) -> Tensor:
    """Forces as minus the gradient of an energy; scriptable.

    Parameters
    ----------
    energy
        Any shape; its sum is differentiated.
    positions
        What the energy was computed from; requires gradients.
    create_graph
        Whether the forces can be differentiated again.

    Returns
    -------
    Tensor
        Of the shape of the positions.
    """
    gradient = torch.autograd.grad([energy.sum()], [positions], create_graph=create_graph)[0]
    assert gradient is not None  # for TorchScript, which takes it for optional
    return -gradient
