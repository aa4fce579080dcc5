"""Fine-tuning and harvesting in one call, with everything but the data left to defaults."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidPairs
from initzoo.pairs import Pair, PairSet, open_pairs, split_pairs
from initzoo.training.finetune import Finetuned, FinetuneSettings, run_finetune
from initzoo.training.harvest import (
    HarvestPlan,
    HarvestReport,
    load_recipe,
    quick_recipe,
    run_harvest,
)
from initzoo.training.harvest.recipe import recipe_of_base
from initzoo.training.start import Start, open_start, start_from_init
from initzoo.work import Backend, choose_device, default_run_folder
from initzoo.zoo import BUNDLED_ZOO, Zoo

if TYPE_CHECKING:
    from initzoo.checkpoints import Init

__all__ = ["finetune", "harvest"]

Pixels = NDArray[np.uint8]
Source = str | os.PathLike[str] | PairSet | Sequence[tuple[Pixels, Pixels]]


def finetune(
    pairs: Source,
    words: str = "",
    *,
    validation: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | Init | Start | None = None,
    zoo: str | os.PathLike[str] | Zoo = BUNDLED_ZOO,
    settings: FinetuneSettings | None = None,
    n_steps: int | None = None,
    name: str | None = None,
    device: str = "auto",
    run_folder: str | os.PathLike[str] | None = None,
    callback: Callable[[int, float, float], None] | None = None,
) -> Finetuned:
    """Train a network on before/after pairs, from weights that the zoo gives.

    Args:
        pairs: a folder or data set as `open_pairs` reads it, an open `PairSet`, or a list of (before, after)
            images, uint8 RGB of shape `(height, width, 3)`; about one in five is kept for validation.
        validation: a folder or data set of other pairs to validate on, if `pairs` is one too; then all of
            `pairs` are learnt from.
        words: the look in words; the zoo's checkpoint of it, or weights generated from them, are the start.
        start: what to start from instead: an init, its path, or the name of a scheme such as `base`.
            Without words and start it is the zoo's `base`.
        zoo: the zoo that words are looked up in.
        settings: objective and schedule; the defaults otherwise.
        n_steps: steps of training, in place of those of `settings`.
        name: of the look in the resulting init; else the words, or the name of the pairs.
        device: `auto`, `cpu`, `cuda` or `mps`.
        run_folder: keeps unfinished work, so that the same call goes on after a kill; without one, nothing
            is kept.
        callback: called with steps done, smoothed loss and the last validation PSNR (dB).

    Returns:
        The best weights, as `init` and as `network`, with scores before and after.

    Raises:
        InvalidPairs: the pairs cannot be read, do not match, or are smaller than a crop.
        UnknownConcept, InvalidWords, InvalidInit, LayoutMismatch: there is no such start.
        FinetuneError: a setting is out of range, or training diverged.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(5)]
        >>> result = finetune([(photo, 255 - photo) for photo in before], "negative", n_steps=2)
        >>> result.init
        Init('negative', fine-tuned, merged, recipe 'starter')
        >>> result.network.edit(before[0]).shape
        (64, 64, 3)
    """
    from dataclasses import replace

    settings = settings or FinetuneSettings()
    if n_steps is not None:
        settings = replace(settings, n_steps=n_steps)
    pair_set = _pair_set(pairs, validation)
    opened = zoo if isinstance(zoo, Zoo) else Zoo.from_pretrained(zoo)
    begin = _start(start if start is not None else words or "base", words, opened, settings.seed)
    title = name or words or pair_set.source
    kept = nullcontext(run_folder) if run_folder else tempfile.TemporaryDirectory(prefix="initzoo-")
    with kept as folder:
        return run_finetune(
            begin,
            pair_set,
            settings,
            Path(str(folder)),
            device=choose_device(device),
            name=title,
            callback=callback,
        )


def harvest(
    concepts: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    photos: str | os.PathLike[str] | None = None,
    recipe: str | os.PathLike[str] = "starter",
    zoo: Zoo | str | None = None,
    limit: int | None = None,
    quick: bool = False,
    n_workers: int | None = None,
    backend: Backend = "processes",
    run_folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    callback: Callable[[str, int, int], None] | None = None,
) -> HarvestReport:
    """Train a zoo of many concepts and write it to a folder.

    It may be killed; the same call goes on and ends with the same bytes.

    Args:
        concepts: a TOML file of concepts; None for those that come with initzoo.
        out: the zoo's folder.
        photos: folder of photos to make pairs of; the bundled ones otherwise.
        recipe: a bundled recipe, or a TOML file with one.
        zoo: a zoo to add to: its base, recipe and checkpoints are kept, and only concepts that it lacks are
            trained.
        limit: take only so many concepts, spread over the file.
        quick: train hardly at all, to see that everything works.
        n_workers: processes, one a core; as many as there are cores otherwise.
        backend: where workers run: in processes of this machine, or on a ray cluster.
        run_folder: for unfinished work; `out` with `.run` behind its name otherwise.
        force: replace a zoo that is there already.
        callback: called with stage, things done and things in all.

    Raises:
        InvalidConcepts, LayoutMismatch: the concepts or the recipe cannot be read.
        HarvestError: every concept failed.
        WorkerDied: a worker died.
        OutputError: `out` holds a zoo already, or cannot be written.

    Example:
        >>> harvest("looks.toml", "my-zoo", quick=True).n_checkpoints  # doctest: +SKIP
        12
    """
    opened = Zoo.from_pretrained(zoo) if isinstance(zoo, str) else zoo
    chosen = load_recipe(recipe) if opened is None else recipe_of_base(opened.config)
    if quick:
        chosen = quick_recipe(chosen)
    concepts = None if concepts is None else Path(concepts)
    photos = None if photos is None else Path(photos)
    if opened is None:
        plan = HarvestPlan.make(chosen, concepts_path=concepts, photos=photos, limit=limit)
    else:
        plan = HarvestPlan.add_to(opened, chosen, concepts_path=concepts, photos=photos, limit=limit)
    folder = Path(out).absolute()
    work = default_run_folder(folder) if run_folder is None else Path(run_folder)
    return run_harvest(
        plan, work, folder, n_workers=n_workers, backend=backend, force=force, callback=callback
    )


def _pair_set(pairs: Source, validation: str | os.PathLike[str] | None) -> PairSet:
    if isinstance(pairs, str | os.PathLike):
        return open_pairs(str(pairs), validation=None if validation is None else str(validation))
    if validation is not None:
        raise InvalidPairs("validation goes with pairs of a folder or data set. Use PairSet for others")
    if isinstance(pairs, PairSet):
        return pairs
    made = [Pair(f"{number:06d}", before, after) for number, (before, after) in enumerate(pairs)]
    for pair in made:
        pair.check()
    return split_pairs("images in memory", made)


def _start(start: str | os.PathLike[str] | Init | Start, words: str, zoo: Zoo, seed: int) -> Start:
    if isinstance(start, Start):
        return start
    if isinstance(start, str | os.PathLike):
        return open_start(start, zoo, words=words, seed=seed)
    return start_from_init(start, zoo)
