"""OpenMM-ML with our potentials: whole molecules, a solute in water with a classical force field, interpolation."""

from pathlib import Path

import numpy as np
import pytest

import torch  # isort: skip
import openmm
from openmm import app, unit

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species

pytest.importorskip("openmmml", reason="needs the extra 'openmm-ml'")
from openmmml import MLPotential

ETHANOL = Path(__file__).resolve().parents[2] / "simulations/systems/ethanol.pdb"
MODEL = "mdet-gfn2-mini"
PEPTIDE = """\
ATOM      1  H1  ACE     1       2.000   1.000  -0.000  1.00  0.00           H
ATOM      2  CH3 ACE     1       2.000   2.090   0.000  1.00  0.00           C
ATOM      3  H2  ACE     1       1.486   2.454   0.890  1.00  0.00           H
ATOM      4  H3  ACE     1       1.486   2.454  -0.890  1.00  0.00           H
ATOM      5  C   ACE     1       3.427   2.641  -0.000  1.00  0.00           C
ATOM      6  O   ACE     1       4.391   1.877  -0.000  1.00  0.00           O
ATOM      7  N   ALA     2       3.555   3.970  -0.000  1.00  0.00           N
ATOM      8  H   ALA     2       2.733   4.556  -0.000  1.00  0.00           H
ATOM      9  CA  ALA     2       4.853   4.614  -0.000  1.00  0.00           C
ATOM     10  HA  ALA     2       5.408   4.316   0.890  1.00  0.00           H
ATOM     11  CB  ALA     2       5.661   4.221  -1.232  1.00  0.00           C
ATOM     12  HB1 ALA     2       5.123   4.521  -2.131  1.00  0.00           H
ATOM     13  HB2 ALA     2       6.630   4.719  -1.206  1.00  0.00           H
ATOM     14  HB3 ALA     2       5.809   3.141  -1.241  1.00  0.00           H
ATOM     15  C   ALA     2       4.713   6.129   0.000  1.00  0.00           C
ATOM     16  O   ALA     2       3.601   6.653   0.000  1.00  0.00           O
ATOM     17  N   NME     3       5.846   6.835   0.000  1.00  0.00           N
ATOM     18  H   NME     3       6.737   6.359  -0.000  1.00  0.00           H
ATOM     19  C   NME     3       5.846   8.284   0.000  1.00  0.00           C
ATOM     20  H1  NME     3       4.819   8.648   0.000  1.00  0.00           H
ATOM     21  H2  NME     3       6.360   8.648   0.890  1.00  0.00           H
ATOM     22  H3  NME     3       6.360   8.648  -0.890  1.00  0.00           H
TER
END
"""


def state_of(system: openmm.System, x, groups: int = -1, **parameters: float) -> tuple[float, np.ndarray]:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    for name, value in parameters.items():
        context.setParameter(name, value)
    state = context.getState(forces=True, energy=True, groups=groups)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def model_forces(topology: app.Topology, atoms: list[int], x: np.ndarray, **options) -> np.ndarray:
    every = list(topology.atoms())
    species = Species([every[k].element.atomic_number for k in atoms])
    module = bind(load_model(MODEL), species, ForceOptions(offset="none", **options))
    return module(torch.tensor(x[atoms]))[1].numpy()


@pytest.mark.parametrize("how", ["by name", "by path"])
def test_a_whole_molecule(how):
    pdb = app.PDBFile(str(ETHANOL))
    potential = MLPotential(MODEL) if how == "by name" else MLPotential("mdet", modelPath=str(load_model(MODEL).path))
    system = potential.createSystem(pdb.topology, positions=pdb.positions, charge=0, offset="none")
    x = np.array(pdb.positions.value_in_unit(unit.nanometer))
    expected = model_forces(pdb.topology, list(range(9)), x)
    np.testing.assert_allclose(state_of(system, x)[1], expected, atol=1e-9)
    single = potential.createSystem(pdb.topology, precision="single", offset="none")
    np.testing.assert_allclose(state_of(single, x)[1], expected, atol=1e-4 * np.abs(expected).max())


def test_names_and_precisions_that_there_are_not_are_refused():
    pdb = app.PDBFile(str(ETHANOL))
    with pytest.raises(InputError, match="needs modelPath"):
        MLPotential("mdet")
    with pytest.raises(InputError, match="precision must be"):
        MLPotential(MODEL).createSystem(pdb.topology, precision="half")
    with pytest.raises(InputError, match="no model"):
        MLPotential("mdet", modelPath="nowhere").createSystem(pdb.topology)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> tuple[app.Topology, np.ndarray, openmm.System, list[int]]:
    """Alanine dipeptide in a small box of water, Amber and TIP3P, the peptide's atoms."""
    path = tmp_path_factory.mktemp("peptide") / "peptide.pdb"
    path.write_text(PEPTIDE)
    pdb = app.PDBFile(str(path))
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(field, boxSize=openmm.Vec3(2.0, 2.0, 2.0) * unit.nanometer)
    classical = field.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer, constraints=None
    )
    peptide = [atom.index for residue in modeller.topology.residues() if residue.name != "HOH"
               for atom in residue.atoms()]  # fmt: skip
    return modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer)), classical, peptide


