"""Diffusion: the schedule's ends, the sampler's exact answers, losses written slowly, what denoisers see."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from initzoo.generator.denoisers import DENOISERS, JointDenoiser, UNetDenoiser
from initzoo.generator.encoders import Context
from initzoo.generator.losses import behaviour_error, weight_error
from initzoo.generator.sampler import sample
from initzoo.generator.schedule import add_noise, draw_timesteps, noise_scale, signal_scale
from initzoo.generator.shape import DenoiserShape

SHAPE = DenoiserShape(n_blocks=3, block_size=64, n_word_values=8, width=48, n_layers=2, n_word_layers=1)


def made(kind, shape=SHAPE, seed=0):
    """A denoiser whose last layer is not zero, as it is after a while of training."""
    torch.manual_seed(seed)
    denoiser = DENOISERS[kind](shape)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return denoiser.eval()


def some_words(n_rows=2, n_tokens=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n_rows, n_tokens, SHAPE.n_word_values, generator=generator)
    return Context(vectors, torch.ones(n_rows, n_tokens, dtype=torch.bool))


def some_blocks(n_rows=2, seed=2):
    return torch.randn(n_rows, 3, 64, generator=torch.Generator().manual_seed(seed))


def test_schedule_keeps_variance_and_ends_in_clean_weights_and_in_pure_noise():
    timesteps = torch.linspace(0, 1, 101)
    torch.testing.assert_close(
        signal_scale(timesteps) ** 2 + noise_scale(timesteps) ** 2, torch.ones(101), atol=1e-6, rtol=0
    )
    clean, noise = some_blocks(), some_blocks(seed=3)
    assert torch.equal(add_noise(clean, noise, torch.tensor([0.0, 1.0]))[0], clean[0])
    assert torch.equal(add_noise(clean, noise, torch.tensor([0.0, 1.0]))[1], noise[1])


def test_draw_timesteps_has_its_share_of_pure_noise():
    timesteps = draw_timesteps(1000, pure_share=0.25, generator=torch.Generator().manual_seed(0))
    assert int((timesteps == 1).sum()) == 250
    assert timesteps.min() >= 0
    assert abs(float(timesteps[250:].mean()) - 0.5) < 0.05


def gaussian_denoiser(data_std):
    """The best denoiser when clean weights are independent and normal: the mean of the posterior."""

    def denoise(noised, timestep):
        signal, noise = (float(scale(torch.tensor(timestep))) for scale in (signal_scale, noise_scale))
        return np.float32(signal * data_std**2 / ((signal * data_std) ** 2 + noise**2)) * noised

    return denoise


@pytest.mark.parametrize("data_std", [0.3, 1.0, 2.0])
def test_sampler_gives_gaussian_data_its_standard_deviation(data_std):
    noise = np.random.default_rng(0).standard_normal((8, 10, 250), dtype=np.float32)
    samples = sample(gaussian_denoiser(data_std), noise, n_timesteps=400)
    n_values = samples.size
    assert float(samples.std()) == pytest.approx(data_std, rel=4 / math.sqrt(2 * n_values) + 0.01)
    assert abs(float(samples.mean())) < 4 * data_std / math.sqrt(n_values)


def test_one_step_from_pure_noise_is_the_mean_of_the_data():
    assert not sample(gaussian_denoiser(1.0), some_blocks().numpy(), n_timesteps=1).any()


def test_sampler_calls_the_denoiser_at_falling_timesteps_that_begin_at_pure_noise():
    seen = []
    sample(lambda noised, timestep: seen.append(timestep) or noised, some_blocks(1).numpy(), n_timesteps=4)
    assert seen == [1.0, 0.75, 0.5, 0.25]
    with pytest.raises(ValueError, match="at least 1, found 0"):
        sample(gaussian_denoiser(1.0), some_blocks().numpy(), n_timesteps=0)


def test_weight_error_agrees_with_a_slow_sum_in_weight_units():
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 2, (3, 64)).astype(np.float32)
    scale[2, 40:] = 0
    predicted, clean = some_blocks(seed=4), some_blocks(seed=5)
    expected = 0.0
    for row in range(2):
        for block in range(3):
            for place in range(64):
                difference = float(predicted[row, block, place] - clean[row, block, place])
                expected += (difference * scale[block, place]) ** 2
    expected /= 2 * (scale.astype(np.float64) ** 2).sum()
    found = weight_error(predicted, clean, torch.from_numpy(scale) ** 2)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_weight_error_is_about_one_for_the_mean():
    clean = torch.randn(200, 3, 64, generator=torch.Generator().manual_seed(0))
    assert float(weight_error(torch.zeros_like(clean), clean, torch.ones(3, 64))) == pytest.approx(
        1, abs=0.03
    )


def test_behaviour_error_is_the_mean_over_concepts():
    targets = torch.zeros(4, 3, 4, 4)
    edited = torch.cat([torch.full((2, 3, 4, 4), 0.1), torch.full((2, 3, 4, 4), 0.5)])
    assert behaviour_error(edited, targets, 2).item() == pytest.approx(0.3)


def test_logarithms_weigh_an_error_by_its_ratio():
    def in_logs(*errors: float) -> float:
        targets = torch.tensor(errors)[:, None, None, None].expand(-1, 3, 8, 8)
        return behaviour_error(torch.zeros_like(targets), targets, len(errors), in_logs=True).item()

    assert in_logs(0.492) == pytest.approx(0.1 * math.log(0.5))
    # Halving the small error is worth as much as halving the large one.
    assert in_logs(0.5, 0.05) - in_logs(0.246, 0.05) == pytest.approx(0.05 * math.log(2), rel=1e-3)
    assert in_logs(0.5, 0.05) - in_logs(0.5, 0.021) == pytest.approx(0.05 * math.log(2), rel=1e-3)


@pytest.mark.parametrize("kind", DENOISERS)
def test_gradients_reach_every_parameter(kind):
    denoiser = made(kind).train()
    denoiser(some_blocks(), torch.tensor([1.0, 0.3]), some_words()).square().sum().backward()
    without = [
        name for name, p in denoiser.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


@pytest.mark.parametrize("kind", DENOISERS)
def test_a_new_denoiser_says_the_mean(kind):
    denoiser = DENOISERS[kind](SHAPE)
    assert not denoiser(some_blocks(), torch.ones(2), some_words()).any()


@pytest.mark.parametrize("kind", DENOISERS)
def test_room_after_the_last_token_changes_nothing(kind):
    denoiser, words = made(kind), some_words()
    wider = Context(
        torch.cat([words.vectors, torch.full((2, 3, 8), 9.0)], dim=1),
        torch.cat([words.mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1),
    )
    with torch.no_grad():
        narrow = denoiser(some_blocks(), torch.ones(2), words)
        torch.testing.assert_close(
            denoiser(some_blocks(), torch.ones(2), wider), narrow, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("kind", DENOISERS)
def test_the_phrase_and_its_colours_are_read_beside_the_words(kind):
    denoiser = made(kind, replace(SHAPE, n_phrase_values=6, n_colour_values=3))
    words, phrase = some_words(), torch.randn(2, 6, generator=torch.Generator().manual_seed(3))
    colours = torch.tensor([[[0.5, 0.1, 0.2], [float("nan")] * 3], [[float("nan")] * 3] * 2])
    full = replace(words, phrase=phrase, colours=colours)

    def run(context):
        with torch.no_grad():
            return denoiser(some_blocks(), torch.ones(2), context)

    assert run(full).isfinite().all()
    assert not torch.allclose(run(full), run(replace(full, phrase=-phrase)), atol=1e-4)
    changed = run(replace(full, colours=colours * 2))
    assert not torch.allclose(run(full)[0], changed[0], atol=1e-4)
    torch.testing.assert_close(run(full)[1], changed[1], atol=1e-5, rtol=1e-5)  # it names no colour
    nothing = replace(full, mask=torch.zeros_like(words.mask))
    torch.testing.assert_close(run(nothing), run(replace(nothing, phrase=-phrase)), atol=1e-5, rtol=1e-5)
    assert [len(part) for part in (full.repeat(2).phrase, full.repeat(2).colours)] == [4, 4]


@pytest.mark.parametrize("kind", DENOISERS)
@pytest.mark.parametrize("pooled", [False, True])
def test_order_of_words_matters_unless_they_are_pooled(kind, pooled):
    denoiser, words = made(kind, replace(SHAPE, pooled_words=pooled)), some_words()
    turned = Context(words.vectors.flip(1), words.mask)
    with torch.no_grad():
        one = denoiser(some_blocks(), torch.ones(2), words)
        other = denoiser(some_blocks(), torch.ones(2), turned)
    assert torch.allclose(one, other, atol=1e-5) == pooled


def test_blocks_see_each_other_in_the_joint_denoiser_only():
    noised = some_blocks()
    changed = noised.clone()
    changed[:, 2] += 1
    for kind, agrees in ((JointDenoiser, False), (UNetDenoiser, True)):
        denoiser = made("joint" if kind is JointDenoiser else "unet")
        with torch.no_grad():
            one = denoiser(noised, torch.ones(2), some_words())
            other = denoiser(changed, torch.ones(2), some_words())
        assert torch.allclose(one[:, :2], other[:, :2], atol=1e-5) == agrees
        assert not torch.allclose(one[:, 2], other[:, 2], atol=1e-5)


def test_a_row_without_words_is_no_nan():
    words = some_words()
    nothing = Context(words.vectors, torch.zeros_like(words.mask))
    assert made("joint")(some_blocks(), torch.ones(2), nothing).isfinite().all()
