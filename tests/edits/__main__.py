"""Write the pairs of all edits as folders, with a contact sheet: `python -m tests.edits --out FOLDER`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from initzoo.errors import InitzooError
from initzoo.files import replace_folder, write_bytes, write_image
from initzoo.pairs import Pair, score_images

from . import EDITS, edit_photos, make_edit_pairs

if TYPE_CHECKING:
    from initzoo.evaluation.report.grids import GridRow

_N_SHOWN = 4


def write_edits(photos: Path | None, out: Path, *, force: bool = False) -> None:
    """Write a folder per edit, with folders of pairs `train` and `score`, and `edits.json` and `sheet.png`.

    Args:
        photos: folder of photos; the bundled ones by default.
        out: the folder to write; its parent must exist.
        force: replace the folder with all its content.

    Raises:
        InvalidImage: a photo is missing.
        OutputError: `out` exists and `force` is False, or cannot be written.
    """
    from initzoo.evaluation.report.grids import draw_grid  # loads torch, which --help does not need

    train, score = edit_photos(photos)
    described, rows = {}, []
    with replace_folder(out, force=force) as beside:
        for name, edit in EDITS.items():
            parts = {"train": make_edit_pairs(name, train), "score": make_edit_pairs(name, score)}
            for part, pairs in parts.items():
                _write_pairs(pairs, beside / name / part)
            described[name] = {"words": edit.words, "kind": edit.kind, "grid": edit.grid}
            rows.append(_row(name, [*parts["train"], *parts["score"]]))
        write_bytes(beside / "edits.json", json.dumps(described, indent=2).encode(), force=False)
        sheet = draw_grid(rows, ("given", "wanted") * _N_SHOWN, n_columns=1, side=192)
        write_image(beside / "sheet.png", sheet, force=False)


def _write_pairs(pairs: Sequence[Pair], folder: Path) -> None:
    """Write pairs as `A` and `B`, as `open_pairs` reads them."""
    for side in ("A", "B"):
        (folder / side).mkdir(parents=True)
    for pair in pairs:
        write_image(folder / "A" / f"{pair.name}.png", pair.given, force=False)
        write_image(folder / "B" / f"{pair.name}.png", pair.wanted, force=False)


def _row(name: str, pairs: Sequence[Pair]) -> GridRow:
    """A row of the sheet: some pairs, spread evenly over the photos."""
    from initzoo.evaluation.report.grids import GridRow

    changes = [score_images([pair.given], [pair.wanted]).psnr for pair in pairs]
    shown = [pairs[i] for i in np.linspace(0, len(pairs) - 1, _N_SHOWN).round().astype(int)]
    images = tuple(image for pair in shown for image in (pair.given, pair.wanted))
    note = f"given to wanted: {np.mean(changes):.1f} dB ({min(changes):.1f} to {max(changes):.1f})"
    return GridRow(title=f"{name}: {EDITS[name].words[0]}", note=note, images=images)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.edits", description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photos; the bundled ones by default")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace the folder")
    chosen = parser.parse_args(arguments)
    try:
        write_edits(chosen.photos, chosen.out, force=chosen.force)
    except InitzooError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(EDITS)} edits -> {chosen.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
