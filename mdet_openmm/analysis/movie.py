"""The trajectory as a picture that turns and plays in the page, by 3Dmol.js (Rego and Koes, Bioinformatics 31, 1322).

The library lies beside this module and is written into the page, so that the page needs no network.
"""

import json
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.measure.vibrations import superpose

MOST_FRAMES = 150
"""In the page: some 60 kB of text for 15 atoms, and a quarter of a minute."""

COLOURS = {1: "white", 6: "grey", 7: "blue", 8: "red", 9: "green", 15: "orange", 16: "yellow", 17: "green"}
"""What 3Dmol.js draws elements in."""

_PLAYER = """
<div id="movie" class="movie"></div>
<div class="player"><button type="button" id="movie-play">pause</button>
<input id="movie-at" type="range" min="0" max="%(last)d" value="0" aria-label="frame">
<span id="movie-time"></span></div>
<script>%(library)s</script>
<script>
(() => {
  const times = %(times)s, last = times.length - 1;
  const play = document.getElementById("movie-play"), at = document.getElementById("movie-at");
  const label = document.getElementById("movie-time"), box = document.getElementById("movie");
  let viewer;
  try { viewer = $3Dmol.createViewer(box, {backgroundAlpha: 0}); } catch (error) { viewer = null; }
  if (!viewer) {
    box.textContent = "This browser has no WebGL: open trajectory.dcd in another viewer.";
    play.disabled = at.disabled = true;
    return;
  }
  viewer.addModelsAsFrames(%(frames)s, "xyz");
  viewer.setStyle({}, {stick: {radius: 0.12}, sphere: {scale: 0.25}});
  viewer.zoomTo();
  viewer.zoom(1.9);
  let playing = last > 0;
  const show = k => {
    at.value = k; label.textContent = times[k] + " ps";
    viewer.setFrame(k).then(() => viewer.render());
  };
  const say = () => { play.textContent = playing ? "pause" : "play"; };
  play.onclick = () => { playing = !playing; say(); };
  at.oninput = () => { playing = false; say(); show(Number(at.value)); };
  setInterval(() => { if (playing) show((Number(at.value) + 1) %% (last + 1)); }, 100);
  say();
  show(0);
})();
</script>
"""


def movie(atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64], times: NDArray[np.float64]) -> str:
    """HTML that shows frames of a trajectory, each turned onto their mean, the longest axis from left to right.

    Parameters
    ----------
    atomic_numbers
        (n,).
    positions
        (f, n, 3) in Å.
    times
        (f,) in ps.
    """
    chosen = frames_shown(len(positions))
    _, frames = superpose(positions[chosen], np.ones(len(atomic_numbers)))
    frames = _broadside(frames)
    library = files("mdet_openmm.analysis").joinpath("assets/3Dmol-min.js").read_text(encoding="utf-8")
    return _PLAYER % {
        "last": len(chosen) - 1,
        "library": library,
        "times": json.dumps([round(float(t), 4) for t in times[chosen]]),
        "frames": json.dumps(xyz_text(atomic_numbers, frames)),
    }


def frames_shown(count: int) -> NDArray[np.int64]:
    """Indices of the frames of a trajectory that are in the page, evenly spread, both ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(np.int64))


def _broadside(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """All frames (f, n, 3) turned alike: the first one's longest principal axis on x, its shortest, in view, on z."""
    centred = frames - frames[0].mean(axis=0)
    axes = np.linalg.svd(centred[0].T @ centred[0])[2]
    axes[2] *= np.sign(np.linalg.det(axes))  # a rotation: a mirror image would be another molecule
    turned: NDArray[np.float64] = centred @ axes.T
    return turned


def xyz_text(atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> str:
    """Frames (f, n, 3) in Å as a multi-frame XYZ of three decimals."""
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[z] for z in atomic_numbers]
    lines: list[str] = []
    for frame in positions:
        lines += [str(len(symbols)), ""]
        lines += [f"{s} {x:.3f} {y:.3f} {z:.3f}" for s, (x, y, z) in zip(symbols, frame.tolist(), strict=True)]
    return "\n".join(lines) + "\n"
