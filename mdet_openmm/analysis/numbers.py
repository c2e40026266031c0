"""All results of a run as plain JSON types."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.study import Study
from mdet_openmm.files import plain
from mdet_openmm.measure import geometry
from mdet_openmm.measure.pair_distances import BIN_WIDTH


def numbers_of(study: Study) -> dict[str, Any]:
    """All results as plain JSON types; what is not known is null."""
    run, temperature, stability = study.run, study.temperature, study.stability
    coordinates = study.coordinates
    bond = None if stability.bond is None else study.bonds[stability.bond].label
    result: dict[str, Any] = {
        "format": "mdet-analysis 1",
        "frames": len(run.positions),
        "stable_frames": study.stable,
        "interval_fs": run.interval_fs,
        "time_ps": run.times[-1],
        "summary": run.summary,
        "stability": {
            "collapsed": stability.collapse_frame is not None,
            "collapse_frame": stability.collapse_frame,
            "stable_ps": study.stable_ps,
            "bond": bond,
            "largest_deviation_A": stability.deviation.max(),
            "threshold_A": geometry.COLLAPSE_THRESHOLD,
            "lengths_compared_with": "first frame" if study.reference is None else "mean of the reference",
        },
        "temperature": None if temperature is None else asdict(temperature),
        "energy": None if study.energy is None else {
            "source": study.energy.source,
            "drift_meV_per_atom_ps": study.energy.drift,
            "drift_error_meV_per_atom_ps": study.energy.drift_error,
            "drift_ratio": study.energy.ratio,
            "kinetic_std_meV_per_atom": study.energy.kinetic_std,
            "verdict": study.energy.verdict,
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
            for b in study.bonds
        ],
        "angles": _angle_numbers(coordinates, coordinates.angles, study.values.angles, circular=False),
        "dihedrals": _angle_numbers(coordinates, coordinates.dihedrals, study.values.dihedrals, circular=True),
        "pair_distances": {
            "bin_A": BIN_WIDTH,
            "density_per_A": study.density,
            "reference_density_per_A": study.reference_density,
            "error": study.density_error,
        },
        "rmsd": {"mean_A": study.rmsd.mean(), "max_A": study.rmsd.max(), "last_A": study.rmsd[-1]},
        "vibrations": None if study.spectrum is None else asdict(study.spectrum) | {"modes": study.spectrum.modes},
        "infrared": None if study.infrared is None else asdict(study.infrared),
        "reference": None if study.reference is None else {
            "path": str(study.reference.path),
            "frames": len(study.reference.positions),
        },
        "notes": study.notes,
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
