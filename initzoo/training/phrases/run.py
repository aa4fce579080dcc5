"""Training of the phrase encoder on the lexicon, and the curve of how much of the lexicon pays."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from initzoo.errors import InvalidConcepts, InvalidGenerator
from initzoo.files import check_free, read_file, read_json, reported_as, write_bytes, write_json
from initzoo.generator import (
    CALIBRATION_FILE,
    Confidence,
    PhraseConfig,
    PhraseEncoder,
    PhraseShape,
    PhraseStates,
    hash_grams,
    round_weight,
)
from initzoo.pairs import (
    LANGUAGES,
    catalog_folder,
    load_colours,
    load_concepts,
    load_lexicon,
    load_lexicon_colours,
    load_opposites,
    normalise_words,
)
from initzoo.training.phrases.examples import (
    Example,
    Phrase,
    combined_examples,
    list_phrases,
    make_examples,
    own_colours,
    slots_of,
    split_phrases,
)
from initzoo.training.phrases.head import PhraseHead
from initzoo.training.phrases.settings import PhraseSettings

__all__ = ["PhraseReport", "fit_confidence", "measure_lexicon", "train_phrases"]

_NEW_COLOURS = (  # words that the catalog keeps for its concepts of new colours
    "crimson", "sapphire", "mustard", "burgundy", "jade", "apricot", "cobalt", "fuchsia", "lilac", "ochre",
)  # fmt: skip
_N_VALIDATION = {"n_colours": 1, "n_joined": 1500, "n_misspelt": 500, "n_without": 500}
_ENCODED_TOGETHER = 64
_LICENCE = "Apache-2.0"
_SOURCE = "sentence-transformers/all-MiniLM-L6-v2 as int8, and a part trained on the lexicon of initzoo"

Callback = Callable[[str, int, int], None]
"""Called with a stage, the steps done and all its steps."""


@dataclass(frozen=True)
class PhraseReport:
    """How well held-back phrases are understood, as shares of 1.

    Args:
        share: share of the lexicon that was trained on.
        n_phrases: number of distinct phrases trained on.
        n_held_back: number of held-back phrases.
        first: held-back phrases whose look is ranked first.
        first_five: those whose look is among the first five.
        english, others: as `first`, for English and for the other languages.
        misspelt: as `first`, for held-back phrases with a letter changed.
        joined: held-back phrases joined with others, all of whose looks are ranked first.
        combined: as `joined`, for held-back wordings of the catalog's combinations.
        count: of all held-back examples, those whose number of looks is right.
        likely_right: of the held-back phrases that would be called likely, those that are right.
        likely: held-back phrases that would be called likely.
        uncalibrated: the zoo's weight generators that go on with the encoder, and lost their calibration.
    """

    share: float
    n_phrases: int
    n_held_back: int
    first: float
    first_five: float
    english: float
    others: float
    misspelt: float
    joined: float
    combined: float
    count: float
    likely_right: float
    likely: float
    uncalibrated: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Encoded:
    """Examples with the states of their tokens, which are kept as float16."""

    examples: list[Example]
    states: list[NDArray[np.float16]]
    grams: list[list[int]]

    def chosen(self, keep: Callable[[Example], bool]) -> _Encoded:
        places = [i for i, example in enumerate(self.examples) if keep(example)]
        return _Encoded(
            [self.examples[i] for i in places],
            [self.states[i] for i in places],
            [self.grams[i] for i in places],
        )


def train_phrases(
    encoder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    lexicon: Path | None = None,
    settings: PhraseSettings | None = None,
    beside: bool = False,
    force: bool = False,
    cache: str | os.PathLike[str] | None = None,
    callback: Callback | None = None,
) -> PhraseReport:
    """Train a phrase encoder on a lexicon and write its folder.

    A tenth of the phrases is held back: they calibrate the confidence and make the report.

    Args:
        encoder: folder with `encoder.onnx`, `tokenizer.json` and `LICENSE` of a sentence encoder.
        out: folder to write.
        lexicon: folder with files of phrases, `colours.toml` and `opposites.toml`; by default that of the
            catalog.
        settings: how it is trained.
        beside: keep the trained parts that the folder has and train another beside them. The looks are then
            those that all parts read together. The vector stays, so the weight generators of a zoo whose
            encoder is replaced go on with it.
        force: replace files that exist.
        cache: file that keeps the encoded examples for another run.
        callback: progress.

    Raises:
        InvalidConcepts: the lexicon is missing, or has other looks than the parts that are kept.
        InvalidGenerator: the sentence encoder is missing or damaged, or parts to be kept are.
        OutputError: a file exists already or cannot be written.
    """
    settings = settings or PhraseSettings()
    # What would be refused at the end is refused before the training.
    files = {}
    for name in ("encoder.onnx", "tokenizer.json", "LICENSE"):
        with reported_as(InvalidGenerator, f"sentence encoder '{Path(encoder) / name}'", "Name its folder."):
            files[name] = read_file(Path(encoder) / name, max_bytes=2**28)
    check_free(Path(out), *files, "head.safetensors", "config.json", force=force)
    kept = PhraseEncoder.from_folder(encoder) if beside else None
    generators = {}
    if kept is not None:
        _check_looks(kept, lexicon)
        generators = _generators_of(Path(out), kept.digest)
    training, held_back, n_phrases = _encoded(encoder, lexicon, settings, cache, callback)
    looks = sorted({look for example in training.examples for look in example.looks})
    head = _train(training, looks, settings, callback)
    heads = [*([] if kept is None else _heads_of(kept)), head]
    readings = _read(heads, held_back)
    confidence = fit_confidence(*readings, _targets(held_back, looks))
    report = _report(held_back, looks, readings, settings.share, n_phrases)
    plain = _plain_colours(lexicon)
    config = PhraseConfig(
        looks=tuple(looks),
        slots=slots_of(list_phrases(load_lexicon(lexicon))),
        colours=plain,
        opposites=load_opposites(lexicon),
        shape=head.shape,
        confidence=confidence,
        licence=_LICENCE,
        source=_SOURCE,
        own_colours=own_colours(list_phrases(load_lexicon(lexicon)), plain),
    )
    parts = [*([] if kept is None else kept.parts), _weights_of(head)]
    PhraseEncoder.save(out, config, parts, files, force=force)
    return replace(report, uncalibrated=_hand_on(Path(out), generators))


def _generators_of(folder: Path, digest: str) -> dict[Path, dict[str, Any]]:
    """The configs of a zoo's weight generators that read a phrase encoder.

    Args:
        folder: of the phrase encoder.
        digest: its digest.

    Raises:
        InvalidGenerator: the config of a weight generator is damaged.
    """
    configs = {}
    for path in sorted((folder.parent / "weight_generator").glob("*/config.json")):
        with reported_as(InvalidGenerator, f"weight generator '{path}'", "Get it again."):
            configs[path] = read_json(read_file(path, max_bytes=2**28), dict[str, Any])
    return {path: values for path, values in configs.items() if values.get("text_sha256") == digest}


def _hand_on(folder: Path, generators: Mapping[Path, dict[str, Any]]) -> tuple[str, ...]:
    """Name the new phrase encoder of a zoo in its weight generators that read the one before.

    They read the vector, which is the same, and the shares of looks, which are better. Their calibration was
    measured with the encoder before and is removed.

    Returns:
        The names of these weight generators.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    for path, values in generators.items():
        write_bytes(path, write_json(values | {"text_sha256": digest}), force=True)
        (path.parent / CALIBRATION_FILE).unlink(missing_ok=True)
    return tuple(path.parent.name for path in generators)


