"""Reports whose drawings are no part of what is tested: these take most of the time."""

from collections.abc import Callable, Iterator

import pytest

from mdet_openmm.analysis import plots
from mdet_openmm.analysis.run_analysis import RunAnalysis


@pytest.fixture
def draw_only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Called with names of figures: reports have these, and no others."""
    planned = plots._figures

    def only(*names: str) -> None:
        def chosen(analysis: RunAnalysis) -> Iterator[plots.PlannedFigure]:
            return (figure for figure in planned(analysis) if figure.name in names)

        monkeypatch.setattr(plots, "_figures", chosen)

    return only
