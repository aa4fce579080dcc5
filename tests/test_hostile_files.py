"""Files that attack their readers: each ends as one line, at once, and takes next to no memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_running import run
from zoo_fixtures import GENERATOR_WORDS, generating_zoo, kept_generating_zoo, kept_zoo, make_zoo, tiny_zoo

from initzoo.demo.evidence import bench_html, evidence_html
from initzoo.errors import (
    InitzooError,
    InvalidConcepts,
    InvalidGenerator,
    InvalidImage,
    InvalidZoo,
    printable,
)
from initzoo.files.images import read_image
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs import catalog_folder, load_concepts, load_photos
from initzoo.zoo.cards import dataset_card, model_card
from initzoo.zoo.index import Index
from initzoo.zoo.index import files as index_files
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["generating_zoo", "kept_generating_zoo", "kept_zoo", "tiny_zoo"]

HOSTILE = Path(__file__).parent / "hostile"
MAX_SECONDS, MAX_BYTES, MAX_LETTERS = 5.0, 300 * 2**20, 300
EVIL = (
    "\x1b]0;owned\x07\u202etxt\r\nError: all is well\u2028<img src=x onerror=alert(1)> "
    "[a](http://evil.example) |`"
)


@contextmanager
def within_caps(n_letters_of_path: int = 0) -> Iterator[None]:
    """Expect an `InitzooError` of one line, within the limits of time and memory."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InitzooError) as caught:
        yield
    text = str(caught.value)
    assert printable(text) == text, "an error is one line"
    assert len(text) - n_letters_of_path <= MAX_LETTERS, text
    assert time.process_time() - began < MAX_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_BYTES


def refused_everywhere(zoo: Path, pull: Callable[[], object]) -> None:
    """A pull refuses the zoo, and so does `verify`."""
    with within_caps(len(str(zoo)) + 40):
        pull()
    with suppress(InitzooError):
        assert Zoo.from_pretrained(zoo).verify().problems


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("abort", "another type than its schema"),
        ("empty", "60000001 values"),
        ("letters", "150000019 bytes"),
        ("teacher", "20000 rows in 50577 bytes"),
        ("column-twice", "the column 'licence' twice"),
    ],
)
def test_an_index_that_is_a_bomb_is_refused_before_it_is_decoded(
    tiny_zoo: Path, name: str, problem: str
) -> None:
    (tiny_zoo / "dataset" / "index.parquet").write_bytes((HOSTILE / f"{name}.parquet").read_bytes())
    refresh_manifest(tiny_zoo)
    with pytest.raises(InvalidZoo, match=problem):
        Index.open(tiny_zoo / "dataset" / "index.parquet").rows()
    refused_everywhere(tiny_zoo, lambda: Zoo.from_pretrained(tiny_zoo).pull("night"))


@pytest.mark.parametrize("command", [("search", "fog"), ("show", "fog"), ("pull", "fog", "--dry-run")])
def test_no_command_dies_of_an_index_that_arrow_aborts_on(tiny_zoo: Path, command: tuple[str, ...]) -> None:
    (tiny_zoo / "dataset" / "index.parquet").write_bytes((HOSTILE / "abort.parquet").read_bytes())
    result = run(*command, "--zoo", str(tiny_zoo))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


def test_long_texts_in_a_dictionary_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_files, "_max_text_bytes", lambda n_bytes: 10**9)
    long = "a" * 90_000

    def change(rows: list[Any]) -> list[Any]:
        return [
            replace(rows[0], concept_id=f"c{number:06}", teacher=long, sha256=os.urandom(32).hex())
            for number in range(2000)
        ]

    zoo = make_zoo(tmp_path / "zoo", change=change)
    with pytest.raises(InvalidZoo, match="has texts of 180000000 bytes in a row group"):
        Index.open(zoo / "dataset" / "index.parquet").row("c000001")


