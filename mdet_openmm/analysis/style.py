"""How plots look, and their two forms: a PNG file, and an SVG that takes its colours from the page."""

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mdet_openmm.digits import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HALF = 11.0, 5.3
"""Widths of figures in inches: of the whole page, and of half of it at the same scale."""

INK, MUTED, GRID = "#1d2330", "#68707f", "#e2e5ea"
BLUE, ORANGE, GREEN, RED = "#2a6fdb", "#dd6220", "#12866a", "#c4343f"

CSS_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", BLUE: "blue", ORANGE: "orange", GREEN: "green", RED: "red"}
"""The page redefines these colours as variables, so that one drawing serves light and dark."""

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "mdet",
}


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, tied to no window system; call under :func:`drawing`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def legend(axes: "Axes") -> None:
    """Above the axes, where it hides nothing."""
    entries = len(axes.get_legend_handles_labels()[0])
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        frameon=False,
        fontsize=9,
        ncols=min(3, entries) if entries != 4 else 2,
        borderaxespad=0.1,
        handlelength=1.6,
    )


def logarithmic(axes: "Axes", values: Iterable[float]) -> None:
    """A logarithmic y axis where all values allow one, with numbers as the page writes them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    found = list(values)
    if not found or min(found) <= 0.0:
        return
    axes.set_yscale("log")
    axes.set_ylim(min(found) / 1.6, max(found) * 1.6)
    few = max(found) < 100.0 * min(found)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def drawing() -> Any:
    """Context in which figures are made and saved."""
    import matplotlib

    return matplotlib.rc_context(_RC)


def as_png(figure: "Figure") -> bytes:
    """The figure on white, for documents."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def as_inline_svg(figure: "Figure", title: str) -> str:
    """The figure as an SVG element for an HTML page: transparent, with the colours of the page.

    Parameters
    ----------
    figure
        From :mod:`mdet_openmm.analysis.figures`.
    title
        Read out by screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return inline_svg(buffer.getvalue(), title)


def inline_svg(document: str, title: str) -> str:
    """Turn an SVG document into an element of an HTML page that refers to nothing outside it."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+xmlns(:\w+)?=(['\"]).*?\2", "", svg)
    svg = re.sub(r"\s+(?:rdkit:\w+|xml:space)=(['\"]).*?\1", "", svg)
    for colour, name in CSS_NAMES.items():
        svg = re.sub(colour, f"var(--{name})", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    return f'{head} role="img" aria-label="{title}">{rest}'
