"""What is evaluated, all in one form: a model, an ASE calculator or a teacher that answers for frames of one size."""

import copy
import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import TeacherFailure
from mdet_openmm.data.store import LabelledFrames
from mdet_openmm.data.teacher import make_batch_teacher, teacher_version
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.export.compiled_attention import compile_attention
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.measure.field import PAIRS_AT_ONCE
from mdet_openmm.measure.turned import rotated, rotated_gradients
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.units import BOHR_PER_ANGSTROM, EV_PER_ANGSTROM_PER_ATOMIC_FORCE, EV_PER_HARTREE

Array = NDArray[np.float64]

_STEP: Final = 5e-3
"""Å of the central differences of a calculator's forces."""


class Answers(NamedTuple):
    """What a method says of b frames; NaN where it has no answer."""

    forces: Array
    """(b, n, 3) eV/Å."""
    energy: Array
    """(b,) eV."""
    failure: str
    """The first reason for which there is none, '' if there is an answer for all."""


class Method(Protocol):
    """A model, a calculator or a teacher."""

    def answers(self, frames: LabelledFrames, turns: Array) -> Answers:
        """Forces and energies of frames that are turned by (b, 3, 3), rows x R; the forces are turned back."""

    def jacobian(self, frames: LabelledFrames) -> Array:
        """The force's derivatives (3n, 3n) in eV/Å² of the first frame."""


@dataclass(frozen=True)
class MethodName:
    """Which method, in a form that can be sent to a worker.

    Attributes
    ----------
    kind
        "model", or that of a teacher.
    name
        Of the model, or what calculator or teacher it is.
    arguments
        Of an ASE calculator, as JSON.
    """

    kind: str
    name: str
    arguments: str = "{}"

    @property
    def teacher(self) -> TeacherConfig:
        """As a teacher."""
        if self.kind == "ase":
            arguments = json.loads(self.arguments)
            return TeacherConfig(kind="ase", ase=self.name, arguments=arguments, info=not arguments)
        return TeacherConfig(kind=self.kind)

    def facts(self) -> dict[str, Any]:
        """What it is, for the report; raises an InputError if it cannot be had."""
        if self.kind == "model":
            model = load_model(self.name)
            return {"name": model.name, "kind": "model", "sha256": model.sha256}
        name, version = teacher_version(self.teacher)
        return {"name": name, "kind": "calculator" if self.kind == "ase" else "teacher", "version": version}

    def made(self, settings: EvaluateSettings) -> Method:
        """The method itself."""
        return ModelMethod(self.name, settings) if self.kind == "model" else TeacherMethod(self.teacher)


