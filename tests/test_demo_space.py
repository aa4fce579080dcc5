"""The Space's folder: complete front matter, requirements of this version, and the same page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from initzoo import __version__

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
    assert source.count("\n") < 30


def test_the_example_photos_are_credited() -> None:
    from initzoo.demo.studio import Studio
    from initzoo.zoo import Zoo

    text = (SPACE / "README.md").read_text("utf-8")
    for photo in Studio(Zoo.from_pretrained("starter"), None).examples:
        assert f"`{photo.name}`" in text


def test_without_gradio_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from initzoo.demo import check_gradio, server
    from initzoo.errors import MissingExtra

    monkeypatch.setattr(server, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'pip install "initzoo\[demo\]"'):
        check_gradio()
