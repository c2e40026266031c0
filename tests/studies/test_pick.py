"""Picked structures differ from each other, those of which the model is unsure come first, and label reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdet_openmm.cli import main
from mdet_openmm.data.config import HeldOutConfig, LabelConfig, MoleculeEntry
from mdet_openmm.data.plan import plan
from mdet_openmm.data.sources import read_source
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.measure.field import make_field
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.molecules.trajectories import read_trajectory
from mdet_openmm.studies.pick import descriptors, farthest, pick, spreads
from mdet_openmm.studies.pick_settings import PickSettings

MODEL = "mdet-gfn2-mini"


@pytest.fixture(scope="module")
def water() -> Molecule:
    return molecule_from_smiles("O", name="water")


def written(path: Path, molecule: Molecule, frames: np.ndarray, charge: int = 0) -> Path:
    from ase import Atoms
    from ase.io import write

    info = {"charge": charge, "multiplicity": 1}
    write(path, [Atoms(molecule.atomic_numbers, x, info=info) for x in frames], format="extxyz")
    return path


def around(molecule: Molecule, count: int, size: float, seed: int = 0) -> np.ndarray:
    return molecule.positions + np.random.default_rng(seed).normal(scale=size, size=(count, molecule.n_atoms, 3))


def test_the_descriptor_knows_neither_orientation_nor_which_hydrogen_is_which(water: Molecule) -> None:
    (x,) = around(water, 1, 0.1)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    same = np.stack([x, x @ turn + 2.0, x[[0, 2, 1]]])
    found = descriptors(water.atomic_numbers, same)
    np.testing.assert_allclose(found[1:], found[:1].repeat(2, axis=0), atol=1e-12)
    stretched = x.copy()
    stretched[1] += 0.2 * (x[1] - x[0])
    assert np.abs(descriptors(water.atomic_numbers, stretched[None]) - found[0]).max() > 0.05


def test_without_weights_one_of_each_group_is_picked() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(7), 30)
    points = 10.0 * rng.normal(size=(7, 5))[groups] + 0.01 * rng.normal(size=(210, 5))
    picked = farthest(points, np.ones(210), 7)
    assert sorted(groups[picked]) == list(range(7))
    assert len(set(farthest(points, np.ones(210), 210))) == 210, "none twice"


def test_weights_draw_the_choice_to_what_is_unsure() -> None:
    points = np.random.default_rng(0).uniform(size=(4000, 2))
    unsure = points[:, 0] > 0.75
    even = unsure[farthest(points, np.ones(4000), 100)].mean()
    drawn = unsure[farthest(points, np.where(unsure, 4.0, 1.0), 100)].mean()
    # density grows as the square of the weight in two dimensions: 16 to 1 over a quarter of the area
    assert even == pytest.approx(0.25, abs=0.08) and drawn == pytest.approx(16 / 19, abs=0.08)


def test_the_spread_is_e_eq_of_each_frame(water: Molecule) -> None:
    field = make_field(load_model(MODEL), water, "double")
    frames = around(water, 3, 0.05)
    settings = PickSettings(trajectories=(Path("x"),), orientations=400, quiet=True)
    found = spreads(field, frames, settings)
    from mdet_openmm.measure.field import uniform_rotations
    from mdet_openmm.measure.orientation import orientation_noise

    x = torch.from_numpy(frames[1]) * 0.1
    turned = field.turned_back(x, uniform_rotations(400, torch.Generator().manual_seed(5)))
    assert found[1] == pytest.approx(orientation_noise(field, x, turned).e_eq / 41.84, rel=0.1)


def test_from_trajectories_to_tasks_of_label(
    tmp_path: Path, water: Molecule, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = around(water, 3, 0.02, seed=2)
    torn[1, 1] += 2.0
    a = written(tmp_path / "a.xyz", water, around(water, 40, 0.02))
    b = written(tmp_path / "b.xyz", water, torn)
    out = tmp_path / "picked.xyz"
    asked = ["pick", str(a), str(b), "--model", MODEL, "--count", "20", "--output", str(out), "--quiet"]
    assert main(asked) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["picked"], report["candidates"], report["broken"]) == (20, 42, 1)
    assert report["e_eq_picked_kcal_mol_A"] > 0
    found = read_trajectory(out)
    everything = np.concatenate([read_trajectory(a).positions, read_trajectory(b).positions])
    shifts = np.abs(found.positions[:, None] - found.positions[:, None].mean(axis=2, keepdims=True)
                    - everything[None] + everything[None].mean(axis=2, keepdims=True)).max(axis=(2, 3))  # fmt: skip
    assert (shifts.min(axis=1) < 1e-6).all() and len(set(shifts.argmin(axis=1))) == 20, "frames of the trajectories"
    first = out.read_bytes()
    assert main(asked) == 2 and out.read_bytes() == first, "nothing is overwritten"
    out.unlink()
    assert main(asked) == 0 and out.read_bytes() == first, "the same again"

    entry = MoleculeEntry(trajectory=out)
    config = LabelConfig(molecules=(entry,), held_out=HeldOutConfig(given=0.1))
    tasks = plan(config, [read_source(("", entry), config)])
    assert {t.split: t.frames for t in tasks} == {"train": 16, "val": 2, "test": 2}
    labelled = np.concatenate([t.positions for t in tasks])
    assert len(np.unique(labelled.reshape(20, -1), axis=0)) == 20
    assert [t.index for t in tasks] == [0, 1, 2] and len({t.seed for t in tasks}) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 500}, "there are 40 whole frames"),
        ({"model": "nothing"}, "no model nothing"),
        ({"charge": 1}, "charge|electrons|multiplicity"),
    ],
)
def test_what_cannot_be_picked(tmp_path: Path, water: Molecule, settings: dict[str, Any], words: str) -> None:
    path = written(tmp_path / "a.xyz", water, around(water, 40, 0.02))
    asked: dict[str, Any] = {
        "trajectories": (path,),
        "count": 5,
        "model": MODEL,
        "output": tmp_path / "p.xyz",
        "quiet": True,
    }
    with pytest.raises(InputError, match=words):
        pick(PickSettings(**{**asked, **settings}))
    assert not (tmp_path / "p.xyz").exists()


def test_one_molecule_at_a_time(tmp_path: Path, water: Molecule) -> None:
    a = written(tmp_path / "a.xyz", water, around(water, 9, 0.02))
    ammonia = molecule_from_smiles("N", name="ammonia")
    b = written(tmp_path / "b.xyz", ammonia, around(ammonia, 9, 0.02))
    with pytest.raises(InputError, match="other atoms"):
        pick(PickSettings(trajectories=(a, b), count=5, output=tmp_path / "p.xyz", quiet=True))
