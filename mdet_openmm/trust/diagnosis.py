"""Everything that is measured about one molecule, before any of it is judged, drawn or written."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdet_openmm.export.memory import available_memory, peak_bytes
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ORIENTATIONS, PRECISIONS
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.measure import curl
from mdet_openmm.measure.coverage import Coverage, Distance, distance_to, stored_coverage, training_e_eq
from mdet_openmm.measure.field import Field, make_field, smooth_field
from mdet_openmm.measure.heating import Heating, heating_of
from mdet_openmm.measure.orientation import OrientationNoise, SymmetryTest, noise_by_orientations, symmetry_test
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.structures import Samples, atomic_masses
from mdet_openmm.trust.forces import ForceError, force_error
from mdet_openmm.trust.settings import DiagnoseSettings
from mdet_openmm.units import KCAL_PER_MOL_PER_EV, KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM, NM_PER_ANGSTROM

KJ_NM_PER_KCAL_A: Final = KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM / KCAL_PER_MOL_PER_EV
"""kJ/mol/nm in 1 kcal/mol/Å."""

ROTATIONS_PER_OFFSET: Final = 64
FEWEST_OFFSETS: Final = 4
"""Offsets of each group: fewer than rotations, because each costs up to 60 forces."""

EXACT_ATOMS: Final = 30
"""Up to this size the whole Jacobian is computed: 3n gradients, whose cost grows with n³ each."""
PROBES: Final = 16
STRUCTURES_WITH_PROBES: Final = 3
AVERAGED_ORIENTATIONS: Final = 12

RADII_NM: Final = (0.001, 0.003, 0.01)
PLANES: Final = 16
POINTS: Final = 24
"""On each circle; 48 change the work by 1e-6 of it at 3 pm and by some per cent at 10 pm."""


@dataclass(frozen=True)
class Equivariance:
    """E_eq and heat with one number of orientations, means over the structures.

    Attributes
    ----------
    samples
        Uniform rotations (or offsets) of each structure.
    raw, used
        E_eq in kcal/mol/Å, before and after the removal of net force and torque.
    error
        Standard error of `used` from the finite number of rotations.
    each
        (s,) `used` of every structure.
    heating
        Of the mean variance over the structures.
    """

    samples: int
    raw: float
    used: float
    error: float
    each: tuple[float, ...]
    heating: Heating


@dataclass(frozen=True)
class LambdaResult:
    """lambda, the mean over structures; `error` of the mean from the probes (0 if exact), `each` of every structure."""

    value: float
    error: float
    each: tuple[float, ...]
    method: str


@dataclass(frozen=True)
class Diagnosis:
    """What was measured; forces in kJ/mol/nm where no unit is named.

    `lambdas` has "raw" and "used" (net force and torque removed), and "averaged" (of the force as used, averaged over
    12 orientations, of the first structure) where the Jacobian is exact; it is empty where memory does not suffice.
    `pumping_rate` is in 1/ps, None without a relaxed structure and an exact Jacobian. `training_e_eq` is in
    kcal/mol/Å, `coverage` the training's, both None if the model does not tell. `force_error` is the error against the
    teacher, or why it is not known.
    """

    settings: DiagnoseSettings
    model: Model
    molecule: Molecule
    conservative: bool
    structures: Samples
    orientations: dict[int, Equivariance]
    net_force: float
    net_torque: float
    rms_force: float
    symmetry: dict[str, SymmetryTest]
    lambdas: dict[str, LambdaResult]
    loops: list[curl.LoopWork]
    pumping_rate: float | None
    coverage: Coverage | None
    distances: list[Distance]
    training_e_eq: float | None
    force_error: ForceError | str


def steps_of(n_structures: int) -> int:
    """How often `measure_molecule` calls its tick."""
    return 4 * n_structures + 1


def measure_molecule(
    settings: DiagnoseSettings,
    model: Model,
    molecule: Molecule,
    structures: Samples,
    tick: Callable[[], object] = lambda: None,
) -> Diagnosis:
    """Measure.

    Parameters
    ----------
    settings
        Checked.
    model, molecule, structures
        What is measured, and where.
    tick
        Called `steps_of` times.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    fields = {precision: make_field(model, molecule, precision) for precision in PRECISIONS}
    positions = list(torch.tensor(NM_PER_ANGSTROM * structures.positions))
    rotations = settings.rotations or 2
    offsets = max(FEWEST_OFFSETS, rotations // ROTATIONS_PER_OFFSET)
    noise: list[dict[int, OrientationNoise]] = []
    nets, sizes, tests = [], [], []
    for x in positions:
        found, net, size = noise_by_orientations(
            fields[settings.precision], x, rotations=rotations, offsets=offsets, generator=generator
        )
        noise.append(found)
        nets.append(net)
        sizes.append(size)
        tick()
        tests.append(symmetry_test(fields, x))
        tick()
    # A relaxed structure has next to no force, whose direction says nothing.
    thermal = tests[1:] if structures.relaxed and len(tests) > 1 else tests
    masses = atomic_masses(molecule)
    lambdas, loops, pumping = _measure_curl(model, molecule, fields["double"], structures, positions, generator, tick)
    coverage = stored_coverage(model)
    largest = max(sizes) / KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM
    return Diagnosis(
        settings=settings,
        model=model,
        molecule=molecule,
        conservative=fields["double"].conservative,
        structures=structures,
        orientations={f: _equivariance([n[f] for n in noise], settings, molecule, masses) for f in ORIENTATIONS},
        net_force=_rms([net[0] for net in nets]),
        net_torque=_rms([net[1] for net in nets]),
        rms_force=_rms(sizes),
        symmetry={p: _mean_test([t[p] for t in thermal]) for p in PRECISIONS},
        lambdas=lambdas,
        loops=loops,
        pumping_rate=pumping,
        coverage=coverage,
        distances=distance_to(coverage, molecule.atomic_numbers, structures.positions, largest) if coverage else [],
        training_e_eq=training_e_eq(model),
        force_error=force_error(model, molecule, structures.positions, precision=settings.precision, tick=tick),
    )


def _rms(values: list[float]) -> float:
    return math.sqrt(sum(v * v for v in values) / len(values))


def _equivariance(
    noise: list[OrientationNoise], settings: DiagnoseSettings, molecule: Molecule, masses: NDArray[np.float64]
) -> Equivariance:
    variance = torch.stack([n.variance for n in noise]).mean(dim=0).numpy()
    return Equivariance(
        samples=noise[0].samples,
        raw=sum(n.e_eq_raw for n in noise) / len(noise) / KJ_NM_PER_KCAL_A,
        used=sum(n.e_eq for n in noise) / len(noise) / KJ_NM_PER_KCAL_A,
        error=_rms([n.e_eq_error for n in noise]) / math.sqrt(len(noise)) / KJ_NM_PER_KCAL_A,
        each=tuple(n.e_eq / KJ_NM_PER_KCAL_A for n in noise),
        heating=heating_of(
            variance, molecule.atomic_numbers, masses, timestep=settings.timestep, friction=settings.friction
        ),
    )


def _mean_test(tests: list[SymmetryTest]) -> SymmetryTest:
    return SymmetryTest(
        torch.stack([t.magnitude_variance for t in tests]).mean(dim=0),
        torch.stack([t.angle for t in tests]).mean(dim=0),
        _rms([t.rounding for t in tests]),
    )


def _measure_curl(
    model: Model,
    molecule: Molecule,
    fast: Field,
    structures: Samples,
    positions: list[Tensor],
    generator: torch.Generator,
    tick: Callable[[], object],
) -> tuple[dict[str, LambdaResult], list[curl.LoopWork], float | None]:
    n = molecule.n_atoms
    at_once = max(1, curl.PAIRS_WITH_GRAPH // n**2)
    # twice: of conservative forces the graph is differentiated a second time
    if 2 * peak_bytes(model.network.config, n, at_once, "double", differentiated=True) > available_memory():
        for _ in range(len(positions) + 1):
            tick()
        return {}, [], None
    smooth = smooth_field(model, molecule)
    exact = n <= EXACT_ATOMS
    found: dict[str, list[curl.Lambda]] = {"raw": [], "used": []}
    for x in positions:
        if exact:
            for name in found:
                found[name].append(curl.exact_lambda(smooth, x, raw=name == "raw"))
        elif len(found["raw"]) < STRUCTURES_WITH_PROBES:
            for name in found:
                found[name].append(
                    curl.stochastic_lambda(smooth, fast, x, probes=PROBES, generator=generator, raw=name == "raw")
                )
        tick()
    method = "exact Jacobian" if exact else f"{PROBES} probes for each of {len(found['raw'])} structures"
    lambdas = {
        name: LambdaResult(
            value=sum(each.value for each in values) / len(values),
            error=_rms([each.error for each in values]) / math.sqrt(len(values)),
            each=tuple(each.value for each in values),
            method=method,
        )
        for name, values in found.items()
    }
    pumping = None
    if exact:
        mean = curl.jacobian(smooth, positions[0], rotations=rotation_group(AVERAGED_ORIENTATIONS))
        value = float(curl.antisymmetric_ratio(mean))
        lambdas["averaged"] = LambdaResult(
            value, 0.0, (value,), f"exact Jacobian, {AVERAGED_ORIENTATIONS} orientations"
        )
        if structures.relaxed and n > 2:
            pumping = curl.pumping_rate(mean, torch.tensor(atomic_masses(molecule)))
    loops = curl.loop_work(
        smooth, fast, positions[0], radii=RADII_NM, planes=PLANES, points=POINTS, generator=generator
    )
    tick()
    return lambdas, loops, pumping
