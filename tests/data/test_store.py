"""A data set read back is what was written, in any order, and other files are refused."""

import pickle

import h5py
import numpy as np
import pytest

from mdet_openmm.data import store as store_module
from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.data.plain_rows import PlainRows, is_plain
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError

MOLECULES = [
    MoleculeRow("water", "O", "smiles", 0, 1, "train", 3),
    MoleculeRow("hydroxide", "[OH-]", "smiles", -1, 1, "train", 2),
    MoleculeRow("amidogen", "[NH2]", "smiles", 0, 2, "test", 3),
]
NUMBERS = [np.array([8, 1, 1]), np.array([8, 1]), np.array([1, 7, 1])]


def block(task, molecule, split, count):
    rng = np.random.default_rng(task)
    n = len(NUMBERS[molecule])
    return FrameBlock(
        molecule=molecule,
        task=task,
        split=SPLITS.index(split),
        atomic_numbers=NUMBERS[molecule],
        positions=rng.normal(size=(count, n, 3)).astype(np.float32),
        forces=rng.normal(size=(count, n, 3)).astype(np.float32),
        energy=rng.normal(size=count) * 1e4,
        dipole=rng.normal(size=(count, 3)).astype(np.float32),
        temperature=np.full(count, 100.0 * task, dtype=np.float32),
        kind=rng.integers(len(KINDS), size=count).astype(np.uint8),
        failures=np.array([task, 1, 0]),
        message="" if task == 0 else f"failure {task}",
    )


BLOCKS = [
    block(0, 0, "train", 40),
    block(1, 0, "val", 5),
    block(2, 1, "train", 30),
    block(3, 1, "train", 0),
    block(4, 2, "unseen", 6),
]


@pytest.fixture
def path(tmp_path):
    write_dataset(tmp_path / "set.h5", MOLECULES, BLOCKS, {"teacher": "T", "config": {"seed": [1, 2]}})
    return tmp_path / "set.h5"


def frames():
    """All frames in order, as plain tuples."""
    return [(b, k) for b in BLOCKS for k in range(len(b))]


def test_every_frame_comes_back(path):
    store = Store(path)
    assert len(store) == 81
    for index, (written, k) in enumerate(frames()):
        frame = store.load([index])
        np.testing.assert_array_equal(frame.atomic_numbers[0], written.atomic_numbers)
        np.testing.assert_array_equal(frame.positions[0], written.positions[k])
        np.testing.assert_array_equal(frame.forces[0], written.forces[k])
        np.testing.assert_array_equal(frame.dipole[0], written.dipole[k])
        assert frame.energy[0] == written.energy[k]
        assert store.temperatures[index] == written.temperature[k]
        assert store.kind_names[store.kinds[index]] == KINDS[written.kind[k]]
        assert store.split_names[store.splits[index]] == SPLITS[written.split]
        row = MOLECULES[frame.molecule[0]]
        assert (frame.charge[0], frame.multiplicity[0]) == (row.charge, row.multiplicity)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("gap", "run"), [(16384, 1 << 20), (0, 1 << 20), (5, 12), (1000, 3)])
def test_load_gives_the_asked_frames_in_the_asked_order_however_they_are_read(path, monkeypatch, gap, run, plain):
    monkeypatch.setattr(store_module, "_PLAIN_GAP" if plain else "_GAP", gap)
    monkeypatch.setattr(store_module, "_RUN", run)
    if not plain:
        monkeypatch.setattr(store_module, "is_plain", lambda table: False)
    store = Store(path)
    of_three = [i for i, (b, _) in enumerate(frames()) if len(b.atomic_numbers) == 3]
    chosen = np.random.default_rng(1).choice(of_three, size=60)  # with repetitions
    batch = store.load(chosen)
    for row, index in enumerate(chosen):
        written, k = frames()[index]
        np.testing.assert_array_equal(batch.atomic_numbers[row], written.atomic_numbers)
        np.testing.assert_array_equal(batch.positions[row], written.positions[k])
        np.testing.assert_array_equal(batch.forces[row], written.forces[k])
        assert batch.energy[row] == written.energy[k] and batch.molecule[row] == written.molecule
        assert batch.multiplicity[row] == MOLECULES[written.molecule].multiplicity
        assert batch.charge[row] == MOLECULES[written.molecule].charge


