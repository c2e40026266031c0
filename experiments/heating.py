"""Does noise in the forces heat as the formula says? ``python experiments/heating.py --friction 5 --sigma 0 150 200``

Langevin dynamics of ethanol with models/mdet-gfn2-mini and no rotation, plus white noise of known size on every
component at every step; its temperature against sigma^2 dt / (2 m gamma k_B), averaged over the atoms.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import openmm
import torch
from torch import Tensor, nn

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.measure.block_average import blocked_mean
from mdet_openmm.measure.definitions import langevin_heating
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.simulation.structures import atomic_masses
from mdet_openmm.simulation.thermostat import make_thermometer
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.units import KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM, NM_PER_ANGSTROM

SYSTEM = Path("simulations/systems/ethanol.pdb")
TEMPERATURE, TIMESTEP, EVERY = 300.0, 5e-4, 10  # K, ps, steps between two temperatures


class Noisy(nn.Module):
    """A force with white noise on it, kJ/mol/nm."""

    def __init__(self, module: nn.Module, sigma: float) -> None:
        super().__init__()
        self.module = module
        self.sigma = sigma

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and forces."""
        energy, forces = self.module(positions)
        return energy, forces + self.sigma * torch.randn_like(forces)


def temperatures(sigma: float, friction: float, time: float, seed: int) -> tuple[float, float, float]:
    """Mean temperature and its standard error, K, and the heating that the formula says."""
    molecule = read_molecule(SYSTEM)
    module = bind(
        load_model("mdet-gfn2-mini"), Species(molecule.atomic_numbers), ForceOptions(precision="mixed", offset="none")
    )
    masses = atomic_masses(molecule)
    system = make_system(masses)
    add_force(system, torch.jit.script(Noisy(module, sigma)), "python")
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, friction, TIMESTEP)
    integrator.setRandomNumberSeed(seed + 1)
    torch.manual_seed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(NM_PER_ANGSTROM * molecule.positions)
    context.setVelocitiesToTemperature(TEMPERATURE, seed + 1)
    thermometer = make_thermometer(molecule.atomic_numbers, masses, False)
    integrator.step(round(5.0 / friction / TIMESTEP))
    values = []
    for _ in range(round(time / TIMESTEP / EVERY)):
        integrator.step(EVERY)
        values.append(thermometer.read(context.getState(velocities=True).getVelocities(asNumpy=True)._value)[0])
    mean = blocked_mean(np.array(values))
    expected = float(np.mean([langevin_heating(sigma, TIMESTEP, float(m), friction) for m in masses]))
    return mean.mean, mean.error, expected


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="heating by noise in the forces")
    parser.add_argument("--time", type=float, default=150.0, help="ps for each row")
    parser.add_argument("--friction", type=float, default=1.0, help="1/ps")
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.0, 40.0, 80.0, 160.0], help="meV/Å")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, float]] = []
    for sigma in options.sigma:
        unit = 1e-3 * KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM
        mean, error, expected = temperatures(sigma * unit, options.friction, options.time, 11)
        rows.append({"sigma_meV_A": sigma, "temperature_K": mean, "error_K": error, "formula_K": expected})
    if options.output is not None:
        options.output.write_text(json.dumps({"friction": options.friction, "rows": rows}, indent=1) + "\n")
    base = rows[0]
    print("| noise, meV/Å | mean temperature, K | rise, K | formula, K | ratio |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        rise = row["temperature_K"] - base["temperature_K"]
        error = float(np.hypot(row["error_K"], base["error_K"]))
        ratio = f"{rise / row['formula_K']:.2f} ± {error / row['formula_K']:.2f}" if row["formula_K"] else "–"
        print(
            f"| {row['sigma_meV_A']:g} | {row['temperature_K']:.1f} ± {row['error_K']:.1f} | {rise:.1f} | "
            f"{row['formula_K']:.1f} | {ratio} |"
        )


if __name__ == "__main__":
    main()
