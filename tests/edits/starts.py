"""Train the sixteen edits from several starts, on ten pairs each: `make edit-starts` prints a table.

No zoo was made from these edits, and the photos that are scored are in no pair to train on. A start fitted to
the pairs spends a second on that and sees no words. Each start is trained as `finetune` does by default,
random weights at the rate that suits them. Seconds are those of the processor, and count the making of the
start. Outcomes are kept in FOLDER, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import torch
from numpy.typing import NDArray

from initzoo import Request, Zoo
from initzoo.evaluation.benchmark.time_to_quality import Rung, time_to
from initzoo.evaluation.report.grids import GridRow, draw_grid
from initzoo.files import write_image
from initzoo.pairs import Pair, mean_psnr
from initzoo.training import FinetuneSettings, Trainer, draw_batch, open_start
from initzoo.training.start import Start, start_from_init

from . import EDITS, edit_photos, make_edit_pairs

__all__ = ["measure", "table"]

Pixels = NDArray[np.uint8]

LENGTHS = (0, 20, 80, 300)
STARTS = ("fitted", "base", "random")
RANDOM, RANDOM_RATE = "orthogonal", 2e-2
"""The classical scheme that was best in the benchmark, and its best rate."""

_SHOWN = 2


def measure(name: str, zoo: Zoo, lengths: Sequence[int], folder: Path) -> dict[str, Any]:
    """Train an edit from each start for each length and score whole photos, with a contact sheet.

    Returns:
        By start, a list of `{"n_steps", "psnr", "seconds"}`; `one_pair`, the PSNR of a start fitted to one
        pair; `untouched`, that of the photos as they are.
    """
    learnt, scored = (make_edit_pairs(name, photos) for photos in edit_photos())
    wanted = [pair.wanted for pair in scored]
    one = zoo.pull(Request("", (learnt[0],)), warn=False).to_network()
    made: dict[str, Any] = {
        "untouched": mean_psnr([pair.given for pair in scored], wanted),
        "one_pair": mean_psnr([one.edit(pair.given) for pair in scored], wanted),
    }
    edited: dict[str, list[Pixels]] = {}
    for start in STARTS:
        rungs = []
        for n_steps in lengths:
            began = time.process_time()
            edit = train(start, zoo, learnt, n_steps, EDITS[name].grid)
            seconds = time.process_time() - began
            edited[start] = [edit(pair.given) for pair in scored]
            rungs.append({"n_steps": n_steps, "psnr": mean_psnr(edited[start], wanted), "seconds": seconds})
        made[start] = rungs
    rows = []
    for at in np.linspace(0, len(scored) - 1, _SHOWN).round().astype(int):
        images = (scored[at].given, scored[at].wanted, *(edited[start][at] for start in STARTS))
        note = ", ".join(f"{start} {made[start][-1]['psnr']:.1f} dB" for start in STARTS)
        rows.append(GridRow(title=f"{name}, after {lengths[-1]} steps", note=note, images=images))
    sheet = draw_grid(rows, ("given", "wanted", *STARTS), n_columns=1, side=256)
    write_image(folder / f"{name}.png", sheet, force=True)
    return made


def train(start: str, zoo: Zoo, pairs: Sequence[Pair], n_steps: int, grid: int) -> Callable[[Pixels], Pixels]:
    """Train from a start as `finetune` does; returns what edits a photo."""
    begin = open_named(start, zoo, pairs)
    rate = RANDOM_RATE if start == "random" else None
    settings = FinetuneSettings(n_steps=n_steps, crop_grid=max(8, grid), learning_rate=rate, gan="off")
    given = [(pair.given, pair.wanted) for pair in pairs]
    trainer = Trainer(begin.trainable(), settings, torch.device("cpu"))
    if n_steps:
        trainer.prepare(given)
    for step in range(n_steps):
        trainer.step(*draw_batch(given, settings, step))
    return begin.editor(begin.weights_of(trainer.kept)).edit


def open_named(start: str, zoo: Zoo, pairs: Sequence[Pair]) -> Start:
    """A start by its name in the table."""
    if start == "fitted":
        return start_from_init(zoo.pull(Request("", tuple(pairs)), warn=False), zoo)
    return open_start(RANDOM if start == "random" else "base", zoo)


def table(report: Mapping[str, Any]) -> str:
    """Markdown table of all edits: PSNR of whole photos, dB, and seconds to within 1 dB of the best."""
    shown = [rung["n_steps"] for rung in next(iter(report.values()))["base"]]
    lines = [
        "| edit | untouched | one pair, 1 s | ten pairs, 1 s | "
        f"fitted, {shown[-1]} steps | base, {shown[-1]} | random, {shown[-1]} | "
        "seconds to within 1 dB of the best: fitted | base | random |",
        "| --- " + "| ---: " * 9 + "|",
    ]
    for name, made in report.items():
        best = max(rung["psnr"] for start in STARTS for rung in made[start])
        cells = [made["untouched"], made["one_pair"], made["fitted"][0]["psnr"]]
        cells += [made[start][-1]["psnr"] for start in STARTS]
        times = [time_to([Rung(**rung) for rung in made[start]], best - 1) for start in STARTS]
        # The second of a fitted start alone can be enough.
        waits = [f"{'' if time.is_reached else '> '}{time.seconds:.0f}" for time in times]
        lines.append("| " + " | ".join([name, *(f"{cell:.1f}" for cell in cells), *waits]) + " |")
    means = [
        np.mean(
            [
                made[key] if isinstance(made[key], float) else made[key][place]["psnr"]
                for made in report.values()
            ]
        )
        for key, place in (
            ("untouched", 0),
            ("one_pair", 0),
            ("fitted", 0),
            *((start, -1) for start in STARTS),
        )
    ]
    lines.append("| mean | " + " | ".join(f"{mean:.1f}" for mean in means) + " | | | |")
    return "\n".join(lines)


def main() -> None:
    """Measure the edits that are not in the folder yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.edits.starts", description=__doc__)
    parser.add_argument("folder", type=Path, help="for outcomes and contact sheets")
    parser.add_argument("--edits", nargs="+", default=list(EDITS), choices=list(EDITS))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, help="numbers of steps, from 0")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    zoo, kept = Zoo.from_pretrained("starter"), chosen.folder / "starts.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in chosen.edits:
        if name not in report:
            report[name] = measure(name, zoo, chosen.lengths, chosen.folder)
            kept.write_text(json.dumps(report, indent=1) + "\n")
            sys.stderr.write(f"{name}\n")
    sys.stdout.write(table({name: report[name] for name in chosen.edits}) + "\n")


if __name__ == "__main__":
    main()
