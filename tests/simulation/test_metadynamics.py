"""Metadynamics and restraints of a dihedral beside forces that have no energy."""

from pathlib import Path

import numpy as np
import pytest

import torch  # isort: skip
import openmm
from ase import build
from openmm import app, unit
from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.dcd import read_dcd
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.torsions import read_torsion
from mdet_openmm.simulation.metadynamics import (
    GRID,
    run_metadynamics,
    torsion_restraint,
    torsion_variable,
)
from mdet_openmm.simulation.torsion_settings import MetadynamicsSettings
from mdet_openmm.system.force import add_force, make_system

ETHANOL = Path(__file__).resolve().parents[2] / "simulations" / "systems" / "ethanol.pdb"


class Silent(torch.nn.Module):
    """Bonds and angles of hydrogen peroxide as springs between 1-2 and 1-3 pairs, and no energy."""

    first: Tensor
    second: Tensor
    lengths: Tensor

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.register_buffer("first", torch.tensor([2, 0, 1, 2, 0]))
        self.register_buffer("second", torch.tensor([0, 1, 3, 1, 3]))
        self.register_buffer("lengths", (positions[self.first] - positions[self.second]).norm(dim=1))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            r = positions.detach()
            between = r[self.second] - r[self.first]
            distance = torch.linalg.vector_norm(between, dim=1, keepdim=True)
            pull = 1e5 * (distance - self.lengths.unsqueeze(1)) / distance * between
            forces = torch.zeros_like(r).index_add(0, self.first, pull).index_add(0, self.second, -pull)
        return torch.zeros([], dtype=positions.dtype), forces.contiguous()


def peroxide() -> tuple[Molecule, np.ndarray]:
    atoms = build.molecule("H2O2")
    return Molecule(atoms.numbers, atoms.positions), 0.1 * atoms.positions


def simulation(extra: list[openmm.Force], metadynamics: bool = False) -> tuple[app.Simulation, app.Metadynamics | None]:
    molecule, x = peroxide()
    system = make_system([16.0, 16.0, 1.0, 1.0])
    add_force(system, torch.jit.script(Silent(torch.tensor(x)).eval()), "python")
    for force in extra:
        system.addForce(force)
    bias = None
    if metadynamics:
        variable = torsion_variable(read_torsion("3-1-2-4", molecule), 20.0)
        bias = app.Metadynamics(system, [variable], 300.0, 5.0, 2.0, 50)
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for k, symbol in enumerate("OOHH"):
        topology.addAtom(f"{symbol}{k}", app.Element.getBySymbol(symbol), residue)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.0005)
    integrator.setRandomNumberSeed(3)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    made.context.setPositions(x)
    made.context.setVelocitiesToTemperature(300.0, 4)
    return made, bias


def test_the_variable_is_the_angle_and_the_restraint_holds_it() -> None:
    molecule, x = peroxide()
    torsion = read_torsion("3-1-2-4", molecule)
    system = make_system([16.0, 16.0, 1.0, 1.0])
    system.addForce(torsion_variable(torsion, 20.0).force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    for turn in (0.0, 50.0, 170.0, -110.0):
        moved = torsion.turned(x, turn)
        context.setPositions(moved)
        energy = context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
        assert np.degrees(energy) == pytest.approx(torsion.angle(moved), abs=1e-9)
    made, _ = simulation([torsion_restraint(torsion, 60.0, 100.0)])
    angles = []
    for _ in range(600):
        made.step(20)
        angles.append(torsion.angle(made.context.getState(positions=True).getPositions(asNumpy=True)._value))
    # a harmonic well: variance kT/k
    assert np.mean(angles[100:]) == pytest.approx(60.0, abs=3.0)
    assert np.radians(np.std(angles[100:])) == pytest.approx(np.sqrt(8.314e-3 * 300.0 / 100.0), rel=0.25)


def test_metadynamics_finds_the_free_energy_of_a_known_torsion() -> None:
    # The model has no energy and no torsion; a force of OpenMM's beside it has: V = 4 (1 + cos 2 phi) kJ/mol.
    molecule, _ = peroxide()
    torsion = read_torsion("3-1-2-4", molecule)
    known = openmm.PeriodicTorsionForce()
    known.addTorsion(*torsion.atoms, 2, 0.0, 4.0)
    made, bias = simulation([known], metadynamics=True)
    assert bias is not None
    bias.step(made, 120_000)
    free = bias.getFreeEnergy()._value
    expected = 4.0 * (1.0 + np.cos(2.0 * np.linspace(-np.pi, np.pi, GRID)))
    difference = (free - free.mean()) - (expected - expected.mean())
    assert np.sqrt(np.mean(difference**2)) < 1.0  # of a curve with an rms of 2.8


def test_a_run_writes_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    settings = MetadynamicsSettings(system=ETHANOL, dihedral="9-3-2-1", time=0.05, hills_every=5.0, output=folder)
    free = run_metadynamics(settings)
    assert {p.name for p in folder.iterdir()} == {"free_energy.csv", "dihedral.csv", "trajectory.dcd", "topology.pdb"}
    assert "no free energy" in capsys.readouterr().out
    angles = np.loadtxt(folder / "dihedral.csv", delimiter=",", skiprows=1)
    frames = read_dcd(folder / "trajectory.dcd")
    assert len(angles) == len(frames) == 10
    torsion = read_torsion("9-3-2-1", Molecule(np.array([6, 6, 8, 1, 1, 1, 1, 1, 1]), frames[0]))
    seen = [torsion.angle(x) for x in frames]
    np.testing.assert_allclose(np.cos(np.radians(angles[:, 1] - seen)), 1.0, atol=1e-8)
    table = np.loadtxt(folder / "free_energy.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(table[:, 1], free, atol=1e-5)
    assert free.min() == 0.0 and table[np.argmin(free), 0] == pytest.approx(angles[:, 1].mean(), abs=25.0)
    with pytest.raises(InputError, match="is not empty"):
        run_metadynamics(settings)
    with pytest.raises(InputError, match="shorter than the time step"):
        MetadynamicsSettings(system=ETHANOL, dihedral="9-3-2-1", hills_every=0.1)
