import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import ForceModule, bind, forces
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.module_file import export
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.units import BOHR_PER_NM, KJ_PER_MOL_PER_HARTREE, KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

ETHANOL = [8, 6, 6, 1, 1, 1, 1, 1, 1]


# --- analytic networks whose anisotropic error is known ---


class Springs(nn.Module):
    """Equivariant: a harmonic spring between each pair of atoms, rest length 2 bohr."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        v = positions.unsqueeze(1) - positions.unsqueeze(2)
        d2 = (v * v).sum(-1)
        d = (d2 + torch.eye(positions.shape[1], dtype=d2.dtype)).sqrt()
        stretch = (d - 2.0) * (1.0 - torch.eye(positions.shape[1], dtype=d2.dtype))
        return 0.25 * (stretch * stretch).sum(dim=(1, 2)), ((stretch / d).unsqueeze(-1) * v).sum(dim=2)


class RadialError(nn.Module):
    """Springs plus u_i P_l(u_i . z) with u_i the direction of atom i from the origin: an error of pure degree l.

    Turned back into the frame of the molecule, it is a radial vector times a spherical harmonic of degree l of the
    orientation, and so exactly what a rotation group without an invariant of degree l averages to zero.
    """

    axis: Tensor

    def __init__(self, degree: int, axis: Tensor, size: float = 1.0) -> None:
        super().__init__()
        self.springs = Springs()
        self.register_buffer("axis", axis / axis.norm())
        self.degree = degree
        self.size = size

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = self.springs(positions)
        u = positions / (positions * positions).sum(-1, keepdim=True).sqrt()
        x = (u * self.axis).sum(-1, keepdim=True)
        previous, legendre = torch.ones_like(x), x
        for k in range(1, self.degree):  # Bonnet's recursion
            previous, legendre = legendre, ((2 * k + 1) * x * legendre - k * previous) / (k + 1)
        return energy + self.size * legendre.sum(dim=(1, 2)), forces + self.size * legendre * u


class LabVector(nn.Module):
    """Springs plus a constant force and a force z (u_i . z) of the laboratory frame, depending on the atom."""

    axis: Tensor

    def __init__(self, axis: Tensor) -> None:
        super().__init__()
        self.springs = Springs()
        self.register_buffer("axis", axis / axis.norm())

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = self.springs(positions)
        weights = torch.arange(positions.shape[1], dtype=positions.dtype).reshape(1, -1, 1)
        return energy, forces + weights * self.axis


class FromOrigin(nn.Module):
    """Neither rotation nor translation invariant: cubic in the coordinates of each atom."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        x, y, z = positions.unbind(-1)
        return z.sum(dim=1), torch.stack([0.1 * z * z * z, x * y, x * x * z], dim=-1)


def positions_nm(n: int = 7, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, dtype=torch.float64, generator=generator) * 0.2 + 0.7


def axis(seed: int = 4) -> torch.Tensor:
    return torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scripted(network: torch.nn.Module, **options) -> torch.jit.ScriptModule:
    return torch.jit.script(ForceModule(network, **options).eval())


def true_force(x: torch.Tensor) -> torch.Tensor:
    r = (x - x.mean(0)) * BOHR_PER_NM
    return Springs()(r[None])[1][0] * KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE


def error(module: torch.jit.ScriptModule, x: torch.Tensor) -> float:
    """Largest deviation from the true force, in units of the error's size (1 Ha/bohr)."""
    return float((module(x)[1] - true_force(x)).abs().max()) / KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(2)
    config = NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, energy_head=True)
    network = EdgeTransformer(config).eval()
    return Model(
        path=Path("tiny"), network=network, elements=(1, 6, 7, 8), has_energy=True, name="tiny", sha256="0" * 64
    )


# --- which orders of an anisotropic error a group of orientations cancels -------------------------------------------


