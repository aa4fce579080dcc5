"""The Space's folder: complete front matter, requirements of this version, and the same page."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest
from demo_fixtures import request, running_demo
from demo_times import connect, generate, upload
from waiting import wait_until
from zoo_fixtures import kept_generating_zoo

from initzoo.errors import OutputError

__all__ = ["kept_generating_zoo"]  # fixture

ROOT = Path(__file__).parent.parent
SPACE = ROOT / "spaces" / "initzoo"

sys.path.insert(0, str(ROOT / "spaces"))
from make_space import make_space, requirements  # noqa: E402


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


def test_the_requirements_are_pinned_and_those_of_the_page() -> None:
    wanted = {line.split("==")[0] for line in requirements()}
    assert {"torch", "gradio", "jinja2", "pillow-heif", "safetensors"} <= wanted
    assert "pytest" not in wanted
    assert all("==" in line for line in requirements())


def test_a_folder_that_is_not_a_space_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="is not empty and not a Space"):
        make_space(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.slow
def test_the_space_serves_a_picture_from_its_folder_alone(tmp_path: Path) -> None:
    """As on the Hub: a fresh environment with the requirements, and only the files that are pushed."""
    made = tmp_path / "made"
    make_space(made)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    # The index of torch's builds for CPUs may be out of reach here; any index has some build of it.
    lines = [line for line in (made / "requirements.txt").read_text().splitlines() if line[:2] != "--"]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    install = [python, "-m", "pip", "install", "-q", "-r", tmp_path / "requirements.txt"]
    subprocess.run(install, check=True, cwd=tmp_path)
    app = tmp_path / "app"
    shutil.copytree(made, app)
    with running_demo(
        str(app / "app.py"), python=python, cwd=app, PYTHONPATH="", GRADIO_SERVER_PORT=str(free_port())
    ) as demo:
        with urllib.request.urlopen(f"{demo.url}/", timeout=60) as answer:
            page = answer.read().decode()
        wheel = re.search(r'href="(http[^"]+\.whl)"', page)
        assert wheel is not None
        with urllib.request.urlopen(f"{demo.url}/picture.png?words=night", timeout=60) as answer:
            assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
        # The commands of the page, verbatim, in an empty folder and an environment without initzoo.
        empty = tmp_path / "empty"
        empty.mkdir()
        commands = re.findall(r"<pre[^>]*><code>(.*?)</code>", page, re.DOTALL)[:2]
        script = "\n".join(html.unescape(text) for text in commands)
        assert script.startswith(f'pip install "{demo.url}')
        path = f"{python.parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        subprocess.run(["bash", "-ec", script], cwd=empty, check=True, env=environment)
        assert {"watercolour.safetensors", "watercolour.png", "watercolour-mine.safetensors"} <= {
            path.name for path in empty.iterdir()
        }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_the_app_serves_the_page_and_asks_for_no_gpu() -> None:
    source = (SPACE / "app.py").read_text("utf-8")
    imported = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert imported == ["from pathlib import Path", "from initzoo.demo import serve"]
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "initzoo" / "demo").glob("*.py"))
    assert "import GPU" not in sources


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
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "mcp" else name)
    with pytest.raises(MissingExtra, match=r'pip install "initzoo\[mcp\]"'):
        check_gradio(mcp=True)
    check_gradio()


def test_addresses_that_cannot_be_listened_at_are_told_before_anything_is_loaded() -> None:
    from initzoo.demo import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1, port {port}: it is taken. Name another: --port"):
            serve("no-such-zoo", port=port)
    with pytest.raises(OutputError, match="'203.0.113.7': this machine does not have that IPv4 address"):
        serve("no-such-zoo", host="203.0.113.7", port=0)


_SERVE = """
import atexit, os, sys
from initzoo.demo import serve
# What is fetched from the Hub later goes through them.
atexit.register(lambda: print(os.environ["HTTP_PROXY"], os.environ["all_proxy"], file=sys.stderr))
serve(sys.argv[1], port=0, keep_seconds=6)
"""


@pytest.mark.long
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
    (tmp_path / "shown.png").write_bytes((ROOT / "catalog" / "photos" / "coins.png").read_bytes())
    (tmp_path / "never-shown.png").write_bytes(b"no photo")
    with running_demo("-c", _SERVE, str(kept_generating_zoo), PYTHONPATH=str(ROOT), **proxies) as demo:
        assert demo.health()["status"] == "ok"
        # The first answer may take longer than photos are kept, on a busy machine.
        asked = request(
            demo, "POST", "/gradio_api/call/generate", b'{"data": ["night", null, 0, "auto"]}',
            Content_Type="application/json",
        )  # fmt: skip
        request(demo, "GET", f"/gradio_api/call/generate/{json.loads(asked[2])['event_id']}")
        shown = Path(upload(demo, tmp_path / "shown.png"))
        folder = shown.parent.parent
        connection = connect(demo)
        connection.request("POST", "/photo?name=mine.png", (tmp_path / "shown.png").read_bytes())
        kept = folder / json.load(connection.getresponse())["photo"] / "photo.png"
        connection.close()
        assert kept.exists()
        assert generate(demo, "pencil sketch", str(shown), 0) == "ok"
        never_shown = Path(upload(demo, tmp_path / "never-shown.png"))
        (folder / "cut-off").write_bytes(b"an upload that ended half way")
        assert never_shown.is_relative_to(folder)
        visited = {path for path in folder.rglob("*.png") if path.name.startswith("pencil-sketch")}
        assert visited
        waiting = {shown, kept, never_shown, folder / "cut-off", *visited}
        wait_until(lambda: not any(path.exists() for path in waiting))
        assert [path for path in waiting if path.exists()] == []
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(30) == 0
        assert not folder.exists()
        assert wait_until(lambda: f"{nowhere} socks5://127.0.0.1:9" in demo.log)
