"""A small Hub for tests: repos with commits, as the real client asks for them, and switches for faults.

It speaks what `huggingface_hub` and `datasets` use of the Hub's HTTP API, for model and dataset repos:
create, whoami, preupload, LFS batch, commit (atomic, with `parentCommit`), refs, tags, revisions, trees,
paths-info, and `resolve` with ranges, ETags and error codes.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TOKEN = "hf_test_token"
READ_TOKEN = "hf_read_token"
LFS_SUFFIXES = (".safetensors", ".parquet")
OWNER = "me"


@dataclass
class Commit:
    """A revision: its files, and the message it was made with."""

    oid: str
    files: dict[str, bytes]
    message: str


@dataclass
class Repo:
    """A repo: commits of its main branch, branches, tags, and who may see it."""

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], message: str) -> Commit:
        """Make a commit of these files, all at once."""
        parent = self.commits[-1].oid if self.commits else ""
        digest = hashlib.sha1(f"{self.kind}{self.id}{parent}{message}{len(self.commits)}".encode())
        for path, data in sorted(files.items()):
            digest.update(path.encode() + hashlib.sha256(data).digest())
        made = Commit(digest.hexdigest(), dict(files), message)
        self.commits.append(made)
        self.branches["main"] = made.oid
        return made

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch, tag or commit names."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return next((commit for commit in self.commits if commit.oid == oid), None)


@dataclass
class Seen:
    """A request that came in, and the bytes of body that went out."""

    method: str
    path: str
    range: str
    authorised: bool
    status: int = 0
    n_bytes: int = 0


@dataclass
class Fault:
    """What goes wrong with requests whose path matches.

    Args:
        what: cut, short, corrupt, status, slow, redirect or no-range; endless, drip (a byte at a time),
            circle (a redirect to itself), wrong-range, gzip, bomb (gzip of far more bytes) or huge (announces
            10^15 bytes).
        path: expression that the path has to match.
        times: how often; -1 for always.
        method: only for this method.
        status: for `status`.
        headers: for `status`.
        keep: share of the body that a cut or short answer has.
        seconds: for `slow`: how long before the body; for `drip`: between bytes.
    """

    what: str
    path: str
    times: int = 1
    method: str = "GET"
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    keep: float = 0.5
    seconds: float = 1.0


class Hub:
    """The state of the server: change it from a test at any time."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.before: Callable[[Request], None] | None = None
        self.url = ""

    def forget(self) -> None:
        """Forget faults and requests; repos stay."""
        self.seen.clear()
        self.faults.clear()
        self.before = None

    def repo(self, kind: str, repo_id: str) -> Repo:
        """A repo that is there."""
        return self.repos[kind, repo_id]

    def requests(self, pattern: str = "", method: str = "") -> list[Seen]:
        """The requests whose path matches."""
        return [one for one in self.seen if re.search(pattern, one.path) and method in ("", one.method)]

    def fault_for(self, request: Request) -> Fault | None:
        """The fault that strikes this request; it counts as used."""
        for fault in self.faults:
            if fault.times and request.method == fault.method and re.search(fault.path, request.url.path):
                fault.times -= 1
                return fault
        return None


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        self.response = JSONResponse(
            {"error": message or code},
            status,
            {**({"X-Error-Code": code} if code else {}), "X-Error-Message": message or code, **headers},
        )


