"""The index: checkpoints found by words, and rows that can be trusted."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zoo_fixtures import cut_off, flipped, kept_zoo, outcome

from initzoo.errors import InvalidZoo, OutputError
from initzoo.files.digests import BLANK_SEAL, seal
from initzoo.zoo.index import Index, IndexRow, write_index

__all__ = ["kept_zoo"]

ROW = IndexRow(
    concept_id="warm",
    prompts=("warm", "make it warmer"),
    test_prompts=("cosy colours",),
    family="colour",
    split="train",
    novelty="",
    teacher="[]",
    recipe="tiny",
    layout_id="0" * 16,
    base_sha256="a" * 64,
    shard="blocks/blocks-00000.safetensors",
    byte_start=100,
    byte_end=132,
    sha256="b" * 64,
    n_blocks=2,
    block_size=8,
    dtype="F16",
    psnr=27.53,
    ssim=0.91,
    psnr_untouched=None,
    ssim_untouched=None,
    psnr_mean=14.9,
    ssim_mean=0.5,
    licence="CC0-1.0",
    source="a filter",
)


@pytest.fixture(scope="module")
def index(kept_zoo: Path) -> Index:
    return Index.open(kept_zoo / "dataset" / "index.parquet")


def write_table(path: Path, table: pa.Table, version: str | None = "1") -> None:
    """Write a sealed index as someone else might, with any columns."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        notes = {"initzoo_seal": BLANK_SEAL} | ({"initzoo_format_version": version} if version else {})
        writer.add_key_value_metadata(notes)
    path.write_bytes(seal(sink.getvalue()))


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    """A sound table of two rows, to be made unsound."""
    write_index(tmp_path / "sound.parquet", [ROW, replace(ROW, concept_id="cool", prompts=("cool",))])
    return pq.read_table(tmp_path / "sound.parquet")


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [replace(ROW, concept_id="cool", test_prompts=()), ROW]
    write_index(tmp_path / "index.parquet", reversed(rows))
    assert Index.open(tmp_path / "index.parquet").rows() == rows


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, concept_id="cool")]
    write_index(tmp_path / "a.parquet", rows)
    write_index(tmp_path / "b.parquet", reversed(rows))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_any_parquet_reader_reads_the_columns(kept_zoo: Path) -> None:
    path = kept_zoo / "dataset" / "index.parquet"
    table = pq.read_table(path)
    assert table.column_names == list(IndexRow.__dataclass_fields__)
    assert table.column("concept_id").to_pylist() == sorted(table.column("concept_id").to_pylist())
    assert pq.read_metadata(path).metadata[b"initzoo_format_version"] == b"1"


def test_an_empty_index_can_be_read(tmp_path: Path) -> None:
    write_index(tmp_path / "index.parquet", [])
    index = Index.open(tmp_path / "index.parquet")
    assert (len(index), index.rows(), index.find("warm"), index.nearest("warm")) == (0, [], None, [])


@pytest.mark.parametrize(
    ("words", "concept_id"),
    [
        ("pencil-sketch", "pencil-sketch"),
        ("PENCIL   SKETCH", "pencil-sketch"),
        ("pencil_sketch!", "pencil-sketch"),
        ("Make it look like a pencil drawing.", "pencil-sketch"),
        ("drawn in graphite", "pencil-sketch"),
        ("duotone navy to gold", "navy-to-gold"),
        ("gold to navy", "gold-to-navy"),
        ("paint it in water colours", "watercolour"),
    ],
)
def test_find_takes_an_id_or_any_wording(index: Index, words: str, concept_id: str) -> None:
    row = index.find(words)
    assert row is not None
    assert row.concept_id == concept_id


@pytest.mark.parametrize(
    "words", ["", " ", "--", "sketch", "pencilsketch", "pencil sketch pencil", "\0", "🎨"]
)
def test_find_takes_nothing_else(index: Index, words: str) -> None:
    assert index.find(words) is None


def test_an_id_goes_before_another_concepts_wording(tmp_path: Path) -> None:
    rows = [replace(ROW, concept_id="a", prompts=("b",)), replace(ROW, concept_id="b", prompts=("c",))]
    write_index(tmp_path / "index.parquet", rows)
    found = Index.open(tmp_path / "index.parquet").find("B")
    assert found is not None
    assert found.concept_id == "b"


