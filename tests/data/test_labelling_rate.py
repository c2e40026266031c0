"""benchmarks/labelling.py: it labels a part of the configuration, and counts both rates over the same frames."""

from pathlib import Path

import labelling
import pytest

from mdet_openmm.data.config import read_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_molecules_are_spread_over_the_configuration_and_all_else_stays(tmp_path: Path) -> None:
    whole = read_config(CONFIGS / "mdet-so3lr-small.label.yaml")
    part = read_config(labelling.part_of(CONFIGS / "mdet-so3lr-small.label.yaml", 20, tmp_path / "part.yaml"))
    assert len(part.molecules) == 20 and {m.split for m in part.molecules} == {"train", "test"}
    for name in ("seed", "teacher", "sampling", "held_out", "displacements", "compact", "max_force"):
        assert getattr(part, name) == getattr(whole, name)
    listed = (CONFIGS / "mdet-so3lr-small.smi").read_text().split("\n")
    assert f"{part.molecules[0].smiles} {part.molecules[0].name}" == listed[0]


@pytest.mark.slow
def test_both_rates_count_the_frames_of_the_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = labelling.part_of(CONFIGS / "tiny.label.yaml", 2, tmp_path / "part.label.yaml")
    bare, whole = labelling.rates_of_one_process(read_config(path), every=1)
    frames = int(capsys.readouterr().out.split()[2])
    rate, seconds = labelling.rate_of_command(path, workers=1)
    assert rate * seconds == pytest.approx(frames) and frames > 0
    assert bare > 0 and whole > 0  # which is the larger, a busy machine does not tell: that is the benchmark's to say
