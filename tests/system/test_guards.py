import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import torch  # noqa: F401  # isort: skip
import openmm
from openmm import app

from mdet_openmm.errors import InputError
from mdet_openmm.system.force import make_system
from mdet_openmm.system.guards import check_system, guard_energies, name_of_force

NEEDS_GUARD = tuple(int(p) for p in openmm.Platform.getOpenMMVersion().split(".")[:2]) >= (8, 6)

PREAMBLE = """
import copy, pickle
import torch, openmm
from openmm import app
from mdet_openmm.errors import InputError
from mdet_openmm.system.force import add_force, make_system

class Spring(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        return (x * x).sum().detach(), (-2.0 * x).detach()

system = make_system([1.0, 1.0])
xml = openmm.XmlSerializer.serialize(system)
force = add_force(system, torch.jit.script(Spring()), BACKEND)
integrator = openmm.VerletIntegrator(0.001)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
context.setPositions([openmm.Vec3(0, 0, 0), openmm.Vec3(1, 0, 0)])
wrapper = openmm.CustomCVForce("a"); wrapper.addCollectiveVariable("a", openmm.HarmonicBondForce())

def refused(function):
    try:
        function()
    except (InputError, openmm.OpenMMException) as error:
        print("refused:", error)
    else:
        raise SystemExit("not refused")
"""


def run_apart(folder: Path, body: str, backend: str) -> str:
    """In a process of its own: what is tested for would otherwise end this one."""
    script = folder / "script.py"  # TorchScript reads the source of its classes
    script.write_text(f"BACKEND = {backend!r}\n" + PREAMBLE + textwrap.dedent(body))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert "simtk" not in done.stderr  # no warning to the user about what openmmtorch imports
    return done.stdout


@pytest.mark.skipif(not NEEDS_GUARD, reason="OpenMM before 8.6 copies a TorchForce without a crash")
def test_every_way_to_copy_a_torch_force_is_refused(tmp_path):
    out = run_apart(
        tmp_path,
        """
        # what a process without the guard, or OpenMM before 8.6, would write
        import openmm.openmm as o
        written = o._openmm.XmlSerializer_serializeSystem(system)
        written_force = o._openmm.XmlSerializer__serializeForce(force)
        for thing in (system, force, context.getSystem(), system.getForce(0)):
            serializer = openmm.XmlSerializer
            for way in (copy.copy, copy.deepcopy, pickle.dumps, serializer.serialize, serializer.clone):
                refused(lambda: way(thing))
        refused(lambda: openmm.XmlSerializer.deserialize(written))
        refused(lambda: openmm.XmlSerializer.deserialize(written_force))
        refused(lambda: openmm.XmlSerializer.deserializeSystem(written))
        refused(lambda: openmm.System.__copy__(system))
        """,
        "torch",
    )
    assert out.count("refused:") == 24
    assert "python backend" in out


def test_copies_of_other_things_and_states_still_work(tmp_path):
    run_apart(
        tmp_path,
        """
        plain = make_system([1.0, 1.0])
        plain.addForce(openmm.HarmonicBondForce())
        plain.addForce(wrapper)
        for way in (copy.copy, copy.deepcopy, openmm.XmlSerializer.clone, lambda s: pickle.loads(pickle.dumps(s))):
            assert way(plain).getNumForces() == 2
            assert way(openmm.HarmonicBondForce()).getNumBonds() == 0
        assert openmm.XmlSerializer.deserialize(xml).getNumParticles() == 2
        assert openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(plain)).getNumForces() == 2
        state = context.getState(positions=True, velocities=True)
        again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(state))
        assert again.getPositions()[1][0]._value == 1
        assert copy.deepcopy(integrator).getStepSize()._value == 0.001
        context.loadCheckpoint(context.createCheckpoint())
        """,
        "torch",
    )


