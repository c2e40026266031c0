"""The derivative of the compiled attention against PyTorch's own of the formula."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mdet_openmm.export import compiled_attention as operator
from mdet_openmm.export.attention_gradient import attention_gradient
from mdet_openmm.export.compiled_attention import compile_attention, derivative_problem
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.attention import TriangularAttention, attention_of_projections
from mdet_openmm.network.attention_operator import FusedAttention
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer


def drawn(f: int, n: int, heads: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Projections and a derivative by the outputs."""
    generator = torch.Generator().manual_seed(seed)
    qkvv, grad = (torch.randn(f, n, n, k * heads * d, dtype=torch.float64, generator=generator) for k in (4, 1))
    return qkvv, grad


def by_autograd(qkvv: torch.Tensor, grad: torch.Tensor, heads: int) -> torch.Tensor:
    x = qkvv.clone().requires_grad_(True)
    return torch.autograd.grad(attention_of_projections(x, heads, None), x, grad)[0]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 16, 17, 27])
@pytest.mark.parametrize(("heads", "d"), [(1, 1), (2, 4), (3, 6), (4, 8), (2, 19)])
def test_it_is_the_derivative_of_the_formula(n: int, heads: int, d: int) -> None:
    qkvv, grad = drawn(2, n, heads, d, n)
    expected = by_autograd(qkvv, grad, heads)
    assert (attention_gradient(qkvv, grad, heads) - expected).abs().max() < 1e-13 * expected.abs().max()
    single = attention_gradient(qkvv.float(), grad.float(), heads)
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_large_scores_neither_overflow_nor_lose_a_path(dtype: torch.dtype) -> None:
    qkvv, grad = drawn(1, 9, 2, 8)
    qkvv[..., :16] *= 40.0  # scores of tens to hundreds: one path gets nearly all the weight
    qkvv, grad = qkvv.to(dtype), grad.to(dtype)
    expected = by_autograd(qkvv.double(), grad.double(), 2)
    got = attention_gradient(qkvv, grad, 2)
    assert (got - expected).abs().max() < (1e-12 if dtype == torch.float64 else 1e-3) * expected.abs().max()


@pytest.mark.parametrize("which", [0, 1])
def test_not_a_number_is_not_hidden(which: int) -> None:
    given = drawn(1, 5, 2, 4)
    given[which][0, 1, 2, 3] = float("nan")
    assert torch.isnan(attention_gradient(*given, 2)).any()


def test_threads_and_layout_change_no_bit() -> None:
    qkvv, grad = drawn(2, 24, 4, 8)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            results.append(attention_gradient(qkvv, grad, 4))
            strewn, strewn_grad = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (qkvv, grad))
            results.append(attention_gradient(strewn, strewn_grad, 4))
        for other in results[1:]:
            assert torch.equal(other, results[0])
    finally:
        torch.set_num_threads(before)


def test_a_second_derivative_is_refused() -> None:
    assert derivative_problem() == ""
    x = drawn(1, 3, 2, 4)[0].requires_grad_(True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        torch.autograd.grad(torch.ops.mdet_openmm.triangular_attention(x, 2).sum(), x, create_graph=True)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, energy_head=True))
    with torch.no_grad():
        for p in network.parameters():  # nothing at its initial value
            p.add_(0.1 * torch.randn_like(p))
    return Model("t", Path("t"), network.eval(), (1, 6, 8), True, "0" * 64)


@pytest.mark.parametrize("forces", ["conservative", "difference"])
@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-12), ("mixed", 1e-5)])
def test_a_bound_force_is_differentiated_through_the_kernel(
    model: Model, forces: str, precision: str, tolerance: float
) -> None:
    options: dict[str, Any] = {"precision": precision, "orientations": 12, "forces": forces, "offset": "none"}
    species, x = Species([6, 8, 1, 1, 1, 1]), 0.1 * torch.randn(6, 3, dtype=torch.float64)
    fast, slow = (bind(model, species, ForceOptions(**options, compiled=compiled)) for compiled in (True, False))
    exact = bind(model, species, ForceOptions(**{**options, "precision": "double"}, compiled=False))
    written = [str(torch.jit.freeze(module).graph) for module in (fast, slow)]
    assert "mdet_openmm::triangular_attention" in written[0] and "mdet_openmm::" not in written[1]
    assert ("mdet_openmm::linear" in written[0]) == (precision == "mixed")
    expected = exact(x)[1]
    assert (fast(x)[1] - expected).abs().max() < tolerance * expected.abs().max()


def test_without_numba_the_formula_is_differentiated_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(qkvv: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.zeros_like(qkvv)

    assert derivative_problem() == ""
    monkeypatch.setattr("mdet_openmm.export.attention_gradient.attention_gradient", wrong)
    monkeypatch.setattr(operator, "derivative_problem", operator.derivative_problem.__wrapped__)  # type: ignore[attr-defined]
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level("WARNING", logger="mdet_openmm"):
        assert not compile_attention(network, differentiable=True)
    assert isinstance(network.layers[0].attention, TriangularAttention)
    assert "gradient of an energy runs without its compiled kernel" in caplog.text and "result is wrong" in caplog.text
    assert compile_attention(network) and isinstance(network.layers[0].attention, FusedAttention)
