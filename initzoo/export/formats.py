"""The formats that an init can be exported to: a function each, and a line in `FORMATS`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from initzoo.checkpoints import Init
from initzoo.errors import InvalidInit, OutputError
from initzoo.export.state_dicts import export_pth, export_safetensors
from initzoo.files import is_file

__all__ = ["FORMATS", "export"]

FORMATS: dict[str, Callable[[Init, Path], None]] = {
    "safetensors": export_safetensors,
    "pth": export_pth,
}
"""Functions that write a merged init to a path, by the name of the format."""


def export(
    init: Init, path: str | os.PathLike[str], format: str = "safetensors", *, force: bool = False
) -> Path:
    """Write an init as a file or folder of another format.

    Args:
        init: a merged init.
        path: the file or folder to write.
        format: one of `FORMATS`: `safetensors`, the plain state dict that any safetensors reader and
            `AutoNetwork` open; or `pth`, the same as torch saves it.
        force: replace an existing file or folder.

    Returns:
        The path.

    Raises:
        ValueError: the format is unknown.
        InvalidInit: the init is an adapter alone.
        OutputError: the path exists and `force` is False, or it cannot be written.

    Example:
        >>> from initzoo import Zoo
        >>> init = Zoo.from_pretrained("starter").pull("pencil sketch")
        >>> export(init, "pencil.pth", format="pth")  # doctest: +SKIP
        PosixPath('pencil.pth')
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, found {format!r}")
    if init.kind != "merged":
        raise InvalidInit(
            f"init of concept '{init.metadata.concept}' holds an adapter alone. "
            "Merge it first: zoo.merge(init)"
        )
    target = Path(path)
    if (is_file(target) or os.path.isdir(target)) and not force:
        raise OutputError(f"{target} exists already. Choose another name, or add --force to replace it")
    FORMATS[format](init, target)
    return target
