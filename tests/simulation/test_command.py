"""Bad input ends with one line and exit status 2, before anything is written."""

import shutil
from pathlib import Path

import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.simulation.command import main
from mdet_openmm.simulation.restart import continued, stored
from mdet_openmm.simulation.settings import NveSettings, resolved

OK = ["--steps", "2", "--equilibrate", "0", "--no-minimize", "--quiet", "--temperature", "10"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "5", "--time", "1"], "only one"),
        (["--steps", "0"], "--steps must be at least 1, not 0"),
        (["--steps", "-5"], "--steps must be at least 1, not -5"),
        (["--time", "0.0001"], "at least one step"),
        (["--time", "-1"], "--time must be positive, not -1.0"),
        (["--time", "nan"], "--time must be a finite number, not nan"),
        (["--temperature", "0"], "--temperature must be positive, not 0.0"),
        (["--temperature", "-300"], "--temperature must be positive"),
        (["--temperature", "inf"], "--temperature must be a finite number"),
        (["--temperature", "hot"], "hot"),
        (["--friction", "0"], "--friction must be positive"),
        (["--timestep", "nan"], "--timestep must be a finite number"),
        (["--timestep", "10"], "--timestep must be positive and at most 5.0, not 10.0"),
        (["--equilibrate", "-1"], "--equilibrate"),
        (["--report-interval", "0.1"], "shorter than the time step"),
        (["--checkpoint-interval", "1e-9"], "shorter than the time step"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "99999999999"], "--seed"),
        (["--orientations", "7"], "orientations"),
        (["--offset", "some"], "offset"),
        (["--thermostat", "andersen"], "thermostat"),
        (["--backend", "jax"], "backend"),
        (["--platform", "Abacus"], "Abacus"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--charge", "1"], "electrons"),
        (["--multiplicity", "2"], "multiplicity"),
        (["--multiplicity", "0"], "--multiplicity must be at least 1"),
        (["--threads", "1025"], "--threads must be at least 1 and at most 1024"),
        (["--equivariance-rotations", "1"], "--equivariance-rotations must be at least 2"),
        (["--restart"], "nothing to restart"),
        (["--time", "1e12"], "GB free"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_bad_flags(
    flags: list[str], words: str, water: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A later flag overrides an earlier one of the same name, except the default steps.
    defaults = [f for f in OK if f not in ("--steps", "2")] if {"--time", "--steps"} & set(flags) else OK
    arguments = [str(water), "--model", str(model), "--output", str(tmp_path / "out"), *defaults, *flags]
    try:
        status: object = main(arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0]
    assert not (tmp_path / "out").exists()


def test_bad_systems(water: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sulfide = tmp_path / "sulfide.xyz"
    sulfide.write_text(water.read_text().replace("O 0 0 0.1173", "S 0 0 0.5"))
    broken = tmp_path / "broken.xyz"
    broken.write_text("3\nwater\nO 0 0\n")
    for system, words in ((tmp_path / "missing.pdb", "missing.pdb"), (sulfide, "S is not among"), (broken, "broken")):
        assert main([str(system), "--model", str(model), "--output", str(tmp_path / "out"), *OK]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and words in lines[0]
        assert not (tmp_path / "out").exists()


def test_a_tampered_model(water: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "tampered"
    shutil.copytree(model, bad)
    data = bytearray((bad / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (bad / "weights.safetensors").write_bytes(bytes(data))
    assert main([str(water), "--model", str(bad), "--output", str(tmp_path / "out"), *OK]) == 2
    assert "SHA-256" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_output_that_exists(water: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = [str(water), "--model", str(model), "--output", str(folder), *OK]
    assert main(arguments) == 0
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert main(arguments) == 2
    assert "--restart" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    (folder / "checkpoint.chk").write_bytes(b"not a checkpoint")
    assert main([*arguments, "--restart"]) == 2
    assert "checkpoint.chk" in capsys.readouterr().err
    (folder / "checkpoint.chk").unlink()
    assert main([*arguments, "--restart"]) == 2
    assert "holds no checkpoint.chk" in capsys.readouterr().err
    file = tmp_path / "file"
    file.write_text("something")
    assert main([str(water), "--model", str(model), "--output", str(file), *OK]) == 2
    assert "is a file" in capsys.readouterr().err and file.read_text() == "something"


def test_former_names_are_flags_that_help_does_not_show_and_the_keys_of_settings_files() -> None:
    parser = OneLineParser(prog="x")
    add_flags(parser, NveSettings, positional=("system",))
    now = from_namespace(NveSettings, parser.parse_args(["a.pdb", "--orientations", "12", "--teacher", "gfn2"]))
    assert (now.orientations, now.teacher) == (12, "gfn2")
    assert from_namespace(NveSettings, parser.parse_args(["a.pdb", "--frames", "12", "--reference", "gfn2"])) == now
    shown = parser.format_help()
    assert "--orientations" in shown and "--frames" not in shown
    assert "--teacher" in shown and "--reference" not in shown

    kept = stored(resolved(now))
    assert (kept["frames"], kept["reference"]) == (12, "gfn2") and not {"orientations", "teacher"} & kept.keys()
    again = continued(NveSettings(system=Path("a.pdb"), restart=True), kept, ())
    assert (again.orientations, again.teacher) == (12, "gfn2")
    with pytest.raises(InputError, match="--orientations 24 differs from the stored run's 12"):
        continued(NveSettings(system=Path("a.pdb"), restart=True, orientations=24), kept, {"orientations"})
