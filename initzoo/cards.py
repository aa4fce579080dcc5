"""The cards of a zoo: README.md of its dataset and of its model, written from what was measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidZoo
from initzoo.index import IndexRow
from initzoo.outputs import write_bytes
from initzoo.zoo import Zoo

__all__ = ["dataset_card", "model_card", "write_cards"]

_SPLITS = {
    "train": "what the base, the shared A and everything else that is tuned may see",
    "heldout-composed": "new combinations of known parts; nothing but their own fit saw them",
    "heldout-new": "a word, strength, colour or operator that no train concept uses",
}


def write_cards(zoo: Zoo) -> list[Path]:
    """Write `dataset/README.md` and `model/README.md` of a zoo in a folder, replacing older ones.

    Raises:
        InvalidZoo: the zoo is damaged, or its `dataset/harvest.json` is missing.
        OutputError: a card cannot be written.
    """
    paths = [zoo.folder / "dataset" / "README.md", zoo.folder / "model" / "README.md"]
    for path, text in zip(paths, (dataset_card(zoo), model_card(zoo)), strict=True):
        write_bytes(path, text.encode(), force=True)
    return paths


def dataset_card(zoo: Zoo) -> str:
    """The card of a zoo's dataset: what the checkpoints are, how good, how made, under which licences.

    Every number comes from the index or from the report of the harvest.

    Raises:
        InvalidZoo: the zoo is damaged, or its `dataset/harvest.json` is missing.
    """
    rows, report = zoo.index.rows(), _read_report(zoo)
    recipe, layout, machine = zoo.recipe, zoo.layout, report["machine"]
    n_bytes = sum(row.byte_end - row.byte_start for row in rows)
    licences = sorted({row.licence for row in rows})
    minutes = {stage: seconds / 60 for stage, seconds in report["seconds"].items()}
    spent = ", ".join(f"{stage} {value:.1f}" for stage, value in minutes.items())
    return f"""---
license: {licences[0].lower() if len(licences) == 1 else "other"}
pretty_name: initzoo {recipe.name}
library_name: initzoo
tags:
- initzoo
- weight-space
- image-to-image
size_categories:
- {_size_category(len(rows))}
configs:
- config_name: default
  data_files: index.parquet
---

# initzoo {recipe.name}: {len(rows):,} checkpoints of one image-to-image network

Each row of `index.parquet` is a trained checkpoint of an image edit, e.g. "{rows[0].prompts[0]}": its
wordings,
what made its training pairs, its scores on photos never trained on, and where its weights lie in
`blocks/*.safetensors`, with their SHA-256. Get one with

    pip install initzoo
    initzoo pull "pencil sketch"

A checkpoint is an adapter of {layout.n_values:,} values ({layout.n_blocks} blocks of
{layout.block_size}, float16)
on a base that all share (`model/base/{recipe.name}`). All payloads together are {n_bytes / 1e6:.1f} MB.

## Splits

{_table(("split", "concepts", "what it is"), _split_lines(rows))}

Of `heldout-new`: {_counted(row.novelty for row in rows if row.split == "heldout-new")}. Two or three
wordings of every
concept (`test_prompts`) are kept for tests.

## Scores

PSNR in dB and SSIM of the luma, means over concepts and over the scoring photos, which no training saw;
a photo's
short side is {recipe.photo_size} pixels. "Mean" is the mean adapter of the train split: it knows nothing
of the words.
`initzoo evaluate --split train` measures them again.

### train

{_score_table(rows, "train")}

### heldout-composed

{_score_table(rows, "heldout-composed")}

### heldout-new

{_score_table(rows, "heldout-new")}

Storing weights as float16 costs {report["float16_cost"]:.4f} dB (mean over every eighth concept).

The lowest of the train split: {_lowest(rows)}.

## How it was made

Concepts come from `concepts.toml`; teachers are image filters, applied to whole photos. Restorations
spoil the
photo that the network sees instead, and the photo is the target. Photos are those that scikit-image and
scikit-learn
carry, varied (mirrored, turned, scaled, recoloured), split by photo into training and scoring.

Base, shared A and a small adapter for each train concept were trained jointly ({recipe.joint.n_rounds}
visits a concept,
{recipe.joint.n_lanes} concepts an update); the mean adapter was merged into the base and A whitened.
Then every concept's
adapter was fitted alone, from zero, in {recipe.fit.n_steps} steps on the same photos in the same order.

