"""A model behind TorchSim's interface: batches of free molecules, one call of the network for all that are alike.

TorchSim (``pip install 'mdet-openmm[torchsim]'``) runs many systems at once with integrators and optimisers of its own,
in torch. Units are its own: Å and eV.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.units import BOHR_PER_NM, KJ_PER_MOL_PER_EV, KJ_PER_MOL_PER_HARTREE, NM_PER_ANGSTROM

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as error:
    raise InputError(f"torch-sim-atomistic is not usable ({error}); run: pip install 'mdet-openmm[torchsim]'") from None

EV_PER_HARTREE = KJ_PER_MOL_PER_HARTREE / KJ_PER_MOL_PER_EV
EV_PER_ANGSTROM = EV_PER_HARTREE * BOHR_PER_NM * NM_PER_ANGSTROM
"""An atomic unit of force."""


class MDETModel(ModelInterface):
    """A model for ``torch_sim.integrate``, ``optimize`` and ``static``.

    Direct forces come straight from the network and are the gradient of no energy. A model without an energy gives NaN
    for it, not a zero that an optimiser would take for a converged one: let ``optimize`` go by forces,
    ``torch_sim.generate_force_convergence_fn(force_tol=0.05, include_cell_forces=False)``. There is no stress.

    Parameters
    ----------
    model
        A model, its folder, or the name of a shipped one.
    charge, multiplicity
        Of every molecule, for a state of TorchSim has neither; molecules of another charge need a model of their own.
    device
        None: CUDA where there is one.
    dtype
        Of the state and of what comes back; the network computes as `precision` says. In fp32 positions are rounded
        before the network sees them.
    options
        Fields of `mdet_openmm.export.options.ForceOptions`: precision, orientations, offset, seed, forces.

    Raises
    ------
    InputError
        For a model or an option that cannot work, and at a call for a periodic state, or for molecules that the model
        does not know.
    """

    def __init__(
        self,
        model: str | Model,
        *,
        charge: int = 0,
        multiplicity: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float64,
        **options: Any,
    ) -> None:
        super().__init__()
        self.model = model if isinstance(model, Model) else load_model(model)
        self.options = ForceOptions(**options).resolved(self.model)
        self.charge, self.multiplicity = charge, multiplicity
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = dtype
        self._compute_stress, self._compute_forces = False, True
        self._memory_scales_with = "n_atoms"
        self._bound: dict[bytes, torch.jit.ScriptModule] = {}

    def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Energies (s,) in eV, NaN without an energy, and forces (N, 3) in eV/Å of the s systems of a state.

        Parameters
        ----------
        state
            ``torch_sim.SimState``, or a dict with the same entries. It is not changed.
        """
        given = state if isinstance(state, dict) else vars(state)
        positions, numbers, system = given["positions"], given["atomic_numbers"], given.get("system_idx")
        if bool(torch.as_tensor(given.get("pbc", False)).any()):
            raise InputError("the model describes free molecules: make the state of atoms with pbc = False")
        if system is None:
            system = torch.zeros(len(positions), dtype=torch.int64, device=positions.device)
        counts = torch.bincount(system).tolist()
        species = [np.asarray(part.cpu(), dtype=np.int64) for part in torch.split(numbers, counts)]
        atoms = torch.split(torch.arange(len(positions), device=positions.device), counts)
        alike: dict[bytes, list[int]] = {}
        for k, elements in enumerate(species):
            alike.setdefault(elements.tobytes(), []).append(k)
        energies = torch.full((len(counts),), torch.nan, dtype=self._dtype, device=positions.device)
        forces = torch.empty((len(positions), 3), dtype=self._dtype, device=positions.device)
        for key, members in alike.items():
            rows = torch.cat([atoms[k] for k in members])
            x = positions.detach()[rows].to(self._device, torch.float64) * NM_PER_ANGSTROM
            energy, force = self._module(key, species[members[0]], len(members)).each(x)
            if self.model.has_energy:
                energies[members] = (EV_PER_HARTREE * energy).to(energies)
            forces[rows] = (EV_PER_ANGSTROM * force).reshape(-1, 3).to(forces)
        return {"energy": energies, "forces": forces}

    def _module(self, key: bytes, numbers: Any, copies: int) -> torch.jit.ScriptModule:
        on_gpu = torch.cuda.mem_get_info()[0] if self._device.type == "cuda" else None
        if key not in self._bound:
            check_memory(self.model, len(numbers), self.options, on_gpu, copies)
            molecule = Species(numbers, self.charge, self.multiplicity)
            # one seed: of any number of copies, each of which hashes its rotation from its own positions
            module = bind(self.model, molecule, self.options, [self.options.seed])
            self._bound[key] = module.to(self._device)
        return self._bound[key]
