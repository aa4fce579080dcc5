"""A Hub or an author that lies about commits, digests, ETags and sizes, or drips: what is cached stays."""

from __future__ import annotations

import hashlib
import json
import socket
import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from pathlib import Path
from threading import Thread
from typing import Any

import httpcore2
import pytest
from hub_fixtures import hub, hub_with_zoos, opened, own_hub, pushed, quick_retries
from hub_server import Api, Fault, Hub, Repo, running_hub
from starlette.requests import Request
from starlette.responses import Response
from zoo_fixtures import make_zoo

from initzoo.errors import ChecksumMismatch, HubUnavailable, InitzooError, PublishRefused
from initzoo.zoo.hub import HubSettings, cached_zoos, connections
from initzoo.zoo.hub.cache import claim_repo
from initzoo.zoo.zoo import Zoo

__all__ = ["hub", "hub_with_zoos", "own_hub", "quick_retries"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FOREIGN = {"text_encoder/config.json": b"{}", "text_encoder/model.safetensors": b"W" * 5000}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_in(folder: Path) -> dict[str, bytes]:
    """All files and links below a folder, as they are read."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cached_model_of_somebody(hub: Hub, cache: Path) -> tuple[Path, str]:
    """A model of another project in the cache, put there by the Hub's own client."""
    from huggingface_hub import hf_hub_download

    claim_repo(
        HubSettings(endpoint=hub.url, cache_dir=cache), "model", "someone/model"
    )  # one server for both
    repo = hub.repos["model", "someone/model"] = Repo("model", "someone/model")
    made = repo.commit(FOREIGN, "a model")
    for name in FOREIGN:
        hf_hub_download("someone/model", name, revision=made.oid, endpoint=hub.url, cache_dir=cache)
    return cache / "models--someone--model", made.oid


def change_manifest(hub: Hub, repo: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Make a commit with another manifest, as an author without scruples would."""
    files = dict(hub.repo("dataset", repo).commits[-1].files)
    values = json.loads(files["zoo.json"])
    change(values)
    files["zoo.json"] = json.dumps(values).encode()
    return hub.repo("dataset", repo).commit(files, "changed by a test").oid


@pytest.mark.parametrize("n_bytes", [2, 5000])
@pytest.mark.parametrize("is_online", [True, False])
def test_a_zoo_cannot_remove_a_model_of_somebody_from_the_cache(
    own_hub: Hub, cache: Path, tmp_path: Path, quick_retries: None, n_bytes: int, is_online: bool
) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    foreign, commit = cached_model_of_somebody(own_hub, cache)
    digests = {name: [n_bytes, "0" * 64] for name in FOREIGN}
    change_manifest(
        own_hub,
        "me/zoo",
        lambda values: values.update(
            model_repo="someone/model",
            model_revision=commit,
            bases={"tiny": "text_encoder"},
            weight_generators={},
            model_files=digests,
        ),
    )
    before = files_in(foreign)
    zoo = opened(own_hub, cache, "me/zoo")
    assert zoo.files.manifest
    zoo = opened(own_hub, cache, zoo.address, local_files_only=not is_online)
    with pytest.raises(InitzooError) as raised:
        zoo.files.base_folder("tiny")
    assert "\n" not in str(raised.value)
    with pytest.raises(InitzooError):
        zoo.verify()
    after = files_in(foreign)
    assert {name: after.get(name) for name in before} == before


def test_a_network_that_is_none_stays_in_the_cache(own_hub: Hub, cache: Path, quick_retries: None) -> None:
    """The user names another project's model by mistake."""
    from huggingface_hub import hf_hub_download

    from initzoo.zoo.networks import fetch_network

    settings = HubSettings(endpoint=own_hub.url, cache_dir=cache)
    claim_repo(settings, "model", "someone/model")
    repo = own_hub.repos["model", "someone/model"] = Repo("model", "someone/model")
    made = repo.commit({"config.json": b"{}", "model.safetensors": b"W" * 5000}, "a model")
    for name in made.files:
        hf_hub_download("someone/model", name, revision=made.oid, endpoint=own_hub.url, cache_dir=cache)
    before = files_in(cache / "models--someone--model")
    with pytest.raises(InitzooError):
        fetch_network("someone/model", made.oid, settings)
    after = files_in(cache / "models--someone--model")
    assert {name: after.get(name) for name in before} == before


def test_a_damaged_checkpoint_stays_while_the_hub_is_off(hub: Hub, cache: Path) -> None:
    zoo = opened(hub, cache)
    zoo.blocks("pencil-sketch")
    (payload,) = [path for path in cache.glob("*/payloads/??/*") if len(path.name) == 64]
    payload.write_bytes(b"damaged")
    with pytest.raises(HubUnavailable, match="not in the cache"):
        opened(hub, cache, zoo.address, local_files_only=True).blocks("pencil-sketch")
    assert payload.read_bytes() == b"damaged"
    opened(hub, cache, zoo.address).blocks("pencil-sketch")
    assert hashlib.sha256(payload.read_bytes()).hexdigest() == payload.name


def test_damage_that_the_hub_repeats_leaves_the_cache_as_it_was(
    own_hub: Hub, cache: Path, tmp_path: Path, quick_retries: None
) -> None:
    """A damaged file is replaced only by bytes that its name stands for."""
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    zoo = opened(own_hub, cache, "me/zoo")
    index = zoo.files.index_path().resolve()
    index.write_bytes(b"x" + index.read_bytes()[1:])
    damaged = index.read_bytes()
    whole = own_hub.repo("dataset", "me/zoo").commits[-1].files
    sound = whole["index.parquet"]
    whole["index.parquet"] = b"y" + sound[1:]
    with pytest.raises(ChecksumMismatch, match=r"'index.parquet': expected"):
        opened(own_hub, cache, zoo.address).files.index_path()
    assert index.read_bytes() == damaged
    assert not list(cache.glob("*/repair-*"))
    whole["index.parquet"] = sound
    assert opened(own_hub, cache, zoo.address).files.index_path().read_bytes() == sound


def answering(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Request, dict[str, str]], dict[str, str]]
) -> None:
    """Let the Hub send other headers."""
    serve = Api.serve

    def evil(self: Api, request: Request, data: bytes, headers: dict[str, str]) -> Response:
        answer = serve(self, request, data, headers)
        answer.headers.update(change(request, dict(answer.headers)))
        return answer

    monkeypatch.setattr(Api, "serve", evil)