def test_row_and_rows_choose_by_id_split_and_family(index: Index) -> None:
    assert index.row("night").family == "light"
    assert [row.concept_id for row in index.rows(split="heldout-new")] == ["remove-haze"]
    assert [row.concept_id for row in index.rows(split="train", family="colour")] == [
        "gold-to-navy",
        "navy-to-gold",
    ]
    assert [row.concept_id for row in index.rows()] == index.ids
    with pytest.raises(KeyError, match="nothing"):
        index.row("nothing")


@pytest.mark.parametrize(
    ("words", "concept_id"),
    [
        ("pencl skech", "pencil-sketch"),
        ("watercolor", "watercolour"),
        ("a drawing by pencil", "pencil-sketch"),
        ("dehaze, please remove the haze", "remove-haze"),
        ("nights", "night"),
        ("drawn graphite", "pencil-sketch"),
    ],
)
def test_the_nearest_concept_survives_misspelling_and_order(
    index: Index, words: str, concept_id: str
) -> None:
    nearest = index.nearest(words)
    assert nearest[0].concept_id == concept_id
    assert len(nearest) == 3
    assert nearest == sorted(nearest, key=lambda match: -match.similarity)


def test_nearest_gives_the_prompt_that_is_near_and_how_near(index: Index) -> None:
    first, second, _ = index.nearest("duotone, gold to navy")
    assert (first.concept_id, first.prompt, first.similarity) == (
        "gold-to-navy",
        "duotone, gold to navy",
        1.0,
    )
    assert second.concept_id == "navy-to-gold"
    assert 0.5 < second.similarity < 1


def test_nearest_takes_any_text(index: Index) -> None:
    assert index.nearest("") == []
    assert len(index.nearest("x" * 100_000)) == 3
    assert len(index.nearest("🎨 \udcff")) in (0, 3)


def test_search_leaves_out_what_is_not_like_the_words(index: Index) -> None:
    assert [match.concept_id for match in index.search("sketch")] == ["pencil-sketch"]
    assert {match.concept_id for match in index.search("navy")} == {"gold-to-navy", "navy-to-gold"}
    assert len(index.search("navy", n=1)) == 1
    assert index.search("zzz qqq") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"concept_id": "../x"}, "concept_id has the invalid value '../x'"),
        ({"prompts": ()}, "prompts has the invalid value"),
        ({"prompts": ("",)}, "prompts has the invalid value"),
        ({"split": "test"}, "split has the invalid value 'test'"),
        ({"layout_id": "x"}, "layout_id has the invalid value 'x'"),
        ({"base_sha256": "A" * 64}, "base_sha256 has the invalid value"),
        ({"sha256": ""}, "sha256 has the invalid value ''"),
        ({"dtype": "F32"}, "dtype has the invalid value 'F32'"),
        ({"n_blocks": 0}, "n_blocks has the invalid value '0'"),
        ({"block_size": -8}, "block_size has the invalid value '-8'"),
        ({"byte_start": -32, "byte_end": 0}, "bytes -32 to 0 do not hold 32 bytes"),
        ({"byte_end": 131}, "bytes 100 to 131 do not hold 32 bytes"),
        ({"psnr": float("nan")}, "psnr is nan"),
        ({"ssim_mean": float("inf")}, "ssim_mean is inf"),
        *(
            ({"shard": shard}, "shard has the invalid value")
            for shard in (
                "/etc/passwd.safetensors",
                "../x.safetensors",
                "blocks/../../x.safetensors",
                "blocks/./x.safetensors",
                "blocks//x.safetensors",
                "blocks\\x.safetensors",
                "~/x.safetensors",
                "C:/x.safetensors",
                "blocks/x.safetensors\n",
                "blocks/x.bin",
                ".safetensors",
                "",
            )
        ),
    ],
)
def test_unsound_rows_are_neither_written_nor_read(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    bad = replace(ROW, **change)
    with pytest.raises(ValueError, match=words):
        write_index(tmp_path / "index.parquet", [bad])
    assert list(tmp_path.iterdir()) == []
    write_index(tmp_path / "sound.parquet", [ROW])
    table = pq.read_table(tmp_path / "sound.parquet")
    for name, value in change.items():
        column = pa.array([value], type=table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    write_table(tmp_path / "index.parquet", table)
    with pytest.raises(
        InvalidZoo, match=r"index '.*index.parquet'.*(invalid value|bytes|is nan|is inf|not a concept id)"
    ):
        Index.open(tmp_path / "index.parquet").rows()


def test_two_rows_of_one_concept_are_refused(tmp_path: Path, table: pa.Table) -> None:
    with pytest.raises(ValueError, match="two rows have the concept id 'warm'"):
        write_index(tmp_path / "index.parquet", [ROW, ROW])
    write_table(tmp_path / "index.parquet", pa.concat_tables([table, table]))
    with pytest.raises(InvalidZoo, match="has two rows for concept 'cool'"):
        Index.open(tmp_path / "index.parquet")


def with_nulls(table: pa.Table, name: str) -> pa.Table:
    field = table.schema.field(name)
    place = table.schema.get_field_index(name)
    return table.set_column(place, field, pa.nulls(len(table), field.type))


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        (lambda table: table.drop_columns(["sha256"]), "1", "lacks the column 'sha256'"),
        (
            lambda table: table,
            "2",
            "has format version '2', this initzoo reads '1'; upgrade: pip install -U initzoo",
        ),
        (lambda table: table, None, "has no format version, expected '1'"),
        (
            lambda table: table.set_column(11, "byte_start", table.column("byte_start").cast(pa.string())),
            "1",
            "column 'byte_start': expected int64, found string",
        ),
        (
            lambda table: table.set_column(1, "prompts", table.column("concept_id")),
            "1",
            "column 'prompts': expected list<string>, found string",
        ),
        (lambda table: with_nulls(table, "licence"), "1", "column 'licence': has a row without a value"),
        (lambda table: with_nulls(table, "prompts"), "1", "column 'prompts': has a row without a value"),
        (
            lambda table: table.set_column(
                1, table.schema.field("prompts"), pa.array([[None], [None]], type=pa.list_(pa.string()))
            ),
            "1",
            "column 'prompts': has an empty prompt",
        ),
    ],
)
def test_an_odd_table_is_refused(
    tmp_path: Path, table: pa.Table, change: Callable[[pa.Table], pa.Table], version: str | None, words: str
) -> None:
    write_table(tmp_path / "index.parquet", change(table), version)
    with pytest.raises(InvalidZoo, match=words):
        Index.open(tmp_path / "index.parquet").rows()


