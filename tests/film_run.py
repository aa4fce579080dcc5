"""Trains and evaluates one text-conditioned image network, a baseline without generated weights; `make film`.

The network is the one of the zoo. Each of its convolutions is followed by a scale and a shift per channel
(Perez et al., 2018, arXiv:1709.07871), which a small MLP computes from what the weight generator reads as
well: the phrase, its colours and its degree. All weights are trained together on the train and practice
concepts, on crops and wordings drawn as those of `initzoo generator train`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from initzoo.evaluation import EvaluationSettings, ask_about_zoo
from initzoo.evaluation.cases import Question
from initzoo.evaluation.generator.statistics import summarise
from initzoo.files import write_bytes
from initzoo.generator import N_COLOURS, Context, PhraseEncoder, PhrasesEncoder, Request, behaviour_error
from initzoo.generator.encoders.phrase_lessons import PhraseLessons
from initzoo.networks import ImageNetwork, layers_of
from initzoo.pairs import (
    TEACHING_SIDE,
    PhotoSource,
    Score,
    catalog_folder,
    fit_short_side,
    load_practice,
    mean_score,
    score_images,
    scoring_pairs,
)
from initzoo.training import CropPlan, GeneratorSettings, TrainingData, with_lexicon
from initzoo.training.generator import Stage, make_crops
from initzoo.training.generator.objectives import BehaviourObjective
from initzoo.work import Pool
from initzoo.zoo import BUNDLED_ZOO, QUESTIONS, Zoo

__all__ = ["Film", "FilmNetwork", "Trainer", "features_of"]

SNAPSHOT, CURVE, OTHERS = "snapshot.pt", "curve.csv", "others.json"
SNAPSHOT_SECONDS = 120
LONG = 2**31  # steps of a stage that the clock ends
TRAIN_LIMIT = 100  # as `initzoo generator evaluate` has it


def features_of(context: Context) -> Tensor:
    """What the MLP reads of each wording: the phrase as a whole, its mean token state, and its colours.

    A phrase that is left out, and colours that are not named, are zeros.

    Returns:
        float32, shape `(batch, n_phrase_values + n_word_values + 4 * N_COLOURS)`.
    """
    assert context.phrase is not None
    assert context.colours is not None
    shown = context.mask[:, :, None].float()
    mean = (context.vectors * shown).sum(1) / shown.sum(1).clamp_min(1)
    # A request has as many rows as colours that its words name; a training always has all of them.
    n_missing = N_COLOURS - context.colours.shape[1]
    colours = F.pad(context.colours, (0, 0, 0, n_missing), value=float("nan"))  # (batch, N_COLOURS, 3)
    named = ~colours.isnan().any(dim=2, keepdim=True)
    colours = torch.cat([colours.nan_to_num(), named.float()], dim=2).flatten(1)
    return torch.cat([context.phrase.nan_to_num(), mean, colours], dim=1)


class Film(nn.Module):
    """Scale and shift of each channel behind each convolution, from the features of a wording.

    The last layer starts at zero, so that the scales start at 1 and the shifts at 0.

    Args:
        n_features: number of features of a wording.
        n_channels: output channels of each convolution, by its name.
        width: width of both hidden layers.
    """

    def __init__(self, n_features: int, n_channels: Mapping[str, int], *, width: int = 256) -> None:
        super().__init__()
        self.n_channels = dict(n_channels)
        self.layers = nn.Sequential(
            nn.Linear(n_features, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * sum(self.n_channels.values())),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Scale and shift by name of the convolution, shape `(batch, n_channels)` each."""
        changes, shifts = self.layers(features).chunk(2, dim=1)
        counts = list(self.n_channels.values())
        parts = zip((1 + changes).split(counts, dim=1), shifts.split(counts, dim=1), strict=True)
        return dict(zip(self.n_channels, parts, strict=True))


