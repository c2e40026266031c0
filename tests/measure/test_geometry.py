"""Bonds, angles, dihedrals and collapse on geometries with known answers."""

from pathlib import Path

import numpy as np
import pytest
from fake_run import ETHANOL, ETHANOL_NUMBERS, random_rotations, thermal_spring, write_run

from mdet_openmm.analysis.run_analysis import analyze_run
from mdet_openmm.measure import geometry
from mdet_openmm.simulation.ended_run import read_run


def diatomic(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in Å of two atoms at these distances, turned and moved at random."""
    positions = np.zeros((len(lengths), 2, 3))
    positions[:, 1, 0] = lengths
    return np.einsum("fab,fnb->fna", random_rotations(rng, len(lengths)), positions) + 3 * rng.normal(
        size=(len(lengths), 1, 3)
    )


def test_bond_of_a_thermal_spring(tmp_path: Path):
    rng = np.random.default_rng(0)
    frames = 6000
    lengths, sigma = thermal_spring(
        rng, frames, length=1.13, wavenumber=2143.0, reduced_mass=12.011 * 15.999 / 28.01, temperature=600.0
    )
    run = read_run(write_run(tmp_path, (6, 8), diatomic(lengths, rng)))
    (bond,) = analyze_run(run).bonds
    assert (bond.label, bond.type) == ("C1–O2", "C–O")
    error = sigma / np.sqrt(frames)
    assert bond.length.mean == pytest.approx(1.13, abs=4.5 * error)
    assert bond.length.std == pytest.approx(sigma, rel=4.5 / np.sqrt(2 * frames))
    assert bond.length.error == pytest.approx(error, rel=0.35)


def test_triatomic_angle(tmp_path: Path):
    rng = np.random.default_rng(1)
    angles = np.radians(104.5) + np.radians(6.0) * rng.normal(size=5000)
    positions = np.zeros((5000, 3, 3))
    positions[:, 1, 0] = 0.96
    positions[:, 2, 0], positions[:, 2, 1] = 0.96 * np.cos(angles), 0.96 * np.sin(angles)
    positions = np.einsum("fab,fnb->fna", random_rotations(rng, 5000), positions)
    analysis = analyze_run(read_run(write_run(tmp_path, (8, 1, 1), positions)))
    assert analysis.coordinates.angles.tolist() == [[1, 0, 2]]
    assert analysis.coordinates.type_of([1, 0, 2]) == "H–O–H"
    assert analysis.values.angles.mean() == pytest.approx(104.5, abs=4.5 * 6 / np.sqrt(5000))
    assert analysis.values.angles.std() == pytest.approx(6.0, rel=0.05)


def test_dihedral_sign_and_range(tmp_path: Path):
    turns = np.array([-170.0, -60.0, 0.0, 60.0, 175.0])
    positions = np.zeros((5, 4, 3))
    positions[:, 0] = [1.45, 0, 0]
    positions[:, 0, 2] = -0.3
    positions[:, 2, 2] = 1.45
    positions[:, 3, 0], positions[:, 3, 1] = 0.95 * np.cos(np.radians(turns)), 0.95 * np.sin(np.radians(turns))
    positions[:, 3, 2] = 1.75
    run = read_run(write_run(tmp_path, (8, 8, 8, 8), positions))
    # independent: the IUPAC sign, positive when the far bond is turned clockwise, looking along the middle one
    b1, b2, b3 = (positions[:, i + 1] - positions[:, i] for i in range(3))
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    exact = np.degrees(np.arctan2((np.cross(n1, n2) * b2).sum(1) / np.linalg.norm(b2, axis=1), (n1 * n2).sum(1)))
    found = geometry.dihedral_angles(run.trajectory, np.array([[0, 1, 2, 3]]))[:, 0]
    assert found == pytest.approx(exact, abs=0.01)
    assert found == pytest.approx(turns, abs=0.01)


def test_circular_mean_does_not_break_at_180():
    mean, spread = geometry.circular_mean(np.array([175.0, -175.0, 179.0, -179.0]))
    assert abs(mean) == pytest.approx(180.0)
    assert spread == pytest.approx(3.6, abs=0.1)


def test_types_do_not_depend_on_direction():
    coordinates = geometry.find_coordinates(np.array(ETHANOL_NUMBERS), ETHANOL)
    assert len(coordinates.bonds) == 8
    assert coordinates.type_of([0, 1, 2]) == coordinates.type_of([2, 1, 0]) == "C–C–O"
    assert set(coordinates.by_type(coordinates.bonds)) == {"C–C", "C–H", "C–O", "O–H"}
    assert len(coordinates.angles) == 6 + 6 + 1
    assert len(coordinates.dihedrals) == 9 + 3


def test_collapse_is_found_at_its_frame(tmp_path: Path):
    rng = np.random.default_rng(2)
    positions = np.repeat(ETHANOL[None], 300, axis=0) + 0.01 * rng.normal(size=(300, 9, 3))
    positions[:, 8] += np.linspace(0, 1, 300)[:, None] * 0.49 * np.array([0.89, 0.45, 0.0])  # stretched, not broken
    positions[217:, 3] += np.array([-0.9, 0.3, 0.0])
    analysis = analyze_run(read_run(write_run(tmp_path, ETHANOL_NUMBERS, positions)))
    assert analysis.stability.collapse_frame == 217
    broken = analysis.stability.bond
    assert broken is not None and analysis.bonds[broken].label == "C1–H4"
    assert analysis.stable == 217
    assert analysis.stable_ps == pytest.approx(0.218)
    assert len(analysis.values.bonds) == 217
    assert len(analysis.temperature_series) == 217


@pytest.mark.parametrize(("stretch", "collapses"), [(0.499, False), (0.501, True)])
def test_threshold(stretch: float, collapses: bool):
    lengths = np.array([[1.0, 1.5], [1.0, 1.5 - stretch]])
    assert (geometry.find_collapse(lengths, lengths[0]).collapse_frame == 1) is collapses


def test_lengths_are_compared_with_the_reference_where_there_is_one():
    lengths = np.array([[1.0], [1.4], [1.4]])
    assert geometry.find_collapse(lengths, np.array([1.0])).collapse_frame is None
    assert geometry.find_collapse(lengths, np.array([0.85])).collapse_frame == 1


def test_rmsd_ignores_motion_as_a_whole(tmp_path: Path):
    rng = np.random.default_rng(3)
    moved = np.einsum("fab,nb->fna", random_rotations(rng, 20), ETHANOL) + 5 * rng.normal(size=(20, 1, 3))
    moved[7, 8] = moved[7, 2] + 1.3 * (moved[7, 8] - moved[7, 2])
    rmsd = geometry.root_mean_square_deviation(read_run(write_run(tmp_path, ETHANOL_NUMBERS, moved)).trajectory)
    assert np.delete(rmsd, 7) == pytest.approx(0.0, abs=2e-3)
    from scipy.spatial.transform import Rotation

    a, b = moved[0] - moved[0].mean(0), moved[7] - moved[7].mean(0)
    _, residual = Rotation.align_vectors(a, b)
    assert rmsd[7] == pytest.approx(residual / 3, abs=2e-3)
