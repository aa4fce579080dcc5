"""The phrase encoder: its parts, its training on a small lexicon, and what the bundled one reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from cli_running import fail, run, succeed

from initzoo.errors import InvalidConcepts, InvalidGenerator, InvalidWords
from initzoo.generator import (
    Confidence,
    PhraseConfig,
    PhraseEncoder,
    PhraseShape,
    PhraseStates,
    hash_grams,
    round_weight,
)
from initzoo.pairs import catalog_folder
from initzoo.training.phrases.examples import Phrase, make_examples, split_phrases
from initzoo.training.phrases.run import PhraseReport, fit_confidence

BUNDLED = catalog_folder() / "model" / "phrase_encoder"
NAMES = {
    "en": {"red": "red", "teal": "teal", "navy": "navy"},
    "de": {"red": "rot", "teal": "petrol", "navy": "navy"},
}


@pytest.fixture(scope="module")
def encoder() -> PhraseEncoder:
    return PhraseEncoder.from_folder(BUNDLED)


def test_letter_groups_are_the_same_everywhere() -> None:
    assert hash_grams("fog", 1000) == hash_grams("  FOG! ", 1000)
    assert hash_grams("fog", 2**32)[0] == zlib.crc32(b"=fog")
    assert hash_grams("霧の中", 2**14) != hash_grams("霧", 2**14)
    assert hash_grams("...", 100) == []


def test_split_holds_the_same_phrases_back_when_the_lexicon_grows() -> None:
    phrases = [Phrase(f"phrase {i}", "fog", "en") for i in range(500)]
    few, many = split_phrases(phrases[:100])[1], split_phrases(phrases)[1]
    assert few
    assert set(few) == {phrase for phrase in many if phrase in phrases[:100]}
    quarter, half = split_phrases(phrases, share=0.25)[0], split_phrases(phrases, share=0.5)[0]
    assert set(quarter) < set(half)
    assert not set(half) & set(many)


def test_examples_fill_colours_of_their_language_and_join_different_looks() -> None:
    phrases = [
        Phrase("{dark} and {light}", "duotone", "en"),
        Phrase("ganz {colour}", "tint", "de"),
        Phrase("foggy", "fog", "en"),
        Phrase("at night", "night", "en"),
    ]
    examples = make_examples(
        phrases, colours=NAMES, vocabulary=["hat", "dog", "cat"], n_joined=20, n_without=3
    )
    words = {example.words for example in examples}
    assert words & {"ganz rot", "ganz petrol", "ganz navy"}
    assert not any("{" in text for text in words)
    joined = [example for example in examples if example.kind == "joined"]
    assert joined
    assert all(len(set(example.looks)) == len(example.looks) >= 2 for example in joined)
    assert next(example.looks for example in examples if example.kind == "without") == ()
    again = make_examples(phrases, colours=NAMES, vocabulary=["hat", "dog", "cat"], n_joined=20, n_without=3)
    assert again == examples


def test_numpy_and_torch_read_alike() -> None:
    import torch

    from initzoo.training.phrases.head import PhraseHead

    torch.manual_seed(0)
    shape = PhraseShape(5, n_states=24, width=16, n_buckets=64, n_gram_values=8, n_hidden=12, n_values=10)
    head = PhraseHead(shape).eval()
    config = PhraseConfig(("a", "b", "c", "d"), {}, {}, {}, shape, Confidence(), "", "")
    weights = {name: value.numpy() for name, value in head.state_dict().items()}
    weights["grams.scale"] = np.ones(64, np.float32)
    states = np.random.default_rng(0).standard_normal((7, 24)).astype(np.float32)
    ours = PhraseEncoder(config, None, [weights]).run_head(states, "fix overexposed")  # type: ignore[arg-type]
    grams = torch.tensor(hash_grams("fix overexposed", 64))
    with torch.no_grad():
        theirs = head(
            torch.from_numpy(states)[None], torch.ones(1, 7, dtype=torch.bool), grams, torch.tensor([0])
        )
    for one, other in zip(ours, theirs, strict=True):
        assert np.allclose(one, other[0].numpy(), atol=1e-5)


def test_padding_does_not_change_what_is_read() -> None:
    import torch

    from initzoo.training.phrases.head import PhraseHead

    head = PhraseHead(
        PhraseShape(3, n_states=8, width=8, n_buckets=16, n_gram_values=4, n_hidden=8, n_values=6)
    ).eval()
    states, mask = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    grams, offsets = torch.tensor([1, 2]), torch.tensor([0])
    padded = torch.cat([states, 9 * torch.ones(1, 3, 8)], dim=1)
    longer = torch.cat([mask, torch.zeros(1, 3, dtype=torch.bool)], dim=1)
    with torch.no_grad():
        for one, other in zip(
            head(states, mask, grams, offsets), head(padded, longer, grams, offsets), strict=True
        ):
            assert torch.allclose(one, other, atol=1e-5)


def test_confidence_follows_the_share_of_right_readings() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.4, 0.99, 4000)
    shares = np.stack([first, 1 - first, np.zeros_like(first)], axis=1)
    counts = np.tile([0.0, 1.0, 0.0, 0.0], (4000, 1))
    is_right = rng.random(4000) < first
    best = shares.argmax(1)
    wanted = np.eye(3, dtype=np.float32)[np.where(is_right, best, 2 - best * 2)]
    confidence = fit_confidence(shares, counts, (wanted, np.ones(4000, dtype=np.int64)))
    sure = np.array([confidence.of(*pair) for pair in zip(shares, counts, strict=True)])
    assert abs(sure.mean() - is_right.mean()) < 0.02


@pytest.fixture(scope="module")
def kept_lexicon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve phrases for fog, and six for a tint in any colour."""
    lexicon = tmp_path_factory.mktemp("phrases") / "lexicon"
    lexicon.mkdir()
    shutil.copy(catalog_folder() / "lexicon" / "colours.toml", lexicon)
    (lexicon / "opposites.toml").write_text('deblur = ["blur"]\n')
    fog = [
        f"{how} {what}" for how in ("thick", "thin", "grey", "morning") for what in ("fog", "mist", "haze")
    ]
    tint = [
        f"{how} {{colour}}" for how in ("all", "toned", "completely", "everything", "make it", "monochrome")
    ]
    (lexicon / "one.txt").write_text(f"fog: {' | '.join(fog)}\ntint: {' | '.join(tint)}\n")
    return lexicon


