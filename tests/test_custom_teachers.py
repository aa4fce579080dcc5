"""Teachers of one's own: a folder of pairs, a Python function, a class; through TOML, harvest and zoo."""

import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from zoo_fixtures import tiny_recipe

from initzoo.cli.main import main
from initzoo.errors import InvalidConcepts, InvalidPairs, InvalidZoo, TeacherError
from initzoo.evaluation.calls import evaluate
from initzoo.evaluation.cases import ask_about_concepts
from initzoo.evaluation.checkpoints import score_concept
from initzoo.evaluation.generator.measuring import Job, measure
from initzoo.files.images import write_image
from initzoo.pairs.concepts import load_concepts
from initzoo.pairs.photos import PhotoSource, load_photos, varied_photos
from initzoo.pairs.sources import open_pairs, teach_pairs
from initzoo.pairs.taught import make_pairs, scoring_pairs, teach
from initzoo.pairs.teachers import (
    AbsentTeacher,
    FilterTeacher,
    FolderTeacher,
    FunctionTeacher,
    Step,
    edit_checked,
    parse_teacher,
)
from initzoo.training.generator import CropPlan, TrainingData, make_crops
from initzoo.training.generator.crops import open_crops
from initzoo.training.harvest import HarvestPlan, quick_recipe, run_harvest
from initzoo.training.harvest.recipe import HarvestRecipe, JointStage
from initzoo.work.pool import Pool
from initzoo.zoo.zoo import Zoo

LOOKS = '''
from pathlib import Path

import numpy as np

import palette
from initzoo.pairs.teachers import Teacher

LOG = Path(__file__).with_name("calls.log")


def inverted(photo, seed):
    with LOG.open("a") as file:
        file.write(f"{photo.shape} {seed}\\n")
    return 255 - photo


def tinted(photo, seed, *, red=0):
    """Gives input and target, both changed."""
    photo[:, :, 0] = red  # the array is a copy that the function may change
    return photo, palette.darker(photo)


def broken(photo, seed):
    raise RuntimeError("no paint\\nleft")


def leaves(photo, seed):
    raise SystemExit(3)


def grey(photo, seed):
    return photo[:, :, 0]


def small(photo, seed):
    return photo[::2, ::2], photo[::2, ::2]


def half(photo, seed):
    return photo[:, ::2]


class Shifted(Teacher):
    licence = "CC-BY-4.0"

    def __init__(self, by):
        self.by = by

    @property
    def id(self):
        return f"shifted-{self.by}"

    name = "shifted"

    def edit(self, photos, seeds):
        return photos, [np.roll(photo, self.by, axis=1) for photo in photos]


class Unnamed(Shifted):
    id = "Shifted/by 3"


SHIFTED = Shifted(3)
NOTHING = 7
'''

PALETTE = """
def darker(photo):
    return photo // 2
"""


def concept_of(name, teacher, more=""):
    return f'[[concept]]\nid = "{name}"\nprompts = ["{name} photo"]\nteacher = {teacher}\n{more}\n'


def picture(seed, height=70, width=100):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_folder(folder, n=8):
    for side in ("A", "B"):
        (folder / side).mkdir(parents=True)
    for number in range(n):
        write_image(folder / "A" / f"{number}.png", picture(number), force=False)
        write_image(folder / "B" / f"{number}.png", 255 - picture(number), force=False)
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with modules and pairs in it, as somebody's concepts file stands in one."""
    (tmp_path / "looks.py").write_text(LOOKS)
    (tmp_path / "palette.py").write_text(PALETTE)
    write_folder(tmp_path / "my-pairs")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("INITZOO_PAIRS", str(tmp_path / "store"))
    yield tmp_path
    for name in ("looks", "palette"):
        sys.modules.pop(name, None)


def load(project, text):
    (project / "concepts.toml").write_text(text)
    return load_concepts(project / "concepts.toml")


def one_teacher(project, teacher, more=""):
    (concept,) = load(project, concept_of("mine", teacher, more))
    return concept.teacher


# Folders.


def test_a_folder_of_pairs_is_a_teacher(project):
    (concept,) = load(project, concept_of("mine", '"my-pairs/"'))
    assert isinstance(concept.teacher, FolderTeacher)
    assert (concept.family, concept.licence, concept.source) == ("style", "unknown", "my-pairs")
    given, wanted = concept.teacher.edit([np.zeros((64, 90, 3), np.uint8)] * 20, range(20))
    assert all(image.shape[0] == 64 for image in (*given, *wanted))
    assert len({image.tobytes() for image in given}) == 6  # of eight pairs, two are for scoring


