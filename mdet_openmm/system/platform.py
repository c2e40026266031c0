"""Which OpenMM platform runs a force, and why."""

from dataclasses import dataclass, field
from typing import Any

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # isort: skip
import openmm

from mdet_openmm.errors import InputError
from mdet_openmm.export.options import PRECISIONS
from mdet_openmm.settings import one_of


@dataclass(frozen=True)
class PlatformChoice:
    """A platform in which a Context could really be made.

    Attributes
    ----------
    platform
        OpenMM's platform.
    properties
        For the Context; Precision is double wherever there is a choice.
    reason
        One sentence to print.
    """

    platform: Any
    properties: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def name(self) -> str:
        """OpenMM's name of the platform."""
        return str(self.platform.getName())

    @property
    def device(self) -> str:
        """Where tensors of the python backend live: "cuda" or "cpu"."""
        return "cuda" if self.name == "CUDA" and torch.cuda.is_available() else "cpu"


def available_platforms() -> list[str]:
    """Names of the platforms that OpenMM has loaded, the slowest first."""
    return [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]


def choose_platform(name: str | None = None, precision: str = "double") -> PlatformChoice:
    """Choose a platform: CUDA in double precision where it works, else Reference.

    A direct force needs its positions in fp64, also when the trunk of the network runs in fp32, and only a platform
    in double precision delivers them so. The CPU platform is never chosen by itself: it is slower than Reference for
    a force that is computed outside of OpenMM, and in single precision.

    Parameters
    ----------
    name
        A platform's name in any case; None or "auto" to choose.
    precision
        Of the network, one of `PRECISIONS`. OpenMM's own stays double.

    Returns
    -------
    PlatformChoice
        With the reason in words.

    Raises
    ------
    InputError
        If the platform or the precision is unknown, or no Context can be made in the platform.
    """
    one_of("precision", precision, PRECISIONS)
    trunk = {
        "double": "the network in double",
        "mixed": "the network's trunk in fp32 (mixed)",
        "fp32": "the network in fp32, geometry too",
    }[precision]
    if name is not None and name.lower() != "auto":
        matches = [p for p in available_platforms() if p.lower() == name.lower()]
        if not matches:
            failures = [f for f in openmm.Platform.getPluginLoadFailures() if f"OpenMM{name}.".lower() in f.lower()]
            why = f" ({failures[0].split(': ', 1)[-1]})" if failures else ""
            raise InputError(
                f"platform {name} is not available here{why}; choose from {', '.join(available_platforms())}"
            )
        choice = _with_double(matches[0], f"{matches[0]} platform, as asked for, {trunk}")
        problem = _problem(choice)
        if problem:
            raise InputError(f"no context can be made on platform {matches[0]}: {problem}")
        return choice
    why_not = "OpenMM has no CUDA platform here"
    if "CUDA" in available_platforms():
        choice = _with_double("CUDA", f"CUDA platform in double precision: a context can be made there; {trunk}")
        problem = _problem(choice)
        if not problem:
            return choice
        why_not = f"no CUDA context can be made ({problem})"
    return _with_double("Reference", f"Reference platform (double precision): {why_not}; {trunk}")


def _with_double(name: str, reason: str) -> PlatformChoice:
    platform = openmm.Platform.getPlatformByName(name)
    return PlatformChoice(platform, in_double(platform), reason)


def in_double(platform: Any) -> dict[str, str]:
    """Properties that make a Context of a platform compute in double precision; none where there is no choice."""
    return {"Precision": "double"} if "Precision" in platform.getPropertyNames() else {}


def _problem(choice: PlatformChoice) -> str:
    """Why no Context can be made; empty if one can."""
    if choice.name == "CUDA" and not torch.cuda.is_available():
        return "torch sees no CUDA device"
    system = openmm.System()
    system.addParticle(1.0)
    try:
        # A platform that is listed may still lack its driver or a device with double precision.
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), choice.platform, choice.properties)
        context.setPositions([openmm.Vec3(0, 0, 0)])
        context.getState(positions=True)
    except Exception as error:
        return " ".join(str(error).split())
    return ""
