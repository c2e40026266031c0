"""What an extra would bring and is missing ends a command in one line that names it, before anything is written."""

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mdet_openmm.cli import main
from mdet_openmm.data import so3lr
from mdet_openmm.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
ETHANOL = str(ROOT / "simulations/systems/ethanol.pdb")
LABEL = str(ROOT / "configs/tiny.label.yaml")
TRAIN = str(ROOT / "configs/mdet-gfn2-mini.train.yaml")
MODEL = "mdet-gfn2-alkanes"
NVE = ["run-nve", ETHANOL, "--model", MODEL, "--steps", "4"]


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("h5py", "label", ["label", LABEL]),
        ("tblite.library", "label", ["label", LABEL, "--workers", "1", "--output", "b.h5"]),
        ("h5py", "label", ["collect", "a.h5.partial", "--output", "a.h5"]),
        ("h5py", "label", ["merge-data", "a.h5", "b.h5", "--output", "c.h5"]),
        ("h5py", "label", ["info", "a.h5"]),
        ("lightning", "train", ["train", TRAIN]),
        ("h5py", "train", ["train", TRAIN]),
        ("lightning", "train", ["finetune", MODEL, "a.h5", "--name", "mine"]),
        ("lightning", "train", ["learn-from-failures", MODEL, "a.h5", ETHANOL]),
        ("tblite.interface", "label", [*NVE, "--teacher", "gfn2"]),
        ("so3krates_torch", "teachers", [*NVE, "--teacher", "so3lr"]),
        ("distributed", "dask", ["map-stability", "--structures", "C", "--model", MODEL, "--scheduler", "tcp://x:1"]),
    ],
)
def test_one_line_names_the_extra(missing, extra, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, missing, None)
    so3lr._model.cache_clear()  # a test before this one may have loaded it
    assert main(command) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and f"pip install 'mdet-openmm[{extra}]'" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_learning_from_failures_asks_for_its_teacher_before_the_runs(monkeypatch):
    pytest.importorskip("lightning")
    from mdet_openmm.studies import relearn

    store = SimpleNamespace(attributes={"config": {"teacher": {"kind": "gfn2"}}}, path="a.h5")
    monkeypatch.setattr(relearn, "Store", lambda path: contextlib.nullcontext(store))
    monkeypatch.setitem(sys.modules, "tblite.library", None)
    with pytest.raises(InputError, match=r"mdet-openmm\[label\]"):
        nothing: Any = None  # is looked at before the teacher
        relearn.check_learning(Path("a.h5"), nothing, nothing)
