"""Plots of runs at constant energy."""

import struct

import numpy as np

from mdet_openmm.studies.nve_figures import Curve, curves_against_time

TIMES = np.linspace(0.01, 5.0, 500)
STEADY = Curve((TIMES, 300.0 + 20.0 * np.sin(400.0 * TIMES)), None)


def size(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", png[16:24])


def test_energies_have_panels_of_their_own_where_there_are_any() -> None:
    without = size(curves_against_time({"fp64": [STEADY]}))
    heating = Curve(STEADY.temperature, (TIMES, 3.0 * TIMES))
    width, height = size(curves_against_time({"fp64": [STEADY, heating]}))
    assert width == without[0] and height == 2 * without[1]
    four = size(curves_against_time({name: [heating] for name in "abcd"}))
    assert four[0] > width and four[1] == 2 * height


def test_runs_without_rows_or_with_nan_are_drawn_as_far_as_they_go() -> None:
    empty = Curve((np.zeros(0), np.zeros(0)), (np.zeros(0), np.zeros(0)))
    broken = Curve((TIMES, np.where(TIMES < 1.0, 300.0, np.nan)), None)
    one = Curve((TIMES[:1], np.array([300.0])), None)
    assert size(curves_against_time({"a": [empty], "b": [broken, one]}))[0] > 0
    drawn = curves_against_time({"a": [broken]})
    assert drawn != curves_against_time({"a": [empty]})
