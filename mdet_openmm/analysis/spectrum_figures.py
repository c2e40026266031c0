"""The plots of spectra."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.style import BLUE, INK, ORANGE, WIDE, legend, new_figure
from mdet_openmm.measure.infrared import InfraredSpectrum
from mdet_openmm.measure.vibrations import Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


HIGHEST_SHOWN = 4200.0
"""1/cm: above all vibrations."""


def spectrum_figure(spectrum: Spectrum, reference: Spectrum | None) -> "Figure":
    """Vibrational density of states with its highest peaks marked."""
    figure = new_figure(WIDE, 3.1)
    axes = figure.subplots()
    right, scale, top = min(spectrum.nyquist, HIGHEST_SHOWN), 1e3, 0.0
    axes.fill_between(spectrum.wavenumber, spectrum.density * scale, color=BLUE, alpha=0.28, lw=0)
    axes.plot(spectrum.wavenumber, spectrum.density * scale, color=BLUE, lw=1.2, label="this run")
    if reference is not None:
        axes.plot(reference.wavenumber, reference.density * scale, color=ORANGE, lw=1.1, label="reference")
        top = scale * float(reference.density[reference.wavenumber <= right].max())
    legend(axes)
    _mark_peaks(axes, spectrum.wavenumber, spectrum.density * scale, spectrum.peaks, right, top)
    axes.set(xlabel="wavenumber / cm⁻¹", ylabel="modes per 1000 cm⁻¹")
    return figure


def infrared_figure(spectrum: InfraredSpectrum) -> "Figure":
    """Infrared spectrum with its highest peaks marked."""
    figure = new_figure(WIDE, 3.1)
    axes = figure.subplots()
    values = spectrum.intensity * 1e3
    axes.fill_between(spectrum.wavenumber, values, color=BLUE, alpha=0.28, lw=0)
    axes.plot(spectrum.wavenumber, values, color=BLUE, lw=1.2, label="this run")
    legend(axes)
    _mark_peaks(axes, spectrum.wavenumber, values, spectrum.peaks, min(spectrum.nyquist, HIGHEST_SHOWN))
    axes.set(xlabel="wavenumber / cm⁻¹", ylabel="intensity / 10⁻³ cm")
    return figure


def _mark_peaks(
    axes: "Axes",
    wavenumber: NDArray[np.float64],
    values: NDArray[np.float64],
    peaks: Sequence[float],
    right: float,
    top: float = 0.0,
) -> None:
    """Write the wavenumbers of the peaks above them, the highest first, and fit the axes to them and to `top`."""
    top = max(top, float(values[wavenumber <= right].max())) or 1.0
    heights = np.interp(peaks, wavenumber, values)
    marked: list[float] = []
    for peak, height in sorted(zip(peaks, heights, strict=True), key=lambda pair: -pair[1]):
        if peak > right or any(abs(peak - other) < 0.026 * right for other in marked):
            continue
        marked.append(peak)
        axes.annotate(
            f"{peak:.0f}", (peak, height), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9, color=INK
        )
    axes.set(xlim=(0, right), ylim=(0, top * 1.14))
