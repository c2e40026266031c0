"""Which plots the report of a run has, and what there is to see in each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis import figures
from mdet_openmm.analysis.page import Plot
from mdet_openmm.analysis.study import Study
from mdet_openmm.analysis.style import as_inline_svg, as_png, drawing
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


def draw(study: Study) -> dict[str, Drawing]:
    """All plots by name, in the order of the page."""
    drawings = {}
    with drawing():
        for name, title, caption, figure, wide in _figures(study):
            if figure is None:
                drawings[name] = Drawing(Plot(title, caption, None, wide), b"")
            else:
                drawings[name] = Drawing(Plot(title, caption, as_inline_svg(figure, title), wide), as_png(figure))
    return drawings


def _figures(study: Study) -> Iterator[tuple[str, str, str, "Figure | None", bool]]:
    run, result = study.run, study.temperature
    if result is not None:
        yield (
            "temperature",
            "Temperature",
            _temperature_caption(result),
            figures.temperature_figure(study.temperature_times, study.temperature_series, result),
            True,
        )
        if result.elements:
            yield (
                "equipartition",
                "Temperature by element",
                "Mean with one standard error (thick, from block averages) and the three-sigma interval for the number "
                "of blocks (thin). Forces that are not conservative heat light atoms first; dashed: "
                + ("the target." if result.canonical else "the mean of all atoms."),
                figures.equipartition_figure(result),
                False,
            )
    if study.energy is not None:
        yield (
            "energy",
            "Energy",
            "Total and kinetic energy less their means. What counts is the drift of the total energy beside what the "
            "kinetic energy fluctuates by (band: one standard deviation). " + study.energy.sentence,
            figures.energy_figure(study.energy),
            True,
        )
    yield (
        "stretch",
        "Largest bond deviation",
        "From the "
        + ("length in the first frame" if study.reference is None else "mean length in the reference")
        + f", over all bonds. Beyond {COLLAPSE_THRESHOLD:g} Å the run counts as collapsed; distributions below "
        "count only the frames before.",
        figures.stretch_figure(run.times, study.stability.deviation, COLLAPSE_THRESHOLD) if study.bonds else None,
        False,
    )
    yield (
        "pair_distances",
        "All interatomic distances, h(r)",
        "Density of the distances of all pairs of atoms, bins of 0.02 Å."
        + ("" if study.density_error is None else f" Error against the reference: {study.density_error:.3f}."),
        figures.pair_figure(study.density, study.reference_density) if study.density.any() else None,
        True,
    )
    yield _bonds(study)
    yield _angles(study)
    if len(study.coordinates.dihedrals):
        yield _dihedrals(study)
    yield (
        "rmsd",
        "RMSD",
        "Of all atoms from the first frame, superposed. Rotating methyl groups count.",
        figures.rmsd_figure(run.times, study.rmsd),
        False,
    )
    yield _vibrations(study)
    if study.infrared is not None:
        yield (
            "infrared",
            "Infrared spectrum",
            "Power spectrum of the change of the model's dipole in the frame of the molecule (the sum over its three "
            "components), of classical nuclei and without quantum corrections; the area is 1. Resolution "
            f"{study.infrared.resolution:.0f} cm⁻¹.",
            figures.infrared_figure(study.infrared),
            True,
        )


def _temperature_caption(result: TemperatureResult) -> str:
    if not result.canonical:
        return "Kinetic temperature in log.csv (thin: single values). " + result.sentence
    return (
        f"Kinetic temperature in log.csv (thin: single values), and its distribution beside the canonical one for "
        f"{result.degrees_of_freedom} degrees of freedom: a gamma distribution of mean {result.target:g} K and "
        f"standard deviation {result.expected_std:.1f} K. Such wide fluctuations belong to a small molecule."
    )


def _rows(
    study: Study, atoms: NDArray[np.int64], values: NDArray[np.float64], other: NDArray[np.float64] | None, unit: str
) -> list[figures.Row]:
    rows = []
    for kind, columns in study.coordinates.by_type(atoms).items():
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


def _bonds(study: Study) -> tuple[str, str, str, "Figure | None", bool]:
    other = None if study.reference_values is None else study.reference_values.bonds
    rows = _rows(study, study.coordinates.bonds, study.values.bonds, other, "Å")
    figure = None
    if rows:
        everything = np.concatenate([r.values for r in rows] + [r.reference for r in rows if r.reference is not None])
        low, high = float(everything.min()), float(everything.max())
        margin = max(0.03, 0.04 * (high - low))
        figure = figures.distribution_figure(rows, "bond length / Å", (low - margin, high + margin))
    caption = "By elements, with mean ± standard deviation, each scaled to its own height. Single bonds: table below."
    return "bonds", "Bond lengths", caption + _left_out(rows), figure, False


def _angles(study: Study) -> tuple[str, str, str, "Figure | None", bool]:
    other = None if study.reference_values is None else study.reference_values.angles
    rows = _rows(study, study.coordinates.angles, study.values.angles, other, "°")
    figure = None
    if rows:
        everything = np.concatenate([r.values for r in rows] + [r.reference for r in rows if r.reference is not None])
        limits = (max(0.0, float(everything.min()) - 4), min(180.0, float(everything.max()) + 4))
        figure = figures.distribution_figure(rows, "angle / °", limits)
    caption = "By elements along the angle, with mean ± standard deviation." + _left_out(rows)
    return "angles", "Bond angles", caption, figure, False


def _dihedrals(study: Study) -> tuple[str, str, str, "Figure | None", bool]:
    other = None if study.reference_values is None else study.reference_values.dihedrals
    rows = _rows(study, study.coordinates.dihedrals, study.values.dihedrals, other, "°circular")
    figure = figures.distribution_figure(rows, "dihedral / °", (-180.0, 180.0), ticks=range(-180, 181, 60))
    caption = "By elements along the dihedral; 0° is cis. At the right: how many of the kind there are."
    return "dihedrals", "Dihedral angles", caption + _left_out(rows), figure, False


def _vibrations(study: Study) -> tuple[str, str, str, "Figure | None", bool]:
    spectrum = study.spectrum
    title = "Vibrational density of states"
    if spectrum is None:
        return (
            "vibrations",
            title,
            "A spectrum needs at least 33 frames before any collapse, and two atoms.",
            None,
            True,
        )
    windows = "one window" if spectrum.windows == 1 else f"{spectrum.windows} windows"
    caption = (
        f"Mass-weighted, from positions, without translation and rotation; {windows}, resolution "
        f"{spectrum.resolution:.0f} cm⁻¹. Frames every {study.run.interval_fs:g} fs resolve up to "
        f"{spectrum.nyquist:.0f} cm⁻¹. The integral, {spectrum.modes:.1f} modes, is the kinetic energy of the "
        "vibrations in units of k_B T/2."
    )
    return "vibrations", title, caption, figures.spectrum_figure(spectrum, study.reference_spectrum), True
