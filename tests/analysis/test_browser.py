"""Pages in a real browser, where one is installed: the movie plays, and nothing sticks out."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_run import ETHANOL, ETHANOL_NUMBERS, write_run

from mdet_openmm.analysis.page import BAD, GOOD, Card, Page, Verdict, render
from mdet_openmm.analysis.report import analyze

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser of Chromium's kind here")
WEBGL = ("--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
MEASURE = """<script>addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(
    e => e.closest(".scroll, .movie") === null && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
         && getComputedStyle(e).display !== "inline");
  const out = [...document.querySelectorAll(".card small, .card .d, .verdicts span")].filter(
    e => e.getBoundingClientRect().right > e.closest(".card, .verdicts").getBoundingClientRect().right + 1);
  document.body.dataset.wide = [...wide, ...out].map(e => e.className + ":" + e.textContent.slice(0, 40)).join("|");
});</script>"""


def dom(page: Path, width: int, milliseconds: int) -> str:
    """The page as it stands after so long."""
    flags = ["--headless", "--no-sandbox", *WEBGL, f"--window-size={width},2000", "--dump-dom"]
    command = [str(BROWSER), *flags, f"--virtual-time-budget={milliseconds}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def test_the_movie_plays(tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only()
    rng = np.random.default_rng(0)
    run = write_run(tmp_path / "run", ETHANOL_NUMBERS, ETHANOL + 0.02 * rng.normal(size=(60, 9, 3)), interval_fs=4.0)
    text = re.sub(r"<script>.*?</script>", "", dom(analyze(run), 1200, 1500), flags=re.DOTALL)
    assert "<canvas" in text and "no WebGL" not in text
    at = float(re.search(r'id="movie-time">([\d.]+) ps<', text).group(1))  # type: ignore[union-attr]
    assert 0.004 < at <= 0.24 and 'id="movie-play">pause<' in text


@pytest.mark.parametrize("width", [1200, 900, 420])
def test_nothing_sticks_out_of_its_place(width: int, tmp_path: Path) -> None:
    long = "a line of a verdict that has --largest-equivariance-error 12 in it, and so on, " * 4
    tiles = [Card("E_eq, 1 orientation", "0.00548", "kcal/mol/Å", "raw; 0.2705 ± 0.0016 as used")] * 7
    page = Page("C₂H₆O", "s", None, [("a", "b")] * 14, [Verdict(BAD, long), Verdict(GOOD, "x")], tiles, [], [], [], "f")
    path = tmp_path / "page.html"
    path.write_text(render(page).replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    assert re.search(r'data-wide="(.*?)"', dom(path, width, 200)).group(1) == ""  # type: ignore[union-attr]
