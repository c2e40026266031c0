"""Dipoles of many structures of one molecule, in e Å."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.export.compiled_attention import compile_attention
from mdet_openmm.export.fast_linear import use_onednn
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.units import ANGSTROM_PER_BOHR, BOHR_PER_ANGSTROM

PAIRS_AT_ONCE = 20_000
"""Pairs of atoms in one batch, which bounds the memory; larger batches are no faster on a CPU."""


def dipoles(
    model: Model,
    molecule: Species | Molecule,
    positions: NDArray[np.float64],
    options: ForceOptions = ForceOptions(precision="mixed", orientations=12),
) -> NDArray[np.float64]:
    """Dipoles along a trajectory, averaged over a rotation group.

    Parameters
    ----------
    model
        With a dipole head; it is not changed.
    molecule
        Elements, charge and multiplicity; a geometry is not used.
    positions
        (f, n, 3) in Å. Of a charged molecule the dipole is about their origin.
    options
        Of which precision and orientations count.

    Returns
    -------
    ndarray
        (f, 3) in e Å.

    Raises
    ------
    InputError
        For a model without a dipole head.
    """
    precision, orientations, charge = options.precision, options.orientations, molecule.charge
    if not model.network.has_dipole:
        raise InputError(f"the model {model.name} has no dipole head")
    network = copy.deepcopy(model.network).requires_grad_(False).eval()
    assert network.dipole_head is not None
    network.in_precision(precision)
    numbers = torch.from_numpy(molecule.atomic_numbers.copy()).reshape(1, -1)
    geometry = torch.float32 if precision == "fp32" else torch.float64
    compile_attention(network)
    for part in (network.layers, network.radial, network.dipole_head):
        use_onednn(part)
    group = rotation_group(orientations)
    with torch.inference_mode():
        pairs = network.node_pairs(numbers, torch.tensor([charge]), torch.tensor([molecule.multiplicity]))
        types = network.pair_types(numbers)
        found = []
        given = torch.as_tensor(np.asarray(positions, dtype=np.float64))
        for part_of in given.split(max(1, PAIRS_AT_ONCE // (orientations * numbers.shape[1] ** 2))):
            centroid = part_of.mean(dim=1, keepdim=True)
            x = (part_of - centroid) * BOHR_PER_ANGSTROM
            turned = torch.einsum("fni,kij->kfnj", x, group).flatten(0, 1).to(geometry)
            seen = network.dipole_readout(network.trunk(pairs, turned, types), turned).double()
            back = torch.einsum("kfj,kij->fi", seen.view(orientations, -1, 3), group) / orientations
            found.append(back * ANGSTROM_PER_BOHR + charge * centroid[:, 0])
    return torch.cat(found).numpy()
