"""Compact data sets: what the rounding does to a number, that nothing else changes, and what a frame takes."""

import h5py
import numpy as np
import pytest

from mdet_openmm.data.dynamics import GRID, as_stored
from mdet_openmm.data.layout import FAILURES, SPLITS, FrameBlock, MoleculeRow, _few_bits, write_dataset
from mdet_openmm.data.store import Store

MOLECULES = [
    MoleculeRow("small", "", "smiles", 0, 1, "train", 7),
    MoleculeRow("large", "", "smiles", 0, 1, "train", 20),
]


def blocks(count: int = 14, frames: int = 400) -> list[FrameBlock]:
    """Frames as large and as noisy as those of molecules; more rows than are compressed together."""
    rng = np.random.default_rng(4)
    made = []
    for task in range(count):
        molecule = task % 2
        n = MOLECULES[molecule].n_atoms
        positions = np.array([as_stored(x, compact=True) for x in rng.normal(scale=1.5, size=(frames, n, 3))])
        made.append(
            FrameBlock(
                molecule=molecule,
                task=task,
                split=SPLITS.index("train"),
                atomic_numbers=rng.choice([1, 6, 7, 8], size=n),
                positions=positions.astype(np.float32),
                forces=rng.standard_t(3, size=(frames, n, 3)).astype(np.float32),
                energy=-300.0 - 30.0 * n + rng.normal(size=frames),
                dipole=rng.normal(size=(frames, 3)).astype(np.float32),
                temperature=np.full(frames, 300.0, dtype=np.float32),
                kind=np.zeros(frames, dtype=np.uint8),
                failures=np.zeros(len(FAILURES), dtype=np.int64),
                message="",
            )
        )
    return made


def test_eleven_bits_are_those_of_float16_without_its_limits():
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], size=100_000)
    values = (sign * 10.0 ** rng.uniform(-4.0, 4.8, size=100_000)).astype(np.float32)
    rounded = _few_bits(values)
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, values.astype(np.float16).astype(np.float32))
    assert 2.0**-12 < (np.abs(rounded - values) / np.abs(values)).max() <= 2.0**-11
    far = np.array([3e38, -1e30, 1e-30, -1e-38], dtype=np.float32)
    np.testing.assert_allclose(_few_bits(far), far, rtol=2.0**-11)


def test_rounding_is_odd_leaves_what_is_rounded_and_what_is_no_number():
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(_few_bits(-values), -_few_bits(values))
    np.testing.assert_array_equal(_few_bits(_few_bits(values)), _few_bits(values))
    np.testing.assert_array_equal(_few_bits(np.array([0.0, np.nan], dtype=np.float32)), [0.0, np.nan])


def test_positions_on_the_grid_are_moved_by_half_a_step_and_a_shift_at_most():
    x = np.random.default_rng(2).normal(scale=2.0, size=(20, 3))
    stored = as_stored(x, compact=True)
    np.testing.assert_array_equal(stored / GRID, np.round(stored / GRID))
    np.testing.assert_array_equal(stored.astype(np.float32), stored)
    assert np.abs(stored - (x - x.mean(axis=0))).max() <= GRID / 2
    assert np.abs(stored.mean(axis=0)).max() <= GRID / 2


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("compact") / "packed.h5"
    write_dataset(path, MOLECULES, blocks(), {"teacher": "T"}, compact=True)
    return path


def test_all_but_forces_and_dipoles_comes_back_as_it_was(packed, tmp_path):
    """Compared with the same frames in a file that is not compact, across the rows that are compressed together."""
    write_dataset(tmp_path / "plain.h5", MOLECULES, blocks(), {"teacher": "T"})
    compact, plain = Store(packed), Store(tmp_path / "plain.h5")
    with h5py.File(packed) as file:
        assert file["atoms/positions"].shape[0] > 65536
    for n, indices in plain.by_size("train").items():
        np.testing.assert_array_equal(compact.by_size("train")[n], indices)
        here, there = compact.load(indices), plain.load(indices)
        for name in ("atomic_numbers", "positions", "energy", "charge", "multiplicity", "molecule"):
            np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
        np.testing.assert_array_equal(here.forces, _few_bits(there.forces.astype(np.float32)))
        np.testing.assert_array_equal(here.dipole, _few_bits(there.dipole.astype(np.float32)))
    last = len(plain) - 1
    np.testing.assert_array_equal(compact.load([last]).positions, plain.load([last]).positions)
    assert compact.attributes["format_version"] == plain.attributes["format_version"]


def test_types_and_columns_are_those_of_every_data_set(packed, tmp_path):
    write_dataset(tmp_path / "plain.h5", MOLECULES, blocks(2), {"teacher": "T"})
    with h5py.File(packed) as compact, h5py.File(tmp_path / "plain.h5") as plain:
        for group in ("atoms", "frames", "molecules"):
            assert set(compact[group]) == set(plain[group])
            for name, column in plain[group].items():
                assert compact[group][name].dtype == column.dtype
                assert dict(compact[group][name].attrs) == dict(column.attrs)


def test_an_atom_takes_twelve_bytes_and_a_frame_sixteen_more(packed):
    """Of noise, which does not pack: 14 bits a coordinate and 16 a component of the force is what there is to keep."""
    with h5py.File(packed) as file:
        atoms = sum(column.id.get_storage_size() for column in file["atoms"].values())
        frames = sum(column.id.get_storage_size() for column in file["frames"].values())
        assert atoms / file["atoms/positions"].shape[0] < 12.0
        assert frames / file["frames/energy"].shape[0] < 16.0


def test_the_same_frames_give_the_same_bytes(packed, tmp_path):
    write_dataset(tmp_path / "again.h5", MOLECULES, blocks(), {"teacher": "T"}, compact=True)
    assert (tmp_path / "again.h5").read_bytes() == packed.read_bytes()
