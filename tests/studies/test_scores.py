"""Stability and h(r) error of trajectories whose answers are known."""

import numpy as np
import pytest

from mdet_openmm.measure.pair_distances import BIN_WIDTH, pair_density
from mdet_openmm.molecules.trajectories import Trajectory
from mdet_openmm.studies.scores import collapse_frame, make_yardstick, score

NUMBERS = np.array([8, 1, 1])
WATER = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]])


def shaken(frames: int, seed: int = 0, width: float = 0.02) -> np.ndarray:
    return WATER + width * np.random.default_rng(seed).standard_normal((frames, 3, 3))


def reference(positions: np.ndarray) -> Trajectory:
    return Trajectory("water", NUMBERS, positions)


def test_a_bond_stretched_at_a_known_frame() -> None:
    positions = shaken(200)
    yardstick = make_yardstick(reference(positions))
    assert yardstick.bonds.tolist() == [[0, 1], [0, 2]]
    assert collapse_frame(yardstick, positions) is None
    whole = score(yardstick, positions, 0.01)
    assert (whole.stable_ps, whole.collapsed, whole.frames) == (pytest.approx(2.0), False, 200)
    along = (WATER[2] - WATER[0]) / np.linalg.norm(WATER[2] - WATER[0])
    for sign in (1.0, -1.0):
        broken = np.broadcast_to(WATER, (200, 3, 3)).copy()
        mean = yardstick.lengths[1]
        exact = np.linalg.norm(WATER[2] - WATER[0])
        broken[60, 2] += (mean - exact + sign * 0.499) * along  # within 0.5 Å of the mean length
        broken[70:, 2] += (mean - exact + sign * 0.501) * along
        found = score(yardstick, broken, 0.01)
        assert found.collapsed and found.frames == 70
        assert found.stable_ps == pytest.approx(0.71)  # frames stand at 0.01, 0.02, ... ps


def test_lengths_are_compared_with_the_mean_of_the_reference_not_with_the_start() -> None:
    stretched = np.stack([WATER, *[WATER * 1.3] * 99])  # mean length 1.297 times that of the first frame
    yardstick = make_yardstick(reference(stretched))
    run = np.broadcast_to(WATER, (5, 3, 3)).copy()
    run[3:, 1] += 0.6 * (WATER[1] - WATER[0]) / np.linalg.norm(WATER[1] - WATER[0])
    assert collapse_frame(yardstick, run) is None  # 0.6 Å from its own start, 0.32 Å from the mean
    run[4:, 1] += 0.3 * (WATER[1] - WATER[0]) / np.linalg.norm(WATER[1] - WATER[0])
    assert collapse_frame(yardstick, run) == 4


def test_the_same_trajectory_has_no_error_and_a_shifted_one_the_known() -> None:
    two = Trajectory("N2", np.array([7, 7]), np.array([[[0.0, 0.0, 0.0], [1.11, 0.0, 0.0]]] * 10))
    yardstick = make_yardstick(two)
    assert score(yardstick, two.positions, 1.0).density_error == 0.0
    moved = two.positions + np.array([3.0, -2.0, 1.0])
    assert score(yardstick, moved, 1.0).density_error == 0.0  # translations change no distance
    longer = two.positions.copy()
    longer[:, 1, 0] += 0.3
    assert score(yardstick, longer, 1.0).density_error == pytest.approx(2.0)  # distributions that do not overlap
    half = two.positions.copy()
    half[:5, 1, 0] += 0.3
    assert score(yardstick, half, 1.0).density_error == pytest.approx(1.0)
    # uniform on 1.10 to 1.30 Å against the same one bin further: one bin lost and one won, of ten
    grid = 1.11 + BIN_WIDTH * np.arange(10)
    spread = np.zeros((10, 2, 3))
    spread[:, 1, 0] = grid
    further = spread.copy()
    further[:, 1, 0] += BIN_WIDTH
    uniform = make_yardstick(Trajectory("N2", np.array([7, 7]), spread))
    assert score(uniform, further, 1.0).density_error == pytest.approx(2 / 10)
    assert np.sum(pair_density(spread)) * BIN_WIDTH == pytest.approx(1.0)


def test_only_the_frames_before_the_collapse_count_for_the_error() -> None:
    positions = shaken(300)
    yardstick = make_yardstick(reference(positions))
    run = shaken(300, seed=1)
    alone = score(yardstick, run[:100], 0.01).density_error
    run[100:, 2] += 5.0
    found = score(yardstick, run, 0.01)
    assert found.frames == 100 and found.density_error == alone


def test_a_run_that_ended_in_nan() -> None:
    yardstick = make_yardstick(reference(shaken(50)))
    ended = score(yardstick, shaken(20, seed=2), 0.01, broken=True)
    assert ended.collapsed and ended.stable_ps == pytest.approx(0.2) and ended.frames == 20
    none = score(yardstick, np.zeros((0, 3, 3)), 0.01, broken=True)
    assert none.collapsed and none.stable_ps == 0.0 and none.density_error is None
    with_nan = shaken(20, seed=2)
    with_nan[12, 1] = np.nan
    assert collapse_frame(yardstick, with_nan) == 12
