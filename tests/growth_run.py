"""Measures what a larger zoo costs and brings, and draws it: `make growth` prints a table.

An index of N rows is made up, and opened and searched by a fresh process. Weight generators are trained alike
on shares of the bundled zoo's train concepts, and answer the same held-out ones. A harvest is measured on two
small numbers of concepts; all its parts grow with their number. What lies beyond the zoo is extrapolated:
costs by lines, quality by a line over the logarithm of the number of concepts. What is measured is kept in
FOLDER, and a run that was stopped goes on: python tests/growth_run.py FOLDER --out docs
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
from large_index import name_of, write_large_index
from times import processor

__all__ = ["extrapolate_quality", "table"]

SIZES = (250, 500, 1000, 2000, 5500)
INDEXED = (*SIZES, 100_000)
HARVESTED = (6, 18)
TRAINING = (
    "--no-practice", "--width", "96", "--layers", "2", "--lanes", "1", "--workers", "1",
    "--weight-steps", "500", "--weight-batch", "32", "--behaviour-steps", "700", "--behaviour-batch", "32",
    "--whole-share", "0.03",
)  # fmt: skip
"""Enough to compare numbers of concepts, too little for a good generator."""

N_QUESTIONS = 40
"""Held-out concepts of each kind, each in its plain name and a test wording."""

SPLITS = {"heldout-composed": "new combinations", "heldout-new": "something new"}

_SEARCH = r"""
import re, sys, time
from pathlib import Path
from initzoo.zoo.index import Index
begin = time.perf_counter()
index = Index.open(Path(sys.argv[1]), lookup_folder=lambda: Path(sys.argv[2]))
opened = time.perf_counter()
assert index.find(sys.argv[3]) is not None
found = time.perf_counter()
index.search(sys.argv[3].replace("number", "numbr"))
searched = time.perf_counter()
# ru_maxrss would begin with the memory of the parent.
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
print(opened - begin, found - opened, searched - found, peak)
"""


def main() -> None:
    """Measure what is missing in the folder, print the table, and write figures and plot if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="folder for growth.json and growth.png")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = given.folder / "growth.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"machine": processor()}

    def measure(part: str, size: int, function: Callable[[Path, int], Mapping[str, float]]) -> None:
        own = report.setdefault(part, {})
        if str(size) not in own:
            own[str(size)] = dict(function(given.folder, size))
            kept.write_text(json.dumps(report, indent=1) + "\n")
            sys.stderr.write(f"{part} {size}: {own[str(size)]}\n")

    for size in INDEXED:
        measure("index", size, measure_index)
    for size in HARVESTED:
        measure("harvest", size, measure_harvest)
    n_train = count_train_concepts()
    for size in (size for size in SIZES if size < n_train):
        measure("generator", size, lambda folder, size: measure_generator(folder, size, n_train))
    sys.stdout.write(table(report) + "\n")
    if given.out:
        (given.out / "growth.json").write_text(json.dumps(report, indent=1) + "\n")
        (given.out / "growth.png").write_bytes(draw(report))