class Api:
    """What each route does."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def repo_of(self, request: Request, *, write: bool = False) -> Repo:
        kind = request.path_params.get("kind", "models").rstrip("/").removesuffix("s") or "model"
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        repo = self.hub.repos.get((kind, request.path_params["id"]))
        if repo is None or (repo.private and token not in (TOKEN, READ_TOKEN)):
            raise Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.gated and not token:
            raise Refused(401, "GatedRepo", "Access to this repo is restricted")
        if write and token != TOKEN:
            raise Refused(403 if token else 401, "", "You may not write here")
        return repo

    def commit_of(self, request: Request, repo: Repo) -> Commit:
        commit = repo.at(unquote(request.path_params.get("rev", "main")))
        if commit is None:
            raise Refused(404, "RevisionNotFound", "Invalid rev id")
        return commit

    async def whoami(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "", "Invalid username or password.")
        return JSONResponse({"type": "user", "name": OWNER, "auth": {"accessToken": {"role": "write"}}})

    async def create(self, request: Request) -> Response:
        body = await request.json()
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "", "Invalid username or password.")
        repo_id = "/".join(filter(None, (body.get("organization") or OWNER, body["name"])))
        kind = body.get("type", "model")
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        private = body.get("private") is True or body.get("visibility") == "private"
        self.hub.repos[kind, repo_id] = Repo(kind, repo_id, private=private)
        self.hub.repos[kind, repo_id].commit(
            {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit"
        )
        return JSONResponse({"url": url, "name": repo_id, "id": repo_id})

    async def validate_yaml(self, request: Request) -> Response:
        await request.json()
        return JSONResponse({"errors": [], "warnings": []})

    async def preupload(self, request: Request) -> Response:
        repo = self.repo_of(request, write=True)
        files = self.commit_of(request, repo).files
        answers = []
        for file in (await request.json())["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in files:
                answer["oid"] = sha256(files[path]) if mode == "lfs" else git_sha1(files[path])
            answers.append(answer)
        return JSONResponse({"files": answers})

    async def lfs_batch(self, request: Request) -> Response:
        self.repo_of(request, write=True)
        objects = []
        for one in (await request.json())["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.lfs:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}},
                    "verify": {"href": f"{self.hub.url}/lfs-verify", "header": {}},
                }
            objects.append(answer)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def lfs_put(self, request: Request) -> Response:
        data = await request.body()
        if sha256(data) != request.path_params["oid"]:
            raise Refused(400, "", "digest mismatch")
        self.hub.lfs[request.path_params["oid"]] = data
        return Response()

    async def lfs_verify(self, request: Request) -> Response:
        body = await request.json()
        if len(self.hub.lfs.get(body["oid"], b"")) != body["size"]:
            raise Refused(404, "", "no such object")
        return JSONResponse({})

    async def commit(self, request: Request) -> Response:
        repo = self.repo_of(request, write=True)
        head = self.commit_of(request, repo)
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
        header = lines[0]["value"]
        if header.get("parentCommit", head.oid) != head.oid:
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.lfs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "deletedFolder":
                files = {path: data for path, data in files.items() if not path.startswith(value["path"])}
        made = repo.commit(files, header["summary"])
        url = f"{self.hub.url}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.id}/commit/{made.oid}"
        return JSONResponse({"success": True, "commitOid": made.oid, "commitUrl": url})

    async def info(self, request: Request) -> Response:
        repo = self.repo_of(request)
        found = self.commit_of(request, repo)
        siblings = [{"rfilename": path} for path in sorted(found.files)]
        common = {
            "id": repo.id,
            "sha": found.oid,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": False,
        }
        return JSONResponse({**common, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})

    async def tree(self, request: Request) -> Response:
        repo = self.repo_of(request)
        found = self.commit_of(request, repo)
        prefix = unquote(request.path_params.get("path", "")).strip("/")
        recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
        inside = [path for path in sorted(found.files) if not prefix or path.startswith(f"{prefix}/")]
        if prefix and not inside:
            raise Refused(404, "EntryNotFound", "no such folder", **{"X-Repo-Commit": found.oid})
        entries: dict[str, Any] = {}
        for path in inside:
            rest = path[len(prefix) + 1 if prefix else 0 :]
            parts = rest.split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                folder = "/".join(filter(None, (prefix, *parts[:depth])))
                entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            if recursive or len(parts) == 1:
                entries[path] = described(path, found.files[path])
        return JSONResponse(list(entries.values()))

    async def paths_info(self, request: Request) -> Response:
        repo = self.repo_of(request)
        found = self.commit_of(request, repo)
        paths = parse_qs((await request.body()).decode()).get("paths", [])
        entries = [described(path, found.files[path]) for path in paths if path in found.files]
        for path in paths:
            if path not in found.files and any(name.startswith(f"{path}/") for name in found.files):
                entries.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
        return JSONResponse(entries)

    async def refs(self, request: Request) -> Response:
        repo = self.repo_of(request)

        def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in names.items()]

        return JSONResponse(
            {"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []}
        )

    async def tag(self, request: Request) -> Response:
        repo = self.repo_of(request, write=True)
        name = (await request.json())["tag"]
        if name in repo.tags:
            raise Refused(409, "", "Tag already exists")
        repo.tags[name] = self.commit_of(request, repo).oid
        return JSONResponse({})

    async def resolve(self, request: Request) -> Response:
        repo = self.repo_of(request)
        found = self.commit_of(request, repo)
        path = unquote(request.path_params["path"])
        if path not in found.files:
            raise Refused(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": found.oid})
        data = found.files[path]
        headers = {"X-Repo-Commit": found.oid, "Accept-Ranges": "bytes"}
        if path.endswith(LFS_SUFFIXES):
            headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            headers |= {"ETag": f'"{sha256(data)}"'}
        else:
            headers |= {"ETag": f'"{git_sha1(data)}"'}
        return self.serve(request, data, headers)

    async def elsewhere(self, request: Request) -> Response:
        """What a content network would serve after a redirect: it wants no token."""
        assert "authorization" not in request.headers, "the token went to another host"
        return self.serve(request, self.hub.lfs[request.path_params["oid"]], {"Accept-Ranges": "bytes"})

    def serve(self, request: Request, data: bytes, headers: dict[str, str]) -> Response:
        fault = getattr(request.state, "fault", None)
        if fault is not None and fault.what == "redirect":
            self.hub.lfs[sha256(data)] = data
            url = self.hub.url.replace("127.0.0.1", "localhost") + f"/elsewhere/{sha256(data)}"
            return Response(b"", 302, headers | {"Location": url})
        what = "" if fault is None else fault.what
        if what == "circle":
            return Response(b"", 302, headers | {"Location": str(request.url)})
        status = 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        size = len(data)
        if wanted and what not in ("no-range", "gzip", "bomb"):
            first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
            if first >= size:
                return Response(b"", 416, headers | {"Content-Range": f"bytes */{size}"})
            status, data = 206, data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            if what == "wrong-range":
                headers["Content-Range"] = f"bytes {first + 7}-{last + 7}/{size + 7}"
        if what in ("gzip", "bomb"):
            data = gzip.compress(data) if what == "gzip" else bomb()
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(data) if what != "huge" else 10**15)
        if what == "huge" and "X-Linked-Size" in headers:
            headers["X-Linked-Size"] = str(10**15)
        if request.method == "HEAD":
            return Response(b"", status, headers)
        if what == "corrupt":
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        kept = data
        if fault is not None and what in ("cut", "short"):
            kept = data[: int(len(data) * fault.keep)]
            if what == "short":
                headers["Content-Length"] = str(len(kept))
        wait = fault.seconds if fault is not None and what == "slow" else 0.0

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(2**12):  # 256 MB are endless enough
                yield bytes(2**16)
                await asyncio.sleep(0)  # to see that nobody listens any more

        async def drip() -> AsyncIterator[bytes]:
            for place in range(len(data)):
                yield data[place : place + 1]
                await asyncio.sleep(fault.seconds if fault is not None else 0.0)

        if what == "endless":
            del headers["Content-Length"]
        if what in ("endless", "drip"):
            return StreamingResponse(endless() if what == "endless" else drip(), status, headers)

        async def body() -> AsyncIterator[bytes]:
            await asyncio.sleep(wait)
            for place in range(0, len(kept), 2**16):
                yield kept[place : place + 2**16]
            if len(kept) < int(headers["Content-Length"]):
                raise ConnectionAbortedError("cut by the test")

        return StreamingResponse(body(), status, headers)


class RepoId(Convertor[str]):
    """`owner/name` in a path."""

    regex = "[^/]+/[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def make_app(hub: Hub) -> Any:
    """The server's routes."""
    api = Api(hub)
    ID, KIND = "{id:repo}", "{kind}"
    register_url_convertor("repo", RepoId())
    routes = [
        Route("/api/whoami-v2", api.whoami),
        Route("/api/repos/create", api.create, methods=["POST"]),
        Route("/api/validate-yaml", api.validate_yaml, methods=["POST"]),
        Route("/lfs/{oid}", api.lfs_put, methods=["PUT"]),
        Route("/lfs-verify", api.lfs_verify, methods=["POST"]),
        Route("/elsewhere/{oid}", api.elsewhere),
        Route(f"/api/{KIND}/{ID}/preupload/{{rev:path}}", api.preupload, methods=["POST"]),
        Route(f"/api/{KIND}/{ID}/commit/{{rev:path}}", api.commit, methods=["POST"]),
        Route(f"/api/{KIND}/{ID}/tag/{{rev:path}}", api.tag, methods=["POST"]),
        Route(f"/api/{KIND}/{ID}/paths-info/{{rev}}", api.paths_info, methods=["POST"]),
        Route(f"/api/{KIND}/{ID}/tree/{{rev}}", api.tree),
        Route(f"/api/{KIND}/{ID}/tree/{{rev}}/{{path:path}}", api.tree),
        Route(f"/api/{KIND}/{ID}/revision/{{rev:path}}", api.info),
        Route(f"/api/{KIND}/{ID}/refs", api.refs),
        Route(f"/api/{KIND}/{ID}", api.info),
    ]
    for prefix in ("datasets/", ""):
        for route, endpoint, methods in (
            (".git/info/lfs/objects/batch", api.lfs_batch, ["POST"]),
            ("/resolve/{rev}/{path:path}", api.resolve, ["GET", "HEAD"]),
        ):
            place = f"/{prefix}{ID}{route}"
            if "batch" in route:
                place = f"/{prefix}{{owner}}/{{name}}{route}"
            routes.append(Route(place, with_kind(endpoint, prefix), methods=methods))
    app = Starlette(routes=routes, exception_handlers={Refused: lambda _, error: error.response})
    return Gate(app, hub)


