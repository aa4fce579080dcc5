"""Concepts: the catalog's counts and words, finding one, and what is wrong with a file."""

import hashlib
import math
import re
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from initzoo.errors import InvalidConcepts, UnknownConcept
from initzoo.pairs.concepts import (
    NOVELTIES,
    SPLITS,
    Concept,
    catalog_folder,
    check_concepts,
    family_of,
    find_concept,
    load_concepts,
    load_practice,
    normalise_words,
)
from initzoo.pairs.concepts.compositions import catalog_presets
from initzoo.pairs.concepts.files import _catalog_in
from initzoo.pairs.concepts.teachers import read_teacher
from initzoo.pairs.concepts.toml_tables import seed_of
from initzoo.pairs.concepts.wordings import with_article
from initzoo.pairs.teachers import FAMILIES, FilterTeacher, Step

pytestmark = pytest.mark.xdist_group("concepts")  # one process of the tests reads catalog and practice

PLAIN = """
[[concept]]
id = "my-look"
prompts = ["my look", "the way I like it"]
teacher = [{operator = "sepia", strength = 0.8}, {operator = "blur", radius = 0.01}]
"""


@pytest.fixture(scope="module")
def catalog() -> list[Concept]:
    return load_concepts()


@pytest.fixture(scope="module", params=["part", pytest.param("all", marks=pytest.mark.long)])
def practice(request: pytest.FixtureRequest) -> list[Concept]:
    """The practice, or what is learnt from if it is to be little: fewer compositions, fewer wordings."""
    return load_practice() if request.param == "all" else load_practice(n_compositions=400, n_wordings=16)


@pytest.fixture(scope="module")
def practised(practice: list[Concept]) -> list[str]:
    """All wordings of the practice, as they are compared: of all of it, three hundred thousand."""
    return [normalise_words(wording) for concept in practice for wording in concept.prompts]


@pytest.fixture(scope="module")
def tables() -> dict:
    return tomllib.loads((catalog_folder() / "concepts.toml").read_text(encoding="utf-8"))


def write(folder: Path, text: str) -> Path:
    path = folder / "concepts.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_catalog_has_enough_concepts_of_every_split(catalog: list[Concept]) -> None:
    counts = Counter(concept.split for concept in catalog)
    assert set(counts) == set(SPLITS)
    assert counts["train"] >= 1240
    assert counts["heldout-composed"] >= 96
    assert counts["heldout-new"] >= 48


def test_every_family_is_taught_and_held_out(catalog: list[Concept]) -> None:
    for split in SPLITS:
        counts = Counter(concept.family for concept in catalog if concept.split == split)
        assert set(counts) == set(FAMILIES)
        assert min(counts.values()) >= 5
    taught = Counter(concept.family for concept in catalog if concept.split == "train")
    assert taught["restoration"] >= 120


def test_new_concepts_say_what_is_new(catalog: list[Concept]) -> None:
    assert all((concept.novelty != "") == (concept.split == "heldout-new") for concept in catalog)
    counts = Counter(concept.novelty for concept in catalog if concept.novelty)
    assert set(counts) == set(NOVELTIES) - {""}
    assert min(counts.values()) >= 8


def test_five_whole_operators_are_new(catalog: list[Concept]) -> None:
    taught = {
        step.operator
        for concept in catalog
        if concept.split != "heldout-new"
        for step in concept.teacher.steps
    }
    new = [concept for concept in catalog if concept.novelty == "operator"]
    operators = {step.operator for concept in new for step in concept.teacher.steps}
    assert len(operators) >= 5
    assert not operators & taught
    assert {"style", "restoration"} <= {concept.family for concept in new}


def test_held_out_combinations_are_new_but_their_parts_are_taught(catalog: list[Concept]) -> None:
    taught = {concept.teacher for concept in catalog if concept.split == "train"}
    steps = {step for teacher in taught for step in teacher.steps}
    for concept in catalog:
        if concept.split == "heldout-composed":
            assert concept.teacher not in taught
            assert set(concept.teacher.steps) <= steps


