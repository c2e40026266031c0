"""SO3LR as a teacher: PBE0+MBD as learnt by Kabylda et al. (J. Am. Chem. Soc. 2025, doi 10.1021/jacs.5c09558).

Structures of any sizes are computed together, which is four times as fast as one at a time. The weights are those of
the installed distribution ``So3krates-torch`` and no others: they are a pickled module, which is not loaded from
anywhere else, and their SHA-256 is checked.
"""

import functools
import hashlib
import importlib.metadata
import importlib.resources
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist  # type: ignore[import-untyped, unused-ignore]

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import Answer, Label, TeacherFailure
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Species

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
"""H, C, N, O, F, P, S, Cl: what it was trained on."""

WEIGHTS_SHA256 = "b5145564911ff983ed076ccb2bca5ce63454b74c9c8291092695463f1e6732be"

LARGEST_CALL = 640
"""Atoms in one call, or one structure: the rate per structure has levelled off there."""

LONG_RANGE_CUTOFF = 1000.0
"""Å; no cut-off for free molecules."""
DISPERSION_DAMPING = 2.0
"""Å, of the dispersion energy at the long-range cut-off; the package wants it named where that is finite."""
N_SPECIES = 118

NEAREST = 0.1
"""Å; of atoms on top of each other it gives numbers that are finite and mean nothing."""

Positions = NDArray[np.float64]


def check_species(name: str, species: Species) -> None:
    """Refuse what SO3LR does not know.

    Raises
    ------
    InputError
        Naming elements or an open shell.
    """
    from ase.data import chemical_symbols

    unknown = sorted(set(species.atomic_numbers.tolist()) - set(ELEMENTS))
    if unknown:
        raise InputError(
            f"{name}: SO3LR knows {', '.join(chemical_symbols[z] for z in ELEMENTS)}, and not "
            f"{', '.join(chemical_symbols[z] for z in unknown)}; leave the molecule out, or use teacher kind gfn2"
        )
    if species.multiplicity != 1:
        raise InputError(
            f"{name}: SO3LR knows closed shells only, and the multiplicity is {species.multiplicity}; leave the "
            "molecule out, or use teacher kind gfn2"
        )


def so3lr_version() -> str:
    """Version of the package and SHA-256 of its weights, for the provenance of a data set."""
    _weights()
    return f"So3krates-torch {importlib.metadata.version('So3krates-torch')}, weights sha256:{WEIGHTS_SHA256}"


def _weights() -> Any:
    """The file of weights of the installed distribution.

    Raises
    ------
    InputError
        If the package is missing, or its weights are not those that were checked.
    """
    try:
        file = importlib.resources.files("so3krates_torch.pretrained.so3lr").joinpath("so3lr.model")
        data = file.read_bytes()
    except (ImportError, OSError) as error:
        raise _missing(error) from None
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise InputError(
            f"the weights of SO3LR in {file} are not those of So3krates-torch 0.2.1 (SHA-256 {found}); install it "
            "anew: pip install --force-reinstall --no-deps So3krates-torch==0.2.1"
        )
    return file


def _missing(error: Exception) -> InputError:
    return InputError(
        f"the teacher so3lr needs So3krates-torch ({error}); install it with: pip install 'mdet-openmm[teachers]'"
    )


@functools.cache
def _model(device: str, double: bool) -> Any:
    try:
        with importlib.resources.as_file(_weights()) as path:
            model = torch.load(path, map_location=device, weights_only=False)
    except ImportError as error:  # of what the package needs
        raise _missing(error) from None
    model.r_max_lr = LONG_RANGE_CUTOFF
    model.dispersion_energy_cutoff_lr_damping = DISPERSION_DAMPING
    return (model.double() if double else model.float()).requires_grad_(False)


@functools.cache
def _ordered_pairs(n: int) -> NDArray[np.int64]:
    """(2, n (n - 1)) all ordered pairs of different atoms."""
    i, j = np.divmod(np.arange(n * n), n)
    return np.stack((i, j))[:, i != j]


