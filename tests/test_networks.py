"""The image network: shapes, sizes, adapters, and agreement of its two forms."""

import copy
import inspect
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from zoo_fixtures import make_zoo, tiny_recipe

from initzoo.checkpoints.init import Init
from initzoo.checkpoints.merge import merge_adapter
from initzoo.errors import LayoutMismatch, OutputError
from initzoo.networks.adapters import Adapted, adapter_from_arrays, adapter_to_arrays
from initzoo.networks.diagnosis import diagnose_network
from initzoo.networks.foreign import recognise_foreign
from initzoo.networks.known import NETWORKS, build_network
from initzoo.networks.network import ROLES, ImageNetwork
from initzoo.networks.scheme_names import CLASSICAL
from initzoo.networks.schemes import initialise
from initzoo.networks.starter import StarterNet
from initzoo.training.auto import AutoNetwork
from initzoo.zoo import Zoo
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.verify import verify_file

TINY = tiny_recipe(
    {"n_detail": 8, "n_middle": 8, "n_stages": 1, "n_upsampled": 4, "n_decoder": 8}, rank=2, head_rank=3
)


@pytest.fixture
def base() -> Adapted:
    return Adapted(TINY.network.build(), TINY.ranks, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 3, 32, 40, generator=torch.Generator().manual_seed(2)) * 2 - 1


def some_adapters(base: Adapted, n: int) -> torch.Tensor:
    return 0.2 * torch.randn(n, base.n_adapter_values, generator=torch.Generator().manual_seed(3))


def merged_network(base: Adapted, adapter: torch.Tensor) -> StarterNet:
    layout = TINY.layout
    model = TINY.network.build()
    model.load_arrays(
        merge_adapter(base.to_arrays(), adapter_to_arrays(adapter, dict(layout.tensors)), layout)
    )
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
        torch.nn.functional.conv2d(packed, base.named_tensors()["detail.A"], None, 1, 1)
        .movedim(1, 0)
        .flatten(1)
    )
    squares = seen @ seen.T / seen.shape[1]
    torch.testing.assert_close(squares, torch.eye(2), atol=0.02, rtol=0)


def test_base_survives_a_round_trip_through_arrays(base):
    assert torch.equal(TINY.build_base(base.to_arrays()).values, base.values)


def test_adapter_survives_a_round_trip_through_arrays(base):
    layout = TINY.layout
    adapter = some_adapters(base, 1)[0]
    assert torch.equal(
        adapter_from_arrays(adapter_to_arrays(adapter, dict(layout.tensors)), dict(layout.tensors)), adapter
    )
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
    monkeypatch.setattr("initzoo.networks.editing._TILE", 64)
    # Convolutions of another size may add in another order, which rounding can show in a rare pixel.
    assert np.abs(model.edit(photo).astype(int) - whole).max() <= 1


def test_nothing_beyond_its_reach_changes_a_pixel(base):
    model = merged_network(base, some_adapters(base, 1)[0])
    photo = np.full((160, 160, 3), 90, np.uint8)
    changed = photo.copy()
    changed[80, 80] = 250
    rows, columns, _ = np.nonzero(model.edit(photo) != model.edit(changed))
    assert len(rows)
    assert max(abs(rows - 80).max(), abs(columns - 80).max()) <= model.reach


def test_edit_refuses_what_is_no_uint8_image(base):
    with pytest.raises(ValueError, match="expected uint8"):
        TINY.network.build().edit(np.zeros((8, 8, 3), np.float32))


def test_forward_refuses_sides_that_are_no_multiples_of_four():
    with pytest.raises(ValueError, match="multiples of 4"):
        TINY.network.build()(torch.zeros(1, 3, 10, 12))


def test_load_arrays_names_the_tensor_that_does_not_fit():
    state = {name: value.numpy() for name, value in TINY.network.build().state_dict().items()}
    with pytest.raises(
        LayoutMismatch, match=r"'head.weight': the network expects \(12, 8, 3, 3\), found None"
    ):
        TINY.network.build().load_arrays({name: v for name, v in state.items() if name != "head.weight"})
    with pytest.raises(LayoutMismatch, match="'other.bias': the network expects None"):
        TINY.network.build().load_arrays(state | {"other.bias": np.zeros(3, np.float32)})


def test_gradients_flow_through_values_beyond_black_and_white():
    model = TINY.network.build()
    torch.nn.init.constant_(model.get_submodule("head").bias, 5.0)
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    assert model.get_submodule("head").bias.grad.abs().min() > 0


