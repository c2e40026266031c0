"""The kit of the pages: what is bad is seen first, figures fill their places, axes hold what is drawn on them."""

import re

import numpy as np
import pytest

from mdet_openmm.analysis.figures import bar_limits, equipartition_figure
from mdet_openmm.analysis.page import BAD, GOOD, NEUTRAL, WARN, Card, Page, Verdict, layout, render, summary_of
from mdet_openmm.analysis.style import drawing, logarithmic, new_figure
from mdet_openmm.measure.block_average import BlockedMean
from mdet_openmm.measure.temperature import UNDECIDED, TemperatureResult


def page_of(*verdicts: Verdict, cards: int = 7) -> str:
    tiles = [Card("label", "1", "kcal/mol/Å")] * cards
    return render(Page("T", "s", None, [], verdicts, tiles, [], [], [], "f"))


def header_of(text: str) -> str:
    return re.search(r"<header.*?</header>", text, re.DOTALL).group(0)  # type: ignore[union-attr]


def test_what_is_bad_is_seen_in_the_header_and_stands_first() -> None:
    text = page_of(Verdict(GOOD, "fine"), Verdict(NEUTRAL, "unknown"), Verdict(BAD, "broken"), Verdict(WARN, "odd"))
    header = header_of(text)
    assert header.startswith('<header class="bad">') and "1 problem, 1 note, 1 open question" in header
    assert re.findall(r"broken|odd|unknown|fine", text.split("</header>")[1]) == ["broken", "odd", "unknown", "fine"]
    assert "<title>⚠ T" in text
    assert re.search(r"header\.bad,li\.bad\{--state:var\(--red\)\}", text) and "solid var(--state)" in text


@pytest.mark.parametrize(
    ("states", "state", "words"),
    [
        ([GOOD, GOOD], "good", "no problem"),
        ([GOOD, WARN], "warn", "no problem, 1 note"),
        ([BAD, BAD, GOOD], "bad", "2 problems"),
        ([NEUTRAL], "neutral", "1 open question"),
        ([], "neutral", ""),
    ],
)
def test_the_header_says_how_bad_it_is(states: list[str], state: str, words: str) -> None:
    verdicts = [Verdict(s, "text") for s in states]
    assert summary_of(verdicts) == words
    header = header_of(page_of(*verdicts))
    assert header.startswith(f'<header class="{state}">') and f'<p class="state">{words}</p>' in header
    assert ("⚠" in page_of(*verdicts)) == (state == "bad")


def test_flags_are_not_broken_across_lines() -> None:
    text = page_of(Verdict(GOOD, "use --precision mixed, or --orientations 12; <b>"))
    assert (
        '<span class="flag">--precision mixed</span>' in text and '<span class="flag">--orientations 12</span>' in text
    )
    assert "&lt;b&gt;" in text and ".flag{white-space:nowrap}" in text


@pytest.mark.parametrize(("cards", "columns"), [(0, 1), (1, 1), (5, 5), (6, 3), (7, 4), (8, 4), (9, 5), (11, 4)])
def test_rows_of_tiles_are_even(cards: int, columns: int) -> None:
    assert f"--columns:{columns}" in page_of(cards=cards)


def test_a_figure_left_over_gets_the_width() -> None:
    assert layout([False, False, True, False, True]) == [False, False, True, True, True]
    assert layout([True, False, False, False]) == [True, False, False, True]


def blocked(mean: float, error: float) -> BlockedMean:
    return BlockedMean(mean, 10 * error, error, 100, 50.0, 4, True)


def result_of(**elements: BlockedMean) -> TemperatureResult:
    nan = float("nan")
    return TemperatureResult(
        300.0, 27, blocked(300.0, 9.0), 82.0, nan, nan, elements, UNDECIDED, UNDECIDED, UNDECIDED, ""
    )


@pytest.mark.parametrize(
    ("means", "errors", "bounds"),
    [
        ([266.0, 337.0, 154.0], [7.0, 12.0, 17.0], [30.0, 43.0, 85.0]),
        ([40.0, 310.0], [30.0, 5.0], [400.0, 20.0]),
        ([300.0], [0.0], [0.0]),
        ([301.0, 299.0], [0.4, 0.4], [4000.0, 1.0]),
    ],
)
def test_temperature_axes_hold_their_bars_and_are_not_negative(
    means: list[float], errors: list[float], bounds: list[float]
) -> None:
    low, high = bar_limits(300.0, means, errors, bounds)
    assert 0.0 <= low < 300.0 < high
    for mean, error in zip(means, errors, strict=True):
        assert low <= max(0.0, mean - error) and mean + error < high
    spread = max(abs(m - 300.0) + e for m, e in zip(means, errors, strict=True))
    assert high - low <= 5.5 * max(1.2 * spread, 15.0)  # one wild interval does not squeeze all others


def test_an_interval_that_goes_on_ends_in_an_arrow() -> None:
    with drawing():
        figure = equipartition_figure(result_of(H=blocked(310.0, 5.0), O=blocked(60.0, 50.0)))
        axes = figure.axes[0]
        low, high = axes.get_xlim()
        arrows = [line for line in axes.lines if line.get_marker() in "<>" and line.get_marker()]
        assert low == 0.0 and [line.get_marker() for line in arrows] == ["<"]
        for line in axes.lines[1:]:
            x = np.asarray(line.get_xdata(), dtype=float)
            assert low <= x.min() and x.max() <= high
        legend = axes.get_legend()
        assert legend is not None
        assert {text.get_text() for text in legend.get_texts()} >= {"target", "standard error"}


def test_logarithmic_axes_have_numbers_as_people_write_them() -> None:
    with drawing():
        figure = new_figure(5.0, 3.0)
        axes = figure.subplots()
        logarithmic(axes, [0.004, 0.3])
        axes.plot([1, 2], [0.004, 0.3])
        figure.canvas.draw()
        labels = [tick.get_text() for tick in axes.get_yticklabels()]
        assert {"0.005", "0.01", "0.1", "0.2"} <= set(labels)
        assert not any("10" in tick.get_text() for tick in axes.get_yticklabels(minor=True))
        low, high = axes.get_ylim()
        assert low < 0.004 and high > 0.3
        linear = new_figure(5.0, 3.0).subplots()
        logarithmic(linear, [0.0, 1.0])
        assert linear.get_yscale() == "linear"
