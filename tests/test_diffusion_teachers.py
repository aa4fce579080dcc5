"""Diffusion models as teachers: what they are asked, what is refused, what can fail. No model runs here."""

import builtins
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_custom_teachers import tiny_harvest_recipe

from initzoo.cli.main import main
from initzoo.errors import AccessDenied, InitzooWarning, InvalidConcepts, MissingExtra, TeacherError
from initzoo.files.images import write_image
from initzoo.pairs.concepts import load_concepts
from initzoo.pairs.photos import fit_short_side, training_photos
from initzoo.pairs.taught import teach_each
from initzoo.pairs.teachers import DiffusionTeacher, Refused, diffusion, parse_teacher, pipelines
from initzoo.pairs.teachers.pipelines import Editor
from initzoo.training.harvest import HarvestPlan
from initzoo.training.harvest.settings import RunFolder
from initzoo.training.harvest.teaching import make_model_pairs

CPU, GPU = torch.device("cpu"), torch.device("meta")
MODEL = "timbrooks/instruct-pix2pix"


def picture(seed, height=256, width=300):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Pipeline:
    """Inverts its images, and notes what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(
        self, prompt, image, num_inference_steps=100, strength=0.8, generator=None, output_type="pil"
    ):
        assert output_type == "np"
        draws = [draw.initial_seed() for draw in generator]
        self.calls.append((prompt, [one.size for one in image], draws, num_inference_steps, strength))
        return SimpleNamespace(images=np.stack([self.edit(np.asarray(one) / 255) for one in image]))

    def edit(self, image):
        return 1 - image


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a teacher with a given pipeline."""
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))

    def run(pipeline, photos, *, device=GPU, **settings):
        editor = Editor(pipeline, name=MODEL, device=device)
        monkeypatch.setattr(diffusion, "open_editor", lambda model, revision, name: editor)
        teacher = DiffusionTeacher(MODEL, "make it snow", **{"side": 128, **settings})
        return list(teach_each(teacher, photos, range(len(photos))))

    return run


def test_photos_are_edited_in_batches_of_one_size_and_come_back_in_theirs(run):
    pipeline = Pipeline()
    photos = [picture(0), picture(1, 256, 380), picture(2), picture(3, 300, 256), picture(4)]
    pairs = run(pipeline, photos, batch_size=2, arguments={"strength": 0.5})
    assert [sizes for _, sizes, *_ in pipeline.calls] == [
        [(192, 128), (192, 128)],
        [(192, 128)],
        [(128, 192)],
        [(192, 128)],
    ]
    assert {(words, steps, strength) for [words, *_], _, _, steps, strength in pipeline.calls} == {
        ("make it snow", 20, 0.5)
    }
    for photo, (given, wanted) in zip(photos, pairs, strict=True):
        assert np.array_equal(given, photo)
        assert wanted.shape == photo.shape
        assert abs(255 - float(photo.mean()) - float(wanted.mean())) < 2


def test_the_noise_of_a_pair_is_its_own_and_fixed(run):
    photos, first, again = [picture(0), picture(1)], Pipeline(), Pipeline()
    run(first, photos, batch_size=2)
    run(again, photos[1:], side=192)
    one, other = first.calls[0][2]
    assert one != other
    assert again.calls[0][2] == [other]


def test_a_pair_is_made_once(run):
    first, again = Pipeline(), Pipeline()
    made = run(first, [picture(0)])
    read = run(again, [picture(0)])
    assert (len(first.calls), len(again.calls)) == (1, 0)
    assert np.array_equal(made, read)


def test_on_a_cpu_one_photo_is_edited_at_a_time(run):
    pipeline = Pipeline()
    run(pipeline, [picture(0), picture(1)], device=CPU)
    assert [len(sizes) for _, sizes, *_ in pipeline.calls] == [1, 1]


def black(image):
    return np.zeros_like(image)


def not_a_number(image):
    return np.full_like(image, np.nan)


def unchanged(image):
    """As a VAE leaves it: fine detail is another, all else the same."""
    return image + np.random.default_rng(0).normal(0, 0.01, image.shape)


@pytest.mark.parametrize(
    ("edit", "reason"), [(black, "black"), (not_a_number, "not a number"), (unchanged, "unchanged")]
)
def test_pictures_that_are_no_good_are_refused(run, edit, reason):
    pipeline = Pipeline()
    pipeline.edit = edit
    assert run(pipeline, [picture(0)]) == [Refused(reason)]
    assert run(Pipeline(), [picture(0)]) == [Refused(reason)]  # remembered


