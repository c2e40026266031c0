"""Kohn-Sham DFT through PySCF as a teacher (Sun et al., J. Chem. Phys. 153, 024109 (2020))."""

import importlib
import importlib.metadata
import importlib.util
from typing import Any

import numpy as np

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import Label, Positions, Teacher, TeacherFailure
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.units import ANGSTROM_PER_BOHR, BOHR_PER_ANGSTROM, EV_PER_ANGSTROM_PER_ATOMIC_FORCE, EV_PER_HARTREE

ENERGY_TOLERANCE = 1e-9
"""Ha, of the SCF: forces are then converged to about 1e-5 Ha/bohr."""


def pyscf_version(config: TeacherConfig) -> tuple[str, str]:
    """Name of the method and version of the package, for the provenance of a data set."""
    name = f"{config.xc}/{config.basis}" + (f"-{config.dispersion}" if config.dispersion else "")
    _pyscf("lib")
    return name, f"pyscf {importlib.metadata.version('pyscf')}"


def make_pyscf(config: TeacherConfig, species: Species) -> Teacher:
    """The teacher of one molecule: density fitting, restricted for singlets and unrestricted otherwise.

    Every geometry starts from PySCF's own guess: a label does not depend on what was computed before it.

    Raises
    ------
    InputError
        If PySCF is missing, or does not know the functional, the basis or the dispersion.
    """
    gto, dft, lib = (_pyscf(name) for name in ("gto", "dft", "lib"))
    lib.num_threads(1)
    _check_names(config, gto, dft)
    shells = species.multiplicity - 1

    def compute(positions: Positions) -> Label:
        atoms = [(int(z), tuple(x)) for z, x in zip(species.atomic_numbers, positions * BOHR_PER_ANGSTROM, strict=True)]
        molecule = gto.M(
            atom=atoms, basis=config.basis, charge=species.charge, spin=shells, unit="Bohr", verbose=0, max_memory=2000
        )
        field = (dft.UKS if shells else dft.RKS)(molecule, xc=config.xc).density_fit()
        field.grids.level = config.grid
        field.conv_tol, field.max_cycle = ENERGY_TOLERANCE, config.max_iterations
        if config.dispersion:
            field.disp = config.dispersion
        energy = field.kernel()
        if not field.converged:
            raise TeacherFailure(f"the SCF has not converged in {config.max_iterations} iterations")
        gradient = np.asarray(field.nuc_grad_method().kernel())
        dipole = np.asarray(field.dip_moment(unit="au", verbose=0)) * ANGSTROM_PER_BOHR
        return Label(float(energy) * EV_PER_HARTREE, -gradient * EV_PER_ANGSTROM_PER_ATOMIC_FORCE, dipole)

    return compute


def _check_names(config: TeacherConfig, gto: Any, dft: Any) -> None:
    try:
        dft.libxc.parse_xc(config.xc)
    except Exception:
        raise InputError(f"teacher: PySCF knows no functional xc: {config.xc}") from None
    try:
        gto.basis.load(config.basis, "H")
    except Exception:
        raise InputError(f"teacher: PySCF knows no basis: {config.basis}") from None
    if config.dispersion and importlib.util.find_spec("pyscf.dispersion") is None:
        raise InputError(
            f"teacher: dispersion {config.dispersion} needs the package pyscf-dispersion; install it with: "
            "pip install pyscf-dispersion"
        )


def _pyscf(name: str) -> Any:
    try:
        return importlib.import_module(f"pyscf.{name}")
    except ImportError as error:
        raise InputError(
            f"the teacher pyscf needs PySCF ({error}); install it with: pip install 'mdet-openmm[dft]'"
        ) from None
