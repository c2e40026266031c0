"""Everything that is computed about a run, before any of it is drawn or written."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.analysis.energy import EnergyResult, analyze_energy
from mdet_openmm.analysis.reference import Reference
from mdet_openmm.analysis.run_dipoles import dipoles_of_run
from mdet_openmm.measure import geometry
from mdet_openmm.measure.block_average import BlockedMean, blocked_mean
from mdet_openmm.measure.infrared import InfraredSpectrum, infrared_spectrum
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.measure.temperature import TemperatureResult, analyze_temperature, isolated_temperature
from mdet_openmm.measure.vibrations import Spectrum, folded_stretches, nyquist_per_cm, vibrational_spectrum
from mdet_openmm.simulation.ended_run import Run
from mdet_openmm.simulation.log_file import TEMPERATURE, TIME, temperature_of


@dataclass(frozen=True)
class InternalValues:
    """Bond lengths in Å, angles and dihedrals in degrees, each (frames, coordinates)."""

    bonds: NDArray[np.float64]
    angles: NDArray[np.float64]
    dihedrals: NDArray[np.float64]


@dataclass(frozen=True)
class BondResult:
    """One bond over the run; lengths in Å; the reference's are None where there is none."""

    label: str
    type: str
    atoms: tuple[int, int]
    length: BlockedMean
    shortest: float
    longest: float
    reference: BlockedMean | None

    @property
    def difference(self) -> float | None:
        """Mean length less the reference's, in Å."""
        return None if self.reference is None else self.length.mean - self.reference.mean

    @property
    def difference_error(self) -> float:
        """Standard error of the difference in Å; infinite where it is not known."""
        if self.reference is None:
            return math.inf
        error = math.hypot(self.length.error, self.reference.error)
        return error if math.isfinite(error) else math.inf


@dataclass(frozen=True)
class RunAnalysis:
    """Results for one run. Distributions count only the `stable` frames, those before a collapse.

    `temperature` is None if the log has no rows, `energy` also for a run that is not NVE; the spectra and densities of
    the reference are None where there is no reference, or one too short or without a known interval; `infrared` is
    None unless the run's model has a dipole head.
    """

    run: Run
    reference: Reference | None
    coordinates: geometry.Coordinates
    stability: geometry.Stability
    stable: int
    values: InternalValues
    reference_values: InternalValues | None
    bonds: tuple[BondResult, ...]
    temperature: TemperatureResult | None
    temperature_times: NDArray[np.float64]
    temperature_series: NDArray[np.float64]
    energy: EnergyResult | None
    rmsd: NDArray[np.float64]
    density: NDArray[np.float64]
    reference_density: NDArray[np.float64] | None
    spectrum: Spectrum | None
    reference_spectrum: Spectrum | None
    infrared: InfraredSpectrum | None
    notes: tuple[str, ...]

    @property
    def stable_ps(self) -> float:
        """Time up to the collapse, or the length of the run."""
        frame = self.stability.collapse_frame
        return float(self.run.times[-1] if frame is None else self.run.times[frame])

    @property
    def density_error(self) -> float | None:
        """h(r) error against the reference."""
        return None if self.reference_density is None else density_error(self.density, self.reference_density)


