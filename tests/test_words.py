"""Words: what is accepted and what is not, vectors of tokens, and their folder on disk."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer

from initzoo.errors import InvalidGenerator, InvalidWords, MissingExtra
from initzoo.generator.tokens import MAX_TOKENS, TokenVectors, check_words, distil_words, read_extra_words

TOKENS = ["navy", "to", "gold", "pencil", "sketch"]


@pytest.fixture
def vectors():
    return TokenVectors.tiny(TOKENS, n_values=8)


def written(vectors, folder):
    folder.mkdir()
    for name, data in vectors.to_files().items():
        (folder / name).write_bytes(data)
    return folder


def test_encode_as_sequence_keeps_the_order(vectors):
    forwards = vectors.encode_as_sequence("navy to gold")
    backwards = vectors.encode_as_sequence("gold to navy")
    assert forwards.shape == (3, 8)
    assert forwards.dtype == np.float32
    assert np.array_equal(forwards, backwards[::-1])


def test_case_and_unknown_words_change_nothing(vectors):
    plain = vectors.tokenise("pencil sketch")
    assert vectors.tokenise("  PENCIL zzz Sketch \N{GRINNING FACE}") == plain


def test_a_byte_a_value_is_near_enough():
    floats = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    floats[3] *= 100
    kept = TokenVectors.from_floats(TokenVectors.tiny(TOKENS, n_values=8).tokenizer_json, floats)
    error = np.abs(kept.vectors_of(range(6)) - floats) / np.abs(floats).max(axis=1, keepdims=True)
    assert error.max() < 0.005


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "words are empty"),
        (" \N{NO-BREAK SPACE} ", "words are empty"),
        ("navy\x00gold", "control or invisible character U\\+0000"),
        ("navy\ngold", "control or invisible character U\\+000A"),
        ("navy \ud800", "control or invisible character U\\+D800"),
        ("navy\u202egold", "control or invisible character U\\+202E"),
        ("[UNK]", "no word of .* is known"),
        ("gold " * 10_000, "at most 1000"),
        ("gold " * (MAX_TOKENS + 1), f"has|have {MAX_TOKENS + 1} tokens"),
        ("\N{GRINNING FACE}", "no word of .* is known"),
        ("карандаш", "no word of .* is known"),
    ],
)
def test_bad_words_are_refused_in_one_line(vectors, words, said):
    with pytest.raises(InvalidWords, match=said) as caught:
        vectors.tokenise(words)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_full_width_letters_are_plain_ones(vectors):
    assert vectors.tokenise("\N{FULLWIDTH LATIN SMALL LETTER N}avy gold") == vectors.tokenise("navy gold")


def test_check_words_takes_other_alphabets():
    assert check_words(" эскиз карандашом ") == "эскиз карандашом"


def test_folder_gives_the_same_vectors_back(vectors, tmp_path):
    folder = written(vectors, tmp_path / "text")
    again = TokenVectors.from_folder(folder, digest=vectors.digest)
    assert again.digest == vectors.digest
    assert np.array_equal(again.encode_as_sequence("navy gold"), vectors.encode_as_sequence("navy gold"))


def test_files_of_other_vectors_are_noticed(vectors, tmp_path):
    folder = written(vectors, tmp_path / "text")
    other = TokenVectors.tiny(TOKENS[::-1], n_values=8)
    (folder / "tokenizer.json").write_bytes(other.tokenizer_json)
    with pytest.raises(InvalidGenerator, match="does not match the digest in config.json"):
        TokenVectors.from_folder(folder, digest=vectors.digest)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("vectors.safetensors", b"nonsense", "not a safetensors file"),
        (
            "vectors.safetensors",
            save({"values": np.zeros((6, 8), np.int8)}),
            "expected 'values' and 'scales'",
        ),
        (
            "vectors.safetensors",
            save({"values": np.zeros((5, 8), np.int8), "scales": np.ones(5, np.float16)}),
            "has 6 tokens, vectors.safetensors 5",
        ),
        (
            "vectors.safetensors",
            save({"values": np.zeros((6, 8), np.int8), "scales": np.full(6, np.nan, np.float16)}),
            "finite float16",
        ),
        ("tokenizer.json", b"{}", "not a tokenizer"),
        ("tokenizer.json", b"\xff\xfe", "not a tokenizer"),
    ],
)
def test_damaged_files_are_named(vectors, tmp_path, name, data, said):
    folder = written(vectors, tmp_path / "text")
    (folder / name).write_bytes(data)
    with pytest.raises(InvalidGenerator, match=said) as caught:
        TokenVectors.from_folder(folder)
    assert str(folder) in str(caught.value)


def test_vectors_come_back_whatever_order_their_memory_has(vectors, tmp_path):
    """safetensors writes memory as it lies, so an array in Fortran's order would come back scrambled."""
    drawn = np.random.default_rng(3).standard_normal((len(vectors.values), 5)).astype(np.float32)
    given = TokenVectors.from_floats(vectors.tokenizer_json, np.asfortranarray(drawn))
    turned = TokenVectors(given.tokenizer_json, np.asfortranarray(given.values), given.scales)
    assert turned.to_files() == given.to_files()
    found = TokenVectors.from_folder(written(turned, tmp_path / "text"))
    np.testing.assert_allclose(found.vectors_of(range(len(drawn))), drawn, atol=0.02)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidGenerator, match="tokenizer.json cannot be read"):
        TokenVectors.from_folder(tmp_path / "none")


