"""lambda, loops and pumped vibrations of forces whose answers are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from fields_with_answers import FORCE, Entangled, Linear, Springs, WithError, field_of, positions_nm

from mdet_openmm.measure.curl import (
    RAD_PER_PS_PER_CM,
    backward_product,
    exact_lambda,
    jacobian,
    loop_work,
    pumping_rate,
    stochastic_lambda,
)
from mdet_openmm.measure.field import Field
from mdet_openmm.units import BOHR_PER_NM


def generator(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lambda_of_springs_is_zero_and_of_a_whirl_one() -> None:
    x = positions_nm(5)
    assert exact_lambda(field_of(Springs()), x).value < 1e-14
    assert exact_lambda(field_of(Springs()), x, raw=True).value < 1e-14
    assert exact_lambda(field_of(Linear(0.0, 1.0)), x, raw=True).value == pytest.approx(1.0, abs=1e-12)
    assert exact_lambda(Field(Springs(), conservative=True), x).value < 1e-12


@pytest.mark.parametrize("whirl", [0.1, 1.0])
def test_lambda_between(whirl: float) -> None:
    # J = (1 - 11^T/n) x (-k + c Z): |A|/|J| = sqrt(2 c² / (3 k² + 2 c²))
    expected = math.sqrt(2 * whirl**2 / (3 + 2 * whirl**2))
    x, field = positions_nm(4), field_of(Linear(1.0, whirl))
    assert exact_lambda(field, x, raw=True).value == pytest.approx(expected, rel=1e-10)
    found = stochastic_lambda(field, field, x, probes=400, generator=generator(), raw=True)
    assert found.value == pytest.approx(expected, abs=4 * found.error)
    assert found.error < 0.1 * expected


@pytest.mark.parametrize("raw", [True, False])
def test_probes_agree_with_the_jacobian(raw: bool) -> None:
    x, field = positions_nm(5), field_of(Entangled())
    exact = exact_lambda(field, x, raw).value
    errors = [stochastic_lambda(field, field, x, probes=24, generator=generator(k), raw=raw) for k in range(40)]
    pulls = torch.tensor([(e.value - exact) / e.error for e in errors])
    assert exact > 0.02
    assert pulls.abs().mean() < 1.3 and pulls.std() > 0.5  # the error bar is neither too small nor too large


def test_jacobian_by_differences_and_its_transpose() -> None:
    x, field = positions_nm(4), field_of(Entangled())
    matrix = jacobian(field, x)
    v = torch.randn(3, 4, 3, dtype=torch.float64, generator=generator())
    step = 1e-5
    numeric = (field.forces(x + step * v) - field.forces(x - step * v)) / (2 * step)
    assert torch.allclose(
        v.reshape(3, -1) @ matrix.T, numeric.reshape(3, -1), rtol=1e-6, atol=1e-6 * float(numeric.abs().max())
    )
    assert torch.allclose(backward_product(field, x, v).reshape(3, -1), v.reshape(3, -1) @ matrix, rtol=1e-10)


def test_jacobian_of_the_average_is_the_average() -> None:
    from mdet_openmm.export.rotations import rotation_group

    x, network = positions_nm(4), WithError(0.02, degree=3)
    field, group = field_of(network), rotation_group(12)
    mean = jacobian(field, x, raw=True, rotations=group)
    step = 1e-5
    for atom, axis in ((0, 0), (2, 1)):
        shift = torch.zeros_like(x)
        shift[atom, axis] = step
        ahead, behind = (field.turned_back(x + s, group).mean(dim=0) for s in (shift, -shift))
        numeric = ((ahead - behind) / (2 * step)).reshape(-1)
        assert torch.allclose(mean[:, 3 * atom + axis], numeric, rtol=1e-5, atol=1e-6 * float(numeric.abs().max()))


def test_loops_of_springs_do_no_work_and_of_a_whirl_the_predicted_one() -> None:
    x, radii = positions_nm(5), (0.001, 0.01)
    drawn: dict[str, Any] = {"radii": radii, "planes": 6, "points": 24}
    springs = field_of(Springs())
    scale = FORCE * BOHR_PER_NM  # a spring constant of the network in kJ/mol/nm²
    for loop in loop_work(springs, springs, x, **drawn, generator=generator()):
        area = math.pi * 5 * loop.radius**2
        assert loop.work.abs().max() < 1e-6 * scale * area and loop.predicted.abs().max() < 1e-10 * scale * area
    whirl = Field(Entangled())
    small, large = loop_work(whirl, whirl, x, **drawn, generator=generator())
    assert torch.allclose(small.work, small.predicted, rtol=0.02, atol=2e-3 * float(small.predicted.abs().max()))
    assert float(small.work.abs().min()) > 1e-4 * scale * math.pi * 5 * small.radius**2
    assert torch.allclose(large.predicted, 100.0 * small.predicted, rtol=1e-9)


def coupled(first: float, second: float, antisymmetric: float, symmetric: float = 0.0) -> torch.Tensor:
    """Jacobian of two particles of mass 1 that move on x only, frequencies in rad/ps."""
    matrix = torch.zeros(6, 6, dtype=torch.float64)
    matrix[0, 0], matrix[3, 3] = -(first**2), -(second**2)
    matrix[0, 3], matrix[3, 0] = symmetric + antisymmetric, symmetric - antisymmetric
    return matrix


def test_symmetric_forces_pump_nothing() -> None:
    masses = torch.ones(2, dtype=torch.float64)
    assert pumping_rate(coupled(200.0, 210.0, 0.0, symmetric=500.0), masses) < 1e-12
    assert pumping_rate(coupled(1.0, 2.0, 0.5), masses) == 0.0  # no vibration, below 50/cm
    # of equal frequencies: 2 (1/N) c²/w² / G with N = 2
    expected = 300.0**2 / 200.0**2 / (20.0 * RAD_PER_PS_PER_CM)
    assert pumping_rate(coupled(200.0, 200.0, 300.0), masses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("second", [100.0, 110.0])
def test_pumping_is_what_dynamics_with_lost_phases_does(second: float) -> None:
    # Phases are lost by turning each oscillator in its phase space by random angles, which keep its energy.
    first, c, lost = 100.0, 220.0, 50.0 * RAD_PER_PS_PER_CM
    matrix, masses = coupled(first, second, c), torch.ones(2, dtype=torch.float64)
    rng = np.random.default_rng(3)
    w, j, dt = np.array([first, second]), matrix[::3, ::3].numpy(), 5e-4
    x, v = rng.standard_normal((2, 20000, 2)) * np.array([1 / w, np.ones(2)])[:, None]
    energies = []
    for _ in range(1000):
        v = v + 0.5 * dt * x @ j.T
        x = x + dt * v
        v = v + 0.5 * dt * x @ j.T
        angle = np.sqrt(lost * dt) * rng.standard_normal(x.shape)  # half of the coherence's rate is each one's
        x, v = np.cos(angle) * x + np.sin(angle) * v / w, np.cos(angle) * v - np.sin(angle) * x * w
        energies.append(0.5 * float((v**2 + w**2 * x**2).sum(axis=1).mean()))
    rate = math.log(energies[-1] / energies[200]) / (799 * dt)
    expected = pumping_rate(matrix, masses, dephasing=50.0)
    assert rate == pytest.approx(expected, rel=0.15)
