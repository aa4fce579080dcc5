"""The zoo: what is pulled is what was trained, or nothing."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from zoo_fixtures import (
    TINY_CONCEPTS,
    TINY_RECIPE,
    TinyConcept,
    cut_off,
    flipped,
    kept_zoo,
    make_zoo,
    outcome,
    random_adapter,
    random_base,
    tiny_recipe,
    tiny_zoo,
)

from initzoo.checkpoints.base import write_base
from initzoo.checkpoints.blocks import split_blocks
from initzoo.checkpoints.merge import merge_adapter
from initzoo.errors import (
    ChecksumMismatch,
    InitzooError,
    InvalidInit,
    InvalidZoo,
    LayoutMismatch,
    UnknownConcept,
    UnknownZoo,
)
from initzoo.zoo.index import Index, IndexRow, write_index
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.shards import write_shard
from initzoo.zoo.verify import verify_file
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo", "tiny_zoo"]

FILES = (
    "dataset/index.parquet",
    "dataset/blocks/blocks-00000.safetensors",
    "dataset/blocks/blocks-00001.safetensors",
    "model/base/tiny/config.json",
    "model/base/tiny/model.safetensors",
)


@pytest.fixture
def zoo(kept_zoo: Path) -> Zoo:
    return Zoo.from_pretrained(kept_zoo)


def test_pull_gives_the_base_merged_with_the_trained_adapter(zoo: Zoo) -> None:
    for place, concept in enumerate(TINY_CONCEPTS):
        init = zoo.pull(concept.prompts[-1])
        expected = merge_adapter(
            random_base(TINY_RECIPE), random_adapter(TINY_RECIPE, place), TINY_RECIPE.layout
        )
        assert init.weights.keys() == expected.keys()
        for name, tensor in expected.items():
            np.testing.assert_array_equal(init.weights[name], tensor)


def test_pull_of_the_adapter_alone_gives_what_was_trained(zoo: Zoo) -> None:
    init = zoo.pull("navy-to-gold", adapter_only=True)
    assert init.kind == "adapter"
    for name, tensor in random_adapter(TINY_RECIPE, seed=1).items():
        np.testing.assert_array_equal(init.weights[name], tensor)
    assert zoo.merge(init).to_bytes() == zoo.pull("navy-to-gold").to_bytes()


def test_an_init_says_where_it_comes_from(zoo: Zoo) -> None:
    metadata = zoo.pull("Drawn in GRAPHITE").metadata
    assert (metadata.concept, metadata.wording, metadata.origin) == (
        "pencil-sketch",
        "Drawn in GRAPHITE",
        "exact",
    )
    assert (metadata.zoo, metadata.revision) == ("kept", zoo.revision)
    assert (metadata.recipe, metadata.base_sha256) == (TINY_RECIPE, zoo.config.base_sha256)
    assert metadata.scores["psnr"] == 27.5
    assert (metadata.licence, metadata.source) == ("CC0-1.0", "made by a test")


def test_pull_unknown_concept_suggests_the_three_closest(zoo: Zoo) -> None:
    words = (
        "no concept 'pencil scetch' in zoo 'kept'; closest are 'pencil-sketch', '.*', '.*'. "
        "Search: initzoo search WORDS --zoo "
    )
    with pytest.raises(UnknownConcept, match=words):
        zoo.pull("pencil scetch")


@pytest.mark.parametrize("words", ["", " ", "\n", "x" * 100_000, "a\nb", "\udcff", "\0"])
def test_odd_words_are_an_unknown_concept_in_one_line(zoo: Zoo, words: str) -> None:
    assert outcome(lambda: zoo.pull(words)) is UnknownConcept


def test_words_that_no_file_can_hold_are_written_with_question_marks(zoo: Zoo) -> None:
    assert zoo.pull("pencil sketch \udcff").metadata.wording == "pencil sketch ?"


def test_blocks_are_those_of_the_index_order(zoo: Zoo) -> None:
    ids, blocks = zoo.all_blocks()
    assert ids == sorted(concept.id for concept in TINY_CONCEPTS)
    assert blocks.shape == (6, TINY_RECIPE.layout.n_blocks, 16)
    assert blocks.dtype == np.float32
    for concept_id, one in zip(ids, blocks, strict=True):
        np.testing.assert_array_equal(zoo.blocks(concept_id), one)
    with pytest.raises(KeyError):
        zoo.blocks("nothing")


def test_the_mean_adapter_knows_the_train_split_only(zoo: Zoo) -> None:
    adapters = [
        random_adapter(TINY_RECIPE, i) for i, concept in enumerate(TINY_CONCEPTS) if concept.split == "train"
    ]
    expected = np.mean([split_blocks(adapter, TINY_RECIPE.layout) for adapter in adapters], axis=0)
    np.testing.assert_allclose(zoo.mean_adapter_blocks(), expected, rtol=1e-6)
    ids, blocks = zoo.all_blocks(split="heldout-new")
    assert (ids, len(blocks)) == (["remove-haze"], 1)


def test_a_zoo_without_train_checkpoints_has_no_mean(tmp_path: Path) -> None:
    make_zoo(tmp_path / "zoo", concepts=[TinyConcept("night", ("night",), split="heldout-new")])
    with pytest.raises(InvalidZoo, match="has no train checkpoints"):
        Zoo.from_pretrained(tmp_path / "zoo").mean_adapter_blocks()


def test_base_recipe_and_layout_are_those_of_the_config(zoo: Zoo) -> None:
    assert (zoo.recipe, zoo.layout) == (TINY_RECIPE, TINY_RECIPE.layout)
    weights = zoo.base()
    weights.clear()  # the caller's own
    assert zoo.base().keys() == random_base(TINY_RECIPE).keys()


def test_the_revision_changes_with_the_zoo_and_not_with_its_place(tmp_path: Path, zoo: Zoo) -> None:
    again = Zoo.from_pretrained(make_zoo(tmp_path / "elsewhere"))
    other = Zoo.from_pretrained(make_zoo(tmp_path / "other", concepts=TINY_CONCEPTS[:5]))
    assert again.revision == zoo.revision != other.revision
    assert len(zoo.revision) == 40
    assert set(zoo.revision) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", ["nothing", "org/zoo/more", "", "x" * 5000, "a\nb", "\0"])
def test_an_unknown_zoo_names_what_there_is(name: str) -> None:
    assert outcome(lambda: Zoo.from_pretrained(name)) is UnknownZoo
    with pytest.raises(UnknownZoo, match=r"Name a folder that holds one, .*: --zoo starter"):
        Zoo.from_pretrained(name)


def test_zoo_keeps_working_when_opened_from_another_folder(
    tiny_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_zoo)
    assert Zoo.from_pretrained(".").name == "tiny"
    assert Zoo.from_pretrained(".").pull("night").metadata.concept == "night"


@pytest.mark.parametrize("n_flips", [12, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_never_gives_other_weights(tiny_zoo: Path, file: str, n_flips: int) -> None:
    """Any byte changed, any end missing: the very same init, or one line of error; and verify sees it."""
    path = tiny_zoo / file
    whole = path.read_bytes()
    expected = Zoo.from_pretrained(tiny_zoo).pull("pencil sketch").to_bytes()
    refused = 0
    for number, damaged in enumerate(
        [*flipped(whole, n_flips, seed=5), *cut_off(whole, n_flips // 6), whole + b"\0"]
    ):
        path.write_bytes(damaged)
        found = outcome(lambda: Zoo.from_pretrained(tiny_zoo).pull("pencil sketch").to_bytes())
        refused += found != expected
        if number % 10 == 0:
            report = Zoo.from_pretrained(tiny_zoo).verify()
            assert report.problems
            assert all("\n" not in problem for problem in report.problems)
            assert verify_file(path).problems
        assert found == expected or (isinstance(found, type) and issubclass(found, InitzooError))
    if not file.endswith("blocks-00001.safetensors"):
        assert refused > 3
    path.unlink()
    if "00001" not in file:
        assert outcome(lambda: Zoo.from_pretrained(tiny_zoo).pull("pencil sketch")) in (
            InvalidZoo,
            UnknownZoo,
        )


def test_a_changed_payload_says_what_was_expected_and_found(tiny_zoo: Path) -> None:
    row = Zoo.from_pretrained(tiny_zoo).find("night")
    path = tiny_zoo / "dataset" / row.shard
    data = bytearray(path.read_bytes())
    data[row.byte_start] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ChecksumMismatch, match=rf"concept 'night': expected sha256 {row.sha256}, found [0-9a-f]{{64}}"
    ):
        Zoo.from_pretrained(tiny_zoo).pull("night")
    assert Zoo.from_pretrained(tiny_zoo).pull("pencil sketch").metadata.concept == "pencil-sketch"


def test_a_pull_reads_the_bytes_of_its_checkpoint_and_no_others(tiny_zoo: Path) -> None:
    """Everything else of the shard may be gone: zeros before, nothing after."""
    row = Zoo.from_pretrained(tiny_zoo).find("navy-to-gold")
    path = tiny_zoo / "dataset" / row.shard
    data = path.read_bytes()
    path.write_bytes(bytes(row.byte_start) + data[row.byte_start : row.byte_end])
    assert Zoo.from_pretrained(tiny_zoo).pull("navy-to-gold").metadata.concept == "navy-to-gold"


def with_row(**changes: object) -> Callable[[list[IndexRow]], list[IndexRow]]:
    """Change the row of the first concept, as an index that lies would have it."""
    return lambda rows: [replace(rows[0], **changes), *rows[1:]]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            with_row(layout_id="0" * 16),
            LayoutMismatch,
            "'pencil-sketch', layout: the zoo's base has .*, the index says 0",
        ),
        (with_row(base_sha256="0" * 64), LayoutMismatch, "'pencil-sketch', base sha256: the zoo's base has"),
        (with_row(recipe="other"), InvalidZoo, "has no base of recipe 'other', only of tiny"),
        (with_row(shard="blocks/none.safetensors"), InvalidZoo, "none.safetensors': cannot be read"),
        (
            lambda rows: with_row(byte_start=rows[0].byte_start + 10**9, byte_end=rows[0].byte_end + 10**9)(
                rows
            ),
            InvalidZoo,
            "go past its end at .*: it is cut off",
        ),
        (
            lambda rows: with_row(byte_start=rows[1].byte_start, byte_end=rows[1].byte_end)(rows),
            ChecksumMismatch,
            "expected sha256",
        ),
        (
            lambda rows: with_row(n_blocks=1, byte_end=rows[0].byte_start + 32)(rows),
            LayoutMismatch,
            "blocks: the zoo's base has .*, the index says",
        ),
    ],
)
def test_an_index_that_lies_is_caught(
    tmp_path: Path, change: Callable[[list[IndexRow]], list[IndexRow]], error: type[InitzooError], words: str
) -> None:
    zoo = Zoo.from_pretrained(make_zoo(tmp_path / "zoo", change=change))
    with pytest.raises(error, match=words):
        zoo.pull("pencil sketch")
    assert zoo.pull("night").metadata.concept == "night"
    assert zoo.verify().problems


def test_a_row_that_names_another_checkpoint_is_seen_by_verify(tmp_path: Path) -> None:
    """The digest is right and the weights are sound, but they are another concept's."""

    def swap(rows: list[IndexRow]) -> list[IndexRow]:
        other = rows[1]
        return with_row(byte_start=other.byte_start, byte_end=other.byte_end, sha256=other.sha256)(rows)

    problems = Zoo.from_pretrained(make_zoo(tmp_path / "zoo", change=swap)).verify().problems
    assert len(problems) == 1
    assert "concept 'pencil-sketch': the index has bytes" in problems[0]


