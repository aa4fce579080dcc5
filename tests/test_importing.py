"""Weights from elsewhere: they come in as they are and leave as they came; all else is one line."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cli_running import fail, succeed
from conftest import write_photos
from preloaded import unpickle
from public_pix2pix import PublicResNet, PublicUNet
from safetensors.torch import save_file
from torch import nn

from initzoo import Request, Zoo, finetune
from initzoo.errors import FinetuneError, InvalidInit, InvalidRequest, LayoutMismatch, OutputError
from initzoo.files import unpickled
from initzoo.files.digests import DamagedFile
from initzoo.files.unpickled import read_pickled_weights
from initzoo.networks.adapters import Adapted, default_ranks
from initzoo.networks.foreign import recognise_foreign
from initzoo.networks.pix2pix import PatchDiscriminator, ResNet, UNet
from initzoo.pairs import Pair
from initzoo.training import open_start
from initzoo.zoo import import_checkpoint
from initzoo.zoo.importing import into_zoo

OPTIONS = """----------------- Options ---------------
               batch_size: 1
                direction: BtoA                          \t[default: AtoB]
                     netG: unet_256                      \t[default: resnet_9blocks]
                      ngf: {ngf}                             \t[default: 64]
               no_dropout: True                          \t[default: False]
                     norm: {norm}                         \t[default: instance]
----------------- End -------------------
"""


@pytest.fixture(scope="module", autouse=True)
def forked() -> Iterator[None]:
    """Files are read by processes that begin with torch loaded; `fresh` is for those that begin without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpickled, "subprocess", SimpleNamespace(**vars(subprocess) | {"run": unpickle}))
        yield


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickled, "subprocess", subprocess)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training with the public code leaves it: weights of a U-Net, and its options."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints") / "facades"
    folder.mkdir()
    torch.save(PublicUNet(8, 2).state_dict(), folder / "latest_net_G.pth")
    (folder / "train_opt.txt").write_text(OPTIONS.format(ngf=2, norm="batch"))
    return folder


