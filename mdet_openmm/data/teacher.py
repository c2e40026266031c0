"""Teachers: energies, forces and dipoles of geometries, always computed afresh."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import Answer, BatchTeacher, Label, Positions, Teacher, TeacherFailure
from mdet_openmm.errors import InputError, interrupts
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.units import (
    ANGSTROM_PER_BOHR,
    BOHR_PER_ANGSTROM,
    BOLTZMANN_EV_PER_K,
    EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
    EV_PER_HARTREE,
)

BATCHED = ("so3lr",)
"""Kinds that compute many structures at a time."""


NAMES: Final = {"gfn2": "GFN2-xTB", "so3lr": "SO3LR (PBE0+MBD)"}
"""Of the teachers without settings of their own, as data sets and models name them."""


def make_teacher(config: TeacherConfig, molecule: Species | Molecule) -> Teacher:
    """The teacher for one molecule.

    Raises
    ------
    InputError
        If its package is missing, or a charge or open shell would not reach the calculator.
    """
    species = Species(molecule.atomic_numbers, molecule.charge, molecule.multiplicity)
    if config.kind in BATCHED:
        check_teachable(config, "the molecule", species)
        return _one_at_a_time(make_batch_teacher(config), species)
    if config.kind == "pyscf":
        from mdet_openmm.data.pyscf_teacher import make_pyscf

        compute = make_pyscf(config, species)
    else:
        make = _gfn2 if config.kind == "gfn2" else _ase
        compute = make(config, species)

    def label(positions: Positions) -> Label:
        try:
            with interrupts():
                answer = compute(positions)
        except Exception as error:  # every package has its own exception for an SCF that fails
            raise TeacherFailure(f"{type(error).__name__}: {error}") from error
        if not (np.isfinite(answer.energy) and np.isfinite(answer.forces).all()):
            raise TeacherFailure("energy or forces are not finite")
        return answer

    return label


def _one_at_a_time(teacher: BatchTeacher, species: Species) -> Teacher:
    def label(positions: Positions) -> Label:
        (answer,) = teacher([(species, positions)])
        if isinstance(answer, TeacherFailure):
            raise answer
        return answer

    return label


def make_batch_teacher(config: TeacherConfig) -> BatchTeacher:
    """The teacher for structures of any molecules.

    Raises
    ------
    InputError
        As `make_teacher`, for teachers of one molecule at the first structure of each.
    """
    if config.kind == "so3lr":
        from mdet_openmm.data.so3lr import So3lr

        return So3lr(config)
    made: dict[tuple[bytes, int, int], Teacher] = {}

    def answer(species: Species, positions: Positions) -> Answer:
        key = (species.atomic_numbers.tobytes(), species.charge, species.multiplicity)
        if key not in made:
            made[key] = make_teacher(config, species)
        try:
            return made[key](positions)
        except TeacherFailure as failure:
            return failure

    return lambda requests: [answer(species, positions) for species, positions in requests]


def check_teachable(config: TeacherConfig, name: str, species: Species) -> None:
    """Refuse a molecule that the teacher cannot do, before anything is computed.

    Raises
    ------
    InputError
        Saying what is in the way, and what can be done.
    """
    if config.kind == "so3lr":
        from mdet_openmm.data.so3lr import check_species

        check_species(name, species)
    check_charge_is_told(config, species.charge, species.multiplicity)


def teacher_version(config: TeacherConfig) -> tuple[str, str]:
    """Name and version of the teacher, for the provenance of a data set.

    An ASE calculator whose answers follow from a file has a function ``content(**arguments)`` that names what is in it,
    so that a labelling is not gone on with after the file has become another.
    """
    if config.kind == "gfn2":
        library = _import("tblite.library")
        return NAMES["gfn2"], "tblite " + ".".join(str(n) for n in library.get_version())
    if config.kind == "so3lr":
        from mdet_openmm.data.so3lr import so3lr_version

        return NAMES["so3lr"], so3lr_version()
    if config.kind == "pyscf":
        from mdet_openmm.data.pyscf_teacher import pyscf_version

        return pyscf_version(config)
    assert config.ase is not None
    package = _import(config.ase.partition(":")[0].partition(".")[0])
    version = f"{package.__name__} {getattr(package, '__version__', 'unknown')}"
    content = getattr(_calculator_class(config), "content", None)
    return config.ase, version if content is None else f"{version}, {_called(config, content, config.arguments)}"


def teacher_of_name(name: str) -> TeacherConfig | None:
    """The teacher that a data set or a model names as `teacher_version` does; None for one with settings of its own."""
    kinds = {known: kind for kind, known in NAMES.items()}
    return TeacherConfig(kind=kinds[name]) if name in kinds else None


def _gfn2(config: TeacherConfig, species: Species) -> Teacher:
    tblite = _import("tblite.interface")
    kelvin = BOLTZMANN_EV_PER_K / EV_PER_HARTREE
    calculator: Any = None

    def compute(positions: Positions) -> Label:
        nonlocal calculator
        if calculator is None:
            calculator = tblite.Calculator(
                "GFN2-xTB",
                species.atomic_numbers,
                positions * BOHR_PER_ANGSTROM,
                float(species.charge),
                species.multiplicity - 1,
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


def _ase(config: TeacherConfig, species: Species) -> Teacher:
    from ase import Atoms

    charge, multiplicity = species.charge, species.multiplicity
    check_charge_is_told(config, charge, multiplicity)
    placeholders = {"{charge}": charge, "{multiplicity}": multiplicity}
    calculator_class = _calculator_class(config)
    arguments = {k: placeholders.get(v, v) if isinstance(v, str) else v for k, v in config.arguments.items()}
    calculator = _called(config, calculator_class, arguments)
    atoms = Atoms(numbers=species.atomic_numbers, positions=np.zeros((species.n_atoms, 3)))
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


def _calculator_class(config: TeacherConfig) -> Any:
    assert config.ase is not None
    module, _, name = config.ase.partition(":")
    try:
        return getattr(_import(module), name)
    except AttributeError:
        raise InputError(f"teacher: module {module} has no class {name}") from None


def _called(config: TeacherConfig, what: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return what(**arguments)
    except TypeError as error:
        raise InputError(f"teacher: {config.ase} does not take these arguments: {error}") from None


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = "; install it with: pip install 'mdet-openmm[label]'" if module.startswith("tblite") else ""
        raise InputError(
            f"the teacher needs the Python module {module}, which cannot be imported ({error}){extra}"
        ) from None