def test_nan_weights_with_a_right_digest_are_refused(tmp_path: Path) -> None:
    """Blocks that were broken before the index was written."""
    folder = make_zoo(tmp_path / "zoo", n_per_shard=1)
    row = Zoo.from_pretrained(folder).find("pencil sketch")
    path = folder / "dataset" / row.shard
    data = bytearray(path.read_bytes())
    data[row.byte_start : row.byte_start + 2] = np.array([np.nan], dtype="<f2").tobytes()
    path.write_bytes(data)
    digest = hashlib.sha256(data[row.byte_start : row.byte_end]).hexdigest()
    rows = [
        replace(r, sha256=digest) if r.concept_id == row.concept_id else r
        for r in Index.open(folder / "dataset" / "index.parquet").rows()
    ]
    write_index(folder / "dataset" / "index.parquet", rows, force=True)
    with pytest.raises(
        InvalidInit, match="concept 'pencil-sketch', block 0: found a NaN or infinite value, 1 in all"
    ):
        Zoo.from_pretrained(folder).pull("pencil sketch")
    assert "block 0: found a NaN" in Zoo.from_pretrained(folder).verify().problems[0]


def test_the_recipe_of_a_row_picks_its_base(tiny_zoo: Path) -> None:
    """A zoo may grow a second network: each checkpoint is merged into the base of its own recipe."""
    sizes = {"n_detail": 4, "n_middle": 2, "n_stages": 1, "n_upsampled": 1, "n_decoder": 3}
    second = replace(tiny_recipe(sizes, rank=1, head_rank=2, block_size=32), name="second")
    other = make_zoo(tiny_zoo.parent / "other", recipe=second, concepts=[TinyConcept("dusk", ("dusk",))])
    shutil.copytree(other / "model" / "base" / "second", tiny_zoo / "model" / "base" / "second")
    shard = "blocks/second.safetensors"
    shutil.copy(other / "dataset" / "blocks" / "blocks-00000.safetensors", tiny_zoo / "dataset" / shard)
    index = tiny_zoo / "dataset" / "index.parquet"
    rows = [*Index.open(index).rows(), replace(Zoo.from_pretrained(other).index.row("dusk"), shard=shard)]
    write_index(index, sorted(rows, key=lambda row: row.concept_id), force=True)
    refresh_manifest(tiny_zoo, recipe="tiny")
    zoo = Zoo.from_pretrained(tiny_zoo)
    assert zoo.verify().problems == ()
    assert zoo.recipes == ("tiny", "second")
    assert (zoo.recipe, zoo.pull("night").metadata.recipe) == (TINY_RECIPE, TINY_RECIPE)
    dusk = zoo.pull("dusk")
    assert dusk.metadata.recipe == second
    expected = Zoo.from_pretrained(other).pull("dusk").weights
    assert all(np.array_equal(dusk.weights[name], value) for name, value in expected.items())
    assert dusk.to_network().sizes == sizes
    assert "dusk" not in zoo.all_blocks()[0], "blocks of one layout stand together"
    assert [len(blocks) for blocks in zoo.blocks_of([zoo.find("dusk"), zoo.find("night")])] == [
        second.layout.n_blocks,
        TINY_RECIPE.layout.n_blocks,
    ]


