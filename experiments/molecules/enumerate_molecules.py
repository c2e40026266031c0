"""The molecules of models/mdet-so3lr-small: ``python experiments/molecules/enumerate_molecules.py`` writes their lists.

Four sources: all sensible graphs of up to five C, N and O and a sample of those of six and seven, grown atom by atom;
functional groups joined through linkers and rings, up to 36 atoms with hydrogens, F, S, Cl and P among them; real
molecules by name (``real.smi``, written by hand); and pairs of small ones. Amines, acids and the like also come as
ions. One of twenty of each source, by a hash of its SMILES, is held out; so are real molecules of more than 36 atoms.
Fifty held-out real ones of all sizes are the validation list of the card. A second list has more small molecules, the
worst kind of the first, and none that is held out. The same RDKit gives the same files.
"""

import re
from pathlib import Path

from graphs import drawn, grown, mark
from ions import ions
from joins import assembled, joined
from pairs import pairs
from rdkit import Chem, RDLogger
from rdkit.Chem import rdDistGeom

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"
NAME = "mdet-so3lr-small"
LARGEST, LARGEST_REAL, LARGEST_PAIR = 36, 44, 26
HELD_OUT_OF = 20
VALIDATION_SIZES = ((1, 10), (11, 15), (16, 20), (21, 27), (28, 36))
OF_EACH_SIZE = 10
LARGEST_MORE, MORE, MORE_IONS = 14, 5400, 300


def real() -> dict[str, str]:
    """Canonical SMILES and name of the molecules written down by name; of two of one name the second has its SMILES."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for line in (HERE / "real.smi").read_text().splitlines():
        smiles, name = line.split(maxsplit=1)
        smiles = str(Chem.CanonSmiles(smiles))
        found.setdefault(smiles, smiles if name in used else name)
        used.add(name)
    return found


def held_out_elsewhere() -> set[str]:
    """Molecules that the other models keep out."""
    texts = [path.read_text() for path in sorted(CONFIGS.glob("mdet-gfn2-*.label.yaml"))]
    return {str(Chem.CanonSmiles(s)) for text in texts for s in re.findall(r'smiles: "([^"]+)", split: test', text)}


def size(smiles: str) -> int:
    """Atoms with hydrogens."""
    return int(Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms())


def embeds(smiles: str) -> bool:
    """Whether RDKit finds structures for it, and for the fragments of a pair."""
    return all(
        rdDistGeom.EmbedMolecule(Chem.AddHs(Chem.MolFromSmiles(part)), randomSeed=1) == 0 for part in smiles.split(".")
    )


def validation(candidates: list[str]) -> list[str]:
    """Real molecules of every size class, ten of each: the same whatever else is in the list."""
    chosen: list[str] = []
    for low, high in VALIDATION_SIZES:
        fitting = [s for s in candidates if low <= size(s) <= high]
        chosen += sorted(fitting, key=lambda s: mark("val" + s))[:OF_EACH_SIZE]
    return sorted(chosen, key=size)


def more(but: set[str]) -> list[str]:
    """Groups joined to small molecules, and ions of them, that no other list has and that are not to be held out."""
    pool = [s for s in joined(LARGEST_MORE, 1_000_000) if s not in but]
    charged = ions(pool, MORE_IONS, MORE_IONS)
    chosen = {*drawn(filter(to_train_on, pool), MORE), *filter(to_train_on, charged)} - but
    return sorted(filter(embeds, chosen))


def to_train_on(smiles: str) -> bool:
    """Whether a molecule is not the one of twenty that is held out."""
    return mark("out" + smiles) % HELD_OUT_OF != 0


def write(suffix: str, smiles: list[str], names: dict[str, str]) -> None:
    """One file of SMILES and names."""
    lines = [f"{one} {names.get(one, one)}" for one in smiles]
    (CONFIGS / f"{NAME}{suffix}.smi").write_text("\n".join(lines) + "\n")
    sizes = [size(s) for s in smiles]
    print(f"{len(smiles)} molecules{suffix}, {sum(sizes) / len(sizes):.1f} atoms on average")


def main() -> None:
    """Write the four files."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined, unused-ignore]
    names = real()
    neutral = {*grown(), *joined(20, 1000), *assembled(15, LARGEST, 90)}
    charged = ions(sorted({*neutral, *names}), 250, 250)
    everything = sorted({*neutral, *charged, *names, *pairs(LARGEST_PAIR, 330)})
    usable = [s for s in everything if embeds(s) and size(s) <= LARGEST_REAL]
    kept_out = held_out_elsewhere()
    small = {s for s in usable if Chem.MolFromSmiles(s).GetNumHeavyAtoms() <= 2}
    held_out = {s for s in usable if s in kept_out or size(s) > LARGEST or not (to_train_on(s) or s in small)}
    write("", [s for s in usable if s not in held_out], names)
    write("-held-out", sorted(held_out), names)
    write("-more", more({*usable, *kept_out}), {})
    write("-validation", validation([s for s in held_out if s in names]), names)


if __name__ == "__main__":
    main()
