"""What programs get from a running demo, good and bad, and what nobody gets."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_fixtures import DemoServer, request
from recorded import run_script
from test_demo_core import image_file
from waiting import wait_until

from initzoo.checkpoints.init import Init
from initzoo.files.images import read_image, write_image
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
        "/fit": [("before", False), ("after", False), ("words", True), ("photo", True)],
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
    zoo = Zoo.from_pretrained("starter")
    assert (read_image(Path(picture)) == zoo.editor(init).edit(read_image(photo_path))).all()
    assert told["revision"] == zoo.revision
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


def write_pair(folder: Path) -> tuple[Path, Path]:
    """A photo and its negative."""
    before = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for name, pixels in (("before.png", before), ("after.png", 255 - before)):
        write_image(folder / name, pixels, force=True)
    return folder / "before.png", folder / "after.png"


def test_fit_gives_weights_that_make_the_edit_of_the_pairs(
    client: Any, photo_path: Path, tmp_path: Path
) -> None:
    before, after = write_pair(tmp_path)
    picture, told, weights = client.predict(
        [handle(before)], [handle(after)], "", handle(photo_path), api_name="/fit"
    )
    init = Init.load(weights)
    assert (told["origin"], told["sha256"], init.metadata.origin) == ("fitted", init.sha256, "fitted")
    assert told["fitting"]["loss_after"] < told["fitting"]["loss_untouched"]
    edited = Zoo.from_pretrained("starter").editor(init).edit(read_image(photo_path))
    assert (read_image(Path(picture)) == edited).all()


@pytest.mark.parametrize(
    ("n_sides", "words", "message"),
    [
        ((0, 1), "", "before must be 1 to 20 uploaded photos, found 0"),
        ((1, 2), "", "there are 1 photos before and 2 after. Send as many of each"),
        ((1, 1), 7, "words must be a text, found a number"),
    ],
)
def test_bad_fits_say_what_to_do(
    client: Any, tmp_path: Path, n_sides: tuple[int, int], words: Any, message: str
) -> None:
    from gradio_client.exceptions import AppError

    sides = [[handle(path)] * count for path, count in zip(write_pair(tmp_path), n_sides, strict=True)]
    with pytest.raises(AppError) as caught:
        client.predict(*sides, words, api_name="/fit")
    assert message in str(caught.value)


def test_search_gives_concepts(client: Any) -> None:
    found = client.predict("pencil", 3, api_name="/search")
    assert len(found["concepts"]) == 3
    assert set(found["concepts"][0]) == {"concept", "prompt", "similarity", "family", "licence", "psnr"}


def test_adapters_are_small_and_merge_to_the_same(client: Any) -> None:
    zoo = Zoo.from_pretrained("starter")
    adapter = Init.load(client.predict("pencil sketch", 0, "auto", "adapter", api_name="/download"))
    assert (adapter.kind, adapter.metadata.concept) == ("adapter", "pencil-sketch")
    without_detail = zoo.pull("pencil sketch", adapter_only=True)
    assert zoo.merge(adapter).sha256 == zoo.merge(without_detail).sha256


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


@pytest.mark.parametrize(
    ("address", "body", "status", "message"),
    [
        (
            "call/generate",
            {"data": []},
            400,
            "/generate takes 1 to 4 values (words, photo, seed, origin), found 0",
        ),
        ("call/generate", {"data": ["a"] * 5}, 400, "/generate takes 1 to 4 values"),
        ("call/generate", {"data": "sketch"}, 400, "/generate takes its values as a list"),
        ("call/generate", {}, 400, "/generate takes its values as a list"),
        ("call/generate", [], 400, "/generate takes its values as a list"),
        ("call/generate", {"data": ["sketch", None, "7"]}, 400, "seed must be a whole number"),
        ("call/generate", {"data": ["sketch", None, 0, "Auto"]}, 400, "origin must be one of auto, exact"),
        ("call/search", {"data": [["sketch"]]}, 400, "words must be a text, found a list"),
        (
            "call/paint",
            {"data": ["sketch"]},
            404,
            "no endpoint '/paint'; there are /generate, /search, /download",
        ),
        ("run/paint", {"data": ["sketch"]}, 404, "no endpoint '/paint'"),
        ("call/v2/search", {"word": "sketch"}, 400, "/search has no parameter 'word'"),
        ("queue/join", {"fn_index": 1, "data": [], "session_hash": "a"}, 400, "/search takes 1 to 2 values"),
    ],
)
def test_calls_are_refused_at_once_in_one_line(
    demo: DemoServer, address: str, body: object, status: int, message: str
) -> None:
    data = json.dumps(body).encode()
    answer = request(demo, "POST", f"/gradio_api/{address}", data, Content_Type="application/json")
    assert answer[0] == status, answer
    detail = json.loads(answer[2])["detail"]
    assert message in detail
    assert "\n" not in detail


@pytest.mark.parametrize(("name", "values"), [("search", ["sketch"]), ("generate", ["night"])])
def test_calls_may_leave_out_what_has_a_default(demo: DemoServer, name: str, values: list[str]) -> None:
    body, kind = json.dumps({"data": values}).encode(), {"Content_Type": "application/json"}
    _, _, answer = request(demo, "POST", f"/gradio_api/call/{name}", body, **kind)
    event = json.loads(answer)["event_id"]
    assert b"event: complete" in request(demo, "GET", f"/gradio_api/call/{name}/{event}")[2]


def test_the_info_describes_every_parameter_with_an_example_that_works(
    demo: DemoServer, client: Any, tmp_path: Path
) -> None:
    # The files of an example are on no server before they are sent.
    sent = dict(zip(("before", "after"), ([handle(path)] for path in write_pair(tmp_path)), strict=True))
    info = json.loads(request(demo, "GET", "/gradio_api/info")[2])["named_endpoints"]
    assert set(info) == {"/generate", "/search", "/download", "/fit"}
    for name, endpoint in info.items():
        assert len(endpoint["description"]) > 20
        for parameter in endpoint["parameters"]:
            assert len(parameter["python_type"]["description"]) > 10, (name, parameter)
        examples = [sent.get(one["parameter_name"], one["example_input"]) for one in endpoint["parameters"]]
        assert client.predict(*examples, api_name=name)
    types = {
        one["parameter_name"]: one["python_type"]["type"]
        for endpoint in info.values()
        for one in endpoint["parameters"]
    }
    assert types["origin"] == "Literal['auto', 'exact', 'matched', 'generated']"
    assert types["form"] == "Literal['merged', 'adapter']"


def test_the_addresses_of_the_page_refuse_in_one_line(demo: DemoServer) -> None:
    for address, message in (
        ("/look", "the words are empty"),
        ("/look?words=night&strength=9", "strength must be one of"),
        ("/look?words=night&photo=../../etc/passwd", "the photo is not here any more"),
        ("/picture.gif?words=night", "pictures are webp or png files"),
        ("/picture.png?words=night&photo=" + "0" * 32, "the photo is not here any more"),
        ("/weights?words=night&form=pickle", "form must be one of merged, adapter"),
        ("/weights?words=night&with=sepia&form=adapter", "form must be one of merged"),
        ("/thumbnail.webp?concept=../../etc/passwd", "no concept '../../etc/passwd'"),
        ("/zoo?page=x", "page must be a number"),
        ("/zoo?words=" + "x" * 300, "at most 200 are read"),
        ("/example/nobody.webp", "no example photo 'nobody'"),
        ("/card.jpg?words=", "the words are empty"),
    ):
        status, _, body = request(demo, "GET", address)
        assert status == 400, address
        assert message in json.loads(body)["detail"], address
    assert request(demo, "GET", "/wheel/initzoo-0.2.0-py3-none-any.whl")[0] == 404
    status, _, body = request(demo, "POST", "/photo?name=../../x.png", b"no photo")
    assert (status, json.loads(body)["detail"][:40]) == (400, "cannot read 'x.png': it is not an image ")


def test_pages_have_a_card_an_icon_and_credits(demo: DemoServer) -> None:
    _, _, page = request(demo, "GET", "/?words=night")
    assert b'property="og:image" content="http://' in page
    for address, start in (
        ("/card.jpg?words=night", b"\xff\xd8"),
        ("/favicon.svg", b"<svg"),
        ("/credits", b"<!doctype html>"),
        ("/page.js", b"// The page"),
    ):
        status, _, body = request(demo, "GET", address)
        assert (status, body[: len(start)]) == (200, start)


@pytest.mark.long
def test_the_commands_of_the_page_work_verbatim_in_an_empty_folder(demo: DemoServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("the commands need curl")
    _, _, page = request(demo, "GET", "/look?words=denoise&strength=1.5")
    use, train = (
        html.unescape(text) for text in re.findall(r"<pre[^>]*><code>(.*?)</code>", page.decode(), re.DOTALL)
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    # Only the number of steps is less than what the page says: they take a while.
    run_script(f"{use}\n{train} --steps 2", empty, tmp_path / "tools")
    with urllib.request.urlopen(f"{demo.url}/picture.png?words=denoise&strength=1.5", timeout=60) as answer:
        shown = answer.read()
    (tmp_path / "shown.png").write_bytes(shown)
    (edited,) = (
        path for path in empty.glob("*.png") if path.name not in ("photo.png",) and "mine" not in path.name
    )
    assert (read_image(edited) == read_image(tmp_path / "shown.png")).all()
    assert len(list(empty.glob("*-mine.safetensors"))) == 1


def test_words_with_markup_do_no_harm(client: Any) -> None:
    words = "<script>alert(1)</script> **sketch** [x](javascript:alert(1))"
    _, told = client.predict(words, api_name="/generate")
    assert told["words"] == words
    assert told["concept"] == "script-alert-1-script-sketch-x-javascript-alert-1"


@pytest.mark.long
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
            assert retry_after(demo) > 0
            n_full += 1
        else:
            events.append(json.loads(answer)["event_id"])
    for event in events:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", f"/gradio_api/call/generate/{event}")
        connection.close()  # at once: nobody waits for the answer
    assert n_full > 0
    assert search_patiently(client)


def retry_after(demo: DemoServer) -> int:
    """The seconds after which a full server wants to be asked again; 0 if it is not full."""
    host = demo.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    body = json.dumps({"data": ["sketch at dusk", None, 0, "generated"]})
    connection.request("POST", "/gradio_api/call/generate", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    seconds = int(answer.getheader("Retry-After") or 0) if answer.status == 503 else 1
    connection.close()
    return seconds


@pytest.mark.long
def test_memory_comes_back_after_large_photos(demo: DemoServer, client: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4_000, 4_000), "teal").save(tmp_path / "large.png")  # decoded, 48 MB
    Image.new("1", (10_000, 10_000)).save(tmp_path / "too-large.png")
    client.predict("sketch", handle(tmp_path / "large.png"), api_name="/generate")
    before = demo.memory_mb()
    for name in ("large.png", "too-large.png", "large.png"):
        with contextlib.suppress(Exception):  # one of them is refused, which other tests look at
            client.predict("sketch", handle(tmp_path / name), api_name="/generate")
    assert demo.memory_mb() - before < 70


@pytest.mark.long
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


@pytest.mark.long
def test_the_examples_of_the_readme_work(demo: DemoServer, photo_path: Path, tmp_path: Path) -> None:
    shutil.copy(photo_path, tmp_path / "photo.jpg")
    before, after = write_pair(tmp_path)
    before.rename(tmp_path / "before.jpg")
    after.rename(tmp_path / "after.jpg")
    text = (Path(__file__).parent.parent / "spaces" / "initzoo" / "README.md").read_text("utf-8")
    text = text.replace("http://127.0.0.1:7860", demo.url)
    code = text.split("```python\n")[1].split("```")[0] + "print(fit['origin'], info['origin'], weights)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    fitted, origin, weights = done.stdout.strip().splitlines()[-1].split(" ", 2)
    assert fitted == "fitted"
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
