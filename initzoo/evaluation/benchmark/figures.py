"""Plots and tables of a benchmark, made from its report only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initzoo.evaluation.benchmark.time_to_quality import bound_of
from initzoo.evaluation.report.plots import dress_axes, encode_figure, new_figure
from initzoo.files import check_free, write_files
from initzoo.zoo import INK, QUIET, STARTS, TARGETS

__all__ = [
    "BENCHMARK_FILES",
    "benchmark_tables",
    "draw_curves",
    "draw_ratios",
    "leading_ratios",
    "write_benchmark",
]

BENCHMARK_FILES = ("bench.json", "curves.png", "ratios.png")
"""Files that `write_benchmark` writes."""

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def leading_ratios(report: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The start in whose times others are told, and the ratios to it: a fitted one, if it was measured.

    Args:
        report: report of a benchmark.

    Example:
        >>> leading_ratios({"ratio": {"base": {}}, "ratio_to_fitted": {}})
        ('generated', {'base': {}})
    """
    fitted = report.get("ratio_to_fitted") or {}
    return ("fitted", fitted) if fitted else ("generated", report["ratio"])


def draw_curves(report: Mapping[str, Any]) -> bytes:
    """Plot the mean PSNR by length of schedule, with bootstrap intervals as bands.

    Args:
        report: report of a benchmark.

    Returns:
        A PNG file.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    for method, summary in report["methods"].items():
        points = [
            (int(length), psnr, summary["psnr_interval"][length])
            for length, psnr in summary["psnr"].items()
            if psnr is not None and summary["psnr_interval"][length] is not None
        ]
        lengths = [length for length, _, _ in points]
        colour = STARTS[method].colour
        lows, highs = [ends[0] for _, _, ends in points], [ends[1] for _, _, ends in points]
        axes.fill_between(lengths, lows, highs, color=colour, alpha=0.12, lw=0)
        label = STARTS[method].short + (f" ({summary['start']})" if method == "scratch_best" else "")
        axes.plot(lengths, [psnr for _, psnr, _ in points], "o-", color=colour, ms=3.5, lw=1.5, label=label)
    first = report["lengths"][1]
    axes.set_xscale("symlog", linthresh=first, linscale=0.35)
    axes.set_xticks(report["lengths"], [str(length) for length in report["lengths"]])
    axes.minorticks_off()
    axes.set_xlabel("steps of the schedule; the learning rate is zero at its end", color=INK)
    axes.set_ylabel(f"PSNR, dB, mean over {report['n_concepts']} concepts", color=INK)
    dress_axes(axes)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    return encode_figure(figure)


def draw_ratios(report: Mapping[str, Any]) -> bytes:
    """Plot how many times longer other starts take than a fitted or a generated one, with intervals.

    Args:
        report: report of a benchmark with ratios.

    Returns:
        A PNG file.

    Raises:
        ValueError: the report has no ratios.
        MissingExtra: matplotlib is not installed.
    """
    ours, ratios = leading_ratios(report)
    if not ratios:
        raise ValueError("a benchmark without a generated and a fitted start has no ratios")
    methods = list(ratios)
    figure = new_figure(7.2, 0.9 + 0.75 * len(methods))
    axes = figure.add_subplot()
    height = 0.27
    for number, (target, label) in enumerate(TARGETS.items()):
        rows = [ratios[method][target] for method in methods]
        positions = [row + (number - 1) * height for row in range(len(methods))]
        values = [row["ratio"] for row in rows]
        spans = [
            [row["ratio"] - row["interval"][0] for row in rows],
            [row["interval"][1] - row["ratio"] for row in rows],
        ]
        more = [value - 1 for value in values]
        axes.barh(positions, more, height * 0.92, left=1, color=label.colour, label=label.short, xerr=spans,
                  error_kw={"ecolor": INK, "elinewidth": 0.9, "capsize": 2})  # fmt: skip
        for position, row, value in zip(positions, rows, values, strict=True):
            text = f" {bound_of(row)} {value:.1f}".replace("  ", " ")
            beside = max(1.0, row["interval"][1])  # a bar to the left has its text behind the line
            axes.text(beside, position, text, va="center", fontsize=8, color=INK)
    axes.axvline(1, color=QUIET, lw=0.8, ls=(0, (4, 3)))
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, 1.5 * high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(methods)), [STARTS[method].short for method in methods])
    axes.invert_yaxis()
    axes.set_xlabel(f"times the {ours} start's time, geometric mean over concepts", color=INK)
    dress_axes(axes, grid="x")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    return encode_figure(figure)


def write_benchmark(report: Mapping[str, Any], folder: Path, *, force: bool = False) -> None:
    """Write the report of a benchmark and its plots into a folder.

    Args:
        report: the report of a `Benchmark`, or its JSON.
        folder: folder for `BENCHMARK_FILES`; created if it is missing. A report without ratios gives no
            `ratios.png`.
        force: replace existing files.

    Raises:
        OutputError: a file exists and `force` is False, or the folder cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    check_free(folder, *BENCHMARK_FILES, force=force)
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    # Names of files that are not UTF-8 are escaped as JSON escapes them.
    data = text.encode(errors="backslashreplace") + b"\n"
    files = {"bench.json": data, "curves.png": draw_curves(report)}
    if leading_ratios(report)[1]:
        files["ratios.png"] = draw_ratios(report)
    else:  # the plot of an earlier benchmark would contradict the report
        (folder / "ratios.png").unlink(missing_ok=True)
    write_files(folder, files, force=force)


