"""The router: decides whether words mean a checkpoint of the zoo, or ask for generated weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Protocol

from initzoo.generator import (
    Colour,
    PhraseEncoder,
    Reading,
    colour_difference,
    colour_names,
    find_colours,
)
from initzoo.pairs import Part, alphabets_of, normalise_words, parts_of
from initzoo.zoo.degrees import FURTHEST, Degree, find_degree
from initzoo.zoo.index import Index, Match
from initzoo.zoo.negation import asks_for_no_colour, find_negated
from initzoo.zoo.route import LIKELY, MAYBE, Route

__all__ = ["Router", "is_misspelt"]

_LEAST_CONFIDENCE = 0.35  # below it weights are generated, which then are better on average
_LEAST_OF_UNKNOWN = LIKELY  # the same, for words that the tokenizer has only in pieces, e.g. random letters
_LEAST_SHARE = 0.02  # below it, a look is not asked for, however many looks the words seem to ask for
_LEAST_SCORE = 0.02  # below it, a concept is not listed
_FAR_COLOURS = 14.0  # mean distance in CIE Lab over a look's colours from which they are other ones
_SAME_COLOUR = 4.0  # the same for a plain colour that the words name: beyond, generated weights are nearer
_SAME_NAME = 10.0  # the same for a name of the long list, which people may mean otherwise: "paper white"
_LEAST_LETTERS = 5  # a shorter word is not taken for another one with a letter changed
_JOINING = frozenset({"at", "in", "with", "and", "on", "by", "but", "then", "under", "plus", "of", "as"})
_AROUND = _JOINING | {
    "a", "an", "the", "like", "look", "looks", "style", "make", "it", "to", "into", "photo", "picture",
    "image", "effect", "filter", "some", "slightly", "very", "touch", "from", "for", "made", "turn", "give",
    "my", "this", "shot", "if", "was", "were", "colours", "colors", "tones", "please", "want", "out", "off",
    "its", "is", "taken",
}  # fmt: skip
"""Words around the name of a look that say nothing of it."""

_SAYING_NOTHING = _AROUND | {
    "yes", "no", "ok", "okay", "all", "none", "nothing", "something", "anything", "everything", "undo",
    "redo", "again", "that", "those", "do", "can", "could", "you", "we", "i", "what", "how", "is",
    "are", "be", "not", "hello", "hi", "thanks", "test", "just", "so", "more", "less", "too", "much",
    "one", "now", "here", "there",
}  # fmt: skip

_BLACK_AND_WHITE = "black and white"
"""Wording of the look that has no colour."""

_ANY_COLOUR = "*"
"""What stands for a colour in the wording of a look."""

_MOST_IN_COLOURS = 2  # concepts of a look whose wordings are read for it: but for the colour they are alike

_HALF = "half-"
"""Begin of the ids of looks that are a hint by themselves, such as a half tint."""

_MOST_NAMING, _MOST_OF_NAME = 9, 3  # words of a request that is split, and of a name
_SURE, _SURE_OF_WHOLE, _NONE = 0.8, 0.6, 0.25
_SURE_OF_NAMES = 0.9  # confidence in two looks that are both named, or in one beside its degree
_SURE_OF_UNDOING = 0.7  # confidence in the restoration that undoes a look which words ask to be without
_COLOURED = "-colour"  # end of the id of a look that has the colours of words, beside the look without it
_SURE_OF_HEARD = 0.9  # share of the confidence that is left if the encoder reads a part of the words
_VARIANTS = {  # degrees that concepts have, by the kind that words ask for
    "faint": ("faint", "slight", "delicate", "fine", "barely"),
    "strong": ("strong", "heavy", "bold", "thick", "extreme"),
}
_CLAUSE = re.compile("[,;:]")
_HEX = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")
_SLOT_WORDS = {
    "dark": ("dark", "darks", "shadow", "shadows", "blacks"),
    "light": ("light", "lights", "highlight", "highlights", "whites"),
    "shadows": ("dark", "darks", "shadow", "shadows"),
    "highlights": ("light", "lights", "highlight", "highlights"),
    "middle": ("mid", "mids", "middle", "midtone", "midtones"),
    "paper": ("paper", "background", "ground", "sheet"),
    "board": ("board", "blackboard", "chalkboard"),
}


class Named(Protocol):
    """Concepts as a router reads them; an `Index` is one."""

    @property
    def ids(self) -> list[str]:
        """All concept ids."""

    def row(self, concept_id: str) -> Any:
        """The row of a concept, with its `prompts` and `family`."""

    def find(self, words: str) -> Any:
        """The row with this wording, or None."""


@dataclass(frozen=True)
class _Distances:
    """How far the colours of a concept are from those of words, in CIE Lab.

    Args:
        mean: over all its colours; one that the words do not name has a distance, too.
        are_others: whether one that they do name is another colour.
    """

    mean: float
    are_others: bool


@dataclass(frozen=True)
class _Scored:
    match: Match
    parts: tuple[Part, ...]
    colours: _Distances | None


def is_misspelt(words: str, wording: str, *, is_word: bool = False) -> bool:
    """Whether words are a wording with one word misspelt: one letter missing, added, changed or swapped.

    Args:
        words: what was asked for.
        wording: a wording of a concept.
        is_word: whether the changed word is a word itself, which then is no slip.

    Example:
        >>> is_misspelt("pencil skecth", "pencil sketch"), is_misspelt("blue hour", "blur hour")
        (True, False)
    """
    from rapidfuzz.distance import OSA

    asked, known = normalise_words(words).split(), normalise_words(wording).split()
    if is_word or len(asked) != len(known):
        return False
    differing = [(one, other) for one, other in zip(asked, known, strict=True) if one != other]
    if len(differing) != 1:
        return False
    one, other = differing[0]
    is_long = min(len(one), len(other)) >= _LEAST_LETTERS and one.isalpha() and other.isalpha()
    return is_long and OSA.distance(one, other, score_cutoff=1) <= 1


class Router:
    """Ranks the concepts of a zoo by what words mean, and decides how the zoo answers.

    Args:
        index: the concepts, e.g. the index of the zoo.
        encoder: its phrase encoder.
    """

    def __init__(self, index: Named, encoder: PhraseEncoder) -> None:
        self.index = index
        self.encoder = encoder

    @cached_property
    def alphabets(self) -> frozenset[str]:
        """The alphabets of the languages that the phrase encoder was taught, from its names of colours."""
        return alphabets_of(" ".join(self.encoder.config.colours))

    def find_misspelt(self, words: str, index: Index) -> str | None:
        """The id of the only concept of an index with a wording that the words misspell in one word, or
        None."""
        found = set()
        for match in index.nearest(words, 8):
            row = index.row(match.concept_id)
            for wording in (row.concept_id, *row.prompts, *row.test_prompts):
                if is_misspelt(words, wording, is_word=self._is_correct(words, wording)):
                    found.add(row.concept_id)
        return found.pop() if len(found) == 1 else None

    def route(self, words: str, *, n_nearest: int = 3) -> Route:
        """Decide between a checkpoint and generated weights. The words are no wording of the zoo.

        Args:
            words: what was asked for.
            n_nearest: number of nearest concepts to name.

        Raises:
            InvalidWords: the words are empty, too long, or have control or invisible characters.
        """
        degree = find_degree(words)
        route = self._answer(words, degree, n_nearest)[0]
        route = self._undoing(degree, self._in_its_colour(degree, route))
        notes = [degree.note] if degree.note else []
        if (
            degree.is_of_part
            and route.strength != 1
            and len(self._concepts.get(route.concept_id or "", ())) > 1
        ):
            route = replace(route, strength=1.0)
            notes.append("one strength is for all looks, so that of a part is left out")
        return replace(route, reason="; ".join((route.reason, *notes)))

    def _undoing(self, degree: Degree, route: Route) -> Route:
        """What to answer instead of a look that words ask to be without: what undoes it, if anything does."""
        colourless = self.index.find(_BLACK_AND_WHITE) if asks_for_no_colour(degree.rest) else None
        strength = degree.strength if degree.strength < 1 else 1.0
        if colourless is not None:
            reason = "the words ask to be without colour"
            return Route("matched", colourless.concept_id, _SURE_OF_NAMES, reason, route.nearest, strength)
        negated = find_negated(degree.rest)
        # The encoder knows few negations in languages that write no spaces, but their marks are plain.
        is_dense = negated > "\u2fff"
        if not negated or (route.concept_id is None and not is_dense):
            return route
        row = self.index.find(negated)
        parts = self._concepts.get(row.concept_id, ()) if row is not None else ()
        look = parts[0].look if len(parts) == 1 else self._names.get(_core(negated.split()))
        if look is None:
            reading = self.encoder.read(negated)
            look = reading.best[0] if reading.confidence >= LIKELY else None
            if look in self._restorations:  # "no noise" is read as what removes it, and means that
                is_missed = route.concept_id is None and look in self._concepts
                reason = f"the words mean '{look}'"
                return Route("matched", look, _SURE_OF_UNDOING, reason, route.nearest) if is_missed else route
        read = {part.look for part in self._concepts.get(route.concept_id or "", ())}
        if look is None or (look not in read and not is_dense):
            return route
        undoing = sorted(self._opposites.get(look, frozenset()) & self._restorations & {*self._concepts})
        nearest = tuple(one for one in route.nearest if one.concept_id != route.concept_id)
        asked = f"the words ask to be without '{look}'"
        if undoing and look not in self._restorations:
            reason = f"{asked}, which '{undoing[0]}' undoes"
            return Route("matched", undoing[0], _SURE_OF_UNDOING, reason, nearest, strength)
        if look not in read:
            return route
        return Route("generated", None, None, f"{asked}, which no checkpoint undoes", nearest)

    def _answer(self, words: str, degree: Degree, n_nearest: int) -> tuple[Route, str]:
        """The route, and the part of the words that the encoder read for it; empty for all of them."""
        said_more = bool(degree.rest) and degree.rest != normalise_words(words)
        if not set(degree.rest.split()) - _SAYING_NOTHING:
            nearest = tuple(one.match for one in self._scored(words, degree)[:n_nearest])
            return Route("generated", None, None, "the words name no look", nearest), ""
        named = self._route_name(words, degree, n_nearest) if said_more else None
        if named is not None:
            return named, degree.rest
        route = self._route(words, degree, n_nearest)
        # The encoder knows few words of degree, and any other makes it less sure of the look beside it.
        if said_more and not _is_likely(route):
            bare = self._route(words, degree, n_nearest, heard=degree.rest)
            if _is_surer(bare, route):
                return bare, degree.rest
        return route, ""

    def _route_name(self, words: str, degree: Degree, n_nearest: int) -> Route | None:
        """The route to a concept whose wording is all that words say beside their degree; None otherwise."""
        row = self.index.find(degree.rest)
        exact = None if row is None else self._concepts.get(row.concept_id)
        is_plain = exact is not None and len(exact) == 1 and not exact[0].colours and not exact[0].degree
        look = exact[0].look if exact and is_plain else self._names.get(_core(degree.rest.split()))
        if exact is not None and not is_plain:
            name, had, said = row.concept_id, exact[0].degree, row.concept_id
        else:
            found = {
                parts[0].degree: concept_id
                for concept_id, parts in self._concepts.items()
                if len(parts) == 1 and parts[0].look == look and not parts[0].colours
            }
            wanted = (degree.furthest, *_VARIANTS.get(degree.variant, ()))
            had = next((name for name in wanted if name and name in found), "")
            if had not in found or look is None:
                return None
            name, said = found[had], look
        scored = self._scored(words, degree, degree.rest)
        nearest = tuple(one.match for one in scored[:n_nearest])
        strength = _strength(had, degree, said)
        return Route("matched", name, _SURE_OF_NAMES, f"the words name '{said}'", nearest, strength)

    def _in_its_colour(self, degree: Degree, route: Route) -> Route:
        """What to answer if the words are the wording of a look in one colour, but for the colour.

        The encoder knows few of the thirty thousand names, and reads "eggplant tint" as selenium.
        """
        parts = self._concepts.get(route.concept_id or "", ())
        is_coloured = any(part.colours for part in parts)
        near = [part for one in route.nearest for part in self._concepts.get(one.concept_id, ())]
        # The wordings are read only where they may matter, since that takes a while.
        if is_coloured or not (parts or any(part.colours for part in near)):
            return route
        listed, known = degree.rest.split(), self.encoder.config.colours
        for first, end in combinations(range(len(listed) + 1), 2):
            name = " ".join(listed[first:end])
            value = known.get(name) or colour_names().get(name)
            if value is None:
                continue
            look = self._in_one_colour.get(_core((*listed[:first], _ANY_COLOUR, *listed[end:])))
            if look is None or name in self._names:
                continue
            colour = Colour(name, value, name in known, first, end - first)
            concept_id = self._nearest_in_colour(look, degree.rest, [colour])
            if concept_id is None:
                reason = f"no checkpoint of '{look}' has the colours of the words: {name}"
                return Route("generated", None, None, reason, route.nearest)
            reason = f"the words mean '{concept_id}'"
            return Route("matched", concept_id, _SURE_OF_NAMES, reason, route.nearest, degree.strength)
        return route

    def _route(self, words: str, degree: Degree, n_nearest: int, *, heard: str = "") -> Route:
        """Decide by what the encoder reads: all words, or only those that are `heard`."""
        scored = self._scored(words, degree, heard)
        reading = self.encoder.read(self._in_words(heard or words))
        nearest = tuple(one.match for one in scored[:n_nearest])

        def generated(reason: str) -> Route:
            strength = degree.strength if degree.is_percentage else 1.0
            return Route("generated", None, None, reason, nearest, strength)

        if reading.count == 0 or reading.none > 0.5:
            return generated("the words name no look that the zoo knows")
        if not scored:
            return generated("no concept of the zoo is near")
        best = scored[0]
        first = reading.best[0]
        others = [
            look for look in reading.best[1 : reading.count] if look not in self._opposites.get(first, ())
        ]
        asked = [first, *(look for look in others if reading.looks[look] >= _LEAST_SHARE)]
        if len(asked) > 1 and {part.look for part in best.parts} != set(asked):
            return generated(f"the words ask for several looks at once: {', '.join(asked)}")
        if len(asked) == 1 and first not in self._trained and reading.looks[first] > 0.5:
            return generated(f"the zoo has no checkpoint of '{first}'")
        missing = self._missing_colour(_said(words, heard), best)
        if missing is not None:
            return generated(missing)
        further = self._further_colours(_said(words, heard), best)
        coloured = self._coloured(_said(words, heard), best) if further else None
        if coloured is not None:
            confidence = round(self._confidence(reading, best) * _SURE_OF_NAMES, 4)
            reason = f"the words mean '{coloured}'"
            return Route("matched", coloured, confidence, reason, nearest, degree.strength)
        if further:
            return generated(f"the words ask for '{best.parts[0].look}' and for a colour: {further}")
        named, sureness = self._named_looks(heard or words, reading)
        if named and {part.look for part in best.parts} != named:
            looks = " and ".join(f"'{look}'" for look in sorted(named))
            joined = self._joined.get(named)
            if joined is None:
                return generated(f"the words ask for several looks at once: {looks}")
            confidence = round(sureness * _SURE_OF_NAMES, 4)
            return Route("matched", joined, confidence, f"the words name {looks}", nearest, degree.strength)
        confidence = self._confidence(reading, best) * (_SURE_OF_HEARD if heard else 1.0)
        if others:  # the encoder counts a look that it does not find
            confidence = min(confidence, best.match.similarity)
        is_known = any(
            self.encoder.states.is_word(word) or word in self._vocabulary
            for word in normalise_words(words).split()
        )
        if confidence < (_LEAST_CONFIDENCE if is_known else _LEAST_OF_UNKNOWN):
            return generated("the words could mean several looks" if is_known else "no word of it is known")
        name = best.match.concept_id
        had = next((part.degree for part in best.parts if part.degree), "")
        strength = _strength(had, degree, name)
        return Route("matched", name, round(confidence, 4), f"the words mean '{name}'", nearest, strength)

    def knows(self, concept_id: str) -> bool:
        """Whether the encoder knows all looks of a concept."""
        return concept_id in self._concepts

    def rank(self, words: str, n: int = 10) -> list[Match]:
        """The concepts nearest to words by meaning, the best first, with a similarity from 0 to 1.

        A restoration and the looks that it undoes are never ranked together.

        Raises:
            InvalidWords: as for `route`.
        """
        degree = find_degree(words)
        has_degree = degree.rest != normalise_words(words)
        heard = self._answer(words, degree, 0)[1] if has_degree else ""
        return [one.match for one in self._scored(words, degree, heard)[:n]]

    def _scored(self, words: str, degree: Degree, heard: str = "") -> list[_Scored]:
        reading = self.encoder.read(self._in_words(heard or words))
        said = _said(words, heard)
        colours = find_colours(said, self.encoder.config.colours)
        scored = []
        for concept_id, parts in self._concepts.items():
            share = reading.counts[len(parts)] if len(parts) < len(reading.counts) else 0.0
            looks = [min(1.0, reading.looks[part.look] * len(parts)) for part in parts]
            score = share * math.prod(looks) ** (1 / len(parts))
            if score < _LEAST_SCORE:
                continue
            distance = self._colour_distances(said, colours, parts)
            agreement = 1.0 if distance is None else math.exp(-distance.mean / 25)
            agreement *= math.prod(_agreement(part.degree, degree) for part in parts)
            match = Match(concept_id, "", round(score * agreement, 4))
            scored.append(_Scored(match, parts, distance))
        scored.sort(key=lambda one: (-one.match.similarity, one.match.concept_id))
        return [self._with_prompt(one) for one in self._without_opposites(scored, reading)]

    def _with_prompt(self, scored: _Scored) -> _Scored:
        name, match = scored.match.concept_id, scored.match
        if name not in self._prompts:
            self._prompts[name] = self.index.row(name).prompts[0]
        return replace(scored, match=Match(name, self._prompts[name], match.similarity))

    def _without_opposites(self, scored: Sequence[_Scored], reading: Reading) -> list[_Scored]:
        undone = set(self._undone(reading))
        left = [one for one in scored if not undone & {part.look for part in one.parts}]
        leading = {part.look for one in left[:1] for part in one.parts}
        undone = {other for look in leading for other in self._opposites.get(look, frozenset())} - leading
        return [one for one in left if not undone & {part.look for part in one.parts}]

    def _undone(self, reading: Reading) -> frozenset[str]:
        """The opposites of the look that is most likely meant."""
        return self._opposites.get(reading.best[0], frozenset())

    def is_opposite(self, words: str, concept_id: str) -> bool:
        """Whether a concept undoes the look that words mean, or the other way round."""
        undone = self._undone(self.encoder.read(words))
        return any(part.look in undone for part in self._concepts.get(concept_id, ()))

    def _confidence(self, reading: Reading, best: _Scored) -> float:
        if len(best.parts) > 1:
            return best.match.similarity
        is_best = reading.best[0] == best.parts[0].look
        return reading.confidence if is_best else min(reading.confidence, reading.looks[best.parts[0].look])

    def _named_looks(self, words: str, reading: Reading) -> tuple[frozenset[str], float]:
        """Two looks that words name one after the other, as in "charcoal at dusk", and how sure that is.

        Without two such looks, there are none.

        The encoder reads whole phrases, and its best look may hide a second one. So every split of the words
        in two is tried: both parts must be names of looks, or one, if a word such as "with" joins them, and
        the encoder is sure of the other.
        """
        listed = normalise_words(words).split()
        if not 2 <= len(listed) <= _MOST_NAMING or _core(listed) in self._names:
            return frozenset(), 0.0
        best, found = 0.0, frozenset[str]()
        for place in range(1, len(listed)):
            before, after = _core(listed[:place]), _core(listed[place:])
            if not before or not after or (listed[place - 1] in _JOINING and place < len(listed) - 1):
                continue  # a joining word belongs to what follows
            is_joined = listed[place] in _JOINING or "," in words
            named = [self._named_look(part, is_joined) for part in (before, after)]
            if not (before in self._names or after in self._names) or None in named:
                continue
            (first, one), (second, other) = (pair for pair in named if pair is not None)
            is_sure = reading.looks[reading.best[0]] > _SURE and reading.confidence > _SURE_OF_WHOLE
            if _are_kin(first, second) or second in self._opposites.get(first, ()):
                continue
            if (first in self._restorations) != (second in self._restorations):
                continue  # "old photo with scratches" says what the photo is, not what it should become
            if reading.best[0] not in (first, second) and reading.count == 1 and is_sure:
                continue
            if one * other > best:
                best, found = one * other, frozenset({first, second})
        return found, best

    def _named_look(self, part: str, is_joined: bool) -> tuple[str, float] | None:
        """The look that a part of words names, and how sure that is; None if it names none."""
        if part in self._names:
            return self._names[part], 1.0
        if not is_joined or self._is_of_colours(part):
            return None
        reading = self.encoder.read(part)
        look = reading.best[0]
        is_sure = reading.looks[look] >= _SURE and reading.none <= _NONE and reading.confidence >= MAYBE
        return (look, reading.confidence) if is_sure else None

    def _is_of_colours(self, part: str) -> bool:
        """Whether a part of words names plain colours and nothing else."""
        colours = find_colours(part, self.encoder.config.colours)
        n_named = sum(colour.n_words for colour in colours if colour.is_plain)
        return n_named == sum(word not in _JOINING for word in part.split())

    @cached_property
    def _names(self) -> dict[str, str]:
        """Short wordings of single looks without what surrounds them, and the look that each names alone."""
        named: dict[str, set[str]] = {}
        for concept_id, parts in self._concepts.items():
            if len(parts) == 1 and not parts[0].colours and not parts[0].degree:
                for wording in (concept_id.replace("-", " "), *self.index.row(concept_id).prompts):
                    core = _core(normalise_words(wording).split())
                    if core and len(core.split()) <= _MOST_OF_NAME:
                        named.setdefault(core, set()).add(parts[0].look)
        colours = self.encoder.config.colours  # "in red" is a colour, though "red" is also a filter
        return {
            core: looks.pop()
            for core, looks in named.items()
            if len(looks) == 1 and (core not in colours or core in looks)
        }

    @cached_property
    def _in_one_colour(self) -> dict[str, str]:
        """Wordings of looks in one colour, with a mark in its place, and the look that each names alone."""
        n_read: dict[str, int] = {}
        named: dict[str, set[str]] = {}
        for concept_id, parts in self._concepts.items():
            look = parts[0].look
            is_plain = len(parts) == 1 and len(parts[0].colours) == 1 and not parts[0].degree
            if not is_plain or n_read.get(look, 0) == _MOST_IN_COLOURS:
                continue
            n_read[look] = n_read.get(look, 0) + 1
            name = parts[0].colours[0].replace("-", " ").split()
            for wording in self.index.row(concept_id).prompts:
                listed = normalise_words(wording).split()
                for first in range(len(listed) - len(name) + 1):
                    if listed[first : first + len(name)] == name:
                        rest = _core((*listed[:first], _ANY_COLOUR, *listed[first + len(name) :]))
                        named.setdefault(rest, set()).add(look)
        return {rest: looks.pop() for rest, looks in named.items() if len(looks) == 1 and rest != _ANY_COLOUR}

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        """The words of the wordings of all concepts that the encoder knows."""
        return frozenset(
            word
            for concept_id in self._concepts
            for wording in (concept_id.replace("-", " "), *self.index.row(concept_id).prompts)
            for word in normalise_words(wording).split()
        )

    @cached_property
    def _joined(self) -> dict[frozenset[str], str]:
        """The concept that joins some looks, without colours and degrees, by these looks."""
        return {
            frozenset(part.look for part in parts): concept_id
            for concept_id, parts in sorted(self._concepts.items(), reverse=True)
            if len(parts) > 1 and not any(part.colours or part.degree for part in parts)
        }

    @cached_property
    def _restorations(self) -> frozenset[str]:
        return frozenset(
            parts[0].look
            for concept_id, parts in self._concepts.items()
            if len(parts) == 1 and self.index.row(concept_id).family == "restoration"
        )

    def _missing_colour(self, words: str, best: _Scored) -> str | None:
        """Why the best concept has not the colours of the words, or None if it has."""
        if best.colours is None:
            return None
        colours = find_colours(words, self.encoder.config.colours)
        if not colours:
            return f"'{best.parts[0].look}' needs a colour, and the words name none"
        if best.colours.mean <= _FAR_COLOURS and not best.colours.are_others:
            return None
        names = ", ".join(colour.name for colour in colours)
        return f"no checkpoint of '{best.parts[0].look}' has the colours of the words: {names}"

    def _coloured(self, words: str, best: _Scored) -> str | None:
        """The concept of the coloured kind of a look whose colours are those of the words, or None."""
        look = f"{best.parts[0].look}{_COLOURED}"
        if len(best.parts) > 1 or look not in self.encoder.config.slots:
            return None
        return self._nearest_in_colour(look, words, find_colours(words, self.encoder.config.colours))

    def _nearest_in_colour(self, look: str, words: str, colours: Sequence[Colour]) -> str | None:
        """The concept of a look in the colours of words, the nearest of several; None without one."""
        near = [
            (distances.mean, concept_id)
            for concept_id, parts in self._concepts.items()
            if len(parts) == 1
            and parts[0].look == look
            and (distances := self._colour_distances(words, colours, parts)) is not None
            and distances.mean <= _FAR_COLOURS
            and not distances.are_others
        ]
        return min(near)[1] if near else None

    def _in_words(self, words: str) -> str:
        """Words with the name of the nearest plain colour in place of each `#hex`, for the encoder."""
        if "#" not in words:
            return words
        known = self.encoder.config.colours
        names = sorted(
            {name for parts in self._concepts.values() for part in parts for name in part.colours} or known
        )

        def named(found: re.Match[str]) -> str:
            value = found[0] if len(found[0]) == 7 else "#" + "".join(2 * digit for digit in found[0][1:])
            return min(names, key=lambda name: colour_difference(known[name], value))

        return _HEX.sub(named, words)

    def _further_colours(self, words: str, best: _Scored) -> str:
        """The plain colours that words name besides those of the looks; empty if there are none."""
        config = self.encoder.config
        if any(part.look in config.slots for part in best.parts):
            return ""
        own = {value for part in best.parts for value in config.own_colours.get(part.look, ())}
        colours = find_colours(words, config.colours)
        return ", ".join(colour.name for colour in colours if colour.is_plain and colour.hex not in own)

    def _colour_distances(
        self, words: str, colours: Sequence[Colour], parts: Sequence[Part]
    ) -> _Distances | None:
        """Distances of the colours of a concept to those that the words name; None if it has none."""
        slots = [
            (slot, value)
            for part in parts
            if part.colours
            for slot, value in zip(self.encoder.config.slots[part.look], part.colours, strict=True)
        ]
        if not slots:
            return None
        if not colours:
            return _Distances(2 * _FAR_COLOURS, are_others=False)
        given = assign_colours(words, colours, [slot for slot, _ in slots])
        values = self.encoder.config.colours
        named = {i: colour_difference(colour.hex, values[slots[i][1]]) for i, colour in given.items()}
        distances = [named[i] if i in named else _unasked(name) for i, (_, name) in enumerate(slots)]
        are_others = any(
            named[i] > (_SAME_COLOUR if colour.is_plain else _SAME_NAME) for i, colour in given.items()
        )
        return _Distances(sum(distances) / len(distances), are_others)

    @cached_property
    def _prompts(self) -> dict[str, str]:
        return {}

    @cached_property
    def _trained(self) -> frozenset[str]:
        """The looks that concepts have."""
        return frozenset(part.look for parts in self._concepts.values() for part in parts)

    @cached_property
    def _opposites(self) -> Mapping[str, frozenset[str]]:
        """The opposites of each look, in both directions."""
        both: dict[str, set[str]] = {}
        for look, others in self.encoder.config.opposites.items():
            for other in others:
                both.setdefault(look, set()).add(other)
                both.setdefault(other, set()).add(look)
        return {look: frozenset(others) for look, others in both.items()}

    @cached_property
    def _concepts(self) -> dict[str, tuple[Part, ...]]:
        """The looks of each concept by its id. Concepts that the encoder does not know are left out."""
        config, concepts = self.encoder.config, {}
        for concept_id in self.index.ids:
            parts = parts_of(concept_id, self._looks, config.slots, config.colours)
            if parts is not None:
                concepts[concept_id] = parts
        return concepts

    @cached_property
    def _looks(self) -> frozenset[str]:
        return frozenset(self.encoder.config.looks)

    def _is_correct(self, words: str, wording: str) -> bool:
        """Whether the word in which two texts differ is a word that the encoder knows as a whole."""
        asked, known = normalise_words(words).split(), normalise_words(wording).split()
        differing = [one for one, other in zip(asked, known, strict=False) if one != other]
        return any(self.encoder.states.is_word(one) for one in differing)


def _said(words: str, heard: str) -> str:
    """The words in which colours are looked for: "hint of blue" is a colour of a list, and so is #hex."""
    return words if "#" in words else heard or words


