"""A model in OpenMM in one call: a System for a topology, or its force in a System of one's own."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
from mdet_openmm.system.force import add_force as add_module  # isort: skip
import numpy as np
import torch
from numpy.typing import NDArray
from openmm import unit

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.molecules.checks import check_charge, check_electrons, check_geometry
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.system.compute import Origin
from mdet_openmm.system.force import make_system
from mdet_openmm.system.guards import check_system, guard_energies, name_of_force
from mdet_openmm.system.placed import Placement, spanning_tree
from mdet_openmm.system.platform import choose_platform


def platform(name: str | None = None) -> tuple[Any, dict[str, str]]:
    """OpenMM's platform and properties for these forces, as ``app.Simulation`` takes them behind the integrator.

    CUDA in double precision where it works, else Reference: direct forces need their positions in fp64, and OpenMM's
    own choice hands them over in fp32 without a word.

    Parameters
    ----------
    name
        A platform's name; None to choose.
    """
    choice = choose_platform(name)
    return choice.platform, choice.properties


def create_system(
    topology: Any,
    model: str | Path | Model,
    *,
    positions: Any = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    backend: str = "auto",
    device: str | None = None,
    force_groups: tuple[int, int] | None = None,
    **options: Any,
) -> Any:
    """A System of one free molecule whose forces are the model's.

    Parameters
    ----------
    topology
        An openmm.app.Topology; every atom has an element, and hydrogens are there.
    model
        A model, its folder, or the name of a shipped one.
    positions
        As OpenMM has them. With them it is checked that the geometry is sane and that its bonds do not contradict the
        charge.
    charge, multiplicity
        Total charge in e and 2S + 1. Left out: what the bonds of the topology show must be neutral, and 1.
    backend, device
        "torch" (TorchForce), "python" (PythonForce) or "auto"; where the latter computes, "cpu" or "cuda".
    force_groups
        Conservative forces as two, for multiple time steps: the group of the direct forces (and the energy), and that
        of what they lack to be its gradient, which costs several times as much and may be taken more rarely.
    options
        Fields of `mdet_openmm.export.options.ForceOptions`: precision, orientations, offset, seed, forces.

    Returns
    -------
    openmm.System
        With the elements' own masses and no constraints.

    Raises
    ------
    InputError
        For a topology, charge, model or option that cannot work.
    """
    elements = [atom.element for atom in topology.atoms()]
    if not elements or None in elements:
        raise InputError("create_system: every atom of the topology needs an element (no dummy atoms, and not none)")
    if topology.getPeriodicBoxVectors() is not None:
        warnings.warn(
            "the topology has a periodic box; the model describes one free molecule, and the box is not used",
            stacklevel=2,
        )
    system = make_system([element.mass.value_in_unit(unit.dalton) for element in elements])
    add_force(
        system,
        topology,
        model,
        positions=positions,
        charge=charge,
        multiplicity=multiplicity,
        backend=backend,
        device=device,
        force_groups=force_groups,
        **options,
    )
    return system


def add_force(
    system: Any,
    topology: Any,
    model: str | Path | Model,
    *,
    atoms: Sequence[int] | None = None,
    positions: Any = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    backend: str = "auto",
    device: str | None = None,
    force_group: int = 0,
    force_groups: tuple[int, int] | None = None,
    **options: Any,
) -> Any:
    """Add the model's force to a System that may have other forces and other atoms.

    What else acts between these atoms stays as it is: take a classical force field's own terms out first, or use
    OpenMM-ML's ``createMixedSystem`` with this model, which does.

    Parameters
    ----------
    system, topology
        The System, and the Topology of all of its particles.
    atoms
        Indices of the molecule's atoms, in any order; None: all. They must be bonded to each other, and to no others.
    force_group
        Of the force.
    model, positions, charge, multiplicity, backend, device, force_groups, options
        As for `create_system`; positions are those of all particles.

    Returns
    -------
    openmm.Force
        With ``force_groups`` two of them.

    Raises
    ------
    InputError
        For atoms, a charge, a model or an option that cannot work, and for forces in the System that need an energy
        where the model has none.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    chosen = list(range(topology.getNumAtoms())) if atoms is None else [int(k) for k in atoms]
    count = topology.getNumAtoms()
    if len(set(chosen)) < len(chosen) or not chosen or not all(0 <= k < count for k in chosen):
        raise InputError(f"atoms must be different indices from 0 to {count - 1}")
    if system.getNumParticles() not in (0, count):  # OpenMM-ML collects forces in an empty one
        raise InputError(f"the topology has {count} atoms, but the system {system.getNumParticles()} particles")
    links = _links(system, set(chosen))
    bonds = [*((a.index, b.index) for a, b in topology.bonds()), *((cap, inside) for cap, (inside, _) in links.items())]
    _check_border(bonds, set(chosen), set(links.values()))
    molecule = _molecule(topology, chosen, bonds, positions, charge, multiplicity)
    choice = ForceOptions(**options)
    if force_groups is None:
        parts = [(force_group, choice.resolved(loaded))]
    else:
        _check_groups(force_group, force_groups, choice)
        parts = [(group, part.resolved(loaded)) for group, part in zip(force_groups, choice.split(), strict=True)]
    check_memory(loaded, len(chosen), parts[-1][1])
    check_system(system, loaded.has_energy)
    placement = None
    if atoms is not None:
        periodic = system.usesPeriodicBoundaryConditions() or topology.getPeriodicBoxVectors() is not None
        parents, order = _tree(bonds, chosen, molecule) if periodic else (None, None)
        placement = Placement(tuple(chosen), parents, order)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    species = Species(molecule.atomic_numbers, molecule.charge, molecule.multiplicity)
    # what another process makes anew gets the positions of these atoms alone
    alone = replace(placement, atoms=None) if placement is not None and placement.parents is not None else None
    guard_energies()
    forces = []
    for group, part in parts:
        force = add_module(
            system,
            bind(loaded, species, part),
            backend,
            where,
            placement=placement,
            origin=Origin(loaded.path, loaded.sha256, species, part, alone),
        )
        force.setForceGroup(group)
        # two parts are together the gradient of the energy
        force.setName(name_of_force(loaded.name, loaded.has_energy, part.conservative or force_groups is not None))
        forces.append(force)
    return forces[0] if force_groups is None else tuple(forces)


