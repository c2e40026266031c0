"""SO3LR in batches against its own calculator and finite differences; labels do not depend on how they are made."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from mdet_openmm.data.config import (
    DynamicsRun,
    HeldOutConfig,
    LabelConfig,
    MoleculeEntry,
    SamplingConfig,
    TeacherConfig,
)
from mdet_openmm.data.label import run_label
from mdet_openmm.data.labels import Label, TeacherFailure
from mdet_openmm.data.partial import block_path, collect
from mdet_openmm.data.store import Store
from mdet_openmm.data.teacher import make_batch_teacher, make_teacher, teacher_version
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import conformers_from_smiles

pytest.importorskip("so3krates_torch", reason="SO3LR needs the extra 'teachers'")

SMILES = ("CCO", "c1ccccc1", "[Cl-]", "C[NH3+]", "CC(=O)[O-]", "O", "[H][H]", "CS(=O)C", "CP(C)C", "O.O")


@pytest.fixture(scope="module")
def requests() -> list[tuple[Species, np.ndarray]]:
    rng = np.random.default_rng(0)
    molecules = [conformers_from_smiles(s, 1)[0] for s in SMILES]
    return [
        (Species(m.atomic_numbers, m.charge, 1), m.positions + 0.05 * rng.normal(size=m.positions.shape))
        for m in molecules
    ]


def labels(precision: str, requests: list[tuple[Species, np.ndarray]]) -> list[Label]:
    answers = make_batch_teacher(TeacherConfig(kind="so3lr", precision=precision))(requests)
    assert all(isinstance(a, Label) for a in answers)
    return [a for a in answers if isinstance(a, Label)]


def test_a_batch_of_sizes_and_charges_gives_what_the_packages_calculator_gives(requests):
    import torch
    from ase import Atoms
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    before = torch.get_default_dtype()
    try:
        calculator = SO3LRCalculator(r_max_lr=1000.0, dispersion_energy_cutoff_lr_damping=2.0, default_dtype="float64")
        for (system, x), label in zip(requests, labels("fp64", requests), strict=True):
            atoms = Atoms(system.atomic_numbers, x, info={"charge": system.charge})
            atoms.calc = calculator
            assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
            np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-9)
            np.testing.assert_allclose(label.dipole, atoms.get_dipole_moment(), atol=1e-9)
    finally:
        torch.set_default_dtype(before)
    assert torch.get_default_dtype() == torch.float32


def test_fp32_is_fp64_to_thousandths_of_a_mev_and_alone_is_in_company(requests):
    single, double = labels("fp32", requests), labels("fp64", requests)
    errors = np.concatenate([(s.forces - d.forces).ravel() for s, d in zip(single, double, strict=True)])
    assert np.abs(errors).mean() < 1e-5 and np.abs(errors).max() < 1e-4  # eV/Å
    for request, label in zip(requests, double, strict=True):
        system = request[0]
        config = TeacherConfig(kind="so3lr", precision="fp64")
        alone = make_teacher(config, Species(system.atomic_numbers, system.charge))(request[1])
        np.testing.assert_allclose(alone.forces, label.forces, atol=1e-10)


def test_forces_are_the_negative_gradient_of_the_energy(requests):
    system, x = requests[3]
    step = 1e-4
    moved = [x + sign * step * np.eye(x.size)[k].reshape(x.shape) for k in range(x.size) for sign in (1, -1)]
    energies = np.array([a.energy for a in labels("fp64", [(system, m) for m in moved])])
    numeric = -(energies[0::2] - energies[1::2]) / (2 * step)
    np.testing.assert_allclose(labels("fp64", [(system, x)])[0].forces.ravel(), numeric, atol=1e-6)


def test_one_structure_without_an_answer_does_not_touch_the_others(requests):
    bad, on_top = requests[0][1].copy(), requests[0][1].copy()
    bad[0, 0], on_top[1] = np.nan, on_top[0]
    system = requests[0][0]
    answers = make_batch_teacher(TeacherConfig(kind="so3lr"))(
        [requests[0], (system, bad), (system, on_top), requests[1]]
    )
    assert isinstance(answers[1], TeacherFailure) and isinstance(answers[2], TeacherFailure)
    first, last = labels("fp32", [requests[0], requests[1]])
    for answer, alone in ((answers[0], first), (answers[3], last)):
        assert isinstance(answer, Label)
        np.testing.assert_allclose(answer.forces, alone.forces, atol=1e-5)


@pytest.mark.parametrize(("smiles", "message"), [("CBr", "not Br"), ("[CH3]", "closed shells"), ("[SiH4]", "not Si")])
def test_what_it_does_not_know_is_refused_before_anything_is_computed(tmp_path, smiles, message):
    config = LabelConfig(
        molecules=(MoleculeEntry(smiles="O"), MoleculeEntry(smiles=smiles)), teacher=TeacherConfig("so3lr")
    )
    with pytest.raises(InputError, match=message):
        run_label(config, tmp_path / "set.h5", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_than_those_of_the_distribution_are_refused(monkeypatch):
    from mdet_openmm.data import so3lr

    name, version = teacher_version(TeacherConfig(kind="so3lr"))
    assert "PBE0" in name and so3lr.WEIGHTS_SHA256 in version
    monkeypatch.setattr(so3lr, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(InputError, match="SHA-256"):
        teacher_version(TeacherConfig(kind="so3lr"))


CONFIG = LabelConfig(
    molecules=(
        *(MoleculeEntry(smiles=s) for s in ("CCO", "C[NH3+]", "O.O")),
        MoleculeEntry(smiles="CO", split="test"),
    ),
    teacher=TeacherConfig(kind="so3lr"),
    compact=True,
    sampling=SamplingConfig(
        runs=(DynamicsRun(400.0, 1), DynamicsRun(1000.0, 2)), frames=4, displaced=6, equilibrate=8.0, interval=4.0,
        timestep=2.0, conformers=2,
    ),
    held_out=HeldOutConfig(val=2, test=2, unseen=4, frames=2, equilibrate=6.0, interval=4.0, timestep=2.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run left that was stopped when all was labelled and the set not yet assembled."""
    from mdet_openmm.data import label

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    path = tmp_path_factory.mktemp("so3lr-broken-off") / "set.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label, "write_dataset", stop)
        with pytest.raises(KeyboardInterrupt):
            run_label(CONFIG, path, workers=1)
    assert not path.exists()
    return path.with_name("set.h5.partial")


