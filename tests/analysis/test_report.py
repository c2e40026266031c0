"""The whole analysis: what it writes, what it says, and what it refuses."""

import dataclasses
import json
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_run import ETHANOL, ETHANOL_NUMBERS, harmonic_ethanol, write_run

from mdet_openmm.analysis.contents import formula_of
from mdet_openmm.analysis.numbers import numbers_of
from mdet_openmm.analysis.reference import read_reference
from mdet_openmm.analysis.report import analyze, run_analysis
from mdet_openmm.analysis.run_analysis import analyze_run
from mdet_openmm.analysis.settings import AnalyzeSettings
from mdet_openmm.analysis.verdicts import judge
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.dcd import read_frame
from mdet_openmm.simulation.ended_run import read_run

SCRIPT = Path(__file__).resolve().parents[2] / "simulations" / "analyze.py"


def read(page: Path) -> dict:
    return json.loads((page.parent / "analysis.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))


def numbers_without_a_page(folder: Path, reference: Path | None = None) -> dict:
    """What stands in analysis.json, without the drawings, which take most of the time."""
    run = read_run(folder)
    found = analyze_run(run, None if reference is None else read_reference(reference, run))
    return json.loads(json.dumps(numbers_of(found) | {"verdicts": [dataclasses.asdict(v) for v in judge(found)]}))


@pytest.fixture(scope="module")
def ethanol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harmonic_ethanol(tmp_path_factory.mktemp("run") / "ethanol", time_ps=16.0)


@pytest.fixture(scope="module")
def page(ethanol: Path) -> Path:
    return analyze(ethanol)


def test_report_of_langevin_ethanol(ethanol: Path, page: Path):
    assert page == ethanol / "analysis" / "report.html"
    numbers = read(page)
    assert set(numbers) == {
        "format", "frames", "stable_frames", "interval_fs", "time_ps", "summary", "stability", "temperature", "bonds",
        "angles", "dihedrals", "pair_distances", "rmsd", "vibrations", "reference", "notes", "verdicts", "energy",
        "infrared",
    }  # fmt: skip
    assert numbers["frames"] == numbers["stable_frames"] == 8000
    assert numbers["time_ps"] == pytest.approx(16.0)
    assert not numbers["stability"]["collapsed"]
    assert len(numbers["bonds"]) == 8
    assert set(numbers["temperature"]["elements"]) == {"H", "C", "O"}
    # one k_B T of twice the kinetic energy per vibrational mode, at the temperature that the run really had
    modes = numbers["vibrations"]["modes"] * 300.0 / numbers["temperature"]["mean"]["mean"]
    assert modes == pytest.approx(21, abs=2.0)
    # against first principles: a C–H spring of k alone gives √(k_B T/k), and other coordinates hardly soften it
    spread = 10 * np.sqrt(8.31446e-3 * 300 / 284512.0)
    stretch = [b["std_A"] for b in numbers["bonds"] if b["type"] == "C–H"]
    assert np.mean(stretch) == pytest.approx(spread, rel=0.15)
    pngs = {p.name for p in page.parent.glob("*.png")}
    assert pngs == {
        f"{n}.png"
        for n in ("temperature", "equipartition", "bonds", "angles", "dihedrals", "stretch", "pair_distances", "rmsd",
                  "vibrations")
    }  # fmt: skip
    assert all(p.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for p in page.parent.glob("*.png"))


def test_what_run_nvt_writes_is_read(tmp_path: Path, draw_only: Callable[..., None]):
    """The two ends of the contract: no file name or column of a real run is unknown here."""
    draw_only()
    import torch

    from mdet_openmm.export.model_folder import save_model
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.network.edge_transformer import EdgeTransformer
    from mdet_openmm.simulation.nvt import run_nvt
    from mdet_openmm.simulation.settings import NvtSettings

    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-3)
    save_model(tmp_path / "tiny", EdgeTransformer(config), elements=[1, 8], training={}, metrics={}, card="random")
    water = tmp_path / "water.xyz"
    water.write_text("3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n")
    summary = run_nvt(
        NvtSettings(
            system=water, model=str(tmp_path / "tiny"), output=tmp_path / "run", temperature=10.0, friction=50.0,
            equilibrate=0.02, steps=400, seed=3, quiet=True, minimize=False,
        )
    )  # fmt: skip
    page = analyze(tmp_path / "run")
    numbers = read(page)
    assert numbers["frames"] == 50
    assert numbers["notes"] == []
    assert numbers["time_ps"] == pytest.approx(0.2)
    assert numbers["temperature"]["degrees_of_freedom"] == 9
    assert numbers["temperature"]["mean"]["mean"] == pytest.approx(summary["temperature_mean_K"])
    for symbol, mean in summary["temperature_by_element_K"].items():
        assert numbers["temperature"]["elements"][symbol]["mean"] == pytest.approx(mean)
    assert [b["label"] for b in numbers["bonds"]] == ["O1–H2", "O1–H3"]
    assert "tiny" in page.read_text(encoding="utf-8")


def test_page_is_self_contained(page: Path):
    html = page.read_text(encoding="utf-8")
    html, scripts = re.subn(r"<script>.*?</script>", "", html, flags=re.DOTALL)  # 3Dmol.js and the movie's own
    assert scripts == 2
    assert "http" not in html
    assert "@import" not in html
    assert "<script" not in html
    assert "url(" not in re.sub(r"url\(#\w+\)", "", html)  # clip paths inside the drawings are all that is left
    assert not re.search(r"<(img|link|iframe|object)\b", html)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', html))
    assert html.count("<svg") == html.count("</svg>") == 10  # nine plots and the formula
    assert "C₂H₆O" in html
    assert "prefers-color-scheme:dark" in html
    assert "#2a6fdb" not in re.sub(
        r"<style>.*?</style>", "", html, count=1, flags=re.DOTALL
    )  # plots take the page's colours


def test_reference(ethanol: Path, tmp_path: Path):
    other = harmonic_ethanol(tmp_path / "other", time_ps=8.0, length_shift=0.05, seed=8)
    numbers = read(analyze(ethanol, reference=other, output=tmp_path / "report"))
    by_label = {b["label"]: b["difference_A"] for b in numbers["bonds"]}
    assert by_label.pop("C2–O3") == pytest.approx(-0.05, abs=0.006)
    assert max(map(abs, by_label.values())) < 0.01
    assert 0.02 < numbers["pair_distances"]["error"] < 0.5
    assert any(v["state"] == "bad" and "C2–O3" in v["text"] for v in numbers["verdicts"])
    same = numbers_without_a_page(ethanol, ethanol / "trajectory.dcd")
    assert same["pair_distances"]["error"] == 0.0
    assert all(b["difference_A"] == 0.0 for b in same["bonds"])


def test_a_reference_of_another_temperature_has_its_own_modes(tmp_path: Path):
    """The same harmonic molecule at two temperatures: the densities of states are those of 3n - 6 modes each."""
    runs = [
        harmonic_ethanol(tmp_path / str(kelvin), time_ps=6.0, interval_fs=2.0, temperature=kelvin)
        for kelvin in (150.0, 450.0)
    ]
    cold = read_run(runs[0])
    analysis = analyze_run(cold, read_reference(runs[1], cold))
    assert analysis.spectrum is not None and analysis.reference_spectrum is not None
    assert analysis.spectrum.modes == pytest.approx(21, rel=0.2)
    assert analysis.reference_spectrum.modes == pytest.approx(21, rel=0.2)


def test_reference_as_xyz(tmp_path: Path):
    import ase
    import ase.io

    rng = np.random.default_rng(0)
    positions = ETHANOL + 0.02 * rng.normal(size=(40, 9, 3))
    run = write_run(tmp_path / "run", ETHANOL_NUMBERS, positions)
    ase.io.write(tmp_path / "ref.xyz", [ase.Atoms(ETHANOL_NUMBERS, p) for p in positions])
    numbers = numbers_without_a_page(run, tmp_path / "ref.xyz")
    assert numbers["reference"]["frames"] == 40
    assert max(abs(b["difference_A"]) for b in numbers["bonds"]) < 1e-5
    ase.io.write(tmp_path / "swapped.xyz", [ase.Atoms(ETHANOL_NUMBERS[::-1], p) for p in positions])
    with pytest.raises(InputError, match="other atoms"):
        analyze(run, reference=tmp_path / "swapped.xyz")


@pytest.mark.parametrize("frames", [1, 2, 10, 40])
def test_few_frames_give_a_report_with_a_note(frames: int, tmp_path: Path):
    rng = np.random.default_rng(1)
    run = write_run(tmp_path, ETHANOL_NUMBERS, ETHANOL + 0.02 * rng.normal(size=(frames, 9, 3)))
    page = analyze(run)
    numbers = read(page)
    assert len(numbers["bonds"]) == 8
    assert (numbers["vibrations"] is None) == (frames < 33)
    assert any("Only" in note for note in numbers["notes"]) == (frames < 20)
    assert page.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("numbers", "geometry"),
    [
        ((18,), [[0.0, 0, 0]]),
        ((1, 1), [[0.0, 0, 0], [0.74, 0, 0]]),
        ((6, 8, 8), [[0.0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]]),
        ((7, 1, 1), [[0.0, 0, 0], [1.02, 0, 0], [-0.24, 0.99, 0]]),
    ],
)  # fmt: skip
def test_small_molecules(numbers: tuple[int, ...], geometry: list[list[float]], tmp_path: Path):
    rng = np.random.default_rng(2)
    run = write_run(tmp_path, numbers, np.array(geometry) + 0.01 * rng.normal(size=(60, len(numbers), 3)), charge=0)
    assert read(analyze(run))["frames"] == 60


