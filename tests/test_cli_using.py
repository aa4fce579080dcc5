"""The commands that use a zoo: pull, search, show, apply and verify."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_running import fail, files, run, succeed
from zoo_fixtures import TINY_CONCEPTS, TINY_RECIPE, kept_zoo, make_zoo, random_base, tiny_zoo

from initzoo.checkpoints.base import write_base
from initzoo.checkpoints.init import Init
from initzoo.files.images import read_image, write_image
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo", "tiny_zoo"]

HEAVY = (
    "torch",
    "pandas",
    "tokenizers",
    "gradio",
    "datasets",
    "cv2",
    "PIL",
    "scipy",
    "skimage",
    "huggingface_hub",
    "transformers",
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, kept_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, and the default zoo is the tiny one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("INITZOO_ZOO", str(kept_zoo))


def test_pull_writes_the_init_and_says_the_next_command(kept_zoo: Path) -> None:
    result = run("pull", "pencil sketch")
    revision = Zoo.from_pretrained(kept_zoo).revision
    size, n_blocks = Path("pencil-sketch.safetensors").stat().st_size, TINY_RECIPE.layout.n_blocks
    assert result.stdout == (
        f"pencil-sketch  kept  revision {revision[:7]}  exact  {n_blocks} blocks  {size / 1000:.1f} KB  "
        "sha256 ok  -> pencil-sketch.safetensors\n"
    )
    assert result.stderr == "next: initzoo apply pencil-sketch.safetensors PHOTO.jpg -o OUT.png\n"
    expected = Zoo.from_pretrained(kept_zoo).pull("pencil sketch").to_bytes()
    assert Path("pencil-sketch.safetensors").read_bytes() == expected


def test_words_need_no_quotes() -> None:
    succeed("pull", "make", "it", "night")
    assert files() == ["night.safetensors"]


def test_pull_json_is_one_object_with_all_that_is_known(kept_zoo: Path) -> None:
    result = json.loads(succeed("pull", "Drawn in graphite", "--json", "-o", "my init.safetensors"))
    data = Path("my init.safetensors").read_bytes()
    expected = {
        "concept": "pencil-sketch",
        "wording": "Drawn in graphite",
        "origin": "exact",
        "zoo": "kept",
        "revision": Zoo.from_pretrained(kept_zoo).revision,
        "path": "my init.safetensors",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "state": "written",
        "kind": "merged",
        "family": "style",
        "split": "train",
        "psnr": 27.5,
        "ssim_mean": None,
        "licence": "CC0-1.0",
    }
    assert {name: result[name] for name in expected} == expected
    assert type(result["bytes"]) is int
    assert len(result["nearest"]) == 3
    assert result["nearest"][0] == {
        "concept": "pencil-sketch",
        "prompt": "drawn in graphite",
        "similarity": 1.0,
    }


def test_dry_run_says_the_same_and_writes_nothing() -> None:
    dry = json.loads(succeed("pull", "night", "--dry-run", "--json"))
    assert files() == []
    assert dry["state"] == "dry run"
    assert json.loads(succeed("pull", "night", "--json")) == dry | {"state": "written"}
    assert "-> night.safetensors (up to date)" in succeed("pull", "night", "--dry-run")


def test_pulling_twice_is_up_to_date_and_touches_nothing() -> None:
    succeed("pull", "night")
    before = Path("night.safetensors").stat().st_mtime_ns
    assert succeed("pull", "night").endswith("-> night.safetensors (up to date)\n")
    assert Path("night.safetensors").stat().st_mtime_ns == before


def test_pull_keeps_another_file_unless_forced() -> None:
    Path("night.safetensors").write_text("mine")
    assert "night.safetensors" in (line := fail("pull", "night"))
    assert "--force" in line
    assert Path("night.safetensors").read_text() == "mine"
    succeed("pull", "night", "--force")
    assert Init.load("night.safetensors").metadata.concept == "night"
    assert files() == ["night.safetensors"]


@pytest.mark.parametrize("out", ["missing/a.safetensors", ".", "file/a.safetensors"])
def test_pull_to_a_place_that_is_not_writable_leaves_nothing_behind(out: str) -> None:
    Path("file").write_text("a file, no folder")
    fail("pull", "night", "-o", out)
    assert files() == ["file"]


def test_pull_unknown_concept_names_the_three_closest() -> None:
    line = fail("pull", "watercolor")
    assert line.startswith("no concept 'watercolor' in zoo 'kept'; closest are 'watercolour', ")
    assert ". Search: initzoo search WORDS --zoo " in line
    assert files() == []


def test_zoo_option_goes_before_the_variable(tmp_path: Path) -> None:
    make_zoo(tmp_path / "other", concepts=TINY_CONCEPTS[:1])
    assert "concept 'night'" in fail("pull", "night", "--zoo", tmp_path / "other")
    succeed("pull", "night")


def test_an_unknown_zoo_says_what_to_name() -> None:
    for command in ("pull", "search", "show"):
        assert fail(command, "night", "--zoo", "./none").startswith("no zoo './none'")


def test_adapter_only_writes_the_adapter_and_names_the_zoo_that_completes_it(kept_zoo: Path) -> None:
    result = run("pull", "night", "--adapter-only", "--zoo", kept_zoo)
    assert Init.load("night.safetensors").kind == "adapter"
    assert result.stderr.endswith(f"-o OUT.png --zoo {kept_zoo}\n")


def test_search_lists_what_is_like_the_words() -> None:
    lines = succeed("search", "gold").splitlines()
    assert {line.split()[0] for line in lines} == {"navy-to-gold", "gold-to-navy"}
    found = json.loads(succeed("search", "navy", "--n", "1", "--json"))
    assert (found["words"], found["zoo"], len(found["results"])) == ("navy", "kept", 1)
    assert found["results"][0].keys() == {"concept", "prompt", "similarity", "family", "split"}


def test_search_for_nothing_known_says_so() -> None:
    result = run("search", "qqq")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "initzoo list" in result.stderr
    assert json.loads(succeed("search", "qqq", "--json"))["results"] == []


def test_show_tells_what_the_index_knows(kept_zoo: Path) -> None:
    text = succeed("show", "remove", "haze")
    for words in (
        "remove-haze",
        "heldout-new (words)",
        "remove haze; clear the mist away",
        '"operator": "sepia"',
        "27.50 dB (untouched photo 15.25 dB)",
        "0.912",
        "CC0-1.0",
        "blocks/blocks-00001.safetensors",
    ):
        assert words in text
    values = json.loads(succeed("show", "remove-haze", "--json"))
    row = Zoo.from_pretrained(kept_zoo).index.row("remove-haze")
    assert values["concept"] == "remove-haze"
    assert values["teacher"] == [{"operator": "sepia", "parameters": [["strength", 0.5]]}]
    assert values["bytes"] == row.byte_end - row.byte_start
    assert fail("show", "fog").startswith("no concept 'fog'")


@pytest.fixture
def photo() -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, size=(21, 34, 3), dtype=np.uint8)
    write_image(Path("photo.png"), pixels, force=False)
    return Path("photo.png")


def test_apply_edits_a_photo_with_a_file_an_adapter_or_words(photo: Path) -> None:
    succeed("pull", "night")
    succeed("pull", "night", "--adapter-only", "-o", "small.safetensors")
    for number, init in enumerate(("night.safetensors", "small.safetensors", "make it night")):
        line = succeed("apply", init, photo, "-o", f"{number}.png")
        assert line == f"night  photo.png  34x21  -> {number}.png\n"
    edited = read_image(Path("0.png"))
    assert edited.shape == (21, 34, 3)
    assert not np.array_equal(edited, read_image(photo))
    assert Path("0.png").read_bytes() == Path("1.png").read_bytes() == Path("2.png").read_bytes()


def test_apply_refuses_an_adapter_of_another_base(photo: Path, tiny_zoo: Path) -> None:
    succeed("pull", "night", "--adapter-only")
    base = tiny_zoo / "model" / "base" / "tiny"
    write_base(base, recipe=TINY_RECIPE, weights=random_base(TINY_RECIPE, seed=7), licence="MIT", force=True)
    refresh_manifest(tiny_zoo)
    line = fail("apply", "night.safetensors", photo, "-o", "out.png", "--zoo", tiny_zoo)
    assert line.startswith("init of concept 'night': made for the base with sha256")
    assert "it says 'kept'" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.safetensors", "photo.png", "-o", "out.png"), "'none.safetensors' does not exist"),
        (("photo.png", "photo.png", "-o", "out.png"), "'photo.png' is an image and has no weights"),
        (("unknown words", "photo.png", "-o", "out.png"), "no concept 'unknown words'"),
        (("w" * 5000, "photo.png", "-o", "out.png"), "no concept 'www"),
        (("night", "none.png", "-o", "out.png"), "none.png"),
        (("night", "photo.png", "-o", "photo.png"), "photo.png exists already"),
        (("night", "photo.png", "-o", "missing/out.png"), "missing"),
        (("night", "photo.png", "-o", "out.txt"), "out.txt"),
    ],
)
def test_apply_says_what_is_wrong_and_writes_nothing(
    photo: Path, arguments: tuple[str, ...], words: str
) -> None:
    before = photo.read_bytes()
    assert words in fail("apply", *arguments)
    assert files() == ["photo.png"]
    assert photo.read_bytes() == before


def test_verify_is_content_with_what_is_whole(kept_zoo: Path) -> None:
    succeed("pull", "night")
    assert succeed("verify").startswith("kept  zoo  6 checkpoints  5 files  ")
    assert succeed("verify", kept_zoo).endswith("all ok\n")
    assert succeed("verify", "night.safetensors").startswith("night.safetensors  init  ")
    shard = kept_zoo / "dataset" / "blocks" / "blocks-00000.safetensors"
    assert "  shard  4 checkpoints" in succeed("verify", shard)
    report = json.loads(succeed("verify", "--json"))
    assert (report["ok"], report["n_checkpoints"], report["problems"]) == (True, 6, [])


def test_verify_has_a_line_for_each_problem_and_exit_code_1(tiny_zoo: Path) -> None:
    index = Zoo.from_pretrained(tiny_zoo).index
    shard = tiny_zoo / "dataset" / "blocks" / "blocks-00000.safetensors"
    data = bytearray(shard.read_bytes())
    for concept_id in ("pencil-sketch", "watercolour"):
        data[index.row(concept_id).byte_start] ^= 1
    shard.write_bytes(data)
    result = run("verify", tiny_zoo)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 2)
    assert "concept 'pencil-sketch': expected sha256" in result.stderr
    machine = run("verify", tiny_zoo, "--json")
    report = json.loads(machine.stdout)
    assert (machine.exit_code, report["ok"], len(report["problems"])) == (1, False, 2)
    assert run("verify", shard).exit_code == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04" * 100])
def test_verify_of_a_strange_file_is_one_line(data: bytes) -> None:
    Path("strange").write_bytes(data)
    result = run("verify", "strange")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "'strange'" in result.stderr


def test_verify_of_nothing_is_an_unknown_zoo() -> None:
    assert fail("verify", "nowhere").startswith("no zoo 'nowhere'")


@pytest.mark.parametrize("command", ["pull", "search", "show", "apply", "verify"])
def test_help_ends_with_an_example(command: str) -> None:
    text = succeed(command, "--help")
    assert text.rstrip().splitlines()[-1].strip().startswith(f"initzoo {command}")
    assert "INITZOO_ZOO" in text


def loaded_modules(*arguments: str) -> set[str]:
    """Which modules a whole process has loaded at its end."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from initzoo.cli.main import main; main(prog_name='initzoo')"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return set(process.stderr.split())


def test_an_exact_pull_loads_nothing_heavy() -> None:
    loaded = loaded_modules("pull", "pencil sketch", "--json")
    assert "pyarrow" in loaded
    assert not loaded & set(HEAVY)


def test_help_loads_neither_numpy_nor_pyarrow() -> None:
    for arguments in (["--help"], ["pull", "--help"], ["apply", "--help"]):
        assert not loaded_modules(*arguments) & {*HEAVY, "numpy", "pyarrow"}
