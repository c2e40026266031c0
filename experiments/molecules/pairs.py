"""Pairs of small molecules: hydrogen-bonded, stacked, in contact."""

import random

from graphs import mark
from rdkit import Chem

PARTNERS = """
O N C CC C=C C#C CO CN C=O C#N CF CCl CS S F Cl OC=O NC=O CC=O CC#N CNC COC CCO CC(=O)O CC(N)=O CNC=O NC(N)=O O=C=O
CC(C)=O CSC CS(C)=O C[N+](=O)[O-] O=S=O c1ccoc1 c1cc[nH]c1 c1c[nH]cn1 c1ccncc1 c1ccccc1 c1ccsc1 C1CC1 C1CO1 FC(F)F ClCCl
NN NO OO CP COP(=O)(O)O CC(=O)OC Oc1ccccc1 CSSC CC(N)=S NC(=N)N O=c1cc[nH]c(=O)[nH]1
""".split()
IONS = (
    "[NH4+] [OH3+] C[NH3+] NC(N)=[NH2+] c1c[nH]c[nH+]1 [Cl-] [F-] [OH-] O=C[O-] CC(=O)[O-] C[S-] COP(=O)(O)[O-]".split()
)
RINGS = (
    "c1ccccc1 c1ccncc1 c1cc[nH]c1 c1ccoc1 c1ccsc1 c1c[nH]cn1 c1cncnc1 Fc1ccccc1 Cc1ccccc1 O=c1cc[nH]c(=O)[nH]1".split()
)


def pairs(largest: int, count: int) -> list[str]:
    """SMILES of two molecules each: every partner with water, rings with each other, ions and others drawn."""
    rng = random.Random(2)
    found = {_joined("O", one) for one in (*PARTNERS, *IONS)}
    found |= {_joined(a, b) for a in RINGS for b in RINGS}
    while len(found) < 3 * count:
        found.add(
            _joined(rng.choice((*PARTNERS, *IONS)) if rng.random() < 0.7 else rng.choice(IONS), rng.choice(PARTNERS))
        )
    fitting = [s for s in found if Chem.AddHs(Chem.MolFromSmiles(s)).GetNumAtoms() <= largest]
    with_water = [s for s in fitting if "O" in s.split(".")]
    return sorted({*with_water, *sorted(fitting, key=mark)[: count - len(with_water)]})


def _joined(one: str, other: str) -> str:
    return str(Chem.CanonSmiles(f"{one}.{other}"))
