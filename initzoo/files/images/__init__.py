"""Image files in and out: any common file becomes 8-bit sRGB, and results are written whole."""

from initzoo.files.images.folder import ImageFolder, describe_left_out, list_images, warn_left_out
from initzoo.files.images.formats import IMAGE_SUFFIXES, WRITABLE_SUFFIXES
from initzoo.files.images.picture import Picture
from initzoo.files.images.reading import (
    MAX_PIXELS,
    MIN_SIDE,
    decode_image,
    read_image,
    read_picture,
    short_reason,
)
from initzoo.files.images.writing import encode_image, encode_picture, losses, write_image, write_picture

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "WRITABLE_SUFFIXES",
    "ImageFolder",
    "Picture",
    "decode_image",
    "describe_left_out",
    "encode_image",
    "encode_picture",
    "list_images",
    "losses",
    "read_image",
    "read_picture",
    "short_reason",
    "warn_left_out",
    "write_image",
    "write_picture",
]
