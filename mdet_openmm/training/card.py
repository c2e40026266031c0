"""The model card."""

from pathlib import Path
from typing import Any

from mdet_openmm.data.store import Store
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig

LONGEST = 60
"""Molecules in a table; a model of more is judged by its worst and by the whole."""


def _shown(lines: list[str], molecules: int) -> str:
    """The lines, and how many molecules are missing from them."""
    if molecules > LONGEST:
        lines = [*lines, "", f"The {LONGEST} worst of {molecules}; all of them are in `metrics.json`."]
    return "\n".join(lines)


def metrics_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's errors, molecule by molecule, the worst first."""
    lines = [
        "| molecule | frames | RMS force | MAE, 1 frame | MAE, 12 frames | E_eq | λ |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ranked = sorted(report["by_molecule"].items(), key=lambda item: -item[1]["mae_12"])
    for name, row in [("**all**", report["all"]), *ranked[:LONGEST]]:
        ratio = f"{row['lambda']:.3f}" if "lambda" in row else "–"
        lines.append(
            f"| {name} | {row['frames']} | {row['reference_rms']:.0f} | {row['mae']:.1f} | {row['mae_12']:.1f} "
            f"| {row['e_eq_kcal_mol_A']:.2f} | {ratio} |"
        )
    return _shown(lines, len(ranked))


def gradient_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's errors of the energy's gradient, the worst first; empty where there are none."""
    rows = {name: row for name, row in report["by_molecule"].items() if "gradient_mae" in row}
    if not rows:
        return ""
    ranked = sorted(rows.items(), key=lambda item: -item[1]["gradient_mae"])
    of = ("direct", "gradient", "difference")
    lines = [f"| molecule | {' | '.join(f'MAE, {w}' for w in of)} | {' | '.join(f'E_eq, {w}' for w in of[1:])} |"]
    lines += ["| --- " * 6 + "|"]
    lines += [
        f"| {name} | {row['mae']:.1f} | {row['gradient_mae']:.1f} | {row['difference_mae']:.1f} | "
        f"{row['gradient_e_eq_kcal_mol_A']:.2f} | {row['difference_e_eq_kcal_mol_A']:.2f} |"
        for name, row in [("**all**", report["all"]), *ranked[:LONGEST]]
    ]
    title = "The gradient of the energy (λ = 0), and what direct forces lack to be it, one frame:\n\n"
    return title + _shown(lines, len(ranked))


def energy_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's energy errors in meV, the worst first; empty where there are none."""
    rows = {name: row for name, row in report["by_molecule"].items() if "energy_rmse_meV" in row}
    if not rows:
        return ""
    ranked = sorted(rows.items(), key=lambda item: -item[1]["energy_rmse_meV"])
    lines = ["| molecule | RMS of the energy | RMS error | mean error |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {row['energy_reference_rms_meV']:.0f} | {row['energy_rmse_meV']:.1f} | "
        f"{row['energy_offset_meV']:.1f} |"
        for name, row in ranked[:LONGEST]
    ]
    return "Energies, in meV, one frame; the first two about their mean:\n\n" + _shown(lines, len(ranked))


def dipole_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's dipole errors in debye, the worst first; empty where there are none."""
    rows = {name: row for name, row in report["by_molecule"].items() if "dipole_mae_12_D" in row}
    if not rows:
        return ""
    ranked = sorted(rows.items(), key=lambda item: -item[1]["dipole_mae_12_D"])
    lines = ["| molecule | RMS dipole component | MAE, 1 frame | MAE, 12 frames |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {row['dipole_reference_rms_D']:.3f} | {row['dipole_mae_D']:.4f} | {row['dipole_mae_12_D']:.4f} |"
        for name, row in [("**all**", report["all"]), *ranked[:LONGEST]]
    ]
    title = "Dipoles, in D, component by component (charged molecules: about the centroid):\n\n"
    return title + _shown(lines, len(ranked))


def model_card(config: TrainConfig, store: Store, metrics: dict[str, Any], network: EdgeTransformer) -> str:
    """The README.md of a model folder: what it is, what it was trained on, and how wrong it is."""
    shape = network.config
    parts = [
        f"# {config.name}",
        config.description,
        f"{sum(p.numel() for p in network.parameters()):,} parameters: {shape.n_layers} layers, width "
        f"{shape.embd_dim}, {shape.n_heads} heads, {shape.directions} directions. Trained for {config.steps:,} steps"
        + (f", from the weights of {Path(config.start_from).name}, " if config.start_from else " ")
        + f"of {config.batch_size} structures x {config.copies} orientations on {len(store.indices('train')):,} "
        f"structures of {sum(m.split == 'train' for m in store.molecules)} molecules, labelled with "
        f"{store.attributes['teacher']}.",
        f"Only the {config.train_only} head was trained; bit for bit the forces are those of "
        f"{Path(config.start_from).name}."
        if config.train_only != "all" and config.start_from
        else "",
        f"Data: `{config.data.name}`, made by `mdet label`; every setting of its training stands under `training` in "
        "`config.yaml`, as `mdet train` takes it.",
    ]
    titles = {
        "test": "Held-out conformations of its own molecules (separate dynamics at 300 K)",
        "unseen": "Molecules that it never saw",
    }
    for split, report in metrics.items():
        parts.append(
            f"## {titles.get(split, split)}\n\nForces in meV/Å, E_eq in kcal/mol/Å (uniform rotations, one frame); "
            f"net force and torque removed.\n\n{metrics_table(report)}"
        )
        parts.append(gradient_table(report))
        parts.append(energy_table(report))
        parts.append(dipole_table(report))
    return "\n\n".join(p for p in parts if p) + "\n"
