"""Errors of predictions whose errors are known, and a page that says them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from label_calculators import FAULT, FAULTY_STIFFNESS

from mdet_openmm.cli import main
from mdet_openmm.data.layout import FAILURES, SPLITS, FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.errors import InputError
from mdet_openmm.evaluation.evaluate import JSON_NAME, PAGE_NAME, evaluate
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.force_module import forces as ase_units
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

MOLECULES = (
    MoleculeRow("water", "O", "", 0, 1, "train", 3),
    MoleculeRow("hydroxide", "[OH-]", "", -1, 1, "train", 2),
    MoleculeRow("dioxygen", "O=O", "", 0, 3, "test", 2),
)
NUMBERS = ([8, 1, 1], [8, 1], [8, 8])
TEMPERATURE = (300.0, 600.0, np.nan)


CALCULATOR = "label_calculators:Faulty"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Springs to the centroid: 12 test frames each of water and hydroxide, 8 unseen ones of dioxygen."""
    rng = np.random.default_rng(0)
    blocks = []
    for index, (numbers, split, count) in enumerate(zip(NUMBERS, ("test", "test", "unseen"), (12, 12, 8), strict=True)):
        x = rng.normal(size=(count, len(numbers), 3)).astype(np.float32).astype(float)
        x -= x.mean(axis=1, keepdims=True)
        x = x.astype(np.float32)
        blocks.append(
            FrameBlock(
                molecule=index,
                task=index,
                split=SPLITS.index(split),
                atomic_numbers=np.array(numbers),
                positions=x,
                forces=(-FAULTY_STIFFNESS * x).astype(np.float32),
                energy=0.5 * FAULTY_STIFFNESS * (x.astype(float) ** 2).sum(axis=(1, 2)),
                dipole=np.full((count, 3), np.nan, dtype=np.float32),
                temperature=np.full(count, TEMPERATURE[index], dtype=np.float32),
                kind=np.zeros(count, dtype=np.uint8),
                failures=np.zeros(len(FAILURES), dtype=np.int64),
                message="",
            )
        )
    path = tmp_path_factory.mktemp("data") / "springs.h5"
    write_dataset(path, list(MOLECULES), blocks, {"teacher": "springs", "config": {}})
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2, energy_head=True))
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(folder, network, elements=[1, 8], training={}, metrics={}, card="")
    return folder


def evaluated(tmp_path: Path, model: Path, data: Path, **settings: Any) -> dict[str, Any]:
    few: dict[str, Any] = {
        "symmetry_frames": 4,
        "lambda_frames": 3,
        "workers": 1,
        "quiet": True,
        "output": tmp_path / "report",
    }
    return evaluate(EvaluateSettings(model=str(model), data=data, **{**few, **settings}))


def test_errors_that_are_known(tmp_path: Path, model: Path, data: Path) -> None:
    numbers = evaluated(tmp_path, model, data, calculator=(CALCULATOR,), measure_calculators=True)
    faulty = numbers["methods"][1]
    assert faulty["frames"] == 32 and faulty["without_answer"] == 0
    mev = {z: 1e3 * fault for z, fault in FAULT.items()}
    assert faulty["by_element"]["H"]["force_mae_meV_A"] == pytest.approx(mev[1], rel=1e-4)
    assert faulty["by_element"]["O"]["force_rmse_meV_A"] == pytest.approx(mev[8], rel=1e-4)
    of = faulty["by_molecule"]
    assert of["water"]["force_mae_meV_A"] == pytest.approx((mev[8] + 2 * mev[1]) / 3, rel=1e-4)
    assert of["hydroxide"]["force_rmse_meV_A"] == pytest.approx(((mev[8] ** 2 + mev[1] ** 2) / 2) ** 0.5, rel=1e-4)
    assert faulty["by_charge"]["-1"] == of["hydroxide"] and faulty["by_split"]["unseen"] == of["dioxygen"]
    assert set(faulty["by_temperature"]) == {"300", "600", "unknown"}
    assert faulty["by_temperature"]["600"] == of["hydroxide"]
    # 2 eV too much, which the mean of each molecule takes out
    assert of["dioxygen"]["energy_mae_meV_atom"] == pytest.approx(1000.0, rel=1e-5)
    assert faulty["relative_energy_rmse_meV_atom"] < 1e-3
    # springs to the centroid turn with the molecule and have an energy; the fault, which does not turn, is E_eq
    assert faulty["lambda"] == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < faulty["e_eq_kcal_mol_A"] < 23.1 * 3**0.5 * max(FAULT.values())


