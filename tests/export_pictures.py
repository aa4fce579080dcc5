"""How far pictures of exported networks are from those of initzoo: `make export-pictures` prints it.

The reference is a statement of its own of what `edit` does before it rounds: mirrored borders by NumPy, the
network as a plain module, and a crop. For photos that are larger than looks are made for, it is `edit` at the
look's size, as `initzoo apply` calls it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
import torch
from public_pix2pix import PublicResNet, PublicUNet

from initzoo import AutoNetwork, Init, Zoo, export
from initzoo.networks import LOOK_SIDE, ImageNetwork
from initzoo.networks.pix2pix import ResNet, UNet
from initzoo.pairs import load_photos
from initzoo.pairs.opencv import opencv

Images = np.ndarray
Editor = Callable[[Images], Images]

BATCHES = (
    *((1, 64, 64), (1, 97, 130), (1, 256, 256), (1, 512, 320), (1, 512, 512)),
    *((4, 64, 64), (4, 97, 130), (4, 512, 64)),
)
"""Number, height and width of photos; each of the first five is another photo."""
FEW = ((1, 64, 64), (1, 97, 130), (4, 97, 130))
"""As many as a change needs: odd sides, and several at once."""


LARGE = ((1, 513, 640), (1, 768, 1024), (1, 1000, 1500), (1, 1537, 1031), (2, 600, 520))
"""Photos that are larger than looks are made for: sides that shrink by whole numbers, and others."""


def images_of(n: int, height: int, width: int, first: int) -> Images:
    """Photos of split `score` as float32 of shape `(n, 3, height, width)`, values -1 to 1."""
    photos = load_photos(split="score")
    pixels = np.stack(
        [
            opencv().resize(photos[(first + i) % len(photos)].pixels, (width, height), interpolation=3)
            for i in range(n)
        ]
    )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def reference(network: ImageNetwork) -> Editor:
    """What `edit` computes, without its rounding and its tiles."""
    network.eval()

    def edit(images: Images) -> Images:
        halo, (height, width) = network.halo, images.shape[2:]
        borders = [(halo, halo + -(side + 2 * halo) % network.multiple) for side in (height, width)]
        padded = np.pad(images, ((0, 0), (0, 0), *borders), mode="reflect")
        with torch.no_grad():
            edited = network(torch.from_numpy(padded)).numpy()
        return edited[:, :, halo : halo + height, halo : halo + width].clip(-1, 1)

    return edit


def differences(
    network: ImageNetwork, editor: Editor, batches: Sequence[tuple[int, int, int]] = BATCHES
) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Each of the batches with the largest difference of a value from -1 to 1."""
    ours = reference(network)
    for number, (n, height, width) in enumerate(batches):
        images = images_of(n, height, width, number)
        yield (n, height, width), float(np.abs(editor(images) - ours(images)).max())


def at_look_size(network: ImageNetwork) -> Editor:
    """What `initzoo apply` makes of large photos, uint8, as values from -1 to 1."""

    def edit(images: Images) -> Images:
        photos = ((images + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
        edited = np.stack([network.edit(photo, side=LOOK_SIDE) for photo in photos])
        return edited.transpose(0, 3, 1, 2) / np.float32(127.5) - 1

    return edit


def large_differences(
    network: ImageNetwork, editor: Editor, batches: Sequence[tuple[int, int, int]] = LARGE
) -> Iterator[tuple[tuple[int, int, int], float, float]]:
    """Each of the batches with the largest difference of a value in grey levels, and the mean of all."""
    ours = at_look_size(network)
    for number, (n, height, width) in enumerate(batches):
        images = images_of(n, height, width, number)
        levels = 127.5 * np.abs(editor(images) - ours(images))
        yield (n, height, width), float(levels.max()), float(levels.mean())


def run_readme(folder: Path, **given: object) -> dict[str, Any]:
    """Run the code of a README in its folder."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line]) <= 3
    values = dict(given)
    with chdir(folder):
        exec(compile(code[1], "README.md", "exec"), values)
    return values


def open_export(path: Path, format: str, public: torch.nn.Module | None = None) -> Editor:
    """An export, opened as its README says; a file of weights by `AutoNetwork` or a public network."""
    if format == "safetensors":
        return reference(AutoNetwork.from_pretrained(path))
    if format == "pth":
        network = AutoNetwork.from_pretrained(path.with_suffix(".safetensors")) if public is None else public
        network.load_state_dict(torch.load(path, weights_only=True), strict=True)
        return reference(network)  # type: ignore[arg-type]
    if format == "peft":
        return reference(run_readme(path)["model"])

    if format == "program":
        run_readme(path, images=torch.zeros(1, 3, 16, 16))
        program = torch.export.load(path / "model.pt2").module()  # once: it takes seconds
        return lambda images: program(torch.from_numpy(images)).detach().numpy()
    return lambda images: run_readme(path, images=images)["edited"]


def random_network(network: ImageNetwork) -> ImageNetwork:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return network


def report(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Export a checkpoint and pix2pix's networks in all formats, and print the differences."""
    warnings.simplefilter("ignore")  # of torch's exporter, on its own future
    zoo = Zoo.from_pretrained("starter")
    cases: list[tuple[str, Init, torch.nn.Module | None]] = [
        ("pencil sketch", zoo.pull("pencil sketch"), None)
    ]
    for name, network, public in (
        ("pix2pix-unet256", UNet(8, 4), PublicUNet(8, 4)),
        ("pix2pix-resnet9", ResNet(9, 4), PublicResNet(9, 4)),
    ):
        public.halo, public.multiple = network.halo, network.multiple  # type: ignore[assignment]
        cases.append((name, Init.from_model(random_network(network), name=name), public))
    report("largest difference of a value from -1 to 1, on photos of split score\n")
    for name, init, public in cases:
        with tempfile.TemporaryDirectory() as folder:
            formats = ["safetensors", "pth", "program", "onnx", *(["peft"] if public is None else [])]
            for format in formats:
                path = Path(folder) / (f"out.{format}" if format in ("safetensors", "pth") else format)
                network, given = init.to_network(), init
                if format == "peft":  # it holds the adapter without the detail
                    given = zoo.pull(name, adapter_only=True)
                    network = zoo.merge(given).to_network()
                export(given, path, format=format, zoo=zoo)
                for (n, height, width), difference in differences(network, open_export(path, format, public)):
                    report(f"{name:16} {format:12} {n} x {height:3} x {width:3}   {difference:.1e}")
                if format == "onnx":
                    editor = open_export(path, format, public)
                    for (n, height, width), most, mean in large_differences(network, editor):
                        levels = f"{most:.1f} grey levels at most, {mean:.2f} on average"
                        report(f"{name:16} {format:12} {n} x {height:3} x {width:3}   {levels}")
        for precision in ("float16", "int8"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "graph"
                export(
                    init, path, "onnx", zoo=zoo, precision=precision, callback=lambda loss: report(str(loss))
                )


if __name__ == "__main__":
    main()