def _is_likely(route: Route) -> bool:
    return route.confidence is not None and route.confidence >= LIKELY


def _is_surer(bare: Route, route: Route) -> bool:
    """Whether the answer to words without their degree is to be preferred to the answer to all of them."""
    if bare.confidence is None or bare.confidence < MAYBE:
        return False
    return route.confidence is None or bare.confidence > route.confidence


def _core(words: Sequence[str]) -> str:
    """Words without those around them that say nothing of the look.

    Example:
        >>> _core(["make", "it", "charcoal", "like"])
        'charcoal'
    """
    first, last = 0, len(words)
    while first < last and words[first] in _AROUND:
        first += 1
    while last > first and words[last - 1] in _AROUND:
        last -= 1
    return " ".join(words[first:last])


def _are_kin(one: str, other: str) -> bool:
    """Whether two looks are kinds of one: their ids begin or end alike."""
    return one.split("-")[0] == other.split("-")[0] or one.split("-")[-1] == other.split("-")[-1]


def assign_colours(words: str, colours: Sequence[Colour], slots: Sequence[str]) -> dict[int, Colour]:
    """Give the colours of words to the slots of a look.

    A word beside a colour may name its slot, as in "gold paper" or "shadows in navy", unless a comma is
    between them; all others go in order.

    Args:
        words: a phrase.
        colours: its colours, in order.
        slots: names of the slots.

    Returns:
        Colours by index of the slot; a slot without a colour is missing.

    Example:
        >>> text = "cream paper, brown ink"
        >>> colours = find_colours(text, {"cream": "#fff1d0", "brown": "#7a4a2b"})
        >>> {i: colour.name for i, colour in assign_colours(text, colours, ["colour", "paper"]).items()}
        {1: 'cream', 0: 'brown'}
    """
    chosen = sorted(colours, key=lambda colour: not colour.is_plain)[: len(slots)]
    chosen.sort(key=lambda colour: colour.index)
    clauses = [normalise_words(clause).split() for clause in _CLAUSE.split(words.replace("#", " "))]
    parts = [(number, word) for number, clause in enumerate(clauses) for word in clause]
    given: dict[int, Colour] = {}
    left = []
    for colour in chosen:
        end = colour.index + colour.n_words
        (here, _), *_ = parts[colour.index : end] or [(0, "")]
        near = [*parts[end : end + 1], *parts[max(colour.index - 2, 0) : colour.index]]
        beside = {word for clause, word in near if clause == here}
        named = [
            i for i, slot in enumerate(slots) if i not in given and beside & {*_SLOT_WORDS.get(slot, ())}
        ]
        if named and len(slots) > 1:
            given[named[0]] = colour
        else:
            left.append(colour)
    free = [i for i in range(len(slots)) if i not in given]
    return given | dict(zip(free, left, strict=False))


def _unasked(name: str) -> float:
    """The distance of a colour that the words do not name: little for paper white and black, which go
    without saying."""
    return 4.0 if name in ("white", "cream", "black", "ivory") else 12.0


def _agreement(had: str, degree: Degree) -> float:
    """How well the degree of a concept is the one asked for, at most 1."""
    if not had:
        return 0.8 if degree.variant else 1.0
    if had == degree.furthest:
        return 1.0
    if had in _VARIANTS.get(degree.variant, ()):
        return 0.9 if degree.furthest or had in FURTHEST.values() else 1.0
    return 0.8


def _strength(had: str, degree: Degree, concept_id: str) -> float:
    """The strength of a concept that has a degree, or none, for the degree that is asked for."""
    if not had:
        is_hint = concept_id.startswith(_HALF) and not degree.is_percentage
        return 1.0 if is_hint else degree.strength
    return 1.0 if had == degree.furthest else degree.strength_of_variant
