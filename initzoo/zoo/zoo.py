"""`Zoo`: finds trained checkpoints by words, pulls them as inits, and generates inits for other words."""

from __future__ import annotations

import hashlib
import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np

from initzoo.checkpoints import (
    SCORES,
    Base,
    BaseConfig,
    Generation,
    Init,
    InitMetadata,
    Layout,
    Recipe,
    add_detail,
    decode_detail,
    join_blocks,
    merge_adapter,
    name_words,
    read_base,
    read_base_config,
    split_blocks,
)
from initzoo.errors import (
    HubUnavailable,
    InitzooWarning,
    InvalidGenerator,
    InvalidRequest,
    InvalidWords,
    InvalidZoo,
    LayoutMismatch,
    UnknownConcept,
    UnknownZoo,
)
from initzoo.files import is_file, read_file, reported_as
from initzoo.generator import Request, RequestOptions, as_request, check_words
from initzoo.pairs import alphabets_of, catalog_folder
from initzoo.zoo.effects import MAX_EFFECTS_BYTES, Effects
from initzoo.zoo.folder import FolderFiles, PlannedFile, ZooFiles
from initzoo.zoo.hub.addresses import HubSettings, is_hub_address, split_address
from initzoo.zoo.index import Index, IndexRow, Match
from initzoo.zoo.route import Route
from initzoo.zoo.shards import decode_blocks
from initzoo.zoo.verify import VerifyReport, check_row

if TYPE_CHECKING:
    from initzoo.generator import (
        Calibration,
        Candidate,
        Encoder,
        Examples,
        Expectation,
        GeneratorFiles,
        PairPasses,
        PhraseEncoder,
        TaughtAdapters,
        WeightGenerator,
    )
    from initzoo.networks import GraphNetwork, ImageNetwork
    from initzoo.pairs import Concept
    from initzoo.zoo.router import Router

__all__ = ["BUNDLED_ZOO", "Zoo"]

BUNDLED_ZOO = "starter"
_MAX_WORDING = 200
_ALIKE = 0.7  # similarity by letters from which words that mean no look are taken for a misspelt wording
_OPTIONS = {"exact": "--exact", "matched": "--match"}  # of `initzoo pull`, by origin
_MAX_GRAPH_BYTES = 2**23
_T = TypeVar("_T")


