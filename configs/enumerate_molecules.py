"""The molecules of models/mdet-gfn2-small: ``python configs/enumerate_molecules.py`` writes two .smi files beside it.

Three sources: all sensible graphs of up to five C, N and O and a sample of those of six and seven, grown atom by atom;
functional groups joined through scaffolds, up to 20 atoms with hydrogens, F, S, Cl and P among them; and common
molecules by name. Amines, acids and the like also come as ions. One of twenty, by a hash of its SMILES, is held out.
The same RDKit gives the same files.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem import rdDistGeom

HERE = Path(__file__).parent
LARGEST = 20
GROWN = {6: 650, 7: 450}
"""How many of each number of heavy atoms are drawn; smaller ones all."""
JOINED, CATIONS, ANIONS = 1300, 90, 90
HELD_OUT_OF = 20

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

COMMON = """
[H][H] hydrogen
O water
N ammonia
C methane
CC ethane
C=C ethene
C#C ethyne
[C-]#[O+] carbon monoxide
O=C=O carbon dioxide
C#N hydrogen cyanide
C=O formaldehyde
CO methanol
OO hydrogen peroxide
NN hydrazine
NO hydroxylamine
N#N nitrogen
F hydrogen fluoride
Cl hydrogen chloride
S hydrogen sulfide
P phosphine
CF fluoromethane
CCl chloromethane
CS methanethiol
CP methylphosphine
O=S=O sulfur dioxide
S=C=S carbon disulfide
O=C=S carbonyl sulfide
ClCl chlorine
FC(F)F fluoroform
FC(F)(F)F tetrafluoromethane
ClC(Cl)Cl chloroform
ClC(Cl)(Cl)Cl tetrachloromethane
ClCCl dichloromethane
O=C(Cl)Cl phosgene
CC(=O)Cl acetyl chloride
OS(=O)(=O)O sulfuric acid
O=[N+]([O-])O nitric acid
OP(=O)(O)O phosphoric acid
CC(=O)C acetone
CC#N acetonitrile
CS(C)=O dimethyl sulfoxide
CN(C)C=O N,N-dimethylformamide
C1CCOC1 tetrahydrofuran
C1COCCO1 1,4-dioxane
CCOCC diethyl ether
CCOC(C)=O ethyl acetate
CCCCCC hexane
C1CCCCC1 cyclohexane
c1ccccc1 benzene
Cc1ccccc1 toluene
c1ccncc1 pyridine
CC(=O)O acetic acid
OC=O formic acid
NC=O formamide
NC(N)=O urea
NC(N)=S thiourea
NC(=N)N guanidine
CNC(C)=O N-methylacetamide
CC(=O)NC=O N-formylacetamide
CC(=O)NCC(N)=O acetylglycinamide
NCC(=O)O glycine
CC(N)C(=O)O alanine
NC(CO)C(=O)O serine
NC(CS)C(=O)O cysteine
CC(C)C(N)C(=O)O valine
OC(=O)C1CCCN1 proline
NC(CC(N)=O)C(=O)O asparagine
NC(CC(=O)O)C(=O)O aspartic acid
CC(O)C(N)C(=O)O threonine
NCCCC(=O)O 4-aminobutanoic acid
NCCC(=O)O beta-alanine
NCCS(=O)(=O)O taurine
CC(O)C(=O)O lactic acid
CC(=O)C(=O)O pyruvic acid
OC(=O)C(=O)O oxalic acid
OC(=O)CC(=O)O malonic acid
OC(=O)CCC(=O)O succinic acid
OC(=O)C=CC(=O)O fumaric acid
OCC(O)CO glycerol
OCC(O)C=O glyceraldehyde
OCC(=O)CO dihydroxyacetone
O=c1cc[nH]c(=O)[nH]1 uracil
Cc1c[nH]c(=O)[nH]c1=O thymine
Nc1cc[nH]c(=O)n1 cytosine
Nc1ncnc2[nH]cnc12 adenine
Nc1nc2[nH]cnc2c(=O)[nH]1 guanine
O=c1[nH]cnc2[nH]cnc12 hypoxanthine
c1ncc2nc[nH]c2n1 purine
c1c[nH]cn1 imidazole
c1cn[nH]c1 pyrazole
c1c[nH]cc1 pyrrole
c1ccoc1 furan
c1ccsc1 thiophene
c1cocn1 oxazole
c1cscn1 thiazole
c1conc1 isoxazole
c1nc[nH]n1 1,2,4-triazole
c1ncncn1 1,3,5-triazine
c1cnccn1 pyrazine
c1cncnc1 pyrimidine
c1ccnnc1 pyridazine
c1ccc2[nH]ccc2c1 indole
c1ccc2nc[nH]c2c1 benzimidazole
c1ccc2occc2c1 benzofuran
c1ccc2ccccc2c1 naphthalene
c1ccc2ncccc2c1 quinoline
Oc1ccccc1 phenol
Nc1ccccc1 aniline
O=Cc1ccccc1 benzaldehyde
OC(=O)c1ccccc1 benzoic acid
NC(=O)c1ccccc1 benzamide
N#Cc1ccccc1 benzonitrile
C=Cc1ccccc1 styrene
COc1ccccc1 anisole
OCc1ccccc1 benzyl alcohol
NCc1ccccc1 benzylamine
CC(=O)c1ccccc1 acetophenone
Oc1ccccc1C(=O)O salicylic acid
Oc1ccc(O)cc1 hydroquinone
O=C1C=CC(=O)C=C1 benzoquinone
Fc1ccccc1 fluorobenzene
Clc1ccccc1 chlorobenzene
Sc1ccccc1 thiophenol
[O-][N+](=O)c1ccccc1 nitrobenzene
NC(=O)c1cccnc1 nicotinamide
OC(=O)c1cccnc1 nicotinic acid
Cn1ccnc1 1-methylimidazole
Cc1c[nH]cn1 4-methylimidazole
CCc1c[nH]cn1 4-ethylimidazole
C1CCNCC1 piperidine
C1CNCCN1 piperazine
C1COCCN1 morpholine
C1CCNC1 pyrrolidine
O=C1CCCN1 2-pyrrolidinone
O=C1CCCC1 cyclopentanone
O=C1CCCCC1 cyclohexanone
O=C1CCCO1 gamma-butyrolactone
C1=CCC=C1 cyclopentadiene
C1=CCCCC1 cyclohexene
C1CC2CCC1C2 norbornane
O=CC=CC=O butenedial
O=CCC=O malonaldehyde
CC(=O)CC(C)=O acetylacetone
CC(=O)C=C methyl vinyl ketone
C=CC(=O)O acrylic acid
C=CC(N)=O acrylamide
C=CC#N acrylonitrile
C=C(C)C=C isoprene
C=C=C allene
C=C=C=C butatriene
C=C=O ketene
N=C=O isocyanic acid
CN=C=O methyl isocyanate
CN=C=S methyl isothiocyanate
C[N+](=O)[O-] nitromethane
CON=O methyl nitrite
CO[N+](=O)[O-] methyl nitrate
C=[N+]=[N-] diazomethane
CN=[N+]=[N-] methyl azide
COC(=O)OC dimethyl carbonate
COP(=O)(OC)OC trimethyl phosphate
CP(C)C trimethylphosphine
CP(C)(C)=O trimethylphosphine oxide
CS(C)(=O)=O dimethyl sulfone
CS(=O)(=O)O methanesulfonic acid
CS(N)(=O)=O methanesulfonamide
CSSC dimethyl disulfide
CSC dimethyl sulfide
CCSCC diethyl sulfide
C1CCSC1 tetrahydrothiophene
CSCCC(N)C(=O)O methionine
OCC(F)(F)F trifluoroethanol
OC(=O)C(F)(F)F trifluoroacetic acid
OC(=O)CCl chloroacetic acid
C=CCl vinyl chloride
C=CF vinyl fluoride
NCCc1c[nH]cn1 histamine
OC(=O)CO glycolic acid
NCC=O aminoacetaldehyde
NCCN ethylenediamine
OCCO ethylene glycol
[OH-] hydroxide
[OH3+] hydronium
[NH4+] ammonium
[NH2-] amide anion
[F-] fluoride
[Cl-] chloride
[SH-] hydrogensulfide
[C-]#N cyanide
[N-]=[N+]=[N-] azide
[N-]=C=O cyanate
[S-]C#N thiocyanate
[O-][N+](=O)[O-] nitrate
[O-]N=O nitrite
O=C[O-] formate
OC([O-])=O hydrogencarbonate
OS(=O)(=O)[O-] hydrogensulfate
OP(=O)(O)[O-] dihydrogenphosphate
CS(=O)(=O)[O-] methanesulfonate
C[O-] methoxide
C[S-] methanethiolate
[O-]c1ccccc1 phenolate
[S-]c1ccccc1 thiophenolate
C#[C-] acetylide
C[N+](C)(C)C tetramethylammonium
C[S+](C)C trimethylsulfonium
C[P+](C)(C)C tetramethylphosphonium
C[OH2+] protonated methanol
C=[OH+] protonated formaldehyde
CC(C)=[OH+] protonated acetone
NC(N)=[NH2+] guanidinium
CC(N)=[NH2+] acetamidinium
C=[NH2+] methaniminium
c1c[nH]c[nH+]1 imidazolium
c1cc[nH+]cc1 pyridinium
C[n+]1cc[nH]c1 1-methylimidazolium
[NH3+]CC(=O)O protonated glycine
NCC(=O)[O-] glycinate
[NH3+]CCO ethanolammonium
"""


def named() -> dict[str, str]:
    """Canonical SMILES and name of the common molecules."""
    found = {}
    for line in COMMON.strip().splitlines():
        smiles, name = line.split(maxsplit=1)
        found[Chem.CanonSmiles(smiles)] = name
    return found


def mark(smiles: str) -> int:
    """A number that stands for a molecule, the same everywhere."""
    return int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:8], "big")


def drawn(pool: Iterable[str], count: int) -> list[str]:
    """A sample that depends on nothing but the molecules."""
    return sorted(set(pool), key=mark)[:count]


def sane(molecule: Chem.Mol) -> bool:
    """Whether a grown molecule would stay what it is."""
    heavy = molecule.GetNumHeavyAtoms()
    carbon = sum(a.GetAtomicNum() == 6 for a in molecule.GetAtoms())
    return heavy - carbon <= carbon + 1 and not any(molecule.HasSubstructMatch(pattern) for pattern in UNLIKELY)


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


def joined() -> list[str]:
    """Groups joined through linkers, of at most 20 atoms."""
    pool = set()
    for left in LEFT:
        for linker in LINKERS:
            for right in RIGHT:
                molecule = Chem.MolFromSmiles(left + linker + right)
                if molecule is None or Chem.GetFormalCharge(molecule) or not 4 <= molecule.GetNumHeavyAtoms() <= 11:
                    continue
                if Chem.AddHs(molecule).GetNumAtoms() <= LARGEST and not any(
                    molecule.HasSubstructMatch(pattern) for pattern in UNLIKELY[:-1]
                ):
                    pool.add(Chem.MolToSmiles(molecule))
    print(f"{len(pool)} joined molecules")
    return drawn(pool, JOINED)


BASE = Chem.MolFromSmarts("[NX3;!$(N~[#6]=,#,:*);!$(N~[!#6;!#1])]")
ACIDS = [
    Chem.MolFromSmarts(smarts) for smarts in ("[OX2;H1]C=O", "[SX2;H1]", "[OX2;H1]c", "[OX2;H1]P=O", "[OX2;H1]S=O")
]


def ion(smiles: str, pattern: Chem.Mol, charge: int) -> str | None:
    """The molecule with a proton more or less at the first place that matches; None if there is none."""
    molecule = Chem.RWMol(Chem.MolFromSmiles(smiles))
    places = molecule.GetSubstructMatches(pattern)
    if not places or Chem.GetFormalCharge(molecule):
        return None
    atom = molecule.GetAtomWithIdx(places[0][0])
    atom.SetNumExplicitHs(atom.GetTotalNumHs() + charge)
    atom.SetNoImplicit(True)
    atom.SetFormalCharge(charge)
    failed = Chem.SanitizeMol(molecule, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE
    return None if failed else Chem.MolToSmiles(molecule)


def ions(pool: list[str]) -> list[str]:
    """Protonated amines and deprotonated acids of the pool."""
    cations = {ion(s, BASE, 1) for s in pool} - {None}
    anions = {ion(s, acid, -1) for s in pool for acid in ACIDS} - {None}
    return [*drawn(filter(None, cations), CATIONS), *drawn(filter(None, anions), ANIONS)]


def embeds(smiles: str) -> bool:
    """Whether RDKit finds it a structure of at most 20 atoms."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    return molecule.GetNumAtoms() <= LARGEST and rdDistGeom.EmbedMolecule(molecule, randomSeed=1) == 0


