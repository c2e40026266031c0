"""Run a model's molecules in NVT, beside the teacher's own dynamics, and put the outcome on its card.

    python benchmarks/validate_model.py models/mdet-gfn2-mini

100 ps at 300 K for each of ten molecules that the model was trained on, 20 ps for five that it was not (or for some of
the lines of ``--unseen FILE.smi``, and those alone); stability by
the definition of "Forces are not enough" (Fu et al.), and the mean length of every bond against 10 ps of Langevin
dynamics on GFN2-xTB from the same start. One process per core. Molecules that are done are kept: run it again to go on.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
from tqdm import tqdm

from mdet_openmm.errors import InputError, RunStopped, exit_status

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


@dataclass(frozen=True)
class Job:
    """One molecule's two trajectories."""

    name: str
    smiles: str
    model: str
    folder: Path
    time_ps: float
    teacher_ps: float
    precision: str
    frames: int
    seen: bool = True


def teacher_bond_lengths(job: Job, start: Any, bonds: Any) -> tuple[Any, Any]:
    """Mean and standard error of every bond in GFN2-xTB dynamics at 300 K, 0.5 fs; errors from blocks of 2 ps."""
    from ase.data import atomic_masses

    from mdet_openmm.data.config import TeacherConfig
    from mdet_openmm.data.dynamics import langevin
    from mdet_openmm.data.teacher import make_teacher

    teacher = make_teacher(TeacherConfig(), start.atomic_numbers, start.charge, start.multiplicity)
    frames = langevin(
        teacher,
        start.positions,
        atomic_masses[start.atomic_numbers],
        temperature=300.0,
        timestep=0.5,
        friction=1.0,
        equilibrate=2000,
        interval=8,
        rng=np.random.default_rng(7),
    )
    lengths = []
    for _ in range(round(job.teacher_ps * 1000 / 4)):
        x, _label = next(frames)
        lengths.append(np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1))
    blocks = np.array([b.mean(axis=0) for b in np.array_split(np.array(lengths), max(2, round(job.teacher_ps / 2)))])
    return blocks.mean(axis=0), blocks.std(axis=0, ddof=1) / len(blocks) ** 0.5


def validate(job: Job) -> dict[str, Any]:
    """Both trajectories of one molecule; the result is also written to its folder."""
    done = job.folder / "result.json"
    if done.exists():
        return dict(json.loads(done.read_text()))
    import torch

    torch.set_num_threads(1)
    import mdtraj
    from ase import Atoms
    from ase.io import write

    from mdet_openmm.molecules.bonds import find_bonds
    from mdet_openmm.molecules.smiles import molecule_from_smiles
    from mdet_openmm.simulation.nvt import run_nvt
    from mdet_openmm.simulation.settings import NvtSettings

    start = molecule_from_smiles(job.smiles, name=job.name, seed=1)
    bonds = np.asarray(find_bonds(start.atomic_numbers, start.positions))
    job.folder.mkdir(parents=True, exist_ok=True)
    write(job.folder / "start.xyz", Atoms(start.atomic_numbers, start.positions), format="xyz")
    run = job.folder / "nvt"
    settings = NvtSettings(
        system=job.folder / "start.xyz",
        charge=start.charge,
        model=job.model,
        time=job.time_ps,
        seed=11,
        precision=job.precision,
        frames=job.frames,
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
        expected, error_of_mean = teacher_bond_lengths(job, start, bonds)
        x = 10 * mdtraj.load(run / "trajectory.dcd", top=run / "topology.pdb").xyz.astype(np.float64)
        lengths = np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=2)
        difference = lengths.mean(axis=0) - expected
        reach = np.abs(lengths - lengths.mean(axis=0)).max()
        result |= {
            "largest_bond_difference_A": float(np.abs(difference).max()),
            "mean_bond_difference_A": float(np.abs(difference).mean()),
            "teacher_standard_error_A": float(error_of_mean.max()),
            "largest_excursion_A": float(reach),
            "collapsed": bool(reach > 0.5),
        }
    done.write_text(json.dumps(result, indent=1))
    return result


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| molecule | stable for, ps | mean T, K | mean bond difference, Å | largest, Å | ms/step |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in results:
        ended = r["stopped"] or r.get("collapsed")
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


