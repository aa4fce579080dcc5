"""Baselines against slow, obvious NumPy: the same answers, and settings tuned on train folds only."""

import numpy as np
import pytest

from initzoo.errors import InvalidWords
from initzoo.generator.baselines import (
    KernelRidgePredictor,
    MeanPredictor,
    NearestPredictor,
    NeighboursPredictor,
    ShuffledPredictor,
    TaughtAdapters,
    fit_kernel_ridge,
    tune_kernel_ridge,
    tune_neighbours,
)
from initzoo.generator.encoders import WordsEncoder
from initzoo.generator.novelty import TaughtWords, pool_words
from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors

COLOURS = ("red", "green", "blue", "gold", "navy", "teal")
LOOKS = ("sketch", "fog", "night", "oil")
SHAPE = (2, 5)


def requests_of(words):
    """A request for each wording."""
    return [Request(wording) for wording in words]


def taught_by(vectors, wordings, blocks):
    return TaughtAdapters.make(WordsEncoder(vectors), [requests_of(words) for words in wordings], blocks)


@pytest.fixture(scope="module")
def vectors():
    return TokenVectors.tiny([*COLOURS, *LOOKS, "and", "asdf", "qwer"], n_values=16)


@pytest.fixture(scope="module")
def taught(vectors):
    """Colour and look each add something to the adapter: what kernel ridge can learn."""
    rng = np.random.default_rng(0)
    colours, looks = rng.normal(size=(len(COLOURS), *SHAPE)), rng.normal(size=(len(LOOKS), *SHAPE))
    wordings, blocks = [], []
    for i, colour in enumerate(COLOURS):
        for j, look in enumerate(LOOKS):
            wordings.append((f"{colour} {look}", f"{look} and {colour}"))
            blocks.append(colours[i] + looks[j])
    return taught_by(vectors, wordings, np.array(blocks, np.float32))


class WordsAsBlocks:
    """Answers with the place of each wording in the alphabet, to see who was asked what."""

    def __init__(self):
        self.asked = []

    def predict(self, requests):
        self.asked = [request.words for request in requests]
        return np.array([[[float(ord(words[0]))]] for words in self.asked], np.float32)


def test_pooled_words_are_the_mean_token_at_length_one(vectors):
    pooled = pool_words(vectors, ["red fog", "night"])
    slow = vectors.encode_as_sequence("red fog").sum(axis=0)
    np.testing.assert_allclose(pooled[0], slow / np.sqrt((slow**2).sum()), rtol=1e-5)
    np.testing.assert_allclose((pooled**2).sum(axis=1), 1, rtol=1e-5)


def test_pooled_words_say_which_words_cannot_be_read(vectors):
    with pytest.raises(InvalidWords, match="empty"):
        pool_words(vectors, ["red", "  "])


