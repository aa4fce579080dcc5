"""The networks by the book: exact counts, names of the public code, and what they compute."""

import pytest
import torch
from torch import nn

from initzoo.networks.pix2pix import PatchDiscriminator, ResNet, UNet, initialise_by_the_book


def n_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("make", "count"), [(UNet, 54_413_955), (ResNet, 11_378_179), (PatchDiscriminator, 2_768_705)]
)
def test_networks_have_the_counts_of_the_paper(make, count):
    with torch.device("meta"):
        assert n_weights(make()) == count


def test_names_are_those_of_the_public_code():
    with torch.device("meta"):
        unet, resnet, judge = (set(make().state_dict()) for make in (UNet, ResNet, PatchDiscriminator))
    inside = "model.model.1.model.3.model.3"
    assert {"model.model.0.weight", "model.model.3.weight", "model.model.3.bias"} <= unet
    assert {"model.model.1.model.1.weight", "model.model.1.model.2.running_var"} <= unet
    assert {f"{inside}.model.1.weight", f"{inside}.model.5.weight", f"{inside}.model.6.bias"} <= unet
    innermost = ".".join(["model.model.1", *["model.3"] * 6, "model"])
    assert {f"{innermost}.1.weight", f"{innermost}.3.weight", f"{innermost}.4.weight"} <= unet
    assert not any(name.startswith(f"{innermost}.5") for name in unet)
    assert len(unet) == 16 + 1 + 5 * 13  # 16 convolutions, the last with a bias; 13 normalisations
    assert {"model.1.weight", "model.10.conv_block.1.weight", "model.18.conv_block.5.bias"} <= resnet
    assert {"model.19.weight", "model.26.bias"} <= resnet
    assert {"model.0.bias", "model.2.weight", "model.9.num_batches_tracked", "model.11.bias"} <= judge
    assert "model.2.bias" not in judge


@pytest.mark.parametrize("n_halvings", [5, 6])
def test_unet_keeps_the_size_of_images_and_takes_a_batch_of_one(n_halvings):
    model = UNet(n_halvings=n_halvings, width=2)
    side = 2**n_halvings
    images = torch.rand(1, 3, side, 2 * side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    edited = model.train()(images)
    assert edited.shape == images.shape
    assert edited.abs().max() <= 1
    edited.mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_unet_256_drops_values_in_three_stages():
    with torch.device("meta"):
        dropouts = [layer for layer in UNet().modules() if isinstance(layer, nn.Dropout)]
        assert not [layer for layer in UNet(dropout=0).modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in dropouts] == [0.5] * 3


def test_a_discriminators_logit_sees_70_pixels():
    judge = PatchDiscriminator(width=2).eval()
    photo = torch.zeros(1, 3, 256, 256, requires_grad=True)
    logits = judge(photo, torch.zeros_like(photo))
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    rows = photo.grad.abs().sum(dim=(0, 1, 3)).nonzero().ravel()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_first_weights_are_normal_around_zero_and_scales_around_one():
    model = UNet(n_halvings=5, width=16)
    initialise_by_the_book(model, torch.Generator().manual_seed(0))
    weights = torch.cat([part.flatten() for name, part in model.named_parameters() if part.ndim == 4])
    scales = torch.cat(
        [layer.weight.detach() for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    )
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert scales.mean().item() == pytest.approx(1, abs=0.005)
    again = UNet(n_halvings=5, width=16)
    initialise_by_the_book(again, torch.Generator().manual_seed(0))
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))


def test_a_unet_needs_five_halvings():
    with pytest.raises(ValueError, match="at least 5 halvings"):
        UNet(n_halvings=4)
