"""The trajectory is read by mdtraj as written, and cut back to a frame it has the bytes of a shorter run."""

from pathlib import Path

import mdtraj.formats
import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.dcd import DcdFile

FRAMES = np.random.default_rng(1).normal(size=(7, 4, 3))


def write(path: Path, frames: np.ndarray) -> Path:
    file = DcdFile(path, 4, 0.0005, 8)
    for frame in frames:
        file.write(frame)
    file.close()
    return path


def test_mdtraj_reads_what_was_written(tmp_path: Path) -> None:
    with mdtraj.formats.DCDTrajectoryFile(str(write(tmp_path / "a.dcd", FRAMES))) as file:
        positions, lengths, _ = file.read()
    assert lengths is None
    np.testing.assert_array_equal(positions, (10.0 * FRAMES).astype(np.float32))


def test_header_is_the_one_that_openmm_writes(tmp_path: Path) -> None:
    from openmm import app

    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for _ in range(4):
        topology.addAtom("H", app.Element.getBySymbol("H"), residue)
    with (tmp_path / "openmm.dcd").open("w+b") as file:
        theirs = app.DCDFile(file, topology, 0.0005, 8, 8)
        for frame in FRAMES:
            theirs.writeModel(frame)
    ours, reference = write(tmp_path / "a.dcd", FRAMES).read_bytes(), (tmp_path / "openmm.dcd").read_bytes()
    title = slice(100, 260)
    assert ours[: title.start] == reference[: title.start].replace(b"\x38\x00\x00\x00", ours[20:24], 1)
    assert ours[title.stop :] == reference[title.stop :]


@pytest.mark.parametrize("keep", [0, 1, 4, 7])
def test_cut_back_and_continued_it_has_the_same_bytes(tmp_path: Path, keep: int) -> None:
    whole = write(tmp_path / "whole.dcd", FRAMES).read_bytes()
    path = write(tmp_path / "again.dcd", FRAMES[::-1] if keep == 0 else FRAMES)
    with path.open("ab") as end:
        end.write(b"half a frame")
    file = DcdFile(path, 4, 0.0005, 8, frames=keep)
    for frame in FRAMES[keep:]:
        file.write(frame)
    file.close()
    assert path.read_bytes() == whole


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcd", FRAMES)
    with pytest.raises(InputError, match="fewer frames"):
        DcdFile(path, 4, 0.0005, 8, frames=8)
    with pytest.raises(InputError, match="not the trajectory"):
        DcdFile(path, 5, 0.0005, 8, frames=2)
    path.write_text("no trajectory")
    with pytest.raises(InputError, match="not the trajectory"):
        DcdFile(path, 4, 0.0005, 8, frames=2)
