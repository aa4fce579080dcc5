"""The Space's folder: complete front matter, requirements of this version, and the same page."""

from __future__ import annotations

import ast
import json
import re
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from demo_fixtures import request, running_demo
from demo_times import generate, upload
from waiting import wait_until
from zoo_fixtures import kept_generating_zoo

from initzoo import __version__
from initzoo.errors import OutputError

__all__ = ["kept_generating_zoo"]  # fixture

ROOT = Path(__file__).parent.parent
SPACE = ROOT / "spaces" / "initzoo"


def front_matter() -> dict[str, str]:
    text = (SPACE / "README.md").read_text("utf-8")
    lines = text.split("---\n")[1].splitlines()
    return dict(line.split(": ", 1) for line in lines if re.match(r"\w+: ", line))


def test_the_front_matter_is_complete() -> None:
    found = front_matter()
    assert found["sdk"] == "gradio"
    assert (SPACE / found["app_file"]).is_file()
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    assert f"gradio=={found['sdk_version']}" in constraints
    assert len(found["short_description"]) <= 60
    text = (SPACE / "README.md").read_text("utf-8")
    for name in (
        "title",
        "emoji",
        "colorFrom",
        "colorTo",
        "python_version",
        "license",
        "models",
        "datasets",
        "tags",
    ):
        assert re.search(rf"^{name}:", text, re.MULTILINE), name


def test_the_requirements_are_of_this_version() -> None:
    assert (SPACE / "requirements.txt").read_text("utf-8").split() == [f"initzoo[demo]=={__version__}"]


def test_the_app_only_serves_the_page() -> None:
    source = (SPACE / "app.py").read_text("utf-8")
    imported = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert imported == ["from initzoo.demo import serve"]


def test_the_example_photos_are_credited() -> None:
    from initzoo.demo.service import Studio
    from initzoo.zoo.zoo import Zoo

    text = (SPACE / "README.md").read_text("utf-8")
    for photo in Studio(Zoo.from_pretrained("starter"), None).examples:
        assert f"`{photo.name}`" in text


def test_without_gradio_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from initzoo.demo import check_gradio, server
    from initzoo.errors import MissingExtra

    monkeypatch.setattr(server, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'pip install "initzoo\[demo\]"'):
        check_gradio()


def test_addresses_that_cannot_be_listened_at_are_told_before_anything_is_loaded() -> None:
    from initzoo.demo import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1, port {port}: it is taken. Name another: --port"):
            serve("no-such-zoo", port=port)
    with pytest.raises(OutputError, match="'203.0.113.7': this machine does not have that IPv4 address"):
        serve("no-such-zoo", host="203.0.113.7", port=0)


_LENT = """
import sys

def GPU(function):
    print("lent to", function.__name__, file=sys.stderr)
    return function
"""


_SERVE = """
import atexit, os, sys
from initzoo.demo import serve
# What is fetched from the Hub later goes through them.
atexit.register(lambda: print(os.environ["HTTP_PROXY"], os.environ["all_proxy"], file=sys.stderr))
serve(sys.argv[1], port=0, keep_seconds=6)
"""


def test_behind_any_proxy_files_of_visitors_go_after_a_while_and_all_of_them_in_the_end(
    kept_generating_zoo: Path, tmp_path: Path
) -> None:
    """A proxy that does not answer, one that needs a package, and one that is not an address."""
    nowhere = "http://127.0.0.1:9"
    proxies = {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy"), nowhere),
        **dict.fromkeys(("ALL_PROXY", "all_proxy"), "socks5://127.0.0.1:9"),
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:port"),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
    }
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "__init__.py").write_text(_LENT)
    (tmp_path / "shown.png").write_bytes((ROOT / "catalog" / "photos" / "coins.png").read_bytes())
    (tmp_path / "never-shown.png").write_bytes(b"no photo")
    paths = f"{tmp_path}:{ROOT}"
    with running_demo("-c", _SERVE, str(kept_generating_zoo), PYTHONPATH=paths, **proxies) as demo:
        assert demo.health()["status"] == "ok"
        assert "lent to generate" in demo.log  # by the package of shared GPUs, since there is one here
        assert demo.log.count("lent to generate") == sum(line.startswith("lent") for line in demo.log)
        with urllib.request.urlopen(f"{demo.url}/config", timeout=60) as answer:
            config = json.load(answer)
        gallery = next(
            one["props"] for one in config["components"] if one["props"].get("elem_id") == "examples"
        )
        example = Path(gallery["value"][0]["image"]["path"])
        folder = example.parent.parent
        # The first answer may take longer than photos are kept, on a busy machine.
        asked = request(
            demo, "POST", "/gradio_api/call/generate", b'{"data": ["night", null, 0, "auto"]}',
            Content_Type="application/json",
        )  # fmt: skip
        request(demo, "GET", f"/gradio_api/call/generate/{json.loads(asked[2])['event_id']}")
        shown = Path(upload(demo, tmp_path / "shown.png"))
        assert generate(demo, "pencil sketch", str(shown), 0) == "ok"
        never_shown = Path(upload(demo, tmp_path / "never-shown.png"))
        (folder / "cut-off").write_bytes(b"an upload that ended half way")
        assert never_shown.is_relative_to(folder)
        visited = {path for path in folder.rglob("*.png") if path.name.startswith("pencil-sketch")}
        assert visited
        waiting = {shown, never_shown, folder / "cut-off", *visited}
        wait_until(lambda: not any(path.exists() for path in waiting))
        assert [path for path in waiting if path.exists()] == []
        assert example.exists()
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(30) == 0
        assert not folder.exists()
        assert wait_until(lambda: f"{nowhere} socks5://127.0.0.1:9" in demo.log)