def test_forces_in_water_are_the_sum_of_the_parts(box):
    """Mechanical embedding: F = F(classical) - F(classical, within the peptide) + F(model); also across the box."""
    topology, x, classical, peptide = box
    mixed = MLPotential(MODEL).createMixedSystem(topology, classical, peptide, forceGroup=5, offset="none")
    _, total = state_of(mixed, x)
    _, ours = state_of(mixed, x, groups=1 << 5)
    expected = np.zeros_like(x)
    expected[peptide] = model_forces(topology, peptide, x)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    # an image: half of the peptide's atoms a box further
    moved = x.copy()
    moved[peptide[::2]] += [2.0, 0.0, -2.0]
    np.testing.assert_allclose(state_of(mixed, moved, groups=1 << 5)[1], expected, atol=1e-6)
    # what the classical force field has within the peptide, computed without a box from its bonded and pair terms
    within = np.zeros_like(x)
    within[peptide] = _within(classical, peptide, x)
    _, everything = state_of(classical, x)
    # PME keeps what the peptide's images do to each other, which is small in this box and not what is checked here
    np.testing.assert_allclose(total, everything - within + expected, atol=40.0)
    away = [k for k in range(len(x)) if k not in set(peptide)]
    np.testing.assert_allclose(total[away], everything[away], atol=1e-3)


def _within(classical: openmm.System, atoms: list[int], x: np.ndarray) -> np.ndarray:
    """Classical forces between the atoms of the peptide, which are the first of the System."""
    assert atoms == list(range(len(atoms)))
    system = openmm.System()
    for k in atoms:
        system.addParticle(classical.getParticleMass(k))
    n = len(atoms)
    for force in classical.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            new = openmm.HarmonicBondForce()
            for i in range(force.getNumBonds()):
                a, b, *rest = force.getBondParameters(i)
                if max(a, b) < n:
                    new.addBond(a, b, *rest)
        elif isinstance(force, openmm.HarmonicAngleForce):
            new = openmm.HarmonicAngleForce()
            for i in range(force.getNumAngles()):
                a, b, c, *rest = force.getAngleParameters(i)
                if max(a, b, c) < n:
                    new.addAngle(a, b, c, *rest)
        elif isinstance(force, openmm.PeriodicTorsionForce):
            new = openmm.PeriodicTorsionForce()
            for i in range(force.getNumTorsions()):
                a, b, c, d, *rest = force.getTorsionParameters(i)
                if max(a, b, c, d) < n:
                    new.addTorsion(a, b, c, d, *rest)
        elif isinstance(force, openmm.NonbondedForce):
            new = openmm.NonbondedForce()
            for k in atoms:
                new.addParticle(*force.getParticleParameters(k))
            for i in range(force.getNumExceptions()):
                a, b, *rest = force.getExceptionParameters(i)
                if max(a, b) < n:
                    new.addException(a, b, *rest)
        else:
            continue
        system.addForce(new)
    return state_of(system, x[:n])[1]


def test_interpolation_goes_from_the_classical_to_the_mixed_system(box):
    topology, x, classical, peptide = box
    potential = MLPotential(MODEL)
    mixed = potential.createMixedSystem(topology, classical, peptide, offset="none")
    between = potential.createMixedSystem(topology, classical, peptide, interpolate=True, offset="none")
    at = [state_of(between, x, lambda_interpolate=value)[1] for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(at[0], state_of(classical, x)[1], atol=0.05)
    np.testing.assert_allclose(at[2], state_of(mixed, x)[1], atol=0.05)
    np.testing.assert_allclose(at[1], 0.5 * (at[0] + at[2]), atol=0.05)


def test_a_part_of_a_molecule_is_capped(box):
    """The acetyl and the alanine as the model's, the bond to NME capped with hydrogen by OpenMM-ML."""
    topology, x, classical, peptide = box
    part = peptide[:16]
    info = MLPotential(MODEL).createMixedSystem(topology, classical, part, forceGroup=5, offset="none", returnInfo=True)
    system = info["system"]
    cap = system.getNumParticles() - 1
    assert system.isVirtualSite(cap)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.vstack((x, np.zeros((1, 3)))))
    context.computeVirtualSites()
    state = context.getState(forces=True, positions=True, groups=1 << 5)
    forces = state.getForces(asNumpy=True)._value
    there = state.getPositions(asNumpy=True)._value
    expected = model_forces(info["topology"], [*part, cap], there)
    inner = [k for k in part if k != 14]  # C of the alanine carries the force on its cap
    np.testing.assert_allclose(forces[inner], expected[[part.index(k) for k in inner]], atol=1e-6)
    assert 0.09 < np.linalg.norm(there[cap] - there[14]) < 0.13


def test_a_short_run_in_water_stays_together(box):
    topology, x, classical, peptide = box
    mixed = MLPotential(MODEL).createMixedSystem(topology, classical, peptide, precision="mixed")
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.0005)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(mixed, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    context.setVelocitiesToTemperature(100, 1)
    integrator.step(10)
    now = context.getState(positions=True).getPositions(asNumpy=True)._value
    assert np.abs(now - x).max() < 0.1
