"""A row of the index, the types of its columns, and the checks of its values."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, dataclass, fields

from initzoo.checkpoints import SCORES
from initzoo.pairs import SPLITS
from initzoo.zoo.shards import CONCEPT_ID

__all__ = [
    "ADAPTER_SCORES",
    "COLUMN_TYPES",
    "MAX_WORDING",
    "MAX_WORDINGS",
    "OPTIONAL_COLUMNS",
    "SCORES",
    "IndexRow",
    "Match",
    "Part",
    "problem_of",
]

MAX_WORDING = 1000
"""Maximum length of a wording, in characters."""
MAX_WORDINGS = 1000
_MAX_TEXT = 100_000
_SHARD_PATH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,8}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LAYOUT_ID = re.compile(r"[0-9a-f]{16}")
_ITEM_BYTES = {"F16": 2}
_MAX_DETAIL_BYTES = 2**28
ADAPTER_SCORES = ("psnr_adapter", "ssim_adapter")


@dataclass(frozen=True)
class IndexRow:
    """The index entry of one checkpoint.

    Args:
        concept_id: lower-case letters, digits and hyphens; names the checkpoint.
        prompts: wordings that training saw; the first is the concept's plain name.
        test_prompts: wordings that training never saw.
        family: e.g. `colour` or `restoration`.
        split: `train`, `heldout-composed` or `heldout-new`.
        novelty: for `heldout-new`, what is new: words, strength, colour or operator.
        teacher: the steps of the teacher as JSON.
        recipe: name of the recipe.
        layout_id: id of the layout of its blocks.
        base_sha256: digest of the base's weights.
        shard: path of the shard relative to the dataset's folder, with `/`.
        byte_start: offset of the blocks in the shard file.
        byte_end: offset after their last byte.
        sha256: SHA-256 of these bytes.
        n_blocks: number of blocks.
        block_size: values per block.
        dtype: always `F16`.
        psnr: mean PSNR of the checkpoint on scoring photos, dB.
        ssim: mean SSIM on the same photos.
        psnr_untouched: mean PSNR of the unedited photos.
        ssim_untouched: mean SSIM of the unedited photos.
        psnr_mean: mean PSNR of the zoo's mean adapter.
        ssim_mean: mean SSIM of the zoo's mean adapter.
        licence: licence of the weights.
        source: where they come from.
        detail_bytes: number of bytes of the detail, which follow the blocks in the shard; 0 for a checkpoint
            without a detail.
        detail_sha256: SHA-256 of these bytes; empty without a detail.
        psnr_adapter: mean PSNR of the checkpoint without its detail; None if it has none.
        ssim_adapter: the same for SSIM.
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
    detail_bytes: int = 0
    detail_sha256: str = ""
    psnr_adapter: float | None = None
    ssim_adapter: float | None = None

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores by name; None for a score that was not measured."""
        return {name: getattr(self, name) for name in SCORES}

    @property
    def adapter_scores(self) -> dict[str, float | None]:
        """The scores of the checkpoint without its detail, by the same names."""
        if not self.has_detail:
            return self.scores
        return self.scores | {"psnr": self.psnr_adapter, "ssim": self.ssim_adapter}

    @property
    def has_detail(self) -> bool:
        """Whether all weights were trained, beyond the adapter."""
        return self.detail_bytes > 0

    def parts(self, *, with_detail: bool) -> tuple[Part, ...]:
        """The byte ranges of the blocks and, if wanted and there is one, of the detail after them."""
        blocks = Part(self.byte_start, self.byte_end, self.sha256)
        if not (with_detail and self.has_detail):
            return (blocks,)
        end = self.byte_end + self.detail_bytes
        return blocks, Part(self.byte_end, end, self.detail_sha256, is_detail=True)


@dataclass(frozen=True)
class Part:
    """A byte range of a shard, and the SHA-256 of its bytes: the blocks or the detail of a checkpoint."""

    start: int
    end: int
    sha256: str
    is_detail: bool = False


@dataclass(frozen=True)
class Match:
    """A concept found by words, its most similar prompt, and their similarity from 0 to 1."""

    concept_id: str
    prompt: str
    similarity: float


COLUMN_TYPES = {
    **{field.name: "string" for field in fields(IndexRow)},
    **dict.fromkeys(("prompts", "test_prompts"), "list<string>"),
    **dict.fromkeys(("byte_start", "byte_end"), "int64"),
    **dict.fromkeys(("n_blocks", "block_size"), "int32"),
    **dict.fromkeys((*SCORES, *ADAPTER_SCORES), "float"),
    "detail_bytes": "int32",
}
OPTIONAL_COLUMNS = {field.name: field.default for field in fields(IndexRow) if field.default is not MISSING}
"""Columns that an older index lacks, with their values for its rows."""


def problem_of(row: IndexRow) -> str | None:
    """The first problem with the values of a row, or None.

    Example:
        >>> problem_of(row)  # doctest: +SKIP
        "split has the invalid value 'tests'"
    """
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
        "detail_bytes": 0 <= row.detail_bytes <= _MAX_DETAIL_BYTES,
        "detail_sha256": _DIGEST.fullmatch(row.detail_sha256) if row.detail_bytes else not row.detail_sha256,
    }
    for name, is_sound in checks.items():
        if not is_sound:
            return f"{name} has the invalid value {str(getattr(row, name))[:80]!r}"
    wordings = (*row.prompts, *row.test_prompts)
    if (longest := max(map(len, wordings))) > MAX_WORDING:
        return f"a wording has {longest} characters, the limit is {MAX_WORDING}"
    if len(wordings) > MAX_WORDINGS:
        return f"it has {len(wordings)} wordings, the limit is {MAX_WORDINGS}"
    for name in ("family", "novelty", "teacher", "recipe", "licence", "source"):
        if len(getattr(row, name)) > _MAX_TEXT:
            return f"{name} has {len(getattr(row, name))} characters, the limit is {_MAX_TEXT}"
    expected = row.n_blocks * row.block_size * _ITEM_BYTES[row.dtype]
    if row.byte_start < 0 or row.byte_end - row.byte_start != expected:
        return f"bytes {row.byte_start} to {row.byte_end} do not hold {expected} bytes of blocks"
    for name in (*SCORES, *ADAPTER_SCORES):
        score = getattr(row, name)
        if score is not None and not math.isfinite(score):
            return f"{name} is {score}"
    return None
