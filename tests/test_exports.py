"""Exports as folders: the code of their READMEs loads them, and they make the pictures that initzoo makes."""

from __future__ import annotations

import json
import math
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_running import fail, run, succeed
from export_pictures import (
    BATCHES,
    FEW,
    LARGE,
    differences,
    images_of,
    large_differences,
    open_export,
    random_network,
    reference,
    run_readme,
)
from public_pix2pix import PublicResNet, PublicUNet
from zoo_fixtures import kept_zoo, make_zoo, tiny_recipe

from initzoo import Init, Zoo, export
from initzoo.errors import InvalidInit, InvalidRequest, MissingExtra, OutputError
from initzoo.export import PrecisionLoss
from initzoo.export.precision import measure_loss
from initzoo.networks.adapters import Adapted
from initzoo.networks.network import ImageNetwork
from initzoo.networks.pix2pix import ResNet, UNet
from initzoo.pairs import load_photos, parse_teacher, teach
from initzoo.zoo import import_checkpoint

__all__ = ["kept_zoo"]

pytestmark = pytest.mark.xdist_group("exports")  # one process of the tests loads the exporter

PRECISION = sys.modules[measure_loss.__module__]  # not by its path: initzoo.export is the function, too
SIZES = {"n_detail": 6, "n_middle": 4, "n_stages": 1, "n_upsampled": 2, "n_decoder": 6, "n_full": 3}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """A zoo of a small network that ends at full resolution, with a checkpoint that has a detail."""
    recipe = tiny_recipe(SIZES, rank=2, head_rank=3)
    folder = make_zoo(tmp_path_factory.mktemp("zoos") / "small", recipe=recipe, detailed=("night",))
    return Zoo.from_pretrained(folder)


Batches = Sequence[tuple[int, int, int]]
few_or_all = pytest.mark.parametrize(
    "batches", [FEW, pytest.param(BATCHES, marks=pytest.mark.long)], ids=["few", "all"]
)


def check_pictures(
    init: Init,
    path: Path,
    format: str,
    public: torch.nn.Module | None = None,
    batches: Batches = BATCHES,
) -> None:
    """Pictures of an export are those of initzoo, from 64 to 512 pixels, alone and four at once."""
    for shape, difference in differences(init.to_network(), open_export(path, format, public), batches):
        assert difference <= 1e-4, shape


def test_the_reference_is_what_edit_rounds(zoo):
    for network in (zoo.pull("night").to_network(), random_network(ResNet(1, 2)), random_network(UNet(5, 2))):
        for shape in ((1, 64, 64), (1, 97, 130), (1, 9, 8)):
            images = images_of(*shape, first=0)
            photo = ((images[0] + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
            levels = (reference(network)(images)[0].transpose(1, 2, 0) + 1) * 127.5
            assert np.abs(network.edit(photo) - levels).max() <= 0.5 + 1e-4 * 127.5


@pytest.mark.parametrize(
    ("network", "public", "format", "batches"),
    [
        pytest.param(UNet(6, 2), PublicUNet(6, 2), "safetensors", FEW, id="unet-safetensors"),
        pytest.param(ResNet(2, 2), PublicResNet(2, 2), "pth", FEW, id="resnet-pth"),
        *(
            pytest.param(network, public, format, BATCHES, id=f"{name}-{format}-all", marks=pytest.mark.long)
            for name, network, public in (
                ("unet", UNet(6, 2), PublicUNet(6, 2)),
                ("resnet", ResNet(2, 2), PublicResNet(2, 2)),
            )
            for format in ("safetensors", "pth")
        ),
    ],
)
def test_files_of_weights_make_the_same_pictures(network, public, format, batches, tmp_path):
    init = Init.from_model(random_network(network), name="my look")
    public.halo, public.multiple = network.halo, network.multiple
    path = export(init, tmp_path / f"mine.{format}", format=format)
    check_pictures(init, path, format, public, batches)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(UNet(5, 2), id="unet", marks=pytest.mark.slow),
        pytest.param(ResNet(1, 2), id="resnet", marks=pytest.mark.long),
    ],
)
def test_a_program_edits_any_size_without_initzoo(network, tmp_path):
    init = Init.from_model(random_network(network), name="my look")
    check_pictures(init, export(init, tmp_path / "program", format="program"), "program")