def measure_index(folder: Path, n_rows: int) -> dict[str, float]:
    """Seconds and memory of a fresh process that opens an index, finds a wording and a misspelt one.

    The second of two processes is measured: the first makes the lookup of a large index, which is kept.
    """
    path = folder / f"index-{n_rows}.parquet"
    write_large_index(path, n_rows)
    command = [sys.executable, "-c", _SEARCH, str(path), str(folder / "lookups"), name_of(n_rows // 2)]
    (folder / "lookups").mkdir(exist_ok=True)
    first, second = (_floats(subprocess.check_output(command, text=True)) for _ in range(2))
    n_bytes = path.stat().st_size
    path.unlink()
    opened, found, searched, n_kilobytes = second
    return {
        "bytes": n_bytes, "first_seconds": sum(first[:2]), "seconds_open": opened, "seconds_find": found,
        "seconds_search": searched, "mib": n_kilobytes / 1024,
    }  # fmt: skip


def measure_harvest(folder: Path, n_concepts: int) -> dict[str, float]:
    """Processor seconds of a harvest: two visits in the joint stage to each concept, and all of its fit."""
    words = ["--joint-rounds", "2", "--detail-concepts", "0", "--limit", str(n_concepts), "--workers", "1"]
    return _run(["harvest", *words, "--force", "--out", str(folder / f"zoo-{n_concepts}")])


def measure_generator(folder: Path, n_concepts: int, n_train: int) -> dict[str, float]:
    """Seconds, memory and quality of a generator trained on `n_concepts` of the bundled zoo's `n_train`."""
    out, share = folder / f"generator-{n_concepts}", n_concepts / n_train
    shutil.rmtree(f"{out}.run", ignore_errors=True)  # what is resumed takes less time and memory
    figures = _run(
        ["generator", "train", *TRAINING, "--train-share", repr(share), "--force", "--out", str(out)]
    )
    return figures | measure_quality(out)


def measure_quality(folder: Path) -> dict[str, float]:
    """PSNR of what a generator makes of held-out concepts, dB, with intervals over concepts."""
    import torch

    from initzoo import WeightGenerator, Zoo
    from initzoo.evaluation.bootstrap import bootstrap_means, interval
    from initzoo.evaluation.cases import ask_about_zoo
    from initzoo.pairs import PhotoSource, mean_psnr, scoring_pairs

    torch.set_num_threads(1)
    zoo, generator = Zoo.from_pretrained("starter"), WeightGenerator.from_pretrained(folder)
    photos = PhotoSource().load()
    figures = {}
    for split in SPLITS:
        scores = []
        for question in ask_about_zoo(zoo, limit=N_QUESTIONS):
            if question.split == split:
                inputs, targets = scoring_pairs(question.teacher, photos)
                networks = [zoo.network(generator.generate(words)) for words in question.words]
                edited = [[network.edit(photo) for photo in inputs] for network in networks]
                scores.append(np.mean([mean_psnr(images, targets) for images in edited]))
        figures[f"psnr {split}"] = float(np.mean(scores))
        means = bootstrap_means(np.array([scores]), n_resamples=2000, seed=0)[0]
        figures[f"low {split}"], figures[f"high {split}"] = interval(means, 0.95)
    return figures


def count_train_concepts() -> int:
    """Number of train concepts of the bundled zoo."""
    from initzoo.zoo import Zoo

    return sum(row.split == "train" for row in Zoo.from_pretrained("starter").index.rows())


def extrapolate_quality(report: Mapping[str, Any], split: str, size: int) -> float:
    """PSNR at `size` concepts, dB, by a least-squares line over the logarithm of measured numbers.

    Example:
        >>> rows = {"100": {"psnr new": 20.0}, "200": {"psnr new": 21.0}, "400": {"psnr new": 22.0}}
        >>> round(extrapolate_quality({"generator": rows}, "new", 800), 6)
        23.0
    """
    measured = report["generator"]
    logs = [math.log2(int(name)) for name in measured]
    slope, offset = np.polyfit(logs, [own[f"psnr {split}"] for own in measured.values()], 1)
    return float(slope * math.log2(size) + offset)


def table(report: Mapping[str, Any]) -> str:
    """Markdown table of a report; extrapolated figures are in brackets."""
    lines = [
        "| concepts | fits, core hours | index, MB | opened and found, s | memory, MB | "
        "memory of training, GB | new combinations, dB | something new, dB |",
        "| ---: " * 8 + "|",
    ]
    trained = {int(name): own for name, own in report["generator"].items()}
    per_concept = seconds_a_concept(report)
    for size in sorted({*SIZES, *trained}):
        index, own = report["index"].get(str(size)), trained.get(size)
        cells = [f"{size:,}", f"({per_concept * size / 3600:.1f})"]
        if index:
            cells += [f"{index['bytes'] / 1e6:.2f}", f"{index['seconds_open'] + index['seconds_find']:.3f}"]
            cells += [f"{index['mib'] * 1.048576:.0f}"]
        else:
            cells += ["–"] * 3
        cells += [f"{own['mib'] / 1024:.1f}" if own else f"({_memory_at(trained, size):.1f})"]
        for split in SPLITS:
            value = own[f"psnr {split}"] if own else extrapolate_quality(report, split, size)
            cells += [f"{value:.1f}" if own else f"({value:.1f})"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seconds_a_concept(report: Mapping[str, Any]) -> float:
    """Core seconds of a harvest for one more concept, with all visits of the joint stage."""
    few, many = HARVESTED
    seconds = {size: report["harvest"][str(size)]["processor_seconds"] for size in HARVESTED}
    return (seconds[many] - seconds[few]) / (many - few)


def draw(report: Mapping[str, Any]) -> bytes:
    """Draw quality by number of concepts, measured with intervals and extrapolated, as a PNG file."""
    from initzoo.evaluation.report.plots import dress_axes, encode_figure, new_figure
    from initzoo.zoo import QUIET

    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    trained = {
        int(name): own for name, own in sorted(report["generator"].items(), key=lambda row: int(row[0]))
    }
    looks = (("#2f6db3", 0.98, 6), ("#c8602a", 1.02, -26))  # side by side, so that intervals can be read
    for (split, label), (colour, aside, place) in zip(SPLITS.items(), looks, strict=True):
        values = [own[f"psnr {split}"] for own in trained.values()]
        below = [own[f"psnr {split}"] - own[f"low {split}"] for own in trained.values()]
        above = [own[f"high {split}"] - own[f"psnr {split}"] for own in trained.values()]
        axes.errorbar(
            [aside * size for size in trained],
            values,
            yerr=[below, above],
            color=colour,
            marker="o",
            capsize=3,
            lw=0,
            elinewidth=1,
        )
        sizes = [SIZES[0], SIZES[-1]]
        axes.plot(
            sizes, [extrapolate_quality(report, split, size) for size in sizes], color=colour, lw=1, ls="--"
        )
        axes.annotate(
            label, (sizes[1], extrapolate_quality(report, split, sizes[1])), xytext=(0, place),
            textcoords="offset points", ha="right", color=colour, fontsize=9,
        )  # fmt: skip
    axes.axvline(max(trained), color=QUIET, lw=0.8, ls=":")
    axes.annotate(
        " extrapolated", (max(trained), axes.get_ylim()[0]), xytext=(0, 4),
        textcoords="offset points", color=QUIET, fontsize=8,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    axes.minorticks_off()
    axes.set_xlabel("train concepts")
    axes.set_ylabel("PSNR, dB")
    dress_axes(axes)
    return encode_figure(figure)


def _memory_at(trained: Mapping[int, Mapping[str, float]], size: int) -> float:
    slope, offset = np.polyfit(list(trained), [own["mib"] / 1024 for own in trained.values()], 1)
    return float(slope * size + offset)


def _run(words: Sequence[str]) -> dict[str, float]:
    """Run a command to its end; its seconds, processor seconds, and largest memory of one process, MiB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "initzoo", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"initzoo {' '.join(words)} ended with status {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": time.perf_counter() - began,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "mib": usage.ru_maxrss / 1024,
    }


def _floats(text: str) -> list[float]:
    return [float(word) for word in text.split()]


if __name__ == "__main__":
    main()