def test_every_concept_has_enough_wordings(catalog: list[Concept]) -> None:
    for concept in catalog:
        assert 8 <= len(concept.prompts) <= 12, concept.id
        assert 2 <= len(concept.test_prompts) <= 3, concept.id
        assert concept.licence
        assert concept.source
        assert concept.teacher.steps


def test_a_wording_names_one_concept(catalog: list[Concept]) -> None:
    wordings = [
        normalise_words(words) for concept in catalog for words in concept.prompts + concept.test_prompts
    ]
    assert len(set(wordings)) == len(wordings)


def test_test_wordings_differ_in_words_and_not_only_in_order(catalog: list[Concept]) -> None:
    for concept in catalog:
        taught = {tuple(sorted(normalise_words(prompt).split())) for prompt in concept.prompts}
        kept = {tuple(sorted(normalise_words(prompt).split())) for prompt in concept.test_prompts}
        assert not taught & kept, concept.id


def test_new_words_are_never_taught(catalog: list[Concept], practised: list[str], tables: dict) -> None:
    presets = catalog_presets(tables, tables["colours"])
    new = {preset.id: preset.new_words for preset in presets if preset.split == "heldout-new"}
    words = {normalise_words(word) for found in new.values() for word in found}
    assert set(new) == {concept.id for concept in catalog if concept.split == "heldout-new"}
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(words))) + r")\b")
    for concept in catalog:
        for wording in concept.prompts + concept.test_prompts:
            found = pattern.search(normalise_words(wording))
            assert (found is not None) == (concept.split == "heldout-new"), wording
    first = {word.split()[0] for word in words}
    suspects = [wording for wording in practised if not first.isdisjoint(wording.split())]
    assert not [wording for wording in suspects if pattern.search(wording)]


def test_wordings_are_clean_english(catalog: list[Concept], practice: list[Concept]) -> None:
    wrong = re.compile(r"[{}]|  |\ba [aeio]|\ban [bcdfgjklmnpqrstvwyz]|^ | $")
    doubled = re.compile(r"\b(\w+) \1\b")  # may be in practice: "a coloured coloured pencil drawing"
    for concept in catalog:
        for wording in concept.prompts + concept.test_prompts:
            assert not wrong.search(wording), wording
            assert not doubled.search(wording), wording
    for concept in practice:
        for wording in concept.prompts:
            assert not wrong.search(wording), wording


def test_order_that_means_something_is_kept(catalog: list[Concept]) -> None:
    there = find_concept(catalog, "navy to gold duotone")
    back = find_concept(catalog, "gold to navy duotone")
    assert there.teacher != back.teacher


def test_near_duplicates_were_dropped(catalog: list[Concept], tables: dict) -> None:
    assert not set(tables["drop"]) & {concept.id for concept in catalog}
    teachers = [concept.teacher for concept in catalog]
    assert len(set(teachers)) == len(teachers)


def test_loading_twice_gives_the_same(catalog: list[Concept]) -> None:
    kept = load_concepts()
    kept.clear()  # a list of one's own, whatever is kept between calls
    assert load_concepts() == catalog
    _catalog_in.cache_clear()
    assert load_concepts() == catalog


def test_loading_needs_no_opencv() -> None:
    command = "import sys, initzoo.pairs.concepts as c; c.load_concepts(); assert 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.mark.parametrize(
    "words", ["pencil-sketch", "Pencil  Sketch", "SKETCH_IT_IN_PENCIL", "sketch it, in pencil!"]
)
def test_concept_is_found_by_id_or_wording(catalog: list[Concept], words: str) -> None:
    assert find_concept(catalog, words).id == "pencil-sketch"


def test_every_concept_is_found_by_its_plain_name(catalog: list[Concept]) -> None:
    for concept in catalog[::97]:
        assert find_concept(catalog, concept.prompts[0].upper()) == concept


