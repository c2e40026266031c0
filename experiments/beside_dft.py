"""A model and the teachers beside true DFT, and beside its teacher on the energies of conformers; put on its card.

    python experiments/beside_dft.py models/mdet-so3lr-small
    python experiments/beside_dft.py models/mdet-so3lr-small --sets qm7x_250.npz 3bpa_test_300K.npz

Always: the check set of `teacher_check/` (PBE0/def2-TZVP), group by group, and conformers of the molecules of a list
that the model never saw (RDKit's, relaxed with MMFF94). With ``--sets`` also published data: files of NumPy with
``positions`` (f, n, 3) in Å, ``forces`` in eV/Å, ``atomic_numbers`` (n,) or (f, n) with zeros behind the last atom,
and ``level``. Forces have their net force and torque removed. Structures outside a model's elements are not counted.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from teacher_dynamics import NAMES
from tqdm import tqdm

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.store import LabelledFrames
from mdet_openmm.errors import exit_status
from mdet_openmm.evaluation.methods import Method, ModelMethod, TeacherMethod
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import conformers_from_smiles

CHECK_SET = Path(__file__).parent / "teacher_check" / "pbe0_def2tzvp.npz"
VALIDATION = Path("configs/mdet-so3lr-small-validation.smi")
HEADING = "## Beside DFT"


@dataclass(frozen=True)
class Structure:
    """A structure, its true forces (n, 3) in eV/Å, and what it is counted with."""

    species: Species
    positions: NDArray[np.float64]
    forces: NDArray[np.float64]
    group: str = ""


def read_set(path: Path, most: int) -> tuple[str, list[Structure]]:
    """The level of a file, and its structures; of more than ``most`` some spread evenly over it."""
    with np.load(path) as data:
        level = str(data["level"]).split(" (not")[0] if "level" in data else "PBE0/def2-TZVP"
        count = len(data["positions"])
        chosen = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
        positions, forces = data["positions"][chosen].astype(float), data["forces"][chosen].astype(float)
        numbers = data["atomic_numbers"]
        numbers = numbers[chosen] if numbers.ndim == 2 else np.broadcast_to(numbers, positions.shape[:2])
        charges = data["charge"][chosen] if "charge" in data else np.zeros(len(chosen), dtype=int)
        groups = data["group"][chosen] if "group" in data else np.full(len(chosen), "")
    found = []
    for z, x, f, charge, group in zip(numbers, positions, forces, charges, groups, strict=True):
        n = int((z > 0).sum())
        found.append(Structure(Species(z[:n].astype(np.int64), int(charge)), x[:n], f[:n], str(group)))
    return level, found


def answers_of(
    method: Method, structures: Sequence[Structure]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Energies (f,) in eV and forces in eV/Å of a model or a teacher; NaN where it has no answer."""
    energies, forces = np.full(len(structures), np.nan), [np.zeros(0)] * len(structures)
    sizes = np.array([len(s.species.atomic_numbers) for s in structures])
    for n in tqdm(np.unique(sizes), desc="sizes", leave=False):
        rows = np.flatnonzero(sizes == n).tolist()
        of = [structures[k] for k in rows]
        frames = LabelledFrames(
            atomic_numbers=np.stack([s.species.atomic_numbers for s in of]),
            positions=np.stack([s.positions for s in of]),
            forces=np.stack([s.forces for s in of]),
            energy=np.full(len(of), np.nan),
            charge=np.array([s.species.charge for s in of]),
            multiplicity=np.ones(len(of), dtype=np.int64),
            molecule=np.array(rows),
            dipole=np.full((len(of), 3), np.nan),
        )
        found = method.answers(frames, np.broadcast_to(np.eye(3), (len(of), 3, 3)))
        for k, energy, force in zip(rows, found.energy, found.forces, strict=True):
            energies[k], forces[k] = energy, force
    return energies, forces


def model_method(model: Model, orientations: int) -> Method:
    """A model in double precision, averaged over so many orientations, as `mdet evaluate` takes it."""
    return ModelMethod(str(model.path), EvaluateSettings(str(model.path), CHECK_SET, orientations=orientations))


