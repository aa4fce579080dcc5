"""A teacher that calls a Python function."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from initzoo.errors import InitzooError, TeacherError
from initzoo.pairs.teachers.teacher import TEACHER_ID, Pixels, Teacher

__all__ = ["FunctionTeacher", "load_teacher", "one_line"]


class FunctionTeacher(Teacher):
    """Edits photos one by one with a function.

    The function is called as `function(photo, seed, **settings)` with a uint8 array of shape
    `(height, width, 3)`. It returns the edited photo, or input and target.

    The id covers the settings and the source file of the function, but neither imported modules nor models.
    After a change of those, give another `version`.

    Args:
        function: a function at the top level of a module, so that other processes can import it.
        settings: further keyword arguments; JSON values.
        licence: licence of the pairs: SPDX name, or a description.
        n_variants: number of stored pairs per photo; more than one is useful if the function is random. 0 for
            a function that takes milliseconds, whose pairs are not stored.
        version: part of the id; required if the function has no source file.

    Raises:
        ValueError: the function is not at the top level of a module, the settings are not JSON, `n_variants`
            is below 0, or there is neither a source file nor a version.

    Example:
        >>> import numpy as np
        >>> teacher = FunctionTeacher(np.roll, settings={"axis": 1}, version="1")
        >>> given, wanted = teacher.edit([np.arange(48, dtype=np.uint8).reshape(4, 4, 3)], [1])
        >>> given[0][0, :, 0].tolist(), wanted[0][0, :, 0].tolist()
        ([0, 3, 6, 9], [9, 0, 3, 6])
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        settings: Mapping[str, Any] | None = None,
        licence: str = "unknown",
        n_variants: int = 1,
        version: str = "",
    ) -> None:
        self._name = f"{function.__module__}:{function.__qualname__}"
        if "<" in function.__qualname__:
            raise ValueError(f"a teacher needs a function at the top level of a module, found {self._name}")
        if n_variants < 0:
            raise ValueError(f"n_variants must be at least 0, found {n_variants}")
        self._function, self._settings, self._licence = function, dict(settings or {}), licence
        self.n_variants = n_variants
        try:
            text = json.dumps([self._name, self._settings, version], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings of {self._name} must be plain JSON values: {error}") from error
        self._id = f"function-{hashlib.sha256(text.encode() + _source(function, version)).hexdigest()[:32]}"

    @property
    def id(self) -> str:
        """A digest of name, settings, version and source file."""
        return self._id

    @property
    def name(self) -> str:
        """Module and function, as `module:function`."""
        return self._name

    @property
    def licence(self) -> str:
        """The given licence."""
        return self._licence

    def edit(self, photos: Sequence[Pixels], seeds: Sequence[int]) -> tuple[list[Pixels], list[Pixels]]:
        """Call the function with each photo and its seed.

        Raises:
            TeacherError: the function raised.
        """
        pairs = [self._edit_one(photo, seed) for photo, seed in zip(photos, seeds, strict=True)]
        return [given for given, _ in pairs], [wanted for _, wanted in pairs]

    def to_json(self) -> dict[str, Any]:
        """Name, id, number of variants, and the settings, if any."""
        return super().to_json() | ({"settings": self._settings} if self._settings else {})

    def _edit_one(self, photo: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        try:
            # A copy, since other concepts use the photo after a function that changes it in place.
            result = self._function(photo.copy(), seed, **self._settings)
        except InitzooError:
            raise
        except (Exception, SystemExit) as error:  # foreign code can raise anything, and may call sys.exit()
            raise TeacherError(
                f"teacher '{self.name}' failed on a photo of shape {photo.shape}: {one_line(error)}"
            ) from error
        return (result[0], result[1]) if isinstance(result, tuple) and len(result) == 2 else (photo, result)


def load_teacher(
    name: str, folder: Path, *, settings: Mapping[str, Any], licence: str | None, n_variants: int | None
) -> Teacher:
    """Import a teacher named `module:name` in a concepts file.

    The name refers to a function, a `Teacher` object, or a subclass of `Teacher`, which is constructed with
    the settings.

    Args:
        name: module and name. The module is installed, or beside the concepts file.
        folder: folder of the concepts file; appended to `sys.path`, in worker processes as well.
        settings: further keyword arguments.
        licence: licence of the pairs of a function; a `Teacher` has its own.
        n_variants: as for `FunctionTeacher`; its default if None.

    Raises:
        TeacherError: the module cannot be imported, has no such name, or the name is not a teacher.
    """
    module_name, _, attribute = name.partition(":")
    module = _import(module_name, folder)
    value = getattr(module, attribute, None)
    if value is None:
        raise TeacherError(f"module '{module_name}' has no '{attribute}'. Write module:function")
    try:
        if isinstance(value, type) and issubclass(value, Teacher):
            value = value(**settings)
        elif callable(value) and not isinstance(value, Teacher):
            return FunctionTeacher(
                value,
                settings=settings,
                licence=licence or "unknown",
                n_variants=1 if n_variants is None else n_variants,
            )
        elif isinstance(value, Teacher) and settings:
            raise TeacherError(f"'{name}' is a teacher already and takes no settings. Leave them out")
    except (TypeError, ValueError) as error:
        raise TeacherError(f"'{name}' makes no teacher: {one_line(error)}") from error
    if not isinstance(value, Teacher):
        raise TeacherError(f"'{name}' is {type(value).__name__}, expected a function or a Teacher")
    if n_variants is not None:
        raise TeacherError(f"'{name}' chooses its variants itself. Leave out 'variants'")
    if not TEACHER_ID.fullmatch(str(value.id)):
        raise TeacherError(
            f"'{name}' has the id {value.id!r}, expected at most 80 lower-case letters, digits and hyphens"
        )
    return value


def _import(name: str, folder: Path) -> ModuleType:
    path = str(folder.resolve())
    if path not in sys.path:
        # At the end, so that a file in the folder cannot shadow a package that initzoo imports later. It is
        # not removed: the function may import neighbours when it is called, and workers get this list.
        sys.path.append(path)
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:  # foreign code can raise anything, and may call sys.exit()
        raise TeacherError(f"cannot import '{name}': {one_line(error)}. Checked beside {folder}") from error
    beside = folder.resolve().joinpath(*name.split("."))
    files = [file for file in (beside.with_suffix(".py"), beside / "__init__.py") if file.is_file()]
    if files and Path(module.__file__ or "").resolve() != files[0]:
        raise TeacherError(f"'{name}' is also the module {module.__file__}. Rename {files[0]}")
    return module


def _source(function: Callable[..., Any], version: str) -> bytes:
    """The source file of a function; empty if it has a version but no source file."""
    module = sys.modules.get(function.__module__)
    path = Path(getattr(module, "__file__", None) or "")
    if path.suffix == ".py" and path.is_file():
        return path.read_bytes()
    if version:
        return b""
    raise ValueError(f"{function.__module__}:{function.__qualname__} has no source file. Give a version")


def one_line(error: BaseException) -> str:
    """The kind and the words of a foreign error, to be followed by a full stop."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"
