"""Exports as folders: the code of their READMEs loads them, and they make the pictures that initzoo makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_running import fail, succeed
from zoo_fixtures import kept_zoo, make_zoo, tiny_recipe

from initzoo import Init, Zoo, export
from initzoo.errors import InvalidInit, OutputError
from initzoo.networks.adapters import Adapted
from initzoo.networks.pix2pix import ResNet, UNet
from initzoo.zoo import import_checkpoint

__all__ = ["kept_zoo"]

SIZES = {"n_detail": 6, "n_middle": 4, "n_stages": 1, "n_upsampled": 2, "n_decoder": 6, "n_full": 3}
SHAPES = ((1, 64, 64), (2, 97, 130), (1, 272, 70))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """A zoo of a small network that ends at full resolution, with a checkpoint that has a detail."""
    recipe = tiny_recipe(SIZES, rank=2, head_rank=3)
    folder = make_zoo(tmp_path_factory.mktemp("zoos") / "small", recipe=recipe, detailed=("night",))
    return Zoo.from_pretrained(folder)


def random_init(network: torch.nn.Module) -> Init:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return Init.from_model(network, name="my look")


def photo_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run_readme(folder: Path, **given: object) -> dict[str, object]:
    """Run the code of a README in its folder."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line]) <= 3
    values = dict(given)
    exec(compile(code[1], "README.md", "exec"), values)
    return values


def check_pictures(init: Init, folder: Path, monkeypatch: pytest.MonkeyPatch, *, as_numpy: bool) -> None:
    """The exported network gives the pictures of `edit`, which mirrors borders, in any size and batch."""
    monkeypatch.chdir(folder)
    network = init.to_network()
    for n, height, width in SHAPES:
        photos = [photo_of(height + i, width)[:height] for i in range(n)]
        images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 127.5 - 1
        given = images.numpy() if as_numpy else images
        edited = torch.as_tensor(run_readme(folder, images=given)["edited"]).detach()
        pixels = ((edited + 1) * 127.5).permute(0, 2, 3, 1).numpy()
        for photo, made in zip(photos, pixels, strict=True):
            # Half a level for the rounding of `edit`, and 1e-4 of the range from -1 to 1 for the export.
            assert np.abs(network.edit(photo) - made).max() <= 0.5 + 1e-4 * 127.5


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(UNet(5, 2), id="unet", marks=pytest.mark.slow),
        pytest.param(ResNet(1, 2), id="resnet"),
    ],
)
def test_a_program_edits_any_size_without_initzoo(network, tmp_path, monkeypatch):
    init = random_init(network)
    folder = export(init, tmp_path / "program", format="program")
    check_pictures(init, folder, monkeypatch, as_numpy=False)


def test_a_program_of_a_checkpoint_is_written_by_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = succeed("export", "pencil sketch", "--format", "program", "-o", "pencil")
    assert line == "pencil-sketch  program  -> pencil\n"
    init = Zoo.from_pretrained("starter").pull("pencil sketch")
    check_pictures(init, tmp_path / "pencil", monkeypatch, as_numpy=False)
    monkeypatch.chdir(tmp_path)
    assert "is not empty" in fail("export", "pencil sketch", "--format", "program", "-o", "pencil")


def check_graph(init: Init, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.onnx"]
    check_pictures(init, folder, monkeypatch, as_numpy=True)


@pytest.mark.xdist_group("exports")
def test_an_onnx_graph_edits_any_size_in_onnxruntime(starter_graph, monkeypatch):
    check_graph(*starter_graph, monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter and its packages, on their own future
@pytest.mark.parametrize("network", [UNet(5, 2), ResNet(1, 2)], ids=["unet", "resnet"])
def test_an_onnx_graph_of_other_networks_edits_any_size_in_onnxruntime(network, tmp_path, monkeypatch):
    init = random_init(network)
    check_graph(init, export(init, tmp_path / "graph", format="onnx"), monkeypatch)


@pytest.mark.filterwarnings("ignore")
def test_a_peft_folder_is_loaded_by_peft_and_imported_again(zoo, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    succeed("export", "pencil sketch", "--zoo", zoo.folder, "--format", "peft", "-o", "lora")
    monkeypatch.chdir(tmp_path / "lora")
    model = run_readme(tmp_path / "lora")["model"]
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = zoo.pull("pencil sketch").to_network()(images)
    scale = wanted.abs().max()
    assert (model(images) - wanted).abs().max() <= 1e-4 * scale
    report = import_checkpoint(tmp_path / "lora", tmp_path / "again", concept="pencil sketch")
    again = Zoo.from_pretrained(tmp_path / "again").pull("pencil sketch")
    assert report.recipe == "starter"
    assert (again.to_network()(images) - wanted).abs().max() <= 1e-4 * scale
    assert "detail" not in again.metadata.source


def test_a_peft_folder_holds_what_the_documented_format_names(zoo, tmp_path):
    init = zoo.pull("night", adapter_only=True)
    folder = export(init, tmp_path / "lora", format="peft", zoo=zoo)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["rank_pattern"] == config["alpha_pattern"] == zoo.recipe.ranks
    from safetensors.numpy import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    assert tensors["base_model.model.head.lora_B.weight"].shape[1:] == (3, 1, 1)
    np.testing.assert_array_equal(tensors["base_model.model.head.lora_B.bias"], init.weights["head.bias"])


def test_what_a_format_cannot_express_is_said_before_writing(zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInit, match="is merged with its base, and peft takes an adapter"):
        export(zoo.pull("night"), "a", format="peft", zoo=zoo)
    with pytest.raises(InvalidInit, match="holds an adapter alone"):
        export(zoo.pull("night", adapter_only=True), "a", format="program")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        export(zoo.pull("night"), "full", format="onnx")
    torch.save(UNet(5, 2).state_dict(), tmp_path / "u.pth")
    import_checkpoint("u.pth", "unets", concept="x")
    message = fail("export", "x", "--zoo", "unets", "--format", "peft", "-o", "a")
    assert "peft has no adapter for normalisations such as 'model.model.1.model.2'" in message
    assert isinstance(Zoo.from_pretrained("unets").recipe.build_base(), Adapted)
