"""Files of a run: cut back exactly, replaced in one go."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.files import locked
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.log_file import LogFile, last_time, mean_temperatures, read_table


def write_rows(log: LogFile, steps: range) -> None:
    for step in steps:
        log.write(step, 1e-3 * step, 300.0 + step, {"H": 310.0, "O": 280.0}, 12.34567, 0.01)
    log.close()


@pytest.mark.parametrize("torn", [b"", b"40,0.0", b"4\n", b"24,0.024,1,1,1,1,1\n"])
def test_the_log_is_cut_back_to_a_step(tmp_path: Path, torn: bytes) -> None:
    write_rows(LogFile(tmp_path / "whole.csv", ["H", "O"], 0), range(8, 48, 8))
    write_rows(LogFile(tmp_path / "cut.csv", ["H", "O"], 0), range(8, 24, 8))
    with (tmp_path / "cut.csv").open("ab") as file:
        file.write(b"24,0.024,324.000,310.000,280.000,12.3457,0.010000\n" * (torn != b"") + torn)
    write_rows(LogFile(tmp_path / "cut.csv", ["H", "O"], 16), range(24, 48, 8))
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_means_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write_rows(LogFile(path, ["H", "O"], 0), range(0))
    assert mean_temperatures(path) == (None, {})
    write_rows(LogFile(path, ["H", "O"], 0), range(8, 32, 8))
    assert mean_temperatures(path) == (316.0, {"H": 310.0, "O": 280.0})


def test_a_table_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    assert read_table(path) == {} and last_time(path) is None
    with pytest.raises(InputError, match="cannot read"):
        read_table(path, "step")
    write_rows(LogFile(path, ["H", "O"], 0), range(8, 32, 8))
    whole = path.read_text()
    for torn in ("", "32,0.0", "32,0.032,332.000,310.000,280.000,12.3457,0.010000"):  # a last row without its end
        path.write_text(whole + torn)
        assert read_table(path, "step", "temperature_H_K")["step"].tolist() == [8.0, 16.0, 24.0]
        assert last_time(path) == 0.024
    with pytest.raises(InputError, match="no column kinetic_energy_kJ_mol"):
        read_table(path, "kinetic_energy_kJ_mol")
    for row in ("32\n", "32,0.032\n", "32,a,1,1,1,1,1\n", "32,1,1,1,1,1,1,1\n"):
        path.write_text(whole + row)
        with pytest.raises(InputError, match="line 5 is damaged"):
            read_table(path)


def test_a_log_of_another_run_is_refused(tmp_path: Path) -> None:
    write_rows(LogFile(tmp_path / "log.csv", ["H", "O"], 0), range(8, 32, 8))
    with pytest.raises(InputError, match="not the log"):
        LogFile(tmp_path / "log.csv", ["C", "H"], 16)


def test_the_start_keeps_every_digit(tmp_path: Path) -> None:
    positions = np.random.default_rng(2).normal(size=(3, 3))
    run_folder.write_start(tmp_path / "start.xyz", np.array([8, 1, 1]), positions)
    np.testing.assert_array_equal(run_folder.read_start(tmp_path / "start.xyz", 3), 0.1 * positions)


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{tmp_path / 'file'} is a file"):
        run_folder.check_new_folder(tmp_path / "file" / "out")
    run_folder.check_new_folder(tmp_path / "new" / "deep" / "out")
    assert not (tmp_path / "new").exists()


def test_what_a_run_leaves_that_is_killed_before_its_first_file_is_a_new_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        pass
    run_folder.check_new_folder(tmp_path / "out")
    (tmp_path / "out" / run_folder.SETTINGS).touch()
    with pytest.raises(InputError, match="--restart"):
        run_folder.check_new_folder(tmp_path / "out")


def test_a_full_disk_is_told_in_numbers_that_say_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda path: SimpleNamespace(free=200_000))
    with pytest.raises(InputError, match=r"would write 1\.5 MB but .* has 0\.2 MB free"):
        run_folder.check_free_space(tmp_path / "out", 1.5e6)
    with pytest.raises(InputError, match=r"would write 2,500\.0 GB"):
        run_folder.check_free_space(tmp_path / "out", 2.5e12)
    run_folder.check_free_space(tmp_path / "out", 1e5)
