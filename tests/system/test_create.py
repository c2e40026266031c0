"""The front door: a System for a topology, a force among other atoms and in a box, and what needs an energy."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torch  # isort: skip
import openmm
from openmm import app, unit

import mdet_openmm as mdet
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model, load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.system.placed import Placed, Placement, spanning_tree

ETHANOL = Path(__file__).resolve().parents[2] / "simulations/systems/ethanol.pdb"
SMALL: dict[str, Any] = {"n_layers": 1, "embd_dim": 16, "n_heads": 2, "n_radial": 8, "l_max": 2, "force_scale": 1e-2}
BACKENDS = ("torch", "python")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Random weights: forces alone, forces and an energy, an energy alone."""
    shapes: dict[str, dict[str, Any]] = {
        "direct": {},
        "both": {"energy_head": True, "energy_pooling": "atoms"},
        "conserving": {"energy_head": True, "force_head": False},
    }
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name, shape in shapes.items():
        torch.manual_seed(1)
        network = EdgeTransformer(NetworkConfig(**SMALL, **shape))
        save_model(folder / name, network, elements=(1, 6, 7, 8), training={}, metrics={}, card="")
        found[name] = load_model(folder / name)
    return found


@pytest.fixture(scope="module")
def ethanol() -> app.PDBFile:
    return app.PDBFile(str(ETHANOL))


def in_nm(pdb: app.PDBFile) -> np.ndarray:
    return np.array(pdb.positions.value_in_unit(unit.nanometer))


def forces_of(system: openmm.System, x: np.ndarray, groups: int = -1) -> np.ndarray:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    state = context.getState(forces=True, groups=groups)
    return state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)


def alone(model: Model, numbers: list[int], x: np.ndarray, **options) -> np.ndarray:
    return bind(model, Species(numbers), ForceOptions(offset="none", **options))(torch.tensor(x))[1].numpy()


def test_nothing_heavy_is_imported_before_it_is_used():
    code = "import mdet_openmm, sys; print([m for m in ('torch', 'openmm', 'numpy', 'ase') if m in sys.modules]);" \
           "mdet_openmm.read_molecule; print('numpy' in sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]
    with pytest.raises(AttributeError, match="create_sistem"):
        mdet.create_sistem  # noqa: B018
    assert set(mdet.__all__) <= set(dir(mdet))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["direct", "both", "conserving"])
def test_a_system_for_a_topology_has_the_models_forces(models, ethanol, backend, name):
    system = mdet.create_system(
        ethanol.topology, models[name], positions=ethanol.positions, backend=backend, offset="none"
    )
    numbers = [atom.element.atomic_number for atom in ethanol.topology.atoms()]
    np.testing.assert_allclose(
        forces_of(system, in_nm(ethanol)), alone(models[name], numbers, in_nm(ethanol)), atol=1e-9
    )
    assert system.getNumConstraints() == 0
    assert system.getParticleMass(0)._value == pytest.approx(12.011, abs=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("box", ["none", "cube", "triclinic"])
def test_a_molecule_among_other_atoms_in_any_order_and_image(models, ethanol, backend, box):
    """Argon around it feels nothing; in a box every atom may stand in another image, as OpenMM puts them on a GPU."""
    rng = np.random.default_rng(3)
    x = in_nm(ethanol)
    n = len(x)
    numbers = [atom.element.atomic_number for atom in ethanol.topology.atoms()]
    order = rng.permutation(n)
    topology = app.Topology()
    residue = topology.addResidue("ALL", topology.addChain())
    topology.addAtom("Ar", app.Element.getBySymbol("Ar"), residue)
    placed = {int(k): topology.addAtom(f"X{k}", app.Element.getByAtomicNumber(numbers[k]), residue) for k in order}
    topology.addAtom("Ar", app.Element.getBySymbol("Ar"), residue)
    for bond in ethanol.topology.bonds():
        topology.addBond(placed[bond.atom1.index], placed[bond.atom2.index])
    atoms = [placed[k].index for k in range(n)]
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    there = np.zeros((n + 2, 3))
    there[atoms] = x
    there[0], there[-1] = [5.0, 0, 0], [0, 5.0, 0]
    if box != "none":
        vectors = np.array([[1.3, 0, 0], [0, 1.4, 0], [0, 0, 1.5]])
        if box == "triclinic":
            vectors[1, 0], vectors[2, 0], vectors[2, 1] = 0.4, -0.3, 0.5
        system.setDefaultPeriodicBoxVectors(*vectors)
        other = openmm.NonbondedForce()  # which makes the System periodic, and does nothing
        other.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        other.setCutoffDistance(0.5)
        for _ in range(n + 2):
            other.addParticle(0, 1, 0)
        system.addForce(other)
        there[atoms] += rng.integers(-2, 3, size=(n, 3)) @ vectors
    force = mdet.add_force(
        system, topology, models["direct"], atoms=atoms, backend=backend, offset="none", force_group=3
    )
    assert force.usesPeriodicBoundaryConditions() == (box != "none") and force.getForceGroup() == 3
    found = forces_of(system, there, groups=1 << 3)
    # in another image the same, but for the rounding of positions that are larger
    np.testing.assert_allclose(found[atoms], alone(models["direct"], numbers, x), rtol=1e-7, atol=1e-7)
    assert not found[0].any() and not found[-1].any()


def test_paths_along_bonds_reach_every_atom_and_are_refused_where_they_do_not():
    bonds = np.array([[2, 0], [2, 1], [1, 3]])
    parents, order = spanning_tree(4, bonds)
    assert order[0] == 0 and parents[0] == -1 and parents[2] == 0 and parents[1] == 2 and parents[3] == 1
    with pytest.raises(ValueError, match="do not connect"):
        spanning_tree(4, bonds[:2])
    module = Placed(torch.nn.Identity(), Placement(None, parents, order))  # type: ignore[arg-type]
    x = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0.1, 0, 0], [0.3, 0, 0]], dtype=torch.float64)
    moved = x + torch.tensor([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [2, 0, 0]])
    torch.testing.assert_close(module.whole(moved, torch.eye(3, dtype=torch.float64)), x)


