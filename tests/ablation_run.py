""" ""Compares sizes of weight blocks and ways to group weights into blocks: `python tests/ablation_run.py`.

Each variant trains a weight generator of its own on the same train concepts, wordings, crops and steps, by
both stages of `initzoo generator train`. All are measured on the cases and photos of `initzoo generator
evaluate`. The run can be killed at any time; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import torch
from film_run import say, thinned
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.checkpoints import Layout, Recipe, join_blocks, split_blocks
from initzoo.evaluation import EvaluationSettings, ask_about_zoo
from initzoo.evaluation.cases import Question
from initzoo.evaluation.generator.measuring import Job, Measured, measure
from initzoo.evaluation.generator.statistics import summarise
from initzoo.files import write_bytes
from initzoo.generator import PhraseEncoder, Request, WeightGenerator
from initzoo.pairs import PhotoSource, catalog_folder
from initzoo.training import CropPlan, GeneratorSettings, TrainingData, train_generator, with_lexicon
from initzoo.training.generator import Stage
from initzoo.work import Pool
from initzoo.zoo import BUNDLED_ZOO, QUESTIONS, Zoo

__all__ = ["GROUPINGS", "REFERENCE", "VARIANTS", "Regrouped", "blocks_of", "regroup", "to_zoo"]

Blocks = NDArray[np.float32]
Order = NDArray[np.int64]

REFERENCE = "layer-256"
REPORT, TIMES = "ablations.json", "times.json"
TRAIN_LIMIT = 100  # as `initzoo generator evaluate` has it


def in_order(layout: Layout) -> Order:
    """Flat in the layout's order: blocks do not end where a layer does."""
    return np.arange(layout.n_values)


def by_kind(layout: Layout) -> Order:
    """Flat, all B before all biases."""
    kinds, _ = _describe(layout)
    return np.argsort(kinds, kind="stable")


def by_channel(layout: Layout) -> Order:
    """The first output channel of every layer, then the second of every layer, and so on."""
    _, channels = _describe(layout)
    return np.argsort(channels, kind="stable")


def at_random(layout: Layout) -> Order:
    """Values of any layers and channels in each block, the same for all checkpoints."""
    return np.random.default_rng(0).permutation(layout.n_values)


GROUPINGS: dict[str, Callable[[Layout], Order] | None] = {
    "layer": None,  # as the zoo has it: no block holds values of two layers
    "flat": in_order,
    "kind": by_kind,
    "channel": by_channel,
    "random": at_random,
}

VARIANTS = (REFERENCE, "layer-128", "layer-512", "channel-256", "flat-256", "kind-256", "random-256")
"""Grouping and block size."""


def _describe(layout: Layout) -> tuple[Order, Order]:
    """Of each value in the layout's order, whether it is of a bias, and its output channel."""
    kinds, channels = [], []
    for name, shape in layout.tensors:
        kinds.append(np.full(np.prod(shape), name.endswith(".bias")))
        channels.append(np.arange(shape[0]).repeat(np.prod(shape[1:], dtype=int)))
    return np.concatenate(kinds).astype(np.int64), np.concatenate(channels)


@dataclass(frozen=True)
class Regrouped:
    """Stands in for the recipe of a zoo in a training: the same adapters, their values in another order.

    Args:
        recipe: the recipe of the zoo.
        order: place in the zoo's flat adapter of each value.
    """

    recipe: Recipe
    order: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def layout(self) -> Layout:
        """One tensor of all values, so that only the last block has padding."""
        return Layout((("all.values", (len(self.order),)),), self.recipe.layout.block_size)

    def build_base(self, arrays: Mapping[str, np.ndarray] | None = None) -> nn.Module:
        return _Reordered(self.recipe.build_base(arrays), self.order)

    def from_zoo(self, blocks: Blocks) -> Blocks:
        """Blocks of the zoo in this order, cut by `layout`."""
        values = _flat(blocks, self.recipe.layout)[np.array(self.order)]
        return split_blocks({"all.values": values}, self.layout)

    def to_zoo(self, blocks: Blocks) -> Blocks:
        """The inverse of `from_zoo`."""
        values = np.empty(len(self.order), np.float32)
        values[np.array(self.order)] = _flat(blocks, self.layout)
        layout = self.recipe.layout
        ends = np.cumsum([np.prod(shape) for _, shape in layout.tensors])[:-1]
        parts = zip(layout.tensors, np.split(values, ends), strict=True)
        return split_blocks({name: part.reshape(shape) for (name, shape), part in parts}, layout)


