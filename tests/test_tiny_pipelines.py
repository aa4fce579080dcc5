"""A real pipeline of diffusers, tiny and random, as a teacher: pairs, a harvest, a kill, models that fail.

It needs the extra diffusion, whose import takes ten seconds: `pytest -m long tests/test_tiny_pipelines.py`.
"""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner
from hub_fixtures import own_hub, program, run_program
from hub_server import TOKEN, Hub, Repo
from test_custom_teachers import tiny_harvest_recipe

from initzoo.cli.main import main
from initzoo.errors import HubUnavailable, TeacherError
from initzoo.files.images import read_image
from initzoo.pairs.concepts import load_concepts
from initzoo.pairs.teachers import DiffusionTeacher, parse_teacher, pipelines
from initzoo.training.harvest import HarvestPlan, run_harvest
from initzoo.zoo.zoo import Zoo

__all__ = ["own_hub"]

# Looked for and not imported: that would cost every run seconds, also those that leave these tests out.
pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("diffusers"),
    pytest.mark.skipif(find_spec("diffusers") is None, reason="needs the extra diffusion"),
]

CONCEPTS = """
[diffusion]
model = "tiny-editor"
side = 64
num_inference_steps = 2

[[concept]]
id = "snow"
prompts = ["make it snow"]

[[concept]]
id = "zombie"
prompts = ["zombie"]
teacher = { prompt = "turn them into zombies", image_guidance_scale = 1.2 }
licence = "MIT"

[[concept]]
id = "sepia"
prompts = ["sepia"]
teacher = [{ operator = "sepia" }]
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with two tiny models in it."""
    from tiny_pipelines import write_pipeline

    folder = tmp_path_factory.mktemp("models")
    write_pipeline(folder / "tiny-editor")
    write_pipeline(folder / "from-words", is_editor=False)
    (folder / "concepts.toml").write_text(CONCEPTS)
    return folder


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    pipelines.close_editor()
    return tmp_path / "store"


def bytes_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_pairs_and_a_harvest_through_a_real_pipeline(models, store, photo_folder, tmp_path, monkeypatch):
    path = models / "concepts.toml"
    command = [
        "pairs",
        "--concepts",
        str(path),
        "--photos",
        str(photo_folder),
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    counts = {one["concept"]: one["n_pairs"] for one in json.loads(result.stdout)["concepts"]}
    assert counts == {"snow": 3, "zombie": 3, "sepia": 3}
    snow, zombie = (
        [read_image(file) for file in sorted((tmp_path / "out" / name / "B").iterdir())]
        for name in ("snow", "zombie")
    )
    photos = [read_image(file) for file in sorted((tmp_path / "out" / "snow" / "A").iterdir())]
    for photo, one, other in zip(photos, snow, zombie, strict=True):
        assert photo.shape == one.shape == other.shape
        assert not np.array_equal(photo, one)
        assert not np.array_equal(one, other)
    notes = json.loads((tmp_path / "out" / "snow" / "pairs.json").read_bytes())
    assert (notes["licence"], notes["teacher"]["name"]) == ("cc0-1.0", "tiny-editor")  # of the model's card

    seen = []
    plan = HarvestPlan.make(tiny_harvest_recipe(), concepts_path=path, photos=photo_folder)
    report = run_harvest(
        plan, tmp_path / "run", tmp_path / "zoo", n_workers=2, callback=lambda stage, *_: seen.append(stage)
    )
    assert (report.n_checkpoints, report.failures) == (3, [])
    assert seen[0] == "pairs of models"
    rows = {row.concept_id: row for row in Zoo.from_pretrained(tmp_path / "zoo").index.rows()}
    assert (rows["snow"].licence, rows["zombie"].licence, rows["snow"].source) == (
        "cc0-1.0",
        "MIT",
        "tiny-editor",
    )
    teachers = [concept.teacher for concept in load_concepts(path)]
    assert parse_teacher(rows["zombie"].teacher, teachers).prompt == "turn them into zombies"

    def refuse(*_):
        raise AssertionError("all pairs were made")

    monkeypatch.setattr("initzoo.pairs.teachers.diffusion.open_editor", refuse)
    again = run_harvest(plan, tmp_path / "again", tmp_path / "zoo-again", n_workers=1)
    assert again.n_checkpoints == 3
    first, second = (tmp_path / name / "dataset" / "blocks" for name in ("zoo", "zoo-again"))
    assert bytes_in(first) == bytes_in(second)


def test_pairs_that_were_killed_go_on_and_end_the_same(models, store, photo_folder, tmp_path):
    command = ["-m", "initzoo", "pairs", "--concepts", str(models / "concepts.toml"), "--varied", "12"]
    command += ["--photos", str(photo_folder), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, *command], env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 300
    while len(list(store.glob("*/*.png"))) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    made = {path: path.stat().st_ino for path in store.glob("*/*.png")}
    assert 4 <= len(made) < 24
    assert CliRunner().invoke(main, command[2:]).exit_code == 0
    assert {path: path.stat().st_ino for path in made} == made  # not made again
    os.environ["INITZOO_PAIRS"] = str(tmp_path / "other-store")  # `store` puts it back
    assert CliRunner().invoke(main, [*command[2:-1], str(tmp_path / "whole")]).exit_code == 0
    for name in ("snow", "zombie"):
        assert bytes_in(tmp_path / "out" / name / "B") == bytes_in(tmp_path / "whole" / name / "B")
        assert len(bytes_in(tmp_path / "out" / name / "B")) == 12


def test_half_precision_makes_about_the_same_pictures(models, store):
    import torch
    from diffusers import DiffusionPipeline

    photo = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), 8, 0), 8, 1)
    edited = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in (torch.float32, torch.bfloat16):
            pipeline = DiffusionPipeline.from_pretrained(models / "tiny-editor", dtype=dtype)
            editor = pipelines.Editor(pipeline, name="tiny", device=torch.device("cpu"))
            edited += editor.edit("snow", [photo], [0], batch_size=1, arguments={"num_inference_steps": 2})
    assert edited[1].dtype == np.float32
    assert np.abs(edited[0] - edited[1]).mean() < 0.03