def _check_looks(kept: PhraseEncoder, lexicon: Path | None) -> None:
    """Fail if the lexicon has other looks than a phrase encoder, whose parts could not be read together."""
    known = set(kept.config.looks)
    looks = {phrase.look for phrase in list_phrases(load_lexicon(lexicon))}
    if known != looks:
        other = min(known ^ looks)
        place = "phrase encoder" if other in known else "lexicon"
        raise InvalidConcepts(
            f"only the {place} has the look '{other}', so no part can be trained beside those that are "
            "there. Train without --beside, and then the weight generator"
        )


def _heads_of(encoder: PhraseEncoder) -> list[PhraseHead]:
    """The trained parts of a phrase encoder in torch."""
    heads = []
    for part in encoder.parts:
        head = PhraseHead(encoder.config.shape)
        weights = {name: np.asarray(part[name]) for name in head.state_dict()}
        weights["grams.weight"] = weights["grams.weight"] * part["grams.scale"][:, None]
        head.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        heads.append(head.eval())
    return heads


def measure_lexicon(
    encoder: str | os.PathLike[str],
    *,
    shares: Sequence[float] = (0.25, 0.5, 1.0),
    lexicon: Path | None = None,
    settings: PhraseSettings | None = None,
    cache: str | os.PathLike[str] | None = None,
    callback: Callback | None = None,
) -> Iterator[PhraseReport]:
    """Train on several shares of the lexicon, and report how well the same held-back phrases are understood.

    Args:
        encoder, lexicon, settings, cache, callback: as for `train_phrases`.
        shares: shares of the lexicon.
    """
    settings = settings or PhraseSettings()
    training, held_back, _ = _encoded(encoder, lexicon, replace(settings, share=1.0), cache, callback)
    looks = sorted({look for example in training.examples for look in example.looks})
    phrases = list_phrases(load_lexicon(lexicon))
    for share in shares:
        part = training.chosen(lambda example, share=share: example.place < share)  # type: ignore[misc]
        # As many steps for each share, so that a small one is not just trained less.
        epochs = max(1, round(settings.epochs * len(training.examples) / len(part.examples)))
        staged = None if callback is None else _named(callback, f"train on {share:g}")
        head = _train(part, looks, replace(settings, epochs=min(epochs, 2 * settings.epochs)), staged)
        n_phrases = len(split_phrases(phrases, share=share)[0])
        yield _report(held_back, looks, _read([head], held_back), share, n_phrases)


