"""Requests: what they may hold, what encoders make of them, and what nobody reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo_fixtures import kept_generating_zoo

from initzoo.errors import InvalidRequest, InvalidWords
from initzoo.generator.encoders import WordsEncoder
from initzoo.generator.request import Request, as_request
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs.sources import Pair
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_generating_zoo"]

PIXELS = np.zeros((16, 16, 3), np.uint8)
PAIR = Pair("one", PIXELS, PIXELS)


@pytest.fixture
def zoo(kept_generating_zoo: Path) -> Zoo:
    return Zoo.from_pretrained(kept_generating_zoo)


@pytest.fixture
def encoder() -> WordsEncoder:
    vectors = TokenVectors.tiny(["navy", "to", "gold", "fog"], n_values=8)
    return WordsEncoder(vectors, learned_tokens=(3, 1))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"seed": 2**63}, ValueError, "seed must be from 0"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"seed": True}, TypeError, "seed must be an integer"),
        ({"n_timesteps": 0}, ValueError, "n_timesteps must be from 1 to 1000, found 0"),
        ({"n_timesteps": 1001}, ValueError, "n_timesteps must be from 1"),
        ({"origin": "both"}, ValueError, "origin must be exact, matched, generated or None, found 'both'"),
        ({"words": 7}, TypeError, "words must be a text, found int"),
        ({"seconds": "1"}, TypeError, "seconds must be a number, found '1'"),
        ({"seconds": True}, TypeError, "seconds must be a number"),
        ({"seconds": 0}, ValueError, "seconds must be above 0 and at most 3600, found 0"),
        ({"seconds": float("nan")}, ValueError, "seconds must be above 0"),
    ],
)
def test_a_request_is_checked_when_it_is_made(
    options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Request(**({"words": "night"} | options))


def test_equal_requests_are_equal_keys() -> None:
    one, other = Request("night", seed=np.int64(3)), Request("night", pairs=[], seed=3)
    assert one == other
    assert len({one, other, replace(one, seed=4)}) == 2
    assert type(one.seed) is int
    with_pairs = Request(pairs=[PAIR])
    assert with_pairs.pairs == (PAIR,)
    assert hash(with_pairs) == hash(Request(pairs=(PAIR,)))


def test_options_go_with_words_alone() -> None:
    assert as_request("night", origin="exact") == Request("night", origin="exact")
    with pytest.raises(TypeError, match=r"origin is part of the request: Request\(words, origin=...\)"):
        as_request(Request("night"), origin="exact")
    with pytest.raises(TypeError, match="colour"):
        as_request("night", colour="red")


def test_words_become_vectors_in_order_with_a_mask_and_learned_rows(encoder: WordsEncoder) -> None:
    context = encoder.encode([Request("navy to gold"), Request("gold fog")])
    expected = encoder.vectors.encode_as_sequence("navy to gold")
    np.testing.assert_array_equal(context.vectors[0].numpy(), expected)
    assert context.mask.tolist() == [[True, True, True], [True, True, False]]
    assert context.learned.tolist() == [[2, 0, 1], [1, 0, 0]]
    assert not context.vectors[1, 2].any()
    twice = context.repeat(2)
    assert torch.equal(twice.vectors, context.vectors[[0, 0, 1, 1]])
    assert torch.equal(twice.learned, context.learned[[0, 0, 1, 1]])


def test_an_encoder_has_room_for_what_its_denoiser_has_room_for(encoder: WordsEncoder) -> None:
    class Shape:
        max_tokens = 2

    short = WordsEncoder(encoder.vectors, shape=Shape())
    short.check(Request("navy gold"))
    with pytest.raises(InvalidWords, match="have 3 tokens, at most 2 are read"):
        short.check(Request("navy to gold"))


@pytest.mark.parametrize("method", ["check", "encode", "embed"])
def test_words_alone_are_read(encoder: WordsEncoder, method: str) -> None:
    request = Request("navy", pairs=(PAIR, PAIR))
    with pytest.raises(InvalidRequest, match="has 2 example pairs, and this weight generator reads words"):
        getattr(encoder, method)(request if method == "check" else [request])


@pytest.mark.parametrize("words", ["", "night", "gold pencil sketch"])
def test_pairs_are_refused_where_nothing_reads_them(zoo: Zoo, words: str) -> None:
    request = Request(words, pairs=(PAIR,))
    with pytest.raises(InvalidRequest, match="initzoo finetune --pairs|words are empty"):
        zoo.pull(replace(request, origin="generated"))
    with pytest.raises(InvalidRequest, match="a checkpoint is found by words alone"):
        zoo.pull(replace(request, origin="exact"))


def test_a_request_gives_what_its_words_and_options_give(zoo: Zoo) -> None:
    request = Request("gold pencil sketch", seed=3, n_timesteps=2)
    made = zoo.pull("gold pencil sketch", seed=3, n_timesteps=2)
    assert zoo.pull(request).to_bytes() == made.to_bytes()
    blocks = zoo.generator.generate(request)
    np.testing.assert_array_equal(blocks, zoo.generator.generate(request.words, seed=3, n_timesteps=2))
    with pytest.raises(ValueError, match="a weight generator holds none"):
        zoo.generator.generate(replace(request, origin="exact"))


def test_requests_of_other_draws_go_together(zoo: Zoo) -> None:
    requests = [
        Request("gold pencil sketch", seed=seed, n_timesteps=n_timesteps)
        for seed, n_timesteps in [(0, 1), (1, 3), (0, 3), (7, 1), (0, 1)]
    ]
    many = zoo.generator.generate_many(requests)
    for blocks, request in zip(many, requests, strict=True):
        np.testing.assert_allclose(blocks, zoo.generator.generate(request), atol=1e-5)
    assert not np.allclose(many[0], many[2])
    assert not np.allclose(many[0], many[3])
