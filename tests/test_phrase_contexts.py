"""The encoder of phrases: what a denoiser reads of words, and the wordings that it is trained on."""

import base64
import pickle
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from zoo_fixtures import TINY_RECIPE

from initzoo.errors import InvalidGenerator, InvalidRequest, InvalidWords
from initzoo.generator import PhraseEncoder, PhrasesEncoder, Request, WeightGenerator
from initzoo.generator.encoders import Context, phrase_lessons
from initzoo.generator.encoders.phrase_lessons import PhraseLessons
from initzoo.generator.encoders.word_reader import WordReader
from initzoo.generator.model import GeneratorConfig, build_denoiser
from initzoo.generator.novelty import TaughtPhrases
from initzoo.pairs import catalog_folder, load_concepts, load_new_words, normalise_words
from initzoo.training import GeneratorSettings
from initzoo.training.generator.wordings import lexicon_wordings
from initzoo.training.phrases.examples import Phrase

SETTINGS = GeneratorSettings(encoder="phrases")
PLAIN = replace(SETTINGS, token_dropout=0.0, word_noise=0.0, learned_dropout=0.0)
PROMPTS = [["thick fog", "misty"], ["navy ink on #ffe", "draw it in navy"]]


@pytest.fixture(scope="module")
def text():
    return PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder")


@pytest.fixture(scope="module")
def lessons(text):
    return PhraseLessons.make(PROMPTS, text, PLAIN)


