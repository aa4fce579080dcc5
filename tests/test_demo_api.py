"""What programs get from a running demo, good and bad, and what nobody gets."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from demo_fixtures import DemoServer, request
from test_demo_core import image_file
from waiting import wait_until

from initzoo.checkpoints.init import Init
from initzoo.files.images import read_image
from initzoo.zoo.zoo import Zoo

pytestmark = [
    pytest.mark.xdist_group("demo"),  # one server, in one process of the tests
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def client(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from gradio_client import Client

    return Client(
        demo.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"), analytics_enabled=False
    )


def handle(path: Path) -> Any:
    from gradio_client import handle_file

    return handle_file(path)


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
    assert (read_image(Path(picture)) == init.to_network().edit(read_image(photo_path))).all()
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
        (("карандаш", None, 0, "auto"), "belongs to an alphabet that no wording of zoo 'starter' uses"),
        ((7, None, 0, "auto"), "words must be a text, found a number"),
        ((None, None, 0, "auto"), "words must be a text, found nothing"),
        ((["sketch"], None, 0, "auto"), "words must be a text, found a list"),
        (("sketch", None, "seven", "auto"), "seed must be a whole number from 0 to 9223372036854775807"),
        (("sketch", None, 2**70, "auto"), "seed must be a whole number"),
        (("sketch", None, -1, "auto"), "seed must be a whole number"),
        (("sketch", None, 0.5, "auto"), "seed must be a whole number"),
        (("sketch", None, 0, "../../etc/passwd"), "origin must be one of auto, exact, matched, generated"),
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

    Image.new("RGB", (5_000, 5_000), "teal").save(tmp_path / "large.png")  # decoded, 75 MB
    Image.new("1", (10_000, 10_000)).save(tmp_path / "too-large.png")
    client.predict("sketch", handle(tmp_path / "large.png"), api_name="/generate")
    before = demo.memory_mb()
    for name in ("large.png", "too-large.png", "large.png"):
        with contextlib.suppress(Exception):  # one of them is refused, which other tests look at
            client.predict("sketch", handle(tmp_path / name), api_name="/generate")
    assert demo.memory_mb() - before < 100


def test_requests_of_programs_leave_no_sessions_behind(demo: DemoServer) -> None:
    """A session costs 150 KB, and the server keeps hundreds unless it is told to forget them."""
    counts = [demo.health()["sessions"]]
    for _ in range(20):
        kind = {"Content_Type": "application/json"}
        _, _, told = request(demo, "POST", "/gradio_api/call/search", b'{"data": ["pencil", 1]}', **kind)
        event = json.loads(told)["event_id"]
        assert b"complete" in request(demo, "GET", f"/gradio_api/call/search/{event}")[2]
        counts.append(demo.health()["sessions"])
    assert any(later > earlier for earlier, later in pairwise(counts))  # requests do open sessions
    assert wait_until(lambda: demo.health()["sessions"] <= counts[0])


def test_events_of_the_page_refuse_odd_values_too(demo: DemoServer, client: Any) -> None:
    """Events without a name are still at an address: whoever reads the page can send them anything."""
    with urllib.request.urlopen(f"{demo.url}/config", timeout=60) as answer:
        config = json.load(answer)
    headers = {"Content_Type": "application/json"}
    odd = (None, 7, "x" * 1000, {"path": None}, [["a"]], -1e300)
    for number, event in enumerate(config["dependencies"]):
        for value in odd[number % 2 :: 2]:  # every second one, the others at the next event
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
    from gradio_client.utils import QueueError

    def is_answered() -> bool:
        try:
            return bool(client.predict("pencil", 1, api_name="/search")["concepts"])
        except (AppError, QueueError, ValueError) as error:
            if "full" not in str(error):
                raise
            return False

    return wait_until(is_answered)


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
