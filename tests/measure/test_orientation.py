"""E_eq, noise, net force and the 600-cell test on errors whose size is known."""

import math

import pytest
import torch
from fields_with_answers import FORCE, Linear, Rounded, Springs, WithError, field_of, octahedron_nm, positions_nm

from mdet_openmm.measure.field import Field, uniform_rotations
from mdet_openmm.measure.orientation import (
    averaged_over_group,
    net_force_and_torque,
    noise_by_orientations,
    orientation_noise,
    symmetry_test,
)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_e_eq_of_a_constant_vector_is_its_length() -> None:
    # Turned back it is a vector of that length in all directions, whose mean is zero.
    x, field = positions_nm(), field_of(WithError(0.01))
    noise = orientation_noise(field, x, field.turned_back(x, uniform_rotations(4000, generator())))
    assert noise.e_eq_raw == pytest.approx(0.01 * FORCE, rel=2e-3)
    # The same on every atom it is a net force, and a run takes it out.
    assert noise.e_eq < 1e-9 * FORCE


def test_e_eq_and_variance_of_a_quadrupole() -> None:
    # E|P_2(t)| over a uniform t is 2/(3 sqrt 3), E P_2² is 1/5; even and radial, so that nothing of it is taken out.
    x, field = octahedron_nm(), field_of(WithError(0.01, degree=2))
    noise = orientation_noise(field, x, field.turned_back(x, uniform_rotations(6000, generator())))
    assert noise.e_eq == pytest.approx(0.01 * FORCE * 2.0 / (3.0 * math.sqrt(3.0)), abs=4 * noise.e_eq_error)
    assert noise.e_eq_error < 0.01 * noise.e_eq
    assert noise.e_eq_raw == pytest.approx(noise.e_eq, rel=1e-9)
    expected = (0.01 * FORCE) ** 2 / 15.0
    assert noise.variance.mean().item() == pytest.approx(expected, rel=0.03)


def test_few_samples_are_not_biased() -> None:
    x, field, drawn = octahedron_nm(), field_of(WithError(0.01, degree=2)), generator(5)
    few = [
        orientation_noise(field, x, field.turned_back(x, uniform_rotations(6, drawn))).variance.mean().item()
        for _ in range(800)
    ]
    assert sum(few) / len(few) == pytest.approx((0.01 * FORCE) ** 2 / 15.0, rel=0.04)


@pytest.mark.parametrize(
    ("degree", "left"), [(2, {12: False, 24: False, 60: False}), (4, {12: True, 24: True, 60: False})]
)
def test_groups_remove_the_degrees_that_they_have_no_invariant_of(degree: int, left: dict[int, bool]) -> None:
    x, field = octahedron_nm(), field_of(WithError(0.01, degree=degree))
    found, _, _ = noise_by_orientations(field, x, rotations=64, offsets=12, generator=generator())
    assert found[1].e_eq > 1e-3 * FORCE
    for orientations, remains in left.items():
        assert (found[orientations].e_eq > 1e-4 * FORCE) == remains
        assert remains or found[orientations].e_eq < 1e-12 * FORCE


def test_orientations_at_an_offset_are_the_average_that_a_run_makes() -> None:
    from mdet_openmm.export.force_module import ForceModule

    x, network = positions_nm(), WithError(0.01, degree=3)
    module = ForceModule(network, orientations=12, offset="none", raw=True)
    got = averaged_over_group(field_of(network), x, 12, torch.eye(3, dtype=torch.float64)[None])[0]
    assert torch.allclose(got, module(x)[1], rtol=1e-10, atol=1e-9)
    used = ForceModule(network, orientations=12, offset="none")(x)[1]
    assert torch.allclose(field_of(network).as_used(x[None], got[None])[0], used, rtol=1e-10, atol=1e-9)


def test_net_force_and_torque() -> None:
    x = positions_nm(5)
    # n atoms with the same force; and a whirl c z x r, whose torque about z is c sum (x² + y²)
    field = field_of(WithError(0.01))
    net, torque = net_force_and_torque(x, field.turned_back(x, uniform_rotations(64, generator())))
    assert net == pytest.approx(5 * 0.01 * FORCE, rel=1e-9) and torque < 1e-9 * FORCE
    whirl = field_of(Linear(0.0, 0.02))
    net, torque = net_force_and_torque(x, whirl.turned_back(x, torch.eye(3, dtype=torch.float64)[None]))
    r = x - x.mean(dim=0)
    tau = torch.stack([-r[:, 0] * r[:, 2], -r[:, 1] * r[:, 2], r[:, 0] ** 2 + r[:, 1] ** 2], dim=-1).sum(dim=0)
    from mdet_openmm.units import BOHR_PER_NM

    assert torque == pytest.approx(0.02 * FORCE * BOHR_PER_NM * tau.norm().item(), rel=1e-9)
    assert net < 1e-9 * FORCE


def test_600_cell() -> None:
    x = positions_nm(5)
    exact = symmetry_test({"double": field_of(Springs()), "fp32": field_of(Rounded(Springs()))}, x)
    size = field_of(Springs()).forces(x[None]).norm(dim=-1)[0]
    # an equivariant field: what is left is rounding, and fp32 has far more of it
    assert exact["double"].magnitude_variance.sqrt().max() < 1e-12 * size.max()
    assert exact["double"].angle.max() < 1e-10 and exact["double"].rounding == 0.0
    assert 1e-9 * size.max() < exact["fp32"].magnitude_variance.sqrt().max() < 1e-5 * size.max()
    assert exact["fp32"].rounding > 1e-9 * size.max()


def test_600_cell_of_a_degree_that_the_group_averages_exactly() -> None:
    # An error of degree 2 along the force of an octahedron's atoms: the group integrates P_2² exactly (degree 4), so
    # that the variance of |F| (over 59, not 60) is size²/5 and no angle opens.
    x, field = octahedron_nm(), field_of(WithError(0.001, degree=2))
    test = symmetry_test({"double": field}, x)["double"]
    expected = (0.001 * FORCE) ** 2 / 5.0 * 60.0 / 59.0
    assert torch.allclose(test.magnitude_variance, torch.full((6,), expected, dtype=torch.float64), rtol=1e-9)
    assert test.angle.max() < 1e-10


def test_conservative_fields_are_the_gradient_in_the_orientation_given() -> None:
    x = positions_nm(5)
    direct, gradient = field_of(Springs()), Field(Springs(), conservative=True)
    assert torch.allclose(direct.forces(x[None]), gradient.forces(x[None]), rtol=1e-9, atol=1e-9)
