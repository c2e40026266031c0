"""Configurations: what is read, and what is refused before anything is computed."""

from pathlib import Path

import pytest

from mdet_openmm.data.config import (
    Displacement,
    DynamicsRun,
    HeldOutConfig,
    LabelConfig,
    MoleculeEntry,
    SamplingConfig,
    TeacherConfig,
    read_config,
)
from mdet_openmm.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def read(tmp_path, text):
    path = tmp_path / "label.yaml"
    path.write_text(text)
    return read_config(path)


def test_nested_settings_are_read_and_the_rest_has_defaults(tmp_path):
    config = read(
        tmp_path,
        "seed: 3\nteacher: {kind: ase, ase: 'a.b:C', arguments: {charge: '{charge}'}}\n"
        "sampling: {frames: 7, runs: [{temperature: 300, trajectories: 2}, {temperature: 900}]}\n"
        "molecules:\n  - {smiles: CCO, weight: 2, split: test}\n",
    )
    assert config.teacher.arguments == {"charge": "{charge}"}
    assert [(r.temperature, r.trajectories) for r in config.sampling.runs] == [(300.0, 2), (900.0, 1)]
    assert config.sampling.frames == 7 and config.sampling.timestep == LabelConfig(config.molecules).sampling.timestep
    assert config.molecules == (MoleculeEntry(smiles="CCO", weight=2.0, split="test"),)


def test_files_are_found_beside_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mol.xyz").write_text("")
    text = "molecules: [{file: mol.xyz}, {trajectory: other.dcd, topology: mol.xyz}]"
    (tmp_path / "configs" / "label.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    first, second = read_config(Path("configs/label.yaml")).molecules
    assert first.file == Path("configs/mol.xyz") and second.topology == Path("configs/mol.xyz")
    assert second.trajectory == Path("other.dcd")  # to be reported as it was given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("molecules: []", "no molecules"),
        ("seed: 1", "'molecules' is missing"),
        ("molecules: [{name: x}]", r"molecules\[0\]: give exactly one"),
        ("molecules: [{smiles: C}, {smiles: C, file: a.xyz}]", r"molecules\[1\]: give exactly one"),
        ("molecules: [{smiles: C, stride: 0}]", "stride"),
        ("molecules: [{smiles: C, weight: -1}]", "weight"),
        ("molecules: [{smiles: C, split: valid}]", "split must be one of train, test"),
        ("molecules: [{smiles: NO}]", "smiles must be str"),
        ("molecules: [{smiles: C, colour: red}]", "unknown setting 'colour'"),
        ("molecules: [{smiles: C}]\nteacher: {kind: ase}", "module:Class"),
        ("molecules: [{smiles: C}]\nteacher: {kind: pm6}", "kind must be one of"),
        ("molecules: [{smiles: C}]\nsampling: {timestep: 0}", "timestep"),
        ("molecules: [{smiles: C}]\nsampling: {interval: 0.1}", "shorter than the time step"),
        ("molecules: [{smiles: C}]\nsampling: {runs: [{temperature: 0}]}", "temperature"),
        ("molecules: [{smiles: C}]\nheld_out: {temperature: -5}", "temperature"),
        ("molecules: [{smiles: C}]\nheld_out: {val: -1}", "held_out: val must be at least 0, not -1"),
        ("molecules: [{smiles: C}]\ndisplacements: []", "displacements"),
        ("molecules: [{smiles: C}]\ndisplacements: [{kind: scale, low: 2, high: 1}]", "low <= high"),
        ("molecules: [{smiles: C}]\nmax_force: 0", "max_force"),
        ("molecules: [{smiles: C}]\nseed: -1", "seed"),
        ("molecules: [{smiles: C}", "not valid YAML"),
    ],
)
def test_what_cannot_be_labelled_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (MoleculeEntry, {}, "give exactly one of smiles"),
        (MoleculeEntry, {"smiles": "C", "file": Path("a.xyz")}, "give exactly one of smiles"),
        (MoleculeEntry, {"smiles": "C", "split": "tset"}, "split must be one of train, test, not 'tset'"),
        (MoleculeEntry, {"smiles": "C", "weight": float("nan")}, "weight must be a finite number"),
        (TeacherConfig, {"kind": "gfn1"}, "kind must be one of gfn2, so3lr, pyscf, ase, not 'gfn1'"),
        (TeacherConfig, {"kind": "ase", "ase": "module"}, "module:Class"),
        (TeacherConfig, {"precision": "fp46"}, "precision must be one of fp32, fp64"),
        (TeacherConfig, {"accuracy": 0.0}, "accuracy must be positive"),
        (DynamicsRun, {"temperature": float("nan")}, "temperature must be a finite number"),
        (SamplingConfig, {"timestep": float("nan")}, "timestep must be a finite number"),
        (SamplingConfig, {"runs": (300.0,)}, "must be DynamicsRun, not 300.0"),
        (SamplingConfig, {"interval": 0.5}, "interval 0.5 fs is shorter than the time step of 1.0 fs"),
        (HeldOutConfig, {"interval": 0.25}, "interval 0.25 fs is shorter than the time step of 0.5 fs"),
        (HeldOutConfig, {"share": 1.1}, "share must be at least 0 and at most 1"),
        (Displacement, {"kind": "gauss", "low": 0.0, "high": 1.0}, "kind must be one of gaussian"),
        (Displacement, {"kind": "scale", "low": 2.0, "high": 1.0}, "low <= high"),
        (LabelConfig, {"molecules": ()}, "no molecules"),
        (LabelConfig, {"molecules": ("C",)}, "must be MoleculeEntry, not 'C'"),
    ],
)
def test_python_is_refused_the_same(cls, values, message):
    with pytest.raises(InputError, match=message):
        cls(**values)


def test_a_bad_configuration_ends_label_with_status_2(tmp_path, capsys):
    from mdet_openmm.cli import main

    path = tmp_path / "label.yaml"
    path.write_text("molecules: [{smiles: C, split: tset}]")
    assert main(["label", str(path), "--output", str(tmp_path / "out.h5")]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {path}: molecules[0]: split must be one of train, test, not 'tset'\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_shipped_configuration_fits_its_model(monkeypatch):
    """The molecules that the issue of the model names, held-out ones that are not among the trained, CHNO only."""
    from mdet_openmm.data.sources import read_sources

    config = read_config(ROOT / "configs" / "mdet-gfn2-mini.label.yaml")
    sources = read_sources(config)
    assert sum(s.row.split == "train" for s in sources) >= 30
    assert sum(s.row.split == "test" for s in sources) == 5
    assert len({s.row.smiles for s in sources}) == len(sources)
    for source in sources:
        assert set(source.atomic_numbers.tolist()) <= {1, 6, 7, 8}
        assert (source.row.charge, source.row.multiplicity) == (0, 1)
        assert source.row.n_atoms <= 14