def test_more_columns_than_known_are_no_harm(tmp_path: Path, table: pa.Table) -> None:
    write_table(tmp_path / "index.parquet", table.append_column("extra", pa.array([1, 2])))
    assert len(Index.open(tmp_path / "index.parquet").rows()) == 2


def test_a_sealed_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").write_bytes(seal(b"PAR1" + BLANK_SEAL.encode() + b"PAR1"))
    with pytest.raises(InvalidZoo, match="is not a parquet table"):
        Index.open(tmp_path / "index.parquet")


def test_an_index_of_another_program_is_refused(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table.replace_schema_metadata(), tmp_path / "index.parquet")
    with pytest.raises(InvalidZoo, match="has no seal of initzoo"):
        Index.open(tmp_path / "index.parquet")


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidZoo, match=r"index '.*none.parquet': cannot be read \(No such file or directory\)"
    ):
        Index.open(tmp_path / "none.parquet")


def test_a_damaged_index_is_never_parsed(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, [ROW])
    whole = path.read_bytes()
    for damaged in [*flipped(whole, 200, seed=2), *cut_off(whole, 60), whole + b"\0"]:
        path.write_bytes(damaged)
        assert outcome(lambda: Index.open(path)) is InvalidZoo


def test_damage_under_a_new_seal_is_still_one_line_of_error(tmp_path: Path) -> None:
    """Whoever means harm can seal again: then values may differ, but nothing else may happen."""
    path = tmp_path / "index.parquet"
    write_index(path, [ROW, replace(ROW, concept_id="cool")])
    blank = re.sub(rb"(?<=initzoo-seal-sha256:)[0-9a-f]{64}", b"0" * 64, path.read_bytes())
    for damaged in flipped(blank, 150, seed=6):
        if damaged.count(BLANK_SEAL.encode()) == 1:
            path.write_bytes(seal(damaged))
            found = outcome(lambda: Index.open(path).rows())
            assert isinstance(found, list) or found is InvalidZoo


def test_write_index_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").write_bytes(b"mine")
    with pytest.raises(OutputError):
        write_index(tmp_path / "index.parquet", [ROW])
    assert (tmp_path / "index.parquet").read_bytes() == b"mine"
