"""The index of a zoo: a parquet table with a row a checkpoint.

The file is sealed (see `seals`): damage anywhere in it shows before it is parsed. It is
read into memory whole rather than mapped, because a mapped file that shrinks kills the
process; of its columns only those that a question needs are decoded.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from initzoo.concepts import alphabets_of, normalise_words
from initzoo.errors import InvalidZoo
from initzoo.outputs import write_bytes
from initzoo.seals import BLANK_SEAL, DamagedFile, check_seal, read_file, reported_as, seal
from initzoo.shards import CONCEPT_ID

__all__ = ["SCORES", "SPLITS", "Index", "IndexRow", "Match", "write_index"]

SPLITS = ("train", "heldout-composed", "heldout-new")
_FORMAT_VERSION = "1"
_VERSION_KEY = "initzoo_format_version"
_ADVICE = "Get the zoo again, or check all of it: initzoo verify"
_MAX_BYTES = 2**29
_MAX_ROWS = 1_000_000
_MAX_COMPARED = 200
_LEAST_SIMILARITY = 0.3
_SHARD_PATH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,8}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LAYOUT_ID = re.compile(r"[0-9a-f]{16}")
_ITEM_BYTES = {"F16": 2}


@dataclass(frozen=True)
class IndexRow:
    """What the index says of one checkpoint.

    Args:
        concept_id: small letters, digits and hyphens; names the checkpoint.
        prompts: wordings that training saw; the first is the concept's plain name.
        test_prompts: wordings that training never saw.
        family: e.g. `colour` or `restoration`.
        split: one of `SPLITS`.
        novelty: for `heldout-new`, what is new: words, strength, colour or operator.
        teacher: the teacher's steps as JSON.
        recipe: name of the recipe.
        layout_id: id of the layout.
        base_sha256: digest of the base's weights.
        shard: path of the shard from the dataset's folder, with `/`.
        byte_start: first byte of the blocks in the shard file.
        byte_end: the byte after their last one.
        sha256: digest of these bytes.
        n_blocks: number of blocks.
        block_size: values in a block.
        dtype: always `F16`.
        psnr: mean PSNR of the checkpoint on scoring photos, dB.
        ssim: mean SSIM of the same.
        psnr_untouched: the same for the photo as it is.
        ssim_untouched: the same for the photo as it is.
        psnr_mean: the same for the mean adapter of the zoo.
        ssim_mean: the same for the mean adapter of the zoo.
        licence: licence of the weights.
        source: where they come from.
    """

    concept_id: str
    prompts: tuple[str, ...]
    test_prompts: tuple[str, ...]
    family: str
    split: str
    novelty: str
    teacher: str
    recipe: str
    layout_id: str
    base_sha256: str
    shard: str
    byte_start: int
    byte_end: int
    sha256: str
    n_blocks: int
    block_size: int
    dtype: str
    psnr: float | None
    ssim: float | None
    psnr_untouched: float | None
    ssim_untouched: float | None
    psnr_mean: float | None
    ssim_mean: float | None
    licence: str
    source: str

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores by name; None where there is none."""
        return {name: getattr(self, name) for name in SCORES}


@dataclass(frozen=True)
class Match:
    """A concept near to some words: its nearest prompt, and how near, from 0 to 1."""

    concept_id: str
    prompt: str
    similarity: float


SCORES = ("psnr", "ssim", "psnr_untouched", "ssim_untouched", "psnr_mean", "ssim_mean")
_TYPES = {
    **{field.name: "string" for field in fields(IndexRow)},
    **dict.fromkeys(("prompts", "test_prompts"), "list<string>"),
    **dict.fromkeys(("byte_start", "byte_end"), "int64"),
    **dict.fromkeys(("n_blocks", "block_size"), "int32"),
    **dict.fromkeys(SCORES, "float"),
}


