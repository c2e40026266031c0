"""What may be chosen about a bound force, for the API and for every command."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mdet_openmm.errors import InputError
from mdet_openmm.settings import Checked, option

if TYPE_CHECKING:
    from mdet_openmm.export.model_folder import Model

DEFAULT_MODEL: Final = "mdet-so3lr-small"
"""What programs take where no model is named."""
PRECISIONS: Final = ("double", "mixed", "fp32")
PRECISION_HELP: Final = (
    "double; mixed: the network's trunk in fp32, its geometry in double; fp32: everything in single, for ablations "
    "only, not recommended"
)
ORIENTATIONS: Final = (1, 12, 24, 60)
OFFSETS: Final = ("none", "random", "hashed")
FORCES: Final = ("direct", "conservative")
"""What may drive dynamics by itself."""
DIFFERENCE: Final = "difference"


@dataclass(frozen=True)
class ForceOptions(Checked):
    """How a model's force is computed, wherever it is bound to a molecule.

    Attributes
    ----------
    precision
        "double": everything in fp64. "mixed": the trunk of the network in fp32; positions, geometry, the sum over
        pairs and what follows it, rotations and the accumulation of forces stay in fp64. "fp32": network and geometry
        in fp32, as the authors' code has it; centring, rotations and accumulation in fp64. For ablations only.
    orientations
        Orientations of a rotation group that are averaged over at each call.
    offset
        "none"; "random": all orientations are turned by a fresh uniform rotation at each call (seed it with
        ``torch.manual_seed``); "hashed": by a rotation that is a function of the positions and the seed. None:
        "hashed" for direct forces, which turns their dependence on the orientation into noise that a bath takes up;
        "none" for conservative ones, whose energy would jump with it.
    seed
        Of the hashed offset.
    forces
        "direct": the network's own. "conservative": minus the gradient of its energy. "difference": the second less the
        first (see `split`). None: the model's own kind, direct where it has both.
    raw
        Direct forces as the network gives them: net force and torque stay.
    cycle
        Of a difference: M, for the direct forces and M times what they lack, which is the kick between two cycles of M
        steps (see `split`), with the energy; 0: the difference itself.
    compiled
        Use the compiled attention and oneDNN where they work (on a CPU). Such a module runs in processes that have
        imported this package, and nowhere else.
    """

    precision: str = option("double", PRECISION_HELP, choices=PRECISIONS)
    orientations: int = option(1, "orientations to average over", choices=ORIENTATIONS)
    offset: str | None = option(None, "rotation offset [hashed; none for conservative forces]", choices=OFFSETS)
    seed: int = option(0, "of the hashed offset", at_least=-(2**63), below=2**63)
    forces: str | None = option(None, "the network's own, or the gradient of its energy", choices=(*FORCES, DIFFERENCE))
    raw: bool = option(False, "leave net force and torque in direct forces")
    cycle: int = option(0, "of a difference: steps to one kick", at_least=0)
    compiled: bool = option(True, "use code that other programs cannot run")

    def check(self) -> None:
        """Refuse a difference of forces that are not taken in the same orientation, and a cycle of anything else."""
        if self.cycle and self.forces != DIFFERENCE:
            raise InputError(f"a cycle of {self.cycle} steps is one of forces {DIFFERENCE}, not {self.forces}")
        if self.forces == DIFFERENCE and self.offset in ("random", "hashed"):
            raise InputError(
                f"with offset {self.offset} direct forces are turned at each call and differ by a noise that no later "
                "step takes away from what corrects them; multiple time steps need offset none (with more "
                "orientations, if a single one is to count less)"
            )

    def split(self, cycle: int = 0) -> tuple["ForceOptions", "ForceOptions"]:
        """Conservative forces as two that add up to them: direct ones, to be taken often, and what these lack.

        Parameters
        ----------
        cycle
            M: the second are those of a kick between two cycles of M steps, direct forces included, in place of both.

        Raises
        ------
        InputError
            For an offset, with which the two would not belong together.
        """
        lacking = replace(self, forces=DIFFERENCE, offset=self.offset or "none", cycle=cycle)
        return replace(lacking, forces="direct", cycle=0), lacking

    def resolved(self, model: "Model") -> "ForceOptions":
        """With the forces and the offset that a model gets where they were left open.

        Raises
        ------
        InputError
            If the model cannot give the forces that were asked for.
        """
        shape, forces = model.network.config, self.forces
        if forces is None:
            forces = "direct" if shape.force_head else "conservative"
        if forces != "conservative" and not shape.force_head:
            raise InputError(f"the model {model.name} has no direct forces, only the gradient of its energy")
        if forces != "direct" and not shape.energy_head:
            raise InputError(f"the model {model.name} has no energy that conservative forces could be the gradient of")
        return replace(self, forces=forces, offset=self.offset or ("hashed" if forces == "direct" else "none"))

    @property
    def conservative(self) -> bool:
        """Whether the forces are the gradient of an energy; known once they are resolved."""
        return self.forces == "conservative"

    @property
    def differentiated(self) -> bool:
        """Whether a call differentiates the network; known once they are resolved."""
        return self.forces != "direct"