@pytest.mark.parametrize("n_digits", [7, 12, 39])
def test_an_abbreviated_commit_is_no_name_for_another_one(
    own_hub: Hub, cache: Path, tmp_path: Path, quick_retries: None, n_digits: int
) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    repo = own_hub.repo("dataset", "me/zoo")
    honest, short = repo.commits[-1].oid, repo.commits[-1].oid[:n_digits]
    repo.branches[short] = honest  # as the Hub resolves abbreviations
    assert opened(own_hub, cache, f"me/zoo@{short}").revision == honest
    other = change_manifest(own_hub, "me/zoo", lambda values: None)
    repo.branches[short] = other
    with pytest.raises(HubUnavailable, match=f"asked for commit {short[:12]}, .* answered with {other[:12]}"):
        opened(own_hub, cache / "empty", f"me/zoo@{short}")
    assert opened(own_hub, cache, f"me/zoo@{short}").revision == honest
    next(cache.glob(f"datasets--me--zoo/refs/{short}")).write_text(other)
    with pytest.raises(HubUnavailable, match="not in the cache"):
        opened(own_hub, cache, f"me/zoo@{short}", local_files_only=True)


def test_a_tag_that_looks_like_a_commit_is_not_published(own_hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(PublishRefused, match="tag '20260101' looks like a commit"):
        pushed(own_hub, make_zoo(tmp_path / "zoo"), tag="20260101")
    assert own_hub.seen == []


@pytest.mark.parametrize("file", ["zoo.json", "index.parquet", "config.json", "blocks-0000"])
def test_an_answer_for_another_commit_is_refused(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    other = "0" * 40

    def change(request: Request, _: dict[str, str]) -> dict[str, str]:
        is_wanted = file in request.url.path and "/main/" not in request.url.path
        return {"X-Repo-Commit": other} if is_wanted else {}

    answering(monkeypatch, change)
    with pytest.raises(HubUnavailable, match=f"asked for commit .* the Hub answered with {other[:12]}"):
        opened(hub, cache).pull("pencil sketch")
    assert not list(cache.glob(f"*/*/{other}"))


def test_a_mirror_cannot_put_files_into_the_cache_of_the_hub(
    own_hub: Hub, cache: Path, tmp_path: Path
) -> None:
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    with running_hub() as mirror:
        pushed(mirror, make_zoo(tmp_path / "zoo2"))
        commit = own_hub.repo("dataset", "me/zoo").commits[-1].oid
        copy = mirror.repo("dataset", "me/zoo").commits[-1]
        copy.oid = mirror.repo("dataset", "me/zoo").branches["main"] = commit
        values = json.loads(copy.files["zoo.json"]) | {"note": "of the mirror"}
        copy.files["zoo.json"] = json.dumps(values).encode()
        first = opened(mirror, cache, "me/zoo")
        first.pull("night")
        assert first.revision == commit
        mirror.forget()
        opened(own_hub, cache, first.address).pull("night")
        manifests = [path.read_bytes() for path in sorted(cache.rglob("zoo.json"))]
        assert len(manifests) == len(set(manifests)) == 2
        own_hub.forget()
        for one in (own_hub, mirror):
            opened(one, cache, first.address).pull("night")
        assert own_hub.seen == mirror.seen == []
        for one in (own_hub, mirror):
            opened(one, cache, first.address, local_files_only=True).pull("night")
    assert [zoo.revision for zoo in cached_zoos(HubSettings(cache_dir=cache))] == [commit] * 2


def test_files_that_another_program_cached_are_those_of_the_public_hub(hub: Hub, cache: Path) -> None:
    from huggingface_hub import hf_hub_download

    zoo = opened(hub, cache / "first")
    hf_hub_download(
        "me/tiny", "zoo.json", repo_type="dataset", revision=zoo.revision, endpoint=hub.url, cache_dir=cache
    )
    hub.forget()
    opened(hub, cache, zoo.address).pull("night")
    assert len(hub.requests("zoo.json", "GET")) == 1


def dripping(drip: str) -> Callable[[bytes], Iterator[bytes]]:
    """What a server without scruples sends to a request: each part passes the limit of a single read."""
    head = b"HTTP/1.1 200 OK\r\nX-Repo-Commit: " + b"a" * 40 + b'\r\nETag: "b"\r\n'

    def run(request: bytes) -> Iterator[bytes]:
        if drip == "headers":
            yield b"HTTP/1.1 200 OK\r\nX-A: "
            yield from repeat(b"a")
        if drip == "announcements":
            yield from repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        if request.startswith(b"HEAD"):
            yield head + b"Content-Length: 60000000\r\nConnection: close\r\n\r\n"
        elif drip == "chunks":
            yield head + b"Transfer-Encoding: chunked\r\n\r\n1;"
            yield from repeat(b"a")
        elif drip == "framing":
            yield head + b"Transfer-Encoding: chunked\r\n\r\n"
            yield from repeat(b"1;" + b"a" * 9000 + b"\r\n.\r\n")
        else:
            yield head + b"Content-Length: 60000000\r\n\r\n"
            yield from repeat(b"a" * 40)

    return run


@contextmanager
def raw_server(answer: Callable[[bytes], Iterator[bytes]]) -> Iterator[str]:
    """The address of a server that sends bytes as they are, 50 times a second."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = b""
            with suppress(OSError):
                while b"\r\n\r\n" not in request:
                    request += self.request.recv(2**16)
                for data in answer(request):
                    self.request.sendall(data)
                    time.sleep(0.02)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("drip", "said"),
    [
        ("headers", "does not answer within"),
        ("announcements", "does not answer within"),
        ("chunks", "sends less than 8 KB a second"),
        ("framing", "sends less than 8 KB a second"),
        ("body", "sends less than 8 KB a second"),
    ],
)
def test_no_way_to_drip_keeps_a_pull_waiting(
    cache: Path, monkeypatch: pytest.MonkeyPatch, drip: str, said: str
) -> None:
    monkeypatch.setattr(connections, "_SPAN", 0.4)
    began = time.monotonic()
    with (
        raw_server(dripping(drip)) as endpoint,
        pytest.raises(HubUnavailable, match=f"{said}.*Try again later"),
    ):
        Zoo.from_pretrained("me/zoo", revision="a" * 40, endpoint=endpoint, cache_dir=cache).pull("night")
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("drip", ["headers", "announcements"])
def test_no_answer_about_a_branch_keeps_one_waiting(
    cache: Path, monkeypatch: pytest.MonkeyPatch, drip: str
) -> None:
    monkeypatch.setattr(connections, "_SPAN", 0.4)
    with (
        raw_server(dripping(drip)) as endpoint,
        pytest.raises(HubUnavailable, match="does not answer within"),
    ):
        Zoo.from_pretrained("me/zoo", endpoint=endpoint, cache_dir=cache)


def test_a_drip_over_many_connections_is_given_up(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer makes some progress, then breaks off, and the next one begins there."""
    wait = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.01)))
    zoo = opened(hub, cache)
    zoo.find("pencil sketch")
    monkeypatch.setattr(connections, "_PATIENCE", 0.2)
    monkeypatch.setattr(connections, "_SLOWEST", 2**24)
    hub.faults.append(Fault("cut", "resolve/.*blocks-0000", times=-1, keep=0.01))
    with pytest.raises(HubUnavailable, match="takes longer than 0 seconds"):
        zoo.blocks("pencil-sketch")


