"""One reader for every trajectory: formats agree, and what is damaged, cut, of a box or in nm is refused."""

import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import mdtraj
import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.trajectories import read_trajectory

NUMBERS = np.array([8, 1, 1])
EQUILIBRIUM = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]])
POSITIONS = EQUILIBRIUM + 0.05 * np.random.default_rng(0).standard_normal((10, 3, 3))
WATER = Molecule(NUMBERS, EQUILIBRIUM, name="water")


def topology(symbols: str = "OHH") -> mdtraj.Topology:
    made = mdtraj.Topology()
    residue = made.add_residue("HOH", made.add_chain())
    for k, symbol in enumerate(symbols):
        made.add_atom(f"{symbol}{k}", mdtraj.element.get_by_symbol(symbol), residue)
    return made


def frames_of(positions: np.ndarray = POSITIONS, **more: np.ndarray) -> mdtraj.Trajectory:
    return mdtraj.Trajectory(0.1 * positions, topology(), **more)


def write(path: Path, positions: np.ndarray = POSITIONS, **info: object) -> Path:
    """A trajectory of water in any format, with topology.pdb beside it where the format does not tell elements."""
    kind = path.suffix
    if kind == ".npz":
        names = {"md17": ("z", "R"), "rmd17": ("nuclear_charges", "coords")}
        z, r = names.get(path.stem, ("atomic_numbers", "positions"))
        arrays: dict[str, Any] = {z: NUMBERS.astype(np.uint8), r: positions}
        np.savez(path, **arrays)
    elif kind in (".xyz", ".extxyz", ".traj"):
        images = [ase.Atoms(NUMBERS, x, info=dict(info)) for x in positions]
        ase.io.write(path, images, format="traj" if kind == ".traj" else "extxyz")
    elif kind == ".sdf":
        rows = [
            [f"{a:10.4f}{b:10.4f}{c:10.4f} {s}   0  0" for s, (a, b, c) in zip("OHH", x, strict=True)]
            for x in positions
        ]
        counts = "  3  2  0  0  0  0  0  0  0  0999 V2000"
        records = [["water", "", "", counts, *r, "  1  2  1  0", "  1  3  1  0", "M  END", "$$$$"] for r in rows]
        path.write_text("\n".join(line for record in records for line in record) + "\n")
    else:
        frames_of(positions).save(str(path))
        frames_of(positions[:1]).save_pdb(str(path.with_name("topology.pdb")))
    return path


TEXT = ("water.xyz", "water.extxyz", "water.traj", "water.pdb", "water.sdf")
KINDS = (*TEXT, "md17.npz", "rmd17.npz", "ours.npz", "run.dcd", "run.xtc", "run.trr", "run.nc", "run.gro")
DIGITS = {".xtc": 5e-3, ".gro": 5e-3, ".pdb": 5e-4, ".sdf": 5e-5}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_formats_are_the_same_trajectory(
    tmp_path: Path, kind: str, known: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / kind)
    capfd.readouterr()
    found = read_trajectory(path, WATER if known else None)
    assert found.name == path.stem
    assert found.atomic_numbers.tolist() == [8, 1, 1] and found.atomic_numbers.dtype == np.int64
    assert found.positions.dtype == np.float64 and found.positions.shape == (10, 3, 3)
    assert np.abs(found.positions - POSITIONS).max() < 1.001 * DIGITS.get(path.suffix, 1e-6)
    assert (found.first is not None) == (kind in TEXT)
    assert capfd.readouterr().out == ""  # where JSON is printed


def test_a_dcd_has_the_very_numbers_that_are_stored(tmp_path: Path) -> None:
    found = read_trajectory(write(tmp_path / "run.dcd"), WATER).positions
    with mdtraj.formats.DCDTrajectoryFile(str(tmp_path / "run.dcd")) as file:
        np.testing.assert_array_equal(found, file.read()[0].astype(np.float64))


def cut(part: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(part * len(data))]


def zeroed(data: bytes) -> bytes:
    """With the first 16 bytes of the fourth frame of ten lost."""
    start = len(data) - 10 * 60 + 3 * 60
    return data[:start] + bytes(16) + data[start + 16 :]


def listed(at: int, value: int) -> Callable[[bytes], bytes]:
    """With a byte of every entry of a zip file's table of contents changed."""

    def damage(data: bytes) -> bytes:
        first, *entries = data.split(b"PK\x01\x02")
        return b"PK\x01\x02".join([first, *(e[: at - 4] + bytes([value]) + e[at - 3 :] for e in entries)])

    return damage


