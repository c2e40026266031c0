"""The error measures on forces whose answers are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdet_openmm.data.layout import MoleculeRow
from mdet_openmm.data.store import Store
from mdet_openmm.measure.definitions import antisymmetric_ratio, equivariance_error
from mdet_openmm.measure.field import uniform_rotations
from mdet_openmm.measure.turned import rotated
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.antisymmetry import SMALL, force_jacobian, lambdas
from mdet_openmm.training.batches import Batch
from mdet_openmm.training.card import LONGEST, WORST, group_table, metrics_table
from mdet_openmm.training.evaluate import evaluate


class Analytic(nn.Module):
    """Forces x A^T: a spring if A is symmetric, a curl if it is antisymmetric."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def node_pairs(self, z: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        return torch.zeros(len(z), 1, 1, 1)

    def pair_types(self, z: Tensor) -> None:
        return None

    def from_pairs(self, pairs: Tensor, x: Tensor, types: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.sum((1, 2)), x @ self.matrix.T

    def forward(self, z: Tensor, x: Tensor, charge: Tensor, multiplicity: Tensor) -> tuple[Tensor, Tensor]:
        return self.from_pairs(x, x)


def batch(n: int = 4, b: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(b, n, 3, dtype=torch.float64, generator=generator)
    ones = torch.ones(b, dtype=torch.long)
    return Batch(
        torch.ones(b, n, dtype=torch.long),
        x,
        torch.zeros_like(x),
        torch.zeros(b),
        ones,
        ones,
        torch.eye(3).expand(b, 3, 3),
        torch.zeros(b, 3, dtype=torch.float64),
    )


SYMMETRIC = torch.tensor([[2.0, 1, 0], [1, 3, 0], [0, 0, 1]], dtype=torch.float64)
CURL = torch.tensor([[0.0, 1, 2], [-1, 0, 3], [-2, -3, 0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [(SYMMETRIC, 0.0), (CURL, 1.0), (SYMMETRIC / SYMMETRIC.norm() + CURL / CURL.norm(), 0.5**0.5)],
    ids=["conservative", "curl", "half and half"],
)
def test_antisymmetric_ratio(matrix: Tensor, expected: float) -> None:
    one = Batch(*(t[:1] for t in batch()))
    jacobian = force_jacobian(Analytic(matrix), one)  # type: ignore[arg-type]
    assert float(antisymmetric_ratio(jacobian)) == pytest.approx(expected, abs=1e-12)


def test_equivariant_forces_have_no_error() -> None:
    rotations = uniform_rotations(2 * 7, torch.Generator().manual_seed(1)).view(7, 2, 3, 3)
    assert (torch.linalg.det(rotations) - 1).abs().max() < 1e-12
    forces = rotated(Analytic(-torch.eye(3, dtype=torch.float64)), batch(), rotations)[1]  # type: ignore[arg-type]
    torch.testing.assert_close(forces[3], -batch().positions)
    assert equivariance_error(forces).max() < 1e-14


def test_equivariance_error_of_a_constant_lab_force() -> None:
    # A constant force c in the laboratory, turned back, is uniform on a sphere of radius |c|: E_eq -> |c|.
    class Constant(Analytic):
        def from_pairs(self, pairs: Tensor, x: Tensor, types: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return x.sum((1, 2)), torch.tensor([0.0, 0.3, 0.4], dtype=torch.float64).expand_as(x)

    rotations = uniform_rotations(2 * 4000, torch.Generator().manual_seed(1)).view(4000, 2, 3, 3)
    error = equivariance_error(rotated(Constant(CURL), batch(), rotations)[1])  # type: ignore[arg-type]
    torch.testing.assert_close(error, torch.full_like(error, 0.5), rtol=0.02, atol=0)


def test_report(small_data: Path) -> None:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-9))
    store = Store(small_data)
    report = evaluate(network, store, ("test", "unseen"), n_rotations=4)
    assert set(report["test"]["by_molecule"]) == {"water", "ammonia"}
    assert set(report["unseen"]["by_molecule"]) == {"methanol"}
    # A network that says zero has the mean absolute force as its error.
    index = store.by_size("test")[3]
    expected = abs(store.load(index).forces).mean() * 1e3
    assert report["test"]["by_molecule"]["water"]["mae_12"] == pytest.approx(expected, rel=1e-3)


def test_large_splits_are_sampled(small_data: Path) -> None:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-9))
    store = Store(small_data)
    report = evaluate(network, store, ("test",), n_rotations=2, most_frames=5, most_jacobians=2)["test"]
    assert report["all"]["frames"] == 5 == sum(row["frames"] for row in report["by_molecule"].values())
    with_lambda = {name for name, row in report["by_molecule"].items() if "lambda" in row}
    assert len(with_lambda) == 1 and len(report["by_molecule"]) == 2
    assert "lambda" in report["all"] and "| – |" in metrics_table(report)
    # zero forces: the error is the force of the frames that were drawn, and of no others
    (name,) = with_lambda
    frames = store.indices("test")[
        store.molecule[store.indices("test")] == [m.name for m in store.molecules].index(name)
    ]
    largest = abs(store.load(frames).forces).mean(axis=(1, 2)).max() * 1e3
    assert report["by_molecule"][name]["mae_12"] <= largest * 1.001


def test_a_card_of_many_molecules_shows_the_worst() -> None:
    row = {"frames": 1, "reference_rms": 1.0, "mae": 1.0, "e_eq_kcal_mol_A": 0.1, "lambda": 0.01}
    molecules = {f"m{i}": {**row, "mae_12": float(i)} for i in range(LONGEST + 7)}
    table = metrics_table({"all": {**row, "mae_12": 3.0}, "by_molecule": molecules})
    best = LONGEST + 7 - WORST
    assert f"| m{LONGEST + 6} |" in table and f"| m{best} |" in table and f"| m{best - 1} |" not in table
    assert f"The {WORST} worst of {LONGEST + 7}" in table


def test_a_smiles_on_a_card_is_no_link() -> None:
    row = {"frames": 1, "reference_rms": 1.0, "mae": 1.0, "mae_12": 1.0, "e_eq_kcal_mol_A": 0.1}
    table = metrics_table({"all": row, "by_molecule": {"C[N+](=O)[O-]": row}})
    assert r"| C[N+]\(=O)[O-] | 1 |" in table and "](" not in table


def test_a_card_of_many_molecules_groups_them() -> None:
    smiles = {"CCO": 9, "CC(=O)[O-]": 7, "ethyl acetate": 14, "C.O": 8, "CCCCCCCCCCCC": 38}
    rows = [
        MoleculeRow(name, "CCOC(C)=O" if name == "ethyl acetate" else name, "", -(name[-1] == "]"), 1, "test", n)
        for name, n in smiles.items()
    ]
    errors = {name: {"mae": 10.0 * (i + 1), "mae_12": 1.0, "e_eq_kcal_mol_A": 0.1} for i, name in enumerate(smiles)}
    table = group_table({"by_molecule": errors}, rows).splitlines()
    found = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:5] for line in table[2:]}
    assert found["**all**"] == ["5", "30.0", "30.0", "46.0"]
    assert found["up to 8 atoms"] == ["2", "30.0", "30.0", "38.0"]  # acetate and the pair
    assert found["37 and more atoms"][:2] == ["1", "50.0"] and found["charge -1"][:2] == ["1", "20.0"]
    assert found["pairs"][:2] == ["1", "40.0"] and found["written down by name"][:2] == ["1", "30.0"]
    assert found["esters"][0] == found["carboxylates"][0] == found["alcohols"][0] == found["hydrocarbons"][0] == "1"


