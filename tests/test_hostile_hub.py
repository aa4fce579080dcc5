"""Names and links of others: nothing outside the cache or the zoo is touched, published or followed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from cli_running import run
from hub_fixtures import hub, hub_with_zoos, opened, own_hub, pushed, quick_retries
from hub_server import Api, Hub
from starlette.requests import Request
from starlette.responses import Response
from zoo_fixtures import generating_zoo, kept_generating_zoo, tiny_zoo

from initzoo.errors import (
    HubUnavailable,
    InitzooWarning,
    InvalidImage,
    InvalidZoo,
    PublishRefused,
    UnknownZoo,
)
from initzoo.files import DamagedFile, path_within
from initzoo.files.images import write_image
from initzoo.pairs import find_concept, load_concepts, load_photos, write_pairs
from initzoo.pairs.photos import Photo
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.publish import plan_push
from initzoo.zoo.zoo import Zoo

__all__ = [
    "generating_zoo",
    "hub",
    "hub_with_zoos",
    "kept_generating_zoo",
    "own_hub",
    "quick_retries",
    "tiny_zoo",
]

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag", "X-Repo-Commit"])
@pytest.mark.parametrize("depth", ["absolute", "relative"])
def test_a_header_that_is_a_path_touches_nothing_outside_the_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, depth: str
) -> None:
    secret = tmp_path / "home" / "id"
    secret.parent.mkdir()
    secret.write_text("my private key")
    value = str(secret) if depth == "absolute" else "../" * 8 + str(secret).lstrip("/")
    serve = Api.serve

    def evil(self: Api, request: Request, data: bytes, headers: dict[str, str]) -> Response:
        answer = serve(self, request, data, headers)
        answer.headers[header] = f'"{value}"' if "tag" in header.lower() else value
        return answer

    monkeypatch.setattr(Api, "serve", evil)
    commit = hub.repo("dataset", "me/tiny").commits[-1].oid
    with pytest.raises(
        HubUnavailable, match="unsafe (ETag|X-Linked-ETag|X-Repo-Commit) .*HF_ENDPOINT"
    ) as caught:
        opened(hub, tmp_path / "cache", f"me/tiny@{commit}").pull("pencil sketch")
    assert secret.read_text() == "my private key"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("cache", "home")] == []


def test_the_guard_stays_when_the_client_makes_a_new_session(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub.utils import close_session, get_session

    from initzoo.zoo.hub.answers import _check_answer

    opened(hub, tmp_path / "cache").pull("pencil sketch")
    close_session()  # as the client does after an error of TLS
    assert _check_answer in get_session().event_hooks["response"]


def test_a_revision_that_is_a_path_is_refused(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UnknownZoo, match="unsafe as a path"):
        opened(hub, tmp_path / "cache", "me/tiny", revision="../../escaped")


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a//b", "a/../b", "", ".", "a\\b", "a\0b", "x" * 256, "/".join("a" * 99)]
)
def test_an_unsafe_name_never_becomes_a_path(name: str) -> None:
    with pytest.raises(DamagedFile, match="unsafe as a path"):
        path_within(Path("zoo"), name)


@pytest.mark.parametrize("key", ["name", "file"])
def test_a_photo_is_not_written_outside_its_folder(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "x.png", np.zeros((64, 64, 3), np.uint8), force=False)
    values = {
        "name": "x",
        "file": "x.png",
        "split": "train",
        "title": "t",
        "author": "a",
        "licence": "CC0",
        "source": "s",
    }
    values[key] = "../../../escaped"
    lines = "".join(f'{name} = "{value}"\n' for name, value in values.items())
    (folder / "photos.toml").write_text(f"[[photo]]\n{lines}")
    with pytest.raises(InvalidImage, match="not a plain file name"):
        load_photos(folder, split=None)
    photo = Photo("../../../escaped", np.zeros((64, 64, 3), np.uint8), "train", "", "")
    with pytest.raises(InvalidImage, match="unsafe as a path"):
        write_pairs([find_concept(load_concepts(), "sepia")], [photo], tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def replace_by_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "secret"
    path.rename(target)
    path.symlink_to(target)


def replace_by_pipe(path: Path, tmp_path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("replaced", [replace_by_link, replace_by_pipe])
@pytest.mark.parametrize(
    "name", ["dataset/blocks/blocks-00000.safetensors", "model/base/tiny/config.json", "dataset/README.md"]
)
def test_links_and_devices_are_refused_by_verify_and_push(
    tiny_zoo: Path, tmp_path: Path, replaced, name: str
) -> None:
    (tiny_zoo / "dataset" / "README.md").write_text("a card")
    replaced(tiny_zoo / name, tmp_path)
    problems = Zoo.from_pretrained(tiny_zoo).verify().problems
    assert len(problems) == 1
    assert re.search("is (a link|a device or the like), and a zoo has plain files alone", problems[0])
    with pytest.raises(PublishRefused, match="plain files alone"):
        plan_push(tiny_zoo, "me/zoo")


def test_no_manifest_accepts_a_link(tiny_zoo: Path, tmp_path: Path) -> None:
    replace_by_link(tiny_zoo / "model" / "base" / "tiny" / "model.safetensors", tmp_path)
    with pytest.raises(InvalidZoo, match="is a link"):
        refresh_manifest(tiny_zoo)


def test_a_folder_that_is_a_link_is_refused(tiny_zoo: Path, tmp_path: Path) -> None:
    replace_by_link(tiny_zoo / "model", tmp_path)
    assert "is a link" in Zoo.from_pretrained(tiny_zoo).verify().problems[0]


def test_unknown_files_are_named_before_they_are_uploaded(own_hub: Hub, tiny_zoo: Path) -> None:
    (tiny_zoo / "model" / "base" / "tiny" / "notes.txt").write_text("my password")
    refresh_manifest(tiny_zoo)
    assert [file.path for file in plan_push(tiny_zoo, "me/zoo") if not file.is_known] == [
        "base/tiny/notes.txt"
    ]
    with pytest.warns(InitzooWarning, match="does not know: base/tiny/notes.txt"):
        pushed(own_hub, tiny_zoo)
    result = run("push", str(tiny_zoo), "me/zoo", "--dry-run")
    assert "base/tiny/notes.txt  (a file that initzoo does not know)" in result.stdout


def test_all_files_of_a_whole_zoo_are_known(generating_zoo: Path) -> None:
    from initzoo.zoo.publish import _is_known

    files = Zoo.from_pretrained(generating_zoo).files.manifest.model_files
    assert len(files) == 7
    assert all(map(_is_known, files))