class ModelMethod:
    """A model of this package.

    Direct forces have their net force and torque removed, as in a run, and conservative ones their net force.
    """

    def __init__(self, name: str, settings: EvaluateSettings) -> None:
        model = load_model(name)
        options = ForceOptions(precision=settings.precision, forces=settings.forces, offset="none").resolved(model)
        self.elements = set(model.elements)
        self.conservative = options.conservative
        self.has_energy = model.has_energy
        self.device = torch.device(settings.device)
        self.exact = copy.deepcopy(model.network).to(self.device, torch.float64).eval()
        self.network = copy.deepcopy(model.network).requires_grad_(False).eval().in_precision(options.precision)
        compile_attention(self.network, self.conservative)
        self.network.to(self.device)
        self.group = rotation_group(settings.orientations).to(self.device)

    def answers(self, frames: LabelledFrames, turns: Array) -> Answers:
        """See `Method`."""
        b, n = frames.atomic_numbers.shape
        forces, energy = np.full((b, n, 3), np.nan), np.full(b, np.nan)
        known = np.asarray(np.isin(frames.atomic_numbers, list(self.elements)).all(axis=1))
        size = max(1, PAIRS_AT_ONCE // (n * n * len(self.group)))
        for start in range(0, b, size):
            rows = np.arange(start, min(start + size, b))
            rows = rows[known[rows]]
            if len(rows):
                turned = torch.from_numpy(turns[rows]).to(self.device)
                forces[rows], energy[rows] = self._of(frames, rows, turned)
        if not self.has_energy:
            energy[:] = np.nan
        return Answers(forces, energy, "" if known.all() else "elements that it was not trained on")

    def _of(self, frames: LabelledFrames, rows: NDArray[np.int64], turns: Tensor) -> tuple[Array, Array]:
        structures = _structures(frames, rows, self.device)
        rotations = torch.einsum("kij,bjl->kbil", self.group, turns)
        answer = rotated_gradients if self.conservative else rotated
        with torch.no_grad():
            energies, forces = answer(self.network, structures, rotations)
            mean, x = forces.mean(dim=0), structures.positions
            mean = mean - mean.mean(dim=1, keepdim=True) if self.conservative else remove_net_force_and_torque(x, mean)
            energy = energies.mean(dim=0) + self.network.reference_energy(structures.atomic_numbers).double()
        return mean.cpu().numpy() * EV_PER_ANGSTROM_PER_ATOMIC_FORCE, energy.cpu().numpy() * EV_PER_HARTREE

    def jacobian(self, frames: LabelledFrames) -> Array:
        """See `Method`; by automatic differentiation in fp64, in the orientation of the data."""
        numbers, x, charge, multiplicity = _structures(frames, np.arange(1), self.device)
        x.requires_grad_(True)
        energy, forces = self.exact(numbers, x, charge, multiplicity)
        if self.conservative:
            forces = minus_gradient(energy, x, create_graph=True)
        rows = [torch.autograd.grad(f, x, retain_graph=True)[0].reshape(-1) for f in forces.reshape(-1)]
        return torch.stack(rows).cpu().numpy() * EV_PER_ANGSTROM_PER_ATOMIC_FORCE * BOHR_PER_ANGSTROM


class _Structures(NamedTuple):
    """See `mdet_openmm.measure.turned.Structures`."""

    atomic_numbers: Tensor
    positions: Tensor
    charge: Tensor
    multiplicity: Tensor


def _structures(frames: LabelledFrames, rows: NDArray[np.int64], device: torch.device) -> _Structures:
    x = torch.from_numpy(frames.positions[rows]).to(device) * BOHR_PER_ANGSTROM
    numbers, charge, multiplicity = (
        torch.from_numpy(each[rows]).to(device) for each in (frames.atomic_numbers, frames.charge, frames.multiplicity)
    )
    return _Structures(numbers, x - x.mean(dim=1, keepdim=True), charge, multiplicity)


class TeacherMethod:
    """A teacher, or any ASE calculator."""

    def __init__(self, config: TeacherConfig) -> None:
        self.config = config
        self.compute = make_batch_teacher(config)

    def answers(self, frames: LabelledFrames, turns: Array) -> Answers:
        """See `Method`."""
        b, n = frames.atomic_numbers.shape
        forces, energy, failure = np.full((b, n, 3), np.nan), np.full(b, np.nan), ""
        asked = []
        for k in range(b):
            species = Species(frames.atomic_numbers[k], int(frames.charge[k]), int(frames.multiplicity[k]))
            asked.append((species, frames.positions[k] @ turns[k]))
        for k, answer in enumerate(self.compute(asked)):
            if isinstance(answer, TeacherFailure):
                failure = failure or str(answer)
            else:
                forces[k], energy[k] = answer.forces @ turns[k].T, answer.energy
        return Answers(forces, energy, failure)

    def jacobian(self, frames: LabelledFrames) -> Array:
        """See `Method`; by central differences."""
        n = frames.atomic_numbers.shape[1]
        moved = np.repeat(frames.positions[:1], 6 * n, axis=0)
        for k in range(3 * n):
            moved[2 * k : 2 * k + 2, k // 3, k % 3] += (_STEP, -_STEP)
        many = frames.taken(np.zeros(6 * n))._replace(positions=moved)
        forces = self.answers(many, np.broadcast_to(np.eye(3), (6 * n, 3, 3))).forces.reshape(3 * n, 2, 3 * n)
        return (forces[:, 0] - forces[:, 1]).T / (2.0 * _STEP)