def change_json(path: Path, **changes: Any) -> None:
    """Change a JSON file as an attacker would, who puts the digests right again."""
    values = json.loads(path.read_bytes())
    for name, value in changes.items():
        place = values
        *parts, last = name.split("__")
        for part in parts:
            place = place[part]
        place[last] = value
    path.write_text(json.dumps(values))


DEEP: Any = []
for _ in range(900):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "changes",
    [
        {"made_with": {"max_gradient": float("nan")}},
        {"made_with": {"learning_rate": DEEP}},
        {"made_with": {"rate": float("inf")}},
        {"ranks": [1, 2]},
        {"ranks": {"detail": 2**70}},
        {"weights": [["a", [2**80]]]},
        {"layout__block_size": 2**40},
        {"layout__block_size": 1.5},
        {"network": {"kind": "starter", "sizes": {"n_detail": 1e400}}},
        {"base_sha256": None},
        {"licence": ["MIT"]},
        {"recipe": "x" * 100_000},
        {"format_version": 10**400},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_base_with_hostile_values_is_refused_by_pull_and_verify(
    tiny_zoo: Path, changes: dict[str, Any]
) -> None:
    change_json(tiny_zoo / "model" / "base" / "tiny" / "config.json", **changes)
    refresh_manifest(tiny_zoo)
    refused_everywhere(tiny_zoo, lambda: Zoo.from_pretrained(tiny_zoo).pull("night"))


@pytest.mark.parametrize("number", [b"9" * 5000, b"1e999", b"-1e999", b"1" * 400 + b".5"])
def test_numbers_without_end_are_refused(tiny_zoo: Path, number: bytes) -> None:
    path = tiny_zoo / "model" / "base" / "tiny" / "config.json"
    path.write_bytes(path.read_bytes().replace(b'"block_size": 16', b'"block_size": ' + number))
    refresh_manifest(tiny_zoo)
    refused_everywhere(tiny_zoo, lambda: Zoo.from_pretrained(tiny_zoo).pull("night"))


@pytest.mark.parametrize(
    "changes",
    [
        {"taught_shares": [0.1]},
        {"taught_shares": "many"},
        {"least": 1e308 * 10},
        {"least": "1e400"},
        {"n_values": 3},
        {"n_values": -1},
        {"n_values": 2**70},
        {"taught_tokens": [0, 2**70]},
        {"taught_tokens": [0, 10**6]},
        {"taught_tokens": {}},
        {"taught_wordings": "!"},
        {"ranges__lows": [90.0, 90.0, 90.0], "ranges__highs": [1.0, 1.0, 1.0]},
        {"ranges__distances": [1.0, 0.5, 0.0]},
        {"ranges__far_from": "far"},
        {"ranges__n_tested": -1},
        {"ranges": []},
        {"text_sha256": 5},
    ],
    ids=lambda changes: "-".join(changes) if isinstance(changes, dict) else str(changes),
)
def test_a_calibration_with_hostile_values_is_refused_by_pull_and_verify(
    generating_zoo: Path, changes: dict[str, Any]
) -> None:
    change_json(generating_zoo / "model" / "weight_generator" / "tiny" / "calibration.json", **changes)
    refresh_manifest(generating_zoo)
    refused_everywhere(generating_zoo, lambda: Zoo.from_pretrained(generating_zoo).pull("faded teal at dusk"))


def tokenizer(**changes: Any) -> bytes:
    values = json.loads(TokenVectors.tiny(GENERATOR_WORDS, n_values=8).tokenizer_json)
    return json.dumps(values | changes).encode()


REPLACING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
HOSTILE_TOKENIZERS: dict[str, bytes | Callable[[], bytes]] = {
    "doubles": tokenizer(normalizer={"type": "Sequence", "normalizers": [REPLACING] * 60}),
    "long": tokenizer(normalizer=REPLACING | {"content": "a" * 10_000}),
    "regex": tokenizer(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+"}, "behavior": "Removed", "invert": False}
    ),
    "nested": tokenizer(normalizer=DEEP),
    "unknown": tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": ""}),
    "no-model": b"{}",
    "list": b"[]",
    "ids": tokenizer(model={"type": "WordLevel", "vocab": {"a": 2**32 - 1}, "unk_token": "a"}),
    "twice": tokenizer(model={"type": "WordLevel", "vocab": {"a": 0, "b": 0}, "unk_token": "a"}),
    "unigram": tokenizer(model={"type": "Unigram", "vocab": [], "unk_id": 7, "byte_fallback": False}),
    "text": b"\xff\xfe",
}  # fmt: skip


def with_tokenizer(folder: Path, data: bytes) -> Path:
    """Token vectors with another tokenizer, as one who controls all digests would make them."""
    vectors = TokenVectors.tiny(GENERATOR_WORDS, n_values=8)
    folder.mkdir(parents=True)
    for name, content in (vectors.to_files() | {"tokenizer.json": data}).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", HOSTILE_TOKENIZERS)
def test_a_hostile_tokenizer_is_refused_before_it_runs(tmp_path: Path, name: str) -> None:
    folder = with_tokenizer(tmp_path / "text", HOSTILE_TOKENIZERS[name])  # type: ignore[arg-type]
    with within_caps(len(str(folder))):
        TokenVectors.from_folder(folder)


@pytest.mark.parametrize("name", ["growing", "padding"])
def test_tokenizers_that_hang_or_take_all_memory_are_harmless(tmp_path: Path, name: str) -> None:
    values = json.loads((HOSTILE / f"{name}.json").read_bytes())
    own = json.loads(tokenizer())
    data = json.dumps(values | {"model": own["model"], "added_tokens": own["added_tokens"]}).encode()
    folder, began = with_tokenizer(tmp_path / "text", data), time.process_time()
    if name == "padding":  # the padding is turned off
        assert len(TokenVectors.from_folder(folder).encode_as_sequence("faded teal")) == 2
    else:
        with pytest.raises(InvalidGenerator, match="parts in its normalizer|makes texts much longer"):
            TokenVectors.from_folder(folder)
    assert time.process_time() - began < MAX_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        b"[[concept]]\nid = " + b"[" * 900,
        b"a = " + b"9" * 5000,
        b"a = 2026-99-99",
        b"\xff",
        b"[[concept]]\nid = 5\nprompts = 3",
        b"[[concept]]\nid = 'a'\nteacher = [{operator = 'blur', radius = nan}]\nprompts = ['a']",
        b"colours = 5",
        b"look = 3\n",
        b"[[look]]\nid = 5\n[[composition]]\njoin = 3\ntrain = 1\nheldout = 1",
    ],
)
def test_concepts_of_hostile_toml_are_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "concepts.toml"
    path.write_bytes(text)
    with within_caps(len(str(path))):
        load_concepts(path)
    with pytest.raises(InvalidConcepts):
        load_concepts(path)
    (tmp_path / "photos.toml").write_bytes(text)
    with pytest.raises(InvalidImage, match=r"photos\.toml"):
        load_photos(tmp_path, split=None)