def write_card(model: Path, jobs: list[Job], results: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    """Replace the card's section on dynamics."""
    card = model / "README.md"
    before = card.read_text().split(HEADING)[0].rstrip()
    known = [results[j.name] for j in jobs if j.seen]
    unseen = [results[j.name] for j in jobs if not j.seen]
    strangers = f"\n\nMolecules that it never saw:\n\n{table(unseen)}" if unseen else ""
    whole = [r for r in known if not r["stopped"] and not r.get("collapsed")]
    text = (
        f"{HEADING}\n\nNVT at 300 K (Langevin 1/ps, 0.5 fs, {options.precision}, {options.frames} frame(s), hashed "
        f"offset), {options.time:g} ps each ({options.unseen_time:g} ps for unseen molecules); bond lengths against "
        f"{options.teacher_time:g} ps of GFN2-xTB dynamics. "
        f"{len(whole)} of {len(known)} of its own molecules ran to the end without a broken bond.\n\n"
        f"Command: `python benchmarks/validate_model.py models/{model.name} --precision {options.precision} "
        f"--frames {options.frames}`\n\n"
        f"Its own molecules:\n\n{table(known)}{strangers}\n"
    )
    card.write_text(f"{before}\n\n{text}")


def main() -> None:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--time", type=float, default=100.0, help="ps of NVT per molecule of the training set")
    parser.add_argument("--unseen-time", type=float, default=20.0, help="ps of NVT per molecule that it never saw")
    parser.add_argument("--teacher-time", type=float, default=10.0, help="ps of teacher dynamics per molecule")
    parser.add_argument("--precision", choices=("double", "mixed"), default="double")
    parser.add_argument("--frames", type=int, choices=(1, 12, 24, 60), default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", help="names of molecules")
    parser.add_argument("--unseen", type=Path, help="SMILES, one a line, of molecules that the model never saw")
    parser.add_argument("--count", type=int, default=50, help="molecules of that file, spread over it")
    parser.add_argument("--no-card", action="store_true", help="print only")
    options = parser.parse_args()
    if not (options.model / "manifest.json").exists():
        raise InputError(f"{options.model} is not a model folder")
    weights = hashlib.sha256((options.model / "weights.safetensors").read_bytes()).hexdigest()
    output = Path("runs") / f"validate-{options.model.name}-{weights[:8]}-{options.precision}-{options.frames}"
    molecules = {**TRAINED, **UNSEEN} if options.unseen is None else listed(options.unseen, options.count)
    molecules = {n: s for n, s in molecules.items() if not options.only or n in options.only}
    seen = {name for name in molecules if name in TRAINED and options.unseen is None}
    jobs = [
        Job(
            name,
            smiles,
            str(options.model.resolve()),
            output / folder_of(name),
            options.time if name in seen else options.unseen_time,
            options.teacher_time,
            options.precision,
            options.frames,
            seen=name in seen,
        )
        for name, smiles in molecules.items()
    ]
    results: dict[str, dict[str, Any]] = {}
    longest_first = sorted(jobs, key=lambda j: -len(j.smiles) * j.time_ps)
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(validate, job) for job in longest_first]
        for future in tqdm(as_completed(futures), total=len(futures), unit="molecule"):
            result = future.result()
            results[result["name"]] = result
            tqdm.write(json.dumps(result))
    print(table([results[j.name] for j in jobs]))
    whole = [r for r in results.values() if not r["stopped"] and not r.get("collapsed")]
    print(f"{len(whole)} of {len(results)} ran to the end without a broken bond")
    if options.unseen is None and not options.no_card:
        write_card(options.model, jobs, results, options)
        print(f"card: {options.model / 'README.md'}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
