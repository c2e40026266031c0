"""What `fuzz_files.py` damages of folders that are gone on with: runs, trainings, labellings."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_reads import WATER, Case, labelled, make_model, make_store, same

# Runs that are gone on with.


def run_settings(folder: Path, steps: int, restart: bool) -> Any:
    """A short run of water."""
    from mdet_openmm.simulation.settings import NvtSettings

    return NvtSettings(
        system=folder / "water.xyz", model=str(folder / "tiny"), output=folder / "run", temperature=10.0, seed=3,
        equilibrate=0.005, steps=steps, report_interval=1.0, checkpoint_interval=0.01, minimize=False, quiet=True,
        watch_equivariance=20, restart=restart,
    )  # fmt: skip


def make_run(folder: Path) -> None:
    """One that has done forty steps."""
    from mdet_openmm.simulation.nvt import run_nvt

    (folder / "water.xyz").write_text(WATER)
    make_model(folder)
    run_nvt(run_settings(folder, 40, restart=False))


RUN = tuple(
    f"run/{name}"
    for name in ("checkpoint.chk", "trajectory.dcd", "log.csv", "equivariance.csv", "settings.json", "start.xyz")
)


def take_run(folder: Path) -> dict[str, Any]:
    """The files after twenty further steps."""
    from mdet_openmm.simulation.nvt import run_nvt

    run_nvt(run_settings(folder, 60, restart=True))
    run = folder / "run"
    return {p.name: p.read_bytes() for p in run.iterdir() if p.name not in ("settings.json", "summary.json")}


def fits_run(good: Any, found: Any, name: str) -> bool:
    """The same state; as many frames and rows."""
    own = Path(name).name
    if own in ("settings.json", "start.xyz"):  # nothing else says what stood there
        return True
    return (
        found["checkpoint.chk"] == good["checkpoint.chk"]
        and all(
            found[each] == good[each] if each != own else found[each].count(b"\n") == good[each].count(b"\n")
            for each in ("log.csv", "equivariance.csv")
        )
        and len(found["trajectory.dcd"]) == len(good["trajectory.dcd"])
    )


ENDED = ("run/trajectory.dcd", "run/log.csv", "run/summary.json", "run/topology.pdb")


def take_ended(folder: Path) -> Any:
    """What the analysis reads of it."""
    from mdet_openmm.simulation.ended_run import read_positions, read_run
    from mdet_openmm.simulation.log_file import last_time

    last_time(folder / "run" / "log.csv")
    run = read_run(folder / "run")
    read_positions(folder / "run", 3)
    assert np.isfinite(run.positions).all() and run.spectral_temperature > 0
    return run.positions.shape, run.atomic_numbers.tolist(), run.notes


def fits_ended(good: Any, found: Any, name: str) -> bool:
    """The same frames, or a note."""
    return good[1] == found[1] and (good[0] == found[0] or bool(found[2]))


# Trainings that are gone on with.


def train_config(steps: int) -> Any:
    """A small network at a constant rate, which may go on for longer; paths are those of the folder that one is in."""
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.training.config import TrainConfig

    return TrainConfig(
        name="small", data=Path("set.h5"), steps=steps, batch_size=4, warmup_steps=2, validate_every=4,
        checkpoint_every=3, threads=1, accelerator="cpu", schedule="constant",
        network=NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2, force_scale=1.0),
    )  # fmt: skip


def make_training(folder: Path) -> None:
    """One that has done nine steps."""
    from mdet_openmm.training.fit import run_training

    make_store(False)(folder)
    with contextlib.chdir(folder):
        run_training(train_config(9), model_folder=Path("model"), run_folder=Path("run"), quiet=True)
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "run" / "tensorboard", ignore_errors=True)


TRAINING = ("run/config.yaml", "run/loss.csv", "run/checkpoints/step3.ckpt", "run/checkpoints/step6.ckpt")


def take_training(folder: Path) -> bytes:
    """The weights after three further steps."""
    from mdet_openmm.training.fit import run_training

    with contextlib.chdir(folder):
        run_training(train_config(12), model_folder=Path("model"), run_folder=Path("run"), quiet=True, restart=True)
    return (folder / "model" / "weights.safetensors").read_bytes()


# Labellings that are gone on with.


def make_labelling(folder: Path) -> None:
    """One with all tasks done, which was stopped before they became a data set."""
    from mdet_openmm.data import label

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    whole, label.write_dataset = label.write_dataset, stop  # type: ignore[assignment]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            label.run_label(labelled(False), folder / "set.h5", workers=1)
    finally:
        label.write_dataset = whole


def take_labelling(folder: Path) -> bytes:
    """The data set."""
    from mdet_openmm.data.label import run_label

    run_label(labelled(False), folder / "set.h5", workers=1, restart=True)
    return (folder / "set.h5").read_bytes()


def take_collected(folder: Path) -> bytes:
    """The data set of what is done so far."""
    from mdet_openmm.data.partial import collect

    collect(folder / "set.h5.partial", folder / "set.h5")
    return b""


PARTIAL = tuple(f"set.h5.partial/task-{number:07d}.npz" for number in (0, 3))
CASES = {
    "run": Case(make_run, RUN, take_run, fits_run),
    "ended": Case(make_run, ENDED, take_ended, fits_ended),
    "training": Case(make_training, TRAINING, take_training, same),
    "labelling": Case(make_labelling, (*PARTIAL, "set.h5.partial/run.json"), take_labelling, same),
    "collected": Case(
        make_labelling, (*PARTIAL, "set.h5.partial/run.json", "set.h5.partial/molecules.json"), take_collected, same
    ),
}
