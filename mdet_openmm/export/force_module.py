"""One molecule's force as a TorchScript module: positions in nm to energy and forces in OpenMM's units.

Per call: positions -> fp64, centred, bohr -> frames (a rotation group times an offset) -> the network on all frames as
one batch -> rotated back and averaged in fp64 -> net force and torque removed -> kJ/mol/nm.
"""

import copy
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mdet_openmm import __version__
from mdet_openmm.errors import InputError
from mdet_openmm.export.bound_network import BoundNetwork
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.rotations import hashed_rotation, random_rotation, rotation_group
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
    from mdet_openmm.molecules.molecule import Molecule

PRECISIONS: Final = ("double", "mixed")
FRAMES: Final = (1, 12, 24, 60)
OFFSETS: Final = ("none", "random", "hashed")


class ForceModule(nn.Module):
    """What OpenMM calls: positions in nm to (energy, forces) in kJ/mol and kJ/mol/nm.

    It keeps no state: a random offset comes from torch's generator, a hashed one from the positions.

    Parameters
    ----------
    network
        Any scriptable module: (f, n, 3) float64 positions in bohr -> (f,) energies in Ha, (f, n, 3) forces in
        Ha/bohr. It need not be invariant to translations, for it always sees positions about their centroid.
    frames
        1, 12, 24 or 60: structures per call, one for each element of a rotation group.
    offset
        "none"; "random": all frames are turned by a fresh uniform rotation at each call (seed it with
        ``torch.manual_seed``); "hashed": by a rotation that is a function of the positions and the seed. With "none"
        and one frame, the network is called as it is.
    seed
        For the hashed offset.
    has_energy
        False: the energy is 0.
    """

    rotations: Tensor

    def __init__(
        self, network: nn.Module, frames: int = 1, offset: str = "none", seed: int = 0, has_energy: bool = False
    ) -> None:
        super().__init__()
        if offset not in OFFSETS:
            raise ValueError(f"offset must be one of {', '.join(OFFSETS)}, not {offset!r}")
        self.network = network
        self.register_buffer("rotations", rotation_group(frames))
        self.frames = frames
        self.offset = offset
        self.seed = seed
        self.has_energy = has_energy
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
        # TorchForce passes positions that require gradients: without this a graph is built at every step.
        with torch.no_grad():
            given = positions.detach().to(torch.float64)
            r = (given - given.mean(dim=0, keepdim=True)) * self.bohr_per_nm
            if self.offset == "none":
                turns = self.rotations
            elif self.offset == "random":
                turns = self.rotations @ random_rotation(given)
            else:
                turns = self.rotations @ hashed_rotation(given, self.seed)
            if self.frames == 1 and self.offset == "none":
                energies, forces = self.network(r.unsqueeze(0))
                forces = forces.to(torch.float64)
            else:
                energies, forces = self.network(r.unsqueeze(0) @ turns)
                forces = forces.to(torch.float64) @ turns.transpose(1, 2)
            # The removal is linear and does not depend on the frame, so that once after the average does it.
            mean = remove_net_force_and_torque(r.unsqueeze(0), forces.mean(dim=0, keepdim=True))[0]
            if self.has_energy:
                energy = energies.to(torch.float64).mean() * self.energy_unit
            else:
                energy = torch.zeros([], dtype=torch.float64, device=positions.device)
            # OpenMM reads the memory as it lies: a transposed or a differently typed tensor would be wrong physics.
            energy = energy.to(positions.dtype)
            mean = (mean * self.force_unit).to(positions.dtype).contiguous()
        return energy, mean


