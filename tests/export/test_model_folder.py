import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mdet_openmm.errors import InputError
from mdet_openmm.export import shipped
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

CONFIG = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, energy_head=True, force_scale=0.037)
INPUTS = (
    torch.tensor([[8, 1, 1]]),
    torch.tensor([[[0, 0, 0], [1.8, 0, 0], [-0.5, 1.7, 0.1]]], dtype=torch.float64),
    torch.tensor([0]),
    torch.tensor([1]),
)


def network() -> EdgeTransformer:
    torch.manual_seed(0)
    return EdgeTransformer(CONFIG)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "water"
    save_model(
        path,
        network(),
        elements=[8, np.int64(1)],  # type: ignore[list-item]  # as an array gives them
        training={"teacher": "GFN2-xTB", "steps": np.int64(7), "data": Path("a/b.h5"), "temperatures": (300.0, 600.0)},
        metrics={"mae": np.float64(0.5)},
        card="# Water\n",
    )
    return path


def rehash(folder: Path, name: str) -> None:
    """Make the manifest agree with a changed file, so that the checks behind the hash are reached."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_manifest(folder: Path, **values) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **values}))


def test_what_is_saved_is_what_is_loaded(folder):
    model = load_model(folder)
    assert (model.name, model.path, model.elements, model.has_energy) == ("water", folder.resolve(), (1, 8), True)
    assert model.sha256 == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert model.metadata["training"] == {
        "teacher": "GFN2-xTB",
        "steps": 7,
        "data": "a/b.h5",
        "temperatures": [300.0, 600.0],
    }
    assert model.metadata["metrics"] == {"mae": 0.5}
    assert model.network.config == CONFIG
    assert not model.network.training
    energy, force = network().eval()(*INPUTS)
    assert torch.equal(model.network(*INPUTS)[1], force.detach())
    assert torch.equal(model.network(*INPUTS)[0], energy.detach())
    scripted = torch.jit.load(str(folder / "network.pt"))
    assert (scripted(*INPUTS)[1] - force).abs().max() < 1e-6 * force.abs().max()
    assert (folder / "README.md").read_text() == "# Water\n"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.yaml",
        "manifest.json",
        "metrics.json",
        "network.pt",
        "weights.safetensors",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["water"]


def test_a_double_network_is_stored_in_single_and_left_as_it_is(tmp_path):
    double = network().to(torch.float64)
    save_model(tmp_path / "m", double, elements=[1], training={}, metrics={}, card="")
    assert double.composer.weight.dtype == torch.float64
    assert load_model(tmp_path / "m").network.composer.weight.dtype == torch.float32


def test_an_existing_folder_is_not_overwritten(folder):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(InputError, match="exists"):
        save_model(folder, network(), elements=[1], training={}, metrics={}, card="")
    assert (folder / "manifest.json").read_bytes() == before


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        save_model(tmp_path / "m", network(), elements=[1], training={}, metrics={}, card="")
    assert list(tmp_path.iterdir()) == []


def test_shipped_models_go_by_name(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "shipped_models", lambda: {"water": folder})
    monkeypatch.chdir(tmp_path.parent)
    assert load_model("water").path == folder
    with pytest.raises(InputError, match=r"no model ice.*shipped models: water"):
        load_model("ice")


def test_a_card_may_be_amended(folder):
    (folder / "README.md").write_text("# Water, with more to say\n")
    assert load_model(folder).name == "water"


@pytest.mark.parametrize("name", ["weights.safetensors", "config.yaml", "metrics.json", "network.pt"])
def test_a_changed_or_missing_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match="SHA-256"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match="cannot read"):
        load_model(folder)


def test_not_a_model(folder, tmp_path):
    with pytest.raises(InputError, match="is a file"):
        load_model(folder / "network.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_model(tmp_path / "empty")
    for text in ("", "{", "[1]", "null", "\x00\x01"):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=r"manifest\.json"):
            load_model(folder)
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_model(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "other"}, "not the manifest"),
        ({"version": 2}, "version 2"),
        ({"files": {}}, "SHA-256 of"),
        ({"files": None}, "SHA-256 of"),
        ({"elements": []}, "atomic numbers"),
        ({"elements": ["H"]}, "atomic numbers"),
    ],
)
def test_a_wrong_manifest_is_refused(folder, values, message):
    change_manifest(folder, **values)
    with pytest.raises(InputError, match=message):
        load_model(folder)


def test_weights_that_do_not_fit_name_the_tensor(folder):
    path = folder / "weights.safetensors"
    good = {name: tensor.clone() for name, tensor in load_file(path).items()}  # older versions map the file, which goes
    bad = {
        "tensor composer.weight has shape": {**good, "composer.weight": torch.zeros(3, 3)},
        r"tensor composer\.bias is missing": {k: v for k, v in good.items() if k != "composer.bias"},
        "tensor extra has no place": {**good, "extra": torch.zeros(1)},
        r"tensor composer\.bias has values that are not finite": {
            **good,
            "composer.bias": torch.full((16,), float("nan")),
        },
    }
    for message, tensors in bad.items():
        save_file(tensors, path)
        rehash(folder, path.name)
        with pytest.raises(InputError, match=message):
            load_model(folder)


def test_a_pickle_in_place_of_the_weights_does_not_run(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save(Trap(), folder / "weights.safetensors")
    rehash(folder, "weights.safetensors")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_model(folder)
    (folder / "config.yaml").write_text(f"network: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")
    rehash(folder, "config.yaml")
    with pytest.raises(InputError, match=r"config\.yaml"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": "many"}, "n_layers"),
        ({"colour": "blue"}, "unknown setting 'colour'"),
        ({"embd_dim": 0}, "config.yaml"),
    ],
)
def test_a_config_of_no_network_is_refused(folder, change, message):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["network"].update(change)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rehash(folder, "config.yaml")
    with pytest.raises(InputError, match=message):
        load_model(folder)
