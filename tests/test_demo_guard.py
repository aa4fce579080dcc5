"""What nobody gets from a running demo: files of the server, requests to other hosts, all of its disk."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from demo_fixtures import DemoServer, request
from demo_times import upload

from initzoo.demo.guard import MAX_BODY_BYTES, Guard, _client
from initzoo.demo.quota import Quota
from initzoo.demo.uploads import MAX_UPLOAD_BYTES

pytestmark = [
    pytest.mark.xdist_group("demo"),  # one server, in one process of the tests
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file=/proc/self/environ",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file//etc/passwd",
        "/file=/etc/passwd",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc/passwd",
        "/svelte/..%2f..%2f..%2fetc/passwd",
        "/custom_component/x/y/z/..%2f..%2fetc%2fpasswd",
        "/gradio_api/custom_component/x/client/component/..%2f..%2f..%2fetc%2fpasswd",
        f"/gradio_api/file={Path(__file__).resolve()}",
        f"/gradio_api/file={Path(__file__).parent.parent.resolve()}/pyproject.toml",
    ],
)
def test_no_file_of_the_server_is_given_out(demo: DemoServer, path: str) -> None:
    status, _, body = request(demo, "GET", path)
    assert status in (400, 403, 404), body[:200]
    assert b"root:" not in body
    assert b"[project]" not in body
    assert b"PATH=" not in body


@pytest.mark.parametrize("name", ["page.html", "picture.svg"])
def test_uploads_with_scripts_are_never_shown_as_pages(demo: DemoServer, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    place = upload(demo, tmp_path / name)
    with urllib.request.urlopen(f"{demo.url}/gradio_api/file={place}", timeout=60) as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment")


class _Counting(BaseHTTPRequestHandler):
    hits: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.hits.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"fetched")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """Another server, which nobody should be made to ask."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Counting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "template",
    [
        "/gradio_api/proxy={there}/a",
        "/gradio_api/proxy=https://owner-name.hf.space/a",
        "/gradio_api/file={there}/a.png",
        "/gradio_api/file=//{host}/a.png",
        "/gradio_api/file={quoted}",
        "/gradio_api/file=http:%2f%2f{host}/a.png",
        "/login?_target_url={there}",
        "/logout?_target_url={there}",
        "//{host}/..",
        "/%5c%5c{host}",
        "/?__redirect={there}",
    ],
)
def test_nobody_is_sent_or_fetched_elsewhere(demo: DemoServer, elsewhere: str, template: str) -> None:
    host = elsewhere.removeprefix("http://")
    quoted = urllib.parse.quote(f"{elsewhere}/a.png", safe="")
    _Counting.hits.clear()
    for method in ("GET", "HEAD"):
        status, location, body = request(
            demo, method, template.format(there=elsewhere, host=host, quoted=quoted)
        )
        assert host not in urllib.parse.urlsplit(location).netloc
        assert b"fetched" not in body
        if "proxy=" in template or "file=" in template:
            assert status in (400, 403, 404)
    assert _Counting.hits == []


@pytest.mark.parametrize(
    "named", ["{there}/a.png", "/etc/passwd", "../../etc/passwd", "data:image/png;base64,AA"]
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_files_that_are_no_uploads_are_refused_unread(
    demo: DemoServer, elsewhere: str, named: str, is_nested: bool
) -> None:
    _Counting.hits.clear()
    file: Any = {"path": named.format(there=elsewhere), "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": ["sketch", {"inner": [file]} if is_nested else file, 0, "auto"]}).encode()
    for path in ("/gradio_api/call/generate", "/gradio_api/run/generate", "/gradio_api/queue/join"):
        status, _, answer = request(demo, "POST", path, body, Content_Type="application/json")
        assert status == 400, answer
        assert b"photo must be an uploaded image file" in answer
    assert demo.health()["status"] == "ok"  # asked after them, and answered: they are done with
    assert _Counting.hits == []


