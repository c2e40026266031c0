"""The model card."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdet_openmm.data.layout import MoleculeRow
from mdet_openmm.data.store import Store
from mdet_openmm.data.weak_groups import WEAK_GROUPS
from mdet_openmm.molecules.classes import classes_of
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig

LONGEST = 60
"""Molecules in a table; of more there are groups, and the worst."""
WORST = 20
SIZES = {
    8: "up to 8 atoms",
    12: "9 to 12 atoms",
    16: "13 to 16 atoms",
    20: "17 to 20 atoms",
    24: "21 to 24 atoms",
    30: "25 to 30 atoms",
    36: "31 to 36 atoms",
    sys.maxsize: "37 and more atoms",
}
"""Groups by their largest number of atoms."""


def _listed(ranked: list[Any]) -> list[Any]:
    """Those of a table that has the worst first."""
    return ranked if len(ranked) <= LONGEST else ranked[:WORST]


def _shown(lines: list[str], molecules: int) -> str:
    """The lines, and how many molecules are missing from them."""
    if molecules > LONGEST:
        lines = [*lines, "", f"The {WORST} worst of {molecules}; all of them are in `metrics.json`."]
    return "\n".join(lines)


def _named(name: str) -> str:
    """The name as Markdown shows it: ``[N+](=O)`` of a SMILES would be a link."""
    return name.replace("](", "]\\(")


def _groups(molecule: MoleculeRow) -> Iterator[tuple[str, str]]:
    """The groups that a molecule belongs to, each with what it is a group by."""
    yield "size", next(name for most, name in SIZES.items() if molecule.n_atoms <= most)
    yield "charge", f"charge {molecule.charge:+d}" if molecule.charge else "neutral"
    if "." in molecule.smiles:
        yield "source", "pairs"
        return  # of two classes, in contact
    yield "source", "systematic" if molecule.name == molecule.smiles else "written down by name"
    for name in classes_of(molecule.smiles) if molecule.smiles else ():
        yield "class", name


def group_table(report: dict[str, Any], molecules: Sequence[MoleculeRow]) -> str:
    """Markdown table of one split's errors by size, charge, source and class of molecule.

    A molecule counts once, with the mean over its structures; one of several classes counts in each.
    """
    lines = [
        "| group | molecules | MAE, 1 orientation | median | 90 % below | MAE, 12 orientations | E_eq |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = report["by_molecule"]
    members: dict[str, dict[str, list[dict[str, float]]]] = {"": {"**all**": list(rows.values())}}
    for molecule in molecules:
        if molecule.name in rows:
            for kind, group in _groups(molecule):
                members.setdefault(kind, {}).setdefault(group, []).append(rows[molecule.name])
    for kind in ("", "size", "charge", "source", "class"):
        groups = members.get(kind, {})
        for name in (s for s in SIZES.values() if s in groups) if kind == "size" else sorted(groups):
            mae = np.array([row["mae"] for row in groups[name]])
            twelve, e_eq = (np.mean([row[key] for row in groups[name]]) for key in ("mae_12", "e_eq_kcal_mol_A"))
            lines.append(
                f"| {name} | {len(mae)} | {mae.mean():.1f} | {np.median(mae):.1f} | {np.quantile(mae, 0.9):.1f} "
                f"| {twelve:.1f} | {e_eq:.2f} |"
            )
    return "\n".join(lines)


def metrics_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's errors, molecule by molecule, the worst first."""
    lines = [
        "| molecule | frames | RMS force | MAE, 1 orientation | MAE, 12 orientations | E_eq | λ |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ranked = sorted(report["by_molecule"].items(), key=lambda item: -item[1]["mae_12"])
    for name, row in [("**all**", report["all"]), *_listed(ranked)]:
        ratio = f"{row['lambda']:.3f}" if "lambda" in row else "–"
        lines.append(
            f"| {_named(name)} | {row['frames']} | {row['reference_rms']:.0f} | {row['mae']:.1f} | {row['mae_12']:.1f} "
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
        f"| {_named(name)} | {row['mae']:.1f} | {row['gradient_mae']:.1f} | {row['difference_mae']:.1f} | "
        f"{row['gradient_e_eq_kcal_mol_A']:.2f} | {row['difference_e_eq_kcal_mol_A']:.2f} |"
        for name, row in [("**all**", report["all"]), *ranked[:LONGEST]]
    ]
    title = "The gradient of the energy (λ = 0), and what direct forces lack to be it, in one orientation:\n\n"
    return title + _shown(lines, len(ranked))


def energy_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's energy errors in meV, the worst first; empty where there are none."""
    rows = {name: row for name, row in report["by_molecule"].items() if "energy_rmse_meV" in row}
    if not rows:
        return ""
    ranked = sorted(rows.items(), key=lambda item: -item[1]["energy_rmse_meV"])
    lines = ["| molecule | RMS of the energy | RMS error | mean error |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {_named(name)} | {row['energy_reference_rms_meV']:.0f} | {row['energy_rmse_meV']:.1f} | "
        f"{row['energy_offset_meV']:.1f} |"
        for name, row in _listed(ranked)
    ]
    return "Energies, in meV, one orientation; the first two about their mean:\n\n" + _shown(lines, len(ranked))


def dipole_table(report: dict[str, Any]) -> str:
    """Markdown table of one split's dipole errors in debye, the worst first; empty where there are none."""
    rows = {name: row for name, row in report["by_molecule"].items() if "dipole_mae_12_D" in row}
    if not rows:
        return ""
    ranked = sorted(rows.items(), key=lambda item: -item[1]["dipole_mae_12_D"])
    lines = [
        "| molecule | RMS dipole component | MAE, 1 orientation | MAE, 12 orientations |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {_named(name)} | {row['dipole_reference_rms_D']:.3f} | {row['dipole_mae_D']:.4f} "
        f"| {row['dipole_mae_12_D']:.4f} |"
        for name, row in [("**all**", report["all"]), *_listed(ranked)]
    ]
    title = "Dipoles, in D, component by component (charged molecules: about the centroid):\n\n"
    return title + _shown(lines, len(ranked))


def _weak(teacher: str) -> str:
    """A sentence on the groups that the teacher describes badly."""
    groups = WEAK_GROUPS.get(teacher, {})
    named = ", ".join(f"{name} ({error:.0f} meV/Å)" for name, (_, error) in groups.items())
    return f"Its teacher is itself far from DFT, and this model with it, for {named}." if groups else ""


def model_card(config: TrainConfig, store: Store, metrics: dict[str, Any], network: EdgeTransformer) -> str:
    """The README.md of a model folder: what it is, what it was trained on, and how wrong it is."""
    shape = network.config
    of_a_step = config.batch_size * config.accumulate * config.devices * config.nodes
    parts = [
        f"# {config.name}",
        config.description,
        f"{sum(p.numel() for p in network.parameters()):,} parameters: {shape.n_layers} layers, width "
        f"{shape.embd_dim}, {shape.n_heads} heads, {shape.directions} directions. Trained for {config.steps:,} steps"
        + (f", from the weights of {Path(config.start_from).name}, " if config.start_from else " ")
        + f"of {'up to ' if config.batch_pairs else ''}{of_a_step} structures x {config.copies} orientations "
        f"on {len(store.indices('train')):,} structures of "
        f"{len(np.unique(store.molecule[store.indices('train')])):,} molecules, labelled with "
        f"{store.attributes['teacher']}."
        + (
            f" Of those with an RMS force above {config.thin_force:g} eV/Å it took a part, as the ratio squared."
            if config.thin_force
            else ""
        )
        + (
            f" Those of n atoms were seen in proportion to n to the power of -{config.size_power:g}."
            if config.size_power
            else ""
        ),
        f"Only the {config.train_only} head was trained; bit for bit the forces are those of "
        f"{Path(config.start_from).name}."
        if config.train_only != "all" and config.start_from
        else "",
        f"Data: `{config.data.name}`, made by `mdet label`; every setting of its training stands under `training` in "
        "`config.yaml`, as `mdet train` takes it.",
        _weak(str(store.attributes["teacher"])),
    ]
    titles = {
        "test": "Held-out conformations of its own molecules (separate dynamics at 300 K)",
        "unseen": "Molecules that it never saw",
    }
    for split, report in metrics.items():
        many = len(report["by_molecule"]) > LONGEST
        parts.append(
            f"## {titles.get(split, split)}\n\nForces in meV/Å, E_eq in kcal/mol/Å (uniform rotations, one "
            "orientation); net force and torque removed."
            + (f"\n\n{group_table(report, store.molecules)}" if many else "")
            + f"\n\n{metrics_table(report)}"
        )
        parts.append(gradient_table(report))
        parts.append(energy_table(report))
        parts.append(dipole_table(report))
    return "\n\n".join(p for p in parts if p) + "\n"
