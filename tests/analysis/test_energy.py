"""The report of an NVE run: its energy is judged by its drift, its temperature by nobody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import ETHANOL, ETHANOL_NUMBERS, write_run

from mdet_openmm.analysis.report import analyze
from mdet_openmm.analysis.run_analysis import analyze_run
from mdet_openmm.data.teacher import NAMES
from mdet_openmm.errors import InputError
from mdet_openmm.simulation.conservation import EnergySource, energy_source
from mdet_openmm.simulation.ended_run import read_run

FRAMES = 400
EV_KJ = 96.4853321
RNG = np.random.default_rng(8)
KINETIC = 30.0 + RNG.normal(size=FRAMES)
"""kJ/mol, standard deviation 1."""


def nve_run(folder: Path, drift: float, source: str | None) -> Path:
    """A run whose total energy drifts by so many standard deviations of the kinetic energy."""
    positions = ETHANOL + 0.02 * RNG.normal(size=(FRAMES, 9, 3))
    run = write_run(folder, ETHANOL_NUMBERS, positions)
    rows = (run / "log.csv").read_text().splitlines()
    total = -100.0 + np.linspace(0.0, drift, FRAMES)
    potential = total - KINETIC
    columns = {"kinetic_energy_kJ_mol": KINETIC}
    if source and source.startswith("energy head"):
        columns["potential_energy_kJ_mol"] = potential
    header = ",".join([rows[0], *columns])
    body = [",".join([row, *(f"{c[i]:.6f}" for c in columns.values())]) for i, row in enumerate(rows[1:])]
    (run / "log.csv").write_text("\n".join([header, *body]) + "\n")
    steps = [int(float(row.split(",")[0])) for row in rows[1:]]
    if source == "GFN2-xTB":
        table = [f"{steps[i]},0,{potential[i] / EV_KJ:.9f},1e-6" for i in range(1, FRAMES, 2)]
        (run / "reference.csv").write_text(
            "\n".join(["step,time_ps,potential_energy_eV,position_error_eV", *table]) + "\n"
        )
    time = float(rows[-1].split(",")[1])
    per_atom = 1e3 / EV_KJ / 9
    more: dict[str, Any] = {
        "ensemble": "nve", "thermostat": None, "friction_per_ps": None, "degrees_of_freedom": 21,
        "temperature_mean_K": 280.0, "energy_source": source,
        "energy_drift_meV_per_atom_ps": per_atom * drift / time if source else None,
        "energy_drift_error_meV_per_atom_ps": 0.01 * per_atom / time if source else None,
        "drift_ratio": abs(drift) if source else None, "kinetic_energy_std_meV_per_atom": per_atom,
    }  # fmt: skip
    summary = json.loads((run / "summary.json").read_text()) | more
    (run / "summary.json").write_text(json.dumps(summary))
    return run


@pytest.mark.parametrize("source", ["energy head", "GFN2-xTB"])
@pytest.mark.parametrize(("drift", "state"), [(0.1, "good"), (5.0, "bad"), (1.0, "neutral")])
def test_the_energy_is_judged_by_its_drift(
    tmp_path: Path, draw_only: Callable[..., None], source: str, drift: float, state: str
) -> None:
    draw_only("energy")
    page = analyze(nve_run(tmp_path / "run", drift, source))
    numbers = json.loads((page.parent / "analysis.json").read_text())
    (verdict,) = [v for v in numbers["verdicts"] if "total energy" in v["text"]]
    assert verdict["state"] == state and source in verdict["text"]
    assert numbers["energy"]["drift_ratio"] == drift
    assert (page.parent / "energy.png").read_bytes()[:4] == b"\x89PNG"
    html = page.read_text(encoding="utf-8")
    assert "NVE dynamics" in html and "energy drift" in html and "NVT" not in html


@pytest.mark.parametrize("drift", [0.1, 5.0])
def test_a_held_energy_is_no_judge(tmp_path: Path, draw_only: Callable[..., None], drift: float) -> None:
    draw_only()
    page = analyze(nve_run(tmp_path / "run", drift, "energy head, which was held"))
    numbers = json.loads((page.parent / "analysis.json").read_text())
    (verdict,) = [v for v in numbers["verdicts"] if "total energy" in v["text"]]
    assert verdict["state"] == "neutral" and "--teacher so3lr" in verdict["text"]


def test_the_series_is_the_total_energy(tmp_path: Path) -> None:
    for source, rows in (("energy head", FRAMES), ("GFN2-xTB", FRAMES // 2)):
        energy = analyze_run(read_run(nve_run(tmp_path / source, 5.0, source))).energy
        assert energy is not None and len(energy.total) == rows
        # A straight line: kinetic and potential energy of the same rows add up.
        residuals = energy.total - np.polyval(np.polyfit(energy.total_times, energy.total, 1), energy.total_times)
        assert np.abs(residuals).max() < 1e-4
        assert np.ptp(energy.total) == pytest.approx(5.0e3 / EV_KJ / 9, rel=0.01)
        assert energy.kinetic.std() == pytest.approx(1e3 / EV_KJ / 9, rel=0.1)


def test_its_temperature_is_not_judged(tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only("energy")
    run = nve_run(tmp_path / "run", 0.1, None)
    summary = json.loads((run / "summary.json").read_text())
    numbers = json.loads((analyze(run).parent / "analysis.json").read_text())
    (line,) = [v for v in numbers["verdicts"] if "temperature" in v["text"]]
    assert line["state"] == "neutral" and "no target" in line["text"]
    assert any("cannot be judged" in v["text"] and v["state"] == "neutral" for v in numbers["verdicts"])
    assert numbers["temperature"]["equipartition_verdict"] == "undecided"
    assert (run / "analysis" / "energy.png").exists()
    # The same temperatures under a thermostat of 1000 K are judged.
    summary |= {"ensemble": "nvt", "temperature_K": 1000.0}
    (run / "summary.json").write_text(json.dumps(summary))
    numbers = json.loads((analyze(run).parent / "analysis.json").read_text())
    assert any(v["state"] == "bad" and "temperature" in v["text"] for v in numbers["verdicts"])
    assert numbers["energy"] is None and not (run / "analysis" / "energy.png").exists()


def test_a_damaged_reference_is_refused(tmp_path: Path) -> None:
    run = nve_run(tmp_path / "run", 1.0, "GFN2-xTB")
    (run / "reference.csv").write_text("step,what\n1,2\n")
    with pytest.raises(InputError, match=r"reference\.csv"):
        analyze(run)


def test_an_energy_of_unknown_source_is_refused(tmp_path: Path) -> None:
    run = nve_run(tmp_path / "run", 1.0, "energy head")
    summary = json.loads((run / "summary.json").read_text())
    assert {source.value for source in EnergySource} == {"energy head", "energy head, which was held", *NAMES.values()}
    for source in EnergySource:  # folders of earlier versions have the same words
        assert energy_source(summary | {"energy_source": str(source)}) is source
    assert energy_source({}) is None
    (run / "summary.json").write_text(json.dumps(summary | {"energy_source": "energy head that was held"}))
    with pytest.raises(InputError, match="energy_source 'energy head that was held' is none of"):
        analyze(run)
