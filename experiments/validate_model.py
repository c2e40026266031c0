"""Run a model's molecules in NVT, beside the teacher's own dynamics, and put the outcome on its card.

    python experiments/validate_model.py models/mdet-gfn2-mini --precision mixed

100 ps at 300 K for each of ten molecules that the model was trained on, 20 ps for five that it was not; or, with
``--unseen FILE.smi``, for some lines of that file, and those alone. Stability is that of "Forces are not enough" (Fu et
al.); the mean length of every bond is compared with 10 ps of Langevin dynamics on the teacher from the same start.
Molecules that are done are kept: run it again to go on, or with more time to make all runs longer. The teacher's
dynamics are kept apart from the model's, for the next model of that teacher.
"""

import argparse
import functools
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from teacher_dynamics import NAMES, Conditions, teacher_run

from mdet_openmm.errors import InputError, RunStopped, exit_status
from mdet_openmm.side_by_side import run_side_by_side

TRAINED = {
    "water": "O",
    "methane": "C",
    "methanol": "CO",
    "ethanol": "CCO",
    "butane": "CCCC",
    "dimethyl ether": "COC",
    "acetone": "CC(C)=O",
    "acetic acid": "CC(=O)O",
    "acetamide": "CC(N)=O",
    "cyclopropane": "C1CC1",
}
UNSEEN = {
    "allyl alcohol": "C=CCO",
    "acrolein": "C=CC=O",
    "methyl acetate": "COC(C)=O",
    "2-aminoethanol": "NCCO",
    "N,N-dimethylformamide": "CN(C)C=O",
}
HEADING = "## Dynamics"
BROKEN_A = 0.5
"""A bond that comes so far from its mean length is broken (Fu et al.)."""


@dataclass(frozen=True)
class Job:
    """One molecule's two trajectories: ps of the model's, and whether the model has seen the molecule."""

    name: str
    smiles: str
    time: float
    seen: bool


def validate(job: Job, options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Both trajectories of one molecule; the result is also written to its folder."""
    folder = root / folder_of(job.name)
    done = folder / "result.json"
    if done.exists():
        known = dict(json.loads(done.read_text()))
        if not whole([known]) or known["stable_ps"] >= job.time:
            return known
    import torch

    from mdet_openmm.molecules.bonds import find_bonds
    from mdet_openmm.molecules.smiles import molecule_from_smiles
    from mdet_openmm.simulation.ended_run import read_run
    from mdet_openmm.simulation.nvt import run_nvt
    from mdet_openmm.simulation.run_folder import write_start
    from mdet_openmm.simulation.settings import NvtSettings

    torch.set_num_threads(1)
    start = molecule_from_smiles(job.smiles, name=job.name, seed=1)
    folder.mkdir(parents=True, exist_ok=True)
    write_start(folder / "start.xyz", start.atomic_numbers, start.positions)
    run = folder / "nvt"
    settings = NvtSettings(
        system=folder / "start.xyz",
        charge=start.charge,
        model=str(options.model),
        time=job.time,
        seed=11,
        precision=options.precision,
        orientations=options.orientations,
        threads=1,
        output=run,
        restart=(run / "checkpoint.chk").exists(),
        quiet=True,
    )
    stopped = ""
    try:
        run_nvt(settings)
    except RunStopped as error:
        stopped = str(error)
    summary = json.loads((run / "summary.json").read_text())
    result: dict[str, Any] = {
        "name": job.name,
        "stable_ps": summary["time_ps"],
        "stopped": stopped,
        "temperature_K": summary["temperature_mean_K"],
        "temperature_by_element_K": summary["temperature_by_element_K"],
        "ms_per_step": summary["ms_per_step"],
    }
    if not stopped:
        bonds = find_bonds(start.atomic_numbers, start.positions)
        how = Conditions(options.teacher_time, teacher=options.teacher)
        taught_in = Path("runs") / f"validate-{options.teacher}-{options.teacher_time:g}ps" / folder.name
        taught = lengths_of(bonds, teacher_run(taught_in, start, how, seed=7).positions)
        lengths = lengths_of(bonds, read_run(run).positions)
        blocks = np.array([b.mean(axis=0) for b in np.array_split(taught, max(2, round(options.teacher_time / 2)))])
        difference = np.abs(lengths.mean(axis=0) - blocks.mean(axis=0))
        reach = np.abs(lengths - lengths.mean(axis=0)).max()
        result |= {
            "largest_bond_difference_A": float(difference.max()),
            "mean_bond_difference_A": float(difference.mean()),
            "teacher_standard_error_A": float(blocks.std(axis=0, ddof=1).max()) / len(blocks) ** 0.5,
            "largest_excursion_A": float(reach),
            "collapsed": bool(reach > BROKEN_A),
        }
    done.write_text(json.dumps(result, indent=1))
    return result


def lengths_of(bonds: NDArray[np.int64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(f, m) of bonds (m, 2) in frames (f, n, 3)."""
    lengths: NDArray[np.float64] = np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=2)
    return lengths


