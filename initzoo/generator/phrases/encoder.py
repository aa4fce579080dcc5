"""`PhraseEncoder`: reads a phrase as a whole, in onnxruntime and NumPy, without torch."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidGenerator
from initzoo.files import DamagedFile, read_file, read_json, reported_as, write_bytes, write_json
from initzoo.generator.packed import pack_weights, unpack_weights
from initzoo.generator.phrases.grams import hash_grams
from initzoo.generator.phrases.shape import PhraseShape
from initzoo.generator.phrases.states import PhraseStates
from initzoo.generator.tokens import check_words

__all__ = ["Confidence", "PhraseConfig", "PhraseEncoder", "Reading"]

_MAX_FILE_BYTES = 2**28
_ADVICE = "Get the zoo again."
_FILES = ("encoder.onnx", "head.safetensors", "tokenizer.json")
_LICENCE = "LICENSE"
_MAX_SIZE = 2**20
_MAX_WEIGHT = 1e6
_MOST_PARTS = 8
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Confidence:
    """How sure a reading is: a logistic regression on validation phrases.

    Args:
        bias: its constant.
        look: weight of the log-odds of the best look.
        margin: weight of the log of the best look's share over that of the next.
        single: weight of the log-odds that one look is asked for.
    """

    bias: float = 0.0
    look: float = 1.0
    margin: float = 0.0
    single: float = 0.0

    def of(self, looks: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
        """The probability that the best look is the one that is meant, and the only one.

        Args:
            looks: share of each look, the last for none.
            counts: probability of no look, of one, of two and of three.

        Example:
            >>> round(Confidence().of(np.array([0.5, 0.25, 0.25]), np.array([0, 1.0, 0, 0])), 2)
            0.5
        """
        look, margin, single = self.features(looks, counts)
        return _logistic(self.bias + self.look * look + self.margin * margin + self.single * single)

    @staticmethod
    def features(looks: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float, float]:
        """The three values that the weights multiply."""
        first, second = np.sort(looks)[::-1][:2]
        margin = math.log(max(first, 1e-9) / max(second, 1e-9))
        return _log_odds(first), margin, _log_odds(counts[1])


@dataclass(frozen=True)
class PhraseConfig:
    """What a phrase encoder knows.

    Args:
        looks: ids of the looks, in the order of the scores.
        slots: for each look that takes colours the names of their places, e.g. `dark` and `light`.
        colours: plain names of colours, in every language, with their values.
        opposites: for each restoration the looks that it undoes.
        shape: sizes of the trained part.
        confidence: how sure a reading is.
        licence: licence of all files.
        source: where they come from.
        files: digests of the other files, SHA-256 in hex.
        own_colours: for each look the colours that its phrases name. Words that name another ask for more
            than the look.
        n_parts: number of trained parts, all of one shape. The shares of looks are means over all parts. The
            vector is that of the first, so a weight generator that reads it needs no new training when a
            part is added.
    """

    looks: tuple[str, ...]
    slots: dict[str, tuple[str, ...]]
    colours: dict[str, str]
    opposites: dict[str, tuple[str, ...]]
    shape: PhraseShape
    confidence: Confidence
    licence: str
    source: str
    files: dict[str, str] = field(default_factory=dict)
    own_colours: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_parts: int = 1


@dataclass(frozen=True, eq=False)
class Reading:
    """What a phrase encoder reads in a phrase.

    Args:
        vector: the phrase as a vector, float32, shape `(n_values,)`.
        looks: share of each look by its id, together with `none` 1.
        none: share of words that ask for no look.
        counts: probability of no look, of one, of two and of three.
        confidence: probability that the best look is the one that is meant, and the only one.
    """

    vector: NDArray[np.float32]
    looks: Mapping[str, float]
    none: float
    counts: tuple[float, float, float, float]
    confidence: float

    @property
    def best(self) -> list[str]:
        """The looks, best first."""
        return sorted(self.looks, key=lambda look: (-self.looks[look], look))

    @property
    def count(self) -> int:
        """The number of looks that the phrase most likely asks for."""
        return int(np.argmax(self.counts))


class PhraseEncoder:
    """Reads whole phrases: their vector, which looks they ask for, and how many.

    Args:
        config: what it knows.
        states: the sentence encoder.
        parts: the weights of each trained part by name.
        folder: the folder of its files, if it has one.
        digest: SHA-256 of its `config.json`, which holds those of the other files.

    Example:
        >>> from initzoo.pairs import catalog_folder
        >>> encoder = PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder")
        >>> encoder.read("please make it look foggy").best[0]
        'fog'
    """

    def __init__(
        self,
        config: PhraseConfig,
        states: PhraseStates,
        parts: Sequence[Mapping[str, NDArray[Any]]],
        *,
        folder: Path | None = None,
        digest: str = "",
    ) -> None:
        self.config = config
        self.folder = folder
        self.digest = digest
        self.states = states
        self.parts = parts
        self._read = lru_cache(maxsize=256)(self._read_plain)

    @property
    def n_values(self) -> int:
        """Number of values per token state."""
        return self.config.shape.n_states

    def to_files(self) -> dict[str, bytes]:
        """The files of the folder by name.

        Raises:
            InvalidGenerator: a file is missing or was changed since it was read.
        """
        if self.folder is None:
            raise InvalidGenerator("this phrase encoder has no folder. Save it with PhraseEncoder.save")
        with reported_as(InvalidGenerator, f"phrase encoder '{self.folder}'", _ADVICE):
            names = (*_FILES, _LICENCE, "config.json")
            files = {name: read_file(self.folder / name, max_bytes=_MAX_FILE_BYTES) for name in names}
            digests = self.config.files | {"config.json": self.digest}
            for name in (*_FILES, "config.json"):
                if hashlib.sha256(files[name]).hexdigest() != digests.get(name):
                    raise DamagedFile(f"{name} was changed")
            return files

    def read(self, words: str) -> Reading:
        """Read a phrase.

        Raises:
            InvalidWords: the words are empty, too long, or have control or invisible characters.
        """
        return self._read(check_words(words))

    def _read_plain(self, words: str) -> Reading:
        # One phrase at a time: int8 activations are scaled over a whole batch, so others would change them.
        vector, looks, counts = self.run_head(self.states.encode([words])[0], words)
        shares, of_counts = _softmax(looks), _softmax(counts)
        return Reading(
            vector=vector,
            looks=dict(zip(self.config.looks, shares[:-1].tolist(), strict=True)),
            none=float(shares[-1]),
            counts=tuple(of_counts.tolist()),
            confidence=self.config.confidence.of(shares, of_counts),
        )

    def run_head(
        self, states: NDArray[np.float32], words: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Run the trained parts on the token states of one phrase; `PhraseHead` in torch is one of them.

        Returns:
            The vector, the scores of all looks and none, and the scores of the four counts.
        """
        grams = hash_grams(words, self.config.shape.n_buckets)
        read = [self._run_part(part, states, grams) for part in self.parts]
        vectors, looks, counts = zip(*read, strict=True)
        return vectors[0], _mean_scores(looks), _mean_scores(counts)

    def _run_part(
        self, weights: Mapping[str, NDArray[Any]], states: NDArray[np.float32], grams: list[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        shape = self.config.shape
        x = _linear(states, weights, "project")  # (n_tokens, width)
        qkv = _linear(_layer_norm(x, weights, "norm_attention"), weights, "queries_keys_values")
        queries, keys, values = (
            part.reshape(len(x), shape.n_heads, -1).swapaxes(0, 1) for part in np.split(qkv, 3, axis=-1)
        )
        attention = _softmax(queries @ keys.swapaxes(1, 2) / np.float32(math.sqrt(queries.shape[-1])))
        mixed = (attention @ values).swapaxes(0, 1).reshape(len(x), -1)
        x = x + _linear(mixed, weights, "attended")
        inner = _gelu(_linear(_layer_norm(x, weights, "norm_expand"), weights, "expand"))
        x = x + _linear(inner, weights, "contract")
        weighted = _softmax(_linear(x, weights, "weigh")[:, 0]) @ x
        table, scale = weights["grams.weight"], weights["grams.scale"]
        letters = (
            (table[grams] * scale[grams, None]).mean(axis=0)
            if grams
            else np.zeros(shape.n_gram_values, np.float32)
        )
        gathered = np.concatenate([weighted, x.mean(axis=0), states.mean(axis=0), letters]).astype(np.float32)
        hidden = _gelu(_linear(gathered, weights, "gather"))
        vector = _linear(hidden, weights, "vector")
        return vector, _linear(vector, weights, "looks"), _linear(hidden, weights, "counts")

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, digest: str | None = None) -> PhraseEncoder:
        """Read the folder of a phrase encoder. Every file is checked against its digest.

        Args:
            folder: as `save` writes it.
            digest: expected digest of `config.json`; not checked by default.

        Raises:
            InvalidGenerator: a file is missing or damaged.
        """
        folder = Path(folder)
        with reported_as(InvalidGenerator, f"phrase encoder '{folder}'", _ADVICE):
            data = read_file(folder / "config.json", max_bytes=_MAX_FILE_BYTES)
            if digest is not None and hashlib.sha256(data).hexdigest() != digest:
                raise DamagedFile("config.json does not match its digest in zoo.json")
            config = read_json(data, PhraseConfig)
            _check_config(config)
            files = {name: read_file(folder / name, max_bytes=_MAX_FILE_BYTES) for name in _FILES}
            for name, content in files.items():
                if hashlib.sha256(content).hexdigest() != config.files.get(name):
                    raise DamagedFile(f"{name} does not match its digest in config.json")
            states = PhraseStates.from_bytes(files["encoder.onnx"], files["tokenizer.json"])
            if states.n_values != config.shape.n_states:
                raise DamagedFile(
                    f"encoder.onnx has {states.n_values} values a token, config.json {config.shape.n_states}"
                )
            parts = _read_parts(files["head.safetensors"], config)
            actual = hashlib.sha256(data).hexdigest()
            return cls(config, states, parts, folder=folder, digest=actual)

    @staticmethod
    def save(
        folder: str | os.PathLike[str],
        config: PhraseConfig,
        parts: Sequence[Mapping[str, NDArray[Any]]],
        files: Mapping[str, bytes],
        *,
        force: bool = False,
    ) -> PhraseConfig:
        """Write the folder of a phrase encoder.

        Args:
            folder: created if it is missing.
            config: what it knows; the number of parts and the digests of the files are filled in.
            parts: the weights of each trained part by name: float32, and int8 `grams.weight` with a
                `grams.scale` per row. Those that `round_weight` rounded are stored as eight-bit numbers.
            files: `encoder.onnx`, `tokenizer.json` and the `LICENSE` of the sentence encoder.
            force: replace files that exist.

        Returns:
            The config as it was written.

        Raises:
            OutputError: a file exists already or cannot be written.
        """
        from safetensors.numpy import save

        small = {
            f"{_prefix(number)}{name}": np.ascontiguousarray(
                value if value.dtype == np.int8 else value.astype(np.float16)
            )
            for number, part in enumerate(parts)
            for name, value in part.items()
        }
        small |= pack_weights({name: value for name, value in small.items() if value.dtype == np.float16})
        contents = {**files, "head.safetensors": save(dict(sorted(small.items())))}
        digests = {name: hashlib.sha256(contents[name]).hexdigest() for name in _FILES}
        values = asdict(config) | {"files": digests, "n_parts": len(parts)}
        contents["config.json"] = write_json(values)
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in (*_FILES, _LICENCE, "config.json"):
            write_bytes(Path(folder) / name, contents[name], force=force)
        return read_json(contents["config.json"], PhraseConfig)


def _read_parts(data: bytes, config: PhraseConfig) -> list[dict[str, NDArray[Any]]]:
    """The weights of each trained part by name, as float32 but for the int8 vectors of letter groups."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"head.safetensors is not a safetensors file ({error})") from error
    tensors = unpack_weights(tensors)
    shapes = _shapes_of(config)
    expected = {
        f"{_prefix(number)}{name}": shape
        for number in range(config.n_parts)
        for name, shape in shapes.items()
    }
    for name in sorted({*expected, *tensors}):
        size, actual = expected.get(name), tensors[name].shape if name in tensors else None
        if actual != size:
            raise DamagedFile(f"head.safetensors: expected {name[:60]} of shape {size}, found {actual}")
        if tensors[name].dtype != np.int8:
            tensors[name] = tensors[name].astype(np.float32)
        if not np.isfinite(tensors[name]).all():
            raise DamagedFile(f"head.safetensors: {name} has values that are NaN or infinite")
    return [
        {name: tensors[f"{_prefix(number)}{name}"] for name in shapes} for number in range(config.n_parts)
    ]


def _prefix(part: int) -> str:
    """What the names of a trained part's weights begin with in the file; nothing for the first."""
    return f"{part}." if part else ""


def _shapes_of(config: PhraseConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights of a trained part."""
    shape, n_looks = config.shape, len(config.looks) + 1
    width = shape.width
    n_gathered = 2 * width + shape.n_states + shape.n_gram_values
    linear = {
        "project": (width, shape.n_states),
        "queries_keys_values": (3 * width, width),
        "attended": (width, width),
        "expand": (2 * width, width),
        "contract": (width, 2 * width),
        "weigh": (1, width),
        "gather": (shape.n_hidden, n_gathered),
        "vector": (shape.n_values, shape.n_hidden),
        "looks": (n_looks, shape.n_values),
        "counts": (4, shape.n_hidden),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, size in linear.items():
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
    for name in ("norm_attention", "norm_expand"):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    grams = {"grams.weight": (shape.n_buckets, shape.n_gram_values), "grams.scale": (shape.n_buckets,)}
    return shapes | grams


def _check_config(config: PhraseConfig) -> None:
    """Check what the types of the fields do not say.

    Raises:
        DamagedFile: a value is out of range.
    """
    shape, sure = config.shape, config.confidence
    sizes = asdict(shape)
    if any(not 1 <= size <= _MAX_SIZE for size in sizes.values()) or shape.width % shape.n_heads:
        raise DamagedFile("config.json has a shape that no phrase encoder has")
    if not 1 <= config.n_parts <= _MOST_PARTS:
        raise DamagedFile(f"config.json has {config.n_parts} trained parts, and {_MOST_PARTS} are the most")
    if shape.n_looks != len(config.looks) + 1 or len(set(config.looks)) != len(config.looks):
        raise DamagedFile(
            f"config.json has {len(config.looks)} looks, or one twice, and scores for {shape.n_looks}"
        )
    if not all(math.isfinite(value) and abs(value) < _MAX_WEIGHT for value in asdict(sure).values()):
        raise DamagedFile("config.json has a confidence that is not finite")
    for name, colour in config.colours.items():
        if not _COLOUR.fullmatch(colour):
            raise DamagedFile(f"config.json has a colour {name[:40]!r} that is not written as #rrggbb")


def _linear(x: NDArray[np.float32], weights: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    result: NDArray[np.float32] = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return result


def _mean_scores(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Scores whose shares are the mean of the shares of all trained parts."""
    if len(scores) == 1:
        return scores[0]
    shares = np.mean([_softmax(one) for one in scores], axis=0)
    mean: NDArray[np.float32] = np.log(np.maximum(shares, np.float32(1e-30)))
    return mean


def _layer_norm(
    x: NDArray[np.float32], weights: Mapping[str, NDArray[Any]], name: str
) -> NDArray[np.float32]:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    result: NDArray[np.float32] = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return result


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """GELU. NumPy lacks the error function; Abramowitz and Stegun 7.1.26 is off by at most 1.5e-7."""
    z = np.abs(x) / np.float32(math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - poly * np.exp(-z * z), x)
    result: NDArray[np.float32] = (0.5 * x * (1 + erf)).astype(np.float32)
    return result


def _softmax(x: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    result: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _log_odds(probability: float) -> float:
    clipped = min(max(float(probability), 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-score)) if score > -500 else 0.0
