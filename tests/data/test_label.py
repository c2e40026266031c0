"""Whole labelling runs: what is in the data set, repeated, interrupted, and with a teacher that fails."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mdet_openmm.data.config import (
    Displacement,
    DynamicsRun,
    HeldOutConfig,
    LabelConfig,
    MoleculeEntry,
    SamplingConfig,
    TeacherConfig,
    read_config,
    same_inputs,
    stored,
)
from mdet_openmm.data.label import run_label
from mdet_openmm.data.layout import FrameBlock
from mdet_openmm.data.partial import block_path, collect, partial_run, save_block, save_molecules, whole_block
from mdet_openmm.data.plan import plan
from mdet_openmm.data.sources import read_sources
from mdet_openmm.data.store import Store
from mdet_openmm.data.teacher import make_teacher
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import molecule_from_smiles

pytest.importorskip("tblite", reason="GFN2-xTB needs tblite")

TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny.label.yaml"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny data set of configs/, made in one go by one worker, and its summary."""
    path = tmp_path_factory.mktemp("label") / "tiny.h5"
    return path, run_label(read_config(TINY), path, workers=1)


def test_the_data_set_has_what_the_configuration_says(tiny):
    path, summary = tiny
    store = Store(path)
    assert summary["splits"] == {"train": len(store.indices("train")), "val": 12, "test": 18, "unseen": 6}
    skipped = sum(summary["skipped"].values())
    assert len(store.indices("train")) + skipped == 3 * 2 * 24  # three molecules, two trajectories, 12 + 12 frames
    assert summary["frames"] == len(store)
    names = np.array([m.name for m in store.molecules])
    assert set(names[store.molecule[store.indices("unseen")]]) == {"formaldehyde"}
    assert "formaldehyde" not in names[store.molecule[store.indices("train")]]
    assert set(store.temperatures[store.indices("train")]) == {300.0, 900.0}
    assert set(store.temperatures[store.indices("val")]) == {300.0}
    assert {store.kind_names[k] for k in store.kinds} >= {"dynamics", "gaussian", "scale", "stretch"}
    assert [(m.charge, m.multiplicity) for m in store.molecules] == [(0, 1), (0, 1), (0, 2), (0, 1)]
    assert store.attributes["teacher"] == "GFN2-xTB"
    assert store.attributes["config"]["molecules"][1]["smiles"] == "CO"
    assert not path.with_name("tiny.h5.partial").exists()


def test_every_label_is_the_teachers_for_the_stored_positions(tiny):
    store = Store(tiny[0])
    for index in range(0, len(store), 11):
        numbers, positions, forces, energy, charge, multiplicity, _, dipole = (v[0] for v in store.load([index]))
        label = make_teacher(TeacherConfig(accuracy=0.1), Species(numbers, int(charge), int(multiplicity)))(positions)
        assert energy == pytest.approx(label.energy, abs=1e-8)
        np.testing.assert_allclose(forces, label.forces, atol=1e-5)
        np.testing.assert_allclose(dipole, label.dipole, atol=1e-5)


def test_no_frame_is_there_twice_and_splits_do_not_share_trajectories(tiny):
    store = Store(tiny[0])
    with h5py.File(tiny[0]) as file:
        energy, task = file["frames/energy"][:], file["frames/task"][:]
    assert len(np.unique(energy)) == len(store)
    for number in np.unique(task):
        assert len(np.unique(store.splits[task == number])) == 1


def test_the_number_of_workers_leaves_no_trace(tiny, tmp_path):
    run_label(read_config(TINY), tmp_path / "two.h5", workers=2)
    assert (tmp_path / "two.h5").read_bytes() == tiny[0].read_bytes()


def test_another_seed_gives_other_frames_and_another_molecule_changes_none_of_the_others(tiny, tmp_path):
    config = read_config(TINY)
    water = dataclasses.replace(config, molecules=config.molecules[:1])
    run_label(water, tmp_path / "water.h5", workers=1)
    run_label(dataclasses.replace(water, seed=2), tmp_path / "other.h5", workers=1)
    alone, other, among = Store(tmp_path / "water.h5"), Store(tmp_path / "other.h5"), Store(tiny[0])
    first = np.flatnonzero(among.molecule == 0)
    np.testing.assert_array_equal(alone.load(np.arange(len(alone))).positions, among.load(first).positions)
    assert not np.isin(other.load(np.arange(len(other))).energy, alone.load(np.arange(len(alone))).energy).any()


