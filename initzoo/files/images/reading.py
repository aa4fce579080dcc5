"""Reads image files: every common format becomes upright 8-bit sRGB."""

from __future__ import annotations

import errno
import io
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidImage
from initzoo.files.digests import DamagedFile, check_no_pointer
from initzoo.files.images import colour, levels, notes
from initzoo.files.images.formats import FORMATS, is_heif, register_heif
from initzoo.files.images.picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_PIXELS", "MIN_SIDE", "decode_image", "identify", "read_image", "read_picture", "short_reason"]

Pixels = NDArray[np.uint8]

MIN_SIDE = 8
"""Minimum length of the shorter side, pixels."""

MAX_PIXELS = 50_000_000
"""Maximum number of pixels, checked before decoding."""

_BYTES_A_PIXEL = 15
"""Peak memory of reading, bytes per pixel: the Pillow image, a copy in sRGB, and the array."""

_FREE_PIXELS = 4_000_000
_MAX_PIXELS_A_BYTE = 1100
"""More than PNG can compress grey pixels of one value to; photos have below one pixel a byte."""

_DECODE_ERRORS = (*notes.METADATA_ERRORS, zlib.error)
_LIMIT = threading.Lock()


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image file as 8-bit sRGB, whatever its ending.

    Colours are converted by the ICC profile of the file. Grey, palette, CMYK and 16-bit images are converted,
    transparency is blended with white, the EXIF orientation is applied, and an animation gives its first
    frame.

    Args:
        path: the file.
        max_pixels: maximum number of pixels, checked before decoding.

    Returns:
        Pixels, uint8, shape `(height, width, 3)`.

    Raises:
        InvalidImage: the file is missing, damaged or not an image, a side is shorter than `MIN_SIDE`, or the
            image has more than `max_pixels` pixels.

    Example:
        >>> import tempfile
        >>> from initzoo.files.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     write_image(path, np.full((8, 16, 3), 128, np.uint8), force=False)
        ...     read_image(path).shape
        (8, 16, 3)
    """
    return _read(str(path), Path(path), max_pixels, with_notes=False).on_white


def decode_image(name: str, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image as `read_image` does, from the bytes of its file.

    Args:
        name: name of the image in errors.
        data: content of the file.
        max_pixels: maximum number of pixels, checked before decoding.

    Raises:
        InvalidImage: as for `read_image`.

    Example:
        >>> from initzoo.files.images import encode_image
        >>> decode_image("row 3", encode_image(Path("a.png"), np.zeros((8, 16, 3), np.uint8))).shape
        (8, 16, 3)
    """
    return _read(name, data, max_pixels, with_notes=False).on_white


def read_picture(path: Path, *, max_pixels: int | None = MAX_PIXELS) -> Picture:
    """Read an image file with transparency, EXIF and resolution, which an edited image can keep.

    Args:
        path: the file.
        max_pixels: maximum number of pixels, checked before decoding; None for as many as fit into memory.

    Raises:
        InvalidImage: as for `read_image`, or there is not enough memory.

    Example:
        >>> import tempfile
        >>> from initzoo.files.images import write_picture
        >>> clear = Picture(np.zeros((8, 16, 3), np.uint8), alpha=np.full((8, 16), 99, np.uint8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_picture(Path(folder) / "clear.png", clear, force=False)
        ...     read_picture(Path(folder) / "clear.png").alpha[0, 0]
        np.uint8(99)
    """
    return _read(str(path), Path(path), max_pixels, with_notes=True)


def identify(path: Path) -> str | None:
    """The reason why a file cannot be read as an image, from its first bytes; None if it can.

    Example:
        >>> identify(Path("no-such-file.png"))
        'No such file or directory'
    """
    try:
        with _opened(str(path), path, MAX_PIXELS):
            return None
    except InvalidImage as error:
        return short_reason(path, error)


def short_reason(path: Path, error: InvalidImage) -> str:
    """The reason in an error, without the file name and the advice."""
    text = str(error).removeprefix(f"cannot read {path}: ").removeprefix(f"{path} ")
    return text.partition(". ")[0].removeprefix("it is ")


