"""What programs get from a running demo, good and bad, and what nobody gets."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from demo_fixtures import DemoServer, demo, photo_path
from test_demo_core import image_file

from initzoo.demo.guard import MAX_BODY_BYTES
from initzoo.demo.uploads import MAX_UPLOAD_BYTES
from initzoo.images import read_image
from initzoo.inits import Init
from initzoo.networks.pix2pix import Pix2Pix
from initzoo.zoo import Zoo

pytest.importorskip("gradio_client")
__all__ = ["demo", "photo_path"]  # fixtures
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def client(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from gradio_client import Client

    return Client(
        demo.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"), analytics_enabled=False
    )


def handle(path: Path) -> Any:
    from gradio_client import handle_file

    return handle_file(path)


def request(
    demo: DemoServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, bytes]:
    """Status, `Location` and body of a request that is sent as it stands, dots and all."""
    host = demo.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location") or "", answer.read(200_000)
    finally:
        connection.close()


# Good requests.


def test_the_endpoints_are_the_documented_ones(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    parameters = {
        name: [(one["parameter_name"], one["parameter_has_default"]) for one in endpoint["parameters"]]
        for name, endpoint in named.items()
    }
    assert parameters == {
        "/generate": [("words", False), ("photo", True), ("seed", True), ("origin", True)],
        "/search": [("words", False), ("limit", True)],
        "/download": [("words", False), ("seed", True), ("origin", True), ("form", True)],
    }
    readme = (Path(__file__).parent.parent / "spaces" / "initzoo" / "README.md").read_text("utf-8")
    for name, endpoint in parameters.items():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
        assert all(f"`{parameter}`" in row for parameter, _ in endpoint)


@pytest.mark.parametrize(
    ("words", "origin"), [("pencil sketch", "exact"), ("faded teal charcoal at dusk", "generated")]
)
def test_generate_gives_the_picture_of_the_file_that_download_gives(
    client: Any, photo_path: Path, words: str, origin: str
) -> None:
    picture, told = client.predict(words, handle(photo_path), 7, "auto", api_name="/generate")
    file = client.predict(words, 7, "auto", "merged", api_name="/download")
    init = Init.load(file)
    assert (told["origin"], told["sha256"]) == (origin, init.sha256)
    assert (read_image(Path(picture)) == Pix2Pix.from_init(init).edit(read_image(photo_path))).all()
    assert told["revision"] == Zoo.from_pretrained("starter").revision
    assert {"words", "concept", "seed", "licence", "told", "nearest", "commands", "width", "height"} <= set(
        told
    )


def test_generate_without_a_photo_takes_an_example(client: Any) -> None:
    picture, told = client.predict("pencil sketch", api_name="/generate")
    assert read_image(Path(picture)).shape == (told["height"], told["width"], 3)


@pytest.mark.parametrize("kind", ["cmyk", "sixteen", "rotated", "transparent", "animated"])
def test_photos_of_all_kinds_are_edited(client: Any, tmp_path: Path, kind: str) -> None:
    picture, told = client.predict("sepia", handle(image_file(tmp_path, kind)), api_name="/generate")
    sides = (40, 24) if kind == "rotated" else (24, 40)
    assert read_image(Path(picture)).shape[:2] == sides
    assert (told["height"], told["width"]) == sides


def test_search_gives_concepts(client: Any) -> None:
    found = client.predict("pencil", 3, api_name="/search")
    assert len(found["concepts"]) == 3
    assert set(found["concepts"][0]) == {"concept", "prompt", "similarity", "family", "licence", "psnr"}


def test_adapters_are_small_and_merge_to_the_same(client: Any) -> None:
    zoo = Zoo.from_pretrained("starter")
    adapter = Init.load(client.predict("pencil sketch", 0, "auto", "adapter", api_name="/download"))
    assert (adapter.kind, adapter.metadata.concept) == ("adapter", "pencil-sketch")
    assert zoo.merge(adapter).sha256 == zoo.pull("pencil sketch").sha256


def test_plain_http_is_enough(demo: DemoServer) -> None:
    body = json.dumps({"data": ["pencil", 2]}).encode()
    status, _, answer = request(
        demo, "POST", "/gradio_api/call/search", body, Content_Type="application/json"
    )
    assert status == 200
    event = json.loads(answer)["event_id"]
    status, _, stream = request(demo, "GET", f"/gradio_api/call/search/{event}")
    data = next(line for line in stream.decode().splitlines() if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: "))[0]["concepts"][0]["concept"] == "pencil-sketch"


def test_the_health_route_tells_zoo_and_start(demo: DemoServer) -> None:
    told = demo.health()
    assert (told["status"], told["zoo"]) == ("ok", "starter")
    assert float(told["started_in_seconds"]) > 0
    assert any("concepts" in line for line in demo.log)


# Bad requests: one clear line, and the server goes on.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", None, 0, "auto"), "the words are empty"),
        (("x" * 10_000, None, 0, "auto"), "words have 10,000 letters, at most 200 are read"),
        (("карандаш", None, 0, "auto"), "of an alphabet that no wording in zoo 'starter' is written in"),
        ((7, None, 0, "auto"), "words must be a text, found a number"),
        ((None, None, 0, "auto"), "words must be a text, found nothing"),
        ((["sketch"], None, 0, "auto"), "words must be a text, found a list"),
        (("sketch", None, "seven", "auto"), "seed must be a whole number from 0 to 9223372036854775807"),
        (("sketch", None, 2**70, "auto"), "seed must be a whole number"),
        (("sketch", None, -1, "auto"), "seed must be a whole number"),
        (("sketch", None, 0.5, "auto"), "seed must be a whole number"),
        (("sketch", None, 0, "../../etc/passwd"), "origin must be one of auto, exact, generated"),
        (("../../etc/passwd", None, 0, "exact"), "no concept '../../etc/passwd' in zoo 'starter'"),
        (("sketch", {"a": 1}, 0, "auto"), "photo must be an uploaded image file"),
        (("sketch", 5, 0, "auto"), "photo must be an uploaded image file"),
        (("sketch", {"path": None, "full_size": 5}, 0, "auto"), "photo must be an uploaded image file"),
    ],
)
def test_bad_generate_requests_say_what_to_do(client: Any, arguments: tuple[Any, ...], message: str) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as caught:
        client.predict(*arguments, api_name="/generate")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/search", ("", 5), "the words are empty"),
        ("/search", ("sketch", 1000), "limit must be a whole number from 1 to 50, found 1000"),
        ("/search", ({"a": 1}, 5), "words must be a text, found an object"),
        ("/download", ("sketch", 0, "auto", "pickle"), "form must be one of merged, adapter; found 'pickle'"),
        ("/download", ("../../etc/passwd", 0, "exact", "merged"), "no concept '../../etc/passwd'"),
        ("/download", ("sketch", None, "auto", "merged"), "seed must be a whole number"),
    ],
)
def test_bad_search_and_download_requests_say_what_to_do(
    client: Any, endpoint: str, arguments: tuple[Any, ...], message: str
) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as caught:
        client.predict(*arguments, api_name=endpoint)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("corrupt", "'corrupt.png': the image is damaged or cut off"),
        ("text", "'text.png': it is not an image of a known kind"),
        ("svg", "not an image of a known kind"),
        ("empty", "'empty.png' is empty"),
        ("huge", "too many pixels (10000 x 10000); expected at most 50 million"),
    ],
)
def test_bad_photos_say_what_to_do(
    client: Any, demo: DemoServer, tmp_path: Path, kind: str, message: str
) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as caught:
        client.predict("sketch", handle(image_file(tmp_path, kind)), api_name="/generate")
    assert message in str(caught.value)
    assert "/tmp" not in str(caught.value)
    assert demo.health()["status"] == "ok"


def test_words_with_markup_do_no_harm(client: Any) -> None:
    words = "<script>alert(1)</script> **sketch** [x](javascript:alert(1))"
    _, told = client.predict(words, api_name="/generate")
    assert told["words"] == words
    assert told["concept"] == "script-alert-1-script-sketch-x-javascript-alert-1"


# What nobody gets.


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
    time.sleep(0.2)
    assert _Counting.hits == []


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


def test_the_queue_is_full_politely_and_nothing_is_stuck_when_clients_leave(
    demo: DemoServer, client: Any
) -> None:
    host, port = demo.url.removeprefix("http://").split(":")
    events, n_full = [], 0
    for number in range(150):
        body = json.dumps({"data": ["sketch at dusk", None, number, "generated"]}).encode()
        status, _, answer = request(
            demo, "POST", "/gradio_api/call/generate", body, Content_Type="application/json"
        )
        assert status in (200, 503), answer
        if status == 503:
            assert b"Queue is full" in answer
            n_full += 1
        else:
            events.append(json.loads(answer)["event_id"])
    for event in events:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", f"/gradio_api/call/generate/{event}")
        connection.close()  # at once: nobody waits for the answer
    assert n_full > 0
    assert search_patiently(client)


def test_memory_comes_back_after_large_photos(demo: DemoServer, client: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (7_000, 7_000), "teal").save(tmp_path / "large.png")  # decoded, 147 MB
    Image.new("L", (10_000, 10_000)).save(tmp_path / "too-large.png")
    client.predict("sketch", handle(tmp_path / "large.png"), api_name="/generate")
    before = demo.memory_mb()
    for name in ("large.png", "too-large.png", "large.png"):
        with contextlib.suppress(Exception):  # one of them is refused, which other tests look at
            client.predict("sketch", handle(tmp_path / name), api_name="/generate")
    assert demo.memory_mb() - before < 100


def test_events_of_the_page_refuse_odd_values_too(demo: DemoServer, client: Any) -> None:
    """Events without a name are still at an address: whoever reads the page can send them anything."""
    with urllib.request.urlopen(f"{demo.url}/config", timeout=60) as answer:
        config = json.load(answer)
    headers = {"Content_Type": "application/json"}
    for event in config["dependencies"]:
        for value in (None, 7, "x" * 1000, {"path": None}, [["a"]], -1e300):
            data = [value] * len(event["inputs"])
            body = {"data": data, "fn_index": event["id"], "session_hash": "odd", "trigger_id": 1}
            # What is refused or queued is its own business; what matters is who still answers after it.
            status, _, told = request(
                demo, "POST", "/gradio_api/queue/join", json.dumps(body).encode(), **headers
            )
            assert 200 <= status < 600, told
            assert b"Traceback" not in told
    assert search_patiently(client)


def search_patiently(client: Any) -> bool:
    """Whether a search is answered once the queue has room."""
    from gradio_client.exceptions import AppError

    for _ in range(120):
        try:
            return bool(client.predict("pencil", 1, api_name="/search")["concepts"])
        except (AppError, ValueError) as error:
            if "full" not in str(error):
                raise
            time.sleep(0.5)
    return False


# What the README of the Space tells programs to do.


def test_the_examples_of_the_readme_work(demo: DemoServer, photo_path: Path, tmp_path: Path) -> None:
    shutil.copy(photo_path, tmp_path / "photo.jpg")
    text = (Path(__file__).parent.parent / "spaces" / "initzoo" / "README.md").read_text("utf-8")
    text = text.replace("http://127.0.0.1:7860", demo.url)
    code = text.split("```python\n")[1].split("```")[0] + "print(told['origin'], weights)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    origin, weights = done.stdout.strip().splitlines()[-1].split(" ", 1)
    assert origin == Init.load(weights).metadata.origin == "generated"
    if shutil.which("curl") is None:
        pytest.skip("the second half needs curl")
    ask, read = (line for line in text.splitlines() if line.startswith("curl "))
    asked = subprocess.run(["bash", "-c", ask], check=True, capture_output=True, text=True).stdout
    read = read.replace("EVENT_ID", json.loads(asked)["event_id"])
    assert (
        "event: complete"
        in subprocess.run(["bash", "-c", read], check=True, capture_output=True, text=True).stdout
    )