@pytest.mark.parametrize(
    ("orientations", "cancelled", "first_kept"),
    [(12, (1, 2, 5), (3, 4, 6)), (24, (1, 2, 3, 5, 7, 11), (4, 6, 8)), (60, (1, 2, 3, 4, 5, 7, 8, 9, 11), (6, 10))],
)
def test_groups_cancel_exactly_the_orders_that_they_should(orientations, cancelled, first_kept):
    x = positions_nm()
    for degree in cancelled:
        assert error(scripted(RadialError(degree, axis()), orientations=orientations), x) < 1e-13
        assert error(scripted(RadialError(degree, axis()), orientations=1), x) > 0.1
    for degree in first_kept:
        assert error(scripted(RadialError(degree, axis()), orientations=orientations), x) > 1e-3


def test_a_constant_vector_of_the_laboratory_is_of_first_order_and_cancelled_by_every_group():
    x = positions_nm()
    assert error(scripted(LabVector(axis()), orientations=1), x) > 0.1
    for orientations in (12, 24, 60):
        assert error(scripted(LabVector(axis()), orientations=orientations), x) < 1e-13


def test_what_survives_is_the_mean_over_the_group():
    # Degree 6 under I, against the sum over the group written out independently.
    x, z = positions_nm(), axis()
    network = RadialError(6, z)
    r = (x - x.mean(0)) * BOHR_PER_NM
    mean = torch.zeros_like(r)
    for turn in rotation_group(60):
        mean += network((r @ turn)[None])[1][0] @ turn.T / 60
    expected = remove_net_force_and_torque(r[None], mean[None])[0] * KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
    result = scripted(network, orientations=60)(x)[1]
    assert (result - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("offset", ["none", "random", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12, 24, 60])
def test_an_equivariant_network_is_left_as_it_is(orientations, offset):
    x = positions_nm()
    energy, force = scripted(Springs(), orientations=orientations, offset=offset, has_energy=True)(x)
    assert error(scripted(Springs(), orientations=orientations, offset=offset), x) < 1e-13
    expected = float(Springs()(((x - x.mean(0)) * BOHR_PER_NM)[None])[0][0]) * KJ_PER_MOL_PER_HARTREE
    assert abs(float(energy) - expected) < 1e-12 * abs(expected)
    assert force.shape == (7, 3)


# --- offsets ---------------------------------------------------------------------------------------------------


def test_random_offsets_average_to_zero_as_one_over_the_root_of_n():
    x = positions_nm()
    module = scripted(RadialError(3, axis()), offset="random")
    torch.manual_seed(0)
    samples = torch.stack([module(x)[1] - true_force(x) for _ in range(4096)]) / KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
    sigma = float(samples.std(dim=0).square().mean().sqrt())
    assert sigma > 0.1
    for n in (16, 64, 256, 1024):
        blocks = samples.reshape(4096 // n, n, -1).mean(dim=1)
        ratio = float(blocks.square().mean().sqrt()) / (sigma / math.sqrt(n))
        assert abs(ratio - 1) < 5 / math.sqrt(2 * 3 * 4096 / n)  # at least three independent components per block


def test_hashed_offsets_average_to_zero_over_seeds_and_follow_positions_and_seed():
    x = positions_nm()
    network = RadialError(3, axis())
    modules = [scripted(network, offset="hashed", seed=s) for s in range(60)]
    samples = torch.stack([m(x)[1] - true_force(x) for m in modules]) / KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
    sigma = float(samples.std(dim=0).square().mean().sqrt())
    assert float(samples.mean(dim=0).square().mean().sqrt()) < 3 * sigma / math.sqrt(60)
    again = scripted(network, offset="hashed", seed=5)
    for _ in range(4):
        torch.randn(3)  # another state of the generator changes nothing
        assert torch.equal(again(x.clone())[1], modules[5](x)[1])
    assert (again(x + 1e-9)[1] - again(x)[1]).abs().max() > 1.0  # kJ/mol/nm: another rotation, another error


def test_random_offset_is_seeded_by_torch_and_fresh_at_each_call():
    x = positions_nm()
    module = scripted(RadialError(3, axis()), offset="random")
    torch.manual_seed(3)
    first, second = module(x)[1], module(x)[1]
    torch.manual_seed(3)
    assert torch.equal(module(x)[1], first)
    assert not torch.equal(first, second)


def test_frames_lower_the_equivariance_error_of_a_real_network(model):
    x = positions_nm(9) - 0.7
    turns = torch.linalg.qr(torch.randn(12, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turns = turns * torch.linalg.det(turns).reshape(-1, 1, 1)
    spread = {}
    for orientations in (1, 12, 60):
        module = bind(model, Species(ETHANOL), ForceOptions(orientations=orientations, offset="none"))
        back = torch.stack([module(x @ t)[1] @ t.T for t in turns])
        spread[orientations] = float((back - back.mean(0)).norm(dim=-1).mean())  # E_eq of spec/definitions.md
    assert spread[12] < 0.5 * spread[1]
    assert spread[60] < 0.5 * spread[12]


# --- what OpenMM relies on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", ["none", "random", "hashed"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dtype_layout_and_no_graph(model, offset, dtype):
    module = bind(model, Species(ETHANOL), ForceOptions(orientations=12, offset=offset))
    x = positions_nm(9).to(dtype).requires_grad_(True)
    for _ in range(3):
        energy, force = module(x)
        assert energy.dtype == force.dtype == dtype
        assert energy.dim() == 0
        assert force.shape == (9, 3)
        assert force.is_contiguous()
        assert not energy.requires_grad and not force.requires_grad
    assert module(positions_nm(9).t().contiguous().t())[1].is_contiguous()


def test_every_call_gives_the_same_bits_frozen_or_not(model):
    # A restarted run makes its first calls where an unbroken one makes its later, optimised ones.
    x = positions_nm(9)
    for precision in ("double", "mixed", "fp32"):
        module = bind(model, Species(ETHANOL), ForceOptions(orientations=12, offset="hashed", precision=precision))
        first = module(x)[1]
        frozen = torch.jit.freeze(copy.deepcopy(module))
        for _ in range(4):
            assert torch.equal(module(x)[1], first)
            assert torch.equal(frozen(x)[1], first)


def test_one_frame_without_offset_is_the_bare_network(model):
    x = positions_nm(9)
    network = EdgeTransformer(model.network.config).eval()
    network.load_state_dict(model.network.state_dict())
    network.to(torch.float64)
    r = ((x - x.mean(0)) * BOHR_PER_NM)[None]
    with torch.no_grad():
        energy, raw = network(torch.tensor([ETHANOL]), r, torch.tensor([0]), torch.tensor([1]))
    expected = remove_net_force_and_torque(r, raw)[0] * KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
    ours = bind(model, Species(ETHANOL), ForceOptions(offset="none"))(x)
    assert (ours[1] - expected).abs().max() < 1e-12 * expected.abs().max()
    assert abs(float(ours[0]) / (float(energy) * KJ_PER_MOL_PER_HARTREE) - 1) < 1e-12


def test_mixed_is_near_double_and_charge_and_multiplicity_count(model):
    x = positions_nm(9)
    double = bind(model, Species(ETHANOL), ForceOptions(offset="none"))(x)[1]
    mixed = bind(model, Species(ETHANOL), ForceOptions(precision="mixed", offset="none"))(x)[1]
    assert 0 < (mixed - double).abs().max() < 1e-4 * double.abs().max()
    for charge, multiplicity in ((1, 2), (-1, 2), (0, 3)):
        other = bind(model, Species(ETHANOL, charge, multiplicity), ForceOptions(offset="none"))(x)[1]
        assert (other - double).abs().max() > 1e-4 * double.abs().max()
    assert model.network.composer.weight.dtype == torch.float32  # the model itself is not changed


def test_fp32_is_the_whole_model_in_single(model):
    x = positions_nm(9)
    r = ((x - x.mean(0)) * BOHR_PER_NM)[None].to(torch.float32)
    with torch.no_grad():
        energy, raw = model.network(torch.tensor([ETHANOL]), r, torch.tensor([0]), torch.tensor([1]))
    expected = remove_net_force_and_torque(r.double(), raw.double())[0] * KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
    ours = bind(model, Species(ETHANOL), ForceOptions(precision="fp32", compiled=False, offset="none"))(x)
    assert (ours[1] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert float(ours[0]) == pytest.approx(float(energy) * KJ_PER_MOL_PER_HARTREE, rel=1e-5)
    assert ours[1].dtype == torch.float64


@pytest.mark.parametrize("compiled", [True, False])
def test_fp32_rounds_the_geometry_which_mixed_does_not(compiled):
    # The published directions turn a rounded angle into phases that are off by 1e-3.
    torch.manual_seed(2)
    network = EdgeTransformer(NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, directions="fourier"))
    published = Model(
        path=Path("fourier"), network=network.eval(), elements=(1, 6, 8), has_energy=False, name="f", sha256="0" * 64
    )
    x = positions_nm(9)
    exact = bind(published, Species(ETHANOL), ForceOptions(compiled=compiled, offset="none"))(x)[1]
    error = {
        p: float(
            (
                bind(published, Species(ETHANOL), ForceOptions(precision=p, compiled=compiled, offset="none"))(x)[1]
                - exact
            ).norm()
            / exact.norm()
        )
        for p in ("mixed", "fp32")
    }
    assert 0 < error["mixed"] < 2e-5
    assert 20 * error["mixed"] < error["fp32"] < 0.1


def test_fp32_works_with_frames_offsets_and_gradients(model):
    x = positions_nm(9)
    for options in (ForceOptions(orientations=12, offset="hashed"), ForceOptions(forces="conservative")):
        double = bind(model, Species(ETHANOL), options)(x)[1]
        single = bind(model, Species(ETHANOL), replace(options, precision="fp32"))(x)[1]
        assert 0 < (single - double).abs().max() < 1e-3 * double.abs().max()
        assert single.sum(0).abs().max() < 1e-12 * single.abs().max()


def test_translations_change_nothing():
    x = positions_nm()
    for network in (FromOrigin(), RadialError(3, axis())):
        module = scripted(network, orientations=12)
        reference = module(x)[1]
        shifted = module(x + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))[1]
        # 1e-12 of the force; x is rounded to 2e-16 nm there
        assert (shifted - reference).abs().max() < 1e-12 * reference.abs().max()


@pytest.mark.parametrize("offset", ["none", "random", "hashed"])
def test_net_force_and_torque_are_zero(offset):
    x = positions_nm()
    force = scripted(FromOrigin(), orientations=12, offset=offset)(x)[1]
    assert force.abs().max() > 100
    assert force.sum(0).abs().max() < 1e-12 * force.abs().max()
    assert torch.linalg.cross(x, force).sum(0).abs().max() < 1e-12 * force.abs().max()


@pytest.mark.parametrize("offset", ["none", "random", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12])
def test_one_two_and_three_atoms_in_a_line(model, orientations, offset):
    assert torch.equal(
        bind(model, Species([1], 0, 2), ForceOptions(orientations=orientations, offset=offset))(
            torch.ones(1, 3, dtype=torch.float64)
        )[1],
        torch.zeros(1, 3, dtype=torch.float64),
    )
    along = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64) / 3
    for numbers in ([1, 1], [8, 6, 8]):
        x = torch.arange(len(numbers), dtype=torch.float64)[:, None] * 0.116 * along
        force = bind(model, Species(numbers), ForceOptions(orientations=orientations, offset=offset))(x)[1]
        assert torch.isfinite(force).all() and force.abs().max() > 0
        assert force.sum(0).abs().max() < 1e-12 * force.abs().max()
        assert torch.linalg.cross(x, force).sum(0).abs().max() < 1e-12 * force.abs().max()


def test_nan_is_not_hidden(model):
    x = positions_nm(9)
    x[3, 1] = float("nan")
    for offset in ("none", "random", "hashed"):
        assert torch.isnan(bind(model, Species(ETHANOL), ForceOptions(orientations=12, offset=offset))(x)[1]).any()


# --- binding, ASE units, export -----------------------------------------------------------------------------------


def test_forces_in_ase_units(model):
    x = positions_nm(9)
    module = bind(model, Species(ETHANOL), ForceOptions(offset="none"))
    energy, per_angstrom = forces(module, (x * 10).numpy())
    assert energy is not None and abs(energy * 96.48533212 / float(module(x)[0]) - 1) < 1e-8
    assert np.abs(per_angstrom * 964.8533212 - module(x)[1].numpy()).max() < 1e-7 * np.abs(per_angstrom).max() * 965
    without = replace(model, has_energy=False)
    module = bind(without, Species(ETHANOL), ForceOptions(offset="none"))
    assert forces(module, (x * 10).numpy())[0] is None
    assert float(module(x)[0]) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "single"}, "precision must be one of double, mixed"),
        ({"orientations": 7}, "orientations must be one of 1, 12, 24, 60"),
        ({"offset": "sometimes"}, "offset must be one of none, random, hashed"),
        ({"seed": 2**64}, "seed must be"),
    ],
)
def test_bad_options_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        ForceOptions(**change)