def test_collapse_is_the_first_thing_said(tmp_path: Path):
    rng = np.random.default_rng(3)
    positions = ETHANOL + 0.02 * rng.normal(size=(200, 9, 3))
    positions[150:, 8, 0] += np.linspace(0.8, 30, 50)
    run = write_run(
        tmp_path, ETHANOL_NUMBERS, positions, exit_reason="broken_bond", message="bond O3-H9 is 1.9 Å, at step 302."
    )
    numbers = numbers_without_a_page(run)
    assert numbers["stability"]["collapse_frame"] == 150
    assert numbers["verdicts"][0]["state"] == "bad"
    assert "0.151 ps" in numbers["verdicts"][0]["text"]
    assert "O3-H9" in numbers["verdicts"][1]["text"]
    assert max(b["longest_A"] for b in numbers["bonds"]) < 1.8  # frames after the collapse do not count


def test_frames_that_are_not_finite_are_left_out(tmp_path: Path):
    positions = ETHANOL + 0.02 * np.random.default_rng(4).normal(size=(50, 9, 3))
    positions[30:, 0, 0] = np.nan
    numbers = numbers_without_a_page(write_run(tmp_path, ETHANOL_NUMBERS, positions))
    assert numbers["frames"] == 30
    assert any("not finite" in note for note in numbers["notes"])