def test_a_line_that_is_slow_and_steady_arrives(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SPAN", 0.1)
    monkeypatch.setattr(connections, "_SLOWEST", 50)
    hub.faults.append(Fault("drip", "resolve/.*zoo.json", times=-1, seconds=0.0005))
    began = time.monotonic()
    opened(hub, cache).pull("pencil sketch")
    assert time.monotonic() - began > 3 * connections._SPAN


def test_a_read_goes_on_when_a_span_of_measuring_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span ends while a read waits: that is no reason to break off a line that was fast enough."""
    monkeypatch.setattr(connections, "_SPAN", 0.05)
    monkeypatch.setattr(connections, "_SLOWEST", 100)

    class Line(httpcore2.NetworkStream):
        def __init__(self, n_silent: int) -> None:
            self.n_silent = n_silent

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            if self.n_silent == 0:
                return b"here it is"
            self.n_silent -= 1
            time.sleep(timeout or 0)
            raise httpcore2.ReadTimeout

    class Lines(httpcore2.NetworkBackend):
        def __init__(self, n_silent: int) -> None:
            self.n_silent = n_silent

        def connect_tcp(self, *_: Any, **__: Any) -> httpcore2.NetworkStream:
            return Line(self.n_silent)

    def read(n_silent: int, timeout: float) -> bytes:
        stream = connections._watched(Lines(n_silent), is_proxy=True).connect_tcp("hub", 443)
        with connections.paced("zoo", 10) as pace:
            pace.answered()
            pace.count(1000)
            data: bytes = stream.read(10, timeout)
            return data

    assert read(1, timeout=5) == b"here it is"
    with pytest.raises(HubUnavailable, match="sends less than"):
        read(2, timeout=5)  # nothing came in the whole second span
    with pytest.raises(httpcore2.ReadTimeout):
        read(1, timeout=0.001)  # the caller waits no longer


def test_files_come_over_connections_that_are_checked(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may name another way to a file, with a client of its own that knows no limits."""
    xet = {"X-Xet-Hash": "a" * 64, "X-Xet-Refresh-Route": f"{hub.url}/refresh"}
    answering(monkeypatch, lambda request, headers: xet)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    opened(hub, cache).pull("pencil sketch")
    assert hub.requests("refresh") == []


@pytest.mark.parametrize("disguise", ["{}", "bytes {}!", "x" * 50 + "{}"])
@pytest.mark.parametrize(
    ("header", "file", "method"),
    [
        ("ETag", "zoo.json", "HEAD"),
        ("X-Linked-ETag", "zoo.json", "HEAD"),
        ("X-Repo-Commit", "zoo.json", "HEAD"),
        ("X-Linked-Size", "index.parquet", "HEAD"),
        ("Content-Encoding", "index.parquet", "GET"),
        ("Content-Range", "blocks-0000", "GET"),
        ("Location", "index.parquet", "GET"),
    ],
)
def test_a_token_that_a_server_sends_back_is_not_printed(
    hub: Hub,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    header: str,
    file: str,
    method: str,
    disguise: str,
) -> None:
    token = "a-Secret0of0any0kind0"
    zoo = opened(hub, cache, token=token)
    value = disguise.format(token)

    def change(request: Request, _: dict[str, str]) -> dict[str, str]:
        return {header: value} if request.method == method and file in request.url.path else {}

    answering(monkeypatch, change)
    if header == "Location":
        fault = Fault("status", file, times=-1, status=302, headers={"Location": f"nowhere://{value}"})
        hub.faults += [fault]
    with pytest.raises(HubUnavailable) as raised:
        zoo.pull("pencil sketch")
    assert "secret0" not in str(raised.value).lower()
    assert "\n" not in str(raised.value)


def test_a_token_in_another_error_of_a_server_is_not_printed(
    hub: Hub, cache: Path, quick_retries: None
) -> None:
    token = "a-Secret0of0any0kind0"
    zoo = opened(hub, cache, token=token)
    headers = {"X-Error-Message": f"Bearer {token}", "X-Error-Code": token}
    hub.faults.append(Fault("status", "index.parquet", times=-1, status=418, method="HEAD", headers=headers))
    with pytest.raises(HubUnavailable) as raised:
        zoo.pull("pencil sketch")
    assert token not in str(raised.value)


@pytest.mark.parametrize("size", ["same", "other"])
def test_an_etag_of_another_cached_file_is_refused(
    own_hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """The client would link the file that is there, and the honest commit would lose it."""
    pushed(own_hub, make_zoo(tmp_path / "zoo"))
    honest = opened(own_hub, cache, "me/zoo")
    index = honest.files.index_path()
    before = files_in(cache / "datasets--me--zoo" / "snapshots" / honest.revision)
    other = b"x" * (len(index.read_bytes()) + (size == "other"))
    digest = [len(other), hashlib.sha256(other).hexdigest()]
    change_manifest(
        own_hub, "me/zoo", lambda values: values["dataset_files"].update({"index.parquet": digest})
    )  # type: ignore[attr-defined]
    own_hub.repo("dataset", "me/zoo").commits[-1].files["index.parquet"] = other
    tag = f'"{index.resolve().name}"'

    def change(request: Request, _: dict[str, str]) -> dict[str, str]:
        return {"ETag": tag, "X-Linked-Etag": tag} if "index.parquet" in request.url.path else {}

    answering(monkeypatch, change)
    zoo = opened(own_hub, cache, "me/zoo")
    assert zoo.revision != honest.revision
    with pytest.raises(HubUnavailable, match="with the ETag of another file that is in the cache"):
        zoo.files.index_path()
    assert files_in(cache / "datasets--me--zoo" / "snapshots" / honest.revision) == before
    assert not list(cache.glob(f"*/snapshots/{zoo.revision}/index.parquet"))
    own_hub.forget()
    assert opened(own_hub, cache, honest.address).files.index_path() == index
    assert own_hub.seen == []


def test_a_public_hub_does_not_send_requests_into_my_network(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = opened(hub, cache)
    resolve = socket.getaddrinfo

    def public(host: str, *rest: object, **more: object) -> object:
        """The Hub's name stands for a public address, as far as the check is concerned."""
        if host == "127.0.0.1" and not rest[0]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]
        return resolve(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", public)
    for file, method in (("index.parquet", "HEAD"), ("blocks-0000", "GET")):
        hub.faults.append(Fault("redirect", f"resolve/.*{file}", times=-1, method=method))
        with pytest.raises(HubUnavailable, match="sends the request on to 'localhost', which is inside your"):
            zoo.pull("pencil sketch")
        assert hub.requests("elsewhere") == []
        hub.forget()
        zoo.files.index_path()
    monkeypatch.undo()
    hub.faults.append(Fault("redirect", "resolve/.*blocks-0000"))
    zoo.pull("pencil sketch")
    assert hub.requests("elsewhere")