@pytest.mark.filterwarnings("ignore::initzoo.errors.InitzooWarning")
def test_a_strip_is_no_photo_and_a_bomb_no_image(tmp_path: Path) -> None:
    for name in ("thin.png", "wide.jpg"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes((HOSTILE / name).read_bytes())
        with within_caps(2 * len(str(folder)) + 60):
            load_photos(folder, split=None)
    with within_caps(len(str(HOSTILE))):
        read_image(HOSTILE / "full-7000.png")
    with within_caps(len(str(HOSTILE))):
        read_image(HOSTILE / "thin.png")


def test_a_tiff_with_a_rational_orientation_is_read_or_refused() -> None:
    try:
        assert read_image(HOSTILE / "tag-273-rational.tif").ndim == 3
    except InvalidImage as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "TIFF", "PNG", "JPEG"])
def test_images_of_one_colour_that_are_cut_or_huge_end_as_one_line(tmp_path: Path, kind: str) -> None:
    from io import BytesIO

    from PIL import Image, features

    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow lacks AVIF")
    buffer = BytesIO()
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    Image.new("L" if kind in ("PNG", "TIFF") else "RGB", (3000, 3000)).save(buffer, kind, **options)
    path = tmp_path / f"a.{kind.lower()}"
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
        with within_caps(len(str(path))):
            read_image(path)


