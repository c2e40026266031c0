"""What ``mdet convert`` is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mdet_openmm.errors import InputError
from mdet_openmm.settings import Checked, option
from mdet_openmm.units import ANGSTROM_PER_BOHR, ANGSTROM_PER_NM, EV_PER_HARTREE, KCAL_PER_MOL_PER_EV, KJ_PER_MOL_PER_EV

LENGTHS: Final = {"angstrom": 1.0, "bohr": ANGSTROM_PER_BOHR, "nm": ANGSTROM_PER_NM}
"""Å in one of each."""
ENERGIES: Final = {
    "eV": 1.0,
    "meV": 1e-3,
    "hartree": EV_PER_HARTREE,
    "kcal/mol": 1.0 / KCAL_PER_MOL_PER_EV,
    "kJ/mol": 1.0 / KJ_PER_MOL_PER_EV,
}
"""eV in one of each."""


@dataclass(frozen=True)
class ConvertSettings(Checked):
    """Files of another format, and how they become a data set."""

    sources: tuple[Path, ...] = option(help="files, or folders of them")
    dest: Path = option(help="data set to make (.h5), or extended XYZ (.xyz) of a data set")
    val_files: tuple[Path, ...] = option((), "files whose frames are the split val")
    test_files: tuple[Path, ...] = option((), "files whose frames are the split test")
    val: float = option(0.05, "part of the frames for val, chosen by a hash", at_least=0, below=1)
    test: float = option(0.05, "part of the frames for test; with --by molecule of the molecules", at_least=0, below=1)
    by: str = option("conformation", "what is held out for test", choices=("conformation", "molecule"))
    official_split: int | None = option(None, "rMD17's own splits, 1 to 5, instead; val comes out of train", at_least=1)
    seed: int = option(0, "of the hash that chooses val and test", at_least=0)
    level: str | None = option(None, "which of the labels, where a file has several (see docs/data-format.md)")
    teacher: str | None = option(None, "name of the level of theory [what the format or the file says]")
    name: str | None = option(None, "name of the molecule, where a file has one only")
    charge: int | None = option(None, "total charge, e [the file's, else 0]")
    multiplicity: int | None = option(None, "2S + 1 [the file's, else the lowest]", at_least=1)
    temperature: float | None = option(None, "K, of the dynamics that the frames come from", above=0)
    length_unit: str | None = option(None, "of positions [the format's]", choices=tuple(LENGTHS))
    energy_unit: str | None = option(None, "of energies [the format's]", choices=tuple(ENERGIES))
    force_unit: str | None = option(
        None, "of forces, ENERGY/LENGTH, such as hartree/bohr [that of energies and positions]"
    )
    energy_key: str | None = option(None, "where an ASE file keeps energies [energy]")
    forces_key: str | None = option(None, "where an ASE file keeps forces [forces]")
    max_force: float | None = option(None, "eV/Å; leave out frames with a larger force on an atom, and count", above=0)
    compact: bool = option(False, "forces to 11 bits, packed columns (docs/data-format.md)")
    unchecked: bool = option(False, "write even what does not look like Å, eV and eV/Å; the report says so")

    def check(self) -> None:
        """Refuse shares that leave nothing, and a unit of forces that is none."""
        if self.val + self.test >= 1.0:
            raise InputError(f"--val {self.val:g} and --test {self.test:g} leave nothing to train on")
        if self.force_unit is not None:
            force_factor(self.force_unit)


def force_factor(unit: str) -> float:
    """eV/Å in one of a unit of forces, such as ``kcal/mol/angstrom``.

    Raises
    ------
    InputError
        If it is none.
    """
    energy, _, length = unit.rpartition("/")
    if energy not in ENERGIES or length not in LENGTHS:
        raise InputError(f"--force-unit must be one of {', '.join(ENERGIES)} over {', '.join(LENGTHS)}, not {unit!r}")
    return ENERGIES[energy] / LENGTHS[length]
