"""Publishing a zoo on the Hub, as one commit to a dataset repo and one to a model repo."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from initzoo.errors import InitzooWarning, PublishRefused
from initzoo.generator import CALIBRATION_FILE
from initzoo.zoo.cards import dataset_card, model_card
from initzoo.zoo.hub import HubFiles, HubSettings, Upload, commit, look_at_repo, set_tag
from initzoo.zoo.hub.addresses import is_hub_address, start_of_commit
from initzoo.zoo.manifest import MANIFEST_FILE, SIGNATURE_FILE, FileDigest, Manifest, digest_files
from initzoo.zoo.signing import sign_again, sign_manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["PlannedUpload", "PushReport", "plan_push", "push_zoo"]

_DATASET_OWNED = ("blocks/", "index.parquet", "harvest.json", SIGNATURE_FILE)
_MODEL_EXTRAS = ("evaluation.json", "bench.json")
_MODEL_OWNED = ("base/", "phrase_encoder/", "weight_generator/", *_MODEL_EXTRAS)
_CARD = "README.md"
_KNOWN_FILES = (
    "denoiser.onnx",
    "pairs.safetensors",
    "network.onnx",
    "effects.safetensors",
    "config.json",
    "model.safetensors",
    CALIBRATION_FILE,
    "text/LICENSE",
    "text/config.json",
    "text/encoder.onnx",
    "text/head.safetensors",
    "text/tokenizer.json",
    "text/vectors.safetensors",
)
"""Files of a base or weight generator, relative to its folder."""
_PHRASE_FILES = ("LICENSE", "config.json", "encoder.onnx", "head.safetensors", "tokenizer.json")
"""Files of a phrase encoder, relative to its folder."""

_PHRASE_PATHS = tuple(f"phrase_encoder/{name}" for name in _PHRASE_FILES)
_N_NAMED = 10


@dataclass(frozen=True)
class PushReport:
    """The result of publishing a zoo.

    Args:
        repo: `owner/name` of both repos.
        revision: revision of the dataset repo, and thereby of the zoo, 40 hex digits.
        model_revision: revision of the model repo.
        tag: tag of both revisions, or None.
        n_uploaded: number of files uploaded.
        n_bytes: total size of these files.
        n_unchanged: number of files that the repos had already.
        n_removed: number of files removed from the repos.
    """

    repo: str
    revision: str
    model_revision: str
    tag: str | None
    n_uploaded: int
    n_bytes: int
    n_unchanged: int
    n_removed: int


@dataclass(frozen=True)
class PlannedUpload:
    """A file that a push would publish.

    Args:
        kind: kind of the repo, `dataset` or `model`.
        path: path in the repo.
        n_bytes: size of the file.
        is_known: whether it is a file that zoos have; somebody else put the others there.
    """

    kind: str
    path: str
    n_bytes: int
    is_known: bool = True


def plan_push(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    tag: str | None = None,
    sign_key: str | os.PathLike[str] | None = None,
) -> list[PlannedUpload]:
    """List the files that `push_zoo` would publish, without asking the Hub for anything.

    The zoo is checked as for a push. Files that the repos have already are listed too.

    Args:
        folder: the zoo's folder.
        repo: `owner/name` on the Hub.
        tag: tag for the new revision.
        sign_key: private key to sign the zoo with; the size of a signature varies by some bytes.

    Returns:
        The files of the model repo, which a push changes first, then those of the dataset repo.

    Raises:
        UnknownZoo: the folder holds no zoo.
        PublishRefused: the name of the repo or the tag is invalid, the zoo is damaged, or a row has no
            licence or source.

    Example:
        >>> from initzoo.pairs import catalog_folder
        >>> [file.path for file in plan_push(catalog_folder(), "me/zoo")][-2:]  # doctest: +SKIP
        ['README.md', 'zoo.json']
    """
    _check_names(repo, tag)
    zoo = Zoo.from_pretrained(folder)
    _check_fit(zoo)
    model_files, dataset_files = _model_files(zoo, repo), _dataset_files(zoo, repo)
    # A revision has 40 digits whatever it is, so that the size is that of the published file.
    manifest = _manifest(zoo, repo, "0" * 40, dataset_files, model_files)
    dataset_files[MANIFEST_FILE] = manifest.to_bytes()
    if sign_key is not None:
        dataset_files[SIGNATURE_FILE] = sign_manifest(manifest.to_bytes(), Path(sign_key))
    return [
        PlannedUpload(
            kind,
            path,
            len(content) if isinstance(content, bytes) else content.stat().st_size,
            is_known=kind == "dataset" or _is_known(path),
        )
        for kind, files in (("model", model_files), ("dataset", dataset_files))
        for path, content in files.items()
    ]


def push_zoo(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
    sign_key: str | os.PathLike[str] | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> PushReport:
    """Publish a zoo from a folder.

    The model repo is changed first, by one commit, then the dataset repo, by a commit that names
    the new model revision. Readers see the old zoo until that second commit. If publishing is
    interrupted, calling it again completes it. Only files that differ are uploaded.

    Args:
        folder: the zoo's folder.
        repo: `owner/name` on the Hub; missing repos are created.
        private: create the repos as private ones.
        tag: tag for the new revision, e.g. `v1`; an existing tag is never moved.
        message: message of the commits.
        sign_key: PEM file of a private elliptic curve key to sign the zoo with, for readers who require a
            signature; needs the extra `sign`. Without one, a signature in the repo is removed.
        token: access token with write permission; by default HF_TOKEN or the token of `hf auth login`.
        endpoint: URL of the Hub; by default HF_ENDPOINT.

    A warning names the files of bases and weight generators that initzoo does not know, before anything is
    uploaded.

    Raises:
        UnknownZoo: the folder holds no zoo, or the name of the repo is invalid.
        PublishRefused: the zoo is damaged or has a link, a row has no licence or source, the tag is invalid
            or exists already, `private` is given and a repo is public, or somebody else published meanwhile.
        AccessDenied: the token may not write to the repos.
        HubUnavailable: the Hub does not answer.

    Example:
        >>> push_zoo("my-zoo", "me/my-zoo", tag="v1").revision  # doctest: +SKIP
        '0c5a1b...'
    """
    _check_names(repo, tag)
    zoo = Zoo.from_pretrained(folder)
    _check_fit(zoo)
    settings = HubSettings(token=token, endpoint=endpoint)
    if sign_key is not None:
        sign_manifest(b"{}", Path(sign_key))  # a key that cannot sign is refused before anything is uploaded
    model_files = _model_files(zoo, repo)
    dataset_files = _dataset_files(zoo, repo)
    _warn_of_unknown(zoo, model_files)
    model = look_at_repo(settings, "model", repo, private=private)
    dataset = look_at_repo(settings, "dataset", repo, private=private)
    published = None
    if sign_key is not None and SIGNATURE_FILE in dataset.files:
        published = HubFiles(repo, dataset.head, settings).signed()
    model_upload = Upload.between(model, model_files, _MODEL_OWNED)
    text = message or f"Publish zoo {zoo.name} with initzoo"

    def dataset_upload(model_revision: str) -> Upload:
        text = _manifest(zoo, repo, model_revision, dataset_files, model_files).to_bytes()
        files = dataset_files | {MANIFEST_FILE: text}
        if sign_key is not None:
            files[SIGNATURE_FILE] = sign_again(text, Path(sign_key), published)
        return Upload.between(dataset, files, _DATASET_OWNED)

    if tag is not None:
        # Fail before anything is uploaded if the tag is taken.
        is_same = model_upload.is_empty and dataset_upload(model.head).is_empty
        for state in (model, dataset):
            if tag in state.tags and not (is_same and state.tags[tag] == state.head):
                raise PublishRefused(
                    f"{state.kind} repo '{repo}': tag '{tag}' names revision {state.tags[tag][:7]}, and tags "
                    "do not move. Choose another tag"
                )
    model_revision = commit(settings, model, model_upload, text)
    upload = dataset_upload(model_revision)
    revision = commit(settings, dataset, upload, text)
    if tag is not None:
        set_tag(settings, model, tag, model_revision)
        set_tag(settings, dataset, tag, revision)
    return PushReport(
        repo=repo,
        revision=revision,
        model_revision=model_revision,
        tag=tag,
        n_uploaded=len(model_upload.changed) + len(upload.changed),
        n_bytes=model_upload.n_bytes + upload.n_bytes,
        n_unchanged=model_upload.n_unchanged + upload.n_unchanged,
        n_removed=len(model_upload.removed) + len(upload.removed),
    )


def _is_known(path: str) -> bool:
    """Whether a path in a model repo is that of a file that zoos have."""
    return path in (_CARD, *_MODEL_EXTRAS) or path.split("/", 2)[-1] in _KNOWN_FILES or path in _PHRASE_PATHS


def _warn_of_unknown(zoo: Zoo, model_files: Mapping[str, Path | bytes]) -> None:
    unknown = [path for path in model_files if not _is_known(path)]
    if unknown:
        more = f" and {len(unknown) - _N_NAMED} more" if len(unknown) > _N_NAMED else ""
        warnings.warn(
            f"zoo '{zoo.folder}': publishing files that initzoo does not know: "
            f"{', '.join(unknown[:_N_NAMED])}{more}",
            InitzooWarning,
            stacklevel=3,
        )


def _check_names(repo: str, tag: str | None) -> None:
    if not is_hub_address(repo) or "@" in repo:
        raise PublishRefused(f"{repo[:200]!r} is not the name of a repo. Write owner/name")
    if tag is not None and not is_hub_address(f"{repo}@{tag}"):
        raise PublishRefused(f"{tag[:200]!r} is not the name of a tag. Write one such as v1")
    if tag is not None and start_of_commit(tag):
        raise PublishRefused(f"tag '{tag}' looks like a commit, and is taken for one. Write one such as v1")


def _check_fit(zoo: Zoo) -> None:
    """Raise unless the zoo passes verification and every row has a licence and a source."""
    report = zoo.verify()
    if report.problems:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise PublishRefused(
            f"zoo '{zoo.folder}' is damaged: {report.problems[0]}{more} See all: initzoo verify {zoo.folder}"
        )
    if not zoo.config.licence.strip():
        raise PublishRefused(
            f"zoo '{zoo.folder}': its base has no licence. Write the base again, with a licence"
        )
    n_rows = 0
    for row in zoo.index.each_row():
        n_rows += 1
        for name in ("licence", "source"):
            if not getattr(row, name).strip():
                raise PublishRefused(
                    f"zoo '{zoo.folder}', concept '{row.concept_id}': it has no {name}. Give its concept "
                    "one in the concepts file, and harvest again"
                )
    if not n_rows:
        raise PublishRefused(f"zoo '{zoo.folder}' has no checkpoints to publish")


def _dataset_files(zoo: Zoo, repo: str) -> dict[str, Path | bytes]:
    folder = zoo.folder / "dataset"
    shards = sorted({row.shard for row in zoo.index.each_row()})
    files: dict[str, Path | bytes] = {path: folder / path for path in ("index.parquet", *shards)}
    if (folder / "harvest.json").is_file():
        files["harvest.json"] = folder / "harvest.json"
    return files | {_CARD: dataset_card(zoo, repo=repo).encode()}


def _model_files(zoo: Zoo, repo: str) -> dict[str, Path | bytes]:
    model = zoo.folder / "model"
    paths = [model / path for path in zoo.files.manifest.model_files]
    paths += [model / name for name in _MODEL_EXTRAS if (model / name).is_file()]
    files: dict[str, Path | bytes] = {path.relative_to(model).as_posix(): path for path in paths}
    return files | {_CARD: model_card(zoo, repo=repo).encode()}


def _manifest(
    zoo: Zoo,
    repo: str,
    model_revision: str,
    dataset_files: Mapping[str, Path | bytes],
    model_files: Mapping[str, Path | bytes],
) -> Manifest:
    return replace(
        zoo.files.manifest,
        model_repo=repo,
        model_revision=model_revision,
        dataset_files=_digests(dataset_files),
        model_files=_digests(model_files),
    )


def _digests(files: Mapping[str, Path | bytes]) -> dict[str, FileDigest]:
    """Size and digest of the files that readers fetch; not of cards, which may be edited on the Hub."""
    digests = {}
    for path, content in files.items():
        if isinstance(content, Path):
            digests[path] = next(iter(digest_files(content.parent, [content]).values()))
    return digests