SMALL = {
    "batch_size": 16,
    "n_colours": 2,
    "n_framed": 10,
    "n_misspelt": 10,
    "n_joined": 10,
    "n_without": 6,
}
"""Settings of a training on the small lexicon."""


@pytest.fixture(scope="module")
def small(kept_lexicon: Path) -> PhraseReport:
    """Of an encoder that was trained on the small lexicon; beside the lexicon, with its cache."""
    from initzoo.training import PhraseSettings, train_phrases

    folder = kept_lexicon.parent
    settings = PhraseSettings(epochs=12, **SMALL)
    return train_phrases(
        BUNDLED, folder / "encoder", lexicon=kept_lexicon, settings=settings, cache=folder / "cache.npz"
    )


needs_small = pytest.mark.xdist_group("phrases")
"""One process of the tests trains the encoder that these look at, not each of them."""


@needs_small
def test_training_on_a_small_lexicon_writes_an_encoder_that_reads_it(
    small: PhraseReport, kept_lexicon: Path
) -> None:
    assert small.n_phrases + small.n_held_back <= 12 + 6 + 20
    trained = PhraseEncoder.from_folder(kept_lexicon.parent / "encoder")
    assert trained.config.looks == ("fog", "tint")
    assert trained.config.slots == {"tint": ("colour",)}
    assert trained.read("grey morning fog").best[0] == "fog"
    assert trained.read("everything teal").best[0] == "tint"


