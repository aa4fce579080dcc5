"""Measure what it brings that pairs find checkpoints by what they do: `python tests/effects_run.py`.

Train looks, evenly spaced over the zoo, are shown by eight pairs of training photos, without words. Fits of a
second begin with what the zoo gives without its effects, with them, with the checkpoint of the look left
out, and with all checkpoints left out that have anything of the look; the last also with words, those of the
look and those of another look of its family. They are scored on four other photos. Nothing that is held out
takes part.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import click
import numpy as np

from initzoo import Request, Zoo
from initzoo.evaluation.bootstrap import bootstrap_means, interval
from initzoo.pairs import Pair, effect_of, fit_short_side, load_photos, mean_psnr, parse_teacher, parts_of
from initzoo.work import Pool
from initzoo.zoo import Effects, TaughtZoo, find_candidates
from initzoo.zoo.index import Index

_SIDE, _N_PAIRS, _N_SCORED = 256, 8, 4


class _Without(TaughtZoo):
    """A zoo without some checkpoints, and perhaps without effects."""

    def __init__(self, zoo: Zoo, is_left_out: Callable[[str], bool], *, with_effects: bool = True) -> None:
        super().__init__(zoo)
        rows = [row for row in self.index.each_row() if not is_left_out(row.concept_id)]
        self.index = Index.of(rows)
        self.with_effects = with_effects

    @property
    def effects(self) -> Effects | None:
        return self.zoo.effects if self.with_effects else None


@dataclass(frozen=True)
class Measured:
    """A look's place among all checkpoints by effect, from 0, and PSNR of fits by what they began with."""

    place: int
    psnr: dict[str, float]


class _Worker:
    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        photos = [fit_short_side(photo.pixels, _SIDE) for photo in load_photos(split="train")]
        self.shown = photos[3 :: len(photos) // _N_PAIRS][:_N_PAIRS]
        self.scored = photos[5 :: len(photos) // _N_SCORED][:_N_SCORED]

    def __call__(self, concept_id: str) -> Measured:
        teacher = parse_teacher(self.zoo.index.row(concept_id).teacher)
        photos = [*self.shown, *self.scored]
        given, wanted = teacher.edit(photos, range(len(photos)))
        pairs = tuple(Pair(str(n), *images) for n, images in enumerate(zip(given, wanted, strict=True)))
        request = Request("", pairs[:_N_PAIRS])
        own = self._looks(concept_id)
        zoos = {
            "without effects": _Without(self.zoo, lambda one: False, with_effects=False),
            "with them": _Without(self.zoo, lambda one: False),
            "its checkpoint left out": _Without(self.zoo, concept_id.__eq__),
            "its looks left out": _Without(self.zoo, lambda one: bool(own & self._looks(one))),
        }
        fits = {name: (zoo, request) for name, zoo in zoos.items()}
        left_out = zoos["its looks left out"]
        for name, words in (("right", self._words(concept_id)), ("wrong", self._words_of_other(concept_id))):
            fits[f"the same, {name} words"] = left_out, replace(request, words=words)
        psnr = {}
        for name, (zoo, one) in fits.items():
            network = zoo.fit(one, find_candidates(zoo, one)).to_network()
            edited = [network.edit(photo) for photo in given[_N_PAIRS:]]
            psnr[name] = mean_psnr(edited, wanted[_N_PAIRS:])
        assert self.zoo.effects is not None
        effect = effect_of([(pair.given, pair.wanted) for pair in request.pairs])
        return Measured(self.zoo.effects.order(effect).index(concept_id), psnr)

    def _words(self, concept_id: str) -> str:
        words: str = self.zoo.index.row(concept_id).test_prompts[0]
        return words

    def _words_of_other(self, concept_id: str) -> str:
        """Words of a look of the same family that has nothing of this one."""
        own, family = self._looks(concept_id), self.zoo.index.row(concept_id).family
        others = [
            row.concept_id
            for row in self.zoo.index.each_row(split="train")
            if row.family == family and not own & self._looks(row.concept_id)
        ]
        return self._words(random.Random(concept_id).choice(others))

    def _looks(self, concept_id: str) -> set[str]:
        assert self.zoo.phrases is not None
        config = self.zoo.phrases.config
        parts = parts_of(concept_id, frozenset(config.looks), config.slots, config.colours)
        return {part.look for part in parts} if parts else {concept_id}


@click.command()
@click.option("--looks", "n_looks", default=48, show_default=True, help="Number of looks.")
def main(n_looks: int) -> None:
    zoo = Zoo.from_pretrained("starter")
    ids = [row.concept_id for row in zoo.index.each_row(split="train") if row.recipe == zoo.recipe.name]
    chosen = [ids[(len(ids) * number // n_looks + 7) % len(ids)] for number in range(n_looks)]
    measured = [one for _, one in Pool.make(None).run(partial(_Worker, zoo), chosen)]
    places = np.array([one.place for one in measured])
    click.echo(
        f"{n_looks} looks: nearest of all {(places == 0).sum()}, of the nearest four {(places < 4).sum()}"
    )
    before = np.array([one.psnr["without effects"] for one in measured])
    for name in measured[0].psnr:
        psnr = np.array([one.psnr[name] for one in measured])
        means = bootstrap_means((psnr - before)[None], n_resamples=2000, seed=0)[0]
        low, high = interval(means, 0.95)
        gain = (
            f"{(psnr - before).mean():+.2f} dB [{low:.2f}, {high:.2f}], at worst {(psnr - before).min():+.1f}"
        )
        click.echo(f"{name:24} {psnr.mean():5.1f} dB  {gain}")


if __name__ == "__main__":
    main()