def test_a_model_that_makes_pictures_of_words_is_no_editor(models, store):
    teacher = DiffusionTeacher(models / "from-words", "make it snow", side=64)
    with pytest.raises(TeacherError, match="'from-words' is a StableDiffusionPipeline, which takes no image"):
        teacher.edit([np.zeros((64, 64, 3), np.uint8)], [0])


@pytest.mark.parametrize("gone", ["model_index.json", "unet/diffusion_pytorch_model.safetensors"])
def test_a_folder_that_is_no_model_is_said(models, store, tmp_path, gone):
    import shutil

    shutil.copytree(models / "tiny-editor", tmp_path / "broken")
    (tmp_path / "broken" / gone).unlink()
    teacher = DiffusionTeacher(tmp_path / "broken", "make it snow", side=64)
    with pytest.raises(
        TeacherError, match="'broken' cannot be loaded as a pipeline of diffusers: "
    ) as caught:
        teacher.edit([np.zeros((64, 64, 3), np.uint8)], [0])
    assert "\n" not in str(caught.value)
    assert "Expected model_index.json and safetensors files" in str(caught.value)


def test_without_a_connection_the_hub_is_named(store):
    with pytest.raises(HubUnavailable, match="'me/away' is not on this machine, and the Hub is out of reach"):
        DiffusionTeacher("me/away", "make it snow").edit([np.zeros((64, 64, 3), np.uint8)], [0])


TRIES = """
import sys
import numpy as np
from initzoo.errors import InitzooError
from initzoo.pairs.teachers import DiffusionTeacher
photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
for model in sys.argv[1:]:
    name, _, revision = model.partition("@")
    try:
        teacher = DiffusionTeacher(name, "snow", side=64, revision=revision or None)
        print(teacher.edit([photo], [0])[1][0].shape)
    except InitzooError as error:
        print(type(error).__name__, error)
"""


def test_models_of_the_hub(own_hub: Hub, models, tmp_path):
    files = {
        path.relative_to(models / "tiny-editor").as_posix(): path.read_bytes()
        for path in (models / "tiny-editor").rglob("*")
        if path.is_file()
    }
    for name, is_gated in (("me/open", False), ("me/gated", True)):
        repo = own_hub.repos["model", name] = Repo("model", name, gated=is_gated)
        repo.commit(files, "a tiny pipeline")
    environment = program(own_hub, tmp_path / "cache")
    tried = ["me/absent", "me/gated", "me/open@v9", "me/open"]
    result = run_program(environment, "-c", TRIES, *tried, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    absent, gated, no_revision, shape = result.stdout.splitlines()
    assert absent.startswith("TeacherError there is no model 'me/absent' on the Hub, or it is private.")
    assert gated.startswith("AccessDenied model 'me/gated' is gated. Accept its conditions at https://")
    assert no_revision.startswith("TeacherError model 'me/open' has no revision 'v9'")
    assert shape == "(64, 64, 3)"
    result = run_program({**environment, "HF_TOKEN": TOKEN}, "-c", TRIES, "me/gated", cwd=tmp_path)
    assert result.stdout == "(64, 64, 3)\n", result.stderr
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    result = run_program(offline, "-c", TRIES, "me/open", "me/absent", cwd=tmp_path)
    shape, absent = result.stdout.splitlines()
    assert shape == "(64, 64, 3)"  # of the cache
    assert absent.startswith("HubUnavailable model 'me/absent' is not on this machine, and the Hub is out of")
