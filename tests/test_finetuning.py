"""Fine-tuning: the objective by its formulas, schedules, resuming to the same bytes, and what goes wrong."""

import copy
import errno
import json
import math
import os
import re
import time
from dataclasses import replace

import numpy as np
import preloaded
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.numpy import save_file
from test_pair_sources import picture, write_folders
from waiting import wait_until
from zoo_fixtures import generating_zoo, kept_generating_zoo, kept_zoo

import initzoo.training.choosing as choosing
import initzoo.training.finetune.run as finetuning
import initzoo.training.finetune.validation as validation
from initzoo.checkpoints.init import Init
from initzoo.cli.main import main
from initzoo.errors import FinetuneError, InvalidPairs, OutputError
from initzoo.files.images import write_image
from initzoo.networks import GradientClip, UNet
from initzoo.pairs.sources import open_pairs
from initzoo.training.auto import AutoNetwork
from initzoo.training.calls import finetune
from initzoo.training.choosing import choose_start
from initzoo.training.finetune import FinetuneSettings, Trainer, draw_batch, run_finetune
from initzoo.training.finetune.settings import rate_at
from initzoo.training.finetune.validation import Validator
from initzoo.training.gan import discriminator_loss, network_loss
from initzoo.training.start import WithAdapter, open_start, start_from_init
from initzoo.zoo.zoo import Zoo

__all__ = ["generating_zoo", "kept_generating_zoo", "kept_zoo"]

CPU = torch.device("cpu")
QUICK = FinetuneSettings(n_steps=8, batch_size=2, crop_size=32, discriminator_width=4)


@pytest.fixture
def zoo(kept_zoo):
    return Zoo.from_pretrained(kept_zoo)


@pytest.fixture
def pairs(tmp_path):
    return open_pairs(write_folders(tmp_path / "pairs"))


def run(zoo, pairs, folder, settings=QUICK, *, start="pencil sketch", adapter_only=False, **options):
    begin = open_start(start, zoo, adapter_only=adapter_only)
    return run_finetune(begin, pairs, settings, folder, device=CPU, n_validations=4, **options)


# The objective and the schedule.


def test_losses_are_those_of_the_papers():
    generator = torch.Generator().manual_seed(0)
    real, made = torch.randn(2, 2, 1, 6, 6, generator=generator)
    said = [torch.sigmoid(real), torch.sigmoid(made)]
    by_hand = -0.5 * (said[0].log().mean() + (1 - said[1]).log().mean())
    torch.testing.assert_close(discriminator_loss("non-saturating", real, made), by_hand)
    squares = 0.5 * (((real - 1) ** 2).mean() + (made**2).mean())
    torch.testing.assert_close(discriminator_loss("lsgan", real, made), squares)
    error = torch.tensor(0.2)
    total = network_loss("non-saturating", made, error, l1_weight=100.0)
    torch.testing.assert_close(total, -said[1].log().mean() + 20)