def test_lambda_of_a_larger_molecule_by_probes_is_that_of_its_jacobian() -> None:
    torch.manual_seed(1)
    shape = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, energy_head=True)
    network = EdgeTransformer(shape).double().eval()
    n = SMALL + 4
    z, x = torch.randint(1, 9, (1, n)), 3.0 * torch.randn(1, n, 3, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.int64)
    turn = torch.eye(3, dtype=torch.float64)[None]
    batch = Batch(z, x, torch.zeros_like(x), zero.double(), zero, zero + 1, turn, torch.zeros(1, 3))
    direct, gradient = (force_jacobian(network, batch, gradient=g) for g in (False, True))
    scale = direct.norm() / gradient.norm()
    with torch.no_grad():  # both count in the difference
        assert network.energy_head is not None
        last = network.energy_head.mlp[-1]
        assert isinstance(last, torch.nn.Linear)
        last.weight.mul_(scale)
    gradient = scale * gradient
    exact = [float(antisymmetric_ratio(jacobian)) for jacobian in (direct, gradient - direct)]
    estimates = [lambdas(network, batch, torch.Generator().manual_seed(k), gradient=True) for k in range(16)]
    assert np.mean(estimates, axis=0) == pytest.approx(exact, rel=0.1)
    assert (np.std(estimates, axis=0) < 0.3 * np.array(exact)).all()
    assert lambdas(network, batch, torch.Generator().manual_seed(0), gradient=False) == [estimates[0][0]]
