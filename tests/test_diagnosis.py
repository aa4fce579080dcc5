"""Diagnosis: the verdicts that are known beforehand, and that looking changes nothing."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

from initzoo.cli.main import main
from initzoo.evaluation.report.diagnosis import draw_diagnosis
from initzoo.networks.diagnosis import diagnose_network
from initzoo.networks.tiles import to_images
from initzoo.pairs.photos import load_photos, middle_squares
from initzoo.training.auto import AutoNetwork
from initzoo.training.schemes import Initializer
from initzoo.zoo.zoo import Zoo


@pytest.fixture(scope="module")
def images():
    return to_images(middle_squares(load_photos(split="score"), side=32))


@pytest.fixture(scope="module")
def starts():
    return Initializer(Zoo.from_pretrained("starter"))


def normal_network(starts, std):
    network = starts.network("zeros")
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0.0, std, generator=generator)
    return network


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("zeros", "symmetric"),
        ("constant", "symmetric"),
        ("dirac", "symmetric"),
        ("xavier_normal", "healthy"),
        ("he_uniform", "healthy"),
        ("orthogonal", "healthy"),
        ("eye", "healthy"),
        ("base", "healthy"),
    ],
)
def test_named_starts_get_the_verdict_that_is_known_of_them(starts, images, name, verdict):
    assert diagnose_network(starts.network(name), images).verdict == verdict


def test_badly_scaled_normals_explode_or_vanish(starts, images):
    assert diagnose_network(normal_network(starts, 1.0), images).verdict == "exploding"
    small = diagnose_network(normal_network(starts, 0.002), images)
    assert small.verdict == "vanishing"
    assert "times the scale" in small.reason
    assert diagnose_network(normal_network(starts, float("inf")), images).verdict == "exploding"


def test_a_trained_checkpoint_is_healthy(images):
    found = diagnose_network(AutoNetwork.from_pretrained("pencil sketch"), images)
    assert found.verdict == "healthy"
    assert [layer.name for layer in found.layers][:2] == ["detail", "down"]


def test_twins_are_counted_one_by_one(starts, images):
    network = starts.network("he_normal")
    before = diagnose_network(network, images).layers
    with torch.no_grad():  # two equal units of `detail`, which all that follows treats alike
        for layer, is_input in (("detail", False), ("down", True), ("decoder", True)):
            weight = network.get_submodule(layer).weight
            if is_input:
                weight[:, 1] = weight[:, 0]
            else:
                weight[1] = weight[0]
    after = diagnose_network(network, images).layers
    assert before[0].duplicated == 0
    assert after[0].duplicated == pytest.approx(2 / network.sizes["n_detail"])
    with torch.no_grad():
        network.down.weight[:, 1] *= 2  # now they learn apart
    assert diagnose_network(network, images).layers[0].duplicated == 0


def test_dead_and_saturated_units_are_counted(starts, images):
    network = starts.network("he_normal")
    with torch.no_grad():
        network.detail.bias[:16] = -50.0
        network.detail.weight[:16] *= 0.1
        network.end.bias[:] = 9.0
    layers = {layer.name: layer for layer in diagnose_network(network, images).layers}
    assert layers["detail"].dead == pytest.approx(0.25)
    assert layers["detail"].saturated == pytest.approx(0.25, abs=0.02)
    assert layers["end"].saturated > 0.9
    assert layers["end"].verdict == "saturated"


def test_scales_are_those_of_a_linear_layer(starts, images):
    network = starts.network("zeros")
    nn.init.dirac_(network.detail.weight)
    layers = {layer.name: layer for layer in diagnose_network(network, images).layers}
    share = (12 / network.sizes["n_detail"]) ** 0.5  # of the channels that a pixel's values go to
    assert layers["detail"].forward == pytest.approx(share, rel=1e-4)
    assert layers["end"].forward == pytest.approx(1, rel=0.1)
    assert layers["detail"].backward == 0


def test_a_diagnosis_changes_no_weight(starts, images):
    network = starts.network("he_normal")
    network.head.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    diagnose_network(network, images)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.head.weight.requires_grad
    assert not network.detail._forward_hooks


def test_a_plot_is_a_png(starts, images):
    pytest.importorskip("matplotlib")
    for name in ("zeros", "he_normal"):
        assert draw_diagnosis(diagnose_network(starts.network(name), images), name)[1:4] == b"PNG"


def test_command_says_a_verdict_for_each(tmp_path, kept_photo_folder):
    save_file(AutoNetwork.from_pretrained("pencil sketch").state_dict(), tmp_path / "own.safetensors")
    plot = tmp_path / "zeros.png"
    photos = ["--photos", str(kept_photo_folder)]
    words = ["diagnose", "zeros", str(tmp_path / "own.safetensors"), "--json", *photos]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["zeros"]["verdict"] == "symmetric"
    assert told[str(tmp_path / "own.safetensors")]["verdict"] == "healthy"
    result = CliRunner().invoke(main, ["diagnose", "zeros", "--plot", str(plot), *photos])
    assert result.exit_code == 0, result.output
    assert "zeros  symmetric  100% of the units have a twin" in result.stdout
    assert plot.read_bytes()[1:4] == b"PNG"
    again = CliRunner().invoke(main, ["diagnose", "zeros", "--plot", str(plot), *photos])
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    unknown = CliRunner().invoke(main, ["diagnose", "he_norma"])
    assert unknown.exit_code == 1
    assert "no initialization scheme 'he_norma'. Did you mean 'he_normal'?" in unknown.stderr
