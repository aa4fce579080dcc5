"""What the router's least confidence is worth: `make routes`.

Phrases of the lexicon that no training of the phrase encoder had are put to the zoo, alone for looks and
joined for train combinations. Where `pull` would take a checkpoint by meaning, its pictures and those of
generated weights are measured against the look that is meant, by bins of confidence. The test of 400 phrases
is not used. The weight generator was trained on wordings from the whole lexicon, so its column is too good.

With --degrees, single looks are asked for with a word of degree before or behind the phrase, and only the
answers are counted.

With --colours, looks of one colour are asked for in colours that no concept has, and the checkpoint whose
colour is nearest is measured against generated weights, by the distance of the two colours.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unittest.mock import patch

import click
import numpy as np

from initzoo.evaluation.cases import Question
from initzoo.evaluation.generator.measuring import Job, measure
from initzoo.generator import Request, colour_difference
from initzoo.pairs import (
    PhotoSource,
    catalog_folder,
    fit_short_side,
    load_colours,
    load_lexicon,
    load_lexicon_colours,
    load_photos,
    load_practice,
    load_practice_colours,
    mean_psnr,
    parts_of,
)
from initzoo.pairs.teachers import FilterTeacher, Step, Teacher
from initzoo.training.generator.wordings import lexicon_wordings
from initzoo.training.phrases.examples import list_phrases, split_phrases
from initzoo.work import Pool
from initzoo.zoo import BUNDLED_ZOO, TaughtZoo, Zoo, router
from initzoo.zoo.degrees import degree_phrases

ENDS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.01)
"""Ends of the bins of confidence. Below the first hardly anything is right."""

_COMMON = 40
"""Words of degree to choose from, of each grade."""

COLOUR_ENDS = (1.0, 4.0, 10.0, 20.0, 200.0)
"""Ends of the bins of distances between colours, in CIE Lab."""

_SIDE = 144
"""Short side of the photos for them, pixels."""

LATIN = "\u024f"
"""The last letter of the alphabets of English: others would test the languages, not the threshold."""


@dataclass(frozen=True)
class Asked:
    """Words for a concept, and the checkpoint that `pull` would take for them.

    Args:
        kind: `look` or `combination`.
        concept_id: what is meant.
        words: the words.
        taken: the checkpoint.
        confidence: of the router.
    """

    kind: str
    concept_id: str
    words: str
    taken: str
    confidence: float


def held_back_wordings(zoo: Zoo, *, seed: int) -> Iterator[tuple[str, str, str]]:
    """Kind, concept and words, in random order: those of a kind come one after another."""
    _, held_back = split_phrases(list_phrases(load_lexicon()), share=1.0)
    ids = [row.concept_id for row in zoo.index.rows(split="train")]
    colours = load_colours() | load_practice_colours()
    for kind in ("look", "combination"):
        chosen = [name for name in ids if ("--" in name) == (kind == "combination")]
        found = lexicon_wordings(
            chosen, held_back, colours, load_lexicon_colours(), n_each=12, n_joined=3, seed=seed
        )
        pairs = [(name, words) for name, own in found.items() for words in own if max(words) <= LATIN]
        random.Random(seed).shuffle(pairs)
        yield from ((kind, name, words) for name, words in pairs)


def ask(zoo: Zoo, *, n_each: int, seed: int) -> list[Asked]:
    """Ask for wordings until each bin of each kind has `n_each`, or there are no more."""
    asked: list[Asked] = []
    counts: dict[tuple[str, int], int] = {}
    with patch.object(router, "_LEAST_CONFIDENCE", ENDS[0]):
        for kind, name, words in held_back_wordings(zoo, seed=seed):
            if all(counts.get((kind, place), 0) >= n_each for place in range(len(ENDS) - 1)):
                continue
            route = zoo.route(words)
            if route.origin != "matched" or route.concept_id is None or route.confidence is None:
                continue
            place = (kind, int(np.searchsorted(ENDS, route.confidence, side="right")) - 1)
            if counts.get(place, 0) < n_each:
                counts[place] = counts.get(place, 0) + 1
                asked.append(Asked(kind, name, words, route.concept_id, route.confidence))
    return asked


def print_table(zoo: Zoo, asked: Sequence[Asked], source: PhotoSource) -> None:
    """Measure both answers, and print their means by kind and bin."""
    jobs = []
    for one in asked:
        question = Question.about(zoo, one.concept_id, [one.words])
        made = zoo.generator.generate(Request(one.words))
        jobs.append(Job(question, {"taken": zoo.blocks(one.taken)[None], "generated": made[None]}))
    measured = measure(zoo, jobs, source, pool=Pool.make())
    click.echo(
        f"{'asked for':12} {'confidence':>12} {'n':>4} {'right':>6} {'checkpoint':>11} {'generated':>10}"
    )
    for kind in dict.fromkeys(one.kind for one in asked):
        for low, high in pairwise(ENDS):
            rows = [
                (one.taken == one.concept_id, scored.mean("taken").psnr, scored.mean("generated").psnr)
                for one, scored in zip(asked, measured, strict=True)
                if one.kind == kind and low <= one.confidence < high
            ]
            if rows:
                right, taken, generated = np.mean(np.array(rows, float), axis=0)
                bin_of = f"{low:.2f}-{min(high, 1):.2f}"
                click.echo(
                    f"{kind:12} {bin_of:>12} {len(rows):4} {right:6.2f} {taken:8.1f} dB {generated:7.1f} dB"
                )


def print_degrees(zoo: TaughtZoo, *, n_phrases: int, seed: int) -> None:
    """Count the answers to phrases for looks, as they are and with a word of degree."""
    draw = random.Random(seed)
    phrases = [(name, words) for kind, name, words in held_back_wordings(zoo, seed=seed) if kind == "look"]
    chosen = draw.sample(phrases, min(n_phrases, len(phrases)))
    degrees = degree_phrases()
    looks_of = dict(taught_parts(zoo))
    for kind in ("as they are", "with a degree"):
        counts = dict.fromkeys(("right", "wrong", "generated", "wrong though likely"), 0)
        for name, words in chosen:
            asked = words
            if kind != "as they are":
                degree = draw.choice(degrees[draw.choice(list(degrees))][:_COMMON])
                asked = f"{degree} {words}" if draw.random() < 0.5 else f"{words}, {degree}"
            route = zoo.route(asked)
            if route.concept_id is None:
                counts["generated"] += 1
            elif looks_of.get(route.concept_id) == looks_of.get(name):
                counts["right"] += 1
            else:
                counts["wrong"] += 1
                counts["wrong though likely"] += route.sureness == "likely"
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        click.echo(f"{len(chosen)} phrases {kind}: {shown}")


@dataclass(frozen=True)
class Tinted:
    """A look of one colour, asked for in a colour that is nobody's.

    Args:
        words: the words.
        teacher: makes the look in this colour.
        nearest: the checkpoint of the look whose colour is nearest.
        distance: of the two colours.
    """

    words: str
    teacher: FilterTeacher
    nearest: str
    distance: float


def looks_in_new_colours(zoo: TaughtZoo, *, n_each: int, seed: int) -> Iterator[Tinted]:
    """Looks of one colour, in turn in a `#hex` colour around those that they have and in any plain colour."""
    assert zoo.phrases is not None
    config, known, draw = zoo.phrases.config, load_practice_colours(), random.Random(seed)
    plain = [name for name in config.colours if name.isascii()]
    practice = [one for one in load_practice(n_compositions=0, n_wordings=12) if "--" not in one.id]
    for look in sorted(name for name, slots in config.slots.items() if len(slots) == 1):
        own = dict(own_colours(zoo, look))
        taught = [one for one in practice if one.id.removeprefix(f"{look}-") in known]
        for number in range(n_each if own and taught else 0):
            concept = draw.choice(taught)
            colour = concept.id.removeprefix(f"{look}-")
            name = draw.choice(plain) if number % 2 else colour_around(draw.choice(list(own.values())), draw)
            value = config.colours.get(name, name)
            wordings = [words for words in concept.prompts if colour.replace("-", " ") in words]
            if not wordings:
                continue
            nearest = min(own, key=lambda one: colour_difference(own[one], value))
            yield Tinted(
                draw.choice(wordings).replace(colour.replace("-", " "), name),
                in_colour(concept.teacher, known[colour], value),
                nearest,
                colour_difference(own[nearest], value),
            )


def own_colours(zoo: TaughtZoo, look: str) -> Iterator[tuple[str, str]]:
    """The checkpoints of a look of one colour, and their colours."""
    assert zoo.phrases is not None
    config = zoo.phrases.config
    for concept_id in zoo.index.ids:
        parts = parts_of(concept_id, frozenset(config.looks), config.slots, config.colours)
        if parts is not None and len(parts) == 1 and parts[0].look == look and parts[0].colours:
            yield concept_id, config.colours[parts[0].colours[0]]


def colour_around(colour: str, draw: random.Random) -> str:
    """A colour at random around another one."""
    reach = draw.uniform(3, 30)
    channels = [draw.gauss(int(colour[place : place + 2], 16), reach) for place in (1, 3, 5)]
    return "#" + "".join(f"{min(255, max(0, round(value))):02x}" for value in channels)


def in_colour(teacher: Teacher, colour: str, other: str) -> FilterTeacher:
    """The same look in another colour."""
    assert isinstance(teacher, FilterTeacher)
    return FilterTeacher(
        tuple(
            Step(
                step.operator,
                tuple((key, other if value == colour else value) for key, value in step.parameters),
            )
            for step in teacher.steps
        )
    )


def print_colours(zoo: TaughtZoo, *, n_each: int, seed: int) -> None:
    """Measure the checkpoint of the nearest colour and generated weights on four photos, by distance."""
    photos = [fit_short_side(photo.pixels, _SIDE) for photo in load_photos(split="train")[:100:25]]
    rows = []
    for one in looks_in_new_colours(zoo, n_each=n_each, seed=seed):
        given, wanted = one.teacher.edit(photos, range(len(photos)))
        networks = (
            zoo.checkpoint(one.nearest, with_detail=False),
            zoo.network(zoo.generator.generate(Request(one.words))),
        )
        rows.append(
            (
                one.distance,
                *(mean_psnr([network.edit(photo) for photo in given], wanted) for network in networks),
            )
        )
    click.echo(f"{'distance':>10} {'n':>4} {'nearest colour':>15} {'generated':>10} {'generated better':>17}")
    for low, high in pairwise(COLOUR_ENDS):
        found = np.array([row for row in rows if low <= row[0] < high])
        if len(found):
            _, nearest, generated = found.mean(axis=0)
            share = np.mean(found[:, 2] > found[:, 1])
            click.echo(
                f"{low:4.0f}-{high:<5.0f} {len(found):4} {nearest:12.1f} dB {generated:7.1f} dB {share:17.2f}"
            )


def taught_parts(zoo: TaughtZoo) -> Iterator[tuple[str, frozenset[str]]]:
    """Concepts with their looks, without degrees and colours."""
    assert zoo.phrases is not None
    config = zoo.phrases.config
    for concept_id in zoo.index.ids:
        parts = parts_of(concept_id, frozenset(config.looks), config.slots, config.colours)
        if parts is not None:
            yield concept_id, frozenset(part.look for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-each", type=int, default=60, help="wordings of each kind and bin")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--degrees", action="store_true", help="ask with words of degree")
    parser.add_argument("--colours", action="store_true", help="ask for looks in colours that are nobody's")
    arguments = parser.parse_args()
    zoo = Zoo.from_pretrained(BUNDLED_ZOO)
    if arguments.degrees:
        print_degrees(TaughtZoo(zoo), n_phrases=700, seed=arguments.seed)
        return
    if arguments.colours:
        print_colours(TaughtZoo(zoo), n_each=24, seed=arguments.seed)
        return
    asked = ask(zoo, n_each=arguments.n_each, seed=arguments.seed)
    print_table(zoo, asked, PhotoSource(catalog_folder() / "photos"))


if __name__ == "__main__":
    main()