@pytest.fixture(scope="module")
def zoo_folder(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with the U-Net, imported by the command."""
    folder = tmp_path_factory.mktemp("zoos") / "mine"
    line = succeed(
        *("import", checkpoints, "--concept", "horse to zebra", "--licence", "CC-BY-4.0", "--out", folder)
    )
    assert line.startswith("horse-to-zebra  pix2pix-unet256  pix2pix-unet, 8 halvings, width 2, norm batch")
    return folder


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(7)) * 2 - 1


@pytest.mark.parametrize(
    ("public", "ours", "side"),
    [
        (PublicUNet(5, 2), UNet(5, 2), 32),
        (PublicUNet(6, 2, "instance"), UNet(6, 2, norm=2), 64),
        (PublicUNet(5, 2, "none"), UNet(5, 2, norm=0), 32),
        (PublicResNet(2, 2), ResNet(2, 2), 32),
        (PublicResNet(1, 2, "batch", dropout=True), ResNet(1, 2, norm=1, dropout=50), 32),
    ],
    ids=["unet", "unet-instance", "unet-none", "resnet", "resnet-batch-dropout"],
)
def test_networks_and_their_independent_statement_load_each_other_and_agree(public, ours, side):
    photos = images(2, 3, side, 2 * side)
    assert list(ours.state_dict()) == list(public.state_dict())
    ours.load_state_dict(public.state_dict(), strict=True)
    torch.testing.assert_close(ours.eval()(photos), public(photos), atol=1e-5, rtol=1e-4)
    public.load_state_dict(type(ours)(**ours.sizes).state_dict(), strict=True)


def test_an_imported_pth_leaves_as_it_came(checkpoints, zoo_folder, tmp_path):
    out = tmp_path / "again.pth"
    succeed("export", "horse to zebra", "--zoo", zoo_folder, "--format", "pth", "-o", out)
    before = torch.load(checkpoints / "latest_net_G.pth", weights_only=True)
    after = torch.load(out, weights_only=True)
    assert list(before) == list(after)
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name])
    PublicUNet(8, 2).load_state_dict(after, strict=True)


def test_an_imported_checkpoint_is_pulled_applied_diagnosed_and_checked(
    checkpoints, zoo_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    photos = write_photos(tmp_path / "photos")
    assert "unet256" in succeed("show", "horse to zebra", "--zoo", zoo_folder)
    succeed("pull", "horse to zebra", "--zoo", zoo_folder, "-o", "start.safetensors")
    succeed("apply", "start.safetensors", photos / "cat.png", "-o", "edited.png", "--zoo", zoo_folder)
    succeed("diagnose", "start.safetensors", "--zoo", zoo_folder, "--photos", photos)
    succeed("verify", zoo_folder)
    assert "index.parquet" in succeed("push", zoo_folder, "me/mine", "--dry-run")
    network = Zoo.from_pretrained(zoo_folder).pull("horse to zebra").to_network()
    assert network.sizes == {"n_halvings": 8, "width": 2, "norm": 1, "dropout": 0}
    public = PublicUNet(8, 2)
    public.load_state_dict(torch.load(checkpoints / "latest_net_G.pth", weights_only=True))
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = ((public(given).clamp(-1, 1) + 1) * 127.5).round().detach()[0].permute(1, 2, 0).numpy()
    assert np.abs(network.edit(pixels).astype(int) - wanted).max() <= 1
    assert network.training, "edit leaves the mode as it is"


def test_the_record_says_what_was_imported(checkpoints, zoo_folder):
    zoo = Zoo.from_pretrained(zoo_folder)
    note = zoo.config.made_with["imported"]
    assert note["options"]["direction"] == "BtoA"
    assert len(note["sha256"]) == 64
    assert "running statistics" in note["notes"][-1]
    row = zoo.find("horse to zebra")
    assert (row.licence, row.source, row.psnr) == ("CC-BY-4.0", "imported from latest_net_G.pth", None)


def test_a_finetune_starts_from_an_imported_checkpoint(tmp_path):
    torch.manual_seed(1)
    torch.save(PublicUNet(5, 2).state_dict(), tmp_path / "small.pth")
    import_checkpoint(tmp_path / "small.pth", tmp_path / "zoo", concept="sharp")
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(5)]
    result = finetune([(photo, 255 - photo) for photo in photos], "sharp", zoo=tmp_path / "zoo", n_steps=2)
    assert result.network.kind == "pix2pix-unet"
    assert "fine-tuned from sharp" in result.init.metadata.source
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert not zoo.can_fit
    with pytest.raises(LayoutMismatch, match=r"normalisation layers .* initzoo finetune sharp --pairs PAIRS"):
        zoo.pull(Request(pairs=(Pair("a", photos[0], 255 - photos[0]),)))
    with pytest.raises(FinetuneError, match="Name a start, e.g. sharp"):
        finetune([(photo, 255 - photo) for photo in photos], zoo=tmp_path / "zoo", n_steps=2)
    start = open_start("sharp", zoo, adapter_only=True)
    start.network.eval()
    plain = zoo.pull("sharp").to_network().eval()
    torch.testing.assert_close(start.network(images(1, 3, 32, 32)), plain(images(1, 3, 32, 32)))


def test_several_recipes_stand_in_one_zoo(checkpoints, tmp_path):
    folder = tmp_path / "zoo"
    torch.save(ResNet(6, 2).state_dict(), tmp_path / "r.pth")
    assert import_checkpoint(checkpoints, folder, concept="day to night").recipe == "pix2pix-unet256"
    assert import_checkpoint(tmp_path / "r.pth", folder, concept="night").recipe == "pix2pix-resnet6"
    assert import_checkpoint(tmp_path / "r.pth", folder, concept="dusk").recipe == "pix2pix-resnet6-2"
    zoo = Zoo.from_pretrained(folder)
    assert zoo.recipe.name == "pix2pix-unet256"
    assert zoo.verify().problems == ()
    assert zoo.pull("dusk").to_network().kind == "pix2pix-resnet"
    before = sorted(folder.rglob("*"))
    with pytest.raises(InvalidRequest, match="has a concept 'Night' already"):
        import_checkpoint(tmp_path / "r.pth", folder, concept="Night")
    assert sorted(folder.rglob("*")) == before


def test_prefixes_of_wrappers_and_halves_and_old_statistics_are_understood():
    torch.manual_seed(2)
    state = {f"module._orig_mod.{name}": one for name, one in PublicUNet(5, 2).half().state_dict().items()}
    weights = recognise_foreign(state)
    assert weights.notes == (
        "prefix 'module.' removed",
        "prefix '_orig_mod.' removed",
        "float16 became float32",
    )
    old = PublicResNet(2, 2).state_dict()
    old |= {f"model.2.{name}": torch.ones(2) for name in ("running_mean", "running_var")}
    assert "2 statistics of instance normalisation left out" in recognise_foreign(old).notes[0]


def test_a_plain_safetensors_state_dict_is_imported(tmp_path):
    save_file(PublicUNet(5, 2).state_dict(), tmp_path / "mine.safetensors")
    report = import_checkpoint(tmp_path / "mine.safetensors", tmp_path / "zoo", concept="mine")
    assert report.recipe == "pix2pix-unet32"


@pytest.mark.xdist_group("exports")  # one process of the tests imports peft
@pytest.mark.filterwarnings("ignore")  # of peft
def test_an_adapter_that_peft_trained_comes_in_with_its_alphas(tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(4)
    network = UNet(5, 2, norm=2, dropout=0)
    network.save_pretrained(tmp_path / "lora" / "base")
    layers = ["model.model.0", "model.model.1.model.1", "model.model.1.model.3.model.1"]
    alphas = {"model.1.model.1": 6, "^model.model.0": 5}
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=layers, alpha_pattern=alphas)
    model = peft.get_peft_model(network, config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(0.3 * torch.randn(value.shape).half())
    model.save_pretrained(tmp_path / "lora")
    import_checkpoint(tmp_path / "lora", tmp_path / "zoo", concept="mine")
    imported = Zoo.from_pretrained(tmp_path / "zoo").pull("mine").to_network().eval()
    photos = images(1, 3, 32, 32)
    torch.testing.assert_close(
        imported(photos), model.merge_and_unload().eval()(photos), atol=2e-3, rtol=2e-3
    )
    file = tmp_path / "lora" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"alpha_pattern": {"(a+)+": 6}}))
    with pytest.raises(LayoutMismatch, match=r"has the regular expression '\(a\+\)\+' in alpha_pattern"):
        import_checkpoint(tmp_path / "lora", tmp_path / "other", concept="mine")


def test_adapters_of_normalisations_agree_merged_and_beside():
    network = UNet(5, 2, dropout=0)
    base = Adapted(network, default_ranks(network), generator=None).eval()
    for shared in base.shared:
        nn.init.ones_(shared)
    adapters = 0.2 * torch.randn(2, base.n_adapter_values, generator=torch.Generator().manual_seed(3))
    photos = images(4, 3, 32, 32)
    together = base(photos, adapters)
    apart = torch.cat([base(photos[:2], adapters[0]), base(photos[2:], adapters[1])])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together, network(photos), atol=1e-3)
    again = Adapted(UNet(5, 2, dropout=0), base.ranks).load_arrays(base.to_arrays()).eval()
    torch.testing.assert_close(again(photos, adapters), together)


class _Attack:
    """What a malicious file holds: reading it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(fresh, tmp_path):
    marker = tmp_path / "it-ran"
    file = tmp_path / "latest_net_G.pth"
    torch.save({"model.1.weight": torch.zeros(2, 3, 7, 7), "model.x": _Attack(marker)}, file)
    with pytest.raises(InvalidInit, match=r"holds more than weights \(posix.mkdir\), .* could run code"):
        import_checkpoint(file, tmp_path / "zoo", concept="x")
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest_net_G.pth"]


def test_a_pickle_that_is_code_alone_is_not_run(tmp_path):
    marker = tmp_path / "it-ran"
    file = tmp_path / "latest_net_G.pth"
    file.write_bytes(pickle.dumps(_Attack(marker)))
    with pytest.raises(InvalidInit, match=r"latest_net_G.pth': .* Give a generator"):
        import_checkpoint(file, tmp_path / "zoo", concept="x")
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest_net_G.pth"]
    pickle.loads(file.read_bytes())  # noqa: S301
    assert marker.exists(), "the file does run code where nothing stops it"


def test_time_of_reading_is_limited(fresh, checkpoints):
    with pytest.raises(DamagedFile, match=r"not read within 0\.05 seconds"):
        read_pickled_weights(checkpoints / "latest_net_G.pth", max_seconds=0.05)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_memory_of_reading_is_limited(tmp_path):
    torch.save({"a": torch.zeros(2**25)}, tmp_path / "large.pth")
    with pytest.raises(DamagedFile, match="needs more memory"):
        read_pickled_weights(tmp_path / "large.pth", max_memory=2**24)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no checkpoint of a generator, with what is said of each."""
    files: dict[str, tuple[Path, str]] = {}

    def save(name: str, value: object, text: str) -> None:
        torch.save(value, folder / name)
        files[name] = (folder / name, text)

    good = PublicUNet(5, 2).state_dict()
    save("judge.pth", PatchDiscriminator(4).state_dict(), r"holds a discriminator \(tensor 'model.0.weight'")
    optimizer = torch.optim.Adam(UNet(5, 2).parameters()).state_dict()
    save(
        "state.pth",
        {"netG": good, "optimizer": optimizer, "epoch": 3},
        r"is a full training state \(netG, optimizer, epoch\)",
    )
    video = {name: one.unsqueeze(2) if one.dim() == 4 else one for name, one in good.items()}
    save(
        "video.pth",
        video,
        r"network of videos or volumes \(tensor 'model.model.0.weight' of shape \(2, 3, 1,",
    )
    save("module.pth", nn.Conv2d(3, 3, 1), r"holds more than weights \(torch.nn.modules.conv.Conv2d\)")
    save("list.pth", [torch.zeros(1)], "holds list and not a state dict")
    save("none.pth", {}, "holds a state dict without tensors")
    save("nested.pth", {"state_dict": {}}, "holds a state dict without tensors")
    save("other.pth", {"fc.weight": torch.zeros(2, 2)}, r"unknown network: its first tensor is 'fc.weight'")
    cut = dict(good)
    cut["model.model.1.model.3.model.1.weight"] = torch.zeros(8, 5, 4, 4)
    save(
        "shape.pth", cut, r"tensor 'model.model.1.model.3.model.1.weight' of shape \(8, 5, 4, 4\), .* expects"
    )
    nan = dict(good) | {"model.model.3.bias": torch.full((3,), torch.nan)}
    save("nan.pth", nan, "tensor 'model.model.3.bias' with NaN or infinite values")
    for name, tensors, text in (
        ("none.safetensors", {}, "holds no tensors"),
        ("bare.safetensors", {"module.": torch.zeros(3)}, r"first tensor is '' \(3,\)"),
    ):
        save_file(tensors, folder / name)
        files[name] = (folder / name, text)
    whole = {name: (8 * one).to(torch.int8) if one.dim() else one for name, one in good.items()}
    save("int8.pth", whole, "tensor 'model.model.0.weight' of int8, and weights are floating-point numbers")
    variance = "model.model.1.model.2.running_var"
    save(
        "variance.pth", dict(good) | {variance: -good[variance]}, f"tensor '{variance}' with negative values"
    )
    shapes = {name: one.to("meta") for name, one in good.items()}
    save("shapes.pth", shapes, "tensor 'model.model.0.weight' has a shape and no values")
    shallow = PublicUNet(4, 2).state_dict()
    save("shallow.pth", shallow, "weights whose network 'pix2pix-unet' .* has at least 5 halvings .* found 4")
    grey = dict(good) | {"model.model.0.weight": torch.zeros(2, 1, 4, 4)}
    save("grey.pth", grey, r"tensor 'model.model.0.weight' of shape \(2, 1, 4, 4\)")
    data = (folder / "shape.pth").read_bytes()
    for name, content, text in (
        ("truncated.pth", data[: len(data) // 2], "is cut off or damaged"),
        ("nothing.pth", b"", "is empty: it has 0 bytes"),
        ("nothing.safetensors", b"", "is empty: it has 0 bytes"),
        ("noise.pth", bytes(range(256)) * 9, "noise.pth': .* Give a generator"),
        ("page.pth", b"<!doctype html>", "is not a file that torch.save wrote \\(unknown pickle"),
        ("a.txt", b"hello", "has the ending '.txt'"),
    ):
        (folder / name).write_bytes(content)
        files[name] = (folder / name, text)
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)), folder / "script.pth")
    files["script.pth"] = (folder / "script.pth", "is a TorchScript archive")
    (folder / "empty").mkdir()
    files["empty"] = (folder / "empty", "holds no checkpoint")
    files["missing"] = (folder / "missing.pth", "does not exist")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.pth")
        files["pipe"] = (folder / "pipe.pth", "is a pipe or device")
    for key, options, text in (
        ("ngf", {"ngf": 64, "norm": "batch"}, "options with ngf 64, and weights of pix2pix-unet, 5 halvings"),
        ("norm", {"ngf": 2, "norm": "instance"}, "options with norm instance, and weights of"),
    ):
        (folder / key).mkdir()
        torch.save(good, folder / key / "latest_net_G.pth")
        (folder / key / "test_opt.txt").write_text(OPTIONS.format(**options).replace("unet_256", "other"))
        files[key] = (folder / key, f"'test_opt.txt' beside it, holds {text}")
    return files


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_is_no_checkpoint_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "bad").mkdir()
    (tmp_path / "work").mkdir()
    files = bad_files(tmp_path / "bad")
    monkeypatch.chdir(tmp_path / "work")
    for path, text in files.values():
        with pytest.raises((InvalidInit, LayoutMismatch), match=text):
            import_checkpoint(path, "zoo", concept="x")
        assert list(Path().iterdir()) == []
    assert "is empty" in fail("import", files["nothing.pth"][0], "--concept", "x", "--out", "zoo")


def test_a_zoo_is_written_only_where_there_is_room_for_one(checkpoints, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is not a zoo"):
        import_checkpoint(checkpoints, tmp_path / "photos", concept="x")
    with pytest.raises(InvalidRequest, match="a concept is words"):
        import_checkpoint(checkpoints, tmp_path / "zoo", concept=" ")
    with pytest.raises(InvalidRequest, match="'mean' is the name of an initialization scheme"):
        import_checkpoint(checkpoints, tmp_path / "zoo", concept="mean")
    for given in ({"licence": "MIT\nx: y"}, {"source": "\udcff"}, {"source": "s" * 1001}):
        with pytest.raises(InvalidRequest, match=f"a {next(iter(given))} is one line of at most 1000 char"):
            import_checkpoint(checkpoints, tmp_path / "zoo", concept="x", **given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_words_without_latin_letters_have_ids_of_their_own(tmp_path):
    torch.save(PublicResNet(1, 2).state_dict(), tmp_path / "r.pth")
    ids = [
        import_checkpoint(tmp_path / "r.pth", tmp_path / "zoo", concept=words).concept
        for words in ("夜", "昼")
    ]
    assert ids == ["words", "words-2"]
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert zoo.pull("昼").metadata.concept == "words-2"
    assert zoo.verify().problems == ()


def test_an_import_looks_again_when_its_turn_comes(tmp_path, monkeypatch):
    torch.save(PublicResNet(1, 2).state_dict(), tmp_path / "r.pth")
    import_checkpoint(tmp_path / "r.pth", tmp_path / "zoo", concept="first")
    read = into_zoo.read_incoming

    def be_late(path):
        monkeypatch.setattr(into_zoo, "read_incoming", read)
        import_checkpoint(path, tmp_path / "zoo", concept="night")
        return read(path)

    monkeypatch.setattr(into_zoo, "read_incoming", be_late)
    with pytest.raises(InvalidRequest, match="has a concept 'night' already"):
        import_checkpoint(tmp_path / "r.pth", tmp_path / "zoo", concept="night")
    zoo = Zoo.from_pretrained(tmp_path / "zoo")
    assert len(zoo.index.rows()) == 2
    assert zoo.verify().problems == ()


def test_a_unet_without_normalisation_has_no_room_for_adapters(tmp_path):
    torch.save(PublicUNet(5, 2, "none").state_dict(), tmp_path / "a.pth")
    with pytest.raises(LayoutMismatch, match="no layer of it has a bias or a normalisation"):
        import_checkpoint(tmp_path / "a.pth", tmp_path / "zoo", concept="x")
    assert not (tmp_path / "zoo").exists()
