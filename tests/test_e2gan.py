"""The network of the paper's setting: counts, adapters of all of its layers, photos of any size, graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_photos
from rank_search import search_ranks
from test_harvest_details import CONCEPTS

from initzoo.checkpoints import NetworkSpec, Recipe, merge_adapter
from initzoo.errors import LayoutMismatch
from initzoo.networks import Adapted, adapter_to_arrays, build_network, diagnose_network, layers_of
from initzoo.networks.e2gan import E2ganNet, _thinned
from initzoo.networks.known import recognise
from initzoo.pairs import load_concepts
from initzoo.training.harvest import HarvestPlan, accelerated, load_recipe, quick_recipe, run_harvest
from initzoo.training.harvest.recipe import DetailStage
from initzoo.training.harvest.together import stack_adapters, using_stacked
from initzoo.zoo import Zoo

WORDS = [f"words_{part}" for part in ("query", "key", "value", "out")]
RANKS = {"detail": 3, "words": 7, "photo_query": 3, "photo_value": 2} | dict.fromkeys(WORDS, 2) | {"end": 4}


@pytest.fixture
def base() -> Adapted:
    return Adapted(E2ganNet(width=4), RANKS, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 3, 32, 40, generator=torch.Generator().manual_seed(2)) * 2 - 1


def some_adapters(base: Adapted, n: int) -> torch.Tensor:
    return 0.2 * torch.randn(n, base.n_adapter_values, generator=torch.Generator().manual_seed(3))


def network_of(base: Adapted, adapter: torch.Tensor) -> E2ganNet:
    """The plain network that a checkpoint is: weights merged by numpy."""
    recipe = Recipe.of("tiny", NetworkSpec("e2gan", base.network.sizes), base.ranks)
    arrays = adapter_to_arrays(adapter, dict(recipe.layout.tensors))
    network = recipe.network.build()
    network.load_arrays(merge_adapter(base.to_arrays(), arrays, recipe.layout))
    return network


@pytest.mark.parametrize(("width", "count"), [(16, 432_396), (32, 1_699_020), (64, 6_735_948)])
def test_networks_are_about_as_large_as_the_papers_setting_wants(width, count):
    with torch.device("meta"):
        network = E2ganNet(width=width)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert recognise(shapes) == ("e2gan", {"width": width, "n_words": 8, "n_full": 8})


def test_all_weights_are_those_of_layers_that_can_be_adapted(base):
    names = {name.rpartition(".")[0] for name in base.network.state_dict()}
    assert names == set(layers_of(base.network))


def test_merged_grouped_and_stacked_adapters_compute_the_same(base, images):
    adapters = some_adapters(base, 3)
    apart = torch.cat([network_of(base, adapters[i])(images[2 * i : 2 * i + 2]) for i in range(3)])
    torch.testing.assert_close(base(images, adapters), apart, atol=1e-5, rtol=1e-4)
    with using_stacked(base.network, stack_adapters(base, adapters)):
        torch.testing.assert_close(base.network(images), apart, atol=1e-5, rtol=1e-4)
    whole = {
        name: value.detach().repeat(3, *[1] * value.ndim)
        for name, value in base.named_tensors().items()
        if not name.endswith(".A")
    }
    with using_stacked(base.network, stack_adapters(base, adapters, whole)):
        torch.testing.assert_close(base.network(images), apart, atol=1e-5, rtol=1e-4)


def test_words_are_weights_and_change_the_picture(base, images):
    adapter = torch.zeros(base.n_adapter_values, requires_grad=True)
    (gradient,) = torch.autograd.grad(base(images, adapter).square().mean(), [adapter])
    before = base(images, adapter)
    for name in ("words.B", "words.bias"):
        assert base.adapter_tensor(name, gradient).abs().max() > 0
    other = torch.zeros(base.n_adapter_values)
    base.adapter_tensor("words.B", other).normal_(generator=torch.Generator().manual_seed(4))
    assert (base(images, other) - before).abs().max() > 1e-4


def test_whitening_changes_no_picture(base, images):
    adapters = some_adapters(base, 2)
    before = base(images, adapters)
    base.whiten(images, adapters)
    torch.testing.assert_close(base(images, adapters), before, atol=1e-4, rtol=1e-3)


def test_two_bases_of_one_seed_are_the_same_in_layers_without_adapters_too():
    one, other = (
        Adapted(E2ganNet(width=4), RANKS, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert torch.equal(one.values, other.values)


def test_photos_pass_unchanged_through_a_blank_network(images):
    network = E2ganNet(width=4)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    torch.testing.assert_close(network(images), images)


@pytest.mark.parametrize("size", [(1, 1), (9, 31), (64, 50)])
def test_edit_takes_any_size_and_keeps_it(base, size):
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert network_of(base, some_adapters(base, 1)[0]).edit(photo).shape == photo.shape


def test_sides_that_are_no_multiples_of_eight_are_refused(base):
    with pytest.raises(ValueError, match="multiples of 8"):
        base.network(torch.zeros(1, 3, 12, 16))


@pytest.mark.parametrize("sizes", [{"width": 0}, {"width": 12}, {"width": 264}, {"n_words": 0}])
def test_sizes_that_no_network_can_have_are_refused(sizes):
    with pytest.raises(LayoutMismatch, match="e2gan"):
        build_network("e2gan", sizes)


def test_apart_from_attention_nothing_beyond_its_reach_changes_a_pixel():
    network = E2ganNet(width=4)
    torch.nn.init.zeros_(network.photo_out.weight)
    photo = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    furthest = 0
    with torch.no_grad():
        before = network(photo)
        for place in range(80, 88):  # all places in a cell
            changed = photo.clone()
            changed[:, :, place, place] = 1 - changed[:, :, place, place]
            rows, columns = (network(changed) != before)[0].any(0).nonzero().T
            furthest = max(furthest, int((rows - place).abs().max()), int((columns - place).abs().max()))
    assert network.reach - 8 < furthest <= network.reach


def test_attention_sees_all_of_a_photo_and_bounded_many_places_of_a_large_one():
    tokens = torch.arange(4.0 * 6).view(1, 24, 1)
    assert _thinned(tokens, 4, 6) is tokens
    for height, width in ((64, 65), (143, 147), (1, 9000), (700, 6)):
        large = torch.ones(1, height * width, 1)
        thinned = _thinned(large, height, width)
        assert 64 < thinned.shape[1] <= 64**2
        torch.testing.assert_close(thinned, torch.ones_like(thinned))


def test_a_drawn_network_is_healthy(images):
    base = Adapted(E2ganNet(width=16), RANKS, generator=torch.Generator().manual_seed(1))
    diagnosis = diagnose_network(base.network, images)
    assert diagnosis.verdict == "healthy", diagnosis.reason
    assert {layer.name for layer in diagnosis.layers} == set(layers_of(base.network))


@pytest.mark.long
def test_an_exported_graph_edits_photos_of_any_size_as_edit_does(base):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from initzoo.export.graphs import graph_of

    network = network_of(base, some_adapters(base, 1)[0])
    session = onnxruntime.InferenceSession(
        graph_of(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for height, width in ((40, 56), (33, 90)):
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        given = (photo.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32)
        [edited] = session.run(None, {"images": given})
        pixels = np.round((edited[0].transpose(1, 2, 0) + 1) * 127.5)
        assert np.abs(pixels - network.edit(photo).astype(float)).max() <= 1


def test_the_recipe_has_the_papers_adapters():
    """0.092 million values, about 360 blocks, on all layers but those of the residual stages."""
    recipe = load_recipe("e2gan-256")
    assert abs(recipe.layout.n_values / 92_000 - 1) < 0.02
    assert 353 <= recipe.layout.n_blocks <= 367
    full = recipe.layout.n_blocks * recipe.layout.block_size - recipe.layout.n_values
    assert full < recipe.layout.block_size, "no layer pads its blocks but the last"
    layers = layers_of(recipe.network.build())
    assert set(layers) - set(recipe.ranks) == {name for name in layers if name.startswith("stage")}
    for width in (16, 32):
        narrow = load_recipe(f"e2gan-256-w{width}")
        assert narrow.network.sizes == recipe.network.sizes | {"width": width}
        assert narrow.ranks == recipe.ranks


def test_ranks_grow_where_least_is_reached_until_the_values_are_used():
    falling, flat = 0.1 ** torch.arange(40.0), torch.ones(40)
    spectra = {"steep": falling, "level": flat, "last": flat}
    n_out = {"steep": 10, "level": 10, "last": 3}
    ranks = search_ranks(spectra, n_out, 10 * 4 + 10 * 16 + 3 * 5, fixed={"last": 4})
    assert ranks == {"steep": 3, "level": 15, "last": 4}


def test_forty_looks_are_forty_and_hold_some_out():
    concepts = load_concepts(Path(__file__).parent.parent / "examples" / "forty-looks.toml")
    splits = [concept.split for concept in concepts]
    counts = [splits.count(split) for split in ("train", "heldout-composed", "heldout-new")]
    assert counts == [27, 8, 5]
    assert all(concept.test_prompts for concept in concepts)


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_a_harvest_makes_a_zoo_of_such_networks(device, tmp_path, monkeypatch):
    (tmp_path / "concepts.toml").write_text(CONCEPTS)
    monkeypatch.setattr(accelerated, "_PATCH_SIZE", 64)
    recipe = quick_recipe(load_recipe("e2gan-256-w16"))
    recipe = replace(
        recipe,
        network=NetworkSpec("e2gan", {"width": 4}),
        ranks=RANKS,
        crop_size=32,
        joint=replace(recipe.joint, n_lanes=1, n_photos=3),
        fit=replace(recipe.fit, n_steps=2, n_steps_new=2, n_photos=9),
        detail=DetailStage(n_concepts=1, max_psnr=99, n_steps=4, max_steps=0, batch_size=2, n_photos=9),
    )
    plan = HarvestPlan.make(
        recipe, concepts_path=tmp_path / "concepts.toml", photos=write_photos(tmp_path / "photos")
    )
    report = run_harvest(plan, tmp_path / "run", tmp_path / "zoo", n_workers=1, device=device)
    assert (report.n_checkpoints, report.failures) == (3, [])
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert not zoo.verify().problems
    row = zoo.index.rows()[0]
    network = zoo.pull(row.prompts[0]).to_network()
    assert isinstance(network, E2ganNet)
    assert network.edit(np.zeros((20, 30, 3), np.uint8)).shape == (20, 30, 3)
