"""From run folders of the authors' code, good and hostile, to models that run."""

import dataclasses
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import write
from textbook import TextbookNetwork, random_state_dict

from mdet_openmm.cli import main
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.predict import predict
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.published.importing import import_model
from mdet_openmm.published.settings import ImportSettings
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NvtSettings
from mdet_openmm.units import ANGSTROM_PER_BOHR, EV_PER_ANGSTROM_PER_ATOMIC_FORCE, EV_PER_HARTREE

SHARED = Path(__file__).resolve().parents[3] / "shared" / "parity"
V1: dict[str, Any] = {
    "_target_": "lib.models.pair_encoder.PairEncoder",
    "n_layers": 2,
    "embd_dim": 16,
    "num_3d_kernels": 8,
    "cls_token": False,
    "num_heads": 4,
    "activation": "gelu",
    "ffn_multiplier": 2,
    "norm_first": True,
    "norm": "layer",
    "decomposer_type": "pooling",
    "target_heads": ["forces"],
    "head_project_down": True,
}
V2: dict[str, Any] = {
    **V1,
    "target_heads": ["forces", "formation_energy"],
    "use_electronic_embeddings": False,
    "energy_conserving": False,
    "directional_embed_type": "direct",
    "distance_embed_type": "gaussian",
    "embed_edge_types": False,
}
NUMBERS = [8, 1, 1]
WATER = np.array([[0.0, 0.03, 0.0], [0.76, 0.6, 0.1], [-0.7, 0.63, -0.2]])