class _once(cached_property[_T]):
    """A cached property of a zoo that one thread computes while the others wait."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        with instance._lock:
            return super().__get__(instance, owner)


class Zoo:
    """Index, shards, base and weight generator. Open one with `Zoo.from_pretrained`.

    Files are read lazily and verified on every read. A zoo may lack a weight generator. Threads can share
    a zoo.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")  # doctest: +SKIP
        >>> zoo.find("Pencil-Sketch").concept_id  # doctest: +SKIP
        'pencil-sketch'
    """

    def __init__(self, files: ZooFiles) -> None:
        """Use the files of a zoo; `from_pretrained` locates them.

        Raises:
            TypeError: `files` is the name or folder of a zoo.
        """
        if isinstance(files, str | os.PathLike):
            raise TypeError(f"Zoo takes files; open a zoo with Zoo.from_pretrained({os.fspath(files)!r})")
        self.files = files
        self._configs: dict[str, BaseConfig] = {}
        self._bases: dict[str, Base] = {}
        self._lock = RLock()
        self._last_route: tuple[tuple[str, str | None], Route] | None = None

    def __repr__(self) -> str:
        return f"Zoo({self.address!r})"

    def __reduce__(self) -> tuple[type[Zoo], tuple[Any]]:
        """Pickle only the location of the files: another process opens them itself."""
        return Zoo, (self.files,)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        endpoint: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        require_signature: str | os.PathLike[str] | None = None,
    ) -> Zoo:
        """Open the bundled zoo, a zoo in a folder, or a zoo on the Hub.

        For a zoo on the Hub the revision is resolved now. Its files are fetched on first use,
        verified, and kept in the Hub's cache. A folder takes precedence over a repo of the same name.

        Args:
            name: `starter` for the bundled zoo; a folder with `dataset/index.parquet` and
                `model/base/`; or `owner/name` on the Hub, optionally with a revision: `owner/name@v1`.
            revision: branch, tag or commit on the Hub, e.g. `v1`; `main` by default.
            token: access token for the Hub, or False for none; by default HF_TOKEN or the token of
                `hf auth login`.
            endpoint: URL of the Hub; by default HF_ENDPOINT.
            cache_dir: folder of the Hub's cache; by default HF_HUB_CACHE.
            local_files_only: use cached files only and never contact the Hub, as HF_HUB_OFFLINE=1 does.
            require_signature: PEM file of a public key; a zoo that was not signed with its private key is
                refused. Needs the extra `sign`.

        Raises:
            UnknownZoo: the zoo or revision does not exist.
            AccessDenied: the zoo is private or gated.
            HubUnavailable: the Hub is needed and does not answer.
            InvalidSignature: the zoo is not signed with the key of `require_signature`.
            ValueError: a revision is given for a zoo that is not on the Hub, or twice.
        """
        text = str(name)
        files: ZooFiles
        is_folder = text != BUNDLED_ZOO and is_file(Path(name) / "dataset" / "index.parquet")
        if text == BUNDLED_ZOO:
            files = FolderFiles(catalog_folder(), BUNDLED_ZOO, BUNDLED_ZOO)
        elif is_folder or not is_hub_address(text):
            files = FolderFiles(Path(name), _plain(Path(name).absolute().name), text)
        else:
            repo, named = split_address(text)
            if named is not None and revision is not None:
                raise ValueError(f"two revisions: '{named}' in the name and '{revision}'; give one")
            settings = HubSettings(token, endpoint, cache_dir, local_files_only)
            files = _open_hub_zoo(repo, named or revision, settings)
            _check_signature(files, require_signature)
            return cls(files)
        if not is_file(files.index_path()):
            asked = _plain(text)[:_MAX_WORDING]
            raise UnknownZoo(
                f"no zoo {asked!r}: found no dataset/index.parquet there. Name a folder that holds one, "
                f"a zoo on the Hub (owner/name), or the zoo that comes with initzoo: --zoo {BUNDLED_ZOO}"
            )
        if revision is not None:
            raise ValueError(
                f"zoo '{files.name}' is in a folder, which has no revision '{revision}'; leave it out"
            )
        _check_signature(files, require_signature)
        return cls(files)

    @property
    def name(self) -> str:
        """The name of the zoo."""
        return self.files.name

    @property
    def address(self) -> str:
        """The name that opens the same zoo again, as `--zoo` takes it."""
        return self.files.address

    @property
    def folder(self) -> Path:
        """The zoo's folder.

        Raises:
            InvalidZoo: the zoo is on the Hub.
        """
        if isinstance(self.files, FolderFiles):
            return self.files.folder
        raise InvalidZoo(f"zoo '{self.name}' is on the Hub, and this needs a zoo in a folder.")

    @_once
    def index(self) -> Index:
        """The index of the zoo.

        Raises:
            InvalidZoo: it is damaged or has another format version.
        """
        return Index.open(self.files.index_path(), lookup_folder=_lookup_folder)

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that the zoo has a base for, the default recipe first.

        Raises:
            InvalidZoo: the manifest is missing or damaged.
        """
        manifest = self.files.manifest
        return (manifest.recipe, *(name for name in manifest.bases if name != manifest.recipe))

    @property
    def config(self) -> BaseConfig:
        """The config of the base of the default recipe.

        Raises:
            InvalidZoo: the config is missing or damaged.
        """
        return self.config_of(self.files.manifest.recipe)

    def config_of(self, recipe: str) -> BaseConfig:
        """The config of a recipe's base.

        Raises:
            InvalidZoo: the zoo has no base of that recipe, or its config is damaged.
        """
        with self._lock:
            if recipe not in self._configs:
                folder = self.files.base_folder(recipe)
                self._configs[recipe] = read_base_config(folder, digest=self._digest_of(recipe))
            return self._configs[recipe]

    @property
    def layout(self) -> Layout:
        """The layout of the default recipe's adapters."""
        return self.config.layout

    @property
    def recipe(self) -> Recipe:
        """The default recipe, which generated inits have."""
        return self.config.recipe

    @_once
    def revision(self) -> str:
        """40 hex digits that change when a checkpoint, a wording or the base changes.

        On the Hub this is the commit of the dataset repo. For a folder it is a digest of the index and of the
        base's config, which hold the digests of all other files. It does not cover the weight generator of a
        folder; a generated init names the digest of its weight generator.
        """
        if self.files.revision is not None:
            return self.files.revision
        both = f"{self.index.sha256} {self.config.config_sha256}"
        return hashlib.sha256(both.encode()).hexdigest()[:40]

    def find(self, words: str) -> IndexRow:
        """Find the row of the concept that has `words` as its id or as a wording.

        Raises:
            UnknownConcept: no concept has these words; the message names the three closest.
        """
        row = self.index.find(words)
        if row is None:
            closest = ", ".join(f"'{match.concept_id}'" for match in self.nearest(words))
            hint = f"; closest are {closest}" if closest else ""
            asked = _plain(words)[:_MAX_WORDING]
            more = (
                "List all: initzoo list"
                if self.name == BUNDLED_ZOO
                else f"Search: initzoo search WORDS --zoo {self.address}"
            )
            if self.has_generator:
                more += ". Or pull what the words mean, or weights made from them: initzoo pull WORDS"
            raise UnknownConcept(f"no concept {asked!r} in zoo '{self.name}'{hint}. {more}")
        return row

    def holds(self, words: str) -> bool:
        """Whether `words` are the id or a wording of a concept."""
        return self.index.find(words) is not None

    def nearest(self, words: str, n: int = 3) -> list[Match]:
        """The `n` concepts nearest to words, nearest first: by meaning, or by letters without a phrase
        encoder.

        Concepts that the phrase encoder does not know are compared by letters.

        Example:
            >>> zoo = Zoo.from_pretrained("starter")
            >>> [match.concept_id for match in zoo.nearest("cannot see a thing for the fog", 1)]
            ['fog']
        """
        return self._ranked(words, n, self.index.nearest)

    def search(self, words: str, n: int = 10) -> list[Match]:
        """Up to `n` concepts that words could mean, the one that `pull` would take first; may be empty."""
        return self._ranked(words, n, self.index.search)

    def _ranked(self, words: str, n: int, by_letters: Callable[[str, int], list[Match]]) -> list[Match]:
        try:
            router = self.router
        except HubUnavailable:
            warnings.warn(
                f"zoo '{self.name}': its phrase encoder is not cached and the Hub is out of reach, so that "
                "letters are compared instead of meanings",
                InitzooWarning,
                stacklevel=3,
            )
            return by_letters(words, n)
        if router is None or not self._reads(words, router):
            return by_letters(words, n)
        try:
            matches = router.rank(words, n)
        except InvalidWords:
            return by_letters(words, n)
        row = self.index.find(words)
        if row is not None:
            named = Match(row.concept_id, row.prompts[0], 1.0)
            matches = [named, *(match for match in matches if match.concept_id != row.concept_id)]
        if not matches:
            # Few letters say little of what words mean, unless they are nearly those of a wording.
            alike = [one for one in by_letters(words, n) if one.similarity >= _ALIKE]
            return [one for one in alike if not router.is_opposite(words, one.concept_id)]
        further = [match for match in self.index.search(words, n) if not router.knows(match.concept_id)]
        known = {match.concept_id for match in matches}
        further = [match for match in further if match.concept_id not in known]
        return sorted([*matches, *further], key=lambda match: -match.similarity)[:n]

    def route(self, request: Request | str, **options: Unpack[RequestOptions]) -> Route:
        """Decide how the zoo answers a request: with which checkpoint, or with generated weights, and why.

        Args:
            request, options: as for `pull`.

        Raises:
            UnknownConcept: no checkpoint has the words, and the zoo cannot or must not generate.
            InvalidRequest: a checkpoint would answer it, and would ignore its example pairs.
            InvalidWords: the words are empty, too long, or have control or invisible characters.

        Example:
            >>> route = Zoo.from_pretrained("starter").route("cannot see a thing for the fog")
            >>> route.origin, route.concept_id
            ('matched', 'fog')
        """
        request = as_request(request, **options)
        if request.origin == "generated":
            return Route("generated", None, None, "generated weights are wanted")
        if request.pairs:
            if request.origin is not None:
                raise InvalidRequest(
                    f"the request has {len(request.pairs)} example pairs, and a checkpoint is found by words "
                    f"alone. Leave the pairs out, or origin='{request.origin}' ({_OPTIONS[request.origin]})"
                )
            return Route("generated", None, None, f"made from {request.conditions}")
        row = self.index.find(request.words)
        if row is not None:
            return Route("exact", row.concept_id, 1.0, "a wording of it")
        # `pull`, and whoever says why it answered so, ask for the same words one after the other.
        asked, last = (request.words, request.origin), self._last_route
        if last is not None and last[0] == asked:
            return last[1]
        route = self._route_by_meaning(request)
        self._last_route = asked, route
        return route

    def _route_by_meaning(self, request: Request) -> Route:
        router = self.router
        words, wants_match = request.words, request.origin == "matched"
        if router is None:
            if wants_match:
                raise UnknownConcept(
                    f"zoo '{self.name}' has no phrase encoder, which finds checkpoints by meaning. "
                    "Ask for a wording, or for generated weights"
                )
            if request.origin == "exact" or not self.has_generator:
                self.find(words)  # raises
            return Route("generated", None, None, "no checkpoint has these words")
        misspelt = None if wants_match else router.find_misspelt(words, self.index)
        if misspelt is not None:
            return Route("exact", misspelt, 1.0, "a wording of it with one word misspelt")
        if request.origin == "exact":
            self.find(words)  # raises
        route = router.route(words)
        is_read = self._reads(words, router)
        if route.origin == "matched" and is_read:
            return route
        if not is_read:
            route = Route("generated", None, None, "its alphabet is one that the zoo was not taught", ())
        if wants_match and route.nearest:
            best = route.nearest[0]
            reason = f"nearest by meaning, though {route.reason}"
            return Route("matched", best.concept_id, min(best.similarity, 0.49), reason, route.nearest)
        if wants_match or not self.has_generator:
            self.find(words)  # raises
        return route

    def _reads(self, words: str, router: Router) -> bool:
        """Whether words are in alphabets that the zoo was taught.

        The phrase encoder has single letters of many others, and can be sure of words it cannot read.
        """
        return not alphabets_of(words) - self.index.alphabets - router.alphabets

    def pull(
        self,
        request: Request | str,
        *,
        adapter_only: bool = False,
        warn: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Init:
        """Pull the checkpoint that a request names or means as an init, or generate one.

        `route` says which of these it is, and why.

        Args:
            request: a request, or its words: a concept id, a wording of a concept, or other words for an
                edit. With example pairs an adapter is fitted to them, and words are a help.
            adapter_only: return the adapter without merging it into the base, and without the detail that a
                checkpoint may have.
            warn: emit a `UserWarning` if generated weights are far from all that the zoo was taught, another
                if the words ask for what no checkpoint does, such as adding objects, one if they ask for
                another strength, which weights do not have, and one for each note on pairs, e.g. that they
                look like no single edit. The init is made all the same.
            options: fields of the `Request` if `request` is a string: `origin`, `seed`, `n_timesteps`,
                `pairs`, `seconds`.

        Raises:
            UnknownConcept: no concept has these words, and the zoo cannot or must not generate.
            InvalidWords: the words are empty, too long, or unknown to the weight generator.
            InvalidRequest: pairs are given with the origin `exact`, or with `generated` for a weight
                generator that does not read them.
            InvalidPairs: the sides of a pair have different sizes or are too small, or before and after are
                the same in all pairs.
            ChecksumMismatch: weights do not match the digest in the index or config, or the weight
                generator was made for another base.
            InvalidGenerator: the weight generator is needed and is missing or damaged.
            InvalidZoo: a file of the zoo is missing or damaged.
            LayoutMismatch: the checkpoint or weight generator was made for another base or layout.
            TypeError, ValueError: origin, seed or timesteps have a wrong type or are out of range.

        Example:
            >>> zoo = Zoo.from_pretrained("starter")
            >>> zoo.pull("a graphite drawing", origin="exact").metadata.concept
            'pencil-sketch'
            >>> zoo.pull(Request("faded teal charcoal at dusk", seed=3)).metadata.origin
            'generated'
        """
        request = as_request(request, **options)
        route = self.route(request)
        if route.concept_id is None:
            is_fitted = request.pairs and request.origin is None
            init = self._fit(request, adapter_only) if is_fitted else self._generate(request, adapter_only)
            if warn:
                self._warn_if_far(init, request)
                _warn_of_strength(route)
                _warn_of_notes(init)
                _warn_of_limits(request.words)
            return init
        row = self.index.row(route.concept_id)
        if warn and route.origin == "matched":
            _warn_of_limits(request.words)
            _warn_of_strength(route)
        with_detail = row.has_detail and not adapter_only
        metadata = InitMetadata(
            concept=row.concept_id,
            wording=_plain(request.words)[:_MAX_WORDING],
            origin=route.origin,
            zoo=self.name,
            revision=self.revision,
            recipe=self.config_of(row.recipe).recipe,
            base_sha256=row.base_sha256,
            scores=row.scores if with_detail else row.adapter_scores,
            licence=row.licence,
            source=row.source,
            has_detail=with_detail,
        )
        blocks, detail = self._weights_of(row, with_detail=with_detail)
        return self._init(blocks, metadata, adapter_only, detail)

    @property
    def can_fit(self) -> bool:
        """Whether adapters can be fitted to pairs: those of convolutions and linear layers, with an A."""
        base = self.base()
        shared = [base[f"{layer}.A"] for layer in self.recipe.ranks]
        return all(array.ndim > 1 and array.any() for array in shared)

    @property
    def has_generator(self) -> bool:
        """Whether the zoo lists a weight generator for its default recipe. Does not open it."""
        manifest = self.files.manifest
        return manifest.recipe in manifest.generators

    @_once
    def generator_folder(self) -> Path:
        """The folder of the zoo's weight generator. On first use it is fetched from the Hub.

        Raises:
            InvalidGenerator: the zoo has no weight generator.
        """
        return self.files.generator_folder(self.files.manifest.recipe)

    @_once
    def generator(self) -> WeightGenerator:
        """The weight generator, checked to fit the zoo's base. Loads torch.

        Raises:
            InvalidGenerator: the weight generator is missing or damaged.
            ChecksumMismatch, LayoutMismatch: it was made for another base or layout.
        """
        files = self._generator_files  # a damaged file is reported before the slow import of torch
        from initzoo.generator import WeightGenerator

        return WeightGenerator.from_files(files)

    @cached_property
    def phrases(self) -> PhraseEncoder | None:
        """The phrase encoder, or None if the zoo has none. Loads onnxruntime, not torch.

        Raises:
            InvalidGenerator: it is damaged.
        """
        folder = self.files.phrase_folder()
        if folder is None:
            return None
        from initzoo.generator import PHRASE_FOLDER, PhraseEncoder

        digest = self.files.manifest.model_files[f"{PHRASE_FOLDER}/config.json"].sha256
        return PhraseEncoder.from_folder(folder, digest=digest)

    @cached_property
    def router(self) -> Router | None:
        """The router of words to checkpoints, or None if the zoo has no phrase encoder."""
        from initzoo.zoo.router import Router

        return None if self.phrases is None else Router(self.index, self.phrases)

    @property
    def encoder(self) -> Encoder:
        """The encoder of the weight generator, without the denoiser. Does not load torch.

        Raises:
            InvalidGenerator: the weight generator is missing or damaged.
        """
        return self._generator_files.encoder

    def expect(self, request: Request | str) -> Expectation | None:
        """Predict the PSNR of a generated init from the distance of its request to the taught wordings.

        Args:
            request: a request, or its words.

        Returns:
            The distance and a PSNR range; None if the weight generator is not calibrated.

        Raises:
            InvalidWords: the words are empty, too long, or unknown to the weight generator.
            InvalidRequest: the request has example pairs, which this zoo cannot use.
            InvalidGenerator: the weight generator is missing, or it or its calibration is damaged.
            ChecksumMismatch, LayoutMismatch: it was made for another base or layout.
        """
        request = as_request(request)
        self.encoder.check(request)
        return self._calibration.expect(request) if self._calibration else None

    @property
    def is_on_hub(self) -> bool:
        """Whether the zoo's files come from the Hub or its cache."""
        return self.files.revision is not None

    def plan(
        self, request: Request | str, *, adapter_only: bool = False, **options: Unpack[RequestOptions]
    ) -> list[PlannedFile]:
        """List the files and byte ranges that a pull reads, and which of them are local already.

        Args:
            request, adapter_only, options: as for `pull`.

        Raises:
            UnknownConcept: no concept has these words, and the zoo cannot or must not generate.
            InvalidRequest: the request has example pairs, which this zoo cannot use.
            InvalidZoo: the zoo is damaged.
        """
        route = self.route(request, **options)
        row = None if route.concept_id is None else self.index.row(route.concept_id)
        recipe = self.files.manifest.recipe if row is None else row.recipe
        return self.files.plan(row, recipe=recipe, with_base=not adapter_only)

    def blocks(self, concept_id: str) -> np.ndarray:
        """The weight blocks of a checkpoint's adapter, float32, shape `(n_blocks, block_size)`.

        Raises:
            KeyError: the zoo has no concept of that id.
            ChecksumMismatch: the bytes do not match the digest in the index.
            InvalidZoo: the shard is missing, or the row points outside it.
            LayoutMismatch: the checkpoint was made for another base or layout.
        """
        return self._blocks_of(self.index.row(concept_id))

    def detail(self, concept_id: str) -> dict[str, np.ndarray] | None:
        """What a fully trained checkpoint has beyond base and adapter, by name; None for one without.

        Raises:
            KeyError: the zoo has no concept of that id.
            ChecksumMismatch, InvalidZoo, LayoutMismatch: as for `blocks`.
        """
        return self._weights_of(self.index.row(concept_id), with_detail=True)[1]

    def all_blocks(self, *, split: str | None = None) -> tuple[list[str], np.ndarray]:
        """The weight blocks of all checkpoints of the default recipe, or of those in one split.

        Returns:
            Concept ids and blocks, float32, shape `(n_checkpoints, n_blocks, block_size)`.

        Raises:
            ChecksumMismatch, InvalidZoo, LayoutMismatch: as for `blocks`.
        """
        rows = [row for row in self.index.rows(split=split) if row.recipe == self.recipe.name]
        blocks = np.empty((len(rows), self.layout.n_blocks, self.layout.block_size), dtype=np.float32)
        for i, checkpoint in enumerate(self.blocks_of(rows)):
            blocks[i] = checkpoint
        return [row.concept_id for row in rows], blocks

    def blocks_of(self, rows: Sequence[IndexRow]) -> Iterator[np.ndarray]:
        """Iterate over the weight blocks of several checkpoints, in the order of `rows`.

        For a zoo on the Hub, a shard is fetched whole if most of it is needed.

        Raises:
            ChecksumMismatch, InvalidZoo, LayoutMismatch: as for `blocks`.
        """
        configs = [self.config_of(row.recipe) for row in rows]
        for row, config in zip(rows, configs, strict=True):
            check_row(row, config)
        for row, config, data in zip(rows, configs, self.files.payloads(rows), strict=True):
            yield decode_blocks(data, config.layout, row.concept_id)

    def mean_adapter_blocks(self) -> np.ndarray:
        """The mean of the train split's blocks, float32, shape `(n_blocks, block_size)`.

        Raises:
            InvalidZoo: the zoo has no train split, or is damaged.
        """
        ids, blocks = self.all_blocks(split="train")
        if not ids:
            raise InvalidZoo(f"zoo '{self.name}' has no train checkpoints to average.")
        return blocks.mean(axis=0, dtype=np.float64).astype(np.float32)

    def taught_requests(
        self, encoder: Encoder, *, practice: Sequence[Concept] = (), examples: Examples | None = None
    ) -> Iterator[tuple[Request, ...]]:
        """Iterate over the train concepts: the requests for each, one per training wording.

        Args:
            encoder: the encoder of the weight generator.
            practice: concepts that the weight generator practised on. They add wordings to concepts of the
                zoo; those without a checkpoint are ignored.
            examples: photos of the example pairs, for an encoder that reads pairs; no pairs by default.

        Raises:
            TeacherError: pairs are wanted, and the zoo does not hold the teacher of a concept.
        """
        from initzoo.generator import Examples, make_requests

        more = {concept.id: concept.prompts for concept in practice}
        known = [concept.teacher for concept in practice]
        for row in self.index.rows(split="train"):
            if row.recipe != self.recipe.name:
                continue  # as in `all_blocks`: the weight generator makes adapters of one recipe
            wordings = tuple(dict.fromkeys((*row.prompts, *more.get(row.concept_id, ()))))
            from initzoo.pairs import parse_teacher  # loads all teachers

            open_teacher = partial(parse_teacher, row.teacher, known)
            yield make_requests(encoder, wordings, open_teacher, examples or Examples())

    def taught_adapters(
        self, encoder: Encoder, *, practice: Sequence[Concept] = (), examples: Examples | None = None
    ) -> TaughtAdapters:
        """The adapters and training requests of the train split, as the baselines need them.

        Args:
            encoder, practice, examples: as for `taught_requests`.
        """
        from initzoo.generator import TaughtAdapters

        requests = self.taught_requests(encoder, practice=practice, examples=examples)
        return TaughtAdapters.make(encoder, requests, self.all_blocks(split="train")[1])

    def base(self, recipe: str | None = None) -> dict[str, np.ndarray]:
        """The weights of the base by name, float32: weight, bias and A of each layer.

        Args:
            recipe: name of a recipe of the zoo; the default recipe by default.

        Raises:
            ChecksumMismatch: the weights do not match the digest in the config.
            InvalidZoo: a file is missing or damaged.
        """
        return dict(self.base_of(recipe or self.recipe.name).weights)

    def network(self, blocks: np.ndarray) -> ImageNetwork:
        """The default recipe's network with an adapter merged into its base. Loads torch.

        Args:
            blocks: blocks of the adapter, float32, shape `(n_blocks, block_size)`.

        Raises:
            LayoutMismatch: the blocks do not have the zoo's layout.
            InvalidInit: a value is NaN or infinite.
            ChecksumMismatch, InvalidZoo: the zoo is damaged.
        """
        network = self.recipe.build()
        network.load_arrays(merge_adapter(self.base(), join_blocks(blocks, self.layout), self.layout))
        return network

    def graph(self, recipe: str | None = None) -> bytes | None:
        """The network of a recipe as an ONNX graph for `GraphNetwork`, or None if the zoo has none that runs.

        Graphs that do not come with initzoo are not run, see `is_bundled_graph`.

        Args:
            recipe: name of the recipe; that of the zoo by default.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: the graph cannot be fetched or is damaged.
        """
        name = recipe or self.recipe.name
        path = self.files.graph_file(name)
        if path is None:
            return None
        with reported_as(InvalidZoo, f"'{path}'", "Get the zoo again."):
            graph = self._read_beside_base(path, name, _MAX_GRAPH_BYTES)
        from initzoo.generator import is_bundled_graph

        return graph if is_bundled_graph(graph) else None

    @_once
    def effects(self) -> Effects | None:
        """What the checkpoints of the default recipe do to photos, or None if the zoo does not know it.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: the file cannot be fetched or is damaged.
        """
        path = self.files.effects_file(self.recipe.name)
        if path is None:
            return None
        advice = f"Get the zoo again, or make it again: initzoo effects --zoo {self.address}"
        with reported_as(InvalidZoo, f"'{path}'", advice):
            data = self._read_beside_base(path, self.recipe.name, MAX_EFFECTS_BYTES)
            return Effects.from_bytes(data, self.ids_of(self.recipe.name))

    def _read_beside_base(self, path: Path, recipe: str, max_bytes: int) -> bytes:
        """Read a file of the folder of a recipe's base, and check it against the manifest."""
        manifest = self.files.manifest
        digest = manifest.model_files[f"{manifest.bases[recipe]}/{path.name}"].sha256
        return read_file(path, max_bytes=max_bytes, digest=digest)

    def ids_of(self, recipe: str) -> list[str]:
        """The ids of the checkpoints of a recipe, in the order of the index."""
        if len(self.files.manifest.bases) == 1:
            return self.index.ids
        return [row.concept_id for row in self.index.each_row() if row.recipe == recipe]

    def editor(self, init: Init) -> ImageNetwork | GraphNetwork:
        """The network of a merged init, to edit photos on the CPU.

        It is the zoo's graph of the init's recipe, which loads much faster than torch, if there is one.

        Raises:
            InvalidInit: the init is an adapter alone.
            LayoutMismatch: this version of initzoo does not know the network.
            ChecksumMismatch, HubUnavailable, InvalidZoo: the graph cannot be fetched or is damaged.

        Example:
            >>> zoo = Zoo.from_pretrained("starter")
            >>> zoo.editor(zoo.pull("sepia")).edit(np.zeros((64, 64, 3), np.uint8)).shape
            (64, 64, 3)
        """
        recipe = init.metadata.recipe
        graph = self.graph(recipe.name) if init.kind == "merged" else None
        if graph is None or self.config_of(recipe.name).recipe.network != recipe.network:
            return init.to_network()
        from initzoo.networks import GraphNetwork

        return GraphNetwork(graph, init.weights)

    def checkpoint(self, concept_id: str, *, with_detail: bool = True) -> ImageNetwork:
        """The network of a checkpoint: base and adapter, and its detail if it has one. Loads torch.

        Args:
            concept_id: id of the concept.
            with_detail: False for base and adapter alone.

        Raises:
            KeyError: the zoo has no concept of that id.
            ChecksumMismatch, InvalidZoo, LayoutMismatch: as for `blocks`.

        Example:
            >>> Zoo.from_pretrained("starter").checkpoint("sepia").kind
            'starter'
        """
        row = self.index.row(concept_id)
        recipe = self.config_of(row.recipe).recipe
        blocks, detail = self._weights_of(row, with_detail=with_detail)
        adapter = join_blocks(blocks, recipe.layout)
        weights = merge_adapter(self.base_of(recipe.name).weights, adapter, recipe.layout)
        network = recipe.build()
        network.load_arrays(weights if detail is None else add_detail(weights, detail))
        return network

    def merge(self, init: Init) -> Init:
        """Merge an adapter-only init into this zoo's base. Returns merged inits unchanged.

        Raises:
            ChecksumMismatch: the adapter was made for another base.
        """
        return init if init.kind == "merged" else init.merged_with(self.base_of(init.metadata.recipe.name))

    def verify(self) -> VerifyReport:
        """Read and check every byte of the zoo. Problems are listed in the report, not raised.

        Raises:
            InvalidZoo: the manifest is missing or damaged.
        """
        return self.files.verify()

    def _generate(self, request: Request, adapter_only: bool) -> Init:
        """Generate an init. The request is checked before torch is loaded."""
        if request.words or not request.pairs:
            request = replace(request, words=check_words(request.words))
            self._check_alphabet(request.words)
        files, expected = self._generator_files, self.expect(request)
        blocks = self.generator.generate(request)
        generation = Generation(request.seed, request.n_timesteps, files.digest)
        if expected is not None:
            generation = replace(
                generation,
                distance=round(expected.distance, 4),
                expected_psnr=(round(expected.low, 2), round(expected.high, 2)),
                is_far=expected.is_far,
            )
        metadata = InitMetadata(
            concept=name_words(request.words or "from pairs"),
            wording=request.words,
            origin="generated",
            zoo=self.name,
            revision=self.revision,
            recipe=self.recipe,
            base_sha256=self.config.base_sha256,
            scores=dict.fromkeys(SCORES),
            licence=self.generator.config.licence,
            source=f"made from {request.conditions} by the weight generator of zoo '{self.name}'",
            generation=generation,
        )
        return self._init(blocks, metadata, adapter_only)

    def _fit(self, request: Request, adapter_only: bool) -> Init:
        """Fit weights to example pairs. Words and pairs are checked before torch is loaded."""
        from initzoo.pairs import prepare_examples

        if not self.can_fit:
            raise LayoutMismatch(
                f"zoo '{self.name}' has a network with normalisation layers or without adapters, "
                f"which cannot be fitted. Train it: initzoo finetune {self.index.ids[0]} --pairs PAIRS"
            )
        pairs = prepare_examples(request.pairs)
        if request.words:
            request = replace(request, words=check_words(request.words))
            known = frozenset() if self.router is None else self.router.alphabets
            if self._foreign_letter(request.words, known) is not None:
                self._check_alphabet(request.words)
        from initzoo.zoo.candidates import find_candidates

        request = replace(request, pairs=pairs)
        return self.fit(request, find_candidates(self, request, adapter_only=adapter_only), adapter_only)

    def fit(
        self,
        request: Request,
        candidates: Sequence[Candidate],
        adapter_only: bool = False,
        *,
        with_passes: bool = True,
    ) -> Init:
        """Fit weights to the example pairs of a request, beginning with given candidates. Loads torch.

        `pull` does so with the candidates of `find_candidates`.

        Args:
            request: pairs, seed and seconds of the fit, and words that name it.
            candidates: what to begin with.
            adapter_only: train the adapter alone, and return it without merging it into the base; for
                candidates without details.
            with_passes: let the weight generator refine the best candidates, if it reads pairs.

        Raises:
            InvalidPairs, TypeError: the pairs cannot be fitted, as for `pull`.
            ChecksumMismatch, InvalidZoo: the zoo is damaged.
        """
        from initzoo.generator import fit_pairs
        from initzoo.networks import adapter_to_arrays

        fit = fit_pairs(
            self.recipe.build_base(self.base()).requires_grad_(False),
            candidates,
            request.pairs,
            passes=partial(self.pair_passes, request.words) if with_passes else None,
            seed=request.seed,
            seconds=request.seconds,
            adapter_only=adapter_only,
        )
        metadata = InitMetadata(
            concept=name_words(request.words or "from pairs"),
            wording=request.words,
            origin="fitted",
            zoo=self.name,
            revision=self.revision,
            recipe=self.recipe,
            base_sha256=self.config.base_sha256,
            scores=dict.fromkeys(SCORES),
            licence=fit.candidate.licence or self.config.licence,
            source=f"fitted to {request.conditions} from {fit.fitting.start} of zoo '{self.name}'",
            has_detail=fit.detail is not None,
            fitting=fit.fitting,
        )
        arrays = adapter_to_arrays(fit.adapter, dict(self.layout.tensors))
        return self._init(split_blocks(arrays, self.layout), metadata, adapter_only, fit.detail)

    def pair_passes(self, words: str = "") -> PairPasses | None:
        """The weight generator's passes over example pairs; None if it has none. Loads torch.

        Words that the weight generator cannot read are left out: the pairs say what is wanted.

        Raises:
            InvalidGenerator, ChecksumMismatch: the weight generator is damaged.
        """
        if not self.has_generator or not self.generator.reads_pairs:
            return None
        try:
            self.encoder.check(Request(words))
        except InvalidWords:  # of no words, too
            words = ""
        return self.generator.pair_passes(words if self.writes_like(words) else "")

    def _warn_if_far(self, init: Init, request: Request) -> None:
        """Warn if generated weights are unlikely to match the request."""
        words, generation = init.metadata.wording, init.metadata.generation
        if generation is None or not generation.is_far:
            return
        hint = ""
        if words:
            nearest = self.search(words, 1)
            hint = f"; nearest is '{nearest[0].concept_id}'" if nearest else "; no concept is similar"
        asked = repr(words[:_MAX_WORDING]) if words else request.conditions
        warnings.warn(
            f"weights for {asked} are generated, {generation.prospect} "
            f"(distance {generation.distance:.2f} of 1){hint}",
            stacklevel=_user_level(),
        )

    def writes_like(self, words: str) -> bool:
        """Whether the wordings of the zoo use all alphabets of some words.

        The token vectors know single letters of many alphabets but no words of them, so the weight generator
        would take such words for known, and make meaningless weights.
        """
        return self._foreign_letter(words) is None

    def _foreign_letter(self, words: str, more: frozenset[str] = frozenset()) -> str | None:
        """The first letter of an alphabet that neither wordings nor `more` have; None if there is none."""
        taught = self.index.alphabets | more
        return next((letter for letter in words if alphabets_of(letter) - taught), None)

    def _check_alphabet(self, words: str) -> None:
        """Refuse words that the weight generator would not read, by their alphabet."""
        foreign = self._foreign_letter(words)
        if foreign is None:
            return
        found = self.router is not None and self._foreign_letter(words, self.router.alphabets) is None
        if found:  # the router reads them, and has found nothing
            raise InvalidWords(
                f"no checkpoint is what the words mean, and the weight generator of zoo '{self.name}' reads "
                f"no words with the letter {foreign!r}. Write plain words in the language of the zoo."
            )
        raise InvalidWords(
            f"the letter {foreign!r} belongs to an alphabet that no wording of zoo '{self.name}' uses. "
            "Write plain words in the language of the zoo."
        )

    def _init(
        self,
        blocks: np.ndarray,
        metadata: InitMetadata,
        adapter_only: bool,
        detail: Mapping[str, np.ndarray] | None = None,
    ) -> Init:
        recipe = metadata.recipe
        weights = join_blocks(blocks, recipe.layout)
        if not adapter_only:
            weights = merge_adapter(self.base_of(recipe.name).weights, weights, recipe.layout)
        if detail is not None:
            weights = add_detail(weights, detail)
        return Init(weights=weights, kind="adapter" if adapter_only else "merged", metadata=metadata)

    @_once
    def _generator_files(self) -> GeneratorFiles:
        from initzoo.generator import read_generator_files

        folder = self.generator_folder
        digest = self._model_digest(folder / "config.json")
        files = read_generator_files(folder, digest=digest, phrases=self.phrases)
        files.check_made_for(base_sha256=self.config.base_sha256, layout=self.layout)
        return files

    @_once
    def _calibration(self) -> Calibration | None:
        """The calibration, or None: a zoo with few held-out concepts cannot be calibrated."""
        from initzoo.generator import CALIBRATION_FILE, Calibration

        if not is_file(self.generator_folder / CALIBRATION_FILE):
            return None
        files = self._generator_files
        digest = self._model_digest(files.folder / CALIBRATION_FILE)
        return Calibration.load(files.folder, files.encoder, generator_sha256=files.digest, digest=digest)

    def _blocks_of(self, row: IndexRow) -> np.ndarray:
        return self._weights_of(row, with_detail=False)[0]

    def _weights_of(
        self, row: IndexRow, *, with_detail: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray] | None]:
        """The blocks of a checkpoint, and its detail if wanted and there is one."""
        config = self.config_of(row.recipe)
        check_row(row, config)
        data, n_bytes = self.files.payload(row, with_detail=with_detail), row.byte_end - row.byte_start
        blocks = decode_blocks(data[:n_bytes], config.layout, row.concept_id)
        if len(data) == n_bytes:
            return blocks, None
        return blocks, decode_detail(data[n_bytes:], config.recipe, row.concept_id)

    def base_of(self, recipe: str) -> Base:
        """The base of a recipe, with its config.

        Raises:
            ChecksumMismatch: the weights do not match the digest in the config.
            InvalidZoo: the zoo has no base of that recipe, or a file is missing or damaged.
        """
        with self._lock:
            if recipe not in self._bases:
                folder = self.files.base_folder(recipe)
                self._bases[recipe] = read_base(folder, digest=self._digest_of(recipe))
            return self._bases[recipe]

    def _digest_of(self, recipe: str) -> str:
        """The digest of the config of a recipe's base, from the manifest."""
        manifest = self.files.manifest
        return manifest.model_files[f"{manifest.bases[recipe]}/config.json"].sha256

    def _model_digest(self, path: Path) -> str:
        """The digest of a file of the weight generator, from the manifest."""
        manifest = self.files.manifest
        name = f"{manifest.generators[manifest.recipe]}/{path.name}"
        if name not in manifest.model_files:
            raise InvalidGenerator(f"'{path}': zoo.json does not list it. Get the weight generator again.")
        return manifest.model_files[name].sha256