def held_out_elsewhere() -> set[str]:
    """Molecules that mdet-gfn2-mini keeps out."""
    text = (HERE / "mdet-gfn2-mini.label.yaml").read_text()
    return {Chem.CanonSmiles(s) for s in re.findall(r'smiles: "([^"]+)", split: test', text)}


def main() -> None:
    """Write the two files."""
    RDLogger.DisableLog("rdApp.*")
    names = named()
    neutral = sorted({*grown(), *joined(), *names})
    everything = sorted({*neutral, *ions(neutral)})
    usable = [s for s in everything if embeds(s)]
    kept_out = held_out_elsewhere()
    small = {s for s in usable if Chem.MolFromSmiles(s).GetNumHeavyAtoms() <= 2}
    held_out = {s for s in usable if s in kept_out or (mark("out" + s) % HELD_OUT_OF == 0 and s not in small)}
    for name, chosen in (("", [s for s in usable if s not in held_out]), ("-held-out", sorted(held_out))):
        lines = [f"{s} {names.get(s, s)}" for s in chosen]
        (HERE / f"mdet-gfn2-small{name}.smi").write_text("\n".join(lines) + "\n")
        atoms = [Chem.AddHs(Chem.MolFromSmiles(s)).GetNumAtoms() for s in chosen]
        print(f"{len(chosen)} molecules{name}, {sum(atoms) / len(atoms):.1f} atoms on average")


if __name__ == "__main__":
    main()