DAMAGE = {
    "cut in the sixth frame.dcd": (lambda d: d[: len(d) - 4 * 60 - 20], "promises 10 frames, 5 are whole"),
    "too long.dcd": (lambda d: d + d[-60:], "promises 10 frames, 11 are whole"),
    "damaged in the fourth.dcd": (zeroed, "damaged in frame 4"),
    "empty.dcd": (lambda d: b"", "is empty"),
    "header.dcd": (cut(0.1), "not a DCD|within its header"),
    "fixed.dcd": (lambda d: d[:40] + struct.pack("<i", 2) + d[44:], "fixed atoms"),
    "no frames.dcd": (lambda d: d[:8] + bytes(4) + d[12 : len(d) - 600], "no frames"),
    "cut.xtc": (cut(0.55), "damaged after frame 5"),
    "cut.trr": (cut(0.55), "damaged after frame 5"),
    "no atoms.trr": (lambda d: d[:64] + bytes(4) + d[68:], "no header"),
    "a long vector.trr": (lambda d: d[:52] + struct.pack(">i", 2**30) + d[56:], "no header"),
    "frames of other sizes.trr": (lambda d: d + d[:64] + struct.pack(">i", 9) + d[68:], "damaged after frame 10"),
    "a name of another length.trr": (lambda d: d[:11] + b"\x80" + d[12:], "no header"),
    "cut.nc": (cut(0.9), "cannot read"),
    "cut.traj": (cut(0.5), "cannot read"),
    "cut.npz": (cut(0.5), "cannot read"),
    "of a later zip.npz": (listed(6, 99), "cannot read.*version"),
    "locked.npz": (listed(8, 1), "cannot read.*encrypted"),
    "compressed otherwise.npz": (listed(10, 99), "cannot read.*compression"),
    "cut.xyz": (lambda d: b"\n".join(d.split(b"\n")[: 5 * 5 + 4]), "frame 6: ends after 2 of 3 atoms"),
    "cut in the comment.xyz": (lambda d: b"\n".join(d.split(b"\n")[: 5 * 5 + 1]), "frame 6: ends after 0 of 3 atoms"),
    "a line too much.xyz": (lambda d: d + b"H 0 0 0\n", "line 51: frame 11 should begin here"),
    "not finite.xyz": (lambda d: d[: d.rindex(b"\nH ")] + b"\nH 0 nan 0\n", "frame 10, line 5.*not finite"),
    "cut.pdb": (lambda d: d[: d.rindex(b"ATOM")], "frames 10 and 1 have different atoms"),
    "cut.sdf": (lambda d: d[: d.rindex(b"  1  2  1")], "frame 10"),
    "nonsense.xyz": (lambda d: b"nonsense", "nonsense.xyz, line 1"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_its_place(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    damage, words = DAMAGE[name]
    path = write(tmp_path / name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=words) as error:
        read_trajectory(path, WATER)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert capfd.readouterr().out == ""


def test_white_space_of_other_kinds_around_a_count(tmp_path: Path) -> None:
    path = write(tmp_path / "water.xyz")
    path.write_bytes(path.read_bytes().replace(b"3\n", b"3\x1c\n", 1))
    assert len(read_trajectory(path, WATER).positions) == 10


@pytest.mark.parametrize("kind", ["run.dcd", "ours.npz", "run.nc"])
def test_numbers_that_are_none_are_refused_with_their_frame(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind, np.where(np.arange(10)[:, None, None] == 6, np.nan, POSITIONS))
    with pytest.raises(InputError, match="frame 7 has positions that are not finite"):
        read_trajectory(path)


@pytest.mark.parametrize("kind", ["water.xyz", "water.pdb", "ours.npz", "run.dcd", "run.xtc"])
def test_other_atoms_are_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind)
    turned = Molecule(NUMBERS[::-1].copy(), EQUILIBRIUM, name="backwards")
    with pytest.raises(InputError, match="other atoms, or another order of them, than backwards"):
        read_trajectory(path, turned)
    two = Molecule(NUMBERS[:2], EQUILIBRIUM[:2], name="hydroxyl")
    with pytest.raises(InputError, match=r"other atoms|shape \(10, 3, 3\) for 2 atoms|cannot read"):
        read_trajectory(path, two)


def test_elements_come_from_the_pdb_beside_or_from_the_molecule(tmp_path: Path) -> None:
    path = write(tmp_path / "run.dcd")
    shutil.copy(tmp_path / "topology.pdb", tmp_path / "run.pdb")
    (tmp_path / "topology.pdb").write_text("of something else")
    assert read_trajectory(path).atomic_numbers.tolist() == [8, 1, 1]
    (tmp_path / "run.pdb").unlink()
    assert read_trajectory(path, WATER).atomic_numbers.tolist() == [8, 1, 1]
    (tmp_path / "topology.pdb").unlink()
    with pytest.raises(InputError, match=r"run\.pdb or topology\.pdb"):
        read_trajectory(path)


def test_frames_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", charge=1, multiplicity=2)
    found = read_trajectory(tmp_path / "a.xyz")
    assert found.first is not None and (found.first.charge, found.first.multiplicity) == (1, 2)
    text = (tmp_path / "a.xyz").read_text()
    for name, other, words in (
        ("charge", text.replace("charge=1", "charge=0", 3).replace("charge=0", "charge=1", 2), "charge 1 and frame 3"),
        ("silent", text[: text.rindex("charge=1")] + text[text.rindex("charge=1") + 8 :], "charge 1 and frame 10"),
        ("atoms", text[: text.rindex("\nH ")] + "\nF " + text[text.rindex("\nH ") + 3 :], "frames 10 and 1"),
    ):
        (tmp_path / f"{name}.xyz").write_text(other)
        with pytest.raises(InputError, match=words):
            read_trajectory(tmp_path / f"{name}.xyz")


BOX = {"unitcell_lengths": np.full((10, 3), 2.0), "unitcell_angles": np.full((10, 3), 90.0)}


@pytest.mark.parametrize(
    "kind", ["run.dcd", "run.xtc", "run.trr", "run.nc", "run.gro", "water.xyz", "water.traj", "water.pdb"]
)
def test_periodic_boxes_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind.endswith((".xyz", ".traj")):
        images = [ase.Atoms(NUMBERS, x, cell=[20.0] * 3, pbc=True) for x in POSITIONS]
        ase.io.write(path, images, format="extxyz" if kind.endswith(".xyz") else "traj")
    else:
        frames_of(**BOX).save(str(path))
    with pytest.raises(InputError, match="periodic boxes are not supported"):
        read_trajectory(path, WATER)


@pytest.mark.parametrize(
    ("unit", "words"), [(1 / 0.529177, "no two atoms are near enough for a bond"), (0.1, "overlap")]
)
@pytest.mark.parametrize("kind", ["water.xyz", "run.dcd", "ours.npz"])
def test_other_units_than_angstrom_are_noticed(tmp_path: Path, kind: str, unit: float, words: str) -> None:
    with pytest.raises(InputError, match=rf"frame 1.*{words}.*in Å"):
        read_trajectory(write(tmp_path / kind, unit * POSITIONS), WATER)


def test_a_torn_frame_is_no_other_unit(tmp_path: Path) -> None:
    """Frames of runs that went wrong are there to be looked at."""
    torn = POSITIONS.copy()
    torn[0, 1:] += [[9.0, 0.0, 0.0], [-9.0, 0.0, 0.0]]
    torn[4] = 0.01 * np.arange(9).reshape(3, 3)
    assert read_trajectory(write(tmp_path / "torn.xyz", torn)).positions == pytest.approx(torn, abs=1e-7)


def test_what_is_no_trajectory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_trajectory(tmp_path / "none.xyz")
    (tmp_path / "x.mdcrd").write_text("")
    with pytest.raises(InputError, match="no trajectory that can be read here"):
        read_trajectory(tmp_path / "x.mdcrd")
    np.savez(tmp_path / "a.npz", R=POSITIONS)
    with pytest.raises(InputError, match="needs an array z"):
        read_trajectory(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", R=POSITIONS, z=[8, 1])
    with pytest.raises(InputError, match="for 2 atoms"):
        read_trajectory(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", R=POSITIONS, z=["O", "H", "H"])
    with pytest.raises(InputError, match="cannot read"):
        read_trajectory(tmp_path / "c.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("z", b"no array")
        archive.writestr("R", b"no array")
    with pytest.raises(InputError, match="needs an array"):
        read_trajectory(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", R=POSITIONS[:0], z=NUMBERS)
    with pytest.raises(InputError, match="no frames"):
        read_trajectory(tmp_path / "d.npz")
