"""The image network: shapes, sizes, adapters, and agreement of its two forms."""

import numpy as np
import pytest
import torch

from initzoo.checkpoints.init import merge_adapter
from initzoo.checkpoints.recipe import NetworkShape, Recipe
from initzoo.errors import LayoutMismatch
from initzoo.networks.adapters import AdaptedPix2Pix, adapter_from_arrays, adapter_to_arrays
from initzoo.networks.starter import Pix2Pix

TINY = NetworkShape(n_detail=8, n_middle=8, n_stages=1, n_upsampled=4, n_decoder=8, rank=2, head_rank=3)


@pytest.fixture
def base() -> AdaptedPix2Pix:
    return AdaptedPix2Pix(TINY, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 3, 32, 40, generator=torch.Generator().manual_seed(2)) * 2 - 1


def some_adapters(base: AdaptedPix2Pix, n: int) -> torch.Tensor:
    return 0.2 * torch.randn(n, base.n_adapter_values, generator=torch.Generator().manual_seed(3))


def merged_network(base: AdaptedPix2Pix, adapter: torch.Tensor) -> Pix2Pix:
    layout = Recipe(name="tiny", network=TINY).layout
    model = Pix2Pix(TINY)
    model.load_merged(merge_adapter(base.to_arrays(), adapter_to_arrays(adapter, layout), layout))
    return model


def test_merged_network_computes_what_base_and_adapter_compute(base, images):
    adapter = some_adapters(base, 1)[0]
    torch.testing.assert_close(
        merged_network(base, adapter)(images), base(images, adapter), atol=1e-5, rtol=1e-4
    )


def test_a_group_of_adapters_gives_each_group_its_own_edit(base, images):
    adapters = some_adapters(base, 3)
    together = base(images, adapters)
    apart = torch.cat([base(images[2 * i : 2 * i + 2], adapters[i]) for i in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_fold_moves_an_adapter_into_the_base(base, images):
    adapter = some_adapters(base, 1)[0]
    before = base(images, adapter)
    base.fold(adapter)
    torch.testing.assert_close(base(images, torch.zeros_like(adapter)), before, atol=1e-5, rtol=1e-4)


def test_whiten_leaves_the_zero_adapter_alone_and_makes_outputs_of_a_uncorrelated(base, images):
    zero = torch.zeros(base.n_adapter_values)
    before = base(images, zero)
    base.whiten(images)
    torch.testing.assert_close(base(images, zero), before)
    packed = torch.nn.functional.pixel_unshuffle(images, 2)
    seen = (
        torch.nn.functional.conv2d(packed, base.base_tensor("detail.A"), None, 1, 1).movedim(1, 0).flatten(1)
    )
    squares = seen @ seen.T / seen.shape[1]
    torch.testing.assert_close(squares, torch.eye(2), atol=0.02, rtol=0)


def test_base_survives_a_round_trip_through_arrays(base):
    assert torch.equal(AdaptedPix2Pix.from_arrays(TINY, base.to_arrays()).values, base.values)


def test_adapter_survives_a_round_trip_through_arrays(base):
    layout = Recipe(name="tiny", network=TINY).layout
    adapter = some_adapters(base, 1)[0]
    assert torch.equal(adapter_from_arrays(adapter_to_arrays(adapter, layout), layout), adapter)
    assert layout.n_values == base.n_adapter_values


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 50), (1, 1), (255, 3)])
def test_edit_takes_any_size_and_keeps_it(base, size):
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    edited = merged_network(base, some_adapters(base, 1)[0]).edit(photo)
    assert edited.shape == photo.shape
    assert edited.dtype == np.uint8


def test_tiles_of_a_large_image_have_no_seams(base, monkeypatch):
    photo = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    model = merged_network(base, some_adapters(base, 1)[0])
    whole = model.edit(photo)
    monkeypatch.setattr("initzoo.networks.starter._TILE", 64)
    # Convolutions of another size may add in another order, which rounding can show in a rare pixel.
    assert np.abs(model.edit(photo).astype(int) - whole).max() <= 1


def test_nothing_beyond_its_reach_changes_a_pixel(base):
    model = merged_network(base, some_adapters(base, 1)[0])
    photo = np.full((160, 160, 3), 90, np.uint8)
    changed = photo.copy()
    changed[80, 80] = 250
    rows, columns, _ = np.nonzero(model.edit(photo) != model.edit(changed))
    assert len(rows)
    assert max(abs(rows - 80).max(), abs(columns - 80).max()) <= TINY.reach


def test_edit_refuses_what_is_no_uint8_image(base):
    with pytest.raises(ValueError, match="expected uint8"):
        Pix2Pix(TINY).edit(np.zeros((8, 8, 3), np.float32))


def test_forward_refuses_sides_that_are_no_multiples_of_four():
    with pytest.raises(ValueError, match="multiples of 4"):
        Pix2Pix(TINY)(torch.zeros(1, 3, 10, 12))


def test_load_merged_names_the_tensor_that_does_not_fit():
    state = {name: value.numpy() for name, value in Pix2Pix(TINY).state_dict().items()}
    with pytest.raises(
        LayoutMismatch, match=r"'head.weight': the network expects \(12, 8, 3, 3\), found None"
    ):
        Pix2Pix(TINY).load_merged({name: v for name, v in state.items() if name != "head.weight"})
    with pytest.raises(LayoutMismatch, match="'other.bias': the network expects None"):
        Pix2Pix(TINY).load_merged(state | {"other.bias": np.zeros(3, np.float32)})


def test_gradients_flow_through_values_beyond_black_and_white():
    model = Pix2Pix(TINY)
    torch.nn.init.constant_(model.get_submodule("head").bias, 5.0)
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    assert model.get_submodule("head").bias.grad.abs().min() > 0
