"""The readers of initzoo, each with sound files, with ways to attack them, and with what reading must not do.

An attack knows the format: it puts digests, seals and manifests right again after its change, as somebody
does who controls all of a zoo. Every reader has a share of plain damage too, without that.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mutations import EVIL, change_bytes, change_json, change_onnx, change_tensors, change_toml, seal_again
from zoo_fixtures import (
    GENERATOR_WORDS,
    TINY_RECIPE,
    add_generator,
    make_zoo,
    random_detail,
    random_weights,
)

from initzoo.checkpoints import Init, decode_detail
from initzoo.errors import InitzooError, InitzooWarning, InvalidWords
from initzoo.zoo import Zoo
from initzoo.zoo.manifest import refresh_manifest

__all__ = ["READERS", "Reader", "WrongResult"]

WORDS = "faded teal at dusk"
"""Words that the tiny zoo has no checkpoint for."""


class WrongResult(Exception):
    """A reader returned something else than the sound files hold, or two of its answers contradict."""


@dataclass(frozen=True)
class Reader:
    """A reader and its attacks.

    Args:
        name: what it reads.
        make: writes sound files into an empty folder.
        attack: changes them.
        read: reads the files of a folder; it raises an `InitzooError`, or returns what it has read.
    """

    name: str
    make: Callable[[Path], object]
    attack: Callable[[Path, random.Random], None]
    read: Callable[[Path], object]


def replace_by(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the content of a file."""
    path.write_bytes(change(path.read_bytes()))


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe_again(folder: Path) -> None:
    """Write the manifest of a zoo, if it still can have one."""
    with suppress(InitzooError, ValueError):
        refresh_manifest(folder)


# Zoos: what `pull` refuses, `verify` refuses too, and both end with one line.


def read_zoo(folder: Path, words: str = "night") -> object:
    """Pull, and verify; the second must not say that all is well when the first has refused the zoo."""
    try:
        zoo = Zoo.from_pretrained(folder)
        init = zoo.pull(words, warn=False)
        if not all(np.isfinite(value).all() for value in init.weights.values()):
            raise WrongResult("an init has values that are not finite")
        return init.to_bytes()
    except InitzooError as error:
        # Only words show it: some make NaN, and a tokenizer of others need not know these.
        if isinstance(error, InvalidWords) or "NaN or infinite of these words" in str(error):
            raise
        with suppress(InitzooError):
            if not Zoo.from_pretrained(folder).verify().problems:
                raise WrongResult("`verify` has no problem with what `pull` refuses") from None
        raise


def attack_index(folder: Path, rng: random.Random) -> None:
    """Change rows, columns or bytes of the index, and put its three kinds of digests right again."""
    path = folder / "dataset" / "index.parquet"
    kind = rng.randrange(10)
    if kind < 3:  # plain damage
        replace_by(path, lambda data: change_bytes(data, rng))
        if kind == 0:
            describe_again(folder)
        return
    if kind < 6:
        replace_by(path, lambda data: _change_footer_or_pages(data, rng))
    else:
        _change_rows(path, rng)
    describe_again(folder)


def _change_footer_or_pages(data: bytes, rng: random.Random) -> bytes:
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if rng.random() < 0.5:
        data = data[:4] + change_bytes(data[4:start], rng) + data[start:]
    else:
        footer = change_bytes(data[start:-8], rng)
        length = len(footer) if rng.random() < 0.9 else rng.choice((0, 1, 2**31, len(data)))
        data = data[:start] + footer + length.to_bytes(4, "little") + b"PAR1"
    return seal_index(data)


def seal_index(data: bytes) -> bytes:
    """Put the digests of the row groups, of the footer and of the whole file right again, where they are."""
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if not 0 < start < len(data):
        return data
    footer = data[start:]
    place = footer.find(b"initzoo_row_groups")
    if place >= 0:  # with one row group its digest covers all before the footer
        for first in range(place, min(place + 40, len(footer) - 64)):
            text = footer[first : first + 64]
            if all(code in b"0123456789abcdef" for code in text):
                fresh = hashlib.sha256(data[:start]).hexdigest().encode()
                footer = footer[:first] + fresh + footer[first + 64 :]
                break
    mark, seal_mark = b"initzoo-footer-sha256:", b"initzoo-seal-sha256:"
    if footer.count(mark) == 1 and footer.count(seal_mark) == 1:
        blank = footer
        for one in (mark, seal_mark):
            first = blank.index(one) + len(one)
            blank = blank[:first] + b"0" * 64 + blank[first + 64 :]
        first = blank.index(mark) + len(mark)
        footer = blank[:first] + hashlib.sha256(blank).hexdigest().encode() + blank[first + 64 :]
    return seal_again(data[:start] + footer)


