"""How much of the machine labelling uses: its rate with N workers against N times the rate of one core.

    python benchmarks/labelling.py --workers 4

The one-core rate is that of a single process that does the same tasks one after the other, without starting
workers or storing anything. Both are measured on the same work; an otherwise idle machine is needed.
On a busy machine only the line about CPU time says something: it leaves out waiting, and so an uneven end.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before tblite is loaded; workers have one thread, too


def main() -> None:
    """Measure and print."""
    from mdet_openmm.data.config import DynamicsRun, read_config
    from mdet_openmm.data.label import run_label
    from mdet_openmm.data.sources import read_sources
    from mdet_openmm.data.tasks import plan, run_task

    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=cores)
    parser.add_argument("--trajectories", type=int, default=1, help="per molecule and temperature")
    parser.add_argument("--sample", type=int, default=8, help="every n-th task is done on one core")
    parser.add_argument(
        "--config", type=Path, default=Path(__file__).parents[1] / "configs" / "mdet-gfn2-mini.label.yaml"
    )
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    runs = tuple(DynamicsRun(r.temperature, arguments.trajectories) for r in config.sampling.runs)
    config = dataclasses.replace(
        config,
        sampling=dataclasses.replace(config.sampling, runs=runs),
        held_out=dataclasses.replace(config.held_out, val=0, test=0, unseen=0),
        molecules=tuple(m for m in config.molecules if m.split == "train"),
    )
    sources = read_sources(config)
    tasks = plan(config, sources)
    load = os.getloadavg()[0]
    print(f"{len(tasks)} tasks, {len(sources)} molecules, {cores} cores, load average before: {load:.2f}")

    sample = tasks[:: arguments.sample]
    run_task(sample[0], config, sources[sample[0].molecule])
    began, cpu = time.perf_counter(), time.process_time()
    frames = sum(len(run_task(t, config, sources[t.molecule])) for t in sample)
    one, one_cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"one core:  {frames} frames of {len(sample)} tasks in {one:.1f} s")

    with tempfile.TemporaryDirectory() as folder:
        began, before = time.perf_counter(), os.times()
        summary = run_label(config, Path(folder) / "set.h5", workers=arguments.workers)
        many, after = time.perf_counter() - began, os.times()
    # Every n-th task is the same mixture of molecules and temperatures as all of them, to within the remainder.
    share = len(sample) / len(tasks)
    ideal = one / share / arguments.workers
    spent = sum(after[:4]) - sum(before[:4])
    print(f"{arguments.workers} workers: {summary['frames']} frames in {many:.1f} s, start and writing included")
    print(f"cpu time: {one_cpu / share / spent:.1%} of what all processes spent went into labelling")
    print(f"efficiency: {ideal / many:.1%} of {arguments.workers} x the one-core rate")


if __name__ == "__main__":
    main()
