"""Measured figures as HTML: the quality of the weight generator, and the training time of starts."""

from __future__ import annotations

import json
from html import escape
from typing import Any, TypeGuard

from initzoo.errors import InitzooError
from initzoo.files import DamagedFile, is_file, read_file
from initzoo.zoo import METHODS, QUESTIONS, STARTS, TARGETS, Zoo

__all__ = ["bench_html", "evidence_html", "read_figures"]

_MAX_BYTES = 2**24
_TOP_DB = 40
"""PSNR of a bar of full width."""


def read_figures(zoo: Zoo, name: str) -> dict[str, Any] | None:
    """Read `evaluation.json` or `bench.json` of a zoo; None if it is missing or cannot be read."""
    try:
        path = zoo.generator_folder.parents[1] / name
        if not is_file(path):
            return None
        values = json.loads(read_file(path, max_bytes=_MAX_BYTES))
    except (InitzooError, DamagedFile, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def evidence_html(evaluation: dict[str, Any] | None) -> str:
    """Tables and bars of an evaluation, or a sentence that it is missing.

    Args:
        evaluation: result of `read_figures`.

    Example:
        >>> "no evaluation" in evidence_html(None)
        True
        >>> split = {"n_concepts": 9, "psnr": {"mean": 14.0}, "psnr_interval": {"mean": [13.0, 15.0]}}
        >>> "14.0" in evidence_html({"heldout-new": split})
        True
    """
    parts = []
    for split, label in QUESTIONS.items():
        figures = (evaluation or {}).get(split)
        if isinstance(figures, dict) and isinstance(figures.get("psnr"), dict):
            parts.append(_split_html(label.long[0].upper() + label.long[1:], figures))
    if not parts:
        return "<p>This zoo has no evaluation of its weight generator.</p>"
    legend = (
        "<p>PSNR in dB on photos that no training saw, with 95% intervals over concepts: how near a picture "
        "is to what the look's own filter makes of the photo. More is nearer.</p>"
    )
    return legend + "".join(parts)


def bench_html(bench: dict[str, Any] | None) -> str:
    """A table of how many times longer other starts train to the same quality; empty without a benchmark.

    Args:
        bench: result of `read_figures`.

    Example:
        >>> target = {"ratio": 7.25, "interval": [5.0, 9.0], "n_at_least": 1}
        >>> "at least 7.2" in bench_html({"n_concepts": 24, "ratio": {"base": {"within_3db": target}}})
        True
        >>> bench_html(None)
        ''
    """
    fitted = (bench or {}).get("ratio_to_fitted")
    ratios = fitted or (bench or {}).get("ratio")
    if not isinstance(ratios, dict):
        return ""
    rows = []
    for method, label in STARTS.items():
        targets = ratios.get(method)
        if isinstance(targets, dict):
            cells = "".join(
                f"<td class='figure'>{_ratio_html(targets.get(target))}</td>" for target in TARGETS
            )
            rows.append(f"<tr><th scope='row'>{escape(label.long)}</th>{cells}</tr>")
    if not rows:
        return ""
    n_concepts = (bench or {}).get("n_concepts")
    if not isinstance(n_concepts, int):  # what others write is no HTML here
        return ""
    unit = "one fitted to pairs" if fitted else "generated weights"
    heads = "".join(f"<th scope='col'>{label.long}</th>" for label in TARGETS.values())
    return (
        "<h3>What a start is worth</h3><p>How many times longer training takes to the same quality from "
        f"another start than from {unit}: geometric means over {n_concepts} concepts that "
        " no training saw, with 95% intervals.</p>"
        "<table class='evidence'><caption class='sr-only'>Times of other starts, as multiples</caption>"
        "<thead><tr><th scope='col'>trained from</th>"
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _ratio_html(figures: Any) -> str:
    if not isinstance(figures, dict) or not isinstance(figures.get("ratio"), int | float):
        return "-"
    sign = "about " if figures.get("n_not_reached") else "at least " if figures.get("n_at_least") else ""
    interval = figures.get("interval")
    span = f" <small>[{interval[0]:.1f}, {interval[1]:.1f}]</small>" if _is_interval(interval) else ""
    return f"{sign}{figures['ratio']:.1f}{span}"


def _is_interval(value: Any) -> TypeGuard[list[float]]:
    """Whether a value of a report is two numbers."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value)


def _split_html(title: str, figures: dict[str, Any]) -> str:
    rows = []
    for method, label in METHODS.items():
        psnr = figures["psnr"].get(method)
        if not isinstance(psnr, int | float):
            continue
        interval = (figures.get("psnr_interval") or {}).get(method)
        low, high = interval if _is_interval(interval) else (psnr, psnr)
        strong = ("<b>", "</b>") if method == "generated" else ("", "")
        rows.append(
            f"<tr><th scope='row'>{strong[0]}{escape(label.long)}{strong[1]}</th>"
            f"<td class='figure'>{strong[0]}{psnr:.1f}{strong[1]} <small>[{low:.1f}, {high:.1f}]</small></td>"
            f"<td class='bar'>{_bar_svg(psnr, low, high, is_own=method == 'generated')}</td></tr>"
        )
    n_concepts = figures.get("n_concepts")
    count = f" <small>({n_concepts} concepts)</small>" if isinstance(n_concepts, int) else ""
    closed = figures.get("gap_closed")
    tail = ""
    if isinstance(closed, int | float):
        tail = f"<p>Generating closes {closed:.0%} of the gap from the mean adapter to a trained one.</p>"
    tail += _pull_html(figures.get("pull"))
    return (
        f"<h3>{escape(title)}{count}</h3><table class='evidence'><caption class='sr-only'>{escape(title)}: "
        "PSNR in dB by method</caption><thead><tr><th scope='col'>where the weights come from</th>"
        "<th scope='col'>PSNR, dB</th><th scope='col'><span class='sr-only'>bar</span></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{tail}"
    )


def _pull_html(figures: Any) -> str:
    """How often `pull` takes a checkpoint, and the gap that it closes; empty if that was not measured."""
    share = figures.get("checkpoint_share") if isinstance(figures, dict) else None
    if not isinstance(share, int | float):
        return ""
    closed = figures.get("gap_closed")
    tail = f", and closes {closed:.0%} of the gap" if isinstance(closed, int | float) else ""
    return (
        f"<p>From a zoo of the taught looks alone, pull takes a checkpoint for {share:.0%} of the "
        f"wordings{tail}.</p>"
    )


def _bar_svg(psnr: float, low: float, high: float, *, is_own: bool) -> str:
    """A bar with its interval in the page's colours, hidden from screen readers."""
    wide, left, right = (100 * min(max(value / _TOP_DB, 0), 1) for value in (psnr, low, high))
    look = "own" if is_own else "other"
    return (
        "<svg viewBox='0 0 100 10' preserveAspectRatio='none' aria-hidden='true' focusable='false'>"
        f"<rect class='{look}' x='0' y='2' width='{wide:.2f}' height='6'/>"
        f"<line x1='{left:.2f}' x2='{right:.2f}' y1='5' y2='5'/></svg>"
    )
