"""The formats that an init can be exported to: a function each, and a line in `FORMATS`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initzoo.checkpoints import Init
from initzoo.errors import InvalidInit, InvalidRequest
from initzoo.export.folders import export_onnx, export_program
from initzoo.export.peft_folders import export_peft
from initzoo.export.precision import PRECISIONS, PrecisionLoss
from initzoo.export.state_dicts import export_pth, export_safetensors
from initzoo.files import check_free, check_free_folder
from initzoo.pairs import Teacher, parse_teacher
from initzoo.zoo import BUNDLED_ZOO, Zoo

__all__ = ["FORMATS", "Format", "export"]


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Args:
        write: writes a merged init to a path; with `needs_base`, an adapter, whose base is `base=`.
        is_folder: whether it writes a folder.
        needs_base: whether it takes an adapter apart from its base.
        has_precisions: whether it can be written in all `PRECISIONS`, and not in float32 alone.
        has_look_size: whether it edits large photos at the look's size, unless told otherwise.
    """

    write: Callable[..., None]
    is_folder: bool = False
    needs_base: bool = False
    has_precisions: bool = False
    has_look_size: bool = False

    def check_options(self, *, precision: str, full_size: bool) -> None:
        """Raise if the format does not have an option.

        Raises:
            ValueError: the precision is unknown.
            InvalidRequest: the format has float32 weights only, or never edits at the look's size.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}")
        if precision != "float32" and not self.has_precisions:
            names = ", ".join(name for name, one in FORMATS.items() if one.has_precisions)
            raise InvalidRequest(f"{precision} goes with the format {names}, the others hold float32 weights")
        if full_size and not self.has_look_size:
            names = ", ".join(name for name, one in FORMATS.items() if one.has_look_size)
            raise InvalidRequest(f"full size goes with the format {names}, the others never scale photos")

    def check_free(self, path: Path, *, force: bool) -> None:
        """Raise if the file or folder could not be written.

        Raises:
            OutputError: it exists and `force` is False, or its parent folder is missing.
        """
        if self.is_folder:
            check_free_folder(path, force=force)
        else:
            check_free(path, force=force)


FORMATS: dict[str, Format] = {
    "safetensors": Format(export_safetensors),
    "pth": Format(export_pth),
    "peft": Format(export_peft, is_folder=True, needs_base=True),
    "onnx": Format(export_onnx, is_folder=True, has_precisions=True, has_look_size=True),
    "program": Format(export_program, is_folder=True),
}
"""The formats by name."""


def export(
    init: Init,
    path: str | os.PathLike[str],
    format: str = "safetensors",
    *,
    zoo: Zoo | None = None,
    force: bool = False,
    precision: str = "float32",
    full_size: bool = False,
    callback: Callable[[PrecisionLoss], None] | None = None,
) -> Path:
    """Write an init as a file or folder of another format.

    Args:
        init: a merged init; for `peft` an adapter.
        path: the file or folder to write.
        format: one of `FORMATS`: `safetensors`, the plain state dict that any safetensors reader and
            `AutoNetwork` open; `pth`, the same as torch saves it; or one of the folders `peft` (the adapter
            and its base), `onnx` and `program` (of `torch.export`), whose READMEs say how to load them.
        zoo: the zoo of the init, for the base of `peft` and the teacher that a loss is measured with; the
            bundled zoo by default.
        force: replace an existing file or folder.
        precision: for `onnx`: `float32`, `float16`, or `int8` for the weights. The loss of a reduced one is
            measured on the bundled photos of split `score`, against the look's teacher where there is one.
        full_size: for `onnx`: edit large photos at their own size. By default, those with a shorter side of
            more than 512 pixels are edited at 384 pixels, and the edit is carried up, as `apply` does.
        callback: called with the loss of a reduced precision.

    Returns:
        The path.

    Raises:
        ValueError: the format or the precision is unknown.
        InvalidRequest: the format has float32 weights only, or never edits at the look's size.
        InvalidInit: the init is an adapter alone, or for `peft` is not, or the format cannot express it.
        MissingExtra: the format needs a package that is not installed.
        OutputError: the path exists and `force` is False, or it cannot be written.

    Example:
        >>> from initzoo import Zoo
        >>> init = Zoo.from_pretrained("starter").pull("pencil sketch")
        >>> export(init, "pencil.pth", format="pth")  # doctest: +SKIP
        PosixPath('pencil.pth')
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, found {format!r}")
    chosen = FORMATS[format]
    chosen.check_options(precision=precision, full_size=full_size)
    if chosen.needs_base and init.kind != "adapter":
        raise InvalidInit(
            f"init of concept '{init.metadata.concept}' is merged with its base, and {format} takes an "
            "adapter. Pull it with --adapter-only: initzoo pull WORDS --adapter-only, or with --like PAIRS"
        )
    if not chosen.needs_base and init.kind != "merged":
        raise InvalidInit(
            f"init of concept '{init.metadata.concept}' holds an adapter alone. "
            "Merge it first: zoo.merge(init)"
        )
    target = Path(path)
    chosen.check_free(target, force=force)
    options: dict[str, Any] = {}
    if chosen.needs_base:
        options["base"] = (zoo or Zoo.from_pretrained(BUNDLED_ZOO)).base_of(init.metadata.recipe.name)
    if full_size:
        options["full_size"] = True
    if precision != "float32":
        options |= {"precision": precision, "teacher": _teacher_of(init, zoo), "callback": callback}
    chosen.write(init, target, force=force, **options)
    return target


def _teacher_of(init: Init, zoo: Zoo | None) -> Teacher | None:
    """The teacher of a checkpoint as the zoo holds it; weights of other origins have no known teacher."""
    if init.metadata.origin not in ("exact", "matched"):
        return None
    row = (zoo or Zoo.from_pretrained(BUNDLED_ZOO)).index.find(init.metadata.concept)
    return parse_teacher(row.teacher) if row is not None else None
