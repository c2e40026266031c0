"""What a loss can ask of forces beside small errors: an energy behind them, and that they turn with the molecule."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mdet_openmm.measure.definitions import antisymmetric_share
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import Batch


class _PlainLayerNorm(TorchFunctionMode):
    """Layer norms from elementary operations, while it is entered.

    PyTorch's own (2.9) has wrong derivatives beyond the first: the one of J v in the weights is off by its order of
    magnitude (tests/training/test_penalties.py, against finite differences).
    """

    def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not torch.nn.functional.layer_norm:
            return function(*args, **(kwargs or {}))
        x, weight, bias, eps = args[0], kwargs["weight"], kwargs["bias"], kwargs["eps"]
        centred = x - x.mean(dim=-1, keepdim=True)
        return centred * (centred.square().mean(dim=-1, keepdim=True) + eps).rsqrt() * weight + bias


def antisymmetry(network: EdgeTransformer, batch: Batch, probes: Tensor, turns: Tensor | None = None) -> Tensor:
    """lambda^2 of the force's Jacobian by one probe per structure, differentiable in the weights.

    Parameters and cost are those of `jacobian_products`.
    """
    return antisymmetric_share(*jacobian_products(network, batch, probes, turns))


def jacobian_products(
    network: EdgeTransformer, batch: Batch, probes: Tensor, turns: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """J v and J^T v, (b, n, 3) each, of the force's Jacobian and one probe v per structure; differentiable in weights.

    By forward and by reverse differentiation, so that it costs a few force calls and never builds J.

    Parameters
    ----------
    network
        Its layers run without torch.compile, which knows no forward differentiation.
    batch
        b structures of n atoms.
    probes
        (b, n, 3) Gaussian numbers.
    turns
        (K, b, 3, 3), rotations or mirrorings: of the force averaged over these orientations. With K of them random,
        the mean of lambda^2 is that of the average over all orientations plus 1/K of what that leaves out. None: as
        they lie.
    """
    if turns is None:
        turns = torch.eye(3, dtype=batch.positions.dtype, device=batch.positions.device).expand(1, len(probes), 3, 3)
    copies = Batch(*(t.repeat(len(turns), *[1] * (t.dim() - 1)) for t in batch))
    x = (batch.positions.detach() @ turns).flatten(0, 1).requires_grad_(True)
    v = (probes.to(x.dtype) @ turns).flatten(0, 1)

    def forces(positions: Tensor) -> Tensor:
        return network(copies.atomic_numbers, positions, copies.charge, copies.multiplicity)[1]

    def back(products: Tensor) -> Tensor:
        return (products.to(x.dtype).view(*turns.shape[:2], -1, 3) @ turns.transpose(2, 3)).mean(dim=0)

    with torch.compiler.set_stance("force_eager"), _PlainLayerNorm():
        output, forward = torch.func.jvp(forces, (x,), (v,))
        (backward,) = torch.autograd.grad(output, x, v.to(output.dtype), create_graph=True)
    return back(forward), back(backward)


def inequivariance(forces: Tensor, turns: Tensor, copies: int) -> Tensor:
    """Mean distance of forces, turned back, from their mean over the copies of a structure.

    Parameters
    ----------
    forces
        (copies b, n, 3) of `mdet_openmm.training.batches.augmented` structures.
    turns
        (copies b, 3, 3): positions and forces (rows) of each were multiplied by it.
    copies
        2 or more.
    """
    back = (forces @ turns.to(forces.dtype).transpose(1, 2)).view(copies, -1, *forces.shape[1:])
    return (back - back.mean(dim=0)).norm(dim=-1).mean()