class _Reordered(nn.Module):
    """A network with adapters whose values come in another order."""

    def __init__(self, base: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("places", torch.tensor(order).argsort())

    def forward(self, images: Tensor, adapters: Tensor) -> Tensor:
        edited: Tensor = self.base(images, adapters[..., self.places])
        return edited


def _flat(blocks: Blocks, layout: Layout) -> Blocks:
    return np.concatenate([value.ravel() for value in join_blocks(blocks, layout).values()])


def recipe_of(variant: str, recipe: Recipe) -> tuple[Recipe | Regrouped, int]:
    """The recipe and block size that a variant trains with."""
    grouping, size = variant.split("-")
    make_order = GROUPINGS[grouping]
    if make_order is None:
        return recipe, int(size)
    return Regrouped(recipe, tuple(make_order(recipe.layout).tolist())), int(size)


def blocks_of(variant: str, recipe: Recipe) -> NDArray[np.int64]:
    """Which value of the zoo's flat adapter is where in a variant's blocks; -1 at padding."""
    own, size = recipe_of(variant, recipe)
    order = np.array(own.order) if isinstance(own, Regrouped) else np.arange(recipe.layout.n_values)
    cut = replace(own.layout, block_size=size)
    ends = np.cumsum([np.prod(shape) for _, shape in cut.tensors])[:-1]
    parts = zip(cut.tensors, np.split(order + 1.0, ends), strict=True)
    return split_blocks({name: part.reshape(shape) for (name, shape), part in parts}, cut).astype(int) - 1


def to_zoo(blocks: Blocks, own: Recipe | Regrouped) -> Blocks:
    """Blocks of a variant's generator as blocks of the zoo."""
    return own.to_zoo(blocks) if isinstance(own, Regrouped) else blocks


def distinct(variants: Sequence[str], recipe: Recipe) -> dict[str, str]:
    """Each variant, and the first one with exactly the same blocks: itself, in most cases."""
    seen: dict[bytes, str] = {}
    return {one: seen.setdefault(_key(blocks_of(one, recipe)), one) for one in variants}


def _key(places: NDArray[np.int64]) -> bytes:
    return repr(places.shape).encode() + places.tobytes()


class Clock:
    """Seconds of the core by variant and stage, over all runs of a folder."""

    def __init__(self, path: Path, variant: str) -> None:
        self._path = path
        self._all = json.loads(path.read_text()) if path.is_file() else {}
        self.own: dict[str, float] = self._all.setdefault(variant, {})
        self._last = time.process_time()

    def add(self, stage: str) -> None:
        """Add the time since the last call to a stage."""
        now = time.process_time()
        self.own[stage] = self.own.get(stage, 0.0) + now - self._last
        self._last = now

    def save(self) -> None:
        write_bytes(self._path, json.dumps(self._all, indent=1).encode(), force=True)


def load_data(zoo: Zoo, options: argparse.Namespace) -> TrainingData:
    """Some train concepts, without practice, with some wordings of catalog and lexicon."""
    data = with_lexicon(TrainingData.from_zoo(zoo), seed=options.seed)
    return thinned(
        data.take(options.concepts / len(data.concept_ids), seed=options.seed)[0], options.wordings
    )


def regroup(data: TrainingData, variant: str) -> tuple[TrainingData, int]:
    """The same concepts with adapters as a variant groups them, and its block size."""
    own, size = recipe_of(variant, data.recipe)
    if not isinstance(own, Regrouped):
        return data, size
    blocks = np.stack([own.from_zoo(one) for one in data.blocks])
    # All that a training asks of a recipe is its name, its layout and the base to run.
    return replace(data, recipe=cast(Recipe, own), blocks=blocks), size


def train(
    variant: str, data: TrainingData, text: PhraseEncoder, options: argparse.Namespace
) -> WeightGenerator:
    """Train the weight generator of a variant, or go on with it."""
    data, size = regroup(data, variant)
    settings = GeneratorSettings(
        weights=Stage(options.weight_steps, options.batch, 1e-3),
        behaviour=Stage(options.steps, options.batch, 8e-4, pure_share=0.875),
        block_size=size,
        width=options.width,
        n_lanes=1,
        seed=options.seed,
    )
    clock = Clock(options.folder / TIMES, variant)
    shown = [""]

    def show(stage: str, n_done: int, n_all: int, loss: float) -> None:
        clock.add(stage if stage == shown[0] else "preparation")
        if stage != shown[0] or n_done == n_all:
            say(f"{variant}: {stage} {n_done} of {n_all}, loss {loss:.4f}")
            clock.save()
        shown[0] = stage

    result = train_generator(
        data,
        text,
        settings,
        options.folder / "run",
        n_workers=1,
        crop_plan=CropPlan(n_photos=6, crops_per_photo=2, crop_size=data.crop_size, grid=data.crop_grid),
        callback=show,
    )
    clock.add("preparation")
    clock.save()
    return result


def measure_all(
    zoo: Zoo, generators: Mapping[str, WeightGenerator], options: argparse.Namespace
) -> list[tuple[Question, Measured]]:
    """Measure all variants beside the mean adapter and the trained one."""
    blocks = zoo.all_blocks(split="train")[1]
    mean = blocks.mean(axis=0, dtype=np.float64).astype(np.float32)[None]
    questions = ask_about_zoo(zoo, limit=options.limit, train_limit=TRAIN_LIMIT)
    own = {variant: recipe_of(variant, zoo.recipe)[0] for variant in generators}
    jobs = []
    for question in questions:
        requests = [Request(words) for words in question.words]
        answers = {
            variant: np.stack([to_zoo(one, own[variant]) for one in generator.generate_many(requests)])
            for variant, generator in generators.items()
        }
        assert question.trained is not None
        jobs.append(Job(question, {"mean": mean, "trained": question.trained[None], **answers}))
    say(f"{len(jobs)} concepts are being measured")
    results = measure(zoo, jobs, PhotoSource(options.photos, split="score"), pool=Pool.make(1))
    return list(zip(questions, results, strict=True))


def sections_of(
    measured: Sequence[tuple[Question, Measured]], variants: Sequence[str], settings: EvaluationSettings
) -> dict[str, dict[str, Any]]:
    """Figures by split and variant."""
    sections: dict[str, dict[str, Any]] = {}
    for split in {question.split: None for question, _ in measured}:
        means = [result for question, result in measured if question.split == split]
        for variant in variants:
            # `summarise` compares with a method `reference`, and says how much of the gap `generated` closes.
            names = {"generated": variant, "reference": REFERENCE, "mean": "mean", "trained": "trained"}
            scores = {name: [one.mean(own) for one in means] for name, own in names.items()}
            sections.setdefault(split, {})[variant] = summarise(
                {name: [one.psnr for one in own] for name, own in scores.items()},
                {name: [one.ssim for one in own] for name, own in scores.items()},
                settings.resampling,
            )
    return sections


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """A Markdown table of the report."""
    splits = list(report["splits"])
    headings = ["variant", "blocks", "weights of the denoiser", "minutes of a core"]
    for split in splits:
        n_concepts = report["splits"][split][REFERENCE]["n_concepts"]
        headings += [f"{QUESTIONS[split].long} ({n_concepts}), dB", "gap closed", f"above {REFERENCE}, dB"]
    yield f"| {' | '.join(headings)} |"
    yield "| --- " * len(headings) + "|"
    for variant, facts in report["variants"].items():
        cells = [variant, str(facts["n_blocks"]), f"{facts['n_weights']:,}", f"{facts['minutes']:.1f}"]
        for split in splits:
            one = report["splits"][split][variant]
            more = one["difference"]["reference"]
            low, high = one["gap_closed_interval"]
            cells += [
                f"{one['psnr']['generated']:.2f}",
                f"{one['gap_closed']:.3f} [{low:.3f}, {high:.3f}]",
                ""
                if variant == REFERENCE
                else f"{more['psnr']:+.2f} [{more['interval'][0]:+.2f}, {more['interval'][1]:+.2f}]",
            ]
        yield f"| {' | '.join(cells)} |"
    for variant, other in report["alike"].items():
        yield f"\n{variant} has the same blocks as {other}, and was not trained again."


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure all variants; the report as JSON values."""
    zoo = Zoo.from_pretrained(BUNDLED_ZOO)
    text = PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder")
    # Without its folder it encodes in this process: the run uses one core.
    text.folder = None
    first = distinct([REFERENCE, *(one for one in options.variants if one != REFERENCE)], zoo.recipe)
    data = load_data(zoo, options)
    say(f"{len(data.concept_ids)} concepts, {sum(map(len, data.prompts))} wordings")
    generators = {one: train(one, data, text, options) for one, same in first.items() if one == same}
    measured = measure_all(zoo, generators, options)
    times = json.loads((options.folder / TIMES).read_text())
    facts = {
        one: {
            "n_blocks": generator.config.shape.n_blocks,
            "n_weights": sum(value.numel() for value in generator.named_weights().values()),
            "minutes": sum(times[one].get(stage, 0.0) for stage in ("weights", "behaviour")) / 60,
        }
        for one, generator in generators.items()
    }
    chosen = {name: value for name, value in vars(options).items() if name not in ("folder", "photos")}
    return {
        "variants": facts,
        "alike": {one: same for one, same in first.items() if one != same},
        "splits": sections_of(measured, list(generators), EvaluationSettings()),
        "settings": chosen,
        "core_seconds": times,
        "revision": zoo.revision,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/ablations"), help="of the run and report")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="such as channel-256")
    parser.add_argument("--concepts", type=int, default=300, help="train concepts")
    parser.add_argument("--wordings", type=int, default=8, help="most wordings of a concept")
    parser.add_argument("--weight-steps", type=int, default=800, help="steps of the first stage")
    parser.add_argument("--steps", type=int, default=800, help="steps of the second stage")
    parser.add_argument("--batch", type=int, default=32, help="concepts a step")
    parser.add_argument("--width", type=int, default=96, help="of the denoiser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=40, help="most concepts a split to measure")
    # Those that the figures of the catalog were measured on.
    parser.add_argument("--photos", type=Path, default=catalog_folder() / "photos", help="to measure on")
    options = parser.parse_args()
    for one in options.variants:
        grouping, _, size = one.partition("-")
        if grouping not in GROUPINGS or not (size.isdecimal() and int(size)):
            parser.error(f"variant '{one}' is not known. Name one such as {', '.join(VARIANTS)}")
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    report = run(options)
    write_bytes(options.folder / REPORT, json.dumps(report, indent=1).encode() + b"\n", force=True)
    for line in table(report):
        click.echo(line)


if __name__ == "__main__":
    main()
