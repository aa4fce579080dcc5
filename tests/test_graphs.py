"""Graphs: denoisers and image networks that run in onnxruntime give what they give in torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_weight_generator import make_generator

from initzoo import Zoo
from initzoo.errors import ChecksumMismatch, InvalidGenerator, LayoutMismatch
from initzoo.files import DamagedFile
from initzoo.generator.model import WeightGenerator
from initzoo.generator.runners import GRAPH_FILE, GraphRunner, TorchRunner, pad_context
from initzoo.generator.trust import is_bundled_graph
from initzoo.networks import GraphNetwork
from initzoo.networks.starter import StarterNet
from initzoo.pairs import catalog_folder
from initzoo.training import add_graph, export_network

pytestmark = pytest.mark.xdist_group("exports")  # one process of the tests loads the exporter

WORDS = ("navy to gold", "gold", "a navy sketch to gold")


@pytest.fixture(scope="module")
def both():
    """A weight generator in torch, and the same one as a graph."""
    generator = make_generator()
    return generator, add_graph(generator)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("n_timesteps", [1, 3])
def test_a_graph_generates_what_torch_generates(both, words, n_timesteps):
    in_torch, as_graph = both
    expected = in_torch.generate(words, seed=5, n_timesteps=n_timesteps)
    actual = as_graph.generate(words, seed=5, n_timesteps=n_timesteps)
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(as_graph.generate(words, seed=5, n_timesteps=n_timesteps), actual)


def test_a_saved_graph_is_read_again_and_takes_the_saved_weights(both, tmp_path, monkeypatch):
    as_graph = both[1]
    monkeypatch.setattr("initzoo.generator.model.is_bundled_graph", lambda data: data == as_graph.graph)
    as_graph.save_pretrained(tmp_path / "generator")
    assert (tmp_path / "generator" / GRAPH_FILE).stat().st_size < 100_000
    again = WeightGenerator.from_pretrained(tmp_path / "generator")
    np.testing.assert_array_equal(again.generate(WORDS[0]), as_graph.generate(WORDS[0]))
    again.save_pretrained(tmp_path / "again")
    for path in (tmp_path / "generator").rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(tmp_path / "generator")
            assert other.read_bytes() == path.read_bytes()


def test_a_changed_or_missing_graph_is_refused(both, tmp_path):
    both[1].save_pretrained(tmp_path / "generator")
    path = tmp_path / "generator" / GRAPH_FILE
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ChecksumMismatch, match=f"{GRAPH_FILE}': expected sha256"):
        WeightGenerator.from_pretrained(tmp_path / "generator")
    path.unlink()
    with pytest.raises(InvalidGenerator, match=GRAPH_FILE):
        WeightGenerator.from_pretrained(tmp_path / "generator")


def test_a_graph_refuses_other_weights_and_bytes_that_are_no_graph(both):
    as_graph = both[1]
    weights = as_graph._runner.weights()
    name = sorted(weights)[0]
    for changed in (weights | {name: weights[name][:1]}, weights | {"more": weights[name]}):
        with pytest.raises(DamagedFile, match="the graph expects"):
            GraphRunner(as_graph.graph, changed)
    with pytest.raises(DamagedFile, match=f"{GRAPH_FILE} cannot be read"):
        GraphRunner(b"no graph", weights)


def test_context_is_padded_with_what_is_left_out():
    context = {"mask": np.ones((1, 2), bool), "colours": np.zeros((1, 1, 3), np.float32), "more": np.ones(1)}
    padded = pad_context(context, {"mask": (1, 4), "colours": (1, 3, 3)})
    assert padded["mask"].tolist() == [[True, True, False, False]]
    assert np.isnan(padded["colours"][0]).all(axis=1).tolist() == [False, True, True]
    assert "more" not in padded


@pytest.fixture(scope="module")
def small():
    """A small network with weights of its own, and its graph."""
    torch.manual_seed(0)
    network = StarterNet(n_detail=8, n_middle=8, n_stages=2, n_upsampled=4, n_decoder=8, n_full=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return network, export_network(network)


@pytest.mark.long
@pytest.mark.parametrize("sides", [(64, 64), (50, 97), (9, 130)])
def test_a_network_as_a_graph_edits_as_in_torch(small, sides):
    network, data = small
    graph = GraphNetwork(data, network.to_arrays())
    photo = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    expected = network.edit(photo, strength=0.8).astype(int)
    actual = graph.edit(photo, strength=0.8)
    assert actual.shape == photo.shape
    assert np.abs(actual - expected).max() <= 1
    assert (actual != expected).mean() < 0.01
    assert (graph.multiple, graph.halo) == (network.multiple, network.halo)


def test_a_graph_of_a_network_takes_the_weights_of_that_network_alone():
    with pytest.raises(LayoutMismatch, match="the network expects"):
        GraphNetwork(Zoo.from_pretrained("starter").graph(), StarterNet(n_detail=8).to_arrays())
    with pytest.raises(DamagedFile, match="cannot be read"):
        GraphNetwork(b"no graph", {})


def test_every_checkpoint_of_the_bundled_zoo_runs_in_its_graph():
    zoo = Zoo.from_pretrained("starter")
    graph = zoo.graph()
    photo = np.random.default_rng(2).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for concept in ("pencil-sketch", "sepia", "denoise"):
        network = zoo.checkpoint(concept)
        edited = GraphNetwork(graph, network.to_arrays()).edit(photo)
        assert np.abs(edited.astype(int) - network.edit(photo)).max() <= 1
    odd = photo[:37, :50]  # sides that are no multiple of what the network halves
    edited = GraphNetwork(graph, network.to_arrays()).edit(odd, strength=0.8)
    assert edited.shape == odd.shape
    assert np.abs(edited.astype(int) - network.edit(odd, strength=0.8)).max() <= 1
    assert zoo.graph("another") is None


def test_a_generator_without_a_graph_still_runs(both, tmp_path):
    in_torch = both[0]
    in_torch.save_pretrained(tmp_path / "generator")
    assert not (tmp_path / "generator" / GRAPH_FILE).exists()
    again = WeightGenerator.from_pretrained(tmp_path / "generator")
    np.testing.assert_array_equal(again.generate(WORDS[0]), in_torch.generate(WORDS[0]))
    assert replace(again.config) == in_torch.config


def test_a_graph_of_others_is_kept_and_not_run(both, tmp_path):
    in_torch, as_graph = both
    as_graph.save_pretrained(tmp_path / "generator")
    again = WeightGenerator.from_pretrained(tmp_path / "generator")
    np.testing.assert_array_equal(again.generate(WORDS[0]), in_torch.generate(WORDS[0]))
    assert isinstance(again._runner, TorchRunner)
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / GRAPH_FILE).read_bytes() == as_graph.graph


def test_graphs_of_the_bundled_zoo_are_known():
    folder = catalog_folder() / "model"
    graphs = [*folder.glob("base/*/network.onnx"), *folder.glob(f"weight_generator/*/{GRAPH_FILE}")]
    assert graphs
    assert all(is_bundled_graph(path.read_bytes()) for path in graphs)