def analyze_run(run: Run, reference: Reference | None = None) -> RunAnalysis:
    """Compute everything that the report shows.

    Parameters
    ----------
    run
        From :func:`mdet_openmm.simulation.ended_run.read_run`.
    reference
        From :func:`mdet_openmm.analysis.reference.read_reference`.
    """
    trajectory = run.trajectory
    coordinates = geometry.find_coordinates(run.atomic_numbers, run.positions[0])
    notes = list(run.notes)
    lengths = geometry.bond_lengths(trajectory, coordinates.bonds)
    reference_values = None if reference is None else _internal(reference.trajectory, coordinates)
    origin = lengths[0] if reference_values is None else reference_values.bonds.mean(axis=0)
    stability = geometry.find_collapse(lengths, origin)
    stable = trajectory.n_frames if stability.collapse_frame is None else stability.collapse_frame
    if reference_values is not None and (
        geometry.find_collapse(reference_values.bonds, origin).collapse_frame is not None
    ):
        notes.append("The reference itself has bonds more than 0.5 Å from their mean length.")
    if stable == 0:  # then there is nothing to average; the first frame stands for itself
        notes.append("Already the first frame counts as collapsed; the numbers below are those of this frame alone.")
    settled = trajectory[: max(1, stable)]
    values = _internal(settled, coordinates)
    if settled.n_frames < 20:
        notes.append(f"Only {settled.n_frames} frames: single values are drawn, and errors mean little.")

    masses = atomic_masses[run.atomic_numbers]
    target = float(run.summary["temperature_K"])
    positions = run.positions[: settled.n_frames]
    spectrum = vibrational_spectrum(positions, masses, run.interval_fs, run.spectral_temperature)
    reference_spectrum = None
    if reference is not None and reference.interval_fs is not None and spectrum is not None:
        kelvin = reference.temperature or target
        reference_spectrum = vibrational_spectrum(reference.positions, masses, reference.interval_fs, kelvin)
    infrared = None
    polar = None if spectrum is None else dipoles_of_run(run, positions, masses)
    if polar is not None:
        charge = int(run.summary.get("charge") or 0)
        infrared = infrared_spectrum(polar.positions, polar.dipoles, masses, run.interval_fs, charge)
    folded = folded_stretches({coordinates.type_of(b) for b in coordinates.bonds}, run.interval_fs)
    if folded:
        notes.append(
            f"Frames every {run.interval_fs:g} fs resolve vibrations up to {nyquist_per_cm(run.interval_fs):.0f} cm⁻¹: "
            f"the {', '.join(folded)} stretches lie above and appear folded to lower wavenumbers. Run with "
            "--report-interval 4 (fs) or less to see them in place."
        )
    times, series, by_element = _temperatures(run, stability.collapse_frame)
    return RunAnalysis(
        run=run,
        reference=reference,
        coordinates=coordinates,
        stability=stability,
        stable=stable,
        values=values,
        reference_values=reference_values,
        bonds=_bond_results(coordinates, values, reference_values),
        temperature=_temperature(run, times, series, by_element, target, notes),
        temperature_times=times,
        temperature_series=series,
        energy=analyze_energy(run),
        rmsd=geometry.root_mean_square_deviation(trajectory),
        density=pair_density(positions),
        reference_density=None if reference is None else pair_density(reference.positions),
        spectrum=spectrum,
        reference_spectrum=reference_spectrum,
        infrared=infrared,
        notes=tuple(notes),
    )


def _internal(trajectory: Any, coordinates: geometry.Coordinates) -> InternalValues:
    return InternalValues(
        geometry.bond_lengths(trajectory, coordinates.bonds),
        geometry.bond_angles(trajectory, coordinates.angles),
        geometry.dihedral_angles(trajectory, coordinates.dihedrals),
    )


def _bond_results(
    coordinates: geometry.Coordinates, values: InternalValues, reference: InternalValues | None
) -> tuple[BondResult, ...]:
    return tuple(
        BondResult(
            label=coordinates.label_of(bond),
            type=coordinates.type_of(bond),
            atoms=(int(bond[0]), int(bond[1])),
            length=blocked_mean(values.bonds[:, i]),
            shortest=float(values.bonds[:, i].min()),
            longest=float(values.bonds[:, i].max()),
            reference=None if reference is None else blocked_mean(reference.bonds[:, i]),
        )
        for i, bond in enumerate(coordinates.bonds)
    )


def _temperatures(
    run: Run, collapse: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Times in ps, temperatures and those of each element in K, for finite rows before the collapse."""
    series = run.log[TEMPERATURE]
    counted = run.interval_fs * 1e-3 * np.arange(1, len(series) + 1, dtype=np.float64)
    times = run.log.get(TIME, counted)
    keep = np.isfinite(series)
    if collapse is not None:
        keep &= times < run.times[collapse]
    symbols = [chemical_symbols[z] for z in sorted(set(run.atomic_numbers.tolist()))]
    columns = {symbol: run.log[temperature_of(symbol)] for symbol in symbols if temperature_of(symbol) in run.log}
    return times[keep], series[keep], {symbol: column[keep] for symbol, column in columns.items()}


def _temperature(
    run: Run,
    times: NDArray[np.float64],
    series: NDArray[np.float64],
    by_element: dict[str, NDArray[np.float64]],
    target: float,
    notes: list[str],
) -> TemperatureResult | None:
    if len(series) == 0:
        notes.append("log.csv has no temperatures before the collapse or the end of the run.")
        return None
    if run.summary.get("ensemble") == "nve":
        return isolated_temperature(times, series, by_element, int(run.summary["degrees_of_freedom"]))
    freedom = run.summary.get("degrees_of_freedom") or 3 * len(run.atomic_numbers)
    friction = run.summary.get("friction_per_ps")
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else run.interval_fs * 1e-3
    settled = spacing * len(times) + float(run.summary.get("equilibrate_ps") or 0.0)
    relaxations = math.inf if not friction else float(friction) * settled
    return analyze_temperature(series, by_element, target, int(freedom), relaxations)
