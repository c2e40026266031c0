"""Files that are whole whenever they are seen, and folders for one at a time."""

import errno
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.files import check_version, holds_nothing, locked, plain, unfinished, write_file, write_json


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_that_is_there_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": "Å"})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def breaks() -> None:
        with unfinished(path) as made:
            made.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaks()
    assert path.read_bytes() == '{\n  "a": "Å"\n}\n'.encode() and names(tmp_path) == ["summary.json"]
    write_file(path, b"\x00new")
    assert path.read_bytes() == b"\x00new" and names(tmp_path) == ["summary.json"]


def test_a_file_name_that_is_not_utf8_goes_into_json_and_comes_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"w\xff.pdb")
    write_json(tmp_path / "summary.json", {"system": name})
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == {"system": name}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def make(fail: bool) -> None:
        with unfinished(tmp_path / "model") as made:
            (made / "deep").mkdir(parents=True)
            (made / "deep" / "weights").write_text("w")
            assert not (tmp_path / "model").exists()
            if fail:
                raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        make(fail=True)
    assert names(tmp_path) == []
    make(fail=False)
    assert names(tmp_path) == ["model"] and (tmp_path / "model" / "deep" / "weights").read_text() == "w"


def test_what_a_killed_process_left_is_removed_by_the_next_and_counts_as_nothing(tmp_path: Path) -> None:
    killed = unfinished(tmp_path / "checkpoint.chk")
    killed.__enter__().write_text("half")
    assert len(names(tmp_path)) == 1 and holds_nothing(tmp_path)
    with locked(tmp_path):
        assert names(tmp_path) == [".lock"] and holds_nothing(tmp_path)
    (tmp_path / "theirs").touch()
    assert not holds_nothing(tmp_path) and holds_nothing(tmp_path, but=["theirs"])


def test_one_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    with locked(run), pytest.raises(InputError, match="another process is writing"), locked(run):
        pass
    with locked(tmp_path / "new" / "run"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"), locked(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", flock)
    (tmp_path / ".other.0123.unfinished").touch()  # perhaps of a process that is at work
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        write_file(tmp_path / "a", "b")
    assert "has no locks (no locks here)" in caplog.text
    assert names(tmp_path) == [".lock", ".other.0123.unfinished", "a"]


def test_an_error_without_a_file_name_gets_that_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error, locked(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    assert error.value.filename == str(tmp_path)
    with pytest.raises(OSError) as error, locked(tmp_path):
        raise OSError(errno.ENOSPC, "full", "log.csv")
    assert error.value.filename == "log.csv"


def test_plain_values() -> None:
    given = {
        1: np.float32(0.5),
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "tuple": (np.int64(3), True, None, "x", np.bool_(False)),
        "inf": float("-inf"),
    }
    expected = {"1": 0.5, "array": [[1.0, None], [None, 2.0]], "tuple": [3, True, None, "x", False], "inf": None}
    found = plain(given)
    assert found == expected and type(found["tuple"][0]) is int and type(found["tuple"][4]) is bool
    assert plain({"p": Path("a/b")}, lambda path: path.name) == {"p": "b"}
    with pytest.raises(TypeError, match="PosixPath"):
        plain([Path("a")])


@pytest.mark.parametrize(("found", "good"), [(1, True), (np.int64(2), True), (3, False), (0, False), (None, False)])
def test_versions_that_are_not_known_are_refused(found: object, good: bool) -> None:
    if good:
        check_version(found, 2, Path("set.h5"))
    else:
        with pytest.raises(InputError, match=r"set\.h5: format version"):
            check_version(found, 2, Path("set.h5"))