def test_coarse_frames_are_said_to_fold_stretches(tmp_path: Path):
    positions = ETHANOL + 0.02 * np.random.default_rng(5).normal(size=(50, 9, 3))
    coarse = numbers_without_a_page(write_run(tmp_path / "coarse", ETHANOL_NUMBERS, positions, interval_fs=10.0))
    assert any("C–H" in note and "folded" in note for note in coarse["notes"])
    fine = numbers_without_a_page(write_run(tmp_path / "fine", ETHANOL_NUMBERS, positions, interval_fs=2.0))
    assert not any("folded" in note for note in fine["notes"])


def test_formula():
    assert formula_of(np.array(ETHANOL_NUMBERS), 0) == "C₂H₆O"
    assert formula_of(np.array([7, 1, 1, 1, 1]), 1) == "H₄N⁺"
    assert formula_of(np.array([16, 8, 8, 8, 8]), -2) == "O₄S²⁻"


def drop(name: str):
    return lambda run: (run / name).unlink()


def rewrite(name: str, change):
    def spoil(run: Path) -> None:
        data = (run / name).read_bytes()
        (run / name).write_bytes(change(data))

    return spoil


def in_summary(**values: object):
    return rewrite("summary.json", lambda data: json.dumps(json.loads(data) | values).encode())


