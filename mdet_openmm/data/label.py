"""``mdet label``: molecules in, labelled frames out, by worker processes, stoppable at any time."""

import contextlib
import functools
import hashlib
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mdet_openmm.cores import available_cores
from mdet_openmm.dask_cluster import check_scheduler, results_by_dask
from mdet_openmm.data.config import LabelConfig, same_inputs, stored
from mdet_openmm.data.labels import TeacherFailure
from mdet_openmm.data.layout import hdf5, write_dataset
from mdet_openmm.data.partial import block_path, load_block, partial_run, save_block, save_molecules, whole_block
from mdet_openmm.data.plan import Task, bundles, cost, plan
from mdet_openmm.data.sources import PlacedEntry, Source, distinct, placed_entries, read_source
from mdet_openmm.data.tasks import run_tasks
from mdet_openmm.data.teacher import BATCHED, check_teachable, make_teacher, teacher_version
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.files import put
from mdet_openmm.side_by_side import by_processes, one_thread_each, sigterm_interrupts
from mdet_openmm.walltime import Deadline

_DIED = "killed, out of memory, or a crash of the teacher"
_ENTRIES = 100
"""Molecules whose start structures a worker makes at a time."""


def run_label(
    config: LabelConfig,
    output: Path,
    workers: int | None = None,
    restart: bool = False,
    max_walltime: float | None = None,
    scheduler: str | None = None,
) -> dict[str, Any]:
    """Make and label the conformations of a data set.

    While it runs, finished tasks are kept in the folder ``<output>.partial``; the data set appears under its name
    only when it is complete. Whether a run was interrupted, and with how many workers it ran, leaves no trace in
    the data set. A script that calls this needs the usual ``if __name__ == "__main__":``, because the workers are
    started afresh.

    Parameters
    ----------
    config
        What to label.
    output
        The HDF5 file to make; see docs/data-format.md for its layout.
    workers
        Worker processes of one thread each; by default as many as there are cores for this process.
    restart
        Go on with an interrupted run. Without it, what an interrupted run left is not touched.
    max_walltime
        Stop before so many hours have passed.
    scheduler
        Address of a Dask scheduler whose workers, instead of processes here, do the tasks; they see the same files.
        "local": a cluster of this machine.

    Returns
    -------
    dict
        output, molecules, tasks, frames, splits (frames of each), skipped (frames for each reason), first_failure,
        workers, seconds.

    Raises
    ------
    InputError
        For unusable molecules or teacher, a scheduler that does not answer, an output that exists, or an interrupted
        run of another configuration.
    RunStopped
        If not one frame could be labelled, or a worker process died.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, or with ``max_walltime`` nearly over; finished tasks are kept.
    """
    began = time.perf_counter()
    output = Path(output)
    if workers is not None and workers < 1:
        raise InputError("label: at least one worker is needed")
    workers = workers or available_cores()
    partial = output.with_name(output.name + ".partial")
    hdf5()
    _check_output(output, partial, restart)
    check_scheduler(scheduler)
    with Deadline(max_walltime).kept(), sigterm_interrupts(), one_thread_each():
        sources = _read_sources(config, workers)
        tasks = plan(config, sources)
        provenance = _provenance(config, sources)
        if output.exists():
            return _finished(output, partial, provenance)
        _try_teacher(config, sources)
        with partial_run(partial, provenance):
            summary = None
            if not output.exists():  # now that nobody else can be at work
                summary = _make(config, sources, tasks, provenance, partial, output, workers, scheduler)
        if summary is None:
            return _finished(output, partial, provenance)
        shutil.rmtree(partial, ignore_errors=True)
    return {
        "output": str(output),
        "molecules": len(sources),
        "tasks": len(tasks),
        **summary,
        "workers": workers,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _why_none(summary: dict[str, Any], config: LabelConfig) -> str:
    reasons = {
        "teacher": "without an answer of the teacher",
        "max_force": f"with a force above max_force ({config.max_force:g} eV/Å)",
        "broken": f"not reached because a bond grew to {config.max_stretch:g} times its length (max_stretch)",
    }
    counts = [f"{count} {reasons[name]}" for name, count in summary["skipped"].items() if count]
    said = f"; the teacher first said: {summary['first_failure']}" if summary["first_failure"] else ""
    return f"not one frame could be labelled: {', '.join(counts) or 'none was asked for'}{said}"


def _make(
    config: LabelConfig,
    sources: list[Source],
    tasks: list[Task],
    provenance: dict[str, Any],
    partial: Path,
    output: Path,
    workers: int,
    scheduler: str | None,
) -> dict[str, Any]:
    """Do what is left of the tasks and make the data set of all; its counts."""
    rows = [source.row for source in sources]
    save_molecules(partial, rows)
    _work(config, sources, tasks, partial.absolute(), workers, scheduler)
    blocks = (load_block(block_path(partial, task.index)) for task in tasks)
    assembled = partial / "assembled.h5"
    summary = write_dataset(assembled, rows, blocks, provenance, compact=config.compact)
    if not summary["frames"]:
        raise RunStopped(_why_none(summary, config))
    put(assembled, output)
    return summary


def _check_output(output: Path, partial: Path, restart: bool) -> None:
    if output.is_dir():
        raise InputError(f"label: {output} is a folder; name the HDF5 file to make")
    if output.exists() and not restart:
        raise InputError(f"label: {output} exists; remove it or choose another output")
    if partial.exists() and not restart:
        raise InputError(f"label: {partial} holds an interrupted run; go on with --restart, or remove it to start anew")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"label: cannot make the folder {output.parent}: {error.strerror}") from None


