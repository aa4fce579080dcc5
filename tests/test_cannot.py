"""What the zoo cannot do: which words are told so, and that no look is."""

import json
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from initzoo.cli import main
from initzoo.errors import InvalidConcepts
from initzoo.pairs.concepts import catalog_folder, limits_of, load_concepts, load_limits, load_practice
from initzoo.zoo import Zoo

ASKED = {
    "add a hat": "objects",
    "Add a hat, please!": "objects",
    "remove the person in the background": "objects",
    "erase all tourists": "objects",
    "replace the sky": "objects",
    "put a red crown on her head": "objects",
    "turn my dog into a lion": "objects",
    "make her smile": "faces",
    "make him look younger": "faces",
    "whiten my teeth": "faces",
    "swap their faces": "faces",
    "write a birthday text on it": "text",
    "remove the watermark": "text",
    "add a vignette": "layout",
    "blur the background": "layout",
    "bokeh": "layout",
    "put a white border around the photo": "layout",
    "rotate it": "geometry",
    "make it low-poly": "geometry",
    "change the camera angle": "geometry",
    "make it snow": "falling",
    "add some raindrops": "falling",
    "let it rain": "falling",
    "rotate 90 degrees": "geometry",
    "add film grain": "random",
    "film grain": "random",
    "more grain": "random",
    "light leak": "lights",
    "add a lens flare": "lights",
    "overlay scratches": "random",
    "colorize": "colourising",
    "colourise an old photo": "colourising",
    "add colour to a black and white photo": "colourising",
    "black and white to color": "colourising",
    "in the style of van Gogh": "painters",
    "like a Rembrandt": "painters",
    "make a gif": "moving",
}

INNOCENT = (
    "pencil sketch", "hat", "warm photo of a hat", "remove the blue cast", "remove noise", "add warmth",
    "add a soft glow", "add more contrast", "add fog", "remove film grain", "add a hint of gold",
    "rainy look", "a rainy grey day", "snow light", "light of fresh snow", "make it snowy",
    "remove dust and scratches", "change the colours to blue", "change the season to autumn",
    "change the light to sunset", "blur it", "blur everything a little", "a blurry look",
    "flip all the colours", "put it under water", "turn it into a watercolour", "portrait in oils",
    "smooth skin", "make the skin flawless", "book engraving", "frame from a film",
    "cinematic film frame", "upscale", "zoom blur look", "make it pop", "comic page",
    "turn the photo into a poster", "starry-eyed dreamy look", "add colour", "colour it blue",
    "painterly", "in the style of a fresco", "swap red and blue", "video game look",
    "gif-like dithering",
)  # fmt: skip


def run(*words: str) -> tuple[str, str]:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize(("words", "topic"), ASKED.items())
def test_words_for_what_cannot_be_done_are_recognised(words: str, topic: str) -> None:
    assert topic in [limit.topic for limit in limits_of(words)]


@pytest.mark.parametrize("words", INNOCENT)
def test_words_for_a_look_are_not(words: str) -> None:
    assert [limit.topic for limit in limits_of(words)] == []


def test_no_wording_of_the_catalog_is_said_to_be_impossible() -> None:
    said = [wording for concept in load_concepts() for wording in (*concept.prompts, *concept.test_prompts)]
    assert [wording for wording in said if limits_of(wording)] == []


def test_lines_are_the_end_of_a_sentence_and_every_topic_is_asked_for() -> None:
    limits = load_limits(catalog_folder() / "cannot.toml")
    assert {limit.topic for limit in limits} == set(ASKED.values())
    for limit in limits:
        assert limit.line[0].islower()
        assert not limit.line.endswith(".")


def test_only_whole_words_count(tmp_path: Path) -> None:
    limits = load_limits(
        write(tmp_path, '[lists]\nit = ["cat", "big cat"]\n[[topic]]\nid = "t"\nline = "no"\n'
              'patterns = ["add|take_out ~ {it}", "end $"]')
    )  # fmt: skip
    matching = [
        "add cat",
        "please add one two three cat now",
        "Take-out the big cat",
        "to the end",
        "The End!",
    ]
    others = [
        "add category",
        "badd cat",
        "add one two three four cat",
        "take cat",
        "end of it",
        "the endless",
        "",
    ]
    assert [bool(limits_of(words, limits)) for words in (*matching, *others)] == [True] * 5 + [False] * 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[topic]]\nid = "t"\nline = "no"\npatterns = ["add {cats}"]', "no list is called 'cats'"),
        ('[[topic]]\nid = "t"\nline = "no"\npatterns = []', "needs an id, a line and a list of patterns"),
        ('[[topic]]\nid = "t"\nline = "no"\npattern = ["add"]', "unknown key 'pattern'"),
        ("[[topics]]", "unknown key 'topics'"),
        ("topic = 3", "must be a list of tables"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidConcepts, match=message) as caught:
        load_limits(write(tmp_path, text))
    assert "cannot.toml: " in str(caught.value)


def write(folder: Path, text: str) -> Path:
    path = folder / "cannot.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_pull_warns_in_one_line_and_generates_all_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    out, said = run("pull", "add a hat")
    line = "warning: the zoo knows no objects: it changes the look of the whole photo"
    assert said.splitlines().count(line) == 1
    assert "generated" in out
    assert Path("add-a-hat.safetensors").is_file()
    result = json.loads(run("pull", "add a hat and a vignette", "--json")[0])
    assert [text.split(":")[0] for text in result["cannot"]] == [
        "knows no objects",
        "does the same everywhere in a photo",
    ]
    _, said = run("pull", "pencil sketch")
    assert "warning" not in said
    assert json.loads(run("pull", "pencil sketch", "--json", "--dry-run")[0])["cannot"] == []


def test_search_warns_too() -> None:
    out, said = run("search", "add a hat, then watercolour", "-n", "2")
    assert len(out.splitlines()) == 2
    assert said == "warning: the zoo knows no objects: it changes the look of the whole photo\n"
    out, said = run("search", "add a hat")
    assert out == ""  # not what is spelt alike, such as "add a hint of red"
    assert said.startswith("no concept of this zoo has similar words")
    assert json.loads(run("search", "make it snow", "--json")[0])["cannot"][0].startswith(
        "draws nothing that is not"
    )
    assert run("search", "pencil sketch")[1] == ""


def test_pull_in_python_warns_where_it_was_called() -> None:
    zoo = Zoo.from_pretrained("starter")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        init = zoo.pull("add a hat")
    assert init.metadata.origin == "generated"
    line = "'add a hat': the zoo knows no objects: it changes the look of the whole photo"
    assert [str(warning.message) for warning in caught].count(line) == 1
    assert {(warning.category, warning.filename) for warning in caught} == {(UserWarning, __file__)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zoo.pull("add a hat", warn=False)
        zoo.pull("pencil sketch")


@pytest.mark.parametrize("every", [30, pytest.param(5, marks=pytest.mark.long)])
def test_practice_is_hardly_ever_said_to_be_impossible(every: int) -> None:
    """Practice says "put my glasses on it and make it clear" and the like: fewer than one wording in 500."""
    said = [wording for concept in load_practice(n_compositions=50) for wording in concept.prompts[::every]]
    assert len(said) > 100_000 / every
    assert sum(bool(limits_of(wording)) for wording in said) < len(said) / 500