def test_extra_words_are_one_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("teal\n\nsepia\nteal\n")
    assert read_extra_words(path) == ("sepia", "teal")
    path.write_text("two words\n")
    with pytest.raises(InvalidWords, match="'two words' is not a lower-case word"):
        read_extra_words(path)
    with pytest.raises(InvalidWords, match="cannot read the words"):
        read_extra_words(tmp_path / "none.txt")


def test_distilling_without_its_packages_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "model2vec.distill", None)
    with pytest.raises(MissingExtra, match=r'pip install "initzoo\[distil\]"'):
        distil_words(tmp_path, tmp_path / "text")


def test_words_are_distilled_without_padding(monkeypatch, tmp_path):
    """A tokenizer that pads to a fixed length would make all words of several pieces alike."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    padded = Tokenizer.from_str(TokenVectors.tiny(TOKENS, n_values=8).tokenizer_json.decode())
    padded.enable_padding(length=16)
    padded.enable_truncation(8)
    (encoder / "tokenizer.json").write_text(padded.to_str())
    lengths = []

    def distill(*, model_name, vocabulary, pca_dims):
        tokenizer = Tokenizer.from_file(f"{model_name}/tokenizer.json")
        lengths.extend(len(tokenizer.encode(words).ids) for words in ("navy gold", "gold " * 12))
        n_tokens = tokenizer.get_vocab_size()
        embedding = np.random.default_rng(0).standard_normal((n_tokens, pca_dims))
        weights = np.linspace(0.5, 1, n_tokens)
        return SimpleNamespace(embedding=np.asfortranarray(embedding), weights=weights, tokenizer=tokenizer)

    monkeypatch.setitem(sys.modules, "model2vec", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "model2vec.distill", SimpleNamespace(distill=distill))
    n_tokens = distil_words(encoder, tmp_path / "text", n_values=8)
    assert lengths == [2, 12]
    found = TokenVectors.from_folder(tmp_path / "text").vectors_of(range(n_tokens))
    expected = (
        np.random.default_rng(0).standard_normal((n_tokens, 8)) * np.linspace(0.5, 1, n_tokens)[:, None]
    )
    scale = np.linalg.norm(found) / np.linalg.norm(expected)
    np.testing.assert_allclose(found, scale * expected, atol=0.03)
    (encoder / "tokenizer.json").write_text("[")
    with pytest.raises(InvalidGenerator, match=r"tokenizer.json cannot be read"):
        distil_words(encoder, tmp_path / "other")
    assert not (tmp_path / "other").exists()