def test_a_system_with_a_python_force_goes_to_another_process_by_path_and_hash(models, ethanol, tmp_path):
    system = mdet.create_system(ethanol.topology, models["direct"], backend="python", offset="none")
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    np.save(tmp_path / "x.npy", in_nm(ethanol))
    code = """
import sys, numpy as np, torch, openmm
folder = sys.argv[1]
system = openmm.XmlSerializer.deserialize(open(folder + "/system.xml").read())
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions(np.load(folder + "/x.npy"))
try:
    np.save(folder + "/f.npy", context.getState(forces=True).getForces(asNumpy=True)._value)
except openmm.OpenMMException as error:
    print(error)
"""
    run = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(run, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), forces_of(system, in_nm(ethanol)))
    # other weights in the same place are not taken for these
    weights = models["direct"].path / "weights.safetensors"
    kept = {path: path.read_bytes() for path in models["direct"].path.iterdir()}
    try:
        for path in kept:
            path.write_bytes((models["both"].path / path.name).read_bytes())
        assert "has other weights" in subprocess.run(run, check=True, capture_output=True, text=True).stdout
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert weights.read_bytes() == kept[weights]


def refuse(match):
    return pytest.raises(InputError, match=match)


def test_what_cannot_work_is_refused(models, ethanol):
    topology, model = ethanol.topology, models["direct"]
    with refuse("leaves no electrons|even number|odd"):
        mdet.create_system(topology, model, positions=ethanol.positions, charge=1)
    with refuse("shape"):
        mdet.create_system(topology, model, positions=ethanol.positions[:3])
    with refuse("offset must be one of"):
        mdet.create_system(topology, model, offset="sometimes")
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    with refuse("crosses the border"):
        mdet.add_force(system, topology, model, atoms=[0, 1, 2])
    with refuse("different indices"):
        mdet.add_force(system, topology, model, atoms=[0, 0])


def test_ammonium_is_not_taken_for_neutral(models):
    topology = app.Topology()
    residue = topology.addResidue("NH4", topology.addChain())
    nitrogen = topology.addAtom("N", app.Element.getBySymbol("N"), residue)
    for k in range(4):
        topology.addBond(nitrogen, topology.addAtom(f"H{k}", app.Element.getBySymbol("H"), residue))
    with refuse("say charge="):
        mdet.create_system(topology, models["direct"])
    assert mdet.create_system(topology, models["direct"], charge=1).getNumParticles() == 5


def test_a_box_of_the_topology_is_not_used_and_that_is_said(models, ethanol):
    topology = app.PDBFile(str(ETHANOL)).topology
    topology.setPeriodicBoxVectors(np.eye(3) * 3.0 * unit.nanometer)
    with pytest.warns(UserWarning, match="the box is not used"):
        mdet.create_system(topology, models["direct"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_needs_an_energy_is_refused_or_warned_of(models, ethanol, backend, tmp_path):
    def simulation(name: str) -> app.Simulation:
        system = mdet.create_system(ethanol.topology, models[name], backend=backend)
        made = app.Simulation(ethanol.topology, system, openmm.VerletIntegrator(1e-6), *mdet.platform("Reference"))
        made.context.setPositions(ethanol.positions)
        return made

    direct, both, conserving = map(simulation, ("direct", "both", "conserving"))
    with refuse("minimizeEnergy needs an energy"):
        direct.minimizeEnergy()
    with refuse("minimizeEnergy needs an energy"):
        openmm.LocalEnergyMinimizer.minimize(direct.context)
    with pytest.warns(UserWarning, match="not the gradient"):
        both.minimizeEnergy(maxIterations=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conserving.minimizeEnergy(maxIterations=1)
    with refuse("MonteCarloBarostat compares energies"):
        direct.system.addForce(openmm.MonteCarloBarostat(1, 300))
    pressed = openmm.System()
    for atom in ethanol.topology.atoms():
        pressed.addParticle(atom.element.mass)
    pressed.addForce(openmm.MonteCarloBarostat(1, 300))
    with refuse("MonteCarloBarostat compares energies"):
        mdet.add_force(pressed, ethanol.topology, models["direct"])
    reporter = {"file": str(tmp_path / "log"), "reportInterval": 1, "temperature": True}
    for made, columns, message in (
        (direct, {"totalEnergy": True}, "potential energy is written as 0"),
        (both, {"totalEnergy": True}, "not the gradient"),
    ):
        made.reporters.append(app.StateDataReporter(**reporter, **columns))
        with pytest.warns(UserWarning, match=message):
            made.step(1)
        made.reporters.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for made, columns in ((direct, {}), (conserving, {"totalEnergy": True})):
            made.reporters.append(app.StateDataReporter(**reporter, **columns))
            made.step(2)


def test_other_systems_are_left_alone(models, ethanol):
    mdet.create_system(ethanol.topology, models["direct"])  # the guards are up
    system = openmm.System()
    system.addParticle(1.0)
    system.addParticle(1.0)
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 1, 0.1, 1000.0)
    system.addForce(bond)
    system.removeForce(system.addForce(openmm.MonteCarloBarostat(1, 300)))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([openmm.Vec3(0, 0, 0), openmm.Vec3(0.2, 0, 0)])
    openmm.LocalEnergyMinimizer.minimize(context)
    assert context.getState(energy=True).getPotentialEnergy()._value < 1e-3