BAD = {
    "no trajectory": (drop("trajectory.dcd"), "trajectory.dcd missing"),
    "no topology": (drop("topology.pdb"), "topology.pdb missing"),
    "no log": (drop("log.csv"), "log.csv missing"),
    "no summary": (drop("summary.json"), "has not ended"),
    "empty trajectory": (rewrite("trajectory.dcd", lambda d: b""), "is empty"),
    "header only": (rewrite("trajectory.dcd", lambda d: d[:8] + bytes(4) + d[12:276]), "no frames"),
    "cut header": (rewrite("trajectory.dcd", lambda d: d[:100]), "header"),
    "truncated": (rewrite("trajectory.dcd", lambda d: d[:-50]), "promises 30 frames, 29 are whole"),
    "too long": (rewrite("trajectory.dcd", lambda d: d + d[-200:]), "damaged"),
    "shuffled": (rewrite("trajectory.dcd", lambda d: d[:-400] + bytes(400)), "damaged"),
    "not a DCD": (rewrite("trajectory.dcd", lambda d: b"ATOM " * 400), "not a DCD"),
    "binary topology": (rewrite("topology.pdb", lambda d: bytes(range(256)) * 4), "topology.pdb"),
    "fewer atoms": (
        rewrite("topology.pdb", lambda d: b"\n".join(x for x in d.split(b"\n") if b" H9 " not in x)),
        "atoms",
    ),
    "other elements": (in_summary(atomic_numbers=[7, 6, 8, 1, 1, 1, 1, 1, 1]), "elements"),
    "other atom count": (in_summary(atomic_numbers=[6, 6, 8]), "3"),
    "no interval": (in_summary(report_interval_fs=None), "report_interval_fs"),
    "no temperature": (in_summary(temperature_K=-1), "temperature_K"),
    "summary is no JSON": (rewrite("summary.json", lambda d: d[:40]), "JSON"),
    "summary is a list": (rewrite("summary.json", lambda d: b"[]"), "summary"),
    "damaged log": (rewrite("log.csv", lambda d: d + b"60,0.0\n"), "line 32"),
    "log of something else": (rewrite("log.csv", lambda d: b"a,b\n1,2\n"), "temperature_K"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    positions = ETHANOL + 0.02 * np.random.default_rng(6).normal(size=(30, 9, 3))
    return write_run(tmp_path_factory.mktemp("good") / "run", ETHANOL_NUMBERS, positions)


@pytest.mark.parametrize("case", BAD)
def test_bad_runs_are_refused_in_one_line(case: str, good: Path, tmp_path: Path):
    spoil, words = BAD[case]
    run = shutil.copytree(good, tmp_path / "run")
    spoil(run)
    with pytest.raises(InputError) as error:
        analyze(run)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (run / "analysis").exists()


def test_bad_references_and_outputs_are_refused(good: Path, tmp_path: Path):
    (tmp_path / "text.xyz").write_text("nonsense")
    (tmp_path / "what.xyzzy").write_text("nonsense")
    other = write_run(tmp_path / "argon", (18,), np.zeros((5, 1, 3)))
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("precious")
    for reference in (
        tmp_path / "none",
        tmp_path / "text.xyz",
        tmp_path / "what.xyzzy",
        other,
        other / "trajectory.dcd",
    ):
        with pytest.raises(InputError, match="reference"):
            analyze(good, reference=reference)
    with pytest.raises(InputError, match="no analysis of ours"):
        analyze(good, output=full)
    with pytest.raises(InputError, match="is a file"):
        analyze(good, output=full / "thesis.tex")
    assert [p.name for p in full.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("arguments", [["missing"], ["analyze.py"], [], ["--nonsense", "x"]])
def test_command_exits_with_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "analyze.py").write_text("")
    monkeypatch.chdir(tmp_path)
    try:
        status: object = runpy.run_path(str(SCRIPT))["main"](arguments)
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    assert status == 2 and not out
    assert err.startswith("error: ") and err.count("\n") == 1


def test_command_prints_the_path_last_and_says_what_it_rewrites(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], draw_only: Callable[..., None]
) -> None:
    draw_only()
    run = shutil.copytree(good, tmp_path / "run")
    assert runpy.run_path(str(SCRIPT))["main"]([str(run)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-1] == f"report: {run / 'analysis' / 'report.html'}"
    assert "rewriting" not in out
    assert runpy.run_path(str(SCRIPT))["main"]([str(run)]) == 0
    assert capsys.readouterr().out.startswith("rewriting the analysis")


def test_a_log_that_disagrees_with_the_trajectory_is_told(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], draw_only: Callable[..., None]
) -> None:
    draw_only()
    run = shutil.copytree(good, tmp_path / "run")
    rows = (run / "log.csv").read_text().splitlines()
    for kept, words in (
        ([*rows[:4], *rows[9:]], "25 rows for 30 frames"),
        (rows[:1], "0 rows for 30 frames"),
        ([*rows[:4], *rows[5:], rows[-1].replace("60,0.03", "62,0.031")], "rows of other times for 30 frames"),
    ):
        (run / "log.csv").write_text("\n".join(kept) + "\n")
        run_analysis(AnalyzeSettings(run))
        lines = capsys.readouterr().out.splitlines()
        assert f"note: log.csv has {words}; frame times are counted instead." in lines
        np.testing.assert_allclose(read_run(run).times, 1e-3 * np.arange(1, 31))
    (run / "log.csv").write_text("\n".join(rows) + "\n")
    run_analysis(AnalyzeSettings(run))
    assert "log.csv" not in capsys.readouterr().out


def test_positions_of_a_run_are_those_of_the_file(good: Path) -> None:
    run = read_run(good)
    stored = read_frame(good / "trajectory.dcd", 9, 17)
    np.testing.assert_array_equal(run.positions[17], stored.astype(np.float64))
    assert read_reference(good / "trajectory.dcd", run).positions[17].tolist() == run.positions[17].tolist()