def test_a_photo_whose_name_is_no_utf_8_is_used(tmp_path: Path) -> None:
    from initzoo.files.images import write_image

    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "a.png", np.zeros((300, 300, 3), np.uint8), force=False)
    os.rename(folder / "a.png", os.fsencode(folder) + b"/ph\xff.png")
    result = run("pairs", "sepia", "--photos", str(folder), "--out", str(tmp_path / "pairs"))
    assert result.exit_code in (0, 1)
    assert result.exception is None or isinstance(result.exception, SystemExit)


def evil_zoo(folder: Path) -> Path:
    """A zoo whose wordings, family, licence and source are hostile texts."""

    def change(rows: list[Any]) -> list[Any]:
        return [
            replace(row, prompts=(f"night {EVIL}", *row.prompts), family=EVIL, licence=EVIL, source=EVIL)
            for row in rows
        ]

    return make_zoo(folder, change=change)


@pytest.mark.parametrize(
    "command",
    [
        ("show", "night"),
        ("search", "night"),
        ("list",),
        ("show", "night", "--json"),
        ("pull", "night", "--dry-run"),
    ],
)
def test_texts_of_others_reach_the_terminal_without_escapes(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run(*command, "--zoo", str(evil_zoo(tmp_path / "zoo")))
    assert result.exit_code == 0, result.output
    for text in (result.stdout, result.stderr):
        assert all(printable(line) == line for line in text.split("\n"))
        assert "\nError: all is well" not in text
    assert "owned" in result.stdout or command[0] == "pull"


def test_an_error_about_hostile_names_is_one_harmless_line(tiny_zoo: Path) -> None:
    error = InvalidZoo(f"zoo '{EVIL}': damaged")
    assert printable(str(error)) == str(error)


def test_texts_of_others_are_inert_in_cards(tmp_path: Path) -> None:
    card = dataset_card(Zoo.from_pretrained(evil_zoo(tmp_path / "zoo")), repo="me/zoo")
    front, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert "license: other" in front
    assert "owned" not in front
    outside = "".join(part for number, part in enumerate(body.split("```")) if number % 2 == 0)
    prose = "\n".join(line for line in outside.splitlines() if not line.startswith("    "))
    assert "owned" in prose
    assert "<img" not in prose
    assert "](http://evil" not in prose
    assert "http://evil" not in prose
    assert "\x1b" not in card
    assert "\u202e" not in card
    for line in body.splitlines():
        assert not line.startswith("Error: all is well")


def test_every_text_of_an_evaluation_and_a_config_is_inert_in_the_card_of_a_model(tmp_path: Path) -> None:
    """Whatever text others write into a report or a config, known to the card or not."""
    left_out = shutil.ignore_patterns("photos", "more_photos", "lexicon")
    zoo = shutil.copytree(catalog_folder(), tmp_path / "zoo", ignore=left_out)
    bad = "<img src=x onerror=alert(1)> [Log in](https://evil.example/) \x1b[2J"

    def spoil(values: Any) -> Any:
        if isinstance(values, dict):
            return {name: spoil(value) for name, value in values.items()}
        if isinstance(values, list):
            return [spoil(value) for value in values]
        return f"{values} {bad}" if isinstance(values, str) and " " in values else values

    for name in ("model/evaluation.json", "model/weight_generator/starter-2/config.json"):
        values = json.loads((zoo / name).read_bytes())
        spoiled = spoil(values)
        if "machine" in values:
            spoiled["machine"]["processor"] += bad
        else:
            spoiled["text"] = {key: f"{value} {bad}" for key, value in values["text"].items()}
        (zoo / name).write_text(json.dumps(spoiled))
    card = model_card(Zoo.from_pretrained(zoo))
    assert "onerror" in card
    for text in ("<img", "](https://evil", "https://evil", "\x1b"):
        assert text not in card


def test_texts_of_others_are_inert_in_the_readme_of_an_export(tmp_path: Path) -> None:
    zoo, out = evil_zoo(tmp_path / "zoo"), tmp_path / "out"
    done = run("export", "night", "--zoo", str(zoo), "--format", "program", "-o", str(out))
    assert done.exit_code == 0, done.output
    readme = (out / "README.md").read_text()
    assert "owned" in readme
    for text in ("<img", "](http://evil", "http://evil", "\x1b"):
        assert text not in readme


def test_figures_that_are_no_numbers_do_not_reach_the_page() -> None:
    bad = "<meta http-equiv=refresh content='0;url=https://evil.example'>"
    target = {"ratio": 7.25, "interval": [bad, bad]}
    for n_concepts in (bad, 2):
        bench = {"n_concepts": n_concepts, "ratio": {"base": {"within_3db": target}}}
        assert "evil" not in bench_html(bench)
    psnr = {"mean": 14.0, "generated": bad}
    split = {"n_concepts": bad, "psnr": psnr, "psnr_interval": {"mean": [bad, bad]}}
    assert "evil" not in evidence_html({"heldout-new": split})


@pytest.mark.filterwarnings("ignore::initzoo.errors.InitzooWarning")
@pytest.mark.parametrize("kind", ["pipe", "zero"])
@pytest.mark.parametrize("has_table", [True, False])
def test_a_pipe_or_an_endless_device_is_not_read_as_a_photo(
    tmp_path: Path, kept_photo_folder: Path, kind: str, has_table: bool
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    path = folder / "a.png"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with within_caps(len(str(path))):
        read_image(path)
    if has_table:
        values = ("name", "split", "title", "author", "licence", "source")
        lines = "".join(f'{name} = "{"train" if name == "split" else "a"}"\n' for name in values)
        (folder / "photos.toml").write_text(f'[[photo]]\n{lines}file = "a.png"\n')
    with within_caps(2 * len(str(folder))):
        load_photos(folder, split=None)


def test_a_small_file_is_read_without_room_for_the_largest(tmp_path: Path) -> None:
    from initzoo.files import read_file

    path = tmp_path / "a"
    path.write_bytes(b"small")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_BYTES, before[1]))
    try:
        assert read_file(path, max_bytes=2**33) == b"small"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values | {"arrays": 5},
        lambda values: values | {"arrays": values["arrays"] | {"rows": [0, 2**60, "<u4"]}},
        lambda values: values | {"arrays": values["arrays"] | {"rows": [-9, 8, "<u4"]}},
        lambda values: values | {"arrays": values["arrays"] | {"rows": [0, 8, "O"]}},
        lambda values: {**values, "arrays": {name: values["arrays"][name] for name in ("rows", "text")}},
        lambda values: values | {"digests": "zz"},
        lambda values: values | {"version": None},
        lambda values: [],
    ],
)
def test_a_kept_lookup_with_a_hostile_trailer_is_made_again(tmp_path: Path, change: Any) -> None:
    import hashlib

    from hostile_readers import _names_of, make_lookup

    make_lookup(tmp_path)
    path = next((tmp_path / "cache").glob("*.lookup"))
    data, expected = path.read_bytes(), _names_of(tmp_path)
    length = int.from_bytes(data[-40:-32], "little")
    trailer = json.dumps(change(json.loads(data[-40 - length : -40]))).encode()
    tail = trailer + len(trailer).to_bytes(8, "little") + hashlib.sha256(trailer).digest()
    path.write_bytes(data[: -40 - length] + tail)
    assert _names_of(tmp_path) == expected
    assert path.read_bytes() == data