@needs_small
def test_a_part_trained_beside_another_reads_more_and_keeps_the_vector(
    small: PhraseReport, kept_lexicon: Path, tmp_path: Path
) -> None:
    from initzoo.training import PhraseSettings, train_phrases

    small_lexicon = Path(shutil.copytree(kept_lexicon, tmp_path / "lexicon"))
    options = {"lexicon": small_lexicon, "settings": PhraseSettings(epochs=12, **SMALL)}
    folder, cache = tmp_path / "model" / "phrase_encoder", tmp_path / "cache.npz"
    shutil.copytree(kept_lexicon.parent / "encoder", folder)
    shutil.copy(kept_lexicon.parent / "cache.npz", cache)
    before = PhraseEncoder.from_folder(folder)
    configs = []
    for name, digest in (("ours", before.digest), ("other", "0" * 64)):
        configs.append(tmp_path / "model" / "weight_generator" / name / "config.json")
        configs[-1].parent.mkdir(parents=True)
        configs[-1].write_text(json.dumps({"format_version": 2, "text_sha256": digest}))
        (configs[-1].parent / "calibration.json").write_text("{}")

    phrases = small_lexicon / "one.txt"
    phrases.write_text(phrases.read_text().replace("fog: ", "fog: pea soup | pea souper | like pea soup | "))
    report = train_phrases(folder, folder, beside=True, force=True, cache=cache, **options)
    after = PhraseEncoder.from_folder(folder)
    assert (before.config.n_parts, after.config.n_parts) == (1, 2)
    for words in ("pea souper", "everything teal", "grey fog"):
        one, both = before.read(words), after.read(words)
        assert np.array_equal(one.vector, both.vector)
        assert sum(both.looks.values()) + both.none == pytest.approx(1.0, abs=1e-5)
        assert sum(both.counts) == pytest.approx(1.0, abs=1e-5)
    assert after.read("pea souper").looks["fog"] > before.read("pea souper").looks["fog"]

    # The weight generator that reads it goes on with it, and is to be calibrated again.
    digests = [json.loads(path.read_text())["text_sha256"] for path in configs]
    assert digests == [after.digest, "0" * 64]
    assert report.uncalibrated == ("ours",)
    assert [(path.parent / "calibration.json").exists() for path in configs] == [False, True]

    configs[1].write_text("{")
    kept = (folder / "config.json").read_bytes()
    with pytest.raises(InvalidGenerator, match="weight generator '.*other/config.json'"):
        train_phrases(folder, folder, beside=True, force=True, cache=cache, **options)
    phrases.write_text(phrases.read_text() + "night: at night | nightly | by night\n")
    with pytest.raises(InvalidConcepts, match="only the lexicon has the look 'night'"):
        train_phrases(folder, folder, beside=True, force=True, **options)
    assert (folder / "config.json").read_bytes() == kept


def test_shares_of_two_parts_are_their_mean() -> None:
    shape = PhraseShape(3, n_states=8, width=8, n_buckets=16, n_gram_values=4, n_hidden=8, n_values=6)
    config = PhraseConfig(("a", "b"), {}, {}, {}, shape, Confidence(), "", "")
    rng = np.random.default_rng(0)

    def weights() -> dict[str, np.ndarray]:
        from initzoo.training.phrases.head import PhraseHead

        shapes = {name: value.shape for name, value in PhraseHead(shape).state_dict().items()}
        named = {name: rng.standard_normal(size) for name, size in shapes.items()}
        named["grams.scale"] = np.ones(16)
        return {name: value.astype(np.float32) for name, value in named.items()}

    first, second = weights(), weights()
    states = rng.standard_normal((5, 8)).astype(np.float32)

    def softmax(scores: np.ndarray) -> np.ndarray:
        powers: np.ndarray = np.exp(scores - scores.max())
        return powers / powers.sum()

    def read(*parts: dict[str, np.ndarray]) -> list[np.ndarray]:
        vector, *scores = PhraseEncoder(config, None, parts).run_head(states, "fog")  # type: ignore[arg-type]
        return [vector, *(softmax(one.astype(float)) for one in scores)]

    both, alone = read(first, second), (read(first), read(second))
    assert np.array_equal(both[0], alone[0][0])
    for place in (1, 2):
        assert np.allclose(both[place], (alone[0][place] + alone[1][place]) / 2, atol=1e-6)


@pytest.mark.long
def test_a_lexicon_is_measured_by_the_training_that_it_would_get(kept_lexicon: Path, tmp_path: Path) -> None:
    from initzoo.training import PhraseSettings, measure_lexicon, train_phrases

    options = {
        "lexicon": kept_lexicon,
        "settings": PhraseSettings(epochs=12, **SMALL),
        "cache": tmp_path / "cache.npz",
    }
    report = train_phrases(BUNDLED, tmp_path / "out", **options)
    reports = list(measure_lexicon(BUNDLED, shares=(1.0,), **options))
    assert reports[0].n_phrases == report.n_phrases
    assert reports[0].first == report.first