def test_several_bases_need_a_recipe_to_be_named(tiny_zoo: Path) -> None:
    write_base(
        tiny_zoo / "model/base/second", recipe=TINY_RECIPE, weights=random_base(TINY_RECIPE), licence="MIT"
    )
    (tiny_zoo / "dataset" / "zoo.json").unlink()
    with pytest.raises(InvalidZoo, match="model/base/RECIPE/config.json, found bases second, tiny"):
        refresh_manifest(tiny_zoo)


def test_verify_counts_what_it_read(kept_zoo: Path) -> None:
    report = Zoo.from_pretrained(kept_zoo).verify()
    assert report.problems == ()
    assert (report.target, report.kind, report.n_checkpoints, report.n_files) == ("kept", "zoo", 6, 5)
    assert report.n_bytes == sum((kept_zoo / file).stat().st_size for file in FILES)


def test_verify_names_every_problem_of_a_zoo(tiny_zoo: Path) -> None:
    shard = tiny_zoo / FILES[1]
    data = bytearray(shard.read_bytes())
    for concept_id in ("pencil-sketch", "watercolour"):
        data[Zoo.from_pretrained(tiny_zoo).index.row(concept_id).byte_start] ^= 1
    shard.write_bytes(data)
    (tiny_zoo / FILES[2]).unlink()
    extra = {"stranger": split_blocks(random_adapter(TINY_RECIPE, 9), TINY_RECIPE.layout)}
    write_shard(tiny_zoo / "dataset/blocks/extra.safetensors", extra, TINY_RECIPE.layout, "tiny")
    (tiny_zoo / FILES[4]).write_bytes(b"")
    problems = Zoo.from_pretrained(tiny_zoo).verify().problems
    for words in (
        "base '.*model.safetensors': expected sha256",
        "concept 'pencil-sketch': expected sha256",
        "concept 'watercolour': expected sha256",
        "blocks-00001.safetensors': cannot be read",
        "extra.safetensors': no row of the index names it",
    ):
        with pytest.raises(AssertionError, match=words):
            raise AssertionError("\n".join(problems))
    assert len(problems) == 5


def test_verify_sees_a_checkpoint_without_a_row(tmp_path: Path) -> None:
    problems = Zoo.from_pretrained(make_zoo(tmp_path / "zoo", change=lambda rows: rows[1:])).verify().problems
    assert len(problems) == 1
    assert "the index has no row for 'pencil-sketch'" in problems[0]


@pytest.mark.parametrize(
    ("file", "kind", "n_checkpoints"),
    [(FILES[0], "index", 6), (FILES[1], "shard", 4), (FILES[3], "base", 0), (FILES[4], "base", 0)],
)
def test_verify_file_knows_what_a_file_is(kept_zoo: Path, file: str, kind: str, n_checkpoints: int) -> None:
    report = verify_file(kept_zoo / file)
    assert report.problems == ()
    assert (report.kind, report.n_checkpoints, report.n_files) == (kind, n_checkpoints, 1)


def test_a_zoo_made_from_a_name_says_how_to_open_one() -> None:
    with pytest.raises(TypeError, match=r"open a zoo with Zoo\.from_pretrained\('starter'\)"):
        Zoo("starter")  # type: ignore[arg-type]
