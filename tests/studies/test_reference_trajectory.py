"""References in every format are the same trajectory."""

from pathlib import Path

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.studies.reference_trajectory import read_trajectory

NUMBERS = np.array([8, 1, 1])
POSITIONS = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]) + 0.05 * (
    np.random.default_rng(0).standard_normal((7, 3, 3))
)


def write_xyz(path: Path, numbers: np.ndarray = NUMBERS, positions: np.ndarray = POSITIONS) -> None:
    import ase
    import ase.io

    ase.io.write(path, [ase.Atoms(numbers=numbers, positions=p) for p in positions], format="extxyz")


def write_dcd(path: Path) -> None:
    import mdtraj
    from openmm import app

    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    for name, symbol in (("O", "O"), ("H1", "H"), ("H2", "H")):
        topology.addAtom(name, app.Element.getBySymbol(symbol), residue)
    with path.with_name("topology.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, POSITIONS[0] * 0.1, file)
    mdtraj.Trajectory(POSITIONS * 0.1, mdtraj.Topology.from_openmm(topology)).save_dcd(str(path))


@pytest.mark.parametrize("kind", ["water.xyz", "water.extxyz", "md17.npz", "rmd17.npz", "ours.npz", "run.dcd"])
def test_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if path.suffix == ".npz":
        names = {"md17": ("z", "R"), "rmd17": ("nuclear_charges", "coords"), "ours": ("atomic_numbers", "positions")}
        z, r = names[path.stem]
        np.savez(path, **{z: NUMBERS.astype(np.uint8), r: POSITIONS})
    elif path.suffix == ".dcd":
        write_dcd(path)
    else:
        write_xyz(path)
    found = read_trajectory(path)
    assert found.name == path.stem
    assert found.atomic_numbers.tolist() == [8, 1, 1] and found.atomic_numbers.dtype == np.int64
    assert np.abs(found.positions - POSITIONS).max() < 1e-6


def test_bad_references(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_trajectory(tmp_path / "none.xyz")
    (tmp_path / "x.trr").write_text("")
    with pytest.raises(InputError, match="none of xyz"):
        read_trajectory(tmp_path / "x.trr")
    np.savez(tmp_path / "a.npz", R=POSITIONS)
    with pytest.raises(InputError, match="needs an array z"):
        read_trajectory(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", R=POSITIONS, z=[8, 1])
    with pytest.raises(InputError, match="for 2 atoms"):
        read_trajectory(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", R=np.where(np.arange(7)[:, None, None] == 3, np.nan, POSITIONS), z=NUMBERS)
    with pytest.raises(InputError, match="not finite"):
        read_trajectory(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_text("no archive")
    with pytest.raises(InputError, match="cannot read"):
        read_trajectory(tmp_path / "d.npz")
    write_dcd(tmp_path / "e.dcd")
    (tmp_path / "topology.pdb").unlink()
    with pytest.raises(InputError, match=r"e\.pdb or topology\.pdb"):
        read_trajectory(tmp_path / "e.dcd")
    (tmp_path / "f").mkdir()
    with pytest.raises(InputError, match="not a run folder"):
        read_trajectory(tmp_path / "f")