def test_a_folders_scoring_pairs_are_never_learnt(project):
    teacher = FolderTeacher(project / "my-pairs")
    learnt, scored = teacher.fixed_pairs("train", 70), teacher.fixed_pairs("score", 70)
    assert {pair.name for pair in learnt} | {pair.name for pair in scored} == set("01234567")
    assert {pair.name for pair in learnt}.isdisjoint(pair.name for pair in scored)
    given, _ = teacher.edit([picture(0)] * 200, range(200))
    assert {image.tobytes() for image in given} == {pair.given.tobytes() for pair in learnt}
    inputs, targets = scoring_pairs(teacher, load_photos(split="score"), side=70)
    assert [image.tobytes() for image in inputs] == [pair.given.tobytes() for pair in scored]
    assert all(np.array_equal(target, 255 - image) for image, target in zip(inputs, targets, strict=True))


def test_a_folder_splits_its_pairs_as_a_fine_tune_does(project):
    tuned_on = open_pairs(project / "my-pairs")
    teacher = FolderTeacher(project / "my-pairs")
    for split, pairs in (("train", tuned_on.train), ("score", tuned_on.validation)):
        assert [pair.name for pair in teacher.fixed_pairs(split, 70)] == [pair.name for pair in pairs]


def test_a_folders_id_is_that_of_its_pairs(project):
    first = FolderTeacher(project / "my-pairs")
    (project / "my-pairs").rename(project / "moved")
    moved = FolderTeacher(project / "moved", licence="MIT")
    assert moved.id == first.id
    assert moved == first
    (project / "moved" / "A" / "3.png").unlink()
    write_image(project / "moved" / "A" / "3.png", picture(99), force=False)
    assert FolderTeacher(project / "moved").id != first.id


def test_a_row_tells_a_folders_name_and_not_its_path(project):
    (concept,) = load(project, concept_of("mine", f'"{project / "my-pairs"}"'))
    row = json.dumps(concept.teacher.to_json())
    assert "my-pairs" in row
    assert str(project) not in row + concept.source


def test_fine_tuning_on_a_folder_concept_takes_its_pairs(project, photo_folder):
    (concept,) = load(project, concept_of("mine", '"my-pairs"'))
    pairs = teach_pairs(concept, photo_folder)
    assert (len(pairs.train), len(pairs.validation)) == (6, 2)
    assert pairs.source == "the pairs of mine"


# Functions and classes.


def test_a_function_beside_the_file_is_a_teacher(project):
    (concept,) = load(project, concept_of("mine", '"looks:inverted"', 'licence = "MIT"\nfamily = "tone"'))
    assert isinstance(concept.teacher, FunctionTeacher)
    assert (concept.family, concept.licence, concept.source) == ("tone", "MIT", "looks:inverted")
    assert concept.teacher.licence == "MIT"
    photo = picture(0)
    [(given, wanted)] = teach(concept.teacher, [photo], [5])
    assert np.array_equal(given, photo)
    assert np.array_equal(wanted, 255 - photo)


