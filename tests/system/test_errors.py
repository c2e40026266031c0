"""Errors inside a force come back as exceptions that name their cause; in processes of their own, which they ended."""

import os
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import resource, sys
from pathlib import Path
import numpy as np, torch, openmm
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.system.force import add_force, make_system

torch.manual_seed(2)
config = NetworkConfig(n_layers=2, embd_dim=64, n_heads=2, n_radial=8, energy_head=True, force_scale=0.01)
model = Model(path=Path("tiny"), network=EdgeTransformer(config).eval(), elements=(1, 6, 8), has_energy=True,
              name="tiny", sha256="0" * 64)
ATOMS = Species([8, 6, 6, 1, 1, 1, 1, 1, 1])

def context_of(system):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.random.default_rng(1).normal(size=(system.getNumParticles(), 3)))
    return context

def refused(function):
    try:
        function()
    except Exception as error:
        print("refused:", type(error).__name__, " ".join(str(error).split())[-300:])
    else:
        raise SystemExit("not refused")
"""


def run_apart(body: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = PREAMBLE + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def test_a_frozen_module_that_fails_raises() -> None:
    out = run_apart(
        """
        modules = [bind(model, ATOMS, ForceOptions(offset=offset, compiled=compiled, forces=forces, orientations=count))
                   for offset, compiled, forces, count in (("hashed", False, None, 1), ("none", True, None, 12),
                                                            ("none", True, "conservative", 1))]
        bind(model, Species([8, 1, 1]))(torch.rand(3, 3, dtype=torch.float64))
        for module in modules:
            frozen = torch.jit.freeze(module)
            refused(lambda: frozen(torch.rand(10, 3, dtype=torch.float64)))
            refused(lambda: frozen(torch.rand(9, 2, dtype=torch.float64)))
            frozen(torch.rand(9, 3, dtype=torch.float64))
        """
    )
    assert out.count("refused:") == 6 and out.count("bound to 9 atoms, not 10") == 3


@pytest.mark.parametrize("backend", ["torch", "python"])
def test_a_particle_that_was_added_later_is_named(backend: str) -> None:
    out = run_apart(
        f"""
        system = make_system([12.0] * 9)
        add_force(system, bind(model, ATOMS), {backend!r})
        system.addParticle(16.0)
        refused(lambda: context_of(system).getState(forces=True))
        """
    )
    assert "bound to 9 atoms, not 10" in out


@pytest.mark.parametrize("backend", ["torch", "python"])
def test_memory_that_runs_out_in_a_force_call_is_named(backend: str) -> None:
    out = run_apart(
        f"""
        system = make_system([12.0] * 24)  # a tensor of a call has 20 MB
        add_force(system, bind(model, Species([6] * 24), ForceOptions(orientations=60, compiled=False)), {backend!r})
        context = context_of(system)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken, taken))
        refused(lambda: context.getState(forces=True))
        """
    )
    assert "can't allocate memory" in out


def test_runs_in_threads() -> None:
    out = run_apart(
        """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier

        together = Barrier(4)

        def forces(backend):
            together.wait()
            system = make_system([12.0] * 9)
            add_force(system, bind(model, ATOMS, ForceOptions(seed=1)), backend)
            context = context_of(system)
            context.getIntegrator().step(5)
            return context.getState(forces=True).getForces(asNumpy=True)._value

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(forces, ["torch", "python", "auto", "python"]))
        assert all(np.abs(each - found[0]).max() < 1e-9 * np.abs(found[0]).max() for each in found)
        print("same")
        """
    )
    assert "same" in out