class FilmNetwork(nn.Module):
    """An image network that edits each photo as the features of a wording say.

    Args:
        network: the image network; it is trained, too.
        n_features: number of features of a wording.
    """

    def __init__(self, network: ImageNetwork, n_features: int) -> None:
        super().__init__()
        layers = layers_of(network)
        self.network = network
        self.film = Film(n_features, {name: len(layer.weight) for name, layer in layers.items()})
        self._now: dict[str, tuple[Tensor, Tensor]] = {}
        for name, layer in layers.items():
            layer.register_forward_hook(self._behind(name))

    def _behind(self, name: str) -> Any:
        def change(layer: nn.Module, given: Any, result: Tensor) -> Tensor:
            if not self._now:
                return result
            scale, shift = self._now[name]
            return result * scale[:, :, None, None] + shift[:, :, None, None]

        return change

    @contextmanager
    def _using(self, features: Tensor) -> Iterator[None]:
        self._now = self.film(features)
        try:
            yield
        finally:
            self._now = {}

    def forward(self, images: Tensor, features: Tensor) -> Tensor:
        """Edit a batch of images, each with its own features."""
        with self._using(features):
            result: Tensor = self.network(images)
        return result

    @torch.no_grad()
    def folded(self, features: Tensor, network: ImageNetwork) -> ImageNetwork:
        """Fold scales and shifts of one wording into the weights of a plain network of the same sizes."""
        arrays = self.network.to_arrays()
        for name, (scale, shift) in self.film(features[None]).items():
            factor = scale[0].numpy()
            arrays[f"{name}.weight"] *= factor[:, None, None, None]
            arrays[f"{name}.bias"] = arrays[f"{name}.bias"] * factor + shift[0].numpy()
        network.load_arrays(arrays)
        return network

    def counts(self) -> dict[str, int]:
        """Number of parameters of the image network and of the MLP."""
        parts = {"image network": self.network, "MLP": self.film}
        return {name: sum(value.numel() for value in part.parameters()) for name, part in parts.items()}


class Trainer:
    """AdamW with a running mean of the weights, which is the result.

    Args:
        model: what is trained.
        learning_rate: at the start; it falls to zero by a cosine.
        decay: of the running mean.
    """

    def __init__(self, model: FilmNetwork, *, learning_rate: float = 1e-3, decay: float = 0.999) -> None:
        self.model, self.learning_rate, self.decay = model, learning_rate, decay
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
        self.mean = {name: value.clone() for name, value in model.state_dict().items()}
        self.n_steps, self.seconds, self.cpu_seconds = 0, 0.0, 0.0

    def step(self, crops: Tensor, features: Tensor, *, progress: float) -> float:
        """Train one step.

        Args:
            crops: inputs and targets, uint8, shape `(n, 2, 3, size, size)`.
            features: of the wording of each crop.
            progress: share of the training that is done; sets the learning rate.

        Returns:
            The loss, a mean absolute error on a range from -1 to 1.
        """
        warm = min(1.0, (self.n_steps + 1) / 200)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        images = crops.float().mul_(1 / 127.5).sub_(1)
        loss = behaviour_error(self.model(images[:, 0], features), images[:, 1], len(crops))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.n_steps += 1
        decay = min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.mean[name].lerp_(value, 1 - decay)
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a snapshot; a killed training goes on from it."""
        state = {
            "model": self.model.state_dict(),
            "mean": self.mean,
            "optimizer": self.optimizer.state_dict(),
            "counts": [self.n_steps, self.seconds, self.cpu_seconds],
        }
        unfinished = path.with_suffix(".new")
        torch.save(state, unfinished)
        os.replace(unfinished, path)

    def load(self, path: Path) -> None:
        """Go on from a snapshot."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean = state["mean"]
        self.n_steps, self.seconds, self.cpu_seconds = state["counts"]