def test_mean_is_the_same_for_all_words(taught):
    blocks = MeanPredictor(taught).predict(requests_of(["red", "asdf"]))
    np.testing.assert_allclose(blocks[0], taught.blocks.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(blocks[0], blocks[1])


def test_nearest_returns_the_checkpoint_of_a_taught_wording(taught):
    blocks = NearestPredictor(taught).predict(requests_of(["fog and red", "navy oil"]))
    np.testing.assert_array_equal(blocks, taught.blocks[[1, 4 * 4 + 3]])


def test_neighbours_average_the_concepts_with_the_nearest_wordings(taught, vectors):
    asked = pool_words(vectors, ["red night fog"])[0]
    likeness = [
        max(
            float(asked @ wording)
            for wording, own in zip(taught.wordings, taught.owners, strict=True)
            if own == i
        )
        for i in range(len(taught.blocks))
    ]
    chosen = sorted(range(len(likeness)), key=lambda i: -likeness[i])[:3]
    blocks = NeighboursPredictor(taught, 3).predict(requests_of(["red night fog"]))
    np.testing.assert_allclose(blocks[0], taught.blocks[chosen].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("n_values", [2, 40])  # fewer and more values than concepts: two ways to solve
def test_kernel_ridge_is_the_closed_form(taught, vectors, n_values):
    rng = np.random.default_rng(1)
    blocks = rng.normal(size=(len(taught.blocks), 1, n_values)).astype(np.float32)
    own = TaughtAdapters(WordsEncoder(vectors), taught.wordings, taught.owners, blocks)
    words = ["gold fog", "asdf", "red and blue"]
    found = fit_kernel_ridge(own, width=0.3, ridge=0.05).predict(requests_of(words))

    x, asked = own.wordings.astype(np.float64), pool_words(vectors, words).astype(np.float64)
    kernel = np.array([[np.exp(-(1 - a @ b) / 0.3) for b in x] for a in x])
    mean = blocks.mean(axis=0)
    targets = np.array([(blocks[i] - mean).ravel() for i in own.owners])
    duals = np.linalg.inv(kernel + 0.05 * np.eye(len(x))) @ targets
    slow = np.array(
        [sum(np.exp(-(1 - a @ b) / 0.3) * d for b, d in zip(x, duals, strict=True)) for a in asked]
    )
    np.testing.assert_allclose(found, mean + slow.reshape(3, 1, n_values), atol=2e-4)


def test_kernel_ridge_with_a_tiny_ridge_returns_the_checkpoints(taught):
    found = fit_kernel_ridge(taught, width=0.2, ridge=1e-4).predict(requests_of(["red fog", "teal and oil"]))
    np.testing.assert_allclose(found[0], taught.blocks[1], atol=0.01)


def test_tuning_finds_settings_that_predict_concepts_left_out(taught):
    width, ridge = tune_kernel_ridge(taught, seed=0)
    rest, fold = next(taught.folds(3, seed=5))
    wanted = fold.blocks[fold.owners]

    def error(width, ridge):
        fitted = fit_kernel_ridge(rest, width=width, ridge=ridge)
        kernel = np.exp((fold.wordings @ rest.wordings.T - 1) / width)
        return float(
            ((kernel @ fitted.duals + fitted.mean.ravel() - wanted.reshape(len(wanted), -1)) ** 2).mean()
        )

    assert error(width, ridge) < 0.6 * error(0.01, 0.001)
    assert error(width, ridge) < 0.7 * float(((wanted - rest.blocks.mean(axis=0)) ** 2).mean())
    assert (width, ridge) == tune_kernel_ridge(taught, seed=0)


def test_tuning_chooses_the_number_of_neighbours_by_concepts_left_out(vectors):
    # Every adapter is noise around one mean, so the more are averaged the better.
    rng = np.random.default_rng(0)
    wordings = [(f"{colour} {look}",) for colour in COLOURS for look in LOOKS]
    noise = rng.normal(size=(len(wordings), 1, 50)).astype(np.float32)
    assert tune_neighbours(taught_by(vectors, wordings, noise), choices=(1, 2, 12)) == 12


def test_folds_share_no_concept_and_keep_owners_right(taught):
    seen = []
    for rest, fold in taught.folds(4, seed=3):
        assert len(rest.blocks) + len(fold.blocks) == len(taught.blocks)
        for own in (rest, fold):
            places = [int(np.argmax((taught.wordings == wording).all(axis=1))) for wording in own.wordings]
            np.testing.assert_array_equal(own.blocks[own.owners], taught.blocks[taught.owners[places]])
        seen += [block.tobytes() for block in fold.blocks]
    assert sorted(seen) == sorted(block.tobytes() for block in taught.blocks)


def test_thin_keeps_the_first_wording_of_each_concept(taught):
    few = taught.thin(1)
    np.testing.assert_array_equal(few.wordings, taught.wordings[::2])
    np.testing.assert_array_equal(few.owners, np.arange(len(taught.blocks)))


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_gives_nobody_their_own_words_and_everybody_someone_elses(seed):
    words = ["a", "b", "c", "d", "e", "f", "g"]
    inner = WordsAsBlocks()
    ShuffledPredictor(inner, seed).predict(requests_of(words))
    assert sorted(inner.asked) == words
    assert all(asked != own for asked, own in zip(inner.asked, words, strict=True))
    again = WordsAsBlocks()
    ShuffledPredictor(again, seed).predict(requests_of(words))
    assert again.asked == inner.asked


def test_shuffled_needs_two_wordings():
    with pytest.raises(ValueError, match="at least two"):
        ShuffledPredictor(WordsAsBlocks()).predict(requests_of(["a"]))


def test_a_kernel_ridge_predictor_answers_many_as_it_answers_one(taught):
    ridge: KernelRidgePredictor = fit_kernel_ridge(taught, width=0.4, ridge=0.1)
    words = ["red fog", "asdf", "navy and gold"]
    together = ridge.predict(requests_of(words))
    assert together.shape == (3, *SHAPE)
    assert together.dtype == np.float32
    for wording, blocks in zip(words, together, strict=True):
        np.testing.assert_allclose(ridge.predict(requests_of([wording]))[0], blocks, atol=1e-5)


def test_distance_is_nothing_for_taught_words_and_large_for_nonsense(vectors):
    taught = TaughtWords.from_wordings(vectors, [["red fog", "fog and red"], ["navy night"]])
    assert taught.distance(Request("red fog")) < 0.01
    near, far = taught.distance(Request("navy fog")), taught.distance(Request("asdf qwer"))
    assert 0.01 < near < 0.3
    assert far > 0.6
    assert taught.distance(Request("red asdf")) < far


def test_distance_is_large_for_words_that_say_next_to_nothing(vectors):
    values = vectors.values.copy()
    scales = vectors.scales.copy()
    scales[11] = np.float16(scales[11] / 100)  # "and" now says hardly anything
    quiet = TokenVectors(vectors.tokenizer_json, values, scales)
    taught = TaughtWords.from_wordings(quiet, [["red and fog"], ["navy and night"]])
    assert taught.distance(Request("and")) > 0.9
    assert taught.distance(Request("red and")) < 0.5


def test_words_that_all_concepts_share_say_next_to_nothing(vectors):
    taught = TaughtWords.from_wordings(vectors, [[f"{word} and night"] for word in ("red", "navy", "fog")])
    assert taught.distance(Request("and night")) > 0.7
    for words in ("red", "red and fog", "and navy"):
        assert taught.distance(Request(words)) < 0.4