def _open_hub_zoo(repo: str, revision: str | None, settings: HubSettings) -> ZooFiles:
    # Imported late, so that a zoo in a folder does not load the client of the Hub.
    from initzoo.zoo.hub import open_hub_zoo

    return open_hub_zoo(repo, revision, settings)


def _check_signature(files: ZooFiles, key: str | os.PathLike[str] | None) -> None:
    if key is not None:
        from initzoo.zoo.signing import require_signature

        require_signature(files, Path(key))


def _lookup_folder() -> Path:
    from initzoo.zoo.hub import lookup_folder

    return lookup_folder()


def _warn_of_notes(init: Init) -> None:
    """Warn of each note on the pairs that weights were fitted to."""
    for note in init.metadata.fitting.notes if init.metadata.fitting else ():
        warnings.warn(f"example pairs: {note}", stacklevel=_user_level())


def _warn_of_limits(words: str) -> None:
    """Warn if words ask for what networks of the zoo's kind cannot do."""
    from initzoo.pairs import limits_of

    if limits := limits_of(words):
        lines = "; ".join(limit.line for limit in limits)
        warnings.warn(f"{words[:_MAX_WORDING]!r}: the zoo {lines}", stacklevel=_user_level())


def _warn_of_strength(route: Route) -> None:
    """Warn if words ask for another strength than that of the weights, which is 1."""
    if route.strength != 1:
        warnings.warn(
            f"the words ask for a strength of {route.strength:g}, and the weights are those of 1: edit "
            f"photos with strength={route.strength:g}",
            stacklevel=_user_level(),
        )


def _user_level() -> int:
    """The `stacklevel` at which a warning names the line of the user's code."""
    package = str(Path(__file__).parents[1])
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def _plain(text: str) -> str:
    """Text that can be encoded as UTF-8; lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()