@dataclass(frozen=True, eq=False)
class Setup:
    """The zoo, its phrase encoder and the weights of its base."""

    zoo: Zoo
    text: PhraseEncoder
    base: Mapping[str, NDArray[np.float32]]

    @classmethod
    def make(cls) -> Setup:
        zoo = Zoo.from_pretrained(BUNDLED_ZOO)
        text = PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder")
        # Without its folder it encodes in this process: the run uses one core.
        text.folder = None
        return cls(zoo, text, zoo.base())

    def plain(self) -> ImageNetwork:
        """A network of the zoo's sizes."""
        return self.zoo.recipe.network.build()

    def model(self, *, n_features: int, seed: int = 0) -> FilmNetwork:
        """The network with the weights of the zoo's base, and an MLP that changes nothing yet."""
        network = self.plain()
        names = network.state_dict()
        # Beside the weights, a base has the shared factors of the adapters.
        network.load_arrays({name: value for name, value in self.base.items() if name in names})
        torch.manual_seed(seed)
        return FilmNetwork(network, n_features)

    def features(self, words: Sequence[str]) -> Tensor:
        """Features of wordings, without noise."""
        return torch.cat([features_of(PhrasesEncoder(self.text).encode([Request(one)])) for one in words])


def thinned(data: TrainingData, n_most: int, *, seed: int = 0) -> TrainingData:
    """Keep at most so many wordings of each concept, drawn at random: to encode all takes long."""

    def some(name: str, wordings: tuple[str, ...]) -> tuple[str, ...]:
        drawn = random.Random(zlib.crc32(f"{seed}|{name}".encode()))
        return tuple(drawn.sample(wordings, min(n_most, len(wordings))))

    return replace(
        data,
        prompts=tuple(map(some, data.concept_ids, data.prompts)),
        practice=tuple(replace(one, prompts=some(one.id, one.prompts)) for one in data.practice),
    )


def train(setup: Setup, folder: Path, options: argparse.Namespace) -> None:
    """Train until the minutes of a core are over, those of earlier runs among them; preparation is free."""
    if _seconds_trained(folder) >= 60 * options.minutes:
        return
    begin = time.perf_counter()
    settings = GeneratorSettings(
        behaviour=Stage(LONG, options.batch, options.rate), crop_size=48, n_lanes=1, seed=options.seed
    )
    data = TrainingData.from_zoo(setup.zoo)
    if options.practice:
        data = data.with_practice(load_practice())
    data = thinned(with_lexicon(data, seed=settings.seed), options.wordings)
    plan = CropPlan(n_photos=3, crops_per_photo=4, crop_size=64, grid=data.crop_grid)
    make_crops(data.all_teachers, folder / "crops", plan, pool=Pool.make(1), callback=_show("crops"))
    say(f"{sum(map(len, data.all_prompts))} wordings of {len(data.all_prompts)} concepts are being encoded")
    lessons = PhraseLessons.make(data.all_prompts, setup.text, settings, folder=folder)
    objective = BehaviourObjective(data, settings, lessons, crops=folder / "crops", crop_plan=plan)
    n_features = features_of(lessons.draw(np.arange(1), np.random.default_rng(0))).shape[1]
    trainer = Trainer(setup.model(n_features=n_features, seed=settings.seed), learning_rate=options.rate)
    if (folder / SNAPSHOT).is_file():
        trainer.load(folder / SNAPSHOT)
        say(f"goes on from step {trainer.n_steps}")
    say(f"parameters: {trainer.model.counts()}; prepared in {time.perf_counter() - begin:.0f} s")
    before, before_cpu = trainer.seconds, trainer.cpu_seconds
    begin, begin_cpu = time.perf_counter(), time.process_time()
    saved = begin
    losses: list[float] = []

    def count_time() -> float:
        # Time of the core decides, so that other work on the machine takes none of the training.
        trainer.seconds = before + time.perf_counter() - begin
        trainer.cpu_seconds = before_cpu + time.process_time() - begin_cpu
        return trainer.cpu_seconds / (60 * options.minutes)

    while (share := count_time()) < 1:
        # As in the second stage of the weight generator: whole crops at the end, parts of them before.
        whole = share >= 1 - settings.whole_share
        objective.settings = replace(settings, crop_size=plan.crop_size if whole else settings.crop_size)
        part = objective.draw(trainer.n_steps, 0)
        assert part.crops is not None
        losses.append(trainer.step(part.crops, features_of(part.context), progress=share))
        if len(losses) == 100:
            line = f"{trainer.n_steps},{np.mean(losses):.5f},{trainer.seconds:.0f},{trainer.cpu_seconds:.0f}"
            say(f"step,loss,seconds,CPU seconds: {line}")
            with (folder / CURVE).open("a") as file:
                file.write(line + "\n")
            losses.clear()
        if time.perf_counter() - saved > SNAPSHOT_SECONDS:
            trainer.save(folder / SNAPSHOT)
            saved = time.perf_counter()
    trainer.save(folder / SNAPSHOT)
    say(f"{trainer.n_steps} steps in {trainer.seconds:.0f} s, {trainer.cpu_seconds:.0f} s of a core")


