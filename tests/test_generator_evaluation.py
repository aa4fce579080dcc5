"""Evaluation of a weight generator: statistics with known answers, memorisation, and all of it end to end."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from zoo_fixtures import TINY_RECIPE, TinyConcept, make_zoo, random_base

from initzoo.checkpoints.base import write_base
from initzoo.checkpoints.blocks import value_mask
from initzoo.cli.generator.evaluate import command as evaluate_command
from initzoo.errors import (
    ChecksumMismatch,
    InvalidGenerator,
    InvalidWords,
    InvalidZoo,
    MissingExtra,
    OutputError,
)
from initzoo.evaluation.bootstrap import Resampling, bootstrap_means, interval
from initzoo.evaluation.cases import ask_about_zoo
from initzoo.evaluation.checkpoints import score_concept
from initzoo.evaluation.generator import (
    EvaluationSettings,
    evaluate_generator,
)
from initzoo.evaluation.generator.measuring import Job, measure, wrong_overlap
from initzoo.evaluation.generator.memorisation import DistanceScale, distance_report
from initzoo.evaluation.generator.merge import keep_further
from initzoo.evaluation.generator.statistics import gap_closed, summarise
from initzoo.generator.model import GeneratorConfig, WeightGenerator, build_denoiser
from initzoo.generator.shape import DenoiserShape
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs.photos import PhotoSource, load_photos
from initzoo.work.pool import Pool
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

COLOURS = ("red", "green", "blue", "gold", "navy", "teal")
TEACHERS = (
    '[{"operator": "negative", "parameters": []}]',
    '[{"operator": "sepia", "parameters": []}]',
)
CONCEPTS = (
    *(TinyConcept(f"{one}-fog", (f"{one} fog", f"fog in {one}"), (f"a {one} fog",)) for one in COLOURS),
    *(
        TinyConcept(
            f"{one}-night", (f"{one} night",), (f"a {one} night",), family="light", split="heldout-composed"
        )
        for one in COLOURS[:3]
    ),
    *(
        TinyConcept(f"{one}-oil", (f"{one} oil",), (), family="style", split="heldout-new")
        for one in COLOURS[3:5]
    ),
)
QUICK = Resampling(n_resamples=50)


def teachable(rows):
    """The rows with teachers that there are, each with what is new in it."""
    return [
        replace(
            row,
            teacher=TEACHERS[place % 2],
            novelty="word" if row.split == "heldout-new" else "",
        )
        for place, row in enumerate(rows)
    ]


def make_generator(zoo, seed, *, kind="joint"):
    """An untrained generator for a zoo, whose outputs differ from words to words."""
    layout = zoo.layout
    shape = DenoiserShape(n_blocks=layout.n_blocks, block_size=layout.block_size, n_word_values=8, width=48)
    blocks = zoo.all_blocks(split="train")[1]
    words = TokenVectors.tiny([*COLOURS, "fog", "night", "oil", "in", "a"], n_values=8)
    config = GeneratorConfig(
        kind, shape, layout, zoo.recipe.name, zoo.config.base_sha256, n_train_concepts=len(blocks)
    )
    denoiser = build_denoiser(kind, shape, seed=seed)
    rng = np.random.default_rng(seed)
    for name, parameter in denoiser.named_parameters():
        if name.startswith("leave"):
            parameter.data += 0.1 * parameter.data.new_tensor(rng.normal(size=parameter.shape))
    mean = np.where(value_mask(layout), blocks.mean(axis=0), 0).astype(np.float32)
    return WeightGenerator(config, denoiser, words, mean=mean, scale=np.full_like(mean, 0.5))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoos") / "asked"
    return Zoo.from_pretrained(make_zoo(folder, concepts=CONCEPTS, change=teachable))


@pytest.fixture(scope="module")
def generators(zoo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generators")
    for name, seed in (("one", 1), ("two", 2)):
        make_generator(zoo, seed).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def settings(kept_photo_folder):
    return EvaluationSettings(
        photos=PhotoSource(kept_photo_folder),
        n_overlap=3,
        n_pictures=2,
        n_ridge_wordings=2,
        resampling=QUICK,
        n_workers=1,
    )


needs_evaluated = pytest.mark.xdist_group("evaluated")
"""One process of the tests makes the evaluation that these look at, not each of them."""


@pytest.fixture(scope="module")
def evaluated(zoo, generators, settings):
    """An evaluation with two further generators, and the progress that it reported."""
    stages = []
    found = evaluate_generator(
        zoo,
        generators / "one",
        ask_about_zoo(zoo),
        settings,
        also={"unet1d": generators / "two", "reference": generators / "one"},
        callback=lambda stage, n_done, n_all: stages.append((stage, n_done, n_all)),
    )
    return SimpleNamespace(found=found, stages=stages)


# Statistics.


def test_bootstrap_interval_is_as_wide_as_the_standard_error_says():
    rng = np.random.default_rng(0)
    values = rng.normal(20, 3, size=(1, 400))
    low, high = interval(bootstrap_means(values, n_resamples=4000, seed=1)[0], 0.95)
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)


def test_bootstrap_of_two_concepts_has_three_means_in_known_shares():
    means = bootstrap_means(np.array([[0.0, 1.0]]), n_resamples=20_000, seed=0)[0]
    found, counts = np.unique(means, return_counts=True)
    assert found.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(counts / len(means), [0.25, 0.5, 0.25], atol=0.02)


def test_bootstrap_depends_on_the_seed_only():
    values = np.random.default_rng(0).normal(size=(2, 30))
    first = bootstrap_means(values, n_resamples=20, seed=4)
    np.testing.assert_array_equal(first, bootstrap_means(values, n_resamples=20, seed=4))
    assert (first != bootstrap_means(values, n_resamples=20, seed=5)).any()


def test_gap_closed_is_the_share_of_the_way_from_mean_to_trained():
    found = gap_closed(
        np.array([26.0, 16.0, 15.0, 20.0]), np.full(4, 16.0), np.array([28.5, 20.0, 20.0, 16.0])
    )
    np.testing.assert_allclose(found[:3], [0.8, 0.0, -0.25])
    assert np.isnan(found[3])


def test_summary_has_means_tenths_gap_and_paired_differences():
    psnr = {
        "generated": [20.0, 24.0, 28.0],
        "mean": [10.0, 14.0, 18.0],
        "trained": [22.5, 26.5, 30.5],
    }
    found = summarise(psnr, {name: [0.5, 0.6, 0.7] for name in psnr}, QUICK)
    assert found["n_concepts"] == 3
    assert found["psnr"] == {"generated": 24.0, "mean": 14.0, "trained": 26.5}
    assert found["psnr_10th"]["generated"] == pytest.approx(20.8)
    assert found["gap_closed"] == 0.8
    assert found["gap_closed_interval"] == [0.8, 0.8]  # all concepts differ by the same
    assert found["difference"]["mean"] == {"psnr": 10.0, "interval": [10.0, 10.0]}
    assert found["psnr_interval"]["mean"][0] < 14 < found["psnr_interval"]["mean"][1]


def test_gap_is_absent_without_a_trained_adapter_or_a_gap():
    psnr = {"generated": [20.0], "mean": [10.0]}
    assert summarise(psnr, psnr, QUICK)["gap_closed"] is None
    worse = psnr | {"trained": [9.0]}
    assert summarise(worse, worse, QUICK)["gap_closed"] is None


# Memorisation.


def test_distances_to_the_nearest_adapter_are_those_of_a_slow_loop():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(9, 2, 4)).astype(np.float32) * rng.uniform(0.1, 3, (2, 4)).astype(np.float32)
    asked = rng.normal(size=(5, 2, 4)).astype(np.float32)
    spread = train.std(axis=0)
    spread = np.maximum(spread, 0.05 * np.median(spread))

    def distance(a, b):
        return np.sqrt((((a - b) / spread) ** 2).sum())

    scale = DistanceScale(train)
    found, places = scale.nearest(asked)
    np.testing.assert_allclose(found, [min(distance(a, b) for b in train) for a in asked], rtol=1e-4)
    assert places.tolist() == [int(np.argmin([distance(a, b) for b in train])) for a in asked]
    left_out = [min(distance(a, b) for j, b in enumerate(train) if j != i) for i, a in enumerate(train)]
    np.testing.assert_allclose(scale.leave_one_out(), left_out, rtol=1e-4)


def test_copies_and_averages_are_told_from_new_adapters():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(60, 2, 8)).astype(np.float32)
    scale = DistanceScale(train)
    fresh = rng.normal(size=(30, 2, 8)).astype(np.float32)
    copies = train[:30] + rng.normal(size=(30, 2, 8)).astype(np.float32) * 0.01
    assert distance_report(scale, copies, fresh, seed=0)["ratio"] < 0.05
    report = distance_report(scale, fresh, fresh, seed=7)
    assert 0.85 < report["ratio"] < 1.15
    nearest = report["nearest_train"]
    assert nearest["average_16"] < nearest["gaussian"]
    assert nearest["trained_heldout"] == nearest["generated"]


def test_noisy_copies_are_as_far_as_asked_and_keep_padding():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(7, 2, 6)).astype(np.float32)
    train[:, 1, 4:] = 0
    scale = DistanceScale(train)
    copies = scale.noisy_copies(np.array([2, 5]), np.array([0.3, 0.01]), seed=0)
    found, places = scale.nearest(copies)
    np.testing.assert_allclose(found, [0.3, 0.01], rtol=1e-3)
    assert places.tolist() == [2, 5]
    assert (copies[:, 1, 4:] == 0).all()


def test_wrong_overlap_counts_pixels_that_both_get_wrong():
    target = np.full((4, 4, 3), 100, np.uint8)
    one, other = target.copy(), target.copy()
    one[0] += 80  # four pixels
    other[0, :2] += 80  # two of them
    other[3, 0] += 80  # one more
    one[2, 2] += 20  # off by less than a tenth of the range
    assert wrong_overlap([one], [other], [target]) == pytest.approx(2 / 5)
    assert wrong_overlap([target], [target], [target]) is None


# End to end.


def test_questions_ask_for_unseen_concepts_and_for_taught_ones_in_unseen_words(zoo):
    questions = {question.concept_id: question for question in ask_about_zoo(zoo)}
    assert questions["red-night"].words == ("red night", "a red night")
    assert questions["gold-oil"].words == ("gold oil",)
    assert questions["red-fog"].words == ("a red fog",)
    assert {question.split for question in questions.values()} == {
        "heldout-composed",
        "heldout-new",
        "train-unseen-wordings",
    }
    few = [question.split for question in ask_about_zoo(zoo, limit=2, train_limit=1)]
    assert [few.count(split) for split in sorted(set(few))] == [2, 2, 1]


def test_measuring_gives_what_evaluating_the_zoo_gives(zoo, photo_folder):
    question = next(one for one in ask_about_zoo(zoo) if one.concept_id == "red-night")
    jobs = [Job(question, {"trained": question.trained[None], "mean": zoo.mean_adapter_blocks()[None]})]
    measured = measure(zoo, jobs, PhotoSource(photo_folder), pool=Pool(1))[0]
    mean = zoo.network(zoo.mean_adapter_blocks())
    wanted = score_concept(zoo, "red-night", mean, load_photos(photo_folder, split="score"))
    assert measured.mean("trained") == wanted.trained
    assert measured.mean("mean") == wanted.mean


@needs_evaluated
def test_evaluation_has_every_split_method_and_figure(zoo, evaluated):
    found = evaluated.found
    report = json.loads(json.dumps(found.report, allow_nan=False))
    methods = {
        "generated", "kernel_ridge", "nearest", "knn", "mean", "shuffled", "unet1d", "reference", "trained",
    }  # fmt: skip
    for split, n_concepts, n_wordings in (
        ("heldout-composed", 3, 6),
        ("heldout-new", 2, 2),
        ("train-unseen-wordings", 6, 6),
    ):
        section = report[split]
        assert (section["n_concepts"], section["n_wordings"]) == (n_concepts, n_wordings)
        for key in ("psnr", "ssim", "psnr_10th", "psnr_interval", "ssim_interval"):
            assert set(section[key]) == methods
        assert set(section["difference"]) == methods - {"generated"}
        assert "gap_closed" in section
    assert set(report["heldout-composed"]["families"]) == {"light"}
    assert report["heldout-new"]["novelty"]["word"]["n_concepts"] == 2
    composed = report["heldout-composed"]
    for method in ("generated", "mean"):
        halves = [composed["wording"][name]["psnr"][method] for name in ("plain", "test")]
        assert composed["psnr"][method] == pytest.approx(np.mean(halves), abs=1e-3)
    assert report["train-unseen-wordings"]["wording"] == {}
    memory = report["memorisation"]
    assert memory["n_generated"] == 5
    assert memory["wrong_pixels"]["n_concepts"] == 3
    assert memory["nearest_train"]["generated"] > 0
    assert report["revision"] == zoo.revision
    assert len(report["generator"]) == 64
    assert set(report["also"]) == {"unet1d", "reference"}
    assert (
        report["also"]["reference"]["generator"]
        == report["generator"]
        != report["also"]["unet1d"]["generator"]
    )
    assert composed["difference_to_reference"]["unet1d"] == composed["difference"]["unet1d"]
    assert composed["difference_to_reference"]["generated"]["psnr"] == 0
    assert report["speed"]["init_ms"] > 0
    assert {"processor", "cores"} <= set(report["machine"])
    assert report["calibration"]["n_tested"] > 0
    assert found.grid.shape[2] == 3
    assert len(found.points) == 14
    assert ("measure", 11, 11) in evaluated.stages
    assert report["heldout-composed"]["psnr"]["unet1d"] != report["heldout-composed"]["psnr"]["generated"]


def test_evaluation_is_the_same_again_but_for_times(zoo, generators, settings):
    def run(seed):
        found = evaluate_generator(
            zoo, generators / "one", ask_about_zoo(zoo, limit=1, train_limit=1), replace(settings, seed=seed)
        )
        return {key: value for key, value in found.report.items() if key != "speed"}

    first = run(0)
    assert first == run(0)
    assert first["heldout-composed"]["psnr"] != run(1)["heldout-composed"]["psnr"]


def test_generator_of_another_base_is_refused(zoo, generators, settings, tmp_path):
    generator = WeightGenerator.from_pretrained(generators / "one")
    generator.config = replace(generator.config, base_sha256="0" * 64)
    generator.save_pretrained(tmp_path / "other")
    with pytest.raises(ChecksumMismatch, match="it was made for 0000"):
        evaluate_generator(zoo, tmp_path / "other", ask_about_zoo(zoo), settings)


@pytest.mark.parametrize("name", ["mean", "trained", "Regressor", "a/b", ""])
def test_names_that_are_taken_or_odd_are_refused(zoo, generators, settings, name):
    with pytest.raises(InvalidGenerator, match="cannot be called"):
        evaluate_generator(
            zoo, generators / "one", ask_about_zoo(zoo), settings, also={name: generators / "two"}
        )


def test_zoo_with_nothing_to_ask_says_so(tmp_path):
    only_train = [TinyConcept("red-fog", ("red fog",)), TinyConcept("blue-fog", ("blue fog",))]
    folder = make_zoo(tmp_path / "zoo", recipe=TINY_RECIPE, concepts=only_train)
    with pytest.raises(InvalidZoo, match="no test wordings to evaluate"):
        ask_about_zoo(Zoo.from_pretrained(folder))


def test_adapters_are_fitted_for_concepts_that_have_none(tmp_path, photo_folder):
    folder = make_zoo(tmp_path / "zoo", concepts=CONCEPTS, change=teachable)
    write_base(
        folder / "model" / "base" / "tiny",
        recipe=TINY_RECIPE,
        weights=random_base(TINY_RECIPE),
        licence="Apache-2.0",
        made_with={"fit": {"n_steps": 30, "n_photos": 2}},
        force=True,
    )
    refresh_manifest(folder)
    zoo = Zoo.from_pretrained(folder)
    question = replace(ask_about_zoo(zoo)[0], trained=None)
    zero = np.zeros((1, zoo.layout.n_blocks, zoo.layout.block_size), np.float32)
    measured = measure(
        zoo, [Job(question, {"generated": zero}, fit=True)], PhotoSource(photo_folder), pool=Pool(1)
    )[0]
    assert measured.fitted.shape == zero.shape[1:]
    assert measured.mean("trained").psnr > measured.mean("generated").psnr


def test_plots_say_early_that_they_need_matplotlib(zoo, monkeypatch, tmp_path):
    monkeypatch.setattr("initzoo.evaluation.report.plots.find_spec", lambda name: None)
    result = run_command("--zoo", zoo.folder, "--out", tmp_path / "out")
    assert isinstance(result.exception, MissingExtra)
    assert "initzoo[bench]" in str(result.exception)


def run_command(*words):
    return CliRunner().invoke(evaluate_command, [str(word) for word in words])


def test_command_writes_figures_pictures_and_calibration(zoo, generators, photo_folder, tmp_path):
    out = tmp_path / "out"
    words = ["--zoo", zoo.folder, "--generator", generators / "one", "--photos", photo_folder, "--workers", 1]
    result = run_command(*words, "--out", out, "--limit", 3, "--train-limit", 2)
    assert result.exit_code == 0, result.output
    assert "heldout-composed  3 concepts, 6 wordings" in result.stdout
    assert "memorisation" in result.stdout
    report = json.loads((out / "evaluation.json").read_text())
    assert report["heldout-new"]["n_concepts"] == 2
    for name in ("grid.png", "scatter.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert (out / "calibration.json").is_file()
    again = run_command(*words, "--out", out)
    assert isinstance(again.exception, OutputError)
    assert "evaluation.json exists already" in str(again.exception)


def test_card_of_the_model_tells_what_was_measured(photo_folder, tmp_path):
    asked = Zoo.from_pretrained(make_zoo(tmp_path / "asked", concepts=CONCEPTS, change=teachable))
    generator = make_generator(asked, 1)
    generator.config = replace(
        generator.config,
        text={"encoder": "an-encoder", "licence": "Apache-2.0"},
        training={
            "n_wordings": 12345,
            "weights": {"n_steps": 0},
            "behaviour": {"n_steps": 8},
            "start": {"weights": {"n_steps": 7}, "behaviour": {"n_steps": 1000}},
        },
    )
    model = asked.folder / "model"
    generator.save_pretrained(model / "weight_generator" / "tiny")
    refresh_manifest(asked.folder)
    asked = Zoo.from_pretrained(asked.folder)
    other = tmp_path / "other"
    second = make_generator(asked, 2)
    second.config = replace(
        second.config,
        training={"regressor": True, "weights": {"n_steps": 5}, "behaviour": {"n_steps": 6}, "seed": 0},
    )
    second.save_pretrained(other)
    generator.config = replace(
        generator.config,
        training={**second.config.training, "regressor": False, "weights": {"n_steps": 5000}},
    )
    generator.save_pretrained(tmp_path / "reference")
    done = run_command(
        "--zoo", asked.folder, "--photos", photo_folder, "--out", model, "--also", f"regressor={other}",
        "--also", f"reference={tmp_path / 'reference'}", "--workers", 1, "--calibrate",
        "--limit", 2, "--train-limit", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    card, report = (model / "README.md").read_text(), json.loads((model / "evaluation.json").read_text())
    assert "12,345 wordings" in card
    assert "an-encoder (Apache-2.0)" in card
    assert "(7 steps)" in card
    assert "(1,008 steps)" in card
    for method in ("kernel_ridge", "regressor", "generated"):
        assert f"{report['heldout-composed']['psnr'][method]:.2f} [" in card
    assert "| regressor | `regressor` true | 5 + 6 |" in card
    assert "| reference |  | 5,000 + 6 |" in card
    lead = report["heldout-composed"]["difference_to_reference"]["regressor"]
    assert f"\\| {-lead['psnr']:+.2f} [{-lead['interval'][1]:.2f}, {-lead['interval'][0]:.2f}]" in card
    share = report["heldout-composed"]["gap_closed"]
    assert (f"| {share:.3f} [" if share is not None else "| - |") in card
    assert "| new word |" in card


def test_command_asks_for_concepts_of_ones_own(zoo, generators, photo_folder, tmp_path):
    concepts = tmp_path / "mine.toml"
    concepts.write_text(
        '[[concept]]\nid = "mine"\nprompts = ["gold night"]\nteacher = [{operator = "sepia"}]\n'
        '[[concept]]\nid = "too"\nprompts = ["navy fog", "b"]\nteacher = [{operator = "negative"}]\n'
    )
    words = ["--zoo", zoo.folder, "--generator", generators / "one", "--concepts", concepts]
    result = run_command(*words, "--photos", photo_folder, "--workers", 1, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    own = report["own-concepts"]
    assert own["n_concepts"] == 2
    assert "trained" not in own["psnr"]
    assert own["gap_closed"] is None
    assert report["memorisation"] is None
    concepts.write_text('[[concept]]\nid = "odd"\nprompts = ["xyzzy"]\nteacher = [{operator = "sepia"}]\n')
    bad = run_command(*words, "--workers", 1)
    assert isinstance(bad.exception, InvalidWords)


@pytest.mark.parametrize("given", ["regressor", "=folder", "name="])
def test_command_says_how_a_further_generator_is_named(given):
    result = run_command("--also", given)
    assert result.exit_code != 0


@needs_evaluated
def test_figures_of_further_generators_are_kept_from_an_earlier_evaluation(
    zoo, generators, settings, evaluated, photo_folder, tmp_path
):
    earlier = evaluated.found.report
    report = evaluate_generator(zoo, generators / "two", ask_about_zoo(zoo), settings).report
    kept = keep_further(report, earlier)
    assert report["also"] == {}
    composed, before = kept["heldout-composed"], earlier["heldout-composed"]
    assert composed["psnr"]["unet1d"] == before["psnr"]["unet1d"]
    assert (
        composed["families"]["light"]["ssim"]["reference"] == before["families"]["light"]["ssim"]["reference"]
    )
    assert composed["psnr"]["generated"] == report["heldout-composed"]["psnr"]["generated"]
    lead = before["difference_to_reference"]["unet1d"]
    assert composed["difference_to_reference"] == {"unet1d": lead}  # not what is other now: ours, and ridge
    assert kept["also"]["unet1d"]["evaluated_beside"] == earlier["generator"] != kept["generator"]
    new = earlier["heldout-new"]  # as many concepts, but not the same ones
    moved = {**new, "psnr": {**new["psnr"], "mean": new["psnr"]["mean"] + 1}}
    for other, said in (
        (earlier | {"revision": "0" * 40}, "is of another zoo or revision"),
        (earlier | {"heldout-new": {**earlier["heldout-new"], "n_concepts": 1}}, "is of other concepts"),
        (earlier | {"heldout-new": moved}, "is of other concepts"),
        (report, "has no further generators"),
    ):
        with pytest.raises(InvalidGenerator, match=said):
            keep_further(report, other)
    with pytest.raises(InvalidGenerator, match="has a generator 'unet1d' as well"):
        keep_further(kept, earlier)
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(earlier | {"zoo": "another"}))
    early = run_command(
        *("--zoo", zoo.folder, "--generator", generators / "one"),
        *("--photos", photo_folder / "none", "--also-from", path),
    )
    assert "is of another zoo" in str(early.exception)  # before the photos are even looked for
    path.write_text("{}")
    result = run_command(
        *("--zoo", zoo.folder, "--generator", generators / "one"),
        *("--photos", photo_folder, "--also-from", path),
    )
    assert isinstance(result.exception, InvalidGenerator)
    assert str(result.exception).startswith(f"cannot take figures from {path}")
