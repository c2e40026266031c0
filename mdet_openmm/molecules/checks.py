"""Can this molecule be simulated? Everything is checked before anything is computed."""

import logging
from collections.abc import Collection

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.bonds import close_pairs, connected_fragments, covalent_radii, find_bonds, pair_distances
from mdet_openmm.molecules.hydrogens import carbene_atom, open_valences, shown_charge
from mdet_openmm.molecules.molecule import Molecule

log = logging.getLogger("mdet_openmm")

LARGEST_COORDINATE = 1e4
"""Å; beyond it a coordinate is a mistake."""

NEAREST = 0.4
"""Å; no two atoms are nearer (H2 is 0.74)."""

NEAREST_OF_RADII = 0.5
"""Nor nearer than this part of the sum of their covalent radii."""

ADD_HYDROGENS = "add them, e.g. with PDBFixer or openmm's Modeller.addHydrogens"


def check_molecule(molecule: Molecule, fragments: int = 1) -> None:
    """Check a molecule as a start of a simulation: geometry, electrons, hydrogens, one connected molecule.

    Or as many ``fragments`` in contact, which are labelled, but not simulated.

    Frames of a trajectory can rightly fail it (a stretched bond looks like two molecules); for these use
    `check_geometry` and `check_electrons`.

    Raises
    ------
    InputError
        In one line, with advice.
    """
    check_geometry(molecule)
    _check_spin_range(molecule)
    _check_connected(molecule, fragments)
    _check_hydrogens(molecule)
    _check_parity(molecule)


def check_geometry(molecule: Molecule) -> None:
    """Atoms there, coordinates finite and sensible, no two atoms on top of each other.

    Raises
    ------
    InputError
        Naming the atoms.
    """
    numbers, positions = molecule.atomic_numbers, molecule.positions
    if len(numbers) == 0:
        raise InputError(f"{molecule.name}: no atoms; is the file complete?")
    if positions.shape != (len(numbers), 3):
        raise InputError(f"{molecule.name}: {len(numbers)} atoms but positions of shape {positions.shape}")
    unknown = np.flatnonzero((numbers < 1) | (numbers > 118))
    if len(unknown):
        raise InputError(
            f"{molecule.name}: atom {unknown[0] + 1} has atomic number {numbers[unknown[0]]}; dummy atoms are not "
            "supported, remove them"
        )
    wild = np.flatnonzero(~np.all(np.abs(positions) < LARGEST_COORDINATE, axis=1))
    if len(wild):
        k = int(wild[0])
        raise InputError(
            f"{molecule.name}: {_atom(molecule, k)} has the coordinates {_triple(positions[k])}, not finite or beyond "
            f"{LARGEST_COORDINATE:g} Å; write the file anew"
        )
    _check_overlaps(molecule)


def check_electrons(molecule: Molecule) -> None:
    """Charge and multiplicity fit the elements.

    Raises
    ------
    InputError
        If no electrons are left, or their number does not allow the multiplicity.
    """
    _check_spin_range(molecule)
    _check_parity(molecule)


def check_charge(molecule: Molecule) -> None:
    """The bonds do not contradict the charge, as those of two ammonium groups contradict 0.

    Raises
    ------
    InputError
        With the charge that the bonds show.
    """
    shown = shown_charge(molecule)
    if shown is not None:
        raise InputError(
            f"{molecule.name}: its bonds (ammonium groups and the like) show the charge {shown:+d}, not "
            f"{molecule.charge:+d}; pass --charge {shown} (or what is right)"
        )


def check_elements(molecule: Molecule, trained: Collection[int], model_name: str) -> None:
    """Every element is one that the model was trained on.

    Parameters
    ----------
    molecule
        Checked.
    trained
        Atomic numbers of the model's elements.
    model_name
        For the message.

    Raises
    ------
    InputError
        Naming the elements that are not, and those that are.
    """
    untrained = sorted(set(molecule.atomic_numbers.tolist()) - set(trained))
    if untrained:
        raise InputError(
            f"{molecule.name}: {', '.join(map(_symbol, untrained))} is not among the elements that model {model_name} "
            f"was trained on ({', '.join(map(_symbol, sorted(trained)))}); use another model or molecule"
        )


