"""A diagnosis as a table, and as a picture of scales and shares of units layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from initzoo.evaluation.report.plots import dress_axes, encode_figure, new_figure
from initzoo.networks.diagnosis import LARGEST, Diagnosis
from initzoo.zoo.labels import BAND, DIAGNOSIS, INK, QUIET

__all__ = ["draw_diagnosis", "tables"]


def tables(found: Mapping[str, Diagnosis]) -> list[str]:
    """The lines of a table of all layers of one diagnosis, or of a table of several diagnoses.

    Args:
        found: at least one diagnosis, by the name of the init.
    """
    width = max(len(name) for name in found)
    verdicts = [f"{name:{width}}  {one.verdict:9}  {one.reason}" for name, one in found.items()]
    if len(found) > 1:
        return verdicts
    (only,) = found.values()
    lines = [f"{'layer':14} {'forward':>9} {'backward':>9} {'dead':>6} {'flat':>6} {'twins':>6}  verdict"]
    lines += [
        f"{layer.name:14} {layer.forward:9.3g} {layer.backward:9.3g} {layer.dead:6.0%} "
        f"{layer.saturated:6.0%} {layer.duplicated:6.0%}  {layer.verdict}"
        for layer in only.layers
    ]
    return [*lines, *verdicts]


def draw_diagnosis(found: Diagnosis, title: str) -> bytes:
    """Draw scales and shares by layer.

    Args:
        found: what is drawn.
        title: what was diagnosed.

    Returns:
        A PNG file.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = new_figure(7.2, 5.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = range(len(found.layers))
    above.axhspan(1 / LARGEST, LARGEST, color=BAND, lw=0, zorder=0, label="healthy")
    for scale in ("forward", "backward"):
        values, label = [getattr(layer, scale) for layer in found.layers], DIAGNOSIS[scale]
        shown = [value if 0 < value < float("inf") else np.nan for value in values]
        above.plot(places, shown, "o-", color=label.colour, ms=4, lw=1.4, label=label.short)
    above.set_yscale("log")
    above.set_ylabel("scale", color=INK)
    width = 0.25
    for number, share in enumerate(("duplicated", "dead", "saturated")):
        heights, label = [getattr(layer, share) for layer in found.layers], DIAGNOSIS[share]
        lefts = [place + (number - 1) * width for place in places]
        below.bar(lefts, heights, width, color=label.colour, label=label.short)
    below.set_ylim(0, 1)
    below.set_ylabel("share of units", color=INK)
    below.set_xticks(list(places), [layer.name for layer in found.layers], rotation=35, ha="right")
    for axes in (above, below):
        dress_axes(axes)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3)
    figure.suptitle(f"{title}: {found.verdict}", fontsize=11, color=INK)
    above.set_title(found.reason, fontsize=8, color=QUIET)
    return encode_figure(figure)