def errors_of(model: Model, structures: list[Structure], teachers: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """MAE of the forces of every structure in meV/Å: of the model with 1 and 12 orientations, of the teachers."""
    methods = {f"{model.name}, {count}": model_method(model, count) for count in (1, 12)}
    methods |= {NAMES[kind]: TeacherMethod(TeacherConfig(kind=kind)) for kind in teachers}
    return {
        name: np.array([mae(f, s) for f, s in zip(answers_of(method, structures)[1], structures, strict=True)])
        for name, method in methods.items()
    }


def mae(forces: NDArray[np.float64], structure: Structure) -> float:
    """Component-wise, meV/Å."""
    return 1e3 * float(np.abs(forces - structure.forces).mean())


def known(model: Model, structures: list[Structure]) -> list[Structure]:
    """Those of elements that the model was trained on."""
    return [s for s in structures if set(s.species.atomic_numbers.tolist()) <= set(model.elements)]


def sets_table(model: Model, paths: Sequence[Path], teachers: Sequence[str], most: int) -> str:
    """Markdown: one line for each file."""
    lines = []
    for path in paths:
        level, structures = read_set(path, most)
        structures = known(model, structures)
        errors = errors_of(model, structures, teachers)
        sizes = [len(s.species.atomic_numbers) for s in structures]
        cells = [f"{np.nanmean(e):.0f} ({np.nanmedian(e):.0f})" for e in errors.values()]
        lines.append(
            f"| {path.stem} | {level} | {len(structures)} | {min(sizes)} to {max(sizes)} | " + " | ".join(cells) + " |"
        )
    head = f"| set | level | structures | atoms | {' | '.join(errors)} |"
    return "\n".join([head, f"| --- | --- | --- | --- {'| --- ' * len(errors)}|", *lines])


def groups_table(model: Model, teachers: Sequence[str]) -> str:
    """Markdown: the check set, group by group, the worst first; the last line is the median over structures."""
    level, structures = read_set(CHECK_SET, 10**6)
    errors = errors_of(model, structures, teachers)
    groups = np.array([s.group for s in structures])
    own = next(iter(errors.values()))
    ranked = sorted(set(groups), key=lambda g: -float(own[groups == g].mean()))
    lines = [
        f"| group ({level}) | structures | {' | '.join(errors)} |",
        f"| --- | --- {'| --- ' * len(errors)}|",
        *(
            f"| {g} | {(groups == g).sum()} | "
            + " | ".join(f"{np.nanmean(e[groups == g]):.0f}" for e in errors.values())
            + " |"
            for g in ranked
        ),
        f"| **median of all** | {len(groups)} | "
        + " | ".join(f"{np.nanmedian(e):.0f}" for e in errors.values())
        + " |",
    ]
    return "\n".join(lines)


def conformer_energies(model: Model, kind: str, listed: Path, count: int = 10) -> str:
    """A sentence: energies of conformers about their mean, and their order, beside the teacher's."""
    from scipy.stats import spearmanr

    teacher, method = TeacherMethod(TeacherConfig(kind=kind)), model_method(model, 12)
    differences, ranks, molecules = [], [], 0
    for line in listed.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        conformers = conformers_from_smiles(line.split()[0], count, None, 7)
        structures = [Structure(Species(m.atomic_numbers, m.charge), m.positions, m.positions) for m in conformers]
        if len(structures) < 3:
            continue
        truth, own = answers_of(teacher, structures)[0], answers_of(method, structures)[0]
        if np.isfinite(truth).all() and np.ptp(truth) > 0.01:
            molecules += 1
            differences.append(1e3 * np.abs((own - own.mean()) - (truth - truth.mean())))
            ranks.append(float(spearmanr(own, truth).statistic))
    wrong = np.concatenate(differences)
    return (
        f"Energies of {len(wrong)} conformers (RDKit, MMFF94) of {molecules} molecules of `{listed}`, which it never "
        f"saw, about the mean of each molecule, beside {NAMES[kind]}: MAE {wrong.mean():.0f} meV; rank correlation "
        f"{np.mean(ranks):.2f} in the mean, {np.median(ranks):.2f} in the median (12 orientations)."
    )


def run(options: argparse.Namespace) -> None:
    """Print the section, and put it on the card."""
    torch.set_num_threads(1)
    model = load_model(options.model)
    parts = [
        f"{HEADING}\n\nMAE of the force components in meV/Å, with 1 and 12 orientations, in double precision; "
        f"its teacher and GFN2-xTB on the same.\n\nCommand: `python experiments/beside_dft.py models/{model.name}"
        + (f" --most {options.most} --sets {' '.join(p.name for p in options.sets)}`" if options.sets else "`"),
        "Small molecules by functional group (`experiments/teacher_check`):",
        groups_table(model, options.teachers),
    ]
    if options.sets:
        table = sets_table(model, options.sets, options.teachers, options.most)
        parts.append(
            f"Published data, up to {options.most} structures of each; mean (median) over structures:\n\n{table}"
        )
    if model.has_energy:
        parts.append(conformer_energies(model, options.teachers[0], options.molecules))
    section = "\n\n".join(parts) + "\n"
    print(section)
    card = Path(model.path) / "README.md"
    before, _, rest = card.read_text().partition(f"{HEADING}\n")
    after = "## " + rest.split("\n## ", 1)[1] if "\n## " in rest else ""
    card.write_text(before.rstrip() + "\n\n" + section + ("\n" + after if after else ""))


def main() -> None:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--sets", type=Path, nargs="*", default=[], help="files of published data")
    parser.add_argument("--most", type=int, default=1000, help="structures of each file")
    parser.add_argument("--teachers", nargs="*", choices=tuple(NAMES), default=["so3lr", "gfn2"], help="its own first")
    parser.add_argument("--molecules", type=Path, default=VALIDATION, help="SMILES for the energies of conformers")
    run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(exit_status(main))
