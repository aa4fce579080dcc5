"""Training of the weight generator: what it may see, resuming, processes, and that it learns."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from zoo_fixtures import add_generator, make_zoo, tiny_recipe

import initzoo.training.generator.loop as loop
from initzoo.cli.generator import command as generator_group
from initzoo.errors import InvalidGenerator, TrainingError
from initzoo.generator.encoders import WordsEncoder
from initzoo.generator.model import WeightGenerator, build_denoiser
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs.concepts import Concept
from initzoo.pairs.photos import Photo
from initzoo.pairs.teachers import FilterTeacher, Step
from initzoo.training.generator import (
    CropPlan,
    GeneratorSettings,
    Stage,
    TrainingData,
    make_crops,
    train_generator,
)
from initzoo.training.generator.crops import open_crops
from initzoo.training.generator.objectives import BehaviourObjective, WeightObjective
from initzoo.training.generator.sensitivity import measure_sensitivity
from initzoo.training.generator.settings import mask_of, normalisation
from initzoo.work.pool import Pool
from initzoo.zoo.zoo import Zoo

pytestmark = pytest.mark.xdist_group("generator-training")  # one process makes the training of `trained`

TEACHER = '[{"operator": "negative", "parameters": []}]'
VOCABULARY = (
    "pencil sketch make it look like a drawing duotone navy to gold shadows lights watercolour paint in water"
)


@pytest.fixture(scope="module")
def zoo_folder(tmp_path_factory):
    def with_teachers(rows):
        return [replace(row, teacher=TEACHER) for row in rows]

    return make_zoo(tmp_path_factory.mktemp("zoos") / "taught", change=with_teachers)


@pytest.fixture(scope="module")
def data(zoo_folder):
    return TrainingData.from_zoo(Zoo.from_pretrained(zoo_folder))


@pytest.fixture(scope="module")
def words():
    return TokenVectors.tiny(VOCABULARY.split(), n_values=8)


@pytest.fixture(autouse=True)
def brief_measurement(monkeypatch):
    """Sensitivity is measured as always, on fewer crops: it would take longer than the training."""
    brief = partial(measure_sensitivity, n_rounds=4)
    monkeypatch.setattr("initzoo.training.generator.run.measure_sensitivity", brief)


@pytest.fixture(scope="module")
def trained(data, words, kept_photo_folder, tmp_path_factory):
    """An undisturbed training of both stages in this process, with which others are compared."""
    return train(data, words, quick(), tmp_path_factory.mktemp("trained") / "run", kept_photo_folder)


@pytest.fixture(scope="module")
def trained_bytes(trained, tmp_path_factory):
    return bytes_of(trained, tmp_path_factory.mktemp("trained") / "generator")


def plan_for(folder):
    return CropPlan(photos=folder, n_varied=2, n_photos=2, crops_per_photo=2, crop_size=32)


def quick(**changes):
    settings = GeneratorSettings(
        encoder="words",
        weights=Stage(5, 4, 1e-3, n_warmup=2),
        behaviour=Stage(4, 2, 1e-3, n_warmup=2),
        by_sensitivity=False,
        block_size=16,
        width=48,
        n_lanes=2,
        word_noise=0.0,
        n_fillers=0,
    )
    return replace(settings, **changes)


def train(data, words, settings, run, photos, **options):
    options = {"n_workers": 1, "crop_plan": plan_for(photos)} | options
    return train_generator(data, words, settings, run, **options)


def bytes_of(generator, folder):
    generator.save_pretrained(folder, force=True)
    return (folder / "model.safetensors").read_bytes()


def test_only_train_concepts_and_their_train_wordings_are_seen(data):
    assert "night" not in data.concept_ids
    assert "remove-haze" not in data.concept_ids
    assert len(data.concept_ids) == 4
    assert not any("graphite" in prompt for prompts in data.prompts for prompt in prompts)


def test_a_smaller_share_is_part_of_a_larger_one(data):
    half, others = data.take(0.5, seed=0)
    most, _ = data.take(0.75, seed=0)
    assert set(half.concept_ids) < set(most.concept_ids) < set(data.concept_ids)
    assert sorted(half.concept_ids + others.concept_ids) == sorted(data.concept_ids)


def test_an_accelerator_trains_on_batches_that_are_drawn_ahead(
    data, words, trained_bytes, tmp_path, kept_photo_folder
):
    # Any device but the plain one takes this way; with the cores as a device, even the bytes agree.
    options = {"device": torch.device("cpu", 0), "n_workers": 2}
    other = train(data, words, quick(), tmp_path / "run", kept_photo_folder, **options)
    assert bytes_of(other, tmp_path / "a") == trained_bytes


def test_a_generator_of_another_zoo_passes_on_how_words_are_read(data, words, tmp_path, photo_folder):
    none = Stage(0, 4, 1e-3)
    taught = train(data, words, quick(behaviour=none), tmp_path / "run", photo_folder)
    untrained = quick(weights=Stage(1, 4, 1e-12, n_warmup=0), behaviour=none, block_size=32)  # other blocks
    taken = train(data, words, untrained, tmp_path / "run", photo_folder, transfer=taught)
    fresh = train(data, words, untrained, tmp_path / "run", photo_folder)
    old, new, plain = taught.named_weights(), taken.named_weights(), fresh.named_weights()
    shared = {name for name, value in old.items() if value.shape == new[name].shape}
    assert {"words.learned", "words.project.weight", "to_words.0.query.weight"} <= shared
    for name in shared:
        torch.testing.assert_close(new[name], old[name], atol=1e-4, rtol=0)
    for name in set(new) - shared:
        torch.testing.assert_close(new[name], plain[name], atol=1e-4, rtol=0)
    assert taken.config.training["transfer"]["block_size"] == 16
    others = TokenVectors.tiny([*VOCABULARY.split(), "zebra"], n_values=8)
    with pytest.raises(TrainingError, match="--transfer has another text model. Name its own with --text"):
        train(data, others, untrained, tmp_path / "run", photo_folder, transfer=taught)


def test_normalisation_has_a_floor_and_leaves_padding_alone(data):
    mask = mask_of(data.recipe, 16)
    blocks = data.blocks.copy()
    blocks[:, 0, 0] = 3.0
    mean, scale = normalisation(blocks, mask, floor=0.05)
    assert mean[0, 0] == 3.0
    assert scale[0, 0] == pytest.approx(0.05 * np.median(blocks.std(axis=0)[mask]), rel=1e-4)
    assert (mean[~mask] == 0).all()
    assert (scale[~mask] == 1).all()
    assert (scale > 0).all()


def test_word_lessons_draw_wordings_of_the_right_concepts(data, words):
    def lessons(**changes):
        return WordsEncoder(words).lessons(data, quick(**changes))

    rng = np.random.default_rng(0)
    concepts = np.array([0, 1, 2, 3] * 20)
    batch = lessons(token_dropout=0.0).draw(concepts, rng)
    for row, concept in enumerate(concepts):
        vectors = batch.vectors[row][batch.mask[row]].numpy()
        known = [words.encode_as_sequence(prompt) for prompt in data.prompts[concept]]
        assert any(np.array_equal(vectors, sequence) for sequence in known)
    thinned = lessons(token_dropout=0.9).draw(concepts, rng)
    assert thinned.mask.any(dim=1).all()
    assert thinned.mask.sum() < batch.mask.sum()
    assert not lessons(words_dropout=1.0).draw(concepts, rng).mask.any()


def test_half_of_the_wordings_are_filled_with_frequent_words_that_none_holds(data):
    words = TokenVectors.tiny([*VOCABULARY.split(), "could", "you", "please"], n_values=64)
    taught = {token for prompts in data.prompts for prompt in prompts for token in words.tokenise(prompt)}
    fillers = words.frequent_tokens(100, without=sorted(taught))
    assert {"could", "you", "please"} <= {words._tokenizer.id_to_token(token) for token in fillers}
    concepts = np.array([0, 1, 2, 3] * 25)
    settings = quick(token_dropout=0.0, learned_dropout=0.0, n_fillers=3)
    batch = WordsEncoder(words).lessons(data, settings).draw(concepts, np.random.default_rng(0))
    added = 0
    for row, concept in enumerate(concepts):
        is_taught = batch.learned[row].numpy() > 0
        known = batch.mask[row].numpy()
        sequences = [words.encode_as_sequence(prompt) for prompt in data.prompts[concept]]
        assert any(np.array_equal(batch.vectors[row].numpy()[is_taught], one) for one in sequences)
        assert 0 <= known.sum() - is_taught.sum() <= 3
        added += known.sum() > is_taught.sum()
    assert 30 < added < 70


def test_words_near_to_a_taught_one_are_no_fillers(data):
    drawn = TokenVectors.tiny([*VOCABULARY.split(), "almost", "please"], n_values=8)
    floats = drawn.vectors_of(range(len(drawn.values)))
    ids = {name: drawn._tokenizer.token_to_id(name) for name in ("sketch", "almost", "please")}
    floats[ids["almost"]] = 1.1 * floats[ids["sketch"]]
    floats[ids["please"]] = -floats.sum(axis=0)  # like none of them
    words = TokenVectors.from_floats(drawn.tokenizer_json, floats)
    assert words.neighbours_of([ids["sketch"]], least_cosine=0.95, n_most=3) == [[ids["almost"]]]
    lessons = WordsEncoder(words).lessons(data, quick())
    fillers = {tuple(vector) for vector in lessons.vectors[-lessons.n_fillers :].tolist()}
    almost, please = (tuple(row) for row in words.vectors_of([ids["almost"], ids["please"]]).tolist())
    assert almost not in fillers
    assert please in fillers


def test_training_goes_on_from_a_generator_with_the_second_stage(
    data, words, trained, trained_bytes, kept_photo_folder, tmp_path
):
    photo_folder, first = kept_photo_folder, trained
    first.save_pretrained(tmp_path / "first")
    start = WeightGenerator.from_pretrained(tmp_path / "first")
    still = quick(behaviour=replace(quick().behaviour, n_steps=0))
    same = train(data, words, still, tmp_path / "run", photo_folder, start=start)
    assert bytes_of(same, tmp_path / "a") == trained_bytes
    further = train(data, words, quick(), tmp_path / "run", photo_folder, start=start)
    assert bytes_of(further, tmp_path / "b") != trained_bytes
    assert further.config.training["start"] == first.config.training
    with pytest.raises(TrainingError, match="of --start has another base"):
        train(data, words, quick(width=96), tmp_path / "run", photo_folder, start=start)


def test_lanes_share_out_a_batch(data, words):
    settings = quick()
    objective = WeightObjective(data, settings, WordsEncoder(words).lessons(data, settings))
    seen = [objective._draws.draw(3, lane).concepts for lane in (0, 1)]
    assert sorted(np.concatenate(seen)) == [0, 1, 2, 3]


def test_blocks_cut_anew_hold_the_same_values(data):
    mask = mask_of(data.recipe, 32)
    again = data.cut_blocks(32)
    assert again.shape == (4, *mask.shape)
    assert np.array_equal(again[:, mask], data.blocks[:, mask_of(data.recipe, 16)])


def test_crops_are_teachers_pairs_and_are_made_once(data, photo_folder, tmp_path):
    plan, folder = plan_for(photo_folder), tmp_path / "crops"
    folder.mkdir()
    make_crops(data.teachers, folder, plan, pool=Pool(1))
    (path,) = folder.iterdir()
    before = path.stat().st_mtime_ns
    crops = open_crops(data.teachers, folder, plan)
    assert crops[0].shape == (4, 2, 3, 32, 32)
    assert np.array_equal(crops[0][:, 1], 255 - crops[0][:, 0])
    make_crops(data.teachers, folder, plan, pool=Pool(1))
    assert path.stat().st_mtime_ns == before


def test_stopped_training_goes_on_to_the_same_bytes(
    data, words, trained_bytes, kept_photo_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "SNAPSHOT_EVERY", 2)
    monkeypatch.setattr("initzoo.training.lanes.REPORT_SECONDS", -1.0)
    photo_folder = kept_photo_folder

    class Stopped(Exception):
        pass

    for stage, place in (("weights", 3), ("behaviour", 3)):

        def stop(at, n_done, n_all, loss, stage=stage, place=place):
            if (at, n_done) == (stage, place):
                raise Stopped

        with pytest.raises(Stopped):
            train(data, words, quick(), tmp_path / "parts", photo_folder, callback=stop)
    parts = bytes_of(train(data, words, quick(), tmp_path / "parts", photo_folder), tmp_path / "a")
    assert parts == trained_bytes


def test_two_processes_give_the_same_bytes_as_one(data, words, trained_bytes, kept_photo_folder, tmp_path):
    two = train(data, words, quick(), tmp_path / "two", kept_photo_folder, n_workers=2)
    assert bytes_of(two, tmp_path / "a") == trained_bytes


def test_bfloat16_trains_nearly_the_same_and_the_same_every_time(
    data, words, trained, kept_photo_folder, tmp_path
):
    plain = trained.flat_weights()
    short, again = (
        train(data, words, quick(bfloat16=True), tmp_path / name, kept_photo_folder).flat_weights()
        for name in ("short", "again")
    )
    assert torch.equal(short, again)
    assert not torch.equal(short, plain)
    start = build_denoiser("joint", trained.config.shape, seed=0)
    begun = torch.cat([parameter.detach().flatten() for parameter in start.parameters()])
    assert torch.cosine_similarity(short - begun, plain - begun, dim=0) > 0.9


def test_other_seed_other_weights(data, words, photo_folder, tmp_path):
    settings = quick(behaviour=replace(quick().behaviour, n_steps=0))
    one = bytes_of(train(data, words, settings, tmp_path / "run", photo_folder), tmp_path / "a")
    two = bytes_of(
        train(data, words, replace(settings, seed=1), tmp_path / "run", photo_folder), tmp_path / "a"
    )
    assert one != two


@pytest.mark.parametrize(
    "changes", [{"kind": "unet", "block_size": 32}, {"regressor": True}, {"pooled_words": True}]
)
def test_variants_train_with_the_same_code(data, words, photo_folder, tmp_path, changes):
    short = {"weights": Stage(3, 4, 1e-3, n_warmup=1), "behaviour": Stage(2, 2, 1e-3, n_warmup=1)}
    result = train(data, words, quick(**short, **changes), tmp_path / "run", photo_folder)
    assert result.generate("navy to gold").shape == data.blocks.shape[1:]
    assert result.config.is_regressor == bool(changes.get("regressor"))


def test_training_learns_which_words_mean_which_weights(data, words, photo_folder, tmp_path):
    settings = quick(
        weights=Stage(150, 8, 3e-3, n_warmup=10), behaviour=Stage(0, 2, 1e-3), token_dropout=0.0, ema=0.9
    )
    result = train(data, words, settings, tmp_path / "run", photo_folder)
    mean = data.blocks.mean(axis=0)
    forwards, backwards = result.generate_many(["duotone, navy to gold", "duotone, gold to navy"])
    place = data.concept_ids.index
    for blocks, concept in ((forwards, "navy-to-gold"), (backwards, "gold-to-navy")):
        target = data.blocks[place(concept)]
        assert np.square(blocks - target).sum() < 0.2 * np.square(mean - target).sum()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == lines[-1]["n_steps"] == 150


def test_behaviour_stage_changes_the_denoiser_and_leaves_the_base(data, words, photo_folder, tmp_path):
    plan, settings = plan_for(photo_folder), quick()
    make_crops(data.teachers, tmp_path, plan, pool=Pool(1))
    lessons = WordsEncoder(words).lessons(data, settings)
    objective = BehaviourObjective(data, settings, lessons, crops=tmp_path, crop_plan=plan)
    shape = settings.shape(n_blocks=data.blocks.shape[1], n_word_values=8)
    denoiser = build_denoiser("joint", shape, seed=0)
    loss = objective.loss(denoiser, objective.draw(0, 0))
    loss.backward()
    assert loss.isfinite()
    assert denoiser.leave.grad.abs().sum() > 0
    assert objective.base.values.grad is None


def test_the_last_tenth_of_the_behaviour_stage_sees_whole_crops(data, words, photo_folder, tmp_path):
    plan = plan_for(photo_folder)
    make_crops(data.teachers, tmp_path, plan, pool=Pool(1))
    settings = quick(crop_size=plan.crop_size // 2, behaviour=replace(quick().behaviour, n_steps=10))
    lessons = WordsEncoder(words).lessons(data, settings)
    objective = BehaviourObjective(data, settings, lessons, crops=tmp_path, crop_plan=plan)
    denoiser = build_denoiser("joint", settings.shape(n_blocks=data.blocks.shape[1], n_word_values=8), seed=0)
    sides, run = [], objective.base.forward
    objective.base.forward = lambda images, adapters: (
        sides.append(images.shape[-1]),
        run(images, adapters),
    )[1]
    for step in (0, 8, 9):
        objective.loss(denoiser, objective.draw(step, 0))
    assert sides == [plan.crop_size // 2, plan.crop_size // 2, plan.crop_size]


def test_flat_adapters_have_the_networks_order(data, words, photo_folder, tmp_path):
    from initzoo.checkpoints.blocks import join_blocks
    from initzoo.networks.adapters import adapter_from_arrays

    plan = plan_for(photo_folder)
    make_crops(data.teachers, tmp_path, plan, pool=Pool(1))
    for block_size in (16, 32):
        settings = quick(block_size=block_size)
        lessons = WordsEncoder(words).lessons(data, settings)
        objective = BehaviourObjective(data, settings, lessons, crops=tmp_path, crop_plan=plan)
        mean, scale = normalisation(data.cut_blocks(block_size), mask_of(data.recipe, block_size), floor=0.05)
        residual = torch.from_numpy((data.cut_blocks(block_size)[1] - mean) / scale)[None]
        expected = adapter_from_arrays(
            join_blocks(data.blocks[1], data.recipe.layout), dict(data.recipe.layout.tensors)
        )
        torch.testing.assert_close(objective.to_adapters(residual)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_loss_that_is_no_number_stops_the_training(data, words, photo_folder, tmp_path):
    broken = replace(data, blocks=np.where(data.blocks == data.blocks.max(), np.float32(np.nan), data.blocks))
    with pytest.raises(TrainingError, match="is not finite at step 0"):
        train(broken, words, quick(), tmp_path / "run", photo_folder)


def test_a_damaged_snapshot_is_named(data, words, photo_folder, tmp_path):
    settings = quick(behaviour=replace(quick().behaviour, n_steps=0))
    train(data, words, settings, tmp_path / "run", photo_folder)
    (snapshot,) = (tmp_path / "run").glob("weights-*/snapshots/*/state.safetensors")
    snapshot.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="is damaged"):
        train(data, words, settings, tmp_path / "run", photo_folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "other"}, "kind must be"),
        ({"train_share": 0.0}, "train_share"),
        ({"n_lanes": 3}, "3 lanes"),
        ({"crop_size": 30}, "multiple of 4"),
        ({"width": 50}, "multiple of 48"),
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, muon"),
        ({"medium_share": 1.5}, "medium_share must be from 0 to 1"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        quick(**changes)


def test_a_rate_that_never_falls_is_refused():
    with pytest.raises(ValueError, match="n_held must be at most n_steps, 10, found 11"):
        Stage(10, 2, 1e-3, n_held=11)
    assert Stage(0, 2, 1e-3, n_held=11).n_steps == 0  # a stage that is left out


def test_settings_of_the_second_stage_leave_the_first_as_it_is(data, words, photo_folder, tmp_path):
    short = quick(weights=Stage(3, 4, 1e-3, n_warmup=1), behaviour=Stage(2, 2, 1e-3, n_warmup=1))
    for changed in (short, replace(short, log_error=True, medium_share=0.5)):
        train(data, words, changed, tmp_path / "run", photo_folder)
    stages = [path.name.split("-")[0] for path in (tmp_path / "run").iterdir() if path.is_dir()]
    assert (stages.count("weights"), stages.count("behaviour")) == (1, 2)


def test_more_crops_than_there_are_stop_it_at_once(data, words, photo_folder, tmp_path):
    with pytest.raises(TrainingError, match="cannot use 5 crops of a concept: each has 4"):
        train(data, words, quick(n_crops=5), tmp_path / "run", photo_folder)


def test_other_photos_in_the_same_folder_are_other_crops(photo_folder):
    before = plan_for(photo_folder)
    teacher = FilterTeacher((Step("sepia"),))
    assert before.name_of(teacher) == plan_for(photo_folder).name_of(teacher)
    (photo_folder / "cup.jpg").unlink()
    assert before.name_of(teacher) != plan_for(photo_folder).name_of(teacher)


def test_command_trains_a_generator_that_loads(zoo_folder, words, photo_folder, tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for name, content in words.to_files().items():
        (text / name).write_bytes(content)
    command = [
        "train",
        "--quick",
        "--zoo",
        str(zoo_folder),
        "--encoder",
        "words",
        "--text",
        str(text),
        "--photos",
        str(photo_folder),
    ]
    command += ["--weight-batch", "4", "--behaviour-batch", "2", "--workers", "1", "--block-size", "128"]
    result = CliRunner().invoke(generator_group, [*command, "--out", str(tmp_path / "new"), "--json"])
    assert result.exit_code == 0, result.output
    config = json.loads(result.stdout)["config"]
    assert config["n_train_concepts"] == 2  # --quick learns from a tenth, but two at least
    loaded = WeightGenerator.from_pretrained(tmp_path / "new")
    assert (
        loaded.generate("navy to gold").shape == Zoo.from_pretrained(zoo_folder).blocks("navy-to-gold").shape
    )
    again = CliRunner().invoke(generator_group, [*command, "--out", str(tmp_path / "new")])
    assert again.exit_code == 1
    further = [*command, "--start", str(tmp_path / "new"), "--out", str(tmp_path / "further")]
    result = CliRunner().invoke(generator_group, further)
    n_steps = config["training"]["behaviour"]["n_steps"]
    assert result.stdout.startswith(f"joint  2 concepts  0 + {n_steps} steps  "), result.output


def test_sensitivity_of_a_bias_is_the_share_of_pixels_it_moves():
    sizes = {"n_detail": 4, "n_middle": 4, "n_stages": 1, "n_upsampled": 1, "n_decoder": 4}
    base = tiny_recipe(
        sizes, rank=1, head_rank=1
    ).build_base()  # on untouched photos, far from white and black
    base.requires_grad_(False)
    base.values.zero_()
    grey = np.full((256, 256, 3), 120, np.uint8)
    photos = [Photo("grey", grey, "train", "CC0-1.0", "a test")]
    adapters = np.zeros((2, base.n_adapter_values), np.float32)
    found = measure_sensitivity(base, adapters, photos, crop_size=32, n_rounds=64)
    biases = base.adapter_tensor("head.bias", torch.from_numpy(found))
    assert float(biases.mean()) == pytest.approx(1 / 12, rel=0.1)
    assert not base.adapter_tensor("detail.B", torch.from_numpy(found)).any()


def test_training_may_weigh_errors_by_sensitivity(data, words, photo_folder, tmp_path):
    settings = quick(by_sensitivity=True, word_noise=0.3, behaviour=replace(quick().behaviour, n_steps=0))
    one = bytes_of(train(data, words, settings, tmp_path / "run", photo_folder), tmp_path / "a")
    assert next((tmp_path / "run").glob("weights-*/sensitivity.npy")).stat().st_size > 0
    assert bytes_of(train(data, words, settings, tmp_path / "run", photo_folder), tmp_path / "a") == one


def test_practice_gives_half_of_the_second_stage_and_no_target_of_weights(
    data, words, photo_folder, tmp_path
):
    more = Concept("fade", "tone", "train", "", data.teachers[0], ("make it a gold drawing",), (), "", "")
    known = Concept(data.concept_ids[0], "tone", "train", "", data.teachers[0], ("paint",), (), "", "")
    widened = data.with_practice([more, known])
    assert [concept.id for concept in widened.practice] == ["fade"]
    assert widened.prompts[0] == (*data.prompts[0], "paint")
    assert widened.digest != data.digest
    plan, settings = plan_for(photo_folder), quick()
    make_crops(widened.all_teachers, tmp_path, plan, pool=Pool(1))
    lessons = WordsEncoder(words).lessons(widened, settings)
    objective = BehaviourObjective(widened, settings, lessons, crops=tmp_path, crop_plan=plan)
    seen = [objective._draws.draw(step, lane) for step in range(20) for lane in (0, 1)]
    practised = [part.concepts == len(data.concept_ids) for part in seen]
    assert sum(map(sum, practised)) == 20  # one of the two concepts of each step
    for part, mask in zip(seen, practised, strict=True):
        assert (part.timesteps.numpy()[mask] == 1).all()
        assert not part.clean.numpy()[mask].any()
    first = WeightObjective(widened, settings, lessons)
    assert max(first._draws.draw(step, 0).concepts.max() for step in range(20)) < len(data.concept_ids)


def test_the_curve_of_both_stages_lies_beside_the_generator(zoo_folder, words, photo_folder, tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for name, content in words.to_files().items():
        (text / name).write_bytes(content)
    command = [
        "train",
        "--quick",
        "--zoo",
        zoo_folder,
        "--encoder",
        "words",
        "--text",
        text,
        "--photos",
        photo_folder,
        "--workers",
        1,
    ]
    command += ["--weight-batch", 4, "--weight-steps", 3, "--behaviour-batch", 2, "--behaviour-steps", 2]
    command += ["--block-size", 128, "--json"]

    def run(*further):
        return CliRunner().invoke(generator_group, [*map(str, [*command, *further])])

    result = run("--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["curve"] == str(tmp_path / "new.curve.csv")
    with open(told["curve"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    last = {row["stage"]: int(row["step"]) for row in rows}
    assert last == {"weights": 3, "behaviour": 2}
    assert all(float(row["loss"]) > 0 and float(row["learning_rate"]) > 0 for row in rows)
    assert {row["psnr"] for row in rows} == {""}
    # Another training from the same run folder keeps the first stage, and its curve.
    again = run("--out", tmp_path / "other", "--run", tmp_path / "new.run", "--behaviour-steps", 3)
    assert again.exit_code == 0, again.output
    with open(tmp_path / "other.curve.csv", newline="", encoding="utf-8") as file:
        others = list(csv.DictReader(file))
    assert [row for row in others if row["stage"] == "weights"] == [
        row for row in rows if row["stage"] == "weights"
    ]
    taken = run("--out", tmp_path / "third", "--curve", tmp_path / "other.curve.csv")
    assert taken.exit_code == 1
    assert "other.curve.csv exists already" in taken.stderr


def test_a_zoo_without_a_phrase_encoder_takes_the_bundled_one(zoo_folder, tmp_path):
    """As the help of --text says; token vectors are those of the zoo's weight generator, or named."""
    from initzoo.cli.generator.train import _text_folder
    from initzoo.pairs.concepts import catalog_folder

    zoo = Zoo.from_pretrained(zoo_folder)
    assert not zoo.has_generator
    assert _text_folder(zoo, "phrases") == catalog_folder() / "model" / "phrase_encoder"
    with pytest.raises(InvalidGenerator, match="no text model for the encoder 'words'. Name its folder"):
        _text_folder(zoo, "words")
    own = make_zoo(tmp_path / "own")
    add_generator(own)
    folder = own / "model" / "weight_generator" / "tiny" / "text"
    assert _text_folder(Zoo.from_pretrained(own), "words") == folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_lanes": 0}, "n_lanes must be at least 1, found 0"),
        ({"n_lanes": -2}, "n_lanes must be at least 1"),
        ({"words_dropout": 1.5}, "words_dropout must be from 0 to 1"),
        ({"learned_dropout": float("nan")}, "learned_dropout must be from 0 to 1"),
        ({"block_size": 10**30}, "block_size must be at most 65536"),
    ],
)
def test_settings_out_of_range_name_the_setting(change, said):
    with pytest.raises(ValueError, match=said):
        quick(**change)
