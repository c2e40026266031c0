"""Which plots the report of a run has, and what there is to see in each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.analysis import figures, spectrum_figures
from mdet_openmm.analysis.movie import COLOURS, frames_shown, movie
from mdet_openmm.analysis.page import Plot, layout
from mdet_openmm.analysis.run_analysis import RunAnalysis
from mdet_openmm.analysis.style import HALF, WIDE, as_inline_svg, as_png, drawing
from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.measure.geometry import COLLAPSE_THRESHOLD
from mdet_openmm.measure.temperature import TemperatureResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    "temperature",
    "equipartition",
    "energy",
    "bonds",
    "angles",
    "dihedrals",
    "stretch",
    "pair_distances",
    "rmsd",
    "vibrations",
    "infrared",
)


@dataclass(frozen=True)
class Drawing:
    """One figure as a file and as a part of the page; `png` is empty where there is nothing to draw."""

    plot: Plot
    png: bytes


@dataclass(frozen=True)
class PlannedFigure:
    """A figure that is not drawn yet, because its place decides its width.

    Attributes
    ----------
    name
        Of its file.
    title, caption
        On the page.
    make
        Draws it so many inches wide; None where there is nothing to draw.
    wide
        Whether it takes the whole page in any case.
    """

    name: str
    title: str
    caption: str
    make: Callable[[float], "Figure"] | None
    wide: bool = False


def draw(analysis: RunAnalysis) -> dict[str, Drawing]:
    """All plots by name, in the order of the page; the movie among them, which has no file."""
    planned = list(_figures(analysis))
    moving = _movie(analysis)
    drawings = {"movie": Drawing(moving, b"")}
    with drawing():
        for each, wide in zip(planned, layout([moving.wide, *(each.wide for each in planned)])[1:], strict=True):
            figure = None if each.make is None else each.make(WIDE if wide else HALF)
            svg = None if figure is None else as_inline_svg(figure, each.title)
            png = b"" if figure is None else as_png(figure)
            drawings[each.name] = Drawing(Plot(each.title, each.caption, svg, wide), png)
    return drawings


def _movie(analysis: RunAnalysis) -> Plot:
    run = analysis.run
    chosen = len(frames_shown(len(run.positions)))
    named = [f"{chemical_symbols[z]} {COLOURS[z]}" for z in sorted(set(run.atomic_numbers.tolist())) if z in COLOURS]
    caption = f"{chosen} of {len(run.positions)} frames, superposed. Drag to turn, scroll to zoom. {', '.join(named)}."
    return Plot("The run", caption, movie(run.atomic_numbers, run.positions, run.times))


def _figures(analysis: RunAnalysis) -> Iterator[PlannedFigure]:
    run, result = analysis.run, analysis.temperature
    yield _stretch(analysis)
    if result is not None:
        yield PlannedFigure(
            "temperature",
            "Temperature",
            _temperature_caption(result),
            lambda width: figures.temperature_figure(analysis.temperature_times, analysis.temperature_series, result),
            wide=True,
        )
    if analysis.energy is not None:
        energy = analysis.energy
        yield PlannedFigure(
            "energy",
            "Energy",
            f"{energy.sentence} Total and kinetic energy less their means; band: one standard deviation of the kinetic "
            "energy.",
            lambda width: figures.energy_figure(energy),
            wide=True,
        )
    if result is not None and result.elements:
        yield PlannedFigure(
            "equipartition",
            "Temperature by element",
            _equipartition_caption(result),
            lambda width: figures.equipartition_figure(result, width),
        )
    yield PlannedFigure(
        "rmsd",
        "RMSD",
        f"Of all atoms from the first frame, superposed: {shown(float(analysis.rmsd.mean()))} Å in the mean, at most "
        f"{shown(float(analysis.rmsd.max()))} Å.",
        lambda width: figures.rmsd_figure(run.times, analysis.rmsd, width),
    )
    yield PlannedFigure(
        "pair_distances",
        "All interatomic distances, h(r)",
        "Density of the distances of all pairs of atoms, bins of 0.02 Å, area 1."
        + ("" if analysis.density_error is None else f" Error against the reference: {shown(analysis.density_error)}."),
        (lambda width: figures.pair_figure(analysis.density, analysis.reference_density))
        if analysis.density.any()
        else None,
        wide=True,
    )
    yield _bonds(analysis)
    yield _angles(analysis)
    if len(analysis.coordinates.dihedrals):
        yield _dihedrals(analysis)
    yield _vibrations(analysis)
    if analysis.infrared is not None:
        infrared = analysis.infrared
        yield PlannedFigure(
            "infrared",
            "Infrared spectrum",
            f"{_peaks(infrared.peaks)}Power spectrum of the change of the model's dipole, in axes that turn with the "
            "molecule (the sum over its three components), of classical nuclei and without quantum corrections; the "
            f"area is 1. Resolution {infrared.resolution:.0f} cm⁻¹.",
            lambda width: spectrum_figures.infrared_figure(infrared),
            wide=True,
        )


def _stretch(analysis: RunAnalysis) -> PlannedFigure:
    deviation, frame = analysis.stability.deviation, analysis.stability.collapse_frame
    origin = "its length in the first frame" if analysis.reference is None else "its mean length in the reference"
    largest = f"at most {shown(float(deviation.max()))} Å" if analysis.bonds else ""
    seen = (
        f"No bond leaves {origin} by more than {COLLAPSE_THRESHOLD:g} Å: {largest}."
        if frame is None
        else f"At {shown(analysis.stable_ps, 4)} ps a bond is more than {COLLAPSE_THRESHOLD:g} Å off {origin}; "
        "distributions below count only the frames before."
    )
    return PlannedFigure(
        "stretch",
        "Largest bond deviation",
        seen if analysis.bonds else "There are no bonds.",
        (lambda width: figures.stretch_figure(analysis.run.times, deviation, COLLAPSE_THRESHOLD, width))
        if analysis.bonds
        else None,
    )


def _temperature_caption(result: TemperatureResult) -> str:
    if not result.canonical:
        return f"{result.sentence} Kinetic temperature in log.csv, and its distribution."
    return (
        f"Mean {shown_with_error(result.mean.mean, result.mean.error)} K, target {result.target:g} K; standard "
        f"deviation {shown(result.mean.std)} K, in the canonical ensemble {shown(result.expected_std)} K. Right: the "
        f"distribution beside the canonical one (gamma, {result.degrees_of_freedom} degrees of freedom)."
    )


def _equipartition_caption(result: TemperatureResult) -> str:
    against = "the target" if result.canonical else "the mean of all atoms"
    ranked = sorted(result.elements.items(), key=lambda item: -item[1].mean)
    parts = [f"{symbol} {shown_with_error(e.mean, e.error)} K" for symbol, e in ranked]
    return (
        f"{', '.join(parts)}; dashed: {against}. Thick: one standard error, from block averages; thin: the three-sigma "
        "interval for the number of blocks, with an arrow where it goes on."
    )


def _peaks(peaks: Sequence[float]) -> str:
    named = [f"{peak:.0f}" for peak in peaks if peak <= spectrum_figures.HIGHEST_SHOWN]
    return f"Peaks at {', '.join(named)} cm⁻¹. " if named else ""


def _rows(
    analysis: RunAnalysis,
    atoms: NDArray[np.int64],
    values: NDArray[np.float64],
    other: NDArray[np.float64] | None,
    unit: str,
) -> list[figures.Row]:
    rows = []
    for kind, columns in analysis.coordinates.by_type(atoms).items():
        own = values[:, columns].ravel()
        if unit == "°circular":
            text = f"{len(columns)} ×"
        elif unit == "°":
            text = f"{own.mean():.1f} ± {own.std():.1f}°"
        else:
            text = f"{own.mean():.3f} ± {own.std():.3f} Å"
        rows.append(figures.Row(kind, own, None if other is None else other[:, columns].ravel(), text))
    return rows


def _left_out(rows: list[figures.Row]) -> str:
    more = len(rows) - figures.MOST_ROWS
    return f" {more} more types are in analysis.json." if more > 0 else ""


def _limits(rows: list[figures.Row]) -> tuple[float, float]:
    everything = np.concatenate([r.values for r in rows] + [r.reference for r in rows if r.reference is not None])
    return float(everything.min()), float(everything.max())


def _distributions(
    name: str,
    title: str,
    caption: str,
    rows: list[figures.Row],
    xlabel: str,
    limits: tuple[float, float],
    ticks: Sequence[float] | None = None,
) -> PlannedFigure:
    return PlannedFigure(
        name,
        title,
        caption + _left_out(rows),
        (lambda width: figures.distribution_figure(rows, xlabel, limits, ticks, width)) if rows else None,
    )


def _bonds(analysis: RunAnalysis) -> PlannedFigure:
    other = None if analysis.reference_values is None else analysis.reference_values.bonds
    rows = _rows(analysis, analysis.coordinates.bonds, analysis.values.bonds, other, "Å")
    low, high = _limits(rows) if rows else (0.0, 1.0)
    margin = max(0.03, 0.04 * (high - low))
    caption = "By elements: mean ± standard deviation, each scaled to its own height. Single bonds: table below."
    return _distributions("bonds", "Bond lengths", caption, rows, "bond length / Å", (low - margin, high + margin))


def _angles(analysis: RunAnalysis) -> PlannedFigure:
    other = None if analysis.reference_values is None else analysis.reference_values.angles
    rows = _rows(analysis, analysis.coordinates.angles, analysis.values.angles, other, "°")
    low, high = _limits(rows) if rows else (0.0, 180.0)
    caption = "By elements along the angle: mean ± standard deviation."
    return _distributions(
        "angles", "Bond angles", caption, rows, "angle / °", (max(0.0, low - 4), min(180.0, high + 4))
    )


def _dihedrals(analysis: RunAnalysis) -> PlannedFigure:
    other = None if analysis.reference_values is None else analysis.reference_values.dihedrals
    rows = _rows(analysis, analysis.coordinates.dihedrals, analysis.values.dihedrals, other, "°circular")
    caption = "By elements along the dihedral; 0° is cis. At the right: how many of the kind there are."
    return _distributions(
        "dihedrals", "Dihedral angles", caption, rows, "dihedral / °", (-180.0, 180.0), range(-180, 181, 60)
    )


def _vibrations(analysis: RunAnalysis) -> PlannedFigure:
    spectrum = analysis.spectrum
    title = "Vibrational density of states"
    if spectrum is None:
        return PlannedFigure(
            "vibrations", title, "It takes at least 33 frames before any collapse, and two atoms.", None, wide=True
        )
    windows = "one window" if spectrum.windows == 1 else f"{spectrum.windows} windows"
    caption = (
        f"{_peaks(spectrum.peaks)}The area is {spectrum.modes:.1f} modes: the kinetic energy of the vibrations over "
        f"k_B T/2. From positions, mass-weighted, without translation and rotation; {windows}, resolution "
        f"{spectrum.resolution:.0f} cm⁻¹; frames every {analysis.run.interval_fs:g} fs resolve up to "
        f"{spectrum.nyquist:.0f} cm⁻¹."
    )
    return PlannedFigure(
        "vibrations",
        title,
        caption,
        lambda width: spectrum_figures.spectrum_figure(spectrum, analysis.reference_spectrum),
        wide=True,
    )
