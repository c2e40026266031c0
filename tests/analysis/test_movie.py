"""The movie of a page: its frames are the run's, turned onto each other, and it asks nobody for anything."""

import re

import numpy as np
from scipy.spatial.transform import Rotation

from mdet_openmm.analysis.movie import MOST_FRAMES, movie, xyz_text

WATER = np.array([[0.0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]])
NUMBERS = np.array([8, 1, 1])


def frames_of(page: str) -> np.ndarray:
    found = re.search(r'addModelsAsFrames\("(.*?)", "xyz"\)', page)
    assert found is not None
    text = found.group(1).encode().decode("unicode_escape")
    rows = [line.split()[1:] for line in text.splitlines() if re.match(r"^[OH] ", line)]
    return np.array(rows, dtype=float).reshape(-1, 3, 3)


def test_frames_turned_onto_each_other_and_thinned():
    turned = np.array([r.apply(WATER) + 5.0 for r in Rotation.random(400, random_state=1)])
    page = movie(NUMBERS, turned, 0.01 * np.arange(400.0))
    frames = frames_of(page)
    assert len(frames) == MOST_FRAMES
    np.testing.assert_allclose(frames, np.broadcast_to(frames[0], frames.shape), atol=2e-3)
    assert 'max="149"' in page and "3.99" in page


def test_nothing_closes_the_script_early_and_one_frame_is_enough():
    page = movie(NUMBERS, WATER[None], np.zeros(1))
    assert page.count("</script>") == 2 and len(frames_of(page)) == 1
    assert not re.search(r'(src|href)="', page.split("<script>")[0])


def test_xyz_text_is_what_ase_reads():
    import io

    from ase.io import read

    images = read(io.StringIO(xyz_text(NUMBERS, np.stack((WATER, WATER + 1.0)))), index=":", format="xyz")
    assert len(images) == 2
    np.testing.assert_allclose(images[1].positions, WATER + 1.0, atol=5e-4)
    np.testing.assert_array_equal(images[0].numbers, NUMBERS)