def test_a_model_has_the_errors_of_its_own_forces(tmp_path: Path, model: Path, data: Path) -> None:
    numbers = evaluated(tmp_path, model, data, splits=("unseen",), orientations=60)
    from mdet_openmm.data.store import Store

    store = Store(data)
    frames = store.load(store.indices("unseen"))
    loaded = load_model(model)
    module = bind(loaded, Species(np.array([8, 8]), 0, 3), ForceOptions(orientations=60, offset="none"))
    found = np.array([ase_units(module, x)[1] for x in frames.positions])
    # 60 orientations of a group: what is left of the dependence on the first one is small beside the error
    expected = 1e3 * np.abs(found - frames.forces).mean()
    assert numbers["methods"][0]["force_mae_meV_A"] == pytest.approx(expected, rel=2e-3)
    assert numbers["methods"][0]["lambda"] > 1e-4


def test_conservative_forces_are_the_gradient(tmp_path: Path, model: Path, data: Path) -> None:
    numbers = evaluated(tmp_path, model, data, forces="conservative")["methods"][0]
    assert numbers["lambda"] == pytest.approx(0.0, abs=1e-10) and numbers["energy_mae_meV_atom"] > 0


def test_the_outcome_depends_neither_on_workers_nor_on_what_else_is_in_the_table(
    tmp_path: Path, model: Path, data: Path
) -> None:
    one = evaluated(tmp_path, model, data, output=tmp_path / "a")
    two = evaluated(tmp_path, model, data, output=tmp_path / "b", beside=(str(model),), calculator=(CALCULATOR,))
    assert one["methods"][0] == two["methods"][0] == two["methods"][1]


def test_frames_without_an_answer_are_counted_and_said(tmp_path: Path, model: Path, data: Path) -> None:
    import h5py

    far = tmp_path / "far.h5"
    far.write_bytes(data.read_bytes())
    with h5py.File(far, "r+") as file:
        file["atoms/positions"][0] = [9.0, 0.0, 0.0]
    numbers = evaluated(tmp_path, model, far, calculator=(CALCULATOR,))
    faulty = numbers["methods"][1]
    assert (faulty["without_answer"], faulty["frames"]) == (1, 31)
    assert faulty["by_element"]["H"]["force_mae_meV_A"] == pytest.approx(1e3 * FAULT[1], rel=1e-4)
    page = (tmp_path / "report" / PAGE_NAME).read_text()
    assert "has no answer for 1 frames: CalculationFailed: out of reach" in page


def test_the_page_and_the_file(tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    flags = ["--calculator", CALCULATOR, "--symmetry-frames", "2", "--lambda-frames", "1", "--workers", "1", "--quiet"]
    assert main(["evaluate", str(model), str(data), "--output", str(out), *flags]) == 0
    shown = capsys.readouterr().out
    assert CALCULATOR in shown and "small" in shown and f"report: {out / PAGE_NAME}" in shown
    numbers = json.loads((out / JSON_NAME).read_text())
    assert numbers["format"] == "mdet-evaluation 1" and numbers["data"]["teacher"] == "springs"
    page = (out / PAGE_NAME).read_text()
    for words in ("small on springs.h5", "Energies", "Elements", "hydroxide", "E_eq"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    assert main(["evaluate", str(model), str(data), "--output", str(out)]) == 2, "nothing is overwritten"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"splits": ("val",)}, "has no frames to evaluate in val"),
        ({"splits": ("all",)}, "has no split 'all'"),
        ({"calculator": ("nowhere",)}, "module:Class"),
        ({"calculator": ("no_such_module:X",)}, "no_such_module"),
        ({"teacher": ("ase",)}, "--teacher must be one of gfn2"),
        ({"beside": ("no-such-model",)}, "no model no-such-model"),
        ({"scheduler": "local"}, "--workers is for this machine"),
        pytest.param(
            {"device": "cuda"},
            "torch finds no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_what_cannot_be_evaluated(
    tmp_path: Path, model: Path, data: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        evaluated(tmp_path, model, data, **settings)
    assert not (tmp_path / "report").exists()