def _read(name: str, source: Path | bytes, max_pixels: int | None, *, with_notes: bool) -> Picture:
    try:
        with _opened(name, source, max_pixels) as image:
            return _convert(name, source, image, with_notes)
    except MemoryError as error:
        raise InvalidImage(f"cannot read {name}: it does not fit into memory. Make it smaller") from error


@contextmanager
def _opened(name: str, source: Path | bytes, max_pixels: int | None) -> Iterator[Image]:
    """An open Pillow image of an allowed size; every failure becomes an error of one line."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _file(source) as file, warnings.catch_warnings():
            # Pillow warns about sizes that are refused below and about harmless metadata.
            warnings.simplefilter("ignore")
            head = file.read(64)
            file.seek(0)
            try:
                check_no_pointer(head)
            except DamagedFile as error:
                raise InvalidImage(f"cannot read {name}: it {error}") from error
            if is_heif(head) and not register_heif():
                raise InvalidImage(
                    f"cannot read {name}: it is a HEIC photo, which needs pillow-heif. "
                    'Install it with: pip install "initzoo[heif]"'
                )
            with _pillow_limit(max_pixels), Image.open(file, formats=_formats()) as image:
                _check_size(name, image.width, image.height, max_pixels)
                _check_density(name, image.width * image.height, source)
                yield image
    except Image.DecompressionBombError as error:
        raise _too_large(name, "far more", max_pixels or MAX_PIXELS) from error
    except UnidentifiedImageError as error:
        raise InvalidImage(
            f"cannot read {name}: it is not an image of a known kind. Give an 8-bit PNG, JPEG or WebP file"
        ) from error
    except _DECODE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InvalidImage(f"cannot read {name}: {error.strerror}. Check the path") from error
        raise InvalidImage(
            f"cannot read {name}: the image is damaged or cut off ({_one_line(error)}). "
            "Give a whole image file"
        ) from error


def _formats() -> tuple[str, ...]:
    from PIL import Image

    # Pillow knows HEIF only after pillow-heif is registered.
    return tuple(kind for kind in FORMATS if kind != "HEIF" or kind in Image.OPEN)


def _file(source: Path | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if source.exists() and not (
        source.is_file() or source.is_dir()
    ):  # reading a pipe or /dev/zero does not end
        raise OSError(errno.EINVAL, "it is a device or the like")
    return open(source, "rb")


@contextmanager
def _pillow_limit(max_pixels: int | None) -> Iterator[None]:
    """Lift Pillow's own limit of about 180 million pixels while larger images are allowed."""
    from PIL import Image

    if max_pixels is not None:
        yield
        return
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _convert(name: str, source: Path | bytes, image: Image, with_notes: bool) -> Picture:
    """Decode an opened image: levels, then transparency, then colours, then the orientation."""
    from PIL import Image as pillow

    exif, linked = notes.directory(image, 0x8769), notes.directory(image, 0xA005)
    profile = colour.profile_of(image, exif, linked)
    orientation = notes.orientation_of(image)
    stated, is_wide = levels.stated_range(image), levels.channel_bits(image) == 16
    not_kept = notes.other_notes(image) if with_notes else []
    block, dpi = b"", None
    if with_notes:
        block, n_lost = notes.kept_exif(image)
        dpi = notes.resolution_of(image)
        if n_lost:
            not_kept.append(f"{n_lost} further EXIF tag{'s' if n_lost > 1 else ''}")
        image.seek(0)  # counting the frames may have moved to another one
    image.load()

    alpha: Any = None
    if image.mode == "F" or image.mode.startswith("I"):
        bits = levels.significant_bits(_first_bytes(source))
        plain = pillow.fromarray(levels.grey_levels(name, image, stated=stated, bits=bits))
        is_wide = True
    elif is_wide and (narrow := _narrow_levels(source, image, stated)) is not None:
        plain, alpha = narrow
    else:
        plain, alpha = _without_alpha(image)
    plain, is_sound = colour.to_srgb(plain, profile)
    if not is_sound:
        not_kept.append("a colour profile that does not fit")
    if is_wide:
        not_kept.append("bits beyond 8 a channel")
    return Picture(
        colours=np.array(notes.turn(plain, orientation)),
        alpha=None if alpha is None else np.array(notes.turn(alpha, orientation)),
        exif=block,
        dpi=dpi,
        not_kept=tuple(not_kept),
    )


