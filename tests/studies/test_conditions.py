"""Conditions as they are written on the command line."""

import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.studies.conditions import DEFAULT, Condition, read_conditions


def test_conditions_are_read_and_written() -> None:
    found = read_conditions("fp32, double,fp64+random,mixed+hashed+12,mixed+held+hashed,fp64+60+hashed")
    assert found == (
        Condition("fp32", "none", 1),
        Condition("double", "none", 1),
        Condition("double", "random", 1),
        Condition("mixed", "hashed", 12),
        Condition("mixed", "hashed", 1, held=True),
        Condition("double", "hashed", 60),
    )
    names = ["fp32", "fp64", "fp64+random", "mixed+hashed+12", "mixed+hashed+held", "fp64+hashed+60"]
    assert [c.name for c in found] == names
    assert found[-1].folder == "fp64-hashed-60"


def test_the_default_is_the_papers_four_and_ours_but_for_24_orientations() -> None:
    default = read_conditions(DEFAULT)
    assert {(c.precision, c.offset) for c in default if c.offset != "hashed"} == {
        ("fp32", "none"), ("double", "none"), ("fp32", "random"), ("double", "random"),
    }  # fmt: skip
    assert {(c.precision, c.orientations) for c in default if c.offset == "hashed"} == {
        ("mixed", 1), ("mixed", 12), ("mixed", 60), ("double", 12), ("double", 60),
    }  # fmt: skip


def test_a_condition_is_one_of_those_that_can_be_written() -> None:
    for values, message in (
        (("fp64",), "precision must be one of double, mixed, fp32, not 'fp64'"),
        (("double", "hash"), "offset must be one of none, random, hashed"),
        (("double", "none", 7), "orientations must be one of 1, 12, 24, 60"),
    ):
        with pytest.raises(InputError, match=message):
            Condition(*values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fp16", "'fp16' in 'fp16' is not understood"),
        ("fp64+7", "'7' in"),
        ("random", "names no precision"),
        ("", "not understood"),
        ("fp32+fp64", "'fp64' in"),
        ("fp64,double", "fp64 twice"),
        ("mixed+hashed+1,mixed+hashed", "twice"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_conditions(text)