def test_unknown_words_suggest_the_three_closest(catalog: list[Concept]) -> None:
    words = r"no concept 'watercolur' in the catalog; closest are 'watercolour', '[^']+', '[^']+'\. List all"
    with pytest.raises(UnknownConcept, match=words):
        find_concept(catalog, "watercolur")


def test_family_is_that_of_the_most_telling_step() -> None:
    assert family_of((Step("sepia"), Step("blur"), Step("night"))) == "structure"
    assert family_of((Step("pencil_sketch"), Step("denoise"))) == "restoration"


def test_article_fits_its_word() -> None:
    found = [with_article("{a} " + word) for word in ("edge", "print", "HDR photo", "x-ray", "RGB split")]
    assert found == ["an edge", "a print", "an HDR photo", "an x-ray", "an RGB split"]


def test_plain_file_is_read(tmp_path: Path) -> None:
    (concept,) = load_concepts(write(tmp_path, PLAIN + 'licence = "MIT"\n'))
    assert concept == Concept(
        id="my-look",
        family="structure",
        split="train",
        novelty="",
        teacher=FilterTeacher((Step("sepia", (("strength", 0.8),)), Step("blur", (("radius", 0.01),)))),
        prompts=("my look", "the way I like it"),
        test_prompts=(),
        licence="MIT",
        source="a concepts file",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN.replace("sepia", "sepja"), "concept 'my-look': unknown operator 'sepja'; closest is 'sepia'"),
        (PLAIN.replace("radius", "radio"), "operator 'blur' has no parameter 'radio'; closest is 'radius'"),
        (PLAIN.replace("0.01", "3"), "parameter 'radius': expected a number from 0.002 to 0.018, found 3.0"),
        (
            PLAIN.replace("prompts", "promts"),
            "concept 'my-look' has an unknown key 'promts'; known are",
        ),
        (PLAIN.replace("my-look", "My Look"), "concept id 'My Look' must be lower-case letters"),
        (PLAIN.replace('["my look", "the way I like it"]', "[]"), "concept 'my-look' has no prompts"),
        (PLAIN.replace('["my look", "the way I like it"]', '"x"'), "prompts must be a list of wordings"),
        (PLAIN.replace('"my look"', '"?!"'), r"the wording '\?!' has no words"),
        (PLAIN.replace('operator = "sepia", ', ""), "a teacher's step needs 'operator'"),
        (PLAIN.replace("teacher", "# teacher"), "concept 'my-look': teacher must be a list of steps"),
        (PLAIN.replace("id =", "# id ="), r"a \[\[concept\]\] has no id"),
        (PLAIN + PLAIN, "concept id 'my-look' is used twice"),
        (
            PLAIN + PLAIN.replace("my-look", "b").replace("the way", "a way"),
            "'my look' names both 'my-look' and 'b'",
        ),
        (PLAIN + 'test_prompts = ["My-Look"]', "'my look' is both a prompt and a test prompt"),
        (PLAIN + 'split = "tests"', "split must be one of train, heldout-composed, heldout-new"),
        (
            PLAIN.replace("[[concept]]", "[concept]"),
            r"'concept' must be a list of tables; write \[\[concept\]\]",
        ),
        (PLAIN + "colour = = 3", "is not TOML: .*line 6"),
        ("", r"has no \[\[concept\]\]"),
        ("concepts = 3", "the file has an unknown key 'concepts'"),
        ('[colours]\nred = "red"', "colour 'red': expected a colour such as"),
    ],
)
def test_bad_file_is_explained_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidConcepts, match=words) as caught:
        load_concepts(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConcepts, match=r"none\.toml: cannot be read \(No such file"):
        load_concepts(tmp_path / "none.toml")


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "concepts.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConcepts, match="is not TOML"):
        load_concepts(path)


