"""Fixed numbers of the geometry, which stay fp64 whatever dtype the weights have."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class GeometryConstants(nn.Module):
    """A module with fp64 constants that survive a cast of the weights.

    ``module.float()`` casts buffers with the parameters; for the geometry that would round what must be exact. The
    constants follow their module to another device, and change in nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: set[str] = set()

    def add_constant(self, name: str, value: Tensor, persistent: bool = False) -> None:
        """Register an fp64 buffer, as part of the state dict if it is ``persistent``."""
        self._exact.add(name)
        self.register_buffer(name, value.double(), persistent=persistent)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        exact = {name: getattr(self, name) for name in self._exact}
        super()._apply(fn, recurse)
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self