def _seconds_trained(folder: Path) -> float:
    if not (folder / SNAPSHOT).is_file():
        return 0.0
    return float(torch.load(folder / SNAPSHOT, weights_only=True)["counts"][2])


def evaluate(setup: Setup, folder: Path, options: argparse.Namespace) -> list[str]:
    """Measure the trained network on the cases of `initzoo generator evaluate`; lines of a Markdown table."""
    state = torch.load(folder / SNAPSHOT, weights_only=True)
    n_features = setup.features(["fog"]).shape[1]
    model = setup.model(n_features=n_features).eval()
    model.load_state_dict(state["mean"])
    settings = EvaluationSettings(photos=PhotoSource(options.photos, split="score"))
    cases = Cases(setup, folder, settings.photos)
    results: dict[str, list[dict[str, Score]]] = {}
    for question in _questions(setup, options):
        results.setdefault(question.split, []).append(cases.others(question) | cases.film(question, model))
    published = json.loads((catalog_folder() / "model" / "evaluation.json").read_text())
    sections = {split: _section(own, settings) for split, own in results.items()}
    counts = dict(zip(("n_steps", "seconds", "cpu_seconds"), state["counts"], strict=True))
    report = {**counts, "n_photos": len(cases.photos), "parameters": model.counts(), **sections}
    (folder / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    return list(_table(sections, published))


def measure_others(setup: Setup, folder: Path, options: argparse.Namespace) -> None:
    """Measure what the network is compared with, which needs no training of it."""
    cases = Cases(setup, folder, PhotoSource(options.photos, split="score"))
    for question in _questions(setup, options):
        cases.others(question)


def _questions(setup: Setup, options: argparse.Namespace) -> Iterator[Question]:
    questions = ask_about_zoo(setup.zoo, limit=options.limit, train_limit=TRAIN_LIMIT)
    for number, question in enumerate(questions):
        yield question
        if (number + 1) % 20 == 0 or number + 1 == len(questions):
            say(f"{number + 1} of {len(questions)} concepts measured")


class Cases:
    """Scores by method, each a mean over the photos and the wordings of a question.

    Args:
        setup: has the zoo.
        folder: keeps the scores of all methods but the text-conditioned network.
        source: the photos.
    """

    def __init__(self, setup: Setup, folder: Path, source: PhotoSource) -> None:
        self.setup = setup
        self.photos = [
            replace(one, pixels=fit_short_side(one.pixels, TEACHING_SIDE)) for one in source.load()
        ]
        blocks = setup.zoo.all_blocks(split="train")[1]
        self._mean = setup.zoo.network(blocks.mean(axis=0, dtype=np.float64).astype(np.float32))
        self._path = folder / OTHERS
        self._known = json.loads(self._path.read_text()) if self._path.is_file() else {}
        digest = hashlib.sha256(setup.zoo.revision.encode())
        for photo in self.photos:
            digest.update(photo.pixels.tobytes())
        self._digest = digest.hexdigest()[:16]

    def film(self, question: Question, model: FilmNetwork) -> dict[str, Score]:
        """The score of the text-conditioned network."""
        plain = self.setup.plain
        networks = [model.folded(own, plain()) for own in self.setup.features(question.words)]
        return self._scores(question, {"film": networks})

    def others(self, question: Question) -> dict[str, Score]:
        """The scores of generated weights, of the mean adapter and of the one trained on the concept."""
        key = json.dumps([self._digest, question.concept_id, *question.words])
        if key not in self._known:
            zoo = self.setup.zoo
            generated = [zoo.network(zoo.generator.generate(Request(words))) for words in question.words]
            networks = {"generated": generated, "mean": [self._mean]}
            if question.trained is not None:
                networks["trained"] = [zoo.network(question.trained)]
            scores = self._scores(question, networks)
            self._known[key] = {name: [one.psnr, one.ssim] for name, one in scores.items()}
            write_bytes(self._path, json.dumps(self._known, indent=1).encode(), force=True)
        return {name: Score(*values) for name, values in self._known[key].items()}

    def _scores(self, question: Question, networks: Mapping[str, Sequence[ImageNetwork]]) -> dict[str, Score]:
        given, wanted = scoring_pairs(question.teacher, self.photos)
        return {
            name: mean_score([score_images([one.edit(photo) for photo in given], wanted) for one in own])
            for name, own in networks.items()
        }


def _section(scores: Sequence[Mapping[str, Score]], settings: EvaluationSettings) -> dict[str, Any]:
    """Figures of a split; the share of the gap for the text-conditioned network and for generated weights."""
    sections = {}
    for ours in ("film", "generated"):
        # `summarise` says how much of the gap the method `generated` closes.
        names = {"generated": ours} | {name: name for name in scores[0] if name not in ("film", "generated")}
        names["other"] = "generated" if ours == "film" else "film"
        sections[ours] = summarise(
            {name: [one[own].psnr for one in scores] for name, own in names.items()},
            {name: [one[own].ssim for one in scores] for name, own in names.items()},
            settings.resampling,
        )
    return sections


def _table(sections: Mapping[str, Any], published: Mapping[str, Any]) -> Iterator[str]:
    headings = (
        "asked for",
        "concepts",
        "text-conditioned network",
        "gap closed",
        "generated weights, same concepts",
        "gap closed",
        "mean adapter",
        "trained adapter",
        "generated, all concepts",
    )
    yield f"| {' | '.join(headings)} |"
    yield "| --- " * len(headings) + "|"
    for split, own in sections.items():
        cells = [QUESTIONS[split].long, str(own["film"]["n_concepts"])]
        for method in ("film", "generated"):
            one = own[method]
            low, high = one["psnr_interval"]["generated"]
            cells += [f"{one['psnr']['generated']:.2f} [{low:.2f}, {high:.2f}]", _share(one)]
        cells += [f"{own['film']['psnr'][name]:.2f}" for name in ("mean", "trained")]
        known = published[split]
        cells += [f"{known['psnr']['generated']:.2f}, {_share(known)} ({known['n_concepts']})"]
        yield f"| {' | '.join(cells)} |"


def _share(section: Mapping[str, Any]) -> str:
    if section["gap_closed"] is None:
        return "-"
    low, high = section["gap_closed_interval"]
    return f"{section['gap_closed']:.3f} [{low:.3f}, {high:.3f}]"


def _show(what: str) -> Any:
    def show(n_done: int, n_all: int) -> None:
        if n_done % 500 == 0 or n_done == n_all:
            say(f"{what}: {n_done} of {n_all}")

    return show


def say(line: str) -> None:
    """Print a line of the log at once."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/film"), help="of snapshot, crops, report")
    parser.add_argument("--minutes", type=float, default=50, help="of a core, to train")
    parser.add_argument("--batch", type=int, default=32, help="concepts a step, a crop of each")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--wordings", type=int, default=8, help="most wordings of a concept to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-practice", dest="practice", action="store_false", help="train concepts alone")
    parser.add_argument("--limit", type=int, help="most concepts a split to evaluate; all by default")
    # Those that the figures of the catalog were measured on.
    parser.add_argument("--photos", type=Path, default=catalog_folder() / "photos", help="to evaluate on")
    parser.add_argument("--no-evaluation", dest="evaluation", action="store_false", help="train alone")
    parser.add_argument("--others", action="store_true", help="measure only what it is compared with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    setup = Setup.make()
    if options.others:
        measure_others(setup, options.folder, options)
        return
    train(setup, options.folder, options)
    if options.evaluation:
        click.echo("\n".join(evaluate(setup, options.folder, options)))


if __name__ == "__main__":
    main()
