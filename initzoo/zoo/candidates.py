"""The candidates that a fit to example pairs may begin with, from a zoo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import MAX_SEED, join_blocks
from initzoo.errors import InvalidWords
from initzoo.generator import Request
from initzoo.pairs import effect_of, prepare_examples
from initzoo.zoo.labels import METHODS

if TYPE_CHECKING:
    from torch import Tensor

    from initzoo.checkpoints import Layout, Recipe
    from initzoo.generator import Candidate, Encoder, WeightGenerator
    from initzoo.zoo.effects import Effects
    from initzoo.zoo.index import Index, IndexRow, Match
    from initzoo.zoo.router import Router

__all__ = ["find_candidates"]

_N_REPRESENTATIVES, _N_KIN = 48, 8
"""Checkpoints that are looked at first, and neighbours of each of the best of them."""

_MOST_SECONDS_OF_TREE = 0.4
"""Work of a fit of all weights above which checkpoints from all over the zoo are left out: steps from the
base then bring more than looking at them costs, even if one of them is the very look."""

_N_ALIKE, _N_SHOWN = 8, 8
"""Checkpoints that do what pairs show, and pairs that are looked at for it."""

_CHECKPOINT = "checkpoint "

_N_NEAREST, _N_SEEDS = 3, 3
"""Checkpoints nearest to the words, and seeds of generated adapters."""

_N_IN_SPLIT = 10
"""Concepts among which those of one split are looked for."""


class HasCheckpoints(Protocol):
    """The parts of a `Zoo` that candidates come from."""

    @property
    def index(self) -> Index: ...
    @property
    def effects(self) -> Effects | None: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def has_generator(self) -> bool: ...
    @property
    def generator(self) -> WeightGenerator: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def router(self) -> Router | None: ...
    def holds(self, words: str) -> bool: ...
    def writes_like(self, words: str) -> bool: ...
    def blocks_of(self, rows: Sequence[IndexRow]) -> Iterator[NDArray[np.float32]]: ...
    def detail(self, concept_id: str) -> dict[str, NDArray[np.float32]] | None: ...


def find_candidates(
    zoo: HasCheckpoints, request: Request, *, adapter_only: bool = False, split: str | None = None
) -> list[Candidate]:
    """Find what a fit may begin with: the base, what the words give, and checkpoints that do what pairs show.

    A zoo that does not know what its checkpoints do gives checkpoints from all over it, to fits with little
    work or of the adapter alone. They form a small tree: some are taken at equal distances in the order of
    their ids, in which like ones stand side by side, and the neighbours of the best of them are read only
    when they are needed.

    Args:
        zoo: the zoo.
        request: words, which may be empty, pairs, the seed of generated adapters, and the work in seconds.
        adapter_only: whether the adapter alone will be trained, so that no checkpoint takes part with its
            detail.
        split: take checkpoints of this split only, to measure on others; all by default.

    Raises:
        InvalidWords: the words are too long, or unknown to the weight generator.
        ChecksumMismatch, InvalidGenerator, InvalidZoo, LayoutMismatch: the zoo is damaged.
    """
    import torch

    from initzoo.generator import Candidate

    base = Candidate("base", torch.zeros(zoo.layout.n_values))
    gathering = _Gathering(zoo, not adapter_only, split)
    by_name = {"base": base}
    is_short = adapter_only or request.seconds <= _MOST_SECONDS_OF_TREE
    if zoo.effects is not None:
        others = gathering.from_effects(zoo.effects, request)
    else:
        others = gathering.from_tree() if is_short else iter(())
    for candidate in (*gathering.mean(), *gathering.from_words(request), *others):
        known = by_name.get(candidate.name)  # a checkpoint that the words found may have neighbours, too
        by_name[candidate.name] = candidate if known is None else replace(known, kin=candidate.kin)
    return list(by_name.values())


class _Gathering:
    """Reads candidates of one zoo."""

    def __init__(self, zoo: HasCheckpoints, with_details: bool, split: str | None) -> None:
        self.zoo, self.with_details, self.split = zoo, with_details, split

    def mean(self) -> Iterator[Candidate]:
        """The mean adapter. The weight generator holds it, so that no checkpoint has to be read for it."""
        from initzoo.generator import Candidate

        if self.zoo.has_generator:
            generator = self.zoo.generator
            arrays = join_blocks(generator.mean, generator.config.own_layout)
            yield Candidate(METHODS["mean"].short, self._to_adapter(arrays))

    def from_words(self, request: Request) -> Iterator[Candidate]:
        """What the words name or resemble, and what the weight generator makes of the request."""
        from initzoo.generator import Candidate

        if request.words:
            row = self.zoo.index.find(request.words)
            ids = [] if row is None else [row.concept_id]
            ids += [match.concept_id for match in self._nearest(request.words)]
            for candidate in self._checkpoints(list(dict.fromkeys(ids)))[: _N_NEAREST + (row is not None)]:
                yield replace(candidate, is_from_words=True)
        asked = self._requests(request)
        if not asked:
            return
        for one, adapter in zip(asked, self.zoo.generator.generate_many(asked), strict=True):
            name = f"generated from {one.conditions}, seed {one.seed}"
            values = self._to_adapter(join_blocks(adapter, self.zoo.layout))
            licence = self.zoo.generator.config.licence
            yield Candidate(
                name, values, is_from_words=bool(one.words), licence=licence, draw_of=one.conditions
            )

    def from_effects(self, effects: Effects, request: Request) -> Iterator[Candidate]:
        """Checkpoints that do most nearly what the pairs show, of those that will be trained on."""
        from initzoo.generator import pairs_to_train

        if not request.pairs:
            return
        pairs = pairs_to_train(prepare_examples(request.pairs))
        count = min(len(pairs), _N_SHOWN)
        shown = (pairs[len(pairs) * number // count] for number in range(count))
        order = effects.order(effect_of([(pair.given, pair.wanted) for pair in shown]))
        known = set(self.zoo.index.ids)  # a zoo may hold fewer, as if some had never been made
        ids = (one for one in order if one in known)
        if self.split is not None:
            ids = (one for one in ids if self.zoo.index.row(one).split == self.split)
        yield from self._checkpoints(list(islice(ids, _N_ALIKE)))

    def from_tree(self) -> Iterator[Candidate]:
        """Checkpoints at equal distances in the order of ids; each knows its neighbours."""
        ids = self.zoo.index.ids
        n_all = len(ids)
        n_branches = min(_N_REPRESENTATIVES, n_all)
        branches = [
            range(n_all * number // n_branches, n_all * (number + 1) // n_branches)
            for number in range(n_branches)
        ]
        branch_of = {ids[branch[len(branch) // 2]]: [ids[place] for place in branch] for branch in branches}
        for candidate in self._checkpoints(list(branch_of)):
            kin = _spread(branch_of[candidate.name.removeprefix(_CHECKPOINT)], _N_KIN)
            yield replace(candidate, kin=partial(self._checkpoints, kin))

    def _nearest(self, words: str) -> Sequence[Match]:
        """The concepts nearest by meaning, or by letters in a zoo without a phrase encoder."""
        router = self.zoo.router
        n = _N_NEAREST if self.split is None else _N_IN_SPLIT
        return self.zoo.index.search(words, n) if router is None else router.rank(words, n)

    def _requests(self, request: Request) -> list[Request]:
        """Requests to the weight generator with the conditions that it reads; none if it reads none given."""
        if not self.zoo.has_generator:
            return []
        reads = self.zoo.encoder.reads
        words = request.words if "words" in reads and self.zoo.writes_like(request.words) else ""
        pairs = request.pairs if "pairs" in reads else ()
        if not words and not pairs:
            return []
        if words and self.zoo.holds(words):  # a checkpoint has them, so it does not matter
            try:
                self.zoo.encoder.check(Request(words, pairs))
            except InvalidWords:
                return []
        seeds = range(request.seed, min(request.seed + _N_SEEDS, MAX_SEED + 1))
        return [Request(words, pairs, seed, request.n_timesteps) for seed in seeds]

    def _checkpoints(self, ids: Sequence[str]) -> list[Candidate]:
        """The checkpoints of these ids that belong to the default recipe and the wanted split."""
        from initzoo.generator import Candidate

        rows = [self.zoo.index.row(concept_id) for concept_id in ids]
        rows = [row for row in rows if row.recipe == self.zoo.recipe.name and self.split in (None, row.split)]
        candidates = []
        for row, blocks in zip(rows, self.zoo.blocks_of(rows), strict=True):
            adapter = self._to_adapter(join_blocks(blocks, self.zoo.layout))
            candidate = Candidate(f"{_CHECKPOINT}{row.concept_id}", adapter, licence=row.licence)
            if row.has_detail and self.with_details:
                candidate = replace(candidate, whole=partial(self._whole, row, candidate))
            candidates.append(candidate)
        return candidates

    def _whole(self, row: IndexRow, candidate: Candidate) -> Candidate:
        detail = self.zoo.detail(row.concept_id)
        return replace(
            candidate, name=f"{candidate.name} with its detail", detail=detail, whole=None, kin=None
        )

    def _to_adapter(self, arrays: Mapping[str, NDArray[np.float32]]) -> Tensor:
        from initzoo.networks import adapter_from_arrays

        return adapter_from_arrays(arrays, dict(self.zoo.layout.tensors))


def _spread(ids: Sequence[str], limit: int) -> list[str]:
    """All ids, or `limit` of them, evenly spaced."""
    count = min(len(ids), limit)
    return [ids[len(ids) * number // count] for number in range(count)]
