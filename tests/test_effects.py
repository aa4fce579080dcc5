"""What checkpoints do to photos: described, stored, and found by example pairs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from zoo_fixtures import generating_zoo, kept_generating_zoo, kept_zoo, tiny_zoo

from initzoo.cli.main import main
from initzoo.errors import InvalidZoo
from initzoo.files import DamagedFile
from initzoo.generator import Request, pairs_to_train
from initzoo.pairs import EFFECT_WEIGHTS, Pair, effect_of, load_photos, parse_teacher, prepare_examples
from initzoo.zoo import Effects, TaughtZoo, Zoo, find_candidates

__all__ = ["generating_zoo", "kept_generating_zoo", "kept_zoo", "tiny_zoo"]


@pytest.fixture(scope="module")
def starter() -> Zoo:
    return Zoo.from_pretrained("starter")


@pytest.fixture
def zoo_folder(kept_generating_zoo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_generating_zoo, tmp_path / "zoo"))


def pairs_of(zoo: Zoo, concept_id: str, n_pairs: int = 6) -> tuple[Pair, ...]:
    """Pairs of a look on photos that no checkpoint was trained on."""
    photos = [photo.pixels for photo in load_photos(split="score")][:n_pairs]
    given, wanted = parse_teacher(zoo.index.row(concept_id).teacher).edit(photos, range(len(photos)))
    return tuple(Pair(str(n), *images) for n, images in enumerate(zip(given, wanted, strict=True)))


@pytest.mark.parametrize(
    "concept_id",
    [
        "pencil-sketch",
        "negative",
        "sepia",
        "fog",
        "blueprint",
        "comic--muted",
        "duotone-purple-peach",
        "dehaze",
    ],
)
def test_pairs_find_the_checkpoint_that_does_what_they_show(starter: Zoo, concept_id: str) -> None:
    assert starter.effects is not None
    pairs = [(pair.given, pair.wanted) for pair in pairs_of(starter, concept_id)]
    assert concept_id in starter.effects.order(effect_of(pairs))[:4]


def test_a_fit_without_words_begins_with_the_look_that_the_zoo_has(starter: Zoo) -> None:
    pairs = pairs_of(starter, "negative")
    fitting = starter.pull(Request("", pairs)).metadata.fitting
    assert fitting is not None
    assert "negative" in fitting.start or "mix" in fitting.start
    assert fitting.loss_after < 1e-4  # 40 dB


def test_words_that_do_not_fit_the_pairs_are_told_and_do_no_harm(starter: Zoo) -> None:
    pairs = pairs_of(starter, "negative")
    fittings = [
        starter.pull(Request(words, pairs), warn=False).metadata.fitting
        for words in ("pencil sketch", "negative")
    ]
    assert [any("the words do not fit them" in note for note in one.notes) for one in fittings] == [
        True,
        False,
    ]
    assert all(one.loss_after < 1e-4 for one in fittings)


def test_candidates_are_of_the_split_that_is_wanted(starter: Zoo) -> None:
    request = Request("", prepare_examples(pairs_of(starter, "sepia")))
    taught = TaughtZoo(starter)
    named = [
        [one.name.removeprefix("checkpoint ") for one in find_candidates(*asked) if one.name[0] == "c"]
        for asked in ((starter, request), (taught, request))
    ]
    assert all("sepia" in names for names in named)
    assert len(named[0]) == len(named[1]) == 8
    assert {starter.index.row(name).split for name in named[1]} == {"train"}
    alone = [one.name for one in find_candidates(starter, request, split="heldout-new") if one.name[0] == "c"]
    assert alone
    assert {starter.index.row(name.removeprefix("checkpoint ")).split for name in alone} == {"heldout-new"}


def test_pairs_that_are_held_back_find_nothing(starter: Zoo) -> None:
    pairs = prepare_examples(pairs_of(starter, "sepia"))
    train = {pair.name for pair in pairs_to_train(pairs)}
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    spoilt = tuple(pair if pair.name in train else Pair(pair.name, photo, 255 - photo) for pair in pairs)
    assert 0 < len(train) < len(pairs)
    names = [[one.name for one in find_candidates(starter, Request("", some))] for some in (pairs, spoilt)]
    assert names[0] == names[1]


def test_an_edit_is_described_alike_by_other_photos() -> None:
    photos = [photo.pixels for photo in load_photos(split="score")]
    edits = {
        "inverted": lambda photo: 255 - photo,
        "dark": lambda photo: np.uint8(photo * 0.4),
        "grey": lambda photo: photo.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8),
        "rolled": lambda photo: photo[..., [1, 2, 0]],
    }
    halves = [
        {name: effect_of([(photo, edit(photo)) for photo in some]) for name, edit in edits.items()}
        for some in (photos[:2], photos[2:4])
    ]
    for name, effect in halves[0].items():
        distances = {other: np.abs(effect - halves[1][other]) @ EFFECT_WEIGHTS for other in edits}
        assert min(distances, key=distances.__getitem__) == name


@pytest.mark.parametrize("shape", [(32, 32), (32, 500), (33, 47), (2000, 40)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_any_size_and_flat_images_have_an_effect(shape: tuple[int, int], value: int) -> None:
    flat = np.full((*shape, 3), value, np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    for pair in ((flat, flat), (flat, noise), (noise, flat)):
        effect = effect_of([pair])
        assert effect.shape == EFFECT_WEIGHTS.shape
        assert np.isfinite(effect).all()


def test_effects_come_back_from_a_file() -> None:
    drawn = np.random.default_rng(0).normal(size=(5, len(EFFECT_WEIGHTS))).astype(np.float32)
    effects = Effects.of(list("abcde"), drawn)
    again = Effects.from_bytes(effects.to_bytes(), list("abcde"))
    assert again.to_bytes() == effects.to_bytes()
    assert [again.order(one)[0] for one in drawn] == list("abcde")
    with pytest.raises(DamagedFile, match="is of other checkpoints"):
        Effects.from_bytes(effects.to_bytes(), list("abcdf"))
    with pytest.raises(DamagedFile, match="other names, shapes or types"):
        Effects.from_bytes(effects.to_bytes(), list("abcd"))
    with pytest.raises(DamagedFile):
        Effects.from_bytes(effects.to_bytes()[:-1], list("abcde"))


def test_the_command_writes_them_into_a_zoo(zoo_folder: Path) -> None:
    assert Zoo.from_pretrained(str(zoo_folder)).effects is None
    done = CliRunner().invoke(main, ["effects", "--zoo", str(zoo_folder), "--workers", "1", "--json"])
    assert done.exit_code == 0, done.output
    zoo = Zoo.from_pretrained(str(zoo_folder))
    result = json.loads(done.stdout)
    assert result["checkpoints"] == len(zoo.index)
    assert result["bytes"] == Path(result["path"]).stat().st_size
    assert zoo.effects is not None
    assert list(zoo.effects.ids) == zoo.index.ids
    assert CliRunner().invoke(main, ["verify", str(zoo_folder)]).exit_code == 0
    before = Path(result["path"]).read_bytes()
    assert CliRunner().invoke(main, ["effects", "--zoo", str(zoo_folder), "--workers", "1"]).exit_code == 0
    assert Path(result["path"]).read_bytes() == before


def test_damaged_effects_are_told_in_a_line(zoo_folder: Path) -> None:
    assert CliRunner().invoke(main, ["effects", "--zoo", str(zoo_folder), "--workers", "1"]).exit_code == 0
    (path,) = zoo_folder.glob("model/base/*/effects.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidZoo, match="make it again: initzoo effects"):
        _ = Zoo.from_pretrained(str(zoo_folder)).effects