def _named(callback: Callback, name: str) -> Callback:
    """A callback that gives its stage another name, so that each training has a bar."""
    return lambda stage, done, total: callback(name, done, total)


def _encoded(
    encoder: str | os.PathLike[str],
    lexicon: Path | None,
    settings: PhraseSettings,
    cache: str | os.PathLike[str] | None,
    callback: Callback | None,
) -> tuple[_Encoded, _Encoded, int]:
    """The encoded examples to train on and those held back, and the number of phrases to train on."""
    states = PhraseStates.from_folder(encoder)
    phrases = list_phrases(load_lexicon(lexicon))
    training, held_back = split_phrases(phrases, share=settings.share)
    names = {
        language: {name: word for name, word in words.items() if name not in _NEW_COLOURS}
        for language, words in load_lexicon_colours(lexicon).items()
    }
    vocabulary = states.list_words(least_letters=4)
    draws = {
        name: getattr(settings, name)
        for name in ("n_colours", "n_framed", "n_misspelt", "n_joined", "n_without")
    }
    examples = make_examples(training, colours=names, vocabulary=vocabulary, seed=settings.seed, **draws)
    kept = make_examples(
        held_back, colours=names, vocabulary=vocabulary, seed=settings.seed + 1, **_N_VALIDATION
    )
    combined = _combined(phrases, lexicon)
    examples += [example for example in combined if 0 <= example.place < settings.share]
    kept += [example for example in combined if example.place < 0]
    seen = {normalise_words(example.words) for example in examples}
    kept = [example for example in kept if normalise_words(example.words) not in seen]
    known = _read_cache(cache)
    both = [_encode(states, part, known, callback) for part in (examples, kept)]
    if cache is not None:
        _write_cache(cache, both)
    return both[0], both[1], len(training)


def _combined(phrases: Sequence[Phrase], lexicon: Path | None) -> list[Example]:
    """The wordings of the catalog's combinations; none beside a lexicon of one's own."""
    if lexicon is not None and lexicon.resolve() != (catalog_folder() / "lexicon").resolve():
        return []
    looks = {phrase.look for phrase in phrases}
    return combined_examples(load_concepts(), looks=looks, slots=slots_of(phrases), colours=load_colours())


def _encode(
    states: PhraseStates,
    examples: list[Example],
    known: Mapping[str, NDArray[np.float16]],
    callback: Callback | None,
) -> _Encoded:
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].words))
    missing = [i for i in order if examples[i].words not in known]
    encoded = {i: known[example.words] for i, example in enumerate(examples) if example.words in known}
    for start in range(0, len(missing), _ENCODED_TOGETHER):
        part = missing[start : start + _ENCODED_TOGETHER]
        for i, one in zip(part, states.encode([examples[i].words for i in part]), strict=True):
            encoded[i] = one.astype(np.float16)
        if callback is not None:
            callback("encode", start + len(part), len(missing))
    grams = [hash_grams(example.words, PhraseShape(1).n_buckets) or [0] for example in examples]
    return _Encoded(examples, [encoded[i] for i in range(len(examples))], grams)