def bind(
    model: "Model",
    atomic_numbers: ArrayLike,
    charge: int,
    multiplicity: int,
    *,
    precision: str = "double",
    frames: int = 1,
    offset: str = "none",
    seed: int = 0,
) -> torch.jit.ScriptModule:
    """Make the force of one molecule from a model.

    The module is scripted and in eval mode, but not frozen: freezing turns weights into constants that stay on the
    device where they are, and OpenMM moves the module to its own device before it freezes it itself.

    Parameters
    ----------
    model
        From `load_model`; it is not changed.
    atomic_numbers
        (n,) elements in the order of the atoms of the System.
    charge
        Total charge, e.
    multiplicity
        2S + 1.
    precision
        "double": everything in fp64. "mixed": the trunk of the network in fp32; positions, geometry, rotations and
        the accumulation of forces stay in fp64.
    frames, offset, seed
        See `ForceModule`.

    Returns
    -------
    torch.jit.ScriptModule
        Positions (n, 3) in nm -> (energy in kJ/mol, forces (n, 3) in kJ/mol/nm).

    Raises
    ------
    InputError
        For an option, or an element, charge or multiplicity that the model does not know.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if frames not in FRAMES:
        raise InputError(f"frames must be one of {', '.join(map(str, FRAMES))}, not {frames!r}")
    if offset not in OFFSETS:
        raise InputError(f"offset must be one of {', '.join(OFFSETS)}, not {offset!r}")
    if not -(2**63) <= seed < 2**63:
        raise InputError(f"the seed must fit 64 bits, not {seed}")
    numbers = torch.as_tensor(np.asarray(atomic_numbers, dtype=np.int64).copy())
    unknown = sorted(set(numbers.tolist()) - set(model.elements))
    if numbers.dim() != 1 or len(numbers) == 0:
        raise InputError("atomic numbers must be a list with one number per atom")
    if unknown:
        raise InputError(f"the model {model.name} was not trained on elements {unknown}; it knows {model.elements}")
    for what, value in (("charge", charge), ("multiplicity", multiplicity)):
        seen = model.trained_on(what)
        if seen and value not in seen:  # the embedding of any other is as it was drawn at the start of the training
            known = ", ".join(map(str, seen))
            raise InputError(f"the model {model.name} was not trained on {what} {value}, only on {known}")
    network = copy.deepcopy(model.network).requires_grad_(False).eval()
    network.to(torch.float64 if precision == "double" else torch.float32)
    bound = BoundNetwork(network, numbers, charge, multiplicity)
    return torch.jit.script(ForceModule(bound, frames, offset, seed, model.has_energy).eval())


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
    energy, per_nm = module(given)
    in_ev = float(energy) / KJ_PER_MOL_PER_EV if module.has_energy else None
    return in_ev, per_nm.cpu().numpy() / KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM


def export(
    model: "Model",
    molecule: "Molecule",
    path: Path,
    *,
    precision: str = "double",
    frames: int = 1,
    offset: str = "hashed",
    seed: int = 0,
) -> Path:
    """Write the force of one molecule as a TorchScript file that TorchForce (Python or C++) reads.

    Its extra file ``metadata.json`` says what it is: units, atoms, model and its hash, and all options.

    Parameters
    ----------
    model, precision, frames, offset, seed
        See `bind`.
    molecule
        Elements, charge and multiplicity; its positions are not used.
    path
        The file to write.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    InputError
        If the file exists, or its folder does not.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists; remove it or choose another name")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; make it first")
    module = bind(
        model,
        molecule.atomic_numbers,
        molecule.charge,
        molecule.multiplicity,
        precision=precision,
        frames=frames,
        offset=offset,
        seed=seed,
    )
    metadata = {
        "format": "mdet-openmm bound force",
        "package_version": __version__,
        "torch_version": str(torch.__version__),
        "forward": "positions (n, 3) nm -> (energy kJ/mol, forces (n, 3) kJ/mol/nm); call setOutputsForces(True)",
        "model": model.name,
        "model_sha256": model.sha256,
        "has_energy": model.has_energy,
        "molecule": molecule.name,
        "atomic_numbers": [int(z) for z in molecule.atomic_numbers],
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "precision": precision,
        "frames": frames,
        "offset": offset,
        "seed": seed,
    }
    unfinished = path.with_name(path.name + ".partial")
    try:
        module.save(str(unfinished), _extra_files={"metadata.json": json.dumps(metadata, indent=1)})
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return path
