"""Plots for people: figures in one manner, as PNG files whose bytes depend on nothing else."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from initzoo.errors import MissingExtra
from initzoo.zoo.labels import GRID, QUIET

__all__ = ["check_plotting", "dress_axes", "encode_figure", "new_figure"]


def check_plotting() -> None:
    """Make sure that plots can be drawn: minutes of measuring should not end without them.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra('plots need matplotlib. Install it with: pip install "initzoo[bench]"')


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure that no window system knows of.

    Args:
        width: inches, at 150 dots an inch.
        height: inches.

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
    """Leave of the axes what is needed to read them, with quiet lines across `grid`: x, y or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=9)
    axes.grid(axis=grid, color=GRID, lw=0.8, zorder=0)
    axes.set_axisbelow(True)


def encode_figure(figure: Any) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