def _check_groups(force_group: int, force_groups: tuple[int, int], options: ForceOptions) -> None:
    """Refuse groups that OpenMM does not have, or that leave nothing to choose from."""
    if len(set(force_groups)) != 2 or not all(0 <= group < 32 for group in force_groups):
        raise InputError(f"force_groups must be two different groups from 0 to 31, not {force_groups}")
    if force_group:
        raise InputError("force_groups says where both parts of the forces go; leave out force_group")
    if options.forces is not None:
        raise InputError(f"force_groups splits conservative forces into two parts; leave out forces={options.forces!r}")


def _links(system: Any, inside: set[int]) -> dict[int, tuple[int, int]]:
    """Virtual sites of the molecule that stand for a bond to an atom outside (OpenMM-ML's caps), and its atoms."""
    if not system.getNumParticles():
        return {}
    sites = (k for k in inside if system.isVirtualSite(k) and system.getVirtualSite(k).getNumParticles() == 2)
    return {k: tuple(system.getVirtualSite(k).getParticle(i) for i in range(2)) for k in sites}


def _check_border(bonds: list[tuple[int, int]], inside: set[int], capped: set[tuple[int, int]]) -> None:
    for a, b in bonds:
        if (a in inside) != (b in inside) and not {(a, b), (b, a)} & capped:
            raise InputError(
                f"the bond between the atoms {a + 1} and {b + 1} crosses the border of the molecule; take whole "
                "molecules, or OpenMM-ML's createMixedSystem, which caps such bonds with hydrogen"
            )


def _molecule(
    topology: Any,
    chosen: list[int],
    bonds: list[tuple[int, int]],
    positions: Any,
    charge: int | None,
    multiplicity: int | None,
) -> Molecule | Species:
    """The atoms as a molecule, checked as far as can be."""
    everything = list(topology.atoms())
    elements = [everything[k].element for k in chosen]
    if None in elements:
        raise InputError("every atom of the molecule needs an element")
    numbers = np.array([element.atomic_number for element in elements], dtype=np.int64)
    if positions is None:
        if charge is None:
            _check_neutral(numbers, chosen, bonds)
        return Species(numbers, charge or 0, multiplicity or 1)
    x = np.asarray(
        [list(p) for p in positions.value_in_unit(unit.angstrom)]
        if unit.is_quantity(positions)
        else 10.0 * np.asarray(positions, dtype=np.float64)
    )
    if x.shape != (len(everything), 3):
        raise InputError(f"positions have the shape {x.shape}, but the topology has {len(everything)} atoms")
    molecule = Molecule(numbers, x[chosen], charge or 0, multiplicity or 1, "the molecule")
    check_geometry(molecule)
    check_electrons(molecule)
    if charge is None:
        check_charge(molecule)
    return molecule


_NEUTRAL_BONDS = {7: 3, 8: 2, 15: 5, 16: 6}
"""Neighbours beyond these make an atom a cation."""


def _check_neutral(numbers: NDArray[np.int64], chosen: list[int], bonds: list[tuple[int, int]]) -> None:
    """Refuse a topology without a charge whose bonds show ammonium groups and the like."""
    count = dict.fromkeys(chosen, 0)
    for a, b in bonds:
        if a in count and b in count:
            count[a] += 1
            count[b] += 1
    for number, k in zip(numbers.tolist(), chosen, strict=True):
        if count[k] > _NEUTRAL_BONDS.get(number, 8):
            raise InputError(
                f"atom {k + 1} has {count[k]} bonds and so a charge; say charge=… (the total, also if it is 0)"
            )


def _tree(
    bonds: list[tuple[int, int]], chosen: list[int], molecule: Molecule | Species
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    place = {k: i for i, k in enumerate(chosen)}
    inner = np.array([(place[a], place[b]) for a, b in bonds if a in place and b in place], dtype=np.int64)
    try:
        return spanning_tree(len(chosen), inner.reshape(-1, 2))
    except ValueError:
        if isinstance(molecule, Molecule):
            try:
                return spanning_tree(len(chosen), find_bonds(molecule.atomic_numbers, molecule.positions))
            except ValueError:
                pass
    raise InputError(
        "in a periodic box the molecule is made whole along its bonds, and the topology's do not connect it; add them "
        "(CONECT records, or topology.addBond)"
    )