def benchmark_tables(report: Mapping[str, Any]) -> list[str]:
    """Format the report as tables, a list of lines; the first table compares with the paper."""
    lines = [*_head(report), "", *_times(report)]
    if report["classical"]:
        lines += ["", *_classical(report)]
    if report.get("after_seconds"):
        lines += ["", *_after_seconds(report)]
    if report.get("ratio_to_fitted"):
        lines += ["", *_to_fitted(report)]
    if leading_ratios(report)[1]:
        lines += ["", *_losses(report)]
    return lines


def _head(report: Mapping[str, Any]) -> list[str]:
    settings, machine = report["settings"], report["machine"]
    where = machine.get("gpu", machine["processor"])
    hours = sum(report["seconds"].values()) / 3600
    return [
        f"{report['zoo']}  revision {report['revision'][:7]}  {report['n_concepts']} concepts  "
        f"crops of {settings['crop_size']}  pix2pix of width {settings['unet_width']} (64 by the book)",
        f"{where}, {report['n_workers']} at a time, {hours:.2f} h in all; "
        f"{report['intervals']['level']:.0%} bootstrap intervals over concepts",
    ]


def _times(report: Mapping[str, Any]) -> list[str]:
    title = f"{'method':14} {'paper s':>8} {'ratio':>6} | {'ms/step':>8} {'s to 3 dB':>10} {'ratio':>22}"
    lines = [title + f" {'s to 1 dB':>10} {'ratio':>22} {'ratio to its best':>22} {'final dB':>9}"]
    fastest = report["paper"].get("generated", {}).get("seconds")
    for method, summary in report["methods"].items():
        paper = report["paper"].get(method, {}).get("seconds")
        line = f"{method:14} {_cell(paper, '.1f'):>8} {_cell(paper and paper / fastest, '.1f'):>6} | "
        line += f"{1000 * summary['step_seconds']:8.1f}"
        for target in summary["time"]:
            time = summary["time"][target]
            sign = ">=" if time["n_reached"] < report["n_concepts"] else ""
            seconds = f"{sign}{time['seconds']:.2f}"
            line += f" {seconds:>10} {_ratio_cell(report, method, target):>22}"
        line += f" {_ratio_cell(report, method, 'its_best'):>22}"
        final = report["final"]["psnr"][method]
        lines.append(line + f" {_cell(final, '.2f'):>9}")
    return lines


def _after_seconds(report: Mapping[str, Any]) -> list[str]:
    """PSNR of all methods after equal times."""
    lines = [f"{'dB after':14}" + "".join(f" {f'{limit} s':>18}" for limit in report["after_seconds"])]
    for method in report["methods"]:
        cells = []
        for row in report["after_seconds"].values():
            found = row[method]
            cells.append(
                "-"
                if found is None
                else f"{found['psnr']:.1f} [{found['interval'][0]:.1f}, {found['interval'][1]:.1f}]"
            )
        lines.append(f"{method:14}" + "".join(f" {cell:>18}" for cell in cells))
    return lines


def _to_fitted(report: Mapping[str, Any]) -> list[str]:
    """Times of all methods in units of those of a start fitted to pairs."""
    lines = [f"{'times fitted':14} {'to 3 dB':>22} {'to 1 dB':>22}"]
    for method, found in report["ratio_to_fitted"].items():
        cells = []
        for target in ("within_3db", "within_1db"):
            low, high = found[target]["interval"]
            bound = bound_of(found[target])
            cells.append(f"{bound} {found[target]['ratio']:.1f} [{low:.1f}, {high:.1f}]".strip())
        lines.append(f"{method:14} " + " ".join(f"{cell:>22}" for cell in cells))
    return lines


def _classical(report: Mapping[str, Any]) -> list[str]:
    rows = report["classical"]
    lengths = list(rows[0]["psnr"])
    lines = [
        f"{'classical':17}" + "".join(f" {'@' + length:>7}" for length in lengths) + "  verdict    agrees"
    ]
    for row in rows:
        cells = "".join(f" {_cell(row['psnr'][length], '.2f'):>7}" for length in lengths)
        lines.append(f"{row['name']:17}{cells}  {row['verdict']:9}  {'yes' if row['agrees'] else 'no'}")
    return lines


def _losses(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for ours, key in (("generated", "lost_to"), ("fitted", "fitted_lost_to")):
        if ours not in report["methods"]:
            continue
        for target in report["concepts"][0].get(key, {}):
            lost = [
                f"{row['concept']} ({', '.join(row[key][target])})"
                for row in report["concepts"]
                if row[key][target]
            ]
            lines.append(f"{ours} lost {TARGETS[target].short}: {', '.join(lost) or 'none'}")
    return lines


def _ratio_cell(report: Mapping[str, Any], method: str, target: str) -> str:
    ratio = report["ratio"].get(method, {}).get(target)
    if ratio is None:
        return "-"
    low, high = ratio["interval"]
    sign = {"at least": ">=", "about": "~", "": ""}[bound_of(ratio)]
    return f"{sign}{ratio['ratio']:.1f} [{low:.1f}, {high:.1f}]"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
