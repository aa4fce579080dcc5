"""The report of an evaluation as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initzoo.zoo import METHODS

__all__ = ["evaluation_tables"]

_BY_GROUP = {
    "mean": "mean",
    "kernel_ridge": "ridge",
    "generated": "generated",
    "pull": "pull",
    "trained": "trained",
}
"""Methods in the tables of families and kinds of novelty, and their headings."""


def evaluation_tables(report: Mapping[str, Any]) -> list[str]:
    """The lines of a report's tables.

    Args:
        report: of a `GeneratorEvaluation`, or read from its JSON.
    """
    lines = [
        f"{report['zoo']}  revision {report['revision'][:7]}  generator {report['generator'][:7]}  "
        "PSNR dB with 95% bootstrap intervals over concepts"
    ]
    for split, section in report.items():
        if isinstance(section, dict) and "psnr" in section:
            lines += ["", *_split_lines(split, section)]
    memory, calibration = report["memorisation"], report["calibration"]
    lines.append("")
    if memory:
        nearest = memory["nearest_train"]
        overlap = memory["wrong_pixels"]["overlap_with_nearest"]
        lines.append(
            f"memorisation  median distance to the nearest train adapter {nearest['generated']:.1f}, train "
            f"leave-one-out {memory['train_leave_one_out']:.1f}, ratio {memory['ratio'] or 0:.2f} "
            f"(trained {nearest['trained_heldout']:.1f}, average of 16 {nearest['average_16']:.1f}, "
            f"Gaussian {nearest['gaussian']:.1f})"
        )
        shares = {name: "-" if share is None else f"{share:.2f}" for name, share in overlap.items()}
        lines.append(
            f"wrong pixels  in common with the nearest checkpoint: generated {shares['generated']}, "
            f"a copy of it with as much noise {shares['noisy_copy']}"
        )
    if calibration:
        lines.append(
            f"calibration   {calibration['coverage']:.1%} of {calibration['n_tested']} test wordings inside "
            f"the range; far from a distance of {calibration['far_from']:.2f}"
        )
    lines.append(f"speed         one init in {report['speed']['init_ms']:.1f} ms, warm, one core")
    return lines


def _split_lines(split: str, section: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{split}  {section['n_concepts']} concepts, {section['n_wordings']} wordings{_closed(section)}",
        f"  {'method':14} {'PSNR':>6} {'interval':>16} {'10th pct':>9} {'SSIM':>6} {'generated above':>22}",
    ]
    for method, psnr in sorted(section["psnr"].items(), key=lambda item: -item[1]):
        low, high = section["psnr_interval"][method]
        line = (
            f"  {method:14} {psnr:6.2f} [{low:6.2f}, {high:6.2f}] {section['psnr_10th'][method]:9.2f} "
            f"{section['ssim'][method]:6.3f}"
        )
        if method in section.get("difference", {}):
            more = section["difference"][method]
            line += f"  {more['psnr']:+6.2f} [{more['interval'][0]:+6.2f}, {more['interval'][1]:+6.2f}]"
        lines.append(line)
    if "pull" in section:
        share = section["pull"]["checkpoint_share"]
        lines.append(
            f"  {METHODS['pull'].short}: a checkpoint for {share:.1%} of wordings{_closed(section['pull'])}"
        )
    methods = [method for method in _BY_GROUP if method != "pull" or method in section["psnr"]]
    heads = " ".join(f"{_BY_GROUP[method]:>9}" for method in methods)
    for key in ("families", "novelty", "wording"):
        if section[key]:
            lines.append(f"  {key:14} {'n':>6} {heads} {'gap':>6}")
        for name, part in section[key].items():
            values = [part["psnr"].get(method) for method in methods]
            cells = " ".join("        -" if value is None else f"{value:9.2f}" for value in values)
            closed = "-" if part["gap_closed"] is None else f"{part['gap_closed']:.3f}"
            lines.append(f"  {name:14} {part['n_concepts']:6d} {cells} {closed:>6}")
    return lines


def _closed(section: Mapping[str, Any]) -> str:
    """The share of the gap that is closed, with its interval; empty if it is unknown."""
    gap, ends = section["gap_closed"], section["gap_closed_interval"]
    return "" if gap is None else f"  gap closed {gap:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
