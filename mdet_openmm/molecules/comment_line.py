"""Charge and multiplicity in free text, above all the comment line of an XYZ file, as many programs write them."""

import re
from dataclasses import dataclass

_PAIR = r"([+-]?\d{1,2})[\s,;/]+(\d{1,2})(?![\w.])"
_NUMBER = r"[\"']?(?:\s*[=:]|\s+is\b|(?=\s))\s*[\"'(\[{]?\s*([+-]?\d+(?:\.\d*)?(?:/2|[+-](?!\d))?)(?![\w./]|\s*=)"
_BARE_PAIR = re.compile(rf"^\s*{_PAIR}\s*$")


def _behind(words: str, numbers: str = _NUMBER) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z_])(?:{words}){numbers}", re.IGNORECASE)


# What the numbers behind each program's words mean. Two numbers side by side come first.
_STATEMENTS = (
    (_BARE_PAIR, ("charge", "multiplicity")),
    (_behind(r"charge\W*(?:and\W+)?(?:spin\W*)?mult(?:iplicity)?\s*[=:]?[\s(\[]*", _PAIR), ("charge", "multiplicity")),
    (_behind(r"charge\s+|\$molecule\s+", _PAIR), ("charge", "multiplicity")),
    (re.compile(rf"\*\s*(?:xyz|xyzfile|int|internal|gzmt)\s+{_PAIR}", re.IGNORECASE), ("charge", "multiplicity")),
    (_behind(r"(?:(?:total|tot|net|overall|molecular|formal)[ _-]?)?(?:i?charge?|chrg|chg|molchg|q)"), ("charge",)),
    (_behind(r"(?:spin[ _-]?)?mult(?:iplicity|ip|i)?|2s\s?\+\s?1"), ("multiplicity",)),
    (_behind(r"uhf|nopen|(?:n_?)?unpaired(?:[ _]electrons?)?"), ("unpaired",)),
    (_behind(r"(?<!:)(?-i:S)(?=\s*[=:])"), ("S",)),
    (_behind(r"spin"), ("spin",)),
)
_NAMES = ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet")
# What speaks of a charge or of unpaired electrons without stating it: words, formulae such as H3O+, a lone number
# with a sign, two numbers before a title, and whatever of the above was not understood.
_CHARGE_HINT = re.compile(
    r"charg(?!es\b)\w*|(?<![A-Za-z])(?:i?chrg|chg|molchg|q\s*[=:])|\w*(?:cat|an)ion(?:s|ic)?\b|\w*protonated"
    r"|(?<!\S)(?:\d[+-]|(?-i:(?:[A-Z][a-z]?\d*|\[[\w()]+\])+)\^?(?:\d?[+-]{1,3}|[+-]\d))(?![^\s,;)])"
    r"|^\s*(?:[+-]\d+\s*$|(?!0\s+1\s)[+-]?\d{1,2}\s+[1-9]\d?\s+[A-Za-z]\w*)",
    re.IGNORECASE,
)
_SPIN_HINT = re.compile(
    r"(?<![A-Za-z])(?:multiplicity|mult|spin|uhf|nopen|unpaired)(?![a-z])|\w*radicals?\b"
    r"|(?<![A-Za-z])(?:total_)?(?:magmom|magnetization|magnetic_moment)\s*[=:]\s*[\"']?-?0*(?:[1-9]|\.[5-9])",
    re.IGNORECASE,
)
_SMILES_CHARGE = re.compile(r"\[\d*(?:[A-Z][a-z]?|[bcnops])@{0,2}(?:H\d*)?([+-]\d|\++|-+)(?::\d+)?\]")


@dataclass(frozen=True)
class Stated:
    """What a text says of the charge and the multiplicity of a molecule.

    Attributes
    ----------
    charge, multiplicity
        Where the text states them beyond doubt, else None.
    charge_question, multiplicity_question
        Where it speaks of them in a way that leaves doubt: what to tell a user who gave none.
    notes
        Readings that the user should see.
    """

    charge: int | None = None
    multiplicity: int | None = None
    charge_question: str | None = None
    multiplicity_question: str | None = None
    notes: tuple[str, ...] = ()


