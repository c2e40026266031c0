"""All results of a run as plain JSON types."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.run_analysis import RunAnalysis
from mdet_openmm.files import plain
from mdet_openmm.measure import geometry
from mdet_openmm.measure.pair_distances import BIN_WIDTH


def numbers_of(analysis: RunAnalysis) -> dict[str, Any]:
    """All results as plain JSON types; what is not known is null."""
    run, temperature, stability = analysis.run, analysis.temperature, analysis.stability
    coordinates = analysis.coordinates
    bond = None if stability.bond is None else analysis.bonds[stability.bond].label
    result: dict[str, Any] = {
        "format": "mdet-analysis 1",
        "frames": len(run.positions),
        "stable_frames": analysis.stable,
        "interval_fs": run.interval_fs,
        "time_ps": run.times[-1],
        "summary": run.summary,
        "stability": {
            "collapsed": stability.collapse_frame is not None,
            "collapse_frame": stability.collapse_frame,
            "stable_ps": analysis.stable_ps,
            "bond": bond,
            "largest_deviation_A": stability.deviation.max(),
            "threshold_A": geometry.COLLAPSE_THRESHOLD,
            "lengths_compared_with": "first frame" if analysis.reference is None else "mean of the reference",
        },
        "temperature": None if temperature is None else asdict(temperature),
        "energy": None if analysis.energy is None else {
            "source": analysis.energy.source,
            "drift_meV_per_atom_ps": analysis.energy.drift,
            "drift_error_meV_per_atom_ps": analysis.energy.drift_error,
            "drift_ratio": analysis.energy.ratio,
            "kinetic_std_meV_per_atom": analysis.energy.kinetic_std,
            "verdict": analysis.energy.verdict,
        },
        "bonds": [
            {
                "label": b.label,
                "type": b.type,
                "atoms": b.atoms,
                "mean_A": b.length.mean,
                "std_A": b.length.std,
                "error_A": b.length.error,
                "shortest_A": b.shortest,
                "longest_A": b.longest,
                "reference_mean_A": None if b.reference is None else b.reference.mean,
                "reference_std_A": None if b.reference is None else b.reference.std,
                "reference_error_A": None if b.reference is None else b.reference.error,
                "difference_A": b.difference,
            }
            for b in analysis.bonds
        ],
        "angles": _angle_numbers(coordinates, coordinates.angles, analysis.values.angles, circular=False),
        "dihedrals": _angle_numbers(coordinates, coordinates.dihedrals, analysis.values.dihedrals, circular=True),
        "pair_distances": {
            "bin_A": BIN_WIDTH,
            "density_per_A": analysis.density,
            "reference_density_per_A": analysis.reference_density,
            "error": analysis.density_error,
        },
        "rmsd": {"mean_A": analysis.rmsd.mean(), "max_A": analysis.rmsd.max(), "last_A": analysis.rmsd[-1]},
        "vibrations": None if analysis.spectrum is None else {
            **asdict(analysis.spectrum), "modes": analysis.spectrum.modes,
        },
        "infrared": None if analysis.infrared is None else asdict(analysis.infrared),
        "reference": None if analysis.reference is None else {
            "path": str(analysis.reference.path),
            "frames": len(analysis.reference.positions),
        },
        "notes": analysis.notes,
    }  # fmt: skip
    return {key: plain(value) for key, value in result.items()}


def _angle_numbers(
    coordinates: geometry.Coordinates, atoms: NDArray[np.int64], values: NDArray[np.float64], *, circular: bool
) -> list[dict[str, Any]]:
    rows = []
    for i, members in enumerate(atoms):
        column = values[:, i]
        if circular:
            mean, spread = geometry.circular_mean(column)
        else:
            mean, spread = float(column.mean()), float(column.std(ddof=1)) if len(column) > 1 else math.nan
        rows.append(
            {
                "label": coordinates.label_of(members),
                "type": coordinates.type_of(members),
                "atoms": members,
                "mean_deg": mean,
                "std_deg": spread,
            }
        )
    return rows