def test_an_adapter_from_elsewhere_that_overflows_is_refused(tmp_path: Path) -> None:
    from hostile_readers import make_incoming
    from safetensors.numpy import load_file, save_file

    from initzoo.errors import LayoutMismatch
    from initzoo.zoo.importing.sources import read_incoming

    make_incoming(tmp_path)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "lora_B" in name)
    for value in (np.nan, np.inf, 3e38):
        save_file(tensors | {name: np.full_like(tensors[name], value)}, path)
        with pytest.raises(LayoutMismatch, match="a value is NaN, infinite or too large"):
            read_incoming(tmp_path / "adapter")


def test_an_endless_word_is_shortened_in_an_error_and_a_path_is_not() -> None:
    path = "/".join(["folder"] * 40)
    error = InvalidConcepts(f"{path}: concept id '{'z' * 20_000}' must be short")
    assert str(error) == f"{path}: concept id '{'z' * 59}... must be short"
    assert str(InvalidConcepts("a" * 128)) == "a" * 128
    assert str(InvalidConcepts("no file " + chr(0) * 90)) == "no file " + "\\x00" * 15 + "..."


def test_half_a_letter_is_printed_as_an_escape() -> None:
    assert printable("a\udcffb") == "a\\udcffb"
    assert str(InvalidZoo("a\udcff")).encode()