def test_the_safety_checker_of_a_model_is_named(run):
    class Checked(Pipeline):
        def __call__(self, prompt, image, generator=None, output_type="pil"):
            return SimpleNamespace(
                images=np.zeros((len(image), 128, 192, 3)), nsfw_content_detected=[True] * len(image)
            )

    assert run(Checked(), [picture(0)]) == [Refused("black, by the safety checker of the model")]


class Full(Pipeline):
    """Has room for a number of images."""

    def __init__(self, room):
        super().__init__()
        self.room, self.tried = room, []

    def __call__(self, prompt, image, generator=None, output_type="pil"):
        self.tried.append(len(image))
        if len(image) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return super().__call__(prompt, image, generator=generator, output_type=output_type)


def test_out_of_memory_halves_the_batch_once_and_says_so(run):
    pipeline, photos = Full(room=4), [picture(seed) for seed in range(10)]
    with pytest.warns(
        InitzooWarning, match=r"too little memory for 8 images of 192 x 128 at once; going on with 4"
    ):
        assert len(run(pipeline, photos)) == 10
    assert pipeline.tried == [8, 4, 4, 2]


@pytest.mark.filterwarnings("ignore:.*going on with 4")
@pytest.mark.parametrize(("n_photos", "tried"), [(8, [8, 4]), (1, [1])])
def test_out_of_memory_again_is_said(run, n_photos, tried):
    pipeline = Full(room=0)
    with pytest.raises(TeacherError, match=r"too little memory for \d images .* Set a smaller side or batch"):
        run(pipeline, [picture(seed) for seed in range(n_photos)])
    assert pipeline.tried == tried


def raising(image):
    raise RuntimeError("no\nscheduler")


def half_as_wide(image):
    return image[:, ::2]


def grey(image):
    return image[:, :, 0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (raising, f"model '{MODEL}' failed on photos of 192 x 128: RuntimeError: no scheduler"),
        (half_as_wide, "returned a picture of 96 x 128 for a photo of 192 x 128. Name a model that keeps"),
        (grey, "returned a picture of 192 x 128 for a photo of 192 x 128"),
    ],
)
def test_a_model_that_fails_is_said_in_one_line(run, edit, words):
    pipeline = Pipeline()
    pipeline.edit = edit
    with pytest.raises(TeacherError, match=words) as caught:
        run(pipeline, [picture(0)])
    assert "\n" not in str(caught.value)


def test_too_few_pictures_are_said(run):
    class Merging(Pipeline):
        def __call__(self, prompt, image, generator=None, output_type="pil"):
            return SimpleNamespace(images=np.zeros((1, 128, 192, 3)))

    with pytest.raises(TeacherError, match="returned 1 pictures for 2 photos. Set batch = 1"):
        run(Merging(), [picture(0), picture(1)])


def test_a_pipeline_without_an_image_is_no_editor():
    def from_words(prompt, num_inference_steps=50, output_type="pil"):
        """Makes pictures of words alone."""

    def inpainting(prompt, image, mask_image):
        """Wants a mask, too."""

    with pytest.raises(TeacherError, match=r"'x/y' is a from_words, which takes no image, so it cannot edit"):
        Editor(from_words, name="x/y", device=CPU)
    with pytest.raises(TeacherError, match=r"which also wants a mask_image.* timbrooks/instruct-pix2pix"):
        Editor(inpainting, name="x/y", device=CPU)


def test_an_argument_that_the_pipeline_does_not_have_is_named(run):
    words = "has no argument 'strenght'. It has generator, image, num_inference_steps, output_type, prompt"
    with pytest.raises(TeacherError, match=words):
        run(Pipeline(), [picture(0)], arguments={"strenght": 0.5})


