"""The teacher against tblite's own ASE interface, finite differences, and calculators with known faults."""

import os
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.teacher import TeacherFailure, make_teacher
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import molecule_from_smiles

pytest.importorskip("tblite", reason="GFN2-xTB needs tblite")


def displaced(smiles, seed=0, amplitude=0.05):
    molecule = molecule_from_smiles(smiles)
    noise = np.random.default_rng(seed).normal(size=molecule.positions.shape)
    return molecule, molecule.positions + amplitude * noise


def test_forces_are_the_negative_gradient_of_the_energy():
    molecule, x = displaced("CO")
    teacher = make_teacher(TeacherConfig(accuracy=1e-3), Species(molecule.atomic_numbers))
    forces = teacher(x).forces
    step = 1e-3
    for atom, axis in [(0, 0), (1, 2), (3, 1), (5, 0)]:
        up, down = x.copy(), x.copy()
        up[atom, axis] += step
        down[atom, axis] -= step
        numeric = -(teacher(up).energy - teacher(down).energy) / (2 * step)
        assert forces[atom, axis] == pytest.approx(numeric, abs=2e-4)


@pytest.mark.parametrize(("smiles", "charge", "multiplicity"), [("CO", 0, 1), ("[OH-]", -1, 1), ("C[NH3+]", 1, 1),
                                                               ("[CH3]", 0, 2), ("[O][O]", 0, 3)])  # fmt: skip
def test_same_numbers_as_the_ase_interface_of_tblite(smiles, charge, multiplicity):
    from ase import Atoms
    from tblite.ase import TBLite

    molecule, x = displaced(smiles)
    assert (molecule.charge, molecule.multiplicity) == (charge, multiplicity)
    label = make_teacher(TeacherConfig(accuracy=1.0), Species(molecule.atomic_numbers, charge, multiplicity))(x)
    atoms = Atoms(numbers=molecule.atomic_numbers, positions=x)
    atoms.calc = TBLite(method="GFN2-xTB", charge=charge, multiplicity=multiplicity, verbosity=0)
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=2e-4)
    np.testing.assert_allclose(label.dipole, atoms.get_dipole_moment(), atol=1e-3)


class Interrupted(Calculator):
    """What a Ctrl-C under C++ looks like, in another's calculator."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def calculate(self, *given, **named):
        raise RuntimeError("TorchScript\nRuntimeError: KeyboardInterrupt: <EMPTY MESSAGE>\n\nAt:")


def test_an_interrupt_is_no_failure_of_the_teacher():
    config = TeacherConfig(kind="ase", ase=f"{__name__}:Interrupted")
    with pytest.raises(KeyboardInterrupt):
        make_teacher(config, Species(np.array([1, 1])))(np.eye(3)[:2])


ONE_THREAD = """
import numpy as np
from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.teacher import make_teacher
from mdet_openmm.molecules.molecule import Species
numbers = np.array([8, 1, 1])
x = np.array([[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.1, -0.7, -0.5]])
rng = np.random.default_rng(0)
teacher, answers, litter = make_teacher(TeacherConfig(), Species(numbers)), set(), []
for call in range(60):
    litter.append(bytes(int(rng.integers(1, 5000))))  # other memory each time
    if call % 7 == 0:
        teacher = make_teacher(TeacherConfig(), Species(numbers))
    teacher(x + 0.1 * rng.normal(size=x.shape))
    label = teacher(x)
    answers.add((label.energy, label.forces.tobytes(), label.dipole.tobytes()))
print(len(answers))
"""


def test_with_one_thread_a_label_does_not_depend_on_what_was_computed_before():
    """Workers have one thread; with more, the order of tblite's sums changes from call to call."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", ONE_THREAD], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_an_scf_that_does_not_converge_is_a_failure_and_the_next_one_is_not():
    molecule, x = displaced("CCO")
    with pytest.raises(TeacherFailure, match="not converged"):
        make_teacher(TeacherConfig(max_iterations=2), Species(molecule.atomic_numbers))(x)
    teacher = make_teacher(TeacherConfig(), Species(molecule.atomic_numbers))
    good = teacher(x)
    with pytest.raises(TeacherFailure):
        teacher(np.full_like(x, np.nan))
    np.testing.assert_allclose(teacher(x).forces, good.forces, atol=1e-10)


def test_ase_calculator_fails_by_exception_or_by_nan():
    x = np.array([[0.0, 0, 0], [0.9, 0, 0]])
    for argument, message in (("fails_beyond", "did not converge"), ("nan_beyond", "not finite")):
        config = TeacherConfig(kind="ase", ase="label_calculators:Spring", arguments={argument: 1.0})
        teacher = make_teacher(config, Species(np.array([1, 1])))
        np.testing.assert_allclose(teacher(x).forces, [[30 * 0.16, 0, 0], [-30 * 0.16, 0, 0]])
        with pytest.raises(TeacherFailure, match=message):
            teacher(2 * x)


def test_charge_and_multiplicity_reach_an_ase_calculator_or_are_refused():
    x, numbers = np.array([[0.0, 0, 0], [0.97, 0, 0]]), np.array([8, 1])
    told = {"charge": "{charge}", "multiplicity": "{multiplicity}"}
    for config in (
        TeacherConfig(kind="ase", ase="label_calculators:ChargeReader", arguments=told),
        TeacherConfig(kind="ase", ase="label_calculators:ChargeReader", info=True),
    ):
        label = make_teacher(config, Species(numbers, -1, 3))(x)
        assert label.energy == -97.0
        np.testing.assert_array_equal(label.dipole, [1.0, 2.0, 3.0])
    silent = TeacherConfig(kind="ase", ase="label_calculators:ChargeReader")
    with pytest.raises(InputError, match="charge -1"):
        make_teacher(silent, Species(numbers, -1))
    with pytest.raises(InputError, match="multiplicity 2"):
        make_teacher(silent, Species(numbers, 0, 2))


@pytest.mark.parametrize(
    ("ase", "arguments", "message"),
    [
        ("no_such_module:Thing", {}, "no_such_module"),
        ("label_calculators:Thing", {}, "no class Thing"),
        ("label_calculators:Spring", {"colour": "red"}, "colour"),
    ],
)
def test_an_ase_calculator_that_cannot_be_made_is_bad_input(ase, arguments, message):
    config = TeacherConfig(kind="ase", ase=ase, arguments=arguments)
    with pytest.raises(InputError, match=message):
        make_teacher(config, Species(np.array([1, 1])))