def test_molecules_that_cannot_be_bound_are_refused(model):
    with pytest.raises(InputError, match="not trained on"):
        bind(model, Species([1, 17]))
    for nothing in ([], [[1, 8]], [1.0, 8.0]):
        with pytest.raises(InputError, match="one whole number per atom"):
            Species(nothing)


def test_names_that_there_are_not_are_refused():
    with pytest.raises(InputError, match="offset must be one of none, random, hashed, not 'hash'"):
        ForceModule(Springs(), offset="hash")
    with pytest.raises(InputError, match="forces must be one of direct, conservative, difference, not 'energy'"):
        ForceOptions(forces="energy")


def test_export_writes_a_module_that_stands_alone(model, tmp_path):
    x = positions_nm(9)
    molecule = Molecule(np.array(ETHANOL), (x * 10).numpy(), name="ethanol")
    path = export(model, molecule, tmp_path / "ethanol.pt", ForceOptions(orientations=12, seed=3))
    extra = {"metadata.json": ""}
    loaded = torch.jit.load(str(path), _extra_files=extra)
    metadata = json.loads(extra["metadata.json"])
    assert metadata["atomic_numbers"] == ETHANOL
    assert (metadata["frames"], metadata["offset"], metadata["seed"]) == (12, "hashed", 3)
    bound = bind(model, Species(ETHANOL), ForceOptions(orientations=12, offset="hashed", seed=3, compiled=False))
    assert torch.equal(loaded(x)[1], bound(x)[1])
    with pytest.raises(InputError, match="exists"):
        export(model, molecule, path)
    with pytest.raises(InputError, match="does not exist"):
        export(model, molecule, tmp_path / "missing" / "x.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["ethanol.pt"]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-12), ("mixed", 1e-5), ("fp32", 1e-4)])
def test_the_fast_paths_give_the_forces_of_the_plain_ones(model, n, precision, tolerance):
    x = positions_nm(9)[:n]
    fast, plain = (
        bind(
            model,
            Species(ETHANOL[:n]),
            ForceOptions(precision=precision, orientations=12, offset="hashed", raw=True, compiled=compiled),
        )(x)
        for compiled in (True, False)
    )
    # the orientations of one atom alone average to nothing but rounding
    assert (fast[1] - plain[1]).abs().max() <= tolerance * plain[1].abs().max() + 1e-9
    assert float(fast[0]) == pytest.approx(float(plain[0]), rel=tolerance)