def whole(results: list[dict[str, Any]]) -> int:
    """How many kept their bonds."""
    return sum(not r["stopped"] and not r.get("collapsed") for r in results)


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| molecule | stable for, ps | mean T, K | mean bond difference, Å | largest, Å | ms/step |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in results:
        ended = not whole([r])
        bonds = f"{r['mean_bond_difference_A']:.4f} | {r['largest_bond_difference_A']:.4f}" if not ended else "– | –"
        temperature = f"{r['temperature_K']:.0f}" if r["temperature_K"] else "–"
        lines.append(
            f"| {r['name']} | {'**broke at** ' if ended else ''}{r['stable_ps']:.4g} | {temperature} | {bonds} "
            f"| {r['ms_per_step']:.2f} |"
        )
    return "\n".join(lines)


def listed(path: Path, count: int) -> dict[str, str]:
    """Names and SMILES of some molecules of a file, spread over it."""
    from mdet_openmm.data.config import MoleculeEntry
    from mdet_openmm.data.sources import each_entry

    entries = each_entry(MoleculeEntry(smiles_file=path))
    chosen = np.unique(np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int))
    return {str(entries[i].name): str(entries[i].smiles) for i in chosen}


def folder_of(name: str) -> str:
    """A name for a folder; SMILES have characters that none can have."""
    if re.fullmatch(r"[\w ,.-]+", name):
        return name.replace(" ", "-").replace(",", "")
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def write_card(jobs: list[Job], results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Replace the card's section on dynamics."""
    card = options.model / "README.md"
    before = card.read_text().split(HEADING)[0].rstrip()
    known = [r for job, r in zip(jobs, results, strict=True) if job.seen]
    unseen = [r for job, r in zip(jobs, results, strict=True) if not job.seen]
    listed = f" --unseen {options.unseen} --count {options.count}" if options.unseen else ""
    text = (
        f"{HEADING}\n\nNVT at 300 K (Langevin 1/ps, 0.5 fs, {options.precision}, {options.orientations} orientation(s) "
        f"with hashed offset); bonds against {options.teacher_time:g} ps of {NAMES[options.teacher]} dynamics.\n\n"
        f"Command: `python experiments/validate_model.py models/{options.model.name} --precision {options.precision} "
        f"--orientations {options.orientations} --teacher {options.teacher} --time {options.time:g} --unseen-time "
        f"{options.unseen_time:g} --teacher-time {options.teacher_time:g}{listed}`\n"
    )
    for title, of, time in (("Its own molecules", known, options.time), ("Never seen", unseen, options.unseen_time)):
        if of:
            text += f"\n{title}, {time:g} ps each; {whole(of)} of {len(of)} ran to the end without a broken bond:\n\n"
            text += table(of) + "\n"
    card.write_text(f"{before}\n\n{text}")


def run(options: argparse.Namespace) -> None:
    """All molecules, the table, and the card."""
    options.model = options.model.resolve()
    try:
        weights = hashlib.sha256((options.model / "weights.safetensors").read_bytes()).hexdigest()
    except OSError:
        raise InputError(f"{options.model} is not a model folder") from None
    molecules = {**TRAINED, **UNSEEN} if options.unseen is None else listed(options.unseen, options.count)
    seen = TRAINED if options.unseen is None else {}
    jobs = [
        Job(name, smiles, options.time if name in seen else options.unseen_time, name in seen)
        for name, smiles in molecules.items()
        if not options.only or name in options.only
    ]
    root = Path("runs") / f"validate-{options.model.name}-{weights[:8]}-{options.precision}-{options.orientations}"
    results = run_side_by_side(
        functools.partial(validate, options=options, root=root),
        jobs,
        workers=options.workers,
        cost=lambda job: len(job.smiles) * job.time,
        title="molecules",
    )
    print(f"{table(results)}\n{whole(results)} of {len(results)} ran to the end without a broken bond")
    if not options.only and not options.no_card:
        write_card(jobs, results, options)
        print(f"card: {options.model / 'README.md'}")


def main() -> None:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--time", type=float, default=100.0, help="ps of NVT per molecule of the training set")
    parser.add_argument("--unseen-time", type=float, default=20.0, help="ps of NVT per molecule that it never saw")
    parser.add_argument("--teacher-time", type=float, default=10.0, help="ps of teacher dynamics per molecule")
    parser.add_argument("--teacher", choices=tuple(NAMES), default="gfn2", help="what the model was trained on")
    parser.add_argument("--precision", choices=("double", "mixed"), default="double")
    parser.add_argument("--orientations", "--frames", type=int, choices=(1, 12, 24, 60), default=1)
    parser.add_argument("--workers", type=int, help="molecules at a time, one thread each [cores]")
    parser.add_argument("--only", nargs="*", help="names of molecules; nothing is written on the card then")
    parser.add_argument("--unseen", type=Path, help="SMILES, one a line, of molecules that the model never saw")
    parser.add_argument("--count", type=int, default=50, help="molecules of that file, spread over it")
    parser.add_argument("--no-card", action="store_true", help="print only")
    run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(exit_status(main))
