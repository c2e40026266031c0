"""One molecule's force as a TorchScript module: positions in nm to energy and forces in OpenMM's units.

Per call: positions -> fp64, centred, bohr -> orientations (a rotation group times an offset) -> the network on all
of them as one batch -> rotated back and averaged in fp64 -> net force and torque removed -> kJ/mol/nm.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mdet_openmm.errors import InputError, interrupts
from mdet_openmm.export.bound_network import BoundNetwork
from mdet_openmm.export.compiled_attention import compile_attention
from mdet_openmm.export.fast_linear import use_onednn
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import DIFFERENCE, FORCES, OFFSETS, ForceOptions
from mdet_openmm.export.replicas import ReplicaForces
from mdet_openmm.export.rotations import hashed_rotation, random_rotation, rotation_group
from mdet_openmm.export.torchscript import MAKING, run_plainly, script
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.network.nodes import MAX_CHARGE, MAX_MULTIPLICITY
from mdet_openmm.settings import one_of
from mdet_openmm.units import (
    BOHR_PER_NM,
    KJ_PER_MOL_PER_EV,
    KJ_PER_MOL_PER_HARTREE,
    KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE,
    KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM,
    NM_PER_ANGSTROM,
)

if TYPE_CHECKING:
    from mdet_openmm.export.model_folder import Model


class ForceModule(nn.Module):
    """What OpenMM calls: positions in nm to (energy, forces) in kJ/mol and kJ/mol/nm.

    It keeps no state: a random offset comes from torch's generator, a hashed one from the positions.

    Parameters
    ----------
    network
        Any scriptable module: (f, n, 3) float64 positions in bohr -> (f,) energies in Ha, (f, n, 3) forces in
        Ha/bohr. It need not be invariant to translations, for it always sees positions about their centroid.
    orientations
        1, 12, 24 or 60: structures per call, one for each element of a rotation group.
    offset
        "none"; "random": all orientations are turned by a fresh uniform rotation at each call (seed it with
        ``torch.manual_seed``); "hashed": by a rotation that is a function of the positions and the seed. With "none"
        and one orientation, the network is called as it is.
    seed
        For the hashed offset.
    has_energy
        False: the energy is 0.
    forces
        "direct": the network's own. "conservative": minus the gradient of the energy (averaged over the orientations,
        at the rotation of this call), and the network's own are ignored. They have no net force; a net torque stays,
        for without it they would be the gradient of nothing. "difference": the second less the first, from one pass,
        with an energy of 0: what is to be added to direct forces and their energy for conservative ones.
    raw
        Direct forces as the network gives them: net force and torque stay.
    cycle
        Of a difference: M, for the direct forces, with their energy, and M times the difference; 0: that itself.
    """

    rotations: Tensor

    def __init__(
        self,
        network: nn.Module,
        orientations: int = 1,
        offset: str = "none",
        seed: int = 0,
        has_energy: bool = False,
        forces: str = "direct",
        raw: bool = False,
        cycle: int = 0,
    ) -> None:
        super().__init__()
        one_of("offset", offset, OFFSETS)
        one_of("forces", forces, (*FORCES, DIFFERENCE))
        self.network = network
        self.n_atoms = int(getattr(network, "n_atoms", 0))  # 0: a network of any number of them
        self.register_buffer("rotations", rotation_group(orientations))
        self.turned = orientations > 1 or offset != "none"
        self.offset = offset
        self.seed = seed
        self.has_energy = has_energy and (forces != DIFFERENCE or cycle > 0)
        self.direct = forces != "conservative"
        self.gradient = forces != "direct"
        self.raw = raw
        # F + M (G - F) = M G - (M - 1) F
        self.of_gradient, self.of_direct = (float(cycle), cycle - 1.0) if cycle else (1.0, 1.0)
        # TorchScript sees no module constants
        self.bohr_per_nm = BOHR_PER_NM
        self.energy_unit = KJ_PER_MOL_PER_HARTREE
        self.force_unit = KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and forces of the molecule.

        Parameters
        ----------
        positions
            (n, 3) in nm, fp64 for full accuracy, about any origin.

        Returns
        -------
        tuple of Tensor
            Energy in kJ/mol (no dimensions) and contiguous forces (n, 3) in kJ/mol/nm, both in the dtype of the
            positions and without a graph.
        """
        if self.n_atoms > 0 and positions.size(0) != self.n_atoms:
            raise ValueError(f"the force is bound to {self.n_atoms} atoms, not {positions.size(0)}")
        # TorchForce passes positions that require gradients, and would have a graph built of everything below.
        given = positions.detach().to(torch.float64)
        with torch.no_grad():
            r = (given - given.mean(dim=0, keepdim=True)) * self.bohr_per_nm
            if self.offset == "none":
                turns = self.rotations
            elif self.offset == "random":
                turns = self.rotations @ random_rotation(given)
            else:
                turns = self.rotations @ hashed_rotation(given, self.seed)
        if self.gradient:
            # TorchScript has no enable_grad; the caller may have switched gradients off.
            enabled = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
            energy, mean = self._gradient(r.requires_grad_(True), turns)
            torch.set_grad_enabled(enabled)
        else:
            with torch.no_grad():
                energy, mean = self._direct(r, turns)
        if not self.has_energy:
            energy = torch.zeros([], dtype=torch.float64, device=positions.device)
        # OpenMM reads the memory as it lies: a transposed or a differently typed tensor would be wrong physics.
        with torch.no_grad():  # freezing drops the detach of the energy
            energy = (energy * self.energy_unit).to(positions.dtype)
            mean = (mean * self.force_unit).to(positions.dtype).contiguous()
        return energy, mean

    def _direct(self, r: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Energy in Ha and forces (n, 3) in Ha/bohr of the network's force head, averaged over the orientations."""
        x = r.unsqueeze(0)
        energies, forces = self.network(x @ turns if self.turned else x)
        return energies.to(torch.float64).mean(), self._averaged(forces, r, turns)

    def _averaged(self, forces: Tensor, r: Tensor, turns: Tensor) -> Tensor:
        """The force head's answer in every orientation (f, n, 3), turned back and averaged: (n, 3)."""
        forces = forces.to(torch.float64)
        if self.turned:
            forces = forces @ turns.transpose(1, 2)
        mean = forces.mean(dim=0)
        if not self.raw:
            # The removal is linear and does not depend on the orientation, so that once after the average does it.
            mean = remove_net_force_and_torque(r.unsqueeze(0), mean.unsqueeze(0))[0]
        return mean

    def _gradient(self, r: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Energy in Ha, averaged over orientations, and minus its gradient (n, 3) in Ha/bohr, less direct forces."""
        x = r.unsqueeze(0)
        energies, own = self.network(x @ turns if self.turned else x)
        energy = energies.to(torch.float64).mean()
        forces = minus_gradient(energy, r)
        # r are positions about their centroid, and this is the derivative of that
        forces = forces - forces.mean(dim=0, keepdim=True)
        if self.direct:
            direct = self._averaged(own.detach(), r.detach(), turns)
            forces = self.of_gradient * forces - self.of_direct * direct
        return energy.detach(), forces


def bind(
    model: "Model",
    molecule: Species | Molecule,
    options: ForceOptions = ForceOptions(),
    seeds: Sequence[int] | None = None,
) -> torch.jit.ScriptModule:
    """Make the force of one molecule from a model, or of many copies of it.

    The module is scripted and in eval mode, but not frozen: freezing turns weights into constants that stay on the
    device where they are, and OpenMM moves the module to its own device before it freezes it itself. TorchScript's
    specialisation of graphs is switched off for the process; see `run_plainly`.

    Parameters
    ----------
    model
        From `load_model`; it is not changed.
    molecule
        Elements in the order of the atoms of the System, charge and multiplicity; a geometry is not used.
    options
        How the force is computed.
    seeds
        Of R copies of the molecule, in place of the options' seed; None: it is one.

    Returns
    -------
    torch.jit.ScriptModule
        Positions (n, 3) in nm -> (energy in kJ/mol, forces (n, 3) in kJ/mol/nm); with R copies (R n, 3), one copy
        behind the other, and the sum of their energies (see `mdet_openmm.export.replicas.ReplicaForces`).

    Raises
    ------
    InputError
        For an element, charge or multiplicity, or forces, that the model does not know.
    """
    options = options.resolved(model)
    numbers = torch.from_numpy(molecule.atomic_numbers.copy())
    unknown = sorted(set(numbers.tolist()) - set(model.elements))
    if unknown:
        raise InputError(f"the model {model.name} was not trained on elements {unknown}; it knows {model.elements}")
    charge, multiplicity = molecule.charge, molecule.multiplicity
    for what, value, lowest, highest in (
        ("charge", charge, -MAX_CHARGE, MAX_CHARGE - 1),
        ("multiplicity", multiplicity, 0, MAX_MULTIPLICITY),
    ):
        seen = model.trained_on(what)
        if seen and value not in seen:  # the embedding of any other is as it was drawn at the start of the training
            known = ", ".join(map(str, seen))
            raise InputError(f"the model {model.name} was not trained on {what} {value}, only on {known}")
        if not lowest <= value <= highest:
            raise InputError(f"a {what} must be from {lowest} to {highest}, not {value}: the network has no other")
    with MAKING:
        network = copy.deepcopy(model.network).requires_grad_(False).eval()
        network.in_precision(options.precision)
        bound = BoundNetwork(network, numbers, charge, multiplicity, rounded=options.precision == "fp32")
        if options.compiled:
            compile_attention(network, options.differentiated)
            for part in (network.layers, network.radial, network.decomposer, network.atomic_energies):
                if part is not None:
                    use_onednn(part)
        run_plainly()
        assert options.offset is not None and options.forces is not None
        kind = (model.has_energy, options.forces, options.raw)
        if seeds is not None:
            return script(ReplicaForces(bound, seeds, options.orientations, options.offset, *kind))
        return script(ForceModule(bound, options.orientations, options.offset, options.seed, *kind, options.cycle))


def forces(module: torch.jit.ScriptModule, positions: NDArray[np.float64]) -> tuple[float | None, NDArray[np.float64]]:
    """Energy and forces in ASE's units.

    Parameters
    ----------
    module
        From `bind`.
    positions
        (n, 3) in Å.

    Returns
    -------
    tuple
        Energy in eV (None for a model without an energy head) and forces (n, 3) in eV/Å.
    """
    given = torch.as_tensor(
        np.asarray(positions, dtype=np.float64) * NM_PER_ANGSTROM, device=next(module.buffers()).device
    )
    with interrupts():
        energy, per_nm = module(given)
    in_ev = float(energy) / KJ_PER_MOL_PER_EV if module.has_energy else None
    return in_ev, per_nm.cpu().numpy() / KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM
