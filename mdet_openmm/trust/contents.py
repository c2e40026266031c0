"""What a diagnosis says: all numbers as plain values, and the page."""

import dataclasses
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ase.data import chemical_symbols

import mdet_openmm
from mdet_openmm.analysis.contents import formula_of
from mdet_openmm.analysis.depiction import draw_molecule
from mdet_openmm.analysis.page import Card, Page, Plot, Table, Verdict, layout
from mdet_openmm.analysis.style import HALF, WIDE, as_inline_svg, drawing
from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.export.standing import sentences
from mdet_openmm.measure.field import KJ_NM_PER_MEV_A
from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.trust import figures
from mdet_openmm.trust.diagnosis import KJ_NM_PER_KCAL_A, Diagnosis, LambdaResult
from mdet_openmm.trust.verdicts import heating_budget, noise_time, pumping_heating, pumping_time
from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def numbers_of(diagnosis: Diagnosis, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Everything as plain values, units in the names of the keys; what is not known is None."""
    settings = {k: str(v) if hasattr(v, "parts") else v for k, v in dataclasses.asdict(diagnosis.settings).items()}
    return {
        "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts],
        "settings": settings,
        "model": {"name": diagnosis.model.name, "sha256": diagnosis.model.sha256},
        "molecule": {
            "name": diagnosis.molecule.name,
            "atomic_numbers": diagnosis.molecule.atomic_numbers.tolist(),
            "charge": diagnosis.molecule.charge,
            "multiplicity": diagnosis.molecule.multiplicity,
        },
        "forces": "conservative" if diagnosis.conservative else "direct",
        "structures": {
            "count": len(diagnosis.structures.positions),
            "origin": diagnosis.structures.origin,
            "problem": diagnosis.structures.problem or None,
        },
        "force_error": dataclasses.asdict(diagnosis.force_error)
        if not isinstance(diagnosis.force_error, str)
        else {"unknown": diagnosis.force_error},
        "rms_force_eV_A": diagnosis.rms_force / KJ_NM_PER_MEV_A / 1e3,
        "training_e_eq_kcal_mol_A": diagnosis.training_e_eq,
        "frames": {str(n): _orientations_numbers(diagnosis, n) for n in diagnosis.orientations},
        "heating_budget_K": heating_budget(diagnosis),
        "net_force_kcal_mol_A": diagnosis.net_force / KJ_NM_PER_KCAL_A,
        "net_torque_kcal_mol": diagnosis.net_torque / KJ_NM_PER_KCAL_A * 10.0,
        "symmetry_test": {
            precision: {
                "magnitude_variance_kcal2_mol2_A2": (test.magnitude_variance / KJ_NM_PER_KCAL_A**2).tolist(),
                "angle_deg": test.angle.tolist(),
                "rounding_kcal_mol_A": test.rounding / KJ_NM_PER_KCAL_A,
            }
            for precision, test in diagnosis.symmetry.items()
        },
        "lambda": {name: dataclasses.asdict(result) for name, result in diagnosis.lambdas.items()},
        "pumping_rate_per_ps": diagnosis.pumping_rate,
        "pumping_time_ps": _finite(pumping_time(diagnosis)),
        "pumping_heating_K": _finite(pumping_heating(diagnosis)),
        "loops": [
            {
                "radius_per_atom_pm": 1e3 * loop.radius,
                "work_kJ_mol": loop.work.tolist(),
                "predicted_kJ_mol": loop.predicted.tolist(),
            }
            for loop in diagnosis.loops
        ],
        "coverage": None if diagnosis.coverage is None else diagnosis.coverage.plain(),
        "distances": [dataclasses.asdict(distance) for distance in diagnosis.distances],
    }


def _orientations_numbers(diagnosis: Diagnosis, orientations: int) -> dict[str, Any]:
    row = diagnosis.orientations[orientations]
    return {
        "samples_per_structure": row.samples,
        "e_eq_kcal_mol_A": row.used,
        "e_eq_error": row.error,
        "e_eq_raw_kcal_mol_A": row.raw,
        "e_eq_of_structures": list(row.each),
        "sigma_meV_A": {s: value / KJ_NM_PER_MEV_A for s, value in row.heating.sigma.items()},
        "langevin_heating_K": row.heating.langevin,
        "langevin_heating_mean_K": row.heating.langevin_mean,
        "nve_heating_mean_K_ps": row.heating.nve_mean,
        "nve_time_ps": _finite(noise_time(diagnosis, orientations)),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def make_page(diagnosis: Diagnosis, verdicts: Sequence[Verdict]) -> Page:
    """Lay out the diagnosis."""
    s, molecule = diagnosis.settings, diagnosis.molecule
    shown = diagnosis.structures.positions[0]
    facts = [
        ("atoms", str(molecule.n_atoms)),
        ("charge", str(molecule.charge)),
        ("multiplicity", str(molecule.multiplicity)),
        ("forces", "conservative" if diagnosis.conservative else "direct"),
        ("temperature", f"{s.temperature:g} K"),
        ("timestep", f"{s.timestep:g} fs"),
        ("friction", f"{s.friction:g} /ps"),
        ("precision", s.precision),
        ("structures", str(len(diagnosis.structures.positions))),
        ("seed", str(s.seed)),
    ]
    planned = list(_figures(diagnosis))
    with drawing():
        plots = [
            Plot(title, caption, as_inline_svg(make(WIDE if wide else HALF), title), wide)
            for (title, caption, make, _), wide in zip(planned, layout([own for *_, own in planned]), strict=True)
        ]
    return Page(
        title=formula_of(molecule.atomic_numbers, molecule.charge),
        subtitle=f"{molecule.name}: how far the model {diagnosis.model.name} can be trusted with it",
        depiction=draw_molecule(
            molecule.atomic_numbers, find_bonds(molecule.atomic_numbers, shown), shown, molecule.charge
        ),
        facts=facts,
        verdicts=list(verdicts),
        cards=_cards(diagnosis),
        plots=plots,
        tables=[
            _orientations_table(diagnosis),
            _noise_table(diagnosis),
            _symmetry_table(diagnosis),
            *_loop_table(diagnosis),
        ],
        notes=sentences(diagnosis.model, molecule),
        footer=f"mdet-openmm {mdet_openmm.__version__}, Python {platform.python_version()} · all numbers are in "
        "diagnosis.json · what they mean: docs/diagnose.md",
    )


def _cards(diagnosis: Diagnosis) -> list[Card]:
    one = diagnosis.orientations[1]
    as_used = shown_with_error(one.used, one.error)
    cards = [
        Card("E_eq", shown(one.raw), "kcal/mol/Å", f"1 orientation, raw; {as_used} as used"),
        Card("heating", shown(one.heating.worst), "K", "of the hottest element, 1 orientation"),
        Card("net force", shown(diagnosis.net_force / KJ_NM_PER_KCAL_A), "kcal/mol/Å", "rms, before it is removed"),
        Card(
            "net torque", shown(10 * diagnosis.net_torque / KJ_NM_PER_KCAL_A), "kcal/mol", "rms, before it is removed"
        ),
        Card("rms force", shown(diagnosis.rms_force / KJ_NM_PER_KCAL_A), "kcal/mol/Å", "of a component"),
    ]
    if not isinstance(diagnosis.force_error, str):
        error = diagnosis.force_error
        share = f"{shown(100 * error.relative)} % of the forces of {error.teacher}"
        cards.insert(0, Card("force MAE", shown(error.mae), "meV/Å", share))
    if diagnosis.lambdas:
        used, raw = diagnosis.lambdas["used"], diagnosis.lambdas["raw"]
        cards.insert(1, Card("λ", shown(used.value), "", f"as used; raw {_lambda(raw)}; {used.method}"))
    return cards


def _lambda(result: LambdaResult) -> str:
    return shown_with_error(result.value, result.error)


def _figures(diagnosis: Diagnosis) -> Iterator[tuple[str, str, Callable[[float], "Figure"], bool]]:
    rows = diagnosis.orientations
    yield (
        "E_eq",
        f"{_eq(diagnosis, 1)} with one orientation, {_eq(diagnosis, 12)} with 12, {_eq(diagnosis, 60)} with 60: mean "
        "distance of the forces, turned back, from their mean over orientations (bars: three standard errors). As "
        "used: net force and net torque removed, as in a run. Dashed: the model's held-out structures, raw, one "
        "orientation.",
        lambda width: figures.orientations_figure(diagnosis, width),
        False,
    )
    hottest = max(rows[1].heating.langevin, key=lambda element: rows[1].heating.langevin[element])
    yield (
        "Heating by random rotations",
        f"{hottest} is heated most: {shown(rows[1].heating.worst)} K with one orientation. Each element under friction "
        f"{diagnosis.settings.friction:g}/ps at {diagnosis.settings.timestep:g} fs, if it shared its heat with no "
        f"other; dashed: 1 % of the temperature, {shown(heating_budget(diagnosis))} K.",
        lambda width: figures.heating_figure(diagnosis, width),
        False,
    )
    test = diagnosis.symmetry[diagnosis.settings.precision]
    worst = int(test.magnitude_variance.argmax())
    yield (
        "600-cell test",
        "Over the 60 rotations of the icosahedral group: standard deviation of the size of each atom's force (largest "
        f"{shown(float(test.magnitude_variance[worst]) ** 0.5 / KJ_NM_PER_KCAL_A)} kcal/mol/Å, on "
        f"{chemical_symbols[diagnosis.molecule.atomic_numbers[worst]]}{worst + 1}), and mean angle to its mean "
        f"direction (largest {shown(float(test.angle.max()))}°). {_rounding(diagnosis)}",
        lambda width: figures.symmetry_figure(diagnosis),
        True,
    )
    if diagnosis.lambdas:
        yield (
            "λ",
            f"Antisymmetric part of the force's derivatives, structure by structure: "
            f"{_lambda(diagnosis.lambdas['used'])} in the mean as used, {_lambda(diagnosis.lambdas['raw'])} as the "
            "network gives it; 0 for forces with an energy.",
            lambda width: figures.lambda_figure(diagnosis, width),
            False,
        )
    if diagnosis.loops:
        largest = max(diagnosis.loops, key=lambda loop: loop.radius)
        yield (
            "Work around closed loops",
            f"Rms {shown(float(largest.work.square().mean().sqrt()))} kJ/mol around circles of "
            f"{1e3 * largest.radius:g} pm per atom, in random planes of configuration space about the first structure; "
            "zero if there is an energy. Dashed: k_B T, "
            f"{shown(BOLTZMANN_KJ_PER_MOL_K * diagnosis.settings.temperature)} kJ/mol.",
            lambda width: figures.loop_figure(diagnosis, width),
            False,
        )


def _eq(diagnosis: Diagnosis, orientations: int) -> str:
    return f"{shown(diagnosis.orientations[orientations].used)} kcal/mol/Å"


def _rounding(diagnosis: Diagnosis) -> str:
    parts = ", ".join(f"{p} {shown(t.rounding / KJ_NM_PER_KCAL_A, 2)}" for p, t in diagnosis.symmetry.items())
    return f"Rms difference from fp64 in kcal/mol/Å: {parts}."


def _orientations_table(diagnosis: Diagnosis) -> Table:
    rows = []
    for orientations, row in diagnosis.orientations.items():
        time = noise_time(diagnosis, orientations)
        numbers = [row.raw, row.heating.worst, row.heating.langevin_mean, row.heating.nve_mean]
        cells = [shown_with_error(row.used, row.error), *map(shown, numbers)]
        rows.append([str(orientations), str(row.samples), *cells, shown(time if math.isfinite(time) else None)])
    header = ["orientations", "rotations", "E_eq / kcal/mol/Å", "raw", "hottest element / K", "molecule / K"]
    header += ["NVE / K/ps", "10 % after / ps"]
    return Table(
        "Orientations", header, rows, "Heating as used: under friction, and at constant energy without springs."
    )


def _noise_table(diagnosis: Diagnosis) -> Table:
    elements = list(diagnosis.orientations[1].heating.sigma)
    header = ["orientations"] + [f"σ {e} / meV/Å" for e in elements] + [f"ΔT {e} / K" for e in elements]
    rows = [
        [str(orientations)]
        + [shown(row.heating.sigma[e] / KJ_NM_PER_MEV_A) for e in elements]
        + [shown(row.heating.langevin[e]) for e in elements]
        for orientations, row in diagnosis.orientations.items()
    ]
    return Table("Noise by element", header, rows, "Rms over rotations of one Cartesian component, as used.")


def _symmetry_table(diagnosis: Diagnosis) -> Table:
    header = ["atom"]
    for precision in diagnosis.symmetry:
        header += [f"var |F|, {precision}", f"angle / °, {precision}"]
    rows = []
    for k, z in enumerate(diagnosis.molecule.atomic_numbers):
        cells = [f"{chemical_symbols[z]}{k + 1}"]
        for test in diagnosis.symmetry.values():
            variance = float(test.magnitude_variance[k]) / KJ_NM_PER_KCAL_A**2
            cells += [shown(variance, 4), shown(float(test.angle[k]), 4)]
        rows.append(cells)
    return Table("600-cell test", header, rows, f"Variances in (kcal/mol/Å)². {_rounding(diagnosis)}", folded=True)


def _loop_table(diagnosis: Diagnosis) -> list[Table]:
    if not diagnosis.loops:
        return []
    rows = [
        [
            shown(1e3 * loop.radius),
            *(shown(float(each.square().mean().sqrt())) for each in (loop.work, loop.predicted)),
            shown(float((loop.work - loop.predicted).square().mean().sqrt()), 2),
        ]
        for loop in diagnosis.loops
    ]
    header = ["radius per atom / pm", "rms work / kJ/mol", "rms predicted / kJ/mol", "rms difference"]
    return [Table("Loops", header, rows, f"{len(diagnosis.loops[0].work)} random planes; predicted: 2 area v·A u.")]
