"""The benchmark: ladders with known answers, tuning, resuming, and all of it end to end on a tiny zoo."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from test_generator_evaluation import CONCEPTS, make_generator, teachable
from torch import nn
from zoo_fixtures import make_zoo

import initzoo.evaluation.benchmark.jobs as jobs_module
from initzoo.cli.main import main
from initzoo.errors import BenchmarkError, InvalidGenerator, InvalidZoo, OutputError
from initzoo.evaluation.benchmark import QUICK_BENCHMARK, BenchmarkSettings, choose_concepts, run_benchmark
from initzoo.evaluation.benchmark.figures import benchmark_tables, draw_curves, draw_ratios
from initzoo.evaluation.benchmark.jobs import Job, Outcome, edit_in_tiles
from initzoo.evaluation.benchmark.time_to_quality import Rung, TimeToTarget, compare, median_seconds, time_to
from initzoo.evaluation.benchmark.tuning import tune
from initzoo.evaluation.bootstrap import Resampling
from initzoo.evaluation.cases import ask_about_concepts
from initzoo.files.images import IMAGE_SUFFIXES, read_image, write_image
from initzoo.generator import fitting
from initzoo.networks.diagnosis import VERDICTS
from initzoo.pairs.photos import PhotoSource
from initzoo.training.finetune import trainer
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

HOW = Resampling(n_resamples=50)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A zoo with a weight generator of its own."""
    folder = make_zoo(tmp_path_factory.mktemp("zoos") / "benched", concepts=CONCEPTS, change=teachable)
    zoo = Zoo.from_pretrained(folder)
    make_generator(zoo, 1).save_pretrained(folder / "model" / "weight_generator" / "tiny")
    refresh_manifest(folder)
    return Zoo.from_pretrained(folder)


@pytest.fixture(scope="module")
def settings(kept_photo_folder, tmp_path_factory):
    """Of a benchmark that scores one square photo: scoring takes most of the time."""
    photos = tmp_path_factory.mktemp("benched") / "photos"
    for split, names in (("train", ("cup.jpg", "dahlia.webp")), ("score", ("cat.png",))):
        (photos / split).mkdir(parents=True)
        for name in names:
            pixels = read_image(kept_photo_folder / name)
            write_image(photos / split / name, pixels[:96, :96], force=False)
    changes = {
        "photos": PhotoSource(photos),
        "resampling": HOW,
        "crop_size": 32,
        "lengths": (0, 2, 4),
        "classical_lengths": (2,),
        "classical": ("zeros", "he_normal"),
        "n_photos": 2,
        "unet_width": 2,
        "batch_size": 1,
        "n_workers": 1,
    }
    return BenchmarkSettings(**QUICK_BENCHMARK | changes)


