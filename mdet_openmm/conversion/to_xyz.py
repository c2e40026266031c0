"""A data set as extended XYZ, for programs that read no other."""

from pathlib import Path

import numpy as np

from mdet_openmm.data.store import Store
from mdet_openmm.files import unfinished

AT_ONCE = 1000
"""Frames that are in memory."""


def write_xyz(data: Path, path: Path) -> int:
    """Write all frames in their order, with energy, forces, dipole, charge, multiplicity, molecule and split.

    Returns
    -------
    int
        Frames written.

    Raises
    ------
    InputError
        If the file is no data set.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io.extxyz import write_extxyz

    with Store(data) as store, unfinished(path) as made, made.open("w", encoding="utf-8") as file:
        for start in range(0, len(store), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(store)))
            # a load is of one size, the file keeps the order
            atoms: dict[int, Atoms] = {}
            for n in np.unique(store.sizes[rows]):
                mine = rows[store.sizes[rows] == n]
                frames = store.load(mine)
                for k, row in enumerate(mine):
                    molecule = store.molecules[frames.molecule[k]]
                    one = Atoms(numbers=frames.atomic_numbers[k], positions=frames.positions[k])
                    known = {"energy": frames.energy[k], "forces": frames.forces[k]}
                    if np.isfinite(frames.dipole[k]).all():
                        known["dipole"] = frames.dipole[k]
                    one.calc = SinglePointCalculator(one, **known)
                    one.info = {
                        "charge": molecule.charge,
                        "multiplicity": molecule.multiplicity,
                        "name": molecule.name,
                        "split": store.split_names[store.splits[row]],
                    }
                    if molecule.smiles:
                        one.info["smiles"] = molecule.smiles
                    if np.isfinite(store.temperatures[row]):
                        one.info["temperature"] = float(store.temperatures[row])
                    atoms[int(row)] = one
            write_extxyz(file, [atoms[int(row)] for row in rows])
        return len(store)