def test_rows_read_without_hdf5_are_those_of_hdf5(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name, more in (("plain", {}), ("packed", {"compression": "gzip"})):
            file.create_dataset(name, data=values, chunks=(7, 3), maxshape=(None, 3), **more)
        file.create_dataset("holes", shape=(20, 3), dtype="f4", chunks=(7, 3))[:5] = values[:5]
        file["whole"] = values
        tables = {name: is_plain(file[name]) for name in file}
        assert tables == {"plain": True, "packed": False, "holes": True, "whole": False}
        file.flush()
        rows = PlainRows(tmp_path / "t.h5", file["plain"])
        for first in range(20):
            for last in range(first, 21):
                np.testing.assert_array_equal(rows[first:last], values[first:last])
        with pytest.raises(ValueError, match="a part of /holes is missing"):
            PlainRows(tmp_path / "t.h5", file["holes"])


def test_groups_by_size_cover_a_split_and_nothing_else(path):
    store = Store(path)
    groups = store.by_size("train")
    assert {n: len(ids) for n, ids in groups.items()} == {2: 30, 3: 40}
    assert sorted(np.concatenate(list(groups.values()))) == store.indices("train").tolist()
    assert store.indices("unseen").tolist() == list(range(75, 81))
    assert store.by_size("test") == {}
    assert store.load([]).positions.shape == (0, 0, 3)
    assert store.elements == (1, 7, 8)


def test_molecules_failures_and_provenance(path):
    store = Store(path)
    assert list(store.molecules) == MOLECULES
    assert store.attributes["teacher"] == "T" and store.attributes["config"] == {"seed": [1, 2]}
    assert store.attributes["skipped"] == {"teacher": 10, "max_force": 5, "broken": 0}
    assert store.attributes["first_failure"] == "failure 1"
    with h5py.File(path) as file:
        assert [file[f"molecules/skipped_{reason}"][1] for reason in FAILURES] == [5, 2, 0]
        assert all("unit" in file[f"atoms/{name}"].attrs for name in file["atoms"])
        assert all("unit" in file[f"frames/{name}"].attrs for name in file["frames"])


def test_a_store_can_be_sent_to_another_process(path):
    store = Store(path)
    first = store.load([0])
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.load([0]).positions, first.positions)
    store.close()
    np.testing.assert_array_equal(store.load([0]).positions, first.positions)


def test_indices_that_do_not_fit_are_refused(path):
    store = Store(path)
    with pytest.raises(InputError, match="2 to 3 atoms"):
        store.load([0, 50])
    with pytest.raises(IndexError):
        store.load([81])
    with pytest.raises(InputError, match="no split 'valid'"):
        store.indices("valid")


def test_a_molecule_is_trained_on_or_held_out(path, tmp_path):
    with pytest.raises(InputError, match="split must be one of train, test, not 'tset'"):
        MoleculeRow("water", "O", "smiles", 0, 1, "tset", 3)
    (tmp_path / "other.h5").write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "other.h5", "a") as file:
        file["molecules/split"][0] = "tset"
    with pytest.raises(InputError, match=r"other\.h5 is damaged: split must be one of"):
        Store(tmp_path / "other.h5")


def test_the_same_input_gives_the_same_bytes(path, tmp_path):
    write_dataset(tmp_path / "again.h5", MOLECULES, BLOCKS, {"teacher": "T", "config": {"seed": [1, 2]}})
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_files_that_are_no_data_set_are_refused_in_one_line(path, tmp_path):
    whole = path.read_bytes()
    bad = {
        "truncated.h5": (whole[: len(whole) // 2], "truncated"),
        "empty.h5": (b"", "not an HDF5 file"),
        "text.h5": (b"positions: 1 2 3\n" * 100, "not an HDF5 file"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as error:
            Store(tmp_path / name)
        assert "\n" not in str(error.value)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["positions"] = np.zeros(3)
    with pytest.raises(InputError, match="not a data set"):
        Store(tmp_path / "foreign.h5")
    for change, message in (("newer", "newer"), ("no offsets", "damaged"), ("offsets", "damaged")):
        (tmp_path / "changed.h5").write_bytes(whole)
        with h5py.File(tmp_path / "changed.h5", "r+") as file:
            if change == "newer":
                file.attrs["format_version"] = 99
            elif change == "no offsets":
                del file["frames/offsets"]
            else:
                file["frames/offsets"][-1] += 1
        with pytest.raises(InputError, match=message):
            Store(tmp_path / "changed.h5")
    with pytest.raises(InputError, match="does not exist"):
        Store(tmp_path / "missing.h5")


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_strings_that_hdf5_would_look_for_for_ever_are_refused(path, part):
    """Zeros where a heap of strings goes on: HDF5 2.0 does not come back from them."""
    Store(path).close()
    content = bytearray(path.read_bytes())
    heaps = [at for at in range(len(content) - 8) if content[at : at + 8] == b"GCOL\x01\0\0\0"]
    assert heaps
    for at in heaps:
        length = int.from_bytes(content[at + 8 : at + 16], "little")
        if part < 1.0:
            path.write_bytes(content[: at + 24] + b"\xff" * 8 + content[at + 32 :])  # the size of its first string
            with pytest.raises(InputError, match="heap of strings"):
                Store(path)
        used = len(content[at : at + length].rstrip(b"\0")) - 16  # the size of the free space ends it
        begin = at + 16 + int(part * used) // 8 * 8
        path.write_bytes(content[:begin] + bytes(at + length - begin) + content[at + length :])
        with pytest.raises(InputError, match="heap of strings"):
            Store(path)


def test_a_table_of_molecules_that_was_changed_is_refused(path):
    for name, value in (("charge", 7), ("name", "wafer"), ("multiplicity", 3)):
        with h5py.File(path, "r+") as file:
            before = file["molecules"][name][0]
            file["molecules"][name][0] = value
        with pytest.raises(InputError, match="not what was written"):
            Store(path)
        with h5py.File(path, "r+") as file:
            file["molecules"][name][0] = before
    assert Store(path).molecules == tuple(MOLECULES)
    with h5py.File(path, "r+") as file:  # of a version that wrote none
        del file["molecules"].attrs["sha256"]
    assert Store(path).molecules == tuple(MOLECULES)