def _train(
    encoded: _Encoded, looks: Sequence[str], settings: PhraseSettings, callback: Callback | None
) -> PhraseHead:
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    head = PhraseHead(PhraseShape(len(looks) + 1), dropout=settings.dropout)
    targets, counts = _targets(encoded, looks)
    rates = [settings.learning_rate, settings.learning_rate * settings.gram_rate]
    others = [value for name, value in head.named_parameters() if not name.startswith("grams.")]
    groups: list[dict[str, Any]] = [
        {"params": others},
        {"params": list(head.grams.parameters()), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
    )
    n_batches = len(_draw_batches(encoded, settings.batch_size, rng))
    n_steps = settings.epochs * n_batches
    for step in range(n_steps):
        if step % n_batches == 0:
            batches = _draw_batches(encoded, settings.batch_size, rng)
        chosen = batches[step % n_batches]
        rate = min(1.0, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * step / n_steps)) + 0.005)
        for group, highest in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = highest * rate
        _, scores, of_counts = head(*_batch(encoded, chosen))
        wanted = torch.from_numpy(targets[chosen])
        loss = -(wanted * scores.log_softmax(-1)).sum(-1).mean()
        loss = loss + settings.count_weight * functional.cross_entropy(
            of_counts, torch.from_numpy(counts[chosen])
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        if callback is not None and (step % 20 == 0 or step == n_steps - 1):
            callback("train", step + 1, n_steps)
    with torch.no_grad():  # as they will be stored, so that the report and the confidence are of these
        for value in others:
            value.copy_(torch.from_numpy(round_weight(value.numpy())))
    return head.eval()


def _draw_batches(encoded: _Encoded, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw the batches of an epoch. Those of about the same length go together, so that little is padded."""
    order = rng.permutation(len(encoded.examples))
    lengths = np.array([len(states) for states in encoded.states])
    batches = []
    for start in range(0, len(order), 16 * batch_size):
        part = order[start : start + 16 * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _batch(
    encoded: _Encoded, chosen: Sequence[int] | NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    states = [encoded.states[i] for i in chosen]
    longest = max(map(len, states))
    padded = np.zeros((len(states), longest, states[0].shape[1]), dtype=np.float32)
    mask = np.zeros((len(states), longest), dtype=bool)
    for row, one in enumerate(states):
        padded[row, : len(one)] = one
        mask[row, : len(one)] = True
    grams = [encoded.grams[i] for i in chosen]
    offsets = np.cumsum([0, *map(len, grams[:-1])])
    flat = np.concatenate([np.asarray(one, dtype=np.int64) for one in grams])
    return torch.from_numpy(padded), torch.from_numpy(mask), torch.from_numpy(flat), torch.from_numpy(offsets)


def _targets(encoded: _Encoded, looks: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The shares of the looks of each example, the last for none, and their number."""
    numbers = {look: number for number, look in enumerate(looks)}
    targets = np.zeros((len(encoded.examples), len(looks) + 1), dtype=np.float32)
    for row, example in enumerate(encoded.examples):
        for look in example.looks:
            targets[row, numbers[look]] += 1 / len(example.looks)
        if not example.looks:
            targets[row, -1] = 1
    return targets, np.array([len(example.looks) for example in encoded.examples], dtype=np.int64)


def _read(heads: Sequence[PhraseHead], encoded: _Encoded) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of looks and of counts of examples, as means over all trained parts."""
    shares, counts = [], []
    with torch.no_grad():
        for start in range(0, len(encoded.examples), 512):
            chosen = range(start, min(start + 512, len(encoded.examples)))
            batch = _batch(encoded, chosen)
            read = [[scores.double().softmax(-1) for scores in head(*batch)[1:]] for head in heads]
            shares.append(torch.stack([one for one, _ in read]).mean(0).numpy())
            counts.append(torch.stack([one for _, one in read]).mean(0).numpy())
    return np.concatenate(shares), np.concatenate(counts)


def fit_confidence(
    shares: NDArray[np.float64],
    counts: NDArray[np.float64],
    targets: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> Confidence:
    """Fit the confidence of readings: a logistic regression by Newton's method, with a little ridge.

    Args:
        shares: shares of looks of held-back examples, the last for none.
        counts: their shares of counts.
        targets: the shares wanted, and the number of looks.

    Example:
        >>> shares = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1]] * 20)
        >>> counts = np.array([[0.0, 1.0, 0.0, 0.0]] * 40)
        >>> wanted = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] * 20, np.float32)
        >>> confidence = fit_confidence(shares, counts, (wanted, np.ones(40, int)))
        >>> confidence.of(shares[0], counts[0]) > 0.8, confidence.of(shares[1], counts[1]) < 0.2
        (True, True)
    """
    wanted, n_looks = targets
    is_right = ((shares.argmax(-1) == wanted.argmax(-1)) & (n_looks == 1)).astype(float)
    features = np.array([Confidence.features(one, other) for one, other in zip(shares, counts, strict=True)])
    design = np.column_stack([np.ones(len(features)), features])
    weights = np.zeros(design.shape[1])
    for _ in range(30):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        spread = probability * (1 - probability)
        hessian = (design * spread[:, None]).T @ design + 1e-2 * np.eye(len(weights))
        weights = weights + np.linalg.solve(hessian, design.T @ (is_right - probability) - 1e-2 * weights)
    return Confidence(*(round(float(weight), 6) for weight in weights))


def _report(
    held_back: _Encoded,
    looks: Sequence[str],
    readings: tuple[NDArray[np.float64], NDArray[np.float64]],
    share: float,
    n_phrases: int,
) -> PhraseReport:
    shares, counts = readings
    wanted, n_looks = _targets(held_back, looks)
    kinds = np.array([example.kind for example in held_back.examples])
    is_foreign = np.array(
        [any(letter > "\u024f" for letter in example.words) for example in held_back.examples]
    )
    ranks = (shares[:, :-1] > (shares * wanted).sum(-1, keepdims=True)).sum(-1)
    is_phrase = kinds == "phrase"

    def all_first(kind: str) -> NDArray[np.bool_]:
        return np.array(
            [
                set(np.argsort(-shares[i])[: n_looks[i]].tolist()) == set(np.flatnonzero(wanted[i]).tolist())
                for i in np.flatnonzero(kinds == kind)
            ],
            dtype=bool,
        )

    # Each half is judged by a confidence fitted on the other, so that none is judged by itself.
    half = np.arange(len(kinds)) % 2 == 0
    sure = np.zeros(len(kinds))
    for part in (half, ~half):
        confidence = fit_confidence(shares[~part], counts[~part], (wanted[~part], n_looks[~part]))
        sure[part] = [confidence.of(shares[i], counts[i]) for i in np.flatnonzero(part)]
    likely = sure >= 0.8
    is_right = (ranks == 0) & (n_looks == 1)

    def share_of(values: NDArray[np.bool_]) -> float:
        return round(float(values.mean()), 4) if len(values) else math.nan

    return PhraseReport(
        share=share,
        n_phrases=n_phrases,
        n_held_back=int(is_phrase.sum()),
        first=share_of(ranks[is_phrase] == 0),
        first_five=share_of(ranks[is_phrase] < 5),
        english=share_of(ranks[is_phrase & ~is_foreign] == 0),
        others=share_of(ranks[is_phrase & is_foreign] == 0),
        misspelt=share_of(ranks[kinds == "misspelt"] == 0),
        joined=share_of(all_first("joined")),
        combined=share_of(all_first("combined")),
        count=share_of(counts.argmax(-1) == n_looks),
        likely_right=share_of(is_right[likely]),
        likely=share_of(likely[is_phrase]),
    )


def _weights_of(head: PhraseHead) -> dict[str, NDArray[Any]]:
    """The weights by name; the vectors of letter groups as int8 with a scale each."""
    weights: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in head.state_dict().items()}
    table = weights["grams.weight"]
    scale = np.maximum(np.abs(table).max(axis=1) / 127, 1e-6).astype(np.float16)
    weights["grams.weight"] = (
        np.rint(table / scale[:, None].astype(np.float32)).clip(-127, 127).astype(np.int8)
    )
    return weights | {"grams.scale": scale}


def _plain_colours(lexicon: Path | None) -> dict[str, str]:
    """The catalog's colours by their names in all languages."""
    values, names = load_colours(), load_lexicon_colours(lexicon)
    plain = {normalise_words(name): value for name, value in values.items()}
    for language in LANGUAGES:
        for english, name in names[language].items():
            if english in values:
                plain.setdefault(normalise_words(name), values[english])
    return plain


def _read_cache(cache: str | os.PathLike[str] | None) -> dict[str, NDArray[np.float16]]:
    if cache is None or not Path(cache).is_file():
        return {}
    try:
        with np.load(cache, allow_pickle=False) as stored:
            words, lengths, states = stored["words"].tolist(), stored["lengths"], stored["states"]
    except (OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InvalidGenerator(f"the cache '{cache}' cannot be read ({error}). Delete it") from error
    ends = np.cumsum(lengths)
    return {text: states[end - length : end] for text, length, end in zip(words, lengths, ends, strict=True)}


def _write_cache(cache: str | os.PathLike[str], parts: Sequence[_Encoded]) -> None:
    words = [example.words for part in parts for example in part.examples]
    states = [one for part in parts for one in part.states]
    lengths = np.array([len(one) for one in states])
    np.savez(cache, words=np.array(words), lengths=lengths, states=np.concatenate(states))
