"""The router: which checkpoint words mean, how sure that is, and when weights are generated instead."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from initzoo.generator import (
    Confidence,
    PhraseConfig,
    PhraseShape,
    Reading,
    colour_difference,
    find_colours,
)
from initzoo.zoo.degrees import find_degree
from initzoo.zoo.route import how_sure
from initzoo.zoo.router import Router, assign_colours, is_misspelt

LOOKS = ("blur", "deblur", "duotone", "fog", "night", "tint")
COLOURS = {
    "navy": "#14254d",
    "gold": "#e0a526",
    "teal": "#118a8a",
    "red": "#d62828",
    "sky blue": "#6cb8f0",
}
IDS = [
    "blur", "blur-faint", "deblur", "duotone-navy-gold", "duotone-gold-navy", "fog", "fog--night",
    "my-own-look", "night", "tint-red", "tint-sky-blue", "tint-teal",
]  # fmt: skip


class Names:
    """Concepts without an index file."""

    ids = IDS

    def row(self, concept_id: str) -> Any:
        assert concept_id in IDS
        family = "restoration" if concept_id == "deblur" else "light"
        return SimpleNamespace(concept_id=concept_id, prompts=(f"{concept_id} photo",), family=family)

    def find(self, words: str) -> Any:
        return self.row(words.replace(" ", "-")) if words.replace(" ", "-") in IDS else None


class FixedEncoder:
    """Reads every phrase alike, so that a test says what the network would."""

    def __init__(self, looks: dict[str, float], counts: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0)) -> None:
        self.config = PhraseConfig(
            looks=LOOKS,
            slots={"tint": ("colour",), "duotone": ("dark", "light")},
            colours=COLOURS,
            opposites={"deblur": ("blur",)},
            shape=PhraseShape(len(LOOKS) + 1),
            confidence=Confidence(),
            licence="",
            source="",
            own_colours={"night": ("#118a8a",)},
        )
        self.states = SimpleNamespace(is_word=lambda text: text != "asdf")
        rest = (1 - sum(looks.values())) / len(LOOKS)
        shares = {look: looks.get(look, rest) for look in LOOKS}
        none = looks.get("none", 0.0)
        self.reading = Reading(np.zeros(2, np.float32), shares, none, counts, looks.get("sure", 0.9))  # type: ignore[arg-type]

    def read(self, words: str) -> Reading:
        return self.reading


def router(looks: dict[str, float], **options: Any) -> Router:
    return Router(Names(), FixedEncoder(looks, **options))  # type: ignore[arg-type]


def test_words_that_mean_a_look_get_its_checkpoint() -> None:
    route = router({"fog": 0.9}).route("cannot see a thing")
    assert (route.origin, route.concept_id, route.confidence) == ("matched", "fog", 0.9)
    assert route.sureness == "likely"
    assert route.reason == "the words mean 'fog'"
    assert route.nearest[0].prompt == "fog photo"


def test_words_of_degree_choose_the_concept_of_that_degree() -> None:
    assert router({"blur": 0.9}).route("slightly out of focus").concept_id == "blur-faint"
    assert router({"blur": 0.9}).route("out of focus").concept_id == "blur"


def test_colours_of_the_words_choose_the_concept() -> None:
    assert router({"tint": 0.9}).route("all in teal").concept_id == "tint-teal"
    assert router({"tint": 0.9}).route("all in sky blue").concept_id == "tint-sky-blue"
    assert router({"duotone": 0.9}).route("gold shadows, navy highlights").concept_id == "duotone-gold-navy"
    assert router({"duotone": 0.9}).route("navy to gold").concept_id == "duotone-navy-gold"


def test_a_colour_that_no_checkpoint_has_is_generated() -> None:
    route = router({"tint": 0.9}).route("all in #ff00ff")
    assert route.origin == "generated"
    assert route.reason == "no checkpoint of 'tint' has the colours of the words: #ff00ff"


def test_a_plain_colour_has_a_closer_limit_than_a_name_of_the_long_list() -> None:
    one = router({"tint": 0.9})
    assert colour_difference("#118a8a", "#1a9494") < 4 < colour_difference("#118a8a", "#30a0a0") < 10
    assert one.route("all in #1a9494").concept_id == "tint-teal"
    assert one.route("all in #30a0a0").reason.startswith("no checkpoint of 'tint' has the colours")
    (listed,) = find_colours("all in mermaid harbour", COLOURS)
    assert not listed.is_plain
    distance = colour_difference(listed.hex, COLOURS["teal"])
    assert 4 < distance < 10
    assert one.route("all in mermaid harbour").concept_id == "tint-teal"


def test_a_look_that_needs_a_colour_and_gets_none_is_generated() -> None:
    assert router({"tint": 0.9}).route("tinted").reason == "'tint' needs a colour, and the words name none"


def test_several_looks_at_once_are_generated_unless_the_zoo_has_just_them() -> None:
    two = (0.0, 0.05, 0.95, 0.0)
    route = router({"fog": 0.5, "night": 0.48}, counts=two).route("a foggy night")
    assert (route.origin, route.concept_id) == ("matched", "fog--night")
    route = router({"fog": 0.5, "deblur": 0.48}, counts=two).route("foggy but sharp")
    assert route.origin == "generated"
    assert route.reason == "the words ask for several looks at once: fog, deblur"


def test_a_second_look_that_is_named_is_not_lost() -> None:
    route = router({"fog": 0.9}).route("fog at night")
    assert (route.origin, route.concept_id) == ("matched", "fog--night")
    assert route.reason == "the words name 'fog' and 'night'"
    route = router({"fog": 0.9}).route("fog with blur")
    assert (route.origin, route.reason) == (
        "generated",
        "the words ask for several looks at once: 'blur' and 'fog'",
    )


def test_a_name_in_a_phrase_about_one_look_adds_no_second_look() -> None:
    for words in ("fog horn at sea", "make it a fog photo", "deblur the fog"):
        assert router({"fog": 0.9}).route(words).concept_id == "fog", words


def test_words_that_name_no_look_are_generated() -> None:
    none = (1.0, 0.0, 0.0, 0.0)
    assert "name no look" in router({"fog": 0.1}, counts=none).route("a hat").reason


def test_an_unsure_reading_is_generated_and_a_guess_is_said_to_be_one() -> None:
    assert router({"fog": 0.4, "sure": 0.3}).route("wet").origin == "generated"
    route = router({"fog": 0.4, "sure": 0.4}).route("wet")
    assert (route.origin, route.sureness) == ("matched", "a guess")


def test_words_that_are_none_need_a_surer_reading() -> None:
    assert router({"fog": 0.4, "sure": 0.4}).route("asdf").origin == "generated"
    assert router({"fog": 0.4, "sure": 0.4}).route("asdf wet").origin == "matched"


def test_a_restoration_and_what_it_undoes_are_never_ranked_together() -> None:
    for best, other in (("deblur", "blur"), ("blur", "deblur")):
        ids = [match.concept_id for match in router({best: 0.6, other: 0.35}).rank("blurry")]
        assert best in ids
        assert other not in ids


def test_rank_begins_with_what_route_takes() -> None:
    one = router({"night": 0.6, "fog": 0.3})
    assert one.rank("dark")[0].concept_id == one.route("dark").concept_id


def test_concepts_that_the_encoder_does_not_know_are_left_to_letters() -> None:
    one = router({"night": 0.6})
    assert one.knows("fog--night")
    assert one.knows("tint-sky-blue")
    assert not one.knows("my-own-look")


@pytest.mark.parametrize(
    ("words", "wording", "expected"),
    [
        ("watercolur painting", "watercolour painting", True),
        ("Pencil Skecth!", "pencil sketch", True),
        ("pencli skecth", "pencil sketch", False),  # two words
        ("fig", "fog", False),  # too short to tell
        ("glow", "glow", False),  # no difference
        ("warm night", "warm", False),
        ("35 mm film1", "35 mm films", False),
    ],
)
def test_one_misspelt_word_is_forgiven(words: str, wording: str, expected: bool) -> None:
    assert is_misspelt(words, wording) is expected


def test_a_word_of_its_own_is_no_misspelling() -> None:
    assert not is_misspelt("bright night", "blight night", is_word=True)


def test_sureness_is_said_in_words() -> None:
    assert [how_sure(confidence) for confidence in (0.95, 0.8, 0.79, 0.5, 0.49)] == [
        "likely", "likely", "maybe", "maybe", "a guess",
    ]  # fmt: skip


def test_a_word_behind_a_comma_names_the_slot_of_the_next_colour() -> None:
    words = "ink gold, paper navy"
    given = assign_colours(words, find_colours(words, COLOURS), ["colour", "paper"])
    assert {i: colour.name for i, colour in given.items()} == {0: "gold", 1: "navy"}


def test_colours_go_in_order_to_slots_that_no_word_names() -> None:
    words = "gold, navy"
    given = assign_colours(words, find_colours(words, COLOURS), ["dark", "light"])
    assert {i: colour.name for i, colour in given.items()} == {0: "gold", 1: "navy"}


@pytest.mark.parametrize(
    ("words", "strength"),
    [
     ("150% fog", 1.5), ("400% fog", 1.5), ("fog, 20 percent", 0.2), ("a hint of fog", 0.3),
     ("a lot of fog", 1.4), ("half a fog", 0.5), ("fog", 1.0), ("#123456% fog", 1.0),
     ("fog, ridiculously so", 1.5), ("not too foggy", 0.5), ("a smidgen of fog", 0.3),
     ("extremly foggy", 1.5),
     ("super-resolution", 1.0), ("too dark", 1.0), ("low-key fog", 1.0)],
)  # fmt: skip
def test_words_of_degree_say_how_strong_a_look_should_be(words: str, strength: float) -> None:
    assert find_degree(words).strength == strength


@pytest.mark.parametrize(
    ("words", "strength", "rest"),
    [
     ("very slight fog", 0.3, "fog"), ("really faint fog", 0.3, "fog"), ("not extremely foggy", 0.5, "foggy"),
     ("much less fog", 1.4, "less fog"), ("completely foggy", 1.0, "foggy"), ("100 percent fog", 1.0, "fog"),
     ("fog 12.5%", 0.125, "fog"), ("fog 1000%", 1.5, "fog"), ("fog 50％", 0.5, "fog"),
     ("fog -20%", 1.0, "fog 20"), ("hardly any fog", 1.0, "hardly any fog"),
     ("limited palette", 1.0, "limited palette"), ("hint of blue", 0.3, "blue"), ("very", 1.4, ""),
     ("a bit faded, very green", 1.0, "a bit faded very green"),
     ("not very foggy, just a little", 0.5, "not very foggy"), ("fog 50%, at 50%", 0.5, "fog at"),
     ("fog 40%, grain 80%", 1.0, "fog grain"), ("fog,50%", 0.5, "fog"), ("fog 1,5%", 1.0, "fog 1 5"),
     ("fog 0%", 0.0, "fog"),
    ],
)  # fmt: skip
def test_degrees_are_read_together_with_the_words_beside_them(words: str, strength: float, rest: str) -> None:
    degree = find_degree(words)
    assert (degree.strength, degree.rest) == (strength, rest)


def test_percentages_of_several_looks_are_told() -> None:
    reason = router({"fog": 0.9}).route("fog 40%, grain 80%").reason
    assert reason.endswith("; one strength is for all looks, so the percentages are left out")


def test_words_of_degree_alone_name_no_look() -> None:
    for words in ("30%", "very", "a lot"):
        assert router({"fog": 0.9}).route(words).reason == "the words name no look"


def test_a_wording_beside_its_degree_is_that_concept() -> None:
    one = router({"blur": 0.9, "sure": 0.95})  # what the encoder would say
    for words, concept_id, strength in (
        ("slightly fog", "fog", 0.5),
        ("slightly blur", "blur-faint", 1.0),
        ("blur-faint 50%", "blur-faint", 0.5),
        ("tint red 30%", "tint-red", 0.3),
    ):
        route = one.route(words)
        assert (route.concept_id, route.strength) == (concept_id, strength)


def test_a_percentage_of_generated_weights_is_kept() -> None:
    """The weight generator does not read numbers."""
    route = router({"fog": 0.3, "sure": 0.2}).route("something murky, 40%")
    assert (route.origin, route.strength) == ("generated", 0.4)


def test_a_degree_that_no_checkpoint_has_becomes_a_strength() -> None:
    assert router({"fog": 0.9}).route("slightly hazy outside").strength == 0.5
    assert router({"blur": 0.9}).route("slightly out of focus").strength == 1.0  # blur-faint


def test_a_degree_beyond_that_of_a_checkpoint_becomes_a_strength_of_it() -> None:
    route = router({"blur": 0.9}).route("barely out of focus")
    assert (route.concept_id, route.strength) == ("blur-faint", 0.6)


def test_words_of_degree_do_not_hide_the_look_beside_them() -> None:
    """The encoder takes a phrase with a word of degree for something else."""
    one = router({"fog": 0.9})
    readings = {"ludicrously murky": FixedEncoder({"night": 0.3, "sure": 0.3}).reading}
    one.encoder.read = lambda words: readings.get(words, FixedEncoder({"fog": 0.9}).reading)  # type: ignore[method-assign]
    route = one.route("ludicrously murky")
    assert (route.concept_id, route.strength) == ("fog", 1.5)
    assert route.confidence == pytest.approx(0.81)  # a part of the words is less than all of them
    assert one.route("murky").confidence == 0.9


def test_a_look_that_is_named_beside_its_degree_is_taken() -> None:
    one = router({"tint": 0.3, "sure": 0.3})
    route = one.route("preposterously fog")
    assert (route.concept_id, route.strength, route.reason) == ("fog", 1.5, "the words name 'fog'")
    assert one.route("barely blur").concept_id == "blur-faint"


def test_colours_are_those_of_all_words() -> None:
    one, unsure, sure = router({}), FixedEncoder({"tint": 0.3, "sure": 0.3}), FixedEncoder({"tint": 0.9})
    one.encoder.read = lambda words: (unsure if "smidgen" in words else sure).reading  # type: ignore[method-assign]
    assert one.route("a smidgen of #d62828").concept_id == "tint-red"


def test_the_furthest_degree_has_concepts_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Names, "ids", [*IDS, "fog-barely", "fog-faint"])
    monkeypatch.setitem(globals(), "IDS", Names.ids)
    one = router({"fog": 0.9})
    for words, concept_id in (
        ("barely murky", "fog-barely"),
        ("barely fog", "fog-barely"),
        ("slightly murky", "fog-faint"),
        ("murky", "fog"),
    ):
        route = one.route(words)
        assert (route.concept_id, route.strength) == (concept_id, 1.0)
    assert [match.concept_id for match in one.rank("barely murky")[:2]] == ["fog-barely", "fog-faint"]


def test_a_colour_is_not_taken_for_the_filter_of_that_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Names, "ids", [*IDS, "red"])
    monkeypatch.setitem(globals(), "IDS", Names.ids)
    monkeypatch.setitem(globals(), "LOOKS", (*LOOKS, "red-filter"))
    one = router({"tint": 0.9})
    one.__dict__["_concepts"] = {**one._concepts, "red": one._concepts["fog"]}
    assert "red" not in one._names
    assert one.route("tint in red").concept_id == "tint-red"
    assert one._is_of_colours("red and sky blue")
    assert not one._is_of_colours("red dusk")


def test_a_second_look_without_a_share_is_not_asked_for() -> None:
    """The encoder may count two looks where it finds one."""
    route = router({"fog": 0.999}, counts=(0.0, 0.45, 0.55, 0.0)).route("a foggy scene")
    assert (route.concept_id, route.sureness) == ("fog", "a guess")


def test_a_colour_besides_a_look_that_has_none_is_generated() -> None:
    route = router({"fog": 0.9}).route("teal fog")
    assert (route.origin, route.reason) == ("generated", "the words ask for 'fog' and for a colour: teal")
    assert router({"night": 0.9}).route("teal night").concept_id == "night"


def test_a_restoration_and_what_it_undoes_are_never_asked_for_at_once() -> None:
    two = (0.0, 0.4, 0.6, 0.0)
    route = router({"blur": 0.6, "deblur": 0.3}, counts=two).route("blurry")
    assert (route.origin, route.concept_id) == ("matched", "blur")


def test_a_look_that_the_zoo_lacks_is_named() -> None:
    one = router({"fog": 0.9})
    one.index.ids = ["night", "blur"]  # type: ignore[misc]
    assert one.route("fog").origin == "generated"
    one = router({"blur": 0.1, "fog": 0.9})
    one.index.ids = ["blur", "night"]  # type: ignore[misc]
    assert one.route("fog").reason == "the zoo has no checkpoint of 'fog'"


def test_the_opposite_of_a_look_that_the_zoo_lacks_is_no_neighbour() -> None:
    one = router({"deblur": 0.7, "blur": 0.2})
    one.index.ids = ["blur", "night"]  # type: ignore[misc]
    assert one.is_opposite("sharpen", "blur")
    assert "blur" not in [match.concept_id for match in one.rank("sharpen")]