def write_index(path: str | os.PathLike[str], rows: Iterable[IndexRow], *, force: bool = False) -> None:
    """Write an index, ordered by concept id; the same rows give the same bytes.

    Args:
        path: the parquet file; its folder must exist.
        rows: one a checkpoint.
        force: replace a file that is there already.

    Raises:
        ValueError: a row is not sound, or two rows have the same concept id.
        OutputError: the file exists already or cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.concept_id)
    for row in ordered:
        if problem := _problem_of(row):
            raise ValueError(f"row of concept {row.concept_id[:80]!r}: {problem}")
    if repeated := _repeated([row.concept_id for row in ordered]):
        raise ValueError(f"two rows have the concept id {repeated!r}")
    types = {"list<string>": pa.list_(pa.string()), "float": pa.float32()}
    schema = pa.schema([(name, types.get(kind) or getattr(pa, kind)()) for name, kind in _TYPES.items()])
    columns = list(zip(*map(astuple, ordered), strict=True)) or [()] * len(_TYPES)
    table = pa.table([pa.array(v, type=t) for v, t in zip(columns, schema.types, strict=True)], schema=schema)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_VERSION_KEY: _FORMAT_VERSION, "initzoo_seal": BLANK_SEAL})
    write_bytes(Path(path), seal(sink.getvalue()), force=force)


class Index:
    """The checkpoints of a zoo, found by id or by words. Make one with `Index.open`."""

    def __init__(self, path: Path, parquet: Any, sha256: str) -> None:
        """Take an open `pyarrow.parquet.ParquetFile` and the digest of its bytes."""
        self.path = path
        self.sha256 = sha256
        self._parquet = parquet
        self._columns: dict[str, list[Any]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Index:
        """Open an index file and check its seal, format version and columns.

        Raises:
            InvalidZoo: the file cannot be read, is damaged, lacks a column, names a concept
                twice, or was made by a newer initzoo.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with reported_as(InvalidZoo, f"index '{path}'", _ADVICE):
            data = read_file(path, max_bytes=_MAX_BYTES)
            check_seal(data)
            try:
                parquet = pq.ParquetFile(pa.BufferReader(data))
                version = (parquet.metadata.metadata or {}).get(_VERSION_KEY.encode())
                found = {field.name: str(field.type) for field in parquet.schema_arrow}
            except (pa.ArrowException, OSError, ValueError) as error:
                raise DamagedFile("is no parquet table") from error
            index = cls(Path(path), parquet, hashlib.sha256(data).hexdigest())
            _check_table(version, found, parquet.metadata.num_rows)
            if bad := [name for name in index.ids if not CONCEPT_ID.fullmatch(name)]:
                raise DamagedFile(f"names {bad[0][:80]!r}, which is no concept id")
            if repeated := _repeated(index.ids):
                raise DamagedFile(f"has two rows for concept '{repeated}'")
        return index

    def __len__(self) -> int:
        """Number of checkpoints."""
        return len(self.ids)

    @cached_property
    def ids(self) -> list[str]:
        """All concept ids, in the order of the rows."""
        return self._column("concept_id")

    def find(self, words: str) -> IndexRow | None:
        """The row that `words` name, by concept id or by any wording, or None.

        Case, hyphens, underscores, punctuation and extra spaces make no difference.

        Raises:
            InvalidZoo: the row is not sound.
        """
        wanted = normalise_words(words)
        if not wanted:
            return None
        by_id = {normalise_words(concept_id): place for place, concept_id in enumerate(self.ids)}
        if wanted in by_id:
            return self._row(by_id[wanted])
        for place, text in enumerate(self._texts):
            if f" {wanted} " in text and any(
                normalise_words(words) == wanted for words in self._wordings(place)
            ):
                return self._row(place)
        return None

    def row(self, concept_id: str) -> IndexRow:
        """The row of a concept.

        Raises:
            KeyError: there is no such concept id.
            InvalidZoo: the row is not sound.
        """
        if concept_id not in self._places:
            raise KeyError(concept_id)
        return self._row(self._places[concept_id])

    def rows(self, *, split: str | None = None, family: str | None = None) -> list[IndexRow]:
        """All rows, or those of one split or family, in order.

        Raises:
            InvalidZoo: a row is not sound.
        """
        splits, families = self._column("split"), self._column("family")
        return [
            self._row(place)
            for place in range(len(self))
            if split in (None, splits[place]) and family in (None, families[place])
        ]

    @cached_property
    def alphabets(self) -> frozenset[str]:
        """The alphabets that the wordings are written in, as `alphabets_of` names them."""
        return alphabets_of("".join(set().union(*self._texts)))

    def nearest(self, words: str, n: int = 3) -> list[Match]:
        """The `n` concepts whose prompts look most like `words`, nearest first.

        Likeness counts groups of three letters that both have, so neither a spelling
        mistake nor another order of the words matters much. It knows nothing of meaning.
        """
        asked = _letter_groups(normalise_words(words)[:_MAX_COMPARED])
        if not asked:
            return []
        n_repeated = len(asked) - len(set(asked))
        n_shared = [sum(map(text.__contains__, asked)) for text in self._texts]
        matches: list[Match] = []
        for place in sorted(range(len(n_shared)), key=lambda place: -n_shared[place]):
            # One wording shares at most as many groups as the whole row, and has at least the distinct ones.
            most = n_shared[place]
            if (
                len(matches) == n
                and _similarity(most, len(asked), most - n_repeated) < matches[-1].similarity
            ):
                break
            matches = sorted([*matches, self._match(asked, place)], key=lambda match: -match.similarity)[:n]
        return matches

    def search(self, words: str, n: int = 10) -> list[Match]:
        """Up to `n` concepts with prompts like `words`, nearest first; none if none is like them."""
        return [match for match in self.nearest(words, n) if match.similarity >= _LEAST_SIMILARITY]

    def _match(self, asked: list[str], place: int) -> Match:
        """The wording of one row that is most like the asked letter groups."""
        best = Match(self.ids[place], "", -1.0)
        for prompt in self._wordings(place):
            letters = normalise_words(prompt)
            n_shared = sum(map(f" {letters} ".__contains__, asked))
            similarity = _similarity(n_shared, len(asked), len(letters))
            if similarity > best.similarity:
                best = Match(self.ids[place], prompt, similarity)
        return best

    def _wordings(self, place: int) -> list[str]:
        """All wordings of a row, those for tests last."""
        return [*self._column("prompts")[place], *self._column("test_prompts")[place]]

    @cached_property
    def _texts(self) -> list[str]:
        """All wordings of each row in one text, compared by its letters only."""
        return [f" {normalise_words(' '.join(self._wordings(place)))} " for place in range(len(self))]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {concept_id: place for place, concept_id in enumerate(self.ids)}

    def _row(self, place: int) -> IndexRow:
        values = {name: self._column(name)[place] for name in _TYPES}
        for name in ("prompts", "test_prompts"):
            values[name] = tuple(values[name])
        for name in SCORES:
            values[name] = None if values[name] is None else round(values[name], 4)
        row = IndexRow(**values)
        if problem := _problem_of(row):
            raise InvalidZoo(f"index '{self.path}', concept '{row.concept_id}': {problem}. {_ADVICE}")
        return row

    def _column(self, name: str) -> list[Any]:
        """The values of a column as Python objects, decoded at the first use."""
        if name not in self._columns:
            import pyarrow as pa

            with reported_as(InvalidZoo, f"index '{self.path}', column '{name}'", _ADVICE):
                try:
                    values = self._parquet.read(columns=[name], use_threads=False).column(name).to_pylist()
                except (pa.ArrowException, OSError, ValueError) as error:
                    raise DamagedFile("cannot be decoded") from error
                n_rows = self._parquet.metadata.num_rows
                if len(values) != n_rows:
                    raise DamagedFile(f"has {len(values)} values for {n_rows} rows")
                if name not in SCORES and any(value is None for value in values):
                    raise DamagedFile("has a row without a value")
                if _TYPES[name] == "list<string>" and any(None in prompts for prompts in values):
                    raise DamagedFile("has an empty prompt")
            self._columns[name] = values
        return self._columns[name]


