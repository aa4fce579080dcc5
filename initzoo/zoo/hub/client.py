"""Requests to the Hub: resolve revisions, download files, fetch byte ranges with resume.

Each failure of huggingface_hub becomes an error of one line that names the zoo and the next step.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from initzoo.errors import (
    AccessDenied,
    ChecksumMismatch,
    HubUnavailable,
    InitzooError,
    InvalidZoo,
    OutputError,
    UnknownZoo,
)
from initzoo.files import DamagedFile, check_room, write_bytes
from initzoo.zoo.hub.addresses import HubSettings, check_token, is_revision, start_of_commit, without_secrets
from initzoo.zoo.hub.answers import Subject, checked_answers, guard_answers
from initzoo.zoo.hub.cache import (
    cache_folder,
    cached_file,
    cached_revision,
    claim_repo,
    forget_file,
    is_offline,
    ref_path,
    replace_blob,
    repo_cache,
    repo_folder,
    sha256_of,
)
from initzoo.zoo.hub.connections import paced
from initzoo.zoo.manifest import MANIFEST_FILE, FileDigest

__all__ = [
    "MissingFile",
    "check_cache_room",
    "check_digest",
    "download",
    "fetch_range",
    "hub_call",
    "make_api",
    "resolve_revision",
]

MAX_RETRIES = 4
FIRST_WAIT = 0.5  # seconds; doubled at each retry unless the Hub sends Retry-After
_LEAST_BAR_BYTES = 2**20
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_RETRIED = (408, 429, 500, 502, 503, 504)
_CHECK_PROXY = "Check HF_ENDPOINT, HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
_LOGIN = "Log in: hf auth login, or set HF_TOKEN"

_BARS = threading.Lock()
_n_without_bars = 0  # blocks of `hub_call` that have turned the progress bars off

Check = Callable[[Path], None]


class MissingFile(UnknownZoo):
    """The repo exists but lacks the file."""


@contextmanager
def hub_call(
    what: str, max_bytes: int | None = None, *, commit: str = "", n_bytes: int | None = None
) -> Iterator[Subject]:
    """Turn failures of huggingface_hub into an `InitzooError` that names the subject of the request.

    The client's progress bars are disabled unless standard error is a terminal.

    Args:
        what: the subject, e.g. "zoo 'me/zoo'".
        max_bytes: refuse answers that announce or have more bytes.
        commit: refuse answers of a commit that does not begin with these digits.
        n_bytes: size of what is fetched, 0 if it is small: the time for it is limited; None for an upload.
    """
    with checked_answers(what, max_bytes, commit=commit) as subject:
        try:
            with _failures_told(what), _bars_on_terminals(), paced(what, n_bytes):
                yield subject
        except InitzooError as error:  # a server can send back the token that it got
            error.args = tuple(
                subject.without_secrets(part) if isinstance(part, str) else part for part in error.args
            )
            raise


@contextmanager
def _failures_told(what: str) -> Iterator[None]:
    """Turn failures of huggingface_hub into an `InitzooError`."""
    import httpx2
    from huggingface_hub import errors

    try:
        guard_answers()  # it may make the session, which reads the settings of proxies
        yield
    except InitzooError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise _not_cached(what) from error
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
        raise _answer_error(what, error) from error
    except (errors.HFValidationError, errors.HfHubHTTPError, errors.EntryNotFoundError) as error:
        raise _answer_error(what, error) from error
    except OSError as error:
        if error.filename is not None or error.errno in _DISK_ERRORS:
            place = "" if error.filename is None else f" at {error.filename}"
            raise OutputError(
                f"{what}: cannot write to the cache{place} ({error.strerror}). Name another with HF_HUB_CACHE"
            ) from error
        raise HubUnavailable(f"{what}: {_reason(error)}. Try again later") from error
    except ImportError as error:  # raised by the client when a proxy needs a package
        if "socks" not in str(error).lower():
            raise
        raise HubUnavailable(
            f"{what}: a SOCKS proxy is set, and the HTTP client needs socksio for it. "
            'Install it with: pip install "initzoo[socks]"; or unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY'
        ) from error
    except ValueError as error:  # raised by the client for unsafe names and malformed answers
        advice = _CHECK_PROXY if "proxy" in str(error).lower() else "Try again later"
        raise HubUnavailable(f"{what}: {_reason(error)}. {advice}") from error


@contextmanager
def _bars_on_terminals() -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    global _n_without_bars
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or sys.stderr.isatty():
        yield
        return
    with _BARS:  # the first thread turns them off, the last one on again
        if not _n_without_bars and are_progress_bars_disabled():
            is_ours = False
        else:
            is_ours = True
            _n_without_bars += 1
            disable_progress_bars()
    try:
        yield
    finally:
        if is_ours:
            with _BARS:
                _n_without_bars -= 1
                if not _n_without_bars:
                    enable_progress_bars()


def _answer_error(what: str, error: Exception) -> InitzooError:
    """The error for a failed request: refused by the Hub, or not answered."""
    import httpx2
    from huggingface_hub import errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    match error:
        case errors.GatedRepoError():
            return AccessDenied(
                f"{what}: the repo is gated. Request access on its page, then {_LOGIN.lower()}"
            )
        case errors.RevisionNotFoundError():
            return UnknownZoo(f"{what}: the repo lacks this revision. Name a branch, tag or commit of it")
        case errors.RepositoryNotFoundError() if status == 401:
            return AccessDenied(f"{what}: the repo does not exist or is private. {_LOGIN}")
        case errors.RepositoryNotFoundError():
            return UnknownZoo(
                f"{what}: the repo does not exist, or you lack access. Check the name: owner/name"
            )
        case errors.LocalEntryNotFoundError(__cause__=errors.HfHubHTTPError() as cause):
            return _answer_error(what, cause)
        case errors.LocalEntryNotFoundError():
            return HubUnavailable(f"{what}: {_reason(error.__cause__ or error)}. Try again later")
        case errors.EntryNotFoundError():
            return MissingFile(f"{what}: the file does not exist. Name another revision")
        case errors.HFValidationError() | errors.DisabledRepoError():
            return UnknownZoo(f"{what}: {_reason(error)}. Name it as owner/name")
    if status in (401, 403):
        return AccessDenied(f"{what}: the Hub refused ({status}). {_LOGIN}, with the permission for it")
    if status == 429:
        return HubUnavailable(f"{what}: too many requests (429). Wait some minutes, or {_LOGIN.lower()}")
    if status:
        return HubUnavailable(f"{what}: the Hub answered {status}. Try again later")
    is_address_wrong = isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.ProxyError)
    advice = _CHECK_PROXY if is_address_wrong else "Try again later"
    return HubUnavailable(f"{what}: cannot reach the Hub ({_reason(error)}). {advice}")


def make_api(settings: HubSettings) -> Any:
    """A client of the Hub that identifies itself as initzoo.

    Raises:
        AccessDenied: the token has invalid characters.
    """
    from huggingface_hub import HfApi

    _check_given_token(settings)
    return HfApi(
        endpoint=settings.endpoint,
        token=settings.token,
        library_name="initzoo",
        library_version=_version(),
    )


def resolve_revision(settings: HubSettings, kind: str, repo: str, name: str | None) -> str:
    """Resolve a branch, tag or abbreviated commit to its commit, 40 hex digits, by one request.

    A full commit is returned as it is. Without a connection, the last known commit is returned. A name of 7
    or more hex digits is an abbreviated commit, and never a branch or tag.

    Raises:
        AccessDenied, HubUnavailable, UnknownZoo: the revision cannot be resolved.
    """
    name = name or "main"
    if is_revision(name):
        return name
    what = f"zoo '{repo}', revision '{name}'"
    cached = cached_revision(settings, kind, repo, name)
    if cached is not None and not cached.startswith(start_of_commit(name)):
        cached = None
    if is_offline(settings):
        if cached is None:
            raise _not_cached(what)
        return cached
    try:
        revision = _ask_revision(settings, kind, repo, name, what)
    except HubUnavailable:
        if cached is None:
            raise
        return cached
    claim_repo(settings, kind, repo)
    path = ref_path(settings, kind, repo, name)
    with suppress(OSError, OutputError):  # a read-only cache costs a request next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, revision.encode(), force=True)
    return revision


def download(
    settings: HubSettings,
    kind: str,
    repo: str,
    revision: str,
    path: str,
    *,
    max_bytes: int,
    check: Check,
    checks_cached: bool,
    is_small: bool = False,
) -> Path:
    """Return the cached path of a file of a repo; download it if necessary.

    A damaged file is downloaded once more. The cache is shared with other programs, and the author of a zoo
    chooses repo, commit and path: so a file that this call did not download is never removed. It is repaired
    if the new bytes are sound and are those that its name in the cache stands for.

    Args:
        settings: connection to the Hub.
        kind: `dataset` or `model`.
        repo: `owner/name`.
        revision: 40 hex digits.
        path: path of the file in the repo.
        max_bytes: the size of the file, or a limit for it.
        check: raises ChecksumMismatch or DamagedFile if the file is damaged.
        checks_cached: check the file even if it was cached.
        is_small: allow minutes only, whatever `max_bytes` says, which is a limit and not the size.

    Raises:
        MissingFile: the repo lacks the file.
        ChecksumMismatch, InvalidZoo: the file is damaged, twice.
        AccessDenied, HubUnavailable, OutputError, UnknownZoo: the file cannot be fetched or stored.
    """
    what = f"zoo '{repo}' at {revision[:7]}, file '{path}'"
    for is_last in (False, True):
        pointer = cached_file(settings, kind, repo, revision, path)
        was_cached, is_own = pointer is not None, False
        if pointer is None:
            pointer, is_own = _download(
                settings, kind, repo, revision, path, max_bytes, what, is_small=is_small
            )
        if was_cached and not checks_cached:
            return pointer
        try:
            check(pointer)
        except (DamagedFile, ChecksumMismatch) as error:
            is_end = is_last or is_offline(settings)
            blob = Path(os.path.realpath(pointer))
            if is_own:
                forget_file(pointer)
            elif not was_cached:  # a link to a file that was there
                pointer.unlink(missing_ok=True)
            if not is_own and not is_end:
                with _folder_for_repair(settings, kind, repo, what) as folder:
                    other = replace(settings, cache_dir=folder)
                    sound = download(
                        other,
                        kind,
                        repo,
                        revision,
                        path,
                        max_bytes=max_bytes,
                        check=check,
                        checks_cached=True,
                    )
                    is_repaired = replace_blob(blob, sound)
                if not is_repaired:
                    raise _other_file(what, blob, was_cached) from error
            if is_end:
                if isinstance(error, DamagedFile):
                    raise InvalidZoo(f"{what}: {error}. Get the zoo again.") from error
                raise
        else:
            return pointer
    raise AssertionError("the last try returns or raises")


@contextmanager
def _folder_for_repair(settings: HubSettings, kind: str, repo: str, what: str) -> Iterator[Path]:
    """A folder in the cache, on the same disk as the file that is repaired; removed afterwards."""
    try:
        made = tempfile.TemporaryDirectory(prefix="repair-", dir=repo_folder(settings, kind, repo))
    except OSError as error:
        raise OutputError(
            f"{what}: damaged, and cannot write to the cache at {error.filename} ({error.strerror}). "
            "Name another with HF_HUB_CACHE"
        ) from error
    with made as folder:
        yield Path(folder)


def _other_file(what: str, blob: Path, was_cached: bool) -> InitzooError:
    """The error for a cached file that is not the wanted one, and may well be sound."""
    if was_cached:
        return InvalidZoo(
            f"{what}: the cache has another file in its place, which stays. If no other program needs it, "
            f"remove {blob} and pull again"
        )
    return HubUnavailable(
        f"{what}: the Hub answered with the ETag of another file that is in the cache. "
        "Check HF_ENDPOINT, and tell its operator"
    )


def check_digest(path: Path, want: FileDigest, what: str) -> None:
    """Check the size and digest of a file.

    Raises:
        ChecksumMismatch: one of them differs.
    """
    n_bytes = path.stat().st_size
    # A file of another size is not read: it may be a large one of somebody else.
    sha256 = sha256_of(path) if n_bytes == want.n_bytes else None
    if sha256 != want.sha256:
        found = f"{n_bytes} bytes" if sha256 is None else f"{n_bytes} bytes with sha256 {sha256}"
        raise ChecksumMismatch(
            f"{what}: expected {want.n_bytes} bytes with sha256 {want.sha256}, found {found}. "
            "Try again later, or tell its publisher"
        )


def fetch_range(
    settings: HubSettings, repo: str, revision: str, path: str, *, start: int, end: int, part: Path
) -> None:
    """Fetch a byte range of a file of a dataset repo into `part`, resuming after the bytes it has.

    Args:
        settings: connection to the Hub.
        repo: `owner/name`.
        revision: 40 hex digits.
        path: path of the file in the repo.
        start: offset of the range in the file.
        end: offset after its last byte.
        part: local file with the first bytes of the range; created if it is missing.

    Raises:
        InvalidZoo: the range lies outside the file.
        AccessDenied, HubUnavailable, MissingFile, UnknownZoo: the range cannot be fetched.
    """
    import httpx2

    what = f"zoo '{repo}' at {revision[:7]}, file '{path}'"
    if is_offline(settings):
        raise _not_cached(what)
    from tqdm import tqdm

    n_failed, size = 0, end - start
    check_cache_room(settings, size, what)
    # None lets tqdm decide: it shows no bar unless standard error is a terminal.
    is_off = None if size >= _LEAST_BAR_BYTES else True
    with (
        # A server without ranges sends the whole file; what is read has an end.
        hub_call(what, sys.maxsize, commit=revision, n_bytes=end) as subject,
        part.open("ab") as file,
        tqdm(total=size, initial=file.tell(), unit="B", unit_scale=True, disable=is_off, leave=False) as bar,
    ):
        while (n_before := file.tell()) < end - start:
            try:
                _append_range(
                    settings, repo, revision, path, start + n_before, end, _Counted(file, bar), subject
                )
                problem: Exception = EOFError(f"the answer ended after {file.tell()} of {end - start} bytes")
            except (httpx2.TransportError, httpx2.StreamError) as error:
                problem = error
            file.flush()
            if file.tell() >= end - start:
                return
            # Any progress resets the count: a slow line may drop often and still finish.
            n_failed = 0 if file.tell() > n_before else n_failed + 1
            if n_failed > MAX_RETRIES:
                raise HubUnavailable(
                    f"{what}: {_reason(problem)}. Pull again later: it resumes where it stopped"
                ) from problem
            time.sleep(FIRST_WAIT * 2 ** max(n_failed - 1, 0))


class _Counted:
    """Writes to a file and advances a progress bar."""

    def __init__(self, file: BinaryIO, bar: Any) -> None:
        self._file, self._bar = file, bar

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self._file.write(data)
        self._bar.update(len(data))


def _append_range(
    settings: HubSettings,
    repo: str,
    revision: str,
    path: str,
    start: int,
    end: int,
    file: _Counted,
    subject: Subject,
) -> None:
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

    url = hf_hub_url(repo, path, repo_type="dataset", revision=revision, endpoint=settings.endpoint)
    headers = _headers(settings) | {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    with http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        max_retries=MAX_RETRIES,
        base_wait_time=FIRST_WAIT,
        retry_on_exceptions=(),
        retry_on_status_codes=_RETRIED,
    ) as response:
        if response.status_code == 416:
            raise InvalidZoo(
                f"{subject.what}: the index points to bytes {start} to {end}, past its end. "
                "Tell its publisher"
            )
        hf_raise_for_status(response)
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 206 and not content_range.startswith(f"bytes {start}-"):
            raise HubUnavailable(
                f"{subject.what}: asked for bytes from {start} on, got {subject.quoted(content_range)}. "
                "Try again later"
            )
        n_skipped = 0 if response.status_code == 206 else start  # without ranges, all is sent
        n_wanted = end - start
        # No chunk size: chunks would buffer bytes, and a dropped connection would lose them.
        for data in response.iter_raw():
            if n_skipped >= len(data):
                n_skipped -= len(data)
                continue
            wanted = data[n_skipped : n_skipped + n_wanted]
            n_skipped = 0
            file.write(wanted)
            n_wanted -= len(wanted)
            if n_wanted <= 0:
                return


def _ask_revision(settings: HubSettings, kind: str, repo: str, name: str, what: str) -> str:
    """Resolve a revision by a HEAD request for the manifest, whose answer is small for any size of repo."""
    import httpx2
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import hf_raise_for_status, http_backoff

    url = hf_hub_url(repo, MANIFEST_FILE, repo_type=kind, revision=name, endpoint=settings.endpoint)
    with hub_call(what, commit=start_of_commit(name), n_bytes=0):
        response = http_backoff(
            "HEAD",
            url,
            headers=_headers(settings),
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
            max_retries=MAX_RETRIES,
            base_wait_time=FIRST_WAIT,
            retry_on_exceptions=(httpx2.ReadError, httpx2.RemoteProtocolError),
            retry_on_status_codes=_RETRIED,
        )
        # The Hub puts the commit into its first answer; a redirect may lead to another host.
        answers = [*response.history, response]
        revisions = [answer.headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT, "") for answer in answers]
        revision = next(filter(is_revision, revisions), None)
        if revision is None:
            hf_raise_for_status(response)
    if revision is None:
        raise HubUnavailable(f"{what}: the Hub did not return a commit. Check HF_ENDPOINT")
    return str(revision)


def _download(
    settings: HubSettings,
    kind: str,
    repo: str,
    revision: str,
    path: str,
    max_bytes: int,
    what: str,
    *,
    is_small: bool,
) -> tuple[Path, bool]:
    """Download a file into the cache.

    Returns:
        Its path, and whether its bytes came with this call: the client links a cached file whose name is the
        ETag of the answer.
    """
    if is_offline(settings):
        raise _not_cached(what)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    _check_given_token(settings)
    claim_repo(settings, kind, repo)
    with hub_call(what, max_bytes, commit=revision, n_bytes=0 if is_small else max_bytes) as subject:
        for n_tries in range(MAX_RETRIES + 1):
            try:
                pointer = Path(
                    hf_hub_download(
                        repo,
                        path,
                        repo_type=kind,
                        revision=revision,
                        cache_dir=repo_cache(settings, kind, repo),
                        endpoint=settings.endpoint,
                        token=settings.token,
                        library_name="initzoo",
                        headers={"Accept-Encoding": "identity"},
                    )
                )
                return pointer, subject.has_fetched
            except OSError as error:
                # The client tries neither a truncated body, a bare OSError, nor a failed answer again.
                is_failed = isinstance(error, HfHubHTTPError) and error.response.status_code in _RETRIED
                is_truncated = type(error) is OSError and error.errno is None and n_tries == 0
                if n_tries == MAX_RETRIES or not (is_failed or is_truncated):
                    raise
            time.sleep(FIRST_WAIT * 2**n_tries)
    raise AssertionError("the last try returns or raises")


def check_cache_room(settings: HubSettings, n_bytes: int, what: str) -> None:
    """Raise if the disk of the cache has less room than a file needs.

    Raises:
        OutputError: it has less.
    """
    check_room(cache_folder(settings), n_bytes, what, "name another cache with HF_HUB_CACHE")


def _headers(settings: HubSettings) -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers

    _check_given_token(settings)
    headers: dict[str, str] = build_hf_headers(
        token=settings.token, library_name="initzoo", library_version=_version()
    )
    return headers


def _check_given_token(settings: HubSettings) -> None:
    """Check the token of the environment or of `hf auth login`; the settings have checked theirs."""
    if settings.token in (None, True):
        from huggingface_hub import get_token

        try:
            token = get_token()
        except UnicodeDecodeError:  # it holds the bytes of the token's file, which no traceback may print
            raise AccessDenied(f"the file of the token for the Hub is not text. {_LOGIN}") from None
        check_token(token)


def _not_cached(what: str) -> HubUnavailable:
    return HubUnavailable(
        f"{what}: not in the cache, and the Hub is off (HF_HUB_OFFLINE or local_files_only). "
        "Pull it once while online; list the cache: initzoo zoos"
    )


def _reason(error: BaseException) -> str:
    """The first line of an error, without secrets and without a full stop."""
    text = str(error).strip() or type(error).__name__
    return without_secrets(text.splitlines()[0])[:200].rstrip(". ")


def _version() -> str:
    """The installed version of initzoo, for the user agent."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("initzoo")
    except PackageNotFoundError:
        return "unknown"
