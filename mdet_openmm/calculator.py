"""The ASE calculator."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, CalculatorSetupError, all_changes
from ase.vibrations import VibrationsData
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.measure.curl import jacobian
from mdet_openmm.measure.definitions import antisymmetric_ratio
from mdet_openmm.measure.field import smooth_field
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.units import ANGSTROM_PER_NM, KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM, NM_PER_ANGSTROM

_NO_ENERGY = (
    "the model has no energy, and 0 eV stands for it, because ASE's optimisers and dynamics ask for one: FIRE, which "
    "goes by forces, works; line searches, climbing images and differences of energies do not"
)


class MDETCalculator(Calculator):
    """Forces of a model for ASE, in eV and Å; energy, dipole and Hessian where the model has them.

    The energy of a model without one is 0, with a warning at the first time that it is asked for.

    Total charge and multiplicity are the arguments; else ``atoms.info["charge"]`` and ``atoms.info["spin"]`` (2S + 1);
    else the sum of the initial charges, and 1. A free molecule: periodic atoms are refused.

    Parameters
    ----------
    model
        A model, its folder, or the name of a shipped one.
    charge, multiplicity
        Of all atoms that it will be asked for.
    device
        "cpu" or "cuda".
    options
        Fields of `mdet_openmm.export.options.ForceOptions`. The defaults are those of a run: direct forces where there
        are any, in an orientation that is a function of the positions (``offset="hashed"``). ``offset="none"`` makes
        the forces a smooth function of the positions, for relaxations to small forces and finite differences.

    Raises
    ------
    InputError
        For a model or an option that cannot work; later, for atoms that the model does not know.
    """

    def __init__(
        self,
        model: str | Path | Model,
        *,
        charge: int | None = None,
        multiplicity: int | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> None:
        super().__init__()
        self.model = model if isinstance(model, Model) else load_model(model)
        self.options = ForceOptions(**options).resolved(self.model)
        self.device = device
        self.implemented_properties = ["energy", "free_energy", "forces"]
        if self.model.network.has_dipole:
            self.implemented_properties.append("dipole")
        self._warned = False
        self._given = (charge, multiplicity)
        self._bound: tuple[Species, torch.jit.ScriptModule] | None = None

    @staticmethod
    def content(model: str | Path, **_: Any) -> str:
        """The weights behind a calculator that a configuration names, for the provenance of data made with it.

        Raises
        ------
        InputError
            If there is no such model.
        """
        found = load_model(model)
        return f"{found.name}, weights sha256:{found.sha256}"

    def species_of(self, atoms: Atoms) -> Species:
        """Elements, charge and multiplicity of atoms; see the class.

        Raises
        ------
        InputError
            If the initial charges do not add up to a whole number.
        """
        charge, multiplicity = self._given
        if charge is None:
            charge = atoms.info.get("charge")
        if charge is None:
            total = float(atoms.get_initial_charges().sum())
            charge = round(total)
            if abs(total - charge) > 1e-3:
                raise InputError(
                    f"the initial charges add up to {total:g}; set atoms.info['charge'], or the calculator's charge"
                )
        if multiplicity is None:
            multiplicity = atoms.info.get("spin", atoms.info.get("multiplicity", 1))
        return Species(atoms.numbers, int(charge), int(multiplicity))

    def check_state(self, atoms: Any, tol: float = 1e-15) -> Any:
        """What has changed since the last call, charge and multiplicity included."""
        changes = super().check_state(atoms, tol)
        if self._bound is not None and not _same(self._bound[0], self.species_of(atoms)):
            changes = [*changes, "initial_charges"]
        return changes

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill in ``results``."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if atoms.pbc.any():
            raise CalculatorSetupError("the model describes one free molecule: set atoms.pbc = False")
        species = self.species_of(atoms)
        energy, found = forces(self._module(species), atoms.positions)
        self.results: dict[str, Any] = {"forces": found, "energy": energy or 0.0, "free_energy": energy or 0.0}
        if self.model.network.has_dipole and "dipole" in (properties or ()):
            self.results["dipole"] = dipoles(self.model, species, atoms.positions[None], self.options)[0]

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """As ASE has it, with a warning where an energy is asked for that is not there."""
        if name in ("energy", "free_energy") and not self.model.has_energy and not self._warned:
            self._warned = True
            warnings.warn(_NO_ENERGY, stacklevel=4)
        return super().get_property(name, atoms, allow_calculation)

    def _module(self, species: Species) -> torch.jit.ScriptModule:
        if self._bound is None or not _same(self._bound[0], species):
            check_memory(self.model, species.n_atoms, self.options)
            self._bound = (species, bind(self.model, species, self.options).to(self.device))
        return self._bound[1]

    def get_hessian(self, atoms: Atoms) -> NDArray[np.float64]:
        """Second derivatives of the energy, or what direct forces have in their place: minus the forces' derivatives.

        By automatic differentiation in fp64, one orientation. Of direct forces the derivatives are not symmetric; the
        symmetric part is returned, and `antisymmetry` says how large the other is.

        Returns
        -------
        (3 n, 3 n) in eV/Å².
        """
        return self._hessian(atoms)[0]

    def antisymmetry(self, atoms: Atoms) -> float:
        """lambda, the norm of the antisymmetric part of the Hessian over that of the whole; 0 if there is an energy."""
        return self._hessian(atoms)[1]

    def _hessian(self, atoms: Atoms) -> tuple[NDArray[np.float64], float]:
        species = self.species_of(atoms)
        molecule = Molecule(species.atomic_numbers, atoms.positions, species.charge, species.multiplicity)
        self._module(species)  # refuses what the model does not know
        field = smooth_field(self.model, molecule, self.options.forces)
        derivatives = jacobian(field, torch.tensor(NM_PER_ANGSTROM * atoms.positions))
        rows = -derivatives.reshape(3 * len(atoms), -1)
        # kJ/mol/nm per nm in eV/Å per Å
        scale = 1.0 / (KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM * ANGSTROM_PER_NM)
        symmetric = 0.5 * (rows + rows.T) * scale
        return symmetric.numpy(), float(antisymmetric_ratio(rows))

    def get_vibrations(self, atoms: Atoms) -> VibrationsData:
        """Harmonic vibrations of a relaxed structure, from `get_hessian`."""
        return VibrationsData.from_2d(atoms, self.get_hessian(atoms))


def _same(one: Species, other: Species) -> bool:
    return (
        np.array_equal(one.atomic_numbers, other.atomic_numbers)
        and (one.charge, one.multiplicity) == (other.charge, other.multiplicity)
    )  # fmt: skip
