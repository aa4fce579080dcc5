"""The cards of a zoo: README.md of its dataset and of its model, filled in from measurements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from initzoo.checkpoints import Recipe
from initzoo.errors import InvalidZoo
from initzoo.files import write_bytes
from initzoo.pairs import TEACHING_SIDE
from initzoo.zoo.cards.generator import generator_section
from initzoo.zoo.cards.tables import inert, inert_code, inert_tag, inert_values, markdown_table
from initzoo.zoo.index import IndexRow
from initzoo.zoo.labels import SCORED, SPLITS
from initzoo.zoo.zoo import Zoo

__all__ = ["dataset_card", "model_card", "write_cards", "write_model_card"]


def write_cards(zoo: Zoo) -> list[Path]:
    """Write `dataset/README.md` and `model/README.md` of a zoo in a folder, replacing older ones.

    Raises:
        InvalidZoo: the zoo or its `dataset/harvest.json` is damaged.
        OutputError: a card cannot be written.
    """
    path = zoo.folder / "dataset" / "README.md"
    write_bytes(path, dataset_card(zoo).encode(), force=True)
    return [path, write_model_card(zoo)]


def write_model_card(zoo: Zoo) -> Path:
    """Write `model/README.md` of a zoo in a folder, replacing an older one.

    Raises:
        InvalidZoo: the zoo is damaged, or has a weight generator without an `evaluation.json`.
        OutputError: the card cannot be written.
    """
    path = zoo.folder / "model" / "README.md"
    write_bytes(path, model_card(zoo).encode(), force=True)
    return path


def dataset_card(zoo: Zoo, *, repo: str | None = None) -> str:
    """The card of a zoo's dataset: its checkpoints, their scores, making and licences.

    Every number comes from the zoo or from the report of its harvest.

    Args:
        zoo: a zoo in a folder; without `dataset/harvest.json`, the section on its making is left out.
        repo: repo of the published zoo, `owner/name`; None for an unpublished zoo.

    Raises:
        InvalidZoo: the zoo or its report is damaged.
    """
    rows, recipe, layout = zoo.index.rows(), zoo.recipe, zoo.layout
    licences = sorted({row.licence for row in rows})
    first_prompt, first_command = inert(rows[0].prompts[0]), inert_code(rows[0].prompts[0])
    return _template("dataset.md").format(
        hub="" if repo is None else _template("hub_dataset.md").format(repo=repo, first_prompt=first_command),
        made=_made(zoo),
        licence_tag=inert_tag(licences[0]) if len(licences) == 1 else "other",
        recipe=recipe.name,
        size_category=_size_category(len(rows)),
        n_checkpoints=f"{len(rows):,}",
        first_prompt=first_prompt,
        first_command=first_command,
        n_values=f"{layout.n_values:,}",
        n_blocks=layout.n_blocks,
        block_size=layout.block_size,
        payload_size=f"{sum(row.byte_end - row.byte_start + row.detail_bytes for row in rows) / 1e6:.1f} MB",
        details=_details(rows),
        splits=markdown_table(("split", "concepts", "what it is"), _split_lines(rows)),
        novelties=_counted(row.novelty for row in rows if row.split == "heldout-new"),
        photo_size=inert_values(zoo.config.made_with.get("photo_size", TEACHING_SIDE)),
        scores_train=_score_table(rows, "train"),
        scores_composed=_score_table(rows, "heldout-composed"),
        scores_new=_score_table(rows, "heldout-new"),
        lowest=_lowest(rows),
        licences=", ".join(map(inert, licences)),
        reach=recipe.network.build().reach,
    )


def model_card(zoo: Zoo, *, repo: str | None = None) -> str:
    """The card of a zoo's model: the base that its checkpoints share, and its weight generator.

    Args:
        zoo: a zoo in a folder.
        repo: repo of the published zoo, `owner/name`; None for an unpublished zoo.

    Raises:
        InvalidZoo: the zoo is damaged, or has a weight generator without an `evaluation.json`.
    """
    recipe, layout, base = zoo.recipe, zoo.layout, zoo.base()
    layers = _layer_lines(recipe)
    hub = ""
    if repo is not None:
        first = next(zoo.index.each_row())
        hub = _template("hub_model.md").format(repo=repo, first_prompt=inert_code(first.prompts[0]))
    return _template("model.md").format(
        front_matter="" if repo is None else f"datasets:\n- {repo}\n",
        hub=hub,
        licence_tag=inert_tag(zoo.config.licence),
        recipe=recipe.name,
        n_base=f"{sum(array.size for name, array in base.items() if not name.endswith('.A')):,}",
        n_shared=f"{sum(array.size for name, array in base.items() if name.endswith('.A')):,}",
        n_values=f"{layout.n_values:,}",
        n_blocks=layout.n_blocks,
        block_size=layout.block_size,
        weight_generator=generator_section(zoo),
        kind=inert_code(recipe.network.kind),
        layers=markdown_table(("layer", "channels", "kernel", "stride", "rank"), layers),
    )


def _layer_lines(recipe: Recipe) -> list[tuple[str, ...]]:
    """Name, channels, kernel, stride and rank of each adapted layer; dashes for what a layer lacks."""
    network = recipe.network.build()
    lines: list[tuple[str, ...]] = []
    for name, rank in recipe.ranks.items():
        n_out, *inside = recipe.weight_shapes[f"{name}.weight"]
        n_in, *kernel = inside or (n_out,)  # a normalisation has as many channels as come in
        stride = getattr(network.get_submodule(name), "stride", None)
        sizes = (str(kernel[0]) if kernel else "-", str(stride[0]) if stride else "-")
        lines.append((inert(name), f"{n_in} to {n_out}", *sizes, str(rank)))
    return lines


def _made(zoo: Zoo) -> str:
    """How the zoo was made, from the report of its harvest; empty without a report."""
    path = zoo.folder / "dataset" / "harvest.json"
    if not path.exists():
        return ""
    try:
        report: dict[str, Any] = inert_values(json.loads(path.read_bytes()))
        cost, made_with = report["float16_cost"], inert_values(dict(zoo.config.made_with))
        minutes = {stage: seconds / 60 for stage, seconds in report["seconds"].items()}
        return _template("made.md").format(
            float16_cost=""
            if cost is None
            else f"\nStoring weights as float16 costs {cost:.5f} dB (mean over every eighth concept).",
            n_rounds=made_with["joint"]["n_rounds"],
            n_lanes=made_with["joint"]["n_lanes"],
            n_steps=made_with["fit"]["n_steps"],
            n_steps_new=_n_steps_new(made_with["fit"]),
            minutes=f"{sum(minutes.values()):.0f}",
            minutes_by_stage="; ".join(f"{stage} {value:.1f}" for stage, value in minutes.items()),
            processor=report["machine"]["processor"],
            torch=report["machine"]["torch"],
            rate=f"{report['concepts_per_core_minute']:.1f}",
            failures=_failures(report["failures"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidZoo(f"cannot read '{path}', which a harvest leaves: {error}. Harvest again.") from error


def _n_steps_new(fit: Mapping[str, Any]) -> str:
    """The longer fits of a recipe, if it has some."""
    n_steps = fit.get("n_steps_new")
    return f" ({n_steps} for a concept that was not in the joint stage)" if n_steps else ""


def _template(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _split_lines(rows: Sequence[IndexRow]) -> list[tuple[str, str, str]]:
    counts = Counter(row.split for row in rows)
    return [(split, f"{counts[split]:,}", label.meaning) for split, label in SPLITS.items() if counts[split]]


def _details(rows: Sequence[IndexRow]) -> str:
    """A paragraph on the checkpoints with a detail; empty if there are none."""
    sizes = [row.detail_bytes for row in rows if row.has_detail]
    if not sizes:
        return ""
    return (
        f"{len(sizes)} checkpoints also have a detail (`detail_bytes` in the index): all weights were "
        "trained, and their difference to base and adapter follows the blocks, packed, "
        f"{sum(sizes) / len(sizes) / 1e3:.0f} kB on average. A pull adds it; `--adapter-only` leaves it out, "
        "and `psnr_adapter` is the score without it.\n\n"
    )


def _score_table(rows: Sequence[IndexRow], split: str) -> str:
    """Mean PSNR and SSIM per family, of the untouched photo, the mean adapter and the checkpoint."""
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
        lines.append((inert(family), str(len(group)), *cells))
    return markdown_table(("family", "concepts", *(label.long for label in SCORED.values())), lines)


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _lowest(rows: Sequence[IndexRow], n: int = 8) -> str:
    scored = [(row.psnr, row.concept_id) for row in rows if row.split == "train" and row.psnr is not None]
    return ", ".join(f"{concept_id} ({psnr:.1f} dB)" for psnr, concept_id in sorted(scored)[:n])


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{count} new {inert(name)}" for name, count in Counter(names).most_common()) or "none"


def _failures(failures: Sequence[Sequence[str]]) -> str:
    if not failures:
        return "No concept failed."
    return "Failed: " + "; ".join(f"{concept_id} ({reason})" for concept_id, reason in failures) + "."


def _size_category(n_rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if n_rows < limit:
            return name
    return "100K<n<1M"