def _provenance(config: LabelConfig, sources: list[Source]) -> dict[str, Any]:
    name, teacher_release = teacher_version(config.teacher)
    try:
        package = version("mdet-openmm")
    except PackageNotFoundError:  # run from a checkout that was never installed
        package = "unknown"
    starts = hashlib.sha256()
    for source in sources:
        for positions in source.starts if source.frames is None else (source.frames,):
            starts.update(source.atomic_numbers.tobytes() + positions.tobytes())
    return {
        "teacher": name,
        "teacher_version": teacher_release,
        "package_version": package,
        "seed": config.seed,
        "config": stored(config),
        "start_structures_sha256": starts.hexdigest(),
        **({} if config.sampler is None else {"sampler": ", ".join(teacher_version(config.sampler))}),
    }


def _finished(output: Path, partial: Path, provenance: dict[str, Any]) -> dict[str, Any]:
    """Restarting a run that is complete: nothing to do, unless it is a different one."""
    from mdet_openmm.data.store import Store

    with Store(output) as store:
        if not same_inputs({key: store.attributes.get(key) for key in provenance}, provenance):
            raise InputError(f"label: {output} is complete but comes from another configuration or teacher version")
        summary = {
            "output": str(output),
            "molecules": len(store.molecules),
            "frames": len(store),
            "splits": {name: len(store.indices(name)) for name in store.split_names},
            "skipped": store.attributes["skipped"],
            "first_failure": store.attributes["first_failure"],
        }
    shutil.rmtree(partial, ignore_errors=True)
    return summary


def _read_sources(config: LabelConfig, workers: int) -> list[Source]:
    """Start structures of all molecules; of many, by the workers."""
    entries = placed_entries(config)
    chunks = [entries[k : k + _ENTRIES] for k in range(0, len(entries), _ENTRIES)]
    shown: dict[str, Any] = {"desc": "start structures", "unit": "molecule", "delay": 2.0, "mininterval": 1.0}
    if workers == 1 or len(chunks) < 2:
        return distinct([read_source(one, config) for one in tqdm(entries, leave=False, **shown)])
    parts: dict[int, list[Source]] = {}
    job = functools.partial(_do_sources, config=config)
    found = by_processes(job, chunks, range(len(chunks)), min(workers, len(chunks)))
    with tqdm(total=len(entries), leave=False, **shown) as bar, contextlib.closing(found) as results:
        for index, part in results:
            parts[index] = part
            bar.update(len(part))
    return distinct([source for index in range(len(chunks)) for source in parts[index]])


def _try_teacher(config: LabelConfig, sources: list[Source]) -> None:
    """Find out now, not in the middle of the run, that the teacher, or the sampler, cannot work."""
    for source in sources:
        for method in config.methods.values():
            check_teachable(method, source.row.name, source.species)
    for name, method in config.methods.items():
        # a calculation may take minutes, or its calculator a GPU; one is enough
        tried = sources if method.kind == "gfn2" else sources[:1]
        shown = tqdm(tried, desc="first calculations", unit="molecule", leave=False, delay=2.0, mininterval=1.0)
        for source in shown:
            answer = make_teacher(method, source.species)
            if source.frames is not None:
                continue  # given frames may be beyond the teacher; that is counted, not refused
            try:
                answer(source.starts[0])
            except TeacherFailure as failure:
                where = f"the start structure of {source.row.name}"
                raise InputError(f"label: the {name} fails on {where}: {failure}") from None


def _work(
    config: LabelConfig, sources: list[Source], tasks: list[Task], partial: Path, workers: int, scheduler: str | None
) -> None:
    """Do the tasks that are not done yet."""
    # What is done together is done anew together, so that a label does not depend on where a run was interrupted.
    together = bundles(config, tasks)
    left = [b for b in together if any(whole_block(block_path(partial, t.index)) is None for t in b)]
    if not left:
        return
    # Frames of dynamics take far longer than displaced ones: only the work itself tells the time left.
    work = {b[0].index: sum(cost(t, config) for t in b) for b in together}
    total = sum(work.values())
    # Groups take much the same time, and in an order without rhyme what is done so far has a bit of everything
    # (`collect`). Of single tasks the longest first, so that the workers end together.
    if config.teacher.kind in BATCHED:
        np.random.default_rng(config.seed).shuffle(left)
    else:
        left.sort(key=lambda b: -work[b[0].index])
    frames = sum(t.expected for t in tasks) - sum(t.expected for b in left for t in b)
    often = sys.stderr.isatty()
    job = functools.partial(_do, config=config)
    jobs = [(b, [sources[t.molecule] for t in b], [block_path(partial, t.index) for t in b]) for b in left]
    with (
        tqdm(
            total=total,
            initial=total - sum(work[b[0].index] for b in left),
            desc="label",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}, left {remaining}{postfix}",
            mininterval=0.2 if often else 15.0,
            maxinterval=1.0 if often else 30.0,
        ) as bar,
        contextlib.closing(
            results_by_dask(job, jobs, range(len(jobs)), scheduler)
            if scheduler is not None
            else by_processes(job, jobs, range(len(jobs)), min(workers, len(jobs)), died=_DIED)
        ) as results,
    ):
        for index, _ in results:
            frames += sum(t.expected for t in left[index])
            bar.set_postfix_str(f"{frames} frames", refresh=False)
            bar.update(work[left[index][0].index])


def _do(bundle: tuple[tuple[Task, ...], list[Source], list[Path]], config: LabelConfig) -> None:
    tasks, sources, paths = bundle
    for path, block in zip(paths, run_tasks(tasks, config, sources), strict=True):
        save_block(path, block)


def _do_sources(entries: list[PlacedEntry], config: LabelConfig) -> list[Source]:
    return [read_source(entry, config) for entry in entries]
