"""What replicas are worth: ``python benchmarks/replicas.py`` prints the pace of 32 replicas beside that of one run.

Ethanol, `run_nvt.py` as it is with its log, trajectory, checkpoints and checks; each run in a process of its own, in
turn, after one that warms it up; the fastest of a few counts. CPU time is given beside wall time: on a machine that
does other things too, only the ratio of CPU times means something, and only with one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mdet_openmm.export.options import DEFAULT_MODEL

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as run_nvt.py does

ETHANOL = Path(__file__).resolve().parents[1] / "simulations" / "systems" / "ethanol.pdb"


def measure(model: str, replicas: int, steps: int, precision: str, threads: int) -> None:
    """Print seconds per step, wall and CPU, and the peak of the resident memory in MB, as JSON."""
    import resource

    from mdet_openmm.simulation import run as running
    from mdet_openmm.simulation.settings import NvtSettings

    loop, spent = running.run_dynamics, [0.0, 0.0]

    def timed(*args: object, **options: object) -> object:
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = loop(*args, **options)  # type: ignore[arg-type]
        spent[:] = [time.perf_counter() - wall, time.process_time() - cpu]
        return outcome

    running.run_dynamics = timed  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        for length, restart in ((40, False), (40 + steps, True)):
            running.run(
                NvtSettings(
                    system=ETHANOL, model=model, output=Path(folder) / "run", replicas=replicas, steps=length,
                    equilibrate=0.0, precision=precision, threads=threads, seed=1, restart=restart, quiet=True,
                )
            )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(json.dumps({"wall": spent[0] / steps, "cpu": spent[1] / steps, "memory": peak}))


def in_a_process(model: str, replicas: int, steps: int, precision: str, threads: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    numbers = (str(replicas), str(steps), precision, str(threads))
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--child", model, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="replicas beside one run")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--replicas", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        model, replicas, steps, precision, threads = options.child
        measure(model, int(replicas), int(steps), precision, int(threads))
        return
    many = options.replicas
    print(
        "| precision | replicas | ms/step, wall | ms/step, CPU | total ns/day | memory, MB | gain, wall | gain, CPU |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for precision in ("double", "mixed"):
        found: dict[int, list[dict[str, float]]] = {1: [], many: []}
        for _ in range(options.rounds):
            for replicas, steps in ((1, 800), (many, 80)):
                found[replicas].append(in_a_process(options.model, replicas, steps, precision, options.threads))
        least = {r: {key: min(one[key] for one in all_of) for key in all_of[0]} for r, all_of in found.items()}
        for r, one in least.items():
            gains = [r * least[1][key] / one[key] for key in ("wall", "cpu")]
            pace = r * 86400.0 / one["wall"] * 0.5e-6
            print(
                f"| {precision} | {r} | {1e3 * one['wall']:.2f} | {1e3 * one['cpu']:.2f} | {pace:.3g} | "
                f"{one['memory']:.0f} | {gains[0]:.2f} | {gains[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
