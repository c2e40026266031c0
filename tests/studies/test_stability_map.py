"""The map over molecules, and the lists of molecules."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.molecules.checks import check_molecule
from mdet_openmm.studies.estimate import Estimate
from mdet_openmm.studies.molecules import known_to, listed, series
from mdet_openmm.studies.nve_figures import drift_against_size
from mdet_openmm.studies.settings import MapSettings
from mdet_openmm.studies.stability_map import map_stability


def cold(model: Path, folder: Path, **options: Any) -> MapSettings:
    options = {
        "conditions": "mixed+hashed", "replicas": 1, "temperature": 5.0, "time": 0.01, "thermalize": 0.01,
        "report_interval": 1.0, "workers": 1, "quiet": True, **options,
    }  # fmt: skip
    return MapSettings(model=str(model), output=folder, **options)


def test_the_series() -> None:
    found = {s.molecule.name: s for s in series()}
    assert len(found) == len(series()) == len({s.folder for s in series()})
    carbons = {"methane": 1, "octane": 8, "isobutane": 4, "neopentane": 5, "isooctane": 8, "allene": 3}
    for name, count in carbons.items():
        numbers = found[name].molecule.atomic_numbers
        hydrogens = 4 if found[name].kind == "cumulene" else 2 * count + 2
        assert ((numbers == 6).sum(), (numbers == 1).sum()) == (count, hydrogens), name
    alkanes = [s.molecule.n_atoms for s in found.values() if s.kind == "alkane"]
    assert alkanes == [3 * n + 2 for n in range(1, 9)]
    assert {s.molecule.n_atoms for s in found.values() if s.kind == "cumulene"} == {7, 8, 9, 10}
    for member in found.values():  # as a run reads them, from a file that has no SMILES
        check_molecule(replace(member.molecule, smiles=None))


def test_lists(water: Path) -> None:
    found = listed(f"CCO, {water},C=C")
    assert [s.molecule.name for s in found] == ["CCO", "water", "C=C"]
    assert [s.folder for s in found] == ["CCO", "water", "C_C"] and found[2].molecule.n_atoms == 6
    for text, message in ((" ,", "lists nothing"), ("C=C,C#C", "share the folder C_C"), ("nowhere.xyz", "such file")):
        with pytest.raises(InputError, match=message):
            listed(text)


def test_unknown_elements_are_skipped_with_a_note(model: Path) -> None:
    known, notes = known_to(load_model(model), listed("CO,CN,CCl"))
    assert [s.molecule.name for s in known] == ["CO"]
    assert len(notes) == 2 and "N is not among the elements" in notes[0] and "Cl is not" in notes[1]


def test_a_map(tmp_path: Path, model: Path, water: Path) -> None:
    folder = tmp_path / "out"
    settings = cold(model, folder, structures=f"C,{water},CN")
    results = map_stability(settings)
    assert [r.member.molecule.name for r in results] == ["C", "water"]
    assert all(r.summary is not None and r.summary["exit_reason"] == "completed" for r in results)
    text = (folder / "table.md").read_text()
    assert "| C | given | 5 | mixed+hashed | 1 of 1 |" in text and "skipped CN: N is not among" in text
    for name in ("energy_drift.png", "temperature_drift.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("log.csv")}
    more = map_stability(replace(settings, structures=f"C,{water},CO", restart=True), given={"structures"})
    assert [r.member.molecule.name for r in more] == ["C", "water", "CO"]
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_nothing_to_run(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InputError, match="nothing to run: skipped CN"):
        map_stability(cold(model, tmp_path / "out", structures="CN"))
    assert not (tmp_path / "out").exists()


def test_a_drift_that_is_not_known_is_not_drawn() -> None:
    row: dict[str, Any] = {"condition": "fp64", "kind": "alkane", "atoms": 5, "kept": "1 of 1"}
    drawn = drift_against_size([{**row, "x": Estimate(1.0, float("nan"), 1)}], "x", "drift")
    empty = drift_against_size([{**row, "x": Estimate(float("nan"), float("nan"), 0)}], "x", "drift")
    assert drawn != empty and drawn[:4] == empty[:4] == b"\x89PNG"


def test_command_line(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mdet_openmm.studies.command import main

    flags = ["--model", str(model), "--structures", "C", "--output", str(tmp_path / "out"), "--replicas", "1"]
    flags += ["--time", "0.01", "--thermalize", "0.01", "--temperature", "5", "--report-interval", "1"]
    assert main("map-stability", [*flags, "--workers", "1"]) == 0
    assert "| C | given | 5 | mixed+hashed | 1 of 1 |" in capsys.readouterr().out
    assert main("map-stability", ["--structures", "", "--conditions", "x"]) == 2
