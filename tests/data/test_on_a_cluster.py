"""Labelling and evaluation on a Dask cluster of processes of their own, one killed half way and one that comes late."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mdet_openmm.data.config import (
    DynamicsRun,
    HeldOutConfig,
    LabelConfig,
    MoleculeEntry,
    SamplingConfig,
    TeacherConfig,
)
from mdet_openmm.data.label import run_label
from mdet_openmm.evaluation.evaluate import JSON_NAME, evaluate
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.export.model_folder import save_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

pytest.importorskip("distributed")

STAND_INS, ROOT = Path(__file__).resolve().parents[1] / "stand_ins", Path(__file__).resolve().parents[2]
SPRING = "label_calculators:SlowSpring"


class Cluster:
    """A scheduler and workers, each a process.

    Attributes
    ----------
    workers
        Those that were not killed.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.log = (folder / "log.txt").open("w")
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        self.workers: list[subprocess.Popen[bytes]] = []
        deadline = time.monotonic() + 60
        while not self.file.exists():
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.1)

    def _start(self, what: str, *flags: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", str(self.file), *flags]
        paths = os.pathsep.join([str(ROOT), str(STAND_INS), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=self.log, stderr=self.log)

    def add_worker(self) -> None:
        self.workers.append(self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"))

    def kill_worker(self) -> None:
        victim = self.workers.pop(0)
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def wait_for(self, workers: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


def labelling() -> LabelConfig:
    return LabelConfig(
        molecules=(MoleculeEntry(smiles="O", name="water"), MoleculeEntry(smiles="N", name="ammonia", split="test")),
        teacher=TeacherConfig(kind="ase", ase=SPRING),
        sampling=SamplingConfig(
            runs=(DynamicsRun(300.0, 24),), frames=8, displaced=4, equilibrate=20.0, interval=5.0, conformers=1
        ),
        held_out=HeldOutConfig(val=4, test=4, unseen=60, frames=4, equilibrate=20.0, interval=10.0),
        max_force=1e4,
        max_stretch=1e3,
    )


def with_a_death_and_a_late_one(cluster: Cluster, half_way: Callable[[], bool]) -> threading.Thread:
    """Two workers now; once half is done one is killed, and another comes."""
    while len(cluster.workers) < 2:
        cluster.add_worker()
    cluster.wait_for(2)

    def strike() -> None:
        while not half_way():
            time.sleep(0.02)
        cluster.kill_worker()
        cluster.add_worker()

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The data set without a cluster, and the summary of its labelling."""
    path = tmp_path_factory.mktemp("plain") / "plain.h5"
    return path, run_label(labelling(), path, workers=1)


def test_labels_are_those_without_a_cluster(
    tmp_path: Path, cluster: Cluster, labelled: tuple[Path, dict[str, Any]]
) -> None:
    (plain, summary), spread = labelled, tmp_path / "spread.h5"
    partial = tmp_path / "spread.h5.partial"
    strike = with_a_death_and_a_late_one(cluster, lambda: len(list(partial.glob("task-*.npz"))) > summary["tasks"] // 2)
    found = run_label(labelling(), spread, scheduler=cluster.address)
    strike.join(timeout=60)
    assert not strike.is_alive(), "the labels were done before a worker could be killed"
    assert found["frames"] == summary["frames"] > 300
    assert spread.read_bytes() == plain.read_bytes()
    assert not partial.exists()


def test_an_evaluation_is_that_without_a_cluster(
    tmp_path: Path, cluster: Cluster, labelled: tuple[Path, dict[str, Any]]
) -> None:
    data = labelled[0]
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2))
    save_model(tmp_path / "model", network, elements=[1, 7, 8], training={}, metrics={}, card="")
    asked = EvaluateSettings(
        model=str(tmp_path / "model"), data=data, calculator=(SPRING,), splits=("train", "test", "unseen"),
        symmetry_frames=6, lambda_frames=4, measure_calculators=True, workers=1, output=tmp_path / "plain", quiet=True,
    )  # fmt: skip
    plain = evaluate(asked)
    beside = tmp_path / "spread"
    began = time.monotonic()
    strike = with_a_death_and_a_late_one(cluster, lambda: time.monotonic() > began + 1.0)
    settings = {**vars(asked), "workers": None, "scheduler": cluster.address, "output": beside}
    spread = evaluate(EvaluateSettings(**settings))
    strike.join(timeout=60)
    assert spread == plain
    assert (beside / JSON_NAME).read_bytes() == (tmp_path / "plain" / JSON_NAME).read_bytes()
    # the data are the springs' own labels: a calculator beside the model that is exactly right
    model, spring = plain["methods"]
    assert spring["force_mae_meV_A"] < 1e-3 < model["force_mae_meV_A"]
    assert spring["lambda"] < 1e-3 and spring["e_eq_kcal_mol_A"] < 1e-6 < model["e_eq_kcal_mol_A"]


def test_a_cluster_of_this_machine_is_started_when_asked_for(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "from pathlib import Path\n"
        "from mdet_openmm.cli import main\n"
        "if __name__ == '__main__':\n"
        f"    raise SystemExit(main(['label', {str(tmp_path / 'x.yaml')!r}, '--output', {str(tmp_path / 'x.h5')!r}, "
        "'--scheduler', 'local']))\n"
    )
    (tmp_path / "x.yaml").write_text(
        "teacher: {kind: ase, ase: 'label_calculators:SlowSpring'}\n"
        "sampling: {frames: 2, displaced: 0, equilibrate: 2.0, interval: 2.0}\n"
        "held_out: {val: 0, test: 0, unseen: 0}\nmax_force: 10000.0\nmolecules: [{smiles: O}]\n"
    )
    paths = os.pathsep.join([str(ROOT), str(STAND_INS)])
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 2
