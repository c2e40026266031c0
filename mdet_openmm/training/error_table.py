"""The errors of a split, of what was recorded structure by structure."""

import numpy as np
import torch
from torch import Tensor

from mdet_openmm.units import (
    ANGSTROM_PER_BOHR,
    DEBYE_PER_E_ANGSTROM,
    EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
    EV_PER_HARTREE,
)

MEV = 1e3 * EV_PER_HARTREE
MEV_PER_ANGSTROM = 1e3 * EV_PER_ANGSTROM_PER_ATOMIC_FORCE
RECORDED = (
    "single", "twelve", "label", "e_eq", "dipole", "dipole_12", "dipole_label", "gradient", "gradient_e_eq",
    "gradient_lambda", "difference", "difference_e_eq", "difference_lambda",
)  # fmt: skip


def mae_rmse(error: Tensor) -> dict[str, float]:
    """Mean and RMS of the components of (k, 3) errors in Ha/bohr, averaged over twelve orientations; in meV/Å."""
    return {
        "mae_12": round(float(error.abs().mean()) * MEV_PER_ANGSTROM, 3),
        "rmse_12": round(float(error.square().mean().sqrt()) * MEV_PER_ANGSTROM, 3),
    }


def summary(record: dict[str, list[Tensor]], ratios: list[float]) -> dict[str, float]:
    """What `evaluate` tells of a molecule, or of all, from what was recorded under `RECORDED` and its lambdas."""
    single = torch.cat([t.reshape(-1) for t in record["single"]])
    label = torch.cat([t.reshape(-1) for t in record["label"]])
    twelve = torch.cat([t.reshape(-1) for t in record["twelve"]])
    return {
        "frames": len(record["single"]),
        "mae": round(float(single.abs().mean()) * MEV_PER_ANGSTROM, 3),
        "rmse": round(float(single.square().mean().sqrt()) * MEV_PER_ANGSTROM, 3),
        **mae_rmse(twelve),
        "reference_rms": round(float(label.square().mean().sqrt()) * MEV_PER_ANGSTROM, 1),
        "e_eq_kcal_mol_A": round(float(torch.stack(record["e_eq"]).mean()), 4),
        **({"lambda": round(float(np.mean(ratios)), 4)} if ratios else {}),
        **(_gradient_errors(record) if record["gradient"] else {}),
        **(_dipole_errors(record) if record["dipole"] else {}),
    }


def _gradient_errors(record: dict[str, list[Tensor]]) -> dict[str, float]:
    """Of minus the energy's gradient, whose lambda is 0, and of what direct forces lack to be it; one orientation."""
    found = {}
    for of in ("gradient", "difference"):
        error = torch.cat([t.reshape(-1) for t in record[of]])
        found[f"{of}_mae"] = round(float(error.abs().mean()) * MEV_PER_ANGSTROM, 3)
        found[f"{of}_rmse"] = round(float(error.square().mean().sqrt()) * MEV_PER_ANGSTROM, 3)
        found[f"{of}_e_eq_kcal_mol_A"] = round(float(torch.stack(record[f"{of}_e_eq"]).mean()), 4)
        if record[f"{of}_lambda"]:
            found[f"{of}_lambda"] = round(float(torch.stack(record[f"{of}_lambda"]).mean()), 4)
    return found


def _dipole_errors(record: dict[str, list[Tensor]]) -> dict[str, float]:
    """Mean absolute errors of the components, and the RMS component of the labels, in e Å and D."""
    single, twelve, label = (
        torch.stack(record[key]) * ANGSTROM_PER_BOHR for key in ("dipole", "dipole_12", "dipole_label")
    )
    return {
        "dipole_mae_D": round(float(single.abs().mean()) * DEBYE_PER_E_ANGSTROM, 5),
        "dipole_mae_12_D": round(float(twelve.abs().mean()) * DEBYE_PER_E_ANGSTROM, 5),
        "dipole_mae_12_e_A": round(float(twelve.abs().mean()), 6),
        "dipole_reference_rms_D": round(float(label.square().mean().sqrt()) * DEBYE_PER_E_ANGSTROM, 4),
    }


def energy_errors(record: dict[str, list[Tensor]]) -> dict[str, float]:
    """Of one molecule, meV: mean error; and, about it, the spread, beside that of the energies themselves.

    Dynamics knows nothing of the mean, which is a constant.
    """
    label = torch.stack(record["energy_label"])
    error = torch.stack(record["energy"]) - label
    return {
        "energy_offset_meV": round(float(error.mean()) * MEV, 2),
        "energy_rmse_meV": round(float(error.std(correction=0)) * MEV, 2),
        "energy_reference_rms_meV": round(float(label.std(correction=0)) * MEV, 2),
    }


def mean_energy_errors(by_molecule: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over the molecules of what `energy_errors` gives for each; {} without an energy head."""
    keys = ("energy_rmse_meV", "energy_reference_rms_meV")
    rows = [row for row in by_molecule.values() if "energy_rmse_meV" in row]
    return {key: round(float(np.mean([row[key] for row in rows])), 2) for key in keys if rows}
