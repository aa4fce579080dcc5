"""Training: Adam against torch's, crops, the fit of one adapter, and divergence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from zoo_fixtures import tiny_recipe

import initzoo
from initzoo.errors import HarvestError, LayoutMismatch
from initzoo.networks.adapters import Adapted
from initzoo.pairs.taught import Pairs
from initzoo.training.harvest import HarvestPlan, run_harvest
from initzoo.training.harvest.recipe import FitGan, FitStage, load_recipe
from initzoo.training.harvest.updates import (
    AdamState,
    TrainingDiverged,
    adam_update,
    draw_crops,
    fit_adapter,
    lane_gradient,
)

TINY = tiny_recipe(
    {"n_detail": 8, "n_middle": 8, "n_stages": 1, "n_upsampled": 4, "n_decoder": 8}, rank=2, head_rank=3
)


def tiny_base() -> Adapted:
    return Adapted(TINY.network.build(), TINY.ranks, generator=torch.Generator().manual_seed(0))


def negative_pairs() -> Pairs:
    photos = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    smooth = np.repeat(np.repeat(photos[:, ::8, ::8], 8, 1), 8, 2)
    return Pairs(inputs=smooth, targets=255 - smooth)


def test_adam_update_agrees_with_torch():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, generator=generator)
    theirs = values.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.03, betas=(0.8, 0.95))
    state = AdamState.zeros_like(values)
    for step in range(20):
        gradient = torch.randn(50, generator=generator)
        theirs.grad = gradient.clone()
        optimizer.step()
        adam_update(values, gradient, state, n_updates=step + 1, learning_rate=0.03, betas=(0.8, 0.95))
    torch.testing.assert_close(values, theirs.detach(), atol=1e-6, rtol=1e-5)


def test_draw_crops_cuts_the_same_place_of_input_and_target():
    pairs = negative_pairs()
    material = list(zip(pairs.inputs, pairs.targets, strict=True))
    inputs, targets = draw_crops(material, n_crops=9, crop_size=16, rng=np.random.default_rng(1))
    assert inputs.shape == targets.shape == (9, 3, 16, 16)
    torch.testing.assert_close(targets, -inputs)


def test_fit_adapter_learns_a_negative_and_leaves_the_base_alone():
    base, losses = tiny_base(), []
    before = base.values.detach().clone()
    adapter = fit_adapter(
        base,
        negative_pairs(),
        FitStage(n_steps=60, batch_size=4, learning_rate=5e-2),
        crop_size=32,
        max_gradient=1.0,
        seed=0,
        callback=lambda step, loss: losses.append(loss),
    )
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:5])
    assert adapter.abs().sum() > 0
    assert torch.equal(base.values, before)


def test_fit_adapter_gives_the_same_bytes_for_the_same_seed():
    stage = FitStage(n_steps=5, batch_size=2)
    settings = {"crop_size": 32, "max_gradient": 1.0}
    first, again, other = (
        fit_adapter(tiny_base(), negative_pairs(), stage, seed=seed, **settings) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_fit_may_have_a_discriminator_beside_the_error():
    error, both = (
        FitStage(n_steps=60, batch_size=4, learning_rate=5e-2, gan=gan)
        for gan in (None, FitGan("lsgan", l1_weight=20.0, width=4))
    )
    settings = {"crop_size": 32, "max_gradient": 1.0, "seed": 0}
    plain, first, again = (
        fit_adapter(tiny_base(), negative_pairs(), stage, **settings) for stage in (error, both, both)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)
    crops = draw_crops(
        list(zip(*(negative_pairs().inputs, negative_pairs().targets), strict=True)),
        n_crops=16,
        crop_size=32,
        rng=np.random.default_rng(5),
    )

    def error_of(adapter):
        with torch.no_grad():
            return float((tiny_base()(crops[0], adapter) - crops[1]).abs().mean())

    assert error_of(first) < 0.75 * error_of(torch.zeros_like(first))


def test_a_recipe_file_asks_for_a_discriminator(tmp_path):
    text = (Path(initzoo.__file__).parent / "training/harvest/recipes/e2gan-256-w16.toml").read_text()
    path = tmp_path / "judged.toml"

    def read(gan, crop_size=96):
        changed = text.replace("crop_size = 96", f"crop_size = {crop_size}")
        path.write_text(changed.replace("[fit]", f"[fit]\ngan = {gan}"))
        return load_recipe(path)

    assert load_recipe("e2gan-256-w16").fit.gan is None
    recipe = read('{ loss = "lsgan", width = 16 }')
    assert recipe.fit.gan == FitGan("lsgan", width=16)
    assert recipe.fit.of_new().gan == recipe.fit.gan
    for gan, size, said in [
        ('{ loss = "wgan" }', 96, "wgan"),
        ("{ width = 0 }", 96, "width must be at least 1, found 0"),
        ("{ weight = 3 }", 96, "unknown setting 'fit.gan.weight'"),
        ("{ width = 8 }", 16, "crop_size must be at least 32 with fit.gan, found 16"),
    ]:
        with pytest.raises(LayoutMismatch, match=said):
            read(gan, size)
    plan = HarvestPlan.make(recipe, limit=2)
    with pytest.raises(HarvestError, match="has a discriminator in its fits, which an accelerator does not"):
        run_harvest(plan, tmp_path / "run", tmp_path / "out", device=torch.device("cpu", 0))
    assert [file.name for file in tmp_path.iterdir()] == ["judged.toml"]


def test_fit_adapter_says_at_which_step_it_diverged():
    base = tiny_base()
    base.values.data[0] = float("nan")
    with pytest.raises(TrainingDiverged, match="at step 0"):
        fit_adapter(base, negative_pairs(), FitStage(n_steps=3), crop_size=32, max_gradient=1.0, seed=0)


def test_lane_gradient_is_the_gradient_that_autograd_finds_limited_in_norm():
    base = tiny_base()
    adapter = 0.1 * torch.randn(base.n_adapter_values, generator=torch.Generator().manual_seed(1))
    inputs = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    wanted = adapter.clone().requires_grad_()
    loss = (base(inputs, wanted) + inputs).abs().mean()
    loss.backward()
    base_gradient, adapter_gradient, value = lane_gradient(base, adapter, inputs, -inputs, max_gradient=1e9)
    assert value == pytest.approx(loss.item())
    wanted_base = torch.cat([value.grad.flatten() for value in base.named_tensors().values()])
    torch.testing.assert_close(base_gradient, wanted_base)
    torch.testing.assert_close(adapter_gradient, wanted.grad)
    small, small_adapter, _ = lane_gradient(base, adapter, inputs, -inputs, max_gradient=0.01)
    norm = torch.cat([small, small_adapter]).norm().item()
    assert norm == pytest.approx(0.01, rel=1e-3)
