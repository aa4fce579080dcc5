"""The authors' prompts and pairs as concepts, from folders such as they describe."""

import numpy as np
import pytest
from click.testing import CliRunner
from test_custom_teachers import tiny_harvest_recipe, write_folder

from initzoo.cli.main import main
from initzoo.errors import InvalidConcepts
from initzoo.files.images import write_image
from initzoo.pairs.concepts import load_concepts
from initzoo.pairs.teachers import DiffusionTeacher, FolderTeacher
from initzoo.training.harvest import HarvestPlan, run_harvest

MODEL = '[diffusion]\nmodel = "timbrooks/instruct-pix2pix"\n'


def write_halves(folder, n=6):
    """Pairs as pix2pix has them: both images side by side."""
    (folder / "train").mkdir(parents=True)
    for number in range(n):
        rng = np.random.default_rng(number)
        photo = np.repeat(np.repeat(rng.integers(0, 256, (10, 10, 3), np.uint8), 8, 0), 8, 1)
        both = np.concatenate([photo, photo // 2], axis=1)
        write_image(folder / "train" / f"{number}.png", both, force=False)


@pytest.fixture
def download(tmp_path):
    folder = tmp_path / "denoised-weights"
    (folder / "concept-prompt" / "people").mkdir(parents=True)
    (folder / "concept-prompt" / "style.txt").write_text(
        '1. Mosaic floor\n2. "Stained glass"\n\n- stained glass\n'
    )
    (folder / "concept-prompt" / "people" / "people.txt").write_text(
        "\ufeffSleepy baker,\n3D elf\nSleepy: baker\nCafé owner\n" + "very " * 30 + "old man\n"
    )
    write_folder(folder / "paired-images" / "style" / "mosaic_floor")
    write_halves(folder / "paired-images" / "people" / "Sleepy baker")
    write_folder(folder / "paired-images" / "unlisted_look")
    return folder


def load(download, text=""):
    path = download.parent / "concepts.toml"
    path.write_text('released = "denoised-weights"\n' + text)
    return {concept.prompts[0]: concept for concept in load_concepts(path)}


def test_folders_of_pairs_are_concepts_and_find_their_prompts(download):
    concepts = load(download)
    assert set(concepts) == {"Mosaic floor", "Sleepy baker", "unlisted look"}
    assert all(isinstance(concept.teacher, FolderTeacher) for concept in concepts.values())
    baker = concepts["Sleepy baker"]
    assert (baker.id, baker.licence, baker.source) == ("sleepy-baker", "unknown", "Sleepy baker")
    given, wanted = baker.teacher.edit([np.zeros((80, 80, 3), np.uint8)], [0])
    assert np.array_equal(given[0] // 2, wanted[0])


def test_a_model_makes_the_pairs_of_the_other_prompts(download):
    concepts = load(download, 'licence = "CC-BY-4.0"\n' + MODEL)
    assert set(concepts) == {
        "Mosaic floor", "Stained glass", "Sleepy baker", "3D elf", "Café owner", "very " * 30 + "old man",
        "unlisted look",
    }  # fmt: skip
    glass = concepts["Stained glass"]
    assert isinstance(glass.teacher, DiffusionTeacher)
    assert (glass.teacher.prompt, glass.licence) == ("Stained glass", "CC-BY-4.0")
    assert isinstance(concepts["Sleepy baker"].teacher, FolderTeacher)
    assert concepts["Café owner"].id.startswith("caf-owner-")
    assert len(concepts["very " * 30 + "old man"].id) <= 64


def test_thousands_of_prompts_are_read_and_some_held_out(download):
    lines = "".join(f"look number {number}\n" for number in range(5000))
    (download / "concept-prompt" / "many.txt").write_text(lines)
    concepts = load(download, MODEL)
    assert len(concepts) == 5007
    held = sum(concept.split == "heldout-new" for concept in concepts.values())
    assert 400 < held < 620
    assert len({concept.teacher.model_id for concept in concepts.values() if concept.teacher.model_id}) == 1


def test_they_go_through_a_harvest(download, photo_folder, tmp_path):
    load(download, '[[concept]]\nid = "brown"\nprompts = ["brown"]\nteacher = [{ operator = "sepia" }]\n')
    plan = HarvestPlan.make(
        tiny_harvest_recipe(), concepts_path=tmp_path / "concepts.toml", photos=photo_folder
    )
    report = run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1)
    assert (report.n_checkpoints, report.failures) == (4, [])


def test_what_is_no_download_is_said(download, tmp_path):
    import shutil

    with pytest.raises(InvalidConcepts, match="'released' must be the path of a folder in quotes"):
        (tmp_path / "concepts.toml").write_text("released = 3\n")
        load_concepts(tmp_path / "concepts.toml")
    list_of_prompts = download / "concept-prompt" / "style.txt"
    list_of_prompts.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConcepts, match=r"released: .*style.txt is not UTF-8. Replace it"):
        load(download)
    list_of_prompts.unlink()
    (download / "paired-images" / "unlisted_look" / "B" / "0.png").unlink()
    with pytest.raises(InvalidConcepts, match=r"released: .*unlisted_look: 0\.png of A has no partner"):
        load(download)
    shutil.rmtree(download / "paired-images")
    with pytest.raises(InvalidConcepts, match="has 4 prompts and no folder of pairs for any of them. Unpack"):
        load(download)
    shutil.rmtree(download)
    download.mkdir()
    load_path = tmp_path / "concepts.toml"
    result = CliRunner().invoke(main, ["pairs", "--concepts", str(load_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "has no folder concept-prompt or paired-images. Download it with: hf download" in result.stderr
    assert "Traceback" not in result.stderr
