"""Pairs depend on their seed and number only, and folders of them are whole or not there."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from initzoo.cli.main import main
from initzoo.errors import InvalidConcepts, OutputError
from initzoo.files.images import read_image, write_image
from initzoo.pairs.concepts import Concept, find_concept, load_concepts
from initzoo.pairs.photos import load_photos, varied_photos
from initzoo.pairs.taught import make_pairs, scoring_pairs, teach
from initzoo.pairs.teachers import FilterTeacher, Step
from initzoo.pairs.written import write_pairs


def concept_named(words: str) -> Concept:
    return find_concept(load_concepts(), words)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return varied_photos(load_photos(split="train"), 3, seed=0)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_varied_photos_do_not_depend_on_how_many_are_asked_for() -> None:
    few = varied_photos(load_photos(split="train"), 2, seed=1)
    more = varied_photos(load_photos(split="train"), 4, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(few, more, strict=False))


def test_pairs_do_not_depend_on_how_many_are_asked_for(photos: list[np.ndarray]) -> None:
    concept = concept_named("pencil sketch")
    few = make_pairs(concept.teacher, photos, n_pairs=4, patch_size=64, seed=2)
    more = make_pairs(concept.teacher, photos, n_pairs=7, patch_size=64, seed=2)
    assert np.array_equal(few.inputs, more.inputs[:4])
    assert np.array_equal(few.targets, more.targets[:4])
    other = make_pairs(concept.teacher, photos, n_pairs=4, patch_size=64, seed=3)
    assert not np.array_equal(few.inputs, other.inputs)


def test_patches_are_cut_after_the_teacher_saw_the_whole_photo(photos: list[np.ndarray]) -> None:
    concept = concept_named("pencil sketch")
    pairs = make_pairs(concept.teacher, photos[:1], n_pairs=1, patch_size=48, seed=0)
    [(_, wanted)] = teach(concept.teacher, photos[:1], [0])
    windows = np.lib.stride_tricks.sliding_window_view(photos[0], (48, 48, 3))[:, :, 0]
    matches = np.argwhere((windows[:, :, 0, :, :] == pairs.inputs[0, 0]).all(axis=(2, 3)))
    assert any(np.array_equal(wanted[y : y + 48, x : x + 48], pairs.targets[0]) for y, x in matches)


def test_damage_of_restorations_differs_in_every_pair() -> None:
    concept = next(c for c in load_concepts() if c.teacher.name == "denoise")
    flat = [np.full((64, 64, 3), 128, np.uint8)]
    pairs = make_pairs(concept.teacher, flat, n_pairs=2, patch_size=64, seed=0)
    assert (pairs.targets == 128).all()
    assert not np.array_equal(pairs.inputs[0], pairs.inputs[1])


def test_patches_on_a_grid_show_edits_on_a_grid_in_one_phase() -> None:
    class Dots(FilterTeacher):
        def edit(self, photos: Sequence[np.ndarray], seeds: Sequence[int]) -> tuple[list, list]:
            wanted = [np.zeros_like(photo) for photo in photos]
            for image in wanted:
                image[::8, ::8] = 255
            return list(photos), wanted

    photos = [np.zeros((100, 120, 3), np.uint8)] * 20
    pairs = make_pairs(Dots((Step("negative"),)), photos, n_pairs=20, patch_size=32, seed=0, grid=8)
    assert len(np.unique(pairs.targets, axis=0)) == 1
    assert pairs.targets[0, 0, 0, 0] == 255
    loose = make_pairs(Dots((Step("negative"),)), photos, n_pairs=20, patch_size=32, seed=0)
    assert len(np.unique(loose.targets, axis=0)) > 10


def test_make_pairs_refuses_photos_smaller_than_a_patch() -> None:
    concept = concept_named("pencil sketch")
    with pytest.raises(ValueError, match="is smaller than a patch of 64"):
        make_pairs(concept.teacher, [np.zeros((32, 80, 3), np.uint8)], n_pairs=1, patch_size=64, seed=0)
    with pytest.raises(ValueError, match="at least one photo"):
        make_pairs(concept.teacher, [], n_pairs=1, patch_size=64, seed=0)


def test_scoring_pairs_are_whole_photos_at_teaching_size() -> None:
    inputs, targets = scoring_pairs(concept_named("pencil sketch").teacher, load_photos(split="score"))
    assert [min(image.shape[:2]) for image in inputs] == [256] * 26
    assert [a.shape for a in inputs] == [b.shape for b in targets]


def test_write_pairs_gives_equal_names_and_sizes(photo_folder: Path, tmp_path: Path) -> None:
    concept = concept_named("pencil sketch")
    written = write_pairs([concept], load_photos(photo_folder, split=None), tmp_path / "out")
    assert (written.n_pairs, written.left_out) == ({"pencil-sketch": 3}, {})
    for name in ("cat.png", "cup.png", "dahlia.png"):
        inputs, targets = (read_image(tmp_path / "out" / part / name) for part in ("A", "B"))
        assert inputs.shape == targets.shape
        assert min(inputs.shape[:2]) == 256
    assert sorted(folder_bytes(tmp_path / "out")) == sorted(
        ["pairs.json"] + [f"{part}/{name}.png" for part in ("A", "B") for name in ("cat", "cup", "dahlia")]
    )
    notes = json.loads((tmp_path / "out" / "pairs.json").read_bytes())
    assert (notes["concept"], notes["licence"], notes["left_out"]) == ("pencil-sketch", concept.licence, {})
    assert notes["licences_of_photos"] == ["the owner's"]


def test_write_pairs_gives_the_same_bytes_again(photo_folder: Path, tmp_path: Path) -> None:
    concepts = [concept_named("pencil sketch"), load_concepts()[0]]
    taken = load_photos(photo_folder, split=None)
    for name in ("one", "two"):
        written = write_pairs(concepts, taken, tmp_path / name, n_varied=4, seed=5)
        assert list(written.n_pairs.values()) == [4, 4]
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(c.id for c in concepts)


def test_write_pairs_with_force_replaces_pairs_only(photo_folder: Path, tmp_path: Path) -> None:
    concept, taken = concept_named("pencil sketch"), load_photos(photo_folder, split=None)
    out = tmp_path / "out"
    write_pairs([concept], taken, out)
    with pytest.raises(OutputError, match="not empty"):
        write_pairs([concept], taken, out)
    write_pairs([concept], taken[:1], out, force=True)
    assert len(list((out / "A").iterdir())) == 1
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"it has thesis\.txt, which is not a folder of pairs"):
        write_pairs([concept], taken, out, force=True)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_write_pairs_leaves_nothing_when_a_teacher_fails(photo_folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    good = concept_named("pencil sketch")
    bad = replace(good, id="bad", teacher=FilterTeacher((Step("no-such-operator"),)))
    with pytest.raises(InvalidConcepts, match="no-such-operator"):
        write_pairs([good, bad], load_photos(photo_folder, split=None), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_write_pairs_refuses_ids_that_leave_the_folder(photo_folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    odd = replace(concept_named("pencil sketch"), id="../odd")
    with pytest.raises(InvalidConcepts, match="the id cannot name a folder"):
        write_pairs([odd, odd], load_photos(photo_folder, split=None), tmp_path / "out")


def test_the_command_writes_pairs_of_words(photo_folder: Path, tmp_path: Path) -> None:
    command = [
        "pairs",
        "Pencil-Sketch",
        "--photos",
        str(photo_folder),
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["n_pairs"] == 3
    assert found["concepts"][0]["concept"] == concept_named("pencil sketch").id
    assert len(list(Path(found["concepts"][0]["targets"]).iterdir())) == 3
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert again.stderr.startswith("Error: ")
    assert "--force" in again.stderr


def test_the_command_says_which_photos_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", np.zeros((9, 9, 3), np.uint8), force=False)
    (tmp_path / "photos" / "b.png").write_bytes(b"")
    command = ["pairs", "pencil sketch", "--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert result.stderr == (
        f"Warning: 1 file of {tmp_path / 'photos'} is left out: b.png (not an image of a known kind)\n"
    )
    (tmp_path / "photos" / "a.png").unlink()
    result = CliRunner().invoke(main, [*command, "--force"])
    assert result.exit_code == 1
    assert "b.png" in result.stderr.splitlines()[-1]


def test_the_command_wants_words_or_a_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["pairs", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "--concepts FILE.toml" in result.stderr


def test_list_gives_every_concept_with_family_and_split() -> None:
    result = CliRunner().invoke(main, ["list", "--json"])
    listed = json.loads(result.stdout)
    assert [entry["concept"] for entry in listed] == [concept.id for concept in load_concepts()]
    assert {entry["split"] for entry in listed} == {"train", "heldout-composed", "heldout-new"}
    assert len({entry["family"] for entry in listed}) == 6


def test_list_chooses_by_family_and_split() -> None:
    command = ["list", "--family", "style", "--split", "train"]
    as_json = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert {(entry["family"], entry["split"]) for entry in as_json} == {("style", "train")}
    lines = CliRunner().invoke(main, command).stdout.splitlines()
    assert len(lines) == len(as_json)
    assert lines[0].split()[0] == as_json[0]["concept"]
    wrong = CliRunner().invoke(main, ["list", "--family", "stile"])
    assert wrong.exit_code == 2
    assert "no family 'stile'; the families are" in wrong.stderr
