"""Public protocols: what they fix, what they refuse, and what they judge by."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.simulation import nvt, protocol
from mdet_openmm.simulation.command import main
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, resolved

SYSTEM = Path("a.xyz")


def test_what_they_fix() -> None:
    nve = resolved(NveSettings(SYSTEM, protocol="ml-peg-nve"))
    assert (nve.timestep, nve.steps, nve.temperature, nve.equilibrate, nve.minimize) == (1.0, 50_000, 300.0, 0.0, False)
    bath = resolved(NvtSettings(SYSTEM, protocol="mlipaudit-stability", multiple_time_steps=8))
    assert (bath.timestep, bath.steps, bath.temperature, bath.watch) == (1.0, 100_000, 300.0, False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--timestep", "0.5"], "--timestep is 1.0 in --protocol ml-peg-nve; leave it out"),  # the default, but given
        (["--temperature", "500"], "--temperature is 300.0 in --protocol ml-peg-nve"),
        (["--time", "5"], "--time is fixed by --protocol ml-peg-nve"),
        (["--steps", "100"], "--steps is 50000 in --protocol"),
        (["--protocol", "mlipaudit-stability"], "invalid choice"),
    ],
)
def test_what_they_refuse(
    water: Path, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(water), "--protocol", "ml-peg-nve", "--output", str(tmp_path / "out"), *flags]
    try:
        assert main(argv, NveSettings) == 2
    except SystemExit as end:  # argparse's own
        assert end.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def short(monkeypatch: pytest.MonkeyPatch, name: str, steps: int) -> None:
    few = {**protocol.PROTOCOLS, name: {**protocol.PROTOCOLS[name], "steps": steps, "temperature": 5.0}}
    monkeypatch.setattr(protocol, "PROTOCOLS", few)


def test_ml_peg(
    water: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mdet_openmm.export.model_folder import load_model, save_model
    from mdet_openmm.network.edge_transformer import EdgeTransformer

    network = EdgeTransformer(dataclasses.replace(load_model(model).network.config, energy_head=True))
    save_model(tmp_path / "both", network, elements=[1, 8], training={}, metrics={}, card="")
    short(monkeypatch, "ml-peg-nve", 80)
    options: dict[str, Any] = {"model": str(tmp_path / "both"), "seed": 1, "backend": "python"}
    summary = run_nve(NveSettings(water, protocol="ml-peg-nve", output=tmp_path / "out", **options))
    assert summary["protocol"] == "ml-peg-nve" and summary["steps"] == 80
    side = "below" if summary["drift_ratio"] < 1.0 else "above"
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("ml-peg-nve: ") and line.endswith(f"{side} its soft limit of 1")]


def test_mlipaudit_looks_at_the_temperature_and_for_hydrogens_that_left(
    water: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch, "mlipaudit-stability", 80)
    options: dict[str, Any] = {"model": str(model), "seed": 1, "backend": "python", "quiet": True}
    run = NvtSettings(water, protocol="mlipaudit-stability", output=tmp_path / "out", **options)
    summary = run_nvt(run)
    assert (summary["protocol_held"], summary["hydrogen_left_ps"]) == (True, None)
    monkeypatch.setattr(nvt, "EXPLOSION_K", summary["hottest_K"] - 5.0 - 1e-3)
    assert run_nvt(dataclasses.replace(run, output=tmp_path / "hot"))["protocol_held"] is False
    monkeypatch.setattr(nvt, "EXPLOSION_K", 1e4)
    alone = iter([False, True, False, *[True] * 17])  # one row in 4 fs; the first time it comes back
    monkeypatch.setattr(nvt, "hydrogen_is_alone", lambda numbers, frame: next(alone))
    summary = run_nvt(dataclasses.replace(run, output=tmp_path / "left"))
    assert (summary["protocol_held"], summary["hydrogen_left_ps"]) == (False, pytest.approx(0.016))


def test_a_hydrogen_is_alone_where_no_heavier_atom_is_near() -> None:
    numbers, x = np.array([8, 1, 1, 6]), np.array([[0.0, 0, 0], [0, 0, 2.6], [0, 2.4, 0], [0, 0, 5.0]])
    assert not nvt.hydrogen_is_alone(numbers, x)
    x[3, 2] = 5.2
    assert nvt.hydrogen_is_alone(numbers, x)


def test_a_protocol_from_python_that_is_contradicted() -> None:
    with pytest.raises(InputError, match=r"temperature is 300\.0 in --protocol ml-peg-nve"):
        NveSettings(SYSTEM, protocol="ml-peg-nve", temperature=400.0)
