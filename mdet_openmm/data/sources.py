"""From the entries of a configuration to start structures or frames, checked before anything is computed."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import LabelConfig, MoleculeEntry
from mdet_openmm.data.layout import MoleculeRow
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.molecules.smiles import canonical_smiles

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """A molecule to label.

    Attributes
    ----------
    row
        Its row in the molecule table.
    atomic_numbers
        (n,).
    starts
        Start structures for dynamics, each (n, 3) in Å.
    frames
        (f, n, 3) in Å, labelled as they are instead of dynamics; else None.
    weight
        Factor on the number of training trajectories.
    """

    row: MoleculeRow
    atomic_numbers: NDArray[np.int64]
    starts: tuple[Array, ...]
    frames: Array | None
    weight: float

    @property
    def species(self) -> Species:
        """What a teacher must know of it."""
        return Species(self.atomic_numbers, self.row.charge, self.row.multiplicity)


def text_seed(text: str) -> int:
    """A 64-bit seed that stands for a text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


PlacedEntry = tuple[str, MoleculeEntry]
"""An entry behind the line of its file of SMILES, for messages; '' where it stands in the configuration itself."""


def placed_entries(config: LabelConfig) -> list[PlacedEntry]:
    """Every single molecule of a configuration.

    Raises
    ------
    InputError
        For a file of SMILES that cannot be read, or a held-out molecule that is trained on as well.
    """
    entries = [one for entry in config.molecules for one in _placed(entry)]
    _check_held_out([entry for _, entry in entries])
    return entries


