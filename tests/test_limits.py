"""What would be refused at the end of hours is refused before the first minute of training."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_running import run
from zoo_fixtures import TINY_CONCEPTS, TINY_RECIPE, kept_zoo, make_zoo, tiny_zoo

from initzoo.errors import HarvestError, InitzooError, InvalidGenerator, InvalidZoo, OutputError
from initzoo.training import HarvestPlan, HarvestRecipe, run_harvest
from initzoo.training.harvest import pack

__all__ = ["kept_zoo", "tiny_zoo"]

Usage = namedtuple("Usage", "total used free")
CONCEPTS = """licence = "CC0-1.0"
source = "a test"
[[concept]]
id = "brown"
prompts = ["brown"]
teacher = [{operator = "sepia"}]
"""
RECIPE = HarvestRecipe(
    name="tiny",
    network=TINY_RECIPE.network,
    ranks=TINY_RECIPE.ranks,
    crop_size=32,
    block_size=TINY_RECIPE.layout.block_size,
)
LIST = 'prompts = ["brown"]'


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage of a training may begin."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError("the training has begun")

    monkeypatch.setattr("initzoo.training.harvest.run._harvest", begin)
    monkeypatch.setattr("initzoo.training.generator.run._train_on_weights", begin)
    monkeypatch.setattr("initzoo.training.finetune.run._run", begin)
    monkeypatch.setattr("initzoo.training.phrases.run._encoded", begin)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for a hundred bytes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 100, 100))


def harvest(tmp_path: Path, concepts: str = CONCEPTS, recipe: HarvestRecipe = RECIPE) -> None:
    path = tmp_path / "concepts.toml"
    path.write_text(concepts)
    plan = HarvestPlan.make(recipe, concepts_path=path)
    run_harvest(plan, tmp_path / "zoo.run", tmp_path / "zoo", n_workers=1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            LIST,
            f"prompts = [{','.join(f'{chr(34)}brown {n}{chr(34)}' for n in range(1001))}]",
            "1001 wordings, the limit is 1000",
        ),
        (LIST, f'prompts = ["brown {"x" * 1000}"]', "a wording has 1006 characters, the limit is 1000"),
        ("CC0-1.0", "C" * 100_001, "licence has 100001 characters, the limit is 100000"),
        ("a test", "C" * 100_001, "source has 100001 characters, the limit is 100000"),
    ],
)
def test_texts_that_no_index_takes_end_no_harvest(
    tmp_path: Path, no_training: None, old: str, new: str, words: str
) -> None:
    with pytest.raises(HarvestError, match=f"concept 'brown': .*{words}. Change the concepts file"):
        harvest(tmp_path, CONCEPTS.replace(old, new))
    assert [path.name for path in tmp_path.iterdir()] == ["concepts.toml"]


@pytest.mark.parametrize("name", ["my recipe", "../x", "x" * 65, ""])
def test_a_recipe_with_a_name_that_no_zoo_takes_ends_no_harvest(
    tmp_path: Path, no_training: None, name: str
) -> None:
    from dataclasses import replace

    with pytest.raises(HarvestError, match="a recipe cannot have the name .* Change the recipe"):
        harvest(tmp_path, recipe=replace(RECIPE, name=name))


def test_a_link_in_the_folder_ends_no_harvest(tmp_path: Path, no_training: None) -> None:
    (tmp_path / "zoo" / "model").mkdir(parents=True)
    (tmp_path / "zoo" / "model" / "notes").symlink_to("/etc/passwd")
    with pytest.raises(InvalidZoo, match="'.*notes' is a link, and a zoo has plain files alone"):
        harvest(tmp_path)


def test_a_harvest_without_room_for_its_zoo_does_not_begin(
    tmp_path: Path, no_training: None, full: None
) -> None:
    words = r"a zoo of 1 concepts: [0-9,]+ bytes are needed.*has room for 100. Make room, or harvest fewer"
    with pytest.raises(OutputError, match=words):
        harvest(tmp_path)


def test_a_zoo_with_two_recipes_is_not_added_to(
    tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(plan: HarvestPlan) -> None:
        raise HarvestError("zoo 'x' also holds checkpoints of recipe 'other'")

    monkeypatch.setattr(pack, "_kept_rows", refuse)
    with pytest.raises(HarvestError, match="also holds checkpoints of recipe"):
        harvest(tmp_path)


def test_a_sound_harvest_passes_all_checks(tmp_path: Path, no_training: None) -> None:
    with pytest.raises(AssertionError, match="the training has begun"):
        harvest(tmp_path)


@pytest.mark.parametrize("limit", [2**31, 2**20 + 3000])
def test_no_shard_is_larger_than_a_reader_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    import numpy as np

    monkeypatch.setattr(pack, "MAX_SHARD_BYTES", limit)
    blocks = np.zeros((2, 256), np.float32)
    monkeypatch.setattr(pack, "_weights_of", lambda name, *_: (blocks, b"x" * 100 * (name == "c")))
    shards = list(pack._shards("abcde", None, None, {}))  # type: ignore[arg-type]
    assert [name for shard, _ in shards for name in shard] == list("abcde")
    assert [list(details) for _, details in shards if details] == [["c"]]
    assert len(shards) == (1 if limit == 2**31 else 3)


GENERATOR = (
    *("generator", "train", "--quick", "--no-practice", "--encoder", "phrases", "--workers", "1"),
    *("-o", "generator"),
)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--width", "9600"), "a denoiser of [0-9,]+ weights is larger than a reader accepts. Set a smaller"),
        (("--width", "96000"), "the sizes of the denoiser are invalid. Set another --width or --block-size"),
        (("--block-size", "65537"), "block-size must be at most 65536, found 65537"),
        (("--curve", "curve.txt"), "curve.txt: its name must end with .csv"),
        (("--curve", "none/curve.csv"), "there is no folder none"),
    ],
)
def test_weight_generators_that_no_reader_accepts_are_not_trained(
    kept_zoo: Path,
    tmp_path: Path,
    no_training: None,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: str,
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    result = run(*GENERATOR, "--zoo", kept_zoo, *options)
    assert result.exit_code in (1, 2)
    assert re.search(words, result.stderr), result.stderr
    assert not (tmp_path / "generator").exists()


def test_a_graph_that_cannot_be_written_is_told_first(
    kept_zoo: Path, tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = run(*GENERATOR, "--zoo", kept_zoo, "--graph")
    assert result.exit_code == 1
    assert 'a graph needs onnx and onnxscript: pip install "initzoo[onnx]"' in result.stderr


@pytest.mark.parametrize(
    ("make", "words", "error"),
    [
        (lambda folder: (folder / "LICENSE").unlink(), "LICENSE", InvalidGenerator),
        (lambda folder: None, "config.json exists already", OutputError),
    ],
)
def test_phrase_encoders_that_cannot_be_written_are_not_trained(
    tmp_path: Path,
    no_training: None,
    make: Callable[[Path], None],
    words: str,
    error: type[InitzooError],
) -> None:
    from initzoo.training import train_phrases

    for name in ("encoder", "out"):
        (tmp_path / name).mkdir()
    for name in ("encoder.onnx", "tokenizer.json", "LICENSE"):
        (tmp_path / "encoder" / name).write_text("x")
    (tmp_path / "out" / "config.json").write_text("{}")
    make(tmp_path / "encoder")
    with pytest.raises(error, match=words):
        train_phrases(tmp_path / "encoder", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "tuned.pth"), "tuned.pth: its name must end with .safetensors"),
        (("-o", "none/tuned.safetensors"), "there is no folder none"),
        (("-o", "tuned.safetensors", "--sheet", "tuned.pdf"), "its name must end with"),
        (("-o", "tuned.safetensors", "--curve", "tuned.txt"), "its name must end with .csv"),
    ],
)
def test_a_fine_tune_names_wrong_outputs_first(
    tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("initzoo.pairs.teach_pairs", None)  # no pair is made
    result = run("finetune", "pencil sketch", "--teacher", "charcoal", *options)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_fine_tune_without_room_does_not_begin(
    tmp_path: Path, no_training: None, full: None, kept_photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--steps", "2", "--varied", "4", "--crop", "32", "--photos", kept_photo_folder)
    result = run("finetune", "pencil_sketch", "--teacher", "charcoal", *options, "-o", "tuned.safetensors")
    assert result.exit_code == 1
    assert "has room for 100. Make room, or name another run folder" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--licence", "M" * 1001), "a licence is one line of at most 1000 characters"),
        (("--source", "a\nb"), "a source is one line of at most 1000 characters"),
        (("--concept", "x" * 201), "a concept is words for an edit, 1 to 200 characters"),
        (("-o", "file"), "exists and is not a zoo"),
        (("-o", "none/zoo"), "there is no folder none"),
    ],
)
def test_an_import_names_what_is_wrong_before_it_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("initzoo.zoo.importing.into_zoo.read_incoming", None)
    (tmp_path / "file").write_text("mine")
    given = {"--concept": "day to night", "-o": "zoo"} | dict([options])
    result = run("import", "weights.pth", *(word for pair in given.items() for word in pair))
    assert result.exit_code == 1
    assert words in result.stderr


@pytest.mark.parametrize(
    ("repo", "options", "words"),
    [
        ("me", (), "is not the name of a repo. Write owner/name"),
        ("me/zoo", ("--tag", "v 1"), "is not the name of a tag. Write one such as v1"),
        ("me/zoo", ("--sign-key", "none.pem"), "none.pem"),
    ],
)
def test_a_push_names_what_is_wrong_before_it_asks_the_hub(
    tiny_zoo: Path, monkeypatch: pytest.MonkeyPatch, repo: str, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr("initzoo.zoo.publish.look_at_repo", None)
    result = run("push", tiny_zoo, repo, *options)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_push_names_rows_without_a_licence_before_it_asks_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr("initzoo.zoo.publish.look_at_repo", None)
    zoo = make_zoo(
        tmp_path / "zoo",
        concepts=TINY_CONCEPTS[:2],
        change=lambda rows: [replace(rows[0], licence=""), *rows[1:]],
    )
    result = run("push", zoo, "me/zoo")
    assert result.exit_code == 1
    assert "it has no licence. Give its concept one in the concepts file" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "safetensors", "-o", "none/a.safetensors"), "there is no folder none"),
        (("--format", "onnx", "-o", "file"), "a file has that name"),
        (("--format", "pth", "--fp16", "-o", "a.pth"), "float32"),
    ],
)
def test_an_export_names_wrong_outputs_before_it_opens_the_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("initzoo.training.opening.open_init", None)
    result = run("export", "pencil sketch", *options)
    assert result.exit_code in (1, 2)
    assert words in result.stderr