def test_without_diffusers_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name.split(".")[0] in ("diffusers", "transformers"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    pipelines.open_editor.cache_clear()
    with pytest.raises(MissingExtra, match=r'needs diffusers .*: pip install "initzoo\[diffusion\]"'):
        DiffusionTeacher(MODEL, "make it snow").edit([picture(0)], [0])


# Concepts files.

FILE = f"""
[diffusion]
model = "{MODEL}"
side = 256
image_guidance_scale = 1.6

[[concept]]
id = "snow"
prompts = ["make it snow", "let it snow"]

[[concept]]
id = "zombie"
prompts = ["zombie"]
teacher = {{ prompt = "turn them into zombies", variants = 3, revision = "v1" }}
licence = "MIT"

[[concept]]
id = "sepia"
prompts = ["sepia"]
teacher = [{{ operator = "sepia" }}]
"""


def load(folder, text):
    (folder / "concepts.toml").write_text(text)
    return load_concepts(folder / "concepts.toml")


def test_a_concepts_file_names_the_model_once(tmp_path):
    snow, zombie, sepia = load(tmp_path, FILE)
    settings = {"prompt": "make it snow", "side": 256, "arguments": {"image_guidance_scale": 1.6}}
    assert snow.teacher.to_json() == {
        "name": MODEL, "id": snow.teacher.id, "n_variants": 1, **settings,
    }  # fmt: skip
    assert (zombie.teacher.prompt, zombie.teacher.n_variants) == ("turn them into zombies", 3)
    assert (snow.source, snow.licence, zombie.licence) == (MODEL, f"that of model {MODEL}", "MIT")
    assert sepia.teacher.model_id is None
    assert snow.teacher.model_id != zombie.teacher.model_id  # another revision
    assert pickle.loads(pickle.dumps(snow.teacher)) == snow.teacher  # noqa: S301 (our own bytes)
    row = json.dumps(zombie.teacher.to_json())
    assert parse_teacher(row, [snow.teacher, zombie.teacher]) is zombie.teacher


def test_the_id_covers_all_that_decides_the_pictures():
    def teacher(prompt="make it snow", **settings):
        return DiffusionTeacher(MODEL, prompt, **settings)

    others = [
        teacher("make it rain"),
        teacher(side=256),
        teacher(revision="v1"),
        teacher(arguments={"guidance_scale": 3.0}),
        DiffusionTeacher("other/model", "make it snow"),
    ]
    assert len({one.id for one in [teacher(), *others]}) == 6
    assert teacher(batch_size=2).id == teacher().id


def test_a_folder_is_known_by_its_files_and_its_card(tmp_path):
    model = tmp_path / "my-model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    (model / "README.md").write_text("---\ntags:\n- x\nlicense: openrail\n---\n")
    first = DiffusionTeacher(model, "make it snow")
    assert (first.name, first.licence) == ("my-model", "openrail")
    assert str(tmp_path) not in json.dumps(first.to_json())
    model.rename(tmp_path / "moved")
    assert DiffusionTeacher(tmp_path / "moved", "make it snow").id == first.id
    (tmp_path / "moved" / "model_index.json").rename(tmp_path / "moved" / "other.json")
    diffusion._folder_digest.cache_clear()
    assert DiffusionTeacher(tmp_path / "moved", "make it snow").id != first.id


CONCEPT = '[[concept]]\nid = "mine"\nprompts = ["mine"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CONCEPT + 'teacher = { prompt = "x" }', "a prompt needs a model; write model = "),
        (CONCEPT + 'teacher = { model = "" }', "a prompt needs a model; write model = "),
        (
            CONCEPT + 'teacher = { model = "no/such/folder" }',
            "'no/such/folder' is no folder, and no id on the",
        ),
        (
            CONCEPT + 'teacher = { model = "../nofolder" }',
            "'../nofolder' is no folder, and no id on the",
        ),
        (CONCEPT + 'teacher = { model = "a/b", prompt = 3 }', "prompt must be text, found 3"),
        (CONCEPT + 'teacher = { model = "a/b", prompt = " " }', "must have 1 to 1000 letters"),
        (CONCEPT + 'teacher = { model = "a/b", side = 5 }', "side must be from 32 to 2048 pixels, found 5"),
        (CONCEPT + 'teacher = { model = "a/b", batch = 0 }', "batch must be a whole number from 1 to 10000"),
        (CONCEPT + 'teacher = { model = "a/b", strength = [1] }', "'strength' must be text or a number"),
        (CONCEPT + 'teacher = { model = "a/b", strength = nan }', "must be plain values"),
        ('diffusion = "a/b"\n' + CONCEPT, "'diffusion' must be a table with model and settings"),
        ("[diffusion]\nside = 512\n" + CONCEPT, "a prompt needs a model"),
        (CONCEPT, "teacher must be a list of steps.*or a model"),
    ],
)
def test_what_a_file_says_wrong_is_said(tmp_path, text, words):
    with pytest.raises(InvalidConcepts, match=words) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_pairs_say_what_was_left_out(run, tmp_path):
    pipeline = Pipeline()
    pipeline.edit = lambda image: black(image) if image.mean() < 0.4 else 1 - image
    run(pipeline, [])
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate([picture(0), picture(1) // 2, picture(2)]):
        write_image(tmp_path / "photos" / f"{number}.png", pixels, force=False)
    snow, *_ = FILE.replace("image_guidance_scale", "strength").split('[[concept]]\nid = "zombie"')
    (tmp_path / "concepts.toml").write_text(snow)
    command = ["pairs", "--concepts", str(tmp_path / "concepts.toml"), "--photos", str(tmp_path / "photos")]
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "pairs")])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("snow  2 pairs  -> ")
    assert "snow: left out 1 of 3 pictures: 1 black" in result.stderr
    notes = json.loads((tmp_path / "pairs" / "pairs.json").read_bytes())
    assert (notes["licence"], notes["left_out"]) == (f"that of model {MODEL}", {"1": "black"})
    assert notes["teacher"]["prompt"] == "make it snow"


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied(f"model '{MODEL}' is gated. Accept its conditions"),
        MissingExtra("the teacher needs diffusers"),
        TeacherError(f"model '{MODEL}' failed on photos of 768 x 512: RuntimeError: no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_harvest_ends_before_any_training_if_a_model_fails(monkeypatch, tmp_path, photo_folder, error):
    def fail(*_):
        raise error

    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    monkeypatch.setattr(diffusion, "open_editor", fail)
    (tmp_path / "concepts.toml").write_text(FILE)
    command = ["harvest", "--quick", "--workers", "1", "--concepts", str(tmp_path / "concepts.toml")]
    command += ["--photos", str(photo_folder), "--out", str(tmp_path / "zoo")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: {error}"
    assert not [path for path in (tmp_path / "zoo").rglob("*") if path.is_file()]
    assert not list((tmp_path / "zoo.run" / "joint").iterdir())


def test_workers_give_the_memory_of_a_model_back(monkeypatch, tmp_path):
    """A device has no room for the model of every worker; the process that runs alone keeps its own."""
    released = []
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    editor = Editor(Pipeline(), name=MODEL, device=CPU)
    monkeypatch.setattr(diffusion, "open_editor", lambda model, revision, name: editor)
    monkeypatch.setattr(diffusion, "close_editor", lambda: released.append(True))
    teacher = DiffusionTeacher(MODEL, "make it snow", side=64)
    list(teach_each(teacher, [picture(0)], [0]))
    assert released == []
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(sentinel=0))
    list(teach_each(teacher, [picture(0)], [0]))  # is stored, so that no model is loaded
    assert released == []
    list(teach_each(teacher, [picture(1)], [0]))
    assert released == [True]


def test_a_harvest_makes_the_pairs_of_models_first_and_says_what_is_left_out(
    monkeypatch, tmp_path, photo_folder
):
    pipeline = Pipeline()
    pipeline.edit = lambda image: black(image) if image.mean() < 0.4 else 1 - image
    editor = Editor(pipeline, name=MODEL, device=GPU)
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    monkeypatch.setattr(diffusion, "open_editor", lambda model, revision, name: editor)
    (tmp_path / "concepts.toml").write_text(FILE.replace("image_guidance_scale", "strength"))
    path = tmp_path / "concepts.toml"
    plan = HarvestPlan.make(tiny_harvest_recipe(), concepts_path=path, photos=photo_folder)
    steps = []
    words = r"\d+ of \d+ pictures of models are not trained on: \d+ black; \d+ of zombie, \d+ of snow"
    with pytest.warns(InitzooWarning, match=words):
        make_model_pairs(plan, RunFolder(tmp_path / "run"), lambda *done: steps.append(done))
    assert steps == [(0, 2), (1, 2), (2, 2)]
    n_calls = len(pipeline.calls)
    recipe = plan.recipe
    for n_photos, seed in ((3, recipe.seed + 1), (recipe.fit.n_photos, recipe.seed)):
        for concept in plan.concepts[1:]:
            shown = training_photos(plan.load_photos("train"), n_photos, seed=seed)
            list(teach_each(concept.teacher, shown, range(len(shown))))
    scored = [fit_short_side(photo.pixels, 256) for photo in plan.load_photos("score")]
    list(teach_each(plan.concepts[1].teacher, scored, range(len(scored))))
    assert len(pipeline.calls) == n_calls  # all were made