def _check_overlaps(molecule: Molecule) -> None:
    radii = covalent_radii(molecule.atomic_numbers)
    # Coinciding atoms first: with all of a large file at one place, the list of close pairs would grow as n².
    places, first = np.unique(np.round(molecule.positions, 3), axis=0, return_index=True)
    if len(places) < molecule.n_atoms:
        k = min(set(range(molecule.n_atoms)) - set(first.tolist()))
        same = np.flatnonzero(np.all(np.round(molecule.positions, 3) == np.round(molecule.positions[k], 3), axis=1))
        pairs = np.array([[same[0], same[1]]])
    else:
        pairs = close_pairs(molecule.positions, max(NEAREST, 2.0 * NEAREST_OF_RADII * float(radii.max())))
    distances = pair_distances(molecule.positions, pairs)
    allowed = np.maximum(NEAREST, NEAREST_OF_RADII * (radii[pairs[:, 0]] + radii[pairs[:, 1]]))
    bad = np.flatnonzero(distances < allowed)
    if len(bad):
        worst = bad[np.argmin(distances[bad])]
        i, j = (int(k) for k in pairs[worst])
        raise InputError(
            f"{molecule.name}: {_atom(molecule, i)} and {_atom(molecule, j)} overlap ({distances[worst]:.3f} Å apart); "
            "remove one if it is there twice, and check that coordinates are in Å"
        )


def _check_connected(molecule: Molecule, most: int) -> None:
    # ASE's wider skin: a stretched bond (2.0 Å in ClNO) still holds a molecule together.
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions, skin=0.3)
    fragments = connected_fragments(bonds, molecule.n_atoms)
    if len(fragments) > most:
        sizes = ", ".join(str(len(f)) for f in sorted(fragments, key=len, reverse=True)[:6])
        more = ", ..." if len(fragments) > 6 else ""
        raise InputError(
            f"{molecule.name}: {len(fragments)} separate fragments (of {sizes}{more} atoms), but the models describe "
            "one free molecule; keep one, or mend bonds that are too long"
        )


def _electrons(molecule: Molecule) -> int:
    return int(molecule.atomic_numbers.sum()) - molecule.charge


def _check_spin_range(molecule: Molecule) -> None:
    electrons = _electrons(molecule)
    if electrons <= 0:
        raise InputError(f"{molecule.name}: charge {molecule.charge:+d} leaves no electrons; correct --charge")
    if molecule.multiplicity < 1:
        raise InputError(
            f"{molecule.name}: multiplicity {molecule.multiplicity} does not exist; it is 2S + 1: 1 for a closed "
            "shell, 2 for one unpaired electron"
        )
    if molecule.multiplicity - 1 > electrons:
        raise InputError(
            f"{molecule.name}: multiplicity {molecule.multiplicity} needs {molecule.multiplicity - 1} unpaired "
            f"electrons but there are only {electrons}; correct --multiplicity"
        )


def _parity_fits(molecule: Molecule) -> bool:
    return (_electrons(molecule) + molecule.multiplicity) % 2 == 1


def _check_parity(molecule: Molecule) -> None:
    if _parity_fits(molecule):
        return
    electrons = _electrons(molecule)
    kind, other = ("odd", "even") if electrons % 2 else ("even", "odd")
    raise InputError(
        f"{molecule.name}: charge {molecule.charge:+d} makes {electrons} electrons ({kind}), but multiplicity "
        f"{molecule.multiplicity} needs an {other} number; pass --charge or --multiplicity, or check for missing "
        "hydrogens"
    )


def _check_hydrogens(molecule: Molecule) -> None:
    if molecule.smiles is not None:
        return  # a SMILES settles the hydrogens, also where a force field made a poor geometry of it
    if molecule.n_atoms == 1:
        alone = int(molecule.atomic_numbers[0])
        if molecule.multiplicity == 1 and {6: 4, 7: 3, 8: 2, 16: 2}.get(alone, 0) > abs(molecule.charge):
            raise InputError(
                f"{molecule.name}: a single {_symbol(alone)} atom, its hydrogens are missing; {ADD_HYDROGENS} "
                "(or pass --multiplicity for the bare atom)"
            )
        return
    found = open_valences(molecule)
    fits = _parity_fits(molecule)
    excess = found.unexplained(molecule.charge, molecule.multiplicity)
    # One too many with the wrong parity is told as that: the charge is as likely wrong as a hydrogen missing.
    if excess <= (0 if fits else 1):
        return
    carbene = carbene_atom(molecule, found.lacking)
    if fits and excess <= 2 and carbene is not None:
        log.warning(
            "%s: %s is taken for a carbene or nitrene; if it is not, hydrogens are missing",
            molecule.name,
            _atom(molecule, carbene),
        )
        return
    extent = "all hydrogens are" if not np.any(molecule.atomic_numbers == 1) else "hydrogens are"
    raise InputError(
        f"{molecule.name}: {extent} missing (at least {excess}, for example on "
        f"{_atom(molecule, int(np.argmax(found.lacking)))}); {ADD_HYDROGENS}, "
        "or pass --charge if it is an ion"
    )


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[number]) if 0 < number < len(chemical_symbols) else str(number)


def _atom(molecule: Molecule, k: int) -> str:
    return f"atom {k + 1} ({_symbol(int(molecule.atomic_numbers[k]))})"


def _triple(position: np.ndarray) -> str:
    return "(" + ", ".join(f"{x:g}" for x in position) + ")"
