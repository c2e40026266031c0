"""What tests need of the process that they run in, a small model with random weights, a molecule, short reports."""

import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch is loaded: its threads sleep while they wait, so that tests can share a machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # processes side by side: a core for each
    os.environ["OMP_NUM_THREADS"] = "1"
# A shell that runs the tests in the background has had Ctrl-C ignored, here and in every process that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A quiet command, run in this process, silences the package's warnings, and not those of the next test."""
    package = logging.getLogger("mdet_openmm")
    level = package.level
    yield
    package.setLevel(level)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose forces are random and too weak to do harm in a short, cold run."""
    import torch

    from mdet_openmm.export.model_folder import save_model
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.network.edge_transformer import EdgeTransformer

    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, EdgeTransformer(config), elements=[1, 6, 8], training={}, metrics={}, card="random weights")
    return folder


@pytest.fixture(scope="session")
def water_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A molecule that no test changes."""
    path = tmp_path_factory.mktemp("systems") / "water.xyz"
    path.write_text("3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n")
    return path


@pytest.fixture
def water(tmp_path: Path, water_once: Path) -> Path:
    return Path(shutil.copy(water_once, tmp_path))


@pytest.fixture
def draw_only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Called with names of figures: reports of runs have these and no others, whose drawing takes most of the time."""
    from mdet_openmm.analysis import plots
    from mdet_openmm.analysis.run_analysis import RunAnalysis

    planned = plots._figures

    def only(*names: str) -> None:
        def chosen(analysis: RunAnalysis) -> Iterator[plots.PlannedFigure]:
            return (figure for figure in planned(analysis) if figure.name in names)

        monkeypatch.setattr(plots, "_figures", chosen)

    return only