def test_uploads_beyond_a_quota_are_told_when_to_come_back() -> None:
    """Of one client, and not of its neighbour; by the address that a Space's proxy names."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = Guard(app, "/uploads", Quota(max_bytes=1000, max_total=5000, seconds=600))

    def send_photo(client: str, n_bytes: int) -> tuple[int, dict[bytes, bytes]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        headers = [(b"content-length", str(n_bytes).encode())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/photo",
            "headers": headers,
            "client": (client, 1),
        }
        asyncio.run(guard(scope, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"])

    assert send_photo("a", 900)[0] == 200
    status, headers = send_photo("a", 900)
    assert status == 429
    assert 0 < int(headers[b"retry-after"]) <= 600
    assert send_photo("b", 900)[0] == 200


def test_oversize_uploads_are_refused(demo: DemoServer) -> None:
    boundary = "x" * 20
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()
    body = head + bytes(MAX_UPLOAD_BYTES + 1_000) + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    status, _, answer = request(demo, "POST", "/gradio_api/upload", body, Content_Type=kind)
    assert status == 413, answer
    host, port = demo.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(10**12))  # announced, never sent
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def send_pieces(demo: DemoServer, boundary: str, pieces: Iterator[bytes]) -> int | None:
    """The status of an upload whose size nothing announces; None when it was cut off while sending."""
    host, port = demo.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    try:
        connection.request("POST", "/gradio_api/upload", pieces, headers, encode_chunked=True)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        return None
    finally:
        connection.close()


def test_uploads_are_cut_off_where_nothing_announced_their_size(demo: DemoServer) -> None:
    boundary = "x" * 20
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(MAX_UPLOAD_BYTES // 500_000 + 2):
            yield bytes(500_000)
        yield f"\r\n--{boundary}--\r\n".encode()

    assert send_pieces(demo, boundary, pieces()) in (413, None)
    assert demo.health()["status"] == "ok"


@pytest.mark.parametrize(
    "path", ["/gradio_api/call/search", "/gradio_api/queue/join", "/login", "/gradio_api/reset"]
)
def test_oversize_requests_are_refused(demo: DemoServer, path: str) -> None:
    body = json.dumps({"data": ["x" * MAX_BODY_BYTES, 3]}).encode()
    assert request(demo, "POST", path, body, Content_Type="application/json")[0] == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 30_000,
        b'{"data": ' + b"[" * 500 + b"]" * 500 + b"}",
        b"\xff\xfe",
        b'{"data": 5}',
    ],
)
def test_garbage_is_refused_and_the_server_goes_on(demo: DemoServer, body: bytes) -> None:
    for path in ("/gradio_api/call/search", "/gradio_api/queue/join"):
        status, _, answer = request(demo, "POST", path, body, Content_Type="application/json")
        assert 400 <= status < 600, (status, answer)
        assert b"Traceback" not in answer
    assert demo.health()["status"] == "ok"


@pytest.mark.parametrize(
    "named", ["/gradio_api/call/nothing", "/gradio_api/call/..%2f..%2fetc", "/gradio_api/queue/join"]
)
def test_unknown_endpoints_are_refused(demo: DemoServer, named: str) -> None:
    body = b'{"data": ["sketch"], "fn_index": 9999, "session_hash": "a"}'
    status, _, answer = request(demo, "POST", named, body, Content_Type="application/json")
    assert 400 <= status < 600, (status, answer)
    assert demo.health()["status"] == "ok"


def test_uploads_are_cut_off_however_many_files_share_a_request(demo: DemoServer) -> None:
    boundary = "x" * 20
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()

    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_UPLOAD_BYTES // 500_000 + 4):  # each file is small enough by itself
            yield head + bytes(500_000) + b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    assert send_pieces(demo, boundary, pieces()) in (413, None)
    assert demo.health()["status"] == "ok"


def asked(scope: dict[str, Any], body: bytes = b"", **limits: int) -> list[Any]:
    """What a guard answers, before an application that reads the body and says how the guard's quota is."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    quota = Quota(**({"max_bytes": MAX_UPLOAD_BYTES + 10, "max_total": 10**9, "seconds": 600} | limits))
    guard = Guard(app, "/uploads", quota)
    whole = {
        "type": "http",
        "method": "POST",
        "path": "/gradio_api/upload",
        "client": ("a", 1),
        "headers": [],
    }
    for _ in range(2):
        asyncio.run(guard(whole | scope, receive, send))
    return [message for message in sent if message["type"] == "http.response.start"]


def test_the_length_that_an_upload_in_chunks_announces_is_not_believed() -> None:
    headers = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    assert [answer["status"] for answer in asked({"headers": headers})] == [200, 429]


def test_a_form_has_at_most_forty_files() -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n1\r\n'
    assert [answer["status"] for answer in asked({}, head * 40, max_bytes=10**9)] == [200, 200]
    assert [answer["status"] for answer in asked({}, head * 41, max_bytes=10**9)] == [413, 413]


def test_a_client_cannot_choose_the_address_that_its_quota_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "me/x")
    for forwarded, client in (
        ("1.2.3.4, 9.9.9.9", "9.9.9.9"),
        ("1.2.3.4, 9.9.9.9, 10.0.3.7", "9.9.9.9"),
        ("10.0.0.1, 10.0.3.7", "10.0.3.7"),
        ("nonsense", "nonsense"),
    ):
        scope = {"headers": [(b"x-forwarded-for", forwarded.encode())], "client": ("10.0.0.9", 1)}
        assert _client(scope) == client


def test_browsers_guess_no_type_of_any_file(demo: DemoServer) -> None:
    for path in ("/", "/config", "/gradio_api/info"):
        with urllib.request.urlopen(demo.url + path) as answer:
            assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
