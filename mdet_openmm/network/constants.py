"""Fixed numbers of the geometry, which stay fp64 whatever dtype the weights have."""

from torch import Tensor, nn


class GeometryConstants(nn.Module):
    """A module with fp64 constants that survive a cast of the weights.

    ``module.float()`` casts buffers with the parameters; for the geometry that would round what must be exact, so
    `restore_constants` puts the fp64 values back (see `EdgeTransformer.to_trunk`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, Tensor] = {}

    def add_constant(self, name: str, value: Tensor) -> None:
        """Register an fp64 buffer that is not part of the state dict."""
        self._exact[name] = value.double()
        self.register_buffer(name, value.double(), persistent=False)

    def set_constant(self, name: str, value: Tensor) -> None:
        """Replace a constant by another value, such as the one stored beside imported weights."""
        self._exact[name] = value.double()
        setattr(self, name, value.double())

    def restore_constants(self) -> None:
        """Undo any cast of the constants."""
        for name, value in self._exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