def test_shared_wording_is_refused() -> None:
    def concept(name: str) -> Concept:
        return Concept(
            name, "colour", "train", "", FilterTeacher((Step("sepia"),)), ("One Word",), (), "MIT", "me"
        )

    for first, second in combinations([concept("a"), concept("b")], 2):
        with pytest.raises(InvalidConcepts, match="'One Word' names both 'a' and 'b'"):
            check_concepts([first, second])


def test_practice_has_no_held_out_words_teachers_or_listed_compositions(
    catalog, practice, practised, request
):
    more = practice
    listed = {concept.id: concept for concept in catalog}
    held_out = [concept for concept in catalog if concept.split != "train"]
    kept = {normalise_words(wording) for concept in catalog for wording in concept.test_prompts}
    kept |= {normalise_words(wording) for concept in held_out for wording in concept.prompts}
    assert kept.isdisjoint(practised)
    assert not {concept.teacher for concept in held_out} & {concept.teacher for concept in more}
    known = [concept for concept in more if concept.id in listed]
    assert {concept.id for concept in known} == {
        concept.id for concept in catalog if concept.split == "train"
    }
    assert all(concept.prompts[:12] == listed[concept.id].prompts[:12] for concept in known)
    is_all = request.node.callspec.params["practice"] == "all"
    assert len(more) - len(known) > (2000 if is_all else 200)
    assert len(set(practised)) == len(practised)
    assert load_practice(n_compositions=10, n_wordings=13) == load_practice(n_compositions=10, n_wordings=13)


def test_a_plain_list_of_concepts_gives_no_practice(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[concept]]\nid = "mine"\nprompts = ["mine"]\nteacher = [{operator = "sepia", strength = 0.8}]\n'
    )
    assert load_practice(path) == []


def test_further_phrases_are_taught_in_practice_but_none_that_is_kept(tmp_path, tables):
    catalog = tmp_path / "concepts.toml"
    catalog.write_bytes((catalog_folder() / "concepts.toml").read_bytes())
    look = next(look for look in tables["look"] if look["id"] == "warm")
    kept = look["nouns"][-1]
    assert kept == "cosily warm image"  # the last of four, as the catalog's head says
    (tmp_path / "practice.toml").write_text(
        '[look.warm]\nnouns = ["sunbaked holiday photo", "warm, cosily lit image"]\nverbs = ["toast it"]'
    )
    more = load_practice(catalog, n_compositions=50, n_wordings=80)
    said = [wording for concept in more for wording in concept.prompts]
    assert any("sunbaked holiday photo" in wording for wording in said)
    assert any("toast it, " in wording for wording in said)  # in compositions too
    assert not any("cosily" in wording for wording in said)
    of_warm = next(concept for concept in more if concept.id == "warm-faint")
    assert "toast it, just a little" in of_warm.prompts
    assert load_concepts(catalog) == load_concepts()


