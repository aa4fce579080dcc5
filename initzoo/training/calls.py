"""Fine-tuning and harvesting in one call; only the data are required."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidPairs
from initzoo.files import temporary_folder
from initzoo.pairs import Pair, PairSet, open_pairs, split_pairs
from initzoo.training.choosing import choose_start
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
    """Train a network on before/after pairs, starting from weights of a zoo.

    Args:
        pairs: a folder or dataset for `open_pairs`, an open `PairSet`, or a list of (before, after) images,
            uint8 RGB, shape `(height, width, 3)`; about one in five is held out for validation.
        words: words for the look, whose weights compete to be the start.
        validation: a folder or dataset of pairs to validate on, if `pairs` is one too; then all of `pairs`
            are for training.
        start: an init, its path, words, or the name of a scheme such as `base`. By default the pairs choose
            among what the zoo has: it is fitted to them, for a tenth of the time of the training.
        zoo: the zoo.
        settings: objective and schedule; defaults otherwise.
        n_steps: number of steps, instead of that in `settings`.
        name: name of the look in the resulting init; by default the words, or the name of the pairs.
        device: `auto`, `cpu`, `cuda` or `mps`.
        run_folder: folder for unfinished work, from which the same call resumes; by default nothing is kept.
        callback: called with the number of steps done, smoothed loss and the last validation PSNR (dB).

    Returns:
        The best weights, as `init` and as `network`, with scores before and after.

    Raises:
        InvalidPairs: the pairs cannot be read, do not match, or are smaller than a crop.
        UnknownConcept, InvalidWords, InvalidInit, LayoutMismatch: the start cannot be opened.
        FinetuneError: a setting is out of range, or training diverged.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(5)]
        >>> result = finetune([(photo, 255 - photo) for photo in before], "negative", n_steps=2)
        >>> result.init
        Init('negative', fine-tuned, merged, recipe 'starter-2')
        >>> result.network.edit(before[0]).shape
        (64, 64, 3)
    """
    from dataclasses import replace

    settings = settings or FinetuneSettings()
    if n_steps is not None:
        settings = replace(settings, n_steps=n_steps)
    pair_set = _pair_set(pairs, validation)
    opened = zoo if isinstance(zoo, Zoo) else Zoo.from_pretrained(zoo)
    begin = _start(start, pair_set, words, opened, settings)
    title = name or words or pair_set.source
    kept = nullcontext(run_folder) if run_folder else temporary_folder()
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
    recipe: str | os.PathLike[str] = "starter-2",
    zoo: Zoo | str | None = None,
    limit: int | None = None,
    quick: bool = False,
    n_workers: int | None = None,
    backend: Backend = "processes",
    address: str | None = None,
    run_folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    callback: Callable[[str, int, int], None] | None = None,
) -> HarvestReport:
    """Train a zoo of many concepts and write it to a folder.

    If it is killed, the same call resumes and gives the same bytes.

    Args:
        concepts: TOML file of concepts; None for the bundled ones.
        out: folder of the zoo.
        photos: folder of photos for the pairs; the bundled ones by default.
        recipe: name of a bundled recipe, or a TOML file.
        zoo: a zoo to extend: its base, recipe and checkpoints are kept, and only concepts that it lacks are
            trained.
        limit: maximum number of concepts, spread over the file.
        quick: train very little, to test that everything works.
        n_workers: number of processes, one core each; one per core by default.
        backend: where workers run: in processes on this machine, or on a Ray cluster.
        address: address of the cluster; by default that of RAY_ADDRESS, or one that is started here.
        run_folder: folder for unfinished work; by default the name of `out` with `.run` appended.
        force: replace an existing zoo.
        callback: called with the stage, the number of items done and their total.

    Raises:
        InvalidConcepts, LayoutMismatch: the concepts or the recipe cannot be read.
        HarvestError: every concept failed.
        WorkerDied: a worker died.
        OutputError: `out` exists, or cannot be written.

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
        plan,
        work,
        folder,
        n_workers=n_workers,
        backend=backend,
        address=address,
        force=force,
        callback=callback,
    )


def _pair_set(pairs: Source, validation: str | os.PathLike[str] | None) -> PairSet:
    if isinstance(pairs, str | os.PathLike):
        return open_pairs(str(pairs), validation=None if validation is None else str(validation))
    if validation is not None:
        raise InvalidPairs("validation goes with pairs of a folder or dataset. Use PairSet for other pairs")
    if isinstance(pairs, PairSet):
        return pairs
    made = [Pair(f"{number:06d}", before, after) for number, (before, after) in enumerate(pairs)]
    for pair in made:
        pair.check()
    return split_pairs("images in memory", made)


def _start(
    start: str | os.PathLike[str] | Init | Start | None,
    pairs: PairSet,
    words: str,
    zoo: Zoo,
    settings: FinetuneSettings,
) -> Start:
    if start is None:
        pairs.check_crops(settings.crop_size)  # before the work of choosing
        return choose_start(pairs, zoo, settings, words=words)
    if isinstance(start, Start):
        return start
    if isinstance(start, str | os.PathLike):
        return open_start(start, zoo, words=words, seed=settings.seed)
    return start_from_init(start, zoo)
