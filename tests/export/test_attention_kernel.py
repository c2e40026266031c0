"""The compiled attention against the plain formula."""

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdet_openmm.export import compiled_attention as operator
from mdet_openmm.export.attention_kernel import compiled_attention
from mdet_openmm.export.compiled_attention import compile_attention, kernel_problem
from mdet_openmm.network.attention import TriangularAttention
from mdet_openmm.network.attention_operator import FusedAttention
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer


def plain(qkvv: torch.Tensor, heads: int) -> torch.Tensor:
    """s_ilj = Q_il . K_lj / sqrt(d), a = softmax over l, o_ij = sum_l a_ilj V1_il V2_lj, as it reads."""
    f, n = qkvv.shape[:2]
    q, k, v1, v2 = qkvv.view(f, n, n, 4, heads, -1).unbind(3)
    scores = torch.einsum("bilhd,bljhd->biljh", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("biljh,bilhd,bljhd->bijhd", scores.softmax(dim=2), v1, v2).reshape(f, n, n, -1)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 16, 17, 27])
@pytest.mark.parametrize(("heads", "d"), [(1, 1), (2, 4), (3, 6), (4, 8), (2, 19)])
def test_it_is_the_formula(n: int, heads: int, d: int) -> None:
    given = torch.randn(2, n, n, 4 * heads * d, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    expected = plain(given, heads)
    assert (compiled_attention(given, heads) - expected).abs().max() < 1e-13 * expected.abs().max()
    single = compiled_attention(given.float(), heads)
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_large_scores_neither_overflow_nor_lose_a_path(dtype: torch.dtype) -> None:
    given = torch.randn(1, 9, 9, 4 * 16, dtype=dtype, generator=torch.Generator().manual_seed(1))
    given[..., :32] *= 40.0  # scores of thousands: one path gets all the weight
    expected = plain(given.double(), 2)
    got = compiled_attention(given, 2)
    assert torch.isfinite(got).all()
    assert (got - expected).abs().max() < (1e-12 if dtype == torch.float64 else 1e-3) * expected.abs().max()


def test_not_a_number_is_not_hidden() -> None:
    given = torch.randn(1, 5, 5, 32, dtype=torch.float64)
    given[0, 1, 2, 3] = float("nan")
    assert torch.isnan(compiled_attention(given, 2)).any()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names another processor of this kind")
def test_on_a_processor_with_shorter_vectors(tmp_path: Path) -> None:
    older = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2"}
    code = (
        "import torch; from mdet_openmm.export.vector_code import lanes; assert lanes(4) == 8\n"
        "from mdet_openmm.export.compiled_attention import derivative_problem; assert not derivative_problem()\n"
        "from mdet_openmm.network.attention import attention_of_projections as plain\n"
        "from mdet_openmm.export.attention_kernel import compiled_attention\n"
        "given = torch.randn(1, 11, 11, 96, dtype=torch.float64)\n"
        "assert (compiled_attention(given, 2) - plain(given, 2, None)).abs().max() < 1e-12\n"
    )
    environment = {**os.environ, **older, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_and_layout_change_no_bit() -> None:
    given = torch.randn(2, 24, 24, 4 * 32, dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            results.append(compiled_attention(given, 4))
            results.append(compiled_attention(given.transpose(1, 2).contiguous().transpose(1, 2), 4))
        for other in results[1:]:
            assert torch.equal(other, results[0])
    finally:
        torch.set_num_threads(before)


def test_every_call_is_on_its_own_data() -> None:
    one, other = (torch.randn(1, n, n, 32, dtype=torch.float64) for n in (9, 5))
    first = compiled_attention(one, 2).clone()
    compiled_attention(other, 2)
    assert torch.equal(compiled_attention(one, 2), first)


def test_the_operator_in_a_scripted_network() -> None:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8)).double().eval()
    z, x = torch.randint(1, 9, (2, 7)), torch.randn(2, 7, 3, dtype=torch.float64)
    charge, multiplicity = torch.tensor([0, 1]), torch.tensor([1, 2])
    with torch.no_grad():
        expected = network(z, x, charge, multiplicity)[1]
        padded = network(z, x, charge, multiplicity, torch.arange(7).expand(2, 7) < 5)[1]
        assert compile_attention(network)
        assert all(isinstance(layer.attention, FusedAttention) for layer in network.layers)
        for module in (network, torch.jit.freeze(torch.jit.script(network))):
            assert (module(z, x, charge, multiplicity)[1] - expected).abs().max() < 1e-12 * expected.abs().max()
        masked = network(z, x, charge, multiplicity, torch.arange(7).expand(2, 7) < 5)[1]
        assert (masked - padded).abs().max() < 1e-12 * padded.abs().max()


def test_without_numba_the_formula_runs_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise ImportError("no numba")

    assert kernel_problem() == ""
    monkeypatch.setattr("mdet_openmm.export.attention_kernel.compiled_attention", broken)
    uncached: Any = operator.kernel_problem
    monkeypatch.setattr(operator, "kernel_problem", uncached.__wrapped__)
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level("WARNING", logger="mdet_openmm"):
        assert not compile_attention(network)
    assert isinstance(network.layers[0].attention, TriangularAttention)
    assert "without its compiled kernel" in caplog.text and "no numba" in caplog.text


def test_the_textbook_sum_by_hand() -> None:
    """Two atoms and one head of width one, written out."""
    q, k, v1, v2 = (
        np.array(values).reshape(2, 2) for values in ([1, 2, 3, 4], [2, 1, 0, 1], [1, 3, 2, 5], [4, 1, 2, 3])
    )
    given = torch.tensor(np.stack([q, k, v1, v2], axis=-1)[None], dtype=torch.float64)
    got = compiled_attention(given, 1)[0, :, :, 0].numpy()
    for i, j in itertools.product(range(2), range(2)):
        weights = np.exp([q[i, l] * k[l, j] for l in range(2)])  # noqa: E741
        weights /= weights.sum()
        assert got[i, j] == pytest.approx(sum(weights[l] * v1[i, l] * v2[l, j] for l in range(2)), rel=1e-14)  # noqa: E741