def _check_table(version: bytes | None, found: dict[str, str], n_rows: int) -> None:
    """Raise DamagedFile unless this is a table that `write_index` could have written."""
    expected = _FORMAT_VERSION
    if version is None:
        raise DamagedFile(f"has no format version, expected {expected!r}: it is no index of a zoo")
    if version != expected.encode():
        raise DamagedFile(
            f"has format version {version[:20].decode(errors='replace')!r}, this initzoo reads {expected!r}; "
            "upgrade: pip install -U initzoo"
        )
    for name, kind in _TYPES.items():
        if name not in found:
            raise DamagedFile(f"lacks the column '{name}'")
        if re.sub(r"<\w+: ", "<", found[name]) != kind:
            raise DamagedFile(f"column '{name}': expected {kind}, found {found[name]}")
    if n_rows > _MAX_ROWS:
        raise DamagedFile(f"has {n_rows} rows, at most {_MAX_ROWS} are read")


def _problem_of(row: IndexRow) -> str | None:
    """What is wrong with the values of a row, or None."""
    checks = {
        "concept_id": CONCEPT_ID.fullmatch(row.concept_id),
        "prompts": row.prompts and all(prompt.strip() for prompt in row.prompts),
        "split": row.split in SPLITS,
        "layout_id": _LAYOUT_ID.fullmatch(row.layout_id),
        "base_sha256": _DIGEST.fullmatch(row.base_sha256),
        "shard": _SHARD_PATH.fullmatch(row.shard) and row.shard.endswith(".safetensors"),
        "sha256": _DIGEST.fullmatch(row.sha256),
        "dtype": row.dtype in _ITEM_BYTES,
        "n_blocks": row.n_blocks > 0,
        "block_size": row.block_size > 0,
    }
    for name, is_sound in checks.items():
        if not is_sound:
            return f"{name} has the value {str(getattr(row, name))[:80]!r}, which no zoo has"
    expected = row.n_blocks * row.block_size * _ITEM_BYTES[row.dtype]
    if row.byte_start < 0 or row.byte_end - row.byte_start != expected:
        return f"bytes {row.byte_start} to {row.byte_end} do not hold {expected} bytes of blocks"
    for name, score in row.scores.items():
        if score is not None and not math.isfinite(score):
            return f"{name} is {score}"
    return None


def _repeated(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _letter_groups(letters: str) -> list[str]:
    """Every three letters in a row, counting the spaces before, between and after words."""
    return [f" {letters} "[i : i + 3] for i in range(len(letters))]


def _similarity(n_shared: int, n_asked: int, n_found: int) -> float:
    """Mean of two shares, both 0 to 1: the asked groups that were found, and Dice's of both sides."""
    return min(round(n_shared / n_asked / 2 + n_shared / (n_asked + max(n_found, 1)), 4), 1.0)