def _change_rows(path: Path, rng: random.Random) -> None:
    """Write a table with hostile values, types or columns, as arrow would write it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from initzoo.zoo.index.files import write_index_tables

    table = pq.read_table(path)
    for _ in range(rng.choice((1, 1, 2, 4))):
        column = rng.randrange(table.num_columns)
        name, kind = table.column_names[column], table.schema.types[column]
        action = rng.randrange(8)
        values = table.column(column).to_pylist()
        if action < 4 and values:
            row = rng.randrange(len(values))
            values[row] = _hostile_cell(kind, rng)
        elif action == 4:
            table = table.remove_column(column)  # by place: a name may be there twice
            continue
        elif action == 5:
            table = table.append_column(rng.choice((name, "more", EVIL[:9])), table.column(column))
            continue
        elif action == 6:
            kind = rng.choice((pa.string(), pa.int8(), pa.float64(), pa.binary(), pa.list_(pa.int32())))
            values = [None] * len(values)
        else:
            order = list(range(table.num_rows))
            rng.shuffle(order)
            table = table.take(order + order[: rng.choice((0, 1, len(order)))])
            continue
        with suppress(pa.ArrowException, ValueError, OverflowError, TypeError):
            field = pa.field(name, kind)
            table = table.set_column(column, field, pa.array(values, type=kind))
    path.unlink()
    try:
        write_index_tables(path, [table], force=True)
    except Exception:  # noqa: BLE001 - what initzoo's own writer refuses, the attacker's writes
        notes = {"initzoo_format_version": "1", "initzoo_seal": "initzoo-seal-sha256:" + "0" * 64}
        notes |= {"initzoo_footer": "initzoo-footer-sha256:" + "0" * 64, "initzoo_row_groups": "0" * 64}
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(None), sink)
        with suppress(pa.ArrowException, ValueError):
            sink = io.BytesIO()
            with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
                writer.write_table(table)
                writer.add_key_value_metadata(notes)
        path.write_bytes(seal_index(sink.getvalue()))


def _hostile_cell(kind: Any, rng: random.Random) -> Any:
    texts = (
        *(
            "",
            EVIL,
            "x" * 200_000,
            "../../a.safetensors",
            "/a",
            "blocks/../../x.safetensors",
            "night",
            "0" * 64,
        ),
        *(
            "tiny",
            "blocks/blocks-00001.safetensors",
            "[]",
            "{",
            json.dumps([[[[]]]] * 9),
            "\0",
            "F16",
            "é" * 500,
        ),
        *("[" * 900, '[{"operator": 5}]', '{"name": 1, "id": 2, "n_variants": "x"}', "heldout-new", None),
    )
    text = str(kind)
    if text == "string":
        return rng.choice(texts)
    if text.startswith("list"):
        return rng.choice(
            ([], [None], ["a"] * 1001, [EVIL], ["x" * 1001], None, ["night"], [""], [" ", "\0"])
        )
    if text in ("int64", "int32"):
        return rng.choice(
            (0, -1, 1, 2**31 - 1, -(2**31), None, 16, 64, *((2**63 - 1,) if text == "int64" else ()))
        )
    return rng.choice((float("nan"), float("inf"), -1e30, 3e38, None, 0.0))


def attack_shard(folder: Path, rng: random.Random) -> None:
    """Change a shard; the digests of its rows, its seal and the manifest are right again."""
    path = folder / "dataset" / "blocks" / "blocks-00001.safetensors"
    if rng.randrange(4) == 0:
        replace_by(path, lambda data: change_bytes(data, rng))
        return
    replace_by(path, lambda data: change_tensors(data, rng))
    _point_rows_at(folder, path, rng)
    describe_again(folder)


def _point_rows_at(folder: Path, shard: Path, rng: random.Random) -> None:
    """Give the rows of a shard the digests of its new bytes, and often its new places."""
    from dataclasses import replace

    from initzoo.zoo.index import Index, write_index
    from initzoo.zoo.shards import read_shard_header

    index = folder / "dataset" / "index.parquet"
    data, rows = shard.read_bytes(), Index.open(index).rows()
    ranges: dict[str, tuple[int, int]] = {}
    with suppress(InitzooError):
        ranges = read_shard_header(shard).ranges
    name = shard.relative_to(folder / "dataset").as_posix()
    for number, row in enumerate(rows):
        if row.shard == name:
            start, end = ranges.get(row.concept_id, (row.byte_start, row.byte_end))
            if end - start != row.byte_end - row.byte_start or rng.random() < 0.1:
                start, end = row.byte_start, row.byte_end
            digest = hashlib.sha256(data[start:end]).hexdigest()
            rows[number] = replace(row, byte_start=start, byte_end=end, sha256=digest)
    with suppress(ValueError):
        write_index(index, rows, force=True)


def attack_base(folder: Path, rng: random.Random) -> None:
    """Change the config or the weights of the base; digests in config, index and manifest are right again."""
    base = folder / "model" / "base" / "tiny"
    kind = rng.randrange(8)
    if kind == 0:
        replace_by(
            base / rng.choice(("config.json", "model.safetensors")), lambda data: change_bytes(data, rng)
        )
        return
    if kind < 4:
        replace_by(base / "model.safetensors", lambda data: change_tensors(data, rng))
        digest = digest_of(base / "model.safetensors")
        old = json.loads((base / "config.json").read_bytes())["base_sha256"]
        replace_by(base / "config.json", lambda data: data.replace(old.encode(), digest.encode()))
        _change_all_rows(folder, base_sha256=digest)
    else:
        replace_by(base / "config.json", lambda data: change_json(data, rng))
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            layout = json.loads((base / "config.json").read_bytes())["layout"]
            _change_all_rows(folder, block_size=layout["block_size"])
    describe_again(folder)


def _change_all_rows(folder: Path, **changes: Any) -> None:
    from dataclasses import replace

    from initzoo.zoo.index import Index, write_index

    index = folder / "dataset" / "index.parquet"
    rows = [replace(row, **changes) for row in Index.open(index).rows()]
    with suppress(Exception):  # values that no index can have
        write_index(index, rows, force=True)


def attack_manifest(folder: Path, rng: random.Random) -> None:
    """Change `zoo.json`, which nothing else has a digest of."""
    replace_by(folder / "dataset" / "zoo.json", lambda data: change_json(data, rng))


def read_manifest(folder: Path) -> object:
    from initzoo.zoo.manifest import Manifest

    with suppress(InitzooError):
        Zoo.from_pretrained(folder).verify()
    result = read_zoo(folder)
    Manifest.from_bytes((folder / "dataset" / "zoo.json").read_bytes())
    return result


# The lookup of a large index, which lies in the user's cache: it is made anew when it is damaged.


def make_lookup(folder: Path) -> None:
    make_zoo(folder / "zoo")
    (folder / "names.json").write_text(json.dumps(_names_of(folder)))


def _names_of(folder: Path) -> list[Any]:
    from initzoo.files import DamagedFile
    from initzoo.zoo.index.files import IndexTable
    from initzoo.zoo.index.lookup import open_lookup

    table = IndexTable.open(folder / "zoo" / "dataset" / "index.parquet")
    for is_last in (False, True):  # as the index does: a damaged lookup is made again, once
        lookup = open_lookup(table, lambda: folder / "cache", again=is_last, in_memory_rows=0)
        try:
            return [
                *(lookup.rows_called(words) for words in ("night", "navy to gold", "nothing")),
                *(lookup.rows_like(words, 3) for words in ("pencil drawn", "nigth", "gold and navy", "zzz")),
                lookup.letters(),
            ]
        except DamagedFile:
            continue
    raise WrongResult("a lookup that was just made is damaged")


def read_lookup(folder: Path) -> object:
    names = _names_of(folder)
    sound = folder / "names.json"
    if sound.is_file() and names != json.loads(sound.read_bytes()):
        raise WrongResult("a damaged lookup proposes other rows")
    return names


def attack_lookup(folder: Path, rng: random.Random) -> None:
    path = next((folder / "cache").glob("*.lookup"))
    data = path.read_bytes()
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(change_bytes(data, rng))
        return
    (folder / "names.json").unlink()  # who has the digests right again may propose other rows
    length = int.from_bytes(data[-40:-32], "little")
    content, trailer = data[: -40 - length], data[-40 - length : -40]
    if kind == 1:
        content = change_bytes(content, rng)
        values = json.loads(trailer)
        pieces = [content[start : start + 2**16] for start in range(0, len(content), 2**16)]
        values["digests"] = "".join(hashlib.sha256(piece).hexdigest() for piece in pieces)
        trailer = json.dumps(values).encode()
    else:
        trailer = change_json(trailer, rng)
    path.write_bytes(
        content + trailer + len(trailer).to_bytes(8, "little") + hashlib.sha256(trailer).digest()
    )


# Inits.


def make_init(folder: Path) -> None:
    zoo = make_zoo(folder / "zoo")
    add_generator(zoo)
    Zoo.from_pretrained(zoo).pull("night").save(folder / "exact.safetensors")
    Zoo.from_pretrained(zoo).pull(WORDS, warn=False).save(folder / "generated.safetensors")
    shutil.rmtree(zoo)


def make_detail(folder: Path) -> None:
    (folder / "packed.detail").write_bytes(random_detail(TINY_RECIPE, 0))


def attack_detail(folder: Path, rng: random.Random) -> None:
    """Change bytes, or what they are unpacked to, much longer or shorter too."""
    path = folder / "packed.detail"
    data = path.read_bytes()
    start = 4 + 4 * len(TINY_RECIPE.weights)
    if rng.randrange(3) == 0:
        path.write_bytes(change_bytes(data, rng))
        return
    parts = zlib.decompressobj(-15).decompress(data[start:])
    parts = rng.choice((change_bytes(parts, rng), parts + bytes(rng.choice((1, 2, 10**7)))))
    packer = zlib.compressobj(wbits=-15)
    head = change_bytes(data[4:start], rng) if rng.randrange(2) else data[4:start]
    data = data[:4] + head + packer.compress(parts) + packer.flush()
    path.write_bytes(data + b"\0" * (len(data) % 2))


def read_detail(folder: Path) -> object:
    detail = decode_detail((folder / "packed.detail").read_bytes(), TINY_RECIPE, "x")
    for name, shape in TINY_RECIPE.weights:
        if detail[name].shape != shape or not np.isfinite(detail[name]).all():
            raise WrongResult("a detail has another shape, or values that are not finite")
    return True


def attack_init(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(("exact.safetensors", "generated.safetensors"))
    replace_by(path, lambda data: change_tensors(data, rng))


def read_inits(folder: Path) -> object:
    from initzoo.zoo.verify import verify_file

    problems: list[InitzooError] = []
    for name in ("exact.safetensors", "generated.safetensors"):
        try:
            init = Init.load(folder / name)
            if not all(np.isfinite(value).all() for value in init.weights.values()):
                raise WrongResult("an init has values that are not finite")
            again = folder / "again.safetensors"
            init.save(again, force=True)
            if Init.load(again).to_bytes() != init.to_bytes():
                raise WrongResult("an init is another after it was saved")
        except InitzooError as error:
            problems.append(error)
            if not verify_file(folder / name).problems:
                raise WrongResult("`verify` has no problem with what `load` refuses") from None
    if problems:
        raise problems[0]
    return True


# Weight generators.


def make_generating_zoo(folder: Path) -> None:
    make_zoo(folder)
    add_generator(folder)


def _change_config(folder: Path, **changes: str) -> None:
    """Change digests in the config of the weight generator, and those of the config in its calibration."""
    config, calibration = folder / "config.json", folder / "calibration.json"
    before = digest_of(config)
    values = json.loads(config.read_bytes())
    for name, value in changes.items():
        replace_by(config, lambda data, old=values[name], new=value: data.replace(old.encode(), new.encode()))
    if calibration.is_file():
        replace_by(calibration, lambda data: data.replace(before.encode(), digest_of(config).encode()))


def attack_generator(folder: Path, rng: random.Random) -> None:
    generator = folder / "model" / "weight_generator" / "tiny"
    kind = rng.randrange(10)
    if kind == 0:
        files = ("config.json", "model.safetensors", "text/tokenizer.json", "text/vectors.safetensors")
        replace_by(generator / rng.choice(files), lambda data: change_bytes(data, rng))
        return
    if kind < 4:
        replace_by(generator / "model.safetensors", lambda data: change_tensors(data, rng))
        _change_config(generator, weights_sha256=digest_of(generator / "model.safetensors"))
    elif kind < 7:
        before = digest_of(generator / "config.json")
        replace_by(generator / "config.json", lambda data: change_json(data, rng))
        fresh = digest_of(generator / "config.json").encode()
        replace_by(generator / "calibration.json", lambda data: data.replace(before.encode(), fresh))
    else:
        name = "tokenizer.json" if kind < 9 else "vectors.safetensors"
        if kind < 9:
            replace_by(generator / "text" / name, lambda data: change_json(data, rng))
        else:
            replace_by(generator / "text" / name, lambda data: change_tensors(data, rng, is_sealed=False))
        digest = hashlib.sha256()
        for one in ("tokenizer.json", "vectors.safetensors"):
            digest.update(hashlib.sha256((generator / "text" / one).read_bytes()).digest())
        old = json.loads((generator / "config.json").read_bytes())["text_sha256"].encode()
        if (generator / "calibration.json").is_file():
            fresh = digest.hexdigest().encode()
            replace_by(generator / "calibration.json", lambda data: data.replace(old, fresh))
        _change_config(generator, text_sha256=digest.hexdigest())
    describe_again(folder)


def attack_calibration(folder: Path, rng: random.Random) -> None:
    path = folder / "model" / "weight_generator" / "tiny" / "calibration.json"
    replace_by(path, lambda data: change_json(data, rng))
    if rng.randrange(6):
        describe_again(folder)


# Phrase encoders.


def make_phrase_zoo(folder: Path) -> None:
    make_generating_zoo(folder)
    write_phrase_encoder(folder / "model" / "phrase_encoder")
    refresh_manifest(folder)


def write_phrase_encoder(folder: Path) -> None:
    """A phrase encoder, whole in all but the training."""
    from initzoo.generator.phrases.encoder import Confidence, PhraseConfig, PhraseEncoder
    from initzoo.generator.phrases.shape import PhraseShape
    from initzoo.generator.tokens import TokenVectors

    tokenizer = TokenVectors.tiny(GENERATOR_WORDS, n_values=8).tokenizer_json
    n_tokens = len(json.loads(tokenizer)["model"]["vocab"])
    looks = ("pencil-sketch", "night", "watercolour")
    shape = PhraseShape(len(looks) + 1, 8, 8, 2, 16, 4, 12, 8)
    n_gathered = 8 + 8 + 8 + 4
    sizes = {
        "project": (8, 8), "queries_keys_values": (24, 8), "attended": (8, 8), "expand": (16, 8),
        "contract": (8, 16), "weigh": (1, 8), "gather": (12, n_gathered), "vector": (8, 12),
        "looks": (len(looks) + 1, 8), "counts": (4, 12),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for name, size in sizes.items():
        weights[f"{name}.weight"] = rng.normal(size=size).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(size=size[:1]).astype(np.float32)
    for name in ("norm_attention", "norm_expand"):
        weights |= {f"{name}.weight": np.ones(8, np.float32), f"{name}.bias": np.zeros(8, np.float32)}
    weights["grams.weight"] = rng.integers(-9, 9, (16, 4)).astype(np.int8)
    weights["grams.scale"] = np.ones(16, np.float32)
    config = PhraseConfig(
        looks, {}, {"teal": "#008080", "navy": "#000080"}, {"watercolour": ("night",)}, shape, Confidence(),
        "MIT", "a test",
    )  # fmt: skip
    files = {"encoder.onnx": tiny_graph(n_tokens), "tokenizer.json": tokenizer, "LICENSE": b"MIT"}
    PhraseEncoder.save(folder, config, [weights], files)


@cache
def tiny_graph(n_tokens: int) -> bytes:
    """A sentence encoder with the inputs and outputs of a real one, and eight values a token."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    arrays = {
        "table": rng.normal(size=(n_tokens, 8)), "turn": rng.normal(size=(8, 8)), "scale": np.ones(8),
        "shift": np.zeros(8),
    }  # fmt: skip
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    constants.append(numpy_helper.from_array(np.array([-1], np.int64), "last"))
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["tokens"], axis=0),
        helper.make_node("MatMul", ["tokens", "turn"], ["turned"]),
        helper.make_node("LayerNormalization", ["turned", "scale", "shift"], ["normed"], axis=-1),
        helper.make_node("Cast", ["mask"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "last"], ["wide"]),
        helper.make_node("Mul", ["normed", "wide"], ["states"]),
    ]
    sides = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, sides) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, [*sides, 8])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def attack_phrases(folder: Path, rng: random.Random) -> None:
    encoder = folder / "model" / "phrase_encoder"
    kind = rng.randrange(10)
    if kind == 0:
        files = ("config.json", "encoder.onnx", "head.safetensors", "tokenizer.json")
        replace_by(encoder / rng.choice(files), lambda data: change_bytes(data, rng))
        return
    if kind < 4:
        replace_by(encoder / "config.json", lambda data: change_json(data, rng))
    else:
        name, change = (
            ("head.safetensors", lambda data: change_tensors(data, rng, is_sealed=False))
            if kind < 6
            else ("tokenizer.json", lambda data: change_json(data, rng))
            if kind < 8
            else ("encoder.onnx", lambda data: change_onnx(data, rng))
        )
        before = digest_of(encoder / name).encode()
        replace_by(encoder / name, change)
        fresh = digest_of(encoder / name).encode()
        replace_by(encoder / "config.json", lambda data: data.replace(before, fresh))
    describe_again(folder)