@pytest.fixture(scope="module")
def labelled(broken_off: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, gone on with."""
    path = tmp_path_factory.mktemp("so3lr") / "set.h5"
    shutil.copytree(broken_off, path.with_name("set.h5.partial"))
    run_label(CONFIG, path, workers=1, restart=True)
    return path


def test_workers_and_interruptions_leave_no_trace_in_the_labels(tmp_path, broken_off, labelled):
    run_label(CONFIG, tmp_path / "two.h5", workers=2)
    assert (tmp_path / "two.h5").read_bytes() == labelled.read_bytes()
    # of a run that was broken off one task of a group is lost
    shutil.copytree(broken_off, tmp_path / "again.h5.partial")
    block_path(tmp_path / "again.h5.partial", 3).unlink()
    summary = collect(tmp_path / "again.h5.partial", tmp_path / "so-far.h5")
    run_label(CONFIG, tmp_path / "again.h5", workers=1, restart=True)
    assert (tmp_path / "again.h5").read_bytes() == labelled.read_bytes()
    with Store(tmp_path / "so-far.h5") as some, Store(labelled) as whole:
        assert 0 < len(some) == summary["frames"] < len(whole)
        assert some.attributes["config"] == whole.attributes["config"]
        lost = set(range(len(np.unique(whole._column("task"))))) - set(some._column("task").tolist())
        assert lost == {3}


def test_stored_labels_belong_to_the_stored_positions(labelled):
    with Store(labelled) as store:
        assert "So3krates-torch 0.2.1" in store.attributes["teacher_version"]
        frames = [store.load([i]) for i in range(0, len(store), 7)]
    again = labels("fp32", [(Species(f.atomic_numbers[0], int(f.charge[0]), 1), f.positions[0]) for f in frames])
    for frame, label in zip(frames, again, strict=True):
        assert frame.energy[0] == pytest.approx(label.energy, abs=2e-3)
        np.testing.assert_allclose(frame.forces[0], label.forces, rtol=2.0**-11, atol=2e-5)  # kept to 11 bits
        np.testing.assert_allclose(frame.dipole[0], label.dipole, rtol=2.0**-11, atol=1e-4)


def test_separate_molecules_are_moved_against_each_other(labelled):
    """A pair's frames come nearer and farther, and none is torn apart: its contact counts as a bond."""
    with Store(labelled) as store:
        index = [m.name for m in store.molecules].index("O.O")
        frames = store.load(np.flatnonzero((store.molecule == index) & (store.splits == 0)))
    oxygens = [k for k, z in enumerate(frames.atomic_numbers[0]) if z == 8]
    apart = np.linalg.norm(frames.positions[:, oxygens[0]] - frames.positions[:, oxygens[1]], axis=1)
    assert len(apart) > 20 and np.ptp(apart) > 0.2 and apart.min() > 2.4 and apart.max() < 8.0


def test_the_same_molecule_in_another_list_starts_alike(labelled):
    from mdet_openmm.data.plan import plan
    from mdet_openmm.data.sources import read_sources

    alone = dataclasses.replace(CONFIG, molecules=CONFIG.molecules[2:3])
    every = {t.seed: t for t in plan(CONFIG, read_sources(CONFIG))}
    for task in plan(alone, read_sources(alone)):
        np.testing.assert_array_equal(task.positions, every[task.seed].positions)
