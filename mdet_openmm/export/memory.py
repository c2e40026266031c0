"""Whether a bound force fits into memory."""

from mdet_openmm.export.compiled_attention import kernel_problem
from mdet_openmm.export.force_module import chosen_forces
from mdet_openmm.export.model_folder import Model
from mdet_openmm.molecules.checks import check_fits_memory


def check_memory(
    model: Model, n_atoms: int, *, frames: int, precision: str, forces: str | None, available: int | None = None
) -> None:
    """Refuse, before anything is computed, what would not fit.

    Parameters
    ----------
    model, frames, precision, forces
        As for `mdet_openmm.export.force_module.bind`.
    n_atoms
        Of the molecule.
    available
        Bytes; by default the main memory that is free (give a GPU's there).

    Raises
    ------
    InputError
        With the numbers and what to reduce.
    """
    shape = model.network.config
    # a gradient keeps what every layer has computed
    conservative = chosen_forces(model, forces) == "conservative"
    kept = shape.n_layers if conservative else 0
    compiled = not conservative and available is None and not kernel_problem()
    check_fits_memory(n_atoms, shape.embd_dim, shape.n_heads, frames, precision, available, kept, compiled)