@pytest.fixture(scope="module", autouse=True)
def short_fits():
    """Fits to pairs take a tenth of the usual steps, which is plenty for networks this small, and
    natural-gradient steps see an eighth of the crops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "CALL_SECONDS", 10 * fitting.CALL_SECONDS)
        patch.setattr(trainer, "_N_NATURAL", 2)
        patch.setattr(trainer, "_N_CHECKED", 4)
        yield


needs_benchmark = pytest.mark.xdist_group("benchmark")
"""One process of the tests makes the benchmark that these look at, not each of them."""


@pytest.fixture(scope="module")
def report(zoo, settings, tmp_path_factory):
    """Of a benchmark that ran through."""
    return run_benchmark(zoo, settings, tmp_path_factory.mktemp("benchmark") / "run").report


# Ladders.


def curve(*psnrs, seconds=1.0):
    lengths = (0, 5, 10, 20)
    return [Rung(n, psnr, 0.1 + n * seconds) for n, psnr in zip(lengths, psnrs, strict=False)]


def test_time_to_quality_is_the_shortest_schedule_that_reaches_it():
    ladder = curve(10.0, 20.0, 19.0, 30.0)
    assert time_to(ladder, 19.5) == TimeToTarget(5, 5.1, True)
    assert time_to(ladder, 25.0) == TimeToTarget(20, 20.1, True)
    assert time_to(ladder, 31.0) == TimeToTarget(20, 20.1, False)
    assert time_to(curve(10.0, None, 30.0), 20.0) == TimeToTarget(10, 10.1, True)


def test_a_start_that_is_there_counts_as_the_shortest_schedule():
    assert time_to(curve(30.0, 31.0), 25.0) == TimeToTarget(5, 5.1, True)


def test_ratios_are_geometric_means_over_concepts():
    ours = [curve(30.0, 31.0, 32.0, 33.0)] * 2
    other = [curve(0.0, 31.0, 32.0, 33.0, seconds=2.0), curve(0.0, 0.0, 0.0, 33.0, seconds=2.0)]
    found = compare(ours, other, [25.0, 25.0], HOW)
    assert found["ratio_steps"] == pytest.approx(np.sqrt(1 * 4))
    assert found["ratio"] == pytest.approx(np.sqrt((10.1 / 5.1) * (40.1 / 5.1)), abs=1e-4)
    assert found["interval"][0] <= found["ratio"] <= found["interval"][1]
    assert (found["n_at_least"], found["n_not_reached"]) == (0, 0)


def test_what_is_never_reached_is_counted_against_ours():
    good, bad = curve(30.0, 31.0), curve(0.0, 1.0)
    behind = compare([good], [bad], [25.0], HOW)
    assert (behind["ratio_steps"], behind["n_at_least"]) == (1.0, 1)
    ahead = compare([bad], [good], [25.0], HOW)
    assert (ahead["ratio_steps"], ahead["n_not_reached"]) == (0.5, 1)
    with pytest.raises(ValueError, match="no concepts"):
        compare([], [], [], HOW)


def test_seconds_of_a_step_are_those_of_the_middle_run():
    assert median_seconds({0: [5.0], 10: [1.0, 2.0, 60.0]}) == pytest.approx(0.2)


# Settings, concepts and tuning.


def test_the_book_is_kept():
    settings = BenchmarkSettings(device="cuda")
    assert (settings.crop_size, settings.unet_width, settings.n_workers) == (256, 64, 1)
    book = settings.schedule("pix2pix_book", 200, 2e-4)
    assert (settings.n_halvings, book.batch_size, book.betas) == (8, 1, (0.5, 0.999))
    assert (book.gan, book.l1_weight, book.constant_share, book.n_warmup) == ("non-saturating", 100, 0.5, 0)
    assert book.discriminator_rate == book.learning_rate == 2e-4
    assert 2e-4 in settings.unet_rates
    assert settings.schedule("unet_l1", 200, 2e-4).gan == "off"
    assert settings.schedule("base", 200, 1e-3).gan == "off"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lengths": (5, 10)}, "lengths must ascend from 0"),
        ({"methods": ("other",)}, "methods: other given. Choose from: pix2pix_book"),
        ({"classical": ()}, "classical: none given"),
        ({"n_tuning": 0}, "at least 1"),
        ({"rates": ()}, "rates must be positive numbers, found none"),
        ({"unet_rates": (1e-3, float("nan"))}, "unet_rates must be positive numbers, found 0.001, nan"),
        ({"n_workers": -1}, "n_workers must be at least 0"),
        ({"address": "10.0.0.1:6379"}, "address goes with --backend ray. Add it, or leave out --address"),
        ({"classical_lengths": (0,)}, "classical_lengths: 0 given. Choose from: 5, 10"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(BenchmarkError, match=said):
        BenchmarkSettings(**changes)


def test_concepts_are_of_all_families_and_tuning_ones_are_others():
    zoo = Zoo.from_pretrained("starter")
    tuning, measured = choose_concepts(zoo, n_tuning=6, n_measured=24)
    assert {question.family for question in tuning} == {question.family for question in measured}
    assert len({question.family for question in measured}) == 6
    assert {question.split for question in measured} == {"heldout-composed", "heldout-new"}
    ids = [question.concept_id for question in (*tuning, *measured)]
    assert len(set(ids)) == len(ids) == 30
    everything = choose_concepts(zoo, n_tuning=6, n_measured=10_000)[1]
    assert len(everything) == 208 - 6


def test_too_few_held_out_concepts_are_told(zoo):
    with pytest.raises(InvalidZoo, match="has 5 held-out concepts"):
        choose_concepts(zoo, n_tuning=5, n_measured=2)


def test_rates_are_the_best_on_average_and_no_diverging_one(zoo, settings):
    tuning, _ = choose_concepts(zoo, n_tuning=2, n_measured=1)
    settings = replace(settings, methods=("scratch_best", "base"), rates=(1.0, 2.0, 3.0))
    quality = {1.0: (20.0, 21.0), 2.0: (30.0, 10.0), 3.0: (40.0, None)}

    def outcome(job):
        psnr = quality[job.rate][job.question]
        return Outcome(None if psnr is None else psnr + (job.start == "he_normal"), 1.0, 0.0)

    def run(stage, jobs):
        return {job: outcome(job) for job in jobs}

    tuned = tune(settings, tuning, run)
    assert tuned.best == "he_normal"
    assert tuned.classical["zeros"] == {2: (1.0, 20.5)}
    assert tuned.rates == {"scratch_best": {2: 1.0, 4: 1.0}, "base": {2: 1.0, 4: 1.0}}
    assert (tuned.start_of("scratch_best"), tuned.start_of("pix2pix_book")) == ("he_normal", "")
    with pytest.raises(BenchmarkError, match="diverged at every rate"):
        tune(replace(settings, rates=(3.0,)), tuning, run)


def test_rates_of_neighbouring_schedules_are_heard(zoo, settings):
    """What chance makes best at one length alone is not taken; a rate that diverges there never is."""
    tuning, _ = choose_concepts(zoo, n_tuning=1, n_measured=1)
    settings = replace(
        settings, methods=("base",), lengths=(0, 10, 20, 40), classical_lengths=(), rates=(1.0, 2.0, 3.0)
    )
    quality = {
        10: {1.0: 20.0, 2.0: 21.0, 3.0: 18.0},
        20: {1.0: 25.2, 2.0: 25.0, 3.0: 24.0},
        40: {1.0: 26.0, 2.0: 28.0, 3.0: None},
    }

    def run(stage, jobs):
        return {job: Outcome(quality[job.n_steps][job.rate], 1.0, 0.0) for job in jobs}

    assert tune(settings, tuning, run).rates == {"base": {10: 2.0, 20: 2.0, 40: 2.0}}
    quality[20][2.0] = None
    assert tune(settings, tuning, run).rates["base"][20] == 1.0


@needs_benchmark
def test_starts_that_take_the_same_steps_share_their_time(report):
    found = {name: method["step_seconds"] for name, method in report["methods"].items()}
    assert len({found[name] for name in ("base", "mean", "nearest", "generated", "fitted")}) == 1
    assert found["scratch_best"] not in (found["base"], found["pix2pix_book"])
    assert report["methods"]["fitted"]["start_seconds"] > report["methods"]["base"]["start_seconds"]
    assert report["methods"]["scratch_best"]["loading_seconds"] == 0.0
    for found in report["ratio"].values():
        assert found["within_3db_with_loading"]["ratio_steps"] == found["within_3db"]["ratio_steps"]


def test_tiles_are_edited_alike_and_put_back():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert np.array_equal(edit_in_tiles(nn.Identity(), pixels, tile=32), pixels)

    class Mean(nn.Module):
        def forward(self, images):
            return images.mean(dim=(0, 2, 3), keepdim=True).expand(images.shape)

    apart = edit_in_tiles(Mean(), pixels, tile=32, one_by_one=True)
    assert not np.array_equal(apart[0, 0], apart[0, 40])
    together = edit_in_tiles(Mean(), pixels, tile=32)
    assert np.array_equal(together[0, 0], together[0, 40])


# All of it.


def without_times(report):
    """What does not depend on the clock."""
    return {
        "psnr": [row["psnr"] for row in report["concepts"]],
        "classical": report["classical"],
        "rates": {name: found["rates"] for name, found in report["methods"].items()},
        "steps": [row["steps"] for row in report["concepts"]],
    }


def test_long_schedules_are_tuned_near_the_rate_of_shorter_ones():
    grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    settings = BenchmarkSettings(methods=("base",), lengths=(0, 20, 40, 80, 160, 320), rates=grid)
    tried = {}

    def run(stage, jobs):
        for job in jobs:
            tried.setdefault((stage, job.n_steps), set()).add(job.rate)
        # The best rate is a hundredth at first, and ten times that from 160 steps on; others diverge far off.
        best = {job: 1e-2 if job.n_steps < 160 else 1e-1 for job in jobs}
        lost = {job: abs(np.log10(job.rate / best[job])) for job in jobs}
        return {job: Outcome(None if lost[job] > 1.5 else 30 - lost[job], 1.0, 0.1) for job in jobs}

    questions = [SimpleNamespace(concept_id=name) for name in ("fog", "sepia")]
    rates = tune(settings, questions, run).rates["base"]
    assert rates == {20: 1e-2, 40: 1e-2, 80: 1e-2, 160: 1e-1, 320: 1e-1}
    assert tried[("tune", 20)] == tried[("tune", 40)] == set(grid)
    assert tried[("tune 80 steps", 80)] == tried[("tune 160 steps", 160)] == {1e-3, 1e-2, 1e-1}
    assert tried[("tune 320 steps", 320)] == {1e-2, 1e-1, 1.0}


def test_a_benchmark_goes_on_where_it_was_stopped(zoo, settings, tmp_path, monkeypatch):
    settings = replace(settings, methods=("scratch_best", "base", "generated"), lengths=(0, 2))
    report = run_benchmark(zoo, settings, tmp_path / "whole").report

    class Stopped(Exception):
        pass

    for stage in ("classical", "tune", "measure"):

        def stop(at, n_done, n_all, stage=stage):
            if at == stage and n_done > n_all / 2:
                raise Stopped

        with pytest.raises(Stopped):
            run_benchmark(zoo, settings, tmp_path / "parts", callback=stop)
    n_before = len(list((tmp_path / "parts" / "runs").rglob("*.json")))
    parts = run_benchmark(zoo, settings, tmp_path / "parts").report
    assert without_times(parts) == without_times(report)
    assert 0 < n_before < len(list((tmp_path / "parts" / "runs").rglob("*.json")))

    def nothing_to_do(*_):
        raise AssertionError("all runs are done")

    monkeypatch.setattr(jobs_module._Worker, "work", nothing_to_do)
    assert without_times(run_benchmark(zoo, settings, tmp_path / "parts").report) == without_times(report)


@needs_benchmark
def test_the_report_has_what_is_promised(report):
    pytest.importorskip("matplotlib")
    json.dumps(report, allow_nan=False)
    assert report["n_concepts"] == 2
    assert set(report["ratio"]) == {"pix2pix_book", "scratch_best", "base", "mean", "nearest", "fitted"}
    for found in report["ratio"].values():
        for target in ("within_3db", "within_1db", "its_best"):
            low, high = found[target]["interval"]
            assert 0 < low <= found[target]["ratio"] <= high
    assert set(report["ratio_to_fitted"]) == {*report["ratio"], "generated"} - {"fitted"}
    assert set(report["methods"]["generated"]["psnr"]) == {"0", "2", "4"}
    assert report["methods"]["pix2pix_book"]["step_seconds"] > 0
    assert {row["verdict"] for row in report["classical"]} <= set(VERDICTS)
    assert [row["name"] for row in report["classical"] if row["name"] == "zeros"]
    assert report["methods"]["scratch_best"]["start"] == report["classical"][0]["name"]
    assert {"machine", "versions", "seeds", "settings", "rules", "paper", "final"} <= set(report)
    lines = benchmark_tables(report)
    assert any(line.startswith("pix2pix_book      659.8   15.2") for line in lines)
    assert any(line.startswith("fitted lost within 3 dB") for line in lines)
    assert any(line.startswith("times fitted") for line in lines)
    assert draw_curves(report)[1:4] == draw_ratios(report)[1:4] == b"PNG"


@needs_benchmark
def test_the_best_of_a_baseline_is_a_target_that_it_always_reaches(report):
    for method, found in report["ratio"].items():
        assert found["its_best"]["n_at_least"] == 0
        for row, ratio in zip(report["concepts"], found["its_best"]["ratios"], strict=True):
            curves = {
                name: [Rung(n, psnr, 0.0) for n, psnr in zip(report["lengths"], psnrs, strict=True)]
                for name, psnrs in row["psnr"].items()
            }
            best = max(rung.psnr for rung in curves[method] if rung.psnr is not None)
            reached = time_to(curves["generated"], best)
            steps = reached.n_steps * (1 if reached.is_reached else 2)
            n_steps = {method: time_to(curves[method], best).n_steps, "generated": reached.n_steps}
            seconds = {
                name: report["methods"][name]["start_seconds"] + n * report["methods"][name]["step_seconds"]
                for name, n in n_steps.items()
            }
            wanted = seconds[method] / (seconds["generated"] * steps / reached.n_steps)
            assert ratio == pytest.approx(wanted, rel=0.01)


def test_times_are_those_of_runs_that_nothing_else_slowed(zoo, settings, tmp_path):
    settings = replace(settings, methods=("base",), lengths=(0, 2, 4))
    run_benchmark(zoo, settings, tmp_path / "run")
    timed = list((tmp_path / "run" / "times").rglob("base-4-*.json"))
    assert len(timed) == settings.n_concepts == 2
    assert not list((tmp_path / "run" / "times").rglob("base-2-*.json"))

    def slow_down(paths, factor):
        for path in paths:
            values = json.loads(path.read_bytes())
            path.write_text(json.dumps(values | {"seconds": factor, "start_seconds": 10 * factor}))

    slow_down((tmp_path / "run" / "runs").rglob("base-*.json"), 1000.0)
    slow_down(timed, 6.0)
    found = run_benchmark(zoo, settings, tmp_path / "run").report["methods"]["base"]
    assert (found["step_seconds"], found["start_seconds"]) == (1.5, 60.0)


def test_other_settings_do_not_mix(zoo, settings, tmp_path):
    few = replace(settings, methods=("base",))
    run_benchmark(zoo, few, tmp_path / "run")
    with pytest.raises(OutputError, match="unfinished benchmark with other settings"):
        run_benchmark(zoo, replace(few, seed=1), tmp_path / "run")
    others = shutil.copytree(few.photos.folder, tmp_path / "other photos")
    few = replace(few, photos=PhotoSource(others))
    run_benchmark(zoo, few, tmp_path / "other run")
    first = sorted(path for path in others.rglob("*") if path.suffix in IMAGE_SUFFIXES)[0]
    write_image(first, 255 - read_image(first), force=True)
    with pytest.raises(OutputError, match=r"other settings \(photos_sha256"):
        run_benchmark(zoo, few, tmp_path / "other run")


@pytest.mark.long
def test_runs_serve_other_benchmarks_but_not_another_weight_generator(zoo, settings, tmp_path):
    folder = shutil.copytree(zoo.files.folder, tmp_path / "zoo")
    few = replace(settings, methods=("base", "nearest", "generated"), lengths=(0, 2))

    def kept():
        return {path: path.read_bytes() for path in (tmp_path / "run" / "runs").rglob("*.json")}

    run_benchmark(Zoo.from_pretrained(folder), few, tmp_path / "run")
    before = kept()
    run_benchmark(Zoo.from_pretrained(folder), replace(few, lengths=(0, 2, 4)), tmp_path / "run")
    assert before.items() < kept().items()
    before = kept()
    make_generator(zoo, 2).save_pretrained(folder / "model" / "weight_generator" / "tiny", force=True)
    refresh_manifest(folder)
    report = run_benchmark(Zoo.from_pretrained(folder), few, tmp_path / "run").report
    more = {path.name for path in kept().keys() - before.keys()}
    assert before.items() < kept().items()
    assert {name.split("-")[0] for name in more} == {"generated", "nearest"}
    assert {name.split("-")[1] for name in more} == {report["generator_sha256"][:8]}


def test_a_diverging_run_is_no_figure(zoo, settings, tmp_path):
    _, measured = choose_concepts(zoo, n_tuning=1, n_measured=1)
    job = Job(0, measured[0].concept_id, "base", "base", 3, 1e38)
    found = jobs_module.run_jobs(zoo, measured, [job], settings, tmp_path)
    assert found[job].psnr is None


def test_own_concepts_are_measured_on(zoo, settings, tmp_path):
    from initzoo.pairs.concepts import find_concept, load_concepts

    own = ask_about_concepts([find_concept(load_concepts(), "sepia")])
    few = replace(settings, methods=("base", "scratch_best"))
    report = run_benchmark(zoo, few, tmp_path / "run", concepts=own).report
    assert [row["concept"] for row in report["concepts"]] == [own[0].concept_id]
    assert report["ratio"] == {}
    assert benchmark_tables(report)
    with pytest.raises(ValueError, match="no ratios"):
        draw_ratios(report)


def test_a_missing_generator_is_told_before_any_run(settings, tmp_path):
    folder = make_zoo(tmp_path / "bare", concepts=CONCEPTS, change=teachable)
    with pytest.raises(InvalidGenerator, match="has no weight generator for recipe 'tiny'. Train one"):
        run_benchmark(Zoo.from_pretrained(folder), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_command_writes_report_and_plots(zoo, settings, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    words = ["bench", "--quick", "--zoo", str(zoo.folder), "--crop", "32"]
    words += ["--photos", str(settings.photos.folder)]
    words += ["--methods", "base,generated", "--workers", "1", "--out", str(tmp_path / "bench")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "base" in result.stdout
    report = json.loads((tmp_path / "bench" / "bench.json").read_bytes())
    assert report["lengths"] == [0, 5, 10]
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {
        "bench.json",
        "curves.png",
        "ratios.png",
    }
    alone = CliRunner().invoke(main, [*words, "--force", "--methods", "generated", "--lengths", "0,5"])
    assert alone.exit_code == 0, alone.output
    assert json.loads((tmp_path / "bench" / "bench.json").read_bytes())["lengths"] == [0, 5]
    assert not (tmp_path / "bench" / "ratios.png").exists()
    again = CliRunner().invoke(main, words)
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    wrong = CliRunner().invoke(main, [*words[:-1], str(tmp_path / "b"), "--methods", "best"])
    assert wrong.exit_code == 1
    assert "methods: best given" in wrong.stderr
    monkeypatch.setattr("initzoo.work.cluster.find_spec", lambda name: None)
    absent = CliRunner().invoke(main, [*words[:-1], str(tmp_path / "b"), "--backend", "ray"])
    assert (absent.exit_code, absent.stderr.count("\n")) == (1, 1)
    assert "the backend ray needs ray. Install it with" in absent.stderr
    assert not (tmp_path / "b.run").exists()
