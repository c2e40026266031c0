"""Numbers as people read them: three digits, and powers of ten only where there is no other way."""

import math
import re

import numpy as np
import pytest

from mdet_openmm.digits import shown, shown_with_error


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (690.3, "690"),
        (4012.0, "4010"),
        (99_960.0, "1 × 10⁵"),
        (99_940.0, "99900"),
        (0.5, "0.5"),
        (1.0, "1"),
        (-0.0012345, "-0.00123"),
        (0.00099951, "0.001"),
        (4.128e-5, "4.13 × 10⁻⁵"),
        (-6.02e23, "-6.02 × 10²³"),
        (0.0, "0"),
        (math.inf, "∞"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_three_digits(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_what_is_shown_is_the_number_to_three_digits() -> None:
    rng = np.random.default_rng(0)
    for value in rng.choice([-1, 1], 2000) * 10 ** rng.uniform(-9, 9, 2000):
        text = shown(value)
        mantissa, power = re.fullmatch(r"(-?[\d.]+)(?: × 10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+))?", text).groups()  # type: ignore[union-attr]
        exponent = int((power or "0").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")))
        assert float(mantissa) * 10.0**exponent == pytest.approx(value, rel=0.0051)
        assert (power is None) == (9.995e-4 <= abs(value) < 99_950.0)


def test_a_sign_where_it_is_asked_for() -> None:
    assert (shown(0.25, sign=True), shown(-0.25, sign=True), shown(0.0, sign=True)) == ("+0.25", "-0.25", "0")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0421, "1.235 ± 0.042"),
        (-123.4, 17.0, "-123 ± 17"),
        (612.0, 690.0, "612 ± 690"),
        (0.5, math.nan, "0.5"),
        (0.5, None, "0.5"),
        (1e-9, 2e-10, "1 × 10⁻⁹ ± 2 × 10⁻¹⁰"),
    ],
)
def test_an_error_says_how_many_digits_count(value: float, error: float | None, text: str) -> None:
    assert shown_with_error(value, error) == text