def make_run(folder: Path, options: dict[str, Any], tensors: dict[str, Any] | None = None, **more: Any) -> Path:
    """A run folder as the authors' programs leave it."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / "ckpts").mkdir()
    config = {"cfg_version": "1.1", "train": {"model": options, "lr": 5e-4}}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    state = random_state_dict(options, 3) if tensors is None else tensors
    torch.save({"model_state_dict": state, "step": 7, **more}, folder / "ckpts" / "best_model.pth")
    return folder


def imported(run: Path, name: str = "model", **options: Any) -> Any:
    return load_model(import_model(ImportSettings(str(run), run.parent / name, **options)))


def expected(options: dict[str, Any], positions: np.ndarray = WATER, charge: int = 0, multiplicity: int = 1) -> Any:
    """Forces in eV/Å and energy in eV of an independent implementation."""
    network = TextbookNetwork(random_state_dict(options, 3), options)
    x = torch.tensor((positions - positions.mean(axis=0)) / ANGSTROM_PER_BOHR)[None]
    out = network(torch.tensor([NUMBERS]), x, torch.tensor([charge]), torch.tensor([multiplicity]))
    energy = out.get("formation_energy")
    return (
        out["forces"][0].detach().numpy() * EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
        None if energy is None else float(energy.detach().reshape(())) * EV_PER_HARTREE,
    )


@pytest.fixture
def water(tmp_path: Path) -> Path:
    write(tmp_path / "water.xyz", Atoms(numbers=NUMBERS, positions=WATER))
    return tmp_path / "water.xyz"


@pytest.mark.parametrize("options", [V1, V2], ids=["v1", "v2"])
def test_predict_gives_what_an_independent_implementation_gives(tmp_path: Path, water: Path, options: Any) -> None:
    model = imported(make_run(tmp_path / "run", options))
    result = predict(model.path, water, options=ForceOptions(raw=True))
    per_angstrom, energy = expected(options)
    assert np.abs(result["forces_eV_per_A"] - per_angstrom).max() < 1e-9 * np.abs(per_angstrom).max()
    assert result["energy_eV"] == (pytest.approx(energy, rel=1e-9) if energy is not None else None)
    filtered = np.array(predict(model.path, water)["forces_eV_per_A"])
    assert np.abs(filtered.sum(axis=0)).max() < 1e-10 * np.abs(filtered).max()
    assert np.abs(np.cross(WATER - WATER.mean(0), filtered).sum(0)).max() < 1e-10 * np.abs(filtered).max()


def test_charge_and_multiplicity_are_the_users(tmp_path: Path) -> None:
    model = imported(make_run(tmp_path / "run", V2))
    for charge, multiplicity in ((0, 1), (1, 2), (-1, 4)):
        module = bind(model, Species(NUMBERS, charge, multiplicity), ForceOptions(raw=True, offset="none"))
        per_angstrom, _ = expected(V2, charge=charge, multiplicity=multiplicity)
        assert np.abs(forces(module, WATER)[1] - per_angstrom).max() < 1e-9 * np.abs(per_angstrom).max()
    with pytest.raises(InputError, match="a charge must be from -64 to 63"):
        bind(model, Species(NUMBERS, 64), ForceOptions(offset="none"))


@pytest.mark.skipif(not SHARED.exists(), reason=f"the authors' outputs are not here ({SHARED})")
@pytest.mark.parametrize("name", ["run_v1", "run_v2"])
def test_the_authors_run_folders(tmp_path: Path, name: str) -> None:
    with np.load(SHARED / name / "expected.npz") as data:
        known = dict(data)
    model = load_model(import_model(ImportSettings(str(SHARED / name), tmp_path / name)))
    numbers = known["atomic_numbers"]
    for which in ("", "rot/"):
        energy, got = forces(
            bind(model, Species(numbers), ForceOptions(raw=True, offset="none")), known[which + "positions_ang"]
        )
        wanted = known[which + "forces_fp64"] * EV_PER_ANGSTROM_PER_ATOMIC_FORCE
        # their conversion of Å to bohr is 7e-8 off CODATA 2018
        assert np.abs(got - wanted).max() < 5e-7 * np.abs(wanted).max()
        if "energy_fp64" in known:
            assert energy == pytest.approx(float(known[which + "energy_fp64"][0]) * EV_PER_HARTREE, rel=1e-7)
            filtered = forces(
                bind(model, Species(numbers), ForceOptions(offset="none")), known[which + "positions_ang"]
            )[1]
            theirs = known[which + "ase_forces_eV_A_filtered"]  # fp32
            assert np.abs(filtered - theirs).max() < 3e-6 * np.abs(theirs).max()


@pytest.mark.parametrize("kind", ["direct", "conservative"])
def test_nvt_is_the_same_in_both_backends(tmp_path: Path, water: Path, kind: str) -> None:
    model = imported(make_run(tmp_path / "run", V2))
    ends = []
    for backend in ("torch", "python"):
        output = tmp_path / backend
        settings = NvtSettings(
            system=water, model=str(model.path), time=0.2, report_interval=1.0, equilibrate=0.0,
            minimize=False, watch=False, seed=1, backend=backend, forces=kind, output=output, quiet=True,
        )  # fmt: skip
        assert run_nvt(settings)["time_ps"] == 0.2
        ends.append((output / "trajectory.dcd").read_bytes() + (output / "log.csv").read_bytes())
    assert ends[0] == ends[1]
    header, *rows = (tmp_path / "torch" / "log.csv").read_text().splitlines()
    assert header.endswith("potential_energy_kJ_mol") and len({row.split(",")[-1] for row in rows}) > 100


def test_ema_and_other_checkpoints(tmp_path: Path) -> None:
    average = random_state_dict(V2, 4)
    state = {"decay": 0.999, "shadow": {f"encoder.{k}": v for k, v in average.items()}, "backup": {}}
    run = make_run(tmp_path / "run", V2, ema_state=state)
    plain, averaged = imported(run, "plain"), imported(run, "averaged", ema=True)
    assert plain.sha256 != averaged.sha256
    key = "composer.weight"
    assert torch.equal(averaged.network.state_dict()[key], average["composer.node_proj.0.weight"])
    with pytest.raises(InputError, match="no moving average"):
        imported(make_run(tmp_path / "without", V2), "none", ema=True)
    torch.save({"model_state_dict": average}, run / "ckpts" / "last.pth")
    for options in ({"checkpoint": "last"}, {"checkpoint": "last.pth"}):
        assert imported(run, f"by-{options['checkpoint']}", **options).sha256 == averaged.sha256
    direct = import_model(ImportSettings(str(run / "ckpts" / "last.pth"), tmp_path / "from-file"))
    assert load_model(direct).sha256 == averaged.sha256
    with pytest.raises(InputError, match=r"no first; it has best_model\.pth, last\.pth"):
        imported(run, "x", checkpoint="first")
    (run / "ckpts" / "best_model.pth").rename(run / "ckpts" / "a.pth")
    with pytest.raises(InputError, match=r"several checkpoints.*a\.pth, last\.pth"):
        imported(run, "x")


def test_the_fine_tuned_layout_and_python_tags_in_a_configuration(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", V1)
    sentinel = tmp_path / "ran"
    (run / ".hydra" / "config.yaml").write_text(
        "ft:\n  lr: 5.0e-05\n  data_dir: !!python/object/apply:pathlib.PosixPath\n  - /\n  - data\n"
        f"  trap: !!python/object/apply:os.system\n  - touch {sentinel}\n  size: !!python/tuple [1, 2]\n"
        "  f: !!python/name:builtins.eval ''\n"
    )
    (run / ".hydra" / "model_pretrain_conf.yaml").write_text(yaml.safe_dump(V1))
    model = imported(run)
    assert model.metadata["training"]["configuration"] == "model_pretrain_conf.yaml"
    per_angstrom, _ = expected(V1)
    assert (
        np.abs(
            forces(bind(model, Species(NUMBERS), ForceOptions(raw=True, offset="none")), WATER)[1] - per_angstrom
        ).max()
        < 1e-9
    )
    assert not sentinel.exists()
    (run / ".hydra" / "model_pretrain_conf.yaml").unlink()
    with pytest.raises(InputError, match=r"no model: neither train\.model nor num_heads"):
        imported(run, "x")


def test_the_tensors_decide_where_the_newest_code_ignores_an_option(tmp_path: Path) -> None:
    state = random_state_dict(V2, 3)
    stale = {
        **V2, "cls_token": True, "activation": "relu", "use_electronic_embeddings": True,
        "directional_embed_type": "fourier",
    }  # fmt: skip
    model = imported(make_run(tmp_path / "run", stale, state))
    per_angstrom, _ = expected(V2)
    assert (
        np.abs(
            forces(bind(model, Species(NUMBERS), ForceOptions(raw=True, offset="none")), WATER)[1] - per_angstrom
        ).max()
        < 1e-9
    )
    notes = " ".join(model.metadata["training"]["notes"])
    assert "directional_embed_type fourier" in notes and "cls_token and activation" in notes
    assert notes.split(":")[0] in (model.path / "README.md").read_text()


def test_what_the_optimiser_has_seen_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = random_state_dict(V2, 3)
    moments: dict[int, Any] = {}
    for i, (name, value) in enumerate(state.items()):
        moment = torch.ones_like(value)
        if "embedding.weight" in name:
            moment[[7, 9]] = 0.0
        if "multiplicity" in name:
            moment[[2]] = 0.0
        moments[i] = {"step": torch.tensor(5000.0), "exp_avg": moment, "exp_avg_sq": moment}
    model = imported(make_run(tmp_path / "run", V2, optimizer_state_dict={"state": moments, "param_groups": []}))
    assert 7 not in model.elements and 9 not in model.elements and 8 in model.elements
    assert model.notes(NUMBERS, 0, 1) == []
    (note,) = model.notes(NUMBERS, 1, 2)
    assert "never seen multiplicity 2" in note
    few = {i: {**entry, "step": torch.tensor(3.0)} for i, entry in moments.items()}
    unknown = imported(make_run(tmp_path / "new", V2, optimizer_state_dict={"state": few}), "unknown")
    assert unknown.notes([7, 9], 1, 2) == [] and set(unknown.elements) == set(range(1, 101))
    assert imported(tmp_path / "new", "few", elements="H,O").elements == (1, 8)


class Trap:
    """A pickle that makes a file when it is loaded by a loader that executes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def hostile(run: Path, how: str) -> None:
    path = run / "ckpts" / "best_model.pth"
    good = torch.load(path, weights_only=True)
    state = good["model_state_dict"]
    if how == "a pickle that runs code":
        torch.save({"model_state_dict": state, "step": Trap(run / "ran")}, path)
    elif how == "a bare pickle that runs code":
        path.write_bytes(pickle.dumps({"model_state_dict": Trap(run / "ran")}))
    elif how == "an old torch file that runs code":
        torch.save({"model_state_dict": Trap(run / "ran")}, path, _use_new_zipfile_serialization=False)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>not found</html>")
    elif how == "another zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", "y")
    elif how == "no state dict":
        torch.save({"weights": state}, path)
    elif how == "a list":
        torch.save([1, 2], path)
    elif how == "unknown key":
        torch.save({"model_state_dict": {**state, "layers.0.attention.gate.weight": torch.ones(2)}}, path)
    elif how == "missing key":
        torch.save({"model_state_dict": {k: v for k, v in state.items() if k != "layers.1.ffn.mlp.3.bias"}}, path)
    elif how == "wrong shape":
        torch.save({"model_state_dict": {**state, "decomposer.node_mlp.4.weight": torch.ones(5, 5)}}, path)
    elif how == "not finite":
        torch.save({"model_state_dict": {**state, "composer.node_proj.0.bias": torch.full((16,), torch.nan)}}, path)
    elif how == "another network":
        torch.save({"model_state_dict": {"conv.weight": torch.ones(3, 3)}}, path)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("a pickle that runs code", "could run code"),
        ("a bare pickle that runs code", "could run code"),
        ("an old torch file that runs code", "could run code"),
        ("truncated", "damaged"),
        ("empty", "damaged"),
        ("text", "damaged"),
        ("another zip", "damaged"),
        ("no state dict", "no 'model_state_dict'"),
        ("a list", "no 'model_state_dict'"),
        ("unknown key", "'layers.0.attention.gate.weight' has no place"),
        ("missing key", "lacks 'layers.1.ffn.mlp.3.bias'"),
        ("wrong shape", "'decomposer.node_mlp.4.weight' has shape (5, 5), but (16, 16)"),
        ("not finite", "'composer.node_proj.0.bias' has values that are not finite"),
        ("another network", "lacks 'composer.node_proj.0.weight'"),
    ],
)
def test_bad_checkpoints_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, says: str
) -> None:
    run = make_run(tmp_path / "run", V2)
    hostile(run, how)
    assert main(["import", str(run), "--output", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and len(said) < 400
    assert not (run / "ran").exists() and not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_heads": 3}, "num_heads 3 does not divide the width 16"),
        ({"num_heads": "many"}, "num_heads must be a whole number"),
        ({"embd_dim": 32}, "says embd_dim 32, but the tensors have 16"),
        ({"n_layers": 3}, "says n_layers 3, but the tensors have 2"),
        ({"distance_embed_type": "bessel"}, "distance_embed_type 'bessel'"),
        ({"target_heads": ["forces", "energy"]}, r"lacks 'heads.energy.…'"),
        ({"activation": "tanh"}, "known are gelu and relu"),
        ({"cutoff": 9.0, "envelope_p": 5}, "third version"),
    ],
)
def test_a_configuration_of_other_weights_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    run = make_run(tmp_path / "run", {**V2, **change}, random_state_dict(V2, 3))
    with pytest.raises(InputError) as caught:
        imported(run)
    assert says in str(caught.value)