@pytest.mark.parametrize("key", ["name", "split", "x" * 900])
def test_what_photos_toml_says_is_quoted_in_short(tmp_path: Path, key: str) -> None:
    names = ("name", "file", "split", "title", "author", "licence", "source")
    values = dict.fromkeys(names, "x") | {"split": "wrong"} | {key: "z" * 5000}
    lines = "".join(f'{name} = "{value}"\n' for name, value in values.items())
    (tmp_path / "photos.toml").write_text(f"[[photo]]\n{lines}")
    with pytest.raises(InvalidImage) as caught:
        load_photos(tmp_path, split=None)
    assert len(str(caught.value).replace(str(tmp_path), "")) <= 300


def test_an_index_whose_texts_are_far_more_than_its_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal wordings compress to nothing, and a lookup of them took gigabytes."""
    import pyarrow as pa

    schema, row = (
        index_files.arrow_schema(),
        Index.open(catalog_folder() / "dataset" / "index.parquet").rows()[0],
    )
    n_rows = 1500

    def tables() -> Iterator[Any]:
        for first in range(0, n_rows, 500):
            columns = {name: [getattr(row, name)] * 500 for name in schema.names}
            columns["concept_id"] = [f"c{number:08d}" for number in range(first, first + 500)]
            columns["prompts"] = [["word " * 199] * 12] * 500
            arrays = [pa.array(columns[field.name], field.type) for field in schema]
            yield pa.table(arrays, schema=schema)

    path = tmp_path / "index.parquet"
    with pytest.raises(ValueError, match="the texts of an index have .* give each checkpoint fewer wordings"):
        index_files.write_index_tables(path, tables(), force=True)
    assert not path.exists()
    with monkeypatch.context() as patched:
        patched.setattr(index_files, "_max_text_bytes", lambda n_bytes: 10**9)
        index_files.write_index_tables(path, tables(), force=True)
    for use in (lambda index: index.find("other words"), lambda index: index.rows()):
        with pytest.raises(InvalidZoo, match="index.* brings the texts to more than the limit of"):
            use(Index.open(path))


def test_an_index_with_too_many_wordings_a_row_is_refused_before_its_lookup_is_made(
    tmp_path: Path,
) -> None:
    import pyarrow as pa

    schema, row = (
        index_files.arrow_schema(),
        Index.open(catalog_folder() / "dataset" / "index.parquet").rows()[0],
    )
    columns = {name: [getattr(row, name)] for name in schema.names} | {"prompts": [["a"] * 1001]}
    table = pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
    index_files.write_index_tables(tmp_path / "index.parquet", [table], force=True)
    with pytest.raises(InvalidZoo, match="a row has 10[0-9][0-9] wordings, the limit is 1000"):
        Index.open(tmp_path / "index.parquet").find("a b")