def test_a_function_takes_settings_and_gives_both_images(project):
    teacher = one_teacher(project, '{function = "looks:tinted", red = 200, variants = 3}')
    photo = picture(0)
    before = photo.copy()
    [(given, wanted)] = teach(teacher, [photo], [0])
    assert (given[:, :, 0] == 200).all()
    assert np.array_equal(wanted, given // 2)
    assert np.array_equal(photo, before)
    assert teacher.n_variants == 3
    assert teacher.to_json()["settings"] == {"red": 200}


def test_a_functions_id_changes_with_its_file_and_settings(project):
    plain = one_teacher(project, '"looks:tinted"')
    red = one_teacher(project, '{function = "looks:tinted", red = 1}')
    other = one_teacher(project, '"looks:inverted"')
    assert len({plain.id, red.id, other.id}) == 3
    assert one_teacher(project, '{function = "looks:tinted", variants = 9}').id == plain.id
    sys.modules.pop("looks")
    (project / "looks.py").write_text(LOOKS + "\n# another paint\n")
    assert one_teacher(project, '"looks:tinted"').id != plain.id


def test_a_teacher_class_is_made_with_settings(project):
    (concept,) = load(project, concept_of("mine", '{function = "looks:Shifted", by = 2}'))
    assert concept.teacher.id == "shifted-2"
    assert concept.licence == "CC-BY-4.0"
    photo = picture(1)
    [(_, wanted)] = teach(concept.teacher, [photo], [0])
    assert np.array_equal(wanted, np.roll(photo, 2, axis=1))
    assert one_teacher(project, '"looks:SHIFTED"').by == 3


@pytest.mark.parametrize(
    "teacher", ['"looks:inverted"', '"my-pairs"', '{function = "looks:Shifted", by = 2}']
)
def test_teachers_travel_to_other_processes(project, teacher):
    made = one_teacher(project, teacher)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301 (as multiprocessing does)
    assert again.id == made.id
    photo = picture(2)
    one, other = (edit_checked(which, [photo], [1]) for which in (made, again))
    assert all(np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_a_function_needs_a_module(project):
    with pytest.raises(ValueError, match="at the top level of a module"):
        FunctionTeacher(lambda photo, seed: photo, version="1")
    with pytest.raises(ValueError, match="has no source file. Give a version"):
        FunctionTeacher(max)
    with pytest.raises(ValueError, match="n_variants must be at least 0"):
        FunctionTeacher(max, version="1", n_variants=-1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("leaves", r"'looks:leaves' failed on a photo of shape \(70, 100, 3\): SystemExit: 3"),
        ("broken", r"'looks:broken' failed on a photo of shape \(70, 100, 3\): RuntimeError: no paint left"),
        ("grey", r"'looks:grey' returned uint8 \(70, 100\), expected a uint8 \(height, width, 3\) array"),
        ("small", r"returned \(35, 50\) for a photo of \(70, 100\), which is too small for crops"),
        ("half", r"an input of \(70, 100\) and a target of \(70, 50\). Make both the same size"),
    ],
)
def test_a_mistake_of_a_function_is_explained_in_one_line(project, function, words):
    teacher = one_teacher(project, f'"looks:{function}"')
    with pytest.raises(TeacherError, match=words) as caught:
        list(teach(teacher, [picture(0)], [0]))
    assert "\n" not in str(caught.value)
    assert not list((project / "store").glob("*/*.png"))


# Mistakes in a concepts file.


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ('"no-pairs/"', r"teacher 'no-pairs/': there is no folder .*no-pairs. A teacher is a list of steps"),
        ('"looks.py"', r"teacher 'looks.py': there is no folder"),
        ('"sepia"', r'a filter is a step of a list; write \[\{operator = "sepia"\}\]'),
        ('"empty"', r"teacher: no pairs at .*empty: the folder has no images"),
        ('"lonely"', r"teacher: .*lonely: 0.png of A has no partner in B"),
        ('"single"', r"teacher: found one pair at .*single, at least two are needed"),
        ('"looks:nothing"', "teacher: module 'looks' has no 'nothing'. Write module:function"),
        ('"lookz:inverted"', "teacher: cannot import 'lookz': ModuleNotFoundError"),
        ('"bad:f"', "teacher: cannot import 'bad': SyntaxError"),
        ('"worse:f"', "teacher: cannot import 'worse': ZeroDivisionError"),
        ('"looks:NOTHING"', "teacher: 'looks:NOTHING' is int, expected a function or a Teacher"),
        ('"looks:Shifted"', "teacher: 'looks:Shifted' makes no teacher: TypeError"),
        ('{function = "looks:SHIFTED", by = 3}', "is a teacher already and takes no settings"),
        ('{function = "looks:Shifted", by = 2, variants = 2}', "chooses its variants itself"),
        ('{function = "looks:tinted", red = 1979-05-27}', "must be plain JSON values"),
        ('{function = "looks:tinted", variants = -1}', "variants must be a whole number from 0 to 10000"),
        ('{function = "looks:tinted", variants = true}', "variants must be a whole number"),
        ('{function = "looks"}', "function must be written module:function, found 'looks'"),
        ('{function = "looks:Unnamed", by = 3}', "has the id 'Shifted/by 3', expected at most 80 lower-case"),
        ('{operator = "sepia"}', "teacher must be a list of steps"),
        ('""', "teacher must be a list of steps"),
        ("7", "teacher must be a list of steps"),
        ('"json:dumps"', None),
        ('"wave:open"', "'wave' is also the module .*wave.py. Rename"),
    ],
)
def test_a_bad_teacher_is_explained_in_one_line(project, teacher, words):
    (project / "empty").mkdir()
    (project / "lonely" / "A").mkdir(parents=True)
    (project / "lonely" / "B").mkdir()
    write_image(project / "lonely" / "A" / "0.png", picture(0), force=False)
    write_folder(project / "single", n=1)
    (project / "bad.py").write_text("def f(:\n")
    (project / "worse.py").write_text("1 / 0\n")
    (project / "wave.py").write_text("open = None\n")
    path = project / "concepts.toml"
    path.write_text(concept_of("mine", teacher))
    if words is None:  # an installed module is as good as one beside the file
        assert load_concepts(path)[0].source == "json:dumps"
        return
    with pytest.raises(InvalidConcepts, match=words) as caught:
        load_concepts(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: concept 'mine': ")
    assert "\n" not in message


def test_a_family_that_is_not_known_is_refused(project):
    with pytest.raises(
        InvalidConcepts, match="concept 'mine': family must be one of colour, tone, .*'stile'"
    ):
        load(project, concept_of("mine", '"my-pairs"', 'family = "stile"'))


def test_pairs_of_a_folder_concept_are_not_written_again(project):
    (project / "concepts.toml").write_text(concept_of("mine", '"my-pairs"'))
    command = ["pairs", "--concepts", str(project / "concepts.toml"), "--out", str(project / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "the teacher of concept 'mine' is a folder of pairs already" in result.stderr
    assert not (project / "out").exists()


def test_a_folder_whose_pairs_shrink_while_it_is_used_is_refused(project):
    teacher = FolderTeacher(project / "my-pairs")
    for path in (project / "my-pairs" / "B").iterdir():
        path.unlink()
        write_image(path, picture(0, height=50), force=False)
    with pytest.raises(InvalidPairs, match="A is 100 x 70 pixels, B is 100 x 50"):
        teacher.edit([picture(0, height=33)], [0])


# Rows of an index.


def test_rows_of_filters_are_as_they_were():
    steps = (Step("sepia", (("strength", 0.5),)), Step("negative"))
    row = (
        '[{"operator": "sepia", "parameters": [["strength", 0.5]]}, '
        '{"operator": "negative", "parameters": []}]'
    )
    assert json.dumps(FilterTeacher(steps).to_json()) == row
    assert parse_teacher(row) == FilterTeacher(steps)


def test_a_row_never_runs_code_and_knows_teachers_by_their_id(project):
    teacher = one_teacher(project, '"looks:inverted"')
    row = json.dumps(teacher.to_json())
    sys.modules.pop("looks")
    absent = parse_teacher(row)
    assert "looks" not in sys.modules
    assert isinstance(absent, AbsentTeacher)
    assert absent.to_json() == teacher.to_json()
    assert parse_teacher(row, [FilterTeacher((Step("sepia"),)), teacher]) is teacher
    words = "the zoo names the teacher 'looks:inverted' and does not contain it. Give the .*--concepts"
    with pytest.raises(TeacherError, match=words):
        list(teach(absent, [picture(0)], [0]))
    made = list(teach(teacher, [picture(0)], [0]))
    read = list(teach(absent, [picture(0)], [0]))  # the store holds it
    assert np.array_equal(made[0][1], read[0][1])


@pytest.mark.parametrize(
    "row",
    [
        "{}",
        '{"name": "x", "id": "../x", "n_variants": 1}',
        '{"name": "x", "id": "X", "n_variants": 1}',
        '{"name": 3, "id": "x", "n_variants": 1}',
        '{"name": "x", "id": "x"}',
        '{"name": "x", "id": "x", "n_variants": -1}',
        '{"name": "x", "id": "x", "n_variants": 1e9}',
        '"text"',
        "[[]]",
        "[" * 100_000,
    ],
)
def test_a_row_that_names_no_teacher_is_refused(row):
    with pytest.raises(InvalidZoo, match="is not a list of steps") as caught:
        parse_teacher(row)
    assert len(str(caught.value)) < 200


def test_a_rows_name_cannot_move_the_cursor():
    absent = parse_teacher('{"name": "\\u001b[2Jlooks", "id": "x", "n_variants": 1}')
    assert absent.name == "[2Jlooks"


# The whole road.


def tiny_harvest_recipe():
    sizes = {"n_detail": 8, "n_middle": 8, "n_stages": 1, "n_upsampled": 4, "n_decoder": 8}
    shared = tiny_recipe(sizes, rank=2, head_rank=3)
    recipe = quick_recipe(HarvestRecipe("tiny", shared.network, shared.ranks))
    joint = JointStage(n_rounds=6, n_lanes=2, batch_size=2, n_photos=3)
    return replace(recipe, joint=joint, fit=replace(recipe.fit, n_steps=3, n_photos=3))


def test_own_teachers_go_through_harvest_evaluation_and_generator_training(project, photo_folder):
    text = "".join(
        [
            concept_of("brown", '[{operator = "sepia"}]'),
            concept_of("inverted", '"looks:inverted"'),
            concept_of("moved", '{function = "looks:Shifted", by = 2}'),
            concept_of("mine", '"my-pairs"'),
        ]
    )
    path = project / "concepts.toml"
    path.write_text('licence = "MIT"\n' + text)
    plan = HarvestPlan.make(tiny_harvest_recipe(), concepts_path=path, photos=photo_folder)
    report = run_harvest(plan, project / "run", project / "zoo", n_workers=1)
    assert report.failures == []
    assert report.n_checkpoints == 4
    (teacher,) = (concept.teacher for concept in plan.concepts if concept.id == "inverted")
    n_calls = len((project / "calls.log").read_text().splitlines())
    n_kept = len(list((project / "store" / teacher.id).iterdir()))
    assert n_calls == n_kept > 3  # several stages, and each photo once

    zoo = Zoo.from_pretrained(project / "zoo")
    rows = {row.concept_id: row for row in zoo.index.rows()}
    assert rows["inverted"].licence == "MIT"
    assert json.loads(rows["inverted"].teacher)["name"] == "looks:inverted"
    assert rows["mine"].psnr_untouched == pytest.approx(_untouched(project / "my-pairs"), abs=1e-3)

    mean = pytest.approx(np.mean([row.psnr for row in rows.values()]), abs=1e-3)
    command = ["evaluate", "--zoo", str(project / "zoo"), "--photos", str(photo_folder), "--json"]
    result = CliRunner().invoke(main, [*command, "--workers", "1", "--concepts", str(path)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["families"][-1]["trained"]["psnr"] == mean
    scores = evaluate(project / "zoo", concepts=path, photos=photo_folder)
    assert np.mean([one.trained.psnr for one in scores]) == mean
    with pytest.raises(TeacherError, match="the zoo names the teacher 'my-pairs' and does not contain it"):
        score_concept(
            zoo, "mine", zoo.network(zoo.mean_adapter_blocks()), load_photos(photo_folder, split="score")
        )

    data = TrainingData.from_zoo(zoo, plan.concepts)
    absent = TrainingData.from_zoo(zoo)
    assert data.teachers == tuple(concept.teacher for concept in plan.concepts)
    assert data.digest == absent.digest
    crop_plan = CropPlan(photos=photo_folder, n_varied=2, n_photos=2, crops_per_photo=2)
    make_crops(data.all_teachers, project / "crops", crop_plan, pool=Pool(1))
    crops = open_crops(absent.all_teachers, project / "crops", crop_plan)
    assert [one.shape for one in crops] == [(4, 2, 3, 64, 64)] * 4
    by_id = dict(zip(data.concept_ids, crops, strict=True))
    assert np.array_equal(by_id["inverted"][:, 1], 255 - by_id["inverted"][:, 0])

    questions = ask_about_concepts(plan.concepts)
    blocks = {concept.id: zoo.blocks(concept.id)[None] for concept in plan.concepts}
    jobs = [Job(question, {"zoo": blocks[question.concept_id]}) for question in questions]
    for measured, question in zip(
        measure(zoo, jobs, PhotoSource(photo_folder), pool=Pool(1)), questions, strict=True
    ):
        assert measured.mean("zoo").psnr == pytest.approx(rows[question.concept_id].psnr, abs=1e-3)


def _untouched(folder):
    from initzoo.pairs.scores import score_images

    pairs = FolderTeacher(folder).fixed_pairs("score", 256)
    return score_images([pair.given for pair in pairs], [pair.wanted for pair in pairs]).psnr


def test_training_patches_come_from_a_folder_too(project):
    photos = varied_photos(load_photos(split="train"), 2, seed=0)
    pairs = make_pairs(FolderTeacher(project / "my-pairs"), photos, n_pairs=5, patch_size=192, seed=0)
    assert pairs.inputs.shape == (5, 192, 192, 3)
    # Cubic resizing of a picture and of its negative differ by rounding and by clipping.
    error = np.abs(255 - pairs.inputs.astype(int) - pairs.targets)
    assert error.max() <= 1
