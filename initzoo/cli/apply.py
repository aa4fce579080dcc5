"""`initzoo apply`: edit images with an init."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initzoo.cli.options import accelerator_option, echo_limits, example, force_option, zoo_option

if TYPE_CHECKING:
    from initzoo.checkpoints import Init
    from initzoo.files import Picture
    from initzoo.networks import GraphNetwork, ImageNetwork
    from initzoo.zoo import Zoo

__all__ = ["command"]

SECTION = "Use"

_STREAM = Path("-")
_STREAM_FORMAT = Path("image.png")


def _check_number(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and isnan(value):  # passes every range check
        raise click.BadParameter("nan is not in the range 0<=x<=1.5.", context, parameter)
    return value


@click.command("apply", epilog=example('initzoo apply "pencil sketch" PHOTO.jpg -o OUT.png'))
@click.argument("init")
@click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    help="Image to write; a folder for several images; - for PNG on standard output.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1.5),
    callback=_check_number,
    help="0 for the unchanged photo, 1 for the look, more for an exaggerated look. By default 1, or what "
    "words of degree ask for, such as slightly or 60%.",
)
@click.option(
    "--full-size",
    is_flag=True,
    help="Edit large photos at full size, which is slow and gives a finer look. By default they are edited "
    "at the size that looks are made for, and the edit is upsampled.",
)
@accelerator_option("Device to compute on; auto takes a GPU if one is available.")
@zoo_option
@force_option
def command(
    init: str,
    images: tuple[Path, ...],
    out: Path,
    strength: float | None,
    full_size: bool,
    device_name: str,
    zoo_name: str,
    force: bool,
) -> None:
    """Edit images with an init.

    INIT is a pulled file, any safetensors file or folder with weights of a known network, words as for
    `initzoo pull`, or the name of an initialization scheme. IMAGE is an image file, a folder of images, or -
    for standard input, of any size that fits into memory. Transparency, EXIF and resolution are kept;
    orientation and colour profile are applied. A line on standard error lists the parts that OUT cannot keep.
    """
    from initzoo.errors import InvalidImage
    from initzoo.files import losses, make_folder, write_picture
    from initzoo.networks import look_side

    outputs, is_folder = _plan(images, out, force=force)
    network = cache(lambda: _open_network(init, zoo_name, device_name, strength))
    failures: list[InvalidImage] = []
    for source, target in outputs:
        try:
            picture = _read(source)
        except InvalidImage as error:
            if not is_folder:
                raise
            click.echo(f"left out: {error}", err=True)
            failures.append(error)
            continue
        name, model, own_strength = network()
        height, width = picture.colours.shape[:2]
        try:
            side = None if full_size else look_side(picture.colours)
            colours = model.edit(picture.colours, side=side, strength=own_strength)
            edited = replace(picture, colours=colours)
            if target == _STREAM:
                _write_stream(edited)
            else:
                if is_folder:
                    make_folder(out)
                write_picture(target, edited, force=force)
        except MemoryError as error:
            raise InvalidImage(
                f"{_name(source)} is {width} x {height} pixels, which do not fit into the memory of this "
                "machine. Make it smaller"
            ) from error
        if lost := losses(_STREAM_FORMAT if target == _STREAM else target, edited):
            click.echo(f"{target} does not keep: {', '.join(lost)}", err=True)
        click.echo(f"{name}  {_name(source)}  {width}x{height}  -> {target}", err=target == _STREAM)
    if failures:
        raise InvalidImage(
            f"{len(failures)} of {len(outputs)} images cannot be read and are left out; the rest is in {out}"
            if len(failures) < len(outputs)
            else f"none of {len(outputs)} images can be read. The first: {failures[0]}"
        )


def _open_network(
    init: str, zoo_name: str, device_name: str, wanted: float | None
) -> tuple[str, ImageNetwork | GraphNetwork, float]:
    """Open the init, and return its name, its network and the strength that is wanted or the words ask for.

    Prints a line if it was matched or generated.
    """
    from initzoo.generator import Request, parse_given
    from initzoo.training import open_init
    from initzoo.zoo import Zoo

    open_zoo = cache(lambda: Zoo.from_pretrained(zoo_name))
    given = parse_given(init, is_wording=lambda text: open_zoo().holds(text))
    ready = open_init(given, open_zoo, warn=False)
    generation = ready.metadata.generation
    strength = 1.0 if wanted is None else wanted
    if isinstance(given, Request) and ready.metadata.origin in ("matched", "generated"):
        route = open_zoo().route(given)
        if generation is not None:
            click.echo(f"generated, since {route.reason}: {generation.prospect}", err=True)
        echo_limits(given.words)
        strength = route.strength if wanted is None else wanted
        at = "" if strength == 1 else f"at strength {strength:g}"
        said = f"{route.sureness}: {route.reason}" if route.sureness else ""
        if said or at:
            click.echo(", ".join(filter(None, (said, at))), err=True)
    return ready.metadata.concept, _to_network(ready, open_zoo, device_name), strength


def _to_network(init: Init, open_zoo: Callable[[], Zoo], device_name: str) -> ImageNetwork | GraphNetwork:
    """The network of an init on a device."""
    if device_name == "cpu":
        return open_zoo().editor(init)
    from initzoo.work import choose_device

    return init.to_network().to(choose_device(device_name))


def _plan(images: Sequence[Path], out: Path, *, force: bool) -> tuple[list[tuple[Path, Path]], bool]:
    """The output file of each image, and whether the output is a folder. Checked before any work."""
    from initzoo.errors import InvalidImage, OutputError
    from initzoo.files import WRITABLE_SUFFIXES, check_free

    if _STREAM in images and len(images) > 1:
        raise click.UsageError("'-' reads one image from standard input; give no other images with it.")
    has_folder = any(os.path.isdir(image) for image in images)
    is_folder = len(images) > 1 or has_folder or (os.path.isdir(out) and _STREAM not in images)
    if out == _STREAM:
        if is_folder:
            raise click.UsageError("'-o -' writes one image to standard output; name a folder for several.")
        if sys.stdout.isatty():
            raise OutputError("cannot write an image to a terminal. Redirect the output: -o - > OUT.png")
        return [(images[0], out)], False
    if not is_folder:
        check_free(out, force=force, endings=WRITABLE_SUFFIXES)
        return [(images[0], out)], False
    sources = [file for image in images for file in (_images_of(image) if os.path.isdir(image) else [image])]
    if not sources:
        raise InvalidImage(f"{images[0]} has no images. Name a folder of images, or image files")
    outputs = [(source, out / _output_name(source)) for source in sources]
    name, count = Counter(target.name for _, target in outputs).most_common(1)[0]
    if count > 1:
        raise OutputError(
            f"{count} of the images would be written to {out / name}. Edit them by separate commands"
        )
    check_free(out, *(target.name for _, target in outputs), force=force)
    return outputs, True


def _images_of(folder: Path) -> list[Path]:
    """The image files of a folder, sorted. Prints the names of the files that are left out."""
    from initzoo.files import describe_left_out, list_images

    listed = list_images(folder)
    if listed.left_out:
        click.echo(describe_left_out(folder, listed.left_out), err=True)
    return list(listed.images)


def _output_name(source: Path) -> str:
    """The name of the image; with the ending .png if its format cannot be written."""
    from initzoo.files import WRITABLE_SUFFIXES

    return source.name if source.suffix.lower() in WRITABLE_SUFFIXES else f"{source.stem}.png"


def _read(source: Path) -> Picture:
    """Read an image of any number of pixels."""
    from initzoo.errors import InvalidImage
    from initzoo.files import read_picture, temporary_folder

    if source != _STREAM:
        return read_picture(source, max_pixels=None)
    with temporary_folder() as folder:
        file = folder / "image"
        file.write_bytes(sys.stdin.buffer.read())
        try:
            return read_picture(file, max_pixels=None)
        except InvalidImage as error:
            raise InvalidImage(str(error).replace(str(file), _name(source))) from error


def _write_stream(picture: Picture) -> None:
    from initzoo.errors import OutputError
    from initzoo.files import encode_picture

    try:
        sys.stdout.buffer.write(encode_picture(_STREAM_FORMAT, picture))
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _name(source: Path) -> str:
    return "standard input" if source == _STREAM else str(source)
