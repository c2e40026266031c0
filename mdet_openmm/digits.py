"""How numbers are shown to people, on pages and in the lines of a run."""

import math

SMALLEST, LARGEST = 1e-3, 1e5
"""Between them no number is shown in powers of ten."""

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def shown(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number in a few significant digits: ``690``, ``0.0123``, ``4.1 × 10⁻⁵``.

    Parameters
    ----------
    value
        None and NaN are shown as a dash.
    digits
        Significant ones; zeros at the end of a fraction are left out.
    sign
        Show a plus too.
    """
    if value is None or math.isnan(value):
        return "–"
    plus = "+" if sign and value > 0.0 else ""
    if math.isinf(value):
        return f"{plus or ('-' if value < 0.0 else '')}∞"
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0.0:
        return "0"
    power = math.floor(math.log10(abs(rounded)))
    if SMALLEST <= abs(rounded) < LARGEST:
        text = f"{rounded:.{max(0, digits - 1 - power)}f}"
        return plus + (text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{plus}{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def shown_with_error(value: float, error: float | None, *, sign: bool = False) -> str:
    """A number with the digits that its error, in two of its own, leaves: ``-1.23 ± 0.14``."""
    if error is None or not math.isfinite(error) or error == 0.0 or not math.isfinite(value):
        return shown(value, sign=sign)
    decimals = 1 - math.floor(math.log10(abs(error)))
    if decimals > 6 or abs(value) >= LARGEST:
        return f"{shown(value, sign=sign)} ± {shown(error, 2)}"
    decimals = max(0, decimals)
    return f"{value:{'+' if sign else ''}.{decimals}f} ± {error:.{decimals}f}"