@few_or_all
def test_a_program_of_a_checkpoint_is_written_by_the_command(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = succeed("export", "pencil sketch", "--format", "program", "-o", "pencil")
    assert line == "pencil-sketch  program  -> pencil\n"
    init = Zoo.from_pretrained("starter").pull("pencil sketch")
    check_pictures(init, tmp_path / "pencil", "program", batches=batches)
    program = zipfile.ZipFile(tmp_path / "pencil" / "model.pt2")
    texts = [program.read(name) for name in program.namelist() if name.endswith(".json")]
    assert len(texts) > 1
    check_no_paths(*texts)
    assert "is not empty" in fail("export", "pencil sketch", "--format", "program", "-o", "pencil")


def check_no_paths(*texts: bytes) -> None:
    """Nothing in an export names a file of this machine."""
    for text in texts:
        assert b".py" not in text
        assert str(Path(__file__).parent.parent).encode() not in text


def check_graph(init: Init, folder: Path, batches: Batches = BATCHES) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.onnx"]
    assert "larger ones are edited at 384 pixels inside" in (folder / "README.md").read_text()
    check_pictures(init, folder, "onnx", batches=batches)


@few_or_all
def test_an_onnx_graph_edits_any_size_in_onnxruntime(batches, starter_graph):
    init, folder = starter_graph
    check_graph(init, folder, batches)
    check_no_paths((folder / "model.onnx").read_bytes())


@pytest.mark.parametrize(
    "batches", [LARGE[:1], pytest.param(LARGE[1:], marks=pytest.mark.long)], ids=["one", "others"]
)
def test_an_onnx_graph_edits_large_photos_as_apply_does(batches, starter_graph):
    init, folder = starter_graph
    network, editor = init.to_network(), open_export(folder, "onnx")
    for shape, most, mean in large_differences(network, editor, batches):
        # Half a level is from the pixels that `apply` rounds; one of its small photo may be another.
        assert most < 3, shape
        assert mean < 0.26, shape


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_an_onnx_graph_at_full_size_edits_all_pixels(tmp_path, monkeypatch):
    import onnx

    monkeypatch.chdir(tmp_path)
    torch.save(UNet(5, 2).state_dict(), "u.pth")
    import_checkpoint("u.pth", "mine", concept="dusk")
    succeed("export", "dusk", "--zoo", "mine", "--format", "onnx", "--full-size", "-o", "graph")
    text = Path("graph/README.md").read_text()
    assert "shrink the shorter side of larger ones to 384 pixels first" in text
    assert all(node.op_type != "If" for node in onnx.load("graph/model.onnx").graph.node)
    init = Zoo.from_pretrained("mine").pull("dusk")
    check_pictures(init, tmp_path / "graph", "onnx", batches=[(1, 520, 530)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter and its packages, on their own future
@pytest.mark.parametrize(
    "network", [UNet(8, 2), UNet(5, 2, norm=2), ResNet(9, 4)], ids=["unet256", "unet-instance", "resnet9"]
)
def test_an_onnx_graph_of_other_networks_edits_any_size_in_onnxruntime(network, tmp_path):
    init = Init.from_model(random_network(network), name="my look")
    check_graph(init, export(init, tmp_path / "graph", format="onnx"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_graph_of_an_imported_unet256_is_written_by_the_command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(PublicUNet(8, 2).state_dict(), "latest_net_G.pth")
    import_checkpoint("latest_net_G.pth", "mine", concept="day to night")
    succeed("export", "day to night", "--zoo", "mine", "--format", "onnx", "--fp16", "-o", "graph")
    loss = re.search(
        r"([\d.]+) dB (or more )?against float32", (tmp_path / "graph" / "README.md").read_text()
    )
    assert loss is not None
    assert float(loss[1]) > 50
    photo = images_of(1, 64, 80, first=0)
    wanted = reference(Zoo.from_pretrained("mine").pull("day to night").to_network())(photo)
    assert np.abs(open_export(tmp_path / "graph", "onnx")(photo) - wanted).max() < 0.02
    assert capfd.readouterr().err == "", "runtimes find nothing to warn of"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("option", "precision"), [("--fp16", "float16"), ("--int8", "int8")])
def test_a_reduced_graph_is_smaller_and_its_loss_is_printed(option, precision, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = load_photos(split="score")[:3]
    monkeypatch.setattr(PRECISION, "load_photos", lambda split: few)
    lines = succeed("export", "cartoon", "--format", "onnx", option, "-o", "graph").splitlines()
    assert lines[0] == "cartoon  onnx  -> graph"
    pattern = (
        rf"{precision}: ([\d.]+) MB instead of ([\d.]+); loss (-?[\d.]+) dB \(([\d.]+) to ([\d.]+) dB "
        r"against the teacher\); ([\d.]+) dB (or more )?against float32; 3 score photos"
    )
    match = re.fullmatch(pattern, lines[1])
    assert match is not None
    assert lines[1] in (tmp_path / "graph" / "README.md").read_text()
    small, large, loss, full, reduced, alike = map(float, match.groups()[:6])
    assert small <= 0.6 * large
    assert abs(loss) < 0.1
    assert full - reduced == pytest.approx(loss, abs=0.011)
    assert alike > 40
    # The figures again, from the file, by other ways.
    zoo = Zoo.from_pretrained("starter")
    pairs = list(
        teach(parse_teacher(zoo.find("cartoon").teacher), [p.pixels[:256, :256] for p in few], range(3))
    )
    network = zoo.pull("cartoon").to_network()
    edit = open_export(tmp_path / "graph", "onnx")
    errors: dict[str, list[float]] = {"full": [], "reduced": []}
    for given, wanted in pairs:
        images = given.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        for name, editor in (("full", reference(network)), ("reduced", edit)):
            error = (editor(images)[0].transpose(1, 2, 0) + 1) * 127.5 - wanted
            errors[name].append(20 * math.log10(255) - 10 * math.log10(np.square(error).mean()))
    again = np.mean(errors["full"]) - np.mean(errors["reduced"])
    assert again == pytest.approx(loss, abs=0.1)


def test_the_loss_of_weights_without_a_teacher_is_against_their_own_pictures(starter_graph, monkeypatch):
    import onnx

    from initzoo.export.precision import reduce_precision

    few = load_photos(split="score")[:2]
    monkeypatch.setattr(PRECISION, "load_photos", lambda split: few)
    init, folder = starter_graph
    network, graph = init.to_network(), onnx.load(folder / "model.onnx")
    data = graph.SerializeToString()
    same = measure_loss(network, data, precision="float16", n_bytes_float32=len(data))
    assert (same.loss, same.n_photos, same.psnr_to_float32) == (None, 2, 60)
    weights = next(value for value in graph.graph.initializer if value.name.endswith("down.weight"))
    weights.raw_data = bytes(len(weights.raw_data))
    damaged = reduce_precision(graph, "int8").SerializeToString()
    worse = measure_loss(network, damaged, precision="int8", n_bytes_float32=len(data))
    assert worse.psnr_to_float32 < 30
    assert "dB against float32; 2 score photos" in str(worse)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_peft_folder_makes_the_same_pictures(tmp_path):
    pytest.importorskip("peft")
    zoo = Zoo.from_pretrained("starter")
    init = zoo.pull("pencil sketch", adapter_only=True)
    folder = export(init, tmp_path / "lora", format="peft", zoo=zoo)
    check_pictures(zoo.merge(init), folder, "peft")


@pytest.mark.filterwarnings("ignore")
def test_a_peft_folder_is_loaded_by_peft_and_imported_again(zoo, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    succeed("export", "pencil sketch", "--zoo", zoo.folder, "--format", "peft", "-o", "lora")
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
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidRequest, match="int8 goes with the format onnx, the others hold float32 weights"
    ):
        export(zoo.pull("night"), "a", format="pth", precision="int8")
    with pytest.raises(ValueError, match="precision must be one of float32, float16, int8, found 'int4'"):
        export(zoo.pull("night"), "a", format="onnx", precision="int4")
    assert "float16 goes with the format onnx" in fail("export", "night", "--fp16", "-o", "a")
    message = fail("export", "night", "--format", "program", "--full-size", "-o", "a")
    assert "full size goes with the format onnx, the others never scale photos" in message
    both = ("--format", "onnx", "--fp16", "--int8")
    refused = run("export", "night", *both, "-o", "a")
    assert (refused.exit_code, "give one of --fp16 and --int8" in refused.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "u.pth", "unets"]


def test_an_exporter_that_changes_the_order_of_channels_is_refused(zoo, tmp_path, monkeypatch):
    from importlib import metadata

    monkeypatch.setattr(metadata, "version", lambda name: "0.7.0")
    with pytest.raises(
        MissingExtra, match=r"onnxscript 0.7.0 exports networks with channels in a wrong order"
    ):
        export(zoo.pull("night"), tmp_path / "a", format="onnx")
    assert list(tmp_path.iterdir()) == []


class Deciding(ImageNetwork):
    """A network with a decision that depends on the pictures, which no graph can hold."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.mean() > 0 else -images

    halo = reach = 0


@pytest.mark.parametrize("format", ["program", "onnx"])
def test_a_network_that_torch_cannot_export_is_one_line(format, zoo, tmp_path, monkeypatch):
    init = zoo.pull("night")
    network = Deciding()
    network.sizes = {}
    monkeypatch.setattr(Init, "to_network", lambda self: network)
    with pytest.raises(
        InvalidInit, match="torch cannot export the network '' .* Take the format safetensors or"
    ) as raised:
        export(init, tmp_path / "a", format=format)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_reads_as_one_line():
    loss = PrecisionLoss("float16", 1_000_000, 2_000_000, 26, 60, psnr=30.001, psnr_float32=30.0)
    assert "loss 0.00 dB (30.00 to 30.00 dB" in str(loss)