It took {sum(minutes.values()):.0f} minutes ({spent}) on {report["n_workers"]} cores of an
{machine["processor"]}, with
PyTorch {machine["torch"]}, one thread a process: {report["concepts_per_core_minute"]:.1f} concepts a
minute and core,
`initzoo harvest --out FOLDER` prints it. {_failures(report["failures"])}

## Licences

Weights: {", ".join(licences)}. Photos were used for training and scoring only and are not part of this
dataset;
`catalog/photos/photos.toml` of initzoo names author, licence and source of each.

## Limits

The checkpoints imitate filters that look at about {_reach(zoo)} pixels around each pixel of a photo
whose short side is
{recipe.photo_size} pixels; on larger photos the same edit looks finer. Few photos were trained on:
faces, text and night
scenes are hardly among them. Very small lines (ink, engraving, scratchboard) and strong noise are where
scores are lowest.
"""


def model_card(zoo: Zoo) -> str:
    """The card of a zoo's model: the base that its checkpoints share.

    Raises:
        InvalidZoo: the zoo is damaged.
    """
    recipe, layout = zoo.recipe, zoo.layout
    n_base = sum(array.size for name, array in zoo.base().items() if not name.endswith(".A"))
    n_shared = sum(array.size for name, array in zoo.base().items() if name.endswith(".A"))
    layers = [
        (layer.name, f"{layer.n_in} to {layer.n_out}", str(layer.kernel), str(layer.stride), str(layer.rank))
        for layer in recipe.network.layers
    ]
    return f"""---
license: {zoo.config.licence.lower()}
library_name: initzoo
pipeline_tag: image-to-image
tags:
- initzoo
- weight-space
---

# initzoo {recipe.name}: the base

`base/{recipe.name}/` holds the weights that all checkpoints of the zoo share: {n_base:,} weights and
biases of a fully
convolutional image network, and {n_shared:,} values of A, the half of each low-rank adapter that is the
same for all
concepts. A checkpoint adds B and a bias for every layer: weight + B A, {layout.n_values:,} values in
{layout.n_blocks} blocks of {layout.block_size}. With no adapter the base does what the mean of the train
concepts does.

    from initzoo import Pix2Pix
    model = Pix2Pix.from_pretrained("pencil sketch")   # an nn.Module, ready to use or to fine-tune

{_table(("layer", "channels", "kernel", "stride", "rank"), layers)}

`detail`, `decoder` and `head` work at half resolution on pixels packed by four, `down` to `up` at a
quarter.
Photos are float32 from -1 to 1, of any size. How it was trained and what it scores stands in the
dataset's card.
"""


def _read_report(zoo: Zoo) -> dict[str, Any]:
    path = zoo.folder / "dataset" / "harvest.json"
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidZoo(f"cannot read '{path}', which a harvest leaves: {error}. Harvest again.") from error
    return report


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _split_lines(rows: Sequence[IndexRow]) -> list[tuple[str, str, str]]:
    counts = Counter(row.split for row in rows)
    return [(split, f"{counts[split]:,}", meaning) for split, meaning in _SPLITS.items() if counts[split]]


def _score_table(rows: Sequence[IndexRow], split: str) -> str:
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        return "No concept of this split."
    lines = []
    for family in [*sorted({row.family for row in chosen}), "all"]:
        group = [row for row in chosen if family in (row.family, "all")]
        cells = [
            f"{_mean(row.scores[f'psnr{kind}'] for row in group):.2f} / "
            f"{_mean(row.scores[f'ssim{kind}'] for row in group):.3f}"
            for kind in ("_untouched", "_mean", "")
        ]
        lines.append((family, str(len(group)), *cells))
    return _table(("family", "concepts", "untouched photo", "mean of the zoo", "checkpoint"), lines)


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _lowest(rows: Sequence[IndexRow], n: int = 8) -> str:
    scored = [row for row in rows if row.split == "train" and row.psnr is not None]
    lowest = sorted(scored, key=lambda row: row.psnr or 0.0)[:n]
    return ", ".join(f"{row.concept_id} ({row.psnr:.1f} dB)" for row in lowest)


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{count} new {name}" for name, count in Counter(names).most_common()) or "none"


def _failures(failures: Sequence[Sequence[str]]) -> str:
    if not failures:
        return "No concept failed."
    return "Failed: " + "; ".join(f"{concept_id} ({reason})" for concept_id, reason in failures) + "."


def _reach(zoo: Zoo) -> int:
    return zoo.recipe.network.reach


def _size_category(n_rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if n_rows < limit:
            return name
    return "100K<n<1M"
