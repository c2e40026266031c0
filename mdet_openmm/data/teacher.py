"""Teachers: energies, forces and dipoles of one geometry at a time, always computed afresh."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.errors import InputError
from mdet_openmm.units import (
    ANGSTROM_PER_BOHR,
    BOHR_PER_ANGSTROM,
    BOLTZMANN_EV_PER_K,
    EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
    EV_PER_HARTREE,
)

Positions = NDArray[np.float64]


class TeacherFailure(RuntimeError):
    """The teacher has no answer for a geometry: its SCF failed or a number is not finite."""


@dataclass(frozen=True)
class Label:
    """The teacher's answer for one geometry.

    Attributes
    ----------
    energy
        Total energy in eV.
    forces
        (n, 3) in eV/Å.
    dipole
        (3,) in e·Å, about the origin; NaN where the teacher gives none.
    """

    energy: float
    forces: NDArray[np.float64]
    dipole: NDArray[np.float64]


Teacher = Callable[[Positions], Label]
"""Maps (n, 3) positions in Å to a label, or raises TeacherFailure. The answer does not depend on earlier calls."""


def make_teacher(config: TeacherConfig, atomic_numbers: NDArray[np.int64], charge: int, multiplicity: int) -> Teacher:
    """The teacher for one molecule.

    Raises
    ------
    InputError
        If its package is missing, or a charge or open shell would not reach the calculator.
    """
    if config.kind == "gfn2":
        compute = _gfn2(config, atomic_numbers, charge, multiplicity)
    else:
        compute = _ase(config, atomic_numbers, charge, multiplicity)

    def label(positions: Positions) -> Label:
        try:
            answer = compute(positions)
        except Exception as error:  # every package has its own exception for an SCF that fails
            raise TeacherFailure(f"{type(error).__name__}: {error}") from error
        if not (np.isfinite(answer.energy) and np.isfinite(answer.forces).all()):
            raise TeacherFailure("energy or forces are not finite")
        return answer

    return label


def teacher_version(config: TeacherConfig) -> tuple[str, str]:
    """Name and version of the teacher, for the provenance of a data set."""
    if config.kind == "gfn2":
        library = _import("tblite.library")
        return "GFN2-xTB", "tblite " + ".".join(str(n) for n in library.get_version())
    assert config.ase is not None
    module = importlib.import_module(config.ase.partition(":")[0].partition(".")[0])
    return config.ase, f"{module.__name__} {getattr(module, '__version__', 'unknown')}"


def _gfn2(config: TeacherConfig, atomic_numbers: NDArray[np.int64], charge: int, multiplicity: int) -> Teacher:
    tblite = _import("tblite.interface")
    kelvin = BOLTZMANN_EV_PER_K / EV_PER_HARTREE
    calculator: Any = None

    def compute(positions: Positions) -> Label:
        nonlocal calculator
        if calculator is None:
            calculator = tblite.Calculator(
                "GFN2-xTB", atomic_numbers, positions * BOHR_PER_ANGSTROM, float(charge), multiplicity - 1
            )
            calculator.set("verbosity", 0)
            calculator.set("accuracy", config.accuracy)
            calculator.set("max-iter", config.max_iterations)
            calculator.set("temperature", config.electronic_temperature * kelvin)
        calculator.update(positions * BOHR_PER_ANGSTROM)
        # No result of an earlier call is passed in: a label must not depend on what was computed before it.
        result = calculator.singlepoint()
        return Label(
            energy=float(result.get("energy")) * EV_PER_HARTREE,
            forces=-np.asarray(result.get("gradient")) * EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
            dipole=np.asarray(result.get("dipole")) * ANGSTROM_PER_BOHR,
        )

    return compute


def check_charge_is_told(config: TeacherConfig, charge: int, multiplicity: int) -> None:
    """Refuse a charged or open-shell molecule whose charge would not reach an ASE calculator.

    Raises
    ------
    InputError
        Saying how to tell it.
    """
    if config.kind != "ase" or config.info:
        return
    given = [value for value in config.arguments.values() if isinstance(value, str)]
    for placeholder, value, usual in (("{charge}", charge, 0), ("{multiplicity}", multiplicity, 1)):
        if value != usual and placeholder not in given:
            raise InputError(
                f"a molecule has {placeholder[1:-1]} {value}, but the ASE teacher is not told; put '{placeholder}' "
                "among its arguments, or set 'info: true' if it reads atoms.info"
            )


def _ase(config: TeacherConfig, atomic_numbers: NDArray[np.int64], charge: int, multiplicity: int) -> Teacher:
    from ase import Atoms

    assert config.ase is not None
    check_charge_is_told(config, charge, multiplicity)
    placeholders = {"{charge}": charge, "{multiplicity}": multiplicity}
    module, _, name = config.ase.partition(":")
    try:
        calculator_class = getattr(_import(module), name)
    except AttributeError:
        raise InputError(f"teacher: module {module} has no class {name}") from None
    arguments = {k: placeholders.get(v, v) if isinstance(v, str) else v for k, v in config.arguments.items()}
    try:
        calculator = calculator_class(**arguments)
    except TypeError as error:
        raise InputError(f"teacher: {config.ase} does not take these arguments: {error}") from None
    atoms = Atoms(numbers=atomic_numbers, positions=np.zeros((len(atomic_numbers), 3)))
    atoms.info.update(charge=charge, spin=multiplicity)
    atoms.calc = calculator

    def compute(positions: Positions) -> Label:
        if hasattr(calculator, "reset"):
            calculator.reset()
        atoms.positions = positions
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        dipole = np.full(3, np.nan)
        if "dipole" in getattr(calculator, "implemented_properties", ()):
            dipole = np.asarray(atoms.get_dipole_moment(), dtype=np.float64)
        return Label(float(atoms.get_potential_energy()), forces, dipole)

    return compute


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = "; install it with: pip install 'mdet-openmm[label]'" if module.startswith("tblite") else ""
        raise InputError(
            f"the teacher needs the Python module {module}, which cannot be imported ({error}){extra}"
        ) from None
