"""A molecule's force among other atoms: which atoms are its own, and how to make it whole in a periodic box."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mdet_openmm.export.torchscript import script


@dataclass(frozen=True)
class Placement:
    """Where the atoms of a bound molecule are.

    Attributes
    ----------
    atoms
        Indices of its atoms among the positions that the force is given; None: they are all.
    parents
        For each atom of the molecule an atom before it in ``order`` to which it is bonded; -1 for the first. Of a
        molecule in a periodic box, whose atoms OpenMM may put into different images; None without a box.
    order
        The atoms of the molecule so that each stands behind its parent.
    """

    atoms: tuple[int, ...] | None = None
    parents: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None


def spanning_tree(n_atoms: int, bonds: NDArray[np.int64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parents and order of `Placement`, along bonds.

    Raises
    ------
    ValueError
        If the bonds do not connect all atoms.
    """
    from scipy.sparse import coo_array  # type: ignore[import-untyped, unused-ignore]
    from scipy.sparse.csgraph import breadth_first_order  # type: ignore[import-untyped, unused-ignore]

    graph = coo_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n_atoms, n_atoms)).tocsr()
    order, parents = breadth_first_order(graph, 0, directed=False)
    if len(order) < n_atoms:
        raise ValueError("the bonds do not connect all atoms")
    return tuple(max(-1, int(p)) for p in parents), tuple(map(int, order))


class Placed(nn.Module):
    """A bound force that picks its atoms and makes the molecule whole.

    Each atom is taken at the image nearest to its parent, so that bonds must be shorter than half of the box.
    """

    atoms: Tensor
    bonds: Tensor
    paths: Tensor

    def __init__(self, module: torch.jit.ScriptModule, placement: Placement) -> None:
        super().__init__()
        self.module = module
        self.has_energy = bool(getattr(module, "has_energy", True))
        self.picks = placement.atoms is not None
        self.register_buffer("atoms", torch.tensor(placement.atoms or (0,)))
        n = len(placement.parents) if placement.parents else 1
        paths = torch.zeros(n, n, dtype=torch.float64)
        if placement.parents is not None and placement.order is not None:
            for k in placement.order[1:]:
                paths[k] = paths[placement.parents[k]]
                paths[k, k] = 1.0
        bonds = torch.eye(n, dtype=torch.float64)
        for k, parent in enumerate(placement.parents or ()):
            bonds[k, parent if parent >= 0 else k] -= 1.0
        self.register_buffer("bonds", bonds)
        self.register_buffer("paths", paths)

    def forward(self, positions: Tensor, box: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy and forces; see `mdet_openmm.export.force_module.ForceModule`.

        Parameters
        ----------
        positions
            (N, 3) in nm, of all particles or of the molecule alone.
        box
            (3, 3) rows a, b, c in nm, reduced as OpenMM has them; None: no box.
        """
        given = positions.detach()
        x = given[self.atoms] if self.picks else given
        if box is not None:
            x = self.whole(x.to(torch.float64), box.to(torch.float64))
        energy, forces = self.module(x)
        if self.picks:
            placed = torch.zeros_like(given)
            placed[self.atoms] = forces.to(given.dtype)
            forces = placed
        return energy.to(given.dtype), forces.to(given.dtype)

    def whole(self, x: Tensor, box: Tensor) -> Tensor:
        """The molecule with every atom at the image nearest to its parent.

        Few operations, because each is slow here: the classical forces have filled the caches.
        """
        # whole numbers of box vectors, which are the rows of a lower triangle, that each atom is away from its parent
        cells = torch.round(torch.linalg.solve_triangular(box, self.bonds @ x, upper=False, left=False))
        return x - self.paths @ cells @ box


def place(module: torch.jit.ScriptModule, placement: Placement | None) -> torch.jit.ScriptModule:
    """The module for its atoms among others; as it is without a placement."""
    return module if placement is None else script(Placed(module, placement))
