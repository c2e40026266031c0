"""A merged data set has every frame of its parts, in their splits, and the added ones as often as was asked for."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdet_openmm.cli import main
from mdet_openmm.data.layout import KINDS, SPLITS, FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.data.merge import merge_data
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError

WATER = MoleculeRow("water", "O", "smiles", 0, 1, "train", 3)
HYDROXIDE = MoleculeRow("hydroxide", "[OH-]", "smiles", -1, 1, "train", 2)
AMIDOGEN = MoleculeRow("amidogen", "[NH2]", "smiles", 0, 2, "test", 3)
NUMBERS = {"water": [8, 1, 1], "hydroxide": [8, 1], "amidogen": [1, 7, 1]}


def block(table: list[MoleculeRow], task: int, molecule: int, split: str, count: int, seed: int) -> FrameBlock:
    rng = np.random.default_rng(seed)
    numbers = np.array(NUMBERS[table[molecule].name])
    return FrameBlock(
        molecule=molecule,
        task=task,
        split=SPLITS.index(split),
        atomic_numbers=numbers,
        positions=rng.normal(size=(count, len(numbers), 3)).astype(np.float32),
        forces=rng.normal(size=(count, len(numbers), 3)).astype(np.float32),
        energy=rng.normal(size=count) * 1e4,
        dipole=rng.normal(size=(count, 3)).astype(np.float32),
        temperature=np.full(count, 100.0, dtype=np.float32),
        kind=rng.integers(len(KINDS), size=count).astype(np.uint8),
        failures=np.array([1, task, 0]),
        message=f"failure {seed}",
    )


def write(path: Path, table: list[MoleculeRow], blocks: list[FrameBlock], **provenance: object) -> Path:
    stamp = {"teacher": "T", "teacher_version": "1", "seed": 3, "start_structures_sha256": path.name}
    write_dataset(path, table, blocks, {**stamp, "config": {"teacher": {"kind": "gfn2"}}, **provenance})
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    table = [WATER, AMIDOGEN]
    blocks = [
        block(table, 0, 0, "train", 40, 1),
        block(table, 1, 0, "test", 6, 2),
        block(table, 2, 0, "val", 5, 3),
        block(table, 3, 1, "unseen", 4, 4),
    ]
    return write(tmp_path / "old.h5", table, blocks)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    table = [HYDROXIDE, WATER]
    blocks = [
        block(table, 0, 0, "train", 3, 5),
        block(table, 1, 1, "train", 2, 6),
        block(table, 2, 1, "test", 2, 7),
    ]
    return write(tmp_path / "new.h5", table, blocks)


def same(one: Store, i: int, other: Store, j: int) -> bool:
    a, b = one.load([i])._asdict(), other.load([j])._asdict()
    columns = [(s.kinds[k], s.splits[k], s.temperatures[k]) for s, k in ((one, i), (other, j))]
    del a["molecule"]  # its place in the table may differ
    return all(np.array_equal(a[name], b[name]) for name in a) and columns[0] == columns[1]


def test_the_first_set_stands_first_and_unchanged(old: Path, new: Path, tmp_path: Path) -> None:
    merge_data(old, [new], tmp_path / "both.h5", share=0.5)
    before, both = Store(old), Store(tmp_path / "both.h5")
    assert all(same(before, i, both, i) for i in range(len(before)))
    for split in ("val", "unseen"):
        assert np.array_equal(before.indices(split), both.indices(split))
    assert np.array_equal(before.indices("test"), both.indices("test")[:6])
    assert [both.molecules[both.molecule[i]].name for i in range(len(before))] == [
        before.molecules[before.molecule[i]].name for i in range(len(before))
    ]


def test_new_training_frames_have_their_share_and_others_are_there_once(old: Path, new: Path, tmp_path: Path) -> None:
    summary = merge_data(old, [new], tmp_path / "both.h5", share=0.5)
    added, both = Store(new), Store(tmp_path / "both.h5")
    assert summary["repeats"] == 8 and summary["share"] == 0.5
    assert summary["splits"] == {"train": 80, "val": 5, "test": 8, "unseen": 4}
    assert len(both) == summary["frames"] == 97
    copies = [sum(same(added, i, both, j) for j in range(55, len(both))) for i in range(len(added))]
    assert copies == [8, 8, 8, 8, 8, 1, 1]
    assert [m.name for m in both.molecules] == ["water", "amidogen", "hydroxide"]
    recorded = both.attributes["config"]["merged"]
    assert [(m["file"], m["training_frames"], m["repeats"]) for m in recorded] == [("old.h5", 40, 1), ("new.h5", 5, 8)]
    assert both.attributes["config"]["teacher"] == {"kind": "gfn2"}


def test_without_a_share_frames_are_there_once_and_skipped_ones_are_counted(
    old: Path, new: Path, tmp_path: Path
) -> None:
    summary = merge_data(old, [new], tmp_path / "both.h5")
    assert summary["frames"] == 55 + 7 and summary["repeats"] == 1
    with h5py.File(tmp_path / "both.h5") as file:
        assert list(file["molecules/skipped_teacher"]) == [3 + 2, 1, 1]
        assert list(file["molecules/skipped_max_force"]) == [0 + 1 + 2 + 1 + 2, 3, 0]
        assert file.attrs["first_failure"] == "failure 1"
        tasks = file["frames/task"][:]
    assert sorted(set(tasks)) == [0, 1, 2, 3, 4, 5, 6]
    assert tasks[55] == 4


def test_the_same_input_gives_the_same_bytes(old: Path, new: Path, tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        merge_data(old, [new], tmp_path / name, share=0.3)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_what_cannot_be_merged_is_refused_and_nothing_written(old: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    other = write(tmp_path / "other.h5", [HYDROXIDE], [block([HYDROXIDE], 0, 0, "train", 2, 8)], teacher="U")
    held_out = MoleculeRow("water", "O", "smiles", 0, 1, "test", 3)
    leak = write(tmp_path / "leak.h5", [held_out], [block([held_out], 0, 0, "unseen", 2, 9)])
    for additions, share, words in (
        ([other], None, "labelled with U"),
        ([leak], None, "has split test"),
        ([new], 1.0, "--share"),
        ([], None, "at least two"),
        ([tmp_path / "absent.h5"], None, "absent.h5"),
    ):
        with pytest.raises(InputError, match=words):
            merge_data(old, additions, out, share)
        assert not out.exists()
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        merge_data(old, [new], out)
    assert out.read_text() == "mine"


def test_the_command(old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sub" / "both.h5"
    flags = ["merge-data", str(old), str(new), "--output", str(out), "--share", "0.5"]
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == len(Store(out))
    assert main(flags) == 2
    assert "exists" in capsys.readouterr().err
