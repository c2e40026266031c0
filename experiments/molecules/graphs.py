"""Sensible graphs of C, N and O, grown atom by atom, and what tells them from the others."""

import hashlib
from collections.abc import Iterable

from rdkit import Chem

GROWN = {6: 1000, 7: 1000}
"""How many of each number of heavy atoms are drawn; smaller ones all."""

UNLIKELY = [
    Chem.MolFromSmarts(smarts)
    for smarts in (
        "[O,N]~O~[O,N]",  # long chains of heteroatoms fall apart
        "[OX2][OX2]",
        "N~N~N",
        "N~N~O",
        "[NX3]([OX2])[OX2]",
        "[CX4]([OH,NH2,NH])[OH,NH2,NH,OX2]",  # these lose water or ammonia
        "[CX3]([OH])[OH]",
        "[CX3]=[CX3][OH]",  # enols and the like: the other tautomer is in the list
        "[CX3](=[CX3])[NH2]",
        "C#C[OH,NH2,NH]",
        "[CX3](=N)[OH]",
        "C(=[OH0])=[NH]",
        "N=[CX3][NH0]=C",
        "[R]#*",  # strain
        "[CX2;R](=*)=*",
        "[r3]=[r3]",
        "[r3;R2]",
        "[r4;R2]",
        "[r3]=*",
        "[r4]=[r4]-[r4]=[r4]",
        "[r4]1=[r4]~[r4]=[r4]1",
        "*=[CX2]=[CX2]=*",
        "[N,O]~[CX2]~[N,O]~*",
        "[NX2]=[NX2]",
        "[O;r3]~*~[O,N;!r3]",
        "[N;r3]~[N,O]",
        "[O;r4]~[N,O]",
        "[NH]=[NX2,OX1]",
        "[CX3H2]=[NX2][OH0,N]",
        "N=O",
    )
]


def mark(smiles: str) -> int:
    """A number that stands for a molecule, the same everywhere."""
    return int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:8], "big")


def drawn(pool: Iterable[str], count: int) -> list[str]:
    """A sample that depends on nothing but the molecules."""
    return sorted(set(pool), key=mark)[:count]


def unlikely(molecule: Chem.Mol, but: int = 0) -> bool:
    """Whether a molecule has a part that would fall apart or change; the last ``but`` patterns are passed over."""
    return any(molecule.HasSubstructMatch(pattern) for pattern in UNLIKELY[: len(UNLIKELY) - but])


def sane(molecule: Chem.Mol) -> bool:
    """Whether a grown molecule would stay what it is."""
    heavy = molecule.GetNumHeavyAtoms()
    carbon = sum(a.GetAtomicNum() == 6 for a in molecule.GetAtoms())
    return heavy - carbon <= carbon + 1 and not unlikely(molecule)


def larger(smiles: str) -> Iterable[str]:
    """The molecules with one heavy atom more, or of as many with a ring more."""
    molecule = Chem.MolFromSmiles(smiles)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    free = [atom.GetTotalNumHs() for atom in molecule.GetAtoms()]
    single, double, triple = Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE
    changed = []
    for index, hydrogens in enumerate(free):
        for element, valence in ((6, 4), (7, 3), (8, 2)):
            for order, bond in ((1, single), (2, double), (3, triple)):
                if order <= min(hydrogens, valence):
                    copy = Chem.RWMol(molecule)
                    copy.AddBond(index, copy.AddAtom(Chem.Atom(element)), bond)
                    changed.append(copy)
        for other in range(index):
            if hydrogens and free[other] and molecule.GetBondBetweenAtoms(index, other) is None:
                copy = Chem.RWMol(molecule)
                copy.AddBond(index, other, single)
                changed.append(copy)
    for copy in changed:
        for atom in copy.GetAtoms():
            atom.SetNoImplicit(False)
            atom.SetNumExplicitHs(0)
        if Chem.SanitizeMol(copy, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
            yield Chem.MolToSmiles(copy)


def grown() -> list[str]:
    """All graphs of up to five heavy atoms that pass, and samples of the larger ones."""
    levels: dict[int, set[str]] = {1: {"C", "N", "O"}}
    chosen = set(levels[1])
    for size in range(1, max(GROWN) + 1):
        todo, seen = sorted(levels.get(size, ())), set(levels.get(size, ()))
        # beyond what is enumerated whole, few grow on
        if size >= 6:
            todo = drawn(todo, 1500)
        levels.setdefault(size + 1, set())
        while todo:
            for new in larger(todo.pop()):
                molecule = Chem.MolFromSmiles(new)
                if not sane(molecule):
                    continue
                if molecule.GetNumHeavyAtoms() > size:
                    levels[size + 1].add(new)
                elif new not in seen:
                    seen.add(new)
                    todo.append(new)
        levels[size] = seen
        chosen |= set(drawn(seen, GROWN[size])) if size in GROWN else seen
        print(f"{size} heavy atoms: {len(seen)} graphs")
    return sorted(chosen)