def test_the_third_version_is_recognised_before_anything_is_downloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdet_openmm.published.importing.download", lambda *_: pytest.fail("downloads"))
    assert main(["import", "hf://mx-e/md-et-v3/qcml-s2", "--output", str(tmp_path / "model")]) == 2
    assert "third version" in capsys.readouterr().err and not (tmp_path / "model").exists()


def test_bad_sources_and_targets(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", V2)
    imported(run)
    for settings, says in (
        (ImportSettings(str(run), tmp_path / "model"), "exists"),
        (ImportSettings(str(tmp_path / "nothing"), tmp_path / "x"), "there is no run folder"),
        (ImportSettings(str(tmp_path / "run" / ".hydra"), tmp_path / "x"), "no ckpts"),
        (ImportSettings(str(run), tmp_path / "x", elements="H,Qq"), "'Qq' is not the symbol"),
        (ImportSettings("hf://only", tmp_path / "x"), "hf://"),
    ):
        with pytest.raises(InputError, match=says):
            import_model(settings)
    with pytest.raises(InputError, match="import it first"):
        load_model("hf://mx-e/md-et-v2/12l")
    for text, says in (("train: {model: 3}", "no model"), ("- 1", "mapping"), ("a: [", "cannot read")):
        (run / ".hydra" / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=says):
            import_model(ImportSettings(str(run), tmp_path / "x"))
    (run / ".hydra" / "config.yaml").unlink()
    with pytest.raises(InputError, match="neither"):
        import_model(ImportSettings(str(run), tmp_path / "x"))
    assert dataclasses.replace(ImportSettings("a")).output is None and not (tmp_path / "x").exists()