def _graph(
    molecules: Sequence[Species], positions: Sequence[Positions], cutoff: float, device: str, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """What the model takes: the structures as one graph, with edges within the cut-off and between all atoms."""
    sizes = np.array([len(x) for x in positions])
    ends = np.cumsum(sizes)
    x = np.concatenate(positions)
    pairs = np.concatenate([_ordered_pairs(n) + (end - n) for n, end in zip(sizes, ends, strict=True)], axis=1)
    apart = x[pairs[1]] - x[pairs[0]]
    near = pairs[:, (apart**2).sum(axis=1) <= cutoff**2]
    numbers = torch.from_numpy(np.concatenate([s.atomic_numbers for s in molecules]))
    zeros = torch.zeros(len(molecules), dtype=dtype)
    graph = {
        "positions": torch.from_numpy(x).to(dtype),
        "atomic_numbers": numbers,
        "node_attrs": torch.nn.functional.one_hot(numbers - 1, N_SPECIES).to(dtype),
        "batch": torch.repeat_interleave(torch.arange(len(molecules)), torch.from_numpy(sizes)),
        "ptr": torch.from_numpy(np.concatenate(([0], ends))),
        "edge_index": torch.from_numpy(near),
        "edge_index_lr": torch.from_numpy(pairs),
        "total_charge": torch.tensor([float(s.charge) for s in molecules], dtype=dtype),
        "total_spin": zeros,
        "head": torch.zeros(len(molecules), dtype=torch.int64),
        "cell": torch.eye(3, dtype=dtype).repeat(len(molecules), 1),
    }
    for name, edges in (("", near), ("_lr", pairs)):
        for kind in ("shifts", "unit_shifts"):
            graph[kind + name] = torch.zeros(edges.shape[1], 3, dtype=dtype)
    return {key: value.to(device) for key, value in graph.items()}


def _calls(requests: Sequence[tuple[Species, Positions]], chosen: Sequence[int]) -> Iterator[list[int]]:
    """The requests cut into calls."""
    together: list[int] = []
    atoms = 0
    for k in chosen:
        n = len(requests[k][1])
        if together and atoms + n > LARGEST_CALL:
            yield together
            together, atoms = [], 0
        together.append(k)
        atoms += n
    if together:
        yield together


class So3lr:
    """SO3LR on batches of structures.

    Parameters
    ----------
    config
        Its device and precision. fp32 forces differ from those of fp64 by 2e-6 eV/Å in the mean.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self.device = config.device
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("teacher: device cuda, but PyTorch finds no CUDA device here; use device: cpu")
        self.double = config.precision == "fp64"
        self.model = _model(self.device, self.double)

    def __call__(self, requests: Sequence[tuple[Species, Positions]]) -> list[Answer]:
        """Energies (eV), forces (eV/Å) and dipoles (e·Å, about the origin) of (n, 3) positions in Å.

        A structure without an answer gets a `TeacherFailure`, and the others theirs.
        """
        found: dict[int, Answer] = {}
        usable = []
        for k, (_, x) in enumerate(requests):
            if not np.isfinite(x).all():
                found[k] = TeacherFailure("positions are not finite")
            elif len(x) > 1 and pdist(x, "sqeuclidean").min() < NEAREST**2:
                found[k] = TeacherFailure(f"two atoms are nearer than {NEAREST} Å")
            else:
                usable.append(k)
        for call in _calls(requests, usable):
            found |= zip(call, self._call([requests[k] for k in call]), strict=True)
        return [found[k] for k in range(len(requests))]

    def _call(self, requests: Sequence[tuple[Species, Positions]]) -> list[Answer]:
        molecules, positions = [s for s, _ in requests], [x for _, x in requests]
        dtype = torch.float64 if self.double else torch.float32
        graph = _graph(molecules, positions, float(self.model.r_max), self.device, dtype)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # the package makes tensors of the default type
        try:
            out = self.model(graph)
        finally:
            torch.set_default_dtype(before)
        energy, forces, dipole = (out[key].detach().double().cpu().numpy() for key in ("energy", "forces", "dipole"))
        answers: list[Answer] = []
        for k, f in enumerate(np.split(forces, np.cumsum([len(x) for x in positions])[:-1])):
            if np.isfinite(energy[k]) and np.isfinite(f).all():
                answers.append(Label(float(energy[k]), f, dipole[k]))
            else:
                answers.append(TeacherFailure("energy or forces are not finite"))
        return answers