def charge_and_multiplicity(text: str, where: str) -> Stated:
    """Read charge and multiplicity from a line of free text.

    Understood are ``charge=1``, ``charge: 1``, ``q = 1``, ``chrg 1``, ``total_charge=1.0`` and the like; likewise
    ``multiplicity``, ``mult``, ``2S+1``, ``uhf`` and ``unpaired`` (2S), ``S`` (half of that), and ``spin``, which is
    2S + 1 as in ASE-based data sets (a half is S; a file that means 2S will not fit its number of electrons);
    'triplet'; and both numbers side by side as in Gaussian's ``0 1``, ORCA's ``* xyz 0 1`` or ``charge/mult 0 1``.
    What speaks of them in another way ('cation', 'H3O+', a charged SMILES, a magnetic moment) and what contradicts
    itself becomes a question.

    Parameters
    ----------
    text
        The comment line of an XYZ file, or the like.
    where
        Names the place in questions, e.g. 'ethanol.xyz, line 2'.
    """
    # The names of columns are not about the molecule.
    rest = re.sub(r"\bproperties\s*=\s*\S+", " ", text.replace("\N{MINUS SIGN}", "-"), flags=re.IGNORECASE)
    said: dict[str, list[float]] = {what: [] for what in ("charge", "multiplicity", "unpaired", "S", "spin")}
    for pattern, meanings in _STATEMENTS:
        for match in pattern.finditer(rest):
            for meaning, value in zip(meanings, match.groups(), strict=True):
                said[meaning].append(_value(value))
        rest = pattern.sub(" ; ", rest)
    multiplicities = [
        *said["multiplicity"],
        *(1 + _NAMES.index(name) for name in re.findall(r"[a-z]+", rest.lower()) if name in _NAMES),
        *(unpaired + 1 for unpaired in said["unpaired"]),
        *(2 * total + 1 for total in said["S"]),
        *(2 * spin + 1 if spin % 1 == 0.5 else spin for spin in said["spin"]),
    ]
    of_smiles = sum(
        int(sign if sign[-1].isdigit() else f"{sign[0]}{len(sign)}") for sign in _SMILES_CHARGE.findall(rest)
    )
    charge_hint = f"a SMILES of charge {of_smiles:+d}" if of_smiles else _quoted(_CHARGE_HINT.search(rest))
    charge, charge_question = _settled(said["charge"], "charge", charge_hint, where)
    multiplicity, multiplicity_question = _settled(
        multiplicities, "multiplicity", _quoted(_SPIN_HINT.search(rest)), where
    )
    if said["spin"] and multiplicity == 0:
        multiplicity, multiplicity_question = None, f"{where}: spin=0 is no multiplicity 2S + 1; write multiplicity=1"
    bare = _BARE_PAIR.match(text) and (charge, multiplicity) not in ((0, 1), (None, None))
    notes = (f"{where}: '{text.strip()}' is taken for charge {charge}, multiplicity {multiplicity}",) if bare else ()
    return Stated(charge, multiplicity, charge_question, multiplicity_question, notes)


def _value(text: str) -> float:
    """Of '1', '1.0', '+1', '1+' and '1/2'."""
    if text.endswith("/2"):
        return float(text[:-2]) / 2
    return float(text[-1] + text[:-1] if text[-1] in "+-" else text)


def _quoted(match: re.Match[str] | None) -> str | None:
    return f"'{match[0].strip()}'" if match else None


def _settled(values: list[float], what: str, hint: str | None, where: str) -> tuple[int | None, str | None]:
    """The one whole number that was stated, or what to ask."""
    different = sorted(set(values))
    if len(different) == 1 and different[0] == int(different[0]):
        return int(different[0]), None
    if len(different) == 1:
        doubt = f"{what} '{different[0]:g}' is not a whole number"
    elif different:
        doubt = f"{what} {' and '.join(f'{value:g}' for value in different)} contradict each other"
    elif hint:
        doubt = f"{hint} leaves the {what} open"
    else:
        return None, None
    return None, f"{where}: {doubt}; pass --{what}"
