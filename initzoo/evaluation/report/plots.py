"""Plots in a common style, as PNG files whose bytes depend on their content only."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from initzoo.errors import MissingExtra
from initzoo.zoo import GRID, QUIET

__all__ = ["check_plotting", "dress_axes", "encode_figure", "new_figure"]


def check_plotting() -> None:
    """Check that plots can be drawn. Call it before a long measurement that ends with a plot.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra('plots need matplotlib. Install it with: pip install "initzoo[bench]"')


def new_figure(width: float, height: float) -> Any:
    """Make an empty matplotlib figure, without pyplot and its window system.

    Args:
        width: width in inches, at 150 dots per inch.
        height: height in inches.

    Raises:
        MissingExtra: matplotlib is not installed.

    Example:
        >>> figure = new_figure(2.0, 1.0)
        >>> dress_axes(figure.add_subplot())
        >>> encode_figure(figure)[1:4]
        b'PNG'
    """
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress_axes(axes: Any, *, grid: str = "y") -> None:
    """Remove needless spines and draw grey grid lines; `grid` is x, y or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=9)
    axes.grid(axis=grid, color=GRID, lw=0.8, zorder=0)
    axes.set_axisbelow(True)


def encode_figure(figure: Any) -> bytes:
    """Encode a figure as a PNG file."""
    buffer = io.BytesIO()
    # matplotlib would write its version into the file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
