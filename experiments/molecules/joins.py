"""Functional groups joined through linkers and rings."""

import random
from collections import Counter

from graphs import drawn, mark, unlikely
from rdkit import Chem

LEFT = """
C CC CCC CC(C) CC(C)(C) C=C C#C C=CC C1CC1 C1CCC1 C1CCCC1 C1CCOC1 C1CCNC1 CO COC CN CN(C) CN(C)C O OC N NC OCC
NCC N#C N#CC O=C CC(=O) OC(=O) NC(=O) COC(=O) CNC(=O) CC(=O)N CC(=O)O O=CN NC(=O)N CC(=O)NC [O-][N+](=O)
[O-][N+](=O)C c1ccccc1 c1ccncc1 c1ccccn1 n1ccccc1 c1ccoc1 o1cccc1 c1c[nH]cc1 [nH]1cccc1 n1c[nH]cc1 n1cc[nH]c1
c1ocnc1 n1cccnc1 c1nccnc1 F FC FC(F) FC(F)(F) Cl ClC ClCC S SC CS CSC CS(=O) CS(=O)(=O) c1ccsc1 s1cccc1 n1cscc1
CP(C) CP(=O)(C) P COP(=O)(OC) OP(=O)(O) NS(=O)(=O) C[N+](C)(C)C
""".split()
LINKERS = [
    "",
    *"""
C CC C(C) C(C)(C) C=C C(=O) C(=O)O C(=O)N O N N(C) S CO CN C1CC1 C(O) C(N) C(=O)C C#C OCC C(F) c1ccc(cc1)
c1cccc(c1)
""".split(),
]
RIGHT = """
C CC C(C)C C(C)(C)C C=C C=CC C#C C#CC C1CC1 C1CO1 C1CCNC1 O OC OCC CO CCO N NC N(C)C CN CCN C#N CC#N C=O CC=O
C(C)=O C(=O)O CC(=O)O C(=O)N C(=O)NC C(=O)OC NC(C)=O NC=O OC=O OC(C)=O C=NO C=NC [N+](=O)[O-] NC(=O)N C(=N)N F
C(F)F C(F)(F)F CF Cl CCl C(Cl)Cl S SC CS CSC SSC S(C)=O S(C)(=O)=O S(N)(=O)=O C(=S)N C(N)=S P P(C)C P(C)(C)=O
OP(=O)(OC)OC c1ccccc1 c1ccncc1 c1ccco1 c1c[nH]cn1 c1nccs1
""".split()

RINGS = """
c1ccc(cc1) c1cccc(c1) c1ccccc1 c1ccc(nc1) c1cc(ccn1) c1cnc(nc1) c1ccc(o1) c1ccc(s1) c1csc(n1) c1cc(on1) c1cn(cn1)
C1CCN(CC1) N1CCN(CC1) N1CCC(CC1) C1CCC(CC1) C1CCN(C1) C1CC(C1) c1cc(ccc1F) c1cc(ccc1Cl) c1cc(ccc1OC) c1cc(ccc1O)
c1cc(ccc1C) c1c[nH]c2ccc(cc12) c1ccc2cc(ccc2c1) n1cc(cn1) C1COC(CO1)
""".split()
BRANCHES = "C({}) N({}) C(=O)N({}) CC({}) c1cc({})cc(c1) C(O)C({}) S(=O)(=O)N({}) OC({}) C({})C(=O) C=C({})".split()


def joined(largest: int, count: int) -> list[str]:
    """Groups joined through one linker."""
    pool = set()
    for left in LEFT:
        for linker in LINKERS:
            for right in RIGHT:
                molecule = _usable(left + linker + right)
                if molecule is not None and 4 <= molecule.GetNumHeavyAtoms() <= 11 and _size(molecule) <= largest:
                    pool.add(Chem.MolToSmiles(molecule))
    print(f"{len(pool)} joined molecules")
    return drawn(pool, count)


def assembled(smallest: int, largest: int, of_each_size: int) -> list[str]:
    """Groups joined through two or three linkers, rings and branches, so many of each number of atoms."""
    rng = random.Random(1)
    pool: set[str] = set()
    sizes: Counter[int] = Counter()
    for _ in range(400_000):
        parts = [rng.choice(LEFT)]
        for _ in range(rng.choice((1, 2, 2, 3))):
            kind = rng.random()
            if kind < 0.4:
                parts.append(rng.choice(RINGS))
            elif kind < 0.6:
                parts.append(rng.choice(BRANCHES).format(rng.choice(RIGHT)))
            else:
                parts.append(rng.choice(LINKERS))
        molecule = _usable("".join(parts) + rng.choice(RIGHT))
        if molecule is None:
            continue
        size, smiles = _size(molecule), Chem.MolToSmiles(molecule)
        if smallest <= size <= largest and sizes[size] < of_each_size and smiles not in pool:
            pool.add(smiles)
            sizes[size] += 1
        if len(pool) == of_each_size * (largest - smallest + 1):
            break
    print(f"{len(pool)} assembled molecules, {dict(sorted(sizes.items()))}")
    return sorted(pool, key=mark)


def _usable(smiles: str) -> Chem.Mol | None:
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or Chem.GetFormalCharge(molecule) or unlikely(molecule, but=1):
        return None
    return molecule


def _size(molecule: Chem.Mol) -> int:
    return int(Chem.AddHs(molecule).GetNumAtoms())