class Attentive(ImageNetwork):
    """A network with attention and group norm, which adapters are attached to as to any other."""

    multiple = 2

    hidden_sizes = ("n_heads",)

    def __init__(self, *, width: int = 8, n_heads: int = 1) -> None:
        super().__init__()
        self.sizes = {"width": width, "n_heads": n_heads}
        self.enter = torch.nn.Conv2d(3, width, 3, stride=2, padding=1, padding_mode="reflect")
        self.norm = torch.nn.GroupNorm(2, width)
        self.queries = torch.nn.Linear(width, 3 * width)
        self.leave = torch.nn.ConvTranspose2d(width, 3, 2, stride=2)

    @property
    def reach(self) -> int:
        return 64

    @property
    def roles(self):
        return {"enter": "linear", "queries": "linear", "leave": "end"}

    def forward(self, images):
        x = self.norm(self.enter(images))
        tokens = x.flatten(2).transpose(1, 2)
        n_heads = self.sizes["n_heads"]
        q, k, v = (
            part.unflatten(2, (n_heads, -1)).transpose(1, 2) for part in self.queries(tokens).chunk(3, dim=2)
        )
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.leave(x + mixed.transpose(1, 2).reshape(x.shape))


def test_adapters_attach_to_any_network_and_agree_with_merged_weights(images):
    generator = torch.Generator().manual_seed(0)
    base = Adapted(Attentive(), {"enter": 2, "queries": 3}, generator=generator)
    base.whiten(images)
    adapters = some_adapters(base, 3)
    together = base(images, adapters)
    apart = torch.cat([base(images[2 * i : 2 * i + 2], adapters[i]) for i in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
    merged = copy.deepcopy(base)
    merged.fold(adapters[1])
    plain = merged.network(images)
    torch.testing.assert_close(plain, base(images, adapters[1]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain, base.network(images)), "a deep copy has weights of its own"


def test_gradients_reach_adapters_and_base_alike_in_both_forms(images):
    base = Adapted(Attentive(), {"enter": 2, "queries": 3}, generator=torch.Generator().manual_seed(0))
    adapter = some_adapters(base, 1)[0].requires_grad_()
    one = torch.autograd.grad(base(images, adapter).square().mean(), [adapter, *base.parameters()])
    many = torch.autograd.grad(base(images, adapter[None]).square().mean(), [adapter, *base.parameters()])
    for alone, grouped in zip(one, many, strict=True):
        torch.testing.assert_close(alone, grouped, atol=1e-6, rtol=1e-3)


def test_flat_values_of_a_base_and_its_parameters_are_the_same_memory():
    base = Adapted(Attentive(), {"enter": 2}, generator=torch.Generator().manual_seed(0))
    before = base.to_arrays()
    base.values.add_(1)
    assert all(np.array_equal(after, before[name] + 1) for name, after in base.to_arrays().items())


@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "he_residual"])
def test_every_classical_scheme_fills_linear_layers_too(name):
    network = Attentive()
    initialise(network, name, seed=0)
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_a_layer_that_is_not_there_has_no_adapter():
    with pytest.raises(LayoutMismatch, match="layer 'tail': Attentive has no Conv2d or Linear of that name"):
        Adapted(Attentive(), {"tail": 2})
    with pytest.raises(LayoutMismatch, match="adapter of layer 'enter': expected .* rank 0"):
        Adapted(Attentive(), {"enter": 0})


def test_a_saved_network_comes_back_from_its_folder_or_from_the_file_alone(tmp_path):
    model = StarterNet(n_detail=8, n_stages=3)
    model.save_pretrained(tmp_path / "mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "model.safetensors"):
        again = AutoNetwork.from_pretrained(path)
        assert again.sizes == model.sizes
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)
    with pytest.raises(OutputError, match="exists already"):
        model.save_pretrained(tmp_path / "mine")
    model.save_pretrained(tmp_path / "mine", force=True)


def test_sizes_that_shapes_do_not_show_come_from_a_config_and_are_never_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(Attentive, "kind", "attentive")
    monkeypatch.setitem(NETWORKS, "attentive", Attentive)
    model = Attentive(n_heads=4)
    model.save_pretrained(tmp_path / "mine")
    assert AutoNetwork.from_pretrained(tmp_path / "mine").sizes == {"width": 8, "n_heads": 4}
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    with pytest.raises(LayoutMismatch, match="plain.safetensors' holds .* whose n_heads cannot be inferred"):
        AutoNetwork.from_pretrained(tmp_path / "plain.safetensors")


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_name_their_hidden_sizes_and_known_roles(kind):
    with torch.device("meta"):  # some are large
        network = NETWORKS[kind]()
    assert set(network.roles.values()) <= set(ROLES)
    for name in inspect.signature(NETWORKS[kind]).parameters:
        value = {"n_halvings": 6, "norm": 0}.get(name, 2 * network.sizes.get(name, 0) or 8)
        with torch.device("meta"):
            other = NETWORKS[kind](**{name: value})
        shapes, other_shapes = (
            {key: value.shape for key, value in one.state_dict().items()} for one in (network, other)
        )
        assert (shapes == other_shapes) == (name in network.hidden_sizes)


def test_layers_without_an_activation_are_not_judged_by_one(monkeypatch):
    network = Attentive()
    with torch.no_grad():
        for name in ("enter", "queries"):
            network.get_submodule(name).bias.fill_(-20.0)  # a SiLU would pass nothing of it
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = {layer.name: layer for layer in diagnose_network(network, images).layers}
    assert layers["enter"].saturated == 0
    assert layers["enter"].dead == 0
    monkeypatch.setattr(Attentive, "roles", {})
    judged = {layer.name: layer for layer in diagnose_network(network, images).layers}
    assert judged["enter"].saturated == 1


def test_a_plain_state_dict_is_recognised_by_its_tensors(tmp_path):
    model = StarterNet(n_detail=8, n_middle=4)
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    assert AutoNetwork.from_pretrained(tmp_path / "plain.safetensors").sizes == model.sizes
    save_file({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(LayoutMismatch, match=r"of an unknown network \(tensors fc.weight, "):
        AutoNetwork.from_pretrained(tmp_path / "other.safetensors")


def test_weights_of_a_training_loop_become_an_init(tmp_path):
    model = StarterNet(n_detail=8)
    Init.from_model(model, name="My Look").save(tmp_path / "mine.safetensors")
    init = Init.load(tmp_path / "mine.safetensors")
    assert (init.metadata.concept, init.metadata.licence) == ("my-look", "")
    assert torch.equal(init.to_network().state_dict()["detail.weight"], model.state_dict()["detail.weight"])
    assert AutoNetwork.from_pretrained(tmp_path / "mine.safetensors").sizes == model.sizes


def only_planned(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Fail where a network is built with memory."""
    known = NETWORKS[kind]

    class Watched(known):
        def __init__(self, **sizes: int) -> None:
            assert torch.get_default_device().type == "meta"
            super().__init__(**sizes)

    Watched.__signature__ = inspect.signature(known)
    monkeypatch.setitem(NETWORKS, kind, Watched)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("starter", {"n_middle": 2**14}),
        ("starter", {"n_stages": 2**14}),
        ("pix2pix-unet", {"width": 2**14}),
        ("pix2pix-resnet", {"n_stages": 2**14}),
        ("pix2pix-resnet", {"width": 2**14}),
        ("e2gan", {"n_words": 2**14 + 1}),
    ],
)
def test_a_network_that_is_too_large_is_refused_before_it_takes_memory(
    kind: str, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    only_planned(monkeypatch, kind)
    began = time.process_time()
    with pytest.raises(LayoutMismatch, match=f"network '{kind}'.*( weights, at most|must be from 0 to)"):
        build_network(kind, sizes)
    assert time.process_time() - began < 2


def test_a_recipe_whose_network_has_other_sizes_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    path = zoo / "model" / "base" / "tiny" / "config.json"
    values = json.loads(path.read_bytes())
    values["network"]["sizes"]["n_middle"] = 99
    path.write_text(json.dumps(values))
    refresh_manifest(zoo)
    only_planned(monkeypatch, "starter")
    problems = Zoo.from_pretrained(zoo).verify().problems
    assert any(
        "recipe 'tiny': tensor 'down.bias': the network expects (99,), found" in one for one in problems
    )
    assert verify_file(path).problems
    init = Zoo.from_pretrained(zoo).pull("night")
    with pytest.raises(LayoutMismatch, match=r"'down.bias': the network expects \(99,\)"):
        init.to_network()
    init.save(tmp_path / "night.safetensors")
    assert verify_file(tmp_path / "night.safetensors").problems


def test_a_state_dict_of_empty_tensors_does_not_make_a_large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = StarterNet().state_dict() | {"detail.weight": torch.zeros(10**9, 0)}
    only_planned(monkeypatch, "starter")
    with pytest.raises(LayoutMismatch, match="an unknown network"):
        recognise_foreign(tensors)