RUN = "from pathlib import Path; from mdet_openmm.data.config import read_config; " \
      "from mdet_openmm.data.label import run_label; " \
      "run_label(read_config(Path({config!r})), Path({output!r}), workers=2)"  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_gone_on_with_it_is_as_if_nothing_had_happened(tiny, tmp_path, how):
    output = tmp_path / "killed.h5"
    partial = tmp_path / "killed.h5.partial"
    command = [sys.executable, "-c", RUN.format(config=str(TINY), output=str(output))]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(partial.glob("task-*.npz"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    process.wait(timeout=30)
    deadline = time.monotonic() + 30
    while session_members(process.pid):  # the workers leave too
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not output.exists()
    done = {p.name: p.stat().st_mtime_ns for p in partial.glob("task-*.npz")}
    assert 3 <= len(done) < 13
    with pytest.raises(InputError, match="--restart"):
        run_label(read_config(TINY), output, workers=1)
    with pytest.raises(InputError, match="another configuration"):
        run_label(dataclasses.replace(read_config(TINY), seed=9), output, workers=1, restart=True)
    assert {p.name: p.stat().st_mtime_ns for p in partial.glob("task-*.npz")} == done
    run_label(read_config(TINY), output, workers=2, restart=True)
    assert output.read_bytes() == tiny[0].read_bytes()
    assert not partial.exists()


def session_members(session):
    """Processes of a session that still run, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, member_of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(member_of) == session and state != "Z":
            found.append(stat.parent.name)
    return found


def test_a_damaged_task_file_is_done_again(tiny, tmp_path):
    config = read_config(TINY)
    output = tmp_path / "set.h5"
    flag = tmp_path / "die"
    flag.touch()
    mock = ase_config(dies_with=str(flag))
    with pytest.raises(RunStopped, match="worker process died"):
        run_label(mock, output, workers=1)
    flag.unlink()
    (output.with_name("set.h5.partial") / "task-0000000.npz").write_bytes(b"half a file")
    summary = run_label(mock, output, workers=1, restart=True)
    assert summary["frames"] == 40
    with pytest.raises(InputError, match="another configuration"):
        run_label(config, output, restart=True)


def test_blocks_of_other_shapes_do_not_count_as_kept(tmp_path):
    x = np.zeros((2, 3, 3), dtype=np.float32)
    z, kind, failures = np.array([8, 1, 1]), np.zeros(2, np.uint8), np.zeros(3, np.int64)
    block = FrameBlock(0, 0, 0, z, x, x, np.zeros(2), x[:, 0], x[:, 0, 0], kind, failures, "")
    path = block_path(tmp_path, 0)
    save_block(path, block)
    assert whole_block(path) is not None
    with np.load(path) as stored:
        values = dict(stored)
    for name, damaged in (("temperature", x[0, 0, 0]), ("kind", b"12"), ("forces", x[:1]), ("energy", np.zeros(()))):
        np.savez(path, **{**values, name: np.asarray(damaged)})
        assert whole_block(path) is None, name


def test_a_run_with_a_damaged_stamp_is_not_collected(tmp_path):
    partial = tmp_path / "set.h5.partial"
    partial.mkdir()
    save_molecules(partial, [])
    for stamp in (
        '{"config": {"compact": true}, "seed": null}',
        '{"config": {"compact": true}, "": 1}',
        '{"config": 3}',
        "[]",
        "{",
    ):
        (partial / "run.json").write_text(stamp)
        with pytest.raises(InputError, match="holds no run"):
            collect(partial, tmp_path / "so-far.h5")
    assert list(tmp_path.iterdir()) == [partial]


def test_a_finished_data_set_is_never_overwritten(tiny):
    path, summary = tiny
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        run_label(read_config(TINY), path)
    again = run_label(read_config(TINY), path, restart=True)
    assert again["frames"] == summary["frames"] and again["skipped"] == summary["skipped"]
    with pytest.raises(InputError, match="another configuration"):
        run_label(dataclasses.replace(read_config(TINY), seed=5), path, restart=True)
    assert path.read_bytes() == before


def ase_config(max_force=1e9, **arguments):
    """H2 on springs: 20 frames of dynamics, 20 stretched."""
    return LabelConfig(
        molecules=(MoleculeEntry(smiles="[H][H]"),),
        teacher=TeacherConfig(kind="ase", ase="label_calculators:Spring", arguments=arguments),
        sampling=SamplingConfig(runs=(DynamicsRun(300.0, 1),), equilibrate=10.0, interval=5.0, frames=20, displaced=20),
        held_out=HeldOutConfig(val=0, test=0),
        displacements=(Displacement("stretch", 0.9, 2.0),),
        max_force=max_force,
    )


def test_dynamics_of_another_method_has_its_frames_and_the_teachers_labels(tmp_path):
    springs = ase_config()
    config = dataclasses.replace(springs, teacher=TeacherConfig(kind="gfn2"), sampler=springs.teacher)
    run_label(springs, tmp_path / "springs.h5", workers=1)
    run_label(config, tmp_path / "both.h5", workers=1)
    alone, both = Store(tmp_path / "springs.h5"), Store(tmp_path / "both.h5")
    assert both.attributes["teacher"] == "GFN2-xTB" and "Spring" in both.attributes["sampler"]
    frames = np.arange(len(both))
    assert len(both) == len(alone) and {both.kind_names[k] for k in both.kinds} == {"dynamics", "stretch"}
    x, forces = both.load(frames).positions, both.load(frames).forces
    np.testing.assert_array_equal(x, alone.load(frames).positions)
    teacher = make_teacher(config.teacher, Species([1, 1]))
    for k in (0, 7, 19, 25, 39):
        np.testing.assert_allclose(forces[k], teacher(x[k]).forces, atol=1e-5)
    assert np.abs(forces - alone.load(frames).forces).max() > 0.1
    with pytest.raises(InputError, match="another configuration"):
        run_label(dataclasses.replace(config, sampler=None), tmp_path / "both.h5", restart=True)


def test_a_sampler_that_is_a_model_is_known_by_its_weights(model, tmp_path):
    """Another model under the same name moves atoms otherwise: a run is not gone on with by it."""
    model, made = Path(shutil.copytree(model, tmp_path / "model")), tmp_path / "set.h5"
    sampler = TeacherConfig(kind="ase", ase="mdet_openmm.calculator:MDETCalculator", arguments={"model": str(model)})
    config = dataclasses.replace(ase_config(), sampler=sampler)
    run_label(config, made, workers=1)
    first = load_model(model)
    assert first.sha256 in Store(made).attributes["sampler"]
    run_label(config, made, workers=1, restart=True)
    with torch.no_grad():
        next(first.network.parameters()).add_(1e-3)
    shutil.rmtree(model)
    save_model(model, first.network, elements=first.elements, training={}, metrics={}, card="trained on")
    assert load_model(model).sha256 != first.sha256
    with pytest.raises(InputError, match="another configuration or teacher version"):
        run_label(config, made, workers=1, restart=True)


def test_a_sampler_that_fails_where_the_teacher_does_not_ends_its_trajectory(tmp_path):
    springs = ase_config()
    run_label(springs, tmp_path / "all.h5", workers=1)
    x = Store(tmp_path / "all.h5").load(np.arange(20)).positions
    longest = float(np.linalg.norm(x[:, 0] - x[:, 1], axis=1).max())
    fails = dataclasses.replace(springs.teacher, arguments={"fails_beyond": 0.999 * longest})
    run_label(dataclasses.replace(springs, sampler=fails), tmp_path / "set.h5", workers=1)
    kinds = [Store(tmp_path / "set.h5").kind_names[k] for k in Store(tmp_path / "set.h5").kinds]
    assert kinds.count("dynamics") < 20 and Store(tmp_path / "set.h5").attributes["skipped"]["teacher"] > 0
    assert kinds.count("stretch") == 20, "displaced frames have the teacher's labels"


@pytest.mark.parametrize("fault", ["fails_beyond", "nan_beyond"])
def test_frames_without_an_answer_are_skipped_and_counted(tmp_path, fault):
    run_label(ase_config(), tmp_path / "all.h5", workers=1)
    everything = Store(tmp_path / "all.h5")
    summary = run_label(ase_config(**{fault: 1.1}), tmp_path / "some.h5", workers=1)
    some = Store(tmp_path / "some.h5")
    x = everything.load(np.arange(40)).positions
    good = np.linalg.norm(x[:, 0] - x[:, 1], axis=1) <= 1.1
    assert 0 < good.sum() < 40
    np.testing.assert_array_equal(some.load(np.arange(len(some))).positions, x[good])
    assert summary["skipped"] == {"teacher": int((~good).sum()), "max_force": 0, "broken": 0}
    assert some.attributes["skipped"] == summary["skipped"]
    assert summary["first_failure"]


def test_frames_above_the_largest_force_are_skipped_and_counted(tmp_path):
    summary = run_label(ase_config(max_force=9.0), tmp_path / "set.h5", workers=1)
    store = Store(tmp_path / "set.h5")
    largest = np.linalg.norm(store.load(np.arange(len(store))).forces, axis=2).max()
    assert largest <= 9.0 and summary["skipped"]["max_force"] == 40 - len(store) > 0


def test_a_teacher_that_never_answers_is_told_before_the_run(tmp_path):
    with pytest.raises(InputError, match="fails on the start structure"):
        run_label(ase_config(fails_beyond=0.1), tmp_path / "set.h5", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_charge_that_the_teacher_would_not_see_is_refused_before_the_run(tmp_path):
    config = dataclasses.replace(ase_config(), molecules=(*ase_config().molecules, MoleculeEntry(smiles="C[NH3+]")))
    with pytest.raises(InputError, match="charge 1"):
        run_label(config, tmp_path / "set.h5", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_work_on_one_run(tmp_path):
    folder, made = tmp_path / "set.h5.partial", provenance(ase_config())
    with partial_run(folder, made):
        with pytest.raises(InputError, match="another process"), partial_run(folder, made):
            pass
        with pytest.raises(InputError, match="another conf"), partial_run(folder, {**made, "teacher_version": "2"}):
            pass
    with partial_run(folder, made):
        pass
    for spoilt in ("{", "[]", "{}", '{"config": null}'):
        (folder / "run.json").write_text(spoilt)
        with pytest.raises(InputError, match="another conf"), partial_run(folder, made):
            pass


def provenance(config: LabelConfig) -> dict[str, Any]:
    return {"teacher_version": "1", "package_version": "1.0", "seed": config.seed, "config": stored(config)}


def test_a_run_of_an_earlier_version_is_gone_on_with() -> None:
    now = provenance(ase_config())
    before: dict[str, Any] = json.loads(json.dumps(now)) | {"package_version": "0.9"}
    del before["config"]["teacher"]["basis"], before["config"]["held_out"]["given"]
    assert same_inputs(before, now)
    assert not same_inputs(before, {**now, "seed": 2})
    assert not same_inputs(before, provenance(dataclasses.replace(ase_config(), max_force=7.0)))
    other = dataclasses.replace(ase_config(), held_out=dataclasses.replace(ase_config().held_out, given=0.25))
    assert not same_inputs(before, provenance(other))  # it is too old for this setting, which is not at its default
    before["config"]["sampling"]["unheard_of"] = 1
    assert not same_inputs(before, now)


def frames_of_a_run():
    """Methanol, six frames, the last one torn apart."""
    molecule = molecule_from_smiles("CO")
    rng = np.random.default_rng(0)
    frames = molecule.positions + 0.05 * rng.normal(size=(6, 6, 3))
    frames[5, 5] += 3.0
    return molecule, frames


def test_frames_of_a_dcd_are_labelled_as_they_are(tmp_path):
    import mdtraj

    molecule, frames = frames_of_a_run()
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOH", topology.add_chain())
    for k, z in enumerate(molecule.atomic_numbers):
        element = mdtraj.element.Element.getByAtomicNumber(int(z))
        topology.add_atom(f"{element.symbol}{k}", element, residue)
    trajectory = mdtraj.Trajectory(frames / 10, topology)
    trajectory.save_dcd(str(tmp_path / "run.dcd"))
    mdtraj.Trajectory(molecule.positions[None] / 10, topology).save_pdb(str(tmp_path / "start.pdb"))
    entry = MoleculeEntry(trajectory=tmp_path / "run.dcd", topology=tmp_path / "start.pdb", name="methanol")
    config = LabelConfig(molecules=(entry,), max_force=1e9, task_frames=4)
    summary = run_label(config, tmp_path / "set.h5", workers=1)
    store = Store(tmp_path / "set.h5")
    assert summary["frames"] == 6 and {store.kind_names[k] for k in store.kinds} == {"trajectory"}
    np.testing.assert_allclose(
        store.load(np.arange(6)).positions, frames - frames.mean(axis=1, keepdims=True), atol=1e-5
    )
    assert np.isnan(store.temperatures).all() and store.indices("train").tolist() == list(range(6))


def test_frames_of_an_xyz_with_stride(tmp_path):
    from ase import Atoms
    from ase.io import write

    molecule, frames = frames_of_a_run()
    write(tmp_path / "run.xyz", [Atoms(molecule.atomic_numbers, x) for x in frames], format="xyz")
    entry = MoleculeEntry(trajectory=tmp_path / "run.xyz", stride=2, split="test")
    summary = run_label(LabelConfig(molecules=(entry,)), tmp_path / "set.h5", workers=1)
    assert summary["splits"] == {"train": 0, "val": 0, "test": 0, "unseen": 3}
    frames[4, 0, 0] = np.nan
    write(tmp_path / "run.xyz", [Atoms(molecule.atomic_numbers, x) for x in frames], format="xyz")
    with pytest.raises(InputError, match=r"frame 5, line 3.*not finite"):
        run_label(LabelConfig(molecules=(entry,)), tmp_path / "nan.h5", workers=1)


WATERS = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]) + 0.03 * (
    np.random.default_rng(3).normal(size=(4, 3, 3))
)


def waters(path, comment, unit=1.0, order=1):
    """Four frames of water with the comment line, in Å and the oxygen first unless asked for otherwise."""
    frames = [[f"{s} {x} {y} {z}" for s, (x, y, z) in zip("OHH", unit * f, strict=True)][::order] for f in WATERS]
    comments = comment if isinstance(comment, list) else [comment] * len(frames)
    path.write_text("".join("\n".join(["3", c, *rows]) + "\n" for c, rows in zip(comments, frames, strict=True)))
    return path


@pytest.mark.parametrize(("charge", "multiplicity"), [(1, 2), (0, 3), (0, 1)])
def test_charge_and_multiplicity_of_a_trajectory_are_used(tmp_path, charge, multiplicity):
    path = waters(tmp_path / "run.xyz", f"Properties=species:S:1:pos:R:3 charge={charge} multiplicity={multiplicity}")
    config = LabelConfig(molecules=(MoleculeEntry(trajectory=path),), max_force=1e9)
    run_label(config, tmp_path / "set.h5", workers=1)
    with Store(tmp_path / "set.h5") as store:
        assert (store.molecules[0].charge, store.molecules[0].multiplicity) == (charge, multiplicity)
        found = store.load(np.arange(len(store)))
    assert len(found.energy) >= 3
    teacher = make_teacher(TeacherConfig(), Species(np.array([8, 1, 1]), charge, multiplicity))
    assert found.energy == pytest.approx([teacher(x).energy for x in found.positions], abs=1e-8)


def test_the_entry_and_the_topology_settle_what_a_trajectory_does_not(tmp_path):
    def charges(**entry):
        (source,) = read_sources(LabelConfig(molecules=(MoleculeEntry(**entry),)))
        return source.row.charge, source.row.multiplicity

    plain = waters(tmp_path / "plain.xyz", "water")
    cation = waters(tmp_path / "cation.xyz", "charge=1 multiplicity=2")
    assert charges(trajectory=plain) == (0, 1)
    assert charges(trajectory=plain, charge=1, multiplicity=2) == (1, 2)
    assert charges(trajectory=cation, charge=-1) == (-1, 2)
    assert charges(trajectory=plain, topology=cation) == charges(trajectory=cation, topology=cation) == (1, 2)
    with pytest.raises(InputError, match=r"states charge 1, .*plain\.xyz 0; give 'charge'"):
        charges(trajectory=cation, topology=plain)
    with pytest.raises(InputError, match="other atoms"):
        charges(trajectory=plain, topology=waters(tmp_path / "backwards.xyz", "", order=-1))


@pytest.mark.parametrize(
    ("comment", "unit", "message"),
    [
        ('Lattice="20 0 0 0 20 0 0 0 20" pbc="T T T"', 1.0, "periodic boxes"),
        (["charge=0", "charge=0", "charge=1", "charge=0"], 1.0, "frame 1 states charge 0 and frame 3 charge 1"),
        (["", "", "", "multiplicity=3"], 1.0, "frame 1 states multiplicity None and frame 4 multiplicity 3"),
        ("charge=1", 1.0, "electrons"),
        ("in bohr", 1 / 0.529177, "in Å"),
        ("in nm", 0.1, "in Å"),
    ],
)
def test_frames_are_checked_as_a_molecule_file_is(tmp_path, comment, unit, message):
    path = waters(tmp_path / "run.xyz", comment, unit)
    with pytest.raises(InputError, match=message) as error:
        run_label(LabelConfig(molecules=(MoleculeEntry(trajectory=path),)), tmp_path / "set.h5", workers=1)
    assert "\n" not in str(error.value) and [p.name for p in tmp_path.iterdir()] == ["run.xyz"]


def test_a_cut_dcd_is_not_labelled_as_a_shorter_one(tmp_path, capfd):
    from mdet_openmm.molecules.dcd import DcdFile

    topology = waters(tmp_path / "topology.xyz", "water")
    file = DcdFile(tmp_path / "run.dcd", 3, 0.0005, 8)
    for frame in WATERS:
        file.write(0.1 * frame)
    file.close()
    whole = (tmp_path / "run.dcd").read_bytes()
    config = LabelConfig(molecules=(MoleculeEntry(trajectory=tmp_path / "run.dcd", topology=topology),))
    for damaged, message in (
        (whole[:-70], "promises 4 frames, 2 are whole"),
        (whole[:-120] + bytes(4) + whole[-116:], "damaged in frame 3"),
    ):
        (tmp_path / "run.dcd").write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            run_label(config, tmp_path / "set.h5", workers=1)
    (tmp_path / "run.dcd").write_bytes(whole)
    (source,) = read_sources(config)
    np.testing.assert_array_equal(source.frames, WATERS.astype(np.float32))
    assert capfd.readouterr().out == ""  # where the summary is printed as JSON


def test_a_molecule_from_a_file_is_sampled(tmp_path):
    from ase.build import molecule
    from ase.io import write

    write(tmp_path / "ammonium.xyz", molecule("CH4"))
    text = (tmp_path / "ammonium.xyz").read_text().replace("C ", "N ", 1)
    (tmp_path / "ammonium.xyz").write_text(text)
    config = dataclasses.replace(
        read_config(TINY), molecules=(MoleculeEntry(file=tmp_path / "ammonium.xyz", charge=1),)
    )
    summary = run_label(config, tmp_path / "set.h5", workers=1)
    store = Store(tmp_path / "set.h5")
    assert store.molecules[0].charge == 1 and store.molecules[0].name == "ammonium"
    assert store.molecules[0].source.startswith("ammonium.xyz sha256:")
    assert summary["splits"]["test"] == 6


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([MoleculeEntry(smiles="C(")], "cannot read the SMILES"),
        ([MoleculeEntry(smiles="O", charge=1)], "not that of the SMILES"),
        ([MoleculeEntry(smiles="O", multiplicity=2)], "multiplicity"),
        ([MoleculeEntry(smiles="O"), MoleculeEntry(smiles="O")], "two molecules are named"),
        ([MoleculeEntry(file=Path("missing.xyz"))], "missing.xyz"),
        ([MoleculeEntry(trajectory=Path("missing.dcd"))], "missing.dcd"),
        ([MoleculeEntry(trajectory=TINY)], "no trajectory that can be read"),
    ],
)
def test_molecules_that_cannot_be_used_are_refused_before_anything_is_made(tmp_path, entries, message):
    with pytest.raises(InputError, match=message) as error:
        run_label(LabelConfig(molecules=tuple(entries)), tmp_path / "set.h5", workers=1)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_made_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        run_label(read_config(TINY), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder"):
        run_label(read_config(TINY), tmp_path / "file" / "set.h5")
    with pytest.raises(InputError, match="worker"):
        run_label(read_config(TINY), tmp_path / "set.h5", workers=0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"max_force": 1e-6}, r"labelled: 4 with a force above max_force \(1e-06 eV/Å\)$"),
        (
            {"teacher": {"max_iterations": 1}},
            "labelled: 4 without an answer of the teacher; the teacher first said: .*SCF",
        ),
    ],
)
def test_a_run_without_a_single_frame_says_why(tmp_path, fault, message):
    path = waters(tmp_path / "run.xyz", "")
    fault = {k: TeacherConfig(**v) if k == "teacher" else v for k, v in fault.items()}
    config = LabelConfig(molecules=(MoleculeEntry(trajectory=path),), **fault)
    with pytest.raises(RunStopped, match=message):
        run_label(config, tmp_path / "set.h5", workers=1)
    assert not (tmp_path / "set.h5").exists()


def test_one_thread_for_the_workers_leaves_the_environment_as_it_was(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_label(ase_config(), tmp_path / "set.h5", workers=1)
    assert os.environ["OMP_NUM_THREADS"] == "3"


COMPACT = LabelConfig(
    molecules=(MoleculeEntry(smiles="O", name="water"), MoleculeEntry(smiles="[NH4+]", name="ammonium")),
    seed=3,
    sampling=SamplingConfig(
        runs=(DynamicsRun(300.0, 2),), frames=10, displaced=10, equilibrate=20.0, interval=4.0, conformers=1
    ),
    held_out=HeldOutConfig(val=2, test=2, frames=2, equilibrate=10.0, interval=4.0),
    compact=True,
)


def test_a_compact_data_set_has_exact_labels_in_half_the_space(tmp_path):
    summary = run_label(COMPACT, tmp_path / "compact.h5", workers=1)
    store, whole = Store(tmp_path / "compact.h5"), dataclasses.replace(COMPACT, compact=False)
    assert summary["frames"] == len(store) > 80 and store.attributes["config"]["compact"]
    for index in range(len(store)):
        numbers, positions, forces, energy, charge, multiplicity, _, dipole = (v[0] for v in store.load([index]))
        assert np.array_equal(positions * 2048, np.round(positions * 2048))
        teacher = make_teacher(TeacherConfig(accuracy=0.1), Species(numbers, int(charge), int(multiplicity)))
        label = teacher(positions)  # of the positions as they are read
        assert energy == pytest.approx(label.energy, abs=1e-8)
        np.testing.assert_allclose(forces, label.forces, rtol=2.0**-11, atol=1e-5)
        np.testing.assert_allclose(dipole, label.dipole, rtol=2.0**-11, atol=1e-5)
    run_label(COMPACT, tmp_path / "again.h5", workers=2)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "compact.h5").read_bytes()
    run_label(whole, tmp_path / "whole.h5", workers=1)
    with h5py.File(tmp_path / "compact.h5") as packed, h5py.File(tmp_path / "whole.h5") as plain:
        for name in ("atoms/positions", "atoms/forces"):
            assert packed[name].id.get_storage_size() < 0.5 * plain[name].id.get_storage_size()


def test_some_molecules_have_held_out_conformations(tmp_path):
    molecules = tuple(MoleculeEntry(smiles=s) for s in ("O", "N", "C", "F", "Cl", "S"))
    some = dataclasses.replace(COMPACT, molecules=molecules, held_out=dataclasses.replace(COMPACT.held_out, share=0.5))
    every = plan(dataclasses.replace(some, held_out=COMPACT.held_out), read_sources(some))
    tasks = plan(some, read_sources(some))
    chosen = {t.molecule for t in tasks if t.split == "val"}
    assert 0 < len(chosen) < 6 and chosen == {t.molecule for t in tasks if t.split == "test"}
    # what is left of the plan is what it was
    assert {(t.molecule, t.split, t.seed) for t in tasks} == {
        (t.molecule, t.split, t.seed) for t in every if t.split == "train" or t.molecule in chosen
    }


def test_a_file_of_smiles(tmp_path):
    (tmp_path / "some.smi").write_text("# comment\nO water\n\nCCO\nc1ccccc1   benzene ring\n")
    (tmp_path / "some.label.yaml").write_text("molecules: [{smiles_file: some.smi, weight: 0.5, split: test}]\n")
    config = read_config(tmp_path / "some.label.yaml")
    sources = read_sources(config)
    assert [s.row.name for s in sources] == ["water", "CCO", "benzene ring"]
    assert [s.row.split for s in sources] == ["test"] * 3 and {s.weight for s in sources} == {0.5}
    alone = read_sources(dataclasses.replace(config, molecules=(MoleculeEntry(smiles="O", name="water"),)))
    assert np.array_equal(alone[0].starts[0], sources[0].starts[0])
    second = dataclasses.replace(config, molecules=(dataclasses.replace(config.molecules[0], stride=2),))
    assert [s.row.name for s in read_sources(second)] == ["water", "benzene ring"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("O water\nC(C water2\n", "line 2: RDKit cannot read the SMILES 'C\\(C'"),
        ("O water\nN ammonia\nCO water\n", "line 3: 'water' stands in line 1 already"),
        ("OCC ethanol\n\nN ammonia\nCCO alcohol\n", "line 4: 'CCO' is the molecule of line 1"),
        ("[OH3+] hydronium\nO water\n", "line 2: charge 1 of O is not that of the SMILES"),
        ("# nothing\n", "has no molecules"),
        (None, "cannot read"),
    ],
)
def test_a_file_of_smiles_that_cannot_be_used(tmp_path, text, message):
    if text is not None:
        (tmp_path / "some.smi").write_text(text)
    config = LabelConfig(molecules=(MoleculeEntry(smiles_file=tmp_path / "some.smi", charge=1),))
    with pytest.raises(InputError, match=message) as error:
        run_label(config, tmp_path / "set.h5", workers=1)
    assert "\n" not in str(error.value) and str(error.value).count("label:") == 1
    assert not list(tmp_path.glob("set.h5*"))


def test_a_held_out_molecule_cannot_be_trained_on_under_another_name(tmp_path):
    (tmp_path / "train.smi").write_text("O water\nOCC ethanol\n")
    (tmp_path / "test.smi").write_text("C methane\nC(O)C alcohol\n")
    files = [
        MoleculeEntry(smiles_file=tmp_path / f"{name}.smi", split=split)
        for name, split in (("train", "train"), ("test", "test"))
    ]
    with pytest.raises(InputError, match="'ethanol' and 'alcohol' are one molecule"):
        read_sources(LabelConfig(molecules=tuple(files)))
    triplet = MoleculeEntry(smiles="[CH2]", name="triplet", split="test")
    singlet = MoleculeEntry(smiles="[CH2]", name="singlet", multiplicity=1)
    assert len(read_sources(LabelConfig(molecules=(triplet, singlet)))) == 2  # another state, another surface


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_frames_are_held_out_where_none_are_wanted(tmp_path, share):
    """val and test of 0, or a share of 0: what is left is the training, frame by frame as it was."""
    none = HeldOutConfig(val=0, test=0) if share else HeldOutConfig(val=2, test=3, share=0.0)
    config = dataclasses.replace(COMPACT, molecules=COMPACT.molecules[:1])
    tasks = plan(dataclasses.replace(config, held_out=none), read_sources(config))
    assert {t.split for t in tasks} == {"train"}
    assert [t.seed for t in tasks] == [t.seed for t in plan(config, read_sources(config)) if t.split == "train"]


def test_a_compact_run_that_was_broken_off_ends_as_one_that_was_not(tmp_path):
    flag = tmp_path / "die"
    config = dataclasses.replace(ase_config(dies_with=str(flag)), compact=True)
    run_label(config, tmp_path / "whole.h5", workers=1)
    flag.touch()
    with pytest.raises(RunStopped, match="worker process died"):
        run_label(config, tmp_path / "broken.h5", workers=1)
    flag.unlink()
    run_label(config, tmp_path / "broken.h5", workers=2, restart=True)
    assert (tmp_path / "broken.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_file_of_smiles_has_its_own_names():
    with pytest.raises(InputError, match="stand in it"):
        LabelConfig(molecules=(MoleculeEntry(smiles_file=Path("some.smi"), name="mine"),))