def read_phrases(folder: Path) -> object:
    return read_zoo(folder, "please make it a pencil drawing")


# Concepts, photos, pairs and images.

CONCEPTS = b"""licence = "CC0-1.0"
source = "a test"

[colours]
teal = "#008080"

[[concept]]
id = "soft-sepia"
prompts = ["soft sepia", "a brown old photo"]
test_prompts = ["brownish"]
teacher = [{operator = "sepia", strength = 0.5}, {operator = "blur", radius = 0.01}]

[[concept]]
id = "from-pairs"
prompts = ["from pairs"]
split = "heldout-new"
novelty = "word"
family = "colour"
teacher = "pairs/"

[[concept]]
id = "teal-tint"
prompts = ["teal tint"]
teacher = [{operator = "tint", colour = "teal"}]
"""


def small_image(seed: int = 0, side: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, side)[:, None, None] + rng.integers(0, 50, (side, side, 3))
    return ramp.astype(np.uint8)


def make_pairs(folder: Path) -> None:
    """Folders A and B, a metadata file and images with both halves."""
    from initzoo.files.images import write_image

    for name in ("two/A", "two/B", "halves", "listed"):
        (folder / name).mkdir(parents=True)
    lines = []
    for number in range(4):
        image = small_image(number)
        write_image(folder / "two" / "A" / f"p{number}.png", image, force=False)
        write_image(folder / "two" / "B" / f"p{number}.png", 255 - image, force=False)
        write_image(folder / "halves" / f"p{number}.png", np.concatenate([image, image // 2], 1), force=False)
        for side, one in (("in", image), ("out", 255 - image)):
            write_image(folder / "listed" / f"{side}{number}.png", one, force=False)
        lines.append(
            json.dumps({"input_file_name": f"in{number}.png", "edited_file_name": f"out{number}.png"})
        )
    (folder / "listed" / "metadata.jsonl").write_text("\n".join(lines))


def attack_pairs(folder: Path, rng: random.Random) -> None:
    kind = rng.randrange(8)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    if kind < 3:
        replace_by(path, lambda data: change_bytes(data, rng))
    elif kind < 5:
        metadata = folder / "listed" / "metadata.jsonl"
        lines = metadata.read_bytes().split(b"\n")
        place = rng.randrange(len(lines))
        lines[place] = change_json(lines[place], rng)
        metadata.write_bytes(b"\n".join(lines))
        if rng.random() < 0.3:
            text = "in,out\n" + "".join(f"in{n}.png,out{n}.png\n" for n in range(4))
            metadata.unlink()
            (folder / "listed" / "metadata.csv").write_bytes(change_bytes(text.encode(), rng))
    elif kind == 5:
        path.unlink()
        if rng.random() < 0.5:
            os.mkfifo(path)
        else:
            path.mkdir()
    elif kind == 6:
        name = rng.choice(
            (b"\xff.png", b"-p.png", "é.png".encode(), b"a\nb.png", b".png", b"x" * 250 + b".png")
        )
        os.rename(path, os.fsencode(path.parent) + b"/" + name)
    else:
        path.write_bytes(hostile_image(rng))


def read_pairs(folder: Path) -> object:
    from initzoo.pairs.folders import list_pairs

    problems: list[InitzooError] = []
    for name in ("two", "halves", "listed"):
        try:
            listed = list_pairs(folder / name)
            for file in listed.train if listed else ():
                pair = file.read()
                if pair.given.dtype != np.uint8 or pair.given.shape != pair.wanted.shape:
                    raise WrongResult("a pair is none")
        except InitzooError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return True


@cache
def sound_images() -> tuple[bytes, ...]:
    """The same image in the formats that are read."""
    from PIL import Image

    files = []
    image = Image.fromarray(small_image(3, 32))
    for kind, options in (
        ("PNG", {}), ("JPEG", {"quality": 90}), ("WEBP", {}), ("TIFF", {}), ("ICO", {}), ("TGA", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("GIF", {}), ("BMP", {}), ("AVIF", {}), ("PPM", {}), ("PNG", {"mode": "P"}),
        ("PNG", {"mode": "I;16"}),
        ("TIFF", {"compression": "jpeg"}), ("JPEG", {"exif": True}), ("PNG", {"mode": "RGBA"}),
        ("JPEG2000", {}), ("TIFF", {"compression": "tiff_adobe_deflate"}), ("PNG", {"text": True}),
    ):  # fmt: skip
        sink = io.BytesIO()
        options = dict(options)
        mode = options.pop("mode", None)
        if options.pop("exif", None):
            exif = Image.Exif()
            exif[0x0112], exif[0x010E] = 6, "a text"
            options["exif"] = exif
        if options.pop("text", None):
            from PIL.PngImagePlugin import PngInfo

            notes = PngInfo()
            notes.add_text("a", "b" * 3000, zip=True)
            options |= {"pnginfo": notes, "icc_profile": bytes(128)}
        with suppress(OSError, KeyError, ValueError):  # a build of Pillow without it
            chosen = (
                image
                if mode is None
                else image.convert("L").convert(mode)
                if mode == "I;16"
                else image.convert(mode)
            )
            chosen.save(sink, kind, **options)
            files.append(sink.getvalue())
    return tuple(files)


def hostile_image(rng: random.Random) -> bytes:
    """An image file with damage; the checksums of a PNG file are right again."""
    data = change_bytes(rng.choice(sound_images()), rng)
    return _check_chunks(data, rng) if data.startswith(b"\x89PNG") and rng.random() < 0.7 else data


def _check_chunks(data: bytes, rng: random.Random) -> bytes:
    import struct
    import zlib

    position, whole = 8, data[:8]
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        if kind == b"IHDR" and rng.random() < 0.4:
            number = rng.choice((0, 1, 9, 7000, 2**31 - 1, 2**32 - 1))
            place = rng.choice((0, 4))
            content = content[:place] + struct.pack(">I", number) + content[place + 4 :]
        whole += struct.pack(">I", len(content)) + kind + content
        whole += struct.pack(">I", zlib.crc32(kind + content))
        position += 12 + length
    return whole


def make_image(folder: Path) -> None:
    (folder / "image").write_bytes(sound_images()[0])


def attack_image(folder: Path, rng: random.Random) -> None:
    (folder / "image").write_bytes(hostile_image(rng))


def read_images(folder: Path) -> object:
    from initzoo.files.images import read_image, read_picture, write_picture

    pixels = read_image(folder / "image")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise WrongResult("an image is none")
    picture = read_picture(folder / "image")
    write_picture(folder / "again.png", picture, force=True)
    return pixels.shape


def make_photos(folder: Path) -> None:
    from initzoo.files.images import write_image

    lines = ""
    for number, split in enumerate(("train", "train", "score")):
        write_image(folder / f"p{number}.png", small_image(number, 64), force=False)
        values = {"name": f"p{number}", "file": f"p{number}.png", "split": split, "title": "t", "author": "a"}
        values |= {"licence": "CC0", "source": "s"}
        lines += "[[photo]]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items())
    (folder / "photos.toml").write_text(lines)


def attack_photos(folder: Path, rng: random.Random) -> None:
    kind = rng.randrange(6)
    path = rng.choice(sorted(folder.glob("p?.png")))
    if kind < 3:
        replace_by(folder / "photos.toml", lambda data: change_toml(data, rng))
    elif kind == 3:
        (folder / "photos.toml").unlink()
        path.write_bytes(hostile_image(rng))
    elif kind == 4:
        path.write_bytes(hostile_image(rng))
    else:
        path.unlink()
        path.symlink_to("/dev/zero") if rng.random() < 0.5 else os.mkfifo(path)
        if rng.random() < 0.5:
            (folder / "photos.toml").unlink()


def read_photos(folder: Path) -> object:
    from initzoo.pairs import load_photos
    from initzoo.pairs.photos import training_photos

    photos = load_photos(folder, split=None)
    return [photo.shape for photo in training_photos(photos, 2, seed=0)]


def make_concepts(folder: Path) -> None:
    make_pairs(folder / "all")
    shutil.move(folder / "all" / "two", folder / "pairs")
    shutil.rmtree(folder / "all")
    (folder / "concepts.toml").write_bytes(CONCEPTS)
    (folder / "looks.toml").write_bytes(_few_looks())


@cache
def _few_looks() -> bytes:
    """The catalog with few of its looks and none of its compositions: all of them take a second to expand."""
    from initzoo.pairs import catalog_folder

    text = (catalog_folder() / "concepts.toml").read_text("utf-8").partition("\n[[composition]]")[0]
    head, *looks = re.split(r"^\[\[look\]\]$", text, flags=re.MULTILINE)
    head = re.sub(r"(?s)^drop = \[.*?^\]\n", "", head, flags=re.MULTILINE)
    return "[[look]]".join([head, *looks[:4], *looks[40:42]]).encode()


def attack_concepts(folder: Path, rng: random.Random) -> None:
    name = rng.choice(("concepts.toml", "concepts.toml", "looks.toml"))
    replace_by(folder / name, lambda data: change_toml(data, rng))


def read_concepts(folder: Path) -> object:
    from initzoo.pairs import load_concepts

    pixels, problems = small_image(0, 32), []
    for name in ("concepts.toml", "looks.toml"):
        try:
            for concept in load_concepts(folder / name)[:3]:
                concept.teacher.edit([pixels], [0])
        except InitzooError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return True


# Run folders: a damaged piece is made again, and never used.


def make_run_folder(folder: Path) -> None:
    from safetensors.numpy import save_file

    from initzoo.training.harvest.settings import RunFolder
    from initzoo.work import open_run

    run = RunFolder(folder / "a.run")
    with open_run(run.path, {"seed": 1, "photos": "x"}, kind="harvest"):
        run.make_folders()
        save_file({"blocks": np.ones((2, 16), np.float32)}, run.fits / "night.safetensors")
        (run.fits / "night.json").write_text(json.dumps({"trained": {"psnr": 20.0}, "seconds": 1.0}))
        (run.path / "seconds.json").write_text(json.dumps({"seconds": {"fits": 3.0}, "core_seconds": 3.0}))
        np.save(run.path / "crops.npy", np.zeros((4, 4), np.uint8))


def attack_run_folder(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(path for path in (folder / "a.run").rglob("*") if path.is_file()))
    if path.suffix == ".json" and rng.random() < 0.6:
        replace_by(path, lambda data: change_json(data, rng))
    elif path.suffix == ".safetensors" and rng.random() < 0.5:
        replace_by(path, lambda data: change_tensors(data, rng, is_sealed=False))
    else:
        replace_by(path, lambda data: change_bytes(data, rng))


def read_run_folder(folder: Path) -> object:
    from initzoo.training.harvest.settings import RunFolder, read_blocks
    from initzoo.work import StageClock, open_run, read_json_piece, read_piece

    run = RunFolder(folder / "a.run")
    with open_run(run.path, {"seed": 1, "photos": "x"}, kind="harvest", force=False):
        clock = StageClock(run.path, 1)
        clock.add("fits", save=True)
        notes = run.fit_notes("night")
        blocks = read_blocks(run.fits / "night.safetensors")
        if blocks is not None and not isinstance(blocks, np.ndarray):
            raise WrongResult("blocks are no array")
        crops = read_piece(run.path / "crops.npy", lambda path: np.load(path, allow_pickle=False))
        scores = read_json_piece(run.mean_scores / "night.json")
        return notes, crops is None, scores


# Checkpoints from elsewhere.


def make_incoming(folder: Path) -> None:
    import torch
    from safetensors.numpy import save_file
    from safetensors.torch import save_file as save_tensors

    network = TINY_RECIPE.network.build()
    network.load_arrays(random_weights(TINY_RECIPE, 0))
    folder.joinpath("network").mkdir()
    network.save_pretrained(folder / "network")
    from initzoo.networks.pix2pix import UNet

    foreign = UNet(6, 2)
    save_tensors(foreign.state_dict(), folder / "plain.safetensors")
    torch.save(foreign.state_dict(), folder / "latest_net_G.pth")
    (folder / "train_opt.txt").write_text("norm: batch [default: instance]\nngf: 2\nname: x\n")
    adapter = folder / "adapter"
    adapter.mkdir()
    shutil.copytree(folder / "network", adapter / "base")
    layer = next(name for name in TINY_RECIPE.ranks)
    shapes = TINY_RECIPE.base_shapes
    weight = shapes[f"{layer}.weight"]
    rank = TINY_RECIPE.ranks[layer]
    parts = {
        f"base_model.model.{layer}.lora_A.weight": np.ones((rank, *weight[1:]), np.float32),
        f"base_model.model.{layer}.lora_B.weight": np.ones((weight[0], rank, 1, 1), np.float32),
    }
    save_file(parts, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "base_model_name_or_path": "base"}
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"alpha_pattern": {layer: 4}}))


def attack_incoming(folder: Path, rng: random.Random) -> None:
    kind = rng.randrange(12)
    if kind < 4:
        replace_by(folder / "plain.safetensors", lambda data: change_tensors(data, rng, is_sealed=False))
    elif kind < 6:
        replace_by(folder / "adapter" / "adapter_config.json", lambda data: change_json(data, rng))
    elif kind < 8:
        path = folder / "adapter" / "adapter_model.safetensors"
        replace_by(path, lambda data: change_tensors(data, rng, is_sealed=False))
    elif kind < 10:
        name = rng.choice(("network", "adapter/base"))
        path = folder / name / "model.safetensors"
        if rng.random() < 0.5:
            replace_by(folder / name / "config.json", lambda data: change_json(data, rng))
        else:
            before = digest_of(path).encode()
            replace_by(path, lambda data: change_tensors(data, rng))
            fresh = digest_of(path).encode()
            replace_by(folder / name / "config.json", lambda data: data.replace(before, fresh))
    elif kind == 10:
        replace_by(folder / "train_opt.txt", lambda data: change_bytes(data, rng))
    else:
        replace_by(folder / "latest_net_G.pth", lambda data: change_bytes(data, rng))


def read_incoming_files(folder: Path) -> object:
    from initzoo.zoo.importing.sources import read_incoming

    problems: list[InitzooError] = []
    for name in ("network", "plain.safetensors", "adapter"):
        try:
            incoming = read_incoming(folder / name)
            for value in incoming.network.to_arrays().values():
                if not np.isfinite(value).all():
                    raise WrongResult("an imported network has values that are not finite")
        except InitzooError as error:
            problems.append(error)
    try:
        _read_pickle(folder / "latest_net_G.pth")
    except InitzooError as error:
        problems.append(error)
    if problems:
        raise problems[0]
    return True


def _read_pickle(path: Path) -> None:
    """Read a pickle as the child process of an import does, in this process, which is a child itself."""
    from initzoo.errors import InvalidInit
    from initzoo.files import reported_as, unpickling
    from initzoo.files.unpickled import _check_file

    with reported_as(InvalidInit, f"'{path}'", "Give another."):
        _check_file(path)
        try:
            unpickling._read(str(path))
        except (unpickling._Problem, MemoryError, RuntimeError) as error:
            raise InvalidInit(str(error)[:100]) from error


@contextmanager
def only_initzoo_warnings() -> Iterator[None]:
    """Warnings of initzoo are fine; any other would be a second line that nobody asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", InitzooWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


READERS = {
    reader.name: reader
    for reader in (
        Reader("shard", make_zoo, attack_shard, read_zoo),
        Reader("index", make_zoo, attack_index, read_zoo),
        Reader("lookup", make_lookup, attack_lookup, read_lookup),
        Reader("detail", make_detail, attack_detail, read_detail),
        Reader("init", make_init, attack_init, read_inits),
        Reader("base", make_zoo, attack_base, read_zoo),
        Reader("manifest", make_zoo, attack_manifest, read_manifest),
        Reader("weight generator", make_generating_zoo, attack_generator, lambda path: read_zoo(path, WORDS)),
        Reader("calibration", make_generating_zoo, attack_calibration, lambda path: read_zoo(path, WORDS)),
        Reader("phrase encoder", make_phrase_zoo, attack_phrases, read_phrases),
        Reader("concepts", make_concepts, attack_concepts, read_concepts),
        Reader("pairs", make_pairs, attack_pairs, read_pairs),
        Reader("images", make_image, attack_image, read_images),
        Reader("photos", make_photos, attack_photos, read_photos),
        Reader("run folders", make_run_folder, attack_run_folder, read_run_folder),
        Reader("import", make_incoming, attack_incoming, read_incoming_files),
    )
}
"""Every reader of files that come from elsewhere, or that a crash may have damaged."""
