"""The start of a fine-tune that the pairs choose themselves."""

from __future__ import annotations

from dataclasses import replace

from initzoo.errors import FinetuneError
from initzoo.generator import Request, seconds_of_steps
from initzoo.pairs import PairSet, choose_examples
from initzoo.training.finetune import FinetuneSettings
from initzoo.training.start import Start, open_start, start_from_init
from initzoo.zoo import Zoo

__all__ = ["choose_start"]

_CHOOSING_SHARE, _LEAST_SECONDS, _MOST_SECONDS = 0.1, 0.3, 3.0
"""Work of choosing a start as a share of the training, and its bounds."""


def choose_start(
    pairs: PairSet,
    zoo: Zoo,
    settings: FinetuneSettings,
    *,
    words: str = "",
    adapter_only: bool = False,
    warn: bool = True,
) -> Start:
    """Choose the start of a fine-tune by the pairs: what `Zoo.pull` fits to them, named after its beginning.

    The choice takes a tenth of the work of the training, within 0.3 to 3 seconds of one core as `fit_pairs`
    counts them. Pairs for validation stay unseen.

    Args:
        pairs: training and validation pairs.
        zoo: the zoo.
        settings: settings of the fine-tune.
        words: words for the edit, whose weights compete, too.
        adapter_only: train the adapter alone, so that no checkpoint competes with its detail.
        warn: emit a `UserWarning` if something is odd about the pairs.

    Raises:
        FinetuneError: the network of the zoo has no adapters that could be fitted, and there are no words.
        InvalidPairs: the pairs cannot be fitted, as for `Zoo.pull`.
        UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, ChecksumMismatch: as for `Zoo.pull`.
    """
    if not zoo.can_fit:
        if words:
            return open_start(words, zoo, adapter_only=adapter_only, seed=settings.seed, warn=warn)
        raise FinetuneError(
            f"zoo '{zoo.name}' has no adapters that could be fitted to the pairs. Name a start, e.g. "
            f"{zoo.index.ids[0]}"
        )
    training = seconds_of_steps(
        zoo.recipe.build(),
        n_steps=settings.n_steps,
        n_images=settings.batch_size,
        side=settings.crop_size,
    )
    request = Request(
        words,
        tuple(pairs.train[number] for number in choose_examples(len(pairs.train))),
        seed=settings.seed,
        seconds=min(_MOST_SECONDS, max(_LEAST_SECONDS, _CHOOSING_SHARE * training)),
    )
    init = zoo.pull(request, adapter_only=adapter_only, warn=warn)
    assert init.metadata.fitting is not None
    return replace(start_from_init(init, zoo, adapter_only=adapter_only), name=init.metadata.fitting.start)
