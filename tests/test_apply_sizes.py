"""Edits of photos of any size: borders, large photos, strengths, and the command on many images."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_running import fail, files, run, succeed
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn
from zoo_fixtures import kept_zoo

from initzoo.cli.main import main
from initzoo.files.images import read_image, write_image
from initzoo.networks.editing import edit_in_tiles
from initzoo.networks.network import ImageNetwork
from initzoo.networks.starter import StarterNet
from initzoo.networks.tiles import edit_window
from initzoo.networks.upsampling import LOOK_SIDE, shrink_to_side, upsample_edit

__all__ = ["kept_zoo"]


class Colours(ImageNetwork):
    """Turns colours, each pixel for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.turn.weight[:, :, 0, 0] = torch.tensor([[0.2, 0.5, 0.1], [0.1, 0.6, 0.0], [-0.3, 0.1, 0.7]])
            self.turn.bias[:] = torch.tensor([0.1, 0.0, -0.1])

    reach = 0

    def forward(self, images: Tensor) -> Tensor:
        return self.turn(images)


class Blur(ImageNetwork):
    """Averages of 15 x 15 pixels, zeros beyond the border."""

    multiple, reach = 4, 8

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 15, stride=1, padding=7)


def smooth_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noisy_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 25, (height, width, 3))
    return np.clip(smooth_photo(height, width) + noise, 0, 255).astype(np.uint8)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((first.astype(float) - second) ** 2), 1e-9))


# Borders.


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (15, 15), (40, 33), (64, 64)])
def test_a_flat_photo_has_no_frame(size):
    photo = np.full((*size, 3), 250, np.uint8)
    network = StarterNet(n_detail=8, n_middle=8, n_stages=1, n_upsampled=4, n_decoder=8)
    assert np.ptp(Blur().edit(photo)) <= 1
    # The places of a cell of 4 x 4 pixels differ in a network that was not trained; the cells must not.
    edited = network.edit(photo).astype(int)
    assert np.abs(edited - edited[np.arange(size[0]) % 4][:, np.arange(size[1]) % 4]).max() <= 1