def test_further_colours_are_practised_in_every_look_that_has_colours(tmp_path, tables):
    catalog = tmp_path / "concepts.toml"
    catalog.write_bytes((catalog_folder() / "concepts.toml").read_bytes())
    before = {concept.id: concept for concept in load_practice(catalog, n_compositions=50, n_wordings=20)}
    (tmp_path / "practice.toml").write_text('[colours]\nscarlet = "#d9221c"\n"pale sky" = "#cfe4f7"')
    after = {concept.id: concept for concept in load_practice(catalog, n_compositions=50, n_wordings=20)}
    assert before.items() <= after.items()  # compositions and their wordings are what they were
    more = [concept for name, concept in after.items() if name not in before]
    looks = [look for look in tables["look"] if look.get("split", "train") == "train"]
    of_one_colour = [look["id"] for look in looks if "each" in look]
    for suffix in ("scarlet", "pale-sky"):
        assert {f"{name}-{suffix}" for name in of_one_colour} <= after.keys()
    assert {concept.id for concept in more if concept.id.startswith("duotone-")}
    colours = set(tables["colours"].values()) | {"#d9221c", "#cfe4f7"}
    for concept in more:
        assert "--" not in concept.id
        said = " ".join(concept.prompts)
        assert ("scarlet" in said) or ("pale sky" in said)
        values = [
            value for step in concept.teacher.steps for _, value in step.parameters if isinstance(value, str)
        ]
        assert set(values) <= colours
        assert {"#d9221c", "#cfe4f7"} & set(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[colours]\nteal = '#118a8a'", "colour 'teal' is one of the catalog's already"),
        ("[colours]\nscarlet = 'red'", "colour 'scarlet': expected a colour such as '#1b2a49', found 'red'"),
        ("[look.warmth]\nnouns = ['x']", "'warmth' is no look of split train of the catalog"),
        ("[look.warm]\nnoun = ['x']", "look 'warm': 'noun' is no list of phrases of a look"),
        ("[look.tint]\nnouns = ['red tint']", "look 'tint': 'red tint' lacks one of {colour}"),
        ("look = 3", r"write [look.ID] and phrases under it"),
        ("[looks.warm]\nnouns = ['x']", "the file has an unknown key 'looks'"),
    ],
)
def test_wrong_further_phrases_are_named(tmp_path, text, message):
    catalog = tmp_path / "concepts.toml"
    catalog.write_bytes((catalog_folder() / "concepts.toml").read_bytes())
    (tmp_path / "practice.toml").write_text(text)
    with pytest.raises(InvalidConcepts, match=re.escape(message)) as caught:
        load_practice(catalog)
    assert str(caught.value).startswith(f"{catalog}: practice.toml: ")


def test_combinations_stay_as_they_were_harvested(catalog: list[Concept]) -> None:
    """A look in a group would let the rules draw other combinations, and figures would no longer compare."""
    lines = sorted(
        f"{concept.id} {concept.split} {concept.teacher.id}" for concept in catalog if "--" in concept.id
    )
    assert len(lines) == 888
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == "c7a9acc078a88f09"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"navy"', "#000080"),
        ('"rebeccapurple"', "#663399"),
        ('"gray"', "#808080"),
        ('"grey"', "#808080"),
        ('"#123abc"', "#123abc"),
        ('"mine"', "#010203"),
        ('"red"', "#ff0001"),  # the file's own red
    ],
)
def test_steps_take_colours_by_the_names_of_css_or_of_the_file(tmp_path, written, value):
    (tmp_path / "own.toml").write_text(
        '[colours]\nmine = "#010203"\nred = "#ff0001"\n[[concept]]\nid = "my-look"\nprompts = ["my look"]\n'
        f'teacher = [{{ operator = "tint", colour = {written} }}]\n'
    )
    (concept,) = load_concepts(tmp_path / "own.toml")
    assert concept.teacher.steps[0].parameters == (("colour", value),)


@pytest.mark.parametrize("written", ['"nvy"', '"Navy blue"', '"#12"', '"rgb(1, 2, 3)"', "7"])
def test_colours_that_nobody_knows_are_one_line(tmp_path, written):
    (tmp_path / "own.toml").write_text(
        '[[concept]]\nid = "my-look"\nprompts = ["my look"]\n'
        f'teacher = [{{ operator = "tint", colour = {written} }}]\n'
    )
    with pytest.raises(InvalidConcepts, match="expected a colour such as '#1b2a49', found"):
        load_concepts(tmp_path / "own.toml")


@pytest.mark.parametrize("seed", [math.inf, math.nan, "1", 1.5, True, [1]])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(InvalidConcepts, match="'seed' must be a whole number, found"):
        seed_of({"seed": seed})
    assert seed_of({}) == 0
    assert seed_of({"seed": -3}) == -3


@pytest.mark.parametrize("name", ["z" * 20_000, "a\0b", "~nobody-of-this-name/x"])
def test_a_teacher_that_can_be_no_folder_is_one_short_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConcepts) as caught:
        read_teacher(name, folder=tmp_path, colours={})
    assert len(str(caught.value)) - len(str(tmp_path)) < 300
    assert "\n" not in str(caught.value)
