"""A force call as one CUDA graph: the launches of thousands of small kernels become one.

A call of a small molecule costs the GPU less than it costs the host to launch its kernels. A graph records them once,
with the addresses of their tensors, and replays them: so positions are copied to where the recorded call read them,
and energy and forces lie where it wrote them.
"""

import warnings
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

WARM_UP: Final = 3
"""Calls before the capture: in the first, libraries make handles and workspaces, and TorchScript its plan."""
MOST_PAIRS: Final = 30_000
"""Structures times atoms squared up to which a graph is the default. Beyond, kernels outlast their launches, while a
graph keeps the memory of a whole call for itself. An estimate that no GPU has confirmed."""

ForceCall = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions (n, 3) in nm to energy in kJ/mol and forces (n, 3) in kJ/mol/nm."""


def launch_bound(n_structures: int, n_atoms: int) -> bool:
    """Whether a call of so many structures (orientations) of so many atoms is worth a graph by default."""
    return n_structures * n_atoms**2 <= MOST_PAIRS


class CapturedCall:
    """One call of a module, recorded at a structure and replayed for any other of the same shape.

    Random numbers: torch registers its default generator of the device with every graph, so that a replay draws the
    numbers that a plain call would have drawn in its place, and ``torch.manual_seed`` is heeded.

    Parameters
    ----------
    call
        Of tensors on a CUDA device, without host synchronisation.
    positions
        (n, 3) in nm on that device.

    Raises
    ------
    RuntimeError
        If the call cannot be captured. Streams and random numbers are then as they were before.
    """

    def __init__(self, call: ForceCall, positions: Tensor) -> None:
        self._positions = positions.clone()
        self._graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[positions.device.index or 0]
        numbers, spare = generator.get_state(), generator.clone_state()
        with torch.cuda.device(positions.device):
            side, outer = torch.cuda.Stream(), torch.cuda.current_stream()
            try:
                side.wait_stream(outer)
                with torch.cuda.stream(side):
                    for _ in range(WARM_UP):
                        call(self._positions)
                outer.wait_stream(side)
                # thread_local: what OpenMM does on another thread meanwhile is none of the capture's business
                with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                    self._energy, self._forces = call(self._positions)
            except RuntimeError:
                torch.cuda.set_stream(outer)  # a capture that fails at its end leaves its stream current
                generator.graphsafe_set_state(spare)  # and its generator waiting for that end
                raise
            finally:
                generator.set_state(numbers)

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and forces, in tensors that the next call writes over; positions may be on the host."""
        self._positions.copy_(positions)
        self._graph.replay()
        return self._energy, self._forces


class GraphedCall:
    """A call that is captured at its first positions; where that fails, it runs as it is, after one warning.

    Parameters
    ----------
    call
        A module on a device.
    device
        Where it computes.
    capture
        Makes the captured call.
    """

    def __init__(
        self, call: ForceCall, device: torch.device, capture: Callable[[ForceCall, Tensor], ForceCall] = CapturedCall
    ) -> None:
        self._plain, self._device, self._capture = call, device, capture
        self._chosen: ForceCall | None = None

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and forces, which hold until the next call; positions may be on the host."""
        if self._chosen is None:
            self._chosen = self._captured(positions.to(self._device))
        return self._chosen(positions)

    def _captured(self, positions: Tensor) -> ForceCall:
        try:
            return self._capture(self._plain, positions)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"the force runs without a CUDA graph, more slowly: {reason}", stacklevel=2)
            return self._uncaptured

    def _uncaptured(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self._plain(positions.to(self._device))


def wants_graph(asked: bool | None, module: Any, n_atoms: int, device: str) -> bool:
    """Whether a module's calls are to be captured.

    Parameters
    ----------
    asked
        True or False; None: where launches dominate. There is nothing to capture on a CPU.
    module
        From `bind`; of any other module one structure per call is assumed.
    n_atoms
        Of all molecules in the module together.
    device
        Where the module computes.
    """
    if torch.device(device).type != "cuda":
        return False
    if asked is not None:
        return asked
    rotations = getattr(module, "rotations", None)
    replicas = int(getattr(module, "replicas", 1))
    return launch_bound(replicas * (1 if rotations is None else len(rotations)), n_atoms // replicas)