def test_rounded_weights_are_stored_as_eight_bit_numbers(encoder: PhraseEncoder, tmp_path: Path) -> None:
    parts = [
        {name: value if name.startswith("grams.") else round_weight(value) for name, value in part.items()}
        for part in encoder.parts
    ]
    files = {name: (BUNDLED / name).read_bytes() for name in ("encoder.onnx", "tokenizer.json", "LICENSE")}
    PhraseEncoder.save(tmp_path, encoder.config, parts, files)
    sizes = [sum(value.size for value in part.values() if value.dtype != np.int8) for part in parts]
    others = sum(value.nbytes for part in parts for value in part.values() if value.dtype == np.int8)
    assert (tmp_path / "head.safetensors").stat().st_size - others < 1.2 * sum(sizes)
    for stored, part in zip(PhraseEncoder.from_folder(tmp_path).parts, parts, strict=True):
        for name, value in part.items():
            np.testing.assert_array_equal(stored[name], value, name)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "phrases"
    shutil.copytree(BUNDLED, folder)
    data = bytearray((folder / "head.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "head.safetensors").write_bytes(data)
    with pytest.raises(InvalidGenerator, match=r"head\.safetensors does not match its digest"):
        PhraseEncoder.from_folder(folder)
    (folder / "encoder.onnx").unlink()
    with pytest.raises(InvalidGenerator, match="phrase encoder"):
        PhraseEncoder.from_folder(folder)
    with pytest.raises(InvalidGenerator, match="does not match its digest in zoo.json"):
        PhraseEncoder.from_folder(BUNDLED, digest="0" * 64)


def test_a_reading_is_the_same_after_others(encoder: PhraseEncoder) -> None:
    first = encoder.read("thick fog").vector.copy()
    encoder.read("a much longer phrase about something else entirely, with teal and gold")
    again = PhraseEncoder.from_folder(BUNDLED).read("thick fog")
    assert np.array_equal(first, again.vector)
    assert abs(sum(again.looks.values()) + again.none - 1) < 1e-6
    assert abs(sum(again.counts) - 1) < 1e-6


def test_direction_counts(encoder: PhraseEncoder) -> None:
    assert encoder.read("fix the overexposed sky").best[0] == "fix-overexposure"
    assert encoder.read("overexposed look").best[0] == "overexposed"
    assert encoder.read("gaussian blur").best[0] == "blur"
    assert encoder.read("remove gaussian blur").best[0] == "deblur"


@pytest.mark.parametrize(
    ("words", "look"),
    [
        ("dichter Nebel", "fog"),
        ("aquarelle", "watercolour"),
        ("油画", "oil"),
        ("pencil skecth", "pencil-sketch"),
    ],
)
def test_other_languages_and_misspelt_words_are_read(encoder: PhraseEncoder, words: str, look: str) -> None:
    assert encoder.read(words).best[0] == look


def test_empty_and_invisible_words_are_refused(encoder: PhraseEncoder) -> None:
    for words in ("", "  ", "fog\x00"):
        with pytest.raises(InvalidWords):
            encoder.read(words)


def test_a_matched_pull_loads_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, json; from initzoo import Zoo; zoo = Zoo.from_pretrained('starter');"
        "init = zoo.pull('cannot see a thing for the thick fog');"
        "print(json.dumps([init.metadata.origin, init.metadata.concept, 'torch' in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == ["matched", "fog", False]


def test_the_bundled_encoder_is_small_and_has_its_licence() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= 25_000_000
    assert "Apache License" in (BUNDLED / "LICENSE").read_text()
    assert (BUNDLED / "encoder.onnx").stat().st_size <= 25_000_000
    states = PhraseStates.from_folder(BUNDLED)
    assert states.is_word("fog")
    assert not states.is_word("skecth")


def test_pull_says_how_sure_a_match_is_and_how_to_take_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("pull", "cannot see a thing for the fog")
    assert result.exit_code == 0
    assert result.stdout.startswith("fog  starter  revision ")
    assert "  matched  " in result.stdout
    assert "likely: the words mean 'fog'; also near: " in result.stderr
    assert "initzoo pull --generate 'cannot see a thing for the fog'" in result.stderr
    values = json.loads(succeed("pull", "cannot see a thing for the fog", "--json", "--dry-run"))
    assert (values["origin"], values["concept"], values["sureness"]) == ("matched", "fog", "likely")
    assert values["nearest"][0]["concept"] == "fog"
    assert values["psnr"] is not None


def test_search_ranks_by_meaning_what_pull_would_take_first() -> None:
    found = json.loads(succeed("search", "mosaic tiles", "--json"))["results"]
    assert "demosaic" not in [match["concept"] for match in found]
    found = json.loads(succeed("search", "cannot see a thing for the fog", "--json"))["results"]
    assert found[0]["concept"] == "fog"
    assert "dehaze" not in [match["concept"] for match in found]


def test_match_takes_the_nearest_however_unsure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = json.loads(succeed("pull", "--match", "asdf qwer", "--json", "--dry-run"))
    assert (values["origin"], values["sureness"]) == ("matched", "a guess")
    assert values["reason"].startswith("nearest by meaning, though ")
    assert "--exact and --match exclude each other" in fail("pull", "--match", "--exact", "fog")
    assert "no concept 'asdf qwer'" in fail("pull", "--exact", "asdf qwer")


def test_a_curve_is_of_parts_alone() -> None:
    command = ("generator", "train-phrases", "--encoder", str(BUNDLED), "--curve", "--beside")
    assert "--curve trains parts alone. Leave out --beside" in fail(*command)