def make_generator(text):
    """A weight generator that reads phrases, with random weights."""
    sizes = PhraseLessons.make([["fog"]], text, PLAIN).sizes
    layout = TINY_RECIPE.layout
    shape = SETTINGS.shape(n_blocks=layout.n_blocks, **sizes)
    shape = replace(shape, block_size=layout.block_size, width=48)
    config = GeneratorConfig("joint", shape, layout, recipe="tiny", base_sha256="a" * 64)
    denoiser = build_denoiser("joint", shape, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    mean = np.zeros((layout.n_blocks, layout.block_size), np.float32)
    return WeightGenerator(config, denoiser, text, mean=mean, scale=np.ones_like(mean))


def test_a_phrase_gives_states_of_its_tokens_a_vector_and_its_colours(text):
    arrays = PhrasesEncoder(text).arrays([Request("navy to gold"), Request("sharper edges")])
    assert arrays["vectors"].shape[::2] == (2, text.n_values)
    assert arrays["mask"].sum(axis=1).tolist() == [5, 5]  # both ends have a mark
    n_looks = len(text.config.looks)
    assert arrays["phrase"].shape == (2, text.config.shape.n_values + n_looks + 1)
    assert np.isfinite(arrays["colours"][0, :2]).all()
    assert np.isnan(arrays["colours"][1]).all()
    best = text.config.looks[int(arrays["phrase"][1, -n_looks - 1 : -1].argmax())]
    assert best == "sharp"


def test_colours_that_no_wording_names_reach_the_context_by_their_values(text):
    encoder = PhrasesEncoder(text)
    first, second = (
        encoder.arrays([Request(f"{colour} ink")])["colours"] for colour in ("#ff0000", "#0000ff")
    )
    assert np.linalg.norm(first[0, 0] - second[0, 0]) > 0.5


def test_words_are_encoded_alike_in_any_company(text):
    encoder = PhrasesEncoder(text)
    alone = encoder.arrays([Request("thick fog")])
    together = encoder.arrays([Request("a very long wording of something else"), Request("thick fog")])
    n_tokens = alone["mask"].shape[1]
    np.testing.assert_array_equal(together["vectors"][1, :n_tokens], alone["vectors"][0])
    np.testing.assert_array_equal(together["phrase"][1], alone["phrase"][0])


def test_requests_that_cannot_be_read_are_refused(text):
    encoder = PhrasesEncoder(text)
    with pytest.raises(InvalidWords, match="the words are empty"):
        encoder.check(Request("  "))
    with pytest.raises(InvalidRequest, match="1 example pair, and this weight generator reads words alone"):
        encoder.check(Request("fog", pairs=("a pair",)))
    with pytest.raises(InvalidGenerator, match="with a phrase encoder alone"):
        PhrasesEncoder("no phrase encoder")


def test_lessons_draw_the_wordings_of_the_concepts_as_pull_encodes_them(text, lessons):
    context = lessons.draw(np.array([0, 1, 1]), np.random.default_rng(0))
    assert context.mask.shape == context.vectors.shape[:2]
    assert not context.phrase.isnan().any()
    wanted = PhrasesEncoder(text).arrays([Request(words) for words in PROMPTS[1]])["phrase"]
    for row in context.phrase[1:].numpy():
        # Not exactly: lessons are encoded together, and int8 activations share one scale.
        assert max(np.corrcoef(row, other)[0, 1] for other in wanted) > 0.98
    with_hex = [not row.isnan().all() for row in context.colours]
    assert with_hex[1:] == [True, True]


def test_training_leaves_out_tokens_and_phrases_and_adds_noise(text):
    noisy = replace(PLAIN, token_dropout=0.5, word_noise=0.3, learned_dropout=0.5, words_dropout=0.3)
    lessons = PhraseLessons.make(PROMPTS, text, noisy)
    context = lessons.draw(np.zeros(200, np.int64), np.random.default_rng(1))
    assert 0.3 < float(context.phrase.isnan().any(dim=1).float().mean()) < 0.7
    assert 0.15 < float((~context.mask.any(dim=1)).float().mean()) < 0.45
    assert 0.2 < float(context.mask.float().mean()) < 0.6


def test_kept_wordings_are_opened_again_and_not_copied_to_other_processes(text, tmp_path, monkeypatch):
    first = PhraseLessons.make(PROMPTS, text, PLAIN, folder=tmp_path)
    monkeypatch.setattr(phrase_lessons, "_encode", None)  # nothing is encoded again
    again = PhraseLessons.make(PROMPTS, text, PLAIN, folder=tmp_path)
    moved = pickle.loads(pickle.dumps(again))  # noqa: S301
    assert len(pickle.dumps(again)) < 5_000
    for other in (again, moved):
        np.testing.assert_array_equal(other.states, first.states)
        np.testing.assert_array_equal(other.colours, first.colours)


def test_a_phrase_that_is_left_out_changes_nothing(text):
    shape = make_generator(text).config.shape
    torch.manual_seed(0)
    reader = WordReader(shape).eval()
    arrays = PhrasesEncoder(text).arrays([Request("navy fog")])
    left_out = arrays | {"phrase": np.full_like(arrays["phrase"], np.nan)}
    tokens, bias = reader(Context.of(left_out))
    assert torch.isfinite(tokens).all()
    hidden = (bias[0, 0, 0] < -1).tolist()
    place = -arrays["colours"].shape[1] - 1  # the phrase stands before the colours
    assert hidden[place]
    assert not (reader(Context.of(arrays))[1][0, 0, 0] < -1)[place]


def test_a_generator_in_a_zoo_shares_its_phrase_encoder_and_has_one_elsewhere(text, tmp_path):
    generator = make_generator(text)
    generator.save_pretrained(tmp_path / "alone")
    assert (tmp_path / "alone" / "text" / "encoder.onnx").is_file()
    blocks = generator.generate("navy fog at dusk", seed=2)
    np.testing.assert_array_equal(
        WeightGenerator.from_pretrained(tmp_path / "alone").generate("navy fog at dusk", seed=2), blocks
    )
    model = tmp_path / "zoo" / "model"
    model.mkdir(parents=True)
    (model / "phrase_encoder").symlink_to(text.folder)
    folder = model / "weight_generator" / "tiny"
    generator.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    np.testing.assert_array_equal(
        WeightGenerator.from_pretrained(folder).generate("navy fog at dusk", seed=2), blocks
    )
    (model / "phrase_encoder").unlink()
    with pytest.raises(InvalidGenerator, match="phrase_encoder"):
        WeightGenerator.from_pretrained(folder)


def test_taught_phrases_are_near_and_unrelated_words_far(text):
    taught = TaughtPhrases.from_wordings(text, PROMPTS)
    near, far = (taught.distance(Request(words)) for words in ("thick fog", "a red tractor in the yard"))
    assert near < 0.1
    assert taught.distance(Request("qqq xzw")) == 1
    assert taught.distance(Request("#7b2cbf")) < 1
    assert far > near + 0.2
    again = TaughtPhrases.from_dict(text, taught.to_dict())
    assert again.distance(Request("misty")) == taught.distance(Request("misty"))
    with pytest.raises(ValueError, match="other sizes"):
        TaughtPhrases.from_dict(text, taught.to_dict() | {"n_values": 64})


def test_taught_phrases_are_read_deflated_or_not_and_never_beyond_bounds(
    text, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = TaughtPhrases.from_wordings(text, PROMPTS)
    values = taught.to_dict()
    plain = {"n_values": values["n_values"], "taught_wordings": b64(taught.wordings.tobytes())}
    for known in (values, plain):
        assert np.array_equal(TaughtPhrases.from_dict(text, known).wordings, taught.wordings)
    data = zlib.compress(taught.wordings.tobytes(), 9)
    assert base64.b64decode(values["taught_wordings"]) == data
    for damaged, message in (
        (data[:-3], "cut off"),
        (data + b"1", "cut off"),
        (b"?" + data[1:], "cannot be unpacked"),
    ):
        with pytest.raises(ValueError, match=message):
            TaughtPhrases.from_dict(text, values | {"taught_wordings": b64(damaged)})
    monkeypatch.setattr("initzoo.generator.novelty._MOST_BYTES", taught.wordings.size - 1)
    with pytest.raises(ValueError, match="too many"):
        TaughtPhrases.from_dict(text, values)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


LEXICON = [
    Phrase("misty", "fog", "en"),
    Phrase("neblig", "fog", "de"),
    Phrase("{colour} ink", "ink", "en"),
    Phrase("Tinte in {colour}", "ink", "de"),
    Phrase("snowy", "snow", "en"),
]
COLOURS = {"red": "#d62828", "crimson": "#a80f2e"}
NAMES = {"en": {"red": "red", "crimson": "crimson"}, "de": {"red": "rot", "crimson": "karmin"}}


def word(concepts, **changes):
    return lexicon_wordings(concepts, LEXICON, COLOURS, NAMES, **({"framed": 0.0} | changes))


def test_concepts_are_worded_by_the_phrases_of_their_looks():
    wordings = word(["fog", "ink-red", "fog--snow", "fog-faint", "unknown", "ink"])
    assert set(wordings["fog"]) == {"misty", "neblig"}
    assert all("misty" in one and "snowy" in one for one in wordings["fog--snow"])
    assert all("misty" in one and one != "misty" for one in wordings["fog-faint"])
    assert set(wordings) == {"fog", "ink-red", "fog--snow", "fog-faint"}


def test_colours_come_by_name_by_value_and_by_names_that_look_the_same():
    said = " | ".join(word(["ink-red"], n_each=60)["ink-red"])
    assert "red ink" in said
    assert "#d62828 ink" in said
    assert "Tinte in rot" in said
    assert len(word(["ink-red"], n_each=60)["ink-red"]) > 4


def test_kept_wordings_and_new_words_are_never_among_them():
    assert word(["fog"], avoid={"misty"})["fog"] == ("neblig",)
    assert not any("crimson" in one for one in word(["ink-crimson"], new_words={"crimson"})["ink-crimson"])


def test_further_concepts_change_no_wording():
    assert word(["fog--snow"])["fog--snow"] == word(["fog", "ink-red", "fog--snow"])["fog--snow"]


def test_new_words_of_the_catalog_are_in_no_taught_wording():
    new = load_new_words()
    for concept in load_concepts():
        if concept.split == "train":
            said = [f" {normalise_words(wording)} " for wording in concept.prompts]
            assert not any(f" {normalise_words(one)} " in text for one in new for text in said), concept.id
