"""What comes out of a converted file is what went in, in Å and eV; and what cannot be true is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import foreign_files as made
import h5py
import numpy as np
import pytest

from mdet_openmm.cli import main
from mdet_openmm.conversion.convert import convert
from mdet_openmm.conversion.qcml import parse_example
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.data.store import LabelledFrames, Store
from mdet_openmm.errors import InputError

Made = tuple[np.ndarray, np.ndarray, np.ndarray]


def converted(source: Path, tmp_path: Path, **settings: Any) -> tuple[Store, dict[str, Any]]:
    dest = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
    report = convert(ConvertSettings(sources=(source,), dest=dest, **settings))
    return Store(dest), report


def molecule(store: Store, name: str) -> LabelledFrames:
    """Its frames in the order of the energy, in which the tests compare them."""
    row = [m.name for m in store.molecules].index(name)
    frames = store.load(np.flatnonzero(store.molecule == row))
    return store.load(np.flatnonzero(store.molecule == row)[np.argsort(frames.energy)])


def same(found: LabelledFrames, numbers: np.ndarray, truth: Made, shift: float = 0.0) -> None:
    x, f, e = truth
    order = np.argsort(e)
    centred = x - x.mean(axis=1, keepdims=True)
    assert (found.atomic_numbers == numbers).all()
    np.testing.assert_allclose(found.positions, centred[order], atol=2e-6)
    np.testing.assert_allclose(found.forces, f[order], atol=2e-5)
    np.testing.assert_allclose(found.energy, e[order] + shift, atol=1e-5)


def test_md17(tmp_path: Path) -> None:
    store, report = converted(made.md17(tmp_path / "md17_ethanol.npz"), tmp_path, temperature=500.0)
    same(molecule(store, "ethanol"), made.ETHANOL, made.frames(made.ETHANOL_A, 200))
    assert store.attributes["teacher"] == "PBE+vdW-TS"
    assert (store.temperatures == 500.0).all() and report["energy_slope_over_force"] == pytest.approx(1.0, abs=0.02)


def test_rmd17_with_its_official_split(tmp_path: Path) -> None:
    path = made.rmd17(tmp_path / "rmd17")
    store, report = converted(path, tmp_path, official_split=1, val=0.1)
    e = made.frames(made.ETHANOL_A, 200)[2]
    rows = {p: np.loadtxt(path.parents[1] / "splits" / f"index_{p}_01.csv", dtype=int) for p in ("train", "test")}
    test = store.load(store.indices("test"))
    assert sorted(test.energy) == pytest.approx(sorted(e[rows["test"]]))
    rest = np.concatenate([store.load(store.indices(s)).energy for s in ("train", "val")])
    assert sorted(rest) == pytest.approx(sorted(e[rows["train"]])) and len(store.indices("val")) > 2
    assert report["held_out_and_trained_on"] == 0
    old, _ = converted(path, tmp_path, official_split=1, level="old")
    assert sorted(old.load(old.indices("test")).energy) == pytest.approx(sorted(1.01 * e[rows["test"]]))
    assert (old.attributes["teacher"], store.attributes["teacher"]) == ("PBE+vdW-TS", "PBE/def2-SVP")
    with pytest.raises(InputError, match=r"no official split 2: .*index_train_02\.csv"):
        converted(path, tmp_path, official_split=2)


def test_spice(tmp_path: Path) -> None:
    store, report = converted(made.spice(tmp_path / "SPICE.hdf5"), tmp_path)
    same(molecule(store, "ethanol"), made.ETHANOL, made.frames(made.ETHANOL_A, 60))
    rows = {row.name: row for row in store.molecules}
    assert (rows["hydronium"].charge, rows["hydronium"].multiplicity) == (1, 1)
    # the dipole of an ion moves with the origin, which is the centroid of the stored positions
    ion = molecule(store, "hydronium")
    x, _, e = made.frames(made.HYDRONIUM_A, 60)
    expected = np.array([0.1, 0.2, 0.3]) * made.BOHR - x.mean(axis=1)[np.argsort(e)]
    np.testing.assert_allclose(ion.dipole, expected, atol=1e-5)
    assert report["molecules"] == 2 and store.attributes["teacher"] == "wB97M-D3BJ/def2-TZVPPD"


def test_ani1x_and_the_frames_that_have_no_labels_of_a_level(tmp_path: Path) -> None:
    path = made.ani1x(tmp_path / "ani1x.h5")
    store, _ = converted(path, tmp_path)
    same(molecule(store, "C2H6O1"), made.ETHANOL, made.frames(made.ETHANOL_A, 50))
    few, _ = converted(path, tmp_path, level="wb97x_tz")
    assert len(few) == 20 and few.attributes["teacher"] == "wB97X/def2-TZVPP"
    with pytest.raises(InputError, match="--level must be one of wb97x_dz, wb97x_tz, not pbe"):
        converted(path, tmp_path, level="pbe")


def test_qm7x_without_the_duplicates_that_its_list_names(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    path = made.qm7x(tmp_path / "set" / "1000.hdf5")
    store, _ = converted(path, tmp_path)
    same(molecule(store, "m1-i1"), made.ETHANOL, made.frames(made.ETHANOL_A, 40, seed=1))
    (path.parent / "DupMols.dat").write_text("Geom-m2-i1-c2-opt\n")
    fewer, _ = converted(path, tmp_path, level="pbe0")
    assert len(store) == 80 and len(fewer) == 60
    x, f, e = made.frames(made.WATER_A, 40, seed=2)
    same(molecule(fewer, "m2-i1"), made.WATER, (x[:20], f[:20], e[:20]), shift=1.0)


def test_extended_xyz_there_and_back(tmp_path: Path) -> None:
    train, test = made.extended_xyz(tmp_path / "train.xyz"), tmp_path / "test.xyz"
    test.write_text("\n".join(train.read_text().splitlines()[: 10 * 10]).replace("energy=-9", "energy=-8") + "\n")
    store, report = converted(train, tmp_path, test_files=(test,), unchecked=True, teacher="wB97X/6-31G(d)")
    assert report["splits"]["test"] == 10 and report["held_out_and_trained_on"] == 10
    row = store.molecules[0]
    assert (row.name, row.charge, row.multiplicity) == ("C2H5O", -1, 1) and (store.temperatures == 600).all()
    back = tmp_path / "back.xyz"
    assert main(["convert", str(store.path), str(back)]) == 0
    again, _ = converted(back, tmp_path, unchecked=True)
    assert [m.charge for m in again.molecules] == [-1]
    for split in store.split_names:
        one, other = store.load(store.indices(split)), again.load(again.indices(split))
        order, places = np.argsort(one.energy), np.argsort(other.energy)
        assert len(one.energy) == len(other.energy)
        np.testing.assert_allclose(one.energy[order], other.energy[places], atol=1e-7)
        np.testing.assert_allclose(one.positions[order], other.positions[places], atol=1e-7)
        np.testing.assert_allclose(one.forces[order], other.forces[places], atol=1e-6)


def test_qcml_records_are_read_without_tensorflow() -> None:
    found = parse_example(made.qcml_records(2)[1])
    x = made.frames(made.WATER_A, 2)[0]
    assert found["atomic_numbers"].tolist() == [8, 1, 1] and found["charge"].tolist() == [-1]
    np.testing.assert_allclose(found["positions"].reshape(3, 3), x[1] / made.BOHR, rtol=1e-6)
    assert "key_hash" not in found
    with pytest.raises((ValueError, IndexError)):
        parse_example(made.qcml_records(2)[1][:-5])


def test_qcml_shards(tmp_path: Path) -> None:
    module = pytest.importorskip("array_record.python.array_record_module")
    folder = tmp_path / "dft_force_field"
    folder.mkdir()
    records = made.qcml_records()
    for shard in range(2):
        writer = module.ArrayRecordWriter(str(folder / f"qcml-full.array_record-0000{shard}-of-00002"), "group_size:1")
        for record in records[shard::2]:
            writer.write(record)
        writer.close()
    store, _ = converted(folder, tmp_path)
    _, f, e = made.frames(made.ETHANOL_A, 60)
    found = molecule(store, "C2H6O")
    np.testing.assert_allclose(found.forces, f[::2][np.argsort(e[::2])], atol=1e-4)
    np.testing.assert_allclose(np.sort(found.energy), np.sort(e[::2]), atol=1e-3)  # published in fp32
    assert len(store) == 59, "the outlier is left out"
    assert {(m.name, m.charge, m.multiplicity) for m in store.molecules} == {("C2H6O", 0, 1), ("H2O", -1, 2)}
    bad = tmp_path / "bad.array_record"
    bad.write_bytes(b"nothing of the kind" * 1000)
    with pytest.raises(InputError, match="no array_record file"):
        converted(bad, tmp_path)


def test_without_the_reader_of_array_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    shard = tmp_path / "qcml-full.array_record-00000-of-00001"
    shard.write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install 'mdet-openmm\[qcml\]'"):
        converted(shard, tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"length_unit": "bohr", "force_unit": "kcal/mol/angstrom"}, "covalent distances"),
        ({"length_unit": "nm", "force_unit": "kcal/mol/angstrom"}, "covalent distances"),
        ({"energy_unit": "eV"}, r"RMS of .*it looks like kcal/mol \(say --energy-unit kcal/mol\)"),
        ({"force_unit": "eV/angstrom"}, "different units"),
        ({"force_unit": "hartree/bohr"}, "different units"),
        ({"energy_unit": "hartree", "force_unit": "kcal/mol/angstrom"}, "different units"),
    ],
)
def test_units_that_cannot_be_true_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    path = made.md17(tmp_path / "md17_ethanol.npz")
    with pytest.raises(InputError, match=words):
        converted(path, tmp_path, **settings)
    assert [p.name for p in tmp_path.iterdir()] == ["md17_ethanol.npz"], "nothing is left of it"
    assert converted(path, tmp_path, unchecked=True, **settings)[1]["unchecked"] != "nothing was found"


def test_gradients_in_the_place_of_forces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="up the slope of the energy"):
        converted(made.spice(tmp_path / "SPICE.hdf5", gradient=-1.0), tmp_path)


def test_units_that_go_wrong_late_in_a_file_are_refused(tmp_path: Path) -> None:
    x, f, e = made.frames(made.ETHANOL_A, 12_000)
    f[2500:] *= 23.06
    path = tmp_path / "late.npz"
    np.savez(path, atomic_numbers=made.ETHANOL, positions=x, forces=f, energies=e)
    with pytest.raises(InputError, match=r"different units|RMS"):
        converted(path, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_duplicates_and_outliers_are_told(tmp_path: Path) -> None:
    x, f, e = made.frames(made.ETHANOL_A, 300)
    x, f, e = (np.concatenate([a, a[:7]]) for a in (x, f, e))
    e[10] += 300.0
    f[20, 0, 0] += 40.0
    x[30, 3] = x[30, 0] + 0.1
    f[40, 1, 1] = np.nan
    path = tmp_path / "some.npz"
    np.savez(path, atomic_numbers=made.ETHANOL, positions=x, forces=f, energies=e)
    store, report = converted(path, tmp_path, val=0.3, test=0.3)
    assert (report["duplicates"], report["held_out_and_trained_on"], report["left_out"]) == (7, 0, {"not finite": 1})
    assert report["outliers"] == {
        "force above 30 eV/Å": 1,
        "overlapping atoms": 1,
        "energy far from the others of its molecule": 1,
    }
    assert len(store) == 306
    without, report = converted(path, tmp_path, max_force=30.0)
    assert len(without) == 305 and report["left_out"] == {"not finite": 1, "force above --max-force": 1}


def test_splits_depend_on_neither_order_nor_neighbours(tmp_path: Path) -> None:
    x, f, e = made.frames(made.ETHANOL_A, 2000)
    np.savez(tmp_path / "a.npz", atomic_numbers=made.ETHANOL, positions=x, forces=f, energies=e)
    np.savez(
        tmp_path / "b.npz", atomic_numbers=made.ETHANOL, positions=x[:499:-1], forces=f[:499:-1], energies=e[:499:-1]
    )
    a, _ = converted(tmp_path / "a.npz", tmp_path, val=0.1, test=0.2, name="ethanol")
    b, _ = converted(tmp_path / "b.npz", tmp_path, val=0.1, test=0.2, name="ethanol")
    for split, share in (("val", 0.1), ("test", 0.2), ("train", 0.7)):
        there = a.load(a.indices(split)).energy
        assert len(there) / 2000 == pytest.approx(share, abs=0.03)
        assert set(b.load(b.indices(split)).energy) == set(there) & set(e[500:])
    other, _ = converted(tmp_path / "a.npz", tmp_path, val=0.1, test=0.2, name="ethanol", seed=1)
    assert set(other.load(other.indices("test")).energy) != set(a.load(a.indices("test")).energy)


def test_split_by_molecule_keeps_molecules_whole(tmp_path: Path) -> None:
    path = made.spice(tmp_path / "SPICE.hdf5")
    for seed in range(20):
        store, _ = converted(path, tmp_path, by="molecule", test=0.5, seed=seed)
        held_out = set(store.molecule[store.indices("unseen")])
        assert held_out.isdisjoint(store.molecule[store.splits != 3]) and not len(store.indices("test"))
        assert {i for i, row in enumerate(store.molecules) if row.split == "test"} == held_out
        if len(held_out) == 1:
            return
    raise AssertionError("no seed holds one of two molecules out")


def broken(tmp_path: Path) -> list[tuple[Path, str]]:
    whole = made.md17(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    entry = whole.index(b"PK\x01\x02")  # the first of its table of contents
    for name, at, value in (("later", entry + 6, 99), ("locked", entry + 8, 1)):
        (tmp_path / f"{name}.npz").write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
    np.savez(tmp_path / "strange.npz", a=np.zeros(3))
    np.savez(tmp_path / "short.npz", z=made.ETHANOL, R=np.zeros((4, 9, 3)), F=np.zeros((3, 9, 3)), E=np.zeros(4))
    np.savez(tmp_path / "atoms.npz", z=made.WATER, R=np.zeros((4, 9, 3)), F=np.zeros((4, 9, 3)), E=np.zeros(4))
    data = made.spice(tmp_path / "s.hdf5").read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(data[: len(data) // 2])
    for name, table in (("longer", np.zeros((50, 3))), ("shorter", np.zeros((2, 3)))):
        with h5py.File(made.qm7x(tmp_path / f"{name}.hdf5"), "r+") as file:
            del file["1/Geom-m1-i1-c1-7/atXYZ"]
            file["1/Geom-m1-i1-c1-7/atXYZ"] = table
    lines = made.extended_xyz(tmp_path / "whole.xyz").read_text().splitlines()
    (tmp_path / "cut.xyz").write_text("\n".join(lines[:25]) + "\n")
    (tmp_path / "forceless.xyz").write_text("2\nenergy=1.0\nH 0 0 0\nH 0 0 0.74\n")
    (tmp_path / "cell.xyz").write_text('1\nLattice="9 0 0 0 9 0 0 0 9" energy=1 pbc="T T T"\nAr 0 0 0\n')
    made.extended_xyz(tmp_path / "radical.xyz", head="charge=0 multiplicity=1")
    return [
        (tmp_path / name, words)
        for name, words in (
            ("missing.npz", "does not exist"),
            ("cut.npz", "cut short"),
            ("later.npz", "is no .npz archive.*version"),
            ("locked.npz", "cannot be read.*encrypted"),
            ("strange.npz", "has the arrays a; known are"),
            ("short.npz", "not frames of one length"),
            ("atoms.npz", "9 positions a frame, but 3 atomic numbers"),
            ("cut.hdf5", "cut short"),
            ("longer.hdf5", "is damaged, or not QM7-X as published"),
            ("shorter.hdf5", "is damaged, or not QM7-X as published"),
            ("cut.xyz", "cannot read frame 2"),
            ("forceless.xyz", "no forces under its usual name.*--forces-key"),
            ("cell.xyz", "periodic"),
            ("radical.xyz", "25 electrons .* cannot have multiplicity 1"),
        )
    ]


def test_files_that_cannot_be_used_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, words in broken(tmp_path):
        dest = tmp_path / "out" / "x.h5"
        assert main(["convert", str(path), str(dest)]) == 2, path
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
        with pytest.raises(InputError, match=words):
            convert(ConvertSettings(sources=(path,), dest=dest))
        assert not list(dest.parent.iterdir())


def test_the_output_is_never_overwritten_and_has_a_known_name(tmp_path: Path) -> None:
    path, dest = made.md17(tmp_path / "md17_e.npz"), tmp_path / "x.h5"
    dest.write_text("mine")
    assert main(["convert", str(path), str(dest)]) == 2 and dest.read_text() == "mine"
    assert main(["convert", str(path), str(tmp_path / "x.csv")]) == 2
    assert main(["convert", str(path), str(tmp_path / "y.h5"), "--val", "0.6", "--test", "0.5"]) == 2


def test_several_files_of_one_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = made.md17(tmp_path / "md17_ethanol.npz"), made.rmd17(tmp_path / "r")
    assert main(["convert", str(a), str(b), str(tmp_path / "x.h5")]) == 2
    assert "PBE+vdW-TS and of PBE/def2-SVP" in capsys.readouterr().err
    assert main(["convert", str(a), str(b), str(tmp_path / "x.h5"), "--level", "old"]) == 2  # MD17 has no level
    capsys.readouterr()
    assert main(["convert", str(a), str(tmp_path / "x.h5"), "--name", "EtOH", "--compact"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 200
    assert Store(tmp_path / "x.h5").molecules[0].name == "EtOH"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for count in (6_000, 60_000):
        x, f, e = made.frames(made.ETHANOL_A, count)
        path = tmp_path / f"{count}.npz"
        np.savez(path, atomic_numbers=made.ETHANOL, positions=x, forces=f, energies=e)
        del x, f, e
        tracemalloc.start()
        convert(ConvertSettings(sources=(path,), dest=tmp_path / f"{count}.h5"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # the file grows by 24 MB; what stays of a frame is a hash of 8 bytes, its split and its size, and their copies once
    assert peaks[1] - peaks[0] < 54_000 * 60
