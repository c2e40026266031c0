"""Batches of molecules of one size, each a function of the seed and the step alone."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mdet_openmm.cores import available_cores
from mdet_openmm.data.store import Store
from mdet_openmm.units import BOHR_PER_ANGSTROM, EV_PER_ANGSTROM_PER_ATOMIC_FORCE, EV_PER_HARTREE

LARGEST_IN_MEMORY = 4 * 2**30
"""Bytes of training data, as tensors, up to which they are read once and held."""
MOST_LOADERS = 4
"""Processes that make batches for one GPU."""


class Batch(NamedTuple):
    """Molecules of equal size, in atomic units.

    Attributes
    ----------
    atomic_numbers
        (b, n) int64.
    positions
        (b, n, 3) float64, bohr, centred on the centroid.
    forces
        (b, n, 3) float64, Ha/bohr.
    energy
        (b,) float64, Ha.
    charge, multiplicity
        (b,) int64.
    turns
        (b, 3, 3) float64: what positions, forces and dipoles, as rows, were multiplied by since they were read.
    dipole
        (b, 3) float64, e bohr, about the centroid; NaN where unknown.
    """

    atomic_numbers: Tensor
    positions: Tensor
    forces: Tensor
    energy: Tensor
    charge: Tensor
    multiplicity: Tensor
    turns: Tensor
    dipole: Tensor


def load_batch(store: Store, indices: NDArray[np.int64]) -> Batch:
    """Read frames of one size from the store and convert them to atomic units."""
    frames = store.load(indices)
    positions = torch.from_numpy(np.asarray(frames.positions, dtype=np.float64)) * BOHR_PER_ANGSTROM
    centroid = positions.mean(dim=1, keepdim=True)
    charge = torch.from_numpy(np.asarray(frames.charge, dtype=np.int64))
    # The dipole of a charged molecule depends on the origin, which moves to the centroid with the positions.
    dipole = torch.from_numpy(frames.dipole) * BOHR_PER_ANGSTROM - charge.double().unsqueeze(1) * centroid[:, 0]
    return Batch(
        torch.from_numpy(np.asarray(frames.atomic_numbers, dtype=np.int64)),
        positions - centroid,
        torch.from_numpy(np.asarray(frames.forces, dtype=np.float64)) / EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
        torch.from_numpy(np.asarray(frames.energy, dtype=np.float64)) / EV_PER_HARTREE,
        charge,
        torch.from_numpy(np.asarray(frames.multiplicity, dtype=np.int64)),
        torch.eye(3, dtype=torch.float64).expand(len(positions), 3, 3),
        dipole,
    )


def random_orthogonal(count: int, generator: torch.Generator) -> Tensor:
    """Random rotations, each made a reflection with probability 1/2: (count, 3, 3) float64.

    QR of a Gaussian matrix with the signs of R's diagonal is uniform over O(3) (Mezzadri, math-ph/0609050).
    """
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, dtype=torch.float64, generator=generator))
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def augmented(batch: Batch, copies: int, generator: torch.Generator) -> Batch:
    """Repeat the batch, each copy of each molecule in its own random orientation or mirror image."""
    z, x, f, energy, charge, multiplicity, turns, dipole = (t.repeat(copies, *[1] * (t.dim() - 1)) for t in batch)
    q = random_orthogonal(len(x), generator).transpose(1, 2)
    return Batch(z, x @ q, f @ q, energy, charge, multiplicity, turns @ q, (dipole.unsqueeze(1) @ q).squeeze(1))


def thinned(store: Store, frames: NDArray[np.int64], force: float, seed: int) -> NDArray[np.int64]:
    """Frames of one size without some of the strained ones, a function of the seed.

    A structure whose RMS force is ``force`` eV/Å is kept, one of twice as much with a probability of a quarter: the
    square of the ratio. With 0 all are kept.
    """
    if not force:
        return frames
    parts = np.array_split(frames, -(-len(frames) // 4096))
    strain = np.concatenate([np.square(store.load(part).forces).sum(axis=2).mean(axis=1) for part in parts]) / force**2
    chance = np.random.default_rng([seed, 2, int(store.sizes[frames[0]])]).random(len(frames))
    return frames[chance * strain < 1.0]


class TrainingBatches(IterableDataset[Batch]):
    """The endless sequence of training batches, which can be entered at any step.

    Frames of each size are shuffled once per pass over that size, and sizes are drawn so that every frame is seen
    equally often; with ``size_power``, one of n atoms in proportion to n to the power of -``size_power``. Batch k
    depends on the seed, k, the rank and nothing else, which is what makes a resumed run exact.
    With ``thin_force`` some strained ones are never seen, see `thinned`. With ``batch_pairs``, batches of molecules of
    more than sqrt(batch_pairs / batch_size) atoms are smaller, so that none takes much longer than another.
    """

    def __init__(
        self,
        store: Store,
        *,
        batch_size: int,
        copies: int,
        seed: int,
        first_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        n_batches: int,
        batch_pairs: int = 0,
        thin_force: float = 0.0,
        size_power: float = 0.0,
    ) -> None:
        self.store = store
        self.copies = copies
        self.seed = seed
        self.first_batch = first_batch
        self.rank = rank
        self.world_size = world_size
        groups = {n: thinned(store, np.sort(frames), thin_force, seed) for n, frames in store.by_size("train").items()}
        self.sizes = sorted(n for n, frames in groups.items() if len(frames))
        self.groups = [groups[n] for n in self.sizes]
        most = [min(batch_size, max(1, batch_pairs // n**2)) if batch_pairs else batch_size for n in self.sizes]
        self.batch_sizes = [min(m, len(g)) for m, g in zip(most, self.groups, strict=True)]
        weights = np.array([len(g) / m / n**size_power for n, m, g in zip(self.sizes, most, self.groups, strict=True)])
        # which size each batch takes, and how many batches of that size came before it
        self.plan = np.random.default_rng([seed, 0]).choice(len(self.sizes), size=n_batches, p=weights / weights.sum())
        self.before = np.zeros(n_batches, dtype=np.int64)
        for group in range(len(self.sizes)):
            here = self.plan == group
            self.before[here] = np.arange(here.sum())
        self._permutations: dict[int, tuple[int, NDArray[np.int64]]] = {}
        # Random reads cost more than the arithmetic on them, so what fits is held in memory.
        bytes_per_atom = 8 * (1 + 3 + 3)
        total = sum(n * len(g) for n, g in zip(self.sizes, self.groups, strict=True)) * bytes_per_atom
        self._held: list[Batch] | None = None
        if total <= LARGEST_IN_MEMORY:
            self._held = [load_batch(store, g) for g in self.groups]

    def indices(self, number: int) -> NDArray[np.int64]:
        """Which frames this rank takes in a batch, as positions within their size group."""
        group = int(self.plan[number])
        frames, count = self.groups[group], self.batch_sizes[group]
        start = (int(self.before[number]) * self.world_size + self.rank) * count
        positions = np.arange(start, start + count)
        return np.array([self._permutation(group, int(p) // len(frames))[int(p) % len(frames)] for p in positions])

    def _permutation(self, group: int, epoch: int) -> NDArray[np.int64]:
        known = self._permutations.get(group)
        if known is None or known[0] != epoch:
            order = np.random.default_rng([self.seed, 1, group, epoch]).permutation(len(self.groups[group]))
            known = (epoch, order)
            self._permutations[group] = known
        return known[1]

    def batch(self, number: int) -> Batch:
        """One batch, augmented."""
        generator = torch.Generator().manual_seed(hash((self.seed, number, self.rank)) & 0x7FFFFFFFFFFFFFFF)
        group, chosen = int(self.plan[number]), self.indices(number)
        if self._held is not None:
            batch = Batch(*(t[torch.from_numpy(chosen)] for t in self._held[group]))
        else:
            batch = load_batch(self.store, self.groups[group][chosen])
        return augmented(batch, self.copies, generator)

    def __iter__(self) -> Iterator[Batch]:
        """From the first batch on; several processes of a loader take turns."""
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(self.first_batch + first, len(self.plan), step):
            yield self.batch(number)

    def loader(self, side_by_side: bool) -> DataLoader[Batch]:
        """The batches in their order; ``side_by_side``: made by other processes, so that a GPU waits for none."""
        workers = min(MOST_LOADERS, available_cores() - 1) if side_by_side else 0
        if not workers:
            return DataLoader(self, batch_size=None)
        return DataLoader(
            self, batch_size=None, num_workers=workers, prefetch_factor=4, pin_memory=torch.cuda.is_available()
        )
