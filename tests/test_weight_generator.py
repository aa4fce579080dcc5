"""The weight generator: a round trip, seeds, other block sizes, and every kind of damage."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from zoo_fixtures import TINY_RECIPE, cut_off, flipped, outcome

from initzoo.checkpoints.blocks import check_blocks
from initzoo.errors import (
    ChecksumMismatch,
    InitzooError,
    InvalidGenerator,
    InvalidWords,
    LayoutMismatch,
    OutputError,
)
from initzoo.files.digests import DamagedFile
from initzoo.files.settings import read_settings, to_plain
from initzoo.files.tensors import decode_tensors, encode_tensors
from initzoo.generator.files import read_generator_files
from initzoo.generator.model import GeneratorConfig, WeightGenerator, build_denoiser
from initzoo.generator.shape import DenoiserShape
from initzoo.generator.tokens import TokenVectors

WORDS = "navy to gold"


def make_generator(*, kind="joint", block_size=32, **changes):
    layout = TINY_RECIPE.layout
    own = replace(layout, block_size=block_size)
    shape = DenoiserShape(n_blocks=own.n_blocks, block_size=block_size, n_word_values=8, width=48)
    config = GeneratorConfig(
        kind=kind, shape=shape, layout=layout, recipe="tiny", base_sha256="a" * 64, n_train_concepts=4
    )
    denoiser = build_denoiser(kind, shape, seed=0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    rng = np.random.default_rng(0)
    return WeightGenerator(
        replace(config, **changes),
        denoiser,
        TokenVectors.tiny(["navy", "to", "gold", "sketch"], n_values=8),
        mean=rng.standard_normal((own.n_blocks, block_size)).astype(np.float32),
        scale=rng.uniform(0.1, 1, (own.n_blocks, block_size)).astype(np.float32),
    )


@pytest.fixture
def generator():
    return make_generator()


@pytest.fixture
def folder(generator, tmp_path):
    generator.save_pretrained(tmp_path / "generator")
    return tmp_path / "generator"


@pytest.mark.parametrize("kind", ["joint", "unet"])
@pytest.mark.parametrize("block_size", [32, 64])
def test_generate_gives_blocks_of_the_recipe(kind, block_size):
    blocks = make_generator(kind=kind, block_size=block_size).generate(WORDS)
    check_blocks(blocks, TINY_RECIPE.layout)
    assert blocks.dtype == np.float32
    assert blocks.any()


def test_same_seed_same_blocks_other_seed_other_blocks(generator):
    one = generator.generate(WORDS, seed=3)
    assert np.array_equal(generator.generate(WORDS, seed=3), one)
    assert not np.array_equal(generator.generate(WORDS, seed=4), one)
    assert not np.array_equal(generator.generate("gold to navy", seed=3), one)
    assert not np.array_equal(generator.generate(WORDS, seed=3, n_timesteps=3), one)


def test_a_regressor_knows_no_noise():
    regressor = make_generator(is_regressor=True)
    assert np.array_equal(regressor.generate(WORDS, seed=1), regressor.generate(WORDS, seed=2, n_timesteps=5))


def test_many_words_give_what_each_gives_alone(generator):
    words = [WORDS, "sketch", "gold"] * 30
    many = generator.generate_many(words, seed=2)
    assert many.shape == (90, *generator.generate(WORDS).shape)
    for place in (0, 1, 2, 89):
        np.testing.assert_allclose(many[place], generator.generate(words[place], seed=2), atol=1e-5)
    assert generator.generate_many([]).shape == (0, *many.shape[1:])


def test_round_trip_keeps_every_bit(generator, folder, tmp_path):
    again = WeightGenerator.from_pretrained(folder)
    assert again.config == generator.config
    assert np.array_equal(again.generate(WORDS, seed=5), generator.generate(WORDS, seed=5))
    again.save_pretrained(tmp_path / "again")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_save_does_not_replace_what_is_there(generator, folder):
    with pytest.raises(OutputError, match="is not empty"):
        generator.save_pretrained(folder)
    generator.save_pretrained(folder, force=True)


@pytest.mark.parametrize(
    "options", [{"seed": -1}, {"seed": 2**63}, {"n_timesteps": 0}, {"n_timesteps": 1001}]
)
def test_numbers_out_of_range_are_refused(generator, options):
    with pytest.raises(ValueError, match="must be from"):
        generator.generate(WORDS, **options)


@pytest.mark.parametrize("options", [{"seed": 1.5}, {"seed": True}, {"n_timesteps": 2.5}, {"seed": "1"}])
def test_numbers_that_are_no_integers_are_refused(generator, options):
    with pytest.raises(TypeError, match="must be an integer"):
        generator.generate(WORDS, **options)
    assert np.array_equal(generator.generate(WORDS, seed=np.int64(3)), generator.generate(WORDS, seed=3))


def test_a_single_text_is_not_taken_for_many(generator):
    with pytest.raises(TypeError, match="several requests"):
        generator.generate_many(WORDS)


def test_words_longer_than_the_denoiser_are_refused(folder):
    generator = make_generator()
    short = replace(generator.config, shape=replace(generator.config.shape, max_tokens=2))
    denoiser = build_denoiser("joint", short.shape, seed=0)
    small = WeightGenerator(short, denoiser, generator.text, mean=generator.mean, scale=generator.scale)
    assert small.generate("navy gold").shape == generator.generate("navy gold").shape
    with pytest.raises(InvalidWords, match="have 3 tokens, at most 2 are read"):
        small.generate(WORDS)


@pytest.mark.parametrize("changes", [{"width": 65532}, {"n_layers": 65536}, {"n_layers": 64}])
def test_absurd_sizes_are_found_out_before_memory_is_taken(folder, changes):
    shape = json.loads((folder / "config.json").read_bytes())["shape"] | changes
    reseal(folder, shape=shape)
    with pytest.raises(InvalidGenerator, match="the sizes of the denoiser are invalid|expected"):
        WeightGenerator.from_pretrained(folder)


def test_bad_words_are_refused(generator):
    with pytest.raises(InvalidWords, match="words are empty"):
        generator.generate("")


def test_check_made_for_names_what_differs(generator):
    generator.check_made_for(base_sha256="a" * 64, layout=TINY_RECIPE.layout)
    with pytest.raises(ChecksumMismatch, match=f"base has sha256 {'b' * 64}"):
        generator.check_made_for(base_sha256="b" * 64, layout=TINY_RECIPE.layout)
    with pytest.raises(LayoutMismatch, match="Take the weight generator of this zoo"):
        generator.check_made_for(base_sha256="a" * 64, layout=replace(TINY_RECIPE.layout, block_size=8))


def test_any_flipped_or_missing_byte_is_noticed(folder):
    good = WeightGenerator.from_pretrained(folder).generate(WORDS)
    digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for damaged in [*flipped(data, 12, seed=1), *cut_off(data, 3)]:
            path.write_bytes(damaged)
            assert outcome(lambda: read_generator_files(folder, digest=digest)) in (
                InvalidGenerator,
                ChecksumMismatch,
            )
        path.write_bytes(data)
    assert np.array_equal(WeightGenerator.from_pretrained(folder).generate(WORDS), good)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "text/tokenizer.json", "text/vectors.safetensors"]
)
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InvalidGenerator, match=name.rpartition("/")[2]) as caught:
        WeightGenerator.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_swapped_weights_are_noticed(folder, tmp_path):
    make_generator(kind="unet").save_pretrained(tmp_path / "other")
    (folder / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ChecksumMismatch, match=r"model.safetensors': expected sha256"):
        WeightGenerator.from_pretrained(folder)


def reseal(folder, *, tensors=None, **changes):
    """Change weights or config the way a careful vandal would: all digests right."""
    config = json.loads((folder / "config.json").read_bytes())
    if tensors is not None:
        path = folder / "model.safetensors"
        metadata, state = decode_tensors(path.read_bytes())
        path.write_bytes(encode_tensors(tensors(state), metadata))
        config["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    config |= changes
    (folder / "config.json").write_bytes(json.dumps(config).encode())


def with_nan(state):
    state["denoiser.norm.weight"][3] = np.nan
    return state


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (with_nan, r"tensor 'denoiser.norm.weight': 1 of 48 values are NaN"),
        (
            lambda state: state | {"extra": np.zeros(2, np.float32)},
            "tensor 'extra': a joint denoiser has no such",
        ),
        (lambda state: {k: v for k, v in state.items() if k != "mean"}, "tensor 'mean': expected shape"),
        (lambda state: state | {"mean": state["mean"][:1]}, "tensor 'mean': expected float32"),
        (lambda state: state | {"scale": -state["scale"]}, "'scale': expected values above zero"),
        (lambda state: state | {"mean": state["mean"].astype(np.float16)}, "found float16"),
    ],
)
def test_wrong_tensors_are_named(folder, tensors, said):
    reseal(folder, tensors=tensors)
    with pytest.raises(InvalidGenerator, match=said):
        WeightGenerator.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 3}, "format version 3, this initzoo reads 2"),
        ({"kind": "other"}, "denoiser 'other', known are joint, unet"),
        ({"shape": {"width": 48}}, "missing required field `n_blocks`"),
        ({"layout": {"block_size": 16, "tensors": []}}, "the sizes of the denoiser are invalid"),
        ({"weights_sha256": None}, "lacks weights_sha256"),
        ({"kind": ["joint"]}, r"Expected `str`, got `array` - at `\$.kind`"),
        ({"base_sha256": 7}, r"at `\$.base_sha256`"),
        ({"licence": 5}, r"at `\$.licence`"),
        ({"is_regressor": "no"}, r"Expected `bool`, got `str` - at `\$.is_regressor`"),
        ({"n_train_concepts": True}, r"at `\$.n_train_concepts`"),
        ({"text": {"encoder": 1}}, r"at `\$.text"),
        ({"training": [1]}, r"at `\$.training`"),
    ],
)
def test_wrong_configs_are_explained(folder, changes, said):
    reseal(folder, **changes)
    with pytest.raises(InvalidGenerator, match=said):
        WeightGenerator.from_pretrained(folder)


def test_other_word_vectors_are_noticed(folder):
    other = TokenVectors.tiny(["navy"], n_values=4)
    for name, data in other.to_files().items():
        (folder / "text" / name).write_bytes(data)
    reseal(folder, text_sha256=other.digest)
    with pytest.raises(InvalidGenerator, match="have 4 values a token, the denoiser expects 8"):
        WeightGenerator.from_pretrained(folder)
    assert issubclass(InvalidGenerator, InitzooError)


def with_learned_words():
    """A generator in which `navy` and `gold`, tokens 1 and 3, have learned vectors of their own."""
    plain = make_generator().config
    shape = replace(plain.shape, n_learned=2)
    learned = make_generator(shape=shape, learned_tokens=(1, 3))
    denoiser = build_denoiser("joint", shape, seed=0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return WeightGenerator(
        learned.config, denoiser, learned.text, mean=learned.mean, scale=learned.scale
    ), denoiser


def test_learned_words_are_kept_and_belong_to_their_token(tmp_path):
    generator, denoiser = with_learned_words()
    generator.save_pretrained(tmp_path / "generator")
    again = WeightGenerator.from_pretrained(tmp_path / "generator")
    assert again.config.learned_tokens == (1, 3)
    before = {words: again.generate(words) for words in ("navy", "gold", "sketch")}
    assert all(np.array_equal(generator.generate(words), blocks) for words, blocks in before.items())
    with torch.no_grad():
        denoiser.words.learned[1] += 1  # the second row: "gold"
    changed = WeightGenerator(
        generator.config, denoiser, generator.text, mean=generator.mean, scale=generator.scale
    )
    assert np.array_equal(changed.generate("navy"), before["navy"])
    assert np.array_equal(changed.generate("sketch"), before["sketch"])
    assert not np.array_equal(changed.generate("gold"), before["gold"])


@pytest.mark.parametrize("tokens", [[1], [1, 1], [1, -3], [1, "3"]])
def test_learned_words_that_are_not_the_denoisers_are_refused(tmp_path, tokens):
    generator, _ = with_learned_words()
    values = to_plain(generator.config) | {"learned_tokens": tokens}
    with pytest.raises(DamagedFile, match=r"learned.tokens"):
        read_settings(values, GeneratorConfig)