def read_source(placed: PlacedEntry, config: LabelConfig) -> Source:
    """Start structures or frames of one entry.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    where, entry = placed
    try:
        return _source(entry, config)
    except InputError as error:
        # Readers of molecules speak to the command line, which has options where a configuration has keys.
        said = re.sub(r"--(charge|multiplicity)( [+-]?\d+)?", r"'\1:\2'", str(error))
        if said != str(error):
            said += ", in the molecule's entry"
        raise InputError(f"{where}: {said.removeprefix('label: ')}" if where else said) from None


def distinct(sources: list[Source]) -> list[Source]:
    """The sources.

    Raises
    ------
    InputError
        If two have the same name.
    """
    seen: set[str] = set()
    for source in sources:
        if source.row.name in seen:
            raise InputError(f"label: two molecules are named '{source.row.name}'; give each its own 'name'")
        seen.add(source.row.name)
    return sources


def read_sources(config: LabelConfig) -> list[Source]:
    """Start structures or frames of every entry; raises as `placed_entries`, `read_source` and `distinct`."""
    return distinct([read_source(placed, config) for placed in placed_entries(config)])


def _check_held_out(entries: list[MoleculeEntry]) -> None:
    """Refuse a molecule that is held out here and trained on there, however its SMILES is spelt."""
    splits: dict[tuple[str, int | None], MoleculeEntry] = {}
    for entry in entries:
        if entry.smiles is None:
            continue
        first = splits.setdefault((canonical_smiles(entry.smiles), entry.multiplicity), entry)
        if first.split != entry.split:
            one, other = (e.name or e.smiles for e in (first, entry))
            raise InputError(f"label: '{one}' and '{other}' are one molecule, both trained on and held out; remove one")


def each_entry(entry: MoleculeEntry) -> list[MoleculeEntry]:
    """The entry, or those of its file of SMILES.

    Raises
    ------
    InputError
        For a file that cannot be read or has no molecules, and for a line that is no molecule or repeats one.
    """
    return [one for _, one in _placed(entry)]


def _placed(entry: MoleculeEntry) -> list[tuple[str, MoleculeEntry]]:
    """The entry, or every so manieth of its file of SMILES, each behind the line where it stands for messages."""
    if entry.smiles_file is None:
        return [("", entry)]
    try:
        lines = entry.smiles_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"label: cannot read {entry.smiles_file}: {error}") from None
    found: list[tuple[str, MoleculeEntry]] = []
    names: dict[str, int] = {}
    molecules: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        smiles, *rest = line.split(maxsplit=1)
        name = rest[0].strip() if rest else smiles
        where = f"label: {entry.smiles_file}, line {number}"
        if name in names:
            raise InputError(f"{where}: '{name}' stands in line {names[name]} already")
        names[name] = number
        try:
            molecule = canonical_smiles(smiles)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if molecule in molecules:
            raise InputError(f"{where}: '{smiles}' is the molecule of line {molecules[molecule]}")
        molecules[molecule] = number
        found.append((where, replace(entry, smiles=smiles, smiles_file=None, name=name)))
    if not found:
        raise InputError(f"label: {entry.smiles_file} has no molecules")
    return found[:: entry.stride]


def _source(entry: MoleculeEntry, config: LabelConfig) -> Source:
    from mdet_openmm.molecules.checks import check_charge, check_electrons, check_molecule
    from mdet_openmm.molecules.smiles import conformers_from_smiles

    frames: Array | None = None
    origin = "smiles"
    if entry.smiles is not None:
        seed = text_seed(f"{config.seed}|{entry.smiles}") % 2**31
        molecules = conformers_from_smiles(entry.smiles, config.sampling.conformers, entry.name, seed)
        if entry.charge is not None and entry.charge != molecules[0].charge:
            raise InputError(f"label: charge {entry.charge} of {entry.smiles} is not that of the SMILES")
        if entry.multiplicity is not None:
            molecules = [replace(m, multiplicity=entry.multiplicity) for m in molecules]
    elif entry.file is not None:
        origin = _fingerprint(entry.file)
        molecules = [_from_file(entry.file, entry)]
    else:
        assert entry.trajectory is not None
        origin = _fingerprint(entry.trajectory)
        molecule, frames = _from_trajectory(entry.trajectory, entry)
        molecules = [molecule]
    first = molecules[0]
    if frames is None:
        for molecule in molecules:
            check_molecule(molecule, fragments=1 if entry.smiles is None else entry.smiles.count(".") + 1)
    else:
        check_electrons(first)  # stretched bonds and the like are what such frames are there for
        if entry.charge is None and np.isfinite(first.positions).all():
            check_charge(first)
    row = MoleculeRow(
        name=first.name,
        smiles=first.smiles or "",
        source=origin,
        charge=first.charge,
        multiplicity=first.multiplicity,
        split=entry.split,
        n_atoms=first.n_atoms,
    )
    starts = tuple(m.positions for m in molecules)
    return Source(row, first.atomic_numbers, starts, frames, entry.weight)


def _fingerprint(path: Path) -> str:
    """File name and SHA-256, so that a changed file is noticed when a run goes on."""
    try:
        return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise InputError(f"label: cannot read {path}: {error.strerror}") from None


def _from_file(path: Path, entry: MoleculeEntry) -> Molecule:
    from mdet_openmm.molecules.readers import read_molecule

    molecule = read_molecule(path, entry.charge, entry.multiplicity)
    return replace(molecule, name=entry.name or path.stem)


def _from_trajectory(path: Path, entry: MoleculeEntry) -> tuple[Molecule, Array]:
    from mdet_openmm.molecules.trajectories import read_trajectory

    topology = None if entry.topology is None else _from_file(entry.topology, entry)
    found = read_trajectory(path, topology)
    settled: dict[str, Any] = {}
    for what, default in (("charge", 0), ("multiplicity", 1)):
        given, stated = getattr(entry, what), getattr(found.first, what, None)
        question = getattr(found.first, f"{what}_question", None)
        if given is None and topology is not None:
            given = getattr(topology, what)
            if stated not in (None, given):
                raise InputError(f"label: {path} states {what} {stated}, {entry.topology} {given}; give '{what}' here")
        if given is None and question is not None:
            raise InputError(question)
        settled[what] = given if given is not None else stated if stated is not None else default
    frames = np.ascontiguousarray(found.positions[:: entry.stride])
    return Molecule(found.atomic_numbers, frames[0], name=entry.name or path.stem, **settled), frames