def with_kind(endpoint: Any, prefix: str) -> Any:
    """Tell an endpoint the kind of repo that the start of its path says."""

    async def run(request: Request) -> Response:
        request.path_params["kind"] = prefix or "models"
        if "owner" in request.path_params:
            request.path_params["id"] = f"{request.path_params['owner']}/{request.path_params['name']}"
        response: Response = await endpoint(request)
        return response

    return run


class Gate:
    """Writes down each request and lets faults strike; the path is used as it was quoted."""

    def __init__(self, app: Any, hub: Hub) -> None:
        self.app, self.hub = app, hub

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Revisions such as refs%2Fpr%2F1 are one part of the path.
        scope = {**scope, "path": scope["raw_path"].decode().partition("?")[0], "state": {}}
        request = Request(scope)
        headers = request.headers
        seen = Seen(
            request.method, unquote(request.url.path), headers.get("range", ""), "authorization" in headers
        )
        self.hub.seen.append(seen)

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
            elif message["type"] == "http.response.body":
                seen.n_bytes += len(message.get("body", b""))
            await send(message)

        if self.hub.before is not None:
            self.hub.before(request)
        fault = self.hub.fault_for(request)
        scope["state"]["fault"] = fault
        if fault is not None and fault.what == "status":
            await JSONResponse({"error": "a fault"}, fault.status, fault.headers)(scope, receive, counted)
            return
        with suppress(ConnectionAbortedError):  # uvicorn sees a body that is too short, and closes
            await self.app(scope, receive, counted)


@cache
def bomb() -> bytes:
    """Little that is unpacked to a lot: made once, as that takes a second."""
    return gzip.compress(bytes(2**28))


def sha256(data: bytes) -> str:
    """As LFS names a file."""
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    """As git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def described(path: str, data: bytes) -> dict[str, Any]:
    """A file in a listing."""
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": git_sha1(data), "size": len(data)}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return entry


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub on a free port of this machine, in a thread."""
    hub = Hub()
    # The protocol is named: asyncio sends small answers at once only over sockets whose protocol it knows.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(make_app(hub), log_level="critical", lifespan="off", ws="none", http="h11")
    server = uvicorn.Server(config)

    def serve() -> None:
        with listener:
            server.run(sockets=[listener])

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield hub
    finally:
        server.should_exit = True  # it takes two tenths of a second, for which no test waits
