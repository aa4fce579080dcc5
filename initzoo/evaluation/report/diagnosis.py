"""A diagnosis as a table and as a plot of each layer's scales and shares of units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from initzoo.evaluation.report.plots import dress_axes, encode_figure, new_figure
from initzoo.networks import LARGEST, Diagnosis
from initzoo.zoo import BAND, DIAGNOSIS, INK, QUIET

__all__ = ["diagnosis_tables", "draw_diagnosis"]


def diagnosis_tables(diagnoses: Mapping[str, Diagnosis]) -> list[str]:
    """Format one diagnosis with a line per layer, or several with a line per diagnosis.

    Args:
        diagnoses: at least one diagnosis, by the name of the init.
    """
    width = max(len(name) for name in diagnoses)
    verdicts = [
        f"{name:{width}}  {diagnosis.verdict:9}  {diagnosis.reason}" for name, diagnosis in diagnoses.items()
    ]
    if len(diagnoses) > 1:
        return verdicts
    (only,) = diagnoses.values()
    lines = [f"{'layer':14} {'forward':>9} {'backward':>9} {'dead':>6} {'flat':>6} {'twins':>6}  verdict"]
    lines += [
        f"{layer.name:14} {layer.forward:9.3g} {layer.backward:9.3g} {layer.dead:6.0%} "
        f"{layer.saturated:6.0%} {layer.duplicated:6.0%}  {layer.verdict}"
        for layer in only.layers
    ]
    return [*lines, *verdicts]


def draw_diagnosis(diagnosis: Diagnosis, title: str) -> bytes:
    """Plot the scales and the shares of units of each layer.

    Args:
        diagnosis: the diagnosis to plot.
        title: title of the plot, usually the name of the init.

    Returns:
        A PNG file.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = new_figure(7.2, 5.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    positions = range(len(diagnosis.layers))
    above.axhspan(1 / LARGEST, LARGEST, color=BAND, lw=0, zorder=0, label="healthy")
    for scale in ("forward", "backward"):
        values, label = [getattr(layer, scale) for layer in diagnosis.layers], DIAGNOSIS[scale]
        shown = [value if 0 < value < float("inf") else np.nan for value in values]
        above.plot(positions, shown, "o-", color=label.colour, ms=4, lw=1.4, label=label.short)
    above.set_yscale("log")
    above.set_ylabel("scale", color=INK)
    width = 0.25
    for number, share in enumerate(("duplicated", "dead", "saturated")):
        heights, label = [getattr(layer, share) for layer in diagnosis.layers], DIAGNOSIS[share]
        lefts = [position + (number - 1) * width for position in positions]
        below.bar(lefts, heights, width, color=label.colour, label=label.short)
    below.set_ylim(0, 1)
    below.set_ylabel("share of units", color=INK)
    below.set_xticks(list(positions), [layer.name for layer in diagnosis.layers], rotation=35, ha="right")
    for axes in (above, below):
        dress_axes(axes)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3)
    figure.suptitle(f"{title}: {diagnosis.verdict}", fontsize=11, color=INK)
    above.set_title(diagnosis.reason, fontsize=8, color=QUIET)
    return encode_figure(figure)