def test_a_photo_goes_on_as_its_mirror_image(monkeypatch):
    photo = noisy_photo(90, 70)
    wide = np.pad(photo, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    expected = Blur().edit(wide)[8:-8, 8:-8]
    np.testing.assert_array_equal(Blur().edit(photo), expected)
    monkeypatch.setattr("initzoo.networks.editing._TILE", 32)
    assert np.abs(Blur().edit(photo).astype(int) - expected).max() <= 1


def test_beyond_the_reach_of_the_border_nothing_has_changed():
    torch.manual_seed(0)
    network = StarterNet(n_detail=8, n_middle=8, n_stages=1, n_upsampled=4, n_decoder=8)
    photo = noisy_photo(96, 120)  # multiples of 4: the network takes it without any padding
    with torch.inference_mode():
        plain = edit_in_tiles(partial(edit_window, network), photo, multiple=4, reach=0)
    reach = network.reach
    inner = (slice(reach, -reach), slice(reach, -reach))
    np.testing.assert_array_equal(network.edit(photo)[inner], plain[inner])
    assert (network.edit(photo) != plain).any()


# Large photos.


def test_a_turn_of_colours_keeps_all_detail_of_a_large_photo():
    photo, network = noisy_photo(900, 1300), Colours()
    exact = network.edit(photo)
    carried = network.edit(photo, side=300)
    assert carried.shape == photo.shape
    enlarged = Image.fromarray(network.edit(shrink_to_side(photo, 300)))
    enlarged = np.array(enlarged.resize((1300, 900), Image.Resampling.BICUBIC))
    assert psnr(carried, exact) > psnr(enlarged, exact) + 3


def test_a_blur_takes_the_detail_of_a_large_photo_away():
    calm = smooth_photo(600, 800) // 4 + 96
    photo = calm + np.random.default_rng(1).integers(-25, 26, (600, 800, 1)).astype(np.uint8)
    small = shrink_to_side(photo, 200)
    change = np.array(Image.fromarray(Blur().edit(small)).resize((800, 600))) - calm.astype(float)
    change_added = photo + change  # keeps all the noise
    assert psnr(Blur().edit(photo, side=200), calm) > psnr(change_added, calm) + 10


def test_strips_of_a_large_photo_have_no_seams(monkeypatch):
    photo, small = noisy_photo(211, 317), shrink_to_side(noisy_photo(211, 317), 64)
    whole = upsample_edit(photo, small, 255 - small)
    monkeypatch.setattr("initzoo.networks.upsampling._STRIP", 317 * 7)
    np.testing.assert_array_equal(upsample_edit(photo, small, 255 - small), whole)


@pytest.mark.parametrize("size", [(64, 900), (900, 64), (65, 65)])
def test_narrow_photos_keep_their_size(size):
    assert Colours().edit(noisy_photo(*size), side=16).shape == (*size, 3)


def test_a_photo_that_is_small_enough_is_edited_as_it_is():
    photo = noisy_photo(60, 80)
    np.testing.assert_array_equal(Blur().edit(photo, side=60), Blur().edit(photo))


# Strength, and ways to give a photo.


@pytest.mark.parametrize("side", [None, 32])
def test_strength_goes_from_the_photo_through_the_look_and_beyond(side):
    photo, network = noisy_photo(70, 90), Colours()
    np.testing.assert_array_equal(network.edit(photo, side=side, strength=0), photo)
    look = network.edit(photo, side=side)
    np.testing.assert_array_equal(network.edit(photo, side=side, strength=1), look)
    for strength in (0.25, 1.5):
        expected = np.clip(photo + strength * (look.astype(float) - photo), 0, 255)
        assert np.abs(network.edit(photo, side=side, strength=strength) - expected).max() <= 0.51


@pytest.mark.parametrize("wrong", [{"strength": -0.1}, {"strength": 1.6}, {"strength": np.nan}, {"side": 7}])
def test_edit_refuses_strengths_and_sides_out_of_range(wrong):
    with pytest.raises(ValueError, match="expected a"):
        Colours().edit(noisy_photo(20, 20), **wrong)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_edits(precision):
    torch.manual_seed(0)
    photo, network = smooth_photo(40, 50), StarterNet(n_detail=8, n_middle=8, n_upsampled=4, n_decoder=8)
    expected = network.edit(photo).astype(int)
    assert np.abs(network.to(precision).edit(photo) - expected).max() <= 3


def test_edit_takes_paths_and_pillow_images(tmp_path):
    photo = noisy_photo(24, 30)
    expected = Colours().edit(photo)
    write_image(tmp_path / "photo.png", photo, force=False)
    image = Image.fromarray(photo)
    for given in (tmp_path / "photo.png", str(tmp_path / "photo.png"), image, image.convert("RGBA")):
        np.testing.assert_array_equal(Colours().edit(given), expected)
    turned = Image.fromarray(np.rot90(photo, 1).copy())
    turned.getexif()[0x0112] = 6  # to be turned by 90 degrees clockwise
    np.testing.assert_array_equal(Colours().edit(turned), expected)


# The command.


@pytest.fixture
def album(tmp_path: Path, kept_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two photos and a text, in the current folder of a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INITZOO_ZOO", str(kept_zoo))
    Path("album").mkdir()
    write_image(Path("album/b.png"), noisy_photo(20, 30), force=False)
    write_image(Path("album/a.jpg"), noisy_photo(24, 20), force=False)
    Path("album/notes.txt").write_text("no photo")
    return Path("album")


def test_apply_edits_folders_and_files_into_a_folder(album: Path) -> None:
    write_image(Path("c.ppm.gif.png"), noisy_photo(16, 16), force=False)
    Image.fromarray(noisy_photo(16, 18)).save("d.gif")
    result = run("apply", "night", album, "c.ppm.gif.png", "d.gif", "-o", "edited")
    assert result.exit_code == 0, result.output
    names = ["a.jpg", "b.png", "c.ppm.gif.png", "d.png"]
    assert sorted(path.name for path in Path("edited").iterdir()) == names
    assert [line.split("-> ")[1] for line in result.stdout.splitlines()] == [
        f"edited/{name}" for name in names
    ]
    assert result.stderr == "1 file of album is left out: notes.txt (not an image of a known kind)\n"
    succeed("apply", "night", album / "b.png", "-o", "one.png")
    assert Path("one.png").read_bytes() == Path("edited/b.png").read_bytes()


def test_apply_leaves_out_what_it_cannot_read_and_says_so(album: Path) -> None:
    data = (album / "b.png").read_bytes()
    (album / "broken.png").write_bytes(data[: -len(data) // 3])
    result = run("apply", "night", album, "-o", "edited")
    assert result.exit_code == 1
    others, left_out, last = result.stderr.splitlines()
    assert left_out.startswith("left out: cannot read album/broken.png")
    assert others == "1 file of album is left out: notes.txt (not an image of a known kind)"
    assert last == "Error: 1 of 3 images cannot be read and are left out; the rest is in edited"
    assert sorted(path.name for path in Path("edited").iterdir()) == ["a.jpg", "b.png"]


def test_apply_refuses_folders_before_any_work(album: Path) -> None:
    Path("empty").mkdir()
    Path("twin").mkdir()
    write_image(Path("twin/b.png"), noisy_photo(20, 30), force=False)
    assert "empty has no images" in fail("apply", "night", "empty", "-o", "edited")
    assert "2 of the images would be written to edited/b.png" in fail(
        "apply", "night", "twin", album / "b.png", "-o", "edited"
    )
    assert "b.png exists already" in fail("apply", "night", album / "a.jpg", album / "b.png", "-o", "twin")


def test_apply_reads_and_writes_streams(album: Path) -> None:
    succeed("apply", "night", album / "b.png", "-o", "one.png")
    given = (album / "b.png").read_bytes()
    result = CliRunner().invoke(main, ["apply", "night", "-", "-o", "-"], input=given)
    assert result.exit_code == 0, result.stderr
    edited = np.asarray(Image.open(io.BytesIO(result.stdout_bytes)))
    np.testing.assert_array_equal(edited, read_image(Path("one.png")))
    assert result.stderr == "night  standard input  30x20  -> -\n"
    result = CliRunner().invoke(main, ["apply", "night", "-", "-o", "two.png"], input=b"no image")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: cannot read standard input: ")
    assert "two.png" not in files()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-", "x.png", "-o", "out"), "'-' reads one image"),
        (("album", "-o", "-"), "name a folder for several"),
        (("album/b.png", "-o", "out.png", "--strength", "1.6"), "1.6 is not in the range"),
        (("album/b.png", "-o", "out.png", "--strength", "nan"), "nan is not in the range"),
        (("album/b.png", "-o", "out.png", "--device", "tpu"), "'tpu' is not one of"),
    ],
)
def test_apply_refuses_wrong_calls(album: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run("apply", "night", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_apply_edits_large_photos_at_the_size_of_the_look(album: Path) -> None:
    photo = noisy_photo(560, 700)
    write_image(Path("large.png"), photo, force=False)
    succeed("pull", "night")
    succeed("apply", "night", "large.png", "-o", "look.png", "--device", "cpu")
    succeed("apply", "night", "large.png", "-o", "full.png", "--full-size")
    succeed("apply", "night", "large.png", "-o", "none.png", "--strength", "0")
    from initzoo.training.auto import AutoNetwork

    network = AutoNetwork.from_pretrained("night.safetensors")
    np.testing.assert_array_equal(read_image(Path("look.png")), network.edit(photo, side=LOOK_SIDE))
    np.testing.assert_array_equal(read_image(Path("full.png")), network.edit(photo))
    np.testing.assert_array_equal(read_image(Path("none.png")), photo)


def test_apply_takes_photos_of_more_pixels_than_readers_take(album: Path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 600 pixels would be a decompression bomb
    succeed("apply", "night", album / "b.png", "-o", "out.png")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_grey_edit_stays_grey_on_a_large_photo():
    photo = noisy_photo(300, 400)
    small = shrink_to_side(photo, 100)
    grey = np.repeat(noisy_photo(100, 133, seed=5)[..., :1], 3, axis=2)
    carried = upsample_edit(photo, small, grey).astype(int)
    assert np.ptp(carried, axis=2).max() <= 1