def test_rates_end_at_zero_and_follow_the_book():
    book = FinetuneSettings(n_steps=200, n_warmup=0, constant_share=0.5)
    rates = [rate_at(step, book) for step in range(201)]
    assert rates[:101] == [1.0] * 101
    assert rates[150] == pytest.approx(0.5)
    assert rates[200] == 0
    short = FinetuneSettings(n_steps=5)
    assert [rate_at(step, short) for step in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("gan", ["non-saturating", "lsgan", "off"])
def test_training_lowers_the_error_with_every_objective(zoo, pairs, gan):
    settings = replace(QUICK, n_steps=60, gan=gan, learning_rate=2e-2)
    trainer = Trainer(open_start("he_residual", zoo).network, settings, CPU)
    material = [(pair.given, pair.wanted) for pair in pairs.train]
    losses = [trainer.step(*draw_batch(material, settings, step)) for step in range(settings.n_steps)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_one_step_is_adam_on_l1_when_there_is_no_discriminator(zoo):
    settings = replace(QUICK, gan="off", n_steps=1, n_warmup=0, optimizer="adam")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = (open_start("pencil sketch", zoo).network for _ in range(2))
    Trainer(ours, settings, CPU).step(images, -images)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3, betas=settings.betas)
    (theirs(images) + images).abs().mean().backward()
    optimizer.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_running_mean_of_weights_is_kept(zoo):
    settings = replace(QUICK, gan="off", ema=0.5, n_steps=4)
    network = open_start("pencil sketch", zoo).network
    trainer = Trainer(network, settings, CPU)
    expected = network.head.bias.detach().clone()
    images = torch.zeros(1, 3, 32, 32)
    for step in range(3):
        trainer.step(images, images + 0.5)
        expected = expected.lerp(network.head.bias.detach(), 1 - min(0.5, (1 + step) / (10 + step)))
    torch.testing.assert_close(trainer.kept.head.bias, expected)
    assert not torch.equal(trainer.kept.head.bias, network.head.bias)


def test_bfloat16_trains(zoo, pairs, tmp_path):
    result = run(zoo, pairs, tmp_path / "run", replace(QUICK, bfloat16=True))
    assert math.isfinite(result.end.psnr)


def test_crops_depend_on_seed_and_step_alone(pairs):
    material = [(pair.given, pair.wanted) for pair in pairs.train]
    settings = replace(QUICK, flip=True)
    one, again = draw_batch(material, settings, 3), draw_batch(material, settings, 3)
    assert torch.equal(one[0], again[0])
    torch.testing.assert_close(one[1], -one[0])
    assert not torch.equal(one[0], draw_batch(material, settings, 4)[0])


def test_crops_begin_on_the_grid():
    rows, columns = np.mgrid[:96, :104].astype(np.uint8)
    photo = np.stack([rows, columns, rows], axis=2)
    for grid in (8, 12, 1):
        corners = [
            draw_batch([(photo, photo)], replace(QUICK, crop_grid=grid), step)[0][:, :2, 0, 0]
            for step in range(12)
        ]
        places = ((torch.cat(corners) + 1) * 127.5).round().int()
        assert not (places % grid).any()
        assert len(places.unique()) > 2
    assert (places % 8).any(), "without a grid they begin anywhere"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gan": "wgan"}, "gan must be one of"),
        ({"crop_size": 30}, "multiple of 4 from 32"),
        ({"learning_rate": math.nan}, "number above 0"),
        ({"ema": 1.0}, "below 1"),
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and below 1, found 0.9, 1.0"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(FinetuneError, match=said):
        replace(QUICK, **changes)


# What comes of it.


def test_the_best_weights_are_kept(zoo, pairs, tmp_path):
    result = run(zoo, pairs, tmp_path / "run")
    assert [step for step, _, _ in result.history] == [0, 2, 4, 6, 8]
    assert result.end.psnr == max(psnr for _, psnr, _ in result.history)
    model = result.init.to_network()
    edited = model.edit(pairs.validation[0].given)
    from initzoo.pairs.scores import score_images

    assert score_images([edited], [pairs.validation[0].wanted]).psnr == pytest.approx(result.end.psnr)
    assert result.init.metadata.scores["psnr"] == pytest.approx(result.end.psnr, abs=1e-3)
    assert "fine-tuned from pencil-sketch" in result.init.metadata.source


def test_validation_beside_the_steps_scores_the_weights_of_its_step(zoo, pairs, tmp_path, monkeypatch):
    """However long a validation takes, and whatever becomes of the weights meanwhile."""
    whole = run(zoo, pairs, tmp_path / "whole")
    score = validation.score_images

    def slow(*images):
        time.sleep(0.05)
        return score(*images)

    monkeypatch.setattr(validation, "score_images", slow)
    slowly = run(zoo, pairs, tmp_path / "slowly")
    assert slowly.history == whole.history
    assert [step for step, _, _ in slowly.history] == [0, 2, 4, 6, 8]
    assert slowly.init.to_bytes() == whole.init.to_bytes()
    assert [point.psnr is not None for point in slowly.curve] == [True, *4 * [False, True]]


def test_what_a_validation_raises_ends_the_training(zoo, pairs, tmp_path, monkeypatch):
    def broken(*images):
        raise OutputError("no room")

    monkeypatch.setattr(validation, "score_images", broken)
    with pytest.raises(OutputError, match="no room"):
        run(zoo, pairs, tmp_path / "run")


def test_a_validation_that_nobody_waits_for_stops_at_the_next_pair(zoo, pairs):
    start, seen = open_start("pencil sketch", zoo), []

    class Slow(list):
        def __iter__(self):
            for pair in list.__iter__(self):
                seen.append(pair)
                time.sleep(0.05)
                yield pair

    with Validator(start, Slow(200 * list(pairs.validation))) as validator:
        validator.begin(0, start.weights_of(start.network))
        assert wait_until(lambda: bool(seen))
    assert len(seen) < 20


def test_a_start_that_nothing_improves_is_kept(zoo, pairs, tmp_path):
    perfect = open_start("zeros", zoo)
    same = replace(pairs, train=tuple(replace(p, wanted=p.given) for p in pairs.train),
                   validation=tuple(replace(p, wanted=p.given) for p in pairs.validation))  # fmt: skip
    before = perfect.weights_of(perfect.network)["head.bias"].copy()
    settings = replace(QUICK, learning_rate=0.5)
    result = run_finetune(perfect, same, settings, tmp_path / "run", device=CPU)
    assert result.best_step == 0
    assert np.array_equal(result.init.weights["head.bias"], before)


def test_adapter_only_leaves_the_base_alone(zoo, pairs, tmp_path):
    result = run(zoo, pairs, tmp_path / "run", adapter_only=True, settings=replace(QUICK, learning_rate=1e-2))
    assert result.init.kind == "adapter"
    assert set(result.init.weights) == {name for name, _ in zoo.layout.tensors}
    merged = zoo.merge(result.init).to_network()
    edited = merged.edit(pairs.validation[0].given)
    assert edited.shape == pairs.validation[0].given.shape


def test_no_steps_give_the_start(zoo, pairs, tmp_path):
    result = run(zoo, pairs, tmp_path / "run", replace(QUICK, n_steps=0))
    assert result.best_step == 0
    expected = zoo.pull("pencil sketch").weights
    assert all(np.array_equal(result.init.weights[name], expected[name]) for name in expected)


# In the coordinates of an adapter.


def test_an_adapter_of_zero_beside_a_network_changes_nothing(zoo):
    start = open_start("pencil sketch", zoo)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = start.network(images)
        trained = start.trainable()
        torch.testing.assert_close(trained(images), expected)
    assert isinstance(trained, WithAdapter)
    assert all(
        np.array_equal(value, zoo.pull("pencil sketch").weights[name])
        for name, value in start.weights_of(trained).items()
    )


def test_trained_weights_are_those_with_the_adapter_merged(zoo, pairs):
    start = open_start("base", zoo)
    trainer = Trainer(start.trainable(), replace(QUICK, gan="off"), CPU)
    material = [(pair.given, pair.wanted) for pair in pairs.train]
    trainer.prepare(material)
    for step in range(3):
        trainer.step(*draw_batch(material, trainer.settings, step))
    assert trainer.network.adapter.abs().max() > 0
    images = draw_batch(material, trainer.settings, 3)[0]
    plain = start.editor(start.weights_of(trainer.network))
    with torch.no_grad():
        torch.testing.assert_close(plain(images), trainer.network(images), atol=1e-5, rtol=1e-4)


def test_natural_gradient_steps_bring_the_start_nearer_and_a_good_start_gets_small_rates(zoo, pairs):
    material = [(pair.given, pair.wanted) for pair in pairs.train]

    def error(n_natural):
        trainer = Trainer(open_start("base", zoo).trainable(), replace(QUICK, n_natural=n_natural), CPU)
        trainer.prepare(material)
        with torch.no_grad():
            errors = [
                (trainer.network(given) - wanted).square().mean()
                for given, wanted in (draw_batch(material, QUICK, step) for step in range(100, 104))
            ]
        return sum(errors).item(), trainer.learning_rate, trainer.adapter_rate

    untouched, nearer = error(0), error(3)
    assert nearer[0] < 0.7 * untouched[0]
    start = open_start("base", zoo)
    good = Trainer(start.trainable(), replace(QUICK, n_natural=0), CPU)
    images = draw_batch(material, replace(QUICK, batch_size=6), 0)[0]
    with torch.no_grad():
        edited = start.network(images).clamp(-1, 1)
    squares = [((side + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy() for side in (images, edited)]
    good.prepare(list(zip(*squares, strict=True)))
    assert good.learning_rate < nearer[1] <= 1e-2
    assert good.adapter_rate < nearer[2] <= 8e-3
    chosen = Trainer(open_start("base", zoo).trainable(), replace(QUICK, learning_rate=5e-4), CPU)
    chosen.prepare(material)
    assert chosen.learning_rate == 5e-4


def test_many_steps_have_larger_rates_than_few():
    def rate(n_steps, **options):
        settings = FinetuneSettings(n_steps=n_steps, gan="off", **options)
        return Trainer(torch.nn.Conv2d(3, 3, 1), settings, CPU).learning_rate

    assert rate(1) < rate(5) < rate(10_000) == 1e-2
    assert rate(5, optimizer="adam") == rate(500, optimizer="adam") == 1e-3
    with pytest.raises(FinetuneError, match="optimizer must be one of auto, soap, adam, found 'sgd'"):
        FinetuneSettings(optimizer="sgd")


def test_layers_of_many_channels_are_trained_by_adam():
    for n_channels, expected in ((128, "soap"), (129, "adam")):
        network = torch.nn.Sequential(torch.nn.Conv2d(3, n_channels, 1), torch.nn.Conv2d(n_channels, 3, 1))
        assert Trainer(network, FinetuneSettings(gan="off"), CPU).optimizer == expected


def test_a_start_without_an_adapter_is_judged_and_stays_as_it_is(pairs):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))
    trainer = Trainer(network, replace(QUICK, gan="off", n_steps=60), CPU)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert trainer.prepare([(pair.given, pair.given) for pair in pairs.train]) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    same = Trainer(torch.nn.Identity(), trainer.settings, CPU)
    same.prepare([(pair.given, pair.given) for pair in pairs.train])
    assert same.learning_rate < 0.1 * trainer.learning_rate


@pytest.mark.parametrize("scheme", ["he_normal", "zeros"])
def test_classical_weights_are_trained_as_they_are(zoo, scheme):
    start = open_start(scheme, zoo)
    assert start.shared is None
    assert start.trainable() is start.network


def test_weights_of_another_base_are_trained_as_they_are(zoo):
    init = zoo.pull("pencil sketch")
    foreign = replace(init.metadata, base_sha256="0" * 64)
    assert start_from_init(Init(init.weights, "merged", foreign), zoo).shared is None
    assert start_from_init(init, zoo).shared is not None


def test_the_pairs_choose_the_start(zoo, pairs, monkeypatch):
    monkeypatch.setattr(choosing, "_MOST_SECONDS", 0.5)
    with pytest.warns(UserWarning, match="example pairs: they look like no single edit"):
        start = choose_start(pairs, zoo, QUICK)
    fitting = start.metadata.fitting
    assert start.name == fitting.start
    assert fitting.n_pairs + fitting.n_held_back == len(pairs.train)  # those for validation stay unseen
    assert fitting.seconds == 0.3
    adapter = choose_start(pairs, zoo, replace(QUICK, n_steps=100_000), adapter_only=True, warn=False)
    assert adapter.base is not None
    assert adapter.metadata.fitting.seconds == 0.5


# Stopped and taken up again.


class Stopped(Exception):
    """What a test stops a fine-tune with."""


@pytest.mark.parametrize("settings", [QUICK, replace(QUICK, gan="off", ema=0.9)], ids=["gan", "ema"])
def test_stopped_fine_tuning_goes_on_to_the_same_bytes(zoo, pairs, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(finetuning, "SNAPSHOT_SECONDS", 0.0)
    whole = run(zoo, pairs, tmp_path / "whole", settings)
    for place in (1, 4, 5, 8):

        def stop(n_done, loss, psnr, place=place):
            if n_done == place:
                raise Stopped

        with pytest.raises(Stopped):
            run(zoo, pairs, tmp_path / "parts", settings, callback=stop)
    parts = run(zoo, pairs, tmp_path / "parts", settings)
    assert parts.init.to_bytes() == whole.init.to_bytes()
    assert parts.history == whole.history


def finetune_with_snapshots(words):
    """The command in a process of its own, with a snapshot after each step."""
    finetuning.SNAPSHOT_SECONDS = 0.0
    main(["finetune", *words])


def test_dropout_is_drawn_by_the_step_and_not_by_what_ran_before():
    settings = replace(QUICK, gan="off", n_steps=4, crop_size=64)
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    first = UNet(6, 4)
    whole, parts = (Trainer(copy.deepcopy(first), settings, CPU) for _ in range(2))
    for _ in range(4):
        whole.step(crops, -crops)
    for _ in range(2):
        parts.step(crops, -crops)
    again = Trainer(copy.deepcopy(first), settings, CPU)
    again.load_state(parts.state(), n_done=2)
    torch.rand(3)
    state = torch.get_rng_state()
    for _ in range(2):
        again.step(crops, -crops)
    assert torch.equal(torch.get_rng_state(), state)
    kept = whole.state()
    assert all(torch.equal(value, kept[name]) for name, value in again.state().items())
    # Another seed drops others.
    other = Trainer(copy.deepcopy(first), replace(settings, seed=5), CPU)
    assert other.step(crops, -crops) != Trainer(copy.deepcopy(first), settings, CPU).step(crops, -crops)


@pytest.mark.long
def test_a_killed_command_goes_on_to_the_same_bytes(kept_zoo, pairs, tmp_path):
    def words(name):
        given = ["--pairs", tmp_path / "pairs", "--zoo", kept_zoo, "--steps", 60, "--gan", "off"]
        given += ["--crop", 32, "--validations", 6, "-o", tmp_path / name / "out.safetensors"]
        return ["pencil sketch", *map(str, given)]

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert invoke(*words("whole")).exit_code == 0
    process = preloaded.start(finetune_with_snapshots, words("killed"))
    snapshot = tmp_path / "killed" / "out.safetensors.run" / "snapshot.safetensors"
    assert wait_until(lambda: snapshot.exists() or not process.is_alive())
    process.kill()
    process.join()
    assert not (tmp_path / "killed" / "out.safetensors").exists()
    assert invoke(*words("killed")).exit_code == 0
    assert (tmp_path / "killed" / "out.safetensors").read_bytes() == (
        tmp_path / "whole" / "out.safetensors"
    ).read_bytes()
    assert not (tmp_path / "killed" / "out.safetensors.run").exists()


def test_other_settings_do_not_go_on_where_these_stopped(zoo, pairs, tmp_path):
    run(zoo, pairs, tmp_path / "run")
    other = replace(QUICK, seed=1)
    with pytest.raises(OutputError, match=r"unfinished fine-tune with other settings \(seed 0\).*--force"):
        run(zoo, pairs, tmp_path / "run", other)
    run(zoo, pairs, tmp_path / "run", other, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(OutputError, match="is not the run folder of a fine-tune"):
        run(zoo, pairs, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_a_damaged_snapshot_is_named(zoo, pairs, tmp_path):
    run(zoo, pairs, tmp_path / "run")
    (tmp_path / "run" / "snapshot.safetensors").write_bytes(b"nonsense")
    with pytest.raises(FinetuneError, match="snapshot .* is damaged. Delete it"):
        run(zoo, pairs, tmp_path / "run")


def test_a_snapshot_without_a_part_of_the_state_is_named(zoo, pairs, tmp_path):
    run(zoo, pairs, tmp_path / "run")
    path = tmp_path / "run" / "snapshot.safetensors"
    with safe_open(path, framework="np") as file:
        notes, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del tensors["clip.usual"]
    save_file(tensors, path, notes)
    with pytest.raises(FinetuneError, match="snapshot .* is of another version. Delete it"):
        run(zoo, pairs, tmp_path / "run")


# What goes wrong.


def test_a_diverging_run_stops_with_the_step_and_the_last_good_weights(zoo, pairs, tmp_path):
    settings = replace(QUICK, n_steps=40, gan="off", learning_rate=1e36, n_warmup=0)
    with pytest.raises(FinetuneError, match=r"diverged: .* step \d+.*of step 0 .* are in .*best\.saf"):
        run(zoo, pairs, tmp_path / "run", settings)
    kept = Init.load(tmp_path / "run" / "best.safetensors")
    expected = zoo.pull("pencil sketch").weights
    assert all(np.array_equal(kept.weights[name], expected[name]) for name in expected)


def test_gradients_that_say_nothing_leave_the_clip_as_it_was():
    weight = torch.nn.Parameter(torch.ones(2))
    clip, lengths = GradientClip([weight]), []
    for size in (0.0, 3.0, 30.0, math.inf, math.nan, 3.0):
        weight.grad = torch.tensor([size, 0.0])
        clip()
        lengths.append(float(weight.grad.norm()))
    assert lengths[:2] == [0.0, 3.0]
    assert lengths[2] == pytest.approx(3.9)
    assert lengths[3] == math.inf
    assert lengths[5] == 3.0
    again = GradientClip([weight])
    again.load_state(clip.state())
    assert again.usual == clip.usual


def test_a_full_disk_leaves_the_snapshot_before(zoo, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "SNAPSHOT_SECONDS", 0.0)
    whole = run(zoo, pairs, tmp_path / "whole")
    real = os.replace

    def full(source, target):
        if str(target).endswith("snapshot.safetensors") and full.n_left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.n_left -= str(target).endswith("snapshot.safetensors")
        real(source, target)

    full.n_left = 3
    monkeypatch.setattr("initzoo.files.atomic.os.replace", full)
    with pytest.raises(OutputError, match="snapshot.safetensors: No space left on device"):
        run(zoo, pairs, tmp_path / "run")
    monkeypatch.setattr("initzoo.files.atomic.os.replace", real)
    assert not list((tmp_path / "run").glob(".*.part"))
    assert run(zoo, pairs, tmp_path / "run").init.to_bytes() == whole.init.to_bytes()


def test_small_images_are_refused_before_anything_is_written(zoo, pairs, tmp_path):
    with pytest.raises(InvalidPairs, match="smaller than the crop of 64"):
        run(zoo, pairs, tmp_path / "run", replace(QUICK, crop_size=64))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_memory_stays_flat_over_5000_steps(zoo, pairs):
    import resource

    settings = replace(QUICK, n_steps=5000)
    trainer = Trainer(open_start("pencil sketch", zoo).network, settings, CPU)
    material = [(pair.given, pair.wanted) for pair in pairs.train]
    for step in range(5000):
        trainer.step(*draw_batch(material, settings, step))
        if step == 500:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.02 * before + 4096


# The command.


def invoke(*words):
    return CliRunner().invoke(main, ["finetune", *map(str, words)])


@pytest.fixture
def options(kept_zoo, pairs, tmp_path):
    return ["--pairs", tmp_path / "pairs", "--zoo", kept_zoo, "--steps", 4, "--crop", 32, "--gan", "off"]


def test_command_writes_an_init_that_apply_takes(options, kept_zoo, photo_folder, tmp_path):
    out = tmp_path / "mine.safetensors"
    result = invoke("pencil sketch", *options, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n_train"], told["n_validation"]) == (5, 1)
    assert told["history"][0]["step"] == 0
    assert (tmp_path / "mine.png").read_bytes()[1:4] == b"PNG"
    assert not (tmp_path / "mine.safetensors.run").exists()
    applied = CliRunner().invoke(
        main, ["apply", str(out), str(photo_folder / "cat.png"), "-o", str(tmp_path / "cat.png")]
    )
    assert applied.exit_code == 0, applied.output
    assert (
        AutoNetwork.from_pretrained(out, zoo=kept_zoo).sizes
        == Zoo.from_pretrained(kept_zoo).recipe.network.sizes
    )
    again = invoke(out, *options, "-o", tmp_path / "further.safetensors")
    assert again.exit_code == 0, again.output


def test_command_teaches_and_trains_adapters(kept_zoo, photo_folder, tmp_path):
    words = ["--teacher", "negative", "--photos", photo_folder, "--varied", 2, "--zoo", kept_zoo]
    result = invoke("watercolour", *words, "--steps", 2, "--gan", "off", "--adapter-only", "-o",
                    tmp_path / "a.safetensors")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("watercolour  2 + 1 pairs of the teacher of negative on ")
    assert Init.load(tmp_path / "a.safetensors").kind == "adapter"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nonsense"], 1, "no concept 'nonsense'"),
        (["pencil sketch", "--crop", "64"], 1, "smaller than the crop"),
        (["pencil sketch", "--learning-rate", "1e38"], 1, "diverged"),
        (["pencil sketch", "--device", "cuda"], 1, "no device 'cuda'"),
        (["pencil sketch", "--teacher", "negative"], 2, "give --pairs SOURCE, or --teacher"),
        (["generated"], 1, "needs words"),
        (["he_normal", "--adapter-only"], 1, "no separate adapter"),
        (["pencil sketch", "--words", "dusk"], 2, "--words goes with the initializations nearest and"),
        (["pencil sketch", "--varied", "7"], 2, "--varied goes with --teacher"),
        (
            ["pencil sketch", "--columns", "a", "b"],
            1,
            "is not a dataset and has no metadata file",
        ),
        (["out/pencil.safetensor"], 1, "'out/pencil.safetensor' does not exist"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(options, tmp_path, words, code, said):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    out = tmp_path / "mine.safetensors"
    result = invoke(*words[:1], *options, *words[1:], "-o", out)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    errors = [line for line in result.stderr.splitlines() if not line.startswith("6 pairs, folders A and B")]
    assert code == 2 or len(errors) == 1
    assert not out.exists()
    assert not out.with_suffix(".png").exists()


def test_what_was_understood_is_said_before_training(options, tmp_path):
    write_folders(tmp_path / "held", ["x"])
    write_image(tmp_path / "held" / "A" / "x.png", picture(99), force=True)
    arguments = ["finetune", "pencil sketch", *options, "--validation", tmp_path / "held", "--json"]
    result = CliRunner().invoke(main, list(map(str, [*arguments, "-o", tmp_path / "mine.safetensors"])))
    assert result.exit_code == 0, result.output
    said = f"7 pairs, folders A and B, 64 x 48: 6 to train on, 1 of {tmp_path / 'held'} to validate on\n"
    assert said in result.stderr
    values = json.loads(result.stdout)
    assert (values["n_train"], values["n_validation"]) == (6, 1)


def test_a_crop_over_the_size_is_refused_before_pairs_are_read(kept_zoo, tmp_path):
    (tmp_path / "pairs").mkdir()
    arguments = [
        "--pairs",
        tmp_path / "pairs",
        "--zoo",
        kept_zoo,
        "--crop",
        300,
        "-o",
        tmp_path / "a.safetensors",
    ]
    result = CliRunner().invoke(main, list(map(str, ["finetune", "pencil sketch", *arguments])))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "a crop of 300 pixels is larger than --size 256" in result.stderr


def test_a_call_validates_on_other_pairs(zoo, pairs, tmp_path):
    write_folders(tmp_path / "held", ["x"])
    write_image(tmp_path / "held" / "A" / "x.png", picture(99), force=True)
    result = finetune(tmp_path / "pairs", validation=tmp_path / "held", start="base", zoo=zoo, settings=QUICK)
    assert [example.pair.name for example in result.examples] == ["x"]
    assert "on 6 pairs of" in result.init.metadata.source
    with pytest.raises(InvalidPairs, match="validation goes with pairs of a folder or dataset"):
        finetune(pairs, validation=tmp_path / "held", zoo=zoo, settings=QUICK)
    with pytest.raises(InvalidPairs, match="pair '000000' is 4 x 4 pixels; expected at least 8"):
        finetune([(picture(0, 4, 4), picture(1, 4, 4))] * 2, zoo=zoo, settings=QUICK)


def test_options_of_pairs_do_not_go_with_a_teacher(kept_zoo, tmp_path):
    for words in (
        ["--direction", "BtoA"],
        ["--size", 64],
        ["--columns", "a", "b"],
        ["--split", "x"],
        ["--validation", "y"],
    ):
        result = invoke("pencil sketch", "--teacher", "negative", "--zoo", kept_zoo, *words, "-o",
                        tmp_path / "a.safetensors")  # fmt: skip
        assert result.exit_code == 2
        assert f"{words[0]} goes with --pairs" in result.stderr


def test_without_a_start_the_pairs_choose_one(options, tmp_path):
    out = tmp_path / "mine.safetensors"
    result = invoke(*options, "--words", "sketch", "-o", out)
    assert result.exit_code == 0, result.output
    said = [line for line in result.stderr.splitlines() if line.startswith("start: ")]
    assert re.fullmatch(
        r"start: .+, chosen from \d+ by the pairs: \S+ dB before, \S+ dB after .*", "\n".join(said)
    )
    chosen = said[0].removeprefix("start: ").partition(",")[0]
    assert result.stdout.startswith(f"{chosen}  5 + 1 pairs of ")
    assert f"fine-tuned from {chosen}, " in Init.load(out).metadata.source
    again = invoke(*options, "--words", "sketch", "-o", tmp_path / "again.safetensors")
    assert again.exit_code == 0, again.output
    one, two = (Init.load(path).weights for path in (out, tmp_path / "again.safetensors"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_zoo_without_adapters_asks_for_a_start(zoo, pairs):
    blank = {name: np.zeros_like(value) for name, value in zoo.base().items()}
    zoo.base = lambda recipe=None: blank
    with pytest.raises(FinetuneError, match=r"has no adapters that could be fitted.*Name a start, e.g. \w"):
        choose_start(pairs, zoo, QUICK)


def test_generated_starts_are_told(options, kept_generating_zoo, tmp_path):
    given = [*options, "--zoo", kept_generating_zoo, "-o", tmp_path / "mine.safetensors"]
    result = invoke("faded teal charcoal at dusk", *given)
    assert result.exit_code == 0, result.output
    assert "faded-teal-charcoal-at-dusk: generated from words, " in result.stderr


def test_outputs_are_checked_before_the_work(options, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"taken")
    for name, said in (
        ("mine.safetensors", "mine.png exists already"),
        ("mine.pt", "must end with .safetensors"),
        ("missing/mine.safetensors", "there is no folder"),
    ):
        result = invoke("pencil sketch", *options, "-o", tmp_path / name)
        assert result.exit_code == 1
        assert said in result.stderr
    assert invoke("pencil sketch", *options, "-o", tmp_path / "mine.safetensors", "--force").exit_code == 0
