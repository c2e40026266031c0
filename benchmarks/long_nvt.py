"""The protocol of "Forces are not enough" (Fu et al., 2210.07237) at its length, against the teacher's own dynamics.

``python benchmarks/long_nvt.py mdet-gfn2-mini --system simulations/systems/ethanol.pdb``: GFN2-xTB dynamics at 500 K,
once, then what ``simulations/benchmark_nvt.py`` does: 300 ps at 500 K from frames of it, stability and h(r) error. The
reference's second half against its first says what h(r) error is noise. Goes on where it was stopped; the table is in
docs/studies.md.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from observables_runs import teacher_run

from mdet_openmm.errors import exit_status
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.studies.protocol import benchmark
from mdet_openmm.studies.settings import ProtocolSettings

ROOT = Path("runs/long-nvt")


def run(options: argparse.Namespace) -> None:
    """Reference, protocol, table."""
    molecule = read_molecule(options.system)
    name = f"{options.system.stem}-{options.temperature:g}K"
    teacher = teacher_run(
        ROOT / "teacher" / name,
        molecule,
        time_ps=options.teacher_ps,
        temperature=options.temperature,
        timestep=0.5,
        interval_fs=10.0,
        seed=1,
    )
    half = len(teacher.positions) // 2
    noise = density_error(pair_density(teacher.positions[half:]), pair_density(teacher.positions[:half]))
    output = ROOT / f"{Path(options.model).name}-{name}"
    settings = ProtocolSettings(
        model=options.model,
        temperature=options.temperature,
        time=options.time,
        precision="mixed",
        replicas=options.replicas,
        workers=options.workers,
        output=output,
        restart=output.exists(),
    )
    benchmark(settings, [ROOT / "teacher" / name])
    print(f"h(r) error of the reference's second half against its first: {noise:.4f}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description='the protocol of "Forces are not enough" against the teacher')
    parser.add_argument("model")
    parser.add_argument("--system", type=Path, default=Path("simulations/systems/ethanol.pdb"))
    parser.add_argument("--temperature", type=float, default=500.0)
    parser.add_argument("--time", type=float, default=300.0, help="ps of each run")
    parser.add_argument("--teacher-ps", type=float, default=100.0)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
