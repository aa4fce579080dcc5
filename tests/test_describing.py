"""`show FILE` and `push --dry-run`: what a file is, and what a push would upload, without network."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from cli_running import fail, succeed
from hub_fixtures import own_hub, pushed
from hub_server import Hub
from zoo_fixtures import TINY_CONCEPTS, kept_generating_zoo, kept_zoo, tiny_zoo

from initzoo.checkpoints import Init
from initzoo.errors import InitzooError, InvalidInit, PublishRefused, UnknownZoo
from initzoo.files import write_image
from initzoo.zoo import describe, plan_push
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_generating_zoo", "kept_zoo", "own_hub", "tiny_zoo"]

# The client hands files to its HTTP library in a way that this one calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("adapter_only", [False, True])
def test_an_init_says_where_it_comes_from(here: Path, kept_zoo: Path, adapter_only: bool) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    init = zoo.pull("pencil sketch", adapter_only=adapter_only)
    init.save("a.safetensors")
    values = json.loads(succeed("show", "a.safetensors", "--json"))
    assert (values["kind"], values["concept"], values["origin"]) == ("init", "pencil-sketch", "exact")
    assert (values["zoo"], values["revision"]) == ("kept", zoo.revision)
    assert values["weights"].startswith("adapter, " if adapter_only else "merged, ")
    assert values["sha256"] == init.sha256
    assert values["scores"]["psnr"] == 27.5
    lines = succeed("show", "a.safetensors").splitlines()
    assert "kind:             init" in lines
    assert "licence:          CC0-1.0" in lines


def test_a_generated_init_says_how_it_was_made(here: Path, kept_generating_zoo: Path) -> None:
    Zoo.from_pretrained(kept_generating_zoo).pull("faded teal", seed=3, warn=False).save("a.safetensors")
    values = describe("a.safetensors")
    assert (values["origin"], values["seed"], values["timesteps"]) == ("generated", 3, 1)
    assert "the zoo knows, expected " in values["generated"]


def test_networks_are_described_as_file_and_as_folder(here: Path, kept_zoo: Path) -> None:
    network = Zoo.from_pretrained(kept_zoo).pull("night").to_network()
    network.save_pretrained("folder")
    safetensors.numpy.save_file(network.to_arrays(), "plain.safetensors")
    for name in ("folder", "folder/", "folder/config.json", "plain.safetensors"):
        values = json.loads(succeed("show", name, "--json"))
        assert (values["kind"], values["network"], values["sizes"]) == ("network", "starter", network.sizes)
        assert values["weights"] == sum(value.numel() for value in network.state_dict().values())
    assert "sizes:            " in succeed("show", "folder")


def test_a_network_is_not_taken_for_a_weight_generator(here: Path) -> None:
    """Both folders have a config.json that holds the digest of their weights."""
    from initzoo.generator import is_generator_config

    Path("config.json").write_text(json.dumps({"weights_sha256": "a", "network": {}}))
    assert not is_generator_config("config.json")
    Path("config.json").write_text(json.dumps({"weights_sha256": "a", "text_sha256": "b"}))
    assert is_generator_config("config.json")


def test_weights_of_another_program_are_counted(here: Path) -> None:
    safetensors.numpy.save_file(
        {"b.weight": np.zeros((3, 4), np.float16), "a.weight": np.zeros(5, np.float32)}, "x.safetensors"
    )
    values = json.loads(succeed("show", "x.safetensors", "--json"))
    assert (values["kind"], values["tensors"], values["weights"]) == ("tensors", 2, 17)
    assert (values["dtypes"], values["first"]) == (["F16", "F32"], ["a.weight", "b.weight"])


def test_a_zoo_and_its_files_are_described(here: Path, kept_generating_zoo: Path) -> None:
    zoo = describe(kept_generating_zoo)
    assert (zoo["kind"], zoo["checkpoints"], zoo["weight generator"]) == ("zoo", len(TINY_CONCEPTS), "yes")
    assert zoo["splits"] == {"heldout-composed": 1, "heldout-new": 1, "train": 4}
    assert zoo["revision"] == Zoo.from_pretrained(kept_generating_zoo).revision
    kinds = {
        "dataset/index.parquet": "index",
        "dataset/blocks/blocks-00000.safetensors": "shard",
        "model/base/tiny": "base",
        "model/base/tiny/config.json": "base",
        "model/base/tiny/model.safetensors": "base",
        "model/weight_generator/tiny": "weight generator",
        "model/weight_generator/tiny/config.json": "weight generator",
        "model/weight_generator/tiny/model.safetensors": "weight generator",
    }
    for path, kind in kinds.items():
        values = json.loads(succeed("show", kept_generating_zoo / path, "--json"))
        assert values["kind"] == kind, path
        assert succeed("show", kept_generating_zoo / path)
    assert describe(kept_generating_zoo / "dataset/index.parquet")["families"]["style"] == 2


def test_words_stay_words_and_paths_stay_paths(here: Path, kept_zoo: Path) -> None:
    assert succeed("show", "night", "--zoo", kept_zoo).startswith("concept:        night")
    os.mkdir("night")  # a folder without weights does not hide a concept
    assert succeed("show", "night", "--zoo", kept_zoo).startswith("concept:        night")
    assert fail("show", "meen", "--zoo", kept_zoo).startswith("no concept 'meen' in zoo 'kept'")
    assert fail("show", "bases", "--zoo", kept_zoo).startswith("no concept 'bases' in zoo 'kept'")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "'x.safetensors' is not there. It can show an init"),
        (lambda: Path("x.safetensors").mkdir(), "is a folder that holds neither a network nor a zoo"),
        (lambda: Path("x.safetensors").write_bytes(b""), "is not a safetensors file: it has 0 bytes"),
        (lambda: Path("x.safetensors").write_text(POINTER), "is a pointer of Git LFS .* git lfs pull"),
        (lambda: Path("x.safetensors").write_bytes(b"\x89PNG" * 9), "is not a whole safetensors file"),
        (lambda: Path("x.safetensors").symlink_to("x.safetensors"), "is not there"),
    ],
)
def test_what_is_nothing_of_the_kind_is_one_line(here: Path, make: object, said: str) -> None:
    make()  # type: ignore[operator]
    with pytest.raises(InvalidInit, match=said):
        describe("x.safetensors")
    fail("show", "x.safetensors")


def test_a_damaged_init_an_image_and_a_damaged_zoo_are_one_line(here: Path, tiny_zoo: Path) -> None:
    data = bytearray(Zoo.from_pretrained(tiny_zoo).pull("night").to_bytes())
    data[-1] ^= 1
    Path("a.safetensors").write_bytes(data)
    write_image(Path("a.png"), np.zeros((8, 8, 3), np.uint8), force=False)
    (tiny_zoo / "dataset" / "zoo.json").write_text("{}")
    for name, said in (
        ("a.safetensors", "do not match the digest in its seal"),
        ("a.png", "is an image and holds no weights"),
        (tiny_zoo, "zoo.json"),
    ):
        assert said in fail("show", name)
    with pytest.raises(InitzooError):
        Init.load("a.safetensors")


# push --dry-run


def test_a_dry_run_lists_what_a_push_uploads_byte_for_byte(own_hub: Hub, tiny_zoo: Path) -> None:
    planned = plan_push(tiny_zoo, "me/zoo", tag="v1")
    assert own_hub.seen == []
    report = pushed(own_hub, tiny_zoo, tag="v1")
    for kind in ("model", "dataset"):
        files = own_hub.repo(kind, "me/zoo").commits[-1].files
        sizes = {path: len(data) for path, data in files.items() if path != ".gitattributes"}
        assert {file.path: file.n_bytes for file in planned if file.kind == kind} == sizes
    assert len(planned) == report.n_uploaded  # type: ignore[attr-defined]
    assert sum(file.n_bytes for file in planned) == report.n_bytes  # type: ignore[attr-defined]


def test_a_dry_run_needs_no_network_and_no_login(
    tiny_zoo: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    monkeypatch.setattr("initzoo.zoo.hub.client.make_api", lambda *_: pytest.fail("the Hub was asked"))
    lines = succeed("push", tiny_zoo, "me/zoo", "--tag", "v1", "--dry-run").splitlines()
    planned = plan_push(tiny_zoo, "me/zoo")
    assert [line.split() for line in lines[:-1]] == [
        [file.kind, str(file.n_bytes), file.path] for file in planned
    ]
    assert lines[-1].startswith(f"me/zoo  tag v1  {len(planned)} files  ")
    assert "not uploaded (dry run)" in lines[-1]
    values = json.loads(succeed("push", tiny_zoo, "me/zoo", "--dry-run", "--json"))
    assert (values["repo"], values["state"]) == ("me/zoo", "dry run")
    assert [file["path"] for file in values["files"]] == [file.path for file in planned]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("tag", ["", " ", "a b", "../x", "v1\n", "x" * 300, "-v"])
def test_a_dry_run_refuses_what_a_push_refuses(tag: str, tiny_zoo: Path, tmp_path: Path) -> None:
    for repo in ("zoo", "me/zoo@v1", "me/../zoo", ""):
        with pytest.raises(PublishRefused, match="is not the name of a repo"):
            plan_push(tiny_zoo, repo)
    with pytest.raises(PublishRefused, match="is not the name of a tag. Write one such as v1"):
        plan_push(tiny_zoo, "me/zoo", tag=tag)
    with pytest.raises(UnknownZoo):
        plan_push(tmp_path / "none", "me/zoo")
    damaged = shutil.copytree(tiny_zoo, tmp_path / "damaged")
    shard = damaged / "dataset/blocks/blocks-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(PublishRefused, match="is damaged"):
        plan_push(damaged, "me/zoo")