def _without_alpha(image: Image) -> tuple[Image, Image | None]:
    """Colours and transparency of an image with 8 bits per channel."""
    if not image.has_transparency_data:
        return (image.convert("L") if image.mode == "1" else image), None
    layered = image.convert("RGBA")
    # Grey must stay grey for its ICC profile to fit.
    plain = image.convert("L") if image.mode in ("L", "LA") else layered.convert("RGB")
    return plain, layered.getchannel("A")


def _narrow_levels(
    source: Path | bytes, image: Image, stated: tuple[float, float] | None
) -> tuple[Image, Image | None] | None:
    """Read colours of 10 to 14 bits in 16-bit channels by OpenCV.

    Pillow keeps only the upper 8 of the 16 bits, which would be nearly black.

    Returns:
        Colours and transparency; None if the image uses its upper bits, or OpenCV cannot read it.
    """
    from PIL import Image as pillow

    bands = np.asarray(image)
    if bands.ndim == 3 and bands.shape[2] in (2, 4):
        bands = bands[:, :, :-1]
    if not bands.size or bands.max() >= 64:
        return None
    del bands  # a copy of all pixels
    import cv2

    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return None
    if values.shape[2] not in (3, 4):
        return None
    bits = levels.significant_bits(data)
    has_alpha = values.shape[2] == 4 and int(values[:, :, 3].max()) > 0
    colours = levels.to_levels(values[:, :, 2::-1], stated=stated, bits=bits)
    alpha = levels.to_levels(values[:, :, 3], bits=bits) if has_alpha else None
    turned = pillow.fromarray(colours)
    if turned.size != image.size:  # Pillow has applied the orientation of a TIFF file already
        return None
    return turned, None if alpha is None else pillow.fromarray(alpha)


def _first_bytes(source: Path | bytes) -> bytes:
    """The start of a file, with the metadata before the pixels."""
    with _file(source) as file:
        return file.read(1 << 16)


def _check_size(name: str, width: int, height: int, max_pixels: int | None) -> None:
    if min(width, height) < MIN_SIDE:
        raise InvalidImage(
            f"{name} is {width} x {height} pixels; expected at least {MIN_SIDE} on each side. "
            "Give a larger image"
        )
    if max_pixels is not None and width * height > max_pixels:
        raise _too_large(name, f"{width} x {height}", max_pixels)
    if max_pixels is None and width * height > MAX_PIXELS:
        needed, free = width * height * _BYTES_A_PIXEL, _free_memory()
        if free is not None and needed > free:
            raise InvalidImage(
                f"{name} is {width} x {height} pixels, which takes {needed / 1e9:.1f} GB of memory; "
                f"{free / 1e9:.1f} GB are free. Make it smaller"
            )


def _check_density(name: str, n_pixels: int, source: Path | bytes) -> None:
    """Refuse an image with more pixels than the bytes of its file can stand for, before it takes memory."""
    n_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
    if n_pixels > _FREE_PIXELS and n_pixels > _MAX_PIXELS_A_BYTE * n_bytes:
        raise InvalidImage(
            f"{name} has {n_pixels / 1e6:.0f} million pixels in {n_bytes} bytes; no photo is so small. "
            "Give a whole image file"
        )


def _free_memory() -> int | None:
    """Free memory in bytes; None if the system does not report it."""
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _too_large(name: str, size: str, max_pixels: int) -> InvalidImage:
    return InvalidImage(
        f"{name} has too many pixels ({size}); expected at most {max_pixels // 1_000_000} million. "
        "Make it smaller"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