def test_copies_of_a_python_force_work_without_the_weights_and_only_in_the_process(tmp_path):
    xml = tmp_path / "system.xml"
    body = f"""
        def energy(system):
            context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
            context.setPositions([openmm.Vec3(0, 0, 0), openmm.Vec3(1, 2, 0)])
            state = context.getState(energy=True, forces=True)
            return state.getPotentialEnergy()._value, state.getForces()[1][1]._value

        written = openmm.XmlSerializer.serialize(system)
        assert len(written) < 2000
        ways = (
            copy.copy,
            copy.deepcopy,
            openmm.XmlSerializer.clone,
            lambda s: pickle.loads(pickle.dumps(s)),
            lambda s: openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(s)),
        )
        for way in ways:
            assert energy(way(system)) == (5.0, -4.0)
        again = openmm.System()
        for _ in range(2):
            again.addParticle(1.0)
        again.addForce(copy.deepcopy(force))
        assert energy(again) == (5.0, -4.0)
        open({str(xml)!r}, "w").write(written)
        """
    run_apart(tmp_path, body, "python")
    elsewhere = f"""
        system = openmm.XmlSerializer.deserialize(open({str(xml)!r}).read())
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
        context.setPositions([openmm.Vec3(0, 0, 0), openmm.Vec3(1, 2, 0)])
        refused(lambda: context.getState(energy=True))
        """
    assert "put the force in with add_force" in run_apart(tmp_path, elsewhere, "python")


def simulation(has_energy: bool, *forces) -> app.Simulation:
    guard_energies()
    system = make_system([1.0])
    ours = spring()
    ours.setName(name_of_force("model", has_energy, conservative=has_energy))
    for force in (ours, *forces):
        system.addForce(force)
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    topology.addAtom("H", app.Element.getBySymbol("H"), residue)
    platform = openmm.Platform.getPlatformByName("Reference")
    made = app.Simulation(topology, system, openmm.VerletIntegrator(0.001), platform)
    made.context.setPositions([openmm.Vec3(1, 0, 0)])
    return made


def spring():
    force = openmm.CustomExternalForce("100*x^2")
    force.addParticle(0)
    return force


def test_minimize_energy_is_refused_without_an_energy_and_works_with_one():
    with pytest.raises(InputError, match=r"needs an energy.*FIRE"):
        simulation(False).minimizeEnergy()
    with pytest.raises(InputError):
        simulation(False).minimizeEnergy(10.0, maxIterations=5)
    made = simulation(True)
    made.minimizeEnergy()
    assert abs(made.context.getState(positions=True).getPositions()[0][0]._value) < 0.1


@pytest.mark.parametrize(
    "force",
    [
        lambda: openmm.MonteCarloBarostat(1, 300),
        lambda: openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(1, 1, 1), 300),
        lambda: openmm.MonteCarloFlexibleBarostat(1, 300),
        lambda: openmm.MonteCarloMembraneBarostat(
            1, 0, 300, openmm.MonteCarloMembraneBarostat.XYIsotropic, openmm.MonteCarloMembraneBarostat.ZFree
        ),
        lambda: openmm.ATMForce(0, 0, 0, 0, 0, 0, 0, 0, 1),
    ],
)
def test_forces_that_compare_energies_are_refused_without_an_energy(force):
    system = make_system([1.0])
    system.addForce(force())
    with pytest.raises(InputError, match=f"{type(system.getForce(0)).__name__} compares energies"):
        check_system(system, has_energy=False)
    check_system(system, has_energy=True)
    with pytest.raises(InputError, match="compares energies"):
        simulation(False, force())


def test_forces_that_need_no_energy_pass():
    system = make_system([1.0])
    system.addForce(spring())
    system.addForce(openmm.CMMotionRemover())
    check_system(system, has_energy=False)
    made = simulation(False, spring(), openmm.CMMotionRemover())
    made.step(1)


@pytest.mark.parametrize("ending", ["(forces without an energy)", "(forces that are not the gradient of its energy)"])
def test_exchanging_states_is_refused_unless_the_forces_are_a_gradient(ending):
    made = simulation(True)
    states = [{"temperature": 300.0}, {"temperature": 400.0}]
    for make in (app.ReplicaExchangeSampler, app.ExpandedEnsembleSampler):
        make(states, with_langevin(made), 10)
    made = with_langevin(made, f"MDET model {ending}")
    for make in (app.ReplicaExchangeSampler, app.ExpandedEnsembleSampler):
        with pytest.raises(InputError, match=rf"^{make.__name__} accepts moves between states by their energies"):
            make(states, made, 10)
    with pytest.raises(InputError, match="ExpandedEnsembleSampler accepts"):
        app.SimulatedTempering(made, temperatures=[300.0, 400.0])
    with pytest.raises(InputError, match="MonteCarloBarostat"):
        made.system.addForce(openmm.MonteCarloBarostat(1, 300))


def with_langevin(made: app.Simulation, name: str | None = None) -> app.Simulation:
    system = openmm.System()
    system.addParticle(1.0)
    ours = spring()
    ours.setName(name or "model")
    system.addForce(ours)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
    again = app.Simulation(made.topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    again.context.setPositions([openmm.Vec3(1, 0, 0)])
    return again
